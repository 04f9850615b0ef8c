/* load_json.c - tokenizer.json of Hugging Face's tokenizers: model, vocabulary and added tokens.
 *
 * Models BPE (merges as "a b" or ["a", "b"]), Unigram, WordPiece and WordLevel; dropout is
 * refused, because ids would be random.  Truncation and padding settings are ignored, as
 * transformers does.  The steps around the model are read by steps.c and post.c. */
#include "model/tokenizer/tokenizer.h"

static int no_memory(const struct tokenizer *t, struct err *err)
{
    return err_set(err, ERR_MEMORY, "%s: no memory for the tokenizer", t->path);
}

/* ---- vocabulary ----------------------------------------------------------------- */

static int check_id(const struct tokenizer *t, int64_t id, const char *token, struct err *err)
{
    if (id < 0 || id >= TOKEN_LIMIT)
        return err_set(err, ERR_FORMAT,
                       "%s: token '%.60s': expected an id from 0 to %d", t->where,
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
    char where[400];
    snprintf(where, sizeof where, "%s: added_tokens", t->where);
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
        rc = json_get_str(v, "content", &content, where, err);
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
                       "%s: tokens '%.60s' and '%.60s' have the same id %d",
                       t->where, k->s, s, id);
    *k = (struct token){.s = arena_strndup(&t->arena, s, n), .n = (uint32_t)n};
    return k->s ? 0 : no_memory(t, err);
}

int put_added(struct tokenizer *t, struct added *a, struct err *err)
{
    struct matching m = {0};
    struct buf form = {0};
    bool moved;
    int rc = 0;
    if (a->normalized && t->n_normal) {
        rc = normalize(t, &m, &form, a->s, a->n, &moved, err);
        a->s = rc ? NULL : arena_strndup(&t->arena, form.s ? form.s : "", form.len);
        a->n = (uint32_t)form.len;
        if (rc == 0 && !a->s)
            rc = no_memory(t, err);
        buf_release(&form);
        matching_release(&m);
    }
    if (rc == 0 && a->n && added_put(a->normalized ? &t->late : &t->raw, a))
        rc = no_memory(t, err);
    return rc;
}

static int load_added(struct tokenizer *t, const json_t *v, struct err *err)
{
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
    bool apart = !t->token[a.id].s || t->token[a.id].apart;
    int rc = put_token(t, a.id, content, strlen(content), err);
    char where[400];
    snprintf(where, sizeof where, "%s: added_tokens", t->where);
    for (size_t i = 0; i < ARRAY_LEN(flags) && rc == 0; i++)
        rc = json_bool_or(v, flags[i].key, false, flags[i].out, where, err);
    if (rc)
        return rc;
    struct token *k = &t->token[a.id];
    k->added = true;
    k->apart = apart;
    k->special = a.special;
    a.s = k->s;
    a.n = k->n;
    return put_added(t, &a, err);
}

static int load_vocab(struct tokenizer *t, const json_t *root, const struct big *big,
                      struct err *err)
{
    const json_t *added = json_object_get(root, "added_tokens");
    json_t *v;
    size_t i;
    if (added && !json_is_null(added) && !json_is_array(added))
        return err_set(err, ERR_FORMAT, "%s: 'added_tokens' should be a list", t->where);
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
            rc = load_added(t, v, err);
    }
    added_sort(&t->raw);
    added_sort(&t->late);
    if (rc == 0)
        rc = words_build(t, t->model == MODEL_UNIGRAM, err);
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

static int load_scores(struct tokenizer *t, const struct big *big, struct err *err)
{
    double *score = mem_alloc(big->n_vocab + 1, sizeof *score);
    if (!score)
        return no_memory(t, err);
    for (size_t i = 0; i < big->n_vocab; i++)
        score[i] = big->vocab[i].score;
    int rc = unigram_build(t, score, (int)big->n_vocab, false, err);
    free(score);
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
                       "%s: 'model.vocab' should be an object of tokens and ids",
                       t->where);
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

