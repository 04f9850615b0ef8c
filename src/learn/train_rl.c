/* train_rl.c - REINFORCE with a learned baseline and the divergence inside the reward.
 *
 * One step, with B episodes as K samples of B/K prompts:
 *
 *     sample      policy -> completions and their log-probs, at the sampling temperature
 *     judge       the callback scores all of them at once; clipped, less the missing-end penalty
 *     measure     frozen reference -> log-probs; returns = (1-beta) score - beta * KL to go
 *     learn       value model -> baseline, trained towards the returns; policy -> log-probs, trained by
 *                 returns less baseline; one update each
 *
 * A micro-batch is a forest of prompts with K children each, so the K samples of a prompt share its
 * computation forward and backward.  The policy's own forward pass must give the log-probs of the
 * sampling pass bit for bit (DESIGN D1); val/ratio is their ratio and anything but exactly 1 is reported.
 * Sampling, judging and learning follow each other, and each gives its memory back: the largest of the three is what counts.
 * Left out: several updates per batch, so no ratio enters the loss and nothing is clipped. */
#include "learn/internal.h"

#include <math.h>

struct group { const struct prompt *prompt; int at, n; };      // prompt ids at ids[at..at+n)

struct rl_run {
    const struct rl_options *r;
    struct model *policy, *value;
    const struct model *ref;
    struct tokens ids;          // of all prompts
    struct group *all;          // (prompts)
    int n_prompts;
    int episodes, groups, K;    // of a step
    const struct group **now;   // (groups) of this step
    struct completion *c;       // (episodes) prompt-major
    int *start;                 // (episodes+1) tokens of the step
    float *old, *ref_logp, *ret, *adv;  // (episodes * max_completion_length)
    float *score, *shaped;      // (episodes)
    unsigned char *ended;       // (episodes)
    struct prompt_ids *ask;     // (groups)
    struct rollout *rollout;    // (episodes)
    int in_flight;              // sequences sampled at a time
    int64_t mismatched;         // tokens whose ratio was not exactly 1, so far
};

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "reinforcement learning: no memory");
}

void rl_defaults(struct rl_options *o)
{
    *o = (struct rl_options){
        .beta = 0.05,
        .temperature = 0.9,
        .num_generations = 4,
        .max_completion_length = 128,
        .missing_eos_penalty = 1,
        .score_clip = 10,
        .kl_horizon = 10000,
    };
}

/* ---- a step's prompts and samples ------------------------------------------------------------- */

/* The j-th group of the run: prompts in the order of (seed, epoch), epochs following each other without a gap. */
static const struct group *group_at(struct trainer *t, struct rl_run *r, int64_t j)
{
    int epoch = (int)(j / r->n_prompts);
    if (t->order_epoch != epoch)
        data_epoch_order(t->order, r->n_prompts, t->o->seed, epoch);
    t->order_epoch = epoch;
    return &r->all[t->order[j % r->n_prompts]];
}

static int sample(struct trainer *t, struct rl_run *r, struct err *err)
{
    struct sampling s;
    sampling_defaults(&s);
    s.temperature = (float)r->r->temperature;
    s.max_new_tokens = r->r->max_completion_length;
    s.seed = t->o->seed;
    for (int g = 0; g < r->groups; g++) {
        int64_t j = (int64_t)t->step * r->groups + g;
        r->now[g] = group_at(t, r, j);
        // Keyed by the place in the run: a prompt that comes again in a later epoch is sampled anew.
        r->ask[g] = (struct prompt_ids){r->ids.id + r->now[g]->at, r->now[g]->n, (uint64_t)j};
    }
    int rc = model_generate(r->c, r->policy, r->ask, r->groups, r->K, &s, r->in_flight, NULL, NULL, err);
    if (rc || t->plan)
        return rc;
    r->start[0] = 0;
    for (int i = 0; i < r->episodes; i++) {
        r->ended[i] = r->c[i].eos;
        r->start[i + 1] = r->start[i] + r->c[i].n;
        memcpy(r->old + r->start[i], r->c[i].logp, (size_t)r->c[i].n * sizeof *r->old);
    }
    return 0;
}

