/* file.c - a Parquet file: its footer, and its rows one after the other.
 *
 *   "PAR1"   pages of all columns of all row groups   footer (Thrift)   4 bytes: its length
 * "PAR1"
 *
 * The footer is read whole, its row groups kept as 32 bytes per column.  Offsets and sizes are
 * checked against the file when a row group begins. */
#include "data/parquet/parquet.h"

#include <limits.h>

enum { FOOTER_MAX = 256 << 20 };
/* What rows may take however small the file is, and per byte of it: texts that differ cannot
 * grow much beyond what a codec can do, and texts that repeat are shared. */
static const int64_t MADE_LEAST = (int64_t)512 << 20, MADE_PER_BYTE = 1024;

/* ---- the footer -------------------------------------------------------------- */

struct footer {
    struct thrift t;
    struct parquet *p;
    struct element *element;
    size_t n_elements;
    int64_t rows;
    int n_leaves; // elements with a type: how many columns a row group has
    struct err *err;
};

static int no_memory(const struct parquet *p, struct err *err)
{
    return err_set(err, ERR_MEMORY, "%s: no memory for its footer", p->path);
}

static int read_schema(struct footer *f, const struct field *field)
{
    size_t n = thrift_structs(&f->t, field);
    if (f->element ||
        n > (size_t)(f->t.end - f->t.p) / 4) // the least an element takes is some more
        f->t.bad = true;
    if (f->t.bad)
        return 0;
    f->element = mem_alloc(n, sizeof *f->element);
    if (!f->element)
        return no_memory(f->p, f->err);
    f->n_elements = n;
    for (size_t i = 0; i < n; i++) {
        if (element_read(&f->element[i], &f->t))
            return 0;
        f->n_leaves += f->element[i].has_type;
    }
    return 0;
}

static void read_chunk_meta(struct chunk *c, struct thrift *t)
{
    struct field f = {0};
    int64_t dictionary = 0;
    while (thrift_next(t, &f))
        switch (f.id) {
        case 1:
            c->type = thrift_i32(t, &f);
            break;
        case 4:
            c->codec = thrift_i32(t, &f);
            break;
        case 5:
            c->values = thrift_int(t, &f);
            break;
        case 7:
            c->size = thrift_int(t, &f);
            break;
        case 9:
            c->at = thrift_int(t, &f);
            break;
        case 11:
            dictionary = thrift_int(t, &f);
            break;
        default:
            thrift_skip(t, f.type);
        }
    if (dictionary > 0 && dictionary < c->at) // 0 is what some writers say for none
        c->at = dictionary;
}

static void read_chunk(struct chunk *c, struct thrift *t)
{
    struct field f = {0};
    *c = (struct chunk){.type = -1};
    while (thrift_next(t, &f))
        if (f.id == 1) {
            c->type = -2; // in another file
            thrift_skip(t, f.type);
        } else if (f.id == 3 && thrift_struct(t, &f)) {
            int before = c->type;
            read_chunk_meta(c, t);
            if (before == -2)
                c->type = -2;
        } else {
            thrift_skip(t, f.type);
        }
}

static int read_group(struct footer *f, struct group *g, struct chunk *chunk)
{
    struct thrift *t = &f->t;
    struct field field = {0};
    bool seen = false;
    while (thrift_next(t, &field))
        if (field.id == 1) {
            size_t n = thrift_structs(t, &field);
            if (!t->bad && (n != (size_t)f->n_leaves || seen))
                return err_set(f->err, ERR_FORMAT,
                               "%s: a row group of %zu columns, the schema has %d", f->p->path,
                               n, f->n_leaves);
            for (size_t i = 0; i < n && !t->bad; i++)
                read_chunk(&chunk[i], t);
            seen = true;
        } else if (field.id == 3) {
            g->rows = thrift_int(t, &field);
        } else {
            thrift_skip(t, field.type);
        }
    if (!seen || g->rows < 0)
        t->bad = true;
    return 0;
}

/* Row groups come after the schema, so that the number of their columns is known. */
static int read_groups(struct footer *f, const struct field *field)
{
    struct parquet *p = f->p;
    size_t n = thrift_structs(&f->t, field), chunks;
    if (p->group || !f->element)
        f->t.bad = true;
    if (f->t.bad)
        return 0;
    // a column takes some bytes of the footer: what is claimed beyond them is a lie
    if (!size_mul(&chunks, n, (size_t)f->n_leaves) || chunks > (size_t)(f->t.end - f->t.p))
        return err_set(f->err, ERR_FORMAT, "%s: its footer claims %zu row groups of %d columns",
                       p->path, n, f->n_leaves);
    p->group = mem_alloc(n, sizeof *p->group);
    p->chunk = mem_alloc(chunks, sizeof *p->chunk);
    if (!p->group || !p->chunk)
        return no_memory(p, f->err);
    p->n_groups = n;
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0 && !f->t.bad; i++)
        rc = read_group(f, &p->group[i], p->chunk + i * (size_t)f->n_leaves);
    return rc;
}

