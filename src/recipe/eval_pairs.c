/* recipe/eval_pairs.c - labels and reward models against people, on pairs.
 *
 * People are the rows' own (`human`, or chosen and rejected), or, with a truth file, the lab's
 * panel of three. */
#include <math.h>

#include "learn/learn.h"
#include "recipe/evaluating.h"

enum { BINS = 10 };

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "no memory to evaluate");
}

/* ---- pairs and people ---------------------------------------------------------------------- */

static int arrays(struct judged *j, struct err *err)
{
    size_t n = (size_t)j->n + 1;
    j->confident = arena_alloc(&j->arena, n * sizeof *j->confident);
    j->votes = arena_alloc(&j->arena, n * sizeof *j->votes);
    if (!j->confident || !j->votes)
        return no_memory(err);
    for (int i = 0; i < j->n; i++)
        j->votes[i] = NAN;
    return 0;
}

/* The panel's majority takes the place of what the file says. */
static int ask_panel(struct judged *j, const struct lab_truth *truth, uint64_t seed,
                     struct err *err)
{
    for (int i = 0; i < j->n && truth; i++) {
        struct lab_panel p;
        int rc = lab_panel_vote(&p, truth, j->pair[i].id, j->pair[i].first, j->pair[i].second, seed,
                                err);
        if (rc)
            return err_prefix(err, "%s", j->rows.path);
        j->pair[i].human = p.preferred;
        j->confident[i] = p.confident;
        int same = 0, pairs = 0;
        for (int a = 0; a < LAB_PANEL; a++)
            for (int b = a + 1; b < LAB_PANEL; b++, pairs++)
                same += p.votes[a] == p.votes[b];
        j->votes[i] = (double)same / pairs;
    }
    return 0;
}

int judged_labels(struct judged *j, const char *path, const struct lab_truth *truth, uint64_t seed,
                  struct err *err)
{
    *j = (struct judged){ 0 };
    int rc = rows_read(&j->rows, path, 0, err);
    j->n = rc ? 0 : j->rows.n;
    j->pair = arena_alloc(&j->arena, (size_t)(j->n + 1) * sizeof *j->pair);
    j->label = arena_alloc(&j->arena, (size_t)(j->n + 1) * sizeof *j->label);
    if (rc == 0)
        rc = j->pair && j->label ? arrays(j, err) : no_memory(err);
    for (int i = 0; i < j->n && rc == 0; i++) {
        char where[512];
        snprintf(where, sizeof where, "%s", rows_place(&j->rows, j->rows.line[i]).s);
        rc = label_from_row(&j->pair[i], &j->label[i], j->rows.row[i], where, err);
    }
    return rc ? rc : ask_panel(j, truth, seed, err);
}

int judged_pairs(struct judged *j, const char *path, const struct lab_truth *truth, uint64_t seed,
                 struct err *err)
{
    *j = (struct judged){ 0 };
    int rc = rows_read(&j->rows, path, 0, err);
    if (rc == 0)
        rc = candidates_read(&j->list, &j->rows, false, err);
    if (rc)
        return rc;
    j->pair = j->list.item;
    j->n = j->list.n;
    rc = arrays(j, err);
    return rc ? rc : ask_panel(j, truth, seed, err);
}

void judged_release(struct judged *j)
{
    arena_release(&j->arena);
    candidates_release(&j->list);
    rows_release(&j->rows);
    *j = (struct judged){ 0 };
}

/* ---- the labeler ------------------------------------------------------------------------- */

/* Of the answered labels whose pair people compared: probability of the first, and whether it won. */
struct compared { double *p, *won; int n; };

static int compare(struct compared *c, const struct judged *j, double temperature, struct err *err)
{
    c->p = mem_alloc((size_t)j->n + 1, sizeof *c->p);
    c->won = mem_alloc((size_t)j->n + 1, sizeof *c->won);
    if (!c->p || !c->won)
        return no_memory(err);
    for (int i = 0; i < j->n; i++)
        if (j->label[i].state == LABEL_ANSWERED && j->pair[i].human) {
            c->p[c->n] = temper(j->label[i].p, temperature);
            c->won[c->n++] = j->pair[i].human == 1;
        }
    return 0;
}

static void compared_release(struct compared *c)
{
    free(c->p);
    free(c->won);
}

