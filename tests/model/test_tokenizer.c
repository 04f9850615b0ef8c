/* test_tokenizer.c - ids equal those of others (tests/cases/tokenizer), wrong files are
 * refused, bad text is survived. */
#include "model/tokenizer_cases.h"

#include <sys/stat.h>
#include <time.h>

static const char SMOLLM2[] = "../models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

static void check_case(const char *name)
{
    struct tokenizer *t = vectors(name);
    assert_true(check_file(t, name) >= 500);
    tokenizer_free(t);
}

static void digits_then_gpt2_gives_the_ids_of_tokenizers(void **state)
{
    check_case("digits");
}
static void space_nfc_and_added_tokens_give_the_ids_of_tokenizers(void **state)
{
    check_case("spaced");
}
static void llama3_pattern_and_template_give_the_ids_of_tokenizers(void **state)
{
    check_case("llama3");
}

static void the_same_tokenizer_in_a_gguf_gives_the_same_ids(void **state)
{
    struct tokenizer *t = open_good(kit_tests("vectors/gguf/tiny.gguf"));
    check_file(t, "digits");
    tokenizer_free(t);
}

static void broken_utf8_becomes_replacement_characters(void **state)
{
    struct tokenizer *t = vectors("digits");
    assert_true(check_file(t, "broken") > 5);
    tokenizer_free(t);
}

static void smollm2_gives_the_ids_of_llama_cpp(void **state)
{
    if (!kit_exists(kit_tests(SMOLLM2))) {
        print_message("skip: no models/smollm2 (make smollm2)\n");
        skip();
    }
    struct tokenizer *t = open_good(kit_tests(SMOLLM2));
    assert_true(check_file(t, "smollm2") >= 500);
    tokenizer_free(t);
}

/* ---- decoding ------------------------------------------------------------------- */

static void decoding_gives_back_every_byte(void **state)
{
    struct tokenizer *t = vectors("digits");
    struct tokens k = {0};
    struct buf text = {0}, back = {0};
    for (int c = 0; c < 0x3000; c++) { // NUL included, surrogates are not reached
        char u[4] = {(char)(c < 0x80 ? c : c < 0x800 ? 0xC0 | c >> 6 : 0xE0 | c >> 12)};
        int n = c < 0x80 ? 1 : c < 0x800 ? 2 : 3;
        for (int i = 1; i < n; i++)
            u[i] = (char)(0x80 | (c >> 6 * (n - 1 - i) & 63));
        buf_add(&text, u, (size_t)n);
    }
    assert_int_equal(tokenize(t, &k, text.s, text.len, 0, NULL), 0);
    assert_int_equal(detokenize(t, &back, k.id, k.n, false), 0);
    assert_int_equal(back.len, text.len);
    assert_memory_equal(back.s, text.s, text.len);
    tokens_release(&k);
    buf_release(&text);
    buf_release(&back);
    tokenizer_free(t);
}

static void special_tokens_are_skipped_on_request_and_unknown_ids_always(void **state)
{
    struct tokenizer *t = vectors("digits");
    struct tokens k = {0};
    struct buf b = {0};
    int strange[] = {-1, 1 << 30};
    assert_int_equal(
        tokenize(t, &k, "<|im_start|>hi<|im_end|>", 24, TOKENIZE_PARSE_SPECIAL, NULL), 0);
    assert_int_equal(detokenize(t, &b, k.id, k.n, true), 0);
    assert_int_equal(detokenize(t, &b, strange, 2, false), 0);
    assert_string_equal(b.s, "hi");
    assert_true(tokenizer_is_special(t, k.id[0]));
    assert_false(tokenizer_is_special(t, k.id[1]));
    tokens_release(&k);
    buf_release(&b);
    tokenizer_free(t);
}

