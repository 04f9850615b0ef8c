/* model/transformer/linear.c - multiplications by a matrix of the model, with what an adapter
 * adds to it.
 *
 * LoRA (Hu et al. 2021): y = W x + scale * B (A x), with A (r,in) and B (out,r).  q, k and v
 * lie in one matrix, and so do their A: x is read once for all of them, h (T,rank) is small,
 * and each B adds to its own columns of y.  B is packed as scale * B. h is computed again in
 * the backward pass, where it costs less than keeping it. */
#include "model/transformer/transformer.h"

/* Tensors of the workspace for the model at hand, grown to the largest adapter seen. */
void room(struct tensor *t, const struct model *m, enum dtype dtype, int rows, int cols)
{
    struct err err = {0};
    if (t->data && (size_t)t->rows * (size_t)t->cols >= (size_t)rows * (size_t)cols)
        return;
    tensor_release(t);
    if (tensor_new(t, m->dev, dtype, rows, cols, &err))
        mem_die("an adapter's activations: %s", err.msg);
}

void workspace_adapter(struct workspace *ws, const struct model *m)
{
    if (!m->adapter || !m->adapter->rank)
        return;
    room(&ws->lora_h, m, m->dtype, ws->max_tokens, m->adapter->rank);
    if (!ws->keep)
        return;
    room(&ws->lora_dh, m, m->dtype, ws->max_tokens, m->adapter->rank);
    room(&ws->lora_dw, m, DTYPE_F32, 1, m->adapter->b_values);
}

/* The first n rows and r columns, dense. */
static struct tensor thin(const struct tensor *t, int n, int r)
{
    return tensor_shaped(t, n, r);
}

void linear_forward(struct workspace *ws, const struct model *m, int param, struct tensor *y,
                    const struct tensor *x, bool accumulate)
{
    const struct param *p = &m->param[param];
    const struct lora *l = p->lora;
    op_linear(y, x, p->packed, accumulate);
    if (!l)
        return;
    struct tensor h = thin(&ws->lora_h, x->rows, l->rank);
    op_linear(&h, x, m->param[l->a].packed, false);
    for (int i = 0; i < l->n; i++) {
        const struct lora_part *part = &l->part[i];
        struct tensor to = tensor_cols(y, part->first, part->rows),
                      from = tensor_cols(&h, part->at, part->r);
        op_linear(&to, &from, m->param[part->b].packed, true);
    }
}

/* dh = scale * B^T dy, which stays in the workspace for the gradient of A, and dx += dh A. */
void linear_backward_x(struct workspace *ws, const struct model *m, int param, struct tensor *dx,
                       const struct tensor *dy, bool accumulate)
{
    const struct param *p = &m->param[param];
    const struct lora *l = p->lora;
    op_linear_backward_x(dx, dy, p->packed, accumulate);
    if (!l)
        return;
    struct tensor dh = thin(&ws->lora_dh, dy->rows, l->rank);
    for (int i = 0; i < l->n; i++) {
        const struct lora_part *part = &l->part[i];
        struct tensor d = tensor_cols(dy, part->first, part->rows),
                      to = tensor_cols(&dh, part->at, part->r);
        op_linear_backward_x(&to, &d, m->param[part->b].packed, false);
    }
    op_linear_backward_x(dx, &dh, m->param[l->a].packed, true);
}

/* dB += scale * dy^T h. */
static void part_backward(struct workspace *ws, struct trainable *t,
                          const struct lora_part *part, const struct tensor *dy,
                          const struct tensor *h)
{
    struct tensor d = tensor_cols(dy, part->first, part->rows),
                  from = tensor_cols(h, part->at, part->r),
                  dw = tensor_shaped(&ws->lora_dw, part->rows, part->r);
    op_zero(&dw);
    op_linear_backward_w(&dw, &d, &from);
    op_axpy(&t->grad[part->b], &dw, part->scale);
}

void linear_backward_w(struct workspace *ws, struct trainable *t, int param,
                       const struct tensor *dy, const struct tensor *x)
{
    const struct lora *l = t->model->param[param].lora;
    if (gradient(t, param))
        op_linear_backward_w(&t->grad[param], dy, x);
    if (!l)
        return;
    struct tensor h = thin(&ws->lora_h, x->rows, l->rank),
                  dh = thin(&ws->lora_dh, x->rows, l->rank);
    op_linear(&h, x, t->model->param[l->a].packed, false);
    for (int i = 0; i < l->n; i++)
        part_backward(ws, t, &l->part[i], dy, &h);
    op_linear_backward_w(&t->grad[l->a], &dh, x);
}

void linear_backward(struct workspace *ws, struct trainable *t, int param, struct tensor *dx,
                     const struct tensor *dy, const struct tensor *x, bool accumulate)
{
    linear_backward_x(ws, t->model, param, dx, dy, accumulate);
    linear_backward_w(ws, t, param, dy, x);
}
