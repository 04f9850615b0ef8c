/* recipe/stage_judge.c - `rlaif judge`: outputs of models compared by a judge, as AlpacaEval does
 * and writes it.
 *
 *     --outputs A B ... --baseline X     each model against the baseline: DIR/MODEL/annotations.json, DIR/leaderboard.csv
 *     --outputs A B C ... --rank HOW     every model on each instruction: DIR/rankings.jsonl, mean ranks
 *     --annotations FILE ...             figures of annotations that exist, this program's or AlpacaEval's own
 *
 * Outputs are AlpacaEval's: a list of {instruction, output, generator, dataset?}, one for each
 * instruction. */
#include <math.h>

#include "recipe/labeling.h"
#include "recipe/training.h"

enum { MAX_MODELS = JUDGE_MAX_OUTPUTS };

static const struct option options[] = {
    { "outputs", OPT_INPUTS, NULL, "files of {instruction, output, generator}, one for each model", NULL, false },
    { "baseline", OPT_INPUT, NULL, "the same of the model that all are compared with (output_1)", NULL, false },
    { "annotations", OPT_INPUTS, NULL, "annotations.json files whose figures are wanted; nobody is asked", NULL, false },
    { "reference_answers", OPT_INPUT, NULL, "rows {instruction, output}: answers known to be good, which the judge sees", NULL, false },
    { "judge", OPT_MODEL, NULL, "who judges: a model, or an endpoint (https://HOST/v1#MODEL)", NULL, false },
    { "annotator", OPT_CHOICE, "weighted", "weighted: one token with its probability; text: \"Output (a)\" or \"Output (b)\"", "weighted|text", false },
    { "order", OPT_CHOICE, "random", "which output is shown first: drawn by the instruction, both and averaged, or as given", "random|both|fixed", false },
    { "rank", OPT_CHOICE, "none", "order all models on each instruction: by judging every pair, or in one reply", "none|tournament|listwise", false },
    { "chat", OPT_BOOL, "false", "asked in the judge's own chat template", NULL, false },
    { "output_dir", OPT_OUTPUT_DIR, NULL, "folder for annotations.json, leaderboard.csv or rankings.jsonl", NULL, false },
    { "store", OPT_STRING, NULL, "store of replies (default: labels.db in the run's folder)", NULL, false },
    { "max_instructions", OPT_INT, "0", "the first so many; 0: all", NULL, false },
    { "batch_tokens", OPT_INT, "4096", "tokens of one forward pass", NULL, false },
    MIN_COVERAGE_OPTION,
    ENDPOINT_OPTIONS,
    COMPUTE_OPTIONS,
    { "seed", OPT_INT, "0", "of drawn orders", NULL, false },
};

/* One model's outputs. */
struct outputs {
    struct rows rows;
    const char *name;
    json_t *by_instruction;     // instruction -> row
};
struct judging {
    const json_t *opt;
    struct outputs model[MAX_MODELS], baseline, references;
    int n;
    struct judge_options how;
    struct model *judge;
    struct store *store;
    struct asker asker;
    struct arena arena;
    json_t *board;              // rows of the leaderboard
};

/* ---- outputs in ------------------------------------------------------------------------------ */

static const char *text_of(const json_t *row, const char *key)
{
    const char *s = json_string_value(json_object_get(row, key));
    return s ? s : "";
}

