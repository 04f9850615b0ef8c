/* added.c - finding added tokens in text: leftmost first, of those that begin there the
 * longest.
 *
 * Candidates are sorted, so walking along the text narrows a range of them byte by byte.  Flags
 * as in Hugging Face's tokenizers: lstrip and rstrip swallow the white space beside a token,
 * single_word wants no letters there. */
#include "model/tokenizer/tokenizer.h"

#include <utf8proc.h>

int added_put(struct added_set *set, const struct added *a)
{
    struct added *p = mem_grow(set->item, &set->cap, (size_t)set->n + 1, sizeof *p);
    if (!p)
        return ERR_MEMORY;
    set->item = p;
    p[set->n++] = *a;
    set->first[(unsigned char)a->s[0]] = true;
    return 0;
}

static int compare(const void *a, const void *b)
{
    const struct added *x = a, *y = b;
    int c = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
    return c ? c : x->n < y->n ? -1 : x->n > y->n;
}

void added_sort(struct added_set *set)
{
    if (set->n)
        qsort(set->item, (size_t)set->n, sizeof *set->item, compare);
}

/* First item in [lo, hi) whose byte at `depth` is at least c; all of them agree before depth.
 */
static int lower(const struct added_set *set, int lo, int hi, size_t depth, int c)
{
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2;
        const struct added *a = &set->item[mid];
        if (depth < a->n && (unsigned char)a->s[depth] >= c)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

/* The longest added token that s begins with, or NULL. */
static const struct added *longest(const struct added_set *set, const char *s, size_t n)
{
    const struct added *best = NULL;
    int lo = 0, hi = set->n;
    for (size_t depth = 0; depth < n; depth++) {
        int c = (unsigned char)s[depth];
        lo = lower(set, lo, hi, depth, c);
        hi = lower(set, lo, hi, depth, c + 1);
        if (lo == hi)
            break;
        if (set->item[lo].n == depth + 1) // the shortest of the range sorts first
            best = &set->item[lo];
    }
    return best;
}

/* ---- what stands beside a match ------------------------------------------------- */

/* \w: letters, marks, decimal digits, letter numbers, connectors, joiners. */
static bool is_word(int32_t c)
{
    if (c < 0)
        return false;
    if (c == 0x200C || c == 0x200D)
        return true;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return false;
    }
}

static bool alone(const char *s, size_t n, size_t start, size_t end)
{
    size_t len, b = start ? char_previous(s, start) : 0;
    return (start == 0 || !is_word(char_code(s + b, start - b, &len))) &&
           (end == n || !is_word(char_code(s + end, n - end, &len)));
}

static size_t strip_left(const char *s, size_t start, size_t limit)
{
    size_t len;
    while (start > limit) {
        size_t b = char_previous(s, start);
        if (!char_is_space(char_code(s + b, start - b, &len)))
            break;
        start = b;
    }
    return start < limit ? limit : start;
}

static size_t strip_right(const char *s, size_t n, size_t end)
{
    size_t len;
    while (end < n && char_is_space(char_code(s + end, n - end, &len)))
        end += len;
    return end;
}

/* ---- cutting -------------------------------------------------------------------- */

static int put(struct founds *out, int id, size_t start, size_t end, struct err *err)
{
    if (start == end)
        return 0;
    struct found *p = mem_grow(out->item, &out->cap, (size_t)out->n + 1, sizeof *p);
    if (!p)
        return err_set(err, ERR_MEMORY, "no memory for %d added tokens in a text", out->n + 1);
    out->item = p;
    p[out->n++] = (struct found){id, start, end};
    return 0;
}

int added_cut(const struct added_set *set, struct founds *out, const char *s, size_t n,
              bool parse_special, struct err *err)
{
    size_t done = 0, at = 0;
    int rc = 0;
    while (at < n && rc == 0) {
        const struct added *a =
            set->first[(unsigned char)s[at]] ? longest(set, s + at, n - at) : NULL;
        if (!a) {
            at++;
            continue;
        }
        size_t start = at, end = at + a->n;
        at = end; // the search goes on behind a match even where it is not taken
        if (start < done || (a->special && !parse_special) ||
            (a->single_word && !alone(s, n, start, end)))
            continue;
        if (a->lstrip)
            start = strip_left(s, start, done);
        if (a->rstrip)
            end = strip_right(s, n, end);
        rc = put(out, -1, done, start, err);
        if (rc == 0)
            rc = put(out, a->id, start, end, err);
        done = end;
    }
    return rc ? rc : put(out, -1, done, n, err);
}
