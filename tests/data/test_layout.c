/* tests/data/test_layout.c - other people's layouts (text cases), and what is written for them. */
#include "data/data.h"
#include "kit/kit.h"

static struct rows rows;
static struct comparisons list;

static void release(void)
{
    comparisons_release(&list);
    rows_release(&rows);
    rows = (struct rows){0};
}

static void read_text(const char *text, const struct layout_options *o)
{
    struct err err = {0};
    if (rows_read(&rows, kit_text("in.jsonl", text), 0, &err))
        fail_msg("%s", err.msg);
    if (layout_read(&list, &rows, o, &err) && err.code != ERR_VALUE)
        fail_msg("%s", err.msg);
}

/* ---- text cases ------------------------------------------------------------------------------ */

struct cases {
    char name[200];
    struct buf in;
    json_t *wanted, *reasons, *confidence;
    int ran;
};

static void check_columns(const char *name, const json_t *row, const json_t *wanted)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)wanted, key, v) {
        json_t *is = json_object_get(row, key);
        if (json_is_null(v) ? is != NULL : !json_equal(v, is)) {
            char *a = json_dumps(v, JSON_ENCODE_ANY), *b = is ? json_dumps(is, JSON_ENCODE_ANY) : NULL;
            fail_msg("%s: %s is %s, expected %s", name, key, b ? b : "absent", a);
        }
    }
}

static void run_case(struct cases *c)
{
    if (c->in.len == 0)
        return;
    struct layout_options o = {.confidence = json_array_size(c->confidence) ? c->confidence : NULL};
    read_text(c->in.s, &o);
    size_t n = json_array_size(c->wanted), examples = json_array_size(list.examples);
    if (n != (size_t)list.n + examples)
        fail_msg("%s: %d pairs and %zu examples come out, expected %zu", c->name, list.n, examples, n);
    for (size_t i = 0; i < n; i++) {
        json_t *row = i < (size_t)list.n ? comparison_trl(&list.item[i]) : json_incref(json_array_get(list.examples, i - (size_t)list.n));
        check_columns(c->name, row, json_array_get(c->wanted, i));
        json_decref(row);
    }
    if (json_array_size(c->reasons) != (size_t)rows.n_rejected)
        fail_msg("%s: %d rows are rejected, expected %zu", c->name, rows.n_rejected, json_array_size(c->reasons));
    for (int i = 0; i < rows.n_rejected; i++)
        kit_contains(rows.rejected[i].why, json_string_value(json_array_get(c->reasons, (size_t)i)));
    for (int i = 0; i < list.n; i++)
        assert_true(str_starts(c->name, layout_name(list.item[i].layout)));
    release();
    c->ran++;
}

static void begin_case(struct cases *c, const char *name)
{
    run_case(c);
    snprintf(c->name, sizeof c->name, "%s", name);
    buf_clear(&c->in);
    json_array_clear(c->wanted);
    json_array_clear(c->reasons);
    json_array_clear(c->confidence);
}

static void take_line(struct cases *c, char *line)
{
    struct err err = {0};
    const char *rest = line[0] && line[1] == ' ' ? line + 2 : "";
    if (*line == '#')
        begin_case(c, rest);
    else if (*line == '>')
        buf_addf(&c->in, "%s\n", rest);
    else if (*line == '!')
        json_array_append_new(c->reasons, json_string(rest));
    else if (*line == '=') {
        json_t *v = json_parse(rest, strlen(rest), c->name, &err);
        if (!v)
            fail_msg("%s", err.msg);
        json_array_append_new(c->wanted, v);
    } else if (*line == '@')
        json_array_append_new(c->confidence, json_string(rest));
}

static void each_layout_reads_as_its_cases_say(void **state)
{
    struct cases c = {.wanted = json_array(), .reasons = json_array(), .confidence = json_array()};
    char *text = strdup(kit_slurp(kit_tests("cases/layout/layouts.txt"), NULL)), *rest = strstr(text, "\n#"), *line;
    while ((line = strsep(&rest, "\n")))
        take_line(&c, line);
    run_case(&c);
    assert_true(c.ran > 15);
    free(text);
    buf_release(&c.in);
    json_decref(c.wanted);
    json_decref(c.reasons);
    json_decref(c.confidence);
}

/* ---- a file may mix them; what is rejected keeps its line ------------------------------------------ */

