/* tests/feedback/test_protocols.c - what protocols make of replies: slots, orders, rationales, principles, ratings. */
#include "feedback/answering.h"

/* ---- slots ------------------------------------------------------------------------------------- */

static void a_judge_that_always_says_one_gives_one_half_for_every_pair(void **state)
{
    static const char *const name[] = {"pairwise", "constitution"};
    static const char *const pair[][2] = {{"x", "yy"}, {"yy", "x"}, {"no", "a long answer\nin lines"}, {"", "1"}};
    for (int k = 0; k < 2 * 3 * 2 * 2 * 2 * 2; k++) {
        struct protocol_options o = defaults();
        o.task = (enum label_task)(k / 2 % 3);
        o.ask_harmless = k / 6 % 2;
        o.cot = k / 12 % 2;
        o.chat = k / 24 % 2;
        o.votes = k / 48 % 2;
        struct bench b;
        bench_open(&b, name[k % 2], &o, says_one, NULL);
        for (size_t i = 0; i < ARRAY_LEN(pair); i++) {
            struct label l = labelled(&b, "\n\nHuman: hi\n\nAssistant:", pair[i][0], pair[i][1]);
            assert_int_equal(l.state, LABEL_ANSWERED);
            near(l.p, 0.5, 1e-12);
            assert_true(l.same_slot);
            assert_int_equal(l.slot[0], 1);
        }
        bench_close(&b);
    }
}

/* Names the slot that holds the text "bad". */
static void names_the_bad(void *arg, const struct ask *a, struct reply *r)
{
    const char *text = text_of(a), *bad = strstr(text, "bad"), *good = strstr(text, "good");
    say_two(r, bad < good ? 0.9 : 0.2, bad < good ? 0.1 : 0.8);
}

static void most_harmful_is_turned_round_and_more_harmless_is_not(void **state)
{
    for (int ask_harmless = 0; ask_harmless < 2; ask_harmless++) {
        struct protocol_options o = defaults();
        struct bench b;
        o.task = TASK_HARMLESS;
        o.ask_harmless = ask_harmless;
        o.preamble = "P";
        bench_open(&b, "pairwise", &o, names_the_bad, NULL);
        struct label l = labelled(&b, "hi", "good", "bad");
        // Order A has the bad one second: 0.8 for slot 2; order B first: 0.9 for slot 1.
        near(l.order[0], ask_harmless ? 0.2 : 0.8, 1e-12);
        near(l.order[1], ask_harmless ? 0.1 : 0.9, 1e-12);
        near(l.p, ask_harmless ? 0.15 : 0.85, 1e-12);
        bench_close(&b);
    }
}

/* ---- one order at random --------------------------------------------------------------------------- */

enum { MANY = 200 };
struct many { char text[MANY][2][24]; struct label_item item[MANY]; struct label out[MANY]; };

static struct many *many_new(bool swapped)
{
    struct many *m = calloc(1, sizeof *m);
    for (int i = 0; i < MANY; i++) {
        snprintf(m->text[i][0], 24, "first %d", i);
        snprintf(m->text[i][1], 24, "second %d", i);
        m->item[i] = (struct label_item){"a text", m->text[i][swapped], m->text[i][!swapped], NULL};
    }
    return m;
}

/* By the texts alone, with a lean to slot 1. */
static void by_text(void *arg, const struct ask *a, struct reply *r)
{
    double z = (double)(hash_bytes(text_of(a), strlen(text_of(a))).lo % 1000) / 1000;
    say_two(r, 0.3 + 0.6 * z, 0.7 - 0.6 * z);
}

static void one_order_at_random_is_the_same_for_any_batch_and_either_way_round(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    o.order = ORDER_RANDOM;
    o.seed = 5;
    bench_open(&b, "pairwise", &o, by_text, NULL);
    struct many *all = many_new(false), *single = many_new(false), *back = many_new(true);
    assert_int_equal(label_items(all->out, NULL, &b.l, all->item, MANY, NULL), 0);
    assert_int_equal(b.who.asked, MANY);
    for (int i = MANY - 1; i >= 0; i--)
        assert_int_equal(label_items(&single->out[i], NULL, &b.l, &single->item[i], 1, NULL), 0);
    assert_int_equal(label_items(back->out, NULL, &b.l, back->item, MANY, NULL), 0);
    int shown_first = 0;
    for (int i = 0; i < MANY; i++) {
        assert_true(all->out[i].p == single->out[i].p);
        near(all->out[i].p + back->out[i].p, 1, 1e-12);
        assert_true(isnan(all->out[i].order[0]) != isnan(all->out[i].order[1]));
        assert_false(all->out[i].same_slot);
        shown_first += !isnan(all->out[i].order[0]);
    }
    assert_in_range(shown_first, MANY / 2 - 30, MANY / 2 + 30);     // four deviations
    free(all);
    free(single);
    free(back);
    bench_close(&b);
}

