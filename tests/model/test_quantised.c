/* Models whose matrices stay in the blocks of a GGUF file, against the same file dequantised. */
#include <math.h>
#include <sys/stat.h>

#include "compute/compute.h"
#include "kit/kit.h"
#include "model/format/store.h"
#include "model/tiny.h"

/* ---- blocks ------------------------------------------------------------------------- */

static const enum store_type stores[QUANT_TYPES] = {STORE_Q8_0, STORE_Q4_0, STORE_Q4_1, STORE_Q5_0,
                                                    STORE_Q5_1, STORE_Q4_K, STORE_Q5_K, STORE_Q6_K};

/* The two readers of blocks share no code. */
static void packed_blocks_have_the_values_of_the_file(void **state)
{
    enum { IN = 512, ROWS = 19 };
    struct device *dev = tiny_device(1);
    for (enum quant t = 0; t < QUANT_TYPES; t++) {
        size_t step = quant_bytes(t), row_bytes = step * (size_t)(IN / quant_values(t));
        unsigned char *bytes = malloc(ROWS * row_bytes);
        const unsigned char *row[ROWS];
        struct rng r;
        rng_init(&r, 3, RNG_TEST, t, 0);
        assert_int_equal(step, store_block_bytes(stores[t]));
        assert_int_equal(quant_values(t), store_block(stores[t]));
        for (size_t i = 0; i < ROWS * row_bytes; i++)
            bytes[i] = (unsigned char)rng_u32(&r);
        for (size_t i = 0; i < ROWS * row_bytes; i += step)     // scales: small, of both signs
            for (int h = 0; h < 4; h += 2)
                if (h == 0 || t == QUANT_Q4_1 || t == QUANT_Q5_1 || t == QUANT_Q4_K || t == QUANT_Q5_K)
                    bytes[i + (t == QUANT_Q6_K ? 208 : 0) + (size_t)h + 1] &= 0xa3;
        for (int i = 0; i < ROWS; i++)
            row[i] = bytes + (size_t)i * row_bytes;
        struct quant_rows part = {t, ROWS, row};
        struct quant_fault fault;
        struct weight *w = NULL;
        assert_int_equal(weight_new_quantised(&w, dev, IN, DTYPE_F32, &part, 1, &fault), 0);
        for (int i = 0; i < ROWS; i++) {
            float want[IN], got[IN];
            store_to_float(want, row[i], IN, stores[t]);
            weight_row(got, w, i);
            for (int k = 0; k < IN; k++)
                if (want[k] != got[k])
                    fail_msg("%s: [%d, %d] is %g, in the file %g", store_name(stores[t]), i, k, (double)got[k], (double)want[k]);
        }
        weight_free(w);
        free(bytes);
    }
    device_close(dev);
}

/* ---- whole models ------------------------------------------------------------------- */

