/* A tiny model of every family, all its quirks switched on, against what transformers made of it: logits, loss, gradients,
 * greedy generation over a cache, and a folder written and read again.  tests/vectors/README.md says where the
 * numbers come from.  All in fp32. */
#include <math.h>
#include <sys/stat.h>

#include "model/family_folder.h"

enum { SEQUENCES = 2, GREEDY = 64 };

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
    return open_as(out, dev, folder, trainable, DTYPE_F32);
}

static const char *folder_of(const char *name)
{
    return folder_as(name, name);
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

/* ---- a row does not know its company ------------------------------------------------------------ */

/* Three prompts of different lengths continued together, over a cache; then each in one pass of its own. */
static void check_generation(const char *name, struct device *dev, const char *folder, enum dtype dtype, const struct forest *f)
{
    enum { N = 3, NEW = 20 };
    struct model *m;
    struct completion out[N] = {0};
    struct prompt_ids prompt[N] = {{f->tokens.id, 9, 0}, {f->tokens.id + 9, 61, 1}, {f->tokens.id + 30, 3, 2}};
    struct sampling s;
    struct err err = {0};
    open_as(&m, dev, folder, false, dtype);
    sampling_defaults(&s);
    s.max_new_tokens = NEW;
    s.ignore_eos = true;
    if (model_generate(out, m, prompt, N, 1, &s, N, NULL, NULL, &err))
        fail_msg("%s", err.msg);
    struct workspace *ws = tiny_workspace(m, 61 + NEW, false);
    for (int i = 0; i < N; i++) {
        struct forest one = {0};
        struct head_item item[NEW];
        float logp[NEW];
        int head = forest_add(&one, -1, prompt[i].id, prompt[i].n), tail = forest_add(&one, head, out[i].id, NEW);
        assert_int_equal(forest_items(&one, tail, 0, item), NEW);
        model_forward(ws, m, &one);
        model_logp(ws, logp, NULL, NULL, item, NEW, 1);
        for (int t = 0; t < NEW; t++)
            if (logp[t] != out[i].logp[t])
                fail_msg("%s, %s: prompt %d, token %d: %.9g when generated, %.9g in one pass", name, dtype_name(dtype), i, t,
                         out[i].logp[t], logp[t]);
        forest_release(&one);
    }
    completions_release(out, N);
    workspace_free(ws);
    model_close(m);
}

static void generation_over_a_cache_is_one_pass_bit_for_bit(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct vector v;
        vector_open(&v, names[i]);
        check_generation(names[i], v.dev, v.folder, DTYPE_F32, &v.forest);
        check_generation(names[i], v.dev, v.folder, DTYPE_BF16, &v.forest);
        vector_close(&v);
    }
}

/* Two answers to one prompt: gradients of all their log-probs, the prompt computed once or twice; router: weight of the loss
 * of a mixture of experts. */
static float *answers_gradient(struct vector *v, bool shared, float router, size_t *total)
{
    const int *id = v->forest.tokens.id;
    struct forest f = {0};
    struct head_item item[64];
    float dlogp[64], *all = NULL;
    int n = 0, prompt = shared ? forest_add(&f, -1, id, 40) : -1;
    for (int a = 0; a < 2; a++) {
        int root = shared ? prompt : forest_add(&f, -1, id, 40), answer = forest_add(&f, root, id + 41 + 9 * a, 15);
        n += forest_items(&f, answer, 0, item + n);
    }
    for (int i = 0; i < n; i++)
        dlogp[i] = (float)(i % 7 - 3) / 5;
    trainable_zero(v->train);
    model_forward(v->ws, v->model, &f);
    workspace_router_loss(v->ws, router);
    model_backward(v->ws, v->train, item, dlogp, n, 1, NULL, NULL, 0);
    *total = model_param_count(v->model);
    all = test_malloc(*total * sizeof *all);
    size_t at = 0;
    for (int i = 0; i < v->model->n_params; i++) {
        const struct tensor *g = &v->train->grad[i];
        tensor_read(all + at, g, 0, g->rows);
        at += (size_t)g->rows * (size_t)g->cols;
    }
    forest_release(&f);
    return all;
}

static void a_shared_prompt_has_the_gradient_of_two(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct vector v;
        size_t n;
        double diff = 0, size = 0;
        vector_open(&v, names[i]);
        workspace_free(v.ws);
        v.ws = tiny_workspace(v.model, 110, true);
        float *once = answers_gradient(&v, true, 0, &n), *twice = answers_gradient(&v, false, 0, &n);
        for (size_t k = 0; k < n; k++) {
            diff += pow((double)once[k] - twice[k], 2);
            size += pow(twice[k], 2);
        }
        if (!(size > 0) || !(sqrt(diff) <= 1e-5 * sqrt(size)))
            fail_msg("%s: gradients are %g apart, of %g", v.name, sqrt(diff), sqrt(size));
        test_free(once);
        test_free(twice);
        vector_close(&v);
    }
}

