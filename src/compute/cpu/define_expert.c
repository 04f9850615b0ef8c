/* compute/cpu/define_expert.c - what the operations of mixtures of experts mean: plain loops, sums in double. */
#include <math.h>

#include "compute/cpu/cpu.h"

/* The likeliest of E experts that is not among the n chosen ones; the lower number where equal. */
static int next_expert(const float *prob, int E, const int *chosen, int n)
{
    int best = -1;
    for (int e = 0; e < E; e++) {
        bool taken = false;
        for (int j = 0; j < n; j++)
            taken = taken || chosen[j] == e;
        if (!taken && (best < 0 || prob[e] > prob[best]))
            best = e;
    }
    return best;
}

void define_route(int *expert, struct tensor *weight, struct tensor *prob, const struct tensor *logits)
{
    int E = logits->cols, k = weight->cols;
    for (int t = 0; t < logits->rows; t++) {
        double max = -INFINITY, sum = 0, chosen = 0;
        float *p = t_f32(prob, t);
        int *mine = expert + (size_t)t * (size_t)k;
        for (int e = 0; e < E; e++)
            max = fmax(max, t_get(logits, t, e));
        for (int e = 0; e < E; e++)
            sum += exp(t_get(logits, t, e) - max);
        for (int e = 0; e < E; e++)
            p[e] = (float)(exp(t_get(logits, t, e) - max) / sum);
        for (int j = 0; j < k; j++) {
            mine[j] = next_expert(p, E, mine, j);
            chosen += p[mine[j]];
        }
        for (int j = 0; j < k; j++)
            t_set(weight, t, j, (float)(p[mine[j]] / chosen));
    }
}

/* With P the probabilities, S the sum of the chosen ones and w_j = P_j / S:
 *     dP_j = (dw_j - sum_i dw_i w_i) / S for the chosen, plus dprob for all;
 *     dlogits_e = P_e (dP_e - sum_f dP_f P_f). */
void define_route_backward(struct tensor *dlogits, const struct tensor *dweight, const float *dprob,
                           const struct tensor *weight, const struct tensor *prob, const int *expert)
{
    int E = prob->cols, k = weight->cols;
    for (int t = 0; t < prob->rows; t++) {
        const float *p = t_f32(prob, t), *w = t_f32(weight, t), *dw = t_f32(dweight, t);
        const int *mine = expert + (size_t)t * (size_t)k;
        double sum = 0, mean = 0, total = 0;
        for (int j = 0; j < k; j++) {
            sum += p[mine[j]];
            mean += (double)dw[j] * w[j];
        }
        for (int e = 0; e < E; e++)
            total += dprob ? (double)dprob[e] * p[e] : 0;
        for (int j = 0; j < k; j++)
            total += p[mine[j]] * (dw[j] - mean) / sum;
        for (int e = 0; e < E; e++) {
            double dp = dprob ? dprob[e] : 0;
            for (int j = 0; j < k; j++)
                dp += mine[j] == e ? (dw[j] - mean) / sum : 0;
            t_set(dlogits, t, e, (float)(p[e] * (dp - total)));
        }
    }
}

void define_combine(struct tensor *dst, const struct tensor *src, const struct tensor *weight, const int *slot, int n)
{
    int k = weight->cols;
    for (int i = 0; i < n; i++)
        for (int c = 0; c < src->cols; c++)
            t_f32(dst, slot[i] / k)[c] += t_get(weight, slot[i] / k, slot[i] % k) * t_get(src, i, c);
}

void define_combine_backward(struct tensor *dsrc, struct tensor *dweight, const struct tensor *ddst,
                             const struct tensor *src, const struct tensor *weight, const int *slot, int n)
{
    int k = weight->cols;
    for (int i = 0; i < n; i++) {
        int t = slot[i] / k, j = slot[i] % k;
        double sum = 0;
        for (int c = 0; c < src->cols; c++) {
            sum += (double)t_get(ddst, t, c) * t_get(src, i, c);
            t_set(dsrc, i, c, t_get(weight, t, j) * t_get(ddst, t, c));
        }
        t_set(dweight, t, j, (float)sum);
    }
}

void define_column_sums(double *sums, const struct tensor *t)
{
    for (int r = 0; r < t->rows; r++)
        for (int c = 0; c < t->cols; c++)
            sums[c] += t_get(t, r, c);
}
