/* recipe/audit.c - the figures of one labeling, and of several on the same pairs. */
#include "recipe/audit.h"

#include <math.h>

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "no memory for an audit");
}

/* ---- a labeling and its gold ------------------------------------------------------------- */

static bool answered(const struct audited *a, int i)
{
    return a->j.label[i].state == LABEL_ANSWERED;
}

int audited_open(struct audited *a, const char *name, const char *path, const struct gold *gold,
                 const struct lab_truth *truth, uint64_t seed, struct err *err)
{
    *a = (struct audited){ .name = name, .path = path, .temperature = 1 };
    int rc = judged_labels(&a->j, path, truth, seed, err);
    a->right = mem_alloc((size_t)a->j.n + 1, sizeof *a->right);
    double *p = mem_alloc((size_t)a->j.n + 1, sizeof *p),
           *won = mem_alloc((size_t)a->j.n + 1, sizeof *won);
    int n = 0;
    if (rc == 0 && (!a->right || !p || !won))
        rc = no_memory(err);
    for (int i = 0; rc == 0 && i < a->j.n; i++) {
        struct candidates *c = &a->j.pair[i];
        if (gold)
            c->human = gold_of(gold, c);
        a->right[i] = answered(a, i) ? agreement(a->j.label[i].p, c->human) : NAN;
        if (!isnan(a->right[i])) {
            p[n] = a->j.label[i].p;
            won[n++] = c->human == 1;
        }
    }
    if (rc == 0 && n)
        a->temperature = fit_temperature(p, won, n);
    free(p);
    free(won);
    return rc;
}

void audited_release(struct audited *a)
{
    judged_release(&a->j);
    free(a->right);
    *a = (struct audited){ 0 };
}

/* ---- shares, in parts -------------------------------------------------------------------- */

static void put_share(json_t *o, const char *name, double *value, const struct audited *a,
                      double (*of)(const struct audited *, int))
{
    for (int i = 0; i < a->j.n; i++)
        value[i] = of(a, i);
    struct interval s = interval_share(value, a->j.n);
    set_interval(o, name, &s);
}

static double is_right(const struct audited *a, int i)
{
    return a->right[i];
}

static bool asked(const struct audited *a, int i, int order)
{
    return answered(a, i) && !isnan(a->j.label[i].order[order]);
}

static double order_right(const struct audited *a, int i, int order)
{
    return asked(a, i, order) ? agreement(a->j.label[i].order[order], a->j.pair[i].human) : NAN;
}

static double right_a(const struct audited *a, int i)
{
    return order_right(a, i, 0);
}

static double right_b(const struct audited *a, int i)
{
    return order_right(a, i, 1);
}

/* The verdict changes with the order. */
static double flips(const struct audited *a, int i)
{
    const struct label *l = &a->j.label[i];
    return asked(a, i, 0) && asked(a, i, 1) ? (l->order[0] > 0.5) != (l->order[1] > 0.5) : NAN;
}

static double longer(const struct audited *a, int i)
{
    const struct candidates *c = &a->j.pair[i];
    return answered(a, i)
               ? 1 - prefers_shorter(a->j.label[i].p, strlen(c->first), strlen(c->second))
               : NAN;
}

static double gold_is_longer(const struct audited *a, int i)
{
    const struct candidates *c = &a->j.pair[i];
    return c->human ? 1 - prefers_shorter(c->human == 1, strlen(c->first), strlen(c->second)) : NAN;
}

static double lists(const struct audited *a, int i)
{
    const struct candidates *c = &a->j.pair[i];
    bool first = list_lines(c->first) > 1, second = list_lines(c->second) > 1;
    return answered(a, i) && first != second ? agreement(a->j.label[i].p, first ? 1 : 2) : NAN;
}

static double slot_one(const struct audited *a, int i)
{
    const struct label *l = &a->j.label[i];
    int seen = (l->slot[0] != 0) + (l->slot[1] != 0);
    return answered(a, i) && seen ? (double)((l->slot[0] == 1) + (l->slot[1] == 1)) / seen : NAN;
}

struct key { double confidence; int i; };

static int by_confidence(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    return x->confidence < y->confidence ? -1 : x->confidence > y->confidence ? 1 : x->i - y->i;
}

