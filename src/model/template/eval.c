/* eval.c - expressions to values, calls, and the few functions every template sees. */
#include "model/template/internal.h"

#include <time.h>

/* ---- calls ------------------------------------------------------------------------ */

static struct args eval_args(struct run *r, const struct call_args *c)
{
    static struct value none[1];
    struct args a = {.pos = none}; // never NULL, for pos + 1 is asked for
    struct building pos = {0};
    struct dict *keys = NULL;
    for (const struct node *n = c ? c->pos : NULL; n; n = n->next)
        build(r, &pos, eval(r, n));
    if (c && c->rest) {
        struct iter it;
        struct value v;
        iter_begin(r, &it, eval(r, c->rest));
        while (iter_next(r, &it, &v))
            build(r, &pos, v);
    }
    for (const struct node *n = c ? c->key : NULL; n; n = n->next) {
        keys = keys ? keys : dict_new(r, 4);
        if (dict_find(r, keys, n->name))
            run_fail(r, "the argument '%.*s' is given twice", (int)(n->name.n & 63), n->name.s);
        dict_append(r, keys, n->name, eval(r, n->a));
    }
    if (c && c->rest_keys) {
        struct value more = eval(r, c->rest_keys);
        if (more.kind != V_DICT)
            run_fail(r, "the argument after ** must be a dict, not %s", type_name(more));
        keys = keys ? keys : dict_new(r, 4);
        for (uint32_t i = 0; i < more.dict->n; i++)
            dict_put(r, keys, more.dict->pair[i].key, more.dict->pair[i].value);
    }
    if (pos.list) {
        a.pos = pos.list->v;
        a.n = (int)pos.list->n;
    }
    if (keys) {
        a.key = keys->pair;
        a.n_keys = (int)keys->n;
    }
    return a;
}

/* The next name of spec; *len 0 at its end. */
static const char *next_name(const char *spec, size_t *len)
{
    spec += strspn(spec, " ");
    *len = strcspn(spec, " ");
    return spec;
}

void bind_args(struct run *r, const char *what, const struct args *a, const char *spec,
               int required, struct value *out)
{
    int n = 0, taken = 0;
    size_t len;
    bool open = false;
    for (const char *s = next_name(spec, &len); len; s = next_name(s + len, &len)) {
        if (*s == '*') {
            open = true;
            break;
        }
        struct value *v = &out[n];
        *v = n < a->n ? a->pos[n] : (struct value){.kind = V_ABSENT};
        for (int i = 0; i < a->n_keys; i++)
            if (a->key[i].key.n == len && !memcmp(a->key[i].key.s, s, len)) {
                if (n < a->n)
                    run_fail(r, "%s: the argument '%.*s' is given twice", what, (int)len, s);
                *v = a->key[i].value;
                taken++;
            }
        if (v->kind == V_ABSENT && n < required)
            run_fail(r, "%s: the argument '%.*s' is missing", what, (int)len, s);
        n++;
    }
    if (!open && a->n > n)
        run_fail(r, "%s takes at most %d arguments, %d were given", what, n, a->n);
    if (!open && taken < a->n_keys)
        for (int i = 0; i < a->n_keys; i++) {
            const char *key = a->key[i].key.s;
            int m = (int)(a->key[i].key.n & 63);
            bool known = false;
            for (const char *s = next_name(spec, &len); len; s = next_name(s + len, &len))
                known |= (int)len == m && !memcmp(s, key, len);
            if (!known)
                run_fail(r, "%s takes no argument '%.*s'", what, m, key);
        }
}

static struct value call_joiner(struct joiner *j)
{
    struct value v = j->used ? j->sep : v_str("", 0);
    j->used = true;
    return v;
}

/* What a method makes of a string that went through |safe or |escape is of that kind, too. */
static struct value as_markup(struct value self, struct value v)
{
    if (self.kind != V_STR || !self.markup)
        return v;
    v.markup |= v.kind == V_STR;
    for (uint32_t i = 0; (v.kind == V_LIST || v.kind == V_TUPLE) && i < v.list->n; i++)
        v.list->v[i].markup |= v.list->v[i].kind == V_STR;
    return v;
}

