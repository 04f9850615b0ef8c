/* compute/device.h - the inner door: what a device has to supply.
 *
 * ops.c and its neighbours have checked every shape and dtype before they call one of these, so they check
 * nothing.  Each has the meaning and the arguments of the op_ function of the same name in compute.h. */
#ifndef COMPUTE_DEVICE_H
#define COMPUTE_DEVICE_H

#include "compute/compute.h"

struct device {
    char describe[128];
    int threads;
    bool fast_bf16;
    double peak[2];     // measured rates; 0: not yet
    bool check;                     // RLAIF_CHECK: stop at the first operation that makes a NaN
    bool plan;                      // only counts (plan.c)
    const char *purpose;            // of what is allocated now
    void *own;                      // what the device keeps: caches, scratch memory

    void (*close)(struct device *dev);
    double (*measure_peak)(struct device *dev, enum dtype dtype);
    double (*measure_bandwidth)(struct device *dev, bool large_pages);

    void *(*alloc)(struct device *dev, size_t bytes);   // 64-byte aligned, zeroed; NULL: no memory
    void (*release)(struct device *dev, void *p);
    void (*write)(struct tensor *t, int row, int n, const void *src, enum dtype from);  // src is packed
    void (*read)(void *dst, enum dtype to, const struct tensor *t, int row, int n);

    void (*zero)(struct tensor *t);
    void (*copy)(struct tensor *dst, const struct tensor *src);
    void (*add)(struct tensor *dst, const struct tensor *src);
    void (*scale)(struct tensor *t, float by);
    void (*axpy)(struct tensor *dst, const struct tensor *src, float by);
    void (*gather_rows)(struct tensor *dst, const struct tensor *src, const int *rows, int n);
    void (*each)(struct device *dev, int n, size_t steps, void (*work)(void *arg, int i), void *arg);
    void (*scatter_rows)(struct tensor *dst, const struct tensor *src, const int *slot);
    bool (*finite)(const struct tensor *t);

    struct weight *(*weight_new)(struct device *dev, int out, int in, enum dtype dtype);
    void (*weight_free)(struct weight *w);
    void (*weight_load)(struct weight *w, const struct tensor *src);
    int (*weight_new_quantised)(struct weight **out, struct device *dev, int in, enum dtype dtype, const struct quant_rows *part,
                                int n_parts, struct quant_fault *fault);
    bool (*weight_is_quantised)(const struct weight *w);
    size_t (*weight_size)(const struct weight *w);
    void (*weight_row)(float *out, const struct weight *w, int row);
    size_t (*weight_plan)(struct device *dev, int out, int in, enum dtype dtype, bool backward);    // bytes of one direction
    size_t (*quantised_plan)(int in, const struct quant_rows *part, int n);
    void (*weight_prepare)(struct weight *w);       // the backward direction
    size_t (*head_plan)(const struct device *dev, int out, int in, enum dtype dtype, int rows, bool backward);  // bytes of scratch
    size_t (*head_slab)(const struct device *dev, int out, int in, enum dtype dtype);   // of a backward copy made piece by piece; 0: whole
    void (*linear)(struct tensor *y, const struct tensor *x, const struct weight *w, bool accumulate);
    void (*linear_backward_x)(struct tensor *dx, const struct tensor *dy, const struct weight *w, bool accumulate);
    void (*linear_backward_w)(struct tensor *dw, const struct tensor *dy, const struct tensor *x);

