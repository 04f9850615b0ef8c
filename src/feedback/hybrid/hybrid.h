/* feedback/hybrid/hybrid.h - feedback that checks before it prefers (HRLAIF, Li et al. 2024,
 * arXiv 2403.08309).
 *
 * A judge of style ranks a fluent wrong answer above a plain right one.  Here correctness is
 * decided first, and what people would rather read only among the right ones:
 *
 *     verify     does the final answer agree with the reference?  by rule, or by asking a
 * labeler sort       every right answer before every wrong one; wrong ones are never compared
 *     prefer     among right ones: whose reasoning is better, in both orders
 *     order      one ranking of the K answers, and the pairs that follow from it
 *
 * Of the paper only the abstract and digests are known to us; docs/hybrid.md says of each step
 * whose choice it is. */
#ifndef FEEDBACK_HYBRID_HYBRID_H
#define FEEDBACK_HYBRID_HYBRID_H

#include "base/base.h"
#include "feedback/ask.h"

/* ---- what a prompt is about ------------------------------------------------------------- */

/* Twelve kinds, as many as the paper's; their names are ours.  The first three can be checked.
 */
enum category {
    CATEGORY_MATH,
    CATEGORY_CHOICE,
    CATEGORY_CLOSED_QA,
    CATEGORY_OPEN_QA,
    CATEGORY_EXTRACTION,
    CATEGORY_SUMMARIZATION,
    CATEGORY_CLASSIFICATION,
    CATEGORY_REWRITING,
    CATEGORY_WRITING,
    CATEGORY_TRANSLATION,
    CATEGORY_CODE,
    CATEGORY_TOXICITY_REJECTION,
    CATEGORIES
};
const char *category_name(enum category c); // "math", "multiple choice", "closed QA", ...
int category_from_name(enum category *out, const char *name,
                       struct err *err); // spaces, "-" and "_" are alike
static inline bool category_checkable(enum category c)
{
    return c <= CATEGORY_CLOSED_QA;
}

/* ---- numbers ----------------------------------------------------------------------------- */

/* A number as it stands in a text, exactly: "1,200", "-0.5", "3/4", "1 1/2", "\frac{3}{4}",
 * "$1.20", "50%", "2.5 million", "90 minutes".  Up to 18 digits; longer ones are no quantity.
 */
struct quantity {
    int64_t num, den; // in lowest terms, den > 0
    bool percent;
    int scale; // what a word behind it multiplies by (thousand, million, dozen); 1: none
    int unit;  // of the table of units; -1: none that we know
};
/* The whole of s (n bytes) is one quantity: around it nothing but emphasis, currency, unit
 * words and a full stop. */
bool quantity_parse(struct quantity *q, const char *s, size_t n);
/* The first or last one in s; *at and *len (may be NULL) tell where it stands. */
bool quantity_find(struct quantity *q, const char *s, size_t n, bool last, size_t *at,
                   size_t *len);
/* Equal as rationals.  Known units of one kind are converted, of different kinds never equal; a
 * unit, a percent sign or a scale that only one of them bears is optional: "50%" equals "50"
 * and "0.5", "5 apples" equals "5". */
bool quantity_equal(const struct quantity *a, const struct quantity *b);

/* ---- verification by rule ---------------------------------------------------------------- */

enum correctness {
    ANSWER_WRONG,
    ANSWER_RIGHT,
    ANSWER_UNREADABLE
}; // UNREADABLE counts as wrong where one must decide
const char *correctness_name(enum correctness v); // "wrong", "right", "unreadable"

/* What a prompt's answer is checked against.  text is a final answer ("18", "B", "Paris") or a
 * whole solution that ends in one ("... #### 18"). */
struct reference {
    enum category category;
    const char *const *text;
    int n; // any of them will do
    const char *const *option;
    int n_options;      // multiple choice: A, B, ...; 0: read from the prompt
    const char *prompt; // NULL: unknown
};
struct rule_verdict {
    enum correctness verdict;
    const char *how; // what the final answer was known by: "boxed", "####", "answer", "last
                     // number", "letter", ...
    char found[256]; // the final answer, cut to fit
    double f1;       // closed questions: the best token F1
};
/* Math: the marked final answer, or the last number, equal as a quantity (symbols: equal as
 * text without spaces). Multiple choice: the marked or last option letter standing alone, else
 * an option's text.  Closed questions: normalised exact match or token F1 >= 0.8.  The answer
 * is any text up to a megabyte; what lies before the last one is not read. */
