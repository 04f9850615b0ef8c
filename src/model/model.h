/* model/model.h - language models: files, tokenizer, forward and backward over forests, generation.
 *
 * struct model      weights, config and tokenizer of one checkpoint; read-only and shared, except
 * struct trainable  its fp32 masters, gradients and optimiser moments, owned by one trainer, which writes the
 *                   model's packed weights anew after each step
 * struct scheduler  a KV cache and the sequences in it; many schedulers share one model
 *
 * A batch is a forest of segments (DESIGN D3): no padding, no mask tensor, lengths only. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "base/base.h"
#include "compute/compute.h"

/* ---- config and model ------------------------------------------------------------ */

/* What tells one family of transformers from another (model/family/).  All zero is Llama. */
enum norm_kind {
    NORM_RMS,               // x / rms(x) * gain
    NORM_RMS_OFFSET,        // the same, the file's gain being one too small (Gemma); in memory it is whole
    NORM_LAYER,             // (x - mean) / deviation * gain + bias
};
enum norm_place { NORM_BEFORE, NORM_AFTER, NORM_AROUND };   // of each branch: its input, its output, both
enum qk_norm { QK_NORM_NONE, QK_NORM_HEAD, QK_NORM_WIDTH };  // RMS norm of queries and keys: each head, or all heads together
enum rope_kind { ROPE_DEFAULT, ROPE_LINEAR, ROPE_DYNAMIC, ROPE_LLAMA3, ROPE_YARN, ROPE_LONGROPE };
enum { LAYERS_MAX = 512, ROPE_FACTORS_MAX = 128 };
enum { LAYER_WINDOW = 1, LAYER_NO_ROPE = 2 };               // bits of choices.layer

/* How positions turn queries and keys; the names are those of rope_scaling in config.json. */
struct rope_choice {
    enum rope_kind kind;
    double share;           // partial_rotary_factor; 0: the whole head
    double factor, low_freq_factor, high_freq_factor;
    double attention_factor, beta_fast, beta_slow, mscale, mscale_all_dim;  // 0: not given
    bool no_truncate;       // yarn's correction range is not rounded
    int original, longest;  // original_max_position_embeddings; max_position_embeddings as written where it is more than we compute
    int n_factors;          // longrope
    float short_factor[ROPE_FACTORS_MAX], long_factor[ROPE_FACTORS_MAX];
};

struct choices {
    enum norm_kind norm;
    enum norm_place place;
    enum qk_norm qk_norm;
    bool qkv_bias, out_bias, mlp_bias;
    bool plain_mlp;         // act(up x) instead of act(gate x) * up x
    bool parallel;          // both branches read the layer's input
    enum activation act;
    int positions;          // rows of a table of learned positions, instead of rotating; 0: none
    int window;             // keys that a layer marked LAYER_WINDOW sees
    unsigned char layer[LAYERS_MAX];
    float local_theta;      // rope base of windowed layers, not scaled; 0: the same rope everywhere
    float attention_scale;  // of scores; 0: 1/sqrt(head_size)
    bool scale_by_layer;    // scores of layer l are divided by l + 1 as well
    float attention_softcap, logit_softcap;             // 0: none
    float embed_scale, residual_scale;                  // multipliers; 0: 1
    float logit_divisor;                                // 0: 1
    int experts, experts_used;                          // 0: one MLP
    float router_loss;      // router_aux_loss_coef
    bool router_trained;    // output_router_logits: supervised training adds router_loss times model_router_loss
    struct rope_choice rope;
};

struct model_config {
    char model_type[32];        // "llama"; empty: the same
    int vocab, width, layers, heads, kv_heads, head_size, ffn, max_position;
    float norm_eps, rope_theta;
    bool tied;                  // head shares the embedding
    int bos, eos, pad;          // token ids, -1: none
    int n_eos, eos_ids[8];      // every id that ends a generation (generation_config may name several)
    int score_head;             // 1: the checkpoint has a scalar head (reward or value model)
    char score_name[32];        // its tensor is this + ".weight"; empty: "score"
    double reward_mean, reward_std;     // raw score -> (raw - mean) / std; 0 and 1 when never normalised
    struct choices choices;
};

/* The families that are read, trained and written: for listings. */
struct model_family {
    const char *model_type;     // as config.json spells it
    const char *name;           // "Qwen 2, 2.5"
    const char *examples;       // Hub ids, separated by ", "
    const char *notes;          // what is special about it; NULL: nothing
    const char *gguf;           // llama.cpp's name of the architecture; NULL: none
};
int model_families(const struct model_family **out);    // how many; they live for ever

