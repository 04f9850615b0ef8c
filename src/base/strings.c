/* strings.c - growable byte strings, whole-string number parsing, "did you mean", UTF-8. */
#include "base/base.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>

/* Room for n more bytes and the NUL; false once anything failed. */
static bool buf_room(struct buf *b, size_t n)
{
    size_t need;
    if (b->failed || !size_add(&need, b->len, n) || !size_add(&need, need, 1)) {
        b->failed = true;
        return false;
    }
    char *s = mem_grow(b->s, &b->cap, need, 1);
    if (!s) {
        b->failed = true;
        return false;
    }
    b->s = s;
    return true;
}

void buf_add(struct buf *b, const void *bytes, size_t n)
{
    if (!buf_room(b, n))
        return;
    if (n)
        memcpy(b->s + b->len, bytes, n);
    b->len += n;
    b->s[b->len] = 0;
}

void buf_adds(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !buf_room(b, (size_t)n)) {
        b->failed = true;
        return;
    }
    va_start(ap, fmt);
    vsnprintf(b->s + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->s)
        b->s[0] = 0;
}

void buf_release(struct buf *b)
{
    if (!b)
        return;
    free(b->s);
    *b = (struct buf){0};
}

char *buf_take(struct buf *b)
{
    if (!b->failed && !b->s)
        buf_add(b, "", 0);  // nothing appended is the empty string, not a failure
    char *s = b->failed ? NULL : b->s;
    if (!s)
        free(b->s);
    *b = (struct buf){0};
    return s;
}

char *str_printf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *s = n < 0 ? NULL : mem_alloc((size_t)n + 1, 1);
    if (!s)
        return NULL;
    va_start(ap, fmt);
    vsnprintf(s, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return s;
}

bool str_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

/* ---- did you mean --------------------------------------------------------------- */

enum { WORD_MAX = 64 };

static int min3(int a, int b, int c)
{
    int m = a < b ? a : b;
    return m < c ? m : c;
}

/* Optimal string alignment: insert, delete, replace, or swap two neighbours. */
static int edit_distance(const char *a, const char *b)
{
    int n = (int)strlen(a), m = (int)strlen(b);
    int d[3][WORD_MAX + 1];     // rows i-2, i-1, i, in turn
    for (int j = 0; j <= m; j++)
        d[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *row = d[i % 3], *up = d[(i + 2) % 3], *up2 = d[(i + 1) % 3];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            row[j] = min3(up[j] + 1, row[j - 1] + 1, up[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                up2[j - 2] + 1 < row[j])
                row[j] = up2[j - 2] + 1;
        }
    }
    return d[n % 3][m];
}

const char *str_nearest(const char *word, const char *const *list)
{
    size_t len = strlen(word);
    const char *best = NULL;
    if (len == 0 || len > WORD_MAX)
        return NULL;
    int limit = (int)(len + 2) / 3, best_d = limit + 1;
    for (const char *const *c = list; *c; c++) {
        if (strlen(*c) > WORD_MAX)
            continue;
        int d = edit_distance(word, *c);
        if (d < best_d)
            best = *c, best_d = d;
    }
    for (const char *const *c = list; *c && !best && len >= 3; c++)
        if (str_starts(*c, word))   // an abbreviation: temp for temperature
            best = *c;
    return best;
}

/* ---- numbers ---------------------------------------------------------------------- */

static bool begins_number(const char *s)
{
    return *s && !isspace((unsigned char)*s);
}

bool str_to_i64(const char *s, int64_t *out)
{
    char *end;
    if (!begins_number(s))
        return false;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (errno || end == s || *end)
        return false;
    *out = v;
    return true;
}

/* Infinities, NaN and hexadecimal are refused: no option means them. */
bool str_to_double(const char *s, double *out)
{
    char *end;
    if (!begins_number(s) || strpbrk(s, "xX"))
        return false;
    double v = strtod(s, &end);
    if (end == s || *end || !isfinite(v))
        return false;
    *out = v;
    return true;
}

/* ---- UTF-8 ------------------------------------------------------------------------ */

/* Bytes of the character at s, or 0 where the encoding is wrong: overlong forms, surrogates and
 * code points past U+10FFFF included. */
static size_t utf8_char(const unsigned char *s, size_t n)
{
    if (s[0] < 0x80)
        return 1;
    size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return len;
}

size_t utf8_valid(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        uint64_t eight = UINT64_MAX;
        if (n - i >= 8)
            memcpy(&eight, s + i, 8);
        if (!(eight & 0x8080808080808080u)) {   // ASCII, as most text is
            i += 8;
            continue;
        }
        size_t len = utf8_char((const unsigned char *)s + i, n - i);
        if (!len)
            break;
        i += len;
    }
    return i;
}
