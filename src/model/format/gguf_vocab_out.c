/* gguf_vocab_out.c - a tokenizer as the metadata of a GGUF file.
 *
 * Two of llama.cpp's kinds are written: gpt2 (byte-level BPE with one of its named
 * pre-tokenizers, found by comparing what they make of some texts) and llama (SentencePiece's
 * BPE; scores follow from the ranks of the merges).  Before it is believed, what was written is
 * read back and must give the ids of the original on texts of many kinds. */
#include "model/format/gguf_out.h"
#include "model/tokenizer/tokenizer.h"

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER, TYPE_UNUSED, TYPE_BYTE };

/* What pre-tokenizers disagree about: digits, contractions and their case, runs of space, line
 * ends, signs before letters, other scripts, marks, emoji. */
static const char *const PROBES[] = {
    "Hello, world! It's 12345.678 o'clock; WE'LL see, can't we?",
    "  two  spaces   three\ttab \n\n new\r\nlines \n  indented\n\n\n\n",
    "def f(x_1):\n    return x_1**2 + [3,14] # !!! ...---\n",
    "3 33 333 3333 33333 1,000,000 x1y22z333 ½ ²",
    "Ünïcödé naïve Straße Žižek éé e\xcc\x81 ﬁ",
    "中文字符，没有空格。日本語カタカナ 한국어 ไทย हिन्दी العربية עברית",
    "😀👍🏽 👩‍👩‍👧 \xe2\x80\x8b zero \xc2\xa0 nbsp \xe3\x80\x80 wide",
    "(a)[b]{c}<d> /e\\ f'g \"h\" I'M YOU'RE he'd 'tis HTTPServer camelCase",
    "=== --- *** ~~~ $5.00 €9 100% a@b.c https://x.y/z?q=1&r=2",
    "_",
    "'",
    " ",
    "\n",
    "the",
    " the",
    "1",
    "",
};

static int no_memory(const struct gguf_out *o, struct err *err)
{
    return err_set(err, ERR_MEMORY, "%s: no memory to write its tokenizer", o->path);
}

/* ---- which pre-tokenizer ------------------------------------------------------------ */

static bool same_pieces(const struct tokenizer *a, const struct tokenizer *b)
{
    struct splitting x = {0}, y = {0};
    bool same = true;
    for (size_t i = 0; i < ARRAY_LEN(PROBES) && same; i++) {
        size_t n = strlen(PROBES[i]);
        same = split_text(a, &x, PROBES[i], n, true, NULL) == 0 &&
               split_text(b, &y, PROBES[i], n, true, NULL) == 0 && x.now.n == y.now.n;
        for (int k = 0; same && k < x.now.n; k++)
            same = x.now.item[k].n == y.now.item[k].n &&
                   !memcmp(x.now.item[k].s, y.now.item[k].s, x.now.item[k].n);
    }
    splitting_release(&x);
    splitting_release(&y);
    return same;
}

static bool splits_as(const struct tokenizer *t, const struct pre *pre, const char *where)
{
    struct tokenizer *x = mem_alloc(1, sizeof *x);
    json_t *steps = json_pack("{sn so so}", "normalizer", "pre_tokenizer", pre_json(pre),
                              "decoder", byte_level_json(true));
    bool same = false;
    if (x && steps) {
        snprintf(x->where, sizeof x->where, "%.200s", where);
        same = steps_load(x, steps, NULL) == 0 && same_pieces(t, x);
    }
    json_decref(steps);
    tokenizer_free(x);
    return same;
}

/* llama.cpp's name for the tokenizer's way of splitting; of several, one that treats
 * whole-token pieces alike. */
static const char *find_pre(const struct tokenizer *t, const char *where)
{
    static const char *const names[] = {
        "gpt-2",          "llama-bpe",   "qwen2",        "smollm", "dbrx",
        "tekken",         "gpt-4o",      "deepseek-llm", "falcon", "seed-coder",
        "deepseek-coder", "deepseek-v3", "bailingmoe",   "glm4",   "default"};
    const char *found = NULL;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct pre *pre = pre_find(names[i], strlen(names[i]));
        bool alike = pre && pre->ignore_merges == t->ignore_merges;
        if (pre && (alike || !found) && splits_as(t, pre, where)) {
            found = names[i];
            if (alike)
                break;
        }
    }
    return found;
}

/* ---- tokens and merges ---------------------------------------------------------------- */

struct ranked {
    int rank, left, right, id;
};

