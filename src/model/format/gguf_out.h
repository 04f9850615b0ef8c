/* model/format/gguf_out.h - what the writers of a GGUF file share: the metadata as it grows.
 *
 * gguf_keys_out.c writes a config's keys, gguf_vocab_out.c a tokenizer's, gguf_mix.c chooses
 * the types of tensors, gguf_write.c puts the file together. */
#ifndef MODEL_FORMAT_GGUF_OUT_H
#define MODEL_FORMAT_GGUF_OUT_H

#include "model/family/family.h"
#include "model/format/gguf.h"

struct gguf_out {
    const char *path; // for messages: the model that is written down
    struct buf kv;    // pairs
    uint64_t n;
};
void gguf_put_u32(struct gguf_out *o, const char *key, uint32_t v);
void gguf_put_f32(struct gguf_out *o, const char *key, float v);
void gguf_put_bool(struct gguf_out *o, const char *key, bool v);
void gguf_put_str(struct gguf_out *o, const char *key, const char *s);
void gguf_put_strn(struct gguf_out *o, const char *key, const char *s, size_t n);
/* Then `count` values: gguf_add_u32, gguf_add_str, .. */
void gguf_put_array(struct gguf_out *o, const char *key, enum gguf_type of, uint64_t count);
void gguf_add_u32(struct buf *b, uint32_t v);
void gguf_add_u64(struct buf *b, uint64_t v);
void gguf_add_f32(struct buf *b, float v);
void gguf_add_str(struct buf *b, const char *s, size_t n);

/* Keys of a config under its architecture's name; ERR_UNSUPPORTED where llama.cpp could not
 * compute what it asks for, naming the key of config.json. */
int gguf_put_config(struct gguf_out *o, const struct model_config *c,
                    struct err *err) MUST_CHECK;
/* The keys of a tokenizer, for a model with `vocab` rows in its embedding. */
int gguf_put_vocab(struct gguf_out *o, const struct tokenizer *t, const struct model_config *c,
                   struct err *err) MUST_CHECK;

/* A kind of file, as llama-quantize names them. */
struct gguf_kind {
    const char *name;     // "Q4_K_M"
    uint32_t number;      // general.file_type
    enum store_type type; // of most matrices
};
const struct gguf_kind *gguf_kind_find(const char *name); // NULL: not written
/* The type of a tensor in a file of that kind: llama.cpp's own mix, where the columns allow. */
enum store_type gguf_tensor_type(const struct gguf_kind *k, const struct tensor_spec *t,
                                 const struct model_config *c);

#endif
