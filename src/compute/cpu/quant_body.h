/* compute/cpu/quant_body.h - the loops over weights in blocks (quant.h), included by one file per instruction set,
 * which defines QUANT_KERNELS as the name of its table.
 *
 * A tile is sixteen columns by up to 64 rows.  Of each block of 32, the quants of the sixteen columns are unpacked into eight
 * registers (four quants of each lane a word) and meet all rows in turn; sums wait in the first-level cache.
 * Quants count from zero, so an integer sum starts at minus the zero point times the sum of x's quants.  Integer sums
 * are exact: instruction sets differ by whether the fp32 additions are fused. */
#if defined __SSE2__
#include <immintrin.h>
#endif

#include "compute/cpu/cpu.h"
#include "compute/cpu/quant.h"

#define ALWAYS static inline __attribute__((always_inline, unused))

enum { WORDS = 8 };             // of 32 quants
enum { AHEAD = 8192 };          // bytes of quants asked for before they are needed, into the second-level cache

typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef uint32_t vu __attribute__((vector_size(64)));
typedef uint16_t vh __attribute__((vector_size(32)));
typedef uint8_t vb __attribute__((vector_size(16)));
typedef int8_t vs __attribute__((vector_size(16)));

#define LOAD(to, from) memcpy(&(to), (from), sizeof(to))

ALWAYS vf all(float x) { return x - (vf){ 0 }; }
ALWAYS vi all_int(int32_t x) { return x - (vi){ 0 }; }

#if defined __AVX512VNNI__
ALWAYS vf fma16(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
ALWAYS vf halves(const void *p) { return (vf)_mm512_cvtph_ps(_mm256_loadu_si256(p)); }
ALWAYS vi dot4(vi sum, vu w, int32_t x, bool wide)
{
    return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, _mm512_set1_epi32(x));
}
enum { SIGNED_BYTES = false };
#elif defined __AVX2__
ALWAYS vf fma16(vf a, vf b, vf c)
{
    union { vf v; __m256 h[2]; } x = { a }, y = { b }, z = { c };
    z.h[0] = _mm256_fmadd_ps(x.h[0], y.h[0], z.h[0]);
    z.h[1] = _mm256_fmadd_ps(x.h[1], y.h[1], z.h[1]);
    return z.v;
}
ALWAYS vf halves(const void *p)
{
    const __m128i *h = p;
    union { __m256 h[2]; vf v; } x = { { _mm256_cvtph_ps(_mm_loadu_si128(h)), _mm256_cvtph_ps(_mm_loadu_si128(h + 1)) } };
    return x.v;
}
/* Pairs of products must fit 16 bits: quants below 64 do; those of 8 bits become signed again and give x their sign. */
ALWAYS __m256i dot4_half(__m256i sum, __m256i w, __m256i x, bool wide)
{
    if (wide) {
        w = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
        x = _mm256_sign_epi8(x, w);
        w = _mm256_abs_epi8(w);
    }
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)));
}
ALWAYS vi dot4(vi sum, vu w, int32_t x, bool wide)
{
    union { vi v; __m256i h[2]; } s = { sum }, q = { (vi)w };
    __m256i all_x = _mm256_set1_epi32(x);
    s.h[0] = dot4_half(s.h[0], q.h[0], all_x, wide);
    s.h[1] = dot4_half(s.h[1], q.h[1], all_x, wide);
    return s.v;
}
enum { SIGNED_BYTES = true };
#else
ALWAYS vf fma16(vf a, vf b, vf c) { return a * b + c; }
ALWAYS vf halves(const void *p)         // as model/format/half.h does it
{
    vh h;
    LOAD(h, p);
    vu u = __builtin_convertvector(h, vu), magnitude = (u & 0x7fff) << 13;
    vu f = (vu)((vf)magnitude * 0x1p112f);
    f |= ((vu)(magnitude >= 0x0f800000u) & 0x7f800000u) | (u & 0x8000u) << 16;
    return (vf)f;
}
ALWAYS vi dot4(vi sum, vu w, int32_t x, bool wide)
{
    for (int i = 0; i < 4; i++)
        sum += (vi)(w >> (8 * i) & 0xff) * all_int((int8_t)((uint32_t)x >> (8 * i)));
    return sum;
}
enum { SIGNED_BYTES = false };
#endif

