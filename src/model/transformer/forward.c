/* model/transformer/forward.c - the forward pass: embedding, layers, final norm, heads.
 *
 * The residual stream x is fp32 throughout.  Per layer:
 *     x_mid = x + W_o attention(rope(W_qkv norm1(x)))
 *     x'    = x_mid + W_down (silu(gate) * up),  [gate|up] = W_gu norm2(x_mid)
 * q, k and v are column views of one activation.  A workspace that keeps has a residual stream and a set of
 * activations per layer; another one adds in place. */
#include <math.h>

#include "model/transformer/transformer.h"

static struct tensor first_rows(const struct tensor *t, int n)
{
    return tensor_rows(t, 0, n);
}

/* x_out = x_in + y: the sum is made by the multiplication itself. */
static void residual_linear(struct tensor *x_out, const struct tensor *x_in, const struct tensor *y, const struct weight *w)
{
    if (x_out != x_in)
        op_copy(x_out, x_in);
    op_linear(x_out, y, w, true);
}

static void attention_forward(struct workspace *ws, const struct model *m, int l, int n, struct layer_acts *a,
                              const struct tensor *x, struct tensor *x_mid, const struct kv_cache *cache)
{
    const struct model_config *c = &m->config;
    const struct param *p = &m->param[param_layer(l, PARAM_NORM1)];
    int q = c->heads * c->head_size, kv = c->kv_heads * c->head_size;
    struct tensor normed = first_rows(&ws->normed, n), rstd = first_rows(&a->rstd1, n), qkv = first_rows(&a->qkv, n);
    struct tensor att = first_rows(&a->att, n), lse;

    op_rmsnorm(&normed, &rstd, x, &p[PARAM_NORM1].value, c->norm_eps);
    op_linear(&qkv, &normed, p[PARAM_QKV].packed, false);
    struct tensor turned = tensor_cols(&qkv, 0, q + kv), vq = tensor_cols(&qkv, 0, q);
    struct rope rope = { .head_size = c->head_size, .rotary = c->head_size, .inv_freq = m->inv_freq, .factor = 1 };
    op_rope(&turned, ws->position, c->heads + c->kv_heads, &rope, false);

    struct tensor keys = tensor_cols(&qkv, q, kv), values = tensor_cols(&qkv, q + kv, kv);
    if (cache) {
        op_scatter_rows(&cache->k[l], &keys, cache->slot);
        op_scatter_rows(&cache->v[l], &values, cache->slot);
        keys = cache->k[l];
        values = cache->v[l];
    }
    if (ws->keep)
        lse = first_rows(&a->lse, n);
    op_attention(&att, ws->keep ? &lse : NULL, &vq, &keys, &values, &ws->attention);
    residual_linear(x_mid, x, &att, p[PARAM_OUT].packed);
}

static void mlp_forward(struct workspace *ws, const struct model *m, int l, int n, struct layer_acts *a,
                        const struct tensor *x_mid, struct tensor *x_out)
{
    const struct param *p = &m->param[param_layer(l, PARAM_NORM1)];
    struct tensor normed = first_rows(&ws->normed, n), rstd = first_rows(&a->rstd2, n);
    struct tensor gate_up = first_rows(&a->gate_up, n), h = first_rows(&ws->h, n);

    op_rmsnorm(&normed, &rstd, x_mid, &p[PARAM_NORM2].value, m->config.norm_eps);
    op_linear(&gate_up, &normed, p[PARAM_GATE_UP].packed, false);
    op_swiglu(&h, &gate_up);
    residual_linear(x_out, x_mid, &h, p[PARAM_DOWN].packed);
}

void transformer_forward(struct workspace *ws, const struct model *m, const int *ids, int n, struct tensor *hidden,
                         const struct kv_cache *cache)
{
    const struct model_config *c = &m->config;
    BUG_IF(n > ws->max_tokens || ws->dtype != m->dtype);
    ws->attention.heads = c->heads;
    ws->attention.kv_heads = c->kv_heads;
    ws->attention.head_size = c->head_size;
    ws->attention.scale = 1.0f / sqrtf((float)c->head_size);

    struct tensor x = first_rows(&ws->x[0], n), rstd = first_rows(&ws->rstd, n);
    op_embed(&x, &m->embed, ids);
    for (int l = 0; l < c->layers; l++) {
        struct layer_acts *a = &ws->layer[ws->keep ? l : 0];
        struct tensor mid, next;
        if (!ws->keep) {
            attention_forward(ws, m, l, n, a, &x, &x, cache);
            mlp_forward(ws, m, l, n, a, &x, &x);
            continue;
        }
        mid = first_rows(&a->x_mid, n);
        next = first_rows(&ws->x[l + 1], n);
        attention_forward(ws, m, l, n, a, &x, &mid, cache);
        mlp_forward(ws, m, l, n, a, &mid, &next);
        x = next;
    }
    op_rmsnorm(hidden, &rstd, &x, &m->param[param_final_norm(m)].value, c->norm_eps);
}

void model_forward(struct workspace *ws, const struct model *m, const struct forest *f)
{
    int n = f->tokens.n;
    BUG_IF(n > ws->max_tokens);
    ws->n_tokens = n;
    ws->ids = f->tokens.id;
    ws->model = m;
    if (!n)
        return;
    workspace_set_forest(ws, f);
    struct tensor hidden = first_rows(&ws->hidden, n);
    transformer_forward(ws, m, f->tokens.id, n, &hidden, NULL);
}

/* ---- heads -------------------------------------------------------------------------------- */

static void scatter_numbers(float *dst, const float *src, const int *from, int n)
{
    for (int i = 0; dst && i < n; i++)
        dst[from[i]] = src[i];
}

void head_logp(struct workspace *ws, const struct model *m, const struct tensor *hidden, float *logp, float *entropy,
               float *lse, const struct head_item *item, int n, float temperature)
{
    bool moved;
    BUG_IF(m->scalar || temperature <= 0);
    const struct weight *head = m->param[param_head(m)].packed;
    const struct head_item *sorted = workspace_sort_items(ws, item, n, &moved);
    if (!moved) {
        op_head_logp(logp, entropy, lse, ws->argmax, hidden, head, item, n, 1 / temperature);
        return;
    }
    float *a = ws->number, *b = a + n, *c = b + n;
    int *best = ws->argmax ? (int *)(c + n) : NULL;
    op_head_logp(a, entropy ? b : NULL, lse ? c : NULL, best, hidden, head, sorted, n, 1 / temperature);
    for (int i = 0; best && i < n; i++)
        ws->argmax[ws->item_from[i]] = best[i];
    scatter_numbers(logp, a, ws->item_from, n);
    scatter_numbers(entropy, b, ws->item_from, n);
    scatter_numbers(lse, c, ws->item_from, n);
}

void model_logp(struct workspace *ws, float *logp, float *entropy, float *lse, const struct head_item *item, int n,
                float temperature)
{
    struct tensor hidden = first_rows(&ws->hidden, ws->n_tokens);
    head_logp(ws, ws->model, &hidden, logp, entropy, lse, item, n, temperature);
    ws->argmax = NULL;
}

void workspace_argmax(struct workspace *ws, int *argmax)
{
    ws->argmax = argmax;
}

void model_score(struct workspace *ws, float *score, const int *row, int n)
{
    const struct model *m = ws->model;
    BUG_IF(!m->scalar);
    struct tensor hidden = first_rows(&ws->hidden, ws->n_tokens);
    op_scalar_head(score, &hidden, &m->param[param_head(m)].value, row, n);
}
