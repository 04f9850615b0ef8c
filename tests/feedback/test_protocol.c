/* tests/feedback/test_protocol.c - how pairs are written down: fields, exemplars, wordings, what is taken off a prompt. */
#include "feedback/scripted.h"

static struct protocol *made(const struct protocol_options *o)
{
    struct protocol *p = NULL;
    struct err err = {0};
    if (protocol_new(&p, NULL, o, &err))
        fail_msg("%s", err.msg);
    return p;
}

static char *rendered(const struct protocol_options *o, const char *prompt, const char *a, const char *b)
{
    struct protocol *p = made(o);
    struct buf out = {0};
    assert_int_equal(feedback_render_pair(&out, p, prompt, a, b), 0);
    protocol_free(p);
    return buf_take(&out);
}

static void a_summary_prompt_has_the_papers_fields(void **state)
{
    struct protocol_options o = {.task = TASK_SUMMARY, .preamble = "Which is better?"};
    char *s = rendered(&o, "a text", "one", "two");
    assert_string_equal(s, "Which is better?\n\nText - a text\nSummary 1 - one\nSummary 2 - two\nPreferred Summary=");
    free(s);
}

static void only_the_post_of_a_policy_prompt_is_shown(void **state)
{
    struct protocol_options o = {.task = TASK_SUMMARY, .preamble = "P"};
    char *s = rendered(&o, "SUBREDDIT: r/x\n\nTITLE: t\n\nPOST: the post\nhas lines\n\nTL;DR:", " one ", " two\n");
    assert_string_equal(s, "P\n\nText - the post\nhas lines\nSummary 1 - one\nSummary 2 - two\nPreferred Summary=");
    free(s);
    s = rendered(&o, "POST: alone\n\nTL;DR:", "", "two");
    assert_string_equal(s, "P\n\nText - alone\nSummary 1 - \nSummary 2 - two\nPreferred Summary=");
    free(s);
}

static void transcripts_keep_their_turns_and_tags(void **state)
{
    struct protocol_options o = {.task = TASK_HARMLESS, .preamble = "P", .ask_harmless = true};
    char *s = rendered(&o, "\n\nHuman: hi\n\nAssistant: yes?\n\nHuman: more\n\nAssistant:", " one", " two");
    assert_string_equal(s, "P\n\nContext - Human: hi\n\nAssistant: yes?\n\nHuman: more\nResponse 1 - Assistant: one\n"
                           "Response 2 - Assistant: two\nMore harmless response=");
    free(s);
}

static void exemplars_alternate_and_answer_the_wording(void **state)
{
    for (int ask = 0; ask < 2; ask++) {
        struct protocol_options o = {.task = TASK_HARMLESS, .ask_harmless = ask, .shipped_exemplars = 4};
        struct protocol *p = made(&o);
        const char *end = ask ? "More harmless response=" : "Preferred Response=";
        assert_true(p->form.flip == !ask);
        int i = 0;
        for (const char *at = p->head; (at = strstr(at, end)); i++) {
            at += strlen(end);
            int better = i % 2 + 1;     // the first wins, then the second, ...
            assert_int_equal(*at - '0', ask ? better : 3 - better);
            assert_int_equal(p->form.exemplar[i].better, better);
        }
        assert_int_equal(i, 4);
        kit_contains(p->head, "»»»» Example »»»»\n\nContext - Human:");
        assert_true(str_ends(p->head, "»»»» Follow the instructions and the example(s) above »»»»"));
        protocol_free(p);
    }
}

/* Answers as the exemplar with the same responses was answered. */
static struct verdict as_the_exemplar(void *arg, const char *prompt)
{
    const char *sample = strstr(prompt, "example(s) above"), *one = strstr(sample, "Response 1"), *end = prompt + strlen(prompt);
    const char *like = memmem(prompt, (size_t)(sample - prompt), one, (size_t)(end - one));
    if (!like)      // the exemplar shows them the other way round: what it calls 1 is 2 here
        return (struct verdict){arg == NULL ? 0.5 : *(double *)arg, 1};
    return (struct verdict){like[end - one] == '1' ? 0.9 : 0.1, 1};
}

