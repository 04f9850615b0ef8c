/* tests/feedback/test_judge.c - AlpacaEval's ways of judging, with a scripted judge: order mapped back, missing labels,
 * verdicts in text, ranks. */
#include <math.h>

#include "feedback/feedback.h"
#include "kit/kit.h"

/* How the judge answers: it likes the longer output with probability `likes`, whatever the slot; or always one slot. */
struct judge { double likes; int slot; const char *say; int asked; char last[4096]; };

static bool second_longer(const char *q)
{
    const char *one = strstr(q, "# Output of model m\n"), *two = strstr(q, "# Output of model M\n"), *end = strstr(q, "\n\n# Verdict");
    if (!one)
        one = strstr(q, "# Output (a)\n"), two = strstr(q, "# Output (b)\n");
    assert_true(one && two && end && one < two && two < end);
    return end - two > two - one;
}

static int judge_ask(struct provider *p, struct reply *out, const struct ask *ask, int n, ask_done *done, void *arg, struct err *err)
{
    struct judge *j = p->state;
    for (int i = 0; i < n; i++) {
        const char *q = ask[i].prompt ? ask[i].prompt : ask[i].message[0].content;
        j->asked++;
        snprintf(j->last, sizeof j->last, "%s", q);
        if (j->say) {
            out[i] = (struct reply){.text = strdup(j->say)};
        } else if (ask[i].kind == ASK_TEXT) {
            bool b = j->slot ? j->slot == 2 : second_longer(q);
            out[i] = (struct reply){.text = strdup(b ? "Output (b)" : "Output (a)")};
        } else {
            double m = j->slot ? (j->slot == 2 ? 0.9 : 0.1) : second_longer(q) ? j->likes : 1 - j->likes;
            out[i] = (struct reply){.has_logps = true, .mass = 1, .price = 0.01, .seconds = 0.5};
            out[i].word[0].sum = log(1 - m);
            out[i].word[1].sum = log(m);
        }
        if (!done(arg, i))
            break;
    }
    return 0;
}

static struct judgement judged(struct judge *j, struct judge_options *o, const char *instruction, const char *first, const char *second, struct arena *a)
{
    struct provider who = {.state = j, .fingerprint = "judge", .ask = judge_ask};
    struct asker asker = {.provider = &who};
    struct judge_item item = {instruction, first, second, NULL};
    struct judgement out;
    struct err err = {0};
    if (judge_pairs(&out, &asker, o, &item, 1, a, &err))
        fail_msg("%s", err.msg);
    return out;
}

static void preference_is_one_plus_probability_and_order_is_mapped_back(void **state)
{
    struct arena a = {0};
    struct judge_options o;
    int swapped = 0;
    judge_defaults(&o);
    for (int i = 0; i < 40; i++) {
        struct judge j = {.likes = 0.8};
        char instruction[32];
        snprintf(instruction, sizeof instruction, "instruction %d", i);
        struct judgement v = judged(&j, &o, instruction, "short", "a much longer output", &a);
        assert_true(fabs(v.preference - 1.8) < 1e-9);
        swapped += v.swapped;
        v = judged(&j, &o, instruction, "a much longer output", "short", &a);
        assert_true(fabs(v.preference - 1.2) < 1e-9);
        assert_true(v.price == 0.01 && v.seconds == 0.5);
    }
    assert_true(swapped > 8 && swapped < 32);
    arena_release(&a);
}

static void a_judge_of_slots_is_even_in_both_orders(void **state)
{
    struct arena a = {0};
    for (int kind = JUDGE_TEXT; kind <= JUDGE_WEIGHTED; kind++)
        for (int slot = 1; slot <= 2; slot++) {
            struct judge j = {.slot = slot};
            struct judge_options o = {.kind = (enum judge_kind)kind, .order = JUDGE_BOTH};
            struct judgement v = judged(&j, &o, "x", "one", "two", &a);
            assert_true(fabs(v.preference - 1.5) < 1e-9);
            assert_int_equal(j.asked, 2);
        }
    arena_release(&a);
}

static void equal_outputs_are_a_draw_and_nobody_is_asked(void **state)
{
    struct arena a = {0};
    struct judge j = {.likes = 1};
    struct judge_options o;
    judge_defaults(&o);
    struct judgement v = judged(&j, &o, "x", "same", "same", &a);
    assert_true(v.preference == 1.5 && j.asked == 0 && !v.raw);
    arena_release(&a);
}

static void verdicts_are_read_where_a_line_begins(void **state)
{
    static const struct { const char *say; double p; } cases[] = {
        {"Output (a)", 0}, {"Output (b)", 1}, {"\n**Output (b)**", 1}, {"(a)", 0}, {"Both are fine.\nOutput (b)", 1}, {"I like output (a).", NAN},
        {"Output (c)", NAN}, {"", NAN}, {"Output (b)\nOutput (a)", 1}, {"Neither", NAN}, {"output (A)", NAN},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct reply r = {.text = (char *)cases[i].say};
        double p = judge_read(&r, JUDGE_TEXT);
        if (!(p == cases[i].p || (isnan(p) && isnan(cases[i].p))))
            fail_msg("\"%s\" reads as %g", cases[i].say, p);
    }
}