static int read_footer(struct footer *f)
{
    struct thrift *t = &f->t;
    struct field field = {0};
    const uint8_t *begin = t->p;
    int rc = 0;
    while (rc == 0 && thrift_next(t, &field))
        if (field.id == 2) {
            rc = read_schema(f, &field);
        } else if (field.id == 3) {
            f->rows = thrift_int(t, &field);
        } else if (field.id == 4) {
            rc = read_groups(f, &field);
        } else if (field.id == 6) {
            struct bytes by = thrift_bytes(t, &field);
            free(f->p->created_by);
            f->p->created_by = str_printf(
                "%.*s", by.n ? (int)utf8_valid((const char *)by.p, by.n < 200 ? by.n : 200) : 0,
                by.n ? (const char *)by.p : "");
        } else if (field.id == 8) {
            return err_set(f->err, ERR_UNSUPPORTED, "%s: is encrypted, which is not read",
                           f->p->path);
        } else {
            thrift_skip(t, field.type);
        }
    if (rc == 0 && (t->bad || !f->element || (!f->p->group && f->rows)))
        rc = err_set(f->err, ERR_FORMAT, "%s: its footer is damaged (byte %td of %td)",
                     f->p->path, t->p - begin, t->end - begin);
    int64_t rows = 0;
    for (size_t i = 0; rc == 0 && f->p->group && i < f->p->n_groups; i++)
        if (__builtin_add_overflow(rows, f->p->group[i].rows, &rows))
            rows = -1;
    if (rc == 0 && rows != f->rows)
        rc = err_set(f->err, ERR_FORMAT,
                     "%s: its footer claims %lld rows, its row groups hold %lld", f->p->path,
                     (long long)f->rows, (long long)rows);
    return rc;
}

static int find_footer(struct parquet *p, struct thrift *t, struct err *err)
{
    const uint8_t *s = p->map.p, *end = s + p->map.n;
    uint32_t n;
    if (p->map.n < 12 || memcmp(s, "PAR1", 4) != 0)
        return err_set(err, ERR_FORMAT, "%s: not a Parquet file", p->path);
    if (memcmp(end - 4, "PARE", 4) == 0)
        return err_set(err, ERR_UNSUPPORTED, "%s: its footer is encrypted, which is not read",
                       p->path);
    if (memcmp(end - 4, "PAR1", 4) != 0)
        return err_set(err, ERR_FORMAT,
                       "%s: does not end as Parquet files do; is it cut short?", p->path);
    memcpy(&n, end - 8, 4);
    if (n > p->map.n - 12 || n > FOOTER_MAX)
        return err_set(err, ERR_FORMAT, "%s: its footer claims %u bytes of a file of %zu",
                       p->path, n, p->map.n);
    *t = (struct thrift){.p = end - 8 - n, .end = end - 8};
    return 0;
}

/* ---- columns ----------------------------------------------------------------- */

/* Fills the columns of the leaves below n; `path` is the path above it. */
static int set_columns(struct parquet *p, const struct node *n, const char *above, int rep,
                       struct err *err)
{
    char *path = above[0] ? str_printf("%s.%s", above, n->name)
                          : str_printf("%s", n->name ? n->name : "");
    int rc = path ? 0 : no_memory(p, err);
    if (n->kind == NODE_LIST || n->kind == NODE_MAP)
        rep = n->rep;
    for (int i = 0; rc == 0 && i < n->n_children; i++)
        rc = set_columns(p, &n->child[i], path, rep, err);
    if (rc == 0 && n->kind == NODE_LEAF) {
        p->column[n->leaf] = (struct column){
            .file = p, .leaf = n, .path = path, .max_def = n->def, .max_rep = rep};
        return 0;
    }
    free(path);
    return rc;
}

static int build(struct parquet *p, struct err *err)
{
    struct footer f = {.p = p, .err = err};
    int rc = find_footer(p, &f.t, err);
    if (rc == 0)
        rc = read_footer(&f);
    if (rc == 0)
        rc = schema_build(&p->root, f.element, f.n_elements, p->path, err);
    free(f.element);
    if (rc)
        return rc;
    p->n_columns = p->root.n_leaves;
    p->column = mem_alloc((size_t)p->n_columns, sizeof *p->column);
    return p->column ? set_columns(p, &p->root, "", 0, err) : no_memory(p, err);
}