    void (*embed)(struct tensor *x, const struct tensor *table, const int *ids);
    void (*embed_weight)(struct tensor *x, const struct weight *w, const int *ids);
    void (*embed_backward)(struct tensor *dtable, const struct tensor *dx, const int *ids);
    void (*rmsnorm)(struct tensor *y, struct tensor *rstd, const struct tensor *x, const struct tensor *gain, float eps);
    void (*rmsnorm_backward)(struct tensor *dx, struct tensor *dgain, const struct tensor *dy, const struct tensor *x,
                             const struct tensor *rstd, const struct tensor *gain);
    void (*rmsnorm_heads)(struct tensor *y, struct tensor *rstd, const struct tensor *x, const struct tensor *gain,
                          int heads, float eps);
    void (*rmsnorm_heads_backward)(struct tensor *dx, struct tensor *dgain, const struct tensor *dy,
                                   const struct tensor *x, const struct tensor *rstd, const struct tensor *gain, int heads);
    void (*layernorm)(struct tensor *y, struct tensor *stat, const struct tensor *x, const struct tensor *gain,
                      const struct tensor *bias, float eps);
    void (*layernorm_backward)(struct tensor *dx, struct tensor *dgain, struct tensor *dbias, const struct tensor *dy,
                               const struct tensor *x, const struct tensor *stat, const struct tensor *gain);
    void (*bias)(struct tensor *y, const struct tensor *bias);
    void (*bias_backward)(struct tensor *dbias, const struct tensor *dy);
    void (*rope)(struct tensor *x, const int *position, int heads, const struct rope *rope, bool inverse);
    void (*attention)(struct tensor *out, struct tensor *lse, const struct tensor *q, const struct tensor *k,
                      const struct tensor *v, const struct attention *a);
    void (*attention_backward)(struct tensor *dq, struct tensor *dk, struct tensor *dv, const struct tensor *dout,
                               const struct tensor *out, const struct tensor *lse, const struct tensor *q,
                               const struct tensor *k, const struct tensor *v, const struct attention *a);
    void (*gated)(struct tensor *h, const struct tensor *gu, enum activation act);
    void (*gated_backward)(struct tensor *dgu, struct tensor *h, const struct tensor *dh, const struct tensor *gu, enum activation act);
    void (*activate)(struct tensor *h, const struct tensor *u, enum activation act);
    void (*activate_backward)(struct tensor *du, struct tensor *h, const struct tensor *dh, const struct tensor *u, enum activation act);

    void (*route)(int *expert, struct tensor *weight, struct tensor *prob, const struct tensor *logits);
    void (*route_backward)(struct tensor *dlogits, const struct tensor *dweight, const float *dprob,
                           const struct tensor *weight, const struct tensor *prob, const int *expert);
    void (*combine)(struct tensor *dst, const struct tensor *src, const struct tensor *weight, const int *slot, int n);
    void (*combine_backward)(struct tensor *dsrc, struct tensor *dweight, const struct tensor *ddst,
                             const struct tensor *src, const struct tensor *weight, const int *slot, int n);
    void (*column_sums)(double *sums, const struct tensor *t);

    void (*head_logp)(float *logp, float *entropy, float *lse, int *argmax, const struct tensor *hidden,
                      const struct weight *w, const struct head_item *item, int n, float inv_temperature);
    void (*head_learn)(float *logp, float *entropy, int *argmax, struct tensor *dhidden, struct tensor *dw,
                       const struct tensor *hidden, const struct weight *w, const struct head_item *item, const float *dlogp,
                       int n, float inv_temperature);
    void (*head_logits)(float *logits, const struct tensor *hidden, const struct weight *w, const int *row, int n);
    void (*logits_logp)(float *logp, float *entropy, const float *logits, const struct weight *w, const int *target, int n,
                        float inv_temperature);
    void (*scalar_head)(float *out, const struct tensor *hidden, const struct tensor *w, const int *row, int n);
    void (*scalar_head_backward)(struct tensor *dhidden, struct tensor *dw, const struct tensor *hidden,
                                 const struct tensor *w, const int *row, const float *dout, int n);

    double (*sumsq)(const struct tensor *t);
    void (*adamw)(struct tensor *master, struct tensor *m, struct tensor *v, const struct tensor *grad,
                  const struct adamw *h);
    void (*adamw8)(struct tensor *master, struct moments8 *m, const struct tensor *grad, const struct adamw *h);
};

struct logit_form { float scale, softcap; };    // weight_set_logits

/* The part of a weight that every device shares; the device's own struct begins with it. */
struct weight {
    struct device *dev;
    int out, in;
    enum dtype dtype;
    struct logit_form logits;
};

/* n codes of m, n of v, then their blocks' scales, all in one piece of the device's memory. */
struct moments8 {
    struct device *dev;
    size_t n, blocks;
    uint8_t *m, *v;
    float *m_scale, *v_scale;
};

int cpu_device_open(struct device **out, int threads, struct err *err) MUST_CHECK;
int plan_device_open(struct device **out, int threads, struct err *err) MUST_CHECK;
void plan_scratch(struct device *dev, size_t bytes);    // so much scratch memory is wanted at once
void plan_head_backward(struct weight *w);              // its backward copy, or scratch for a slab of it

#endif
