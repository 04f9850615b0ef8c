/* folder.c - writing a Hugging Face folder, whole or not at all.
 *
 * The safetensors header is padded with spaces so that values begin at a multiple of 8, as the
 * reference writer does.  Values are converted a piece at a time, so a matrix given by a
 * callback needs one buffer of its size. */
#include "model/format/store.h"

struct writer {
    FILE *f;
    const char *path;
    enum dtype dtype;
    float *values; // for tensors that come from a callback
    size_t cap;
};

static size_t tensor_count(const struct folder_tensor *t)
{
    return (size_t)(t->rows ? t->rows : 1) * (size_t)t->cols;
}

static int put(struct writer *w, const void *p, size_t n, struct err *err)
{
    if (fwrite(p, 1, n, w->f) != n)
        return err_set(err, ERR_IO, "%s: writing failed (disk full?)", w->path);
    return 0;
}

/* ---- header --------------------------------------------------------------------- */

static json_t *header_json(const struct folder_tensor *t, int n, enum dtype dtype)
{
    json_t *o = json_pack("{s{ss}}", "__metadata__", "format", "pt");
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        size_t end = at + tensor_count(&t[i]) * dtype_size(dtype);
        json_t *shape =
            t[i].rows ? json_pack("[ii]", t[i].rows, t[i].cols) : json_pack("[i]", t[i].cols);
        json_object_set_new(o, t[i].name,
                            json_pack("{ss so s[II]}", "dtype",
                                      dtype == DTYPE_BF16 ? "BF16" : "F32", "shape", shape,
                                      "data_offsets", (json_int_t)at, (json_int_t)end));
        at = end;
    }
    return o;
}

static int write_header(struct writer *w, const struct folder_tensor *t, int n, struct err *err)
{
    struct buf b = {0};
    unsigned char size[8];
    json_t *o = header_json(t, n, w->dtype);
    if (o)
        json_add_text(&b, o, 0);
    while (!b.failed && b.len % 8)
        buf_adds(&b, " ");
    for (int i = 0; i < 8; i++)
        size[i] = (unsigned char)((uint64_t)b.len >> (8 * i));
    int rc = b.failed || !o ? err_set(err, ERR_MEMORY, "%s: no memory", w->path)
                            : put(w, size, 8, err);
    if (rc == 0)
        rc = put(w, b.s, b.len, err);
    json_decref(o);
    buf_release(&b);
    return rc;
}

/* ---- values --------------------------------------------------------------------- */

static int write_values(struct writer *w, const float *v, size_t n, struct err *err)
{
    uint16_t half[4096];
    if (w->dtype == DTYPE_F32)
        return put(w, v, n * sizeof *v, err);
    while (n) {
        size_t k = n < ARRAY_LEN(half) ? n : ARRAY_LEN(half);
        for (size_t i = 0; i < k; i++)
            half[i] = bf16_from_float(v[i]);
        int rc = put(w, half, k * sizeof *half, err);
        if (rc)
            return rc;
        v += k;
        n -= k;
    }
    return 0;
}

static int write_tensor(struct writer *w, const struct folder_tensor *t, struct err *err)
{
    size_t n = tensor_count(t);
    if (t->data)
        return write_values(w, t->data, n, err);
    float *values = mem_grow(w->values, &w->cap, n, sizeof *values);
    if (!values)
        return err_set(err, ERR_MEMORY, "%s: no memory for tensor '%s'", w->path, t->name);
    w->values = values;
    int rc = t->fill(t->arg, values, err);
    return rc ? rc : write_values(w, values, n, err);
}

static int write_safetensors(const char *dir, enum dtype dtype, const struct folder_tensor *t,
                             int n, struct err *err)
{
    struct file_out out;
    char *path = path_join(dir, "model.safetensors");
    if (!path)
        return err_set(err, ERR_MEMORY, "%s: no memory", dir);
    int rc = file_out_open(&out, path, err);
    if (rc == 0) {
        struct writer w = {.f = out.f, .path = path, .dtype = dtype};
        rc = write_header(&w, t, n, err);
        for (int i = 0; i < n && rc == 0; i++)
            rc = write_tensor(&w, &t[i], err);
        if (rc == 0)
            rc = file_out_commit(&out, err);
        file_out_close(&out);
        free(w.values);
    }
    free(path);
    return rc;
}

static int write_json(const char *dir, const char *name, json_t *o, struct err *err)
{
    char *path = path_join(dir, name);
    int rc = path && o ? json_write_file(path, o, err)
                       : err_set(err, ERR_MEMORY, "%s: no memory for %s", dir, name);
    free(path);
    json_decref(o);
    return rc;
}

/* The config as it is written. */
static struct model_config written_config(const struct model_config *config,
                                          const struct tokenizer *t)
{
    struct model_config c = *config;
    int pad = c.score_head && t ? tokenizer_pad(t, c.pad, c.bos, c.eos_ids, c.n_eos) : -1;
    if (pad >= 0 && pad < c.vocab)
        c.pad = pad;
    return c;
}

int folder_write(const char *dir, const struct model_config *config, enum dtype dtype,
                 const struct folder_tensor *tensor, int n, const struct tokenizer *tokenizer,
                 struct err *err)
{
    char *tmp;
    struct model_config c = written_config(config, tokenizer);
    int rc = dir_out_open(&tmp, dir, err);
    if (rc)
        return rc;
    rc = write_json(tmp, "config.json", config_to_json(&c, dtype), err);
    if (rc == 0)
        rc = write_json(tmp, "generation_config.json", config_generation_json(&c), err);
    if (rc == 0)
        rc = write_safetensors(tmp, dtype, tensor, n, err);
    if (rc == 0 && tokenizer)
        rc = tokenizer_save(tokenizer, tmp, err);
    if (rc == 0)
        return dir_out_commit(tmp, dir, err);
    dir_out_drop(tmp);
    return rc;
}
