/* compute/compute.h - tensors, packed weights and about forty operations, forward and backward.
 *
 * A device is a table of functions; an operation checks shapes here (a mismatch between our own calls is a
 * BUG) and goes to the table.  Nobody outside this room dereferences a tensor's data.  Index lists (token ids,
 * positions, rows) are host arrays; a device copies what it needs.
 *
 * The contract of every operation (DESIGN D1): what is computed for a row depends on that row's own inputs
 * only, bit for bit, whatever other rows are in the call, with one thread or many.  Sums over rows (weight
 * gradients, norms) run over fixed chunks in a fixed order, so they do not depend on threads either.
 *
 * The plain loops of cpu/ are the definition; faster versions are tested against them.  Compute dtype is
 * F32, or BF16 with fp32 accumulation.  Residual stream, gradients, norms and optimiser are always fp32. */
#ifndef COMPUTE_COMPUTE_H
#define COMPUTE_COMPUTE_H

#include "base/base.h"

enum dtype { DTYPE_F32, DTYPE_BF16 };
size_t dtype_size(enum dtype t);
const char *dtype_name(enum dtype t);       // "float32", "bfloat16"
float bf16_to_float(uint16_t h);
uint16_t bf16_from_float(float f);          // round to nearest even; NaN stays NaN

/* ---- device ------------------------------------------------------------------ */

struct device;
/* name: "cpu", or NULL for the default; threads 0: threads_default().  One device per process drives the cores. */
int device_open(struct device **out, const char *name, int threads, struct err *err) MUST_CHECK;
void device_close(struct device *dev);
const char *device_describe(const struct device *dev);   // "2 threads, AVX-512 BF16, oneDNN 2.6.3"
bool device_fast_bf16(const struct device *dev);        // bf16 products in hardware
/* work(arg, i) for every i below n, in any order and up to device_workers at a time: loops of other rooms over host memory, of about
 * `steps` elementary steps for each i. */
int device_workers(const struct device *dev);
void device_each(struct device *dev, int n, size_t steps, void (*work)(void *arg, int i), void *arg);
/* Measured rates, in the same run with the same threads, cached per process: best oneDNN multiplication rate at
 * 2048 x 576 x 1536 in operations per second (NUMERICS 10); and memory read bandwidth in bytes per second, of memory as
 * malloc gives it or in large pages as weights lie, measured anew at each call (0.2 s): others' work changes it within seconds. */
double device_peak(struct device *dev, enum dtype dtype);
double device_bandwidth(struct device *dev, bool large_pages);

/* A device named "plan" holds nothing and computes nothing: it counts what the device it plans for would hold, so that the very
 * code that allocates says beforehand how much.  What is read from it is zero; operations beyond those that fill and copy
 * are not for it. */
bool device_is_plan(const struct device *dev);
/* What the following allocations are for; borrowed for good. */
void device_purpose(struct device *dev, const char *what);
enum { USE_PARTS = 12 };
struct device_use { size_t bytes; int n; struct { const char *purpose; size_t bytes; } part[USE_PARTS]; };
/* Of a planning device, when most was held: bytes in all, and what for. */
void device_most_used(const struct device *dev, struct device_use *out);
size_t device_used(const struct device *dev);           // now
size_t device_held_besides(const struct device *dev, const char *purpose);   // now, for anything else
void device_trial(struct device *dev, bool on);         // while on, what is held does not count as the most
void device_mark(struct device *dev);                   // from here on,
double device_most_since(const struct device *dev);     // this is the most that was held
/* What the process takes besides: program, tokenizers and data as they are in memory now (or were when most was held, once
 * that is past), and what libraries take as soon as they compute. */
size_t device_base(const struct device *dev);
/* ---- tensors: 2-D, row-major, rows `stride` elements apart ---------------------- */

