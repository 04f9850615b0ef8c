/* tests/feedback/test_own.c - protocols as shipped and from files, and what is refused of them. */
#include "feedback/answering.h"

static void eight_examples_of_each_task_lean_to_no_slot(void **state)
{
    for (int task = 0; task < 3; task++) {
        struct protocol_options o = defaults();
        struct bench b;
        o.task = (enum label_task)task;
        o.shipped_exemplars = 8;
        o.cot = true;
        bench_open(&b, "pairwise", &o, says_one, NULL);
        int first = 0;
        for (int i = 0; i < 8; i++) {
            const struct exemplar *e = &b.p->form.exemplar[i];
            first += e->better == 1;
            assert_true(strlen(e->rationale) > 20 && strlen(e->first) && strlen(e->second) && strlen(e->text) > 20);
        }
        assert_int_equal(b.p->form.n_exemplars, 8);
        assert_int_equal(first, 4);
        bench_close(&b);
        struct protocol *p;
        o.shipped_exemplars = 9;
        assert_int_equal(protocol_new(&p, NULL, &o, NULL), ERR_VALUE);
    }
}

static void refused(const char *yaml, const char *part)
{
    struct protocol *p = NULL;
    struct protocol_options o = defaults();
    struct err err = {0};
    if (protocol_new(&p, kit_text("mine.yaml", yaml), &o, &err) == 0)
        fail_msg("accepted: %s", yaml);
    kit_contains(err.msg, "mine.yaml");
    kit_contains(err.msg, part);
}

static void what_is_wrong_with_a_file_is_said_by_line_and_key(void **state)
{
#define GOOD "template: \"{first} {second}\"\nending: \"=\"\n"
    refused("[]", "a mapping");
    refused("ending: x", "'template' is missing");
    refused(GOOD "\npreambel: x", "line 4, 'preambel': there is no such key; did you mean 'preamble'?");
    refused("template: \"{first} {secnd}\"\nending: x", "line 1, 'template': {secnd} is no place; did you mean {second}?");
    refused("template: \"{first}\"\nending: x", "{second} does not occur");
    refused(GOOD "labels: [A]", "line 3, 'labels'");
    refused(GOOD "labels: [A, A]", "two different strings");
    refused(GOOD "ending: y", "twice");
    refused("template: \"{first} {second}\"\nending: 5", "line 2, 'ending': expected a string");
    refused(GOOD "kind: pairs", "line 3, 'kind': found \"pairs\", expected one of pair, rating");
    refused(GOOD "scale: {a: 1, b: 2}", "belongs to kind rating");
    refused("kind: rating\ntemplate: \"{response}\"\nending: x", "'scale'");
    refused("kind: rating\ntemplate: \"{response}\"\nending: x\nscale: {a: 1, b: 1}", "line 4, 'scale': all words have the same value");
    refused("kind: rating\ntemplate: \"{response}\"\nending: x\nscale: {a: 1, b: x}", "no number");
    refused(GOOD "exemplars:\n  - {text: t, first: a, second: b, better: 1}\n  - {text: t, first: a, second: b, better: 3}",
            "line 5, 'exemplars/1': \"better\" is 3");
    refused(GOOD "exemplars:\n  - {text: t, first: a, second: b, best: 1}", "'exemplars/0/best': there is no such key");
    refused(GOOD "cot: true", "no lead of a rationale");
    refused(GOOD "rationale: {}\ncot: true\nexemplars: [{text: t, first: a, second: b, better: 1}]", "no \"rationale\"");
    refused("template: \"{first} {second} {principle}\"\nending: x", "there are no 'principles'");
    refused(GOOD "principles: [a, 5]", "'principles/1'");
    refused(GOOD "order: any", "line 3, 'order'");
#undef GOOD
}

static void impossible_plans_are_refused(void **state)
{
    struct protocol *p = NULL;
    struct err err = {0};
    struct protocol_options o = defaults();
    o.rationales = 3;
    assert_int_equal(protocol_new(&p, NULL, &o, &err), ERR_VALUE);
    kit_contains(err.msg, "chain of thought");
    o.cot = true;
    o.temperature = 0;
    assert_int_equal(protocol_new(&p, NULL, &o, &err), ERR_VALUE);
    kit_contains(err.msg, "temperature 0");
    o = defaults();
    o.principle = 17;
    assert_int_equal(protocol_new(&p, "constitution", &o, &err), ERR_VALUE);
    o = defaults();
    o.scale = "1-7";
    assert_int_equal(protocol_new(&p, "rating", &o, &err), ERR_VALUE);
    kit_contains(err.msg, "1-10, 1-5 and 0-4");
    assert_int_equal(protocol_new(&p, "pairwiese", &o, &err), ERR_VALUE);
    kit_contains(err.msg, "did you mean pairwise?");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(eight_examples_of_each_task_lean_to_no_slot),
    cmocka_unit_test(what_is_wrong_with_a_file_is_said_by_line_and_key),
    cmocka_unit_test(impossible_plans_are_refused),
};
KIT_MAIN(tests)