static void the_order_given_is_asked_alone(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    o.order = ORDER_FIXED;
    bench_open(&b, "pairwise", &o, names_the_bad, NULL);
    struct label l = labelled(&b, "hi", "good", "bad");
    near(l.p, 0.2, 1e-12);
    assert_true(isnan(l.order[1]));
    assert_int_equal(b.who.asked, 1);
    bench_close(&b);
}

/* ---- rationales and votes ------------------------------------------------------------------------------ */

/* The k-th rationale is "rK", and the verdict after it says K / 10. */
static void by_rationale(void *arg, const struct ask *a, struct reply *r)
{
    if (a->kind == ASK_TEXT) {
        char text[16];
        snprintf(text, sizeof text, "r%d", a->draw);
        say_text(r, text);
        return;
    }
    const char *at = strstr(text_of(a), "Rationale: r");
    assert_non_null(at);
    double p = 0.1 * (1 + at[12] - '0');
    say_two(r, p, 1 - p);
}

static void k_rationales_average_their_probabilities(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    struct arena texts = {0};
    o.cot = true;
    o.rationales = 4;
    bench_open(&b, "pairwise", &o, by_rationale, NULL);
    b.l.texts = &texts;
    struct label l = labelled(&b, "a text", "x", "y");
    near(l.order[0], (0.1 + 0.2 + 0.3 + 0.4) / 4, 1e-12);
    near(l.order[1], 1 - 0.25, 1e-12);
    near(l.p, 0.5, 1e-12);
    assert_int_equal(b.who.asked, 2 * 2 * 4);
    assert_string_equal(l.rationale[0], "r0");
    near(b.p->how.temperature, 0.7, 1e-12);
    arena_release(&texts);
    bench_close(&b);
}

/* Three of four samples prefer "good"; every fifth says nothing. */
static void votes_for_good(void *arg, const struct ask *a, struct reply *r)
{
    assert_int_equal(a->kind, ASK_TEXT);
    const char *text = text_of(a);
    bool first = strstr(text, "good") < strstr(text, "bad");
    if (a->draw % 5 == 4)
        say_text(r, "I cannot say.");
    else
        say_text(r, (a->draw % 5 == 3) != first ? "1" : " 2.");
}

static void votes_are_counted_and_what_says_nothing_is_left_out(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    o.votes = 20;
    bench_open(&b, "pairwise", &o, votes_for_good, NULL);
    struct label l = labelled(&b, "a text", "good", "bad");
    near(l.p, 0.75, 1e-12);
    near(l.mass, 0.8, 1e-12);
    assert_int_equal(l.state, LABEL_ANSWERED);
    near(b.p->how.temperature, 1, 0);
    bench_close(&b);
}

/* A provider without log-probs says a word where it is asked for words. */
static void says_good(void *arg, const struct ask *a, struct reply *r)
{
    const char *text = text_of(a);
    say_text(r, arg ? arg : strstr(text, "good") < strstr(text, "bad") ? "Preferred Summary=1" : "2 is better");
}

static void without_log_probs_the_text_is_the_verdict(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    bench_open(&b, "pairwise", &o, says_good, NULL);
    struct label l = labelled(&b, "a text", "good", "bad");
    near(l.p, 1, 0);
    assert_false(l.same_slot);
    b.who.arg = "well, well";
    l = labelled(&b, "a text", "good", "bad");
    assert_int_equal(l.state, LABEL_NO_ANSWER);
    near(l.p, 0.5, 0);
    bench_close(&b);
}

static void loses_rationales(void *arg, const struct ask *a, struct reply *r)
{
    assert_int_equal(a->kind, ASK_TEXT);
    r->state = *(enum reply_state *)arg;
}

