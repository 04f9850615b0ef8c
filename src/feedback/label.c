/* feedback/label.c - from two answers to one label, and labelling in units that survive a kill.
 *
 * The loop asks the store first, computes what is missing, commits, and only then uses it; so a run that was
 * killed loses at most one unit, and a run that is repeated computes nothing. */
#include "feedback/feedback.h"

#include <math.h>

/* ---- debiasing --------------------------------------------------------------------------- */

/* Softmax over the two label words is the sigmoid of their difference: renormalisation comes with it. */
static double first_slot(const struct answer *a)
{
    double d = a->word[0].sum - a->word[1].sum;
    return isnan(d) ? 0.5 : 1 / (1 + exp(-d));
}

static int winning_slot(double p)
{
    return p > 0.5 ? 1 : p < 0.5 ? 2 : 0;
}

void label_combine(struct label *out, const struct answer *a, const struct answer *b, bool flip, double min_mass)
{
    double pa = first_slot(a), pb = first_slot(b);
    *out = (struct label){.answer = {*a, *b}};
    out->slot[0] = winning_slot(pa);
    out->slot[1] = winning_slot(pb);
    out->same_slot = out->slot[0] && out->slot[0] == out->slot[1];
    // Order A shows `first` in slot 1, order B in slot 2.
    out->order[0] = flip ? 1 - pa : pa;
    out->order[1] = flip ? pb : 1 - pb;
    out->p = 0.5 * (out->order[0] + out->order[1]);
    out->mass = fmin(a->mass, b->mass);
    if (a->too_long || b->too_long)
        out->state = LABEL_TOO_LONG;
    else if (!(out->mass >= min_mass))
        out->state = LABEL_NO_ANSWER;
    if (out->state != LABEL_ANSWERED)
        out->p = out->order[0] = out->order[1] = 0.5;
}

/* ---- one unit: up to LABEL_UNIT pairs, two prompts each -------------------------------------- */

struct unit {
    int n;
    struct shown shown[2 * LABEL_UNIT];     // order A and B of each pair
    struct answer answer[2 * LABEL_UNIT];
    bool known[2 * LABEL_UNIT];
};

static void unit_fill(struct unit *u, const struct labeler *l, const struct label_item *item, int n)
{
    u->n = n;
    for (int i = 0; i < n; i++)
        for (int order = 0; order < 2; order++) {
            u->shown[2 * i + order] = (struct shown){
                l->provider->fingerprint, l->protocol->hash, item[i].prompt,
                order ? item[i].second : item[i].first, order ? item[i].first : item[i].second};
            u->known[2 * i + order] = false;
        }
}

static int unit_find(struct unit *u, const struct labeler *l, struct label_counts *c, struct err *err)
{
    for (int k = 0; l->store && k < 2 * u->n; k++) {
        int found = store_find(l->store, &u->answer[k], &u->shown[k], err);
        if (found < 0)
            return found;
        u->known[k] = found;
        c->replies_found += found;
    }
    return 0;
}

/* Asks for pairs of which an order is missing; both orders are asked, since they share most of the work. */
static int unit_ask(struct unit *u, const struct labeler *l, struct label_counts *c, struct err *err)
{
    static const char *const word[] = {"1", "2"};
    char *prompt[2 * LABEL_UNIT];
    int which[2 * LABEL_UNIT], n = 0, rc = 0;
    struct answer got[2 * LABEL_UNIT];
    for (int k = 0; k < 2 * u->n; k++) {
        if (u->known[k & ~1] && u->known[k | 1])
            continue;
        struct buf b = {0};
        feedback_render_pair(&b, l->protocol, u->shown[k].prompt, u->shown[k].first, u->shown[k].second);
        which[n] = k;
        prompt[n] = buf_take(&b);
        if (!prompt[n++])
            rc = err_set(err, ERR_MEMORY, "no memory for a labelling prompt");
    }
    struct question q = {l->protocol->head, (const char *const *)prompt, n, 2, word, 2};
    double before = time_now();
    if (rc == 0 && n)
        rc = l->provider->answer(l->provider, got, &q, err);
    double seconds = n ? (time_now() - before) / n : 0;
    if (rc == 0 && l->store && n)
        rc = store_begin(l->store, err);
    for (int i = 0; i < n && rc == 0; i++) {
        int k = which[i];
        if (u->known[k])
            continue;
        u->answer[k] = got[i];
        c->replies_computed++;
        if (l->store)
            rc = store_add(l->store, &u->shown[k], &got[i], seconds, err);
    }
    for (int i = 0; i < n; i++)
        free(prompt[i]);
    return rc;
}

/* Labels are written only when something was computed: then a transaction is open. */
static int unit_combine(struct unit *u, struct label *out, const struct labeler *l, struct label_counts *c, bool writing,
                        struct err *err)
{
    int rc = 0;
    for (int i = 0; i < u->n && rc == 0; i++) {
        label_combine(&out[i], &u->answer[2 * i], &u->answer[2 * i + 1], l->protocol->flip, l->min_mass);
        c->unanswered += out[i].state == LABEL_NO_ANSWER;
        c->too_long += out[i].state == LABEL_TOO_LONG;
        if (writing)
            rc = store_add_label(l->store, &u->shown[2 * i], &out[i], err);
    }
    return rc;
}

static int unit_run(struct unit *u, struct label *out, const struct labeler *l, struct label_counts *c, struct err *err)
{
    int computed = c->replies_computed;
    int rc = unit_find(u, l, c, err);
    if (rc == 0)
        rc = unit_ask(u, l, c, err);
    bool writing = l->store && c->replies_computed > computed;
    if (rc == 0)
        rc = unit_combine(u, out, l, c, writing, err);
    if (rc == 0 && writing)
        rc = store_commit(l->store, err);
    if (rc && l->store)
        store_rollback(l->store);
    return rc;
}

/* ---- all of them --------------------------------------------------------------------------------- */

int label_items(struct label *out, struct label_counts *counts, const struct labeler *l, const struct label_item *item, int n,
                struct err *err)
{
    struct unit *u = mem_alloc(1, sizeof *u);
    if (!u)
        return err_set(err, ERR_MEMORY, "no memory for labelling");
    struct label_counts c = {0};
    struct progress bar;
    int rc = 0;
    progress_begin(&bar, "labelling", "pairs", n);
    for (int at = 0; at < n && rc == 0; at += LABEL_UNIT) {
        int m = n - at < LABEL_UNIT ? n - at : LABEL_UNIT;
        unit_fill(u, l, item + at, m);
        rc = unit_run(u, out + at, l, &c, err);
        progress_add(&bar, m, NULL);
        if (rc == 0 && at + m < n && interrupted())
            rc = err_set(err, ERR_INTERRUPTED, "interrupted after %d of %d pairs; the same command goes on from here", at + m,
                         n);
    }
    progress_end(&bar);
    free(u);
    if (counts)
        *counts = c;
    return rc;
}
