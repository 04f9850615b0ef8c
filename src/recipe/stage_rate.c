/* recipe/stage_rate.c - `rlaif rate`: how good a labeler finds single answers, each on a scale.
 *
 * Rows have `prompt` and `completion` or `completions`, and may have `reference`, an answer known
 * to be good.  Every answer becomes a row of ratings.jsonl.  The score lies in -1 to 1, more is
 * better whatever the scale counts: it is the reward of `rlaif rl --ai_reward`. */
#include "recipe/labeling.h"
#include "recipe/training.h"

#include <math.h>

static const struct option options[] = {
    { "labeler", OPT_MODEL, NULL, "model that rates: a Hugging Face folder, a GGUF file, ORG/NAME on the Hub, or https://HOST/v1#MODEL", NULL, false },
    ADAPTER_OPTION,
    COMPUTE_OPTIONS,
    { "input", OPT_DATA, NULL, "rows {prompt, completion, reference?} or {prompt, completions, reference?}", NULL, true },
    { "output_dir", OPT_OUTPUT_DIR, NULL, "folder for ratings.jsonl", NULL, false },
    { "store", OPT_STRING, NULL, "label store (default: labels.db in the run's folder); can be shared between runs", NULL, false },
    RATING_OPTIONS,
    { "max_rows", OPT_INT, "0", "rate the first so many answers; 0: all", NULL, false },
    { "dry_run", OPT_BOOL, "false", "show the exact questions of the first rows, ask nothing", NULL, false },
    { "seed", OPT_INT, "1", "of rationales, votes and intervals", NULL, false },
};

struct rated { const char *id; const json_t *row, *text; int index; };     // index: of completions; -1: `completion`
struct work {
    struct rows rows;
    struct arena arena;
    struct rated *rated; size_t cap_rated;
    struct label_item *item; size_t cap_item;
    int n;
    struct rating *rating;      // (n)
    struct label_counts counts;
    double seconds;
    int64_t tokens_asked, tokens_computed;
};

/* ---- rows in ------------------------------------------------------------------------------- */

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "no memory to rate answers");
}

static char *plain(struct arena *a, const json_t *v, bool prompt, struct err *err)
{
    struct text t;
    if (text_from_json(&t, a, v, prompt ? "'prompt'" : "an answer", err))
        return NULL;
    char *s = text_transcript(a, &t, prompt);
    if (!s)
        no_memory(err);
    return s;
}

static int add_answer(struct work *w, const struct rated *r, const struct label_item *item,
                      struct err *err)
{
    struct rated *rated = mem_grow(w->rated, &w->cap_rated, (size_t)w->n + 1, sizeof *rated);
    if (rated)
        w->rated = rated;
    struct label_item *items = mem_grow(w->item, &w->cap_item, (size_t)w->n + 1, sizeof *items);
    if (items)
        w->item = items;
    if (!rated || !items)
        return no_memory(err);
    rated[w->n] = *r;
    items[w->n++] = *item;
    return 0;
}

/* ERR_MEMORY goes up, anything else is a reason to leave the row out. */
static int add_row(struct work *w, const json_t *row, struct err *err)
{
    const json_t *one = json_object_get(row, "completion"),
                 *many = json_object_get(row, "completions");
    const json_t *reference = json_object_get(row, "reference");
    size_t n = many ? json_array_size(many) : 1;
    if (!json_object_get(row, "prompt") || (!one && !many))
        return err_set(err, ERR_MISSING, "no 'prompt', or neither 'completion' nor 'completions'");
    if (many && (!json_is_array(many) || n < 1))
        return err_set(err, ERR_FORMAT, "'completions' is no list of texts");
    struct label_item item = { .prompt =
                                   plain(&w->arena, json_object_get(row, "prompt"), true, err) };
    if (item.prompt && reference && !json_is_null(reference) &&
        !(item.reference = plain(&w->arena, reference, false, err)))
        return err ? err->code : ERR_FORMAT;
    int before = w->n, rc = item.prompt ? 0 : err->code;
    for (size_t k = 0; k < n && rc == 0; k++) {
        struct rated r = { json_string_value(json_object_get(row, "id")), row,
                           many ? json_array_get(many, k) : one, many ? (int)k : -1 };
        item.first = plain(&w->arena, r.text, false, err);
        rc = item.first ? add_answer(w, &r, &item, err) : err->code;
    }
    if (rc)
        w->n = before;
    return rc;
}

