/* compute/cpu/attention_plain.c - attention as its definition says, forward and backward.
 *
 * For a query at absolute position p of a run and one head:
 *     s_j = scale * q . k[keys[j]],  j = 0..p        lse = log sum_j exp(s_j)
 *     P_j = exp(s_j - lse)                           out = sum_j P_j v[keys[j]]
 * Backward, with delta = sum_d dout_d out_d:
 *     dP_j = dout . v_j     dS_j = P_j (dP_j - delta)
 *     dq += scale dS_j k_j  dk_j += scale dS_j q     dv_j += P_j dout
 * One query at a time, sums in double, any head size, either dtype.  The fast versions are tested against
 * this file, and head sizes that they leave out come here.  Nothing is blocked or vectorised by hand. */
#include <math.h>

#include "compute/cpu/attention.h"

static float load(const struct tensor *t, int row, int col)
{
    size_t at = (size_t)row * t->stride + col;
    return t->dtype == DTYPE_F32 ? ((const float *)t->data)[at] : bf16_to_float(((const uint16_t *)t->data)[at]);
}

static void store(struct tensor *t, int row, int col, float x)
{
    size_t at = (size_t)row * t->stride + col;
    if (t->dtype == DTYPE_F32)
        ((float *)t->data)[at] = x;
    else
        ((uint16_t *)t->data)[at] = bf16_from_float(x);
}

static double dot_rows(const struct tensor *a, int arow, int acol, const struct tensor *b, int brow, int bcol, int n)
{
    double sum = 0;
    for (int d = 0; d < n; d++)
        sum += (double)load(a, arow, acol + d) * load(b, brow, bcol + d);
    return sum;
}

static int longest(const struct attention *a)
{
    int n = 1;
    for (int i = 0; i < a->n; i++)
        if (a->run[i].position + a->run[i].len > n)
            n = a->run[i].position + a->run[i].len;
    return n;
}

static double *scratch(size_t n)
{
    double *p = mem_alloc(n, sizeof *p);
    if (!p)
        BUG("no memory for %zu numbers of attention scratch", n);
    return p;
}

/* One query, one head: p[0..n) are overwritten with the scores and then their exponentials. */
static void query_forward(struct tensor *out, struct tensor *lse, const struct tensor *q, const struct tensor *k,
                          const struct tensor *v, const struct attention *a, const struct attn_run *r, int i, int h,
                          double *p)
{
    int D = a->head_size, n = r->position + i + 1, row = r->row + i, kv = h / (a->heads / a->kv_heads);
    double max = -INFINITY, sum = 0;

    for (int j = 0; j < n; j++) {
        p[j] = a->scale * dot_rows(q, row, h * D, k, r->keys[j], kv * D, D);
        max = p[j] > max ? p[j] : max;
    }
    for (int j = 0; j < n; j++)
        sum += p[j] = exp(p[j] - max);
    for (int d = 0; d < D; d++) {
        double o = 0;
        for (int j = 0; j < n; j++)
            o += p[j] * load(v, r->keys[j], kv * D + d);
        store(out, row, h * D + d, o / sum);
    }
    if (lse)
        store(lse, row, h, max + log(sum));
}

void attention_plain(struct tensor *out, struct tensor *lse, const struct tensor *q, const struct tensor *k,
                     const struct tensor *v, const struct attention *a)
{
    int n = longest(a);
#pragma omp parallel
    {
        double *p = scratch(n);
#pragma omp for collapse(2) schedule(dynamic)
        for (int r = 0; r < a->n; r++)
            for (int h = 0; h < a->heads; h++)
                for (int i = 0; i < a->run[r].len; i++)
                    query_forward(out, lse, q, k, v, a, &a->run[r], i, h, p);
        free(p);
    }
}

/* One query, one head; dq_row (D) is scratch.  Adds to dk and dv of every key it sees. */
static void query_backward(struct tensor *dq, struct tensor *dk, struct tensor *dv, const struct tensor *dout,
                           const struct tensor *out, const struct tensor *lse, const struct tensor *q,
                           const struct tensor *k, const struct tensor *v, const struct attention *a,
                           const struct attn_run *r, int i, int h, double *dq_row)
{
    int D = a->head_size, row = r->row + i, kv = h / (a->heads / a->kv_heads);
    double delta = dot_rows(dout, row, h * D, out, row, h * D, D);

    memset(dq_row, 0, D * sizeof *dq_row);
    for (int j = 0; j <= r->position + i; j++) {
        int key = r->keys[j];
        double s = a->scale * dot_rows(q, row, h * D, k, key, kv * D, D);
        double p = exp(s - load(lse, row, h));
        double ds = a->scale * p * (dot_rows(dout, row, h * D, v, key, kv * D, D) - delta);
        float *dk_row = (float *)dk->data + (size_t)key * dk->stride + kv * D;
        float *dv_row = (float *)dv->data + (size_t)key * dv->stride + kv * D;
        for (int d = 0; d < D; d++) {
            dq_row[d] += ds * load(k, key, kv * D + d);
            dk_row[d] += ds * load(q, row, h * D + d);
            dv_row[d] += p * load(dout, row, h * D + d);
        }
    }
    for (int d = 0; d < D; d++)
        store(dq, row, h * D + d, dq_row[d]);
}

void attention_plain_backward(struct tensor *dq, struct tensor *dk, struct tensor *dv, const struct tensor *dout,
                              const struct tensor *out, const struct tensor *lse, const struct tensor *q,
                              const struct tensor *k, const struct tensor *v, const struct attention *a)
{
    int group = a->heads / a->kv_heads;
#pragma omp parallel
    {
        double *dq_row = scratch(a->head_size);
        // A key/value head's gradients belong to one thread, so they add up in run order.
#pragma omp for schedule(dynamic)
        for (int kv = 0; kv < a->kv_heads; kv++)
            for (int r = 0; r < a->n; r++)
                for (int h = kv * group; h < (kv + 1) * group; h++)
                    for (int i = 0; i < a->run[r].len; i++)
                        query_backward(dq, dk, dv, dout, out, lse, q, k, v, a, &a->run[r], i, h, dq_row);
        free(dq_row);
    }
}
