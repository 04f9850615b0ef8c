/* YAML into JSON values: core words, order, and everything that is refused. */
#include "base/base.h"
#include "kit/kit.h"

static json_t *read_yaml(const char *text, struct err *e)
{
    json_t *v = NULL;
    *e = (struct err){0};
    int rc = yaml_read_file(&v, kit_text("r.yaml", text), e);
    assert_int_equal(rc == 0, v != NULL);
    return v;
}

static void scalars_have_their_core_types(void **state)
{
    struct err e;
    json_t *v = read_yaml("i: 3\nf: 1e-5\nt: true\nn: null\ne:\ns: word\nq: \"3\"\nz: '~'\nno: no\nb: |\n  two\n  lines\n"
                          "l: [1, 2.5, x]\nm: {a: 1}\ndot: .5\ninf: .inf\nver: 1.2.3\n", &e);
    json_t *w = json_pack("{s:i,s:f,s:b,s:n,s:n,s:s,s:s,s:s,s:s,s:s,s:[i,f,s],s:{s:i},s:f,s:s,s:s}", "i", 3, "f", 1e-5, "t",
                          1, "n", "e", "s", "word", "q", "3", "z", "~", "no", "no", "b", "two\nlines\n", "l", 1, 2.5, "x",
                          "m", "a", 1, "dot", 0.5, "inf", ".inf", "ver", "1.2.3");
    assert_non_null(w);
    assert_true(json_equal(v, w));
    json_decref(v);
    json_decref(w);
}

static void keys_keep_the_order_of_the_file(void **state)
{
    struct err e;
    struct buf b = {0};
    json_t *v = read_yaml("zeta: 1\nalpha: {y: 1, x: 2}\nmid: 3\n", &e);
    json_add_text(&b, v, 0);
    assert_string_equal(b.s, "{\"zeta\": 1, \"alpha\": {\"y\": 1, \"x\": 2}, \"mid\": 3}");
    buf_release(&b);
    json_decref(v);
}

static void what_recipes_do_not_need_is_refused_with_its_place(void **state)
{
    static const struct { const char *text, *part; } cases[] = {
        {"", "empty"},
        {"a: 1\na: 2\n", "line 2"},
        {"a: &x 1\nb: *x\n", "anchors"},
        {"a: !tag 1\n", "tags"},
        {"b: *x\n", "aliases"},
        {"a: [1, 2\n", "line"},
        {"a: 'open\n", "line"},
        {"a: b: c\n", "line 1"},
        {"\ttab: 1\n", "line 1"},
        {"[a]: 1\n", "key"},
        {"a: \"x\\0y\"\n", "NUL"},
        {"\"x\\0y\": 1\n", "NUL"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e;
        assert_null(read_yaml(cases[i].text, &e));
        kit_contains(e.msg, "r.yaml");
        kit_contains(e.msg, cases[i].part);
    }
}

static void deep_and_large_files_end_in_a_sentence(void **state)
{
    struct err e;
    struct buf b = {0};
    for (int i = 0; i < 5000; i++)
        buf_adds(&b, "[");
    assert_null(read_yaml(b.s, &e));
    kit_contains(e.msg, "deep");
    buf_clear(&b);
    for (int i = 0; i < 200; i++)
        buf_addf(&b, "%*s- \n", i, "");
    for (int i = 0; i < 6 << 20; i += 8)
        buf_adds(&b, "# words\n");
    assert_null(read_yaml(b.s, &e));
    kit_contains(e.msg, "larger");
    buf_release(&b);
    json_t *v = NULL;
    assert_int_equal(yaml_read_file(&v, kit_path("absent.yaml"), &e), ERR_MISSING);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(scalars_have_their_core_types),
    cmocka_unit_test(keys_keep_the_order_of_the_file),
    cmocka_unit_test(what_recipes_do_not_need_is_refused_with_its_place),
    cmocka_unit_test(deep_and_large_files_end_in_a_sentence),
};
KIT_MAIN(tests)