static int read_rows(struct work *w, const json_t *opt, struct err *err)
{
    int64_t max = opt_int(opt, "max_rows");
    int rc = rows_read(&w->rows, opt_str(opt, "input"), 0, err);
    for (int i = 0; i < w->rows.n && rc == 0; i++) {
        struct err why = { 0 };
        rc = add_row(w, w->rows.row[i], &why);
        if (rc && rc != ERR_MEMORY) {
            rows_reject(&w->rows, i--, "%s", why.msg);
            rc = 0;
        } else if (rc) {
            *err = why;
        }
    }
    if (rc == 0 && w->n == 0)
        rc = err_set(err, ERR_VALUE, "%s: no answer to rate%s%s", opt_str(opt, "input"),
                     w->rows.n_rejected ? ": " : "",
                     w->rows.n_rejected ? w->rows.rejected[0].why : "");
    if (max > 0 && max < w->n)
        w->n = (int)max;
    w->rating = rc == 0 ? mem_alloc((size_t)w->n, sizeof *w->rating) : NULL;
    return rc ? rc : w->rating ? 0 : no_memory(err);
}

/* ---- ratings out ------------------------------------------------------------------------- */

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *rating_row(const struct rated *r, const struct rating *g, const struct labeler *by)
{
    json_t *o = json_object(), *p = json_object();
    if (!o || !p)
        return NULL;
    if (r->id)
        json_object_set_new(o, "id", json_string(r->id));
    json_object_set(o, "prompt", json_object_get(r->row, "prompt"));
    json_object_set(o, "completion", (json_t *)r->text);
    if (r->index >= 0)
        json_object_set_new(o, "index", json_integer(r->index));
    bool answered = g->state == LABEL_ANSWERED;
    json_object_set_new(o, "score", answered ? number(g->score) : json_null());
    json_object_set_new(o, "rating", number(g->value));
    for (int i = 0; i < by->protocol->form.n_words; i++)
        json_object_set_new(p, by->protocol->form.word[i], number(g->p[i]));
    json_object_set_new(o, "probabilities", p);
    json_object_set_new(o, "state", json_string(label_state_name(g->state)));
    json_object_set_new(o, "label_mass", number(g->mass));
    if (g->rationale)
        json_object_set_new(o, "rationale", json_string(g->rationale));
    json_object_set_new(o, "labeler", json_string(by->asker->provider->fingerprint));
    json_object_set_new(o, "protocol", json_string(by->protocol->hash));
    return o;
}

static int write_rows(const struct work *w, const struct labeler *by, const char *dir,
                      struct err *err)
{
    struct rows_out out = { 0 };
    char *path = path_join(dir, "ratings.jsonl");
    int rc = path ? rows_out_open(&out, path, err) : no_memory(err);
    for (int i = 0; i < w->n && rc == 0; i++) {
        json_t *row = rating_row(&w->rated[i], &w->rating[i], by);
        rc = row ? rows_out_add(&out, row, err) : no_memory(err);
        json_decref(row);
    }
    if (rc == 0)
        rc = rows_out_commit(&out, err);
    rows_out_close(&out);
    free(path);
    return rc ? rc : rows_write_rejected(&w->rows, dir, err);
}

