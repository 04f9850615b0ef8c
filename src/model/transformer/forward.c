/* model/transformer/forward.c - the forward pass: embedding, layers, final norm, heads.
 *
 * The residual stream x is fp32 throughout.  Per layer, of a Llama:
 *     x_mid = x + W_o attention(rope(W_qkv norm1(x)))
 *     x'    = x_mid + W_down (silu(gate) * up),  [gate|up] = W_gu norm2(x_mid)
 * and of other families what struct choices says; experts.c has the MLP that is several.
 * q, k and v are column views of one activation.  A workspace that keeps has a residual stream and a set of
 * activations per layer; another one adds in place. */
#include <math.h>

#include "model/transformer/transformer.h"

/* x_out = x_in + scale * norm(W y + bias).  Where there is no more to it, the multiplication itself makes the sum.
 * branch: what is normed, kept for backward. */
static void add_branch(struct workspace *ws, const struct model *m, int l, bool mlp, struct layer_acts *a, struct tensor *x_out,
                       const struct tensor *x_in, const struct tensor *y)
{
    const struct param *bias = layer_param(m, l, mlp ? PARAM_DOWN_BIAS : PARAM_OUT_BIAS);
    const struct param *gain = layer_param(m, l, mlp ? PARAM_POST2 : PARAM_POST1);
    float scale = m->config.choices.residual_scale;
    bool plain = !gain && (scale == 0 || scale == 1);
    struct tensor *to = gain ? (mlp ? &a->branch2 : &a->branch1) : &ws->branch, branch, normed, rstd;

    if (x_out != x_in)
        op_copy(x_out, x_in);
    branch = plain ? *x_out : first_rows(to, y->rows);
    linear_forward(ws, m, param_layer(m, l, mlp ? PARAM_DOWN : PARAM_OUT), &branch, y, plain);
    if (bias)
        op_bias(&branch, &bias->value);
    if (plain)
        return;
    normed = first_rows(&ws->branch, y->rows);
    if (gain) {
        rstd = first_rows(mlp ? &a->post_rstd2 : &a->post_rstd1, y->rows);
        op_rmsnorm_heads(&normed, &rstd, &branch, &gain->value, 1, m->config.norm_eps);
    }
    op_axpy(x_out, &normed, scale ? scale : 1);     // without a gain the two are one
}

/* What a branch reads: x normed, or as it is. */
void branch_input(struct tensor *normed, struct tensor *stat, const struct tensor *x, const struct model *m, int l, bool mlp)
{
    const struct param *gain = layer_param(m, l, mlp ? PARAM_NORM2 : PARAM_NORM1);
    const struct param *bias = layer_param(m, l, mlp ? PARAM_NORM2_BIAS : PARAM_NORM1_BIAS);
    if (!gain)
        op_copy(normed, x);
    else if (m->config.choices.norm == NORM_LAYER)
        op_layernorm(normed, stat, x, &gain->value, &bias->value, m->config.norm_eps);
    else
        op_rmsnorm(normed, stat, x, &gain->value, m->config.norm_eps);
}

struct rope layer_rope(const struct model *m, int l)
{
    const struct choices *h = &m->config.choices;
    bool local = h->local_theta > 0 && (h->layer[l] & LAYER_WINDOW);
    int rotary = rope_size(&m->config);
    return (struct rope){.head_size = m->config.head_size, .rotary = rotary, .inv_freq = m->inv_freq + (local ? rotary / 2 : 0),
                         .factor = local ? 1 : m->rope_factor};
}

bool layer_turns(const struct model *m, int l)
{
    return !m->config.choices.positions && !(m->config.choices.layer[l] & LAYER_NO_ROPE);
}

