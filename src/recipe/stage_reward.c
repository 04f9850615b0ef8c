/* recipe/stage_reward.c - `rlaif reward`: a reward model from pairs with soft labels. */
#include "recipe/training.h"

static const struct option options[] = {
    TRAINING_MODEL_OPTIONS("body of the reward model"),
    TRAINING_DATASET_OPTIONS("pairs {prompt, chosen, rejected, label_prob}"),
    { "eval_dataset_name", OPT_DATA, NULL, "held-out pairs: eval_loss, eval_accuracy", NULL, false },
    { "normalize_on", OPT_DATA, NULL,
      "samples {prompt, completion} or {prompt, completions} whose scores get mean 0 and deviation 1", NULL, false },
    { "normalize_rows", OPT_INT, "0", "rows of normalize_on to use; 0: all", NULL, false },
    { "hard_labels", OPT_BOOL, "false", "ignore label_prob: the chosen one is certainly the better one", NULL, false },
    { "center_rewards_coefficient", OPT_FLOAT, "0", "pulls the sum of a pair's scores to 0", NULL, false },
    TRAINING_OPTIONS("1e-5", "linear", "8", "1", "1024", "1e-8"),
};

static void harden(struct rows *rows)
{
    for (int i = 0; i < rows->n; i++)
        json_object_del(rows->row[i], "label_prob");
}

/* Opens what is named; a name that is not given leaves *out NULL. */
static int read_if(struct rows *rows, struct rows **out, const char *path, int max, struct err *err)
{
    *out = NULL;
    int rc = path ? rows_read(rows, path, max, err) : 0;
    if (rc == 0 && path)
        *out = rows;
    return rc;
}

static int run_reward(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct train_options o;
    struct reward_options r = {.center_rewards_coefficient =
                                   opt_float(opt, "center_rewards_coefficient")};
    struct device *dev;
    struct model *m = NULL;
    struct rows rows = {0}, held = {0}, samples = {0};
    int rc = training_begin(run, opt, &o, &dev, err);
    if (rc == 0)
        rc = stage_model(&m, dev, opt, opt_str(opt, "model_name_or_path"), true, true, err);
    if (rc == 0)
        rc = rows_read(&rows, opt_str(opt, "dataset_name"), 0, err);
    if (rc == 0 && opt_bool(opt, "hard_labels"))
        harden(&rows);
    if (rc == 0)
        rc = read_if(&held, &r.eval, opt_str(opt, "eval_dataset_name"), 0, err);
    if (rc == 0)
        rc = read_if(&samples, &r.normalize, opt_str(opt, "normalize_on"),
                     (int)opt_int(opt, "normalize_rows"), err);
    if (rc == 0)
        rc = train_reward(m, &rows, &r, &o, result, err);
    rows_release(&rows);
    rows_release(&held);
    rows_release(&samples);
    model_close(m);
    return rc;
}

const struct stage stage_reward = {
    .name = "reward",
    .summary = "train a reward model on labelled pairs",
    .example = "rlaif reward -m runs/lab-tldr/sft --dataset_name "
               "runs/lab-tldr/labels/pairs.jsonl --output_dir runs/try/reward",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_reward,
    .plans = true,
};
