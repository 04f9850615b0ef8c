/* Errors and memory: sentences, limits, injected failures. */
#include "base/base.h"
#include "kit/kit.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void err_set_returns_its_code_and_keeps_the_sentence(void **state)
{
    struct err e = {0};
    assert_int_equal(err_set(&e, ERR_VALUE, "line %d", 7), ERR_VALUE);
    assert_int_equal(e.code, ERR_VALUE);
    assert_string_equal(e.msg, "line 7");
    assert_int_equal(err_set(NULL, ERR_IO, "nobody listens"), ERR_IO);
}

static void err_set_may_quote_the_sentence_it_replaces(void **state)
{
    struct err e = {0};
    err_set(&e, ERR_VALUE, "inner");
    err_set(&e, ERR_FORMAT, "outer (%s)", e.msg);
    assert_string_equal(e.msg, "outer (inner)");
}

static void err_prefix_puts_the_place_in_front(void **state)
{
    struct err e = {0};
    err_set(&e, ERR_MISSING, "'dim' is missing");
    assert_int_equal(err_prefix(&e, "%s", "config.json"), ERR_MISSING);
    assert_string_equal(e.msg, "config.json: 'dim' is missing");
    assert_int_equal(err_prefix(NULL, "x"), 0);
}

static void long_sentences_are_cut_never_overrun(void **state)
{
    struct { struct err e; char guard[8]; } s = {.guard = "guarded"};
    char longer[4000];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = 0;
    err_set(&s.e, ERR_VALUE, "%s", longer);
    assert_int_equal(strlen(s.e.msg), sizeof s.e.msg - 1);
    err_prefix(&s.e, "%s", "place");
    assert_memory_equal(s.e.msg, "place: xxx", 10);
    assert_int_equal(strlen(s.e.msg), sizeof s.e.msg - 1);
    err_prefix(&s.e, "%s", longer);
    assert_int_equal(strlen(s.e.msg), sizeof s.e.msg - 1);
    assert_string_equal(s.guard, "guarded");
}

static void bug_says_where_and_aborts(void **state)
{
    int fd[2], status;
    char said[400] = "";
    assert_int_equal(pipe(fd), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(fd[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        BUG("shape %d", 3);
    }
    close(fd[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(read(fd[0], said, sizeof said - 1) > 0);
    close(fd[0]);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    kit_contains(said, "test_err.c:");
    kit_contains(said, "shape 3");
}

static void sizes_that_overflow_are_refused(void **state)
{
    size_t n = 5;
    assert_true(size_mul(&n, 1000, 1000) && n == 1000000);
    assert_false(size_mul(&n, SIZE_MAX / 2, 3));
    assert_true(size_add(&n, SIZE_MAX - 1, 1) && n == SIZE_MAX);
    assert_false(size_add(&n, SIZE_MAX, 1));
    assert_null(mem_alloc(SIZE_MAX / 4, 8));
    assert_null(mem_aligned(SIZE_MAX - 3));
}

static void memory_comes_zeroed_and_aligned(void **state)
{
    char *p = mem_alloc(100, 3);
    for (int i = 0; i < 300; i++)
        assert_int_equal(p[i], 0);
    free(p);
    void *q = mem_aligned(100);
    assert_int_equal((uintptr_t)q % 64, 0);
    free(q);
    free(mem_alloc(0, 0));
}

static void mem_grow_keeps_what_was_there_and_zeroes_the_rest(void **state)
{
    size_t cap = 0;
    int *p = NULL;
    for (int i = 0; i < 1000; i++) {
        p = mem_grow(p, &cap, (size_t)i + 1, sizeof *p);
        assert_int_equal(p[i], 0);
        p[i] = i + 1;
    }
    for (int i = 0; i < 1000; i++)
        assert_int_equal(p[i], i + 1);
    size_t before = cap;
    assert_null(mem_grow(p, &cap, SIZE_MAX / 2, sizeof *p));
    assert_int_equal(cap, before);
    assert_int_equal(p[999], 1000);
    free(p);
}

static void arena_gives_aligned_zeroed_pieces_of_any_size(void **state)
{
    struct arena a = {0};
    static const size_t sizes[] = {1, 15, 16, 17, 0, 100000, 3, 65536, 65537, 1000, 40000, 40000};
    for (int round = 0; round < 20; round++)
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            unsigned char *p = arena_alloc(&a, sizes[i]);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 16, 0);
            for (size_t j = 0; j < sizes[i]; j++)
                assert_int_equal(p[j], 0);
            memset(p, 0xff, sizes[i]);
        }
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 40));
    assert_string_equal(arena_strdup(&a, "word"), "word");
    assert_string_equal(arena_strndup(&a, "word", 2), "wo");
    assert_string_equal(arena_strndup(&a, "word", 99), "word");
    arena_release(&a);
    assert_null(a.head);
    arena_release(&a);
}

/* The counter is read once per process, so each value gets a child. */
static int first_failure(const char *at, int tries)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        setenv("RLAIF_FAIL_AT", at, 1);
        int failed = 0;
        for (int i = 1; i <= tries; i++) {
            void *p = mem_alloc(1, 1);
            if (!p)
                failed = failed ? 99 : i;
            free(p);
        }
        _exit(failed);
    }
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}

static void fail_at_makes_exactly_the_named_allocation_fail(void **state)
{
    assert_int_equal(first_failure("1", 20), 1);
    assert_int_equal(first_failure("7", 20), 7);
    assert_int_equal(first_failure("0", 20), 0);
    assert_int_equal(first_failure("21", 20), 0);
    assert_int_equal(first_failure("nonsense", 20), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(fail_at_makes_exactly_the_named_allocation_fail),  // first: it reads the counter in children
    cmocka_unit_test(err_set_returns_its_code_and_keeps_the_sentence),
    cmocka_unit_test(err_set_may_quote_the_sentence_it_replaces),
    cmocka_unit_test(err_prefix_puts_the_place_in_front),
    cmocka_unit_test(long_sentences_are_cut_never_overrun),
    cmocka_unit_test(bug_says_where_and_aborts),
    cmocka_unit_test(sizes_that_overflow_are_refused),
    cmocka_unit_test(memory_comes_zeroed_and_aligned),
    cmocka_unit_test(mem_grow_keeps_what_was_there_and_zeroes_the_rest),
    cmocka_unit_test(arena_gives_aligned_zeroed_pieces_of_any_size),
};
KIT_MAIN(tests)
