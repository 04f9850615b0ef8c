/* model/transformer/context.c - a KV cache and the sequences in it.
 *
 * The cache is a tensor of keys and one of values, (slots, KD), per layer; a slot holds one token.  A node is a segment: it owns the
 * slots of its own tokens and knows, in `keys`, the slot of every position from the sequence's start, so
 * attention over it needs no walk.  A node lives as long as its handle or a child does:
 *
 *     extend -> node (1 reference: the handle) -> children (1 each) -> drop (handle) -> last child gone: slots free
 *
 * Long calls run in chunks of rows, so that activations stay small; results do not depend on the chunks.
 * Left out: moving nodes to make room, and evicting by age; the caller drops what it no longer needs. */
#include "model/transformer/transformer.h"

enum { CHUNK = 2048, NO_NODE = -1 };

struct node {
    int parent, root, refs;     // refs 0: unused entry
    int position, len;          // of its own tokens
    int reserved;               // slots taken for tokens to come
    int *keys; size_t cap;      // (position+len+reserved) slots
    bool handle;                // the caller still holds it
};

struct context {
    const struct model *model;
    struct workspace *ws;
    int slots, n_free, *free_slot;  // a stack: lowest slots on top
    struct tensor *k, *v;       // (layers) (slots, KD): apart, so that a sequence's keys lie in one piece (read 25 % faster)
    struct node *node; int n_nodes; size_t node_cap;
    int n_spare, *spare; size_t spare_cap;  // unused entries of node
    struct tensor hidden;       // (hidden_rows, C) of the last extend
    int hidden_rows, n_rows;
    int *slot, *position; size_t slot_cap, position_cap;    // of the rows of a call
};

void context_free(struct context *c)
{
    if (!c)
        return;
    for (int l = 0; c->k && c->v && l < c->model->config.layers; l++) {
        tensor_release(&c->k[l]);
        tensor_release(&c->v[l]);
    }
    for (int i = 0; i < c->n_nodes; i++)
        free(c->node[i].keys);
    tensor_release(&c->hidden);
    workspace_free(c->ws);
    free(c->k);
    free(c->v);
    free(c->free_slot);
    free(c->node);
    free(c->spare);
    free(c->slot);
    free(c->position);
    free(c);
}

int context_new(struct context **out, const struct model *m, int slots, struct err *err)
{
    const struct model_config *cfg = &m->config;
    if (slots < 1)
        return err_set(err, ERR_VALUE, "a cache of %d tokens", slots);
    struct context *c = mem_alloc(1, sizeof *c);
    int rc = 0;
    if (!c)
        return err_set(err, ERR_MEMORY, "a cache of %d tokens", slots);
    c->model = m;
    c->slots = c->n_free = slots;
    c->k = mem_alloc((size_t)cfg->layers, sizeof *c->k);
    c->v = mem_alloc((size_t)cfg->layers, sizeof *c->v);
    c->free_slot = mem_alloc((size_t)slots, sizeof *c->free_slot);
    if (!c->k || !c->v || !c->free_slot)
        rc = err_set(err, ERR_MEMORY, "a cache of %d tokens", slots);
    for (int i = 0; rc == 0 && i < slots; i++)
        c->free_slot[i] = slots - 1 - i;
    for (int l = 0; rc == 0 && l < cfg->layers; l++) {
        rc = tensor_new(&c->k[l], m->dev, m->dtype, slots, cfg->kv_heads * cfg->head_size, err);
        if (rc == 0)
            rc = tensor_new(&c->v[l], m->dev, m->dtype, slots, cfg->kv_heads * cfg->head_size, err);
    }
    if (rc == 0)
        rc = workspace_new(&c->ws, m, slots < CHUNK ? slots : CHUNK, false, err);
    if (rc == 0)
        *out = c;
    else
        context_free(c);
    return rc;
}

/* ---- nodes ---------------------------------------------------------------------------- */

static void node_unref(struct context *c, int i)
{
    while (i >= 0 && --c->node[i].refs == 0) {
        struct node *n = &c->node[i];
        for (int t = n->len + n->reserved - 1; t >= 0; t--)
            c->free_slot[c->n_free++] = n->keys[n->position + t];
        n->len = n->reserved = 0;
        c->spare[c->n_spare++] = i;     // has room: spare grows with node
        i = n->parent;
    }
}

/* An entry for a new node; its keys' memory is that of an earlier one. */
static int node_new(struct context *c, struct err *err)
{
    if (c->n_spare)
        return c->spare[--c->n_spare];
    struct node *node = mem_grow(c->node, &c->node_cap, (size_t)c->n_nodes + 1, sizeof *node);
    if (node)
        c->node = node;
    int *spare = mem_grow(c->spare, &c->spare_cap, (size_t)c->n_nodes + 1, sizeof *spare);
    if (spare)
        c->spare = spare;
    if (!node || !spare)
        return err_set(err, ERR_MEMORY, "a cache of %d sequences", c->n_nodes + 1);
    return c->n_nodes++;
}

