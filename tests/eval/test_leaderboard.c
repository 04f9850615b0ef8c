/* tests/eval/test_leaderboard.c - AlpacaEval's published rows out of its own annotations. */
#include <math.h>

#include "data/data.h"
#include "eval/eval.h"
#include "kit/kit.h"

static double column(const json_t *row, const char *name)
{
    const char *s = json_string_value(json_object_get(row, name));
    return s && *s ? atof(s) : NAN;
}

static void check_model(const char *folder, const json_t *want)
{
    char path[256];
    struct rows rows;
    struct err err = {0};
    snprintf(path, sizeof path, "data/alpaca_eval/%s/%s.json.gz", folder, json_string_value(json_object_get(want, "model")));
    const char *file = kit_shared(path);
    if (!file)
        return;
    if (rows_read(&rows, file, 0, &err))
        fail_msg("%s", err.msg);
    double *p = calloc((size_t)rows.n, sizeof *p);
    for (int i = 0; i < rows.n; i++) {
        const json_t *v = json_object_get(rows.row[i], "preference");
        p[i] = json_is_number(v) ? json_number_value(v) : NAN;
    }
    struct leaderboard_row r = leaderboard(p, rows.n);
    if (fabs(r.win_rate - column(want, "win_rate")) > 1e-9 || fabs(r.standard_error - column(want, "standard_error")) > 1e-9 ||
        fabs(r.discrete_win_rate - column(want, "discrete_win_rate")) > 1e-9 || r.n_wins != column(want, "n_wins") ||
        r.n_wins_base != column(want, "n_wins_base") || r.n_draws != column(want, "n_draws") || r.n_total != column(want, "n_total"))
        fail_msg("%s: %.12g +- %.12g, %d %d %d %d, %.12g", path, r.win_rate, r.standard_error, r.n_wins, r.n_wins_base, r.n_draws, r.n_total,
                 r.discrete_win_rate);
    free(p);
    rows_release(&rows);
}

static void check_board(const char *folder)
{
    char name[128];
    struct rows rows;
    struct err err = {0};
    snprintf(name, sizeof name, "data/alpaca_eval/%s_expected.csv", folder);
    const char *file = kit_shared(name);
    if (!file)
        skip();
    if (rows_read(&rows, file, 0, &err))
        fail_msg("%s", err.msg);
    assert_true(rows.n >= 5);
    for (int i = 0; i < rows.n; i++)
        check_model(folder, rows.row[i]);
    rows_release(&rows);
}

static void weighted_annotations_give_the_published_rows(void **state) { check_board("weighted_alpaca_eval_gpt4_turbo"); }
static void text_annotations_give_the_published_rows(void **state) { check_board("alpaca_eval_gpt4"); }

static void draws_and_unread_rows_count_as_they_should(void **state)
{
    struct leaderboard_row r = leaderboard((double[]){1, 2, 1.5, 0, NAN, 1.75}, 6);
    assert_int_equal(r.n_total, 5);
    assert_int_equal(r.n_wins, 2);
    assert_int_equal(r.n_wins_base, 1);
    assert_int_equal(r.n_draws, 2);
    assert_true(fabs(r.win_rate - 100 * (0 + 1 + 0.5 + 0.5 + 0.75) / 5) < 1e-9);
    assert_true(fabs(r.discrete_win_rate - 60) < 1e-9);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(weighted_annotations_give_the_published_rows),
    cmocka_unit_test(text_annotations_give_the_published_rows),
    cmocka_unit_test(draws_and_unread_rows_count_as_they_should),
};
KIT_MAIN(tests)