/* [["piece", -3.5], ...] */
static int listed_from_json(const struct tokenizer *t, struct big *big, const json_t *model,
                            struct err *err)
{
    const json_t *vocab = json_object_get(model, "vocab");
    size_t n = json_array_size(vocab);
    if (!n || n > TOKEN_LIMIT)
        return err_set(err, ERR_FORMAT,
                       "%s: 'model.vocab' should be a list of pieces with their scores",
                       t->where);
    big->vocab = mem_alloc(n, sizeof *big->vocab);
    if (!big->vocab)
        return no_memory(t, err);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(vocab, i), *s = json_array_get(v, 0),
                     *score = json_array_get(v, 1);
        if (!json_is_string(s) || !json_is_number(score))
            return err_set(err, ERR_FORMAT, "%s: model.vocab[%zu] should be [piece, score]",
                           t->where, i);
        big->vocab[big->n_vocab++] =
            (struct vocab_item){json_string_value(s), (uint32_t)json_string_length(s),
                                (int64_t)i, json_number_value(score)};
    }
    big->listed = true;
    return 0;
}

static int merges_from_json(const struct tokenizer *t, struct big *big, const json_t *model,
                            struct err *err)
{
    const json_t *merges = json_object_get(model, "merges");
    size_t n = json_array_size(merges);
    if (!json_is_array(merges) || n > TOKEN_LIMIT)
        return err_set(err, ERR_FORMAT,
                       "%s: 'model.merges' should be a list of at most %d",
                       t->where, TOKEN_LIMIT);
    big->merge = mem_alloc(n + 1, sizeof *big->merge);
    if (!big->merge)
        return no_memory(t, err);
    for (; big->n_merges < n; big->n_merges++)
        if (!merge_from_json(&big->merge[big->n_merges], json_array_get(merges, big->n_merges)))
            return err_set(err, ERR_FORMAT,
                           "%s: merge %zu should be \"left right\" or "
                           "[\"left\", \"right\"]",
                           t->where, big->n_merges);
    return 0;
}

/* ---- model ---------------------------------------------------------------------- */

static const char *const MODELS[] = {"BPE", "Unigram", "WordPiece", "WordLevel"};

/* A string that a null, an empty one or its absence leaves NULL. */
static int get_affix(struct tokenizer *t, const json_t *model, const char *key,
                     const char *dflt, const char **out, struct err *err)
{
    const char *s;
    char where[400];
    snprintf(where, sizeof where, "%s: model", t->where);
    int rc = json_str_or(model, key, dflt, &s, where, err);
    *out = rc == 0 && s && *s ? arena_strdup(&t->arena, s) : NULL;
    return rc == 0 && s && *s && !*out ? no_memory(t, err) : rc;
}

static int load_options(struct tokenizer *t, const json_t *model, struct err *err)
{
    const json_t *dropout = json_object_get(model, "dropout");
    bool words = t->model == MODEL_WORDPIECE;
    int64_t longest = 100;
    char where[400];
    snprintf(where, sizeof where, "%s: model", t->where);
    struct {
        const char *key;
        bool *out;
    } flags[] = {{"ignore_merges", &t->ignore_merges},
                 {"fuse_unk", &t->fuse_unk},
                 {"byte_fallback", &t->byte_fallback}};
    if (dropout && !json_is_null(dropout) && json_number_value(dropout) != 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: 'model.dropout' is set: ids would be random; set it to null",
                       t->where);
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(flags) && rc == 0; i++)
        rc = json_bool_or(model, flags[i].key, false, flags[i].out, where, err);
    if (rc == 0)
        rc = get_affix(t, model, "continuing_subword_prefix", words ? "##" : NULL, &t->prefix,
                       err);
    if (rc == 0)
        rc = get_affix(t, model, "end_of_word_suffix", NULL, &t->suffix, err);
    if (rc == 0)
        rc = json_i64_or(model, "max_input_chars_per_word", 100, &longest, where, err);
    if (rc == 0 && (longest < 0 || longest > 1000))
        rc = err_set(err, ERR_UNSUPPORTED,
                     "%s: 'model.max_input_chars_per_word' is %lld, expected 0 to 1000",
                     t->where, (long long)longest);
    t->longest = (int)longest;
    return rc;
}

