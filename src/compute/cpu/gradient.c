/* compute/cpu/gradient.c - gradients of weights, dw += dy^T x: products of two activations.
 *
 * Rows are taken in fixed pieces; the sum over a piece starts at zero and is added to dw, in order.  Threads share dw, so
 * they never meet and their number does not show.
 *
 * In bf16 our own loops do it, where they make the sums that oneDNN makes (few.c finds that out): pieces of 256 rows, which is how
 * oneDNN 2.6 cuts these, then 128 and what is left.  Else oneDNN's transposed products of blocks of dw, in pieces of 512, then
 * 256, 128 and 64 rows, the last padded with zeros. */
#include <omp.h>

#include "compute/cpu/cpu.h"

enum { PIECE_MIN = 64 };

static int next_piece(int left, int most)
{
    int piece = most;
    while (piece > PIECE_MIN && piece > left)
        piece /= 2;
    return piece;
}

/* ---- pairs of rows ----------------------------------------------------------------------------- */

enum { PIECE = 256, MOST_PIECES = 8, SPAN = MOST_PIECES * PIECE, BLOCK_ROWS = 96, BLOCK_LEAST = 12 };

/* Rows of dw that a thread takes at a time: few enough that all have work to the end. */
static int block_rows(int rows, int threads)
{
    int block = BLOCK_ROWS;
    while (block > BLOCK_LEAST && rows < 2 * threads * block)
        block /= 2;
    return block;
}

/* At most SPAN rows of dy and x: dw is read and written once for them. */
static void add_span(struct tensor *dw, const struct tensor *dy, const struct tensor *x)
{
    struct cpu *cpu = cpu_of(dw->dev);
    int piece[MOST_PIECES + 3], pairs = (x->rows + 1) / 2, slabs = (dw->cols + GRADIENT_COLS - 1) / GRADIENT_COLS;
    struct gradient g = { .dw = dw->data, .ldw = dw->stride, .cols = dw->cols, .dy = dy->data, .ldy = dy->stride,
                          .x = x->data, .ldx = x->stride, .n = x->rows, .piece = piece };
    for (int left = x->rows; left > 0; left -= piece[g.pieces++]) {
        int next = next_piece(left, PIECE);
        piece[g.pieces] = next < left ? next : left;
    }
    g.packed = scratch_get(&cpu->shared[SHARED_SUMS], (size_t)slabs * GRADIENT_COLS * (size_t)pairs * sizeof *g.packed);
    int threads = cpu_threads(dw->dev, (size_t)dw->rows * (size_t)dw->cols * (size_t)x->rows / 8), block = block_rows(dw->rows, threads);
#pragma omp parallel num_threads(threads)
    {
        uint32_t *panel = scratch_get(&cpu->thread[omp_get_thread_num()], gradient_panel(&g, block) * sizeof *panel);
#pragma omp for schedule(static)
        for (int p = 0; p < pairs; p++)
            gradient_pack(&g, p);
#pragma omp for schedule(dynamic)
        for (int row = 0; row < dw->rows; row += block)
            gradient_rows(&g, panel, row, dw->rows - row < block ? dw->rows - row : block);
    }
}

/* ---- oneDNN ---------------------------------------------------------------------------------------- */

enum { DW_ROWS = 96, DW_COLS = 768, DW_PIECE = 512 };

/* dw block (o0.., i0..) += piece of dy^T x, for `k` rows. */
static const struct mm *piece_mm(struct cpu *cpu, const struct tensor *dw, const struct tensor *dy, const struct tensor *x,
                                 int o0, int i0, int k)
{
    struct mm_shape s = { .k = k, .in = dy->dtype, .out = DTYPE_F32, .accumulate = true,
                          .lda = (int)dy->stride, .ldb = (int)x->stride, .ldc = (int)dw->stride };
    s.m = dw->rows - o0 < DW_ROWS ? dw->rows - o0 : DW_ROWS;
    s.n = dw->cols - i0 < DW_COLS ? dw->cols - i0 : DW_COLS;
    return onednn_mm(cpu->onednn, &s);
}