/* Agreement in thirds of the compared pairs, from the least to the most certain label. */
static int by_thirds(json_t *o, const struct audited *a, struct err *err)
{
    static const char *const name[] = { "alignment_low", "alignment_middle", "alignment_high" };
    struct key *key = mem_alloc((size_t)a->j.n + 1, sizeof *key);
    double *value = mem_alloc((size_t)a->j.n + 1, sizeof *value);
    int n = 0, rc = key && value ? 0 : no_memory(err);
    for (int i = 0; rc == 0 && i < a->j.n; i++)
        if (!isnan(a->right[i]))
            key[n++] = (struct key){ fabs(a->j.label[i].p - 0.5), i };
    if (rc == 0)
        qsort(key, (size_t)n, sizeof *key, by_confidence);
    for (int third = 0; rc == 0 && third < 3; third++) {
        int from = n * third / 3, to = n * (third + 1) / 3;
        for (int k = from; k < to; k++)
            value[k - from] = a->right[key[k].i];
        struct interval s = interval_share(value, to - from);
        set_interval(o, name[third], &s);
    }
    free(key);
    free(value);
    return rc;
}

static char *group_of(const struct audited *a, int i, const char *by)
{
    const json_t *v = json_object_get(a->j.rows.row[i], by);
    return json_is_string(v) ? strdup(json_string_value(v))
           : v               ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT)
                             : NULL;
}

/* alignment of each value of a key of the rows. */
static int by_group(json_t *o, const struct audited *a, const char *by, struct err *err)
{
    json_t *groups = json_object(), *values;
    const char *name;
    bool any = false;
    for (int i = 0; i < a->j.n; i++) {
        char *g = group_of(a, i, by);
        any |= g != NULL;
        if (g && !isnan(a->right[i])) {
            if (!json_object_get(groups, g))
                json_object_set_new(groups, g, json_array());
            json_array_append_new(json_object_get(groups, g), json_real(a->right[i]));
        }
        free(g);
    }
    if (!any) {
        json_decref(groups);
        return err_set(err, ERR_VALUE, "%s: no row has the key '%s' that --by names",
                       a->j.rows.path, by);
    }
    json_t *out = json_object();
    json_object_foreach(groups, name, values) {
        size_t n = json_array_size(values);
        double *v = mem_alloc(n, sizeof *v);
        for (size_t k = 0; v && k < n; k++)
            v[k] = json_real_value(json_array_get(values, k));
        struct interval s = interval_share(v, v ? (int)n : 0);
        json_t *one = json_object();
        set_interval(one, "alignment", &s);
        set_number(one, "pairs", (double)n);
        json_object_set_new(out, name, one);
        free(v);
    }
    json_object_set_new(o, "by", out);
    json_decref(groups);
    return 0;
}

/* ---- leanings ---------------------------------------------------------------------------- */

static double length_difference(const struct audited *a, int i, const struct own_texts *own)
{
    return (double)strlen(a->j.pair[i].first) - (double)strlen(a->j.pair[i].second);
}

static double list_difference(const struct audited *a, int i, const struct own_texts *own)
{
    return list_lines(a->j.pair[i].first) - list_lines(a->j.pair[i].second);
}

static double own_difference(const struct audited *a, int i, const struct own_texts *own)
{
    const char *text = own_text(own, a->j.pair[i].prompt);
    return text ? word_overlap(a->j.pair[i].first, text) - word_overlap(a->j.pair[i].second, text)
                : NAN;
}

/* Pearson's correlation of the label with a difference of the texts. */
static int put_correlation(json_t *o, const char *name, const struct audited *a,
                           const struct own_texts *own,
                           double (*of)(const struct audited *, int, const struct own_texts *),
                           struct err *err)
{
    double *x = mem_alloc((size_t)a->j.n + 1, sizeof *x),
           *y = mem_alloc((size_t)a->j.n + 1, sizeof *y);
    int n = 0, rc = x && y ? 0 : no_memory(err);
    for (int i = 0; rc == 0 && i < a->j.n; i++) {
        double d = answered(a, i) ? of(a, i, own) : NAN;
        if (isnan(d))
            continue;
        x[n] = a->j.label[i].p;
        y[n++] = d;
    }
    if (rc == 0)
        set_number(o, name, correlation(x, y, n));
    free(x);
    free(y);
    return rc;
}