static int judge(struct trainer *t, struct rl_run *r, struct err *err)
{
    for (int i = 0; i < r->episodes; i++) {
        const struct group *g = r->now[i / r->K];
        r->rollout[i] = (struct rollout){
            .step = t->step,
            .prompt = g->prompt,
            .text = r->c[i].text,
            .prompt_id = r->ids.id + g->at,
            .id = r->c[i].id,
            .n_prompt = g->n,
            .n = r->c[i].n,
            .ended = r->c[i].eos,
        };
    }
    int rc = r->r->reward(r->r->reward_arg, r->rollout, r->episodes, r->score, err);
    if (rc)
        return rc;
    for (int i = 0; i < r->episodes; i++)
        if (!isfinite(r->score[i]))
            return err_set(err, ERR_NUMERIC, "step %d: the reward of sample %d of prompt '%s' is %g", t->step + 1, i % r->K + 1,
                           r->rollout[i].prompt->id, r->score[i]);
    memcpy(r->shaped, r->score, (size_t)r->episodes * sizeof *r->shaped);
    int clipped = objective_shape_scores(r->shaped, r->ended, r->episodes, r->r->score_clip, r->r->missing_eos_penalty);
    meter_add(t, "objective/scores", 0, r->episodes);
    for (int i = 0; i < r->episodes; i++)
        meter_add(t, "objective/scores", r->score[i], 0);
    meter_add(t, "objective/clipped_scores", clipped, r->episodes);
    return 0;
}

/* ---- micro-batches --------------------------------------------------------------------------------- */

/* How many groups from `first` on fit together. */
static int take_groups(const struct trainer *t, const struct rl_run *r, int first)
{
    int count = 0, tokens = 0;
    while (first + count < r->groups) {
        int i = (first + count) * r->K;
        int more = r->now[first + count]->n * (t->o->copy_prompts ? r->K : 1) + r->start[i + r->K] - r->start[i];
        bool full = tokens + more > t->max_tokens || (count + 1) * r->K > t->o->per_device_train_batch_size;
        if (count > 0 && full)
            break;
        tokens += more;
        count++;
    }
    return count;
}

/* Forest and items of groups [first, first+n): items are the step's tokens from start[first*K] on, in order. */
static int build(struct trainer *t, const struct rl_run *r, int first, int n, struct err *err)
{
    int count = 0;
    forest_clear(&t->forest);
    for (int g = first; g < first + n; g++) {
        int root = -1;
        for (int i = g * r->K; i < (g + 1) * r->K; i++) {
            if (i == g * r->K || t->o->copy_prompts)
                root = forest_add(&t->forest, -1, r->ids.id + r->now[g]->at, r->now[g]->n);
            if (root < 0)
                return no_memory(err);
            int seg = forest_add(&t->forest, root, r->c[i].id, r->c[i].n);
            if (seg < 0)
                return no_memory(err);
            count += forest_items(&t->forest, seg, 0, t->item + count);
        }
    }
    BUG_IF(count != r->start[(first + n) * r->K] - r->start[first * r->K]);
    for (int i = 0; i < count; i++)
        t->row[i] = t->item[i].row;     // the state a token was chosen in is the one the value speaks of
    return 0;
}

static int measure(struct trainer *t, struct rl_run *r, int first, int n, struct err *err)
{
    int from = r->start[first * r->K], count = r->start[(first + n) * r->K] - from;
    int rc = build(t, r, first, n, err);
    if (rc)
        return rc;
    model_forward(t->ws, r->ref, &t->forest);
    model_logp(t->ws, r->ref_logp + from, NULL, NULL, t->item, count, (float)r->r->temperature);
    if (!r->r->whiten_advantages)
        return 0;
    model_forward(t->ws, r->value, &t->forest);
    model_score(t->ws, r->adv + from, t->row, count);     // values, for now
    return 0;
}

/* Baseline and its gradient; adv becomes the advantage unless it was whitened before. */
static void learn_value(struct trainer *t, struct rl_run *r, int from, int count)
{
    model_forward(t->ws, r->value, &t->forest);
    model_score(t->ws, t->score, t->row, count);
    double loss = objective_value(t->dscore, t->score, r->ret + from, count, r->episodes);
    model_backward(t->ws, t->net[1].t, NULL, NULL, 0, 1, t->row, t->dscore, count);
    if (!r->r->whiten_advantages)
        objective_advantage(r->adv + from, r->ret + from, t->score, count);
    double values = 0, misses = 0;
    for (int i = 0; i < count; i++) {
        values += t->score[i];
        misses += (t->score[i] - r->ret[from + i]) * (t->score[i] - r->ret[from + i]);
    }
    meter_add(t, "loss/value_avg", loss * r->episodes, r->episodes);
    meter_add(t, "val/value", values, count);
    meter_add(t, "val/value_error", misses, count);
}

