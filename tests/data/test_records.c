/* Prompts, pairs and examples out of rows; transcripts and their quirks; orders and splits. */
#include "data/data.h"
#include "kit/kit.h"

static struct rows rows;
static struct arena arena;
static struct err e;

static int setup(void **state)
{
    rows = (struct rows){0};
    arena = (struct arena){0};
    e = (struct err){0};
    return 0;
}

static int teardown(void **state)
{
    rows_release(&rows);
    arena_release(&arena);
    return 0;
}

static void load(const char *text)
{
    assert_int_equal(rows_read(&rows, kit_text("in.jsonl", text), 0, &e), 0);
}

static void text_is_a_string_or_messages(void **state)
{
    struct text t;
    json_t *v = json_string("plain");
    assert_int_equal(text_from_json(&t, &arena, v, "prompt", &e), 0);
    assert_string_equal(t.text, "plain");
    assert_int_equal(t.n, 0);
    json_decref(v);
    v = json_pack("[{s:s,s:s},{s:s,s:s}]", "role", "user", "content", "hi", "role", "assistant", "content", "");
    assert_int_equal(text_from_json(&t, &arena, v, "prompt", &e), 0);
    assert_int_equal(t.n, 2);
    assert_string_equal(t.messages[1].role, "assistant");
    json_decref(v);
    static const struct { const char *json, *part; } bad[] = {
        {"7", "prompt: expected a string or a list"},
        {"[]", "empty"},
        {"[{\"role\":\"user\"}]", "prompt[0]: 'content' is missing"},
        {"[{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"\",\"content\":\"y\"}]", "prompt[1]: 'role' is empty"},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]", "prompt[0]: 'content' should be a string"},
        {"[\"user\"]", "prompt[0]: expected an object"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        v = json_parse(bad[i].json, strlen(bad[i].json), "x", &e);
        assert_int_not_equal(text_from_json(&t, &arena, v, "prompt", &e), 0);
        kit_contains(e.msg, bad[i].part);
        json_decref(v);
    }
}

static void rows_without_a_prompt_are_rejected_with_the_reason(void **state)
{
    struct prompt *p;
    int n;
    load("{\"prompt\":\"a\"}\n{\"id\":\"x\"}\n{\"prompt\":\"\"}\n{\"prompt\":null}\n{\"prompt\":3}\n{\"prompt\":\"b\",\"id\":17}\n");
    assert_int_equal(data_prompts(&p, &n, &arena, &rows, &e), 0);
    assert_int_equal(n, 2);
    assert_int_equal(rows.n, 2);
    assert_string_equal(p[1].text.text, "b");
    assert_string_equal(p[1].id, "17");
    assert_int_equal(strlen(p[0].id), 32);
    assert_int_equal(p[1].line, 6);
    assert_ptr_equal(p[1].row, rows.row[1]);
    assert_int_equal(rows.n_rejected, 4);
    assert_string_equal(rows.rejected[0].why, "'prompt' is missing");
    assert_string_equal(rows.rejected[1].why, "'prompt' is empty");
    assert_string_equal(rows.rejected[2].why, "'prompt' is null");
    kit_contains(rows.rejected[3].why, "expected a string");
}

static void no_usable_row_is_an_error_that_names_the_first(void **state)
{
    struct prompt *p;
    int n;
    load("{\"text\":\"a\"}\n{\"text\":\"b\"}\n");
    assert_int_equal(data_prompts(&p, &n, &arena, &rows, &e), ERR_VALUE);
    kit_contains(e.msg, "in.jsonl");
    kit_contains(e.msg, "line 1: 'prompt' is missing");
}

static void ids_depend_on_content_only(void **state)
{
    struct pair *p;
    int n;
    load("{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n{\"rejected\":\"b\",\"prompt\":\"q\",\"chosen\":\"a\",\"x\":1}\n"
         "{\"prompt\":\"q\",\"chosen\":\"b\",\"rejected\":\"a\"}\n");
    assert_int_equal(data_pairs(&p, &n, &arena, &rows, &e), 0);
    assert_string_equal(p[0].id, p[1].id);
    assert_string_not_equal(p[0].id, p[2].id);
}

