/* Adapters: the base is what it was, several stand on one base, names that do not exist are
 * refused, and the product is that of merged weights. */
#include "model/tiny.h"

enum { TOKENS = 40 };

static void logps(const struct model *m, float *out, uint64_t seed)
{
    struct workspace *ws = tiny_workspace(m, TOKENS, false);
    struct forest f = {0};
    struct head_item item[TOKENS];
    struct rng r;
    rng_init(&r, seed, RNG_TEST, 11, 0);
    tiny_segment(&f, -1, TOKENS, &r);
    int n = forest_items(&f, 0, 0, item);
    model_forward(ws, m, &f);
    model_logp(ws, out, NULL, NULL, item, n, 1);
    forest_release(&f);
    workspace_free(ws);
}

static double distance(const float *a, const float *b)
{
    double d = 0;
    for (int i = 0; i + 1 < TOKENS; i++)
        d = fmax(d, fabs((double)a[i] - b[i]));
    return d;
}

static void train(struct model *m, int steps)
{
    struct trainable *t = tiny_trainable(m);
    struct workspace *ws = tiny_workspace(m, TOKENS, true);
    struct forest f = {0};
    struct head_item item[TOKENS];
    float dlogp[TOKENS];
    struct rng r;
    struct adamw h = {.lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .scale = 1};
    rng_init(&r, 3, RNG_TEST, 12, 0);
    tiny_segment(&f, -1, TOKENS, &r);
    int n = forest_items(&f, 0, 0, item);
    for (int i = 0; i < n; i++)
        dlogp[i] = -1.0f / (float)n;
    for (h.step = 1; h.step <= steps; h.step++) {
        trainable_zero(t);
        model_forward(ws, m, &f);
        model_backward(ws, t, item, dlogp, n, 1, NULL, NULL, 0);
        trainable_step(t, &h);
    }
    forest_release(&f);
    workspace_free(ws);
    trainable_free(t);
}

static void check_base(enum dtype dtype)
{
    struct device *dev = tiny_device(1);
    struct model *base = tiny_model(dev, (struct tiny_options){.dtype = dtype, .seed = 5});
    struct model *one = tiny_adapter(base, false, 1), *two = tiny_adapter(base, true, 2);
    float before[TOKENS], now[TOKENS], a[TOKENS], b[TOKENS];
    char print[160];
    snprintf(print, sizeof print, "%s", model_fingerprint(base));
    logps(base, before, 1);
    logps(one, now, 1);
    assert_memory_equal(before, now, sizeof(float) * (TOKENS - 1)); // B is zero
    logps(two, now, 1);
    assert_memory_equal(before, now, sizeof(float) * (TOKENS - 1)); // and copies are copies
    char fresh[160];
    snprintf(fresh, sizeof fresh, "%s", model_fingerprint(one));
    train(one, 3);
    train(two, 3);
    logps(one, a, 1);
    logps(two, b, 1);
    assert_true(distance(a, before) > 1e-3 && distance(b, before) > 1e-3 &&
                distance(a, b) > 1e-3);
    logps(base, now, 1);
    assert_memory_equal(before, now, sizeof(float) * (TOKENS - 1));
    assert_string_equal(print, model_fingerprint(base));
    assert_string_not_equal(fresh, model_fingerprint(one));
    model_close(base);
    logps(two, now, 1);
    assert_memory_equal(b, now, sizeof(float) * (TOKENS - 1));
    model_close(one);
    model_close(two);
    device_close(dev);
}

static void the_base_is_the_policy_with_its_adapter_off(void **state)
{
    check_base(DTYPE_F32);
    check_base(DTYPE_BF16);
}

