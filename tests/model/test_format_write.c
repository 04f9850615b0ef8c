/* test_format_write.c - what is written: quantised blocks. */
#include <math.h>

#include "model/checkpoint.h"

/* ---- blocks --------------------------------------------------------------------- */

enum { VALUES = 512 };

struct sample {
    float x[VALUES];
    const unsigned char *theirs;
    size_t bytes;
};

static void load(struct sample *s, enum store_type t)
{
    char name[64];
    size_t n;
    snprintf(name, sizeof name, "vectors/gguf/quantised/%s", store_name(t));
    const char *p = kit_slurp(kit_tests(name), &n);
    assert_non_null(p);
    s->bytes = VALUES / store_block(t) * store_block_bytes(t);
    assert_int_equal(n, sizeof s->x + s->bytes);
    memcpy(s->x, p, sizeof s->x);
    s->theirs = (const unsigned char *)p + sizeof s->x;
}

static double error_of(const struct sample *s, const unsigned char *blocks, enum store_type t)
{
    float v[VALUES];
    double sum = 0;
    store_to_float(v, blocks, VALUES, t);
    for (int i = 0; i < VALUES; i++)
        sum += ((double)v[i] - s->x[i]) * ((double)v[i] - s->x[i]);
    return sqrt(sum / VALUES);
}

static void blocks_of_32_equal_those_of_the_gguf_package(void **state)
{
    static const enum store_type types[] = {STORE_Q8_0, STORE_Q4_0, STORE_Q5_0};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct sample s;
        unsigned char ours[VALUES * 2];
        load(&s, types[i]);
        float_to_store(ours, s.x, VALUES, types[i]);
        assert_memory_equal(ours, s.theirs, s.bytes);
    }
}

static void blocks_of_256_err_no_more_than_those_of_llama_cpp(void **state)
{
    static const enum store_type types[] = {STORE_Q4_K, STORE_Q5_K, STORE_Q6_K};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct sample s;
        unsigned char ours[VALUES * 2];
        load(&s, types[i]);
        float_to_store(ours, s.x, VALUES, types[i]);
        double a = error_of(&s, ours, types[i]), b = error_of(&s, s.theirs, types[i]);
        if (!(a < 1.01 * b) || a < b / 4)
            fail_msg("%s: root mean square error %g, llama.cpp's %g", store_name(types[i]), a,
                     b);
    }
}

static void every_instruction_set_writes_the_same_bytes(void **state)
{
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        skip();
    struct rng r;
    rng_init(&r, 7, RNG_TEST, 0, 0);
    for (int round = 0; round < 40; round++) {
        float x[VALUES];
        double scale = pow(10, (double)rng_below(&r, 12) - 8), shift = rng_below(&r, 3) - 1.0;
        for (int i = 0; i < VALUES; i++)
            x[i] = rng_below(&r, 9) ? (float)(scale * (rng_normal(&r) + shift)) : 0;
        for (enum store_type t = STORE_F32; t < STORE_TYPES; t++) {
            unsigned char a[VALUES * 4], b[VALUES * 4];
            if (!store_is_written(t))
                continue;
            float_to_store_plain(a, x, VALUES, t);
            float_to_store_avx2(b, x, VALUES, t);
            assert_memory_equal(a, b, VALUES / store_block(t) * store_block_bytes(t));
        }
    }
}

static void constants_and_tiny_values_are_kept(void **state)
{
    static const float values[] = {0, 1, -1, 1e-40f, -3e-39f, 1e-20f, 60000, -60000};
    for (enum store_type t = STORE_F32; t < STORE_TYPES; t++)
        for (size_t k = 0; store_is_written(t) && k < ARRAY_LEN(values); k++) {
            float x[VALUES], v[VALUES];
            unsigned char b[VALUES * 4];
            for (int i = 0; i < VALUES; i++)
                x[i] = values[k];
            float_to_store(b, x, VALUES, t);
            store_to_float(v, b, VALUES, t);
            for (int i = 0; i < VALUES; i++)
                if (!(fabsf(v[i] - x[i]) <= fabsf(x[i]) / 100 + 1e-7f))
                    fail_msg("%s makes %g of %g", store_name(t), (double)v[i], (double)x[i]);
        }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(blocks_of_32_equal_those_of_the_gguf_package),
    cmocka_unit_test(blocks_of_256_err_no_more_than_those_of_llama_cpp),
    cmocka_unit_test(every_instruction_set_writes_the_same_bytes),
    cmocka_unit_test(constants_and_tiny_values_are_kept),
};
KIT_MAIN(tests)
