/* kl.c - three estimators of the divergence from the reference, and their slopes.
 *
 * Inside a reward the value counts and k1 is right.  As a loss the slope counts: only k2's
 * equals, on average over the policy's own samples, the gradient of the KL divergence. */
#include "objective/objective.h"

#include <math.h>

double objective_kl(float *k, float *dk, const float *now, const float *ref, int n,
                    enum kl_estimator which)
{
    double sum = 0;
    for (int t = 0; t < n; t++) {
        double d = (double)now[t] - ref[t], value = d, slope = 1;
        if (which == KL_K2) {
            value = 0.5 * d * d;
            slope = d;
        } else if (which == KL_K3) {
            d = fmin(fmax(d, -20), 20);
            value = expm1(-d) + d;      // expm1 keeps the small differences that exp - 1 loses
            slope = -expm1(-d);
        }
        k[t] = (float)value;
        if (dk)
            dk[t] = (float)slope;
        sum += value;
    }
    return sum;
}
