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
#define NROW ATTENTION_FEW                  // rows of scores worked on together
#define LOG2E 1.44269504088896341f
#define LN2 0.693147180559945309
#define NOTHING -1e30f                      // a maximum over no scores yet: finite, so that differences are

/* ---- products -------------------------------------------------------------------- */

/* Keeps the compiler from working out the addresses of all rows beforehand, which costs more than it saves. */
#define ONE_BY_ONE(p) __asm__("" : "+r"(p))

#ifdef __SANITIZE_ADDRESS__     // one copy: compiling all of them with checks takes minutes
static __attribute__((noinline, noclone))
#else
static inline __attribute__((always_inline))
#endif
void product_tile(int rows, int cols, float *c, size_t ldc, const float *keep, const uint32_t *a, size_t a_row,
                         size_t a_k, const uint32_t *b, size_t ldb, int n)
{
    vf acc[NROW][NCOL];
    float *p = c;
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int j = 0; j < cols; j++)
            acc[r][j] = keep ? vec_load(p + j * LANES) * keep[r] : (vf){ 0 };
        p += ldc;
        ONE_BY_ONE(p);
    }
    for (int k = 0; k < n; k++, a += a_k, b += ldb) {
        const uint32_t *x = a;
        vu row[NCOL];
#pragma GCC unroll 4
        for (int j = 0; j < cols; j++)
            row[j] = vec_load_units(b + j * LANES);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++, x += a_row)
#pragma GCC unroll 4
            for (int j = 0; j < cols; j++)
                acc[r][j] = vec_mac(acc[r][j], vec_all_units(*x), row[j]);
    }
    p = c;
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int j = 0; j < cols; j++)
            vec_store(p + j * LANES, acc[r][j]);
        p += ldc;
        ONE_BY_ONE(p);
    }
}

typedef void tile_fn(float *c, size_t ldc, const float *keep, const uint32_t *a, size_t a_row, size_t a_k,
                     const uint32_t *b, size_t ldb, int n);

#define TILE(r, w)                                                                                             \
    static void tile_##r##_##w(float *c, size_t ldc, const float *keep, const uint32_t *a, size_t a_row,       \
                               size_t a_k, const uint32_t *b, size_t ldb, int n)                               \
    {                                                                                                          \
        if (keep)                                                                                              \
            product_tile(r, w, c, ldc, keep, a, a_row, a_k, b, ldb, n);                                        \
        else                                                                                                   \
            product_tile(r, w, c, ldc, NULL, a, a_row, a_k, b, ldb, n);                                        \
    }
#define PAIR_OF_TILES(r) TILE(r, 1) TILE(r, 2)
PAIR_OF_TILES(1) PAIR_OF_TILES(2) PAIR_OF_TILES(3) PAIR_OF_TILES(4) PAIR_OF_TILES(5) PAIR_OF_TILES(6)
#if LANES == 16     // 32 registers: 6 x 4 or 12 x 2 results
PAIR_OF_TILES(7) PAIR_OF_TILES(8) PAIR_OF_TILES(9) PAIR_OF_TILES(10) PAIR_OF_TILES(11) PAIR_OF_TILES(12)
TILE(1, 3) TILE(2, 3) TILE(3, 3) TILE(4, 3) TILE(5, 3) TILE(6, 3)
TILE(1, 4) TILE(2, 4) TILE(3, 4) TILE(4, 4) TILE(5, 4) TILE(6, 4)
#define NARROW(w) { tile_1_##w, tile_2_##w, tile_3_##w, tile_4_##w, tile_5_##w, tile_6_##w, tile_7_##w, tile_8_##w, \
                    tile_9_##w, tile_10_##w, tile_11_##w, tile_12_##w }
#define WIDE(w) { tile_1_##w, tile_2_##w, tile_3_##w, tile_4_##w, tile_5_##w, tile_6_##w }
static tile_fn *const tile[NCOL][NROW] = { NARROW(1), NARROW(2), WIDE(3), WIDE(4) };
static const int tile_rows[NCOL] = { 12, 12, 6, 6 };
#else
#define NARROW(w) { tile_1_##w, tile_2_##w, tile_3_##w, tile_4_##w, tile_5_##w, tile_6_##w }
static tile_fn *const tile[NCOL][NROW] = { NARROW(1), NARROW(2) };
static const int tile_rows[NCOL] = { 6, 6 };
#endif