static void tokens_are_found_by_spelling_and_by_word(void **state)
{
    struct tokenizer *t = vectors("digits");
    int id[4];
    assert_int_equal(tokenizer_vocab(t), 420);
    assert_int_equal(tokenizer_id(t, "<|im_end|>"), 2);
    assert_int_equal(tokenizer_id(t, "no such token"), -1);
    int bare = tokenizer_id(t, "is"), spaced = tokenizer_id(t, "\xC4\xA0is");
    assert_int_equal(tokenizer_spellings(t, "is", id, 4), 2);
    assert_true(bare >= 0 && spaced >= 0 &&
                ((id[0] == bare && id[1] == spaced) || (id[0] == spaced && id[1] == bare)));
    assert_int_equal(tokenizer_spellings(t, "is", id, 1), 1);
    assert_int_equal(tokenizer_spellings(t, "1", id, 4), 1);
    assert_int_equal(tokenizer_spellings(t, "<|im_end|>", id, 4), 0);
    tokenizer_free(t);
}

static void tokenize_appends_and_a_failure_takes_back(void **state)
{
    struct tokenizer *t = vectors("digits");
    struct tokens k = {0};
    assert_int_equal(tokenize(t, &k, "one", 3, 0, NULL), 0);
    int n = k.n;
    assert_int_equal(tokenize(t, &k, "one", 3, 0, NULL), 0);
    assert_int_equal(k.n, 2 * n);
    assert_memory_equal(k.id, k.id + n, (size_t)n * sizeof *k.id);
    assert_int_equal(tokenize(t, &k, NULL, 0, TOKENIZE_SPECIAL, NULL), 0);
    assert_int_equal(k.n, 2 * n);
    tokens_release(&k);
    tokenizer_free(t);
}

/* ---- long inputs ---------------------------------------------------------------- */

/* Seconds of this process for n bytes that repeat `unit`: what else the machine does is not counted. */
static double seconds_for(const struct tokenizer *t, const char *unit, size_t n)
{
    struct tokens k = {0};
    struct buf b = {0};
    while (b.len < n)
        buf_adds(&b, unit);
    clock_t start = clock();
    assert_int_equal(tokenize(t, &k, b.s, b.len, TOKENIZE_PARSE_SPECIAL, NULL), 0);
    double took = (double)(clock() - start) / CLOCKS_PER_SEC;
    tokens_release(&k);
    buf_release(&b);
    return took;
}

static void long_runs_of_anything_are_not_slow(void **state)
{
    static const char *const units[] = {"a",     " ", "ab", "\n",   "<",
                                        "<|im_", "1", "!?", "the ", "\xC3\xA9"};
    struct tokenizer *t = vectors("digits"), *l = vectors("llama3");
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        size_t n = (size_t)1 << (i ? 17 : 20); // a megabyte of one letter, less of the others
        double s = seconds_for(t, units[i], n), s3 = seconds_for(l, units[i], n);
        if (s > 10 ||
            s3 > 10) // quadratic work takes minutes; a sanitized run some seconds
            fail_msg("%zu bytes of '%s' take %.1f and %.1f s", n, units[i], s, s3);
    }
    tokenizer_free(t);
    tokenizer_free(l);
}

/* ---- wrong files ---------------------------------------------------------------- */

/* A small good tokenizer.json with the parts given; NULL: the usual ones. */
static const char *folder_with(const char *model, const char *pre, const char *rest)
{
    const char *dir = kit_path("wrong");
    mkdir(dir, 0755);
    char *path = path_join(dir, "tokenizer.json");
    FILE *f = fopen(path, "wb");
    fprintf(f, "{\"model\": %s, \"pre_tokenizer\": %s%s}",
            model ? model
                  : "{\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}, "
                    "\"merges\": [\"a b\"]}",
            pre ? pre : "{\"type\": \"ByteLevel\", \"add_prefix_space\": false}",
            rest ? rest : "");
    fclose(f);
    free(path);
    return dir;
}

static void refused(const char *path, const char *part)
{
    struct tokenizer *t = NULL;
    struct err err = {0};
    int rc = tokenizer_open(&t, path, &err);
    tokenizer_free(t);
    if (rc == 0)
        fail_msg("accepted; expected: %s", part);
    kit_contains(err.msg, part);
    kit_contains(err.msg, path);
}

