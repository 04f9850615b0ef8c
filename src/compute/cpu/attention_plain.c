/* compute/cpu/attention_plain.c - attention as its definition says, forward and backward.
 *
 * For a query at absolute position p of a run and one head, over the keys j it sees, 0..p or the last `window` of them:
 *     s_j = cap(scale * q . k[keys[j]])              lse = log sum_j exp(s_j)
 *     P_j = exp(s_j - lse)                           out = sum_j P_j v[keys[j]]
 * Backward, with delta = sum_d dout_d out_d:
 *     dP_j = dout . v_j     dS_j = P_j (dP_j - delta)
 *     dq += scale dS_j k_j  dk_j += scale dS_j q     dv_j += P_j dout
 * cap(s) is softcap * tanh(s / softcap) or nothing; dS_j is multiplied by its slope, 1 - (s_j / softcap)^2.
 * One query at a time, sums in double, any head size, either dtype (on a copy in fp32).  The fast versions are
 * tested against this file, and head sizes that they leave out come here.  Nothing is blocked or vectorised. */
#include <math.h>

#include "compute/cpu/attention.h"
#include "compute/cpu/cpu.h"

static void *scratch(size_t n, size_t size)
{
    void *p = mem_alloc(n, size);
    if (!p && n)
        mem_die("attention needs %zu values of scratch", n);
    return p;
}

/* (rows,cols) in fp32 without gaps; the caller frees. */
static float *floats(const struct tensor *t)
{
    float *p = scratch((size_t)t->rows * t->cols, sizeof *p);
    for (int r = 0; r < t->rows; r++)
        for (int c = 0; c < t->cols; c++)
            p[(size_t)r * t->cols + c] = t_get(t, r, c);
    return p;
}

static int longest(const struct attention *a)
{
    int n = 1;
    for (int i = 0; i < a->n; i++)
        if (a->run[i].position + a->run[i].len > n)
            n = a->run[i].position + a->run[i].len;
    return n;
}

static double dot(const float *a, const float *b, int n)
{
    double sum = 0;
    for (int d = 0; d < n; d++)
        sum += (double)a[d] * b[d];
    return sum;
}

static int first_seen(const struct attention *a, int position)
{
    return a->window && position >= a->window ? position - a->window + 1 : 0;
}

static double capped(const struct attention *a, double s)
{
    return a->softcap > 0 ? a->softcap * tanh(s / a->softcap) : s;
}

/* One query q (D) of one head that sees n keys, columns of the rows keys[] of k and v, which are K wide.  p (n) and
 * o (D) are scratch; o receives the result.  Returns the log-sum-exp. */
static double query_forward(double *o, double *p, const float *q, const float *k, const float *v, size_t K,
                            const int *keys, int n, const struct attention *a)
{
    double max = -INFINITY, sum = 0;
    int D = a->head_size;

    for (int j = 0; j < n; j++) {
        p[j] = capped(a, (double)a->scale * dot(q, k + keys[j] * K, D));
        max = p[j] > max ? p[j] : max;
    }
    memset(o, 0, D * sizeof *o);
    for (int j = 0; j < n; j++) {
        sum += p[j] = exp(p[j] - max);
        for (int d = 0; d < D; d++)
            o[d] += p[j] * v[keys[j] * K + d];
    }
    for (int d = 0; d < D; d++)
        o[d] /= sum;
    return max + log(sum);
}

void attention_plain(struct tensor *out, struct tensor *lse, const struct tensor *q, const struct tensor *k,
                     const struct tensor *v, const struct attention *a)
{
    int n = longest(a), D = a->head_size, group = a->heads / a->kv_heads;
    size_t C = q->cols, K = k->cols;
    float *fq = floats(q), *fk = floats(k), *fv = floats(v);
#pragma omp parallel
    {
        double *p = scratch(n, sizeof *p), *o = scratch(D, sizeof *o);
#pragma omp for collapse(2) schedule(dynamic)
        for (int r = 0; r < a->n; r++)
            for (int h = 0; h < a->heads; h++)
                for (int i = 0; i < a->run[r].len; i++) {
                    const struct attn_run *run = &a->run[r];
                    int row = run->row + i, kv = h / group * D, at = run->position + i, from = first_seen(a, at);
                    double x = query_forward(o, p, fq + row * C + h * D, fk + kv, fv + kv, K, run->keys + from,
                                             at + 1 - from, a);
                    for (int d = 0; d < D; d++)
                        t_set(out, row, h * D + d, (float)o[d]);
                    if (lse)
                        t_set(lse, row, h, (float)x);
                }
        free(p);
        free(o);
    }
    free(fq);
    free(fk);
    free(fv);
}

/* What the backward pass reads, in fp32, and where it adds. */
struct plain {
    const struct attention *a;
    const struct tensor *dq, *dk, *dv, *lse;
    float *q, *k, *v, *out, *dout;
    size_t C, K;
};

/* One query, one head; dq (D) is scratch.  Adds to dk and dv of every key it sees. */
static void query_backward(const struct plain *x, const struct attn_run *r, int i, int h, double *dq)
{
    int D = x->a->head_size, row = r->row + i, kv = h / (x->a->heads / x->a->kv_heads) * D;
    const float *q = x->q + row * x->C + h * D, *dout = x->dout + row * x->C + h * D;
    double delta = dot(dout, x->out + row * x->C + h * D, D), lse = t_get(x->lse, row, h);

    memset(dq, 0, D * sizeof *dq);
    for (int j = first_seen(x->a, r->position + i); j <= r->position + i; j++) {
        const float *k = x->k + r->keys[j] * x->K + kv, *v = x->v + r->keys[j] * x->K + kv;
        float *dk = t_f32(x->dk, r->keys[j]) + kv, *dv = t_f32(x->dv, r->keys[j]) + kv;
        double s = capped(x->a, (double)x->a->scale * dot(q, k, D)), p = exp(s - lse);
        double ds = x->a->scale * p * (dot(dout, v, D) - delta);
        if (x->a->softcap > 0)
            ds *= 1 - (s / x->a->softcap) * (s / x->a->softcap);
        for (int d = 0; d < D; d++) {
            dq[d] += ds * k[d];
            dk[d] += ds * q[d];
            dv[d] += p * dout[d];
        }
    }
    for (int d = 0; d < D; d++)
        t_set(x->dq, row, h * D + d, (float)dq[d]);
}

void attention_plain_backward(struct tensor *dq, struct tensor *dk, struct tensor *dv, const struct tensor *dout,
                              const struct tensor *out, const struct tensor *lse, const struct tensor *q,
                              const struct tensor *k, const struct tensor *v, const struct attention *a)
{
    int group = a->heads / a->kv_heads;
    struct plain x = { a, dq, dk, dv, lse, floats(q), floats(k), floats(v), floats(out), floats(dout), q->cols, k->cols };
#pragma omp parallel
    {
        double *row = scratch(a->head_size, sizeof *row);
        // A key/value head's gradients belong to one thread, so they add up in run order.
#pragma omp for schedule(dynamic)
        for (int kv = 0; kv < a->kv_heads; kv++)
            for (int r = 0; r < a->n; r++)
                for (int h = kv * group; h < (kv + 1) * group; h++)
                    for (int i = 0; i < a->run[r].len; i++)
                        query_backward(&x, &a->run[r], i, h, row);
        free(row);
    }
    free(x.q);
    free(x.k);
    free(x.v);
    free(x.out);
    free(x.dout);
}
