/* data/parquet/encodings.h - decoders that hand out one number at a time.
 *
 * Each is a few words over borrowed bytes and resumes where it stopped, so that a page that
 * claims a billion values costs nothing until they are asked for.  They return false where the
 * bytes end or contradict themselves. */
#ifndef DATA_PARQUET_ENCODINGS_H
#define DATA_PARQUET_ENCODINGS_H

#include "data/parquet/thrift.h"

/* RLE and bit-packed runs: levels, dictionary indices, booleans. */
struct rle {
    const uint8_t *p, *end; // runs not begun
    int width;              // bits of a value, 0..32
    uint64_t left;          // values left in this run
    bool packed;
    uint32_t value;      // of a run of equal ones
    const uint8_t *bits; // of a packed run
    uint64_t bit;
};
bool rle_next(struct rle *r, uint32_t *out);

/* DELTA_BINARY_PACKED.  Sums wrap at 64 bits; the caller cuts to the column's width. */
struct delta {
    const uint8_t *p, *end;
    uint64_t left; // values not handed out
    uint64_t value, least;
    uint32_t per_mini, minis;
    const uint8_t *widths; // (minis) of this block
    uint32_t mini, mini_left;
    int width;
    const uint8_t *bits;
    uint64_t bit;
    bool first;
};
bool delta_begin(struct delta *d, const uint8_t *p, const uint8_t *end);
bool delta_next(struct delta *d, int64_t *out);
/* Where the encoding ends: what follows it begins there.  Uses d up. */
const uint8_t *delta_end(struct delta *d);

#endif
