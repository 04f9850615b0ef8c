/* Whole tiny models against what PyTorch and transformers made of them: logits, losses, the gradient of every tensor,
 * every tensor after three AdamW steps, scores of a reward model.  tests/vectors/README.md says where the numbers
 * come from.  All in fp32. */
#include <math.h>

#include "model/tiny.h"

enum { SEQUENCES = 2 };

/* ---- the files --------------------------------------------------------------------- */

/* expect.safetensors: F32 tensors by name. */
struct expect { json_t *header; char *bytes; const char *values; size_t n; };

static void expect_open(struct expect *e, const char *folder)
{
    char *path = path_join(folder, "expect.safetensors");
    struct err err = {0};
    if (file_read(&e->bytes, &e->n, path, 0, &err))
        fail_msg("%s", err.msg);
    uint64_t size;
    memcpy(&size, e->bytes, sizeof size);
    assert_true(e->n > 8 && size <= e->n - 8);
    e->header = json_parse(e->bytes + 8, size, path, &err);
    assert_non_null(e->header);
    e->values = e->bytes + 8 + size;
    free(path);
}

static void expect_close(struct expect *e)
{
    json_decref(e->header);
    free(e->bytes);
}

/* The values of "prefix" "name", count of them. */
static const float *expect_values(const struct expect *e, const char *prefix, const char *name, size_t *count)
{
    char *key = str_printf("%s%s", prefix, name);
    json_t *t = json_object_get(e->header, key), *at = json_object_get(t, "data_offsets");
    if (!t)
        fail_msg("no tensor %s in the vectors", key);
    size_t from = (size_t)json_integer_value(json_array_get(at, 0)), to = (size_t)json_integer_value(json_array_get(at, 1));
    assert_string_equal(json_string_value(json_object_get(t, "dtype")), "F32");
    assert_true(from <= to && to <= (size_t)(e->bytes + e->n - e->values));
    *count = (to - from) / sizeof(float);
    free(key);
    return (const float *)(e->values + from);
}

struct vector {
    char *folder;
    json_t *facts;                  // case.json
    struct expect expect;
    struct device *dev;
    struct model *model;
    struct forest forest;
    struct workspace *ws;
    struct trainable *train;
};

static void vector_open(struct vector *v, const char *name, bool scalar)
{
    char *path = str_printf("vectors/llama/%s", name), *facts;
    struct err err = {0};
    memset(v, 0, sizeof *v);
    v->folder = strdup(kit_tests(path));
    facts = path_join(v->folder, "case.json");
    v->facts = json_read_file(facts, &err);
    v->dev = tiny_device(1);
    struct model_options opt = { .dtype = DTYPE_F32, .trainable = true, .scalar_head = scalar };
    if (!v->facts || model_open(&v->model, v->dev, v->folder, &opt, &err) || trainable_new(&v->train, v->model, OPTIM_ADAMW, &err))
        fail_msg("%s", err.msg);
    expect_open(&v->expect, v->folder);
    json_t *all = json_object_get(v->facts, "sequences");
    assert_int_equal(json_array_size(all), SEQUENCES);
    for (size_t i = 0; i < SEQUENCES; i++) {
        json_t *ids = json_array_get(all, i);
        int id[128], n = (int)json_array_size(ids);
        for (int j = 0; j < n; j++)
            id[j] = (int)json_integer_value(json_array_get(ids, (size_t)j));
        assert_int_equal(forest_add(&v->forest, -1, id, n), i);
    }
    v->ws = tiny_workspace(v->model, v->forest.tokens.n, true);
    free(path);
    free(facts);
}

static void vector_close(struct vector *v)
{
    workspace_free(v->ws);
    trainable_free(v->train);
    forest_release(&v->forest);
    model_close(v->model);
    device_close(v->dev);
    expect_close(&v->expect);
    json_decref(v->facts);
    free(v->folder);
}

static double fact(const struct vector *v, const char *key)
{
    return json_number_value(json_object_get(v->facts, key));
}

/* ---- what we compute ------------------------------------------------------------------ */