/* Share of agreement over all pairs, or the confident ones, or of a rule. */
static struct interval share(const struct judged *j, double *value,
                             double (*of)(const struct judged *, int))
{
    for (int i = 0; i < j->n; i++)
        value[i] = of(j, i);
    return interval_share(value, j->n);
}

static double agrees(const struct judged *j, int i)
{
    return j->label[i].state == LABEL_ANSWERED ? agreement(j->label[i].p, j->pair[i].human) : NAN;
}

static double agrees_confident(const struct judged *j, int i)
{
    return j->confident[i] ? agrees(j, i) : NAN;
}

/* The rule "the shorter one wins": against people, and the labeler's own leaning to it. */
static double shorter_wins(const struct judged *j, int i)
{
    const struct candidates *c = &j->pair[i];
    return c->human ? prefers_shorter(c->human == 1 ? 1 : 0, strlen(c->first), strlen(c->second))
                    : NAN;
}

static double label_is_shorter(const struct judged *j, int i)
{
    return j->label[i].state == LABEL_ANSWERED ?
        prefers_shorter(j->label[i].p, strlen(j->pair[i].first), strlen(j->pair[i].second)) : NAN;
}

static double annotators_agree(const struct judged *j, int i)
{
    return j->votes[i];
}

/* Brier, calibration error, log loss and information under a temperature; `suffix` is "" or
 * "_calibrated". */
static int calibration_figures(json_t *result, const struct judged *j, double t, const char *suffix,
                               uint64_t seed, struct err *err)
{
    struct compared c = { 0 };
    struct reliability_bin bin[BINS];
    struct interval info;
    char name[64];
    double *information = mem_alloc((size_t)j->n + 1, sizeof *information);
    int rc = information ? compare(&c, j, t, err) : no_memory(err);
    for (int i = 0; i < j->n && rc == 0; i++)
        information[i] =
            j->label[i].state == LABEL_ANSWERED ? label_information(temper(j->label[i].p, t)) : NAN;
    if (rc == 0)
        rc = interval_mean(&info, information, j->n, seed, err);
    if (rc == 0) {
        reliability(bin, BINS, c.p, c.won, c.n);
#define PUT(what, value) (snprintf(name, sizeof name, "labeler_" what "%s", suffix), set_number(result, name, value))
        PUT("brier", brier_score(c.p, c.won, c.n));
        PUT("ece", calibration_error(bin, BINS));
        PUT("log_loss", log_loss(c.p, c.won, c.n));
#undef PUT
        snprintf(name, sizeof name, "labeler_information_nats%s", suffix);
        set_interval(result, name, &info);
        json_t *list = json_array();
        for (int b = 0; b < BINS; b++)
            if (bin[b].n)
                json_array_append_new(list, json_pack("[ffi]", bin[b].p, bin[b].outcome, bin[b].n));
        snprintf(name, sizeof name, "reliability%s", suffix);
        json_object_set_new(result, name, list);
    }
    free(information);
    compared_release(&c);
    return rc;
}

static int temperature_figures(json_t *result, const struct judged *j,
                               const struct judged *calibration, uint64_t seed, struct err *err)
{
    struct compared c = { 0 };
    int rc = compare(&c, calibration, 1, err);
    double t = rc ? 1 : fit_temperature(c.p, c.won, c.n);
    if (rc == 0 && c.n == 0)
        rc = err_set(err, ERR_VALUE, "%s: no label that people can be compared with, so no temperature can be fitted",
                     calibration->rows.path);
    set_number(result, "labeler_temperature", t);
    set_number(result, "labeler_calibration_pairs", c.n);
    compared_release(&c);
    // A temperature moves no label across one half.
    json_object_set(result, "labeler_alignment_calibrated",
                    json_object_get(result, "labeler_alignment"));
    json_object_set(result, "labeler_alignment_calibrated_ci",
                    json_object_get(result, "labeler_alignment_ci"));
    return rc ? rc : calibration_figures(result, j, t, "_calibrated", seed, err);
}

static void length_correlation(json_t *result, const struct judged *j, double *x)
{
    double *y = mem_alloc((size_t)j->n + 1, sizeof *y);
    int n = 0;
    for (int i = 0; i < j->n && y; i++)
        if (j->label[i].state == LABEL_ANSWERED) {
            x[n] = j->label[i].p;
            y[n++] = (double)strlen(j->pair[i].first) - (double)strlen(j->pair[i].second);
        }
    set_number(result, "labeler_length_correlation", y ? correlation(x, y, n) : NAN);
    free(y);
}

