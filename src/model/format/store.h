/* model/format/store.h - what the readers of checkpoint files share, and nobody else sees.
 *
 * Each reader (safetensors.c, gguf.c) turns its file into a list of `struct entry`, already
 * checked against the file; weights.c looks them up and converts them, whatever they came from.
 */
#ifndef MODEL_FORMAT_STORE_H
#define MODEL_FORMAT_STORE_H

#include "model/format/format.h"

/* Types of stored values.  The last five are blocks of 32 values with one fp16 scale (and
 * minimum). */
enum store_type {
    STORE_F32,
    STORE_F16,
    STORE_BF16,
    STORE_Q8_0,
    STORE_Q4_0,
    STORE_Q4_1,
    STORE_Q5_0,
    STORE_Q5_1,
    STORE_TYPES
};
const char *store_name(enum store_type t); // "Q4_1"
size_t store_block(enum store_type t);     // values in a block: 1 or 32
size_t store_block_bytes(enum store_type t);
/* n values (a multiple of the block) from src, which may be unaligned, to floats.  Exact: every
 * instruction set gives the same bits. */
void store_to_float(float *dst, const unsigned char *src, size_t n, enum store_type t);
/* The same loops compiled for any processor, and for those with AVX2 (dequant_avx2.c). */
void store_to_float_plain(float *dst, const unsigned char *src, size_t n, enum store_type t);
void store_to_float_avx2(float *dst, const unsigned char *src, size_t n, enum store_type t);

struct entry {
    char *name;      // Hugging Face name, or the file's own where there is none
    char *file_name; // the file's own
    enum store_type type;
    int dims; // 1 or 2; more make the open fail
    size_t rows, cols;
    size_t offset, bytes; // in the file
    int heads; // > 0: llama.cpp interleaved the two halves of each head; undone on reading
};

struct weights {
    char *path, *data_path; // data_path: the file that is mapped
    bool gguf;
    struct file_map map;
    struct model_config config;
    struct arena arena;  // names
    struct entry *entry; // in the file's order
    int n;
    int *by_name;        // (n) sorted by name
    char extra_hash[33]; // of the files beside the data that matter to results
};

/* Adds what is always the same: the range of bytes of entry e, checked against the file's data
 * section. */
int entry_check_range(const struct entry *e, size_t data_start, size_t file_size,
                      const char *path, struct err *err);
/* No two entries may share bytes; with `dense` there may be no gaps either. */
int entries_check_overlap(const struct entry *e, int n, size_t data_start, size_t file_size,
                          bool dense, const char *path, struct err *err);

/* Fill w->entry, w->n from the mapped file. */
int safetensors_read_table(struct weights *w, struct err *err);

/* config.json and generation_config.json of a folder.  seq_cls: architectures names
 * LlamaForSequenceClassification. */
int config_read(struct model_config *c, bool *seq_cls, const char *dir, struct err *err);
/* The two as JSON for writing. */
json_t *config_to_json(const struct model_config *c, enum dtype dtype);
json_t *config_generation_json(const struct model_config *c);
/* The ranges every config must obey, wherever it came from. */
int config_check(const struct model_config *c, const char *where, struct err *err);
void config_defaults(struct model_config *c);       // transformers' LlamaConfig
int config_add_eos(struct model_config *c, int id); // false when there are too many

#endif
