/* dequant_loops.h - the conversion loops, included once per instruction set; blocks of 256 are
 * in dequant_k.h.
 *
 *   type   block of 32 values                               value
 *   Q8_0   fp16 d, 32 x int8                                 d q
 *   Q4_0   fp16 d, 16 bytes                                  d (q - 8)
 *   Q4_1   fp16 d, fp16 m, 16 bytes                          d q + m
 *   Q5_0   fp16 d, 32 high bits, 16 bytes                    d (q - 16)
 *   Q5_1   fp16 d, fp16 m, 32 high bits, 16 bytes            d q + m
 *   IQ4_NL fp16 d, 16 bytes                                  d L[q], L the table below
 * In a nibble byte the low half is value j, the high half value j + 16.
 *
 * A product of an fp16 scale (11 bits) and a quant (at most 8) is exact in a float, so whether
 * the compiler fuses it with the addition changes nothing. */

#include "model/format/half.h"

static void from_f16(float *dst, const unsigned char *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = half_to_float(load_u16(src + 2 * i));
}

static void from_bf16(float *dst, const unsigned char *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = bits_to_float((uint32_t)load_u16(src + 2 * i) << 16);
}

static void from_f64(float *dst, const unsigned char *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double v;
        memcpy(&v, src + 8 * i, sizeof v);
        dst[i] = (float)v;
    }
}

/* E5M2 is the upper byte of an fp16.  E4M3 (the "fn" kind of PyTorch): bias 7, no infinity, all
 * ones are NaN; its bits, moved under fp16's exponent, are the value times 2^-8. */
static void from_f8_e5m2(float *dst, const unsigned char *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = half_to_float((uint16_t)(src[i] << 8));
}

static void from_f8_e4m3(float *dst, const unsigned char *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t magnitude = src[i] & 0x7f;
        float v = half_to_float((uint16_t)(magnitude << 7)) * 256.0f;
        v = magnitude == 0x7f ? bits_to_float(0x7fc00000) : v;
        dst[i] = src[i] & 0x80 ? -v : v;
    }
}

static void from_q8_0(float *restrict dst, const unsigned char *restrict src, size_t blocks)
{
    for (size_t b = 0; b < blocks; b++, src += 34, dst += 32) {
        float d = half_to_float(load_u16(src));
        const int8_t *q = (const int8_t *)src + 2;
        for (int i = 0; i < 32; i++)
            dst[i] = d * (float)q[i];
    }
}

static inline void nibbles(float *restrict dst, const unsigned char *restrict q, float d,
                           int zero, float m)
{
    for (int i = 0; i < 16; i++) {
        dst[i] = d * (float)((q[i] & 15) - zero) + m;
        dst[i + 16] = d * (float)((q[i] >> 4) - zero) + m;
    }
}

static inline void nibbles5(float *restrict dst, const unsigned char *restrict q,
                            const unsigned char *high, float d, int zero, float m)
{
    uint32_t h;
    memcpy(&h, high, sizeof h);
    for (int i = 0; i < 16; i++) {
        int lo = (q[i] & 15) | ((h >> i & 1) << 4),
            hi = (q[i] >> 4) | ((h >> (i + 16) & 1) << 4);
        dst[i] = d * (float)(lo - zero) + m;
        dst[i + 16] = d * (float)(hi - zero) + m;
    }
}

static void from_q4(float *dst, const unsigned char *src, size_t blocks, bool with_min)
{
    size_t step = with_min ? 20 : 18;
    for (size_t b = 0; b < blocks; b++, src += step, dst += 32) {
        float d = half_to_float(load_u16(src)),
              m = with_min ? half_to_float(load_u16(src + 2)) : 0;
        nibbles(dst, src + step - 16, d, with_min ? 0 : 8, m);
    }
}

static void from_q5(float *dst, const unsigned char *src, size_t blocks, bool with_min)
{
    size_t step = with_min ? 24 : 22;
    for (size_t b = 0; b < blocks; b++, src += step, dst += 32) {
        float d = half_to_float(load_u16(src)),
              m = with_min ? half_to_float(load_u16(src + 2)) : 0;
        nibbles5(dst, src + step - 16, src + step - 20, d, with_min ? 0 : 16, m);
    }
}

static const float LEVEL[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                1,    13,   25,  38,  53,  69,  89,  113};

static inline void levels(float *restrict dst, const unsigned char *restrict q, float d)
{
    for (int i = 0; i < 16; i++) {
        dst[i] = d * LEVEL[q[i] & 15];
        dst[i + 16] = d * LEVEL[q[i] >> 4];
    }
}

static void from_iq4_nl(float *dst, const unsigned char *src, size_t blocks)
{
    for (size_t b = 0; b < blocks; b++, src += 18, dst += 32)
        levels(dst, src + 2, half_to_float(load_u16(src)));
}

#include "model/format/dequant_k.h"

void CONVERT(float *dst, const unsigned char *src, size_t n, enum store_type t)
{
    switch (t) {
    case STORE_F32:
        memcpy(dst, src, n * sizeof *dst);
        break;
    case STORE_F16:
        from_f16(dst, src, n);
        break;
    case STORE_BF16:
        from_bf16(dst, src, n);
        break;
    case STORE_F64:
        from_f64(dst, src, n);
        break;
    case STORE_F8_E4M3:
        from_f8_e4m3(dst, src, n);
        break;
    case STORE_F8_E5M2:
        from_f8_e5m2(dst, src, n);
        break;
    case STORE_Q8_0:
        from_q8_0(dst, src, n / 32);
        break;
    case STORE_Q4_0:
        from_q4(dst, src, n / 32, false);
        break;
    case STORE_Q4_1:
        from_q4(dst, src, n / 32, true);
        break;
    case STORE_Q5_0:
        from_q5(dst, src, n / 32, false);
        break;
    case STORE_Q5_1:
        from_q5(dst, src, n / 32, true);
        break;
    case STORE_IQ4_NL:
        from_iq4_nl(dst, src, n / 32);
        break;
    case STORE_Q2_K:
        from_q2_k(dst, src, n / 256);
        break;
    case STORE_Q3_K:
        from_q3_k(dst, src, n / 256);
        break;
    case STORE_Q4_K:
        from_q4_k(dst, src, n / 256);
        break;
    case STORE_Q5_K:
        from_q5_k(dst, src, n / 256);
        break;
    case STORE_Q6_K:
        from_q6_k(dst, src, n / 256);
        break;
    case STORE_IQ4_XS:
        from_iq4_xs(dst, src, n / 256);
        break;
    case STORE_OTHER:
        break;
    }
}
