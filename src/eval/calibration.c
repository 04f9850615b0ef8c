/* eval/calibration.c - whether a probability means what it says, and a temperature that makes it
 * so. */
#include "eval/eval.h"

#include <math.h>

double brier_score(const double *p, const double *outcome, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (p[i] - outcome[i]) * (p[i] - outcome[i]);
    return n ? sum / n : NAN;
}

static double clamp(double p)
{
    return fmin(fmax(p, 1e-12), 1 - 1e-12);
}

double log_loss(const double *p, const double *outcome, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum -= outcome[i] * log(clamp(p[i])) + (1 - outcome[i]) * log1p(-clamp(p[i]));
    return n ? sum / n : NAN;
}

void reliability(struct reliability_bin *bin, int n_bins, const double *p, const double *outcome,
                 int n)
{
    for (int b = 0; b < n_bins; b++)
        bin[b] = (struct reliability_bin){(double)b / n_bins, (double)(b + 1) / n_bins, 0, 0, 0};
    for (int i = 0; i < n; i++) {
        int b = (int)(p[i] * n_bins);
        b = b < 0 ? 0 : b >= n_bins ? n_bins - 1 : b;
        bin[b].p += p[i];
        bin[b].outcome += outcome[i];
        bin[b].n++;
    }
    for (int b = 0; b < n_bins; b++)
        if (bin[b].n) {
            bin[b].p /= bin[b].n;
            bin[b].outcome /= bin[b].n;
        }
}

double calibration_error(const struct reliability_bin *bin, int n_bins)
{
    double sum = 0;
    int n = 0;
    for (int b = 0; b < n_bins; b++) {
        sum += bin[b].n * fabs(bin[b].p - bin[b].outcome);
        n += bin[b].n;
    }
    return n ? sum / n : NAN;
}

double temper(double p, double t)
{
    p = clamp(p);
    return 1 / (1 + exp(-(log(p) - log1p(-p)) / t));
}

/* Log loss at inverse temperature s, which is convex in s. */
static double loss_at(const double *p, const double *outcome, int n, double s)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        double q = clamp(p[i]), z = s * (log(q) - log1p(-q));
        // softplus(z) - outcome * z, without overflow
        sum += fmax(z, 0) + log1p(exp(-fabs(z))) - outcome[i] * z;
    }
    return sum;
}

double fit_temperature(const double *p, const double *outcome, int n)
{
    if (n == 0)
        return 1;
    // Golden section on the log of the inverse temperature: monotone in it, so the one minimum stays one.
    const double shrink = 0.6180339887498949;
    double low = log(0.01), high = log(100.0);
    double a = high - shrink * (high - low), b = low + shrink * (high - low);
    double fa = loss_at(p, outcome, n, exp(a)), fb = loss_at(p, outcome, n, exp(b));
    while (high - low > 1e-9) {
        if (fa <= fb) {
            high = b, b = a, fb = fa;
            a = high - shrink * (high - low);
            fa = loss_at(p, outcome, n, exp(a));
        } else {
            low = a, a = b, fa = fb;
            b = low + shrink * (high - low);
            fb = loss_at(p, outcome, n, exp(b));
        }
    }
    return exp(-(low + high) / 2);
}