static int load_unk(struct tokenizer *t, const json_t *model, struct err *err)
{
    const char *unk = NULL;
    int64_t id = -1;
    char where[400];
    snprintf(where, sizeof where, "%s: model", t->where);
    int rc = t->model == MODEL_UNIGRAM
                 ? json_i64_or(model, "unk_id", -1, &id, where, err)
                 : json_str_or(model, "unk_token", NULL, &unk, where, err);
    if (rc == 0 && unk)
        id = model_find(t, unk, strlen(unk));
    if (rc == 0 && ((unk && id < 0) || id < -1 || id >= t->vocab))
        rc = unk ? err_set(err, ERR_FORMAT, "%s: unk_token '%.60s' is not in the vocabulary",
                           t->where, unk)
                 : err_set(err, ERR_FORMAT, "%s: 'model.unk_id' is %lld, of %d tokens", t->where,
                           (long long)id, t->vocab);
    t->unk = (int)id;
    return rc;
}

static int model_kind(struct tokenizer *t, const json_t *model, struct err *err)
{
    const json_t *type = json_object_get(model, "type");
    for (size_t i = 0; i < ARRAY_LEN(MODELS); i++)
        if (json_is_string(type) && !strcmp(json_string_value(type), MODELS[i])) {
            t->model = (enum token_model)i;
            return 0;
        }
    // files from before `type` was written have none
    if (json_is_object(model) && !type) {
        t->model = json_is_array(json_object_get(model, "vocab")) ? MODEL_UNIGRAM : MODEL_BPE;
        return 0;
    }
    return err_set(err, ERR_UNSUPPORTED,
                   "%s: model has type '%.60s'; supported: BPE, Unigram, WordPiece, WordLevel",
                   t->where, json_is_string(type) ? json_string_value(type) : "");
}

/* The lists that scan.c did not read, and whether they are of the model's kind. */
static int load_lists(struct tokenizer *t, const json_t *model, struct big *big,
                      struct err *err)
{
    bool scanned = big->n_vocab, listed = t->model == MODEL_UNIGRAM;
    int rc = 0;
    if (!scanned)
        rc = (listed ? listed_from_json : vocab_from_json)(t, big, model, err);
    else if (big->listed != listed)
        rc = err_set(err, ERR_FORMAT, "%s: 'model.vocab' is no vocabulary of model %s",
                     t->where, MODELS[t->model]);
    if (rc == 0 && t->model == MODEL_BPE &&
        (!scanned || !json_is_array(json_object_get(model, "merges"))))
        rc = merges_from_json(t, big, model, err);
    return rc;
}

static int load_model(struct tokenizer *t, const json_t *root, struct big *big, struct err *err)
{
    const json_t *model = json_object_get(root, "model");
    int rc = model_kind(t, model, err);
    if (rc == 0)
        rc = load_options(t, model, err);
    if (rc == 0)
        rc = steps_load(t, root, err);
    if (rc == 0)
        rc = load_lists(t, model, big, err);
    if (rc == 0)
        rc = load_vocab(t, root, big, err);
    if (rc == 0)
        rc = load_unk(t, model, err);
    if (rc == 0 && t->model == MODEL_UNIGRAM)
        rc = load_scores(t, big, err);
    else if (rc == 0 && t->model == MODEL_BPE)
        rc = load_merges(t, big, err);
    return rc;
}

/* ---- the file ------------------------------------------------------------------- */

static int load_root(struct tokenizer *t, const json_t *root, struct big *big, struct err *err)
{
    if (!json_is_object(root))
        return err_set(err, ERR_FORMAT, "%s: expected a JSON object", t->where);
    int rc = load_model(t, root, big, err);
    return rc ? rc : post_load(t, json_object_get(root, "post_processor"), err);
}

int tokenizer_load_json(struct tokenizer *t, const struct saved_file *f, struct err *err)
{
    struct big big = {0};
    char *text = mem_alloc(f->n + 1, 1); // a copy: the file's own bytes are kept as they are
    size_t n = f->n;
    if (!text)
        return no_memory(t, err);
    memcpy(text, f->bytes, f->n);
    scan_big(&big, text, &n);
    struct err why = {0};
    json_t *root = json_parse(text, n, t->where, &why);
    int rc = root ? load_root(t, root, &big, err) : err_set(err, why.code, "%s", why.msg);
    big_release(&big); // strings of the JSON are borrowed in it
    json_decref(root);
    free(text);
    return rc;
}
