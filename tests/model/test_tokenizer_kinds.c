/* test_tokenizer_kinds.c - every component of a tokenizer.json, in small tokenizers that
 * `tokenizers` itself trained (tools/vectors_tokenizer.py): the same ids, the same text back.
 */
#include "model/tokenizer_cases.h"

static void check_kinds(const char *const *names, int n)
{
    for (int i = 0; i < n; i++) {
        struct tokenizer *t = vectors(names[i]);
        assert_true(check_file(t, names[i]) >= 180);
        tokenizer_free(t);
    }
}
#define CHECK(...)                                                                             \
    do {                                                                                       \
        static const char *const names[] = {__VA_ARGS__};                                      \
        check_kinds(names, (int)ARRAY_LEN(names));                                             \
    } while (0)

static void llama2_mistral_and_gemma_give_the_ids_of_tokenizers(void **state)
{
    CHECK("llama2", "mistral", "gemma");
}
static void unknown_characters_and_bytes_come_in_the_order_of_tokenizers(void **state)
{
    CHECK("fallback_holes");
}
static void metaspace_puts_its_mark_first_or_everywhere(void **state)
{
    CHECK("metaspace_first", "metaspace_other");
}
static void byte_level_stands_anywhere_in_the_chain(void **state)
{
    CHECK("digit_runs", "bytes_then_digits", "byte_normalizer", "roberta");
}
static void splits_join_neighbours_as_told(void **state)
{
    CHECK("split_merged_with_previous", "split_merged_with_next_inverted", "split_contiguous",
          "split_removed_inverted", "split_empty", "split_lines", "split_string", "delimiter");
}
static void words_have_prefixes_and_suffixes(void **state)
{
    CHECK("suffix", "prefix");
}
static void normalizers_change_text_as_those_of_tokenizers(void **state)
{
    CHECK("normal_nfkd", "normal_unmark", "normal_nmt", "normal_replace",
          "normal_bert_accents");
}
static void bert_and_whole_words_give_the_ids_of_tokenizers(void **state)
{
    CHECK("bert", "wordlevel");
}
static void unigram_finds_the_likeliest_pieces(void **state)
{
    CHECK("unigram", "unigram_bytes", "unigram_level");
}

/* ---- from elsewhere than a tokenizer.json -------------------------------------------- */

static void sentencepiece_models_give_the_ids_of_sentencepiece(void **state)
{
    CHECK("spm_bpe", "spm_unigram");
}

static void the_same_vocabulary_in_a_gguf_gives_the_same_ids(void **state)
{
    struct tokenizer *t = open_good(kit_tests("vectors/tokenizer/spm_bpe.gguf"));
    assert_true(check_file(t, "spm_bpe") >= 180);
    tokenizer_free(t);
}

/* Written as a tokenizer.json and read again; runs of spaces are left out, whose tokens share
 * one score (tokenizer/scores.c). */
static void what_comes_from_elsewhere_is_saved_with_the_same_ids(void **state)
{
    static const char *const from[] = {"vectors/tokenizer/spm_bpe",
                                       "vectors/tokenizer/spm_unigram",
                                       "vectors/tokenizer/spm_bpe.gguf"};
    static const char *const texts[] = {"",
                                        "x",
                                        " a b",
                                        "the mill by the river <s> 12.5",
                                        "\xC3\xA9t\xC3\xA9",
                                        "\xE4\xBB\x8A\xE6\x97\xA5 \xF0\x9F\x98\x80\n\ttab",
                                        "int i = 0;"};
    for (size_t i = 0; i < ARRAY_LEN(from); i++) {
        const char *dir = kit_path("saved");
        struct err err = {0};
        struct tokenizer *t = open_good(kit_tests(from[i])), *again;
        assert_int_equal(dir_make(dir, NULL), 0);
        if (tokenizer_save(t, dir, &err))
            fail_msg("%s", err.msg);
        again = open_good(dir);
        assert_int_equal(tokenizer_vocab(t), tokenizer_vocab(again));
        for (size_t k = 0; k < ARRAY_LEN(texts); k++) {
            int flags = TOKENIZE_SPECIAL | TOKENIZE_PARSE_SPECIAL;
            struct tokens a = {0}, b = {0};
            struct buf x = {0}, y = {0};
            assert_int_equal(tokenize(t, &a, texts[k], strlen(texts[k]), flags, NULL), 0);
            assert_int_equal(tokenize(again, &b, texts[k], strlen(texts[k]), flags, NULL), 0);
            assert_int_equal(a.n, b.n);
            for (int j = 0; j < a.n; j++)
                assert_int_equal(a.id[j], b.id[j]);
            assert_int_equal(detokenize(t, &x, a.id, a.n, true), 0);
            assert_int_equal(detokenize(again, &y, a.id, a.n, true), 0);
            assert_string_equal(x.s ? x.s : "", y.s ? y.s : "");
            tokens_release(&a);
            tokens_release(&b);
            buf_release(&x);
            buf_release(&y);
        }
        tokenizer_free(t);
        tokenizer_free(again);
        assert_int_equal(dir_remove(dir, NULL), 0);
    }
}

