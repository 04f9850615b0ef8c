/* compute/cpu/rows.c - everything that works on one row at a time, over threads.
 *
 * Rows go to threads in any order, since a row's result is its own.  Sums over rows (norm gains, sums of squares) are
 * made in fixed chunks whose partial results are added in order. */
#include <math.h>
#include <omp.h>

#include "compute/cpu/cpu.h"

enum { CHUNK_ROWS = 64, CHUNK_WORDS = 1 << 16 };

#define FOR_ROWS(r, rows, work_per_row) \
    int threads_ = cpu_threads(dev, (size_t)(rows) * (size_t)(work_per_row)); \
    _Pragma("omp parallel for schedule(static) num_threads(threads_)") \
    for (int r = 0; r < (rows); r++)

/* ---- whole tensors --------------------------------------------------------------------- */

void cpu_zero(struct tensor *t)
{
    struct device *dev = t->dev;
    FOR_ROWS (r, t->rows, t->cols / 4)
        memset(t_row(t, r), 0, (size_t)t->cols * dtype_size(t->dtype));
}

void cpu_copy(struct tensor *dst, const struct tensor *src)
{
    struct device *dev = dst->dev;
    const struct kernels *k = cpu_of(dev)->k;
    FOR_ROWS (r, dst->rows, dst->cols / 2)
        k->convert(t_row(dst, r), dst->dtype, t_row(src, r), src->dtype, (size_t)dst->cols);
}

void cpu_add(struct tensor *dst, const struct tensor *src)
{
    struct device *dev = dst->dev;
    const struct kernels *k = cpu_of(dev)->k;
    FOR_ROWS (r, dst->rows, dst->cols / 2)
        k->add(t_f32(dst, r), t_row(src, r), src->dtype, (size_t)dst->cols);
}

void cpu_scale(struct tensor *t, float by)
{
    struct device *dev = t->dev;
    const struct kernels *k = cpu_of(dev)->k;
    FOR_ROWS (r, t->rows, t->cols / 2)
        k->scale(t_f32(t, r), DTYPE_F32, by, (size_t)t->cols);
}

void cpu_axpy(struct tensor *dst, const struct tensor *src, float by)
{
    struct device *dev = dst->dev;
    const struct kernels *k = cpu_of(dev)->k;
    FOR_ROWS (r, dst->rows, dst->cols / 2)
        k->axpy(t_f32(dst, r), by, t_row(src, r), src->dtype, (size_t)dst->cols);
}

void cpu_gather_rows(struct tensor *dst, const struct tensor *src, const int *rows, int n)
{
    struct device *dev = dst->dev;
    FOR_ROWS (i, n, dst->cols / 4)
        memcpy(t_row(dst, i), t_row(src, rows[i]), (size_t)src->cols * dtype_size(src->dtype));
}

/* One thread: two rows may go to the same slot, and then the later one stays. */
void cpu_scatter_rows(struct tensor *dst, const struct tensor *src, const int *slot)
{
    for (int i = 0; i < src->rows; i++)
        memcpy(t_row(dst, slot[i]), t_row(src, i), (size_t)src->cols * dtype_size(src->dtype));
}

bool cpu_finite(const struct tensor *t)
{
    const struct kernels *k = cpu_of(t->dev)->k;
    for (int r = 0; r < t->rows; r++)
        if (!k->all_finite(t_row(t, r), t->dtype, (size_t)t->cols))
            return false;
    return true;
}

/* ---- embedding ---------------------------------------------------------------------------- */

void cpu_embed(struct tensor *x, const struct tensor *table, const int *ids)
{
    struct device *dev = x->dev;
    const struct kernels *k = cpu_of(dev)->k;
    FOR_ROWS (r, x->rows, x->cols / 2)
        k->convert(t_f32(x, r), DTYPE_F32, t_row(table, ids[r]), table->dtype, (size_t)x->cols);
}

void cpu_embed_weight(struct tensor *x, const struct weight *w, const int *ids)
{
    struct device *dev = x->dev;
    FOR_ROWS (r, x->rows, x->cols)
        cpu_weight_row(t_f32(x, r), w, ids[r]);
}

