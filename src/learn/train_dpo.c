/* train_dpo.c - direct preference optimisation.
 *
 * The reference is the model before its first update, so its log-probs are computed with the model itself
 * and kept as one float per token; no second copy of the weights is held. */
#include "learn/internal.h"

#include <math.h>

struct dpo_run {
    const struct samples *all;
    float *ref;                 // log-probs of all completions under the reference
    size_t *at;                 // (n+1) where each pair's begin
    double beta;
    float *label, *reward;      // of a micro-batch
};

/* Forest and items of some pairs; t->start gets the ranges of the 2n completions.  Returns the number of items. */
static int forest_of(struct trainer *t, const struct samples *all, const int *item, int n)
{
    int count = 0, seg[2], from;
    forest_clear(&t->forest);
    for (int i = 0; i < n; i++) {
        if (sample_add(&t->forest, all, item[i], t->o->copy_prompts, seg, &from))
            return -1;
        for (int k = 0; k < 2; k++) {
            t->start[2 * i + k] = count;
            count += forest_items(&t->forest, seg[k], 0, t->item + count);
        }
    }
    t->start[2 * n] = count;
    return count;
}

static size_t pair_tokens(const struct sample *s)
{
    return (size_t)(s->first + s->second - (s->prompt ? 0 : 2));
}

/* Log-probs of every completion before the first step; the model is still as it was given. */
static int reference(struct trainer *t, struct dpo_run *d, struct err *err)
{
    const struct samples *all = d->all;
    for (int i = 0; i < all->n; i++)
        d->at[i + 1] = d->at[i] + pair_tokens(&all->s[i]);
    d->ref = mem_alloc(d->at[all->n] + 1, sizeof *d->ref);
    if (!d->ref)
        return err_set(err, ERR_MEMORY, "reference log-probs: no memory");
    for (int at = 0, n; at < all->n; at += n) {
        int item[64] = {0};
        for (n = 0; n < 64 && at + n < all->n; n++)
            item[n] = at + n;
        n = trainer_micro(t, all, item, n);
        int count = forest_of(t, all, item, n);
        if (count < 0)
            return err_set(err, ERR_MEMORY, "reference log-probs: no memory");
        if (interrupted())
            return err_set(err, ERR_INTERRUPTED, "stopped before the first step; nothing was changed");
        model_forward(t->ws, t->net[0].model, &t->forest);
        model_logp(t->ws, d->ref + d->at[at], NULL, NULL, t->item, count, 1);
    }
    return 0;
}

static double sum(const float *x, int from, int to)
{
    double s = 0;
    for (int i = from; i < to; i++)
        s += x[i];
    return s;
}

static void meter_pairs(struct trainer *t, const struct dpo_run *d, int n)
{
    for (int i = 0; i < n; i++) {
        double win = d->reward[2 * i], lose = d->reward[2 * i + 1];
        const int *at = t->start + 2 * i;
        meter_add(t, "rewards/chosen", win, 1);
        meter_add(t, "rewards/rejected", lose, 1);
        meter_add(t, "rewards/margins", win - lose, 1);
        meter_add(t, "rewards/accuracies", win > lose, 1);
        meter_add(t, "logps/chosen", sum(t->logp, at[0], at[1]), 1);
        meter_add(t, "logps/rejected", sum(t->logp, at[1], at[2]), 1);
        meter_add(t, "label_entropy", objective_label_entropy(d->label[i]), 1);
    }
}

static int micro(struct trainer *t, struct dpo_run *d, const int *item, int n, double denom, struct err *err)
{
    int count = forest_of(t, d->all, item, n);
    if (count < 0)
        return err_set(err, ERR_MEMORY, "training: no memory");
    float *ref = t->score;      // room that no score needs here
    for (int i = 0; i < n; i++) {
        const float *from = d->ref + d->at[item[i]];
        memcpy(ref + t->start[2 * i], from, pair_tokens(&d->all->s[item[i]]) * sizeof *ref);
        d->label[i] = d->all->s[item[i]].label;
    }
    model_forward(t->ws, t->net[0].model, &t->forest);
    model_logp(t->ws, t->logp, t->entropy, NULL, t->item, count, 1);
    struct logp_batch b = {.n = 2 * n, .start = t->start, .now = t->logp, .ref = ref, .denom = denom};
    double loss = objective_dpo(t->dlogp, d->reward, &b, d->label, (float)d->beta);
    model_backward(t->ws, t->net[0].t, t->item, t->dlogp, count, 1, NULL, NULL, 0);
    t->loss += loss;
    trainer_count(t, samples_plain(d->all, item, n));
    meter_add(t, "loss", loss * denom, n);
    meter_pairs(t, d, n);
    meter_add(t, "entropy", sum(t->entropy, 0, count), count);
    return 0;
}

static int step(struct trainer *t, void *arg, struct err *err)
{
    struct dpo_run *d = arg;
    int n, rc = 0;
    const int *item = trainer_items(t, &n);
    double denom = 0;
    for (int i = 0; i < n; i++) {
        const struct sample *s = &d->all->s[item[i]];
        denom += s->prompt || (s->first > 1 && s->second > 1);
    }
    for (int at = 0, take; rc == 0 && at < n && denom > 0; at += take) {
        take = trainer_micro(t, d->all, item + at, n - at);
        rc = interrupted() && at > 0 ? ERR_INTERRUPTED : micro(t, d, item + at, take, denom, err);
    }
    return rc;
}

int train_dpo(struct model *m, struct rows *data, const struct dpo_options *opt, const struct train_options *o, json_t *result,
              struct err *err)
{
    struct samples all = {0};
    struct trainer t = {0};
    struct dpo_run d = {.all = &all, .beta = opt->beta};
    json_t *key = json_pack("{s:f}", "beta", opt->beta);
    int rc = opt->beta > 0 ? 0 : err_set(err, ERR_VALUE, "beta is %g, expected a number above 0", opt->beta);
    if (rc == 0)
        rc = samples_from_pairs(&all, data, m, o->max_length, err);
    int longest = all.longest * (1 + o->copy_prompts);
    if (rc == 0)
        rc = trainer_init(&t, "dpo", o, m, all.n, longest, err);
    if (rc == 0)
        rc = trainer_open(&t, longest, samples_hash(&all), key, err);
    if (rc == 0 && !t.plan) {
        d.at = mem_alloc((size_t)all.n + 1, sizeof *d.at);
        d.label = mem_alloc((size_t)t.batch + 1, sizeof *d.label);
        d.reward = mem_alloc((size_t)t.batch * 2 + 1, sizeof *d.reward);
        rc = d.at && d.label && d.reward ? reference(&t, &d, err) : err_set(err, ERR_MEMORY, "training: no memory");
    }
    if (rc == 0)
        rc = trainer_run(&t, step, &d, err);
    if (rc == 0)
        rc = trainer_finish(&t, data, all.n, all.dropped, result, err);
    json_decref(key);
    free(d.ref);
    free(d.at);
    free(d.label);
    free(d.reward);
    trainer_release(&t);
    samples_release(&all);
    return rc;
}
