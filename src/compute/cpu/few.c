/* compute/cpu/few.c - when products of few rows are done by our own loop, and proof that it changes nothing.
 *
 * The promise that a row's bits do not depend on its company covers this: before the loop is used for the first
 * time, a handful of products is made both ways, and unless all bits agree oneDNN keeps everything.  They do agree with
 * oneDNN 2.6 on processors with AVX-512 BF16; with AMX, which adds in another order, they should not. */
#include <omp.h>

#include "compute/cpu/cpu.h"

/* How oneDNN 2.6 cuts k. */
static int chunk_of(int k)
{
    return k <= 1024 ? 512 : 1024;
}

enum { MOST_ROWS = 64, MOST_K = 4096, BLOCK = 64 };

/* Blocks of columns go to threads in equal ranges; what is left over is split by rows.  Of fewer rows than threads reading is
 * all the work, and who is done first takes more. */
static void run(const struct few *f, int threads)
{
    int blocks = (f->cols + BLOCK - 1) / BLOCK, each = blocks / threads, n = f->rows < threads ? cpu_stretches(blocks, threads) : threads;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int t = 0; t < n; t++) {
        if (f->rows < threads) {
            few_avx512bf16(f, cpu_stretch_start(blocks, threads, t, n), cpu_stretch_start(blocks, threads, t + 1, n), 0, f->rows);
            continue;
        }
        few_avx512bf16(f, t * each, (t + 1) * each, 0, f->rows);
        for (int b = threads * each; b < blocks; b++)
            few_avx512bf16(f, b, b + 1, f->rows * t / threads, f->rows * (t + 1) / threads);
    }
}

static bool same_as_onednn(struct cpu *cpu, const struct packed *p, enum dtype out, bool accumulate, int rows)
{
    struct mm_shape s = { .m = unit_rows(rows), .n = p->n, .k = p->k, .in = DTYPE_BF16, .out = out, .accumulate = accumulate,
                          .packed = true };
    size_t n = (size_t)s.m * (size_t)p->n, bytes = n * dtype_size(out);
    uint16_t *a = mem_alloc((size_t)s.m * (size_t)p->k, sizeof *a);
    float *c[2] = { mem_alloc(n, sizeof **c), mem_alloc(n, sizeof **c) };
    bool same = a && c[0] && c[1];
    struct rng r;
    rng_init(&r, 1, RNG_TEST, (uint64_t)p->k, (uint32_t)rows);
    for (size_t i = 0; same && i < (size_t)s.m * (size_t)p->k; i++)
        a[i] = cpu_bf16_from_float((float)rng_normal(&r));
    for (size_t i = 0; same && accumulate && i < n; i++)
        c[0][i] = c[1][i] = (float)rng_normal(&r);
    if (same) {
        struct few f = { .a = a, .lda = (size_t)p->k, .rows = s.m, .b = p->data, .nstride = p->layout.nstride, .k = p->k, .chunk = chunk_of(p->k),
                         .cols = p->n, .c = c[0], .ldc = (size_t)p->n, .out = out, .accumulate = accumulate };
        run(&f, 1);
        mm_run(onednn_mm(cpu->onednn, &s), 0, c[1], a, p->data);
        same = !memcmp(c[0], c[1], bytes);
    }
    free(a);
    free(c[0]);
    free(c[1]);
    return same;
}

static bool check_shape(struct cpu *cpu, int k, int n, enum dtype out, bool accumulate, int rows)
{
    struct packed p;
    struct rng r;
    bool same = packed_new(&p, cpu, k, n, DTYPE_BF16) == 0 && p.layout.pair == BLOCK;
    rng_init(&r, 2, RNG_TEST, (uint64_t)k, (uint32_t)n);
    for (size_t i = 0; same && i < p.layout.bytes / 2; i++)
        ((uint16_t *)p.data)[i] = cpu_bf16_from_float((float)rng_normal(&r));
    same = same && same_as_onednn(cpu, &p, out, accumulate, rows);
    packed_release(&p);
    return same;
}

bool cpu_adds_pairs(struct cpu *cpu)
{
    if (cpu->few == FEW_UNKNOWN) {
        bool same = check_shape(cpu, 192, 128, DTYPE_BF16, false, 16) && check_shape(cpu, 1536, 64, DTYPE_F32, true, 8) &&
                    check_shape(cpu, 576, 64, DTYPE_F32, false, 16) && check_shape(cpu, 1024, 64, DTYPE_F32, true, 4) &&
                    check_shape(cpu, MOST_K, 64, DTYPE_F32, false, 2);
        cpu->few = same ? FEW_USED : FEW_NOT;
    }
    return cpu->few == FEW_USED;
}

bool cpu_few_rows(struct tensor *y, const struct tensor *x, const struct packed *p, int n0, bool accumulate)
{
    struct device *dev = y->dev;
    struct cpu *cpu = cpu_of(dev);
    bool fits = x->rows <= MOST_ROWS && p->dtype == DTYPE_BF16 && x->dtype == DTYPE_BF16 && p->layout.pair == BLOCK &&
                p->k % 2 == 0 && p->k <= MOST_K && n0 % BLOCK == 0 && (!accumulate || y->dtype == DTYPE_F32);
    if (!fits || !cpu_adds_pairs(cpu))
        return false;
    struct few f = { .a = x->data, .lda = x->stride, .rows = x->rows, .nstride = p->layout.nstride, .k = p->k, .chunk = chunk_of(p->k), .cols = y->cols,
                     .c = y->data, .ldc = y->stride, .out = y->dtype, .accumulate = accumulate };
    f.b = (const uint16_t *)p->data + (size_t)(n0 / BLOCK) * p->layout.nstride;
    run(&f, cpu_threads(dev, (size_t)x->rows * (size_t)y->cols * (size_t)p->k / 8));
    return true;
}
