/* model/transformer/backward.c - gradients of every parameter from the derivatives by log-probs and scores.
 *
 * The mirror of forward.c.  dx is the gradient of the residual stream, fp32; each branch adds to it.  What is cheap
 * (the norms' outputs, act(gate) * up) is computed again instead of kept.  In bf16 a gradient is rounded once
 * where it enters a multiplication. */
#include "model/transformer/transformer.h"

/* What multiplications read of an fp32 gradient: itself, or in bf16 a rounded copy in `low`. */
static struct tensor rounded(const struct workspace *ws, const struct tensor *low, const struct tensor *grad)
{
    if (ws->dtype == DTYPE_F32)
        return first_rows(grad, grad->rows);
    struct tensor t = first_rows(low, grad->rows);
    op_copy(&t, grad);
    return t;
}

/* The gradient of layer l's parameter; NULL where it is frozen or the model has none. */
static struct tensor *grad_of(const struct trainable *t, int l, enum layer_param which)
{
    return gradient(t, param_layer(t->model, l, which));
}

static void bias_backward(const struct trainable *t, int l, enum layer_param which, const struct tensor *dy)
{
    if (grad_of(t, l, which))
        op_bias_backward(grad_of(t, l, which), dy);
}

/* dx += what dnorm, the gradient of the normed x, says.  gain -1: x was not normed. */
static void norm_backward(struct workspace *ws, struct trainable *t, int gain, int bias, const struct tensor *x,
                          const struct tensor *stat)
{
    int n = x->rows;
    struct tensor dx = first_rows(&ws->dx, n), dnorm = first_rows(&ws->dnorm, n), s = first_rows(stat, n);
    if (gain < 0)
        op_add(&dx, &dnorm);
    else if (t->model->config.choices.norm == NORM_LAYER)
        op_layernorm_backward(&dx, gradient(t, gain), gradient(t, bias), &dnorm, x, &s, &t->model->param[gain].value);
    else
        op_rmsnorm_backward(&dx, gradient(t, gain), &dnorm, x, &s, &t->model->param[gain].value);
}

/* From dx to the gradient of a branch's last multiplication, through the multiplier and the norm after it.  copy: dx
 * will change while the result is still wanted. */
static struct tensor branch_gradient(struct workspace *ws, struct trainable *t, int l, bool mlp, int n, bool copy)
{
    const struct model *m = t->model;
    struct layer_acts *a = layer_acts(ws, l);
    enum layer_param which = mlp ? PARAM_POST2 : PARAM_POST1;
    const struct param *gain = layer_param(m, l, which);
    float scale = m->config.choices.residual_scale;
    struct tensor dx = first_rows(&ws->dx, n);
    if (!gain && (scale == 0 || scale == 1) && !copy)
        return dx;
    struct tensor d = first_rows(&ws->dbranch, n);
    op_copy(&d, &dx);
    if (scale && scale != 1)
        op_scale(&d, scale);
    if (gain) {
        struct tensor branch = first_rows(mlp ? &a->branch2 : &a->branch1, n);
        struct tensor rstd = first_rows(mlp ? &a->post_rstd2 : &a->post_rstd1, n);
        op_rmsnorm_heads_backward(&d, grad_of(t, l, which), &d, &branch, &rstd, &gain->value, 1);
    }
    return d;
}

/* branch = W_down h + b:  dh = W_down^T dy, then through act(gate) * up and W_gu to dnorm. */
static void mlp_branch(struct workspace *ws, struct trainable *t, int l, int n, const struct tensor *d, const struct tensor *normed)
{
    const struct model *m = t->model;
    const struct choices *c = &m->config.choices;
    const struct layer_acts *a = layer_acts(ws, l);
    struct tensor dy = rounded(ws, &ws->dy, d), dnorm = first_rows(&ws->dnorm, n);
    struct tensor gate_up = first_rows(&a->gate_up, n), h = first_rows(&ws->h, n);
    struct tensor dh = first_rows(&ws->dh, n), dgate_up = first_rows(&ws->dgate_up, n);

    bias_backward(t, l, PARAM_DOWN_BIAS, d);
    linear_backward_x(ws, m, param_layer(m, l, PARAM_DOWN), &dh, &dy, false);
    if (c->plain_mlp)       // h is made again
        op_activate_backward(&dgate_up, &h, &dh, &gate_up, c->act);
    else
        op_gated_backward(&dgate_up, &h, &dh, &gate_up, c->act);
    linear_backward_w(ws, t, param_layer(m, l, PARAM_DOWN), &dy, &h);
    bias_backward(t, l, PARAM_GATE_UP_BIAS, &dgate_up);
    linear_backward(ws, t, param_layer(m, l, PARAM_GATE_UP), &dnorm, &dgate_up, normed, false);
}