/* Threads share the columns, so that a token's rows add up in their order. */
void cpu_embed_backward(struct tensor *dtable, const struct tensor *dx, const int *ids)
{
    struct device *dev = dx->dev;
    const struct kernels *k = cpu_of(dev)->k;
    int slabs = (dx->cols + 63) / 64, threads = cpu_threads(dev, (size_t)dx->rows * (size_t)dx->cols / 2);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int s = 0; s < slabs; s++) {
        int col = s * 64, cols = dx->cols - col < 64 ? dx->cols - col : 64;
        for (int r = 0; r < dx->rows; r++)
            k->add(t_f32(dtable, ids[r]) + col, t_f32(dx, r) + col, DTYPE_F32, (size_t)cols);
    }
}

/* ---- norms and biases ------------------------------------------------------------------------- */

/* A vector's gradient is a sum over rows: over chunks of CHUNK_ROWS first, into (chunks,n) floats. */
static int chunk_rows(int rows)
{
    return (rows + CHUNK_ROWS - 1) / CHUNK_ROWS;
}

static float *chunk_sums(struct cpu *cpu, int chunks, size_t n)
{
    return scratch_get(&cpu->shared[SHARED_SUMS], (size_t)chunks * n * sizeof(float));
}

static float *chunk_sum(float *sums, int chunk, size_t n)
{
    return sums ? memset(sums + (size_t)chunk * n, 0, n * sizeof *sums) : NULL;
}

static void add_chunks(struct tensor *to, const struct cpu *cpu, const float *sums, int chunks)
{
    for (int i = 0; to && i < chunks; i++)
        cpu->k->add(t_f32(to, 0), sums + (size_t)i * (size_t)to->cols, DTYPE_F32, (size_t)to->cols);
}

void cpu_rmsnorm(struct tensor *y, struct tensor *rstd, const struct tensor *x, const struct tensor *gain, float eps)
{
    struct device *dev = x->dev;
    const struct kernels *k = cpu_of(dev)->k;
    FOR_ROWS (r, x->rows, x->cols)
        *t_f32(rstd, r) = k->rmsnorm(t_row(y, r), y->dtype, t_row(x, r), DTYPE_F32, t_f32(gain, 0), (size_t)x->cols, eps);
}

void cpu_rmsnorm_backward(struct tensor *dx, struct tensor *dgain, const struct tensor *dy, const struct tensor *x,
                          const struct tensor *rstd, const struct tensor *gain)
{
    struct device *dev = x->dev;
    struct cpu *cpu = cpu_of(dev);
    size_t C = (size_t)x->cols;
    int chunks = chunk_rows(x->rows);
    float *sums = dgain ? chunk_sums(cpu, chunks, C) : NULL;
    FOR_ROWS (i, chunks, C * CHUNK_ROWS * 2) {
        float *sum = chunk_sum(sums, i, C);
        for (int r = i * CHUNK_ROWS; r < x->rows && r < (i + 1) * CHUNK_ROWS; r++)
            cpu->k->rmsnorm_backward(t_f32(dx, r), sum, t_row(dy, r), dy->dtype, t_f32(x, r), *t_f32(rstd, r),
                                     t_f32(gain, 0), C);
    }
    add_chunks(dgain, cpu, sums, chunks);
}

void cpu_rmsnorm_heads(struct tensor *y, struct tensor *rstd, const struct tensor *x, const struct tensor *gain, int heads,
                       float eps)
{
    struct device *dev = x->dev;
    const struct kernels *k = cpu_of(dev)->k;
    size_t D = (size_t)gain->cols, to = D * dtype_size(y->dtype), from = D * dtype_size(x->dtype);
    FOR_ROWS (r, x->rows, x->cols)
        for (int h = 0; h < heads; h++)
            t_f32(rstd, r)[h] = k->rmsnorm((char *)t_row(y, r) + (size_t)h * to, y->dtype,
                                           (const char *)t_row(x, r) + (size_t)h * from, x->dtype, t_f32(gain, 0), D, eps);
}