void verify_rule(struct rule_verdict *out, const struct reference *ref, const char *answer);
#define CLOSED_QA_F1 0.8

/* What can be checked about a prompt: options, a number, a short text, or nothing (open QA). */
enum category category_guess(const struct reference *ref);

/* The final answer of a text: after "\boxed", "####", "the answer is", "Answer:" or "A:";
 * false: none is marked. *how is the word for it; *at and *n point into s. */
bool final_answer(const char **at, size_t *n, const char **how, const char *s);
/* "A. ...", "(B) ..." lines of a prompt; returns how many (0 or at least 2).  at and n (26)
 * point into prompt. */
int options_find(const char *at[26], size_t n[26], const char *prompt);
/* Lower case, no punctuation, no articles, single spaces (as SQuAD's); malloc'd, NULL without
 * memory. */
char *answer_normalize(const char *s, size_t n);
double answer_f1(const char *normalized_a, const char *normalized_b);

/* ---- a prompt, its answers, everything found out about them ------------------------------ */

/* What a labeler said when it was asked whether an answer is right. */
struct ai_verdict {
    bool asked, lost;         // lost: no reply came
    double p;                 // P(right); NaN where it gave no answer
    enum correctness verdict; // unreadable where it gave no answer
};
struct hybrid_answer {
    const char *text;
    const json_t *json; // as it is written out
    int truth;    // the row's own `correct`: 1 right, 0 wrong, -1 unknown; read by figures only
    double score; // the row's own `scores`; NaN: unknown; read by figures only
    bool ruled;   // rule holds
    struct rule_verdict rule;
    struct ai_verdict ai, blind; // shown the reference; not shown it
    enum correctness verdict;    // what counted
    const char *by;              // "rule", "ai", "ai_blind"; NULL: nothing decided
    double wins;                 // of its comparisons, ties one half
    int rank;                    // from 1; equals share one; 0: left out
};
/* Two answers compared: P(i better than j) by the mean of both orders, and each order by
 * itself. */
struct hybrid_duel {
    int i, j;
    double p, order[2];
    bool answered, same_slot;
};
enum hybrid_state {
    HYBRID_ORDERED,
    HYBRID_ALL_WRONG, // no answer is right: nothing safe to learn, no pair
    HYBRID_TIED,      // nothing tells the answers apart
    HYBRID_UNCHECKED, // nobody could say of some answer whether it is right (no reference and no labeler, or
                      // a reply that never came): no pair
    HYBRID_LEFT, // toxicity rejection, which `rlaif redteam` handles; or fewer than two answers
};
const char *
hybrid_state_name(enum hybrid_state s); // "ordered", "all wrong", "tied", "unchecked", "left out"
struct hybrid_item {
    const char *id, *prompt; // plain text, as a labeler reads it
    const json_t *prompt_json;
    enum category category;
    bool guessed;             // the row names no category
    const char *reference[8]; // of the row, or the winner of a vote
    struct reference ref;
    bool voted; // the reference is what most of the labeler's own solutions say
    double vote_share;
    int solutions, solved; // asked for; with a readable final answer
    struct hybrid_answer *answer;
    int n;
    struct hybrid_duel *duel;
    int n_duels; // reasoning among right answers, or preference in general
    struct hybrid_duel *plain;
    int n_plain; // what a judge prefers who does not check first: the arm to compare with
    enum hybrid_state state;
};
struct hybrid_set {
    struct hybrid_item *item;
    int n;
    struct arena arena;
    json_t *owned;
};
/* Rows {"prompt","completions"} and, where known, "reference" (or "answer", "ground_truth",
 * "solution"; a string or several), "options" (or "choices"), "category", "correct" (booleans)
 * and "scores" (numbers) beside the completions; and GSM8K's file of model solutions.  Rows
 * that cannot be used are rejected.  r must outlive the set. */
struct rows;
int hybrid_read(struct hybrid_set *out, struct rows *r, struct err *err) MUST_CHECK;
void hybrid_release(struct hybrid_set *s);

/* Stage 1 without a labeler: every answer of a checkable category that has a reference. */
void hybrid_verify_rule(struct hybrid_item *it);

/* ---- from verdicts to an order ----------------------------------------------------------- */

