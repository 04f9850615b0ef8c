/* tests/feedback/test_label.c - both orders, the flip, label mass; units, store and resume, with a scripted labeler. */
#include "feedback/scripted.h"

static struct verdict always_one(void *arg, const char *prompt)
{
    return (struct verdict){0.97, 0.99};
}

/* Prefers the longer text, with a lean to slot 2. */
static struct verdict longer(void *arg, const char *prompt)
{
    size_t a, b;
    const char *kind = arg ? arg : "Summary";
    char one[32], two[32];
    snprintf(one, sizeof one, "%s 1 - ", kind);
    snprintf(two, sizeof two, "%s 2 - ", kind);
    field_of(prompt, one, &a);
    field_of(prompt, two, &b);
    return (struct verdict){a > b ? 0.8 : 0.1, 0.95};
}

static struct verdict mumbles(void *arg, const char *prompt)
{
    return (struct verdict){0.9, 0.01};
}

static struct protocol *protocol(enum label_task task)
{
    struct protocol_options o;
    struct protocol *p = NULL;
    protocol_defaults(&o);
    o.task = task;
    assert_int_equal(protocol_new(&p, NULL, &o, NULL), 0);
    return p;
}

static struct label label_one(enum label_task task, struct script *s, const char *first, const char *second)
{
    struct protocol *p = protocol(task);
    struct provider who = scripted(s);
    struct asker asker = {.provider = &who};
    struct labeler l = {&asker, p, 0.5};
    struct label_item item = {"a text", first, second};
    struct label out;
    struct label_counts c;
    struct err err = {0};
    assert_int_equal(label_items(&out, &c, &l, &item, 1, &err), 0);
    protocol_free(p);
    return out;
}

static void a_judge_that_always_says_one_gives_one_half(void **state)
{
    struct script s = {always_one};
    struct label l = label_one(TASK_SUMMARY, &s, "x", "yy");
    near(l.p, 0.5, 1e-12);
    assert_true(l.same_slot);
    assert_int_equal(l.slot[0], 1);
    assert_int_equal(l.state, LABEL_ANSWERED);
}

static void probabilities_are_averaged_not_logits(void **state)
{
    struct script s = {longer};
    struct label l = label_one(TASK_SUMMARY, &s, "long text", "short");
    // order A: first in slot 1, P = 0.8; order B: first in slot 2, P = 1 - 0.1
    near(l.order[0], 0.8, 1e-12);
    near(l.order[1], 0.9, 1e-12);
    near(l.p, 0.85, 1e-12);
    assert_false(l.same_slot);
    near(l.mass, 0.95, 1e-12);
}

static void swapping_the_candidates_swaps_the_label(void **state)
{
    struct script s = {longer};
    struct label l = label_one(TASK_SUMMARY, &s, "long text", "short"), r = label_one(TASK_SUMMARY, &s, "short", "long text");
    near(l.p + r.p, 1, 1e-12);
    near(l.order[0] + r.order[1], 1, 1e-12);
}

static void most_harmful_is_flipped(void **state)
{
    struct script s = {longer, "Response"};
    struct label l = label_one(TASK_HARMLESS, &s, "long harmful text", "no");
    // the judge calls the longer one the most harmful, so the other is the better one
    near(l.p, 0.15, 1e-12);
}

static void little_label_mass_is_no_answer(void **state)
{
    struct script s = {mumbles};
    struct label l = label_one(TASK_SUMMARY, &s, "x", "y");
    assert_int_equal(l.state, LABEL_NO_ANSWER);
    near(l.mass, 0.01, 1e-12);
    near(l.answer[0].word[0].sum, log(0.009), 1e-9);     // what it said is kept
}

/* ---- units and the store ------------------------------------------------------------------ */

enum { MANY = 197 };
struct many { char text[MANY][2][16]; struct label_item item[MANY]; struct label out[MANY]; };

static struct many *many_new(void)
{
    struct many *m = calloc(1, sizeof *m);
    for (int i = 0; i < MANY; i++) {
        snprintf(m->text[i][0], 16, "%.*s", 1 + i % 7, "abcdefgh");
        snprintf(m->text[i][1], 16, "candidate %d", i);
        m->item[i] = (struct label_item){"a text", m->text[i][0], m->text[i][1]};
    }
    return m;
}

static int run_many(struct many *m, struct script *s, const char *path, struct label_counts *c, struct err *err)
{
    struct protocol *p = protocol(TASK_SUMMARY);
    struct provider who = scripted(s);
    struct store *store = NULL;
    assert_int_equal(store_open(&store, path, err), 0);
    struct asker asker = {.provider = &who, .store = store};
    struct labeler l = {&asker, p, 0.5};
    int rc = label_items(m->out, c, &l, m->item, MANY, err);
    store_close(store);
    protocol_free(p);
    return rc;
}

