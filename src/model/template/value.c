/* value.c - values: making them, comparing them, reaching into them, walking over them.
 *
 * They behave as Python's: True equals 1 and 1.0, a dict keeps its order, an index may be
 * negative, strings are counted in characters. */
#include "model/template/internal.h"

#include <math.h>

/* ---- making ----------------------------------------------------------------------- */

struct value v_none(void)
{
    return (struct value){.kind = V_NONE};
}
struct value v_bool(bool b)
{
    return (struct value){.kind = V_BOOL, .i = b};
}
struct value v_int(int64_t i)
{
    return (struct value){.kind = V_INT, .i = i};
}
struct value v_float(double f)
{
    return (struct value){.kind = V_FLOAT, .f = f};
}
struct value v_str(const char *s, size_t n)
{
    return (struct value){.kind = V_STR, .n = (uint32_t)n, .s = s};
}
struct value v_lit(const char *s)
{
    return v_str(s, strlen(s));
}

struct value v_copy(struct run *r, const char *s, size_t n)
{
    char *copy = run_alloc(r, n + 1, 1);
    memcpy(copy, n ? s : "", n);
    charge(r, n);
    return v_str(copy, n);
}

struct value v_undefined(struct run *r, const char *fmt, ...)
{
    char why[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    struct undefined *u = run_alloc(r, 1, sizeof *u);
    u->why = v_copy(r, why, strlen(why)).s;
    return (struct value){.kind = V_UNDEFINED, .undefined = u};
}

struct value v_list(struct run *r, int kind, size_t n)
{
    struct list *l = run_alloc(r, 1, sizeof *l);
    l->v = run_alloc(r, n, sizeof *l->v);
    l->n = (uint32_t)n;
    charge(r, 16 * n);
    return (struct value){.kind = (uint8_t)kind, .list = l};
}

void build(struct run *r, struct building *b, struct value v)
{
    if (!b->list)
        b->list = run_alloc(r, 1, sizeof *b->list);
    b->list->v = run_grow(r, b->list->v, b->list->n, &b->cap, sizeof *b->list->v);
    charge(r, 16);
    b->list->v[b->list->n++] = v;
}

struct value built(struct run *r, struct building *b, int kind)
{
    if (!b->list)
        return v_list(r, kind, 0);
    return (struct value){.kind = (uint8_t)kind, .list = b->list};
}

/* ---- dicts ------------------------------------------------------------------------ */

struct dict *dict_new(struct run *r, size_t cap)
{
    struct dict *d = run_alloc(r, 1, sizeof *d);
    d->pair = run_alloc(r, cap, sizeof *d->pair);
    d->cap = (uint32_t)cap;
    return d;
}

void must_hash(struct run *r, struct value key)
{
    if (key.kind == V_LIST || key.kind == V_DICT)
        run_fail(r, "a %s cannot be a key", type_name(key));
    for (uint32_t i = 0; key.kind == V_TUPLE && i < key.list->n; i++)
        must_hash(r, key.list->v[i]);
}

struct value *dict_find(struct run *r, const struct dict *d, struct value key)
{
    charge(r, d->n);
    for (uint32_t i = 0; i < d->n; i++) {
        struct value k = d->pair[i].key;
        if (key.kind == V_STR ? same_str(k, key) : equal(r, k, key))
            return &d->pair[i].value;
    }
    return NULL;
}

void dict_append(struct run *r, struct dict *d, struct value key, struct value v)
{
    d->pair = run_grow(r, d->pair, d->n, &d->cap, sizeof *d->pair);
    d->pair[d->n++] = (struct pair){key, v};
}

void dict_put(struct run *r, struct dict *d, struct value key, struct value v)
{
    struct value *old = dict_find(r, d, key);
    if (old)
        *old = v;
    else
        dict_append(r, d, key, v);
}

struct value from_json(struct run *r, const json_t *j)
{
    const char *key;
    json_t *item;
    size_t i, len;
    struct value v = v_none();
    enter(r);
    charge(r, 1);
    switch (j ? json_typeof(j) : JSON_NULL) {
    case JSON_TRUE:
    case JSON_FALSE:
        v = v_bool(json_is_true(j));
        break;
    case JSON_INTEGER:
        v = v_int(json_integer_value(j));
        break;
    case JSON_REAL:
        v = v_float(json_real_value(j));
        break;
    case JSON_STRING:
        if (json_string_length(j) > TEMPLATE_OUTPUT_MAX)
            run_fail(r, "a string of %zu bytes is too long", json_string_length(j));
        v = v_str(json_string_value(j), json_string_length(j));
        break;
    case JSON_ARRAY:
        v = v_list(r, V_LIST, json_array_size(j));
        json_array_foreach(j, i, item) v.list->v[i] = from_json(r, item);
        break;
    case JSON_OBJECT:
        v = (struct value){.kind = V_DICT, .dict = dict_new(r, json_object_size(j))};
        json_object_keylen_foreach((json_t *)j, key, len, item)
            dict_append(r, v.dict, v_str(key, len), from_json(r, item));
        break;
    default:
        break;
    }
    leave(r);
    return v;
}

/* ---- asking ----------------------------------------------------------------------- */

bool is_str(struct value v, const char *s)
{
    return v.kind == V_STR && v.n == strlen(s) && !memcmp(v.s, s, v.n);
}
bool same_str(struct value a, struct value b)
{
    return a.kind == V_STR && b.kind == V_STR && a.n == b.n && !memcmp(a.s, b.s, a.n);
}
bool is_number(struct value v)
{
    return v.kind == V_BOOL || v.kind == V_INT || v.kind == V_FLOAT;
}
double as_double(struct value v)
{
    return v.kind == V_FLOAT ? v.f : (double)v.i;
}

const char *type_name(struct value v)
{
    static const char *const names[] = {
        "undefined",   "Undefined",   "NoneType", "bool",      "int",   "float",
        "str",         "list",        "tuple",    "generator", "dict",  "dict_keys",
        "dict_values", "dict_items",  "range",    "Namespace", "Macro", "function",
        "method",      "LoopContext", "Cycler",   "Joiner"};
    return names[v.kind];
}

int64_t length_of(struct run *r, struct value v)
{
    switch (v.kind) {
    case V_UNDEFINED:
        return 0;
    case V_STR:
        charge(r, v.n);
        return (int64_t)count_chars(v.s, v.n);
    case V_LIST:
    case V_TUPLE:
        return v.list->n;
    case V_DICT:
    case V_KEYS:
    case V_VALUES:
    case V_ITEMS:
        return v.dict->n;
    case V_RANGE:
        return v.range->n;
    case V_LOOP: {
        bool found;
        return loop_attr(r, v.loop, v_lit("length"), &found).i;
    }
    default:
        return -1;
    }
}

bool truth(struct run *r, struct value v)
{
    switch (v.kind) {
    case V_ABSENT:
    case V_UNDEFINED:
    case V_NONE:
        return false;
    case V_BOOL:
    case V_INT:
        return v.i != 0;
    case V_FLOAT:
        return v.f != 0;
    case V_STR:
        return v.n > 0;
    case V_LOOP:
        return length_of(r, v) != 0;
    default:
        return length_of(r, v) != 0; // things without a length are true
    }
}

static bool equal_items(struct run *r, const struct list *a, const struct list *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (!equal(r, a->v[i], b->v[i]))
            return false;
    return true;
}

static bool equal_dicts(struct run *r, const struct dict *a, const struct dict *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++) {
        struct value *v = dict_find(r, b, a->pair[i].key);
        if (!v || !equal(r, a->pair[i].value, *v))
            return false;
    }
    return true;
}

