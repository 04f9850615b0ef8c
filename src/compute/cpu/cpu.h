/* compute/cpu/cpu.h - the CPU device: what its files offer each other.
 *
 * define_*    the definition of each operation: plain loops, one thread, sums in double where length could hurt
 * cpu_*       what the device's table points to: the same, fast, tested against the definition
 *
 * Row r of a tensor of floats is t_f32(t, r), of bf16 t_bf16(t, r). */
#ifndef COMPUTE_CPU_CPU_H
#define COMPUTE_CPU_CPU_H

#include "compute/cpu/kernels.h"
#include "compute/cpu/onednn.h"
#include "compute/device.h"

static inline void *t_row(const struct tensor *t, int row)
{
    return (char *)t->data + (size_t)row * t->stride * dtype_size(t->dtype);
}
static inline float *t_f32(const struct tensor *t, int row)
{
    return (float *)t->data + (size_t)row * t->stride;
}
static inline uint16_t *t_bf16(const struct tensor *t, int row)
{
    return (uint16_t *)t->data + (size_t)row * t->stride;
}
static inline float cpu_bf16_to_float(uint16_t h)
{
    union { uint32_t u; float f; } c = { .u = (uint32_t)h << 16 };
    return c.f;
}
static inline uint16_t cpu_bf16_from_float(float f)
{
    union { float f; uint32_t u; } c = { .f = f };
    if ((c.u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((c.u >> 16) | 0x40);      // NaN stays NaN, quiet
    return (uint16_t)((c.u + 0x7fffu + ((c.u >> 16) & 1)) >> 16);
}
/* One element, whatever the dtype: for definitions and rare paths. */
static inline float t_get(const struct tensor *t, int row, int col)
{
    return t->dtype == DTYPE_F32 ? t_f32(t, row)[col] : cpu_bf16_to_float(t_bf16(t, row)[col]);
}
static inline void t_set(const struct tensor *t, int row, int col, float x)
{
    if (t->dtype == DTYPE_F32)
        t_f32(t, row)[col] = x;
    else
        t_bf16(t, row)[col] = cpu_bf16_from_float(x);
}

/* ---- the device's own state (cpu.c) -------------------------------------------------- */

struct scratch { void *p; size_t bytes; };
struct cpu {
    struct onednn *onednn;
    const struct kernels *k;
    const struct quant_kernels *quant;
    struct region *region;          // where the next weight or tensor goes; NULL: a new one
    struct scratch *thread;         // (threads) one per thread
    struct scratch shared[6];       // for operations as a whole; see enum
    enum { FEW_UNKNOWN, FEW_USED, FEW_NOT } few;    // our own loop for few rows: does it make oneDNN's bits?
    struct rope_table {             // cosines and sines by position; several, as layers may differ in frequencies
        float *inv_freq, *cosine, *sine, factor;    // (half), (positions,half)
        int half, positions;
    } rope[4];
    int rope_next;                  // which of them is the next to be replaced
};
enum { SHARED_UNITS, SHARED_SUMS, SHARED_LOGITS, SHARED_DLOGITS, SHARED_ROUNDED, SHARED_SLAB };

static inline struct cpu *cpu_of(const struct device *dev)
{
    return dev->own;
}
void *large_alloc(size_t bytes);        // 64-byte aligned, not zeroed, in large pages where there are any; free()
/* Memory of a weight or tensor, likewise, in large pages from a quarter of a megabyte on (region.c); NULL without memory. */
void *piece_new(struct cpu *cpu, size_t bytes);
void piece_free(void *piece);           // NULL is fine
void regions_close(struct cpu *cpu);
/* At least bytes, not zeroed, valid until asked again.  Without memory the program ends: operations are
 * sized by tensors that exist already, and scratch is small beside them. */
void *scratch_get(struct scratch *s, size_t bytes);
/* Threads worth waking for `work` elementary steps. */
int cpu_threads(const struct device *dev, size_t work);
/* What is read from memory once, in `pieces`, is cut into a long stretch for each thread, three quarters of all, and short ones for
 * who is done first: threads do not get equal shares of the memory's time, and one may be held up.  How many stretches
 * (units of a dynamic loop), and the first piece of the i-th of n. */
int cpu_stretches(int pieces, int threads);
int cpu_stretch_start(int pieces, int threads, int i, int n);

/* ---- products (linear.c, pack.c) --------------------------------------------------------- */

struct packed {                     // one direction of a weight: B (k,n) of y = x B
    int k, n;
    struct mm_layout layout;
    enum dtype dtype;               // as stored: bf16 only where the processor multiplies it
    void *data;
    bool split;                     // columns can be taken in multiples of layout.pair
};
struct cpu_weight {
    struct weight base;
    struct packed forward, backward;    // backward.data NULL until first needed
    struct quantised *quantised;        // instead of both: a weight in blocks; of `forward` only n, k and dtype are set
};
struct packed packed_shape(struct cpu *cpu, int k, int n, enum dtype dtype);        // without data
int packed_new(struct packed *p, struct cpu *cpu, int k, int n, enum dtype dtype);  // 0, or ERR_MEMORY
void packed_release(struct packed *p);
/* from (n,k), row n being what column n is made of, or with transposed (k,n). */
void packed_fill(struct packed *p, const struct device *dev, const struct tensor *from, bool transposed);
/* Columns first .. first + to->n of the transpose of `from`, in the same dtype; first is a multiple of the layout's pair. */
void packed_turn(struct packed *to, const struct device *dev, const struct packed *from, int first);
/* B's rows back: row k0.. of B as (count,n) floats. */
void packed_rows(float *to, const struct packed *p, int k0, int count);
/* Column n of B (k floats), which is row n of the weight. */
void packed_column(float *to, const struct packed *p, int n);

struct weight *cpu_weight_new(struct device *dev, int out, int in, enum dtype dtype);
void cpu_weight_free(struct weight *w);
void cpu_weight_load(struct weight *w, const struct tensor *src);
int cpu_weight_new_quantised(struct weight **out, struct device *dev, int in, enum dtype dtype, const struct quant_rows *part,
                             int n_parts, struct quant_fault *fault);
bool cpu_weight_is_quantised(const struct weight *w);
size_t cpu_weight_size(const struct weight *w);
void cpu_weight_row(float *out, const struct weight *w, int row);
size_t cpu_weight_plan(struct device *dev, int out, int in, enum dtype dtype, bool backward);
void cpu_weight_prepare(struct weight *w);
size_t quantised_plan(int in, const struct quant_rows *part, int n);    // bytes (quant_pack.c)
size_t cpu_head_slab(const struct device *dev, int out, int in, enum dtype dtype);
const struct packed *weight_backward(const struct weight *w);   // packs it when first needed
void cpu_linear(struct tensor *y, const struct tensor *x, const struct weight *w, bool accumulate);
void cpu_linear_backward_x(struct tensor *dx, const struct tensor *dy, const struct weight *w, bool accumulate);
/* The same bits without a backward copy of w where that would be large: a slab of its columns at a time, turned in scratch. */
void cpu_slabs_backward_x(struct tensor *dx, const struct tensor *dy, const struct weight *w);
/* Products of few rows (few.c, few_avx512bf16.c): false where oneDNN has to do it. */
struct few {
    const uint16_t *a; size_t lda; int rows;        // (rows,k)
    const uint16_t *b; size_t nstride;              // packed, blocks of 64 columns
    int k, chunk, cols;     // sums over k in chunks, themselves added in order
    void *c; size_t ldc; enum dtype out; bool accumulate;
};
void few_avx512bf16(const struct few *f, int block_from, int block_to, int row_from, int row_to);
bool cpu_few_rows(struct tensor *y, const struct tensor *x, const struct packed *p, int n0, bool accumulate);
/* Whether this processor's bf16 products are what our own loops make of them, pairs added in order: asked once, by comparing bits. */
bool cpu_adds_pairs(struct cpu *cpu);
/* The size a unit of `rows` rows is rounded up to: one of nine up to 64. */
int unit_rows(int rows);
/* y = x B over columns n0 .. n0+y->cols of B, multiples of p->layout.pair where p->split. */
void cpu_product(struct tensor *y, const struct tensor *x, const struct packed *p, int n0, bool accumulate);

/* ---- gradients of weights (gradient.c, gradient_avx512bf16.c) ------------------------------- */

void cpu_linear_backward_w(struct tensor *dw, const struct tensor *dy, const struct tensor *x);
/* dw (..,cols) += dy^T x over n rows, in pieces. */
enum { GRADIENT_COLS = 64 };
struct gradient {
    float *dw; size_t ldw; int cols;
    const uint16_t *dy; size_t ldy;
    const uint16_t *x; size_t ldx;
    int n, pieces;
    const int *piece;       // rows of each, even but for the last
    uint32_t *packed;       // x in pairs of rows, [cols / 64 rounded up][pairs][64]
};
void gradient_pack(const struct gradient *g, int pair);     // one pair of rows of x, into packed
/* Rows row .. row+rows-1 of dw; panel: scratch of gradient_panel words. */
void gradient_rows(const struct gradient *g, uint32_t *panel, int row, int rows);
size_t gradient_panel(const struct gradient *g, int rows);

/* ---- the layers between (rows.c) and the heads (head.c) -------------------------------------- */

void cpu_zero(struct tensor *t);
void cpu_copy(struct tensor *dst, const struct tensor *src);
void cpu_add(struct tensor *dst, const struct tensor *src);
void cpu_scale(struct tensor *t, float by);
void cpu_axpy(struct tensor *dst, const struct tensor *src, float by);
void cpu_gather_rows(struct tensor *dst, const struct tensor *src, const int *rows, int n);
void cpu_scatter_rows(struct tensor *dst, const struct tensor *src, const int *slot);
bool cpu_finite(const struct tensor *t);
void cpu_embed(struct tensor *x, const struct tensor *table, const int *ids);
void cpu_embed_weight(struct tensor *x, const struct weight *w, const int *ids);
void cpu_embed_backward(struct tensor *dtable, const struct tensor *dx, const int *ids);
void cpu_rmsnorm(struct tensor *y, struct tensor *rstd, const struct tensor *x, const struct tensor *gain, float eps);
void cpu_rmsnorm_backward(struct tensor *dx, struct tensor *dgain, const struct tensor *dy, const struct tensor *x,
                          const struct tensor *rstd, const struct tensor *gain);
void cpu_rmsnorm_heads(struct tensor *y, struct tensor *rstd, const struct tensor *x, const struct tensor *gain, int heads,
                       float eps);
void cpu_rmsnorm_heads_backward(struct tensor *dx, struct tensor *dgain, const struct tensor *dy, const struct tensor *x,
                                const struct tensor *rstd, const struct tensor *gain, int heads);
void cpu_layernorm(struct tensor *y, struct tensor *stat, const struct tensor *x, const struct tensor *gain,
                   const struct tensor *bias, float eps);
void cpu_layernorm_backward(struct tensor *dx, struct tensor *dgain, struct tensor *dbias, const struct tensor *dy,
                            const struct tensor *x, const struct tensor *stat, const struct tensor *gain);
void cpu_bias(struct tensor *y, const struct tensor *bias);
void cpu_bias_backward(struct tensor *dbias, const struct tensor *dy);
void cpu_rope(struct tensor *x, const int *position, int heads, const struct rope *rope, bool inverse);
void cpu_gated(struct tensor *h, const struct tensor *gu, enum activation act);
void cpu_gated_backward(struct tensor *dgu, struct tensor *h, const struct tensor *dh, const struct tensor *gu, enum activation act);
void cpu_activate(struct tensor *h, const struct tensor *u, enum activation act);
void cpu_activate_backward(struct tensor *du, struct tensor *h, const struct tensor *dh, const struct tensor *u, enum activation act);
void cpu_combine(struct tensor *dst, const struct tensor *src, const struct tensor *weight, const int *slot, int n);
void cpu_combine_backward(struct tensor *dsrc, struct tensor *dweight, const struct tensor *ddst, const struct tensor *src,
                          const struct tensor *weight, const int *slot, int n);
double cpu_sumsq(const struct tensor *t);
void cpu_adamw(struct tensor *master, struct tensor *m, struct tensor *v, const struct tensor *grad,
               const struct adamw *h);
void cpu_adamw8(struct tensor *master, struct moments8 *m, const struct tensor *grad, const struct adamw *h);
void cpu_head_logp(float *logp, float *entropy, float *lse, int *argmax, const struct tensor *hidden,
                   const struct weight *w, const struct head_item *item, int n, float inv_temperature);
void cpu_head_learn(float *logp, float *entropy, int *argmax, struct tensor *dhidden, struct tensor *dw,
                    const struct tensor *hidden, const struct weight *w, const struct head_item *item, const float *dlogp, int n,
                    float inv_temperature);
size_t cpu_head_plan(const struct device *dev, int out, int in, enum dtype dtype, int rows, bool backward);
void cpu_head_logits(float *logits, const struct tensor *hidden, const struct weight *w, const int *row, int n);
void cpu_logits_logp(float *logp, float *entropy, const float *logits, const struct weight *w, const int *target, int n,
                     float inv_temperature);
void cpu_scalar_head(float *out, const struct tensor *hidden, const struct tensor *w, const int *row, int n);
void cpu_scalar_head_backward(struct tensor *dhidden, struct tensor *dw, const struct tensor *hidden,
                              const struct tensor *w, const int *row, const float *dout, int n);

/* ---- attention (attention*.c) ------------------------------------------------------ */

void cpu_attention(struct tensor *out, struct tensor *lse, const struct tensor *q, const struct tensor *k,
                   const struct tensor *v, const struct attention *a);
void cpu_attention_backward(struct tensor *dq, struct tensor *dk, struct tensor *dv, const struct tensor *dout,
                            const struct tensor *out, const struct tensor *lse, const struct tensor *q,
                            const struct tensor *k, const struct tensor *v, const struct attention *a);

/* ---- definitions (define*.c) --------------------------------------------------------- */

void define_linear(struct tensor *y, const struct tensor *x, const struct tensor *w, bool accumulate);
void define_linear_backward_x(struct tensor *dx, const struct tensor *dy, const struct tensor *w, bool accumulate);
void define_linear_backward_w(struct tensor *dw, const struct tensor *dy, const struct tensor *x);
void define_embed(struct tensor *x, const struct tensor *table, const int *ids);
void define_embed_backward(struct tensor *dtable, const struct tensor *dx, const int *ids);
void define_rmsnorm(struct tensor *y, struct tensor *rstd, const struct tensor *x, const struct tensor *gain, float eps);
void define_rmsnorm_backward(struct tensor *dx, struct tensor *dgain, const struct tensor *dy, const struct tensor *x,
                             const struct tensor *rstd, const struct tensor *gain);
void define_rmsnorm_heads(struct tensor *y, struct tensor *rstd, const struct tensor *x, const struct tensor *gain,
                          int heads, float eps);
void define_rmsnorm_heads_backward(struct tensor *dx, struct tensor *dgain, const struct tensor *dy,
                                   const struct tensor *x, const struct tensor *rstd, const struct tensor *gain, int heads);
void define_layernorm(struct tensor *y, struct tensor *stat, const struct tensor *x, const struct tensor *gain,
                      const struct tensor *bias, float eps);
void define_layernorm_backward(struct tensor *dx, struct tensor *dgain, struct tensor *dbias, const struct tensor *dy,
                               const struct tensor *x, const struct tensor *stat, const struct tensor *gain);
void define_bias(struct tensor *y, const struct tensor *bias);
void define_bias_backward(struct tensor *dbias, const struct tensor *dy);
void define_rope(struct tensor *x, const int *position, int heads, const struct rope *rope, bool inverse);
void define_gated(struct tensor *h, const struct tensor *gu, enum activation act);
void define_gated_backward(struct tensor *dgu, const struct tensor *dh, const struct tensor *gu, enum activation act);
void define_activate(struct tensor *h, const struct tensor *u, enum activation act);
void define_activate_backward(struct tensor *du, const struct tensor *dh, const struct tensor *u, enum activation act);
void define_route(int *expert, struct tensor *weight, struct tensor *prob, const struct tensor *logits);
void define_route_backward(struct tensor *dlogits, const struct tensor *dweight, const float *dprob,
                           const struct tensor *weight, const struct tensor *prob, const int *expert);
void define_combine(struct tensor *dst, const struct tensor *src, const struct tensor *weight, const int *slot, int n);
void define_combine_backward(struct tensor *dsrc, struct tensor *dweight, const struct tensor *ddst,
                             const struct tensor *src, const struct tensor *weight, const int *slot, int n);
void define_column_sums(double *sums, const struct tensor *t);
void define_head_logp(float *logp, float *entropy, float *lse, int *argmax, const struct tensor *hidden,
                      const struct tensor *w, const struct logit_form *form, const struct head_item *item, int n,
                      float inv_temperature);
void define_head_backward(struct tensor *dhidden, struct tensor *dw, const struct tensor *hidden, const struct tensor *w,
                          const struct logit_form *form, const struct head_item *item, const float *dlogp, int n,
                          float inv_temperature);
void define_head_logits(float *logits, const struct tensor *hidden, const struct tensor *w, const struct logit_form *form,
                        const int *row, int n);
void define_scalar_head(float *out, const struct tensor *hidden, const struct tensor *w, const int *row, int n);
void define_scalar_head_backward(struct tensor *dhidden, struct tensor *dw, const struct tensor *hidden,
                                 const struct tensor *w, const int *row, const float *dout, int n);
double define_sumsq(const struct tensor *t);
void define_adamw(struct tensor *master, struct tensor *m, struct tensor *v, const struct tensor *grad,
                  const struct adamw *h);
void define_adamw8(struct tensor *master, struct moments8 *m, const struct tensor *grad, const struct adamw *h);

#endif