struct model;
struct tokenizer;

struct model_options {
    enum dtype dtype;           // compute dtype
    bool scalar_head;           // want a scalar head: load it, or start one (std 1/sqrt(C+1), keyed by seed) when absent
    bool trainable;             // keep fp32 masters for a struct trainable
    bool dequantize;            // matrices of a GGUF file in dtype, as a trainable model has them; else they stay in its blocks
                                // where products read them (compute.h), and what they multiply is rounded to int8
    int max_model_len;          // tokens a sequence may have: more than longrope's original length takes the long factors for
                                // all, as llama.cpp and vLLM do (transformers: by each batch's longest); 0: up to that length
    uint64_t seed;
};
/* path: a Hugging Face folder or a .gguf file.  Everything that is wrong with it is said by file, tensor or key. */
int model_open(struct model **out, struct device *dev, const char *path, const struct model_options *opt, struct err *err) MUST_CHECK;
/* A new model with random weights (normal, std 0.02; output projections of both residual branches scaled by 1/sqrt(2 layers)). */
int model_create(struct model **out, struct device *dev, const struct model_config *config, const char *tokenizer_dir,
                 const struct model_options *opt, struct err *err) MUST_CHECK;
/* The same, described by a folder that has config.json and a tokenizer; weights there are not looked at. */
int model_open_fresh(struct model **out, struct device *dev, const char *dir, const struct model_options *opt, struct err *err) MUST_CHECK;
void model_close(struct model *m);
const struct model_config *model_config(const struct model *m);
struct device *model_device(const struct model *m);
/* ERR_VALUE where a sequence of so many tokens cannot be computed as the reference would: more than learned positions, or
 * beyond the length where longrope and dynamic scaling change all frequencies.  Every sequence passes here before a forward. */
int model_check_length(const struct model_config *c, int tokens, struct err *err) MUST_CHECK;
const struct tokenizer *model_tokenizer(const struct model *m);
int model_use_template(struct model *m, const char *choice, struct err *err) MUST_CHECK;    // tokenizer_use_template of its tokenizer
const char *model_fingerprint(const struct model *m);  // hash of weights, config, dtype and numerics version: what labels are keyed by
size_t model_param_count(const struct model *m);
/* Writes a Hugging Face folder (config.json, generation_config.json, model.safetensors, tokenizer files copied byte for byte), atomically.
 * dtype of the file: F32 or BF16.  A scalar head makes it the family's ForSequenceClassification
 * with score.weight.  A model with an adapter becomes a PEFT folder (adapter_config.json, adapter_model.safetensors in F32, tokenizer
 * files); where it has a scalar head, scores' mean and deviation lie beside it in rlaif_adapter.json. */
int model_save(const struct model *m, const char *dir, enum dtype dtype, struct err *err) MUST_CHECK;
void model_set_reward_norm(struct model *m, double mean, double std);
/* True when a scalar head was asked for and started at random because the checkpoint has none: such a model has learned no score. */
bool model_head_is_fresh(const struct model *m);

/* Writes the checkpoint at source (a folder or a GGUF file) anew, whole or not at all: as a GGUF file for llama.cpp, or as a
 * Hugging Face folder.  Memory does not grow with the model. */
struct model_export {
    const char *gguf;       // F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K_M or Q6_K; NULL: a folder
    const char *dtype;      // of a folder: float32, bfloat16 or float16
    size_t shard_bytes;     // of a folder: most bytes in one file; 0: 5 GB
    const char *adapter;    // PEFT folder that is merged into the weights; NULL: none
};
int model_export(const char *source, const char *output, const struct model_export *e, struct err *err) MUST_CHECK;

/* ---- adapters (model/adapter/) ------------------------------------------------------------
 * A model with an adapter is a light struct model that shares its base's weights and holds only what differs: thin matrices A (r,in)
 * and B (out,r) that add scale * B A to some of the base's matrices (LoRA, Hu et al. 2021), whole copies of modules that are trained
 * so, and a scalar head of its own where it has one.  Every function that takes a model takes it; several stand on one
 * base, and the base itself is the model with its adapter off, bit for bit.  The base lives until the last of them is closed;
 * masters or gradients of it are not needed, and a struct trainable of such a model holds the adapter's parameters only. */
