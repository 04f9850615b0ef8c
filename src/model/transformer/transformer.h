/* model/transformer/transformer.h - what the files of this folder offer each other. */
#ifndef MODEL_TRANSFORMER_TRANSFORMER_H
#define MODEL_TRANSFORMER_TRANSFORMER_H

#include "model/internal.h"

/* Room for so many runs and keys in the workspace's lists. */
void workspace_lists(struct workspace *ws, size_t runs, size_t keys);
/* ws->tree[i] is the index of segment i's root on entry, its tree's number afterwards; ws->order lists the n segments tree by
 * tree.  Returns the number of trees. */
int workspace_order(struct workspace *ws, int n);
/* Positions and attention runs of a forest whose keys are its own rows. */
void workspace_set_forest(struct workspace *ws, const struct forest *f);
const struct head_item *workspace_sort_items(struct workspace *ws, const struct head_item *item, int n, bool *moved);

/* Log-probs of items over any hidden states, in any order of rows. */
void head_logp(struct workspace *ws, const struct model *m, const struct tensor *hidden, float *logp, float *entropy,
               float *lse, const struct head_item *item, int n, float temperature);

#endif
