/* eval/drift.c - how likely one model finds what another said: the terms of the KL between them.
 *
 * Sequences go through the model as roots with one child each, packed up to a number of tokens;
 * nothing is kept. */
#include "eval/eval.h"

struct drift {
    struct workspace *ws;
    struct forest forest;
    struct head_item *item; size_t item_cap;
    int *owner; size_t owner_cap;       // which sequence an item belongs to
    float *logp; size_t logp_cap;
    int n_items;
};

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "no memory to score sequences");
}

static int add_sequence(struct drift *d, const struct sequence *s, int which, struct err *err)
{
    size_t need = (size_t)d->n_items + (size_t)s->n_completion + 1;
    struct head_item *item = mem_grow(d->item, &d->item_cap, need, sizeof *item);
    if (item)
        d->item = item;
    int *owner = mem_grow(d->owner, &d->owner_cap, need, sizeof *owner);
    if (owner)
        d->owner = owner;
    float *logp = mem_grow(d->logp, &d->logp_cap, need, sizeof *logp);
    if (logp)
        d->logp = logp;
    if (!item || !owner || !logp)
        return no_memory(err);
    int root = forest_add(&d->forest, -1, s->prompt, s->n_prompt);
    int leaf = root < 0 ? -1 : forest_add(&d->forest, root, s->completion, s->n_completion);
    if (leaf < 0)
        return no_memory(err);
    int n = forest_items(&d->forest, leaf, 0, d->item + d->n_items);
    for (int i = 0; i < n; i++)
        d->owner[d->n_items + i] = which;
    d->n_items += n;
    return 0;
}

static void flush(struct drift *d, double *sum, const struct model *m, float temperature)
{
    if (!d->forest.n)
        return;
    model_forward(d->ws, m, &d->forest);
    model_logp(d->ws, d->logp, NULL, NULL, d->item, d->n_items, temperature);
    for (int i = 0; i < d->n_items; i++)
        sum[d->owner[i]] += d->logp[i];
    forest_clear(&d->forest);
    d->n_items = 0;
}

int sequence_logp(double *sum, const struct model *m, const struct sequence *seq, int n,
                  float temperature, int batch_tokens, struct err *err)
{
    struct drift d = {0};
    int most = batch_tokens;
    for (int i = 0; i < n; i++) {
        int len = seq[i].n_prompt + seq[i].n_completion;
        most = len > most ? len : most;
        sum[i] = 0;
    }
    int rc = workspace_new(&d.ws, m, most, false, err);
    for (int i = 0; i < n && rc == 0; i++) {
        if (d.forest.tokens.n + seq[i].n_prompt + seq[i].n_completion > most)
            flush(&d, sum, m, temperature);
        rc = add_sequence(&d, &seq[i], i, err);
    }
    if (rc == 0)
        flush(&d, sum, m, temperature);
    workspace_free(d.ws);
    forest_release(&d.forest);
    free(d.item);
    free(d.owner);
    free(d.logp);
    return rc;
}
