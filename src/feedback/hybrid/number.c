/* feedback/hybrid/number.c - numbers as people write them, read exactly and compared as
 * fractions.
 *
 * Read: 1,200  -3  −3  .5  3/4  1 1/2  ½  \frac{3}{4}  1.2e3  $5  5 dollars  50%  50\%  2.5
 * million  90 minutes. Left out: spaces or points between thousands, times of day, roots and
 * other symbols, intervals: these are no quantities, and answers of that kind are compared as
 * texts. */
#include "feedback/hybrid/hybrid.h"

#include <ctype.h>

enum { MAX_DIGITS = 18 };

/* Units of one kind are compared through num/den, so that 90 minutes equal 1.5 hours. */
static const struct unit {
    const char *word;
    char kind;
    int64_t num, den;
} units[] = {
    {"$", '$', 1, 1},
    {"dollar", '$', 1, 1},
    {"usd", '$', 1, 1},
    {"cent", '$', 1, 100},
    {"¢", '$', 1, 100},
    {"€", 'E', 1, 1},
    {"euro", 'E', 1, 1},
    {"£", 'P', 1, 1},
    {"¥", 'Y', 1, 1},
    {"yen", 'Y', 1, 1},
    {"second", 't', 1, 1},
    {"sec", 't', 1, 1},
    {"s", 't', 1, 1},
    {"minute", 't', 60, 1},
    {"min", 't', 60, 1},
    {"hour", 't', 3600, 1},
    {"hr", 't', 3600, 1},
    {"h", 't', 3600, 1},
    {"day", 't', 86400, 1},
    {"week", 't', 604800, 1},
    {"month", 'm', 1, 1},
    {"year", 'm', 12, 1},
    {"decade", 'm', 120, 1},
    {"mm", 'l', 1, 1000},
    {"millimeter", 'l', 1, 1000},
    {"cm", 'l', 1, 100},
    {"centimeter", 'l', 1, 100},
    {"centimetre", 'l', 1, 100},
    {"m", 'l', 1, 1},
    {"meter", 'l', 1, 1},
    {"metre", 'l', 1, 1},
    {"km", 'l', 1000, 1},
    {"kilometer", 'l', 1000, 1},
    {"kilometre", 'l', 1000, 1},
    {"inch", 'l', 254, 10000},
    {"inche", 'l', 254, 10000},
    {"foot", 'l', 3048, 10000},
    {"feet", 'l', 3048, 10000},
    {"ft", 'l', 3048, 10000},
    {"yard", 'l', 9144, 10000},
    {"mile", 'l', 1609344, 1000},
    {"mg", 'g', 1, 1000},
    {"milligram", 'g', 1, 1000},
    {"g", 'g', 1, 1},
    {"gram", 'g', 1, 1},
    {"kg", 'g', 1000, 1},
    {"kilogram", 'g', 1000, 1},
    {"ton", 'T', 1, 1},
    {"ounce", 'p', 1, 16},
    {"oz", 'p', 1, 16},
    {"pound", 'p', 1, 1},
    {"lb", 'p', 1, 1},
    {"ml", 'v', 1, 1000},
    {"milliliter", 'v', 1, 1000},
    {"millilitre", 'v', 1, 1000},
    {"l", 'v', 1, 1},
    {"liter", 'v', 1, 1},
    {"litre", 'v', 1, 1},
    {"cup", 'u', 1, 1},
    {"pint", 'u', 2, 1},
    {"quart", 'u', 4, 1},
    {"gallon", 'u', 16, 1},
};
static const struct {
    const char *word;
    int by;
} scales[] = {
    {"thousand", 1000},
    {"million", 1000000},
    {"billion", 1000000000},
    {"dozen", 12},
};

/* ---- exact arithmetic ---------------------------------------------------------------- */

static int64_t divisor(int64_t a, int64_t b)
{
    a = a < 0 ? -a : a;
    while (b) {
        int64_t r = a % b;
        a = b;
        b = r;
    }
    return a ? a : 1;
}

static bool set(struct quantity *q, __int128 num, __int128 den)
{
    const __int128 most = 1000000000000000000;
    if (den == 0 || num > most || num < -most || den > most || den < -most)
        return false;
    int64_t n = (int64_t)num, d = (int64_t)den, g = divisor(n, d < 0 ? -d : d);
    q->num = (d < 0 ? -n : n) / g;
    q->den = (d < 0 ? -d : d) / g;
    return true;
}