/* c (rows,cols) = keep * c + A B, with A[r][k] at a[r * a_row + k * a_k] and B (n,cols) units; keep (rows) scales
 * what was there, NULL starts from zero.  cols is a multiple of LANES. */
static void product(float *c, size_t ldc, const float *keep, const uint32_t *a, size_t a_row, size_t a_k,
                    const uint32_t *b, size_t ldb, int rows, int cols, int n)
{
    for (int j = 0; j < cols; j += NCOL * LANES) {
        int wide = cols - j < NCOL * LANES ? (cols - j) / LANES : NCOL, most = tile_rows[wide - 1];
        for (int r = 0; r < rows; r += most)
            tile[wide - 1][(rows - r < most ? rows - r : most) - 1](c + r * ldc + j, ldc, keep ? keep + r : NULL,
                                                                    a + r * a_row, a_row, a_k, b + j, ldb, n);
    }
}

/* ---- packing ---------------------------------------------------------------------- */

static const uint32_t zero_row[ATTENTION_MAX_HEAD];

static bool stored_as_units(const struct tensor *t)
{
    return (t->dtype == DTYPE_BF16) == (PAIR == 2);
}

static int whole_vectors(int n)
{
    return (n + LANES - 1) / LANES * LANES;
}

/* Where t stores units: those of a row, from column col. */
static const uint32_t *row_units(const struct tensor *t, int row, int col)
{
    return (uint32_t *)((char *)t->data + ((size_t)row * t->stride + col) * (4 / PAIR));
}

/* D elements of a row as units. */
ALWAYS void fetch_row(uint32_t *dst, const struct tensor *t, int row, int col, int D)
{
    if (stored_as_units(t)) {
        const uint32_t *src = row_units(t, row, col);
        for (int u = 0; u < D / PAIR; u += LANES)
            vec_store_units(dst + u, vec_load_units(src + u));
    } else if (t->dtype == DTYPE_BF16) {
        for (int d = 0; d < D; d += LANES)
            vec_store_units(dst + d, (vu)vec_from_bf16(t_bf16(t, row) + col + d));
    } else {
        for (int d = 0; d < D; d += LANES)
            vec_to_bf16((uint16_t *)dst + d, vec_load(t_f32(t, row) + col + d));
    }
}

/* Pointers to rows of units, n of them from t's rows keys[0..n) and zeros to fill whole vectors; stage (BLOCK,D/PAIR)
 * holds them where t stores something else. */
static void fetch_block(const uint32_t *row[BLOCK], uint32_t *stage, const struct tensor *t, const int *keys, int n,
                        int col, int D)
{
    for (int j = 0; j < n; j++) {
        if (stored_as_units(t)) {
            row[j] = row_units(t, keys[j], col);
        } else {
            fetch_row(stage + j * (D / PAIR), t, keys[j], col, D);
            row[j] = stage + j * (D / PAIR);
        }
    }
    for (int j = n; j < whole_vectors(n); j++)
        row[j] = zero_row;
}

/* Reads a word of every cache line of n whole rows, in order.  The heads of a row are used one after the other, so
 * the hardware would see short reads a row apart, which it does not fetch ahead: 10 GB/s on the machine this was
 * written on.  Rows read in order come at 20 to 29 GB/s; asking for them with prefetch instructions, at 15. */
static void touch_rows(const struct tensor *t, const int *keys, int n)
{
    size_t size = dtype_size(t->dtype);
    for (int j = 0; j < n; j++) {
        const char *p = (char *)t->data + (size_t)keys[j] * t->stride * size, *end = p + t->cols * size;
        for (; p < end; p += 64)
            (void)*(const volatile uint16_t *)p;
    }
}

/* dst (units,BLOCK), of which n columns matter, and whole vectors are written. */
static void pack_transposed(uint32_t *dst, const uint32_t *const row[BLOCK], int n, int units)
{
    for (int j = 0; j < n; j += LANES)
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

/* dst (n/PAIR,D), n rounded up: neighbouring rows side by side, element by element. */
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
        for (int d = 0; d < D; d += LANES)
            vec_store_units(dst + j * D + d, vec_load_units(row[j] + d));
#endif
}

static float *take(char **scratch, size_t n)
{
    float *p = (float *)*scratch;
    *scratch += (n * 4 + 63) / 64 * 64;
    return p;
}

/* Keys of block b that a query at absolute position p sees. */
ALWAYS int seen(int p, int b)
{
    return p + 1 - b * BLOCK < BLOCK ? p + 1 - b * BLOCK : BLOCK;
}

