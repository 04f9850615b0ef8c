/* compute/ops.c - every operation's first step: are the shapes what they should be (check.h)?  Then the device does
 * it.  Those of the heads and of the optimiser are in files beside this one. */
#include "compute/check.h"

/* ---- the host's own loops --------------------------------------------------------------- */

int device_workers(const struct device *dev)
{
    return dev->threads;
}

void device_each(struct device *dev, int n, size_t steps, void (*work)(void *arg, int i), void *arg)
{
    dev->each(dev, n, steps, work, arg);
}

/* ---- whole tensors ------------------------------------------------------------------- */

void op_zero(struct tensor *t)
{
    PROFILE(__func__);
    t->dev->zero(t);
}

void op_copy(struct tensor *dst, const struct tensor *src)
{
    PROFILE(__func__);
    SHAPE(src, dst->rows, dst->cols);
    dst->dev->copy(dst, src);
}

void op_add(struct tensor *dst, const struct tensor *src)
{
    PROFILE(__func__);
    IS_F32(dst);
    SHAPE(src, dst->rows, dst->cols);
    dst->dev->add(dst, src);
    CHECK(dst);
}

void op_scale(struct tensor *t, float by)
{
    PROFILE(__func__);
    IS_F32(t);
    t->dev->scale(t, by);
    CHECK(t);
}

void op_axpy(struct tensor *dst, const struct tensor *src, float by)
{
    PROFILE(__func__);
    IS_F32(dst);
    SHAPE(src, dst->rows, dst->cols);
    dst->dev->axpy(dst, src, by);
    CHECK(dst);
}

void op_gather_rows(struct tensor *dst, const struct tensor *src, const int *rows, int n)
{
    PROFILE(__func__);
    WANT(dst->dtype == src->dtype, "op_gather_rows from %s to %s", dtype_name(src->dtype), dtype_name(dst->dtype));
    WANT(dst->rows >= n && dst->cols == src->cols, "dst is %d x %d, should hold %d x %d", dst->rows, dst->cols, n, src->cols);
    check_list(rows, n, src->rows, "row");
    dst->dev->gather_rows(dst, src, rows, n);
}

void op_scatter_rows(struct tensor *dst, const struct tensor *src, const int *slot)
{
    PROFILE(__func__);
    WANT(dst->dtype == src->dtype, "op_scatter_rows from %s to %s", dtype_name(src->dtype), dtype_name(dst->dtype));
    WANT(dst->cols == src->cols, "dst has %d columns, src %d", dst->cols, src->cols);
    check_list(slot, src->rows, dst->rows, "slot");
    dst->dev->scatter_rows(dst, src, slot);
}

/* ---- weights --------------------------------------------------------------------------- */

struct weight *weight_new(struct device *dev, int out, int in, enum dtype dtype)
{
    WANT(out > 0 && in > 0, "a weight of %d x %d", out, in);
    struct weight *w = dev->weight_new(dev, out, in, dtype);
    if (w) {
        w->dev = dev;
        w->out = out;
        w->in = in;
        w->dtype = dtype;
        w->logits = (struct logit_form){ 1, 0 };
    }
    return w;
}

void weight_free(struct weight *w)
{
    if (w)
        w->dev->weight_free(w);
}

void weight_load(struct weight *w, const struct tensor *src)
{
    PROFILE("op_weight_load");
    SHAPE(src, w->out, w->in);
    WANT(!w->dev->weight_is_quantised(w), "values for a weight in blocks");
    w->dev->weight_load(w, src);
}

int weight_new_quantised(struct weight **out, struct device *dev, int in, enum dtype dtype, const struct quant_rows *part,
                         int n_parts, struct quant_fault *fault)
{
    int rows = 0;
    for (int i = 0; i < n_parts; i++) {
        WANT(part[i].n > 0 && in > 0 && in % quant_values(part[i].type) == 0, "part %d: %d rows of %d values in blocks of %d", i,
             part[i].n, in, quant_values(part[i].type));
        rows += part[i].n;
    }
    int rc = dev->weight_new_quantised(out, dev, in, dtype, part, n_parts, fault);
    if (rc == 0)
        **out = (struct weight){ .dev = dev, .out = rows, .in = in, .dtype = dtype, .logits = { 1, 0 } };
    return rc;
}

