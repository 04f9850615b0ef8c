/* tests/feedback/test_prompts.c - the exact questions of every protocol, and what texts say: the cases of
 * tests/cases/protocols.  Adding one needs no C. */
#include "feedback/scripted.h"

#include <dirent.h>

/* ---- from a case's options to the program's ------------------------------------------------ */

static const char *str(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static int whole(const json_t *o, const char *key, int dflt)
{
    const json_t *v = json_object_get(o, key);
    return v ? (int)json_integer_value(v) : dflt;
}

static struct protocol_options options(const json_t *o)
{
    struct protocol_options p;
    protocol_defaults(&p);
    if (str(o, "task"))
        assert_int_equal(label_task_from_name(&p.task, str(o, "task"), NULL), 0);
    p.preamble = str(o, "preamble");
    p.scale = str(o, "scale");
    p.ask_harmless = str(o, "wording") && !strcmp(str(o, "wording"), "harmless");
    p.order = str(o, "order") && !strcmp(str(o, "order"), "fixed") ? ORDER_FIXED : ORDER_BOTH;
    p.cot = json_is_true(json_object_get(o, "cot"));
    p.chat = json_is_true(json_object_get(o, "chat"));
    p.shipped_exemplars = whole(o, "exemplars", 0);
    p.rationales = whole(o, "rationales", 0);
    p.votes = whole(o, "votes", 0);
    p.principle = whole(o, "principle", 0);
    return p;
}

/* A protocol of its own, written to a file: JSON is YAML. */
static const char *own_file(const json_t *file)
{
    struct buf b = {0};
    json_add_text(&b, file, 2);
    const char *path = kit_text("own.yaml", b.s);
    buf_release(&b);
    return path;
}

/* ---- one question against what is expected ------------------------------------------------------ */

static void same(const char *file, const char *what, const char *found, const char *expected)
{
    if (expected && (!found || strcmp(found, expected)))
        fail_msg("%s: %s is\n----\n%s\n---- expected\n%s\n----", file, what, found ? found : "(nothing)", expected);
}

static void check_words(const char *file, const struct ask *a, const json_t *words)
{
    if (!words)
        return;
    assert_int_equal(a->kind, ASK_WORDS);
    if (a->n_words != (int)json_array_size(words))
        fail_msg("%s: %d words", file, a->n_words);
    for (int i = 0; i < a->n_words; i++)
        same(file, "a word", a->word[i], json_string_value(json_array_get(words, (size_t)i)));
}

static void check_ask(const char *file, const struct ask *a, const json_t *want)
{
    const char *ends = str(want, "prompt_ends");
    same(file, "the prompt", a->prompt, str(want, "prompt"));
    if (ends && !(a->prompt && str_ends(a->prompt, ends)))
        fail_msg("%s: the prompt is\n----\n%s\n---- expected to end with\n%s\n----", file, a->prompt, ends);
    same(file, "the message", a->n_messages ? a->message[0].content : NULL, str(want, "message"));
    same(file, "the schema", a->schema, str(want, "schema"));
    same(file, "the prefill", a->prefill, str(want, "prefill"));
    same(file, "the stop string", a->sampling.n_stop ? a->sampling.stop[0] : NULL, str(want, "stop"));
    check_words(file, a, json_object_get(want, "words"));
    if (json_object_get(want, "temperature"))
        near(a->sampling.temperature, json_number_value(json_object_get(want, "temperature")), 1e-6);
    if (json_object_get(want, "max_tokens"))
        assert_int_equal(a->sampling.max_new_tokens, whole(want, "max_tokens", 0));
    // The hint has to be what the prompt begins with.
    if (a->head && a->prompt)
        assert_true(str_starts(a->prompt, a->head));
}

static void check_case(const char *name, const char *path)
{
    json_t *c = NULL;
    struct protocol *p = NULL;
    struct err err = {0};
    struct arena arena = {0};
    if (yaml_read_file(&c, path, &err))
        fail_msg("%s", err.msg);
    struct protocol_options o = options(json_object_get(c, "options"));
    const json_t *own = json_object_get(c, "file"), *item = json_object_get(c, "item"), *asks = json_object_get(c, "asks");
    if (protocol_new(&p, own ? own_file(own) : str(c, "protocol"), &o, &err))
        fail_msg("%s: %s", name, err.msg);
    struct label_item it = {str(item, "prompt"), str(item, "first"), str(item, "second"), str(item, "reference")};
    struct view view[PROTOCOL_MAX_VIEWS];
    int n = protocol_views(p, &it, view), at = 0;
    for (int pass = 0; pass < protocol_passes(p); pass++)
        for (int k = 0; k < n && at < (int)json_array_size(asks); k++) {
            struct ask a;
            assert_int_equal(protocol_ask(&a, p, &it, view[k], pass, str(c, "said"), &arena, &err), 0);
            check_ask(name, &a, json_array_get(asks, (size_t)at++));
        }
    if (at != (int)json_array_size(asks) || !at)
        fail_msg("%s: %d questions, %zu expected", name, at, json_array_size(asks));
    arena_release(&arena);
    protocol_free(p);
    json_decref(c);
}

static void every_case_is_asked_to_the_letter(void **state)
{
    DIR *d = opendir(kit_tests("cases/protocols"));
    assert_non_null(d);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));) {
        char path[600];
        if (!str_ends(e->d_name, ".yaml") || !strcmp(e->d_name, "verdicts.yaml"))
            continue;
        snprintf(path, sizeof path, "%s/%s", kit_tests("cases/protocols"), e->d_name);
        check_case(e->d_name, path);
        n++;
    }
    closedir(d);
    assert_true(n >= 10);
}

/* ---- verdicts ---------------------------------------------------------------------------------- */

static void texts_say_a_word_or_none(void **state)
{
    json_t *groups = NULL, *group, *row;
    struct err err = {0};
    size_t g, i;
    if (yaml_read_file(&groups, kit_tests("cases/protocols/verdicts.yaml"), &err))
        fail_msg("%s", err.msg);
    json_array_foreach(groups, g, group) {
        const char *word[PROVIDER_MAX_WORDS];
        const json_t *words = json_object_get(group, "words");
        int n = (int)json_array_size(words);
        for (int w = 0; w < n; w++)
            word[w] = json_string_value(json_array_get(words, (size_t)w));
        json_array_foreach(json_object_get(group, "texts"), i, row) {
            const char *text = json_string_value(json_array_get(row, 0)), *says = json_string_value(json_array_get(row, 1));
            int w = verdict_read(text, str(group, "ending"), word, n);
            const char *found = w < 0 ? "nothing" : word[w];
            if (strcmp(found, says ? says : "nothing"))
                fail_msg("\"%s\" says %s, expected %s", text, found, says ? says : "nothing");
        }
    }
    json_decref(groups);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_case_is_asked_to_the_letter),
    cmocka_unit_test(texts_say_a_word_or_none),
};
KIT_MAIN(tests)
