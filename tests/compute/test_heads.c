/* The vocabulary and scalar heads: against their definitions, finite differences, and row invariance. */
#include "compute/tensors.h"

/* Vocabularies below one block of columns, with a ragged end, of several chunks; rows without an item, rows
 * with several. */
static const struct { int V, C, T, items; } cases[] = {
    { 2, 3, 4, 5 }, { 50, 16, 9, 20 }, { 64, 64, 70, 64 }, { 1000, 33, 150, 200 }, { 1500, 128, 65, 66 }, { 2051, 48, 20, 11 },
};

/* As it is; Granite's divisor; Gemma 2's cap, low enough to bend; both. */
static const struct logit_form forms[] = { { 1, 0 }, { 0.125f, 0 }, { 1, 4 }, { 1.5f, 3 } };

struct scene {
    struct device *dev;
    struct tensor hidden, values;
    struct weight *w;
    struct head_item *item;
    float *dlogp;
    int n;
};

static void scene_init(struct scene *s, struct device *dev, int c, enum dtype dtype, int form)
{
    struct rng r;
    rng_init(&r, 3, RNG_TEST, (uint64_t)c, 1);
    s->dev = dev;
    s->n = cases[c].items;
    s->hidden = randoms(dev, dtype, cases[c].T, cases[c].C, 1, 1);
    s->values = randoms(dev, dtype, cases[c].V, cases[c].C, 2.0f / sqrtf((float)cases[c].C), 2);
    s->w = weight_new(dev, cases[c].V, cases[c].C, dtype);
    weight_load(s->w, &s->values);
    if (form)
        weight_set_logits(s->w, forms[form].scale, forms[form].softcap);
    s->item = mem_alloc((size_t)s->n, sizeof *s->item);
    s->dlogp = mem_alloc((size_t)s->n, sizeof *s->dlogp);
    for (int i = 0; i < s->n; i++) {
        s->item[i].row = (int)((int64_t)i * cases[c].T / s->n);
        s->item[i].target = i % 3 == 2 ? s->item[i - 1].target : (int)rng_below(&r, (uint32_t)cases[c].V);
        s->dlogp[i] = (float)rng_normal(&r);
    }
}

enum { CASES = ARRAY_LEN(cases) * ARRAY_LEN(forms) };

static void scene_release(struct scene *s)
{
    weight_free(s->w);
    free(s->item);
    free(s->dlogp);
    RELEASE(&s->hidden, &s->values);
}

static void near(const float *got, const float *want, int n, double tolerance, const char *what)
{
    for (int i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= tolerance))
            fail_msg("%s %d of %d: %g, should be %g", what, i, n, got[i], want[i]);
}

/* Logits are fp32 sums of a few dozen products of order one, and log-probs of order ten. */
static void log_probs_agree_with_the_definition(void **state)
{
    struct device *dev = device(2);
    for (int i = 0; i < CASES; i++)
        for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
            int c = i % (int)ARRAY_LEN(cases), form = i / (int)ARRAY_LEN(cases);
            if (form && c > 3)      // the larger ones are about the cutting, which has been seen
                continue;
            struct scene s;
            float got[3][200], want[3][200];
            int best[200], best_want[200];
            scene_init(&s, dev, c, dtype, form);
            op_head_logp(got[0], got[1], got[2], best, &s.hidden, s.w, s.item, s.n, 1 / 0.7f);
            define_head_logp(want[0], want[1], want[2], best_want, &s.hidden, &s.values, &s.w->logits, s.item, s.n, 1 / 0.7f);
            near(got[0], want[0], s.n, 2e-5, "log-prob");
            near(got[1], want[1], s.n, 2e-5, "entropy");
            near(got[2], want[2], s.n, 2e-5, "log-sum-exp");
            assert_memory_equal(best, best_want, (size_t)s.n * sizeof *best);
            float alone[200];
            op_head_logp(alone, NULL, NULL, NULL, &s.hidden, s.w, s.item, s.n, 1 / 0.7f);
            assert_memory_equal(alone, got[0], (size_t)s.n * sizeof *alone);
            scene_release(&s);
        }
    device_close(dev);
}