void layer_attention(struct workspace *ws, const struct model *m, int l)
{
    const struct model_config *c = &m->config;
    const struct choices *h = &c->choices;
    struct attention *a = &ws->attention;
    a->heads = c->heads;
    a->kv_heads = c->kv_heads;
    a->head_size = c->head_size;
    a->scale = h->attention_scale ? h->attention_scale : 1.0f / sqrtf((float)c->head_size);
    if (h->scale_by_layer)
        a->scale /= (float)(l + 1);
    a->window = h->layer[l] & LAYER_WINDOW ? h->window : 0;
    a->softcap = h->attention_softcap;
}

/* Norms of queries and keys; what they were is kept in raw. */
static void norm_qk(const struct model *m, int l, int n, struct layer_acts *a, struct tensor *qk)
{
    const struct model_config *c = &m->config;
    bool each = c->choices.qk_norm == QK_NORM_HEAD;
    int q = c->heads * c->head_size, kv = c->kv_heads * c->head_size;
    struct tensor raw = first_rows(&a->raw, n), rq = first_rows(&a->q_rstd, n), rk = first_rows(&a->k_rstd, n);
    struct tensor from_q = tensor_cols(&raw, 0, q), from_k = tensor_cols(&raw, q, kv);
    struct tensor to_q = tensor_cols(qk, 0, q), to_k = tensor_cols(qk, q, kv);
    op_copy(&raw, qk);
    op_rmsnorm_heads(&to_q, &rq, &from_q, &layer_param(m, l, PARAM_Q_NORM)->value, each ? c->heads : 1, c->norm_eps);
    op_rmsnorm_heads(&to_k, &rk, &from_k, &layer_param(m, l, PARAM_K_NORM)->value, each ? c->kv_heads : 1, c->norm_eps);
}

static void attention_forward(struct workspace *ws, const struct model *m, int l, int n, struct layer_acts *a,
                              const struct tensor *x, struct tensor *x_mid, const struct kv_cache *cache)
{
    const struct model_config *c = &m->config;
    const struct param *bias = layer_param(m, l, PARAM_QKV_BIAS);
    int q = c->heads * c->head_size, kv = c->kv_heads * c->head_size;
    struct tensor normed = first_rows(&ws->normed, n), rstd = first_rows(&a->rstd1, n), qkv = first_rows(&a->qkv, n);
    struct tensor att = first_rows(&a->att, n), lse;

    branch_input(&normed, &rstd, x, m, l, false);
    linear_forward(ws, m, param_layer(m, l, PARAM_QKV), &qkv, &normed, false);
    if (bias)
        op_bias(&qkv, &bias->value);
    struct tensor turned = tensor_cols(&qkv, 0, q + kv), vq = tensor_cols(&qkv, 0, q);
    if (c->choices.qk_norm != QK_NORM_NONE)
        norm_qk(m, l, n, a, &turned);
    if (layer_turns(m, l)) {
        struct rope rope = layer_rope(m, l);
        op_rope(&turned, ws->position, c->heads + c->kv_heads, &rope, false);
    }

    struct tensor keys = tensor_cols(&qkv, q, kv), values = tensor_cols(&qkv, q + kv, kv);
    if (cache) {
        op_scatter_rows(&cache->k[l], &keys, cache->slot);
        op_scatter_rows(&cache->v[l], &values, cache->slot);
        keys = cache->k[l];
        values = cache->v[l];
    }
    if (ws->keep)
        lse = first_rows(&a->lse, n);
    layer_attention(ws, m, l);
    op_attention(&att, ws->keep ? &lse : NULL, &vq, &keys, &values, &ws->attention);
    add_branch(ws, m, l, false, a, x_mid, x, &att);
}

/* The MLP's first multiplication; returns its view. */
static struct tensor mlp_up(struct workspace *ws, const struct model *m, int l, int n, struct layer_acts *a,
                            const struct tensor *normed)
{
    const struct param *bias = layer_param(m, l, PARAM_GATE_UP_BIAS);
    struct tensor gate_up = first_rows(&a->gate_up, n);
    linear_forward(ws, m, param_layer(m, l, PARAM_GATE_UP), &gate_up, normed, false);
    if (bias)
        op_bias(&gate_up, &bias->value);
    return gate_up;
}

