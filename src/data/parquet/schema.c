/* schema.c - the flat list of schema elements as a tree that says what rows look like.
 *
 * Lists are stored as a group around a repeated field, and three generations of writers differ
 * in what they put between:
 *
 *   three levels   optional group a (LIST) { repeated group list { optional T element } }
 *   two levels     optional group a (LIST) { repeated T array }
 *   bare           repeated T a
 *
 * The rules that tell them apart are those of apache/parquet-format, LogicalTypes.md.
 *
 * Levels: an optional or repeated field adds one to the definition level, a repeated one adds
 * one to the repetition level. */
#include "data/parquet/parquet.h"

enum { REQUIRED, OPTIONAL, REPEATED };
enum { DEPTH_MAX = 32 };
enum {
    CONV_NONE = -1,
    CONV_UTF8,
    CONV_MAP,
    CONV_MAP_KEY_VALUE,
    CONV_LIST,
    CONV_ENUM,
    CONV_DECIMAL,
    CONV_DATE,
    CONV_TIME_MS,
    CONV_TIME_US,
    CONV_STAMP_MS,
    CONV_STAMP_US,
    CONV_UINT8,
    CONV_UINT64 = 14,
    CONV_INT64 = 18,
    CONV_JSON,
    CONV_BSON,
    CONV_INTERVAL
};
enum {
    LOG_NONE,
    LOG_STRING,
    LOG_MAP,
    LOG_LIST,
    LOG_ENUM_,
    LOG_DECIMAL,
    LOG_DATE,
    LOG_TIME,
    LOG_STAMP,
    LOG_INTEGER = 10,
    LOG_UNKNOWN,
    LOG_JSON,
    LOG_BSON,
    LOG_UUID,
    LOG_HALF
};

/* ---- elements ---------------------------------------------------------------- */

/* TIME and TIMESTAMP: 1 is adjusted to UTC, 2 unit, a union of empty structs. */
static void read_time(struct element *e, struct thrift *t)
{
    struct field f = {0};
    while (thrift_next(t, &f)) {
        struct field u = {0};
        if (f.id == 1)
            e->utc = thrift_bool(t, &f);
        else if (f.id == 2 && thrift_struct(t, &f))
            while (thrift_next(t, &u)) {
                e->unit = u.id >= 1 && u.id <= 3 ? 3 * u.id : 0;
                thrift_skip(t, u.type);
            }
        else
            thrift_skip(t, f.type);
    }
}

static void read_two(struct element *e, struct thrift *t, bool decimal)
{
    struct field f = {0};
    while (thrift_next(t, &f))
        if (f.id == 1 && decimal)
            e->scale = thrift_i32(t, &f);
        else if (f.id == 2 && decimal)
            e->precision = thrift_i32(t, &f);
        else if (f.id == 1)
            e->bits = thrift_i32(t, &f);
        else if (f.id == 2)
            e->is_signed = thrift_bool(t, &f);
        else
            thrift_skip(t, f.type);
}

static void read_logical(struct element *e, struct thrift *t)
{
    struct field f = {0};
    while (thrift_next(t, &f)) {
        e->logical = f.id;
        if ((f.id == LOG_TIME || f.id == LOG_STAMP) && thrift_struct(t, &f))
            read_time(e, t);
        else if ((f.id == LOG_DECIMAL || f.id == LOG_INTEGER) && thrift_struct(t, &f))
            read_two(e, t, f.id == LOG_DECIMAL);
        else
            thrift_skip(t, f.type);
    }
}

int element_read(struct element *e, struct thrift *t)
{
    struct field f = {0};
    *e = (struct element){.converted = CONV_NONE, .utc = true};
    while (thrift_next(t, &f))
        switch (f.id) {
        case 1:
            e->type = thrift_i32(t, &f);
            e->has_type = true;
            break;
        case 2:
            e->width = thrift_i32(t, &f);
            break;
        case 3:
            e->repetition = thrift_i32(t, &f);
            break;
        case 4:
            e->name = thrift_bytes(t, &f);
            break;
        case 5:
            e->children = thrift_i32(t, &f);
            break;
        case 6:
            e->converted = thrift_i32(t, &f);
            break;
        case 7:
            e->scale = thrift_i32(t, &f);
            break;
        case 8:
            e->precision = thrift_i32(t, &f);
            break;
        case 10:
            if (thrift_struct(t, &f))
                read_logical(e, t);
            break;
        default:
            thrift_skip(t, f.type);
        }
    return t->bad ? -1 : 0;
}

