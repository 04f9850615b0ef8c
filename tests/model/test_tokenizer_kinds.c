/* test_tokenizer_kinds.c - every component of a tokenizer.json, in small tokenizers that
 * `tokenizers` itself trained (tools/vectors_tokenizer.py): the same ids, the same text back. */
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
};
KIT_MAIN(tests)
