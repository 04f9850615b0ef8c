/* recipe/hybrid.h - what the files of `rlaif hybrid` share. */
#ifndef RECIPE_HYBRID_H
#define RECIPE_HYBRID_H

#include "eval/eval.h"
#include "feedback/feedback.h"

/* Fills result with each stage's figures: what was counted, and, where rows have truth columns,
 * how often it was right. */
int hybrid_figures(json_t *result, const struct hybrid_set *s, uint64_t seed,
                   struct err *err) MUST_CHECK;

#endif
