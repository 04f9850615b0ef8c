/* compute/cpu/attention_body.h - the fast attention kernels, compiled once per instruction set.
 *
 * Five matrix products make up attention forward and backward, and one routine does them all: product() takes
 * A one unit at a time, broadcasts it, and multiplies it with rows of B that lie in whole vectors, holding up
 * to 6 x NCOL vectors of the result in registers.  Each element of a result is one chain over k in ascending
 * order, so it does not matter how many rows go together.
 *
 *   scores   S  = Q K^T       B = K transposed        (D units, 64 keys)
 *   values   O += P V         B = V in key pairs      (64 keys / PAIR, D)
 *   back     dP = dO V^T      B = V transposed
 *            dQ += dS K       B = K in key pairs
 *            dV += P^T dO     B = dO in row pairs     (rows / PAIR, D), A = P in row pairs (rows / PAIR, 64 keys)
 *            dK += dS^T Q     B = Q in row pairs
 *
 * P and dS are rounded to bf16 for the products when the tensors are bf16, with every instruction set.
 * Left out: head sizes that are no multiple of 16 (32 with PAIR 2) or beyond ATTENTION_MAX_HEAD. */
#include "compute/cpu/attention.h"
#include "compute/cpu/attention_vec.h"
#include "compute/cpu/cpu.h"

#define BLOCK ATTENTION_BLOCK
#define VECS (BLOCK / LANES)                // vectors in a row of scores
#define NCOL (LANES == 16 ? 4 : 2)          // vectors of a result row held at once
#define NROW 6
#define LOG2E 1.44269504088896341f
#define LN2 0.693147180559945309

/* ---- products -------------------------------------------------------------------- */

ALWAYS void product_tile(int rows, int cols, float *c, int ldc, const float *keep, const uint32_t *a, int a_row,
                         int a_k, const uint32_t *b, int ldb, int n)
{
    vf acc[NROW][NCOL];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int j = 0; j < cols; j++)
            acc[r][j] = keep ? vec_load(c + r * ldc + j * LANES) * keep[r] : (vf){ 0 };
    for (int k = 0; k < n; k++) {
        vu row[NCOL];
#pragma GCC unroll 4
        for (int j = 0; j < cols; j++)
            row[j] = vec_load_units(b + (size_t)k * ldb + j * LANES);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            vu x = vec_all_units(a[r * a_row + k * a_k]);
#pragma GCC unroll 4
            for (int j = 0; j < cols; j++)
                acc[r][j] = vec_mac(acc[r][j], x, row[j]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int j = 0; j < cols; j++)
            vec_store(c + r * ldc + j * LANES, acc[r][j]);
}

#define TILE(r, c)                                                                                             \
    static void tile_##r##_##c(float *out, int ldc, const float *keep, const uint32_t *a, int a_row, int a_k,  \
                               const uint32_t *b, int ldb, int n)                                              \
    {                                                                                                          \
        product_tile(r, c, out, ldc, keep, a, a_row, a_k, b, ldb, n);                                          \
    }
#if LANES == 16
#define TILES(r) TILE(r, 1) TILE(r, 2) TILE(r, 3) TILE(r, 4)
#define TILE_ROW(r) { tile_##r##_1, tile_##r##_2, tile_##r##_3, tile_##r##_4 }
#else
#define TILES(r) TILE(r, 1) TILE(r, 2)
#define TILE_ROW(r) { tile_##r##_1, tile_##r##_2 }
#endif
TILES(1) TILES(2) TILES(3) TILES(4) TILES(5) TILES(6)
static void (*const tile[NROW][NCOL])(float *, int, const float *, const uint32_t *, int, int, const uint32_t *, int,
                                      int) = { TILE_ROW(1), TILE_ROW(2), TILE_ROW(3),
                                               TILE_ROW(4), TILE_ROW(5), TILE_ROW(6) };

/* c (rows,cols) = keep * c + A B, with A[r][k] at a[r * a_row + k * a_k] and B (n,cols) units; keep (rows) scales
 * what was there, NULL starts from zero.  cols is a multiple of LANES. */
