/* Generation: the same tokens whatever the batch, log-probs that are the training pass's, filters, ends. */
#include "model/generate/generate.h"
#include "model/tiny.h"

enum { PROMPTS = 5, SAMPLES = 3, TOTAL = PROMPTS * SAMPLES };

struct task { int id[PROMPTS][40]; struct prompt_ids prompt[PROMPTS]; };

static void make_task(struct task *t)
{
    struct rng r;
    rng_init(&r, 4, RNG_TEST, 9, 0);
    for (int p = 0; p < PROMPTS; p++) {
        t->prompt[p] = (struct prompt_ids){t->id[p], 3 + 7 * p, 100 + (uint64_t)p};
        for (int i = 0; i < 40; i++)
            t->id[p][i] = (int)rng_below(&r, TINY_VOCAB);
    }
}

static void generate(struct completion *out, const struct model *m, const struct task *t, const struct sampling *s, int batch)
{
    struct err err = {0};
    if (model_generate(out, m, t->prompt, PROMPTS, SAMPLES, s, batch, NULL, NULL, &err))
        fail_msg("%s", err.msg);
}

static struct model *ending_model(struct device *dev, enum dtype dtype)
{
    struct model *m = tiny_model(dev, (struct tiny_options){.dtype = dtype, .seed = 21});
    m->config.n_eos = 5;        // several of forty tokens, so that lengths differ
    for (int i = 0; i < 5; i++)
        m->config.eos_ids[i] = 7 * (i + 1);
    return m;
}

static void assert_same(const struct completion *a, const struct completion *b)
{
    for (int i = 0; i < TOTAL; i++) {
        assert_int_equal(a[i].n, b[i].n);
        assert_int_equal(a[i].eos, b[i].eos);
        assert_memory_equal(a[i].id, b[i].id, (size_t)a[i].n * sizeof *a[i].id);
        assert_memory_equal(a[i].logp, b[i].logp, (size_t)a[i].n * sizeof *a[i].logp);
    }
}

static void results_do_not_depend_on_the_batch(void **state)
{
    struct task t;
    struct sampling s;
    make_task(&t);
    sampling_defaults(&s);
    s.temperature = 0.8f;
    s.max_new_tokens = 30;
    s.seed = 5;
    struct device *dev = tiny_device(1);
    struct model *m = ending_model(dev, DTYPE_BF16);
    int batches[] = {1, 2, 4, 7, 64};
    struct completion first[TOTAL], again[TOTAL];
    generate(first, m, &t, &s, 15);
    int lengths = 0, ended = 0;
    for (int i = 1; i < TOTAL; i++)
        lengths += first[i].n != first[0].n;
    for (int i = 0; i < TOTAL; i++) {
        ended += first[i].eos;
        int last = first[i].id[first[i].n - 1];
        assert_true(first[i].eos == (last > 0 && last % 7 == 0));
        assert_true(first[i].eos || first[i].n == 30);
    }
    assert_true(lengths > 3 && ended > 3);      // else this would test little
    for (size_t i = 0; i < ARRAY_LEN(batches); i++) {
        generate(again, m, &t, &s, batches[i]);
        assert_same(first, again);
        completions_release(again, TOTAL);
    }
    s.seed = 6;
    generate(again, m, &t, &s, 15);
    int same = 0;
    for (int i = 0; i < TOTAL; i++)
        same += again[i].n == first[i].n && !memcmp(again[i].id, first[i].id, (size_t)first[i].n * sizeof(int));
    assert_true(same < TOTAL / 2);
    completions_release(first, TOTAL);
    completions_release(again, TOTAL);
    model_close(m);
    device_close(dev);
}