static int leanings(json_t *o, const struct audited *a, const struct own_texts *own, double *value,
                    struct err *err)
{
    struct slot_bias bias = slot_bias(a->j.label, a->j.n);
    double gap = 0;
    int n = 0;
    for (int i = 0; i < a->j.n; i++)
        if (asked(a, i, 0) && asked(a, i, 1)) {
            gap += fabs(a->j.label[i].order[0] - a->j.label[i].order[1]);
            n++;
        }
    if (!n)     // one order was asked: nothing to compare
        bias =
            (struct slot_bias){ .rate = { NAN, NAN, NAN, 0 }, .first_share = NAN, .p_value = NAN };
    set_interval(o, "same_slot", &bias.rate);
    set_number(o, "same_slot_first", bias.first_share);
    set_number(o, "same_slot_p_value", bias.p_value);
    put_share(o, "flips", value, a, flips);
    set_number(o, "order_gap", n ? gap / n : NAN);
    put_share(o, "prefers_slot_1", value, a, slot_one);
    put_share(o, "prefers_longer", value, a, longer);
    put_share(o, "gold_prefers_longer", value, a, gold_is_longer);
    put_share(o, "prefers_lists", value, a, lists);
    int rc = put_correlation(o, "length_correlation", a, own, length_difference, err);
    if (rc == 0)
        rc = put_correlation(o, "list_correlation", a, own, list_difference, err);
    if (rc == 0 && own)
        rc = put_correlation(o, "own_text_correlation", a, own, own_difference, err);
    return rc;
}

/* ---- calibration ------------------------------------------------------------------------- */

static void put_reliability(json_t *o, const char *suffix, const double *p, const double *won,
                            int n)
{
    struct reliability_bin bin[AUDIT_BINS];
    char name[64];
    json_t *list = json_array();
    reliability(bin, AUDIT_BINS, p, won, n);
    for (int b = 0; b < AUDIT_BINS; b++)
        if (bin[b].n)
            json_array_append_new(list, json_pack("[ffi]", bin[b].p, bin[b].outcome, bin[b].n));
#define PUT(what, value) (snprintf(name, sizeof name, what "%s", suffix), set_number(o, name, value))
    PUT("brier", brier_score(p, won, n));
    PUT("ece", n ? calibration_error(bin, AUDIT_BINS) : NAN);
    PUT("log_loss", log_loss(p, won, n));
#undef PUT
    snprintf(name, sizeof name, "reliability%s", suffix);
    json_object_set_new(o, name, list);
}

/* As labelled, and with a temperature that was fitted on the other half of the pairs (even and
 * odd in turn). */
static int calibration(json_t *o, const struct audited *a, struct err *err)
{
    size_t room = (size_t)a->j.n + 1;
    double *p = mem_alloc(room, sizeof *p), *won = mem_alloc(room, sizeof *won),
           *half = mem_alloc(room, sizeof *half), *half_won = mem_alloc(room, sizeof *half_won),
           *cool = mem_alloc(room, sizeof *cool);
    int n = 0, rc = p && won && half && half_won && cool ? 0 : no_memory(err);
    for (int i = 0; rc == 0 && i < a->j.n; i++)
        if (!isnan(a->right[i])) {
            p[n] = a->j.label[i].p;
            won[n++] = a->j.pair[i].human == 1;
        }
    for (int fold = 0; rc == 0 && fold < 2; fold++) {
        int m = 0;
        for (int i = 1 - fold; i < n; i += 2) {
            half[m] = p[i];
            half_won[m++] = won[i];
        }
        double t = m ? fit_temperature(half, half_won, m) : 1;
        for (int i = fold; i < n; i += 2)
            cool[i] = temper(p[i], t);
    }
    if (rc == 0) {
        set_number(o, "compared", n);
        put_reliability(o, "", p, won, n);
        put_reliability(o, "_calibrated", cool, won, n);
        set_number(o, "temperature", a->temperature);
    }
    free(p);
    free(won);
    free(half);
    free(half_won);
    free(cool);
    return rc;
}

/* ---- what it cost ------------------------------------------------------------------------ */

json_t *label_results(const char *labels)
{
    const char *end = strrchr(labels, '/');
    char *path = str_printf("%.*slabel_results.json", end ? (int)(end - labels + 1) : 0, labels);
    struct err ignored;
    json_t *r = path && file_exists(path) ? json_read_file(path, &ignored) : NULL;
    free(path);
    return r;
}

double seconds_per_label(const json_t *results)
{
    const json_t *seconds = json_object_get(results, "seconds_of_replies");
    double n = json_number_value(json_object_get(results, "pairs"));
    return json_is_number(seconds) && n > 0 ? json_number_value(seconds) / n : NAN;
}

/* What `rlaif label --probes` found: by kind of text, how often a losing candidate that carried
 * it won. */
