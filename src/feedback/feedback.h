/* feedback/feedback.h - what an AI labeler says of texts: preferences between two, ratings of one.
 *
 *     protocol   how one asks: from an item to questions, from replies to a label (feedback/protocol/protocol.h)
 *     ask        a question to a provider, and its reply: log-probs of given words, or a text (feedback/ask.h)
 *     provider   who is asked: a model in this process, ...
 *     store      every reply, keyed by all that determines it, in SQLite: asking twice costs nothing (feedback/store.h)
 *     label      both orders of a pair, averaged; the raw numbers stay beside the average.  Of one answer: a rating
 *
 * A labeler leans to a slot, so a pair is shown in both orders, (first, second) and (second,
 * first), unless a protocol is told otherwise, and what counts is the mean of the two
 * probabilities.  A labeler that answers with something else is recorded as unanswered; that is
 * data, not a failure. */
#ifndef FEEDBACK_FEEDBACK_H
#define FEEDBACK_FEEDBACK_H

#include "base/base.h"
#include "data/data.h"
#include "feedback/ask.h"
#include "feedback/hybrid/hybrid.h"
#include "feedback/hybrid/redteam.h"
#include "feedback/protocol/protocol.h"
#include "feedback/judge/judge.h"
#include "feedback/providers.h"
#include "feedback/store.h"
#include "model/model.h"

/* ---- labels ------------------------------------------------------------------------------- */

enum label_state {
    LABEL_ANSWERED,
    LABEL_NO_ANSWER,    // too little probability on the label words in one of the orders: a failure to parse, not a tie
    LABEL_TOO_LONG,
    LABEL_REFUSED,      // the provider would not answer one of the orders
    LABEL_FAILED,       // a reply did not come; asked again in the next run
};
const char *label_state_name(enum label_state state);  // "answered", "unanswered", "too_long", "refused", "failed"
/* What one order of a pair was answered, as labels keep it: by the first of its views. */
struct answer {
    struct word_logp word[2];   // "1" and "2", or the protocol's words; zero where it was asked for a text
    double mass;                // mean over the views
    int tokens;                 // of the prompt
};
/* Of all replies behind a label, rationales included. */
struct label_cost { int replies, tokens_in, tokens_out; double seconds, price; };
struct label {
    double p;               // P(first is the better one), mean over orders; clamped where the protocol says so
    double order[2];        // the same by order A (first, second) and B (second, first), not clamped; NaN: not asked
    int slot[2];            // the slot each order answered with: 1 or 2, 0 when exactly even or not asked
    bool same_slot;         // both orders answered the same slot: the labeler saw the slot, not the text
    double mass;            // label mass, the smaller of both orders
    struct answer answer[2];
    enum label_state state;
    int principle;          // 1, 2, ...: the one it was asked under; 0: none, or all
    const char *rationale[2];   // of each order's first view; NULL: none, or labeler.texts is NULL
    struct label_cost cost;
    const char *error;          // why the last reply that did not come did not; likewise
};

/* How good one answer is. */
struct rating {
    double score;           // -1 to 1, more is better: what a reward is; 0 where it was not answered
    double value;           // expectation over the scale as it was asked (1 to 10); NaN where it was not answered
    double p[PROVIDER_MAX_WORDS];   // of the scale's words
    double mass;
    int tokens;             // of the prompt
    enum label_state state;
    const char *rationale;  // as of a label
};

struct labeler {
    struct asker *asker;
    const struct protocol *protocol;
    double min_mass;            // below: LABEL_NO_ANSWER (default 0.5)
    struct arena *texts;        // where rationales are kept for labels; NULL: they are not
};
struct label_counts { int replies_computed, replies_found, unanswered, too_long, refused, failed; };
/* Labels n pairs, or rates n answers, which the protocol must be for; replies that the store has
 * are read, others are asked for and committed before use. */
int label_items(struct label *out, struct label_counts *counts, const struct labeler *l,
                const struct label_item *item, int n, struct err *err) MUST_CHECK;
int rate_items(struct rating *out, struct label_counts *counts, const struct labeler *l,
               const struct label_item *item, int n, struct err *err) MUST_CHECK;

/* ---- pairs: rows in, rows out ------------------------------------------------------------ */

/* Two candidates for one prompt, and what people said if they were asked. */
struct candidates {
    const char *id;
    const json_t *prompt_json, *first_json, *second_json;   // as they are written out
    const char *prompt, *first, *second;    // plain text
    int human;              // 1 or 2: the one people preferred; 0: nobody asked
    const char *reference;  // the row's, an answer known to be good; NULL: none
    const json_t *first_from, *second_from;     // where each text came from, as the row's `sources` say; NULL: not known
};
/* Pairs that a file can offer: {"prompt","completions":[...]} gives the disjoint pairs (0,1),
 * (2,3), ... or all of them; {"chosen","rejected"} with or without "prompt" one pair, its order
 * drawn from the texts' hash so that it tells nothing. Equal texts are left out and counted. */
struct candidate_list {
    struct candidates *item; int n; size_t cap;
    int identical;          // pairs left out
    struct arena arena;     // strings
    json_t *owned;          // JSON made here
};
int candidates_read(struct candidate_list *out, struct rows *rows, bool all_pairs,
                    struct err *err) MUST_CHECK;
void candidates_release(struct candidate_list *c);

/* One row of labels.jsonl (everything known about a pair) and of pairs.jsonl (TRL's columns,
 * label_prob and provenance; chosen is the one with p >= 1/2).  New references; NULL without
 * memory. */
json_t *label_row(const struct candidates *c, const struct label *l, const struct labeler *by);
json_t *pair_row(const struct candidates *c, const struct label *l, const struct labeler *by);
/* A row of labels.jsonl read back, or one of pairs.jsonl (chosen, rejected, label_prob: nothing
 * about orders, slots and people is known then); strings are borrowed from row. */
int label_from_row(struct candidates *c, struct label *l, const json_t *row, const char *where,
                   struct err *err) MUST_CHECK;

/* Messages as a transcript of Human and Assistant turns, a prompt with an open Assistant turn at
 * its end; a plain text as it is.  In the arena; NULL without memory. */
char *text_transcript(struct arena *a, const struct text *t, bool prompt);

/* A transcript's first human turn (what data is split by), or the whole prompt; points into prompt. */
const char *first_human_turn(const char *prompt, size_t *n);

#endif
