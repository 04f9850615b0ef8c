/* weights.c - one open checkpoint: which files it is made of, finding a tensor, converting its
 * values.
 *
 * Opening checks everything that can be checked without reading values: the table against the
 * file, the tensors the config promises against the table.  What is there but unknown is
 * ignored with a warning, except biases, which would change results. */
#include "model/format/store.h"

#include "model/format/gguf.h"

#include <sys/mman.h>

/* ---- checks shared by the formats ----------------------------------------------- */

int entry_check_range(const struct entry *e, size_t data_start, size_t file_size,
                      const char *path, struct err *err)
{
    size_t end;
    if (e->offset < data_start || !size_add(&end, e->offset, e->bytes) || end > file_size)
        return err_set(err, ERR_FORMAT,
                       "%s: tensor '%.200s' takes %zu bytes at offset %zu, but the file has "
                       "%zu (truncated?)",
                       path, e->file_name, e->bytes, e->offset, file_size);
    return 0;
}

static int compare_offset(const void *a, const void *b, void *entries)
{
    const struct entry *x = (const struct entry *)entries + *(const int *)a,
                       *y = (const struct entry *)entries + *(const int *)b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int check_neighbours(const struct entry *e, const int *order, int n, size_t data_start,
                            size_t file_size, bool dense, const char *path, struct err *err)
{
    size_t end = data_start;
    const char *before = "the start of the data";
    for (int i = 0; i < n; i++) {
        const struct entry *x = &e[order[i]];
        if (x->offset < end)
            return err_set(err, ERR_FORMAT,
                           "%s: tensor '%.200s' begins at offset %zu, inside '%.200s'", path,
                           x->file_name, x->offset, before);
        if (dense && x->offset > end)
            return err_set(err, ERR_FORMAT,
                           "%s: a gap of %zu bytes between '%.200s' and tensor '%.200s'", path,
                           x->offset - end, before, x->file_name);
        end = x->offset + x->bytes;
        before = x->file_name;
    }
    if (dense && end != file_size)
        return err_set(err, ERR_FORMAT,
                       "%s: %zu bytes after the last tensor that no tensor uses", path,
                       file_size - end);
    return 0;
}

int entries_check_overlap(const struct entry *e, int n, size_t data_start, size_t file_size,
                          bool dense, const char *path, struct err *err)
{
    int *order = mem_alloc((size_t)n + 1, sizeof *order);
    if (!order)
        return err_set(err, ERR_MEMORY, "%s: no memory for its table of tensors", path);
    for (int i = 0; i < n; i++)
        order[i] = i;
    qsort_r(order, (size_t)n, sizeof *order, compare_offset, (void *)e);
    int rc = check_neighbours(e, order, n, data_start, file_size, dense, path, err);
    free(order);
    return rc;
}

/* ---- finding -------------------------------------------------------------------- */

static int compare_name(const void *a, const void *b, void *entries)
{
    const struct entry *e = entries;
    return strcmp(e[*(const int *)a].name, e[*(const int *)b].name);
}

static int index_names(struct weights *w, struct err *err)
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

static const struct entry *find(const struct weights *w, const char *name)
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

static void shape_text(char out[64], int dims, size_t rows, size_t cols)
{
    if (dims == 2)
        snprintf(out, 64, "[%zu, %zu]", rows, cols);
    else
        snprintf(out, 64, "[%zu]", cols);
}

/* rows 0: a vector. */
static int check_shape(const struct weights *w, const struct entry *e, const char *name,
                       int rows, int cols, struct err *err)
{
    if (!e)
        return err_set(err, ERR_MISSING, "%s: tensor '%s' is missing", w->data_path, name);
    bool same = e->cols == (size_t)cols &&
                (rows ? e->dims == 2 && e->rows == (size_t)rows : e->dims == 1);
    if (same)
        return 0;
    char want[64], found[64];
    shape_text(want, rows ? 2 : 1, (size_t)rows, (size_t)cols);
    shape_text(found, e->dims, e->rows, e->cols);
    return err_set(err, ERR_FORMAT, "%s: tensor '%s': expected shape %s, found %s",
                   w->data_path, name, want, found);
}

/* ---- what a config promises ----------------------------------------------------- */

struct part {
    const char *name;
    int rows, cols;
};

static int check_parts(const struct weights *w, const char *prefix, const struct part *p, int n,
                       struct err *err)
{
    for (int i = 0; i < n; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", prefix, p[i].name);
        int rc = check_shape(w, find(w, name), name, p[i].rows, p[i].cols, err);
        if (rc)
            return rc;
    }
    return 0;
}

static int check_layers(const struct weights *w, struct err *err)
{
    const struct model_config *c = &w->config;
    int q = c->heads * c->head_size, kv = c->kv_heads * c->head_size;
    const struct part layer[] = {
        {"input_layernorm.weight", 0, c->width},
        {"self_attn.q_proj.weight", q, c->width},
        {"self_attn.k_proj.weight", kv, c->width},
        {"self_attn.v_proj.weight", kv, c->width},
        {"self_attn.o_proj.weight", c->width, q},
        {"post_attention_layernorm.weight", 0, c->width},
        {"mlp.gate_proj.weight", c->ffn, c->width},
        {"mlp.up_proj.weight", c->ffn, c->width},
        {"mlp.down_proj.weight", c->width, c->ffn},
    };
    for (int l = 0; l < c->layers; l++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "model.layers.%d.", l);
        int rc = check_parts(w, prefix, layer, ARRAY_LEN(layer), err);
        if (rc)
            return rc;
    }
    return 0;
}

