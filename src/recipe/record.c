/* recipe/record.c - what each stage left behind, and whether it still holds.
 *
 * A record is keyed by the hash of the stage's options and of the content of its inputs.
 * Content, not times: a file that was copied or touched is the same file.  A model folder counts
 * by its files, without the bookkeeping that holds times. */
#include "data/data.h"
#include "recipe/internal.h"
#include "recipe/labelers.h"

#include <dirent.h>
#include <sys/stat.h>

static const char *const volatile_files[] = { "trainer_state.json", "train_results.json",
                                              "eval_results.json", "all_results.json",
                                              "README.md" };

static int counts(const struct dirent *e)
{
    const char *n = e->d_name;
    for (size_t i = 0; i < ARRAY_LEN(volatile_files); i++)
        if (!strcmp(volatile_files[i], n))
            return 0;
    return n[0] != '.' && !str_ends(n, ".db") && !str_ends(n, ".db-wal") &&
           !str_ends(n, ".db-shm") && !str_ends(n, ".partial");
}

static int hash_folder(char out[33], const char *path, struct err *err)
{
    struct dirent **list;
    int n = scandir(path, &list, counts, alphasort), rc = 0;
    if (n < 0)
        return err_set(err, ERR_IO, "%s: cannot read the folder: %m", path);
    struct buf b = { 0 };
    for (int i = 0; i < n; i++) {
        char *full = path_join(path, list[i]->d_name), hex[33];
        struct stat st;
        if (rc == 0 && full && stat(full, &st) == 0 && S_ISREG(st.st_mode)) {
            rc = hash_file(hex, full, err);
            buf_addf(&b, "%s %s\n", list[i]->d_name, hex);
        }
        free(full);
        free(list[i]);
    }
    free(list);
    if (rc == 0)
        hash_hex(out, hash_bytes(b.s, b.len));
    buf_release(&b);
    return rc;
}

/* A data set of several files: theirs, in order. */
static int hash_files(char out[33], const char *name, struct err *err)
{
    struct data_files f;
    struct buf b = { 0 };
    char hex[33];
    int rc = data_files_find(&f, name, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < f.n && rc == 0; i++) {
        rc = hash_file(hex, f.path[i], err);
        buf_addf(&b, "%s\n", hex);
    }
    if (rc == 0)
        hash_hex(out, hash_bytes(b.s, b.len));
    buf_release(&b);
    data_files_release(&f);
    return rc;
}

static int hash_path(char out[33], const char *path, struct err *err)
{
    return dir_exists(path)    ? hash_folder(out, path, err)
           : file_exists(path) ? hash_file(out, path, err)
                               : hash_files(out, path, err);
}

static int add_input(json_t *inputs, const struct step *s, const char *option, const char *path,
                     const json_t *commits, struct err *err)
{
    char hex[33];
    if (labeler_is_endpoint(path)) { // what it answers is not ours to hash; its replies are in the store
        json_object_set_new(inputs, path, json_string("endpoint"));
        return 0;
    }
    json_t *commit = json_object_get(commits, path);
    if (commit) {
        json_object_set(inputs, path, commit);
        return 0;
    }
    if (!file_exists(path) && !dir_exists(path) && !strpbrk(path, "*?[,\n"))
        return err_set(err, ERR_MISSING, "stage '%s': %s: there is no file or folder %s", s->name,
                       option, path);
    int rc = hash_path(hex, path, err);
    if (rc == 0)
        json_object_set_new(inputs, path, json_string(hex));
    return rc;
}

static bool names_file(enum option_type t)
{
    return t == OPT_INPUT || t == OPT_MODEL || t == OPT_DATA;
}

static bool names_files(enum option_type t)
{
    return t == OPT_INPUTS || t == OPT_MODELS;
}

static int hash_inputs(json_t *inputs, const struct step *s, const json_t *commits, struct err *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < s->stage->n_options; i++) {
        const struct option *o = &s->stage->option[i];
        const json_t *v = json_object_get(s->options, o->name);
        if (names_file(o->type) && json_is_string(v) && !option_has_choice(o, json_string_value(v)))
            rc = add_input(inputs, s, o->name, json_string_value(v), commits, err);
        size_t k;
        json_t *e;
        if (names_files(o->type) && json_is_array(v))
            json_array_foreach((json_t *)v, k, e)
                if (rc == 0)
                    rc = add_input(inputs, s, o->name, json_string_value(e), commits, err);
    }
    return rc;
}

