/* statement.c - statements: what stands between {% and %}, and the template around them. */
#include "model/template/internal.h"

static struct node *parse_body(struct parser *p, const char *const *ends, const char *opened,
                               int line);

/* "%}" and the body of a block, up to one of the names in ends, which is skipped; *found is its
 * index. */
static struct node *block_body(struct parser *p, const char *const *ends, int *found,
                               const char *opened, int line)
{
    skip_op(p, ':');
    expect_kind(p, T_TAG_END, "%}");
    nest(p, 1, line);
    struct node *body = parse_body(p, ends, opened, line);
    nest(p, -1, line);
    for (int i = 0; ends[i]; i++)
        if (skip_name(p, ends[i])) {
            if (found)
                *found = i;
            return body;
        }
    return body;
}

static struct node *parse_set(struct parser *p, int line)
{
    static const char *const end[] = {"endset", NULL};
    struct node *n = new_node(p, N_SET, line);
    n->list = parse_target(p, NULL, true);
    if (skip_op(p, '=')) {
        n->a = parse_tuple(p, true, NULL, false);
        return n;
    }
    n->kind = N_SET_BLOCK;
    n->b = parse_filters(p, NULL, false);
    n->other = block_body(p, end, NULL, "set", line);
    return n;
}

static struct node *parse_for(struct parser *p, int line)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    struct node *n = new_node(p, N_FOR, line);
    int found = 0;
    p->loops++;
    n->a = parse_target(p, "in", false);
    if (!skip_name(p, "in"))
        parse_fail(p, line, "expected 'in' in a for loop");
    n->b = parse_tuple(p, false, "recursive", false);
    if (skip_name(p, "if"))
        n->c = parse_expression(p, true);
    n->recursive = skip_name(p, "recursive");
    n->list = block_body(p, ends, &found, "for", line);
    p->loops--;
    if (found == 1)
        n->other = block_body(p, (const char *const[]){"endfor", NULL}, NULL, "for", line);
    return n;
}

static struct node *parse_if(struct parser *p, int line)
{
    static const char *const ends[] = {"endif", "elif", "else", NULL};
    struct node *first = NULL, **next = &first;
    int found = 1;
    while (found == 1) {
        struct node *n = new_node(p, N_IF, peek(p)->line);
        n->a = parse_tuple(p, false, NULL, false);
        n->list = block_body(p, ends, &found, "if", line);
        *next = n;
        next = &n->other;
    }
    if (found == 2) {
        struct node *n = new_node(p, N_IF, peek(p)->line); // no condition: else
        n->list = block_body(p, (const char *const[]){"endif", NULL}, NULL, "if", line);
        *next = n;
    }
    return first;
}

/* (a, b=1): a list of names, each with its default in ->a. */
static void parse_signature(struct parser *p, struct node *macro)
{
    struct node **end = &macro->list;
    bool defaults = false;
    expect_op(p, '(');
    while (!at_op(p, ')')) {
        if (macro->n)
            expect_op(p, ',');
        struct token_at *t = expect_kind(p, T_NAME, "a parameter's name");
        struct node *n = new_node(p, N_NAME, t->line);
        n->symbol = symbol_of(p, t->value);
        if (skip_op(p, '='))
            n->a = parse_expression(p, true);
        if (!n->a && defaults)
            parse_fail(p, t->line, "a parameter without default follows one with a default");
        defaults |= n->a != NULL;
        *end = n;
        end = &n->next;
        macro->n++;
    }
    expect_op(p, ')');
}

/* The body of a macro: loops around it are out of reach of its break. */
static struct node *macro_body(struct parser *p, struct node *macro, const char *end,
                               const char *opened)
{
    int loops = p->loops;
    p->loops = 0;
    macro->other = p->macro;
    p->macro = macro;
    struct node *body =
        block_body(p, (const char *const[]){end, NULL}, NULL, opened, macro->line);
    p->macro = macro->other;
    macro->other = NULL;
    p->loops = loops;
    return body;
}

static struct node *parse_macro(struct parser *p, int line)
{
    struct node *n = new_node(p, N_MACRO, line);
    struct token_at *t = expect_kind(p, T_NAME, "a macro's name");
    n->symbol = symbol_of(p, t->value);
    n->name = t->value;
    parse_signature(p, n);
    n->d = macro_body(p, n, "endmacro", "macro");
    return n;
}

static struct node *parse_call_block(struct parser *p, int line)
{
    struct node *n = new_node(p, N_CALL_BLOCK, line), *caller = new_node(p, N_MACRO, line);
    caller->name = v_lit("caller");
    if (at_op(p, '('))
        parse_signature(p, caller);
    n->a = parse_expression(p, true);
    if (n->a->kind != N_CALL)
        parse_fail(p, line, "{%% call %%} needs a call of a macro");
    n->b = caller;
    caller->d = macro_body(p, caller, "endcall", "call");
    return n;
}

static struct node *parse_filter_block(struct parser *p, int line)
{
    struct node *n = new_node(p, N_FILTER_BLOCK, line);
    n->b = parse_filters(p, NULL, true);
    n->list = block_body(p, (const char *const[]){"endfilter", NULL}, NULL, "filter", line);
    return n;
}

