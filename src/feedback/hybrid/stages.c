/* feedback/hybrid/stages.c - the stages that ask a labeler: votes for a reference, verdicts,
 * comparisons.
 *
 *     1  each answer of a checkable category: rule, labeler with the reference, labeler without
 * it 3  each pair of right answers, in both orders: whose reasoning is better; other
 * categories: the better answer
 *
 * All questions of a stage are asked together, so that a provider can share what they have in
 * common and keep many calls in flight. */
#include <math.h>

#include "feedback/feedback.h"

#define VERIFY_PROTOCOL "hybrid-verify 1"
#define SOLVE_PROTOCOL "hybrid-solve 1"

const char hybrid_reasoning_preamble[] =
    "You are an experienced teacher. You read a problem and two solutions that both reach the "
    "right answer, and answer with 1 or 2, the "
    "number of the solution whose reasoning is better: each step is correct and follows from "
    "the one before, nothing needed is left out, "
    "and nothing is said that the problem does not need. Length, style and politeness do not "
    "count.";

void hybrid_defaults(struct hybrid_options *o)
{
    *o = (struct hybrid_options){
        .verifier = VERIFIER_AUTO, .ask_reference = true, .ask_blind = true};
    style_defaults(&o->style);
}

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "no memory to check answers");
}

/* ---- the labeler's own solutions as a reference ------------------------------------------ */

/* Solutions that agree with solution i. */
static int agreeing(const struct hybrid_item *it, const char *const *text, int n, int i)
{
    struct reference ref = it->ref;
    struct rule_verdict v;
    int count = 0;
    ref.text = &text[i];
    ref.n = 1;
    for (int k = 0; k < n; k++) {
        verify_rule(&v, &ref, text[k]);
        count += v.verdict == ANSWER_RIGHT;
    }
    return count;
}

static void elect(struct hybrid_item *it, const char *const *text, int n)
{
    int best = 0;
    it->solutions = n;
    for (int i = 0; i < n; i++) {
        int votes = agreeing(it, text, n, i);
        it->solved += votes > 0;
        if (votes > best) {
            best = votes;
            it->reference[0] = text[i];
        }
    }
    it->voted = best > 0;
    it->ref.text = it->reference;
    it->ref.n = it->voted;
    it->vote_share = n ? (double)best / n : NAN;
}

static bool wants_votes(const struct hybrid_item *it)
{
    return (it->category == CATEGORY_MATH || it->category == CATEGORY_CHOICE) && it->ref.n == 0;
}

static int vote(struct hybrid_set *s, struct asker *a, const struct hybrid_options *o,
                struct err *err)
{
    const char **question = mem_alloc((size_t)s->n + 1, sizeof *question),
               **text = mem_alloc((size_t)s->n * (size_t)o->solve_votes + 1, sizeof *text);
    int n = 0, rc = question && text ? 0 : no_memory(err);
    for (int i = 0; i < s->n && rc == 0; i++)
        if (wants_votes(&s->item[i])) {
            char *q = str_printf("Solve the problem step by step. Write the final answer on a "
                                 "line of its own that begins with \"####\".\n\n"
                                 "Problem: %s\n\nSolution:",
                                 s->item[i].prompt);
            question[n] = q ? arena_strdup(&s->arena, q) : NULL;
            free(q);
            rc = question[n++] ? 0 : no_memory(err);
        }
    if (rc == 0)
        rc = ask_texts(text, a, SOLVE_PROTOCOL, question, n, o->solve_votes, &o->style,
                       &s->arena, err);
    for (int i = 0, k = 0; i < s->n && rc == 0; i++)
        if (wants_votes(&s->item[i]))
            elect(&s->item[i], text + (size_t)o->solve_votes * (size_t)k++, o->solve_votes);
    free(question);
    free(text);
    return rc;
}

/* ---- verdicts ---------------------------------------------------------------------------- */

