/* compute/cpu/pack.c - weights laid out as the multiplications read them.
 *
 * The layout is oneDNN's choice.  The usual one is blocks of `pair` columns in which, for bf16, rows go in pairs:
 *     f32   [n / pair][k][pair]           bf16   [n / pair][k / 2][pair][2]
 * and gets short loops; any other is filled element by element through mm_offset. */
#include <omp.h>

#include "compute/cpu/cpu.h"

struct packed packed_shape(struct cpu *cpu, int k, int n, enum dtype dtype)
{
    struct packed p = { .k = k, .n = n, .dtype = dtype, .layout = onednn_layout(cpu->onednn, k, n, dtype) };
    if (p.layout.pair) {
        struct mm_layout one = onednn_layout(cpu->onednn, k, p.layout.pair, dtype);
        p.split = one.pair == p.layout.pair && one.k == p.layout.k;
    }
    return p;
}

int packed_new(struct packed *p, struct cpu *cpu, int k, int n, enum dtype dtype)
{
    *p = packed_shape(cpu, k, n, dtype);
    p->data = piece_new(cpu, p->layout.bytes);
    if (!p->data)
        return ERR_MEMORY;
    if (p->layout.bytes != (size_t)k * (size_t)n * dtype_size(dtype))
        memset(p->data, 0, p->layout.bytes);    // what is padding stays zero
    return 0;
}

void packed_release(struct packed *p)
{
    piece_free(p->data);
    *p = (struct packed){ 0 };
}

static void fill_any(struct packed *p, const struct tensor *from, bool transposed)
{
    for (int k = 0; k < p->k; k++)
        for (int n = 0; n < p->n; n++) {
            float x = transposed ? t_get(from, k, n) : t_get(from, n, k);
            size_t at = mm_offset(&p->layout, k, n);
            if (p->dtype == DTYPE_F32)
                ((float *)p->data)[at] = x;
            else
                ((uint16_t *)p->data)[at] = cpu_bf16_from_float(x);
        }
}

/* One block of columns from rows n0.. of a (n,k) tensor, through a copy in the packed dtype. */
static void fill_block(struct packed *p, const struct kernels *kernels, struct scratch *scratch,
                       const struct tensor *from, int n0)
{
    size_t pair = (size_t)p->layout.pair, size = dtype_size(p->dtype), words = size == 2 ? 2 : 1;
    size_t row = ((size_t)p->layout.k + 1) / 2 * 2;
    size_t rows = (size_t)(p->n - n0) < pair ? (size_t)(p->n - n0) : pair;
    char *copy = scratch_get(scratch, rows * row * size);
    for (size_t r = 0; r < rows; r++) {
        kernels->convert(copy + r * row * size, p->dtype, t_row(from, n0 + (int)r), from->dtype, (size_t)p->k);
        memset(copy + (r * row + (size_t)p->k) * size, 0, (row - (size_t)p->k) * size);
    }
    uint32_t *to = (uint32_t *)((char *)p->data + (size_t)n0 / pair * p->layout.nstride * size);
    kernels->transpose32(to, pair, (const uint32_t *)copy, row / words, rows, ((size_t)p->k + words - 1) / words);
}

/* One block of columns n0.. of a (k,n) tensor. */
static void fill_block_transposed(struct packed *p, const struct kernels *kernels, struct scratch *scratch,
                                  const struct tensor *from, int n0)
{
    size_t pair = (size_t)p->layout.pair, size = dtype_size(p->dtype);
    size_t cols = (size_t)(p->n - n0) < pair ? (size_t)(p->n - n0) : pair;
    char *to = (char *)p->data + (size_t)n0 / pair * p->layout.nstride * size;
    if (p->dtype == DTYPE_F32) {
        for (int k = 0; k < p->k; k++)
            kernels->convert(to + (size_t)k * pair * size, DTYPE_F32,
                             (char *)t_row(from, k) + (size_t)n0 * dtype_size(from->dtype), from->dtype, cols);
        return;
    }
    uint16_t *copy = scratch_get(scratch, 2 * pair * sizeof *copy);
    for (int k = 0; k < p->k; k += 2) {
        memset(copy, 0, 2 * pair * sizeof *copy);
        for (int j = 0; j < 2 && k + j < p->k; j++)
            kernels->convert(copy + (size_t)j * pair, DTYPE_BF16,
                             (char *)t_row(from, k + j) + (size_t)n0 * dtype_size(from->dtype), from->dtype, cols);
        kernels->interleave((uint32_t *)to + (size_t)(k / 2) * pair, copy, copy + pair, pair);
    }
}

