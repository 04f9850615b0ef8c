/* compute/cpu/define.c - what the layers mean: plain loops, one thread.
 *
 * These are the reference for every faster version and are written to be read.  Sums run in double, so that a
 * faster version's error can be told from the definition's.  The heads are in define_head.c, experts in
 * define_expert.c, attention has its own file. */
#include <math.h>

#include "compute/cpu/cpu.h"

void define_linear(struct tensor *y, const struct tensor *x, const struct tensor *w, bool accumulate)
{
    for (int t = 0; t < x->rows; t++)
        for (int o = 0; o < w->rows; o++) {
            double sum = accumulate ? t_get(y, t, o) : 0;
            for (int i = 0; i < w->cols; i++)
                sum += (double)t_get(x, t, i) * t_get(w, o, i);
            t_set(y, t, o, (float)sum);
        }
}

void define_linear_backward_x(struct tensor *dx, const struct tensor *dy, const struct tensor *w, bool accumulate)
{
    for (int t = 0; t < dy->rows; t++)
        for (int i = 0; i < w->cols; i++) {
            double sum = accumulate ? t_get(dx, t, i) : 0;
            for (int o = 0; o < w->rows; o++)
                sum += (double)t_get(dy, t, o) * t_get(w, o, i);
            t_set(dx, t, i, (float)sum);
        }
}

void define_linear_backward_w(struct tensor *dw, const struct tensor *dy, const struct tensor *x)
{
    for (int o = 0; o < dw->rows; o++)
        for (int i = 0; i < dw->cols; i++) {
            double sum = t_get(dw, o, i);
            for (int t = 0; t < x->rows; t++)
                sum += (double)t_get(dy, t, o) * t_get(x, t, i);
            t_set(dw, o, i, (float)sum);
        }
}

void define_embed(struct tensor *x, const struct tensor *table, const int *ids)
{
    for (int t = 0; t < x->rows; t++)
        for (int c = 0; c < x->cols; c++)
            t_set(x, t, c, t_get(table, ids[t], c));
}

void define_embed_backward(struct tensor *dtable, const struct tensor *dx, const int *ids)
{
    for (int t = 0; t < dx->rows; t++)
        for (int c = 0; c < dx->cols; c++)
            t_f32(dtable, ids[t])[c] += t_get(dx, t, c);
}

void define_rmsnorm(struct tensor *y, struct tensor *rstd, const struct tensor *x, const struct tensor *gain, float eps)
{
    for (int t = 0; t < x->rows; t++) {
        double sum = 0;
        for (int c = 0; c < x->cols; c++)
            sum += (double)t_get(x, t, c) * t_get(x, t, c);
        float r = (float)(1 / sqrt(sum / x->cols + eps));
        t_set(rstd, t, 0, r);
        for (int c = 0; c < x->cols; c++)
            t_set(y, t, c, t_get(x, t, c) * r * t_get(gain, 0, c));
    }
}

/* With n = x * rstd and g = dy * gain:  dx = rstd * (g - n * mean(g * n)),  dgain = sum over rows of dy * n. */
void define_rmsnorm_backward(struct tensor *dx, struct tensor *dgain, const struct tensor *dy, const struct tensor *x,
                             const struct tensor *rstd, const struct tensor *gain)
{
    int C = x->cols;
    for (int t = 0; t < x->rows; t++) {
        double mean = 0, r = t_get(rstd, t, 0);
        for (int c = 0; c < C; c++)
            mean += (double)t_get(dy, t, c) * t_get(gain, 0, c) * t_get(x, t, c) * r / C;
        for (int c = 0; c < C; c++) {
            double n = t_get(x, t, c) * r, g = (double)t_get(dy, t, c) * t_get(gain, 0, c);
            t_f32(dx, t)[c] += (float)(r * (g - n * mean));
        }
    }
    for (int c = 0; dgain && c < C; c++) {
        double sum = t_get(dgain, 0, c);
        for (int t = 0; t < x->rows; t++)
            sum += (double)t_get(dy, t, c) * t_get(x, t, c) * t_get(rstd, t, 0);
        t_set(dgain, 0, c, (float)sum);
    }
}

