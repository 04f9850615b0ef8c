/* recipe/stage_report.c - `rlaif report`: the page of a finished run, made again from its files. */
#include "recipe/recipe.h"

static const struct option options[] = {
    { "run_dir", OPT_INPUT, NULL, "the output folder of a finished `rlaif run`", NULL, true },
};

static int run_report(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    const char *dir = opt_str(opt, "run_dir");
    int rc = recipe_report(dir, err);
    char *path = path_join(dir, "report.html");
    if (rc == 0 && path)
        json_object_set_new(result, "report", json_string(path));
    free(path);
    return rc;
}

const struct stage stage_report = {
    .name = "report",
    .summary = "make report.html of a finished run again, from its files",
    .example = "rlaif report --run_dir runs/lab-tldr",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_report,
};
