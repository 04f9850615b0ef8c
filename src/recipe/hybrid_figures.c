/* recipe/hybrid_figures.c - each stage of hybrid feedback measured by itself.
 *
 * Verdicts are compared with the rows' `correct`, orders with `correct` first and `scores` then;
 * rows without them are left out.  Accuracies of verdicts are shares of answers (Wilson);
 * accuracies of orders are means over prompts of the share of their pairs in the right order,
 * ties one half (bootstrapped over prompts), since pairs of one prompt are not independent. */
#include <math.h>

#include "recipe/hybrid.h"
#include "recipe/labeling.h"

enum who { BY_RULE, BY_AI, BY_BLIND, BY_ALL, WHO };
static const char *const who_name[WHO] = { "rule", "ai", "ai_blind", "verdict" };

/* Whether somebody looked at an answer, and what they said. */
static bool said(enum correctness *v, const struct hybrid_answer *a, enum who who)
{
    *v = who == BY_RULE    ? a->rule.verdict
         : who == BY_AI    ? a->ai.verdict
         : who == BY_BLIND ? a->blind.verdict
                           : a->verdict;
    return who == BY_RULE    ? a->ruled
           : who == BY_AI    ? a->ai.asked
           : who == BY_BLIND ? a->blind.asked
                             : a->by != NULL;
}

static void set(json_t *result, const char *who, const char *what, double value)
{
    char name[64];
    snprintf(name, sizeof name, "%s_%s", who, what);
    set_number(result, name, value);
}


static int verdicts(json_t *result, const struct hybrid_set *s, enum who who, double *value)
{
    char name[64];
    int asked = 0, right = 0, unreadable = 0, n = 0;
    for (int i = 0; i < s->n; i++)
        for (int k = 0; k < s->item[i].n; k++) {
            const struct hybrid_answer *a = &s->item[i].answer[k];
            enum correctness v;
            if (!said(&v, a, who))
                continue;
            asked++;
            right += v == ANSWER_RIGHT;
            unreadable += v == ANSWER_UNREADABLE;
            if (a->truth >= 0)
                value[n++] = (v == ANSWER_RIGHT) == a->truth;
        }
    if (!asked)
        return 0;
    struct interval share = interval_share(value, n);
    set(result, who_name[who], "answers", asked);
    set(result, who_name[who], "right", right);
    set(result, who_name[who], "unreadable", unreadable);
    snprintf(name, sizeof name, "%s_accuracy", who_name[who]);
    set_interval(result, name, &share);
    return asked;
}

/* How often the rule and the labeler say different things, and who is right where they do. */
static void disagreement(json_t *result, const struct hybrid_set *s, enum who who, double *value)
{
    char name[64];
    int n = 0, rule_right = 0, known = 0;
    for (int i = 0; i < s->n; i++)
        for (int k = 0; k < s->item[i].n; k++) {
            const struct hybrid_answer *a = &s->item[i].answer[k];
            enum correctness rule, other;
            if (!said(&rule, a, BY_RULE) || !said(&other, a, who))
                continue;
            bool differ = (rule == ANSWER_RIGHT) != (other == ANSWER_RIGHT);
            value[n++] = differ;
            known += differ && a->truth >= 0;
            rule_right += differ && a->truth >= 0 && (rule == ANSWER_RIGHT) == a->truth;
        }
    if (!n)
        return;
    struct interval share = interval_share(value, n);
    snprintf(name, sizeof name, "rule_%s_disagreement", who_name[who]);
    set_interval(result, name, &share);
    snprintf(name, sizeof name, "rule_right_where_%s_differs", who_name[who]);
    set_number(result, name, known ? (double)rule_right / known : NAN);
}

/* ---- orders ------------------------------------------------------------------------------ */

/* 1: a is truly better, 0: b is, NaN: unknown or equal. */
static double truly(const struct hybrid_answer *a, const struct hybrid_answer *b)
{
    if (a->truth >= 0 && b->truth >= 0 && a->truth != b->truth)
        return a->truth > b->truth;
    if (isfinite(a->score) && isfinite(b->score) && a->score != b->score)
        return a->score > b->score;
    return NAN;
}

static double agree(double p, double truth)
{
    return isnan(truth) ? NAN : p == 0.5 || isnan(p) ? 0.5 : (p > 0.5) == (truth > 0.5);
}

struct mean { double sum; int n; };
static void add(struct mean *m, double x)
{
    if (!isnan(x)) {
        m->sum += x;
        m->n++;
    }
}

enum order { SORTED, REASONED, ORDERED, PLAIN, PLAIN_CHECKABLE, ORDERED_CHECKABLE, ORDERS };
static const char *const order_name[ORDERS] = {
    "sorting_accuracy",     "comparison_accuracy",      "order_accuracy",
    "plain_order_accuracy", "plain_checkable_accuracy", "order_checkable_accuracy"
};

