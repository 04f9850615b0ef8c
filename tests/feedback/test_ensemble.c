/* Several labels into one. */
#include "feedback/feedback.h"
#include "kit/kit.h"

#include <math.h>

static double together(const double *p, const double *weight, int n, enum ensemble_how how)
{
    struct label l[8], out;
    const struct label *by[8];
    for (int i = 0; i < n; i++) {
        l[i] = (struct label){
            .p = p[i], .mass = 1, .state = isnan(p[i]) ? LABEL_NO_ANSWER : LABEL_ANSWERED};
        by[i] = &l[i];
    }
    ensemble_label(&out, by, weight, n, how);
    return out.state == LABEL_ANSWERED ? out.p : NAN;
}

static void near(double a, double b)
{
    if (!(fabs(a - b) < 1e-12))
        fail_msg("%.15g, expected %.15g", a, b);
}

static void means_and_majorities(void **state)
{
    const double p[] = {0.9, 0.8, 0.1, 0.5};
    near(together(p, NULL, 3, ENSEMBLE_MEAN), 0.6);
    near(together(p, NULL, 3, ENSEMBLE_MAJORITY), 2 / 3.0);
    near(together(p, NULL, 4, ENSEMBLE_MAJORITY), 2.5 / 4);
}

static void who_did_not_answer_does_not_count(void **state)
{
    const double p[] = {0.9, NAN, 0.7}, none[] = {NAN, NAN};
    near(together(p, NULL, 3, ENSEMBLE_MEAN), 0.8);
    near(together(p, NULL, 3, ENSEMBLE_MAJORITY), 1);
    assert_true(isnan(together(none, NULL, 2, ENSEMBLE_MEAN)));
}

/* Three independent judges, right 9, 6 and 6 times of 10: Bayes' rule. */
static void weighted_votes_are_the_posterior(void **state)
{
    const double p[] = {1, 0, 0}, w[] = {log(9 / 1.0), log(6 / 4.0), log(6 / 4.0)};
    double a = 0.9 * 0.4 * 0.4, b = 0.1 * 0.6 * 0.6;
    near(together(p, w, 3, ENSEMBLE_WEIGHTED), a / (a + b));
}

static void weights_are_finite_and_fair(void **state)
{
    near(ensemble_weight(10, 20), 0);
    near(ensemble_weight(0, 0), 0);
    near(ensemble_weight(15, 20), -ensemble_weight(5, 20));
    assert_true(isfinite(ensemble_weight(20, 20)) &&
                ensemble_weight(20, 20) > ensemble_weight(19, 20));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(means_and_majorities),
    cmocka_unit_test(who_did_not_answer_does_not_count),
    cmocka_unit_test(weighted_votes_are_the_posterior),
    cmocka_unit_test(weights_are_finite_and_fair),
};
KIT_MAIN(tests)
