/* test_format_folder.c - Hugging Face folders: good ones read and written, wrong ones refused
 * with a sentence. */
#include "model/checkpoint.h"

#include <math.h>

static struct weights *open_good(const char *path)
{
    struct weights *w = NULL;
    struct err err = {0};
    if (weights_open(&w, path, &err))
        fail_msg("%s", err.msg);
    return w;
}

static void check_values(const char *path, bool head, bool score)
{
    struct weights *w = open_good(path);
    struct ck_part p[CK_MAX];
    int n = ck_parts(p, head, score);
    assert_int_equal(weights_count(w), n);
    for (int t = 0; t < n; t++) {
        float v[CK_VOCAB * CK_FFN];
        assert_true(weights_has(w, p[t].name));
        assert_int_equal(weights_read(w, p[t].name, v, p[t].rows, p[t].cols, NULL), 0);
        for (size_t i = 0; i < ck_count(&p[t]); i++)
            assert_true(v[i] == ck_value(t, i));
    }
    weights_close(w);
}

/* ---- reading -------------------------------------------------------------------- */

static void values_come_back_from_every_dtype(void **state)
{
    check_values(ck_folder("f32", "F32", true, false, ""), true, false);
    check_values(ck_folder("f16", "F16", true, false, ""), true, false);
    check_values(ck_folder("bf16", "BF16", false, false, "\"tie_word_embeddings\": true"),
                 false, false);
}

static void rows_come_back_piece_by_piece(void **state)
{
    struct weights *w = open_good(ck_folder("rows", "BF16", true, false, ""));
    float v[3 * CK_WIDTH];
    assert_int_equal(
        weights_read_rows(w, "model.embed_tokens.weight", v, CK_VOCAB, CK_WIDTH, 5, 3, NULL),
        0);
    for (size_t i = 0; i < 3 * CK_WIDTH; i++)
        assert_true(v[i] == ck_value(0, 5 * CK_WIDTH + i));
    weights_close(w);
}

static void a_missing_tensor_and_a_wrong_shape_are_named(void **state)
{
    struct weights *w = open_good(ck_folder("ask", "F32", true, false, ""));
    struct err err = {0};
    float v[256];
    assert_int_equal(weights_read(w, "score.weight", v, 1, CK_WIDTH, &err), ERR_MISSING);
    kit_contains(err.msg, "'score.weight' is missing");
    assert_int_equal(weights_read(w, "model.norm.weight", v, 1, CK_WIDTH, &err), ERR_FORMAT);
    kit_contains(err.msg, "'model.norm.weight': expected shape [1, 8], found [8]");
    assert_int_equal(weights_read(w, "lm_head.weight", v, 8, 12, &err), ERR_FORMAT);
    kit_contains(err.msg, "expected shape [8, 12], found [12, 8]");
    weights_close(w);
}

static void a_reward_folder_has_its_head_and_its_scale(void **state)
{
    const char *dir = ck_folder("reward", "BF16", false, true,
                                "\"architectures\": [\"LlamaForSequenceClassification\"], "
                                "\"mean\": 0.5, \"std\": 2.25, \"pad_token_id\": 0");
    struct weights *w = open_good(dir);
    assert_int_equal(weights_config(w)->score_head, 1);
    assert_true(weights_config(w)->reward_mean == 0.5 && weights_config(w)->reward_std == 2.25);
    assert_int_equal(weights_config(w)->pad, 0);
    weights_close(w);
    ck_folder("reward-less", "F32", true, false,
              "\"architectures\": [\"LlamaForSequenceClassification\"]");
    ck_refused(kit_path("reward-less"), "model.safetensors", "'score.weight' is missing", NULL);
    ck_config(dir, "\"std\": 0");
    ck_refused(dir, "config.json", "std above 0", NULL);
}

/* ---- config --------------------------------------------------------------------- */