static bool equal_ranges(const struct range *a, const struct range *b)
{
    return a->n == b->n &&
           (a->n == 0 || (a->start == b->start && (a->n == 1 || a->step == b->step)));
}

bool equal(struct run *r, struct value a, struct value b)
{
    if (is_number(a) && is_number(b))
        return a.kind != V_FLOAT && b.kind != V_FLOAT ? a.i == b.i
                                                      : as_double(a) == as_double(b);
    if (a.kind != b.kind)
        return false;
    enter(r);
    charge(r, a.kind == V_STR && a.n == b.n ? a.n : 1);
    bool same = a.s == b.s;
    if (a.kind == V_STR)
        same = same_str(a, b);
    else if (a.kind == V_NONE || a.kind == V_UNDEFINED)
        same = true;
    else if (a.kind == V_LIST || a.kind == V_TUPLE)
        same = equal_items(r, a.list, b.list);
    else if (a.kind == V_DICT)
        same = equal_dicts(r, a.dict, b.dict);
    else if (a.kind == V_RANGE)
        same = equal_ranges(a.range, b.range);
    leave(r);
    return same;
}

_Noreturn static void cannot_compare(struct run *r, struct value a, struct value b,
                                     const char *op)
{
    struct value u = a.kind == V_UNDEFINED ? a : b;
    if (u.kind == V_UNDEFINED)
        run_fail(r, "%s", u.undefined->why);
    run_fail(r, "'%s' is not supported between '%s' and '%s'", op, type_name(a), type_name(b));
}