static void injection(json_t *o, const json_t *results)
{
    if (json_object_get(results, "injection"))
        json_object_set(o, "injection", json_object_get(results, "injection"));
}

/* From the rows' cost objects; null where no row has the figure. */
static void costs(json_t *o, const struct audited *a, const json_t *results)
{
    static const char *const name[] = { "replies", "tokens_in", "tokens_out", "price" };
    for (size_t k = 0; k < ARRAY_LEN(name); k++) {
        double sum = 0;
        int n = 0;
        char key[64];
        for (int i = 0; i < a->j.n; i++) {
            const json_t *v = json_object_get(json_object_get(a->j.rows.row[i], "cost"), name[k]);
            if (json_is_number(v)) {
                sum += json_number_value(v);
                n++;
            }
        }
        snprintf(key, sizeof key, "%s_per_thousand", name[k]);
        set_number(o, key, n ? 1000 * sum / n : NAN);
    }
    set_number(o, "seconds_per_thousand", 1000 * seconds_per_label(results));
}

/* ---- all of one labeling ----------------------------------------------------------------- */

static void counts(json_t *o, const struct audited *a)
{
    int n[8] = { 0 };
    double mass = 0;
    for (int i = 0; i < a->j.n; i++) {
        n[a->j.label[i].state]++;
        mass += answered(a, i) ? a->j.label[i].mass : 0;
    }
    set_number(o, "pairs", a->j.n);
    set_number(o, "answered", n[LABEL_ANSWERED]);
    set_number(o, "unparsed", n[LABEL_NO_ANSWER]);
    set_number(o, "too_long", n[LABEL_TOO_LONG]);
    set_number(o, "refused", n[LABEL_REFUSED]);
    set_number(o, "failed", n[LABEL_FAILED]);
    set_number(o, "label_mass", n[LABEL_ANSWERED] ? mass / n[LABEL_ANSWERED] : NAN);
}

/* Beyond chance, against gold: even labels and pairs without gold are left out. */
static int kappa(json_t *o, const struct audited *a, struct err *err)
{
    int *x = mem_alloc((size_t)a->j.n + 1, sizeof *x),
        *y = mem_alloc((size_t)a->j.n + 1, sizeof *y);
    int rc = x && y ? 0 : no_memory(err);
    for (int i = 0; rc == 0 && i < a->j.n; i++) {
        double p = a->j.label[i].p;
        x[i] = answered(a, i) && p != 0.5 ? p > 0.5 : -1;
        y[i] = a->j.pair[i].human ? a->j.pair[i].human == 1 : -1;
    }
    if (rc == 0)
        set_number(o, "kappa", cohen_kappa(x, y, a->j.n, 2));
    free(x);
    free(y);
    return rc;
}

int audit_figures(json_t *result, struct audited *a, const char *by, const struct own_texts *own,
                  uint64_t seed, struct err *err)
{
    double *value = mem_alloc((size_t)a->j.n + 1, sizeof *value);
    if (!value)
        return no_memory(err);
    json_object_set_new(result, "name", json_string(a->name));
    counts(result, a);
    put_share(result, "alignment", value, a, is_right);
    put_share(result, "alignment_order_a", value, a, right_a);
    put_share(result, "alignment_order_b", value, a, right_b);
    int rc = kappa(result, a, err);
    if (rc == 0)
        rc = by_thirds(result, a, err);
    if (rc == 0 && by)
        rc = by_group(result, a, by, err);
    if (rc == 0)
        rc = leanings(result, a, own, value, err);
    if (rc == 0)
        rc = calibration(result, a, err);
    json_t *results = label_results(a->path);
    costs(result, a, results);
    injection(result, results);
    json_decref(results);
    free(value);
    return rc;
}

/* ---- several ----------------------------------------------------------------------------- */

/* Where each pair of the first labeling stands in another; they are matched by id. */
static int match(int *where, const struct audited *a, const struct audited *b, struct err *err)
{
    json_t *place = json_object();
    int rc = place ? 0 : no_memory(err), both = 0;
    for (int i = 0; rc == 0 && i < b->j.n; i++)
        rc = json_object_set_new(place, b->j.pair[i].id, json_integer(i)) ? no_memory(err) : 0;
    for (int i = 0; rc == 0 && i < a->j.n; i++) {
        const json_t *v = json_object_get(place, a->j.pair[i].id);
        where[i] = v ? (int)json_integer_value(v) : -1;
        both += v != NULL;
    }
    json_decref(place);
    return rc     ? rc
           : both ? 0
                  : err_set(err, ERR_VALUE, "%s and %s have no pair in common (by id)",
                            a->j.rows.path, b->j.rows.path);
}

