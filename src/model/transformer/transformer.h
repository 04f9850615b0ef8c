/* model/transformer/transformer.h - what the files of this folder offer each other. */
#ifndef MODEL_TRANSFORMER_TRANSFORMER_H
#define MODEL_TRANSFORMER_TRANSFORMER_H

#include "model/internal.h"
#include "model/trainable.h"

static inline struct tensor first_rows(const struct tensor *t, int n)
{
    return tensor_rows(t, 0, n);
}

/* Where layer l leaves its activations. */
static inline struct layer_acts *layer_acts(struct workspace *ws, int l)
{
    return &ws->layer[ws->keep == KEEP_ALL ? l : 0];
}

/* NULL where the layer has none. */
static inline const struct param *layer_param(const struct model *m, int layer, enum layer_param which)
{
    int i = param_layer(m, layer, which);
    return i < 0 ? NULL : &m->param[i];
}

/* ---- linear.c: every multiplication by a matrix of the model ------------------------------------ */

/* NULL: the parameter is frozen. */
static inline struct tensor *gradient(const struct trainable *t, int param)
{
    return param >= 0 && t->grad[param].data ? &t->grad[param] : NULL;
}
/* y (T,out) = x (T,in) W^T with what an adapter adds, or += ; types as op_linear's. */
void linear_forward(struct workspace *ws, const struct model *m, int param, struct tensor *y, const struct tensor *x,
                    bool accumulate);
/* dx = dy W (or +=) and the gradients of W, A and B where they are trained; or one after the other, where x becomes known
 * between them, with no other multiplication there. */
void linear_backward(struct workspace *ws, struct trainable *t, int param, struct tensor *dx, const struct tensor *dy,
                     const struct tensor *x, bool accumulate);
void linear_backward_x(struct workspace *ws, const struct model *m, int param, struct tensor *dx, const struct tensor *dy,
                       bool accumulate);
void linear_backward_w(struct workspace *ws, struct trainable *t, int param, const struct tensor *dy, const struct tensor *x);
/* At least rows x cols in t, which keeps nothing of what it held. */
void room(struct tensor *t, const struct model *m, enum dtype dtype, int rows, int cols);
/* Before a pass: room for what m's adapter computes. */
void workspace_adapter(struct workspace *ws, const struct model *m);

/* ---- outer.c: adapters on embedding and head --------------------------------------------------- */

/* x (T,C) += what an adapter on the embedding adds, before any multiplier. */
void embed_adapter(struct workspace *ws, const struct model *m, struct tensor *x, const int *ids);
/* From dx (T,C) F32, and in the compute dtype in low. */
void embed_adapter_backward(struct workspace *ws, struct trainable *t, const struct tensor *dx, const struct tensor *low);
/* What a backward pass tells of its items as well: op_head_learn's outputs. */
struct head_says { float *logp, *entropy; int *argmax; };
/* What the head reads of hidden states: themselves, or a copy in the workspace with an adapter's h behind each. */
struct tensor head_input(struct workspace *ws, const struct model *m, const struct tensor *hidden);
void head_adapter_learn(struct workspace *ws, struct trainable *t, struct head_says says, struct tensor *dhidden,
                        const struct tensor *hidden, const struct head_item *item, const float *dlogp, int n, float inv_temperature);

/* Room for so many runs and keys in the workspace's lists. */
void workspace_lists(struct workspace *ws, size_t runs, size_t keys);
/* ws->tree[i] is the index of segment i's root on entry, its tree's number afterwards; ws->order lists the n segments tree by
 * tree.  Returns the number of trees. */
int workspace_order(struct workspace *ws, int n);
/* Positions and attention runs of a forest whose keys are its own rows. */
void workspace_set_forest(struct workspace *ws, const struct forest *f);
const struct head_item *workspace_sort_items(struct workspace *ws, const struct head_item *item, int n, bool *moved);

void scatter_numbers(float *dst, const float *src, const int *from, int n);     // dst[from[i]] = src[i]; dst NULL: nothing

/* Log-probs of items over any hidden states, in any order of rows. */
void head_logp(struct workspace *ws, const struct model *m, const struct tensor *hidden, float *logp, float *entropy,
               float *lse, const struct head_item *item, int n, float temperature);

/* ---- what forward and backward both ask (forward.c) ---------------------------------------- */

/* The input of layer l's attention or MLP: x normed, its statistics into stat. */
void branch_input(struct tensor *normed, struct tensor *stat, const struct tensor *x, const struct model *m, int l, bool mlp);
/* Does layer l turn queries and keys, and how. */
bool layer_turns(const struct model *m, int l);
struct rope layer_rope(const struct model *m, int l);
/* Sets everything of ws->attention that is not the forest's. */
void layer_attention(struct workspace *ws, const struct model *m, int l);
float embed_scale(const struct model *m);
/* Before the backward pass of layer l: its activations are there, computed once more from its input where only that was kept. */
void layer_recall(struct workspace *ws, const struct model *m, int l);

/* ---- experts.c ---------------------------------------------------------------------------------- */

/* x_out = x_in + sum over the chosen experts of weight * expert(normed). */
void experts_forward(struct workspace *ws, const struct model *m, int l, int n, struct layer_acts *a, const struct tensor *normed,
                     const struct tensor *x_in, struct tensor *x_out);
/* From dy (T,C) F32, the gradient of the sum; ws->dnorm receives that of normed. */
void experts_backward(struct workspace *ws, struct trainable *t, int l, int n, const struct tensor *dy, const struct tensor *normed);

#endif
