/* Scopes nest into a tree, and operations are summed over the places that call them. */
#include "base/base.h"
#include "kit/kit.h"

#include <pthread.h>
#include <unistd.h>

static void op(void)
{
    PROFILE("op_thing");
}

static void phase(int times)
{
    PROFILE("phase");
    for (int i = 0; i < times; i++)
        op();
}

static void *other_thread(void *unused)
{
    phase(100);
    return unused;
}

static void scopes_make_a_tree_and_operations_are_summed(void **state)
{
    pthread_t t;
    char *text = NULL;
    size_t n = 0;
    setenv("RLAIF_TRACE", "time", 1);
    {
        PROFILE("command");
        phase(3);
        phase(2);
        op();
        usleep(2000);
    }
    // the device is driven by one thread: what others do is in its time already
    assert_int_equal(pthread_create(&t, NULL, other_thread, NULL), 0);
    pthread_join(t, NULL);
    FILE *f = open_memstream(&text, &n);
    profile_print(f);
    fclose(f);
    assert_non_null(strstr(text, "\ncommand "));
    const char *ops = strstr(text, "by operation");
    assert_non_null(ops);
    const char *line = strstr(ops, "op_thing ");
    assert_non_null(line);
    char name[32];
    double seconds, share;
    long long calls;
    assert_int_equal(sscanf(line, "%31s %lf %lf %% %lld", name, &seconds, &share, &calls), 4);
    assert_int_equal(calls, 6);
    assert_true(seconds >= 0 && share < 100);
    free(text);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(scopes_make_a_tree_and_operations_are_summed),
};
KIT_MAIN(tests)
