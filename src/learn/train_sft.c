/* train_sft.c - next-token training on completions, or on whole texts. */
#include "learn/internal.h"

/* Tokens of a sample that carry loss: a root's first token has nothing before it to predict it. */
static int64_t loss_tokens(const struct sample *s)
{
    return s->prompt > 0 ? s->first : s->first - 1;
}

/* A mixture of experts whose config has output_router_logits: the micro-batch's share of the load-balancing loss. */
static double router_loss(struct trainer *t, double share)
{
    const struct choices *c = &model_config(t->net[0].model)->choices;
    double weight = c->router_trained ? c->router_loss * share : 0;
    if (weight == 0)
        return 0;
    workspace_router_loss(t->ws, (float)weight);
    return weight * model_router_loss(t->ws);
}

/* One micro-batch: every sample is a root of its own. */
static int micro(struct trainer *t, const struct samples *all, const int *item, int n, double denom, struct err *err)
{
    int count = 0, seg[2], from;
    forest_clear(&t->forest);
    for (int i = 0; i < n; i++) {
        int rc = sample_add(&t->forest, all, item[i], false, seg, &from);
        if (rc)
            return err_set(err, rc, "training: no memory");
        count += forest_items(&t->forest, seg[0], from, t->item + count);
    }
    model_forward(t->ws, t->net[0].model, &t->forest);
    t->start[0] = 0;
    t->start[1] = count;
    struct logp_batch b = {.n = 1, .start = t->start, .now = t->logp, .denom = denom};
    objective_sft_slope(t->dlogp, &b);
    double loss = router_loss(t, count / denom), entropy = 0, right = 0;
    model_learn(t->ws, t->net[0].t, t->logp, t->entropy, t->row, t->item, t->dlogp, count, 1);
    loss += objective_sft(&b);
    for (int i = 0; i < count; i++) {
        entropy += t->entropy[i];
        right += t->row[i] == t->item[i].target;
    }
    t->loss += loss;
    trainer_count(t, t->forest.tokens.n);
    meter_add(t, "loss", loss * denom, count);
    meter_add(t, "mean_token_accuracy", right, count);
    meter_add(t, "entropy", entropy, count);
    return 0;
}

static int step(struct trainer *t, void *arg, struct err *err)
{
    const struct samples *all = arg;
    int n, rc = 0;
    const int *item = trainer_items(t, &n);
    double denom = 0;
    for (int i = 0; i < n; i++)
        denom += (double)loss_tokens(&all->s[item[i]]);
    for (int at = 0, take; rc == 0 && at < n && denom > 0; at += take) {
        take = trainer_micro(t, all, item + at, n - at);
        rc = interrupted() && at > 0 ? ERR_INTERRUPTED : micro(t, all, item + at, take, denom, err);
    }
    return rc;
}

int train_sft(struct model *m, struct rows *data, const struct train_options *o, json_t *result, struct err *err)
{
    struct samples all = {0};
    struct trainer t = {0};
    int rc = samples_from_examples(&all, data, m, o->max_length, err);
    if (rc == 0)
        rc = trainer_init(&t, "sft", o, m, all.n, all.longest, err);
    if (rc == 0)
        rc = trainer_open(&t, all.longest, samples_hash(&all), NULL, err);
    if (rc == 0)
        rc = trainer_run(&t, step, &all, err);
    if (rc == 0)
        rc = trainer_finish(&t, data, all.n, all.dropped, result, err);
    trainer_release(&t);
    samples_release(&all);
    return rc;
}