/* Families whose rows lie in four different orders in a GGUF file, and one with experts. */
static const struct {
    const char *family, *width, *inner, *heads, *kv_heads;
} families[] = {
    {"llama", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"},
    {"gpt2", "n_embd", "n_inner", "n_head", NULL},
    {"gpt_neox", "hidden_size", "intermediate_size", "num_attention_heads", NULL},
    {"mixtral", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"},
};

/* A new model of the family, 256 wide, as a folder. */
static const char *folder(int f, int layers)
{
    char path[200];
    struct err err = {0};
    const char *dir = kit_path("seed");
    mkdir(dir, 0755);
    snprintf(path, sizeof path, "vectors/families/%s/config.json", families[f].family);
    json_t *c = json_read_file(kit_tests(path), NULL);
    json_object_set_new(c, families[f].width, json_integer(256));
    json_object_set_new(c, families[f].inner, json_integer(512));
    json_object_set_new(c, families[f].heads, json_integer(4));
    if (families[f].kv_heads)
        json_object_set_new(c, families[f].kv_heads, json_integer(2));
    json_object_set_new(c, strcmp(families[f].family, "gpt2") ? "num_hidden_layers" : "n_layer", json_integer(layers));
    json_object_set_new(c, "head_dim", json_integer(64));
    json_object_set_new(c, "scale_attn_by_inverse_layer_idx", json_false());
    assert_int_equal(json_write_file(kit_path("seed/config.json"), c, NULL), 0);
    json_decref(c);
    assert_int_equal(file_copy(kit_path("seed/tokenizer.json"), kit_tests("vectors/families/tokenizer.json"), NULL), 0);

    struct device *dev = tiny_device(1);
    struct model *m;
    struct model_options o = {.dtype = DTYPE_F32, .trainable = true, .seed = 5};
    const char *out = kit_path("made");
    if (model_open_fresh(&m, dev, dir, &o, &err))
        fail_msg("%s: %s", families[f].family, err.msg);
    for (int i = 0; i < m->n_params; i++)       // livelier than a newborn
        if (!m->param[i].vector)
            op_scale(&m->param[i].value, 3);
    if (model_save(m, out, DTYPE_F32, &err))
        fail_msg("%s: %s", families[f].family, err.msg);
    model_close(m);
    device_close(dev);
    return out;
}

static const char *gguf_of(int f, const char *kind, int layers)
{
    struct err err = {0};
    const char *dir = folder(f, layers), *file = kit_path("model.gguf");
    if (model_export(dir, file, &(struct model_export){.gguf = kind}, &err))
        fail_msg("%s: %s", families[f].family, err.msg);
    return file;
}

static struct model *open_as(struct device *dev, const char *path, enum dtype dtype, bool dequantize)
{
    struct model *m;
    struct err err = {0};
    if (model_open(&m, dev, path, &(struct model_options){.dtype = dtype, .dequantize = dequantize}, &err))
        fail_msg("%s", err.msg);
    return m;
}

enum { LEN = 40 };

static void some_text(int id[LEN])
{
    struct rng r;
    rng_init(&r, 11, RNG_TEST, 0, 0);
    for (int i = 0; i < LEN; i++)
        id[i] = (int)rng_below(&r, 256);
}

static void log_probs(float out[LEN - 1], const struct model *m)
{
    struct forest f = {0};
    struct head_item item[LEN - 1];
    struct workspace *ws = tiny_workspace(m, LEN, false);
    int id[LEN];
    some_text(id);
    forest_add(&f, -1, id, LEN);
    for (int i = 0; i + 1 < LEN; i++)
        item[i] = (struct head_item){i, id[i + 1]};
    model_forward(ws, m, &f);
    model_logp(ws, out, NULL, NULL, item, LEN - 1, 1);
    workspace_free(ws);
    forest_release(&f);
}

static int packed_matrices(const struct model *m)
{
    int n = 0;
    for (int i = 0; i < m->n_params; i++)
        n += m->param[i].packed && weight_is_quantised(m->param[i].packed);
    return n;
}

/* Rounding activations to 8 bits moves log-probs of a few nats by a hundredth on average, and by more where a router that was
 * undecided takes another expert; a row out of place moves them by whole nats. */
static void packed_models_agree_with_dequantised_ones(void **state)
{
    static const char *const kinds[ARRAY_LEN(families)] = {"Q4_K_M", "Q8_0", "Q6_K", "Q4_0"};
    struct device *dev = tiny_device(2);
    for (size_t f = 0; f < ARRAY_LEN(families); f++) {
        const char *kind = kinds[f], *file = gguf_of((int)f, kind, 2);
        struct model *packed = open_as(dev, file, DTYPE_BF16, false), *plain = open_as(dev, file, DTYPE_F32, true);
        float a[LEN - 1], b[LEN - 1], mean = 0, spread = 0, allowed = strcmp(families[f].family, "mixtral") ? 0.03f : 0.15f;
        log_probs(a, packed);
        log_probs(b, plain);
        for (int i = 0; i + 1 < LEN; i++) {
            mean += fabsf(a[i] - b[i]) / (LEN - 1);
            spread = fmaxf(spread, fabsf(b[i] - b[0]));
        }
        assert_int_equal(packed_matrices(plain), 0);
        assert_true(packed_matrices(packed) > 6);
        if (!(mean < allowed && spread > 1))
            fail_msg("%s in %s: log-probs differ by %g on average, their own spread is %g", families[f].family, kind,
                     (double)mean, (double)spread);
        assert_string_not_equal(model_fingerprint(packed), model_fingerprint(plain));
        kit_contains(model_fingerprint(packed), "-int8");
        model_close(packed);
        model_close(plain);
    }
    device_close(dev);
}

/* The same through a cache, `rows` tokens at a time. */
static void through_a_cache(float out[LEN - 1], const struct model *m, int rows)
{
    struct scheduler *s;
    struct err err = {0};
    struct head_item item[LEN - 1];
    int id[LEN], left;
    some_text(id);
    for (int i = 0; i + 1 < LEN; i++)
        item[i] = (struct head_item){i, id[i + 1]};
    if (scheduler_new(&s, m, &(struct scheduler_options){8, 1, rows}, &err))
        fail_msg("%s", err.msg);
    struct scheduler_request q = {.id = id, .n = LEN, .ask = item, .n_ask = LEN - 1, .logp = out};
    assert_true(scheduler_submit(s, &q, &err) >= 0);
    while ((left = scheduler_step(s, &err)) > 0)
        ;
    assert_int_equal(left, 0);
    scheduler_free(s);
}

static void a_token_does_not_know_its_company(void **state)
{
    static const char *const kinds[] = {"Q8_0", "Q4_K_M"};
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        const char *file = gguf_of(0, kinds[k], 2);
        float whole[2][LEN - 1], cached[LEN - 1];
        for (int d = 0; d < 2; d++) {
            struct device *dev = tiny_device(d + 1);
            struct model *m = open_as(dev, file, DTYPE_BF16, false);
            log_probs(whole[d], m);
            for (int rows = 1; rows <= 7; rows += 6) {
                through_a_cache(cached, m, rows);
                assert_memory_equal(cached, whole[d], sizeof cached);
            }
            model_close(m);
            device_close(dev);
        }
        assert_memory_equal(whole[0], whole[1], sizeof whole[0]);
    }
}

/* What is written from a packed model is what the file's values are. */
static void saving_a_packed_model_writes_the_values(void **state)
{
    struct device *dev = tiny_device(1);
    struct err err = {0};
    struct model *m = open_as(dev, gguf_of(0, "Q4_K_M", 1), DTYPE_BF16, false);
    if (model_save(m, kit_path("again"), DTYPE_F32, &err))
        fail_msg("%s", err.msg);
    struct model *back = open_as(dev, kit_path("again"), DTYPE_F32, false), *plain = open_as(dev, kit_path("model.gguf"), DTYPE_F32, true);
    float a[LEN - 1], b[LEN - 1];
    log_probs(a, back);
    log_probs(b, plain);
    assert_memory_equal(a, b, sizeof a);
    model_close(m);
    model_close(back);
    model_close(plain);
    device_close(dev);
}

static void trainable_models_have_values(void **state)
{
    struct device *dev = tiny_device(1);
    struct model *m;
    struct err err = {0};
    if (model_open(&m, dev, gguf_of(0, "Q8_0", 1), &(struct model_options){.dtype = DTYPE_F32, .trainable = true}, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(packed_matrices(m), 0);
    model_close(m);
    device_close(dev);
}

static void a_bad_scale_is_named_before_work_starts(void **state)
{
    struct device *dev = tiny_device(1);
    struct model *m = NULL;
    struct err err = {0};
    struct weights *w;
    const char *file = gguf_of(0, "Q8_0", 1);
    const unsigned char *row[512];
    assert_int_equal(weights_open(&w, file, &err), 0);
    weights_block_rows(w, "model.layers.0.mlp.up_proj.weight", row);
    size_t at = (size_t)(row[300] - w->file[0].map.p) + 34 * 3, n;
    weights_close(w);
    char *bytes = (char *)kit_slurp(file, &n);    // kit's own
    bytes[at] = 0;
    bytes[at + 1] = 0x7c;       // infinity
    FILE *out = fopen(file, "wb");
    assert_int_equal(fwrite(bytes, 1, n, out), n);
    fclose(out);
    assert_int_equal(model_open(&m, dev, file, &(struct model_options){.dtype = DTYPE_BF16}, &err), ERR_NUMERIC);
    kit_contains(err.msg, "model.gguf: tensor 'model.layers.0.mlp.up_proj.weight' (Q8_0): block 3 of row 300 has the scale inf");
    device_close(dev);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(packed_blocks_have_the_values_of_the_file),
    cmocka_unit_test(packed_models_agree_with_dequantised_ones),
    cmocka_unit_test(a_token_does_not_know_its_company),
    cmocka_unit_test(saving_a_packed_model_writes_the_values),
    cmocka_unit_test(trainable_models_have_values),
    cmocka_unit_test(a_bad_scale_is_named_before_work_starts),
};

KIT_MAIN(tests)
