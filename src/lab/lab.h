/* lab/lab.h - small written worlds whose truth is known.
 *
 * World `tldr`: forum posts and their summaries.  A post tells 4 to 6 facts, and how it
 * introduces each one shows whether it matters (key), is a detail (minor) or beside the point
 * (idle).  A good summary has the key facts, nothing invented, nothing twice, and is short.  The
 * generator knows the facts, so:
 *
 *     text     lab_tldr_generate   prompts, SFT references, held-out prompts: plain rows of the field
 *     truth    lab_truth_open      what the generator knows; annotators and evaluation read it, training never
 *     oracle   lab_score_text      what any text says, fact by fact, and what that is worth
 *     people   lab_annotate        one annotator's preference, lab_vote a panel's, with confidence
 *     models   lab_corpus_write, lab_tokenizer_write    what models/s and models/l learned from
 *
 * Everything is a pure function of ids and seeds: no call depends on an earlier one. */
#ifndef LAB_LAB_H
#define LAB_LAB_H

#include "base/base.h"

/* The sentence that opens a labelling prompt of this world; the lab models have seen no other. */
#define LAB_TLDR_PREAMBLE "Which summary has the key facts of the text and nothing false?"

/* ---- data ------------------------------------------------------------------------ */

struct lab_tldr_options {
    uint64_t seed;
    int train_prompts;      // prompts.jsonl       {"id","prompt"}
    int sft_prompts;        // sft.jsonl           {"id","prompt","completion"}: references of mixed quality
    int eval_prompts;       // eval.jsonl          {"id","prompt","completion"}: held out, with references
};
struct lab_tldr_options lab_tldr_defaults(void);
/* Writes the three files and truth.jsonl (one row per post of all three) into dir, each atomically. */
int lab_tldr_generate(const char *dir, const struct lab_tldr_options *o,
                      struct err *err) MUST_CHECK;

/* The post inside a policy prompt: what stands after "POST: " and before "\n\nTL;DR:".  Points
 * into prompt; a prompt of another shape is returned whole.  *n receives the length. */
const char *lab_tldr_text(const char *prompt, size_t *n);

/* ---- truth and oracle -------------------------------------------------------------- */

struct lab_truth;       // the facts of every post, by id
int lab_truth_open(struct lab_truth **out, const char *path, struct err *err) MUST_CHECK;
void lab_truth_free(struct lab_truth *t);
int lab_truth_count(const struct lab_truth *t);

/* What a text says about a post. */
struct lab_score {
    int key, minor, idle;   // distinct facts of the post that the text states, by how much they matter
    int invented;           // statements that the post does not make
    int repeated;           // statements made before
    int stray;              // words outside any sentence of the world's grammar
    int words;
    int key_total;          // key facts the post has
    double coverage;        // key / key_total
    double fluency;         // 1 - stray / words; 0 for an empty text
    double total;           // one number; about 2 for a perfect summary, 0 for an empty one, negative for harm
};
/* Any text is scored; an unknown id is ERR_MISSING. */
int lab_score_text(struct lab_score *s, const struct lab_truth *t, const char *id, const char *text,
                   struct err *err) MUST_CHECK;

/* ---- annotators ----------------------------------------------------------------------- */

/* Annotators differ in taste, in what they need from a post, and in care.  0 to 2 are the panel of
 * evaluation; 3 and 4 are hired to label (RLHF). */
enum { LAB_ANNOTATORS = 5, LAB_PANEL = 3 };

struct lab_vote {
    int preferred;          // 1: a, 2: b, 0: the texts are equal
    double confidence;      // 0 a coin, 1 certain
};
/* Swapping a and b swaps the answer, nothing else. */
int lab_annotate(struct lab_vote *v, const struct lab_truth *t, const char *id, const char *a,
                 const char *b, int annotator, uint64_t seed, struct err *err) MUST_CHECK;

/* The panel of three: preferred by the majority, mean confidence. */
struct lab_panel {
    int preferred;          // 1, 2; 0 for equal texts
    int votes[LAB_PANEL];
    double confidence;      // mean of the three
    bool confident;         // all three agree and confidence >= LAB_CONFIDENT
};
#define LAB_CONFIDENT 0.5
int lab_panel_vote(struct lab_panel *p, const struct lab_truth *t, const char *id, const char *a,
                   const char *b, uint64_t seed, struct err *err) MUST_CHECK;

/* ---- what the lab models learn from ---------------------------------------------------- */

/* Renders a labelling prompt up to and including its ending ("Preferred Summary="),
 * LAB_TLDR_PREAMBLE first.  The program passes the labelling room's renderer, so that the corpus
 * and the labels have the same form; prompt is a policy prompt.  lab_render_plain (arg unused)
 * writes that form where the labelling room is out of reach. */
typedef int (*lab_render)(void *arg, struct buf *b, const char *prompt, const char *sum1,
                          const char *sum2);
int lab_render_plain(void *arg, struct buf *b, const char *prompt, const char *sum1,
                     const char *sum2);

struct lab_corpus_options {
    uint64_t seed;
    int documents;
    int facts_min, facts_max;   // of a post
    /* Shares of the documents, of any sum: */
    double echo;            // unguessable statements and the same ones again; no post
    double tldr;            // policy prompt and reference
    double marks;           // post and summaries with a mark after each fact
    double rationale;       // labelling prompt with marked summaries and a verdict
    double verdict;         // labelling prompt and a verdict
    double plain;           // posts and loose lines
    /* How the simulated person behind the verdicts leans, in units of one key fact: */
    double first;           // towards the first slot
    double longer;          // towards the longer one, per word
    double noise;           // standard deviation of the person's mood
    double again;           // what a statement made before is worth to them; NaN: as much as the first time
    double repeat;          // chance that a poor writer repeats a statement
    lab_render render;      // NULL: lab_render_plain
    void *render_arg;
};
struct lab_corpus_options lab_corpus_defaults(void);
/* Rows {"prompt","completion"} and {"text"}: what the SFT trainer reads. */
int lab_corpus_write(const char *path, const struct lab_corpus_options *o,
                     struct err *err) MUST_CHECK;

/* Trains a byte-level BPE on generated text (digits stay single tokens) and writes tokenizer.json,
 * tokenizer_config.json and special_tokens_map.json into dir. */
struct lab_tokenizer_options { uint64_t seed; int vocab_size, documents; };
struct lab_tokenizer_options lab_tokenizer_defaults(void);
int lab_tokenizer_write(const char *dir, const struct lab_tokenizer_options *o,
                        struct err *err) MUST_CHECK;

/* Writes config.json and model.safetensors of a Llama model with fresh weights into dir, which
 * also holds a tokenizer of vocab_size tokens.  Attention starts as matching and copying
 * (newborn.c says why). */
struct lab_newborn {
    uint64_t seed;
    int vocab_size, width, layers, heads, kv_heads, head_size, ffn;
};
int lab_newborn_write(const char *dir, const struct lab_newborn *s, struct err *err) MUST_CHECK;

/* Writes into dir the model of folder `from` with more layers behind its last, which change
 * nothing until they are trained. */
int lab_grow(const char *dir, const char *from, int more, struct err *err) MUST_CHECK;

#endif