struct tensor {
    struct device *dev;
    enum dtype dtype;
    int rows, cols;
    size_t stride;      // elements from one row to the next, >= cols
    void *data;         // the device's; NULL in an empty tensor
    bool owned;         // false in a view, which lives as long as what it views
};
int tensor_new(struct tensor *t, struct device *dev, enum dtype dtype, int rows, int cols, struct err *err) MUST_CHECK; // zeroed
void tensor_release(struct tensor *t);
struct tensor tensor_rows(const struct tensor *t, int start, int n);    // view
struct tensor tensor_cols(const struct tensor *t, int start, int n);    // view
struct tensor tensor_shaped(const struct tensor *t, int rows, int cols);    // dense view of the first rows * cols values of a dense t
void tensor_write(struct tensor *t, int row, int n, const float *src);  // (n,cols) host floats, rounded to dtype
void tensor_read(float *dst, const struct tensor *t, int row, int n);
void tensor_write_bf16(struct tensor *t, int row, int n, const uint16_t *src);
void tensor_read_bf16(uint16_t *dst, const struct tensor *t, int row, int n);
uint64_t tensor_hash(const struct tensor *t);           // of the stored values: for tests and fingerprints

void op_zero(struct tensor *t);
void op_copy(struct tensor *dst, const struct tensor *src);             // same shape; casts
void op_add(struct tensor *dst, const struct tensor *src);              // dst += src, dst F32
void op_scale(struct tensor *t, float by);                              // F32
void op_axpy(struct tensor *dst, const struct tensor *src, float by);   // dst += by * src, dst F32
void op_gather_rows(struct tensor *dst, const struct tensor *src, const int *rows, int n); // dst[i] = src[rows[i]]

/* ---- weights: what a multiplication reads, packed for the device ---------------- */

/* y = x W^T with W (out,in).  Opaque: packed once for the forward direction and, when first needed, once for
 * the backward one; repacked by weight_load after an optimiser step. */
struct weight;
struct weight *weight_new(struct device *dev, int out, int in, enum dtype dtype);   // NULL: no memory
void weight_free(struct weight *w);
void weight_load(struct weight *w, const struct tensor *src);   // (out,in) F32 or BF16, rounded to w's dtype
/* The copy that op_linear_backward_x reads is made at its first call, or here. */
void weight_prepare_backward(struct weight *w);
int weight_out(const struct weight *w);
int weight_in(const struct weight *w);
/* How a vocabulary head's logits are made of hidden . W: times scale, then softcap * tanh(z / softcap) unless
 * softcap is 0 (Gemma 2; Granite divides by its logits_scaling).  Every head operation below follows it, before
 * the temperature; op_linear does not.  Until said otherwise 1 and 0, which cost nothing. */
void weight_set_logits(struct weight *w, float scale, float softcap);

/* Weights that stay in the blocks of a GGUF file: 32 or 256 values of a row with scales of their own.  Products round
 * each row of x to int8, 32 values with one scale (compute/cpu/quant.h), in the same way for one row and for many; by
 * the definition (dequantise, multiply in fp32) that errs by about 1/250 of the norms of row and column. */
enum quant { QUANT_Q8_0, QUANT_Q4_0, QUANT_Q4_1, QUANT_Q5_0, QUANT_Q5_1, QUANT_Q4_K, QUANT_Q5_K, QUANT_Q6_K, QUANT_TYPES };
int quant_values(enum quant t);         // of a block
size_t quant_bytes(enum quant t);
struct quant_rows { enum quant type; int n; const unsigned char *const *row; };     // n rows, each where row[i] points; read during the call
/* A scale that is no number, or makes values above 65504: of block `block` of row `row` of part `part`. */
struct quant_fault { int part, row, block; float scale; };
/* The rows of all parts under each other, `in` values each (a multiple of every type's block); dtype is that of x.
 * ERR_MEMORY, or ERR_NUMERIC with *fault filled.  Never weight_load such a weight. */
int weight_new_quantised(struct weight **out, struct device *dev, int in, enum dtype dtype, const struct quant_rows *part,
                         int n_parts, struct quant_fault *fault) MUST_CHECK;
bool weight_is_quantised(const struct weight *w);
size_t weight_size(const struct weight *w);    // that it takes now, with the backward copy where there is one
void weight_row(float *out, const struct weight *w, int row);   // (in) values of one row, as products see them

/* y (T,out) = x (T,in) W^T, or += when accumulate.  x has W's dtype; y is F32 or W's dtype.  Sums are fp32 and rounded once. */
void op_linear(struct tensor *y, const struct tensor *x, const struct weight *w, bool accumulate);
/* dx (T,in) = dy (T,out) W, or +=.  dy has W's dtype; dx is F32 or W's dtype. */
void op_linear_backward_x(struct tensor *dx, const struct tensor *dy, const struct weight *w, bool accumulate);
/* dw (out,in) F32 += dy^T x, over fixed chunks of rows in order. */
void op_linear_backward_w(struct tensor *dw, const struct tensor *dy, const struct tensor *x);

