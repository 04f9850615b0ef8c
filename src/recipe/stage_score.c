/* recipe/stage_score.c - `rlaif score`: what a reward model says of texts.
 *
 * A row's `completion`, or each of its `completions`, is scored after its prompt by the rule of
 * training (learn/scorer.c).  Added: raw_score, score = (raw_score - mean) / deviation as the
 * reward model's folder records them, and the ids that were read, so that other tools can check
 * the number. */
#include "recipe/inference.h"

static const struct option options[] = {
    TRAINING_MODEL_OPTIONS("reward model"),
    { "input", OPT_DATA, NULL, "rows {prompt, completion} or {prompt, completions} (Parquet, JSON, CSV)", NULL, true },
    { "output", OPT_OUTPUT, NULL, "the same rows with score, raw_score and ids added (.jsonl)", NULL, true },
    { "max_tokens_per_batch", OPT_INT, "2048", "tokens computed at once (a longer row alone is more)", NULL, false },
    INFERENCE_MEMORY_OPTION("max_tokens_per_batch"),
};

struct entry { struct text prompt, *completion; int n; bool list; };     // n completions; list: the row has `completions`

struct work {
    const struct model *m;
    struct rows rows;
    struct arena arena;
    struct entry *entry;        // (rows.n)
    struct scored *scored;      // (total) pointers into the entries
    float *raw;                 // (total)
    int total;
    struct scorer *scorer;
    double sum;
};

/* ---- rows in ------------------------------------------------------------------------------- */

static int parse_completions(struct entry *e, struct arena *a, const json_t *v, const char *where,
                             struct err *err)
{
    e->list = true;
    e->n = (int)json_array_size(v);
    e->completion = arena_alloc(a, ((size_t)e->n + 1) * sizeof *e->completion);
    if (!e->completion)
        return err_set(err, ERR_MEMORY, "%s: no memory", where);
    if (!json_is_array(v) || e->n < 1)
        return err_set(err, ERR_FORMAT, "%s: `completions` is not a list of texts", where);
    int rc = 0;
    for (int k = 0; rc == 0 && k < e->n; k++)
        rc = text_from_json(&e->completion[k], a, json_array_get(v, (size_t)k), where, err);
    return rc;
}

static int parse_row(struct entry *e, struct arena *a, const json_t *row, struct err *err)
{
    const json_t *prompt = json_object_get(row, "prompt"),
                 *one = json_object_get(row, "completion");
    const json_t *many = json_object_get(row, "completions");
    if (!prompt || (!one && !many))
        return err_set(err, ERR_MISSING, "no `%s`",
                       prompt ? "completion` or `completions" : "prompt");
    int rc = text_from_json(&e->prompt, a, prompt, "prompt", err);
    if (rc == 0 && many)
        return parse_completions(e, a, many, "completions", err);
    e->n = 1;
    e->completion = rc == 0 ? arena_alloc(a, sizeof *e->completion) : NULL;
    if (rc == 0 && !e->completion)
        rc = err_set(err, ERR_MEMORY, "no memory");
    return rc ? rc : text_from_json(e->completion, a, one, "completion", err);
}

static int parse_rows(struct work *w, struct err *err)
{
    char first[320] = "";
    w->entry = mem_alloc((size_t)w->rows.n, sizeof *w->entry);
    if (!w->entry)
        return err_set(err, ERR_MEMORY, "no memory for %d rows", w->rows.n);
    for (int i = 0; i < w->rows.n; ) {
        struct err why = {0};
        struct entry e = {0};
        int rc = parse_row(&e, &w->arena, w->rows.row[i], &why);
        if (rc == ERR_MEMORY)
            return err_set(err, rc, "%s", why.msg);
        if (rc && !*first)
            snprintf(first, sizeof first, "%s: %.200s",
                     rows_place(&w->rows, w->rows.line[i]).within, why.msg);
        if (rc) {
            rows_reject(&w->rows, i, "%s", why.msg);
        } else {
            w->total += e.n;
            w->entry[i++] = e;
        }
    }
    return w->rows.n
               ? 0
               : err_set(err, ERR_VALUE, "%s: no row can be scored (%s)", w->rows.path, first);
}

