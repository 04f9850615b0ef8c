/* dpo.c - direct preference optimisation with soft labels.
 *
 * The implicit reward of a completion is beta times the log-ratio of policy and reference summed
 * over its tokens; the loss is that of reward modelling on the two implicit rewards. */
#include "objective/objective.h"

/* beta * sum of (now - ref) over sequence i. */
static double implicit_reward(const struct logp_batch *b, int i, float beta)
{
    double sum = 0;
    for (int t = b->start[i]; t < b->start[i + 1]; t++)
        sum += (double)b->now[t] - b->ref[t];
    return beta * sum;
}

static void fill(float *dlogp, const struct logp_batch *b, int i, double slope)
{
    for (int t = b->start[i]; t < b->start[i + 1]; t++)
        dlogp[t] = (float)slope;
}

double objective_dpo(float *dlogp, float *reward, const struct logp_batch *b, const float *p,
                     float beta)
{
    double loss = 0;
    for (int i = 0; i + 1 < b->n; i += 2) {
        int counts = objective_pairs(b->start + i, 2);
        double win = implicit_reward(b, i, beta), lose = implicit_reward(b, i + 1, beta);
        double label = p ? p[i / 2] : 1;
        double slope = counts ? (objective_sigmoid(win - lose) - label) * beta / b->denom : 0;
        if (reward) {
            reward[i] = (float)win;
            reward[i + 1] = (float)lose;
        }
        if (counts)
            loss += objective_soft_logistic(win - lose, label);
        fill(dlogp, b, i, slope);
        fill(dlogp, b, i + 1, -slope);
    }
    return b->denom > 0 ? loss / b->denom : 0;
}
