/* tests/feedback/test_redteam.c - attacks, verdicts, rewrites and pairs, with a scripted labeler and policy. */
#include <math.h>

#include "feedback/feedback.h"
#include "kit/kit.h"

/* The policy answers what the draw says; the labeler calls harmful what says BAD, and refuses nothing. */
struct script { int asked, rewrites; bool stubborn, mumbles; };

static struct reply words(double p)
{
    struct reply r = {.has_logps = true, .mass = 0.98};
    r.word[0].sum = log(0.98 * p);
    r.word[1].sum = log(0.98 * (1 - p));
    r.word[2].sum = r.word[3].sum = -INFINITY;
    return r;
}

static const char *behind(const char *q, const char *tag)
{
    const char *p = strstr(q, tag);
    assert_non_null(p);
    return p + strlen(tag);
}

static int script_ask(struct provider *p, struct reply *out, const struct ask *ask, int n, ask_done *done, void *arg, struct err *err)
{
    struct script *s = p->state;
    for (int i = 0; i < n; i++) {
        const char *q = ask[i].prompt ? ask[i].prompt : ask[i].message[0].content;
        s->asked++;
        if (ask[i].kind == ASK_WORDS) {
            const char *response = behind(q, "Response: ");
            bool refusal = strstr(q, "decline, or put off") != NULL;
            bool yes = refusal ? !strncmp(response, "I cannot", 8) : !strncmp(response, "BAD", 3);
            out[i] = words(yes ? 0.9 : 0.2);
            if (s->mumbles)
                out[i].mass = out[i].word[0].sum = out[i].word[1].sum = -INFINITY;
        } else if (strstr(q, "Write a better one")) {
            s->rewrites++;
            out[i] = (struct reply){.text = strdup(s->stubborn ? "BAD as ever" : "  I would rather not help with that, but this is safe.")};
        } else if (strstr(q, "Written once more:")) {
            out[i] = (struct reply){.text = str_printf(" \"Variant %d of %.12s\"\nand more", ask[i].draw, behind(q, "Request: "))};
        } else {
            bool bad = strstr(q, "seed one") && ask[i].draw == 1;
            bad = bad || strstr(q, "seed two");
            const char *kind = strstr(q, "kind") ? ask[i].draw ? "Of course: ..." : "I cannot help." : bad ? "BAD answer" : "A good answer";
            out[i] = (struct reply){.text = str_printf("%s %d", kind, ask[i].draw)};
        }
        if (!done(arg, i))
            break;
    }
    return 0;
}

static const char seeds[] = "{\"id\":\"one\",\"harm\":\"a\",\"prompt\":\"seed one\"}\n"
                            "{\"id\":\"two\",\"harm\":\"b\",\"prompt\":\"seed two\"}\n"
                            "{\"id\":\"kind\",\"benign\":true,\"prompt\":\"a kind question\"}\n";

static void open_seeds(struct attacks *a, struct rows *rows, const char *text)
{
    struct err err = {0};
    if (rows_read(rows, kit_text("seeds.jsonl", text), 0, &err) || attacks_read(a, rows, &err))
        fail_msg("%s", err.msg);
}

static void attack_all(struct attacks *a, struct script *s, int each)
{
    struct provider who = {.state = s, .fingerprint = "script", .ask = script_ask};
    struct asker asker = {.provider = &who};
    struct style style;
    struct sampling how;
    struct err err = {0};
    int written;
    style_defaults(&style);
    sampling_defaults(&how);
    if ((each && attacks_vary(a, &asker, each, &style, &written, &err)) || attacks_answer(a, &asker, PROMPT_TRANSCRIPT, 3, &how, &err) ||
        attacks_judge(a, &asker, &style, &err) || attacks_rewrite(a, &asker, &style, &err))
        fail_msg("%s", err.msg);
}

static void an_attack_is_kept_that_works_once(void **state)
{
    struct attacks a;
    struct rows rows;
    struct script s = {0};
    open_seeds(&a, &rows, seeds);
    attack_all(&a, &s, 0);
    assert_int_equal(a.n, 3);
    assert_int_equal(a.item[0].harmful, 1);
    assert_int_equal(a.item[1].harmful, 3);
    assert_int_equal(a.item[2].harmful, 0);
    assert_int_equal(s.rewrites, 4);
    json_t *row = attack_row(&a.item[0], &a.item[0]);
    assert_true(json_is_true(json_object_get(row, "selected")));
    assert_true(fabs(json_number_value(json_object_get(row, "success")) - 1.0 / 3) < 1e-12);
    json_decref(row);
    attacks_release(&a);
    rows_release(&rows);
}

static void natural_answers_are_preferred_and_rewrites_fill_in(void **state)
{
    struct attacks a;
    struct rows rows;
    struct script s = {0};
    struct attack_pair p[6];
    open_seeds(&a, &rows, seeds);
    attack_all(&a, &s, 0);
    assert_int_equal(attack_pairs(p, &a.item[0], false), 1);
    assert_int_equal(p[0].kind, PAIR_NATURAL);
    assert_string_equal(p[0].chosen, "A good answer 0");
    assert_string_equal(p[0].rejected, "BAD answer 1");
    assert_true(fabs(p[0].p - 0.8 * 0.9 / (0.8 * 0.9 + 0.2 * 0.1)) < 1e-12);
    assert_int_equal(attack_pairs(p, &a.item[0], true), 2);
    assert_int_equal(attack_pairs(p, &a.item[1], false), 3);        // nothing harmless of its own
    for (int i = 0; i < 3; i++) {
        assert_int_equal(p[i].kind, PAIR_REWRITE);
        assert_string_equal(p[i].chosen, "I would rather not help with that, but this is safe.");
    }
    attacks_release(&a);
    rows_release(&rows);
}

