/* kit/torture_labels.c - labelling against a server that fails, and a process that is killed.
 *
 *     torture_labels RLAIF JUDGE [PAIRS [KILLS [SEED]]]
 *
 * The server (kit/judge.c) fails 30 % of requests: 429, 500, 503, resets, half a reply, half of
 * the JSON, silence; and some prompts always.  `rlaif label` is killed (-9) KILLS (5) times at
 * random moments, and started again until it ends.  Then every pair is labelled, or listed as
 * failed with its last error; no prompt whose reply was in the store when the process died was
 * asked again (the server counts); replies, labels and rows add up. */
#include "kit/prompt_hash.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char dir[256], url[64];
static int bad;
static pid_t judge;

#define no(...)                                                                                \
    do {                                                                                       \
        printf("not ok: " __VA_ARGS__);                                                        \
        putchar('\n');                                                                         \
        bad = 1;                                                                               \
    } while (0)

static const char *at(const char *name)
{
    static char path[8][400];
    static int i;
    i = (i + 1) % 8;
    snprintf(path[i], sizeof path[i], "%s/%s", dir, name);
    return path[i];
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(at(name), "w");
    if (!f || fputs(text, f) < 0 || fclose(f)) {
        perror(name);
        exit(1);
    }
}

/* Every 40th pair has a prompt that the server never answers. */
static void write_pairs(int n)
{
    FILE *f = fopen(at("pairs.jsonl"), "w");
    for (int i = 0; f && i < n; i++)
        fprintf(f,
                "{\"id\": \"p%d\", \"prompt\": \"%s post number %d about a cat.\", "
                "\"completions\": "
                "[\"A cat, said one: %d.\", \"No cat, said another: %d.\"]}\n",
                i, i % 40 == 7 ? "A hopeless" : "A", i, i * 7, i * 11);
    if (!f || fclose(f))
        exit(1);
}

static void start_judge(const char *program, unsigned seed)
{
    char text[200];
    snprintf(text, sizeof text, "kind openai\nfail 0.3\nlatency 0.02\nslots 8\nseed %u\n",
             seed);
    put("setup", text);
    put("faults", "100000000 hopeless status 500\n");
    judge = fork();
    if (judge == 0) {
        execl(program, program, dir, (char *)NULL);
        _exit(127);
    }
    struct stat st;
    for (int i = 0; i < 1000 && stat(at("port"), &st); i++)
        usleep(10000);
    int port = 0;
    FILE *f = fopen(at("port"), "r");
    if (!f || fscanf(f, "%d", &port) != 1)
        exit(1);
    fclose(f);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/v1", port);
}

static pid_t start_labelling(const char *rlaif)
{
    pid_t p = fork();
    if (p == 0) {
        if (!freopen(at("out"), "w", stdout) || !freopen(at("err"), "w", stderr))
            _exit(126);
        execl(rlaif, rlaif, "label", "--labeler", url, "--task", "summary", "--input",
              at("pairs.jsonl"), "--output_dir", at("labels"), "--store", at("labels.db"),
              "--request_timeout", "1", "--max_retries", "4", "--concurrency", "8", "--quiet",
              (char *)NULL);
        _exit(127);
    }
    return p;
}

/* ---- what was committed, and what was asked after that
 * ------------------------------------------ */

struct set {
    uint64_t *hash;
    int n;
};

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Prompts whose reply the store has. */
static struct set committed(void)
{
    struct set s = {0};
    sqlite3 *db;
    sqlite3_stmt *st;
    static const char sql[] = "SELECT coalesce(t.text, '') || q.body FROM replies r JOIN "
                              "questions q ON q.id = r.question "
                              "LEFT JOIN texts t ON t.id = q.head WHERE r.state = 'ok'";
    if (sqlite3_open_v2(at("labels.db"), &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
        sqlite3_close(db);
        return s; // killed before there was one
    }
    if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK) {
        while (sqlite3_step(st) == SQLITE_ROW) {
            s.hash = realloc(s.hash, (size_t)(s.n + 1) * sizeof *s.hash);
            s.hash[s.n++] = prompt_hash((const char *)sqlite3_column_text(st, 0));
        }
        sqlite3_finalize(st);
    }
    sqlite3_close(db);
    if (s.n)
        qsort(s.hash, (size_t)s.n, sizeof *s.hash, by_value);
    return s;
}

static long log_size(void)
{
    struct stat st;
    return stat(at("log"), &st) ? 0 : (long)st.st_size;
}

/* Requests in the log from byte `from` on; *again: those whose prompt is in s. */
static int requests_since(long from, const struct set *s, int *again)
{
    char line[1024];
    int n = 0;
    FILE *f = fopen(at("log"), "r");
    *again = 0;
    if (f)
        fseek(f, from, SEEK_SET);
    while (f && fgets(line, sizeof line, f)) {
        unsigned long long h;
        if (sscanf(line, "POST %*s %*d %llx", &h) != 1)
            continue;
        uint64_t key = h;
        n++;
        *again += s->n && bsearch(&key, s->hash, (size_t)s->n, sizeof key, by_value);
    }
    if (f)
        fclose(f);
    return n;
}

