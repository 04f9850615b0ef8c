/* weights.c - one open checkpoint: which files it is made of, finding a tensor, converting its
 * values.
 *
 * Opening checks everything that can be checked without reading values: the table against the
 * file, the tensors the config promises against the table.  A tensor that the config does not
 * promise is refused: it may be part of the computation. */
#include "model/format/store.h"

#include "model/format/gguf.h"

#include <math.h>
#include <sys/mman.h>

const char *weights_file_of(const struct weights *w, const struct entry *e)
{
    return w->file[e->file].path;
}

/* ---- finding -------------------------------------------------------------------- */

static int compare_name(const void *a, const void *b, void *entries)
{
    const struct entry *e = entries;
    return strcmp(e[*(const int *)a].name, e[*(const int *)b].name);
}

int weights_index(struct weights *w, struct err *err)
{
    w->by_name = mem_alloc((size_t)w->n + 1, sizeof *w->by_name);
    if (!w->by_name)
        return err_set(err, ERR_MEMORY, "%s: no memory for its table of tensors", w->path);
    for (int i = 0; i < w->n; i++)
        w->by_name[i] = i;
    qsort_r(w->by_name, (size_t)w->n, sizeof *w->by_name, compare_name, w->entry);
    for (int i = 1; i < w->n; i++)
        if (!strcmp(w->entry[w->by_name[i - 1]].name, w->entry[w->by_name[i]].name))
            return err_set(err, ERR_FORMAT, "%s: two tensors are called '%.200s'", w->data_path,
                           w->entry[w->by_name[i]].file_name);
    return 0;
}

const struct entry *weights_find(const struct weights *w, const char *name)
{
    int lo = 0, hi = w->n;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2, c = strcmp(name, w->entry[w->by_name[mid]].name);
        if (c == 0)
            return &w->entry[w->by_name[mid]];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

int weights_check_shape(const struct weights *w, const struct entry *e, const char *name, int rows,
                        int cols, struct err *err)
{
    if (!e)
        return err_set(err, ERR_MISSING, "%s: tensor '%s' is missing", w->data_path, name);
    bool same = e->cols == (size_t)cols &&
                (rows ? e->dims == 2 && e->rows == (size_t)rows : e->dims == 1);
    const struct entry want = {.dims = rows ? 2 : 1,
                               .size = {(size_t)(rows ? rows : cols), (size_t)cols}};
    char wanted[100], found[100];
    entry_shape_text(wanted, &want);
    entry_shape_text(found, e);
    if (!same)
        return err_set(err, ERR_FORMAT, "%s: tensor '%s': expected shape %s, found %s",
                       weights_file_of(w, e), name, wanted, found);
    if (e->type == STORE_OTHER)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: tensor '%s': dtype is %s; weights should be floats", weights_file_of(w, e),
                       name, e->type_name);
    return 0;
}

/* ---- opening -------------------------------------------------------------------- */

/* What else decides results: the config as understood, and the tokenizer that makes ids of
 * texts. */
static int hash_beside(struct weights *w, struct err *err)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json",
                                        "chat_template.jinja", "tokenizer.model"};
    struct buf b = {0};
    int rc = 0;
    json_t *config = config_to_json(&w->config, DTYPE_F32);
    if (config)
        json_add_text(&b, config, 0);
    for (size_t i = 0; !w->gguf && rc == 0 && i < ARRAY_LEN(names); i++) {
        char hex[33] = "", *path = path_join(w->path, names[i]);
        if (path && file_exists(path))
            rc = hash_file(hex, path, err);
        if (*hex || strcmp(names[i], "tokenizer.model")) // hashes from before it was read stay
            buf_addf(&b, "\n%s %s", names[i], hex);
        free(path);
    }
    if (rc == 0 && (b.failed || !config))
        rc = err_set(err, ERR_MEMORY, "%s: no memory", w->path);
    if (rc == 0)
        hash_hex(w->extra_hash, hash_bytes(b.s, b.len));
    json_decref(config);
    buf_release(&b);
    return rc;
}

/* Pickled weights are programs; nothing here runs them. */
static int no_weights(const struct weights *w, struct err *err)
{
    char *pickled = path_join(w->path, "pytorch_model.bin");
    bool is_pickled = pickled && file_exists(pickled);
    free(pickled);
    return err_set(err, ERR_MISSING, "%s: no model.safetensors%s in this folder%s", w->path,
                   is_pickled ? "" : " or model.safetensors.index.json",
                   is_pickled ? "; pytorch_model.bin is not read, since it may hold any program "
                                "(transformers saves it again as safetensors)"
                              : "");
}

