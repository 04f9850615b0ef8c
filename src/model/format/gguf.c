/* gguf.c - walking the header of a GGUF file, versions 2 and 3, little-endian.
 *
 *   size  meaning
 *   4     "GGUF"
 *   4     version
 *   8     number of tensors
 *   8     number of key/value pairs
 *         pairs: string key, u32 type, value          string: u64 length, bytes
 *         tensors: string name, u32 dims, u64 size each, u32 type, u64 offset
 *         padding to general.alignment, then the values
 *
 * Every read goes through `struct reader`, which refuses to leave the file; counts are bounded
 * by the bytes that are left, so nothing is allocated that the file could not fill.  Arrays of
 * arrays are refused. */
#include "model/format/gguf.h"

enum {
    VALUES_MAX = 1 << 16,
    TENSORS_MAX = 1 << 20,
    STRING_MAX = 1 << 26,
    MIN_PAIR = 8 + 4 + 1,
    MIN_TENSOR = 8 + 4 + 4 + 8
};

static const size_t SIZE[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
static const char *const NAME[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                   "bool", "string", "array", "u64", "i64", "f64"};

const char *gguf_type_name(enum gguf_type t)
{
    return (unsigned)t < ARRAY_LEN(NAME) ? NAME[t] : "unknown";
}

bool gguf_is(const char *path)
{
    char magic[4];
    FILE *f = fopen(path, "rb");
    bool yes = f && fread(magic, 1, 4, f) == 4 && !memcmp(magic, "GGUF", 4);
    if (f)
        fclose(f);
    return yes;
}

static int shown(struct gguf_str s) // how much of a name a message shows
{
    return s.n < 64 ? (int)s.n : 64;
}

/* ---- a reader that cannot leave the file ---------------------------------------- */

struct reader {
    const struct gguf *g;
    size_t at;
    char what[96]; // what is being read, for messages
    struct err *err;
    int rc; // the first failure; later reads give zeros
};

static bool take(struct reader *r, size_t n)
{
    if (r->rc)
        return false;
    if (n > r->g->n - r->at) {
        r->rc = err_set(
            r->err, ERR_FORMAT,
            "%s: %s: %zu bytes expected at offset %zu, but the file ends at %zu (truncated?)",
            r->g->path, r->what, n, r->at, r->g->n);
        return false;
    }
    return true;
}

static uint64_t little(const unsigned char *p, size_t n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | p[n];
    return v;
}

static uint64_t read_uint(struct reader *r, size_t size)
{
    if (!take(r, size))
        return 0;
    r->at += size;
    return little(r->g->p + r->at - size, size);
}

static struct gguf_str read_str(struct reader *r)
{
    uint64_t n = read_uint(r, 8);
    if (r->rc == 0 && n > STRING_MAX)
        r->rc =
            err_set(r->err, ERR_FORMAT, "%s: %s: a string of %llu bytes, at most %d are read",
                    r->g->path, r->what, (unsigned long long)n, STRING_MAX);
    if (!take(r, (size_t)n))
        return (struct gguf_str){0};
    r->at += n;
    return (struct gguf_str){(const char *)r->g->p + r->at - n, n};
}

/* ---- the header ----------------------------------------------------------------- */

static void skip_array(struct reader *r, struct gguf_value *v)
{
    uint64_t of = read_uint(r, 4);
    v->count = read_uint(r, 8);
    if (r->rc)
        return;
    v->of = (enum gguf_type)of;
    v->p = r->g->p + r->at;
    size_t least = of < ARRAY_LEN(SIZE) && of != GGUF_STRING ? SIZE[of] : 8, bytes;
    if (of >= ARRAY_LEN(SIZE) || of == GGUF_ARRAY)
        r->rc = err_set(r->err, ERR_UNSUPPORTED,
                        "%s: %s: array of type %llu, only plain values and strings are read",
                        r->g->path, r->what, (unsigned long long)of);
    else if (!size_mul(&bytes, v->count, least) || !take(r, bytes))
        r->rc = err_set(r->err, ERR_FORMAT,
                        "%s: %s: an array of %llu elements does not fit in the file",
                        r->g->path, r->what, (unsigned long long)v->count);
    else if (of != GGUF_STRING)
        r->at += bytes;
    else
        for (uint64_t i = 0; i < v->count && r->rc == 0; i++)
            read_str(r);
}

static void read_pair(struct reader *r, struct gguf_value *v)
{
    v->key = read_str(r);
    snprintf(r->what, sizeof r->what, "key '%.*s'", shown(v->key), v->key.s ? v->key.s : "");
    uint64_t type = read_uint(r, 4);
    if (r->rc)
        return;
    v->type = (enum gguf_type)type;
    v->p = r->g->p + r->at;
    if (type >= ARRAY_LEN(SIZE))
        r->rc = err_set(r->err, ERR_FORMAT, "%s: %s: unknown value type %llu", r->g->path,
                        r->what, (unsigned long long)type);
    else if (type == GGUF_ARRAY)
        skip_array(r, v);
    else if (type == GGUF_STRING)
        read_str(r);
    else
        read_uint(r, SIZE[type]);
}

static void read_tensor(struct reader *r, struct gguf_tensor *t)
{
    t->name = read_str(r);
    snprintf(r->what, sizeof r->what, "tensor '%.*s'", shown(t->name),
             t->name.s ? t->name.s : "");
    uint64_t dims = read_uint(r, 4);
    if (r->rc == 0 && (dims < 1 || dims > 4))
        r->rc = err_set(r->err, ERR_FORMAT, "%s: %s has %llu dimensions, 1 to 4 are possible",
                        r->g->path, r->what, (unsigned long long)dims);
    if (r->rc)
        return;
    t->dims = (int)dims;
    for (int i = 0; i < 4; i++)
        t->size[i] = i < t->dims ? read_uint(r, 8) : 1;
    t->type = (uint32_t)read_uint(r, 4);
    t->offset = read_uint(r, 8);
}

/* A count from the file, no larger than what its remaining bytes could hold. */
static size_t read_count(struct reader *r, const char *what, size_t max, size_t least)
{
    uint64_t n = read_uint(r, 8);
    if (r->rc == 0 && (n > max || n > (r->g->n - r->at) / least))
        r->rc = err_set(r->err, ERR_FORMAT,
                        "%s: claims %llu %s, more than the file can hold (or %zu)", r->g->path,
                        (unsigned long long)n, what, max);
    return r->rc ? 0 : (size_t)n;
}

static void read_start(struct reader *r, struct gguf *g)
{
    snprintf(r->what, sizeof r->what, "header");
    uint64_t magic = read_uint(r, 4), version = read_uint(r, 4);
    if (r->rc)
        return;
    if (magic != 0x46554747u) {
        r->rc = err_set(r->err, ERR_FORMAT,
                        "%s: not a GGUF file: it begins with %02x %02x %02x %02x, not \"GGUF\"",
                        g->path, g->p[0], g->p[1], g->p[2], g->p[3]);
    } else if (version != 2 && version != 3) {
        bool swapped = version == 0x02000000u || version == 0x03000000u;
        r->rc = err_set(r->err, ERR_UNSUPPORTED,
                        "%s: GGUF version %llu%s, only 2 and 3 in little-endian are read",
                        g->path, (unsigned long long)(swapped ? version >> 24 : version),
                        swapped ? " in big-endian order" : "");
    }
}

static int find_data(struct gguf *g, size_t end, struct err *err)
{
    int64_t align = 32;
    size_t start;
    int rc = gguf_get_int(g, "general.alignment", &align, err);
    if (rc)
        return rc;
    if (align < 1 || align > 1 << 20 || (align & (align - 1)))
        return err_set(err, ERR_FORMAT,
                       "%s: general.alignment is %lld, expected a power of two", g->path,
                       (long long)align);
    if (!size_add(&start, end, (size_t)align - 1))
        return err_set(err, ERR_FORMAT, "%s: header too large", g->path);
    g->data_start = start & ~((size_t)align - 1);
    for (size_t i = 0; i < g->n_tensors; i++)
        if (g->tensor[i].offset % (uint64_t)align)
            return err_set(
                err, ERR_FORMAT,
                "%s: tensor '%.*s': offset %llu is not a multiple of the alignment %lld",
                g->path, shown(g->tensor[i].name), g->tensor[i].name.s,
                (unsigned long long)g->tensor[i].offset, (long long)align);
    return 0;
}

static int compare_key(const void *a, const void *b)
{
    const struct gguf_str *x = &((const struct gguf_value *)a)->key,
                          *y = &((const struct gguf_value *)b)->key;
    int c = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
    return c ? c : x->n < y->n ? -1 : x->n > y->n;
}

static int check_keys(struct gguf *g, struct err *err)
{
    if (g->n_values)
        qsort(g->value, g->n_values, sizeof *g->value, compare_key);
    for (size_t i = 1; i < g->n_values; i++)
        if (compare_key(&g->value[i - 1], &g->value[i]) == 0)
            return err_set(err, ERR_FORMAT, "%s: key '%.*s' appears twice", g->path,
                           shown(g->value[i].key), g->value[i].key.s);
    return 0;
}

int gguf_open(struct gguf *g, const unsigned char *p, size_t n, const char *path,
              struct err *err)
{
    *g = (struct gguf){.path = path, .p = p, .n = n};
    struct reader r = {.g = g, .err = err};
    read_start(&r, g);
    g->n_tensors = read_count(&r, "tensors", TENSORS_MAX, MIN_TENSOR);
    g->n_values = read_count(&r, "keys", VALUES_MAX, MIN_PAIR);
    g->value = mem_alloc(g->n_values + 1, sizeof *g->value);
    g->tensor = mem_alloc(g->n_tensors + 1, sizeof *g->tensor);
    if (!g->value || !g->tensor)
        r.rc = err_set(err, ERR_MEMORY, "%s: no memory for its header", path);
    for (size_t i = 0; i < g->n_values && r.rc == 0; i++)
        read_pair(&r, &g->value[i]);
    for (size_t i = 0; i < g->n_tensors && r.rc == 0; i++)
        read_tensor(&r, &g->tensor[i]);
    if (r.rc == 0)
        r.rc = check_keys(g, err);
    if (r.rc == 0)
        r.rc = find_data(g, r.at, err);
    if (r.rc)
        gguf_release(g);
    return r.rc;
}

void gguf_release(struct gguf *g)
{
    free(g->value);
    free(g->tensor);
    *g = (struct gguf){0};
}

/* ---- values --------------------------------------------------------------------- */

const struct gguf_value *gguf_find(const struct gguf *g, const char *key)
{
    struct gguf_value want = {.key = {key, strlen(key)}};
    return g->n_values ? bsearch(&want, g->value, g->n_values, sizeof *g->value, compare_key)
                       : NULL;
}

static int wrong_type(const struct gguf *g, const struct gguf_value *v, const char *key,
                      const char *want, struct err *err)
{
    return err_set(err, ERR_FORMAT, "%s: key '%s' should be %s, found %s%s%s", g->path, key,
                   want, gguf_type_name(v->type), v->type == GGUF_ARRAY ? " of " : "",
                   v->type == GGUF_ARRAY ? gguf_type_name(v->of) : "");
}

int gguf_get_int(const struct gguf *g, const char *key, int64_t *out, struct err *err)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v)
        return 0;
    uint64_t u = v->type < ARRAY_LEN(SIZE) ? little(v->p, SIZE[v->type]) : 0;
    switch (v->type) {
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32:
        *out = (int64_t)u;
        return 0;
    case GGUF_I8:
        *out = (int8_t)u;
        return 0;
    case GGUF_I16:
        *out = (int16_t)u;
        return 0;
    case GGUF_I32:
        *out = (int32_t)u;
        return 0;
    case GGUF_I64:
        *out = (int64_t)u;
        return 0;
    case GGUF_U64:
        if (u > INT64_MAX)
            return err_set(err, ERR_FORMAT, "%s: key '%s' is %llu, far out of range", g->path,
                           key, (unsigned long long)u);
        *out = (int64_t)u;
        return 0;
    default:
        return wrong_type(g, v, key, "an integer", err);
    }
}