static bool times(struct quantity *q, int64_t num, int64_t den)
{
    return set(q, (__int128)q->num * num, (__int128)q->den * den);
}

static bool same(const struct quantity *a, const struct quantity *b)
{
    return (__int128)a->num * b->den == (__int128)b->num * a->den;
}

/* ---- reading ---------------------------------------------------------------------------- */

struct scan {
    const char *s;
    size_t n, i;
};

static bool at_text(const struct scan *c, size_t i, const char *word)
{
    size_t k = strlen(word);
    return i + k <= c->n && !memcmp(c->s + i, word, k);
}

static unsigned char at(const struct scan *c, size_t i)
{
    return i < c->n ? (unsigned char)c->s[i] : 0;
}

static bool skip(struct scan *c, const char *word)
{
    bool there = at_text(c, c->i, word);
    c->i += there ? strlen(word) : 0;
    return there;
}

/* Digits, with commas before groups of three; appends to the value. */
static bool whole(struct scan *c, __int128 *value, int *digits)
{
    size_t start = c->i;
    bool commas = false;
    for (; c->i < c->n; c->i++) {
        if (isdigit(at(c, c->i))) {
            if (++*digits > MAX_DIGITS)
                return false;
            *value = *value * 10 + (at(c, c->i) - '0');
        } else if (at(c, c->i) == ',' && (commas ? true : c->i - start <= 3) && c->i > start &&
                   isdigit(at(c, c->i + 1)) && isdigit(at(c, c->i + 2)) &&
                   isdigit(at(c, c->i + 3)) && !isdigit(at(c, c->i + 4))) {
            commas = true;
        } else {
            break;
        }
    }
    return c->i > start;
}

/* Digits, then perhaps a point and more, then perhaps e and a power of ten. */
static bool decimal(struct scan *c, struct quantity *q)
{
    __int128 value = 0, den = 1;
    int digits = 0;
    bool any = isdigit(at(c, c->i)) && whole(c, &value, &digits);
    if (!any && at(c, c->i) != '.')
        return false;
    if (at(c, c->i) == '.' && isdigit(at(c, c->i + 1)))
        for (c->i++; isdigit(at(c, c->i)); c->i++) {
            if (++digits > MAX_DIGITS)
                return false;
            value = value * 10 + (at(c, c->i) - '0');
            den *= 10;
            any = true;
        }
    if (!any || !set(q, value, den))
        return false;
    size_t e = c->i + 1 + (at(c, c->i + 1) == '-' || at(c, c->i + 1) == '+');
    if ((at(c, c->i) | 32) == 'e' && isdigit(at(c, e))) {
        bool down = at(c, c->i + 1) == '-';
        int power = 0;
        for (c->i = e; isdigit(at(c, c->i)); c->i++)
            power = power < 100 ? power * 10 + (at(c, c->i) - '0') : power;
        for (; power > 0; power--)
            if (!times(q, down ? 1 : 10, down ? 10 : 1))
                return false;
    }
    return true;
}

static bool latex_fraction(struct scan *c, struct quantity *q)
{
    struct quantity top, bottom;
    if (!skip(c, "\\frac{") && !skip(c, "\\dfrac{") && !skip(c, "\\tfrac{"))
        return false;
    bool minus = skip(c, "-");
    return decimal(c, &top) && skip(c, "}{") && decimal(c, &bottom) && skip(c, "}") &&
           set(q, (__int128)(minus ? -top.num : top.num) * bottom.den,
               (__int128)top.den * bottom.num);
}

static bool sign_fraction(struct scan *c, struct quantity *q)
{
    static const struct {
        const char *sign;
        int num, den;
    } list[] = {
        {"½", 1, 2}, {"¼", 1, 4}, {"¾", 3, 4}, {"⅓", 1, 3},
        {"⅔", 2, 3}, {"⅛", 1, 8}, {"⅕", 1, 5},
    };
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        if (skip(c, list[i].sign))
            return set(q, list[i].num, list[i].den);
    return false;
}