void define_rmsnorm_heads(struct tensor *y, struct tensor *rstd, const struct tensor *x, const struct tensor *gain,
                          int heads, float eps)
{
    for (int h = 0, D = gain->cols; h < heads; h++) {
        struct tensor yh = tensor_cols(y, h * D, D), xh = tensor_cols(x, h * D, D), rh = tensor_cols(rstd, h, 1);
        define_rmsnorm(&yh, &rh, &xh, gain, eps);
    }
}

/* As define_rmsnorm_backward, but dx is written and may be dy. */
void define_rmsnorm_heads_backward(struct tensor *dx, struct tensor *dgain, const struct tensor *dy,
                                   const struct tensor *x, const struct tensor *rstd, const struct tensor *gain, int heads)
{
    int D = gain->cols;
    for (int t = 0; t < x->rows; t++)
        for (int h = 0; h < heads; h++) {
            double mean = 0, r = t_get(rstd, t, h);
            for (int d = 0, c = h * D; d < D; d++, c++)
                mean += (double)t_get(dy, t, c) * t_get(gain, 0, d) * t_get(x, t, c) * r / D;
            for (int d = 0, c = h * D; d < D; d++, c++) {
                double n = t_get(x, t, c) * r, dyc = t_get(dy, t, c);
                t_set(dx, t, c, (float)(r * (dyc * t_get(gain, 0, d) - n * mean)));
                if (dgain)
                    t_f32(dgain, 0)[d] += (float)(dyc * n);
            }
        }
}

void define_layernorm(struct tensor *y, struct tensor *stat, const struct tensor *x, const struct tensor *gain,
                      const struct tensor *bias, float eps)
{
    int C = x->cols;
    for (int t = 0; t < x->rows; t++) {
        double mean = 0, var = 0;
        for (int c = 0; c < C; c++)
            mean += (double)t_get(x, t, c) / C;
        for (int c = 0; c < C; c++)
            var += (t_get(x, t, c) - mean) * (t_get(x, t, c) - mean) / C;
        double r = 1 / sqrt(var + eps);
        t_set(stat, t, 0, (float)mean);
        t_set(stat, t, 1, (float)r);
        for (int c = 0; c < C; c++)
            t_set(y, t, c, (float)((t_get(x, t, c) - mean) * r * t_get(gain, 0, c) + (bias ? t_get(bias, 0, c) : 0)));
    }
}

/* With n = (x - mean) * rstd and g = dy * gain:  dx = rstd * (g - mean(g) - n * mean(g * n)),
 * dgain = sum over rows of dy * n,  dbias = sum over rows of dy. */
void define_layernorm_backward(struct tensor *dx, struct tensor *dgain, struct tensor *dbias, const struct tensor *dy,
                               const struct tensor *x, const struct tensor *stat, const struct tensor *gain)
{
    int C = x->cols;
    for (int t = 0; t < x->rows; t++) {
        double mean = t_get(stat, t, 0), r = t_get(stat, t, 1), mean_g = 0, mean_gn = 0;
        for (int c = 0; c < C; c++) {
            double g = (double)t_get(dy, t, c) * t_get(gain, 0, c);
            mean_g += g / C;
            mean_gn += g * (t_get(x, t, c) - mean) * r / C;
        }
        for (int c = 0; c < C; c++) {
            double n = (t_get(x, t, c) - mean) * r, d = t_get(dy, t, c);
            t_f32(dx, t)[c] += (float)(r * (d * t_get(gain, 0, c) - mean_g - n * mean_gn));
            if (dgain)
                t_f32(dgain, 0)[c] += (float)(d * n);
            if (dbias)
                t_f32(dbias, 0)[c] += (float)d;
        }
    }
}

void define_bias(struct tensor *y, const struct tensor *bias)
{
    for (int t = 0; t < y->rows; t++)
        for (int c = 0; c < y->cols; c++)
            t_set(y, t, c, t_get(y, t, c) + t_get(bias, 0, c));
}