static void product(float *c, int ldc, const float *keep, const uint32_t *a, int a_row, int a_k, const uint32_t *b,
                    int ldb, int rows, int cols, int n)
{
    for (int r = 0; r < rows; r += NROW)
        for (int j = 0; j < cols; j += NCOL * LANES) {
            int nr = rows - r < NROW ? rows - r : NROW, nc = (cols - j) / LANES < NCOL ? (cols - j) / LANES : NCOL;
            tile[nr - 1][nc - 1](c + (size_t)r * ldc + j, ldc, keep ? keep + r : NULL, a + (size_t)r * a_row, a_row, a_k,
                                 b + j, ldb, n);
        }
}

/* ---- packing ---------------------------------------------------------------------- */

static const uint32_t zero_row[ATTENTION_MAX_HEAD];

static bool stored_as_units(const struct tensor *t)
{
    return (t->dtype == DTYPE_BF16) == (PAIR == 2);
}

/* D elements of a row as units. */
static void fetch_row(uint32_t *dst, const struct tensor *t, int row, int col, int D)
{
    if (stored_as_units(t)) {
        memcpy(dst, (char *)t->data + ((size_t)row * t->stride + col) * dtype_size(t->dtype), 4 * (D / PAIR));
    } else if (t->dtype == DTYPE_BF16) {
        for (int d = 0; d < D; d += LANES)
            vec_store_units(dst + d, (vu)vec_from_bf16(t_bf16(t, row) + col + d));
    } else {
        for (int d = 0; d < D; d += LANES)
            vec_to_bf16((uint16_t *)dst + d, vec_load(t_f32(t, row) + col + d));
    }
}

/* Pointers to BLOCK rows of units, n of them from t's rows keys[0..n) and the rest zero; stage (BLOCK,D/PAIR) holds
 * them where t stores something else. */
static void fetch_block(const uint32_t *row[BLOCK], uint32_t *stage, const struct tensor *t, const int *keys, int n,
                        int col, int D)
{
    for (int j = 0; j < n; j++) {
        if (stored_as_units(t)) {
            row[j] = (uint32_t *)((char *)t->data + ((size_t)keys[j] * t->stride + col) * dtype_size(t->dtype));
        } else {
            fetch_row(stage + j * (D / PAIR), t, keys[j], col, D);
            row[j] = stage + j * (D / PAIR);
        }
    }
    for (int j = n; j < BLOCK; j++)
        row[j] = zero_row;
}

/* dst (units,BLOCK) */
static void pack_transposed(uint32_t *dst, const uint32_t *const row[BLOCK], int units)
{
    for (int j = 0; j < BLOCK; j += LANES)
        for (int u = 0; u < units; u += LANES) {
            vu x[LANES];
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                x[i] = vec_load_units(row[j + i] + u);
            vec_transpose(x);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                vec_store_units(dst + (u + i) * BLOCK + j, x[i]);
        }
}

/* dst (n/PAIR,D): neighbouring rows side by side, element by element. */
static void pack_pairs(uint32_t *dst, const uint32_t *const *row, int n, int D)
{
#if PAIR == 2
    typedef uint16_t v32 __attribute__((vector_size(64)));
    typedef uint16_t v32_any __attribute__((vector_size(64), aligned(4), may_alias));
    const v32 low = { 0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                      8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47 };
    for (int j = 0; j < n; j += 2)
        for (int d = 0; d < D; d += 32) {
            v32 a = *(const v32_any *)(row[j] + d / 2), b = *(const v32_any *)(row[j + 1] + d / 2);
            *(v32_any *)(dst + j / 2 * D + d) = __builtin_shuffle(a, b, low);
            *(v32_any *)(dst + j / 2 * D + d + 16) = __builtin_shuffle(a, b, low + 16);
        }
#else
    for (int j = 0; j < n; j++)
        memcpy(dst + j * D, row[j], 4 * D);
#endif
}

static float *take(char **scratch, size_t n)
{
    float *p = (float *)*scratch;
    *scratch += (n * 4 + 63) / 64 * 64;
    return p;
}

/* Keys of block b that a query at absolute position p sees. */
static int seen(int p, int b)
{
    return p + 1 - b * BLOCK < BLOCK ? p + 1 - b * BLOCK : BLOCK;
}

/* ---- forward ----------------------------------------------------------------------- */

