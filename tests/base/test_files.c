/* Files that appear whole or not at all: full disks, kills, leftovers; clocks and signals. */
#include "base/base.h"
#include "kit/kit.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void a_file_is_read_whole_and_terminated(void **state)
{
    struct err e = {0};
    char *s = NULL;
    size_t n = 0;
    assert_int_equal(file_read(&s, &n, kit_bytes("z", "a\0b", 3), 0, &e), 0);
    assert_int_equal(n, 3);
    assert_memory_equal(s, "a\0b", 4);
    free(s);
    assert_int_equal(file_read(&s, &n, kit_text("empty", ""), 0, &e), 0);
    assert_int_equal(n, 0);
    assert_string_equal(s, "");
    free(s);
    s = NULL;
    assert_int_equal(file_read(&s, &n, kit_text("ten", "0123456789"), 9, &e), ERR_FORMAT);
    kit_contains(e.msg, "9 bytes");
    assert_int_equal(file_read(&s, &n, "/dev/zero", 1 << 20, &e), ERR_FORMAT);
    assert_int_equal(file_read(&s, &n, kit_path("absent"), 0, &e), ERR_MISSING);
    assert_int_equal(file_read(&s, &n, kit_path("."), 0, &e), ERR_IO);
    assert_null(s);
}

static void maps_show_the_file_and_refuse_what_is_none(void **state)
{
    struct err e = {0};
    struct file_map m;
    assert_int_equal(file_map_open(&m, kit_text("m", "hello"), &e), 0);
    assert_int_equal(m.n, 5);
    assert_memory_equal(m.p, "hello", 5);
    file_map_close(&m);
    assert_int_equal(file_map_open(&m, kit_text("m0", ""), &e), 0);
    assert_null(m.p);
    file_map_close(&m);
    assert_int_equal(file_map_open(&m, kit_path("."), &e), ERR_IO);
    assert_int_equal(file_map_open(&m, kit_path("absent"), &e), ERR_MISSING);
}

static void nothing_stands_under_the_name_before_commit(void **state)
{
    struct err e = {0};
    struct file_out w;
    const char *path = kit_path("out");
    assert_int_equal(file_out_open(&w, path, &e), 0);
    fputs("new", w.f);
    fflush(w.f);
    assert_false(kit_exists(path));
    assert_int_equal(file_out_commit(&w, &e), 0);
    assert_string_equal(kit_slurp(path, NULL), "new");
    file_out_close(&w);     // safe after commit
    assert_string_equal(kit_slurp(path, NULL), "new");
    assert_int_equal(file_out_open(&w, path, &e), 0);
    fputs("newer", w.f);
    file_out_close(&w);     // dropped
    assert_string_equal(kit_slurp(path, NULL), "new");
    assert_false(kit_exists(kit_path("out.partial")));
    assert_int_equal(file_out_open(&w, kit_path("no/such/folder/out"), &e), ERR_IO);
    kit_contains(e.msg, "no/such/folder/out");
    file_out_close(&w);
}

static void a_killed_writer_leaves_the_old_file(void **state)
{
    struct err e = {0};
    const char *path = kit_text("kept", "old");
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct file_out w;
        if (file_out_open(&w, path, NULL) == 0) {
            fputs("half of the new", w.f);
            fflush(w.f);
        }
        raise(SIGKILL);
    }
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
    assert_string_equal(kit_slurp(path, NULL), "old");
    assert_true(kit_exists(kit_path("kept.partial")));
    assert_int_equal(file_write(path, "new", 3, &e), 0);    // a leftover is no obstacle
    assert_string_equal(kit_slurp(path, NULL), "new");
    assert_false(kit_exists(kit_path("kept.partial")));
}

