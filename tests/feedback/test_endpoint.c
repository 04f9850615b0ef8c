/* Endpoints: a scripted server (kit/judge.c) that answers well, late, wrongly, half, or not at
 * all. */
#include "feedback/judge.h"

#include <math.h>

static void near(double a, double b)
{
    if (!(fabs(a - b) < 1e-6))
        fail_msg("%.9g, expected %.9g", a, b);
}

static double first(const struct reply *r)
{
    assert_int_equal(r->state, REPLY_OK);
    assert_true(r->has_logps);
    double d = r->word[0].sum - r->word[1].sum;
    return 1 / (1 + exp(-d));
}

/* ---- what a server gives ----------------------------------------------------------------- */

static void chat_gives_log_probs(void **state)
{
    judge_start("kind openai\n");
    struct provider *p = judge_open(0);
    kit_contains(provider_endpoint_facts(p), "judge-1 at http://127.0.0.1");
    kit_contains(provider_endpoint_facts(p), "log-probs of 20 tokens");
    struct ask a = judge_words("Which? {{p=0.8}}");
    struct reply *r = judge_ask(p, &a);
    near(first(r), 0.8);
    near(r->mass, 0.9);
    assert_true(r->tokens_in > 0 && r->tokens_cached > 0 && r->tokens_out > 0);
    assert_true(r->word[0].bare < r->word[0].sum);
    provider_free(p);
}

static void llama_server_is_asked_in_its_own_way(void **state)
{
    judge_start("kind llama\nsplit 1\n");
    struct provider *p = judge_open(0);
    kit_contains(provider_endpoint_facts(p), "llama-server, 4 slots, window 4096");
    struct ask a = judge_words("Which? {{p=0.3}}");
    near(first(judge_ask(p, &a)), 0.3);
    assert_int_equal(judge_logged("POST /completion ", " 200 "), 2); // one of them the probe
    provider_free(p);
}

static void vllm_s_completions_are_read(void **state)
{
    judge_start("kind vllm\n");
    struct provider *p = judge_open(0);
    struct ask a = judge_words("Which? {{p=0.6}}");
    near(first(judge_ask(p, &a)), 0.6);
    assert_true(judge_logged("POST /v1/completions ", " 200 ") > 0);
    provider_free(p);
}

