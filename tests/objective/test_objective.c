/* Every objective against finite differences, and at the points where its value is known in closed form. */
#include "kit/kit.h"

#include <math.h>

#include "objective/objective.h"

enum { N = 4, T = 9 };
static const int START[N + 1] = {0, 3, 5, 5, 9};        // the third sequence is empty
static const float NOW[T] = {-0.5f, -1.25f, -0.75f, -2.0f, -0.125f, -3.0f, -0.25f, -1.5f, -0.625f};
static const float REF[T] = {-0.75f, -1.0f, -0.5f, -2.5f, -0.25f, -2.0f, -0.5f, -1.75f, -0.875f};
static const float ADV[T] = {0.5f, -1.0f, 2.0f, 0.25f, -0.75f, 1.5f, -2.0f, 0.125f, 1.0f};
static const float LABEL[N] = {0.8f, 0.5f, 0.0f, 1.0f};

static void near(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance))
        fail_msg("%.12g is not within %g of %.12g", a, tolerance, b);
}

/* loss(x, dx) against central differences in every x.  The step is a power of two, so x +- h is exact. */
static void check_slopes(double (*loss)(float *dx, const float *x), const float *at, int n)
{
    float x[16], dx[16], scratch[16];
    const float h = 1.0f / 512;
    memcpy(x, at, sizeof *x * (size_t)n);
    memset(dx, 0, sizeof dx);
    loss(dx, x);
    for (int i = 0; i < n; i++) {
        x[i] = at[i] + h;
        double up = loss(scratch, x);
        x[i] = at[i] - h;
        double down = loss(scratch, x);
        x[i] = at[i];
        near(dx[i], (up - down) / (2 * h), 2e-5);
    }
}

static struct logp_batch batch_of(const float *now)
{
    return (struct logp_batch){.n = N, .start = START, .now = now, .ref = REF, .denom = 3};
}

/* ---- counting ------------------------------------------------------------------------ */

static void empty_sequences_count_nowhere(void **state)
{
    assert_int_equal(objective_sequences(START, N), 3);
    assert_int_equal(objective_pairs(START, N), 1);     // (0,1) both; (2,3): 2 is empty
}

/* ---- SFT --------------------------------------------------------------------------------- */

static double sft(float *d, const float *x)
{
    struct logp_batch b = batch_of(x);
    objective_sft_slope(d, &b);
    return objective_sft(&b);
}

static void sft_slopes_match_differences(void **state) { check_slopes(sft, NOW, T); }

static void sft_is_a_token_mean_not_a_mean_of_means(void **state)
{
    struct logp_batch b = batch_of(NOW);
    double sum = 0;
    b.denom = T;
    for (int t = 0; t < T; t++)
        sum -= NOW[t];
    near(objective_sft(&b), sum / T, 1e-12);
}

static void sft_of_halves_adds_up_to_the_whole(void **state)
{
    struct logp_batch all = batch_of(NOW), first = all, rest = all;
    float whole[T], parts[T];
    first.n = 2;
    rest.n = 2;
    rest.start = START + 2;
    objective_sft_slope(whole, &all);
    objective_sft_slope(parts, &first);
    objective_sft_slope(parts, &rest);
    near(objective_sft(&all), objective_sft(&first) + objective_sft(&rest), 1e-12);
    assert_memory_equal(whole, parts, sizeof whole);
}

/* ---- reward model --------------------------------------------------------------------- */

static const float SCORE[2 * N] = {1.5f, 0.25f, -0.5f, -0.5f, 3.0f, -1.0f, 0.0f, 2.5f};
static const float MARGIN[N] = {0.5f, 0, -0.25f, 1};

static double reward(float *d, const float *x)
{
    return objective_reward(d, x, LABEL, NULL, N, 0, 4);
}
static double reward_everything(float *d, const float *x)
{
    return objective_reward(d, x, LABEL, MARGIN, N, 0.01, 4);
}

static void reward_slopes_match_differences(void **state)
{
    check_slopes(reward, SCORE, 2 * N);
    check_slopes(reward_everything, SCORE, 2 * N);
}

static void reward_of_an_even_label_is_still_at_zero_difference(void **state)
{
    const float s[2] = {0.75f, 0.75f}, p[1] = {0.5f};
    float d[2];
    near(objective_reward(d, s, p, NULL, 1, 0, 1), log(2), 1e-15);
    assert_true(d[0] == 0 && d[1] == 0);
}

static void reward_loss_bottoms_out_at_the_label_entropy(void **state)
{
    for (double p = 0.05; p < 1; p += 0.05) {
        double best = log(p / (1 - p)), floor = objective_label_entropy(p);
        near(objective_soft_logistic(best, p), floor, 1e-12);
        assert_true(objective_soft_logistic(best + 0.1, p) > floor);
        assert_true(objective_soft_logistic(best - 0.1, p) > floor);
    }
    near(objective_label_entropy(0.5), log(2), 1e-15);
    assert_true(objective_label_entropy(0) == 0 && objective_label_entropy(1) == 0);
}