static void missing_keys_get_the_defaults_of_transformers(void **state)
{
    struct model_config c;
    bool seq;
    const char *dir = kit_path("defaults");
    mkdir(dir, 0755);
    ck_text(dir, "config.json", "{\"model_type\": \"llama\"}");
    assert_int_equal(config_read(&c, &seq, dir, NULL), 0);
    assert_int_equal(c.vocab, 32000);
    assert_int_equal(c.width, 4096);
    assert_int_equal(c.ffn, 11008);
    assert_int_equal(c.layers, 32);
    assert_int_equal(c.kv_heads, 32);
    assert_int_equal(c.head_size, 128);
    assert_int_equal(c.max_position, 2048);
    assert_true(c.norm_eps == 1e-6f && c.rope_theta == 10000.0f && !c.tied);
    assert_int_equal(c.bos, 1);
    assert_int_equal(c.eos, 2);
    assert_int_equal(c.pad, -1);
    assert_int_equal(c.n_eos, 1);
}

static void both_spellings_of_the_rotary_base_are_read(void **state)
{
    struct model_config c;
    bool seq;
    const char *dir = kit_path("rope");
    mkdir(dir, 0755);
    ck_config(dir, "\"rope_theta\": 100000.0, \"head_dim\": 6");
    assert_int_equal(config_read(&c, &seq, dir, NULL), 0);
    assert_true(c.rope_theta == 100000.0f);
    assert_int_equal(c.head_size, 6);
    ck_config(dir, "\"rope_parameters\": {\"rope_theta\": 5e5, \"rope_type\": \"default\"}");
    assert_int_equal(config_read(&c, &seq, dir, NULL), 0);
    assert_true(c.rope_theta == 5e5f);
}

static void every_id_that_ends_a_generation_is_collected(void **state)
{
    struct model_config c;
    bool seq;
    const char *dir = kit_path("eos");
    mkdir(dir, 0755);
    ck_text(dir, "config.json",
            "{\"model_type\": \"llama\", \"vocab_size\": 20, \"eos_token_id\": [7, 9]}");
    ck_text(dir, "generation_config.json", "{\"eos_token_id\": [9, 11]}");
    assert_int_equal(config_read(&c, &seq, dir, NULL), 0);
    assert_int_equal(c.eos, 7);
    assert_int_equal(c.n_eos, 3);
    assert_int_equal(c.eos_ids[2], 11);
    struct err err;
    ck_text(dir, "generation_config.json", "{\"eos_token_id\": 20}");
    assert_int_equal(config_read(&c, &seq, dir, &err), ERR_FORMAT);
    kit_contains(err.msg,
                 "generation_config.json: 'eos_token_id' should be a token id below 20");
}

static void what_is_not_done_is_refused_with_key_and_value(void **state)
{
    static const struct {
        const char *key, *a, *b;
    } cases[] = {
        {"\"model_type\": \"bert\"", "'model_type' is \"bert\"", "supported are llama, mistral"},
        {"\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"linear\"}", "'factor'",
         "a number above 0"},
        {"\"model_type\": \"llama\", \"rope_parameters\": {\"rope_type\": \"xpos\"}",
         "'rope_type' is \"xpos\"", "default"},
        {"\"model_type\": \"llama\", \"partial_rotary_factor\": 0.5",
         "'partial_rotary_factor' is 0.5", "only 1"},
        {"\"model_type\": \"llama\", \"hidden_act\": \"mish\"", "'hidden_act' is \"mish\"",
         "silu"},
        {"\"model_type\": \"qwen2\", \"use_sliding_window\": true, \"layer_types\": [\"chunked\"]",
         "'layer_types'", "per layer"},
        {"\"model_type\": \"gemma2\", \"use_bidirectional_attention\": true",
         "'use_bidirectional_attention' is true", "false"},
        {"\"model_type\": \"gpt2\", \"add_cross_attention\": true",
         "'add_cross_attention' is true", "false"},
        {"\"model_type\": \"llama\", \"quantization_config\": {}", "'quantization_config'",
         "null"},
        {"\"vocab_size\": 5", "'model_type' is missing", "llama"},
    };
    const char *dir = ck_folder("refuse", "F32", true, false, "");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *text = str_printf("{%s}", cases[i].key);
        ck_text(dir, "config.json", text);
        ck_refused(dir, "config.json", cases[i].a, cases[i].b, NULL);
        free(text);
    }
}

