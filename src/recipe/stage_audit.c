/* recipe/stage_audit.c - `rlaif audit`: how far labels can be trusted, of one labeling or of
 * several on the same pairs. */
#include <math.h>

#include "recipe/audit.h"

enum { MOST_LABELINGS = 32, MOST_TESTS = 10 };     // tests that are printed: those of five labelings

static const struct option options[] = {
    { "labels", OPT_INPUTS, NULL, "labels.jsonl of `rlaif label` (or pairs with label_prob, as `rlaif convert` writes), one or several on the same pairs", NULL, true },
    { "names", OPT_LIST, NULL, "what they are called (default: their folders)", NULL, false },
    { "gold", OPT_DATA, NULL, "pairs {prompt, chosen, rejected} that say who is right (default: what the rows' own people said)", NULL, false },
    { "truth", OPT_INPUT, NULL, "the lab's truth.jsonl: its annotators are the people", NULL, false },
    { "by", OPT_STRING, NULL, "a key of the rows (task, category, ...): agreement for each of its values", NULL, false },
    { "own_texts", OPT_DATA, NULL, "rows {prompt, completion}, the labeler's own answers: does it prefer what is like them?", NULL, false },
    { "write_calibrated", OPT_BOOL, "false", "pairs_calibrated.jsonl too: label_prob at the temperature fitted here", NULL, false },
    { "output_dir", OPT_OUTPUT_DIR, NULL, "folder for audit.json and audit.html", NULL, true },
    { "seed", OPT_INT, "1", "of the annotators", NULL, false },
};

/* "runs/x/labels/labels.jsonl" is called labels; several need different names. */
static char *name_of(const char *path)
{
    const char *end = strrchr(path, '/');
    if (!end || (strcmp(end, "/labels.jsonl") && strcmp(end, "/pairs.jsonl")))
        return strdup(end ? end + 1 : path);
    const char *start = end;
    while (start > path && start[-1] != '/')
        start--;
    return str_printf("%.*s", (int)(end - start), start);
}

struct audit {
    struct audited item[MOST_LABELINGS];
    char *name[MOST_LABELINGS], *path[MOST_LABELINGS];
    int n;
    struct gold *gold;
    struct own_texts *own;
    struct lab_truth *truth;
};

static int add_labeling(struct audit *a, const char *path, const char *name, uint64_t seed,
                        struct err *err)
{
    int i = a->n;
    a->path[i] = strdup(path);
    a->name[i] = name ? strdup(name) : name_of(path);
    if (!a->path[i] || !a->name[i])
        return err_set(err, ERR_MEMORY, "--labels %s", path);
    for (int k = 0; k < i; k++)
        if (!strcmp(a->name[k], a->name[i]))
            return err_set(
                err, ERR_USAGE,
                "--labels: %s and %s would both be called '%s'; --names gives them names",
                a->path[k], path, a->name[i]);
    a->n++;
    return audited_open(&a->item[i], a->name[i], a->path[i], a->gold, a->truth, seed, err);
}