static void learn_policy(struct trainer *t, struct rl_run *r, int first, int n, int from, int count)
{
    float temperature = (float)r->r->temperature;
    model_forward(t->ws, r->policy, &t->forest);
    model_logp(t->ws, t->logp, t->entropy, NULL, t->item, count, temperature);
    t->start[0] = 0;
    t->start[1] = count;
    struct logp_batch b = {.n = 1, .start = t->start, .now = t->logp, .denom = r->episodes};
    double loss = objective_reinforce(t->dlogp, &b, r->adv + from);
    if (t->step >= t->net[0].from)
        model_backward(t->ws, t->net[0].t, t->item, t->dlogp, count, temperature, NULL, NULL, 0);
    struct ratio_sums ratio;
    double entropy = 0;
    objective_ratio(&ratio, t->logp, r->old + from, count);
    for (int i = 0; i < count; i++) {
        entropy += t->entropy[i];
        r->mismatched += t->logp[i] != r->old[from + i];
    }
    t->loss += loss;
    int plain = count;
    for (int g = first; g < first + n; g++)
        plain += r->K * r->now[g]->n;
    trainer_count(t, plain);
    meter_add(t, "loss/policy_avg", loss * r->episodes, n * r->K);
    meter_add(t, "policy/entropy_avg", entropy, count);
    meter_add(t, "policy/approxkl_avg", ratio.approxkl, count);
    meter_add(t, "val/ratio", ratio.ratio, count);
}

/* ---- what a step says about itself ------------------------------------------------------------------ */

/* Ziegler et al. 2019, section 2.2: the weight of the divergence grows while samples are farther away than wanted, and
 * shrinks while they are nearer. */
static void adapt(struct trainer *t, const struct rl_run *r, double kl)
{
    double error = fmin(fmax(kl / r->r->kl_target - 1, -0.2), 0.2);
    meter_add(t, "objective/kl_coef", t->kl_coef, 1);
    t->kl_coef = fmin(t->kl_coef * (1 + error * r->episodes / r->r->kl_horizon), 0.99);
}

static void meter_episodes(struct trainer *t, const struct rl_run *r)
{
    double beta = t->kl_coef, far = 0;
    for (int i = 0; i < r->episodes; i++) {
        double kl = 0, surprise = 0;
        for (int k = r->start[i]; k < r->start[i + 1]; k++) {
            kl += (double)r->old[k] - r->ref_logp[k];
            surprise -= r->old[k];
        }
        far += kl / r->episodes;
        meter_add(t, "objective/kl", kl, 1);
        meter_add(t, "objective/entropy", surprise, 1);
        meter_add(t, "objective/non_score_reward", -beta * kl, 1);
        meter_add(t, "objective/rlhf_reward", (1 - beta) * r->shaped[i] - beta * kl, 1);
        meter_add(t, "val/eos_rate", r->ended[i], 1);
        meter_add(t, "completions/mean_length", r->c[i].n, 1);
        meter_add(t, "val/num_eos_tokens", r->ended[i], 0);
    }
    meter_add(t, "val/num_eos_tokens", 0, 1);
    meter_add(t, "kl_per_token", 0, r->start[r->episodes]);
    for (int k = 0; k < r->start[r->episodes]; k++)
        meter_add(t, "kl_per_token", (double)r->old[k] - r->ref_logp[k], 0);
    if (r->r->kl_target > 0)
        adapt(t, r, far);
}

static int write_completions(const struct trainer *t, const struct rl_run *r, struct err *err)
{
    char *dir = path_join(t->o->output_dir, "completions");
    char *path = dir ? str_printf("%s/step-%06d.jsonl", dir, t->step + 1) : NULL;
    struct rows_out out = {0};
    int rc = path ? dir_make(dir, err) : no_memory(err);
    if (rc == 0)
        rc = rows_out_open(&out, path, err);
    for (int i = 0; rc == 0 && i < r->episodes; i++) {
        double kl = 0;
        for (int k = r->start[i]; k < r->start[i + 1]; k++)
            kl += (double)r->old[k] - r->ref_logp[k];
        json_t *row = json_pack("{s:s, s:O, s:s, s:f, s:f, s:b, s:i}", "id", r->rollout[i].prompt->id, "prompt",
                                json_object_get(r->rollout[i].prompt->row, "prompt"), "completion", r->c[i].text, "score",
                                (double)r->score[i], "kl", kl, "ended", (int)r->ended[i], "tokens", r->c[i].n);
        rc = row ? rows_out_add(&out, row, err) : no_memory(err);
        json_decref(row);
    }
    if (rc == 0)
        rc = rows_out_commit(&out, err);
    rows_out_close(&out);
    free(path);
    free(dir);
    return rc;
}