static void wrong_types_and_sizes_in_config_are_refused(void **state)
{
    static const struct {
        const char *more, *a;
    } cases[] = {
        {"\"rms_norm_eps\": \"small\"", "'rms_norm_eps' should be a number, found a string"},
        {"\"tie_word_embeddings\": 1", "'tie_word_embeddings' should be true or false"},
        {"\"max_position_embeddings\": 0", "'max_position_embeddings' is 0"},
        {"\"max_position_embeddings\": 1e300",
         "'max_position_embeddings' should be an integer"},
        {"\"max_position_embeddings\": 99999999999", "far out of range"},
        {"\"head_dim\": 3", "'head_dim' is 3, rotary embedding needs an even number"},
        {"\"head_dim\": 16", "expected shape [32, 8], found [8, 8]"},
        {"\"pad_token_id\": 12", "'pad_token_id' is 12, expected -1 to 11"},
        {"\"rope_theta\": 0", "out of range"},
    };
    const char *dir = ck_folder("types", "F32", true, false, "");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ck_config(dir, cases[i].more);
        ck_refused(dir, cases[i].a, NULL);
    }
    ck_text(dir, "config.json", "[1, 2]");
    ck_refused(dir, "expected a JSON object", NULL);
    ck_text(dir, "config.json", "{\"model_type\": ");
    ck_refused(dir, "config.json", "line 1", NULL);
    ck_text(
        dir, "config.json",
        "{\"model_type\": \"llama\", \"num_attention_heads\": 3, \"num_key_value_heads\": 2}");
    ck_refused(dir, "3 attention heads are not a multiple of 2", NULL);
    ck_text(dir, "config.json", "{\"model_type\": \"llama\", \"num_attention_heads\": 0}");
    ck_refused(dir, "'num_attention_heads' is 0", NULL);
}

static void folders_that_lack_a_file_say_which(void **state)
{
    const char *dir = kit_path("empty");
    mkdir(dir, 0755);
    ck_refused(dir, "no config.json", NULL);
    ck_config(dir, "");
    ck_refused(dir, "no model.safetensors", NULL);
    ck_text(dir, "pytorch_model.bin", "");
    ck_refused(dir, "pytorch_model.bin is not read", NULL);
    ck_refused(kit_path("nowhere"), "nowhere", "no such model", NULL);
    ck_refused(kit_text("plain.txt", "hello"), "neither a folder nor a GGUF file", NULL);
}

/* ---- safetensors ---------------------------------------------------------------- */

/* A good folder whose header had `from` replaced by `to`. */
static const char *edited(const char *from, const char *to)
{
    static char zeros[16384];
    const char *dir = ck_folder("edited", "F32", true, false, "");
    struct ck_part p[CK_MAX];
    struct buf header = {0}, out = {0};
    int n = ck_parts(p, true, false);
    size_t values = 0;
    for (int i = 0; i < n; i++)
        values += 4 * ck_count(&p[i]);
    ck_header(&header, p, n, "F32");
    char *at = strstr(header.s, from);
    assert_non_null(at);
    buf_add(&out, header.s, (size_t)(at - header.s));
    buf_adds(&out, to);
    buf_adds(&out, at + strlen(from));
    ck_write(dir, out.s, out.len, zeros, values);
    buf_release(&header);
    buf_release(&out);
    return dir;
}

