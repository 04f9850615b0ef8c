/* test_format_write.c - what is written: quantised blocks, GGUF files of every family, folders
 * of another dtype. */
#include <math.h>

#include "model/checkpoint.h"
#include "model/format/gguf_out.h"

/* ---- blocks --------------------------------------------------------------------- */

enum { VALUES = 512 };

struct sample {
    float x[VALUES];
    const unsigned char *theirs;
    size_t bytes;
};

static void load(struct sample *s, enum store_type t)
{
    char name[64];
    size_t n;
    snprintf(name, sizeof name, "vectors/gguf/quantised/%s", store_name(t));
    const char *p = kit_slurp(kit_tests(name), &n);
    assert_non_null(p);
    s->bytes = VALUES / store_block(t) * store_block_bytes(t);
    assert_int_equal(n, sizeof s->x + s->bytes);
    memcpy(s->x, p, sizeof s->x);
    s->theirs = (const unsigned char *)p + sizeof s->x;
}

static double error_of(const struct sample *s, const unsigned char *blocks, enum store_type t)
{
    float v[VALUES];
    double sum = 0;
    store_to_float(v, blocks, VALUES, t);
    for (int i = 0; i < VALUES; i++)
        sum += ((double)v[i] - s->x[i]) * ((double)v[i] - s->x[i]);
    return sqrt(sum / VALUES);
}

static void blocks_of_32_equal_those_of_the_gguf_package(void **state)
{
    static const enum store_type types[] = {STORE_Q8_0, STORE_Q4_0, STORE_Q4_1, STORE_Q5_0};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct sample s;
        unsigned char ours[VALUES * 2];
        load(&s, types[i]);
        float_to_store(ours, s.x, VALUES, types[i]);
        assert_memory_equal(ours, s.theirs, s.bytes);
    }
}

static void blocks_of_256_err_no_more_than_those_of_llama_cpp(void **state)
{
    static const enum store_type types[] = {STORE_Q4_K, STORE_Q5_K, STORE_Q6_K};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct sample s;
        unsigned char ours[VALUES * 2];
        load(&s, types[i]);
        float_to_store(ours, s.x, VALUES, types[i]);
        double a = error_of(&s, ours, types[i]), b = error_of(&s, s.theirs, types[i]);
        if (!(a < 1.01 * b) || a < b / 4)
            fail_msg("%s: root mean square error %g, llama.cpp's %g", store_name(types[i]), a,
                     b);
    }
}

static void every_instruction_set_writes_the_same_bytes(void **state)
{
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        skip();
    struct rng r;
    rng_init(&r, 7, RNG_TEST, 0, 0);
    for (int round = 0; round < 40; round++) {
        float x[VALUES];
        double scale = pow(10, (double)rng_below(&r, 12) - 8), shift = rng_below(&r, 3) - 1.0;
        for (int i = 0; i < VALUES; i++)
            x[i] = rng_below(&r, 9) ? (float)(scale * (rng_normal(&r) + shift)) : 0;
        for (enum store_type t = STORE_F32; t < STORE_TYPES; t++) {
            unsigned char a[VALUES * 4], b[VALUES * 4];
            if (!store_is_written(t))
                continue;
            float_to_store_plain(a, x, VALUES, t);
            float_to_store_avx2(b, x, VALUES, t);
            assert_memory_equal(a, b, VALUES / store_block(t) * store_block_bytes(t));
        }
    }
}

static void constants_and_tiny_values_are_kept(void **state)
{
    static const float values[] = {0, 1, -1, 1e-40f, -3e-39f, 1e-20f, 60000, -60000};
    for (enum store_type t = STORE_F32; t < STORE_TYPES; t++)
        for (size_t k = 0; store_is_written(t) && k < ARRAY_LEN(values); k++) {
            float x[VALUES], v[VALUES];
            unsigned char b[VALUES * 4];
            for (int i = 0; i < VALUES; i++)
                x[i] = values[k];
            float_to_store(b, x, VALUES, t);
            store_to_float(v, b, VALUES, t);
            for (int i = 0; i < VALUES; i++)
                if (!(fabsf(v[i] - x[i]) <= fabsf(x[i]) / 100 + 1e-7f))
                    fail_msg("%s makes %g of %g", store_name(t), (double)v[i], (double)x[i]);
        }
}

/* ---- the mix of types ------------------------------------------------------------- */

