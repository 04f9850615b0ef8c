/* model/family/family.h - what a family of models is: names of its tensors, keys of its config, choices.
 *
 * One file per family fills a struct family; docs/adding/family.md walks through one.  Everything else asks here:
 * format/ which tensors a checkpoint must have and what they are called in Hugging Face's folders and in GGUF files,
 * params.c which rows of which parameter a tensor is, transformer/ only struct choices.
 *
 * Parameters are a flat list: embedding, learned positions (GPT-2), the layers, final norm, head.  A layer has those
 * of enum layer_param that its choices ask for, in that order, then two matrices per expert. */
#ifndef MODEL_FAMILY_FAMILY_H
#define MODEL_FAMILY_FAMILY_H

#include "model/model.h"

/* ---- parameters -------------------------------------------------------------------- */

enum layer_param {
    PARAM_NORM1, PARAM_NORM1_BIAS, PARAM_QKV, PARAM_QKV_BIAS, PARAM_Q_NORM, PARAM_K_NORM, PARAM_OUT, PARAM_OUT_BIAS,
    PARAM_POST1,            // norm of the attention branch's output
    PARAM_NORM2, PARAM_NORM2_BIAS, PARAM_GATE_UP, PARAM_GATE_UP_BIAS, PARAM_DOWN, PARAM_DOWN_BIAS,
    PARAM_POST2,            // of the MLP branch's output
    PARAM_ROUTER,
    LAYER_PARAMS
};
/* Where parameters lie in the flat list; -1: there is none. */
struct layout {
    int positions, first_layer, per_layer;
    int at[LAYER_PARAMS];   // from the layer's first
    int experts;            // from the layer's first: gate and up of expert 0, its down, those of expert 1, ..
    int final_norm, final_bias, head, n;    // head: the embedding where it is tied; n: how many there are
};
struct layout layout_of(const struct model_config *c, bool scalar);
/* Shape of parameter i; false for vectors (gains and biases), which are (1, cols). */
bool layout_shape(const struct layout *at, const struct model_config *c, bool scalar, int i, int *rows, int *cols);

/* ---- tensors of files --------------------------------------------------------------- */

enum part {
    PART_EMBED, PART_POSITIONS, PART_NORM1, PART_Q, PART_K, PART_V, PART_QKV, PART_Q_NORM, PART_K_NORM, PART_OUT,
    PART_POST1, PART_NORM2, PART_GATE, PART_UP, PART_GATE_UP, PART_DOWN, PART_POST2, PART_ROUTER, PART_EXPERT_GATE,
    PART_EXPERT_UP, PART_EXPERT_DOWN, PART_FINAL_NORM, PART_HEAD, PART_SCORE, PARTS
};
/* How a file's matrix lies relative to ours, (out,in) with q, k and v (or gate and up) under each other. */
enum order {
    ORDER_SAME,
    ORDER_TRANSPOSED,       // (in,out): GPT-2's Conv1D
    ORDER_BY_HEAD,          // rows of q, k and v of one head together, head after head: GPT-NeoX
};
/* Part -> name without ".weight" and ".bias"; "%d" is the layer, a second one the expert.  Ends with hf NULL; parts that
 * a model's choices do not ask for are skipped, and biases are where they are asked for. */
struct part_name { enum part part; const char *hf; enum order order; };
/* llama.cpp's name: "blk.%d.attn_q", without ".weight"; the same for every architecture.  The experts of a layer are one
 * tensor there, (E,out,in). */
const char *part_gguf(enum part part);

struct tensor_spec {
    char name[112];         // Hugging Face's
    enum part part;
    bool bias, vector;
    bool offset;            // a gain stored one too small (NORM_RMS_OFFSET); llama.cpp stores it whole
    int layer, expert;      // -1: none
    enum order order;
    int param, first;       // rows first .. first + rows - 1 of parameter; of a vector, columns
    int rows, cols;         // of the parameter's part; the file's matrix is (cols,rows) where transposed
};
/* Every tensor a checkpoint of this config has, a list to free(); the vocabulary head where it is not tied, or with
 * scalar the scalar head instead. */
int family_tensors(struct tensor_spec **out, int *n, const struct model_config *c, bool scalar, struct err *err) MUST_CHECK;

/* ---- families -------------------------------------------------------------------------- */

/* A key of config.json that only some families have. */
enum key_kind { KEY_INT, KEY_FLOAT, KEY_BOOL, KEY_ONLY };
struct key {
    const char *name;
    enum key_kind kind;
    size_t at;              // in struct model_config
    const char *only;       // KEY_ONLY: absent, null or this JSON text; anything else is refused
};
#define KEY(name, kind, field) { name, kind, offsetof(struct model_config, field), NULL }
#define ONLY(name, text) { name, KEY_ONLY, 0, text }

struct alias { const char *usual, *own; };      // {"hidden_size", "n_embd"}

struct family {
    struct model_family about;
    const char *causal, *classifier;    // architectures
    const char *base;                   // "model.": what a checkpoint of the bare body leaves out
    const struct part_name *parts;
    const struct key *keys;             // ends with name NULL
    const struct alias *aliases;        // ends with usual NULL; NULL: none
    bool partial_rotary;                // partial_rotary_factor means something
    bool gguf_interleaved;              // llama.cpp reorders the rows of q and k (rotary pairs side by side)
    void (*defaults)(struct model_config *c);   // what absent keys mean where it differs from Llama; NULL: nowhere
    /* What keys cannot say, after them; NULL: nothing. */
    int (*read)(struct model_config *c, const json_t *o, const char *where, struct err *err);
    void (*write)(json_t *o, const struct model_config *c);
};
/* NULL: unknown.  Empty is "llama". */
const struct family *family_find(const char *model_type);
/* By llama.cpp's name of the architecture; "llama" with experts is Mixtral. */
const struct family *family_of_gguf(const char *arch, int experts);
static inline const struct family *family_of(const struct model_config *c) { return family_find(c->model_type); }
/* The family's spelling of a usual key. */
const char *family_key(const struct family *f, const char *usual);

/* ---- for family files -------------------------------------------------------------------- */

extern const struct part_name LLAMA_PARTS[];    // with k_norm, q_norm: what most have
extern const struct key LLAMA_KEYS[], PLAIN_KEYS[];
/* Marks windowed layers from layer_types, or where there is none by `windowed`; without a window nothing is marked.
 * window: the number of keys, 0: none. */
int family_windows(struct model_config *c, const json_t *o, int window, bool (*windowed)(const struct model_config *c, int layer),
                   const char *where, struct err *err);
bool windowed_all(const struct model_config *c, int layer);
/* An int that may be null or absent (0 then). */
int family_int(int *out, const json_t *o, const char *key, const char *where, struct err *err);
void family_write_layer_types(json_t *o, const struct model_config *c);
json_t *family_real(float x);                   // with the shortest spelling that reads back

/* rope.c */
int rope_read(struct model_config *c, const json_t *o, const struct family *f, const char *where, struct err *err);
void rope_write(json_t *o, const struct model_config *c);
/* Whether longrope's long factors are taken: the model was opened for more than its original length. */
bool rope_is_long(const struct model_config *c);
/* Columns of a head that turn. */
int rope_size(const struct model_config *c);
/* rope_size / 2 frequencies as transformers makes them, and the factor of cosines and sines.  local: of windowed layers
 * that have their own base. */
void rope_frequencies(float *inv_freq, float *factor, const struct model_config *c, bool local);
#endif