static int outputs_read(struct outputs *o, const char *path, int most, struct err *err)
{
    int rc = rows_read(&o->rows, path, 0, err);
    if (rc)
        return rc;
    for (int i = o->rows.n - 1; i >= 0; i--)
        if (!json_is_string(json_object_get(o->rows.row[i], "instruction")) ||
            !json_is_string(json_object_get(o->rows.row[i], "output")))
            rows_reject(&o->rows, i, "'instruction' or 'output' is missing or no string");
    if (!o->rows.n)
        return err_set(err, ERR_VALUE, "%s: no row has an instruction and an output", path);
    const char *slash = strrchr(path, '/'), *named = text_of(o->rows.row[0], "generator");
    o->name = *named ? named : slash ? slash + 1 : path;
    o->by_instruction = json_object();
    for (int i = 0; i < o->rows.n && (!most || i < most); i++) {
        const char *key = text_of(o->rows.row[i], "instruction");
        if (json_object_get(o->by_instruction, key))
            return err_set(err, ERR_VALUE,
                           "%s: two outputs for one instruction; the second stands in %s", path,
                           rows_place(&o->rows, o->rows.line[i]).within);
        json_object_set(o->by_instruction, key, o->rows.row[i]);
    }
    return 0;
}

static void outputs_release(struct outputs *o)
{
    json_decref(o->by_instruction);
    rows_release(&o->rows);
}

static const char *reference_of(const struct judging *j, const char *instruction)
{
    return json_string_value(
        json_object_get(json_object_get(j->references.by_instruction, instruction), "output"));
}

/* ---- annotations ------------------------------------------------------------------------- */

static void board_row(json_t *board, const char *name, const struct leaderboard_row *r,
                      double length, int unread)
{
    json_array_append_new(board, json_pack("{s:s, s:f, s:f, s:i, s:i, s:i, s:i, s:f, s:i, s:i}",
                                           "model", name, "win_rate", r->win_rate, "standard_error",
                                           isfinite(r->standard_error) ? r->standard_error : 0.0,
                                           "n_wins", r->n_wins, "n_wins_base", r->n_wins_base,
                                           "n_draws", r->n_draws, "n_total", r->n_total,
                                           "discrete_win_rate", r->discrete_win_rate, "avg_length",
                                           (int)length, "unparsed", unread));
}

static size_t characters(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static int add_board(json_t *board, const char *name, const double *preference,
                     const double *length, int n, const char *what, struct err *err)
{
    struct leaderboard_row r = leaderboard(preference, n);
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += length[i];
    if (!r.n_total)
        return err_set(err, ERR_VALUE,
                       "%s: none of %d preferences could be read, so there is no win rate", what,
                       n);
    board_row(board, name, &r, sum / n, n - r.n_total);
    return 0;
}

/* Figures of a file of annotations. */
static int summarise(json_t *board, const char *path, struct err *err)
{
    struct rows rows;
    int rc = rows_read(&rows, path, 0, err);
    if (rc)
        return rc;
    double *preference = mem_alloc((size_t)rows.n, sizeof *preference),
           *length = mem_alloc((size_t)rows.n, sizeof *length);
    if (!preference || !length)
        rc = err_set(err, ERR_MEMORY, "no memory for %d annotations", rows.n);
    for (int i = 0; i < rows.n && rc == 0; i++) {
        const json_t *p = json_object_get(rows.row[i], "preference");
        bool known = json_is_number(p) || json_is_null(p),
             range = !json_is_number(p) || (json_number_value(p) >= 0 && json_number_value(p) <= 2);
        if (!known || !range)
            rc = err_set(err, ERR_FORMAT, "%s: 'preference' should be a number from 0 to 2 or null",
                         rows_place(&rows, rows.line[i]).s);
        preference[i] = json_is_number(p) ? json_number_value(p) : NAN;
        length[i] = (double)characters(text_of(rows.row[i], "output_2"));
    }
    if (rc == 0)
        rc = add_board(board,
                       *text_of(rows.row[0], "generator_2") ? text_of(rows.row[0], "generator_2")
                                                            : path,
                       preference, length, rows.n, path, err);
    free(preference);
    free(length);
    rows_release(&rows);
    return rc;
}

/* A name as a folder. */
static void folder_name(char *out, size_t size, const char *name)
{
    snprintf(out, size, "%s", name);
    for (char *p = out; *p; p++)
        if (*p == '/' || *p == '\\' || (unsigned char)*p < ' ')
            *p = '_';
    if (*out == '.')
        *out = '_';
}

static int write_annotations(const struct judging *j, const struct outputs *m,
                             const struct judge_item *item, const struct judgement *said, int n,
                             struct err *err)
{
    char folder[256];
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        const json_t *row = json_object_get(m->by_instruction, item[i].instruction);
        struct annotation a = {
            .instruction = json_string(item[i].instruction),
            .output_1 = json_string(item[i].first),
            .generator_1 = json_string(j->baseline.name),
            .dataset = json_string(text_of(row, "dataset")),
            .output_2 = json_string(item[i].second),
            .generator_2 = json_string(m->name),
            .annotator = json_string(opt_str(j->opt, "judge")),
            .preference = json_real(said[i].preference), // NaN becomes null
            .price = json_real(said[i].price),
            .seconds = json_real(said[i].seconds),
            .raw = json_string(said[i].raw),
        };
        json_array_append_new(list, annotation_row(&a));
    }
    folder_name(folder, sizeof folder, m->name);
    char *path = str_printf("%s/%s/annotations.json", opt_str(j->opt, "output_dir"), folder);
    int rc = path ? dir_make_parent(path, err)
                  : err_set(err, ERR_MEMORY, "no memory to write annotations");
    if (rc == 0)
        rc = json_write_file(path, list, err);
    free(path);
    json_decref(list);
    return rc;
}