/* The question about one answer; in the arena. */
static const char *verdict_question(struct hybrid_set *s, const struct hybrid_item *it,
                                    const char *answer, bool shown)
{
    struct buf b = {0};
    bool closed = it->category == CATEGORY_CLOSED_QA;
    const char *problem = closed ? "question" : "problem",
               *solution = closed ? "answer" : "solution";
    buf_addf(&b,
             "You check whether the final answer of a given %s is correct.%s Only the final "
             "answer counts, not how it is written or explained.\n\n",
             solution,
             shown ? " The known answer is right."
                   : " Nobody knows the right answer yet, so work it out yourself first.");
    buf_addf(&b, "The %s: %s\n\n", problem, it->prompt);
    for (int i = 0; shown && i < it->ref.n; i++)
        buf_addf(&b, "%s: %s\n%s", i ? "Or" : "Known answer", it->ref.text[i],
                 i + 1 == it->ref.n ? "\n" : "");
    buf_addf(&b, "The %s: %s\n\n%s", solution, answer,
             shown ? "Does its final answer agree with the known answer?"
                   : "Is its final answer correct?");
    const char *q = b.failed ? NULL : arena_strdup(&s->arena, b.s);
    buf_release(&b);
    return q;
}

/* Blind questions are put about every checkable answer, or only where nothing else can tell. */
static bool asked_about(const struct hybrid_item *it, const struct hybrid_options *o, bool shown)
{
    if (!shown && !o->ask_blind && o->verifier == VERIFIER_AUTO && it->ref.n > 0)
        return false;
    // A voted reference is the labeler's own: showing it asks nothing new.
    return category_checkable(it->category) && (!shown || (it->ref.n > 0 && !it->voted));
}

static int ask_verdicts(struct hybrid_set *s, struct asker *a, const struct hybrid_options *o,
                        bool shown, struct err *err)
{
    int most = 0, n = 0, rc = 0;
    for (int i = 0; i < s->n; i++)
        most += asked_about(&s->item[i], o, shown) ? s->item[i].n : 0;
    const char **question = mem_alloc((size_t)most + 1, sizeof *question);
    struct yes_no *said = mem_alloc((size_t)most + 1, sizeof *said);
    if (!question || !said)
        rc = no_memory(err);
    for (int i = 0; i < s->n && rc == 0; i++)
        for (int k = 0; k < s->item[i].n && rc == 0 && asked_about(&s->item[i], o, shown); k++) {
            question[n] = verdict_question(s, &s->item[i], s->item[i].answer[k].text, shown);
            rc = question[n++] ? 0 : no_memory(err);
        }
    if (rc == 0)
        rc = ask_yes_no(said, a, VERIFY_PROTOCOL, question, n, &o->style, err);
    for (int i = 0, at = 0; i < s->n && rc == 0; i++)
        for (int k = 0; k < s->item[i].n && asked_about(&s->item[i], o, shown); k++, at++) {
            struct hybrid_answer *x = &s->item[i].answer[k];
            *(shown ? &x->ai : &x->blind) =
                (struct ai_verdict){true, said[at].lost, said[at].p,
                                    !said[at].answered ? ANSWER_UNREADABLE
                                    : said[at].p > 0.5 ? ANSWER_RIGHT
                                                       : ANSWER_WRONG};
        }
    free(question);
    free(said);
    return rc;
}

/* Whose verdict counts about this answer. */
static void settle(struct hybrid_answer *a, enum verifier v)
{
    if (v == VERIFIER_AUTO)
        v = a->ruled ? VERIFIER_RULE : VERIFIER_AI_BLIND;
    const struct ai_verdict *ai = v == VERIFIER_AI ? &a->ai : &a->blind;
    a->by = NULL;
    a->verdict = ANSWER_UNREADABLE;
    if (v == VERIFIER_RULE && a->ruled) {
        a->verdict = a->rule.verdict;
        a->by = "rule";
    } else if (v != VERIFIER_RULE && ai->asked && !ai->lost) {
        a->verdict = ai->verdict;
        a->by = v == VERIFIER_AI ? "ai" : "ai_blind";
    }
}