static void a_rationale_that_did_not_come_is_no_label(void **state)
{
    enum reply_state how[] = {REPLY_FAILED, REPLY_REFUSED, REPLY_TOO_LONG};
    enum label_state becomes[] = {LABEL_FAILED, LABEL_REFUSED, LABEL_TOO_LONG};
    for (int k = 0; k < 3; k++) {
        struct protocol_options o = defaults();
        struct bench b;
        o.cot = true;
        bench_open(&b, "pairwise", &o, loses_rationales, &how[k]);
        assert_int_equal(labelled(&b, "a text", "x", "y").state, becomes[k]);
        assert_int_equal(b.who.asked, 2);
        bench_close(&b);
    }
}

/* ---- constitution ------------------------------------------------------------------------------------------ */

/* Low masses on both letters, the second a little ahead: what an early clamp would make a tie. */
static void timid(void *arg, const struct ask *a, struct reply *r)
{
    const char *text = text_of(a);
    bool first = strstr(text, "good") < strstr(text, "bad");
    if (a->kind == ASK_TEXT)
        say_text(r, "Hm.");
    else
        say_two(r, first ? 0.30 : 0.22, first ? 0.22 : 0.30);
}

static void certain(void *arg, const struct ask *a, struct reply *r)
{
    const char *text = text_of(a);
    bool first = strstr(text, "good") < strstr(text, "bad");
    if (a->kind == ASK_TEXT)
        say_text(r, "Clearly.");
    else
        say_two(r, first ? 0.999 : 0.001, first ? 0.001 : 0.999);
}

static void the_clamp_comes_after_the_winner_is_known(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    o.cot = true;
    bench_open(&b, "constitution", &o, certain, NULL);
    near(b.p->how.clamp, 0.40, 0);
    struct label l = labelled(&b, "hi", "bad", "good");
    near(l.p, 0.40, 0);
    near(l.order[0], 0.001, 1e-12);         // what it said is kept
    assert_int_equal(l.slot[0], 2);
    near(labelled(&b, "hi", "good", "bad").p, 0.60, 0);
    b.who.answer = timid;
    l = labelled(&b, "hi", "bad", "good");
    assert_true(l.p < 0.5);
    near(l.p, 0.22 / 0.52, 1e-12);
    bench_close(&b);
    o.cot = false;
    bench_open(&b, "constitution", &o, certain, NULL);
    near(labelled(&b, "hi", "bad", "good").p, 0.001, 1e-12);
    bench_close(&b);
}

/* Which principle a question has, from 1. */
static int principle_in(const char *text)
{
    struct bench b;
    struct protocol_options o = defaults();
    bench_open(&b, "constitution", &o, certain, NULL);
    int found = 0;
    for (int i = 0; i < b.p->form.n_principles; i++)
        if (strstr(text, b.p->form.principle[i]))
            found = i + 1;
    bench_close(&b);
    return found;
}

struct seen { int count[PRINCIPLES + 1]; };
static void by_principle(void *arg, const struct ask *a, struct reply *r)
{
    struct seen *s = arg;
    int k = principle_in(text_of(a));
    assert_true(k > 0);
    s->count[k]++;
    say_two(r, k / 20.0, 1 - k / 20.0);
}

static void a_principle_is_drawn_for_each_pair_whatever_the_batch(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    struct seen seen = {0};
    bench_open(&b, "constitution", &o, by_principle, &seen);
    struct many *all = many_new(false), *back = many_new(true);
    assert_int_equal(label_items(all->out, NULL, &b.l, all->item, MANY, NULL), 0);
    assert_int_equal(label_items(back->out, NULL, &b.l, back->item, MANY / 2, NULL), 0);
    for (int i = 0; i < MANY; i++) {
        // Both orders met the same one: slot 1 has k / 20 in each.
        near(all->out[i].order[0], all->out[i].principle / 20.0, 1e-12);
        near(all->out[i].order[1], 1 - all->out[i].principle / 20.0, 1e-12);
        if (i < MANY / 2)
            assert_int_equal(all->out[i].principle, back->out[i].principle);
    }
    for (int k = 1; k <= PRINCIPLES; k++)
        assert_true(seen.count[k] > 0);
    free(all);
    free(back);
    bench_close(&b);
}

static void all_principles_are_averaged(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    struct seen seen = {0};
    o.principle = PRINCIPLE_ALL;
    o.order = ORDER_FIXED;
    bench_open(&b, "constitution", &o, by_principle, &seen);
    struct label l = labelled(&b, "hi", "x", "y");
    near(l.p, 8.5 / 20, 1e-12);             // mean of 1 to 16
    assert_int_equal(b.who.asked, PRINCIPLES);
    assert_int_equal(l.principle, 0);
    bench_close(&b);
}

