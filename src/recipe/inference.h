/* recipe/inference.h - what the stages share that only use a model: generate, logprobs, score. */
#ifndef RECIPE_INFERENCE_H
#define RECIPE_INFERENCE_H

#include "data/data.h"
#include "recipe/training.h"

/* A whole number of at least 1 (and at most 2^24). */
int option_positive(const json_t *opt, const char *name, int *out, struct err *err);
/* Rows that could not be used, into rejected.jsonl in the folder of `output`. */
int write_rejected_beside(const struct rows *r, const char *output, struct err *err);

#endif
