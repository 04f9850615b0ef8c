/* A tiny model of every family, all its quirks switched on, against what transformers made of it: logits, loss, gradients,
 * greedy generation over a cache, and a folder written and read again.  tests/vectors/README.md says where the
 * numbers come from.  All in fp32. */
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/tiny.h"

enum { SEQUENCES = 2, GREEDY = 64 };

static const char *const names[] = {
    "llama", "llama-linear", "llama-dynamic", "mistral", "mixtral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3", "gpt2",
    "gpt_neox", "gpt_neox-serial", "olmo2", "granite", "smollm3",
};

struct vector {
    const char *name, *folder;
    json_t *facts;                  // case.json
    struct device *dev;
    struct model *model;
    struct forest forest;
    struct workspace *ws;
    struct trainable *train;
};

static int open_model(struct model **out, struct device *dev, const char *folder, bool trainable)
{
    struct model_options opt = {.dtype = DTYPE_F32, .trainable = trainable};
    struct err err = {0};
    int rc = model_open(out, dev, folder, &opt, &err);
    if (rc)
        fail_msg("%s", err.msg);
    return rc;
}

/* The vector's files beside the tokenizer they share. */
static const char *folder_of(const char *name)
{
    const char *folder = kit_path(name), *files[] = {"config.json", "model.safetensors", "../tokenizer.json"};
    mkdir(folder, 0755);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char *from = str_printf("%s/vectors/families/%s/%s", kit_tests(""), name, files[i]);
        char *to = path_join(folder, i == 2 ? "tokenizer.json" : files[i]);
        assert_true(symlink(from, to) == 0 || access(to, R_OK) == 0);
        free(from);
        free(to);
    }
    return folder;
}

static void vector_open(struct vector *v, const char *name)
{
    struct err err = {0};
    char *path = str_printf("%s/vectors/families/%s/case.json", kit_tests(""), name);
    *v = (struct vector){.name = name, .folder = folder_of(name), .facts = json_read_file(path, &err), .dev = tiny_device(1)};
    if (!v->facts)
        fail_msg("%s", err.msg);
    open_model(&v->model, v->dev, v->folder, true);
    v->train = tiny_trainable(v->model);
    json_t *all = json_object_get(v->facts, "sequences");
    for (size_t s = 0; s < SEQUENCES; s++) {
        json_t *ids = json_array_get(all, s);
        int id[128], n = (int)json_array_size(ids);
        for (int j = 0; j < n; j++)
            id[j] = (int)json_integer_value(json_array_get(ids, (size_t)j));
        assert_int_equal(forest_add(&v->forest, -1, id, n), s);
    }
    v->ws = tiny_workspace(v->model, v->forest.tokens.n, true);
    free(path);
}

static void vector_close(struct vector *v)
{
    workspace_free(v->ws);
    trainable_free(v->train);
    forest_release(&v->forest);
    model_close(v->model);
    device_close(v->dev);
    json_decref(v->facts);
}

static double fact(const struct vector *v, const char *key)
{
    return json_number_value(json_object_get(v->facts, key));
}

/* Mean loss of all next tokens; with gradients where wanted. */
static double mean_loss(struct vector *v, const struct model *m, bool backward)
{
    struct head_item item[256];
    float logp[256], dlogp[256];
    int n = 0;
    double sum = 0;
    for (int s = 0; s < SEQUENCES; s++)
        n += forest_items(&v->forest, s, 0, item + n);
    model_forward(v->ws, m, &v->forest);
    model_logp(v->ws, logp, NULL, NULL, item, n, 1);
    for (int i = 0; i < n; i++) {
        sum -= logp[i];
        dlogp[i] = -1.0f / (float)n;
    }
    if (backward) {
        trainable_zero(v->train);
        workspace_router_loss(v->ws, (float)fact(v, "router_weight"));
        model_backward(v->ws, v->train, item, dlogp, n, 1, NULL, NULL, 0);
    }
    return sum / n;
}

/* ---- forward ----------------------------------------------------------------------------- */

static void check_row(struct vector *v, int s, int row, const json_t *want)
{
    struct head_item item[512];
    float logp[512], lse[512];
    int vocab = model_config(v->model)->vocab;
    assert_int_equal(json_array_size(want), vocab);
    for (int i = 0; i < vocab; i++)
        item[i] = (struct head_item){v->forest.seg[s].start + row, i};
    model_logp(v->ws, logp, NULL, lse, item, vocab, 1);
    for (int i = 0; i < vocab; i++) {
        double got = (double)logp[i] + lse[i], expected = json_number_value(json_array_get(want, (size_t)i));
        if (!(fabs(got - expected) <= 1e-4))
            fail_msg("%s, sequence %d, position %d: logit %d is %g, should be %g", v->name, s, row, i, got, expected);
    }
}

static void logits_and_losses_are_those_of_transformers(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct vector v;
        vector_open(&v, names[i]);
        double loss = mean_loss(&v, v.model, false), want = fact(&v, "loss");
        for (int s = 0; s < SEQUENCES; s++) {
            json_t *rows = json_array_get(json_object_get(v.facts, "rows"), (size_t)s);
            json_t *logits = json_array_get(json_object_get(v.facts, "logits"), (size_t)s);
            for (size_t r = 0; r < json_array_size(rows); r++)
                check_row(&v, s, (int)json_integer_value(json_array_get(rows, r)), json_array_get(logits, r));
        }
        if (!(fabs(loss - want) <= 1e-5))
            fail_msg("%s: loss %.7f, should be %.7f", v.name, loss, want);
        vector_close(&v);
    }
}

