/* load_gguf.c - the tokenizer inside a GGUF file: model gpt2 (byte-level BPE) with one of the
 * pre-tokenizers of pres.c, and model llama (SentencePiece's BPE with bytes for what is
 * unknown).
 *
 * The steps are written as a tokenizer.json would have them and read by steps.c.  Types of
 * tokens: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte. */
#include "model/tokenizer/tokenizer.h"

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER, TYPE_UNUSED, TYPE_BYTE };

static int no_memory(const struct tokenizer *t, struct err *err)
{
    return err_set(err, ERR_MEMORY, "%s: no memory for the tokenizer", t->path);
}

/* ---- tokens ---------------------------------------------------------------------- */

static int put_special(struct tokenizer *t, int id, bool special, struct err *err)
{
    struct token *k = &t->token[id];
    struct added a = {.s = k->s, .n = k->n, .id = id, .special = special};
    k->added = true;
    k->special = special;
    return k->n ? put_added(t, &a, err) : 0;
}

static int load_tokens(struct tokenizer *t, const struct gguf *g, const struct gguf_value **types,
                       struct err *err)
{
    const struct gguf_value *list;
    int rc = gguf_get_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &list, err);
    if (rc == 0)
        rc = gguf_get_array(g, "tokenizer.ggml.token_type", GGUF_I32, types, err);
    if (rc)
        return rc;
    if (!list || !list->count || list->count > TOKEN_LIMIT)
        return err_set(err, list ? ERR_FORMAT : ERR_MISSING,
                       "%s: key 'tokenizer.ggml.tokens' is missing, empty or too long",
                       t->path);
    if (*types && (*types)->count != list->count)
        return err_set(err, ERR_FORMAT, "%s: %llu token types for %llu tokens", t->path,
                       (unsigned long long)(*types)->count, (unsigned long long)list->count);
    t->vocab = (int)list->count;
    t->token = mem_alloc(list->count, sizeof *t->token);
    if (!t->token)
        return no_memory(t, err);
    const unsigned char *at = list->p;
    for (int id = 0; id < t->vocab && rc == 0; id++) {
        struct gguf_str s = gguf_next_str(&at);
        int type = *types ? gguf_i32_at(*types, (uint64_t)id) : TYPE_NORMAL;
        t->token[id] =
            (struct token){.s = arena_strndup(&t->arena, s.s, s.n), .n = (uint32_t)s.n};
        if (!t->token[id].s)
            return no_memory(t, err);
        if (type == TYPE_UNKNOWN || type == TYPE_CONTROL || type == TYPE_USER)
            rc = put_special(t, id, type != TYPE_USER, err);
    }
    added_sort(&t->raw);
    if (rc == 0)
        rc = words_build(t, true, err);
    if (rc == 0)
        bytes_index(t);
    return rc;
}

/* Of pairs listed twice the first counts: they are read from the end. */
static int load_merges(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    const struct gguf_value *list;
    int rc = gguf_get_array(g, "tokenizer.ggml.merges", GGUF_STRING, &list, err);
    if (rc)
        return rc;
    if (!list || list->count > TOKEN_LIMIT)
        return err_set(err, list ? ERR_FORMAT : ERR_MISSING,
                       "%s: key 'tokenizer.ggml.merges' is missing or too long", t->path);
    struct gguf_str *merge = mem_alloc(list->count + 1, sizeof *merge);
    if (!merge)
        return no_memory(t, err);
    const unsigned char *at = list->p;
    for (uint64_t i = 0; i < list->count; i++)
        merge[i] = gguf_next_str(&at);
    rc = merges_reserve(t, list->count, err);
    for (uint64_t i = list->count; i-- > 0 && rc == 0;) {
        struct gguf_str s = merge[i];
        const char *space = s.n > 2 ? memchr(s.s + 1, ' ', s.n - 2) : NULL;
        if (space)
            rc = merges_add(t, s.s, (size_t)(space - s.s), space + 1,
                            (size_t)(s.s + s.n - space - 1), (int)i, err);
        else
            rc = err_set(err, ERR_FORMAT,
                         "%s: merge %llu: expected two tokens with a space between", t->path,
                         (unsigned long long)i);
    }
    free(merge);
    return rc;
}

