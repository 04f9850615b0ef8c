/* recipe/stage_logprobs.c - `rlaif logprobs`: log-probs of given completions, token by token.
 *
 * Prompt and completion are tokenised apart and joined, as in training.  Rows are computed in
 * forests of some thousand tokens; neighbours with the same prompt share it.  What is printed for
 * a row does not depend on the others. */
#include "recipe/inference.h"

static const struct option options[] = {
    TRAINING_MODEL_OPTIONS("language model"),
    { "input", OPT_DATA, NULL, "rows {prompt, completion} (Parquet, JSON, CSV)", NULL, true },
    { "output", OPT_OUTPUT, NULL, "rows {ids, logprobs, sum} of the completions (.jsonl)", NULL, true },
    { "temperature", OPT_FLOAT, "1.0", "logits are divided by it", NULL, false },
    { "max_tokens_per_batch", OPT_INT, "2048", "tokens computed at once (a longer row alone is more)", NULL, false },
    INFERENCE_MEMORY_OPTION("max_tokens_per_batch"),
};

struct work {
    const struct model *m;
    struct rows rows;
    struct arena arena;
    struct example *example;
    int n;
    float temperature;
    struct rows_out out;
    struct tokens ids;          // all rows, prompt then completion
    struct span { int at, prompt, completion; } *span;     // (n)
    struct workspace *ws;
    struct forest forest;
    struct head_item *item;     // (longest batch)
    float *logp;
    long tokens;
    double sum;
};

static int encode(struct work *w, struct err *err)
{
    const struct tokenizer *t = model_tokenizer(w->m);
    w->span = mem_alloc((size_t)w->n, sizeof *w->span);
    int rc = w->span ? 0 : err_set(err, ERR_MEMORY, "no memory for %d rows", w->n);
    for (int i = 0; rc == 0 && i < w->n; i++) {
        const struct example *e = &w->example[i];
        struct span *s = &w->span[i];
        s->at = w->ids.n;
        rc = e->whole ? err_set(err, ERR_VALUE, "expected `prompt` and `completion`") : 0;
        if (rc == 0)
            rc = encode_prompt(t, &w->ids, &e->prompt, err);
        s->prompt = w->ids.n - s->at;
        if (rc == 0 && s->prompt < 1)
            rc = err_set(err, ERR_VALUE,
                         "the prompt has no tokens, so nothing predicts the completion's first");
        if (rc == 0)
            rc = encode_completion(t, &w->ids, &e->prompt, &e->completion, model_config(w->m),
                                   false, err);
        s->completion = w->ids.n - s->at - s->prompt;
        if (rc == 0)
            rc = model_check_length(model_config(w->m), s->prompt + s->completion, err);
        if (rc)
            err_prefix(err, "%s", rows_place(&w->rows, e->line).s);
    }
    return rc;
}

static bool same_prompt(const struct work *w, int a, int b)
{
    const struct span *x = &w->span[a], *y = &w->span[b];
    return x->prompt == y->prompt &&
           !memcmp(w->ids.id + x->at, w->ids.id + y->at, (size_t)x->prompt * sizeof *w->ids.id);
}

/* Tokens that row i adds to a batch which begins at row `first`. */
static int row_tokens(const struct work *w, int first, int i)
{
    bool shared = i > first && same_prompt(w, i - 1, i);
    return w->span[i].completion + (shared ? 0 : w->span[i].prompt);
}

static int batch_end(const struct work *w, int first, int most, int *tokens)
{
    int i = first;
    *tokens = 0;
    while (i < w->n && (i == first || *tokens + row_tokens(w, first, i) <= most)) {
        *tokens += row_tokens(w, first, i);
        i++;
    }
    return i;
}

static json_t *row_of(const int *id, const float *logp, int n, double *sum)
{
    json_t *row = json_object(), *ids = json_array(), *list = json_array();
    *sum = 0;
    for (int i = 0; i < n; i++) {
        json_array_append_new(ids, json_integer(id[i]));
        json_array_append_new(list, json_real((double)logp[i]));
        *sum += logp[i];
    }
    json_object_set_new(row, "ids", ids);
    json_object_set_new(row, "logprobs", list);
    json_object_set_new(row, "sum", json_real(*sum));
    return row;
}

static int write_rows(struct work *w, int first, int end, struct err *err)
{
    const float *logp = w->logp;
    int rc = 0;
    for (int i = first; rc == 0 && i < end; i++) {
        const struct span *s = &w->span[i];
        double sum;
        json_t *row = row_of(w->ids.id + s->at + s->prompt, logp, s->completion, &sum);
        rc = rows_out_add(&w->out, row, err);
        json_decref(row);
        logp += s->completion;
        w->tokens += s->completion;
        w->sum += sum;
    }
    return rc;
}

static int run_batch(struct work *w, int first, int end, struct err *err)
{
    int prompt = -1, n = 0;
    forest_clear(&w->forest);
    for (int i = first; i < end; i++) {
        const struct span *s = &w->span[i];
        const int *id = w->ids.id + s->at;
        if (i == first || !same_prompt(w, i - 1, i))
            prompt = forest_add(&w->forest, -1, id, s->prompt);
        int seg = prompt < 0 ? -1 : forest_add(&w->forest, prompt, id + s->prompt, s->completion);
        if (seg < 0)
            return err_set(err, ERR_MEMORY, "no memory for a batch of %d rows", end - first);
        n += forest_items(&w->forest, seg, 0, w->item + n);
    }
    model_forward(w->ws, w->m, &w->forest);
    model_logp(w->ws, w->logp, NULL, NULL, w->item, n, w->temperature);
    return write_rows(w, first, end, err);
}

