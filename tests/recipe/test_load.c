/* Recipes: everything wrong with one is said before work starts; variables and --set reach the options. */
#include "kit/kit.h"
#include "recipe/internal.h"

static const char good[] = "output_dir: runs/x\nseed: 3\ntag: a\nstages:\n"
                           "  page:\n    stage: report\n    run_dir: ${out}/${tag}-${seed}\n";

static int load(struct recipe *r, const char *text, const char *set, const char *out, struct err *err)
{
    json_t *list = json_array();
    if (set)
        json_array_append_new(list, json_string(set));
    int rc = recipe_load(r, kit_text("recipe.yaml", text), list, out, err);
    json_decref(list);
    return rc;
}

static void variables_and_set_reach_the_options(void **state)
{
    struct recipe r;
    struct err err = { 0 };
    assert_int_equal(load(&r, good, NULL, NULL, &err), 0);
    assert_string_equal(opt_str(r.step[0].options, "run_dir"), "runs/x/a-3");
    recipe_release(&r);
    assert_int_equal(load(&r, good, "seed=4", "elsewhere", &err), 0);
    assert_string_equal(opt_str(r.step[0].options, "run_dir"), "elsewhere/a-4");
    recipe_release(&r);
    assert_int_equal(load(&r, good, "page.run_dir=there", NULL, &err), 0);
    assert_string_equal(opt_str(r.step[0].options, "run_dir"), "there");
    recipe_release(&r);
}

static void a_wrong_recipe_says_what_is_wrong(void **state)
{
    static const struct { const char *text, *set, *says; } cases[] = {
        { "[1]", NULL, "a recipe is a mapping" },
        { "output_dir: x\n", NULL, "needs 'stages:'" },
        { "stages:\n  a:\n    stage: report\n    run_dir: x\n", NULL, "needs 'output_dir:'" },
        { "output_dir: x\nstages:\n  a:\n    run_dir: x\n", NULL, "needs 'stage:'" },
        { "output_dir: x\nstages:\n  a:\n    stage: reprot\n", NULL, "did you mean 'report'?" },
        { "output_dir: x\nstages:\n  a:\n    stage: report\n    run_dri: x\n", NULL, "did you mean 'run_dir'?" },
        { "output_dir: x\nstages:\n  a:\n    stage: report\n    run_dir: ${nowhere}/x\n", NULL, "does not define" },
        { "output_dir: x\nstages: {a: {stage: report, run_dir: x}}\nsummary: {policy.lk: a.b}\n", NULL, "did you mean 'policy.kl'?" },
        { "output_dir: x\nstages: {a: {stage: report, run_dir: x}}\nsummary: {policy.kl: b.c}\n", NULL, "must be 'stage.figure'" },
        { "output_dir: x\nstages: {a: {stage: report, run_dir: x}, a: {stage: report}}\n", NULL, "stands here twice" },
        { "output_dir: &x y\nstages: *x\n", NULL, "anchors" },
        { "output_dir: [\n", NULL, "line 2" },
        { good, "sed=4", "did you mean 'seed'?" },
        { good, "pge.run_dir=4", "did you mean 'page'?" },
        { good, "page.run_dri=4", "did you mean 'run_dir'?" },
        { good, "seed", "expected key=value" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct recipe r;
        struct err err = { 0 };
        assert_true(load(&r, cases[i].text, cases[i].set, NULL, &err) < 0);
        kit_contains(err.msg, cases[i].says);
    }
}

static void a_step_is_stale_when_an_input_or_option_changes(void **state)
{
    struct recipe r;
    struct err err = { 0 };
    char key[4][33];
    const char *text = "output_dir: x\nstages: {a: {stage: report, run_dir: %s}}\n";
    char recipe[2048];
    const char *input = kit_text("input.txt", "one");
    snprintf(recipe, sizeof recipe, text, input);
    assert_int_equal(load(&r, recipe, NULL, NULL, &err), 0);
    for (int i = 0; i < 3; i++) {
        if (i == 2)
            kit_text("input.txt", "two");
        json_t *inputs = json_object();
        assert_int_equal(record_key(key[i], inputs, &r.step[0], NULL, &err), 0);
        assert_non_null(json_object_get(inputs, input));
        json_decref(inputs);
    }
    assert_string_equal(key[0], key[1]);
    assert_string_not_equal(key[0], key[2]);
    recipe_release(&r);
}

static void a_missing_input_names_stage_option_and_path(void **state)
{
    struct recipe r;
    struct err err = { 0 };
    char key[33];
    assert_int_equal(load(&r, good, NULL, NULL, &err), 0);
    json_t *inputs = json_object();
    assert_int_equal(record_key(key, inputs, &r.step[0], NULL, &err), ERR_MISSING);
    kit_contains(err.msg, "page");
    kit_contains(err.msg, "run_dir");
    kit_contains(err.msg, "runs/x/a-3");
    json_decref(inputs);
    recipe_release(&r);
}

static void records_tell_done_from_unfinished(void **state)
{
    struct recipe r;
    struct err err = { 0 };
    struct record rec;
    char stages[512];
    assert_int_equal(load(&r, good, NULL, kit_path("out"), &err), 0);
    snprintf(stages, sizeof stages, "%s/stages", r.out);
    assert_int_equal(dir_make(stages, &err), 0);
    json_t *none = json_object();
    for (int done = 0; done < 2; done++) {
        assert_int_equal(record_write(r.out, &r.step[0], "k", none, none, 1.5, 2, done, &err), 0);
        assert_int_equal(record_read(&rec, r.out, &r.step[0], "k", &err), 0);
        assert_true(rec.same && rec.done == done);
        record_release(&rec);
        assert_int_equal(record_read(&rec, r.out, &r.step[0], "other", &err), 0);
        assert_false(rec.same || rec.done);
        record_release(&rec);
    }
    json_decref(none);
    recipe_release(&r);
}

static void clearing_keeps_label_stores_and_what_lies_outside(void **state)
{
    struct err err = { 0 };
    static const struct option table[] = { { "output_dir", OPT_OUTPUT_DIR, NULL, "where", NULL, true } };
    static const struct stage toy = { .name = "toy", .option = table, .n_options = 1 };
    const char *out = kit_path("run"), *dirs[2] = { kit_path("run/labels"), kit_path("outside") };
    for (int i = 0; i < 2; i++) {
        char path[600];
        assert_int_equal(dir_make(dirs[i], &err), 0);
        for (int k = 0; k < 2; k++) {
            snprintf(path, sizeof path, "%s/%s", dirs[i], k ? "labels.db" : "labels.jsonl");
            assert_int_equal(file_write(path, "x", 1, &err), 0);
        }
        struct step s = { "s", &toy, json_pack("{s:s}", "output_dir", dirs[i]) };
        assert_int_equal(outputs_clear(out, &s, &err), 0);
        snprintf(path, sizeof path, "%s/labels.jsonl", dirs[i]);
        assert_int_equal(file_exists(path), i == 1);
        snprintf(path, sizeof path, "%s/labels.db", dirs[i]);
        assert_true(file_exists(path));
        json_decref(s.options);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(variables_and_set_reach_the_options),
    cmocka_unit_test(a_wrong_recipe_says_what_is_wrong),
    cmocka_unit_test(a_step_is_stale_when_an_input_or_option_changes),
    cmocka_unit_test(a_missing_input_names_stage_option_and_path),
    cmocka_unit_test(records_tell_done_from_unfinished),
    cmocka_unit_test(clearing_keeps_label_stores_and_what_lies_outside),
};
KIT_MAIN(tests)