static void reward_survives_scores_of_any_size(void **state)
{
    near(objective_soft_logistic(1e6, 1), 0, 1e-15);
    near(objective_soft_logistic(-1e6, 1), 1e6, 1e-6);
    near(objective_soft_logistic(1e6, 0.25), 0.75e6, 1e-6);
    assert_true(objective_sigmoid(-1e6) == 0 && objective_sigmoid(1e6) == 1);
}

static void reward_swapped_sides_and_label_are_the_same_loss(void **state)
{
    const float ab[2] = {1.25f, -0.5f}, ba[2] = {-0.5f, 1.25f}, p[1] = {0.75f}, q[1] = {0.25f};
    float d1[2], d2[2];
    near(objective_reward(d1, ab, p, NULL, 1, 0, 1), objective_reward(d2, ba, q, NULL, 1, 0, 1), 1e-15);
    near(d1[0], d2[1], 1e-7);
}

/* ---- DPO ------------------------------------------------------------------------------- */

static const int PAIR_START[5] = {0, 3, 5, 7, 9};

static double dpo(float *d, const float *x)
{
    struct logp_batch b = {.n = 4, .start = PAIR_START, .now = x, .ref = REF, .denom = 2};
    return objective_dpo(d, NULL, &b, LABEL, 0.5f);
}

static void dpo_slopes_match_differences(void **state) { check_slopes(dpo, NOW, T); }

static void dpo_starts_at_ln2(void **state)
{
    struct logp_batch b = {.n = 4, .start = PAIR_START, .now = REF, .ref = REF, .denom = 2};
    float d[T], r[4];
    near(objective_dpo(d, r, &b, NULL, 0.1f), log(2), 1e-15);
    near(d[0], -0.5 * 0.1 / 2, 1e-8);       // (sigmoid(0) - 1) beta / denom
    near(d[3], 0.5 * 0.1 / 2, 1e-8);
    assert_true(r[0] == 0 && r[3] == 0);
}

static void dpo_leaves_out_pairs_with_an_empty_side(void **state)
{
    struct logp_batch b = batch_of(NOW), one = b;
    float d[T], e[T];
    one.n = 2;
    near(objective_dpo(d, NULL, &b, NULL, 0.5f), objective_dpo(e, NULL, &one, NULL, 0.5f), 1e-15);
    for (int t = 5; t < T; t++)
        assert_true(d[t] == 0);
}

/* ---- policy and value ---------------------------------------------------------------------- */

static double reinforce(float *d, const float *x)
{
    struct logp_batch b = batch_of(x);
    return objective_reinforce(d, &b, ADV);
}
static double value(float *d, const float *x)
{
    return objective_value(d, x, ADV, T, 3);
}

static void reinforce_slopes_match_differences(void **state) { check_slopes(reinforce, NOW, T); }
static void value_slopes_match_differences(void **state) { check_slopes(value, REF, T); }

static void ratio_is_exactly_one_before_the_first_update(void **state)
{
    struct ratio_sums r;
    objective_ratio(&r, NOW, NOW, T);
    assert_true(r.ratio == T && r.square == T && r.approxkl == 0);
}

static void returns_charge_a_token_for_what_follows_it(void **state)
{
    struct logp_batch b = batch_of(NOW);
    const float score[N] = {2, -1, 7, 0.5f};
    float ret[T];
    objective_returns(ret, &b, score, 0.25);
    for (int i = 0; i < N; i++)
        for (int t = START[i]; t < START[i + 1]; t++) {
            double kl = 0;
            for (int s = t; s < START[i + 1]; s++)
                kl += NOW[s] - REF[s];
            near(ret[t], 0.75 * score[i] - 0.25 * kl, 1e-6);
        }
}

static void returns_without_divergence_are_the_scaled_score(void **state)
{
    struct logp_batch b = batch_of(REF);
    const float score[N] = {2, -1, 7, 0.5f};
    float ret[T], adv[T];
    objective_returns(ret, &b, score, 0.05);
    near(ret[0], 0.95 * 2, 1e-6);
    near(ret[8], 0.95 * 0.5, 1e-6);
    objective_advantage(adv, ret, ret, T);
    for (int t = 0; t < T; t++)
        assert_true(adv[t] == 0);
}

static void scores_are_clipped_before_the_missing_end_is_charged(void **state)
{
    float s[4] = {12, -12, 3, 12};
    const unsigned char ended[4] = {1, 1, 0, 0};
    assert_int_equal(objective_shape_scores(s, ended, 4, 10, 1), 3);
    assert_true(s[0] == 10 && s[1] == -10 && s[2] == 2 && s[3] == 9);
    float free_of_clip[1] = {12};
    assert_int_equal(objective_shape_scores(free_of_clip, ended, 1, 0, 1), 0);
    assert_true(free_of_clip[0] == 12);
}