/* ---- one step ---------------------------------------------------------------------------------------- */

static int measure_all(struct trainer *t, struct rl_run *r, struct err *err)
{
    int rc = 0;
    for (int at = 0, n; rc == 0 && at < r->groups; at += n) {
        n = take_groups(t, r, at);
        rc = interrupted() ? ERR_INTERRUPTED : measure(t, r, at, n, err);
    }
    if (rc)
        return rc;
    int T = r->start[r->episodes];
    struct logp_batch b = {.n = r->episodes, .start = r->start, .now = r->old, .ref = r->ref_logp};
    objective_returns(r->ret, &b, r->shaped, t->kl_coef);
    if (r->r->whiten_advantages) {
        objective_advantage(r->adv, r->ret, r->adv, T);
        objective_whiten(r->adv, T, 0);
    }
    return 0;
}

static int learn_all(struct trainer *t, struct rl_run *r, struct err *err)
{
    int rc = 0;
    int64_t before = r->mismatched;
    for (int at = 0, n; rc == 0 && at < r->groups; at += n) {
        n = take_groups(t, r, at);
        int from = r->start[at * r->K], count = r->start[(at + n) * r->K] - from;
        rc = interrupted() ? ERR_INTERRUPTED : build(t, r, at, n, err);
        if (rc)
            break;
        learn_value(t, r, from, count);
        learn_policy(t, r, at, n, from, count);
    }
    if (r->mismatched > 0 && before == 0)
        log_warn("step %d: log-probs of sampling and training differ for %lld tokens; val/ratio is not exactly 1",
                 t->step + 1, (long long)r->mismatched);
    return rc;
}

static int step(struct trainer *t, void *arg, struct err *err)
{
    struct rl_run *r = arg;
    trainer_rest(t);
    int rc = sample(t, r, err);
    if (rc == 0)
        rc = judge(t, r, err);
    if (rc == 0)
        rc = trainer_wake(t, err);
    if (rc == 0)
        rc = measure_all(t, r, err);
    if (rc == 0)
        rc = learn_all(t, r, err);
    if (rc == 0) {
        meter_episodes(t, r);
        meter_add(t, "loss", t->loss, 1);
    }
    if (rc == 0 && r->r->log_completions && t->o->output_dir)
        rc = write_completions(t, r, err);
    completions_release(r->c, r->episodes);
    return rc;
}

/* ---- setting up ------------------------------------------------------------------------------------------ */

static int encode_prompts(struct rl_run *r, struct rows *rows, const struct prompt *p, int n, const struct train_options *o,
                          int *dropped, struct err *err)
{
    r->all = mem_alloc((size_t)n + 1, sizeof *r->all);
    int *refused = mem_alloc((size_t)n + 1, sizeof *refused), n_refused = 0;
    int rc = r->all && refused ? 0 : no_memory(err);
    for (int i = 0; rc == 0 && i < n; i++) {
        int at = r->ids.n;
        rc = encode_prompt(model_tokenizer(r->policy), &r->ids, &p[i].text, err);
        if (rc)
            err_prefix(err, "%s", rows_place(rows, p[i].line).s);
        int tokens = r->ids.n - at, total = tokens + r->r->max_completion_length;
        if (rc == 0 && (tokens == 0 || (o->max_length > 0 && total > o->max_length))) {
            r->ids.n = at;
            refused[n_refused++] = i;
        } else if (rc == 0) {
            r->all[r->n_prompts++] = (struct group){&p[i], at, tokens};
        }
    }
    for (int i = n_refused - 1; rc == 0 && i >= 0; i--)
        rows_reject(rows, refused[i], "the prompt has no tokens, or more than max_length %d less max_completion_length %d",
                    o->max_length, r->r->max_completion_length);
    if (rc == 0 && r->n_prompts == 0)
        rc = err_set(err, ERR_VALUE, "%s: no prompt is left: all %d are empty, or too long for max_length %d with "
                     "max_completion_length %d", rows->path ? rows->path : "prompts", n, o->max_length,
                     r->r->max_completion_length);
    *dropped = n_refused;
    free(refused);
    return rc;
}