struct forward {
    int D, group, first;            // first: absolute position of the tile's first query
    float scale;                    // to base-2 logarithms
    bool round;                     // P is rounded to bf16 by hand
    uint32_t *q;                    // (rows,D/PAIR)
    float *o, *max, *sum;           // (rows,D), (rows), (rows,LANES)
};

/* P of one row and block from its scores, n keys of which it sees; returns the vector of partial sums. */
ALWAYS vf exponentials(uint32_t *p, const float *s, int n, float scale, float max, bool round)
{
    vf sum = { 0 }, x[VECS];
#pragma GCC unroll 16
    for (int j = 0; j < VECS; j++) {
        x[j] = (vf){ 0 };
        if (j * LANES < n) {
            x[j] = vec_exp2(vec_fma(vec_load(s + j * LANES), vec_all(scale), vec_all(-max)));
            if (n < (j + 1) * LANES)
                x[j] = vec_first(x[j], n - j * LANES, 0);
        }
        sum += x[j];
    }
#if PAIR == 2
#pragma GCC unroll 16
    for (int j = 0; j < VECS; j += 2)
        vec_store_units(p + j * LANES / 2, (vu)_mm512_cvtne2ps_pbh((__m512)x[j + 1], (__m512)x[j]));
#else
#pragma GCC unroll 16
    for (int j = 0; j < VECS; j++)
        vec_store((float *)p + j * LANES, round ? vec_round_bf16(x[j]) : x[j]);
#endif
    return sum;
}

static float largest(const float *s, int n)
{
    vf m = vec_all(-INFINITY);
    int j = 0;
    for (; j + LANES <= n; j += LANES)
        m = vec_max(m, vec_load(s + j));
    if (j < n)
        m = vec_max(m, vec_first(vec_load(s + j), n - j, -INFINITY));
    return vec_largest(m);
}

/* Rows row .. row+n-1 of the tile (n <= NROW) meet block b.  kt (D/PAIR,BLOCK), vp (BLOCK/PAIR,D). */
static void forward_block(const struct forward *f, int row, int n, int b, const uint32_t *kt, const uint32_t *vp)
{
    float s[NROW * BLOCK] __attribute__((aligned(64))), keep[16] __attribute__((aligned(64))) = { 0 };
    uint32_t p[NROW * BLOCK / PAIR] __attribute__((aligned(64)));
    int units = f->D / PAIR, last = seen(f->first + (row + n - 1) / f->group, b);

    product(s, BLOCK, NULL, f->q + row * units, units, 1, kt, BLOCK, n, (last + LANES - 1) / LANES * LANES, units);
    for (int r = 0; r < n; r++) {
        float max = largest(s + r * BLOCK, seen(f->first + (row + r) / f->group, b)) * f->scale;
        max = max > f->max[row + r] ? max : f->max[row + r];
        keep[r] = f->max[row + r] - max;
        f->max[row + r] = max;
    }
    for (int r = 0; r < NROW; r += LANES)
        vec_store(keep + r, vec_exp2(vec_load(keep + r)));
    for (int r = 0; r < n; r++) {
        float *sum = f->sum + (row + r) * LANES;
        vf add = exponentials(p + r * (BLOCK / PAIR), s + r * BLOCK, seen(f->first + (row + r) / f->group, b), f->scale,
                              f->max[row + r], f->round);
        vec_store(sum, vec_fma(vec_load(sum), vec_all(keep[r]), add));
    }
    product(f->o + row * f->D, f->D, keep, p, BLOCK / PAIR, 1, vp, f->D, n, f->D, (last + PAIR - 1) / PAIR);
}

static void forward_finish(const struct forward *f, const struct attention_call *c, int row, int kv, int rows)
{
    for (int r = 0; r < rows; r++) {
        int h = kv * f->group + r % f->group, to = row + r / f->group;
        float sum = vec_sum(vec_load(f->sum + r * LANES));
        for (int d = 0; d < f->D; d += LANES) {
            vf o = vec_load(f->o + r * f->D + d) * (1 / sum);
            if (c->out->dtype == DTYPE_F32)
                vec_store(t_f32(c->out, to) + h * f->D + d, o);
            else
                vec_to_bf16(t_bf16(c->out, to) + h * f->D + d, o);
        }
        if (c->lse)
            t_f32(c->lse, to)[h] = (float)(f->max[r] * LN2 + plain_log(sum));
    }
}