/* d: gradient of the branch. */
static void mlp_backward(struct workspace *ws, struct trainable *t, int l, int n, const struct tensor *d)
{
    const struct model *m = t->model;
    const struct layer_acts *a = layer_acts(ws, l);
    struct tensor x = first_rows(m->config.choices.parallel ? &ws->x[l] : &a->x_mid, n);
    struct tensor stat = first_rows(&a->rstd2, n), normed = first_rows(&ws->normed, n);
    branch_input(&normed, &stat, &x, m, l, true);
    if (m->config.choices.experts)
        experts_backward(ws, t, l, n, d, &normed);
    else
        mlp_branch(ws, t, l, n, d, &normed);
    norm_backward(ws, t, param_layer(m, l, PARAM_NORM2), param_layer(m, l, PARAM_NORM2_BIAS), &x, &a->rstd2);
}

/* In place: from the gradients of normed queries and keys to those of what W_qkv made. */
static void norm_qk_backward(struct workspace *ws, struct trainable *t, int l, int n, struct tensor *dqk)
{
    const struct model *m = t->model;
    const struct model_config *c = &m->config;
    const struct layer_acts *a = layer_acts(ws, l);
    bool each = c->choices.qk_norm == QK_NORM_HEAD;
    int q = c->heads * c->head_size, kv = c->kv_heads * c->head_size;
    struct tensor raw = first_rows(&a->raw, n), rq = first_rows(&a->q_rstd, n), rk = first_rows(&a->k_rstd, n);
    struct tensor xq = tensor_cols(&raw, 0, q), xk = tensor_cols(&raw, q, kv);
    struct tensor dq = tensor_cols(dqk, 0, q), dk = tensor_cols(dqk, q, kv);
    op_rmsnorm_heads_backward(&dq, grad_of(t, l, PARAM_Q_NORM), &dq, &xq, &rq, &layer_param(m, l, PARAM_Q_NORM)->value,
                              each ? c->heads : 1);
    op_rmsnorm_heads_backward(&dk, grad_of(t, l, PARAM_K_NORM), &dk, &xk, &rk, &layer_param(m, l, PARAM_K_NORM)->value,
                              each ? c->kv_heads : 1);
}

/* branch = W_o attention: the keys and values of a shared prompt collect the gradients of all who read them. */
static void attention_backward(struct workspace *ws, struct trainable *t, int l, int n, const struct tensor *d)
{
    const struct model *m = t->model;
    const struct model_config *c = &m->config;
    const struct layer_acts *a = layer_acts(ws, l);
    int q = c->heads * c->head_size, kv = c->kv_heads * c->head_size;
    struct tensor dy = rounded(ws, &ws->dy, d), datt = first_rows(&ws->datt, n);
    struct tensor att = first_rows(&a->att, n), lse = first_rows(&a->lse, n), qkv = first_rows(&a->qkv, n);
    struct tensor vq = tensor_cols(&qkv, 0, q), vk = tensor_cols(&qkv, q, kv), vv = tensor_cols(&qkv, q + kv, kv);
    struct tensor dqkv = first_rows(&ws->dqkv, n), dq = tensor_cols(&dqkv, 0, q), dk = tensor_cols(&dqkv, q, kv);
    struct tensor dv = tensor_cols(&dqkv, q + kv, kv), turned = tensor_cols(&dqkv, 0, q + kv);

    bias_backward(t, l, PARAM_OUT_BIAS, d);
    linear_backward(ws, t, param_layer(m, l, PARAM_OUT), &datt, &dy, &att, false);
    op_zero(&dqkv);
    layer_attention(ws, m, l);
    op_attention_backward(&dq, &dk, &dv, &datt, &att, &lse, &vq, &vk, &vv, &ws->attention);
    if (layer_turns(m, l)) {
        struct rope rope = layer_rope(m, l);
        op_rope(&turned, ws->position, c->heads + c->kv_heads, &rope, true);
    }
    if (c->choices.qk_norm != QK_NORM_NONE)
        norm_qk_backward(ws, t, l, n, &turned);
    bias_backward(t, l, PARAM_QKV_BIAS, &dqkv);

    struct tensor x = first_rows(&ws->x[l], n), stat = first_rows(&a->rstd1, n), normed = first_rows(&ws->normed, n);
    struct tensor low = rounded(ws, &ws->dqkv_low, &dqkv), dnorm = first_rows(&ws->dnorm, n);
    branch_input(&normed, &stat, &x, m, l, false);
    linear_backward(ws, t, param_layer(m, l, PARAM_QKV), &dnorm, &low, &normed, false);
    norm_backward(ws, t, param_layer(m, l, PARAM_NORM1), param_layer(m, l, PARAM_NORM1_BIAS), &x, &a->rstd1);
}