/* ---- leaves ------------------------------------------------------------------ */

static int refuse(const struct node *n, const char *path, struct err *err, const char *what)
{
    return err_set(err, ERR_UNSUPPORTED, "%s: column '%s' is %s, which is not read", path,
                   n->name, what);
}

static void set_time(struct node *n, enum meaning as, int unit, bool utc)
{
    n->meaning = as;
    n->unit = unit;
    n->utc = utc;
}

/* What newer writers say.  Ids this reader does not know are as good as none for those that
 * only annotate, but VARIANT and geometry change what the bytes mean. */
static int from_logical(struct node *n, const struct element *e, const char *path,
                        struct err *err)
{
    switch (e->logical) {
    case LOG_STRING:
    case LOG_ENUM_:
        n->meaning = AS_TEXT;
        return 0;
    case LOG_DECIMAL:
        n->meaning = AS_DECIMAL;
        return 0;
    case LOG_DATE:
        n->meaning = AS_DATE;
        return 0;
    case LOG_TIME:
        set_time(n, AS_TIME, e->unit, false);
        return 0;
    case LOG_STAMP:
        set_time(n, AS_TIMESTAMP, e->unit, e->utc);
        return 0;
    case LOG_INTEGER:
        n->meaning = e->is_signed ? AS_PLAIN : AS_UNSIGNED;
        return 0;
    case LOG_UNKNOWN:
        return 0; // always null
    case LOG_JSON:
        n->meaning = AS_JSON;
        return 0;
    case LOG_UUID:
        n->meaning = AS_UUID;
        return 0;
    case LOG_HALF:
        n->meaning = AS_HALF;
        return 0;
    }
    char what[64];
    snprintf(what, sizeof what, "of the logical type %d%s", e->logical,
             e->logical == LOG_BSON ? " (BSON)" : "");
    return refuse(n, path, err, what);
}

static int from_converted(struct node *n, int converted, const char *path, struct err *err)
{
    if (converted == CONV_UTF8 || converted == CONV_ENUM)
        n->meaning = AS_TEXT;
    else if (converted == CONV_DECIMAL)
        n->meaning = AS_DECIMAL;
    else if (converted == CONV_DATE)
        n->meaning = AS_DATE;
    else if (converted == CONV_TIME_MS || converted == CONV_TIME_US)
        set_time(n, AS_TIME, converted == CONV_TIME_MS ? 3 : 6, false);
    else if (converted == CONV_STAMP_MS || converted == CONV_STAMP_US)
        set_time(n, AS_TIMESTAMP, converted == CONV_STAMP_MS ? 3 : 6, true);
    else if (converted >= CONV_UINT8 && converted <= CONV_UINT64)
        n->meaning = AS_UNSIGNED;
    else if (converted == CONV_JSON)
        n->meaning = AS_JSON;
    else if (converted == CONV_BSON || converted == CONV_INTERVAL)
        return refuse(n, path, err, converted == CONV_BSON ? "BSON" : "an INTERVAL");
    return 0;
}

/* Whether the meaning can be stored in the type. */
static bool fits(const struct node *n)
{
    bool bytes = n->type == PHYS_BYTES, fixed = n->type == PHYS_FIXED;
    bool narrow = n->type == PHYS_INT32, wide = n->type == PHYS_INT64;
    switch (n->meaning) {
    case AS_PLAIN:
        return true;
    case AS_TEXT:
    case AS_JSON:
        return bytes || fixed;
    case AS_UNSIGNED:
        return narrow || wide;
    case AS_DECIMAL:
        return (narrow || wide || bytes || fixed) && n->scale >= 0 && n->precision > 0 &&
               n->scale <= n->precision;
    case AS_DATE:
        return narrow;
    case AS_TIME:
        return n->unit == 3 ? narrow : wide && n->unit;
    case AS_TIMESTAMP:
        return wide && n->unit;
    case AS_UUID:
        return fixed && n->width == 16;
    case AS_HALF:
        return fixed && n->width == 2;
    }
    return false;
}

