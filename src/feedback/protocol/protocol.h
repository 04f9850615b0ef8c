/* feedback/protocol/protocol.h - how one asks: from items to questions, from replies to labels.
 *
 * A protocol is a form (what a labeler reads, as templates) and a plan (which order, which
 * principle, how many rationales).  It knows no provider: it writes struct ask and reads struct
 * reply, and asker.h does the asking.
 *
 *     pairwise       which of two is better: the prompts of the RLAIF papers, for three tasks
 *     constitution   the same under one of sixteen principles (Constitutional AI)
 *     rating         how good is one answer, as the expectation over a scale
 *     FILE.yaml      the user's own form
 *
 * What every question looks like, before a template of the labeler wraps it:
 *
 *     preamble
 *     >>>> Example >>>>        0 to 8 of them: sample, rationale where one is asked for, ending, answer
 *     sample                   the conversation and what is to be judged
 *     [instruct, lead]         where a rationale is asked for: the first pass ends here
 *     [rationale]              the second pass has what was said, and goes on
 *     ending                   one word answers it
 *
 * Plain (the default) means that all of it is one text which the labeler continues.  Wrapped
 * (options.chat) means that everything up to the sample is one user turn in the labeler's own
 * chat template, and the lead or the ending is what its answer already begins with.  `rlaif label
 * --dry_run` shows either. */
#ifndef FEEDBACK_PROTOCOL_PROTOCOL_H
#define FEEDBACK_PROTOCOL_PROTOCOL_H

#include "feedback/ask.h"

/* ---- what a protocol is ------------------------------------------------------------------ */

enum label_task { TASK_SUMMARY, TASK_HELPFUL, TASK_HARMLESS };
int label_task_from_name(enum label_task *out, const char *name, struct err *err);  // "summary", "helpful", "harmless"
const char *label_task_name(enum label_task task);

enum protocol_kind { PROTOCOL_PAIR, PROTOCOL_RATING };
/* Both orders of a pair and their mean; one order, drawn by the hash of its texts; the order the
 * pair came in. */
enum protocol_order { ORDER_BOTH, ORDER_RANDOM, ORDER_FIXED };
/* How a prompt is shown.  White space around it is left out, and so is a final "TL;DR:" or an
 * open "Assistant:".  Messages come as transcripts of "Human:" and "Assistant:" turns. */
enum conversation {
    CONVERSATION_POST,      // of a policy prompt "... POST: text\n\nTL;DR:" the text only
    CONVERSATION_TITLED,    // the same with what stands above it
    CONVERSATION_TURNS,     // all turns; answers to a transcript begin with "Assistant: "
};

/* An example with its answer; better says which of the two is (1 or 2), whatever the wording asks
 * for. */
struct exemplar {
    const char *text, *first, *second;
    int better;
    const char *rationale;      // NULL: none, and then no rationale can be asked for
    const char *answer;         // of a rating: the word; NULL for pairs
};

struct ask_form {
    const char *preamble;       // "" none
    const char *sample;         // template of {text}, {first}, {second}, {response}, {reference}, {principle}
    const char *referenced;     // the sample where an item has a reference; NULL: the same
    const char *instruct;       // what asks for a rationale; "" none
    const char *lead, *gap;     // what it begins with, and what parts the two; lead NULL: this form asks for none
    const char *ending;         // "Preferred Summary="
    const char *word[PROVIDER_MAX_WORDS];   // (n_words) "1", "2"; or the scale's
    double value[PROVIDER_MAX_WORDS];       // of a rating's words, in any order
    int n_words;
    bool flip;                  // the answer names the worse one; or a high rating is bad
    enum conversation conversation;
    const struct exemplar *exemplar;        // (n_exemplars)
    int n_exemplars;
    const char *const *principle;           // (n_principles); NULL: none
    int n_principles;
};

enum { PRINCIPLE_DRAWN = 0, PRINCIPLE_ALL = -1, PRINCIPLES = 16, PROTOCOL_MAX_DRAWS = 64 };
struct protocol_options {
    enum label_task task;
    const char *preamble;       // "base", "detailed", or the literal text; NULL: base
    /* Harmless only.  false: as in the paper, asked for the MOST harmful response after
     * "Preferred Response=", and flipped.  true: asked for the better one after "More harmless
     * response=". */
    bool ask_harmless;
    int shipped_exemplars;      // the first so many of our own, 0 to 8
    const char *exemplar_file;  // JSON list or JSONL of {"text","first","second","better","rationale"?}; NULL: none
    enum protocol_order order;
    bool cot;                   // a rationale first
    int rationales;             // so many sampled ones, their probabilities averaged; 0 or 1: one, by temperature
    double temperature;         // of sampled texts; 0: the likeliest tokens; negative: 0 for one rationale or vote, of several
                                // 0.7 for rationales and 1 for votes
    int max_rationale;          // tokens; 0: 512
    int votes;                  // 0: log-probs of the words; else so many sampled texts, whose share is the label
    bool chat;                  // wrapped in the labeler's own template
    uint64_t seed;              // of drawn orders, principles, rationales
    int principle;              // constitution: PRINCIPLE_DRAWN per item, PRINCIPLE_ALL averaged, or 1 to 16
    /* Probabilities end between clamp and 1 - clamp, after the winner is known; 0: as they are;
     * negative: what the protocol does by itself (constitution with rationales: 0.40, all others
     * 0). */
    double clamp;
    const char *scale;          // rating: "1-10" (NULL), "1-5", "0-4"
};
void protocol_defaults(struct protocol_options *o);

