/* load_gguf.c - the tokenizer inside a GGUF file: model gpt2 (byte-level BPE) with the
 * pre-tokenizers below.
 *
 * Names in tokenizer.ggml.pre stand for lists of regular expressions that llama.cpp holds in
 * its source; a name that is not in this table is refused.  Types of tokens: 1 normal, 2
 * unknown, 3 control, 4 user defined, 5 unused, 6 byte. */
#include "model/tokenizer/tokenizer.h"

#define CONTRACTION "'s|'t|'re|'ve|'m|'ll|'d"
static const struct pre PRE[] = {
    {"smollm starcoder refact command-r codeshell exaone minerva-7b",
     {SPLIT_DIGIT, SPLIT_GPT2},
     false,
     false},
    {"gpt-2 phi-2 mpt olmo jais trillion jina-es jina-de", {SPLIT_GPT2}, false, false},
    {"llama-bpe llama3 llama-v3",
     {"(?i:" CONTRACTION ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
                         "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
     true,
     true},
    {"qwen2 deepseek-r1-qwen",
     {"(?i:" CONTRACTION ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
                         "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
     false,
     false},
    {"default",
     {"[\\p{P}\\$\\+<=>\\^\\~\\|]+", SPLIT_GPT2, "\\p{N}+", "[0-9][0-9][0-9]"},
     false,
     false},
};

static int no_memory(const struct tokenizer *t, struct err *err)
{
    return err_set(err, ERR_MEMORY, "%s: no memory for the tokenizer", t->path);
}

static bool has_name(const char *names, struct gguf_str s)
{
    for (const char *p = names; *p;) {
        size_t n = strcspn(p, " ");
        if (n == s.n && !memcmp(p, s.s, n))
            return true;
        p += n + (p[n] == ' ');
    }
    return false;
}

static int load_pre(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    struct gguf_str model, pre;
    int rc = gguf_get_str(g, "tokenizer.ggml.model", &model, err);
    if (rc == 0)
        rc = gguf_get_str(g, "tokenizer.ggml.pre", &pre, err);
    if (rc)
        return rc;
    if (model.n != 4 || memcmp(model.s, "gpt2", 4))
        return err_set(
            err, ERR_UNSUPPORTED,
            "%s: tokenizer.ggml.model is '%.*s', only gpt2 (byte-level BPE) is supported",
            t->path, (int)(model.n < 60 ? model.n : 60), model.s ? model.s : "");
    if (!pre.s)
        pre = (struct gguf_str){"default", 7};
    for (size_t i = 0; i < ARRAY_LEN(PRE); i++)
        if (has_name(PRE[i].names, pre))
            t->pre = &PRE[i];
    if (!t->pre)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: tokenizer.ggml.pre is '%.*s'; supported: smollm, gpt-2, llama-bpe, "
                       "qwen2, default and "
                       "their equals",
                       t->path, (int)(pre.n < 60 ? pre.n : 60), pre.s);
    for (int i = 0; t->pre->regex[i] && rc == 0; i++)
        rc = split_add(t, t->pre->regex[i], false, false, false, err);
    t->ignore_merges = t->pre->ignore_merges;
    return rc;
}

static int put_added(struct tokenizer *t, int id, bool special, size_t *cap, struct err *err)
{
    struct token *k = &t->token[id];
    struct added a = {.s = k->s, .n = k->n, .id = id, .special = special};
    k->added = true;
    k->special = special;
    return k->n && added_put(&t->raw, cap, &a) ? no_memory(t, err) : 0;
}

static int load_tokens(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    const struct gguf_value *list, *types;
    int rc = gguf_get_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &list, err);
    if (rc == 0)
        rc = gguf_get_array(g, "tokenizer.ggml.token_type", GGUF_I32, &types, err);
    if (rc)
        return rc;
    if (!list || !list->count || list->count > TOKEN_LIMIT)
        return err_set(err, list ? ERR_FORMAT : ERR_MISSING,
                       "%s: key 'tokenizer.ggml.tokens' is missing, empty or too long",
                       t->path);
    if (types && types->count != list->count)
        return err_set(err, ERR_FORMAT, "%s: %llu token types for %llu tokens", t->path,
                       (unsigned long long)types->count, (unsigned long long)list->count);
    t->vocab = (int)list->count;
    t->token = mem_alloc(list->count, sizeof *t->token);
    if (!t->token)
        return no_memory(t, err);
    const unsigned char *at = list->p;
    size_t cap = 0;
    for (int id = 0; id < t->vocab && rc == 0; id++) {
        struct gguf_str s = gguf_next_str(&at);
        int type = types ? gguf_i32_at(types, (uint64_t)id) : 1;
        t->token[id] =
            (struct token){.s = arena_strndup(&t->arena, s.s, s.n), .n = (uint32_t)s.n};
        if (!t->token[id].s)
            return no_memory(t, err);
        if (type == 2 || type == 3 || type == 4)
            rc = put_added(t, id, type != 4, &cap, err);
    }
    added_sort(&t->raw);
    return rc ? rc : words_build(t, err);
}

