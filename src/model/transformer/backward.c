/* model/transformer/backward.c - gradients of every parameter from the derivatives by log-probs and scores.
 *
 * The mirror of forward.c.  dx is the gradient of the residual stream, fp32; each branch adds to it.  What is cheap
 * (the norms' outputs, silu(gate) * up) is computed again instead of kept.  In bf16 a gradient is rounded once
 * where it enters a multiplication. */
#include "model/trainable.h"
#include "model/transformer/transformer.h"

static struct tensor first_rows(const struct tensor *t, int n)
{
    return tensor_rows(t, 0, n);
}

/* What multiplications read of an fp32 gradient. */
static struct tensor rounded(const struct tensor *low, const struct tensor *grad)
{
    struct tensor t = first_rows(low, grad->rows);
    if (t.data != grad->data)
        op_copy(&t, grad);
    return t;
}

static void norm_backward(struct workspace *ws, struct trainable *t, int i, const struct tensor *x, const struct tensor *rstd)
{
    int n = x->rows;
    struct tensor dx = first_rows(&ws->dx, n), dnorm = first_rows(&ws->dnorm, n), r = first_rows(rstd, n);
    op_rmsnorm_backward(&dx, &t->grad[i], &dnorm, x, &r, &t->model->param[i].value);
}

/* x_out = x_mid + W_down h:  dh = W_down^T dx, then through silu(gate) * up, W_gu and the norm into dx. */
static void mlp_backward(struct workspace *ws, struct trainable *t, int l, int n)
{
    const struct model *m = t->model;
    const struct layer_acts *a = &ws->layer[l];
    const struct param *p = &m->param[param_layer(l, PARAM_NORM1)];
    struct tensor *grad = &t->grad[param_layer(l, PARAM_NORM1)];
    struct tensor dx = first_rows(&ws->dx, n), dy = rounded(&ws->dy, &dx), dnorm = first_rows(&ws->dnorm, n);
    struct tensor x = first_rows(&a->x_mid, n), rstd = first_rows(&a->rstd2, n), normed = first_rows(&ws->normed, n);
    struct tensor gate_up = first_rows(&a->gate_up, n), h = first_rows(&ws->h, n);
    struct tensor dh = first_rows(&ws->dh, n), dgate_up = first_rows(&ws->dgate_up, n);

    op_swiglu(&h, &gate_up);
    op_linear_backward_w(&grad[PARAM_DOWN], &dy, &h);
    op_linear_backward_x(&dh, &dy, p[PARAM_DOWN].packed, false);
    op_swiglu_backward(&dgate_up, &dh, &gate_up);

    op_rmsnorm(&normed, &rstd, &x, &p[PARAM_NORM2].value, m->config.norm_eps);
    op_linear_backward_w(&grad[PARAM_GATE_UP], &dgate_up, &normed);
    op_linear_backward_x(&dnorm, &dgate_up, p[PARAM_GATE_UP].packed, false);
    norm_backward(ws, t, param_layer(l, PARAM_NORM2), &x, &a->rstd2);
}

/* x_mid = x + W_o attention: the keys and values of a shared prompt collect the gradients of all who read them. */
static void attention_backward(struct workspace *ws, struct trainable *t, int l, int n)
{
    const struct model *m = t->model;
    const struct model_config *c = &m->config;
    const struct layer_acts *a = &ws->layer[l];
    const struct param *p = &m->param[param_layer(l, PARAM_NORM1)];
    struct tensor *grad = &t->grad[param_layer(l, PARAM_NORM1)];
    int q = c->heads * c->head_size, kv = c->kv_heads * c->head_size;
    struct tensor dx = first_rows(&ws->dx, n), dy = rounded(&ws->dy, &dx), datt = first_rows(&ws->datt, n);
    struct tensor att = first_rows(&a->att, n), lse = first_rows(&a->lse, n), qkv = first_rows(&a->qkv, n);
    struct tensor vq = tensor_cols(&qkv, 0, q), vk = tensor_cols(&qkv, q, kv), vv = tensor_cols(&qkv, q + kv, kv);
    struct tensor dqkv = first_rows(&ws->dqkv, n), dq = tensor_cols(&dqkv, 0, q), dk = tensor_cols(&dqkv, q, kv);
    struct tensor dv = tensor_cols(&dqkv, q + kv, kv), turned = tensor_cols(&dqkv, 0, q + kv);

    op_linear_backward_w(&grad[PARAM_OUT], &dy, &att);
    op_linear_backward_x(&datt, &dy, p[PARAM_OUT].packed, false);
    op_zero(&dqkv);
    op_attention_backward(&dq, &dk, &dv, &datt, &att, &lse, &vq, &vk, &vv, &ws->attention);
    struct rope rope = { .head_size = c->head_size, .rotary = c->head_size, .inv_freq = m->inv_freq, .factor = 1 };
    op_rope(&turned, ws->position, c->heads + c->kv_heads, &rope, true);

    struct tensor x = first_rows(&ws->x[l], n), rstd = first_rows(&a->rstd1, n), normed = first_rows(&ws->normed, n);
    struct tensor low = rounded(&ws->dqkv_low, &dqkv), dnorm = first_rows(&ws->dnorm, n);
    op_rmsnorm(&normed, &rstd, &x, &p[PARAM_NORM1].value, c->norm_eps);
    op_linear_backward_w(&grad[PARAM_QKV], &low, &normed);
    op_linear_backward_x(&dnorm, &low, p[PARAM_QKV].packed, false);
    norm_backward(ws, t, param_layer(l, PARAM_NORM1), &x, &a->rstd1);
}

/* dnorm = gradient of the final hidden states. */
static void head_backward(struct workspace *ws, struct trainable *t, const struct head_item *item, const float *dlogp,
                          int n_items, float temperature)
{
    const struct model *m = t->model;
    bool moved;
    BUG_IF(m->scalar || temperature <= 0);
    struct tensor hidden = first_rows(&ws->hidden, ws->n_tokens), dhidden = first_rows(&ws->dnorm, ws->n_tokens);
    const struct head_item *sorted = workspace_sort_items(ws, item, n_items, &moved);
    for (int i = 0; moved && i < n_items; i++)
        ws->number[i] = dlogp[ws->item_from[i]];
    op_head_backward(&dhidden, &t->grad[param_head(m)], &hidden, m->param[param_head(m)].packed, sorted,
                     moved ? ws->number : dlogp, n_items, 1 / temperature);
}

void model_backward(struct workspace *ws, struct trainable *t, const struct head_item *item, const float *dlogp, int n_items,
                    float temperature, const int *score_row, const float *dscore, int n_scores)
{
    const struct model *m = t->model;
    int n = ws->n_tokens, L = m->config.layers;
    BUG_IF(!ws->keep);
    if (!n)
        return;
    struct tensor dx = first_rows(&ws->dx, n), dhidden = first_rows(&ws->dnorm, n), x = first_rows(&ws->x[L], n);
    struct tensor hidden = first_rows(&ws->hidden, n);

    op_zero(&dhidden);
    if (n_items)
        head_backward(ws, t, item, dlogp, n_items, temperature);
    if (n_scores)
        op_scalar_head_backward(&dhidden, &t->grad[param_head(m)], &hidden, &m->param[param_head(m)].value, score_row,
                                dscore, n_scores);
    op_zero(&dx);
    norm_backward(ws, t, param_final_norm(m), &x, &ws->rstd);
    for (int l = L - 1; l >= 0; l--) {
        mlp_backward(ws, t, l, n);
        attention_backward(ws, t, l, n);
    }
    op_embed_backward(&t->grad[param_embed()], &dx, ws->ids);
}
