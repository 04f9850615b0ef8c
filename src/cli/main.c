/* cli/main.c - finds the command and hands it the rest of the line.
 *
 * Every stage of recipe/ is a command; `run` chains them. */
#include <malloc.h>
#include <unistd.h>

#include "cli/cli.h"

/* A thread that waits for the others spins before it sleeps, by libgomp's own choice for tens of
 * milliseconds. Alone on a machine that gains nothing measurable over 50 microseconds; beside
 * other programs the spinning takes the very time that the others need (loading a model and 8
 * tokens with two threads, load 10: 37 s against 2 s). libgomp reads the variable when it is
 * loaded, before main, so the program starts itself once more (1 ms). */
static void wait_briefly(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY") ||
        setenv("GOMP_SPINCOUNT", "1000", 0))
        return;
    execv("/proc/self/exe", argv);      // where that cannot be, we go on as we are
}

int report_failure(const struct err *err)
{
    fprintf(stderr, "rlaif: %s\n", err->msg);
    return err->code == ERR_USAGE ? EXIT_USAGE : EXIT_FAILED;
}

/* A plan writes nothing, so it need not be told where. */
static void name_outputs(json_t *given, const struct stage *s)
{
    for (int i = 0; i < s->n_options; i++)
        if ((s->option[i].type == OPT_OUTPUT || s->option[i].type == OPT_OUTPUT_DIR) &&
            !json_object_get(given, s->option[i].name))
            json_object_set_new(given, s->option[i].name, json_string("nothing-is-written"));
}

int cmd_stage(const struct stage *s, bool plan, int argc, char **argv)
{
    struct err err = { 0 };
    struct common_flags common = { 0 };
    struct run run = { 0 };
    json_t *given = json_object(), *opt = NULL, *local = NULL, *commits = json_object(),
           *result = json_object();
    int rc = flags_parse(given, &common, s, argc, argv, &err);
    if (rc == 0 && common.help) {
        help_stage(s, stdout);
        goto out;
    }
    if (common.quiet)
        log_set_level(LOG_WARN);
    run = (struct run){ .threads = common.threads, .json = common.json, .quiet = common.quiet };
    char where[64];
    snprintf(where, sizeof where, "rlaif %s%s", plan ? "plan " : "", s->name);
    if (plan)
        name_outputs(given, s);
    if (rc == 0)
        rc = options_resolve(&opt, s, given, where, &err);
    if (rc == 0)
        rc = inputs_resolve(&local, commits, s, opt, NULL, &err);
    if (rc == 0) {
        PROFILE(s->name);
        rc = plan ? stage_plan(&run, s, local, result, &err)
                  : stage_run(&run, s, local, result, &err);
    }
    if (rc == 0 && common.json)
        print_json(result, stdout);
    else if (rc == 0)
        (plan ? print_plan : s->print ? s->print : print_result)(result, stdout);
    if (rc == 0 && fflush(stdout))
        rc = err_set(&err, ERR_IO, "writing to standard output: %m");
out:
    device_close(run.device);
    json_decref(given);
    json_decref(opt);
    json_decref(local);
    json_decref(commits);
    json_decref(result);
    return rc ? report_failure(&err) : EXIT_DONE;
}

static int unknown_command(const char *name)
{
    int n;
    const struct stage *const *list = stage_list(&n);
    const char **names = mem_alloc((size_t)n + 4, sizeof *names);
    if (!names)
        return EXIT_FAILED;
    for (int i = 0; i < n; i++)
        names[i] = list[i]->name;
    names[n] = "run";
    names[n + 1] = "help";
    names[n + 2] = "plan";
    const char *near = str_nearest(name, names);
    fprintf(stderr, "rlaif: there is no command '%s'%s%s%s (rlaif help lists them)\n", name,
            near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    free(names);
    return EXIT_USAGE;
}

static int command(int argc, char **argv)
{
    if (argc < 2) {
        help_all(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h")) {
        const struct stage *s = argc > 2 ? stage_find(argv[2]) : NULL;
        if (argc > 2 && !s && strcmp(argv[2], "run"))
            return unknown_command(argv[2]);
        if (argc > 2 && !s)
            return cmd_run(1, (char *[]){ "--help" });
        s ? help_stage(s, stdout) : help_all(stdout);
        return EXIT_DONE;
    }
    if (!strcmp(name, "--version") || !strcmp(name, "version")) {
        puts(rlaif_version());
        return EXIT_DONE;
    }
    if (!strcmp(name, "run"))
        return cmd_run(argc - 2, argv + 2);
    bool plan = !strcmp(name, "plan");
    if (plan && (argc < 3 || !strcmp(argv[2], "--help") || !strcmp(argv[2], "-h"))) {
        help_plan(argc < 3 ? stderr : stdout);
        return argc < 3 ? EXIT_USAGE : EXIT_DONE;
    }
    name = argv[1 + plan];
    const struct stage *s = stage_find(name);
    return s ? cmd_stage(s, plan, argc - 2 - plan, argv + 2 + plan) : unknown_command(name);
}

/* Pieces of a quarter megabyte and more go back to the system when they are freed, so that what
 * one phase of a command took the next can have; by itself the C library keeps pieces of up to 32
 * MB once it has seen one that large. */
static void give_back(void)
{
    mallopt(M_MMAP_THRESHOLD, 1 << 18);
}

int main(int argc, char **argv)
{
    wait_briefly(argv);
    give_back();
    interrupt_install();
    int rc = command(argc, argv);
    profile_print(stderr);
    return rc;
}
