/* recipe/stage_eval.c - `rlaif eval`: how good are the labels, the reward models and the policy?
 *
 * Every part is optional and runs when its files are given:
 *
 *     labels (and truth)                    alignment of the labeler with people, calibration
 *     reward_model, ... with pairs/labels   accuracy on pairs that people compared
 *     policy and baseline with prompts      win rate (annotators of the lab, or a model as judge), gains, drift, lengths
 *
 * Models are opened one after the other, so that memory is that of the largest. */
#include <math.h>

#include "learn/learn.h"
#include "recipe/evaluating.h"

static const struct option options[] = {
    { "labels", OPT_INPUT, NULL, "labels.jsonl of `rlaif label`: its labeler is compared with people", NULL, false },
    { "calibration", OPT_INPUT, NULL, "labels.jsonl of other pairs: a temperature is fitted there", NULL, false },
    { "truth", OPT_INPUT, NULL, "the lab's truth.jsonl: its annotators are the people", NULL, false },
    { "pairs", OPT_DATA, NULL, "pairs that people compared, for the reward models (default: those of the labels)", NULL, false },
    { "reward_model", OPT_MODEL, NULL, "reward model to score", NULL, false },
    { "reward_model_human", OPT_MODEL, NULL, "another, trained on people's labels of the same pairs", NULL, false },
    { "reward_model_judge", OPT_MODEL, NULL, "another, trained on people's labels of other pairs: scores the policy", NULL, false },
    { "policy", OPT_MODEL, NULL, "model to compare", NULL, false },
    { "policy_completions", OPT_DATA, NULL, "rows {id, prompt, completion or completions} in its place", NULL, false },
    { "baseline", OPT_MODEL, NULL, "model to compare with", NULL, false },
    { "baseline_completions", OPT_DATA, NULL, "rows in its place", NULL, false },
    { "prompts", OPT_DATA, NULL, "held-out prompts", NULL, false },
    { "max_prompts", OPT_INT, "0", "the first so many; 0: all", NULL, false },
    { "judge", OPT_MODEL, NULL, "model that judges both in both orders (where there is no truth)", NULL, false },
    { "store", OPT_STRING, NULL, "label store of the judge (default: labels.db in the run's folder)", NULL, false },
    LABELING_OPTIONS,
    { "temperature", OPT_FLOAT, "0.9", "of the samples", NULL, false },
    { "max_new_tokens", OPT_INT, "128", "a completion's length at most", NULL, false },
    { "stop", OPT_LIST, NULL, "strings a completion ends before", NULL, false },
    { "batch_size", OPT_INT, "32", "sequences in flight", NULL, false },
    { "output_dir", OPT_OUTPUT_DIR, NULL, "folder for eval_results.json, completions.jsonl, samples.jsonl", NULL, true },
    COMPUTE_OPTIONS,
    { "seed", OPT_INT, "1", "of samples, annotators and intervals", NULL, false },
};

struct evaluation {
    struct run *run;
    const json_t *opt;
    json_t *result;
    struct device *dev;
    struct lab_truth *truth;
    uint64_t seed;
};

static int open_model(struct model **m, const struct evaluation *e, const char *option, bool scalar,
                      struct err *err)
{
    return eval_model(m, e->dev, e->opt, option, opt_str(e->opt, option), scalar, err);
}

/* ---- labels and reward models ------------------------------------------------------------ */

static const struct { const char *option, *figures, *gain; } rewards[] = {
    { "reward_model", "reward", "policy_reward_gain" },
    { "reward_model_human", "reward_human", "policy_reward_human_gain" },
    { "reward_model_judge", "reward_judge", "policy_human_reward_gain" },
};

static int eval_rewards(const struct evaluation *e, const struct judged *j, struct err *err)
{
    int rc = 0;
    for (size_t k = 0; k < ARRAY_LEN(rewards) && rc == 0; k++) {
        struct model *m = NULL;
        if (!opt_given(e->opt, rewards[k].option))
            continue;
        rc = open_model(&m, e, rewards[k].option, true, err);
        if (rc == 0)
            rc = eval_reward(e->result, rewards[k].figures, j, m, err);
        model_close(m);
    }
    return rc;
}

static int eval_judged(const struct evaluation *e, struct err *err)
{
    struct judged labels = { 0 }, calibration = { 0 }, pairs = { 0 };
    const json_t *o = e->opt;
    bool have = opt_given(o, "labels"), fit = opt_given(o, "calibration"),
         other = opt_given(o, "pairs");
    if (fit && !have)
        return err_set(err, ERR_USAGE, "--calibration needs --labels");
    int rc = have ? judged_labels(&labels, opt_str(o, "labels"), e->truth, e->seed, err) : 0;
    if (rc == 0 && fit)
        rc = judged_labels(&calibration, opt_str(o, "calibration"), e->truth, e->seed, err);
    if (rc == 0 && have)
        rc = eval_labeler(e->result, &labels, fit ? &calibration : NULL, e->seed, err);
    if (rc == 0 && other)
        rc = judged_pairs(&pairs, opt_str(o, "pairs"), e->truth, e->seed, err);
    if (rc == 0 && (other || have))
        rc = eval_rewards(e, other ? &pairs : &labels, err);
    judged_release(&labels);
    judged_release(&calibration);
    judged_release(&pairs);
    return rc;
}

