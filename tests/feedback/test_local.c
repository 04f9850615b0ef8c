/* tests/feedback/test_local.c - a model in this process: sharing changes no bit, spellings add up, long prompts are named. */
#include "feedback/scripted.h"

/* ---- a byte-level tokenizer of 256 tokens and " 1", " 2" ------------------------------------- */

/* GPT-2's printable stand-ins for bytes. */
static int stand_in(int byte)
{
    int next = 256;
    for (int b = 0; b < 256; b++) {
        bool self = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        int c = self ? b : next++;
        if (b == byte)
            return c;
    }
    return -1;
}

static void add_char(char *out, int c)
{
    char s[3] = {(char)(c < 128 ? c : 0xc0 | c >> 6), (char)(c < 128 ? 0 : 0x80 | (c & 63)), 0};
    strcat(out, s);
}

static const char *tokenizer_dir(void)
{
    json_t *vocab = json_object();
    for (int b = 0; b < 256; b++) {
        char s[8] = "";
        add_char(s, stand_in(b));
        json_object_set_new(vocab, s, json_integer(b));
    }
    json_object_set_new(vocab, "Ġ1", json_integer(256));
    json_object_set_new(vocab, "Ġ2", json_integer(257));
    json_t *t = json_pack("{s:s, s:[], s:{s:s, s:b, s:b}, s:{s:s}, s:{s:s, s:o, s:[s, s]}}", "version", "1.0", "added_tokens",
                          "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 1, "decoder", "type",
                          "ByteLevel", "model", "type", "BPE", "vocab", vocab, "merges", "Ġ 1", "Ġ 2");
    assert_non_null(t);
    char *text = json_dumps(t, 0);
    kit_text("tokenizer.json", text);
    kit_text("tokenizer_config.json", "{}");
    free(text);
    json_decref(t);
    return kit_path(".");
}

static struct device *dev;
static struct model *model;

static int setup(void **state)
{
    struct err err = {0};
    struct model_config c = {.vocab = 258, .width = 64, .layers = 2, .heads = 2, .kv_heads = 1, .head_size = 32, .ffn = 64,
                             .max_position = 900, .norm_eps = 1e-5f, .rope_theta = 10000, .tied = true, .bos = -1, .eos = -1,
                             .pad = -1};
    struct model_options o = {.dtype = DTYPE_F32, .seed = 5};
    snprintf(c.model_type, sizeof c.model_type, "llama");
    if (device_open(&dev, NULL, 1, &err) || model_create(&model, dev, &c, tokenizer_dir(), &o, &err))
        fail_msg("%s", err.msg);
    return 0;
}

static int teardown(void **state)
{
    model_close(model);
    device_close(dev);
    return 0;
}

static const char *const words[] = {"1", "2"};

enum { PROMPTS = 8 };
static bool told(void *arg, int i)
{
    return true;
}

static void ask_many(struct provider *p, struct reply *out, const char *head, const char *const *prompt, int n)
{
    struct ask asks[PROMPTS];
    struct err err = {0};
    memset(out, 0, (size_t)n * sizeof *out);
    for (int i = 0; i < n; i++)
        asks[i] = (struct ask){.kind = ASK_WORDS, .prompt = prompt[i], .head = head, .word = words, .n_words = 2};
    if (p->ask(p, out, asks, n, told, NULL, &err))
        fail_msg("%s", err.msg);
}

static void ask(struct reply *out, const char *head, int batch, const char *const *prompt, int n)
{
    struct provider *p = NULL;
    struct err err = {0};
    if (provider_local_new(&p, model, "tiny", batch, &err))
        fail_msg("%s", err.msg);
    ask_many(p, out, head, prompt, n);
    if (n > 1)
        assert_true(p->tokens_computed < p->tokens_asked * 2 / 3);
    provider_free(p);
}

static void prompts(char *text[PROMPTS], const char *head)
{
    for (int i = 0; i < PROMPTS; i++) {
        const char *a = i % 2 ? "short one" : "another, longer one", *b = i % 2 ? "another, longer one" : "short one";
        text[i] = str_printf("%s\n\nText - text number %d %s\nSummary 1 - %s\nSummary 2 - %s\nPreferred Summary=", head, i / 2,
                             i / 2 == 1 ? "" : "that goes on for a while", a, b);
    }
}

