/* filters.c - filters of text and numbers, tojson, and the tests after `is`.
 *
 * Left out are the filters for web pages: urlize, xmlattr, and random, pprint, wordwrap. */
#include "model/template/internal.h"

#include <ctype.h>
#include <math.h>

static int64_t int_or(struct run *r, struct value v, int64_t dflt, const char *what)
{
    return given(v) && v.kind != V_NONE ? want_int(r, v, what) : dflt;
}

/* ---- text ------------------------------------------------------------------------- */

FILTER(f_upper)
{
    return change_case(r, to_str(r, self), CASE_UPPER);
}
FILTER(f_lower)
{
    return change_case(r, to_str(r, self), CASE_LOWER);
}
FILTER(f_title)
{
    struct value v = change_case(r, to_str(r, self), CASE_JINJA_TITLE);
    v.markup = false;
    return v;
}
FILTER(f_capitalize)
{
    return change_case(r, to_str(r, self), CASE_CAPITAL);
}
FILTER(f_string)
{
    return to_str(r, self);
}
FILTER(f_trim)
{
    if (given(arg[0]) && arg[0].kind != V_NONE && arg[0].kind != V_STR)
        run_fail(r, "trim: the characters must be a string, not %s", type_name(arg[0]));
    return strip(to_str(r, self), arg[0], STRIP_LEFT | STRIP_RIGHT);
}
FILTER(f_replace)
{
    return replace_text(r, to_str(r, self), to_str(r, arg[0]), to_str(r, arg[1]),
                        int_or(r, arg[2], -1, "replace's count"));
}
FILTER(f_escape)
{
    return html_escape(r, to_str(r, self));
}
FILTER(f_forceescape)
{
    struct value v = to_str(r, self);
    v.markup = false;
    return html_escape(r, v);
}
FILTER(f_safe)
{
    struct value v = to_str(r, self);
    v.markup = true;
    return v;
}
FILTER(f_center)
{
    struct buf *b = text_begin(r);
    struct value v = to_str(r, self);
    int64_t width = int_or(r, arg[0], 80, "center's width"), n = (int64_t)count_chars(v.s, v.n),
            pad = width > n ? width - n : 0, left = pad / 2 + (pad & width & 1);
    for (int64_t i = 0; i < left; i++)
        put(r, b, " ", 1);
    put(r, b, v.s, v.n);
    for (int64_t i = left; i < pad; i++)
        put(r, b, " ", 1);
    return text_end(r);
}

static struct value must_be_str(struct run *r, struct value v, const char *what)
{
    if (v.kind == V_UNDEFINED)
        run_fail(r, "%s", v.undefined->why);
    if (v.kind != V_STR)
        run_fail(r, "%s needs a string, not %s", what, type_name(v));
    return v;
}

