/* compute/cpu/cpu.h - the CPU device: what its files offer each other.
 *
 * define_*    the definition of each operation: plain loops, one thread, sums in double where length could hurt
 * cpu_*       what the device's table points to: the same, fast, tested against the definition
 *
 * Row r of a tensor of floats is t_f32(t, r), of bf16 t_bf16(t, r). */
#ifndef COMPUTE_CPU_CPU_H
#define COMPUTE_CPU_CPU_H

#include "compute/device.h"

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

/* ---- attention (attention*.c) ------------------------------------------------------ */

void cpu_attention(struct tensor *out, struct tensor *lse, const struct tensor *q, const struct tensor *k,
                   const struct tensor *v, const struct attention *a);
void cpu_attention_backward(struct tensor *dq, struct tensor *dk, struct tensor *dv, const struct tensor *dout,
                            const struct tensor *out, const struct tensor *lse, const struct tensor *q,
                            const struct tensor *k, const struct tensor *v, const struct attention *a);

/* ---- definitions (define.c, define_head.c) ------------------------------------------ */

void define_linear(struct tensor *y, const struct tensor *x, const struct tensor *w, bool accumulate);
void define_linear_backward_x(struct tensor *dx, const struct tensor *dy, const struct tensor *w, bool accumulate);
void define_linear_backward_w(struct tensor *dw, const struct tensor *dy, const struct tensor *x);
void define_embed(struct tensor *x, const struct tensor *table, const int *ids);
void define_embed_backward(struct tensor *dtable, const struct tensor *dx, const int *ids);
void define_rmsnorm(struct tensor *y, struct tensor *rstd, const struct tensor *x, const struct tensor *gain, float eps);
void define_rmsnorm_backward(struct tensor *dx, struct tensor *dgain, const struct tensor *dy, const struct tensor *x,
                             const struct tensor *rstd, const struct tensor *gain);
void define_rope(struct tensor *x, const int *position, int heads, int head_size, const float *inv_freq, bool inverse);
void define_swiglu(struct tensor *h, const struct tensor *gu);
void define_swiglu_backward(struct tensor *dgu, const struct tensor *dh, const struct tensor *gu);
void define_head_logp(float *logp, float *entropy, float *lse, int *argmax, const struct tensor *hidden,
                      const struct tensor *w, const struct head_item *item, int n, float inv_temperature);
void define_head_backward(struct tensor *dhidden, struct tensor *dw, const struct tensor *hidden, const struct tensor *w,
                          const struct head_item *item, const float *dlogp, int n, float inv_temperature);
void define_head_logits(float *logits, const struct tensor *hidden, const struct tensor *w, const int *row, int n);
void define_scalar_head(float *out, const struct tensor *hidden, const struct tensor *w, const int *row, int n);
void define_scalar_head_backward(struct tensor *dhidden, struct tensor *dw, const struct tensor *hidden,
                                 const struct tensor *w, const int *row, const float *dout, int n);
double define_sumsq(const struct tensor *t);
void define_adamw(struct tensor *master, struct tensor *m, struct tensor *v, const struct tensor *grad,
                  const struct adamw *h);

#endif