static void log_probs_are_the_training_pass_s_bits(void **state)
{
    struct task t;
    struct sampling s;
    make_task(&t);
    sampling_defaults(&s);
    s.temperature = 0.7f;
    s.top_k = 10;
    s.top_p = 0.9f;
    s.max_new_tokens = 20;
    for (int dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
        struct device *dev = tiny_device(2);
        struct model *m = ending_model(dev, (enum dtype)dtype);
        struct completion out[TOTAL];
        struct forest f = {0};
        struct head_item item[32];
        float logp[32];
        generate(out, m, &t, &s, 4);
        struct workspace *ws = tiny_workspace(m, 1024, true);
        int seg[TOTAL];
        for (int p = 0; p < PROMPTS; p++) {
            int root = forest_add(&f, -1, t.id[p], t.prompt[p].n);
            for (int k = 0; k < SAMPLES; k++)
                seg[p * SAMPLES + k] = forest_add(&f, root, out[p * SAMPLES + k].id, out[p * SAMPLES + k].n);
        }
        model_forward(ws, m, &f);
        for (int i = 0; i < TOTAL; i++) {
            int n = forest_items(&f, seg[i], 0, item);
            assert_int_equal(n, out[i].n);
            model_logp(ws, logp, NULL, NULL, item, n, 0.7f);
            assert_memory_equal(logp, out[i].logp, (size_t)n * sizeof *logp);
        }
        completions_release(out, TOTAL);
        forest_release(&f);
        workspace_free(ws);
        model_close(m);
        device_close(dev);
    }
}

static void greedy_takes_the_likeliest_and_ignores_the_seed(void **state)
{
    struct task t;
    struct sampling s;
    struct completion a[TOTAL], b[TOTAL];
    make_task(&t);
    sampling_defaults(&s);
    s.temperature = 0;
    s.max_new_tokens = 12;
    s.ignore_eos = true;
    struct device *dev = tiny_device(1);
    struct model *m = ending_model(dev, DTYPE_F32);
    generate(a, m, &t, &s, 3);
    s.seed = 99;
    generate(b, m, &t, &s, 8);
    assert_same(a, b);
    for (int i = 0; i < TOTAL; i++) {
        assert_int_equal(a[i].n, 12);       // EOS ignored
        assert_memory_equal(a[i].id, a[i / SAMPLES * SAMPLES].id, 12 * sizeof(int));
        for (int k = 0; k < 12; k++)
            assert_true(a[i].logp[k] > -logf(TINY_VOCAB));      // the likeliest is likelier than the average
    }
    completions_release(a, TOTAL);
    completions_release(b, TOTAL);
    model_close(m);
    device_close(dev);
}

/* ---- one token --------------------------------------------------------------------------- */

/* How often each token comes up for u spread evenly; p and work scratch included. */
static void histogram(double *share, const float *logits, int V, const struct sampling *s)
{
    enum { DRAWS = 20000 };
    float *p = test_malloc((size_t)V * sizeof *p), *work = test_malloc((size_t)V * sizeof *work);
    memset(share, 0, (size_t)V * sizeof *share);
    for (int i = 0; i < DRAWS; i++)
        share[sample_token(logits, V, s, (i + 0.5) / DRAWS, p, work)] += 1.0 / DRAWS;
    test_free(p);
    test_free(work);
}

static void tokens_come_as_often_as_their_probability_says(void **state)
{
    enum { V = 1300 };      // more than two blocks, and a rest
    struct sampling s;
    struct rng r;
    float logits[V];
    double share[V], z = 0;
    sampling_defaults(&s);
    s.temperature = 0.5f;
    rng_init(&r, 1, RNG_TEST, 10, 0);
    for (int i = 0; i < V; i++)
        logits[i] = (float)rng_normal(&r);
    for (int i = 0; i < V; i++)
        z += exp(logits[i] / 0.5);
    histogram(share, logits, V, &s);
    for (int i = 0; i < V; i++)
        assert_true(fabs(share[i] - exp(logits[i] / 0.5) / z) < 1.01 / 20000);     // evenly spread u: off by one at most
}

