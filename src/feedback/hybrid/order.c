/* feedback/hybrid/order.c - from verdicts and comparisons to one order of K answers, and the
 * pairs that follow from it.
 *
 * The key of an answer is (right?, wins among the right ones), compared in that order.  Wrong
 * answers all have the key (no, nothing), so that no pair of two wrong ones can follow. */
#include <math.h>

#include "feedback/hybrid/hybrid.h"

const char *hybrid_state_name(enum hybrid_state s)
{
    static const char *const names[] = {"ordered", "all wrong", "tied", "unchecked", "left out"};
    return names[s];
}

const char *hybrid_stage_name(enum hybrid_stage s)
{
    static const char *const names[] = {"correctness", "reasoning", "general"};
    return names[s];
}

/* Both orders name the same answer: it won.  They differ, or nobody answered: a tie. */
static double won(const struct hybrid_duel *d)
{
    if (!d->answered || isnan(d->order[0]) || isnan(d->order[1]))
        return 0.5;
    return d->order[0] > 0.5 && d->order[1] > 0.5   ? 1
           : d->order[0] < 0.5 && d->order[1] < 0.5 ? 0
                                                    : 0.5;
}

static bool right(const struct hybrid_item *it, int i)
{
    return !category_checkable(it->category) || it->answer[i].verdict == ANSWER_RIGHT;
}

static bool before(const struct hybrid_item *it, int i, int j)
{
    bool a = right(it, i), b = right(it, j);
    return a != b ? a : a && it->answer[i].wins > it->answer[j].wins;
}

void hybrid_order(struct hybrid_item *it)
{
    int n_right = 0;
    bool strict = false;
    for (int i = 0; i < it->n; i++) {
        it->answer[i].wins = 0;
        it->answer[i].rank = 0;
        n_right += right(it, i);
    }
    for (int d = 0; d < it->n_duels; d++) {
        double w = won(&it->duel[d]);
        it->answer[it->duel[d].i].wins += w;
        it->answer[it->duel[d].j].wins += 1 - w;
    }
    if (it->n < 2 || it->category == CATEGORY_TOXICITY_REJECTION) {
        it->state = HYBRID_LEFT;
        return;
    }
    for (int i = 0; i < it->n; i++)
        if (category_checkable(it->category) && !it->answer[i].by) {
            it->state = HYBRID_UNCHECKED;
            return;
        }
    for (int i = 0; i < it->n; i++) {
        it->answer[i].rank = 1;
        for (int j = 0; j < it->n; j++)
            it->answer[i].rank += before(it, j, i);
        strict = strict || it->answer[i].rank > 1;
    }
    it->state = n_right == 0 ? HYBRID_ALL_WRONG : strict ? HYBRID_ORDERED : HYBRID_TIED;
}

/* ---- pairs ---------------------------------------------------------------------------- */

/* P(i right, j wrong), given that one of them is: certain by rule, what the labeler said
 * otherwise. */
static double surer(const struct hybrid_answer *a, const struct hybrid_answer *b)
{
    const struct ai_verdict *x = a->by && !strcmp(a->by, "ai") ? &a->ai : &a->blind,
                            *y = a->by && !strcmp(a->by, "ai") ? &b->ai : &b->blind;
    if (!a->by || !strcmp(a->by, "rule") || !x->asked || !y->asked || isnan(x->p) ||
        isnan(y->p))
        return 1;
    double yes = x->p * (1 - y->p), no = y->p * (1 - x->p);
    return yes + no > 0 ? yes / (yes + no) : 0.5;
}

static double compared(const struct hybrid_item *it, int i, int j)
{
    for (int d = 0; d < it->n_duels; d++) {
        const struct hybrid_duel *k = &it->duel[d];
        if (k->answered && ((k->i == i && k->j == j) || (k->i == j && k->j == i)))
            return k->i == i ? k->p : 1 - k->p;
    }
    return 0.5;
}

static struct hybrid_pair pair_of(const struct hybrid_item *it, int i, int j)
{
    struct hybrid_pair p = {i, j, STAGE_GENERAL, 0};
    if (category_checkable(it->category))
        p.stage = right(it, j) ? STAGE_REASONING : STAGE_CORRECTNESS;
    p.p = p.stage == STAGE_CORRECTNESS ? surer(&it->answer[i], &it->answer[j])
                                       : compared(it, i, j);
    if (!(p.p >= 0.5)) // the order of all may speak against one comparison of a circle
        p.p = 0.5;
    return p;
}

/* No rank lies between the two. */
static bool adjacent(const struct hybrid_item *it, int i, int j)
{
    for (int k = 0; k < it->n; k++)
        if (it->answer[k].rank > it->answer[i].rank && it->answer[k].rank < it->answer[j].rank)
            return false;
    return true;
}

static int extreme(const struct hybrid_item *it, bool last)
{
    int e = 0;
    for (int i = 1; i < it->n; i++)
        if (last ? it->answer[i].rank > it->answer[e].rank
                 : it->answer[i].rank < it->answer[e].rank)
            e = i;
    return e;
}

