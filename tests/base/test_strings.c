/* Strings, numbers, "did you mean", UTF-8, random numbers, hashes. */
#include "base/base.h"
#include "kit/kit.h"

#include <math.h>

static void buf_grows_and_stays_terminated(void **state)
{
    struct buf b = {0};
    for (int i = 0; i < 500; i++) {
        buf_addf(&b, "%d,", i);
        assert_int_equal(strlen(b.s), b.len);
    }
    buf_clear(&b);
    assert_int_equal(b.len, 0);
    buf_add(&b, "a\0b", 3);
    buf_adds(&b, "c");
    assert_int_equal(b.len, 4);
    assert_memory_equal(b.s, "a\0bc", 5);
    char *s = buf_take(&b);
    assert_null(b.s);
    free(s);
    s = buf_take(&b);
    assert_string_equal(s, "");
    free(s);
    buf_release(&b);
    buf_release(NULL);
}

static void numbers_are_parsed_whole_or_not_at_all(void **state)
{
    int64_t i = 5;
    double d = 5;
    assert_true(str_to_i64("-9223372036854775808", &i) && i == INT64_MIN);
    assert_true(str_to_i64("+12", &i) && i == 12);
    static const char *const bad_i[] = {"", " 1", "1 ", "1x", "0x10", "9223372036854775808", "1.0", "--1", NULL};
    for (const char *const *s = bad_i; *s; s++)
        assert_false(str_to_i64(*s, &i));
    assert_int_equal(i, 12);
    assert_true(str_to_double("1e-5", &d) && d == 1e-5);
    assert_true(str_to_double("-.5", &d) && d == -0.5);
    static const char *const bad_d[] = {"", " 1", "1 ", "nan", "inf", "-infinity", "1e999", "0x1p3", "1,5", "e5", NULL};
    for (const char *const *s = bad_d; *s; s++)
        assert_false(str_to_double(*s, &d));
}

static void nearest_word_is_found_when_near(void **state)
{
    static const char *const list[] = {"learning_rate", "max_steps", "seed", "temperature", "kl_coef", NULL};
    assert_string_equal(str_nearest("learning_rte", list), "learning_rate");
    assert_string_equal(str_nearest("learning-rate", list), "learning_rate");
    assert_string_equal(str_nearest("sede", list), "seed");
    assert_string_equal(str_nearest("temp", list), "temperature");
    assert_string_equal(str_nearest("max_step", list), "max_steps");
    assert_null(str_nearest("output_dir", list));
    assert_null(str_nearest("", list));
    char longer[500];
    memset(longer, 'a', sizeof longer);
    longer[499] = 0;
    assert_null(str_nearest(longer, list));
}

static void prefixes_and_suffixes(void **state)
{
    assert_true(str_starts("--help", "--"));
    assert_false(str_starts("-", "--"));
    assert_true(str_ends("a.jsonl.gz", ".gz"));
    assert_false(str_ends("gz", ".gz"));
    char *s = str_printf("%s-%d", "x", 3);
    assert_string_equal(s, "x-3");
    free(s);
}

static void utf8_stops_at_the_first_wrong_byte(void **state)
{
    static const struct { const char *s; size_t n, good; } cases[] = {
        {"", 0, 0}, {"abc", 3, 3}, {"\xc3\xa9", 2, 2}, {"\xe2\x82\xac", 3, 3}, {"\xf0\x9f\x98\x80", 4, 4},
        {"a\xc3", 2, 1},                    // cut short
        {"a\xc0\xaf", 3, 1},                // overlong
        {"\xe0\x80\xaf", 3, 0}, {"\xf0\x80\x80\xaf", 4, 0},
        {"ok\xed\xa0\x80", 5, 2},           // surrogate
        {"\xf4\x90\x80\x80", 4, 0},         // past U+10FFFF
        {"\xf4\x8f\xbf\xbf", 4, 4}, {"\xff", 1, 0}, {"\x80", 1, 0}, {"\xe2\x28\xa1", 3, 0}, {"\0a", 2, 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(utf8_valid(cases[i].s, cases[i].n), cases[i].good);
}

/* Salmon et al.'s known answers for philox4x32-10. */
static void philox_gives_the_known_answers(void **state)
{
    static const struct { uint32_t ctr[4], key[2], out[4]; } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rng r = {.used = 4};
        memcpy(r.ctr, cases[i].ctr, sizeof r.ctr);
        memcpy(r.key, cases[i].key, sizeof r.key);
        for (int j = 0; j < 4; j++)
            assert_int_equal(rng_u32(&r), cases[i].out[j]);
    }
}

static void streams_differ_by_seed_purpose_item_and_step(void **state)
{
    struct rng r[6];
    rng_init(&r[0], 1, RNG_SAMPLE, 5, 7);
    rng_init(&r[1], 2, RNG_SAMPLE, 5, 7);
    rng_init(&r[2], 1, RNG_SHUFFLE, 5, 7);
    rng_init(&r[3], 1, RNG_SAMPLE, 6, 7);
    rng_init(&r[4], 1, RNG_SAMPLE, 5, 8);
    rng_init(&r[5], 1, RNG_SAMPLE, 5 + (1ull << 32), 7);
    uint32_t first[6];
    for (int i = 0; i < 6; i++)
        first[i] = rng_u32(&r[i]);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < i; j++)
            assert_int_not_equal(first[i], first[j]);
    rng_init(&r[1], 1, RNG_SAMPLE, 5, 7);
    assert_int_equal(rng_u32(&r[1]), first[0]);
}

