/* model/format/format.h - the inner door of the files a language model lives in.
 *
 * struct weights is one open checkpoint: a Hugging Face folder (config.json and
 * model.safetensors, or the shards that model.safetensors.index.json names) or a GGUF file.  Whatever the file calls its tensors, they are asked for
 * by their Hugging Face names ("model.layers.0.self_attn.q_proj.weight"), come as floats in
 * Hugging Face's order of rows, and were checked (offsets, sizes, overlaps, dtype) when the file
 * was opened.  The file stays mapped while it is open.
 *
 * folder_write goes the other way and writes a Hugging Face folder, gguf_write a GGUF file.
 *
 * Left out: pickled weights (they are programs); GGUF files of reward models. */
#ifndef MODEL_FORMAT_FORMAT_H
#define MODEL_FORMAT_FORMAT_H

#include "model/model.h"

/* ---- reading -------------------------------------------------------------------- */

struct weights;
/* path: a Hugging Face folder or a .gguf file.  Reads the config and the table of tensors, no
 * values. */
int weights_open(struct weights **out, const char *path, struct err *err) MUST_CHECK;
void weights_close(struct weights *w);
const char *weights_path(const struct weights *w);
const struct model_config *weights_config(const struct weights *w);
bool weights_has(const struct weights *w, const char *name);
/* Values of a tensor as floats into out (rows * cols).  rows 0 asks for a vector of cols
 * (norms); anything else for a matrix of exactly (rows, cols), so a reward head is (1, C).
 * ERR_MISSING when absent, ERR_FORMAT when the shape differs, ERR_NUMERIC when a value is NaN or
 * infinite. Thread-safe: several tensors may
 * be read at once. */
int weights_read(const struct weights *w, const char *name, float *out, int rows, int cols,
                 struct err *err) MUST_CHECK;
/* The same for rows first .. first + n - 1 of the matrix only: for embeddings larger than one
 * wants to hold in fp32. */
int weights_read_rows(const struct weights *w, const char *name, float *out, int rows, int cols,
                      int first, int n, struct err *err) MUST_CHECK;
/* A matrix as its GGUF file stores it, for products that read blocks (compute.h).  False where its type is none of those.
 * rows, cols: of the product's weight, whose rows are the file's: (out,in) of GPT-2's turned matrices too, all q first of
 * GPT-NeoX's; rows of interleaved heads come in Hugging Face's order. */
bool weights_blocks(const struct weights *w, const char *name, int rows, int cols, enum quant *type);
/* row[i], for i < rows: where row i lies in the mapped file. */
void weights_block_rows(const struct weights *w, const char *name, const unsigned char **row);
/* The type as the file spells it, and the file; NULL where there is no such tensor. */
const char *weights_type_name(const struct weights *w, const char *name);
const char *weights_file_name(const struct weights *w, const char *name);
bool weights_is_blocks(const struct weights *w, const char *name);     // of any type of 32 or 256 values
/* Values of this tensor will not be read soon: what was read of the file need not stay in memory. */
void weights_forget(const struct weights *w, const char *name);
void weights_forget_all(const struct weights *w);  // tables and texts too: they are read again when looked at
/* XXH3-128 of everything results depend on: the file of weights, the config as understood, the
 * tokenizer's files. */
int weights_hash(char out[33], const struct weights *w, struct err *err) MUST_CHECK;

/* A hash of all values, however they are cut into files and whatever lies beside them; and how they are stored: "BF16", "Q8_0": the type of the
 * largest tensor. */
void weights_values_hash(char out[33], const struct weights *w);
const char *weights_stored(const struct weights *w);

/* The table of tensors, in the file's order (for `inspect`). */
struct weight_info {
    const char *name;      // Hugging Face name where it has one, else the file's own
    const char *file_name; // the file's own name
    const char *dtype;     // as the format spells it: "BF16", "Q4_1"
    int dims;              // 0 (one number) to 4
    size_t size[4];        // (dims) the slowest first
    size_t rows, cols;     // cols: the fastest dimension; rows: the product of the others
    size_t bytes;
};
int weights_count(const struct weights *w);
struct weight_info weights_info(const struct weights *w, int i);
bool weights_is_gguf(const struct weights *w);

/* ---- writing -------------------------------------------------------------------- */

struct folder_tensor {
    const char *name;  // Hugging Face name
    int rows, cols;    // rows 0: a vector of cols (norms); score.weight is (1, C)
    const float *data; // the values, or NULL: fill writes them
    int (*fill)(void *arg, float *out, struct err *err); // rows * cols floats
    void *arg;
};
struct folder_form {
    const char *dtype;  // of the stored values: "float32", "bfloat16", "float16"
    size_t shard_bytes; // most bytes of values in one file, unless a tensor alone is larger; 0: 5 GB
};
/* Writes folder `dir` so that it appears whole or not at all: config.json,
 * generation_config.json, model.safetensors (or its shards and their index), tokenizer files.  config->score_head makes it a
 * sequence classifier of its family, else a language model; where config->tied the list must not
 * hold lm_head.weight.  Values are rounded to dtype (nearest even); one that float16 cannot hold is
 * refused.  A reward model's pad id is
 * one that tokenizer_pad finds.  tokenizer (NULL: none is written) writes itself as
 * tokenizer_save says. */
int folder_write(const char *dir, const struct model_config *config,
                 const struct folder_form *form, const struct folder_tensor *tensor, int n,
                 const struct tokenizer *tokenizer, struct err *err) MUST_CHECK;
/* A token to pad with that never ends a text: pad itself, or where it is none or one of the eos
 * ids, a special token called like a pad, else any special token that is neither bos nor eos.
 * -1 where there is none.  transformers takes the last token that is not the pad for the last
 * of a text, so a reward model whose pad is its EOS would be read one token early. */
int tokenizer_pad(const struct tokenizer *t, int pad, int bos, const int *eos, int n_eos);
/* The checkpoint w and its tokenizer as a GGUF file that llama.cpp runs, whole or not at all.
 * Refused are models and tokenizers that llama.cpp has no way to say. */
struct gguf_kind;
int gguf_write(const char *path, const struct weights *w, const struct tokenizer *t,
               const struct gguf_kind *kind, struct err *err) MUST_CHECK;

#endif
