/* number.c - arithmetic and the operators + - * / // % ** of all types. */
#include "model/template/internal.h"

#include <ctype.h>
#include <math.h>

static const char *op_text(int op, char out[3])
{
    out[0] = (char)(op > 255 ? op >> 8 : op);
    out[1] = (char)(op > 255 ? op & 255 : 0);
    out[2] = 0;
    return out;
}

_Noreturn static void too_large(struct run *r)
{
    run_fail(r, "a number does not fit 64 bits");
}

int64_t want_int(struct run *r, struct value v, const char *what)
{
    if (v.kind == V_UNDEFINED)
        run_fail(r, "%s", v.undefined->why);
    if (v.kind != V_INT && v.kind != V_BOOL)
        run_fail(r, "%s must be an integer, not %s", what, type_name(v));
    return v.i;
}

static struct value divide_ints(struct run *r, int op, int64_t a, int64_t b)
{
    if (b == 0)
        run_fail(r, "division by zero");
    if (b == -1) {
        if (op == '%')
            return v_int(0);
        if (a == INT64_MIN)
            too_large(r);
        return v_int(-a);
    }
    int64_t q = a / b, m = a % b;
    bool down = m != 0 && (m < 0) != (b < 0); // towards minus infinity
    return v_int(op == '%' ? m + (down ? b : 0) : q - down);
}

static struct value power_of_ints(struct run *r, int64_t a, int64_t n)
{
    int64_t out = 1;
    if (n < 0) {
        if (a == 0)
            run_fail(r, "zero cannot be raised to a negative power");
        return v_float(pow((double)a, (double)n));
    }
    while (n > 0) {
        if (n & 1 && __builtin_mul_overflow(out, a, &out))
            too_large(r);
        n >>= 1;
        if (n > 0 && __builtin_mul_overflow(a, a, &a))
            too_large(r);
    }
    return v_int(out);
}

static struct value ints(struct run *r, int op, int64_t a, int64_t b)
{
    int64_t out;
    bool bad = op == '+'   ? __builtin_add_overflow(a, b, &out)
               : op == '-' ? __builtin_sub_overflow(a, b, &out)
                           : __builtin_mul_overflow(a, b, &out);
    if (bad)
        too_large(r);
    return v_int(out);
}

static struct value doubles(struct run *r, int op, double a, double b)
{
    double m;
    if (b == 0 && (op == '/' || op == '%' || op == OP2('/', '/')))
        run_fail(r, "division by zero");
    switch (op) {
    case '+':
        return v_float(a + b);
    case '-':
        return v_float(a - b);
    case '*':
        return v_float(a * b);
    case '/':
        return v_float(a / b);
    case OP2('*', '*'):
        if (a < 0 && b != floor(b))
            run_fail(r, "a negative number cannot be raised to %g", b);
        if (a == 0 && b < 0)
            run_fail(r, "zero cannot be raised to a negative power");
        return v_float(pow(a, b));
    default:
        m = fmod(a, b);
        m += m != 0 && (m < 0) != (b < 0) ? b : 0;
        return v_float(op == '%' ? (m == 0 ? copysign(0, b) : m) : nearbyint((a - m) / b));
    }
}

static struct value numbers(struct run *r, int op, struct value a, struct value b)
{
    if (a.kind == V_FLOAT || b.kind == V_FLOAT || op == '/')
        return doubles(r, op, as_double(a), as_double(b));
    if (op == '%' || op == OP2('/', '/'))
        return divide_ints(r, op, a.i, b.i);
    return op == OP2('*', '*') ? power_of_ints(r, a.i, b.i) : ints(r, op, a.i, b.i);
}

static bool is_sequence(struct value v)
{
    return v.kind == V_STR || v.kind == V_LIST || v.kind == V_TUPLE;
}

static struct value repeat(struct run *r, struct value v, int64_t times)
{
    if (v.kind == V_STR) {
        struct buf *b = text_begin(r);
        for (int64_t i = 0; i < times && v.n; i++)
            put(r, b, v.s, v.n);
        return text_end(r);
    }
    struct building b = {0};
    for (int64_t i = 0; i < times && v.list->n; i++)
        for (uint32_t j = 0; j < v.list->n; j++)
            build(r, &b, v.list->v[j]);
    return built(r, &b, v.kind);
}

static struct value concat(struct run *r, struct value a, struct value b)
{
    if (a.kind != V_STR) {
        struct value out = v_list(r, a.kind, (size_t)a.list->n + b.list->n);
        memcpy(out.list->v, a.list->v, a.list->n * sizeof *a.list->v);
        memcpy(out.list->v + a.list->n, b.list->v, b.list->n * sizeof *b.list->v);
        return out;
    }
    bool markup = a.markup || b.markup;
    if (markup) { // what is safe makes the other side so
        a = html_escape(r, a);
        b = html_escape(r, b);
    }
    struct buf *text = text_begin(r);
    put(r, text, a.s, a.n);
    put(r, text, b.s, b.n);
    struct value out = text_end(r);
    out.markup = markup;
    return out;
}

