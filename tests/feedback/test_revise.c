/* tests/feedback/test_revise.c - critique and revision. */
#include "feedback/answering.h"

/* A critique names its round; a revision adds a letter to the answer it was given. */
static void revises(void *arg, const struct ask *a, struct reply *r)
{
    const char *answer = strstr(text_of(a), "Assistant: start"), *end = answer ? strchr(answer, '\n') : NULL;
    assert_non_null(end);
    char text[64];
    snprintf(text, sizeof text, " %.*s%s ", (int)(end - answer - 11), answer + 11, str_ends(text_of(a), "Revision:") ? "x" : " is bad");
    say_text(r, text);
}

static void each_round_revises_the_last_answer_under_a_new_principle(void **state)
{
    struct revise_options o;
    struct answering who = {revises};
    struct provider provider = {.state = &who, .fingerprint = "function", .ask = ask_function};
    struct asker asker = {.provider = &provider};
    struct revise_item item[] = {{"Human: hi\n\nAssistant:", "start"}, {"Human: ho\n\nAssistant:", "start"}};
    struct revision out[2 * PRINCIPLES], again[PRINCIPLES];
    struct arena a = {0};
    struct err err = {0};
    revise_defaults(&o);
    o.rounds = PRINCIPLES;
    o.exemplars = 0;
    if (revise_items(out, &asker, item, 2, &o, &a, &err))
        fail_msg("%s", err.msg);
    int met = 0, different = 0;
    for (int k = 0; k < PRINCIPLES; k++) {
        char expected[32] = "start";
        memset(expected + 5, 'x', (size_t)k + 1);
        expected[6 + k] = '\0';
        assert_string_equal(out[k].text, expected);
        expected[5 + k] = '\0';
        assert_memory_equal(out[k].critique, expected, (size_t)k + 5);
        met |= 1 << (out[k].principle - 1);
        different += out[k].principle != out[PRINCIPLES + k].principle;
    }
    assert_int_equal(met, (1 << PRINCIPLES) - 1);
    assert_true(different > 8);
    assert_int_equal(revise_items(again, &asker, &item[1], 1, &o, &a, &err), 0);    // alone as in company
    for (int k = 0; k < PRINCIPLES; k++)
        assert_int_equal(again[k].principle, out[PRINCIPLES + k].principle);
    o.rounds = PRINCIPLES + 1;
    assert_int_equal(revise_items(out, &asker, item, 1, &o, &a, &err), ERR_VALUE);
    arena_release(&a);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(each_round_revises_the_last_answer_under_a_new_principle),
};
KIT_MAIN(tests)
