/* load_json.c - tokenizer.json of Hugging Face's tokenizers, and the chat template beside it.
 *
 * Understood: model BPE over bytes (merges as "a b" or ["a", "b"]); normalizer null, NFC, NFD,
 * NFKC, NFKD; pre_tokenizer ByteLevel, alone or at the end of a Sequence of Split and Digits;
 * post_processor ByteLevel, TemplateProcessing or a Sequence of them; added tokens with all
 * their flags.  Anything else is refused by its name.  Truncation and padding settings are
 * ignored, as transformers does. */
#include "model/tokenizer/tokenizer.h"

#include <dirent.h>

#include <utf8proc.h>

static int no_memory(const struct tokenizer *t, struct err *err)
{
    return err_set(err, ERR_MEMORY, "%s: no memory for the tokenizer", t->path);
}

static const char *type_of(const json_t *o)
{
    const char *s = json_string_value(json_object_get(o, "type"));
    return s ? s : json_is_null(o) ? "null" : "an object without type";
}

static int unsupported(const struct tokenizer *t, const char *what, const json_t *o,
                       const char *supported, struct err *err)
{
    return err_set(err, ERR_UNSUPPORTED, "%s/tokenizer.json: %s %.60s; supported: %s", t->path,
                   what, type_of(o), supported);
}

/* ---- vocabulary ----------------------------------------------------------------- */

static int check_id(const struct tokenizer *t, int64_t id, const char *token, struct err *err)
{
    if (id < 0 || id >= TOKEN_LIMIT)
        return err_set(err, ERR_FORMAT,
                       "%s/tokenizer.json: token '%.60s': expected an id from 0 to %d", t->path,
                       token, TOKEN_LIMIT - 1);
    return 0;
}

/* The id of an added token; -1 where it is none, so that check_id refuses it. */
static int64_t added_id(const json_t *v)
{
    const json_t *id = json_object_get(v, "id");
    return json_is_integer(id) ? json_integer_value(id) : -1;
}

static int count_ids(struct tokenizer *t, const struct big *big, const json_t *added,
                     struct err *err)
{
    json_t *v;
    size_t i;
    int64_t most = -1;
    int rc = 0;
    for (i = 0; i < big->n_vocab; i++) {
        rc = check_id(t, big->vocab[i].id, big->vocab[i].s, err);
        if (rc)
            return rc;
        if (big->vocab[i].id > most)
            most = big->vocab[i].id;
    }
    json_array_foreach((json_t *)added, i, v)
    {
        const char *content;
        rc = json_get_str(v, "content", &content, "tokenizer.json: added_tokens", err);
        if (rc == 0)
            rc = check_id(t, added_id(v), content, err);
        if (rc)
            return rc;
        if (added_id(v) > most)
            most = added_id(v);
    }
    t->vocab = (int)most + 1;
    return 0;
}

static int put_token(struct tokenizer *t, int id, const char *s, size_t n, struct err *err)
{
    struct token *k = &t->token[id];
    if (k->s && k->n == n && !memcmp(k->s, s, n))
        return 0;
    if (k->s)
        return err_set(err, ERR_FORMAT,
                       "%s/tokenizer.json: tokens '%.60s' and '%.60s' have the same id %d",
                       t->path, k->s, s, id);
    *k = (struct token){.s = arena_strndup(&t->arena, s, n), .n = (uint32_t)n};
    return k->s ? 0 : no_memory(t, err);
}