ALWAYS vf bytes(const unsigned char *p)
{
    vb b;
    LOAD(b, p);
    return __builtin_convertvector(__builtin_convertvector(b, vi), vf);
}

ALWAYS vf signed_bytes(const unsigned char *p)
{
    vs b;
    LOAD(b, p);
    return __builtin_convertvector(__builtin_convertvector(b, vi), vf);
}

/* ---- blocks -------------------------------------------------------------------------------- */

/* 32 quants of sixteen lanes.  A value is scale (q - zero) - min; scale[1] is that of the last 16 in Q6_K. */
struct block { vu w[WORDS]; vf scale[2], min; };

ALWAYS bool is_k(enum quant t) { return t == QUANT_Q4_K || t == QUANT_Q5_K || t == QUANT_Q6_K; }
ALWAYS bool has_min(enum quant t) { return t == QUANT_Q4_1 || t == QUANT_Q5_1 || t == QUANT_Q4_K || t == QUANT_Q5_K; }
ALWAYS int zero_shift(enum quant t)     // the zero point is 1 << this; -1: it is 0
{
    return t == QUANT_Q8_0 ? 7 : t == QUANT_Q4_0 ? 3 : t == QUANT_Q5_0 ? 4 : t == QUANT_Q6_K ? 5 : -1;
}

ALWAYS vu word(const unsigned char *p, int i)
{
    vu w;
    LOAD(w, p + (size_t)i * 64);
    return w;
}

/* The j-th of eight 6-bit scales and mins in twelve rows of bytes, as model/format/dequant_k.h draws them. */
ALWAYS void scale_min(vf *scale, vf *min, const unsigned char *p, int j)
{
    vb s, m;
    if (j < 4) {
        LOAD(s, p + j * 16);
        LOAD(m, p + (j + 4) * 16);
        s &= 63;
        m &= 63;
    } else {
        vb both, s_high, m_high;
        LOAD(both, p + (j + 4) * 16);
        LOAD(s_high, p + (j - 4) * 16);
        LOAD(m_high, p + j * 16);
        s = (both & 15) | (s_high >> 6) << 4;
        m = (both >> 4) | (m_high >> 6) << 4;
    }
    *scale = __builtin_convertvector(__builtin_convertvector(s, vi), vf);
    *min = __builtin_convertvector(__builtin_convertvector(m, vi), vf);
}

ALWAYS void unpack_scale(struct block *b, enum quant t, const unsigned char *scale, int sub)
{
    vf d = halves(scale);
    b->scale[0] = b->scale[1] = d;
    b->min = (vf){ 0 };
    if (t == QUANT_Q4_1 || t == QUANT_Q5_1)
        b->min = -halves(scale + 32);
    if (t == QUANT_Q4_K || t == QUANT_Q5_K) {
        scale_min(&b->scale[0], &b->min, scale + 64, sub);
        b->scale[0] *= d;
        b->min *= halves(scale + 32);
    }
    if (t == QUANT_Q6_K) {
        b->scale[0] = d * signed_bytes(scale + 32 + sub * 32);
        b->scale[1] = d * signed_bytes(scale + 48 + sub * 32);
    }
}