/* Lines after the first, that hold anything (or all: blank), begin with the given space. */
FILTER(f_indent)
{
    struct value s = must_be_str(r, self, "indent"), width = given(arg[0]) ? arg[0] : v_int(4),
                 pad = width;
    bool first = flag(r, arg[1]), blank = flag(r, arg[2]);
    if (pad.kind != V_STR)
        pad = binary(r, '*', v_str(" ", 1), v_int(want_int(r, width, "indent's width")));
    struct buf *b = text_begin(r);
    put(r, b, s.s, s.n);
    put(r, b, "\n", 1);
    struct value lines = split_lines(r, text_end(r), false);
    b = text_begin(r);
    for (uint32_t i = 0; i < lines.list->n; i++) {
        struct value line = lines.list->v[i];
        put(r, b, "\n", i > 0);
        if (i ? blank || line.n : first)
            put(r, b, pad.s, pad.n);
        put(r, b, line.s, line.n);
    }
    return text_end(r);
}
FILTER(f_truncate)
{
    struct value s = to_str(r, self), end = given(arg[2]) ? to_str(r, arg[2]) : v_str("...", 3);
    int64_t length = int_or(r, arg[0], 255, "truncate's length"),
            leeway = int_or(r, arg[3], 5, "truncate's leeway"),
            room = length - (int64_t)count_chars(end.s, end.n);
    if (room < 0 || leeway < 0)
        run_fail(r, "truncate: the length is smaller than the end's");
    if (self.kind != V_UNDEFINED)
        must_be_str(r, self, "truncate");
    if ((int64_t)count_chars(s.s, s.n) <= length + leeway)
        return s;
    struct value head = v_str(s.s, char_offset(s.s, s.n, (size_t)room));
    const char *space = flag(r, arg[1]) ? NULL : memrchr(head.s, ' ', head.n);
    if (space)
        head.n = (uint32_t)(space - head.s);
    head.markup = end.markup = false;
    return binary(r, '+', head, end);
}
FILTER(f_wordcount)
{
    struct value s = to_str(r, self);
    int64_t words = 0;
    size_t len;
    bool inside = false;
    charge(r, s.n);
    for (size_t at = 0; at < s.n; at += len) {
        char_at(s.s + at, s.n - at, &len);
        bool word = s.s[at] == '_' || is_class(v_str(s.s + at, len), IS_ALNUM);
        words += word && !inside;
        inside = word;
    }
    return v_int(words);
}
FILTER(f_striptags)
{
    struct value s = to_str(r, self);
    struct buf *b = text_begin(r);
    for (size_t i = 0; i < s.n; i++) { // comments, then tags
        bool comment = s.n - i > 3 && !memcmp(s.s + i, "<!--", 4);
        const char *end = comment ? find_bytes(s.s + i, s.n - i, "-->", 3) : NULL;
        if (!end && s.s[i] == '<')
            end = memchr(s.s + i, '>', s.n - i);
        if (end)
            i = (size_t)(end - s.s) + (*end == '-' ? 2 : 0);
        else
            put(r, b, s.s + i, 1);
    }
    struct value words = split_text_by(r, text_end(r), v_none(), -1, false);
    return call_filter(r, v_lit("join"), words,
                       &(struct args){.pos = (struct value[]){v_str(" ", 1)}, .n = 1});
}
FILTER(f_urlencode)
{
    struct value s = to_str(r, self);
    struct buf *b = text_begin(r);
    if (self.kind == V_DICT || self.kind == V_LIST)
        run_fail(r, "urlencode works on strings only here");
    for (size_t i = 0; i < s.n; i++) {
        char c = s.s[i], hex[4];
        snprintf(hex, sizeof hex, "%%%02X", (unsigned char)c);
        bool plain = isalnum((unsigned char)c) || (c && strchr("_.-~/", c));
        put(r, b, plain ? &c : hex, plain ? 1 : 3);
    }
    return text_end(r);
}
FILTER(f_format)
{
    struct value with = {.kind = V_DICT, .dict = dict_new(r, 1)};
    if (a->n && a->n_keys)
        run_fail(r, "format takes positional or keyword arguments, not both");
    for (int i = 0; i < a->n_keys; i++)
        dict_append(r, with.dict, a->key[i].key, a->key[i].value);
    if (!a->n_keys) {
        with = v_list(r, V_TUPLE, (size_t)a->n);
        memcpy(with.list->v, a->pos, (size_t)a->n * sizeof *a->pos);
    }
    return percent_format(r, to_str(r, self), with);
}

/* ---- numbers ---------------------------------------------------------------------- */

FILTER(f_abs)
{
    if (!is_number(self))
        run_fail(r, "abs does not work on '%s'", type_name(self));
    return self.kind == V_FLOAT ? v_float(fabs(self.f))
           : self.i < 0         ? negate(r, self)
                                : v_int(self.i);
}