static void sharing_changes_no_bit(void **state)
{
    const char *head = "Which summary is better? Answer with 1 or 2.";
    char *text[PROMPTS];
    struct reply shared[PROMPTS], alone[PROMPTS], small[PROMPTS];
    prompts(text, head);
    ask(shared, head, 4096, (const char *const *)text, PROMPTS);
    ask(small, head, 200, (const char *const *)text, PROMPTS);      // a batch holds one pair
    for (int i = 0; i < PROMPTS; i++) {
        const char *one[] = {text[i]};
        ask(&alone[i], "", 4096, one, 1);
        for (int w = 0; w < 2; w++) {
            assert_true(shared[i].word[w].sum == alone[i].word[w].sum);
            assert_true(small[i].word[w].sum == alone[i].word[w].sum);
            assert_true(shared[i].word[w].bare == alone[i].word[w].bare);
        }
        free(text[i]);
    }
    assert_true(shared[0].word[0].sum != shared[1].word[0].sum);    // the orders are different prompts
}

static void a_head_that_prompts_do_not_share_is_no_harm(void **state)
{
    const char *prompt[] = {"Completely different=", "Complete=", "Which way=", "Which one="};
    struct reply with[4], without[4];
    struct provider *p = NULL;
    assert_int_equal(provider_local_new(&p, model, "tiny", 0, NULL), 0);
    ask_many(p, with, "Which summary", prompt, 4);
    ask_many(p, without, NULL, prompt, 4);
    for (int i = 0; i < 4; i++)
        assert_true(with[i].word[0].sum == without[i].word[0].sum);
    provider_free(p);
}

static void all_spellings_count(void **state)
{
    const char *prompt[] = {"Preferred Summary="};
    struct reply a;
    ask(&a, "", 0, prompt, 1);
    struct workspace *ws = NULL;
    struct forest f = {0};
    struct tokens t = {0};
    assert_int_equal(tokenize(model_tokenizer(model), &t, prompt[0], strlen(prompt[0]), 0, NULL), 0);
    assert_int_equal(workspace_new(&ws, model, 64, KEEP_NOTHING, NULL), 0);
    forest_add(&f, -1, t.id, t.n);
    model_forward(ws, model, &f);
    struct head_item item[] = {{t.n - 1, '1'}, {t.n - 1, 256}, {t.n - 1, '2'}, {t.n - 1, 257}};
    float logp[4], lse[4];
    model_logp(ws, logp, NULL, lse, item, 4, 1);
    near(a.word[0].sum, log(exp(logp[0]) + exp(logp[1])), 1e-6);
    near(a.word[0].bare, logp[0], 0);
    near(a.word[1].bare, logp[2], 0);
    near(a.mass, exp(logp[0]) + exp(logp[1]) + exp(logp[2]) + exp(logp[3]), 1e-6);
    assert_int_equal(a.tokens_in, t.n);
    workspace_free(ws);
    forest_release(&f);
    tokens_release(&t);
}

static void prompts_beyond_the_window_are_named_not_cut(void **state)
{
    struct buf b = {0};
    for (int i = 0; i < 300; i++)
        buf_adds(&b, "word ");
    const char *prompt[] = {"short=", b.s, b.s, b.s};
    struct reply a[4];
    struct provider *p = NULL;
    assert_int_equal(provider_local_new(&p, model, "tiny", 0, NULL), 0);
    ask_many(p, a, "sho", prompt, 4);
    assert_int_equal(a[0].state, REPLY_OK);
    for (int i = 1; i < 4; i++)
        assert_int_equal(a[i].state, REPLY_TOO_LONG);
    assert_true(a[0].word[0].sum < 0 && a[0].mass > 0);
    provider_free(p);
    buf_release(&b);
}

/* Each whole string by itself, as the definition has it. */
static double said(const char *prompt, const char *word)
{
    struct tokens t = {0};
    struct workspace *ws = NULL;
    struct forest f = {0};
    assert_int_equal(tokenize(model_tokenizer(model), &t, prompt, strlen(prompt), 0, NULL), 0);
    int n = t.n;
    assert_int_equal(tokenize(model_tokenizer(model), &t, word, strlen(word), 0, NULL), 0);
    assert_int_equal(workspace_new(&ws, model, 200, KEEP_NOTHING, NULL), 0);
    forest_add(&f, -1, t.id, t.n);
    model_forward(ws, model, &f);
    double sum = 0;
    for (int i = n; i < t.n; i++) {
        struct head_item item = {i - 1, t.id[i]};
        float logp, lse;
        model_logp(ws, &logp, NULL, &lse, &item, 1, 1);
        sum += logp;
    }
    workspace_free(ws);
    forest_release(&f);
    tokens_release(&t);
    return exp(sum);
}

