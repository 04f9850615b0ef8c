/* JSON in and out: limits, messages, exact doubles. */
#include "base/base.h"
#include "kit/kit.h"

#include <math.h>

static void bad_json_names_the_place(void **state)
{
    static const struct { const char *text, *part; } cases[] = {
        {"{\"a\": 1,\n \"b\": }", "x.json: line 2"},
        {"", "x.json: line 1"},
        {"{\"a\": 1, \"a\": 2}", "duplicate"},
        {"[1, 2] tail", "line 1"},
        {"\"\xff\"", "decode byte"},
        {"{\"a\": 1e999}", "overflow"},
        {"99999999999999999999", "big integer"},
        {"\"a\\u0000b\"", "u0000"},
        {"NaN", "line 1"},
        {"{\"a\": ", "line 1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err e = {0};
        assert_null(json_parse(cases[i].text, strlen(cases[i].text), "x.json", &e));
        assert_int_equal(e.code, ERR_FORMAT);
        kit_contains(e.msg, cases[i].part);
        assert_int_equal(utf8_valid(e.msg, strlen(e.msg)), strlen(e.msg));
    }
}

static json_t *nested(int depth, char open, char close, struct err *e)
{
    struct buf b = {0};
    for (int i = 0; i < depth; i++)
        buf_add(&b, open == '{' ? "{\"\":" : "[", open == '{' ? 4 : 1);
    buf_adds(&b, "1");
    for (int i = 0; i < depth; i++)
        buf_add(&b, &close, 1);
    json_t *v = json_parse(b.s, b.len, "deep", e);
    buf_release(&b);
    return v;
}

static void depth_is_bounded(void **state)
{
    struct err e = {0};
    json_t *v = nested(200, '[', ']', &e);
    assert_non_null(v);
    json_decref(v);
    assert_null(nested(300, '[', ']', &e));
    kit_contains(e.msg, "deeper");
    assert_null(nested(1000000, '{', '}', &e));
    kit_contains(e.msg, "deeper");
    v = json_parse("\"[[[[\\\"[[[[\"", 12, "x", &e);   // brackets inside strings are text
    assert_non_null(v);
    json_decref(v);
}

static void doubles_read_back_exactly(void **state)
{
    static const double fixed[] = {0.1, 1.0 / 3, 1e-320, 1.7976931348623157e308, -0.0, 5e-324, 100, 1e21, 0.7};
    struct rng r;
    rng_init(&r, 1, RNG_TEST, 0, 0);
    for (int i = 0; i < 20000; i++) {
        union { uint64_t u; double d; } x = {((uint64_t)rng_u32(&r) << 32) | rng_u32(&r)};
        if (i < (int)ARRAY_LEN(fixed))
            x.d = fixed[i];
        if (!isfinite(x.d))
            continue;
        struct buf b = {0};
        json_t *v = json_real(x.d);
        json_add_text(&b, v, 0);
        json_t *w = json_parse(b.s, b.len, "x", NULL);
        union { double d; uint64_t u; } y = {json_real_value(w)};
        assert_true(json_is_real(w));
        assert_int_equal(x.u, y.u);
        buf_release(&b);
        json_decref(v);
        json_decref(w);
    }
}

static void short_numbers_stay_short(void **state)
{
    struct buf b = {0};
    json_t *v = json_pack("{s:f, s:f, s:[f,i], s:s, s:n, s:b, s:{}, s:[]}", "p", 0.7, "x", 2.0, "l", 0.25, 3, "s",
                          "a\"\\\n\x01\xc3\xa9", "n", "t", 1, "o", "e");
    json_add_text(&b, v, 0);
    assert_string_equal(b.s, "{\"p\": 0.7, \"x\": 2.0, \"l\": [0.25, 3], \"s\": \"a\\\"\\\\\\n\\u0001\xc3\xa9\", "
                             "\"n\": null, \"t\": true, \"o\": {}, \"e\": []}");
    buf_clear(&b);
    json_add_text(&b, v, 2);
    kit_contains(b.s, "{\n  \"p\": 0.7,\n  \"x\": 2.0,\n  \"l\": [0.25, 3],\n");
    json_t *w = json_parse(b.s, b.len, "x", NULL);
    assert_true(json_equal(v, w));
    json_decref(v);
    json_decref(w);
    buf_release(&b);
}

static void nan_cannot_be_written(void **state)
{
    assert_null(json_real(NAN));
    assert_null(json_real(INFINITY));
}

static void files_go_out_and_come_back(void **state)
{
    struct err e = {0};
    const char *path = kit_path("v.json");
    json_t *v = json_pack("{s:[{s:i},{s:s}], s:f}", "a", "b", 1, "c", "d", "e", 0.1);
    assert_int_equal(json_write_file(path, v, &e), 0);
    json_t *w = json_read_file(path, &e);
    assert_true(json_equal(v, w));
    json_decref(v);
    json_decref(w);
    assert_null(json_read_file(kit_path("none.json"), &e));
    assert_int_equal(e.code, ERR_MISSING);
    assert_null(json_read_file(kit_text("bad.json", "{\n\n!"), &e));
    kit_contains(e.msg, "bad.json: line 3");
}

static void members_have_the_type_asked_for(void **state)
{
    struct err e = {0};
    static const char text[] = "{\"i\":3,\"f\":2.5,\"w\":64.0,\"s\":\"x\",\"b\":true,\"n\":null,\"l\":[]}";
    json_t *o = json_parse(text, strlen(text), "o", NULL);
    assert_non_null(o);
    int64_t i = 0;
    double d = 0;
    bool b = false;
    const char *s = NULL;
    assert_int_equal(json_get_i64(o, "i", &i, "o", &e), 0);
    assert_int_equal(i, 3);
    assert_int_equal(json_get_i64(o, "w", &i, "o", &e), 0);
    assert_int_equal(i, 64);
    assert_int_equal(json_get_i64(o, "f", &i, "o", &e), ERR_FORMAT);
    assert_string_equal(e.msg, "o: 'f' should be an integer, found a number");
    assert_int_equal(json_get_double(o, "i", &d, "o", &e), 0);
    assert_true(d == 3);
    assert_int_equal(json_get_double(o, "s", &d, "o", &e), ERR_FORMAT);
    assert_int_equal(json_get_bool(o, "b", &b, "o", &e), 0);
    assert_true(b);
    assert_int_equal(json_get_bool(o, "i", &b, "o", &e), ERR_FORMAT);
    assert_int_equal(json_get_str(o, "s", &s, "o", &e), 0);
    assert_string_equal(s, "x");
    assert_int_equal(json_get_str(o, "l", &s, "o", &e), ERR_FORMAT);
    assert_int_equal(json_get_str(o, "n", &s, "o", &e), ERR_MISSING);
    assert_int_equal(json_get_str(o, "absent", &s, "the file", &e), ERR_MISSING);
    assert_string_equal(e.msg, "the file: 'absent' is missing");
    assert_int_equal(json_i64_or(o, "absent", 9, &i, "o", &e), 0);
    assert_int_equal(i, 9);
    assert_int_equal(json_double_or(o, "n", 1.5, &d, "o", &e), 0);
    assert_true(d == 1.5);
    assert_int_equal(json_bool_or(o, "s", true, &b, "o", &e), ERR_FORMAT);
    assert_int_equal(json_str_or(o, "s", "y", &s, "o", &e), 0);
    assert_string_equal(s, "x");
    assert_int_equal(json_str_or(json_object_get(o, "l"), "s", "y", &s, "o", &e), ERR_FORMAT);
    assert_int_equal(json_str_or(NULL, "s", "y", &s, "o", &e), ERR_FORMAT);
    json_decref(o);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(bad_json_names_the_place),
    cmocka_unit_test(depth_is_bounded),
    cmocka_unit_test(doubles_read_back_exactly),
    cmocka_unit_test(short_numbers_stay_short),
    cmocka_unit_test(nan_cannot_be_written),
    cmocka_unit_test(files_go_out_and_come_back),
    cmocka_unit_test(members_have_the_type_asked_for),
};
KIT_MAIN(tests)