static int list_texts(struct work *w, struct err *err)
{
    w->scored = mem_alloc((size_t)w->total, sizeof *w->scored);
    w->raw = mem_alloc((size_t)w->total, sizeof *w->raw);
    if (!w->scored || !w->raw)
        return err_set(err, ERR_MEMORY, "no memory for %d texts", w->total);
    for (int i = 0, at = 0; i < w->rows.n; i++)
        for (int k = 0; k < w->entry[i].n; k++)
            w->scored[at++] = (struct scored){ &w->entry[i].prompt, &w->entry[i].completion[k] };
    return 0;
}

/* ---- rows out ------------------------------------------------------------------------------- */

static int ids_json(json_t **out, const struct work *w, const struct scored *t, struct err *err)
{
    struct tokens ids = {0};
    int rc = encode_prompt(model_tokenizer(w->m), &ids, t->prompt, err);
    if (rc == 0)
        rc = encode_completion(model_tokenizer(w->m), &ids, t->prompt, t->completion,
                               model_config(w->m), true, err);
    *out = rc == 0 ? json_array() : NULL;
    for (int i = 0; *out && i < ids.n; i++)
        json_array_append_new(*out, json_integer(ids.id[i]));
    tokens_release(&ids);
    return rc;
}

static int scored_row(json_t **out, struct work *w, int i, int at, struct err *err)
{
    const struct entry *e = &w->entry[i];
    json_t *score = json_array(), *raw = json_array(), *ids = json_array(),
           *row = json_copy(w->rows.row[i]);
    int rc = 0;
    for (int k = 0; rc == 0 && k < e->n; k++) {
        json_t *list = NULL;
        double value = (double)scorer_normalize(w->scorer, w->raw[at + k]);
        rc = ids_json(&list, w, &w->scored[at + k], err);
        json_array_append_new(score, json_real(value));
        json_array_append_new(raw, json_real((double)w->raw[at + k]));
        json_array_append_new(ids, list);
        w->sum += value;
    }
    // a row with one completion gets numbers, a row with several gets lists of them
    json_object_set(row, "score", e->list ? score : json_array_get(score, 0));
    json_object_set(row, "raw_score", e->list ? raw : json_array_get(raw, 0));
    json_object_set(row, "ids", e->list ? ids : json_array_get(ids, 0));
    json_decref(score);
    json_decref(raw);
    json_decref(ids);
    *out = row;
    return rc;
}

static int write_rows(struct work *w, const char *output, struct err *err)
{
    struct rows_out out = {0};
    int rc = rows_out_open(&out, output, err);
    for (int i = 0, at = 0; rc == 0 && i < w->rows.n; at += w->entry[i++].n) {
        json_t *row = NULL;
        rc = scored_row(&row, w, i, at, err);
        if (rc == 0)
            rc = rows_out_add(&out, row, err);
        json_decref(row);
    }
    if (rc == 0)
        rc = rows_out_commit(&out, err);
    rows_out_close(&out);
    return rc ? rc : rows_write_rejected_beside(&w->rows, output, err);
}

/* ---- the stage --------------------------------------------------------------------------- */

static int score_all(struct work *w, struct err *err)
{
    enum { PIECE = 256 };       // texts between looks at the progress and at interruptions
    struct progress p;
    int rc = 0;
    progress_begin(&p, "score", "texts", w->total);
    for (int at = 0; rc == 0 && at < w->total; at += PIECE) {
        int n = w->total - at < PIECE ? w->total - at : PIECE;
        rc = interrupted() ? err_set(err, ERR_INTERRUPTED, "interrupted; nothing was written")
                           : scorer_texts(w->scorer, w->scored + at, n, w->raw + at, err);
        progress_add(&p, n, NULL);
    }
    progress_end(&p);
    return rc;
}

static size_t bytes_of(const struct text *t)
{
    size_t n = t->text ? strlen(t->text) : 0;
    for (int i = 0; i < t->n && !t->text; i++)
        n += strlen(t->messages[i].content);
    return n;
}

