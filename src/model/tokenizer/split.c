/* split.c - cutting text into the pieces within which tokens lie.
 *
 * Every pre-tokenizer is a list of steps, each over the pieces of the step before.  Most are a
 * pattern whose matches become pieces of their own, join a neighbour, or disappear; the others
 * change the pieces themselves (a space in front, spaces as marks, bytes as characters). */
#include "model/tokenizer/tokenizer.h"

static int add_piece(struct pieces *out, const char *s, size_t n, bool first, struct err *err)
{
    if (!n)
        return 0;
    struct piece *p = (size_t)out->n < out->cap
                          ? out->item
                          : mem_grow(out->item, &out->cap, (size_t)out->n + 1, sizeof *p);
    if (!p)
        return err_set(err, ERR_MEMORY, "no memory for %d pieces of text", out->n + 1);
    out->item = p;
    p[out->n++] = (struct piece){s, n, first};
    return 0;
}

static char *new_text(struct pieces *in, size_t n, struct err *err)
{
    char *s = arena_alloc(&in->arena, n + 1);
    if (!s)
        err_set(err, ERR_MEMORY, "no memory for a piece of %zu bytes", n);
    return s;
}

/* ---- cutting at a pattern --------------------------------------------------------- */

/* Pieces come in the order of the text, and each is a match of the pattern or what lies between
 * two; what the behaviour joins to the piece before is joined here. */
struct cut {
    const struct split *step;
    struct pieces *out;
    const struct piece *from;
    size_t start, end; // of the piece that may still grow
    bool open, match;  // there is one; the part added last was a match
    struct err *err;
};

static int flush(struct cut *c)
{
    bool open = c->open;
    c->open = false;
    return open ? add_piece(c->out, c->from->s + c->start, c->end - c->start,
                            c->from->first && c->start == 0, c->err)
                : 0;
}

/* Does a part join the piece before it? */
static bool joins(const struct cut *c, bool match)
{
    switch (c->step->behavior) {
    case SPLIT_CONTIGUOUS:
        return match == c->match;
    case SPLIT_WITH_PREVIOUS:
        return match && !c->match;
    case SPLIT_WITH_NEXT:
        return !match && c->match;
    default:
        return false;
    }
}

static int part(struct cut *c, size_t start, size_t end, bool match)
{
    match ^= c->step->invert;
    int rc = 0;
    if (c->step->behavior == SPLIT_REMOVED && match)
        return flush(c);
    if (c->open && joins(c, match)) {
        c->end = end;
    } else {
        rc = flush(c);
        c->start = start;
        c->end = end;
        c->open = true;
    }
    c->match = match;
    return rc;
}

static int cut_piece(const struct split *step, struct matching *m, const struct piece *p,
                     struct pieces *out, struct err *err)
{
    struct finder f = {&step->re, m, p->s, p->n, 0, 0};
    struct cut c = {.step = step, .out = out, .from = p, .err = err};
    size_t done = 0, start, end;
    int found, rc = 0;
    while (rc == 0 && (found = finder_next(&f, &start, &end, err)) != 0) {
        if (found < 0)
            return found;
        if (start > done)
            rc = part(&c, done, start, false);
        if (rc == 0)
            rc = part(&c, start, end, true);
        done = end;
    }
    if (rc == 0 && done < p->n)
        rc = part(&c, done, p->n, false);
    return rc ? rc : flush(&c);
}

/* ---- changing pieces --------------------------------------------------------------- */

static int add_space(struct pieces *in, struct piece *p, struct err *err)
{
    if (p->s[0] == ' ')
        return 0;
    char *s = new_text(in, p->n + 1, err);
    if (!s)
        return ERR_MEMORY;
    s[0] = ' ';
    memcpy(s + 1, p->s, p->n);
    p->s = s;
    p->n++;
    return 0;
}

static int spell(struct pieces *in, struct piece *p, struct err *err)
{
    char *s = new_text(in, 2 * p->n, err);
    size_t k = 0;
    if (!s)
        return ERR_MEMORY;
    for (size_t i = 0; i < p->n; i++)
        k += (size_t)byte_spell(s + k, (unsigned char)p->s[i]);
    p->s = s;
    p->n = k;
    return 0;
}

/* Spaces become marks, and one stands in front. */
static int mark_spaces(const struct split *step, struct pieces *in, struct piece *p,
                       struct err *err)
{
    size_t m = strlen(step->mark), spaces = 0, k = 0;
    for (size_t i = 0; i < p->n; i++)
        spaces += p->s[i] == ' ';
    char *s = new_text(in, m + p->n + spaces * m, err);
    if (!s)
        return ERR_MEMORY;
    bool has = p->s[0] == ' ' || (p->n >= m && !memcmp(p->s, step->mark, m));
    if (!has &&
        (step->prepend == PREPEND_ALWAYS || (step->prepend == PREPEND_FIRST && p->first))) {
        memcpy(s, step->mark, m);
        k = m;
    }
    for (size_t i = 0; i < p->n; i++) {
        if (p->s[i] == ' ') {
            memcpy(s + k, step->mark, m);
            k += m;
        } else {
            s[k++] = p->s[i];
        }
    }
    p->s = s;
    p->n = k;
    return 0;
}

/* ---- the list ---------------------------------------------------------------------- */

static int change_all(const struct split *step, struct pieces *in, struct err *err)
{
    int rc = 0;
    for (int i = 0; i < in->n && rc == 0; i++) {
        struct piece *p = &in->item[i];
        rc = step->kind == SPLIT_SPACE   ? add_space(in, p, err)
             : step->kind == SPLIT_BYTES ? spell(in, p, err)
                                         : mark_spaces(step, in, p, err);
    }
    return rc;
}

static int run_step(const struct split *step, struct splitting *w, struct err *err)
{
    int rc = step->kind == SPLIT_PATTERN ? 0 : change_all(step, &w->now, err);
    if (rc || !(step->kind == SPLIT_PATTERN || step->cut))
        return rc;
    w->next.n = 0;
    for (int i = 0; i < w->now.n && rc == 0; i++)
        rc = cut_piece(step, &w->matching, &w->now.item[i], &w->next, err);
    // what was cut becomes what is cut next; the arena of changed pieces stays with `now`
    struct pieces old = w->now;
    w->now.item = w->next.item, w->now.cap = w->next.cap, w->now.n = w->next.n;
    w->next.item = old.item, w->next.cap = old.cap;
    return rc;
}

int split_text(const struct tokenizer *t, struct splitting *w, const char *s, size_t n,
               bool first, struct err *err)
{
    w->now.n = 0;
    int rc = add_piece(&w->now, s, n, first, err);
    for (int i = 0; i < t->n_splits && rc == 0; i++)
        rc = run_step(&t->split[i], w, err);
    return rc;
}

void splitting_release(struct splitting *w)
{
    free(w->now.item);
    free(w->next.item);
    arena_release(&w->now.arena);
    arena_release(&w->next.arena);
    matching_release(&w->matching);
    *w = (struct splitting){0};
}
