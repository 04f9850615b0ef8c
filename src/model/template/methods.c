/* methods.c - methods of strings, lists, dicts and loops.
 *
 * What would change a list or dict is refused, as the sandbox does. */
#include "model/template/internal.h"

#define METHOD(name)                                                                           \
    static struct value name(struct run *r, struct value self, const struct value *arg,        \
                             const struct args *a)

static struct value want_str(struct run *r, struct value v, const char *what)
{
    if (v.kind == V_UNDEFINED)
        run_fail(r, "%s", v.undefined->why);
    if (v.kind != V_STR)
        run_fail(r, "%s must be a string, not %s", what, type_name(v));
    return v;
}
static int64_t int_or(struct run *r, struct value v, int64_t dflt)
{
    return given(v) && v.kind != V_NONE ? want_int(r, v, "a string method's number") : dflt;
}

/* ---- strings ---------------------------------------------------------------------- */

METHOD(s_upper)
{
    return change_case(r, self, CASE_UPPER);
}
METHOD(s_lower)
{
    return change_case(r, self, CASE_LOWER);
}
METHOD(s_title)
{
    return change_case(r, self, CASE_TITLE);
}
METHOD(s_capitalize)
{
    return change_case(r, self, CASE_CAPITAL);
}
METHOD(s_swapcase)
{
    return change_case(r, self, CASE_SWAP);
}

static struct value strip_sides(struct run *r, struct value self, struct value chars, int sides)
{
    if (given(chars) && chars.kind != V_NONE)
        want_str(r, chars, "strip's argument");
    return strip(self, chars, sides);
}
METHOD(s_strip)
{
    return strip_sides(r, self, arg[0], STRIP_LEFT | STRIP_RIGHT);
}
METHOD(s_lstrip)
{
    return strip_sides(r, self, arg[0], STRIP_LEFT);
}
METHOD(s_rstrip)
{
    return strip_sides(r, self, arg[0], STRIP_RIGHT);
}

static struct value split_with(struct run *r, struct value self, const struct value *arg,
                               bool right)
{
    if (given(arg[0]) && arg[0].kind != V_NONE)
        want_str(r, arg[0], "split's separator");
    return split_text_by(r, self, arg[0], int_or(r, arg[1], -1), right);
}
METHOD(s_split)
{
    return split_with(r, self, arg, false);
}
METHOD(s_rsplit)
{
    return split_with(r, self, arg, true);
}
METHOD(s_splitlines)
{
    return split_lines(r, self, given(arg[0]) && truth(r, arg[0]));
}

static struct value partition(struct run *r, struct value self, struct value sep, bool right)
{
    want_str(r, sep, "partition's separator");
    struct value parts = split_text_by(r, self, sep, 1, right), out = v_list(r, V_TUPLE, 3);
    bool found = parts.list->n == 2;
    for (int i = 0; i < 3; i++)
        out.list->v[i] = v_str("", 0);
    out.list->v[found || !right ? 0 : 2] = parts.list->v[0];
    if (found) {
        out.list->v[1] = sep;
        out.list->v[2] = parts.list->v[1];
    }
    return out;
}
METHOD(s_partition)
{
    return partition(r, self, arg[0], false);
}
METHOD(s_rpartition)
{
    return partition(r, self, arg[0], true);
}

/* self[start:end], as the arguments of find, count and startswith say. */
static struct value window(struct run *r, struct value self, struct value from, struct value to)
{
    return slice(r, self, given(from) ? from : v_none(), given(to) ? to : v_none(), v_none());
}

