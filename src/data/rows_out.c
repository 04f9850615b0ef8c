/* rows_out.c - writing JSON Lines, and the list of rows that were left out. */
#include "data/data.h"

#include <errno.h>

int rows_out_open(struct rows_out *w, const char *path, struct err *err)
{
    w->n = 0;
    return file_out_open(&w->file, path, err);
}

int rows_out_add(struct rows_out *w, const json_t *row, struct err *err)
{
    struct buf b = {0};
    json_add_text(&b, row, 0);
    buf_adds(&b, "\n");
    int rc = 0;
    if (b.failed)
        rc = err_set(err, ERR_MEMORY, "%s: row %d: no memory", w->file.path, w->n + 1);
    else if (fwrite(b.s, 1, b.len, w->file.f) != b.len)
        rc = err_set(err, ERR_IO, "%s: writing failed: %s", w->file.path, strerror(errno));
    else
        w->n++;
    buf_release(&b);
    return rc;
}

int rows_out_commit(struct rows_out *w, struct err *err)
{
    return file_out_commit(&w->file, err);
}

void rows_out_close(struct rows_out *w)
{
    if (w)
        file_out_close(&w->file);
}

static int add_rejected(struct rows_out *w, const struct rows *r, const struct rejected *x,
                        struct err *err)
{
    struct place at = rows_place(r, x->line);
    json_t *line = json_pack("{s:s, s:i, s:s, s:O?}", "file", at.path, "line", at.number, "reason",
                             x->why ? x->why : "no memory for the reason", "row", x->row);
    int rc = line ? rows_out_add(w, line, err)
                  : err_set(err, ERR_MEMORY, "%s: no memory", w->file.path);
    json_decref(line);
    return rc;
}

static int write_rejected(const struct rows *r, const char *path, struct err *err)
{
    struct rows_out w;
    int rc = rows_out_open(&w, path, err);
    if (rc)
        return rc;
    for (int i = 0; rc == 0 && i < r->n_rejected; i++)
        rc = add_rejected(&w, r, &r->rejected[i], err);
    if (rc == 0)
        rc = rows_out_commit(&w, err);
    rows_out_close(&w);
    if (rc == 0)
        log_warn("%s: %d of %d rows cannot be used (%s: %s); all of them are listed in %s", r->path,
                 r->n_rejected, r->n_rejected + r->n, rows_place(r, r->rejected[0].line).within,
                 r->rejected[0].why ? r->rejected[0].why : "no memory for the reason", path);
    return rc;
}

int rows_write_rejected(const struct rows *r, const char *dir, struct err *err)
{
    if (r->n_rejected == 0)
        return 0;
    char *path = path_join(dir, "rejected.jsonl");
    int rc = path ? dir_make(dir, err) : err_set(err, ERR_MEMORY, "%s: no memory", dir);
    if (rc == 0)
        rc = write_rejected(r, path, err);
    free(path);
    return rc;
}

int rows_write_rejected_beside(const struct rows *r, const char *output, struct err *err)
{
    if (r->n_rejected == 0)
        return 0;
    size_t stem = strlen(output) - (str_ends(output, ".jsonl") ? strlen(".jsonl") : 0);
    char *path = str_printf("%.*s.rejected.jsonl", (int)stem, output);
    int rc =
        path ? write_rejected(r, path, err) : err_set(err, ERR_MEMORY, "%s: no memory", output);
    free(path);
    return rc;
}