static int load_merges(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    const struct gguf_value *list;
    int rc = gguf_get_array(g, "tokenizer.ggml.merges", GGUF_STRING, &list, err);
    if (rc)
        return rc;
    if (!list || list->count > TOKEN_LIMIT)
        return err_set(err, list ? ERR_FORMAT : ERR_MISSING,
                       "%s: key 'tokenizer.ggml.merges' is missing or too long", t->path);
    rc = merges_reserve(t, list->count, err);
    const unsigned char *at = list->p;
    for (uint64_t i = 0; i < list->count && rc == 0; i++) {
        struct gguf_str s = gguf_next_str(&at);
        const char *space = s.n > 2 ? memchr(s.s + 1, ' ', s.n - 2) : NULL;
        if (!space)
            return err_set(err, ERR_FORMAT,
                           "%s: merge %llu: expected two tokens with a space between", t->path,
                           (unsigned long long)i);
        rc = merges_add(t, s.s, (size_t)(space - s.s), space + 1,
                        (size_t)(s.s + s.n - space - 1), (int)i, err);
    }
    return rc;
}

static int get_id(const struct tokenizer *t, const struct gguf *g, const char *key, int *out,
                  struct err *err)
{
    int64_t id = -1;
    int rc = gguf_get_int(g, key, &id, err);
    if (rc == 0 && (id < -1 || id >= t->vocab))
        rc = err_set(err, ERR_FORMAT, "%s: key '%s' is %lld, but there are %d tokens", t->path,
                     key, (long long)id, t->vocab);
    if (rc == 0)
        *out = (int)id;
    return rc;
}

static int load_ends(struct tokenizer *t, const struct gguf *g, struct err *err)
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
    bool add_bos = t->pre->add_bos, add_eos = false;
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(ids) && rc == 0; i++)
        rc = get_id(t, g, ids[i].key, ids[i].out, err);
    if (rc == 0)
        rc = gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &add_bos, err);
    if (rc == 0)
        rc = gguf_get_bool(g, "tokenizer.ggml.add_eos_token", &add_eos, err);
    if (add_bos && t->bos >= 0)
        t->before[t->n_before++] = t->bos;
    if (add_eos && t->eos >= 0)
        t->after[t->n_after++] = t->eos;
    return rc;
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

int tokenizer_load_gguf(struct tokenizer *t, const struct gguf *g, struct err *err)
{
    t->gaps = true;
    int rc = load_pre(t, g, err);
    if (rc == 0)
        rc = load_tokens(t, g, err);
    if (rc == 0) {
        bytes_index(t);
        rc = load_merges(t, g, err);
    }
    if (rc == 0)
        rc = load_ends(t, g, err);
    return rc ? rc : load_templates(t, g, err);
}