/* ---- the end
 * ---------------------------------------------------------------------------------------- */

static void check_rows(int pairs)
{
    static const char *const states[] = {"answered", "unanswered", "too_long", "refused",
                                         "failed"};
    int count[5] = {0}, rows = 0, silent = 0, hopeless = 0;
    char line[65536];
    FILE *f = fopen(at("labels/labels.jsonl"), "r");
    while (f && fgets(line, sizeof line, f)) {
        json_t *v = json_loads(line, 0, NULL);
        const char *state = json_string_value(json_object_get(v, "state"));
        const char *error = json_string_value(json_object_get(v, "error"));
        bool failed = state && !strcmp(state, "failed");
        for (int i = 0; state && i < 5; i++)
            count[i] += !strcmp(state, states[i]);
        silent += failed && !error;
        hopeless += failed && strstr(line, "hopeless");
        rows++;
        json_decref(v);
    }
    if (f)
        fclose(f);
    printf("   %d rows: %d labelled, %d listed as failed (%d of them never answered)\n", rows,
           count[0], count[4], hopeless);
    if (rows != pairs || count[0] + count[4] != pairs)
        no("%d pairs, but %d rows, %d labelled and %d failed", pairs, rows, count[0], count[4]);
    if (silent)
        no("%d failed pairs do not say why", silent);
    if (hopeless != (pairs + 32) / 40)
        no("%d of the pairs that cannot be answered are listed, expected %d", hopeless,
           (pairs + 32) / 40);
    struct set s = committed();
    if (s.n < 2 * count[0])
        no("%d labels from %d replies", count[0], s.n);
    free(s.hash);
}

/* Exit code 1 because some pairs have no label, which is so here. */
static bool stopped_short(void)
{
    char line[400];
    bool is = false;
    FILE *f = fopen(at("err"), "r");
    while (f && fgets(line, sizeof line, f))
        is |= strstr(line, "coverage") != NULL;
    if (f)
        fclose(f);
    return is;
}

static void show_error(void)
{
    char line[400];
    FILE *f = fopen(at("err"), "r");
    while (f && fgets(line, sizeof line, f))
        printf("   | %s", line);
    if (f)
        fclose(f);
}

int main(int argc, char **argv)
{
    int pairs = argc > 3 ? atoi(argv[3]) : 300, kills = argc > 4 ? atoi(argv[4]) : 5;
    unsigned seed = argc > 5 ? (unsigned)atoi(argv[5]) : 1;
    if (argc < 3)
        return 2;
    snprintf(dir, sizeof dir, "%s/rlaif-labels-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(dir))
        return 1;
    setenv("no_proxy", "127.0.0.1", 1);
    setvbuf(stdout, NULL, _IOLBF, 0);
    srand(seed);
    write_pairs(pairs);
    start_judge(argv[2], seed);
    struct set have = {0};
    long from = 0;
    int killed = 0, asked = 0, runs = 0;
    for (bool done = false; !done && runs < 10 * (kills + 1); runs++) {
        pid_t p = start_labelling(argv[1]);
        int status = 0, again;
        int more = 40 + rand() % 100; // killed after so many requests
        while (killed < kills && waitpid(p, &status, WNOHANG) == 0 &&
               requests_since(from, &have, &again) < more)
            usleep(20000);
        if (killed < kills && waitpid(p, &status, WNOHANG) == 0) {
            kill(p, SIGKILL);
            killed++;
        }
        if (waitpid(p, &status, 0) < 0 && errno != ECHILD)
            break;
        asked += requests_since(from, &have, &again);
        if (again)
            no("%d requests for prompts whose reply was in the store", again);
        done = WIFEXITED(status) && (WEXITSTATUS(status) == 0 || stopped_short());
        if (WIFEXITED(status) && !done) {
            no("exit code %d", WEXITSTATUS(status));
            show_error();
            break;
        }
        usleep(100000); // what the server still writes about the dead
        free(have.hash);
        have = committed();
        from = log_size();
        printf("   %s: %d replies in the store, %d requests so far\n", done ? "end" : "kill",
               have.n, asked);
    }
    if (killed < kills)
        no("only %d kills found their target; more pairs are needed", killed);
    check_rows(pairs);
    free(have.hash);
    kill(judge, SIGKILL);
    waitpid(judge, NULL, 0);
    printf(bad ? "torture-labels: see above (%s)\n" : "torture-labels: survived\n", dir);
    if (!bad && fork() == 0)
        execlp("rm", "rm", "-rf", dir, (char *)NULL);
    if (!bad)
        wait(NULL);
    return bad;
}
