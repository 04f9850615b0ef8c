/* codecs.c - opening a compressed page with the distribution's libraries.
 *
 * The page's header says how large it becomes; codec_may_become() tells what no codec could
 * make of so few bytes, so that such a lie costs no memory. */
#include "data/parquet/parquet.h"

#include <limits.h>
#include <lz4.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

const char *const codec_name[CODECS] = {"UNCOMPRESSED", "SNAPPY", "GZIP", "LZO",
                                        "BROTLI",       "LZ4",    "ZSTD", "LZ4_RAW"};

bool codec_may_become(int codec, size_t in, size_t n)
{
    // the most that one byte can become: copies of 64 from 3, runs of 258 from 2 bits, lengths
    // of 255, blocks of 128 KiB from 4
    static const size_t growth[CODECS] = {[CODEC_NONE] = 1,
                                          [CODEC_SNAPPY] = 22,
                                          [CODEC_GZIP] = 1032,
                                          [CODEC_LZ4_RAW] = 255,
                                          [CODEC_ZSTD] = 32768};
    return n <= (in + 64) * growth[codec];
}

static const char *open_gzip(uint8_t *out, size_t n, struct bytes in)
{
    z_stream z = {.next_in = (Bytef *)in.p,
                  .avail_in = (uInt)in.n,
                  .next_out = out,
                  .avail_out = (uInt)n};
    if (inflateInit2(&z, 15 + 32) != Z_OK)
        return "no memory for zlib";
    int rc = Z_OK;
    while (rc == Z_OK) {
        rc = inflate(&z, Z_FINISH);
        if (rc == Z_STREAM_END && z.avail_in && z.avail_out) // several members in a row
            rc = inflateReset(&z);
    }
    inflateEnd(&z);
    return rc == Z_STREAM_END && z.avail_out == 0 ? NULL : "the GZIP data is damaged";
}

static const char *open_snappy(uint8_t *out, size_t n, struct bytes in)
{
    size_t says;
    if (snappy_uncompressed_length((const char *)in.p, in.n, &says) != SNAPPY_OK || says != n)
        return "the SNAPPY data is of another size than the page's header says";
    return snappy_uncompress((const char *)in.p, in.n, (char *)out, &says) == SNAPPY_OK &&
                   says == n
               ? NULL
               : "the SNAPPY data is damaged";
}

const char *codec_open(int codec, uint8_t *out, size_t n, struct bytes in)
{
    if (in.n > INT_MAX || n > INT_MAX)
        return "the page is too large";
    switch (codec) {
    case CODEC_SNAPPY:
        return open_snappy(out, n, in);
    case CODEC_GZIP:
        return open_gzip(out, n, in);
    case CODEC_ZSTD:
        return ZSTD_decompress(out, n, in.p, in.n) == n ? NULL : "the ZSTD data is damaged";
    case CODEC_LZ4_RAW:
        return LZ4_decompress_safe((const char *)in.p, (char *)out, (int)in.n, (int)n) == (int)n
                   ? NULL
                   : "the LZ4_RAW data is damaged";
    }
    return "the codec is not read";
}