/* Tokens of the text with the most bytes: a single text has to fit. */
static int longest_text(const struct work *w, int *tokens, struct err *err)
{
    const struct scored *longest = &w->scored[0];
    size_t most = 0;
    for (int i = 0; i < w->total; i++) {
        size_t n = bytes_of(w->scored[i].prompt) + bytes_of(w->scored[i].completion);
        longest = n > most ? &w->scored[i] : longest;
        most = n > most ? n : most;
    }
    struct tokens ids = {0};
    int rc = encode_prompt(model_tokenizer(w->m), &ids, longest->prompt, err);
    if (rc == 0)
        rc = encode_completion(model_tokenizer(w->m), &ids, longest->prompt, longest->completion, model_config(w->m), true, err);
    *tokens = ids.n;
    tokens_release(&ids);
    return rc;
}

static int try_sizes(void *arg, int rows, int cache, struct err *err)
{
    const struct work *w = arg;
    struct scorer *s = NULL;
    int rc = scorer_new(&s, w->m, rows, err);
    if (rc == 0)
        rc = scorer_reward(s, NULL, 0, NULL, err);
    scorer_free(s);
    return rc;
}

/* *result receives the size chosen. */
static int plan_memory(struct work *w, const json_t *opt, int most, json_t *result, struct err *err)
{
    struct fit f = {.what = "the longest text", .try = try_sizes, .arg = w};
    int rc = longest_text(w, &f.least_rows, err);
    f.rows = most > f.least_rows ? most : f.least_rows;
    if (rc == 0)
        rc = memory_fit(&f, model_device(w->m), opt, err);
    json_object_set_new(result, "max_tokens_per_batch", json_integer(f.rows));
    return rc;
}

static int open_model(struct model **m, struct run *run, const json_t *opt, struct err *err)
{
    struct device *dev;
    const char *path = opt_str(opt, "model_name_or_path");
    int rc = run_device(run, &dev, err);
    if (rc == 0)
        rc = stage_model(m, dev, opt, path, true, false, err);
    if (rc == 0 && model_head_is_fresh(*m))
        rc = err_set(err, ERR_UNSUPPORTED,
                     "%s has no score.weight: it is not a reward model (rlaif reward trains one)",
                     path);
    return rc;
}

static int run_score(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct work w = {0};
    struct model *m = NULL;
    int most, rc = option_positive(opt, "max_tokens_per_batch", &most, err);
    if (rc == 0)
        rc = open_model(&m, run, opt, err);
    w.m = m;
    if (rc == 0)
        rc = rows_read(&w.rows, opt_str(opt, "input"), 0, err);
    if (rc == 0)
        rc = parse_rows(&w, err);
    if (rc == 0)
        rc = list_texts(&w, err);
    if (rc == 0 && device_is_plan(model_device(m))) {
        rc = plan_memory(&w, opt, most, result, err);
        goto out;
    }
    if (rc == 0)
        rc = scorer_new(&w.scorer, m, most, err);
    if (rc == 0)
        rc = dir_make_parent(opt_str(opt, "output"), err);
    if (rc == 0)
        rc = score_all(&w, err);
    if (rc == 0)
        rc = write_rows(&w, opt_str(opt, "output"), err);
    if (rc == 0) {
        json_object_set_new(result, "rows", json_integer(w.rows.n));
        json_object_set_new(result, "texts", json_integer(w.total));
        json_object_set_new(result, "rejected", json_integer(w.rows.n_rejected));
        json_object_set_new(result, "mean_score", json_real(w.sum / w.total));
    }
out:
    scorer_free(w.scorer);
    free(w.entry);
    free(w.scored);
    free(w.raw);
    rows_release(&w.rows);
    arena_release(&w.arena);
    model_close(m);
    return rc;
}

const struct stage stage_score = {
    .name = "score",
    .summary = "what a reward model says of texts",
    .example = "rlaif score -m runs/lab-tldr/reward --input "
               "runs/lab-tldr/candidates.jsonl --output runs/try/scores.jsonl",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_score,
    .plans = true,
};
