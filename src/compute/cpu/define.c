/* compute/cpu/define.c - what the layers mean: plain loops, one thread.
 *
 * These are the reference for every faster version and are written to be read.  Sums run in double, so that a
 * faster version's error can be told from the definition's.  The heads are in define_head.c, attention has its
 * own file. */
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

/* The angle is the float product position * inv_freq, as in the models' own code; its cosine and sine are
 * those of double precision rounded to float. */
void define_rope(struct tensor *x, const int *position, int heads, int head_size, const float *inv_freq, bool inverse)
{
    int half = head_size / 2;
    for (int t = 0; t < x->rows; t++)
        for (int i = 0; i < half; i++) {
            float angle = (float)position[t] * inv_freq[i];
            float c = (float)cos(angle), s = (float)sin(angle);
            if (inverse)
                s = -s;
            for (int h = 0; h < heads; h++) {
                int lo = h * head_size + i, hi = lo + half;
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

void define_swiglu(struct tensor *h, const struct tensor *gu)
{
    int F = h->cols;
    for (int t = 0; t < h->rows; t++)
        for (int f = 0; f < F; f++) {
            double g = t_get(gu, t, f);
            t_set(h, t, f, (float)(g * sigmoid(g) * t_get(gu, t, F + f)));
        }
}

/* silu'(g) = s + g s (1 - s), s = sigmoid(g). */
void define_swiglu_backward(struct tensor *dgu, const struct tensor *dh, const struct tensor *gu)
{
    int F = dh->cols;
    for (int t = 0; t < dh->rows; t++)
        for (int f = 0; f < F; f++) {
            double g = t_get(gu, t, f), u = t_get(gu, t, F + f), d = t_get(dh, t, f), s = sigmoid(g);
            t_set(dgu, t, f, (float)(d * u * (s + g * s * (1 - s))));
            t_set(dgu, t, F + f, (float)(d * g * s));
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