static void files_beside_a_sentencepiece_model_add_tokens_and_options(void **state)
{
    const char *dir = kit_path("beside");
    char *model = path_join(dir, "tokenizer.model"),
         *config = path_join(dir, "tokenizer_config.json");
    static const char text[] =
        "{\"add_eos_token\": true, \"legacy\": false, \"added_tokens_decoder\": {\"2000\": "
        "{\"content\": \"<|end|>\", \"special\": true, \"rstrip\": true}}}";
    struct tokens k = {0};
    assert_int_equal(dir_make(dir, NULL), 0);
    assert_int_equal(
        file_copy(model, kit_tests("vectors/tokenizer/spm_bpe/tokenizer.model"), NULL), 0);
    assert_int_equal(file_write(config, text, sizeof text - 1, NULL), 0);
    struct tokenizer *t = open_good(dir);
    assert_int_equal(tokenizer_vocab(t), 2001);
    assert_int_equal(tokenizer_id(t, "<|end|>"), 2000);
    assert_int_equal(
        tokenize(t, &k, "<|end|> a", 9, TOKENIZE_SPECIAL | TOKENIZE_PARSE_SPECIAL, NULL), 0);
    assert_int_equal(k.n, 4); // legacy false: no mark in front of what follows a token
    assert_int_equal(k.id[0], 1);
    assert_int_equal(k.id[1], 2000);
    assert_int_equal(k.id[2], tokenizer_id(t, "a"));
    assert_int_equal(k.id[3], 2);
    tokens_release(&k);
    tokenizer_free(t);
    free(model);
    free(config);
}

static void broken_sentencepiece_models_are_refused_at_every_length(void **state)
{
    size_t n;
    const char *all = kit_slurp(kit_tests("vectors/tokenizer/spm_unigram/tokenizer.model"), &n);
    for (size_t keep = 0; keep < n; keep += keep < 100 ? 1 : 97) {
        struct tokenizer *t = NULL;
        struct err err = {0};
        const char *path = kit_bytes("cut.model", all, keep);
        if (tokenizer_open(&t, path, &err) ==
            0) // cut between two pieces it is a model with fewer
            tokenizer_free(t);
        else
            kit_contains(err.msg, "cut.model");
    }
}

/* ---- text as its tokens come ----------------------------------------------------------- */

static void a_stream_never_splits_a_character(void **state)
{
    static const char text[] = "\xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\x91\xA9 \xE4\xBB\x8A x";
    static const char *const names[] = {"gemma", "digit_runs"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct tokenizer *t = vectors(names[i]);
        struct text_stream s = {0};
        struct tokens k = {0};
        struct buf all = {0}, part = {0};
        int silent = 0;
        assert_int_equal(tokenize(t, &k, text, sizeof text - 1, 0, NULL), 0);
        for (int j = 0; j < k.n; j++) {
            buf_clear(&part);
            assert_int_equal(text_stream_push(&s, t, &part, k.id[j]), 0);
            assert_int_equal(part.s ? utf8_valid(part.s, part.len) : 0, part.len);
            silent += part.len == 0;
            buf_add(&all, part.s ? part.s : "", part.len);
        }
        assert_true(silent >= 6); // characters of several tokens came in one go
        assert_int_equal(text_stream_end(&s, &all), 0);
        kit_contains(all.s, text);
        // the beginning of a character that never ends
        buf_clear(&all);
        for (int j = 0; j < 2; j++)
            assert_int_equal(text_stream_push(&s, t, &all, k.id[j]), 0);
        size_t before = all.len;
        assert_int_equal(text_stream_end(&s, &all), 0);
        assert_int_equal(all.len, before + 3);
        assert_memory_equal(all.s + before, "\xEF\xBF\xBD", 3);
        text_stream_release(&s);
        tokens_release(&k);
        buf_release(&all);
        buf_release(&part);
        tokenizer_free(t);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(llama2_mistral_and_gemma_give_the_ids_of_tokenizers),
    cmocka_unit_test(unknown_characters_and_bytes_come_in_the_order_of_tokenizers),
    cmocka_unit_test(metaspace_puts_its_mark_first_or_everywhere),
    cmocka_unit_test(byte_level_stands_anywhere_in_the_chain),
    cmocka_unit_test(splits_join_neighbours_as_told),
    cmocka_unit_test(words_have_prefixes_and_suffixes),
    cmocka_unit_test(normalizers_change_text_as_those_of_tokenizers),
    cmocka_unit_test(bert_and_whole_words_give_the_ids_of_tokenizers),
    cmocka_unit_test(unigram_finds_the_likeliest_pieces),
    cmocka_unit_test(sentencepiece_models_give_the_ids_of_sentencepiece),
    cmocka_unit_test(the_same_vocabulary_in_a_gguf_gives_the_same_ids),
    cmocka_unit_test(what_comes_from_elsewhere_is_saved_with_the_same_ids),
    cmocka_unit_test(files_beside_a_sentencepiece_model_add_tokens_and_options),
    cmocka_unit_test(broken_sentencepiece_models_are_refused_at_every_length),
    cmocka_unit_test(a_stream_never_splits_a_character),
};
KIT_MAIN(tests)