/* One prompt's share of pairs in the right order, for every stage. */
static void orders_of(double out[ORDERS], const struct hybrid_item *it)
{
    struct mean m[ORDERS] = { { 0 } };
    bool checkable = category_checkable(it->category);
    for (int i = 0; i < it->n && it->state != HYBRID_LEFT; i++)
        for (int j = i + 1; j < it->n; j++) {
            const struct hybrid_answer *a = &it->answer[i], *b = &it->answer[j];
            double t = truly(a, b), ranks = a->rank < b->rank ? 1 : a->rank > b->rank ? 0 : 0.5;
            if (checkable && a->truth >= 0 && b->truth >= 0 && a->truth != b->truth)
                add(&m[SORTED],
                    agree(0.5 + 0.5 * ((a->verdict == ANSWER_RIGHT) - (b->verdict == ANSWER_RIGHT)),
                          t));
            add(&m[ORDERED], agree(ranks, t));
            if (checkable)
                add(&m[ORDERED_CHECKABLE], agree(ranks, t));
        }
    for (int d = 0; d < it->n_duels; d++)
        add(&m[REASONED], agree(it->duel[d].answered ? it->duel[d].p : 0.5,
                                truly(&it->answer[it->duel[d].i], &it->answer[it->duel[d].j])));
    for (int d = 0; d < it->n_plain; d++) {
        double x = agree(it->plain[d].answered ? it->plain[d].p : 0.5,
                         truly(&it->answer[it->plain[d].i], &it->answer[it->plain[d].j]));
        add(&m[PLAIN], x);
        if (checkable)
            add(&m[PLAIN_CHECKABLE], x);
    }
    for (int k = 0; k < ORDERS; k++)
        out[k] = m[k].n ? m[k].sum / m[k].n : NAN;
}

static int orders(json_t *result, const struct hybrid_set *s, double *value, uint64_t seed,
                  struct err *err)
{
    int rc = 0;
    for (int k = 0; k < ORDERS && rc == 0; k++) {
        int n = 0;
        for (int i = 0; i < s->n; i++) {
            double all[ORDERS];
            orders_of(all, &s->item[i]);
            if (!isnan(all[k]))
                value[n++] = all[k];
        }
        struct interval mean = { 0 };
        if (n)
            rc = interval_mean(&mean, value, n, seed, err);
        if (n && rc == 0)
            set_interval(result, order_name[k], &mean);
    }
    return rc;
}

/* ---- counts ---------------------------------------------------------------------------------- */

static void counts(json_t *result, const struct hybrid_set *s)
{
    int category[CATEGORIES] = { 0 }, state[HYBRID_LEFT + 1] = { 0 }, answers = 0, duels = 0,
        plain = 0, voted = 0, references = 0, same = 0, answered = 0;
    json_t *of = json_object(), *states = json_object();
    for (int i = 0; i < s->n; i++) {
        const struct hybrid_item *it = &s->item[i];
        category[it->category]++;
        state[it->state]++;
        answers += it->n;
        duels += it->n_duels;
        plain += it->n_plain;
        voted += it->voted;
        references += it->ref.n > 0 && !it->voted;
        for (int d = 0; d < it->n_duels; d++) {
            answered += it->duel[d].answered;
            same += it->duel[d].answered && it->duel[d].same_slot;
        }
    }
    for (int c = 0; c < CATEGORIES; c++)
        if (category[c])
            json_object_set_new(of, category_name((enum category)c), json_integer(category[c]));
    for (int k = 0; k <= HYBRID_LEFT; k++)
        json_object_set_new(states, hybrid_state_name((enum hybrid_state)k),
                            json_integer(state[k]));
    set_number(result, "prompts", s->n);
    set_number(result, "answers", answers);
    json_object_set_new(result, "categories", of);
    json_object_set_new(result, "states", states);
    set_number(result, "references", references);
    set_number(result, "references_voted", voted);
    set_number(result, "comparisons", duels);
    set_number(result, "comparisons_plain", plain);
    set_number(result, "comparisons_answered", answered);
    set_number(result, "comparisons_same_slot", answered ? (double)same / answered : NAN);
}

int hybrid_figures(json_t *result, const struct hybrid_set *s, uint64_t seed, struct err *err)
{
    size_t most = (size_t)s->n + 1;
    for (int i = 0; i < s->n; i++)
        most += (size_t)s->item[i].n;
    double *value = mem_alloc(most, sizeof *value);
    if (!value)
        return err_set(err, ERR_MEMORY, "no memory for figures");
    counts(result, s);
    for (int who = 0; who < WHO; who++)
        verdicts(result, s, (enum who)who, value);
    disagreement(result, s, BY_AI, value);
    disagreement(result, s, BY_BLIND, value);
    int rc = orders(result, s, value, seed, err);
    free(value);
    return rc;
}