/* normed is the branch's input already. */
static void mlp_forward(struct workspace *ws, const struct model *m, int l, int n, struct layer_acts *a,
                        const struct tensor *normed, const struct tensor *x_mid, struct tensor *x_out)
{
    const struct choices *c = &m->config.choices;
    if (c->experts) {
        experts_forward(ws, m, l, n, a, normed, x_mid, x_out);
        return;
    }
    struct tensor gate_up = mlp_up(ws, m, l, n, a, normed), h = first_rows(&ws->h, n);
    if (c->plain_mlp)
        op_activate(&h, &gate_up, c->act);
    else
        op_gated(&h, &gate_up, c->act);
    add_branch(ws, m, l, true, a, x_out, x_mid, &h);
}

static void layer_forward(struct workspace *ws, const struct model *m, int l, int n, struct layer_acts *a, struct tensor *x,
                          struct tensor *mid, struct tensor *next, const struct kv_cache *cache)
{
    bool parallel = m->config.choices.parallel;
    struct tensor normed = first_rows(parallel ? &ws->normed2 : &ws->normed, n), stat = first_rows(&a->rstd2, n);
    if (parallel)       // before x may change in place
        branch_input(&normed, &stat, x, m, l, true);
    attention_forward(ws, m, l, n, a, x, mid, cache);
    if (!parallel)
        branch_input(&normed, &stat, mid, m, l, true);
    mlp_forward(ws, m, l, n, a, &normed, mid, next);
}

/* What backward wants of a layer ends with the MLP's first multiplication, unless norms or experts come after it. */
void layer_recall(struct workspace *ws, const struct model *m, int l)
{
    if (ws->keep == KEEP_ALL || ws->held == l)
        return;
    const struct choices *h = &m->config.choices;
    struct layer_acts *a = layer_acts(ws, l);
    int n = ws->n_tokens;
    struct tensor x = first_rows(&ws->x[l], n), mid = first_rows(&a->x_mid, n), unused = first_rows(&ws->dnorm, n);
    ws->again = true;
    if (h->experts || h->place != NORM_BEFORE) {
        layer_forward(ws, m, l, n, a, &x, &mid, &unused, NULL);
    } else {
        struct tensor normed = first_rows(&ws->normed, n), stat = first_rows(&a->rstd2, n);
        attention_forward(ws, m, l, n, a, &x, &mid, NULL);
        branch_input(&normed, &stat, h->parallel ? &x : &mid, m, l, true);
        mlp_up(ws, m, l, n, a, &normed);
    }
    ws->again = false;
    ws->held = l;
}

static void embed(struct workspace *ws, const struct model *m, struct tensor *x, const int *ids)
{
    const struct choices *h = &m->config.choices;
    if (m->embed.data)
        op_embed(x, &m->embed, ids);
    else
        op_embed_weight(x, m->param[param_embed()].packed, ids);
    embed_adapter(ws, m, x, ids);
    if (h->embed_scale && h->embed_scale != 1)
        op_scale(x, embed_scale(m));
    if (h->positions) {
        struct tensor at = first_rows(&ws->branch, x->rows);
        op_embed(&at, &m->param[m->at.positions].value, ws->position);
        op_add(x, &at);
    }
}

/* Gemma rounds the multiplier to the dtype of its weights. */
float embed_scale(const struct model *m)
{
    float scale = m->config.choices.embed_scale;
    bool rounded = m->dtype == DTYPE_BF16 && m->config.choices.norm == NORM_RMS_OFFSET;
    return rounded ? bf16_to_float(bf16_from_float(scale)) : scale;
}