static void lying_headers_are_refused(void **state)
{
    static const struct {
        const char *from, *to, *a, *b;
    } cases[] = {
        {"\"dtype\": \"F32\", \"shape\": [12, 8]", "\"dtype\": \"I32\", \"shape\": [12, 8]",
         "model.embed_tokens.weight", "dtype is I32"},
        {"\"dtype\": \"F32\"", "\"dtype\": 7", "embed_tokens", "'dtype' should be a string"},
        {"[12, 8]", "[12, 9]", "embed_tokens", "does not fill the 384 bytes"},
        {"[12, 8]", "[-12, -8]", "embed_tokens", "integers from 0 up"},
        {"[12, 8]", "[12, 8, 1]", "embed_tokens", "expected shape [12, 8], found [12, 8, 1]"},
        {"[12, 8]", "[1, 1, 1, 12, 8]", "embed_tokens", "5 dimensions"},
        {"[12, 8]", "[]", "embed_tokens", "does not fill"},
        {"[12, 8]", "\"big\"", "embed_tokens", "'shape' should be a list"},
        {"[12, 8]", "[4611686018427387904, 4611686018427387904]", "embed_tokens",
         "does not fill"},
        {"[12, 8]", "[6, 16]", "embed_tokens", "expected shape [12, 8], found [6, 16]"},
        {"[0, 384]", "[0, 384, 1]", "embed_tokens", "list of two integers"},
        {"[0, 384]", "[384, 0]", "embed_tokens", "end before they begin"},
        {"[0, 384]", "[9223372036854775000, 9223372036854775384]", "embed_tokens",
         "the file has"},
        {"[0, 384]", "[4, 388]", "gap of 4 bytes", "model.embed_tokens.weight"},
        {"[384, 416]", "[352, 384]", "model.norm.weight", "inside 'model.embed_tokens.weight'"},
        {"\"model.norm.weight\"", "\"model.norm.wait\"", "'model.norm.weight' is missing",
         "model.safetensors"},
        {"\"model.norm.weight\"", "\"model.embed_tokens.weight\"", "model.safetensors",
         "line 3"},
        {"\"lm_head.weight\"", "\"model.layers.0.self_attn.q_proj.bias\"", "lm_head.weight",
         "missing"},
        {"{\"__metadata__\"", "[{\"__metadata__\"", "model.safetensors", "line"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        ck_refused(edited(cases[i].from, cases[i].to), cases[i].a, cases[i].b, NULL);
    const char *dir = edited("\"lm_head.weight\"", "\"model.layers.0.self_attn.q_proj.bias\"");
    ck_config(dir, "\"tie_word_embeddings\": true");
    ck_refused(dir, "q_proj.bias' is not part of a llama model", NULL);
}

static void truncated_files_are_refused_at_every_length(void **state)
{
    const char *dir = ck_folder("cut", "BF16", true, false, "");
    char *path = path_join(dir, "model.safetensors");
    size_t n;
    const char *all = kit_slurp(path, &n);
    for (size_t keep = 0; keep < n; keep += keep < 16 ? 1 : 61) {
        FILE *f = fopen(path, "wb");
        fwrite(all, 1, keep, f);
        fclose(f);
        ck_refused(dir, "model.safetensors", NULL);
    }
    FILE *f = fopen(path, "wb");
    fwrite(all, 1, n, f);
    fputs("more", f);
    fclose(f);
    ck_refused(dir, "4 bytes after the last tensor", NULL);
    free(path);
}

static void header_sizes_that_lie_are_refused(void **state)
{
    const char *dir = ck_folder("size", "F32", true, false, "");
    ck_write(dir, "{}", (size_t)-1, "", 0);
    ck_refused(dir, "header of 18446744073709551615 bytes, but the file has 10", NULL);
    ck_write(dir, "{}", 3, "", 0);
    ck_refused(dir, "header of 3 bytes, but the file has 10", NULL);
    ck_write(dir, "{}", 2, "", 0);
    ck_refused(dir, "'model.embed_tokens.weight' is missing", NULL);
    ck_write(dir, "[]", 2, "", 0);
    ck_refused(dir, "not a JSON object", NULL);
}

/* ---- writing -------------------------------------------------------------------- */

static int fill_value(void *arg, float *out, struct err *err)
{
    const struct ck_part *p = arg;
    for (size_t i = 0; i < ck_count(p); i++)
        out[i] = ck_value(3, i);
    return 0;
}

/* Every tensor of the folder at `from` written to `to`. */
static void copy_folder(const char *to, const char *from, enum dtype dtype)
{
    struct weights *w = open_good(from);
    struct folder_tensor t[CK_MAX];
    int n = weights_count(w);
    struct err err = {0};
    for (int i = 0; i < n; i++) {
        struct weight_info f = weights_info(w, i);
        float *v = malloc(f.rows * f.cols * sizeof *v);
        int rows = f.dims == 2 ? (int)f.rows : 0;
        assert_int_equal(weights_read(w, f.name, v, rows, (int)f.cols, NULL), 0);
        t[i] = (struct folder_tensor){
            .name = f.name, .rows = rows, .cols = (int)f.cols, .data = v};
    }
    if (folder_write(to, weights_config(w), &(struct folder_form){dtype_name(dtype), 0}, t, n,
                     NULL, &err))
        fail_msg("%s", err.msg);
    for (int i = 0; i < n; i++)
        free((void *)t[i].data);
    weights_close(w);
}

static void assert_same_config(const char *a, const char *b)
{
    struct weights *x = open_good(a), *y = open_good(b);
    json_t *p = config_to_json(weights_config(x), DTYPE_F32),
           *q = config_to_json(weights_config(y), DTYPE_F32);
    assert_true(json_equal(p, q));
    json_decref(p);
    json_decref(q);
    weights_close(x);
    weights_close(y);
}

static void a_folder_written_and_read_again_is_bit_exact(void **state)
{
    static const struct {
        const char *dtype;
        enum dtype out;
        bool head, score;
        const char *config;
    } cases[] = {
        {"F32", DTYPE_F32, true, false, ""},
        {"BF16", DTYPE_BF16, false, false,
         "\"tie_word_embeddings\": true, \"rms_norm_eps\": 1e-05, \"rope_theta\": 100000.0"},
        {"BF16", DTYPE_BF16, false, true,
         "\"architectures\": [\"LlamaForSequenceClassification\"], \"mean\": 0.1, \"std\": "
         "3.7"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *from =
            ck_folder("from", cases[i].dtype, cases[i].head, cases[i].score, cases[i].config);
        const char *to = kit_path("to"), *again = kit_path("again");
        copy_folder(to, from, cases[i].out);
        check_values(to, cases[i].head, cases[i].score);
        assert_same_config(from, to);
        copy_folder(again, to, cases[i].out);
        char *a = path_join(to, "model.safetensors"),
             *b = path_join(again, "model.safetensors");
        size_t na, nb;
        const char *x = kit_slurp(a, &na), *y = kit_slurp(b, &nb);
        assert_int_equal(na, nb);
        assert_memory_equal(x, y, na);
        free(a);
        free(b);
    }
}

static void a_reward_folder_is_written_as_transformers_wants_it(void **state)
{
    const char *to = kit_path("classifier");
    copy_folder(
        to,
        ck_folder("from2", "F32", false, true,
                  "\"architectures\": [\"LlamaForSequenceClassification\"], \"std\": 2.0"),
        DTYPE_F32);
    char *path = path_join(to, "config.json");
    json_t *o = json_read_file(path, NULL);
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(o, "architectures"), 0)),
        "LlamaForSequenceClassification");
    assert_int_equal(json_object_size(json_object_get(o, "id2label")), 1);
    assert_int_equal(json_object_size(json_object_get(o, "label2id")), 1);
    assert_int_equal(json_integer_value(json_object_get(o, "pad_token_id")), 2);
    assert_true(json_real_value(json_object_get(o, "std")) == 2.0);
    assert_string_equal(json_string_value(json_object_get(o, "torch_dtype")), "float32");
    json_decref(o);
    free(path);
}

