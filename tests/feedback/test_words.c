/* Words out of lists of likely tokens; thoughts, refusals and prices out of replies. */
#include "feedback/provider/endpoint.h"
#include "kit/kit.h"

#include <math.h>

static struct top list_of(const char *text)
{
    static json_t *v;
    struct top t = {0};
    struct err e = {0};
    json_decref(v);
    v = json_loads(text, 0, NULL);
    assert_non_null(v);
    if (top_read(&t, v, &e))
        fail_msg("%s", e.msg);
    return t;
}

static const char list12[] =
    "[{\"token\":\"1\",\"logprob\":-1.0},{\"token\":\" 1\",\"logprob\":-2.0},"
    "{\"token\":\"2\",\"logprob\":-3.0},{\"token\":\"x\",\"logprob\":-4.0}]";

static void near(double a, double b)
{
    if (!(fabs(a - b) < 1e-9))
        fail_msg("%.12g, expected %.12g", a, b);
}

static void spellings_of_a_word_are_summed(void **state)
{
    static const char *const word[] = {"1", "2"};
    struct word_logp w[2];
    struct top t = list_of(list12);
    words_begin(w, 2);
    words_first(w, word, 2, &t);
    double mass = words_end(w, 2, -4);
    near(w[0].sum, log(exp(-1) + exp(-2)));
    near(w[0].bare, -1);
    near(w[1].sum, -3);
    near(mass, exp(-1) + exp(-2) + exp(-3));
    top_release(&t);
}

static void a_word_not_listed_has_the_bound_and_no_mass(void **state)
{
    static const char *const word[] = {"1", "3"};
    struct word_logp w[2];
    struct top t = list_of(list12);
    words_begin(w, 2);
    words_first(w, word, 2, &t);
    double mass = words_end(w, 2, -4);
    near(w[1].sum, -4);
    assert_true(isnan(w[1].bare));
    near(mass, exp(-1) + exp(-2));
    top_release(&t);
}

static void ten_in_two_tokens_is_taken_from_one(void **state)
{
    static const char *const word[] = {"1", "10"};
    struct word_logp w[2];
    struct word_start start[MAX_STARTS];
    struct top t =
        list_of("[{\"token\":\"1\",\"logprob\":-0.5},{\"token\":\"9\",\"logprob\":-3}]");
    words_begin(w, 2);
    words_first(w, word, 2, &t);
    assert_int_equal(words_starts(start, word, 2, &t), 1);
    assert_string_equal(start[0].said, "1");
    assert_int_equal(start[0].word, 1);
    struct top more =
        list_of("[{\"token\":\"0\",\"logprob\":-1.5},{\"token\":\".\",\"logprob\":-2}]");
    words_more(w, word, 2, &start[0], &more);
    near(words_end(w, 2, -3), exp(-0.5));
    near(w[1].sum, -2.0);
    near(w[0].sum, log(exp(-0.5) - exp(-2.0)));
    top_release(&t);
    top_release(&more);
}

static void lists_as_objects_are_read(void **state)
{
    static const char *const word[] = {"1"};
    struct word_logp w[1];
    struct top t = list_of("{\"1\": -0.7, \" 1\": -1.7, \"\\n\": -9999.0}");
    words_begin(w, 1);
    words_first(w, word, 1, &t);
    near(words_end(w, 1, -9), exp(-0.7) + exp(-1.7));
    top_release(&t);
}

static void lists_that_lie_are_refused(void **state)
{
    static const char *const lies[] = {
        "[{\"token\":\"1\",\"logprob\":0.7}]",
        "[{\"token\":\"1\",\"logprob\":-0.1},{\"token\":\"2\",\"logprob\":-0.1}]",
        "[{\"token\":\"1\"}]",
        "[{\"logprob\":-1}]",
        "[]",
        "[3, null]",
        "{\"1\": \"-1\"}",
        "\"1\"",
    };
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        struct top t = {0};
        struct err e = {0};
        json_t *v = json_loads(lies[i], JSON_DECODE_ANY, NULL);
        assert_non_null(v);
        assert_int_equal(top_read(&t, v, &e), ERR_FORMAT);
        assert_true(strlen(e.msg) > 10);
        json_decref(v);
        top_release(&t);
    }
}

static void thoughts_come_off_the_front(void **state)
{
    static const char *const cases[][3] = {
        {"<think>\na\n</think>\n\n2", "2", "\na\n"},
        {"a, so\n</think>1", "1", "a, so\n"}, // the template had opened them
        {"<think>never ends", "", "never ends"},
        {"  <think></think> 1", "1", ""},
        {"1, for </thin", "1, for </thin", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *text = strdup(cases[i][0]), *thinking = NULL;
        thoughts_split(&text, &thinking);
        assert_string_equal(text, cases[i][1]);
        if (cases[i][2])
            assert_string_equal(thinking, cases[i][2]);
        else
            assert_null(thinking);
        free(text);
        free(thinking);
    }
}

static void refusals_are_told_from_answers(void **state)
{
    assert_true(text_is_refusal("I'm sorry, but I can't help with that."));
    assert_true(text_is_refusal(" I can\xe2\x80\x99t judge this."));
    assert_false(text_is_refusal("1"));
    assert_false(text_is_refusal("Response 2 says \"I can't\"."));
    assert_false(text_is_refusal(""));
}

static void prices_follow_the_table(void **state)
{
    struct price p;
    struct err e = {0};
    const char *path = kit_text(
        "prices.yaml", "- {model: \"big-*\", input: 2.0, cached_input: 0.5, output: 8}\n"
                       "- {model: small, input: 0.1, output: 0.4}\n");
    assert_int_equal(price_read(&p, path, "big-3", &e), 0);
    struct reply r = {.tokens_in = 1000, .tokens_cached = 400, .tokens_out = 100};
    near(price_of(&p, &r), 1e-6 * (600 * 2.0 + 400 * 0.5 + 100 * 8));
    assert_int_equal(price_read(&p, path, "small", &e), 0);
    near(price_of(&p, &r), 1e-6 * (1000 * 0.1 + 100 * 0.4));
    assert_int_equal(price_read(&p, path, "other", &e), ERR_MISSING);
    kit_contains(e.msg, "other");
    path = kit_text("prices2.yaml", "- {model: small, input: -1, output: 0.4}\n");
    assert_int_equal(price_read(&p, path, "small", &e), ERR_VALUE);
}

/* RLAIF, section 2.4: two orders of 830 tokens in and 61 out at $0.03 and $0.06 per thousand.
 */
static void the_paper_s_price_comes_out(void **state)
{
    struct price p = {.input = 30, .cached = 30, .output = 60};
    struct reply r = {.tokens_in = 830, .tokens_out = 61};
    assert_true(fabs(2 * price_of(&p, &r) - 0.057) < 5e-4);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(spellings_of_a_word_are_summed),
    cmocka_unit_test(a_word_not_listed_has_the_bound_and_no_mass),
    cmocka_unit_test(ten_in_two_tokens_is_taken_from_one),
    cmocka_unit_test(lists_as_objects_are_read),
    cmocka_unit_test(lists_that_lie_are_refused),
    cmocka_unit_test(thoughts_come_off_the_front),
    cmocka_unit_test(refusals_are_told_from_answers),
    cmocka_unit_test(prices_follow_the_table),
    cmocka_unit_test(the_paper_s_price_comes_out),
};
KIT_MAIN(tests)
