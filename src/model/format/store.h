/* model/format/store.h - what the readers of checkpoint files share, and nobody else sees.
 *
 * Each reader (safetensors.c, gguf.c) turns its file into a list of `struct entry`, already
 * checked against the file; weights.c looks them up and converts them, whatever they came from.
 */
#ifndef MODEL_FORMAT_STORE_H
#define MODEL_FORMAT_STORE_H

#include "model/format/format.h"

/* Types of stored values: plain numbers, then llama.cpp's blocks (32 values with one scale, or
 * 256 with scales of 16 or 32 values each; dequant_loops.h, dequant_k.h draw them). */
enum store_type {
    STORE_F32,
    STORE_F16,
    STORE_BF16,
    STORE_F64,
    STORE_F8_E4M3,
    STORE_F8_E5M2,
    STORE_Q8_0,
    STORE_Q4_0,
    STORE_Q4_1,
    STORE_Q5_0,
    STORE_Q5_1,
    STORE_IQ4_NL,
    STORE_Q2_K,
    STORE_Q3_K,
    STORE_Q4_K,
    STORE_Q5_K,
    STORE_Q6_K,
    STORE_IQ4_XS,
    STORE_TYPES, // of those that can be read
    STORE_OTHER = STORE_TYPES // integers and booleans: listed, never converted
};
const char *store_name(enum store_type t); // "Q4_1"
size_t store_block(enum store_type t);     // values in a block: 1, 32 or 256
size_t store_block_bytes(enum store_type t);
/* n values (a multiple of the block) from src, which may be unaligned, to floats.  Exact: every
 * instruction set gives the same bits. */
void store_to_float(float *dst, const unsigned char *src, size_t n, enum store_type t);
/* The same loops compiled for any processor, and for those with AVX2 (dequant_avx2.c). */
void store_to_float_plain(float *dst, const unsigned char *src, size_t n, enum store_type t);
void store_to_float_avx2(float *dst, const unsigned char *src, size_t n, enum store_type t);

/* How the values of a GGUF tensor lie relative to Hugging Face's, which is what readers get. */
enum entry_order {
    ENTRY_SAME,
    ENTRY_INTERLEAVED, // rows of each of `heads` heads: the two halves in turn
    ENTRY_BY_HEAD,     // Hugging Face keeps q, k and v of a head together, the file has all q first
    ENTRY_TURNED,      // the file has (cols,rows)
};

enum { STORE_DIMS = 4 };
struct entry {
    char *name;      // Hugging Face name, or the file's own where there is none
    char *file_name; // the file's own
    enum store_type type;
    const char *type_name;   // as the format spells it
    int dims;                // 0 (one number) to STORE_DIMS; only 1 and 2 can be read
    size_t size[STORE_DIMS]; // the slowest first
    size_t rows, cols;       // cols: the fastest; rows: the product of all others
    int file;                // index in weights.file
    size_t offset, bytes;    // in that file
    enum entry_order order; // undone on reading, of a vector along its columns
    int heads;
    bool offset_one; // a gain that the file holds whole and Hugging Face one too small
};

/* A file that holds values; several where a checkpoint is cut into shards. */
struct data_file {
    char *path;
    struct file_map map;
};

struct weights {
    char *path, *data_path; // data_path: what messages about all tensors name: the one file, or
                            // the index of the shards
    bool gguf;
    struct data_file *file; // (n_files)
    int n_files;
    size_t file_cap;
    struct model_config config;
    struct arena arena;  // names
    struct entry *entry; // in the files' order
    int n;
    size_t entry_cap;
    int *by_name;        // (n) sorted by name
    char extra_hash[33]; // of the files beside the data that matter to results
    struct overlay *overlay; // what is read instead of some values (adapters merged); NULL
};

/* Laid over a checkpoint: read gives rows first .. first + n - 1 of a tensor (rows 0: a vector, whole).  It may ask for what lies
 * below with weights_plain_rows. */
