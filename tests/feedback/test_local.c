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
static void ask(struct answer *out, const char *head, int per_group, int batch, const char *const *prompt, int n)
{
    struct provider *p = NULL;
    struct err err = {0};
    if (provider_local_new(&p, model, "tiny", batch, &err))
        fail_msg("%s", err.msg);
    struct question q = {head, prompt, n, per_group, words, 2};
    if (p->answer(p, out, &q, &err))
        fail_msg("%s", err.msg);
    if (per_group == 2)
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
    struct answer shared[PROMPTS], alone[PROMPTS], small[PROMPTS];
    prompts(text, head);
    ask(shared, head, 2, 4096, (const char *const *)text, PROMPTS);
    ask(small, head, 2, 200, (const char *const *)text, PROMPTS);      // a batch holds one pair
    for (int i = 0; i < PROMPTS; i++) {
        const char *one[] = {text[i]};
        ask(&alone[i], "", 1, 4096, one, 1);
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
    struct answer with[4], without[4];
    struct provider *p = NULL;
    assert_int_equal(provider_local_new(&p, model, "tiny", 0, NULL), 0);
    struct question q = {"Which summary", prompt, 4, 2, words, 2};
    assert_int_equal(p->answer(p, with, &q, NULL), 0);
    q.head = "";
    assert_int_equal(p->answer(p, without, &q, NULL), 0);
    for (int i = 0; i < 4; i++)
        assert_true(with[i].word[0].sum == without[i].word[0].sum);
    provider_free(p);
}

static void all_spellings_count(void **state)
{
    const char *prompt[] = {"Preferred Summary="};
    struct answer a;
    ask(&a, "", 1, 0, prompt, 1);
    struct context *c = NULL;
    struct forest f = {0};
    struct tokens t = {0};
    int handle;
    assert_int_equal(tokenize(model_tokenizer(model), &t, prompt[0], strlen(prompt[0]), 0, NULL), 0);
    assert_int_equal(context_new(&c, model, 64, NULL), 0);
    forest_add(&f, CONTEXT_ROOT, t.id, t.n);
    assert_int_equal(context_extend(c, &f, &handle, NULL), 0);
    struct head_item item[] = {{t.n - 1, '1'}, {t.n - 1, 256}, {t.n - 1, '2'}, {t.n - 1, 257}};
    float logp[4], lse[4];
    context_logp(c, logp, NULL, lse, item, 4, 1);
    near(a.word[0].sum, log(exp(logp[0]) + exp(logp[1])), 1e-6);
    near(a.word[0].bare, logp[0], 0);
    near(a.word[1].bare, logp[2], 0);
    near(a.mass, exp(logp[0]) + exp(logp[1]) + exp(logp[2]) + exp(logp[3]), 1e-6);
    assert_int_equal(a.tokens, t.n);
    context_free(c);
    forest_release(&f);
    tokens_release(&t);
}

static void prompts_beyond_the_window_are_named_not_cut(void **state)
{
    struct buf b = {0};
    for (int i = 0; i < 300; i++)
        buf_adds(&b, "word ");
    const char *prompt[] = {"short=", b.s, b.s, b.s};
    struct answer a[4];
    struct provider *p = NULL;
    assert_int_equal(provider_local_new(&p, model, "tiny", 0, NULL), 0);
    struct question q = {"sho", prompt, 4, 2, words, 2};
    assert_int_equal(p->answer(p, a, &q, NULL), 0);
    assert_false(a[0].too_long);
    assert_true(a[1].too_long && a[2].too_long && a[3].too_long);
    assert_true(a[0].word[0].sum < 0 && a[0].mass > 0);
    provider_free(p);
    buf_release(&b);
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
    cmocka_unit_test_setup_teardown(the_fingerprint_is_the_models, setup, teardown),
};
KIT_MAIN(tests)
