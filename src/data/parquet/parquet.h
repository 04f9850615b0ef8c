/* data/parquet/parquet.h - Parquet files, read natively into the rows that JSON Lines would
 * give.
 *
 * A file is mapped; its footer tells a schema (a tree) and where the pages of each leaf column
 * lie, row group by row group.  Every leaf has a cursor that opens one page at a time; a row is
 * put together by walking the tree and taking from the cursors what belongs to it.  So memory
 * holds one page and one dictionary per column, however large the file is.
 *
 *   schema.c     the tree: lists in their three spellings, structs, maps
 *   pages.c      pages: checksums, codecs, levels, values in their encodings
 *   values.c     a stored value as JSON
 *   assemble.c   rows
 *   file.c       the footer, row groups, opening and closing
 *
 * What a value becomes: text, enum, decimal (its digits), UUID, date, time and timestamp (ISO
 * 8601, as Python's isoformat()) a string; JSON the value it spells; NaN and infinity null, as
 * pandas writes them; a map an object.  What JSON cannot hold (bytes that are no text, a NUL
 * character, numbers beyond 63 bits) spoils its row only.
 *
 * Left out, and refused by name: encrypted files, columns in other files, the codecs LZO,
 * BROTLI and LZ4 in Hadoop's framing, levels in the old BIT_PACKED encoding, maps whose keys
 * are no text, INTERVAL, VARIANT and geometry.  Source: apache/parquet-format. */
#ifndef DATA_PARQUET_PARQUET_H
#define DATA_PARQUET_PARQUET_H

#include "data/parquet/encodings.h"

struct parquet;
int parquet_open(struct parquet **out, const char *path, struct err *err) MUST_CHECK;
/* 1 and a row the caller owns, 0 after the last one, negative on failure.  *why (until the next
 * call) is NULL for a good row, else what in it JSON cannot hold (null stands there). */
int parquet_next(struct parquet *p, json_t **row, const char **why, struct err *err) MUST_CHECK;
/* {"rows", "row_groups", "created_by", "codecs": [...], "schema": {column: type}} */
json_t *parquet_describe(const struct parquet *p);
void parquet_close(struct parquet *p);

/* ---- inside ------------------------------------------------------------------ */

enum physical {
    PHYS_BOOLEAN,
    PHYS_INT32,
    PHYS_INT64,
    PHYS_INT96,
    PHYS_FLOAT,
    PHYS_DOUBLE,
    PHYS_BYTES,
    PHYS_FIXED
};

enum meaning {
    AS_PLAIN, // by its physical type
    AS_UNSIGNED,
    AS_TEXT,
    AS_JSON,
    AS_DECIMAL,
    AS_DATE,
    AS_TIME,
    AS_TIMESTAMP,
    AS_UUID,
    AS_HALF,
};

enum node_kind { NODE_LEAF, NODE_STRUCT, NODE_LIST, NODE_MAP };

/* A node of the tree.  A list's child is its element, a map's children are key and value. */
struct node {
    enum node_kind kind;
    char *name; // owned
    size_t name_len;
    int def;            // definition level at which it is not null
    int full, rep;      // LIST, MAP: levels at which it has an element, and another one
    int leaf, n_leaves; // the columns below it
    struct node *child; // owned, as are their names
    int n_children;
    enum physical type; // LEAF, from here on
    enum meaning meaning;
    int width;            // bytes of a FIXED value
    int scale, precision; // DECIMAL
    int unit;             // TIME, TIMESTAMP: digits after the second, 3, 6 or 9
    bool utc;
};

/* Elements of the flat schema list as Thrift has them. */
struct element {
    int type, width, repetition, children, converted, scale, precision;
    bool has_type;
    int logical, bits, unit;
    bool is_signed, utc;
    struct bytes name;
};
int element_read(struct element *e, struct thrift *t); // -1 when the bytes are bad
int schema_build(struct node *root, const struct element *e, size_t n, const char *path,
                 struct err *err) MUST_CHECK;
void schema_release(struct node *root);
/* "list<struct<role: string, content: string>>" */
void schema_type(struct buf *b, const struct node *n);

/* A stored value: bytes are borrowed from the page until the next one. */
union raw {
    int64_t i;
    double d;
    struct bytes s;
};
/* A new reference, NULL without memory.  A value JSON cannot hold is null and `why` (size
 * bytes) says so. */
json_t *value_json(const struct node *leaf, union raw v, char *why, size_t size);

enum {
    CODEC_NONE,
    CODEC_SNAPPY,
    CODEC_GZIP,
    CODEC_LZO,
    CODEC_BROTLI,
    CODEC_LZ4,
    CODEC_ZSTD,
    CODEC_LZ4_RAW,
    CODECS
};
extern const char *const codec_name[CODECS];
/* Whether n bytes may come out of so many at all. */
bool codec_may_become(int codec, size_t in, size_t n);
/* Exactly n bytes come out, or why they do not. */
const char *codec_open(int codec, uint8_t *out, size_t n, struct bytes in);

/* Where a column lies in a row group. */
struct chunk {
    int type, codec;
    int64_t at, size, values;
};

struct column {
    struct parquet *file;
    const struct node *leaf;
    char *path; // "messages.list.element.role", owned
    int max_def, max_rep;
    const uint8_t *at, *end; // pages not begun
    int codec;
    int64_t left;       // entries on them
    uint64_t page_left; // entries of this page not looked at
    bool ready, done;   // the entry below is there; the chunk has ended
    uint8_t rep, def;
    struct rle reps, defs;
    int encoding;
    struct rle index;           // dictionary indices, booleans in runs
    struct delta delta, suffix; // numbers, lengths; lengths of suffixes
    const uint8_t *v, *v_end;   // PLAIN values, bytes of the others
    uint64_t bit;               // PLAIN booleans; BYTE_STREAM_SPLIT: which value
    struct buf last; // DELTA_BYTE_ARRAY: the value before, BYTE_STREAM_SPLIT: this one
    uint8_t *page;   // what a codec wrote, owned
    size_t page_cap;
    uint8_t *dict_page;
    union raw *dict; // (n_dict)
    json_t **shared; // (n_dict) made when first used
    uint32_t n_dict;
};
void column_begin(struct column *c, const uint8_t *at, const uint8_t *end, int codec,
                  int64_t values);
/* The next entry's levels into c->rep and c->def, or c->done. */
int column_peek(struct column *c, struct err *err) MUST_CHECK;
/* The value of the entry looked at, which must be there (def == max_def).  NULL on failure. */
json_t *column_value(struct column *c, struct err *err);
void column_release(struct column *c);
/* err_set with file, row group and column in front. */
int column_err(const struct column *c, struct err *err, int code, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

struct group {
    int64_t rows;
};

struct parquet {
    char *path, *created_by;
    struct file_map map;
    struct node root;
    struct column *column; // (n_columns)
    int n_columns;
    struct group *group; // (n_groups)
    struct chunk *chunk; // (n_groups, n_columns)
    size_t n_groups,
        at_group;       // the next group to begin; messages count from 0 like other tools
    int64_t row_left;   // of the group begun
    int64_t made, most; // bytes of rows made, and how many a file of this size may make
    char why[256];      // of this row
};
/* Counts what was made against what a file of this size may become. */
int parquet_spend(struct parquet *p, const struct column *c, int64_t bytes,
                  struct err *err) MUST_CHECK;
json_t *row_assemble(struct parquet *p, struct err *err);

#endif
