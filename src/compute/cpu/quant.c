/* compute/cpu/quant.c - products with weights in blocks.
 *
 * Rows of x are rounded once per product.  With few rows the columns are cut into a few long stretches of memory; with many,
 * units are a tile of 64 rows by a slab of columns.  Threads take them dynamically.
 *
 * The gradient by x is made from slabs of the weight's columns, unpacked to the compute dtype and packed as other
 * products read them: the sums over a row of dy are oneDNN's, whole. */
#include <omp.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/quant.h"

void quant_round(struct quant_act *a, const struct tensor *x)
{
    const struct quant_kernels *k = cpu_of(x->dev)->quant;
    int threads = cpu_threads(x->dev, (size_t)x->rows * (size_t)x->cols / 4);
    a->rows = x->rows;
    a->blocks = x->cols / 32;
    if (x->rows == 1) {         // thousands of times a second: not even a region of one thread
        k->round(a->data, 1, 0, x->data, x->dtype, a->blocks);
        return;
    }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int r = 0; r < x->rows; r++) {
        int first = r / QUANT_TILE * QUANT_TILE, rows = x->rows - first < QUANT_TILE ? x->rows - first : QUANT_TILE;
        k->round(quant_act_tile(a, first), rows, r - first, t_row(x, r), x->dtype, a->blocks);
    }
}

/* Groups of a part for the rows of one tile; y's column 0 is column col0 of the product. */
static void part_tile(struct tensor *y, const struct quant_kernels *k, const struct quant_part *p, const struct quant_act *a, int row0,
                      int group0, int group1, int col0, bool accumulate)
{
    const struct quant_form *f = &quant_forms[p->type];
    int rows = a->rows - row0 < QUANT_TILE ? a->rows - row0 : QUANT_TILE;
    struct quant_tile t = { .act = quant_act_tile(a, row0), .rows = rows, .blocks = p->blocks, .ldy = y->stride, .out = y->dtype,
                            .accumulate = accumulate };
    for (int g = group0; g < group1; g++) {
        size_t at = (size_t)g * (size_t)p->blocks * QUANT_LANES;
        int col = g * QUANT_LANES;
        t.scale = p->scale + at * (size_t)f->scale;
        t.high = p->high + at * (size_t)f->high;
        t.quant = p->quant + at * (size_t)f->quant;
        t.cols = p->cols - col < QUANT_LANES ? p->cols - col : QUANT_LANES;
        t.y = (char *)y->data + (size_t)(p->col + col - col0) * dtype_size(y->dtype);
        k->tile[p->type](&t);
    }
}

/* Groups of all parts, counted through. */
static void groups_tile(struct tensor *y, const struct quantised *q, const struct quant_act *a, int row0, int from, int to, int col0,
                        bool accumulate)
{
    const struct quant_kernels *k = cpu_of(y->dev)->quant;
    int before = 0;
    for (int i = 0; i < q->n_parts; before += q->part[i++].groups) {
        int n = q->part[i].groups, first = from - before > 0 ? from - before : 0, last = to - before < n ? to - before : n;
        if (first < last)
            part_tile(y, k, &q->part[i], a, row0, first, last, col0, accumulate);
    }
}

void quant_product_tile(struct tensor *y, const struct quantised *q, const struct quant_act *a, int row0, int col0, bool accumulate)
{
    int from = 0, to = 0, end = col0 + y->cols;
    for (int i = 0; i < q->n_parts; i++) {
        const struct quant_part *p = &q->part[i];
        from += col0 <= p->col ? 0 : col0 >= p->col + p->cols ? p->groups : (col0 - p->col) / QUANT_LANES;
        to += end <= p->col ? 0 : end >= p->col + p->cols ? p->groups : (end - p->col) / QUANT_LANES;
    }
    groups_tile(y, q, a, row0, from, to, col0, accumulate);
}

