/* compute/cpu/onednn.h - multiplications as units: one thread, a bounded set of shapes, kept for ever.
 *
 * oneDNN would rather be asked for whole products and split them over threads itself.  We ask for pieces (at most
 * a few dozen rows by all columns) and do the splitting, because then a piece's bits cannot depend on how
 * many rows or threads there are, ragged batches need no new code generated, and small products pay no wake-ups.
 *
 * Everything that differs between oneDNN 2 and 3 is in onednn.c. */
#ifndef COMPUTE_CPU_ONEDNN_H
#define COMPUTE_CPU_ONEDNN_H

#include "compute/compute.h"

/* C (m,n) = A (m,k) B (k,n), or += .  A and B share a dtype; C is F32 or that dtype. */
struct mm_shape {
    int m, n, k;
    enum dtype in, out;
    bool accumulate;        // out is F32 then
    /* packed: B lies as mm_layout says, A and C are dense.  Otherwise B's rows are ldb apart, C's ldc, and A is
     * given transposed, (k,m) with rows lda apart: the product of weight gradients. */
    bool packed;
    int lda, ldb, ldc;      // 0 when packed
};

struct onednn;
struct mm;
struct onednn *onednn_open(int threads);        // NULL: not available
void onednn_close(struct onednn *o);
void onednn_version(char *out, size_t n);

/* The multiplication for a shape, made at first use.  Call outside parallel regions; valid until close. */
const struct mm *onednn_mm(struct onednn *o, const struct mm_shape *shape);
/* thread: 0 .. threads-1, the calling thread's own number. */
void mm_run(const struct mm *mm, int thread, void *c, const void *a, const void *b);
/* The same product over all threads at once, oneDNN's own way: what the peak is measured with.  Seconds per call. */
double onednn_time_whole(struct onednn *o, int m, int n, int k, enum dtype dtype, int threads, double budget);

/* Where element (k,n) of a packed B lies: outer strides in elements, and inner blocks as oneDNN describes
 * them (block sizes and which dimension, 0: k, 1: n, each splits). */
struct mm_layout {
    int k, n;               // padded
    size_t kstride, nstride;
    int blocks, size[6], dim[6];
    size_t bytes;
    int pair;               // > 0: the common case [n/pair][k/2][pair][2] (bf16) or [n/pair][k][pair] (f32)
};
/* The layout that products of about m rows like for (k,n). */
struct mm_layout onednn_layout(struct onednn *o, int k, int n, enum dtype dtype);
size_t mm_offset(const struct mm_layout *l, int k, int n);      // in elements

#endif
