/* json.c - jansson with limits: depth, size, no duplicate keys, and messages that say where.
 *
 * Reading: numbers must fit, keys may not repeat, strings are valid UTF-8 without NUL.
 * Writing: doubles get the fewest of 15, 16 or 17 digits that read back exactly; lists of plain
 * numbers stay on one line.  NaN and infinity cannot get in: json_real() refuses them. */
#include "base/base.h"

#include <math.h>

enum { DEPTH_MAX = 256 };
static const size_t SIZE_LIMIT = (size_t)1 << 30;

/* Depth is counted before parsing, so that no recursion ever sees more. */
static int check_depth(const char *s, size_t n, const char *where, struct err *err)
{
    int depth = 0, line = 1;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (c == '\n')
            line++;
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > DEPTH_MAX)
                return err_set(err, ERR_FORMAT,
                               "%s: line %d: JSON nested deeper than %d levels", where, line,
                               DEPTH_MAX);
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return 0;
}

json_t *json_parse(const char *s, size_t n, const char *where, struct err *err)
{
    json_error_t e;
    if (n > SIZE_LIMIT) {
        err_set(err, ERR_FORMAT, "%s: %zu bytes of JSON, at most %zu are read", where, n,
                SIZE_LIMIT);
        return NULL;
    }
    if (fail_now()) {
        err_set(err, ERR_MEMORY, "%s: no memory to parse it", where);
        return NULL;
    }
    if (check_depth(s, n, where, err))
        return NULL;
    json_t *v = json_loadb(s, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (!v) {
        size_t good =
            utf8_valid(e.text, strlen(e.text));    // a quoted piece may end inside a character
        err_set(err, ERR_FORMAT, "%s: line %d, column %d: %.*s", where, e.line, e.column,
                (int)good, e.text);
    }
    return v;
}

json_t *json_read_file(const char *path, struct err *err)
{
    char *s = NULL;
    size_t n = 0;
    if (file_read(&s, &n, path, SIZE_LIMIT, err))
        return NULL;
    json_t *v = json_parse(s, n, path, err);
    free(s);
    return v;
}

/* ---- writing ---------------------------------------------------------------------- */

static void add_string(struct buf *b, const char *s, size_t n)
{
    buf_adds(b, "\"");
    for (size_t i = 0; i < n; i++) {
        size_t plain = i;
        while (plain < n && (unsigned char)s[plain] >= 0x20 && s[plain] != '"' &&
               s[plain] != '\\')
            plain++;
        buf_add(b, s + i, plain - i);
        if (plain == n)
            break;
        i = plain;
        static const char from[] = "\"\\\n\t\r\b\f", to[] = "\"\\ntrbf";
        const char *at = s[i] ? strchr(from, s[i]) : NULL;
        if (at)
            buf_addf(b, "\\%c", to[at - from]);
        else
            buf_addf(b, "\\u%04x", (unsigned char)s[i]);
    }
    buf_adds(b, "\"");
}

static void add_real(struct buf *b, double x)
{
    char s[40];
    BUG_IF(!isfinite(x));
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(s, sizeof s, "%.*g", digits, x);
        if (strtod(s, NULL) == x)
            break;
    }
    if (!strpbrk(s, ".e"))
        strcat(s, ".0");    // stays a real number for whoever reads it
    buf_adds(b, s);
}

static void new_line(struct buf *b, int indent, int depth)
{
    if (indent)
        buf_addf(b, "\n%*s", indent * depth, "");
}

static bool all_numbers(const json_t *list)
{
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)list, i, v)
        if (!json_is_number(v))
            return false;
    return true;
}

static void add_value(struct buf *b, const json_t *v, int indent, int depth);

static void add_list(struct buf *b, const json_t *v, int indent, int depth)
{
    bool flat = all_numbers(v);
    buf_adds(b, "[");
    for (size_t i = 0; i < json_array_size(v); i++) {
        if (i)
            buf_adds(b, flat || !indent ? ", " : ",");
        if (!flat)
            new_line(b, indent, depth + 1);
        add_value(b, json_array_get(v, i), indent, depth + 1);
    }
    if (!flat)
        new_line(b, indent, depth);
    buf_adds(b, "]");
}

static void add_object(struct buf *b, const json_t *v, int indent, int depth)
{
    const char *key;
    json_t *item;
    bool first = true;
    buf_adds(b, "{");
    json_object_foreach((json_t *)v, key, item) {
        if (!first)
            buf_adds(b, indent ? "," : ", ");
        first = false;
        new_line(b, indent, depth + 1);
        add_string(b, key, strlen(key));
        buf_adds(b, ": ");
        add_value(b, item, indent, depth + 1);
    }
    if (!first)
        new_line(b, indent, depth);
    buf_adds(b, "}");
}

