/* compute/cpu/linear.c - products with weights, cut into units.
 *
 * A unit is at most 64 rows by all columns of the weight, or by a slab of columns where there are too few rows to keep
 * every thread busy.  A row count that is not a multiple of 64 ends in a unit whose rows are rounded up to
 * one of nine sizes, by way of scratch memory, so that a ragged batch never needs new code.  Tested: a row
 * has the same bits in units of any size and in slabs of any width.
 *
 * Where the processor cannot multiply bf16, weights are packed as float (of rounded values) and units convert
 * their rows on the way in and out. */
#include <omp.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/quant.h"

enum { UNIT_ROWS = 64 };

/* ---- weights -------------------------------------------------------------------------- */

static enum dtype stored_dtype(const struct device *dev, enum dtype dtype)
{
    return dtype == DTYPE_BF16 && dev->fast_bf16 ? DTYPE_BF16 : DTYPE_F32;
}

struct weight *cpu_weight_new(struct device *dev, int out, int in, enum dtype dtype)
{
    struct cpu_weight *w = mem_alloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->base = (struct weight){ .dev = dev, .out = out, .in = in, .dtype = dtype };
    if (packed_new(&w->forward, cpu_of(dev), in, out, stored_dtype(dev, dtype))) {
        free(w);
        return NULL;
    }
    return &w->base;
}

void cpu_weight_free(struct weight *w)
{
    struct cpu_weight *c = (struct cpu_weight *)w;
    packed_release(&c->forward);
    packed_release(&c->backward);
    quantised_free(c->quantised);
    free(c);
}

int cpu_weight_new_quantised(struct weight **out, struct device *dev, int in, enum dtype dtype, const struct quant_rows *part,
                             int n_parts, struct quant_fault *fault)
{
    struct cpu_weight *w = mem_alloc(1, sizeof *w);
    int rc = w ? quantised_new(&w->quantised, dev, in, part, n_parts, fault) : ERR_MEMORY;
    if (rc) {
        free(w);
        return rc;
    }
    w->forward = (struct packed){ .k = in, .dtype = dtype, .split = true, .layout.pair = QUANT_LANES };
    for (int i = 0; i < n_parts; i++)
        w->forward.n += part[i].n;
    *out = &w->base;
    return 0;
}

bool cpu_weight_is_quantised(const struct weight *w)
{
    return ((const struct cpu_weight *)w)->quantised != NULL;
}

size_t cpu_weight_size(const struct weight *w)
{
    const struct cpu_weight *c = (const struct cpu_weight *)w;
    size_t packed = c->forward.layout.bytes + (c->backward.data ? c->backward.layout.bytes : 0);
    return c->quantised ? c->quantised->bytes : packed;
}

void cpu_weight_row(float *out, const struct weight *w, int row)
{
    const struct cpu_weight *c = (const struct cpu_weight *)w;
    if (c->quantised)
        quantised_row(out, w->dev, c->quantised, row);
    else
        packed_column(out, &c->forward, row);
}

void cpu_weight_load(struct weight *w, const struct tensor *src)
{
    struct cpu_weight *c = (struct cpu_weight *)w;
    struct tensor rounded = { 0 };
    const struct tensor *from = src;
    if (w->dtype == DTYPE_BF16 && c->forward.dtype == DTYPE_F32 && src->dtype == DTYPE_F32) {
        if (tensor_new(&rounded, w->dev, DTYPE_BF16, w->out, w->in, NULL))
            mem_die("a rounded matrix of %d x %d", w->out, w->in);   // stored as float, but of bf16 values
        cpu_copy(&rounded, src);
        from = &rounded;
    }
    packed_fill(&c->forward, w->dev, from, false);
    if (c->backward.data)
        packed_fill(&c->backward, w->dev, from, true);
    tensor_release(&rounded);
}

/* A cache inside a weight that stays what it is. */
const struct packed *weight_backward(const struct weight *w)
{
    struct cpu_weight *c = (struct cpu_weight *)w;
    if (c->backward.data)
        return &c->backward;
    if (packed_new(&c->backward, cpu_of(w->dev), w->out, w->in, c->forward.dtype))
        mem_die("the backward copy of a matrix of %d x %d", w->in, w->out);
    packed_turn(&c->backward, w->dev, &c->forward, 0);
    return &c->backward;
}

void cpu_weight_prepare(struct weight *w)
{
    if (!cpu_weight_is_quantised(w))
        (void)weight_backward(w);
}

size_t cpu_weight_plan(struct device *dev, int out, int in, enum dtype dtype, bool backward)
{
    enum dtype stored = stored_dtype(dev, dtype);
    struct onednn *o = cpu_of(dev)->onednn;
    return (backward ? onednn_layout(o, out, in, stored) : onednn_layout(o, in, out, stored)).bytes;
}

