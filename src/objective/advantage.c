/* advantage.c - from scores of whole completions to a number per token.
 *
 * Order matters: scores are clipped, then penalised for not ending, then turned into returns with
 * the KL inside, then the baseline is taken away.  What is left out: bootstrapping (the papers
 * use Monte Carlo returns), and group baselines. */
#include "objective/objective.h"

#include <math.h>

int objective_shape_scores(float *score, const unsigned char *ended, int n, double clip,
                           double penalty)
{
    int clipped = 0;
    for (int i = 0; i < n; i++) {
        if (clip > 0 && fabs(score[i]) > clip) {
            score[i] = (float)copysign(clip, score[i]);
            clipped++;
        }
        if (!ended[i])
            score[i] = (float)(score[i] - penalty);
    }
    return clipped;
}

void objective_returns(float *ret, const struct logp_batch *b, const float *score, double beta)
{
    for (int i = 0; i < b->n; i++) {
        double kl = 0;      // of this token and all after it
        for (int t = b->start[i + 1] - 1; t >= b->start[i]; t--) {
            kl += (double)b->now[t] - b->ref[t];
            ret[t] = (float)((1 - beta) * score[i] - beta * kl);
        }
    }
}

void objective_advantage(float *adv, const float *ret, const float *value, int n)
{
    for (int t = 0; t < n; t++)
        adv[t] = ret[t] - value[t];
}

void objective_whiten(float *x, int n, int keep_mean)
{
    if (n < 2)
        return;
    double mean = 0, square = 0;
    for (int t = 0; t < n; t++)
        mean += x[t];
    mean /= n;
    for (int t = 0; t < n; t++)
        square += (x[t] - mean) * (x[t] - mean);
    double scale = 1 / sqrt(square / (n - 1) + 1e-8);
    for (int t = 0; t < n; t++)
        x[t] = (float)((x[t] - mean) * scale + (keep_mean ? mean : 0));
}
