/* tokenizer.c - text to ids and back: the order of the steps, and the small questions about
 * tokens.
 *
 * Bytes that are not UTF-8 become U+FFFD before anything else, one for each maximal part of a
 * character, as Python's errors="replace" does on the way into transformers.  Decoding gives
 * back bytes exactly. */
#include "model/tokenizer/tokenizer.h"

#include <utf8proc.h>

/* ---- opening -------------------------------------------------------------------- */

static int load_gguf_file(struct tokenizer *t, struct err *err)
{
    struct file_map map;
    struct gguf g = {0};
    int rc = file_map_open(&map, t->path, err);
    if (rc)
        return rc;
    rc = gguf_open(&g, map.p, map.n, t->path, err);
    if (rc == 0)
        rc = tokenizer_load_gguf(t, &g, err);
    gguf_release(&g);
    file_map_close(&map);
    return rc;
}

int tokenizer_open(struct tokenizer **out, const char *path, struct err *err)
{
    struct tokenizer *t = mem_alloc(1, sizeof *t);
    if (t)
        t->path = str_printf("%s", path);
    if (!t || !t->path) {
        tokenizer_free(t);
        return err_set(err, ERR_MEMORY, "%s: no memory", path);
    }
    t->unk = t->bos = t->eos = t->pad = t->unk_named = -1;
    int rc;
    if (dir_exists(path))
        rc = tokenizer_load_folder(t, err);
    else if (file_exists(path) && gguf_is(path))
        rc = load_gguf_file(t, err);
    else
        rc = err_set(
            err, ERR_MISSING,
            "%s: no tokenizer here; expected a folder with tokenizer.json or a .gguf file",
            path);
    if (rc == 0)
        *out = t;
    else
        tokenizer_free(t);
    return rc;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    for (int i = 0; i < t->n_splits; i++)
        pcre2_code_free(t->split[i].re);
    for (int i = 0; i < t->n_files; i++) {
        free(t->file[i].name);
        free(t->file[i].bytes);
    }
    free(t->token);
    free(t->words.slot);
    free(t->merges.slot);
    free(t->raw.item);
    free(t->normal.item);
    chat_free(t->chat);
    arena_release(&t->arena);
    free(t->path);
    free(t);
}

void tokens_release(struct tokens *t)
{
    free(t->id);
    *t = (struct tokens){0};
}

/* ---- encoding ------------------------------------------------------------------- */

/* What one call of tokenize works with. */
struct work {
    const struct tokenizer *t;
    struct tokens *out;
    struct bpe *bpe;
    struct pieces pieces;
    bool parse_special;
    struct err *err;
};

/* Length of the broken character at s: the bytes that could still have become one, at least 1.
 */
static size_t broken_length(const char *s, size_t n)
{
    unsigned char a = (unsigned char)s[0], lo = 0x80, hi = 0xBF;
    size_t want = a >= 0xC2 && a <= 0xDF   ? 2
                  : a >= 0xE0 && a <= 0xEF ? 3
                  : a >= 0xF0 && a <= 0xF4 ? 4
                                           : 1;
    if (a == 0xE0)
        lo = 0xA0; // the second byte has a narrower range after these four
    if (a == 0xED)
        hi = 0x9F;
    if (a == 0xF0)
        lo = 0x90;
    if (a == 0xF4)
        hi = 0x8F;
    size_t i = 1;
    for (; i < want && i < n; i++, lo = 0x80, hi = 0xBF)
        if ((unsigned char)s[i] < lo || (unsigned char)s[i] > hi)
            break;
    return i;
}

static void repair_utf8(struct buf *out, const char *s, size_t n)
{
    for (size_t at = 0; at < n;) {
        size_t good = utf8_valid(s + at, n - at);
        buf_add(out, s + at, good);
        at += good;
        if (at < n) {
            buf_adds(out, "\xEF\xBF\xBD");
            at += broken_length(s + at, n - at);
        }
    }
}

static int encode_plain(struct work *w, const char *s, size_t n)
{
    int rc = split_text(w->t, &w->pieces, s, n, w->err);
    for (int i = 0; i < w->pieces.n && rc == 0; i++)
        rc = bpe_encode(w->t, w->bpe, w->out, w->pieces.item[i].s, w->pieces.item[i].n, w->err);
    return rc;
}

/* Each part is an added token or goes through `plain`. */
static int encode_parts(struct work *w, const struct added_set *set, const char *s, size_t n,
                        int (*plain)(struct work *, const char *, size_t))
{
    if (!set->n)
        return plain(w, s, n);
    struct founds parts = {0};
    int rc = added_cut(set, &parts, s, n, w->parse_special, w->err);
    for (int i = 0; i < parts.n && rc == 0; i++) {
        const struct found *f = &parts.item[i];
        rc = f->id >= 0 ? tokens_add(w->out, f->id, w->err)
                        : plain(w, s + f->start, f->end - f->start);
    }
    free(parts.item);
    return rc;
}