int gguf_get_float(const struct gguf *g, const char *key, double *out, struct err *err)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v)
        return 0;
    if (v->type == GGUF_F32) {
        float f;
        memcpy(&f, v->p, sizeof f);
        *out = f;
    } else if (v->type == GGUF_F64) {
        memcpy(out, v->p, sizeof *out);
    } else {
        return wrong_type(g, v, key, "a number", err);
    }
    return 0;
}

int gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct err *err)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v)
        return 0;
    if (v->type != GGUF_BOOL)
        return wrong_type(g, v, key, "true or false", err);
    *out = v->p[0] != 0;
    return 0;
}

int gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *out, struct err *err)
{
    const struct gguf_value *v = gguf_find(g, key);
    *out = (struct gguf_str){0};
    if (!v)
        return 0;
    if (v->type != GGUF_STRING)
        return wrong_type(g, v, key, "a string", err);
    const unsigned char *at = v->p;
    *out = gguf_next_str(&at);
    return 0;
}

int gguf_get_array(const struct gguf *g, const char *key, enum gguf_type of,
                   const struct gguf_value **out, struct err *err)
{
    *out = gguf_find(g, key);
    if (!*out || ((*out)->type == GGUF_ARRAY && (*out)->of == of))
        return 0;
    char want[32];
    snprintf(want, sizeof want, "an array of %s", gguf_type_name(of));
    return wrong_type(g, *out, key, want, err);
}

struct gguf_str gguf_next_str(const unsigned char **at)
{
    size_t n = (size_t)little(*at, 8);
    struct gguf_str s = {(const char *)*at + 8, n};
    *at += 8 + n;
    return s;
}

int32_t gguf_i32_at(const struct gguf_value *array, uint64_t i)
{
    return (int32_t)(uint32_t)little(array->p + 4 * i, 4);
}
