/* model/family/tensors.c - from a config to its parameters, and to the tensors a checkpoint of it has. */
#include "model/family/family.h"

/* ---- parameters -------------------------------------------------------------------------- */

static void list_layer(struct layout *at, const struct choices *h)
{
    bool before = h->place != NORM_AFTER, after = h->place != NORM_BEFORE, ln = h->norm == NORM_LAYER;
    bool mlp = !h->experts;
    const bool has[LAYER_PARAMS] = {
        [PARAM_NORM1] = before,
        [PARAM_NORM1_BIAS] = before && ln,
        [PARAM_QKV] = true,
        [PARAM_QKV_BIAS] = h->qkv_bias,
        [PARAM_Q_NORM] = h->qk_norm != QK_NORM_NONE,
        [PARAM_K_NORM] = h->qk_norm != QK_NORM_NONE,
        [PARAM_OUT] = true,
        [PARAM_OUT_BIAS] = h->out_bias,
        [PARAM_POST1] = after,
        [PARAM_NORM2] = before,
        [PARAM_NORM2_BIAS] = before && ln,
        [PARAM_GATE_UP] = mlp,
        [PARAM_GATE_UP_BIAS] = mlp && h->mlp_bias,
        [PARAM_DOWN] = mlp,
        [PARAM_DOWN_BIAS] = mlp && h->mlp_bias,
        [PARAM_POST2] = after,
        [PARAM_ROUTER] = !mlp,
    };
    for (int p = 0; p < LAYER_PARAMS; p++)
        at->at[p] = has[p] ? at->per_layer++ : -1;
    at->experts = mlp ? -1 : at->per_layer;
    at->per_layer += 2 * h->experts;
}

struct layout layout_of(const struct model_config *c, bool scalar)
{
    const struct choices *h = &c->choices;
    struct layout at = {.positions = h->positions ? 1 : -1, .first_layer = 1 + (h->positions != 0)};
    list_layer(&at, h);
    at.n = at.first_layer + c->layers * at.per_layer;
    at.final_norm = at.n++;
    at.final_bias = h->norm == NORM_LAYER ? at.n++ : -1;
    at.head = c->tied && !scalar ? 0 : at.n++;
    return at;
}

static bool layer_shape(const struct layout *at, const struct model_config *c, int i, int *rows, int *cols)
{
    const struct choices *h = &c->choices;
    int q = c->heads * c->head_size, kv = c->kv_heads * c->head_size, up = (h->plain_mlp ? 1 : 2) * c->ffn;
    bool each = h->qk_norm == QK_NORM_HEAD;
    const struct { int rows, cols; } shape[LAYER_PARAMS] = {
        [PARAM_NORM1] = {0, c->width},
        [PARAM_NORM1_BIAS] = {0, c->width},
        [PARAM_QKV] = {q + 2 * kv, c->width},
        [PARAM_QKV_BIAS] = {0, q + 2 * kv},
        [PARAM_Q_NORM] = {0, each ? c->head_size : q},
        [PARAM_K_NORM] = {0, each ? c->head_size : kv},
        [PARAM_OUT] = {c->width, q},
        [PARAM_OUT_BIAS] = {0, c->width},
        [PARAM_POST1] = {0, c->width},
        [PARAM_NORM2] = {0, c->width},
        [PARAM_NORM2_BIAS] = {0, c->width},
        [PARAM_GATE_UP] = {up, c->width},
        [PARAM_GATE_UP_BIAS] = {0, up},
        [PARAM_DOWN] = {c->width, c->ffn},
        [PARAM_DOWN_BIAS] = {0, c->width},
        [PARAM_POST2] = {0, c->width},
        [PARAM_ROUTER] = {h->experts, c->width},
    };
    if (at->experts >= 0 && i >= at->experts) {
        bool down = (i - at->experts) % 2;
        *rows = down ? c->width : 2 * c->ffn;
        *cols = down ? c->ffn : c->width;
        return true;
    }
    for (int p = 0; p < LAYER_PARAMS; p++)
        if (at->at[p] == i) {
            *rows = shape[p].rows ? shape[p].rows : 1;
            *cols = shape[p].cols;
            return shape[p].rows != 0;
        }
    BUG("parameter %d of a layer of %d", i, at->per_layer);
}

