/* gguf_tensors.c - the tensors of a GGUF file under Hugging Face names.
 *
 * Names come from the family's list of tensors (family_tensors).  llama.cpp's converter changes
 * the order of some values; entries say what to undo on reading (weights.c): rows of q and k
 * interleaved within heads, GPT-2's matrices turned, GPT-NeoX's heads taken apart, Gemma's
 * gains one larger.  The experts of a layer are one tensor there and become one entry each. */
#include "model/format/gguf.h"

#include "model/family/family.h"

/* ---- names ---------------------------------------------------------------------- */

/* A family's tensors by llama.cpp's names; experts share one. */
struct named {
    char name[64];
    const struct tensor_spec *spec;
};
struct names {
    struct tensor_spec *spec;
    struct named *list; // (n) by name
    int n;
};

void gguf_tensor_name(char out[64], const struct tensor_spec *t)
{
    char name[56];
    snprintf(name, sizeof name, part_gguf(t->part), t->layer);
    snprintf(out, 64, "%s.%s", name, t->bias ? "bias" : "weight");
}

static int compare_named(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static int names_make(struct names *names, const struct model_config *config, struct err *err)
{
    struct model_config c = *config;
    c.tied = false; // the head's name is wanted; promise.c sees whether it is there
    int n, rc = family_tensors(&names->spec, &n, &c, false, err);
    if (rc)
        return rc;
    names->list = mem_alloc((size_t)n + 1, sizeof *names->list);
    if (!names->list)
        return err_set(err, ERR_MEMORY, "no memory for the names of %d tensors", n);
    for (int i = 0; i < n; i++)
        if (names->spec[i].expert <= 0) {
            struct named *k = &names->list[names->n++];
            gguf_tensor_name(k->name, &names->spec[i]);
            k->spec = &names->spec[i];
        }
    qsort(names->list, (size_t)names->n, sizeof *names->list, compare_named);
    return 0;
}

static const struct tensor_spec *names_find(const struct names *names, const char *name)
{
    struct named key;
    snprintf(key.name, sizeof key.name, "%.63s", name);
    struct named *k = bsearch(&key, names->list, (size_t)names->n, sizeof key, compare_named);
    return k ? k->spec : NULL;
}

static void names_release(struct names *names)
{
    free(names->spec);
    free(names->list);
}

/* ---- one tensor ------------------------------------------------------------------ */

static const char *const GGML[] = {
    "F32",     "F16",    "Q4_0",    "Q4_1",  "Q4_2",   "Q4_3",  "Q5_0",  "Q5_1",
    "Q8_0",    "Q8_1",   "Q2_K",    "Q3_K",  "Q4_K",   "Q5_K",  "Q6_K",  "Q8_K",
    "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS",
    "I8",      "I16",    "I32",     "I64",   "F64",    "IQ1_M", "BF16"};

uint32_t gguf_type_number(enum store_type t)
{
    for (uint32_t i = 0; i < ARRAY_LEN(GGML); i++)
        if (!strcmp(GGML[i], store_name(t)))
            return i;
    BUG("%s is not a type of GGUF", store_name(t));
}

static int set_type(struct entry *e, uint32_t type, const char *path, struct err *err)
{
    e->type_name = type < ARRAY_LEN(GGML) ? GGML[type] : "unknown";
    for (enum store_type t = STORE_F32; t < STORE_TYPES; t++)
        if (!strcmp(e->type_name, store_name(t))) {
            e->type = t;
            return 0;
        }
    struct buf known = {0};
    for (enum store_type t = STORE_F32; t < STORE_TYPES; t++)
        buf_addf(&known, "%s%s", t ? ", " : "", store_name(t));
    int rc = err_set(err, ERR_UNSUPPORTED, "%s: tensor '%.200s' has type %s (%u); read are %s",
                     path, e->file_name, e->type_name, type, known.s ? known.s : "others");
    buf_release(&known);
    return rc;
}

static int set_shape(struct entry *e, const struct gguf_tensor *t, const char *path,
                     struct err *err)
{
    int dims = t->dims;
    while (dims > 2 && t->size[dims - 1] == 1)
        dims--;
    e->dims = dims;
    for (int i = 0; i < dims; i++)
        e->size[i] = t->size[dims - 1 - i];
    if (t->size[0] % store_block(e->type))
        return err_set(err, ERR_FORMAT,
                       "%s: tensor '%.200s': %llu columns of %s, whose blocks hold %zu values",
                       path, e->file_name, (unsigned long long)t->size[0], store_name(e->type),
                       store_block(e->type));
    if (!entry_measure(e, 0)) {
        char shape[100];
        entry_shape_text(shape, e);
        return err_set(err, ERR_FORMAT, "%s: tensor '%.200s': shape %s is larger than memory",
                       path, e->file_name, shape);
    }
    return 0;
}

/* What has to be undone.  A count of rows that heads do not divide is caught by the check of
 * shapes later, so it is only left alone here. */
static void set_order(struct entry *e, const struct tensor_spec *s,
                      const struct model_config *c)
{
    const struct family *f = family_of(c);
    size_t along = s->vector ? e->cols : e->rows;
    int heads = s->part == PART_Q ? c->heads : s->part == PART_K ? c->kv_heads : 0;
    if (f->gguf_interleaved && heads && along % (2 * (size_t)heads) == 0) {
        e->order = ENTRY_INTERLEAVED;
        e->heads = heads;
    }
    if (s->order == ORDER_BY_HEAD && along % (3 * (size_t)c->heads) == 0) {
        e->order = ENTRY_BY_HEAD;
        e->heads = c->heads;
    }
    if (s->order == ORDER_TRANSPOSED && !s->vector && e->dims == 2) {
        size_t rows = e->rows;
        e->order = ENTRY_TURNED;
        e->rows = e->size[0] = e->cols;
        e->cols = e->size[1] = rows;
    }
    e->offset_one = s->offset;
}

/* Which config a tensor belongs to rather than the weights. */
static bool is_of_config(const char *name)
{
    return !strcmp(name, "rope_freqs.weight") || !strcmp(name, "rope_factors_short.weight") ||
           !strcmp(name, "rope_factors_long.weight");
}

static int no_memory(const struct gguf *g, struct err *err)
{
    return err_set(err, ERR_MEMORY, "%s: no memory for its table of tensors", g->path);
}

static int read_entry(struct weights *w, struct entry *e, const struct gguf *g,
                      const struct gguf_tensor *t, struct err *err)
{
    if (t->name.n > 120 || memchr(t->name.s, 0, t->name.n))
        return err_set(err, ERR_FORMAT,
                       "%s: a tensor's name has %zu bytes or holds NUL; at most 120 are read",
                       g->path, t->name.n);
    e->name = e->file_name = arena_strndup(&w->arena, t->name.s, t->name.n);
    if (!e->file_name)
        return no_memory(g, err);
    int rc = set_type(e, t->type, g->path, err);
    if (rc == 0)
        rc = set_shape(e, t, g->path, err);
    if (rc == 0 && !size_add(&e->offset, g->data_start, t->offset))
        rc = err_set(err, ERR_FORMAT, "%s: tensor '%.200s': offset %llu is far beyond the file",
                     g->path, e->file_name, (unsigned long long)t->offset);
    return rc ? rc : entry_check_range(e, g->data_start, g->n, g->path, err);
}

/* ---- all of them ------------------------------------------------------------------ */

/* Entry i holds the experts of one layer, (E,out,in): it becomes the first of E entries. */
static int take_apart(struct weights *w, int i, const struct tensor_spec *s, struct err *err)
{
    struct entry all = w->entry[i];
    if (all.dims != 3 || all.size[0] != (size_t)w->config.choices.experts) {
        char shape[100];
        entry_shape_text(shape, &all);
        return err_set(err, ERR_FORMAT, "%s: tensor '%s': shape %s, but there are %d experts",
                       w->data_path, all.file_name, shape, w->config.choices.experts);
    }
    for (int x = 0; x < w->config.choices.experts; x++) {
        struct entry *e = x ? weights_add_entry(w, err) : &w->entry[i];
        if (!e)
            return ERR_MEMORY;
        *e = all;
        e->dims = 2;
        e->size[0] = e->rows = all.size[1];
        e->size[1] = e->cols = all.size[2];
        e->bytes = all.bytes / all.size[0];
        e->offset = all.offset + (size_t)x * e->bytes;
        e->name = arena_strdup(&w->arena, s[x].name); // the list has them one after the other
        if (!e->name)
            return err_set(err, ERR_MEMORY, "%s: no memory", w->data_path);
    }
    return 0;
}

static int give_name(struct weights *w, int i, const struct names *names, struct err *err)
{
    const struct tensor_spec *s = names_find(names, w->entry[i].file_name);
    if (!s)
        return 0;
    if (s->expert >= 0)
        return take_apart(w, i, s, err);
    set_order(&w->entry[i], s, &w->config);
    w->entry[i].name = arena_strdup(&w->arena, s->name);
    return w->entry[i].name ? 0 : err_set(err, ERR_MEMORY, "%s: no memory", w->data_path);
}

static int read_entries(struct weights *w, const struct gguf *g, const struct names *names,
                        struct err *err)
{
    int rc = 0;
    for (size_t i = 0; i < g->n_tensors && rc == 0; i++) {
        struct entry *e = weights_add_entry(w, err);
        rc = e ? read_entry(w, e, g, &g->tensor[i], err) : ERR_MEMORY;
    }
    if (rc == 0)
        rc = entries_check_overlap(w->entry, w->n, g->data_start, g->n, false, g->path, err);
    int kept = 0, n = w->n;
    for (int i = 0; i < n && rc == 0; i++)
        if (!is_of_config(w->entry[i].name))
            w->entry[kept++] = w->entry[i];
    if (rc == 0)
        w->n = n = kept;
    for (int i = 0; i < n && rc == 0; i++)
        rc = give_name(w, i, names, err);
    return rc;
}

int gguf_read_table(struct weights *w, struct err *err)
{
    struct gguf g = {0};
    struct names names = {0};
    int rc = gguf_open(&g, w->file[0].map.p, w->file[0].map.n, w->data_path, err);
    if (rc)
        return rc;
    rc = gguf_read_config(&w->config, &g, err);
    if (rc == 0)
        rc = names_make(&names, &w->config, err);
    if (rc == 0)
        rc = read_entries(w, &g, &names, err);
    names_release(&names);
    gguf_release(&g);
    return rc;
}
