/* test_format_gguf.c - GGUF: values against the gguf package's (tests/vectors/gguf), lies and
 * wounds refused. */
#include "model/checkpoint.h"
#include "model/format/gguf.h"

static struct weights *open_good(const char *path)
{
    struct weights *w = NULL;
    struct err err = {0};
    if (weights_open(&w, path, &err))
        fail_msg("%s", err.msg);
    return w;
}

static const char *tiny(void)
{
    return kit_tests("vectors/gguf/tiny.gguf");
}

static void every_type_equals_the_gguf_package(void **state)
{
    struct weights *g = open_good(tiny()), *f = open_good(kit_tests("vectors/gguf/folder"));
    bool seen[STORE_TYPES] = {false};
    assert_int_equal(weights_count(g), weights_count(f));
    for (int i = 0; i < weights_count(g); i++) {
        struct weight_info x = weights_info(g, i);
        size_t n = x.rows * x.cols;
        float *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b);
        int rows = x.dims == 2 ? (int)x.rows : 0;
        assert_int_equal(weights_read(g, x.name, a, rows, (int)x.cols, NULL), 0);
        assert_int_equal(weights_read(f, x.name, b, rows, (int)x.cols, NULL), 0);
        for (size_t k = 0; k < n; k++)
            if (a[k] != b[k])
                fail_msg("%s (%s) value %zu: %g, expected %g", x.name, x.dtype, k, (double)a[k],
                         (double)b[k]);
        for (enum store_type t = STORE_F32; t < STORE_TYPES; t++)
            seen[t] |= !strcmp(x.dtype, store_name(t));
        free(a);
        free(b);
    }
    for (enum store_type t = STORE_Q8_0; t <= STORE_Q5_1; t++) // the others: test_format_convert
        if (!seen[t])
            fail_msg("the vectors hold no %s", store_name(t));
    weights_close(g);
    weights_close(f);
}

static void rows_of_q_read_piecewise_are_those_of_the_whole(void **state)
{
    static const char name[] = "model.layers.1.self_attn.q_proj.weight";
    struct weights *g = open_good(tiny());
    float all[32 * 32], some[7 * 32];
    assert_int_equal(weights_read(g, name, all, 32, 32, NULL), 0);
    for (int first = 0; first <= 25; first += 5) {
        assert_int_equal(weights_read_rows(g, name, some, 32, 32, first, 7, NULL), 0);
        assert_memory_equal(some, all + first * 32, sizeof some);
    }
    weights_close(g);
}

static void the_config_equals_that_of_the_folder(void **state)
{
    struct weights *g = open_good(tiny()), *f = open_good(kit_tests("vectors/gguf/folder"));
    json_t *a = config_to_json(weights_config(g), DTYPE_F32),
           *b = config_to_json(weights_config(f), DTYPE_F32);
    if (!json_equal(a, b))
        fail_msg("%s\n%s", json_dumps(a, 0), json_dumps(b, 0));
    json_decref(a);
    json_decref(b);
    weights_close(g);
    weights_close(f);
}

/* ---- wounds --------------------------------------------------------------------- */

static const char *wounded(const unsigned char *p, size_t n)
{
    static const char *path;
    if (!path)
        path = kit_path("wounded.gguf");
    FILE *f = fopen(path, "wb");
    fwrite(p, 1, n, f);
    fclose(f);
    return path;
}

static void truncated_files_are_refused_at_every_length(void **state)
{
    size_t n;
    const unsigned char *p = (const unsigned char *)kit_slurp(tiny(), &n);
    for (size_t keep = 0; keep < n; keep += keep < 64 ? 1 : 379)
        ck_refused(wounded(p, keep), "wounded.gguf", NULL);
    ck_refused(wounded(p, n - 33), "(truncated?)",
               NULL); // the last tensor may be followed by padding
}

/* Where `text` stands in the file. */
static size_t find(const unsigned char *p, size_t n, const char *text)
{
    const unsigned char *at = memmem(p, n, text, strlen(text));
    assert_non_null(at);
    return (size_t)(at - p);
}