/* seq_cls: the checkpoint says it is a reward model, so its head must be there, and a
 * vocabulary head need not. */
static int check_tensors(struct weights *w, bool seq_cls, struct err *err)
{
    struct model_config *c = &w->config;
    const struct part body[] =
        {
            {"model.embed_tokens.weight", c->vocab, c->width},
            {"model.norm.weight", 0, c->width},
        },
                      head = {"lm_head.weight", c->vocab, c->width},
                      score = {"score.weight", 1, c->width};
    int rc = check_parts(w, "", body, ARRAY_LEN(body), err);
    if (rc == 0)
        rc = check_layers(w, err);
    if (rc == 0 && !c->tied && !seq_cls)
        rc = check_parts(w, "", &head, 1, err);
    if (rc == 0 && (seq_cls || find(w, score.name)))
        rc = check_parts(w, "", &score, 1, err);
    c->score_head = find(w, score.name) != NULL;
    return rc;
}

static bool known(const struct weights *w, const char *name)
{
    static const char *const rest[] = {"model.embed_tokens.weight", "model.norm.weight",
                                       "lm_head.weight", "score.weight"};
    int layer, end = 0;
    for (size_t i = 0; i < ARRAY_LEN(rest); i++)
        if (!strcmp(name, rest[i]))
            return true;
    return sscanf(name, "model.layers.%d.%n", &layer, &end) == 1 && end > 0 && layer >= 0 &&
           layer < w->config.layers && str_ends(name, ".weight");
}

static int check_unknown(const struct weights *w, struct err *err)
{
    int ignored = 0;
    for (int i = 0; i < w->n; i++) {
        const char *name = w->entry[i].name;
        if (str_ends(name, ".bias"))
            return err_set(err, ERR_UNSUPPORTED,
                           "%s: tensor '%.200s': biases are not supported", w->data_path,
                           w->entry[i].file_name);
        if (!known(w, name) && !str_ends(name, "rotary_emb.inv_freq") && ignored++ == 0)
            log_warn("%s: tensor '%.200s' is not part of a Llama model and is ignored",
                     w->data_path, w->entry[i].file_name);
    }
    if (ignored > 1)
        log_warn("%s: %d more tensors are ignored", w->data_path, ignored - 1);
    return 0;
}

/* ---- opening -------------------------------------------------------------------- */

/* What else decides results: the config as understood, and the tokenizer that makes ids of
 * texts. */
