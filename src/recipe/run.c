/* recipe/run.c - runs what is missing or stale, in order.
 *
 * A stage's record says "running" before it starts and "done" after its outputs are in place.
 * Killed in between, the next run finds "running" under the same key and lets the stage continue
 * from its own checkpoints; under another key, what lies there is cleared first. */
#include "recipe/internal.h"

/* local: the step's options as its stage gets them. */
static int run_step(struct run *run, const struct recipe *r, const struct step *s, const char *key,
                    const json_t *local, const json_t *inputs, bool resume, double spent,
                    struct err *err)
{
    PROFILE(s->stage->name);
    json_t *none = json_object(), *result = json_object();
    double start = time_now();
    int rc = resume ? 0 : outputs_clear(r->out, s, err);
    if (rc == 0)
        rc = record_write(r->out, s, key, inputs, none, spent, 0, false, err);
    run->resume = resume;
    if (rc == 0)
        rc = stage_run(run, s->stage, local, result, err);
    double seconds = spent + time_now() - start;
    if (rc == 0) {
        rc = record_write(r->out, s, key, inputs, result, seconds, mem_peak_mb(), true, err);
    } else {    // the seconds already spent count when the run goes on
        struct err ignored;
        if (record_write(r->out, s, key, inputs, none, seconds, mem_peak_mb(), false, &ignored))
            log_warn("%s", ignored.msg);
        err_prefix(err, "stage '%s'", s->name);
    }
    json_decref(none);
    json_decref(result);
    return rc;
}

/* A missing file that a variable names may have a hint: where it can be got. */
static void add_hint(const struct recipe *r, struct err *err)
{
    const json_t *hints = json_object_get(r->text, "hints");
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)hints, name, v) {
        const char *path = json_string_value(json_object_get(r->text, name)),
                   *hint = json_string_value(v);
        size_t n = strlen(err->msg);
        if (path && hint && path[0] && str_ends(err->msg, path))
            snprintf(err->msg + n, sizeof err->msg - n, "; %s", hint);
    }
}

static int do_step(struct run *run, const struct recipe *r, int i, struct err *err)
{
    const struct step *s = &r->step[i];
    char key[33];
    json_t *inputs = json_object(), *commits = json_object(), *local = NULL;
    struct record rec = { 0 };
    int rc = inputs_resolve(&local, commits, s->stage, s->options, r->out, err);
    if (rc == 0)
        rc = record_key(key, inputs, s, commits, err);
    else
        err_prefix(err, "stage '%s'", s->name);
    if (rc == ERR_MISSING && err)
        add_hint(r, err);
    if (rc == 0)
        rc = record_read(&rec, r->out, s, key, err);
    if (rc == 0 && rec.done && outputs_exist(s)) {
        log_info("[%d/%d] %s: fresh (%.1f s when it ran)", i + 1, r->n, s->name,
                 json_number_value(json_object_get(rec.json, "seconds")));
    } else if (rc == 0) {
        bool resume = rec.same && !rec.done;
        log_info("[%d/%d] %s: %s%s", i + 1, r->n, s->name, s->stage->name,
                 resume ? ", continued" : "");
        double spent = resume ? json_number_value(json_object_get(rec.json, "seconds")) : 0;
        rc = run_step(run, r, s, key, local, inputs, resume, spent, err);
    }
    record_release(&rec);
    json_decref(inputs);
    json_decref(commits);
    json_decref(local);
    return rc;
}

static double recorded_seconds(const struct recipe *r)
{
    double sum = 0;
    for (int i = 0; i < r->n; i++) {
        char *path = str_printf("%s/stages/%s.json", r->out, r->step[i].name);
        struct err ignored;
        json_t *j = path && file_exists(path) ? json_read_file(path, &ignored) : NULL;
        sum += json_number_value(json_object_get(j, "seconds"));
        json_decref(j);
        free(path);
    }
    return sum;
}

int recipe_run(struct run *run, const char *path, const json_t *set, const char *output_dir,
               json_t **summary, struct err *err)
{
    struct recipe r;
    double start = time_now();
    int rc = recipe_load(&r, path, set, output_dir, err);
    if (rc)
        return rc;
    run->out = r.out;
    char *stages = path_join(r.out, "stages");
    rc = stages ? dir_make(stages, err) : err_set(err, ERR_MEMORY, "%s", path);
    free(stages);
    if (rc == 0)
        rc = manifest_write(&r, run, err);
    double before = recorded_seconds(&r), in_stages = time_now();
    for (int i = 0; rc == 0 && i < r.n; i++)
        rc = do_step(run, &r, i, err);
    in_stages = time_now() - in_stages;
    double ran = recorded_seconds(&r) - before;     // may be negative when a stage was run anew
    double overhead = time_now() - start - (ran > 0 && ran < in_stages ? ran : in_stages);
    if (rc == 0)
        rc = summary_write(&r, run, overhead, summary, err);
    if (rc == 0)
        rc = recipe_report(r.out, err);
    if (rc == ERR_INTERRUPTED)
        err_prefix(err, "run `rlaif run %s` again with the same flags to go on", path);
    run->out = NULL;
    recipe_release(&r);
    return rc;
}