static int open_folder(struct weights *w, bool *seq_cls, struct err *err)
{
    int rc = config_read(&w->config, seq_cls, w->path, err);
    char *index = path_join(w->path, "model.safetensors.index.json");
    w->data_path = path_join(w->path, "model.safetensors");
    if (!w->data_path || !index) {
        rc = err_set(err, ERR_MEMORY, "%s: no memory", w->path);
    } else if (rc == 0 && file_exists(w->data_path)) {
        rc = weights_add_file(w, w->data_path, err);
        if (rc == 0)
            rc = safetensors_read_table(w, err);
    } else if (rc == 0 && file_exists(index)) {
        free(w->data_path);
        w->data_path = index;
        return shards_open(w, index, err);
    } else if (rc == 0) {
        rc = no_weights(w, err);
    }
    free(index);
    return rc;
}

static int open_gguf(struct weights *w, struct err *err)
{
    w->gguf = true;
    w->data_path = str_printf("%s", w->path);
    if (!w->data_path)
        return err_set(err, ERR_MEMORY, "%s: no memory", w->path);
    int rc = weights_add_file(w, w->path, err);
    return rc ? rc : gguf_read_table(w, err);
}

int weights_open(struct weights **out, const char *path, struct err *err)
{
    bool seq_cls = false;
    struct weights *w = mem_alloc(1, sizeof *w);
    if (w)
        w->path = str_printf("%s", path);
    if (!w || !w->path) {
        weights_close(w);
        return err_set(err, ERR_MEMORY, "%s: no memory", path);
    }
    int rc;
    if (dir_exists(path))
        rc = open_folder(w, &seq_cls, err);
    else if (!file_exists(path))
        rc = err_set(err, ERR_MISSING,
                     "%s: no such model; expected a Hugging Face folder or a .gguf file", path);
    else if (gguf_is(path) || str_ends(path, ".gguf"))
        rc = open_gguf(w, err);
    else
        rc = err_set(err, ERR_FORMAT,
                     "%s: neither a folder nor a GGUF file (a folder with config.json and "
                     "model.safetensors is expected)",
                     path);
    if (rc == 0)
        rc = promise_rename(w, err);
    if (rc == 0)
        rc = weights_index(w, err);
    if (rc == 0)
        rc = promise_check(w, seq_cls, err);
    if (rc == 0)
        rc = hash_beside(w, err);
    if (rc == 0)
        *out = w;
    else
        weights_close(w);
    return rc;
}

int weights_open_table(struct weights **out, const char *path, struct err *err)
{
    struct weights *w = mem_alloc(1, sizeof *w);
    if (w) {
        w->path = strdup(path);
        w->data_path = strdup(path);
    }
    int rc = w && w->path && w->data_path ? 0 : err_set(err, ERR_MEMORY, "%s: no memory", path);
    if (rc == 0)
        rc = weights_add_file(w, path, err);
    if (rc == 0)
        rc = safetensors_read_table(w, err);
    if (rc == 0)
        *out = w;
    else
        weights_close(w);
    return rc;
}

void weights_close(struct weights *w)
{
    if (!w)
        return;
    for (int i = 0; i < w->n_files; i++)
        file_map_close(&w->file[i].map);
    free(w->file);
    arena_release(&w->arena);
    free(w->entry);
    free(w->by_name);
    free(w->data_path);
    free(w->path);
    free(w);
}

/* ---- reading -------------------------------------------------------------------- */

const char *weights_path(const struct weights *w)
{
    return w->path;
}

const struct model_config *weights_config(const struct weights *w)
{
    return &w->config;
}

bool weights_is_gguf(const struct weights *w)
{
    return w->gguf;
}

bool weights_has(const struct weights *w, const char *name)
{
    return weights_find(w, name) != NULL;
}

int weights_count(const struct weights *w)
{
    return w->n;
}

struct weight_info weights_info(const struct weights *w, int i)
{
    const struct entry *e = &w->entry[i];
    struct weight_info info = {e->name, e->file_name, e->type_name, e->dims, {0}, e->rows, e->cols, e->bytes};
    memcpy(info.size, e->size, sizeof info.size);
    return info;
}

/* Where Hugging Face's row is in the file: llama.cpp stores row 2j+s of a head where Hugging Face
 * has row s D/2 + j (j the pair, s the half); and all q, then all k, then all v. */