static int make_room(struct rl_run *r, struct err *err)
{
    size_t n = (size_t)r->episodes + 1, T = n * (size_t)r->r->max_completion_length;
    r->now = mem_alloc((size_t)r->groups, sizeof *r->now);
    r->ask = mem_alloc((size_t)r->groups, sizeof *r->ask);
    r->c = mem_alloc(n, sizeof *r->c);
    r->start = mem_alloc(n, sizeof *r->start);
    r->old = mem_alloc(T, sizeof *r->old);
    r->ref_logp = mem_alloc(T, sizeof *r->ref_logp);
    r->ret = mem_alloc(T, sizeof *r->ret);
    r->adv = mem_alloc(T, sizeof *r->adv);
    r->score = mem_alloc(n, sizeof *r->score);
    r->shaped = mem_alloc(n, sizeof *r->shaped);
    r->ended = mem_alloc(n, sizeof *r->ended);
    r->rollout = mem_alloc(n, sizeof *r->rollout);
    bool ok = r->now && r->ask && r->c && r->start && r->old && r->ref_logp && r->ret && r->adv && r->score && r->shaped &&
              r->ended && r->rollout;
    return ok ? 0 : no_memory(err);
}

static void release(struct rl_run *r)
{
    tokens_release(&r->ids);
    free(r->all);
    free(r->now);
    free(r->ask);
    free(r->c);
    free(r->start);
    free(r->old);
    free(r->ref_logp);
    free(r->ret);
    free(r->adv);
    free(r->score);
    free(r->shaped);
    free(r->ended);
    free(r->rollout);
}

static int check(const struct rl_run *r, const struct train_options *o, struct err *err)
{
    const struct rl_options *p = r->r;
    int64_t batch = (int64_t)o->per_device_train_batch_size * o->gradient_accumulation_steps;
    if (!p->reward)
        return err_set(err, ERR_VALUE, "reinforcement learning needs a reward");
    if (!(p->beta >= 0 && p->beta < 1))
        return err_set(err, ERR_VALUE, "beta is %g, expected 0 up to (not including) 1: the reward is (1-beta) score - beta KL",
                       p->beta);
    if (!(p->kl_target >= 0 && p->kl_horizon >= r->episodes))
        return err_set(err, ERR_VALUE, "kl_target is %g and kl_horizon %g, expected 0 or more, and at least the %d episodes of a step",
                       p->kl_target, p->kl_horizon, r->episodes);
    if (p->kl_target > 0 && p->beta == 0)
        return err_set(err, ERR_VALUE, "kl_target adapts beta, which is 0 and would stay so: expected beta above 0");
    if (!(p->temperature > 0))
        return err_set(err, ERR_VALUE, "temperature is %g, expected a number above 0: exploring needs chance", p->temperature);
    if (p->max_completion_length < 1 || p->max_completion_length > 1 << 20)
        return err_set(err, ERR_VALUE, "max_completion_length is %d, expected at least 1", p->max_completion_length);
    if (p->num_generations < 1 || batch % p->num_generations)
        return err_set(err, ERR_VALUE, "a batch of %lld episodes (per_device_train_batch_size times gradient_accumulation_steps) "
                       "is no multiple of num_generations %d", (long long)batch, p->num_generations);
    if (!model_config(r->value)->score_head)
        return err_set(err, ERR_VALUE, "the value model has no scalar head");
    return 0;
}

/* Everything that decides the result besides train_options; the fingerprints stand for the models. */
static json_t *key_of(const struct rl_run *r)
{
    const struct rl_options *p = r->r;
    return json_pack("{s:f, s:f, s:i, s:i, s:f, s:f, s:b, s:f, s:i, s:f, s:f, s:s, s:s}", "beta", p->beta, "temperature", p->temperature,
                     "num_generations", p->num_generations, "max_completion_length", p->max_completion_length,
                     "missing_eos_penalty", p->missing_eos_penalty, "score_clip", p->score_clip, "whiten_advantages",
                     (int)p->whiten_advantages, "value_learning_rate", p->value_learning_rate, "value_warmup_steps",
                     p->value_warmup_steps, "kl_target", p->kl_target, "kl_horizon", p->kl_horizon, "ref", model_fingerprint(r->ref), "value", model_fingerprint(r->value));
}

