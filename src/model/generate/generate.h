/* model/generate/generate.h - what the files of this folder offer each other. */
#ifndef MODEL_GENERATE_GENERATE_H
#define MODEL_GENERATE_GENERATE_H

#include "model/internal.h"

/* One token from logits (V): temperature, then top-k, then top-p, as transformers orders them.  u in [0,1) decides; p and
 * work are scratch of V floats each.  temperature 0: the first of the largest. */
int sample_token(const float *logits, int V, const struct sampling *s, double u, float *p, float *work);

/* Tokens after hidden states, many at a time: memory for it, and the result of the last draw. */
struct sampler {
    const struct model *m;
    float *logits, *p, *work;   // (size,V), (workers,V), (workers,V)
    int workers;                // rows are drawn by so many at a time
    const struct draw *draw;    // (n) while drawing
    int n;
    struct tensor input;        // (size,C+r) where an adapter is on the head
    int *row;                   // (size)
    int *token;                 // (size) drawn
    float *logp;                // (size) of each at the sampling temperature, unfiltered; of greedy ones at temperature 1
};
enum { SAMPLER_WORKERS = 8 };   // at most
int sampler_init(struct sampler *a, const struct model *m, int size, struct err *err) MUST_CHECK;
void sampler_release(struct sampler *a);
/* What a token's random number is keyed by, beside the seed: the prompt's item, which sample of it, how many tokens before it;
 * and how it is drawn. */
struct draw { uint64_t item; int sample; uint32_t position; const struct sampling *s; };
void sampler_draw(struct sampler *a, const struct tensor *hidden, const struct draw *draw, int n);

/* Whether this can be asked of the model at all. */
int generate_check(const struct model *m, const struct prompt_ids *prompt, int n, int per_prompt, const struct sampling *s,
                   int batch, struct err *err);
int generate_check_ids(const struct model *m, const int *id, int n, struct err *err);     // a prompt of tokens of the vocabulary
/* Whether token id ends a completion: an EOS (unless ignored), or one of the sampling's own. */
bool generate_ends(const struct model *m, const struct sampling *s, int id);

/* Where a stop string ends a text: offset of the first one found at or after from, -1 when none is there. */
long stop_find(const char *text, size_t n, size_t from, const struct sampling *s);
size_t stop_longest(const struct sampling *s);

#endif
