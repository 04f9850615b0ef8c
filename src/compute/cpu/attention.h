/* compute/cpu/attention.h - what the attention files of this folder say to each other.
 *
 * attention_plain.c   the definition: any head size, one query at a time
 * attention_body.h    the fast version, compiled once per instruction set by the attention_<set>.c files
 * attention_vec.h     the few vector operations it is written in
 * attention.c         which of them runs, and how the work is divided among threads
 *
 * The fast version works on tasks that one thread carries out alone.  What a task computes for a query row
 * does not depend on how the work was cut into tasks: keys are visited in blocks of ATTENTION_BLOCK absolute
 * positions and every sum over keys or head dimensions is one chain in ascending order. */
#ifndef COMPUTE_CPU_ATTENTION_H
#define COMPUTE_CPU_ATTENTION_H

#include "compute/compute.h"

enum {
    ATTENTION_BLOCK = 64,       // keys per block; part of the result, so never tuned
    ATTENTION_ROWS = 64,        // query rows (queries x heads of a group) worked on at a time
    ATTENTION_FEW = 12,
    ATTENTION_MAX_HEAD = 256,   // widest head the fast versions take
};

struct attention_call {
    struct tensor *out, *lse, *dq, *dk, *dv;    // out and lse: written forward, read backward
    const struct tensor *q, *k, *v, *dout;
    const struct attention *a;
};

/* What one thread does alone: queries start..end-1 of a run, for the heads that share key/value head kv.  kv -1: for all heads, of
 * so few queries that they make at most ATTENTION_FEW rows per key/value head; and then `runs` may be more than one, in
 * consecutive rows, one query each, whose first `shared` blocks of keys are the same rows: sequences that begin alike. */
struct attention_task { const struct attn_run *run; int start, end, kv, runs, shared; };

struct attention_kernel {
    const char *name;
    int pair;           // head dimensions in one 32-bit unit: 2 where bf16 is multiplied in hardware
    void (*forward)(const struct attention_call *c, const struct attention_task *t, void *scratch);
    /* Runs first..last-1 of one tree, in order, for the heads that share kv. */
    void (*backward)(const struct attention_call *c, int first, int last, int kv, void *scratch);
};
extern const struct attention_kernel attention_base, attention_avx2, attention_avx512, attention_avx512bf16;

/* The kernels this machine can run, best first, ended by NULL. */
const struct attention_kernel *const *attention_kernels(void);
/* Best kernel for the call, or NULL where only the plain loops will do. */
const struct attention_kernel *attention_choose(const struct attention_call *c);
bool attention_fits(const struct attention_kernel *kernel, const struct attention_call *c);
/* The same with a kernel of the caller's choice: for tests. */
void attention_forward_with(const struct attention_kernel *kernel, const struct attention_call *c, int threads);
void attention_backward_with(const struct attention_kernel *kernel, const struct attention_call *c, int threads);

/* Queries worked on together: a power of two, so that a tile never crosses a block of keys. */
static inline int attention_tile(const struct attention *a)
{
    int group = a->heads / a->kv_heads, n = ATTENTION_BLOCK;
    while (n > 1 && n * group > ATTENTION_ROWS)
        n /= 2;
    return n;
}

void attention_plain(struct tensor *out, struct tensor *lse, const struct tensor *q, const struct tensor *k,
                     const struct tensor *v, const struct attention *a);
void attention_plain_backward(struct tensor *dq, struct tensor *dk, struct tensor *dv, const struct tensor *dout,
                              const struct tensor *out, const struct tensor *lse, const struct tensor *q,
                              const struct tensor *k, const struct tensor *v, const struct attention *a);

#endif
