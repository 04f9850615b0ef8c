/* The world tldr: files, oracle, annotators. */
#include "data/data.h"
#include "kit/kit.h"
#include "lab/oracle.h"

static struct lab_tldr_options small(uint64_t seed)
{
    return (struct lab_tldr_options){.seed = seed, .train_prompts = 60, .sft_prompts = 20, .eval_prompts = 10};
}

static const char *made(const char *name, struct lab_tldr_options o)
{
    struct err e = {0};
    const char *dir = kit_path(name);
    if (lab_tldr_generate(dir, &o, &e))
        fail_msg("%s", e.msg);
    return dir;
}

static const char *slurp(const char *dir, const char *name)
{
    char *path = path_join(dir, name);
    size_t n;
    const char *s = kit_slurp(path, &n);
    free(path);
    assert_non_null(s);
    return s;
}

static struct lab_truth *truth_of(const char *dir)
{
    struct err e = {0};
    struct lab_truth *t = NULL;
    char *path = path_join(dir, "truth.jsonl");
    if (lab_truth_open(&t, path, &e))
        fail_msg("%s", e.msg);
    free(path);
    return t;
}

/* One world of a thousand posts for the tests that count. */
static struct lab_truth *big_truth(void)
{
    struct lab_tldr_options o = small(3);
    o.train_prompts = 1000;
    return truth_of(made("big", o));
}

static void same_seed_same_files(void **state)
{
    static const char *const file[] = {"prompts.jsonl", "sft.jsonl", "eval.jsonl", "truth.jsonl"};
    const char *a = made("a", small(7)), *b = made("b", small(7)), *c = made("c", small(8));
    for (size_t i = 0; i < ARRAY_LEN(file); i++) {
        assert_string_equal(slurp(a, file[i]), slurp(b, file[i]));
        assert_string_not_equal(slurp(a, file[i]), slurp(c, file[i]));
    }
}

static void more_prompts_keep_the_first_ones(void **state)
{
    struct lab_tldr_options o = small(7);
    o.train_prompts = 90;
    const char *few = slurp(made("few", small(7)), "prompts.jsonl"), *many = slurp(made("many", o), "prompts.jsonl");
    assert_true(strlen(many) > strlen(few));
    assert_memory_equal(few, many, strlen(few));
}

static void rows_have_the_columns_of_the_field_and_no_truth(void **state)
{
    struct err e = {0};
    struct rows r = {0};
    const char *dir = made("columns", small(7));
    char *path = path_join(dir, "sft.jsonl");
    assert_int_equal(rows_read(&r, path, 0, &e), 0);
    assert_int_equal(r.n, 20);
    for (int i = 0; i < r.n; i++) {
        const char *prompt = json_string_value(json_object_get(r.row[i], "prompt"));
        assert_int_equal(json_object_size(r.row[i]), 3);
        assert_true(str_starts(prompt, "SUBREDDIT: r/") && str_ends(prompt, "\n\nTL;DR:"));
        assert_int_equal(json_string_value(json_object_get(r.row[i], "completion"))[0], ' ');
    }
    rows_release(&r);
    free(path);
}

static void text_of_a_prompt_is_the_post(void **state)
{
    size_t n;
    const char *s = lab_tldr_text("SUBREDDIT: r/a\n\nTITLE: b\n\nPOST: My dog.\n\nTL;DR:", &n);
    assert_int_equal(n, 7);
    assert_memory_equal(s, "My dog.", 7);
    s = lab_tldr_text("no post", &n);
    assert_string_equal(s, "no post");
    assert_int_equal(n, 7);
}

/* What writers say and what the oracle reads are the same, whatever the wording. */
static void oracle_reads_what_writers_wrote(void **state)
{
    struct lab_truth *t = big_truth();
    struct world *w = world_new();
    int invented = 0, repeated = 0;
    for (int i = 0; i < 1000; i++) {
        char id[64];
        snprintf(id, sizeof id, "tldr-3-train-%05d", i);
        const struct truth_post *p = truth_find(t, id);
        struct rng r;
        struct summary s;
        struct lab_score got;
        struct buf b = {0};
        int want[4] = {0}, twice = 0;
        rng_init(&r, 1, RNG_TEST, (uint64_t)i, 0);
        summary_draw(&s, w, &p->post, WRITER_ANY, 0.08, &r);
        lab_summary_write(&b, w, &p->post, &s, MARKS_NONE);
        for (int k = 0; k < s.n; k++) {
            bool again = false;
            for (int j = 0; j < k; j++)
                again |= s.said[j].subject == s.said[k].subject && s.said[j].thing == s.said[k].thing &&
                         s.said[j].deed == s.said[k].deed;
            twice += again;
            want[s.said[k].salience] += !again;
        }
        assert_int_equal(lab_score_text(&got, t, id, b.s, NULL), 0);
        assert_int_equal(got.key, want[SALIENCE_KEY]);
        assert_int_equal(got.minor, want[SALIENCE_MINOR]);
        assert_int_equal(got.idle, want[SALIENCE_IDLE]);
        assert_int_equal(got.invented, want[SALIENCE_NONE]);
        assert_int_equal(got.repeated, twice);
        assert_int_equal(got.stray, 0);
        invented += got.invented;
        repeated += got.repeated;
        buf_release(&b);
    }
    assert_in_range(invented, 200, 700);
    assert_in_range(repeated, 5, 100);
    world_free(w);
    lab_truth_free(t);
}

