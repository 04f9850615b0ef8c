/* recipe/stage_generate.c - `rlaif generate`: K sampled completions for each prompt.
 *
 * Rows are written in the input's order as soon as all before them are complete, into
 * OUTPUT.unfinished; the file gets its name when it is whole.  A recipe that was killed reads
 * what lies there and computes the rest: a completion depends on (seed, line, sample) only, so
 * the bytes are those of a run that was not killed.  Endpoints are asked in generate_asked.c. */
#include <errno.h>
#include <unistd.h>

#include "recipe/generating.h"
#include "recipe/inference.h"

static const struct option options[] = {
    TRAINING_MODEL_OPTIONS("model that writes"),
    { "input", OPT_DATA, NULL, "rows {prompt}: a string taken as it is, or messages put through the template", NULL, true },
    { "output", OPT_OUTPUT, NULL, "the same rows with `completions` added (.jsonl)", NULL, true },
    { "num_return_sequences", OPT_INT, "1", "completions per prompt", NULL, false },
    { "max_new_tokens", OPT_INT, "128", "a completion's length at most", NULL, false },
    { "temperature", OPT_FLOAT, "1.0", "0: always the likeliest token", NULL, false },
    { "top_k", OPT_INT, "0", "sample from the k likeliest tokens; 0: from all", NULL, false },
    { "top_p", OPT_FLOAT, "1.0", "sample from the likeliest tokens that together have this probability", NULL, false },
    { "for_sft", OPT_BOOL, "false", "set `completion` to the first one as well: rows that `rlaif sft` learns from", NULL, false },
    { "stop", OPT_LIST, NULL, "strings a completion ends before, beside the end-of-sequence token", NULL, false },
    { "seed", OPT_INT, "42", "same seed, same completions, whatever the batch", NULL, false },
    { "batch_size", OPT_INT, "32", "sequences in flight", NULL, false },
    { "cache_tokens", OPT_INT, "0", "tokens whose keys and values are in memory at most; 0: as many as the batch needs", NULL, false },
    { "max_tokens_per_batch", OPT_INT, "1024", "tokens of a step: prompts are computed in portions of it", NULL, false },
    INFERENCE_MEMORY_OPTION("cache_tokens and max_tokens_per_batch"),
    { "max_prompts", OPT_INT, "0", "the first so many; 0: all", NULL, false },
    { "store", OPT_STRING, NULL, "of an endpoint: store of replies (default: labels.db beside the output)", NULL, false },
    ENDPOINT_OPTIONS,
};

enum { STEP_ROWS = 1024 };      // what model_generate computes in a step

struct generation {
    const struct model *m;
    struct rows rows;
    struct arena arena;
    struct prompt *prompt;
    int n, from, per_prompt;    // from: prompts that were there already
    struct tokens ids;
    struct prompt_ids *list;    // (n)
    struct completion *out;     // ((n - from) * per_prompt)
    bool for_sft;
    bool *have;
    char *path;                 // OUTPUT.unfinished
    FILE *file;
    int written, done;          // prompts on file, completions finished
    json_t *shares;
    struct progress progress;
    struct err io;              // a failure inside the callback
    long tokens, ended;
};

/* ---- rows out --------------------------------------------------------------------------- */

static int write_row(struct generation *g, int p, struct err *err)
{
    json_t *row = json_copy((json_t *)g->prompt[p].row), *list = json_array();
    struct buf line = {0};
    int rc = row && list ? 0 : err_set(err, ERR_MEMORY, "%s: no memory for a row", g->path);
    for (int k = 0; rc == 0 && k < g->per_prompt; k++) {
        struct completion *c = &g->out[(size_t)(p - g->from) * (size_t)g->per_prompt + (size_t)k];
        if (json_array_append_new(list, json_string(c->text)))
            rc = err_set(err, ERR_MEMORY, "%s: no memory for a row", g->path);
    }
    if (rc == 0)
        json_object_set(row, "completions", list);
    if (rc == 0 && g->for_sft)
        json_object_set(row, "completion", json_array_get(list, 0));
    json_decref(list);
    if (rc == 0)
        json_add_text(&line, row, 0);
    buf_adds(&line, "\n");
    if (rc == 0 && line.failed)
        rc = err_set(err, ERR_MEMORY, "%s: no memory for a row", g->path);
    if (rc == 0 && (fwrite(line.s, 1, line.len, g->file) != line.len || fflush(g->file)))
        rc = err_set(err, ERR_IO, "%s: writing: %s", g->path, strerror(errno));
    buf_release(&line);
    json_decref(row);
    return rc;
}