/* Mean loss of all next tokens; with gradients where wanted. */
static double mean_loss(struct vector *v, bool backward)
{
    struct head_item item[256];
    float logp[256], dlogp[256];
    int n = 0;
    double sum = 0;

    for (int s = 0; s < SEQUENCES; s++)
        n += forest_items(&v->forest, s, 0, item + n);
    model_forward(v->ws, v->model, &v->forest);
    model_logp(v->ws, logp, NULL, NULL, item, n, 1);
    for (int i = 0; i < n; i++) {
        sum -= logp[i];
        dlogp[i] = -1.0f / (float)n;
    }
    if (backward) {
        trainable_zero(v->train);
        model_backward(v->ws, v->train, item, dlogp, n, 1, NULL, NULL, 0);
    }
    return sum / n;
}

/* Root of the sum of squares of got - want, and of want - from (from NULL: of want). */
static void sizes(double *diff, double *size, const float *got, const float *want, const float *from, size_t n)
{
    *diff = *size = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)got[i] - want[i], w = (double)want[i] - (from ? from[i] : 0);
        *diff += d * d;
        *size += w * w;
    }
    *diff = sqrt(*diff);
    *size = sqrt(*size);
}

static void check_logits(const char *name)
{
    struct vector v;
    vector_open(&v, name, false);
    int vocab = model_config(v.model)->vocab;
    model_forward(v.ws, v.model, &v.forest);
    for (int s = 0; s < SEQUENCES; s++) {
        char *key = str_printf("%d", s);
        size_t n;
        const float *want = expect_values(&v.expect, "logits.", key, &n);
        assert_int_equal(n, (size_t)v.forest.seg[s].len * (size_t)vocab);
        for (int t = 0; t < v.forest.seg[s].len; t++) {
            struct head_item item[512];
            float logp[512], lse[512];
            for (int i = 0; i < vocab; i++)
                item[i] = (struct head_item){ v.forest.seg[s].start + t, i };
            model_logp(v.ws, logp, NULL, lse, item, vocab, 1);
            for (int i = 0; i < vocab; i++)
                if (!(fabs((double)logp[i] + lse[i] - want[t * vocab + i]) <= 1e-4))
                    fail_msg("%s, sequence %d, position %d: logit %d is %g, should be %g", name, s, t, i,
                             (double)logp[i] + lse[i], want[t * vocab + i]);
        }
        free(key);
    }
    double loss = mean_loss(&v, false);
    if (!(fabs(loss - fact(&v, "loss")) <= 1e-5))
        fail_msg("%s: loss %.8f, should be %.8f", name, loss, fact(&v, "loss"));
    vector_close(&v);
}

/* Every tensor named prefix... in the vectors against our gradient of it. */
static void check_gradients(struct vector *v)
{
    const char *key;
    json_t *unused;
    int checked = 0;
    json_object_foreach(v->expect.header, key, unused) {
        if (!str_starts(key, "grad."))
            continue;
        struct err err = {0};
        size_t n;
        const float *want = expect_values(&v->expect, "", key, &n);
        float *got = test_malloc(n * sizeof *got);
        if (trainable_gradient(v->train, key + 5, got, n, &err))
            fail_msg("%s", err.msg);
        double diff, size;
        sizes(&diff, &size, got, want, NULL, n);
        if (!(diff <= 1e-4 * size))
            fail_msg("%s: gradient is off by %g of %g", key + 5, diff, size);
        test_free(got);
        checked++;
    }
    assert_true(checked > 8);
}

static void adamw_steps(struct vector *v)
{
    json_t *o = json_object_get(v->facts, "adamw"), *losses = json_object_get(v->facts, "losses");
    struct adamw h = { .lr = (float)json_number_value(json_object_get(o, "lr")),
                       .beta1 = (float)json_number_value(json_object_get(o, "beta1")),
                       .beta2 = (float)json_number_value(json_object_get(o, "beta2")),
                       .eps = (float)json_number_value(json_object_get(o, "eps")),
                       .weight_decay = (float)json_number_value(json_object_get(o, "weight_decay")) };
    int steps = (int)json_integer_value(json_object_get(o, "steps"));
    assert_int_equal(json_array_size(losses), steps);
    for (h.step = 1; h.step <= steps; h.step++) {
        double loss = mean_loss(v, true), want = json_number_value(json_array_get(losses, (size_t)h.step - 1));
        if (!(fabs(loss - want) <= 1e-4))
            fail_msg("loss of step %d is %.7f, should be %.7f", (int)h.step, loss, want);
        double norm = trainable_grad_norm(v->train), most = fact(v, "max_grad_norm");
        h.scale = norm > most ? (float)(most / (norm + 1e-6)) : 1;      // as clip_grad_norm_
        trainable_step(v->train, &h);
    }
}

