/* recipe/bench/work_start.c - from starting a command to its first token: a process of its own, as a user starts it. */
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data/data.h"
#include "recipe/bench/bench.h"

struct start { char *program, *model, *input, *output; };

static int run_start(struct bench_work *w, struct err *err)
{
    const struct start *s = w->own;
    char *argv[] = { s->program, "generate", "--model_name_or_path", s->model, "--input", s->input, "--output", s->output,
                     "--max_new_tokens", "1", "--temperature", "0", "--quiet", "--json", NULL };
    posix_spawn_file_actions_t files;
    int status = 0, rc = posix_spawn_file_actions_init(&files);
    pid_t pid;
    if (rc == 0)
        rc = posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    /* Not fork: copying the page tables of gigabytes of models would be most of the time. */
    if (rc || posix_spawn(&pid, s->program, &files, NULL, argv, environ) || waitpid(pid, &status, 0) < 0 || status)
        rc = err_set(err, ERR_IO, "%s generate --model_name_or_path %s did not work", s->program, s->model);
    posix_spawn_file_actions_destroy(&files);
    return rc;
}

static void start_close(struct bench_work *w)
{
    struct start *s = w->own;
    if (!s)
        return;
    free(s->program);
    free(s->model);
    free(s->input);
    free(s->output);
    free(s);
    w->own = NULL;
}

static int write_prompt(const char *path, struct err *err)
{
    struct rows_out out = { 0 };
    json_t *row = json_pack("{s:s}", "prompt", "The capital of France is");
    int rc = row ? rows_out_open(&out, path, err) : err_set(err, ERR_MEMORY, "%s", path);
    if (rc == 0)
        rc = rows_out_add(&out, row, err);
    if (rc == 0)
        rc = rows_out_commit(&out, err);
    rows_out_close(&out);
    json_decref(row);
    return rc;
}

int bench_prepare_start(struct bench_work *w, const struct bench_weights *weights, const struct bench_row *row, const char *program,
                        struct err *err)
{
    struct start *s = mem_alloc(1, sizeof *s);
    *w = (struct bench_work){ .unit = "starts", .units = 1, .close = start_close, .own = s, .run = run_start };
    if (!s)
        return err_set(err, ERR_MEMORY, "%s", row->name);
    s->program = strdup(program);
    s->input = path_join(weights->dir, "prompt.jsonl");
    s->output = path_join(weights->dir, "first-token.jsonl");
    int rc = s->program && s->input && s->output ? 0 : err_set(err, ERR_MEMORY, "%s", row->name);
    if (rc == 0)
        rc = bench_weights_path(&s->model, weights, row->shape, row->gguf, err);
    return rc ? rc : write_prompt(s->input, err);
}