static size_t stored_row(const struct entry *e, size_t row, size_t rows)
{
    size_t heads = (size_t)e->heads;
    if (e->order == ENTRY_INTERLEAVED) {
        size_t size = rows / heads, head = row / size, r = row % size;
        return head * size + 2 * (r % (size / 2)) + r / (size / 2);
    }
    if (e->order == ENTRY_BY_HEAD) {
        size_t size = rows / (3 * heads), head = row / (3 * size), which = row / size % 3;
        return (which * heads + head) * size + row % size;
    }
    return row;
}

static int read_turned(const struct weights *w, const struct entry *e, float *out, size_t first,
                       size_t n, struct err *err)
{
    const unsigned char *p = w->file[e->file].map.p + e->offset;
    float *row = malloc(e->rows * sizeof *row);
    if (!row)
        return err_set(err, ERR_MEMORY, "no memory to read tensor '%s'", e->file_name);
    for (size_t x = 0; x < e->cols; x++) {
        store_to_float(row, p + x * (e->bytes / e->cols), e->rows, e->type);
        for (size_t i = 0; i < n; i++)
            out[i * e->cols + x] = row[first + i];
    }
    free(row);
    return 0;
}

static int read_vector(const struct weights *w, const struct entry *e, float *out,
                       struct err *err)
{
    float *stored = malloc(e->cols * sizeof *stored);
    if (!stored)
        return err_set(err, ERR_MEMORY, "no memory to read tensor '%s'", e->file_name);
    store_to_float(stored, w->file[e->file].map.p + e->offset, e->cols, e->type);
    for (size_t x = 0; x < e->cols; x++)
        out[x] = stored[stored_row(e, x, e->cols)] - (e->offset_one ? 1 : 0);
    free(stored);
    return 0;
}

static int read_rows(const struct weights *w, const struct entry *e, float *out, size_t first,
                     size_t n, struct err *err)
{
    if (e->order == ENTRY_TURNED)
        return read_turned(w, e, out, first, n, err);
    if (e->dims == 1 && (e->order != ENTRY_SAME || e->offset_one))
        return read_vector(w, e, out, err);
    size_t row_bytes = e->bytes / e->rows;
    const unsigned char *p = w->file[e->file].map.p + e->offset;
    if (e->order == ENTRY_SAME)
        store_to_float(out, p + first * row_bytes, n * e->cols, e->type);
    else
        for (size_t i = 0; i < n; i++)
            store_to_float(out + i * e->cols,
                           p + stored_row(e, first + i, e->rows) * row_bytes, e->cols, e->type);
    return 0;
}

/* A weight that is no number makes every result one; said here, where its name is known. */
static int check_finite(const struct weights *w, const struct entry *e, const float *v,
                        size_t first, size_t n, struct err *err)
{
    size_t count = n * e->cols;
    uint32_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t u;
        memcpy(&u, &v[i], sizeof u);
        bad |= (u & 0x7f800000) == 0x7f800000;
    }
    if (!bad)
        return 0;
    size_t at = 0;
    while (at < count && isfinite(v[at]))
        at++;
    return err_set(err, ERR_NUMERIC, "%s: tensor '%s' (%s): value [%zu, %zu] is %g",
                   weights_file_of(w, e), e->file_name, e->type_name, first + at / e->cols,
                   at % e->cols, (double)v[at]);
}

static int read_checked(const struct weights *w, const struct entry *e, float *out,
                        size_t first, size_t n, struct err *err)
{
    if (!e->bytes)
        return 0;
    int rc = read_rows(w, e, out, first, n, err);
    return rc ? rc : check_finite(w, e, out, first, n, err);
}

int weights_read(const struct weights *w, const char *name, float *out, int rows, int cols,
                 struct err *err)
{
    return weights_read_rows(w, name, out, rows, cols, 0, rows ? rows : 1, err);
}

int weights_read_rows(const struct weights *w, const char *name, float *out, int rows, int cols,
                      int first, int n, struct err *err)
{
    return w->overlay ? w->overlay->read(w->overlay, w, name, out, rows, cols, first, n, err)
                      : weights_plain_rows(w, name, out, rows, cols, first, n, err);
}

int weights_plain_rows(const struct weights *w, const char *name, float *out, int rows, int cols,
                       int first, int n, struct err *err)
{
    const struct entry *e = weights_find(w, name);
    int rc = weights_check_shape(w, e, name, rows, cols, err);
    BUG_IF(rc == 0 && (first < 0 || n < 0 || first > (rows ? rows : 1) - n));
    return rc ? rc : read_checked(w, e, out, (size_t)first, (size_t)n, err);
}