static void merged_weights_give_the_same(void **state)
{
    struct device *dev = tiny_device(1);
    struct model *base = tiny_model(dev, (struct tiny_options){.seed = 6, .untied = true}),
                 *same = tiny_model(dev, (struct tiny_options){.seed = 6, .untied = true});
    struct model *m = tiny_adapter(base, false, 1);
    float a[TOKENS], b[TOKENS], off[TOKENS];
    tiny_liven(m, 7);
    tiny_merge(same, m);
    logps(m, a, 2);
    logps(same, b, 2);
    logps(base, off, 2);
    assert_true(distance(a, off) > 0.1);
    assert_true(distance(a, b) < 2e-4);
    model_close(m);
    model_close(base);
    model_close(same);
    device_close(dev);
}

static void only_the_adapter_is_trained(void **state)
{
    struct device *dev = tiny_device(1);
    struct model *base = tiny_model(dev, (struct tiny_options){.seed = 6}),
                 *m = tiny_adapter(base, false, 1);
    // q 32, k and v 16, o 24, gate and up 40, down 24 rows; each reads 24, but o 32 and down 40
    size_t per_layer = 3 * ((32 + 24) + 2 * (16 + 24) + (24 + 32) + 2 * (40 + 24) + (24 + 40));
    assert_int_equal(model_trained_count(m), 2 * per_layer + 2 * 3 * (TINY_VOCAB + 24));
    assert_ptr_equal(model_base(m), base);
    assert_null(model_base(base));
    model_close(m);
    model_close(base);
    device_close(dev);
}

static void a_value_model_has_its_own_head_over_the_same_base(void **state)
{
    struct device *dev = tiny_device(1);
    struct model *base = tiny_model(dev, (struct tiny_options){.seed = 6}), *m;
    struct adapter_options o;
    struct err err = {0};
    adapter_defaults(&o);
    o.scalar_head = true;
    assert_int_equal(model_with_adapter(&m, base, &o, &err), 0);
    assert_true(model_head_is_fresh(m));
    struct workspace *ws = tiny_workspace(m, 8, false);
    struct forest f = {0};
    float score[2];
    int id[] = {1, 2, 3}, row[] = {1, 2};
    forest_add(&f, -1, id, 3);
    model_forward(ws, m, &f);
    model_score(ws, score, row, 2);
    assert_true(isfinite(score[0]) && score[0] != score[1]);
    forest_release(&f);
    workspace_free(ws);
    model_close(m);
    model_close(base);
    device_close(dev);
}

static void refused(struct model *base, struct adapter_options o, const char *word)
{
    struct model *m;
    struct err err = {0};
    assert_int_not_equal(model_with_adapter(&m, base, &o, &err), 0);
    kit_contains(err.msg, word);
    assert_int_equal(base->users, 1);
}

static void modules_that_are_not_there_are_refused(void **state)
{
    struct device *dev = tiny_device(1);
    struct model *base = tiny_model(dev, (struct tiny_options){.seed = 6});
    const char *c_attn[] = {"q_proj", "c_attn"}, *score[] = {"score"},
               *norm[] = {"input_layernorm"}, *up[] = {"up_proj"};
    struct adapter_options o;
    adapter_defaults(&o);
    o.target = c_attn;
    o.n_target = 2;
    refused(
        base, o,
        "'c_attn' (there are embed_tokens, q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj");
    o.target = norm;
    o.n_target = 1;
    refused(base, o, "model.layers.0.input_layernorm is no matrix");
    o.n_target = 0;
    o.save = score;
    o.n_save = 1;
    refused(base, o, "modules_to_save: no module of this model is called 'score'");
    o.save = up;
    refused(base, o, "lies in one matrix with its neighbours");
    o.n_save = 0;
    o.r = 0;
    refused(base, o, "lora_r is 0");
    model_close(base);
    device_close(dev);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_base_is_the_policy_with_its_adapter_off),
    cmocka_unit_test(merged_weights_give_the_same),
    cmocka_unit_test(only_the_adapter_is_trained),
    cmocka_unit_test(a_value_model_has_its_own_head_over_the_same_base),
    cmocka_unit_test(modules_that_are_not_there_are_refused),
};
KIT_MAIN(tests)
