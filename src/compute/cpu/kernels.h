/* compute/cpu/kernels.h - loops over one row, compiled once per instruction set.
 *
 * kernels_body.h is written with vectors of 16 floats (GCC's vector extension), which become one, two or four
 * machine registers; sums run in 16 lanes that are added in a fixed order.  So a result depends on the row's
 * values and length alone: not on alignment, not on its neighbours, and between instruction sets only by
 * whether multiply-adds are fused. */
#ifndef COMPUTE_CPU_KERNELS_H
#define COMPUTE_CPU_KERNELS_H

#include "compute/device.h"

struct adamw_now { float beta1, beta2, eps, scale, shrink, rate, inv_root_c2; };    // one step's constants
struct logit_stats { float max, sum, sum_z; int argmax; };  // of z: max, sum exp(z - max), sum exp(z - max) (z - max)

struct kernels {
    const char *name;
    void (*convert)(void *dst, enum dtype to, const void *src, enum dtype from, size_t n);
    void (*add)(float *dst, const void *src, enum dtype from, size_t n);
    void (*scale)(void *x, enum dtype t, float by, size_t n);
    void (*axpy)(float *dst, float by, const void *src, enum dtype from, size_t n);     // dst += by * src
    float (*dot)(const void *a, enum dtype ta, const float *b, size_t n);
    double (*sumsq)(const float *x, size_t n);
    bool (*all_finite)(const void *x, enum dtype t, size_t n);

    void (*bias)(void *y, enum dtype t, const float *bias, size_t n);       // y += bias
    void (*multiple)(void *y, enum dtype to, const float *x, float by, size_t n);       // y = by * x

    /* returns rstd */
    float (*rmsnorm)(void *y, enum dtype to, const void *x, enum dtype tx, const float *gain, size_t n, float eps);
    /* dx += ...; dgain += dy * x * rstd unless NULL */
    void (*rmsnorm_backward)(float *dx, float *dgain, const void *dy, enum dtype t, const float *x, float rstd,
                             const float *gain, size_t n);
    /* the same with dx written, not added to; it may be dy */
    void (*rmsnorm_backward_to)(float *dx, float *dgain, const void *dy, enum dtype t, const void *x, enum dtype tx, float rstd,
                                const float *gain, size_t n);
    /* stat = mean and rstd; bias may be NULL */
    void (*layernorm)(void *y, enum dtype to, float stat[2], const float *x, const float *gain, const float *bias, size_t n,
                      float eps);
    /* dx += ...; dgain += and dbias += unless NULL */
    void (*layernorm_backward)(float *dx, float *dgain, float *dbias, const void *dy, enum dtype t, const float *x,
                               const float stat[2], const float *gain, size_t n);
    /* one head: lo and hi halves of `half` elements, cosines and sines given; sign +1, or -1 to turn back */
    void (*rope)(void *lo, void *hi, enum dtype t, const float *cosine, const float *sine, float sign, int half);
    /* h = act(gate) * up; up NULL: h = act(gate), and backward dup is not written.  backward writes h as well unless it is NULL */
    void (*gated)(void *h, enum dtype th, const void *gate, const void *up, enum dtype t, size_t n, enum activation act);
    void (*gated_backward)(void *h, void *dgate, void *dup, enum dtype td, const void *dh, enum dtype th, const void *gate,
                           const void *up, enum dtype t, size_t n, enum activation act);
    /* Of by * z, n numbers.  exp(by * z - max) is kept in e where not NULL.  The arg-max is the caller's to ask for. */
    struct logit_stats (*logit_stats)(void *e, enum dtype te, const float *z, float by, size_t n);
    void (*logit_form)(float *z, const struct logit_form *f, size_t n);     // scale, then soft cap, in place
    void (*cap_slope)(void *e, enum dtype te, const float *z, float cap, size_t n);     // e *= 1 - (z / cap)^2
    int (*first_of)(const float *z, float by, float value, size_t n);       // first i with by * z[i] == value; 0: none
    void (*exponential)(float *y, const float *x, size_t n);
    void (*adamw)(float *p, float *m, float *v, const float *g, const struct adamw_now *h, size_t n);
    /* one block of 8-bit moments, n <= MOMENT_BLOCK values; key: of its first value, for rounding v */
    void (*adamw8)(float *p, uint8_t *m, uint8_t *v, float *m_scale, float *v_scale, const float *g, const struct adamw_now *h,
                   uint32_t key, size_t n);
    /* to[k][0..wide) = 32-bit words from[0..rows)[k], for k < n; rows <= wide, the rest is zero: packing */
    void (*transpose32)(uint32_t *to, size_t wide, const uint32_t *from, size_t stride, size_t rows, size_t n);
    /* to[i] = a[i] | b[i] << 16: packing */
    void (*interleave)(uint32_t *to, const uint16_t *a, const uint16_t *b, size_t n);
};
extern const struct kernels kernels_plain, kernels_avx2, kernels_avx512;
const struct kernels *kernels_best(void);       // for this processor; RLAIF_ISA caps it

#endif