static struct lab_score scored(const struct lab_truth *t, const char *id, const char *text)
{
    struct lab_score s;
    assert_int_equal(lab_score_text(&s, t, id, text, NULL), 0);
    return s;
}

static void oracle_ranks_good_above_idle_above_invented(void **state)
{
    const char *path = kit_text("one.jsonl",
        "{\"id\":\"p\",\"topic\":\"pets\",\"facts\":[{\"subject\":\"dog\",\"deed\":\"took\",\"thing\":\"lamp\",\"salience\":\"key\"},"
        "{\"subject\":\"cat\",\"deed\":\"loved\",\"thing\":\"bath\",\"salience\":\"idle\"}],"
        "\"needs\":[[0,0],[0,0],[0,0],[0,0],[0,0]]}\n");
    struct lab_truth *t = NULL;
    assert_int_equal(lab_truth_open(&t, path, NULL), 0);
    struct lab_score key = scored(t, "p", " My dog grabbed the lamp."), idle = scored(t, "p", "My cat adored the bath."),
                     wrong = scored(t, "p", "My dog took the bath."), other = scored(t, "p", "My boss took the memo."),
                     twice = scored(t, "p", "My dog took the lamp and my dog grabbed the lamp."),
                     stray = scored(t, "p", "My dog took the lamp lamp my."), none = scored(t, "p", "");
    assert_int_equal(key.key, 1);
    assert_true(key.coverage == 1 && key.fluency == 1 && key.stray == 0);
    assert_int_equal(idle.idle, 1);
    assert_int_equal(wrong.invented, 1);
    assert_int_equal(other.invented, 1);
    assert_int_equal(twice.repeated, 1);
    assert_int_equal(stray.stray, 2);
    assert_true(key.total > twice.total && twice.total > idle.total && idle.total > wrong.total);
    assert_true(stray.total < key.total && none.total < 0 && none.words == 0);
    lab_truth_free(t);
}

static void any_bytes_can_be_scored(void **state)
{
    struct lab_truth *t = truth_of(made("bytes", small(7)));
    struct rng r;
    rng_init(&r, 1, RNG_TEST, 0, 0);
    for (int i = 0; i < 300; i++) {
        char text[3000];
        size_t n = rng_below(&r, sizeof text);
        for (size_t k = 0; k < n; k++)
            text[k] = i % 2 ? (char)(1 + rng_below(&r, 255)) : "my dog took the lamp and"[rng_below(&r, 24)];
        text[n ? n - 1 : 0] = 0;
        struct lab_score s = scored(t, "tldr-7-eval-00001", text);
        assert_true(s.fluency >= 0 && s.fluency <= 1);
    }
    lab_truth_free(t);
}

static void an_unknown_post_is_named(void **state)
{
    struct lab_truth *t = truth_of(made("unknown", small(7)));
    struct lab_score s;
    struct lab_vote v;
    struct err e = {0};
    assert_int_equal(lab_score_text(&s, t, "nobody", "", &e), ERR_MISSING);
    kit_contains(e.msg, "nobody");
    assert_int_equal(lab_annotate(&v, t, "tldr-7-eval-00001", "a", "b", LAB_ANNOTATORS, 1, &e), ERR_VALUE);
    lab_truth_free(t);
}

