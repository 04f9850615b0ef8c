/* fit.c - what of training can be chosen so that it fits a given memory.
 *
 * On a planning device memory costs nothing, so candidates are simply tried, the fastest first: whole micro-batches with
 * everything kept; smaller ones, which cost little down to some hundred rows; then layers computed again in backward,
 * which costs a third, with micro-batches as large as fit. */
#include "learn/internal.h"

enum { ENOUGH_ROWS = 512 };     // products of so many rows run at full speed

static double part_of(const struct device_use *use, const char *purpose)
{
    for (int i = 0; i < use->n; i++)
        if (!strcmp(use->part[i].purpose, purpose))
            return (double)use->part[i].bytes;
    return 0;
}

int trainer_too_small(const struct trainer *t, double need, const char *what, struct err *err)
{
    struct device_use use;
    struct buf hint = {0};
    const struct model *m = t->net[0].model;
    device_most_used(model_device(m), &use);
    double moments = part_of(&use, "optimiser"), rest = need - moments;
    if (t->o->optim == OPTIM_ADAMW)
        buf_addf(&hint, "; --optim adamw_8bit brings it to %.0f MB", (rest + moments * 0.26) / 1e6);
    if (!model_base(m))
        buf_addf(&hint, "; training an adapter (--use_peft true) to about %.0f MB",
                 (rest - part_of(&use, "gradients") - part_of(&use, "fp32 masters")) / 1e6);
    int rc = err_set(err, ERR_MEMORY, "--memory: %s takes %.0f MB with layers computed again in backward, %.0f MB are allowed%s", what,
                     need / 1e6, t->o->memory_limit / 1e6, hint.s && !hint.failed ? hint.s : "");
    buf_release(&hint);
    return rc;
}

/* Bytes of the whole process with these choices. */
static int try(double *need, struct trainer *t, int tokens, enum keep keep, struct err *err)
{
    struct device *dev = model_device(t->net[0].model);
    trainer_rest(t);
    t->max_tokens = tokens;
    t->keep = keep;
    device_trial(dev, true);
    int rc = trainer_wake(t, err);
    device_trial(dev, false);
    *need = (double)device_used(dev) + (double)device_base(dev);
    return rc;
}

/* Halves the micro-batch from `most` to `least` until it fits. */
static int shrink(double *need, struct trainer *t, int most, int least, enum keep keep, struct err *err)
{
    int tokens = most, rc = try(need, t, tokens, keep, err);
    while (rc == 0 && *need > t->o->memory_limit && tokens > least) {
        tokens = tokens / 2 > least ? tokens / 2 : least;
        rc = try(need, t, tokens, keep, err);
    }
    return rc;
}

int trainer_fit(struct trainer *t, int longest, struct err *err)
{
    char what[64];
    double need = 0;
    int most = t->max_tokens, enough = longest > ENOUGH_ROWS ? longest : ENOUGH_ROWS, rc = 0;
    if (t->keep == KEEP_ALL)
        rc = shrink(&need, t, most, enough < most ? enough : most, KEEP_ALL, err);
    if (rc == 0 && (t->keep == KEEP_INPUTS || need > t->o->memory_limit))
        rc = shrink(&need, t, most, longest, KEEP_INPUTS, err);
    trainer_rest(t);
    snprintf(what, sizeof what, "training on one item of %d tokens", longest);
    if (rc == 0 && need > t->o->memory_limit)
        rc = trainer_too_small(t, need, what, err);
    return rc;
}
