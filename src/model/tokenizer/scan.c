/* scan.c - the two big members of a tokenizer.json, model.vocab and model.merges, read without
 * a JSON tree.
 *
 * They are most of the file: a tree of them costs four times what is done with it.  So they are
 * found in the text, read into plain lists, and cut out (line ends stay), and the little that
 * remains goes through the JSON reader as usual.  Anything unexpected - another shape, an
 * escape that is no character - makes scan_big give up, and then the JSON reader sees the whole
 * file and says what is wrong.  So this file has no messages.  All it lets through beyond the
 * JSON reader is a token listed twice with the same id. */
#include "model/tokenizer/tokenizer.h"

#include <math.h>

struct scan {
    const char *p, *end;
};

static bool at(struct scan *s, char c)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
        s->p++;
    return s->p < s->end && *s->p == c;
}

static bool take(struct scan *s, char c)
{
    bool yes = at(s, c);
    s->p += yes;
    return yes;
}

/* ---- strings -------------------------------------------------------------------- */

static bool hex4(const char *p, const char *end, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++) {
        char c = p + i < end ? p[i] : 0;
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0)
            return false;
        *out = *out << 4 | (uint32_t)d;
    }
    return true;
}

static size_t put_utf8(char *out, uint32_t c)
{
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 63));
    out[0] = (char)(lead[n] | c);
    return n;
}

/* One escape at p (behind the backslash); returns where it ends, or NULL. */
static const char *unescape(const char *p, const char *end, char *out, size_t *n)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *simple = p < end && *p ? strchr(from, *p) : NULL;
    uint32_t c, low;
    if (simple) {
        out[(*n)++] = to[simple - from];
        return p + 1;
    }
    if (p >= end || *p != 'u' || !hex4(p + 1, end, &c) || (c >= 0xDC00 && c < 0xE000))
        return NULL;
    p += 5;
    if (c >= 0xD800 && c < 0xDC00) {
        if (end - p < 6 || p[0] != '\\' || p[1] != 'u' || !hex4(p + 2, end, &low) ||
            low < 0xDC00 || low > 0xDFFF)
            return NULL;
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        p += 6;
    }
    *n += put_utf8(out + *n, c);
    return p;
}

/* A string; its text lives in the arena. */
static bool string(struct scan *s, struct arena *a, const char **out, uint32_t *n)
{
    if (!take(s, '"'))
        return false;
    const char *start = s->p;
    bool escapes = false;
    for (; s->p < s->end && *s->p != '"'; s->p++) {
        if ((unsigned char)*s->p < 0x20)
            return false;
        escapes |= *s->p == '\\';
        s->p += *s->p == '\\';
    }
    if (s->p >= s->end)
        return false;
    size_t len = (size_t)(s->p++ - start), k = 0;
    char *copy = len < UINT32_MAX ? arena_strndup(a, start, len) : NULL;
    const char *p = start, *end = start + len;
    while (copy && escapes && p &&
           p < end) { // what is written is never longer than what is read
        if (*p == '\\')
            p = unescape(p + 1, end, copy, &k);
        else
            copy[k++] = *p++;
    }
    if (escapes && copy && p)
        copy[k] = 0;
    *out = copy;
    *n = (uint32_t)(escapes ? k : len);
    return copy && p && utf8_valid(copy, *n) == *n;
}

/* ---- the members ---------------------------------------------------------------- */

static bool vocab_item(struct scan *s, struct big *b)
{
    struct vocab_item v = {0}, *list = (b->n_vocab < b->vocab_cap)
                                           ? b->vocab
                                           : mem_grow(b->vocab, &b->vocab_cap, b->n_vocab + 1,
                                                      sizeof *list);
    if (!list)
        return false;
    b->vocab = list;
    if (!string(s, &b->arena, &v.s, &v.n) || !take(s, ':'))
        return false;
    at(s, 0);
    int digits = 0;
    bool leading_zero = s->end - s->p > 1 && s->p[0] == '0' && s->p[1] >= '0' && s->p[1] <= '9';
    for (; s->p < s->end && *s->p >= '0' && *s->p <= '9' && digits < 10; digits++)
        v.id = v.id * 10 + (*s->p++ - '0');
    if (digits < 1 || digits > 9 || leading_zero || !(at(s, ',') || at(s, '}')))
        return false;
    list[b->n_vocab++] = v;
    return true;
}

/* A score, rounded as Rust's serde_json rounds it: all digits as one integer, then divided by a
 * power of ten.  The last bit decides between ways of equal scores (unigram.c). */
static bool number(struct scan *s, double *out)
{
    uint64_t digits = 0;
    int exponent = 0, written = 0, count = 0;
    at(s, 0);
    bool minus = take(s, '-'), point = false, minus_e = false;
    for (; s->p < s->end && ((*s->p >= '0' && *s->p <= '9') || (*s->p == '.' && !point));
         s->p++) {
        unsigned d = (unsigned)(*s->p - '0');
        if (*s->p == '.') {
            point = true;
        } else if (digits > (UINT64_MAX - d) / 10) { // further digits are left out
            exponent += !point;
        } else {
            digits = digits * 10 + d;
            exponent -= point;
        }
        count++;
    }
    if (count && s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        s->p++;
        minus_e = s->p < s->end && *s->p == '-';
        s->p += s->p < s->end && (*s->p == '-' || *s->p == '+');
        for (; s->p < s->end && *s->p >= '0' && *s->p <= '9' && written < 10000; s->p++)
            written = written * 10 + (*s->p - '0');
    }
    exponent += minus_e ? -written : written;
    if (!count || exponent > 300 || exponent < -300)
        return false;
    double v =
        exponent < 0 ? (double)digits / pow(10, -exponent) : (double)digits * pow(10, exponent);
    *out = minus ? -v : v;
    return true;
}

