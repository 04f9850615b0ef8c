/* exec.c - statements, macros and loops, and the state of a rendering.
 *
 * A `set` belongs to the innermost scope; for bodies (each time round), macros, blocks, with,
 * set blocks and filter blocks open one, if does not.  A macro sees the scope it was written
 * in. */
#include "model/template/internal.h"

/* ---- limits and memory ------------------------------------------------------------ */

static void say(struct run *r, int code, const char *fmt, va_list ap)
{
    char why[800];
    vsnprintf(why, sizeof why, fmt, ap);
    if (r->line)
        err_set(r->err, code, "%s: line %d of the chat template: %s", r->t->origin, r->line,
                why);
    else
        err_set(r->err, code, "%s: the chat template: %s", r->t->origin, why);
}

void run_fail(struct run *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(r, ERR_VALUE, fmt, ap);
    va_end(ap);
    longjmp(r->fail, 1);
}

void run_stop(struct run *r, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(r, code, fmt, ap);
    va_end(ap);
    longjmp(r->fail, 1);
}

void *run_alloc(struct run *r, size_t n, size_t size)
{
    size_t bytes;
    void *p = NULL;
    bool fits = size_mul(&bytes, n ? n : 1, size) && bytes <= TEMPLATE_MEMORY_MAX - r->memory;
    if (!fits)
        run_stop(r, ERR_VALUE, "it needs more than %d MiB of memory",
                 TEMPLATE_MEMORY_MAX >> 20);
    r->memory += bytes;
    p = arena_alloc(&r->arena, bytes);
    if (!p)
        run_stop(r, ERR_MEMORY, "no memory");
    return p;
}

void *run_grow(struct run *r, void *old, uint32_t n, uint32_t *cap, size_t size)
{
    if (n < *cap)
        return old;
    uint32_t more = *cap ? 2 * *cap : 4;
    void *p = run_alloc(r, more, size);
    if (n)
        memcpy(p, old, n * size);
    *cap = more;
    return p;
}

void charge(struct run *r, size_t work)
{
    r->steps += 1 + work / 64;
    if (r->steps > TEMPLATE_STEPS_MAX)
        run_stop(r, ERR_VALUE, "it did not end within %d steps", TEMPLATE_STEPS_MAX);
}

void enter(struct run *r)
{
    if (++r->depth > TEMPLATE_DEPTH_MAX)
        run_stop(r, ERR_VALUE, "nested deeper than %d", TEMPLATE_DEPTH_MAX);
}

void put(struct run *r, struct buf *b, const char *s, size_t n)
{
    charge(r, n);
    if (n > TEMPLATE_OUTPUT_MAX - b->len || b->len > TEMPLATE_OUTPUT_MAX)
        run_stop(r, ERR_VALUE, "it writes more than %d MiB", TEMPLATE_OUTPUT_MAX >> 20);
    buf_add(b, s, n);
    if (b->failed)
        run_stop(r, ERR_MEMORY, "no memory");
}

struct buf *text_begin(struct run *r)
{
    struct making *m = run_alloc(r, 1, sizeof *m);
    m->outer = r->making;
    r->making = m;
    return &m->buf;
}

struct value text_end(struct run *r)
{
    struct making *m = r->making;
    if (m->buf.failed)
        run_stop(r, ERR_MEMORY, "no memory");
    if (m->buf.len > TEMPLATE_OUTPUT_MAX)
        run_stop(r, ERR_VALUE, "a text is longer than %d MiB", TEMPLATE_OUTPUT_MAX >> 20);
    struct value v = v_copy(r, m->buf.s, m->buf.len);
    buf_release(&m->buf);
    r->making = m->outer;
    return v;
}

/* ---- scopes ----------------------------------------------------------------------- */

struct scope *scope_new(struct run *r, struct scope *parent)
{
    struct scope *s = run_alloc(r, 1, sizeof *s);
    s->parent = parent;
    return s;
}