struct adapter_options {
    int r;                      // 16
    double alpha;               // 32; scale is alpha / r, or alpha / sqrt(r) with rslora
    bool rslora;
    const char *const *target;  // (n_target) modules by their names in transformers or the ends of those: "q_proj", "layers.3.mlp.down_proj";
    int n_target;               // "all-linear": every matrix of the layers; none: queries and values, as PEFT
    const char *const *save;    // (n_save) modules that are trained whole: "lm_head", "norm"; a scalar head always is
    int n_save;
    bool scalar_head;           // a reward or value model: with the base's scalar head, or a new one (model_options) keyed by seed
    uint64_t seed;
    const char *base_name;      // base_model_name_or_path of adapter_config.json; NULL: the path the base was opened by
};
void adapter_defaults(struct adapter_options *o);
/* A new adapter over base, which equals it until it is trained: A as PEFT starts it (kaiming_uniform, keyed by seed and name), B zero.
 * base: opened with or without .trainable.  Names that no module has are an error that lists those there are. */
int model_with_adapter(struct model **out, struct model *base, const struct adapter_options *o, struct err *err) MUST_CHECK;
/* The adapter in PEFT folder dir over base, ready to be used or trained on.  Of opt, scalar_head and seed count.  Unknown modules, ranks and
 * shapes that do not fit, what is not supported, and a base other than the one it was trained on are errors that name file and key. */
int model_open_adapter(struct model **out, struct model *base, const char *dir, const struct model_options *opt, struct err *err) MUST_CHECK;
bool model_is_adapter(const char *path);                // a folder with adapter_config.json and no config.json
int model_adapter_base(char **name, const char *dir, struct err *err) MUST_CHECK;   // base_model_name_or_path; the caller frees
struct model *model_base(const struct model *m);  // NULL: m has no adapter
size_t model_trained_count(const struct model *m);      // parameters that a struct trainable of m holds

/* ---- tokenizer (model/tokenizer/) -------------------------------------------------- */

int tokenizer_open(struct tokenizer **out, const char *path, struct err *err) MUST_CHECK;  // folder (tokenizer.json, else tokenizer.model), .model or .gguf file; no weights are read
void tokenizer_free(struct tokenizer *t);
struct tokens { int *id; int n; size_t cap; };      // growable; zero-initialise
void tokens_release(struct tokens *t);
enum { TOKENIZE_SPECIAL = 1,        // add what the tokenizer's post-processor adds (BOS/EOS), as transformers' add_special_tokens
       TOKENIZE_PARSE_SPECIAL = 2 };    // special tokens in the text become their ids (transformers' default)
int tokenize(const struct tokenizer *t, struct tokens *out, const char *text, size_t n, int flags, struct err *err) MUST_CHECK;   // appends
int detokenize(const struct tokenizer *t, struct buf *out, const int *id, int n, bool skip_special);  // appends bytes
/* Text as its tokens come, for showing and for JSON: never part of a character, and U+FFFD for bytes that are none.  All
 * pieces together are what detokenize makes of all ids (of what is UTF-8 in it).  Zero-initialise, then set the options. */
struct text_stream {
    bool skip_special;
    bool bytes;             // give out bytes as they are, characters or not
    struct tokens ids; int shown; struct buf held;     // its own
};
int text_stream_push(struct text_stream *s, const struct tokenizer *t, struct buf *out, int id);     // appends what is whole now
int text_stream_end(struct text_stream *s, struct buf *out);    // the rest; s may be used for another text
void text_stream_release(struct text_stream *s);
int tokenizer_id(const struct tokenizer *t, const char *token);     // -1: no such token
int tokenizer_vocab(const struct tokenizer *t);
void tokenizer_kind(const struct tokenizer *t, struct buf *out);    // appends a few words: "byte-level BPE", "Unigram", ...
bool tokenizer_is_special(const struct tokenizer *t, int id);
/* Tokenizer files into an existing folder: byte for byte those it was opened from (kept in memory, so the source may be gone);
 * where that was no tokenizer.json, one that gives the same ids in transformers. */
int tokenizer_save(const struct tokenizer *t, const char *dir, struct err *err) MUST_CHECK;
/* Ids of every single token whose bytes are `word` once leading spaces are taken away ("1", " 1"). Returns how many (at most max). */
int tokenizer_spellings(const struct tokenizer *t, const char *word, int *id, int max);

/* ---- chat templates (model/template/) ------------------------------------------------ */