static int hash_beside(struct weights *w, struct err *err)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json",
                                        "chat_template.jinja"};
    struct buf b = {0};
    int rc = 0;
    json_t *config = config_to_json(&w->config, DTYPE_F32);
    if (config)
        json_add_text(&b, config, 0);
    for (size_t i = 0; !w->gguf && rc == 0 && i < ARRAY_LEN(names); i++) {
        char hex[33] = "", *path = path_join(w->path, names[i]);
        if (path && file_exists(path))
            rc = hash_file(hex, path, err);
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

static int map_data(struct weights *w, struct err *err)
{
    int rc = file_map_open(&w->map, w->data_path, err);
    if (rc == 0 && w->map.p) // values are read soon and in order; a hint only
        madvise((void *)w->map.p, w->map.n, MADV_WILLNEED);
    return rc;
}

static int open_folder(struct weights *w, bool *seq_cls, struct err *err)
{
    w->data_path = path_join(w->path, "model.safetensors");
    if (!w->data_path)
        return err_set(err, ERR_MEMORY, "%s: no memory", w->path);
    int rc = config_read(&w->config, seq_cls, w->path, err);
    if (rc)
        return rc;
    if (!file_exists(w->data_path)) {
        char *index = path_join(w->path, "model.safetensors.index.json");
        bool sharded = index && file_exists(index);
        free(index);
        return sharded ? err_set(err, ERR_UNSUPPORTED,
                                 "%s: checkpoint in several shards; only a single "
                                 "model.safetensors is read",
                                 w->path)
                       : err_set(err, ERR_MISSING, "%s: no model.safetensors in this folder",
                                 w->path);
    }
    rc = map_data(w, err);
    return rc ? rc : safetensors_read_table(w, err);
}

static int open_gguf(struct weights *w, struct err *err)
{
    w->gguf = true;
    w->data_path = str_printf("%s", w->path);
    if (!w->data_path)
        return err_set(err, ERR_MEMORY, "%s: no memory", w->path);
    int rc = map_data(w, err);
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
    else if (gguf_is(path))
        rc = open_gguf(w, err);
    else
        rc = err_set(err, ERR_FORMAT,
                     "%s: neither a folder nor a GGUF file (a folder with config.json and "
                     "model.safetensors is expected)",
                     path);
    if (rc == 0)
        rc = index_names(w, err);
    if (rc == 0 && w->gguf)
        w->config.tied = !find(w, "lm_head.weight");
    if (rc == 0)
        rc = check_tensors(w, seq_cls, err);
    if (rc == 0)
        rc = check_unknown(w, err);
    if (rc == 0)
        rc = hash_beside(w, err);
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
    file_map_close(&w->map);
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
    return find(w, name) != NULL;
}

int weights_count(const struct weights *w)
{
    return w->n;
}

struct weight_info weights_info(const struct weights *w, int i)
{
    const struct entry *e = &w->entry[i];
    return (struct weight_info){e->name, e->file_name, store_name(e->type), e->dims, e->rows,
                                e->cols, e->bytes};
}

/* llama.cpp stores row 2j+s of a head where Hugging Face has row s D/2 + j (j the pair, s the
 * half). */
static size_t stored_row(const struct entry *e, size_t row)
{
    if (!e->heads)
        return row;
    size_t size = e->rows / (size_t)e->heads, head = row / size, r = row % size;
    return head * size + 2 * (r % (size / 2)) + r / (size / 2);
}

static void read_rows(const struct weights *w, const struct entry *e, float *out, size_t first,
                      size_t n)
{
    size_t row_bytes = e->bytes / e->rows;
    const unsigned char *p = w->map.p + e->offset;
    if (!e->heads)
        store_to_float(out, p + first * row_bytes, n * e->cols, e->type);
    else
        for (size_t i = 0; i < n; i++)
            store_to_float(out + i * e->cols, p + stored_row(e, first + i) * row_bytes, e->cols,
                           e->type);
}

int weights_read(const struct weights *w, const char *name, float *out, int rows, int cols,
                 struct err *err)
{
    const struct entry *e = find(w, name);
    int rc = check_shape(w, e, name, rows, cols, err);
    if (rc == 0 && e->bytes)
        read_rows(w, e, out, 0, e->rows);
    return rc;
}

int weights_read_rows(const struct weights *w, const char *name, float *out, int rows, int cols,
                      int first, int n, struct err *err)
{
    const struct entry *e = find(w, name);
    int rc = check_shape(w, e, name, rows, cols, err);
    BUG_IF(rc == 0 && (first < 0 || n < 0 || first > (rows ? rows : 1) - n));
    if (rc == 0 && e->bytes)
        read_rows(w, e, out, (size_t)first, (size_t)n);
    return rc;
}

int weights_hash(char out[33], const struct weights *w, struct err *err)
{
    struct buf b = {0};
    struct hash128 data = hash_bytes(w->map.p, w->map.n);
    char hex[33];
    hash_hex(hex, data);
    buf_addf(&b, "%s %s", hex, w->extra_hash);
    if (b.failed)
        return err_set(err, ERR_MEMORY, "%s: no memory", w->path);
    hash_hex(out, hash_bytes(b.s, b.len));
    buf_release(&b);
    return 0;
}