static int put_added(struct tokenizer *t, const json_t *v, size_t *cap_raw, size_t *cap_normal,
                     struct err *err)
{
    static const char where[] = "tokenizer.json: added_tokens";
    const char *content = json_string_value(json_object_get(v, "content"));
    struct added a = {.id = (int)added_id(v)};
    struct {
        const char *key;
        bool *out;
    } flags[] = {{"special", &a.special},
                 {"lstrip", &a.lstrip},
                 {"rstrip", &a.rstrip},
                 {"single_word", &a.single_word},
                 {"normalized", &a.normalized}};
    int rc = put_token(t, a.id, content, strlen(content), err);
    for (size_t i = 0; i < ARRAY_LEN(flags) && rc == 0; i++)
        rc = json_bool_or(v, flags[i].key, false, flags[i].out, where, err);
    if (rc)
        return rc;
    t->token[a.id].added = true;
    t->token[a.id].special = a.special;
    a.s = t->token[a.id].s;
    a.n = t->token[a.id].n;
    if (a.normalized && t->normal_form) {
        utf8proc_uint8_t *form = NULL;
        utf8proc_ssize_t k = utf8proc_map((const utf8proc_uint8_t *)a.s, (utf8proc_ssize_t)a.n,
                                          &form, (utf8proc_option_t)t->normal_form);
        a.s = k < 0 ? NULL : arena_strndup(&t->arena, (const char *)form, (size_t)k);
        a.n = k < 0 ? 0 : (uint32_t)k;
        free(form);
        if (!a.s)
            return no_memory(t, err);
    }
    if (!a.n)
        return 0;
    bool late = a.normalized;
    return added_put(late ? &t->normal : &t->raw, late ? cap_normal : cap_raw, &a)
               ? no_memory(t, err)
               : 0;
}

static int load_vocab(struct tokenizer *t, const json_t *root, const struct big *big,
                      struct err *err)
{
    const json_t *added = json_object_get(root, "added_tokens");
    json_t *v;
    size_t i, cap_raw = 0, cap_normal = 0;
    if (added && !json_is_null(added) && !json_is_array(added))
        return err_set(err, ERR_FORMAT, "%s/tokenizer.json: 'added_tokens' should be a list",
                       t->path);
    int rc = count_ids(t, big, added, err);
    if (rc)
        return rc;
    t->token = mem_alloc((size_t)t->vocab, sizeof *t->token);
    if (!t->token)
        return no_memory(t, err);
    for (i = 0; i < big->n_vocab && rc == 0; i++)
        rc = put_token(t, (int)big->vocab[i].id, big->vocab[i].s, big->vocab[i].n, err);
    json_array_foreach((json_t *)added, i, v)
    {
        if (rc == 0)
            rc = put_added(t, v, &cap_raw, &cap_normal, err);
    }
    added_sort(&t->raw);
    added_sort(&t->normal);
    if (rc == 0)
        rc = words_build(t, err);
    if (rc == 0)
        bytes_index(t);
    return rc;
}

static int load_merges(struct tokenizer *t, const struct big *big, struct err *err)
{
    int rc = merges_reserve(t, big->n_merges, err);
    for (size_t i = 0; i < big->n_merges && rc == 0; i++) {
        const struct merge_item *m = &big->merge[i];
        rc = merges_add(t, m->a, m->na, m->b, m->nb, (int)i, err);
    }
    return rc;
}

/* ---- the lists from JSON, where scan.c gave up ---------------------------------- */

static int vocab_from_json(const struct tokenizer *t, struct big *big, const json_t *model,
                           struct err *err)
{
    const json_t *vocab = json_object_get(model, "vocab");
    const char *key;
    json_t *v;
    if (!json_is_object(vocab) || !json_object_size(vocab))
        return err_set(err, ERR_FORMAT,
                       "%s/tokenizer.json: 'model.vocab' should be an object of tokens and ids",
                       t->path);
    big->vocab = mem_alloc(json_object_size(vocab), sizeof *big->vocab);
    if (!big->vocab)
        return no_memory(t, err);
    json_object_foreach((json_t *)vocab, key, v) big->vocab[big->n_vocab++] =
        (struct vocab_item){key, (uint32_t)strlen(key),
                            json_is_integer(v) ? json_integer_value(v) : -1};
    return 0;
}