void define_bias_backward(struct tensor *dbias, const struct tensor *dy)
{
    for (int c = 0; c < dy->cols; c++) {
        double sum = 0;
        for (int t = 0; t < dy->rows; t++)
            sum += t_get(dy, t, c);
        t_f32(dbias, 0)[c] += (float)sum;
    }
}

/* The angle is the float product position * inv_freq, as in the models' own code; its cosine and sine are
 * those of double precision rounded to float. */
void define_rope(struct tensor *x, const int *position, int heads, const struct rope *rope, bool inverse)
{
    int half = rope->rotary / 2;
    for (int t = 0; t < x->rows; t++)
        for (int i = 0; i < half; i++) {
            float angle = (float)position[t] * rope->inv_freq[i];
            float c = (float)cos(angle) * rope->factor, s = (float)sin(angle) * rope->factor;
            if (inverse)
                s = -s;
            for (int h = 0; h < heads; h++) {
                int lo = h * rope->head_size + i, hi = lo + half;
                float a = t_get(x, t, lo), b = t_get(x, t, hi);
                t_set(x, t, lo, a * c - b * s);
                t_set(x, t, hi, b * c + a * s);
            }
        }
}

static double sigmoid(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

/* The activation of x; slope receives its derivative.
 *     silu'      = s + x s (1 - s), s = sigmoid(x)
 *     gelu'      = Phi(x) + x phi(x), the normal distribution and its density
 *     gelu_tanh is x sigmoid(2 z), z = sqrt(2/pi) (x + 0.044715 x^3), since (1 + tanh z)/2 = sigmoid(2 z) */
static double activate(double x, enum activation act, double *slope)
{
    double s, root = sqrt(2 / M_PI);
    switch (act) {
    case ACT_GELU:
        s = 0.5 * erfc(-x * M_SQRT1_2);
        *slope = s + x * exp(-x * x / 2) / sqrt(2 * M_PI);
        return x * s;
    case ACT_GELU_TANH:
        s = sigmoid(2 * root * (x + 0.044715 * x * x * x));
        *slope = s + x * s * (1 - s) * 2 * root * (1 + 3 * 0.044715 * x * x);
        return x * s;
    case ACT_RELU:
        *slope = x > 0;
        return x > 0 ? x : 0;
    default:
        s = sigmoid(x);
        *slope = s + x * s * (1 - s);
        return x * s;
    }
}

void define_gated(struct tensor *h, const struct tensor *gu, enum activation act)
{
    int F = h->cols;
    double slope;
    for (int t = 0; t < h->rows; t++)
        for (int f = 0; f < F; f++)
            t_set(h, t, f, (float)(activate(t_get(gu, t, f), act, &slope) * t_get(gu, t, F + f)));
}

void define_gated_backward(struct tensor *dgu, const struct tensor *dh, const struct tensor *gu, enum activation act)
{
    int F = dh->cols;
    for (int t = 0; t < dh->rows; t++)
        for (int f = 0; f < F; f++) {
            double slope, a = activate(t_get(gu, t, f), act, &slope), u = t_get(gu, t, F + f), d = t_get(dh, t, f);
            t_set(dgu, t, f, (float)(d * u * slope));
            t_set(dgu, t, F + f, (float)(d * a));
        }
}

void define_activate(struct tensor *h, const struct tensor *u, enum activation act)
{
    double slope;
    for (int t = 0; t < h->rows; t++)
        for (int f = 0; f < h->cols; f++)
            t_set(h, t, f, (float)activate(t_get(u, t, f), act, &slope));
}

void define_activate_backward(struct tensor *du, const struct tensor *dh, const struct tensor *u, enum activation act)
{
    double slope;
    for (int t = 0; t < dh->rows; t++)
        for (int f = 0; f < dh->cols; f++) {
            activate(t_get(u, t, f), act, &slope);
            t_set(du, t, f, (float)(t_get(dh, t, f) * slope));
        }
}

double define_sumsq(const struct tensor *t)
{
    double sum = 0;
    for (int r = 0; r < t->rows; r++)
        for (int c = 0; c < t->cols; c++)
            sum += (double)t_get(t, r, c) * t_get(t, r, c);
    return sum;
}

void define_adamw(struct tensor *master, struct tensor *m, struct tensor *v, const struct tensor *grad,
                  const struct adamw *h)
{
    double c1 = 1 - pow(h->beta1, (double)h->step), c2 = 1 - pow(h->beta2, (double)h->step);
    for (int r = 0; r < master->rows; r++)
        for (int c = 0; c < master->cols; c++) {
            float g = t_get(grad, r, c) * h->scale, *p = &t_f32(master, r)[c];
            float *pm = &t_f32(m, r)[c], *pv = &t_f32(v, r)[c];
            *pm = h->beta1 * *pm + (1 - h->beta1) * g;
            *pv = h->beta2 * *pv + (1 - h->beta2) * g * g;
            *p -= h->lr * h->weight_decay * *p;
            *p -= (float)(h->lr / c1) * *pm / ((float)(sqrtf(*pv) / (float)sqrt(c2)) + h->eps);
        }
}

/* What code c of a moment stands for, as a share of its scale; exponents: how many powers of two below 1 there are. */
static double code_value(int c, int exponents)
{
    return ldexp(1 + (c & 7) / 8.0, (c >> 3) - exponents);
}

/* The last code whose value is not above x; code 0 stands for what is smaller than all others, and decodes as 0. */
static int code_below(double x, int exponents, int last)
{
    int c = 0;
    while (c < last && code_value(c + 1, exponents) <= x)
        c++;
    return c;
}

static void define_codes(uint8_t *cm, uint8_t *cv, double m, double v, uint32_t chance)
{
    double size = fabs(m);
    int a = code_below(size, 15, 120), b = code_below(v, 31, 248);
    if (size - code_value(a, 15) >= code_value(a + 1, 15) - size)
        a++;
    double share = (v - code_value(b, 31)) / (code_value(b + 1, 31) - code_value(b, 31));
    if (share >= 0 && floor(share * (1 << 20)) + (chance & 0xfffff) >= 1 << 20)
        b++;
    *cm = (uint8_t)(a | (signbit(m) ? 128 : 0));
    *cv = (uint8_t)(b ? b : v > 0);
}

static uint32_t define_chance(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

void define_adamw8(struct tensor *master, struct moments8 *m, const struct tensor *grad, const struct adamw *h)
{
    for (size_t at = 0, block = 0; at < m->n; at += MOMENT_BLOCK, block++) {
        float wide[2][MOMENT_BLOCK], top[2] = { 0, 0 };
        int n = (int)(m->n - at < MOMENT_BLOCK ? m->n - at : MOMENT_BLOCK);
        for (int i = 0; i < n; i++) {
            int a = m->m[at + (size_t)i] & 127, b = m->v[at + (size_t)i];
            double sign = m->m[at + (size_t)i] & 128 ? -1 : 1;
            wide[0][i] = a ? (float)(sign * code_value(a, 15) * m->m_scale[block]) : 0;
            wide[1][i] = b ? (float)(code_value(b, 31) * m->v_scale[block]) : 0;
        }
        struct tensor p = { .dtype = DTYPE_F32, .rows = 1, .cols = n, .stride = (size_t)n, .data = t_f32(master, 0) + at };
        struct tensor g = p, pm = p, pv = p;
        g.data = t_f32(grad, 0) + at;
        pm.data = wide[0];
        pv.data = wide[1];
        define_adamw(&p, &pm, &pv, &g, h);
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < n; i++)
                top[k] = fmaxf(top[k], fabsf(wide[k][i]));
        m->m_scale[block] = top[0];
        m->v_scale[block] = top[1];
        for (int i = 0; i < n; i++) {
            uint32_t key = (uint32_t)at + (uint32_t)i + (uint32_t)h->step * 0x9e3779b9u;
            define_codes(&m->m[at + (size_t)i], &m->v[at + (size_t)i], top[0] > 1e-37f ? wide[0][i] / top[0] : 0,
                         top[1] > 1e-37f ? wide[1][i] / top[1] : 0, define_chance(key));
        }
    }
}
