/* wordpiece.c - the two simplest models: the longest pieces from left to right (BERT), and
 * whole words only. */
#include "model/tokenizer/tokenizer.h"

static int unknown(const struct tokenizer *t, struct tokens *out, const char *s, size_t n,
                   struct err *err)
{
    if (t->unk >= 0)
        return tokens_add(out, t->unk, err);
    return err_set(err, ERR_VALUE,
                   "'%.*s' is not in the vocabulary, which has no token for what is unknown",
                   (int)(n < 60 ? n : 60), s);
}

/* The longest token at s, inside a word with the prefix in front; *n is how much it covers. */
static int longest(const struct tokenizer *t, struct buf *scratch, const char *s, size_t *n,
                   bool inside)
{
    const char *prefix = inside && t->prefix ? t->prefix : "";
    size_t p = strlen(prefix);
    buf_clear(scratch);
    buf_add(scratch, prefix, p);
    buf_add(scratch, s, *n);
    while (*n && !scratch->failed) {
        int id = model_find(t, scratch->s, p + *n);
        if (id >= 0)
            return id;
        *n = char_previous(s, *n);
    }
    return -1;
}

int wordpiece_encode(const struct tokenizer *t, struct buf *scratch, struct tokens *out,
                     const char *s, size_t n, struct err *err)
{
    size_t chars = 0, at = 0;
    int before = out->n, rc = 0;
    if (t->model == MODEL_WORDLEVEL) {
        int id = model_find(t, s, n);
        return id >= 0 ? tokens_add(out, id, err) : unknown(t, out, s, n, err);
    }
    for (size_t i = 0; i < n; i++)
        chars += ((unsigned char)s[i] & 0xC0) != 0x80;
    if (chars > (size_t)t->longest)
        return unknown(t, out, s, n, err);
    while (at < n && rc == 0) {
        size_t k = n - at;
        int id = longest(t, scratch, s + at, &k, at > 0);
        if (scratch->failed)
            return err_set(err, ERR_MEMORY, "no memory to tokenize a word of %zu bytes", n);
        if (id < 0) {
            out->n = before;
            return unknown(t, out, s, n, err);
        }
        rc = tokens_add(out, id, err);
        at += k;
    }
    return rc;
}
