/* template.c - the inner door: parsing and rendering, and the two places where errors land. */
#include "model/template/internal.h"

static int no_memory(const char *origin, struct err *err)
{
    return err_set(err, ERR_MEMORY, "%s: no memory for the chat template", origin);
}

static int parse_into(struct parser *p, const char *text, size_t n)
{
    static const char *const known[SYM_KNOWN] = {"loop", "caller", "kwargs", "varargs"};
    if (setjmp(p->fail))
        return p->err->code;
    for (int i = 0; i < SYM_KNOWN; i++)
        symbol_of(p, v_lit(known[i]));
    lex(p, text, n);
    p->t->body = parse_template(p);
    return 0;
}

int template_parse(struct template **out, const char *text, size_t n, const char *origin,
                   struct err *err)
{
    struct err why = {0};
    if (n > TEMPLATE_BYTES_MAX)
        return err_set(err, ERR_FORMAT, "%s: the chat template has %zu bytes, more than %d",
                       origin, n, TEMPLATE_BYTES_MAX);
    struct template *t = mem_alloc(1, sizeof *t);
    if (t)
        t->origin = str_printf("%s", origin);
    if (!t || !t->origin) {
        template_free(t);
        return no_memory(origin, err);
    }
    struct parser p = {.t = t, .err = &why};
    // symbol_of looks at the token it stands on when it complains
    int rc = parse_into(&p, text, n);
    free(p.token);
    buf_release(&p.text);
    if (rc == 0)
        *out = t;
    else
        template_free(t);
    return rc ? err_set(err, why.code, "%s", why.msg) : 0;
}

void template_free(struct template *t)
{
    if (!t)
        return;
    arena_release(&t->arena);
    free(t->symbol);
    free(t->origin);
    free(t);
}

static void bind_variables(struct run *r, const struct template_var *var, int n)
{
    for (int i = 0; i < n; i++) {
        struct value name = v_lit(var[i].name);
        for (int k = 0; k < r->t->n_symbols; k++) // others nobody can see
            if (same_str(r->t->symbol[k], name))
                bind(r, r->globals, k, from_json(r, var[i].value));
    }
}

static int run_template(struct run *r, const struct template_var *var, int n)
{
    if (setjmp(r->fail))
        return r->err->code;
    r->globals = r->scope = scope_new(r, NULL);
    r->out = &r->final;
    bind_variables(r, var, n);
    exec_all(r, r->t->body);
    return 0;
}

int template_render(const struct template *t, struct buf *out, const struct template_var *var,
                    int n, struct template_spans *spans, struct err *err)
{
    struct err why = {0};
    struct run r = {.t = t, .err = &why, .spans = spans};
    int spans_before = spans ? spans->n : 0;
    int rc = run_template(&r, var, n);
    for (struct making *m = r.making; m; m = m->outer)
        buf_release(&m->buf);
    if (rc == 0) {
        for (int i = spans_before; spans && i < spans->n; i++) {
            spans->item[i].start += out->len;
            spans->item[i].end += out->len;
        }
        buf_add(out, r.final.s ? r.final.s : "", r.final.len);
        rc = out->failed ? err_set(&why, ERR_MEMORY, "%s: no memory for the chat", t->origin)
                         : 0;
    }
    if (rc && spans)
        spans->n = spans_before;
    buf_release(&r.final);
    arena_release(&r.arena);
    return rc ? err_set(err, why.code, "%s", why.msg) : 0;
}