/* Keys of block b that come before the window of a query at absolute position p. */
ALWAYS int unseen(int p, int b, int window)
{
    return window ? p - window + 1 - b * BLOCK : 0;
}

/* The first block that a query at absolute position p sees anything of. */
static int first_block(int p, int window)
{
    return window && p >= window ? (p - window + 1) / BLOCK : 0;
}

/* What raw scores are multiplied by before the tanh, 0: there is none; and what follows, to base-2 logarithms. */
static float tanh_scale(const struct attention *a)
{
    return a->softcap > 0 ? a->scale / a->softcap : 0;
}

static float score_scale(const struct attention *a)
{
    return (a->softcap > 0 ? a->softcap : a->scale) * LOG2E;
}

/* n rows of scores, of which `cols` columns matter, become the tanh of them times by; the cap itself becomes the scale. */
static void cap_scores(float *s, int n, int cols, float by)
{
    for (int r = 0; r < n; r++)
        for (int j = 0; j < cols; j += LANES)
            vec_store(s + r * BLOCK + j, vec_tanh(vec_load(s + r * BLOCK + j) * by));
}

/* ---- forward ----------------------------------------------------------------------- */

struct forward {
    int D, group;
    int position[ATTENTION_ROWS];   // (rows) absolute positions
    float scale, cap;               // to base-2 logarithms; what goes into the tanh, 0: no soft cap
    int window;
    bool round;                     // P is rounded to bf16 by hand
    uint32_t *q;                    // (rows,D/PAIR)
    float *o, *max, *sum;           // (rows,D), (rows), (rows,LANES)
};

/* P of one row and block from its scores, of which it sees keys from .. n-1; returns the vector of partial sums. */
ALWAYS vf exponentials(uint32_t *p, const float *s, int from, int n, float scale, float max, bool round)
{
    vf sum = { 0 }, x[VECS];
#pragma GCC unroll 16
    for (int j = 0; j < VECS; j++) {
        x[j] = (vf){ 0 };
        if (j * LANES < n)
            x[j] = vec_exp2(vec_fma(vec_load(s + j * LANES), vec_all(scale), vec_all(-max)));
        if (n < (j + 1) * LANES)
            x[j] = vec_first(x[j], n - j * LANES, 0);
        if (from > j * LANES)
            x[j] = vec_from(x[j], from - j * LANES, 0);
        sum += x[j];
    }
#pragma GCC unroll 16
    for (int j = 0; j < VECS; j += PAIR)
        vec_store_units(p + j / PAIR * LANES, vec_neighbours(round ? vec_round_bf16(x[j]) : x[j], x[j + PAIR - 1]));
    return sum;
}

ALWAYS float largest(const float *s, int from, int n)
{
    vf m = vec_all(NOTHING);
#pragma GCC unroll 16
    for (int j = 0; j < VECS; j++) {
        if (j * LANES >= n)
            break;
        vf x = vec_load(s + j * LANES);
        if (from > j * LANES)
            x = vec_from(x, from - j * LANES, NOTHING);
        m = vec_max(m, n < (j + 1) * LANES ? vec_first(x, n - j * LANES, NOTHING) : x);
    }
    return vec_largest(m);
}

