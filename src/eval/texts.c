/* eval/texts.c - what judges are known to lean to, besides length: lists, and words like their own. */
#include "eval/eval.h"

#include <ctype.h>
#include <math.h>

static bool is_list_line(const char *s)
{
    while (*s == ' ' || *s == '\t')
        s++;
    if ((*s == '-' || *s == '*' || *s == '+') && s[1] == ' ')
        return true;
    if (!strncmp(s, "\xe2\x80\xa2", 3))     // U+2022, a bullet
        return true;
    size_t digits = strspn(s, "0123456789");
    return digits > 0 && digits <= 3 && (s[digits] == '.' || s[digits] == ')') &&
           s[digits + 1] == ' ';
}

int list_lines(const char *text)
{
    int n = 0;
    for (const char *s = text; s; s = strchr(s, '\n'), s += s != NULL)
        n += is_list_line(s);
    return n;
}

/* ---- words in common --------------------------------------------------------------------- */

struct words { uint64_t *hash; int n; };

static int by_hash(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool in_word(unsigned char c)
{
    return isalnum(c) || c >= 0x80;
}

/* Lower-case words (FNV-1a of each), sorted. */
static bool words_of(struct words *w, const char *s)
{
    w->n = 0;
    w->hash = mem_alloc(strlen(s) / 2 + 1, sizeof *w->hash);
    while (w->hash && *s) {
        uint64_t h = 0xcbf29ce484222325u;
        while (*s && !in_word((unsigned char)*s))
            s++;
        if (!*s)
            break;
        for (; in_word((unsigned char)*s); s++)
            h = (h ^ (uint64_t)tolower((unsigned char)*s)) * 0x100000001b3u;
        w->hash[w->n++] = h;
    }
    if (w->hash)
        qsort(w->hash, (size_t)w->n, sizeof *w->hash, by_hash);
    return w->hash;
}

double word_overlap(const char *a, const char *b)
{
    struct words x = {0}, y = {0};
    double common = 0, f1 = NAN;
    if (words_of(&x, a) && words_of(&y, b)) {
        for (int i = 0, k = 0; i < x.n && k < y.n;) {
            if (x.hash[i] == y.hash[k])
                common++, i++, k++;
            else if (x.hash[i] < y.hash[k])
                i++;
            else
                k++;
        }
        f1 = x.n + y.n ? 2 * common / (x.n + y.n) : NAN;
    }
    free(x.hash);
    free(y.hash);
    return f1;
}
