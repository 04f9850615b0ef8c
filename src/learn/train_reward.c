/* train_reward.c - a reward model from soft labels, and the scale of its scores.
 *
 * A pair is a prompt with two children, so the prompt is computed once.  The loss has a floor, the mean
 * entropy of the labels; both are logged, since only their difference can be learned away.
 *
 * The scale of a Bradley-Terry score is arbitrary.  After training, samples of the SFT policy fix it: their
 * mean becomes 0 and their deviation 1, stored in the model's config and applied wherever it scores. */
#include "learn/internal.h"

#include <math.h>

struct reward_run {
    const struct samples *all;
    double center;
};

/* What a batch of scored pairs says. */
struct verdict { double right, ties, margin, entropy, low, high, sum; };

static void judge(struct verdict *v, const float *score, const float *p, int pairs)
{
    *v = (struct verdict){.low = INFINITY, .high = -INFINITY};
    for (int i = 0; i < pairs; i++) {
        double d = (double)score[2 * i] - score[2 * i + 1];
        // A label below one half says the second is the better one; an even label has no right answer.
        v->right += p[i] == 0.5f ? 0.5 : p[i] > 0.5f ? d > 0 : d < 0;
        v->ties += d == 0;
        v->margin += p[i] >= 0.5f ? d : -d;
        v->entropy += objective_label_entropy(p[i]);
        v->sum += score[2 * i] + score[2 * i + 1];
        v->low = fmin(v->low, fmin(score[2 * i], score[2 * i + 1]));
        v->high = fmax(v->high, fmax(score[2 * i], score[2 * i + 1]));
    }
}

/* Forest, labels and score rows of some pairs; then the scores. */
static int score_pairs(struct trainer *t, const struct samples *all, const int *item, int n, float *label, struct err *err)
{
    int seg[2], from;
    forest_clear(&t->forest);
    for (int i = 0; i < n; i++) {
        int rc = sample_add(&t->forest, all, item[i], t->o->copy_prompts, seg, &from);
        if (rc)
            return err_set(err, rc, "training: no memory");
        for (int k = 0; k < 2; k++)
            t->row[2 * i + k] = t->forest.seg[seg[k]].start + t->forest.seg[seg[k]].len - 1;
        label[i] = all->s[item[i]].label;
    }
    model_forward(t->ws, t->net[0].model, &t->forest);
    model_score(t->ws, t->score, t->row, 2 * n);
    return 0;
}

static int micro(struct trainer *t, const struct reward_run *r, const int *item, int n, double denom, struct err *err)
{
    struct verdict v;
    float *label = t->logp;     // room that no log-prob needs here
    int rc = score_pairs(t, r->all, item, n, label, err);
    if (rc)
        return rc;
    double loss = objective_reward(t->dscore, t->score, label, NULL, n, r->center, denom);
    model_backward(t->ws, t->net[0].t, NULL, NULL, 0, 1, t->row, t->dscore, 2 * n);
    judge(&v, t->score, label, n);
    t->loss += loss;
    trainer_count(t, samples_plain(r->all, item, n));
    meter_add(t, "loss", loss * denom, n);
    meter_add(t, "label_entropy", v.entropy, n);
    meter_add(t, "accuracy", v.right, n);
    meter_add(t, "ties", v.ties, n);
    meter_add(t, "margin", v.margin, n);
    meter_add(t, "min_reward", v.low, 1);
    meter_add(t, "mean_reward", v.sum, 2 * n);
    meter_add(t, "max_reward", v.high, 1);
    return 0;
}

static int step(struct trainer *t, void *arg, struct err *err)
{
    const struct reward_run *r = arg;
    int n, rc = 0;
    const int *item = trainer_items(t, &n);
    for (int at = 0, take; rc == 0 && at < n; at += take) {
        take = trainer_micro(t, r->all, item + at, n - at);
        rc = interrupted() && at > 0 ? ERR_INTERRUPTED : micro(t, r, item + at, take, n, err);
    }
    return rc;
}

/* ---- held-out pairs ------------------------------------------------------------------------- */

static void set(json_t *o, const char *name, double x)
{
    json_object_set_new(o, name, isfinite(x) ? json_real(x) : json_null());
}

/* Loss, accuracy and ties over held-out pairs, in a log row and in the figures. */
static int evaluate(struct trainer *t, const struct samples *held, json_t *result, struct err *err)
{
    struct verdict v;
    double loss = 0, right = 0, ties = 0, entropy = 0;
    int rc = 0;
    for (int at = 0, n; rc == 0 && at < held->n; at += n) {
        int item[64] = {0};
        for (n = 0; n < 64 && at + n < held->n; n++)
            item[n] = at + n;
        n = trainer_micro(t, held, item, n);
        rc = score_pairs(t, held, item, n, t->logp, err);
        if (rc)
            break;
        loss += objective_reward(t->dscore, t->score, t->logp, NULL, n, 0, 1);
        judge(&v, t->score, t->logp, n);
        right += v.right;
        ties += v.ties;
        entropy += v.entropy;
    }
    json_t *row = rc ? NULL : json_object();
    if (row) {
        set(row, "eval_loss", loss / held->n);
        set(row, "eval_accuracy", right / held->n);
        set(row, "eval_ties", ties / held->n);
        set(row, "eval_label_entropy", entropy / held->n);
        json_object_set_new(row, "eval_pairs", json_integer(held->n));
        if (result)
            json_object_update(result, row);
        rc = trainer_log_row(t, row, err);
    }
    return rc;
}