struct value call_value(struct run *r, struct value f, const struct args *a)
{
    struct value arg[PARAMS_MAX] = {{0}};
    switch (f.kind) {
    case V_UNDEFINED:
        run_fail(r, "%s", f.undefined->why);
    case V_MACRO:
        return call_macro(r, f.macro, a);
    case V_GLOBAL:
        bind_args(r, f.global->name, a, f.global->params, f.global->required, arg);
        return f.global->call(r, arg, a);
    case V_METHOD:
        bind_args(r, f.bound->method->name, a, f.bound->method->params,
                  f.bound->method->required, arg);
        return as_markup(f.bound->self, f.bound->method->call(r, f.bound->self, arg, a));
    case V_LOOP:
        bind_args(r, "loop", a, "iterable", 1, arg);
        return call_loop(r, f.loop, arg[0]);
    case V_JOINER:
        return call_joiner(f.joiner);
    default:
        run_fail(r, "'%s' object is not callable", type_name(f));
    }
}

/* ---- global functions ------------------------------------------------------------- */

static struct value g_range(struct run *r, const struct value *arg, const struct args *a)
{
    bool one = arg[1].kind == V_ABSENT;
    struct range *g = run_alloc(r, 1, sizeof *g);
    g->start = one ? 0 : want_int(r, arg[0], "range's start");
    g->stop = want_int(r, arg[one ? 0 : 1], "range's end");
    g->step = arg[2].kind == V_ABSENT ? 1 : want_int(r, arg[2], "range's step");
    if (g->step == 0)
        run_fail(r, "range's step is zero");
    double n = ((double)g->stop - (double)g->start) / (double)g->step;
    if (n > 100000)
        run_fail(r, "range is too big: the sandbox has 100000 items at most");
    g->n = 0;
    if (g->step > 0 ? g->stop > g->start : g->stop < g->start)
        g->n = (int64_t)(((unsigned __int128)(g->step > 0 ? (__int128)g->stop - g->start
                                                          : (__int128)g->start - g->stop) -
                          1) /
                         (g->step > 0 ? (unsigned __int128)g->step
                                      : -(unsigned __int128)(__int128)g->step)) +
               1;
    return (struct value){.kind = V_RANGE, .range = g};
}

static struct value pairs(struct run *r, int kind, const struct args *a)
{
    struct value out = {.kind = (uint8_t)kind, .dict = dict_new(r, 4)};
    if (a->n > 1)
        run_fail(r, "%s takes at most one argument, %d were given",
                 kind == V_DICT ? "dict" : "namespace", a->n);
    if (a->n == 1 && a->pos[0].kind == V_DICT) {
        for (uint32_t i = 0; i < a->pos[0].dict->n; i++)
            dict_append(r, out.dict, a->pos[0].dict->pair[i].key,
                        a->pos[0].dict->pair[i].value);
    } else if (a->n == 1) {
        struct iter it;
        struct value v;
        iter_begin(r, &it, a->pos[0]);
        while (iter_next(r, &it, &v)) {
            struct value two = to_list(r, v, V_LIST);
            if (two.list->n != 2)
                run_fail(r, "a dict is made of pairs, found %u items", two.list->n);
            must_hash(r, two.list->v[0]);
            dict_put(r, out.dict, two.list->v[0], two.list->v[1]);
        }
    }
    for (int i = 0; i < a->n_keys; i++)
        dict_put(r, out.dict, a->key[i].key, a->key[i].value);
    return out;
}

static struct value g_dict(struct run *r, const struct value *arg, const struct args *a)
{
    return pairs(r, V_DICT, a);
}

static struct value g_namespace(struct run *r, const struct value *arg, const struct args *a)
{
    struct value v = pairs(r, V_NAMESPACE, a);
    for (uint32_t i = 0; i < v.dict->n; i++)
        if (v.dict->pair[i].key.kind == V_STR && v.dict->pair[i].key.n &&
            v.dict->pair[i].key.s[0] == '_')
            run_fail(r, "a namespace cannot have an attribute that begins with '_'");
    return v;
}

