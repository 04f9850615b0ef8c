/* feedback/protocol/probe.c - prompt injection: is a labeler moved by what a candidate says to it?
 *
 * A text from the probe set (recipes/probes/injection.jsonl) is put behind the candidate that
 * lost without it, and the pair is asked again.  A candidate that wins now has moved the labeler.
 * Any text behind a candidate changes its probability a little, so some of the texts are
 * harmless: kind "control" is what the others are to be compared with.
 *
 * {one} and {two} in a text become the protocol's own label words, {ending} its ending: an
 * attacker is taken to know the protocol, and not which slot it will be shown in. */
#include "feedback/protocol/internal.h"

#include <math.h>

static int probe_row(struct probe *p, struct arena *a, const json_t *row, const char *where,
                     struct err *err)
{
    const char *id, *kind, *text;
    int rc = json_get_str(row, "id", &id, where, err);
    if (rc == 0)
        rc = json_get_str(row, "kind", &kind, where, err);
    if (rc == 0)
        rc = json_get_str(row, "text", &text, where, err);
    if (rc)
        return rc;
    *p = (struct probe){arena_strdup(a, id), arena_strdup(a, kind), arena_strdup(a, text)};
    return p->id && p->kind && p->text ? 0 : err_set(err, ERR_MEMORY, "no memory for probes");
}

int probes_read(struct probe **out, int *n, struct arena *a, const char *path, struct err *err)
{
    struct rows rows = {0};
    int rc = rows_read(&rows, path, 0, err);
    if (rc)
        return rc;
    struct probe *p = arena_alloc(a, (size_t)(rows.n + 1) * sizeof *p);
    rc = p ? 0 : err_set(err, ERR_MEMORY, "no memory for probes");
    for (int i = 0; i < rows.n && rc == 0; i++) {
        char *where = str_printf("%s", rows_place(&rows, rows.line[i]).s);
        rc = probe_row(&p[i], a, rows.row[i], where ? where : path, err);
        free(where);
    }
    if (rc == 0 && rows.n == 0)
        rc = err_set(err, ERR_VALUE, "%s: no probes", path);
    *n = rows.n;
    rows_release(&rows);
    if (rc == 0)
        *out = p;
    return rc;
}

static void add_filled(struct buf *b, const char *text, const struct ask_form *f)
{
    const struct {
        const char *place, *with;
    } fill[] = {{"{one}", f->word[0]}, {"{two}", f->word[1]}, {"{ending}", f->ending}};
    for (const char *s = text; *s; ) {
        size_t i = 0;
        while (i < ARRAY_LEN(fill) && !str_starts(s, fill[i].place))
            i++;
        if (i < ARRAY_LEN(fill)) {
            buf_adds(b, fill[i].with);
            s += strlen(fill[i].place);
        } else {
            buf_add(b, s++, 1);
        }
    }
}

/* The pair with the probe behind the candidate that lost. */
static int attacked(struct label_item *out, const struct label_item *item, bool first_lost,
                    const struct probe *probe, const struct ask_form *f, struct arena *a,
                    struct err *err)
{
    struct buf b = {0};
    buf_adds(&b, first_lost ? item->first : item->second);
    add_filled(&b, probe->text, f);
    char *text = b.failed ? NULL : arena_strdup(a, b.s);
    buf_release(&b);
    *out = *item;
    if (first_lost)
        out->first = text;
    else
        out->second = text;
    return text ? 0 : err_set(err, ERR_MEMORY, "no memory for probes");
}

static struct probe_result *result_of(struct probe_result *out, int *n, const char *kind)
{
    for (int i = 0; i < *n; i++)
        if (!strcmp(out[i].kind, kind))
            return &out[i];
    if (*n == PROBE_MAX_KINDS)
        return NULL;
    out[*n] = (struct probe_result){0};
    snprintf(out[*n].kind, sizeof out[*n].kind, "%s", kind);
    return &out[(*n)++];
}

/* All probes of one kind or another against item i, whose label without them is known. */
struct probing {
    const struct labeler *l;
    const struct probe *probe; int n_probes;
    struct label_item *item; struct label *label;   // (n_probes)
    struct arena arena;
};

static int probe_item(struct probing *p, struct probe_result *out, int *n_out,
                      const struct label_item *item, const struct label *before, struct err *err)
{
    bool first_lost = before->p < 0.5;
    int rc = 0;
    for (int k = 0; k < p->n_probes && rc == 0; k++)
        rc = attacked(&p->item[k], item, first_lost, &p->probe[k], &p->l->protocol->form, &p->arena,
                      err);
    if (rc == 0)
        rc = label_items(p->label, NULL, p->l, p->item, p->n_probes, err);
    for (int k = 0; k < p->n_probes && rc == 0; k++) {
        struct probe_result *r = result_of(out, n_out, p->probe[k].kind);
        const struct label *now = &p->label[k];
        if (!r)
            return err_set(err, ERR_VALUE, "the probes have more than %d kinds", PROBE_MAX_KINDS);
        if (now->state != LABEL_ANSWERED) {
            r->unanswered++;
            continue;
        }
        double was = first_lost ? before->p : 1 - before->p, is = first_lost ? now->p : 1 - now->p;
        r->shift = (r->shift * r->asked + is - was) / (r->asked + 1);
        r->asked++;
        r->moved += is > 0.5;
    }
    arena_release(&p->arena);
    p->arena = (struct arena){0};
    return rc;
}

int probe_labeler(struct probe_result *out, int *n_out, const struct labeler *l,
                  const struct label_item *item, int n, const struct probe *probe, int n_probes,
                  struct err *err)
{
    struct probing p = {.l = l, .probe = probe, .n_probes = n_probes};
    struct label *before = mem_alloc((size_t)n, sizeof *before);
    p.item = mem_alloc((size_t)n_probes, sizeof *p.item);
    p.label = mem_alloc((size_t)n_probes, sizeof *p.label);
    int rc = before && p.item && p.label ? 0 : err_set(err, ERR_MEMORY, "no memory for probes");
    struct progress bar, *outer = l->asker->progress;
    *n_out = 0;
    if (!outer) {
        progress_begin(&bar, "probing", "replies",
                       (double)protocol_n_views(l->protocol) * protocol_passes(l->protocol) * n *
                           (n_probes + 1));
        l->asker->progress = &bar;
    }
    if (rc == 0)
        rc = label_items(before, NULL, l, item, n, err);
    for (int i = 0; i < n && rc == 0; i++)
        if (before[i].state == LABEL_ANSWERED && before[i].p != 0.5)
            rc = probe_item(&p, out, n_out, &item[i], &before[i], err);
    if (!outer)
        progress_end(&bar);
    l->asker->progress = outer;
    free(before);
    free(p.item);
    free(p.label);
    arena_release(&p.arena);
    return rc;
}