bool weight_is_quantised(const struct weight *w)
{
    return w->dev->weight_is_quantised(w);
}

size_t weight_size(const struct weight *w)
{
    return w->dev->weight_size(w);
}

void weight_row(float *out, const struct weight *w, int row)
{
    check_list(&row, 1, w->out, "row");
    w->dev->weight_row(out, w, row);
}

void weight_prepare_backward(struct weight *w)
{
    w->dev->weight_prepare(w);
}

int weight_out(const struct weight *w)
{
    return w->out;
}

int weight_in(const struct weight *w)
{
    return w->in;
}

void weight_set_logits(struct weight *w, float scale, float softcap)
{
    WANT(scale > 0 && softcap >= 0, "logits times %g, capped at %g", (double)scale, (double)softcap);
    w->logits = (struct logit_form){ scale, softcap };
}

static void check_product(const struct tensor *to, const struct tensor *from, const struct weight *w, bool accumulate)
{
    WANT(from->dtype == w->dtype, "input is %s, weight %s", dtype_name(from->dtype), dtype_name(w->dtype));
    WANT(to->dtype == DTYPE_F32 || to->dtype == w->dtype, "output is %s, weight %s", dtype_name(to->dtype),
         dtype_name(w->dtype));
}

void op_linear(struct tensor *y, const struct tensor *x, const struct weight *w, bool accumulate)
{
    PROFILE(__func__);
    SHAPE(x, y->rows, w->in);
    SHAPE(y, x->rows, w->out);
    check_product(y, x, w, accumulate);
    if (x->rows)
        w->dev->linear(y, x, w, accumulate);
    CHECK(y);
}

void op_linear_backward_x(struct tensor *dx, const struct tensor *dy, const struct weight *w, bool accumulate)
{
    PROFILE(__func__);
    SHAPE(dy, dx->rows, w->out);
    SHAPE(dx, dy->rows, w->in);
    check_product(dx, dy, w, accumulate);
    if (dy->rows)
        w->dev->linear_backward_x(dx, dy, w, accumulate);
    CHECK(dx);
}

void op_linear_backward_w(struct tensor *dw, const struct tensor *dy, const struct tensor *x)
{
    PROFILE(__func__);
    IS_F32(dw);
    SHAPE(dy, x->rows, dw->rows);
    SHAPE(x, dy->rows, dw->cols);
    WANT(dy->dtype == x->dtype, "dy is %s, x %s", dtype_name(dy->dtype), dtype_name(x->dtype));
    if (x->rows)
        dw->dev->linear_backward_w(dw, dy, x);
    CHECK(dw);
}

/* ---- the layers between ------------------------------------------------------------------ */

void op_embed(struct tensor *x, const struct tensor *table, const int *ids)
{
    PROFILE(__func__);
    IS_F32(x);
    WANT(x->cols == table->cols, "x has %d columns, the table %d", x->cols, table->cols);
    check_list(ids, x->rows, table->rows, "id");
    x->dev->embed(x, table, ids);
    CHECK(x);
}

void op_embed_weight(struct tensor *x, const struct weight *w, const int *ids)
{
    PROFILE(__func__);
    IS_F32(x);
    WANT(x->cols == w->in, "x has %d columns, the table %d", x->cols, w->in);
    check_list(ids, x->rows, w->out, "id");
    x->dev->embed_weight(x, w, ids);
    CHECK(x);
}

void op_embed_backward(struct tensor *dtable, const struct tensor *dx, const int *ids)
{
    PROFILE(__func__);
    IS_F32(dtable);
    IS_F32(dx);
    WANT(dx->cols == dtable->cols, "dx has %d columns, the table %d", dx->cols, dtable->cols);
    check_list(ids, dx->rows, dtable->rows, "id");
    dx->dev->embed_backward(dtable, dx, ids);
    CHECK(dtable);
}

