/* assemble.c - rows out of columns, as Dremel stores them (Melnik et al. 2010).
 *
 * Every leaf column of a row holds at least one entry.  The definition level tells how far down
 * the tree there is something, the repetition level which list goes on with the entry: 0 begins
 * a row. All leaves below a node must tell the same story about it; where they do not, the file
 * is damaged. */
#include "data/parquet/parquet.h"

/* What a value costs beyond its bytes (jansson's node and its place in an object), and a row
 * beyond its values. */
enum { VALUE_COST = 128, ROW_COST = 256 };

int parquet_spend(struct parquet *p, const struct column *c, int64_t bytes, struct err *err)
{
    p->made += bytes + VALUE_COST;
    if (p->made <= p->most)
        return 0;
    return column_err(
        c, err, ERR_FORMAT,
        "the rows so far take %lld MiB, too much for a file of %zu bytes to be honest",
        (long long)(p->made >> 20), p->map.n);
}

static json_t *no_memory(struct column *c, struct err *err)
{
    column_err(c, err, ERR_MEMORY, "no memory for a row");
    return NULL;
}

/* The next entry of a column must belong here: `have` levels are known to be there, and it
 * continues the list of level `rep`. */
static int look(struct column *c, int have, int rep, struct err *err)
{
    int rc = column_peek(c, err);
    if (rc)
        return rc;
    if (c->done)
        return column_err(c, err, ERR_FORMAT, "fewer values than the row group has rows");
    if (c->rep != rep || c->def < have)
        return column_err(
            c, err, ERR_FORMAT,
            "its levels (repetition %d, definition %d) contradict the other columns'", c->rep,
            c->def);
    return 0;
}

/* Something above the leaves is not there: each of them has one entry to say so, at the same
 * level. */
static int pass_over(struct parquet *p, const struct node *n, int def, int rep, struct err *err)
{
    int rc = 0;
    for (int i = n->leaf; rc == 0 && i < n->leaf + n->n_leaves; i++) {
        rc = look(&p->column[i], def, rep, err);
        if (rc == 0 && p->column[i].def != def)
            rc = column_err(&p->column[i], err, ERR_FORMAT,
                            "its definition level %d contradicts the other columns' %d",
                            p->column[i].def, def);
        p->column[i].ready = false;
    }
    return rc;
}

static json_t *read_node(struct parquet *p, const struct node *n, int have, int rep,
                         struct err *err);

static json_t *read_struct(struct parquet *p, const struct node *n, int rep, struct err *err)
{
    json_t *o = json_object();
    for (int i = 0; o && i < n->n_children; i++) {
        const struct node *child = &n->child[i];
        json_t *v = read_node(p, child, n->def, rep, err);
        if (v && json_object_setn_new_nocheck(o, child->name, child->name_len, v) == 0)
            continue;
        if (v)
            no_memory(&p->column[child->leaf], err);
        json_decref(o);
        return NULL;
    }
    return o ? o : no_memory(&p->column[n->leaf], err);
}

/* One more pair of a map; its key is a text. */
static int read_pair(struct parquet *p, const struct node *n, json_t *o, int rep,
                     struct err *err)
{
    struct column *c = &p->column[n->leaf];
    json_t *key = read_node(p, &n->child[0], n->full, rep, err), *v = NULL;
    int rc = key ? 0 : ERR_FORMAT;
    if (key && !json_is_string(key) && !p->why[0])
        snprintf(p->why, sizeof p->why, "column '%.100s': a key of the map is null", c->path);
    if (key && !(v = read_node(p, &n->child[1], n->full, rep, err)))
        rc = ERR_FORMAT;
    if (v && json_is_string(key)) {
        if (json_object_setn_new_nocheck(o, json_string_value(key), json_string_length(key),
                                         v)) {
            no_memory(c, err);
            rc = ERR_MEMORY;
        }
    } else {
        json_decref(v);
    }
    json_decref(key);
    return rc;
}

static int read_element(struct parquet *p, const struct node *n, json_t *list, int rep,
                        struct err *err)
{
    struct column *c = &p->column[n->leaf];
    if (n->kind == NODE_MAP)
        return read_pair(p, n, list, rep, err);
    json_t *v = read_node(p, n->child, n->full, rep, err);
    if (!v)
        return ERR_FORMAT;
    int rc = parquet_spend(p, c, 0, err);
    if (rc)
        json_decref(v);
    else if (json_array_append_new(list, v)) {
        no_memory(c, err);
        rc = ERR_MEMORY;
    }
    return rc;
}

static json_t *read_list(struct parquet *p, const struct node *n, int rep, struct err *err)
{
    struct column *c = &p->column[n->leaf];
    json_t *list = n->kind == NODE_MAP ? json_object() : json_array();
    int rc = 0;
    if (!list)
        return no_memory(c, err);
    if (c->def < n->full) {
        rc = pass_over(p, n, n->def, rep, err);
    } else {
        do {
            rc = read_element(p, n, list, rep, err);
            rep = n->rep;
            if (rc == 0)
                rc = column_peek(c, err);
            if (rc == 0 && c->rep > n->rep)
                rc = column_err(c, err, ERR_FORMAT,
                                "repetition level %d where at most %d may follow", c->rep,
                                n->rep);
        } while (rc == 0 && c->rep == n->rep && !c->done);
    }
    if (rc) {
        json_decref(list);
        return NULL;
    }
    return list;
}

/* The value of a node: a new reference, JSON's null where it is not there, NULL on failure. */
static json_t *read_node(struct parquet *p, const struct node *n, int have, int rep,
                         struct err *err)
{
    struct column *c = &p->column[n->leaf];
    if (look(c, have, rep, err))
        return NULL;
    if (c->def < n->def)
        return pass_over(p, n, c->def, rep, err) ? NULL : json_null();
    if (n->kind == NODE_STRUCT)
        return read_struct(p, n, rep, err);
    if (n->kind != NODE_LEAF)
        return read_list(p, n, rep, err);
    json_t *v = column_value(c, err);
    c->ready = false;
    return v;
}

json_t *row_assemble(struct parquet *p, struct err *err)
{
    p->why[0] = 0;
    if (parquet_spend(p, &p->column[0], ROW_COST, err))
        return NULL;
    json_t *row = read_struct(p, &p->root, 0, err);
    if (row && json_object_size(row) != (size_t)p->root.n_children) {
        err_set(err, ERR_FORMAT, "%s: two of its columns have the same name", p->path);
        json_decref(row);
        row = NULL;
    }
    return row;
}
