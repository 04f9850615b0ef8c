/* half.h - fp16 as bits, both ways, for loops that are compiled once per instruction set. */
#ifndef MODEL_FORMAT_HALF_H
#define MODEL_FORMAT_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint16_t load_u16(const unsigned char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline float bits_to_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint32_t float_to_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* Moves exponent and mantissa into place and scales by 2^112, which also makes subnormals
 * right; what was infinity or NaN is recognised by its size and gets the full exponent back. */
static inline float half_to_float(uint16_t h)
{
    uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13;
    uint32_t u = float_to_bits(bits_to_float(magnitude) * 0x1p112f);
    u |= (magnitude >= 0x0f800000u ? 0x7f800000u : 0) | (uint32_t)(h & 0x8000) << 16;
    return bits_to_float(u);
}

/* To the nearest, ties to even.  Below 2^-14, adding 0.5 leaves the subnormal's ten bits at the
 * end of the mantissa, rounded by the addition itself; above, half of the last bit kept is
 * added before the rest is cut. */
static inline uint16_t half_from_float(float f)
{
    uint32_t u = float_to_bits(f), sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u >= 0x477ff000) // 65520 and more, infinity, NaN
        return (uint16_t)(sign | (u > 0x7f800000 ? 0x7e00 : 0x7c00));
    if (u < 0x38800000)
        return (uint16_t)(sign | (float_to_bits(bits_to_float(u) + 0.5f) - 0x3f000000));
    return (uint16_t)(sign | (u + 0xc8000fff + (u >> 13 & 1)) >> 13);
}

#endif