static bool prompt_done(const struct generation *g, int p)
{
    for (int k = 0; k < g->per_prompt; k++)
        if (!g->have[(size_t)(p - g->from) * (size_t)g->per_prompt + (size_t)k])
            return false;
    return true;
}

static void finished(void *arg, int i)
{
    struct generation *g = arg;
    g->have[i] = true;
    g->tokens += g->out[i].n;
    g->ended += g->out[i].eos;
    progress_add(&g->progress, 1, NULL);
    while (g->io.code == 0 && g->written < g->n && prompt_done(g, g->written))
        if (write_row(g, g->written, &g->io) == 0)
            g->written++;
}

/* Rows an interrupted run left, complete lines only; the rest is cut off. */
static int count_finished(struct generation *g, struct err *err)
{
    char *text = NULL;
    size_t n = 0, keep = 0;
    if (!file_exists(g->path))
        return 0;
    int rc = file_read(&text, &n, g->path, (size_t)4 << 30, err);
    for (size_t at = 0; rc == 0 && g->from < g->n; ) {
        char *end = memchr(text + at, '\n', n - at);
        if (!end)
            break;
        json_t *row = json_parse(text + at, (size_t)(end - text) - at, g->path, NULL);
        size_t k = json_array_size(json_object_get(row, "completions"));
        json_decref(row);
        if (k != (size_t)g->per_prompt)
            break;
        g->from++;
        at = keep = (size_t)(end - text) + 1;
    }
    free(text);
    if (rc == 0 && truncate(g->path, (off_t)keep))
        rc = err_set(err, ERR_IO, "%s: cutting off an unfinished line: %s", g->path,
                     strerror(errno));
    return rc;
}

static int open_output(struct generation *g, const char *output, bool resume, struct err *err)
{
    g->path = str_printf("%s.unfinished", output);
    int rc = g->path ? 0 : err_set(err, ERR_MEMORY, "%s: no memory", output);
    if (rc == 0 && resume)
        rc = count_finished(g, err);
    g->written = g->from;
    if (rc == 0 && !(g->file = fopen(g->path, g->from ? "ab" : "wb")))
        rc = err_set(err, ERR_IO, "%s: %s", g->path, strerror(errno));
    return rc;
}

static int commit_output(struct generation *g, const char *output, struct err *err)
{
    FILE *f = g->file;
    g->file = NULL;
    int bad = fflush(f) || fsync(fileno(f));
    if (fclose(f) || bad)
        return err_set(err, ERR_IO, "%s: writing: %s", g->path, strerror(errno));
    if (rename(g->path, output))
        return err_set(err, ERR_IO, "%s: renaming to %s: %s", g->path, output, strerror(errno));
    return 0;
}

/* ---- prompts in ------------------------------------------------------------------------- */

static int encode_prompts(struct generation *g, struct err *err)
{
    size_t *at = mem_alloc((size_t)g->n + 1, sizeof *at);
    g->list = mem_alloc((size_t)g->n, sizeof *g->list);
    int rc = at && g->list ? 0 : err_set(err, ERR_MEMORY, "no memory for %d prompts", g->n);
    for (int i = 0; rc == 0 && i < g->n; i++) {
        at[i] = (size_t)g->ids.n;
        rc = encode_prompt(model_tokenizer(g->m), &g->ids, &g->prompt[i].text, err);
        int len = g->ids.n - (int)at[i];
        if (rc)
            err_prefix(err, "%s", rows_place(&g->rows, g->prompt[i].line).s);
        else if (len < 1 || len >= model_config(g->m)->max_position)
            rc = err_set(err, ERR_VALUE, "%s: the prompt has %d tokens, the model's context %d",
                         rows_place(&g->rows, g->prompt[i].line).s, len,
                         model_config(g->m)->max_position);
        else
            g->list[i] = (struct prompt_ids){ .n = len, .item = (uint64_t)g->prompt[i].line };
    }
    for (int i = 0; rc == 0 && i < g->n; i++)
        g->list[i].id = g->ids.id + at[i];      // the ids moved while they grew
    free(at);
    return rc;
}