/* Verdict on the first labeling's pair: 1 its first text, 0 its second, -1 none.  Another
 * labeling may hold them the other way round. */
static int verdict(const struct audited *a, const struct candidates *c, int i)
{
    if (i < 0 || !answered(a, i) || a->j.label[i].p == 0.5)
        return -1;
    bool turned = strcmp(a->j.pair[i].first, c->first) != 0;
    return (a->j.label[i].p > 0.5) != turned;
}

static int between_two(json_t *list, const struct audited *a, const struct audited *b,
                       const int *where, struct err *err)
{
    double *x = mem_alloc((size_t)a->j.n + 1, sizeof *x),
           *y = mem_alloc((size_t)a->j.n + 1, sizeof *y);
    int *u = mem_alloc((size_t)a->j.n + 1, sizeof *u),
        *v = mem_alloc((size_t)a->j.n + 1, sizeof *v);
    int rc = x && y && u && v ? 0 : no_memory(err);
    for (int i = 0; rc == 0 && i < a->j.n; i++) {
        x[i] = a->right[i];
        y[i] = where[i] >= 0 ? b->right[where[i]] : NAN;
        u[i] = verdict(a, &a->j.pair[i], i);
        v[i] = verdict(b, &a->j.pair[i], where[i]);
    }
    if (rc == 0) {
        struct mcnemar t = mcnemar_test(x, y, a->j.n);
        json_t *o = json_pack("{s:s, s:s, s:i, s:i, s:i}", "a", a->name, "b", b->name, "pairs", t.n,
                              "only_a", t.only_a, "only_b", t.only_b);
        set_number(o, "mcnemar_p", t.p_value);
        set_number(o, "kappa", cohen_kappa(u, v, a->j.n, 2));
        rc = json_array_append_new(list, o) ? no_memory(err) : 0;
    }
    free(x);
    free(y);
    free(u);
    free(v);
    return rc;
}

int audit_between(json_t *result, const struct audited *a, int n, struct err *err)
{
    json_t *list = json_array();
    int N = a[0].j.n, rc = json_object_set_new(result, "between", list) ? no_memory(err) : 0;
    int *where = mem_alloc((size_t)N + 1, sizeof *where),
        *value = mem_alloc((size_t)(N + 1) * (size_t)n, sizeof *value);
    if (rc == 0 && (!where || !value))
        rc = no_memory(err);
    for (int k = 0; rc == 0 && k < n; k++) {
        rc = match(where, &a[0], &a[k], err);
        for (int i = 0; rc == 0 && i < N; i++)
            value[k * N + i] = verdict(&a[k], &a[0].j.pair[i], where[i]);
    }
    if (rc == 0)
        set_number(result, "krippendorff_alpha", krippendorff_alpha(value, n, N, 2));
    free(where);
    free(value);
    for (int k = 0; rc == 0 && k < n; k++)
        for (int m = k + 1; rc == 0 && m < n; m++) {
            int *place = mem_alloc((size_t)a[k].j.n + 1, sizeof *place);
            rc = place ? match(place, &a[k], &a[m], err) : no_memory(err);
            if (rc == 0)
                rc = between_two(list, &a[k], &a[m], place, err);
            free(place);
        }
    return rc;
}

int audit_write_calibrated(const struct audited *a, const char *path, struct err *err)
{
    struct rows_out out = { 0 };
    int rc = rows_out_open(&out, path, err);
    for (int i = 0; rc == 0 && i < a->j.n; i++) {
        if (!answered(a, i))
            continue;
        const struct candidates *c = &a->j.pair[i];
        double raw = a->j.label[i].p;
        bool first = raw >= 0.5;
        double p = first ? raw : 1 - raw;
        json_t *row = json_pack("{s:s, s:O, s:O, s:O, s:f, s:f}", "id", c->id, "prompt",
                                c->prompt_json, "chosen", first ? c->first_json : c->second_json,
                                "rejected", first ? c->second_json : c->first_json, "label_prob",
                                temper(p, a->temperature), "label_prob_raw", p);
        rc = row ? rows_out_add(&out, row, err) : no_memory(err);
        json_decref(row);
    }
    if (rc == 0)
        rc = rows_out_commit(&out, err);
    rows_out_close(&out);
    return rc;
}