/* The reference's ids (tokenizers 0.23): '..' + '.' is ahead of '.' + '..' by the last bit of the sum. */
static void equal_ways_after_the_unknown_are_decided_as_the_reference_does(void **state)
{
    static const char model[] = "{\"type\": \"Unigram\", \"unk_id\": 0, \"vocab\": [[\"<unk>\", -8.394], "
                                "[\"a\", -6.278], [\".\", -6.603], [\"..\", -4.56]]}";
    static const int expected[] = {1, 0, 3, 2};
    struct tokenizer *t = NULL;
    struct tokens ids = {0};
    assert_int_equal(tokenizer_open(&t, folder_with(model, "null", NULL), NULL), 0);
    assert_int_equal(tokenize(t, &ids, "a?...", 5, 0, NULL), 0);
    assert_int_equal(ids.n, (int)ARRAY_LEN(expected));
    assert_memory_equal(ids.id, expected, sizeof expected);
    tokens_release(&ids);
    tokenizer_free(t);
}

static void wrong_models_are_refused(void **state)
{
    static const struct {
        const char *model, *part;
    } cases[] = {
        {"{\"type\": \"Unigram\"}", "'model.vocab' should be a list of pieces"},
        {"{\"type\": \"Unigram\", \"vocab\": {\"a\": 0}}", "no vocabulary of model Unigram"},
        {"{\"type\": \"Unigram\", \"vocab\": [[\"a\", 0], [1, 2]]}",
         "model.vocab[1] should be [piece, score]"},
        {"{\"type\": \"Unigram\", \"vocab\": [[\"a\", 0]], \"unk_id\": 1}",
         "'model.unk_id' is 1, of 1 tokens"},
        {"{\"type\": \"BPE\", \"vocab\": [[\"a\", 0]]}", "no vocabulary of model BPE"},
        {"{\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}, "
         "\"max_input_chars_per_word\": 100000}",
         "max_input_chars_per_word' is 100000"},
        {"{\"type\": \"CharBPE\"}", "model has type 'CharBPE'; supported: BPE, Unigram"},
        {"7", "model has type ''"},
        {"{\"type\": \"BPE\"}", "'model.vocab' should be an object"},
        {"{\"type\": \"BPE\", \"vocab\": {}}", "'model.vocab' should be an object"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": \"x\"}, \"merges\": []}",
         "token 'a': expected an id"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": -1}, \"merges\": []}",
         "token 'a': expected an id"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 9999999999}, \"merges\": []}",
         "token 'a': expected an id"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []}",
         "'a' and 'b' have the same id 0"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 0}}", "'model.merges' should be a list"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a b\"]}",
         "merge 0, 'a' and 'b': the second is not in the vocabulary"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [[\"a\", \"a\"]]}",
         "their union is not in the vocabulary"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [7]}", "merge 0 should be"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a  a\"]}",
         "merge 0 should be"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [], \"byte_fallback\": 3}",
         "'byte_fallback' should be true or false"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [], \"dropout\": 0.1}",
         "'model.dropout' is set"},
        {"{\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [], \"unk_token\": \"u\"}",
         "unk_token 'u' is not in the vocabulary"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        refused(folder_with(cases[i].model, NULL, NULL), cases[i].part);
}