void cpu_rmsnorm_heads_backward(struct tensor *dx, struct tensor *dgain, const struct tensor *dy, const struct tensor *x,
                                const struct tensor *rstd, const struct tensor *gain, int heads)
{
    struct device *dev = x->dev;
    struct cpu *cpu = cpu_of(dev);
    size_t D = (size_t)gain->cols, from = D * dtype_size(dy->dtype), with = D * dtype_size(x->dtype);
    int chunks = chunk_rows(x->rows);
    float *sums = dgain ? chunk_sums(cpu, chunks, D) : NULL;
    FOR_ROWS (i, chunks, (size_t)x->cols * CHUNK_ROWS * 2) {
        float *sum = chunk_sum(sums, i, D);
        for (int r = i * CHUNK_ROWS; r < x->rows && r < (i + 1) * CHUNK_ROWS; r++)
            for (int h = 0; h < heads; h++)
                cpu->k->rmsnorm_backward_to(t_f32(dx, r) + (size_t)h * D, sum, (const char *)t_row(dy, r) + (size_t)h * from,
                                            dy->dtype, (const char *)t_row(x, r) + (size_t)h * with, x->dtype,
                                            t_f32(rstd, r)[h], t_f32(gain, 0), D);
    }
    add_chunks(dgain, cpu, sums, chunks);
}

void cpu_layernorm(struct tensor *y, struct tensor *stat, const struct tensor *x, const struct tensor *gain,
                   const struct tensor *bias, float eps)
{
    struct device *dev = x->dev;
    const struct kernels *k = cpu_of(dev)->k;
    FOR_ROWS (r, x->rows, x->cols)
        k->layernorm(t_row(y, r), y->dtype, t_f32(stat, r), t_f32(x, r), t_f32(gain, 0), bias ? t_f32(bias, 0) : NULL,
                     (size_t)x->cols, eps);
}

void cpu_layernorm_backward(struct tensor *dx, struct tensor *dgain, struct tensor *dbias, const struct tensor *dy,
                            const struct tensor *x, const struct tensor *stat, const struct tensor *gain)
{
    struct device *dev = x->dev;
    struct cpu *cpu = cpu_of(dev);
    size_t C = (size_t)x->cols;
    int chunks = chunk_rows(x->rows);
    float *gains = dgain || dbias ? chunk_sums(cpu, 2 * chunks, C) : NULL, *biases = gains ? gains + (size_t)chunks * C : NULL;
    FOR_ROWS (i, chunks, C * CHUNK_ROWS * 2) {
        float *sum = chunk_sum(gains, i, C), *sum_bias = chunk_sum(biases, i, C);
        for (int r = i * CHUNK_ROWS; r < x->rows && r < (i + 1) * CHUNK_ROWS; r++)
            cpu->k->layernorm_backward(t_f32(dx, r), sum, sum_bias, t_row(dy, r), dy->dtype, t_f32(x, r), t_f32(stat, r),
                                       t_f32(gain, 0), C);
    }
    add_chunks(dgain, cpu, gains, chunks);
    add_chunks(dbias, cpu, biases, chunks);
}

void cpu_bias(struct tensor *y, const struct tensor *bias)
{
    struct device *dev = y->dev;
    const struct kernels *k = cpu_of(dev)->k;
    FOR_ROWS (r, y->rows, y->cols / 2)
        k->bias(t_row(y, r), y->dtype, t_f32(bias, 0), (size_t)y->cols);
}

void cpu_bias_backward(struct tensor *dbias, const struct tensor *dy)
{
    struct device *dev = dy->dev;
    struct cpu *cpu = cpu_of(dev);
    size_t n = (size_t)dy->cols;
    int chunks = chunk_rows(dy->rows);
    float *sums = chunk_sums(cpu, chunks, n);
    FOR_ROWS (i, chunks, n * CHUNK_ROWS / 2) {
        float *sum = chunk_sum(sums, i, n);
        for (int r = i * CHUNK_ROWS; r < dy->rows && r < (i + 1) * CHUNK_ROWS; r++)
            cpu->k->add(sum, t_row(dy, r), dy->dtype, n);
    }
    add_chunks(dbias, cpu, sums, chunks);
}

/* ---- rotary positions -------------------------------------------------------------------------- */

static bool rope_same(const struct rope_table *t, const struct rope *r)
{
    int half = r->rotary / 2;
    return t->half == half && t->factor == r->factor && !memcmp(t->inv_freq, r->inv_freq, (size_t)half * sizeof *r->inv_freq);
}

