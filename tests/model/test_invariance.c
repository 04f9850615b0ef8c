/* A row does not know its company (DESIGN D1): the same bits alone, in a forest, through a cache, token by token, in
 * chunks, with one thread or two, fp32 and bf16. */
#include "model/tiny.h"

enum { PROMPT = 70, ANSWER = 23, TOTAL = PROMPT + ANSWER };     // crosses a block of 64 keys

struct sequence { int id[TOTAL]; float logp[TOTAL], entropy[TOTAL]; };     // [t]: of id[t] given what is before

static void make_sequence(struct sequence *s, uint64_t seed)
{
    struct rng r;
    rng_init(&r, seed, RNG_TEST, 5, 0);
    for (int i = 0; i < TOTAL; i++)
        s->id[i] = (int)rng_below(&r, TINY_VOCAB);
}

/* The sequence as one root, nothing else in the batch. */
static void alone(const struct model *m, struct sequence *s, bool keep)
{
    struct workspace *ws = tiny_workspace(m, TOTAL, keep);
    struct forest f = {0};
    struct head_item item[TOTAL];
    forest_add(&f, -1, s->id, TOTAL);
    int n = forest_items(&f, 0, 0, item);
    assert_int_equal(n, TOTAL - 1);
    model_forward(ws, m, &f);
    model_logp(ws, s->logp + 1, s->entropy + 1, NULL, item, n, 0.7f);
    forest_release(&f);
    workspace_free(ws);
}

static void same(const struct sequence *a, const float *logp, const float *entropy, int from, const char *how)
{
    for (int t = from; t < TOTAL; t++)
        if (a->logp[t] != logp[t - from] || (entropy && a->entropy[t] != entropy[t - from]))
            fail_msg("%s: token %d has log-prob %.9g alone, %.9g here", how, t, (double)a->logp[t], (double)logp[t - from]);
}

static void in_a_forest(const struct model *m, const struct sequence *s)
{
    struct rng r;
    struct forest f = {0};
    struct head_item item[TOTAL];
    float logp[TOTAL], entropy[TOTAL];
    rng_init(&r, 77, RNG_TEST, 6, 0);
    tiny_segment(&f, -1, 33, &r);
    int prompt = forest_add(&f, -1, s->id, PROMPT);
    tiny_segment(&f, prompt, 11, &r);
    int other = tiny_segment(&f, -1, 64, &r);
    int answer = forest_add(&f, prompt, s->id + PROMPT, 10);
    tiny_segment(&f, other, 5, &r);
    int rest = forest_add(&f, answer, s->id + PROMPT + 10, ANSWER - 10);

    struct workspace *ws = tiny_workspace(m, f.tokens.n, false);
    model_forward(ws, m, &f);
    int n = forest_items(&f, answer, 0, item);
    n += forest_items(&f, rest, 0, item + n);
    assert_int_equal(n, ANSWER);
    model_logp(ws, logp, entropy, NULL, item, n, 0.7f);
    same(s, logp, entropy, PROMPT, "in a forest");
    n = forest_items(&f, prompt, 0, item);
    model_logp(ws, logp, entropy, NULL, item, n, 0.7f);
    for (int t = 1; t < PROMPT; t++)
        assert_true(logp[t - 1] == s->logp[t]);
    workspace_free(ws);
    forest_release(&f);
}

