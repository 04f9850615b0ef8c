/* model/params.c - the list of parameters: shapes, reading, random starts, packing, and the order of values in files.
 *
 * A matrix is read in pieces of some rows that stay in the processor's cache on their way into the device. */
#include <math.h>

#include "model/internal.h"

/* ---- the list ------------------------------------------------------------------------ */

/* Multiplied with: packed for the device. */
static bool is_matrix(const struct model *m, int i)
{
    if (i == param_embed())
        return param_head(m) == param_embed();
    return !m->param[i].vector && i != m->at.positions && !(m->scalar && i == param_head(m));
}

static int allocate(struct model *m, struct err *err)
{
    const struct model_config *c = &m->config;
    int rc = 0;
    for (int i = 0; rc == 0 && i < m->n_params; i++) {
        struct param *p = &m->param[i];
        bool small = p->vector || i == m->at.positions || (m->scalar && i == param_head(m));
        device_purpose(m->dev, small ? "weights" : "fp32 masters");
        if (small || m->masters)
            rc = tensor_new(&p->value, m->dev, DTYPE_F32, p->rows, p->cols, err);
        if (param_in_blocks(m, i))
            m->quantised = true;    // packed while it is read
        else if (rc == 0 && is_matrix(m, i) && !(p->packed = weight_new(m->dev, p->rows, p->cols, m->dtype)))
            rc = err_set(err, ERR_MEMORY, "no memory for a matrix of %d x %d", p->rows, p->cols);
    }
    device_purpose(m->dev, "weights");
    if (rc == 0 && m->masters && m->dtype == DTYPE_F32)
        m->embed = tensor_rows(&m->param[0].value, 0, c->vocab);
    else if (rc == 0 && (m->masters || !m->param[param_embed()].packed) && !param_in_blocks(m, param_embed()))
        rc = tensor_new(&m->embed, m->dev, m->dtype, c->vocab, c->width, err);
    return rc;
}

void param_set_logits(struct model *m)
{
    const struct choices *h = &m->config.choices;
    struct weight *head = m->scalar ? NULL : m->adapter && m->adapter->head ? m->adapter->head : m->param[param_head(m)].packed;
    if (head && (h->logit_divisor || h->logit_softcap))
        weight_set_logits(head, h->logit_divisor ? 1 / h->logit_divisor : 1, h->logit_softcap);
}