/* ["piece", -3.5]: its place in the list is its id. */
static bool listed_item(struct scan *s, struct big *b)
{
    struct vocab_item v = {.id = (int64_t)b->n_vocab},
                      *list = mem_grow(b->vocab, &b->vocab_cap, b->n_vocab + 1, sizeof *list);
    if (!list)
        return false;
    b->vocab = list;
    if (!take(s, '[') || !string(s, &b->arena, &v.s, &v.n) || !take(s, ',') ||
        !number(s, &v.score) || !take(s, ']'))
        return false;
    list[b->n_vocab++] = v;
    return true;
}

static bool merge_item(struct scan *s, struct big *b)
{
    struct merge_item m = {0}, *list = (b->n_merges < b->merge_cap)
                                           ? b->merge
                                           : mem_grow(b->merge, &b->merge_cap, b->n_merges + 1,
                                                      sizeof *list);
    if (!list)
        return false;
    b->merge = list;
    if (take(s, '[')) {
        if (!string(s, &b->arena, &m.a, &m.na) || !take(s, ',') ||
            !string(s, &b->arena, &m.b, &m.nb) || !take(s, ']'))
            return false;
    } else if (!string(s, &b->arena, &m.a, &m.na) || !merge_split(&m)) {
        return false;
    }
    list[b->n_merges++] = m;
    return true;
}

/* "left right" in a becomes left in a, right in b. */
bool merge_split(struct merge_item *m)
{
    const char *space = memchr(m->a, ' ', m->na);
    if (!space || space == m->a || !space[1] || strchr(space + 1, ' '))
        return false;
    m->b = space + 1;
    m->nb = m->na - (uint32_t)(m->b - m->a);
    m->na = (uint32_t)(space - m->a);
    return true;
}

static bool list_of(struct scan *s, struct big *b, char open, char close,
                    bool (*item)(struct scan *, struct big *))
{
    if (!take(s, open))
        return false;
    if (take(s, close))
        return true;
    do
        if (!item(s, b))
            return false;
    while (take(s, ','));
    return take(s, close);
}

/* ---- finding them --------------------------------------------------------------- */

/* Steps over any value; brackets are only counted, the JSON reader looks at the rest again. */
static bool skip_value(struct scan *s)
{
    int depth = 0;
    bool in_string = false;
    at(s, 0);
    for (const char *start = s->p; s->p < s->end; s->p++) {
        char c = *s->p;
        if (in_string) {
            s->p += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        } else if (depth == 0 && (c == ',' || c == '}' || c == ']')) {
            return s->p > start;
        }
    }
    return false;
}

static bool key(struct scan *s, const char **name, size_t *n)
{
    if (!take(s, '"'))
        return false;
    *name = s->p;
    while (s->p < s->end && *s->p != '"' && *s->p != '\\')
        s->p++;
    *n = (size_t)(s->p - *name);
    return take(s, '"') && take(s, ':');
}

static bool is(const char *name, size_t n, const char *word)
{
    return n == strlen(word) && !memcmp(name, word, n);
}

/* What lies between two brackets, line ends excepted, becomes a byte that no JSON holds. */
enum { CUT = 1 };
static void mark(char *text, const char *from, const char *to, const char *base)
{
    for (char *p = text + (from - base) + 1; p < text + (to - base) - 1; p++)
        if (*p != '\n')
            *p = CUT;
}

static size_t cut_marked(char *text, size_t n)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        text[k] = text[i];
        k += text[i] != CUT;
    }
    return k;
}

static bool vocab(struct scan *s, struct big *b)
{
    b->listed = at(s, '[');
    return !b->vocab && (b->listed ? list_of(s, b, '[', ']', listed_item)
                                   : list_of(s, b, '{', '}', vocab_item));
}

static bool scan_model(struct scan *s, struct big *b, char *text, const char *base)
{
    const char *name, *start;
    size_t n;
    if (!take(s, '{'))
        return false;
    do {
        if (!key(s, &name, &n))
            return false;
        at(s, 0);
        start = s->p;
        if (is(name, n, "vocab")    ? !vocab(s, b)
            : is(name, n, "merges") ? b->merge || !list_of(s, b, '[', ']', merge_item)
                                    : !skip_value(s))
            return false;
        if (is(name, n, "vocab") || is(name, n, "merges"))
            mark(text, start, s->p, base);
    } while (take(s, ','));
    return take(s, '}');
}

bool scan_big(struct big *b, char *text, size_t *length)
{
    size_t n = *length;
    char *copy = memchr(text, CUT, n) ? NULL : mem_alloc(n + 1, 1);
    if (!copy)
        return false;
    memcpy(copy, text, n);
    struct scan s = {copy, copy + n};
    const char *name;
    size_t len;
    bool good = take(&s, '{'), model = false;
    do {
        good = good && key(&s, &name, &len);
        if (!good)
            break;
        bool here = is(name, len, "model");
        good = !(here && model) && (here ? scan_model(&s, b, text, copy) : skip_value(&s));
        model |= here;
    } while (good && take(&s, ','));
    good = good && model && b->vocab && take(&s, '}');
    if (good) {
        *length = cut_marked(text, n);
    } else {
        memcpy(text, copy, n);
        big_release(b);
    }
    free(copy);
    return good;
}

void big_release(struct big *b)
{
    free(b->vocab);
    free(b->merge);
    arena_release(&b->arena);
    *b = (struct big){0};
}
