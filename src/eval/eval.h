/* eval/eval.h - how good is a labeler, a reward model, a policy; each figure with an interval.
 *
 * Statistics take plain arrays and know no files: an outcome is 1 for a win, 0 for a loss, 1/2
 * for a tie, and NaN for "no answer", which is left out and counted.  Who judges is a callback (a
 * model through `feedback`, the lab's annotators plugged in by `recipe`, a script in a test).
 *
 * Intervals are two-sided 95 %: Wilson's for shares, the percentile bootstrap over prompts for
 * everything else. */
#ifndef EVAL_EVAL_H
#define EVAL_EVAL_H

#include "base/base.h"
#include "feedback/feedback.h"
#include "model/model.h"

/* ---- intervals -------------------------------------------------------------------------- */

struct interval { double mean, low, high; int n; };    // n 0: no data, the others NaN
/* Wilson 1927: wins of n; wins may hold halves (ties).  Never empty, even at 0 or n wins. */
struct interval interval_wilson(double wins, int n);
/* Of the outcomes that are not NaN: Wilson. */
struct interval interval_share(const double *outcome, int n);
/* Percentile bootstrap (Efron 1979) of a statistic of a resample of 0..n-1; index lists n items
 * with repetition.  A resample whose statistic is NaN is left out.  Same seed, same interval. */
typedef double (*statistic)(const void *arg, const int *index, int n);
int interval_bootstrap(struct interval *out, statistic stat, const void *arg, int n, int resamples,
                       uint64_t seed, struct err *err) MUST_CHECK;
/* The mean of values that are not NaN, bootstrapped. */
int interval_mean(struct interval *out, const double *value, int n, uint64_t seed,
                  struct err *err) MUST_CHECK;
/* Two-sided exact test of k out of n against a share p: the probability of outcomes no likelier
 * than k. */
double binomial_test(int k, int n, double p);
bool interval_excludes(const struct interval *i, double x);

/* ---- labels against people ------------------------------------------------------------------ */

/* 1 where p and the person (1: first, 2: second) agree, 1/2 where p is exactly even, NaN where
 * nobody was asked. */
double agreement(double p_first, int human);

/* How often both orders named the same slot.  Unanswered labels are left out. */
struct slot_bias {
    struct interval rate;       // same slot, of all answered pairs
    int same, same_first, same_second;
    double first_share;         // of the same-slot pairs, those with slot 1; NaN: none
    double p_value;             // two-sided binomial, first against second
};
struct slot_bias slot_bias(const struct label *label, int n);

/* Entropy of a coin in nats; ln 2 at one half. */
double coin_entropy(double p);
/* ln 2 - coin_entropy: what a reward model can learn at most from a label, in nats. */
double label_information(double p);

/* 1 where the label prefers the shorter text (bytes), 0 the longer, 1/2 for even labels, NaN for
 * equal lengths. */
double prefers_shorter(double p_first, size_t len_first, size_t len_second);
/* Pearson's correlation; NaN without variance.  Of label and length difference, for example. */
double correlation(const double *x, const double *y, int n);

/* ---- agreement beyond chance, and labelers against each other ---------------------------- */

/* Cohen 1960, of two raters whose answers are 0 .. kinds-1; where either has none (-1) the item
 * is left out.  1: always the same, 0: as chance would have it; NaN where chance alone would
 * always agree. */
double cohen_kappa(const int *a, const int *b, int n, int kinds);
/* Krippendorff's alpha for names: value (raters x n, rater by rater), -1 where a rater gave none. */
double krippendorff_alpha(const int *value, int raters, int n, int kinds);
/* Exact McNemar test of two labelers on the same items: 1 right, 0 wrong; items that either lacks
 * (NaN) are left out, an even label (1/2) tells nothing. */
struct mcnemar { int n, only_a, only_b; double p_value; };
struct mcnemar mcnemar_test(const double *a, const double *b, int n);