static void ten_is_not_one(void **state)
{
    static const char *const scale[] = {"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"};
    const char *prompt = "Score from 1 to 10=";
    struct ask q[] = {{.kind = ASK_WORDS, .prompt = prompt, .word = scale, .n_words = 10},
                      {.kind = ASK_WORDS, .prompt = "Another one=", .word = scale, .n_words = 10}};
    struct reply r[2] = {0};
    struct provider *p = NULL;
    assert_int_equal(provider_local_new(&p, model, "tiny", 0, NULL), 0);
    assert_int_equal(p->ask(p, r, q, 2, told, NULL, NULL), 0);
    double ten = said(prompt, "10") + said(prompt, " 10"), one = said(prompt, "1") + said(prompt, " 1");
    near(exp(r[0].word[9].sum), ten, 1e-6);
    near(exp(r[0].word[0].sum), one - ten, 1e-6);
    near(exp(r[0].word[8].sum), said(prompt, "9"), 1e-6);
    assert_true(isnan(r[0].word[9].bare));
    double all = 0;
    for (int w = 0; w < 10; w++)
        all += exp(r[0].word[w].sum);
    near(r[0].mass, all, 1e-12);
    provider_free(p);
}

static void conversations_need_a_template(void **state)
{
    struct chat_message m = {"user", "hello"};
    struct ask q = {.kind = ASK_WORDS, .message = &m, .n_messages = 1, .word = words, .n_words = 2};
    struct reply r = {0};
    struct provider *p = NULL;
    struct err err = {0};
    assert_int_equal(provider_local_new(&p, model, "tiny", 0, NULL), 0);
    assert_true(p->ask(p, &r, &q, 1, told, NULL, &err) < 0);
    kit_contains(err.msg, "template");
    provider_free(p);
}

static void a_text_follows_from_question_and_draw_alone(void **state)
{
    struct ask q[6];
    struct reply r[6] = {0}, one = {0};
    struct provider *p = NULL;
    assert_int_equal(provider_local_new(&p, model, "tiny", 0, NULL), 0);
    for (int i = 0; i < 6; i++) {
        q[i] = (struct ask){.kind = ASK_TEXT, .prompt = i / 3 ? "a word" : "another", .draw = i % 3};
        sampling_defaults(&q[i].sampling);
        q[i].sampling.max_new_tokens = 12;
    }
    assert_int_equal(p->ask(p, r, q, 6, told, NULL, NULL), 0);
    assert_int_equal(p->ask(p, &one, &q[4], 1, told, NULL, NULL), 0);
    assert_string_equal(r[4].text, one.text);
    assert_string_not_equal(r[3].text, r[4].text);
    assert_int_equal(one.tokens_out, 12);
    reply_release(&one);
    replies_release(r, 6);
    provider_free(p);
}

static void the_fingerprint_is_the_models(void **state)
{
    struct provider *p = NULL;
    assert_int_equal(provider_local_new(&p, model, "tiny", 0, NULL), 0);
    kit_contains(p->fingerprint, model_fingerprint(model));
    provider_free(p);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(sharing_changes_no_bit, setup, teardown),
    cmocka_unit_test_setup_teardown(a_head_that_prompts_do_not_share_is_no_harm, setup, teardown),
    cmocka_unit_test_setup_teardown(all_spellings_count, setup, teardown),
    cmocka_unit_test_setup_teardown(prompts_beyond_the_window_are_named_not_cut, setup, teardown),
    cmocka_unit_test_setup_teardown(ten_is_not_one, setup, teardown),
    cmocka_unit_test_setup_teardown(conversations_need_a_template, setup, teardown),
    cmocka_unit_test_setup_teardown(a_text_follows_from_question_and_draw_alone, setup, teardown),
    cmocka_unit_test_setup_teardown(the_fingerprint_is_the_models, setup, teardown),
};
KIT_MAIN(tests)
