/* eval/agreement.c - how far labelers agree beyond chance, and whether one is better than another
 * on the same pairs. */
#include "eval/eval.h"

#include <math.h>

double cohen_kappa(const int *a, const int *b, int n, int kinds)
{
    double same = 0, all = 0, by_chance = 0;
    for (int i = 0; i < n; i++)
        if (a[i] >= 0 && b[i] >= 0) {
            all++;
            same += a[i] == b[i];
        }
    for (int k = 0; k < kinds && all > 0; k++) {
        double in_a = 0, in_b = 0;
        for (int i = 0; i < n; i++)
            if (a[i] >= 0 && b[i] >= 0) {
                in_a += a[i] == k;
                in_b += b[i] == k;
            }
        by_chance += in_a / all * (in_b / all);
    }
    return all > 0 && by_chance < 1 ? (same / all - by_chance) / (1 - by_chance) : NAN;
}

/* Observed against expected disagreement, both over the coincidences of values within units
 * (Krippendorff 2011): a unit with m values gives each ordered pair of them the weight 1 / (m -
 * 1). */
double krippendorff_alpha(const int *value, int raters, int n, int kinds)
{
    double total = 0, disagree = 0, expected = 0;
    double *count = mem_alloc((size_t)kinds + 1, sizeof *count);
    if (!count)
        return NAN;
    for (int u = 0; u < n; u++) {
        int m = 0;
        double differ = 0;
        for (int r = 0; r < raters; r++)
            m += value[r * n + u] >= 0;
        if (m < 2)
            continue;
        for (int r = 0; r < raters; r++) {
            int v = value[r * n + u];
            if (v < 0)
                continue;
            count[v]++;
            for (int s = 0; s < raters; s++)
                differ += value[s * n + u] >= 0 && value[s * n + u] != v;
        }
        disagree += differ / (m - 1);
        total += m;
    }
    for (int k = 0; k < kinds; k++)
        expected += count[k] * (total - count[k]);
    free(count);
    return expected > 0 ? 1 - (total - 1) * disagree / expected : NAN;
}

struct mcnemar mcnemar_test(const double *a, const double *b, int n)
{
    struct mcnemar t = {0};
    for (int i = 0; i < n; i++) {
        if (isnan(a[i]) || isnan(b[i]))
            continue;
        t.n++;
        t.only_a += a[i] > 0.5 && b[i] < 0.5;
        t.only_b += b[i] > 0.5 && a[i] < 0.5;
    }
    t.p_value = t.only_a + t.only_b ? binomial_test(t.only_a, t.only_a + t.only_b, 0.5) : 1;
    return t;
}
