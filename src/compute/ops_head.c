/* compute/ops_head.c - the first step of the heads: log-probs, logits and scalars out of hidden rows. */
#include "compute/check.h"

static void check_items(const struct tensor *hidden, const struct weight *w, const struct head_item *item, int n)
{
    WANT(hidden->cols == w->in && hidden->dtype == w->dtype, "hidden is %d wide in %s, the head %d in %s", hidden->cols,
         dtype_name(hidden->dtype), w->in, dtype_name(w->dtype));
    for (int i = 0; i < n; i++) {
        WANT(item[i].row >= 0 && item[i].row < hidden->rows && item[i].target >= 0 && item[i].target < w->out,
             "item %d: row %d of %d, target %d of %d", i, item[i].row, hidden->rows, item[i].target, w->out);
        WANT(i == 0 || item[i - 1].row <= item[i].row, "item %d: row %d comes after row %d", i, item[i].row, item[i - 1].row);
    }
}

static void check_numbers(const struct device *dev, const float *x, int n, const char *op)
{
    if (!dev->check || !x)
        return;
    for (int i = 0; i < n; i++)
        if (!(x[i] - x[i] == 0))
            BUG("RLAIF_CHECK: %s: result %d of %d is %g", op, i, n, (double)x[i]);
}

void op_head_logp(float *logp, float *entropy, float *lse, int *argmax, const struct tensor *hidden,
                  const struct weight *w, const struct head_item *item, int n, float inv_temperature)
{
    PROFILE(__func__);
    check_items(hidden, w, item, n);
    if (n)
        w->dev->head_logp(logp, entropy, lse, argmax, hidden, w, item, n, inv_temperature);
    check_numbers(w->dev, logp, n, __func__);
}

void op_head_learn(float *logp, float *entropy, int *argmax, struct tensor *dhidden, struct tensor *dw,
                   const struct tensor *hidden, const struct weight *w, const struct head_item *item, const float *dlogp, int n,
                   float inv_temperature)
{
    PROFILE(__func__);
    check_items(hidden, w, item, n);
    if (dhidden) {
        IS_F32(dhidden);
        SHAPE(dhidden, hidden->rows, hidden->cols);
    }
    if (dw) {
        IS_F32(dw);
        SHAPE(dw, w->out, w->in);
    }
    if (n)
        w->dev->head_learn(logp, entropy, argmax, dhidden, dw, hidden, w, item, dlogp, n, inv_temperature);
    check_numbers(w->dev, logp, n, __func__);
    if (dhidden)
        CHECK(dhidden);
    if (dw)
        CHECK(dw);
}

void op_head_backward(struct tensor *dhidden, struct tensor *dw, const struct tensor *hidden, const struct weight *w,
                      const struct head_item *item, const float *dlogp, int n, float inv_temperature)
{
    op_head_learn(NULL, NULL, NULL, dhidden, dw, hidden, w, item, dlogp, n, inv_temperature);
}

void op_head_prepare(struct weight *w, int rows, bool backward)
{
    if (!w->dev->plan)      // others take it when they need it
        return;
    plan_scratch(w->dev, w->dev->head_plan(w->dev, w->out, w->in, w->dtype, rows, backward));
    if (backward)
        plan_head_backward(w);
}

void op_head_logits(float *logits, const struct tensor *hidden, const struct weight *w, const int *row, int n)
{
    PROFILE(__func__);
    WANT(hidden->cols == w->in && hidden->dtype == w->dtype, "hidden is %d wide in %s, the head %d in %s", hidden->cols,
         dtype_name(hidden->dtype), w->in, dtype_name(w->dtype));
    check_list(row, n, hidden->rows, "row");
    if (n)
        w->dev->head_logits(logits, hidden, w, row, n);
}

void op_logits_logp(float *logp, float *entropy, const float *logits, const struct weight *w, const int *target, int n,
                    float inv_temperature)
{
    PROFILE(__func__);
    check_list(target, n, w->out, "target");
    if (n)
        w->dev->logits_logp(logp, entropy, logits, w, target, n, inv_temperature);
    check_numbers(w->dev, logp, n, __func__);
}

void op_scalar_head(float *out, const struct tensor *hidden, const struct tensor *w, const int *row, int n)
{
    PROFILE(__func__);
    SHAPE(w, 1, hidden->cols);
    IS_F32(w);
    check_list(row, n, hidden->rows, "row");
    w->dev->scalar_head(out, hidden, w, row, n);
    check_numbers(w->dev, out, n, __func__);
}

void op_scalar_head_backward(struct tensor *dhidden, struct tensor *dw, const struct tensor *hidden,
                             const struct tensor *w, const int *row, const float *dout, int n)
{
    PROFILE(__func__);
    IS_F32(dhidden);
    SHAPE(w, 1, hidden->cols);
    if (dw) {
        IS_F32(dw);
        SHAPE(dw, 1, hidden->cols);
    }
    SHAPE(dhidden, hidden->rows, hidden->cols);
    check_list(row, n, hidden->rows, "row");
    w->dev->scalar_head_backward(dhidden, dw, hidden, w, row, dout, n);
    CHECK(dhidden);
}
