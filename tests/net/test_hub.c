/* The Hub client against a scripted Hub: connections that drop, stall, redirect and lie; kills, two
 * processes, and the cache as huggingface_hub lays it out. */
#include "net/scripted.h"

#include <fcntl.h>
#include <sys/stat.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
enum { BIG = 600000 };

static char big[BIG];

static void model_file(const char *name, const void *p, size_t n)
{
    char path[512];
    snprintf(path, sizeof path, "repos/models/org/tiny/" COMMIT "/%s", name);
    put(path, p, n);
}

static int setup(void **state)
{
    scripted_folder();
    for (int i = 0; i < BIG; i++)
        big[i] = (char)(i * 2654435761u >> 13);
    model_file("config.json", "{\"model_type\": \"llama\"}\n", 24);
    model_file("tokenizer.json", "{}\n", 3);
    model_file("model.safetensors", big, BIG);
    model_file("pytorch_model.bin", "pickle", 6);
    model_file("onnx/model.onnx", "onnx", 4);
    put_text("repos/models/org/tiny/refs/main", COMMIT);
    scripted_start();
    return 0;
}

static void is_whole(const char *path)
{
    char file[1200];
    size_t n = 0;
    snprintf(file, sizeof file, "%s/model.safetensors", path);
    const char *s = kit_slurp(file, &n);
    assert_int_equal(n, BIG);
    assert_memory_equal(s, big, BIG);
}

static void fetch_ok(const char *name)
{
    struct hub_found f;
    struct err e = {0};
    int rc = hub_model(&f, name, &e);
    if (rc)
        fail_msg("%s", e.msg);
    assert_string_equal(f.commit, COMMIT);
    is_whole(f.path);
    hub_found_release(&f);
}

static void fetch_fails(const char *name, int rc, const char *part)
{
    struct hub_found f = {0};
    struct err e = {0};
    assert_int_equal(hub_model(&f, name, &e), rc);
    assert_null(f.path);
    kit_contains(e.msg, part);
}

static int count_left_over(void)
{
    char command[1200];
    int n = -1;
    snprintf(command, sizeof command,
             "find '%s' -name '*.incomplete' -o -name '*.tmp' -o -name '*.partial' | wc -l",
             at("home"));
    FILE *p = popen(command, "r");
    assert_int_equal(fscanf(p, "%d", &n), 1);
    pclose(p);
    return n;
}

/* ---- the plain way ------------------------------------------------------------------- */

static void a_model_is_fetched_into_the_layout_of_huggingface_hub(void **state)
{
    char to[200] = "", sha[65];
    struct stat st;
    fetch_ok("org/tiny");
    const char *repo = at("home/hub/models--org--tiny");
    char path[1200], etag[200];
    snprintf(path, sizeof path, "%s/refs/main", repo);
    assert_string_equal(kit_slurp(path, NULL), COMMIT);
    snprintf(path, sizeof path, "%s/snapshots/" COMMIT "/model.safetensors", repo);
    assert_true(readlink(path, to, sizeof to - 1) > 0);
    assert_int_equal(sha256_file(sha, path, NULL), 0);
    snprintf(etag, sizeof etag, "../../blobs/%s", sha);
    assert_string_equal(to, etag);
    snprintf(path, sizeof path, "%s/snapshots/" COMMIT "/tokenizer.json", repo);
    memset(to, 0, sizeof to);
    assert_true(readlink(path, to, sizeof to - 1) > 0);
    // git hash-object of "{}\n"
    assert_string_equal(to, "../../blobs/0967ef424bce6791893e9a57bb952f80fd536e93");
    snprintf(path, sizeof path, "%s/snapshots/" COMMIT "/pytorch_model.bin", repo);
    assert_int_equal(lstat(path, &st), -1);
    assert_int_equal(logged("onnx", ""), 0);
    assert_int_equal(count_left_over(), 0);
}