static void NAME(forward)(const struct attention_call *c, const struct attn_run *r, int kv, int start, int end,
                          void *memory)
{
    const struct attention *a = c->a;
    char *scratch = memory;
    int D = a->head_size, group = a->heads / a->kv_heads, width = attention_tile(a), packed = 0;
    bool single = (r->position + start) % width + end - start <= width;   // one tile: each packed block is used once, in place 0
    int blocks = single ? 1 : (r->position + end - 1) / BLOCK + 1, most = width * group;
    struct forward f = { .D = D, .group = group, .scale = a->scale * LOG2E,
                         .round = PAIR == 1 && c->q->dtype == DTYPE_BF16 };
    f.q = (uint32_t *)take(&scratch, most * (D / PAIR));
    f.o = take(&scratch, most * D);
    f.max = take(&scratch, most);
    f.sum = take(&scratch, most * LANES);
    uint32_t *stage = (uint32_t *)take(&scratch, BLOCK * (D / PAIR));
    uint32_t *kt = (uint32_t *)take(&scratch, (size_t)blocks * BLOCK * (D / PAIR));
    uint32_t *vp = (uint32_t *)take(&scratch, (size_t)blocks * BLOCK * (D / PAIR));
    const uint32_t *key[BLOCK];

    for (int i = start, next; i < end; i = next) {
        f.first = r->position + i;
        next = i + width - f.first % width < end ? i + width - f.first % width : end;
        int rows = (next - i) * group;
        for (int j = 0; j < rows; j++) {
            fetch_row(f.q + j * (D / PAIR), c->q, r->row + i + j / group, (kv * group + j % group) * D, D);
            f.max[j] = -INFINITY;
        }
        memset(f.o, 0, (size_t)rows * D * 4);
        memset(f.sum, 0, (size_t)rows * LANES * 4);
        for (int b = 0; b <= f.first / BLOCK; b++) {
            size_t slot = single ? 0 : (size_t)b * BLOCK * (D / PAIR);
            if (b == packed) {
                int n = seen(r->position + end - 1, b);
                fetch_block(key, stage, c->k, r->keys + b * BLOCK, n, kv * D, D);
                pack_transposed(kt + slot, key, D / PAIR);
                fetch_block(key, stage, c->v, r->keys + b * BLOCK, n, kv * D, D);
                pack_pairs(vp + slot, key, BLOCK, D);
                packed++;
            }
            for (int j = 0; j < rows; j += NROW)
                forward_block(&f, j, rows - j < NROW ? rows - j : NROW, b, kt + slot, vp + slot);
        }
        forward_finish(&f, c, r->row + i, kv, rows);
    }
}

/* ---- backward ---------------------------------------------------------------------- */

struct backward {
    int D, group, first;
    float scale;                    // to base-2 logarithms
    bool round;
    float *lse, *delta;             // (rows) in base 2; rowsum(dout * out)
    uint32_t *q, *dout;             // (rows,D/PAIR)
    uint32_t *q_pairs, *dout_pairs; // (rows/PAIR,D)
    uint32_t *p_pairs, *ds_pairs;   // (rows/PAIR,BLOCK): row pairs, for products over rows
    uint32_t *ds;                   // (rows,BLOCK/PAIR): key pairs, for the product over keys
    float *dq;                      // (rows,D)
};

/* Loads a tile of queries: both layouts of q and dout, lse and delta. */
static void backward_load(struct backward *f, const struct attention_call *c, int row, int kv, int rows)
{
    int D = f->D, units = D / PAIR;
    const uint32_t *q_row[2 * ATTENTION_ROWS], *dout_row[2 * ATTENTION_ROWS];

    for (int j = 0; j < rows; j++) {
        int from = row + j / f->group, h = kv * f->group + j % f->group;
        vf sum = { 0 };
        fetch_row(f->q + j * units, c->q, from, h * D, D);
        fetch_row(f->dout + j * units, c->dout, from, h * D, D);
        for (int d = h * D; d < (h + 1) * D; d += LANES) {
            vf x = c->dout->dtype == DTYPE_F32 ? vec_load(t_f32(c->dout, from) + d)
                                               : vec_from_bf16(t_bf16(c->dout, from) + d);
            vf y = c->out->dtype == DTYPE_F32 ? vec_load(t_f32(c->out, from) + d)
                                              : vec_from_bf16(t_bf16(c->out, from) + d);
            sum = vec_fma(x, y, sum);
        }
        f->delta[j] = vec_sum(sum);
        f->lse[j] = t_f32(c->lse, from)[h] * LOG2E;
        q_row[j] = f->q + j * units;
        dout_row[j] = f->dout + j * units;
    }
    q_row[rows] = dout_row[rows] = zero_row;
    pack_pairs(f->q_pairs, q_row, rows, D);
    pack_pairs(f->dout_pairs, dout_row, rows, D);
}