/* Rows row .. row+n-1 of the tile (n <= NROW) meet block b.  kt (D/PAIR,BLOCK), vp (BLOCK/PAIR,D). */
static void forward_block(const struct forward *f, int row, int n, int b, const uint32_t *kt, const uint32_t *vp)
{
    float s[NROW * BLOCK] __attribute__((aligned(64))), keep[16] __attribute__((aligned(64))) = { 0 };
    uint32_t p[NROW * BLOCK / PAIR] __attribute__((aligned(64)));
    int units = f->D / PAIR, last = seen(f->position[row + n - 1], b);

    product(s, BLOCK, NULL, f->q + row * units, units, 1, kt, BLOCK, n, whole_vectors(last), units);
    if (f->cap > 0)
        cap_scores(s, n, whole_vectors(last), f->cap);
    for (int r = 0; r < n; r++) {
        int sees = seen(f->position[row + r], b), from = unseen(f->position[row + r], b, f->window);
        float max = (from > 0 ? largest(s + r * BLOCK, from, sees) :
                     sees == BLOCK ? largest(s + r * BLOCK, 0, BLOCK) : largest(s + r * BLOCK, 0, sees)) * f->scale;
        max = max > f->max[row + r] ? max : f->max[row + r];
        keep[r] = f->max[row + r] - max;
        f->max[row + r] = max;
    }
    for (int r = 0; r < 16; r += LANES)
        vec_store(keep + r, vec_exp2(vec_load(keep + r)));
    for (int r = 0; r < n; r++) {
        int sees = seen(f->position[row + r], b), from = unseen(f->position[row + r], b, f->window);
        float *sum = f->sum + (row + r) * LANES, max = f->max[row + r];
        uint32_t *to = p + r * (BLOCK / PAIR);
        vf add = from > 0      ? exponentials(to, s + r * BLOCK, from, sees, f->scale, max, f->round)
               : sees == BLOCK ? exponentials(to, s + r * BLOCK, 0, BLOCK, f->scale, max, f->round)
                               : exponentials(to, s + r * BLOCK, 0, sees, f->scale, max, f->round);
        vec_store(sum, vec_fma(vec_load(sum), vec_all(keep[r]), add));
    }
    product(f->o + row * f->D, f->D, keep, p, BLOCK / PAIR, 1, vp, f->D, n, f->D, (last + PAIR - 1) / PAIR);
}

/* Divides the sums of `queries` queries, from the tile's row r on, and writes rows of out, and lse. */
static void forward_finish(const struct forward *f, const struct attention_call *c, int row, int kv, int r, int queries)
{
    for (int i = 0; i < queries; i++)
        for (int g = 0; g < f->group; g++, r++) {
            int h = kv * f->group + g;
            float sum = vec_sum(vec_load(f->sum + r * LANES)), by = 1 / sum;
            for (int d = 0; d < f->D; d += LANES) {
                vf o = vec_load(f->o + r * f->D + d) * by;
                if (c->out->dtype == DTYPE_F32)
                    vec_store(t_f32(c->out, row + i) + h * f->D + d, o);
                else
                    vec_to_bf16(t_bf16(c->out, row + i) + h * f->D + d, o);
            }
            if (c->lse)
                t_f32(c->lse, row + i)[h] = (float)((f->max[r] + plain_log2(sum)) * LN2);
        }
}

/* A tile of at most `rows` rows, in scratch. */
static void forward_init(struct forward *f, const struct attention_call *c, int rows, char **scratch)
{
    *f = (struct forward){ .D = c->a->head_size, .group = c->a->heads / c->a->kv_heads, .scale = score_scale(c->a),
                           .cap = tanh_scale(c->a), .window = c->a->window,
                           .round = PAIR == 1 && c->q->dtype == DTYPE_BF16 };
    f->q = (uint32_t *)take(scratch, rows * (f->D / PAIR));
    f->o = take(scratch, rows * f->D);
    f->max = take(scratch, rows);
    f->sum = take(scratch, rows * LANES);
}

/* Begins queries i .. i+n-1 of run r in the tile's rows from `at` on; returns where these end. */
static int forward_begin(struct forward *f, const struct attention_call *c, const struct attn_run *r, int kv, int i, int n, int at)
{
    int rows = at;
    for (int j = i; j < i + n; j++)
        for (int g = 0; g < f->group; g++, rows++) {
            fetch_row(f->q + rows * (f->D / PAIR), c->q, r->row + j, (kv * f->group + g) * f->D, f->D);
            f->position[rows] = r->position + j;
            f->max[rows] = NOTHING;
        }
    memset(f->o + at * f->D, 0, (size_t)(rows - at) * f->D * 4);
    memset(f->sum + at * LANES, 0, (size_t)(rows - at) * LANES * 4);
    return rows;
}

/* Packs block b of run r as queries up to absolute position last see it. */
static void forward_pack(uint32_t *kt, uint32_t *vp, uint32_t *stage, const struct attention_call *c,
                         const struct attn_run *r, int kv, int last, int b)
{
    const uint32_t *key[BLOCK];
    int D = c->a->head_size, n = seen(last, b);
    const int *keys = r->keys + b * BLOCK;

    fetch_block(key, stage, c->k, keys, n, kv * D, D);
    pack_transposed(kt, key, n, D / PAIR);
    fetch_block(key, stage, c->v, keys, n, kv * D, D);
    pack_pairs(vp, key, n, D);
}

