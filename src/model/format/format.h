/* model/format/format.h - the inner door of the files a language model lives in.
 *
 * struct weights is one open checkpoint: a Hugging Face folder (config.json and
 * model.safetensors) or a GGUF file.  Whatever the file calls its tensors, they are asked for
 * by their Hugging Face names ("model.layers.0.self_attn.q_proj.weight"), come as floats in
 * Hugging Face's order of rows, and were checked (offsets, sizes, overlaps, dtype) when the file
 * was opened.  The file stays mapped while it is open.
 *
 * folder_write goes the other way and always writes a Hugging Face folder.
 *
 * Left out: sharded checkpoints, writing GGUF, families other than Llama. */
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
 * ERR_MISSING when absent, ERR_FORMAT when the shape differs. Thread-safe: several tensors may
 * be read at once. */
int weights_read(const struct weights *w, const char *name, float *out, int rows, int cols,
                 struct err *err) MUST_CHECK;
/* The same for rows first .. first + n - 1 of the matrix only: for embeddings larger than one
 * wants to hold in fp32. */
int weights_read_rows(const struct weights *w, const char *name, float *out, int rows, int cols,
                      int first, int n, struct err *err) MUST_CHECK;
/* XXH3-128 of everything results depend on: the file of weights, the config as understood, the
 * tokenizer's files. */
int weights_hash(char out[33], const struct weights *w, struct err *err) MUST_CHECK;

/* The table of tensors, in the file's order (for `inspect`). */
struct weight_info {
    const char *name;      // Hugging Face name where it has one, else the file's own
    const char *file_name; // the file's own name
    const char *dtype;     // as the format spells it: "BF16", "Q4_1"
    int dims;              // 1 or 2
    size_t rows, cols;     // rows is 1 where dims is 1
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
/* Writes folder `dir` so that it appears whole or not at all: config.json,
 * generation_config.json, model.safetensors, tokenizer files.  config->score_head makes it a
 * LlamaForSequenceClassification, else a LlamaForCausalLM; where config->tied the list must not
 * hold lm_head.weight.  Values are rounded to dtype (nearest even).  A reward model's pad id is
 * one that tokenizer_pad finds.  tokenizer (NULL: none is written) writes itself as
 * tokenizer_save says. */
int folder_write(const char *dir, const struct model_config *config, enum dtype dtype,
                 const struct folder_tensor *tensor, int n, const struct tokenizer *tokenizer,
                 struct err *err) MUST_CHECK;
/* A token to pad with that never ends a text: pad itself, or where it is none or one of the eos
 * ids, a special token called like a pad, else any special token that is neither bos nor eos.
 * -1 where there is none.  transformers takes the last token that is not the pad for the last
 * of a text, so a reward model whose pad is its EOS would be read one token early. */
int tokenizer_pad(const struct tokenizer *t, int pad, int bos, const int *eos, int n_eos);
/* Tokenizer files into an existing folder: byte for byte those it was opened from (kept in
 * memory, so the source may be gone); of a GGUF's tokenizer, a tokenizer.json and
 * tokenizer_config.json that give the same ids in transformers. */
int tokenizer_save(const struct tokenizer *t, const char *dir, struct err *err) MUST_CHECK;

#endif
