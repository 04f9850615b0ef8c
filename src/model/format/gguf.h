/* model/format/gguf.h - the metadata of a GGUF file, for the weights and for the tokenizer.
 *
 * gguf_open walks the whole header once, checking every count and length against the file;
 * afterwards values are read in place.  Everything borrowed lives as long as the mapped file.
 */
#ifndef MODEL_FORMAT_GGUF_H
#define MODEL_FORMAT_GGUF_H

#include "model/format/store.h"

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
};
struct gguf_str {
    const char *s;
    size_t n;
}; // not NUL-terminated
struct gguf_value {
    struct gguf_str key;
    enum gguf_type type, of; // of: element type of an array
    const unsigned char *p;  // first byte of the value; of an array: of its first element
    uint64_t count;          // elements of an array
};
struct gguf_tensor {
    struct gguf_str name;
    int dims;
    uint64_t size[4]; // size[0] is the fastest: columns
    uint32_t type;    // ggml's number
    uint64_t offset;  // from data_start
};
struct gguf {
    const char *path;
    const unsigned char *p;
    size_t n;
    struct gguf_value *value;
    size_t n_values;
    struct gguf_tensor *tensor;
    size_t n_tensors;
    size_t data_start;
};

bool gguf_is(const char *path); // the file begins with "GGUF"
/* p, n: the whole mapped file; path is for messages and must outlive g.  Zero-initialise g. */
int gguf_open(struct gguf *g, const unsigned char *p, size_t n, const char *path,
              struct err *err) MUST_CHECK;
void gguf_release(struct gguf *g);

/* NULL when there is no such key. */
const struct gguf_value *gguf_find(const struct gguf *g, const char *key);
/* Typed values; *out is left alone when the key is absent, ERR_FORMAT when the type is another.
 * Any integer type will do for an integer.  gguf_get_str gives n = 0 and s = NULL where absent.
 */
int gguf_get_int(const struct gguf *g, const char *key, int64_t *out, struct err *err);
int gguf_get_float(const struct gguf *g, const char *key, double *out, struct err *err);
int gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct err *err);
int gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *out, struct err *err);
/* An array of strings or of 32-bit integers; NULL value and rc 0 where absent. */
int gguf_get_array(const struct gguf *g, const char *key, enum gguf_type of,
                   const struct gguf_value **out, struct err *err);
struct gguf_str
gguf_next_str(const unsigned char **at); // reads one string of an array and moves on
int32_t gguf_i32_at(const struct gguf_value *array, uint64_t i);
const char *gguf_type_name(enum gguf_type t);

/* Config and table of tensors of an opened file (weights.c). */
int gguf_read_table(struct weights *w, struct err *err);
int gguf_read_config(struct model_config *c, const struct gguf *g, struct err *err);
/* Gemma 2 and 3: what llama.cpp takes the root of for the scale of scores, which files do not
 * say (query_pre_attn_scalar). */
double gguf_gemma_scale(const char *arch, int layers, int width, int heads, int head_size);
/* llama.cpp's name of a tensor; the experts of a layer share one. */
struct tensor_spec;
void gguf_tensor_name(char out[64], const struct tensor_spec *t);
uint32_t gguf_type_number(enum store_type t); // ggml's

#endif
