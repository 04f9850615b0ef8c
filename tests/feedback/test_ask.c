/* tests/feedback/test_ask.c - nothing is asked twice: keys, twins, failures, budgets; what the store gives back is what was said. */
#include "feedback/scripted.h"

/* ---- a provider that answers by rule ------------------------------------------------------------ */

struct rule {
    int asked;
    const char *fails;      // prompts that contain this fail
    int backwards;          // tell in reverse order
};

static int rule_ask(struct provider *p, struct reply *out, const struct ask *ask, int n, ask_done *done, void *arg, struct err *err)
{
    struct rule *u = p->state;
    for (int k = 0; k < n; k++) {
        int i = u->backwards ? n - 1 - k : k;
        const char *text = ask[i].prompt ? ask[i].prompt : ask[i].message[0].content;
        u->asked++;
        out[i] = (struct reply){.tokens_in = 10, .tokens_out = 2, .price = 0.25, .seconds = 0.5, .tokens_cached = 3, .mass = NAN};
        if (u->fails && strstr(text, u->fails)) {
            out[i].state = REPLY_FAILED;
            out[i].error = strdup("HTTP 500, four times");
        } else if (ask[i].kind == ASK_TEXT) {
            out[i].text = str_printf("%s, draw %d", text, ask[i].draw);
            out[i].thinking = strdup("hm");
            out[i].thinking_tokens = 1;
        } else {
            out[i].has_logps = true;
            out[i].mass = 0.75;
            for (int w = 0; w < ask[i].n_words; w++)
                out[i].word[w] = (struct word_logp){w ? -INFINITY : -0.1, w ? NAN : -1e-17};
        }
        if (!done(arg, i))
            return 0;
    }
    return 0;
}

static struct provider ruled(struct rule *u)
{
    return (struct provider){.state = u, .fingerprint = "rule:1", .name = "a rule", .ask = rule_ask};
}

static struct store *opened(const char *path)
{
    struct store *s = NULL;
    struct err err = {0};
    if (store_open(&s, path, &err))
        fail_msg("%s", err.msg);
    return s;
}

static const char *const ab[] = {"A", "B"};
static struct ask words_of(const char *prompt)
{
    return (struct ask){.kind = ASK_WORDS, .prompt = prompt, .head = "Q: ", .word = ab, .n_words = 2, .protocol = "test 1"};
}

static struct ask text_of(const char *prompt, int draw)
{
    struct ask a = {.kind = ASK_TEXT, .prompt = prompt, .draw = draw, .protocol = "test 1"};
    sampling_defaults(&a.sampling);
    return a;
}

/* ---- claims ------------------------------------------------------------------------------------------ */

static void what_was_said_comes_back_whole(void **state)
{
    struct rule u = {0};
    struct provider who = ruled(&u);
    struct store *s = opened(kit_path(__func__));
    struct chat_message m = {"user", "Q: talk"};
    struct ask q[] = {words_of("Q: one"), text_of("Q: two", 0), {.kind = ASK_TEXT, .message = &m, .n_messages = 1, .prefill = "So"}};
    struct reply first[3], second[3];
    for (int k = 0; k < 2; k++) {
        struct asker a = {.provider = &who, .store = s};
        assert_int_equal(ask_all(&a, k ? second : first, q, 3, NULL), 0);
        assert_int_equal(a.counts.asked, k ? 0 : 3);
        assert_int_equal(a.counts.found, k ? 3 : 0);
        near(a.counts.price, k ? 0 : 0.75, 0);
        assert_int_equal(a.counts.tokens_cached, k ? 0 : 9);
    }
    assert_int_equal(u.asked, 3);
    for (int i = 0; i < 3; i++) {
        assert_memory_equal(&first[i].key, &second[i].key, sizeof first[i].key);
        assert_int_equal(second[i].has_logps, i == 0);
        assert_true(second[i].price == 0.25 && second[i].seconds == 0.5 && second[i].tokens_in == 10);
        assert_int_equal(second[i].tokens_cached, 3);
    }
    assert_true(second[0].word[0].sum == -0.1 && second[0].word[0].bare == -1e-17 && second[0].mass == 0.75);
    assert_true(isinf(second[0].word[1].sum) && isnan(second[0].word[1].bare));
    assert_string_equal(second[1].text, "Q: two, draw 0");
    assert_string_equal(second[2].thinking, "hm");
    assert_int_equal(second[2].thinking_tokens, 1);
    replies_release(first, 3);
    replies_release(second, 3);
    store_close(s);
}