static void layouts_mix_and_lines_are_kept(void **state)
{
    struct layout_options o = {0};
    read_text("{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n{\"x\":1}\n"
              "{\"instruction\":\"i\",\"output_1\":\"a\",\"output_2\":\"b\",\"preference\":1.5}\n"
              "{\"question\":\"q\",\"answer\":\"#### 5\"}\n", &o);
    assert_int_equal(list.n, 2);
    assert_int_equal(json_array_size(list.examples), 1);
    assert_int_equal(list.of[LAYOUT_TRL], 1);
    assert_int_equal(list.of[LAYOUT_ALPACA], 1);
    assert_int_equal(list.of[LAYOUT_GSM8K], 1);
    assert_int_equal(list.of[LAYOUT_UNKNOWN], 1);
    assert_int_equal(list.ties, 1);
    assert_int_equal(rows.n_rejected, 1);
    assert_int_equal(rows.rejected[0].line, 2);
    assert_int_equal(rows.n, 3);
    release();
}

static void a_file_without_any_is_refused(void **state)
{
    struct err err = {0};
    struct layout_options o = {0};
    assert_int_equal(rows_read(&rows, kit_text("none.jsonl", "{\"x\":1}\n"), 0, &err), 0);
    assert_int_equal(layout_read(&list, &rows, &o, &err), ERR_VALUE);
    kit_contains(err.msg, "no row holds a comparison");
    kit_contains(err.msg, "columns x");
    release();
}

/* ---- written for others -------------------------------------------------------------------------------- */

static json_t *alpaca(int i, const char *baseline)
{
    const char *why = NULL;
    json_t *o = comparison_alpaca(&list.item[i], baseline, &why);
    if (why)
        fail_msg("%s", why);
    return o;
}

static const char judged[] =
    "{\"instruction\":\"q\",\"output_1\":\"a\",\"generator_1\":\"base\",\"dataset\":\"d\",\"output_2\":\"b\",\"generator_2\":\"mine\","
    "\"annotator\":\"j\",\"preference\":1.2999999999999998,\"price_per_example\":0.5,\"time_per_example\":1.5,\"raw_completion\":{\"x\":1}}";

static void annotations_come_back_as_they_were(void **state)
{
    struct layout_options o = {.any_answers = true};
    char text[sizeof judged + 1];
    snprintf(text, sizeof text, "%s\n", judged);
    read_text(text, &o);
    json_t *back = alpaca(0, NULL), *was = json_loads(judged, 0, NULL);
    assert_true(json_equal(back, was));
    json_decref(back);
    back = alpaca(0, "mine");       // the other one as the baseline
    assert_string_equal(json_string_value(json_object_get(back, "output_1")), "b");
    assert_string_equal(json_string_value(json_object_get(back, "generator_2")), "base");
    double p = json_real_value(json_object_get(back, "preference"));
    assert_true(p > 1.7 && p < 1.7000001);
    json_decref(back);
    json_decref(was);
    release();
}

static void labels_become_annotations_and_bench_rows(void **state)
{
    struct layout_options o = {0};
    read_text("{\"id\":\"1\",\"prompt\":\"q\",\"first\":\"a\",\"second\":\"b\",\"label_first\":0.25,\"labeler\":\"l\"}\n"
              "{\"id\":\"2\",\"prompt\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"x\"}],"
              "\"chosen\":[{\"role\":\"user\",\"content\":\"a\"}],\"rejected\":[{\"role\":\"user\",\"content\":\"b\"}],\"subset\":\"s\"}\n", &o);
    json_t *row = alpaca(0, NULL);
    assert_true(json_real_value(json_object_get(row, "preference")) == 1.75);
    assert_string_equal(json_string_value(json_object_get(row, "annotator")), "l");
    assert_true(json_is_null(json_object_get(row, "generator_1")));
    json_decref(row);
    const char *why = NULL;
    assert_null(comparison_alpaca(&list.item[1], NULL, &why));
    kit_contains(why, "longer conversation");
    row = comparison_rewardbench(&list.item[0], "mine");
    assert_string_equal(json_string_value(json_object_get(row, "chosen")), "b");
    assert_string_equal(json_string_value(json_object_get(row, "subset")), "mine");
    assert_string_equal(json_string_value(json_object_get(row, "id")), "1");
    json_decref(row);
    row = comparison_rewardbench(&list.item[1], "mine");
    assert_string_equal(json_string_value(json_object_get(row, "subset")), "s");
    json_decref(row);
    release();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(each_layout_reads_as_its_cases_say),
    cmocka_unit_test(layouts_mix_and_lines_are_kept),
    cmocka_unit_test(a_file_without_any_is_refused),
    cmocka_unit_test(annotations_come_back_as_they_were),
    cmocka_unit_test(labels_become_annotations_and_bench_rows),
};
KIT_MAIN(tests)
