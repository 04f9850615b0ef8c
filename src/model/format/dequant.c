/* dequant.c - stored values to floats: plain types and llama.cpp's blocks.
 *
 * Left out: the i-quants below four bits, whose codebooks are large and which nobody trains or
 * labels with; ternary types. */
#pragma GCC optimize("O3")
#include "model/format/store.h"

#define CONVERT store_to_float_plain
#include "model/format/dequant_loops.h"

static const struct {
    const char *name;
    size_t block, bytes;
} TYPE[STORE_TYPES + 1] = {
    [STORE_F32] = {"F32", 1, 4},
    [STORE_F16] = {"F16", 1, 2},
    [STORE_BF16] = {"BF16", 1, 2},
    [STORE_F64] = {"F64", 1, 8},
    [STORE_F8_E4M3] = {"F8_E4M3", 1, 1},
    [STORE_F8_E5M2] = {"F8_E5M2", 1, 1},
    [STORE_Q8_0] = {"Q8_0", 32, 34},
    [STORE_Q4_0] = {"Q4_0", 32, 18},
    [STORE_Q4_1] = {"Q4_1", 32, 20},
    [STORE_Q5_0] = {"Q5_0", 32, 22},
    [STORE_Q5_1] = {"Q5_1", 32, 24},
    [STORE_IQ4_NL] = {"IQ4_NL", 32, 18},
    [STORE_Q2_K] = {"Q2_K", 256, 84},
    [STORE_Q3_K] = {"Q3_K", 256, 110},
    [STORE_Q4_K] = {"Q4_K", 256, 144},
    [STORE_Q5_K] = {"Q5_K", 256, 176},
    [STORE_Q6_K] = {"Q6_K", 256, 210},
    [STORE_IQ4_XS] = {"IQ4_XS", 256, 136},
    [STORE_OTHER] = {"other", 1, 0},
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
