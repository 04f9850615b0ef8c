/* order.c - who comes when, and who belongs where: functions of (seed, key), never of history. */
#include "data/data.h"

void data_epoch_order(int *order, int n, uint64_t seed, int epoch)
{
    struct rng r;
    for (int i = 0; i < n; i++)
        order[i] = i;
    rng_init(&r, seed, RNG_SHUFFLE, (uint64_t)epoch, 0);
    rng_shuffle(&r, order, n);
}

/* The key's hash names the stream, so adding or removing other keys moves nobody. */
int data_split(const char *key, uint64_t seed, const double *shares, int n)
{
    struct rng r;
    BUG_IF(n < 1);
    rng_init(&r, seed, RNG_SPLIT, hash_bytes(key, strlen(key)).lo, 0);
    double u = rng_uniform(&r), sum = 0;
    for (int i = 0; i < n - 1; i++) {
        sum += shares[i];
        if (u < sum)
            return i;
    }
    return n - 1;   // also what rounding of the sum leaves over
}
