/* feedback/feedback.h - an AI labeler's preferences between two texts, and where they are kept.
 *
 *     protocol   how one asks: preamble, exemplars, the pair, an ending that a single word answers
 *     ask        a question to a provider, and its reply: log-probs of given words, or a text (feedback/ask.h)
 *     provider   who is asked: a model in this process, ...
 *     store      every reply, keyed by all that determines it, in SQLite: asking twice costs nothing (feedback/store.h)
 *     label      both orders of a pair, averaged; the raw numbers stay beside the average
 *
 * A labeler leans to a slot, so a pair is always shown in both orders, (first, second) and (second, first),
 * and what counts is the mean of the two probabilities.  A labeler that answers with something else is
 * recorded as unanswered; that is data, not a failure.
 *
 * Protocols that need a written rationale or a rating ask the same providers: they add a struct beside
 * struct preference and a function beside label_items, and call ask_all. */
#ifndef FEEDBACK_FEEDBACK_H
#define FEEDBACK_FEEDBACK_H

#include "base/base.h"
#include "data/data.h"
#include "feedback/ask.h"
#include "feedback/hybrid/hybrid.h"
#include "feedback/providers.h"
#include "feedback/store.h"
#include "model/model.h"

/* ---- the preference protocol --------------------------------------------------------- */

enum label_task { TASK_SUMMARY, TASK_HELPFUL, TASK_HARMLESS };
int label_task_from_name(enum label_task *out, const char *name, struct err *err);  // "summary", "helpful", "harmless"
const char *label_task_name(enum label_task task);

/* An example with its answer; better says which of the two is (1 or 2), whatever the wording asks for. */
struct exemplar { const char *text, *first, *second; int better; };

struct preference_options {
    enum label_task task;
    const char *preamble;       // "base", "detailed", or the literal text; NULL: base
    /* Harmless only.  false: as in the paper, asked for the MOST harmful response after "Preferred Response=", and
     * flipped.  true: asked for the better one after "More harmless response=". */
    bool ask_harmless;
    int shipped_exemplars;      // the first so many of our own (harmless: 4, others: 0)
    const char *exemplar_file;  // JSON list or JSONL of {"text","first","second","better"}; NULL: none
};
void preference_defaults(struct preference_options *o);

/* How a pair is written down.  Immutable once made. */
struct preference {
    enum label_task task;
    char *preamble;
    const char *text_field, *first_field, *second_field, *ending;   // "Text - ", ..., "Preferred Summary="
    const struct exemplar *exemplar;    // (n_exemplars)
    int n_exemplars;
    bool flip;                  // the answer names the worse one
    char *head;                 // preamble and exemplars: what all prompts begin with
    char hash[33];              // of everything above: labels are keyed by it
    struct arena arena;
};
int preference_new(struct preference **out, const struct preference_options *o, struct err *err) MUST_CHECK;
void preference_free(struct preference *p);

/* Appends the whole labelling prompt of one order, up to and including the ending.  With a preamble and no
 * exemplars a summary prompt is
 *     preamble "\n\nText - " text "\nSummary 1 - " a "\nSummary 2 - " b "\nPreferred Summary="
 * prompt is what the policy was given.  Of a summary prompt ("... POST: text\n\nTL;DR:") only the text is shown; of a
 * transcript ("\n\nHuman: ...\n\nAssistant:") all turns, and each response begins with "Assistant:".  White space around
 * the candidates is left out. */
int feedback_render_pair(struct buf *out, const struct preference *p, const char *prompt, const char *a, const char *b);
/* The part of it after p->head. */
void preference_add_sample(struct buf *out, const struct preference *p, const char *prompt, const char *a, const char *b);

/* ---- labels ------------------------------------------------------------------------------- */

enum label_state {
    LABEL_ANSWERED,
    LABEL_NO_ANSWER,    // too little probability on the label words in one of the orders: a failure to parse, not a tie
    LABEL_TOO_LONG,
    LABEL_REFUSED,      // the provider would not answer one of the orders
    LABEL_FAILED,       // a reply did not come; asked again in the next run
};
const char *label_state_name(enum label_state state);  // "answered", "unanswered", "too_long", "refused", "failed"
/* What one order of a pair was answered, as labels keep it. */
struct answer {
    struct word_logp word[2];   // "1" and "2"
    double mass;
    int tokens;                 // of the prompt
};
struct label {
    double p;               // P(first is the better one), mean over orders
    double order[2];        // the same by order A (first, second) and B (second, first)
    int slot[2];            // the slot each order answered with: 1 or 2, 0 when exactly even
    bool same_slot;         // both orders answered the same slot: the labeler saw the slot, not the text
    double mass;            // label mass, the smaller of both orders
    struct answer answer[2];
    enum label_state state;
};
/* From the replies to both orders: p = (pA[1] + pB[2]) / 2, probabilities not logits, flipped where the answer names the worse one. */
void label_combine(struct label *out, const struct reply *a, const struct reply *b, bool flip, double min_mass);

struct label_item { const char *prompt, *first, *second; };
struct labeler {
    struct asker *asker;
    const struct preference *protocol;
    double min_mass;            // below: LABEL_NO_ANSWER (default 0.5)
};
struct label_counts { int replies_computed, replies_found, unanswered, too_long, refused, failed; };
enum { LABEL_UNIT = 1024 };     // pairs of which the prompts are in memory together
/* Labels n pairs; replies that the store has are read, others are asked for and committed before use. */
int label_items(struct label *out, struct label_counts *counts, const struct labeler *l, const struct label_item *item, int n,
                struct err *err) MUST_CHECK;

/* ---- pairs: rows in, rows out ----------------------------------------------------------------- */

/* Two candidates for one prompt, and what people said if they were asked. */
struct candidates {
    const char *id;
    const json_t *prompt_json, *first_json, *second_json;   // as they are written out
    const char *prompt, *first, *second;    // plain text
    int human;              // 1 or 2: the one people preferred; 0: nobody asked
};
/* Pairs that a file can offer: {"prompt","completions":[...]} gives the disjoint pairs (0,1), (2,3), ... or all of them;
 * {"chosen","rejected"} with or without "prompt" one pair, its order drawn from the texts' hash so that it tells nothing.
 * Equal texts are left out and counted. */
struct candidate_list {
    struct candidates *item; int n; size_t cap;
    int identical;          // pairs left out
    struct arena arena;     // strings
    json_t *owned;          // JSON made here
};
int candidates_read(struct candidate_list *out, struct rows *rows, bool all_pairs, struct err *err) MUST_CHECK;
void candidates_release(struct candidate_list *c);

/* One row of labels.jsonl (everything known about a pair) and of pairs.jsonl (TRL's columns, label_prob and provenance;
 * chosen is the one with p >= 1/2).  New references; NULL without memory. */
json_t *label_row(const struct candidates *c, const struct label *l, const struct labeler *by);
json_t *pair_row(const struct candidates *c, const struct label *l, const struct labeler *by);
/* A row of labels.jsonl read back; strings are borrowed from row. */
int label_from_row(struct candidates *c, struct label *l, const json_t *row, const char *where, struct err *err) MUST_CHECK;

/* Messages as a transcript of Human and Assistant turns, a prompt with an open Assistant turn at its end; a plain text as it
 * is.  In the arena; NULL without memory. */
char *text_transcript(struct arena *a, const struct text *t, bool prompt);

/* A transcript's first human turn (what data is split by), or the whole prompt; points into prompt. */
const char *first_human_turn(const char *prompt, size_t *n);

#endif
