/* filters_list.c - filters of lists and dicts.
 *
 * Those that give generators in Jinja2 (map, select, unique, ...) give a list here that is read
 * once and has no length, which looks the same to a template; only errors come earlier. */
#include "model/template/internal.h"

struct value by_path(struct run *r, struct value v, struct value path)
{
    if (path.kind == V_NONE || path.kind == V_ABSENT)
        return v;
    if (path.kind != V_STR)
        return get_item(r, v, path);
    for (size_t from = 0, to; from <= path.n; from = to + 1) {
        const char *dot = memchr(path.s + from, '.', path.n - from);
        to = dot ? (size_t)(dot - path.s) : path.n;
        struct value part = v_str(path.s + from, to - from);
        int64_t i;
        v = get_item(r, v,
                     is_class(part, IS_DIGIT) && parse_int(part, 10, &i) ? v_int(i) : part);
    }
    return v;
}

static struct value ignore_case(struct run *r, struct value v, bool case_sensitive)
{
    return v.kind == V_STR && !case_sensitive ? change_case(r, v, CASE_LOWER) : v;
}

/* ---- ends, length, joining -------------------------------------------------------- */

FILTER(f_length)
{
    int64_t n = length_of(r, self);
    if (n < 0)
        run_fail(r, "'%s' has no length", type_name(self));
    return v_int(n);
}
FILTER(f_first)
{
    struct iter it;
    struct value v;
    iter_begin(r, &it, self);
    return iter_next(r, &it, &v) ? v : v_undefined(r, "No first item, sequence was empty.");
}
FILTER(f_last)
{
    if (self.kind == V_ITER || self.kind <= V_FLOAT)
        if (self.kind != V_UNDEFINED)
            run_fail(r, "'%s' cannot be read from its end", type_name(self));
    struct value all = to_list(r, self, V_LIST);
    return all.list->n ? all.list->v[all.list->n - 1]
                       : v_undefined(r, "No last item, sequence was empty.");
}
FILTER(f_list)
{
    return to_list(r, self, V_LIST);
}
FILTER(f_reverse)
{
    struct value all = to_list(r, self, V_ITER);
    struct list *l = all.list;
    for (uint32_t i = 0, j = l->n; i + 1 < j; i++) {
        struct value t = l->v[i];
        l->v[i] = l->v[--j];
        l->v[j] = t;
    }
    if (self.kind != V_STR)
        return all;
    struct buf *b = text_begin(r);
    for (uint32_t i = 0; i < l->n; i++)
        put(r, b, l->v[i].s, l->v[i].n);
    return text_end(r);
}
FILTER(f_join)
{
    struct value sep = given(arg[0]) ? to_str(r, arg[0]) : v_str("", 0), v;
    struct iter it;
    struct buf *b = text_begin(r);
    iter_begin(r, &it, self);
    for (bool first = true; iter_next(r, &it, &v); first = false) {
        v = to_str(r, by_path(r, v, arg[1]));
        put(r, b, sep.s, first ? 0 : sep.n);
        put(r, b, v.s, v.n);
    }
    return text_end(r);
}

/* ---- choosing --------------------------------------------------------------------- */

static struct value select_items(struct run *r, struct value self, const struct args *a,
                                 bool wanted, bool by_attr)
{
    struct building b = {0};
    struct iter it;
    struct value v;
    if (by_attr && a->n < 1)
        run_fail(r, "the attribute's name is missing");
    int off = by_attr;
    struct args rest = {a->pos + off + 1, a->n - off - 1, a->key, a->n_keys};
    if (!truth(r, self))
        return v_list(r, V_ITER, 0);
    iter_begin(r, &it, self);
    while (iter_next(r, &it, &v)) {
        struct value part = by_attr ? by_path(r, v, a->pos[0]) : v;
        bool holds = a->n > off ? call_test(r, a->pos[off], part, &rest) : truth(r, part);
        if (holds == wanted)
            build(r, &b, v);
    }
    return built(r, &b, V_ITER);
}
FILTER(f_select)
{
    return select_items(r, self, a, true, false);
}
FILTER(f_reject)
{
    return select_items(r, self, a, false, false);
}
FILTER(f_selectattr)
{
    return select_items(r, self, a, true, true);
}
FILTER(f_rejectattr)
{
    return select_items(r, self, a, false, true);
}

static const struct value *key_of(const struct args *a, const char *name)
{
    for (int i = 0; i < a->n_keys; i++)
        if (is_str(a->key[i].key, name))
            return &a->key[i].value;
    return NULL;
}

