/* model/transformer/workspace.c - memory for activations, allocated once, and a forest in the operations' terms.
 *
 * Every tensor has max_tokens rows and is used through views of the rows at hand. */
#include "model/transformer/transformer.h"

/* ---- allocation ------------------------------------------------------------------------ */

/* One list of everything that takes memory, for both counting it and making it. */
struct plan { struct device *dev; size_t bytes; int rc; struct err *err; };

static void want(struct plan *p, struct tensor *t, enum dtype dtype, int rows, size_t cols)
{
    p->bytes += (size_t)rows * cols * dtype_size(dtype);
    if (t && p->rc == 0)
        p->rc = tensor_new(t, p->dev, dtype, rows, (int)cols, p->err);
}

static void plan_layer(struct plan *p, struct layer_acts *a, const struct model_config *c, enum dtype dtype, int T, bool keep)
{
    const struct choices *h = &c->choices;
    size_t D = (size_t)c->head_size, H = (size_t)c->heads, K = (size_t)c->kv_heads, C = (size_t)c->width;
    size_t stat = h->norm == NORM_LAYER ? 2 : 1;
#define AT(field) (a ? &a->field : NULL)
    want(p, AT(rstd1), DTYPE_F32, T, stat);
    want(p, AT(rstd2), DTYPE_F32, T, stat);
    want(p, AT(qkv), dtype, T, (size_t)qkv_rows(c));
    want(p, AT(att), dtype, T, H * D);
    if (!h->experts)
        want(p, AT(gate_up), dtype, T, (size_t)up_rows(c));
    if (keep) {
        want(p, AT(x_mid), DTYPE_F32, T, C);
        want(p, AT(lse), DTYPE_F32, T, H);
    }
    if (h->qk_norm != QK_NORM_NONE) {
        want(p, AT(raw), dtype, T, (H + K) * D);
        want(p, AT(q_rstd), DTYPE_F32, T, h->qk_norm == QK_NORM_HEAD ? H : 1);
        want(p, AT(k_rstd), DTYPE_F32, T, h->qk_norm == QK_NORM_HEAD ? K : 1);
    }
    if (h->place != NORM_BEFORE) {
        want(p, AT(branch1), DTYPE_F32, T, C);
        want(p, AT(branch2), DTYPE_F32, T, C);
        want(p, AT(post_rstd1), DTYPE_F32, T, 1);
        want(p, AT(post_rstd2), DTYPE_F32, T, 1);
    }
    if (h->experts) {
        int rows = keep ? T * h->experts_used : T;  // without keep one expert's at a time
        want(p, AT(prob), DTYPE_F32, T, (size_t)h->experts);
        want(p, AT(expert_weight), DTYPE_F32, T, (size_t)h->experts_used);
        want(p, AT(ex_gate_up), dtype, rows, 2 * (size_t)c->ffn);
        want(p, AT(ex_out), dtype, rows, C);
    }
#undef AT
}

static void plan_experts(struct plan *p, struct workspace *ws, const struct model_config *c, enum dtype dtype, int T, bool keep)
{
    size_t C = (size_t)c->width, E = (size_t)c->choices.experts;
#define AT(field) (ws ? &ws->field : NULL)
    want(p, AT(router), DTYPE_F32, T, E);
    want(p, AT(ex_in), dtype, T, C);
    if (keep) {
        want(p, AT(ex_dout), dtype, T, C);
        want(p, AT(ex_din), DTYPE_F32, T, C);
        want(p, AT(dweight), DTYPE_F32, T, (size_t)c->choices.experts_used);
        want(p, AT(router_low), dtype, T, E);
    }
#undef AT
}

/* How many layers' activations there are at a time. */
static int layer_sets(const struct model_config *c, enum keep keep)
{
    return keep == KEEP_ALL ? c->layers : 1;
}