/* A limit on the size of files behaves like a disk that fills up. */
static int write_under_limit(const char *path, size_t bytes, size_t limit)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct rlimit lim = {limit, limit};
        struct err e = {0};
        interrupt_install();    // ignores SIGXFSZ
        setrlimit(RLIMIT_FSIZE, &lim);
        char *p = mem_alloc(bytes, 1);
        int rc = file_write(path, p, bytes, &e);
        free(p);
        _exit(rc == 0 ? 0 : rc == ERR_IO && strstr(e.msg, path) && strstr(e.msg, "File too large") ? 1 : 2);
    }
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void a_full_disk_is_a_sentence_and_leaves_nothing(void **state)
{
    const char *path = kit_text("full", "old");
    assert_int_equal(write_under_limit(path, 100000, 200000), 0);
    assert_int_equal(write_under_limit(path, 100000, 50000), 1);
    assert_int_equal(write_under_limit(path, 3000, 1000), 1);   // fits the stream's buffer, fails at the end
    size_t n;
    kit_slurp(path, &n);
    assert_int_equal(n, 100000);
    assert_false(kit_exists(kit_path("full.partial")));
}

static void dev_full_is_noticed_by_commit(void **state)
{
    struct err e = {0};
    struct file_out w;
    assert_int_equal(file_out_open(&w, kit_path("f"), &e), 0);
    w.f = freopen("/dev/full", "wb", w.f);
    if (!w.f)
        skip();
    fputs("short", w.f);
    assert_int_equal(file_out_commit(&w, &e), ERR_IO);
    kit_contains(e.msg, "No space left");
    assert_false(kit_exists(kit_path("f")));
    assert_false(kit_exists(kit_path("f.partial")));
}

static void folders_are_made_with_parents_and_removed_with_children(void **state)
{
    struct err e = {0};
    const char *deep = kit_path("a/b/c/");
    assert_int_equal(dir_make(deep, &e), 0);
    assert_int_equal(dir_make(deep, &e), 0);
    assert_true(dir_exists(deep));
    kit_text("a/b/file", "x");
    assert_int_equal(symlink("/", kit_path("a/link")), 0);
    assert_int_equal(dir_make(kit_path("a/b/file/d"), &e), ERR_IO);
    kit_contains(e.msg, "a/b/file");
    assert_int_equal(dir_remove(kit_path("a"), &e), 0);
    assert_false(kit_exists(kit_path("a")));
    assert_int_equal(dir_remove(kit_path("a"), &e), 0);
    assert_true(dir_exists("/"));
}

static void a_folder_appears_whole_and_replaces_the_old_one(void **state)
{
    struct err e = {0};
    const char *path = kit_path("model");
    char *tmp = NULL;
    for (int round = 0; round < 2; round++) {
        assert_int_equal(dir_out_open(&tmp, path, &e), 0);
        char *file = path_join(tmp, round ? "second" : "first");
        assert_int_equal(file_write(file, "x", 1, &e), 0);
        free(file);
        assert_int_equal(kit_exists(kit_path("model/second")), 0);
        assert_int_equal(dir_out_commit(tmp, round ? path : kit_path("model/"), &e), 0);
    }
    assert_true(kit_exists(kit_path("model/second")));
    assert_false(kit_exists(kit_path("model/first")));
    assert_false(kit_exists(kit_path("model.partial")));
    assert_int_equal(dir_out_open(&tmp, path, &e), 0);
    dir_out_drop(tmp);
    assert_false(kit_exists(kit_path("model.partial")));
    assert_true(kit_exists(kit_path("model/second")));
    dir_out_drop(NULL);
}

static void a_leftover_folder_is_emptied_first(void **state)
{
    struct err e = {0};
    char *tmp = NULL;
    assert_int_equal(dir_make(kit_path("left.partial/sub"), &e), 0);
    kit_text("left.partial/sub/old", "x");
    assert_int_equal(dir_out_open(&tmp, kit_path("left"), &e), 0);
    assert_int_equal(dir_out_commit(tmp, kit_path("left"), &e), 0);
    assert_true(dir_exists(kit_path("left")));
    assert_false(kit_exists(kit_path("left/sub")));
}