/* "/4" behind 3, " 1/2" or "½" behind 1: reads what makes a fraction of q, or nothing. */
static void fraction(struct scan *c, struct quantity *q)
{
    struct scan d = *c;
    struct quantity top = *q, bottom = *q, more = *q;
    if (skip(&d, "/") && isdigit(at(&d, d.i)) && decimal(&d, &bottom)) {
        if (bottom.num && at(&d, d.i) != '/' &&
            set(&more, (__int128)q->num * bottom.den, (__int128)q->den * bottom.num)) {
            *q = more;
            *c = d;
        }
        return;
    }
    d = *c;
    if (q->den != 1)
        return;
    skip(&d, " ");
    bool found = sign_fraction(&d, &more) || latex_fraction(&d, &more);
    if (!found && d.i > c->i && decimal(&d, &top) && top.den == 1 && skip(&d, "/") &&
        decimal(&d, &bottom) && bottom.den == 1 && top.num < bottom.num)
        found = set(&more, top.num, bottom.num);
    if (found && set(&more, (__int128)q->num * more.den + more.num, more.den)) {
        *q = more;
        *c = d;
    }
}

static void blank(struct scan *c)
{
    while (c->i < c->n && (isspace(at(c, c->i)) || at(c, c->i) == '~' ||
                           at_text(c, c->i, "\\,") || at_text(c, c->i, "\\ ")))
        c->i += at(c, c->i) == '\\' ? 2 : 1;
}

static int unit_of(const char *word, size_t n)
{
    for (int pass = 0; pass < 2; pass++) // as it is, then without a plural's s
        for (size_t i = 0; i < ARRAY_LEN(units) && n > (size_t)pass; i++)
            if (strlen(units[i].word) == n - (size_t)pass &&
                !strncasecmp(word, units[i].word, n - (size_t)pass) &&
                (!pass || (n > 2 && (word[n - 1] | 32) == 's')))
                return (int)i;
    return -1;
}

/* "%", "million", "minutes", "\text{ cm}", "¢" behind a number. */
static void words_behind(struct scan *c, struct quantity *q)
{
    struct scan d = *c;
    for (;;) {
        blank(&d);
        bool brace = skip(&d, "\\text{") || skip(&d, "\\mathrm{");
        blank(&d);
        size_t start = d.i;
        if (skip(&d, "%") || skip(&d, "\\%")) {
            q->percent = true;
            *c = d;
            return;
        }
        if (skip(&d, "¢") || skip(&d, "€") || skip(&d, "£"))
            ;
        else
            while (isalpha(at(&d, d.i)))
                d.i++;
        size_t n = d.i - start;
        const char *word = d.s + start;
        if (brace)
            skip(&d, "}");
        if (n == 7 && !strncasecmp(word, "percent", 7)) {
            q->percent = true;
            *c = d;
            return;
        }
        bool scaled = false;
        for (size_t k = 0; k < ARRAY_LEN(scales) && q->scale == 1; k++)
            if (n == strlen(scales[k].word) && !strncasecmp(word, scales[k].word, n)) {
                q->scale = scales[k].by;
                scaled = true;
            }
        int unit = scaled || n == 0 ? -1 : unit_of(word, n);
        if (unit >= 0 && q->unit < 0)
            q->unit = unit;
        if (scaled || unit >= 0)
            *c = d;
        if (!scaled)
            return;
    }
}

/* One quantity that begins at c, which then stands behind it. */
static bool read_quantity(struct scan *c, struct quantity *q)
{
    struct scan d = *c;
    *q = (struct quantity){.den = 1, .scale = 1, .unit = -1};
    bool minus = false;
    for (int k = 0; k < 2; k++) { // "-$5" and "$-5"
        minus = minus || skip(&d, "-") || skip(&d, "−");
        if (k == 0)
            skip(&d, "+");
        if (q->unit < 0 && (skip(&d, "$") || skip(&d, "\\$")))
            q->unit = unit_of("$", 1);
        else if (q->unit < 0 && skip(&d, "€"))
            q->unit = unit_of("€", strlen("€"));
        else if (q->unit < 0 && skip(&d, "£"))
            q->unit = unit_of("£", strlen("£"));
        if (q->unit >= 0)
            skip(&d, " ");
    }
    if (!latex_fraction(&d, q) && !sign_fraction(&d, q)) {
        if (!decimal(&d, q))
            return false;
        fraction(&d, q);
    }
    if (minus)
        q->num = -q->num;
    words_behind(&d, q);
    *c = d;
    return true;
}

