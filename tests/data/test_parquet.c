/* Parquet against pyarrow: the files of tests/vectors/data and the rows pyarrow finds in them.
 */
#include "data/data.h"
#include "data/parquet/parquet.h"
#include "kit/kit.h"

#include <glob.h>

static void same_rows(const char *path, const char *expected)
{
    struct rows a, b;
    struct err e = {0};
    if (rows_read(&a, path, 0, &e) || rows_read(&b, expected, 0, &e))
        fail_msg("%s", e.msg);
    if (a.n != b.n || a.n_rejected)
        fail_msg("%s: %d rows and %d rejected, expected %d", path, a.n, a.n_rejected, b.n);
    for (int i = 0; i < a.n; i++) {
        const char *key;
        json_t *want;
        json_object_foreach(b.row[i], key,
                            want) if (!json_equal(json_object_get(a.row[i], key), want))
        {
            struct buf x = {0}, y = {0};
            json_add_text(&x, json_object_get(a.row[i], key), 0);
            json_add_text(&y, want, 0);
            fail_msg("%s: row %d, '%s': %s, expected %s", path, i + 1, key, x.s, y.s);
        }
        assert_int_equal(json_object_size(a.row[i]), json_object_size(b.row[i]));
    }
    rows_release(&a);
    rows_release(&b);
}

/* Every Parquet file of a folder holds the rows of rows.jsonl there, or of its own .jsonl. */
static void folder_is_read(const char *name, size_t least)
{
    char *pattern = str_printf("%s/*.parquet", kit_tests(name)), expected[1024];
    glob_t g;
    assert_int_equal(glob(pattern, 0, NULL, &g), 0);
    assert_true(g.gl_pathc >= least);
    for (size_t i = 0; i < g.gl_pathc; i++) {
        snprintf(expected, sizeof expected, "%s/rows.jsonl", kit_tests(name));
        if (!kit_exists(expected))
            snprintf(expected, sizeof expected, "%.*s.jsonl", (int)strlen(g.gl_pathv[i]) - 8,
                     g.gl_pathv[i]);
        same_rows(g.gl_pathv[i], expected);
    }
    globfree(&g);
    free(pattern);
}

static void every_codec_and_page_version_gives_the_same_rows(void **state)
{
    folder_is_read("vectors/data/chat", 13);
}

static void every_type_in_every_encoding_is_what_pyarrow_reads(void **state)
{
    folder_is_read("vectors/data/types", 6);
}

static void int96_is_the_same_moment_as_int64(void **state)
{
    folder_is_read("vectors/data/int96", 2);
}

static void lists_structs_and_maps_nest(void **state)
{
    folder_is_read("vectors/data/nested", 3);
}

static void lists_of_older_writers_are_lists(void **state)
{
    folder_is_read("vectors/data/legacy", 6);
}

static void damage_is_named_with_its_place(void **state)
{
    size_t n;
    char *said = strdup(kit_slurp(kit_tests("vectors/data/bad/said.txt"), &n)), *line = said,
         *end;
    int count = 0;
    for (; (end = strchr(line, '\n')); line = end + 1, count++) {
        *end = 0;
        char *part = strchr(line, '\t');
        *part++ = 0;
        char path[1024];
        snprintf(path, sizeof path, "%s/%s.parquet", kit_tests("vectors/data/bad"), line);
        struct rows r;
        struct err e = {0};
        if (rows_read(&r, path, 0, &e) == 0)
            fail_msg("%s was accepted with %d rows", path, r.n);
        kit_contains(e.msg, part);
        kit_contains(e.msg, line);
    }
    assert_true(count > 40);
    free(said);
}

static void an_error_tells_row_group_and_column(void **state)
{
    struct rows r;
    struct err e = {0};
    assert_int_equal(rows_read(&r, kit_tests("vectors/data/bad/index.parquet"), 0, &e),
                     ERR_FORMAT);
    kit_contains(e.msg, "index.parquet: row group 0, column 'n': dictionary index 3");
}

static void a_file_cut_anywhere_is_an_error(void **state)
{
    size_t n;
    const char *s = kit_slurp(kit_tests("vectors/data/chat/zstd-v2.parquet"), &n);
    for (size_t keep = 4; keep < n; keep += 1 + n / 97) {
        struct rows r;
        struct err e = {0};
        assert_int_equal(rows_read(&r, kit_bytes("cut.parquet", s, keep), 0, &e), ERR_FORMAT);
        kit_contains(e.msg, "cut.parquet");
    }
}

/* Whatever stands in a file, reading it ends, with rows or a sentence; the sanitizers watch the
 * rest. */
static void no_changed_byte_does_harm(void **state)
{
    static const char *const names[] = {"chat/plain", "nested/pages", "types/delta",
                                        "legacy/two-level-structs"};
    struct rng rng;
    rng_init(&rng, 1, RNG_TEST, 0, 0);
    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        char path[256];
        size_t n;
        snprintf(path, sizeof path, "vectors/data/%s.parquet", names[k]);
        const char *s = kit_slurp(kit_tests(path), &n);
        char *copy = malloc(n);
        for (int i = 0; i < 150; i++) {
            struct rows r;
            struct err e = {0};
            memcpy(copy, s, n);
            for (uint32_t wounds = 1 + rng_below(&rng, 3); wounds; wounds--)
                copy[4 + rng_below(&rng, (uint32_t)n - 4)] = (char)rng_u32(&rng);
            if (rows_read(&r, kit_bytes("m.parquet", copy, n), 0, &e) == 0)
                rows_release(&r);
            else
                assert_true(e.msg[0] != 0);
        }
        free(copy);
    }
}

