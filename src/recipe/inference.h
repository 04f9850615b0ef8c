/* recipe/inference.h - what the stages share that only use a model: generate, logprobs, score. */
#ifndef RECIPE_INFERENCE_H
#define RECIPE_INFERENCE_H

#include "data/data.h"
#include "model/model.h"
#include "recipe/training.h"

enum { MAX_STOPS = 32 };

/* A whole number of at least 1 (and at most 2^24). */
int option_positive(const json_t *opt, const char *name, int *out, struct err *err);
/* Sampling as a stage's options say it: max_new_tokens, temperature, seed and, where its table
 * has them, top_k, top_p and stop, whose strings are borrowed from opt. */
int read_sampling(struct sampling *s, const char *stop[MAX_STOPS], const json_t *opt,
                  struct err *err);


/* What a planned stage can choose so that it fits --memory (bytes; 0: anything fits): rows, tokens of a step, down to
 * least_rows; cache, tokens whose keys and values stay, from what it is at most (0: there is none) down to least_cache.
 * `try` takes all memory as the stage would with these sizes, cache 0 meaning as it is without --memory, and gives it back. */
struct fit {
    const char *what;           // "labelling": for the sentence where nothing fits
    int rows, least_rows, cache, least_cache;
    int (*try)(void *arg, int rows, int cache, struct err *err);
    void *arg;
};
/* On a planning device: the largest sizes that fit, into f, whose memory then counts as taken; ERR_MEMORY where none do. */
int memory_fit(struct fit *f, struct device *dev, const json_t *opt, struct err *err) MUST_CHECK;
#define INFERENCE_MEMORY_OPTION(what) { "memory", OPT_STRING, NULL, "such as 8G: " what " are chosen to fit", NULL, false }

#endif