int record_key(char key[33], json_t *inputs, const struct step *s, const json_t *commits,
               struct err *err)
{
    int rc = hash_inputs(inputs, s, commits, err);
    if (rc)
        return rc;
    json_t *all = json_pack("{s:s, s:O, s:O}", "stage", s->stage->name, "options", s->options,
                            "inputs", inputs);
    char *text = json_dumps(all, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(all);
    if (!text)
        return err_set(err, ERR_MEMORY, "stage '%s'", s->name);
    hash_hex(key, hash_bytes(text, strlen(text)));
    free(text);
    return 0;
}

static char *record_path(const char *out, const struct step *s)
{
    return str_printf("%s/stages/%s.json", out, s->name);
}

int record_read(struct record *rec, const char *out, const struct step *s, const char *key,
                struct err *err)
{
    *rec = (struct record){ 0 };
    char *path = record_path(out, s);
    if (!path)
        return err_set(err, ERR_MEMORY, "stage '%s'", s->name);
    if (file_exists(path)) {
        struct err ignored;
        rec->json = json_read_file(path, &ignored);
        if (!rec->json)
            log_warn("%s; the stage is run again", ignored.msg);
    }
    free(path);
    const char *old = json_string_value(json_object_get(rec->json, "key"));
    const char *status = json_string_value(json_object_get(rec->json, "status"));
    rec->same = old && !strcmp(old, key);
    rec->done = rec->same && status && !strcmp(status, "done");
    return 0;
}

int record_write(const char *out, const struct step *s, const char *key, const json_t *inputs,
                 const json_t *result, double seconds, double peak_mb, bool done, struct err *err)
{
    char *path = record_path(out, s), *now = time_iso();
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:O, s:O, s:O, s:f, s:f}", "stage", s->stage->name,
                          "status", done ? "done" : "running", "key", key, "time", now ? now : "",
                          "options", s->options, "inputs", inputs, "result", result, "seconds",
                          seconds, "peak_mb", peak_mb);
    int rc =
        j && path ? json_write_file(path, j, err) : err_set(err, ERR_MEMORY, "stage '%s'", s->name);
    json_decref(j);
    free(path);
    free(now);
    return rc;
}

void record_release(struct record *rec)
{
    json_decref(rec->json);
    *rec = (struct record){ 0 };
}

/* ---- outputs ----------------------------------------------------------------------------- */

static const char *output_path(const struct step *s, int i)
{
    enum option_type t = s->stage->option[i].type;
    return t == OPT_OUTPUT || t == OPT_OUTPUT_DIR ?
        json_string_value(json_object_get(s->options, s->stage->option[i].name)) : NULL;
}

bool outputs_exist(const struct step *s)
{
    for (int i = 0; i < s->stage->n_options; i++) {
        const char *path = output_path(s, i);
        if (path && !file_exists(path) && !dir_exists(path))
            return false;
    }
    return true;
}

static int is_entry(const struct dirent *e)
{
    return strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
}

static int clear_folder(const char *path, struct err *err)
{
    struct dirent **list;
    int n = scandir(path, &list, is_entry, NULL), rc = 0;
    for (int i = 0; i < n; i++) {
        const char *name = list[i]->d_name;
        char *full = path_join(path, name);
        bool store =
            str_ends(name, ".db") || str_ends(name, ".db-wal") || str_ends(name, ".db-shm");
        if (rc == 0 && full && !store)
            rc = dir_exists(full) ? dir_remove(full, err) :
                 remove(full) ? err_set(err, ERR_IO, "removing %s: %m", full) : 0;
        free(full);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    return rc;
}

int outputs_clear(const char *out, const struct step *s, struct err *err)
{
    size_t n = strlen(out);
    int rc = 0;
    for (int i = 0; rc == 0 && i < s->stage->n_options; i++) {
        const char *path = output_path(s, i);
        bool inside = path && !strncmp(path, out, n) && path[n] == '/' && !strstr(path + n, "/..");
        if (inside && dir_exists(path))
            rc = clear_folder(path, err);
        else if (inside && file_exists(path) && remove(path))
            rc = err_set(err, ERR_IO, "removing %s: %m", path);
    }
    return rc;
}