static int read_prompts(struct generation *g, const json_t *opt, struct err *err)
{
    int64_t most = opt_int(opt, "max_prompts");
    if (most < 0 || most > INT32_MAX)
        return err_set(err, ERR_USAGE, "--max_prompts is %lld, expected 0 or more",
                       (long long)most);
    int rc = rows_read(&g->rows, opt_str(opt, "input"), (int)most, err);
    if (rc == 0)
        rc = data_prompts(&g->prompt, &g->n, &g->arena, &g->rows, err);
    return rc ? rc : encode_prompts(g, err);
}

/* ---- the stage --------------------------------------------------------------------------- */

struct sizes { int batch, rows, cache; };      // sequences, tokens of a step, tokens in the cache (0: as many as are needed)

/* Tokens of a cache in which so many sequences have room. */
static int cache_for(const struct generation *g, const struct sampling *s, int sequences)
{
    int longest = 0, room = model_config(g->m)->max_position - 1,
        new = s->max_new_tokens < room ? s->max_new_tokens : room;
    for (int i = 0; i < g->n; i++)
        longest = g->list[i].n > longest ? g->list[i].n : longest;
    return scheduler_blocks(sequences, longest + new) * CACHE_BLOCK;
}

/* Over a cache of so many tokens: where they run out, sequences wait or are computed again, to
 * the same results. */
static int generate_within(struct generation *g, int todo, const struct sampling *s, struct sizes z,
                           struct err *err)
{
    struct scheduler_options o = {.blocks =
                                      (int)(((int64_t)z.cache + CACHE_BLOCK - 1) / CACHE_BLOCK),
                                  .sequences = z.batch,
                                  .rows = z.rows};
    struct scheduler *scheduler = NULL;
    int rc = scheduler_new(&scheduler, g->m, &o, err);
    if (rc == 0 && !device_is_plan(model_device(g->m)))
        rc = scheduler_generate(g->out, scheduler, g->list + g->from, todo, g->per_prompt, s,
                                finished, g, err);
    scheduler_free(scheduler);
    return rc;
}

/* Through model_generate unless one of the sizes is not its own. */
static int generate_sized(struct generation *g, const struct sampling *s, struct sizes z,
                          struct err *err)
{
    int todo = g->n - g->from;
    if (z.cache == 0 && z.rows == STEP_ROWS)
        return model_generate(g->out, g->m, g->list + g->from, todo, g->per_prompt, s, z.batch,
                              finished, g, err);
    z.cache = z.cache ? z.cache : cache_for(g, s, z.batch);
    return generate_within(g, todo, s, z, err);
}

struct trial { struct generation *g; const struct sampling *s; struct sizes z; };

static int try_sizes(void *arg, int rows, int cache, struct err *err)
{
    struct trial *t = arg;
    struct sizes z = t->z;
    z.rows = rows;
    z.cache = cache ? cache : z.cache;
    return generate_sized(t->g, t->s, z, err);
}

/* *result receives the sizes chosen. */
static int plan_memory(struct generation *g, const struct sampling *s, struct sizes z,
                       const json_t *opt, json_t *result, struct err *err)
{
    struct trial t = {g, s, z};
    g->out = mem_alloc((size_t)g->n * (size_t)g->per_prompt, sizeof *g->out);
    if (!g->out)
        return err_set(err, ERR_MEMORY, "no memory for completions of %d prompts", g->n);
    struct fit f = {.what = "generating one sequence",
                    .rows = z.rows,
                    .least_rows = z.batch < 32 ? 32 : z.batch,
                    .cache = z.cache,
                    .try = try_sizes,
                    .arg = &t};
    f.least_cache = cache_for(g, s, 1);
    f.cache = f.cache ? f.cache : cache_for(g, s, z.batch);
    f.least_rows = f.least_rows < f.rows ? f.least_rows : f.rows;
    int rc = memory_fit(&f, model_device(g->m), opt, err);
    if (f.cache)
        json_object_set_new(result, "cache_tokens", json_integer(f.cache));
    json_object_set_new(result, "max_tokens_per_batch", json_integer(f.rows));
    return rc;
}

static int generate(struct generation *g, const struct sampling *s, struct sizes z, struct err *err)
{
    int todo = g->n - g->from;
    size_t total = (size_t)todo * (size_t)g->per_prompt;
    g->out = mem_alloc(total, sizeof *g->out);
    g->have = mem_alloc(total, sizeof *g->have);
    if (!g->out || !g->have)
        return err_set(err, ERR_MEMORY, "no memory for %zu completions", total);
    progress_begin(&g->progress, "generate", "completions", (double)total);
    int rc = generate_sized(g, s, z, err);
    progress_end(&g->progress);
    if (rc == 0 && g->io.code)
        rc = err_set(err, g->io.code, "%s", g->io.msg);
    return rc;
}