static void log_probs_do_not_know_their_company(void **state)
{
    struct device *dev[2] = { device(1), device(2) };
    for (int i = 0; i < CASES; i++)
        for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
            int c = i % (int)ARRAY_LEN(cases), form = i / (int)ARRAY_LEN(cases);
            if (form && c > 3)      // the larger ones are about the cutting, which has been seen
                continue;
            struct scene s[2];
            float all[2][200], one;
            for (int d = 0; d < 2; d++) {
                scene_init(&s[d], dev[d], c, dtype, form);
                op_head_logp(all[d], NULL, NULL, NULL, &s[d].hidden, s[d].w, s[d].item, s[d].n, 1);
                for (int j = 0; j < s[d].n; j += 7) {
                    op_head_logp(&one, NULL, NULL, NULL, &s[d].hidden, s[d].w, &s[d].item[j], 1, 1);
                    assert_memory_equal(&one, &all[d][j], sizeof one);
                }
            }
            assert_memory_equal(all[0], all[1], (size_t)s[0].n * sizeof(float));
            scene_release(&s[0]);
            scene_release(&s[1]);
        }
    device_close(dev[0]);
    device_close(dev[1]);
}

/* Sampling computes logits first and asks for the log-prob of what it drew. */
static void logits_then_log_probs_are_the_same_bits(void **state)
{
    struct device *dev = device(2);
    for (int i = 0; i < CASES; i++)
        for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
            int c = i % (int)ARRAY_LEN(cases), form = i / (int)ARRAY_LEN(cases);
            if (form && c > 3)      // the larger ones are about the cutting, which has been seen
                continue;
            struct scene s;
            float direct[2][200], later[2][200];
            int row[200], target[200];
            scene_init(&s, dev, c, dtype, form);
            float *logits = mem_alloc((size_t)s.n * (size_t)cases[c].V, sizeof *logits);
            for (int j = 0; j < s.n; j++) {
                row[j] = s.item[j].row;
                target[j] = s.item[j].target;
            }
            op_head_logits(logits, &s.hidden, s.w, row, s.n);
            if (i < 2 * (int)ARRAY_LEN(cases) || dtype == DTYPE_F32) {
                float *want = mem_alloc((size_t)cases[c].V, sizeof *want);
                define_head_logits(want, &s.hidden, &s.values, &s.w->logits, row + s.n / 2, 1);
                near(logits + (size_t)(s.n / 2) * (size_t)cases[c].V, want, cases[c].V, 2e-5, "logit");
                free(want);
            }
            op_logits_logp(later[0], later[1], logits, s.w, target, s.n, 1 / 0.7f);
            op_head_logp(direct[0], direct[1], NULL, NULL, &s.hidden, s.w, s.item, s.n, 1 / 0.7f);
            assert_memory_equal(direct, later, sizeof(float) * (size_t)s.n);
            assert_memory_equal(direct[1], later[1], sizeof(float) * (size_t)s.n);
            free(logits);
            scene_release(&s);
        }
    device_close(dev);
}

/* bf16: dlogits are rounded to bf16 before the two products (2^-9 each, partly cancelling in sums), once more where a
 * soft cap's slope is multiplied in. */
static void head_backward_agrees_with_the_definition(void **state)
{
    struct device *dev = device(2);
    for (int i = 0; i < CASES; i++)
        for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
            int c = i % (int)ARRAY_LEN(cases), form = i / (int)ARRAY_LEN(cases);
            if (form && c > 3)      // the larger ones are about the cutting, which has been seen
                continue;
            struct scene s;
            scene_init(&s, dev, c, dtype, form);
            struct tensor dh = randoms(dev, DTYPE_F32, cases[c].T, cases[c].C, 1, 5), dh_want = clone(&dh);
            struct tensor dw = randoms(dev, DTYPE_F32, cases[c].V, cases[c].C, 1, 6), dw_want = clone(&dw);
            op_head_backward(&dh, &dw, &s.hidden, s.w, s.item, s.dlogp, s.n, 1 / 0.7f);
            define_head_backward(&dh_want, &dw_want, &s.hidden, &s.values, &s.w->logits, s.item, s.dlogp, s.n, 1 / 0.7f);
            double allowed = dtype == DTYPE_F32 ? 1e-5 : forms[form].softcap > 0 ? 12e-3 : 8e-3;
            close_to(&dh, &dh_want, allowed, "dhidden");
            close_to(&dw, &dw_want, allowed, "dw");
            struct tensor dh_only = randoms(dev, DTYPE_F32, cases[c].T, cases[c].C, 1, 5);
            op_head_backward(&dh_only, NULL, &s.hidden, s.w, s.item, s.dlogp, s.n, 1 / 0.7f);
            same_bits(&dh_only, &dh, "dhidden without dw");
            RELEASE(&dh, &dh_want, &dw, &dw_want, &dh_only);
            scene_release(&s);
        }
    device_close(dev);
}

