/* quant_loops.h - floats to blocks, included once per instruction set; dequant_loops.h and
 * dequant_k.h draw the blocks.
 *
 * Q8_0, Q4_0, Q4_1 and Q5_0 have one natural choice of scale and equal the gguf package's bytes.
 * For Q4_K, Q5_K and Q6_K the format leaves scales and minima to the writer; ours minimises the sum
 * of squared errors, every value weighing the same:
 *   1. each group of 32 (16) values alone: the quants of several trial scales, each followed by
 *      the scale and minimum that fit those quants best (least squares); the best trial is
 *      iterated until it stands;
 *   2. scales become integers times the block's own scale; each integer's neighbours are tried
 *      with the quants chosen anew;
 *   3. the block's scales that fit all quants best, and 2 once more; the better of both stays.
 *
 * Sums run in eight lanes and products are not fused with additions, so every instruction set
 * gives the same bytes. */

#include "model/format/half.h"

typedef float v8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t i8 __attribute__((vector_size(32), aligned(4), may_alias));

static inline float sum8(v8 v)
{
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

/* The nearest integer (ties to even) within lo .. hi: the constant pushes the fraction out of
 * the mantissa. */
static inline v8 nearest(v8 x, float lo, float hi)
{
    const v8 push = (v8){} + 12582912.0f, low = (v8){} + lo, high = (v8){} + hi;
    i8 under = x<low, over = x> high;
    x = (v8)(((i8)low & under) | ((i8)high & over) | ((i8)x & ~(under | over)));
    return (x + push) - push;
}

/* Scales too small for a reciprocal count as none; as fp16 they are zero anyway. */
static inline float reciprocal(float d)
{
    return d > 1e-38f || d < -1e-38f ? 1 / d : 0;
}

static inline v8 load8(const float *x)
{
    v8 v;
    memcpy(&v, x, sizeof v);
    return v;
}

static void to_u16(unsigned char *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
}

/* ---- blocks of 32 --------------------------------------------------------------- */

static void to_q8_0(unsigned char *dst, const float *x)
{
    float most = 0;
    for (int i = 0; i < 32; i++) {
        float a = x[i] < 0 ? -x[i] : x[i];
        most = a > most ? a : most;
    }
    float d = most / 127, inverse = reciprocal(d);
    to_u16(dst, half_from_float(d));
    for (int i = 0; i < 32; i++) {
        float v = x[i] * inverse, a = v < 0 ? -v : v;
        int q = (int)a;
        q += a - (float)q >= 0.5f; // halves away from zero
        dst[2 + i] = (unsigned char)(v < 0 ? -q : q);
    }
}

/* The value farthest from zero becomes -half, so that the range's longer side is used. */
static float scale_by_farthest(const float *x, int half)
{
    float most = 0, at = 0;
    for (int i = 0; i < 32; i++) {
        float a = x[i] < 0 ? -x[i] : x[i];
        if (a > most)
            most = a, at = x[i];
    }
    return at / (float)-half;
}

static void offset_quants(unsigned char q[32], const float *x, float d, int half)
{
    float inverse = reciprocal(d), up = (float)half + 0.5f;
    for (int i = 0; i < 32; i++) {
        int v = (int)(x[i] * inverse + up);
        q[i] = (unsigned char)(v < 2 * half - 1 ? v : 2 * half - 1);
    }
}

static void to_q4_0(unsigned char *dst, const float *x)
{
    unsigned char q[32];
    float d = scale_by_farthest(x, 8);
    offset_quants(q, x, d, 8);
    to_u16(dst, half_from_float(d));
    for (int i = 0; i < 16; i++)
        dst[2 + i] = (unsigned char)(q[i] | q[i + 16] << 4);
}

/* From the least value to the largest in fifteen steps. */
static void to_q4_1(unsigned char *dst, const float *x)
{
    unsigned char q[32];
    float least = x[0], most = x[0];
    for (int i = 1; i < 32; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
    }
    float d = (most - least) / 15, inverse = reciprocal(d);
    for (int i = 0; i < 32; i++) {
        int v = (int)((x[i] - least) * inverse + 0.5f);
        q[i] = (unsigned char)(v < 15 ? v : 15);
    }
    to_u16(dst, half_from_float(d));
    to_u16(dst + 2, half_from_float(least));
    for (int i = 0; i < 16; i++)
        dst[4 + i] = (unsigned char)(q[i] | q[i + 16] << 4);
}

static void to_q5_0(unsigned char *dst, const float *x)
{
    unsigned char q[32];
    uint32_t high = 0;
    float d = scale_by_farthest(x, 16);
    offset_quants(q, x, d, 16);
    for (int i = 0; i < 32; i++)
        high |= (uint32_t)(q[i] >> 4) << i;
    to_u16(dst, half_from_float(d));
    memcpy(dst + 2, &high, 4);
    for (int i = 0; i < 16; i++)
        dst[6 + i] = (unsigned char)((q[i] & 15) | q[i + 16] << 4);
}

/* ---- Q4_K, Q5_K: x = scale q - min, q in 0..top, scale and min >= 0, 32 values ------- */

struct affine {
    float scale, min, gain; // gain: by how much the squared error is below sum x^2
};

/* The quants of (scale, min) and then the scale and minimum that fit those quants best. */
static inline struct affine affine_fit(const float *x, float sum_x, float scale, float min,
                                       float top)
{
    float inverse = reciprocal(scale);
    v8 q1 = {}, q2 = {}, xq = {};
    for (int i = 0; i < 32; i += 8) {
        v8 v = load8(x + i), q = nearest((v + min) * inverse, 0, top);
        q1 += q;
        q2 += q * q;
        xq += v * q;
    }
    float sq = sum8(q1), sqq = sum8(q2), sxq = sum8(xq), det = 32 * sqq - sq * sq;
    struct affine f = {0};
    if (det > 0) {
        f.scale = (32 * sxq - sum_x * sq) / det;
        f.min = (sq * sxq - sqq * sum_x) / det;
    }
    if (det <= 0 || f.min < 0) {
        f.min = 0;
        f.scale = sqq > 0 ? sxq / sqq : 0;
    }
    if (f.scale <= 0)
        return (struct affine){0};
    f.gain = 2 * f.scale * sxq - 2 * f.min * sum_x - f.scale * f.scale * sqq +
             2 * f.scale * f.min * sq - 32 * f.min * f.min;
    return f;
}

/* The best of trial ranges a little narrower and wider than the values', iterated. */
static struct affine affine_search(const float *x, float top)
{
    float lo = 0, hi = x[0], sum_x = 0;
    v8 sum = {};
    for (int i = 0; i < 32; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    for (int i = 0; i < 32; i += 8)
        sum += load8(x + i);
    sum_x = sum8(sum);
    struct affine best = {.min = -lo}; // of equal values, and where no trial is better
    if (hi - lo <= 0)
        return best;
    for (int shrink = 0; shrink < 2; shrink++)
        for (int trial = -8; trial <= 4; trial++) {
            float min = -lo * (1 - 0.06f * (float)shrink);
            struct affine f =
                affine_fit(x, sum_x, (hi + min) / (top + 0.25f * (float)trial), min, top);
            best = f.gain > best.gain ? f : best;
        }
    for (int i = 0; i < 4 && best.scale > 0; i++) {
        struct affine f = affine_fit(x, sum_x, best.scale, best.min, top);
        if (f.gain <= best.gain)
            break;
        best = f;
    }
    return best;
}

static inline float affine_error(const float *x, float scale, float min, float top)
{
    float inverse = reciprocal(scale);
    v8 sum = {};
    for (int i = 0; i < 32; i += 8) {
        v8 v = load8(x + i) + min, e = v - nearest(v * inverse, 0, top) * scale;
        sum += e * e;
    }
    return sum8(sum);
}

struct block4 {
    float d, m, error;
    int scale[8], min[8];
};

/* Chooses the integers for block scales d and m: those nearest to what each group wants, or a
 * neighbour that errs less. */
static void choose4(struct block4 *b, const float *x, const struct affine *want, float top)
{
    b->error = 0;
    for (int g = 0; g < 8; g++) {
        int s0 = b->d > 0 ? (int)(want[g].scale / b->d + 0.5f) : 0,
            m0 = b->m > 0 ? (int)(want[g].min / b->m + 0.5f) : 0;
        float best = -1;
        for (int s = s0 - 1; s <= s0 + 1; s++)
            for (int m = m0 - 1; m <= m0 + 1; m++) {
                if (s < 0 || s > 63 || m < 0 || m > 63)
                    continue;
                float e = affine_error(x + 32 * g, b->d * (float)s, b->m * (float)m, top);
                if (best < 0 || e < best)
                    best = e, b->scale[g] = s, b->min[g] = m;
            }
        b->error += best;
    }
}

/* Block scales that fit all quants of b best; false where there are none. */
static bool refit4(struct block4 *b, const float *x, float top)
{
    double ss = 0, sm = 0, mm = 0, xs = 0, xm = 0;
    for (int g = 0; g < 8; g++) {
        float scale = b->d * (float)b->scale[g], min = b->m * (float)b->min[g],
              inverse = reciprocal(scale);
        v8 q1 = {}, q2 = {}, xq = {}, sum = {};
        for (int i = 0; i < 32; i += 8) {
            v8 v = load8(x + 32 * g + i), q = nearest((v + min) * inverse, 0, top);
            q1 += q;
            q2 += q * q;
            xq += v * q;
            sum += v;
        }
        double s = b->scale[g], m = b->min[g];
        ss += s * s * sum8(q2);
        sm += s * m * sum8(q1);
        mm += m * m * 32;
        xs += s * sum8(xq);
        xm += m * sum8(sum);
    }
    double det = ss * mm - sm * sm;
    double d = det > 0  ? (xs * mm - xm * sm) / det
               : ss > 0 ? xs / ss
                        : 0,
           m = det > 0 ? (sm * xs - ss * xm) / det : 0;
    b->d = half_to_float(half_from_float((float)d));
    b->m = half_to_float(half_from_float((float)m));
    return b->d > 0 && b->m >= 0;
}

static void put_scales(unsigned char *p, const struct block4 *b)
{
    memset(p, 0, 12);
    for (int g = 0; g < 8; g++) {
        int s = b->scale[g], m = b->min[g];
        if (g < 4) {
            p[g] = (unsigned char)s;
            p[g + 4] = (unsigned char)m;
        } else { // the two upper bits above those of the first four
            p[g + 4] = (unsigned char)((s & 15) | (m & 15) << 4);
            p[g - 4] |= (unsigned char)(s >> 4 << 6);
            p[g] |= (unsigned char)(m >> 4 << 6);
        }
    }
}

/* Quants of 256 values: nibbles at low; the fifth bits at high, NULL: there are none. */
static void put_quants(unsigned char *low, unsigned char *high, const float *x,
                       const struct block4 *b, float top)
{
    for (int g = 0; g < 8; g++) {
        float scale = b->d * (float)b->scale[g], min = b->m * (float)b->min[g],
              inverse = reciprocal(scale);
        unsigned char *to = low + g / 2 * 32;
        for (int i = 0; i < 32; i += 8) {
            v8 q = nearest((load8(x + 32 * g + i) + min) * inverse, 0, top);
            for (int k = 0; k < 8; k++) {
                int v = (int)q[k];
                to[i + k] |= (unsigned char)((v & 15) << (g % 2 * 4));
                if (high)
                    high[i + k] |= (unsigned char)(v >> 4 << g);
            }
        }
    }
}

static struct block4 affine_block(const float *x, float top)
{
    struct affine want[8];
    float scale = 0, min = 0;
    for (int g = 0; g < 8; g++) {
        want[g] = affine_search(x + 32 * g, top);
        scale = want[g].scale > scale ? want[g].scale : scale;
        min = want[g].min > min ? want[g].min : min;
    }
    struct block4 b = {.d = half_to_float(half_from_float(scale / 63)),
                       .m = half_to_float(half_from_float(min / 63))};
    choose4(&b, x, want, top);
    for (int i = 0; i < 2; i++) {
        struct block4 again = b;
        if (!refit4(&again, x, top))
            break;
        choose4(&again, x, want, top);
        if (again.error >= b.error)
            break;
        b = again;
    }
    return b;
}

static void to_q4_k(unsigned char *dst, const float *x)
{
    struct block4 b = affine_block(x, 15);
    memset(dst, 0, 144);
    to_u16(dst, half_from_float(b.d));
    to_u16(dst + 2, half_from_float(b.m));
    put_scales(dst + 4, &b);
    put_quants(dst + 16, NULL, x, &b, 15);
}

static void to_q5_k(unsigned char *dst, const float *x)
{
    struct block4 b = affine_block(x, 31);
    memset(dst, 0, 176);
    to_u16(dst, half_from_float(b.d));
    to_u16(dst + 2, half_from_float(b.m));
    put_scales(dst + 4, &b);
    put_quants(dst + 48, dst + 16, x, &b, 31);
}

/* ---- Q6_K: x = scale q, q in -32..31, 16 values ------------------------------------- */

/* The scale, of either sign, whose quants fit best. */
static float symmetric_search(const float *x)
{
    float most = 0, at = 0, best = 0, gain = 0;
    for (int i = 0; i < 16; i++) {
        float a = x[i] < 0 ? -x[i] : x[i];
        if (a > most)
            most = a, at = x[i];
    }
    for (int trial = -6; trial <= 8 && most > 0; trial++) {
        float inverse = -(32 + 0.2f * (float)trial) * reciprocal(at);
        for (int again = 0; again < 2; again++) {
            v8 a = load8(x), b = load8(x + 8);
            v8 qa = nearest(a * inverse, -32, 31), qb = nearest(b * inverse, -32, 31);
            float xq = sum8(a * qa + b * qb), qq = sum8(qa * qa + qb * qb);
            if (qq <= 0 || xq * xq <= gain * qq)
                break;
            gain = xq * xq / qq;
            best = xq / qq;
            inverse = reciprocal(best);
        }
    }
    return best;
}

static inline float symmetric_error(const float *x, float scale)
{
    float inverse = reciprocal(scale);
    v8 a = load8(x), b = load8(x + 8);
    a -= nearest(a * inverse, -32, 31) * scale;
    b -= nearest(b * inverse, -32, 31) * scale;
    return sum8(a * a + b * b);
}

struct block6 {
    float d, error;
    int scale[16];
};

static void choose6(struct block6 *b, const float *x, const float *want)
{
    b->error = 0;
    for (int g = 0; g < 16; g++) {
        float w = b->d ? want[g] / b->d : 0, best = -1;
        int s0 = (int)(w + (w < 0 ? -0.5f : 0.5f));
        for (int s = s0 - 1; s <= s0 + 1; s++) {
            if (s < -128 || s > 127)
                continue;
            float e = symmetric_error(x + 16 * g, b->d * (float)s);
            if (best < 0 || e < best)
                best = e, b->scale[g] = s;
        }
        b->error += best;
    }
}

static bool refit6(struct block6 *b, const float *x)
{
    double ss = 0, xs = 0;
    for (int g = 0; g < 16; g++) {
        float scale = b->d * (float)b->scale[g], inverse = reciprocal(scale);
        v8 u = load8(x + 16 * g), v = load8(x + 16 * g + 8);
        v8 qu = nearest(u * inverse, -32, 31), qv = nearest(v * inverse, -32, 31);
        double s = b->scale[g];
        ss += s * s * sum8(qu * qu + qv * qv);
        xs += s * sum8(u * qu + v * qv);
    }
    b->d = half_to_float(half_from_float((float)(ss > 0 ? xs / ss : 0)));
    return b->d != 0;
}

static void put_q6_k(unsigned char *dst, const float *x, const struct block6 *b)
{
    memset(dst, 0, 192);
    for (int g = 0; g < 16; g++) {
        float scale = b->d * (float)b->scale[g], inverse = reciprocal(scale);
        unsigned char *low = dst + g / 8 * 64 + g % 4 * 16,
                      *high = dst + 128 + g / 8 * 32 + g % 2 * 16;
        dst[192 + g] = (unsigned char)b->scale[g];
        for (int i = 0; i < 16; i += 8) {
            v8 q = nearest(load8(x + 16 * g + i) * inverse, -32, 31);
            for (int k = 0; k < 8; k++) {
                int v = (int)q[k] + 32;
                low[i + k] |= (unsigned char)((v & 15) << (g % 8 / 4 * 4));
                high[i + k] |= (unsigned char)(v >> 4 << (g % 8 / 2 * 2));
            }
        }
    }
    to_u16(dst + 208, half_from_float(b->d));
}

static void to_q6_k(unsigned char *dst, const float *x)
{
    float want[16], far = 0;
    for (int g = 0; g < 16; g++) {
        want[g] = symmetric_search(x + 16 * g);
        if ((want[g] < 0 ? -want[g] : want[g]) > (far < 0 ? -far : far))
            far = want[g];
    }
    struct block6 b = {.d = half_to_float(half_from_float(far / -128))};
    choose6(&b, x, want);
    for (int i = 0; i < 2; i++) {
        struct block6 again = b;
        if (!refit6(&again, x))
            break;
        choose6(&again, x, want);
        if (again.error >= b.error)
            break;
        b = again;
    }
    put_q6_k(dst, x, &b);
}

/* ---- all types ------------------------------------------------------------------ */

void QUANTISE(unsigned char *dst, const float *src, size_t n, enum store_type t)
{
    void (*block)(unsigned char *dst, const float *x) = t == STORE_Q8_0   ? to_q8_0
                                                        : t == STORE_Q4_0 ? to_q4_0
                                                        : t == STORE_Q4_1 ? to_q4_1
                                                        : t == STORE_Q5_0 ? to_q5_0
                                                        : t == STORE_Q4_K ? to_q4_k
                                                        : t == STORE_Q5_K ? to_q5_k
                                                        : t == STORE_Q6_K ? to_q6_k
                                                                          : NULL;
    size_t step = store_block(t), bytes = store_block_bytes(t);
    if (t == STORE_F32)
        memcpy(dst, src, n * sizeof *src);
    else if (t == STORE_BF16)
        for (size_t i = 0; i < n; i++)
            to_u16(dst + 2 * i, bf16_from_float(src[i]));
    else if (t == STORE_F16)
        for (size_t i = 0; i < n; i++)
            to_u16(dst + 2 * i, half_from_float(src[i]));
    else
        for (size_t i = 0; i < n; i += step, dst += bytes)
            block(dst, src + i);
}
