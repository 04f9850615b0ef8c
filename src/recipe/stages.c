/* recipe/stages.c - the list of stages, and what they share. */
#include "recipe/recipe.h"

/* In the order of the pipeline: `rlaif help` prints it so. */
static const struct stage *const stages[] = {
    &stage_lab,
    &stage_split,
    &stage_tokenize,
    &stage_template,
    &stage_logprobs,
    &stage_generate,
    &stage_chat,
    &stage_pairs,
    &stage_label,
    &stage_annotate,
    &stage_ensemble,
    &stage_rate,
    &stage_revise,
    &stage_hybrid,
    &stage_redteam,
    &stage_store,
    &stage_convert,
    &stage_sft,
    &stage_reward,
    &stage_dpo,
    &stage_rl,
    &stage_score,
    &stage_eval,
    &stage_compare,
    &stage_judge,
    &stage_inspect,
    &stage_export,
    &stage_families,
    &stage_report,
    &stage_pull,
    &stage_models,
    &stage_audit,
    &stage_cost,
    &stage_bench,
    NULL,
};

const struct stage *const *stage_list(int *n)
{
    *n = (int)ARRAY_LEN(stages) - 1;
    return stages;
}

const struct stage *stage_find(const char *name)
{
    for (int i = 0; stages[i]; i++)
        if (!strcmp(stages[i]->name, name))
            return stages[i];
    return NULL;
}

void print_nothing(const json_t *result, FILE *to)
{
}

int run_device(struct run *r, struct device **out, struct err *err)
{
    int rc = r->device ? 0 : device_open(&r->device, NULL, r->threads, err);
    if (rc == 0)
        *out = r->device;
    return rc;
}
