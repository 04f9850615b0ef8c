/* One table of options for flags, YAML and the manifest. */
#include "kit/kit.h"
#include "recipe/recipe.h"

static int nothing(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    return 0;
}

static const struct option table[] = {
    { "learning_rate", OPT_FLOAT, "1e-4", "step size", NULL, false },
    { "max_steps", OPT_INT, NULL, "updates", NULL, false },
    { "bf16", OPT_BOOL, "false", "compute in bf16", NULL, false },
    { "algorithm", OPT_CHOICE, "reinforce", "which", "reinforce|dpo", false },
    { "names", OPT_LIST, NULL, "words", NULL, false },
    { "input", OPT_INPUT, NULL, "what is read", NULL, true },
};
static const struct stage toy = { "toy", "a toy", "rlaif toy", table, ARRAY_LEN(table), nothing, NULL };

static json_t *resolve(const char *text, struct err *err)
{
    json_t *given = json_loads(text, 0, NULL), *out = NULL;
    assert_non_null(given);
    int rc = options_resolve(&out, &toy, given, "here", err);
    json_decref(given);
    assert_true((rc == 0) == (out != NULL));
    return out;
}

static void strings_and_json_give_the_same_options(void **state)
{
    struct err err = { 0 };
    json_t *a = resolve("{\"input\":\"x\",\"learning_rate\":\"0.5\",\"max_steps\":\"7\",\"bf16\":\"true\",\"names\":\"a,b\"}", &err);
    json_t *b = resolve("{\"input\":\"x\",\"learning_rate\":0.5,\"max_steps\":7,\"bf16\":true,\"names\":[\"a\",\"b\"]}", &err);
    assert_true(json_equal(a, b));
    assert_true(opt_bool(a, "bf16"));
    assert_int_equal(opt_int(a, "max_steps"), 7);
    assert_true(opt_float(a, "learning_rate") == 0.5);
    assert_int_equal(json_array_size(opt_list(a, "names")), 2);
    json_decref(a);
    json_decref(b);
}

static void what_is_not_given_has_its_default_or_null(void **state)
{
    struct err err = { 0 };
    json_t *o = resolve("{\"input\":\"x\"}", &err);
    assert_false(opt_given(o, "max_steps"));
    assert_true(opt_float(o, "learning_rate") == 1e-4);
    assert_string_equal(opt_str(o, "algorithm"), "reinforce");
    assert_null(opt_list(o, "names"));
    json_decref(o);
}

static void wrong_names_types_and_choices_are_said(void **state)
{
    static const struct { const char *given, *says; } cases[] = {
        { "{\"input\":\"x\",\"learning_rat\":1}", "did you mean 'learning_rate'?" },
        { "{\"input\":\"x\",\"max_steps\":\"many\"}", "expected a whole number" },
        { "{\"input\":\"x\",\"max_steps\":1.5}", "expected a whole number" },
        { "{\"input\":\"x\",\"algorithm\":\"magic\"}", "expected reinforce|dpo" },
        { "{\"input\":\"x\",\"bf16\":\"maybe\"}", "expected true or false" },
        { "{\"input\":\"x\",\"names\":[1]}", "expected a list of strings" },
        { "{}", "toy needs --input" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = { 0 };
        assert_null(resolve(cases[i].given, &err));
        assert_int_equal(err.code, ERR_USAGE);
        kit_contains(err.msg, cases[i].says);
    }
}

static void every_stage_has_a_help_line_and_defaults_that_parse(void **state)
{
    int n;
    const struct stage *const *list = stage_list(&n);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        assert_ptr_equal(stage_find(list[i]->name), list[i]);
        assert_true(str_starts(list[i]->example, "rlaif "));
        json_t *given = json_object(), *out = NULL;
        for (int k = 0; k < list[i]->n_options; k++) {
            const struct option *o = &list[i]->option[k];
            assert_true(strlen(o->help) > 3);
            if (o->required)    // any value of the right type
                json_object_set_new(given, o->name, o->type == OPT_INT ? json_integer(1) : o->type == OPT_FLOAT ?
                                    json_real(1) : o->type == OPT_BOOL ? json_true() : o->type == OPT_CHOICE ?
                                    json_stringn(o->choices, strcspn(o->choices, "|")) : json_string("x"));
        }
        struct err err = { 0 };
        if (options_resolve(&out, list[i], given, "help", &err))
            fail_msg("%s: %s", list[i]->name, err.msg);
        json_decref(out);
        json_decref(given);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(strings_and_json_give_the_same_options),
    cmocka_unit_test(what_is_not_given_has_its_default_or_null),
    cmocka_unit_test(wrong_names_types_and_choices_are_said),
    cmocka_unit_test(every_stage_has_a_help_line_and_defaults_that_parse),
};
KIT_MAIN(tests)