/* The tensors after the steps, relative to how far they moved. */
static void check_adamw(const char *name)
{
    struct vector v;
    struct weights *before, *after;
    struct err err = {0};
    const char *saved = kit_path(name);
    vector_open(&v, name, false);
    adamw_steps(&v);
    if (model_save(v.model, saved, DTYPE_F32, &err) || weights_open(&before, v.folder, &err) ||
        weights_open(&after, saved, &err))
        fail_msg("%s", err.msg);
    assert_true(weights_count(after) > 8);
    for (int i = 0; i < weights_count(after); i++) {
        struct weight_info t = weights_info(after, i);
        size_t n;
        const float *want = expect_values(&v.expect, "adamw.", t.name, &n);
        int rows = t.dims == 1 ? 0 : (int)t.rows;
        float *was = test_malloc(n * sizeof *was), *got = test_malloc(n * sizeof *got);
        assert_int_equal(n, t.rows * t.cols);
        if (weights_read(before, t.name, was, rows, (int)t.cols, &err) ||
            weights_read(after, t.name, got, rows, (int)t.cols, &err))
            fail_msg("%s", err.msg);
        double diff, moved;
        sizes(&diff, &moved, got, want, was, n);
        // A component whose gradient is near eps moves by how far it is above rounding, so a little more than 1e-4.
        if (!(diff <= 3e-4 * moved))
            fail_msg("%s: after the steps off by %g of %g", t.name, diff, moved);
        test_free(was);
        test_free(got);
    }
    weights_close(before);
    weights_close(after);
    vector_close(&v);
}

/* ---- tests -------------------------------------------------------------------------- */

static void logits_and_loss_are_those_of_transformers(void **state)
{
    check_logits("untied");
    check_logits("tied");
}

static void every_gradient_is_that_of_pytorch(void **state)
{
    static const char *const name[] = { "untied", "tied" };
    for (int i = 0; i < 2; i++) {
        struct vector v;
        vector_open(&v, name[i], false);
        mean_loss(&v, true);
        check_gradients(&v);
        assert_true(fabs(trainable_grad_norm(v.train) / fact(&v, "grad_norm") - 1) < 1e-5);
        vector_close(&v);
    }
}

static void three_steps_end_where_pytorchs_adamw_does(void **state)
{
    check_adamw("untied");
    check_adamw("tied");
}

static void a_reward_model_scores_and_learns_as_in_transformers(void **state)
{
    struct vector v;
    int row[SEQUENCES];
    float score[SEQUENCES], weight[SEQUENCES];
    vector_open(&v, "reward", true);
    assert_false(model_head_is_fresh(v.model));
    for (int s = 0; s < SEQUENCES; s++) {
        row[s] = v.forest.seg[s].start + v.forest.seg[s].len - 1;
        weight[s] = (float)json_number_value(json_array_get(json_object_get(v.facts, "weights"), (size_t)s));
    }
    model_forward(v.ws, v.model, &v.forest);
    model_score(v.ws, score, row, SEQUENCES);
    for (int s = 0; s < SEQUENCES; s++) {
        double want = json_number_value(json_array_get(json_object_get(v.facts, "scores"), (size_t)s));
        if (!(fabs(score[s] - want) <= 1e-4))
            fail_msg("score %d is %g, should be %g", s, score[s], want);
    }
    trainable_zero(v.train);
    model_backward(v.ws, v.train, NULL, NULL, 0, 1, row, weight, SEQUENCES);
    check_gradients(&v);
    vector_close(&v);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(logits_and_loss_are_those_of_transformers),
    cmocka_unit_test(every_gradient_is_that_of_pytorch),
    cmocka_unit_test(three_steps_end_where_pytorchs_adamw_does),
    cmocka_unit_test(a_reward_model_scores_and_learns_as_in_transformers),
};
KIT_MAIN(tests)