static void what_is_whole_is_not_asked_for_again(void **state)
{
    fetch_ok("org/tiny");
    int before = logged("GET", "");
    fetch_ok("org/tiny");
    fetch_ok("org/tiny@" COMMIT);
    assert_int_equal(logged("GET", ""), before);
    setenv("HF_HUB_OFFLINE", "1", 1);
    fetch_ok("org/tiny");
    fetch_fails("org/other", ERR_MISSING, "HF_HUB_OFFLINE is set");
    assert_int_equal(logged("GET", ""), before);
}

static void one_file_of_a_revision_can_be_named(void **state)
{
    struct hub_found f;
    struct err e = {0};
    put("repos/models/org/gg/89abcdef0123456789abcdef0123456789abcdef/q4.gguf", "GGUF4", 5);
    put("repos/models/org/gg/89abcdef0123456789abcdef0123456789abcdef/sub/q8.gguf", "GGUF8", 5);
    put_text("repos/models/org/gg/refs/v1.0", "89abcdef0123456789abcdef0123456789abcdef");
    assert_int_equal(hub_model(&f, "org/gg@v1.0:sub/q8.gguf", &e), 0);
    assert_string_equal(kit_slurp(f.path, NULL), "GGUF8");
    assert_true(str_ends(f.path, "/sub/q8.gguf"));
    hub_found_release(&f);
    assert_int_equal(logged("q4.gguf", ""), 0);
    fetch_fails("org/gg@v1.0:q5.gguf", ERR_MISSING, "its GGUF files: q4.gguf, sub/q8.gguf");
    fetch_fails("org/gg@v1.0", ERR_VALUE, "2 GGUF files: say which");
    fetch_fails("org/gg@v2", ERR_MISSING, "has no revision 'v2'");
}

static void shards_are_those_of_the_index(void **state)
{
    struct hub_found f;
    struct err e = {0};
#define SHARDED "repos/models/org/two/" COMMIT "/"
    put_text("repos/models/org/two/refs/main", COMMIT);
    put_text(SHARDED "config.json", "{}");
    put_text(SHARDED "tokenizer.json", "{}");
    put_text(SHARDED "a-1.safetensors", "first");
    put_text(SHARDED "a-2.safetensors", "second");
    put_text(SHARDED "consolidated.safetensors", "the same again");
    put_text(SHARDED "model.safetensors.index.json",
             "{\"weight_map\": {\"x\": \"a-1.safetensors\", \"y\": \"a-2.safetensors\"}}");
    faults("1 tree page 3\n1 tree page 3\n1 cursor=3 page 3\n");
    assert_int_equal(hub_model(&f, "org/two", &e), 0);
    char path[1200];
    snprintf(path, sizeof path, "%s/a-2.safetensors", f.path);
    assert_string_equal(kit_slurp(path, NULL), "second");
    assert_int_equal(logged("consolidated", ""), 0);
    assert_true(logged("/tree/", "200") >= 2); // pages
    hub_found_release(&f);
    put_text(SHARDED "model.safetensors.index.json",
             "{\"weight_map\": {\"x\": \"../../etc/passwd\"}}");
    assert_int_equal(dir_remove(at("home"), NULL), 0);
    fetch_fails("org/two", ERR_MISSING, "which the repository does not hold");
}

/* ---- trouble on the way -------------------------------------------------------------- */

static void a_dropped_connection_is_resumed_where_it_broke(void **state)
{
    faults("1 cdn drop 200000\n1 cdn drop 100000\n");
    fetch_ok("org/tiny");
    assert_int_equal(logged("cdn GET", "range=-"), 1);
    assert_int_equal(logged("cdn GET", "range=100000"),
                     1); // the smaller of both faults met first
}

static void a_server_that_ignores_ranges_starts_over(void **state)
{
    faults("1 cdn drop 100000\n3 cdn norange\n");
    fetch_ok("org/tiny");
    assert_int_equal(logged("cdn GET", "range=100000"), 1);
}

static void wrong_ranges_are_noticed(void **state)
{
    faults("1 cdn drop 100000\n2 cdn badrange\n");
    fetch_ok("org/tiny");
}