static void everything_that_decides_is_in_the_key(void **state)
{
    struct chat_message user = {"user", "Q"}, system = {"system", "Q"};
    static const char *const ba[] = {"B", "A"}, *const stop[] = {"\n"};
    struct ask q[16] = {words_of("Q"), text_of("Q", 0), text_of("Q", 1), text_of("Q", 0), text_of("Q", 0), text_of("Q", 0),
                        words_of("Q"), words_of("Q"), words_of("Q "), words_of(NULL), words_of(NULL), words_of("Q"),
                        text_of("Q", 0), text_of("Q", 0), words_of("Q")};
    q[3].sampling.temperature = 0.5f;
    q[4].sampling.seed = 7;
    q[5].sampling.n_stop = 1;
    q[5].sampling.stop = stop;
    q[6].word = ba;
    q[7].prefill = "Q";
    q[9].message = &user;
    q[10].message = &system;
    q[9].n_messages = q[10].n_messages = 1;
    q[11].n_words = 1;
    q[12].schema = "{}";
    q[13].sampling.max_new_tokens = 7;
    q[14].draw = 1;
    enum { N = 15 };
    struct hash128 key[N];
    for (int i = 0; i < N; i++) {
        key[i] = ask_key("who", &q[i]);
        for (int k = 0; k < i; k++)
            if (!memcmp(&key[i], &key[k], sizeof key[i]))
                fail_msg("questions %d and %d have one key", k, i);
    }
    struct ask same = q[0];
    same.head = NULL;       // hints and what is kept beside it decide nothing
    same.protocol = "another";
    same.order = 1;
    struct hash128 k = ask_key("who", &same), other = ask_key("who else", &same);
    assert_memory_equal(&k, &key[0], sizeof k);
    assert_memory_not_equal(&k, &other, sizeof k);
}

static void who_asks_the_same_is_told_the_same(void **state)
{
    struct rule u = {.backwards = 1};
    struct provider who = ruled(&u);
    struct ask q[] = {text_of("x", 0), text_of("y", 0), text_of("x", 0), text_of("x", 1), text_of("x", 0)};
    struct reply r[5];
    struct asker a = {.provider = &who};
    assert_int_equal(ask_all(&a, r, q, 5, NULL), 0);
    assert_int_equal(u.asked, 3);
    assert_int_equal(a.counts.found, 2);
    assert_string_equal(r[0].text, "x, draw 0");
    assert_string_equal(r[2].text, "x, draw 0");
    assert_string_equal(r[3].text, "x, draw 1");
    assert_string_equal(r[4].text, "x, draw 0");
    assert_ptr_not_equal(r[0].text, r[4].text);
    replies_release(r, 5);
}

static void failures_are_kept_and_asked_again(void **state)
{
    struct rule u = {.fails = "two"};
    struct provider who = ruled(&u);
    struct store *s = opened(kit_path(__func__));
    struct ask q[] = {words_of("Q: one"), words_of("Q: two")};
    struct reply r[2];
    struct asker a = {.provider = &who, .store = s};
    assert_int_equal(ask_all(&a, r, q, 2, NULL), 0);
    assert_int_equal(r[1].state, REPLY_FAILED);
    assert_string_equal(r[1].error, "HTTP 500, four times");
    assert_int_equal(a.counts.failed, 1);
    struct reply kept;
    assert_int_equal(store_find(s, &kept, r[1].key, NULL), 1);
    assert_int_equal(kept.state, REPLY_FAILED);
    assert_string_equal(kept.error, r[1].error);
    reply_release(&kept);
    replies_release(r, 2);

    u.fails = NULL;
    a.counts = (struct ask_counts){0};
    assert_int_equal(ask_all(&a, r, q, 2, NULL), 0);
    assert_int_equal(u.asked, 3);
    assert_int_equal(a.counts.found, 1);
    assert_int_equal(a.counts.failed, 0);
    assert_int_equal(store_find(s, &kept, r[1].key, NULL), 1);
    assert_int_equal(kept.state, REPLY_OK);
    assert_null(kept.error);
    near(kept.price, 0.5, 0);       // both attempts were paid
    reply_release(&kept);
    replies_release(r, 2);
    store_close(s);
}

static void a_spent_budget_stops_and_keeps_what_was_bought(void **state)
{
    struct rule u = {0};
    struct provider who = ruled(&u);
    struct store *s = opened(kit_path(__func__));
    struct ask q[10];
    struct reply r[10];
    struct err err = {0};
    for (int i = 0; i < 10; i++)
        q[i] = text_of("x", i);
    struct asker a = {.provider = &who, .store = s, .budget = {.money = 1}};
    assert_int_equal(ask_all(&a, r, q, 10, &err), ERR_LIMIT);
    kit_contains(err.msg, "budget of $1 is spent: $1 for 4 replies");
    assert_int_equal(u.asked, 4);
    assert_null(r[0].text);
    assert_int_equal(ask_all(&a, r, q, 10, &err), ERR_LIMIT);
    assert_int_equal(u.asked, 4);

    a = (struct asker){.provider = &who, .store = s, .budget = {.tokens = 72}};    // exactly what is left
    assert_int_equal(ask_all(&a, r, q, 10, &err), 0);
    assert_int_equal(a.counts.found, 4);
    assert_int_equal(a.counts.asked, 6);
    replies_release(r, 10);
    store_close(s);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_was_said_comes_back_whole),
    cmocka_unit_test(everything_that_decides_is_in_the_key),
    cmocka_unit_test(who_asks_the_same_is_told_the_same),
    cmocka_unit_test(failures_are_kept_and_asked_again),
    cmocka_unit_test(a_spent_budget_stops_and_keeps_what_was_bought),
};
KIT_MAIN(tests)