/* ---- the layers between --------------------------------------------------------- */

/* x (T,C) F32 = table (V,C)[ids]; backward: dtable F32 += in row order. */
void op_embed(struct tensor *x, const struct tensor *table, const int *ids);
void op_embed_backward(struct tensor *dtable, const struct tensor *dx, const int *ids);
/* The same from a weight's rows, so that a table that is also multiplied with need not be there twice. */
void op_embed_weight(struct tensor *x, const struct weight *w, const int *ids);

/* y = x * rstd * gain, rstd = 1/sqrt(mean(x^2) + eps); x F32, gain (1,C) F32, rstd (T,1) F32 saved for backward.
 * backward: dx (T,C) F32 += ..., dgain (1,C) F32 += ... (NULL: not wanted). */
void op_rmsnorm(struct tensor *y, struct tensor *rstd, const struct tensor *x, const struct tensor *gain, float eps);
void op_rmsnorm_backward(struct tensor *dx, struct tensor *dgain, const struct tensor *dy, const struct tensor *x,
                         const struct tensor *rstd, const struct tensor *gain);

/* `heads` groups of D columns in each row, each normed by its own rms with the same gain (1,D): the query and key norms
 * of Qwen 3 and Gemma 3; OLMo 2's is one head as wide as the row, and norms after a branch are too.  x and y are F32
 * or dtype, y may be x; rstd (T,heads).  backward: dx (F32) is written, not added to, and may be dy (F32 or dtype);
 * dgain (1,D) F32 += (NULL: not wanted). */
void op_rmsnorm_heads(struct tensor *y, struct tensor *rstd, const struct tensor *x, const struct tensor *gain, int heads,
                      float eps);
void op_rmsnorm_heads_backward(struct tensor *dx, struct tensor *dgain, const struct tensor *dy, const struct tensor *x,
                               const struct tensor *rstd, const struct tensor *gain, int heads);

/* y = (x - mean) * rstd * gain + bias, the variance being that of the whole row (over C); x F32, gain and bias (1,C)
 * F32, bias may be NULL; stat (T,2) F32 = [mean, rstd] is saved for backward.
 * backward: dx (T,C) F32 +=, dgain and dbias (1,C) F32 += (either NULL: not wanted). */
void op_layernorm(struct tensor *y, struct tensor *stat, const struct tensor *x, const struct tensor *gain,
                  const struct tensor *bias, float eps);
void op_layernorm_backward(struct tensor *dx, struct tensor *dgain, struct tensor *dbias, const struct tensor *dy,
                           const struct tensor *x, const struct tensor *stat, const struct tensor *gain);

/* y (T,n) F32 or dtype += bias (1,n) F32, in place; backward: dbias (1,n) F32 += the sums of dy's columns. */
void op_bias(struct tensor *y, const struct tensor *bias);
void op_bias_backward(struct tensor *dbias, const struct tensor *dy);

/* Turns, in place, the first `rotary` columns of each of `heads` heads by the row's position: pairs (i, i + rotary/2),
 * angle position * inv_freq[i], as transformers does for Llama and, where rotary < D, for GPT-NeoX.  inverse is
 * the transpose, for the backward pass. */
struct rope {
    int head_size, rotary;      // rotary is even, at most head_size; the other columns pass
    const float *inv_freq;      // (rotary/2) host
    float factor;               // of the cosines and sines: 1, or the attention factor of yarn and longrope
};
void op_rope(struct tensor *x, const int *position, int heads, const struct rope *rope, bool inverse);

/* Attention over a forest (D3).  A run is `len` consecutive rows of q at absolute positions position ..
 * position+len-1; keys[p], for 0 <= p < position+len, is the row of k and v that holds absolute position p of
 * this run's sequence: its own rows, its ancestors' rows, or rows of a cache.  Query at p sees keys 0..p, or with a
 * window the last `window` of them: p-window+1..p (transformers' sliding_window).
 * Keys are visited in fixed blocks of 64 absolute positions, whatever holds them.
 * Runs with the same `tree` may share keys; trees are numbered 0,1,.. in order and never share.  A tree's
 * gradients add up in run order. */
