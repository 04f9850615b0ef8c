/* model/internal.h - what the files of this room know about each other.
 *
 * A model's parameters are a flat list (family/family.h).  Matrices that read the same input lie under each other in one
 * parameter (q, k, v; gate, up), so a layer is four multiplications; the Hugging Face names are slices of them. */
#ifndef MODEL_INTERNAL_H
#define MODEL_INTERNAL_H

#include "model/family/family.h"
#include "model/format/format.h"
#include "model/model.h"

enum { NUMERICS_VERSION = 1 };      // part of the fingerprint: raised when results change for the same weights

/* ---- parameters -------------------------------------------------------------------- */

struct param {
    int rows, cols;
    bool vector;            // a gain or a bias: no weight decay, one dimension in files
    struct tensor value;    // (rows,cols) F32: always for vectors and the scalar head, for matrices where masters are kept
    struct weight *packed;  // matrices that are multiplied with
    bool shared;            // value and packed are those of the model's base: neither trained nor freed here
    float scale;            // packed is value times this; 0: 1
    const struct lora *lora;    // what an adapter adds to the product; NULL: nothing
};

/* An adapter on one matrix: h = A x, then y[first .. first+rows) += scale B h[at .. at+r) for each of its parts, which are the projections
 * that lie in the matrix.  Their A lie under each other, so that what reads x does so once. */
struct lora_part {
    int b;                  // parameter (rows,r); its packed weight is scale * B
    int first, rows;        // outputs of the matrix
    int at, r;              // columns of h
    float scale;
};
struct lora {
    int a, rank;            // parameter (rank,in): every A
    int n;
    struct lora_part part[3];   // q, k and v at most
};

struct model {
    struct device *dev;
    struct model_config config;
    enum dtype dtype;
    uint64_t seed;
    bool masters;           // fp32 values of all parameters are kept
    bool dequantize;        // matrices in blocks are wanted in dtype
    bool quantised;         // some matrices stay in the blocks of a GGUF file, which rounds what they are multiplied with
    bool scalar;            // scalar head instead of the vocabulary head
    struct tokenizer *tokenizer;
    struct weights *file;   // stays open where masters are not kept: what model_save copies from; else NULL
    int n_params, n_slices;
    struct param *param;    // (n_params)
    struct layout at;       // where they lie
    struct tensor_spec *slice;  // (n_slices) under their Hugging Face names
    struct tensor embed;    // (V,C) in dtype; a view of the master in fp32 training; empty where rows of the packed embedding are read
    float *inv_freq;        // (rotary/2), then as many for windowed layers
    float rope_factor;      // of cosines and sines
    bool fresh_head;        // the scalar head was started here, not read
    char fingerprint[128];  // empty until asked for
    int users;              // its owner, and models with an adapter that stand on it
    // of a model with an adapter only; parameters from at.n on are A and B
    struct model *base;     // whose weights, tokenizer and tables these are; NULL: no adapter
    struct adapter *adapter;
};

static inline int param_embed(void) { return 0; }
/* -1: this model's layers have none. */
static inline int param_layer(const struct model *m, int layer, enum layer_param which)
{
    return m->at.at[which] < 0 ? -1 : m->at.first_layer + layer * m->at.per_layer + m->at.at[which];
}
/* Gate and up of an expert, or its down. */
static inline int param_expert(const struct model *m, int layer, int expert, bool down)
{
    return m->at.first_layer + layer * m->at.per_layer + m->at.experts + 2 * expert + down;
}
static inline int param_final_norm(const struct model *m) { return m->at.final_norm; }
/* The head's parameter: lm_head, the embedding where they are tied, or the scalar head. */
static inline int param_head(const struct model *m) { return m->at.head; }
static inline int qkv_rows(const struct model_config *c) { return (c->heads + 2 * c->kv_heads) * c->head_size; }
/* Columns of what the MLP's first multiplication makes. */
static inline int up_rows(const struct model_config *c) { return (c->choices.plain_mlp ? 1 : 2) * c->ffn; }

/* Lists parameters and slices for m->config and allocates what holds them. */
int params_init(struct model *m, struct err *err) MUST_CHECK;
void params_release(struct model *m);
/* Fills them from m->file, or at random keyed by m->seed; both leave everything packed. */
int params_read(struct model *m, struct err *err) MUST_CHECK;
int params_random(struct model *m, struct err *err) MUST_CHECK;
/* params_blocks.c: whether every tensor of matrix i is in blocks that products read, and loading it as it is. */
bool param_in_blocks(const struct model *m, int i);
int param_load_blocks(struct model *m, int i, struct err *err) MUST_CHECK;
void params_say_unpacked(const struct model *m);    // a line of the log where tensors in blocks are held in the compute dtype
/* Packs parameter i again after its master changed. */
void param_repack(struct model *m, int i);
const struct tensor_spec *slice_find(const struct model *m, const char *name);
/* The slice's part of its parameter, or of a tensor of that shape: rows of a matrix, columns of a vector. */
struct tensor slice_view(const struct tensor *param, const struct tensor_spec *s);
/* rows * cols floats in the order of Hugging Face's file.  value: the parameter itself, so that a gain which files store one
 * too small is written so; a gradient or moment is not. */
int slice_read(float *out, const struct model *m, const struct tensor_spec *s, const struct tensor *param, bool value,
               struct err *err) MUST_CHECK;

/* ---- adapters (model/adapter/) ------------------------------------------------------------ */

