/* compute/cpu/cpu.c - opening the CPU device: its table of functions. */
#include "compute/cpu/cpu.h"

struct cpu_weight {
    struct weight base;
    struct tensor plain;        // (out,in)
};

static const struct tensor *plain(const struct weight *w)
{
    return &((const struct cpu_weight *)w)->plain;
}

static struct weight *w_new(struct device *dev, int out, int in, enum dtype dtype)
{
    struct cpu_weight *w = mem_alloc(1, sizeof *w);
    if (w && tensor_new(&w->plain, dev, dtype, out, in, NULL)) {
        free(w);
        w = NULL;
    }
    return (struct weight *)w;
}

static void w_free(struct weight *w)
{
    tensor_release(&((struct cpu_weight *)w)->plain);
    free(w);
}

static void copy(struct tensor *dst, const struct tensor *src)
{
    for (int r = 0; r < dst->rows; r++)
        for (int c = 0; c < dst->cols; c++)
            t_set(dst, r, c, t_get(src, r, c));
}

static void w_load(struct weight *w, const struct tensor *src)
{
    copy(&((struct cpu_weight *)w)->plain, src);
}

static void linear(struct tensor *y, const struct tensor *x, const struct weight *w, bool accumulate)
{
    define_linear(y, x, plain(w), accumulate);
}

static void linear_backward_x(struct tensor *dx, const struct tensor *dy, const struct weight *w, bool accumulate)
{
    define_linear_backward_x(dx, dy, plain(w), accumulate);
}

static void head_logp(float *logp, float *entropy, float *lse, int *argmax, const struct tensor *hidden,
                      const struct weight *w, const struct head_item *item, int n, float inv_temperature)
{
    define_head_logp(logp, entropy, lse, argmax, hidden, plain(w), item, n, inv_temperature);
}

static void head_backward(struct tensor *dhidden, struct tensor *dw, const struct tensor *hidden, const struct weight *w,
                          const struct head_item *item, const float *dlogp, int n, float inv_temperature)
{
    define_head_backward(dhidden, dw, hidden, plain(w), item, dlogp, n, inv_temperature);
}

static void head_logits(float *logits, const struct tensor *hidden, const struct weight *w, const int *row, int n)
{
    define_head_logits(logits, hidden, plain(w), row, n);
}

static double measure(struct device *dev, enum dtype dtype)
{
    return 1e9;
}

static double measure_bandwidth(struct device *dev)
{
    return 1e9;
}

static void cpu_close(struct device *dev)
{
    free(dev);
}

static void *alloc(size_t bytes)
{
    void *p = mem_aligned(bytes);
    if (p)
        memset(p, 0, bytes);
    return p;
}

static void write_rows(struct tensor *t, int row, int n, const void *src, enum dtype from)
{
    struct tensor s = { .dtype = from, .rows = n, .cols = t->cols, .stride = (size_t)t->cols, .data = (void *)src };
    struct tensor d = tensor_rows(t, row, n);
    copy(&d, &s);
}

static void read_rows(void *dst, enum dtype to, const struct tensor *t, int row, int n)
{
    struct tensor d = { .dtype = to, .rows = n, .cols = t->cols, .stride = (size_t)t->cols, .data = dst };
    struct tensor s = tensor_rows(t, row, n);
    copy(&d, &s);
}

static void zero(struct tensor *t)
{
    for (int r = 0; r < t->rows; r++)
        for (int c = 0; c < t->cols; c++)
            t_set(t, r, c, 0);
}

static void add(struct tensor *dst, const struct tensor *src)
{
    for (int r = 0; r < dst->rows; r++)
        for (int c = 0; c < dst->cols; c++)
            t_f32(dst, r)[c] += t_get(src, r, c);
}

static void scale(struct tensor *t, float by)
{
    for (int r = 0; r < t->rows; r++)
        for (int c = 0; c < t->cols; c++)
            t_f32(t, r)[c] *= by;
}

static void gather_rows(struct tensor *dst, const struct tensor *src, const int *rows, int n)
{
    for (int i = 0; i < n; i++)
        memcpy((char *)dst->data + (size_t)i * dst->stride * dtype_size(dst->dtype),
               (char *)src->data + (size_t)rows[i] * src->stride * dtype_size(src->dtype),
               (size_t)src->cols * dtype_size(src->dtype));
}

static void scatter_rows(struct tensor *dst, const struct tensor *src, const int *slot)
{
    for (int i = 0; i < src->rows; i++)
        memcpy((char *)dst->data + (size_t)slot[i] * dst->stride * dtype_size(dst->dtype),
               (char *)src->data + (size_t)i * src->stride * dtype_size(src->dtype),
               (size_t)src->cols * dtype_size(src->dtype));
}

static bool all_finite(const struct tensor *t)
{
    for (int r = 0; r < t->rows; r++)
        for (int c = 0; c < t->cols; c++)
            if (!(t_get(t, r, c) - t_get(t, r, c) == 0))
                return false;
    return true;
}

static const struct device table = {
    .close = cpu_close, .measure_peak = measure, .measure_bandwidth = measure_bandwidth,
    .alloc = alloc, .release = free, .write = write_rows, .read = read_rows,
    .zero = zero, .copy = copy, .add = add, .scale = scale, .gather_rows = gather_rows, .scatter_rows = scatter_rows,
    .finite = all_finite, .weight_new = w_new, .weight_free = w_free, .weight_load = w_load,
    .linear = linear, .linear_backward_x = linear_backward_x, .linear_backward_w = define_linear_backward_w,
    .embed = define_embed, .embed_backward = define_embed_backward,
    .rmsnorm = define_rmsnorm, .rmsnorm_backward = define_rmsnorm_backward, .rope = define_rope,
    .attention = cpu_attention, .attention_backward = cpu_attention_backward,
    .swiglu = define_swiglu, .swiglu_backward = define_swiglu_backward,
    .head_logp = head_logp, .head_backward = head_backward, .head_logits = head_logits,
    .scalar_head = define_scalar_head, .scalar_head_backward = define_scalar_head_backward,
    .sumsq = define_sumsq, .adamw = define_adamw,
};

int cpu_device_open(struct device **out, int threads, struct err *err)
{
    struct device *dev = mem_alloc(1, sizeof *dev);
    if (!dev)
        return err_set(err, ERR_MEMORY, "opening the CPU device");
    *dev = table;
    dev->threads = threads;
    snprintf(dev->describe, sizeof dev->describe, "%d thread%s, plain loops", threads, threads == 1 ? "" : "s");
    *out = dev;
    return 0;
}