static bool has_end(struct run *r, struct value s, struct value part, bool start)
{
    if (part.kind == V_TUPLE) {
        for (uint32_t i = 0; i < part.list->n; i++)
            if (has_end(r, s, want_str(r, part.list->v[i], "an affix"), start))
                return true;
        return false;
    }
    want_str(r, part, "an affix");
    return part.n <= s.n && !memcmp(start ? s.s : s.s + s.n - part.n, part.s, part.n);
}
METHOD(s_startswith)
{
    return v_bool(has_end(r, window(r, self, arg[1], arg[2]), arg[0], true));
}
METHOD(s_endswith)
{
    return v_bool(has_end(r, window(r, self, arg[1], arg[2]), arg[0], false));
}
METHOD(s_removeprefix)
{
    bool yes = has_end(r, self, want_str(r, arg[0], "a prefix"), true);
    return yes ? v_str(self.s + arg[0].n, self.n - arg[0].n) : self;
}
METHOD(s_removesuffix)
{
    bool yes = has_end(r, self, want_str(r, arg[0], "a suffix"), false);
    return yes ? v_str(self.s, self.n - arg[0].n) : self;
}
METHOD(s_replace)
{
    return replace_text(r, self, want_str(r, arg[0], "replace's first argument"),
                        want_str(r, arg[1], "replace's second argument"),
                        int_or(r, arg[2], -1));
}

/* Index of part in characters, -1: not there. */
static int64_t find_in(struct run *r, struct value self, const struct value *arg, bool right)
{
    struct value part = want_str(r, arg[0], "what is looked for"),
                 w = window(r, self, arg[1], arg[2]);
    const char *hit = right ? NULL : find_bytes(w.s, w.n, part.s, part.n);
    charge(r, w.n);
    for (size_t i = right && w.n >= part.n ? w.n - part.n + 1 : 0; i-- > 0 && !hit;)
        hit = memcmp(w.s + i, part.s, part.n) ? NULL : w.s + i;
    return hit ? (int64_t)count_chars(self.s, (size_t)(hit - self.s)) : -1;
}
METHOD(s_find)
{
    return v_int(find_in(r, self, arg, false));
}
METHOD(s_rfind)
{
    return v_int(find_in(r, self, arg, true));
}
static struct value must_find(struct run *r, int64_t at)
{
    if (at < 0)
        run_fail(r, "substring not found");
    return v_int(at);
}
METHOD(s_index)
{
    return must_find(r, find_in(r, self, arg, false));
}
METHOD(s_rindex)
{
    return must_find(r, find_in(r, self, arg, true));
}
METHOD(s_count)
{
    struct value part = want_str(r, arg[0], "what is counted"),
                 w = window(r, self, arg[1], arg[2]);
    int64_t n = 0;
    charge(r, w.n);
    if (part.n == 0)
        return v_int((int64_t)count_chars(w.s, w.n) + 1);
    for (const char *s = w.s, *hit;
         (hit = find_bytes(s, w.n - (size_t)(s - w.s), part.s, part.n)); s = hit + part.n)
        n++;
    return v_int(n);
}
METHOD(s_join)
{
    struct iter it;
    struct value v;
    struct buf *b = text_begin(r);
    iter_begin(r, &it, arg[0]);
    for (bool first = true; iter_next(r, &it, &v); first = false) {
        want_str(r, v, "each item of join");
        put(r, b, self.s, first ? 0 : self.n);
        put(r, b, v.s, v.n);
    }
    return text_end(r);
}
METHOD(s_format)
{
    return brace_format(r, self, a);
}
METHOD(s_format_map)
{
    if (arg[0].kind != V_DICT)
        run_fail(r, "format_map needs a mapping, not %s", type_name(arg[0]));
    struct args keys = {.key = arg[0].dict->pair, .n_keys = (int)arg[0].dict->n};
    return brace_format(r, self, &keys);
}

