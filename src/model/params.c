/* model/params.c - the list of parameters: shapes, Hugging Face names, reading, random starts, packing.
 *
 * A matrix is read in pieces of some rows that stay in the processor's cache on their way into the device. */
#include <math.h>

#include "model/internal.h"

/* ---- the list ------------------------------------------------------------------------ */

static void slice_add(struct model *m, int param, int first, int rows, const char *name)
{
    const struct param *p = &m->param[param];
    struct slice *s = &m->slice[m->n_slices++];
    *s = (struct slice){.param = param, .first = first, .rows = rows, .cols = p->cols, .vector = p->vector};
    snprintf(s->name, sizeof s->name, "%s", name);
}

static void shape(struct model *m, int param, int rows, int cols, bool vector)
{
    m->param[param].rows = rows;
    m->param[param].cols = cols;
    m->param[param].vector = vector;
}

static void list_layer(struct model *m, int layer)
{
    const struct model_config *c = &m->config;
    int q = c->heads * c->head_size, kv = c->kv_heads * c->head_size, base = param_layer(layer, PARAM_NORM1);
    static const struct { enum layer_param which; const char *name; } names[] = {
        {PARAM_NORM1, "input_layernorm"},      {PARAM_QKV, "self_attn.q_proj"},
        {PARAM_QKV, "self_attn.k_proj"},       {PARAM_QKV, "self_attn.v_proj"},
        {PARAM_OUT, "self_attn.o_proj"},       {PARAM_NORM2, "post_attention_layernorm"},
        {PARAM_GATE_UP, "mlp.gate_proj"},      {PARAM_GATE_UP, "mlp.up_proj"},
        {PARAM_DOWN, "mlp.down_proj"},
    };
    int rows[] = {1, q, kv, kv, c->width, 1, c->ffn, c->ffn, c->width};

    shape(m, base + PARAM_NORM1, 1, c->width, true);
    shape(m, base + PARAM_QKV, qkv_rows(c), c->width, false);
    shape(m, base + PARAM_OUT, c->width, q, false);
    shape(m, base + PARAM_NORM2, 1, c->width, true);
    shape(m, base + PARAM_GATE_UP, 2 * c->ffn, c->width, false);
    shape(m, base + PARAM_DOWN, c->width, c->ffn, false);
    for (int i = 0, first = 0, last = -1; i < (int)ARRAY_LEN(names); i++) {
        char name[96];
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, names[i].name);
        if ((int)names[i].which != last)
            first = 0;
        slice_add(m, base + (int)names[i].which, first, rows[i], name);
        first += rows[i];
        last = (int)names[i].which;
    }
}

static bool has_own_head(const struct model *m)
{
    return m->scalar || !m->config.tied;
}

static bool is_matrix(const struct model *m, int i)
{
    if (i == param_embed())
        return !m->scalar && m->config.tied;
    return !m->param[i].vector && !(m->scalar && i == param_head(m));
}

static int allocate(struct model *m, struct err *err)
{
    const struct model_config *c = &m->config;
    int rc = 0;
    for (int i = 0; rc == 0 && i < m->n_params; i++) {
        struct param *p = &m->param[i];
        bool small = p->vector || (m->scalar && i == param_head(m));
        if (small || m->masters)
            rc = tensor_new(&p->value, m->dev, DTYPE_F32, p->rows, p->cols, err);
        if (rc == 0 && is_matrix(m, i) && !(p->packed = weight_new(m->dev, p->rows, p->cols, m->dtype)))
            rc = err_set(err, ERR_MEMORY, "no memory for a matrix of %d x %d", p->rows, p->cols);
    }
    if (rc == 0 && m->masters && m->dtype == DTYPE_F32)
        m->embed = tensor_rows(&m->param[0].value, 0, c->vocab);
    else if (rc == 0)
        rc = tensor_new(&m->embed, m->dev, m->dtype, c->vocab, c->width, err);
    return rc;
}

/* Frequencies as transformers makes them: float arithmetic throughout. */
static void rope_frequencies(struct model *m)
{
    int D = m->config.head_size;
    for (int i = 0; i < D / 2; i++)
        m->inv_freq[i] = 1.0f / powf(m->config.rope_theta, (float)(2 * i) / (float)D);
}

int params_init(struct model *m, struct err *err)
{
    const struct model_config *c = &m->config;
    int L = c->layers;
    m->n_params = 2 + L * PARAMS_PER_LAYER + has_own_head(m);
    m->param = mem_alloc((size_t)m->n_params, sizeof *m->param);
    m->slice = mem_alloc((size_t)L * 9 + 3, sizeof *m->slice);
    m->inv_freq = mem_alloc((size_t)c->head_size / 2 + 1, sizeof *m->inv_freq);
    if (!m->param || !m->slice || !m->inv_freq)
        return err_set(err, ERR_MEMORY, "no memory for the parameters of a model of %d layers", L);

    shape(m, param_embed(), c->vocab, c->width, false);
    slice_add(m, param_embed(), 0, c->vocab, "model.embed_tokens.weight");
    for (int l = 0; l < L; l++)
        list_layer(m, l);
    shape(m, param_final_norm(m), 1, c->width, true);
    slice_add(m, param_final_norm(m), 0, 1, "model.norm.weight");
    if (has_own_head(m)) {
        shape(m, param_head(m), m->scalar ? 1 : c->vocab, c->width, false);
        slice_add(m, param_head(m), 0, m->scalar ? 1 : c->vocab, m->scalar ? "score.weight" : "lm_head.weight");
    }
    rope_frequencies(m);
    return allocate(m, err);
}