static int against_baseline(struct judging *j, const struct outputs *m, struct err *err)
{
    size_t most = json_object_size(m->by_instruction) + 1;
    struct judge_item *item = mem_alloc(most, sizeof *item);
    struct judgement *said = mem_alloc(most, sizeof *said);
    double *preference = mem_alloc(most, sizeof *preference),
           *length = mem_alloc(most, sizeof *length);
    const char *instruction;
    json_t *row;
    int n = 0, rc = item && said && preference && length
                        ? 0
                        : err_set(err, ERR_MEMORY, "no memory to judge %s", m->name);
    json_object_foreach(m->by_instruction, instruction, row) {
        const json_t *base = json_object_get(j->baseline.by_instruction, instruction);
        if (base && rc == 0)
            item[n++] = (struct judge_item){ instruction, text_of(base, "output"),
                                             text_of(row, "output"), reference_of(j, instruction) };
    }
    if (rc == 0 && n == 0)
        rc = err_set(err, ERR_VALUE, "%s shares no instruction with %s", m->rows.path,
                     j->baseline.rows.path);
    if (rc == 0 && n < (int)most - 1)
        log_warn("%s: %d of %zu instructions are not in %s", m->rows.path, (int)most - 1 - n,
                 most - 1, j->baseline.rows.path);
    if (rc == 0)
        rc = judge_pairs(said, &j->asker, &j->how, item, n, &j->arena, err);
    if (rc == 0)
        rc = replies_covered(&j->asker.counts, j->opt, err);
    if (rc == 0)
        rc = write_annotations(j, m, item, said, n, err);
    for (int i = 0; i < n && rc == 0; i++) {
        preference[i] = said[i].preference;
        length[i] = (double)characters(item[i].second);
    }
    if (rc == 0)
        rc = add_board(j->board, m->name, preference, length, n, m->rows.path, err);
    free(item);
    free(said);
    free(preference);
    free(length);
    return rc;
}