/* ---- units ------------------------------------------------------------------------------- */

struct unit { int row, rows, col, cols; const struct mm *mm; int mm_rows; };

int unit_rows(int rows)
{
    static const int sizes[] = { 1, 2, 4, 8, 16, 24, 32, 48, UNIT_ROWS };
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        if (rows <= sizes[i])
            return sizes[i];
    BUG("%d rows in a unit", rows);
}

struct product {
    const struct tensor *x;
    struct tensor *y;
    const struct packed *p;
    int n0;
    bool accumulate;
    enum dtype out;         // what units write
};

static int add_unit(struct unit *u, struct cpu *cpu, const struct product *g, int row, int col, int cols)
{
    int rows = g->x->rows - row < UNIT_ROWS ? g->x->rows - row : UNIT_ROWS;
    *u = (struct unit){ .row = row, .rows = rows, .col = col, .cols = cols, .mm_rows = unit_rows(rows) };
    struct mm_shape s = { .m = u->mm_rows, .n = cols, .k = g->p->k, .in = g->p->dtype, .out = g->out,
                          .accumulate = g->accumulate, .packed = true };
    u->mm = onednn_mm(cpu->onednn, &s);
    return 1;
}

/* Whole rows for as many blocks as divide evenly among the threads, slabs of columns for the rest. */
static int plan_units(struct unit **units, struct cpu *cpu, const struct product *g, int threads)
{
    int rows = g->x->rows, cols = g->y->cols, blocks = (rows + UNIT_ROWS - 1) / UNIT_ROWS;
    int pair = g->p->split && cols >= g->p->layout.pair ? g->p->layout.pair : cols;
    int whole = blocks - blocks % threads, pieces = cols / pair, n = 0;
    int slabs = whole == blocks ? 1 : (threads + blocks - whole - 1) / (blocks - whole);
    slabs = slabs < pieces ? slabs : pieces;
    *units = scratch_get(&cpu->shared[SHARED_UNITS], (size_t)blocks * (size_t)slabs * sizeof **units);
    for (int b = 0; b < whole; b++)
        n += add_unit(&(*units)[n], cpu, g, b * UNIT_ROWS, 0, cols);
    for (int b = whole; b < blocks; b++)
        for (int s = 0; s < slabs; s++) {
            int from = s * pieces / slabs * pair, to = s + 1 == slabs ? cols : (s + 1) * pieces / slabs * pair;
            n += add_unit(&(*units)[n], cpu, g, b * UNIT_ROWS, from, to - from);
        }
    return n;
}

static bool dense(const struct tensor *t)
{
    return t->stride == (size_t)t->cols;
}

static void run_unit(const struct unit *u, const struct product *g, struct cpu *cpu, int thread)
{
    const struct packed *p = g->p;
    size_t in = dtype_size(p->dtype), out = dtype_size(g->out), a_bytes = (size_t)u->mm_rows * (size_t)p->k * in;
    a_bytes = (a_bytes + 63) / 64 * 64;
    bool whole = u->rows == u->mm_rows;
    bool a_direct = whole && dense(g->x) && g->x->dtype == p->dtype;
    bool c_direct = whole && dense(g->y) && g->y->dtype == g->out && u->cols == g->y->cols;
    size_t need = (a_direct ? 0 : a_bytes) + (c_direct ? 0 : (size_t)u->mm_rows * (size_t)u->cols * out);
    char *a = scratch_get(&cpu->thread[thread], need + 64), *c = a_direct ? a : a + a_bytes;
    struct tensor y = tensor_cols(g->y, u->col, u->cols);
    if (a_direct)
        a = t_row(g->x, u->row);
    for (int r = 0; !a_direct && r < u->mm_rows; r++) {
        char *to = a + (size_t)r * (size_t)p->k * in;
        if (r < u->rows)
            cpu->k->convert(to, p->dtype, t_row(g->x, u->row + r), g->x->dtype, (size_t)p->k);
        else
            memset(to, 0, (size_t)p->k * in);
    }
    if (c_direct)
        c = t_row(&y, u->row);
    for (int r = 0; !c_direct && g->accumulate && r < u->rows; r++)
        cpu->k->convert(c + (size_t)r * (size_t)u->cols * out, g->out, t_row(&y, u->row + r), y.dtype, (size_t)u->cols);
    size_t col = p->split ? (size_t)(g->n0 + u->col) / (size_t)p->layout.pair * p->layout.nstride : 0;
    mm_run(u->mm, thread, c, a, (char *)p->data + col * in);
    for (int r = 0; !c_direct && r < u->rows; r++)
        cpu->k->convert(t_row(&y, u->row + r), y.dtype, c + (size_t)r * (size_t)u->cols * out, g->out, (size_t)u->cols);
}

