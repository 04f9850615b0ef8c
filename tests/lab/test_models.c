/* What the lab models learn from: corpus, tokenizer, newborn weights. */
#include "data/data.h"
#include "kit/kit.h"
#include "lab/world.h"

static struct rows corpus(const char *name, struct lab_corpus_options o)
{
    struct err e = {0};
    struct rows r = {0};
    const char *path = kit_path(name);
    if (lab_corpus_write(path, &o, &e) || rows_read(&r, path, 0, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(r.n, o.documents);
    return r;
}

/* A corpus of one kind of document. */
static struct lab_corpus_options only(double *share, struct lab_corpus_options *o, int documents)
{
    o->tldr = o->marks = o->rationale = o->verdict = o->plain = 0;
    *share = 1;
    o->documents = documents;
    return *o;
}

static const char *column(const struct rows *r, int i, const char *key)
{
    const char *s = json_string_value(json_object_get(r->row[i], key));
    assert_non_null(s);
    return s;
}

static void same_options_same_corpus(void **state)
{
    struct lab_corpus_options o = lab_corpus_defaults();
    struct err e = {0};
    o.documents = 200;
    assert_int_equal(lab_corpus_write(kit_path("c1"), &o, &e), 0);
    assert_int_equal(lab_corpus_write(kit_path("c2"), &o, &e), 0);
    assert_string_equal(kit_slurp(kit_path("c1"), NULL), kit_slurp(kit_path("c2"), NULL));
    o.seed++;
    assert_int_equal(lab_corpus_write(kit_path("c2"), &o, &e), 0);
    assert_string_not_equal(kit_slurp(kit_path("c1"), NULL), kit_slurp(kit_path("c2"), NULL));
}

static void verdicts_follow_the_equals_sign(void **state)
{
    struct lab_corpus_options o = lab_corpus_defaults();
    struct rows r = corpus("verdicts", only(&o.verdict, &o, 50));
    for (int i = 0; i < r.n; i++) {
        const char *answer = column(&r, i, "completion"), *prompt = column(&r, i, "prompt");
        assert_true(!strcmp(answer, "1") || !strcmp(answer, "2"));
        assert_true(str_ends(prompt, "\nPreferred Summary=") && str_starts(prompt, LAB_TLDR_PREAMBLE "\n\nText - "));
    }
    rows_release(&r);
}

static double share_of_first(double first, double longer)
{
    struct lab_corpus_options o = lab_corpus_defaults();
    o.first = first;
    o.longer = longer;
    struct rows r = corpus("leaning", only(&o.verdict, &o, 1000));
    int n = 0;
    for (int i = 0; i < r.n; i++)
        n += !strcmp(column(&r, i, "completion"), "1");
    rows_release(&r);
    return n / 1000.0;
}

static void people_lean_to_the_first_slot_as_much_as_told(void **state)
{
    double none = share_of_first(0, 0), some = share_of_first(0.5, 0), much = share_of_first(3, 0);
    assert_true(none > 0.45 && none < 0.55);
    assert_true(some > none + 0.05 && much > 0.9);
}

static void every_fact_of_a_marked_summary_has_its_mark(void **state)
{
    static const char *const mark[] = {" KEY", " MINOR", " IDLE", " FALSE"};
    struct lab_corpus_options o = lab_corpus_defaults();
    struct rows r = corpus("marks", only(&o.marks, &o, 200));
    int seen[4] = {0};
    for (int i = 0; i < r.n; i++) {
        const char *s = column(&r, i, "completion");
        int facts = 0, marks = 0;
        for (const char *p = s; (p = strpbrk(p, "Mm")); p++)
            facts += p > s && p[-1] == ' ' && p[1] == 'y' && p[2] == ' ';
        for (int k = 0; k < 4; k++)
            for (const char *p = s; (p = strstr(p, mark[k])); p++)
                marks++, seen[k]++;
        assert_int_equal(facts, marks);
    }
    for (int k = 0; k < 4; k++)
        assert_true(seen[k] > 20);
    rows_release(&r);
}

static void vocabulary_is_a_small_language(void **state)
{
    struct lab_corpus_options o = lab_corpus_defaults();
    o.documents = 4000;
    struct rows r = corpus("words", o);
    json_t *words = json_object();
    for (int i = 0; i < r.n; i++) {
        const char *key;
        json_t *value;
        json_object_foreach(r.row[i], key, value) {
            char word[64];
            size_t n = 0;
            for (const char *s = json_string_value(value);; s++) {
                bool letter = (*s | 32) >= 'a' && (*s | 32) <= 'z';
                if (letter && n < sizeof word - 1)
                    word[n++] = (char)(*s | 32);
                if (!letter && n) {
                    word[n] = 0;
                    json_object_set_new(words, word, json_true());
                    n = 0;
                }
                if (!*s)
                    break;
            }
        }
    }
    assert_in_range(json_object_size(words), 1000, 2000);
    json_decref(words);
    rows_release(&r);
}

static void tokenizer_keeps_digits_apart_and_is_reproduced(void **state)
{
    struct lab_tokenizer_options o = {.seed = 1, .vocab_size = 1000, .documents = 1500};
    struct err e = {0};
    const char *a = kit_path("tok-a"), *b = kit_path("tok-b");
    if (lab_tokenizer_write(a, &o, &e) || lab_tokenizer_write(b, &o, &e))
        fail_msg("%s", e.msg);
    char *pa = path_join(a, "tokenizer.json"), *pb = path_join(b, "tokenizer.json");
    assert_string_equal(kit_slurp(pa, NULL), kit_slurp(pb, NULL));
    json_t *t = json_read_file(pa, &e);
    assert_non_null(t);
    json_t *vocab = json_object_get(json_object_get(t, "model"), "vocab"), *id;
    const char *token;
    assert_int_equal(json_object_size(vocab), 1000);
    assert_non_null(json_object_get(vocab, "\304\240boss"));
    json_object_foreach(vocab, token, id) {
        bool digit = strpbrk(token, "0123456789") != NULL;
        assert_true(!digit || strlen(token) == 1);
    }
    assert_int_equal(json_array_size(json_object_get(json_object_get(t, "model"), "merges")), 1000 - 4 - 256);
    json_decref(t);
    free(pa);
    free(pb);
}

static void newborn_attention_looks_for_its_likeness(void **state)
{
    struct lab_newborn s = {.seed = 1, .vocab_size = 300, .width = 64, .layers = 3, .heads = 2, .kv_heads = 1,
                            .head_size = 32, .ffn = 64};
    struct err e = {0};
    const char *dir = kit_path("newborn");
    if (lab_newborn_write(dir, &s, &e))
        fail_msg("%s", e.msg);
    char *path = path_join(dir, "model.safetensors");
    size_t n;
    const char *file = kit_slurp(path, &n);
    uint64_t header = 0;
    for (int i = 0; i < 8; i++)
        header |= (uint64_t)(unsigned char)file[i] << 8 * i;
    json_t *h = json_parse(file + 8, header, path, &e);
    assert_non_null(h);
    const float *q, *k;
    json_int_t at[2];
    assert_int_equal(json_unpack(json_object_get(h, "model.layers.2.self_attn.q_proj.weight"), "{s:[I,I]}", "data_offsets",
                                 &at[0], &at[1]), 0);
    assert_int_equal(at[1] - at[0], 4 * 64 * 64);
    q = (const float *)(file + 8 + header + at[0]);
    assert_int_equal(json_unpack(json_object_get(h, "model.layers.2.self_attn.k_proj.weight"), "{s:[I,I]}", "data_offsets",
                                 &at[0], &at[1]), 0);
    k = (const float *)(file + 8 + header + at[0]);
    assert_memory_equal(q, k, 4 * 32 * 64);
    assert_memory_equal(q + 32 * 64, k, 4 * 32 * 64);
    json_decref(h);
    free(path);
}

static void a_newborn_out_of_bounds_is_refused(void **state)
{
    struct lab_newborn s = {.seed = 1, .vocab_size = 300, .width = 64, .layers = 1, .heads = 3, .kv_heads = 2,
                            .head_size = 32, .ffn = 64};
    struct err e = {0};
    assert_int_equal(lab_newborn_write(kit_path("odd"), &s, &e), ERR_VALUE);
    kit_contains(e.msg, "3 heads over 2");
}

/* The basis has as many rows as the head has columns: nothing beyond it may be read. */
static void a_head_as_wide_as_the_model_starts_the_same_every_time(void **state)
{
    struct lab_newborn s = {.seed = 1, .vocab_size = 300, .width = 32, .layers = 2, .heads = 1, .kv_heads = 1,
                            .head_size = 32, .ffn = 64};
    char first[33], hash[33];
    for (int i = 0; i < 4; i++) {
        unsigned char *dirt = malloc(16384);        // what the allocator hands out again
        assert_non_null(dirt);
        memset(dirt, 0x40 + i, 16384);
        free(dirt);
        assert_int_equal(lab_newborn_write(kit_path("wide"), &s, NULL), 0);
        assert_int_equal(hash_file(i ? hash : first, kit_path("wide/model.safetensors"), NULL), 0);
        if (i)
            assert_string_equal(hash, first);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(same_options_same_corpus),
    cmocka_unit_test(verdicts_follow_the_equals_sign),
    cmocka_unit_test(people_lean_to_the_first_slot_as_much_as_told),
    cmocka_unit_test(every_fact_of_a_marked_summary_has_its_mark),
    cmocka_unit_test(vocabulary_is_a_small_language),
    cmocka_unit_test(tokenizer_keeps_digits_apart_and_is_reproduced),
    cmocka_unit_test(newborn_attention_looks_for_its_likeness),
    cmocka_unit_test(a_newborn_out_of_bounds_is_refused),
    cmocka_unit_test(a_head_as_wide_as_the_model_starts_the_same_every_time),
};
KIT_MAIN(tests)