static int figures(json_t *result, const struct work *w, uint64_t seed, struct err *err)
{
    double *score = mem_alloc((size_t)w->n, sizeof *score), value = 0, mass = 0, square = 0,
           sum = 0;
    int answered = 0;
    if (!score)
        return no_memory(err);
    for (int i = 0; i < w->n; i++) {
        bool good = w->rating[i].state == LABEL_ANSWERED;
        score[i] = good ? w->rating[i].score : NAN;
        mass += w->rating[i].mass;
        if (!good)
            continue;
        answered++;
        value += w->rating[i].value;
        sum += score[i];
        square += score[i] * score[i];
    }
    struct interval mean;
    int rc = interval_mean(&mean, score, w->n, seed, err);
    double m = answered ? sum / answered : NAN;
    set_number(result, "answers", w->n);
    set_number(result, "unanswered", w->counts.unanswered);
    set_number(result, "too_long", w->counts.too_long);
    set_number(result, "refused", w->counts.refused);
    set_number(result, "failed", w->counts.failed);
    set_number(result, "replies_computed", w->counts.replies_computed);
    set_number(result, "replies_found", w->counts.replies_found);
    set_interval(result, "score", &mean);
    // A labeler that gives everything the same number is no reward.
    set_number(result, "score_deviation",
               answered > 1 ? sqrt(fmax(0, (square - answered * m * m) / (answered - 1))) : NAN);
    set_number(result, "rating", answered ? value / answered : NAN);
    set_number(result, "label_mass", mass / w->n);
    set_number(result, "tokens_asked", (double)w->tokens_asked);
    set_number(result, "tokens_computed", (double)w->tokens_computed);
    free(score);
    return rc;
}

static int rate(struct work *w, struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct labeling by = { 0 };
    const char *dir = opt_str(opt, "output_dir");
    int rc = dir_make(dir, err);
    if (rc == 0)
        rc = labeling_open(&by, run, opt, opt_str(opt, "labeler"), opt_str(opt, "store"), dir, err);
    if (rc == 0)
        rc = rate_items(w->rating, &w->counts, &by.labeler, w->item, w->n, err);
    if (rc == 0) {
        w->tokens_asked = by.asker.provider->tokens_asked;
        w->tokens_computed = by.asker.provider->tokens_computed;
        rc = write_rows(w, &by.labeler, dir, err);
    }
    if (rc == 0)
        rc = labeling_covered(&by, &w->counts, w->n, "answers", err);
    if (rc == 0)
        rc = figures(result, w, (uint64_t)opt_int(opt, "seed"), err);
    labeling_close(&by);
    return rc;
}

static int rehearse(const struct work *w, struct run *run, const json_t *opt, json_t *result,
                    struct err *err)
{
    struct labeling by;
    int rc = labeling_rehearse(&by, run, opt, opt_str(opt, "labeler"), err);
    if (rc)
        return rc;
    rc = labeling_show(result, run, &by, w->item, w->n < 2 ? w->n : 2, err);
    labeling_close(&by);
    return rc;
}

static int run_rate(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct work w = { 0 };
    bool dry = opt_bool(opt, "dry_run");
    if (!dry && (!opt_given(opt, "labeler") || !opt_given(opt, "output_dir")))
        return err_set(err, ERR_USAGE, "rate needs --labeler MODEL and --output_dir DIR");
    int rc = read_rows(&w, opt, err);
    if (rc == 0)
        rc = dry ? rehearse(&w, run, opt, result, err) : rate(&w, run, opt, result, err);
    free(w.rated);
    free(w.item);
    free(w.rating);
    arena_release(&w.arena);
    rows_release(&w.rows);
    return rc;
}

const struct stage stage_rate = {
    .name = "rate",
    .summary = "ask an AI labeler how good single answers are, on a scale",
    .example = "rlaif rate --labeler models/l --min_label_mass 0 --input runs/lab-tldr/world/eval.jsonl "
               "--max_rows 8 --output_dir runs/try/ratings",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_rate,
};
