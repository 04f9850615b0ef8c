/* recipe/evaluating.h - the parts of `rlaif eval`: labels and reward models on pairs, a policy
 * against its baseline. */
#ifndef RECIPE_EVALUATING_H
#define RECIPE_EVALUATING_H

#include "data/data.h"
#include "lab/lab.h"
#include "recipe/inference.h"
#include "recipe/labeling.h"

/* Pairs and who is right about them, whatever file they came from. */
struct judged {
    struct rows rows;
    struct candidate_list list;     // where the file held candidates
    struct candidates *pair;        // (n) human filled in by annotators where there is a truth
    struct label *label;            // (n) NULL: the file held no labels
    bool *confident;                // (n) annotators were
    double *votes;                  // (n) share of pairs of annotators that agreed; NaN: no truth
    int n;
    struct arena arena;
};
int judged_labels(struct judged *j, const char *path, const struct lab_truth *truth, uint64_t seed,
                  struct err *err);
int judged_pairs(struct judged *j, const char *path, const struct lab_truth *truth, uint64_t seed,
                 struct err *err);
void judged_release(struct judged *j);

/* Figures labeler_*, annotators_agreement, reliability.  calibration NULL: no temperature. */
int eval_labeler(json_t *result, const struct judged *j, const struct judged *calibration,
                 uint64_t seed, struct err *err);
/* Figures NAME_pairs, NAME_accuracy, NAME_ties of a reward model on the pairs that people compared. */
int eval_reward(json_t *result, const char *name, const struct judged *j, const struct model *m,
                struct err *err);

/* The model at `path`, which --option names, as the stage's --dtype wants it.  scalar: a reward
 * model, and refused where it is none. */
int eval_model(struct model **m, struct device *dev, const json_t *opt, const char *option,
               const char *path, bool scalar, struct err *err);
/* Sampling by the stage's options; above temperature 0, where drift means something.  Speaker k
 * has random numbers of its own: two models that say the same for the same numbers would tie
 * where independent samples do not. */
int eval_sampling(struct sampling *s, const char *stop[MAX_STOPS], const json_t *opt, int k,
                  struct err *err);

/* One prompt, what policy and baseline say to it. */
struct said { char *text; double logp; int tokens; bool ended; };
struct contest {
    struct rows rows;
    struct arena arena;
    struct prompt *prompt;          // (n)
    struct said *policy, *baseline; // (n)
    struct sequence *sampled;       // (n) the policy's samples as ids; completion NULL: not sampled here
    double *kl;                     // (n) NaN: not known
    struct match *match;            // (n)
    char **plain;                   // (n) the prompts as text
    double *win;                    // (n) NaN: nobody judged
    int n;
};
int contest_read(struct contest *c, const char *prompts, int most, struct err *err);
/* Fills `said` by sampling m: one completion per prompt. */
int contest_sample(struct contest *c, struct said *said, const struct model *m,
                   const struct sampling *s, int batch, struct err *err);
/* ... or from a file of rows {"id"?, "prompt", "completion" or "completions"}, matched by id. */
int contest_load(struct contest *c, struct said *said, const char *path, struct err *err);
/* k1 of the policy's samples, against the baseline model, at the sampling temperature. */
int contest_drift(struct contest *c, const struct model *baseline, float temperature,
                  struct err *err);
/* The panel of annotators decides, and the oracle's scores are compared. */
int contest_truth(struct contest *c, json_t *result, const struct lab_truth *truth, uint64_t seed,
                  struct err *err);
int contest_labeler(struct contest *c, const struct labeling *l, struct err *err);
/* NAME, NAME_ci: mean normalised score of the policy less that of the baseline. */
int contest_reward(struct contest *c, json_t *result, const char *name, const struct model *m,
                   uint64_t seed, struct err *err);
int contest_figures(const struct contest *c, json_t *result, uint64_t seed, struct err *err);
/* completions.jsonl (all) and samples.jsonl (what the report shows). */
int contest_write(const struct contest *c, const char *dir, struct err *err);
void contest_release(struct contest *c);

#endif