/* An item's attribute, each part that is missing replaced by the default. */
static struct value attribute_or(struct run *r, struct value v, struct value path,
                                 const struct value *dflt)
{
    if (!dflt || dflt->kind == V_NONE)
        return by_path(r, v, path);
    if (path.kind != V_STR || !memchr(path.s, '.', path.n)) {
        v = by_path(r, v, path);
        return v.kind == V_UNDEFINED ? *dflt : v;
    }
    size_t n = (size_t)((const char *)memchr(path.s, '.', path.n) - path.s);
    v = attribute_or(r, v, v_str(path.s, n), dflt);
    return attribute_or(r, v, v_str(path.s + n + 1, path.n - n - 1), dflt);
}
FILTER(f_map)
{
    struct building b = {0};
    struct iter it;
    struct value v;
    const struct value *attr = a->n ? NULL : key_of(a, "attribute"),
                       *dflt = key_of(a, "default");
    struct args rest = {a->pos + 1, a->n - 1, a->key, a->n_keys};
    if (!attr && !a->n)
        run_fail(r, "map needs a filter's name or attribute=");
    if (!truth(r, self))
        return v_list(r, V_ITER, 0);
    iter_begin(r, &it, self);
    while (iter_next(r, &it, &v))
        build(r, &b,
              attr ? attribute_or(r, v, *attr, dflt) : call_filter(r, a->pos[0], v, &rest));
    return built(r, &b, V_ITER);
}
FILTER(f_unique)
{
    struct building b = {0}, seen = {0};
    struct iter it;
    struct value v;
    iter_begin(r, &it, self);
    while (iter_next(r, &it, &v)) {
        struct value key = ignore_case(r, by_path(r, v, arg[1]), flag(r, arg[0]));
        must_hash(r, key);
        bool old = false;
        for (uint32_t i = 0; seen.list && i < seen.list->n && !old; i++)
            old = equal(r, seen.list->v[i], key);
        if (old)
            continue;
        build(r, &seen, key);
        build(r, &b, v);
    }
    return built(r, &b, V_ITER);
}

static struct value extreme(struct run *r, struct value self, const struct value *arg,
                            bool largest)
{
    struct iter it;
    struct value v, best = {0}, best_key = {0};
    iter_begin(r, &it, self);
    while (iter_next(r, &it, &v)) {
        struct value key = ignore_case(r, by_path(r, v, arg[1]), flag(r, arg[0]));
        bool better = best.kind == V_ABSENT;
        if (!better)
            better = largest ? compare(r, key, best_key, ">") == 1
                             : compare(r, key, best_key, "<") == -1;
        if (better) {
            best = v;
            best_key = key;
        }
    }
    return best.kind ? best : v_undefined(r, "No aggregated item, sequence was empty.");
}
FILTER(f_min)
{
    return extreme(r, self, arg, false);
}
FILTER(f_max)
{
    return extreme(r, self, arg, true);
}
FILTER(f_sum)
{
    struct iter it;
    struct value v, sum = given(arg[1]) ? arg[1] : v_int(0);
    if (sum.kind == V_STR)
        run_fail(r, "sum cannot add strings");
    iter_begin(r, &it, self);
    while (iter_next(r, &it, &v))
        sum = binary(r, '+', sum, by_path(r, v, arg[0]));
    return sum;
}

/* ---- order and groups ------------------------------------------------------------- */

/* "a,b" gives the list of both attributes, so that they are compared one after the other. */
static struct value sort_key(struct run *r, struct value v, struct value attr,
                             bool case_sensitive)
{
    struct building b = {0};
    struct value paths = v_list(r, V_LIST, 1);
    paths.list->v[0] = attr;
    if (attr.kind == V_STR)
        paths = split_text_by(r, attr, v_str(",", 1), -1, false);
    for (uint32_t i = 0; i < paths.list->n; i++)
        build(r, &b, ignore_case(r, by_path(r, v, paths.list->v[i]), case_sensitive));
    return built(r, &b, V_LIST);
}