/* Block b of run r for rows row .. row+n-1 of all heads' tiles; last: the position up to which it is seen. */
static void forward_few_block(struct forward *f, const struct attention_call *c, const struct attn_run *r, int b, int last, int row,
                              int n, uint32_t *const packed[3])
{
    touch_rows(c->k, r->keys + b * BLOCK, seen(last, b));
    touch_rows(c->v, r->keys + b * BLOCK, seen(last, b));
    for (int kv = 0; kv < c->a->kv_heads; kv++) {
        forward_pack(packed[0], packed[1], packed[2], c, r, kv, last, b);
        forward_block(&f[kv], row, n, b, packed[0], packed[1]);
    }
}

/* So few queries that each packed block is used at once: block by block for all heads, in the order in which a cache
 * lies in memory.  This is decoding, and it waits for memory more than for anything else; blocks that several runs share
 * are read and packed once for all of them. */
static void forward_few(const struct attention_call *c, const struct attention_task *t, char *scratch)
{
    const struct attn_run *r = t->run;
    int D = c->a->head_size, K = c->a->kv_heads, queries = t->end - t->start, each = queries * (c->a->heads / K);
    size_t block = (size_t)BLOCK * (D / PAIR);
    struct forward *f = (struct forward *)take(&scratch, K * sizeof *f / 4);
    uint32_t *packed[3];

    for (int i = 0; i < 3; i++)
        packed[i] = (uint32_t *)take(&scratch, block);
    for (int kv = 0; kv < K; kv++) {
        forward_init(&f[kv], c, NROW, &scratch);
        for (int j = 0; j < t->runs; j++)
            forward_begin(&f[kv], c, &r[j], kv, t->start, queries, j * each);
    }
    for (int b = 0; b < t->shared; b++)
        forward_few_block(f, c, r, b, b * BLOCK + BLOCK - 1, 0, t->runs * each, packed);
    for (int j = 0; j < t->runs; j++) {
        int last = r[j].position + t->end - 1, b = first_block(r[j].position + t->start, c->a->window);
        for (b = b > t->shared ? b : t->shared; b <= last / BLOCK; b++)
            forward_few_block(f, c, &r[j], b, last, j * each, each, packed);
    }
    for (int kv = 0; kv < K; kv++)
        for (int j = 0; j < t->runs; j++)
            forward_finish(&f[kv], c, r[j].row + t->start, kv, j * each, queries);
}

static void forward_many(const struct attention_call *c, const struct attn_run *r, int kv, int start, int end,
                         char *scratch)
{
    int D = c->a->head_size, width = attention_tile(c->a), last = r->position + end - 1;
    int packed = first_block(r->position + start, c->a->window);     // blocks before it are not, nor are they read
    size_t each = (size_t)BLOCK * (D / PAIR), blocks = last / BLOCK + 1;
    uint32_t *kt = (uint32_t *)take(&scratch, blocks * each), *vp = (uint32_t *)take(&scratch, blocks * each);
    uint32_t *stage = (uint32_t *)take(&scratch, each);
    struct forward f;

    forward_init(&f, c, width * (c->a->heads / c->a->kv_heads), &scratch);
    for (int i = start, next; i < end; i = next) {
        int first = r->position + i;
        next = i + width - first % width < end ? i + width - first % width : end;
        int rows = forward_begin(&f, c, r, kv, i, next - i, 0);
        for (int b = first_block(first, c->a->window); b <= first / BLOCK; b++) {
            if (b == packed) {
                forward_pack(kt + b * each, vp + b * each, stage, c, r, kv, last, b);
                packed++;
            }
            for (int j = 0; j < rows; j += NROW)
                forward_block(&f, j, rows - j < NROW ? rows - j : NROW, b, kt + b * each, vp + b * each);
        }
        forward_finish(&f, c, r->row + i, kv, 0, next - i);
    }
}

static void NAME(forward)(const struct attention_call *c, const struct attention_task *t, void *scratch)
{
    if (t->kv < 0)
        forward_few(c, t, scratch);
    else
        forward_many(c, t->run, t->kv, t->start, t->end, scratch);
}

/* ---- backward ---------------------------------------------------------------------- */

struct backward {
    int D, group;
    int position[ATTENTION_ROWS];   // (rows)
    float scale, cap;               // as in struct forward
    int window;
    bool round;
    float *lse, *delta;             // (rows) in base 2; rowsum(dout * out)
    uint32_t *q, *dout;             // (rows,D/PAIR)
    uint32_t *q_pairs, *dout_pairs; // (rows/PAIR,D)
    uint32_t *p_pairs, *ds_pairs;   // (rows/PAIR,BLOCK): row pairs, for products over rows
    uint32_t *ds;                   // (rows,BLOCK/PAIR): key pairs, for the product over keys
    float *dq;                      // (rows,D)
};

