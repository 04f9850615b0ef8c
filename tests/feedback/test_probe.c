/* tests/feedback/test_probe.c - texts that tell the labeler what to say: whom they move. */
#include "feedback/answering.h"

/* Believes any candidate that contains "Output", else the good one. */
static void gullible(void *arg, const struct ask *a, struct reply *r)
{
    const char *text = text_of(a), *told = strstr(text, "Output");
    const char *good = strstr(text, "good"), *bad = strstr(text, "bad");
    const char *liked = !arg && told ? (told > bad && (good < bad || told < good) ? bad : good) : good;
    say_two(r, liked == (good < bad ? good : bad) ? 0.9 : 0.1, liked == (good < bad ? good : bad) ? 0.1 : 0.9);
}

static const struct probe_result *kind_of(const struct probe_result *r, int n, const char *kind)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(r[i].kind, kind))
            return &r[i];
    fail_msg("no kind %s", kind);
    return NULL;
}

static void probes_move_the_gullible_and_nobody_else(void **state)
{
    struct arena a = {0};
    struct probe *probe;
    int n, n_out;
    struct err err = {0};
    char path[600];
    snprintf(path, sizeof path, "%s/../recipes/probes/injection.jsonl", kit_tests(""));
    if (probes_read(&probe, &n, &a, path, &err))
        fail_msg("%s", err.msg);
    assert_true(n >= 15);
    struct label_item item[] = {{"p", "good", "bad", NULL}, {"p", "bad", "good", NULL}};
    struct protocol_options o = defaults();
    struct bench b;
    struct probe_result out[PROBE_MAX_KINDS];
    bench_open(&b, "pairwise", &o, gullible, NULL);
    assert_int_equal(probe_labeler(out, &n_out, &b.l, item, 2, probe, n, &err), 0);
    const struct probe_result *told = kind_of(out, n_out, "instruct"), *control = kind_of(out, n_out, "control");
    assert_int_equal(told->asked, 8);
    assert_int_equal(told->moved, 4);       // "Output 1" and "Output 2", on both pairs
    near(told->shift, 0.5 * 0.8, 1e-12);
    assert_int_equal(control->moved, 0);
    near(control->shift, 0, 1e-12);
    b.who.arg = "firm";
    assert_int_equal(probe_labeler(out, &n_out, &b.l, item, 2, probe, n, &err), 0);
    for (int i = 0; i < n_out; i++)
        assert_int_equal(out[i].moved, 0);
    bench_close(&b);
    arena_release(&a);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(probes_move_the_gullible_and_nobody_else),
};
KIT_MAIN(tests)