static void layer_backward(struct workspace *ws, struct trainable *t, int l, int n)
{
    bool parallel = t->model->config.choices.parallel;
    struct tensor d = branch_gradient(ws, t, l, true, n, parallel);
    mlp_backward(ws, t, l, n, &d);
    if (!parallel)
        d = branch_gradient(ws, t, l, false, n, false);
    attention_backward(ws, t, l, n, &d);
}

/* dnorm = gradient of the final hidden states. */
static void head_backward(struct workspace *ws, struct trainable *t, struct head_says says, const struct head_item *item,
                          const float *dlogp, int n, float temperature)
{
    const struct model *m = t->model;
    bool moved;
    BUG_IF(m->scalar || temperature <= 0);
    struct tensor hidden = first_rows(&ws->hidden, ws->n_tokens), dhidden = first_rows(&ws->dnorm, ws->n_tokens);
    const struct head_item *sorted = workspace_sort_items(ws, item, n, &moved);
    struct head_says to = says;
    if (moved) {        // in the order of rows, and back
        for (int i = 0; i < n; i++)
            ws->number[i] = dlogp[ws->item_from[i]];
        dlogp = ws->number;
        to.logp = says.logp ? ws->number + n : NULL;
        to.entropy = says.entropy ? ws->number + 2 * n : NULL;
        to.argmax = says.argmax ? (int *)(ws->number + 3 * n) : NULL;
    }
    if (m->adapter && m->adapter->head)
        head_adapter_learn(ws, t, to, &dhidden, &hidden, sorted, dlogp, n, 1 / temperature);
    else
        op_head_learn(to.logp, to.entropy, to.argmax, &dhidden, gradient(t, param_head(m)), &hidden, model_head(m), sorted, dlogp, n,
                      1 / temperature);
    if (!moved)
        return;
    scatter_numbers(says.logp, to.logp, ws->item_from, n);
    scatter_numbers(says.entropy, to.entropy, ws->item_from, n);
    for (int i = 0; says.argmax && i < n; i++)
        says.argmax[ws->item_from[i]] = to.argmax[i];
}

static void embed_backward(struct workspace *ws, struct trainable *t, struct tensor *dx)
{
    const struct model *m = t->model;
    float scale = m->config.choices.embed_scale;
    if (gradient(t, m->at.positions))
        op_embed_backward(&t->grad[m->at.positions], dx, ws->position);
    if (!gradient(t, param_embed()) && !m->param[param_embed()].lora)
        return;
    if (scale && scale != 1)
        op_scale(dx, embed_scale(m));
    if (gradient(t, param_embed())) {
        op_embed_backward(&t->grad[param_embed()], dx, ws->ids);
        return;
    }
    struct tensor low = rounded(ws, &ws->dy, dx);
    embed_adapter_backward(ws, t, dx, &low);
}

static void backward(struct workspace *ws, struct trainable *t, struct head_says says, const struct head_item *item, const float *dlogp,
                     int n_items, float temperature, const int *score_row, const float *dscore, int n_scores)
{
    PROFILE("backward");
    const struct model *m = t->model;
    int n = ws->n_tokens, L = m->config.layers;
    BUG_IF(!ws->keep);
    if (!n)
        return;
    struct tensor dx = first_rows(&ws->dx, n), dhidden = first_rows(&ws->dnorm, n), x = first_rows(&ws->x[L], n);
    struct tensor hidden = first_rows(&ws->hidden, n);

    op_zero(&dhidden);
    if (n_items)
        head_backward(ws, t, says, item, dlogp, n_items, temperature);
    if (n_scores)
        op_scalar_head_backward(&dhidden, gradient(t, param_head(m)), &hidden, &m->param[param_head(m)].value, score_row,
                                dscore, n_scores);
    op_zero(&dx);
    norm_backward(ws, t, param_final_norm(m), m->at.final_bias, &x, &ws->rstd);
    for (int l = L - 1; l >= 0; l--) {
        layer_recall(ws, m, l);
        layer_backward(ws, t, l, n);
    }
    embed_backward(ws, t, &dx);
}

void model_backward(struct workspace *ws, struct trainable *t, const struct head_item *item, const float *dlogp, int n_items,
                    float temperature, const int *score_row, const float *dscore, int n_scores)
{
    backward(ws, t, (struct head_says){ 0 }, item, dlogp, n_items, temperature, score_row, dscore, n_scores);
}

void model_learn(struct workspace *ws, struct trainable *t, float *logp, float *entropy, int *argmax, const struct head_item *item,
                 const float *dlogp, int n_items, float temperature)
{
    backward(ws, t, (struct head_says){ logp, entropy, argmax }, item, dlogp, n_items, temperature, NULL, NULL, 0);
}
