/* objective/objective.h - losses over the log-probabilities of chosen tokens, and the numbers
 * they need.
 *
 * An objective sees numbers, never a model.  It reads how likely each token was (or what score a
 * head gave) and writes how the loss would change if that number were a little larger.  It
 * allocates nothing, prints nothing and keeps nothing, so each one is checked by finite
 * differences on a batch small enough to read.
 *
 * Sequences are laid end to end: sequence i owns the tokens start[i] up to start[i+1] of every
 * array.  Only tokens that were chosen are here; prompts are not, and there is no padding.  A
 * sequence without tokens says nothing: it adds nothing to a loss and counts in no denominator.
 *
 * Every loss is divided by a denominator the caller counted over the whole step, all accumulated
 * micro-batches together, so that eight batches of one and one batch of eight have the same
 * gradient. */
#ifndef OBJECTIVE_OBJECTIVE_H
#define OBJECTIVE_OBJECTIVE_H

struct logp_batch {
    int n;              // N sequences
    const int *start;   // (N+1)       first token of each; start[N] is T
    const float *now;   // (T)         log-probs under the policy being trained
    const float *ref;   // (T)         under the frozen reference; NULL if unused
    double denom;       // what losses are divided by, counted over the whole step
};

/* Denominators of one batch; a step adds them up.  Sequences with tokens; pairs (2i, 2i+1) with
 * tokens on both sides. */
int objective_sequences(const int *start, int n);
int objective_pairs(const int *start, int n);

/* ---- supervised: sft.c, reward.c ------------------------------------------------------ */

/* Minus the sum of log-probs over denom (tokens of the whole step: a token mean), and its
 * derivative by them, dlogp (T), which they do not decide: b->now may be NULL there. */
double objective_sft(const struct logp_batch *b);
void objective_sft_slope(float *dlogp, const struct logp_batch *b);

/* Reward modelling: score (2P) holds chosen and rejected side by side, p (P) the probability that
 * the first is the better one (NULL: certainly), margin (P) is subtracted from the difference D
 * (NULL: 0):
 *     p softplus(-D) + (1-p) softplus(D) + center (s_chosen + s_rejected)^2
 * summed over denom (pairs of the step).  d/dD is sigmoid(D) - p: nothing at D = 0 for p = 1/2.
 * Fills dscore (2P). */
double objective_reward(float *dscore, const float *score, const float *p, const float *margin,
                        int pairs, double center, double denom);
/* Entropy of a soft label in nats, 0 to ln 2: the least objective_reward can reach for this pair. */
double objective_label_entropy(double p);
/* p softplus(-d) + (1-p) softplus(d), without overflow anywhere. */
double objective_soft_logistic(double d, double p);
double objective_sigmoid(double x);

/* ---- direct preference optimisation: dpo.c ---------------------------------------------- */

/* Sequences 2i and 2i+1 answer the same prompt, and the first is the better one with probability
 * p[i] (N/2); NULL means certainly.  Returns the sum of the pairs' losses over denom, ln 2 per
 * pair while the policy equals its reference, and fills dlogp (T).  beta > 0; larger holds the
 * policy closer to the reference.  Log-probs are summed over a completion.  Rafailov et al. 2023,
 * eq. 7; soft labels as in reward modelling.  reward (N, NULL allowed) receives the implicit
 * rewards beta (log pi - log ref). */
double objective_dpo(float *dlogp, float *reward, const struct logp_batch *b, const float *p,
                     float beta);

/* ---- policy gradient: policy.c, advantage.c ----------------------------------------------- */

/* REINFORCE: minus the sum of advantage (T) times log-prob over denom (episodes of the step).  No
 * ratio and no clipping: the batch is used once.  Fills dlogp (T) with -advantage/denom. */
double objective_reinforce(float *dlogp, const struct logp_batch *b, const float *advantage);
/* The sum of (value - target)^2 over denom.  Fills dvalue (n). */
double objective_value(float *dvalue, const float *value, const float *target, int n, double denom);
/* How far the policy is from the one that sampled: sums over n tokens of exp(now - old), of its
 * square, and of (now - old)^2 / 2.  The ratio is exactly 1 while nothing was updated. */
struct ratio_sums { double ratio, square, approxkl; };
void objective_ratio(struct ratio_sums *out, const float *now, const float *old, int n);

/* What a score becomes before it is a return: clipped to +-clip (0: not), then less penalty where
 * the completion did not end by itself (ended[i] == 0).  Returns how many were clipped. */
int objective_shape_scores(float *score, const unsigned char *ended, int n, double clip,
                           double penalty);
/* Return of every token, gamma 1, with the KL inside the reward: at token t of sequence i
 *     (1 - beta) score[i] - beta * sum over s >= t of (now[s] - ref[s])
 * Lee et al. 2024, appendix F, read per token: a token is charged only for the divergence that it
 * and its successors cause.  The expected gradient equals that of the sequence's whole return,
 * with less variance. */
void objective_returns(float *ret, const struct logp_batch *b, const float *score, double beta);
/* adv = ret - value. */
void objective_advantage(float *adv, const float *ret, const float *value, int n);
/* In place: mean 0 and deviation 1 (unbiased variance + 1e-8 under the root); keep_mean leaves
 * the mean where it was.  Fewer than two numbers stay as they are. */
void objective_whiten(float *x, int n, int keep_mean);

/* ---- divergence from the reference: kl.c --------------------------------------------------- */

/* Estimators of KL(now | ref) from samples of `now`, d = now - ref (Schulman 2020): k1 = d is
 * unbiased and can be negative; k2 = d^2/2, whose gradient is that of the true KL on policy; k3 =
 * exp(-d) - 1 + d, never negative. d is clamped to +-20 before the exponential. */
enum kl_estimator { KL_K1, KL_K2, KL_K3 };
/* Value per token into k (n), and where dk is not NULL its derivative by now (n).  Returns the
 * sum of k. */
double objective_kl(float *k, float *dk, const float *now, const float *ref, int n,
                    enum kl_estimator which);

#endif
