/* CSV and TSV as RFC 4180 has them, and data sets of several files. */
#include "data/data.h"
#include "kit/kit.h"

#include <unistd.h>
#include <zlib.h>

static const char *value(const struct rows *r, int i, const char *key)
{
    return json_string_value(json_object_get(r->row[i], key));
}

static void read_ok(struct rows *r, const char *name, const char *text)
{
    struct err e = {0};
    if (rows_read(r, kit_text(name, text), 0, &e))
        fail_msg("%s", e.msg);
}

static void read_fails(const char *name, const char *text, int code, const char *part)
{
    struct rows r;
    struct err e = {0};
    assert_int_equal(rows_read(&r, kit_text(name, text), 0, &e), code);
    kit_contains(e.msg, part);
    kit_contains(e.msg, name);
}

static void quotes_hold_separators_and_line_ends(void **state)
{
    struct rows r;
    read_ok(&r, "a.csv",
            "\xef\xbb\xbfprompt,\"chosen\",rejected\r\n\"a, b\",\"two\nlines\",\"say "
            "\"\"hi\"\"\"\r\n\r\nx,,\"\"\r\ny,\"z\",w\"w");
    assert_int_equal(r.n, 3);
    assert_int_equal(r.n_rejected, 0);
    assert_string_equal(value(&r, 0, "prompt"), "a, b");
    assert_string_equal(value(&r, 0, "chosen"), "two\nlines");
    assert_string_equal(value(&r, 0, "rejected"), "say \"hi\"");
    assert_true(json_is_null(json_object_get(r.row[1], "chosen")));
    assert_string_equal(value(&r, 1, "rejected"), "");
    assert_string_equal(value(&r, 2, "rejected"), "w\"w");
    assert_int_equal(r.line[0], 2);
    assert_int_equal(r.line[1], 5); // where a record begins, not which one it is
    assert_int_equal(r.line[2], 6);
    rows_release(&r);
}

static void numbers_stay_texts(void **state)
{
    struct rows r;
    read_ok(&r, "n.csv", "id,score\n007,1.50\n");
    assert_string_equal(value(&r, 0, "id"), "007");
    assert_string_equal(value(&r, 0, "score"), "1.50");
    rows_release(&r);
}

static void label_prob_of_csv_is_a_number(void **state)
{
    struct rows r;
    struct arena a = {0};
    struct pair *p;
    struct err e = {0};
    int n;
    read_ok(&r, "p.csv",
            "prompt,chosen,rejected,label_prob\nq,a,b,0.75\nq,c,d,\nq,e,f,high\nq,g,h,2\n");
    assert_int_equal(data_pairs(&p, &n, &a, &r, &e), 0);
    assert_int_equal(n, 2);
    assert_true(p[0].label_prob == 0.75);
    assert_true(p[1].label_prob == 1);
    assert_int_equal(r.n_rejected, 2);
    kit_contains(r.rejected[0].why, "label_prob");
    rows_release(&r);
    arena_release(&a);
}

static void tabs_separate_tsv(void **state)
{
    struct rows r;
    read_ok(&r, "a.tsv", "a\tb\n1,5\t\"x\ty\"\n");
    assert_string_equal(value(&r, 0, "a"), "1,5");
    assert_string_equal(value(&r, 0, "b"), "x\ty");
    rows_release(&r);
}

static void a_record_of_another_width_is_rejected(void **state)
{
    struct rows r;
    read_ok(&r, "w.csv", "a,b\n1,2\n1\n1,2,3\n\"1\"x,2\n\xff,2\n3,4\n");
    assert_int_equal(r.n, 2);
    assert_int_equal(r.n_rejected, 4);
    kit_contains(r.rejected[0].why, "1 fields, expected 2");
    kit_contains(r.rejected[1].why, "3 fields, expected 2");
    kit_contains(r.rejected[2].why, "text after a closing quote");
    kit_contains(r.rejected[3].why, "field 1 ('a'): it is no UTF-8 text");
    assert_int_equal(r.rejected[3].line, 6);
    rows_release(&r);
}

static void an_open_quote_is_named_by_its_line(void **state)
{
    read_fails("q.csv", "a,b\n1,2\n3,\"4\n5,6\n", ERR_FORMAT,
               "line 3: a quote opens here and is never closed");
}

static void names_must_differ(void **state)
{
    read_fails("d.csv", "a,b,a\n1,2,3\n", ERR_FORMAT, "same name");
    read_fails("e.csv", "", ERR_VALUE, "is empty");
    read_fails("h.csv", "a,b\n", ERR_VALUE, "is empty");
}

static void other_formats_are_refused_by_name(void **state)
{
    read_fails("a.arrow", "ARROW1\001\002", ERR_UNSUPPORTED, "an Arrow file");
    read_fails("x.csv",
               "\xff\xfe"
               "a",
               ERR_UNSUPPORTED, "UTF-16");
    read_fails("x.xlsx", "PK\x03\x04", ERR_UNSUPPORTED, "spreadsheet");
    read_fails("b.parquet", "PAR1", ERR_FORMAT, "not a Parquet file");
}

