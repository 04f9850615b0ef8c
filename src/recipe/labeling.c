/* recipe/labeling.c - a labeler from options: model, protocol, store. */
#include "recipe/labeling.h"

#include <math.h>

#include "lab/lab.h"

static int principle_from(int *out, const char *word, struct err *err)
{
    int64_t n = 0;
    if (!strcmp(word, "drawn"))
        *out = PRINCIPLE_DRAWN;
    else if (!strcmp(word, "all"))
        *out = PRINCIPLE_ALL;
    else if (str_to_i64(word, &n) && n >= 1 && n <= PRINCIPLES)
        *out = (int)n;
    else
        return err_set(err, ERR_USAGE, "--principle is %s, expected drawn, all, or 1 to %d", word,
                       PRINCIPLES);
    return 0;
}

static int count_from(int *out, const json_t *opt, const char *name, int64_t max, struct err *err)
{
    int64_t n = opt_int(opt, name);
    if (n < 0 || n > max)
        return err_set(err, ERR_USAGE, "--%s is %lld, expected 0 to %lld", name, (long long)n,
                       (long long)max);
    *out = (int)n;
    return 0;
}

static bool has(const json_t *opt, const char *name)
{
    return json_object_get(opt, name) != NULL;
}

/* Options that only pairs have. */
static int pair_options(struct protocol_options *o, const json_t *opt, struct err *err)
{
    const char *order = opt_str(opt, "order");
    o->order = !strcmp(order, "random")  ? ORDER_RANDOM
               : !strcmp(order, "fixed") ? ORDER_FIXED
                                         : ORDER_BOTH;
    o->ask_harmless = !strcmp(opt_str(opt, "wording"), "harmless");
    if (opt_given(opt, "clamp")) {
        o->clamp = opt_float(opt, "clamp");
        if (!(o->clamp >= 0 && o->clamp <= 0.5))
            return err_set(err, ERR_USAGE, "--clamp is %g, expected 0 to 0.5", o->clamp);
    }
    int rc = count_from(&o->shipped_exemplars, opt, "exemplars", 64, err);
    return rc ? rc : principle_from(&o->principle, opt_str(opt, "principle"), err);
}

static int protocol_from(struct protocol **out, const json_t *opt, struct err *err)
{
    struct protocol_options o;
    protocol_defaults(&o);
    int rc = label_task_from_name(&o.task, opt_str(opt, "task"), err);
    o.preamble = opt_str(opt, "preamble");
    if (o.preamble && !strcmp(o.preamble, "lab"))
        o.preamble = LAB_TLDR_PREAMBLE;
    o.exemplar_file = opt_str(opt, "exemplar_file");
    o.cot = opt_bool(opt, "cot");
    o.chat = opt_bool(opt, "chat");
    o.seed = (uint64_t)opt_int(opt, "seed");
    if (opt_given(opt, "rationale_temperature")) {
        o.temperature = opt_float(opt, "rationale_temperature");
        if (!(o.temperature >= 0))
            return err_set(err, ERR_USAGE, "--rationale_temperature is %g, expected 0 to 100",
                           o.temperature);
    }
    if (has(opt, "scale"))
        o.scale = opt_str(opt, "scale");
    if (rc == 0)
        rc = count_from(&o.rationales, opt, "rationales", PROTOCOL_MAX_DRAWS, err);
    if (rc == 0)
        rc = count_from(&o.votes, opt, "votes", PROTOCOL_MAX_DRAWS, err);
    if (rc == 0)
        rc = count_from(&o.max_rationale, opt, "max_rationale_tokens", 1 << 20, err);
    if (rc == 0 && has(opt, "order"))
        rc = pair_options(&o, opt, err);
    return rc ? rc : protocol_new(out, opt_str(opt, "protocol"), &o, err);
}

int labeling_store(struct store **out, struct run *run, const char *path, const char *dir,
                   struct err *err)
{
    char *own = path ? NULL : path_join(run->out ? run->out : dir, "labels.db");
    if (!path && !own)
        return err_set(err, ERR_MEMORY, "opening the label store");
    int rc = store_open(out, path ? path : own, err);
    free(own);
    return rc;
}

static int check_chat(const struct labeling *l, const char *model, struct err *err)
{
    char template[33] = "-";
    if (l->model)
        tokenizer_template_hash(model_tokenizer(l->model), template);
    if (!l->protocol->how.chat || *template)
        return 0;
    return err_set(err, ERR_USAGE, "--chat: %s has no chat template; --chat_template chatml or a file gives it one", model);
}