static void values_are_rounded_to_the_nearest_bf16(void **state)
{
    struct ck_part p = {"model.norm.weight", 0, 4};
    float v[4] = {1.0f, 1.00390625f, 1.01171875f, -3.1415927f}, got[4]; // halves go to even
    struct folder_tensor t[] = {{.name = p.name, .cols = 4, .data = v}};
    struct model_config c;
    config_defaults(&c);
    const char *dir = kit_path("rounded");
    assert_int_equal(folder_write(dir, &c, &(struct folder_form){"bfloat16", 0}, t, 1, NULL, NULL), 0);
    struct weights w = {.data_path = path_join(dir, "model.safetensors")};
    assert_int_equal(weights_add_file(&w, w.data_path, NULL), 0);
    assert_int_equal(safetensors_read_table(&w, NULL), 0);
    assert_int_equal(w.entry[0].offset % 8, 0);
    store_to_float(got, w.file[0].map.p + w.entry[0].offset, 4, w.entry[0].type);
    assert_true(got[0] == 1.0f && got[1] == 1.0f && got[2] == 1.015625f &&
                got[3] == -3.140625f);
    file_map_close(&w.file[0].map);
    free(w.file);
    arena_release(&w.arena);
    free(w.entry);
    free(w.data_path);
}

static int fail_fill(void *arg, float *out, struct err *err)
{
    return err_set(err, ERR_NUMERIC, "no values today");
}

