/* recipe/bench/shapes.c - random models of fixed shapes, with a tokenizer of their own, as folders and GGUF files.
 *
 * They are kept in a folder between runs.  Nothing is fetched. */
#include "recipe/bench/bench.h"

#define LLAMA .norm_eps = 1e-5f, .bos = 0, .eos = 1, .pad = -1, .n_eos = 1, .eos_ids = { 1 }, .model_type = "llama"

static const struct { const char *name; struct model_config config; } shapes[SHAPES] = {
    { "135m", { .vocab = 49152, .width = 576, .layers = 30, .heads = 9, .kv_heads = 3, .head_size = 64, .ffn = 1536,
                .max_position = 2048, .rope_theta = 1e5f, .tied = true, LLAMA } },
    { "lab", { .vocab = 1500, .width = 128, .layers = 4, .heads = 4, .kv_heads = 2, .head_size = 32, .ffn = 384,
               .max_position = 1024, .rope_theta = 1e4f, .tied = true, LLAMA } },
    { "wide", { .vocab = 128256, .width = 1024, .layers = 8, .heads = 16, .kv_heads = 4, .head_size = 64, .ffn = 4096,
                .max_position = 2048, .rope_theta = 5e5f, .tied = true, LLAMA } },
};

/* ---- a tokenizer of any size --------------------------------------------------------------------- */

/* GPT-2's letters for bytes: printable ones stand for themselves, the others for U+0100 and up. */
static int byte_letter(int byte)
{
    int others = 0;
    for (int b = 0; b < 256; b++) {
        bool plain = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
        if (b == byte)
            return plain ? b : 256 + others;
        others += !plain;
    }
    return 0;
}

static json_t *letter_string(int letter)
{
    char s[3] = { (char)letter, 0, 0 };
    if (letter >= 0x80) {
        s[0] = (char)(0xc0 | letter >> 6);
        s[1] = (char)(0x80 | (letter & 0x3f));
    }
    return json_string(s);
}

/* Merges of letters into pairs, then of pairs into words of four letters, until the vocabulary is full. */
static int add_merges(json_t *vocab, json_t *merges, int size)
{
    int bad = 0, id = (int)json_object_size(vocab);
    for (int tier = 0; tier < 2; tier++) {
        int parts = tier ? 26 * 26 : 26;
        for (int i = 0; i < parts * parts && id < size; i++) {
            char a[3] = { 0 }, b[3] = { 0 }, both[8], merge[8];
            int x = i / parts, y = i % parts;
            snprintf(a, sizeof a, tier ? "%c%c" : "%c", 'a' + (tier ? x / 26 : x), 'a' + x % 26);
            snprintf(b, sizeof b, tier ? "%c%c" : "%c", 'a' + (tier ? y / 26 : y), 'a' + y % 26);
            snprintf(both, sizeof both, "%s%s", a, b);
            snprintf(merge, sizeof merge, "%s %s", a, b);
            bad |= json_object_set_new(vocab, both, json_integer(id++)) | json_array_append_new(merges, json_string(merge));
        }
    }
    return bad;
}

static json_t *tokenizer_json(int size)
{
    json_t *vocab = json_object(), *merges = json_array();
    int bad = json_object_set_new(vocab, "<|begin|>", json_integer(0)) | json_object_set_new(vocab, "<|end|>", json_integer(1));
    for (int b = 0; b < 256; b++) {
        json_t *letter = letter_string(byte_letter(b));
        bad |= json_object_set_new(vocab, json_string_value(letter), json_integer(2 + b));
        json_decref(letter);
    }
    bad |= add_merges(vocab, merges, size);
    json_t *o = json_pack("{s:s, s:n, s:n, s:[{s:i,s:s,s:b,s:b,s:b,s:b,s:b},{s:i,s:s,s:b,s:b,s:b,s:b,s:b}], s:n, s:{s:s,s:b,s:b,s:b}, s:n, "
                          "s:{s:s,s:b,s:b,s:b}, s:{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:o}}",
                          "version", "1.0", "truncation", "padding", "added_tokens",
                          "id", 0, "content", "<|begin|>", "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1,
                          "id", 1, "content", "<|end|>", "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1,
                          "normalizer", "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1,
                          "post_processor", "decoder", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex", 1,
                          "model", "type", "BPE", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                          "fuse_unk", 0, "byte_fallback", 0, "ignore_merges", 0, "vocab", vocab, "merges", merges);
    if (bad) {
        json_decref(o);
        return NULL;
    }
    return o;
}

int bench_tokenizer(const char *dir, int vocab, struct err *err)
{
    char *path = path_join(dir, "tokenizer.json"), *settings = path_join(dir, "tokenizer_config.json");
    json_t *t = tokenizer_json(vocab), *c = json_pack("{s:s, s:s, s:s}", "tokenizer_class", "PreTrainedTokenizerFast",
                                                      "bos_token", "<|begin|>", "eos_token", "<|end|>");
    int rc = path && settings && t && c ? 0 : err_set(err, ERR_MEMORY, "a tokenizer of %d tokens", vocab);
    if (rc == 0)
        rc = json_write_file(path, t, err);
    if (rc == 0)
        rc = json_write_file(settings, c, err);
    json_decref(t);
    json_decref(c);
    free(path);
    free(settings);
    return rc;
}

/* ---- folders and files -------------------------------------------------------------------------------- */

static int make_folder(const char *dir, const char *path, enum bench_shape shape, struct err *err)
{
    struct model_options opt = { .dtype = DTYPE_BF16, .seed = 1 };
    struct device *dev = NULL;
    struct model *m = NULL;
    char *tmp = path_join(dir, "tokenizer");
    int rc = tmp ? dir_make(tmp, err) : err_set(err, ERR_MEMORY, "%s", path);
    log_info("making random weights: %s", path);
    if (rc == 0)
        rc = bench_tokenizer(tmp, shapes[shape].config.vocab, err);
    if (rc == 0)
        rc = device_open(&dev, NULL, 0, err);
    if (rc == 0)
        rc = model_create(&m, dev, &shapes[shape].config, tmp, &opt, err);
    if (rc == 0)
        rc = model_save(m, path, DTYPE_BF16, err);
    model_close(m);
    device_close(dev);
    free(tmp);
    return rc;
}

int bench_weights_path(char **path, const struct bench_weights *w, enum bench_shape shape, const char *gguf, struct err *err)
{
    const char *name = shapes[shape].name;
    if (w->own)
        return (*path = strdup(w->own)) ? 0 : err_set(err, ERR_MEMORY, "%s", w->own);
    char *folder = path_join(w->dir, name), *file = gguf ? str_printf("%s/%s.%s.gguf", w->dir, name, gguf) : NULL;
    int rc = folder && (file || !gguf) ? 0 : err_set(err, ERR_MEMORY, "weights of the bench");
    if (rc == 0 && !dir_exists(folder))
        rc = make_folder(w->dir, folder, shape, err);
    if (rc == 0 && gguf && !file_exists(file)) {
        struct model_export e = { .gguf = gguf };
        log_info("making %s", file);
        rc = model_export(folder, file, &e, err);
    }
    *path = rc ? NULL : gguf ? file : folder;
    if (rc || !gguf)
        free(file);
    if (rc || gguf)
        free(folder);
    return rc;
}