static void ten_is_ten_however_it_is_spelled(void **state)
{
    static const char *const rates[] = {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"};
    static const char *const setups[] = {"kind llama\nsplit 1\n", "kind llama\n",
                                         "kind openai\n", "kind openai\nsplit 1\nprefill 1\n"};
    for (size_t s = 0; s < ARRAY_LEN(setups); s++) {
        judge_start(setups[s]);
        struct provider *p = judge_open(0);
        struct ask a = {.kind = ASK_WORDS,
                        .prompt = "Rate. {{rate}} Rating: ",
                        .word = rates,
                        .n_words = 10};
        struct reply *r = judge_ask(p, &a);
        assert_true(r->has_logps);
        for (int i = 0; i < 10; i++)
            near(exp(r->word[i].sum), 0.9 * (i + 1) / 55);
        near(r->mass, 0.9);
        provider_free(p);
        judge_stop(NULL);
    }
}

static void ten_that_cannot_be_had_is_not_made_up(void **state)
{
    static const char *const rates[] = {"1", "10"};
    judge_start("kind openai\nsplit 1\n");
    struct provider *p = judge_open(0);
    struct ask a = {
        .kind = ASK_WORDS, .prompt = "Rate. {{rate}}{{say 10}}", .word = rates, .n_words = 2};
    struct reply *r = judge_ask(p, &a);
    assert_int_equal(r->state, REPLY_OK);
    assert_false(r->has_logps);
    assert_string_equal(r->text, "10");
    provider_free(p);
}

static void a_server_without_log_probs_says_a_verdict(void **state)
{
    judge_start("kind openai\ntop 0\n");
    struct provider *p = judge_open(0);
    kit_contains(provider_endpoint_facts(p), "no log-probs");
    struct ask a = judge_words("Which? {{say The second, 2.}}");
    struct reply *r = judge_ask(p, &a);
    assert_int_equal(r->state, REPLY_OK);
    assert_false(r->has_logps);
    assert_string_equal(r->text, "The second, 2.");
    provider_free(p);
}

static void a_shorter_list_is_asked_for(void **state)
{
    judge_start("kind openai\ntop 5\n");
    struct provider *p = judge_open(0);
    kit_contains(provider_endpoint_facts(p), "log-probs of 5 tokens");
    struct ask a = judge_words("Which? {{p=0.8}}{{miss}}");
    struct reply *r = judge_ask(p, &a);
    assert_true(r->has_logps);
    near(r->mass, 0.9 * 0.8); // "2" adds nothing that was not seen
    assert_true(r->word[1].sum < -5);
    provider_free(p);
}

static void thoughts_are_switched_off_or_taken_off(void **state)
{
    judge_start("kind vllm\nthinks 1\ntags 1\n");
    struct provider *p = judge_open(0);
    kit_contains(provider_endpoint_facts(p), "thinking switched off");
    provider_free(p);
    judge_stop(NULL);
    for (int tags = 0; tags < 2; tags++) {
        judge_start(tags ? "kind openai\ntags 1\ntop 0\n" : "kind openai\ntop 0\n");
        p = judge_open(0);
        struct ask a = judge_words("Which? {{think}}{{say 1}}");
        struct reply *r = judge_ask(p, &a);
        assert_string_equal(r->text, "1");
        kit_contains(r->thinking, "\"2\"? No.");
        assert_int_equal(r->thinking_tokens, 7);
        provider_free(p);
        judge_stop(NULL);
    }
}

/* The lists of the thought speak for "2"; the one after it has what the prompt wants. */
static void a_thinking_judges_probabilities_are_those_after_the_thought(void **state)
{
    static const char *const setup[] = {"kind openai\nthinks 2\n", "kind openai\nthinks 2\ntags 1\n",
                                        "kind vllm\nthinks 2\ntags 1\nsplit 1\n"};
    for (size_t i = 0; i < ARRAY_LEN(setup); i++) {
        judge_start(setup[i]);
        struct provider *p = judge_open(0);
        kit_contains(provider_endpoint_facts(p), "thinks, log-probs after thoughts");
        const struct chat_message m[] = {{"user", "Which? {{p=0.8}}"}};
        struct ask a = judge_words(NULL);
        a.message = m, a.n_messages = 1;
        struct reply *r = judge_ask(p, &a);
        assert_true(r->has_logps);
        near(exp(r->word[0].sum), 0.9 * 0.8);
        near(exp(r->word[1].sum), 0.9 * 0.2);
        near(r->mass, 0.9);
        kit_contains(r->thinking, "\"2\"? No.");
        const struct chat_message wordy[] = {{"user", "Which? {{p=0.8}}{{say The first, 1.}}"}};
        a.message = wordy;
        r = judge_ask(p, &a); // no word begins the answer: the text says it
        assert_false(r->has_logps);
        assert_string_equal(r->text, "The first, 1.");
        provider_free(p);
        judge_stop(NULL);
    }
    judge_start("kind openai\nthinks 2\ntop 0\n");
    struct provider *p = judge_open(0);
    assert_null(strstr(provider_endpoint_facts(p), "after thoughts"));
    struct ask a = judge_words("Which? {{p=0.8}}");
    assert_false(judge_ask(p, &a)->has_logps);
    provider_free(p);
}

static void schemas_are_used_where_they_are_kept(void **state)
{
    static const struct chat_message m[] = {{"user", "Which? {{say 2}}"}};
    static const char schema[] = "{\"type\":\"object\"}";
    struct ask a = {.kind = ASK_TEXT, .message = m, .n_messages = 1, .schema = schema};
    a.sampling.max_new_tokens = 10;
    judge_start("kind openai\nschema 1\n");
    struct provider *p = judge_open(0);
    kit_contains(provider_endpoint_facts(p), "keeps to schemas");
    assert_string_equal(judge_ask(p, &a)->text, "{\"verdict\": \"2\"}");
    provider_free(p);
    judge_stop(NULL);
    judge_start("kind openai\n");
    p = judge_open(0);
    assert_string_equal(judge_ask(p, &a)->text, "2");
    provider_free(p);
}

static void refusals_are_a_state_of_their_own(void **state)
{
    static const struct chat_message m[] = {{"user", "Which? {{refuse}}"}};
    struct ask a = {.kind = ASK_TEXT, .message = m, .n_messages = 1};
    judge_start("kind openai\n");
    struct provider *p = judge_open(0);
    struct reply *r = judge_ask(p, &a);
    assert_int_equal(r->state, REPLY_REFUSED);
    kit_contains(r->error, "I will not judge this");
    a.message = &(struct chat_message){"user", "{{long}}"};
    assert_int_equal(judge_ask(p, &a)->state, REPLY_TOO_LONG);
    provider_free(p);
}

static void draws_are_samples(void **state)
{
    static const struct chat_message m[] = {{"user", "Which? {{p=0.5}}"}};
    struct ask a = {.kind = ASK_TEXT, .message = m, .n_messages = 1};
    int ones = 0;
    a.sampling = (struct sampling){.temperature = 1, .max_new_tokens = 4, .seed = 5};
    judge_start("kind openai\n");
    struct provider *p = judge_open(0);
    for (a.draw = 0; a.draw < 20; a.draw++)
        ones += !strcmp(judge_ask(p, &a)->text, "1");
    assert_in_range(ones, 4, 16);
    provider_free(p);
}

/* ---- what goes wrong -----------------------------------------------------------------------
 */

static void what_passes_is_asked_again(void **state)
{
    static const char *const script[] = {
        "status 429 Retry-After: 0",
        "status 500",
        "status 503",
        "drop 0",
        "drop 90",
        "cut",
        "garbage",
        "body {\"choices\":[]}",
    };
    judge_start("kind openai\n");
    struct provider *p = judge_open(0);
    char all[2000] = "", prompt[64];
    for (size_t i = 0; i < ARRAY_LEN(script); i++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "2 case%zu. %s\n", i, script[i]);
    judge_faults(all);
    for (size_t i = 0; i < ARRAY_LEN(script); i++) {
        snprintf(prompt, sizeof prompt, "case%zu. {{p=0.7}}", i);
        struct ask a = judge_words(prompt);
        near(first(judge_ask(p, &a)), 0.7);
    }
    provider_free(p);
}

static void a_question_that_never_succeeds_says_why(void **state)
{
    judge_start("kind openai\n");
    struct provider *p = NULL;
    struct endpoint_options o = {.url = judge_url, .wait = 0.001, .retries = 3};
    assert_int_equal(provider_endpoint_new(&p, &o, NULL), 0);
    judge_faults("1000 never status 500\n");
    struct ask a = judge_words("never {{p=0.7}}");
    struct reply *r = judge_ask(p, &a);
    assert_int_equal(r->state, REPLY_FAILED);
    kit_contains(r->error, "status 500: trouble (asked 4 times)");
    assert_int_equal(judge_logged("POST", " 500 "), 4);
    a = judge_words("well {{p=0.7}}");
    near(first(judge_ask(p, &a)), 0.7);
    provider_free(p);
}

static void a_reply_that_is_late_is_asked_again(void **state)
{
    judge_start("kind openai\n");
    struct provider *p = NULL;
    struct endpoint_options o = {.url = judge_url, .wait = 0.001, .timeout = 1};
    assert_int_equal(provider_endpoint_new(&p, &o, NULL), 0);
    judge_faults("1 slow stall\n");
    struct ask a = judge_words("slow {{p=0.7}}");
    near(first(judge_ask(p, &a)), 0.7);
    provider_free(p);
}

static void lies_about_log_probs_are_not_believed(void **state)
{
    judge_start("kind openai\n");
    struct provider *p = judge_open(0);
    struct ask a = judge_words("Which? {{lie}}");
    struct reply *r = judge_ask(p, &a);
    assert_int_equal(r->state, REPLY_FAILED);
    kit_contains(r->error, "log-probs that cannot be");
    provider_free(p);
}

static void wrong_keys_and_models_end_at_once(void **state)
{
    char url[128];
    judge_start("kind openai\nkey sk-good\n");
    const char *why = judge_refuses(judge_url, "sk-bad-bad-bad");
    kit_contains(why, "refuses the key");
    assert_null(strstr(why, "sk-bad-bad-bad"));
    kit_contains(judge_refuses(judge_url, NULL), "RLAIF_API_KEY");
    assert_int_equal(judge_logged("GET", " 401 "), 2);
    snprintf(url, sizeof url, "%s#other", judge_url);
    kit_contains(judge_refuses(url, "sk-good"),
                 "does not have the model other; it has judge-1");
}

static void nobody_there_is_one_sentence(void **state)
{
    double start = time_now();
    judge_start("kind openai\n");
    judge_stop(NULL);
    kit_contains(judge_refuses(judge_url, NULL), "127.0.0.1");
    assert_true(time_now() - start < 5);
    kit_contains(judge_refuses("http://user:pw@127.0.0.1/v1", NULL), "RLAIF_API_KEY");
    kit_contains(judge_refuses("http://", NULL), "expected https://HOST/v1#MODEL");
}

static void a_certificate_nobody_knows_is_refused(void **state)
{
    judge_start("kind openai\ntls 1\n");
    unsetenv("CURL_CA_BUNDLE");
    const char *why = judge_refuses(judge_url, NULL);
    kit_contains(why, "ertificate");
    assert_int_equal(judge_logged("GET", ""), 0);
    setenv("CURL_CA_BUNDLE", judge_at("cert.pem"), 1);
    struct provider *p = judge_open(0);
    struct ask a = judge_words("Which? {{p=0.8}}");
    near(first(judge_ask(p, &a)), 0.8);
    provider_free(p);
    unsetenv("CURL_CA_BUNDLE");
}

static void a_key_that_stops_working_ends_the_run(void **state)
{
    judge_start("kind openai\n");
    struct provider *p = judge_open(2);
    struct ask a[20];
    struct reply r[20] = {0};
    struct err e = {0};
    int told[20] = {0};
    for (int i = 0; i < 20; i++)
        a[i] = judge_words("Which?");
    judge_faults("1000 chat status 401\n");
    assert_int_not_equal(p->ask(p, r, a, 20, judge_told, told, &e), 0);
    kit_contains(e.msg, "status 401");
    assert_true(judge_logged("POST", " 401 ") <= 2);
    replies_release(r, 20);
    provider_free(p);
}

static void a_third_of_failures_loses_nothing(void **state)
{
    enum { N = 120 };
    static struct ask a[N];
    static struct reply r[N];
    static char prompt[N][64];
    int told[N] = {0};
    judge_start("kind openai\nfail 0\n");
    struct provider *p = NULL;
    struct endpoint_options o = {
        .url = judge_url, .wait = 0.001, .timeout = 0.5, .concurrency = 8, .retries = 20};
    assert_int_equal(provider_endpoint_new(&p, &o, NULL), 0);
    judge_faults("20 odd status 429 Retry-After: 0\n20 odd drop 0\n20 odd cut\n2 odd stall\n");
    for (int i = 0; i < N; i++) {
        snprintf(prompt[i], sizeof prompt[i], "%s %d. {{p=%.3f}}", i % 2 ? "odd" : "even", i,
                 0.1 + i * 0.005);
        a[i] = judge_words(prompt[i]);
    }
    struct err e = {0};
    if (p->ask(p, r, a, N, judge_told, told, &e))
        fail_msg("%s", e.msg);
    for (int i = 0; i < N; i++) {
        assert_int_equal(told[i], 1);
        near(first(&r[i]), 0.1 + i * 0.005);
    }
    replies_release(r, N);
    provider_free(p);
}

static const char *fingerprint(void)
{
    static char s[3][96];
    static int i;
    i = (i + 1) % 3;
    struct provider *p = judge_open(0);
    snprintf(s[i], sizeof s[i], "%s", p->fingerprint);
    provider_free(p);
    return s[i];
}

static void a_llama_server_is_known_by_its_weights(void **state)
{
    judge_start("kind llama\n");
    const char *one = fingerprint();
    judge_stop(NULL);
    judge_start("kind llama\n");
    assert_string_equal(one, fingerprint()); // another port, the same weights
    judge_stop(NULL);
    judge_start("kind llama\nmodel judge-2\n");
    assert_string_not_equal(one, fingerprint());
}

/* ---- batches
 * --------------------------------------------------------------------------------- */

/* What a host would send back: each question's custom_id with a reply of its own. */
static const char *host_answers(const char *questions)
{
    static char all[8192];
    all[0] = 0;
    for (const char *s = questions; s && *s; s = strchr(s, '\n') ? strchr(s, '\n') + 1 : NULL) {
        char line[8192], *end;
        snprintf(line, sizeof line, "%.*s", (int)strcspn(s, "\n"), s);
        json_t *q = json_loads(line, 0, NULL);
        assert_non_null(q);
        assert_string_equal(json_string_value(json_object_get(q, "url")),
                            "/v1/chat/completions");
        assert_non_null(json_object_get(json_object_get(q, "body"), "messages"));
        end = all + strlen(all);
        snprintf(end, sizeof all - (size_t)(end - all),
                 "{\"custom_id\": \"%s\", \"response\": {\"status_code\": 200, \"body\": "
                 "{\"choices\": [{\"message\": "
                 "{\"content\": \"1\"}, \"logprobs\": {\"content\": [{\"token\": \"1\", "
                 "\"top_logprobs\": [{\"token\": "
                 "\"1\", \"logprob\": -0.3}, {\"token\": \"2\", \"logprob\": -1.5}]}]}}], "
                 "\"usage\": "
                 "{\"prompt_tokens\": 30, \"completion_tokens\": 1}}}, \"error\": null}\n",
                 json_string_value(json_object_get(q, "custom_id")));
        json_decref(q);
    }
    return all;
}

static struct provider *open_batch(const char *to, const char *from)
{
    struct provider *p = NULL;
    struct err e = {0};
    struct endpoint_options o = {
        .url = judge_url, .batch_file = to, .collect = from, .timeout = 20};
    if (provider_endpoint_new(&p, &o, &e))
        fail_msg("%s", e.msg);
    return p;
}

static void a_batch_is_written_and_collected(void **state)
{
    judge_start("kind openai\n");
    const char *out = kit_path("questions.jsonl");
    struct provider *p = open_batch(out, NULL);
    struct ask a = judge_words("Which? {{p=0.9}}"), b = judge_words("And which?");
    kit_contains(judge_ask(p, &a)->error, "written to a batch file");
    provider_free(p); // the file appears whole, at the end
    assert_int_equal(judge_logged("POST", "Which"), 0);
    const char *in = kit_text("replies.jsonl", host_answers(kit_slurp(out, NULL)));
    p = open_batch(NULL, in);
    struct reply *r = judge_ask(p, &a);
    near(first(r), 1 / (1 + exp(-1.2)));
    assert_int_equal(r->tokens_in, 30);
    r = judge_ask(p, &b);
    assert_int_equal(r->state, REPLY_FAILED);
    kit_contains(r->error, "no reply in the batch");
    provider_free(p);
}

static void broken_batches_are_refused(void **state)
{
    judge_start("kind openai\n");
    struct provider *p = NULL;
    struct err e = {0};
    struct endpoint_options o = {
        .url = judge_url, .collect = kit_text("broken.jsonl", "{\"id\": 3}\n"), .timeout = 20};
    assert_int_equal(provider_endpoint_new(&p, &o, &e), ERR_FORMAT);
    kit_contains(e.msg, "custom_id");
}

#define with_judge(f) cmocka_unit_test_teardown(f, judge_stop)
static const struct CMUnitTest tests[] = {
    with_judge(chat_gives_log_probs),
    with_judge(llama_server_is_asked_in_its_own_way),
    with_judge(vllm_s_completions_are_read),
    with_judge(ten_is_ten_however_it_is_spelled),
    with_judge(ten_that_cannot_be_had_is_not_made_up),
    with_judge(a_server_without_log_probs_says_a_verdict),
    with_judge(a_shorter_list_is_asked_for),
    with_judge(thoughts_are_switched_off_or_taken_off),
    with_judge(a_thinking_judges_probabilities_are_those_after_the_thought),
    with_judge(schemas_are_used_where_they_are_kept),
    with_judge(refusals_are_a_state_of_their_own),
    with_judge(draws_are_samples),
    with_judge(what_passes_is_asked_again),
    with_judge(a_question_that_never_succeeds_says_why),
    with_judge(a_reply_that_is_late_is_asked_again),
    with_judge(lies_about_log_probs_are_not_believed),
    with_judge(wrong_keys_and_models_end_at_once),
    with_judge(nobody_there_is_one_sentence),
    with_judge(a_certificate_nobody_knows_is_refused),
    with_judge(a_key_that_stops_working_ends_the_run),
    with_judge(a_third_of_failures_loses_nothing),
    with_judge(a_llama_server_is_known_by_its_weights),
    with_judge(a_batch_is_written_and_collected),
    with_judge(broken_batches_are_refused),
};
KIT_MAIN(tests)