static void text_that_json_cannot_hold_spoils_its_row_only(void **state)
{
    struct rows r;
    struct err e = {0};
    assert_int_equal(rows_read(&r, kit_tests("vectors/data/spoilt.parquet"), 0, &e), 0);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.line[1], 4);
    assert_int_equal(r.n_rejected, 2);
    kit_contains(r.rejected[0].why, "column 't': the bytes are no UTF-8 text");
    kit_contains(r.rejected[1].why, "NUL");
    assert_string_equal(rows_place(&r, r.rejected[1].line).within, "row 3");
    rows_release(&r);
}

static void max_rows_reads_no_further(void **state)
{
    struct rows r;
    struct err e = {0};
    assert_int_equal(rows_read(&r, kit_tests("vectors/data/chat/plain.parquet"), 7, &e), 0);
    assert_int_equal(r.n, 7);
    rows_release(&r);
}

static void its_footer_can_be_shown(void **state)
{
    json_t *d = NULL;
    struct err e = {0};
    assert_int_equal(
        data_describe_parquet(&d, kit_tests("vectors/data/chat/plain.parquet"), &e), 0);
    assert_int_equal(json_integer_value(json_object_get(d, "rows")), 23);
    assert_int_equal(json_integer_value(json_object_get(d, "row_groups")), 5);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(d, "schema"), "chosen")),
        "list<struct<role: string, content: string>>");
    json_decref(d);
}

static void every_kind_of_rows_can_be_stored_in_columns(void **state)
{
    folder_is_read("vectors/data/stages", 8);
}

static void pairs_come_out_of_columns(void **state)
{
    struct rows r;
    struct err e = {0};
    struct arena a = {0};
    struct pair *p;
    int n;
    assert_int_equal(rows_read(&r, kit_tests("vectors/data/chat/snappy-v1.parquet"), 0, &e), 0);
    if (data_pairs(&p, &n, &a, &r, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(n + r.n_rejected, 23);
    assert_int_equal(p[0].prompt.n, 1);
    assert_string_equal(p[0].prompt.messages[0].role, "user");
    assert_string_equal(p[0].chosen.messages[0].content, "It is 0.");
    arena_release(&a);
    rows_release(&r);
}

static void deltas_resume_and_end_where_they_should(void **state)
{
    // 3 values 7, 5, 1 in blocks of 8 with one miniblock: least delta -4, width 2, deltas +2,
    // +0
    static const uint8_t s[] = {8, 1, 3, 14, 7, 2, 0x02, 0x00, 99};
    struct delta d;
    int64_t v;
    assert_true(delta_begin(&d, s, s + sizeof s));
    struct delta ahead = d;
    assert_ptr_equal(delta_end(&ahead), s + 8);
    assert_true(delta_next(&d, &v) && v == 7);
    assert_true(delta_next(&d, &v) && v == 5);
    assert_true(delta_next(&d, &v) && v == 1);
    assert_false(delta_next(&d, &v));
}

static void runs_mix_with_packed_bits(void **state)
{
    // 4 times 5; then 8 values of 3 bits 0..7; then nothing
    static const uint8_t s[] = {8, 5, 3, 0x88, 0xc6, 0xfa};
    struct rle r = {.p = s, .end = s + sizeof s, .width = 3};
    uint32_t v;
    for (int i = 0; i < 4; i++)
        assert_true(rle_next(&r, &v) && v == 5);
    for (uint32_t i = 0; i < 8; i++)
        assert_true(rle_next(&r, &v) && v == i);
    assert_false(rle_next(&r, &v));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_codec_and_page_version_gives_the_same_rows),
    cmocka_unit_test(every_type_in_every_encoding_is_what_pyarrow_reads),
    cmocka_unit_test(int96_is_the_same_moment_as_int64),
    cmocka_unit_test(lists_structs_and_maps_nest),
    cmocka_unit_test(lists_of_older_writers_are_lists),
    cmocka_unit_test(damage_is_named_with_its_place),
    cmocka_unit_test(an_error_tells_row_group_and_column),
    cmocka_unit_test(a_file_cut_anywhere_is_an_error),
    cmocka_unit_test(no_changed_byte_does_harm),
    cmocka_unit_test(text_that_json_cannot_hold_spoils_its_row_only),
    cmocka_unit_test(max_rows_reads_no_further),
    cmocka_unit_test(its_footer_can_be_shown),
    cmocka_unit_test(every_kind_of_rows_can_be_stored_in_columns),
    cmocka_unit_test(pairs_come_out_of_columns),
    cmocka_unit_test(deltas_resume_and_end_where_they_should),
    cmocka_unit_test(runs_mix_with_packed_bits),
};
KIT_MAIN(tests)