static void gradients_from_kept_inputs_alone_have_the_same_bits(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct vector v;
        size_t n;
        vector_open(&v, names[i]);
        for (int d = 0; d < 2; d++) {
            struct err err = {0};
            enum dtype dtype = d ? DTYPE_BF16 : DTYPE_F32;
            workspace_free(v.ws);
            trainable_free(v.train);
            model_close(v.model);
            open_as(&v.model, v.dev, v.folder, true, dtype);
            v.train = tiny_trainable(v.model);
            v.ws = tiny_workspace(v.model, 110, true);
            float *all = answers_gradient(&v, true, 0.5f, &n);
            workspace_free(v.ws);
            if (workspace_new(&v.ws, v.model, 110, KEEP_INPUTS, &err))
                fail_msg("%s", err.msg);
            float *inputs = answers_gradient(&v, true, 0.5f, &n);
            if (memcmp(all, inputs, n * sizeof *all))
                fail_msg("%s in %s: gradients differ", v.name, dtype_name(dtype));
            test_free(all);
            test_free(inputs);
        }
        assert_true(workspace_bytes(model_config(v.model), DTYPE_BF16, 110, KEEP_INPUTS) <
                    workspace_bytes(model_config(v.model), DTYPE_BF16, 110, KEEP_ALL));
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

/* The safetensors file of `name` with `from` replaced by `to` (of the same length, spaces fill) in its header, and a key of its config set. */
static const char *edited(const char *name, const char *from, const char *to, const char *config, const char *value)
{
    struct err err = {0};
    char *as = str_printf("%s-edited", name);
    const char *out = folder_as(as, name);      // its links are replaced below
    free(as);
    char *path = str_printf("%s/vectors/families/%s/model.safetensors", kit_tests(""), name);
    char *to_path = path_join(out, "model.safetensors"), *to_config = path_join(out, "config.json"), *bytes;
    size_t n, m = strlen(from);
    assert_true(strlen(to) == m);
    if (file_read(&bytes, &n, path, 0, &err))
        fail_msg("%s", err.msg);
    uint64_t header;
    memcpy(&header, bytes, sizeof header);
    for (char *p = bytes + 8; (p = memmem(p, header - (size_t)(p - bytes - 8), from, m)); p += m)
        memcpy(p, to, m);
    unlink(to_path);
    kit_bytes(to_path + strlen(kit_path("")), bytes, n);
    free(path);
    path = str_printf("%s/vectors/families/%s/config.json", kit_tests(""), name);
    json_t *o = json_read_file(path, &err);
    if (config)
        json_object_set_new(o, config, json_loads(value, JSON_DECODE_ANY, NULL));
    unlink(to_config);
    assert_int_equal(json_write_file(to_config, o, &err), 0);
    json_decref(o);
    free(bytes);
    free(path);
    free(to_path);
    free(to_config);
    return out;
}

static void refused(const char *folder, bool scalar, const char *a, const char *b)
{
    struct device *dev = tiny_device(1);
    struct model_options opt = {.dtype = DTYPE_F32, .scalar_head = scalar};
    struct model *m;
    struct err err = {0};
    if (model_open(&m, dev, folder, &opt, &err) == 0)
        fail_msg("%s was opened; expected was ...%s...%s", folder, a, b);
    kit_contains(err.msg, a);
    kit_contains(err.msg, b);
    device_close(dev);
}

static void configs_that_contradict_their_tensors_are_refused_by_key_or_tensor(void **state)
{
    static const struct { const char *name, *key, *value, *a, *b; } cases[] = {
        {"qwen3", "head_dim", "12", "q_proj.weight", "expected shape [48, 24], found [40, 24]"},
        {"gpt2", "n_head", "5", "c_attn.weight", "expected shape [24, 60], found [24, 72]"},
        {"gpt2", "n_positions", "100", "wpe.weight", "expected shape [100, 24], found [192, 24]"},
        {"mixtral", "num_local_experts", "6", "block_sparse_moe.gate.weight", "expected shape [6, 24], found [5, 24]"},
        {"mixtral", "num_local_experts", "4", "block_sparse_moe.gate.weight", "expected shape [4, 24], found [5, 24]"},
        {"mixtral", "num_experts_per_tok", "9", "'num_experts_per_tok' is 9", "expected 1 to 5"},
        {"gemma2", "layer_types", "[\"full_attention\"]", "'layer_types'", "2 names"},
        {"gemma2", "query_pre_attn_scalar", "0", "query_pre_attn_scalar", "number"},
        {"smollm3", "no_rope_layers", "[1]", "'no_rope_layers'", "2 layers"},
        {"phi3", "rope_parameters", "{\"rope_type\": \"longrope\", \"short_factor\": [1]}", "'short_factor'", "list of 8 numbers"},
        {"llama", "rope_parameters", "{\"rope_type\": \"llama3\", \"factor\": 8}", "'low_freq_factor'", "above 0"},
        {"gpt_neox", "rope_parameters", "{\"partial_rotary_factor\": 0.2}", "'rotary_pct' of a head of 16", "3 columns"},
        {"olmo2", "attention_bias", "true", "q_proj.bias", "missing"},
        {"granite", "logits_scaling", "0", "'logits_scaling' is 0", "above 0"},
        {"qwen2", "sliding_window", "null", "'sliding_window'", "no size"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *at = edited(cases[i].name, "F32", "F32", cases[i].key, cases[i].value);
        refused(at, false, cases[i].a, cases[i].b);
    }
}

static void a_bare_body_and_a_named_reward_head_are_understood(void **state)
{
    struct device *dev = tiny_device(1);
    struct model *m;
    struct err err = {0};
    // gpt2 on the Hub has no "transformer." before its names; the shorter name is padded in the JSON around it
    const char *gpt2 = edited("gpt2", "\"transformer.", "            \"", NULL, NULL);
    open_model(&m, dev, gpt2, true);
    assert_non_null(slice_find(m, "transformer.h.0.attn.c_attn.weight"));
    model_close(m);
    // one column of a bias stands in for OpenRLHF's head
    const char *rm = edited("llama", "\"lm_head.weight\"", "\"reward_.weight\"", "value_head_prefix", "\"reward_\"");
    refused(rm, true, "reward_.weight", "expected shape [1, 24], found [260, 24]");
    rm = edited("llama", "\"__metadata__\":{\"format\":\"pt\"},\"lm_head.weight\"",
                "\"__metadata__\":{},          \"value_head.weight\"", NULL, NULL);
    refused(rm, true, "value_head.weight", "expected shape [1, 24], found [260, 24]");
    struct model_options opt = {.dtype = DTYPE_F32};
    rm = edited("llama", "F32", "F32", "value_head_prefix", "\"no such/name\"");
    assert_true(model_open(&m, dev, rm, &opt, &err) < 0);
    kit_contains(err.msg, "value_head_prefix");
    device_close(dev);
}

static void sequences_that_the_reference_computes_otherwise_are_refused(void **state)
{
    static const struct { const char *name; int most; } cases[] = {{"gpt2", 192}, {"phi3", 160}, {"llama-dynamic", 192}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct vector v;
        struct err err = {0};
        vector_open(&v, cases[i].name);
        assert_int_equal(model_check_length(model_config(v.model), cases[i].most, &err), 0);
        assert_true(model_check_length(model_config(v.model), cases[i].most + 1, &err) < 0);
        kit_contains(err.msg, cases[i].most == 160 ? "max_model_len" : "192");
        vector_close(&v);
    }
    struct model_options opt = {.dtype = DTYPE_F32, .max_model_len = 1281};
    struct device *dev = tiny_device(1);
    struct model *m;
    struct err err = {0};
    assert_int_equal(model_open(&m, dev, folder_of("phi3"), &opt, &err), ERR_VALUE);
    kit_contains(err.msg, "1280");
    opt.max_model_len = 1280;
    assert_int_equal(model_open(&m, dev, folder_of("phi3"), &opt, &err), 0);
    assert_int_equal(model_check_length(model_config(m), 1280, &err), 0);
    assert_non_null(strstr(model_fingerprint(m), "-long"));
    model_close(m);
    device_close(dev);
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
    cmocka_unit_test(generation_over_a_cache_is_one_pass_bit_for_bit),
    cmocka_unit_test(a_shared_prompt_has_the_gradient_of_two),
    cmocka_unit_test(gradients_from_kept_inputs_alone_have_the_same_bits),
    cmocka_unit_test(a_folder_written_is_the_same_model),
    cmocka_unit_test(configs_that_contradict_their_tensors_are_refused_by_key_or_tensor),
    cmocka_unit_test(a_bare_body_and_a_named_reward_head_are_understood),
    cmocka_unit_test(sequences_that_the_reference_computes_otherwise_are_refused),
    cmocka_unit_test(every_family_is_listed_and_has_a_vector),
};
KIT_MAIN(tests)