static void top_k_keeps_the_k_likeliest(void **state)
{
    struct sampling s;
    float logits[] = {0, 3, 1, -2, 2, 1.5f, -30, 2.5f};
    double share[8], z = exp(3) + exp(2.5) + exp(2);
    sampling_defaults(&s);
    s.top_k = 3;
    histogram(share, logits, 8, &s);
    assert_true(fabs(share[1] - exp(3) / z) < 1e-3);
    assert_true(fabs(share[7] - exp(2.5) / z) < 1e-3);
    assert_true(fabs(share[4] - exp(2) / z) < 1e-3);
    assert_true(share[0] + share[2] + share[3] + share[5] + share[6] == 0);
}

static void top_p_keeps_the_smallest_set_that_reaches_it(void **state)
{
    struct sampling s;
    float logits[] = {logf(0.1f), logf(0.5f), logf(0.15f), logf(0.25f)};
    double share[4];
    sampling_defaults(&s);
    s.top_p = 0.7f;         // 0.5 does not reach it, 0.5 + 0.25 does
    histogram(share, logits, 4, &s);
    assert_true(fabs(share[1] - 2.0 / 3) < 1e-3 && fabs(share[3] - 1.0 / 3) < 1e-3);
    assert_true(share[0] == 0 && share[2] == 0);
    s.top_p = 0.3f;         // the likeliest always stays
    histogram(share, logits, 4, &s);
    assert_true(share[1] > 0.999999);
}

static void stop_strings_are_found_across_tokens(void **state)
{
    const char *const stops[] = {"\n\n", "END"};
    struct sampling s = {.stop = stops, .n_stop = 2};
    const char text[] = "one\ntwo EN";
    assert_int_equal(stop_longest(&s), 3);
    assert_int_equal(stop_find(text, sizeof text - 1, 0, &s), -1);
    assert_int_equal(stop_find("one\ntwo END\n\n", 13, 8, &s), 8);
    assert_int_equal(stop_find("\n\n", 2, 0, &s), 0);
    assert_int_equal(stop_find("END\n\n", 5, 0, &s), 0);
    assert_int_equal(stop_find("", 0, 0, &s), -1);
}

static void unusable_requests_are_refused(void **state)
{
    struct err err = {0};
    struct task t;
    struct sampling s;
    struct completion out[TOTAL];
    make_task(&t);
    sampling_defaults(&s);
    struct device *dev = tiny_device(1);
    struct model *m = ending_model(dev, DTYPE_F32);
    t.prompt[2].n = 0;
    assert_int_equal(model_generate(out, m, t.prompt, PROMPTS, 1, &s, 4, NULL, NULL, &err), ERR_VALUE);
    kit_contains(err.msg, "prompt 3");
    t.prompt[2].n = 3;
    t.id[1][1] = TINY_VOCAB;
    assert_int_equal(model_generate(out, m, t.prompt, PROMPTS, 1, &s, 4, NULL, NULL, &err), ERR_VALUE);
    kit_contains(err.msg, "prompt 2");
    t.id[1][1] = 0;
    m->config.max_position = 31;
    assert_int_equal(model_generate(out, m, t.prompt, PROMPTS, 1, &s, 4, NULL, NULL, &err), ERR_VALUE);
    kit_contains(err.msg, "31 tokens");
    s.temperature = -1;
    assert_int_equal(model_generate(out, m, t.prompt, PROMPTS, 1, &s, 4, NULL, NULL, &err), ERR_VALUE);
    s.temperature = NAN;
    assert_int_equal(model_generate(out, m, t.prompt, PROMPTS, 1, &s, 4, NULL, NULL, &err), ERR_VALUE);
    model_close(m);
    device_close(dev);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(results_do_not_depend_on_the_batch),
    cmocka_unit_test(log_probs_are_the_training_pass_s_bits),
    cmocka_unit_test(greedy_takes_the_likeliest_and_ignores_the_seed),
    cmocka_unit_test(tokens_come_as_often_as_their_probability_says),
    cmocka_unit_test(top_k_keeps_the_k_likeliest),
    cmocka_unit_test(top_p_keeps_the_smallest_set_that_reaches_it),
    cmocka_unit_test(stop_strings_are_found_across_tokens),
    cmocka_unit_test(unusable_requests_are_refused),
};
KIT_MAIN(tests)