int labeling_open(struct labeling *l, struct run *run, const json_t *opt, const char *model,
                  const char *store, const char *dir, struct err *err)
{
    *l = (struct labeling){ .min_coverage =
                                opt_given(opt, "batch_file") ? 0 : opt_float(opt, "min_coverage") };
    double mass = opt_float(opt, "min_label_mass");
    int rc = mass >= 0 && mass <= 1
                 ? 0
                 : err_set(err, ERR_USAGE, "min_label_mass is %g; it is a probability", mass);
    if (rc == 0 && !(l->min_coverage >= 0 && l->min_coverage <= 1))
        rc =
            err_set(err, ERR_USAGE, "--min_coverage is %g; it is a share, 0 to 1", l->min_coverage);
    if (rc == 0)
        rc = protocol_from(&l->protocol, opt, err);
    if (rc == 0)
        rc = labeling_store(&l->store, run, store, dir, err);
    struct provider *p = NULL;
    if (rc == 0)
        rc = labeler_open(&p, &l->model, run, opt, model, err);
    if (rc == 0)
        rc = check_chat(l, model, err);
    l->asker = (struct asker){ .provider = p, .store = l->store, .budget = labeler_budget(opt) };
    l->labeler = (struct labeler){ &l->asker, l->protocol, mass, &l->texts };
    if (rc)
        labeling_close(l);
    return rc;
}

int labeling_rehearse(struct labeling *l, struct run *run, const json_t *opt, const char *model,
                      struct err *err)
{
    *l = (struct labeling){ 0 };
    struct device *dev;
    int rc = protocol_from(&l->protocol, opt, err);
    if (rc == 0 && model && !labeler_is_endpoint(model)) {
        rc = run_device(run, &dev, err);
        if (rc == 0)
            rc = labeler_model(&l->model, dev, opt, model, err);
        if (rc == 0)
            rc = check_chat(l, model, err);
    }
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
    l->labeler = (struct labeler){ &l->asker, l->protocol, 0, NULL };
    return rc;
}

int labeling_covered(const struct labeling *l, const struct label_counts *c, int n,
                     const char *what, struct err *err)
{
    int missing = c->failed + c->too_long;
    double coverage = n ? 1 - (double)missing / n : 1;
    if (coverage >= l->min_coverage)
        return 0;
    return err_set(err, ERR_VALUE,
                   "%d of %d %s have no label (%d failed, %d too long for the labeler): %.4g of them are covered, "
                   "--min_coverage is %g; the same command asks again for those that failed",
                   missing, n, what, c->failed, c->too_long, coverage, l->min_coverage);
}

int replies_covered(const struct ask_counts *c, const json_t *opt, struct err *err)
{
    double least = opt_float(opt, "min_coverage"), all = (double)(c->found + c->asked),
           missing = (double)(c->failed + c->too_long);
    if (!(least >= 0 && least <= 1))
        return err_set(err, ERR_USAGE, "--min_coverage is %g; it is a share, 0 to 1", least);
    if (all == 0 || 1 - missing / all >= least)
        return 0;
    return err_set(err, ERR_VALUE, "%.0f of %.0f questions got no reply (%lld failed, %lld too long for the labeler), --min_coverage is %g; the same "
                   "command asks again for those that failed", missing, all, (long long)c->failed, (long long)c->too_long, least);
}

void labeling_close(struct labeling *l)
{
    if (l->asker.provider != &l->people)
        provider_free(l->asker.provider);
    store_close(l->store);
    protocol_free(l->protocol);
    model_close(l->model);
    arena_release(&l->texts);
    *l = (struct labeling){ 0 };
}

static int write_file(const char *path, bool pairs, const struct candidates *item,
                      const struct label *label, int n, const struct labeler *by,
                      bool answered_only, struct err *err)
{
    struct rows_out out = { 0 };
    int rc = rows_out_open(&out, path, err);
    for (int i = 0; i < n && rc == 0; i++) {
        if (answered_only && label[i].state != LABEL_ANSWERED)
            continue;
        json_t *row =
            pairs ? pair_row(&item[i], &label[i], by) : label_row(&item[i], &label[i], by);
        rc = row ? rows_out_add(&out, row, err)
                 : err_set(err, ERR_MEMORY, "no memory to write labels");
        json_decref(row);
    }
    if (rc == 0)
        rc = rows_out_commit(&out, err);
    rows_out_close(&out);
    return rc;
}

int labeling_write(const char *dir, const struct candidates *item, const struct label *label, int n,
                   const struct labeler *by, bool answered_only, struct err *err)
{
    char *labels = path_join(dir, "labels.jsonl"), *pairs = path_join(dir, "pairs.jsonl");
    int rc = labels && pairs ? 0 : err_set(err, ERR_MEMORY, "no memory to write labels");
    if (rc == 0)
        rc = write_file(labels, false, item, label, n, by, answered_only, err);
    if (rc == 0)
        rc = write_file(pairs, true, item, label, n, by, true, err);
    free(labels);
    free(pairs);
    return rc;
}

void set_number(json_t *result, const char *name, double value)
{
    bool whole = value == floor(value) && fabs(value) < 1e15;
    json_object_set_new(result, name,
                        !isfinite(value) ? json_null()
                        : whole          ? json_integer((json_int_t)value)
                                         : json_real(value));
}

double get_number(const json_t *result, const char *name)
{
    const json_t *v = json_object_get(result, name);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

void set_interval(json_t *result, const char *name, const struct interval *i)
{
    char ci[96];
    snprintf(ci, sizeof ci, "%s_ci", name);
    json_object_set_new(result, name, i->n && isfinite(i->mean) ? json_real(i->mean) : json_null());
    json_object_set_new(
        result, ci, i->n && isfinite(i->low) ? json_pack("[ff]", i->low, i->high) : json_null());
}