static int compare_rank(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

/* All merges, the first first. */
static int list_merges(struct ranked **out, size_t *n, const struct gguf_out *o,
                       const struct tokenizer *t, struct err *err)
{
    size_t slots = t->merges.slot ? t->merges.mask + 1 : 0;
    struct ranked *list = mem_alloc(slots + 1, sizeof *list);
    *n = 0;
    if (!list)
        return no_memory(o, err);
    for (size_t i = 0; i < slots; i++) {
        const struct merge *m = &t->merges.slot[i];
        if (m->key)
            list[(*n)++] = (struct ranked){m->rank, (int)(m->key >> 32) - 1,
                                           (int)(uint32_t)m->key - 1, m->id};
    }
    qsort(list, *n, sizeof *list, compare_rank);
    *out = list;
    return 0;
}

static int type_of(const struct tokenizer *t, int id, bool bytes)
{
    const struct token *k = id < t->vocab ? &t->token[id] : NULL;
    if (!k || !k->s)
        return TYPE_UNUSED;
    if (bytes && byte_named(k->s, k->n) >= 0)
        return TYPE_BYTE;
    if (id == t->unk && bytes)
        return TYPE_UNKNOWN;
    return k->special ? TYPE_CONTROL : k->added ? TYPE_USER : TYPE_NORMAL;
}

/* llama.cpp wants as many tokens as the embedding has rows: those without one get a name. */
static void put_tokens(struct gguf_out *o, const struct tokenizer *t, int vocab, bool bytes)
{
    gguf_put_array(o, "tokenizer.ggml.tokens", GGUF_STRING, (uint64_t)vocab);
    for (int id = 0; id < vocab; id++) {
        char name[32];
        bool has = id < t->vocab && t->token[id].s;
        snprintf(name, sizeof name, "[PAD%d]", id);
        gguf_add_str(&o->kv, has ? t->token[id].s : name, has ? t->token[id].n : strlen(name));
    }
    gguf_put_array(o, "tokenizer.ggml.token_type", GGUF_I32, (uint64_t)vocab);
    for (int id = 0; id < vocab; id++)
        gguf_add_u32(&o->kv, (uint32_t)type_of(t, id, bytes));
}

static void put_merges(struct gguf_out *o, const struct tokenizer *t, const struct ranked *list,
                       size_t n)
{
    gguf_put_array(o, "tokenizer.ggml.merges", GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) {
        const struct token *a = &t->token[list[i].left], *b = &t->token[list[i].right];
        gguf_add_u64(&o->kv, (uint64_t)a->n + 1 + b->n);
        buf_add(&o->kv, a->s, a->n);
        buf_add(&o->kv, " ", 1);
        buf_add(&o->kv, b->s, b->n);
    }
}

/* The earlier a token can be merged, the higher its score; what no merge makes comes last. */
static int put_scores(struct gguf_out *o, const struct tokenizer *t, int vocab,
                      const struct ranked *list, size_t n, struct err *err)
{
    float *score = mem_alloc((size_t)vocab, sizeof *score);
    if (!score)
        return no_memory(o, err);
    for (int id = 0; id < vocab; id++)
        score[id] = type_of(t, id, true) == TYPE_NORMAL ? -(float)n - 1 : 0;
    for (size_t i = n; i-- > 0;) // the first merge that makes it counts
        score[list[i].id] = -(float)i;
    gguf_put_array(o, "tokenizer.ggml.scores", GGUF_F32, (uint64_t)vocab);
    for (int id = 0; id < vocab; id++)
        gguf_add_f32(&o->kv, score[id]);
    free(score);
    return 0;
}

/* ---- ids ------------------------------------------------------------------------------ */

static void put_id(struct gguf_out *o, const char *key, int id)
{
    if (id >= 0)
        gguf_put_u32(o, key, (uint32_t)id);
}

static int put_ends(struct gguf_out *o, const struct tokenizer *t, const struct model_config *c,
                    struct err *err)
{
    int bos = t->n_before ? t->before[0] : c->bos, eos = c->eos;
    bool one_eos = !t->n_after || (t->n_after == 1 && t->after[0] == eos);
    if (t->n_before > 1 || !one_eos)
        return err_set(
            err, ERR_UNSUPPORTED,
            "%s: its post_processor puts more around a text than one token before and "
            "the EOS after it, which a GGUF cannot say",
            o->path);
    put_id(o, "tokenizer.ggml.bos_token_id", bos);
    put_id(o, "tokenizer.ggml.eos_token_id", eos);
    for (int i = 0, more = 0; i < c->n_eos && more < 2; i++)
        if (c->eos_ids[i] != eos)
            put_id(o, more++ ? "tokenizer.ggml.eom_token_id" : "tokenizer.ggml.eot_token_id",
                   c->eos_ids[i]);
    put_id(o, "tokenizer.ggml.padding_token_id", c->pad);
    put_id(o, "tokenizer.ggml.unknown_token_id", t->unk);
    gguf_put_bool(o, "tokenizer.ggml.add_bos_token", t->n_before == 1);
    gguf_put_bool(o, "tokenizer.ggml.add_eos_token", t->n_after == 1);
    return 0;
}

/* ---- the two kinds -------------------------------------------------------------------- */

static int put_gpt2(struct gguf_out *o, const struct tokenizer *t, const struct model_config *c,
                    const struct ranked *list, size_t n, struct err *err)
{
    const char *pre = find_pre(t, o->path);
    if (!pre)
        return err_set(
            err, ERR_UNSUPPORTED,
            "%s: its tokenizer splits texts in none of the ways that llama.cpp has a "
            "name for",
            o->path);
    gguf_put_str(o, "tokenizer.ggml.model", "gpt2");
    gguf_put_str(o, "tokenizer.ggml.pre", pre);
    put_tokens(o, t, c->vocab, false);
    put_merges(o, t, list, n);
    return 0;
}

static bool puts_space_first(const struct tokenizer *t)
{
    struct tokens ids = {0};
    bool space = tokenize(t, &ids, "x", 1, 0, NULL) == 0 && ids.n &&
                 str_starts(t->token[ids.id[0]].s, "\xe2\x96\x81");
    tokens_release(&ids);
    return space;
}

static int put_llama(struct gguf_out *o, const struct tokenizer *t,
                     const struct model_config *c, const struct ranked *list, size_t n,
                     struct err *err)
{
    gguf_put_str(o, "tokenizer.ggml.model", "llama");
    gguf_put_str(o, "tokenizer.ggml.pre", "default");
    put_tokens(o, t, c->vocab, true);
    gguf_put_bool(o, "tokenizer.ggml.add_space_prefix", puts_space_first(t));
    return put_scores(o, t, c->vocab, list, n, err);
}

/* ---- reading back --------------------------------------------------------------------- */

static int compare_ids(const struct gguf_out *o, const struct tokenizer *a,
                       const struct tokenizer *b, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(PROBES) && rc == 0; i++) {
        struct tokens x = {0}, y = {0};
        size_t n = strlen(PROBES[i]);
        rc = tokenize(a, &x, PROBES[i], n, TOKENIZE_SPECIAL | TOKENIZE_PARSE_SPECIAL, err);
        if (rc == 0)
            rc = tokenize(b, &y, PROBES[i], n, TOKENIZE_SPECIAL | TOKENIZE_PARSE_SPECIAL, err);
        if (rc == 0 && (x.n != y.n || (x.n && memcmp(x.id, y.id, (size_t)x.n * sizeof *x.id))))
            rc = err_set(err, ERR_UNSUPPORTED,
                         "%s: written into a GGUF, its tokenizer would make other tokens of "
                         "\"%.40s\"",
                         o->path, PROBES[i]);
        tokens_release(&x);
        tokens_release(&y);
    }
    return rc;
}