void op_rmsnorm(struct tensor *y, struct tensor *rstd, const struct tensor *x, const struct tensor *gain, float eps)
{
    PROFILE(__func__);
    IS_F32(x);
    IS_F32(gain);
    IS_F32(rstd);
    SHAPE(y, x->rows, x->cols);
    SHAPE(gain, 1, x->cols);
    SHAPE(rstd, x->rows, 1);
    x->dev->rmsnorm(y, rstd, x, gain, eps);
    CHECK(y);
}

void op_rmsnorm_backward(struct tensor *dx, struct tensor *dgain, const struct tensor *dy, const struct tensor *x,
                         const struct tensor *rstd, const struct tensor *gain)
{
    PROFILE(__func__);
    IS_F32(dx);
    IS_F32(x);
    SHAPE(dx, x->rows, x->cols);
    SHAPE(dy, x->rows, x->cols);
    SHAPE(gain, 1, x->cols);
    SHAPE(rstd, x->rows, 1);
    if (dgain)
        SHAPE(dgain, 1, x->cols);
    x->dev->rmsnorm_backward(dx, dgain, dy, x, rstd, gain);
    CHECK(dx);
}

static void check_heads(const struct tensor *x, const struct tensor *rstd, const struct tensor *gain, int heads)
{
    IS_F32(gain);
    IS_F32(rstd);
    SHAPE(rstd, x->rows, heads);
    WANT(gain->rows == 1 && heads > 0 && x->cols == heads * gain->cols, "%d heads of %d in %d columns", heads, gain->cols,
         x->cols);
}

void op_rmsnorm_heads(struct tensor *y, struct tensor *rstd, const struct tensor *x, const struct tensor *gain, int heads,
                      float eps)
{
    PROFILE(__func__);
    check_heads(x, rstd, gain, heads);
    SHAPE(y, x->rows, x->cols);
    x->dev->rmsnorm_heads(y, rstd, x, gain, heads, eps);
    CHECK(y);
}

void op_rmsnorm_heads_backward(struct tensor *dx, struct tensor *dgain, const struct tensor *dy, const struct tensor *x,
                               const struct tensor *rstd, const struct tensor *gain, int heads)
{
    PROFILE(__func__);
    check_heads(x, rstd, gain, heads);
    IS_F32(dx);
    SHAPE(dx, x->rows, x->cols);
    SHAPE(dy, x->rows, x->cols);
    if (dgain) {
        IS_F32(dgain);
        SHAPE(dgain, 1, gain->cols);
    }
    x->dev->rmsnorm_heads_backward(dx, dgain, dy, x, rstd, gain, heads);
    CHECK(dx);
}

/* A vector of n numbers beside rows of n: a gain, a bias, a gradient of one; NULL is allowed. */
static void check_vector(const struct tensor *v, int n)
{
    if (!v)
        return;
    IS_F32(v);
    SHAPE(v, 1, n);
}

void op_layernorm(struct tensor *y, struct tensor *stat, const struct tensor *x, const struct tensor *gain,
                  const struct tensor *bias, float eps)
{
    PROFILE(__func__);
    IS_F32(x);
    IS_F32(stat);
    SHAPE(y, x->rows, x->cols);
    SHAPE(stat, x->rows, 2);
    check_vector(gain, x->cols);
    check_vector(bias, x->cols);
    x->dev->layernorm(y, stat, x, gain, bias, eps);
    CHECK(y);
}

void op_layernorm_backward(struct tensor *dx, struct tensor *dgain, struct tensor *dbias, const struct tensor *dy,
                           const struct tensor *x, const struct tensor *stat, const struct tensor *gain)
{
    PROFILE(__func__);
    IS_F32(dx);
    IS_F32(x);
    IS_F32(stat);
    SHAPE(dx, x->rows, x->cols);
    SHAPE(dy, x->rows, x->cols);
    SHAPE(stat, x->rows, 2);
    check_vector(gain, x->cols);
    check_vector(dgain, x->cols);
    check_vector(dbias, x->cols);
    x->dev->layernorm_backward(dx, dgain, dbias, dy, x, stat, gain);
    CHECK(dx);
}

