/* recipe/labeling.c - a labeler from options: model, protocol, store. */
#include "recipe/labeling.h"

#include <math.h>

#include "lab/lab.h"

static int protocol_from(struct protocol **out, const json_t *opt, struct err *err)
{
    struct protocol_options o;
    protocol_defaults(&o);
    int rc = label_task_from_name(&o.task, opt_str(opt, "task"), err);
    o.preamble = opt_str(opt, "preamble");
    if (o.preamble && !strcmp(o.preamble, "lab"))
        o.preamble = LAB_TLDR_PREAMBLE;
    o.ask_harmless = !strcmp(opt_str(opt, "wording"), "harmless");
    o.shipped_exemplars = (int)opt_int(opt, "exemplars");
    o.exemplar_file = opt_str(opt, "exemplar_file");
    return rc ? rc : protocol_new(out, NULL, &o, err);
}

int labeling_store(struct store **out, struct run *run, const char *path, const char *dir, struct err *err)
{
    char *own = path ? NULL : path_join(run->out ? run->out : dir, "labels.db");
    if (!path && !own)
        return err_set(err, ERR_MEMORY, "opening the label store");
    int rc = store_open(out, path ? path : own, err);
    free(own);
    return rc;
}

int labeling_open(struct labeling *l, struct run *run, const json_t *opt, const char *model, const char *store, const char *dir,
                  struct err *err)
{
    *l = (struct labeling){ 0 };
    double mass = opt_float(opt, "min_label_mass");
    int rc = mass >= 0 && mass <= 1 ? 0 : err_set(err, ERR_USAGE, "min_label_mass is %g; it is a probability", mass);
    if (rc == 0)
        rc = protocol_from(&l->protocol, opt, err);
    if (rc == 0)
        rc = labeling_store(&l->store, run, store, dir, err);
    struct provider *p = NULL;
    if (rc == 0)
        rc = labeler_open(&p, &l->model, run, opt, model, err);
    l->asker = (struct asker){ .provider = p, .store = l->store, .budget = labeler_budget(opt) };
    l->labeler = (struct labeler){ &l->asker, l->protocol, mass };
    if (rc)
        labeling_close(l);
    return rc;
}

int labeling_people(struct labeling *l, const json_t *opt, struct err *err)
{
    *l = (struct labeling){ 0 };
    int rc = protocol_from(&l->protocol, opt, err);
    snprintf(l->people.fingerprint, sizeof l->people.fingerprint, "annotators");
    l->asker = (struct asker){ .provider = &l->people };
    l->labeler = (struct labeler){ &l->asker, l->protocol, 0 };
    return rc;
}

void labeling_close(struct labeling *l)
{
    if (l->asker.provider != &l->people)
        provider_free(l->asker.provider);
    store_close(l->store);
    protocol_free(l->protocol);
    model_close(l->model);
    *l = (struct labeling){ 0 };
}

void set_number(json_t *result, const char *name, double value)
{
    bool whole = value == floor(value) && fabs(value) < 1e15;
    json_object_set_new(result, name, !isfinite(value) ? json_null() : whole ? json_integer((json_int_t)value) : json_real(value));
}

void set_interval(json_t *result, const char *name, const struct interval *i)
{
    char ci[96];
    snprintf(ci, sizeof ci, "%s_ci", name);
    json_object_set_new(result, name, i->n && isfinite(i->mean) ? json_real(i->mean) : json_null());
    json_object_set_new(result, ci, i->n && isfinite(i->low) ? json_pack("[ff]", i->low, i->high) : json_null());
}