static void copies_are_exact(void **state)
{
    struct err e = {0};
    size_t n = 300000, m = 0;
    char *p = mem_alloc(n, 1);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)(i * i);
    assert_int_equal(file_copy(kit_path("copy"), kit_bytes("orig", p, n), &e), 0);
    const char *q = kit_slurp(kit_path("copy"), &m);
    assert_int_equal(m, n);
    assert_memory_equal(p, q, n);
    free(p);
    assert_int_equal(file_copy(kit_path("copy0"), kit_text("orig0", ""), &e), 0);
    assert_true(file_exists(kit_path("copy0")));
    assert_int_equal(file_copy(kit_path("c"), kit_path("absent"), &e), ERR_MISSING);
}

static void paths_join(void **state)
{
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"a", "/b", "/b"}, {"", "b", "b"}, {"/", "b", "/b"}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *s = path_join(cases[i][0], cases[i][1]);
        assert_string_equal(s, cases[i][2]);
        free(s);
    }
}

static void the_first_signal_asks_and_the_second_ends(void **state)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        interrupt_install();
        if (interrupted())
            _exit(10);
        raise(SIGINT);
        if (!interrupted())
            _exit(11);
        raise(SIGTERM);
        _exit(12);
    }
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 128 + SIGTERM);
}

static void time_memory_and_threads_are_sane(void **state)
{
    double a = time_now(), b = time_now();
    assert_true(b >= a && a > 0);
    double mb = mem_peak_mb();
    assert_true(mb > 0.5 && mb < 1e6);
    char *s = time_iso();
    assert_int_equal(strlen(s), 20);
    assert_int_equal(s[10], 'T');
    free(s);
    setenv("RLAIF_THREADS", "3", 1);
    assert_int_equal(threads_default(), 3);
    setenv("RLAIF_THREADS", "many", 1);
    assert_true(threads_default() >= 1);
    unsetenv("RLAIF_THREADS");
    setenv("RLAIF_TRACE", "learn,feedback", 1);
    assert_true(trace_on("learn") && trace_on("feedback") && !trace_on("feed") && !trace_on("eval"));
    unsetenv("RLAIF_TRACE");
    assert_false(trace_on("learn"));
}

/* What goes to stderr while fn runs. */
static const char *stderr_of(void (*fn)(void))
{
    const char *path = kit_path("stderr");
    fflush(stderr);
    int was = dup(STDERR_FILENO);
    assert_non_null(freopen(path, "w", stderr));
    fn();
    fflush(stderr);
    dup2(was, STDERR_FILENO);
    close(was);
    return kit_slurp(path, NULL);
}

static void work_quietly(void)
{
    struct progress p;
    progress_begin(&p, "labels", "pairs", 100);
    for (int i = 0; i < 100; i++)
        progress_add(&p, 1, "note");
    progress_end(&p);
    log_warn("%d left out", 3);
    log_msg(LOG_DEBUG, "not shown");
}

static void progress_off_a_terminal_is_plain_lines(void **state)
{
    assert_string_equal(stderr_of(work_quietly), "labels: 100 pairs in 0:00\nwarning: 3 left out\n");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_file_is_read_whole_and_terminated),
    cmocka_unit_test(maps_show_the_file_and_refuse_what_is_none),
    cmocka_unit_test(nothing_stands_under_the_name_before_commit),
    cmocka_unit_test(a_killed_writer_leaves_the_old_file),
    cmocka_unit_test(a_full_disk_is_a_sentence_and_leaves_nothing),
    cmocka_unit_test(dev_full_is_noticed_by_commit),
    cmocka_unit_test(folders_are_made_with_parents_and_removed_with_children),
    cmocka_unit_test(a_folder_appears_whole_and_replaces_the_old_one),
    cmocka_unit_test(a_leftover_folder_is_emptied_first),
    cmocka_unit_test(copies_are_exact),
    cmocka_unit_test(paths_join),
    cmocka_unit_test(the_first_signal_asks_and_the_second_ends),
    cmocka_unit_test(time_memory_and_threads_are_sane),
    cmocka_unit_test(progress_off_a_terminal_is_plain_lines),
};
KIT_MAIN(tests)