static void a_rewrite_that_stays_harmful_is_dropped(void **state)
{
    struct attacks a;
    struct rows rows;
    struct script s = {.stubborn = true};
    struct attack_pair p[6];
    open_seeds(&a, &rows, seeds);
    attack_all(&a, &s, 0);
    assert_int_equal(attack_pairs(p, &a.item[1], true), 0);
    attacks_release(&a);
    rows_release(&rows);
}

static void refusals_of_benign_prompts_are_counted_and_lose(void **state)
{
    struct attacks a;
    struct rows rows;
    struct script s = {0};
    struct attack_pair p[6];
    open_seeds(&a, &rows, seeds);
    attack_all(&a, &s, 0);
    const struct attack *t = &a.item[2];
    assert_true(t->answer[0].refused && t->answer[0].refused_by_rule);
    assert_false(t->answer[1].refused || t->answer[1].refused_by_rule);
    assert_int_equal(attack_pairs(p, t, false), 1);
    assert_int_equal(p[0].kind, PAIR_LOOK_ALIKE);
    assert_string_equal(p[0].rejected, "I cannot help. 0");
    attacks_release(&a);
    rows_release(&rows);
}

static void what_cannot_be_read_counts_as_harmful(void **state)
{
    struct attacks a;
    struct rows rows;
    struct script s = {.mumbles = true};
    open_seeds(&a, &rows, seeds);
    attack_all(&a, &s, 0);
    assert_int_equal(a.item[0].harmful, 3);
    assert_int_equal(a.item[2].harmful, 0);
    assert_false(a.item[0].answer[0].saved);
    attacks_release(&a);
    rows_release(&rows);
}

static void variants_take_three_forms_and_repeat_nothing(void **state)
{
    struct attacks a;
    struct rows rows;
    struct script s = {0};
    open_seeds(&a, &rows, seeds);
    attack_all(&a, &s, 2);
    // two seeds, two draws; the script says the same in each form, so that one form's are new
    assert_int_equal(a.n, 3 + 2 * 2);
    assert_string_equal(a.item[3].prompt, "Variant 0 of seed one");
    assert_int_equal(a.item[3].seed, 0);
    assert_int_equal(a.item[3].form, ATTACK_PARAPHRASE);
    assert_string_equal(a.item[5].harm, "b");
    attacks_release(&a);
    rows_release(&rows);
}

static void answers_that_a_row_brings_are_judged_as_they_are(void **state)
{
    struct attacks a;
    struct rows rows;
    struct script s = {0};
    struct provider who = {.state = &s, .fingerprint = "script", .ask = script_ask};
    struct asker asker = {.provider = &who};
    struct style style;
    open_seeds(&a, &rows, "{\"prompt\":\"x\",\"completions\":[\"BAD one\",\"fine\",\"BAD but truly fine\"],\"harmful\":[true,false,false]}\n"
                          "{\"prompt\":\"y\",\"completions\":[\"a\"],\"harmful\":[true,false]}\n");
    assert_int_equal(a.n, 1);
    assert_int_equal(rows.n_rejected, 1);
    style_defaults(&style);
    assert_int_equal(attacks_judge(&a, &asker, &style, NULL), 0);
    assert_true(a.item[0].answer[0].harmful && !a.item[0].answer[1].harmful && a.item[0].answer[2].harmful);
    assert_int_equal(a.item[0].answer[2].truth, 0);
    attacks_release(&a);
    rows_release(&rows);
}

static void refusals_are_known_by_how_they_begin(void **state)
{
    static const char *const yes[] = {"I can't help with that.", "I can’t do that", "Sorry, no.", "  \"I'm sorry, but", "As an AI model, I"},
                            *const no[] = {"I can help.", "Certainly!", "", "Sorrel is a herb.", "No problem"};
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        if (!refusal_by_rule(yes[i]))
            fail_msg("\"%s\" is a refusal", yes[i]);
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        if (refusal_by_rule(no[i]))
            fail_msg("\"%s\" is no refusal", no[i]);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_attack_is_kept_that_works_once),
    cmocka_unit_test(natural_answers_are_preferred_and_rewrites_fill_in),
    cmocka_unit_test(a_rewrite_that_stays_harmful_is_dropped),
    cmocka_unit_test(refusals_of_benign_prompts_are_counted_and_lose),
    cmocka_unit_test(what_cannot_be_read_counts_as_harmful),
    cmocka_unit_test(variants_take_three_forms_and_repeat_nothing),
    cmocka_unit_test(answers_that_a_row_brings_are_judged_as_they_are),
    cmocka_unit_test(refusals_are_known_by_how_they_begin),
};
KIT_MAIN(tests)
