/* tests/eval/test_statistics.c - intervals, agreement, calibration, length control, against closed forms and against judges
 * whose bias and error are known. */
#include "eval/eval.h"
#include "kit/kit.h"

#include <math.h>

#define near(a, b, eps)                                                                            \
    do {                                                                                           \
        if (!(fabs((a) - (b)) <= (eps)))                                                           \
            fail_msg("%s is %.15g, expected %.15g", #a, (double)(a), (double)(b));                 \
    } while (0)

static double uniform(struct rng *r) { return rng_uniform(r); }

/* ---- intervals ------------------------------------------------------------------------ */

static void wilson_matches_the_textbook(void **state)
{
    struct interval i = interval_wilson(81, 263);   // Newcombe 1998, table I: 0.2553 to 0.3662
    near(i.low, 0.2553, 5e-5);
    near(i.high, 0.3662, 5e-5);
    i = interval_wilson(0, 20);                     // same table: 0 to 0.1611
    near(i.low, 0, 1e-12);
    near(i.high, 0.1611, 5e-5);
    i = interval_wilson(1, 29);                     // 0.0061 to 0.1718
    near(i.low, 0.0061, 5e-5);
    near(i.high, 0.1718, 5e-5);
}

static void nothing_has_no_interval(void **state)
{
    struct interval i = interval_wilson(0, 0);
    assert_true(isnan(i.mean) && isnan(i.low) && i.n == 0);
    assert_false(interval_excludes(&i, 0.5));
    const double none[] = {NAN, NAN};
    assert_int_equal(interval_share(none, 2).n, 0);
}

static void wilson_covers_the_truth_in_95_of_100(void **state)
{
    struct rng r;
    rng_init(&r, 1, RNG_TEST, 0, 0);
    int covered = 0;
    for (int t = 0; t < 2000; t++) {
        int k = 0;
        for (int i = 0; i < 100; i++)
            k += uniform(&r) < 0.7;
        struct interval i = interval_wilson(k, 100);
        covered += i.low <= 0.7 && 0.7 <= i.high;
    }
    assert_in_range(covered, 1860, 1940);
}

static void the_bootstrap_of_a_mean_agrees_with_the_normal(void **state)
{
    enum { N = 400 };
    double x[N], mean = 0, var = 0;
    struct rng r;
    rng_init(&r, 2, RNG_TEST, 0, 0);
    for (int i = 0; i < N; i++)
        mean += (x[i] = rng_normal(&r)) / N;
    for (int i = 0; i < N; i++)
        var += (x[i] - mean) * (x[i] - mean) / (N - 1);
    struct interval i, again;
    assert_int_equal(interval_mean(&i, x, N, 7, NULL), 0);
    near(i.mean, mean, 1e-12);
    double half = 1.96 * sqrt(var / N);
    near(i.low, mean - half, 0.1 * half);
    near(i.high, mean + half, 0.1 * half);
    assert_int_equal(interval_mean(&again, x, N, 7, NULL), 0);
    assert_true(i.low == again.low && i.high == again.high);
}

static void the_binomial_test_is_exact(void **state)
{
    near(binomial_test(5, 10, 0.5), 1, 1e-9);
    near(binomial_test(10, 10, 0.5), 2.0 / 1024, 1e-9);
    near(binomial_test(8, 10, 0.5), 112.0 / 1024, 1e-9);
    near(binomial_test(0, 4, 0.25), 0.578125, 1e-9);    // all but P(1) = 27/64
}

/* ---- labels --------------------------------------------------------------------------------- */

static void an_even_label_agrees_by_half(void **state)
{
    assert_true(agreement(0.5, 1) == 0.5 && agreement(0.5, 2) == 0.5);
    assert_true(agreement(0.6, 1) == 1 && agreement(0.6, 2) == 0 && agreement(0.4, 2) == 1);
    assert_true(isnan(agreement(0.6, 0)));
}

static struct label slots(int a, int b, enum label_state s)
{
    return (struct label){.slot = {a, b}, .same_slot = a == b, .state = s};
}

static void same_slot_is_counted_and_split(void **state)
{
    struct label l[] = {slots(1, 1, LABEL_ANSWERED), slots(1, 2, LABEL_ANSWERED), slots(2, 2, LABEL_ANSWERED),
                        slots(1, 1, LABEL_ANSWERED), slots(2, 2, LABEL_NO_ANSWER)};
    struct slot_bias b = slot_bias(l, 5);
    assert_int_equal(b.rate.n, 4);
    near(b.rate.mean, 0.75, 1e-12);
    near(b.first_share, 2.0 / 3, 1e-12);
    near(b.p_value, 1, 1e-9);
}

static void information_is_ln2_for_a_sure_label_and_0_for_an_even_one(void **state)
{
    near(label_information(0.5), 0, 1e-12);
    near(label_information(1), log(2), 1e-12);
    near(coin_entropy(0.25), 0.25 * log(4) + 0.75 * log(4.0 / 3), 1e-12);
}

static void lengths_are_compared(void **state)
{
    assert_true(prefers_shorter(0.9, 3, 5) == 1 && prefers_shorter(0.9, 5, 3) == 0);
    assert_true(isnan(prefers_shorter(0.9, 4, 4)) && prefers_shorter(0.5, 3, 4) == 0.5);
    const double x[] = {1, 2, 3, 4}, y[] = {2, 4, 6, 8}, z[] = {4, 3, 2, 1}, c[] = {5, 5, 5, 5};
    near(correlation(x, y, 4), 1, 1e-12);
    near(correlation(x, z, 4), -1, 1e-12);
    assert_true(isnan(correlation(x, c, 4)));
}

/* ---- calibration ------------------------------------------------------------------------------- */

static void brier_and_log_loss_have_their_closed_forms(void **state)
{
    const double p[] = {0.8, 0.3}, y[] = {1, 0};
    near(brier_score(p, y, 2), (0.04 + 0.09) / 2, 1e-12);
    near(log_loss(p, y, 2), -(log(0.8) + log(0.7)) / 2, 1e-12);
}

static void bins_hold_means_and_the_error_weighs_them(void **state)
{
    const double p[] = {0.1, 0.1, 0.9, 1.0}, y[] = {0, 1, 1, 1};
    struct reliability_bin bin[10];
    reliability(bin, 10, p, y, 4);
    assert_int_equal(bin[1].n, 2);
    near(bin[1].outcome, 0.5, 1e-12);
    assert_int_equal(bin[9].n, 2);      // one belongs to the last bin
    near(calibration_error(bin, 10), (2 * 0.4 + 2 * 0.05) / 4, 1e-12);
}

static void the_temperature_of_an_overconfident_judge_is_found(void **state)
{
    enum { N = 20000 };
    static double p[N], y[N], cooled[N];
    struct rng r;
    rng_init(&r, 3, RNG_TEST, 0, 0);
    for (int i = 0; i < N; i++) {
        double truth = 1 / (1 + exp(-1.5 * rng_normal(&r)));
        y[i] = uniform(&r) < truth;
        p[i] = temper(truth, 1 / 2.5);      // its logits are 2.5 times too large
    }
    double t = fit_temperature(p, y, N);
    near(t, 2.5, 0.1);
    for (int i = 0; i < N; i++)
        cooled[i] = temper(p[i], t);
    assert_true(log_loss(cooled, y, N) < log_loss(p, y, N));
    struct reliability_bin before[10], after[10];
    reliability(before, 10, p, y, N);
    reliability(after, 10, cooled, y, N);
    assert_true(calibration_error(before, 10) > 0.08 && calibration_error(after, 10) < 0.02);
}

static void a_judge_without_signal_is_made_even(void **state)
{
    const double p[] = {0.7, 0.7, 0.3, 0.3}, y[] = {1, 0, 1, 0};
    assert_true(fit_temperature(p, y, 4) > 90);
    assert_true(fit_temperature(p, y, 0) == 1);
    const double wrong[] = {0, 0, 1, 1};
    assert_true(fit_temperature(p, wrong, 4) > 90);    // never below zero: an inverted judge ends at even
}

/* ---- win rates ------------------------------------------------------------------------------------ */

static void length_control_recovers_the_rate_at_equal_length(void **state)
{
    enum { N = 30000 };
    static double y[N], q[N];
    struct rng r;
    rng_init(&r, 4, RNG_TEST, 0, 0);
    double raw = 0;
    for (int i = 0; i < N; i++) {
        q[i] = 1.2 + 0.3 * rng_normal(&r);      // A is longer, and the judge likes that
        double win = 1 / (1 + exp(-(0.4 + 2 * (q[i] - 1))));
        y[i] = uniform(&r) < win;
        raw += y[i] / N;
    }
    double at_one = 1 / (1 + exp(-0.4));
    assert_true(raw > at_one + 0.05);
    near(length_controlled(y, q, NULL, N), at_one, 0.015);
}

static void length_control_without_variance_is_the_rate(void **state)
{
    const double y[] = {1, 1, 1, 0, 0.5, NAN}, q[] = {1, 1, 1, 1, 1, 1};
    near(length_controlled(y, q, NULL, 6), 0.7, 1e-6);
}

static void length_control_survives_separation(void **state)
{
    const double y[] = {1, 1, 0, 0}, q[] = {1.5, 1.4, 0.6, 0.5};
    double p = length_controlled(y, q, NULL, 4);
    assert_true(p > 0 && p < 1);
}

static void ties_count_one_half_and_silence_nothing(void **state)
{
    const double win[] = {1, 1, 0.5, 0, NAN};
    struct match m[5];
    for (int i = 0; i < 5; i++)
        m[i] = (struct match){i, "aaaa", "bb"};
    struct win_rate w;
    assert_int_equal(win_rate(&w, win, m, 5, 1, NULL), 0);
    assert_int_equal(w.wins, 2);
    assert_int_equal(w.ties, 1);
    assert_int_equal(w.unanswered, 1);
    near(w.raw.mean, 2.5 / 4, 1e-12);
    near(w.length_a, 4, 1e-12);
    near(w.length_b, 2, 1e-12);
}

/* Says that the text that begins with the greater letter is better. */
static int by_letter(void *arg, double *win, const struct match *m, int n, struct err *err)
{
    for (int i = 0; i < n; i++)
        win[i] = m[i].a[0] == m[i].b[0] ? 0.5 : m[i].a[0] > m[i].b[0] ? 0.8 : 0.3;
    return 0;
}

static void the_matrix_is_antisymmetric(void **state)
{
    const char *text[] = {"a", "c", "b", "b", "b", "a"};    // three policies, two prompts
    struct interval w[9];
    assert_int_equal(win_matrix(w, text, 3, 2, by_letter, NULL, NULL), 0);
    near(w[0 * 3 + 1].mean, 0.5, 1e-12);
    near(w[0 * 3 + 2].mean, 0.5, 1e-12);    // a < b, c > a
    near(w[1 * 3 + 2].mean, 0.75, 1e-12);   // tie, win
    near(w[2 * 3 + 1].mean, 0.25, 1e-12);
    near(w[1 * 3 + 2].low, 1 - w[2 * 3 + 1].high, 1e-12);
    assert_int_equal(w[4].n, 0);
}

/* ---- a labeler as a judge -------------------------------------------------------------------------- */

/* A true preference with an error rate, seen through a lean to slot 1. */
struct biased { double lean; };
static int biased_ask(struct provider *p, struct reply *out, const struct ask *ask, int n, ask_done *done, void *arg,
                      struct err *err)
{
    const struct biased *b = p->state;
    for (int i = 0; i < n; i++) {
        const char *one = strstr(ask[i].prompt, "Summary 1 - ") + strlen("Summary 1 - ");
        double z = (*one == 'g' ? 1 : -1) + b->lean;
        out[i] = (struct reply){.mass = 1, .has_logps = true};
        out[i].word[0].sum = -log1p(exp(-z));
        out[i].word[1].sum = -log1p(exp(z));
        done(arg, i);
    }
    return 0;
}

static void averaging_orders_undoes_a_lean(void **state)
{
    struct biased b = {3};
    struct provider who = {.state = &b, .fingerprint = "biased", .ask = biased_ask};
    struct protocol_options o;
    struct protocol *p = NULL;
    protocol_defaults(&o);
    assert_int_equal(protocol_new(&p, NULL, &o, NULL), 0);
    struct asker asker = {.provider = &who};
    struct labeler l = {&asker, p, 0.5};
    const char *prompt[] = {"x"};
    struct model_judge j = {&l, prompt, {0}};
    struct match m[] = {{0, "good", "bad"}, {0, "bad", "good"}, {0, "same", "same"}};
    double win[3];
    assert_int_equal(model_judge(&j, win, m, 3, NULL), 0);
    assert_true(outcome_of(win[0]) == 1 && outcome_of(win[1]) == 0 && win[2] == 0.5);
    near(win[0] + win[1], 1, 1e-12);
    protocol_free(p);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(wilson_matches_the_textbook),
    cmocka_unit_test(nothing_has_no_interval),
    cmocka_unit_test(wilson_covers_the_truth_in_95_of_100),
    cmocka_unit_test(the_bootstrap_of_a_mean_agrees_with_the_normal),
    cmocka_unit_test(the_binomial_test_is_exact),
    cmocka_unit_test(an_even_label_agrees_by_half),
    cmocka_unit_test(same_slot_is_counted_and_split),
    cmocka_unit_test(information_is_ln2_for_a_sure_label_and_0_for_an_even_one),
    cmocka_unit_test(lengths_are_compared),
    cmocka_unit_test(brier_and_log_loss_have_their_closed_forms),
    cmocka_unit_test(bins_hold_means_and_the_error_weighs_them),
    cmocka_unit_test(the_temperature_of_an_overconfident_judge_is_found),
    cmocka_unit_test(a_judge_without_signal_is_made_even),
    cmocka_unit_test(length_control_recovers_the_rate_at_equal_length),
    cmocka_unit_test(length_control_without_variance_is_the_rate),
    cmocka_unit_test(length_control_survives_separation),
    cmocka_unit_test(ties_count_one_half_and_silence_nothing),
    cmocka_unit_test(the_matrix_is_antisymmetric),
    cmocka_unit_test(averaging_orders_undoes_a_lean),
};
KIT_MAIN(tests)