void op_bias(struct tensor *y, const struct tensor *bias)
{
    PROFILE(__func__);
    check_vector(bias, y->cols);
    y->dev->bias(y, bias);
    CHECK(y);
}

void op_bias_backward(struct tensor *dbias, const struct tensor *dy)
{
    PROFILE(__func__);
    check_vector(dbias, dy->cols);
    dy->dev->bias_backward(dbias, dy);
    CHECK(dbias);
}

void op_rope(struct tensor *x, const int *position, int heads, const struct rope *rope, bool inverse)
{
    PROFILE(__func__);
    WANT(rope->rotary % 2 == 0 && rope->rotary >= 0 && rope->rotary <= rope->head_size, "%d columns of a head of %d turn",
         rope->rotary, rope->head_size);
    WANT(x->cols == heads * rope->head_size, "%d heads of %d in %d columns", heads, rope->head_size, x->cols);
    if (rope->rotary)
        x->dev->rope(x, position, heads, rope, inverse);
    CHECK(x);
}

static void check_attention(const struct tensor *q, const struct tensor *k, const struct tensor *v,
                            const struct attention *a)
{
    int C = a->heads * a->head_size, K = a->kv_heads * a->head_size;
    WANT(a->kv_heads > 0 && a->heads % a->kv_heads == 0, "%d heads over %d key heads", a->heads, a->kv_heads);
    WANT(q->cols == C && k->cols == K && v->cols == K, "q, k, v have %d, %d, %d columns, should have %d, %d, %d",
         q->cols, k->cols, v->cols, C, K, K);
    WANT(a->window >= 0 && a->softcap >= 0, "a window of %d, scores capped at %g", a->window, (double)a->softcap);
    WANT(q->dtype == k->dtype && k->dtype == v->dtype && k->rows == v->rows, "q, k and v differ in dtype or length");
    for (int i = 0; i < a->n; i++) {
        const struct attn_run *r = &a->run[i];
        WANT(r->row >= 0 && r->len >= 0 && r->len <= q->rows - r->row && r->position >= 0,
             "run %d: rows %d..+%d of %d at position %d", i, r->row, r->len, q->rows, r->position);
        check_list(r->keys, r->position + r->len, k->rows, "key");
    }
}

void op_attention(struct tensor *out, struct tensor *lse, const struct tensor *q, const struct tensor *k,
                  const struct tensor *v, const struct attention *a)
{
    PROFILE(__func__);
    check_attention(q, k, v, a);
    SHAPE(out, q->rows, q->cols);
    WANT(out->dtype == q->dtype, "out is %s, q %s", dtype_name(out->dtype), dtype_name(q->dtype));
    if (lse) {
        IS_F32(lse);
        SHAPE(lse, q->rows, a->heads);
    }
    q->dev->attention(out, lse, q, k, v, a);
    CHECK(out);
}

void op_attention_backward(struct tensor *dq, struct tensor *dk, struct tensor *dv, const struct tensor *dout,
                           const struct tensor *out, const struct tensor *lse, const struct tensor *q,
                           const struct tensor *k, const struct tensor *v, const struct attention *a)
{
    PROFILE(__func__);
    check_attention(q, k, v, a);
    IS_F32(dq);
    IS_F32(dk);
    IS_F32(dv);
    SHAPE(dq, q->rows, q->cols);
    SHAPE(dk, k->rows, k->cols);
    SHAPE(dv, k->rows, k->cols);
    SHAPE(dout, q->rows, q->cols);
    SHAPE(out, q->rows, q->cols);
    SHAPE(lse, q->rows, a->heads);
    q->dev->attention_backward(dq, dk, dv, dout, out, lse, q, k, v, a);
    CHECK(dq);
    CHECK(dk);
    CHECK(dv);
}

void op_gated(struct tensor *h, const struct tensor *gu, enum activation act)
{
    PROFILE(__func__);
    SHAPE(gu, h->rows, 2 * h->cols);
    h->dev->gated(h, gu, act);
    CHECK(h);
}