static void steps_we_do_not_have_are_refused_by_name(void **state)
{
    static const struct {
        const char *pre, *rest, *part;
    } cases[] = {
        {"{\"type\": \"FixedLength\"}", NULL,
         "pre_tokenizer has type 'FixedLength'; supported: ByteLevel, Split, "},
        {"{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"ByteLevel\"}, {\"type\": "
         "\"UnicodeScripts\"}]}",
         NULL, "pre_tokenizer.pretokenizers[1] has type 'UnicodeScripts'"},
        {"{\"type\": \"Sequence\"}", NULL, "pre_tokenizer: a Sequence without its list"},
        {"{\"type\": \"Split\", \"pattern\": {\"Regex\": \"(\"}, \"behavior\": \"Isolated\"}",
         NULL, "regular expression '('"},
        {"{\"type\": \"Split\", \"pattern\": {\"Regex\": \"[a&&[b]]\"}, \"behavior\": "
         "\"Isolated\"}",
         NULL, "a set within a set, or &&, is not supported"},
        {"{\"type\": \"Split\", \"pattern\": {}, \"behavior\": \"Isolated\"}", NULL,
         "pre_tokenizer: expected a pattern"},
        {"{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"}, \"behavior\": \"Other\"}", NULL,
         "behavior 'Other' is not known"},
        {"{\"type\": \"Metaspace\", \"replacement\": \"ab\"}", NULL,
         "expected one character as replacement"},
        {NULL, ", \"normalizer\": {\"type\": \"Other\"}", "normalizer has type 'Other'"},
        {NULL, ", \"normalizer\": {\"type\": \"Prepend\"}", "'prepend' is missing"},
        {NULL, ", \"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"!\"}",
         "precompiled_charsmap is not base64"},
        {NULL,
         ", \"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": "
         "\"/////w==\"}",
         "precompiled_charsmap of 4 bytes"},
        {NULL, ", \"decoder\": {\"type\": \"CTC\"}", "decoder has type 'CTC'"},
        {NULL,
         ", \"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Fuse\"}, "
         "{\"type\": \"Strip\", \"content\": \" \", \"start\": -1}]}",
         "decoder.decoders[1]: expected a character as content, and counts"},
        {NULL, ", \"post_processor\": {\"type\": \"Other\"}", "post_processor has type 'Other'"},
        {NULL, ", \"post_processor\": {\"type\": \"BertProcessing\", \"cls\": [\"a\", 9]}",
         "post_processor: 'cls' has an id that is no token"},
        {NULL,
         ", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": "
         "[{\"SpecialToken\": {\"id\": \"x\"}}]}",
         "'x' has no ids listed"},
        {NULL,
         ", \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": "
         "[{\"SpecialToken\": {\"id\": \"x\"}}], "
         "\"special_tokens\": {\"x\": {\"ids\": [3]}}}",
         "an id that is no token"},
        {NULL, ", \"added_tokens\": 3", "'added_tokens' should be a list"},
        {NULL, ", \"added_tokens\": [3]", "added_tokens"},
        {NULL, ", \"added_tokens\": [{\"id\": 0, \"content\": \"x\"}]",
         "'a' and 'x' have the same id 0"},
        {NULL, ", \"added_tokens\": [{\"id\": 3, \"content\": \"x\", \"special\": 1}]",
         "'special' should be true or false"},
        {NULL, ", \"added_tokens\": [{\"id\": 3, \"content\": \"ab\"}]",
         "tokens 2 and 3 have the same spelling 'ab'"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tokenizer *t = NULL;
        struct err err = {0};
        int rc = tokenizer_open(&t, folder_with(NULL, cases[i].pre, cases[i].rest), &err);
        tokenizer_free(t);
        if (rc == 0)
            fail_msg("accepted; expected: %s", cases[i].part);
        kit_contains(err.msg, cases[i].part);
    }
    refused(kit_path("nothing-here"), "no tokenizer here");
}

static void truncated_tokenizers_are_refused_at_every_length(void **state)
{
    size_t n;
    const char *all = kit_slurp(kit_tests("vectors/tokenizer/spaced/tokenizer.json"), &n),
               *dir = kit_path("cut");
    char *path = path_join(dir, "tokenizer.json");
    mkdir(dir, 0755);
    while (n && all[n - 1] == '\n')
        n--;
    for (size_t keep = 0; keep < n; keep += keep < 200 ? 7 : 211) {
        FILE *f = fopen(path, "wb");
        fwrite(all, 1, keep, f);
        fclose(f);
        refused(dir, "tokenizer.json");
    }
    free(path);
}

