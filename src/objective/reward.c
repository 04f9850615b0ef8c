/* reward.c - the Bradley-Terry loss with soft labels, in the form that cannot overflow.
 *
 * -log sigmoid(D) is softplus(-D); a label p mixes it with softplus(D).  Both come from one log1p
 * of exp(-|D|), so scores of any size are safe. */
#include "objective/objective.h"

#include <math.h>

double objective_sigmoid(double x)
{
    double e = exp(-fabs(x));
    return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}

double objective_soft_logistic(double d, double p)
{
    double tail = log1p(exp(-fabs(d)));     // softplus(-|d|)
    double win = tail + (d < 0 ? -d : 0);   // softplus(-d)
    double lose = tail + (d > 0 ? d : 0);   // softplus(d)
    // 0 * infinity would be NaN where a hard label meets an infinite score of the other side.
    return (p > 0 ? p * win : 0) + (p < 1 ? (1 - p) * lose : 0);
}

double objective_label_entropy(double p)
{
    return (p > 0 ? -p * log(p) : 0) + (p < 1 ? -(1 - p) * log1p(-p) : 0);
}

double objective_reward(float *dscore, const float *score, const float *p, const float *margin,
                        int pairs, double center, double denom)
{
    double loss = 0;
    for (int i = 0; i < pairs; i++) {
        double d = (double)score[2 * i] - score[2 * i + 1] - (margin ? margin[i] : 0);
        double sum = (double)score[2 * i] + score[2 * i + 1];
        double label = p ? p[i] : 1;
        double slope = objective_sigmoid(d) - label;
        loss += objective_soft_logistic(d, label) + center * sum * sum;
        dscore[2 * i] = (float)((slope + 2 * center * sum) / denom);
        dscore[2 * i + 1] = (float)((-slope + 2 * center * sum) / denom);
    }
    return denom > 0 ? loss / denom : 0;
}