static int load_scores(struct tokenizer *t, const struct gguf *g,
                       const struct gguf_value *types, struct err *err)
{
    const struct gguf_value *list;
    int rc = gguf_get_array(g, "tokenizer.ggml.scores", GGUF_F32, &list, err);
    if (rc)
        return rc;
    if (!list || list->count != (uint64_t)t->vocab)
        return err_set(err, list ? ERR_FORMAT : ERR_MISSING,
                       "%s: key 'tokenizer.ggml.scores': expected %d of them, found %llu",
                       t->path, t->vocab, list ? (unsigned long long)list->count : 0);
    float *score = mem_alloc((size_t)t->vocab, sizeof *score);
    bool *usable = mem_alloc((size_t)t->vocab, sizeof *usable);
    if (!score || !usable)
        rc = no_memory(t, err);
    for (int id = 0; id < t->vocab && rc == 0; id++) {
        int type = types ? gguf_i32_at(types, (uint64_t)id) : TYPE_NORMAL;
        memcpy(&score[id], list->p + 4 * (size_t)id, 4);
        usable[id] = type == TYPE_NORMAL || type == TYPE_UNUSED;
        if (!(score[id] == score[id]))
            rc = err_set(err, ERR_NUMERIC, "%s: the score of token %d is no number", t->path,
                         id);
    }
    if (rc == 0)
        rc = merges_from_scores(t, score, usable, err);
    free(score);
    free(usable);
    return rc;
}

/* ---- what stands around a text ------------------------------------------------------ */

static int get_id(const struct tokenizer *t, const struct gguf *g, const char *key, int *out,
                  struct err *err)
{
    int64_t id = *out;
    int rc = gguf_get_int(g, key, &id, err);
    if (rc == 0 && (id < -1 || id >= t->vocab))
        rc = err_set(err, ERR_FORMAT, "%s: key '%s' is %lld, but there are %d tokens", t->path,
                     key, (long long)id, t->vocab);
    if (rc == 0)
        *out = (int)id;
    return rc;
}

static int load_ends(struct tokenizer *t, const struct gguf *g, bool add_bos, struct err *err)
{
    const struct {
        const char *key;
        int *out;
    } ids[] = {
        {"tokenizer.ggml.bos_token_id", &t->bos},
        {"tokenizer.ggml.eos_token_id", &t->eos},
        {"tokenizer.ggml.padding_token_id", &t->pad},
        {"tokenizer.ggml.unknown_token_id", &t->unk_named},
    };
    bool add_eos = false;
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(ids) && rc == 0; i++)
        rc = get_id(t, g, ids[i].key, ids[i].out, err);
    if (rc == 0)
        rc = gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &add_bos, err);
    if (rc == 0)
        rc = gguf_get_bool(g, "tokenizer.ggml.add_eos_token", &add_eos, err);
    json_t *post = template_json(t, add_bos ? t->bos : -1, add_eos ? t->eos : -1);
    json_object_set_new(t->made, "post_processor", post);
    return rc ? rc : post_load(t, post, err);
}

/* The tokens that templates name. */
static int load_special(struct tokenizer *t, struct err *err)
{
    const struct { const char *name; int id; } named[] = {
        {"bos_token", t->bos}, {"eos_token", t->eos}, {"pad_token", t->pad}, {"unk_token", t->unk_named}};
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(named) && rc == 0; i++)
        if (named[i].id >= 0 && named[i].id < t->vocab && t->token[named[i].id].s)
            rc = chat_special(t, named[i].name, t->token[named[i].id].s, err);
    return rc;
}