static int leaf_build(struct node *n, const struct element *e, const char *path,
                      struct err *err)
{
    if (e->type < PHYS_BOOLEAN || e->type > PHYS_FIXED)
        return err_set(err, ERR_FORMAT, "%s: column '%s' has the unknown physical type %d",
                       path, n->name, e->type);
    *n = (struct node){.kind = NODE_LEAF,
                       .name = n->name,
                       .name_len = n->name_len,
                       .def = n->def,
                       .leaf = n->leaf,
                       .n_leaves = 1,
                       .type = (enum physical)e->type,
                       .width = e->width,
                       .scale = e->scale,
                       .precision = e->precision};
    int rc =
        e->logical ? from_logical(n, e, path, err) : from_converted(n, e->converted, path, err);
    if (rc == 0 && n->type == PHYS_FIXED && (n->width < 1 || n->width > 1 << 20))
        return err_set(err, ERR_FORMAT, "%s: column '%s' has values of %d bytes", path, n->name,
                       n->width);
    if (rc == 0 && n->type == PHYS_INT96)
        set_time(n, AS_TIMESTAMP, 9, false);
    else if (rc == 0 && !fits(n))
        return err_set(err, ERR_FORMAT,
                       "%s: column '%s': its logical type does not go with its physical type",
                       path, n->name);
    if (rc == 0 && n->meaning == AS_DECIMAL && n->precision > 38)
        return refuse(n, path, err, "a decimal of more than 38 digits");
    return rc;
}

/* ---- the tree ---------------------------------------------------------------- */

struct builder {
    const struct element *e;
    size_t n, at;
    int leaves;
    const char *path;
    struct err *err;
};

static int node_build(struct builder *b, struct node *n, int def, int rep, int depth,
                      bool repeated_done);

static int bad_schema(struct builder *b, const char *why)
{
    return err_set(b->err, ERR_FORMAT, "%s: schema element %zu: %s", b->path, b->at, why);
}

static int name_node(struct builder *b, struct node *n, const struct element *e)
{
    size_t len = e->name.n;
    if (len && (memchr(e->name.p, 0, len) || utf8_valid((const char *)e->name.p, len) != len))
        return bad_schema(b, "its name is no text");
    n->name =
        str_printf("%.*s", (int)(len < 4096 ? len : 4096), len ? (const char *)e->name.p : "");
    n->name_len = n->name ? strlen(n->name) : 0;
    return n->name ? 0 : err_set(b->err, ERR_MEMORY, "%s: no memory for its schema", b->path);
}

static int children_new(struct builder *b, struct node *n, int count)
{
    // every child has an element of its own, so a lying count cannot ask for more than the list
    // holds
    if (count < 1 || (size_t)count > b->n - b->at)
        return bad_schema(b, count ? "more children than there are elements"
                                   : "a group without columns");
    n->child = mem_alloc((size_t)count, sizeof *n->child);
    if (!n->child)
        return err_set(b->err, ERR_MEMORY, "%s: no memory for its schema", b->path);
    n->n_children = count;
    return 0;
}

static int struct_build(struct builder *b, struct node *n, int count, int def, int rep,
                        int depth)
{
    n->kind = NODE_STRUCT;
    int rc = children_new(b, n, count);
    for (int i = 0; rc == 0 && i < count; i++)
        rc = node_build(b, &n->child[i], def, rep, depth + 1, false);
    return rc;
}

/* Whether the repeated group is only there to hold one element (three levels), or is the
 * element. */
static bool is_wrapper(const struct builder *b, const struct node *list,
                       const struct element *r)
{
    static const char tuple[] = "_tuple";
    if (r->has_type || r->children != 1 || b->at + 1 >= b->n)
        return false;
    size_t n = list->name_len;
    if (r->name.n == 5 && memcmp(r->name.p, "array", 5) == 0)
        return false;
    if (r->name.n == n + 6 && memcmp(r->name.p, list->name, n) == 0 &&
        memcmp(r->name.p + n, tuple, 6) == 0)
        return false;
    return b->e[b->at + 1].repetition != REPEATED;
}

/* b->at is at the repeated field.  bare: there is no group around it. */
static int list_build(struct builder *b, struct node *n, int rep, int depth, bool bare)
{
    if (b->at >= b->n || b->e[b->at].repetition != REPEATED)
        return bad_schema(b, "a list needs one repeated field");
    bool wrapper = !bare && is_wrapper(b, n, &b->e[b->at]);
    n->kind = NODE_LIST;
    n->full = n->def + 1;
    n->rep = rep + 1;
    int rc = children_new(b, n, 1);
    if (rc == 0 && wrapper)
        b->at++;
    return rc ? rc : node_build(b, n->child, n->full, n->rep, depth + 1, !wrapper);
}