void quant_linear(struct tensor *y, const struct tensor *x, const struct quantised *q, bool accumulate)
{
    enum { SLAB = 32 };         // groups of a unit: 512 columns, in the second-level cache for usual widths
    struct cpu *cpu = cpu_of(y->dev);
    struct quant_act a = { .data = scratch_get(&cpu->shared[SHARED_ROUNDED], quant_act_bytes(x->rows, x->cols)) };
    quant_round(&a, x);
    int threads = cpu_threads(y->dev, (size_t)x->rows * (size_t)y->cols * (size_t)x->cols / 8);
    int tiles = (x->rows + QUANT_TILE - 1) / QUANT_TILE, slabs = tiles == 1 ? cpu_stretches(q->groups, threads) : (q->groups + SLAB - 1) / SLAB;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int u = 0; u < tiles * slabs; u++) {
        int tile = u % tiles, slab = u / tiles, row0 = tile * QUANT_TILE;
        struct tensor rows = tensor_rows(y, row0, y->rows - row0 < QUANT_TILE ? y->rows - row0 : QUANT_TILE);
        int from = tiles == 1 ? cpu_stretch_start(q->groups, threads, slab, slabs) : slab * SLAB;
        int to = tiles == 1 ? cpu_stretch_start(q->groups, threads, slab + 1, slabs) : slab * SLAB + SLAB;
        groups_tile(&rows, q, &a, row0, from, to < q->groups ? to : q->groups, 0, accumulate);
    }
}

/* ---- gradient by x -------------------------------------------------------------------------------- */

/* Columns in0 .. in0 + to->rows of the weight, as rows of `to` (in,out). */
static void unpack_columns(struct tensor *to, const struct device *dev, const struct quantised *q, int in0)
{
    const struct quant_kernels *k = cpu_of(dev)->quant;
    int threads = cpu_threads(dev, (size_t)to->rows * (size_t)to->cols);
    for (int i = 0; i < q->n_parts; i++) {
        const struct quant_part *p = &q->part[i];
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int g = 0; g < p->groups; g++) {
            float values[32][QUANT_LANES] __attribute__((aligned(64)));
            int left = p->cols - g * QUANT_LANES, n = left < QUANT_LANES ? left : QUANT_LANES;
            for (int b = 0; b < to->rows / 32; b++) {
                k->unpack(values, p, g, in0 / 32 + b);
                for (int j = 0; j < 32; j++)
                    memcpy(t_f32(to, b * 32 + j) + p->col + g * QUANT_LANES, values[j], (size_t)n * sizeof(float));
            }
        }
    }
}

void quant_linear_backward_x(struct tensor *dx, const struct tensor *dy, const struct weight *w, bool accumulate)
{
    const struct quantised *q = ((const struct cpu_weight *)w)->quantised;
    struct cpu *cpu = cpu_of(w->dev);
    int width = w->out <= 1 << 14 ? 256 : 64;
    width = width < w->in ? width : w->in;
    struct tensor plain = { .dev = w->dev, .dtype = DTYPE_F32, .cols = w->out, .stride = (size_t)w->out };
    plain.data = scratch_get(&cpu->shared[SHARED_ROUNDED], (size_t)width * (size_t)w->out * sizeof(float));
    struct packed p;
    for (int in0 = 0, made = 0; in0 < w->in; in0 += width) {
        int n = w->in - in0 < width ? w->in - in0 : width;
        if (n != made) {
            if (made)
                packed_release(&p);
            if (packed_new(&p, cpu, w->out, n, w->dtype == DTYPE_BF16 && w->dev->fast_bf16 ? DTYPE_BF16 : DTYPE_F32))
                mem_die("%d columns of a matrix of %d rows", n, w->out);
            made = n;
        }
        plain.rows = n;
        unpack_columns(&plain, w->dev, q, in0);
        packed_fill(&p, w->dev, &plain, false);
        struct tensor slab = tensor_cols(dx, in0, n);
        cpu_product(&slab, dy, &p, 0, accumulate);
    }
    packed_release(&p);
}
