/* recipe/audit_gold.c - gold verdicts and a labeler's own texts, looked up by the texts they are
 * about. */
#include "recipe/audit.h"

/* ---- tables by hash ---------------------------------------------------------------------- */

struct entry { struct hash128 key, preferred; const char *text; };
struct table { struct entry *entry; int n; struct arena arena; };

static int by_key(const void *a, const void *b)
{
    return memcmp(&((const struct entry *)a)->key, &((const struct entry *)b)->key,
                  sizeof(struct hash128));
}

static const struct entry *find(const struct table *t, struct hash128 key)
{
    struct entry e = { .key = key };
    return t->n ? bsearch(&e, t->entry, (size_t)t->n, sizeof e, by_key) : NULL;
}

static struct hash128 text_hash(const char *s)
{
    return hash_bytes(s, strlen(s));
}

/* The same for both orders of the pair. */
static struct hash128 pair_key(const struct candidates *c)
{
    struct hash128 h[3] = { text_hash(c->prompt), text_hash(c->first), text_hash(c->second) };
    if (memcmp(&h[1], &h[2], sizeof h[1]) > 0) {
        struct hash128 swap = h[1];
        h[1] = h[2];
        h[2] = swap;
    }
    return hash_bytes(h, sizeof h);
}

/* ---- gold -------------------------------------------------------------------------------- */

struct gold { struct table t; };

int gold_read(struct gold **out, const char *path, struct err *err)
{
    struct rows rows = { 0 };
    struct candidate_list list = { 0 };
    struct gold *g = mem_alloc(1, sizeof *g);
    int rc = g ? rows_read(&rows, path, 0, err) : err_set(err, ERR_MEMORY, "%s", path);
    if (rc == 0)
        rc = candidates_read(&list, &rows, false, err);
    if (rc == 0 && !(g->t.entry = mem_alloc((size_t)list.n + 1, sizeof *g->t.entry)))
        rc = err_set(err, ERR_MEMORY, "%s", path);
    for (int i = 0; rc == 0 && i < list.n; i++) {
        const struct candidates *c = &list.item[i];
        if (c->human)
            g->t.entry[g->t.n++] =
                (struct entry){ .key = pair_key(c),
                                .preferred = text_hash(c->human == 1 ? c->first : c->second) };
    }
    if (rc == 0 && !g->t.n)
        rc = err_set(err, ERR_VALUE,
                     "%s: no row says which of two texts is better (chosen and rejected)", path);
    if (rc == 0) {
        qsort(g->t.entry, (size_t)g->t.n, sizeof *g->t.entry, by_key);
        *out = g;
    } else {
        gold_free(g);
    }
    candidates_release(&list);
    rows_release(&rows);
    return rc;
}

void gold_free(struct gold *g)
{
    if (g)
        free(g->t.entry);
    free(g);
}

int gold_of(const struct gold *g, const struct candidates *c)
{
    const struct entry *e = find(&g->t, pair_key(c));
    struct hash128 first = text_hash(c->first);
    return !e ? 0 : memcmp(&e->preferred, &first, sizeof first) ? 2 : 1;
}

/* ---- the labeler's own texts ------------------------------------------------------------- */

struct own_texts { struct table t; };

/* A string, or the first of a list of messages, as rows of labels are read. */
static const char *plain(const json_t *v)
{
    return json_string_value(json_is_array(v) ? json_object_get(json_array_get(v, 0), "content")
                                              : v);
}

static int add_own(struct own_texts *o, const struct rows *rows, int i, struct err *err)
{
    const json_t *row = rows->row[i], *said = json_object_get(row, "completion");
    const char *prompt = plain(json_object_get(row, "prompt"));
    const char *text = plain(said ? said : json_array_get(json_object_get(row, "completions"), 0));
    if (!prompt || !text)
        return err_set(err, ERR_FORMAT, "%s: expected `prompt` and `completion` (or `completions`)",
                       rows_place(rows, rows->line[i]).s);
    const char *kept = arena_strdup(&o->t.arena, text);
    if (!kept)
        return err_set(err, ERR_MEMORY, "%s", rows->path);
    o->t.entry[o->t.n++] = (struct entry){ .key = text_hash(prompt), .text = kept };
    return 0;
}

int own_texts_read(struct own_texts **out, const char *path, struct err *err)
{
    struct rows rows = { 0 };
    struct own_texts *o = mem_alloc(1, sizeof *o);
    int rc = o ? rows_read(&rows, path, 0, err) : err_set(err, ERR_MEMORY, "%s", path);
    if (rc == 0 && !(o->t.entry = mem_alloc((size_t)rows.n + 1, sizeof *o->t.entry)))
        rc = err_set(err, ERR_MEMORY, "%s", path);
    for (int i = 0; rc == 0 && i < rows.n; i++)
        rc = add_own(o, &rows, i, err);
    if (rc == 0) {
        qsort(o->t.entry, (size_t)o->t.n, sizeof *o->t.entry, by_key);
        *out = o;
    } else {
        own_texts_free(o);
    }
    rows_release(&rows);
    return rc;
}

void own_texts_free(struct own_texts *o)
{
    if (o) {
        free(o->t.entry);
        arena_release(&o->t.arena);
    }
    free(o);
}

const char *own_text(const struct own_texts *o, const char *prompt)
{
    const struct entry *e = find(&o->t, text_hash(prompt));
    return e ? e->text : NULL;
}
