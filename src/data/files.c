/* files.c - what a data set's name stands for: one file, or several in order.
 *
 *   name    part, part, ...     the parts in their order
 *           part newline ...    the same, of parts whose names may hold commas
 *   part    a file, or a pattern of the shell's kind (* ? [ ]): its files by name
 *
 * A file that is there under the whole name is meant, whatever characters the name has. */
#include "data/internal.h"

#include <glob.h>

static int no_memory(const char *name, struct err *err)
{
    return err_set(err, ERR_MEMORY, "%s: no memory for the names of its files", name);
}

static int add(struct data_files *f, const char *path, struct err *err)
{
    char **grown = mem_grow(f->path, &f->cap, f->n + 1, sizeof *f->path);
    if (!grown)
        return no_memory(path, err);
    f->path = grown;
    f->path[f->n] = str_printf("%s", path);
    return f->path[f->n] ? (f->n++, 0) : no_memory(path, err);
}

static int add_part(struct data_files *f, const char *part, struct err *err)
{
    glob_t g = {0};
    if (file_exists(part) || !strpbrk(part, "*?["))
        return add(f, part, err); // reading says what is wrong with one that is not there
    int found = glob(part, 0, NULL, &g), rc = 0;
    if (found == GLOB_NOSPACE)
        rc = no_memory(part, err);
    else if (found)
        rc = err_set(err, ERR_MISSING, "%s: no file has such a name", part);
    for (size_t i = 0; rc == 0 && i < g.gl_pathc; i++)
        rc = add(f, g.gl_pathv[i], err);
    globfree(&g);
    return rc;
}

int data_files_find(struct data_files *f, const char *name, struct err *err)
{
    *f = (struct data_files){0};
    if (file_exists(name))
        return add(f, name, err);
    int rc = 0;
    char separator = strchr(name, '\n') ? '\n' : ',';
    for (const char *at = name, *next; rc == 0 && at; at = next) {
        const char *end = strchrnul(at, separator);
        next = *end ? end + 1 : NULL;
        if (end == at)
            continue;
        char *part = str_printf("%.*s", (int)(end - at), at);
        rc = part ? add_part(f, part, err) : no_memory(name, err);
        free(part);
    }
    if (rc == 0 && f->n == 0)
        rc = err_set(err, ERR_MISSING, "'%s' names no file", name);
    if (rc)
        data_files_release(f);
    return rc;
}

void data_files_release(struct data_files *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->path[i]);
    free(f->path);
    *f = (struct data_files){0};
}