int compare(struct run *r, struct value a, struct value b, const char *op)
{
    if (is_number(a) && is_number(b)) {
        if (a.kind != V_FLOAT && b.kind != V_FLOAT)
            return (a.i > b.i) - (a.i < b.i);
        double x = as_double(a), y = as_double(b);
        return isnan(x) || isnan(y) ? 2 : (x > y) - (x < y);
    }
    if (a.kind == V_STR && b.kind == V_STR) { // UTF-8 sorts as its characters do
        uint32_t n = a.n < b.n ? a.n : b.n;
        charge(r, n);
        int c = memcmp(a.s, b.s, n);
        return c ? (c > 0) - (c < 0) : (a.n > b.n) - (a.n < b.n);
    }
    if ((a.kind != V_LIST && a.kind != V_TUPLE) || a.kind != b.kind)
        cannot_compare(r, a, b, op);
    int c = 0;
    enter(r);
    uint32_t n = a.list->n < b.list->n ? a.list->n : b.list->n, i = 0;
    while (i < n && equal(r, a.list->v[i], b.list->v[i]))
        i++;
    c = i < n ? compare(r, a.list->v[i], b.list->v[i], op)
              : (a.list->n > b.list->n) - (a.list->n < b.list->n);
    leave(r);
    return c;
}

bool contains(struct run *r, struct value item, struct value in)
{
    if (in.kind == V_STR) {
        if (item.kind != V_STR)
            run_fail(r, "'in <string>' needs a string on its left, not %s", type_name(item));
        charge(r, in.n);
        return find_bytes(in.s, in.n, item.s, item.n) != NULL;
    }
    if (in.kind == V_DICT || in.kind == V_KEYS) {
        must_hash(r, item);
        return dict_find(r, in.dict, item) != NULL;
    }
    struct iter it;
    struct value v;
    iter_begin(r, &it, in);
    while (iter_next(r, &it, &v))
        if (equal(r, v, item))
            return true;
    return false;
}

/* ---- reaching into ---------------------------------------------------------------- */

static struct value at_index(struct run *r, struct value v, int64_t i, bool *found)
{
    int64_t n = length_of(r, v);
    i += i < 0 ? n : 0;
    *found = i >= 0 && i < n;
    if (!*found)
        return v;
    if (v.kind == V_RANGE)
        return v_int(v.range->start + i * v.range->step);
    if (v.kind != V_STR)
        return v.list->v[i];
    size_t at = char_offset(v.s, v.n, (size_t)i), len;
    char_at(v.s + at, v.n - at, &len);
    return v_str(v.s + at, len);
}

/* v[key] as Python has it; *found false where Python would raise. */
static struct value subscript(struct run *r, struct value v, struct value key, bool *found)
{
    *found = false;
    if (v.kind == V_DICT) {
        struct value *at =
            key.kind == V_LIST || key.kind == V_DICT ? NULL : dict_find(r, v.dict, key);
        *found = at != NULL;
        return at ? *at : v;
    }
    bool indexed =
        v.kind == V_LIST || v.kind == V_TUPLE || v.kind == V_STR || v.kind == V_RANGE;
    if (indexed && (key.kind == V_INT || key.kind == V_BOOL))
        return at_index(r, v, key.i, found);
    return v;
}