/* A conversation for a chat template, as transformers' apply_chat_template takes it.  JSON values are borrowed. */
struct chat_request {
    const json_t *messages;     // array of objects: role, content (a string or a list of parts), tool_calls, ...
    const json_t *tools;        // array of tools (JSON schemas), NULL: none
    const json_t *documents;    // array of objects, NULL: none
    const json_t *variables;    // object of further variables (enable_thinking, ...), over the special tokens; NULL: none
    bool add_generation_prompt; // end with what opens an answer
    const char *continue_field; // end inside this field ("content") of the final message; NULL: do not
    const char *template;       // name of one of the model's templates; NULL: "tool_use" where there are tools, else "default"
};
/* What {% generation %} blocks wrote, in bytes of the output: an answer's text, where a template marks it. */
struct chat_span { size_t start, end; };
struct chat_spans { struct chat_span *item; int n; size_t cap; };   // growable; zero-initialise, free item
/* Appends the rendered conversation, byte for byte what Jinja2 as transformers sets it up writes.  spans may be NULL.  A template
 * that is broken, raises an exception or does not end is an error that names its file, line and reason; ERR_UNSUPPORTED without any. */
int chat_apply(const struct tokenizer *t, struct buf *out, const struct chat_request *q, struct chat_spans *spans,
               struct err *err) MUST_CHECK;
/* A request out of JSON: a list of messages, or an object with the members of struct chat_request, all borrowed from o. */
int chat_request_read(struct chat_request *q, const json_t *o, struct err *err) MUST_CHECK;
/* The same as chat_apply for plain messages. */
struct chat_message { const char *role, *content; };
int chat_render(const struct tokenizer *t, struct buf *out, const struct chat_message *msg, int n, bool add_generation_prompt,
                struct err *err) MUST_CHECK;
/* From now on, requests that name no template use this one: a name of the model's own, "chatml", or a file.  Before t is shared. */
int tokenizer_use_template(struct tokenizer *t, const char *choice, struct err *err) MUST_CHECK;
/* Hash of the template that such requests use and of the special tokens it sees; "" where there is none. */
void tokenizer_template_hash(const struct tokenizer *t, char out[33]);

/* ---- forests ----------------------------------------------------------------------- */

/* Tokens of a batch, segment after segment.  A segment's tokens see their own segment causally and all ancestors. */
struct segment { int start, len, parent, position; };   // parent: index of an earlier segment, -1: a root; position of its first token
struct forest {
    struct tokens tokens;       // (T)
    struct segment *seg;        // (n)
    int n; size_t cap;
};
/* Appends a segment; position is parent's end.  Returns its index, or -1 without memory. */
int forest_add(struct forest *f, int parent, const int *id, int n);
void forest_clear(struct forest *f);    // keeps the memory
void forest_release(struct forest *f);

/* ---- forward and backward, without a cache: scoring and training ----------------------- */

/* Room for activations of up to max_tokens rows, and what a forward pass keeps of them for backward: all, or each layer's
 * input alone, from which backward computes the layer once more (gradient checkpointing: the same bits, less memory, about
 * a third more time). */
enum keep { KEEP_NOTHING, KEEP_ALL, KEEP_INPUTS };
struct workspace;
int workspace_new(struct workspace **out, const struct model *m, int max_tokens, enum keep keep, struct err *err) MUST_CHECK;
void workspace_free(struct workspace *ws);
size_t workspace_bytes(const struct model_config *c, enum dtype dtype, int max_tokens, enum keep keep);

/* Takes beforehand what running m on ws takes at first use: an adapter's activations, the head's scratch memory for so many
 * items, and weights packed for the backward pass where ws keeps. */
void workspace_prepare(struct workspace *ws, const struct model *m, int items);

/* Runs the layers and the final norm.  f lives until backward is done. */
void model_forward(struct workspace *ws, const struct model *m, const struct forest *f);
/* After a forward: what the head says at (row, target) items (see compute.h), rows counted over the forest's tokens. */
void model_logp(struct workspace *ws, float *logp, float *entropy, float *lse, const struct head_item *item, int n, float temperature);
void model_score(struct workspace *ws, float *score, const int *row, int n);     // raw scalar head at rows
/* Items for the completion `seg`: one per token of it, the row before it (last of its parent for the first) predicting it.
 * from: first token of the segment wanted (0: all; a root's first token has no predecessor and is left out).  Returns the count; item has room for len. */
int forest_items(const struct forest *f, int seg, int from, struct head_item *item);

/* Mixtures of experts: the load-balancing loss of the last model_forward on a keeping workspace, as transformers defines it
 * over all its rows and layers; and how much of its gradient each model_backward on ws adds (0 until said). */