static void add_value(struct buf *b, const json_t *v, int indent, int depth)
{
    BUG_IF(depth > 2 * DEPTH_MAX);
    switch (json_typeof(v)) {
    case JSON_OBJECT: add_object(b, v, indent, depth); break;
    case JSON_ARRAY: add_list(b, v, indent, depth); break;
    case JSON_STRING: add_string(b, json_string_value(v), json_string_length(v)); break;
    case JSON_INTEGER: buf_addf(b, "%lld", (long long)json_integer_value(v)); break;
    case JSON_REAL: add_real(b, json_real_value(v)); break;
    case JSON_TRUE: buf_adds(b, "true"); break;
    case JSON_FALSE: buf_adds(b, "false"); break;
    case JSON_NULL: buf_adds(b, "null"); break;
    }
}

void json_add_text(struct buf *b, const json_t *value, int indent)
{
    add_value(b, value, indent, 0);
}

int json_write_file(const char *path, const json_t *value, struct err *err)
{
    struct buf b = {0};
    json_add_text(&b, value, 2);
    buf_adds(&b, "\n");
    int rc = b.failed ? err_set(err, ERR_MEMORY, "%s: no memory to write it", path)
                      : file_write(path, b.s, b.len, err);
    buf_release(&b);
    return rc;
}

/* ---- typed members ------------------------------------------------------------------ */

static const char *type_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "true or false";
    case JSON_NULL: return "null";
    }
    return "nothing";
}

/* The member, or NULL: rc is then 0 when it is only absent and `need` is false. */
static json_t *member(int *rc, const json_t *o, const char *key, bool need, const char *where,
                      struct err *err)
{
    *rc = 0;
    if (!json_is_object(o)) {
        *rc = err_set(err, ERR_FORMAT, "%s: expected an object with '%s', found %s", where, key,
                      o ? type_name(o) : "nothing");
        return NULL;
    }
    json_t *v = json_object_get(o, key);
    if (v && !json_is_null(v))
        return v;
    if (need)
        *rc = err_set(err, ERR_MISSING, "%s: '%s' is %s", where, key, v ? "null" : "missing");
    return NULL;
}

static int wrong_type(const json_t *v, const char *key, const char *want, const char *where,
                      struct err *err)
{
    return err_set(err, ERR_FORMAT, "%s: '%s' should be %s, found %s", where, key, want,
                   type_name(v));
}

static int as_str(const json_t *v, const char **out, const char *key, const char *where,
                  struct err *err)
{
    if (!json_is_string(v))
        return wrong_type(v, key, "a string", where, err);
    *out = json_string_value(v);
    return 0;
}

/* 64.0 is taken as 64: tools that write numbers through doubles exist. */
static int as_i64(const json_t *v, int64_t *out, const char *key, const char *where,
                  struct err *err)
{
    double x = json_real_value(v);
    if (json_is_integer(v))
        *out = json_integer_value(v);
    else if (json_is_real(v) && fabs(x) <= 0x1p53 && x == floor(x))
        *out = (int64_t)x;
    else
        return wrong_type(v, key, "an integer", where, err);
    return 0;
}

static int as_double(const json_t *v, double *out, const char *key, const char *where,
                     struct err *err)
{
    if (!json_is_number(v))
        return wrong_type(v, key, "a number", where, err);
    *out = json_number_value(v);
    return 0;
}

static int as_bool(const json_t *v, bool *out, const char *key, const char *where,
                   struct err *err)
{
    if (!json_is_boolean(v))
        return wrong_type(v, key, "true or false", where, err);
    *out = json_is_true(v);
    return 0;
}

#define TYPED(name, type)                                                                      \
    int json_get_##name(const json_t *o, const char *key, type *out, const char *where,        \
                        struct err *err)                                                       \
    {                                                                                          \
        int rc;                                                                                \
        json_t *v = member(&rc, o, key, true, where, err);                                     \
        return v ? as_##name(v, out, key, where, err) : rc;                                    \
    }                                                                                          \
    int json_##name##_or(const json_t *o, const char *key, type dflt, type *out,               \
                         const char *where, struct err *err)                                   \
    {                                                                                          \
        int rc;                                                                                \
        json_t *v = member(&rc, o, key, false, where, err);                                    \
        if (!v && rc == 0)                                                                     \
            *out = dflt;                                                                       \
        return v ? as_##name(v, out, key, where, err) : rc;                                    \
    }

typedef const char *cstr;   // so that the macro can write `type *`
TYPED(str, cstr)
TYPED(i64, int64_t)
TYPED(double, double)
TYPED(bool, bool)