static void pairs_read_trl_columns_and_soft_labels(void **state)
{
    struct pair *p;
    int n;
    load("{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n"
         "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\",\"label_prob\":0.7}\n"
         "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\",\"label_prob\":1.2}\n"
         "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\",\"label_prob\":\"often\"}\n"
         "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"a\"}\n"
         "{\"prompt\":\"q\",\"chosen\":\"\",\"rejected\":\"a\"}\n"
         "{\"prompt\":\"q\",\"chosen\":\"a\"}\n"
         "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":[{\"role\":\"assistant\",\"content\":\"b\"}]}\n");
    assert_int_equal(data_pairs(&p, &n, &arena, &rows, &e), 0);
    assert_int_equal(n, 2);
    assert_true(p[0].label_prob == 1.0 && p[1].label_prob == 0.7);
    static const char *const why[] = {"1.2", "a number", "the same", "'chosen' is empty", "'rejected' is missing",
                                      "a list of messages"};
    assert_int_equal(rows.n_rejected, ARRAY_LEN(why));
    for (size_t i = 0; i < ARRAY_LEN(why); i++)
        kit_contains(rows.rejected[i].why, why[i]);
}

static void conversations_share_their_first_messages(void **state)
{
    struct pair *p;
    int n;
    static const char u[] = "{\"role\":\"user\",\"content\":\"q\"}";
    struct buf b = {0};
    buf_addf(&b, "{\"chosen\":[%s,{\"role\":\"assistant\",\"content\":\"a\"}],"
                 "\"rejected\":[%s,{\"role\":\"assistant\",\"content\":\"b\"}]}\n", u, u);
    buf_addf(&b, "{\"prompt\":\"q\",\"chosen\":[%s,{\"role\":\"assistant\",\"content\":\"a\"}],"
                 "\"rejected\":[%s,{\"role\":\"assistant\",\"content\":\"b\"}]}\n", u, u);
    buf_addf(&b, "{\"prompt\":[%s],\"chosen\":[{\"role\":\"assistant\",\"content\":\"a\"}],"
                 "\"rejected\":[{\"role\":\"assistant\",\"content\":\"b\"}]}\n", u);
    buf_addf(&b, "{\"chosen\":[%s,%s],\"rejected\":[%s]}\n", u, u, u);     // one is the beginning of the other
    load(b.s);
    buf_release(&b);
    assert_int_equal(data_pairs(&p, &n, &arena, &rows, &e), 0);
    assert_int_equal(n, 3);
    for (int i = 0; i < n; i++) {
        assert_int_equal(p[i].prompt.n, 1);
        assert_string_equal(p[i].prompt.messages[0].content, "q");
        assert_int_equal(p[i].chosen.n, 1);
        assert_string_equal(p[i].chosen.messages[0].content, "a");
        assert_string_equal(p[i].rejected.messages[0].content, "b");
    }
    assert_int_equal(rows.n_rejected, 1);
}

#define H "\\n\\nHuman: "
#define A "\\n\\nAssistant:"
static void transcripts_are_cut_after_the_last_shared_turn(void **state)
{
    struct pair *p;
    int n;
    load("{\"chosen\":\"" H "q" A " yes\",\"rejected\":\"" H "q" A " yes, but\"}\n"
         "{\"chosen\":\"" H "q" A " x" H "r" A " yes\",\"rejected\":\"" H "q" A " x" H "r" A " no\"}\n"
         // the dialogues part earlier: the prompt ends where both still agree
         "{\"chosen\":\"" H "q" A " x" H "r" A " yes\",\"rejected\":\"" H "q" A " z" H "s" A " no\"}\n"
         // the marker itself differs in its last letter
         "{\"chosen\":\"" H "q" A " x\\n\\nAssistant: y\",\"rejected\":\"" H "q" A " x\\n\\nAssistantly y\"}\n"
         "{\"chosen\":\"" H "q" A " x\",\"rejected\":\"" H "p" A " y\"}\n"
         "{\"chosen\":\"plain\",\"rejected\":\"text\"}\n"
         "{\"chosen\":\"" H "q" A "\",\"rejected\":\"" H "q" A " y\"}\n");
    assert_int_equal(data_pairs(&p, &n, &arena, &rows, &e), 0);
    assert_int_equal(n, 4);
    assert_string_equal(p[0].prompt.text, "\n\nHuman: q\n\nAssistant:");
    assert_string_equal(p[0].chosen.text, " yes");
    assert_string_equal(p[0].rejected.text, " yes, but");
    assert_string_equal(p[1].prompt.text, "\n\nHuman: q\n\nAssistant: x\n\nHuman: r\n\nAssistant:");
    assert_string_equal(p[1].chosen.text, " yes");
    assert_string_equal(p[2].prompt.text, "\n\nHuman: q\n\nAssistant:");
    assert_string_equal(p[2].rejected.text, " z\n\nHuman: s\n\nAssistant: no");
    assert_string_equal(p[3].prompt.text, "\n\nHuman: q\n\nAssistant:");
    assert_int_equal(rows.n_rejected, 3);
    kit_contains(rows.rejected[0].why, "do not share");
    kit_contains(rows.rejected[2].why, "'chosen' is empty");
}

static void every_hh_row_is_cut_or_listed(void **state)
{
    struct pair *p;
    int n;
    const char *path = kit_shared("data/hh-harmless-test.jsonl.gz");
    if (!path)
        skip();
    assert_int_equal(rows_read(&rows, path, 0, &e), 0);
    int all = rows.n;
    assert_int_equal(all, 2312);
    assert_int_equal(data_pairs(&p, &n, &arena, &rows, &e), 0);
    assert_int_equal(n + rows.n_rejected, all);
    assert_true(rows.n_rejected < all / 50);
    for (int i = 0; i < n; i++) {
        const char *whole = json_string_value(json_object_get(p[i].row, "rejected"));
        size_t cut = strlen(p[i].prompt.text);
        assert_true(str_ends(p[i].prompt.text, "\n\nAssistant:"));
        assert_memory_equal(whole, p[i].prompt.text, cut);
        assert_string_equal(whole + cut, p[i].rejected.text);
    }
}

static void examples_come_in_three_forms(void **state)
{
    struct example *x;
    int n;
    load("{\"prompt\":\"q\",\"completion\":\"a\"}\n"
         "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\"}]}\n"
         "{\"text\":\"whole\"}\n"
         "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}\n"
         "{\"messages\":[{\"role\":\"assistant\",\"content\":\"q\"}]}\n"
         "{\"prompt\":\"q\"}\n{\"completion\":\"a\"}\n{\"text\":\"\"}\n{\"other\":1}\n{\"prompt\":\"q\",\"completion\":\"\"}\n");
    assert_int_equal(data_examples(&x, &n, &arena, &rows, &e), 0);
    assert_int_equal(n, 3);
    assert_string_equal(x[0].prompt.text, "q");
    assert_string_equal(x[0].completion.text, "a");
    assert_false(x[0].whole);
    assert_int_equal(x[1].prompt.n, 1);
    assert_string_equal(x[1].completion.messages[0].content, "a");
    assert_true(x[2].whole);
    assert_string_equal(x[2].completion.text, "whole");
    static const char *const why[] = {"expected 'assistant'", "no turn before", "'completion' is missing",
                                      "'prompt' is missing", "'text' is empty", "neither", "'completion' is empty"};
    assert_int_equal(rows.n_rejected, ARRAY_LEN(why));
    for (size_t i = 0; i < ARRAY_LEN(why); i++)
        kit_contains(rows.rejected[i].why, why[i]);
}

static void epochs_are_different_permutations_of_the_same_seed(void **state)
{
    int a[200], b[200], c[200], d[200], seen[200] = {0};
    data_epoch_order(a, 200, 1, 0);
    data_epoch_order(b, 200, 1, 0);
    data_epoch_order(c, 200, 1, 1);
    data_epoch_order(d, 200, 2, 0);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a);
    assert_memory_not_equal(a, d, sizeof a);
    for (int i = 0; i < 200; i++)
        seen[c[i]]++;
    for (int i = 0; i < 200; i++)
        assert_int_equal(seen[i], 1);
    data_epoch_order(a, 0, 1, 0);
}

static void splits_are_stable_and_have_their_shares(void **state)
{
    static const double shares[] = {0.5, 0.2, 0.3};
    int count[3] = {0}, moved = 0;
    char key[40];
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof key, "question %d", i);
        int part = data_split(key, 1, shares, 3);
        assert_int_equal(data_split(key, 1, shares, 3), part);
        count[part]++;
        moved += data_split(key, 2, shares, 3) != part;
    }
    for (int i = 0; i < 3; i++)
        assert_in_range(count[i], (int)(20000 * shares[i]) - 450, (int)(20000 * shares[i]) + 450);
    assert_true(moved > 8000);
    // these stay as they are from one version to the next
    assert_int_equal(data_split("question 0", 1, shares, 3), 1);
    assert_int_equal(data_split("question 1", 1, shares, 3), 0);
    assert_int_equal(data_split("", 1, shares, 3), 0);
    assert_int_equal(data_split("x", 1, shares, 1), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static void null_members_are_absent_and_a_prompt_may_stand_beside_messages(void **state)
{
    struct example *x;
    int n;
    load("{\"prompt\":\"u\",\"completion\":null,\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"a\"}]}\n"
         "{\"prompt\":null,\"messages\":null,\"text\":\"t\"}\n{\"prompt\":\"u\",\"text\":null}\n");
    assert_int_equal(data_examples(&x, &n, &arena, &rows, &e), 0);
    assert_int_equal(n, 2);
    assert_string_equal(x[0].completion.messages[0].content, "a");
    assert_true(x[1].whole);
    kit_contains(rows.rejected[0].why, "'completion' is missing");
}

static const struct CMUnitTest tests[] = {
    T(text_is_a_string_or_messages),
    T(rows_without_a_prompt_are_rejected_with_the_reason),
    T(no_usable_row_is_an_error_that_names_the_first),
    T(ids_depend_on_content_only),
    T(pairs_read_trl_columns_and_soft_labels),
    T(conversations_share_their_first_messages),
    T(transcripts_are_cut_after_the_last_shared_turn),
    T(every_hh_row_is_cut_or_listed),
    T(examples_come_in_three_forms),
    T(epochs_are_different_permutations_of_the_same_seed),
    T(splits_are_stable_and_have_their_shares),
    cmocka_unit_test(null_members_are_absent_and_a_prompt_may_stand_beside_messages),
};
KIT_MAIN(tests)