/* The table of these frequencies, with positions up to `last` in it. */
static const struct rope_table *rope_prepare(struct cpu *cpu, const struct rope *r, int last)
{
    int half = r->rotary / 2, at = 0, tables = ARRAY_LEN(cpu->rope);
    while (at < tables && !rope_same(&cpu->rope[at], r))
        at++;
    bool same = at < tables;
    if (!same) {
        at = cpu->rope_next;
        cpu->rope_next = (at + 1) % tables;
    }
    struct rope_table *t = &cpu->rope[at];
    if (same && last < t->positions)
        return t;
    int positions = same ? t->positions : 0, start = positions;
    positions = positions ? positions : 256;
    while (positions <= last)
        positions *= 2;
    size_t n = (size_t)positions * (size_t)half;
    t->inv_freq = realloc(t->inv_freq, (size_t)half * sizeof *t->inv_freq);
    t->cosine = realloc(t->cosine, n * sizeof *t->cosine);
    t->sine = realloc(t->sine, n * sizeof *t->sine);
    if (!t->inv_freq || !t->cosine || !t->sine)
        mem_die("the cosines of %d positions", positions);
    memcpy(t->inv_freq, r->inv_freq, (size_t)half * sizeof *t->inv_freq);
    for (size_t i = (size_t)start * (size_t)half; i < n; i++) {
        float angle = (float)(i / (size_t)half) * r->inv_freq[i % (size_t)half];
        t->cosine[i] = (float)cos(angle) * r->factor;
        t->sine[i] = (float)sin(angle) * r->factor;
    }
    t->half = half;
    t->factor = r->factor;
    t->positions = positions;
    return t;
}

void cpu_rope(struct tensor *x, const int *position, int heads, const struct rope *rope, bool inverse)
{
    struct device *dev = x->dev;
    struct cpu *cpu = cpu_of(dev);
    int half = rope->rotary / 2, last = 0;
    for (int r = 0; r < x->rows; r++)
        last = position[r] > last ? position[r] : last;
    const struct rope_table *table = rope_prepare(cpu, rope, last);
    size_t size = dtype_size(x->dtype);
    FOR_ROWS (r, x->rows, x->cols) {
        size_t at = (size_t)position[r] * (size_t)half;
        for (int h = 0; h < heads; h++) {
            char *lo = (char *)t_row(x, r) + (size_t)(h * rope->head_size) * size;
            cpu->k->rope(lo, lo + (size_t)half * size, x->dtype, table->cosine + at, table->sine + at,
                         inverse ? -1 : 1, half);
        }
    }
}

/* ---- activations, and what experts add up to -------------------------------------------------------- */

void cpu_gated(struct tensor *h, const struct tensor *gu, enum activation act)
{
    struct device *dev = h->dev;
    const struct kernels *k = cpu_of(dev)->k;
    size_t F = (size_t)h->cols, up = F * dtype_size(gu->dtype);
    FOR_ROWS (r, h->rows, F * 4)
        k->gated(t_row(h, r), h->dtype, t_row(gu, r), (char *)t_row(gu, r) + up, gu->dtype, F, act);
}

void cpu_gated_backward(struct tensor *dgu, struct tensor *h, const struct tensor *dh, const struct tensor *gu, enum activation act)
{
    struct device *dev = dh->dev;
    const struct kernels *k = cpu_of(dev)->k;
    size_t F = (size_t)dh->cols, up = F * dtype_size(gu->dtype), dup = F * dtype_size(dgu->dtype);
    FOR_ROWS (r, dh->rows, F * 4)
        k->gated_backward(h ? t_row(h, r) : NULL, t_row(dgu, r), (char *)t_row(dgu, r) + dup, dgu->dtype, t_row(dh, r), dh->dtype,
                          t_row(gu, r), (char *)t_row(gu, r) + up, gu->dtype, F, act);
}

void cpu_activate(struct tensor *h, const struct tensor *u, enum activation act)
{
    struct device *dev = h->dev;
    const struct kernels *k = cpu_of(dev)->k;
    FOR_ROWS (r, h->rows, (size_t)h->cols * 4)
        k->gated(t_row(h, r), h->dtype, t_row(u, r), NULL, u->dtype, (size_t)h->cols, act);
}

void cpu_activate_backward(struct tensor *du, struct tensor *h, const struct tensor *dh, const struct tensor *u, enum activation act)
{
    struct device *dev = dh->dev;
    const struct kernels *k = cpu_of(dev)->k;
    FOR_ROWS (r, dh->rows, (size_t)dh->cols * 4)
        k->gated_backward(h ? t_row(h, r) : NULL, t_row(du, r), NULL, du->dtype, t_row(dh, r), dh->dtype, t_row(u, r), NULL,
                          u->dtype, (size_t)dh->cols, act);
}

