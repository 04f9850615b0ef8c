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

/* ---- numbers --------------------------------------------------------------------------------
 */

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

/* ---- verification by rule
 * ---------------------------------------------------------------------- */

enum correctness {
    ANSWER_WRONG,
    ANSWER_RIGHT,
    ANSWER_UNREADABLE
};                                        // UNREADABLE counts as wrong where one must decide
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

#endif
