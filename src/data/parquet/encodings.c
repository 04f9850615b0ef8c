/* encodings.c - runs and deltas, value by value.
 *
 * RLE/bit-packed hybrid: a LEB128 header; last bit 0: header >> 1 copies of the value that
 * follows in whole bytes; last bit 1: (header >> 1) * 8 values of `width` bits, lowest bits
 * first.
 *
 * DELTA_BINARY_PACKED: block size, miniblocks per block, count, first value; then blocks of a
 * least delta, the width of each miniblock, and the miniblocks: deltas minus the least one.
 * What the last block does not need of its miniblocks is not stored.
 *
 * Source: apache/parquet-format, Encodings.md. */
#include "data/parquet/encodings.h"

/* `width` (0..64) bits from bit `at`; false past the end. */
static inline bool bits_at(const uint8_t *p, const uint8_t *end, uint64_t at, int width,
                           uint64_t *out)
{
    uint64_t v = 0, byte = at >> 3, size = (uint64_t)(end - p);
    int shift = at & 7;
    if (byte > size || (at + (uint64_t)width + 7) >> 3 > size)
        return false;
    if (size - byte >= 8 && width + shift <= 64) {
        memcpy(&v, p + byte, 8); // Parquet and the machines this runs on are little-endian
        v >>= shift;
    } else {
        for (int got = -shift; got < width; got += 8, byte++)
            v |= got < 0 ? (uint64_t)p[byte] >> -got : (uint64_t)p[byte] << got;
    }
    *out = width == 64 ? v : v & (((uint64_t)1 << width) - 1);
    return true;
}

static bool rle_run(struct rle *r)
{
    uint64_t head;
    if (!varint_read(&r->p, r->end, &head) || head > UINT32_MAX)
        return false;
    uint64_t bytes = (uint64_t)(r->width + 7) / 8, rest = (uint64_t)(r->end - r->p);
    r->packed = head & 1;
    if (r->packed) {
        r->left = (head >> 1) * 8;
        r->bits = r->p;
        r->bit = 0;
        bytes = (head >> 1) * (uint64_t)r->width;
        r->p += bytes < rest ? bytes : rest; // the last run may be cut where values end
        return true;
    }
    r->left = head >> 1;
    if (bytes > rest)
        return false;
    r->value = 0;
    for (uint64_t i = 0; i < bytes; i++)
        r->value |= (uint32_t)r->p[i] << (8 * i);
    r->p += bytes;
    return r->width == 32 || r->value < (uint32_t)1 << r->width;
}

bool rle_next(struct rle *r, uint32_t *out)
{
    while (r->left == 0)
        if (!rle_run(r))
            return false;
    r->left--;
    if (!r->packed) {
        *out = r->value;
        return true;
    }
    uint64_t v;
    if (!bits_at(r->bits, r->p, r->bit, r->width, &v))
        return false;
    r->bit += (uint64_t)r->width;
    *out = (uint32_t)v;
    return true;
}

bool delta_begin(struct delta *d, const uint8_t *p, const uint8_t *end)
{
    uint64_t block, minis, first;
    *d = (struct delta){.p = p, .end = end, .first = true};
    if (!varint_read(&d->p, end, &block) || !varint_read(&d->p, end, &minis) ||
        !varint_read(&d->p, end, &d->left) || !varint_read(&d->p, end, &first))
        return false;
    // Writers use blocks of 128 or 256; a bound keeps a few bytes from being a billion values.
    if (block == 0 || block > 1 << 16 || minis == 0 || minis > block || block % minis ||
        block / minis % 8)
        return false;
    d->minis = d->mini = (uint32_t)minis;
    d->per_mini = (uint32_t)(block / minis);
    d->value = (uint64_t)zigzag(first);
    return true;
}

static bool delta_mini(struct delta *d)
{
    if (d->mini == d->minis) {
        uint64_t least;
        if (!varint_read(&d->p, d->end, &least) || d->minis > (size_t)(d->end - d->p))
            return false;
        d->least = (uint64_t)zigzag(least);
        d->widths = d->p;
        d->p += d->minis;
        d->mini = 0;
    }
    d->width = d->widths[d->mini++];
    if (d->width > 64)
        return false;
    size_t bytes = (size_t)d->width * d->per_mini / 8, rest = (size_t)(d->end - d->p);
    d->bits = d->p;
    d->bit = 0;
    d->p += bytes < rest ? bytes : rest;
    d->mini_left = d->per_mini;
    return true;
}

bool delta_next(struct delta *d, int64_t *out)
{
    uint64_t step;
    if (d->left == 0)
        return false;
    if (!d->first) {
        if (d->mini_left == 0 && !delta_mini(d))
            return false;
        if (!bits_at(d->bits, d->p, d->bit, d->width, &step))
            return false;
        d->bit += (uint64_t)d->width;
        d->mini_left--;
        d->value += d->least + step;
    }
    d->first = false;
    d->left--;
    *out = (int64_t)d->value;
    return true;
}

const uint8_t *delta_end(struct delta *d)
{
    uint64_t left = d->left ? d->left - 1 : 0; // the first value is in the header
    while (left) {
        if (!delta_mini(d))
            return NULL;
        left -= left < d->per_mini ? left : d->per_mini;
    }
    return d->p;
}
