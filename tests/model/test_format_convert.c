/* test_format_convert.c - stored values to floats, against definitions written the slow way. */
#include <math.h>

#include "kit/kit.h"
#include "model/format/store.h"

static float slow_half(uint16_t h)
{
    int sign = h >> 15, e = h >> 10 & 31, m = h & 1023;
    double x = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return (float)(sign ? -x : x);
}

static void half_equals_its_definition_everywhere(void **state)
{
    for (uint32_t h = 0; h < 65536; h++) {
        uint16_t u = (uint16_t)h;
        float got, want = slow_half(u);
        store_to_float(&got, (const unsigned char *)&u, 1, STORE_F16);
        if (isnan(want))
            assert_true(isnan(got));
        else
            assert_memory_equal(&got, &want, sizeof got);
    }
}

static void bf16_is_the_upper_half_of_a_float(void **state)
{
    for (uint32_t h = 0; h < 65536; h++) {
        uint16_t u = (uint16_t)h;
        uint32_t got, want = h << 16;
        store_to_float((float *)&got, (const unsigned char *)&u, 1, STORE_BF16);
        assert_int_equal(got, want);
    }
}

/* Block types spelled out value by value. */
static float slow_block(const unsigned char *b, enum store_type t, int i)
{
    uint16_t d, m;
    memcpy(&d, b, 2);
    memcpy(&m, b + 2, 2);
    int half = i / 16, j = i % 16;
    const unsigned char *q = b + store_block_bytes(t) - 16;
    uint32_t high = 0;
    if (t == STORE_Q5_0 || t == STORE_Q5_1)
        memcpy(&high, q - 4, 4);
    int v = (half ? q[j] >> 4 : q[j] & 15) + (int)(16 * (high >> i & 1));
    switch (t) {
    case STORE_Q8_0:
        return slow_half(d) * (float)(int8_t)b[2 + i];
    case STORE_Q4_0:
        return slow_half(d) * (float)(v - 8);
    case STORE_Q5_0:
        return slow_half(d) * (float)(v - 16);
    default:
        return slow_half(d) * (float)v + slow_half(m);
    }
}

static void blocks_equal_their_definition_on_every_instruction_set(void **state)
{
    enum { BLOCKS = 50 };
    unsigned char bytes[BLOCKS * 34 + 1];
    float plain[BLOCKS * 32], fast[BLOCKS * 32];
    struct rng r;
    rng_init(&r, 1, RNG_TEST, 0, 0);
    for (enum store_type t = STORE_Q8_0; t < STORE_TYPES; t++) {
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (unsigned char)rng_u32(&r);
        const unsigned char *src = bytes + 1; // unaligned, as in a file
        for (int b = 0; b < BLOCKS; b++)      // finite scales
            for (int k = 1; k < 4; k += 2)
                bytes[1 + (size_t)b * store_block_bytes(t) + (size_t)k] &= 0xbb;
        store_to_float(fast, src, BLOCKS * 32, t);
        for (int i = 0; i < BLOCKS * 32; i++)
            plain[i] = slow_block(src + (size_t)(i / 32) * store_block_bytes(t), t, i % 32);
        for (int i = 0; i < BLOCKS * 32; i++)
            if (plain[i] != fast[i]) // -0 and 0 are one value
                fail_msg("%s value %d: %g, expected %g", store_name(t), i, (double)fast[i],
                         (double)plain[i]);
        store_to_float_plain(plain, src, BLOCKS * 32, t);
        assert_memory_equal(plain, fast, sizeof plain);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(half_equals_its_definition_everywhere),
    cmocka_unit_test(bf16_is_the_upper_half_of_a_float),
    cmocka_unit_test(blocks_equal_their_definition_on_every_instruction_set),
};
KIT_MAIN(tests)
