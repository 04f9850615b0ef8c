/* compute/cpu/kernels_body.h - the loops of kernels.h, included by one file per instruction set, which defines
 * KERNELS as the name of its table and KERNELS_NAME as what to call it.
 *
 * The exponential is our own (Cody-Waite reduction, polynomial of degree six, within 2 units in the last place),
 * so that results do not depend on the C library's version; so are tanh (2e-7 of the result) and the normal
 * distribution behind GELU (2e-7).  Their polynomials are minimax fits of ours. */
#include <float.h>
#include <math.h>

#include "compute/cpu/kernels.h"

enum { W = 16 };
typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef uint32_t vu __attribute__((vector_size(64)));
typedef uint16_t vh __attribute__((vector_size(32)));
typedef double vd __attribute__((vector_size(64)));

static inline vf splat(float x)
{
    return (vf){ 0 } + x;
}

static inline vf from_bf16(vh h)
{
    return (vf)(__builtin_convertvector(h, vu) << 16);
}

static inline vh to_bf16(vf x)
{
    vu u = (vu)x, nan = (vu)((u & 0x7fffffffu) > 0x7f800000u);
    vu even = (u + 0x7fffu + ((u >> 16) & 1)) >> 16, quiet = (u >> 16) | 0x40;
    return __builtin_convertvector((nan & quiet) | (~nan & even), vh);
}

/* n elements (16 unless at the end of a row) from element i on; what is missing reads as zero.  Whole vectors
 * never pass through memory, which is what the early returns are for. */
static inline vf get(const void *p, enum dtype t, size_t i, size_t n)
{
    if (t == DTYPE_F32) {
        if (n >= W) {
            vf x;
            memcpy(&x, (const float *)p + i, sizeof x);
            return x;
        }
        vf x = { 0 };
        memcpy(&x, (const float *)p + i, n * sizeof(float));
        return x;
    }
    if (n >= W) {
        vh h;
        memcpy(&h, (const uint16_t *)p + i, sizeof h);
        return from_bf16(h);
    }
    vh h = { 0 };
    memcpy(&h, (const uint16_t *)p + i, n * sizeof(uint16_t));
    return from_bf16(h);
}

static inline void put(void *p, enum dtype t, size_t i, size_t n, vf x)
{
    if (t == DTYPE_F32) {
        if (n >= W)
            memcpy((float *)p + i, &x, sizeof x);
        else
            memcpy((float *)p + i, &x, n * sizeof(float));
        return;
    }
    vh h = to_bf16(x);
    if (n >= W)
        memcpy((uint16_t *)p + i, &h, sizeof h);
    else
        memcpy((uint16_t *)p + i, &h, n * sizeof(uint16_t));
}

