/* recipe/bench/bench.h - workloads that are timed: what `rlaif bench` does, and beside whom.
 *
 * A row of the bench is some work (a training step, prompts to score, pairs to label, rollouts, a start) on some
 * weights.  It prepares itself once, runs any number of times, and says how many operations (NUMERICS 10: multiply-adds
 * times two, recomputation not counted), bytes of weights and units of work one run is.  Peers are programs that are told the same
 * row and answer how long it took them. */
#ifndef RECIPE_BENCH_BENCH_H
#define RECIPE_BENCH_BENCH_H

#include "compute/compute.h"
#include "model/model.h"

/* ---- weights that rows run on (shapes.c) ------------------------------------------------------ */

/* Random models of three shapes, or the user's own for all rows.  Speed does not depend on the values. */
enum bench_shape {
    SHAPE_135M,             // SmolLM2-135M's
    SHAPE_LAB,              // the lab's smaller model's
    SHAPE_WIDE,             // 128,256 tokens, 1024 wide: rows that K-quants divide, and a large vocabulary
    SHAPES
};
struct bench_weights {
    const char *dir;        // where random models are made, and found again; the caller's
    const char *own;        // the user's model: every shape stands for it; NULL: random ones
};
/* Path of a shape's weights as a Hugging Face folder (gguf NULL) or as a GGUF file of that type, made when it is not there.
 * The user's own model is given as it is.  The caller frees *path. */
int bench_weights_path(char **path, const struct bench_weights *w, enum bench_shape shape, const char *gguf, struct err *err);
/* A byte-level BPE of `vocab` tokens (above 300), written as tokenizer.json and its settings into dir. */
int bench_tokenizer(const char *dir, int vocab, struct err *err);

/* ---- work (work.c, work_label.c, work_start.c) ------------------------------------------------- */

enum bench_share { SHARE_NONE, SHARE_PEAK, SHARE_BANDWIDTH };

struct bench_work {
    const char *unit;               // "tokens", "pairs", "starts"
    enum bench_share share;         // of which rate the figure is a share
    double units, operations, bytes;    // of one run
    int (*run)(struct bench_work *w, struct err *err);
    void (*close)(struct bench_work *w);
    void *own;
};

enum bench_kind { BENCH_TRAIN, BENCH_SCORE, BENCH_LABEL, BENCH_ROLLOUT, BENCH_START };
/* One line of the table. */
struct bench_row {
    const char *name;
    enum bench_kind kind;
    enum bench_shape shape;
    const char *gguf;               // type of the weights; NULL: the folder, in bf16
    int n, length, shared, add;     // sequences (or pairs), tokens of each, of which shared by all, new tokens
    const char *target;             // for people
};
/* Models that several rows use are opened once. */
struct bench_models {
    struct device *dev;
    struct bench_weights weights;
    struct { char *path; struct model *model; } item[8];
    int n;
};
int bench_model(const struct model **out, struct bench_models *all, const struct bench_row *row, struct err *err);
void bench_models_release(struct bench_models *all);

/* Makes a row ready; ERR_UNSUPPORTED with the reason where this model cannot do it.  `program` is this executable. */
int bench_prepare(struct bench_work *w, struct bench_models *all, const struct bench_row *row, const char *program, struct err *err);
int bench_prepare_label(struct bench_work *w, const struct model *m, const struct bench_row *row, struct err *err);
int bench_prepare_start(struct bench_work *w, const struct bench_weights *weights, const struct bench_row *row, const char *program,
                        struct err *err);
/* Forward operations of tokens at positions from .. to-1 of one sequence, without the head; and of the head at rows. */
double bench_forward_ops(const struct model_config *c, int from, int to);
double bench_head_ops(const struct model_config *c, double rows);

/* ---- peers (peers.c) ----------------------------------------------------------------------------- */

/* Another program that does the same work: it reads a line of JSON per run from its standard input,
 *     {"work":"rollouts 32 x 128","kind":"rollout","n":32,"length":64,"shared":0,"add":128,"threads":2,
 *      "quantised":false,"folder":PATH,"gguf":PATH}
 * and answers with a line {"units":4096,"seconds":12.3}, or {"skip":"why"}.  tools/peers holds two. */
struct bench_peer;
int bench_peer_start(struct bench_peer **out, const char *name, const char *command, struct err *err) MUST_CHECK;
void bench_peer_stop(struct bench_peer *p);     // NULL is fine
const char *bench_peer_name(const struct bench_peer *p);
/* Units per second; NaN where it skips, with the reason in *why (until the next call). */
int bench_peer_run(double *rate, const char **why, struct bench_peer *p, const json_t *question, struct err *err) MUST_CHECK;

#endif