double model_router_loss(const struct workspace *ws);
void workspace_router_loss(struct workspace *ws, float weight);

/* How the optimiser keeps its two moments: in fp32, or in blocks of 8 bits (a quarter of the bytes), vectors and parameters of
 * fewer than 4,096 values in fp32 even so. */
enum optim { OPTIM_ADAMW, OPTIM_ADAMW_8BIT };
struct trainable;
int trainable_new(struct trainable **out, struct model *m, enum optim optim, struct err *err) MUST_CHECK;   // model opened with .trainable, or with an adapter
void trainable_free(struct trainable *t);
/* Adds gradients of sum dlogp*logp + sum dscore*score to t; call after model_forward on a keeping workspace. Either list may be empty. */
void model_backward(struct workspace *ws, struct trainable *t, const struct head_item *item, const float *dlogp, int n_items, float temperature,
                    const int *score_row, const float *dscore, int n_scores);
/* model_logp and model_backward at once, bit for bit, for losses whose dlogp does not depend on the log-probs: the head is
 * multiplied once less.  Outputs over items: log-probs, the entropy, the likeliest token; each may be NULL. */
void model_learn(struct workspace *ws, struct trainable *t, float *logp, float *entropy, int *argmax, const struct head_item *item,
                 const float *dlogp, int n_items, float temperature);
void trainable_zero(struct trainable *t);                   // gradients
double trainable_grad_norm(const struct trainable *t);      // global L2; NaN or infinity when any gradient is
/* Name of the first parameter whose gradient is not finite, or NULL. */
const char *trainable_nonfinite(const struct trainable *t);
/* One AdamW step on every parameter (weight decay on matrices only, not on norms), then repacks the model. */
void trainable_step(struct trainable *t, const struct adamw *h);
/* Optimiser moments and masters, for checkpoints: safetensors, atomically. */
int trainable_save(const struct trainable *t, const char *path, struct err *err) MUST_CHECK;
int trainable_load(struct trainable *t, const char *path, struct err *err) MUST_CHECK;
/* For tests and parity: gradient of a Hugging Face-named parameter into out (count floats). */
int trainable_gradient(const struct trainable *t, const char *name, float *out, size_t count, struct err *err);

/* ---- with a cache: generation and labelling -------------------------------------------- */

struct sampling {
    float temperature;      // 0: greedy
    int top_k;              // 0: off
    float top_p;            // 1: off
    int max_new_tokens;
    const char *const *stop;    // (n_stop) stop strings; a completion ends before the first of them
    int n_stop;
    uint64_t seed;
    bool ignore_eos;        // benchmarks
    const int *stop_ids;    // (n_stop_ids) tokens that end a completion as the model's own EOS does
    int n_stop_ids;
};
void sampling_defaults(struct sampling *s);     // temperature 1, no filters, 128 tokens
struct completion {
    int *id; int n;         // sampled tokens, the EOS included when it ended naturally
    float *logp;            // (n) log-prob of each at the sampling temperature, unfiltered distribution: bit for bit the training pass's
    char *text;             // detokenised without special tokens, cut before a stop string
    bool eos;               // ended by an EOS token (or stop string), not by length
};
void completions_release(struct completion *c, int n);

/* Told the text as it becomes certain, whole characters only; between tokens, and between portions of a prompt, it may be asked with
 * none.  false: stop here. */
typedef bool writer_said(void *arg, const char *text, size_t n);

/* ---- many sequences over one cache (model/schedule/) ------------------------------------- */

/* A scheduler computes requests of one model together, a step at a time: a step is one forward pass over what all that run
 * need next, so requests join and leave between any two tokens, and a long prompt is computed in portions beside
 * the others' tokens.  Keys and values lie in blocks of CACHE_BLOCK tokens that form a tree by token ids: what sequences
 * begin with in common is computed and stored once, and stays after them until its room is needed, least recently
 * used first.  Where blocks run out, the sequence that was submitted last gives its own back and is computed again later.
 *
 * What a request is answered is its own affair, bit for bit (DESIGN D1): neither the others, nor the size of the cache, nor
 * the order of submission, nor eviction can change it. */