static inline float sum_lanes(vf x)
{
    float s[W];
    memcpy(s, &x, sizeof s);
    for (int half = W / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            s[i] += s[i + half];
    return s[0];
}

/* Both keep a NaN in x. */
static inline vf at_most(vf x, float most)
{
    vi over = (vi)(x > most);
    return (vf)((over & (vi)splat(most)) | (~over & (vi)x));
}

static inline vf at_least(vf x, float least)
{
    vi under = (vi)(x < least);
    return (vf)((under & (vi)splat(least)) | (~under & (vi)x));
}

#define EXP_LEAST (-87.33654f)      // below, the result is 0: it would leave the normal numbers
#define EXP_MOST 88.0f              // above, the result stays at e^88

/* x at most EXP_MOST, at least EXP_LEAST, or NaN. */
static inline vf vexp_inside(vf x)
{
    const float magic = 12582912.0f;    // 1.5 * 2^23: adding it rounds to an integer
    vf n = x * 1.44269504f + magic;
    vi k = (vi)n << 23;                 // the integer sits in the low bits
    n -= magic;
    vf r = x - n * 0.693359375f;
    r -= n * -2.12194440e-4f;
    vf p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    return (vf)((vi)p + k);             // p lies around 1: this adds to its exponent
}

static inline vf vexp(vf x)
{
    vf y = vexp_inside(at_most(at_least(x, EXP_LEAST), EXP_MOST));
    return (vf)((vi)y & ~(vi)(x < EXP_LEAST));
}

static inline vf vsigmoid(vf x)
{
    return 1.0f / (1.0f + vexp(-x));
}

static inline vf magnitude(vf x)
{
    return (vf)((vu)x & 0x7fffffffu);
}

/* Below 0.625 an odd polynomial (within 4e-9), above (1 - e) / (1 + e) with e = exp(-2|x|). */
static inline vf vtanh(vf x)
{
    vf a = magnitude(x), z = x * x, e = vexp(a * -2.0f), far = (1.0f - e) / (1.0f + e);
    vf p = z * -5.71704e-3f + 2.065058e-2f;
    p = p * z - 5.374350e-2f;
    p = p * z + 1.3331491e-1f;
    p = p * z - 3.3333284e-1f;
    vi near = (vi)(a < 0.625f);
    vu sign = (vu)x & 0x80000000u;
    return (vf)((near & (vi)(x + x * z * p)) | (~near & (vi)((vu)far | sign)));
}

/* Phi(x) of the normal distribution; e receives exp(-x^2/2).  The tail is t P(t) e with t = 1 / (1 + 0.2316419 |x|),
 * the form of Abramowitz and Stegun 26.2.17 with two more terms: within 4e-9 before rounding. */
static inline vf vnormal(vf x, vf *e)
{
    vf t = 1.0f / (magnitude(x) * 0.2316419f + 1.0f);
    *e = vexp(x * x * -0.5f);
    vf p = t * -0.0661217265f + 0.227128193f;
    p = p * t - 0.160985885f;
    p = p * t + 0.182333132f;
    p = p * t + 0.0394178934f;
    p = p * t + 0.0938510487f;
    p = p * t + 0.0919600177f;
    p = p * t + 0.0924173231f;
    vf tail = p * t * *e;
    vi below = (vi)(x < 0.0f);
    return (vf)((below & (vi)tail) | (~below & (vi)(1.0f - tail)));
}

#define EACH(i, n) for (size_t i = 0; i < (n); i += W)
#define LEFT (n - i)

/* ---- whole rows --------------------------------------------------------------------------- */

static void convert(void *dst, enum dtype to, const void *src, enum dtype from, size_t n)
{
    if (to == from)
        memmove(dst, src, n * dtype_size(to));
    else if (to == DTYPE_BF16)
        EACH (i, n)
            put(dst, DTYPE_BF16, i, LEFT, get(src, DTYPE_F32, i, LEFT));
    else
        EACH (i, n)
            put(dst, DTYPE_F32, i, LEFT, get(src, DTYPE_BF16, i, LEFT));
}

static void add(float *dst, const void *src, enum dtype from, size_t n)
{
    EACH (i, n)
        put(dst, DTYPE_F32, i, LEFT, get(dst, DTYPE_F32, i, LEFT) + get(src, from, i, LEFT));
}

static void scale(void *x, enum dtype t, float by, size_t n)
{
    EACH (i, n)
        put(x, t, i, LEFT, get(x, t, i, LEFT) * by);
}

static void axpy(float *dst, float by, const void *src, enum dtype from, size_t n)
{
    EACH (i, n)
        put(dst, DTYPE_F32, i, LEFT, get(dst, DTYPE_F32, i, LEFT) + get(src, from, i, LEFT) * by);
}

static float dot(const void *a, enum dtype ta, const float *b, size_t n)
{
    vf sum = { 0 };
    EACH (i, n)
        sum += get(a, ta, i, LEFT) * get(b, DTYPE_F32, i, LEFT);
    return sum_lanes(sum);
}

static double sumsq(const float *x, size_t n)
{
    typedef float vf8 __attribute__((vector_size(32)));
    vd sum[4] = { { 0 } };      // four chains, since each addition waits for the one before
    size_t i = 0;
    for (; n - i >= 32; i += 32)
        for (size_t j = 0; j < 4; j++) {
            vf8 a;
            memcpy(&a, x + i + 8 * j, sizeof a);
            vd d = __builtin_convertvector(a, vd);
            sum[j] += d * d;
        }
    for (size_t j = 0; i < n; i += 8, j++) {
        vf8 a = { 0 };
        memcpy(&a, x + i, (n - i < 8 ? n - i : 8) * sizeof *x);
        vd d = __builtin_convertvector(a, vd);
        sum[j] += d * d;
    }
    vd all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    return ((all[0] + all[4]) + (all[2] + all[6])) + ((all[1] + all[5]) + (all[3] + all[7]));
}

static bool all_finite(const void *x, enum dtype t, size_t n)
{
    vi bad = { 0 };
    EACH (i, n) {
        vu u = (vu)get(x, t, i, LEFT);
        bad |= (vi)((u & 0x7f800000u) == 0x7f800000u);
    }
    int any = 0;
    for (int l = 0; l < W; l++)
        any |= bad[l];
    return !any;
}

/* ---- layers ------------------------------------------------------------------------------------ */

static void bias(void *y, enum dtype t, const float *add, size_t n)
{
    EACH (i, n)
        put(y, t, i, LEFT, get(y, t, i, LEFT) + get(add, DTYPE_F32, i, LEFT));
}

static void multiple(void *y, enum dtype to, const float *x, float by, size_t n)
{
    EACH (i, n)
        put(y, to, i, LEFT, get(x, DTYPE_F32, i, LEFT) * by);
}

static float rmsnorm(void *y, enum dtype to, const void *x, enum dtype tx, const float *gain, size_t n, float eps)
{
    vf sum = { 0 };
    EACH (i, n) {
        vf a = get(x, tx, i, LEFT);
        sum += a * a;
    }
    float rstd = 1.0f / sqrtf(sum_lanes(sum) / (float)n + eps);
    EACH (i, n)
        put(y, to, i, LEFT, get(x, tx, i, LEFT) * rstd * get(gain, DTYPE_F32, i, LEFT));
    return rstd;
}

static void rmsnorm_backward(float *dx, float *dgain, const void *dy, enum dtype t, const float *x, float rstd,
                             const float *gain, size_t n)
{
    vf sum = { 0 };
    EACH (i, n)
        sum += get(dy, t, i, LEFT) * get(gain, DTYPE_F32, i, LEFT) * get(x, DTYPE_F32, i, LEFT);
    float mean = sum_lanes(sum) * rstd / (float)n;
    EACH (i, n) {
        vf d = get(dy, t, i, LEFT), norm = get(x, DTYPE_F32, i, LEFT) * rstd;
        vf g = d * get(gain, DTYPE_F32, i, LEFT);
        put(dx, DTYPE_F32, i, LEFT, get(dx, DTYPE_F32, i, LEFT) + (g - norm * mean) * rstd);
        if (dgain)
            put(dgain, DTYPE_F32, i, LEFT, get(dgain, DTYPE_F32, i, LEFT) + d * norm);
    }
}

static void rmsnorm_backward_to(float *dx, float *dgain, const void *dy, enum dtype t, const void *x, enum dtype tx,
                                float rstd, const float *gain, size_t n)
{
    vf sum = { 0 };
    EACH (i, n)
        sum += get(dy, t, i, LEFT) * get(gain, DTYPE_F32, i, LEFT) * get(x, tx, i, LEFT);
    float mean = sum_lanes(sum) * rstd / (float)n;
    EACH (i, n) {
        vf d = get(dy, t, i, LEFT), norm = get(x, tx, i, LEFT) * rstd;
        vf g = d * get(gain, DTYPE_F32, i, LEFT);
        put(dx, DTYPE_F32, i, LEFT, (g - norm * mean) * rstd);
        if (dgain)
            put(dgain, DTYPE_F32, i, LEFT, get(dgain, DTYPE_F32, i, LEFT) + d * norm);
    }
}

/* x - mean, and zero past the end of the row. */
static inline vf centred(const float *x, float mean, size_t i, size_t n)
{
    vf d = get(x, DTYPE_F32, i, n) - mean;
    for (size_t l = n; l < W; l++)
        d[l] = 0;
    return d;
}

static void layernorm(void *y, enum dtype to, float stat[2], const float *x, const float *gain, const float *add, size_t n,
                      float eps)
{
    vf sum = { 0 }, squares = { 0 };
    EACH (i, n)
        sum += get(x, DTYPE_F32, i, LEFT);
    float mean = sum_lanes(sum) / (float)n;
    EACH (i, n) {
        vf d = centred(x, mean, i, LEFT);
        squares += d * d;
    }
    float rstd = 1.0f / sqrtf(sum_lanes(squares) / (float)n + eps);
    EACH (i, n) {
        vf d = (get(x, DTYPE_F32, i, LEFT) - mean) * rstd * get(gain, DTYPE_F32, i, LEFT);
        put(y, to, i, LEFT, add ? d + get(add, DTYPE_F32, i, LEFT) : d);
    }
    stat[0] = mean;
    stat[1] = rstd;
}

static void layernorm_backward(float *dx, float *dgain, float *dbias, const void *dy, enum dtype t, const float *x,
                               const float stat[2], const float *gain, size_t n)
{
    const float mean = stat[0], rstd = stat[1];
    vf sum_g = { 0 }, sum_gn = { 0 };
    EACH (i, n) {
        vf g = get(dy, t, i, LEFT) * get(gain, DTYPE_F32, i, LEFT);
        sum_g += g;
        sum_gn += g * (get(x, DTYPE_F32, i, LEFT) - mean);
    }
    float mean_g = sum_lanes(sum_g) / (float)n, mean_gn = sum_lanes(sum_gn) * rstd / (float)n;
    EACH (i, n) {
        vf d = get(dy, t, i, LEFT), norm = (get(x, DTYPE_F32, i, LEFT) - mean) * rstd;
        vf g = d * get(gain, DTYPE_F32, i, LEFT) - mean_g;
        put(dx, DTYPE_F32, i, LEFT, get(dx, DTYPE_F32, i, LEFT) + (g - norm * mean_gn) * rstd);
        if (dgain)
            put(dgain, DTYPE_F32, i, LEFT, get(dgain, DTYPE_F32, i, LEFT) + d * norm);
        if (dbias)
            put(dbias, DTYPE_F32, i, LEFT, get(dbias, DTYPE_F32, i, LEFT) + d);
    }
}

static void rope(void *lo, void *hi, enum dtype t, const float *cosine, const float *sine, float sign, int half)
{
    size_t n = (size_t)half;
    EACH (i, n) {
        vf a = get(lo, t, i, LEFT), b = get(hi, t, i, LEFT);
        vf c = get(cosine, DTYPE_F32, i, LEFT), s = get(sine, DTYPE_F32, i, LEFT) * sign;
        put(lo, t, i, LEFT, a * c - b * s);
        put(hi, t, i, LEFT, b * c + a * s);
    }
}

/* The activation and its slope, one copy of the loops for each. */
#define ALWAYS static inline __attribute__((always_inline))

ALWAYS vf activation(vf x, enum activation act, vf *slope)
{
    vf s, y;
    if (act == ACT_RELU) {
        *slope = (vf)((vi)(x > 0.0f) & (vi)splat(1));
        return at_least(x, 0);
    }
    if (act == ACT_GELU) {
        s = vnormal(x, slope);
        *slope = s + x * 0.398942280f * *slope;
        return x * s;
    }
    if (act == ACT_GELU_TANH) {
        vf z2 = x * x;      // x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3))
        s = vsigmoid(x * (z2 * 0.0713548163f + 1.59576912f));
        y = x * s;
        *slope = s + y * (1.0f - s) * (z2 * 0.214064449f + 1.59576912f);
        return y;
    }
    s = vsigmoid(x);
    y = x * s;
    *slope = s + y * (1.0f - s);
    return y;
}

/* A function for each activation, with and without up: in a larger one the compiler does worse.  Whole vectors have a loop of their
 * own, where their size is a constant.  Backward makes h as well unless it is NULL: the exponential is there. */
#define LOOPS(name, act, with_up)                                                                                      \
    static __attribute__((noinline)) void name(void *h, enum dtype th, const void *gate, const void *up, enum dtype t, \
                                               size_t n)                                                               \
    {                                                                                                                  \
        vf slope;                                                                                                      \
        EACH (i, n) {                                                                                                  \
            vf y = activation(get(gate, t, i, LEFT), act, &slope);                                                     \
            put(h, th, i, LEFT, with_up ? y * get(up, t, i, LEFT) : y);                                                \
        }                                                                                                              \
    }                                                                                                                  \
    ALWAYS void name##_backward_at(void *h, void *dgate, void *dup, enum dtype td, const void *dh, enum dtype th,      \
                                   const void *gate, const void *up, enum dtype t, size_t i, size_t n)                 \
    {                                                                                                                  \
        vf slope, x = get(gate, t, i, n), u = with_up ? get(up, t, i, n) : splat(1);                                   \
        vf d = get(dh, th, i, n), y = activation(x, act, &slope);                                                      \
        put(dgate, td, i, n, with_up ? d * u * slope : d * slope);                                                     \
        if (with_up)                                                                                                   \
            put(dup, td, i, n, d * y);                                                                                 \
        if (h)                                                                                                         \
            put(h, th, i, n, with_up ? y * u : y);                                                                     \
    }                                                                                                                  \
    static __attribute__((noinline)) void name##_backward(void *h, void *dgate, void *dup, enum dtype td,              \
                                                          const void *dh, enum dtype th, const void *gate,             \
                                                          const void *up, enum dtype t, size_t n)                      \
    {                                                                                                                  \
        size_t i = 0;                                                                                                  \
        for (; n - i >= W; i += W)                                                                                     \
            name##_backward_at(h, dgate, dup, td, dh, th, gate, up, t, i, W);                                          \
        if (i < n)                                                                                                     \
            name##_backward_at(h, dgate, dup, td, dh, th, gate, up, t, i, n - i);                                      \
    }