static float delta(const struct attention_call *c, int row, int col, int D)
{
    vf sum = { 0 };
    for (int d = col; d < col + D; d += LANES) {
        vf x = c->dout->dtype == DTYPE_F32 ? vec_load(t_f32(c->dout, row) + d) : vec_from_bf16(t_bf16(c->dout, row) + d);
        vf y = c->out->dtype == DTYPE_F32 ? vec_load(t_f32(c->out, row) + d) : vec_from_bf16(t_bf16(c->out, row) + d);
        sum = vec_fma(x, y, sum);
    }
    return vec_sum(sum);
}

/* Loads a tile of queries: both layouts of q and dout, lse and delta. */
static void backward_load(struct backward *f, const struct attention_call *c, int row, int position, int kv, int rows)
{
    int D = f->D, units = D / PAIR;
    const uint32_t *q_row[2 * ATTENTION_ROWS], *dout_row[2 * ATTENTION_ROWS];

    for (int i = 0, j = 0; j < rows; i++)
        for (int h = kv * f->group; h < (kv + 1) * f->group; h++, j++) {
            f->position[j] = position + i;
            fetch_row(f->q + j * units, c->q, row + i, h * D, D);
            fetch_row(f->dout + j * units, c->dout, row + i, h * D, D);
            f->delta[j] = delta(c, row + i, h * D, D);
            f->lse[j] = t_f32(c->lse, row + i)[h] * LOG2E;
            q_row[j] = f->q + j * units;
            dout_row[j] = f->dout + j * units;
        }
    q_row[rows] = dout_row[rows] = zero_row;
    pack_pairs(f->q_pairs, q_row, rows, D);
    pack_pairs(f->dout_pairs, dout_row, rows, D);
}

/* P and dS of one row: from its scores and dP, of which it sees keys from .. n-1 (n 0: none). */
ALWAYS void backward_row(vf p[VECS], vf ds[VECS], const float *s, const float *dp, int from, int n, float scale, float lse,
                         float delta, bool capped, bool round)
{
#pragma GCC unroll 16
    for (int j = 0; j < VECS; j++) {
        p[j] = ds[j] = (vf){ 0 };
        if (j * LANES >= n)
            continue;
        p[j] = vec_exp2(vec_fma(vec_load(s + j * LANES), vec_all(scale), vec_all(-lse)));
        if (n < (j + 1) * LANES)
            p[j] = vec_first(p[j], n - j * LANES, 0);
        if (from > j * LANES)
            p[j] = vec_from(p[j], from - j * LANES, 0);
        ds[j] = p[j] * (vec_load(dp + j * LANES) - delta);
        if (capped)     // the scores are a tanh, whose slope is 1 - tanh^2
            ds[j] = ds[j] * vec_fma(-vec_load(s + j * LANES), vec_load(s + j * LANES), vec_all(1));
        if (round) {
            p[j] = vec_round_bf16(p[j]);
            ds[j] = vec_round_bf16(ds[j]);
        }
    }
}