/* tokenizer.chat_template, and tokenizer.chat_template.NAME for each in tokenizer.chat_templates. */
static int load_templates(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    struct gguf_str s = {0};
    const struct gguf_value *names = NULL;
    int rc = gguf_get_str(g, "tokenizer.chat_template", &s, err);
    if (rc == 0 && s.n)
        rc = chat_add(t, "default", s.s, s.n, t->path, err);
    if (rc == 0)
        rc = gguf_get_array(g, "tokenizer.chat_templates", GGUF_STRING, &names, err);
    const unsigned char *at = names ? names->p : NULL;
    for (uint64_t i = 0; names && i < names->count && i < 32 && rc == 0; i++) {
        struct gguf_str name = gguf_next_str(&at), text = {0};
        char key[128], *only = key + sizeof "tokenizer.chat_template." - 1;
        snprintf(key, sizeof key, "tokenizer.chat_template.%.*s", name.n < 80 ? (int)name.n : 80, name.s);
        rc = gguf_get_str(g, key, &text, err);
        if (rc == 0 && text.n && strcmp(only, "default"))
            rc = chat_add(t, only, text.s, text.n, t->path, err);
    }
    return rc ? rc : load_special(t, err);
}

/* ---- the two models ----------------------------------------------------------------- */

static int load_gpt2(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    const struct gguf_value *types;
    struct gguf_str name;
    int rc = gguf_get_str(g, "tokenizer.ggml.pre", &name, err);
    if (rc)
        return rc;
    if (!name.s)
        name = (struct gguf_str){"default", 7};
    const struct pre *pre = pre_find(name.s, name.n);
    if (!pre)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: tokenizer.ggml.pre is '%.*s', which is none of the supported "
                       "pre-tokenizers (smollm, gpt-2, llama-bpe, qwen2, tekken, deepseek-llm, "
                       "falcon and others)",
                       t->path, (int)(name.n < 60 ? name.n : 60), name.s);
    t->made = json_pack("{sn so so}", "normalizer", "pre_tokenizer", pre_json(pre), "decoder",
                        byte_level_json(true));
    t->ignore_merges = pre->ignore_merges;
    t->gaps = true;
    rc = t->made ? steps_load(t, t->made, err) : no_memory(t, err);
    if (rc == 0)
        rc = load_tokens(t, g, &types, err);
    if (rc == 0)
        rc = load_merges(t, g, err);
    return rc ? rc : load_ends(t, g, pre->add_bos, err);
}

static int load_llama(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    const struct gguf_value *types = NULL;
    bool prefix = true;
    int rc = gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", &prefix, err);
    if (rc)
        return rc;
    t->made = metaspace_json(prefix);
    t->byte_fallback = t->fuse_unk = true;
    t->bos = 1, t->eos = 2, t->unk_named = 0; // where the file does not say
    rc = t->made ? steps_load(t, t->made, err) : no_memory(t, err);
    if (rc == 0)
        rc = load_tokens(t, g, &types, err);
    if (rc == 0)
        rc = load_scores(t, g, types, err);
    if (rc == 0)
        rc = load_ends(t, g, true, err);
    t->unk = t->unk_named;
    return rc;
}

int tokenizer_load_gguf(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    struct gguf_str model;
    snprintf(t->where, sizeof t->where, "%s", t->path);
    int rc = gguf_get_str(g, "tokenizer.ggml.model", &model, err);
    if (rc)
        return rc;
    if (model.n == 4 && !memcmp(model.s, "gpt2", 4))
        rc = load_gpt2(t, g, err);
    else if (model.n == 5 && !memcmp(model.s, "llama", 5))
        rc = load_llama(t, g, err);
    else
        rc = err_set(err, ERR_UNSUPPORTED,
                     "%s: tokenizer.ggml.model is '%.*s'; supported: gpt2, llama", t->path,
                     (int)(model.n < 60 ? model.n : 60), model.s ? model.s : "");
    return rc ? rc : load_templates(t, g, err);
}