void weights_values_hash(char out[33], const struct weights *w)
{
    struct hash128 h, all = {0};
    for (int i = 0; i < w->n; i++) {
        const struct entry *e = &w->entry[w->by_name[i]];
        struct hash128 part[3] = {all, hash_bytes(e->name, strlen(e->name)),
                                  hash_bytes(w->file[e->file].map.p + e->offset, e->bytes)};
        h = hash_bytes(part, sizeof part);
        all = h;
        weights_forget(w, e->name);
    }
    weights_forget_all(w);
    hash_hex(out, all);
}

const char *weights_stored(const struct weights *w)
{
    const struct entry *largest = &w->entry[0];
    for (int i = 1; i < w->n; i++)
        if (w->entry[i].bytes > largest->bytes)
            largest = &w->entry[i];
    return largest->type_name;
}

/* ---- blocks as they are ----------------------------------------------------------- */

static const enum store_type block_type[QUANT_TYPES] = {
    [QUANT_Q8_0] = STORE_Q8_0, [QUANT_Q4_0] = STORE_Q4_0, [QUANT_Q4_1] = STORE_Q4_1,
    [QUANT_Q5_0] = STORE_Q5_0, [QUANT_Q5_1] = STORE_Q5_1, [QUANT_Q4_K] = STORE_Q4_K,
    [QUANT_Q5_K] = STORE_Q5_K, [QUANT_Q6_K] = STORE_Q6_K};

bool weights_blocks(const struct weights *w, const char *name, int rows, int cols, enum quant *type)
{
    const struct entry *e = weights_find(w, name);
    if (!e || e->dims != 2 || e->offset_one)
        return false;
    bool turned = e->order == ENTRY_TURNED;
    if ((turned ? e->cols : e->rows) != (size_t)rows || (turned ? e->rows : e->cols) != (size_t)cols)
        return false;
    for (enum quant t = 0; t < QUANT_TYPES; t++)
        if (e->type == block_type[t]) {
            *type = t;
            return true;
        }
    return false;
}

void weights_block_rows(const struct weights *w, const char *name, const unsigned char **row)
{
    const struct entry *e = weights_find(w, name);
    size_t rows = e->order == ENTRY_TURNED ? e->cols : e->rows;
    const unsigned char *p = w->file[e->file].map.p + e->offset;
    for (size_t r = 0; r < rows; r++)
        row[r] = p + (e->order == ENTRY_INTERLEAVED ? stored_row(e, r, rows) : r) * (e->bytes / rows);
}

const char *weights_type_name(const struct weights *w, const char *name)
{
    const struct entry *e = weights_find(w, name);
    return e ? e->type_name : NULL;
}

const char *weights_file_name(const struct weights *w, const char *name)
{
    const struct entry *e = weights_find(w, name);
    return e ? weights_file_of(w, e) : NULL;
}

bool weights_is_blocks(const struct weights *w, const char *name)
{
    const struct entry *e = weights_find(w, name);
    return e && e->type != STORE_OTHER && store_block(e->type) > 1;
}

void weights_forget(const struct weights *w, const char *name)
{
    enum { PAGE = 1 << 16 }; // a multiple of every page size there is
    const struct entry *e = weights_find(w, name);
    if (!e)
        return;
    const struct file_map *map = &w->file[e->file].map;
    size_t from = (e->offset + PAGE - 1) / PAGE * PAGE, to = (e->offset + e->bytes) / PAGE * PAGE;
    if (from < to)
        (void)!madvise((void *)(map->p + from), to - from, MADV_DONTNEED);
}

void weights_forget_all(const struct weights *w)
{
    for (int i = 0; i < w->n_files; i++)
        (void)!madvise((void *)w->file[i].map.p, w->file[i].map.n, MADV_DONTNEED);
}

int weights_hash(char out[33], const struct weights *w, struct err *err)
{
    struct buf b = {0};
    for (int i = 0; i < w->n_files; i++) {
        /* Read, not mapped: pages looked at through the map would count as ours. */
        char hex[33];
        if (hash_file(hex, w->file[i].path, NULL))
            hash_hex(hex, hash_bytes(w->file[i].map.p, w->file[i].map.n));
        buf_addf(&b, "%s ", hex);
    }
    buf_adds(&b, w->extra_hash);
    if (b.failed)
        return err_set(err, ERR_MEMORY, "%s: no memory", w->path);
    hash_hex(out, hash_bytes(b.s, b.len));
    buf_release(&b);
    return 0;
}
