/* bytes.c - GPT-2's alphabet for bytes, characters, and the tables of tokens and merges.
 *
 * Bytes that are visible characters in Latin-1 (33-126, 161-172, 174-255) are written as that
 * character, the other 68 as U+0100 upward in order.  So every spelling is printable, and one
 * byte is one character. */
#include "model/tokenizer/tokenizer.h"

#include <utf8proc.h>
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

int byte_named(const char *s, size_t n)
{
    int value = 0;
    if (n != 6 || memcmp(s, "<0x", 3) || s[5] != '>')
        return -1;
    for (int i = 3; i < 5; i++) {
        int d = s[i] >= '0' && s[i] <= '9'   ? s[i] - '0'
                : s[i] >= 'A' && s[i] <= 'F' ? s[i] - 'A' + 10
                : s[i] >= 'a' && s[i] <= 'f' ? s[i] - 'a' + 10
                                             : -1;
        if (d < 0)
            return -1;
        value = value << 4 | d;
    }
    return value;
}

/* ---- characters ------------------------------------------------------------------ */

size_t char_length(const char *s)
{
    unsigned char c = (unsigned char)*s;
    return c < 0xC0 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

int32_t char_code(const char *s, size_t n, size_t *length)
{
    utf8proc_int32_t c = -1;
    *length = 1;
    if (n && (unsigned char)*s < 0x80)
        return (unsigned char)*s;
    utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &c);
    if (k > 0)
        *length = (size_t)k;
    return c;
}

size_t char_broken(const char *s, size_t n, bool *unfinished)
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
    *unfinished = i == n && i < want;
    return i;
}

size_t char_previous(const char *s, size_t at)
{
    size_t i = at - 1;
    while (i > 0 && at - i < 4 && ((unsigned char)s[i] & 0xC0) == 0x80)
        i--;
    return i;
}

size_t char_put(char out[4], int32_t c)
{
    return (size_t)utf8proc_encode_char(c, (utf8proc_uint8_t *)out);
}

bool char_is_space(int32_t c)
{
    if (c < 128)
        return c == ' ' || (c >= 9 && c <= 13);
    utf8proc_category_t k = utf8proc_category(c);
    return c == 0x85 || k == UTF8PROC_CATEGORY_ZS || k == UTF8PROC_CATEGORY_ZL ||
           k == UTF8PROC_CATEGORY_ZP;
}

bool char_is_mark(int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);
    return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME;
}

/* ---- spelling -> id ------------------------------------------------------------- */

static size_t table_size(size_t n)
{
    size_t size = 16;
    while (size < 2 * n)
        size *= 2;
    return size;
}

int words_build(struct tokenizer *t, bool last, struct err *err)
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
            if (o->n != k->n || memcmp(o->s, k->s, k->n))
                continue;
            if (last)
                break;
            return err_set(err, ERR_FORMAT,
                           "%s: tokens %d and %d have the same spelling '%.60s'", t->where,
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

int model_find(const struct tokenizer *t, const char *s, size_t n)
{
    int id = words_find(t, s, n);
    return id >= 0 && t->token[id].apart ? -1 : id;
}

void bytes_index(struct tokenizer *t)
{
    for (int b = 0; b < 256; b++) {
        char s[8];
        int n = t->byte_level ? byte_spell(s, (unsigned char)b)
                              : snprintf(s, sizeof s, "<0x%02X>", b);
        t->byte_id[b] = model_find(t, s, (size_t)n);
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

void merges_put(struct tokenizer *t, int left, int right, int rank, int id)
{
    *merge_slot(&t->merges, pair_key(left, right)) =
        (struct merge){pair_key(left, right), rank, id};
}

int merges_add(struct tokenizer *t, const char *left, size_t nl, const char *right, size_t nr,
               int rank, struct err *err)
{
    size_t skip = t->prefix ? strlen(t->prefix) : 0; // the union begins no word where left does
    skip = skip < nr ? skip : nr;
    char small[256], *both = nl + nr <= sizeof small ? small : mem_alloc(nl + nr, 1);
    if (!both)
        return err_set(err, ERR_MEMORY, "%s: no memory for merge %d", t->path, rank);
    memcpy(both, left, nl);
    memcpy(both + nl, right + skip, nr - skip);
    int a = model_find(t, left, nl), b = model_find(t, right, nr),
        c = model_find(t, both, nl + nr - skip);
    if (both != small)
        free(both);
    if (a < 0 || b < 0 || c < 0)
        return err_set(err, ERR_FORMAT,
                       "%s: merge %d, '%.*s' and '%.*s': %s is not in the vocabulary", t->where,
                       rank, (int)(nl < 60 ? nl : 60), left, (int)(nr < 60 ? nr : 60), right,
                       a < 0   ? "the first"
                       : b < 0 ? "the second"
                               : "their union");
    merges_put(t, a, b, rank, c);
    return 0;
}

const struct merge *merges_find(const struct tokenizer *t, int left, int right)
{
    if (left < 0 || right < 0)
        return NULL;
    const struct merge *m = merge_slot(&t->merges, pair_key(left, right));
    return m->key ? m : NULL;
}
