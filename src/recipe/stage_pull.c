/* recipe/stage_pull.c - `rlaif pull`: a model or data set of the Hub into the cache. */
#include "net/net.h"
#include "recipe/recipe.h"

static const struct option options[] = {
    {"repo_id", OPT_STRING, NULL, "ORG/NAME, then @REVISION and :FILE where wanted", NULL,
     true},
    {"revision", OPT_STRING, NULL,
     "branch, tag or commit (default: that of the name, else main)", NULL, false},
    {"include", OPT_LIST, NULL,
     "patterns of files (* ? [a-z]); without it, what a model needs, or all of a data set",
     NULL, false},
    {"repo_type", OPT_CHOICE, "model", "what it is", "model|dataset", false},
};

static int run_pull(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct hub_pull p = {
        .name = opt_str(opt, "repo_id"),
        .kind = !strcmp(opt_str(opt, "repo_type"), "dataset") ? HUB_DATASET : HUB_MODEL,
        .revision = opt_str(opt, "revision"),
        .include = opt_list(opt, "include"),
    };
    return hub_pull(result, &p, err);
}

const struct stage stage_pull = {
    .name = "pull",
    .summary = "fetch a model or data set of the Hugging Face Hub into its cache; resumes",
    .example = "rlaif pull Qwen/Qwen2.5-0.5B-Instruct",
    .bare = "repo_id",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_pull,
};