static int map_build(struct builder *b, struct node *n, int rep, int depth)
{
    if (b->at >= b->n || b->e[b->at].repetition != REPEATED || b->e[b->at].children != 2)
        return bad_schema(b, "a map needs a repeated group of key and value");
    b->at++;
    n->full = n->def + 1;
    n->rep = rep + 1;
    int rc = struct_build(b, n, 2, n->full, n->rep, depth);
    n->kind = NODE_MAP;
    if (rc == 0 && (n->child[0].kind != NODE_LEAF || n->child[0].meaning != AS_TEXT))
        rc = refuse(n, b->path, b->err, "a map whose keys are no text");
    return rc;
}

/* Reads the element at b->at and those below it; def and rep are the levels around it.  A
 * repeated field is a list of its own unless its list was opened already. */
static int node_build(struct builder *b, struct node *n, int def, int rep, int depth,
                      bool repeated_done)
{
    if (depth > DEPTH_MAX)
        return bad_schema(b, "nested deeper than 32 levels");
    if (b->at >= b->n)
        return bad_schema(b, "the list of elements ends too early");
    const struct element *e = &b->e[b->at];
    int rc = name_node(b, n, e);
    if (rc)
        return rc;
    n->leaf = b->leaves;
    n->def = def + (e->repetition == OPTIONAL);
    if (e->repetition < REQUIRED || e->repetition > REPEATED)
        return bad_schema(b, "an unknown repetition");
    if (e->repetition == REPEATED && !repeated_done) {
        rc = list_build(b, n, rep, depth, true); // the field itself is the element
    } else if (e->has_type) {
        b->at++;
        b->leaves++;
        rc = leaf_build(n, e, b->path, b->err);
    } else if (e->logical > LOG_HALF) {
        rc = refuse(n, b->path, b->err, "a VARIANT");
    } else {
        bool list = e->logical ? e->logical == LOG_LIST : e->converted == CONV_LIST;
        bool map = e->logical ? e->logical == LOG_MAP
                              : e->converted == CONV_MAP || e->converted == CONV_MAP_KEY_VALUE;
        b->at++;
        rc = list && e->children == 1  ? list_build(b, n, rep, depth, false)
             : map && e->children == 1 ? map_build(b, n, rep, depth)
                                       : struct_build(b, n, e->children, n->def, rep, depth);
    }
    n->n_leaves = b->leaves - n->leaf;
    return rc;
}

int schema_build(struct node *root, const struct element *e, size_t n, const char *path,
                 struct err *err)
{
    struct builder b = {.e = e, .n = n, .at = 1, .path = path, .err = err};
    if (n < 2 || e[0].has_type)
        return err_set(err, ERR_FORMAT, "%s: its schema has no columns", path);
    int rc = struct_build(&b, root, e[0].children, 0, 0, 0);
    root->n_leaves = b.leaves;
    if (rc == 0 && b.at != n)
        rc = err_set(err, ERR_FORMAT, "%s: its schema has %zu elements, but the tree uses %zu",
                     path, n, b.at);
    return rc;
}

void schema_release(struct node *root)
{
    for (int i = 0; i < root->n_children; i++)
        schema_release(&root->child[i]);
    free(root->child);
    free(root->name);
    *root = (struct node){0};
}

/* ---- for people -------------------------------------------------------------- */

static void leaf_type(struct buf *b, const struct node *n)
{
    static const char *const plain[] = {"bool",  "int32",  "int64", "timestamp",
                                        "float", "double", "bytes", "bytes"};
    static const char *const named[] = {"",     "",     "string",    "json", "decimal",
                                        "date", "time", "timestamp", "uuid", "half"};
    if (n->meaning == AS_DECIMAL)
        buf_addf(b, "decimal(%d, %d)", n->precision, n->scale);
    else if (n->meaning == AS_UNSIGNED)
        buf_adds(b, n->type == PHYS_INT32 ? "uint32" : "uint64");
    else
        buf_adds(b, n->meaning == AS_PLAIN ? plain[n->type] : named[n->meaning]);
}

void schema_type(struct buf *b, const struct node *n)
{
    if (n->kind == NODE_LEAF) {
        leaf_type(b, n);
        return;
    }
    buf_adds(b, n->kind == NODE_LIST ? "list<" : n->kind == NODE_MAP ? "map<" : "struct<");
    for (int i = 0; i < n->n_children; i++) {
        if (i)
            buf_adds(b, ", ");
        if (n->kind == NODE_STRUCT)
            buf_addf(b, "%s: ", n->child[i].name);
        schema_type(b, &n->child[i]);
    }
    buf_adds(b, ">");
}