/* To a width: left of it, right of it, or both sides. */
static struct value justify(struct run *r, struct value self, const struct value *arg,
                            char align)
{
    int64_t width = want_int(r, arg[0], "a width"), n = (int64_t)count_chars(self.s, self.n);
    struct value fill =
        given(arg[1]) ? want_str(r, arg[1], "the fill character") : v_str(" ", 1);
    if (count_chars(fill.s, fill.n) != 1)
        run_fail(r, "the fill character must be one character");
    int64_t pad = width > n ? width - n : 0, left = 0;
    left = align == '>' ? pad : align == '^' ? pad / 2 + (pad & width & 1) : 0;
    struct buf *b = text_begin(r);
    for (int64_t i = 0; i < left; i++)
        put(r, b, fill.s, fill.n);
    put(r, b, self.s, self.n);
    for (int64_t i = left; i < pad; i++)
        put(r, b, fill.s, fill.n);
    return text_end(r);
}
METHOD(s_ljust)
{
    return justify(r, self, arg, '<');
}
METHOD(s_rjust)
{
    return justify(r, self, arg, '>');
}
METHOD(s_center)
{
    return justify(r, self, arg, '^');
}
METHOD(s_zfill)
{
    size_t sign = self.n && (self.s[0] == '-' || self.s[0] == '+');
    int64_t pad = want_int(r, arg[0], "zfill's width") - (int64_t)count_chars(self.s, self.n);
    struct buf *b = text_begin(r);
    put(r, b, self.s, sign);
    for (int64_t i = 0; i < pad; i++)
        put(r, b, "0", 1);
    put(r, b, self.s + sign, self.n - sign);
    return text_end(r);
}

#define IS_METHOD(name, class)                                                                 \
    METHOD(name)                                                                               \
    {                                                                                          \
        charge(r, self.n);                                                                     \
        return v_bool(is_class(self, class));                                                  \
    }
IS_METHOD(s_isdigit, IS_DIGIT)
IS_METHOD(s_isdecimal, IS_DECIMAL)
IS_METHOD(s_isnumeric, IS_NUMERIC)
IS_METHOD(s_isalpha, IS_ALPHA)
IS_METHOD(s_isalnum, IS_ALNUM)
IS_METHOD(s_isspace, IS_SPACE)
IS_METHOD(s_isupper, IS_UPPER)
IS_METHOD(s_islower, IS_LOWER)
IS_METHOD(s_isascii, IS_ASCII)

/* ---- lists, dicts, loops ---------------------------------------------------------- */

METHOD(l_count)
{
    int64_t n = 0;
    for (uint32_t i = 0; i < self.list->n; i++)
        n += equal(r, self.list->v[i], arg[0]);
    return v_int(n);
}
METHOD(l_index)
{
    for (uint32_t i = 0; i < self.list->n; i++)
        if (equal(r, self.list->v[i], arg[0]))
            return v_int(i);
    run_fail(r, "the item looked for is not in the list");
}
METHOD(l_copy)
{
    return to_list(r, self, V_LIST);
}
METHOD(d_view_keys)
{
    return (struct value){.kind = V_KEYS, .dict = self.dict};
}
METHOD(d_view_values)
{
    return (struct value){.kind = V_VALUES, .dict = self.dict};
}
METHOD(d_view_items)
{
    return (struct value){.kind = V_ITEMS, .dict = self.dict};
}
METHOD(d_get)
{
    must_hash(r, arg[0]);
    struct value *v = dict_find(r, self.dict, arg[0]);
    return v ? *v : given(arg[1]) ? arg[1] : v_none();
}
METHOD(d_copy)
{
    struct value out = {.kind = V_DICT, .dict = dict_new(r, self.dict->n)};
    for (uint32_t i = 0; i < self.dict->n; i++)
        dict_append(r, out.dict, self.dict->pair[i].key, self.dict->pair[i].value);
    return out;
}
METHOD(p_cycle)
{
    if (!a->n)
        run_fail(r, "no items for cycling given");
    return a->pos[self.loop->index0 % a->n];
}
METHOD(p_changed)
{
    struct value now = v_list(r, V_TUPLE, (size_t)a->n);
    memcpy(now.list->v, a->pos, (size_t)a->n * sizeof *a->pos);
    bool same = given(self.loop->changed) && equal(r, self.loop->changed, now);
    self.loop->changed = now;
    return v_bool(!same);
}
METHOD(c_next)
{
    struct value v = self.list->v[self.list->at];
    self.list->at = (self.list->at + 1) % self.list->n;
    return v;
}
METHOD(c_reset)
{
    self.list->at = 0;
    return v_none();
}