static bool merge_from_json(struct merge_item *m, const json_t *v)
{
    const json_t *a = json_array_get(v, 0), *b = json_array_get(v, 1);
    *m = (struct merge_item){0};
    if (json_is_array(v) && json_array_size(v) == 2 && json_is_string(a) && json_is_string(b)) {
        *m = (struct merge_item){json_string_value(a), json_string_value(b),
                                 (uint32_t)json_string_length(a),
                                 (uint32_t)json_string_length(b)};
        return true;
    }
    m->a = json_string_value(v);
    m->na = (uint32_t)json_string_length(v);
    return m->a && merge_split(m);
}

static int merges_from_json(const struct tokenizer *t, struct big *big, const json_t *model,
                            struct err *err)
{
    const json_t *merges = json_object_get(model, "merges");
    size_t n = json_array_size(merges);
    if (!json_is_array(merges) || n > TOKEN_LIMIT)
        return err_set(err, ERR_FORMAT,
                       "%s/tokenizer.json: 'model.merges' should be a list of at most %d",
                       t->path, TOKEN_LIMIT);
    big->merge = mem_alloc(n + 1, sizeof *big->merge);
    if (!big->merge)
        return no_memory(t, err);
    for (; big->n_merges < n; big->n_merges++)
        if (!merge_from_json(&big->merge[big->n_merges], json_array_get(merges, big->n_merges)))
            return err_set(err, ERR_FORMAT,
                           "%s/tokenizer.json: merge %zu should be \"left right\" or "
                           "[\"left\", \"right\"]",
                           t->path, big->n_merges);
    return 0;
}

/* ---- model ---------------------------------------------------------------------- */

static int refuse_text(const struct tokenizer *t, const json_t *model, const char *key,
                       struct err *err)
{
    const json_t *v = json_object_get(model, key);
    bool empty = !v || json_is_null(v) || json_is_false(v) ||
                 (json_is_string(v) && !json_string_length(v)) ||
                 (json_is_number(v) && json_number_value(v) == 0);
    return empty ? 0
                 : err_set(err, ERR_UNSUPPORTED,
                           "%s/tokenizer.json: 'model.%s' is set; byte-level BPE has none",
                           t->path, key);
}

static int load_unk(struct tokenizer *t, const json_t *model, struct err *err)
{
    const char *unk;
    int rc = json_str_or(model, "unk_token", NULL, &unk, t->path, err);
    if (rc || !unk)
        return rc;
    t->unk = words_find(t, unk, strlen(unk));
    return t->unk >= 0
               ? 0
               : err_set(err, ERR_FORMAT,
                         "%s/tokenizer.json: unk_token '%.60s' is not in the vocabulary",
                         t->path, unk);
}

static int load_model(struct tokenizer *t, const json_t *root, struct big *big, struct err *err)
{
    static const char *const none[] = {"dropout", "continuing_subword_prefix",
                                       "end_of_word_suffix", "byte_fallback"};
    const json_t *model = json_object_get(root, "model");
    // files from before `type` was written have none
    if (!json_is_object(model) ||
        (json_object_get(model, "type") && strcmp(type_of(model), "BPE")))
        return unsupported(t, "model", model, "BPE", err);
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(none) && rc == 0; i++)
        rc = refuse_text(t, model, none[i], err);
    if (rc == 0)
        rc = json_bool_or(model, "ignore_merges", false, &t->ignore_merges, t->path, err);
    if (rc == 0)
        rc = json_bool_or(model, "fuse_unk", false, &t->fuse_unk, t->path, err);
    bool scanned = big->n_vocab;
    if (rc == 0 && !scanned)
        rc = vocab_from_json(t, big, model, err);
    if (rc == 0 && (!scanned || !json_is_array(json_object_get(model, "merges"))))
        rc = merges_from_json(t, big, model, err);
    if (rc == 0)
        rc = load_vocab(t, root, big, err);
    if (rc == 0)
        rc = load_unk(t, model, err);
    return rc ? rc : load_merges(t, big, err);
}

/* ---- normalizer and pre-tokenizer ----------------------------------------------- */