/* ---- ratings --------------------------------------------------------------------------------------------------- */

struct scores { double p[10]; };
static void rates(void *arg, const struct ask *a, struct reply *r)
{
    assert_string_equal(a->word[a->n_words - 1], a->n_words == 10 ? "10" : a->word[a->n_words - 1]);
    say(r, ((struct scores *)arg)->p, a->n_words);
}

static struct rating rated(struct bench *b)
{
    struct label_item it = {"a text", "an answer", NULL, NULL};
    struct rating r;
    struct err err = {0};
    if (rate_items(&r, NULL, &b->l, &it, 1, &err))
        fail_msg("%s", err.msg);
    return r;
}

static void ten_is_ten_and_not_one(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    // All that is said is "10": a reading that took its first token for "1" would find the worst score.
    struct scores s = {{[0] = 1e-9, [9] = 0.9}};
    for (int i = 1; i < 9; i++)
        s.p[i] = 1e-9;
    bench_open(&b, "rating", &o, rates, &s);
    struct rating r = rated(&b);
    near(r.value, 10, 1e-6);
    near(r.score, 1, 1e-6);
    near(r.mass, 0.9, 1e-6);
    bench_close(&b);
}

static void a_rating_is_the_expectation_scaled_to_one(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    struct scores s = {{0.05, 0.05, 0.05, 0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1}};
    double value = 0, mass = 0;
    for (int i = 0; i < 10; i++) {
        value += (i + 1) * s.p[i];
        mass += s.p[i];
    }
    bench_open(&b, "rating", &o, rates, &s);
    struct rating r = rated(&b);
    near(r.value, value / mass, 1e-12);
    near(r.score, (value / mass - 5.5) / 4.5, 1e-12);
    near(r.p[0], 0.05 / mass, 1e-12);
    near(r.p[9], 0.1 / mass, 1e-12);
    b.l.min_mass = 0.9;
    r = rated(&b);
    assert_int_equal(r.state, LABEL_NO_ANSWER);
    near(r.score, 0, 0);
    assert_true(isnan(r.value));
    bench_close(&b);
}

static void much_harm_is_a_low_score(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    struct scores s = {{1e-12, 1e-12, 1e-12, 1e-12, 0.9}};
    o.task = TASK_HARMLESS;
    o.scale = "0-4";
    bench_open(&b, "rating", &o, rates, &s);
    struct rating r = rated(&b);
    near(r.value, 4, 1e-9);
    near(r.score, -1, 1e-9);
    bench_close(&b);
}

static void pairs_and_ratings_are_not_confused(void **state)
{
    struct protocol_options o = defaults();
    struct bench b;
    struct label_item it = {"p", "a", "b", NULL};
    struct rating r;
    struct label l;
    struct err err = {0};
    bench_open(&b, "pairwise", &o, says_one, NULL);
    assert_int_equal(rate_items(&r, NULL, &b.l, &it, 1, &err), ERR_VALUE);
    kit_contains(err.msg, "compares pairs");
    bench_close(&b);
    bench_open(&b, "rating", &o, says_one, NULL);
    assert_int_equal(label_items(&l, NULL, &b.l, &it, 1, &err), ERR_VALUE);
    kit_contains(err.msg, "single answers");
    bench_close(&b);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_judge_that_always_says_one_gives_one_half_for_every_pair),
    cmocka_unit_test(most_harmful_is_turned_round_and_more_harmless_is_not),
    cmocka_unit_test(one_order_at_random_is_the_same_for_any_batch_and_either_way_round),
    cmocka_unit_test(the_order_given_is_asked_alone),
    cmocka_unit_test(k_rationales_average_their_probabilities),
    cmocka_unit_test(votes_are_counted_and_what_says_nothing_is_left_out),
    cmocka_unit_test(without_log_probs_the_text_is_the_verdict),
    cmocka_unit_test(a_rationale_that_did_not_come_is_no_label),
    cmocka_unit_test(the_clamp_comes_after_the_winner_is_known),
    cmocka_unit_test(a_principle_is_drawn_for_each_pair_whatever_the_batch),
    cmocka_unit_test(all_principles_are_averaged),
    cmocka_unit_test(ten_is_ten_and_not_one),
    cmocka_unit_test(a_rating_is_the_expectation_scaled_to_one),
    cmocka_unit_test(much_harm_is_a_low_score),
    cmocka_unit_test(pairs_and_ratings_are_not_confused),
};
KIT_MAIN(tests)
