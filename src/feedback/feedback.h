/* feedback/feedback.h - an AI labeler's preferences between two texts, and where they are kept.
 *
 *     protocol   how one asks: preamble, exemplars, the pair, an ending that a single word answers
 *     provider   who is asked: log-probs of given words right after a prompt, or a sampled text
 *     label      both orders of a pair, averaged; the raw numbers stay beside the average
 *     store      every reply, keyed by all that determines it, in SQLite: asking twice costs nothing
 *
 * A labeler leans to a slot, so a pair is always shown in both orders, (first, second) and (second, first),
 * and what counts is the mean of the two probabilities.  A labeler that answers with something else is
 * recorded as unanswered; that is data, not a failure.
 *
 * Protocols that need a written rationale or a rating ask the same providers: they add a struct beside
 * struct preference and a function beside label_items. */
#ifndef FEEDBACK_FEEDBACK_H
#define FEEDBACK_FEEDBACK_H

#include "base/base.h"
#include "data/data.h"
#include "feedback/hybrid/hybrid.h"
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

/* ---- providers --------------------------------------------------------------------------- */

enum { PROVIDER_MAX_WORDS = 10 };
struct word_logp { double sum, bare; };     // of all spellings together ("1", " 1"), of the bare token (NaN: there is none)
struct answer {
    struct word_logp word[PROVIDER_MAX_WORDS];  // log-probs right after the prompt, over the whole vocabulary
    double mass;        // probability of all words together
    int tokens;         // of the prompt
    bool too_long;      // not asked: the prompt does not fit the labeler's window
};
/* n prompts in groups of per_group that share much (the two orders of a pair). */
struct question {
    const char *head;               // what every prompt begins with; a hint, computed once
    const char *const *prompt;      // (n)
    int n, per_group;
    const char *const *word;        // (n_words)
    int n_words;
};
struct provider {
    void *state;
    char fingerprint[96];           // of everything that decides its answers
    char name[256];                 // for people
    int64_t tokens_asked, tokens_computed;  // of all prompts; of what sharing left to do
    int (*answer)(struct provider *p, struct answer *out, const struct question *q, struct err *err);
    /* Continues one prompt; *text is the caller's. */
    int (*sample)(struct provider *p, char **text, const char *prompt, const struct sampling *s, struct err *err);
    void (*close)(struct provider *p);
};
void provider_free(struct provider *p);     // NULL is fine

/* A model in this process, borrowed for the provider's life.  batch_tokens bounds what one forward pass computes (0: 4096). */
int provider_local_new(struct provider **out, const struct model *m, const char *name, int batch_tokens, struct err *err) MUST_CHECK;

/* ---- the store ----------------------------------------------------------------------------- */

struct store;
/* Opens or creates; a file that is something else is refused with a sentence. */
int store_open(struct store **out, const char *path, struct err *err) MUST_CHECK;
void store_close(struct store *s);
int store_begin(struct store *s, struct err *err);
int store_commit(struct store *s, struct err *err);
void store_rollback(struct store *s);

/* One order of one pair, as it was shown. */
struct shown { const char *labeler, *protocol, *prompt, *first, *second; };
struct hash128 shown_key(const struct shown *s);
/* 1 and *a filled where the reply is known, 0 where not, negative on failure. */
int store_find(struct store *s, struct answer *a, const struct shown *what, struct err *err);
int store_add(struct store *s, const struct shown *what, const struct answer *a, double seconds, struct err *err);
struct label;
int store_add_label(struct store *s, const struct shown *what, const struct label *l, struct err *err);
/* Counts per table as JSON, for `rlaif inspect`. */
int store_inspect(json_t **out, const char *path, struct err *err) MUST_CHECK;
/* True when the file begins like an SQLite database. */
bool store_is_one(const char *path);

/* ---- labels ------------------------------------------------------------------------------- */

enum label_state {
    LABEL_ANSWERED,
    LABEL_NO_ANSWER,    // too little probability on the label words in one of the orders: a failure to parse, not a tie
    LABEL_TOO_LONG,
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
/* From the two answers: p = (pA[1] + pB[2]) / 2, probabilities not logits, flipped where the answer names the worse one. */
void label_combine(struct label *out, const struct answer *a, const struct answer *b, bool flip, double min_mass);

struct label_item { const char *prompt, *first, *second; };
struct labeler {
    struct provider *provider;
    const struct preference *protocol;
    struct store *store;        // NULL: nothing is kept
    double min_mass;            // below: LABEL_NO_ANSWER (default 0.5)
};
struct label_counts { int replies_computed, replies_found, unanswered, too_long; };
enum { LABEL_UNIT = 64 };       // pairs in a commit
/* Labels n pairs, in units of LABEL_UNIT: replies that the store has are read, others are computed and committed before use.
 * Interrupted, it ends after a commit with ERR_INTERRUPTED. */
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

/* A transcript's first human turn (what data is split by), or the whole prompt; points into prompt. */
const char *first_human_turn(const char *prompt, size_t *n);

#endif