void cpu_product(struct tensor *y, const struct tensor *x, const struct packed *p, int n0, bool accumulate)
{
    if (cpu_few_rows(y, x, p, n0, accumulate))
        return;
    struct device *dev = y->dev;
    struct cpu *cpu = cpu_of(dev);
    struct product g = { .x = x, .y = y, .p = p, .n0 = n0, .accumulate = accumulate, .out = y->dtype };
    if (p->dtype == DTYPE_F32 || accumulate)
        g.out = DTYPE_F32;
    int threads = cpu_threads(dev, (size_t)x->rows * (size_t)y->cols * (size_t)p->k / 8);
    struct unit *units = NULL;
    int n = plan_units(&units, cpu, &g, threads);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int i = 0; i < n; i++)
        run_unit(&units[i], &g, cpu, omp_get_thread_num());
}

void cpu_linear(struct tensor *y, const struct tensor *x, const struct weight *w, bool accumulate)
{
    const struct cpu_weight *c = (const struct cpu_weight *)w;
    if (c->quantised)
        quant_linear(y, x, c->quantised, accumulate);
    else
        cpu_product(y, x, &c->forward, 0, accumulate);
}

void cpu_linear_backward_x(struct tensor *dx, const struct tensor *dy, const struct weight *w, bool accumulate)
{
    if (cpu_weight_is_quantised(w))
        quant_linear_backward_x(dx, dy, w, accumulate);
    else
        cpu_product(dx, dy, weight_backward(w), 0, accumulate);
}

/* ---- backward through a head ------------------------------------------------------------------- */

static const size_t SLAB_BYTES = 8u << 20;

/* Slabs that the columns of a backward copy are taken in: 1 where the whole of it is small. */
static int slab_count(const struct packed *p)
{
    int pair = p->split ? p->layout.pair : p->n, pieces = p->n / (pair ? pair : 1);
    size_t piece = (size_t)p->layout.k * (size_t)pair * dtype_size(p->dtype);
    int each = SLAB_BYTES > piece ? (int)(SLAB_BYTES / piece) : 1;
    return p->layout.bytes > 2 * SLAB_BYTES && pieces > each ? (pieces + each - 1) / each : 1;
}

/* Columns before slab s; the last slab has the odd ones too. */
static int slab_start(const struct packed *p, int s, int slabs)
{
    int pair = p->layout.pair;
    return s == slabs ? p->n : (int)((int64_t)(p->n / pair) * s / slabs) * pair;
}

static size_t slab_bytes(const struct packed *p, int slabs)
{
    size_t most = 0, pair = (size_t)p->layout.pair;
    for (int s = 0; s < slabs; s++) {
        size_t cols = (size_t)(slab_start(p, s + 1, slabs) - slab_start(p, s, slabs));
        most = cols > most ? cols : most;
    }
    return (most + pair - 1) / pair * p->layout.nstride * dtype_size(p->dtype);
}

size_t cpu_head_slab(const struct device *dev, int out, int in, enum dtype dtype)
{
    struct packed p = packed_shape(cpu_of(dev), out, in, stored_dtype(dev, dtype));
    int slabs = slab_count(&p);
    return slabs > 1 ? slab_bytes(&p, slabs) : 0;
}

void cpu_slabs_backward_x(struct tensor *dx, const struct tensor *dy, const struct weight *w)
{
    struct cpu_weight *c = (struct cpu_weight *)w;
    struct cpu *cpu = cpu_of(w->dev);
    if (!c->quantised && !c->backward.k)
        c->backward = packed_shape(cpu, w->out, w->in, c->forward.dtype);
    int slabs = c->quantised || c->backward.data ? 1 : slab_count(&c->backward);
    if (slabs == 1) {
        cpu_linear_backward_x(dx, dy, w, false);
        return;
    }
    struct packed slab = c->backward;
    size_t bytes = slab_bytes(&slab, slabs);
    slab.data = scratch_get(&cpu->shared[SHARED_SLAB], bytes);
    for (int s = 0; s < slabs; s++) {
        int from = slab_start(&c->backward, s, slabs);
        slab.n = slab_start(&c->backward, s + 1, slabs) - from;
        if (slab.layout.bytes != (size_t)w->out * (size_t)w->in * dtype_size(slab.dtype))
            memset(slab.data, 0, bytes);
        packed_turn(&slab, w->dev, &c->forward, from);
        struct tensor part = tensor_cols(dx, from, slab.n);
        cpu_product(&part, dy, &slab, 0, false);
    }
}
