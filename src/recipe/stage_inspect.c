/* recipe/stage_inspect.c - `rlaif inspect PATH`: what a model, dataset, label store or run
 * folder holds.
 *
 * What it is is seen from the thing itself: a folder with config.json is a model, one with
 * stages/ a run; a file that begins like SQLite is a store, like GGUF a model; everything else
 * is read as rows. */
#include "data/data.h"
#include "feedback/feedback.h"
#include "model/model.h"
#include "recipe/internal.h"

static const struct option options[] = {
    {"path", OPT_MODEL, NULL,
     "model folder, GGUF file, dataset (Parquet, JSON, CSV), label store or run folder",
     NULL, true},
};

static bool has(const char *dir, const char *name)
{
    char *path = path_join(dir, name);
    bool yes = path && (file_exists(path) || dir_exists(path));
    free(path);
    return yes;
}

static bool begins(const char *path, const char *magic)
{
    char head[16];
    FILE *f = fopen(path, "rb");
    size_t n = strlen(magic);
    bool yes = f && fread(head, 1, n, f) == n && !memcmp(head, magic, n);
    if (f)
        fclose(f);
    return yes;
}

/* ---- datasets ------------------------------------------------------------------- */

static const char *kind_of(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_STRING:
        return "string";
    case JSON_ARRAY:
        return "list";
    case JSON_OBJECT:
        return "object";
    case JSON_NULL:
        return "null";
    case JSON_TRUE:
    case JSON_FALSE:
        return "boolean";
    default:
        return "number";
    }
}

static void add_to(json_t *counts, const char *key, json_int_t n)
{
    json_object_set_new(counts, key,
                        json_integer(json_integer_value(json_object_get(counts, key)) + n));
}

/* column -> {"string": rows where it is one, ..., "bytes": of its strings}.  Texts are not
 * shown: some are offensive. */
static void count_columns(json_t *columns, const json_t *row)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)row, key, v)
    {
        json_t *c = json_object_get(columns, key);
        if (!c)
            json_object_set_new(columns, key, c = json_object());
        add_to(c, kind_of(v), 1);
        if (json_is_string(v))
            add_to(c, "bytes", (json_int_t)json_string_length(v));
    }
}

/* What stages may take it as. */
static json_t *usable_as(const json_t *columns)
{
    json_t *list = json_array();
    bool prompt = json_object_get(columns, "prompt");
    if (json_object_get(columns, "chosen") && json_object_get(columns, "rejected"))
        json_array_append_new(list, json_string("pairs"));
    if (prompt && json_object_get(columns, "completions"))
        json_array_append_new(list, json_string("candidates"));
    if ((prompt && json_object_get(columns, "completion")) ||
        json_object_get(columns, "text") || json_object_get(columns, "messages"))
        json_array_append_new(list, json_string("examples"));
    if (prompt)
        json_array_append_new(list, json_string("prompts"));
    return list;
}

/* What the footers of Parquet files tell, and the names where there are several files. */
static int inspect_files(json_t *result, const struct rows *rows, struct err *err)
{
    int rc = 0;
    json_t *names = json_array(), *d;
    for (int i = 0; rc == 0 && i < rows->n_files; i++) {
        const char *path = rows->file[i].path, *slash = strrchr(path, '/');
        json_array_append_new(names, json_string(path));
        if (!data_is_parquet(path) || (rc = data_describe_parquet(&d, path, err)))
            continue;
        char *key = rows->n_files > 1 ? str_printf("parquet %s", slash ? slash + 1 : path)
                                      : str_printf("parquet");
        json_object_set_new(result, key ? key : "parquet", d);
        free(key);
    }
    if (rows->n_files > 1)
        json_object_set(result, "files", names);
    json_decref(names);
    return rc;
}

