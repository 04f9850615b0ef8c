/* print.c - values as text: Python's str(), repr() and json.dumps(). */
#include "model/template/internal.h"

#include <math.h>
#include <utf8proc.h>

/* The shortest decimal that reads back as f, written as Python writes it: 1.0, 1e+16, 1e-05. */
void add_float(struct buf *b, double f)
{
    char s[40], digits[32];
    if (isnan(f) || isinf(f)) {
        buf_adds(b, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    int precision = 0;
    do
        snprintf(s, sizeof s, "%.*e", precision, f);
    while (strtod(s, NULL) != f && ++precision < 17);
    int exponent = atoi(strchr(s, 'e') + 1), n = 0;
    for (const char *p = s; *p != 'e'; p++)
        if (*p >= '0' && *p <= '9')
            digits[n++] = *p;
    digits[n] = 0;
    if (s[0] == '-')
        buf_adds(b, "-");
    if (exponent < -4 || exponent >= 16)
        buf_addf(b, "%c%s%se%c%02d", digits[0], n > 1 ? "." : "", digits + 1,
                 exponent < 0 ? '-' : '+', abs(exponent));
    else if (exponent < 0)
        buf_addf(b, "0.%.*s%s", -exponent - 1, "0000", digits);
    else if (n <= exponent + 1)
        buf_addf(b, "%s%.*s.0", digits, exponent + 1 - n, "0000000000000000");
    else
        buf_addf(b, "%.*s.%s", exponent + 1, digits, digits + exponent + 1);
}

/* ---- repr ------------------------------------------------------------------------- */

static bool is_printable(uint32_t c)
{
    if (c < 0x7F)
        return c >= ' ';
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

static void add_str_repr(struct run *r, struct buf *b, struct value v)
{
    char quote = memchr(v.s, '\'', v.n) && !memchr(v.s, '"', v.n) ? '"' : '\'';
    size_t len;
    charge(r, v.n);
    buf_add(b, &quote, 1);
    for (size_t i = 0; i < v.n; i += len) {
        uint32_t c = char_at(v.s + i, v.n - i, &len);
        if (c == (unsigned char)quote || c == '\\')
            buf_addf(b, "\\%c", (int)c);
        else if (c == '\n' || c == '\r' || c == '\t')
            buf_addf(b, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else if (is_printable(c))
            buf_add(b, v.s + i, len);
        else
            buf_addf(b, c < 256 ? "\\x%02x" : c < 65536 ? "\\u%04x" : "\\U%08x", c);
    }
    buf_add(b, &quote, 1);
}

static void add_items(struct run *r, struct buf *b, struct value v)
{
    struct list *l = v.list;
    buf_adds(b, v.kind == V_LIST ? "[" : "(");
    for (uint32_t i = 0; i < l->n; i++) {
        buf_adds(b, i ? ", " : "");
        add_repr(r, b, l->v[i]);
    }
    buf_adds(b, v.kind == V_LIST ? "]" : l->n == 1 ? ",)" : ")");
}

static void add_dict(struct run *r, struct buf *b, struct value v)
{
    static const char *const open[] = {[V_DICT] = "{",
                                       [V_KEYS] = "dict_keys([",
                                       [V_VALUES] = "dict_values([",
                                       [V_ITEMS] = "dict_items([",
                                       [V_NAMESPACE] = "<Namespace {"};
    buf_adds(b, open[v.kind]);
    for (uint32_t i = 0; i < v.dict->n; i++) {
        const struct pair *p = &v.dict->pair[i];
        buf_adds(b, i ? ", " : "");
        buf_adds(b, v.kind == V_ITEMS ? "(" : "");
        if (v.kind != V_VALUES)
            add_repr(r, b, p->key);
        if (v.kind != V_KEYS && v.kind != V_VALUES)
            buf_adds(b, v.kind == V_ITEMS ? ", " : ": ");
        if (v.kind != V_KEYS)
            add_repr(r, b, p->value);
        buf_adds(b, v.kind == V_ITEMS ? ")" : "");
    }
    buf_adds(b, v.kind == V_DICT ? "}" : v.kind == V_NAMESPACE ? "}>" : "])");
}

void add_repr(struct run *r, struct buf *b, struct value v)
{
    enter(r);
    charge(r, 16);
    if (b->len > TEMPLATE_OUTPUT_MAX)
        run_stop(r, ERR_VALUE, "a value's text is longer than %d bytes", TEMPLATE_OUTPUT_MAX);
    switch (v.kind) {
    case V_ABSENT:
    case V_UNDEFINED:
        buf_adds(b, "Undefined");
        break;
    case V_NONE:
        buf_adds(b, "None");
        break;
    case V_BOOL:
        buf_adds(b, v.i ? "True" : "False");
        break;
    case V_INT:
        buf_addf(b, "%lld", (long long)v.i);
        break;
    case V_FLOAT:
        add_float(b, v.f);
        break;
    case V_STR:
        if (v.markup)
            buf_adds(b, "Markup(");
        add_str_repr(r, b, v);
        if (v.markup)
            buf_adds(b, ")");
        break;
    case V_LIST:
    case V_TUPLE:
        add_items(r, b, v);
        break;
    case V_DICT:
    case V_KEYS:
    case V_VALUES:
    case V_ITEMS:
    case V_NAMESPACE:
        add_dict(r, b, v);
        break;
    case V_RANGE:
        buf_addf(b, "range(%lld, %lld", (long long)v.range->start, (long long)v.range->stop);
        buf_addf(b, v.range->step == 1 ? ")" : ", %lld)", (long long)v.range->step);
        break;
    case V_MACRO:
        buf_adds(b, "<Macro ");
        add_repr(r, b, v.macro->node->name);
        buf_adds(b, ">");
        break;
    default:
        buf_addf(b, "<%s object>", type_name(v));
        break;
    }
    leave(r);
}

void add_str(struct run *r, struct buf *b, struct value v)
{
    if (v.kind == V_STR)
        buf_add(b, v.s, v.n);
    else if (v.kind != V_UNDEFINED && v.kind != V_ABSENT)
        add_repr(r, b, v);
}

struct value to_str(struct run *r, struct value v)
{
    if (v.kind == V_STR)
        return v;
    add_str(r, text_begin(r), v);
    return text_end(r);
}

/* ---- JSON ------------------------------------------------------------------------- */

static void add_json_str(struct run *r, struct buf *b, struct value v, bool ascii)
{
    size_t len;
    charge(r, v.n);
    buf_adds(b, "\"");
    for (size_t i = 0; i < v.n; i += len) {
        uint32_t c = char_at(v.s + i, v.n - i, &len);
        static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
        const char *p = c && c < 0x80 ? strchr(from, (int)c) : NULL;
        if (p)
            buf_addf(b, "\\%c", to[p - from]);
        else if (c < ' ' || (ascii && c > 0x7E && c < 0x10000))
            buf_addf(b, c == 0x7F ? "\x7F" : "\\u%04x", c);
        else if (ascii && c >= 0x10000)
            buf_addf(b, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
                     0xDC00 + ((c - 0x10000) & 0x3FF));
        else
            buf_add(b, v.s + i, len);
    }
    buf_adds(b, "\"");
}

static void add_break(struct buf *b, const struct json_style *s, int depth)
{
    if (s->indent.kind == V_NONE)
        return;
    buf_adds(b, "\n");
    for (int i = 0; i < depth; i++)
        buf_add(b, s->indent.s, s->indent.n);
}

static void add_json_at(struct run *r, struct buf *b, struct value v,
                        const struct json_style *s, int depth);

static void add_json_list(struct run *r, struct buf *b, const struct list *l,
                          const struct json_style *s, int depth)
{
    buf_adds(b, "[");
    for (uint32_t i = 0; i < l->n; i++) {
        if (i)
            buf_add(b, s->item.s, s->item.n);
        add_break(b, s, depth + 1);
        add_json_at(r, b, l->v[i], s, depth + 1);
    }
    if (l->n)
        add_break(b, s, depth);
    buf_adds(b, "]");
}

static void add_json_key(struct run *r, struct buf *b, struct value key,
                         const struct json_style *s)
{
    if (key.kind == V_STR) {
        add_json_str(r, b, key, s->ascii);
    } else if (key.kind == V_NONE || is_number(key)) {
        buf_adds(b, "\"");
        add_json_at(r, b, key, s, 0);
        buf_adds(b, "\"");
    } else {
        run_fail(r, "tojson: a key must be a string, number, boolean or None, not %s",
                 type_name(key));
    }
}

static void add_json_dict(struct run *r, struct buf *b, const struct dict *d,
                          const struct json_style *s, int depth)
{
    struct value *order = run_alloc(r, d->n, sizeof *order),
                 *keys = run_alloc(r, d->n, sizeof *keys);
    for (uint32_t i = 0; i < d->n; i++) {
        order[i] = v_int(i);
        keys[i] = d->pair[i].key;
    }
    if (s->sort)
        sort_values(r, order, keys, d->n, false);
    buf_adds(b, "{");
    for (uint32_t i = 0; i < d->n; i++) {
        const struct pair *p = &d->pair[order[i].i];
        if (i)
            buf_add(b, s->item.s, s->item.n);
        add_break(b, s, depth + 1);
        add_json_key(r, b, p->key, s);
        buf_add(b, s->key.s, s->key.n);
        add_json_at(r, b, p->value, s, depth + 1);
    }
    if (d->n)
        add_break(b, s, depth);
    buf_adds(b, "}");
}

static void add_json_at(struct run *r, struct buf *b, struct value v,
                        const struct json_style *s, int depth)
{
    enter(r);
    charge(r, 16 + (s->indent.kind == V_STR ? (size_t)depth * s->indent.n : 0));
    if (b->len > TEMPLATE_OUTPUT_MAX)
        run_stop(r, ERR_VALUE, "tojson writes more than %d bytes", TEMPLATE_OUTPUT_MAX);
    if (v.kind == V_NONE)
        buf_adds(b, "null");
    else if (v.kind == V_BOOL)
        buf_adds(b, v.i ? "true" : "false");
    else if (v.kind == V_FLOAT && !isfinite(v.f))
        buf_adds(b, isnan(v.f) ? "NaN" : v.f < 0 ? "-Infinity" : "Infinity");
    else if (v.kind == V_INT || v.kind == V_FLOAT)
        add_repr(r, b, v);
    else if (v.kind == V_STR)
        add_json_str(r, b, v, s->ascii);
    else if (v.kind == V_LIST || v.kind == V_TUPLE)
        add_json_list(r, b, v.list, s, depth);
    else if (v.kind == V_DICT)
        add_json_dict(r, b, v.dict, s, depth);
    else
        run_fail(r, "tojson: a value of type %s is not JSON%s%s", type_name(v),
                 v.kind == V_UNDEFINED ? ": " : "",
                 v.kind == V_UNDEFINED ? v.undefined->why : "");
    leave(r);
}

void add_json(struct run *r, struct buf *b, struct value v, const struct json_style *style)
{
    add_json_at(r, b, v, style, 0);
}