static void whitening_gives_mean_zero_and_deviation_one(void **state)
{
    float x[T], y[T], single[1] = {5};
    double mean = 0, square = 0, kept = 0, before = 0;
    memcpy(x, ADV, sizeof x);
    memcpy(y, ADV, sizeof y);
    objective_whiten(x, T, 0);
    objective_whiten(y, T, 1);
    for (int t = 0; t < T; t++) {
        mean += x[t];
        square += (double)x[t] * x[t];
        kept += y[t];
        before += ADV[t];
    }
    near(mean, 0, 1e-5);
    near(square / (T - 1), 1, 1e-5);
    near(kept, before, 1e-5);
    objective_whiten(single, 1, 0);
    assert_true(single[0] == 5);
}

/* ---- KL ------------------------------------------------------------------------------------ */

static enum kl_estimator which;
static double kl(float *d, const float *x)
{
    float k[T];
    return objective_kl(k, d, x, REF, T, which);
}

static void kl_slopes_match_differences(void **state)
{
    for (which = KL_K1; which <= KL_K3; which++)
        check_slopes(kl, NOW, T);
}

static void kl_is_zero_where_nothing_changed(void **state)
{
    float k[T], d[T];
    for (which = KL_K1; which <= KL_K3; which++)
        assert_true(objective_kl(k, d, REF, REF, T, which) == 0);
}

static void kl_k1_and_k3_average_to_the_divergence(void **state)
{
    // Two outcomes with probabilities (0.7, 0.3) under now and (0.4, 0.6) under ref.
    const float now[2] = {logf(0.7f), logf(0.3f)}, ref[2] = {logf(0.4f), logf(0.6f)};
    const double exact = 0.7 * log(0.7 / 0.4) + 0.3 * log(0.3 / 0.6);
    float k[2];
    objective_kl(k, NULL, now, ref, 2, KL_K1);
    near(0.7 * k[0] + 0.3 * k[1], exact, 1e-6);
    objective_kl(k, NULL, now, ref, 2, KL_K3);
    near(0.7 * k[0] + 0.3 * k[1], exact, 1e-6);
    assert_true(k[0] >= 0 && k[1] >= 0);
}

static void kl_k2_slope_averages_to_the_gradient_of_the_divergence(void **state)
{
    // now = sigmoid(z) on the first outcome; d KL/dz = sum p d log p/dz * (log p/q).
    const double p = 0.7, q = 0.4, dlog[2] = {1 - p, -p};
    const float now[2] = {logf(0.7f), logf(0.3f)}, ref[2] = {logf(0.4f), logf(0.6f)};
    const double exact = p * (1 - p) * (log(p / q) - log((1 - p) / (1 - q)));
    float k[2], d[2];
    objective_kl(k, d, now, ref, 2, KL_K2);
    near(p * d[0] * dlog[0] + (1 - p) * d[1] * dlog[1], exact, 1e-6);
}

static void kl_survives_tokens_the_reference_rules_out(void **state)
{
    const float now[1] = {-1}, ref[1] = {-500};
    float k[1], d[1];
    assert_true(isfinite(objective_kl(k, d, ref, now, 1, KL_K3)) && isfinite(d[0]));
    assert_true(isfinite(objective_kl(k, d, now, ref, 1, KL_K3)) && isfinite(d[0]));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(empty_sequences_count_nowhere),
    cmocka_unit_test(sft_slopes_match_differences),
    cmocka_unit_test(sft_is_a_token_mean_not_a_mean_of_means),
    cmocka_unit_test(sft_of_halves_adds_up_to_the_whole),
    cmocka_unit_test(reward_slopes_match_differences),
    cmocka_unit_test(reward_of_an_even_label_is_still_at_zero_difference),
    cmocka_unit_test(reward_loss_bottoms_out_at_the_label_entropy),
    cmocka_unit_test(reward_survives_scores_of_any_size),
    cmocka_unit_test(reward_swapped_sides_and_label_are_the_same_loss),
    cmocka_unit_test(dpo_slopes_match_differences),
    cmocka_unit_test(dpo_starts_at_ln2),
    cmocka_unit_test(dpo_leaves_out_pairs_with_an_empty_side),
    cmocka_unit_test(reinforce_slopes_match_differences),
    cmocka_unit_test(value_slopes_match_differences),
    cmocka_unit_test(ratio_is_exactly_one_before_the_first_update),
    cmocka_unit_test(returns_charge_a_token_for_what_follows_it),
    cmocka_unit_test(returns_without_divergence_are_the_scaled_score),
    cmocka_unit_test(scores_are_clipped_before_the_missing_end_is_charged),
    cmocka_unit_test(whitening_gives_mean_zero_and_deviation_one),
    cmocka_unit_test(kl_slopes_match_differences),
    cmocka_unit_test(kl_is_zero_where_nothing_changed),
    cmocka_unit_test(kl_k1_and_k3_average_to_the_divergence),
    cmocka_unit_test(kl_k2_slope_averages_to_the_gradient_of_the_divergence),
    cmocka_unit_test(kl_survives_tokens_the_reference_rules_out),
};
KIT_MAIN(tests)
