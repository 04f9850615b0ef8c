/* lab/grown.c - a larger model that starts where a smaller one stopped.
 *
 * Layers are added behind the last: copies of the last ones whose outputs into the residual
 * stream (o_proj, down_proj) are zero.  So the grown model computes exactly what the small one
 * did, and training decides what the new layers are for.  The weights are copied as bytes,
 * whatever their type: only the safetensors header is read. */
#include "lab/lab.h"

struct growing {
    const char *path;               // of the small model's weights
    struct file_map map;
    const unsigned char *data;      // behind the header
    size_t n;
    json_t *from, *to;              // headers
    FILE *out;                      // NULL while offsets are being assigned
    size_t end;
};

static int header_read(struct growing *g, struct err *err)
{
    uint64_t length = 0;
    for (int i = 0; g->map.n >= 8 && i < 8; i++)
        length |= (uint64_t)g->map.p[i] << 8 * i;
    if (g->map.n < 8 || length > g->map.n - 8)
        return err_set(err, ERR_FORMAT, "%s: the header is longer than the file", g->path);
    g->data = g->map.p + 8 + length;
    g->n = g->map.n - 8 - length;
    g->from = json_parse((const char *)g->map.p + 8, length, g->path, err);
    return g->from ? 0 : ERR_FORMAT;
}

/* One tensor of the grown model: name, and the small model's tensor t it is like.  First call
 * assigns, second writes. */
static int tensor_put(struct growing *g, const char *name, const json_t *t, bool zero,
                      struct err *err)
{
    json_int_t from = -1, to = -1;
    const char *dtype;
    json_t *shape;
    if (json_unpack((json_t *)t, "{s:s,s:o,s:[I,I]}", "dtype", &dtype, "shape", &shape,
                    "data_offsets", &from, &to) ||
        from < 0 || to < from || (uint64_t)to > g->n)
        return err_set(err, ERR_FORMAT,
                       "%s: tensor %s: expected dtype, shape and offsets inside the file", g->path,
                       name);
    size_t bytes = (size_t)(to - from);
    if (!g->out) {
        json_object_set_new(g->to, name,
                            json_pack("{s:s,s:O,s:[I,I]}", "dtype", dtype, "shape", shape,
                                      "data_offsets", (json_int_t)g->end,
                                      (json_int_t)(g->end + bytes)));
        g->end += bytes;
        return 0;
    }
    for (size_t i = 0; i < bytes; i++)
        fputc(zero ? 0 : g->data[from + (json_int_t)i], g->out);
    return ferror(g->out) ? err_set(err, ERR_IO, "writing tensor %s", name) : 0;
}

/* Every tensor of the small model, and behind it its copies for the new layers. */
static int tensors_put(struct growing *g, int layers, int more, struct err *err)
{
    const char *key;
    json_t *t;
    int rc = 0;
    json_object_foreach(g->from, key, t) {
        if (!strcmp(key, "__metadata__"))
            continue;
        rc = rc ? rc : tensor_put(g, key, t, false, err);
        int layer, rest = 0;
        if (rc || sscanf(key, "model.layers.%d.%n", &layer, &rest) != 1 || !rest)
            continue;
        for (int i = 0; i < more && rc == 0; i++) {
            char name[160];
            if (layer != layers - 1 - (more - 1 - i) % layers)
                continue;
            snprintf(name, sizeof name, "model.layers.%d.%s", layers + i, key + rest);
            rc = tensor_put(g, name, t, strstr(key, "o_proj") || strstr(key, "down_proj"), err);
        }
    }
    return rc;
}

static int weights_write(struct growing *g, const char *path, int layers, int more, struct err *err)
{
    struct file_out out = {0};
    g->to = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    int rc =
        g->to ? tensors_put(g, layers, more, err) : err_set(err, ERR_MEMORY, "growing %s", g->path);
    char *header = rc ? NULL : json_dumps(g->to, JSON_COMPACT);
    if (rc == 0)
        rc = header ? file_out_open(&out, path, err)
                    : err_set(err, ERR_MEMORY, "growing %s", g->path);
    if (rc == 0) {
        size_t padded = (strlen(header) + 7) / 8 * 8;
        for (int i = 0; i < 8; i++)
            fputc((int)(padded >> 8 * i & 255), out.f);
        fprintf(out.f, "%-*s", (int)padded, header);
        g->out = out.f;
        rc = tensors_put(g, layers, more, err);
    }
    if (rc == 0)
        rc = file_out_commit(&out, err);
    file_out_close(&out);
    free(header);
    return rc;
}

/* config.json with more layers; *layers receives how many there were. */
static int config_grow(const char *to, const char *from, int more, int *layers, struct err *err)
{
    char *a = path_join(from, "config.json"), *b = path_join(to, "config.json");
    json_t *c = a && b ? json_read_file(a, err) : NULL;
    int64_t n = 0;
    int rc = c ? json_get_i64(c, "num_hidden_layers", &n, a, err)
               : a && b ? ERR_FORMAT : err_set(err, ERR_MEMORY, "growing %s", from);
    if (rc == 0 && (n < 1 || n > 64))
        rc = err_set(err, ERR_FORMAT, "%s: num_hidden_layers: expected 1 to 64, found %lld", a,
                     (long long)n);
    if (rc == 0) {
        *layers = (int)n;
        json_object_set_new(c, "num_hidden_layers", json_integer(n + more));
        rc = json_write_file(b, c, err);
    }
    json_decref(c);
    free(a);
    free(b);
    return rc;
}

int lab_grow(const char *dir, const char *from, int more, struct err *err)
{
    static const char *const same[] = {"tokenizer.json", "tokenizer_config.json",
                                       "special_tokens_map.json"};
    struct growing g = {0};
    int layers = 0;
    if (more < 1 || more > 64)
        return err_set(err, ERR_VALUE, "more layers: expected 1 to 64, found %d", more);
    char *source = path_join(from, "model.safetensors"),
         *target = path_join(dir, "model.safetensors");
    g.path = source;
    int rc = source && target ? dir_make(dir, err) : err_set(err, ERR_MEMORY, "growing %s", from);
    if (rc == 0)
        rc = config_grow(dir, from, more, &layers, err);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(same); i++) {
        char *a = path_join(dir, same[i]), *b = path_join(from, same[i]);
        rc = a && b ? file_copy(a, b, err) : err_set(err, ERR_MEMORY, "growing %s", from);
        free(a);
        free(b);
    }
    if (rc == 0)
        rc = file_map_open(&g.map, source, err);
    if (rc == 0)
        rc = header_read(&g, err);
    if (rc == 0)
        rc = weights_write(&g, target, layers, more, err);
    file_map_close(&g.map);
    json_decref(g.from);
    json_decref(g.to);
    free(source);
    free(target);
    return rc;
}
