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
        if (!param_trained(m, i))
            continue;
        assert_true(p->cols <= 256);
        for (int y = 0; y < p->rows; y++) {
            for (int x = 0; x < p->cols; x++)
                row[x] = (float)(p->vector ? 1 + 0.2 * rng_normal(&r) : 0.35 * rng_normal(&r));
            tensor_write(&p->value, y, 1, row);
        }
        param_repack(m, i);
    }
}

/* A lively adapter on everything that takes one; with whole, on some, and other modules trained whole. */
static inline struct model *tiny_adapter(struct model *base, bool whole, uint64_t seed)
{
    static const char *const all[] = {"all-linear", "embed_tokens", "lm_head"}, *const some[] = {"q_proj", "v_proj", "0.mlp.up_proj", "down_proj"};
    static const char *const saved[] = {"lm_head", "embed_tokens", "model.norm", "o_proj"};
    struct adapter_options o;
    struct model *m;
    struct err err = {0};
    adapter_defaults(&o);
    o.r = 3;
    o.alpha = 4;
    o.target = whole ? some : all;
    o.n_target = (int)(whole ? ARRAY_LEN(some) : ARRAY_LEN(all));
    o.save = saved;
    o.n_save = whole ? (int)ARRAY_LEN(saved) : 0;
    o.seed = seed;
    if (model_with_adapter(&m, base, &o, &err))
        fail_msg("%s", err.msg);
    return m;
}

struct tiny_options { enum dtype dtype; bool untied, scalar; int layers; uint64_t seed; bool adapter, whole; };

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
    if (!o.adapter)
        return m;
    struct model *over = tiny_adapter(m, o.whole, o.seed);
    tiny_liven(over, o.seed + 1);
    model_close(m);     // lives on below the adapter
    return over;
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

static inline float *tiny_values(const struct tensor *t)
{
    float *v = test_malloc((size_t)t->rows * (size_t)t->cols * sizeof *v);
    tensor_read(v, t, 0, t->rows);
    return v;
}

/* W += scale B A, by hand; of the embedding, A is a table (V,r). */
static inline void tiny_merge(struct model *into, const struct model *m)
{
    for (int i = 0; i < m->at.n; i++)
        for (int k = 0; m->param[i].lora && k < m->param[i].lora->n; k++) {
            const struct lora_part *part = &m->param[i].lora->part[k];
            const struct param *pa = &m->param[m->param[i].lora->a];
            float *a = tiny_values(&pa->value), *b = tiny_values(&m->param[part->b].value), w[512];
            int rows = i == param_embed() ? pa->rows : part->rows;
            for (int y = 0; y < rows; y++) {
                struct tensor row = tensor_rows(&into->param[i].value, part->first + y, 1);
                tensor_read(w, &row, 0, 1);
                for (int x = 0; x < row.cols; x++)
                    for (int j = 0; j < part->r; j++)
                        w[x] += part->scale * (i == param_embed() ? b[x * part->r + j] * a[y * part->r + j]
                                                                  : b[y * part->r + j] * a[(part->at + j) * pa->cols + x]);
                tensor_write(&row, 0, 1, w);
            }
            param_repack(into, i);
            test_free(a);
            test_free(b);
        }
}

#endif