static int write_board(const json_t *board, const char *dir, struct err *err)
{
    struct buf b = { 0 };
    size_t i;
    json_t *r;
    buf_adds(&b, "model,win_rate,standard_error,n_wins,n_wins_base,n_draws,n_total,discrete_win_rate,mode,avg_length\n");
    json_array_foreach((json_t *)board, i, r) {
        buf_addf(&b, "\"%s\",%.17g,%.17g", text_of(r, "model"),
                 json_number_value(json_object_get(r, "win_rate")),
                 json_number_value(json_object_get(r, "standard_error")));
        static const char *const count[] = { "n_wins", "n_wins_base", "n_draws", "n_total" };
        for (int k = 0; k < 4; k++)
            buf_addf(&b, ",%lld", (long long)json_integer_value(json_object_get(r, count[k])));
        buf_addf(&b, ",%.17g,own,%lld\n",
                 json_number_value(json_object_get(r, "discrete_win_rate")),
                 (long long)json_integer_value(json_object_get(r, "avg_length")));
    }
    char *path = path_join(dir, "leaderboard.csv");
    int rc = path && !b.failed ? file_write(path, b.s, b.len, err)
                               : err_set(err, ERR_MEMORY, "no memory for the leaderboard");
    free(path);
    buf_release(&b);
    return rc;
}

/* ---- which of K -------------------------------------------------------------------------- */

static json_t *ranking_row(const struct judging *j, const struct rank_item *it,
                           const struct ranked *r)
{
    json_t *o = json_object(), *rank = json_object(), *wins = json_object();
    for (int k = 0; k < j->n; k++) {
        json_object_set_new(rank, j->model[k].name,
                            r->rank[k] ? json_integer(r->rank[k]) : json_null());
        json_object_set_new(wins, j->model[k].name, json_real(r->wins[k]));
    }
    json_object_set_new(o, "instruction", json_string(it->instruction));
    json_object_set_new(o, "rank", rank);
    json_object_set_new(o, "wins", wins);
    json_object_set_new(o, "unread", json_integer(r->unread));
    json_object_set_new(o, "raw_completion", r->raw ? json_string(r->raw) : json_null());
    return o;
}

static void rank_figures(const struct judging *j, const struct ranked *r, int n, json_t *result)
{
    json_t *mean = json_object(), *first = json_object();
    int unread = 0, read = 0;
    for (int i = 0; i < n; i++) {
        unread += r[i].unread;
        read += r[i].rank[0] > 0;
    }
    for (int k = 0; k < j->n; k++) {
        double sum = 0, best = 0;
        for (int i = 0; i < n; i++) {
            sum += r[i].rank[k];
            best += r[i].rank[k] == 1;
        }
        json_object_set_new(mean, j->model[k].name, read ? json_real(sum / read) : json_null());
        json_object_set_new(first, j->model[k].name, read ? json_real(best / read) : json_null());
    }
    set_number(result, "instructions", n);
    set_number(result, "unread", unread);
    json_object_set_new(result, "mean_rank", mean);
    json_object_set_new(result, "best_share", first);
}

static int rank_all(struct judging *j, json_t *result, struct err *err)
{
    enum rank_how how =
        !strcmp(opt_str(j->opt, "rank"), "listwise") ? RANK_LISTWISE : RANK_TOURNAMENT;
    size_t most = json_object_size(j->model[0].by_instruction) + 1;
    struct rank_item *item = mem_alloc(most, sizeof *item);
    struct ranked *r = mem_alloc(most, sizeof *r);
    struct rows_out out = { 0 };
    const char *instruction;
    json_t *row;
    int n = 0, rc = item && r ? 0 : err_set(err, ERR_MEMORY, "no memory to rank");
    json_object_foreach(j->model[0].by_instruction, instruction, row) {
        struct rank_item it = { .instruction = instruction,
                                .reference = reference_of(j, instruction) };
        for (; it.n < j->n; it.n++)
            if (!(it.output[it.n] = json_string_value(json_object_get(
                      json_object_get(j->model[it.n].by_instruction, instruction), "output"))))
                break;
        if (it.n == j->n && rc == 0)
            item[n++] = it;
    }
    if (rc == 0 && n == 0)
        rc = err_set(err, ERR_VALUE, "the outputs share no instruction");
    if (rc == 0)
        rc = judge_rank(r, &j->asker, &j->how, how, item, n, &j->arena, err);
    if (rc == 0)
        rc = replies_covered(&j->asker.counts, j->opt, err);
    char *path = path_join(opt_str(j->opt, "output_dir"), "rankings.jsonl");
    if (rc == 0)
        rc = path ? rows_out_open(&out, path, err) : err_set(err, ERR_MEMORY, "no memory to rank");
    for (int i = 0; i < n && rc == 0; i++) {
        json_t *line = ranking_row(j, &item[i], &r[i]);
        rc = rows_out_add(&out, line, err);
        json_decref(line);
    }
    if (rc == 0)
        rc = rows_out_commit(&out, err);
    if (rc == 0)
        rank_figures(j, r, n, result);
    rows_out_close(&out);
    free(path);
    free(item);
    free(r);
    return rc;
}