struct attn_run { int row, len, position, tree; const int *keys; };
struct attention {
    int heads, kv_heads, head_size;     // heads is a multiple of kv_heads
    float scale;                        // of scores, positive: 1/sqrt(head_size) as a rule
    int n;
    const struct attn_run *run;         // (n)
    int window;                         // keys a query sees at most, its own included; 0: all
    float softcap;                      // scaled scores become softcap * tanh(s / softcap) (Gemma 2); 0: no
};
/* out (T,H*D), q (T,H*D), k and v (S,K*D) in one dtype; lse (T,H) F32: log-sum-exp of the scores, scaled and capped,
 * for backward; NULL when there will be none. */
void op_attention(struct tensor *out, struct tensor *lse, const struct tensor *q, const struct tensor *k,
                  const struct tensor *v, const struct attention *a);
/* dq (T,H*D) F32 is written; dk, dv (S,K*D) F32 += . */
void op_attention_backward(struct tensor *dq, struct tensor *dk, struct tensor *dv, const struct tensor *dout,
                           const struct tensor *out, const struct tensor *lse, const struct tensor *q,
                           const struct tensor *k, const struct tensor *v, const struct attention *a);
/* Copies rows of src (T,n) to rows slot[i] of dst: how keys and values enter a cache. */
void op_scatter_rows(struct tensor *dst, const struct tensor *src, const int *slot);

/* GELU is x * Phi(x), with the error function; GELU_TANH is the approximation of GPT-2 and Gemma ("gelu_new",
 * "gelu_pytorch_tanh"): x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). */
enum activation { ACT_SILU, ACT_GELU, ACT_GELU_TANH, ACT_RELU };
/* h (T,F) = act(gate) * up with gu (T,2F) = [gate | up].  Backward: dgu is written, and h (in dh's dtype) again with the same bits
 * unless it is NULL, which is cheaper than asking for it alone. */
void op_gated(struct tensor *h, const struct tensor *gu, enum activation act);
void op_gated_backward(struct tensor *dgu, struct tensor *h, const struct tensor *dh, const struct tensor *gu, enum activation act);
/* h (T,F) = act(u); backward: du is written, and h unless it is NULL. */
void op_activate(struct tensor *h, const struct tensor *u, enum activation act);
void op_activate_backward(struct tensor *du, struct tensor *h, const struct tensor *dh, const struct tensor *u, enum activation act);

/* ---- experts ------------------------------------------------------------------- */

/* As transformers' Mixtral.  prob (T,E) F32 = softmax of the router's logits (T,E) F32; expert (T*k, host) = the k
 * likeliest experts of each row, likeliest first, the lower number first where equal; weight (T,k) F32 = their
 * probabilities, which are divided by their sum.  Slot t*k+j is row t's j-th choice.
 * The rows of one expert are then op_gather_rows of slot/k (backward: op_embed_backward), go through its matrices,
 * and op_combine adds them up.  Callers take experts in ascending order, so that a row's sum has one order. */
void op_route(int *expert, struct tensor *weight, struct tensor *prob, const struct tensor *logits);
/* dlogits (T,E) F32 is written: from dweight (T,k) F32 and, where not NULL, dprob (E, host), added to the derivative
 * by every row's probabilities (the load-balancing loss). */
void op_route_backward(struct tensor *dlogits, const struct tensor *dweight, const float *dprob, const struct tensor *weight,
                       const struct tensor *prob, const int *expert);
/* dst (T,C) F32, row slot[i]/k += weight[slot[i]] * src[i], for n rows of src (F32 or dtype), which is one expert's
 * output: no two slots of the same row. */
void op_combine(struct tensor *dst, const struct tensor *src, const struct tensor *weight, const int *slot, int n);
/* dsrc[i] (F32 or dtype) = weight[slot[i]] * ddst row slot[i]/k; dweight[slot[i]] = ddst row . src[i], both written. */
void op_combine_backward(struct tensor *dsrc, struct tensor *dweight, const struct tensor *ddst, const struct tensor *src,
                         const struct tensor *weight, const int *slot, int n);
/* sums (E, host) += the sums of t's columns, in double over fixed chunks.  The load-balancing loss of transformers over
 * N rows of router probabilities, all layers together: E * sum_e (times e was chosen / N) * (sum_e / N). */
