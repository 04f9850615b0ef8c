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

/* pieces: lengths of consecutive calls, each on top of the one before. */
static void through_a_cache(const struct model *m, const struct sequence *s, const int *pieces, int n_pieces, const char *how)
{
    struct err err = {0};
    struct context *c;
    struct rng r;
    int parent = CONTEXT_ROOT, at = 0, handles[2], noise;
    float logp[TOTAL];
    if (context_new(&c, m, 512, &err))
        fail_msg("%s", err.msg);
    struct forest f = {0};
    rng_init(&r, 78, RNG_TEST, 7, 0);
    tiny_segment(&f, CONTEXT_ROOT, 17, &r);     // so that slots are not positions
    assert_int_equal(context_extend(c, &f, &noise, &err), 0);
    for (int p = 0; p < n_pieces; p++) {
        struct head_item item[TOTAL];
        forest_clear(&f);
        tiny_segment(&f, CONTEXT_ROOT, 3, &r);
        forest_add(&f, parent, s->id + at, pieces[p]);
        if (context_extend(c, &f, handles, &err))
            fail_msg("%s", err.msg);
        for (int t = 0; t < pieces[p]; t++)
            item[t] = (struct head_item){3 + t, at + t + 1 < TOTAL ? s->id[at + t + 1] : 0};
        context_logp(c, logp, NULL, NULL, item, pieces[p], 0.7f);
        for (int t = 0; t < pieces[p] && at + t + 1 < TOTAL; t++)
            if (logp[t] != s->logp[at + t + 1])
                fail_msg("%s: token %d: %.9g alone, %.9g here", how, at + t + 1, (double)s->logp[at + t + 1], (double)logp[t]);
        context_drop(c, handles[0]);
        if (parent != CONTEXT_ROOT)
            context_drop(c, ~parent);       // its child keeps it
        parent = ~handles[1];
        at += pieces[p];
    }
    assert_int_equal(at, TOTAL);
    context_free(c);
    forest_release(&f);
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
    int halves[] = {PROMPT, ANSWER}, odd[] = {1, 62, 3, 20, 7}, singles[TOTAL];
    for (int i = 0; i < TOTAL; i++)
        singles[i] = 1;
    through_a_cache(m, &s, halves, 2, "prompt, then answer");
    through_a_cache(m, &s, odd, 5, "odd pieces");
    through_a_cache(m, &s, singles, TOTAL, "token by token");
    model_close(m);
    device_close(one);

    struct device *two = tiny_device(2);
    m = tiny_model(two, o);
    alone(m, &kept, false);
    same(&s, kept.logp + 1, kept.entropy + 1, 1, "with two threads");
    in_a_forest(m, &s);
    through_a_cache(m, &s, odd, 5, "odd pieces, two threads");
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

static void a_full_cache_says_so_and_computes_nothing(void **state)
{
    struct err err = {0};
    struct device *dev = tiny_device(1);
    struct model *m = tiny_model(dev, (struct tiny_options){.seed = 3});
    struct context *c;
    struct rng r;
    struct forest f = {0};
    int first, second, child;
    rng_init(&r, 1, RNG_TEST, 8, 0);
    assert_int_equal(context_new(&c, m, 20, &err), 0);
    tiny_segment(&f, CONTEXT_ROOT, 12, &r);
    assert_int_equal(context_extend(c, &f, &first, &err), 0);
    assert_int_equal(context_extend(c, &f, &second, &err), ERR_MEMORY);
    kit_contains(err.msg, "room for 8 more");

    // a child keeps its parent's slots until it goes
    forest_clear(&f);
    tiny_segment(&f, ~first, 8, &r);
    assert_int_equal(context_extend(c, &f, &child, &err), 0);
    context_drop(c, first);
    assert_int_equal(context_extend(c, &f, &second, &err), ERR_MEMORY);
    context_drop(c, child);
    forest_clear(&f);
    tiny_segment(&f, CONTEXT_ROOT, 20, &r);
    assert_int_equal(context_extend(c, &f, &second, &err), 0);
    forest_release(&f);
    context_free(c);
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
    cmocka_unit_test(a_full_cache_says_so_and_computes_nothing),
};
KIT_MAIN(tests)