/* ws NULL: only count. */
static void plan_all(struct plan *p, struct workspace *ws, const struct model_config *c, enum dtype dtype, int T, enum keep keep)
{
    const struct choices *h = &c->choices;
    size_t C = (size_t)c->width, F = (size_t)c->ffn, q = (size_t)c->heads * (size_t)c->head_size;
    bool scaled = h->residual_scale && h->residual_scale != 1, after = h->place != NORM_BEFORE;
    int sets = layer_sets(c, keep), streams = keep ? c->layers + 1 : 1;
#define AT(field) (ws ? &ws->field : NULL)
    for (int l = 0; l < streams; l++)
        want(p, AT(x[l]), DTYPE_F32, T, C);
    for (int l = 0; l < sets; l++)
        plan_layer(p, AT(layer[l]), c, dtype, T, keep);
    want(p, AT(normed), dtype, T, C);
    want(p, AT(h), dtype, T, F);
    want(p, AT(hidden), dtype, T, C);
    want(p, AT(rstd), DTYPE_F32, T, h->norm == NORM_LAYER ? 2 : 1);
    if (h->parallel)
        want(p, AT(normed2), dtype, T, C);
    if (scaled || after || h->positions)
        want(p, AT(branch), DTYPE_F32, T, C);
    if (h->experts)
        plan_experts(p, ws, c, dtype, T, keep);
    if (!keep)
        return;
    want(p, AT(dx), DTYPE_F32, T, C);
    want(p, AT(dnorm), DTYPE_F32, T, C);
    want(p, AT(dqkv), DTYPE_F32, T, (size_t)qkv_rows(c));
    want(p, AT(datt), dtype, T, q);
    want(p, AT(dh), dtype, T, F);
    want(p, AT(dgate_up), dtype, T, (size_t)up_rows(c));
    if (scaled || after || h->parallel)
        want(p, AT(dbranch), DTYPE_F32, T, C);
    if (dtype != DTYPE_F32) {
        want(p, AT(dy), dtype, T, C);
        want(p, AT(dqkv_low), dtype, T, (size_t)qkv_rows(c));
    }
#undef AT
}

size_t workspace_bytes(const struct model_config *c, enum dtype dtype, int max_tokens, enum keep keep)
{
    struct plan p = {0};
    plan_all(&p, NULL, c, dtype, max_tokens, keep);
    return p.bytes;
}

/* Host lists of a mixture of experts; false without memory. */
static bool expert_lists(struct workspace *ws, const struct model_config *c, int sets)
{
    size_t E = (size_t)c->choices.experts, T = (size_t)ws->max_tokens;
    bool ok = true;
    if (!E)
        return true;
    ws->slot = mem_alloc(T, sizeof *ws->slot);
    ws->slot_row = mem_alloc(T, sizeof *ws->slot_row);
    ws->prob_sum = mem_alloc(E, sizeof *ws->prob_sum);
    ws->chosen = mem_alloc(E, sizeof *ws->chosen);
    ws->dprob = mem_alloc(E, sizeof *ws->dprob);
    for (int l = 0; l < sets; l++)
        ok &= (ws->layer[l].expert = mem_alloc(T * (size_t)c->choices.experts_used, sizeof(int))) != NULL;
    return ok && ws->slot && ws->slot_row && ws->prob_sum && ws->chosen && ws->dprob;
}

int workspace_new(struct workspace **out, const struct model *m, int max_tokens, enum keep keep, struct err *err)
{
    const struct model_config *c = &m->config;
    if (max_tokens < 1)
        return err_set(err, ERR_VALUE, "a workspace for %d tokens", max_tokens);
    struct workspace *ws = mem_alloc(1, sizeof *ws);
    if (!ws)
        return err_set(err, ERR_MEMORY, "a workspace for %d tokens", max_tokens);
    int sets = layer_sets(c, keep);
    ws->config = c;
    ws->dtype = m->dtype;
    ws->max_tokens = max_tokens;
    ws->keep = keep;
    ws->x = mem_alloc((size_t)c->layers + 1, sizeof *ws->x);
    ws->layer = mem_alloc((size_t)sets, sizeof *ws->layer);
    ws->position = mem_alloc((size_t)max_tokens, sizeof *ws->position);
    ws->identity = mem_alloc((size_t)max_tokens, sizeof *ws->identity);

    struct plan p = {.dev = m->dev, .err = err};
    device_purpose(m->dev, "activations");
    if (!ws->x || !ws->layer || !ws->position || !ws->identity || !expert_lists(ws, c, sets))
        p.rc = err_set(err, ERR_MEMORY, "a workspace for %d tokens", max_tokens);
    else
        plan_all(&p, ws, c, m->dtype, max_tokens, keep);
    if (p.rc) {
        workspace_free(ws);
        return err_prefix(err, "activations of %d tokens", max_tokens);
    }
    for (int i = 0; i < max_tokens; i++)
        ws->identity[i] = i;
    workspace_adapter(ws, m);
    *out = ws;
    return 0;
}