static void figures(json_t *result, const struct generation *g, double seconds)
{
    int fresh = (g->n - g->from) * g->per_prompt;
    json_object_set_new(result, "prompts", json_integer(g->n));
    json_object_set_new(result, "completions", json_integer((json_int_t)g->n * g->per_prompt));
    json_object_set_new(result, "rejected", json_integer(g->rows.n_rejected));
    json_object_set_new(result, "tokens", json_integer(g->tokens));
    json_object_set_new(result, "mean_length",
                        fresh ? json_real((double)g->tokens / fresh) : json_null());
    json_object_set_new(result, "ended", fresh ? json_real((double)g->ended / fresh) : json_null());
    json_object_set_new(result, "seconds", json_real(seconds));
    json_object_set_new(result, "tokens_per_second",
                        json_real(seconds > 0 ? (double)g->tokens / seconds : 0));
}

static void release(struct generation *g)
{
    if (g->file)
        fclose(g->file);
    if (g->out)
        completions_release(g->out, (g->n - g->from) * g->per_prompt);
    free(g->out);
    free(g->have);
    free(g->list);
    free(g->path);
    tokens_release(&g->ids);
    rows_release(&g->rows);
    arena_release(&g->arena);
}

static int run_generate(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    if (labeler_is_endpoint(opt_str(opt, "model_name_or_path")))
        return generate_asked(run, opt, result, err);
    struct generation g = {.for_sft = opt_bool(opt, "for_sft")};
    struct sampling s;
    struct device *dev;
    struct model *m = NULL;
    const char *stop[MAX_STOPS], *output = opt_str(opt, "output");
    struct sizes z = {0};
    int rc = read_sampling(&s, stop, opt, err);
    if (rc == 0)
        rc = option_positive(opt, "num_return_sequences", &g.per_prompt, err);
    if (rc == 0)
        rc = option_positive(opt, "batch_size", &z.batch, err);
    int64_t cache_tokens = opt_int(opt, "cache_tokens");
    if (rc == 0 && (cache_tokens < 0 || cache_tokens > INT32_MAX - CACHE_BLOCK))
        rc = err_set(err, ERR_USAGE, "--cache_tokens is %lld, expected 0 or more",
                     (long long)cache_tokens);
    z.cache = (int)cache_tokens;
    if (rc == 0)
        rc = option_positive(opt, "max_tokens_per_batch", &z.rows, err);
    if (rc == 0)
        rc = run_device(run, &dev, err);
    if (rc == 0)
        rc = stage_model(&m, dev, opt, opt_str(opt, "model_name_or_path"), false, false, err);
    g.m = m;
    if (rc == 0)
        rc = read_prompts(&g, opt, err);
    if (rc == 0 && device_is_plan(dev)) {
        rc = plan_memory(&g, &s, z, opt, result, err);
        goto out;
    }
    if (rc == 0)
        rc = dir_make_parent(output, err);
    if (rc == 0)
        rc = open_output(&g, output, run->resume, err);
    double start = time_now();
    if (rc == 0 && g.from < g.n)
        rc = generate(&g, &s, z, err);
    double seconds = time_now() - start;
    if (rc == 0)
        rc = commit_output(&g, output, err);
    if (rc == 0)
        rc = rows_write_rejected_beside(&g.rows, output, err);
    if (rc == 0)
        figures(result, &g, seconds);
    else if (g.path && (!run->out || g.written == 0))
        unlink(g.path);         // only a recipe comes back for what is in it
    if (rc == ERR_INTERRUPTED && run->out)
        rc = err_set(err, rc, "interrupted with %d of %d prompts in %s; the same command goes on from there", g.written, g.n, g.path);
    else if (rc == ERR_INTERRUPTED)
        rc = err_set(err, rc, "interrupted; nothing was written");
out:
    release(&g);
    model_close(m);
    return rc;
}

const struct stage stage_generate = {
    .name = "generate",
    .summary = "sample completions of prompts",
    .example = "rlaif generate -m models/s --input examples/prompts.jsonl --output "
               "runs/try/out.jsonl --num_return_sequences 2",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_generate,
    .plans = true,
};