LOOPS(silu, ACT_SILU, false)
LOOPS(gelu, ACT_GELU, false)
LOOPS(gelu_tanh, ACT_GELU_TANH, false)
LOOPS(relu, ACT_RELU, false)
LOOPS(silu_up, ACT_SILU, true)
LOOPS(gelu_up, ACT_GELU, true)
LOOPS(gelu_tanh_up, ACT_GELU_TANH, true)
LOOPS(relu_up, ACT_RELU, true)

static void gated(void *h, enum dtype th, const void *gate, const void *up, enum dtype t, size_t n, enum activation act)
{
    static void (*const loop[2][4])(void *, enum dtype, const void *, const void *, enum dtype, size_t) = {
        { silu, gelu, gelu_tanh, relu }, { silu_up, gelu_up, gelu_tanh_up, relu_up }
    };
    loop[up != NULL][act](h, th, gate, up, t, n);
}

static void gated_backward(void *h, void *dgate, void *dup, enum dtype td, const void *dh, enum dtype th, const void *gate,
                           const void *up, enum dtype t, size_t n, enum activation act)
{
    static void (*const loop[2][4])(void *, void *, void *, enum dtype, const void *, enum dtype, const void *, const void *,
                                    enum dtype, size_t) = {
        { silu_backward, gelu_backward, gelu_tanh_backward, relu_backward },
        { silu_up_backward, gelu_up_backward, gelu_tanh_up_backward, relu_up_backward }
    };
    loop[up != NULL][act](h, dgate, dup, td, dh, th, gate, up, t, n);
}