struct value binary(struct run *r, int op, struct value a, struct value b)
{
    char text[3];
    if (is_number(a) && is_number(b))
        return numbers(r, op, a, b);
    if (op == '%' && a.kind == V_STR)
        return percent_format(r, a, b);
    if (op == '+' && is_sequence(a) && a.kind == b.kind)
        return concat(r, a, b);
    if (op == '*' && is_sequence(a) && (b.kind == V_INT || b.kind == V_BOOL))
        return repeat(r, a, b.i);
    if (op == '*' && is_sequence(b) && (a.kind == V_INT || a.kind == V_BOOL))
        return repeat(r, b, a.i);
    if (a.kind == V_UNDEFINED || b.kind == V_UNDEFINED)
        run_fail(r, "%s", a.kind == V_UNDEFINED ? a.undefined->why : b.undefined->why);
    run_fail(r, "%s does not work on '%s' and '%s'", op_text(op, text), type_name(a),
             type_name(b));
}

struct value negate(struct run *r, struct value v)
{
    if (v.kind == V_FLOAT)
        return v_float(-v.f);
    if (v.kind == V_UNDEFINED)
        run_fail(r, "%s", v.undefined->why);
    if (!is_number(v))
        run_fail(r, "- does not work on '%s'", type_name(v));
    return ints(r, '-', 0, v.i);
}

/* Python's round(): the nearest decimal, ties of the exact value to even. */
static struct value round_half_even(struct run *r, struct value v, int64_t digits)
{
    char s[400];
    if (v.kind != V_FLOAT) {
        if (digits >= 0)
            return v_int(v.i);
        if (digits < -18)
            return v_int(0);
        int64_t unit = power_of_ints(r, 10, -digits).i, low = divide_ints(r, '%', v.i, unit).i;
        bool up = low > unit - low ||
                  (low == unit - low && divide_ints(r, '%', (v.i - low) / unit, 2).i);
        return v_int(ints(r, '+', v.i - low, up ? unit : 0).i);
    }
    if (!isfinite(v.f) || digits > 300)
        return v;
    if (digits < 0) {
        double unit = pow(10, -(double)digits);
        return v_float(isfinite(unit) ? nearbyint(v.f / unit) * unit : 0);
    }
    snprintf(s, sizeof s, "%.*f", (int)digits, v.f); // printf rounds the exact value to even
    return v_float(strtod(s, NULL));
}

struct value round_number(struct run *r, struct value v, int64_t digits, struct value method)
{
    if (v.kind == V_UNDEFINED)
        run_fail(r, "%s", v.undefined->why);
    if (!is_number(v))
        run_fail(r, "round: '%s' is no number", type_name(v));
    if (method.kind == V_ABSENT || is_str(method, "common"))
        return round_half_even(r, v, digits);
    if (!is_str(method, "ceil") && !is_str(method, "floor"))
        run_fail(r, "round: the method must be common, ceil or floor");
    double unit = pow(10, (double)digits), scaled = as_double(v) * unit;
    return v_float((is_str(method, "ceil") ? ceil(scaled) : floor(scaled)) / unit);
}

/* int(s, base) and float(s) of Python: white space around, underscores between digits. */
static size_t plain_digits(struct value v, char *out, size_t size)
{
    v = strip(v, v_none(), STRIP_LEFT | STRIP_RIGHT);
    size_t n = 0;
    for (size_t i = 0; i < v.n; i++) {
        bool between = i > 0 && i + 1 < v.n && isalnum((unsigned char)v.s[i - 1]) &&
                       isalnum((unsigned char)v.s[i + 1]);
        if (v.s[i] == '_' && between)
            continue;
        if (n + 1 >= size || !v.s[i])
            return 0;
        out[n++] = v.s[i];
    }
    out[n] = 0;
    return n;
}

bool parse_int(struct value v, int64_t base, int64_t *out)
{
    char s[128], *p = s;
    if (base < 0 || base == 1 || base > 36 || !plain_digits(v, s, sizeof s))
        return false;
    bool minus = *p == '-';
    p += *p == '-' || *p == '+';
    char kind = p[0] == '0' ? (char)(p[1] | 32) : 0;
    int64_t of = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
    if (of && (base == 0 || base == of)) {
        p += 2;
        base = of;
    } else if (base == 0) {
        base = 10;
    }
    int64_t value = 0;
    if (!*p)
        return false;
    for (; *p; p++) {
        int digit = isdigit((unsigned char)*p)   ? *p - '0'
                    : isalpha((unsigned char)*p) ? (*p | 32) - 'a' + 10
                                                 : 99;
        if (digit >= base || __builtin_mul_overflow(value, base, &value) ||
            __builtin_sub_overflow(value, digit, &value))
            return false;
    }
    if (!minus && value == INT64_MIN)
        return false;
    *out = minus ? value : -value;
    return true;
}

bool parse_float(struct value v, double *out)
{
    char s[512], *end;
    if (!plain_digits(v, s, sizeof s) || strpbrk(s, "xXpP("))
        return false;
    *out = strtod(s, &end);
    return *end == 0;
}