static void shifted_bytes_are_caught_by_their_hash_and_fetched_anew(void **state)
{
    faults("1 cdn drop 100000\n2 cdn shifted\n");
    fetch_ok("org/tiny");
    assert_true(logged("cdn GET", "range=-") >= 2);
    assert_int_equal(count_left_over(), 0);
}

static void bytes_that_are_always_wrong_are_refused(void **state)
{
    faults("9 cdn flip 300000\n");
    fetch_fails("org/tiny", ERR_FORMAT, "model.safetensors: the bytes that came have the hash");
    assert_int_equal(count_left_over(), 0);
    char path[1200];
    snprintf(path, sizeof path, "%s/snapshots/" COMMIT "/model.safetensors",
             at("home/hub/models--org--tiny"));
    assert_false(kit_exists(path));
    setenv("HF_HUB_OFFLINE", "1", 1);
    fetch_fails("org/tiny", ERR_MISSING, "HF_HUB_OFFLINE");
}

static void small_files_are_verified_too(void **state)
{
    faults("9 config.json flip 3\n");
    fetch_fails("org/tiny", ERR_FORMAT, "config.json: the bytes that came have the hash");
}

static void a_silent_server_is_given_up_and_asked_again(void **state)
{
    faults("1 cdn stall 150000\n");
    setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1", 1);
    fetch_ok("org/tiny");
    assert_true(logged("cdn GET", "range=150000") >= 1);
}

static void short_and_long_replies_are_noticed(void **state)
{
    faults("1 cdn short 100000\n");
    fetch_ok("org/tiny");
    assert_int_equal(logged("cdn GET", "range=100000"), 1);
    assert_int_equal(dir_remove(at("home"), NULL), 0);
    faults("0 a b\n1 cdn long 5\n");
    fetch_ok("org/tiny");
}

static void lies_about_size_hash_or_commit_are_refused(void **state)
{
    faults("1 model.safetensors set X-Linked-Size 5\n");
    fetch_fails("org/tiny", ERR_FORMAT,
                "the listing gives 600000 bytes, the Hub answers with 5");
    faults("1 x y\n1 model.safetensors set X-Linked-Etag \"00\"\n");
    fetch_fails("org/tiny", ERR_FORMAT, "the Hub answers with \"00\"");
    faults("1 x y\n1 x y\n9 hub set X-Repo-Commit ffff\n");
    fetch_fails("org/tiny", ERR_FORMAT, "asked for commit " COMMIT);
}

static void busy_servers_are_asked_again_when_they_say(void **state)
{
    faults("1 revision status 429 Retry-After:1\n1 tree status 500\n1 cdn status 503\n1 "
           "config.json status 429 Retry-After:0\n");
    double start = time_now();
    fetch_ok("org/tiny");
    assert_true(time_now() - start >= 1.0);
}

static void a_server_that_stays_down_is_an_error(void **state)
{
    faults("99 revision status 500 Retry-After:0\n");
    fetch_fails("org/tiny", ERR_IO, "status 500");
    assert_int_equal(logged("revision", "500"), 6);
    faults("1 a b\n99 revision status 429 Retry-After:0\n");
    fetch_fails("org/tiny", ERR_IO, "too many requests");
}

static void what_is_no_http_and_loops_end(void **state)
{
    faults("99 revision loop\n");
    fetch_fails("org/tiny", ERR_FORMAT, "redirects");
    faults("1 a b\n99 revision status 200\n");
    fetch_fails("org/tiny", ERR_FORMAT, "line 1");
}

/* ---- who may ------------------------------------------------------------------------- */

static void the_token_goes_to_the_hub_and_nowhere_else(void **state)
{
    setenv("HF_TOKEN", "hf_good", 1);
    fetch_ok("org/tiny");
    assert_true(logged("hub GET", "Bearer hf_good") > 0);
    assert_int_equal(logged("hub GET", "auth=-"), 0);
    assert_true(logged("cdn GET", "auth=-") > 0);
    assert_int_equal(logged("cdn GET", "Bearer"), 0);
}