/* In a scheduler's cache beside others, `rows` tokens at a time. */
static void through_a_cache(const struct model *m, const struct sequence *s, int rows, const char *how)
{
    struct err err = {0};
    struct scheduler *sch;
    struct scheduler_options o = {16, rows < 3 ? rows : 3, rows};
    struct rng r;
    struct head_item item[TOTAL];
    float logp[TOTAL], other[2];
    int noise[2][40], left;
    rng_init(&r, 78, RNG_TEST, 7, 0);
    for (int i = 0; i < 80; i++)
        noise[i / 40][i % 40] = (int)rng_below(&r, TINY_VOCAB);
    for (int t = 0; t < TOTAL; t++)
        item[t] = (struct head_item){t, t + 1 < TOTAL ? s->id[t + 1] : 0};
    if (scheduler_new(&sch, m, &o, &err))
        fail_msg("%s", err.msg);
    for (int i = 0; i < 3; i++) {
        struct scheduler_request q = {.id = noise[i / 2], .n = 17 + 6 * i, .ask = item, .n_ask = 1, .logp = &other[i / 2]};
        if (i == 1)
            q = (struct scheduler_request){.id = s->id, .n = TOTAL, .ask = item, .n_ask = TOTAL, .logp = logp};
        assert_true(scheduler_submit(sch, &q, &err) >= 0);
    }
    while ((left = scheduler_step(sch, &err)) > 0)
        ;
    assert_int_equal(left, 0);
    scheduler_free(sch);
    struct workspace *ws = tiny_workspace(m, TOTAL, KEEP_NOTHING);  // schedulers ask at temperature 1
    struct forest f = {0};
    float one[TOTAL];
    forest_add(&f, -1, s->id, TOTAL);
    model_forward(ws, m, &f);
    model_logp(ws, one, NULL, NULL, item, TOTAL, 1);
    for (int t = 0; t < TOTAL; t++)
        if (logp[t] != one[t])
            fail_msg("%s: token %d: %.9g alone, %.9g here", how, t + 1, (double)one[t], (double)logp[t]);
    forest_release(&f);
    workspace_free(ws);
}

static void check(struct tiny_options o)
{
    struct device *one = tiny_device(1);
    struct model *m = tiny_model(one, o);
    struct sequence s, kept;
    make_sequence(&s, 1);
    make_sequence(&kept, 1);
    alone(m, &s, false);
    alone(m, &kept, true);
    same(&s, kept.logp + 1, kept.entropy + 1, 1, "with a workspace that keeps");
    in_a_forest(m, &s);
    through_a_cache(m, &s, 1024, "in one portion");
    through_a_cache(m, &s, 11, "in odd portions");
    through_a_cache(m, &s, 1, "token by token");
    model_close(m);
    device_close(one);

    struct device *two = tiny_device(2);
    m = tiny_model(two, o);
    alone(m, &kept, false);
    same(&s, kept.logp + 1, kept.entropy + 1, 1, "with two threads");
    in_a_forest(m, &s);
    through_a_cache(m, &s, 11, "in odd portions, two threads");
    model_close(m);
    device_close(two);
}

static void a_row_does_not_know_its_company_in_fp32(void **state) { check((struct tiny_options){.seed = 3}); }
static void a_row_does_not_know_its_company_in_bf16(void **state) { check((struct tiny_options){.dtype = DTYPE_BF16, .seed = 3}); }
static void nor_with_an_adapter_in_fp32(void **state) { check((struct tiny_options){.seed = 3, .adapter = true}); }
static void nor_with_an_adapter_in_bf16(void **state) { check((struct tiny_options){.dtype = DTYPE_BF16, .seed = 3, .adapter = true}); }
static void nor_with_modules_of_its_own(void **state) { check((struct tiny_options){.seed = 3, .adapter = true, .whole = true}); }

/* A model that looked at nothing would pass the above. */
static void earlier_tokens_matter(void **state)
{
    struct device *dev = tiny_device(1);
    struct model *m = tiny_model(dev, (struct tiny_options){.seed = 3});
    struct sequence a, b;
    make_sequence(&a, 1);
    make_sequence(&b, 1);
    b.id[2] = (b.id[2] + 1) % TINY_VOCAB;
    alone(m, &a, false);
    alone(m, &b, false);
    assert_true(a.logp[2 - 1] == b.logp[2 - 1]);
    int differ = 0;
    for (int t = 3; t < TOTAL; t++)
        differ += a.logp[t] != b.logp[t];
    assert_true(differ > TOTAL / 2);
    model_close(m);
    device_close(dev);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_row_does_not_know_its_company_in_fp32),
    cmocka_unit_test(a_row_does_not_know_its_company_in_bf16),
    cmocka_unit_test(nor_with_an_adapter_in_fp32),
    cmocka_unit_test(nor_with_an_adapter_in_bf16),
    cmocka_unit_test(nor_with_modules_of_its_own),
    cmocka_unit_test(earlier_tokens_matter),
};
KIT_MAIN(tests)
