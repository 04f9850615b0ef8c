/* tests/feedback/test_pairs.c - which pairs a file offers, and what is written about them. */
#include "feedback/scripted.h"

static struct rows rows;
static struct candidate_list list;
static struct err e;

static int setup(void **state)
{
    rows = (struct rows){0};
    list = (struct candidate_list){0};
    e = (struct err){0};
    return 0;
}

static int teardown(void **state)
{
    candidates_release(&list);
    rows_release(&rows);
    return 0;
}

static int load(const char *text, bool all)
{
    assert_int_equal(rows_read(&rows, kit_text("in.jsonl", text), 0, &e), 0);
    return candidates_read(&list, &rows, all, &e);
}

static void completions_give_disjoint_pairs_or_all(void **state)
{
    const char *text = "{\"id\":\"p1\",\"prompt\":\"x\",\"completions\":[\"a\",\"b\",\"c\",\"d\"]}\n";
    assert_int_equal(load(text, false), 0);
    assert_int_equal(list.n, 2);
    assert_string_equal(list.item[1].first, "c");
    assert_string_equal(list.item[1].second, "d");
    assert_string_equal(list.item[1].id, "p1");
    candidates_release(&list);
    assert_int_equal(candidates_read(&list, &rows, true, &e), 0);
    assert_int_equal(list.n, 6);
}

static void identical_texts_are_left_out_and_counted(void **state)
{
    assert_int_equal(load("{\"prompt\":\"x\",\"completions\":[\"a\",\"a\"]}\n{\"prompt\":\"y\",\"completions\":[\"a\",\"b\"]}\n", false), 0);
    assert_int_equal(list.n, 1);
    assert_int_equal(list.identical, 1);
}

static void rows_without_two_texts_are_rejected_with_a_reason(void **state)
{
    assert_int_equal(load("{\"prompt\":\"x\",\"completions\":[\"a\"]}\n{\"prompt\":\"y\",\"completions\":[\"a\",\"b\"]}\n"
                          "{\"prompt\":\"z\",\"completions\":[\"a\",7]}\n", false), 0);
    assert_int_equal(list.n, 1);
    assert_int_equal(rows.n_rejected, 2);
}

static void a_file_of_identical_texts_is_refused(void **state)
{
    assert_int_equal(load("{\"prompt\":\"x\",\"completions\":[\"a\",\"a\"]}\n", false), ERR_VALUE);
    kit_contains(e.msg, "identical");
}

static void the_order_shown_says_nothing_about_people(void **state)
{
    struct buf b = {0};
    for (int i = 0; i < 400; i++)
        buf_addf(&b, "{\"prompt\":\"x\",\"chosen\":\"good %d\",\"rejected\":\"bad %d\"}\n", i, i);
    assert_int_equal(load(b.s, false), 0);
    buf_release(&b);
    int first = 0;
    for (int i = 0; i < list.n; i++) {
        first += list.item[i].human == 1;
        assert_true(str_starts(list.item[i].human == 1 ? list.item[i].first : list.item[i].second, "good"));
    }
    assert_in_range(first, 150, 250);
}

static void conversations_become_transcripts_and_go_out_as_they_came(void **state)
{
    assert_int_equal(load("{\"prompt\":[{\"role\":\"user\",\"content\":\"hi\"}],\"chosen\":[{\"role\":\"assistant\",\"content\":\"a\"}],"
                          "\"rejected\":[{\"role\":\"assistant\",\"content\":\"b\"}]}\n", false), 0);
    assert_string_equal(list.item[0].prompt, "Human: hi\n\nAssistant:");
    assert_int_equal(strlen(list.item[0].first), 1);
    assert_true(json_is_array(list.item[0].prompt_json));
    assert_true(json_is_array(list.item[0].first_json));
}

static struct verdict second_better(void *arg, const char *prompt)
{
    size_t n;
    const char *s = field_of(prompt, "Summary 1 - ", &n);
    return (struct verdict){*s == 'b' ? 0.7 : 0.4, 0.9};
}

static void chosen_is_the_better_one_with_its_probability(void **state)
{
    assert_int_equal(load("{\"prompt\":\"x\",\"completions\":[\" a\",\" b\"]}\n", false), 0);
    struct script s = {second_better};
    struct provider who = scripted(&s);
    struct protocol_options o;
    struct protocol *p = NULL;
    protocol_defaults(&o);
    assert_int_equal(protocol_new(&p, NULL, &o, &e), 0);
    struct asker asker = {.provider = &who};
    struct labeler by = {&asker, p, 0.5};
    struct label l;
    struct label_item item = {list.item[0].prompt, list.item[0].first, list.item[0].second};
    assert_int_equal(label_items(&l, NULL, &by, &item, 1, &e), 0);
    near(l.p, 0.35, 1e-12);     // order A 0.4, order B 1 - 0.7

    json_t *row = pair_row(&list.item[0], &l, &by);
    assert_string_equal(json_string_value(json_object_get(row, "chosen")), " b");
    assert_string_equal(json_string_value(json_object_get(row, "rejected")), " a");
    near(json_real_value(json_object_get(row, "label_prob")), 0.65, 1e-12);
    near(json_real_value(json_object_get(row, "label_order_a")), 0.7, 1e-12);  // chosen shown first
    near(json_real_value(json_object_get(row, "label_order_b")), 0.6, 1e-12);
    json_decref(row);

    row = label_row(&list.item[0], &l, &by);
    struct candidates c;
    struct label back;
    assert_int_equal(label_from_row(&c, &back, row, "row", &e), 0);
    assert_true(back.p == l.p && back.slot[0] == l.slot[0] && back.same_slot == l.same_slot);
    assert_string_equal(c.second, " b");
    json_object_set_new(row, "label_first", json_real(1.5));
    assert_int_equal(label_from_row(&c, &back, row, "row", &e), ERR_VALUE);
    json_decref(row);
    protocol_free(p);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(completions_give_disjoint_pairs_or_all, setup, teardown),
    cmocka_unit_test_setup_teardown(identical_texts_are_left_out_and_counted, setup, teardown),
    cmocka_unit_test_setup_teardown(rows_without_two_texts_are_rejected_with_a_reason, setup, teardown),
    cmocka_unit_test_setup_teardown(a_file_of_identical_texts_is_refused, setup, teardown),
    cmocka_unit_test_setup_teardown(the_order_shown_says_nothing_about_people, setup, teardown),
    cmocka_unit_test_setup_teardown(conversations_become_transcripts_and_go_out_as_they_came, setup, teardown),
    cmocka_unit_test_setup_teardown(chosen_is_the_better_one_with_its_probability, setup, teardown),
};
KIT_MAIN(tests)
