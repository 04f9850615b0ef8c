/* bench/bench.h - workloads that are timed, and what a share of the machine means.
 *
 * A workload prepares itself once, runs any number of times, and says how many operations (NUMERICS 10: multiply-adds
 * times two, recomputation not counted), bytes of weights and units of work one run is. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "compute/compute.h"
#include "model/model.h"

enum share { SHARE_NONE, SHARE_PEAK, SHARE_BANDWIDTH };

struct work {
    const char *name, *unit;        // "training step 4 x 512", "tokens"
    enum share share;               // of which rate the figure is a share
    double units, operations, bytes;    // of one run
    int (*run)(struct work *w, struct err *err);
    void (*close)(struct work *w);
    void *own;
};

/* The shape of SmolLM2-135M, and of the lab's smaller model. */
struct model_config shape_135m(void);
struct model_config shape_lab(void);

/* Each fills w, or returns an error; a workload that cannot run here (no model file) leaves w->run NULL. */
int work_train(struct work *w, struct device *dev, const char *name, const struct model_config *c, int sequences, int length,
               struct err *err);
/* prompts of `length` tokens whose first `shared` are the same for all; the last token's log-prob is wanted. */
int work_score(struct work *w, struct device *dev, const char *name, const struct model_config *c, int prompts, int length, int shared,
               struct err *err);
int work_rollout(struct work *w, struct device *dev, const char *name, const struct model_config *c, int sequences, int prompt,
                 int new_tokens, struct err *err);
/* A new process of this program that opens a model file and says one token. */
int work_first_token(struct work *w, const char *name, const char *program, const char *path, struct err *err);
int first_token(const char *path);      // what that process does

#endif
