/* compute/cpu/attention_vec.h - the vector operations attention is written in.
 *
 * The including file sets LANES (floats in a vector) and PAIR.  Matrices are made of 32-bit units: one float
 * (PAIR 1), or two neighbouring bf16 values (PAIR 2) that the hardware multiplies and adds in one step.
 *
 * Products that feed a sum are always spelled vec_fma: left to the compiler, one inlined copy of a function
 * could be contracted and another not, and then a row's bits would depend on its neighbours. */
#ifndef COMPUTE_CPU_ATTENTION_VEC_H
#define COMPUTE_CPU_ATTENTION_VEC_H

#if defined __SSE2__
#include <immintrin.h>
#endif
#include <math.h>

#define ALWAYS static inline __attribute__((always_inline, unused))

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef float vf_any __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu_any __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint16_t vh __attribute__((vector_size(2 * LANES)));
typedef uint16_t vh_any __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

ALWAYS vf vec_load(const float *p) { return *(const vf_any *)p; }
ALWAYS void vec_store(float *p, vf x) { *(vf_any *)p = x; }
ALWAYS vu vec_load_units(const uint32_t *p) { return *(const vu_any *)p; }
ALWAYS void vec_store_units(uint32_t *p, vu x) { *(vu_any *)p = x; }
ALWAYS vf vec_all(float x) { return x - (vf){ 0 }; }
ALWAYS vu vec_all_units(uint32_t x) { return x - (vu){ 0 }; }

/* LANES_LOW interleaves the lower halves of two vectors. */
#if LANES == 16
#define LANE_INDEX ((vi){ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 })
#define LANES_LOW ((vi){ 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23 })
#elif LANES == 8
#define LANE_INDEX ((vi){ 0, 1, 2, 3, 4, 5, 6, 7 })
#define LANES_LOW ((vi){ 0, 8, 1, 9, 2, 10, 3, 11 })
#else
#define LANE_INDEX ((vi){ 0, 1, 2, 3 })
#define LANES_LOW ((vi){ 0, 4, 1, 5 })
#endif