/* Immutable once made. */
struct protocol {
    char name[64];
    enum protocol_kind kind;
    struct ask_form form;
    struct protocol_options how;
    char *head;                 // preamble and exemplars: what all prompts begin with
    char *schema;               // of a verdict as JSON, for servers that keep to schemas (wrapped questions only)
    char hash[33];              // of everything above: labels are keyed by it
    struct arena arena;
};
/* name: "pairwise" (NULL), "constitution", "rating", or the path of a YAML file
 * (docs/adding/protocol.md), whose own choices count where an option has its default. */
int protocol_new(struct protocol **out, const char *name, const struct protocol_options *o,
                 struct err *err) MUST_CHECK;
void protocol_free(struct protocol *p);

/* ---- from an item to its questions ---------------------------------------------------------- */

/* A pair, or (second NULL) a single answer.  reference: an answer known to be good; NULL: none. */
struct label_item { const char *prompt, *first, *second, *reference; };

/* One way of asking about an item.  Two passes where there is a rationale. */
struct view { bool swapped; int principle, draw; };
/* All ways, in the order they are asked; at most PROTOCOL_MAX_VIEWS.  Depends on the item's texts
 * and the options only. */
enum { PROTOCOL_MAX_VIEWS = 2 * PRINCIPLES * PROTOCOL_MAX_DRAWS };
int protocol_views(const struct protocol *p, const struct label_item *item, struct view *out);
int protocol_n_views(const struct protocol *p);
/* Pass 0 or 1 of one way; said is the rationale (pass 1 of two), NULL otherwise.  Texts live in
 * the arena. */
int protocol_passes(const struct protocol *p);
int protocol_ask(struct ask *out, const struct protocol *p, const struct label_item *item,
                 struct view v, int pass, const char *said, struct arena *a,
                 struct err *err) MUST_CHECK;

/* The whole plain text of one order, up to and including the ending, without a rationale. */
int feedback_render_pair(struct buf *out, const struct protocol *p, const char *prompt,
                         const char *a, const char *b);

/* ---- from replies to labels -------------------------------------------------------------- */

/* A reply as a distribution over the words, which sums to one.  mass is what the words had of the
 * whole: 1 and 0 where a text was read, and could not be. */
struct reading { double p[PROVIDER_MAX_WORDS], mass; };
void protocol_read(struct reading *out, const struct protocol *p, const struct reply *r);
/* The word a text answers with: index, or -1 where it does not say one clearly (verdict.c has the
 * rule). */
int verdict_read(const char *text, const char *ending, const char *const *word, int n_words);

/* ---- prompt injection -------------------------------------------------------------------- */

/* Texts that a candidate could carry to move a labeler: rows {"id", "kind", "text"}
 * (recipes/probes/injection.jsonl). */
struct probe { const char *id, *kind, *text; };
int probes_read(struct probe **out, int *n, struct arena *a, const char *path,
                struct err *err) MUST_CHECK;

/* Of one kind: pairs whose losing candidate was given such a text, how many of them won then, and
 * how much its probability rose on the average.  Kind "control" are harmless texts: what any
 * longer text does. */
struct probe_result { char kind[32]; int asked, moved, unanswered; double shift; };
enum { PROBE_MAX_KINDS = 16 };
struct labeler;
/* Every probe on every one of n pairs that has a winner; out (PROBE_MAX_KINDS). */
int probe_labeler(struct probe_result *out, int *n_out, const struct labeler *l,
                  const struct label_item *item, int n, const struct probe *probe, int n_probes,
                  struct err *err) MUST_CHECK;

/* ---- critique and revision (Constitutional AI, section 3) -------------------------------- */

struct revision { int principle; char *critique, *text; };     // principle from 1; strings belong to the caller's arena
struct revise_options {
    int rounds, exemplars;
    struct sampling sampling;
    bool chat;
    uint64_t seed;
};
void revise_defaults(struct revise_options *o);     // 4 rounds, 2 exemplars, temperature 1, 256 tokens
struct revise_item { const char *prompt, *response; };
/* out (n, rounds), item by item.  Each round has a principle that the item has not met. */
int revise_items(struct revision *out, struct asker *asker, const struct revise_item *item, int n,
                 const struct revise_options *o, struct arena *a, struct err *err) MUST_CHECK;

#endif