static void q4_k_m_gives_more_bits_where_llama_quantize_does(void **state)
{
    struct model_config c;
    config_defaults(&c);
    c.layers = 16;
    const struct gguf_kind *k = gguf_kind_find("q4_k_m"), *q4 = gguf_kind_find("Q4_0");
    struct tensor_spec v = {.part = PART_V, .cols = 4096},
                       down = {.part = PART_DOWN, .cols = 4096},
                       head = {.part = PART_HEAD, .cols = 4096, .layer = -1},
                       embed = {.part = PART_EMBED, .cols = 4096, .layer = -1},
                       norm = {.part = PART_NORM1, .cols = 4096, .vector = true},
                       narrow = {.part = PART_UP, .cols = 576, .layer = 9},
                       odd = {.part = PART_UP, .cols = 100, .layer = 9};
    for (int l = 0; l < 16; l++) {
        bool more = l < 2 || l >= 14 || l == 4 || l == 7 || l == 10 || l == 13;
        v.layer = down.layer = l;
        assert_int_equal(gguf_tensor_type(k, &v, &c), more ? STORE_Q6_K : STORE_Q4_K);
        assert_int_equal(gguf_tensor_type(k, &down, &c), more ? STORE_Q6_K : STORE_Q4_K);
        assert_int_equal(gguf_tensor_type(q4, &v, &c), STORE_Q4_0);
    }
    assert_int_equal(gguf_tensor_type(k, &head, &c), STORE_Q6_K);
    assert_int_equal(gguf_tensor_type(q4, &head, &c), STORE_Q6_K);
    assert_int_equal(gguf_tensor_type(k, &embed, &c), STORE_Q4_K);
    assert_int_equal(gguf_tensor_type(k, &norm, &c), STORE_F32);
    assert_int_equal(gguf_tensor_type(k, &narrow, &c), STORE_Q5_0);
    assert_int_equal(gguf_tensor_type(k, &odd, &c), STORE_F16);
    c.tied = true;
    assert_int_equal(gguf_tensor_type(k, &embed, &c), STORE_Q6_K);
    embed.cols = 576;
    assert_int_equal(gguf_tensor_type(k, &embed, &c), STORE_Q8_0);
}

/* ---- families --------------------------------------------------------------------- */

/* A family's vectors with its tokenizer beside it. */
static const char *family(const char *name)
{
    static const char *const files[] = {"config.json", "model.safetensors"};
    char from[128], to[128];
    const char *dir = kit_path(name);
    mkdir(dir, 0755);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        snprintf(from, sizeof from, "vectors/families/%s/%s", name, files[i]);
        snprintf(to, sizeof to, "%s/%s", name, files[i]);
        assert_int_equal(file_copy(kit_path(to), kit_tests(from), NULL), 0);
    }
    snprintf(to, sizeof to, "%s/tokenizer.json", name);
    assert_int_equal(
        file_copy(kit_path(to), kit_tests("vectors/families/tokenizer.json"), NULL), 0);
    return dir;
}

static void edit(const char *dir, const char *key, json_t *value)
{
    char *path = path_join(dir, "config.json");
    json_t *o = json_read_file(path, NULL);
    json_object_set_new(o, key, value);
    assert_int_equal(json_write_file(path, o, NULL), 0);
    json_decref(o);
    free(path);
}

static struct weights *open_good(const char *path)
{
    struct weights *w = NULL;
    struct err err = {0};
    if (weights_open(&w, path, &err))
        fail_msg("%s", err.msg);
    return w;
}

/* Every tensor of a is in b with the same bits (Gemma's gains pass through 1 + gain). */
static void same_values(const char *a, const char *b)
{
    struct weights *x = open_good(a), *y = open_good(b);
    for (int i = 0; i < weights_count(x); i++) {
        struct weight_info f = weights_info(x, i);
        size_t n = f.rows * f.cols;
        float *u = malloc(n * sizeof *u), *v = malloc(n * sizeof *v);
        int rows = f.dims == 2 ? (int)f.rows : 0;
        struct err err = {0};
        if (weights_read(x, f.name, u, rows, (int)f.cols, &err) ||
            weights_read(y, f.name, v, rows, (int)f.cols, &err))
            fail_msg("%s", err.msg);
        for (size_t k = 0; k < n; k++)
            if (fabsf(u[k] - v[k]) > (str_starts(x->config.model_type, "gemma") ? 2e-7f : 0))
                fail_msg("%s value %zu: %g, expected %g", f.name, k, (double)v[k],
                         (double)u[k]);
        free(u);
        free(v);
    }
    weights_close(x);
    weights_close(y);
}

