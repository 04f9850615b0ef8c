/* cli/cmd_run.c - `rlaif run recipe.yaml`. */
#include "cli/cli.h"

static void run_help(FILE *to)
{
    fprintf(to,
            "rlaif run RECIPE.yaml - runs what is missing or stale, in order; killed, it goes on where it was\n\n"
            "  --set key=value ...                      a variable of the recipe, or stage.option=value\n"
            "  --output_dir DIR                         where outputs go instead of the recipe's folder\n"
            "  --threads N  --json  --quiet\n\n"
            "example:\n  rlaif run recipes/lab-tldr.yaml --set seed=2 --output_dir runs/lab-tldr-2\n");
}

struct run_flags {
    const char *recipe, *output_dir;
    json_t *set;
    struct common_flags common;
};

static int take_value(const char **out, int *i, int argc, char **argv, const char *flag,
                      struct err *err)
{
    const char *eq = strchr(argv[*i], '=');
    if (eq && strncmp(argv[*i], "--set", 5)) {
        *out = eq + 1;
        return 0;
    }
    if (*i + 1 >= argc)
        return err_set(err, ERR_USAGE, "rlaif run: %s needs a value", flag);
    *out = argv[++*i];
    return 0;
}

static int parse(struct run_flags *f, int argc, char **argv, struct err *err)
{
    static const char *const known[] = { "--set",   "--output_dir", "--threads", "--json",
                                         "--quiet", "--help",       NULL };
    int rc = 0;
    for (int i = 0; rc == 0 && i < argc; i++) {
        const char *a = argv[i], *v;
        int64_t n;
        if (!strcmp(a, "--help") || !strcmp(a, "-h")) {
            f->common.help = true;
        } else if (!strcmp(a, "--json")) {
            f->common.json = true;
        } else if (!strcmp(a, "--quiet")) {
            f->common.quiet = true;
        } else if (str_starts(a, "--output_dir") || str_starts(a, "--output-dir")) {
            rc = take_value(&f->output_dir, &i, argc, argv, "--output_dir", err);
        } else if (str_starts(a, "--threads")) {
            rc = take_value(&v, &i, argc, argv, "--threads", err);
            if (rc == 0 && (!str_to_i64(v, &n) || n < 0 || n > 4096))
                rc = err_set(err, ERR_USAGE,
                             "rlaif run: --threads is '%s', expected a whole number", v);
            f->common.threads = rc ? 0 : (int)n;
        } else if (!strcmp(a, "--set") && i + 1 < argc) {
            while (i + 1 < argc && argv[i + 1][0] != '-' && strchr(argv[i + 1], '='))
                json_array_append_new(f->set, json_string(argv[++i]));
            if (!strcmp(argv[i], "--set"))
                rc = err_set(err, ERR_USAGE, "rlaif run: --set needs key=value");
        } else if (a[0] == '-') {
            const char *near = str_nearest(a, known);
            rc = err_set(err, ERR_USAGE, "rlaif run: unknown flag %s%s%s%s", a,
                         near ? "; did you mean " : "", near ? near : "",
                         near ? "?" : " (rlaif run --help lists them)");
        } else if (f->recipe) {
            rc = err_set(err, ERR_USAGE, "rlaif run: one recipe at a time; found '%s' and '%s'",
                         f->recipe, a);
        } else {
            f->recipe = a;
        }
    }
    if (rc == 0 && !f->recipe && !f->common.help)
        rc = err_set(err, ERR_USAGE,
                     "rlaif run: which recipe? For example: rlaif run recipes/lab-tldr.yaml");
    return rc;
}

static void print_figures(const json_t *summary, const char *out)
{
    const char *key;
    json_t *v, *shown = json_object();
    json_object_foreach((json_t *)summary, key, v) {
        json_t *copy = json_is_object(v) ? json_object() : NULL;
        const char *sub;
        json_t *e;
        if (json_is_object(v)) {
            json_object_foreach(v, sub, e)
                if (!json_is_null(e))
                    json_object_set(copy, sub, e);
            json_object_set_new(shown, key, copy);
        } else if (!json_is_null(v)) {
            json_object_set(shown, key, v);
        }
    }
    json_object_del(shown, "tables");       // printed as such below
    print_result(shown, stdout);
    json_decref(shown);
    recipe_print_tables(out, stdout);
    printf("\nreport   %s/report.html\nfigures  %s/summary.json\n", out, out);
}

int cmd_run(int argc, char **argv)
{
    struct err err = { 0 };
    struct run_flags f = { .set = json_array() };
    json_t *summary = NULL;
    int rc = parse(&f, argc, argv, &err);
    struct run run = { .threads = f.common.threads,
                       .json = f.common.json,
                       .quiet = f.common.quiet };
    if (f.common.quiet)
        log_set_level(LOG_WARN);
    if (rc == 0 && f.common.help)
        run_help(stdout);
    else if (rc == 0)
        rc = recipe_run(&run, f.recipe, f.set, f.output_dir, &summary, &err);
    if (rc == 0 && summary && f.common.json)
        print_json(summary, stdout);
    else if (rc == 0 && summary)
        print_figures(summary, json_string_value(json_object_get(summary, "output_dir")));
    if (rc == 0 && fflush(stdout))
        rc = err_set(&err, ERR_IO, "writing to standard output: %m");
    device_close(run.device);
    json_decref(f.set);
    json_decref(summary);
    return rc ? report_failure(&err) : EXIT_DONE;
}
