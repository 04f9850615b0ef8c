/* charsmap.c - the table by which SentencePiece normalises text (normalizer_spec's
 * precompiled_charsmap; Precompiled in a tokenizer.json).
 *
 *     offset  size  meaning
 *     0       4     bytes of the trie, little endian
 *     4       that  the trie: units of 32 bits of a Darts double array, from bytes to offsets
 *     then          replacements, each ended by a NUL; a trie's value is an offset into them
 *
 * Text is replaced grapheme by grapheme where a grapheme has less than six bytes and the table
 * holds a beginning of it, else character by character, as the reference does. */
#include "model/tokenizer/tokenizer.h"

#include <utf8proc.h>

static int base64_value(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

int base64_read(struct arena *a, char **out, size_t *n, const char *text)
{
    size_t len = strlen(text), k = 0;
    uint32_t bits = 0;
    int held = 0;
    while (len && text[len - 1] == '=')
        len--;
    char *to = arena_alloc(a, len / 4 * 3 + 4);
    if (!to)
        return ERR_MEMORY;
    for (size_t i = 0; i < len; i++) {
        int v = base64_value(text[i]);
        if (v < 0)
            return ERR_FORMAT;
        bits = bits << 6 | (uint32_t)v;
        held += 6;
        if (held >= 8) {
            held -= 8;
            to[k++] = (char)(bits >> held);
        }
    }
    *out = to;
    *n = k;
    return 0;
}

int charsmap_read(struct charsmap *map, const char *blob, size_t n, const char *where,
                  struct err *err)
{
    uint32_t size = 0;
    if (n >= 4)
        memcpy(&size, blob, 4);
    if (n < 4 || size % 4 || size < 4 || size > n - 4)
        return err_set(err, ERR_FORMAT,
                       "%s: precompiled_charsmap of %zu bytes, whose trie should have %u",
                       where, n, (unsigned)size);
    *map = (struct charsmap){(const uint32_t *)(const void *)(blob + 4), size / 4,
                             blob + 4 + size, n - 4 - size};
    if (map->n && map->text[map->n - 1])
        return err_set(err, ERR_FORMAT,
                       "%s: the last replacement of precompiled_charsmap has no end", where);
    return 0;
}

/* The parts of a unit: where the children are, the byte it is reached by, whether it has a
 * value, and the value. */
static uint32_t unit_offset(uint32_t u)
{
    return (u >> 10) << ((u & (1u << 9)) >> 6);
}

/* The replacement of the shortest beginning of s that has one, or NULL. */
static const char *replacement(const struct charsmap *map, const char *s, size_t n)
{
    uint32_t at = unit_offset(map->trie[0]);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        at ^= c;
        if (!c || at >= map->units)
            return NULL;
        uint32_t u = map->trie[at];
        if ((u & ((1u << 31) | 0xFF)) != c)
            return NULL;
        at ^= unit_offset(u);
        if (u >> 8 & 1) {
            uint32_t value = at < map->units ? map->trie[at] & 0x7FFFFFFF : UINT32_MAX;
            return value < map->n ? map->text + value : NULL;
        }
    }
    return NULL;
}

static size_t grapheme(const char *s, size_t n)
{
    utf8proc_int32_t state = 0;
    size_t k, i;
    int32_t c = char_code(s, n, &k), next;
    for (i = k; i < n; i += k, c = next) {
        next = char_code(s + i, n - i, &k);
        if (utf8proc_grapheme_break_stateful(c, next, &state))
            break;
    }
    return i;
}

void charsmap_apply(const struct charsmap *map, struct buf *out, const char *s, size_t n)
{
    for (size_t i = 0, g; i < n; i += g) {
        g = grapheme(s + i, n - i);
        const char *made = g < 6 ? replacement(map, s + i, g) : NULL;
        if (made) {
            buf_adds(out, made);
            continue;
        }
        for (size_t j = 0, k; j < g; j += k) {
            k = char_length(s + i + j);
            made = replacement(map, s + i + j, k);
            if (made)
                buf_adds(out, made);
            else
                buf_add(out, s + i + j, k);
        }
    }
}