/* P and dS of rows row .. row+n-1 (n <= NROW, row even) for block b, in the layouts the products want.
 * keys: columns of the pair layouts that will be read, a multiple of LANES. */
static void backward_scores(const struct backward *f, int row, int n, int b, int keys, const uint32_t *kt,
                            const uint32_t *vt)
{
    float s[NROW * BLOCK] __attribute__((aligned(64))), dp[NROW * BLOCK] __attribute__((aligned(64)));
    int units = f->D / PAIR, last = seen(f->first + (row + n - 1) / f->group, b);
    int cols = (last + LANES - 1) / LANES * LANES;

    product(s, BLOCK, NULL, f->q + row * units, units, 1, kt, BLOCK, n, cols, units);
    product(dp, BLOCK, NULL, f->dout + row * units, units, 1, vt, BLOCK, n, cols, units);
    for (int r = 0; r < n; r += PAIR) {
        vf ds[PAIR][VECS];
        for (int j = 0; j < VECS; j++) {
            vf p[PAIR];
#pragma GCC unroll 2
            for (int i = 0; i < PAIR; i++) {
                int sees = r + i < n ? seen(f->first + (row + r + i) / f->group, b) : 0, at = (r + i) * BLOCK + j * LANES;
                p[i] = ds[i][j] = (vf){ 0 };
                if (j * LANES >= sees)
                    continue;
                p[i] = vec_exp2(vec_fma(vec_load(s + at), vec_all(f->scale), vec_all(-f->lse[row + r + i])));
                if (sees < (j + 1) * LANES)
                    p[i] = vec_first(p[i], sees - j * LANES, 0);
                ds[i][j] = p[i] * (vec_load(dp + at) - f->delta[row + r + i]);
                if (f->round) {
                    p[i] = vec_round_bf16(p[i]);
                    ds[i][j] = vec_round_bf16(ds[i][j]);
                }
            }
            if (j * LANES >= keys)
                continue;
            size_t pair = (size_t)(row + r) / PAIR * BLOCK + j * LANES;
            vec_store_units(f->p_pairs + pair, vec_pair(p[0], p[PAIR - 1]));
            vec_store_units(f->ds_pairs + pair, vec_pair(ds[0][j], ds[PAIR - 1][j]));
        }
#if PAIR == 2
        for (int i = 0; i < 2 && r + i < n; i++)
            for (int j = 0; j < VECS; j += 2)
                vec_store_units(f->ds + (row + r + i) * (BLOCK / 2) + j * LANES / 2,
                                (vu)_mm512_cvtne2ps_pbh((__m512)ds[i][j + 1], (__m512)ds[i][j]));
#endif
    }
}

static void backward_tile(struct backward *f, int rows, int b, const uint32_t *kt, const uint32_t *vt, const uint32_t *kp,
                          float *dk, float *dv)
{
    static const float all[2 * ATTENTION_ROWS] = { [0 ... 2 * ATTENTION_ROWS - 1] = 1 };
    int D = f->D, last = seen(f->first + (rows - 1) / f->group, b), pairs = (rows + PAIR - 1) / PAIR;
    int keys = (last + LANES - 1) / LANES * LANES;

    for (int j = 0; j < rows; j += NROW)
        backward_scores(f, j, rows - j < NROW ? rows - j : NROW, b, keys, kt, vt);
    product(f->dq, D, b ? all : NULL, f->ds, BLOCK / PAIR, 1, kp, D, rows, D, (last + PAIR - 1) / PAIR);
    product(dv, D, all, f->p_pairs, 1, BLOCK, f->dout_pairs, D, last, D, pairs);
    product(dk, D, all, f->ds_pairs, 1, BLOCK, f->q_pairs, D, last, D, pairs);
}

