/* safetensors.c - the table of a .safetensors file, checked against the file before anything is
 * used.
 *
 *   offset  size   meaning
 *   0       8      N, little-endian: bytes of the header
 *   8       N      JSON: {"name": {"dtype": "BF16", "shape": [..], "data_offsets": [begin,
 * end]}, "__metadata__": {..}} 8 + N   rest   the values; offsets count from here, tensors lie
 * without gap or overlap
 *
 * Floats are read; integers and booleans (buffers that some exporters save) are listed only.
 *
 * Left out: floats below eight bits; more than four dimensions. */
#include "model/format/store.h"

enum { HEADER_LIMIT = 100 << 20, TENSOR_LIMIT = 1 << 20 };

static uint64_t read_u64(const unsigned char *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

/* value_bytes: of one value. */
static int read_dtype(struct entry *e, size_t *value_bytes, const json_t *v, const char *where,
                      struct err *err)
{
    static const struct {
        const char *name;
        size_t bytes;
    } other[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"U16", 2}, {"I16", 2},
                 {"U32", 4},  {"I32", 4}, {"U64", 8}, {"I64", 8}};
    const char *s;
    int rc = json_get_str(v, "dtype", &s, where, err);
    if (rc)
        return rc;
    for (enum store_type t = STORE_F32; t < STORE_Q8_0; t++)
        if (!strcmp(s, store_name(t))) {
            e->type = t;
            e->type_name = store_name(t);
            *value_bytes = store_block_bytes(t);
            return 0;
        }
    for (size_t i = 0; i < ARRAY_LEN(other); i++)
        if (!strcmp(s, other[i].name)) {
            e->type = STORE_OTHER;
            e->type_name = other[i].name;
            *value_bytes = other[i].bytes;
            return 0;
        }
    return err_set(err, ERR_UNSUPPORTED,
                   "%s: dtype is %.40s; read are F64, F32, F16, BF16, F8_E4M3 and F8_E5M2",
                   where, s);
}

static int read_size(size_t *out, const json_t *v, const char *what, const char *where,
                     struct err *err)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return err_set(err, ERR_FORMAT, "%s: %s should hold integers from 0 up", where, what);
    *out = (size_t)json_integer_value(v);
    return 0;
}

static int read_shape(struct entry *e, const json_t *v, const char *where, struct err *err)
{
    const json_t *shape = json_object_get(v, "shape");
    if (!json_is_array(shape))
        return err_set(err, ERR_FORMAT, "%s: 'shape' should be a list", where);
    size_t dims = json_array_size(shape);
    if (dims > STORE_DIMS)
        return err_set(err, ERR_UNSUPPORTED, "%s: %zu dimensions, at most %d are read", where,
                       dims, STORE_DIMS);
    e->dims = (int)dims;
    for (size_t i = 0; i < dims; i++) {
        int rc = read_size(&e->size[i], json_array_get(shape, i), "'shape'", where, err);
        if (rc)
            return rc;
    }
    return 0;
}

static int read_offsets(struct entry *e, const json_t *v, size_t data_start, size_t value_bytes,
                        const char *where, struct err *err)
{
    const json_t *o = json_object_get(v, "data_offsets");
    size_t begin = 0, end = 0;
    char shape[100];
    if (!json_is_array(o) || json_array_size(o) != 2)
        return err_set(err, ERR_FORMAT, "%s: 'data_offsets' should be a list of two integers",
                       where);
    int rc = read_size(&begin, json_array_get(o, 0), "'data_offsets'", where, err);
    if (rc == 0)
        rc = read_size(&end, json_array_get(o, 1), "'data_offsets'", where, err);
    if (rc)
        return rc;
    if (end < begin)
        return err_set(err, ERR_FORMAT, "%s: data_offsets [%zu, %zu] end before they begin",
                       where, begin, end);
    entry_shape_text(shape, e);
    if (!entry_measure(e, value_bytes) || e->bytes != end - begin)
        return err_set(err, ERR_FORMAT,
                       "%s: shape %s of %s does not fill the %zu bytes of its data_offsets",
                       where, shape, e->type_name, end - begin);
    if (!size_add(&e->offset, begin, data_start))
        return err_set(err, ERR_FORMAT, "%s: data_offsets begin at %zu, far beyond the file",
                       where, begin);
    return 0;
}

static int read_tensor(struct weights *w, struct entry *e, const char *name, const json_t *v,
                       size_t data_start, struct err *err)
{
    const struct data_file *f = &w->file[e->file];
    char where[512];
    size_t value_bytes = 0;
    snprintf(where, sizeof where, "%s: tensor '%.200s'", f->path, name);
    if (!json_is_object(v))
        return err_set(err, ERR_FORMAT,
                       "%s: expected an object with dtype, shape and data_offsets", where);
    e->name = e->file_name = arena_strdup(&w->arena, name);
    int rc = e->name ? 0 : err_set(err, ERR_MEMORY, "%s: no memory", where);
    if (rc == 0)
        rc = read_dtype(e, &value_bytes, v, where, err);
    if (rc == 0)
        rc = read_shape(e, v, where, err);
    if (rc == 0)
        rc = read_offsets(e, v, data_start, value_bytes, where, err);
    return rc ? rc : entry_check_range(e, data_start, f->map.n, f->path, err);
}

static int read_header(struct weights *w, const struct data_file *f, const json_t *header,
                       size_t data_start, struct err *err)
{
    const char *name;
    json_t *v;
    size_t count = json_object_size(header);
    int first = w->n;
    if (count > TENSOR_LIMIT || count + (size_t)w->n > TENSOR_LIMIT)
        return err_set(err, ERR_FORMAT, "%s: %zu tensors, at most %d are read", f->path, count,
                       TENSOR_LIMIT);
    json_object_foreach((json_t *)header, name, v)
    {
        if (!strcmp(name, "__metadata__"))
            continue;
        struct entry *e = weights_add_entry(w, err);
        int rc = e ? read_tensor(w, e, name, v, data_start, err) : ERR_MEMORY;
        if (rc)
            return rc;
    }
    return entries_check_overlap(w->entry + first, w->n - first, data_start, f->map.n, true,
                                 f->path, err);
}

int safetensors_read_table(struct weights *w, struct err *err)
{
    const struct data_file *f = &w->file[w->n_files - 1];
    if (f->map.n < 8)
        return err_set(err, ERR_FORMAT,
                       "%s: %zu bytes, a safetensors file begins with an 8-byte header size",
                       f->path, f->map.n);
    uint64_t n = read_u64(f->map.p);
    if (n > HEADER_LIMIT || n > f->map.n - 8)
        return err_set(
            err, ERR_FORMAT,
            "%s: header of %llu bytes, but the file has %zu (and at most %d are read)", f->path,
            (unsigned long long)n, f->map.n, HEADER_LIMIT);
    json_t *header = json_parse((const char *)f->map.p + 8, n, f->path, err);
    if (!header)
        return err ? err->code : ERR_FORMAT;
    int rc = json_is_object(header)
                 ? read_header(w, f, header, 8 + n, err)
                 : err_set(err, ERR_FORMAT, "%s: header is not a JSON object", f->path);
    json_decref(header);
    return rc;
}
