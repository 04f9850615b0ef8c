/* JSON Lines in and out: plain, gzipped, lists, broken lines, damaged files. */
#include "data/data.h"
#include "kit/kit.h"

#include <zlib.h>

static int read_text(struct rows *r, const char *text, int max_rows, struct err *e)
{
    *e = (struct err){0};
    return rows_read(r, kit_text("rows.jsonl", text), max_rows, e);
}

static void lines_become_rows_with_their_numbers(void **state)
{
    struct rows r;
    struct err e;
    assert_int_equal(read_text(&r, "\xef\xbb\xbf{\"a\":1}\r\n\n  \t\n{\"a\":2}", 0, &e), 0);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.n_rejected, 0);
    assert_int_equal(r.line[0], 1);
    assert_int_equal(r.line[1], 4);
    assert_int_equal(json_integer_value(json_object_get(r.row[1], "a")), 2);
    rows_release(&r);
    rows_release(&r);
}

static void broken_lines_are_kept_with_their_reason(void **state)
{
    struct rows r;
    struct err e;
    assert_int_equal(read_text(&r, "{\"a\":1}\n{\"a\":\n[1]\n\"\xff\"\n{\"a\":4}\n", 0, &e), 0);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.n_rejected, 3);
    assert_int_equal(r.rejected[0].line, 2);
    kit_contains(r.rejected[0].why, "column");
    assert_string_equal(json_string_value(r.rejected[0].row), "{\"a\":");
    assert_string_equal(r.rejected[1].why, "not a JSON object");
    assert_int_equal(r.line[1], 5);
    assert_int_equal(rows_write_rejected(&r, kit_path("out/deep"), &e), 0);
    rows_release(&r);
    assert_int_equal(rows_read(&r, kit_path("out/deep/rejected.jsonl"), 0, &e), 0);
    assert_int_equal(r.n, 3);
    assert_int_equal(json_integer_value(json_object_get(r.row[2], "line")), 4);
    kit_contains(json_string_value(json_object_get(r.row[2], "file")), "rows.jsonl");
    assert_non_null(json_object_get(r.row[2], "reason"));
    assert_non_null(json_object_get(r.row[2], "row"));
    rows_release(&r);
}

static void rejected_rows_lie_under_the_name_of_the_output(void **state)
{
    struct rows r;
    struct err e;
    assert_int_equal(read_text(&r, "{}\n[1]\n", 0, &e), 0);
    assert_int_equal(rows_write_rejected_beside(&r, kit_path("a.b.jsonl"), &e), 0);
    assert_int_equal(rows_write_rejected_beside(&r, kit_path("plain"), &e), 0);
    rows_release(&r);
    assert_true(kit_exists(kit_path("a.b.rejected.jsonl")));
    assert_true(kit_exists(kit_path("plain.rejected.jsonl")));
}

static void nothing_rejected_writes_nothing(void **state)
{
    struct rows r;
    struct err e;
    assert_int_equal(read_text(&r, "{}\n", 0, &e), 0);
    assert_int_equal(rows_write_rejected(&r, kit_path("clean"), &e), 0);
    assert_false(kit_exists(kit_path("clean")));
    rows_release(&r);
}

static void a_list_is_told_by_its_content(void **state)
{
    struct rows r;
    struct err e;
    assert_int_equal(read_text(&r, " \n[{\"a\":1}, 7,\n {\"a\":2}]\n", 0, &e), 0);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.line[1], 3);
    assert_int_equal(r.n_rejected, 1);
    rows_release(&r);
    assert_int_equal(read_text(&r, "[{\"a\":1},", 0, &e), ERR_FORMAT);
    kit_contains(e.msg, "rows.jsonl");
}

static const char *gz(const char *name, const char *text, int times)
{
    const char *path = kit_path(name);
    gzFile f = gzopen(path, "wb1");
    for (int i = 0; i < times; i++)
        gzwrite(f, text, (unsigned)strlen(text));
    gzclose(f);
    return path;
}

static void gzip_is_read_like_text(void **state)
{
    struct rows r;
    struct err e;
    assert_int_equal(rows_read(&r, gz("a.jsonl.gz", "{\"text\":\"0123456789\"}\n", 20000), 0, &e), 0);
    assert_int_equal(r.n, 20000);
    assert_int_equal(r.line[19999], 20000);
    rows_release(&r);
    assert_int_equal(rows_read(&r, gz("b.json.gz", "[{}]", 1), 0, &e), 0);
    assert_int_equal(r.n, 1);
    rows_release(&r);
}

static void a_cut_or_damaged_gzip_is_an_error(void **state)
{
    struct rows r;
    struct err e;
    size_t n;
    char *s = (char *)kit_slurp(gz("c.gz", "{\"text\":\"0123456789 some words\"}\n", 30000), &n);
    assert_int_equal(rows_read(&r, kit_bytes("cut.gz", s, n / 2), 0, &e), ERR_FORMAT);
    kit_contains(e.msg, "cut.gz");
    kit_contains(e.msg, "too early");
    s[n - 6] ^= 1;      // the checksum at the end
    assert_int_equal(rows_read(&r, kit_bytes("crc.gz", s, n), 0, &e), ERR_FORMAT);
    kit_contains(e.msg, "damaged");
}