/* s emptied for the next round, or a new one where a macro still needs it. */
static struct scope *scope_again(struct run *r, struct scope *s, struct scope *parent)
{
    if (!s || s->kept)
        return scope_new(r, parent);
    s->n = 0;
    return s;
}

struct value *scope_find(struct scope *s, int symbol)
{
    for (; s; s = s->parent)
        for (uint32_t i = 0; i < s->n; i++)
            if (s->b[i].symbol == symbol)
                return &s->b[i].value;
    return NULL;
}

void bind(struct run *r, struct scope *s, int symbol, struct value v)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (s->b[i].symbol == symbol) {
            s->b[i].value = v;
            return;
        }
    s->b = run_grow(r, s->b, s->n, &s->cap, sizeof *s->b);
    s->b[s->n++] = (struct binding){symbol, v};
}

static void assign_items(struct run *r, const struct node *target, struct value v)
{
    struct iter it;
    struct value item;
    iter_begin(r, &it, v);
    for (const struct node *m = target->list; m; m = m->next) {
        if (!iter_next(r, &it, &item))
            run_fail(r, "not enough values to unpack, expected %d", target->n);
        assign(r, m, item);
    }
    if (iter_next(r, &it, &item))
        run_fail(r, "too many values to unpack, expected %d", target->n);
}

void assign(struct run *r, const struct node *target, struct value v)
{
    if (target->kind == N_NAME) {
        bind(r, r->scope, target->symbol, v);
    } else if (target->kind == N_NSREF) {
        struct value *ns = scope_find(r->scope, target->symbol);
        if (!ns || ns->kind != V_NAMESPACE)
            run_fail(r, "an attribute can be set on a namespace only");
        if (target->name.s[0] == '_')
            run_fail(r, "a namespace cannot have an attribute that begins with '_'");
        dict_put(r, ns->dict, target->name, v);
    } else {
        assign_items(r, target, v);
    }
}

/* ---- macros ----------------------------------------------------------------------- */

static void call_in(struct run *r)
{
    if (++r->calls > TEMPLATE_CALLS_MAX)
        run_stop(r, ERR_VALUE, "macros call each other deeper than %d", TEMPLATE_CALLS_MAX);
}

/* What a statement list writes, as a string, in a scope of its own. */
static struct value text_of(struct run *r, const struct node *body, struct scope *scope)
{
    struct scope *outer_scope = r->scope;
    struct buf *outer = r->out;
    r->scope = scope;
    r->out = text_begin(r);
    exec_all(r, body);
    r->out = outer;
    r->scope = outer_scope;
    return text_end(r);
}

/* The keyword argument of that name, marked as used. */
static struct value *take_key(const struct args *a, bool *used, struct value name)
{
    for (int i = 0; i < a->n_keys; i++)
        if (same_str(a->key[i].key, name)) {
            used[i] = true;
            return &a->key[i].value;
        }
    return NULL;
}

static void bind_rest(struct run *r, struct macro *m, const struct args *a, const bool *used,
                      struct scope *s)
{
    const struct node *n = m->node;
    struct value keys = {.kind = V_DICT, .dict = dict_new(r, 1)};
    for (int i = 0; i < a->n_keys; i++) {
        if (used[i])
            continue;
        if (!n->uses_kwargs)
            run_fail(r, "macro '%.*s' takes no keyword argument '%.*s'", (int)(n->name.n & 63),
                     n->name.s, (int)(a->key[i].key.n & 63), a->key[i].key.s);
        dict_append(r, keys.dict, a->key[i].key, a->key[i].value);
    }
    if (n->uses_kwargs)
        bind(r, s, SYM_KWARGS, keys);
    if (!n->uses_varargs && a->n > n->n)
        run_fail(r, "macro '%.*s' takes not more than %d arguments", (int)(n->name.n & 63),
                 n->name.s, n->n);
    if (n->uses_varargs) {
        struct value rest = v_list(r, V_TUPLE, a->n > n->n ? (size_t)(a->n - n->n) : 0);
        for (uint32_t i = 0; i < rest.list->n; i++)
            rest.list->v[i] = a->pos[(uint32_t)n->n + i];
        bind(r, s, SYM_VARARGS, rest);
    }
}

