/* gguf_write.c - a checkpoint written as a GGUF file, whole or not at all.
 *
 *   header, pairs, one line per tensor, padding to 32, then each tensor's values, padded to 32
 *
 * Values come row by row from the open checkpoint in Hugging Face's order and are put into
 * llama.cpp's: the opposite of what gguf_tensors.c says.  Pieces of some rows are converted at
 * a time, so memory does not grow with the model; only GPT-2's matrices are held whole. */
#include "model/format/gguf_out.h"

#include <math.h>

enum { ALIGN = 32, PIECE = 1 << 16 };

/* One tensor of the file: a spec of the model, the experts of a layer, or numbers of the
 * config. */
struct item {
    char name[64];
    const struct tensor_spec *spec; // NULL: numbers
    int experts;                    // specs from this one on that lie in this tensor; 1
    const float *numbers;
    int dims;
    uint64_t size[3]; // columns first
    enum store_type type;
};

struct job {
    const struct weights *w;
    const struct model_config *c;
    struct gguf_out head;
    struct tensor_spec *spec;
    int n_specs;
    struct item *item;
    int n;
    float *rope[2]; // numbers of items
    FILE *f;
    const char *path;
    struct progress progress;
};

/* ---- the list --------------------------------------------------------------------- */

static uint64_t item_bytes(const struct item *t)
{
    return t->size[0] / store_block(t->type) * store_block_bytes(t->type) * t->size[1] *
           t->size[2];
}

static void add_item(struct job *j, const struct tensor_spec *s, const struct gguf_kind *kind)
{
    struct item *t = &j->item[j->n++];
    *t = (struct item){.spec = s,
                       .experts = s->expert == 0 ? j->c->choices.experts : 1,
                       .dims = s->vector        ? 1
                               : s->expert == 0 ? 3
                                                : 2,
                       .size = {(uint64_t)s->cols, s->vector ? 1 : (uint64_t)s->rows, 1}};
    t->size[2] = (uint64_t)t->experts;
    t->type = gguf_tensor_type(kind, s, j->c);
    gguf_tensor_name(t->name, s);
}

static void add_numbers(struct job *j, const char *name, const float *v, int n)
{
    struct item *t = &j->item[j->n++];
    *t = (struct item){.numbers = v, .dims = 1, .size = {(uint64_t)n, 1, 1}, .type = STORE_F32};
    snprintf(t->name, sizeof t->name, "%s", name);
}

/* What divides the frequencies of a plain model: Llama 3.1's own, longrope's both. */
static int add_rope(struct job *j, struct err *err)
{
    const struct rope_choice *r = &j->c->choices.rope;
    struct model_config plain = *j->c;
    int n = rope_size(j->c) / 2;
    float scale;
    if (r->kind == ROPE_LONGROPE) {
        add_numbers(j, "rope_factors_long.weight", r->long_factor, n);
        add_numbers(j, "rope_factors_short.weight", r->short_factor, n);
    }
    if (r->kind != ROPE_LLAMA3)
        return 0;
    plain.choices.rope.kind = ROPE_DEFAULT;
    for (int i = 0; i < 2; i++)
        if (!(j->rope[i] = mem_alloc((size_t)n + 1, sizeof(float))))
            return err_set(err, ERR_MEMORY, "%s: no memory", j->path);
    rope_frequencies(j->rope[0], &scale, &plain, false);
    rope_frequencies(j->rope[1], &scale, j->c, false);
    for (int i = 0; i < n; i++)
        j->rope[0][i] /= j->rope[1][i];
    add_numbers(j, "rope_freqs.weight", j->rope[0], n);
    return 0;
}

/* Architectures whose loader wants a head even where it is the embedding. */
static bool wants_head(const struct job *j)
{
    const char *arch = family_of(j->c)->about.gguf;
    return j->c->tied && (!strcmp(arch, "olmo2") || !strcmp(arch, "gptneox"));
}

static int list_items(struct job *j, const struct gguf_kind *kind, struct err *err)
{
    int rc = family_tensors(&j->spec, &j->n_specs, j->c, false, err);
    if (rc)
        return rc;
    j->item = mem_alloc((size_t)j->n_specs + 4, sizeof *j->item);
    if (!j->item)
        return err_set(err, ERR_MEMORY, "%s: no memory for its table of tensors", j->path);
    rc = add_rope(j, err);
    for (int i = 0; i < j->n_specs && rc == 0; i++)
        if (j->spec[i].expert <= 0) {
            add_item(j, &j->spec[i], kind);
            if (j->spec[i].part == PART_EMBED && wants_head(j)) {
                add_item(j, &j->spec[i], kind);
                snprintf(j->item[j->n - 1].name, sizeof j->item->name, "output.weight");
            }
        }
    return rc;
}

/* ---- values ------------------------------------------------------------------------- */

