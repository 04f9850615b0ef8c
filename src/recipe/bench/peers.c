/* recipe/bench/peers.c - other programs that do the same work: started once, asked a line of JSON per run. */
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "recipe/bench/bench.h"

struct bench_peer {
    char *name, *command;
    pid_t pid;
    FILE *to, *from;
    json_t *answer;         // the last one
};

static int spawn_shell(struct bench_peer *p, int to[2], int from[2], struct err *err)
{
    char *argv[] = { "sh", "-c", p->command, NULL };
    posix_spawn_file_actions_t files;
    if (posix_spawn_file_actions_init(&files))
        return err_set(err, ERR_MEMORY, "starting %s", p->name);
    int bad = posix_spawn_file_actions_adddup2(&files, to[0], 0) || posix_spawn_file_actions_adddup2(&files, from[1], 1) ||
        posix_spawn_file_actions_addclose(&files, to[1]) || posix_spawn_file_actions_addclose(&files, from[0]) ||
        posix_spawn(&p->pid, "/bin/sh", &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    return bad ? err_set(err, ERR_IO, "peer %s: cannot start: %s", p->name, p->command) : 0;
}

int bench_peer_start(struct bench_peer **out, const char *name, const char *command, struct err *err)
{
    int to[2] = { -1, -1 }, from[2] = { -1, -1 };
    struct bench_peer *p = mem_alloc(1, sizeof *p);
    if (!p || !(p->name = strdup(name)) || !(p->command = strdup(command))) {
        bench_peer_stop(p);
        return err_set(err, ERR_MEMORY, "peer %s", name);
    }
    signal(SIGPIPE, SIG_IGN);       // a peer that died is an error, not our end
    int rc = pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC) ? err_set(err, ERR_IO, "peer %s: %m", name) :
        spawn_shell(p, to, from, err);
    if (to[0] >= 0)
        close(to[0]);
    if (from[1] >= 0)
        close(from[1]);
    if (to[1] >= 0)
        p->to = fdopen(to[1], "w");
    if (from[0] >= 0)
        p->from = fdopen(from[0], "r");
    if (rc == 0 && (!p->to || !p->from))
        rc = err_set(err, ERR_MEMORY, "peer %s", name);
    if (rc)
        bench_peer_stop(p);
    else
        *out = p;
    return rc;
}

void bench_peer_stop(struct bench_peer *p)
{
    if (!p)
        return;
    if (p->to)
        fclose(p->to);          // the end of its input ends it
    if (p->from)
        fclose(p->from);
    if (p->pid > 0) {
        kill(p->pid, SIGTERM);
        waitpid(p->pid, NULL, 0);
    }
    json_decref(p->answer);
    free(p->name);
    free(p->command);
    free(p);
}

const char *bench_peer_name(const struct bench_peer *p)
{
    return p->name;
}

static int read_answer(struct bench_peer *p, struct err *err)
{
    char *line = NULL;
    size_t cap = 0;
    json_error_t bad;
    ssize_t n = getline(&line, &cap, p->from);
    json_decref(p->answer);
    p->answer = n > 0 ? json_loads(line, 0, &bad) : NULL;
    int rc = n <= 0 ? err_set(err, ERR_IO, "peer %s ended without an answer", p->name) :
        !p->answer ? err_set(err, ERR_FORMAT, "peer %s: expected a line of JSON, found '%.80s'", p->name, line) : 0;
    free(line);
    return rc;
}

int bench_peer_run(double *rate, const char **why, struct bench_peer *p, const json_t *question, struct err *err)
{
    *rate = NAN;
    *why = NULL;
    char *line = json_dumps(question, JSON_COMPACT);
    if (!line)
        return err_set(err, ERR_MEMORY, "asking peer %s", p->name);
    bool sent = fprintf(p->to, "%s\n", line) > 0 && fflush(p->to) == 0;
    free(line);
    int rc = sent ? read_answer(p, err) : err_set(err, ERR_IO, "peer %s has ended", p->name);
    if (rc)
        return rc;
    double units = json_number_value(json_object_get(p->answer, "units"));
    double seconds = json_number_value(json_object_get(p->answer, "seconds"));
    *why = json_string_value(json_object_get(p->answer, "skip"));
    if (*why)
        return 0;
    if (!(units > 0) || !(seconds > 0))
        return err_set(err, ERR_FORMAT, "peer %s: expected \"units\" and \"seconds\" above 0, or \"skip\"", p->name);
    *rate = units / seconds;
    return 0;
}
