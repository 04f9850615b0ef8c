/* data/parquet/thrift.h - Thrift's compact protocol, read only, for the metadata of Parquet.
 *
 * A struct is a row of fields, each with an id and a type, ended by a stop byte:
 *
 *     struct field f = {0};
 *     while (thrift_next(t, &f))
 *         if (f.id == 3)
 *             count = thrift_int(t, &f);
 *         else
 *             thrift_skip(t, f.type);
 *
 * Reading past the end, or a type other than asked for, sets `bad`; everything after that reads
 * as nothing and loops end, so one check at the end is enough.  Lists never claim more elements
 * than bytes are left, and skipping recurses at most 32 deep. */
#ifndef DATA_PARQUET_THRIFT_H
#define DATA_PARQUET_THRIFT_H

#include "base/base.h"

struct thrift {
    const uint8_t *p, *end;
    bool bad;
};
struct field {
    int id, type;
};
struct bytes {
    const uint8_t *p;
    size_t n;
}; // borrowed

bool thrift_next(struct thrift *t, struct field *f);         // false at the struct's end
int64_t thrift_int(struct thrift *t, const struct field *f); // any width
int32_t thrift_i32(struct thrift *t, const struct field *f); // bad when it does not fit
bool thrift_bool(struct thrift *t, const struct field *f);
struct bytes thrift_bytes(struct thrift *t, const struct field *f);
bool thrift_struct(struct thrift *t, const struct field *f); // whether the field is one
/* Elements of a list whose elements are structs. */
size_t thrift_structs(struct thrift *t, const struct field *f);
void thrift_skip(struct thrift *t, int type);

/* An unsigned LEB128 integer, as Thrift and Parquet's encodings use it; false past the end or
 * 64 bits. */
bool varint_read(const uint8_t **p, const uint8_t *end, uint64_t *out);
static inline int64_t zigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

#endif