static void a_failed_write_leaves_the_old_folder(void **state)
{
    const char *dir = ck_folder("keep", "F32", true, false, "");
    struct ck_part p = {"x", 2, 2};
    struct folder_tensor t[] = {
        {.name = "x", .rows = 2, .cols = 2, .fill = fill_value, .arg = &p},
        {.name = "y", .rows = 2, .cols = 2, .fill = fail_fill}};
    struct model_config c;
    struct err err = {0};
    config_defaults(&c);
    assert_int_equal(folder_write(dir, &c, &(struct folder_form){"float32", 0}, t, 2, NULL, &err), ERR_NUMERIC);
    kit_contains(err.msg, "no values today");
    check_values(dir, true, false);
    assert_false(kit_exists(kit_path("keep.partial")));
}

/* ---- identity ------------------------------------------------------------------- */

static void hash_of(char out[33], const char *dir)
{
    struct weights *w = open_good(dir);
    assert_int_equal(weights_hash(out, w, NULL), 0);
    weights_close(w);
}

static void the_hash_follows_values_config_and_tokenizer(void **state)
{
    char a[33], b[33];
    const char *dir = ck_folder("hash", "F32", true, false, "");
    hash_of(a, dir);
    ck_folder("hash", "F32", true, false, "");
    hash_of(b, dir);
    assert_string_equal(a, b);
    ck_config(dir, "\"rope_theta\": 20000.0");
    hash_of(b, dir);
    assert_string_not_equal(a, b);
    ck_config(dir, "\"unknown_key\": 1");
    hash_of(b, dir);
    assert_string_equal(a, b);
    ck_text(dir, "tokenizer.json", "{}");
    hash_of(b, dir);
    assert_string_not_equal(a, b);
    ck_folder("hash2", "BF16", true, false, "");
    hash_of(b, kit_path("hash2"));
    assert_string_not_equal(a, b);
}

static void inspect_lists_config_and_tensors(void **state)
{
    json_t *o = NULL;
    assert_int_equal(model_inspect(&o, ck_folder("look", "BF16", true, false, ""), NULL), 0);
    assert_string_equal(json_string_value(json_object_get(o, "format")), "safetensors");
    assert_int_equal(json_array_size(json_object_get(o, "tensors")), 3 + 9 * CK_LAYERS);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(o, "config"), "hidden_size")),
        CK_WIDTH);
    kit_contains(json_string_value(json_object_get(o, "tokenizer_error")), "no tokenizer.json");
    json_decref(o);
}

/* ---- shards --------------------------------------------------------------------- */

/* A folder of shards of at most `bytes` bytes, written from a good checkpoint in bf16. */
static const char *sharded(const char *name, size_t bytes)
{
    const char *dir = kit_path(name);
    struct weights *w = open_good(ck_folder("shard-source", "BF16", true, false, ""));
    struct folder_tensor t[CK_MAX];
    struct err err = {0};
    int n = weights_count(w);
    for (int i = 0; i < n; i++) {
        struct weight_info f = weights_info(w, i);
        float *v = malloc(f.rows * f.cols * sizeof *v);
        int rows = f.dims == 2 ? (int)f.rows : 0;
        assert_int_equal(weights_read(w, f.name, v, rows, (int)f.cols, NULL), 0);
        t[i] = (struct folder_tensor){
            .name = f.name, .rows = rows, .cols = (int)f.cols, .data = v};
    }
    if (folder_write(dir, weights_config(w), &(struct folder_form){"float16", bytes}, t, n,
                     NULL, &err))
        fail_msg("%s", err.msg);
    for (int i = 0; i < n; i++)
        free((void *)t[i].data);
    weights_close(w);
    return dir;
}

