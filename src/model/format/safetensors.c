/* safetensors.c - the table of a .safetensors file, checked against the file before anything is
 * used.
 *
 *   offset  size   meaning
 *   0       8      N, little-endian: bytes of the header
 *   8       N      JSON: {"name": {"dtype": "BF16", "shape": [..], "data_offsets": [begin,
 * end]}, "__metadata__": {..}} 8 + N   rest   the values; offsets count from here, tensors lie
 * without gap or overlap
 *
 * Left out: dtypes other than F32, F16 and BF16; more than two dimensions; sharded checkpoints.
 */
#include "model/format/store.h"

enum { HEADER_LIMIT = 100 << 20, TENSOR_LIMIT = 1 << 20 };

static uint64_t read_u64(const unsigned char *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static int read_dtype(struct entry *e, const json_t *v, const char *where, struct err *err)
{
    const char *s;
    int rc = json_get_str(v, "dtype", &s, where, err);
    if (rc)
        return rc;
    for (enum store_type t = STORE_F32; t <= STORE_BF16; t++)
        if (!strcmp(s, store_name(t))) {
            e->type = t;
            return 0;
        }
    return err_set(err, ERR_UNSUPPORTED, "%s: dtype is %.40s, only F32, F16 and BF16 are read",
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
    size_t dims = json_array_size(shape), size[2] = {1, 1};
    if (dims < 1 || dims > 2)
        return err_set(err, ERR_UNSUPPORTED, "%s: %zu dimensions, only 1 and 2 are read", where,
                       dims);
    for (size_t i = 0; i < dims; i++) {
        int rc =
            read_size(&size[2 - dims + i], json_array_get(shape, i), "'shape'", where, err);
        if (rc)
            return rc;
    }
    e->dims = (int)dims;
    e->rows = size[0];
    e->cols = size[1];
    return 0;
}

static int read_offsets(struct entry *e, const json_t *v, size_t data_start, const char *where,
                        struct err *err)
{
    const json_t *o = json_object_get(v, "data_offsets");
    size_t begin = 0, end = 0, want;
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
    if (!size_mul(&want, e->rows, e->cols) ||
        !size_mul(&want, want, store_block_bytes(e->type)) || want != end - begin)
        return err_set(
            err, ERR_FORMAT,
            "%s: shape [%zu, %zu] of %s does not fill the %zu bytes of its data_offsets", where,
            e->rows, e->cols, store_name(e->type), end - begin);
    if (!size_add(&e->offset, begin, data_start))
        return err_set(err, ERR_FORMAT, "%s: data_offsets begin at %zu, far beyond the file",
                       where, begin);
    e->bytes = end - begin;
    return 0;
}

static int read_tensor(struct weights *w, struct entry *e, const char *name, const json_t *v,
                       size_t data_start, struct err *err)
{
    char where[512];
    snprintf(where, sizeof where, "%s: tensor '%.200s'", w->data_path, name);
    if (!json_is_object(v))
        return err_set(err, ERR_FORMAT,
                       "%s: expected an object with dtype, shape and data_offsets", where);
    e->name = e->file_name = arena_strdup(&w->arena, name);
    int rc = e->name ? 0 : err_set(err, ERR_MEMORY, "%s: no memory", where);
    if (rc == 0)
        rc = read_dtype(e, v, where, err);
    if (rc == 0)
        rc = read_shape(e, v, where, err);
    if (rc == 0)
        rc = read_offsets(e, v, data_start, where, err);
    return rc ? rc : entry_check_range(e, data_start, w->map.n, w->data_path, err);
}

static int read_header(struct weights *w, const json_t *header, size_t data_start,
                       struct err *err)
{
    const char *name;
    json_t *v;
    size_t count = json_object_size(header);
    if (count > TENSOR_LIMIT)
        return err_set(err, ERR_FORMAT, "%s: %zu tensors, at most %d are read", w->data_path,
                       count, TENSOR_LIMIT);
    w->entry = mem_alloc(count + 1, sizeof *w->entry);
    if (!w->entry)
        return err_set(err, ERR_MEMORY, "%s: no memory for %zu tensors", w->data_path, count);
    json_object_foreach((json_t *)header, name, v)
    {
        if (!strcmp(name, "__metadata__"))
            continue;
        int rc = read_tensor(w, &w->entry[w->n], name, v, data_start, err);
        if (rc)
            return rc;
        w->n++;
    }
    return entries_check_overlap(w->entry, w->n, data_start, w->map.n, true, w->data_path, err);
}

int safetensors_read_table(struct weights *w, struct err *err)
{
    if (w->map.n < 8)
        return err_set(err, ERR_FORMAT,
                       "%s: %zu bytes, a safetensors file begins with an 8-byte header size",
                       w->data_path, w->map.n);
    uint64_t n = read_u64(w->map.p);
    if (n > HEADER_LIMIT || n > w->map.n - 8)
        return err_set(
            err, ERR_FORMAT,
            "%s: header of %llu bytes, but the file has %zu (and at most %d are read)",
            w->data_path, (unsigned long long)n, w->map.n, HEADER_LIMIT);
    json_t *header = json_parse((const char *)w->map.p + 8, n, w->data_path, err);
    if (!header)
        return err ? err->code : ERR_FORMAT;
    int rc = json_is_object(header)
                 ? read_header(w, header, 8 + n, err)
                 : err_set(err, ERR_FORMAT, "%s: header is not a JSON object", w->data_path);
    json_decref(header);
    return rc;
}