void workspace_prepare(struct workspace *ws, const struct model *m, int items)
{
    device_purpose(m->dev, "activations");
    workspace_adapter(ws, m);
    if (!m->scalar && items)
        op_head_prepare((struct weight *)model_head(m), items, ws->keep);
    // of the head op_head_prepare decides; rows of an embedding are only looked up
    for (int i = 0; ws->keep && i < m->n_params; i++)
        if (m->param[i].packed && i != param_embed() && i != param_head(m))
            weight_prepare_backward(m->param[i].packed);
}

static void layer_release(struct layer_acts *a)
{
    struct tensor *all[] = {&a->x_mid, &a->rstd1, &a->rstd2, &a->qkv, &a->att, &a->lse, &a->gate_up, &a->raw, &a->q_rstd,
                            &a->k_rstd, &a->branch1, &a->branch2, &a->post_rstd1, &a->post_rstd2, &a->prob,
                            &a->expert_weight, &a->ex_gate_up, &a->ex_out};
    free(a->expert);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        tensor_release(all[i]);
}

void workspace_free(struct workspace *ws)
{
    if (!ws)
        return;
    struct tensor *all[] = {&ws->normed, &ws->h, &ws->hidden, &ws->rstd, &ws->dx, &ws->dnorm, &ws->dqkv, &ws->dy,
                            &ws->dqkv_low, &ws->datt, &ws->dh, &ws->dgate_up, &ws->normed2, &ws->branch, &ws->router,
                            &ws->ex_in, &ws->lora_h, &ws->lora_dh, &ws->lora_dw, &ws->lora_rows, &ws->lora_x, &ws->lora_dx, &ws->lora_dhead, &ws->dbranch, &ws->ex_dout, &ws->ex_din, &ws->dweight,
                            &ws->router_low};
    int sets = layer_sets(ws->config, ws->keep);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        tensor_release(all[i]);
    for (int l = 0; ws->x && l <= ws->config->layers; l++)
        tensor_release(&ws->x[l]);
    for (int l = 0; ws->layer && l < sets; l++)
        layer_release(&ws->layer[l]);
    void *lists[] = {ws->x, ws->layer, ws->position, ws->run, ws->tree, ws->order, ws->keys, ws->identity, ws->item,
                     ws->item_from, ws->number, ws->slot, ws->slot_row, ws->prob_sum, ws->chosen, ws->dprob};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        free(lists[i]);
    free(ws);
}

/* ---- a forest as attention runs --------------------------------------------------------- */

/* The lists below are a few bytes per token and grow to the largest batch seen; a model's forward pass has nobody to
 * tell that they did not. */
static void *list_grow(void *p, size_t *cap, size_t need, size_t size)
{
    if (p && need <= *cap)
        return p;
    size_t want_n = need + need / 2 + 16;
    void *q = realloc(p, want_n * size);
    if (!q)
        mem_die("lists of %zu entries", want_n);
    *cap = want_n;
    return q;
}

void workspace_lists(struct workspace *ws, size_t runs, size_t keys)
{
    if (runs > ws->run_cap) {
        size_t cap = ws->run_cap, same = cap, again = cap;
        ws->run = list_grow(ws->run, &cap, runs, sizeof *ws->run);
        ws->tree = list_grow(ws->tree, &same, runs, sizeof *ws->tree);
        ws->order = list_grow(ws->order, &again, runs, sizeof *ws->order);
        ws->run_cap = cap;
    }
    ws->keys = list_grow(ws->keys, &ws->keys_cap, keys, sizeof *ws->keys);
}