/* The good file with `bytes` (n) written over what follows `after` at distance `skip`. */
static const char *patched(const char *after, ptrdiff_t skip, const void *bytes, size_t n_bytes)
{
    size_t n;
    const char *all = kit_slurp(tiny(), &n);
    unsigned char *p = malloc(n);
    memcpy(p, all, n);
    size_t at = (*after ? find(p, n, after) + strlen(after) : 0) + (size_t)skip;
    memcpy(p + at, bytes, n_bytes);
    const char *path = wounded(p, n);
    free(p);
    return path;
}

static const char *patched_u64(const char *after, ptrdiff_t skip, uint64_t v)
{
    return patched(after, skip, &v, 8);
}

static const char *patched_u32(const char *after, ptrdiff_t skip, uint32_t v)
{
    return patched(after, skip, &v, 4);
}

static void lying_headers_are_refused(void **state)
{
    ck_refused(patched("", 0, "GGML", 4), "not a GGUF file", "47 47 4d 4c", NULL);
    ck_refused(kit_text("empty.gguf", ""), "empty.gguf: header: 4 bytes expected", NULL);
    ck_refused(kit_text("plain.bin", "GGML"), "neither a folder nor a GGUF file", NULL);
    ck_refused(patched_u32("", 4, 1), "GGUF version 1", "only 2 and 3", NULL);
    ck_refused(patched("", 4, "\0\0\0\3", 4), "GGUF version 3 in big-endian order", NULL);
    ck_refused(patched_u64("", 8, 1ull << 60), "claims 1152921504606846976 tensors", NULL);
    ck_refused(patched_u64("", 16, UINT64_MAX), "keys, more than the file can hold", NULL);
    ck_refused(patched_u64("", 24, UINT64_MAX), "a string of 18446744073709551615 bytes", NULL);
    ck_refused(patched_u64("", 24, 1 << 25), "bytes expected at offset", "truncated", NULL);
    ck_refused(patched_u32("llama.block_count", 0, 77), "unknown value type 77", NULL);
    ck_refused(patched_u32("llama.block_count", 0, 6),
               "'llama.block_count' should be an integer, found f32", NULL);
}

static void lying_arrays_are_refused(void **state)
{
    static const char tokens[] = "tokenizer.ggml.tokens";
    struct tokenizer *t = NULL;
    ck_refused(patched_u32(tokens, 4, 9), "tokenizer.ggml.tokens", "array of type 9", NULL);
    ck_refused(patched_u64(tokens, 8, 1ull << 61),
               "an array of 2305843009213693952 elements does not fit", NULL);
    ck_refused(patched_u64(tokens, 8, UINT64_MAX), "does not fit", NULL);
    ck_refused(patched_u64(tokens, 16, 1ull << 40), "tokenizer.ggml.tokens", "a string of",
               NULL);
    assert_int_equal(tokenizer_open(&t, patched_u64("tokenizer.ggml.token_type", 0, 1), NULL),
                     ERR_FORMAT);
}

static void wrong_configs_are_refused(void **state)
{
    ck_refused(patched("general.architecture", 12, "lamma", 5),
               "general.architecture is 'lamma'", NULL);
    ck_refused(patched_u32("llama.block_count", 4, 4), "model.layers.3.input_layernorm.weight",
               "missing", NULL);
    ck_refused(patched_u32("llama.block_count", 4, 0), "'num_hidden_layers' is 0", NULL);
    ck_refused(patched_u32("llama.feed_forward_length", 4, 96), "mlp.gate_proj.weight",
               "expected shape [96, 32], found [64, 32]", NULL);
    ck_refused(patched_u32("llama.attention.head_count", 4, 0), "'num_attention_heads' is 0",
               NULL);
    ck_refused(patched("llama.block_count", -5, "lengt", 5), "'llama.block_count' is missing",
               NULL);
    ck_refused(patched_u32("llama.rope.dimension_count", 4, 8), "rope.dimension_count 8", NULL);
    ck_refused(patched_u32("tokenizer.ggml.eos_token_id", 4, 420),
               "'eos_token_id' should be a token id below 420", NULL);
    ck_refused(patched("llama.rope.freq_base", 4, "\0\0\xc0\x7f", 4), "rope.freq_base' is nan", NULL);
}