/* num_train_epochs counts prompts, a step takes batch / K of them. */
static int begin(struct trainer *t, struct rl_run *r, const struct train_options *o, struct err *err)
{
    int longest = 0;
    for (int i = 0; i < r->n_prompts; i++)
        longest = r->all[i].n > longest ? r->all[i].n : longest;
    if ((int64_t)longest + (int64_t)r->K * r->r->max_completion_length > 1 << 22)
        return err_set(err, ERR_VALUE, "a prompt with its %d samples may take more tokens than one batch can hold", r->K);
    struct hash128 data = hash_bytes(r->ids.id, (size_t)r->ids.n * sizeof *r->ids.id);
    int room = longest * (o->copy_prompts ? r->K : 1) + r->K * r->r->max_completion_length;
    int rc = trainer_init(t, "rl", o, r->policy, r->n_prompts, room, err);
    if (rc)
        return rc;
    t->steps_per_epoch = (double)r->n_prompts / r->groups;
    if (o->max_steps <= 0)
        t->max_steps = (int)ceil(t->steps_per_epoch * o->num_train_epochs);
    t->warmup = o->warmup_steps > 0 ? o->warmup_steps : (int)ceil(t->max_steps * o->warmup_ratio);
    t->net[0].from = r->r->value_warmup_steps;
    t->kl_coef = r->r->beta;
    double lr = r->r->value_learning_rate > 0 ? r->r->value_learning_rate : o->learning_rate;
    trainer_add_net(t, "value_optimizer", r->value, lr);
    json_t *key = t->plan ? NULL : key_of(r);
    rc = trainer_open(t, room, data, key, err);
    json_decref(key);
    return rc;
}

/* Fewer sequences at a time until their cache fits. */
static int fit_rollouts(struct trainer *t, struct rl_run *r, struct err *err)
{
    struct device *dev = model_device(r->policy);
    int rc = 0;
    while (rc == 0 && t->o->memory_limit > 0) {
        device_mark(dev);
        device_trial(dev, true);
        rc = sample(t, r, err);
        device_trial(dev, false);
        double need = device_most_since(dev) + (double)device_base(dev);
        if (rc || need <= t->o->memory_limit)
            break;
        if (r->in_flight == 1)
            return trainer_too_small(t, need, "sampling one sequence", err);
        r->in_flight = (r->in_flight + 1) / 2;
    }
    return rc;
}

/* On a planning device: what a step takes, with the longest prompts. */
static int rehearse(struct trainer *t, struct rl_run *r, json_t *result, struct err *err)
{
    const struct group *longest = &r->all[0];
    for (int i = 1; i < r->n_prompts; i++)
        longest = r->all[i].n > longest->n ? &r->all[i] : longest;
    for (int i = 0; i < r->n_prompts; i++)
        r->all[i] = *longest;
    trainer_rest(t);
    int rc = fit_rollouts(t, r, err);
    if (rc == 0)
        rc = sample(t, r, err);
    if (rc == 0)
        rc = r->r->reward(r->r->reward_arg, NULL, 0, NULL, err);
    if (rc == 0)
        rc = trainer_wake(t, err);
    if (rc == 0 && result)
        json_object_set_new(result, "rollouts_in_flight", json_integer(r->in_flight));
    return rc;
}

int train_rl(struct model *policy, struct model *value, struct model *ref, struct rows *prompts, const struct rl_options *opt,
             const struct train_options *o, json_t *result, struct err *err)
{
    struct trainer t = {0};
    struct arena a = {0};
    struct rl_run r = {.r = opt,  .policy = policy, .value = value, .ref = ref, .K = opt->num_generations};
    struct prompt *p;
    int n = 0, dropped = 0;
    r.episodes = o->per_device_train_batch_size * o->gradient_accumulation_steps;
    int rc = check(&r, o, err);
    r.groups = rc ? 0 : r.episodes / r.K;
    r.in_flight = o->in_flight > 0 && o->in_flight < r.episodes ? o->in_flight : r.episodes;
    if (rc == 0)
        rc = data_prompts(&p, &n, &a, prompts, err);
    if (rc == 0)
        rc = encode_prompts(&r, prompts, p, n, o, &dropped, err);
    if (rc == 0)
        rc = make_room(&r, err);
    if (rc == 0)
        rc = begin(&t, &r, o, err);
    if (rc == 0 && t.plan)
        rc = rehearse(&t, &r, result, err);
    if (rc == 0)
        rc = trainer_run(&t, step, &r, err);
    if (rc == 0 && result && !t.plan)
        json_object_set_new(result, "mismatched_tokens", json_integer((json_int_t)r.mismatched));
    if (rc == 0)
        rc = trainer_finish(&t, prompts, r.n_prompts, dropped, result, err);
    trainer_release(&t);
    release(&r);
    arena_release(&a);
    return rc;
}
