/* recipe/stage_store.c - `rlaif store`: what a label store holds, its rows as JSON Lines,
 * tidying, joining two. */
#include "feedback/feedback.h"
#include "recipe/recipe.h"

static const struct option options[] = {
    {"path", OPT_STRING, NULL, "the label store (labels.db)", NULL, true},
    {"merge", OPT_STRING, NULL, "another store: what it has and this one has not is added",
     NULL, false},
    {"export", OPT_OUTPUT, NULL, "write rows as JSON Lines", NULL, false},
    {"rows", OPT_CHOICE, "replies",
     "of export: what was asked and answered, or what was made of it", "replies|labels", false},
    {"labeler", OPT_STRING, NULL, "of export: this labeler only (fingerprint or name)", NULL,
     false},
    {"vacuum", OPT_BOOL, "false",
     "leave out texts that nothing speaks of, give free space back", NULL, false},
};

static int merge(struct store *s, const char *other, json_t *result, struct err *err)
{
    struct store_merged m;
    int rc = store_merge(&m, s, other, err);
    if (rc)
        return rc;
    json_object_set_new(result, "replies_added", json_integer(m.replies));
    json_object_set_new(result, "labels_added", json_integer(m.labels));
    json_object_set_new(result, "conflicts", json_integer(m.conflicts));
    return 0;
}

static int run_store(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct store *s = NULL;
    const char *path = opt_str(opt, "path");
    int n = 0;
    if (!file_exists(path))
        return err_set(err, ERR_MISSING, "%s: there is no such file", path);
    int rc = store_open(&s, path, err);
    if (rc == 0 && opt_given(opt, "merge"))
        rc = merge(s, opt_str(opt, "merge"), result, err);
    if (rc == 0 && opt_bool(opt, "vacuum"))
        rc = store_vacuum(s, err);
    if (rc == 0 && opt_given(opt, "export")) {
        rc =
            store_export(&n, s, opt_str(opt, "export"), !strcmp(opt_str(opt, "rows"), "labels"),
                         opt_str(opt, "labeler"), err);
        json_object_set_new(result, "exported", json_integer(n));
    }
    if (rc == 0)
        rc = store_list(result, s, err);
    store_close(s);
    return rc;
}

/* ---- for people ------------------------------------------------------------------ */

static const char *cell(char out[24], const json_t *row, const char *key)
{
    const json_t *v = json_object_get(row, key);
    if (json_is_integer(v))
        snprintf(out, 24, "%lld", (long long)json_integer_value(v));
    else
        snprintf(out, 24, "%.4g", json_number_value(v));
    return out;
}

static void print_table(const json_t *list, const char *title, const char *const *key, int n,
                        FILE *to)
{
    size_t i;
    json_t *row;
    char text[24];
    fprintf(to, "%-32s %-14s", title, "protocol");
    for (int k = 0; k < n; k++)
        fprintf(to, " %11s", key[k]);
    fputc('\n', to);
    json_array_foreach((json_t *)list, i, row)
    {
        const char *name = json_string_value(json_object_get(row, "labeler"));
        fprintf(to, "%-32.32s %-14.14s",
                name ? name : json_string_value(json_object_get(row, "fingerprint")),
                json_string_value(json_object_get(row, "protocol")));
        for (int k = 0; k < n; k++)
            fprintf(to, " %11s", cell(text, row, key[k]));
        fputc('\n', to);
    }
}

static void print_store(const json_t *result, FILE *to)
{
    static const char *const replies[] = {"replies",    "ok",      "too_long",
                                          "refused",    "failed",  "tokens_in",
                                          "tokens_out", "seconds", "price"};
    static const char *const labels[] = {"labels", "answered"};
    static const char *const said[] = {"replies_added", "labels_added", "conflicts",
                                       "exported"};
    for (size_t i = 0; i < ARRAY_LEN(said); i++)
        if (json_object_get(result, said[i]))
            fprintf(to, "%-14s %lld\n", said[i],
                    (long long)json_integer_value(json_object_get(result, said[i])));
    print_table(json_object_get(result, "replies"), "replies of", replies, ARRAY_LEN(replies),
                to);
    print_table(json_object_get(result, "labels"), "labels of", labels, ARRAY_LEN(labels), to);
}

const struct stage stage_store = {
    .name = "store",
    .summary = "what a label store holds: labelers, protocols, counts, tokens, money; export, "
               "merge, vacuum",
    .example = "rlaif store runs/lab-tldr/labels.db",
    .bare = "path",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_store,
    .print = print_store,
};