static int largest_batch(const struct work *w, int most)
{
    int longest = 0, tokens;
    for (int i = 0; i < w->n;) {
        i = batch_end(w, i, most, &tokens);
        longest = tokens > longest ? tokens : longest;
    }
    return longest;
}

static int take_memory(struct work *w, int most, struct err *err)
{
    int longest = largest_batch(w, most);
    w->item = mem_alloc((size_t)longest, sizeof *w->item);
    w->logp = mem_alloc((size_t)longest, sizeof *w->logp);
    int rc = w->item && w->logp
                 ? workspace_new(&w->ws, w->m, longest, KEEP_NOTHING, err)
                 : err_set(err, ERR_MEMORY, "no memory for batches of %d tokens", longest);
    if (rc == 0)
        workspace_prepare(w->ws, w->m, longest);
    return rc;
}

static void give_memory_back(struct work *w)
{
    workspace_free(w->ws);
    free(w->item);
    free(w->logp);
    w->ws = NULL;
    w->item = NULL;
    w->logp = NULL;
}

static int try_sizes(void *arg, int rows, int cache, struct err *err)
{
    int rc = take_memory(arg, rows, err);
    give_memory_back(arg);
    return rc;
}

/* *result receives the size chosen. */
static int plan_memory(struct work *w, struct device *dev, const json_t *opt, int most,
                       json_t *result, struct err *err)
{
    struct fit f = {.what = "the longest row",
                    .rows = most,
                    .least_rows = largest_batch(w, 1),
                    .try = try_sizes,
                    .arg = w};
    int rc = memory_fit(&f, dev, opt, err);
    json_object_set_new(result, "max_tokens_per_batch", json_integer(f.rows));
    return rc;
}

static int run_all(struct work *w, int most, struct err *err)
{
    int rc = take_memory(w, most, err), tokens;
    struct progress p;
    progress_begin(&p, "logprobs", "rows", w->n);
    for (int i = 0, end; rc == 0 && i < w->n; i = end) {
        if (interrupted())
            rc = err_set(err, ERR_INTERRUPTED, "interrupted; nothing was written");
        end = batch_end(w, i, most, &tokens);
        if (rc == 0)
            rc = run_batch(w, i, end, err);
        progress_add(&p, end - i, NULL);
    }
    progress_end(&p);
    return rc;
}

static void release(struct work *w)
{
    rows_out_close(&w->out);
    give_memory_back(w);
    forest_release(&w->forest);
    tokens_release(&w->ids);
    free(w->span);
    rows_release(&w->rows);
    arena_release(&w->arena);
}

static void figures(json_t *result, const struct work *w)
{
    json_object_set_new(result, "rows", json_integer(w->n));
    json_object_set_new(result, "rejected", json_integer(w->rows.n_rejected));
    json_object_set_new(result, "tokens", json_integer(w->tokens));
    json_object_set_new(result, "mean_logprob",
                        w->tokens ? json_real(w->sum / (double)w->tokens) : json_null());
}

static int run_logprobs(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct work w = {.temperature = (float)opt_float(opt, "temperature")};
    struct device *dev;
    struct model *m = NULL;
    const char *output = opt_str(opt, "output");
    int most, rc = option_positive(opt, "max_tokens_per_batch", &most, err);
    if (rc == 0 && !(w.temperature > 0 && w.temperature < 1e6f))
        rc =
            err_set(err, ERR_USAGE, "--temperature is %g, expected above 0", (double)w.temperature);
    if (rc == 0)
        rc = run_device(run, &dev, err);
    if (rc == 0)
        rc = stage_model(&m, dev, opt, opt_str(opt, "model_name_or_path"), false, false, err);
    w.m = m;
    if (rc == 0)
        rc = rows_read(&w.rows, opt_str(opt, "input"), 0, err);
    if (rc == 0)
        rc = data_examples(&w.example, &w.n, &w.arena, &w.rows, err);
    if (rc == 0)
        rc = encode(&w, err);
    if (rc == 0 && device_is_plan(dev)) {
        rc = plan_memory(&w, dev, opt, most, result, err);
        goto out;
    }
    if (rc == 0)
        rc = dir_make_parent(output, err);
    if (rc == 0)
        rc = rows_out_open(&w.out, output, err);
    if (rc == 0)
        rc = run_all(&w, most, err);
    if (rc == 0)
        rc = rows_out_commit(&w.out, err);
    if (rc == 0)
        rc = rows_write_rejected_beside(&w.rows, output, err);
    if (rc == 0)
        figures(result, &w);
out:
    release(&w);
    model_close(m);
    return rc;
}

const struct stage stage_logprobs = {
    .name = "logprobs",
    .summary = "log-probs of given completions, token by token",
    .example = "rlaif logprobs -m models/s --input examples/completions.jsonl --output "
               "runs/try/logprobs.jsonl",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_logprobs,
    .plans = true,
};