/* ---- the stage --------------------------------------------------------------------------- */

static int begin(struct judging *j, struct run *run, struct err *err)
{
    const json_t *files = opt_list(j->opt, "outputs");
    bool rank = strcmp(opt_str(j->opt, "rank"), "none");
    int64_t most = opt_int(j->opt, "max_instructions");
    if (!opt_given(j->opt, "judge") || !opt_given(j->opt, "output_dir"))
        return err_set(err, ERR_USAGE, "judge needs --judge and --output_dir (or --annotations, whose figures need neither)");
    if (!rank && !opt_given(j->opt, "baseline"))
        return err_set(err, ERR_USAGE,
                       "judge needs --baseline, what the outputs are compared with, or --rank");
    if (json_array_size(files) < (rank ? 2u : 1u) || json_array_size(files) > MAX_MODELS)
        return err_set(err, ERR_USAGE, "--outputs names %zu files; expected %d to %d",
                       json_array_size(files), rank ? 2 : 1, MAX_MODELS);
    int rc = dir_make(opt_str(j->opt, "output_dir"), err);
    for (; rc == 0 && j->n < (int)json_array_size(files); j->n++)
        rc = outputs_read(&j->model[j->n], json_string_value(json_array_get(files, (size_t)j->n)),
                          most > 0 && most < INT32_MAX ? (int)most : 0, err);
    if (rc == 0 && opt_given(j->opt, "baseline"))
        rc = outputs_read(&j->baseline, opt_str(j->opt, "baseline"), 0, err);
    if (rc == 0 && opt_given(j->opt, "reference_answers"))
        rc = outputs_read(&j->references, opt_str(j->opt, "reference_answers"), 0, err);
    for (int i = 0; i < j->n && rc == 0; i++)
        for (int k = 0; k < i && rc == 0; k++)
            if (!strcmp(j->model[i].name, j->model[k].name))
                rc = err_set(err, ERR_VALUE,
                             "%s and %s are both of \"%s\"; 'generator' has to tell them apart",
                             j->model[k].rows.path, j->model[i].rows.path, j->model[i].name);
    struct provider *p = NULL;
    if (rc == 0)
        rc = labeling_store(&j->store, run, opt_str(j->opt, "store"), opt_str(j->opt, "output_dir"),
                            err);
    if (rc == 0)
        rc = labeler_open(&p, &j->judge, run, j->opt, opt_str(j->opt, "judge"), err);
    j->asker = (struct asker){ .provider = p, .store = j->store, .budget = labeler_budget(j->opt) };
    return rc;
}

static void release(struct judging *j)
{
    provider_free(j->asker.provider);
    store_close(j->store);
    model_close(j->judge);
    for (int i = 0; i < MAX_MODELS; i++)
        outputs_release(&j->model[i]);
    outputs_release(&j->baseline);
    outputs_release(&j->references);
    arena_release(&j->arena);
    json_decref(j->board);
}