static int load_normalizer(struct tokenizer *t, const json_t *o, struct err *err)
{
    static const struct {
        const char *name;
        int options;
    } forms[] = {
        {"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE},
        {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
        {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
        {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
    };
    if (!o || json_is_null(o))
        return 0;
    const json_t *list = json_object_get(o, "normalizers");
    if (!strcmp(type_of(o), "Sequence") && json_is_array(list) && json_array_size(list) <= 1)
        return load_normalizer(t, json_array_get(list, 0), err);
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        if (!strcmp(type_of(o), forms[i].name)) {
            t->normal_form = forms[i].options;
            return 0;
        }
    return unsupported(t, "normalizer", o, "null, NFC, NFD, NFKC, NFKD", err);
}

static int load_split(struct tokenizer *t, const json_t *o, struct err *err)
{
    const json_t *pattern = json_object_get(o, "pattern");
    const char *re = json_string_value(json_object_get(pattern, "Regex")),
               *text = json_string_value(json_object_get(pattern, "String"));
    const char *behavior;
    bool invert;
    int rc = json_get_str(o, "behavior", &behavior, "tokenizer.json: Split", err);
    if (rc == 0)
        rc = json_bool_or(o, "invert", false, &invert, "tokenizer.json: Split", err);
    if (rc)
        return rc;
    bool removed = !strcmp(behavior, "Removed");
    if (!removed && strcmp(behavior, "Isolated"))
        return err_set(
            err, ERR_UNSUPPORTED,
            "%s/tokenizer.json: Split with behavior %.40s; supported: Isolated, Removed",
            t->path, behavior);
    if (re)
        return split_add(t, re, invert, removed, false, err);
    if (!text || strstr(text, "\\E"))
        return err_set(err, ERR_FORMAT,
                       "%s/tokenizer.json: Split needs a pattern with Regex or String",
                       t->path);
    struct buf quoted = {0};
    buf_addf(&quoted, "\\Q%s\\E", text);
    rc =
        quoted.failed ? no_memory(t, err) : split_add(t, quoted.s, invert, removed, false, err);
    buf_release(&quoted);
    return rc;
}

static int load_byte_level(struct tokenizer *t, const json_t *o, struct err *err)
{
    bool space, regex;
    int rc =
        json_bool_or(o, "add_prefix_space", true, &space, "tokenizer.json: ByteLevel", err);
    if (rc == 0)
        rc = json_bool_or(o, "use_regex", true, &regex, "tokenizer.json: ByteLevel", err);
    return rc ? rc : split_add(t, regex ? SPLIT_GPT2 : NULL, false, false, space, err);
}

static int load_digits(struct tokenizer *t, const json_t *o, struct err *err)
{
    bool each;
    int rc = json_bool_or(o, "individual_digits", false, &each, "tokenizer.json: Digits", err);
    return rc ? rc : split_add(t, each ? SPLIT_DIGIT : "\\p{N}+", false, false, false, err);
}

static int load_pre_tokenizer(struct tokenizer *t, const json_t *o, struct err *err)
{
    static const char known[] =
        "ByteLevel, or a Sequence of Split and Digits that ends with ByteLevel";
    const json_t *list = json_object_get(o, "pretokenizers");
    bool sequence = !strcmp(type_of(o), "Sequence") && json_is_array(list);
    size_t n = sequence ? json_array_size(list) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = sequence ? json_array_get(list, i) : o;
        const char *type = type_of(one);
        bool last = i + 1 == n;
        int rc = last && !strcmp(type, "ByteLevel") ? load_byte_level(t, one, err)
                 : !last && !strcmp(type, "Split")  ? load_split(t, one, err)
                 : !last && !strcmp(type, "Digits")
                     ? load_digits(t, one, err)
                     : unsupported(t, "pre_tokenizer", one, known, err);
        if (rc)
            return rc;
    }
    return n ? 0 : unsupported(t, "pre_tokenizer", o, known, err);
}

static int check_decoder(const struct tokenizer *t, const json_t *o, struct err *err)
{
    return !o || json_is_null(o) || !strcmp(type_of(o), "ByteLevel")
               ? 0
               : unsupported(t, "decoder", o, "ByteLevel", err);
}

/* ---- post-processor ------------------------------------------------------------- */

/* One {"SpecialToken": {"id": "<s>"}} of a template: the ids listed for it under
 * special_tokens. */
static int load_template_token(struct tokenizer *t, const json_t *o, const char *name,
                               bool after, struct err *err)
{
    const json_t *ids =
        json_object_get(json_object_get(json_object_get(o, "special_tokens"), name), "ids");
    json_t *v;
    size_t i;
    int *list = after ? t->after : t->before, *n = after ? &t->n_after : &t->n_before;
    if (!json_is_array(ids))
        return err_set(err, ERR_FORMAT,
                       "%s/tokenizer.json: TemplateProcessing does not list the ids of '%.60s'",
                       t->path, name);
    json_array_foreach((json_t *)ids, i, v)
    {
        if (!json_is_integer(v) || json_integer_value(v) < 0 ||
            json_integer_value(v) >= t->vocab)
            return err_set(
                err, ERR_FORMAT,
                "%s/tokenizer.json: TemplateProcessing: '%.60s' has an id that is no token",
                t->path, name);
        if (*n == TEMPLATE_MAX)
            return err_set(err, ERR_UNSUPPORTED,
                           "%s/tokenizer.json: TemplateProcessing adds more than %d tokens",
                           t->path, TEMPLATE_MAX);
        list[(*n)++] = (int)json_integer_value(v);
    }
    return 0;
}

static int load_template(struct tokenizer *t, const json_t *o, struct err *err)
{
    const json_t *single = json_object_get(o, "single");
    json_t *v;
    size_t i;
    bool after = false;
    int sequences = 0;
    json_array_foreach((json_t *)single, i, v)
    {
        const char *name =
            json_string_value(json_object_get(json_object_get(v, "SpecialToken"), "id"));
        if (json_object_get(v, "Sequence")) {
            after = true;
            sequences++;
        } else {
            int rc = name ? load_template_token(t, o, name, after, err)
                          : err_set(err, ERR_FORMAT,
                                    "%s/tokenizer.json: TemplateProcessing: item %zu is no "
                                    "SpecialToken or Sequence",
                                    t->path, i);
            if (rc)
                return rc;
        }
    }
    return sequences == 1
               ? 0
               : err_set(
                     err, ERR_UNSUPPORTED,
                     "%s/tokenizer.json: TemplateProcessing with %d sequences, expected one",
                     t->path, sequences);
}

static int load_post_processor(struct tokenizer *t, const json_t *o, int depth, struct err *err)
{
    if (!o || json_is_null(o) || !strcmp(type_of(o), "ByteLevel"))
        return 0;
    if (!strcmp(type_of(o), "TemplateProcessing") && !t->n_before && !t->n_after)
        return load_template(t, o, err);
    const json_t *list = json_object_get(o, "processors");
    if (strcmp(type_of(o), "Sequence") || !json_is_array(list) || depth > 2)
        return unsupported(t, "post_processor", o,
                           "null, ByteLevel, one TemplateProcessing, a Sequence of these", err);
    int rc = 0;
    for (size_t i = 0; i < json_array_size(list) && rc == 0; i++)
        rc = load_post_processor(t, json_array_get(list, i), depth + 1, err);
    return rc;
}

/* ---- the folder ----------------------------------------------------------------- */

static const struct saved_file *saved(const struct tokenizer *t, const char *name)
{
    for (int i = 0; i < t->n_files; i++)
        if (!strcmp(t->file[i].name, name))
            return &t->file[i];
    return NULL;
}

static int keep_file(struct tokenizer *t, const char *name, struct err *err)
{
    char *path = path_join(t->path, name);
    int rc = 0;
    if (!path)
        return no_memory(t, err);
    if (file_exists(path)) {
        struct saved_file *f = &t->file[t->n_files];
        f->name = str_printf("%s", name);
        rc = f->name ? file_read(&f->bytes, &f->n, path, (size_t)1 << 28, err)
                     : no_memory(t, err);
        t->n_files++;
    }
    free(path);
    return rc;
}

static int is_jinja(const struct dirent *e)
{
    return e->d_name[0] != '.' && str_ends(e->d_name, ".jinja");
}

/* chat_templates/NAME.jinja, in the order of their names. */
static int keep_templates(struct tokenizer *t, struct err *err)
{
    struct dirent **list = NULL;
    char *dir = path_join(t->path, CHAT_DIR);
    int rc = dir ? 0 : no_memory(t, err), n = dir ? scandir(dir, &list, is_jinja, alphasort) : 0;
    for (int i = 0; i < n; i++) {
        char name[512];
        snprintf(name, sizeof name, CHAT_DIR "/%s", list[i]->d_name);
        if (rc == 0 && t->n_files == FILES_MAX)
            rc = err_set(err, ERR_UNSUPPORTED, "%s: more than %d chat templates", dir, i);
        if (rc == 0)
            rc = keep_file(t, name, err);
        free(list[i]);
    }
    free(list);
    free(dir);
    return rc;
}

/* Keeps every tokenizer file of the folder in memory, so that a model can be saved after its
 * source is gone. */
static int keep_files(struct tokenizer *t, struct err *err)
{
    static const char *const names[] = {
        "tokenizer.json",    "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "chat_template.jinja",   "vocab.json",
        "merges.txt"};
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(names) && rc == 0; i++)
        rc = keep_file(t, names[i], err);
    return rc ? rc : keep_templates(t, err);
}

static json_t *parse_saved(const struct tokenizer *t, const char *name, int *rc,
                           struct err *err)
{
    const struct saved_file *f = saved(t, name);
    char where[512];
    struct err e = {0};
    *rc = 0;
    if (!f)
        return NULL;
    snprintf(where, sizeof where, "%s/%s", t->path, name);
    json_t *v = json_parse(f->bytes, f->n, where, &e);
    if (!v)
        *rc = err_set(err, e.code, "%s", e.msg);
    return v;
}

static int load_chat(struct tokenizer *t, struct err *err)
{
    int rc;
    json_t *config = parse_saved(t, "tokenizer_config.json", &rc, err);
    if (rc == 0)
        rc = chat_load_folder(t, config, err);
    json_decref(config);
    return rc;
}

static int load_root(struct tokenizer *t, const json_t *root, struct big *big, struct err *err)
{
    if (!json_is_object(root))
        return err_set(err, ERR_FORMAT, "%s/tokenizer.json: expected a JSON object", t->path);
    int rc = load_normalizer(t, json_object_get(root, "normalizer"), err);
    if (rc == 0)
        rc = load_pre_tokenizer(t, json_object_get(root, "pre_tokenizer"), err);
    if (rc == 0)
        rc = check_decoder(t, json_object_get(root, "decoder"), err);
    if (rc == 0)
        rc = load_model(t, root, big, err);
    return rc ? rc : load_post_processor(t, json_object_get(root, "post_processor"), 0, err);
}

int tokenizer_load_folder(struct tokenizer *t, struct err *err)
{
    struct big big = {0};
    int rc = keep_files(t, err);
    if (rc)
        return rc;
    const struct saved_file *f = saved(t, "tokenizer.json");
    if (!f)
        return err_set(err, ERR_MISSING, "%s: no tokenizer.json in this folder", t->path);
    char where[512],
        *text = mem_alloc(f->n + 1, 1); // a copy: the file's own bytes are kept as they are
    size_t n = f->n;
    snprintf(where, sizeof where, "%s/tokenizer.json", t->path);
    if (!text)
        return no_memory(t, err);
    memcpy(text, f->bytes, f->n);
    scan_big(&big, text, &n);
    struct err why = {0};
    json_t *root = json_parse(text, n, where, &why);
    rc = root ? load_root(t, root, &big, err) : err_set(err, why.code, "%s", why.msg);
    big_release(&big); // strings of the JSON are borrowed in it
    json_decref(root);
    free(text);
    return rc ? rc : load_chat(t, err);
}