static void add_piece(struct tensor *dw, const struct tensor *dy, const struct tensor *x)
{
    struct cpu *cpu = cpu_of(dw->dev);
    int down = (dw->rows + DW_ROWS - 1) / DW_ROWS, across = (dw->cols + DW_COLS - 1) / DW_COLS;
    int threads = cpu_threads(dw->dev, (size_t)dw->rows * (size_t)dw->cols * (size_t)x->rows / 8);
    const struct mm **mm = scratch_get(&cpu->shared[SHARED_UNITS], (size_t)(down * across) * sizeof *mm);
    for (int i = 0; i < down * across; i++)
        mm[i] = piece_mm(cpu, dw, dy, x, i / across * DW_ROWS, i % across * DW_COLS, x->rows);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int i = 0; i < down * across; i++) {
        int o0 = i / across * DW_ROWS, i0 = i % across * DW_COLS;
        struct tensor c = tensor_cols(dw, i0, dw->cols - i0);
        struct tensor a = tensor_cols(dy, o0, dy->cols - o0), b = tensor_cols(x, i0, x->cols - i0);
        mm_run(mm[i], omp_get_thread_num(), t_row(&c, o0), t_row(&a, 0), t_row(&b, 0));
    }
}

/* A dense copy of rows start.. in dtype, padded with rows of zeros up to `rows`. */
static struct tensor padded(struct device *dev, const struct tensor *t, int start, int rows, enum dtype dtype, char *at)
{
    struct tensor c = { .dev = dev, .dtype = dtype, .rows = rows, .cols = t->cols, .stride = (size_t)t->cols, .data = at };
    int have = t->rows - start < rows ? t->rows - start : rows;
    struct tensor from = tensor_rows(t, start, have), to = tensor_rows(&c, 0, have);
    cpu_copy(&to, &from);
    memset(t_row(&c, have), 0, (size_t)(rows - have) * c.stride * dtype_size(dtype));
    return c;
}

static void by_onednn(struct tensor *dw, const struct tensor *dy, const struct tensor *x, enum dtype dtype)
{
    struct cpu *cpu = cpu_of(dw->dev);
    for (int t = 0, piece; t < x->rows; t += piece) {
        piece = next_piece(x->rows - t, DW_PIECE);
        if (dtype == x->dtype && piece <= x->rows - t) {
            struct tensor a = tensor_rows(dy, t, piece), b = tensor_rows(x, t, piece);
            add_piece(dw, &a, &b);
            continue;
        }
        size_t bytes = ((size_t)piece * (size_t)dy->cols * dtype_size(dtype) + 63) / 64 * 64;
        char *at = scratch_get(&cpu->shared[SHARED_SUMS], bytes + (size_t)piece * (size_t)x->cols * dtype_size(dtype));
        struct tensor a = padded(dw->dev, dy, t, piece, dtype, at);
        struct tensor b = padded(dw->dev, x, t, piece, dtype, at + bytes);
        add_piece(dw, &a, &b);
    }
}

void cpu_linear_backward_w(struct tensor *dw, const struct tensor *dy, const struct tensor *x)
{
    bool bf16 = x->dtype == DTYPE_BF16 && dw->dev->fast_bf16;
    if (!bf16 || !cpu_adds_pairs(cpu_of(dw->dev))) {
        by_onednn(dw, dy, x, bf16 ? DTYPE_BF16 : DTYPE_F32);
        return;
    }
    for (int t = 0; t < x->rows; t += SPAN) {
        int rows = x->rows - t < SPAN ? x->rows - t : SPAN;
        struct tensor a = tensor_rows(dy, t, rows), b = tensor_rows(x, t, rows);
        add_span(dw, &a, &b);
    }
}