int hybrid_verify(struct hybrid_set *s, struct asker *a, const struct hybrid_options *o,
                  struct err *err)
{
    int rc = a && o->solve_votes > 0 ? vote(s, a, o, err) : 0;
    for (int i = 0; i < s->n && rc == 0; i++)
        hybrid_verify_rule(&s->item[i]);
    if (rc == 0 && a && (o->ask_reference || o->verifier == VERIFIER_AI))
        rc = ask_verdicts(s, a, o, true, err);
    if (rc == 0 && a &&
        (o->ask_blind || o->verifier == VERIFIER_AI_BLIND || o->verifier == VERIFIER_AUTO))
        rc = ask_verdicts(s, a, o, false, err);
    for (int i = 0; i < s->n && rc == 0; i++)
        for (int k = 0; k < s->item[i].n && category_checkable(s->item[i].category); k++)
            settle(&s->item[i].answer[k], o->verifier);
    return rc;
}

/* ---- comparisons ------------------------------------------------------------------------- */

/* Which two answers an arm compares: reasoning the right ones; general all where nothing can be
 * checked; plain all. */
enum arm { ARM_REASONING, ARM_GENERAL, ARM_PLAIN };

static bool compared(const struct hybrid_item *it, int i, int j, enum arm arm)
{
    bool checkable = category_checkable(it->category);
    if (it->category == CATEGORY_TOXICITY_REJECTION ||
        !strcmp(it->answer[i].text, it->answer[j].text))
        return false;
    if (arm == ARM_PLAIN)
        return true;
    if (arm == ARM_GENERAL)
        return !checkable;
    return checkable && it->answer[i].verdict == ANSWER_RIGHT &&
           it->answer[j].verdict == ANSWER_RIGHT;
}

static int count(const struct hybrid_set *s, enum arm arm)
{
    int n = 0;
    for (int i = 0; i < s->n; i++)
        for (int k = 0; k < s->item[i].n; k++)
            for (int j = k + 1; j < s->item[i].n; j++)
                n += compared(&s->item[i], k, j, arm);
    return n;
}

static int keep(struct hybrid_item *it, const struct label *label, enum arm arm, int *at,
                struct err *err)
{
    int n = 0;
    struct hybrid_duel *duel = mem_alloc((size_t)it->n * (size_t)it->n + 1, sizeof *duel);
    if (!duel)
        return no_memory(err);
    for (int k = 0; k < it->n; k++)
        for (int j = k + 1; j < it->n; j++)
            if (compared(it, k, j, arm)) {
                const struct label *l = &label[(*at)++];
                duel[n++] = (struct hybrid_duel){k,
                                                 j,
                                                 l->p,
                                                 {l->order[0], l->order[1]},
                                                 l->state == LABEL_ANSWERED,
                                                 l->same_slot};
            }
    if (n == 0) {
        free(duel);
    } else if (arm == ARM_PLAIN) {
        it->plain = duel;
        it->n_plain = n;
    } else {
        it->duel = duel;
        it->n_duels = n;
    }
    return 0;
}

static int compare(struct hybrid_set *s, const struct labeler *l, enum arm arm, struct err *err)
{
    int most = count(s, arm), n = 0;
    if (!most)
        return 0;
    struct label_item *item = mem_alloc((size_t)most, sizeof *item);
    struct label *label = mem_alloc((size_t)most, sizeof *label);
    struct label_counts counts = {0};
    int rc = item && label ? 0 : no_memory(err);
    for (int i = 0; i < s->n && rc == 0; i++)
        for (int k = 0; k < s->item[i].n; k++)
            for (int j = k + 1; j < s->item[i].n; j++)
                if (compared(&s->item[i], k, j, arm))
                    item[n++] = (struct label_item){.prompt = s->item[i].prompt,
                                                    .first = s->item[i].answer[k].text,
                                                    .second = s->item[i].answer[j].text};
    if (rc == 0)
        rc = label_items(label, &counts, l, item, n, err);
    for (int i = 0, at = 0; i < s->n && rc == 0; i++)
        rc = keep(&s->item[i], label, arm, &at, err);
    free(item);
    free(label);
    return rc;
}

int hybrid_prefer(struct hybrid_set *s, const struct labeler *reasoning,
                  const struct labeler *general, const struct hybrid_options *o,
                  struct err *err)
{
    int rc = compare(s, reasoning, ARM_REASONING, err);
    if (rc == 0)
        rc = compare(s, general, ARM_GENERAL, err);
    if (rc == 0 && o->plain)
        rc = compare(s, general, ARM_PLAIN, err);
    return rc;
}