#if LANES == 16
ALWAYS vf vec_fma(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
ALWAYS vf vec_max(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
#elif LANES == 8
ALWAYS vf vec_fma(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
ALWAYS vf vec_max(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
#else
ALWAYS vf vec_fma(vf a, vf b, vf c) { return a * b + c; }
ALWAYS vf vec_max(vf a, vf b)           // b where either is NaN, as the instruction does
{
    vi above = a > b;
    return (vf)((above & (vi)a) | (~above & (vi)b));
}
#endif

/* The largest lane.  Maxima do not round, so the order is free. */
ALWAYS float vec_largest(vf x)
{
#if LANES == 16
    return _mm512_reduce_max_ps((__m512)x);
#else
    float m = x[0];
    for (int i = 1; i < LANES; i++)
        m = x[i] > m ? x[i] : m;
    return m;
#endif
}

/* Sum of the lanes: the halves on each other, until one is left. */
ALWAYS float vec_sum(vf x)
{
#if LANES == 4
    float a = x[0] + x[2], b = x[1] + x[3];
    return a + b;
#else
#if LANES == 16
    __m256 y = _mm256_add_ps(_mm512_castps512_ps256((__m512)x), _mm512_extractf32x8_ps((__m512)x, 1));
#else
    __m256 y = (__m256)x;
#endif
    __m128 z = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    z = _mm_add_ps(z, _mm_movehl_ps(z, z));
    return _mm_cvtss_f32(_mm_add_ss(z, _mm_shuffle_ps(z, z, 1)));
#endif
}

/* x where the lane's index is below n, other elsewhere. */
ALWAYS vf vec_first(vf x, int n, float other)
{
    vi keep = LANE_INDEX < n, rest = (vi)vec_all(other);
    return (vf)((keep & (vi)x) | (~keep & rest));
}

/* x where the lane's index is at least n, other elsewhere. */
ALWAYS vf vec_from(vf x, int n, float other)
{
    vi keep = LANE_INDEX >= n, rest = (vi)vec_all(other);
    return (vf)((keep & (vi)x) | (~keep & rest));
}

/* 2^x for x up to about 100, relative error 1e-7; NaN stays NaN.  Far below zero the result is 0 or at most
 * 2^-125, which is nothing beside a row's largest term, 1.  x = n + f with |f| <= 1/2; the polynomial is the
 * minimax fit to 2^f with p(0) = 1. */
ALWAYS vf vec_exp2(vf x)
{
#if LANES == 16
    vf n = (vf)_mm512_roundscale_ps((__m512)x, 0), f = x - n;
#else
    vf magic = vec_all(12582912.0f);            // 1.5 * 2^23: adding it rounds to an integer
    x = vec_max(vec_all(-125.0f), x);
    vf shifted = x + magic, f = x - (shifted - magic);
#endif
    vf p = vec_fma(vec_all(1.326472731307149e-03f), f, vec_all(9.671512991189957e-03f));
    p = vec_fma(p, f, vec_all(5.550733581185341e-02f));
    p = vec_fma(p, f, vec_all(2.402224242687287e-01f));
    p = vec_fma(p, f, vec_all(6.931470036506653e-01f));
    p = vec_fma(p, f, vec_all(1.0f));
#if LANES == 16
    return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    return (vf)((vu)p + (((vu)shifted - (vu)magic) << 23));
#endif
}

/* tanh, relative error 2e-7; NaN stays NaN.  Below 0.625 an odd polynomial (a minimax fit, within 4e-9), above it
 * (1 - e) / (1 + e) with e = exp(-2|x|). */
ALWAYS vf vec_tanh(vf x)
{
    vu sign = (vu)x & 0x80000000u;
    vf a = (vf)((vu)x ^ sign), z = x * x, e = vec_exp2(a * -2.88539008f), far = (1 - e) / (1 + e);
    vf p = vec_fma(vec_all(-5.71704e-3f), z, vec_all(2.065058e-2f));
    p = vec_fma(p, z, vec_all(-5.374350e-2f));
    p = vec_fma(p, z, vec_all(1.3331491e-1f));
    p = vec_fma(p, z, vec_all(-3.3333284e-1f));
    vi near = a < 0.625f;
    return (vf)((near & (vi)vec_fma(x * z, p, x)) | (~near & (vi)((vu)far | sign)));
}

/* Rounded to bf16 (nearest even), kept as a float. */
ALWAYS vf vec_round_bf16(vf x)
{
    vu u = (vu)x, rounded = (u + 0x7fff + ((u >> 16) & 1)) & 0xffff0000u;
    vi nan = x != x;
    return (vf)(((vu)nan & (u | 0x400000)) | (~(vu)nan & rounded));
}

ALWAYS vf vec_from_bf16(const uint16_t *p)
{
    return (vf)(__builtin_convertvector(*(const vh_any *)p, vu) << 16);
}

ALWAYS void vec_to_bf16(uint16_t *p, vf x)
{
#if PAIR == 2
    _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
    *(vh_any *)p = __builtin_convertvector((vu)vec_round_bf16(x) >> 16, vh);
#endif
}

/* acc + a b in every lane, for units. */
ALWAYS vf vec_mac(vf acc, vu a, vu b)
{
#if PAIR == 2
    return (vf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)a, (__m512bh)b);
#else
    return vec_fma((vf)a, (vf)b, acc);
#endif
}

/* Units that pair lane i of a (low half) with lane i of b; with PAIR 1, a itself. */
ALWAYS vu vec_pair(vf a, vf b)
{
#if PAIR == 2
    __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)a));
    __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)b));
    return (vu)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
#else
    return (vu)a;
#endif
}

/* Units of neighbouring lanes of a, then of b; with PAIR 1, a itself. */
ALWAYS vu vec_neighbours(vf a, vf b)
{
#if PAIR == 2
    return (vu)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a);
#else
    return (vu)a;
#endif
}

/* LANES x LANES units, transposed in place: each step interleaves the halves. */
ALWAYS void vec_transpose(vu x[LANES])
{
    const vi low = LANES_LOW, high = LANES_LOW + LANES / 2;
#pragma GCC unroll 4
    for (int step = 1; step < LANES; step *= 2) {
        vu y[LANES];
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            y[2 * i] = __builtin_shuffle(x[i], x[i + LANES / 2], low);
            y[2 * i + 1] = __builtin_shuffle(x[i], x[i + LANES / 2], high);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            x[i] = y[i];
    }
}

/* Base-2 logarithm of a positive normal float to 1e-9, our own so that results do not depend on the C library:
 * log m = 2 atanh(t) with t = (m - 1) / (m + 1), |t| < 0.172. */
ALWAYS double plain_log2(float x)
{
    union { float f; uint32_t u; } m = { .f = x };
    int e = (int)(m.u - 0x3f3504f3) >> 23;              // m in [sqrt(1/2), sqrt(2))
    m.u -= (uint32_t)e << 23;
    double t = (m.f - 1.0) / (m.f + 1.0), t2 = t * t;
    return e + t * (2.885390081777927 + t2 * (0.961796693925976 + t2 * (0.577078016355585 + t2 * (0.412198583111132 +
           t2 * 0.320598897975325))));
}

#endif
