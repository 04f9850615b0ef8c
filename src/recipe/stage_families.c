/* recipe/stage_families.c - `rlaif families`: the models this program can read, train and
 * write.
 *
 * The list is what the family files say about themselves; README.md's table is printed here too
 * (make tables). */
#include "model/model.h"
#include "recipe/recipe.h"

static const struct option options[] = {
    {"markdown", OPT_BOOL, "false", "as README.md's table", NULL, false},
};

static int run_families(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    const struct model_family *f;
    int n = model_families(&f);
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:s?, s:s?}", "model_type",
                                        f[i].model_type, "name", f[i].name, "examples",
                                        f[i].examples, "notes", f[i].notes, "gguf", f[i].gguf));
    if (json_array_size(list) != (size_t)n)
        return err_set(err, ERR_MEMORY, "no memory to list %d families", n);
    json_object_set_new(result, "families", list);
    json_object_set_new(result, "markdown", json_boolean(opt_bool(opt, "markdown")));
    return 0;
}

static const char *text(const json_t *v, const char *key)
{
    const char *s = json_string_value(json_object_get(v, key));
    return s ? s : "";
}

/* "a, b" as `a`, `b`. */
static void print_quoted(const char *names, FILE *to)
{
    for (size_t n; *names; names += n + strspn(names + n, ", ")) {
        n = strcspn(names, ",");
        fprintf(to, "`%.*s`%s", (int)n, names, names[n] ? ", " : "");
    }
}

static void print_markdown(const json_t *list, FILE *to)
{
    size_t i;
    json_t *v;
    fprintf(to, "| family | `model_type` | for example | GGUF architecture | "
                "|\n|---|---|---|---|---|\n");
    json_array_foreach((json_t *)list, i, v)
    {
        fprintf(to, "| %s | `%s` | ", text(v, "name"), text(v, "model_type"));
        print_quoted(text(v, "examples"), to);
        fprintf(to, " | ");
        print_quoted(text(v, "gguf"), to);
        fprintf(to, " | %s |\n", text(v, "notes"));
    }
}

static void print_families(const json_t *result, FILE *to)
{
    const json_t *list = json_object_get(result, "families");
    size_t i;
    json_t *v;
    if (json_is_true(json_object_get(result, "markdown"))) {
        print_markdown(list, to);
        return;
    }
    json_array_foreach((json_t *)list, i, v)
    {
        fprintf(to, "%-12s %-28s %s\n", text(v, "model_type"), text(v, "name"),
                text(v, "examples"));
        if (*text(v, "notes"))
            fprintf(to, "%-12s %-28s (%s)\n", "", "", text(v, "notes"));
    }
}

const struct stage stage_families = {
    .name = "families",
    .summary = "the families of models that are read, trained and written",
    .example = "rlaif families",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_families,
    .print = print_families,
};