/* a = 1, b = 2: N_SET nodes in ->other. */
static struct node *parse_with(struct parser *p, int line)
{
    struct node *n = new_node(p, N_WITH, line), **end = &n->other;
    while (peek(p)->kind != T_TAG_END && !at_op(p, ':')) {
        if (n->other)
            expect_op(p, ',');
        struct node *s = new_node(p, N_SET, line);
        s->list = parse_target(p, NULL, false);
        expect_op(p, '=');
        s->a = parse_expression(p, true);
        *end = s;
        end = &s->next;
    }
    n->list = block_body(p, (const char *const[]){"endwith", NULL}, NULL, "with", line);
    return n;
}

static struct node *parse_block(struct parser *p, int line)
{
    struct node *n = new_node(p, N_BLOCK, line);
    struct token_at *t = expect_kind(p, T_NAME, "a block's name");
    n->scoped = skip_name(p, "scoped");
    skip_name(p, "required");
    int loops = p->loops;
    p->loops = 0;
    n->list = block_body(p, (const char *const[]){"endblock", NULL}, NULL, "block", line);
    p->loops = loops;
    if (peek(p)->kind == T_NAME && same_str(peek(p)->value, t->value))
        p->at++;
    return n;
}

static struct node *parse_print(struct parser *p, int line)
{
    struct node *first = NULL, **end = &first;
    while (peek(p)->kind != T_TAG_END) {
        if (first)
            expect_op(p, ',');
        *end = new_node(p, N_OUTPUT, line);
        (*end)->a = parse_expression(p, true);
        end = &(*end)->next;
    }
    struct node *n = new_node(p, N_IF, line);
    n->list = first;
    return n;
}

static struct node *parse_loop_control(struct parser *p, int kind, int line)
{
    if (!p->loops)
        parse_fail(p, line, "'%s' outside of a loop", kind == N_BREAK ? "break" : "continue");
    return new_node(p, kind, line);
}

static struct node *parse_generation(struct parser *p, int line)
{
    struct node *n = new_node(p, N_GENERATION, line), macro = {.line = line};
    n->list = macro_body(p, &macro, "endgeneration", "generation");
    return n;
}

static struct node *parse_autoescape(struct parser *p, int line)
{
    struct node *n = new_node(p, N_SCOPE, line), *on = parse_expression(p, true);
    if (on->kind != N_CONST || on->value.kind != V_BOOL || on->value.b)
        parse_fail(p, line, "autoescape is not supported");
    n->list =
        block_body(p, (const char *const[]){"endautoescape", NULL}, NULL, "autoescape", line);
    return n;
}

static struct node *parse_statement(struct parser *p, const char *opened, int opened_line)
{
    static const struct {
        const char *name;
        struct node *(*parse)(struct parser *p, int line);
    } table[] = {
        {"set", parse_set},
        {"for", parse_for},
        {"if", parse_if},
        {"macro", parse_macro},
        {"call", parse_call_block},
        {"filter", parse_filter_block},
        {"with", parse_with},
        {"block", parse_block},
        {"print", parse_print},
        {"generation", parse_generation},
        {"autoescape", parse_autoescape},
    };
    struct token_at *t = expect_kind(p, T_NAME, "a tag's name");
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (is_str(t->value, table[i].name))
            return table[i].parse(p, t->line);
    if (is_str(t->value, "break") || is_str(t->value, "continue"))
        return parse_loop_control(p, is_str(t->value, "break") ? N_BREAK : N_CONTINUE, t->line);
    static const char *const others[] = {"include", "import", "from", "extends"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (is_str(t->value, others[i]))
            parse_fail(p, t->line, "'%s' needs other templates, of which there are none",
                       others[i]);
    if (opened)
        parse_fail(p, t->line, "unknown tag '%.*s' inside '%s' of line %d",
                   (int)(t->value.n & 63), t->value.s, opened, opened_line);
    parse_fail(p, t->line, "unknown tag '%.*s'", (int)(t->value.n & 63), t->value.s);
}

/* Everything up to {% and one of the names in ends (NULL: the end of the text); the name is
 * next. */
static struct node *parse_body(struct parser *p, const char *const *ends, const char *opened,
                               int line)
{
    struct node *first = NULL, **end = &first;
    for (;;) {
        struct token_at *t = peek(p);
        p->at += t->kind != T_EOF;
        if (t->kind == T_EOF) {
            if (ends)
                parse_fail(p, t->line, "the template ends inside '%s' of line %d", opened,
                           line);
            return first;
        }
        if (t->kind == T_DATA) {
            *end = new_node(p, N_DATA, t->line);
            (*end)->value = t->value;
        } else if (t->kind == T_PRINT) {
            *end = new_node(p, N_OUTPUT, t->line);
            (*end)->a = parse_tuple(p, true, NULL, false);
            expect_kind(p, T_PRINT_END, "}}");
        } else {
            for (int i = 0; ends && ends[i]; i++)
                if (at_name(p, ends[i]))
                    return first;
            *end = parse_statement(p, opened, line);
            expect_kind(p, T_TAG_END, "%}");
        }
        end = &(*end)->next;
    }
}

struct node *parse_template(struct parser *p)
{
    return parse_body(p, NULL, NULL, 0);
}