/* ---- the policy -------------------------------------------------------------------------- */

static int speak(struct contest *c, const struct evaluation *e, bool policy, struct err *err)
{
    const char *name = policy ? "policy" : "baseline",
               *file = policy ? "policy_completions" : "baseline_completions";
    struct said *said = policy ? c->policy : c->baseline;
    if (opt_given(e->opt, file))
        return contest_load(c, said, opt_str(e->opt, file), err);
    if (!opt_given(e->opt, name))
        return err_set(err, ERR_USAGE, "to compare policies, eval needs --%s or --%s", name, file);
    struct sampling s;
    struct model *m = NULL;
    const char *stop[MAX_STOPS];
    int batch, rc = eval_sampling(&s, stop, e->opt, policy ? 0 : 1, err);
    if (rc == 0)
        rc = option_positive(e->opt, "batch_size", &batch, err);
    if (rc == 0)
        rc = open_model(&m, e, name, false, err);
    if (rc == 0)
        rc = contest_sample(c, said, m, &s, batch, err);
    if (rc == 0 && !policy && c->n && c->sampled[0].completion)
        rc = contest_drift(c, m, s.temperature, err);
    model_close(m);
    return rc;
}

static int judge(struct contest *c, const struct evaluation *e, struct err *err)
{
    if (e->truth)
        return contest_truth(c, e->result, e->truth, e->seed, err);
    if (!opt_given(e->opt, "judge"))
        return 0;
    struct labeling l;
    int rc = labeling_open(&l, e->run, e->opt, opt_str(e->opt, "judge"), opt_str(e->opt, "store"),
                           opt_str(e->opt, "output_dir"), err);
    if (rc == 0)
        rc = contest_labeler(c, &l, err);
    labeling_close(&l);
    return rc;
}

static int eval_policies(const struct evaluation *e, struct err *err)
{
    struct contest c = { 0 };
    int64_t most = opt_int(e->opt, "max_prompts");
    if (!opt_given(e->opt, "prompts"))
        return err_set(err, ERR_USAGE, "to compare policies, eval needs --prompts");
    int rc = contest_read(&c, opt_str(e->opt, "prompts"),
                          most > 0 && most < INT32_MAX ? (int)most : 0, err);
    if (rc == 0)
        rc = speak(&c, e, true, err);
    if (rc == 0)
        rc = speak(&c, e, false, err);
    if (rc == 0)
        rc = judge(&c, e, err);
    for (size_t k = 0; k < ARRAY_LEN(rewards) && rc == 0; k++) {
        struct model *m = NULL;
        if (!opt_given(e->opt, rewards[k].option))
            continue;
        rc = open_model(&m, e, rewards[k].option, true, err);
        if (rc == 0)
            rc = contest_reward(&c, e->result, rewards[k].gain, m, e->seed, err);
        model_close(m);
    }
    if (rc == 0)
        rc = contest_figures(&c, e->result, e->seed, err);
    if (rc == 0)
        rc = contest_write(&c, opt_str(e->opt, "output_dir"), err);
    contest_release(&c);
    return rc;
}

static int write_results(const struct evaluation *e, struct err *err)
{
    char *path = path_join(opt_str(e->opt, "output_dir"), "eval_results.json");
    int rc = path ? json_write_file(path, e->result, err)
                  : err_set(err, ERR_MEMORY, "no memory to write figures");
    free(path);
    return rc;
}

static int run_eval(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct evaluation e = { run, opt, result, .seed = (uint64_t)opt_int(opt, "seed") };
    bool policies = opt_given(opt, "policy") || opt_given(opt, "policy_completions");
    if (!policies && !opt_given(opt, "labels") && !opt_given(opt, "pairs"))
        return err_set(err, ERR_USAGE, "eval needs --labels, --pairs with --reward_model, or --policy with --baseline and --prompts");
    int rc = run_device(run, &e.dev, err);
    if (rc == 0)
        rc = dir_make(opt_str(opt, "output_dir"), err);
    if (rc == 0 && opt_given(opt, "truth"))
        rc = lab_truth_open(&e.truth, opt_str(opt, "truth"), err);
    if (rc == 0)
        rc = eval_judged(&e, err);
    if (rc == 0 && policies)
        rc = eval_policies(&e, err);
    if (rc == 0)
        rc = write_results(&e, err);
    lab_truth_free(e.truth);
    return rc;
}

const struct stage stage_eval = {
    .name = "eval",
    .summary = "measure labels, reward models and policies, each with a 95 % interval",
    .example = "rlaif eval --policy runs/lab-tldr/rl --baseline runs/lab-tldr/sft "
               "--prompts runs/lab-tldr/world/eval.jsonl --truth "
               "runs/lab-tldr/world/truth.jsonl --output_dir runs/try/eval",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_eval,
};