static int node_reserve(struct node *n, int positions, struct err *err)
{
    int *keys = mem_grow(n->keys, &n->cap, (size_t)positions + 1, sizeof *keys);
    if (!keys)
        return err_set(err, ERR_MEMORY, "a sequence of %d tokens", positions);
    n->keys = keys;
    return 0;
}

static bool is_handle(const struct context *c, int h)
{
    return h >= 0 && h < c->n_nodes && c->node[h].refs > 0 && c->node[h].handle;
}

void context_drop(struct context *c, int handle)
{
    BUG_IF(!is_handle(c, handle));
    c->node[handle].handle = false;
    node_unref(c, handle);
}

/* Makes the node of segment s under parent node (NO_NODE: none) and takes slots for its tokens. */
static int add_node(struct context *c, int parent, int len, struct err *err)
{
    int i = node_new(c, err);
    if (i < 0)
        return i;
    struct node *n = &c->node[i], *up = parent >= 0 ? &c->node[parent] : NULL;
    int position = up ? up->position + up->len : 0;
    int rc = node_reserve(n, position + len, err);
    if (rc) {
        n->refs = n->len = n->reserved = 0;
        c->spare[c->n_spare++] = i;
        return rc;
    }
    if (up && position)
        memcpy(n->keys, up->keys, (size_t)position * sizeof *n->keys);
    for (int t = 0; t < len; t++)
        n->keys[position + t] = c->free_slot[--c->n_free];
    if (up)
        up->refs++;
    n->parent = parent;
    n->root = up ? up->root : i;
    n->refs = 1;
    n->position = position;
    n->len = len;
    n->reserved = 0;
    n->handle = true;
    return i;
}

/* ---- running rows ------------------------------------------------------------------------ */

