/* recipe/stage_sft.c - `rlaif sft`: supervised training, also of new models. */
#include "recipe/training.h"

static const struct option options[] = {
    TRAINING_MODEL_OPTIONS("model to train"),
    TRAINING_DATASET_OPTIONS(
        "rows {prompt, completion}, {messages} or {text} (Parquet, JSON, CSV)"),
    {"init", OPT_BOOL, "false",
     "new random weights: the folder needs only config.json and a tokenizer", NULL, false},
    TRAINING_OPTIONS("2e-5", "linear", "8", "1", "1024", "1e-8"),
};

static int run_sft(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct train_options o;
    struct device *dev;
    struct model *m = NULL;
    struct rows rows = {0};
    const char *path = opt_str(opt, "model_name_or_path");
    int rc = training_begin(run, opt, &o, &dev, err);
    if (rc == 0 && opt_bool(opt, "init")) {
        struct model_options mo = compute_options(opt, dev);
        mo.trainable = true;
        rc = model_open_fresh(&m, dev, path, &mo, err);
    } else if (rc == 0) {
        rc = stage_model(&m, dev, opt, path, false, true, err);
    }
    if (rc == 0)
        rc = rows_read(&rows, opt_str(opt, "dataset_name"), 0, err);
    if (rc == 0)
        rc = train_sft(m, &rows, &o, result, err);
    rows_release(&rows);
    model_close(m);
    return rc;
}

const struct stage stage_sft = {
    .name = "sft",
    .summary = "train a language model on texts or on prompts with completions",
    .example = "rlaif sft -m models/s --dataset_name runs/lab-tldr/world/sft.jsonl "
               "--output_dir runs/try/sft",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_sft,
    .plans = true,
};
