/* Which files of a repository are wanted: patterns, models, splits by card and by name. */
#include "kit/kit.h"
#include "net/internal.h"

static struct hub_tree tree_of(const char *names)
{
    struct hub_tree t = {0};
    char *copy = str_printf("%s", names);
    assert_non_null(copy);
    for (char *save = NULL, *p = strtok_r(copy, " ", &save); p;
         p = strtok_r(NULL, " ", &save)) {
        t.file = mem_grow(t.file, &t.cap, (size_t)t.n + 1, sizeof *t.file);
        t.file[t.n++] = (struct hub_file){.path = arena_strdup(&t.arena, p)};
    }
    free(copy);
    return t;
}

/* The marked names with spaces between, in a string that lives until the next call. */
static const char *taken(const struct hub_tree *t, const bool *take)
{
    static char s[4096];
    s[0] = 0;
    for (int i = 0; i < t->n; i++)
        if (take[i])
            snprintf(s + strlen(s), sizeof s - strlen(s), "%s%s", s[0] ? " " : "",
                     t->file[i].path);
    return s;
}

static void patterns_fit_what_they_should(void **state)
{
    static const struct {
        const char *pattern, *path;
        bool fits;
    } cases[] = {
        {"*.json", "config.json", true},
        {"*.json", "a/config.json", false},
        {"**", "a/b/c", true},
        {"**/*.json", "a/b/c.json", true},
        {"**/*.json", "c.json", true},
        {"a/**/c", "a/c", true},
        {"a/**/c", "a/b/b/c", true},
        {"a/**/c", "a/b/d", false},
        {"train-[0-9]*", "train-7.x", true},
        {"train-[!0-9]*", "train-7.x", false},
        {"?.txt", "a.txt", true},
        {"?.txt", "ab.txt", false},
        {"[", "[", true},
        {"[]x]", "]", true},
        {"", "a", false},
        {"data/train-*", "data/train-00000-of-00001.parquet", true},
        {"*", "a/b", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (glob_match(cases[i].pattern, cases[i].path) != cases[i].fits)
            fail_msg("%s and %s", cases[i].pattern, cases[i].path);
}

static void a_pattern_of_stars_takes_no_time(void **state)
{
    char pattern[1000], path[1000];
    for (int i = 0; i < 999; i++) {
        pattern[i] = i % 2 ? 'a' : '*';
        path[i] = 'a';
    }
    pattern[998] = 'b';
    pattern[999] = path[999] = 0;
    double start = time_now();
    assert_false(glob_match(pattern, path));
    assert_true(time_now() - start < 5.0);
}

static void check_model(const char *names, const char *want, const char *file)
{
    struct hub_tree t = tree_of(names);
    struct hub_id id = {.repo = "org/x"};
    struct err e = {0};
    bool take[64] = {false};
    const char *path = NULL;
    if (choose_model(take, &path, &t, &id, &e))
        fail_msg("%s", e.msg);
    assert_string_equal(taken(&t, take), want);
    if (file)
        assert_string_equal(path, file);
    else
        assert_null(path);
    hub_tree_release(&t);
}

static void a_model_is_its_safetensors_configuration_and_tokenizer(void **state)
{
    check_model("README.md config.json model.safetensors onnx/model.onnx pytorch_model.bin "
                "tokenizer.json",
                "README.md config.json model.safetensors tokenizer.json", NULL);
    check_model("config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors "
                "model.safetensors.index.json pytorch_model-00001-of-00002.bin tokenizer.model",
                "config.json model.safetensors.index.json tokenizer.model", NULL);
    check_model("README.md m.gguf", "m.gguf", "m.gguf");
    check_model("adapter_config.json adapter_model.safetensors",
                "adapter_config.json adapter_model.safetensors", NULL);
}

static void a_repository_without_a_readable_model_is_refused(void **state)
{
    struct hub_tree t = tree_of("config.json pytorch_model.bin");
    struct hub_id id = {.repo = "org/x"};
    struct err e = {0};
    bool take[8] = {false};
    const char *path;
    assert_int_equal(choose_model(take, &path, &t, &id, &e), ERR_UNSUPPORTED);
    kit_contains(e.msg, "pickled Python (pytorch_model.bin)");
    hub_tree_release(&t);
    t = tree_of("README.md");
    assert_int_equal(choose_model(take, &path, &t, &id, &e), ERR_MISSING);
    hub_tree_release(&t);
}

static void check_split(const char *names, const char *card, const char *config,
                        const char *split, int rc, const char *want)
{
    struct hub_tree t = tree_of(names);
    struct err e = {0};
    bool take[64] = {false};
    int got = choose_split(take, &t, card, "org/rows", config, split, &e);
    if (got != rc)
        fail_msg("%s: %d, %s", names, got, e.msg);
    if (rc)
        kit_contains(e.msg, want);
    else
        assert_string_equal(taken(&t, take), want);
    hub_tree_release(&t);
}

static void splits_are_found_by_names(void **state)
{
    const char *shards =
        "data/test-00000-of-00001.parquet data/train-00000-of-00002.parquet "
        "data/train-00001-of-00002.parquet data/train_prefs-00000-of-00001.parquet";
    const char *folders = "helpful/test.jsonl.gz helpful/train.jsonl.gz red/train.jsonl.gz";
    check_split(shards, NULL, NULL, "train", 0,
                "data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet");
    check_split(shards, NULL, NULL, "train_prefs", 0,
                "data/train_prefs-00000-of-00001.parquet");
    check_split(shards, NULL, NULL, "validation", ERR_MISSING,
                "it has test, train, train_prefs");
    check_split("dev.jsonl test.jsonl train.jsonl", NULL, NULL, "validation", 0, "dev.jsonl");
    check_split(folders, NULL, "helpful", "train", 0, "helpful/train.jsonl.gz");
    check_split(folders, NULL, NULL, "train", 0, "helpful/train.jsonl.gz red/train.jsonl.gz");
    check_split(folders, NULL, "none", "train", ERR_MISSING, "no file of data");
    check_split("test/a.csv train/a.csv train/b.csv", NULL, NULL, "train", 0,
                "train/a.csv train/b.csv");
    check_split("README.md all.jsonl constrained.json dataset_infos.json", NULL, NULL, "train",
                0, "all.jsonl constrained.json");
    check_split("README.md a.py", NULL, NULL, "train", ERR_MISSING,
                "no file of data that can be read");
}

static const char card[] = "---\n"
                           "license: mit\n"
                           "configs:\n"
                           "- config_name: default\n"
                           "  data_files:\n"
                           "  - split: train\n"
                           "    path: data/train-*\n"
                           "  - split: test\n"
                           "    path:\n"
                           "    - more/*.jsonl\n"
                           "    - data/test-0.jsonl\n"
                           "- config_name: raw\n"
                           "  data_files: raw/all.csv\n"
                           "- config_name: folder\n"
                           "  data_dir: folder\n"
                           "---\n# Rows\n";

static void splits_are_found_by_the_card(void **state)
{
    const char *names =
        "data/test-0.jsonl data/train-0.jsonl data/train-1.jsonl folder/dev.jsonl "
        "folder/train.jsonl more/a.jsonl more/sub/b.jsonl raw/all.csv";
    check_split(names, card, NULL, "train", 0, "data/train-0.jsonl data/train-1.jsonl");
    check_split(names, card, NULL, "test", 0, "data/test-0.jsonl more/a.jsonl");
    check_split(names, card, NULL, "dev", ERR_MISSING, "no split 'dev'; it has train, test");
    check_split(names, card, "raw", "train", 0, "raw/all.csv");
    check_split(names, card, "folder", "validation", 0, "folder/dev.jsonl");
    check_split(names, card, "none", "train", ERR_MISSING,
                "no configuration 'none'; it has default, raw, folder");
    check_split("data/x.csv", card, NULL, "train", ERR_MISSING,
                "the files that its card names are not there");
    check_split(
        "a.jsonl b.jsonl",
        "---\nconfigs:\n- config_name: a\n  data_files: a.jsonl\n- config_name: b\n---\n", NULL,
        "train", ERR_VALUE, "choose one with --dataset_config: a, b");
    check_split("a.jsonl", "---\nconfigs:\n- data_files: 'https://x/y.jsonl'\n---\n", NULL,
                "train", ERR_UNSUPPORTED, "outside");
}

static void a_card_that_cannot_be_read_leaves_the_names(void **state)
{
    static const char *const bad[] = {"---\na: &x 1\n---\n",
                                      "---\nconfigs: 7\n---\n",
                                      "---\nconfigs:\n- 7\n---\n",
                                      "no front matter",
                                      "---\n---\n",
                                      "---",
                                      "",
                                      "---\n- a\n---\n"};
    log_set_level(LOG_ERROR);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        check_split("test.jsonl train.jsonl", bad[i], NULL, "test", 0, "test.jsonl");
    check_split("test.jsonl train.jsonl", NULL, NULL, "train", 0, "train.jsonl");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(patterns_fit_what_they_should),
    cmocka_unit_test(a_pattern_of_stars_takes_no_time),
    cmocka_unit_test(a_model_is_its_safetensors_configuration_and_tokenizer),
    cmocka_unit_test(a_repository_without_a_readable_model_is_refused),
    cmocka_unit_test(splits_are_found_by_names),
    cmocka_unit_test(splits_are_found_by_the_card),
    cmocka_unit_test(a_card_that_cannot_be_read_leaves_the_names),
};

KIT_MAIN(tests)