/* What adapter_config.json says, and the adapter's part of the parameters. */
struct adapter {
    json_t *config;         // adapter_config.json as it is written
    double dropout;         // lora_dropout of it
    int rank, b_values;     // most rows of an A, most values of a B: what workspaces make room for
    int n;
    struct lora *lora;      // (n)
    struct weight *head;    // (V,C+r), [W | scale B], where the vocabulary head is adapted; NULL
    struct tensor head_values;  // the same in the compute dtype
};
/* The vocabulary head as it is multiplied with, the columns of what it reads, and how these come from hidden (T,C): to (T,head_width). */
const struct weight *model_head(const struct model *m);
int head_width(const struct model *m);
void head_extend(const struct model *m, struct tensor *to, const struct tensor *hidden);
/* After B of the head changed. */
void adapter_repack_head(struct model *m);
/* Whether a struct trainable of m holds parameter i. */
static inline bool param_trained(const struct model *m, int i) { return !m->param[i].shared; }
void adapter_release(struct model *m);     // all of m
void adapter_hash(char out[33], const struct model *m);
/* Parameter i read anew from where the base has it, into to (rows,cols), any dtype. */
/* Parameter i of m itself, out of m->file. */
int param_read_own(struct model *m, int i, struct err *err) MUST_CHECK;
int param_read_into(const struct model *m, int i, struct tensor *to, struct err *err) MUST_CHECK;
/* Rows of normal numbers, std, keyed by m->seed and i. */
int param_random(struct model *m, int i, double std, struct err *err) MUST_CHECK;
/* What family_choices say of the head's logits. */
void param_set_logits(struct model *m);
int adapter_save(const struct model *m, const char *dir, struct err *err) MUST_CHECK;

/* Lays the adapter in dir over an open checkpoint: what is read is merged, and its config says what the two are together. */
struct overlay;
int overlay_adapter(struct weights *w, const char *dir, struct err *err) MUST_CHECK;
void overlay_release(struct overlay *o);

/* ---- workspaces ----------------------------------------------------------------------- */

/* What a layer leaves behind for its backward pass; one set serves all layers unless everything is kept. */
struct layer_acts {
    struct tensor x_mid;    // (T,C) F32 residual stream after attention
    struct tensor rstd1, rstd2;     // (T,1) F32; (T,2) of layer norms
    struct tensor qkv;      // (T,(H+2K)D) rotated
    struct tensor att;      // (T,HD)
    struct tensor lse;      // (T,H) F32
    struct tensor gate_up;  // (T,2F); (T,F) of a plain MLP
    // only where the family has them
    struct tensor raw;              // (T,(H+K)D) queries and keys before their norms
    struct tensor q_rstd, k_rstd;   // (T,H) and (T,K), or (T,1) F32
    struct tensor branch1, branch2; // (T,C) F32 outputs of the branches before their norms
    struct tensor post_rstd1, post_rstd2;   // (T,1) F32
    struct tensor prob, expert_weight;      // (T,E), (T,k) F32 of the router
    int *expert;                    // (T*k) chosen by each row
    struct tensor ex_gate_up, ex_out;       // (T*k,2F), (T*k,C) of the chosen experts, expert after expert
};

struct workspace {
    const struct model_config *config;
    enum dtype dtype;
    int max_tokens, n_tokens;
    enum keep keep;
    struct tensor *x;           // (L+1) residual streams before each layer, the last before the final norm; KEEP_NOTHING: one
    struct layer_acts *layer;   // (L), or one
    int held;                   // KEEP_INPUTS: the layer whose activations are in layer[0]
    bool again;                 // a layer is being computed anew for its backward pass
    struct tensor normed, h;    // (T,C), (T,F)
    struct tensor hidden, rstd; // (T,C) after the final norm
    struct tensor normed2;      // (T,C) parallel branches: the MLP's input
    struct tensor branch;       // (T,C) F32 on its way to the residual stream, where it is not added at once
    struct tensor router, ex_in;    // (T,E) F32, (T,C)
    int *slot, *slot_row;       // (T) of the expert at hand
    // backward only
    struct tensor dx, dnorm, dqkv;      // F32 (T,C), (T,C), (T,(H+2K)D)
    struct tensor dy, dqkv_low, datt, dh, dgate_up; // in dtype; the first two in bf16 alone
    struct tensor dbranch;              // F32 (T,C)
    struct tensor ex_dout, ex_din, dweight, router_low; // (T,C), (T,C) F32, (T,k) F32, (T,E)
    double *prob_sum;           // (E) over all rows and layers of the last forward
    long *chosen, routed;       // (E) choices; rows
    float *dprob, router_weight;    // (E)
    struct tensor lora_h, lora_dh, lora_dw;     // (T,rank), (T,rank), F32 values of a B: of the largest adapter seen
    struct tensor lora_rows, lora_x, lora_dx, lora_dhead;   // of outer.c: F32 (T,r), (T,C+r), F32 (T,C+r), F32 (V,C+r)
    // the forest as the operations want it
    int *position;              // (max_tokens)
    struct attention attention;
    struct attn_run *run;       // (run_cap)
    int *tree, *order;          // (run_cap)
    size_t run_cap;
    int *keys;                  // keys of runs that are not just consecutive rows
    size_t keys_cap;
    int *identity;              // (max_tokens) 0,1,2,..
    const int *ids;             // the forest's tokens, until backward
    const struct model *model;  // of the last model_forward
    // lists of items in row order
    struct head_item *item;
    int *item_from;
    float *number;
    size_t item_cap, item_from_cap, number_cap;
};

/* Where keys and values go when there is a cache: layer l's are k[l] and v[l], (slots, KD); row i of the call goes to slot[i]. */
struct kv_cache { struct tensor *k, *v; const int *slot; };

/* Embedding, layers and final norm of n rows; ws->attention and ws->position are set.  The hidden states land in `hidden` (n,C).
 * cache NULL: keys are rows of the batch itself. */
void transformer_forward(struct workspace *ws, const struct model *m, const int *ids, int n, struct tensor *hidden,
                         const struct kv_cache *cache);

#endif