static void uniform_and_normal_have_their_moments(void **state)
{
    struct rng r;
    enum { N = 200000 };
    double u1 = 0, u2 = 0, n1 = 0, n2 = 0, n4 = 0;
    rng_init(&r, 3, RNG_TEST, 0, 0);
    for (int i = 0; i < N; i++) {
        double u = rng_uniform(&r), x = rng_normal(&r);
        assert_true(u >= 0 && u < 1);
        u1 += u / N, u2 += u * u / N;
        n1 += x / N, n2 += x * x / N, n4 += x * x * x * x / N;
    }
    // six standard errors each
    assert_true(fabs(u1 - 0.5) < 6 * sqrt(1.0 / 12 / N) && fabs(u2 - 1.0 / 3) < 6 * sqrt(4.0 / 45 / N));
    assert_true(fabs(n1) < 6 / sqrt(N) && fabs(n2 - 1) < 6 * sqrt(2.0 / N) && fabs(n4 - 3) < 6 * sqrt(96.0 / N));
}

static void below_is_unbiased_and_shuffle_is_a_permutation(void **state)
{
    struct rng r;
    int count[6] = {0}, index[100], seen[100] = {0}, moved = 0;
    rng_init(&r, 4, RNG_TEST, 0, 0);
    for (int i = 0; i < 60000; i++)
        count[rng_below(&r, 6)]++;
    for (int i = 0; i < 6; i++)
        assert_in_range(count[i], 10000 - 6 * 92, 10000 + 6 * 92);
    assert_int_equal(rng_below(&r, 1), 0);
    for (int i = 0; i < 1000; i++)
        assert_true(rng_below(&r, 0xc0000001u) < 0xc0000001u);
    for (int i = 0; i < 100; i++)
        index[i] = i;
    rng_shuffle(&r, index, 100);
    for (int i = 0; i < 100; i++) {
        seen[index[i]]++;
        moved += index[i] != i;
    }
    for (int i = 0; i < 100; i++)
        assert_int_equal(seen[i], 1);
    assert_true(moved > 80);
}

static void hashes_agree_with_their_definitions(void **state)
{
    char hex[33], sha[65], again[33];
    struct err e;
    hash_hex(hex, hash_bytes("", 0));
    assert_string_equal(hex, "99aa06d3014798d86001c324468d497f");   // XXH3-128 of nothing
    const char *path = kit_text("abc", "abc");
    assert_int_equal(sha256_file(sha, path, &e), 0);
    assert_string_equal(sha, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    hash_hex(hex, hash_bytes("abc", 3));
    assert_int_equal(hash_file(again, path, &e), 0);
    assert_string_equal(hex, again);
    size_t n = 200001;
    char *big = mem_alloc(n, 1);
    for (size_t i = 0; i < n; i++)
        big[i] = (char)(i * 7 + i / 251);
    hash_hex(hex, hash_bytes(big, n));
    assert_int_equal(hash_file(again, kit_bytes("big", big, n), &e), 0);
    assert_string_equal(hex, again);
    free(big);
    assert_int_equal(hash_file(again, kit_path("absent"), &e), ERR_MISSING);
    kit_contains(e.msg, "absent");
    assert_int_equal(sha256_file(sha, "/", &e), ERR_IO);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(buf_grows_and_stays_terminated),
    cmocka_unit_test(numbers_are_parsed_whole_or_not_at_all),
    cmocka_unit_test(nearest_word_is_found_when_near),
    cmocka_unit_test(prefixes_and_suffixes),
    cmocka_unit_test(utf8_stops_at_the_first_wrong_byte),
    cmocka_unit_test(philox_gives_the_known_answers),
    cmocka_unit_test(streams_differ_by_seed_purpose_item_and_step),
    cmocka_unit_test(uniform_and_normal_have_their_moments),
    cmocka_unit_test(below_is_unbiased_and_shuffle_is_a_permutation),
    cmocka_unit_test(hashes_agree_with_their_definitions),
};
KIT_MAIN(tests)