/* The sub-th 32 of a block of 256; of a block of 32, sub is 0. */
ALWAYS void unpack_block(struct block *b, enum quant t, const unsigned char *scale, const unsigned char *high,
                         const unsigned char *quant, int sub)
{
    unpack_scale(b, t, scale, sub);
    if (t == QUANT_Q8_0) {
        for (int i = 0; i < WORDS; i++)
            b->w[i] = word(quant, i);
        return;
    }
    if (!is_k(t)) {
        for (int i = 0; i < 4; i++) {
            vu q = word(quant, i);
            b->w[i] = q & 0x0f0f0f0fu;
            b->w[i + 4] = q >> 4 & 0x0f0f0f0fu;
        }
        if (t == QUANT_Q5_0 || t == QUANT_Q5_1) {
            vu h = word(high, 0);
            for (int i = 0; i < WORDS; i++)
                b->w[i] |= (h >> i & 0x01010101u) << 4;
        }
        return;
    }
    if (t == QUANT_Q6_K) {      // halves of 128; in each, four times 32: low, low of the next 32, high, high
        const unsigned char *low = quant + (size_t)(sub / 4 * 16 + sub % 2 * 8) * 64, *top = high + (size_t)(sub / 4 * 8) * 64;
        int up = sub % 4 / 2 * 4, shift = sub % 4 * 2;
        for (int i = 0; i < WORDS; i++)
            b->w[i] = (word(low, i) >> up & 0x0f0f0f0fu) | (word(top, i) >> shift & 0x03030303u) << 4;
        return;
    }
    const unsigned char *q = quant + (size_t)(sub / 2 * 8) * 64;
    int up = sub % 2 * 4;
    for (int i = 0; i < WORDS; i++)
        b->w[i] = word(q, i) >> up & 0x0f0f0f0fu;
    if (t == QUANT_Q5_K)
        for (int i = 0; i < WORDS; i++)
            b->w[i] |= (word(high, i) >> sub & 0x01010101u) << 4;
}

/* ---- a tile -------------------------------------------------------------------------------- */

ALWAYS int32_t int_at(const unsigned char *p)
{
    int32_t x;
    LOAD(x, p);
    return x;
}

ALWAYS float float_at(const unsigned char *p)
{
    float x;
    LOAD(x, p);
    return x;
}

/* Minus the zero point times the sum of x. */
ALWAYS vi start(enum quant t, const unsigned char *minus)
{
    bool wide = t == QUANT_Q8_0 && SIGNED_BYTES;
    return zero_shift(t) < 0 || wide ? (vi){ 0 } : all_int(int_at(minus)) << (zero_shift(t) < 0 ? 0 : zero_shift(t));
}

/* Adds one block of 32 to the sums of all rows. */
ALWAYS void add_block(vf *sum, const struct block *b, enum quant t, const unsigned char *act, int rows)
{
    const unsigned char *n = act + (size_t)rows * 32;
    size_t step = 4 * (size_t)rows;
    bool wide = t == QUANT_Q8_0;
    vu w[WORDS];
    for (int i = 0; i < WORDS; i++)
        w[i] = b->w[i];
    vf scale0 = b->scale[0], scale1 = b->scale[1], min = b->min;
    for (int r = 0; r < rows; r++, act += 32, n += 4) {
        vf scale = all(float_at(n + ACT_SCALE * step));
        vf s = sum[r];
        if (t == QUANT_Q6_K) {
            vi low = start(t, n + ACT_MINUS_LOW * step), high = start(t, n + ACT_MINUS_HIGH * step);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                low = dot4(low, w[i], int_at(act + 4 * i), wide);
                high = dot4(high, w[i + 4], int_at(act + 4 * i + 16), wide);
            }
            s = fma16(__builtin_convertvector(low, vf) * scale0, scale, s);
            s = fma16(__builtin_convertvector(high, vf) * scale1, scale, s);
        } else {
            vi dot = start(t, n + ACT_MINUS * step);
#pragma GCC unroll 8
            for (int i = 0; i < WORDS; i++)
                dot = dot4(dot, w[i], int_at(act + 4 * i), wide);
            s = fma16(__builtin_convertvector(dot, vf) * scale0, scale, s);
        }
        if (has_min(t))
            s = fma16(-min, all(float_at(n + ACT_SUM * step)), s);
        sum[r] = s;
    }
}

ALWAYS vh to_bf16(vf x)
{
    vu u = (vu)x, nan = (vu)((u & 0x7fffffffu) > 0x7f800000u);
    vu even = (u + 0x7fffu + ((u >> 16) & 1)) >> 16, quiet = (u >> 16) | 0x40;
    return __builtin_convertvector((nan & quiet) | (~nan & even), vh);
}

