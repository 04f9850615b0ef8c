/* recipe/stage_rl.c - `rlaif rl`: a policy from a reward, by the algorithm named. */
#include "recipe/ai_reward.h"
#include "recipe/training.h"

static const struct option options[] = {
    TRAINING_MODEL_OPTIONS("policy to start from; the frozen reference and the value model start there too"),
    { "algorithm", OPT_CHOICE, "reinforce", "the papers' REINFORCE with a learned baseline", "reinforce", false },
    { "reward_model_path", OPT_MODEL, NULL, "reward model, a folder written by rlaif reward", NULL, false },
    { "ai_reward", OPT_MODEL, NULL, "instead of a reward model: a labeler that rates every sample (d-RLAIF)", NULL, false },
    { "reward_store", OPT_STRING, NULL, "of ai_reward: label store (default: labels.db in the run's folder)", NULL, false },
    RATING_OPTIONS,
    TRAINING_DATASET_OPTIONS("prompts {prompt}"),
    { "beta", OPT_FLOAT, "0.05", "the reward is (1 - beta) score - beta KL", NULL, false },
    { "temperature", OPT_FLOAT, "0.9", "of sampling, and of every log-prob", NULL, false },
    { "num_generations", OPT_INT, "4", "samples per prompt; divides the batch", NULL, false },
    { "rollouts_in_flight", OPT_INT, "0", "sequences sampled at a time; 0: the whole batch", NULL, false },
    { "max_completion_length", OPT_INT, "128", "tokens sampled at most", NULL, false },
    { "missing_eos_penalty", OPT_FLOAT, "1.0", "taken from the score of a sample that did not end", NULL, false },
    { "score_clip", OPT_FLOAT, "10", "scores are clipped to +- this; 0: not", NULL, false },
    { "whiten_advantages", OPT_BOOL, "false", "advantages of a batch get mean 0 and deviation 1", NULL, false },
    { "value_learning_rate", OPT_FLOAT, "0", "of the value model; 0: learning_rate", NULL, false },
    { "value_warmup_steps", OPT_INT, "0", "first steps in which only the value model learns", NULL, false },
    { "kl_target", OPT_FLOAT, "0", "adapt beta so that samples stay so far from the start (nats per sequence); 0: do not", NULL, false },
    { "kl_horizon", OPT_FLOAT, "10000", "episodes in which beta may change by about a fifth", NULL, false },
    { "log_completions", OPT_BOOL, "false", "write each step's samples to completions/", NULL, false },
    TRAINING_OPTIONS("1e-5", "linear", "128", "1", "1024", "1e-5"),
};

struct models {
    struct model *policy, *value, *ref, *reward;
    struct model *base;         // borrowed: of policy and value, where they are adapters
    struct scorer *scorer;
    struct ai_reward judge;     // instead of reward and scorer
};

/* The policy as it is before training, and so not in a GGUF file's blocks: the ratio of the two
 * begins at 1. */
static int open_reference(struct model **out, struct device *dev, const json_t *opt,
                          const char *start, struct err *err)
{
    json_t *plain = json_copy((json_t *)opt);
    if (!plain || json_object_set_new(plain, "dequantize", json_true()))
        mem_die("the options of a reference");
    int rc = stage_model(out, dev, plain, start, false, false, err);
    json_decref(plain);
    return rc;
}

static int open_whole(struct models *m, struct device *dev, const json_t *opt, const char *start,
                      struct err *err)
{
    int rc = stage_model(&m->policy, dev, opt, start, false, true, err);
    if (rc == 0)
        rc = stage_model(&m->value, dev, opt, start, true, true, err);
    return rc ? rc : open_reference(&m->ref, dev, opt, start, err);
}

/* Policy and value are adapters over one base; the reference is the base, or, where an adapter is
 * trained on, that adapter as it was. */
static int open_adapted(struct models *m, struct device *dev, const json_t *opt,
                        const struct start *s, struct err *err)
{
    struct model_options mo = compute_options(opt, dev), value = mo;
    value.scalar_head = true;
    int rc =
        stage_model(&m->policy, dev, opt, opt_str(opt, "model_name_or_path"), false, true, err);
    m->base = rc ? NULL : model_base(m->policy);
    if (rc == 0)
        rc = start_over(&m->value, m->base, s, opt, &value, err);
    if (rc == 0 && s->adapter)
        rc = model_open_adapter(&m->ref, m->base, s->adapter, &mo, err);
    return rc;
}

