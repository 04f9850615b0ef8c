/* compute/cpu/define_head.c - what the heads mean: one row at a time, logits in double. */
#include <float.h>
#include <math.h>

#include "compute/cpu/cpu.h"

/* softcap(scale * (hidden row . row v of W)) */
static double logit(const struct tensor *hidden, int row, const struct tensor *w, int v, const struct logit_form *form)
{
    double dot = 0;
    for (int c = 0; c < w->cols; c++)
        dot += (double)t_get(hidden, row, c) * t_get(w, v, c);
    dot *= form->scale;
    return form->softcap > 0 ? form->softcap * tanh(dot / form->softcap) : dot;
}

/* z (V) = inv_temperature * logits; returns the log-sum-exp. */
static double row_logits(double *z, const struct tensor *hidden, int row, const struct tensor *w,
                         const struct logit_form *form, float inv_temperature)
{
    double max = -DBL_MAX, sum = 0;
    for (int v = 0; v < w->rows; v++) {
        z[v] = logit(hidden, row, w, v, form) * inv_temperature;
        max = fmax(max, z[v]);
    }
    for (int v = 0; v < w->rows; v++)
        sum += exp(z[v] - max);
    return max + log(sum);
}

void define_head_logp(float *logp, float *entropy, float *lse, int *argmax, const struct tensor *hidden,
                      const struct tensor *w, const struct logit_form *form, const struct head_item *item, int n,
                      float inv_temperature)
{
    double *z = mem_alloc((size_t)w->rows, sizeof *z);
    if (!z)
        mem_die("%d logits", w->rows);
    for (int i = 0; i < n; i++) {
        double all = row_logits(z, hidden, item[i].row, w, form, inv_temperature), mean = 0;
        int best = 0;
        for (int v = 0; v < w->rows; v++) {
            mean += exp(z[v] - all) * z[v];
            if (z[v] > z[best])
                best = v;
        }
        logp[i] = (float)(z[item[i].target] - all);
        if (entropy)
            entropy[i] = (float)(all - mean);
        if (lse)
            lse[i] = (float)all;
        if (argmax)
            argmax[i] = best;
    }
    free(z);
}

void define_head_backward(struct tensor *dhidden, struct tensor *dw, const struct tensor *hidden, const struct tensor *w,
                          const struct logit_form *form, const struct head_item *item, const float *dlogp, int n,
                          float inv_temperature)
{
    double *z = mem_alloc((size_t)w->rows, sizeof *z);
    if (!z)
        mem_die("%d logits", w->rows);
    for (int i = 0; i < n; i++) {
        int row = item[i].row;
        double all = row_logits(z, hidden, row, w, form, inv_temperature);
        for (int v = 0; v < w->rows; v++) {
            double p = exp(z[v] - all);
            double t = form->softcap > 0 ? z[v] / inv_temperature / form->softcap : 0;      // tanh' = 1 - tanh^2
            float d = (float)(dlogp[i] * ((v == item[i].target) - p) * inv_temperature * (1 - t * t) * form->scale);
            for (int c = 0; c < w->cols; c++) {
                if (dhidden)
                    t_f32(dhidden, row)[c] += d * t_get(w, v, c);
                if (dw)
                    t_f32(dw, v)[c] += d * t_get(hidden, row, c);
            }
        }
    }
    free(z);
}

void define_head_logits(float *logits, const struct tensor *hidden, const struct tensor *w, const struct logit_form *form,
                        const int *row, int n)
{
    for (int i = 0; i < n; i++)
        for (int v = 0; v < w->rows; v++)
            logits[(size_t)i * (size_t)w->rows + (size_t)v] = (float)logit(hidden, row[i], w, v, form);
}

void define_scalar_head(float *out, const struct tensor *hidden, const struct tensor *w, const int *row, int n)
{
    for (int i = 0; i < n; i++) {
        double dot = 0;
        for (int c = 0; c < w->cols; c++)
            dot += (double)t_get(hidden, row[i], c) * t_get(w, 0, c);
        out[i] = (float)dot;
    }
}

void define_scalar_head_backward(struct tensor *dhidden, struct tensor *dw, const struct tensor *hidden,
                                 const struct tensor *w, const int *row, const float *dout, int n)
{
    for (int i = 0; i < n; i++)
        for (int c = 0; c < w->cols; c++) {
            t_f32(dhidden, row[i])[c] += dout[i] * t_get(w, 0, c);
            if (dw)
                t_f32(dw, 0)[c] += dout[i] * t_get(hidden, row[i], c);
        }
}