/* Lines of a text that begin as a list's items do. */
int list_lines(const char *text);
/* Words that two texts have in common: F1 of the bags of their words, lower case.  NaN for two
 * empty texts. */
double word_overlap(const char *a, const char *b);

/* ---- calibration ------------------------------------------------------------------------- */

/* p[i]: probability that outcome[i] (1 or 0, 1/2 allowed) is 1. */
double brier_score(const double *p, const double *outcome, int n);
double log_loss(const double *p, const double *outcome, int n);    // nats, p clamped to [1e-12, 1 - 1e-12]
struct reliability_bin { double low, high, p, outcome; int n; };    // means of what fell into [low, high)
void reliability(struct reliability_bin *bin, int n_bins, const double *p, const double *outcome,
                 int n);
/* Expected calibration error (Naeini et al. 2015): mean |p - outcome| over bins, weighted. */
double calibration_error(const struct reliability_bin *bin, int n_bins);
/* p at another temperature: sigmoid(logit(p) / t). */
double temper(double p, double t);
/* The temperature in [0.01, 100] with the least log loss (Guo et al. 2017, for two classes); the
 * bound where there is no minimum inside, 1 for no data. */
double fit_temperature(const double *p, const double *outcome, int n);

/* ---- policies against each other --------------------------------------------------------- */

/* One prompt, two texts.  A judge fills win[i] = 1 where a is better, 0, 1/2 or a probability
 * between, NaN for no answer. */
struct match { int prompt; const char *a, *b; };
typedef int (*judge_fn)(void *arg, double *win, const struct match *match, int n, struct err *err);
/* Probabilities as wins: above one half 1, below 0, exactly even 1/2, NaN stays. */
double outcome_of(double p);

/* Probability that A wins at equal length: logistic regression of the outcome on q =
 * len(A)/len(B), by Newton's method with a tiny ridge, read off at q = 1 (Lee et al. 2023,
 * section "Length control"). */
double length_controlled(const double *outcome, const double *ratio, const int *index, int n);

struct win_rate {
    struct interval raw;            // share of wins, ties one half; Wilson
    struct interval length_controlled;  // bootstrapped over prompts
    int wins, ties, losses, unanswered;
    double length_a, length_b;      // mean bytes
};
int win_rate(struct win_rate *out, const double *outcome, const struct match *match, int n,
             uint64_t seed, struct err *err) MUST_CHECK;
/* All pairs of policies: text[k * n_prompts + i] is what policy k says to prompt i.  out
 * (policies^2): row beats column; the diagonal is one half with n 0. */
int win_matrix(struct interval *out, const char *const *text, int policies, int n_prompts,
               judge_fn judge, void *arg, struct err *err) MUST_CHECK;

/* A labeler as a judge: both orders, through the store.  prompt[match.prompt] is the prompt's text. */
struct model_judge { const struct labeler *labeler; const char *const *prompt; struct label_counts counts; int asked; };  // asked: matches
int model_judge(void *arg, double *win, const struct match *match, int n, struct err *err);

/* A row of AlpacaEval's leaderboard from preferences (1 baseline, 2 model, 1.5 or 0 a draw,
 * fractions where weighted, NaN not parsed and left out).  win_rate and standard_error (n - 1 in
 * the variance) in per cent; discrete: halves for draws. */
struct leaderboard_row {
    double win_rate, standard_error, discrete_win_rate;
    int n_wins, n_wins_base, n_draws, n_total;
};
struct leaderboard_row leaderboard(const double *preference, int n);

/* ---- drift from the reference ------------------------------------------------------------ */

/* Sum of the completion's log-probs under m for each sequence, at a sampling temperature.  KL in
 * nats per sequence is the mean over the policy's own samples of sum log pi - sum log ref (k1). */
struct sequence { const int *prompt; int n_prompt; const int *completion; int n_completion; };
int sequence_logp(double *sum, const struct model *m, const struct sequence *seq, int n,
                  float temperature, int batch_tokens, struct err *err) MUST_CHECK;

#endif