/* ---- the scale of scores ------------------------------------------------------------------------ */

struct moments { double n, mean, square; };     // Welford

static void moments_add(struct moments *m, double x)
{
    double d = x - m->mean;
    m->n++;
    m->mean += d / m->n;
    m->square += d * (x - m->mean);
}

/* The completions of one row, scored together. */
static int add_row(struct moments *out, struct scorer *s, const json_t *row, const char *where, struct err *err)
{
    const json_t *many = json_object_get(row, "completions"), *one = json_object_get(row, "completion");
    struct arena a = {0};
    size_t n = many ? json_array_size(many) : one != NULL;
    struct scored *t = arena_alloc(&a, (n + 1) * sizeof *t);
    struct text *prompt = arena_alloc(&a, sizeof *prompt), *text = arena_alloc(&a, (n + 1) * sizeof *text);
    float *raw = arena_alloc(&a, (n + 1) * sizeof *raw);
    int rc = t && prompt && text && raw ? 0 : err_set(err, ERR_MEMORY, "%s: no memory", where);
    if (rc == 0 && n == 0)
        rc = err_set(err, ERR_MISSING, "%s: neither 'completion' nor 'completions'", where);
    if (rc == 0)
        rc = text_from_json(prompt, &a, json_object_get(row, "prompt"), where, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        rc = text_from_json(&text[i], &a, many ? json_array_get(many, i) : one, where, err);
        t[i] = (struct scored){prompt, &text[i]};
    }
    if (rc == 0)
        rc = scorer_texts(s, t, (int)n, raw, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        moments_add(out, raw[i]);
    arena_release(&a);
    return rc;
}

static int normalize(struct model *m, const struct rows *rows, json_t *result, struct err *err)
{
    struct scorer *s = NULL;
    struct moments mo = {0};
    int rc = scorer_new(&s, m, 0, err);
    bool plan = device_is_plan(model_device(m));
    if (rc == 0 && plan)
        rc = scorer_reward(s, NULL, 0, NULL, err);
    for (int i = 0; rc == 0 && !plan && i < rows->n; i++) {
        char where[512];
        snprintf(where, sizeof where, "%s", rows_place(rows, rows->line[i]).s);
        rc = add_row(&mo, s, rows->row[i], where, err);
    }
    scorer_free(s);
    if (rc || plan)
        return rc;
    double std = mo.n > 1 ? sqrt(mo.square / (mo.n - 1)) : 0;
    if (!(std > 0) || !isfinite(std))
        return err_set(err, ERR_NUMERIC, "the scores of the %g samples to normalise on have the deviation %g", mo.n, std);
    model_set_reward_norm(m, mo.mean, std);
    if (result) {
        set(result, "reward_mean", mo.mean);
        set(result, "reward_std", std);
        json_object_set_new(result, "normalized_on", json_integer((json_int_t)mo.n));
    }
    return 0;
}

/* ---- all of it --------------------------------------------------------------------------------------- */

static void label_figures(const struct samples *all, json_t *result)
{
    double entropy = 0;
    for (int i = 0; i < all->n; i++)
        entropy += objective_label_entropy(all->s[i].label);
    if (result)
        set(result, "label_entropy", entropy / all->n);
}

int train_reward(struct model *m, struct rows *data, const struct reward_options *r, const struct train_options *o, json_t *result,
                 struct err *err)
{
    struct samples all = {0}, held = {0};
    struct trainer t = {0};
    struct reward_run run = {.all = &all, .center = r->center_rewards_coefficient};
    json_t *opt = json_pack("{s:f}", "center_rewards_coefficient", run.center);
    int rc = samples_from_pairs(&all, data, m, o->max_length, err);
    if (rc == 0 && r->eval)
        rc = samples_from_pairs(&held, r->eval, m, o->max_length, err);
    int longest = (all.longest > held.longest ? all.longest : held.longest) * (1 + o->copy_prompts);
    if (rc == 0)
        rc = trainer_init(&t, "reward", o, m, all.n, longest, err);
    if (rc == 0)
        rc = trainer_open(&t, longest, samples_hash(&all), opt, err);
    if (rc == 0)
        rc = trainer_run(&t, step, &run, err);
    if (rc == 0)
        label_figures(&all, result);
    if (rc == 0 && r->eval && !t.plan)
        rc = evaluate(&t, &held, result, err);
    trainer_rest(&t);
    if (rc == 0 && r->normalize)
        rc = normalize(m, r->normalize, result, err);
    if (rc == 0)
        rc = trainer_finish(&t, data, all.n, all.dropped, result, err);
    json_decref(opt);
    trainer_release(&t);
    samples_release(&all);
    samples_release(&held);
    return rc;
}
