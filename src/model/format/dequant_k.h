/* dequant_k.h - llama.cpp's blocks of 256 values to floats; included by dequant_loops.h.
 *
 *   type    bytes of a block, in order                        value
 *   Q2_K    16 scale|min << 4, 64 q, fp16 d, fp16 m           d scale q - m min
 *   Q3_K    32 high bits, 64 q, 12 scales, fp16 d             d (scale - 32) (q - 4)
 *   Q4_K    fp16 d, fp16 m, 12 scales and mins, 128 q         d scale q - m min
 *   Q5_K    fp16 d, fp16 m, 12 scales and mins, 32 high, 128 q  the same
 *   Q6_K    128 low nibbles, 64 high bits, 16 int8 scale, fp16 d  d scale (q - 32)
 *   IQ4_XS  fp16 d, 2 scales_high, 4 scales_low, 128 q        d (scale - 32) L[q]
 *
 * Scales hold for 16 values in Q2_K, Q3_K and Q6_K, for 32 in the others.  As before, every
 * product is exact in a float (11 bits of d, at most 7 of a scale, at most 6 of q), so order
 * and fusing change nothing. */

/* The j-th of eight 6-bit scales and mins packed into 12 bytes: four low scales, four low mins,
 * then nibbles whose upper bits are the upper bits of the first eight bytes. */
static inline void scale_min(const unsigned char *p, int j, float *scale, float *min)
{
    int s = j < 4 ? p[j] & 63 : (p[j + 4] & 15) | (p[j - 4] >> 6) << 4;
    int m = j < 4 ? p[j + 4] & 63 : (p[j + 4] >> 4) | (p[j] >> 6) << 4;
    *scale = (float)s;
    *min = (float)m;
}

static void from_q2_k(float *restrict dst, const unsigned char *restrict src, size_t blocks)
{
    for (size_t b = 0; b < blocks; b++, src += 84) {
        float d = half_to_float(load_u16(src + 80)), m = half_to_float(load_u16(src + 82));
        for (int i = 0; i < 16; i++, dst += 16) { // 16 values with one scale
            const unsigned char *q = src + 16 + i / 8 * 32 + i % 2 * 16;
            int shift = i % 8 / 2 * 2;
            float scale = d * (float)(src[i] & 15), min = m * (float)(src[i] >> 4);
            for (int k = 0; k < 16; k++)
                dst[k] = scale * (float)(q[k] >> shift & 3) - min;
        }
    }
}

static void from_q3_k(float *restrict dst, const unsigned char *restrict src, size_t blocks)
{
    for (size_t b = 0; b < blocks; b++, src += 110) {
        const unsigned char *packed = src + 96;
        float d = half_to_float(load_u16(src + 108));
        for (int i = 0; i < 16; i++, dst += 16) {
            const unsigned char *q = src + 32 + i / 8 * 32 + i % 2 * 16,
                                *high = src + i % 2 * 16;
            int shift = i % 8 / 2 * 2, bit = i / 2;
            int low = i < 8 ? packed[i] & 15 : packed[i - 8] >> 4;
            float scale = d * (float)((low | (packed[8 + i % 4] >> (i / 4 * 2) & 3) << 4) - 32);
            for (int k = 0; k < 16; k++)
                dst[k] = scale * (float)((q[k] >> shift & 3) + ((high[k] >> bit & 1) << 2) - 4);
        }
    }
}

static void from_q4_k(float *restrict dst, const unsigned char *restrict src, size_t blocks)
{
    for (size_t b = 0; b < blocks; b++, src += 144) {
        float d = half_to_float(load_u16(src)), m = half_to_float(load_u16(src + 2));
        const unsigned char *q = src + 16;
        for (int i = 0; i < 4; i++, q += 32, dst += 64) {
            float s0, s1, m0, m1;
            scale_min(src + 4, 2 * i, &s0, &m0);
            scale_min(src + 4, 2 * i + 1, &s1, &m1);
            s0 *= d, s1 *= d, m0 *= m, m1 *= m;
            for (int k = 0; k < 32; k++)
                dst[k] = s0 * (float)(q[k] & 15) - m0;
            for (int k = 0; k < 32; k++)
                dst[k + 32] = s1 * (float)(q[k] >> 4) - m1;
        }
    }
}

static void from_q5_k(float *restrict dst, const unsigned char *restrict src, size_t blocks)
{
    for (size_t b = 0; b < blocks; b++, src += 176) {
        float d = half_to_float(load_u16(src)), m = half_to_float(load_u16(src + 2));
        const unsigned char *high = src + 16, *q = src + 48;
        for (int i = 0; i < 4; i++, q += 32, dst += 64) {
            float s0, s1, m0, m1;
            scale_min(src + 4, 2 * i, &s0, &m0);
            scale_min(src + 4, 2 * i + 1, &s1, &m1);
            s0 *= d, s1 *= d, m0 *= m, m1 *= m;
            for (int k = 0; k < 32; k++)
                dst[k] = s0 * (float)((q[k] & 15) | (high[k] >> 2 * i & 1) << 4) - m0;
            for (int k = 0; k < 32; k++)
                dst[k + 32] = s1 * (float)(q[k] >> 4 | (high[k] >> (2 * i + 1) & 1) << 4) - m1;
        }
    }
}

static void from_q6_k(float *restrict dst, const unsigned char *restrict src, size_t blocks)
{
    for (size_t b = 0; b < blocks; b++, src += 210) {
        const int8_t *scale = (const int8_t *)src + 192;
        float d = half_to_float(load_u16(src + 208));
        for (int i = 0; i < 16; i++, dst += 16) {
            // within 128 values: quarters take low, low + 32, then the high nibbles of the same
            const unsigned char *low = src + i / 8 * 64 + i % 4 * 16,
                                *high = src + 128 + i / 8 * 32 + i % 2 * 16;
            int up = i % 8 / 4 * 4, shift = i % 8 / 2 * 2;
            float s = d * (float)scale[i];
            for (int k = 0; k < 16; k++)
                dst[k] = s * (float)(((low[k] >> up & 15) | (high[k] >> shift & 3) << 4) - 32);
        }
    }
}

static void from_iq4_xs(float *restrict dst, const unsigned char *restrict src, size_t blocks)
{
    for (size_t b = 0; b < blocks; b++, src += 136) {
        float d = half_to_float(load_u16(src));
        int high = load_u16(src + 2);
        for (int i = 0; i < 8; i++, dst += 32) {
            int scale = (src[4 + i / 2] >> (i % 2 * 4) & 15) | (high >> 2 * i & 3) << 4;
            levels(dst, src + 8 + 16 * i, d * (float)(scale - 32));
        }
    }
}
