/* model/tiny.h - a model small enough to differentiate by hand, with lively weights, for the tests of this room. */
#ifndef TEST_MODEL_TINY_H
#define TEST_MODEL_TINY_H

#include <math.h>

#include "kit/kit.h"
#include "model/internal.h"
#include "model/trainable.h"

enum { TINY_VOCAB = 41 };

static inline struct device *tiny_device(int threads)
{
    struct device *d;
    struct err err = {0};
    if (device_open(&d, NULL, threads, &err))
        fail_msg("%s", err.msg);
    return d;
}

/* Norms near 1, matrices of a size that makes every nonlinearity bend. */
static inline void tiny_liven(struct model *m, uint64_t seed)
{
    struct rng r;
    rng_init(&r, seed, RNG_TEST, 1, 0);
    for (int i = 0; i < m->n_params; i++) {
        struct param *p = &m->param[i];
        float row[256];
        assert_true(p->cols <= 256);
        for (int y = 0; y < p->rows; y++) {
            for (int x = 0; x < p->cols; x++)
                row[x] = (float)(p->vector ? 1 + 0.2 * rng_normal(&r) : 0.35 * rng_normal(&r));
            tensor_write(&p->value, y, 1, row);
        }
        param_repack(m, i);
    }
}

struct tiny_options { enum dtype dtype; bool untied, scalar; int layers; uint64_t seed; };

static inline struct model *tiny_model(struct device *dev, struct tiny_options o)
{
    struct model_config c = {.vocab = TINY_VOCAB, .width = 24, .layers = o.layers ? o.layers : 2, .heads = 4, .kv_heads = 2,
                             .head_size = 8, .ffn = 40, .max_position = 512, .norm_eps = 1e-5f, .rope_theta = 10000,
                             .tied = !o.untied, .bos = -1, .eos = -1, .pad = -1};
    struct model_options opt = {.dtype = o.dtype, .scalar_head = o.scalar, .trainable = true, .seed = o.seed};
    struct model *m;
    struct err err = {0};
    if (model_create(&m, dev, &c, NULL, &opt, &err))
        fail_msg("%s", err.msg);
    tiny_liven(m, o.seed);
    return m;
}

static inline struct workspace *tiny_workspace(const struct model *m, int tokens, bool keep)
{
    struct workspace *ws;
    struct err err = {0};
    if (workspace_new(&ws, m, tokens, keep, &err))
        fail_msg("%s", err.msg);
    return ws;
}

static inline struct trainable *tiny_trainable(struct model *m)
{
    struct trainable *t;
    struct err err = {0};
    if (trainable_new(&t, m, OPTIM_ADAMW, &err))
        fail_msg("%s", err.msg);
    return t;
}

/* A segment of n random tokens. */
static inline int tiny_segment(struct forest *f, int parent, int n, struct rng *r)
{
    int id[512];
    assert_true(n <= 512);
    for (int i = 0; i < n; i++)
        id[i] = (int)rng_below(r, TINY_VOCAB);
    return forest_add(f, parent, id, n);
}

#endif