int eval_labeler(json_t *result, const struct judged *j, const struct judged *calibration,
                 uint64_t seed, struct err *err)
{
    double *value = mem_alloc((size_t)j->n + 1, sizeof *value);
    if (!value)
        return no_memory(err);
    static const struct { const char *name; double (*of)(const struct judged *, int); } shares[] = {
        { "labeler_alignment", agrees }, { "labeler_alignment_confident", agrees_confident },
        { "labeler_shorter_agreement", shorter_wins }, { "labeler_prefers_shorter", label_is_shorter },
        { "annotators_agreement", annotators_agree },
    };
    struct slot_bias bias = slot_bias(j->label, j->n);
    set_number(result, "labeler_pairs", j->n);
    set_number(result, "labeler_answered", bias.rate.n);
    set_interval(result, "labeler_same_slot", &bias.rate);
    set_number(result, "labeler_same_slot_first", bias.first_share);
    int confident = 0;
    for (int i = 0; i < j->n; i++)
        confident += j->confident[i];
    set_number(result, "confident_pairs", confident);
    for (size_t k = 0; k < ARRAY_LEN(shares); k++) {
        struct interval s = share(j, value, shares[k].of);
        set_interval(result, shares[k].name, &s);
    }
    length_correlation(result, j, value);
    free(value);
    int rc = calibration_figures(result, j, 1, "", seed, err);
    return rc || !calibration ? rc : temperature_figures(result, j, calibration, seed, err);
}

/* ---- a reward model ---------------------------------------------------------------------- */

static int score_pairs(float *raw, const struct judged *j, const struct model *m, struct err *err)
{
    struct scorer *s = NULL;
    struct text *text = mem_alloc((size_t)j->n * 3, sizeof *text);
    struct scored *item = mem_alloc((size_t)j->n * 2, sizeof *item);
    int rc = text && item ? 0 : no_memory(err);
    for (int i = 0; i < j->n && rc == 0; i++) {
        const json_t *v[] = { j->pair[i].prompt_json, j->pair[i].first_json,
                              j->pair[i].second_json };
        for (int k = 0; k < 3 && rc == 0; k++)
            rc = text_from_json(&text[3 * i + k], (struct arena *)&j->arena, v[k], j->rows.path,
                                err);
        item[2 * i] = (struct scored){ &text[3 * i], &text[3 * i + 1] };
        item[2 * i + 1] = (struct scored){ &text[3 * i], &text[3 * i + 2] };
    }
    if (rc == 0)
        rc = scorer_new(&s, m, 0, err);
    if (rc == 0)
        rc = scorer_texts(s, item, 2 * j->n, raw, err);
    scorer_free(s);
    free(text);
    free(item);
    return rc;
}

int eval_reward(json_t *result, const char *name, const struct judged *j, const struct model *m,
                struct err *err)
{
    float *raw = mem_alloc((size_t)j->n * 2, sizeof *raw);
    double *right = mem_alloc((size_t)j->n, sizeof *right),
           *clear = mem_alloc((size_t)j->n, sizeof *clear);
    int ties = 0, rc = raw && right && clear ? score_pairs(raw, j, m, err) : no_memory(err);
    for (int i = 0; i < j->n && rc == 0; i++) {
        float d = raw[2 * i] - raw[2 * i + 1];
        int human = j->pair[i].human;
        right[i] = !human ? NAN : (human == 1 ? d > 0 : d < 0);     // strict: a tie is wrong
        clear[i] = j->confident[i] ? right[i] : NAN;
        ties += human && d == 0;
    }
    if (rc == 0) {
        char key[64];
        struct interval all = interval_share(right, j->n), some = interval_share(clear, j->n);
        snprintf(key, sizeof key, "%s_pairs", name);
        set_number(result, key, all.n);
        snprintf(key, sizeof key, "%s_accuracy", name);
        set_interval(result, key, &all);
        snprintf(key, sizeof key, "%s_accuracy_confident", name);
        set_interval(result, key, &some);
        snprintf(key, sizeof key, "%s_ties", name);
        set_number(result, key, ties);
    }
    free(raw);
    free(right);
    free(clear);
    return rc;
}