/* ---- heads --------------------------------------------------------------------------------------- */

static inline vf get_logits(const float *z, float by, size_t i, size_t n)
{
    if (n >= W)
        return get(z, DTYPE_F32, i, W) * by;
    vf x = get(z, DTYPE_F32, i, n) * by;
    for (size_t l = n; l < W; l++)
        x[l] = -INFINITY;       // past the end: no share in anything
    return x;
}

static inline vf larger(vf a, vf b)
{
    vi over = (vi)(a > b);
    return (vf)((over & (vi)a) | (~over & (vi)b));
}

/* max starts from a finite number, so that nothing is subtracted from infinity. */
static struct logit_stats logit_stats(void *e, enum dtype te, const float *z, float by, size_t n)
{
    vf high[4] = { splat(-FLT_MAX), splat(-FLT_MAX), splat(-FLT_MAX), splat(-FLT_MAX) }, sum = { 0 }, sum_z = { 0 };
    size_t i4 = 0;
    for (; n - i4 >= 4 * W; i4 += 4 * W)        // four chains, since each comparison waits for the one before
        for (size_t j = 0; j < 4; j++)
            high[j] = larger(get_logits(z, by, i4 + j * W, W), high[j]);
    for (; i4 < n; i4 += W)
        high[0] = larger(get_logits(z, by, i4, n - i4), high[0]);
    high[0] = larger(larger(high[0], high[1]), larger(high[2], high[3]));
    struct logit_stats s = { .max = -FLT_MAX };
    for (int l = 0; l < W; l++)
        s.max = high[0][l] > s.max ? high[0][l] : s.max;
    EACH (i, n) {
        vf d = get_logits(z, by, i, LEFT) - s.max, inside = at_least(d, EXP_LEAST);
        vf p = (vf)((vi)vexp_inside(inside) & ~(vi)(d < EXP_LEAST));
        sum += p;
        sum_z += p * inside;
        if (e)
            put(e, te, i, LEFT, p);
    }
    s.sum = sum_lanes(sum);
    s.sum_z = sum_lanes(sum_z);
    return s;
}