/* The number a string or number stands for as a double; false where Python's float() raises. */
static bool float_of(struct run *r, struct value v, double *out)
{
    if (v.kind == V_UNDEFINED)
        run_fail(r, "%s", v.undefined->why);
    *out = is_number(v) ? as_double(v) : 0;
    return is_number(v) || (v.kind == V_STR && parse_float(v, out));
}
FILTER(f_int)
{
    struct value dflt = given(arg[0]) ? arg[0] : v_int(0);
    int64_t i;
    double f;
    if (self.kind == V_INT || self.kind == V_BOOL)
        return v_int(self.i);
    if (self.kind == V_STR && parse_int(self, int_or(r, arg[1], 10, "int's base"), &i))
        return v_int(i);
    if (!float_of(r, self, &f) || !isfinite(f))
        return dflt;
    if (fabs(f) >= 9.2e18)
        run_fail(r, "a number does not fit 64 bits");
    return v_int((int64_t)f);
}
FILTER(f_float)
{
    double f;
    return float_of(r, self, &f) ? v_float(f) : given(arg[0]) ? arg[0] : v_float(0);
}
FILTER(f_round)
{
    return round_number(r, self, int_or(r, arg[0], 0, "round's precision"), arg[1]);
}
FILTER(f_filesizeformat)
{
    static const char *const unit[2][8] = {
        {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"},
        {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"}};
    double f, base = flag(r, arg[0]) ? 1024 : 1000, size = base;
    char s[64];
    int i = 0;
    if (!float_of(r, self, &f))
        run_fail(r, "filesizeformat needs a number, not %s", type_name(self));
    if (f == 1 || f < base) {
        snprintf(s, sizeof s, f == 1 ? "1 Byte" : "%lld Bytes", (long long)f);
        return v_copy(r, s, strlen(s));
    }
    while (i < 7 && f >= size * base) {
        size *= base;
        i++;
    }
    snprintf(s, sizeof s, "%.1f %s", f / size, unit[base == 1024][i]);
    return v_copy(r, s, strlen(s));
}

/* ---- any value -------------------------------------------------------------------- */

FILTER(f_default)
{
    bool missing = self.kind == V_UNDEFINED || (flag(r, arg[1]) && !truth(r, self));
    return !missing ? self : given(arg[0]) ? arg[0] : v_str("", 0);
}

/* json.dumps with ensure_ascii off, as transformers has it; nothing is escaped for HTML. */
FILTER(f_tojson)
{
    struct json_style s = {
        .ascii = flag(r, arg[0]), .sort = flag(r, arg[3]), .indent = v_none()};
    bool pretty = given(arg[1]) && arg[1].kind != V_NONE;
    if (pretty)
        s.indent = arg[1].kind == V_STR ? arg[1]
                                        : binary(r, '*', v_str(" ", 1),
                                                 v_int(want_int(r, arg[1], "tojson's indent")));
    s.item = pretty ? v_str(",", 1) : v_str(", ", 2);
    s.key = v_str(": ", 2);
    if (given(arg[2]) && arg[2].kind != V_NONE) {
        struct value two = to_list(r, arg[2], V_LIST);
        if (two.list->n != 2 || two.list->v[0].kind != V_STR || two.list->v[1].kind != V_STR)
            run_fail(r, "tojson's separators must be two strings");
        s.item = two.list->v[0];
        s.key = two.list->v[1];
    }
    add_json(r, text_begin(r), self, &s);
    return text_end(r);
}

static const struct filter FILTERS[] = {
    {"abs", "", 0, f_abs},
    {"capitalize", "", 0, f_capitalize},
    {"center", "width", 0, f_center},
    {"d", "default_value boolean", 0, f_default},
    {"default", "default_value boolean", 0, f_default},
    {"e", "", 0, f_escape},
    {"escape", "", 0, f_escape},
    {"filesizeformat", "binary", 0, f_filesizeformat},
    {"float", "default", 0, f_float},
    {"forceescape", "", 0, f_forceescape},
    {"format", "*", 0, f_format},
    {"indent", "width first blank", 0, f_indent},
    {"int", "default base", 0, f_int},
    {"lower", "", 0, f_lower},
    {"replace", "old new count", 2, f_replace},
    {"round", "precision method", 0, f_round},
    {"safe", "", 0, f_safe},
    {"string", "", 0, f_string},
    {"striptags", "", 0, f_striptags},
    {"title", "", 0, f_title},
    {"tojson", "ensure_ascii indent separators sort_keys", 0, f_tojson},
    {"trim", "chars", 0, f_trim},
    {"truncate", "length killwords end leeway", 0, f_truncate},
    {"upper", "", 0, f_upper},
    {"urlencode", "", 0, f_urlencode},
    {"wordcount", "", 0, f_wordcount},
};

static const struct filter *filter_find(struct value name)
{
    for (size_t i = 0; i < ARRAY_LEN(FILTERS); i++)
        if (is_str(name, FILTERS[i].name))
            return &FILTERS[i];
    return filter_of_lists(name);
}
bool filter_exists(struct value name)
{
    return filter_find(name) != NULL;
}

struct value call_filter(struct run *r, struct value name, struct value self,
                         const struct args *a)
{
    const struct filter *f = filter_find(name);
    struct value arg[PARAMS_MAX] = {{0}};
    if (!f)
        run_fail(r, "no filter named '%.*s'", name.kind == V_STR ? (int)(name.n & 63) : 0,
                 name.s);
    charge(r, 1);
    bind_args(r, f->name, a, f->params, f->required, arg);
    return f->call(r, self, arg, a);
}

/* ---- tests ------------------------------------------------------------------------ */

#define TEST(name) static bool name(struct run *r, struct value v, struct value arg)

TEST(t_defined)
{
    return v.kind != V_UNDEFINED;
}
TEST(t_undefined)
{
    return v.kind == V_UNDEFINED;
}
TEST(t_none)
{
    return v.kind == V_NONE;
}
TEST(t_boolean)
{
    return v.kind == V_BOOL;
}
TEST(t_true)
{
    return v.kind == V_BOOL && v.i;
}
TEST(t_false)
{
    return v.kind == V_BOOL && !v.i;
}
TEST(t_integer)
{
    return v.kind == V_INT;
}
TEST(t_float)
{
    return v.kind == V_FLOAT;
}
TEST(t_number)
{
    return is_number(v);
}
TEST(t_string)
{
    return v.kind == V_STR;
}
TEST(t_mapping)
{
    return v.kind == V_DICT;
}
TEST(t_sequence)
{
    return v.kind == V_STR || v.kind == V_LIST || v.kind == V_TUPLE || v.kind == V_DICT ||
           v.kind == V_RANGE || v.kind == V_UNDEFINED;
}
TEST(t_iterable)
{
    return v.kind == V_UNDEFINED || (v.kind >= V_STR && v.kind <= V_RANGE) || v.kind == V_LOOP;
}
TEST(t_callable)
{
    return v.kind == V_UNDEFINED || v.kind == V_MACRO || v.kind == V_GLOBAL ||
           v.kind == V_METHOD || v.kind == V_LOOP || v.kind == V_JOINER;
}
TEST(t_lower)
{
    return is_class(to_str(r, v), IS_LOWER);
}
TEST(t_upper)
{
    return is_class(to_str(r, v), IS_UPPER);
}
TEST(t_odd)
{
    return equal(r, binary(r, '%', v, v_int(2)), v_int(1));
}
TEST(t_even)
{
    return equal(r, binary(r, '%', v, v_int(2)), v_int(0));
}
TEST(t_divisibleby)
{
    return equal(r, binary(r, '%', v, arg), v_int(0));
}
TEST(t_filter)
{
    return v.kind == V_STR && filter_exists(v);
}
TEST(t_test)
{
    return v.kind == V_STR && test_exists(v);
}
TEST(t_escaped)
{
    return v.kind == V_STR && v.markup;
}
TEST(t_sameas)
{
    if (v.kind != arg.kind)
        return false;
    return v.kind == V_NONE || (v.kind <= V_STR ? equal(r, v, arg) : v.s == arg.s);
}
TEST(t_in)
{
    return contains(r, v, arg);
}
TEST(t_eq)
{
    return equal(r, v, arg);
}
TEST(t_ne)
{
    return !equal(r, v, arg);
}
TEST(t_gt)
{
    return compare(r, v, arg, ">") == 1;
}
TEST(t_lt)
{
    return compare(r, v, arg, "<") == -1;
}
TEST(t_ge)
{
    int c = compare(r, v, arg, ">=");
    return c == 0 || c == 1;
}
TEST(t_le)
{
    int c = compare(r, v, arg, "<=");
    return c == 0 || c == -1;
}

static const struct test {
    const char *name;
    int arguments;
    bool (*holds)(struct run *r, struct value v, struct value arg);
} TESTS[] = {
    {"odd", 0, t_odd},
    {"even", 0, t_even},
    {"divisibleby", 1, t_divisibleby},
    {"defined", 0, t_defined},
    {"undefined", 0, t_undefined},
    {"filter", 0, t_filter},
    {"test", 0, t_test},
    {"none", 0, t_none},
    {"boolean", 0, t_boolean},
    {"false", 0, t_false},
    {"true", 0, t_true},
    {"integer", 0, t_integer},
    {"float", 0, t_float},
    {"lower", 0, t_lower},
    {"upper", 0, t_upper},
    {"string", 0, t_string},
    {"mapping", 0, t_mapping},
    {"number", 0, t_number},
    {"sequence", 0, t_sequence},
    {"iterable", 0, t_iterable},
    {"callable", 0, t_callable},
    {"sameas", 1, t_sameas},
    {"escaped", 0, t_escaped},
    {"in", 1, t_in},
    {"==", 1, t_eq},
    {"eq", 1, t_eq},
    {"equalto", 1, t_eq},
    {"!=", 1, t_ne},
    {"ne", 1, t_ne},
    {">", 1, t_gt},
    {"gt", 1, t_gt},
    {"greaterthan", 1, t_gt},
    {"ge", 1, t_ge},
    {">=", 1, t_ge},
    {"<", 1, t_lt},
    {"lt", 1, t_lt},
    {"lessthan", 1, t_lt},
    {"<=", 1, t_le},
    {"le", 1, t_le},
};

static const struct test *test_find(struct value name)
{
    for (size_t i = 0; i < ARRAY_LEN(TESTS); i++)
        if (is_str(name, TESTS[i].name))
            return &TESTS[i];
    return NULL;
}
bool test_exists(struct value name)
{
    return test_find(name) != NULL;
}

bool call_test(struct run *r, struct value name, struct value self, const struct args *a)
{
    const struct test *t = test_find(name);
    if (!t)
        run_fail(r, "no test named '%.*s'", name.kind == V_STR ? (int)(name.n & 63) : 0,
                 name.s);
    charge(r, 1);
    if (a->n + a->n_keys != t->arguments)
        run_fail(r, "the test '%s' takes %d arguments, %d were given", t->name, t->arguments,
                 a->n + a->n_keys);
    return t->holds(r, self, a->n ? a->pos[0] : a->n_keys ? a->key[0].value : v_none());
}
