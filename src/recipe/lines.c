/* recipe/lines.c - lines of a file or of standard input, one after the other. */
#include "recipe/lines.h"

#include <errno.h>

void lines_begin(struct lines *l, const struct run *run, const char *path)
{
    *l = (struct lines){.from = path ? path : "standard input",
                        .rows = run->json ? json_array() : NULL};
}

static int each(struct lines *l, FILE *f,
                int (*one)(void *arg, const char *s, size_t n, struct err *err), void *arg,
                struct err *err)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int rc = 0;
    while (rc == 0 && (n = getline(&line, &cap, f)) >= 0) {
        l->number++;
        if (n && line[n - 1] == '\n')
            n--;
        rc = one(arg, line, (size_t)n, err);
        if (rc == 0 && interrupted())
            rc = err_set(err, ERR_INTERRUPTED, "interrupted after line %d", l->number);
    }
    if (rc == 0 && ferror(f))
        rc = err_set(err, ERR_IO, "%s: reading: %s", l->from, strerror(errno));
    free(line);
    return rc;
}

int lines_each(struct lines *l, const char *path,
               int (*one)(void *arg, const char *s, size_t n, struct err *err), void *arg,
               struct err *err)
{
    FILE *f = path ? fopen(path, "rb") : stdin;
    if (!f)
        return err_set(err, ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    int rc = each(l, f, one, arg, err);
    if (path)
        fclose(f);
    return rc;
}

void lines_figures(const struct lines *l, json_t *result, const char *name)
{
    json_object_set_new(result, name, json_integer(l->number));
    if (l->rows)
        json_object_set(result, "rows", l->rows);
}

void lines_release(struct lines *l)
{
    json_decref(l->rows);
}