static int open_all(struct audit *a, const json_t *opt, struct err *err)
{
    const json_t *list = opt_list(opt, "labels"), *names = opt_list(opt, "names");
    size_t n = json_array_size(list);
    int rc = n < 1 || n > MOST_LABELINGS
                 ? err_set(err, ERR_USAGE, "--labels: %zu labelings, expected 1 to %d", n,
                           MOST_LABELINGS)
                 : 0;
    if (rc == 0 && names && json_array_size(names) != n)
        rc = err_set(err, ERR_USAGE, "--names: %zu names for %zu labelings", json_array_size(names),
                     n);
    if (rc == 0 && opt_given(opt, "gold"))
        rc = gold_read(&a->gold, opt_str(opt, "gold"), err);
    if (rc == 0 && opt_given(opt, "own_texts"))
        rc = own_texts_read(&a->own, opt_str(opt, "own_texts"), err);
    if (rc == 0 && opt_given(opt, "truth"))
        rc = lab_truth_open(&a->truth, opt_str(opt, "truth"), err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = add_labeling(a, json_string_value(json_array_get(list, i)),
                          json_string_value(json_array_get(names, i)),
                          (uint64_t)opt_int(opt, "seed"), err);
    return rc;
}

static void release(struct audit *a)
{
    for (int i = 0; i < MOST_LABELINGS; i++) {
        audited_release(&a->item[i]);
        free(a->name[i]);
        free(a->path[i]);
    }
    gold_free(a->gold);
    own_texts_free(a->own);
    lab_truth_free(a->truth);
    free(a);
}

static int figures(struct audit *a, const json_t *opt, json_t *result, struct err *err)
{
    json_t *list = json_array();
    int rc =
        json_object_set_new(result, "labelings", list) ? err_set(err, ERR_MEMORY, "an audit") : 0;
    for (int i = 0; rc == 0 && i < a->n; i++) {
        json_t *o = json_object();
        rc = audit_figures(o, &a->item[i], opt_str(opt, "by"), a->own,
                           (uint64_t)opt_int(opt, "seed"), err);
        json_object_set_new(o, "labels", json_string(a->path[i]));
        json_array_append_new(list, o);
    }
    return rc || a->n < 2 ? rc : audit_between(result, a->item, a->n, err);
}

static int write_all(const struct audit *a, const json_t *opt, const json_t *result,
                     struct err *err)
{
    const char *dir = opt_str(opt, "output_dir");
    char *json = path_join(dir, "audit.json"), *html = path_join(dir, "audit.html");
    struct buf command = { 0 };
    buf_adds(&command, "rlaif audit --labels");
    for (int i = 0; i < a->n; i++)
        buf_addf(&command, " %s", a->path[i]);
    int rc = json && html && command.s ? dir_make(dir, err) : err_set(err, ERR_MEMORY, "an audit");
    if (rc == 0)
        rc = json_write_file(json, result, err);
    if (rc == 0)
        rc = audit_page(result, command.s, html, err);
    for (int i = 0; rc == 0 && i < a->n && opt_bool(opt, "write_calibrated"); i++) {
        char *name = a->n > 1 ? str_printf("%s/pairs_calibrated_%s.jsonl", dir, a->name[i])
                              : path_join(dir, "pairs_calibrated.jsonl");
        rc = name ? audit_write_calibrated(&a->item[i], name, err)
                  : err_set(err, ERR_MEMORY, "an audit");
        free(name);
    }
    buf_release(&command);
    free(json);
    free(html);
    return rc;
}

static int run_audit(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct audit *a = mem_alloc(1, sizeof *a);
    if (!a)
        return err_set(err, ERR_MEMORY, "an audit");
    if (opt_given(opt, "gold") && opt_given(opt, "truth")) {
        free(a);
        return err_set(err, ERR_USAGE, "audit takes --gold or --truth, not both");
    }
    int rc = open_all(a, opt, err);
    if (rc == 0)
        rc = figures(a, opt, result, err);
    if (rc == 0)
        rc = write_all(a, opt, result, err);
    release(a);
    return rc;
}

/* ---- for people -------------------------------------------------------------------------- */

static void print_share(FILE *to, const json_t *o, const char *key)
{
    char ci[96];
    snprintf(ci, sizeof ci, "%s_ci", key);
    const json_t *v = json_object_get(o, ci);
    if (!isfinite(get_number(o, key)))
        fprintf(to, " %20s", "-");
    else
        fprintf(to, " %6.1f (%4.1f to %4.1f)", 100 * get_number(o, key),
                100 * json_number_value(json_array_get(v, 0)),
                100 * json_number_value(json_array_get(v, 1)));
}

static void print_number(FILE *to, const json_t *o, const char *key, int width, int digits)
{
    if (isfinite(get_number(o, key)))
        fprintf(to, " %*.*f", width, digits, get_number(o, key));
    else
        fprintf(to, " %*s", width, "-");
}

static void print_audit(const json_t *result, FILE *to)
{
    const json_t *o;
    size_t i;
    fprintf(to, "%-28s %8s %21s %6s %21s %6s %6s %6s %6s %6s %9s %9s\n", "labeling", "answered",
            "agreement %", "kappa", "same slot %", "mass", "r len", "Brier", "ECE", "T", "tokens",
            "seconds");
    json_array_foreach(json_object_get(result, "labelings"), i, o) {
        fprintf(to, "%-28s %8.0f", json_string_value(json_object_get(o, "name")),
                get_number(o, "answered"));
        print_share(to, o, "alignment");
        print_number(to, o, "kappa", 6, 2);
        print_share(to, o, "same_slot");
        print_number(to, o, "label_mass", 6, 2);
        print_number(to, o, "length_correlation", 6, 2);
        print_number(to, o, "brier", 6, 3);
        print_number(to, o, "ece", 6, 3);
        print_number(to, o, "temperature", 6, 2);
        print_number(to, o, "tokens_in_per_thousand", 9, 0);
        print_number(to, o, "seconds_per_thousand", 9, 1);
        fputs("\n", to);
    }
    const json_t *between = json_object_get(result, "between");
    bool few = json_array_size(between) <= MOST_TESTS;
    if (between)
        fprintf(to, "\nKrippendorff's alpha among them %.3f.  McNemar, pairs that only one got right%s\n", get_number(result, "krippendorff_alpha"),
                few ? ":" : ": see audit.html");
    json_array_foreach(few ? between : NULL, i, o)
        fprintf(to, "  %-28s %5.0f : %-5.0f %-28s p %.4f\n",
                json_string_value(json_object_get(o, "a")), get_number(o, "only_a"),
                get_number(o, "only_b"), json_string_value(json_object_get(o, "b")),
                get_number(o, "mcnemar_p"));
    fputs("(tokens and seconds are per 1,000 labels)\n", to);
}

const struct stage stage_audit = {
    .name = "audit",
    .summary = "how far labels can be trusted: agreement, leanings, calibration, cost; one page, one JSON",
    .example = "rlaif audit --labels runs/lab-tldr/heldout_labels/labels.jsonl --truth runs/lab-tldr/world/truth.jsonl --output_dir runs/try/audit",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_audit,
    .print = print_audit,
};
