/* recipe/plan.c - what a stage's memory will be, before it takes any.
 *
 * The stage itself runs once on a device that only counts (compute.h), with the same options,
 * files and tokens, so plan and run cannot differ in what they allocate.  Written is nothing. */
#include "recipe/training.h"

#include <malloc.h>
#include <math.h>
#include <strings.h>

/* "8G", "900M", in powers of 1024; 0: not given. */
int memory_option(const json_t *opt, double *bytes, struct err *err)
{
    static const char units[] = "KMGT";
    const char *s = json_object_get(opt, "memory") ? opt_str(opt, "memory") : NULL;
    *bytes = 0;
    if (!s)
        return 0;
    char *end;
    double x = strtod(s, &end);
    const char *unit = *end ? strchr(units, *end & ~32) : NULL;
    for (long i = unit ? unit - units : -1; i >= 0; i--)
        x *= 1024;
    if (end == s ||
        (*end && (!unit || (end[1] && strcasecmp(end + 1, "B") && strcasecmp(end + 1, "iB")))) ||
        !(x > 0) || x > 1e18)
        return err_set(err, ERR_USAGE, "--memory is '%.40s', expected a size such as 8G or 900M",
                       s);
    *bytes = x;
    return 0;
}

struct planned { struct device_use use; double base, total; };

static void set_mb(json_t *o, const char *what, double bytes)
{
    char name[64];
    snprintf(name, sizeof name, "%s_mb", what);
    for (char *p = name; *p; p++)
        if (*p == ' ')
            *p = '_';
    json_object_set_new(o, name, json_real(round(bytes / 1e5) / 10));
}

/* choices (an object) receives what the stage chose. */
static int plan(struct planned *p, struct run *run, const struct stage *s, const json_t *opt,
                json_t *choices, struct err *err)
{
    struct run own = {.threads = run->threads,
                      .quiet = true,
                      .json = true,
                      .resume = run->resume,
                      .out = run->out};
    int rc = device_open(&own.device, "plan", run->threads, err);
    enum log_level before = rc ? LOG_INFO : log_set_level(LOG_ERROR);   // what the stage has to say it says when it runs
    if (rc)
        return rc;
    rc = s->run(&own, opt, choices, err);
    log_set_level(before);
    device_most_used(own.device, &p->use);
    p->base = (double)device_base(own.device);
    p->total = p->base + (double)p->use.bytes;
    device_close(own.device);
    return rc;
}

static void list_parts(struct buf *b, const struct planned *p)
{
    for (int i = 0; i < p->use.n; i++)
        if (p->use.part[i].bytes >= 500000)
            buf_addf(b, "%s %.0f, ", p->use.part[i].purpose, (double)p->use.part[i].bytes / 1e6);
    buf_addf(b, "the program itself %.0f", p->base / 1e6);
}

/* The options as the plan has chosen them. */
static json_t *chosen_options(const json_t *opt, const json_t *choices)
{
    json_t *own = json_copy((json_t *)opt), *v;
    const char *name;
    json_object_foreach((json_t *)choices, name, v)
        if (own && json_object_get(opt, name))
            json_object_set(own, name, v);
    return own;
}

static void add_ratio(json_t *result, const struct planned *p, const json_t *choices, double peak)
{
    double weights = json_number_value(json_object_get(choices, "base_parameters")),
           activations = 0;
    for (int i = 0; i < p->use.n; i++)
        if (!strcmp(p->use.part[i].purpose, "activations"))
            activations = (double)p->use.part[i].bytes;
    json_object_set_new(result, "memory_planned_mb", json_real(p->total / 1e6));
    json_object_set_new(result, "memory_peak_mb", json_real(peak / 1e6));
    if (weights <= 0)
        return;
    json_object_set_new(result, "memory_activations_mb", json_real(activations / 1e6));
    json_object_set_new(result, "memory_base_mb", json_real(2 * weights / 1e6));
    json_object_set_new(result, "memory_ratio", json_real((peak - activations) / (2 * weights)));
}

int stage_run(struct run *run, const struct stage *s, const json_t *opt, json_t *result,
              struct err *err)
{
    struct planned p;
    json_t *choices = json_object();
    malloc_trim(0);     // what an earlier stage of the recipe freed is not this one's
    mem_peak_reset();
    int rc = s->plans ? plan(&p, run, s, opt, choices, err) : 0;
    json_t *own = rc ? NULL : chosen_options(opt, choices);
    if (rc == 0 && s->plans && !run->quiet && !run->json) {
        struct buf b = {0};
        list_parts(&b, &p);
        log_info("%s: takes about %.0f MB of memory (%s)", s->name, p.total / 1e6, b.s ? b.s : "");
        buf_release(&b);
    }
    if (rc == 0)
        rc = own ? s->run(run, own, result, err)
                 : err_set(err, ERR_MEMORY, "%s: no memory", s->name);
    if (rc == 0 && s->plans)
        add_ratio(result, &p, choices, mem_peak_mb() * 1048576);
    json_decref(own);
    json_decref(choices);
    return rc;
}

int stage_plan(struct run *run, const struct stage *s, const json_t *opt, json_t *result,
               struct err *err)
{
    struct planned p;
    if (!s->plans)
        return err_set(err, ERR_USAGE, "rlaif plan: '%s' is not planned; expected one of the training commands, generate, label, logprobs or score",
                       s->name);
    json_t *choices = json_object();
    int rc = plan(&p, run, s, opt, choices, err);
    for (int i = 0; rc == 0 && i < p.use.n; i++)
        set_mb(result, p.use.part[i].purpose, (double)p.use.part[i].bytes);
    if (rc == 0) {
        set_mb(result, "program", p.base);
        set_mb(result, "total", p.total);
        json_object_update(result, choices);
    }
    json_decref(choices);
    return rc;
}

/* Sizes first, then what was chosen. */
void print_plan(const json_t *result, FILE *to)
{
    const char *name;
    json_t *v;
    for (int sizes = 1; sizes >= 0; sizes--)
        json_object_foreach((json_t *)result, name, v) {
            size_t n = strlen(name);
            bool size = n > 3 && !strcmp(name + n - 3, "_mb");
            if (size != sizes)
                continue;
            char text[64];
            snprintf(text, sizeof text, "%.*s", (int)(size ? n - 3 : n), name);
            for (char *c = text; *c; c++)
                if (*c == '_')
                    *c = ' ';
            if (size)
                fprintf(to, "%-32s %10.1f MB\n", text, json_number_value(v));
            else if (json_is_boolean(v))
                fprintf(to, "%-32s %10s\n", text, json_is_true(v) ? "yes" : "no");
            else
                fprintf(to, "%-32s %10lld\n", text, (long long)json_number_value(v));
        }
}
