/* lab/world.h - the world tldr from the inside: words, facts, posts, summaries.
 *
 * A fact is a person of the topic, a deed and a thing of the topic; the thing decides the other
 * two.  A post holds 4 to 6 facts, each under a cue that says how much it matters; a summary is a
 * list of facts, some of them not the post's. */
#ifndef LAB_WORLD_H
#define LAB_WORLD_H

#include "lab/lab.h"

enum { LAB_TOPICS = 12, LAB_VOICES = 4, LAB_SUBJECTS = 14, LAB_DEEDS = 16, LAB_THINGS = 32 };
enum { LAB_MAX_FACTS = 6, LAB_MAX_SAID = 6, LAB_MAX_LIST = 64 };

struct topic_words { const char *name, *titles, *subjects, *things; };
struct voice_words { const char *hello, *key, *minor, *idle, *bye; };
extern const struct topic_words lab_topics[LAB_TOPICS];
extern const struct voice_words lab_voices[LAB_VOICES];
extern const char *const lab_deeds,
    *const lab_asides, *const lab_details, *const lab_leads, *const lab_asks, *const lab_plain;

/* "a|b|c" taken apart; strings belong to the world. */
struct list { int n; const char *item[LAB_MAX_LIST]; };
struct deed { const char *verb[2]; };      // two words for it
struct topic {
    const char *name;
    struct list titles;
    const char *subject[LAB_SUBJECTS];
    const char *thing[LAB_THINGS];
};
struct voice { struct list hello, cue[3], bye; };      // cue[SALIENCE_...]
struct world {
    struct topic topic[LAB_TOPICS];
    struct voice voice[LAB_VOICES];
    struct deed deed[LAB_DEEDS];
    struct list asides, details, leads, asks, plain;
    struct arena arena;
};
/* Takes the tables apart; wrong tables are a bug.  NULL only without memory. */
struct world *world_new(void);
void world_free(struct world *w);

enum salience { SALIENCE_KEY, SALIENCE_MINOR, SALIENCE_IDLE, SALIENCE_NONE };   // NONE: the post does not say so

struct fact { int subject, deed, thing; enum salience salience; int verb, detail; };    // detail -1: none
struct post {
    int topic, voice, n;
    struct fact fact[LAB_MAX_FACTS];    // (n) in the order of the text
};
/* What a summary says; lead and ask are indices into the lists, -1 for none. */
struct said { int subject, deed, thing; enum salience salience; bool joined; int verb, detail; };
struct summary { int n, lead, ask; struct said said[LAB_MAX_SAID]; };

/* Who does what with a thing: the habit of the world, the same in every post. */
int thing_subject(int thing);
int thing_deed(int topic, int thing);
const char *list_pick(const struct list *l, struct rng *r);

/* How carefully a writer chooses: from the oracle's darling to the careless. */
enum writer { WRITER_GOOD, WRITER_FAIR, WRITER_POOR, WRITER_ANY };

void post_draw(struct post *p, const struct world *w, int n_facts, struct rng *r);
/* Writes the body (no header).  Everything the text says beyond the facts is drawn from r. */
void post_write(struct buf *b, const struct world *w, const struct post *p, struct rng *r);
/* "SUBREDDIT: r/...\n\nTITLE: ...\n\nPOST: BODY\n\nTL;DR:" */
void post_prompt(struct buf *b, const struct world *w, const struct post *p, const char *body,
                 struct rng *r);
/* repeat: chance that a poor writer says something twice instead of something else. */
void summary_draw(struct summary *s, const struct world *w, const struct post *p, enum writer who,
                  double repeat, struct rng *r);
/* marks: after each fact " KEY", " MINOR", " IDLE" or " FALSE"; MARKS_AGAIN has " AGAIN" where it
 * was said before. */
enum marks { MARKS_NONE, MARKS_TRUE, MARKS_AGAIN };
bool said_before(const struct summary *s, int i);
void lab_summary_write(struct buf *b, const struct world *w, const struct post *p,
                       const struct summary *s, enum marks marks);
/* The salience a fact has in a post. */
enum salience post_salience(const struct post *p, int subject, int deed, int thing);

/* Every document of a corpus in order; prompt is "" where all of the document is to be learned. */
typedef int (*corpus_see)(void *ctx, const char *prompt, const char *completion, struct err *err);
int corpus_visit(const struct lab_corpus_options *o, corpus_see see, void *ctx, struct err *err);

/* bpe.c: counts pieces of text, merges the most frequent pairs. */
enum { BPE_SYMBOL = 64 };
struct bpe;
struct bpe *lab_bpe_new(void);
void lab_bpe_free(struct bpe *b);
void bpe_count(struct bpe *b, const char *text);
/* Symbols 0 to 255 are the bytes, the others merges in order; stops early when nothing is left to
 * merge. */
int bpe_train(struct bpe *b, int symbols, struct err *err);
int bpe_symbols(const struct bpe *b);
const char *bpe_text(const struct bpe *b, int symbol);
void bpe_merge(const struct bpe *b, int symbol, int part[2]);

#endif
