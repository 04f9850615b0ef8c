/* feedback/judge/judge.h - judging for evaluation: which of two outputs, which of K.
 *
 *     text        the judge writes "Output (a)" or "Output (b)"
 *     weighted    one token, "m" or "M": preference = 1 + P(second), from log-probs (AlpacaEval 2)
 *     tournament  K outputs by all pairs: wins
 *     listwise    K outputs in one reply: "2 > 1 > 3"
 *
 * As AlpacaEval has it: output 1 is the baseline and output 2 the model under test; a
 * preference is 1 where the first wins, 2 where the second does, 1.5 for a draw (equal texts,
 * which nobody is asked about), NaN where nothing could be read.  Which of the two is shown
 * first is drawn by the instruction's hash, and the answer mapped back; both orders can be
 * asked and averaged. The prompts are our own. */
#ifndef FEEDBACK_JUDGE_JUDGE_H
#define FEEDBACK_JUDGE_JUDGE_H

#include "base/base.h"
#include "feedback/ask.h"

enum judge_kind { JUDGE_TEXT, JUDGE_WEIGHTED };
enum judge_order { JUDGE_RANDOM, JUDGE_BOTH, JUDGE_FIXED };
struct judge_options {
    enum judge_kind kind;
    enum judge_order order;
    bool chat;     // asked in the judge's own chat template; false: a text it continues
    uint64_t seed; // of drawn orders
};
void judge_defaults(struct judge_options *o); // weighted, random order, plain, seed 0

/* reference: an answer known to be good, shown to the judge; NULL: none. */
struct judge_item {
    const char *instruction, *first, *second, *reference;
};
struct judgement {
    double preference; // 1 to 2, NaN: unread
    double order[2];   // of what was asked first and (JUDGE_BOTH) second; NaN: unread, not asked
    bool swapped; // the second output was shown first (JUDGE_RANDOM)
    const char *raw; // what was said, or the log-probs as JSON; NULL: nobody was asked
    double seconds, price;
    enum reply_state state;
};
/* Strings live in the arena. */
int judge_pairs(struct judgement *out, struct asker *a, const struct judge_options *o,
                const struct judge_item *item, int n, struct arena *arena,
                struct err *err) MUST_CHECK;
/* The whole question as it is put, for --dry_run and tests; swapped shows the second output
 * first. */
char *judge_question(const struct judge_options *o, const struct judge_item *item,
                     bool swapped);
/* P(what was shown second is better) out of one reply; NaN: unread.  A label missing from a
 * short list of log-probs counts as nothing, both missing as unread. */
double judge_read(const struct reply *r, enum judge_kind kind);

/* ---- which of K -------------------------------------------------------------------------- */

enum { JUDGE_MAX_OUTPUTS = 16 };
enum rank_how { RANK_TOURNAMENT, RANK_LISTWISE };
struct rank_item {
    const char *instruction, *reference;
    const char *output[JUDGE_MAX_OUTPUTS];
    int n;
};
struct ranked {
    int rank[JUDGE_MAX_OUTPUTS];    // 1 best; equals share one; 0: unread
    double wins[JUDGE_MAX_OUTPUTS]; // of the other n - 1, draws one half (listwise: as the
                                    // order implies)
    int unread;                     // pairs (tournament) or 1 (listwise)
    const char *raw;                // listwise: the reply; NULL otherwise
};
int judge_rank(struct ranked *out, struct asker *a, const struct judge_options *o,
               enum rank_how how, const struct rank_item *item, int n, struct arena *arena,
               struct err *err) MUST_CHECK;
/* Reads an order of n out of "2 > 1 > 3" or "2, 1, 3" or a list: place[i] is the i-th best,
 * from 0.  false: not every number once. */
bool order_read(int *place, int n, const char *text);

#endif
