/* bytes.c - GPT-2's alphabet for bytes, and the tables of tokens and merges.
 *
 * Bytes that are visible characters in Latin-1 (33-126, 161-172, 174-255) are written as that
 * character, the other 68 as U+0100 upward in order.  So every spelling is printable, and one
 * byte is one character. */
#include "model/tokenizer/tokenizer.h"

#include <xxhash.h>

static bool visible(int b)
{
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
}

/* Characters U+0100 + i stand for the i-th invisible byte: 0-32, 127-160, 173. */
static int invisible_byte(int i)
{
    return i <= 32 ? i : i < 67 ? 127 + i - 33 : i == 67 ? 173 : -1;
}

static int invisible_index(int b)
{
    return b <= 32 ? b : b == 173 ? 67 : b - 127 + 33;
}

int byte_spell(char out[2], unsigned char b)
{
    int c = visible(b) ? b : 256 + invisible_index(b);
    if (c < 128) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xC0 | c >> 6);
    out[1] = (char)(0x80 | (c & 63));
    return 2;
}

int byte_unspell(const char *s, size_t left, size_t *n)
{
    unsigned char a = (unsigned char)s[0], b = left > 1 ? (unsigned char)s[1] : 0;
    *n = 1;
    if (a < 128)
        return visible(a) ? a : -1;
    if (a < 0xC2 || a > 0xC5 || (b & 0xC0) != 0x80)
        return -1;
    int c = (a & 31) << 6 | (b & 63);
    *n = 2;
    return c < 256 ? (visible(c) ? c : -1) : invisible_byte(c - 256);
}

static bool in_alphabet(const char *s, size_t n)
{
    for (size_t i = 0, k; i < n; i += k)
        if (byte_unspell(s + i, n - i, &k) < 0)
            return false;
    return true;
}

void token_bytes(struct buf *out, const struct token *t)
{
    if (t->added || !in_alphabet(t->s, t->n)) {
        buf_add(out, t->s, t->n);
        return;
    }
    for (size_t i = 0, k; i < t->n; i += k) {
        char c = (char)byte_unspell(t->s + i, t->n - i, &k);
        buf_add(out, &c, 1);
    }
}

/* ---- spelling -> id ------------------------------------------------------------- */

static size_t table_size(size_t n)
{
    size_t size = 16;
    while (size < 2 * n)
        size *= 2;
    return size;
}

int words_build(struct tokenizer *t, struct err *err)
{
    size_t size = table_size((size_t)t->vocab);
    t->words = (struct words){mem_alloc(size, sizeof *t->words.slot), size - 1};
    if (!t->words.slot)
        return err_set(err, ERR_MEMORY, "%s: no memory for %d tokens", t->path, t->vocab);
    for (int id = 0; id < t->vocab; id++) {
        const struct token *k = &t->token[id];
        if (!k->s)
            continue;
        size_t i = XXH3_64bits(k->s, k->n) & t->words.mask;
        for (; t->words.slot[i]; i = (i + 1) & t->words.mask) {
            const struct token *o = &t->token[t->words.slot[i] - 1];
            if (o->n == k->n && !memcmp(o->s, k->s, k->n))
                return err_set(err, ERR_FORMAT,
                               "%s: tokens %d and %d have the same spelling '%.60s'", t->path,
                               t->words.slot[i] - 1, id, k->s);
        }
        t->words.slot[i] = id + 1;
    }
    return 0;
}

int words_find(const struct tokenizer *t, const char *s, size_t n)
{
    for (size_t i = XXH3_64bits(s, n) & t->words.mask; t->words.slot[i];
         i = (i + 1) & t->words.mask) {
        const struct token *o = &t->token[t->words.slot[i] - 1];
        if (o->n == n && !memcmp(o->s, s, n))
            return t->words.slot[i] - 1;
    }
    return -1;
}

void bytes_index(struct tokenizer *t)
{
    for (int b = 0; b < 256; b++) {
        char s[2];
        int n = byte_spell(s, (unsigned char)b);
        t->byte_id[b] = words_find(t, s, (size_t)n);
    }
}

/* ---- pair -> merged id ---------------------------------------------------------- */

int merges_reserve(struct tokenizer *t, size_t n, struct err *err)
{
    size_t size = table_size(n);
    t->merges = (struct merges){mem_alloc(size, sizeof *t->merges.slot), size - 1};
    return t->merges.slot
               ? 0
               : err_set(err, ERR_MEMORY, "%s: no memory for %zu merges", t->path, n);
}

/* A full-period mix; pairs of small integers would cluster otherwise. */
static size_t pair_hash(uint64_t key)
{
    key *= 0x9E3779B97F4A7C15u;
    return (size_t)(key >> 32 ^ key);
}

static struct merge *merge_slot(const struct merges *m, uint64_t key)
{
    size_t i = pair_hash(key) & m->mask;
    while (m->slot[i].key && m->slot[i].key != key)
        i = (i + 1) & m->mask;
    return &m->slot[i];
}

/* Both ids plus one, so that no key is 0. */
static uint64_t pair_key(int left, int right)
{
    return (uint64_t)(left + 1) << 32 | (uint32_t)(right + 1);
}

int merges_add(struct tokenizer *t, const char *left, size_t nl, const char *right, size_t nr,
               int rank, struct err *err)
{
    char small[256], *both = nl + nr <= sizeof small ? small : mem_alloc(nl + nr, 1);
    if (!both)
        return err_set(err, ERR_MEMORY, "%s: no memory for merge %d", t->path, rank);
    memcpy(both, left, nl);
    memcpy(both + nl, right, nr);
    int a = words_find(t, left, nl), b = words_find(t, right, nr),
        c = words_find(t, both, nl + nr);
    if (both != small)
        free(both);
    if (a < 0 || b < 0 || c < 0)
        return err_set(err, ERR_FORMAT,
                       "%s: merge %d, '%.*s' and '%.*s': %s is not in the vocabulary", t->path,
                       rank, (int)(nl < 60 ? nl : 60), left, (int)(nr < 60 ? nr : 60), right,
                       a < 0   ? "the first"
                       : b < 0 ? "the second"
                               : "their union");
    struct merge *m = merge_slot(&t->merges, pair_key(a, b));
    if (!m->key)
        *m = (struct merge){pair_key(a, b), rank, c};
    return 0;
}

const struct merge *merges_find(const struct tokenizer *t, int left, int right)
{
    if (left < 0 || right < 0)
        return NULL;
    const struct merge *m = merge_slot(&t->merges, pair_key(left, right));
    return m->key ? m : NULL;
}