static void wrong_tensors_are_refused(void **state)
{
    // after a name: dims u32, sizes u64 each, type u32, offset u64
    static const char q[] = "blk.0.attn_q.weight", norm[] = "output_norm.weight";
    ck_refused(patched_u32(q, 0, 9), "blk.0.attn_q.weight", "9 dimensions", NULL);
    ck_refused(patched_u64(q, 4, 33), "blk.0.attn_q.weight", "33 columns of Q4_1", NULL);
    ck_refused(patched_u64(q, 12, 1ull << 62), "blk.0.attn_q.weight", NULL);
    ck_refused(patched_u64(q, 4, 1ull << 63), "blk.0.attn_q.weight", "larger than memory",
               NULL);
    ck_refused(patched_u32(q, 20, 16), "has type IQ2_XXS (16)", NULL);
    ck_refused(patched_u32(q, 20, 14), "32 columns of Q6_K, whose blocks hold 256", NULL);
    ck_refused(patched_u32(q, 20, 4000), "has type unknown (4000)", NULL);
    ck_refused(patched_u64(q, 24, 1 << 30), "blk.0.attn_q.weight", "truncated", NULL);
    ck_refused(patched_u64(q, 24, UINT64_MAX - 31), "blk.0.attn_q.weight", NULL);
    ck_refused(patched_u64(q, 24, 7), "not a multiple of the alignment 32", NULL);
    ck_refused(patched_u64(norm, 16, 0), "inside", NULL);
    ck_refused(patched(q, -(ptrdiff_t)strlen(q), "blk.1", 5),
               "two tensors are called 'blk.1.attn_q.weight'", NULL);
}

static void any_single_wrong_byte_of_the_header_does_no_harm(void **state)
{
    size_t n;
    const char *all = kit_slurp(tiny(), &n);
    unsigned char *p = malloc(n);
    struct rng r;
    rng_init(&r, 3, RNG_TEST, 0, 0);
    for (int i = 0; i < 200; i++) {
        memcpy(p, all, n);
        p[rng_below(&r, i % 2 ? 800 : 16000)] = (unsigned char)rng_u32(&r);
        const char *path = wounded(p, n);
        struct weights *w = NULL;
        struct tokenizer *t = NULL;
        struct err err = {0};
        int rc = weights_open(&w, path, &err);
        if (rc)
            assert_true(err.msg[0]);
        rc = tokenizer_open(&t, path, &err);
        if (rc)
            assert_true(err.msg[0]);
        weights_close(w);
        tokenizer_free(t);
    }
    free(p);
}

static void inspect_names_both_spellings_of_a_tensor(void **state)
{
    json_t *o = NULL;
    assert_int_equal(model_inspect(&o, tiny(), NULL), 0);
    const json_t *t = json_array_get(json_object_get(o, "tensors"), 0);
    assert_string_equal(json_string_value(json_object_get(o, "format")), "gguf");
    assert_string_equal(json_string_value(json_object_get(t, "name")),
                        "model.embed_tokens.weight");
    assert_string_equal(json_string_value(json_object_get(t, "file_name")),
                        "token_embd.weight");
    const json_t *k = json_object_get(o, "tokenizer");
    assert_int_equal(json_integer_value(json_object_get(k, "vocab")), 420);
    assert_string_equal(json_string_value(json_object_get(k, "eos")), "<|im_end|>");
    assert_true(json_is_true(json_object_get(k, "chat_template_rendered")));
    json_decref(o);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_type_equals_the_gguf_package),
    cmocka_unit_test(rows_of_q_read_piecewise_are_those_of_the_whole),
    cmocka_unit_test(the_config_equals_that_of_the_folder),
    cmocka_unit_test(truncated_files_are_refused_at_every_length),
    cmocka_unit_test(lying_headers_are_refused),
    cmocka_unit_test(lying_arrays_are_refused),
    cmocka_unit_test(wrong_configs_are_refused),
    cmocka_unit_test(wrong_tensors_are_refused),
    cmocka_unit_test(any_single_wrong_byte_of_the_header_does_no_harm),
    cmocka_unit_test(inspect_names_both_spellings_of_a_tensor),
};
KIT_MAIN(tests)