ALWAYS vf from_bf16(vh h) { return (vf)(__builtin_convertvector(h, vu) << 16); }

/* n columns; where this is inlined with a constant n, memcpy is one instruction. */
ALWAYS void store(const struct quant_tile *t, const vf *sum, size_t n)
{
    for (int r = 0; r < t->rows; r++) {
        vf s = sum[r], before = { 0 };
        vh h = { 0 };
        if (t->out == DTYPE_BF16) {
            uint16_t *y = (uint16_t *)t->y + (size_t)r * t->ldy;
            if (t->accumulate)
                memcpy(&h, y, n * sizeof *y);
            h = to_bf16(t->accumulate ? s + from_bf16(h) : s);
            memcpy(y, &h, n * sizeof *y);
        } else {
            float *y = (float *)t->y + (size_t)r * t->ldy;
            if (t->accumulate)
                memcpy(&before, y, n * sizeof *y);
            s = t->accumulate ? s + before : s;
            memcpy(y, &s, n * sizeof *y);
        }
    }
}

/* A block's share of a stream is asked for bit by bit: all at once it would fill the queue of loads, and computing would wait. */
ALWAYS void ask_ahead(const unsigned char *stream, int sub, int bytes, int values)
{
    int each = bytes * QUANT_LANES / (values / 32);
    for (int p = 0; p < each; p += 64)
        __builtin_prefetch(stream + AHEAD + sub * each + p, 0, 2);
}

ALWAYS void run_tile(const struct quant_tile *t, enum quant type)
{
    const struct quant_form f = quant_forms[type];
    const unsigned char *scale = t->scale, *high = t->high, *quant = t->quant, *act = t->act;
    vf sum[QUANT_TILE];
    struct block b;
    size_t step = quant_act_block(t->rows);
    bool ask = type != QUANT_Q8_0 || t->rows > 4;       // else the loop is short enough for the processor's own reading ahead
    for (int r = 0; r < t->rows; r++)
        sum[r] = (vf){ 0 };
    for (int i = 0; i < t->blocks; i++) {
        for (int sub = 0; sub < f.values / 32; sub++, act += step) {
            if (ask)
                ask_ahead(quant, sub, f.quant, f.values);
            ask_ahead(high, sub, f.high, f.values);
            unpack_block(&b, type, scale, high, quant, sub);
            add_block(sum, &b, type, act, t->rows);
        }
        scale += f.scale * QUANT_LANES;
        high += f.high * QUANT_LANES;
        quant += f.quant * QUANT_LANES;
    }
    if (t->cols == QUANT_LANES)
        store(t, sum, QUANT_LANES);
    else
        store(t, sum, (size_t)t->cols);
}