static void an_exemplar_gives_more_than_half_to_the_harmless_answer(void **state)
{
    for (int ask = 0; ask < 2; ask++) {
        struct protocol_options o = {.task = TASK_HARMLESS, .ask_harmless = ask, .shipped_exemplars = 4};
        struct protocol *p = made(&o);
        struct script s = {as_the_exemplar};
        struct provider who = scripted(&s);
        struct asker asker = {.provider = &who};
        struct labeler l = {&asker, p, 0.5};
        for (int i = 0; i < 4; i++) {
            const struct exemplar *e = &p->form.exemplar[i];
            struct label_item item = {e->text, e->first, e->second};
            struct label out;
            assert_int_equal(label_items(&out, NULL, &l, &item, 1, NULL), 0);
            assert_true(e->better == 1 ? out.p > 0.5 : out.p < 0.5);
        }
        protocol_free(p);
    }
}

static void exemplars_come_from_a_file(void **state)
{
    struct protocol_options o = {.task = TASK_SUMMARY, .preamble = "P"};
    o.exemplar_file = kit_text("ex.jsonl", "{\"text\":\"t\",\"first\":\"a\",\"second\":\"b\",\"better\":2}\n");
    char *s = rendered(&o, "x", "y", "z");
    kit_contains(s, "»»»» Example »»»»\n\nText - t\nSummary 1 - a\nSummary 2 - b\nPreferred Summary=2\n\n");
    free(s);
    struct protocol *p = NULL;
    struct err err = {0};
    o.exemplar_file = kit_text("bad.jsonl", "{\"text\":\"t\",\"first\":\"a\",\"second\":\"b\",\"better\":3}\n");
    assert_int_equal(protocol_new(&p, NULL, &o, &err), ERR_VALUE);
    kit_contains(err.msg, "bad.jsonl: line 1");
    o.exemplar_file = kit_text("short.jsonl", "{\"text\":\"t\",\"first\":\"a\",\"better\":1}\n");
    assert_int_equal(protocol_new(&p, NULL, &o, &err), ERR_MISSING);
    kit_contains(err.msg, "second");
}

static void every_part_of_the_wording_is_in_the_hash(void **state)
{
    struct protocol_options o[] = {
        {.task = TASK_HARMLESS}, {.task = TASK_HELPFUL}, {.task = TASK_HARMLESS, .ask_harmless = true},
        {.task = TASK_HARMLESS, .preamble = "detailed"}, {.task = TASK_HARMLESS, .shipped_exemplars = 1},
        {.task = TASK_HARMLESS, .preamble = "x"}, {.task = TASK_HELPFUL, .preamble = "x"},
    };
    char hash[ARRAY_LEN(o)][33];
    for (size_t i = 0; i < ARRAY_LEN(o); i++) {
        struct protocol *p = made(&o[i]);
        strcpy(hash[i], p->hash);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(hash[i], hash[k]);
        protocol_free(p);
    }
}

static void unknown_tasks_get_a_suggestion(void **state)
{
    enum label_task task;
    struct err err = {0};
    assert_int_equal(label_task_from_name(&task, "helpfull", &err), ERR_VALUE);
    kit_contains(err.msg, "did you mean helpful?");
    assert_int_equal(label_task_from_name(&task, "harmless", &err), 0);
    assert_int_equal(task, TASK_HARMLESS);
}

static void the_first_human_turn_is_found(void **state)
{
    size_t n;
    const char *s = first_human_turn("\n\nHuman: one two\n\nAssistant: x\n\nHuman: y\n\nAssistant:", &n);
    assert_int_equal(n, 7);
    assert_memory_equal(s, "one two", 7);
    s = first_human_turn("no transcript", &n);
    assert_int_equal(n, 13);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_summary_prompt_has_the_papers_fields),
    cmocka_unit_test(only_the_post_of_a_policy_prompt_is_shown),
    cmocka_unit_test(transcripts_keep_their_turns_and_tags),
    cmocka_unit_test(exemplars_alternate_and_answer_the_wording),
    cmocka_unit_test(an_exemplar_gives_more_than_half_to_the_harmless_answer),
    cmocka_unit_test(exemplars_come_from_a_file),
    cmocka_unit_test(every_part_of_the_wording_is_in_the_hash),
    cmocka_unit_test(unknown_tasks_get_a_suggestion),
    cmocka_unit_test(the_first_human_turn_is_found),
};
KIT_MAIN(tests)
