/* model/state.c - masters and moments in a file, so that training goes on as if it had not stopped.
 *
 * A safetensors file: 8 bytes length of the header (little endian), the header as JSON, then F32 values.  Each
 * parameter has value.NAME, m.NAME and v.NAME, under the names of this program's fused matrices; where the optimiser keeps
 * 8 bits, moments8.NAME (bytes as compute.h describes them) instead of the last two.  The header follows
 * from the model's shapes and the optimiser alone, so loading compares it with the one this model would write, byte for byte:
 * anything else is another model's state, or not ours. */
#include "model/trainable.h"

static const char *const kinds[] = {"value", "m", "v"};
enum { VALUE, FIRST, SECOND };

static struct tensor *of_kind(const struct trainable *t, int kind, int i)
{
    return kind == 0 ? &t->model->param[i].value : kind == 1 ? &t->m[i] : &t->v[i];
}

static void add_layer_name(struct buf *b, const struct model *m, int i)
{
    static const char *const names[LAYER_PARAMS] = {
        "input_layernorm", "input_layernorm.bias", "self_attn.qkv", "self_attn.qkv.bias", "self_attn.q_norm",
        "self_attn.k_norm", "self_attn.o_proj", "self_attn.o_proj.bias", "attention_output_norm",
        "post_attention_layernorm", "post_attention_layernorm.bias", "mlp.gate_up", "mlp.gate_up.bias", "mlp.down_proj",
        "mlp.down_proj.bias", "mlp_output_norm", "router"};
    int layer = (i - m->at.first_layer) / m->at.per_layer, which = (i - m->at.first_layer) % m->at.per_layer;
    buf_addf(b, "model.layers.%d.", layer);
    if (m->at.experts >= 0 && which >= m->at.experts)
        buf_addf(b, "experts.%d.%s", (which - m->at.experts) / 2, (which - m->at.experts) % 2 ? "down_proj" : "gate_up");
    for (int p = 0; p < LAYER_PARAMS; p++)
        if (m->at.at[p] == which)
            buf_adds(b, names[p]);
}

/* An adapter's matrices are called by the first tensor that lies in them. */
static void add_adapter_name(struct buf *b, const struct model *m, int i)
{
    int s = 0;
    while (m->slice[s].param != i)
        s++;
    buf_adds(b, m->slice[s].name);
}

static void add_name(struct buf *b, const struct model *m, int i)
{
    if (i >= m->at.n) {
        add_adapter_name(b, m, i);
        return;
    }
    if (i == param_embed())
        buf_adds(b, "model.embed_tokens");
    else if (i == m->at.positions)
        buf_adds(b, "model.embed_positions");
    else if (i < param_final_norm(m))
        add_layer_name(b, m, i);
    else if (i == m->at.final_bias)
        buf_adds(b, "model.norm.bias");
    else
        buf_adds(b, i == param_final_norm(m) ? "model.norm" : m->scalar ? "score" : "lm_head");
}

/* Bytes in the file, none of what is frozen; 8-bit moments stand where the first moment would. */
static size_t kind_bytes(const struct trainable *t, int kind, int i)
{
    const struct param *p = &t->model->param[i];
    size_t n = (size_t)p->rows * (size_t)p->cols;
    if (!param_trained(t->model, i))
        return 0;
    if (kind == VALUE || !t->moments8[i])
        return 4 * n;
    return kind == FIRST ? moments8_bytes(n) : 0;
}

static int make_header(struct buf *b, const struct trainable *t, struct err *err)
{
    size_t at = 0, bytes;
    buf_adds(b, "{\"__metadata__\":{\"format\":\"rlaif-training-state\"}");
    for (int kind = 0; kind < (int)ARRAY_LEN(kinds); kind++)
        for (int i = 0; i < t->n; i++) {
            size_t rows = (size_t)t->model->param[i].rows, cols = (size_t)t->model->param[i].cols;
            bytes = kind_bytes(t, kind, i);
            if (bytes == 0)
                continue;
            bool packed = kind != VALUE && t->moments8[i];
            buf_addf(b, ",\"%s.", packed ? "moments8" : kinds[kind]);
            add_name(b, t->model, i);
            if (packed)
                buf_addf(b, "\":{\"dtype\":\"U8\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]}", bytes, at, at + bytes);
            else
                buf_addf(b, "\":{\"dtype\":\"F32\",\"shape\":[%zu,%zu],\"data_offsets\":[%zu,%zu]}", rows, cols, at,
                         at + bytes);
            at += bytes;
        }
    buf_adds(b, "}");
    while (b->len % 8)
        buf_adds(b, " ");
    return b->failed ? err_set(err, ERR_MEMORY, "the header of a training state") : 0;
}