/* v.name without looking at items: methods, and what namespaces and loops hold. */
static struct value attribute(struct run *r, struct value v, struct value name, bool *found)
{
    bool unsafe = false;
    *found = true;
    if (v.kind == V_NAMESPACE) {
        struct value *at = dict_find(r, v.dict, name);
        *found = at != NULL;
        return at ? *at : v;
    }
    if (v.kind == V_LOOP)
        return loop_attr(r, v.loop, name, found);
    if (v.kind == V_MACRO && is_str(name, "name"))
        return v.macro->node->name;
    if (v.kind == V_CYCLER && is_str(name, "current"))
        return v.list->v[v.list->at];
    const struct method *m = method_find(v, name, &unsafe);
    unsafe |= name.n > 4 && !memcmp(name.s, "__", 2) && !memcmp(name.s + name.n - 2, "__", 2);
    if (unsafe)
        return v_undefined(r, "access to attribute '%.*s' of '%s' object is unsafe",
                           (int)(name.n & 63), name.s, type_name(v));
    *found = m != NULL;
    if (!m)
        return v;
    struct bound *b = run_alloc(r, 1, sizeof *b);
    *b = (struct bound){v, m};
    return (struct value){.kind = V_METHOD, .bound = b};
}

static struct value no_attribute(struct run *r, struct value v, struct value key)
{
    if (key.kind == V_STR)
        return v_undefined(r, "'%s object' has no attribute '%.*s'", type_name(v),
                           key.n < 100 ? (int)key.n : 100, key.s);
    if (key.kind == V_INT || key.kind == V_BOOL)
        return v_undefined(r, "%s object has no element %lld", type_name(v), (long long)key.i);
    return v_undefined(r, "%s object has no element of type %s", type_name(v), type_name(key));
}

static void must_be_defined(struct run *r, struct value v)
{
    if (v.kind == V_UNDEFINED)
        run_fail(r, "%s", v.undefined->why);
}

struct value get_item(struct run *r, struct value v, struct value key)
{
    bool found;
    must_be_defined(r, v);
    struct value at = subscript(r, v, key, &found);
    if (!found && key.kind == V_STR)
        at = attribute(r, v, key, &found);
    return found ? at : no_attribute(r, v, key);
}

struct value get_attr(struct run *r, struct value v, struct value name)
{
    bool found;
    must_be_defined(r, v);
    struct value at = attribute(r, v, name, &found);
    if (!found)
        at = subscript(r, v, name, &found);
    return found ? at : no_attribute(r, v, name);
}

/* A slice's bound brought into lo..hi, as Python's slice.indices does. */
static int64_t slice_bound(struct run *r, struct value v, int64_t none, int64_t n, bool back)
{
    if (v.kind == V_NONE || v.kind == V_ABSENT)
        return none;
    if (v.kind == V_UNDEFINED)
        must_be_defined(r, v);
    if (v.kind != V_INT && v.kind != V_BOOL)
        run_fail(r, "a slice's bounds must be integers or None, not %s", type_name(v));
    int64_t i = v.i, lo = back ? -1 : 0, hi = back ? n - 1 : n;
    if (i < 0)
        i = i < -n ? lo : i + n;
    return i < lo ? lo : i > hi ? hi : i;
}

static struct value slice_str(struct run *r, struct value v, int64_t from, int64_t step,
                              int64_t count)
{
    if (step == 1) {
        size_t a = char_offset(v.s, v.n, (size_t)from),
               b = a + char_offset(v.s + a, v.n - a, (size_t)count);
        return v_str(v.s + a, b - a);
    }
    struct value chars = to_list(r, v, V_LIST);
    struct buf *b = text_begin(r);
    for (int64_t i = 0; i < count; i++, from += step)
        put(r, b, chars.list->v[from].s, chars.list->v[from].n);
    return text_end(r);
}

struct value slice(struct run *r, struct value v, struct value from, struct value to,
                   struct value by)
{
    must_be_defined(r, v);
    if (v.kind != V_STR && v.kind != V_LIST && v.kind != V_TUPLE && v.kind != V_RANGE)
        run_fail(r, "'%s' cannot be sliced", type_name(v));
    int64_t n = length_of(r, v),
            step = by.kind == V_NONE ? 1 : want_int(r, by, "a slice's step");
    if (step == 0 || step == INT64_MIN)
        run_fail(r, "a slice's step cannot be %s", step ? "that small" : "zero");
    int64_t a = slice_bound(r, from, step < 0 ? n - 1 : 0, n, step < 0),
            b = slice_bound(r, to, step < 0 ? -1 : n, n, step < 0), count = 0;
    if (step > 0 && b > a)
        count = (b - a - 1) / step + 1;
    if (step < 0 && a > b)
        count = (a - b - 1) / -step + 1;
    if (count <= 1)
        step = 1; // never stepped
    if (v.kind == V_STR)
        return count ? slice_str(r, v, a, step, count) : v_str("", 0);
    if (v.kind == V_RANGE) {
        struct range *g = run_alloc(r, 1, sizeof *g), *o = v.range;
        *g = (struct range){o->start + a * o->step, o->start + b * o->step, o->step * step,
                            count};
        return (struct value){.kind = V_RANGE, .range = g};
    }
    struct value out = v_list(r, v.kind, (size_t)count);
    for (int64_t i = 0; i < count; i++, a += step)
        out.list->v[i] = v.list->v[a];
    return out;
}