static void a_missing_label_counts_as_nothing_and_two_as_unread(void **state)
{
    struct reply r = {.has_logps = true, .mass = 0.5};
    r.word[0].sum = log(0.5);
    r.word[1].sum = -INFINITY;
    assert_true(judge_read(&r, JUDGE_WEIGHTED) == 0);
    r.word[0].sum = NAN;
    assert_true(isnan(judge_read(&r, JUDGE_WEIGHTED)));
    r.word[1].sum = log(0.1);
    assert_true(judge_read(&r, JUDGE_WEIGHTED) == 1);
    r = (struct reply){.text = (char *)" M"};
    assert_true(judge_read(&r, JUDGE_WEIGHTED) == 1);
    r.text = (char *)"maybe";
    assert_true(isnan(judge_read(&r, JUDGE_WEIGHTED)));
    r = (struct reply){.state = REPLY_REFUSED, .text = (char *)"M"};
    assert_true(isnan(judge_read(&r, JUDGE_WEIGHTED)));
}

static void the_question_shows_what_it_should(void **state)
{
    struct judge_options o = {.kind = JUDGE_TEXT};
    struct judge_item item = {"Say hello.", "Hello!", "Go away.", "Hi."};
    char *q = judge_question(&o, &item, true);
    assert_string_equal(q, "Two assistants were given the same instruction. Decide whose output a person who gave it would rather have: the one "
                           "that does what was asked, is correct, and is clear.\n\n# Instruction\nSay hello.\n\n# A good answer, to compare with\n"
                           "Hi.\n\n# Output (a)\nGo away.\n\n# Output (b)\nHello!\n\n# Verdict\nWhich is better? Write nothing but Output (a) or "
                           "Output (b).\n");
    free(q);
    o.kind = JUDGE_WEIGHTED;
    item.reference = NULL;
    q = judge_question(&o, &item, false);
    kit_contains(q, "# Output of model m\nHello!\n\n# Output of model M\nGo away.\n\n");
    assert_null(strstr(q, "A good answer"));
    kit_contains(q, "Write nothing but m or M.\nThe better model:");
    free(q);
}

/* ---- which of K ---------------------------------------------------------------------------- */

static struct ranked ranked(struct judge *j, struct judge_options *o, enum rank_how how, const char *instruction, struct arena *a)
{
    struct provider who = {.state = j, .fingerprint = "judge", .ask = judge_ask};
    struct asker asker = {.provider = &who};
    struct rank_item item = {instruction, NULL, {"two2", "a longer output of the four", "o", "three 3"}, 4};
    struct ranked out;
    struct err err = {0};
    if (judge_rank(&out, &asker, o, how, &item, 1, a, &err))
        fail_msg("%s", err.msg);
    return out;
}

static void a_tournament_orders_by_wins(void **state)
{
    struct arena a = {0};
    struct judge j = {.likes = 0.9};
    struct judge_options o;
    judge_defaults(&o);
    struct ranked r = ranked(&j, &o, RANK_TOURNAMENT, "x", &a);
    static const int want[] = {3, 1, 4, 2};
    assert_int_equal(j.asked, 6);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(r.rank[i], want[i]);
        assert_true(r.wins[i] == 4 - want[i]);
    }
    arena_release(&a);
}

static void a_list_is_mapped_back_to_what_was_shown(void **state)
{
    struct arena a = {0};
    struct judge_options o;
    judge_defaults(&o);
    for (int i = 0; i < 8; i++) {
        struct judge j = {.say = "3 > 1 > 4 > 2"};
        char instruction[16];
        snprintf(instruction, sizeof instruction, "x%d", i);
        struct ranked r = ranked(&j, &o, RANK_LISTWISE, instruction, &a);
        static const char *const text[] = {"two2", "a longer output of the four", "o", "three 3"};
        static const int place[] = {2, 4, 1, 3};       // of the outputs as shown
        assert_int_equal(r.unread, 0);
        for (int k = 0; k < 4; k++) {
            char shown[64];
            snprintf(shown, sizeof shown, "# Output %d\n", k + 1);
            const char *at = strstr(j.last, shown) + strlen(shown);
            for (int m = 0; m < 4; m++)
                if (!strncmp(at, text[m], strlen(text[m])) && at[strlen(text[m])] == '\n')
                    assert_int_equal(r.rank[m], place[k]);
        }
    }
    struct judge j = {.say = "1 > 1 > 2 > 3"};
    struct ranked r = ranked(&j, &o, RANK_LISTWISE, "x", &a);
    assert_true(r.unread == 1 && r.rank[0] == 0);
    arena_release(&a);
}

static void orders_are_read_whole_or_not_at_all(void **state)
{
    int place[4];
    assert_true(order_read(place, 3, "2 > 1 > 3"));
    assert_true(place[0] == 1 && place[1] == 0 && place[2] == 2);
    assert_true(order_read(place, 3, "[3, 2, 1]"));
    assert_true(order_read(place, 2, "Output 2 is better than output 1."));
    assert_false(order_read(place, 3, "2 > 1"));
    assert_false(order_read(place, 3, "2 > 2 > 1"));
    assert_false(order_read(place, 3, "4 > 1 > 2"));
    assert_false(order_read(place, 3, "99999999999999999999 > 1 > 2"));
    assert_false(order_read(place, 3, ""));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(preference_is_one_plus_probability_and_order_is_mapped_back),
    cmocka_unit_test(a_judge_of_slots_is_even_in_both_orders),
    cmocka_unit_test(equal_outputs_are_a_draw_and_nobody_is_asked),
    cmocka_unit_test(verdicts_are_read_where_a_line_begins),
    cmocka_unit_test(a_missing_label_counts_as_nothing_and_two_as_unread),
    cmocka_unit_test(the_question_shows_what_it_should),
    cmocka_unit_test(a_tournament_orders_by_wins),
    cmocka_unit_test(a_list_is_mapped_back_to_what_was_shown),
    cmocka_unit_test(orders_are_read_whole_or_not_at_all),
};
KIT_MAIN(tests)