static void sort_by(struct run *r, struct list *l, struct value attr, bool case_sensitive,
                    bool reverse)
{
    struct value *key = run_alloc(r, l->n, sizeof *key);
    for (uint32_t i = 0; i < l->n; i++)
        key[i] = sort_key(r, l->v[i], attr, case_sensitive);
    sort_values(r, l->v, key, l->n, reverse);
}
FILTER(f_sort)
{
    struct value all = to_list(r, self, V_LIST);
    sort_by(r, all.list, arg[2], flag(r, arg[1]), flag(r, arg[0]));
    return all;
}
FILTER(f_dictsort)
{
    bool by_value = given(arg[1]) && is_str(arg[1], "value");
    if (self.kind == V_UNDEFINED)
        run_fail(r, "%s", self.undefined->why);
    if (self.kind != V_DICT)
        run_fail(r, "dictsort needs a mapping, not %s", type_name(self));
    if (given(arg[1]) && !by_value && !is_str(arg[1], "key"))
        run_fail(r, "dictsort sorts by 'key' or 'value'");
    struct value items = {.kind = V_ITEMS, .dict = self.dict}, all = to_list(r, items, V_LIST);
    struct value *key = run_alloc(r, all.list->n, sizeof *key);
    for (uint32_t i = 0; i < all.list->n; i++)
        key[i] = ignore_case(r, all.list->v[i].list->v[by_value], flag(r, arg[0]));
    sort_values(r, all.list->v, key, all.list->n, flag(r, arg[2]));
    return all;
}
FILTER(f_items)
{
    if (self.kind == V_UNDEFINED)
        return v_list(r, V_ITER, 0);
    if (self.kind != V_DICT)
        run_fail(r, "items needs a mapping, not %s", type_name(self));
    return to_list(r, (struct value){.kind = V_ITEMS, .dict = self.dict}, V_ITER);
}
FILTER(f_groupby)
{
    struct value all = to_list(r, self, V_LIST), last = {0};
    struct building groups = {0}, group = {0};
    bool exact = flag(r, arg[2]);
    const struct value *dflt = given(arg[1]) ? &arg[1] : NULL;
    struct value *key = run_alloc(r, all.list->n, sizeof *key);
    for (uint32_t i = 0; i < all.list->n; i++)
        key[i] = ignore_case(r, attribute_or(r, all.list->v[i], arg[0], dflt), exact);
    sort_values(r, all.list->v, key, all.list->n, false);
    for (uint32_t i = 0; i <= all.list->n; i++) {
        struct value v = i < all.list->n ? all.list->v[i] : v_none(), k = v;
        if (i < all.list->n)
            k = ignore_case(r, attribute_or(r, v, arg[0], dflt), exact);
        if (i > 0 && (i == all.list->n || !equal(r, k, last))) {
            struct value pair = v_list(r, V_TUPLE, 2), items = built(r, &group, V_LIST);
            pair.list->v[0] = attribute_or(r, items.list->v[0], arg[0], dflt);
            pair.list->v[1] = items;
            build(r, &groups, pair);
            group = (struct building){0};
        }
        build(r, &group, v);
        last = k;
    }
    return built(r, &groups, V_LIST);
}
FILTER(f_batch)
{
    struct building rows = {0}, row = {0};
    struct iter it;
    struct value v;
    int64_t n = want_int(r, arg[0], "batch's size");
    bool fill = given(arg[1]) && arg[1].kind != V_NONE;
    iter_begin(r, &it, self);
    while (iter_next(r, &it, &v)) {
        if (row.list && row.list->n == n) {
            build(r, &rows, built(r, &row, V_LIST));
            row = (struct building){0};
        }
        build(r, &row, v);
    }
    while (fill && row.list && row.list->n < n)
        build(r, &row, arg[1]);
    if (row.list)
        build(r, &rows, built(r, &row, V_LIST));
    return built(r, &rows, V_ITER);
}
FILTER(f_slice)
{
    struct value all = to_list(r, self, V_LIST);
    struct building columns = {0};
    int64_t n = want_int(r, arg[0], "slice's count"), total = all.list->n, at = 0;
    if (n <= 0)
        run_fail(r, "slice needs a count above zero");
    for (int64_t i = 0; i < n; i++) {
        struct building column = {0};
        bool extra = i < total % n;
        for (int64_t k = 0; k < total / n + extra; k++)
            build(r, &column, all.list->v[at++]);
        if (!extra && given(arg[1]) && arg[1].kind != V_NONE)
            build(r, &column, arg[1]);
        build(r, &columns, built(r, &column, V_LIST));
    }
    return built(r, &columns, V_ITER);
}
FILTER(f_attr)
{
    struct value name = to_str(r, arg[0]);
    bool found = false;
    if (self.kind == V_DICT) { // attributes only, no items
        const struct method *m = method_find(self, name, &found);
        if (!m && !found)
            return v_undefined(r, "'dict object' has no attribute '%.*s'", (int)(name.n & 63),
                               name.s);
    }
    return get_attr(r, self, name);
}

const struct filter *filter_of_lists(struct value name)
{
    static const struct filter table[] = {
        {"attr", "name", 1, f_attr},
        {"batch", "linecount fill_with", 1, f_batch},
        {"count", "", 0, f_length},
        {"dictsort", "case_sensitive by reverse", 0, f_dictsort},
        {"first", "", 0, f_first},
        {"groupby", "attribute default case_sensitive", 1, f_groupby},
        {"items", "", 0, f_items},
        {"join", "d attribute", 0, f_join},
        {"last", "", 0, f_last},
        {"length", "", 0, f_length},
        {"list", "", 0, f_list},
        {"map", "*", 0, f_map},
        {"max", "case_sensitive attribute", 0, f_max},
        {"min", "case_sensitive attribute", 0, f_min},
        {"reject", "*", 0, f_reject},
        {"rejectattr", "*", 0, f_rejectattr},
        {"reverse", "", 0, f_reverse},
        {"select", "*", 0, f_select},
        {"selectattr", "*", 0, f_selectattr},
        {"slice", "slices fill_with", 1, f_slice},
        {"sort", "reverse case_sensitive attribute", 0, f_sort},
        {"sum", "attribute start", 0, f_sum},
        {"unique", "case_sensitive attribute", 0, f_unique},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (is_str(name, table[i].name))
            return &table[i];
    return NULL;
}