/* P and dS of rows row .. row+n-1 (n <= NROW, row even) for block b, in the layouts the products want. */
static void backward_scores(const struct backward *f, int row, int n, int b, const uint32_t *kt, const uint32_t *vt)
{
    float s[NROW * BLOCK] __attribute__((aligned(64))), dp[NROW * BLOCK] __attribute__((aligned(64)));
    int units = f->D / PAIR;

    int cols = whole_vectors(seen(f->position[row + n - 1], b));
    product(s, BLOCK, NULL, f->q + row * units, units, 1, kt, BLOCK, n, cols, units);
    if (f->cap > 0)
        cap_scores(s, n, cols, f->cap);
    product(dp, BLOCK, NULL, f->dout + row * units, units, 1, vt, BLOCK, n, cols, units);
    for (int r = 0; r < n; r += PAIR) {
        vf p[PAIR][VECS], ds[PAIR][VECS];
        size_t pair = (size_t)(row + r) / PAIR * BLOCK;
#pragma GCC unroll 2
        for (int i = 0; i < PAIR; i++) {
            int at = (r + i < n ? r + i : r) * BLOCK, from = row + (r + i < n ? r + i : r);
            int sees = r + i < n ? seen(f->position[from], b) : 0;
            int before = unseen(f->position[from], b, f->window);
            float lse = f->lse[from], delta = f->delta[from];
            if (before > 0 || f->cap > 0)
                backward_row(p[i], ds[i], s + at, dp + at, before, sees, f->scale, lse, delta, f->cap > 0, f->round);
            else if (sees == BLOCK)
                backward_row(p[i], ds[i], s + at, dp + at, 0, BLOCK, f->scale, lse, delta, false, f->round);
            else
                backward_row(p[i], ds[i], s + at, dp + at, 0, sees, f->scale, lse, delta, false, f->round);
#if PAIR == 2
            for (int j = 0; j < VECS; j += 2)
                vec_store_units(f->ds + (row + r + i) * (BLOCK / 2) + j / 2 * LANES, vec_neighbours(ds[i][j], ds[i][j + 1]));
#endif
        }
#pragma GCC unroll 16
        for (int j = 0; j < VECS; j++) {
            vec_store_units(f->p_pairs + pair + j * LANES, vec_pair(p[0][j], p[PAIR - 1][j]));
            vec_store_units(f->ds_pairs + pair + j * LANES, vec_pair(ds[0][j], ds[PAIR - 1][j]));
        }
    }
}

/* A tile meets block b; dq begins with the first one it sees. */
static void backward_tile(struct backward *f, int rows, int b, const uint32_t *kt, const uint32_t *vt, const uint32_t *kp,
                          float *dk, float *dv)
{
    static const float all[2 * ATTENTION_ROWS] = { [0 ... 2 * ATTENTION_ROWS - 1] = 1 };
    int D = f->D, last = seen(f->position[rows - 1], b), pairs = (rows + PAIR - 1) / PAIR;

    for (int j = 0; j < rows; j += NROW)
        backward_scores(f, j, rows - j < NROW ? rows - j : NROW, b, kt, vt);
    product(f->dq, D, b > first_block(f->position[0], f->window) ? all : NULL, f->ds, BLOCK / PAIR, 1, kp, D, rows, D, (last + PAIR - 1) / PAIR);
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
    struct backward f = { .D = D, .group = group, .scale = score_scale(a), .cap = tanh_scale(a),
                          .window = a->window,
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

    int seen_first = first_block(r->position, a->window), unread = seen_first * BLOCK;     // keys nobody here sees

    memset(dk, 0, sums * 4);
    memset(dv, 0, sums * 4);
    for (int b = seen_first; b < blocks; b++) {
        int n = seen(keys - 1, b);
        fetch_block(key, stage, c->v, r->keys + b * BLOCK, n, kv * D, D);
        pack_transposed(vt + b * each, key, n, units);
        fetch_block(key, stage, c->k, r->keys + b * BLOCK, n, kv * D, D);
        pack_transposed(kt + b * each, key, n, units);
        pack_pairs(kp + b * each, key, n, D);
    }
    for (int i = 0, next; i < r->len; i = next) {
        int first = r->position + i;
        next = i + width - first % width < r->len ? i + width - first % width : r->len;
        int rows = (next - i) * group;
        backward_load(&f, c, r->row + i, first, kv, rows);
        for (int b = first_block(first, a->window); b <= first / BLOCK; b++)
            backward_tile(&f, rows, b, kt + b * each, vt + b * each, kp + b * each, dk + (size_t)b * BLOCK * D,
                          dv + (size_t)b * BLOCK * D);
        for (int j = i, row = 0; j < next; j++)
            for (int d = kv * group * D; d < (kv + 1) * group * D; d += LANES, row += LANES)
                vec_store(t_f32(c->dq, r->row + j) + d, vec_load(f.dq + row) * a->scale);
    }
    scatter_add(c->dk, dk + (size_t)unread * D, a->scale, r->keys + unread, keys - unread, kv * D, D);
    scatter_add(c->dv, dv + (size_t)unread * D, 1, r->keys + unread, keys - unread, kv * D, D);
}

static void NAME(backward)(const struct attention_call *c, int first, int last, int kv, void *memory)
{
    for (int i = first; i < last; i++)
        if (c->a->run[i].len)
            backward_run(c, &c->a->run[i], kv, memory);
}

const struct attention_kernel NAME(attention) = { INSTRUCTIONS, PAIR, NAME(forward), NAME(backward) };