static void wrong_truth_is_refused_with_its_line(void **state)
{
    static const char *const bad[][2] = {
        {"{\"id\":\"p\",\"topic\":\"moon\",\"facts\":[{}],\"needs\":[]}", "moon"},
        {"{\"id\":\"p\",\"topic\":\"pets\",\"facts\":[],\"needs\":[]}", "facts"},
        {"{\"id\":\"p\",\"topic\":\"pets\",\"facts\":[{\"subject\":\"dog\",\"deed\":\"ate\",\"thing\":\"lamp\",\"salience\":\"key\"}]}",
         "ate"},
        {"{\"id\":\"p\",\"topic\":\"pets\",\"facts\":[{\"subject\":\"dog\",\"deed\":\"took\",\"thing\":\"lamp\",\"salience\":\"key\"}]}",
         "needs"},
        {"{\"topic\":\"pets\"}", "id"},
        {"not json", "line 1"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct lab_truth *t = NULL;
        struct err e = {0};
        assert_true(lab_truth_open(&t, kit_text("bad.jsonl", bad[i][0]), &e) != 0);
        kit_contains(e.msg, bad[i][1]);
        kit_contains(e.msg, "bad.jsonl");
        assert_null(t);
    }
}

struct votes { int n, agree, majority_agrees, confident, confident_agrees; };

/* Votes on pairs by two writers of the same kind, which differ about as much as two samples of an SFT policy do. */
static struct votes count_votes(void)
{
    struct lab_truth *t = big_truth();
    struct world *w = world_new();
    struct votes c = {0};
    for (int i = 0; i < 1000; i++) {
        char id[64];
        snprintf(id, sizeof id, "tldr-3-train-%05d", i);
        const struct post *p = &truth_find(t, id)->post;
        struct rng r;
        struct summary s[2];
        struct buf b[2] = {{0}, {0}};
        struct lab_panel panel;
        rng_init(&r, 2, RNG_TEST, (uint64_t)i, 0);
        for (int k = 0; k < 2; k++) {
            summary_draw(&s[k], w, p, (enum writer)(i % 3), 0.08, &r);
            lab_summary_write(&b[k], w, p, &s[k], MARKS_NONE);
        }
        assert_int_equal(lab_panel_vote(&panel, t, id, b[0].s, b[1].s, 1, NULL), 0);
        if (panel.preferred) {
            double gap = scored(t, id, b[0].s).total - scored(t, id, b[1].s).total;
            bool same = (gap > 0) == (panel.preferred == 1);
            c.n++;
            c.agree += (panel.votes[0] == panel.votes[1]) + (panel.votes[0] == panel.votes[2]) +
                       (panel.votes[1] == panel.votes[2]);
            c.majority_agrees += same;
            c.confident += panel.confident;
            c.confident_agrees += panel.confident && same;
        }
        buf_release(&b[0]);
        buf_release(&b[1]);
    }
    world_free(w);
    lab_truth_free(t);
    return c;
}

static void annotators_agree_on_three_pairs_of_four(void **state)
{
    struct votes c = count_votes();
    double agreement = c.agree / 3.0 / c.n;
    if (agreement < 0.73 || agreement > 0.77)
        fail_msg("agreement: expected 0.73 to 0.77, found %.3f over %d pairs", agreement, c.n);
}

static void confident_pairs_are_those_the_oracle_decides(void **state)
{
    struct votes c = count_votes();
    assert_true(c.confident > c.n / 4 && c.confident < 3 * c.n / 4);
    assert_true(c.confident_agrees > 0.97 * c.confident);
    assert_true(c.majority_agrees > 0.8 * c.n && c.majority_agrees < 0.95 * c.n);
}

static void swapping_the_texts_swaps_the_vote(void **state)
{
    struct lab_truth *t = truth_of(made("swap", small(7)));
    for (int i = 0; i < 60; i++) {
        char id[64];
        struct lab_vote ab, ba, again, same;
        snprintf(id, sizeof id, "tldr-7-train-%05d", i);
        const char *a = "My dog took the lamp.", *b = "What now?";
        assert_int_equal(lab_annotate(&ab, t, id, a, b, i % LAB_ANNOTATORS, 1, NULL), 0);
        assert_int_equal(lab_annotate(&ba, t, id, b, a, i % LAB_ANNOTATORS, 1, NULL), 0);
        assert_int_equal(lab_annotate(&again, t, id, a, b, i % LAB_ANNOTATORS, 1, NULL), 0);
        assert_int_equal(lab_annotate(&same, t, id, a, a, i % LAB_ANNOTATORS, 1, NULL), 0);
        assert_int_equal(ab.preferred + ba.preferred, 3);
        assert_true(ab.confidence == ba.confidence && ab.confidence >= 0 && ab.confidence < 1);
        assert_true(ab.preferred == again.preferred && ab.confidence == again.confidence);
        assert_int_equal(same.preferred, 0);
    }
    lab_truth_free(t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(same_seed_same_files),
    cmocka_unit_test(more_prompts_keep_the_first_ones),
    cmocka_unit_test(rows_have_the_columns_of_the_field_and_no_truth),
    cmocka_unit_test(text_of_a_prompt_is_the_post),
    cmocka_unit_test(oracle_reads_what_writers_wrote),
    cmocka_unit_test(oracle_ranks_good_above_idle_above_invented),
    cmocka_unit_test(any_bytes_can_be_scored),
    cmocka_unit_test(an_unknown_post_is_named),
    cmocka_unit_test(wrong_truth_is_refused_with_its_line),
    cmocka_unit_test(annotators_agree_on_three_pairs_of_four),
    cmocka_unit_test(confident_pairs_are_those_the_oracle_decides),
    cmocka_unit_test(swapping_the_texts_swaps_the_vote),
};
KIT_MAIN(tests)