/* A loss whose slope is known beforehand asks for both at once. */
static void learning_has_the_bits_of_log_probs_and_of_backward(void **state)
{
    struct device *dev = device(2);
    for (int i = 0; i < CASES; i++)
        for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
            int c = i % (int)ARRAY_LEN(cases), form = i / (int)ARRAY_LEN(cases), best[2][200];
            if (form && c > 3)
                continue;
            struct scene s;
            float logp[2][200], entropy[2][200];
            scene_init(&s, dev, c, dtype, form);
            struct tensor dh[2], dw[2];
            for (int both = 0; both < 2; both++) {
                dh[both] = randoms(dev, DTYPE_F32, cases[c].T, cases[c].C, 1, 5);
                dw[both] = randoms(dev, DTYPE_F32, cases[c].V, cases[c].C, 1, 6);
            }
            op_head_logp(logp[0], entropy[0], NULL, best[0], &s.hidden, s.w, s.item, s.n, 1 / 0.7f);
            op_head_backward(&dh[0], &dw[0], &s.hidden, s.w, s.item, s.dlogp, s.n, 1 / 0.7f);
            op_head_learn(logp[1], entropy[1], best[1], &dh[1], &dw[1], &s.hidden, s.w, s.item, s.dlogp, s.n, 1 / 0.7f);
            assert_memory_equal(logp[0], logp[1], (size_t)s.n * sizeof(float));
            assert_memory_equal(entropy[0], entropy[1], (size_t)s.n * sizeof(float));
            assert_memory_equal(best[0], best[1], (size_t)s.n * sizeof(int));
            same_bits(&dh[0], &dh[1], "dhidden");
            same_bits(&dw[0], &dw[1], "dw");
            RELEASE(&dh[0], &dh[1], &dw[0], &dw[1]);
            scene_release(&s);
        }
    device_close(dev);
}

static void head_gradients_do_not_know_the_threads(void **state)
{
    uint64_t hash[3];
    for (int threads = 1; threads <= 3; threads++) {
        struct device *dev = device(threads);
        struct scene s;
        scene_init(&s, dev, 3, DTYPE_BF16, 3);
        struct tensor dh = zeros(dev, DTYPE_F32, cases[3].T, cases[3].C), dw = zeros(dev, DTYPE_F32, cases[3].V, cases[3].C);
        op_head_backward(&dh, &dw, &s.hidden, s.w, s.item, s.dlogp, s.n, 1);
        hash[threads - 1] = tensor_hash(&dh) ^ tensor_hash(&dw) * 3;
        RELEASE(&dh, &dw);
        scene_release(&s);
        device_close(dev);
    }
    assert_true(hash[0] == hash[1] && hash[0] == hash[2]);
}

/* f(hidden, w) = sum dlogp * logp by its definition, in fp32 steps of 1/64: differences err by the third derivative. */
static double loss(const struct scene *s, float by)
{
    float logp[200];
    double sum = 0;
    define_head_logp(logp, NULL, NULL, NULL, &s->hidden, &s->values, &s->w->logits, s->item, s->n, by);
    for (int i = 0; i < s->n; i++)
        sum += (double)logp[i] * s->dlogp[i];
    return sum;
}

static void check_difference(const struct scene *s, struct tensor *x, const struct tensor *dx, int row, int col, float by)
{
    float keep = t_get(x, row, col), h = 1.0f / 64;
    t_set(x, row, col, keep + h);
    double up = loss(s, by);
    t_set(x, row, col, keep - h);
    double slope = (up - loss(s, by)) / (2 * h);
    t_set(x, row, col, keep);
    if (fabs(slope - t_get(dx, row, col)) > 2e-3 * (1 + fabs(slope)))
        fail_msg("slope at %d,%d is %g, backward says %g", row, col, slope, t_get(dx, row, col));
}

/* A backward copy of more than 16 MB is made slab by slab; asked for beforehand, it is there whole.  Odd sizes on both sides. */
static void a_large_head_has_the_bits_of_its_whole_copy(void **state)
{
    enum { V = 15011, C = 600, T = 70 };
    struct device *dev = device(2);
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
        struct tensor hidden = randoms(dev, dtype, T, C, 1, 1), values = randoms(dev, DTYPE_F32, V, C, 0.1f, 2), dh[2];
        struct weight *w = weight_new(dev, V, C, dtype);
        struct head_item item[T];
        float dlogp[T];
        weight_load(w, &values);
        tensor_release(&values);
        for (int i = 0; i < T; i++) {
            item[i] = (struct head_item){ .row = i, .target = i * 200 };
            dlogp[i] = (float)(i % 7 - 3);
        }
        size_t bytes = dev->weight_size(w);
        for (int whole = 0; whole < 2; whole++) {
            if (whole)
                weight_prepare_backward(w);
            dh[whole] = zeros(dev, DTYPE_F32, T, C);
            op_head_backward(&dh[whole], NULL, &hidden, w, item, dlogp, T, 1);
            assert_true(whole ? dev->weight_size(w) > bytes : dev->weight_size(w) == bytes);
        }
        same_bits(&dh[0], &dh[1], "dhidden of slabs");
        weight_free(w);
        RELEASE(&hidden, &dh[0], &dh[1]);
    }
    device_close(dev);
}

