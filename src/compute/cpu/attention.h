/* compute/cpu/attention.h - what the attention files of this folder say to each other.
 *
 * The plain versions are the definition: any head size, fp32 arithmetic, one query at a time. */
#ifndef COMPUTE_CPU_ATTENTION_H
#define COMPUTE_CPU_ATTENTION_H

#include "compute/compute.h"

void attention_plain(struct tensor *out, struct tensor *lse, const struct tensor *q, const struct tensor *k,
                     const struct tensor *v, const struct attention *a);
void attention_plain_backward(struct tensor *dq, struct tensor *dk, struct tensor *dv, const struct tensor *dout,
                              const struct tensor *out, const struct tensor *lse, const struct tensor *q,
                              const struct tensor *k, const struct tensor *v, const struct attention *a);

#endif