static void a_token_file_serves_as_well(void **state)
{
    put_text("home/token", "hf_good\n");
    put_text("repos/models/org/tiny/private", "");
    fetch_ok("org/tiny");
    put_text("home/token", "hf bad\n");
    fetch_fails("org/tiny", ERR_VALUE, "holds a character");
}

static void gated_private_and_absent_names_get_their_sentences(void **state)
{
    put_text("repos/models/org/tiny/gated", "");
    fetch_fails("org/tiny", ERR_MISSING, "is gated: accept its conditions");
    setenv("HF_TOKEN", "hf_other", 1);
    fetch_fails("org/tiny", ERR_MISSING, "is gated");
    fetch_fails("org/none", ERR_MISSING,
                "or the token (HF_TOKEN or the token file) may not see it");
    unsetenv("HF_TOKEN");
    fetch_fails("org/none", ERR_MISSING, "has no model of this name, or it is private");
    setenv("HF_ENDPOINT", "ftp://x", 1);
    fetch_fails("org/none", ERR_VALUE, "HF_ENDPOINT is 'ftp://x'");
}

static void names_that_lead_elsewhere_are_refused(void **state)
{
    assert_true(hub_is_id("Qwen/Qwen2.5-0.5B-Instruct"));
    assert_true(hub_is_id("org/name@refs/pr/1:a/b.gguf"));
    static const char *const bad[] = {
        "name",      "./a/b",  "a/b/c", "../a",       "a/..",     "models/s",
        "a/b.jsonl", "a/b@",   "a/b:",  "a/b@x/../y", "a/b:../c", "a/b:/etc/passwd",
        "a b/c",     "a/b--c", "-a/b",  "a/b.",       ""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (hub_is_id(bad[i]))
            fail_msg("'%s' passes as a name", bad[i]);
}

/* ---- kills and company --------------------------------------------------------------- */

static pid_t fetch_in_child(void)
{
    pid_t p = fork();
    if (p == 0) {
        struct hub_found f;
        struct err e = {0};
        int rc = hub_model(&f, "org/tiny", &e);
        if (rc)
            fprintf(stderr, "%s\n", e.msg);
        _exit(rc ? 1 : 0);
    }
    return p;
}

static void a_killed_download_goes_on_where_it_was(void **state)
{
    faults("1 cdn rate 400000\n");
    pid_t p = fetch_in_child();
    for (int i = 0; i < 300 && !logged("cdn GET", ""); i++)
        usleep(10000);
    usleep(400000);
    kill(p, SIGKILL);
    waitpid(p, NULL, 0);
    assert_int_equal(count_left_over(), 1);
    char path[1200];
    snprintf(path, sizeof path, "%s/snapshots/" COMMIT "/model.safetensors",
             at("home/hub/models--org--tiny"));
    assert_false(kit_exists(path));
    fetch_ok("org/tiny");
    assert_int_equal(logged("cdn GET", "range=-"), 1);
    assert_int_equal(logged("cdn GET", ""), 2);
    assert_int_equal(count_left_over(), 0);
}

static void two_processes_fetch_each_file_once(void **state)
{
    int status;
    faults("9 cdn rate 1500000\n");
    pid_t a = fetch_in_child(), b = fetch_in_child();
    waitpid(a, &status, 0);
    assert_int_equal(status, 0);
    waitpid(b, &status, 0);
    assert_int_equal(status, 0);
    fetch_ok("org/tiny");
    assert_int_equal(logged("cdn GET", "model.safetensors"), 1);
    assert_int_equal(logged("GET", "resolve/" COMMIT "/config.json"), 1);
    assert_int_equal(count_left_over(), 0);
}

static void a_blob_that_was_cut_is_fetched_again(void **state)
{
    char path[1200], sha[65];
    fetch_ok("org/tiny");
    snprintf(path, sizeof path, "%s/snapshots/" COMMIT "/model.safetensors",
             at("home/hub/models--org--tiny"));
    assert_int_equal(sha256_file(sha, path, NULL), 0);
    assert_int_equal(truncate(path, 1000), 0); // through the link
    fetch_ok("org/tiny");
}

static void listings_that_cannot_be_are_refused(void **state)
{
    struct err e = {0};
    struct hub_tree t;
    char repo[600];
    snprintf(repo, sizeof repo, "%s", at("cache"));
    static const char *const bad[] = {
        "{\"format_version\": 1, \"files\": {\"../../x\": {\"size\": 1, \"blob_id\": "
        "\"0967ef424bce6791893e9a57bb952f80fd536e93\"}}}",
        "{\"format_version\": 1, \"files\": {\"x\": {\"size\": 1, \"blob_id\": \"../../x\"}}}",
        "{\"format_version\": 1, \"files\": {\"x\": {\"size\": -1, \"blob_id\": "
        "\"0967ef424bce6791893e9a57bb952f80fd536e93\"}}}",
        "{\"format_version\": 2, \"files\": {}}",
        "{\"format_version\": 1, \"files\": []}",
        "[",
        "",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        put_text("cache/trees/" COMMIT ".json", bad[i]);
        assert_false(cache_read_tree(&t, repo, COMMIT));
    }
    (void)e;
}

/* ---- data sets ----------------------------------------------------------------------- */

#define ROWS "repos/datasets/org/rows/" COMMIT "/"

static void a_split_of_a_data_set_is_its_files_in_order(void **state)
{
    struct hub_found f;
    struct err e = {0};
    put_text("repos/datasets/org/rows/refs/main", COMMIT);
    put_text(ROWS "README.md", "---\nconfigs:\n- config_name: a\n  data_files:\n  - split: "
                               "train\n    path: data/train-*\n"
                               "- config_name: b\n  data_files: b.jsonl\n---\n");
    put_text(ROWS "data/train-00001-of-00002.jsonl", "{\"n\": 2}\n");
    put_text(ROWS "data/train-00000-of-00002.jsonl", "{\"n\": 1}\n");
    put_text(ROWS "data/test-00000-of-00001.jsonl", "{\"n\": 3}\n");
    put_text(ROWS "b.jsonl", "{\"n\": 4}\n");
    assert_int_equal(hub_dataset(&f, "org/rows", NULL, NULL, &e), ERR_VALUE);
    kit_contains(e.msg, "choose one with --dataset_config: a, b");
    if (hub_dataset(&f, "org/rows", "a", NULL, &e))
        fail_msg("%s", e.msg);
    char *comma = strchr(f.path, ',');
    assert_non_null(comma);
    *comma = 0;
    assert_string_equal(kit_slurp(f.path, NULL), "{\"n\": 1}\n");
    assert_string_equal(kit_slurp(comma + 1, NULL), "{\"n\": 2}\n");
    assert_true(strstr(f.path, "/datasets--org--rows/snapshots/") != NULL);
    hub_found_release(&f);
    assert_int_equal(logged("test-00000", ""), 0);
    int before = logged("GET", "");
    setenv("HF_HUB_OFFLINE", "1", 1);
    assert_int_equal(hub_dataset(&f, "org/rows:a/train", NULL, NULL, &e), 0);
    hub_found_release(&f);
    assert_int_equal(hub_dataset(&f, "org/rows:b/train", NULL, NULL, &e), ERR_MISSING);
    assert_int_equal(logged("GET", ""), before);
    unsetenv("HF_HUB_OFFLINE");
    assert_int_equal(hub_dataset(&f, "org/rows:b.jsonl", NULL, NULL, &e), 0);
    assert_string_equal(kit_slurp(f.path, NULL), "{\"n\": 4}\n");
    hub_found_release(&f);
}

/* As older versions of huggingface_hub leave a cache: no listing. */
static void a_cache_without_a_listing_serves_offline_while_it_is_whole(void **state)
{
    struct hub_found f;
    struct err e = {0};
    static const char snapshot[] =
        "home/hub/datasets--org--old/snapshots/" COMMIT "/data/train-0000%d-of-00002.jsonl";
    char name[200];
    put_text("home/hub/datasets--org--old/refs/main", COMMIT);
    snprintf(name, sizeof name, snapshot, 0);
    put_text(name, "{}\n");
    setenv("HF_HUB_OFFLINE", "1", 1);
    assert_int_equal(hub_dataset(&f, "org/old", NULL, NULL, &e), ERR_MISSING);
    snprintf(name, sizeof name, snapshot, 1);
    put_text(name, "{}\n");
    assert_int_equal(hub_dataset(&f, "org/old", NULL, NULL, &e), 0);
    hub_found_release(&f);
}

/* ---- pull and list ------------------------------------------------------------------- */

static void pull_follows_a_branch_and_takes_patterns(void **state)
{
    static const char next[] = "76543210fedcba9876543210fedcba9876543210";
    struct err e = {0};
    json_t *r = json_object(), *include = json_pack("[s]", "*.json");
    struct hub_pull p = {.name = "org/tiny", .kind = HUB_MODEL};
    fetch_ok("org/tiny");
    put("repos/models/org/tiny/76543210fedcba9876543210fedcba9876543210/config.json", "{}\n\n",
        4);
    put("repos/models/org/tiny/76543210fedcba9876543210fedcba9876543210/model.safetensors", big,
        BIG);
    put_text("repos/models/org/tiny/refs/main", next);
    fetch_ok("org/tiny"); // the cache's main, until it is pulled
    assert_int_equal(hub_pull(r, &p, &e), 0);
    assert_string_equal(json_string_value(json_object_get(r, "commit")), next);
    assert_int_equal(json_integer_value(json_object_get(r, "files_fetched")),
                     1); // the weights are there already
    assert_int_equal(logged("cdn GET", "model.safetensors"), 1);
    p.include = include;
    p.revision = COMMIT;
    assert_int_equal(hub_pull(r, &p, &e), 0);
    assert_int_equal(json_integer_value(json_object_get(r, "files")), 2);
    json_decref(r);
    json_decref(include);
    assert_int_equal(hub_cached(&r, &e), 0);
    assert_int_equal(json_array_size(r), 1);
    json_t *v = json_array_get(r, 0);
    assert_string_equal(json_string_value(json_object_get(v, "id")), "org/tiny");
    assert_int_equal(json_array_size(json_object_get(v, "revisions")), 2);
    json_decref(r);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, scripted_stop)

static const struct CMUnitTest tests[] = {
    T(a_model_is_fetched_into_the_layout_of_huggingface_hub),
    T(what_is_whole_is_not_asked_for_again),
    T(one_file_of_a_revision_can_be_named),
    T(shards_are_those_of_the_index),
    T(a_dropped_connection_is_resumed_where_it_broke),
    T(a_server_that_ignores_ranges_starts_over),
    T(wrong_ranges_are_noticed),
    T(shifted_bytes_are_caught_by_their_hash_and_fetched_anew),
    T(bytes_that_are_always_wrong_are_refused),
    T(small_files_are_verified_too),
    T(a_silent_server_is_given_up_and_asked_again),
    T(short_and_long_replies_are_noticed),
    T(lies_about_size_hash_or_commit_are_refused),
    T(busy_servers_are_asked_again_when_they_say),
    T(a_server_that_stays_down_is_an_error),
    T(what_is_no_http_and_loops_end),
    T(the_token_goes_to_the_hub_and_nowhere_else),
    T(a_token_file_serves_as_well),
    T(gated_private_and_absent_names_get_their_sentences),
    T(names_that_lead_elsewhere_are_refused),
    T(a_killed_download_goes_on_where_it_was),
    T(two_processes_fetch_each_file_once),
    T(a_blob_that_was_cut_is_fetched_again),
    T(listings_that_cannot_be_are_refused),
    T(a_split_of_a_data_set_is_its_files_in_order),
    T(a_cache_without_a_listing_serves_offline_while_it_is_whole),
    T(pull_follows_a_branch_and_takes_patterns),
};

KIT_MAIN(tests)