struct value call_macro(struct run *r, struct macro *m, const struct args *a)
{
    const struct node *n = m->node;
    struct scope *s = scope_new(r, m->scope), *outer = r->scope;
    bool *used = run_alloc(r, (size_t)a->n_keys, sizeof *used), caller_is_parameter = false;
    int at = 0;
    call_in(r);
    r->scope = s;
    for (const struct node *p = n->list; p; p = p->next, at++) {
        struct value *key = at < a->n ? NULL : take_key(a, used, r->t->symbol[p->symbol]),
                     name = r->t->symbol[p->symbol];
        caller_is_parameter |= p->symbol == SYM_CALLER;
        if (at < a->n)
            bind(r, s, p->symbol, a->pos[at]);
        else if (key)
            bind(r, s, p->symbol, *key);
        else if (p->a)
            bind(r, s, p->symbol, eval(r, p->a));
        else
            bind(r, s, p->symbol,
                 v_undefined(r, "parameter '%.*s' was not provided", (int)(name.n & 63),
                             name.s));
    }
    if (n->uses_caller && !caller_is_parameter) {
        struct value *caller = take_key(a, used, v_lit("caller"));
        bind(r, s, SYM_CALLER, caller ? *caller : v_undefined(r, "No caller defined"));
    }
    bind_rest(r, m, a, used, s);
    r->scope = outer;
    struct value out = text_of(r, n->d, s);
    r->calls--;
    return out;
}

static struct value make_macro(struct run *r, const struct node *n)
{
    struct macro *m = run_alloc(r, 1, sizeof *m);
    *m = (struct macro){n, r->scope};
    for (struct scope *s = r->scope; s; s = s->parent)
        s->kept = true;
    return (struct value){.kind = V_MACRO, .macro = m};
}

/* {% call f(x) %}: f gets the body as the macro `caller`. */
static void exec_call_block(struct run *r, const struct node *n)
{
    const struct node *call = n->a;
    struct call_args with = {0};
    struct node key = {.kind = N_CONST, .line = n->line, .name = v_lit("caller")},
                value = {.kind = N_CONST, .line = n->line, .value = make_macro(r, n->b)};
    struct node again = *call, **end = &with.key;
    if (call->args)
        with = *call->args;
    struct node *keys = NULL; // a copy of the list, for the tree is shared
    end = &keys;
    for (const struct node *k = with.key; k; k = k->next) {
        *end = run_alloc(r, 1, sizeof **end);
        **end = *k;
        end = &(*end)->next;
    }
    *end = &key;
    key.next = NULL;
    key.a = &value;
    with.key = keys;
    again.args = &with;
    struct value s = to_str(r, eval(r, &again));
    put(r, r->out, s.s, s.n);
}

/* ---- loops ------------------------------------------------------------------------ */

/* The next item that fulfils the loop's condition. */
static bool pull(struct run *r, struct loop *l, struct value *out)
{
    while (iter_next(r, &l->it, out)) {
        if (!l->node->c)
            return true;
        struct scope *outer = r->scope;
        r->scope = l->test = scope_again(r, l->test, l->outer);
        bind(r, r->scope, SYM_LOOP, v_undefined(r, "'loop' is undefined"));
        assign(r, l->node->a, *out);
        bool yes = truth(r, eval(r, l->node->c));
        r->scope = outer;
        if (yes)
            return true;
    }
    return false;
}

static bool peek_next(struct run *r, struct loop *l)
{
    if (l->after.kind == V_ABSENT && !l->ended)
        l->ended = !pull(r, l, &l->after);
    if (l->ended)
        l->after.kind = V_ABSENT;
    return l->after.kind != V_ABSENT;
}

