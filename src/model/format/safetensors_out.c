/* safetensors_out.c - writing model.safetensors, or shards and model.safetensors.index.json.
 *
 * Tensors go into shards in their order, each shard as full as it may be; a tensor larger than
 * a shard has one of its own.  The header is padded with spaces so that values begin at a
 * multiple of 8, as the reference writer does.  Values are converted a piece at a time, so a
 * matrix given by a callback needs one buffer of its size. */
#include "model/format/store.h"

struct writer {
    FILE *f;
    const char *path;
    enum store_type type;
    float *values; // for tensors that come from a callback
    size_t cap;
};

static size_t tensor_count(const struct folder_tensor *t)
{
    return (size_t)(t->rows ? t->rows : 1) * (size_t)t->cols;
}

static size_t tensor_bytes(const struct folder_tensor *t, enum store_type type)
{
    return tensor_count(t) * store_block_bytes(type);
}

static int put(struct writer *w, const void *p, size_t n, struct err *err)
{
    if (fwrite(p, 1, n, w->f) != n)
        return err_set(err, ERR_IO, "%s: writing failed (disk full?)", w->path);
    return 0;
}

/* ---- header --------------------------------------------------------------------- */

static json_t *header_json(const struct folder_tensor *t, int n, enum store_type type)
{
    json_t *o = json_pack("{s{ss}}", "__metadata__", "format", "pt");
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        size_t end = at + tensor_bytes(&t[i], type);
        json_t *shape =
            t[i].rows ? json_pack("[ii]", t[i].rows, t[i].cols) : json_pack("[i]", t[i].cols);
        json_object_set_new(o, t[i].name,
                            json_pack("{ss so s[II]}", "dtype", store_name(type), "shape",
                                      shape, "data_offsets", (json_int_t)at, (json_int_t)end));
        at = end;
    }
    return o;
}

static int write_header(struct writer *w, const struct folder_tensor *t, int n, struct err *err)
{
    struct buf b = {0};
    unsigned char size[8];
    json_t *o = header_json(t, n, w->type);
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

/* Values beyond fp16's largest become infinite, which is no weight any more. */
static int check_half(const struct writer *w, const struct folder_tensor *t, const float *v,
                      size_t n, struct err *err)
{
    for (size_t i = 0; w->type == STORE_F16 && i < n; i++)
        if (!(v[i] < 65520 && v[i] > -65520))
            return err_set(err, ERR_NUMERIC,
                           "%s: tensor '%s' holds %g, which float16 cannot; use bfloat16",
                           w->path, t->name, (double)v[i]);
    return 0;
}

static int write_values(struct writer *w, const struct folder_tensor *t, const float *v,
                        struct err *err)
{
    unsigned char piece[4 * 4096];
    size_t n = tensor_count(t);
    int rc = check_half(w, t, v, n, err);
    while (rc == 0 && n) {
        size_t k = n < 4096 ? n : 4096;
        float_to_store(piece, v, k, w->type);
        rc = put(w, piece, k * store_block_bytes(w->type), err);
        v += k;
        n -= k;
    }
    return rc;
}

static int write_tensor(struct writer *w, const struct folder_tensor *t, struct err *err)
{
    if (t->data)
        return write_values(w, t, t->data, err);
    float *values = mem_grow(w->values, &w->cap, tensor_count(t), sizeof *values);
    if (!values)
        return err_set(err, ERR_MEMORY, "%s: no memory for tensor '%s'", w->path, t->name);
    w->values = values;
    int rc = t->fill(t->arg, values, err);
    return rc ? rc : write_values(w, t, values, err);
}

int safetensors_write_file(const char *dir, const char *name, enum store_type type,
                           const struct folder_tensor *t, int n, struct err *err)
{
    struct file_out out;
    char *path = path_join(dir, name);
    if (!path)
        return err_set(err, ERR_MEMORY, "%s: no memory", dir);
    int rc = file_out_open(&out, path, err);
    if (rc == 0) {
        struct writer w = {.f = out.f, .path = path, .type = type};
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

/* ---- shards --------------------------------------------------------------------- */

/* The first tensor after those that fit in one shard with tensor `first`. */
static int shard_end(const struct folder_tensor *t, int n, int first, enum store_type type,
                     size_t most)
{
    size_t bytes = tensor_bytes(&t[first], type);
    int i = first + 1;
    for (; i < n; i++) {
        bytes += tensor_bytes(&t[i], type);
        if (bytes > most)
            break;
    }
    return i;
}

static int write_shards(const char *dir, int shards, enum store_type type, size_t most,
                        const struct folder_tensor *t, int n, struct err *err)
{
    json_t *map = json_object();
    size_t total = 0;
    int rc = 0, shard = 0;
    for (int first = 0, end; first < n && rc == 0; first = end) {
        char name[64];
        snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", ++shard, shards);
        end = shard_end(t, n, first, type, most);
        rc = safetensors_write_file(dir, name, type, t + first, end - first, err);
        for (int i = first; i < end; i++) {
            total += tensor_bytes(&t[i], type);
            json_object_set_new(map, t[i].name, json_string(name));
        }
    }
    char *path = path_join(dir, "model.safetensors.index.json");
    json_t *o =
        json_pack("{s{sI} so}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    if (rc == 0)
        rc = path && o ? json_write_file(path, o, err)
                       : err_set(err, ERR_MEMORY, "%s: no memory for its index", dir);
    free(path);
    json_decref(o);
    return rc;
}

int safetensors_write(const char *dir, enum store_type type, size_t shard_bytes,
                      const struct folder_tensor *t, int n, struct err *err)
{
    int shards = 0;
    for (int first = 0; first < n; first = shard_end(t, n, first, type, shard_bytes))
        shards++;
    return shards > 1 ? write_shards(dir, shards, type, shard_bytes, t, n, err)
                      : safetensors_write_file(dir, "model.safetensors", type, t, n, err);
}