static void head_backward_is_the_slope_of_log_probs(void **state)
{
    struct device *dev = device(2);
    for (int form = 0; form < (int)ARRAY_LEN(forms); form++) {
        struct scene s;
        scene_init(&s, dev, 1, DTYPE_F32, form);
        struct tensor dh = zeros(dev, DTYPE_F32, cases[1].T, cases[1].C), dw = zeros(dev, DTYPE_F32, cases[1].V, cases[1].C);
        op_head_backward(&dh, &dw, &s.hidden, s.w, s.item, s.dlogp, s.n, 0.8f);
        for (int i = 0; i < 40; i++) {
            check_difference(&s, &s.hidden, &dh, i % cases[1].T, i % cases[1].C, 0.8f);
            check_difference(&s, &s.values, &dw, i % cases[1].V, (i * 7) % cases[1].C, 0.8f);
        }
        RELEASE(&dh, &dw);
        scene_release(&s);
    }
    device_close(dev);
}

static void uniform_logits_have_entropy_log_v(void **state)
{
    struct device *dev = device(1);
    struct tensor hidden = zeros(dev, DTYPE_F32, 1, 8), values = randoms(dev, DTYPE_F32, 1500, 8, 1, 1);
    struct weight *w = weight_new(dev, 1500, 8, DTYPE_F32);
    struct head_item item = { 0, 7 };
    float logp, entropy;
    int best;
    weight_load(w, &values);
    op_head_logp(&logp, &entropy, NULL, &best, &hidden, w, &item, 1, 1);
    assert_true(fabs(logp + log(1500)) < 1e-6 && fabs(entropy - log(1500)) < 1e-6);
    assert_int_equal(best, 0);
    weight_free(w);
    RELEASE(&hidden, &values);
    device_close(dev);
}

static void scalar_heads_agree_with_the_definition(void **state)
{
    static const int rows[] = { 0, 3, 3, 8 };
    static const float dout[] = { 1, -2, 0.5f, 3 };
    struct device *dev = device(2);
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
        struct tensor hidden = randoms(dev, dtype, 9, 133, 1, 1), w = randoms(dev, DTYPE_F32, 1, 133, 1, 2);
        struct tensor dh = randoms(dev, DTYPE_F32, 9, 133, 1, 3), dh_want = clone(&dh);
        struct tensor dw = randoms(dev, DTYPE_F32, 1, 133, 1, 4), dw_want = clone(&dw);
        float got[4], want[4];
        op_scalar_head(got, &hidden, &w, rows, 4);
        define_scalar_head(want, &hidden, &w, rows, 4);
        near(got, want, 4, 2e-5, "score");
        op_scalar_head_backward(&dh, &dw, &hidden, &w, rows, dout, 4);
        define_scalar_head_backward(&dh_want, &dw_want, &hidden, &w, rows, dout, 4);
        close_to(&dh, &dh_want, 1e-6, "dhidden");
        close_to(&dw, &dw_want, 1e-6, "dw");
        RELEASE(&hidden, &w, &dh, &dh_want, &dw, &dw_want);
    }
    device_close(dev);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(log_probs_agree_with_the_definition),
    cmocka_unit_test(log_probs_do_not_know_their_company),
    cmocka_unit_test(logits_then_log_probs_are_the_same_bits),
    cmocka_unit_test(head_backward_agrees_with_the_definition),
    cmocka_unit_test(learning_has_the_bits_of_log_probs_and_of_backward),
    cmocka_unit_test(head_gradients_do_not_know_the_threads),
    cmocka_unit_test(a_large_head_has_the_bits_of_its_whole_copy),
    cmocka_unit_test(head_backward_is_the_slope_of_log_probs),
    cmocka_unit_test(uniform_logits_have_entropy_log_v),
    cmocka_unit_test(scalar_heads_agree_with_the_definition),
};

KIT_MAIN(tests)
