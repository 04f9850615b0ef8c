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

/* Every half comes back; halfway between two, the even one; beyond the largest, infinity. */
static void floats_become_the_nearest_half(void **state)
{
    for (uint32_t h = 0; h < 65535; h++) {
        float low = slow_half((uint16_t)h), high = slow_half((uint16_t)(h + 1));
        if (isnan(low))
            continue;
        float middle = (float)(((double)low + high) / 2);
        const float v[] = {low, middle, nextafterf(middle, low), nextafterf(middle, high)};
        const uint32_t want[] = {h, h + (h & 1), h, h + 1};
        uint16_t got[4];
        float_to_store((unsigned char *)got, v, 4, STORE_F16);
        bool last = isinf(high) || isnan(high) || (h & 0x7fff) == 0x7fff; // no middle there
        for (int i = 0; i < (last ? 1 : 4); i++)
            if (got[i] != want[i])
                fail_msg("%a became %04x, expected %04x", (double)v[i], got[i], want[i]);
    }
    const float edge[] = {65519.996f, 65520.0f, -1e30f, NAN, 1e-10f};
    uint16_t got[5];
    float_to_store((unsigned char *)got, edge, 5, STORE_F16);
    assert_int_equal(got[0], 0x7bff);
    assert_int_equal(got[1], 0x7c00);
    assert_int_equal(got[2], 0xfc00);
    assert_int_equal(got[3], 0x7e00);
    assert_int_equal(got[4], 0);
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
    for (enum store_type t = STORE_Q8_0; t <= STORE_Q5_1; t++) {
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

/* Eight random blocks of each type and what the gguf package makes of them
 * (tools/vectors_gguf.py), on every instruction set. */
static void blocks_equal_those_of_the_gguf_package(void **state)
{
    for (enum store_type t = STORE_IQ4_NL; t < STORE_TYPES; t++) {
        enum { BLOCKS = 8 };
        char name[64];
        size_t n, bytes = BLOCKS * store_block_bytes(t), values = BLOCKS * store_block(t);
        snprintf(name, sizeof name, "vectors/gguf/blocks/%s", store_name(t));
        const char *file = kit_slurp(kit_tests(name), &n);
        assert_non_null(file);
        assert_int_equal(n, bytes + 4 * values);
        float *got = malloc(4 * values), *plain = malloc(4 * values), want;
        store_to_float(got, (const unsigned char *)file, values, t);
        store_to_float_plain(plain, (const unsigned char *)file, values, t);
        assert_memory_equal(got, plain, 4 * values);
        for (size_t i = 0; i < values; i++) {
            memcpy(&want, file + bytes + 4 * i, 4);
            if (got[i] != want)
                fail_msg("%s value %zu: %.9g, expected %.9g", name, i, (double)got[i],
                         (double)want);
        }
        free(got);
        free(plain);
    }
}

/* IEEE-like with bias 7 and 15; E4M3 has no infinity, E5M2 is the half of an fp16. */
static float slow_f8(int b, int mantissa_bits, int bias, bool infinity)
{
    int m = b & ((1 << mantissa_bits) - 1), e = (b & 127) >> mantissa_bits;
    int top = (1 << (7 - mantissa_bits)) - 1;
    double x = e ? ldexp(1 + ldexp(m, -mantissa_bits), e - bias)
                 : ldexp(m, 1 - bias - mantissa_bits);
    if (infinity && e == top)
        x = m ? NAN : INFINITY;
    if (!infinity && (b & 127) == 127)
        x = NAN;
    return (float)(b & 128 ? -x : x);
}

static void eight_bit_floats_equal_their_definition_everywhere(void **state)
{
    for (int b = 0; b < 256; b++) {
        unsigned char byte = (unsigned char)b;
        for (int k = 0; k < 2; k++) {
            float got, want = k ? slow_f8(b, 2, 15, true) : slow_f8(b, 3, 7, false);
            store_to_float(&got, &byte, 1, k ? STORE_F8_E5M2 : STORE_F8_E4M3);
            if (isnan(want))
                assert_true(isnan(got));
            else
                assert_memory_equal(&got, &want, sizeof got);
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(blocks_equal_those_of_the_gguf_package),
    cmocka_unit_test(eight_bit_floats_equal_their_definition_everywhere),
    cmocka_unit_test(half_equals_its_definition_everywhere),
    cmocka_unit_test(floats_become_the_nearest_half),
    cmocka_unit_test(bf16_is_the_upper_half_of_a_float),
    cmocka_unit_test(blocks_equal_their_definition_on_every_instruction_set),
};
KIT_MAIN(tests)
