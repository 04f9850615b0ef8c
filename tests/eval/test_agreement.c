/* Agreement beyond chance, tests between labelers, and what texts look like: against worked examples. */
#include "eval/eval.h"
#include "kit/kit.h"

#include <math.h>

static void near(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance))
        fail_msg("%.6f, expected %.6f", a, b);
}

/* 50 items: both yes 20, both no 15, only the first 5, only the second 10. */
static void kappa_of_the_textbook_is_two_fifths(void **state)
{
    int a[51], b[51], n = 0;
    static const struct { int a, b, times; } cell[] = {{1, 1, 20}, {1, 0, 5}, {0, 1, 10}, {0, 0, 15}, {-1, 1, 1}};
    for (size_t c = 0; c < ARRAY_LEN(cell); c++)
        for (int k = 0; k < cell[c].times; k++, n++) {
            a[n] = cell[c].a;
            b[n] = cell[c].b;
        }
    near(cohen_kappa(a, b, n, 2), 0.4, 1e-12);
    near(cohen_kappa(a, a, n, 2), 1, 1e-12);
}

static void kappa_is_unknown_where_all_say_the_same(void **state)
{
    int a[] = {1, 1, 1};
    assert_true(isnan(cohen_kappa(a, a, 3, 2)));
    assert_true(isnan(cohen_kappa(a, a, 0, 2)));
}

/* The example of Krippendorff (2011), four observers, twelve units, values missing: 0.743 for names. */
static void alpha_matches_its_authors_example(void **state)
{
    static const int value[4 * 12] = {
        1,  2, 3, 3, 2, 1, 4, 1, 2, -1, -1, -1, //
        1,  2, 3, 3, 2, 2, 4, 1, 2, 5,  -1, 3,  //
        -1, 3, 3, 3, 2, 3, 4, 2, 2, 5,  1,  -1, //
        1,  2, 3, 3, 2, 4, 4, 1, 2, 5,  1,  -1,
    };
    near(krippendorff_alpha(value, 4, 12, 6), 0.743, 0.0005);
}

static void alpha_of_one_rater_is_unknown(void **state)
{
    int value[] = {0, 1, 0};
    assert_true(isnan(krippendorff_alpha(value, 1, 3, 2)));
}

/* 1 against 9 discordant pairs: 2 (1 + 10) / 2^10. */
static void mcnemar_is_exact_and_skips_what_either_lacks(void **state)
{
    double a[14], b[14];
    for (int i = 0; i < 14; i++) {
        a[i] = i == 0 || i >= 10;
        b[i] = i != 0;
    }
    a[13] = NAN;
    b[12] = 0.5;
    struct mcnemar t = mcnemar_test(a, b, 14);
    assert_int_equal(t.n, 13);
    assert_int_equal(t.only_a, 1);
    assert_int_equal(t.only_b, 9);
    near(t.p_value, 22.0 / 1024, 1e-9);
    near(mcnemar_test(a, a, 14).p_value, 1, 0);
}

static void lists_are_told_from_prose(void **state)
{
    assert_int_equal(list_lines("- one\n* two\n  + three\n1. four\n12) five\n\xe2\x80\xa2 six"), 6);
    assert_int_equal(list_lines("-5 degrees\n*bold*\n3.14 is pi\n2024 was long. 1. not first"), 0);
    assert_int_equal(list_lines(""), 0);
}

static void overlap_counts_words_once_each_way(void **state)
{
    near(word_overlap("The cat sat.", "the CAT, sat"), 1, 0);
    near(word_overlap("a b c d", "c d e f"), 0.5, 1e-12);
    near(word_overlap("a a a", "a"), 0.5, 1e-12);
    near(word_overlap("na\xc3\xafve", "na\xc3\xafve plan"), 2.0 / 3, 1e-12);
    assert_true(isnan(word_overlap("", "...")));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(kappa_of_the_textbook_is_two_fifths),
    cmocka_unit_test(kappa_is_unknown_where_all_say_the_same),
    cmocka_unit_test(alpha_matches_its_authors_example),
    cmocka_unit_test(alpha_of_one_rater_is_unknown),
    cmocka_unit_test(mcnemar_is_exact_and_skips_what_either_lacks),
    cmocka_unit_test(lists_are_told_from_prose),
    cmocka_unit_test(overlap_counts_words_once_each_way),
};
KIT_MAIN(tests)
