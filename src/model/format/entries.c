/* entries.c - the list of tensors of an open checkpoint: adding to it, and the checks that
 * every format's table goes through before a value is looked at. */
#include "model/format/store.h"

#include <sys/mman.h>

int weights_add_file(struct weights *w, const char *path, struct err *err)
{
    struct data_file *list =
        mem_grow(w->file, &w->file_cap, (size_t)w->n_files + 1, sizeof *list);
    if (!list)
        return err_set(err, ERR_MEMORY, "%s: no memory", path);
    w->file = list;
    struct data_file f = {.path = arena_strdup(&w->arena, path)};
    int rc = f.path ? file_map_open(&f.map, path, err)
                    : err_set(err, ERR_MEMORY, "%s: no memory", path);
    if (rc)
        return rc;
    if (f.map.p) // values are read soon and in order; a hint only
        madvise((void *)f.map.p, f.map.n, MADV_WILLNEED);
    w->file[w->n_files++] = f;
    return 0;
}

struct entry *weights_add_entry(struct weights *w, struct err *err)
{
    struct entry *list = mem_grow(w->entry, &w->entry_cap, (size_t)w->n + 1, sizeof *list);
    if (!list) {
        err_set(err, ERR_MEMORY, "%s: no memory for its table of tensors", w->data_path);
        return NULL;
    }
    w->entry = list;
    list[w->n] = (struct entry){.file = w->n_files - 1};
    return &list[w->n++];
}

bool entry_measure(struct entry *e, size_t value_bytes)
{
    size_t block = store_block(e->type),
           each = e->type == STORE_OTHER ? value_bytes : store_block_bytes(e->type);
    bool fits = true;
    e->rows = e->cols = 1;
    for (int i = 0; i < e->dims - 1; i++)
        fits = fits && size_mul(&e->rows, e->rows, e->size[i]);
    if (e->dims)
        e->cols = e->size[e->dims - 1];
    return fits && size_mul(&e->bytes, e->cols / block, each) &&
           size_mul(&e->bytes, e->bytes, e->rows);
}

void entry_shape_text(char out[100], const struct entry *e)
{
    int at = snprintf(out, 100, "[");
    for (int i = 0; i < e->dims; i++)
        at += snprintf(out + at, 100 - (size_t)at, "%s%zu", i ? ", " : "", e->size[i]);
    snprintf(out + at, 100 - (size_t)at, "]");
}

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
