/* format.c - "%s" % x, "{}".format(x), and the format specs both end in. */
#include "model/template/internal.h"

#include <ctype.h>
#include <math.h>

enum { WIDTH_MAX = 100000 };

/* [[fill]align][sign][#][0][width][,][.precision][type] */
struct spec {
    uint32_t fill;
    char align, sign, type; // 0: none given
    bool alternate, comma;
    int width, precision; // precision -1: none given
};

static int read_number(struct run *r, const char **s, const char *end)
{
    int n = 0;
    for (; *s < end && isdigit((unsigned char)**s); (*s)++) {
        n = n * 10 + (**s - '0');
        if (n > WIDTH_MAX)
            run_fail(r, "a format's width or precision is larger than %d", WIDTH_MAX);
    }
    return n;
}

static bool is_align(const char *s, const char *end)
{
    return s < end && *s && strchr("<>^=", *s);
}

static struct spec read_spec(struct run *r, struct value v)
{
    struct spec f = {.fill = ' ', .precision = -1};
    const char *s = v.s, *end = v.s + v.n;
    size_t len = 0;
    uint32_t first = v.n ? char_at(s, v.n, &len) : 0;
    if (v.n && is_align(s + len, end)) {
        f.fill = first;
        s += len;
    }
    if (is_align(s, end))
        f.align = *s++;
    if (s < end && (*s == '+' || *s == '-' || *s == ' '))
        f.sign = *s++;
    if (s < end && *s == '#') {
        f.alternate = true;
        s++;
    }
    if (s < end && *s == '0') {
        f.fill = f.align ? f.fill : '0';
        f.align = f.align ? f.align : '=';
        s++;
    }
    f.width = read_number(r, &s, end);
    if (s < end && *s == ',') {
        f.comma = true;
        s++;
    }
    if (s < end && *s == '.') {
        s++;
        f.precision = read_number(r, &s, end);
    }
    if (s < end)
        f.type = *s++;
    if (s < end)
        run_fail(r, "the format '%.*s' is not understood", (int)(v.n & 63), v.s);
    return f;
}

static void pad(struct run *r, struct buf *b, uint32_t fill, size_t n)
{
    charge(r, n);
    while (n-- > 0)
        add_char(b, fill);
}

/* sign and digits within the width. */
static void add_padded(struct run *r, struct buf *b, const struct spec *f, const char *sign,
                       struct value digits, char align)
{
    size_t used = strlen(sign) + count_chars(digits.s, digits.n),
           left = (size_t)f->width > used ? (size_t)f->width - used : 0, before = 0;
    align = f->align ? f->align : align;
    before = align == '>' ? left : align == '^' ? left / 2 : 0;
    pad(r, b, f->fill, before);
    put(r, b, sign, strlen(sign));
    if (align == '=')
        pad(r, b, f->fill, left);
    put(r, b, digits.s, digits.n);
    if (align != '=')
        pad(r, b, f->fill, left - before);
}

/* Digits with commas between thousands. */
static struct value with_commas(struct run *r, struct value v)
{
    struct buf *b = text_begin(r);
    size_t whole = 0;
    while (whole < v.n && isdigit((unsigned char)v.s[whole]))
        whole++;
    for (size_t i = 0; i < v.n; i++) {
        if (i && i < whole && (whole - i) % 3 == 0)
            put(r, b, ",", 1);
        put(r, b, v.s + i, 1);
    }
    return text_end(r);
}