/* A pair that the order implies.  p: probability that the winner is better, at least one half.
 */
enum hybrid_stage { STAGE_CORRECTNESS, STAGE_REASONING, STAGE_GENERAL };
const char *hybrid_stage_name(enum hybrid_stage s); // "correctness", "reasoning", "general"
struct hybrid_pair {
    int winner, loser;
    enum hybrid_stage stage;
    double p;
};
/* Which pairs of a ranking are written.  The abstract does not say; all is our default. */
enum hybrid_pairs { PAIRS_ALL, PAIRS_ADJACENT, PAIRS_BEST_WORST };

/* From verdicts and duels to wins, ranks and a state.  Right answers come before wrong ones and
 * are ordered among themselves by wins; a duel counts as won where both orders agree, else as a
 * tie; wrong answers share the last rank. Categories that cannot be checked are ordered by wins
 * alone. */
void hybrid_order(struct hybrid_item *it);
/* The pairs of an ordered item, none between equal ranks and so none between two wrong answers;
 * out has room for n (n - 1) / 2.  Returns how many. */
int hybrid_pairs(struct hybrid_pair *out, const struct hybrid_item *it,
                 enum hybrid_pairs which);

/* Everything known about an item, and one pair of it in TRL's columns.  New references; NULL
 * without memory. */
json_t *hybrid_verdict_row(const struct hybrid_item *it);
json_t *hybrid_pair_row(const struct hybrid_item *it, const struct hybrid_pair *p);

/* ---- questions to a labeler -------------------------------------------------------------- */

/* How hybrid feedback asks.  Plain: the question is a text that the labeler continues; chat: one
 * user turn in its own template. */
struct style {
    bool chat;
    double min_mass;            // less probability on yes and no together is no answer (0.5)
    int votes;                  // 0: log-probs of yes and no; else so many written checks, whose share of yes counts
    float temperature;          // of written checks, solutions, rewrites
    int max_new_tokens;
    uint64_t seed;
};
void style_defaults(struct style *s);   // plain, 0.5, 0 votes, 0.7, 256, 1

struct yes_no {
    double p, mass; // P(yes), NaN where not answered
    bool answered;
    bool lost;      // no reply came: a failure, or a question too long for the labeler
};
/* protocol names the question with its version, for the store. */
int ask_yes_no(struct yes_no *out, struct asker *a, const char *protocol,
               const char *const *question, int n, const struct style *s,
               struct err *err) MUST_CHECK;
/* What a text answers: 1 yes, 0 no, -1 neither.  Its first "Answer: yes" counts, else its first
 * word. */
int yes_no_read(const char *text);
/* draws texts for each question, question by question, in the arena; "" where the labeler said
 * nothing or refused. */
int ask_texts(const char **out, struct asker *a, const char *protocol, const char *const *question,
              int n, int draws, const struct style *s, struct arena *arena,
              struct err *err) MUST_CHECK;

/* ---- stage by stage ---------------------------------------------------------------------- */

struct protocol;
struct labeler;
enum verifier { VERIFIER_AUTO, VERIFIER_RULE, VERIFIER_AI, VERIFIER_AI_BLIND };
struct hybrid_options {
    enum verifier verifier;         // whose verdict counts; AUTO: the rule's where there is a reference, else the blind labeler's
    bool ask_reference, ask_blind;  // what the labeler is asked about each checkable answer, whoever counts
    int solve_votes;                // where there is no reference: the labeler's own solutions, whose most frequent answer stands in; 0: none
    bool plain;                     // also what a judge prefers who does not check first
    struct style style;
};
void hybrid_defaults(struct hybrid_options *o);

/* Stage 1 with a labeler: votes for missing references, rules, the labeler's verdicts, and whose
 * counts. */
int hybrid_verify(struct hybrid_set *s, struct asker *a, const struct hybrid_options *o,
                  struct err *err) MUST_CHECK;
/* Stage 3: reasoning among right answers, general preference where nothing can be checked; and
 * the plain arm.  Two labelers that differ in their protocol. */
int hybrid_prefer(struct hybrid_set *s, const struct labeler *reasoning,
                  const struct labeler *general, const struct hybrid_options *o,
                  struct err *err) MUST_CHECK;
/* What the protocol of stage 3 says to the labeler. */
extern const char hybrid_reasoning_preamble[];

#endif