/* ---- the door ---------------------------------------------------------------------------- */

/* A number may begin here: not in the middle of a word, a number or a name like B2. */
static bool begins(const struct scan *c, size_t i)
{
    unsigned char before = i ? at(c, i - 1) : ' ';
    bool sign = at(c, i) == '-' || at_text(c, i, "−");
    if (sign) // a minus between two terms is no sign
        return !(isalnum(before) || before == ')' || before == '%' || before == '}');
    return !(isalnum(before) || before == '_' || before == '.' ||
             (before == ',' && i > 1 && isdigit(at(c, i - 2)) && isdigit(at(c, i))));
}

bool quantity_find(struct quantity *q, const char *s, size_t n, bool last, size_t *at_out,
                   size_t *len)
{
    struct scan c = {s, n, 0};
    bool found = false;
    while (c.i < n && !(found && !last)) {
        struct scan d = c;
        struct quantity one;
        unsigned char ch = at(&c, c.i);
        bool may = isdigit(ch) || ch == '-' || ch == '.' || ch == '$' || ch == '\\' ||
                   ch >= 0x80 || ch == '+';
        if (may && begins(&c, c.i) && read_quantity(&d, &one)) {
            *q = one;
            found = true;
            if (at_out)
                *at_out = c.i;
            if (len)
                *len = d.i - c.i;
            c.i = d.i;
        } else if (isdigit(ch)) { // the rest of what was no quantity
            while (c.i < n &&
                   (isalnum(at(&c, c.i)) || (at(&c, c.i) == ',' && isdigit(at(&c, c.i + 1)))))
                c.i++;
        } else {
            c.i++;
        }
    }
    return found;
}

/* Emphasis and brackets that may stand around a number. */
static bool wrapping(unsigned char ch)
{
    return isspace(ch) || (ch && strchr("*_`'\"()[]{}", ch));
}

bool quantity_parse(struct quantity *q, const char *s, size_t n)
{
    struct scan c = {s, n, 0};
    while (c.i < n && wrapping(at(&c, c.i)))
        c.i++;
    // $18$ is a formula, $18 is money
    if (at(&c, c.i) == '$' && n > c.i + 1 && memchr(s + c.i + 1, '$', n - c.i - 1))
        c.i++;
    if (!read_quantity(&c, q))
        return false;
    for (; c.i < n;
         c.i++) // words of a unit we do not know are fine, another number or a symbol is not
        if (isdigit(at(&c, c.i)) ||
            (at(&c, c.i) && strchr("+*/^=:<>", at(&c, c.i)) && at(&c, c.i) != '*') ||
            (at(&c, c.i) == '\\' && !at_text(&c, c.i, "\\text") && !at_text(&c, c.i, "\\,") &&
             !at_text(&c, c.i, "\\)")))
            return false;
    return true;
}

/* Both bear a mark: it counts; one does: the number may be meant with or without it. */
static bool same_but_for(const struct quantity *a, const struct quantity *b, int64_t num,
                         int64_t den, bool on_a, bool on_b)
{
    struct quantity x = *a, y = *b;
    if (on_a == on_b)
        return same(a, b);
    return same(a, b) || (times(on_a ? &x : &y, num, den) && same(&x, &y));
}

bool quantity_equal(const struct quantity *a, const struct quantity *b)
{
    struct quantity x = *a, y = *b;
    if (a->unit >= 0 && b->unit >= 0) {
        const struct unit *u = &units[a->unit], *v = &units[b->unit];
        if (u->kind != v->kind || !times(&x, u->num, u->den) || !times(&y, v->num, v->den))
            return false;
    }
    if (a->scale != 1 && b->scale != 1)
        return times(&x, a->scale, 1) && times(&y, b->scale, 1) && same(&x, &y);
    if (a->scale != b->scale)
        return same_but_for(&x, &y, a->scale * b->scale, 1, a->scale != 1, b->scale != 1);
    return same_but_for(&x, &y, 1, 100, a->percent, b->percent);
}