static void logit_form(float *z, const struct logit_form *f, size_t n)
{
    const float scale = f->scale, cap = f->softcap, in = cap > 0 ? scale / cap : 0;
    EACH (i, n) {
        vf x = get(z, DTYPE_F32, i, LEFT);
        put(z, DTYPE_F32, i, LEFT, cap > 0 ? vtanh(x * in) * cap : x * scale);
    }
}

static void cap_slope(void *e, enum dtype te, const float *z, float cap, size_t n)
{
    const float inverse = 1 / cap;
    EACH (i, n) {
        vf t = get(z, DTYPE_F32, i, LEFT) * inverse;
        put(e, te, i, LEFT, get(e, te, i, LEFT) * (1.0f - t * t));
    }
}

static int first_of(const float *z, float by, float value, size_t n)
{
    EACH (i, n) {
        vi here = (vi)(get_logits(z, by, i, LEFT) == value);
        for (int l = 0; l < W; l++)
            if (here[l])
                return (int)i + l;
    }
    return 0;
}

static void exponential(float *y, const float *x, size_t n)
{
    EACH (i, n)
        put(y, DTYPE_F32, i, LEFT, vexp(get(x, DTYPE_F32, i, LEFT)));
}

/* ---- optimiser and packing ------------------------------------------------------------------------- */