static json_t *shard_index(const char *dir)
{
    char *path = path_join(dir, "model.safetensors.index.json");
    json_t *o = json_read_file(path, NULL);
    assert_non_null(o);
    free(path);
    return o;
}

static void shards_hold_what_one_file_holds(void **state)
{
    static const size_t bytes[] = {1, 200, 1000, 0};
    size_t shards[4];
    for (size_t i = 0; i < ARRAY_LEN(bytes); i++) {
        char name[32];
        snprintf(name, sizeof name, "shards-%zu", bytes[i]);
        const char *dir = sharded(name, bytes[i]);
        check_values(dir, true, false);
        struct weights *w = open_good(dir);
        shards[i] = (size_t)w->n_files;
        for (int f = 0; bytes[i] > 384 && f < w->n_files; f++)
            assert_true(w->file[f].map.n < bytes[i] + 4096); // values and a header
        weights_close(w);
    }
    assert_int_equal(shards[0], 2 + 9 * CK_LAYERS + 1); // no tensor fits: one each
    assert_true(shards[1] < shards[0] && shards[2] < shards[1] && shards[2] > 1);
    assert_int_equal(shards[3], 1);
    json_t *o = shard_index(kit_path("shards-1000"));
    json_int_t total = 0;
    struct ck_part p[CK_MAX];
    for (int i = 0, n = ck_parts(p, true, false); i < n; i++)
        total += 2 * (json_int_t)ck_count(&p[i]);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(o, "metadata"), "total_size")),
        total);
    assert_string_equal(json_string_value(json_object_get(json_object_get(o, "weight_map"),
                                                          "model.embed_tokens.weight")),
                        "model-00001-of-00003.safetensors");
    json_decref(o);
}

/* Writes the index of dir with one member of weight_map changed; value NULL takes it away. */
static void edit_index(const char *dir, const char *tensor, json_t *value)
{
    json_t *o = shard_index(dir), *map = json_object_get(o, "weight_map");
    char *path = path_join(dir, "model.safetensors.index.json");
    if (value)
        json_object_set_new(map, tensor, value);
    else
        json_object_del(map, tensor);
    assert_int_equal(json_write_file(path, o, NULL), 0);
    json_decref(o);
    free(path);
}