static struct value int_digits(struct run *r, const struct spec *f, uint64_t n)
{
    char s[80], *p = s + sizeof s;
    unsigned base = f->type == 'x' || f->type == 'X' ? 16
                    : f->type == 'o'                 ? 8
                    : f->type == 'b'                 ? 2
                                                     : 10;
    do
        *--p = (f->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[n % base];
    while (n /= base);
    if (f->alternate && base != 10) {
        *--p = f->type;
        *--p = '0';
    }
    return v_copy(r, p, (size_t)(s + sizeof s - p));
}

static struct value float_digits(struct run *r, const struct spec *f, double x)
{
    char how[8] = "%.*f";
    struct buf *b = text_begin(r);
    char type = f->type == '%' ? 'f' : f->type;
    x = f->type == '%' ? x * 100 : x;
    if (!isfinite(x)) {
        buf_adds(b, isnan(x) ? "nan" : "inf");
    } else if (type == 0 && f->precision < 0) {
        add_float(b, x);
    } else {
        how[3] = type ? type : 'g';
        buf_addf(b, how, f->precision < 0 ? 6 : f->precision, x);
    }
    buf_adds(b, f->type == '%' ? "%" : "");
    return text_end(r);
}

static void add_by_spec(struct run *r, struct buf *b, struct value v, struct spec f)
{
    bool integer = v.kind == V_INT || (v.kind == V_BOOL && f.type),
         real = f.type && strchr("eEfFgG%", f.type);
    if ((integer || v.kind == V_FLOAT) && f.type != 's') {
        if (f.type == 'c' || (f.type && !real && !strchr("bdoxXn", f.type)) ||
            (v.kind == V_FLOAT && f.type && !real))
            run_fail(r, "the format '%c' does not suit '%s'", f.type, type_name(v));
        bool minus = v.kind == V_FLOAT ? signbit(v.f) != 0 && !isnan(v.f) : v.i < 0;
        struct value digits = real || v.kind == V_FLOAT
                                  ? float_digits(r, &f, fabs(as_double(v)))
                                  : int_digits(r, &f, minus ? -(uint64_t)v.i : (uint64_t)v.i);
        if (f.comma)
            digits = with_commas(r, digits);
        add_padded(r, b, &f,
                   minus           ? "-"
                   : f.sign == '+' ? "+"
                   : f.sign == ' ' ? " "
                                   : "",
                   digits, '>');
        return;
    }
    if (v.kind != V_STR && v.kind != V_BOOL && v.kind != V_UNDEFINED && v.kind != V_NONE)
        run_fail(r, "a format spec does not suit '%s'", type_name(v));
    if (f.type && f.type != 's')
        run_fail(r, "the format '%c' does not suit '%s'", f.type, type_name(v));
    struct value s = to_str(r, v);
    if (f.precision >= 0)
        s.n = (uint32_t)char_offset(s.s, s.n, (size_t)f.precision);
    if (f.align == '=') // a 0 before the width of a string pads on the right
        f.align = '<';
    add_padded(r, b, &f, "", s, '<');
}

void add_formatted(struct run *r, struct buf *b, struct value v, struct value spec)
{
    if (spec.n == 0)
        add_str(r, b, v);
    else
        add_by_spec(r, b, v, read_spec(r, spec));
}

/* ---- "%..." % ... ------------------------------------------------------------------ */

struct percent {
    struct value with;
    uint32_t next; // of a tuple
    const char *s, *end;
};

static struct value next_value(struct run *r, struct percent *p)
{
    if (p->s < p->end && *p->s == '(') {
        const char *close = memchr(p->s, ')', (size_t)(p->end - p->s));
        if (!close || p->with.kind != V_DICT)
            run_fail(r, "a %%(name) format needs a closing ) and a mapping");
        struct value key = v_str(p->s + 1, (size_t)(close - p->s) - 1),
                     *v = dict_find(r, p->with.dict, key);
        if (!v)
            run_fail(r, "no key '%.*s' for a %% format", (int)(key.n & 63), key.s);
        p->s = close + 1;
        return *v;
    }
    return (struct value){.kind = V_ABSENT};
}

static struct value take_next(struct run *r, struct percent *p)
{
    bool tuple = p->with.kind == V_TUPLE;
    if (p->next >= (tuple ? p->with.list->n : 1))
        run_fail(r, "not enough arguments for a %% format");
    p->next++;
    return tuple ? p->with.list->v[p->next - 1] : p->with;
}

static void add_percent(struct run *r, struct buf *b, struct percent *p)
{
    struct spec f = {.fill = ' ', .precision = -1, .align = '>'};
    struct value v = next_value(r, p);
    for (; p->s < p->end && *p->s && strchr("-+ #0", *p->s); p->s++) {
        f.align = *p->s == '-' ? '<' : *p->s == '0' && f.align != '<' ? '=' : f.align;
        f.sign = *p->s == '+' || (*p->s == ' ' && f.sign != '+') ? *p->s : f.sign;
        f.alternate |= *p->s == '#';
    }
    f.width = read_number(r, &p->s, p->end);
    if (p->s < p->end && *p->s == '.') {
        p->s++;
        f.precision = read_number(r, &p->s, p->end);
    }
    char type = p->s < p->end ? *p->s++ : 0;
    if (!type || !strchr("sraditufFeEgGxXoc%", type))
        run_fail(r, "a %% format has the unknown type '%c'", type ? type : ' ');
    if (type == '%') {
        put(r, b, "%", 1);
        return;
    }
    if (v.kind == V_ABSENT)
        v = take_next(r, p);
    if (type == 'c' && v.kind == V_INT) {
        struct buf *c = text_begin(r);
        add_char(c, v.i > 0 && v.i < 0xD800 ? (uint32_t)v.i : 0xFFFD);
        v = text_end(r);
    }
    if (type == 'r' || type == 'a') {
        add_repr(r, text_begin(r), v);
        v = text_end(r);
    }
    if (strchr("srac", type)) {
        f.align = f.align == '=' ? '>' : f.align;
        f.type = 's';
        v = to_str(r, v);
    } else {
        if (!is_number(v))
            run_fail(r, "%%%c needs a number, not %s", type, type_name(v));
        f.fill = f.align == '=' ? '0' : ' ';
        f.type = strchr("diut", type) ? 'd' : type;
        if (strchr("dxXo", f.type) && v.kind == V_FLOAT) {
            if (f.type != 'd' || fabs(v.f) > 9e18 || isnan(v.f))
                run_fail(r, "%%%c needs an integer", type);
            v = v_int((int64_t)v.f);
        }
    }
    add_by_spec(r, b, v, f);
}

struct value percent_format(struct run *r, struct value format, struct value with)
{
    struct percent p = {.with = with, .s = format.s, .end = format.s + format.n};
    struct buf *b = text_begin(r);
    while (p.s < p.end) {
        const char *hit = memchr(p.s, '%', (size_t)(p.end - p.s));
        put(r, b, p.s, (size_t)((hit ? hit : p.end) - p.s));
        p.s = hit ? hit + 1 : p.end;
        if (hit)
            add_percent(r, b, &p);
    }
    bool mapping = with.kind == V_DICT || with.kind == V_LIST || with.kind == V_RANGE ||
                   with.kind == V_UNDEFINED;
    if (!mapping &&
        p.next < (with.kind == V_TUPLE ? with.list->n : 1)) // what has items need not be used
        run_fail(r, "not all arguments were used by a %% format");
    return text_end(r);
}

/* ---- "{}".format(...) -------------------------------------------------------------- */

/* "name.attr[key]" looked up: names[0] among the arguments, the rest inside. */
static struct value field_value(struct run *r, struct value field, const struct args *a,
                                int *automatic)
{
    size_t n = 0;
    int64_t index;
    while (n < field.n && field.s[n] != '.' && field.s[n] != '[')
        n++;
    struct value first = v_str(field.s, n), v = {.kind = V_ABSENT};
    if (n == 0 || parse_int(first, 10, &index)) {
        index = n == 0 ? (*automatic)++ : index;
        if (index < 0 || index >= a->n)
            run_fail(r, "format: no argument number %lld", (long long)index);
        v = a->pos[index];
    }
    for (int i = 0; v.kind == V_ABSENT && i < a->n_keys; i++)
        if (same_str(a->key[i].key, first))
            v = a->key[i].value;
    if (v.kind == V_ABSENT)
        run_fail(r, "format: no argument '%.*s'", (int)(n & 63), first.s);
    while (n < field.n) {
        bool bracket = field.s[n] == '[';
        size_t from = ++n;
        while (n < field.n &&
               (bracket ? field.s[n] != ']' : field.s[n] != '.' && field.s[n] != '['))
            n++;
        struct value key = v_str(field.s + from, n - from);
        v = bracket ? get_item(r, v, parse_int(key, 10, &index) ? v_int(index) : key)
                    : get_attr(r, v, key);
        n += bracket && n < field.n;
    }
    return v;
}

/* Between { and }: field, !r or !s, :spec. */
static void add_field(struct run *r, struct buf *b, struct value inside, const struct args *a,
                      int *automatic)
{
    size_t colon = 0;
    while (colon < inside.n && inside.s[colon] != ':')
        colon++;
    size_t end = colon;
    char how = 0;
    if (end >= 2 && inside.s[end - 2] == '!') {
        how = inside.s[end - 1];
        end -= 2;
    }
    struct value v = field_value(r, v_str(inside.s, end), a, automatic),
                 spec = colon < inside.n ? v_str(inside.s + colon + 1, inside.n - colon - 1)
                                         : v_str("", 0);
    if (how == 'r') {
        add_repr(r, text_begin(r), v);
        v = text_end(r);
    } else if (how) {
        v = to_str(r, v);
    }
    if (spec.n && memchr(spec.s, '{', spec.n))
        run_fail(r, "format: a field inside a format spec is not supported");
    add_formatted(r, b, v, spec);
}

struct value brace_format(struct run *r, struct value format, const struct args *a)
{
    struct buf *b = text_begin(r);
    int automatic = 0;
    for (size_t i = 0; i < format.n; i++) {
        char c = format.s[i];
        if ((c == '{' || c == '}') && i + 1 < format.n && format.s[i + 1] == c) {
            put(r, b, &c, 1);
            i++;
        } else if (c == '{') {
            const char *close = memchr(format.s + i, '}', format.n - i);
            if (!close)
                run_fail(r, "format: a { has no }");
            size_t end = (size_t)(close - format.s);
            add_field(r, b, v_str(format.s + i + 1, end - i - 1), a, &automatic);
            i = end;
        } else if (c == '}') {
            run_fail(r, "format: a } has no {");
        } else {
            put(r, b, &c, 1);
        }
    }
    return text_end(r);
}