/* Known beforehand, or found by reading the rest into a list. */
static int64_t loop_length(struct run *r, struct loop *l)
{
    if (l->length >= 0)
        return l->length;
    if (!l->node->c && l->it.of.kind != V_ITER)
        return l->length = length_of(r, l->it.of);
    struct building b = {0};
    struct value v;
    int64_t waiting = l->after.kind != V_ABSENT;
    while (!l->ended && pull(r, l, &v))
        build(r, &b, v);
    struct value rest = built(r, &b, V_ITER);
    struct node *plain = run_alloc(r, 1, sizeof *plain);
    *plain = *l->node;
    plain->c = NULL; // what is left fulfils it
    l->node = plain;
    l->it = (struct iter){.of = rest};
    return l->length = rest.list->n + l->index0 + 1 + waiting;
}

struct value loop_attr(struct run *r, struct loop *l, struct value name, bool *found)
{
    static const char *const names[] = {"index",    "index0",   "first",     "last",
                                        "length",   "revindex", "revindex0", "previtem",
                                        "nextitem", "depth",    "depth0",    NULL};
    int i = 0;
    while (names[i] && !is_str(name, names[i]))
        i++;
    *found = true;
    switch (i) {
    case 0:
        return v_int(l->index0 + 1);
    case 1:
        return v_int(l->index0);
    case 2:
        return v_bool(l->index0 == 0);
    case 3:
        return v_bool(!peek_next(r, l));
    case 4:
        return v_int(loop_length(r, l));
    case 5:
        return v_int(loop_length(r, l) - l->index0);
    case 6:
        return v_int(loop_length(r, l) - l->index0 - 1);
    case 7:
        return l->index0 == 0 ? v_undefined(r, "there is no previous item") : l->before;
    case 8:
        return peek_next(r, l) ? l->after : v_undefined(r, "there is no next item");
    case 9:
        return v_int(l->depth0 + 1);
    case 10:
        return v_int(l->depth0);
    default:
        break;
    }
    bool unsafe;
    struct value self = {.kind = V_LOOP, .loop = l};
    const struct method *m = method_find(self, name, &unsafe);
    *found = m != NULL;
    if (!m)
        return v_none();
    struct bound *b = run_alloc(r, 1, sizeof *b);
    *b = (struct bound){self, m};
    return (struct value){.kind = V_METHOD, .bound = b};
}

static bool loop_next(struct run *r, struct loop *l, struct value *out)
{
    if (l->after.kind != V_ABSENT) {
        *out = l->after;
        l->after.kind = V_ABSENT;
    } else if (l->ended || !pull(r, l, out)) {
        return false;
    }
    l->index0++;
    l->before = l->current;
    l->current = *out;
    return true;
}

/* Runs the body for each item in the scope the loop was written in. */
static void run_loop(struct run *r, const struct node *n, struct value items,
                     struct scope *scope, int depth)
{
    struct loop *l = run_alloc(r, 1, sizeof *l);
    struct scope *outer = r->scope;
    struct scope *inner = NULL;
    struct value v;
    bool ran = false;
    *l = (struct loop){.node = n, .outer = scope, .index0 = -1, .length = -1, .depth0 = depth};
    iter_begin(r, &l->it, items);
    while (loop_next(r, l, &v)) {
        r->scope = inner = scope_again(r, inner, scope);
        bind(r, inner, SYM_LOOP, (struct value){.kind = V_LOOP, .loop = l});
        assign(r, n->a, v);
        exec_all(r, n->list);
        bool broken = r->signal == GO_BREAK;
        ran |= r->signal == GO_ON; // as Jinja2: a round that was left early does not count
        r->signal = GO_ON;
        if (broken)
            break;
    }
    if (!ran && n->other) {
        r->scope = scope_new(r, scope);
        exec_all(r, n->other);
    }
    r->scope = outer;
}