static void every_family_comes_back_from_a_gguf(void **state)
{
    static const char *const names[] = {"llama", "mistral", "mixtral", "gemma",          "phi3",
                                        "olmo2", "granite", "smollm3", "gpt_neox"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *dir = family(names[i]), *file = kit_path("family.gguf"),
                   *back = kit_path("family-back");
        struct err err = {0};
        if (!strcmp(names[i], "smollm3")) { // llama.cpp knows the usual order of layers only
            edit(dir, "no_rope_layers", json_null());
            edit(dir, "no_rope_layer_interval", json_integer(4));
            edit(dir, "layer_types", json_null());
            edit(dir, "use_sliding_window", json_false());
        }
        if (model_export(dir, file, &(struct model_export){.gguf = "F32"}, &err) ||
            model_export(file, back, &(struct model_export){.dtype = "float32"}, &err))
            fail_msg("%s: %s", names[i], err.msg);
        same_values(dir, file);
        same_values(dir, back);
        struct weights *x = open_good(dir), *y = open_good(file);
        json_t *p = config_to_json(weights_config(x), DTYPE_F32),
               *q = config_to_json(weights_config(y), DTYPE_F32);
        json_object_del(
            p, "router_aux_loss_coef"); // of training alone: a GGUF has no place for it
        json_object_del(q, "router_aux_loss_coef");
        if (!json_equal(p, q))
            fail_msg("%s\n%s", json_dumps(p, 0), json_dumps(q, 0));
        json_decref(p);
        json_decref(q);
        weights_close(x);
        weights_close(y);
    }
}

static void what_llama_cpp_would_compute_otherwise_is_refused_by_key(void **state)
{
    static const struct {
        const char *name, *key;
    } cases[] = {
        {"llama-linear", "'hidden_act'"},
        {"llama-dynamic", "'hidden_act'"},
        {"gemma2", "'query_pre_attn_scalar'"},
        {"gemma3", "'final_logit_softcapping'"},
        {"qwen2", "'use_sliding_window'"},
        {"qwen3", "'attention_bias'"},
        {"gpt2", "'scale_attn_by_inverse_layer_idx'"},
        {"smollm3", "'no_rope_layers'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        const char *dir = family(cases[i].name), *file = kit_path("refused.gguf");
        assert_int_equal(model_export(dir, file, &(struct model_export){.gguf = "F32"}, &err),
                         ERR_UNSUPPORTED);
        kit_contains(err.msg, cases[i].key);
        assert_false(kit_exists(file));
    }
}

static void every_type_of_file_is_written_and_read(void **state)
{
    static const char *const kinds[] = {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q4_K_M", "Q6_K"};
    const char *dir = family("olmo2"), *file = kit_path("kind.gguf");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct err err = {0};
        if (model_export(dir, file, &(struct model_export){.gguf = kinds[i]}, &err))
            fail_msg("%s: %s", kinds[i], err.msg);
        weights_close(open_good(file));
    }
    struct err err = {0};
    assert_int_equal(model_export(dir, file, &(struct model_export){.gguf = "Q2_K"}, &err),
                     ERR_VALUE);
    kit_contains(err.msg, "Q4_K_M and Q6_K are written");
}

static void a_folder_is_saved_in_another_dtype_and_in_shards(void **state)
{
    const char *dir = family("gpt2"), *f32 = kit_path("as-f32"), *f16 = kit_path("as-f16");
    struct err err = {0};
    const struct model_export plain = {.dtype = "float32"},
                              cut = {.dtype = "float16", .shard_bytes = 20000},
                              odd = {.dtype = "int8"};
    if (model_export(dir, f32, &plain, &err) || model_export(f32, f16, &cut, &err))
        fail_msg("%s", err.msg);
    same_values(dir, f32);
    struct weights *w = open_good(f16);
    assert_true(w->n_files > 1);
    assert_string_equal(weights_info(w, 0).dtype, "F16");
    weights_close(w);
    assert_int_equal(model_export(dir, f16, &odd, &err), ERR_VALUE);
}

static void reward_models_are_refused(void **state)
{
    struct err err = {0};
    const char *file = kit_path("none.gguf");
    int rc = model_export(kit_tests("vectors/llama/reward"), file,
                          &(struct model_export){.gguf = "F16"}, &err);
    assert_int_equal(rc, ERR_UNSUPPORTED);
    kit_contains(err.msg, "a reward or value model");
    assert_false(kit_exists(file));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(blocks_of_32_equal_those_of_the_gguf_package),
    cmocka_unit_test(blocks_of_256_err_no_more_than_those_of_llama_cpp),
    cmocka_unit_test(every_instruction_set_writes_the_same_bytes),
    cmocka_unit_test(constants_and_tiny_values_are_kept),
    cmocka_unit_test(q4_k_m_gives_more_bits_where_llama_quantize_does),
    cmocka_unit_test(every_family_comes_back_from_a_gguf),
    cmocka_unit_test(what_llama_cpp_would_compute_otherwise_is_refused_by_key),
    cmocka_unit_test(every_type_of_file_is_written_and_read),
    cmocka_unit_test(a_folder_is_saved_in_another_dtype_and_in_shards),
    cmocka_unit_test(reward_models_are_refused),
};
KIT_MAIN(tests)