void op_column_sums(double *sums, const struct tensor *t);

/* ---- heads -------------------------------------------------------------------- */

/* The vocabulary head never holds (T,V): it runs in chunks of rows, logits in fp32.  Items name a row of hidden
 * (T,C) and a target token; items are sorted by row, a row may have several targets, rows without one are
 * not computed.  logits (weight_set_logits) are multiplied by inv_temperature first.  Outputs are host arrays over items: log-probs, and
 * where not NULL the entropy (nats) and the log-sum-exp of the row, and the row's arg-max. */
struct head_item { int row, target; };
void op_head_logp(float *logp, float *entropy, float *lse, int *argmax, const struct tensor *hidden,
                  const struct weight *w, const struct head_item *item, int n, float inv_temperature);
/* dhidden (T,C) F32 += and dw (V,C) F32 += (either NULL) from the derivative of the loss by each item's log-prob:
 * dlogits = inv_temperature * sum over the row's items dlogp * (onehot(target) - p), then back through scale and
 * soft cap.  Recomputes the logits. */
void op_head_backward(struct tensor *dhidden, struct tensor *dw, const struct tensor *hidden, const struct weight *w,
                      const struct head_item *item, const float *dlogp, int n, float inv_temperature);
/* Both at once, for losses whose dlogp is known before the log-probs are: three large multiplications instead of four, with the bits of
 * op_head_logp (each output may be NULL) and of op_head_backward. */
void op_head_learn(float *logp, float *entropy, int *argmax, struct tensor *dhidden, struct tensor *dw,
                   const struct tensor *hidden, const struct weight *w, const struct head_item *item, const float *dlogp, int n,
                   float inv_temperature);
/* Plans what a head of `rows` rows and as many items will take: scratch memory, and for backward a copy of small heads. */
void op_head_prepare(struct weight *w, int rows, bool backward);
/* logits (n,V) F32, host, of the named rows, scaled and capped: for sampling. */
void op_head_logits(float *logits, const struct tensor *hidden, const struct weight *w, const int *row, int n);
/* From logits that op_head_logits made: what op_head_logp says of the same rows, bit for bit.  entropy may be NULL. */
void op_logits_logp(float *logp, float *entropy, const float *logits, const struct weight *w, const int *target, int n,
                    float inv_temperature);

/* out[i] (host) = hidden[row[i]] . w (1,C) in fp32: reward and value heads.  backward: dhidden F32 +=, dw (1,C) F32 += (NULL: not wanted). */
void op_scalar_head(float *out, const struct tensor *hidden, const struct tensor *w, const int *row, int n);
void op_scalar_head_backward(struct tensor *dhidden, struct tensor *dw, const struct tensor *hidden,
                             const struct tensor *w, const int *row, const float *dout, int n);

/* ---- optimiser ------------------------------------------------------------------ */

double op_sumsq(const struct tensor *t);            // fixed chunks, in double; infinity or NaN pass through
struct adamw { float lr, beta1, beta2, eps, weight_decay, scale; int64_t step; };   // scale multiplies the gradient (clipping)
/* PyTorch's AdamW: eps outside the bias correction; step counts from 1.  All (rows,cols) F32. */
void op_adamw(struct tensor *master, struct tensor *m, struct tensor *v, const struct tensor *grad, const struct adamw *h);

/* The same with moments that take a byte and a bit per value (after Dettmers et al. 2022): blocks of 256 values in row-major
 * order share a scale, their largest absolute value, in fp32.  A code is a small float, its share of the scale: of m sign,
 * 4 bits of exponent and 3 of mantissa, to the nearest; of v 5 and 3, rounded up or down by chance (keyed by the step and the
 * value's place), since a moving average of a thousand steps never leaves the nearest code. */
enum { MOMENT_BLOCK = 256 };
struct moments8;
struct moments8 *moments8_new(struct device *dev, size_t n);    // of a parameter of n values, all zero; NULL: no memory
void moments8_free(struct moments8 *m);
size_t moments8_bytes(size_t n);                    // what they take, and how long their image is
void moments8_read(void *image, const struct moments8 *m);
void moments8_write(struct moments8 *m, const void *image);
void op_adamw8(struct tensor *master, struct moments8 *m, const struct tensor *grad, const struct adamw *h);    // dense tensors

#endif