struct value call_loop(struct run *r, struct loop *l, struct value items)
{
    struct buf *outer = r->out;
    if (!l->node->recursive)
        run_fail(r, "a loop must be marked 'recursive' to be called");
    call_in(r);
    r->out = text_begin(r);
    run_loop(r, l->node, items, l->outer, l->depth0 + 1);
    r->out = outer;
    r->calls--;
    return text_end(r);
}

/* ---- statements ------------------------------------------------------------------- */

static void exec_output(struct run *r, const struct node *n)
{
    struct value v = to_str(r, eval(r, n->a));
    put(r, r->out, v.s, v.n);
}

static void exec_if(struct run *r, const struct node *n)
{
    for (; n; n = n->other)
        if (!n->a || truth(r, eval(r, n->a))) {
            exec_all(r, n->list);
            return;
        }
}

static void exec_set_block(struct run *r, const struct node *n)
{
    struct value v = text_of(r, n->other, scope_new(r, r->scope));
    if (n->b)
        v = filter_chain(r, n->b, v);
    assign(r, n->list, v);
}

static void exec_filter_block(struct run *r, const struct node *n)
{
    struct value v = text_of(r, n->list, scope_new(r, r->scope));
    v = to_str(r, filter_chain(r, n->b, v));
    put(r, r->out, v.s, v.n);
}

static void exec_scope(struct run *r, const struct node *n, struct scope *parent)
{
    struct scope *outer = r->scope, *inner = scope_new(r, parent);
    for (const struct node *s = n->kind == N_WITH ? n->other : NULL; s; s = s->next) {
        struct value v = eval(r, s->a); // sees what is outside only
        r->scope = inner;
        assign(r, s->list, v);
        r->scope = outer;
    }
    r->scope = inner;
    exec_all(r, n->list);
    r->scope = outer;
}

static void exec_generation(struct run *r, const struct node *n)
{
    size_t start = r->final.len;
    struct value v = text_of(r, n->list, scope_new(r, r->scope));
    if (r->spans) {
        struct template_spans *s = r->spans;
        struct template_span *more = mem_grow(s->item, &s->cap, (size_t)s->n + 1, sizeof *more);
        if (!more)
            run_stop(r, ERR_MEMORY, "no memory");
        s->item = more;
        s->item[s->n++] = (struct template_span){start, start + v.n};
    }
    put(r, r->out, v.s, v.n);
}

static void exec(struct run *r, const struct node *n)
{
    r->line = n->line;
    switch ((enum node_kind)n->kind) {
    case N_DATA:
        put(r, r->out, n->value.s, n->value.n);
        break;
    case N_OUTPUT:
        exec_output(r, n);
        break;
    case N_SET:
        assign(r, n->list, eval(r, n->a));
        break;
    case N_SET_BLOCK:
        exec_set_block(r, n);
        break;
    case N_FOR:
        run_loop(r, n, eval(r, n->b), r->scope, 0);
        break;
    case N_IF:
        exec_if(r, n);
        break;
    case N_MACRO:
        bind(r, r->scope, n->symbol, make_macro(r, n));
        break;
    case N_CALL_BLOCK:
        exec_call_block(r, n);
        break;
    case N_FILTER_BLOCK:
        exec_filter_block(r, n);
        break;
    case N_WITH:
    case N_SCOPE:
        exec_scope(r, n, r->scope);
        break;
    case N_BLOCK:
        exec_scope(r, n, n->scoped ? r->scope : r->globals);
        break;
    case N_GENERATION:
        exec_generation(r, n);
        break;
    case N_BREAK:
        r->signal = GO_BREAK;
        break;
    case N_CONTINUE:
        r->signal = GO_CONTINUE;
        break;
    default:
        BUG("node %d is no statement", n->kind);
    }
}

void exec_all(struct run *r, const struct node *n)
{
    enter(r);
    for (; n && r->signal == GO_ON; n = n->next) {
        charge(r, 1);
        exec(r, n);
    }
    leave(r);
}