/* ---- walking ---------------------------------------------------------------------- */

void iter_begin(struct run *r, struct iter *it, struct value v)
{
    if (v.kind <= V_FLOAT && v.kind != V_UNDEFINED)
        run_fail(r, "'%s' object is not iterable", type_name(v));
    if (v.kind > V_RANGE)
        run_fail(r, "'%s' object is not iterable", type_name(v));
    *it = (struct iter){.of = v};
}

bool iter_next(struct run *r, struct iter *it, struct value *out)
{
    struct value v = it->of;
    size_t at = it->at++, len;
    charge(r, 1);
    switch (v.kind) {
    case V_STR:
        at = it->at - 1;
        if (at >= v.n)
            return it->at--, false;
        char_at(v.s + at, v.n - at, &len);
        it->at = at + len;
        *out = v_str(v.s + at, len);
        return true;
    case V_ITER:
        if (v.list->at >= v.list->n)
            return false;
        *out = v.list->v[v.list->at++];
        return true;
    case V_LIST:
    case V_TUPLE:
        if (at >= v.list->n)
            return false;
        *out = v.list->v[at];
        return true;
    case V_RANGE:
        *out = v_int(v.range->start + (int64_t)at * v.range->step);
        return (int64_t)at < v.range->n;
    case V_UNDEFINED:
        return false;
    default: // a dict or a view of one
        if (at >= v.dict->n)
            return false;
        *out = v.kind == V_VALUES ? v.dict->pair[at].value : v.dict->pair[at].key;
        if (v.kind == V_ITEMS) {
            struct value pair = v_list(r, V_TUPLE, 2);
            pair.list->v[0] = v.dict->pair[at].key;
            pair.list->v[1] = v.dict->pair[at].value;
            *out = pair;
        }
        return true;
    }
}

struct value to_list(struct run *r, struct value v, int kind)
{
    struct building b = {0};
    struct iter it;
    struct value item;
    iter_begin(r, &it, v);
    while (iter_next(r, &it, &item))
        build(r, &b, item);
    return built(r, &b, kind);
}

/* ---- sorting ---------------------------------------------------------------------- */

/* Merge sort of places by their keys; stable, also in reverse. */
static void sort_places(struct run *r, uint32_t *at, uint32_t *tmp, const struct value *key,
                        size_t n, bool reverse)
{
    if (n < 2)
        return;
    size_t m = n / 2, i = 0, j = m, k = 0;
    sort_places(r, at, tmp, key, m, reverse);
    sort_places(r, at + m, tmp, key, n - m, reverse);
    while (i < m && j < n) {
        int c = reverse ? compare(r, key[at[i]], key[at[j]], "<")
                        : compare(r, key[at[j]], key[at[i]], "<");
        tmp[k++] = c == -1 ? at[j++] : at[i++];
    }
    while (i < m)
        tmp[k++] = at[i++];
    while (j < n)
        tmp[k++] = at[j++];
    memcpy(at, tmp, n * sizeof *at);
}

void sort_values(struct run *r, struct value *v, const struct value *key, size_t n,
                 bool reverse)
{
    uint32_t *at = run_alloc(r, n, sizeof *at), *tmp = run_alloc(r, n, sizeof *tmp);
    struct value *copy = run_alloc(r, n, sizeof *copy);
    for (size_t i = 0; i < n; i++)
        at[i] = (uint32_t)i;
    sort_places(r, at, tmp, key, n, reverse);
    for (size_t i = 0; i < n; i++)
        copy[i] = v[i];
    for (size_t i = 0; i < n; i++)
        v[i] = copy[at[i]];
}