bool layout_shape(const struct layout *at, const struct model_config *c, bool scalar, int i, int *rows, int *cols)
{
    if (i >= at->first_layer && i < at->final_norm)
        return layer_shape(at, c, (i - at->first_layer) % at->per_layer, rows, cols);
    *cols = c->width;
    *rows = i == 0 ? c->vocab : i == at->positions ? c->choices.positions : i == at->head && !scalar ? c->vocab : 1;
    return i != at->final_norm && i != at->final_bias;
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* Where a part lies: its parameter (of a layer) and its share of the rows. */
static const struct {
    int weight, bias;           // enum layer_param; -1: none
    const char *gguf;
} PART[PARTS] = {
    [PART_EMBED] = {-1, -1, "token_embd"},
    [PART_POSITIONS] = {-1, -1, "position_embd"},
    [PART_NORM1] = {PARAM_NORM1, PARAM_NORM1_BIAS, "blk.%d.attn_norm"},
    [PART_Q] = {PARAM_QKV, PARAM_QKV_BIAS, "blk.%d.attn_q"},
    [PART_K] = {PARAM_QKV, PARAM_QKV_BIAS, "blk.%d.attn_k"},
    [PART_V] = {PARAM_QKV, PARAM_QKV_BIAS, "blk.%d.attn_v"},
    [PART_QKV] = {PARAM_QKV, PARAM_QKV_BIAS, "blk.%d.attn_qkv"},
    [PART_Q_NORM] = {PARAM_Q_NORM, -1, "blk.%d.attn_q_norm"},
    [PART_K_NORM] = {PARAM_K_NORM, -1, "blk.%d.attn_k_norm"},
    [PART_OUT] = {PARAM_OUT, PARAM_OUT_BIAS, "blk.%d.attn_output"},
    [PART_POST1] = {PARAM_POST1, -1, "blk.%d.post_attention_norm"},
    [PART_NORM2] = {PARAM_NORM2, PARAM_NORM2_BIAS, "blk.%d.ffn_norm"},
    [PART_GATE] = {PARAM_GATE_UP, PARAM_GATE_UP_BIAS, "blk.%d.ffn_gate"},
    [PART_UP] = {PARAM_GATE_UP, PARAM_GATE_UP_BIAS, "blk.%d.ffn_up"},
    [PART_GATE_UP] = {PARAM_GATE_UP, PARAM_GATE_UP_BIAS, "blk.%d.ffn_up"},
    [PART_DOWN] = {PARAM_DOWN, PARAM_DOWN_BIAS, "blk.%d.ffn_down"},
    [PART_POST2] = {PARAM_POST2, -1, "blk.%d.post_ffw_norm"},
    [PART_ROUTER] = {PARAM_ROUTER, -1, "blk.%d.ffn_gate_inp"},
    [PART_EXPERT_GATE] = {-1, -1, "blk.%d.ffn_gate_exps"},
    [PART_EXPERT_UP] = {-1, -1, "blk.%d.ffn_up_exps"},
    [PART_EXPERT_DOWN] = {-1, -1, "blk.%d.ffn_down_exps"},
    [PART_FINAL_NORM] = {-1, -1, "output_norm"},
    [PART_HEAD] = {-1, -1, "output"},
    [PART_SCORE] = {-1, -1, "cls.output"},
};

const char *part_gguf(enum part part)
{
    return PART[part].gguf;
}

struct maker {
    const struct model_config *c;
    struct layout at;
    bool scalar;
    struct tensor_spec *t;
    int n;
};

static bool is_expert(enum part part)
{
    return part == PART_EXPERT_GATE || part == PART_EXPERT_UP || part == PART_EXPERT_DOWN;
}

static bool is_norm(enum part part)
{
    return part == PART_NORM1 || part == PART_NORM2 || part == PART_POST1 || part == PART_POST2 || part == PART_Q_NORM ||
           part == PART_K_NORM || part == PART_FINAL_NORM;
}

/* Rows of the parameter that the part is: the first, and how many; 0: all of them. */
static int share(const struct model_config *c, enum part part, int *first)
{
    int q = c->heads * c->head_size, kv = c->kv_heads * c->head_size;
    *first = part == PART_K ? q : part == PART_V ? q + kv : 0;
    if (part == PART_UP || part == PART_EXPERT_UP)
        *first = c->choices.plain_mlp ? 0 : c->ffn;
    switch (part) {
    case PART_Q:
        return q;
    case PART_K:
    case PART_V:
        return kv;
    case PART_GATE:
    case PART_UP:
    case PART_EXPERT_GATE:
    case PART_EXPERT_UP:
        return c->ffn;
    default:
        return 0;
    }
}

static void add(struct maker *k, const struct part_name *p, int layer, int expert, bool bias, int param)
{
    struct tensor_spec *t = &k->t[k->n++];
    char name[100];
    int rows, cols;
    bool matrix = layout_shape(&k->at, k->c, k->scalar, param, &rows, &cols);
    *t = (struct tensor_spec){.part = p->part, .bias = bias, .vector = !matrix, .layer = layer, .expert = expert,
                              .param = param, .order = p->order};
    t->offset = is_norm(p->part) && !bias && k->c->choices.norm == NORM_RMS_OFFSET;
    int some = share(k->c, p->part, &t->first);
    t->rows = matrix && some ? some : rows;
    t->cols = !matrix && some ? some : cols;
    if (!matrix && t->order == ORDER_TRANSPOSED)
        t->order = ORDER_SAME;
    snprintf(name, sizeof name, p->hf, layer, expert);
    snprintf(t->name, sizeof t->name, "%s.%s", name, bias ? "bias" : "weight");
}

static void add_layer_part(struct maker *k, const struct part_name *p, int layer)
{
    int base = k->at.first_layer + layer * k->at.per_layer;
    if (is_expert(p->part)) {
        for (int e = 0; e < k->c->choices.experts; e++)
            add(k, p, layer, e, false, base + k->at.experts + 2 * e + (p->part == PART_EXPERT_DOWN));
        return;
    }
    int weight = k->at.at[PART[p->part].weight], bias = PART[p->part].bias >= 0 ? k->at.at[PART[p->part].bias] : -1;
    if (weight >= 0)
        add(k, p, layer, -1, false, base + weight);
    if (weight >= 0 && bias >= 0)
        add(k, p, layer, -1, true, base + bias);
}

static void add_top(struct maker *k, const struct part_name *p)
{
    struct part_name score = {PART_SCORE, *k->c->score_name ? k->c->score_name : "score", ORDER_SAME};
    if (p->part == PART_EMBED)
        add(k, p, -1, -1, false, 0);
    else if (p->part == PART_POSITIONS && k->at.positions >= 0)
        add(k, p, -1, -1, false, k->at.positions);
    else if (p->part == PART_FINAL_NORM) {
        add(k, p, -1, -1, false, k->at.final_norm);
        if (k->at.final_bias >= 0)
            add(k, p, -1, -1, true, k->at.final_bias);
    } else if (p->part == PART_HEAD && k->at.head)
        add(k, k->scalar ? &score : p, -1, -1, false, k->at.head);
}

static bool in_layer(enum part part)
{
    return is_expert(part) || PART[part].weight >= 0;
}

int family_tensors(struct tensor_spec **out, int *n, const struct model_config *c, bool scalar, struct err *err)
{
    const struct part_name *parts = family_of(c)->parts, *p = parts;
    struct maker k = {.c = c, .at = layout_of(c, scalar), .scalar = scalar};
    size_t room = 2 * (size_t)LAYER_PARAMS + 3 * (size_t)c->choices.experts;
    k.t = mem_alloc((size_t)c->layers * room + 8, sizeof *k.t);
    if (!k.t)
        return err_set(err, ERR_MEMORY, "no memory for the tensors of %d layers", c->layers);
    for (; p->hf && !in_layer(p->part); p++)
        add_top(&k, p);
    const struct part_name *first = p;
    for (int l = 0; l < c->layers; l++)
        for (p = first; p->hf && in_layer(p->part); p++)
            add_layer_part(&k, p, l);
    for (; p->hf; p++)
        add_top(&k, p);
    *out = k.t;
    *n = k.n;
    return 0;
}
