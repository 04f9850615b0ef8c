/* recipe/inference.h - what the stages share that only use a model: generate, logprobs, score. */
#ifndef RECIPE_INFERENCE_H
#define RECIPE_INFERENCE_H

#include "data/data.h"
#include "model/model.h"
#include "recipe/training.h"

enum { MAX_STOPS = 32 };

/* A whole number of at least 1 (and at most 2^24). */
int option_positive(const json_t *opt, const char *name, int *out, struct err *err);
/* Sampling as a stage's options say it: max_new_tokens, temperature, seed and, where its table has them, top_k, top_p
 * and stop, whose strings are borrowed from opt. */
int read_sampling(struct sampling *s, const char *stop[MAX_STOPS], const json_t *opt, struct err *err);

#endif
