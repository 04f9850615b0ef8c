/* feedback/judge.h - starts and stops the scripted server (kit/judge.c) around a test, and
 * counts its log. */
#ifndef FEEDBACK_JUDGE_H
#define FEEDBACK_JUDGE_H

#include "feedback/feedback.h"
#include "feedback/providers.h"
#include "kit/kit.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static char judge_root[512], judge_url[64];
static pid_t judge_pid;

static inline const char *judge_at(const char *name)
{
    static char path[4][1024];
    static int i;
    i = (i + 1) % 4;
    snprintf(path[i], sizeof path[i], "%s/%s", judge_root, name);
    return path[i];
}

static inline void judge_put(const char *name, const char *text)
{
    FILE *f = fopen(judge_at(name), "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* Counts go with a line's number: a second script of one test leaves the first lines to those
 * used. */
static inline void judge_faults(const char *script)
{
    judge_put("faults", script);
}

/* BUILD/tests/judge, seen from BUILD/tests/feedback/test_x; setup: lines of kit/judge.c's
 * setup. */
static inline void judge_start(const char *setup)
{
    static int count;
    char program[1024], name[32];
    snprintf(name, sizeof name, "judge%d", count++);
    snprintf(judge_root, sizeof judge_root, "%s", kit_path(name));
    assert_int_equal(dir_make(judge_root, NULL), 0);
    judge_put("setup", setup);
    judge_put("faults", "");
    ssize_t n = readlink("/proc/self/exe", program, 1000);
    assert_true(n > 0);
    program[n] = 0;
    *strrchr(program, '/') = 0;
    strcpy(strrchr(program, '/'), "/judge");
    judge_pid = fork();
    if (judge_pid == 0) {
        execl(program, program, judge_root, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 3000 && !kit_exists(judge_at("port")); i++)
        usleep(10000);
    const char *s = kit_slurp(judge_at("port"), NULL);
    assert_non_null(s);
    snprintf(judge_url, sizeof judge_url, "http%s://127.0.0.1:%d/v1",
             strstr(setup, "tls") ? "s" : "", atoi(s));
    setenv("no_proxy", "127.0.0.1", 1);
    log_set_level(LOG_ERROR);
}

static inline int judge_stop(void **state)
{
    if (judge_pid > 0) {
        kill(judge_pid, SIGKILL);
        waitpid(judge_pid, NULL, 0);
    }
    judge_pid = 0;
    return 0;
}

/* How many lines of its log contain both. */
static inline int judge_logged(const char *a, const char *b)
{
    const char *s = kit_slurp(judge_at("log"), NULL);
    int n = 0;
    for (const char *end; s && (end = strchr(s, '\n')); s = end + 1) {
        char line[1024];
        snprintf(line, sizeof line, "%.*s", (int)(end - s), s);
        n += strstr(line, a) && strstr(line, b);
    }
    return n;
}

static inline struct provider *judge_open(int concurrency)
{
    struct provider *p = NULL;
    struct err e = {0};
    struct endpoint_options o = {
        .url = judge_url, .concurrency = concurrency, .wait = 0.01, .timeout = 20};
    if (provider_endpoint_new(&p, &o, &e))
        fail_msg("%s", e.msg);
    return p;
}

/* How an opening fails. */
static inline const char *judge_refuses(const char *url, const char *key)
{
    static struct err e;
    struct provider *p = NULL;
    struct endpoint_options o = {.url = url, .key = key, .wait = 0.01, .timeout = 20};
    e = (struct err){0};
    assert_int_not_equal(provider_endpoint_new(&p, &o, &e), 0);
    assert_null(p);
    return e.msg;
}

static inline bool judge_told(void *arg, int i)
{
    int *times = arg;
    if (i >= 0 && times)
        times[i]++;
    return true;
}

static const char *const one_two[] = {"1", "2"};

static inline struct ask judge_words(const char *prompt)
{
    return (struct ask){.kind = ASK_WORDS, .prompt = prompt, .word = one_two, .n_words = 2};
}

/* One question; the reply lives until the next. */
static inline struct reply *judge_ask(struct provider *p, const struct ask *a)
{
    static struct reply r;
    struct err e = {0};
    int told = 0;
    reply_release(&r);
    if (p->ask(p, &r, a, 1, judge_told, &told, &e))
        fail_msg("%s", e.msg);
    assert_int_equal(told, 1);
    return &r;
}

#endif