#define TILE(type)                                      \
    static void tile_##type(const struct quant_tile *t) \
    {                                                   \
        run_tile(t, QUANT_##type);                      \
    }
TILE(Q8_0)
TILE(Q4_0)
TILE(Q4_1)
TILE(Q5_0)
TILE(Q5_1)
TILE(Q4_K)
TILE(Q5_K)
TILE(Q6_K)

/* ---- back to floats --------------------------------------------------------------------------- */

static void unpack(float out[32][QUANT_LANES], const struct quant_part *p, int group, int block)
{
    const struct quant_form *f = &quant_forms[p->type];
    int per = f->values / 32, sub = block % per;
    size_t at = ((size_t)group * (size_t)p->blocks + (size_t)(block / per)) * QUANT_LANES;
    float zero = zero_shift(p->type) < 0 ? 0 : (float)(1 << zero_shift(p->type));
    struct block b;
    unpack_block(&b, p->type, p->scale + at * (size_t)f->scale, p->high + at * (size_t)f->high, p->quant + at * (size_t)f->quant,
                 sub);
    for (int k = 0; k < 32; k++) {
        vf q = __builtin_convertvector((vi)(b.w[k / 4] >> (8 * (k % 4)) & 0xff), vf) - zero;
        vf v = q * b.scale[p->type == QUANT_Q6_K && k >= 16];
        if (has_min(p->type))
            v -= b.min;
        memcpy(out[k], &v, sizeof v);
    }
}

/* ---- rounding rows of x ----------------------------------------------------------------------------- */

ALWAYS vf load_x(const void *x, enum dtype dtype, int i)
{
    if (dtype == DTYPE_F32) {
        vf v;
        LOAD(v, (const float *)x + i);
        return v;
    }
    vh h;
    LOAD(h, (const uint16_t *)x + i);
    return from_bf16(h);
}

/* Bits of the largest magnitude: order of bits is order of magnitudes, with NaN above all. */
ALWAYS uint32_t largest(vf a, vf b)
{
    vu x = (vu)a & 0x7fffffffu, y = (vu)b & 0x7fffffffu;
#if defined __AVX512VNNI__
    return _mm512_reduce_max_epu32(_mm512_max_epu32((__m512i)x, (__m512i)y));
#else
    uint32_t most = 0, w[32];
    memcpy(w, &x, sizeof x);
    memcpy(w + 16, &y, sizeof y);
    for (int i = 0; i < 32; i++)
        most = w[i] > most ? w[i] : most;
    return most;
#endif
}

/* Sixteen integers within -127 .. 127 as bytes; returns their sum. */
ALWAYS int32_t put_bytes(unsigned char *to, vi q)
{
#if defined __AVX512VNNI__
    _mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtepi32_epi8((__m512i)q));
    return _mm512_reduce_add_epi32((__m512i)q);
#else
    vs b = __builtin_convertvector(q, vs);
    memcpy(to, &b, sizeof b);
    int32_t sum = 0, v[16];
    memcpy(v, &q, sizeof v);
    for (int i = 0; i < 16; i++)
        sum += v[i];
    return sum;
#endif
}

/* To the nearest, ties to even: the constant pushes the fraction out of the mantissa. */
ALWAYS vi nearest(vf x)
{
    const float magic = 12582912.0f;
    return (vi)(x + magic) - 0x4b400000;
}

static void round_row(unsigned char *act, int rows, int r, const void *x, enum dtype dtype, int blocks)
{
    size_t step = quant_act_block(rows), array = 4 * (size_t)rows;
    for (int b = 0; b < blocks; b++, act += step) {
        vf low = load_x(x, dtype, 32 * b), high = load_x(x, dtype, 32 * b + 16);
        union { uint32_t u; float f; } most = { largest(low, high) };
        unsigned char *q = act + (size_t)r * 32, *n = act + (size_t)rows * 32 + (size_t)r * 4;
        float scale = most.f / 127, inverse = most.f > 1e-30f ? 127 / most.f : 0;
        if (most.u >= 0x7f800000u) {    // infinity or NaN: so is the result
            scale = most.f - most.f;
            inverse = 0;
            low = high = (vf){ 0 };
        }
        int32_t sum[2] = { put_bytes(q, nearest(low * inverse)), put_bytes(q + 16, nearest(high * inverse)) };
        int32_t total = sum[0] + sum[1], minus[3] = { -total, -sum[0], -sum[1] };
        float of_sum = scale * (float)total;
        memcpy(n + ACT_SCALE * array, &scale, 4);
        memcpy(n + ACT_SUM * array, &of_sum, 4);
        memcpy(n + ACT_MINUS * array, &minus[0], 4);
        memcpy(n + ACT_MINUS_LOW * array, &minus[1], 4);
        memcpy(n + ACT_MINUS_HIGH * array, &minus[2], 4);
    }
}

const struct quant_kernels QUANT_KERNELS = {
    .name = QUANT_NAME,
    .tile = { tile_Q8_0, tile_Q4_0, tile_Q4_1, tile_Q5_0, tile_Q5_1, tile_Q4_K, tile_Q5_K, tile_Q6_K },
    .round = round_row,
    .unpack = unpack,
};
