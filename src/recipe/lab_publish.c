/* recipe/lab_publish.c - a trained lab model put where the recipes find it, with a manifest of
 * what it has seen.
 *
 * The manifest repeats what the trainer measured (train_results.json of each folder, in order)
 * and what the corpus writer was told (NAME.json beside each corpus), so that nothing in it is
 * typed by hand. */
#include "recipe/lab_publish.h"

static const char *const model_files[] = {"config.json",           "generation_config.json",
                                          "model.safetensors",     "tokenizer.json",
                                          "tokenizer_config.json", "special_tokens_map.json"};

static int copy_model(const char *to, const char *from, struct err *err)
{
    int rc = dir_make(to, err);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(model_files); i++) {
        char *a = path_join(to, model_files[i]), *b = path_join(from, model_files[i]);
        rc = a && b ? file_copy(a, b, err) : err_set(err, ERR_MEMORY, "copying %s", from);
        free(a);
        free(b);
    }
    return rc;
}

/* Appends the JSON object in DIR/NAME (or, with name NULL, DIR.json) to list. */
static int append_file(json_t *list, const char *dir, const char *name, struct err *err)
{
    char *path = name ? path_join(dir, name) : str_printf("%s.json", dir);
    json_t *v = path ? json_read_file(path, err) : NULL;
    int rc = v      ? json_array_append_new(list, v)
             : path ? err->code
                    : err_set(err, ERR_MEMORY, "reading %s", dir);
    free(path);
    return rc;
}

int lab_publish(const char *dir, const json_t *trained, const json_t *corpora, json_t *result,
                struct err *err)
{
    struct err local = {0};
    err = err ? err : &local;
    json_t *runs = json_array(), *texts = json_array(), *v;
    size_t i;
    int rc = 0;
    if (!json_array_size(trained))
        rc = err_set(err, ERR_USAGE,
                     "rlaif lab --make published: --trained needs at least one folder");
    json_array_foreach(trained, i, v)
        if (rc == 0)
            rc = append_file(runs, json_string_value(v), "train_results.json", err);
    json_array_foreach(corpora, i, v)
        if (rc == 0)
            rc = append_file(texts, json_string_value(v), NULL, err);
    double tokens = 0, seconds = 0;
    json_array_foreach(runs, i, v) {
        tokens += json_number_value(json_object_get(v, "num_tokens"));
        seconds += json_number_value(json_object_get(v, "train_runtime"));
    }
    json_t *manifest =
        json_pack("{s:s,s:f,s:f,s:o,s:o}", "program", rlaif_version(), "tokens_seen", tokens,
                  "train_seconds", seconds, "corpora", texts, "trainings", runs);
    char *path = path_join(dir, "manifest.json");
    if (rc == 0 && (!manifest || !path))
        rc = err_set(err, ERR_MEMORY, "writing the manifest of %s", dir);
    if (rc == 0)
        rc = copy_model(
            dir, json_string_value(json_array_get(trained, json_array_size(trained) - 1)), err);
    if (rc == 0)
        rc = json_write_file(path, manifest, err);
    json_decref(manifest);
    free(path);
    if (rc == 0) {
        json_object_set_new(result, "tokens_seen", json_real(tokens));
        json_object_set_new(result, "train_seconds", json_real(seconds));
    }
    return rc;
}