/* ---- backward ------------------------------------------------------------------------------- */

/* tools/vectors_families.py has the same. */
static double sign(uint64_t pattern, uint64_t i)
{
    uint64_t z = ((pattern << 32) + i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (z ^ z >> 31) & 1 ? 1 : -1;
}

static void check_gradient(struct vector *v, const char *key, const json_t *want)
{
    struct err err = {0};
    const struct tensor_spec *t = slice_find(v->model, key);
    if (!t)
        fail_msg("%s: no parameter is called %s", v->name, key);
    size_t n = (size_t)t->rows * (size_t)t->cols;
    float *g = test_malloc(n * sizeof *g);
    if (trainable_gradient(v->train, key, g, n, &err))
        fail_msg("%s", err.msg);
    double sum[4] = {0}, norm = json_number_value(json_array_get(want, 0));
    for (size_t i = 0; i < n; i++) {
        sum[0] += (double)g[i] * g[i];
        for (uint64_t p = 0; p < 3; p++)
            sum[1 + p] += sign(p, i) * g[i];
    }
    sum[0] = sqrt(sum[0]);
    for (size_t p = 0; p < 4; p++) {
        double expected = json_number_value(json_array_get(want, p));
        if (!(fabs(sum[p] - expected) <= 1e-4 * norm + 1e-7))
            fail_msg("%s: gradient of %s: sum %zu is %g, should be %g (norm %g)", v->name, key, p, sum[p], expected, norm);
    }
    test_free(g);
}

static void every_gradient_is_that_of_pytorch(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct vector v;
        const char *key;
        json_t *want;
        vector_open(&v, names[i]);
        mean_loss(&v, v.model, true);
        int checked = 0;
        json_object_foreach(json_object_get(v.facts, "gradients"), key, want) {
            check_gradient(&v, key, want);
            checked++;
        }
        assert_int_equal(checked, v.model->n_slices);
        double router = fact(&v, "router_loss");
        if (router && !(fabs(model_router_loss(v.ws) - router) <= 1e-5))
            fail_msg("%s: router loss %.7f, should be %.7f", v.name, model_router_loss(v.ws), router);
        vector_close(&v);
    }
}

/* ---- generation -------------------------------------------------------------------------------- */

static void greedy_ids_over_a_cache_are_those_of_transformers(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct vector v;
        struct completion out = {0};
        struct sampling s;
        struct err err = {0};
        vector_open(&v, names[i]);
        sampling_defaults(&s);
        s.temperature = 0;
        s.max_new_tokens = GREEDY;
        s.ignore_eos = true;
        struct prompt_ids prompt = {v.forest.tokens.id, v.forest.seg[0].len, 0};
        if (model_generate(&out, v.model, &prompt, 1, 1, &s, 1, NULL, NULL, &err))
            fail_msg("%s", err.msg);
        assert_int_equal(out.n, GREEDY);
        for (size_t t = 0; t < GREEDY; t++) {
            json_int_t want = json_integer_value(json_array_get(json_object_get(v.facts, "greedy"), t));
            if (out.id[t] != want)
                fail_msg("%s: greedy id %zu is %d, should be %lld", v.name, t, out.id[t], (long long)want);
        }
        completions_release(&out, 1);
        vector_close(&v);
    }
}

/* ---- folders --------------------------------------------------------------------------------------- */

static void a_folder_written_is_the_same_model(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct vector v;
        struct model *plain, *again;
        struct err err = {0};
        vector_open(&v, names[i]);
        double loss = mean_loss(&v, v.model, false);
        // from masters in memory, and from the mapped file
        open_model(&plain, v.dev, v.folder, false);
        const struct model *from[] = {v.model, plain};
        for (size_t k = 0; k < ARRAY_LEN(from); k++) {
            char *to = str_printf("%s-saved-%zu", v.folder, k);
            if (model_save(from[k], to, DTYPE_F32, &err))
                fail_msg("%s", err.msg);
            open_model(&again, v.dev, to, true);
            double got = mean_loss(&v, again, false);
            if (got != loss)
                fail_msg("%s, saved way %zu: loss %.9f, was %.9f", v.name, k, got, loss);
            model_close(again);
            free(to);
        }
        model_close(plain);
        vector_close(&v);
    }
}

static void every_family_is_listed_and_has_a_vector(void **state)
{
    const struct model_family *all;
    int n = model_families(&all);
    for (int f = 0; f < n; f++) {
        bool found = false;
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            char *path = str_printf("%s/vectors/families/%s/config.json", kit_tests(""), names[i]);
            json_t *o = json_read_file(path, NULL);
            const char *type = json_string_value(json_object_get(o, "model_type"));
            found |= type && !strcmp(type, all[f].model_type);
            json_decref(o);
            free(path);
        }
        if (!found)
            fail_msg("no vector of %s", all[f].model_type);
        assert_non_null(all[f].name);
        assert_non_null(all[f].examples);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(logits_and_losses_are_those_of_transformers),
    cmocka_unit_test(every_gradient_is_that_of_pytorch),
    cmocka_unit_test(greedy_ids_over_a_cache_are_those_of_transformers),
    cmocka_unit_test(a_folder_written_is_the_same_model),
    cmocka_unit_test(every_family_is_listed_and_has_a_vector),
};
KIT_MAIN(tests)
