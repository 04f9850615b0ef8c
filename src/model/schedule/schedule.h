/* model/schedule/schedule.h - what the files of this folder offer each other.
 *
 *     tree.c       which tokens lie where in the cache: a tree of blocks, by token ids
 *     answer.c     a completion that grows token by token: text, stop strings, what may be said
 * of it step.c       one batch: rows, the forward pass over the cache, heads, draws scheduler.c
 * requests: waiting, joining, leaving, pre-emption */
#ifndef MODEL_SCHEDULE_SCHEDULE_H
#define MODEL_SCHEDULE_SCHEDULE_H

#include "model/generate/generate.h"
#include "model/internal.h"

/* ---- the tree (tree.c) --------------------------------------------------------------------
 */

/* A block of the cache holds tokens at positions between two multiples of CACHE_BLOCK: position
 * p of block b lies in slot b * CACHE_BLOCK + p % CACHE_BLOCK.  It need not begin at a
 * multiple, nor end at one: what a sequence continues with where it leaves another's block is a
 * block of its own, whose slots before that stay empty.
 *
 *     block A  [ p r o m p t   o f   a l l . . ]          A: at -, position 0, len 14
 *     block B  [ . . . . . . . . o t h e r . . ]          B: parent A, at 8, position 8, len 5
 *     block C                                   [ ... ]   C: parent A, at 14 (A is full),
 * position 16 */
struct block {
    int parent,
        at; // -1 at the root; how many of the parent's tokens come before this block's first
    int position, len;     // of its first token; its tokens so far.  len 0: a free block
    int users;             // sequences that end here, and children that have users
    int child, next, prev; // its first child; its siblings
    int older, newer;      // in the list of what may be evicted
    int64_t used;          // when the last user left
};
struct tree {
    struct block *block; // (n)
    int *id;             // (n * CACHE_BLOCK) token ids, by slot
    int n, n_free, *free;
    int root;           // first of the blocks without parent
    int oldest, newest; // leaves without users, in the order in which users left
    int pinned;         // blocks with users
    int64_t clock, evicted;
};
int tree_init(struct tree *t, int blocks, struct err *err) MUST_CHECK;
void tree_release(struct tree *t);
/* How many of id (n) are in the cache as the beginning of a sequence; *last: the block of the
 * last of them, -1 where there is none. keys (n) receives their slots; NULL: not wanted. */
int tree_match(const struct tree *t, const int *id, int n, int *last, int *keys);
/* A sequence ends in block b (not -1) from now on, or no longer: it and all before it stay. */
void tree_pin(struct tree *t, int b);
void tree_unpin(struct tree *t, int b);
/* Appends id at `position` to a sequence that ends in block `last` (-1: it begins): in place
 * where the block goes on there, else in a new block, for which the one longest unused may be
 * evicted.  Moves the sequence's pin.  Returns the slot and *last, or -1 where no block can be
 * had. */
int tree_append(struct tree *t, int *last, int position, int id);
int tree_evict(struct tree *t); // the block, now free, or -1
static inline int tree_available(const struct tree *t)
{
    return t->n - t->pinned;
}

/* ---- completions (answer.c)
 * ------------------------------------------------------------------ */

struct answer {
    struct completion *out;
    const struct sampling *s;
    const struct model *m;
    int most; // tokens
    struct buf text;
    struct text_stream stream;
    size_t longest_stop, shown;
    bool cut; // by a stop string
    writer_said *said;
    void *arg;
};
int answer_begin(struct answer *a, const struct model *m, const struct scheduler_request *r,
                 int most, struct err *err) MUST_CHECK;
/* Takes a token: 1 when it was the last, 0 when not, -1 without memory. */
int answer_take(struct answer *a, int id, float logp);
/* Gives out->text to the completion's owner and what was held back to the listener. */
int answer_end(struct answer *a, struct err *err) MUST_CHECK;
void answer_release(struct answer *a); // the completion stays

/* ---- sequences
 * ------------------------------------------------------------------------------------ */

enum { NO_ROW = -1, FROM_STATES = -2 };

struct sequence {
    struct scheduler_request r;
    int ticket, known;               // tokens: the prompt's, then those drawn
    int64_t order;                   // of submission
    struct sequence *before, *after; // waiting
    bool running, cancelled, ended;
    int bypassed; // how often one that came later was taken first
    bool alone;   // recomputed without sharing: all the cache is needed
    // while running
    int placed, last; // tokens that have slots; the block of the last of them, -1: none
    int done;         // tokens computed
    int *keys;
    size_t cap; // (placed) slots
    int asked;  // of r.ask, answered
    int row; // of this step that holds the state after the last known token, or FROM_STATES, or
             // NO_ROW
    int state; // where, of FROM_STATES
    struct answer answer;
};

static inline int sequence_token(const struct sequence *q, int i)
{
    return i < q->r.n ? q->r.id[i] : q->answer.out->id[i - q->r.n];
}

/* States after the last tokens of prompts, for those that end alike: K samples begin from the
 * one that was computed. */
struct states {
    struct tensor row;     // (n,C)
    int *block, *position; // (n) -1: empty
    int n, next;
};

struct scheduler {
    const struct model *m;
    struct scheduler_options o;
    struct tree tree;
    struct tensor *k, *v; // (L) (blocks * CACHE_BLOCK, KD)
    struct workspace *ws;
    struct states states;
    struct sampler sampler;
    struct tensor hidden, last; // (rows,C) of this step; (sampler's size,C) gathered
    struct sequence **seq;      // (n_seq) by ticket, NULL: free
    int n_seq, *spare, n_spare;
    size_t seq_cap, spare_cap;
    struct sequence *first, *final; // waiting, by order
    struct sequence **run;          // (n_run) running, by order
    int n_run, left;                // left: requests neither done nor cancelled
    int64_t orders;
    bool stepping, broken;
    int *match;
    size_t match_cap; // a token list to be matched
    // the batch of a step
    struct planned {
        struct sequence *q;
        int row, len, position;
    } * planned; // (n_planned) runs, in order of rows
    int n_rows, n_planned;
    int *id, *slot; // (rows)
    struct asks {
        struct head_item *item;
        float **to_logp, **to_lse, *logp, *lse;
        int n;
        size_t cap;
    } asks;
    struct draw *draw;         // (sampler's size)
    struct sequence **drawing; // (sequences)
    struct scheduler_counts counts;
};

/* Plans up to `most` more rows of q (those it lacks); returns how many, 0 where no block was to
 * be had. */
int step_add(struct scheduler *s, struct sequence *q, int most, struct err *err);
/* Where the state after the last token of q, wholly in the cache, is to be had: sets row (and
 * state). */
bool step_find_state(struct scheduler *s, struct sequence *q);
/* Computes what was planned: answers asks, draws tokens, and marks sequences that have ended.
 */
int step_run(struct scheduler *s, struct err *err) MUST_CHECK;
/* What step_add and step_run need besides: memory for s->o.rows rows and s->o.sequences
 * sequences. */
int step_init(struct scheduler *s, struct err *err) MUST_CHECK;
void step_release(struct scheduler *s);
enum { DRAWN_TOGETHER = 64 }; // rows of logits in memory at a time

#endif