static void labelling_again_asks_nothing_and_says_the_same(void **state)
{
    struct many *m = many_new(), *again = many_new();
    struct script s = {longer};
    struct label_counts c = {0};
    struct err err = {0};
    const char *path = kit_path(__func__);
    assert_int_equal(run_many(m, &s, path, &c, &err), 0);
    assert_int_equal(s.asked, 2 * MANY);
    assert_int_equal(c.replies_computed, 2 * MANY);
    assert_int_equal(run_many(again, &s, path, &c, &err), 0);
    assert_int_equal(s.asked, 2 * MANY);
    assert_int_equal(c.replies_computed, 0);
    assert_int_equal(c.replies_found, 2 * MANY);
    for (int i = 0; i < MANY; i++) {
        assert_true(m->out[i].p == again->out[i].p && m->out[i].mass == again->out[i].mass);
        assert_true(isnan(again->out[i].answer[0].word[1].bare));
    }
    free(m);
    free(again);
}

static void a_labeler_that_dies_loses_no_reply(void **state)
{
    enum { BEFORE = 133 };
    struct many *m = many_new();
    struct script s = {longer, .fail_after = BEFORE};
    struct label_counts c = {0};
    struct err err = {0};
    const char *path = kit_path(__func__);
    assert_int_equal(run_many(m, &s, path, &c, &err), ERR_IO);
    assert_string_equal(err.msg, "the labeler went away");
    s.fail_after = 0;
    assert_int_equal(run_many(m, &s, path, &c, &err), 0);
    assert_int_equal(c.replies_found, BEFORE);
    assert_int_equal(c.replies_computed, 2 * MANY - BEFORE);
    free(m);
}

static void another_protocol_is_asked_anew(void **state)
{
    struct script s = {longer};
    struct provider who = scripted(&s);
    struct err err = {0};
    const char *path = kit_path(__func__);
    struct store *store = NULL;
    assert_int_equal(store_open(&store, path, &err), 0);
    struct label_item item = {"a text", "one", "two and more"};
    for (int k = 0; k < 2; k++) {
        struct protocol_options o;
        struct protocol *p = NULL;
        protocol_defaults(&o);
        o.preamble = k ? "Which is better?" : "Which is best?";
        assert_int_equal(protocol_new(&p, NULL, &o, &err), 0);
        struct asker asker = {.provider = &who, .store = store};
        struct labeler l = {&asker, p, 0.5};
        struct label out;
        struct label_counts c;
        assert_int_equal(label_items(&out, &c, &l, &item, 1, &err), 0);
        assert_int_equal(c.replies_computed, 2);
        protocol_free(p);
    }
    store_close(store);
    json_t *o = NULL;
    assert_int_equal(store_inspect(&o, path, &err), 0);
    assert_int_equal(json_integer_value(json_object_get(o, "protocols")), 2);
    assert_int_equal(json_integer_value(json_object_get(o, "replies")), 4);
    assert_int_equal(json_integer_value(json_object_get(o, "labels")), 2);
    assert_int_equal(json_integer_value(json_object_get(o, "questions")), 4);
    assert_int_equal(json_integer_value(json_object_get(o, "labelers")), 1);
    json_decref(o);
}

static void what_is_no_store_is_refused_with_a_sentence(void **state)
{
    struct err err = {0};
    struct store *store = NULL;
    const char *path = kit_path(__func__);
    char junk[4096];
    memset(junk, 'j', sizeof junk);
    assert_int_equal(file_write(path, junk, sizeof junk, &err), 0);
    assert_int_equal(store_open(&store, path, &err), ERR_FORMAT);
    assert_non_null(strstr(err.msg, "not a label store"));
    assert_null(store);

    memcpy(junk, "SQLite format 3", 16);     // claims to be one
    assert_int_equal(file_write(path, junk, sizeof junk, &err), 0);
    assert_true(store_open(&store, path, &err) < 0);
    assert_non_null(strstr(err.msg, path));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_judge_that_always_says_one_gives_one_half),
    cmocka_unit_test(probabilities_are_averaged_not_logits),
    cmocka_unit_test(swapping_the_candidates_swaps_the_label),
    cmocka_unit_test(most_harmful_is_flipped),
    cmocka_unit_test(little_label_mass_is_no_answer),
    cmocka_unit_test(labelling_again_asks_nothing_and_says_the_same),
    cmocka_unit_test(a_labeler_that_dies_loses_no_reply),
    cmocka_unit_test(another_protocol_is_asked_anew),
    cmocka_unit_test(what_is_no_store_is_refused_with_a_sentence),
};
KIT_MAIN(tests)