int hybrid_pairs(struct hybrid_pair *out, const struct hybrid_item *it, enum hybrid_pairs which)
{
    int n = 0;
    if (it->state != HYBRID_ORDERED)
        return 0;
    if (which == PAIRS_BEST_WORST) {
        out[0] = pair_of(it, extreme(it, false), extreme(it, true));
        return 1;
    }
    for (int i = 0; i < it->n; i++)
        for (int j = 0; j < it->n; j++)
            if (it->answer[i].rank < it->answer[j].rank &&
                (which == PAIRS_ALL || adjacent(it, i, j)) &&
                strcmp(it->answer[i].text, it->answer[j].text))
                out[n++] = pair_of(it, i, j);
    return n;
}

/* ---- rows -------------------------------------------------------------------------------- */

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *ai_json(const struct ai_verdict *v)
{
    return v->asked ? json_pack("{s:o, s:s}", "p", number(v->p), "verdict",
                                correctness_name(v->verdict))
                    : json_null();
}

static json_t *answer_row(const struct hybrid_answer *a)
{
    json_t *o = json_object();
    json_object_set_new(o, "text", json_deep_copy(a->json));
    json_object_set_new(o, "rule",
                        !a->ruled
                            ? json_null()
                            : json_pack("{s:s, s:s?, s:s, s:o}", "verdict",
                                        correctness_name(a->rule.verdict), "how", a->rule.how,
                                        "found", a->rule.found, "f1", number(a->rule.f1)));
    json_object_set_new(o, "ai", ai_json(&a->ai));
    json_object_set_new(o, "ai_blind", ai_json(&a->blind));
    json_object_set_new(o, "verdict",
                        a->by ? json_string(correctness_name(a->verdict)) : json_null());
    json_object_set_new(o, "verdict_by", a->by ? json_string(a->by) : json_null());
    json_object_set_new(o, "wins", number(a->wins));
    json_object_set_new(o, "rank", a->rank ? json_integer(a->rank) : json_null());
    if (a->truth >= 0)
        json_object_set_new(o, "correct", json_boolean(a->truth));
    if (isfinite(a->score))
        json_object_set_new(o, "score", json_real(a->score));
    return o;
}

static json_t *duels_json(const struct hybrid_duel *d, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++, d++)
        json_array_append_new(list, json_pack("{s:i, s:i, s:b, s:o, s:o, s:o, s:b}", "first",
                                              d->i, "second", d->j, "answered", d->answered,
                                              "label_first", number(d->p), "label_order_a",
                                              number(d->order[0]), "label_order_b",
                                              number(d->order[1]), "same_slot", d->same_slot));
    return list;
}

static json_t *reference_json(const struct hybrid_item *it)
{
    json_t *list = json_array();
    for (int i = 0; i < it->ref.n; i++)
        json_array_append_new(list, json_string(it->ref.text[i]));
    return list;
}

json_t *hybrid_verdict_row(const struct hybrid_item *it)
{
    json_t *o = json_object(), *answers = json_array();
    for (int i = 0; i < it->n; i++)
        json_array_append_new(answers, answer_row(&it->answer[i]));
    json_object_set_new(o, "id", json_string(it->id));
    json_object_set_new(o, "prompt", json_deep_copy(it->prompt_json));
    json_object_set_new(o, "category", json_string(category_name(it->category)));
    json_object_set_new(o, "category_from", json_string(it->guessed ? "guess" : "row"));
    json_object_set_new(o, "reference", reference_json(it));
    json_object_set_new(o, "reference_from",
                        it->ref.n ? json_string(it->voted ? "votes" : "row") : json_null());
    if (it->solutions)
        json_object_set_new(o, "votes",
                            json_pack("{s:i, s:i, s:o}", "asked", it->solutions, "readable",
                                      it->solved, "share", number(it->vote_share)));
    json_object_set_new(o, "answers", answers);
    json_object_set_new(o, "comparisons", duels_json(it->duel, it->n_duels));
    if (it->n_plain)
        json_object_set_new(o, "plain", duels_json(it->plain, it->n_plain));
    json_object_set_new(o, "state", json_string(hybrid_state_name(it->state)));
    return o;
}

json_t *hybrid_pair_row(const struct hybrid_item *it, const struct hybrid_pair *p)
{
    const struct hybrid_answer *w = &it->answer[p->winner], *l = &it->answer[p->loser];
    return json_pack("{s:s, s:o, s:o, s:o, s:f, s:s, s:s, s:i, s:i, s:s?}", "id", it->id,
                     "prompt", json_deep_copy(it->prompt_json), "chosen",
                     json_deep_copy(w->json), "rejected", json_deep_copy(l->json), "label_prob",
                     p->p, "category", category_name(it->category), "stage",
                     hybrid_stage_name(p->stage), "chosen_index", p->winner, "rejected_index",
                     p->loser, "verdict_by", w->by);
}