static void adamw(float *restrict p, float *restrict m, float *restrict v, const float *restrict g,
                  const struct adamw_now *h, size_t n)
{
    const struct adamw_now k = *h;
    for (size_t i = 0; i < n; i++) {
        float d = g[i] * k.scale;
        m[i] = k.beta1 * m[i] + (1 - k.beta1) * d;
        v[i] = k.beta2 * v[i] + (1 - k.beta2) * d * d;
        float root = sqrtf(v[i]) * k.inv_root_c2 + k.eps;
        p[i] = p[i] * k.shrink - k.rate * m[i] / root;
    }
}

/* Codes are the upper bits of a float between 0 and 1, less those of the smallest one: 3 bits of mantissa, and M_EXPONENTS or
 * V_EXPONENTS powers of two down to what counts as zero. */
enum { CODE_SHIFT = 20, M_EXPONENTS = 15, V_EXPONENTS = 31, ONE = 127 };

static void moments_decode(float *restrict m, float *restrict v, const uint8_t *restrict cm, const uint8_t *restrict cv,
                           float m_scale, float v_scale, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t a = cm[i] & 127u, s = (uint32_t)(cm[i] & 128u) << 24, b = cv[i];
        union { uint32_t u; float f; } x = { .u = a ? (a + ((ONE - M_EXPONENTS) << 3)) << CODE_SHIFT | s : 0 };
        union { uint32_t u; float f; } y = { .u = b ? (b + ((ONE - V_EXPONENTS) << 3)) << CODE_SHIFT : 0 };
        m[i] = x.f * m_scale;
        v[i] = y.f * v_scale;
    }
}