/* to[keys[j]] += by * from[j] for n keys of one head. */
static void scatter_add(struct tensor *to, const float *from, float by, const int *keys, int n, int col, int D)
{
    for (int j = 0; j < n; j++)
        for (int d = 0; d < D; d += LANES) {
            float *x = t_f32(to, keys[j]) + col + d;
            vec_store(x, vec_fma(vec_load(from + (size_t)j * D + d), vec_all(by), vec_load(x)));
        }
}

static void backward_run(const struct attention_call *c, const struct attn_run *r, int kv, char *scratch)
{
    const struct attention *a = c->a;
    int D = a->head_size, units = D / PAIR, group = a->heads / a->kv_heads, width = attention_tile(a);
    int keys = r->position + r->len, blocks = (keys + BLOCK - 1) / BLOCK, most = width * group + 1;
    struct backward f = { .D = D, .group = group, .scale = a->scale * LOG2E,
                          .round = PAIR == 1 && c->q->dtype == DTYPE_BF16 };
    uint32_t **part[] = { &f.q, &f.dout, &f.q_pairs, &f.dout_pairs };
    for (int i = 0; i < 4; i++)
        *part[i] = (uint32_t *)take(&scratch, most * D);
    f.dq = take(&scratch, most * D);
    f.lse = take(&scratch, most);
    f.delta = take(&scratch, most);
    f.p_pairs = (uint32_t *)take(&scratch, most * BLOCK);
    f.ds_pairs = (uint32_t *)take(&scratch, most * BLOCK);
    f.ds = PAIR == 1 ? f.ds_pairs : (uint32_t *)take(&scratch, most * BLOCK);
    size_t each = (size_t)BLOCK * units;
    uint32_t *kt = (uint32_t *)take(&scratch, blocks * each), *vt = (uint32_t *)take(&scratch, blocks * each);
    uint32_t *kp = (uint32_t *)take(&scratch, blocks * each), *stage = (uint32_t *)take(&scratch, each);
    size_t sums = (size_t)blocks * BLOCK * D;
    float *dk = take(&scratch, sums), *dv = take(&scratch, sums);
    const uint32_t *key[BLOCK];

    memset(dk, 0, sums * 4);
    memset(dv, 0, sums * 4);
    for (int b = 0; b < blocks; b++) {
        int n = seen(keys - 1, b);
        fetch_block(key, stage, c->v, r->keys + b * BLOCK, n, kv * D, D);
        pack_transposed(vt + b * each, key, units);
        fetch_block(key, stage, c->k, r->keys + b * BLOCK, n, kv * D, D);
        pack_transposed(kt + b * each, key, units);
        pack_pairs(kp + b * each, key, BLOCK, D);
    }
    for (int i = 0, next; i < r->len; i = next) {
        f.first = r->position + i;
        next = i + width - f.first % width < r->len ? i + width - f.first % width : r->len;
        int rows = (next - i) * group;
        backward_load(&f, c, r->row + i, kv, rows);
        for (int b = 0; b <= f.first / BLOCK; b++)
            backward_tile(&f, rows, b, kt + b * each, vt + b * each, kp + b * each, dk + (size_t)b * BLOCK * D,
                          dv + (size_t)b * BLOCK * D);
        for (int j = 0; j < rows; j++)
            for (int d = 0; d < D; d += LANES)
                vec_store(t_f32(c->dq, r->row + i + j / group) + (kv * group + j % group) * D + d,
                          vec_load(f.dq + j * D + d) * a->scale);
    }
    scatter_add(c->dk, dk, a->scale, r->keys, keys, kv * D, D);
    scatter_add(c->dv, dv, 1, r->keys, keys, kv * D, D);
}

static void NAME(backward)(const struct attention_call *c, int first, int last, int kv, void *memory)
{
    for (int i = first; i < last; i++)
        if (c->a->run[i].len)
            backward_run(c, &c->a->run[i], kv, memory);
}

const struct attention_kernel NAME(attention) = { INSTRUCTIONS, PAIR, NAME(forward), NAME(backward) };