void params_release(struct model *m)
{
    for (int i = 0; m->param && i < m->n_params; i++) {
        tensor_release(&m->param[i].value);
        weight_free(m->param[i].packed);
    }
    tensor_release(&m->embed);
    free(m->param);
    free(m->slice);
    free(m->inv_freq);
}

const struct slice *slice_find(const struct model *m, const char *name)
{
    for (int i = 0; i < m->n_slices; i++)
        if (!strcmp(m->slice[i].name, name))
            return &m->slice[i];
    return NULL;
}

/* ---- values ---------------------------------------------------------------------------- */

void param_repack(struct model *m, int i)
{
    struct param *p = &m->param[i];
    if (p->packed)
        weight_load(p->packed, &p->value);
    if (i == param_embed() && m->dtype != DTYPE_F32)
        op_copy(&m->embed, &p->value);
}

/* Reads every slice of parameter i into rows of t, whatever t's dtype. */
static int read_param(struct model *m, int i, struct tensor *t, struct err *err)
{
    enum { PIECE = 1 << 16 };
    const struct param *p = &m->param[i];
    int most = PIECE / p->cols + 1, rc = 0;
    float *piece = malloc((size_t)most * (size_t)p->cols * sizeof *piece);
    if (!piece)
        return err_set(err, ERR_MEMORY, "no memory to read %d rows of %d", most, p->cols);
    for (int s = 0; rc == 0 && s < m->n_slices; s++) {
        const struct slice *sl = &m->slice[s];
        if (sl->param != i)
            continue;
        for (int r = 0; rc == 0 && r < sl->rows; r += most) {
            int n = sl->rows - r < most ? sl->rows - r : most;
            rc = sl->vector ? weights_read(m->file, sl->name, piece, 0, sl->cols, err)
                            : weights_read_rows(m->file, sl->name, piece, sl->rows, sl->cols, r, n, err);
            if (rc == 0)
                tensor_write(t, sl->first + r, n, piece);
        }
    }
    free(piece);
    return rc;
}

/* A scalar head that no file holds: normal, std 1/sqrt(C+1) (Huang et al., N+ implementation details). */
static int random_rows(struct model *m, int i, double std, struct err *err)
{
    struct param *p = &m->param[i];
    struct rng r;
    float *row = malloc((size_t)p->cols * sizeof *row);
    if (!row)
        return err_set(err, ERR_MEMORY, "no memory for a row of %d", p->cols);
    for (int y = 0; y < p->rows; y++) {
        rng_init(&r, m->seed, RNG_INIT, (uint64_t)i, (uint32_t)y);
        for (int x = 0; x < p->cols; x++)
            row[x] = (float)(std * rng_normal(&r));
        tensor_write(&p->value, y, 1, row);
    }
    free(row);
    return 0;
}

/* Without masters a matrix passes through a tensor in the compute dtype, which is let go once packed. */
static int read_through(struct model *m, int i, struct err *err)
{
    struct param *p = &m->param[i];
    struct tensor t;
    int rc;
    if (i == param_embed()) {
        rc = read_param(m, i, &m->embed, err);
        if (rc == 0 && p->packed)
            weight_load(p->packed, &m->embed);
        return rc;
    }
    rc = tensor_new(&t, m->dev, m->dtype, p->rows, p->cols, err);
    if (rc)
        return rc;
    rc = read_param(m, i, &t, err);
    if (rc == 0)
        weight_load(p->packed, &t);
    tensor_release(&t);
    return rc;
}

int params_read(struct model *m, struct err *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < m->n_params; i++) {
        struct param *p = &m->param[i];
        if (m->scalar && i == param_head(m) && m->fresh_head)
            rc = random_rows(m, i, 1 / sqrt(m->config.width + 1.0), err);
        else if (p->value.data) {
            rc = read_param(m, i, &p->value, err);
            if (rc == 0)
                param_repack(m, i);
        } else
            rc = read_through(m, i, err);
    }
    return rc;
}

int params_random(struct model *m, struct err *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < m->n_params; i++) {
        struct param *p = &m->param[i];
        int which = (i - 1) % PARAMS_PER_LAYER;
        bool in_layer = i > 0 && i < param_final_norm(m);
        double std = 0.02;
        if (in_layer && (which == PARAM_OUT || which == PARAM_DOWN))
            std /= sqrt(2.0 * m->config.layers);    // the residual stream's variance stays the same at any depth
        if (m->scalar && i == param_head(m))
            std = 1 / sqrt(m->config.width + 1.0);
        if (!p->vector)
            rc = random_rows(m, i, std, err);
        else {
            float one = 1;
            for (int x = 0; x < p->cols; x++) {
                struct tensor at = tensor_cols(&p->value, x, 1);
                tensor_write(&at, 0, 1, &one);
            }
        }
        if (rc == 0)
            param_repack(m, i);
    }
    return rc;
}