static int read_back(const struct gguf_out *o, const struct tokenizer *t, struct err *err)
{
    struct buf b = {0};
    struct gguf g = {0};
    struct tokenizer *back = mem_alloc(1, sizeof *back);
    buf_adds(&b, "GGUF");
    gguf_add_u32(&b, 3);
    gguf_add_u64(&b, 0);
    gguf_add_u64(&b, o->n);
    buf_add(&b, o->kv.s, o->kv.len);
    int rc = b.failed || !back ? no_memory(o, err)
                               : gguf_open(&g, (const unsigned char *)b.s, b.len, o->path, err);
    if (rc == 0) {
        back->path = str_printf("%s", o->path);
        back->bos = back->eos = back->pad = back->unk = back->unk_named = -1;
        rc = back->path ? tokenizer_load_gguf(back, &g, err) : no_memory(o, err);
    }
    if (rc == 0)
        rc = compare_ids(o, t, back, err);
    tokenizer_free(back);
    gguf_release(&g);
    buf_release(&b);
    return rc;
}

/* ---- all of it ------------------------------------------------------------------------ */

/* The default one under the plain key, the others under their names. */
static void put_templates(struct gguf_out *o, const struct tokenizer *t)
{
    int n = t->chat ? t->chat->n : 0, named = 0;
    for (int i = 0; i < n; i++) {
        const struct chat_template *c = &t->chat->item[i];
        bool is_default = !strcmp(c->name, "default");
        char key[160];
        snprintf(key, sizeof key, "tokenizer.chat_template%s%.120s", is_default ? "" : ".",
                 is_default ? "" : c->name);
        gguf_put_strn(o, key, c->text, c->n);
        named += !is_default;
    }
    if (!named)
        return;
    gguf_put_array(o, "tokenizer.chat_templates", GGUF_STRING, (uint64_t)named);
    for (int i = 0; i < n; i++)
        if (strcmp(t->chat->item[i].name, "default"))
            gguf_add_str(&o->kv, t->chat->item[i].name, strlen(t->chat->item[i].name));
}

int gguf_put_vocab(struct gguf_out *o, const struct tokenizer *t, const struct model_config *c,
                   struct err *err)
{
    struct ranked *list = NULL;
    size_t n = 0;
    if (t->vocab > c->vocab)
        return err_set(
            err, ERR_UNSUPPORTED,
            "%s: %d tokens, but the embedding has %d rows; llama.cpp wants a row for "
            "each",
            o->path, t->vocab, c->vocab);
    if (t->model != MODEL_BPE || (!t->byte_level && !t->byte_fallback))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: its tokenizer is not a BPE of bytes or with bytes for the unknown; "
                       "only those are written into a GGUF",
                       o->path);
    int rc = list_merges(&list, &n, o, t, err);
    if (rc == 0)
        rc = t->byte_level ? put_gpt2(o, t, c, list, n, err) : put_llama(o, t, c, list, n, err);
    free(list);
    if (rc == 0)
        rc = put_ends(o, t, c, err);
    if (rc == 0)
        rc = read_back(o, t, err);
    if (rc == 0)
        put_templates(o, t);
    return rc;
}
