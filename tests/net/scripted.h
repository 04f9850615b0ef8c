/* net/scripted.h - starts and stops the scripted Hub (kit/hub.c) around a test, and reads its log. */
#ifndef NET_SCRIPTED_H
#define NET_SCRIPTED_H

#include "kit/kit.h"
#include "net/internal.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static char where[512]; // the Hub's folder of this test
static pid_t hub;
static int ports[2];

static inline const char *at(const char *name)
{
    static char path[8][1024];
    static int i;
    i = (i + 1) % 8;
    snprintf(path[i], sizeof path[i], "%s/%s", where, name);
    return path[i];
}

static inline void put(const char *name, const void *p, size_t n)
{
    char dir[1024];
    snprintf(dir, sizeof dir, "%s", at(name));
    *strrchr(dir, '/') = 0;
    assert_int_equal(dir_make(dir, NULL), 0);
    FILE *f = fopen(at(name), "wb"); // not file_write: nothing here has to outlive a power failure
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline void put_text(const char *name, const char *text)
{
    put(name, text, strlen(text));
}

/* The script of kit/hub.c.  Counts go with a line's number: a second script of one test leaves the
 * first lines to those that were used. */
static inline void faults(const char *script)
{
    put_text("faults", script);
}

/* A folder of its own and an environment that reaches nothing else. */
static inline void scripted_folder(void)
{
    static const char *const unset[] = {
        "HF_TOKEN",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "HF_TOKEN_PATH",
        "http_proxy",
        "HUGGING_FACE_HUB_TOKEN",
        "HF_HUB_DISABLE_SYMLINKS",
        "all_proxy",
        "ALL_PROXY",
    };
    static int count;
    char name[32];
    snprintf(name, sizeof name, "hub%d", count++);
    snprintf(where, sizeof where, "%s", kit_path(name));
    faults("");
    for (size_t i = 0; i < ARRAY_LEN(unset); i++)
        unsetenv(unset[i]);
    setenv("HF_HOME", at("home"), 1);
    setenv("HF_HUB_DOWNLOAD_TIMEOUT", "10", 1); // a busy machine is no silent server
    setenv("no_proxy", "127.0.0.1", 1);
    log_set_level(LOG_ERROR);
    http_wait_unit = 0.02;
}

/* BUILD/tests/hub, seen from BUILD/tests/net/test_x. */
static inline void scripted_start(void)
{
    char program[1024], text[64];
    ssize_t n = readlink("/proc/self/exe", program, 1000);
    assert_true(n > 0);
    program[n] = 0;
    *strrchr(program, '/') = 0;
    strcpy(strrchr(program, '/'), "/hub");
    hub = fork();
    if (hub == 0) {
        execl(program, program, where, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 3000 && !kit_exists(at("ports")); i++)
        usleep(10000);
    const char *s = kit_slurp(at("ports"), NULL);
    assert_non_null(s);
    assert_int_equal(sscanf(s, "%d %d", &ports[0], &ports[1]), 2);
    snprintf(text, sizeof text, "http://127.0.0.1:%d", ports[0]);
    setenv("HF_ENDPOINT", text, 1);
}

static inline int scripted_stop(void **state)
{
    kill(hub, SIGKILL);
    waitpid(hub, NULL, 0);
    return 0;
}

/* How many lines of the Hub's log contain both. */
static inline int logged(const char *a, const char *b)
{
    const char *s = kit_slurp(at("log"), NULL);
    int n = 0;
    for (const char *end; s && (end = strchr(s, '\n')); s = end + 1) {
        char line[4096];
        snprintf(line, sizeof line, "%.*s", (int)(end - s), s);
        n += strstr(line, a) && strstr(line, b);
    }
    return n;
}

#endif