static void shards_that_contradict_their_index_are_refused(void **state)
{
    static const char norm[] = "model.norm.weight";
    static const struct {
        const char *tensor, *file, *a, *b;
    } cases[] = {
        {"model.extra.weight", "model-00001-of-00003.safetensors", "'model.extra.weight'",
         "which does not hold it"},
        {norm, "model-00003-of-00003.safetensors", "'model.norm.weight'",
         "shard model-00003-of-00003.safetensors, which does not hold it"},
        {norm, "model-00004-of-00003.safetensors", "model-00004-of-00003.safetensors",
         "missing (download incomplete?)"},
        {norm, "../shards-200/model.safetensors", norm, "a file in this folder"},
        {norm, "..", norm, "a file in this folder"},
        {norm, "", norm, "a file in this folder"},
        {norm, NULL, "'model.norm.weight' is missing", "index.json"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *dir = sharded("contradict", 1000);
        edit_index(dir, cases[i].tensor, cases[i].file ? json_string(cases[i].file) : NULL);
        ck_refused(dir, cases[i].a, cases[i].b, NULL);
    }
    const char *dir = sharded("contradict", 1000);
    edit_index(dir, norm, json_integer(3));
    ck_refused(dir, "the file of tensor 'model.norm.weight' should be a string", NULL);
    ck_text(dir, "model.safetensors.index.json", "{\"weight_map\": []}");
    ck_refused(dir, "'weight_map' should be an object", NULL);
    dir = sharded("contradict", 1000);
    ck_text(dir, "model-00002-of-00003.safetensors", "broken");
    ck_refused(dir, "model-00002-of-00003.safetensors", "8-byte header", NULL);
}

/* ---- contradictions -------------------------------------------------------------- */

static void tensors_that_the_config_does_not_promise_are_refused(void **state)
{
    static const struct {
        const char *name, *a, *b;
    } cases[] = {
        {"model.layers.2.mlp.up_proj.weight", "'num_hidden_layers' is 2", "no layer 2"},
        {"model.layers.1.self_attn.q_norm.weight", "q_norm", "not part of a llama model"},
        {"model.layers.0.mlp.up_proj.weight_scale_inv", "weight_scale_inv",
         "scales quantised weights"},
        {"model.layers.0.self_attn.q_proj.bias", "q_proj.bias", "not part of a llama model"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *to = str_printf("\"%s\"", cases[i].name);
        const char *dir = edited("\"lm_head.weight\"", to);
        ck_config(dir, "\"tie_word_embeddings\": true");
        ck_refused(dir, cases[i].a, cases[i].b, NULL);
        free(to);
    }
}

static void a_tied_head_must_be_the_embedding(void **state)
{
    const char *dir = ck_folder("tied", "F32", true, false, "\"tie_word_embeddings\": true");
    ck_refused(dir, "model.safetensors", "'tie_word_embeddings' is true", "lm_head.weight", NULL);
    dir = edited("lm_head", "lm_head"); // all zeros: head and embedding are equal
    ck_config(dir, "\"tie_word_embeddings\": true");
    weights_close(open_good(dir));
}

static void weights_that_are_no_numbers_are_named(void **state)
{
    struct weights *w = open_good(ck_folder("nan", "F32", true, false, ""));
    char *path = path_join(kit_path("nan"), "model.safetensors");
    struct err err = {0};
    float v[CK_VOCAB * CK_WIDTH], bad[] = {NAN, -INFINITY};
    FILE *f = fopen(path, "r+b");
    fseek(f, (long)w->entry[0].offset + 4 * (3 * CK_WIDTH + 5), SEEK_SET);
    fwrite(bad, 4, 2, f);
    fclose(f);
    assert_int_equal(
        weights_read(w, "model.embed_tokens.weight", v, CK_VOCAB, CK_WIDTH, &err), ERR_NUMERIC);
    kit_contains(err.msg, "model.safetensors: tensor 'model.embed_tokens.weight' (F32): value "
                          "[3, 5] is nan");
    assert_int_equal(
        weights_read_rows(w, "model.embed_tokens.weight", v, CK_VOCAB, CK_WIDTH, 4, 2, &err), 0);
    free(path);
    weights_close(w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(shards_hold_what_one_file_holds),
    cmocka_unit_test(shards_that_contradict_their_index_are_refused),
    cmocka_unit_test(tensors_that_the_config_does_not_promise_are_refused),
    cmocka_unit_test(a_tied_head_must_be_the_embedding),
    cmocka_unit_test(weights_that_are_no_numbers_are_named),
    cmocka_unit_test(values_come_back_from_every_dtype),
    cmocka_unit_test(rows_come_back_piece_by_piece),
    cmocka_unit_test(a_missing_tensor_and_a_wrong_shape_are_named),
    cmocka_unit_test(a_reward_folder_has_its_head_and_its_scale),
    cmocka_unit_test(missing_keys_get_the_defaults_of_transformers),
    cmocka_unit_test(both_spellings_of_the_rotary_base_are_read),
    cmocka_unit_test(every_id_that_ends_a_generation_is_collected),
    cmocka_unit_test(what_is_not_done_is_refused_with_key_and_value),
    cmocka_unit_test(wrong_types_and_sizes_in_config_are_refused),
    cmocka_unit_test(folders_that_lack_a_file_say_which),
    cmocka_unit_test(lying_headers_are_refused),
    cmocka_unit_test(truncated_files_are_refused_at_every_length),
    cmocka_unit_test(header_sizes_that_lie_are_refused),
    cmocka_unit_test(a_folder_written_and_read_again_is_bit_exact),
    cmocka_unit_test(a_reward_folder_is_written_as_transformers_wants_it),
    cmocka_unit_test(values_are_rounded_to_the_nearest_bf16),
    cmocka_unit_test(a_failed_write_leaves_the_old_folder),
    cmocka_unit_test(the_hash_follows_values_config_and_tokenizer),
    cmocka_unit_test(inspect_lists_config_and_tensors),
};
KIT_MAIN(tests)