static int run_judge(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct judging j = { .opt = opt, .board = json_array() };
    const json_t *files = opt_list(opt, "annotations");
    const char *order = opt_str(opt, "order");
    bool rank = strcmp(opt_str(opt, "rank"), "none");
    int rc = 0;
    judge_defaults(&j.how);
    j.how.kind = !strcmp(opt_str(opt, "annotator"), "text") ? JUDGE_TEXT : JUDGE_WEIGHTED;
    j.how.order = !strcmp(order, "both")    ? JUDGE_BOTH
                  : !strcmp(order, "fixed") ? JUDGE_FIXED
                                            : JUDGE_RANDOM;
    j.how.chat = opt_bool(opt, "chat");
    j.how.seed = (uint64_t)opt_int(opt, "seed");
    for (size_t i = 0; i < json_array_size(files) && rc == 0; i++)
        rc = summarise(j.board, json_string_value(json_array_get(files, i)), err);
    if (!files && rc == 0)
        rc = begin(&j, run, err);
    for (int i = 0; i < j.n && rc == 0 && !rank; i++)
        rc = against_baseline(&j, &j.model[i], err);
    if (rc == 0 && !files && rank)
        rc = rank_all(&j, result, err);
    if (rc == 0 && opt_given(opt, "output_dir") && json_array_size(j.board))
        rc = dir_make(opt_str(opt, "output_dir"), err)
                 ? ERR_IO
                 : write_board(j.board, opt_str(opt, "output_dir"), err);
    if (rc == 0 && json_array_size(j.board))
        json_object_set(result, "leaderboard", j.board);
    if (rc == 0 && !files) {
        set_number(result, "replies_computed", (double)j.asker.counts.asked);
        set_number(result, "replies_found", (double)j.asker.counts.found);
        set_number(result, "price", j.asker.counts.price);
    }
    release(&j);
    return rc;
}

static void print_ranks(const json_t *result, FILE *to)
{
    const json_t *mean = json_object_get(result, "mean_rank"),
                 *first = json_object_get(result, "best_share");
    const char *name;
    json_t *v;
    fprintf(to, "%-28s %9s %9s\n", "model", "mean rank", "best");
    json_object_foreach((json_t *)mean, name, v)
        fprintf(to, "%-28.28s %9.3f %8.1f%%\n", name, json_number_value(v),
                100 * json_number_value(json_object_get(first, name)));
    fprintf(to, "%lld instructions, %lld unread\n",
            (long long)json_integer_value(json_object_get(result, "instructions")),
            (long long)json_integer_value(json_object_get(result, "unread")));
}

static void print_judge(const json_t *result, FILE *to)
{
    const json_t *board = json_object_get(result, "leaderboard");
    size_t i;
    json_t *r;
    if (!board) {
        print_ranks(result, to);
        return;
    }
    fprintf(to, "%-28s %9s %7s %9s %6s %6s %6s %6s %8s %7s\n", "model", "win rate", "s.e.",
            "discrete", "wins", "losses", "draws", "n", "unparsed", "length");
    json_array_foreach((json_t *)board, i, r) {
        static const char *const count[] = { "n_wins", "n_wins_base", "n_draws", "n_total" };
        fprintf(to, "%-28.28s %9.3f %7.3f %9.3f", text_of(r, "model"),
                json_number_value(json_object_get(r, "win_rate")),
                json_number_value(json_object_get(r, "standard_error")),
                json_number_value(json_object_get(r, "discrete_win_rate")));
        for (int k = 0; k < 4; k++)
            fprintf(to, " %6lld", (long long)json_integer_value(json_object_get(r, count[k])));
        fprintf(to, " %8lld %7lld\n", (long long)json_integer_value(json_object_get(r, "unparsed")),
                (long long)json_integer_value(json_object_get(r, "avg_length")));
    }
}

const struct stage stage_judge = {
    .name = "judge",
    .summary = "models' outputs compared by a judge, as AlpacaEval does: annotations, leaderboard, ranks",
    .example = "rlaif judge --outputs examples/outputs_a.json examples/outputs_b.json --rank tournament --judge models/l "
               "--output_dir runs/try/judge",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_judge,
    .print = print_judge,
};
