/* recipe/stage_models.c - `rlaif models`: what the Hugging Face cache holds. */
#include "net/net.h"
#include "recipe/recipe.h"

static int run_models(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    json_t *list, *v;
    size_t i;
    double bytes = 0;
    int rc = hub_cached(&list, err);
    if (rc)
        return rc;
    json_array_foreach(list, i, v) bytes += json_number_value(json_object_get(v, "bytes"));
    json_object_set_new(result, "cached", list);
    json_object_set_new(result, "bytes", json_integer((json_int_t)bytes));
    return 0;
}

static const char *text(const json_t *v, const char *key)
{
    const char *s = json_string_value(json_object_get(v, key));
    return s ? s : "";
}

static void print_revision(const json_t *r, FILE *to)
{
    size_t i;
    json_t *name;
    fprintf(to, "%.12s", text(r, "commit"));
    json_array_foreach(json_object_get(r, "refs"), i, name)
        fprintf(to, "%s%s", i ? ", " : " ", json_string_value(name));
}

static void print_models(const json_t *result, FILE *to)
{
    const json_t *list = json_object_get(result, "cached");
    json_t *v, *r;
    size_t i, k;
    json_array_foreach((json_t *)list, i, v)
    {
        fprintf(to, "%-8s %-44s %9.1f MB  %.10s  ", text(v, "kind"), text(v, "id"),
                1e-6 * json_number_value(json_object_get(v, "bytes")), text(v, "last_used"));
        json_array_foreach(json_object_get(v, "revisions"), k, r)
        {
            fputs(k ? "; " : "", to);
            print_revision(r, to);
        }
        fputc('\n', to);
    }
    fprintf(to, "%zu in the cache, %.1f MB\n", json_array_size(list),
            1e-6 * json_number_value(json_object_get(result, "bytes")));
}

const struct stage stage_models = {
    .name = "models",
    .summary = "what of the Hugging Face Hub is on this disk: id, size, last use, revisions",
    .example = "rlaif models",
    .option = NULL,
    .n_options = 0,
    .run = run_models,
    .print = print_models,
};