/* Slots of one expert are of different rows, so threads never meet. */
void cpu_combine(struct tensor *dst, const struct tensor *src, const struct tensor *weight, const int *slot, int n)
{
    struct device *dev = dst->dev;
    const struct kernels *kernel = cpu_of(dev)->k;
    int k = weight->cols;
    FOR_ROWS (i, n, dst->cols / 2)
        kernel->axpy(t_f32(dst, slot[i] / k), t_f32(weight, slot[i] / k)[slot[i] % k], t_row(src, i), src->dtype,
                     (size_t)src->cols);
}

void cpu_combine_backward(struct tensor *dsrc, struct tensor *dweight, const struct tensor *ddst, const struct tensor *src,
                          const struct tensor *weight, const int *slot, int n)
{
    struct device *dev = ddst->dev;
    const struct kernels *kernel = cpu_of(dev)->k;
    int k = weight->cols;
    FOR_ROWS (i, n, ddst->cols) {
        int t = slot[i] / k, j = slot[i] % k;
        t_f32(dweight, t)[j] = kernel->dot(t_row(src, i), src->dtype, t_f32(ddst, t), (size_t)src->cols);
        kernel->multiple(t_row(dsrc, i), dsrc->dtype, t_f32(ddst, t), t_f32(weight, t)[j], (size_t)src->cols);
    }
}

/* ---- optimiser --------------------------------------------------------------------------------------- */

double cpu_sumsq(const struct tensor *t)
{
    struct device *dev = t->dev;
    struct cpu *cpu = cpu_of(dev);
    int rows = CHUNK_WORDS / (t->cols ? t->cols : 1) + 1, chunks = (t->rows + rows - 1) / rows;
    double *sums = scratch_get(&cpu->shared[SHARED_SUMS], (size_t)chunks * sizeof *sums), sum = 0;
    FOR_ROWS (i, chunks, CHUNK_WORDS / 2) {
        sums[i] = 0;
        for (int r = i * rows; r < t->rows && r < (i + 1) * rows; r++)
            sums[i] += cpu->k->sumsq(t_f32(t, r), (size_t)t->cols);
    }
    for (int i = 0; i < chunks; i++)
        sum += sums[i];
    return sum;
}

static struct adamw_now adamw_now(const struct adamw *h)
{
    double c1 = 1 - pow(h->beta1, (double)h->step), c2 = 1 - pow(h->beta2, (double)h->step);
    return (struct adamw_now){ .beta1 = h->beta1, .beta2 = h->beta2, .eps = h->eps, .scale = h->scale,
                               .shrink = 1 - h->lr * h->weight_decay, .rate = (float)(h->lr / c1),
                               .inv_root_c2 = (float)(1 / sqrt(c2)) };
}

void cpu_adamw(struct tensor *master, struct tensor *m, struct tensor *v, const struct tensor *grad,
               const struct adamw *h)
{
    struct device *dev = master->dev;
    const struct kernels *k = cpu_of(dev)->k;
    struct adamw_now now = adamw_now(h);
    FOR_ROWS (r, master->rows, master->cols * 4)
        k->adamw(t_f32(master, r), t_f32(m, r), t_f32(v, r), t_f32(grad, r), &now, (size_t)master->cols);
}

void cpu_adamw8(struct tensor *master, struct moments8 *m, const struct tensor *grad, const struct adamw *h)
{
    struct device *dev = master->dev;
    const struct kernels *k = cpu_of(dev)->k;
    const struct adamw_now now = adamw_now(h);
    float *p = t_f32(master, 0);
    const float *g = t_f32(grad, 0);
    FOR_ROWS (b, (int)m->blocks, MOMENT_BLOCK * 8) {
        size_t at = (size_t)b * MOMENT_BLOCK, n = m->n - at < MOMENT_BLOCK ? m->n - at : MOMENT_BLOCK;
        uint32_t key = (uint32_t)at + (uint32_t)h->step * 0x9e3779b9u;
        k->adamw8(p + at, m->m + at, m->v + at, &m->m_scale[b], &m->v_scale[b], g + at, &now, key, n);
    }
}
