/* learn/internal.h - what the four trainers share: tokenised samples, micro-batches, the loop. */
#ifndef LEARN_INTERNAL_H
#define LEARN_INTERNAL_H

#include "learn/learn.h"
#include "objective/objective.h"

/* ---- samples.c: rows as token ids ------------------------------------------------------------ */

/* A prompt and one or two completions, laid end to end in ids from `at`. */
struct sample {
    size_t at;
    int prompt, first, second;  // tokens of each; prompt may be 0, second is 0 outside pairs
    float label;                // probability that the first is the better one
};
struct samples {
    struct tokens ids;
    struct sample *s;           // (n)
    int n;
    size_t cap;
    int longest;                // tokens of the longest sample
    int dropped;                // too long
};
/* Rows of a forest it takes; copies: every completion has a prompt of its own. */
static inline int sample_tokens(const struct sample *s, bool copies)
{
    return s->prompt + s->first + s->second + (copies && s->second ? s->prompt : 0);
}

/* Tokenises; rows longer than max_length (0: none is) or unusable move to r->rejected. */
int samples_from_examples(struct samples *out, struct rows *r, const struct model *m, int max_length, struct err *err);
int samples_from_pairs(struct samples *out, struct rows *r, const struct model *m, int max_length, struct err *err);
void samples_release(struct samples *s);
/* Appends sample i: a pair is a prompt with two children (copies: each child with a prompt of its own), anything else one root.  seg receives the segment of each
 * completion; a lone completion starts at token seg_from of its segment. */
int sample_add(struct forest *f, const struct samples *all, int i, bool copies, int seg[2], int *seg_from);
/* Tokens of n samples, nothing shared. */
int samples_plain(const struct samples *all, const int *item, int n);
struct hash128 samples_hash(const struct samples *s);

/* ---- trainer.c: the loop ------------------------------------------------------------------------ */

enum { MAX_NETS = 2, MAX_METERS = 40 };
/* A running figure between two log rows: num/den. */
struct meter { char name[40]; double num, den; };
struct net {
    const char *name;           // file stem of its state in a checkpoint: "optimizer", "value_optimizer"
    struct model *model;
    struct trainable *t;
    double learning_rate;
    int from;                   // steps before this one do not update it
};
struct trainer {
    const char *kind;           // "sft", "reward", ...
    const struct train_options *o;
    struct net net[MAX_NETS];
    int n_nets;
    struct workspace *ws;       // keeps what backward needs; max_tokens rows; NULL while it rests
    enum keep keep;
    bool plan;                  // on a device that only counts
    int max_tokens;
    int n_items, batch;         // items of the data, items of a step
    int step, max_steps, warmup;
    double steps_per_epoch;
    int64_t tokens;             // computed in training
    int64_t submitted;          // what they would be if no prompt were shared
    double loss, loss_sum;      // of this step; of all
    double kl_coef;             // reinforcement learning: the weight of the divergence now
    struct meter meter[MAX_METERS], saved[MAX_METERS];
    int n_meters, n_saved;
    json_t *log;                // log_history
    char key[33];               // of everything that decides the result: a checkpoint of another run is refused
    int *order, order_epoch;    // (n_items) of that epoch; -1: none yet
    double started;
    int64_t started_tokens;
    int started_step;
    struct progress progress;
    /* Room for one micro-batch, each (max_tokens). */
    struct forest forest;
    struct head_item *item;
    float *logp, *entropy, *dlogp, *score, *dscore;
    int *row, *start;
};

/* n_items, longest: what the data has. */
int trainer_init(struct trainer *t, const char *kind, const struct train_options *o, struct model *m, int n_items,
                 int longest, struct err *err);
/* A second network with its own state. */
void trainer_add_net(struct trainer *t, const char *name, struct model *m, double learning_rate);
/* Takes the memory of training.  longest: tokens of the longest item, which a micro-batch holds at least.  opt: other options
 * that decide the result, for the key (borrowed). */
int trainer_open(struct trainer *t, int longest, struct hash128 data, const json_t *opt, struct err *err);
/* fit.c, on a planning device: chooses t->max_tokens and t->keep so that activations fit the limit; and the error where nothing
 * fits, need being the bytes of the smallest choice. */
int trainer_fit(struct trainer *t, int longest, struct err *err);
int trainer_too_small(const struct trainer *t, double need, const char *what, struct err *err);
/* Gives the activations' memory back, and takes it again. */
void trainer_rest(struct trainer *t);
int trainer_wake(struct trainer *t, struct err *err);
void trainer_release(struct trainer *t);
/* One step: forward and backward of all its micro-batches, meters, t->loss and t->tokens.  The loop zeroes gradients before and updates
 * after.  It may return ERR_INTERRUPTED when interrupted() between micro-batches: nothing of the step remains then. */
typedef int step_fn(struct trainer *t, void *arg, struct err *err);
/* Resumes when asked, runs to max_steps, logs, writes checkpoints. */
int trainer_run(struct trainer *t, step_fn *step, void *arg, struct err *err);
/* Writes the final folder and train_results.json; fills result. */
int trainer_finish(struct trainer *t, const struct rows *data, int items, int dropped, json_t *result, struct err *err);
/* Counts the forest at hand; plain: its tokens if nothing were shared. */
void trainer_count(struct trainer *t, int plain);
void meter_add(struct trainer *t, const char *name, double num, double den);
/* Appends a row of our own to log_history. */
int trainer_log_row(struct trainer *t, json_t *row, struct err *err);   // takes row

/* The items of this step (t->batch of them or fewer at the end of an epoch): indices into the data. */
const int *trainer_items(struct trainer *t, int *n);
/* How many of items[0..n) go into the next micro-batch by count and tokens; at least 1. */
int trainer_micro(const struct trainer *t, const struct samples *s, const int *item, int n);
/* Most rows of activations a micro-batch of this model should have. */
int default_max_tokens(const struct model *m, enum dtype dtype);

/* ---- checkpoint.c ----------------------------------------------------------------------------------- */

int checkpoint_save(struct trainer *t, struct err *err);
/* Loads the newest complete checkpoint of output_dir; none is fine. */
int checkpoint_resume(struct trainer *t, struct err *err);
/* Refuses to start anew where checkpoints of an earlier run lie. */
int checkpoint_refuse_old(const struct trainer *t, struct err *err);
int checkpoint_trim(const struct trainer *t, struct err *err);
json_t *trainer_state(const struct trainer *t);
/* model_save, but into a folder that holds other things as well. */
int save_into(const struct model *m, const char *dir, enum dtype dtype, struct err *err);

#endif