enum { CACHE_BLOCK = 64 };
struct scheduler;
struct scheduler_options {
    int blocks;             // of the cache
    int sequences;          // in flight at most
    int rows;               // tokens computed in a step at most; 0: 1024, and never fewer than sequences
};
/* The fewest blocks with which nothing need be computed twice while so many sequences of at most so many tokens are in flight. */
int scheduler_blocks(int sequences, int tokens);
/* Bytes that a scheduler takes: its cache, the activations of a step, logits. */
size_t scheduler_bytes(const struct model_config *c, enum dtype dtype, const struct scheduler_options *o);
int scheduler_new(struct scheduler **out, const struct model *m, const struct scheduler_options *o, struct err *err) MUST_CHECK;
void scheduler_free(struct scheduler *s);

/* What is asked of a sequence: log-probs of tokens (ask), tokens that follow it (sampling), or both.  Everything pointed to is
 * borrowed until the request is done or cancelled. */
struct scheduler_request {
    const int *id; int n;           // the prompt
    const struct head_item *ask;    // (n_ask) by ascending row: log-prob of `target` after token `row` of the prompt
    int n_ask;
    float *logp, *lse;              // (n_ask) receive them; lse may be NULL
    const struct sampling *sampling;    // NULL: nothing is drawn
    uint64_t item; int sample;      // what draws are keyed by, beside seed and position
    struct completion *out;         // receives what was drawn
    writer_said *said;              // told the text as it grows; NULL: nobody
    void (*done)(void *arg, int ticket);    // told when it is done, within scheduler_step; may submit and cancel; NULL: nobody
    void *arg;
};
/* Returns a ticket, which is the request's until it is done; ERR_VALUE for what this model or this cache can never compute. */
int scheduler_submit(struct scheduler *s, const struct scheduler_request *r, struct err *err) MUST_CHECK;
/* One step.  Returns how many requests are left, 0: none.  After an error the scheduler can only be freed. */
int scheduler_step(struct scheduler *s, struct err *err) MUST_CHECK;
/* Forgets a request, its completion included, which is released; done is not told.  Within scheduler_step it lasts until its end. */
void scheduler_cancel(struct scheduler *s, int ticket);
void scheduler_cancel_all(struct scheduler *s);

/* Forgets what is in the cache: the model's weights changed.  While no request is left. */
void scheduler_forget(struct scheduler *s);

struct scheduler_counts {
    int64_t submitted;      // tokens of prompts
    int64_t computed;       // of them, and again after pre-emption or eviction
    int64_t drawn;
    int64_t steps, preempted, evicted;  // evicted: blocks
    int running, waiting, bypassed;     // bypassed: the most often that one request was
};
struct scheduler_counts scheduler_counts(const struct scheduler *s);

/* K = per_prompt samples of each prompt: out has n * per_prompt entries, prompt-major.  The random stream of a token is keyed by (seed, item_id
 * of the prompt, sample, position), so results do not depend on the batch.  batch: sequences in flight.  done (NULL allowed) is told after each finished completion.
 * ERR_INTERRUPTED once interrupted() (base.h), within a token of every running sequence; out is then empty. */
struct prompt_ids { const int *id; int n; uint64_t item; };
int model_generate(struct completion *out, const struct model *m, const struct prompt_ids *prompt, int n, int per_prompt,
                   const struct sampling *s, int batch, void (*done)(void *, int), void *arg, struct err *err) MUST_CHECK;

/* The same with a scheduler of the caller's, which has no requests left before and after: its cache bounds the memory, and what it
 * holds already is not computed again.  n * per_prompt below 2^31. */
int scheduler_generate(struct completion *out, struct scheduler *scheduler, const struct prompt_ids *prompt, int n, int per_prompt,
                       const struct sampling *s, void (*done)(void *, int), void *arg, struct err *err) MUST_CHECK;

/* One sequence continued token by token, whose cache is kept from call to call: conversations. */
struct writer;
/* window: tokens it has room for; 0: the model's context. */
int writer_new(struct writer **out, const struct model *m, int window, struct err *err) MUST_CHECK;
void writer_free(struct writer *w);
int writer_window(const struct writer *w);
/* Continues id (n), of which only what the cache does not begin with is computed.  out is what model_generate gives for a prompt of
 * this item, bit for bit, up to where said stopped it. */
int writer_write(struct writer *w, struct completion *out, const int *id, int n, uint64_t item, const struct sampling *s,
                 writer_said *said, void *arg, struct err *err) MUST_CHECK;
int writer_computed(const struct writer *w);    // tokens of the last call's prompt that had to be computed

/* ---- looking inside ------------------------------------------------------------------ */

/* What `rlaif inspect` prints: format, config, every tensor (name, shape, dtype), tokenizer facts; as JSON. */
int model_inspect(json_t **out, const char *path, struct err *err) MUST_CHECK;

#endif
