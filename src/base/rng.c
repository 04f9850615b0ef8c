/* rng.c - Philox4x32-10: a counter through ten rounds of multiply and swap.
 * Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
 *
 *   key  = mix(seed, purpose)
 *   ctr  = block | step | item low | item high
 *
 * so two streams never share a block unless they are the same stream.  One stream holds 2^32
 * blocks. */
#include "base/base.h"

#include <math.h>

/* splitmix64's finaliser: near seeds get far keys. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

void rng_init(struct rng *r, uint64_t seed, enum rng_purpose purpose, uint64_t item,
              uint32_t step)
{
    uint64_t key = mix(seed + 0x9e3779b97f4a7c15u * (uint64_t)purpose);
    *r = (struct rng){
        .key = {(uint32_t)key, (uint32_t)(key >> 32)},
        .ctr = {0, step, (uint32_t)item, (uint32_t)(item >> 32)},
        .used = 4,
    };
}

static void philox(uint32_t out[4], const uint32_t ctr[4], const uint32_t key[2])
{
    uint32_t c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xd2511f53u * c0, p1 = (uint64_t)0xcd9e8d57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

uint32_t rng_u32(struct rng *r)
{
    if (r->used >= 4) {
        philox(r->out, r->ctr, r->key);
        r->ctr[0]++;
        r->used = 0;
    }
    return r->out[r->used++];
}

double rng_uniform(struct rng *r)
{
    uint64_t hi = rng_u32(r) >> 5, lo = rng_u32(r) >> 6;    // 27 + 26 bits
    return (double)((hi << 26) | lo) * 0x1p-53;
}

/* Box-Muller; the second of the two normals is thrown away, so that the stream's state stays a
 * counter. */
double rng_normal(struct rng *r)
{
    double u = 1.0 - rng_uniform(r), v = rng_uniform(r);    // u in (0,1]
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586477 * v);
}

/* Lemire 2019: the high word of a product, thrown again in the few cases that would be biased. */
uint32_t rng_below(struct rng *r, uint32_t n)
{
    BUG_IF(n == 0);
    uint64_t p = (uint64_t)rng_u32(r) * n;
    if ((uint32_t)p < n) {
        uint32_t least = -n % n;
        while ((uint32_t)p < least)
            p = (uint64_t)rng_u32(r) * n;
    }
    return (uint32_t)(p >> 32);
}

void rng_shuffle(struct rng *r, int *index, int n)
{
    for (int i = n - 1; i > 0; i--) {
        int j = (int)rng_below(r, (uint32_t)i + 1), t = index[i];
        index[i] = index[j];
        index[j] = t;
    }
}
