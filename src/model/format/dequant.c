/* dequant.c - stored values to floats: plain types and llama.cpp's blocks of 32.
 *
 * Left out: K-quants and i-quants. */
#pragma GCC optimize("O3")
#include "model/format/store.h"

#define CONVERT store_to_float_plain
#include "model/format/dequant_loops.h"

static const struct {
    const char *name;
    size_t block, bytes;
} TYPE[STORE_TYPES] = {
    [STORE_F32] = {"F32", 1, 4},     [STORE_F16] = {"F16", 1, 2},
    [STORE_BF16] = {"BF16", 1, 2},   [STORE_Q8_0] = {"Q8_0", 32, 34},
    [STORE_Q4_0] = {"Q4_0", 32, 18}, [STORE_Q4_1] = {"Q4_1", 32, 20},
    [STORE_Q5_0] = {"Q5_0", 32, 22}, [STORE_Q5_1] = {"Q5_1", 32, 24},
};

const char *store_name(enum store_type t)
{
    return TYPE[t].name;
}

size_t store_block(enum store_type t)
{
    return TYPE[t].block;
}

size_t store_block_bytes(enum store_type t)
{
    return TYPE[t].bytes;
}

void store_to_float(float *dst, const unsigned char *src, size_t n, enum store_type t)
{
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        store_to_float_avx2(dst, src, n, t);
    else
        store_to_float_plain(dst, src, n, t);
}