/* Where the fast reader gives up, the slow one reads the same. */
static void both_readers_of_a_vocabulary_agree(void **state)
{
    static const char *const models[] = {
        "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"\\u00c4\\u0120\": 1, \"\\\"\": "
        "2, \"b\":3,\"ab\" : 4, \"\\ud83d\\ude00\": 5}, "
        "\"merges\": [[\"a\", \"b\"]]}",
        "\"mod\\u0065l\": {\"vocab\": {\"a\": 0, \"\\u00c4\\u0120\": 1, \"\\\"\": 2, "
        "\"b\":3,\"ab\" : 4, \"\\ud83d\\ude00\": 5}, "
        "\"merges\": [\"a b\"], \"type\": \"BPE\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        const char *dir = kit_path(i ? "slow" : "fast");
        char *path = path_join(dir, "tokenizer.json"),
             *text =
                 str_printf("{%s,\n \"pre_tokenizer\": {\"type\": \"ByteLevel\"}}", models[i]);
        mkdir(dir, 0755);
        FILE *f = fopen(path, "wb");
        fputs(text, f);
        fclose(f);
        free(path);
        free(text);
        struct tokenizer *t = open_good(dir);
        assert_int_equal(tokenizer_id(t, "\xC3\x84\xC4\xA0"), 1);
        assert_int_equal(tokenizer_id(t, "\""), 2);
        assert_int_equal(tokenizer_id(t, "ab"), 4);
        assert_int_equal(tokenizer_id(t, "\xF0\x9F\x98\x80"), 5);
        struct tokens k = {0};
        assert_int_equal(tokenize(t, &k, "ab", 2, 0, NULL), 0);
        assert_int_equal(k.n, 1);
        assert_int_equal(k.id[0], 4);
        tokens_release(&k);
        tokenizer_free(t);
    }
}

/* Bytes that have no token, and no unknown token, leave nothing behind. */
static void bytes_without_a_token_are_left_out(void **state)
{
    struct tokenizer *t = open_good(folder_with(NULL, NULL, NULL));
    struct tokens k = {0};
    assert_int_equal(tokenize(t, &k, "axb ab", 6, 0, NULL), 0);
    assert_int_equal(k.n, 2); // "a" and "b" meet when "x" is gone, as in tokenizers
    assert_int_equal(k.id[0], 2);
    assert_int_equal(k.id[1], 2);
    tokens_release(&k);
    tokenizer_free(t);
    t = open_good(folder_with("{\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2, "
                              "\"?\": 3}, \"merges\": [\"a b\"], "
                              "\"unk_token\": \"?\", \"fuse_unk\": true}",
                              NULL, NULL));
    assert_int_equal(tokenize(t, &k, "axyb", 4, 0, NULL), 0);
    assert_int_equal(k.n, 3);
    assert_int_equal(k.id[1], 3);
    tokens_release(&k);
    tokenizer_free(t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(digits_then_gpt2_gives_the_ids_of_tokenizers),
    cmocka_unit_test(space_nfc_and_added_tokens_give_the_ids_of_tokenizers),
    cmocka_unit_test(llama3_pattern_and_template_give_the_ids_of_tokenizers),
    cmocka_unit_test(the_same_tokenizer_in_a_gguf_gives_the_same_ids),
    cmocka_unit_test(broken_utf8_becomes_replacement_characters),
    cmocka_unit_test(smollm2_gives_the_ids_of_llama_cpp),
    cmocka_unit_test(decoding_gives_back_every_byte),
    cmocka_unit_test(special_tokens_are_skipped_on_request_and_unknown_ids_always),
    cmocka_unit_test(tokens_are_found_by_spelling_and_by_word),
    cmocka_unit_test(tokenize_appends_and_a_failure_takes_back),
    cmocka_unit_test(long_runs_of_anything_are_not_slow),
    cmocka_unit_test(equal_ways_after_the_unknown_are_decided_as_the_reference_does),
    cmocka_unit_test(wrong_models_are_refused),
    cmocka_unit_test(steps_we_do_not_have_are_refused_by_name),
    cmocka_unit_test(truncated_tokenizers_are_refused_at_every_length),
    cmocka_unit_test(both_readers_of_a_vocabulary_agree),
    cmocka_unit_test(bytes_without_a_token_are_left_out),
};
KIT_MAIN(tests)
