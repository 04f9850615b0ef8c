/* tests/feedback/test_hybrid.c - from verdicts and comparisons to one order and its pairs. */
#include <math.h>

#include "feedback/feedback.h"
#include "kit/kit.h"

enum { K = 4 };
struct four { struct hybrid_item it; struct hybrid_answer answer[K]; struct hybrid_duel duel[6]; };

/* Four answers a to d; right[i] says whose verdict is right. */
static struct hybrid_item *four(struct four *f, enum category category, const bool right[K])
{
    static const char *const text[K] = {"a", "b", "c", "d"};
    *f = (struct four){0};
    f->it = (struct hybrid_item){.id = "x", .category = category, .answer = f->answer, .n = K, .duel = f->duel};
    for (int i = 0; i < K; i++)
        f->answer[i] = (struct hybrid_answer){.text = text[i], .truth = -1, .score = NAN,
                                              .verdict = right[i] ? ANSWER_RIGHT : ANSWER_WRONG, .by = "rule"};
    return &f->it;
}

static void compared(struct hybrid_item *it, int i, int j, double order_a, double order_b)
{
    it->duel[it->n_duels++] = (struct hybrid_duel){i, j, (order_a + order_b) / 2, {order_a, order_b}, true, false};
}

static void right_answers_come_first_and_wrong_ones_are_never_paired(void **state)
{
    struct four f;
    struct hybrid_pair pair[6];
    struct hybrid_item *it = four(&f, CATEGORY_MATH, (bool[]){false, true, false, true});
    hybrid_order(it);
    assert_int_equal(it->state, HYBRID_ORDERED);
    int n = hybrid_pairs(pair, it, PAIRS_ALL);
    assert_int_equal(n, 4);         // c (K - c) + no decided pair among the right ones
    for (int i = 0; i < n; i++) {
        assert_int_equal(it->answer[pair[i].winner].verdict, ANSWER_RIGHT);
        assert_int_equal(it->answer[pair[i].loser].verdict, ANSWER_WRONG);
        assert_int_equal(pair[i].stage, STAGE_CORRECTNESS);
        assert_true(pair[i].p == 1);
    }
}

static void reasoning_orders_the_right_ones(void **state)
{
    struct four f;
    struct hybrid_pair pair[6];
    struct hybrid_item *it = four(&f, CATEGORY_MATH, (bool[]){true, true, false, true});
    compared(it, 0, 1, 0.2, 0.3);
    compared(it, 0, 3, 0.9, 0.7);
    compared(it, 1, 3, 0.8, 0.8);
    hybrid_order(it);
    assert_int_equal(it->answer[1].rank, 1);
    assert_int_equal(it->answer[0].rank, 2);
    assert_int_equal(it->answer[3].rank, 3);
    assert_int_equal(it->answer[2].rank, 4);
    assert_int_equal(hybrid_pairs(pair, it, PAIRS_ALL), 6);     // c (K - c) + c (c - 1) / 2
    assert_int_equal(hybrid_pairs(pair, it, PAIRS_ADJACENT), 3);
    assert_int_equal(hybrid_pairs(pair, it, PAIRS_BEST_WORST), 1);
    assert_int_equal(pair[0].winner, 1);
    assert_int_equal(pair[0].loser, 2);
}

static void a_slot_is_no_preference(void **state)
{
    struct four f;
    struct hybrid_item *it = four(&f, CATEGORY_MATH, (bool[]){true, true, true, true});
    it->n = 2;
    compared(it, 0, 1, 0.9, 0.4);      // orders disagree: a tie, whatever their mean
    hybrid_order(it);
    assert_int_equal(it->state, HYBRID_TIED);
    assert_true(it->answer[0].wins == 0.5 && it->answer[1].wins == 0.5);
}

static void all_wrong_gives_no_pair(void **state)
{
    struct four f;
    struct hybrid_pair pair[6];
    struct hybrid_item *it = four(&f, CATEGORY_CLOSED_QA, (bool[]){false, false, false, false});
    compared(it, 0, 1, 0.9, 0.9);      // even where somebody compared them
    hybrid_order(it);
    assert_int_equal(it->state, HYBRID_ALL_WRONG);
    assert_int_equal(hybrid_pairs(pair, it, PAIRS_ALL), 0);
}

static void unreadable_counts_as_wrong(void **state)
{
    struct four f;
    struct hybrid_item *it = four(&f, CATEGORY_MATH, (bool[]){true, false, false, false});
    it->answer[1].verdict = ANSWER_UNREADABLE;
    hybrid_order(it);
    assert_int_equal(it->answer[1].rank, 2);
    assert_int_equal(it->answer[2].rank, 2);
}

static void what_cannot_be_checked_is_ordered_by_preference(void **state)
{
    struct four f;
    struct hybrid_pair pair[6];
    struct hybrid_item *it = four(&f, CATEGORY_WRITING, (bool[]){false, false, false, false});
    compared(it, 2, 0, 0.8, 0.6);
    hybrid_order(it);
    assert_int_equal(it->answer[2].rank, 1);
    assert_true(hybrid_pairs(pair, it, PAIRS_ALL) > 0);
    assert_int_equal(pair[0].stage, STAGE_GENERAL);
}

static void a_labeler_s_doubt_stays_in_the_pair(void **state)
{
    struct four f;
    struct hybrid_pair pair[6];
    struct hybrid_item *it = four(&f, CATEGORY_MATH, (bool[]){true, false, false, false});
    it->n = 2;
    for (int i = 0; i < 2; i++) {
        it->answer[i].by = "ai_blind";
        it->answer[i].blind = (struct ai_verdict){.asked = true, .p = i ? 0.4 : 0.8, .verdict = i ? ANSWER_WRONG : ANSWER_RIGHT};
    }
    hybrid_order(it);
    assert_int_equal(hybrid_pairs(pair, it, PAIRS_ALL), 1);
    assert_true(fabs(pair[0].p - 0.48 / (0.48 + 0.08)) < 1e-12);    // 0.8 (1 - 0.4) against 0.4 (1 - 0.8)
}

static void an_answer_that_nobody_checked_makes_no_pair(void **state)
{
    struct four f;
    struct hybrid_pair pair[6];
    struct hybrid_item *it = four(&f, CATEGORY_MATH, (bool[]){true, false, true, false});
    it->answer[1].by = NULL;        // its reply never came: it may well be right
    hybrid_order(it);
    assert_int_equal(it->state, HYBRID_UNCHECKED);
    assert_int_equal(hybrid_pairs(pair, it, PAIRS_ALL), 0);
}

static void toxic_prompts_are_left_to_others(void **state)
{
    struct four f;
    struct hybrid_item *it = four(&f, CATEGORY_TOXICITY_REJECTION, (bool[]){true, false, false, false});
    hybrid_order(it);
    assert_int_equal(it->state, HYBRID_LEFT);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(right_answers_come_first_and_wrong_ones_are_never_paired),
    cmocka_unit_test(reasoning_orders_the_right_ones),
    cmocka_unit_test(a_slot_is_no_preference),
    cmocka_unit_test(all_wrong_gives_no_pair),
    cmocka_unit_test(unreadable_counts_as_wrong),
    cmocka_unit_test(what_cannot_be_checked_is_ordered_by_preference),
    cmocka_unit_test(a_labeler_s_doubt_stays_in_the_pair),
    cmocka_unit_test(an_answer_that_nobody_checked_makes_no_pair),
    cmocka_unit_test(toxic_prompts_are_left_to_others),
};
KIT_MAIN(tests)
