/* eval/intervals.c - how sure one can be of a share or a mean. */
#include "eval/eval.h"

#include <math.h>

#define Z95 1.959963984540054   // the normal distribution's 97.5 % point

struct interval interval_wilson(double wins, int n)
{
    if (n <= 0)
        return (struct interval){NAN, NAN, NAN, 0};
    double p = wins / n, z2 = Z95 * Z95 / n;
    double middle = (p + z2 / 2) / (1 + z2);
    double half = Z95 / (1 + z2) * sqrt(p * (1 - p) / n + z2 / (4 * n));
    return (struct interval){p, fmax(0, middle - half), fmin(1, middle + half), n};
}

struct interval interval_share(const double *outcome, int n)
{
    double wins = 0;
    int known = 0;
    for (int i = 0; i < n; i++)
        if (!isnan(outcome[i])) {
            wins += outcome[i];
            known++;
        }
    return interval_wilson(wins, known);
}

bool interval_excludes(const struct interval *i, double x)
{
    return i->n > 0 && (x < i->low || x > i->high);
}

/* ---- bootstrap ----------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Linear interpolation between order statistics. */
static double quantile(const double *sorted, int n, double q)
{
    double at = q * (n - 1);
    int i = (int)at;
    return i + 1 < n ? sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

int interval_bootstrap(struct interval *out, statistic stat, const void *arg, int n, int resamples,
                       uint64_t seed, struct err *err)
{
    *out = (struct interval){NAN, NAN, NAN, 0};
    if (n <= 0)
        return 0;
    int *index = mem_alloc((size_t)n, sizeof *index);
    double *value = mem_alloc((size_t)resamples, sizeof *value);
    if (!index || !value) {
        free(index);
        free(value);
        return err_set(err, ERR_MEMORY, "no memory for a bootstrap of %d items", n);
    }
    for (int i = 0; i < n; i++)
        index[i] = i;
    *out = (struct interval){stat(arg, index, n), NAN, NAN, n};
    int known = 0;
    for (int r = 0; r < resamples; r++) {
        struct rng rng;
        rng_init(&rng, seed, RNG_BOOTSTRAP, (uint64_t)r, 0);
        for (int i = 0; i < n; i++)
            index[i] = (int)rng_below(&rng, (uint32_t)n);
        double v = stat(arg, index, n);
        if (!isnan(v))
            value[known++] = v;
    }
    if (known) {
        qsort(value, (size_t)known, sizeof *value, by_value);
        out->low = quantile(value, known, 0.025);
        out->high = quantile(value, known, 0.975);
    }
    free(index);
    free(value);
    return 0;
}

static double mean_of(const void *arg, const int *index, int n)
{
    const double *value = arg;
    double sum = 0;
    int known = 0;
    for (int i = 0; i < n; i++)
        if (!isnan(value[index[i]])) {
            sum += value[index[i]];
            known++;
        }
    return known ? sum / known : NAN;
}

int interval_mean(struct interval *out, const double *value, int n, uint64_t seed, struct err *err)
{
    int rc = interval_bootstrap(out, mean_of, value, n, 2000, seed, err);
    int known = 0;
    for (int i = 0; i < n; i++)
        known += !isnan(value[i]);
    out->n = known;
    return rc;
}

/* ---- the exact test ---------------------------------------------------------------------- */

static double log_choose(int n, int k)
{
    return lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0);
}

double binomial_test(int k, int n, double p)
{
    if (n <= 0)
        return 1;
    double here = log_choose(n, k) + k * log(p) + (n - k) * log1p(-p), sum = 0;
    for (int i = 0; i <= n; i++) {
        double l = log_choose(n, i) + i * log(p) + (n - i) * log1p(-p);
        if (l <= here + 1e-7)   // as likely as what was seen, or less; rounding must not split equals
            sum += exp(l);
    }
    return fmin(1, sum);
}
