/* quant.c - floats to stored values: plain types, and the blocks of llama.cpp that we write.
 *
 * Left out: writing Q5_1, Q2_K, Q3_K and i-quants, which are read only. */
#pragma GCC optimize("O3,fp-contract=off")
#include "model/format/store.h"

#define QUANTISE float_to_store_plain
#include "model/format/quant_loops.h"

bool store_is_written(enum store_type t)
{
    return t == STORE_F32 || t == STORE_F16 || t == STORE_BF16 || t == STORE_Q8_0 ||
           t == STORE_Q4_0 || t == STORE_Q4_1 || t == STORE_Q5_0 || t == STORE_Q4_K ||
           t == STORE_Q5_K || t == STORE_Q6_K;
}

void float_to_store(unsigned char *dst, const float *src, size_t n, enum store_type t)
{
    BUG_IF(!store_is_written(t) || n % store_block(t));
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        float_to_store_avx2(dst, src, n, t);
    else
        float_to_store_plain(dst, src, n, t);
}
