/* How many calls are in flight and when one is asked again, against servers made of arithmetic.
 */
#include "feedback/provider/pace.h"
#include "kit/kit.h"

#include <math.h>

/* A server that answers `slots` at once, each in `each` seconds; time passes as calls end. */
static double run_server(struct pace *p, int slots, double each, int calls)
{
    double now = 0;
    for (int i = 0; i < calls; i++) {
        int flying = pace_allows(p, now);
        now += each / (flying < slots ? flying : slots);
        pace_ended(p, now, true);
    }
    return now;
}

static void the_window_rises_until_more_calls_only_wait(void **state)
{
    struct pace p;
    pace_init(&p, 0, 0, false);
    run_server(&p, 16, 1, 1000);
    assert_in_range(pace_allows(&p, 0), 16, 32);
    pace_init(&p, 0, 0, false);
    run_server(&p, 100, 1, 10000);
    assert_in_range(pace_allows(&p, 0), 100, 200);
}

static void a_window_that_has_settled_keeps_the_server_busy(void **state)
{
    struct pace p;
    pace_init(&p, 0, 0, false);
    run_server(&p, 16, 1, 1000);
    double busy = run_server(&p, 16, 1, 16000);
    assert_true(busy < 1001);
}

static void the_user_sets_the_most(void **state)
{
    struct pace p;
    pace_init(&p, 0, 10, false);
    run_server(&p, 1000, 1, 5000);
    assert_int_equal(pace_allows(&p, 0), 10);
    pace_init(&p, 2, 7, true);
    pace_slow(&p, 0, -1);
    assert_int_equal(pace_allows(&p, 0), 7);
}

static void a_busy_server_halves_the_window_once_for_all_it_turned_away(void **state)
{
    struct pace p;
    pace_init(&p, 64, 0, false);
    for (int i = 0; i < 20; i++)
        pace_slow(&p, 0, -1);
    assert_int_equal(pace_allows(&p, 0), 32);
}

static void retry_after_holds_everything(void **state)
{
    struct pace p;
    pace_init(&p, 8, 0, false);
    pace_slow(&p, 100, 5);
    assert_int_equal(pace_allows(&p, 104.9), 0);
    assert_int_equal(pace_allows(&p, 105.1), 4);
}

static void the_window_never_closes(void **state)
{
    struct pace p;
    pace_init(&p, 4, 0, false);
    for (int i = 0; i < 10; i++) {
        p.slowed = false;
        pace_slow(&p, 0, -1);
    }
    assert_int_equal(pace_allows(&p, 0), 1);
}

static void waits_double_and_differ(void **state)
{
    for (int i = 0; i < 6; i++) {
        double most = retry_wait(i, -1, 0.5, 60, 0), least = retry_wait(i, -1, 0.5, 60, 0.999);
        assert_true(fabs(most - 0.5 * (1 << i)) < 1e-9);
        assert_true(least >= 0.5 * most && least < 0.51 * most);
    }
    assert_true(retry_wait(500, -1, 0.5, 60, 0) == 60);
    assert_true(retry_wait(3, 7, 0.5, 60, 0) == 7);
    assert_true(retry_wait(3, 7, 0.5, 60, 0.9) > 7 && retry_wait(3, 7, 0.5, 60, 0.9) < 8);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_window_rises_until_more_calls_only_wait),
    cmocka_unit_test(a_window_that_has_settled_keeps_the_server_busy),
    cmocka_unit_test(the_user_sets_the_most),
    cmocka_unit_test(a_busy_server_halves_the_window_once_for_all_it_turned_away),
    cmocka_unit_test(retry_after_holds_everything),
    cmocka_unit_test(the_window_never_closes),
    cmocka_unit_test(waits_double_and_differ),
};
KIT_MAIN(tests)
