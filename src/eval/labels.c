/* eval/labels.c - labels beside people's choices: agreement, leaning to a slot, leaning to a
 * length. */
#include "eval/eval.h"

#include <math.h>

double agreement(double p_first, int human)
{
    if (human != 1 && human != 2)
        return NAN;
    if (p_first == 0.5)
        return 0.5;
    return (p_first > 0.5) == (human == 1);
}

struct slot_bias slot_bias(const struct label *label, int n)
{
    struct slot_bias b = {0};
    int answered = 0;
    for (int i = 0; i < n; i++) {
        if (label[i].state != LABEL_ANSWERED)
            continue;
        answered++;
        b.same += label[i].same_slot;
        b.same_first += label[i].same_slot && label[i].slot[0] == 1;
        b.same_second += label[i].same_slot && label[i].slot[0] == 2;
    }
    b.rate = interval_wilson(b.same, answered);
    b.first_share = b.same ? (double)b.same_first / b.same : NAN;
    b.p_value = binomial_test(b.same_first, b.same, 0.5);
    return b;
}

double coin_entropy(double p)
{
    if (!(p > 0) || !(p < 1))
        return 0;
    return -p * log(p) - (1 - p) * log1p(-p);
}

double label_information(double p)
{
    return M_LN2 - coin_entropy(p);
}

double prefers_shorter(double p_first, size_t len_first, size_t len_second)
{
    if (len_first == len_second)
        return NAN;
    return agreement(p_first, len_first < len_second ? 1 : 2);
}

double correlation(const double *x, const double *y, int n)
{
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
    for (int i = 0; i < n; i++) {
        mx += x[i] / n;
        my += y[i] / n;
    }
    for (int i = 0; i < n; i++) {
        double a = x[i] - mx, b = y[i] - my;
        xx += a * a;
        yy += b * b;
        xy += a * b;
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : NAN;
}
