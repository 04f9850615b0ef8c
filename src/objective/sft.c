/* sft.c - minus the mean log-probability of the tokens to imitate, and the counting of sequences.
 *
 * The mean is over the tokens of the whole step, not a mean of means: with uneven lengths those
 * differ. */
#include "objective/objective.h"

int objective_sequences(const int *start, int n)
{
    int count = 0;
    for (int i = 0; i < n; i++)
        count += start[i + 1] > start[i];
    return count;
}

int objective_pairs(const int *start, int n)
{
    int count = 0;
    for (int i = 0; i + 1 < n; i += 2)
        count += start[i + 1] > start[i] && start[i + 2] > start[i + 1];
    return count;
}

double objective_sft(const struct logp_batch *b)
{
    double sum = 0;
    for (int t = b->start[0]; t < b->start[b->n]; t++)
        sum += b->now[t];
    return b->denom > 0 ? -sum / b->denom : 0;
}

void objective_sft_slope(float *dlogp, const struct logp_batch *b)
{
    for (int t = b->start[0]; t < b->start[b->n]; t++)
        dlogp[t] = (float)(-1.0 / b->denom);
}