static void check_again(const struct tensor *h, const struct tensor *dh)
{
    if (!h)
        return;
    SHAPE(h, dh->rows, dh->cols);
    WANT(h->dtype == dh->dtype, "h is %s, dh %s", dtype_name(h->dtype), dtype_name(dh->dtype));
}

void op_gated_backward(struct tensor *dgu, struct tensor *h, const struct tensor *dh, const struct tensor *gu, enum activation act)
{
    PROFILE(__func__);
    SHAPE(gu, dh->rows, 2 * dh->cols);
    SHAPE(dgu, dh->rows, 2 * dh->cols);
    check_again(h, dh);
    dh->dev->gated_backward(dgu, h, dh, gu, act);
    CHECK(dgu);
}

void op_activate(struct tensor *h, const struct tensor *u, enum activation act)
{
    PROFILE(__func__);
    SHAPE(u, h->rows, h->cols);
    h->dev->activate(h, u, act);
    CHECK(h);
}

void op_activate_backward(struct tensor *du, struct tensor *h, const struct tensor *dh, const struct tensor *u, enum activation act)
{
    PROFILE(__func__);
    SHAPE(u, dh->rows, dh->cols);
    SHAPE(du, dh->rows, dh->cols);
    check_again(h, dh);
    dh->dev->activate_backward(du, h, dh, u, act);
    CHECK(du);
}

/* ---- experts ------------------------------------------------------------------------------- */

void op_route(int *expert, struct tensor *weight, struct tensor *prob, const struct tensor *logits)
{
    PROFILE(__func__);
    IS_F32(weight);
    IS_F32(prob);
    IS_F32(logits);
    SHAPE(prob, logits->rows, logits->cols);
    SHAPE(weight, logits->rows, weight->cols);
    WANT(weight->cols >= 1 && weight->cols <= logits->cols, "%d of %d experts", weight->cols, logits->cols);
    logits->dev->route(expert, weight, prob, logits);
    CHECK(prob);
    CHECK(weight);
}

void op_route_backward(struct tensor *dlogits, const struct tensor *dweight, const float *dprob, const struct tensor *weight,
                       const struct tensor *prob, const int *expert)
{
    PROFILE(__func__);
    IS_F32(dlogits);
    IS_F32(dweight);
    SHAPE(dlogits, prob->rows, prob->cols);
    SHAPE(weight, prob->rows, weight->cols);
    SHAPE(dweight, weight->rows, weight->cols);
    check_list(expert, weight->rows * weight->cols, prob->cols, "expert");
    prob->dev->route_backward(dlogits, dweight, dprob, weight, prob, expert);
    CHECK(dlogits);
}

void op_combine(struct tensor *dst, const struct tensor *src, const struct tensor *weight, const int *slot, int n)
{
    PROFILE(__func__);
    IS_F32(dst);
    IS_F32(weight);
    WANT(src->rows >= n && src->cols == dst->cols && weight->rows == dst->rows, "%d rows of %d x %d into %d x %d", n,
         src->rows, src->cols, dst->rows, dst->cols);
    check_list(slot, n, weight->rows * weight->cols, "slot");
    dst->dev->combine(dst, src, weight, slot, n);
    CHECK(dst);
}

void op_combine_backward(struct tensor *dsrc, struct tensor *dweight, const struct tensor *ddst, const struct tensor *src,
                         const struct tensor *weight, const int *slot, int n)
{
    PROFILE(__func__);
    IS_F32(dweight);
    IS_F32(ddst);
    SHAPE(dsrc, src->rows, src->cols);
    SHAPE(dweight, weight->rows, weight->cols);
    WANT(src->rows >= n && src->cols == ddst->cols && weight->rows == ddst->rows, "%d rows of %d x %d from %d x %d", n,
         src->rows, src->cols, ddst->rows, ddst->cols);
    check_list(slot, n, weight->rows * weight->cols, "slot");
    ddst->dev->combine_backward(dsrc, dweight, ddst, src, weight, slot, n);
    CHECK(dsrc);
    CHECK(dweight);
}

void op_column_sums(double *sums, const struct tensor *t)
{
    PROFILE(__func__);
    t->dev->column_sums(sums, t);
}
