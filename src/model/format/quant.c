/* quant.c - floats to stored values. */
#include "model/format/store.h"

/* To the nearest, ties to even.  Below 2^-14, adding 0.5 leaves the subnormal's ten bits at the
 * end of the mantissa, rounded by the addition itself; above, half of the last bit kept is
 * added before the rest is cut. */
static uint16_t half_from_float(float f)
{
    uint32_t u, sign, odd;
    memcpy(&u, &f, sizeof u);
    sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u >= 0x477ff000) // 65520 and more, infinity, NaN
        return (uint16_t)(sign | (u > 0x7f800000 ? 0x7e00 : 0x7c00));
    if (u < 0x38800000) {
        float magnitude;
        memcpy(&magnitude, &u, sizeof u);
        magnitude += 0.5f;
        memcpy(&u, &magnitude, sizeof u);
        return (uint16_t)(sign | (u - 0x3f000000));
    }
    odd = u >> 13 & 1;
    return (uint16_t)(sign | (u + 0xc8000fff + odd) >> 13);
}

void float_to_store(unsigned char *dst, const float *src, size_t n, enum store_type type)
{
    if (type == STORE_F32)
        memcpy(dst, src, n * sizeof *src);
    for (size_t i = 0; type == STORE_BF16 && i < n; i++) {
        uint16_t h = bf16_from_float(src[i]);
        memcpy(dst + 2 * i, &h, 2);
    }
    for (size_t i = 0; type == STORE_F16 && i < n; i++) {
        uint16_t h = half_from_float(src[i]);
        memcpy(dst + 2 * i, &h, 2);
    }
}