/* Puts runs into the order of their trees and numbers those 0,1,..: order[] lists segments, stable. */
int workspace_order(struct workspace *ws, int n)
{
    int trees = 0, *count = ws->order;
    for (int i = 0; i < n; i++)
        if (ws->tree[i] == i)
            count[i] = trees++;
    for (int i = 0; i < n; i++)
        ws->tree[i] = count[ws->tree[i]];
    bool sorted = true;
    for (int i = 1; i < n; i++)
        sorted &= ws->tree[i - 1] <= ws->tree[i];
    for (int i = 0; i < n; i++)
        ws->order[i] = i;
    for (int t = 0, at = 0; !sorted && t < trees; t++)
        for (int i = 0; i < n; i++)
            if (ws->tree[i] == t)
                ws->order[at++] = i;
    return trees;
}

void workspace_set_forest(struct workspace *ws, const struct forest *f)
{
    size_t keys = 0;
    int n = 0;
    for (int i = 0; i < f->n; i++)
        if (f->seg[i].parent >= 0)
            keys += (size_t)f->seg[i].position + (size_t)f->seg[i].len;
    workspace_lists(ws, (size_t)f->n, keys);
    for (int i = 0; i < f->n; i++) {
        const struct segment *s = &f->seg[i];
        BUG_IF(s->parent >= i || s->start + s->len > f->tokens.n);
        ws->tree[i] = s->parent >= 0 ? ws->tree[s->parent] : i;
        for (int t = 0; t < s->len; t++)
            ws->position[s->start + t] = s->position + t;
    }
    workspace_order(ws, f->n);

    int *next = ws->keys;
    for (int o = 0; o < f->n; o++) {
        int i = ws->order[o], end = f->seg[i].position + f->seg[i].len;
        const struct segment *s = &f->seg[i];
        const int *list = ws->identity + s->start;      // a root's keys are its own rows
        if (s->parent >= 0) {
            list = next;
            for (int p = i; p >= 0; p = f->seg[p].parent)
                for (int t = 0; t < f->seg[p].len; t++)
                    next[f->seg[p].position + t] = f->seg[p].start + t;
            next += end;
        }
        if (s->len)
            ws->run[n++] = (struct attn_run){s->start, s->len, s->position, ws->tree[i], list};
    }
    // empty segments were left out: trees of nothing but those leave gaps in the numbers
    for (int i = 0, tree = -1, last = -1; i < n; i++) {
        if (ws->run[i].tree != last)
            tree++;
        last = ws->run[i].tree;
        ws->run[i].tree = tree;
    }
    ws->attention.n = n;
    ws->attention.run = ws->run;
}

/* ---- items in row order -------------------------------------------------------------------- */

/* qsort_r's comparison over indices; ties keep the caller's order. */
static int by_row(const void *a, const void *b, void *items)
{
    const struct head_item *item = items;
    int x = *(const int *)a, y = *(const int *)b;
    if (item[x].row != item[y].row)
        return item[x].row < item[y].row ? -1 : 1;
    return x < y ? -1 : 1;
}

/* Heads want items sorted by row.  Returns item itself when it is, else a sorted copy with item_from telling where
 * each came from. */
const struct head_item *workspace_sort_items(struct workspace *ws, const struct head_item *item, int n, bool *moved)
{
    *moved = false;
    for (int i = 1; i < n && !*moved; i++)
        *moved = item[i - 1].row > item[i].row;
    if (!*moved)
        return item;
    ws->item = list_grow(ws->item, &ws->item_cap, (size_t)n, sizeof *ws->item);
    ws->item_from = list_grow(ws->item_from, &ws->item_from_cap, (size_t)n, sizeof *ws->item_from);
    ws->number = list_grow(ws->number, &ws->number_cap, 4 * (size_t)n, sizeof *ws->number);
    for (int i = 0; i < n; i++)
        ws->item_from[i] = i;
    qsort_r(ws->item_from, (size_t)n, sizeof *ws->item_from, by_row, (void *)item);
    for (int i = 0; i < n; i++)
        ws->item[i] = item[ws->item_from[i]];
    return ws->item;
}
