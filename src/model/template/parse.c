/* parse.c - expressions, by recursive descent in Jinja2's order of precedence:
 *
 *   x if c else y < or < and < not < comparisons < + - < ~ < * / // % < ** < unary + -
 *   < postfix . [] () < filters | and tests is
 *
 * Quirks kept: ** groups to the left, and a sign binds tighter than a filter's pipe. */
#include "model/template/internal.h"

static struct node *parse_unary(struct parser *p, bool filters);
static struct node *parse_primary(struct parser *p, bool attributes);

/* ---- tokens ----------------------------------------------------------------------- */

/* line 0: there is no memory. */
void parse_fail(struct parser *p, int line, const char *fmt, ...)
{
    char why[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    if (line)
        err_set(p->err, ERR_FORMAT, "%s: line %d of the chat template: %s", p->t->origin, line,
                why);
    else
        err_set(p->err, ERR_MEMORY, "%s: the chat template: %s", p->t->origin, why);
    longjmp(p->fail, 1);
}

void *parse_alloc(struct parser *p, size_t bytes)
{
    void *q = arena_alloc(&p->t->arena, bytes);
    if (!q)
        parse_fail(p, 0, "no memory");
    return q;
}

struct token_at *peek(struct parser *p)
{
    return &p->token[p->at];
}
static struct token_at *look(struct parser *p)
{
    return &p->token[p->at + (p->at + 1 < p->n)];
}
static struct token_at *take(struct parser *p)
{
    struct token_at *t = peek(p);
    p->at += t->kind != T_EOF;
    return t;
}
bool at_op(struct parser *p, int op)
{
    return peek(p)->kind == T_OP && peek(p)->op == op;
}
bool at_name(struct parser *p, const char *name)
{
    return peek(p)->kind == T_NAME && is_str(peek(p)->value, name);
}
bool skip_op(struct parser *p, int op)
{
    bool yes = at_op(p, op);
    p->at += yes;
    return yes;
}
bool skip_name(struct parser *p, const char *name)
{
    bool yes = at_name(p, name);
    p->at += yes;
    return yes;
}

/* What stands here, for messages. */
static const char *describe(struct parser *p, char out[64])
{
    struct token_at *t = peek(p);
    static const char *const kinds[] = {
        "the end of the template", "text", "{{", "}}", "{%", "%}"};
    if (t->kind == T_OP && t->op > 255)
        snprintf(out, 64, "'%c%c'", t->op >> 8, t->op & 255);
    else if (t->kind == T_OP)
        snprintf(out, 64, "'%c'", t->op);
    else if (t->kind == T_NAME)
        snprintf(out, 64, "'%.*s'", t->value.n < 50 ? (int)t->value.n : 50, t->value.s);
    else
        snprintf(out, 64, "%s",
                 t->kind == T_STRING   ? "a string"
                 : t->kind == T_NUMBER ? "a number"
                                       : kinds[t->kind]);
    return out;
}

void expect_op(struct parser *p, int op)
{
    char found[64];
    if (!skip_op(p, op))
        parse_fail(p, peek(p)->line, "expected '%c', found %s", op, describe(p, found));
}
struct token_at *expect_kind(struct parser *p, int kind, const char *what)
{
    char found[64];
    if (peek(p)->kind != kind)
        parse_fail(p, peek(p)->line, "expected %s, found %s", what, describe(p, found));
    return take(p);
}

void nest(struct parser *p, int by, int line)
{
    p->nesting += by;
    if (p->nesting > TEMPLATE_NESTING_MAX)
        parse_fail(p, line, "nested deeper than %d", TEMPLATE_NESTING_MAX);
}

struct node *new_node(struct parser *p, int kind, int line)
{
    struct node *n = parse_alloc(p, sizeof *n);
    n->kind = (uint8_t)kind;
    n->line = line;
    return n;
}

int symbol_of(struct parser *p, struct value name)
{
    struct template *t = p->t;
    for (int i = 0; i < t->n_symbols; i++)
        if (same_str(t->symbol[i], name))
            return i;
    struct value *s = mem_grow(t->symbol, &t->symbols_cap, (size_t)t->n_symbols + 1, sizeof *s);
    if (!s)
        parse_fail(p, 0, "no memory");
    t->symbol = s;
    if (t->n_symbols >= TEMPLATE_NAMES_MAX)
        parse_fail(p, peek(p)->line, "more than %d different names", TEMPLATE_NAMES_MAX);
    t->symbol[t->n_symbols] = name;
    return t->n_symbols++;
}

/* ---- primaries -------------------------------------------------------------------- */

static struct node *new_const(struct parser *p, struct value v, int line)
{
    struct node *n = new_node(p, N_CONST, line);
    n->value = v;
    return n;
}

/* Macros around that read `caller`, `kwargs` or `varargs` take them. */
static void mark_macros(struct parser *p, int symbol)
{
    for (struct node *m = p->macro; m; m = m->other) {
        m->uses_caller |= symbol == SYM_CALLER;
        m->uses_kwargs |= symbol == SYM_KWARGS;
        m->uses_varargs |= symbol == SYM_VARARGS;
    }
}

static struct node *parse_name(struct parser *p, bool attributes)
{
    struct token_at *t = take(p);
    struct value v = t->value;
    if (is_str(v, "true") || is_str(v, "True"))
        return new_const(p, v_bool(true), t->line);
    if (is_str(v, "false") || is_str(v, "False"))
        return new_const(p, v_bool(false), t->line);
    if (is_str(v, "none") || is_str(v, "None"))
        return new_const(p, v_none(), t->line);
    struct node *n = new_node(p, N_NAME, t->line);
    n->symbol = symbol_of(p, v);
    if (attributes && skip_op(p, '.')) {
        n->kind = N_NSREF;
        n->name = expect_kind(p, T_NAME, "an attribute's name")->value;
    } else {
        mark_macros(p, n->symbol);
    }
    return n;
}

static struct node *parse_strings(struct parser *p)
{
    int line = peek(p)->line;
    struct value v = take(p)->value;
    while (peek(p)->kind == T_STRING) { // neighbours are one string
        struct value more = take(p)->value;
        char *s = parse_alloc(p, (size_t)v.n + more.n + 1);
        memcpy(s, v.s, v.n);
        memcpy(s + v.n, more.s, more.n);
        v = v_str(s, (size_t)v.n + more.n);
    }
    return new_const(p, v, line);
}

static void append(struct node *to, struct node ***end, struct node *item)
{
    **end = item;
    *end = &item->next;
    to->n++;
}

static struct node *parse_list(struct parser *p)
{
    struct node *n = new_node(p, N_LIST, take(p)->line), **end = &n->list;
    while (!at_op(p, ']')) {
        if (n->n)
            expect_op(p, ',');
        if (at_op(p, ']'))
            break;
        append(n, &end, parse_expression(p, true));
    }
    expect_op(p, ']');
    return n;
}

/* Keys and values take turns in the list. */
static struct node *parse_dict(struct parser *p)
{
    struct node *n = new_node(p, N_DICT, take(p)->line), **end = &n->list;
    while (!at_op(p, '}')) {
        if (n->n)
            expect_op(p, ',');
        if (at_op(p, '}'))
            break;
        append(n, &end, parse_expression(p, true));
        expect_op(p, ':');
        append(n, &end, parse_expression(p, true));
    }
    expect_op(p, '}');
    return n;
}

static struct node *parse_primary(struct parser *p, bool attributes)
{
    struct token_at *t = peek(p);
    char found[64];
    struct node *n = NULL;
    nest(p, 1, t->line);
    if (t->kind == T_NAME)
        n = parse_name(p, attributes);
    else if (t->kind == T_STRING)
        n = parse_strings(p);
    else if (t->kind == T_NUMBER)
        n = new_const(p, take(p)->value, t->line);
    else if (at_op(p, '[')) {
        n = parse_list(p);
    } else if (at_op(p, '{')) {
        n = parse_dict(p);
    } else if (skip_op(p, '(')) {
        n = parse_tuple(p, true, NULL, true);
        expect_op(p, ')');
    } else {
        parse_fail(p, t->line, "expected an expression, found %s", describe(p, found));
    }
    nest(p, -1, t->line);
    return n;
}

static bool tuple_ends(struct parser *p, const char *end)
{
    int kind = peek(p)->kind;
    return kind == T_PRINT_END || kind == T_TAG_END || at_op(p, ')') ||
           (end && at_name(p, end));
}

/* a or a, b or a, (or nothing, in parentheses).  Targets (conditional < 0) are primaries only.
 */
static struct node *tuple_of(struct parser *p, int conditional, bool attributes,
                             const char *end, bool in_parentheses)
{
    char found[64];
    struct node *n = new_node(p, N_TUPLE, peek(p)->line), **last = &n->list;
    bool is_tuple = false;
    for (;;) {
        if (n->n)
            expect_op(p, ',');
        if (tuple_ends(p, end))
            break;
        append(n, &last,
               conditional < 0 ? parse_primary(p, attributes)
                               : parse_expression(p, conditional > 0));
        if (!at_op(p, ','))
            break;
        is_tuple = true;
    }
    if (!is_tuple && n->list)
        return n->list;
    if (!is_tuple && !in_parentheses)
        parse_fail(p, peek(p)->line, "expected an expression, found %s", describe(p, found));
    return n;
}

struct node *parse_tuple(struct parser *p, bool conditional, const char *end,
                         bool in_parentheses)
{
    return tuple_of(p, conditional, false, end, in_parentheses);
}

static void check_target(struct parser *p, const struct node *n)
{
    if (n->kind != N_NAME && n->kind != N_NSREF && n->kind != N_TUPLE && n->kind != N_LIST)
        parse_fail(p, n->line, "cannot assign to this expression");
    if (n->kind == N_NAME && n->symbol == SYM_LOOP && p->loops)
        parse_fail(p, n->line, "cannot assign to the special variable 'loop' in a for loop");
    for (const struct node *m = n->kind == N_TUPLE || n->kind == N_LIST ? n->list : NULL; m;
         m = m->next)
        check_target(p, m);
}

struct node *parse_target(struct parser *p, const char *end, bool attributes)
{
    struct node *n = tuple_of(p, -1, attributes, end, false);
    check_target(p, n);
    return n;
}

/* ---- postfix ---------------------------------------------------------------------- */

static struct call_args *parse_args(struct parser *p)
{
    int line = peek(p)->line;
    struct call_args *a = parse_alloc(p, sizeof *a);
    struct node **pos = &a->pos, **key = &a->key;
    bool comma = false, bad = false;
    expect_op(p, '(');
    while (!at_op(p, ')') && !bad) {
        if (comma)
            expect_op(p, ',');
        if (at_op(p, ')'))
            break;
        if (skip_op(p, '*')) {
            bad = a->rest || a->rest_keys;
            a->rest = parse_expression(p, true);
        } else if (skip_op(p, OP2('*', '*'))) {
            bad = a->rest_keys;
            a->rest_keys = parse_expression(p, true);
        } else if (peek(p)->kind == T_NAME && look(p)->kind == T_OP && look(p)->op == '=') {
            bad = a->rest_keys;
            struct value name = take(p)->value;
            take(p);
            struct node *v = parse_expression(p, true);
            struct node *k = new_node(p, N_CONST, v->line);
            k->name = name;
            k->a = v;
            *key = k;
            key = &k->next;
        } else {
            bad = a->rest || a->rest_keys || a->key;
            *pos = parse_expression(p, true);
            pos = &(*pos)->next;
        }
        comma = true;
    }
    if (bad)
        parse_fail(p, line, "a call's arguments are in a wrong order");
    expect_op(p, ')');
    return a;
}

static struct node *parse_slice_part(struct parser *p)
{
    return at_op(p, ':') || at_op(p, ']') || at_op(p, ',') ? NULL : parse_expression(p, true);
}

static struct node *parse_bracket(struct parser *p, struct node *of, int line)
{
    struct node *from = parse_slice_part(p), *n;
    if (!from && !at_op(p, ':'))
        parse_fail(p, line, "expected an index between [ and ]");
    if (skip_op(p, ':')) {
        n = new_node(p, N_SLICE, line);
        n->b = from;
        n->c = parse_slice_part(p);
        if (skip_op(p, ':'))
            n->d = parse_slice_part(p);
    } else {
        n = new_node(p, N_ITEM, line);
        n->b = from;
        if (at_op(p, ',')) { // x[1, 2] is x[(1, 2)]
            struct node *t = new_node(p, N_TUPLE, line), **end = &t->list;
            append(t, &end, from);
            while (skip_op(p, ','))
                append(t, &end, parse_expression(p, true));
            n->b = t;
        }
    }
    expect_op(p, ']');
    n->a = of;
    return n;
}

static struct node *parse_dot(struct parser *p, struct node *of, int line)
{
    struct token_at *t = take(p);
    struct node *n = new_node(p, t->kind == T_NAME ? N_ATTR : N_ITEM, line);
    n->a = of;
    if (t->kind == T_NAME)
        n->name = t->value;
    else if (t->kind == T_NUMBER && t->value.kind == V_INT)
        n->b = new_const(p, t->value, line);
    else
        parse_fail(p, t->line, "expected a name or a number after '.'");
    return n;
}

static struct node *parse_call(struct parser *p, struct node *of)
{
    struct node *n = new_node(p, N_CALL, peek(p)->line);
    n->a = of;
    n->args = parse_args(p);
    return n;
}

static struct node *parse_postfix(struct parser *p, struct node *n)
{
    for (int deep = 0;; deep++) {
        int line = peek(p)->line;
        if (deep > 4 * TEMPLATE_NESTING_MAX)
            parse_fail(p, line, "a chain of more than %d calls and items", deep);
        if (skip_op(p, '.'))
            n = parse_dot(p, n, line);
        else if (skip_op(p, '['))
            n = parse_bracket(p, n, line);
        else if (at_op(p, '('))
            n = parse_call(p, n);
        else
            return n;
    }
}

/* A dotted name, as filters and tests may have. */
static struct value parse_dotted(struct parser *p, const char *what)
{
    struct value v = expect_kind(p, T_NAME, what)->value;
    while (skip_op(p, '.')) {
        struct value more = expect_kind(p, T_NAME, what)->value;
        v = v_str(v.s, (size_t)(more.s + more.n - v.s));
    }
    return v;
}

struct node *parse_filters(struct parser *p, struct node *node, bool inline_first)
{
    while (inline_first || skip_op(p, '|')) {
        struct node *n = new_node(p, N_FILTER, peek(p)->line);
        n->name = parse_dotted(p, "a filter's name");
        n->args = at_op(p, '(') ? parse_args(p) : NULL;
        n->a = node;
        node = n;
        inline_first = false;
    }
    return node;
}

static bool test_has_argument(struct parser *p)
{
    int kind = peek(p)->kind;
    if (kind == T_NAME)
        return !at_name(p, "else") && !at_name(p, "or") && !at_name(p, "and");
    return kind == T_STRING || kind == T_NUMBER || at_op(p, '[') || at_op(p, '{');
}

static struct node *parse_test(struct parser *p, struct node *of)
{
    struct node *n = new_node(p, N_TEST, peek(p)->line);
    bool negated = skip_name(p, "not");
    n->a = of;
    n->name = parse_dotted(p, "a test's name");
    if (at_op(p, '(')) {
        n->args = parse_args(p);
    } else if (test_has_argument(p)) {
        if (at_name(p, "is"))
            parse_fail(p, n->line, "tests with 'is' cannot be chained");
        n->args = parse_alloc(p, sizeof *n->args);
        n->args->pos = parse_postfix(p, parse_primary(p, false));
    }
    if (!negated)
        return n;
    struct node *not = new_node(p, N_NOT, n->line);
    not ->a = n;
    return not ;
}

static struct node *parse_filter_expr(struct parser *p, struct node *n)
{
    for (int deep = 0;; deep++) {
        if (deep > 4 * TEMPLATE_NESTING_MAX)
            parse_fail(p, peek(p)->line, "a chain of more than %d filters and tests", deep);
        if (at_op(p, '|'))
            n = parse_filters(p, n, false);
        else if (skip_name(p, "is"))
            n = parse_test(p, n);
        else if (at_op(p, '('))
            n = parse_call(p, n);
        else
            return n;
    }
}

static struct node *parse_unary(struct parser *p, bool filters)
{
    int line = peek(p)->line;
    struct node *n;
    if (at_op(p, '-') || at_op(p, '+')) {
        nest(p, 1, line);
        n = new_node(p, take(p)->op == '-' ? N_NEGATE : N_PLUS, line);
        n->a = parse_unary(p, false);
        nest(p, -1, line);
    } else {
        n = parse_primary(p, false);
    }
    n = parse_postfix(p, n);
    return filters ? parse_filter_expr(p, n) : n;
}

/* ---- operators -------------------------------------------------------------------- */

static struct node *join_nodes(struct parser *p, int kind, int op, struct node *a,
                               struct node *b, int line)
{
    struct node *n = new_node(p, kind, line);
    n->op = (uint16_t)op;
    n->a = a;
    n->b = b;
    return n;
}

static struct node *parse_pow(struct parser *p)
{
    int line = peek(p)->line;
    struct node *n = parse_unary(p, true);
    while (skip_op(p, OP2('*', '*')))
        n = join_nodes(p, N_BINARY, OP2('*', '*'), n, parse_unary(p, true), line);
    return n;
}

static struct node *parse_product(struct parser *p)
{
    int line = peek(p)->line;
    struct node *n = parse_pow(p);
    while (at_op(p, '*') || at_op(p, '/') || at_op(p, OP2('/', '/')) || at_op(p, '%')) {
        int op = take(p)->op;
        n = join_nodes(p, N_BINARY, op, n, parse_pow(p), line);
    }
    return n;
}

static struct node *parse_concat(struct parser *p)
{
    struct node *first = parse_product(p), *n, **end;
    if (!at_op(p, '~'))
        return first;
    n = new_node(p, N_CONCAT, first->line);
    end = &n->list;
    append(n, &end, first);
    while (skip_op(p, '~'))
        append(n, &end, parse_product(p));
    return n;
}

static struct node *parse_sum(struct parser *p)
{
    int line = peek(p)->line;
    struct node *n = parse_concat(p);
    while (at_op(p, '+') || at_op(p, '-')) {
        int op = take(p)->op;
        n = join_nodes(p, N_BINARY, op, n, parse_concat(p), line);
    }
    return n;
}

/* The comparison that stands here, or 0. */
static int skip_comparison(struct parser *p)
{
    static const int ops[] = {OP2('=', '='), OP2('!', '='), OP2('<', '='),
                              OP2('>', '='), '<',           '>'};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        if (skip_op(p, ops[i]))
            return ops[i];
    if (skip_name(p, "in"))
        return OP_IN;
    if (at_name(p, "not") && look(p)->kind == T_NAME && is_str(look(p)->value, "in")) {
        p->at += 2;
        return OP_NOT_IN;
    }
    return 0;
}

/* Operands that follow a comparison are wrapped, so that they have an op and a next. */
static struct node *parse_compare(struct parser *p)
{
    int line = peek(p)->line, op;
    struct node *first = parse_sum(p), *n = NULL, **end = NULL;
    while ((op = skip_comparison(p))) {
        if (!n) {
            n = new_node(p, N_COMPARE, line);
            n->a = first;
            end = &n->list;
        }
        append(n, &end, join_nodes(p, N_COMPARE, op, parse_sum(p), NULL, line));
    }
    return n ? n : first;
}

static struct node *parse_not(struct parser *p)
{
    int line = peek(p)->line;
    if (!skip_name(p, "not"))
        return parse_compare(p);
    nest(p, 1, line);
    struct node *n = join_nodes(p, N_NOT, 0, parse_not(p), NULL, line);
    nest(p, -1, line);
    return n;
}

static struct node *parse_and(struct parser *p)
{
    int line = peek(p)->line;
    struct node *n = parse_not(p);
    while (skip_name(p, "and"))
        n = join_nodes(p, N_AND, 0, n, parse_not(p), line);
    return n;
}

static struct node *parse_or(struct parser *p)
{
    int line = peek(p)->line;
    struct node *n = parse_and(p);
    while (skip_name(p, "or"))
        n = join_nodes(p, N_OR, 0, n, parse_and(p), line);
    return n;
}

struct node *parse_expression(struct parser *p, bool conditional)
{
    int line = peek(p)->line;
    nest(p, 1, line);
    struct node *n = parse_or(p);
    while (conditional && skip_name(p, "if")) {
        struct node *c = new_node(p, N_COND, line);
        c->b = n;
        c->a = parse_or(p);
        if (skip_name(p, "else"))
            c->c = parse_expression(p, true);
        n = c;
    }
    nest(p, -1, line);
    return n;
}
