/* compute/cpu/few_avx512bf16.c - products of few rows, where reading the weight is most of the work.
 *
 * While tokens are generated a weight is read from memory for every 1 to 64 rows.  oneDNN computes when the data has
 * arrived and waits when it has not; here each round of the inner loop also asks for a piece of the block of
 * columns that comes next, so that reading and computing overlap.  With very few rows there is nothing to overlap, and the
 * processor's own reading ahead is faster (docs/speed.md).  A block is 64 columns; a tile is up to six rows of it, four
 * registers each.  Sums add pairs of k in order, in chunks that start at zero, as oneDNN does on processors of this
 * kind: few.c compares the bits before it trusts this, and takes oneDNN where they differ. */
#include <immintrin.h>

#include "compute/cpu/cpu.h"

enum { COLS = 64, TILE_ROWS = 6, LANES = 16 };

struct tile { const uint16_t *a; size_t lda; const uint16_t *b; int pairs, chunk; const char *next; int lines, per_round; };

static inline __attribute__((always_inline)) void add_pair(__m512 acc[TILE_ROWS][4], const struct tile *t, int rows, int p)
{
    const uint16_t *b = t->b + (size_t)p * 2 * COLS;
    __m512bh w[4];
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++)
        w[c] = (__m512bh)_mm512_loadu_si512(b + c * 2 * LANES);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        int32_t pair;
        memcpy(&pair, t->a + (size_t)r * t->lda + 2 * p, sizeof pair);
        __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++)
            acc[r][c] = _mm512_dpbf16_ps(acc[r][c], x, w[c]);
    }
}

/* Adds pairs from .. to-1 to acc, starting from zero. */
static inline __attribute__((always_inline)) void run_chunk(__m512 acc[TILE_ROWS][4], const struct tile *t, int rows, int from, int to)
{
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++)
            acc[r][c] = _mm512_setzero_ps();
    int p = from, line = from * t->per_round;
    for (; p < to && line < t->lines; p++) {
        for (int i = 0; i < t->per_round; i++)
            _mm_prefetch(t->next + (size_t)(line + i) * 64, _MM_HINT_T1);
        line += t->per_round;
        add_pair(acc, t, rows, p);
    }
    for (; p < to; p++)
        add_pair(acc, t, rows, p);
}

/* The sums of chunks of k are added in order.  rows is a constant where this is called, so that acc stays in registers. */
static inline __attribute__((always_inline)) void run_tile(__m512 acc[TILE_ROWS][4], const struct tile *t, int rows)
{
    run_chunk(acc, t, rows, 0, t->pairs < t->chunk ? t->pairs : t->chunk);
    for (int from = t->chunk; from < t->pairs; from += t->chunk) {
        __m512 before[TILE_ROWS][4];
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++)      // element by element: memcpy would keep acc out of the registers
#pragma GCC unroll 4
            for (int c = 0; c < 4; c++)
                before[r][c] = acc[r][c];
        run_chunk(acc, t, rows, from, t->pairs - from < t->chunk ? t->pairs : from + t->chunk);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int c = 0; c < 4; c++)
                acc[r][c] = _mm512_add_ps(before[r][c], acc[r][c]);
    }
}

static inline __attribute__((always_inline)) void store_tile(__m512 acc[TILE_ROWS][4], const struct few *f, int row, int rows,
                                                             int col)
{
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++) {
            int left = f->cols - col - c * LANES;
            __mmask16 mask = left >= LANES ? 0xffff : left > 0 ? (__mmask16)((1u << left) - 1) : 0;
            size_t at = (size_t)(row + r) * f->ldc + (size_t)(col + c * LANES);
            __m512 v = acc[r][c];
            if (f->out == DTYPE_BF16) {
                _mm256_mask_storeu_epi16((uint16_t *)f->c + at, mask, (__m256i)_mm512_cvtneps_pbh(v));
                continue;
            }
            if (f->accumulate)
                v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, (float *)f->c + at));
            _mm512_mask_storeu_ps((float *)f->c + at, mask, v);
        }
}

#define TILE_OF(n)                          \
    case n:                                 \
        run_tile(acc, &t, n);               \
        store_tile(acc, f, row, n, col);    \
        break

/* Rows row_from .. row_to-1 of one block of columns, asking meanwhile for `next` (NULL: nothing). */
static void run_block(const struct few *f, int block, int row_from, int row_to, const char *next)
{
    int tiles = (row_to - row_from + TILE_ROWS - 1) / TILE_ROWS, col = block * COLS;
    struct tile t = { .lda = f->lda, .b = f->b + (size_t)block * f->nstride, .pairs = f->k / 2, .chunk = f->chunk / 2 };
    int lines = next ? t.pairs * 4 : 0;
    t.per_round = (4 + tiles - 1) / tiles;
    for (int i = 0; i < tiles; i++) {
        int row = row_from + (row_to - row_from) * i / tiles, end = row_from + (row_to - row_from) * (i + 1) / tiles;
        int first = (int)((int64_t)lines * i / tiles);
        __m512 acc[TILE_ROWS][4];
        t.a = f->a + (size_t)row * f->lda;
        t.next = next + (size_t)first * 64;
        t.lines = (int)((int64_t)lines * (i + 1) / tiles) - first;
        switch (end - row) {
            TILE_OF(1);
            TILE_OF(2);
            TILE_OF(3);
            TILE_OF(4);
            TILE_OF(5);
            TILE_OF(6);
        }
    }
}

void few_avx512bf16(const struct few *f, int block_from, int block_to, int row_from, int row_to)
{
    enum { ASKING_PAYS = 9 };       // rows
    if (row_from >= row_to)
        return;         // fewer rows than threads
    for (int b = block_from; b < block_to; b++) {
        bool ask = b + 1 < block_to && row_to - row_from >= ASKING_PAYS;
        const char *next = ask ? (const char *)(f->b + (size_t)(b + 1) * f->nstride) : NULL;
        run_block(f, b, row_from, row_to, next);
    }
}