int params_init(struct model *m, struct err *err)
{
    const struct model_config *c = &m->config;
    int turned = rope_size(c) / 2;
    m->at = layout_of(c, m->scalar);
    m->n_params = m->at.n;
    m->param = mem_alloc((size_t)m->n_params, sizeof *m->param);
    m->inv_freq = mem_alloc(2 * (size_t)turned + 1, sizeof *m->inv_freq);
    if (!m->param || !m->inv_freq)
        return err_set(err, ERR_MEMORY, "no memory for the parameters of a model of %d layers", c->layers);
    for (int i = 0; i < m->n_params; i++) {
        struct param *p = &m->param[i];
        p->vector = !layout_shape(&m->at, c, m->scalar, i, &p->rows, &p->cols);
    }
    if (c->choices.local_theta > 0)
        rope_frequencies(m->inv_freq + turned, &m->rope_factor, c, true);
    rope_frequencies(m->inv_freq, &m->rope_factor, c, false);
    int rc = family_tensors(&m->slice, &m->n_slices, c, m->scalar, err);
    return rc ? rc : allocate(m, err);
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

const struct tensor_spec *slice_find(const struct model *m, const char *name)
{
    for (int i = 0; i < m->n_slices; i++)
        if (!strcmp(m->slice[i].name, name))
            return &m->slice[i];
    return NULL;
}

/* ---- between a file's order of values and ours --------------------------------------------- */

/* Where row r (of a vector: column) of q, k and v under each other is in a file that keeps each head's three together. */
static int row_by_head(const struct model_config *c, int r)
{
    int D = c->head_size, which = r / (c->heads * D), head = r / D % c->heads;
    return (head * 3 + which) * D + r % D;
}

/* file and ours are rows * cols floats; to_ours: from file into ours, else the other way. */
static void reorder(float *file, float *ours, const struct model_config *c, const struct tensor_spec *s, bool to_ours)
{
    for (int r = 0; r < s->rows; r++)
        for (int x = 0; x < s->cols; x++) {
            size_t a = (size_t)r * (size_t)s->cols + (size_t)x, b = a;
            if (s->order == ORDER_TRANSPOSED)
                b = (size_t)x * (size_t)s->rows + (size_t)r;
            else if (s->order == ORDER_BY_HEAD && s->vector)
                b = (size_t)row_by_head(c, x);
            else if (s->order == ORDER_BY_HEAD)
                b = (size_t)row_by_head(c, r) * (size_t)s->cols + (size_t)x;
            if (to_ours)
                ours[a] = file[b];
            else
                file[b] = ours[a];
        }
}

struct tensor slice_view(const struct tensor *param, const struct tensor_spec *s)
{
    return s->vector ? tensor_cols(param, s->first, s->cols) : tensor_rows(param, s->first, s->rows);
}

int slice_read(float *out, const struct model *m, const struct tensor_spec *s, const struct tensor *param, bool value,
               struct err *err)
{
    struct tensor from = slice_view(param, s);
    size_t n = (size_t)s->rows * (size_t)s->cols;
    if (s->order == ORDER_SAME) {
        tensor_read(out, &from, 0, s->rows);
        for (size_t i = 0; value && s->offset && i < n; i++)
            out[i] -= 1;
        return 0;
    }
    float *ours = malloc(n * sizeof *ours);
    if (!ours)
        return err_set(err, ERR_MEMORY, "no memory for tensor '%s'", s->name);
    tensor_read(ours, &from, 0, s->rows);
    reorder(out, ours, &m->config, s, false);
    free(ours);
    return 0;
}

/* A whole tensor whose order is not ours. */
static int read_reordered(const struct model *m, const struct tensor_spec *s, struct tensor *to, struct err *err)
{
    bool turn = s->order == ORDER_TRANSPOSED;
    size_t n = (size_t)s->rows * (size_t)s->cols;
    float *file = malloc(n * sizeof *file), *ours = malloc(n * sizeof *ours);
    int rc = file && ours ? 0 : err_set(err, ERR_MEMORY, "no memory for tensor '%s'", s->name);
    if (rc == 0)
        rc = weights_read(m->file, s->name, file, s->vector ? 0 : turn ? s->cols : s->rows, turn ? s->rows : s->cols, err);
    if (rc == 0) {
        reorder(file, ours, &m->config, s, true);
        tensor_write(to, 0, s->rows, ours);
    }
    free(file);
    free(ours);
    return rc;
}

/* ---- values ---------------------------------------------------------------------------- */

static void load_scaled(struct param *p)
{
    struct tensor t;
    if (tensor_new(&t, p->value.dev, DTYPE_F32, p->rows, p->cols, NULL))
        mem_die("a scaled matrix of %d x %d", p->rows, p->cols);
    op_copy(&t, &p->value);
    op_scale(&t, p->scale);
    weight_load(p->packed, &t);
    tensor_release(&t);
}

void param_repack(struct model *m, int i)
{
    struct param *p = &m->param[i];
    if (p->packed && p->scale != 0 && p->scale != 1)
        load_scaled(p);
    else if (p->packed)
        weight_load(p->packed, &p->value);
    if (i == param_embed() && m->dtype != DTYPE_F32)
        op_copy(&m->embed, &p->value);
    if (m->adapter && m->adapter->head && i == m->param[param_head(m)].lora->part[0].b)
        adapter_repack_head(m);
}

static int read_slice(const struct model *m, const struct tensor_spec *s, struct tensor *to, float *piece, int most, struct err *err)
{
    int rc = 0;
    if (s->order != ORDER_SAME)
        return read_reordered(m, s, to, err);
    for (int r = 0; rc == 0 && r < s->rows; r += most) {
        int n = s->rows - r < most ? s->rows - r : most;
        rc = s->vector ? weights_read(m->file, s->name, piece, 0, s->cols, err)
                       : weights_read_rows(m->file, s->name, piece, s->rows, s->cols, r, n, err);
        for (int x = 0; rc == 0 && s->offset && x < s->cols; x++)
            piece[x] += 1;
        if (rc == 0)
            tensor_write(to, r, n, piece);
    }
    return rc;
}

/* Reads every slice of parameter i into its part of t, whatever t's dtype. */
static int read_param(const struct model *m, int i, struct tensor *t, struct err *err)
{
    enum { PIECE = 1 << 16 };
    const struct param *p = &m->param[i];
    int most = PIECE / p->cols + 1, rc = 0;
    float *piece = malloc((size_t)most * (size_t)p->cols * sizeof *piece);
    if (!piece)
        return err_set(err, ERR_MEMORY, "no memory to read %d rows of %d", most, p->cols);
    for (int s = 0; rc == 0 && s < m->n_slices; s++)
        if (m->slice[s].param == i) {
            struct tensor to = slice_view(t, &m->slice[s]);
            rc = read_slice(m, &m->slice[s], &to, piece, most, err);
        }
    free(piece);
    return rc;
}

int param_read_own(struct model *m, int i, struct err *err)
{
    int rc = read_param(m, i, &m->param[i].value, err);
    if (rc == 0)
        param_repack(m, i);
    return rc;
}

int param_read_into(const struct model *m, int i, struct tensor *to, struct err *err)
{
    if (!m->param[i].value.data)
        return read_param(m, i, to, err);
    op_copy(to, &m->param[i].value);
    return 0;
}

/* A scalar head that no file holds: normal, std 1/sqrt(C+1) (Huang et al., N+ implementation details). */
int param_random(struct model *m, int i, double std, struct err *err)
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

/* Without masters a matrix passes through `room`, a tensor in the compute dtype that grows as needed: memory that was
 * touched before costs nothing again (a tenth of a second for 135M weights). */
static int read_through(struct model *m, int i, struct tensor *room, struct err *err)
{
    struct param *p = &m->param[i];
    int rc = 0;
    if (i == param_embed() && m->embed.data)     // else its rows are read from what is packed for a tied head
        return read_param(m, i, &m->embed, err);
    if ((size_t)p->rows * (size_t)p->cols > (size_t)room->rows * (size_t)room->cols) {
        tensor_release(room);
        rc = tensor_new(room, m->dev, m->dtype, p->rows, p->cols, err);
        if (rc)
            return rc;
    }
    struct tensor t = tensor_shaped(room, p->rows, p->cols);
    rc = read_param(m, i, &t, err);
    if (rc == 0)
        weight_load(p->packed, &t);
    return rc;
}

/* Or the file would stay in memory beside what was made of it. */
static void forget_param(const struct model *m, int i)
{
    for (int s = 0; s < m->n_slices; s++)
        if (m->slice[s].param == i)
            weights_forget(m->file, m->slice[s].name);
}

int params_read(struct model *m, struct err *err)
{
    struct tensor room = {0};
    int rc = 0;
    bool plan = device_is_plan(m->dev);
    params_say_unpacked(m);
    for (int i = 0; rc == 0 && i < m->n_params; i++) {
        if (plan && !param_in_blocks(m, i))
            continue;
        struct param *p = &m->param[i];
        if (m->scalar && i == param_head(m) && m->fresh_head)
            rc = param_random(m, i, 1 / sqrt(m->config.width + 1.0), err);
        else if (p->value.data) {
            rc = read_param(m, i, &p->value, err);
            if (rc == 0)
                param_repack(m, i);
        } else if (param_in_blocks(m, i))
            rc = param_load_blocks(m, i, err);
        else
            rc = read_through(m, i, &room, err);
        forget_param(m, i);
    }
    tensor_release(&room);
    weights_forget_all(m->file);
    if (rc == 0)
        param_set_logits(m);
    return rc;
}

/* Gains are 1, biases 0. */
static void start_vector(struct model *m, int i)
{
    struct param *p = &m->param[i];
    int layer = (i - m->at.first_layer) % m->at.per_layer;
    bool in_layer = i >= m->at.first_layer && i < param_final_norm(m), bias = i == m->at.final_bias;
    static const enum layer_param biases[] = {PARAM_NORM1_BIAS, PARAM_QKV_BIAS, PARAM_OUT_BIAS, PARAM_NORM2_BIAS,
                                              PARAM_GATE_UP_BIAS, PARAM_DOWN_BIAS};
    for (size_t b = 0; in_layer && b < ARRAY_LEN(biases); b++)
        bias |= m->at.at[biases[b]] == layer;
    float start = bias ? 0 : 1;
    for (int x = 0; x < p->cols; x++) {
        struct tensor at = tensor_cols(&p->value, x, 1);
        tensor_write(&at, 0, 1, &start);
    }
}

/* Matrices whose products enter the residual stream. */
static bool ends_branch(const struct model *m, int i)
{
    int which = (i - m->at.first_layer) % m->at.per_layer, experts = m->at.experts;
    if (i < m->at.first_layer || i >= param_final_norm(m))
        return false;
    return which == m->at.at[PARAM_OUT] || which == m->at.at[PARAM_DOWN] ||
           (experts >= 0 && which >= experts && (which - experts) % 2);
}

int params_random(struct model *m, struct err *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < m->n_params && !device_is_plan(m->dev); i++) {
        double std = 0.02;
        if (ends_branch(m, i))
            std /= sqrt(2.0 * m->config.layers);    // the residual stream's variance stays the same at any depth
        if (m->scalar && i == param_head(m))
            std = 1 / sqrt(m->config.width + 1.0);
        if (m->param[i].vector)
            start_vector(m, i);
        else
            rc = param_random(m, i, std, err);
        if (rc == 0)
            param_repack(m, i);
    }
    if (rc == 0)
        param_set_logits(m);
    return rc;
}