/* An adapter over the base that is open already shares it. */
static int open_reward(struct models *m, struct device *dev, const json_t *opt,
                       const struct start *own, struct err *err)
{
    const char *path = opt_str(opt, "reward_model_path");
    struct model_options mo = compute_options(opt, dev);
    struct start s;
    mo.scalar_head = true;
    int rc = start_read(&s, opt, path, false, err);
    if (rc == 0 && m->base && s.adapter && !strcmp(s.base, own->base))
        rc = model_open_adapter(&m->reward, m->base, s.adapter, &mo, err);
    else if (rc == 0)
        rc = stage_model(&m->reward, dev, opt, path, true, false, err);
    start_release(&s);
    return rc;
}

static int open_models(struct models *m, struct run *run, struct device *dev, const json_t *opt,
                       struct err *err)
{
    const char *start = opt_str(opt, "model_name_or_path");
    struct start s;
    int rc = start_read(&s, opt, start, true, err);
    if (rc == 0 && start_adapted(&s))
        rc = open_adapted(m, dev, opt, &s, err);
    else if (rc == 0)
        rc = open_whole(m, dev, opt, start, err);
    bool judged = opt_given(opt, "ai_reward");
    const char *judge = opt_str(opt, "ai_reward");
    if (rc == 0 && judged && device_is_plan(dev))   // its weights; nothing is asked
        rc = file_exists(judge) || dir_exists(judge)
                 ? stage_model(&m->reward, dev, opt, judge, false, false, err)
                 : 0;
    else if (rc == 0 && judged)
        rc = ai_reward_open(&m->judge, run, opt, err);
    else if (rc == 0)
        rc = open_reward(m, dev, opt, &s, err);
    start_release(&s);
    if (rc || judged)
        return rc;
    if (model_head_is_fresh(m->reward))
        rc = err_set(err, ERR_VALUE, "--reward_model_path: %s has no scalar head (score.weight): it is no reward model",
                     opt_str(opt, "reward_model_path"));
    return rc ? rc : scorer_new(&m->scorer, m->reward, 0, err);
}

static void close_models(struct models *m)
{
    scorer_free(m->scorer);
    ai_reward_close(&m->judge);
    model_close(m->reward);
    model_close(m->ref);
    model_close(m->value);
    model_close(m->policy);
}

static void read_options(struct rl_options *r, const json_t *opt)
{
    rl_defaults(r);
    r->beta = opt_float(opt, "beta");
    r->temperature = opt_float(opt, "temperature");
    r->num_generations = (int)opt_int(opt, "num_generations");
    r->max_completion_length = (int)opt_int(opt, "max_completion_length");
    r->missing_eos_penalty = opt_float(opt, "missing_eos_penalty");
    r->score_clip = opt_float(opt, "score_clip");
    r->whiten_advantages = opt_bool(opt, "whiten_advantages");
    r->value_learning_rate = opt_float(opt, "value_learning_rate");
    r->value_warmup_steps = (int)opt_int(opt, "value_warmup_steps");
    r->kl_target = opt_float(opt, "kl_target");
    r->kl_horizon = opt_float(opt, "kl_horizon");
    r->log_completions = opt_bool(opt, "log_completions");
}

static int run_rl(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct train_options o;
    struct rl_options r;
    struct device *dev;
    struct models m = {0};
    struct rows rows = {0};
    if (opt_given(opt, "reward_model_path") == opt_given(opt, "ai_reward"))
        return err_set(err, ERR_USAGE,
                       "rl needs one of --reward_model_path DIR and --ai_reward MODEL");
    int rc = training_begin(run, opt, &o, &dev, err);
    if (rc == 0)
        rc = open_models(&m, run, dev, opt, err);
    if (rc == 0)
        rc = rows_read(&rows, opt_str(opt, "dataset_name"), 0, err);
    if (rc == 0) {
        read_options(&r, opt);
        o.in_flight = (int)opt_int(opt, "rollouts_in_flight");
        r.reward = m.scorer ? scorer_reward : ai_reward_score;
        r.reward_arg = m.scorer ? (void *)m.scorer : &m.judge;
        rc = train_rl(m.policy, m.value, m.ref ? m.ref : m.base, &rows, &r, &o, result, err);
    }
    if (rc == 0 && !m.scorer && !device_is_plan(dev))
        ai_reward_figures(result, &m.judge);
    rows_release(&rows);
    close_models(&m);
    return rc;
}

const struct stage stage_rl = {
    .name = "rl",
    .summary = "improve a policy by reinforcement learning from a reward model, or from a labeler's ratings",
    .example = "rlaif rl -m runs/lab-tldr/sft --reward_model_path runs/lab-tldr/reward "
               "--dataset_name runs/lab-tldr/world/prompts.jsonl --max_steps 4 "
               "--output_dir runs/try/rl",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_rl,
    .plans = true,
};