static int inspect_rows(json_t *result, const char *path, struct err *err)
{
    struct rows rows = {0};
    int rc = rows_read(&rows, path, 0, err);
    if (rc)
        return rc;
    if (rows.n == 0) {
        rc = err_set(
            err, ERR_FORMAT,
            "%s: no model, store or run, and none of its lines is usable as a row (%s: %s)",
            path, rows_place(&rows, rows.rejected[0].line).within,
            rows.rejected[0].why ? rows.rejected[0].why : "no reason");
        rows_release(&rows);
        return rc;
    }
    json_t *columns = json_object();
    for (int i = 0; i < rows.n; i++)
        count_columns(columns, rows.row[i]);
    rc = inspect_files(result, &rows, err);
    json_object_set_new(result, "rows", json_integer(rows.n));
    json_object_set_new(result, "rejected", json_integer(rows.n_rejected));
    json_object_set_new(result, "usable_as", usable_as(columns));
    json_object_set_new(result, "columns", columns);
    rows_release(&rows);
    return rc;
}

/* ---- runs ----------------------------------------------------------------------- */

static int inspect_run(json_t *result, const char *path, struct err *err)
{
    static const char *const names[] = {"summary", "manifest"};
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(names) && rc == 0; i++) {
        char file[32];
        snprintf(file, sizeof file, "%s.json", names[i]);
        char *full = path_join(path, file);
        json_t *v = full && file_exists(full) ? json_read_file(full, err) : json_null();
        if (!v)
            rc = err ? err->code : ERR_FORMAT;
        else
            json_object_set_new(result, names[i], v);
        free(full);
    }
    return rc;
}

/* ---- the stage ------------------------------------------------------------------ */

static int take(json_t *result, json_t *found)
{
    json_object_update(result, found);
    json_decref(found);
    return 0;
}

static int run_inspect(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    const char *path = opt_str(opt, "path");
    json_t *found = NULL;
    int rc;
    if (dir_exists(path) && !has(path, "config.json") &&
        (has(path, "manifest.json") || has(path, "stages"))) {
        json_object_set_new(result, "kind", json_string("run"));
        return inspect_run(result, path, err);
    }
    if (dir_exists(path) || begins(path, "GGUF") || str_ends(path, ".gguf")) {
        json_object_set_new(result, "kind", json_string("model"));
        rc = model_inspect(&found, path, err);
        return rc ? rc : take(result, found);
    }
    if (store_is_one(path)) {
        json_object_set_new(result, "kind", json_string("store"));
        rc = store_inspect(&found, path, err);
        return rc ? rc : take(result, found);
    }
    json_object_set_new(result, "kind", json_string("dataset"));
    return inspect_rows(result, path, err);
}

/* ---- for people ----------------------------------------------------------------- */

/* Objects a level deeper, everything else as JSON on a line. */
static void print_value(const char *key, const json_t *v, int depth, FILE *to)
{
    const char *sub;
    json_t *item;
    if (json_is_object(v) && json_object_size(v) && depth < 3) {
        fprintf(to, "%*s%s\n", 2 * depth, "", key);
        json_object_foreach((json_t *)v, sub, item) print_value(sub, item, depth + 1, to);
        return;
    }
    struct buf b = {0};
    if (json_is_string(v))
        buf_adds(&b, json_string_value(v));
    else
        json_add_text(&b, v, 0);
    fprintf(to, "%*s%-*s %s\n", 2 * depth, "", 26 - 2 * depth, key, b.s ? b.s : "");
    buf_release(&b);
}

static void print_inspect(const json_t *result, FILE *to)
{
    const char *key, *kind = json_string_value(json_object_get(result, "kind"));
    json_t *v;
    if (kind && !strcmp(kind, "model")) {
        print_model(result, to);
        return;
    }
    json_object_foreach((json_t *)result, key, v) print_value(key, v, 0, to);
}

const struct stage stage_inspect = {
    .name = "inspect",
    .summary = "what a model, dataset, label store or run folder holds",
    .example = "rlaif inspect models/s",
    .bare = "path",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_inspect,
    .print = print_inspect,
};