static void max_rows_stops_early(void **state)
{
    struct rows r;
    struct err e;
    assert_int_equal(read_text(&r, "{}\n{}\nbroken\n{}\n", 2, &e), 0);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.n_rejected, 0);
    rows_release(&r);
    assert_int_equal(read_text(&r, "[{},{},{}]", 2, &e), 0);
    assert_int_equal(r.n, 2);
    rows_release(&r);
}

static void empty_and_unreadable_files_are_errors(void **state)
{
    struct rows r;
    struct err e;
    assert_int_equal(read_text(&r, "", 0, &e), ERR_VALUE);
    kit_contains(e.msg, "is empty");
    assert_int_equal(read_text(&r, "\n \n\n", 0, &e), ERR_VALUE);
    assert_int_equal(read_text(&r, "[]", 0, &e), ERR_VALUE);
    assert_int_equal(rows_read(&r, kit_path("absent"), 0, &e), ERR_MISSING);
    kit_contains(e.msg, "absent");
    assert_int_equal(rows_read(&r, kit_path("."), 0, &e), ERR_IO);
    assert_int_equal(rows_read(&r, kit_path("absent"), 0, NULL), ERR_MISSING);
    assert_int_equal(r.n, 0);
}

static void a_file_of_something_else_ends_soon(void **state)
{
    struct rows r;
    struct err e;
    struct buf b = {0};
    for (int i = 0; i < 5000; i++)
        buf_addf(&b, "this is line %d of a novel\n", i);
    assert_int_equal(read_text(&r, b.s, 0, &e), ERR_FORMAT);
    kit_contains(e.msg, "none of the first 1000 lines");
    buf_release(&b);
}

static void a_bomb_in_one_line_is_refused(void **state)
{
    struct rows r;
    struct err e;
    char *block = mem_alloc((1 << 20) + 1, 1);
    memset(block, 'x', 1 << 20);
    block[0] = '{';
    const char *path = gz("bomb.gz", block, 70);    // 300 kB that open to 70 MB
    free(block);
    assert_int_equal(rows_read(&r, path, 0, &e), ERR_FORMAT);
    kit_contains(e.msg, "longer than 64 MiB");
}

static void rejecting_keeps_the_order_of_the_others(void **state)
{
    struct rows r;
    struct err e;
    assert_int_equal(read_text(&r, "{\"a\":0}\n{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n", 0, &e), 0);
    rows_reject(&r, 1, "because %d", 42);
    rows_reject(&r, 2, "last");
    assert_int_equal(r.n, 2);
    assert_int_equal(r.line[0], 1);
    assert_int_equal(r.line[1], 3);
    assert_string_equal(r.rejected[0].why, "because 42");
    assert_int_equal(r.rejected[0].line, 2);
    assert_int_equal(r.rejected[1].line, 4);
    rows_release(&r);
}

static void rows_go_out_as_they_came_in(void **state)
{
    struct rows r;
    struct rows_out w;
    struct err e;
    static const char text[] = "{\"t\": \"a\\nb\\u0001\xe2\x82\xac\", \"p\": 0.1, \"n\": null}\n{\"m\": [{\"x\": [1, 2.5]}]}\n";
    assert_int_equal(read_text(&r, text, 0, &e), 0);
    assert_int_equal(rows_out_open(&w, kit_path("copy.jsonl"), &e), 0);
    for (int i = 0; i < r.n; i++)
        assert_int_equal(rows_out_add(&w, r.row[i], &e), 0);
    assert_false(kit_exists(kit_path("copy.jsonl")));
    assert_int_equal(w.n, 2);
    assert_int_equal(rows_out_commit(&w, &e), 0);
    rows_out_close(&w);
    assert_string_equal(kit_slurp(kit_path("copy.jsonl"), NULL), text);
    rows_release(&r);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(lines_become_rows_with_their_numbers),
    cmocka_unit_test(broken_lines_are_kept_with_their_reason),
    cmocka_unit_test(rejected_rows_lie_under_the_name_of_the_output),
    cmocka_unit_test(nothing_rejected_writes_nothing),
    cmocka_unit_test(a_list_is_told_by_its_content),
    cmocka_unit_test(gzip_is_read_like_text),
    cmocka_unit_test(a_cut_or_damaged_gzip_is_an_error),
    cmocka_unit_test(max_rows_stops_early),
    cmocka_unit_test(empty_and_unreadable_files_are_errors),
    cmocka_unit_test(a_file_of_something_else_ends_soon),
    cmocka_unit_test(a_bomb_in_one_line_is_refused),
    cmocka_unit_test(rejecting_keeps_the_order_of_the_others),
    cmocka_unit_test(rows_go_out_as_they_came_in),
};
KIT_MAIN(tests)