static struct value g_raise(struct run *r, const struct value *arg, const struct args *a)
{
    struct value why = to_str(r, arg[0]);
    run_fail(r, "%.*s", why.n < 700 ? (int)why.n : 700, why.s);
}

static struct value g_strftime(struct run *r, const struct value *arg, const struct args *a)
{
    char s[256], format[128];
    time_t now = time(NULL);
    struct tm tm;
    if (arg[0].kind != V_STR || arg[0].n >= sizeof format)
        run_fail(r, "strftime_now needs a short format");
    memcpy(format, arg[0].s, arg[0].n);
    format[arg[0].n] = 0;
    localtime_r(&now, &tm);
    return v_copy(r, s, strftime(s, sizeof s, format, &tm));
}

static struct value g_cycler(struct run *r, const struct value *arg, const struct args *a)
{
    struct value v = v_list(r, V_CYCLER, (size_t)a->n);
    if (a->n == 0)
        run_fail(r, "cycler needs at least one item");
    memcpy(v.list->v, a->pos, (size_t)a->n * sizeof *a->pos);
    return v;
}

static struct value g_joiner(struct run *r, const struct value *arg, const struct args *a)
{
    struct joiner *j = run_alloc(r, 1, sizeof *j);
    j->sep = arg[0].kind == V_ABSENT ? v_str(", ", 2) : arg[0];
    return (struct value){.kind = V_JOINER, .joiner = j};
}

