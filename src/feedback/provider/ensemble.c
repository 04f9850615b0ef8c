/* provider/ensemble.c - several labels of one pair into one. */
#include "feedback/feedback.h"

#include <math.h>

int ensemble_from_name(enum ensemble_how *out, const char *name, struct err *err)
{
    static const char *const names[] = {"mean", "majority", "weighted"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!strcmp(name, names[i])) {
            *out = (enum ensemble_how)i;
            return 0;
        }
    }
    return err_set(err, ERR_USAGE, "ensemble is %s; expected mean, majority or weighted", name);
}

static bool answered(const struct label *l)
{
    return l && l->state == LABEL_ANSWERED;
}

static double vote(const struct label *l)
{
    return l->p > 0.5 ? 1 : l->p < 0.5 ? -1 : 0;
}

/* One half is added to hits and to misses: nobody is infallible by twenty rows, and who is
 * right as often as wrong has no weight. */
double ensemble_weight(double hits, int rows)
{
    return log((hits + 0.5) / (rows - hits + 0.5));
}

void ensemble_label(struct label *out, const struct label *const *by, const double *weight,
                    int n, enum ensemble_how how)
{
    double sum = 0, mass = 0;
    int k = 0;
    for (int i = 0; i < n; i++) {
        if (!answered(by[i]))
            continue;
        sum += how == ENSEMBLE_MEAN       ? by[i]->p
               : how == ENSEMBLE_MAJORITY ? 0.5 + 0.5 * vote(by[i])
                                          : weight[i] * vote(by[i]);
        mass += by[i]->mass;
        k++;
    }
    double p = how == ENSEMBLE_WEIGHTED ? 1 / (1 + exp(-sum)) : k ? sum / k : 0.5;
    *out = (struct label){.p = p,
                          .order = {p, p},
                          .mass = k ? mass / k : 0,
                          .state = k ? LABEL_ANSWERED : LABEL_NO_ANSWER};
}
