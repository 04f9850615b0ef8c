/* recipe/stage_dpo.c - `rlaif dpo`: a policy straight from pairs with soft labels. */
#include "recipe/training.h"

static const struct option options[] = {
    TRAINING_MODEL_OPTIONS("policy to train, also the reference"),
    TRAINING_DATASET_OPTIONS("pairs {prompt, chosen, rejected, label_prob}"),
    { "beta", OPT_FLOAT, "0.1", "hold on the reference", NULL, false },
    TRAINING_OPTIONS("1e-6", "linear", "8", "1", "1024", "1e-8"),
};

static int run_dpo(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct train_options o;
    struct dpo_options d = {.beta = opt_float(opt, "beta")};
    struct device *dev;
    struct model *m = NULL;
    struct rows rows = {0};
    int rc = training_begin(run, opt, &o, &dev, err);
    if (rc == 0)
        rc = stage_model(&m, dev, opt, opt_str(opt, "model_name_or_path"), false, true, err);
    if (rc == 0)
        rc = rows_read(&rows, opt_str(opt, "dataset_name"), 0, err);
    if (rc == 0)
        rc = train_dpo(m, &rows, &d, &o, result, err);
    rows_release(&rows);
    model_close(m);
    return rc;
}

const struct stage stage_dpo = {
    .name = "dpo",
    .summary = "train a policy on labelled pairs without a reward model",
    .example = "rlaif dpo -m runs/lab-tldr/sft --dataset_name "
               "runs/lab-tldr/labels/pairs.jsonl --output_dir runs/try/dpo",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_dpo,
    .plans = true,
};