static const struct method STR[] = {
    {"capitalize", "", 0, s_capitalize},
    {"center", "width fillchar", 1, s_center},
    {"count", "sub start end", 1, s_count},
    {"endswith", "suffix start end", 1, s_endswith},
    {"find", "sub start end", 1, s_find},
    {"format", "*", 0, s_format},
    {"format_map", "mapping", 1, s_format_map},
    {"index", "sub start end", 1, s_index},
    {"isalnum", "", 0, s_isalnum},
    {"isalpha", "", 0, s_isalpha},
    {"isascii", "", 0, s_isascii},
    {"isdecimal", "", 0, s_isdecimal},
    {"isdigit", "", 0, s_isdigit},
    {"islower", "", 0, s_islower},
    {"isnumeric", "", 0, s_isnumeric},
    {"isspace", "", 0, s_isspace},
    {"isupper", "", 0, s_isupper},
    {"join", "iterable", 1, s_join},
    {"ljust", "width fillchar", 1, s_ljust},
    {"lower", "", 0, s_lower},
    {"lstrip", "chars", 0, s_lstrip},
    {"partition", "sep", 1, s_partition},
    {"removeprefix", "prefix", 1, s_removeprefix},
    {"removesuffix", "suffix", 1, s_removesuffix},
    {"replace", "old new count", 2, s_replace},
    {"rfind", "sub start end", 1, s_rfind},
    {"rindex", "sub start end", 1, s_rindex},
    {"rjust", "width fillchar", 1, s_rjust},
    {"rpartition", "sep", 1, s_rpartition},
    {"rsplit", "sep maxsplit", 0, s_rsplit},
    {"rstrip", "chars", 0, s_rstrip},
    {"split", "sep maxsplit", 0, s_split},
    {"splitlines", "keepends", 0, s_splitlines},
    {"startswith", "prefix start end", 1, s_startswith},
    {"strip", "chars", 0, s_strip},
    {"swapcase", "", 0, s_swapcase},
    {"title", "", 0, s_title},
    {"upper", "", 0, s_upper},
    {"zfill", "width", 1, s_zfill},
    {0},
};
static const struct method SEQUENCE[] = {{"copy", "", 0, l_copy},
                                         {"count", "value", 1, l_count},
                                         {"index", "value", 1, l_index},
                                         {0}};
static const struct method DICT[] = {
    {"items", "", 0, d_view_items},   {"keys", "", 0, d_view_keys},
    {"values", "", 0, d_view_values}, {"get", "key default", 1, d_get},
    {"copy", "", 0, d_copy},          {0}};
static const struct method LOOP[] = {
    {"cycle", "*", 0, p_cycle}, {"changed", "*", 0, p_changed}, {0}};
static const struct method CYCLER[] = {{"next", "", 0, c_next}, {"reset", "", 0, c_reset}, {0}};

static bool changes(struct value v, struct value name)
{
    static const char *const list[] = {"append", "clear", "pop",    "reverse",
                                       "insert", "sort",  "extend", "remove"},
                             *const dict[] = {"clear", "pop", "popitem", "setdefault",
                                              "update"};
    for (size_t i = 0; i < ARRAY_LEN(list) && v.kind == V_LIST; i++)
        if (is_str(name, list[i]))
            return true;
    for (size_t i = 0; i < ARRAY_LEN(dict) && v.kind == V_DICT; i++)
        if (is_str(name, dict[i]))
            return true;
    return false;
}

const struct method *method_find(struct value v, struct value name, bool *unsafe)
{
    const struct method *m = v.kind == V_STR                         ? STR
                             : v.kind == V_LIST || v.kind == V_TUPLE ? SEQUENCE
                             : v.kind == V_DICT                      ? DICT
                             : v.kind == V_LOOP                      ? LOOP
                             : v.kind == V_CYCLER                    ? CYCLER
                                                  : &LOOP[ARRAY_LEN(LOOP) - 1];
    *unsafe = changes(v, name);
    while (m->name && !is_str(name, m->name))
        m++;
    return m->name ? m : NULL;
}
