/* model/generate/generate.h - what the files of this folder offer each other. */
#ifndef MODEL_GENERATE_GENERATE_H
#define MODEL_GENERATE_GENERATE_H

#include "model/internal.h"

/* One token from logits (V): temperature, then top-k, then top-p, as transformers orders them.  u in [0,1) decides; p and
 * work are scratch of V floats each.  temperature 0: the first of the largest. */
int sample_token(const float *logits, int V, const struct sampling *s, double u, float *p, float *work);

/* Where a stop string ends a text: offset of the first one found at or after from, -1 when none is there. */
long stop_find(const char *text, size_t n, size_t from, const struct sampling *s);
size_t stop_longest(const struct sampling *s);

#endif
