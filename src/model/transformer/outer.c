/* model/transformer/outer.c - adapters on the embedding and on the vocabulary head.
 *
 * The embedding: x += scale * B A[id], A being a table (V,r).
 * The head never holds (T,V), so its adapter cannot add to logits: the head of such a model is one matrix (V,C+r), [W | scale B], and
 * reads hidden states with h = A x behind them.  It is a copy of its own, repacked after each step; its gradient needs as
 * much room as the head itself. */
#include "model/transformer/transformer.h"

/* ---- the embedding ------------------------------------------------------------------------ */

/* A's rows of the tokens: (T,r) F32, and in the compute dtype in lora_h. */
static struct tensor embed_rows(struct workspace *ws, const struct model *m, const struct lora *l, const int *ids, int n,
                                struct tensor *rows)
{
    room(&ws->lora_rows, m, DTYPE_F32, ws->max_tokens, l->rank);
    struct tensor low = tensor_shaped(&ws->lora_h, n, l->rank);
    *rows = tensor_shaped(&ws->lora_rows, n, l->rank);
    op_embed(rows, &m->param[l->a].value, ids);
    op_copy(&low, rows);
    return low;
}

void embed_adapter(struct workspace *ws, const struct model *m, struct tensor *x, const int *ids)
{
    const struct lora *l = m->param[param_embed()].lora;
    struct tensor rows, h;
    if (!l)
        return;
    h = embed_rows(ws, m, l, ids, x->rows, &rows);
    op_linear(x, &h, m->param[l->part[0].b].packed, true);
}

void embed_adapter_backward(struct workspace *ws, struct trainable *t, const struct tensor *dx, const struct tensor *low)
{
    const struct lora *l = t->model->param[param_embed()].lora;
    if (!l)
        return;
    const struct lora_part *p = &l->part[0];
    struct tensor rows, h = embed_rows(ws, t->model, l, ws->ids, dx->rows, &rows), dw = tensor_shaped(&ws->lora_dw, p->rows, p->r);
    op_zero(&dw);
    op_linear_backward_w(&dw, low, &h);
    op_axpy(&t->grad[p->b], &dw, p->scale);
    op_linear_backward_x(&rows, low, t->model->param[p->b].packed, false);
    op_embed_backward(&t->grad[l->a], &rows, ws->ids);
}

/* ---- the head --------------------------------------------------------------------------------- */

const struct weight *model_head(const struct model *m)
{
    return m->adapter && m->adapter->head ? m->adapter->head : m->param[param_head(m)].packed;
}

int head_width(const struct model *m)
{
    return m->config.width + (m->adapter && m->adapter->head ? m->param[param_head(m)].lora->rank : 0);
}

void head_extend(const struct model *m, struct tensor *to, const struct tensor *hidden)
{
    int C = m->config.width, r = head_width(m) - C;
    struct tensor x = tensor_cols(to, 0, C), h = tensor_cols(to, C, r);
    op_copy(&x, hidden);
    op_linear(&h, hidden, m->param[m->param[param_head(m)].lora->a].packed, false);
}

struct tensor head_input(struct workspace *ws, const struct model *m, const struct tensor *hidden)
{
    int width = head_width(m);
    if (width == m->config.width)
        return *hidden;
    room(&ws->lora_x, m, m->dtype, hidden->rows, width);
    struct tensor to = tensor_shaped(&ws->lora_x, hidden->rows, width);
    head_extend(m, &to, hidden);
    return to;
}

/* From dlogits to dhidden, and to A and B of the head. */
void head_adapter_learn(struct workspace *ws, struct trainable *t, struct head_says says, struct tensor *dhidden,
                        const struct tensor *hidden, const struct head_item *item, const float *dlogp, int n, float inv_temperature)
{
    const struct model *m = t->model;
    const struct lora *l = m->param[param_head(m)].lora;
    int C = m->config.width, r = l->rank, T = hidden->rows, V = m->config.vocab;
    room(&ws->lora_dx, m, DTYPE_F32, ws->max_tokens, C + r);
    room(&ws->lora_dhead, m, DTYPE_F32, V, C + r);
    struct tensor x = head_input(ws, m, hidden), dx = tensor_shaped(&ws->lora_dx, T, C + r);
    struct tensor dw = tensor_shaped(&ws->lora_dhead, V, C + r), low = tensor_shaped(&ws->lora_dh, T, r);
    struct tensor to_x = tensor_cols(&dx, 0, C), to_h = tensor_cols(&dx, C, r), to_b = tensor_cols(&dw, C, r);
    op_zero(&dx);
    op_zero(&dw);
    op_head_learn(says.logp, says.entropy, says.argmax, &dx, &dw, &x, m->adapter->head, item, dlogp, n, inv_temperature);
    op_add(dhidden, &to_x);
    op_copy(&low, &to_h);
    op_axpy(&t->grad[l->part[0].b], &to_b, l->part[0].scale);
    op_linear_backward_w(&t->grad[l->a], &low, hidden);
    op_linear_backward_x(dhidden, &low, m->param[l->a].packed, true);
}