void packed_fill(struct packed *p, const struct device *dev, const struct tensor *from, bool transposed)
{
    struct cpu *cpu = cpu_of(dev);
    if (!p->layout.pair) {
        fill_any(p, from, transposed);
        return;
    }
    int threads = cpu_threads(dev, (size_t)p->k * (size_t)p->n / 8);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int n0 = 0; n0 < p->n; n0 += p->layout.pair) {
        struct scratch *scratch = &cpu->thread[omp_get_thread_num()];
        if (transposed)
            fill_block_transposed(p, cpu->k, scratch, from, n0);
        else
            fill_block(p, cpu->k, scratch, from, n0);
    }
}

void packed_rows(float *to, const struct packed *p, int k0, int count)
{
    for (int k = k0; k < k0 + count; k++)
        for (int n = 0; n < p->n; n++) {
            size_t at = mm_offset(&p->layout, k, n);
            *to++ = p->dtype == DTYPE_F32 ? ((float *)p->data)[at] : cpu_bf16_to_float(((uint16_t *)p->data)[at]);
        }
}

static float value_at(const struct packed *p, size_t at)
{
    return p->dtype == DTYPE_F32 ? ((float *)p->data)[at] : cpu_bf16_to_float(((uint16_t *)p->data)[at]);
}

void packed_column(float *to, const struct packed *p, int n)
{
    size_t words = p->dtype == DTYPE_BF16 ? 2 : 1, pair = (size_t)p->layout.pair;
    for (int k = 0; k < p->k && !pair; k++)
        to[k] = value_at(p, mm_offset(&p->layout, k, n));
    if (!pair)
        return;
    size_t at = (size_t)n / pair * p->layout.nstride + (size_t)n % pair * words;
    for (size_t k = 0; k < (size_t)p->k; k++)
        to[k] = value_at(p, at + k / words * pair * words + k % words);
}

/* Element by element; both layouts have short strides within a tile.  Column n is row `first` + n of from. */
static void turn_tile(struct packed *to, const struct packed *from, int first, int k0, int n0, int tile)
{
    int k1 = k0 + tile < to->k ? k0 + tile : to->k, n1 = n0 + tile < to->n ? n0 + tile : to->n;
    for (int k = k0; k < k1; k++)
        for (int n = n0; n < n1; n++) {
            size_t a = mm_offset(&to->layout, k, n), b = mm_offset(&from->layout, first + n, k);
            if (to->dtype == DTYPE_F32)
                ((float *)to->data)[a] = ((const float *)from->data)[b];
            else
                ((uint16_t *)to->data)[a] = ((const uint16_t *)from->data)[b];
        }
}

/* bf16 in the usual layout, a whole tile of pair x pair: words of two rows become words of two columns. */
static void turn_pairs(uint32_t *to, const uint32_t *from, size_t pair, const struct kernels *kernels, struct scratch *scratch)
{
    uint16_t *rows = scratch_get(scratch, pair * pair * sizeof *rows);      // row k of to: n = 0 .. pair
    kernels->transpose32((uint32_t *)rows, pair / 2, from, pair, pair / 2, pair);
    for (size_t k = 0; k < pair; k += 2)
        kernels->interleave(to + k / 2 * pair, rows + k * pair, rows + (k + 1) * pair, pair);
}

void packed_turn(struct packed *to, const struct device *dev, const struct packed *from, int first)
{
    struct cpu *cpu = cpu_of(dev);
    int tile = to->layout.pair > 0 ? to->layout.pair : 64, threads = cpu_threads(dev, (size_t)to->k * (size_t)to->n);
    bool words = to->dtype == DTYPE_BF16 && to->layout.pair > 0 && to->layout.pair == from->layout.pair;
    int across = (to->n + tile - 1) / tile, down = (to->k + tile - 1) / tile;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int i = 0; i < across * down; i++) {
        int n0 = i / down * tile, k0 = i % down * tile;
        if (!words || n0 + tile > to->n || k0 + tile > to->k) {
            turn_tile(to, from, first, k0, n0, tile);
            continue;
        }
        size_t pair = (size_t)tile, rows = (size_t)(first + n0) * pair, cols = (size_t)k0 * pair;
        uint16_t *t = (uint16_t *)to->data + (size_t)n0 / pair * to->layout.nstride + cols;
        const uint16_t *f = (const uint16_t *)from->data + (size_t)k0 / pair * from->layout.nstride + rows;
        turn_pairs((uint32_t *)t, (const uint32_t *)f, pair, cpu->k, &cpu->thread[omp_get_thread_num()]);
    }
}