struct overlay {
    int (*read)(struct overlay *o, const struct weights *w, const char *name, float *out, int rows, int cols, int first, int n,
                struct err *err);
};
int weights_plain_rows(const struct weights *w, const char *name, float *out, int rows, int cols, int first, int n, struct err *err);

/* Maps a file of values; its index is w->n_files - 1 afterwards.  A file that cannot be opened is
 * not added. */
int weights_add_file(struct weights *w, const char *path, struct err *err) MUST_CHECK;
/* One more entry, zeroed, for the last file; NULL without memory. */
struct entry *weights_add_entry(struct weights *w, struct err *err);
/* Fills e->rows and e->cols from dims and size, and e->bytes from them and the type;
 * value_bytes is the size of one value where the type is STORE_OTHER.  False where that is more
 * than a size_t. */
bool entry_measure(struct entry *e, size_t value_bytes);
/* "[12, 8]" */
void entry_shape_text(char out[100], const struct entry *e);
/* The range of bytes of entry e, checked against the file's data section. */
int entry_check_range(const struct entry *e, size_t data_start, size_t file_size,
                      const char *path, struct err *err);
/* No two entries may share bytes; with `dense` there may be no gaps either. */
int entries_check_overlap(const struct entry *e, int n, size_t data_start, size_t file_size,
                          bool dense, const char *path, struct err *err);

/* Append the entries of the last file to w->entry. */
int safetensors_read_table(struct weights *w, struct err *err);
/* model.safetensors.index.json and the shards it names (shards.c). */
int shards_open(struct weights *w, const char *index_path, struct err *err);

/* model.safetensors in a folder, or shards of at most shard_bytes and their index
 * (safetensors_out.c). */
int safetensors_write(const char *dir, enum store_type type, size_t shard_bytes,
                      const struct folder_tensor *t, int n, struct err *err);
/* One file, called name in dir. */
int safetensors_write_file(const char *dir, const char *name, enum store_type type,
                           const struct folder_tensor *t, int n, struct err *err);
/* n finite floats (a multiple of the block) to a type that is written: plain types to the nearest,
 * ties to even; blocks as quant_loops.h says.  Every instruction set gives the same bytes. */
bool store_is_written(enum store_type t);
void float_to_store(unsigned char *dst, const float *src, size_t n, enum store_type t);
void float_to_store_plain(unsigned char *dst, const float *src, size_t n, enum store_type t);
void float_to_store_avx2(unsigned char *dst, const float *src, size_t n, enum store_type t);

/* Any safetensors file as it is: no config, names not looked at (weights_index sorts them once they are final). */
int weights_open_table(struct weights **out, const char *path, struct err *err) MUST_CHECK;
int weights_index(struct weights *w, struct err *err) MUST_CHECK;
/* NULL: no such tensor. */
const struct entry *weights_find(const struct weights *w, const char *name);
/* The file that holds tensor e, for messages. */
const char *weights_file_of(const struct weights *w, const struct entry *e);
/* e NULL: missing.  rows 0: a vector. */
int weights_check_shape(const struct weights *w, const struct entry *e, const char *name, int rows,
                        int cols, struct err *err);
/* promise.c: names as the family spells them where a checkpoint of the bare body left its prefix
 * out; then the tensors against what the config promises. */
int promise_rename(struct weights *w, struct err *err);
int promise_check(struct weights *w, bool seq_cls, struct err *err);

/* config.json and generation_config.json of a folder.  seq_cls: architectures names
 * the family's ForSequenceClassification. */
int config_read(struct model_config *c, bool *seq_cls, const char *dir, struct err *err);
/* The same from an object that says what a config.json would; where begins messages. */
int config_from_json(struct model_config *c, bool *seq_cls, const json_t *o, const char *where,
                     struct err *err);
/* The two as JSON for writing. */
json_t *config_to_json(const struct model_config *c, enum dtype dtype);
json_t *config_generation_json(const struct model_config *c);
/* The ranges every config must obey, wherever it came from. */
int config_check(const struct model_config *c, const char *where, struct err *err);
void config_defaults(struct model_config *c);       // transformers' LlamaConfig
int config_add_eos(struct model_config *c, int id); // false when there are too many

#endif