const struct global *global_find(struct value name)
{
    static const struct global table[] = {
        {"range", "start stop step", 1, g_range},
        {"dict", "*", 0, g_dict},
        {"namespace", "*", 0, g_namespace},
        {"raise_exception", "message", 1, g_raise},
        {"strftime_now", "format", 1, g_strftime},
        {"cycler", "*", 0, g_cycler},
        {"joiner", "sep", 0, g_joiner},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (is_str(name, table[i].name))
            return &table[i];
    return NULL;
}

/* ---- expressions ------------------------------------------------------------------ */

static struct value eval_name(struct run *r, const struct node *n)
{
    struct value *v = scope_find(r->scope, n->symbol), name = r->t->symbol[n->symbol];
    if (v)
        return *v;
    const struct global *g = global_find(name);
    if (g)
        return (struct value){.kind = V_GLOBAL, .global = g};
    return v_undefined(r, "'%.*s' is undefined", name.n < 100 ? (int)name.n : 100, name.s);
}

static struct value eval_items(struct run *r, const struct node *n)
{
    struct value v = v_list(r, n->kind == N_LIST ? V_LIST : V_TUPLE, (size_t)n->n);
    size_t i = 0;
    for (const struct node *m = n->list; m; m = m->next)
        v.list->v[i++] = eval(r, m);
    return v;
}

static struct value eval_dict(struct run *r, const struct node *n)
{
    struct value v = {.kind = V_DICT, .dict = dict_new(r, (size_t)n->n / 2)};
    for (const struct node *m = n->list; m; m = m->next->next) {
        struct value key = eval(r, m);
        must_hash(r, key);
        dict_put(r, v.dict, key, eval(r, m->next));
    }
    return v;
}

static bool holds(struct run *r, int op, struct value a, struct value b)
{
    int c;
    switch (op) {
    case OP2('=', '='):
        return equal(r, a, b);
    case OP2('!', '='):
        return !equal(r, a, b);
    case OP_IN:
        return contains(r, a, b);
    case OP_NOT_IN:
        return !contains(r, a, b);
    case '<':
        return compare(r, a, b, "<") == -1;
    case '>':
        return compare(r, a, b, ">") == 1;
    case OP2('<', '='):
        c = compare(r, a, b, "<=");
        return c == -1 || c == 0;
    default:
        c = compare(r, a, b, ">=");
        return c == 1 || c == 0;
    }
}

static struct value eval_compare(struct run *r, const struct node *n)
{
    struct value a = eval(r, n->a);
    for (const struct node *m = n->list; m; m = m->next) {
        struct value b = eval(r, m->a);
        r->line = n->line;
        if (!holds(r, m->op, a, b))
            return v_bool(false);
        a = b;
    }
    return v_bool(true);
}

static struct value eval_concat(struct run *r, const struct node *n)
{
    struct building parts = {0};
    for (const struct node *m = n->list; m; m = m->next)
        build(r, &parts, eval(r, m));
    struct buf *b = text_begin(r);
    for (uint32_t i = 0; i < parts.list->n; i++) {
        struct value s = to_str(r, parts.list->v[i]);
        put(r, b, s.s, s.n);
    }
    return text_end(r);
}

static struct value eval_cond(struct run *r, const struct node *n)
{
    if (truth(r, eval(r, n->a)))
        return eval(r, n->b);
    if (n->c)
        return eval(r, n->c);
    return v_undefined(r,
                       "the inline if-expression on line %d evaluated to false and no else "
                       "section was defined",
                       n->line);
}

static struct value eval_slice(struct run *r, const struct node *n)
{
    struct value of = eval(r, n->a), part[3] = {v_none(), v_none(), v_none()};
    const struct node *nodes[3] = {n->b, n->c, n->d};
    for (int i = 0; i < 3; i++)
        if (nodes[i])
            part[i] = eval(r, nodes[i]);
    r->line = n->line;
    return slice(r, of, part[0], part[1], part[2]);
}

static struct value eval_call(struct run *r, const struct node *n)
{
    struct value f = eval(r, n->a);
    struct args a = eval_args(r, n->args);
    r->line = n->line;
    return call_value(r, f, &a);
}

struct value filter_chain(struct run *r, const struct node *n, struct value inner)
{
    struct value self = !n->a                    ? inner
                        : n->a->kind == N_FILTER ? filter_chain(r, n->a, inner)
                                                 : eval(r, n->a);
    struct args a = eval_args(r, n->args);
    r->line = n->line;
    return call_filter(r, n->name, self, &a);
}

static struct value eval_test(struct run *r, const struct node *n)
{
    struct value self = eval(r, n->a);
    struct args a = eval_args(r, n->args);
    r->line = n->line;
    return v_bool(call_test(r, n->name, self, &a));
}

static struct value eval_pair(struct run *r, const struct node *n)
{
    struct value a = eval(r, n->a), b = eval(r, n->b);
    r->line = n->line;
    return n->kind == N_ITEM ? get_item(r, a, b) : binary(r, n->op, a, b);
}

static struct value eval_one(struct run *r, const struct node *n)
{
    struct value v = eval(r, n->a);
    r->line = n->line;
    if (n->kind == N_NOT)
        return v_bool(!truth(r, v));
    if (n->kind == N_ATTR)
        return get_attr(r, v, n->name);
    if (n->kind == N_NEGATE)
        return negate(r, v);
    return negate(r, negate(r, v)); // + asks for a number, too
}

static struct value eval_kind(struct run *r, const struct node *n)
{
    struct value v;
    switch ((enum node_kind)n->kind) {
    case N_CONST:
        return n->value;
    case N_NAME:
        return eval_name(r, n);
    case N_LIST:
    case N_TUPLE:
        return eval_items(r, n);
    case N_DICT:
        return eval_dict(r, n);
    case N_NOT:
    case N_NEGATE:
    case N_PLUS:
    case N_ATTR:
        return eval_one(r, n);
    case N_AND:
        v = eval(r, n->a);
        return truth(r, v) ? eval(r, n->b) : v;
    case N_OR:
        v = eval(r, n->a);
        return truth(r, v) ? v : eval(r, n->b);
    case N_COMPARE:
        return eval_compare(r, n);
    case N_CONCAT:
        return eval_concat(r, n);
    case N_COND:
        return eval_cond(r, n);
    case N_BINARY:
    case N_ITEM:
        return eval_pair(r, n);
    case N_SLICE:
        return eval_slice(r, n);
    case N_CALL:
        return eval_call(r, n);
    case N_FILTER:
        return filter_chain(r, n, v_none());
    case N_TEST:
        return eval_test(r, n);
    default:
        BUG("node %d is no expression", n->kind);
    }
}

struct value eval(struct run *r, const struct node *n)
{
    enter(r);
    charge(r, 1);
    r->line = n->line;
    struct value v = eval_kind(r, n);
    leave(r);
    return v;
}