static int by_root(const void *a, const void *b, void *arg)
{
    const struct attn_run *x = a, *y = b;
    (void)arg;
    if (x->tree != y->tree)
        return x->tree < y->tree ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Trees are the roots' nodes until here; they become 0,1,.. in order. */
static void number_trees(struct attn_run *run, int n)
{
    bool sorted = true;
    for (int i = 1; i < n; i++)
        sorted &= run[i - 1].tree <= run[i].tree;
    if (!sorted)
        qsort_r(run, (size_t)n, sizeof *run, by_root, NULL);
    for (int i = 0, tree = -1, last = -1; i < n; i++) {
        tree += run[i].tree != last;
        last = run[i].tree;
        run[i].tree = tree;
    }
}

/* Rows first .. first+n-1 of a call whose segments became nodes[]: a run per segment that has rows here. */
static void chunk_runs(struct context *c, const struct forest *f, const int *nodes, int first, int n)
{
    struct workspace *ws = c->ws;
    int runs = 0;
    for (int i = 0; i < f->n; i++) {
        const struct segment *s = &f->seg[i];
        int from = s->start > first ? s->start : first, to = s->start + s->len;
        to = to < first + n ? to : first + n;
        if (from >= to)
            continue;
        const struct node *nd = &c->node[nodes[i]];
        ws->run[runs++] = (struct attn_run){from - first, to - from, nd->position + from - s->start, nd->root, nd->keys};
    }
    number_trees(ws->run, runs);
    ws->attention.n = runs;
    ws->attention.run = ws->run;
}

static int prepare(struct context *c, int rows, int runs, struct err *err)
{
    int *slot = mem_grow(c->slot, &c->slot_cap, (size_t)rows + 1, sizeof *slot);
    if (slot)
        c->slot = slot;
    int *position = mem_grow(c->position, &c->position_cap, (size_t)rows + 1, sizeof *position);
    if (position)
        c->position = position;
    if (!slot || !position)
        return err_set(err, ERR_MEMORY, "%d tokens for the cache", rows);
    workspace_lists(c->ws, (size_t)runs, 0);
    if (rows > c->hidden_rows) {
        struct tensor t;
        int rc = tensor_new(&t, c->model->dev, c->model->dtype, rows, c->model->config.width, err);
        if (rc)
            return rc;
        tensor_release(&c->hidden);
        c->hidden = t;
        c->hidden_rows = rows;
    }
    return 0;
}

static void run_rows(struct context *c, const struct forest *f, const int *nodes)
{
    struct workspace *ws = c->ws;
    for (int i = 0; i < f->n; i++) {
        const struct segment *s = &f->seg[i];
        const struct node *nd = &c->node[nodes[i]];
        for (int t = 0; t < s->len; t++) {
            c->position[s->start + t] = nd->position + t;
            c->slot[s->start + t] = nd->keys[nd->position + t];
        }
    }
    for (int first = 0; first < f->tokens.n; first += ws->max_tokens) {
        int n = f->tokens.n - first < ws->max_tokens ? f->tokens.n - first : ws->max_tokens;
        struct tensor hidden = tensor_rows(&c->hidden, first, n);
        struct kv_cache cache = {c->k, c->v, c->slot + first};
        chunk_runs(c, f, nodes, first, n);
        memcpy(ws->position, c->position + first, (size_t)n * sizeof *ws->position);
        transformer_forward(ws, c->model, f->tokens.id + first, n, &hidden, &cache);
    }
    c->n_rows = f->tokens.n;
}

int context_extend(struct context *c, const struct forest *f, int *handles, struct err *err)
{
    PROFILE("forward, cached");
    int rc = 0, made = 0;
    if (f->tokens.n > c->n_free)
        return err_set(err, ERR_MEMORY, "the cache holds %d tokens and has room for %d more; %d are wanted", c->slots,
                       c->n_free, f->tokens.n);
    rc = prepare(c, f->tokens.n, f->n, err);
    for (int i = 0; rc == 0 && i < f->n; i++) {
        int p = f->seg[i].parent, parent = NO_NODE;
        BUG_IF(p >= i || (p < 0 && p != CONTEXT_ROOT && !is_handle(c, ~p)));
        if (p != CONTEXT_ROOT)
            parent = p >= 0 ? handles[p] : ~p;
        handles[i] = add_node(c, parent, f->seg[i].len, err);
        if (handles[i] < 0)
            rc = handles[i];
        else
            made++;
    }
    if (rc) {
        while (made)
            context_drop(c, handles[--made]);
        return rc;
    }
    run_rows(c, f, handles);
    return 0;
}

void context_logp(struct context *c, float *logp, float *entropy, float *lse, const struct head_item *item, int n,
                  float temperature)
{
    struct tensor hidden = tensor_rows(&c->hidden, 0, c->n_rows);
    head_logp(c->ws, c->model, &hidden, logp, entropy, lse, item, n, temperature);
}

void context_hidden_row(const struct context *c, int row, struct tensor *dst, int to)
{
    BUG_IF(row < 0 || row >= c->n_rows);
    struct tensor at = tensor_rows(dst, to, 1);
    op_gather_rows(&at, &c->hidden, &row, 1);
}

/* ---- one token at a time ------------------------------------------------------------------ */

/* The slots are taken at once: one sequence's tokens then lie side by side in the cache, where taking a slot for each of
 * 32 sequences in turn would spread them over 32 times as many pages. */
int context_reserve(struct context *c, int handle, int n, struct err *err)
{
    BUG_IF(!is_handle(c, handle));
    struct node *nd = &c->node[handle];
    int end = nd->position + nd->len + nd->reserved;
    if (n > c->n_free)
        return err_set(err, ERR_MEMORY, "the cache holds %d tokens and has room for %d more; %d are wanted", c->slots,
                       c->n_free, n);
    int rc = node_reserve(nd, end + n, err);
    for (int i = 0; rc == 0 && i < n; i++)
        nd->keys[end + i] = c->free_slot[--c->n_free];
    if (rc == 0)
        nd->reserved += n;
    return rc;
}

void context_trim(struct context *c, int handle, int n)
{
    BUG_IF(!is_handle(c, handle) || c->node[handle].refs != 1 || n < 0);
    struct node *nd = &c->node[handle];
    int end = nd->len + nd->reserved;
    nd->len = n < nd->len ? n : nd->len;
    nd->reserved = 0;
    for (int t = end - 1; t >= nd->len; t--)
        c->free_slot[c->n_free++] = nd->keys[nd->position + t];
}

int context_append(struct context *c, const int *handle, const int *id, int n, struct tensor *hidden, struct err *err)
{
    PROFILE("one token each");
    struct workspace *ws = c->ws;
    BUG_IF(n > ws->max_tokens);
    int rc = prepare(c, n, n, err);
    if (rc)
        return rc;
    for (int i = 0; i < n; i++) {
        BUG_IF(!is_handle(c, handle[i]) || c->node[handle[i]].refs != 1);
        struct node *nd = &c->node[handle[i]];
        int position = nd->position + nd->len;
        BUG_IF(!nd->reserved);
        c->slot[i] = nd->keys[position];
        nd->len++;
        nd->reserved--;
        ws->position[i] = position;
        ws->run[i] = (struct attn_run){i, 1, position, nd->root, nd->keys};
    }
    number_trees(ws->run, n);
    ws->attention.n = n;
    ws->attention.run = ws->run;
    struct kv_cache cache = {c->k, c->v, c->slot};
    transformer_forward(ws, c->model, id, n, hidden, &cache);
    c->n_rows = 0;      // what extend left is gone
    return 0;
}