/* A number that looks like chance, of the value's key. */
static inline uint32_t scrambled(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

static void moments_encode(uint8_t *restrict cm, uint8_t *restrict cv, const float *restrict m, const float *restrict v,
                           float m_scale, float v_scale, uint32_t key, size_t n)
{
    const float im = m_scale > 1e-37f ? 1 / m_scale : 0, iv = v_scale > 1e-37f ? 1 / v_scale : 0;
    const uint32_t half = 1u << (CODE_SHIFT - 1), all = (1u << CODE_SHIFT) - 1;
    for (size_t i = 0; i < n; i++) {
        union { float f; uint32_t u; } x = { .f = m[i] * im }, y = { .f = v[i] * iv };
        int32_t a = (int32_t)((x.u & 0x7fffffffu) + half) >> CODE_SHIFT, b = (int32_t)(y.u + (scrambled(key + (uint32_t)i) & all)) >> CODE_SHIFT;
        a -= (ONE - M_EXPONENTS) << 3;
        b -= (ONE - V_EXPONENTS) << 3;
        a = a < 0 ? 0 : a;
        b = b < 1 ? y.u != 0 : b;       // never 0 below a root: a step divided by nothing is no step
        b = b > 255 ? 255 : b;
        cm[i] = (uint8_t)((uint32_t)a | (x.u >> 24 & 128u));
        cv[i] = (uint8_t)b;
    }
}

static float largest(const float *x, size_t n)
{
    float top = 0;
    for (size_t i = 0; i < n; i++) {
        float a = fabsf(x[i]);
        top = a > top ? a : top;
    }
    return top;
}

static void adamw8(float *p, uint8_t *m, uint8_t *v, float *m_scale, float *v_scale, const float *g, const struct adamw_now *h,
                   uint32_t key, size_t n)
{
    float wide_m[MOMENT_BLOCK], wide_v[MOMENT_BLOCK];
    moments_decode(wide_m, wide_v, m, v, *m_scale, *v_scale, n);
    adamw(p, wide_m, wide_v, g, h, n);
    *m_scale = largest(wide_m, n);
    *v_scale = largest(wide_v, n);
    moments_encode(m, v, wide_m, wide_v, *m_scale, *v_scale, key, n);
}

/* Blocks of h x h off the diagonal change places; lo: what the upper row of two takes, hi = lo + h the lower. */
static inline __attribute__((always_inline)) void swap_blocks(vu t[W], size_t h, vu lo)
{
    vu hi = lo + (uint32_t)h;
#pragma GCC unroll 16
    for (size_t r = 0; r < W; r++) {
        if (r & h)
            continue;
        vu a = t[r], b = t[r + h];
        t[r] = __builtin_shuffle(a, b, lo);
        t[r + h] = __builtin_shuffle(a, b, hi);
    }
}

static inline void transpose_tile(vu t[W])
{
    swap_blocks(t, 8, (vu){ 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23 });
    swap_blocks(t, 4, (vu){ 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27 });
    swap_blocks(t, 2, (vu){ 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29 });
    swap_blocks(t, 1, (vu){ 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30 });
}

static void transpose32(uint32_t *to, size_t wide, const uint32_t *from, size_t stride, size_t rows, size_t n)
{
    for (size_t k0 = 0; k0 < n; k0 += W)
        for (size_t r0 = 0; r0 < wide; r0 += W) {
            vu tile[W];
            size_t kn = n - k0 < W ? n - k0 : W, rn = wide - r0 < W ? wide - r0 : W;
            if (kn == W && rn == W && r0 + W <= rows) {     // whole: never through memory
                for (size_t r = 0; r < W; r++)
                    memcpy(&tile[r], from + (r0 + r) * stride + k0, sizeof tile[r]);
                transpose_tile(tile);
                for (size_t k = 0; k < W; k++)
                    memcpy(to + (k0 + k) * wide + r0, &tile[k], sizeof tile[k]);
                continue;
            }
            for (size_t r = 0; r < W; r++) {
                tile[r] = (vu){ 0 };
                if (r0 + r < rows)
                    memcpy(&tile[r], from + (r0 + r) * stride + k0, kn * sizeof(uint32_t));
            }
            for (size_t k = 0; k < kn; k++)
                for (size_t r = 0; r < rn; r++)
                    to[(k0 + k) * wide + r0 + r] = tile[r][k];
        }
}

static void interleave(uint32_t *to, const uint16_t *a, const uint16_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (uint32_t)a[i] | (uint32_t)b[i] << 16;
}

const struct kernels KERNELS = {
    .name = KERNELS_NAME, .convert = convert, .add = add, .scale = scale, .axpy = axpy, .dot = dot, .sumsq = sumsq,
    .all_finite = all_finite, .bias = bias, .multiple = multiple, .rmsnorm = rmsnorm, .rmsnorm_backward = rmsnorm_backward,
    .rmsnorm_backward_to = rmsnorm_backward_to, .layernorm = layernorm, .layernorm_backward = layernorm_backward,
    .rope = rope, .gated = gated, .gated_backward = gated_backward, .logit_stats = logit_stats,
    .logit_form = logit_form, .cap_slope = cap_slope, .first_of = first_of,
    .exponential = exponential, .adamw = adamw, .adamw8 = adamw8, .transpose32 = transpose32, .interleave = interleave,
};
