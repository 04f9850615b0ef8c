/* shards.c - a safetensors checkpoint cut into several files.
 *
 *   model.safetensors.index.json   {"metadata": {"total_size": ..}, "weight_map": {tensor:
 * file}}
 *
 * The index is the authority: each tensor it names must be in the file it names, and a tensor
 * or a shard that it does not name is left alone with a warning.  total_size is not checked,
 * since several published indexes carry a wrong one. */
#include "model/format/store.h"

#include <dirent.h>

enum { SHARDS_MAX = 10000 };

/* A shard lies in the index's folder: a name that could lead elsewhere is refused. */
static int check_file_name(const char *file, const char *tensor, const char *index,
                           struct err *err)
{
    bool plain = *file && !strchr(file, '/') && strcmp(file, ".") && strcmp(file, "..");
    return plain ? 0
                 : err_set(err, ERR_FORMAT,
                           "%s: 'weight_map': tensor '%.200s' is in '%.200s'; expected the "
                           "name of a file in this folder",
                           index, tensor, file);
}

/* shard file -> its index in w->file; opens each once, in the order of their names. */
static int open_shards(struct weights *w, json_t *files, const char *index, struct err *err)
{
    const char *name;
    json_t *v;
    void *tmp;
    int rc = 0;
    json_object_foreach_safe(files, tmp, name, v)
    {
        char *path = path_join(w->path, name);
        if (!path)
            return err_set(err, ERR_MEMORY, "%s: no memory", index);
        if (!file_exists(path))
            rc = err_set(err, ERR_MISSING,
                         "%s: 'weight_map' says that tensor '%.200s' is in shard %.200s, which "
                         "is missing (download incomplete?)",
                         index, json_string_value(v), name);
        else
            rc = weights_add_file(w, path, err);
        free(path);
        if (rc == 0)
            rc = safetensors_read_table(w, err);
        if (rc)
            return rc;
        json_object_set_new(files, name, json_integer(w->n_files - 1));
    }
    return 0;
}

/* The files that the map names, each with one of its tensors. */
static int list_shards(json_t **out, const json_t *map, const char *index, struct err *err)
{
    const char *tensor;
    json_t *v, *files = json_object();
    int rc = 0;
    json_object_foreach((json_t *)map, tensor, v)
    {
        const char *file = json_string_value(v);
        rc = file ? check_file_name(file, tensor, index, err)
                  : err_set(err, ERR_FORMAT,
                            "%s: 'weight_map': the file of tensor '%.200s' should be a string",
                            index, tensor);
        if (rc == 0 && !json_object_get(files, file))
            json_object_set_new(files, file, json_string(tensor));
        if (rc == 0 && json_object_size(files) > SHARDS_MAX)
            rc = err_set(err, ERR_FORMAT, "%s: more than %d shards", index, SHARDS_MAX);
        if (rc)
            break;
    }
    if (rc == 0)
        *out = files;
    else
        json_decref(files);
    return rc;
}

/* Drops what the index does not name and checks that the rest is where it says. */
static int keep_named(struct weights *w, const json_t *map, const json_t *files,
                      const char *index, struct err *err)
{
    int kept = 0, dropped = 0;
    json_t *missing = json_deep_copy(map);
    for (int i = 0; i < w->n; i++) {
        struct entry *e = &w->entry[i];
        const char *file = json_string_value(json_object_get(map, e->file_name));
        bool here = file && json_integer_value(json_object_get(files, file)) == e->file;
        if (here) {
            json_object_del(missing, e->file_name);
            w->entry[kept++] = *e;
        } else if (dropped++ == 0) {
            log_warn("%s: tensor '%.200s' is left alone: the index %s", w->file[e->file].path,
                     e->file_name, file ? "names another shard for it" : "does not name it");
        }
    }
    w->n = kept;
    const char *tensor = json_object_iter_key(json_object_iter(missing));
    int rc = tensor
                 ? err_set(err, ERR_FORMAT,
                           "%s: 'weight_map' says that tensor '%.200s' is in shard %.200s, "
                           "which does not hold it",
                           index, tensor, json_string_value(json_object_get(missing, tensor)))
                 : 0;
    json_decref(missing);
    return rc;
}

/* Shards of another save beside those of the index are easily mistaken for part of it. */
static void warn_of_others(const char *dir, const json_t *files)
{
    DIR *d = opendir(dir);
    struct dirent *f;
    while (d && (f = readdir(d)))
        if (str_starts(f->d_name, "model-") && str_ends(f->d_name, ".safetensors") &&
            !json_object_get(files, f->d_name)) {
            log_warn("%s/%s: a shard that model.safetensors.index.json does not name", dir,
                     f->d_name);
            break;
        }
    if (d)
        closedir(d);
}

int shards_open(struct weights *w, const char *index, struct err *err)
{
    json_t *o = json_read_file(index, err), *files = NULL;
    if (!o)
        return err ? err->code : ERR_FORMAT;
    const json_t *map = json_object_get(o, "weight_map");
    int rc = json_object_size(map)
                 ? list_shards(&files, map, index, err)
                 : err_set(err, ERR_FORMAT,
                           "%s: 'weight_map' should be an object: tensor -> shard", index);
    if (rc == 0)
        rc = open_shards(w, files, index, err);
    if (rc == 0)
        rc = keep_named(w, map, files, index, err);
    if (rc == 0)
        warn_of_others(w->path, files);
    json_decref(files);
    json_decref(o);
    return rc;
}