/* Where Hugging Face keeps what the file has at row r (of a vector: column). */
static int source_row(const struct model_config *c, const struct tensor_spec *s, int r)
{
    int heads = s->part == PART_Q   ? c->heads
                : s->part == PART_K ? c->kv_heads
                                    : 0,
        D = c->head_size;
    if (family_of(c)->gguf_interleaved && heads)
        return r / D * D + r % 2 * (D / 2) + r % D / 2;
    if (s->order == ORDER_BY_HEAD) {
        int which = r / (c->heads * D), head = r / D % c->heads;
        return (head * 3 + which) * D + r % D;
    }
    return r;
}

static bool moves_rows(const struct model_config *c, const struct tensor_spec *s)
{
    return s->order == ORDER_BY_HEAD ||
           (family_of(c)->gguf_interleaved && (s->part == PART_Q || s->part == PART_K));
}

static int read_vector(const struct job *j, const struct tensor_spec *s, float *out,
                       struct err *err)
{
    float *v = malloc((size_t)s->cols * sizeof *v);
    int rc = v ? weights_read(j->w, s->name, v, 0, s->cols, err)
               : err_set(err, ERR_MEMORY, "no memory for tensor '%s'", s->name);
    for (int i = 0; i < s->cols && rc == 0; i++)
        out[i] = v[source_row(j->c, s, i)] + (s->offset ? 1 : 0);
    free(v);
    return rc;
}

/* Rows first .. first + n - 1 as the file has them. */
static int read_rows(const struct job *j, const struct tensor_spec *s, float *out, int first,
                     int n, struct err *err)
{
    int rc = 0;
    if (!moves_rows(j->c, s))
        return weights_read_rows(j->w, s->name, out, s->rows, s->cols, first, n, err);
    for (int i = 0; i < n && rc == 0; i++)
        rc = weights_read_rows(j->w, s->name, out + (size_t)i * (size_t)s->cols, s->rows,
                               s->cols, source_row(j->c, s, first + i), 1, err);
    return rc;
}

/* fp16 scales end at 65504, and so does what they can be asked to hold. */
static int check_range(const struct job *j, const struct item *t, const float *v, size_t n,
                       struct err *err)
{
    for (size_t i = 0; t->type != STORE_F32 && t->type != STORE_BF16 && i < n; i++)
        if (!(fabsf(v[i]) <= 65504))
            return err_set(err, ERR_NUMERIC,
                           "%s: tensor '%s' holds %g, more than %s can; BF16 and F32 files can",
                           j->head.path, t->name, (double)v[i], store_name(t->type));
    return 0;
}

static int put(struct job *j, const struct item *t, const float *v, size_t n, struct err *err)
{
    size_t bytes = n / store_block(t->type) * store_block_bytes(t->type);
    unsigned char *stored = malloc(bytes + 1);
    int rc = stored ? check_range(j, t, v, n, err)
                    : err_set(err, ERR_MEMORY, "%s: no memory", j->path);
    if (rc == 0) {
        float_to_store(stored, v, n, t->type);
        if (fwrite(stored, 1, bytes, j->f) != bytes)
            rc = err_set(err, ERR_IO, "%s: writing failed (disk full?)", j->path);
    }
    free(stored);
    return rc;
}

static int put_turned(struct job *j, const struct item *t, const struct tensor_spec *s,
                      struct err *err)
{
    size_t R = (size_t)s->rows, C = (size_t)s->cols;
    float *file = malloc(R * C * sizeof *file), *v = malloc(R * C * sizeof *v);
    int rc = file && v ? weights_read(j->w, s->name, file, s->cols, s->rows, err)
                       : err_set(err, ERR_MEMORY, "no memory for tensor '%s'", s->name);
    for (size_t r = 0; r < R && rc == 0; r++)
        for (size_t x = 0; x < C; x++)
            v[r * C + x] = file[x * R + r];
    if (rc == 0)
        rc = put(j, t, v, R * C, err);
    free(file);
    free(v);
    return rc;
}

static int put_rows(struct job *j, const struct item *t, const struct tensor_spec *s,
                    struct err *err)
{
    int most = PIECE / s->cols + 1, rc = 0;
    float *v = malloc((size_t)most * (size_t)s->cols * sizeof *v);
    if (!v)
        return err_set(err, ERR_MEMORY, "no memory for tensor '%s'", s->name);
    for (int r = 0; r < s->rows && rc == 0; r += most) {
        int n = s->rows - r < most ? s->rows - r : most;
        rc = interrupted()
                 ? err_set(err, ERR_INTERRUPTED, "interrupted; %s was not written", j->path)
                 : read_rows(j, s, v, r, n, err);
        if (rc == 0)
            rc = put(j, t, v, (size_t)n * (size_t)s->cols, err);
        progress_add(&j->progress, (double)n * s->cols / 1e6, NULL);
    }
    free(v);
    return rc;
}

