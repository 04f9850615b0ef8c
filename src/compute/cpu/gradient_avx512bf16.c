/* compute/cpu/gradient_avx512bf16.c - dw += dy^T x in bf16, without transposing anything.
 *
 * The instruction multiplies pairs of bf16 values and adds both products.  Here a pair is a column's values in two rows
 * that follow each other, so dy and x are both laid out by pairs of rows, [pair][column][2], which is an interleaving of rows:
 * of x once for all, in slabs of 64 columns, of dy by the thread that makes those rows of dw.  A tile is six
 * rows of dw by 64 columns in registers.  Rows of x come in pieces: sums over one start at zero and are then added to
 * dw, which stays in the cache meanwhile.  The rows of dw that the next tile adds to are asked for beforehand. */
#include <immintrin.h>

#include "compute/cpu/cpu.h"

enum { LANES = 16, TILE_ROWS = 6, TILE_VECTORS = GRADIENT_COLS / LANES };

static inline __mmask16 lanes_left(int n)
{
    return n >= LANES ? 0xffff : n > 0 ? (__mmask16)((1u << n) - 1) : 0;
}

/* ---- pairs of rows ------------------------------------------------------------------------------- */

/* to[0..n-1], rounded up to whole vectors, from n columns of two rows; second NULL: a row of zeros. */
static void interleave(uint32_t *to, const uint16_t *first, const uint16_t *second, int n)
{
    for (int i = 0; i < n; i += LANES) {
        __mmask16 m = lanes_left(n - i);
        __m512i a = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, first + i)), b = _mm512_setzero_si512();
        if (second)
            b = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, second + i));
        _mm512_storeu_si512(to + i, _mm512_or_si512(a, _mm512_slli_epi32(b, 16)));
    }
}

static const uint16_t *row_after(const uint16_t *row, size_t stride, bool there)
{
    return there ? row + stride : NULL;
}

void gradient_pack(const struct gradient *g, int pair)
{
    const uint16_t *x = g->x + 2 * (size_t)pair * g->ldx, *next = row_after(x, g->ldx, 2 * pair + 1 < g->n);
    size_t pairs = ((size_t)g->n + 1) / 2;
    for (int col = 0; col < g->cols; col += GRADIENT_COLS) {
        uint32_t *to = g->packed + ((size_t)(col / GRADIENT_COLS) * pairs + (size_t)pair) * GRADIENT_COLS;
        int cols = g->cols - col < GRADIENT_COLS ? g->cols - col : GRADIENT_COLS;
        interleave(to, x + col, next ? next + col : NULL, cols);
    }
}

/* ---- tiles ------------------------------------------------------------------------------------------ */

struct tile { float *c; size_t ldc; int rows, cols; const uint32_t *a; size_t lda; const uint32_t *b; const struct gradient *g; };

static inline __attribute__((always_inline)) void add_tile(__m512 acc[TILE_ROWS][TILE_VECTORS], const struct tile *t, int vectors)
{
#pragma GCC unroll 6
    for (int r = 0; r < TILE_ROWS; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            __mmask16 m = r < t->rows ? lanes_left(t->cols - v * LANES) : 0;
            float *at = t->c + (size_t)r * t->ldc + v * LANES;
            _mm512_mask_storeu_ps(at, m, _mm512_add_ps(acc[r][v], _mm512_maskz_loadu_ps(m, at)));
        }
}

/* vectors is a constant where this is called, so that acc stays in registers. */
static inline __attribute__((always_inline)) void run_tile(const struct tile *t, int vectors)
{
    const uint32_t *a = t->a, *b = t->b;
    for (int r = 0; r < t->rows; r++)
        for (int v = 0; v < vectors; v++)
            _mm_prefetch((const char *)(t->c + (size_t)r * t->ldc + v * LANES), _MM_HINT_T0);
    for (int i = 0; i < t->g->pieces; i++) {
        __m512 acc[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 6
        for (int r = 0; r < TILE_ROWS; r++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                acc[r][v] = _mm512_setzero_ps();
        for (int p = (t->g->piece[i] + 1) / 2; p > 0; p--, a += t->lda, b += GRADIENT_COLS) {
            __m512bh w[TILE_VECTORS];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                w[v] = (__m512bh)_mm512_loadu_si512(b + v * LANES);
#pragma GCC unroll 6
            for (int r = 0; r < TILE_ROWS; r++) {
                __m512bh y = (__m512bh)_mm512_set1_epi32((int)a[r]);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++)
                    acc[r][v] = _mm512_dpbf16_ps(acc[r][v], y, w[v]);
            }
        }
        add_tile(acc, t, vectors);
    }
}

static void run_wide(const struct tile *t) { run_tile(t, 4); }
static void run_half(const struct tile *t) { run_tile(t, 2); }
static void run_narrow(const struct tile *t) { run_tile(t, 1); }

size_t gradient_panel(const struct gradient *g, int rows)
{
    rows = (rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;      // a tile reads all its rows, and stores those there are
    return (size_t)((rows + LANES - 1) / LANES * LANES) * (((size_t)g->n + 1) / 2);
}

void gradient_rows(const struct gradient *g, uint32_t *panel, int row, int rows)
{
    size_t pairs = ((size_t)g->n + 1) / 2, wide = gradient_panel(g, rows) / pairs;
    for (size_t p = 0; p < pairs; p++) {
        const uint16_t *dy = g->dy + 2 * p * g->ldy + row;
        interleave(panel + p * wide, dy, row_after(dy, g->ldy, 2 * (int)p + 1 < g->n), rows);
        for (size_t c = ((size_t)rows + LANES - 1) / LANES * LANES; c < wide; c++)
            panel[p * wide + c] = 0;
    }
    for (int col = 0; col < g->cols; col += GRADIENT_COLS)
        for (int r = 0; r < rows; r += TILE_ROWS) {
            struct tile t = { .c = g->dw + (size_t)(row + r) * g->ldw + col, .ldc = g->ldw, .a = panel + r, .lda = wide, .g = g };
            t.b = g->packed + (size_t)(col / GRADIENT_COLS) * pairs * GRADIENT_COLS;
            t.rows = rows - r < TILE_ROWS ? rows - r : TILE_ROWS;
            t.cols = g->cols - col < GRADIENT_COLS ? g->cols - col : GRADIENT_COLS;
            (t.cols > 2 * LANES ? run_wide : t.cols > LANES ? run_half : run_narrow)(&t);
        }
}