static void final_norm(const struct model *m, struct tensor *hidden, struct tensor *stat, const struct tensor *x)
{
    const struct tensor *gain = &m->param[param_final_norm(m)].value;
    if (m->config.choices.norm == NORM_LAYER)
        op_layernorm(hidden, stat, x, gain, &m->param[m->at.final_bias].value, m->config.norm_eps);
    else
        op_rmsnorm(hidden, stat, x, gain, m->config.norm_eps);
}

void transformer_forward(struct workspace *ws, const struct model *m, const int *ids, int n, struct tensor *hidden,
                         const struct kv_cache *cache)
{
    BUG_IF(n > ws->max_tokens || ws->dtype != m->dtype);
    struct tensor x = first_rows(&ws->x[0], n), stat = first_rows(&ws->rstd, n);
    workspace_adapter(ws, m);
    embed(ws, m, &x, ids);
    for (int l = 0; l < m->config.layers; l++) {
        struct layer_acts *a = layer_acts(ws, l);
        if (!ws->keep) {
            layer_forward(ws, m, l, n, a, &x, &x, &x, cache);
            continue;
        }
        struct tensor mid = first_rows(&a->x_mid, n), next = first_rows(&ws->x[l + 1], n);
        layer_forward(ws, m, l, n, a, &x, &mid, &next, cache);
        x = next;
    }
    ws->held = m->config.layers - 1;
    final_norm(m, hidden, &stat, &x);
}

void model_forward(struct workspace *ws, const struct model *m, const struct forest *f)
{
    PROFILE("forward");
    int n = f->tokens.n;
    BUG_IF(n > ws->max_tokens);
    ws->n_tokens = n;
    ws->ids = f->tokens.id;
    ws->model = m;
    if (!n)
        return;
    workspace_set_forest(ws, f);
    for (int e = 0; e < m->config.choices.experts; e++)
        ws->prob_sum[e] = ws->chosen[e] = 0;
    ws->routed = 0;
    struct tensor hidden = first_rows(&ws->hidden, n);
    transformer_forward(ws, m, f->tokens.id, n, &hidden, NULL);
}

/* ---- heads -------------------------------------------------------------------------------- */

void scatter_numbers(float *dst, const float *src, const int *from, int n)
{
    for (int i = 0; dst && i < n; i++)
        dst[from[i]] = src[i];
}

void head_logp(struct workspace *ws, const struct model *m, const struct tensor *hidden, float *logp, float *entropy,
               float *lse, const struct head_item *item, int n, float temperature)
{
    PROFILE("head");
    bool moved;
    BUG_IF(m->scalar || temperature <= 0);
    const struct weight *head = model_head(m);
    struct tensor in = head_input(ws, m, hidden);
    const struct head_item *sorted = workspace_sort_items(ws, item, n, &moved);
    if (!moved) {
        op_head_logp(logp, entropy, lse, NULL, &in, head, item, n, 1 / temperature);
        return;
    }
    float *a = ws->number, *b = a + n, *c = b + n;
    op_head_logp(a, entropy ? b : NULL, lse ? c : NULL, NULL, &in, head, sorted, n, 1 / temperature);
    scatter_numbers(logp, a, ws->item_from, n);
    scatter_numbers(entropy, b, ws->item_from, n);
    scatter_numbers(lse, c, ws->item_from, n);
}

void model_logp(struct workspace *ws, float *logp, float *entropy, float *lse, const struct head_item *item, int n,
                float temperature)
{
    struct tensor hidden = first_rows(&ws->hidden, ws->n_tokens);
    head_logp(ws, ws->model, &hidden, logp, entropy, lse, item, n, temperature);
}

void model_score(struct workspace *ws, float *score, const int *row, int n)
{
    const struct model *m = ws->model;
    BUG_IF(!m->scalar);
    struct tensor hidden = first_rows(&ws->hidden, ws->n_tokens);
    op_scalar_head(score, &hidden, &m->param[param_head(m)].value, row, n);
}
