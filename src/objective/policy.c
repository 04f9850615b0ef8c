/* policy.c - REINFORCE and the value function's loss, as in the RLAIF papers.
 *
 * No importance ratio and no clipping: each batch of rollouts is used for one update, where the
 * ratio is 1 by construction.  The ratio is still measured, because anything but exactly 1 there
 * is a bug. */
#include "objective/objective.h"

#include <math.h>

double objective_reinforce(float *dlogp, const struct logp_batch *b, const float *advantage)
{
    double loss = 0;
    for (int t = b->start[0]; t < b->start[b->n]; t++) {
        loss -= (double)advantage[t] * b->now[t];
        dlogp[t] = (float)(-advantage[t] / b->denom);
    }
    return b->denom > 0 ? loss / b->denom : 0;
}

double objective_value(float *dvalue, const float *value, const float *target, int n, double denom)
{
    double loss = 0;
    for (int t = 0; t < n; t++) {
        double miss = (double)value[t] - target[t];
        loss += miss * miss;
        dvalue[t] = (float)(2 * miss / denom);
    }
    return denom > 0 ? loss / denom : 0;
}

void objective_ratio(struct ratio_sums *out, const float *now, const float *old, int n)
{
    *out = (struct ratio_sums){0};
    for (int t = 0; t < n; t++) {
        double d = (double)now[t] - old[t];
        double ratio = exp(fmin(fmax(d, -20), 20));
        out->ratio += ratio;
        out->square += ratio * ratio;
        out->approxkl += 0.5 * d * d;
    }
}
