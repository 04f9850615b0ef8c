/* data/layout/layout.h - preference data of others, recognised row by row, and written as others
 * want it.
 *
 *     layout         columns by which a row is recognised             becomes
 *     tldr           summaries[2].text, choice, info.post             a pair; extra.confidence can be filtered
 *     alpaca         instruction, output_1, output_2, preference      a pair; AlpacaEval's 1..2 is a probability
 *     helpsteer      prompt, response, helpfulness                    rows in a row with one prompt: a pair for every two
 *     helpsteer_preference  prompt or context, response_1, response_2, preference_strength (HelpSteer 3: response1,
 *                    response2, overall_preference)                   a pair
 *     ultrafeedback  chosen, rejected, score_chosen, score_rejected   a pair
 *     hh             chosen, rejected: transcripts without a prompt   a pair
 *     trl            chosen, rejected, with or without prompt         a pair, label_prob where it is given
 *     labels         first, second, label_first                       a pair, as `rlaif label` wrote it
 *     gsm8k          question, answer with "#### N"                   an example with its final answer
 *
 * A file may mix them.  Two equal ratings say nothing about which answer is the better one, and
 * such a row is rejected; a tie that somebody declared (AlpacaEval's 1.5 or 0, HelpSteer's
 * strength 0) is a label of one half. */
#ifndef DATA_LAYOUT_H
#define DATA_LAYOUT_H

#include "base/base.h"

enum layout {
    LAYOUT_UNKNOWN,
    LAYOUT_TLDR,
    LAYOUT_ALPACA,
    LAYOUT_HELPSTEER,
    LAYOUT_HELPSTEER_PREFERENCE,
    LAYOUT_ULTRAFEEDBACK,
    LAYOUT_HH,
    LAYOUT_TRL,
    LAYOUT_LABELS,
    LAYOUT_GSM8K,
    LAYOUTS
};
const char *layout_name(enum layout layout);
/* By the row's columns alone; a null column counts as absent, but for AlpacaEval's preference. */
enum layout data_layout(const json_t *row);

struct rows;
/* Two answers to one prompt, and what was said about them.  References are the list's. */
struct comparison {
    enum layout layout;
    const json_t *id, *prompt, *first, *second;     // id: a string; the others: strings or lists of messages
    double p_first;             // probability that first is the better one
    const json_t *first_model, *second_model;       // strings; NULL: not known
    const json_t *extra;        // object: columns that go along (score_chosen, confidence, ...)
    const json_t *row;          // as it was read, of the first answer
};
struct comparisons {
    struct comparison *item; int n; size_t cap;
    json_t *examples;           // rows {id, prompt, completion, answer}
    int of[LAYOUTS];            // rows read of each layout
    int ties;                   // pairs with exactly one half
    json_t *owned;
    struct arena arena;
};
struct layout_options {
    const json_t *confidence;   // of tldr: strings of numbers, with commas where there are several; a row with another confidence is rejected.  NULL: any
    bool any_answers;           // keep pairs of equal or empty answers, which judges are shown and nothing can be trained on
};
/* All rows of r, in order; those that cannot be used move to r->rejected with a reason.
 * ERR_VALUE where none can. */
int layout_read(struct comparisons *out, struct rows *r, const struct layout_options *o,
                struct err *err) MUST_CHECK;
void comparisons_release(struct comparisons *l);

/* ---- written for others; new references, NULL without memory ----------------------------- */

/* TRL's columns, label_prob beside them, where it came from (`layout`), and the columns that go
 * along. */
json_t *comparison_trl(const struct comparison *c);
/* A record of AlpacaEval's annotations.json: output_1 is the baseline's (the generator of that
 * name; NULL: first), the preference 1 + the probability of output_2.  *why: the reason where the
 * row cannot be one (and NULL is returned). */
json_t *comparison_alpaca(const struct comparison *c, const char *baseline, const char **why);
/* A row of AlpacaEval's annotations.json out of its values, which it takes; NULL: null. */
struct annotation {
    json_t *instruction, *output_1, *generator_1, *dataset, *output_2, *generator_2, *annotator;
    json_t *preference, *price, *seconds, *raw;     // price, seconds: of this example; raw: what the annotator said
};
json_t *annotation_row(const struct annotation *a);
/* A row of RewardBench: prompt, chosen, rejected, chosen_model, rejected_model, subset, id. */
json_t *comparison_rewardbench(const struct comparison *c, const char *subset);

#endif