static void gzip_opens_before_csv_is_told_by_its_name(void **state)
{
    struct rows r;
    struct err e = {0};
    const char *path = kit_path("z.csv.gz");
    gzFile f = gzopen(path, "wb");
    gzputs(f, "a,b\n1,2\n");
    gzclose(f);
    assert_int_equal(rows_read(&r, path, 0, &e), 0);
    assert_string_equal(value(&r, 0, "b"), "2");
    rows_release(&r);
}

static void zstd_is_read_like_text(void **state)
{
    // `zstd -c` of {"a":1}\n{"a":2}\n, stored in one raw block
    static const unsigned char z[] = {0x28, 0xb5, 0x2f, 0xfd, 0x20, 16,  0x81, 0x00, 0x00,
                                      '{',  '"',  'a',  '"',  ':',  '1', '}',  '\n', '{',
                                      '"',  'a',  '"',  ':',  '2',  '}', '\n'};
    struct rows r;
    struct err e = {0};
    assert_int_equal(rows_read(&r, kit_bytes("a.jsonl.zst", z, sizeof z), 0, &e), 0);
    assert_int_equal(r.n, 2);
    rows_release(&r);
    assert_int_equal(rows_read(&r, kit_bytes("cut.jsonl.zst", z, sizeof z - 3), 0, &e),
                     ERR_FORMAT);
    kit_contains(e.msg, "too early");
}

static void a_pipe_is_read_from_its_beginning(void **state)
{
    struct rows r;
    struct err e = {0};
    int end[2];
    char name[40];
    assert_int_equal(pipe(end), 0);
    assert_int_equal(write(end[1], "{\"a\":1}\n{\"a\":2}\n", 16), 16);
    close(end[1]);
    snprintf(name, sizeof name, "/dev/fd/%d", end[0]);
    assert_int_equal(rows_read(&r, name, 0, &e), 0);
    assert_int_equal(r.n, 2);
    rows_release(&r);
    close(end[0]);
}

static void several_files_are_one_data_set(void **state)
{
    struct rows r;
    struct err e = {0};
    char name[2048];
    kit_text("part-1.jsonl", "{\"a\":1}\nbroken\n{\"a\":2}\n");
    kit_text("part-2.jsonl", "[{\"a\":3}, 7]");
    snprintf(name, sizeof name, "%s,%s", kit_path("part-*.jsonl"),
             kit_text("other.csv", "a\nfour\n"));
    assert_int_equal(rows_read(&r, name, 0, &e), 0);
    assert_int_equal(r.n, 4);
    assert_int_equal(json_integer_value(json_object_get(r.row[2], "a")), 3);
    assert_string_equal(value(&r, 3, "a"), "four");
    assert_string_equal(rows_place(&r, r.line[1]).within, "part-1.jsonl: line 3");
    assert_string_equal(rows_place(&r, r.line[2]).within, "part-2.jsonl: row 1");
    assert_string_equal(rows_place(&r, r.line[3]).within, "other.csv: line 2");
    assert_int_equal(rows_write_rejected(&r, kit_path("out"), &e), 0);
    rows_release(&r);
    assert_int_equal(rows_read(&r, kit_path("out/rejected.jsonl"), 0, &e), 0);
    assert_int_equal(r.n, 2);
    kit_contains(value(&r, 0, "file"), "part-1.jsonl");
    assert_int_equal(json_integer_value(json_object_get(r.row[0], "line")), 2);
    kit_contains(value(&r, 1, "file"), "part-2.jsonl");
    assert_int_equal(json_integer_value(json_object_get(r.row[1], "line")), 2);
    rows_release(&r);
}

static void a_pattern_without_files_is_an_error(void **state)
{
    struct rows r;
    struct err e = {0};
    assert_int_equal(rows_read(&r, kit_path("none-*.parquet"), 0, &e), ERR_MISSING);
    kit_contains(e.msg, "none-*.parquet");
    assert_int_equal(rows_read(&r, kit_path("."), 0, &e), ERR_IO);
    kit_contains(e.msg, "is a folder");
}

static void a_name_with_odd_characters_is_a_file_first(void **state)
{
    struct rows r;
    read_ok(&r, "odd,[name]*.jsonl", "{}\n");
    assert_int_equal(r.n, 1);
    rows_release(&r);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(quotes_hold_separators_and_line_ends),
    cmocka_unit_test(numbers_stay_texts),
    cmocka_unit_test(label_prob_of_csv_is_a_number),
    cmocka_unit_test(tabs_separate_tsv),
    cmocka_unit_test(a_record_of_another_width_is_rejected),
    cmocka_unit_test(an_open_quote_is_named_by_its_line),
    cmocka_unit_test(names_must_differ),
    cmocka_unit_test(other_formats_are_refused_by_name),
    cmocka_unit_test(gzip_opens_before_csv_is_told_by_its_name),
    cmocka_unit_test(zstd_is_read_like_text),
    cmocka_unit_test(a_pipe_is_read_from_its_beginning),
    cmocka_unit_test(several_files_are_one_data_set),
    cmocka_unit_test(a_pattern_without_files_is_an_error),
    cmocka_unit_test(a_name_with_odd_characters_is_a_file_first),
};
KIT_MAIN(tests)