static int encode_normal(struct work *w, const char *s, size_t n)
{
    if (!w->t->normal_form)
        return encode_parts(w, &w->t->normal, s, n, encode_plain);
    utf8proc_uint8_t *form = NULL;
    utf8proc_ssize_t k = utf8proc_map((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &form,
                                      (utf8proc_option_t)w->t->normal_form);
    if (k < 0)
        return err_set(w->err, ERR_MEMORY, "normal form of %zu bytes: %s", n,
                       utf8proc_errmsg(k));
    int rc = encode_parts(w, &w->t->normal, (const char *)form, (size_t)k, encode_plain);
    free(form);
    return rc;
}

static int add_all(struct tokens *out, const int *id, int n, struct err *err)
{
    int rc = 0;
    for (int i = 0; i < n && rc == 0; i++)
        rc = tokens_add(out, id[i], err);
    return rc;
}

int tokenize(const struct tokenizer *t, struct tokens *out, const char *text, size_t n,
             int flags, struct err *err)
{
    struct work w = {.t = t,
                     .out = out,
                     .bpe = bpe_new(),
                     .parse_special = flags & TOKENIZE_PARSE_SPECIAL,
                     .err = err};
    struct buf fixed = {0};
    bool special = flags & TOKENIZE_SPECIAL;
    int before = out->n, rc = 0;
    if (n && utf8_valid(text, n) < n) {
        repair_utf8(&fixed, text, n);
        text = fixed.s;
        n = fixed.len;
    }
    if (!w.bpe || fixed.failed)
        rc = err_set(err, ERR_MEMORY, "no memory to tokenize a text");
    if (rc == 0 && special)
        rc = add_all(out, t->before, t->n_before, err);
    if (rc == 0 && n)
        rc = encode_parts(&w, &t->raw, text, n, encode_normal);
    if (rc == 0 && special)
        rc = add_all(out, t->after, t->n_after, err);
    if (rc)
        out->n = before;
    pieces_release(&w.pieces);
    bpe_free(w.bpe);
    buf_release(&fixed);
    return rc;
}

/* ---- decoding and questions ----------------------------------------------------- */

static const struct token *token_at(const struct tokenizer *t, int id)
{
    return id >= 0 && id < t->vocab && t->token[id].s ? &t->token[id] : NULL;
}

/* Ids that no token has are skipped, as transformers does. */
int detokenize(const struct tokenizer *t, struct buf *out, const int *id, int n,
               bool skip_special)
{
    for (int i = 0; i < n; i++) {
        const struct token *k = token_at(t, id[i]);
        if (k && !(skip_special && k->special))
            token_bytes(out, k);
    }
    return out->failed ? ERR_MEMORY : 0;
}

int tokenizer_id(const struct tokenizer *t, const char *token)
{
    return words_find(t, token, strlen(token));
}

int tokenizer_vocab(const struct tokenizer *t)
{
    return t->vocab;
}

bool tokenizer_is_special(const struct tokenizer *t, int id)
{
    const struct token *k = token_at(t, id);
    return k && k->special;
}

int tokenizer_spellings(const struct tokenizer *t, const char *word, int *id, int max)
{
    struct buf b = {0};
    int found = 0;
    size_t n = strlen(word);
    for (int i = 0; i < t->vocab && found < max; i++) {
        const struct token *k = token_at(t, i);
        if (!k || k->special || k->n < n)
            continue;
        buf_clear(&b);
        token_bytes(&b, k);
        size_t skip = 0;
        while (skip < b.len && b.s[skip] == ' ')
            skip++;
        if (!b.failed && b.len - skip == n && n && !memcmp(b.s + skip, word, n))
            id[found++] = i;
    }
    buf_release(&b);
    return found;
}

static bool among(int id, const int *list, int n)
{
    for (int i = 0; i < n; i++)
        if (list[i] == id)
            return true;
    return false;
}

int tokenizer_pad(const struct tokenizer *t, int pad, int bos, const int *eos, int n_eos)
{
    static const char *const names[] = {"<pad>", "<|pad|>", "[PAD]", "<|endoftext|>", "<unk>"};
    if (pad >= 0 && !among(pad, eos, n_eos))
        return pad;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        int id = tokenizer_id(t, names[i]);
        if (tokenizer_is_special(t, id) && id != bos && !among(id, eos, n_eos))
            return id;
    }
    for (int id = 0; id < t->vocab; id++)
        if (tokenizer_is_special(t, id) && id != bos && !among(id, eos, n_eos))
            return id;
    return -1;
}
