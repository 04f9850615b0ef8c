/* eval/winrate.c - one policy against another: wins, wins at equal length, and the matrix of
 * several. */
#include "eval/eval.h"

#include <math.h>

double outcome_of(double p)
{
    return isnan(p) ? p : p > 0.5 ? 1 : p < 0.5 ? 0 : 0.5;
}

/* ---- length control ------------------------------------------------------------------------ */

/* One Newton step on the penalised log-likelihood of sigmoid(a + b * (q - 1)); returns the size
 * of the step. */
static double newton_step(double *a, double *b, const double *outcome, const double *ratio,
                          const int *index, int n)
{
    const double ridge = 1e-6;      // keeps the step finite when lengths separate wins from losses, or never vary
    double ga = 0, gb = -ridge * *b, haa = ridge, hab = 0, hbb = ridge;
    for (int i = 0; i < n; i++) {
        int k = index ? index[i] : i;
        if (isnan(outcome[k]))
            continue;
        double x = ratio[k] - 1, p = 1 / (1 + exp(-(*a + *b * x))), w = p * (1 - p);
        ga += outcome[k] - p;
        gb += (outcome[k] - p) * x;
        haa += w;
        hab += w * x;
        hbb += w * x * x;
    }
    double det = haa * hbb - hab * hab;
    double da = (hbb * ga - hab * gb) / det, db = (haa * gb - hab * ga) / det;
    // Far from the solution a full step can overshoot: the likelihood is flat out there.
    double most = fmax(fabs(da), fabs(db)), scale = most > 4 ? 4 / most : 1;
    *a += scale * da;
    *b += scale * db;
    return most;
}

double length_controlled(const double *outcome, const double *ratio, const int *index, int n)
{
    double a = 0, b = 0;
    int known = 0;
    for (int i = 0; i < n; i++)
        known += !isnan(outcome[index ? index[i] : i]);
    if (!known)
        return NAN;
    for (int step = 0; step < 60; step++)
        if (!(newton_step(&a, &b, outcome, ratio, index, n) > 1e-10))
            break;
    return 1 / (1 + exp(-a));       // q - 1 is 0 at equal length
}

struct controlled { const double *outcome, *ratio; };

static double controlled_of(const void *arg, const int *index, int n)
{
    const struct controlled *c = arg;
    return length_controlled(c->outcome, c->ratio, index, n);
}

/* ---- two policies ------------------------------------------------------------------------ */

static double length_of(const char *s)
{
    size_t n = strlen(s);
    return n ? (double)n : 1;       // an empty answer has a ratio, too
}

static void count(struct win_rate *w, const double *outcome, const struct match *match, int n)
{
    for (int i = 0; i < n; i++) {
        if (isnan(outcome[i]))
            w->unanswered++;
        else if (outcome[i] > 0.5)
            w->wins++;
        else if (outcome[i] < 0.5)
            w->losses++;
        else
            w->ties++;
        w->length_a += (double)strlen(match[i].a) / n;
        w->length_b += (double)strlen(match[i].b) / n;
    }
}

int win_rate(struct win_rate *out, const double *outcome, const struct match *match, int n,
             uint64_t seed, struct err *err)
{
    *out = (struct win_rate){0};
    double *ratio = mem_alloc((size_t)n, sizeof *ratio);
    if (!ratio)
        return err_set(err, ERR_MEMORY, "no memory for a win rate over %d prompts", n);
    for (int i = 0; i < n; i++)
        ratio[i] = length_of(match[i].a) / length_of(match[i].b);
    count(out, outcome, match, n);
    out->raw = interval_share(outcome, n);
    struct controlled c = {outcome, ratio};
    int rc = interval_bootstrap(&out->length_controlled, controlled_of, &c, n, 1000, seed, err);
    out->length_controlled.n = out->raw.n;
    free(ratio);
    return rc;
}

/* ---- several ----------------------------------------------------------------------------- */

int win_matrix(struct interval *out, const char *const *text, int policies, int n_prompts,
               judge_fn judge, void *arg, struct err *err)
{
    struct match *match = mem_alloc((size_t)n_prompts, sizeof *match);
    double *win = mem_alloc((size_t)n_prompts, sizeof *win);
    int rc = match && win ? 0
                          : err_set(err, ERR_MEMORY, "no memory for a win matrix over %d prompts",
                                    n_prompts);
    for (int a = 0; a < policies && rc == 0; a++) {
        out[a * policies + a] = (struct interval){0.5, 0.5, 0.5, 0};
        for (int b = a + 1; b < policies && rc == 0; b++) {
            for (int i = 0; i < n_prompts; i++)
                match[i] = (struct match){i, text[a * n_prompts + i], text[b * n_prompts + i]};
            rc = judge(arg, win, match, n_prompts, err);
            for (int i = 0; i < n_prompts && rc == 0; i++)
                win[i] = outcome_of(win[i]);
            struct interval w = interval_share(win, rc ? 0 : n_prompts);
            out[a * policies + b] = w;
            out[b * policies + a] = (struct interval){1 - w.mean, 1 - w.high, 1 - w.low, w.n};
        }
    }
    free(match);
    free(win);
    return rc;
}
