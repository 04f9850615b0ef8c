/* recipe/evaluating.c - what `rlaif eval` and `rlaif compare` share: opening the models they
 * name, and how these speak. */
#include "recipe/evaluating.h"

int eval_model(struct model **m, struct device *dev, const json_t *opt, const char *option,
               const char *path, bool scalar, struct err *err)
{
    int rc = stage_model(m, dev, opt, path, scalar, false, err);
    if (rc == 0 && scalar && model_head_is_fresh(*m)) {
        model_close(*m);
        *m = NULL;
        rc = err_set(err, ERR_VALUE,
                     "--%s: %s has no scalar head (score.weight): it is no reward model", option,
                     path);
    }
    return rc;
}

int eval_sampling(struct sampling *s, const char *stop[MAX_STOPS], const json_t *opt, int k,
                  struct err *err)
{
    int rc = read_sampling(s, stop, opt, err);
    if (rc == 0 && s->temperature == 0)
        rc = err_set(err, ERR_USAGE, "--temperature is 0, expected more: samples are compared");
    s->seed += (uint64_t)k * 0x9e3779b97f4a7c15u;
    return rc;
}
