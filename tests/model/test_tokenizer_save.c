/* test_tokenizer_save.c - tokenizers written beside a model: byte for byte, or made from a GGUF
 * with the same ids. */
#include "kit/kit.h"
#include "model/format/format.h"

#include <sys/stat.h>

static struct tokenizer *open_good(const char *path)
{
    struct tokenizer *t = NULL;
    struct err err = {0};
    if (tokenizer_open(&t, path, &err))
        fail_msg("%s", err.msg);
    return t;
}

static const char *new_dir(const char *name)
{
    const char *dir = kit_path(name);
    mkdir(dir, 0755);
    return dir;
}

static const char *TEXTS[] = {"",
                              "hello world",
                              " two  spaces ",
                              "it's 12345 \xC2\xB2\n\n",
                              "<|im_start|>user\nhi<|im_end|>",
                              "caf\xC3\xA9 \xE4\xBB\x8A",
                              "a \xFF b",
                              "\t\t\tx = y[0];"};

static void assert_same_ids(const struct tokenizer *a, const struct tokenizer *b)
{
    static const int flags[] = {0, TOKENIZE_SPECIAL, TOKENIZE_PARSE_SPECIAL,
                                TOKENIZE_SPECIAL | TOKENIZE_PARSE_SPECIAL};
    for (size_t i = 0; i < ARRAY_LEN(TEXTS); i++)
        for (size_t f = 0; f < ARRAY_LEN(flags); f++) {
            struct tokens x = {0}, y = {0};
            assert_int_equal(tokenize(a, &x, TEXTS[i], strlen(TEXTS[i]), flags[f], NULL), 0);
            assert_int_equal(tokenize(b, &y, TEXTS[i], strlen(TEXTS[i]), flags[f], NULL), 0);
            assert_int_equal(x.n, y.n);
            if (x.n)
                assert_memory_equal(x.id, y.id, (size_t)x.n * sizeof *x.id);
            tokens_release(&x);
            tokens_release(&y);
        }
}

static void put(const char *dir, const char *name, const char *text)
{
    char *path = path_join(dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    free(path);
}

static void files_of_a_folder_are_copied_byte_for_byte(void **state)
{
    static const char *const odd = "{\"odd\" :  1 ,\n\n \"tokenizer_class\":\"X\"}\r\n";
    const char *from = new_dir("from"), *to = new_dir("to");
    size_t n, m;
    const char *all = kit_slurp(kit_tests("vectors/tokenizer/spaced/tokenizer.json"), &n);
    put(from, "tokenizer.json", all);
    put(from, "tokenizer_config.json", odd);
    put(from, "special_tokens_map.json", " {}");
    put(from, "chat_template.jinja", "{{ x }}\n");
    struct tokenizer *t = open_good(from);
    assert_int_equal(dir_remove(from, NULL), 0); // the source may be gone
    assert_int_equal(tokenizer_save(t, to, NULL), 0);
    char *path = path_join(to, "tokenizer.json");
    const char *copy = kit_slurp(path, &m);
    assert_int_equal(n, m);
    assert_memory_equal(all, copy, n);
    free(path);
    path = path_join(to, "tokenizer_config.json");
    assert_string_equal(kit_slurp(path, &m), odd);
    free(path);
    path = path_join(to, "chat_template.jinja");
    assert_string_equal(kit_slurp(path, &m), "{{ x }}\n");
    free(path);
    struct tokenizer *again = open_good(to);
    assert_same_ids(t, again);
    tokenizer_free(t);
    tokenizer_free(again);
}

/* tiny.gguf with add_bos_token switched on where wanted. */
static const char *tiny(bool bos)
{
    static const char key[] = "tokenizer.ggml.add_bos_token";
    size_t n;
    const char *all = kit_slurp(kit_tests("vectors/gguf/tiny.gguf"), &n);
    char *copy = malloc(n), *at;
    memcpy(copy, all, n);
    at = memmem(copy, n, key, sizeof key - 1);
    assert_non_null(at);
    at[sizeof key - 1 + 4] = bos;
    const char *path = kit_bytes(bos ? "bos.gguf" : "tiny.gguf", copy, n);
    free(copy);
    return path;
}

static void a_gguf_becomes_a_folder_with_the_same_ids(void **state)
{
    for (int bos = 0; bos < 2; bos++) {
        const char *dir = new_dir(bos ? "with-bos" : "plain");
        struct tokenizer *t = open_good(tiny(bos));
        assert_int_equal(tokenizer_save(t, dir, NULL), 0);
        struct tokenizer *again = open_good(dir);
        assert_same_ids(t, again);
        struct tokens k = {0};
        assert_int_equal(tokenize(again, &k, "x", 1, TOKENIZE_SPECIAL, NULL), 0);
        assert_int_equal(k.n, 1 + bos);
        assert_int_equal(k.id[0] == 1, bos);
        tokens_release(&k);
        tokenizer_free(t);
        tokenizer_free(again);
    }
}

static void the_chat_template_survives_byte_for_byte(void **state)
{
    const char *dir = new_dir("template");
    struct tokenizer *t = open_good(tiny(false));
    struct chat_message m = {"user", "hi"};
    struct buf a = {0}, b = {0};
    assert_int_equal(tokenizer_save(t, dir, NULL), 0);
    struct tokenizer *again = open_good(dir);
    assert_int_equal(chat_render(t, &a, &m, 1, true, NULL), 0);
    assert_int_equal(chat_render(again, &b, &m, 1, true, NULL), 0);
    assert_string_equal(a.s, b.s);
    char *path = path_join(dir, "tokenizer_config.json");
    json_t *o = json_read_file(path, NULL);
    assert_string_equal(json_string_value(json_object_get(o, "bos_token")), "<|im_start|>");
    assert_string_equal(json_string_value(json_object_get(o, "eos_token")), "<|im_end|>");
    kit_contains(json_string_value(json_object_get(o, "chat_template")),
                 "named SmolLM, trained by Hugging Face<|im_end|>\n' }}");
    json_decref(o);
    free(path);
    buf_release(&a);
    buf_release(&b);
    tokenizer_free(t);
    tokenizer_free(again);
}

static void a_reward_model_is_padded_with_a_token_that_ends_no_text(void **state)
{
    struct tokenizer *t = open_good(tiny(false));
    int eos[] = {2, 0};
    assert_int_equal(tokenizer_pad(t, 5, 1, eos, 1), 5);
    assert_int_equal(tokenizer_pad(t, 2, 1, eos, 1), tokenizer_id(t, "<|endoftext|>"));
    assert_int_equal(tokenizer_pad(t, -1, -1, eos, 2), tokenizer_id(t, "<|im_start|>"));
    assert_int_equal(tokenizer_pad(t, -1, 1, eos, 2), -1);
    tokenizer_free(t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(files_of_a_folder_are_copied_byte_for_byte),
    cmocka_unit_test(a_gguf_becomes_a_folder_with_the_same_ids),
    cmocka_unit_test(the_chat_template_survives_byte_for_byte),
    cmocka_unit_test(a_reward_model_is_padded_with_a_token_that_ends_no_text),
};
KIT_MAIN(tests)