int parquet_open(struct parquet **out, const char *path, struct err *err)
{
    struct parquet *p = mem_alloc(1, sizeof *p);
    if (!p || !(p->path = str_printf("%s", path))) {
        free(p);
        return err_set(err, ERR_MEMORY, "%s: no memory to read it", path);
    }
    int rc = file_map_open(&p->map, path, err);
    if (rc == 0)
        rc = build(p, err);
    p->most =
        MADE_LEAST + (p->map.n < (size_t)INT64_MAX / 2048 ? (int64_t)p->map.n * MADE_PER_BYTE
                                                          : INT64_MAX / 2);
    if (rc == 0)
        *out = p;
    else
        parquet_close(p);
    return rc;
}

void parquet_close(struct parquet *p)
{
    if (!p)
        return;
    for (int i = 0; p->column && i < p->n_columns; i++)
        column_release(&p->column[i]);
    free(p->column);
    schema_release(&p->root);
    free(p->group);
    free(p->chunk);
    free(p->created_by);
    file_map_close(&p->map);
    free(p->path);
    free(p);
}

/* ---- rows -------------------------------------------------------------------- */

static int begin_chunk(struct parquet *p, struct column *c, const struct chunk *k,
                       struct err *err)
{
    if (k->type == -2)
        return column_err(c, err, ERR_UNSUPPORTED,
                          "its data lies in another file, which is not read");
    if (k->type != (int)c->leaf->type)
        return column_err(c, err, ERR_FORMAT, "its physical type is %d, the schema says %d",
                          k->type, (int)c->leaf->type);
    if (k->codec < 0 || k->codec >= CODECS || k->codec == CODEC_LZO ||
        k->codec == CODEC_BROTLI || k->codec == CODEC_LZ4)
        return column_err(c, err, ERR_UNSUPPORTED, "the codec %d (%s) is not read", k->codec,
                          k->codec >= 0 && k->codec < CODECS ? codec_name[k->codec]
                                                             : "unknown");
    if (k->at < 4 || k->size < 0 || k->values < 0 || (uint64_t)k->at > p->map.n ||
        (uint64_t)k->size > p->map.n - (uint64_t)k->at)
        return column_err(c, err, ERR_FORMAT,
                          "%lld values in %lld bytes from byte %lld of a file of %zu",
                          (long long)k->values, (long long)k->size, (long long)k->at, p->map.n);
    column_begin(c, p->map.p + k->at, p->map.p + k->at + k->size, k->codec, k->values);
    return 0;
}

static int begin_group(struct parquet *p, struct err *err)
{
    int rc = 0;
    const struct chunk *k = p->chunk + p->at_group * (size_t)p->n_columns;
    p->row_left = p->group[p->at_group++].rows;
    for (int i = 0; rc == 0 && i < p->n_columns; i++)
        rc = begin_chunk(p, &p->column[i], &k[i], err);
    return rc;
}

/* All rows are out: nothing may be left. */
static int end_group(struct parquet *p, struct err *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < p->n_columns; i++) {
        rc = column_peek(&p->column[i], err);
        if (rc == 0 && !p->column[i].done)
            rc = column_err(&p->column[i], err, ERR_FORMAT,
                            "more values than the row group has rows");
    }
    return rc;
}

int parquet_next(struct parquet *p, json_t **row, const char **why, struct err *err)
{
    struct err own = {0};
    if (!err)
        err = &own;
    int rc = 0;
    while (rc == 0 && p->row_left == 0) {
        if (p->at_group)
            rc = end_group(p, err);
        if (rc == 0 && p->at_group == p->n_groups)
            return 0;
        if (rc == 0)
            rc = begin_group(p, err);
    }
    if (rc)
        return rc;
    err->code = 0;
    *row = row_assemble(p, err);
    if (!*row)
        return err->code ? err->code : ERR_FORMAT;
    p->row_left--;
    *why = p->why[0] ? p->why : NULL;
    return 1;
}

/* ---- for people -------------------------------------------------------------- */

json_t *parquet_describe(const struct parquet *p)
{
    json_t *schema = json_object(), *codecs = json_array();
    bool used[CODECS] = {false};
    int64_t rows = 0;
    for (int i = 0; i < p->root.n_children; i++) {
        struct buf b = {0};
        schema_type(&b, &p->root.child[i]);
        json_object_set_new(schema, p->root.child[i].name, json_string(b.s ? b.s : ""));
        buf_release(&b);
    }
    for (size_t i = 0; i < p->n_groups; i++) {
        rows += p->group[i].rows;
        for (size_t k = i * (size_t)p->n_columns; k < (i + 1) * (size_t)p->n_columns; k++)
            if (p->chunk[k].codec >= 0 && p->chunk[k].codec < CODECS)
                used[p->chunk[k].codec] = true;
    }
    for (int i = 0; i < CODECS; i++)
        if (used[i])
            json_array_append_new(codecs, json_string(codec_name[i]));
    return json_pack("{s:I, s:I, s:s?, s:o, s:o}", "rows", (json_int_t)rows, "row_groups",
                     (json_int_t)p->n_groups, "created_by", p->created_by, "codecs", codecs,
                     "schema", schema);
}