static int put_spec(struct job *j, const struct item *t, const struct tensor_spec *s,
                    struct err *err)
{
    if (!s->vector)
        return s->order == ORDER_TRANSPOSED ? put_turned(j, t, s, err) : put_rows(j, t, s, err);
    float *v = malloc((size_t)s->cols * sizeof *v);
    int rc = v ? read_vector(j, s, v, err)
               : err_set(err, ERR_MEMORY, "no memory for tensor '%s'", s->name);
    if (rc == 0)
        rc = put(j, t, v, (size_t)s->cols, err);
    free(v);
    return rc;
}

static int pad(struct job *j, struct err *err)
{
    static const char zeros[ALIGN];
    long at = ftell(j->f);
    size_t n = at < 0 ? 0 : (size_t)(-at & (ALIGN - 1));
    return at < 0 || fwrite(zeros, 1, n, j->f) != n
               ? err_set(err, ERR_IO, "%s: writing failed (disk full?)", j->path)
               : 0;
}

static int put_item(struct job *j, const struct item *t, struct err *err)
{
    int rc = t->numbers ? put(j, t, t->numbers, t->size[0], err) : 0;
    for (int x = 0; t->spec && x < t->experts && rc == 0; x++)
        rc = put_spec(j, t, t->spec + x, err);
    return rc ? rc : pad(j, err);
}

/* ---- the file ----------------------------------------------------------------------- */

static int put_head(struct job *j, struct err *err)
{
    struct buf b = {0};
    uint64_t offset = 0;
    buf_adds(&b, "GGUF");
    gguf_add_u32(&b, 3);
    gguf_add_u64(&b, (uint64_t)j->n);
    gguf_add_u64(&b, j->head.n);
    buf_add(&b, j->head.kv.s, j->head.kv.len);
    for (int i = 0; i < j->n; i++) {
        const struct item *t = &j->item[i];
        gguf_add_str(&b, t->name, strlen(t->name));
        gguf_add_u32(&b, (uint32_t)t->dims);
        for (int d = 0; d < t->dims; d++)
            gguf_add_u64(&b, t->size[d]);
        gguf_add_u32(&b, gguf_type_number(t->type));
        gguf_add_u64(&b, offset);
        offset += (item_bytes(t) + ALIGN - 1) / ALIGN * ALIGN;
    }
    int rc = b.failed || j->head.kv.failed
                 ? err_set(err, ERR_MEMORY, "%s: no memory for its header", j->path)
             : fwrite(b.s, 1, b.len, j->f) != b.len
                 ? err_set(err, ERR_IO, "%s: writing failed (disk full?)", j->path)
                 : pad(j, err);
    buf_release(&b);
    return rc;
}

static int put_file(struct job *j, struct err *err)
{
    struct file_out out;
    double values = 0;
    int rc = file_out_open(&out, j->path, err);
    if (rc)
        return rc;
    for (int i = 0; i < j->n; i++)
        values += (double)(j->item[i].size[0] * j->item[i].size[1] * j->item[i].size[2]);
    j->f = out.f;
    progress_begin(&j->progress, "writing", "million values", values / 1e6);
    rc = put_head(j, err);
    for (int i = 0; i < j->n && rc == 0; i++)
        rc = put_item(j, &j->item[i], err);
    progress_end(&j->progress);
    if (rc == 0)
        rc = file_out_commit(&out, err);
    file_out_close(&out);
    return rc;
}

/* The last part of a path, as a name for people. */
static void put_name(struct gguf_out *o, const char *path)
{
    char *name = str_printf("%s", path);
    size_t n = name ? strlen(name) : 0;
    while (n > 1 && name[n - 1] == '/')
        name[--n] = 0;
    const char *slash = name ? strrchr(name, '/') : NULL;
    gguf_put_str(o, "general.type", "model");
    gguf_put_str(o, "general.name", slash && slash[1] ? slash + 1 : name ? name : "model");
    free(name);
}

int gguf_write(const char *path, const struct weights *w, const struct tokenizer *t,
               const struct gguf_kind *kind, struct err *err)
{
    struct job j = {.w = w, .c = weights_config(w), .path = path, .head.path = weights_path(w)};
    int rc = gguf_put_config(&j.head, j.c, err);
    if (rc == 0) {
        put_name(&j.head, weights_path(w));
        gguf_put_u32(&j.head, "general.file_type", kind->number);
        gguf_put_u32(&j.head, "general.quantization_version", 2);
        rc = list_items(&j, kind, err);
    }
    if (rc == 0)
        rc = gguf_put_vocab(&j.head, t, j.c, err);
    if (rc == 0)
        rc = put_file(&j, err);
    buf_release(&j.head.kv);
    free(j.spec);
    free(j.item);
    free(j.rope[0]);
    free(j.rope[1]);
    return rc;
}