/* Rows that together make about a megabyte. */
static int rows_at_a_time(const struct tensor *t)
{
    int n = (1 << 18) / t->cols + 1;
    return n < t->rows ? n : t->rows;
}

static int write_tensor(FILE *f, const struct tensor *t, const char *path, struct err *err)
{
    int most = rows_at_a_time(t), rc = 0;
    float *rows = malloc((size_t)most * (size_t)t->cols * sizeof *rows);
    if (!rows)
        return err_set(err, ERR_MEMORY, "writing %s", path);
    for (int r = 0; rc == 0 && r < t->rows; r += most) {
        int n = t->rows - r < most ? t->rows - r : most;
        size_t count = (size_t)n * (size_t)t->cols;
        tensor_read(rows, t, r, n);
        if (fwrite(rows, sizeof *rows, count, f) != count)
            rc = err_set(err, ERR_IO, "%s: writing the training state: %m", path);
    }
    free(rows);
    return rc;
}

static int write_packed(FILE *f, const struct moments8 *m, size_t bytes, const char *path, struct err *err)
{
    void *image = malloc(bytes);
    if (!image)
        return err_set(err, ERR_MEMORY, "writing %s", path);
    moments8_read(image, m);
    int rc = fwrite(image, 1, bytes, f) == bytes ? 0 : err_set(err, ERR_IO, "%s: writing the training state: %m", path);
    free(image);
    return rc;
}

static int write_kind(FILE *f, const struct trainable *t, int kind, int i, const char *path, struct err *err)
{
    size_t bytes = kind_bytes(t, kind, i);
    if (bytes == 0)
        return 0;
    return kind != VALUE && t->moments8[i] ? write_packed(f, t->moments8[i], bytes, path, err)
                                           : write_tensor(f, of_kind(t, kind, i), path, err);
}

int trainable_save(const struct trainable *t, const char *path, struct err *err)
{
    PROFILE("save the optimiser");
    struct buf header = {0};
    struct file_out w = {0};
    int rc = make_header(&header, t, err);
    if (rc == 0)
        rc = file_out_open(&w, path, err);
    uint64_t n = header.len;
    if (rc == 0 && (fwrite(&n, sizeof n, 1, w.f) != 1 || fwrite(header.s, 1, n, w.f) != n))
        rc = err_set(err, ERR_IO, "%s: writing the training state: %m", path);
    for (int kind = 0; rc == 0 && kind < (int)ARRAY_LEN(kinds); kind++)
        for (int i = 0; rc == 0 && i < t->n; i++)
            rc = write_kind(w.f, t, kind, i, path, err);
    if (rc == 0)
        rc = file_out_commit(&w, err);
    else
        file_out_close(&w);
    buf_release(&header);
    return rc;
}

static int check_file(const struct file_map *map, const struct buf *header, size_t values, const char *path, struct err *err)
{
    uint64_t n = 0;
    size_t size = sizeof n + header->len + values;
    if (map->n >= sizeof n)
        memcpy(&n, map->p, sizeof n);
    if (n != header->len || map->n < sizeof n + header->len || memcmp(map->p + sizeof n, header->s, header->len))
        return err_set(err, ERR_FORMAT, "%s: not the training state of this model (its table of tensors should be %zu bytes that "
                       "name every parameter with its shape)", path, header->len);
    if (map->n != size)
        return err_set(err, ERR_FORMAT, "%s: %zu bytes long, a training state of this model has %zu", path, map->n, size);
    return 0;
}

int trainable_load(struct trainable *t, const char *path, struct err *err)
{
    struct buf header = {0};
    struct file_map map = {0};
    size_t values = 0;
    for (int kind = 0; kind < (int)ARRAY_LEN(kinds); kind++)
        for (int i = 0; i < t->n; i++)
            values += kind_bytes(t, kind, i);
    int rc = make_header(&header, t, err);
    if (rc == 0)
        rc = file_map_open(&map, path, err);
    if (rc == 0)
        rc = check_file(&map, &header, values, path, err);
    if (rc == 0) {
        const unsigned char *p = map.p + 8 + header.len;    // 8-byte aligned: the header was padded
        for (int kind = 0; kind < (int)ARRAY_LEN(kinds); kind++)
            for (int i = 0; i < t->n; i++) {
                size_t bytes = kind_bytes(t, kind, i);
                struct tensor *to = of_kind(t, kind, i);
                if (bytes && kind != VALUE && t->moments8[i])
                    moments8_write(t->moments8[i], p);
                else if (bytes)
                    tensor_write(to, 0, to->rows, (const float *)(const void *)p);
                p += bytes;
            }
        for (int i = 0; i < t->n; i++)
            if (param_trained(t->model, i))
                param_repack(t->model, i);
    }
    file_map_close(&map);
    buf_release(&header);
    return rc;
}
