/* recipe/stage_convert.c - `rlaif convert`: preference data of others into ours, ours into theirs.
 *
 * The layout is recognised row by row (data/layout/layout.h).  What people said can go into a
 * label store, where labelers' labels are: under the name "people:LAYOUT", or whatever the row
 * names as its annotator. */
#include "data/data.h"
#include "feedback/feedback.h"
#include "recipe/recipe.h"

static const struct option options[] = {
    { "input", OPT_DATA, NULL, "rows of HH, TL;DR comparisons, AlpacaEval, HelpSteer, UltraFeedback, TRL, GSM8K, or our labels.jsonl",
      NULL, true },
    { "output_dir", OPT_OUTPUT_DIR, NULL, "folder for pairs.jsonl (and examples.jsonl), annotations.json or rewardbench.jsonl", NULL, true },
    { "to", OPT_CHOICE, "trl", "trl: prompt, chosen, rejected, label_prob; or AlpacaEval's annotations; or RewardBench's rows",
      "trl|alpaca_eval|rewardbench", false },
    { "confidence", OPT_LIST, NULL, "of TL;DR comparisons: only those with one of these (the paper's: 1,2,8,9)", NULL, false },
    { "baseline", OPT_STRING, NULL, "of alpaca_eval: the generator whose texts are output_1", NULL, false },
    { "subset", OPT_STRING, "rlaif", "of rewardbench: the subset of rows that name none", NULL, false },
    { "store", OPT_STRING, NULL, "a label store that gets the labels as well", NULL, false },
};

struct converting {
    struct rows rows;
    struct comparisons list;
    const json_t *opt;
    const char *dir;
    int written;
};

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "no memory to convert");
}

/* ---- rows out ------------------------------------------------------------------------------ */

static int write_lines(struct converting *v, const char *name,
                       json_t *(*make)(const struct converting *, int), int n, struct err *err)
{
    struct rows_out w = {0};
    char *path = path_join(v->dir, name);
    int rc = path ? rows_out_open(&w, path, err) : no_memory(err);
    for (int i = 0; i < n && rc == 0; i++) {
        json_t *row = make(v, i);
        rc = row ? rows_out_add(&w, row, err) : no_memory(err);
        json_decref(row);
    }
    if (rc == 0)
        rc = rows_out_commit(&w, err);
    rows_out_close(&w);
    free(path);
    return rc;
}

static json_t *trl_row(const struct converting *v, int i)
{
    return comparison_trl(&v->list.item[i]);
}

static json_t *bench_row(const struct converting *v, int i)
{
    return comparison_rewardbench(&v->list.item[i], opt_str(v->opt, "subset"));
}

static json_t *example_row(const struct converting *v, int i)
{
    return json_incref(json_array_get(v->list.examples, (size_t)i));
}

/* Row i as a reason; its place is that of the row it was read from. */
static void reject(struct converting *v, const struct comparison *c, const char *why)
{
    for (int k = 0; k < v->rows.n; k++)
        if (v->rows.row[k] == c->row) {
            rows_reject(&v->rows, k, "%s", why);
            return;
        }
}

static int write_annotations(struct converting *v, struct err *err)
{
    json_t *list = json_array();
    char *path = path_join(v->dir, "annotations.json");
    int rc = list && path ? 0 : no_memory(err);
    for (int i = 0; i < v->list.n && rc == 0; i++) {
        const char *why = NULL;
        json_t *o = comparison_alpaca(&v->list.item[i], opt_str(v->opt, "baseline"), &why);
        if (!o && why)
            reject(v, &v->list.item[i], why);
        else if (!o || json_array_append_new(list, o))
            rc = no_memory(err);
    }
    v->written = (int)json_array_size(list);
    if (rc == 0)
        rc = json_write_file(path, list, err);
    json_decref(list);
    free(path);
    return rc;
}

static int write_all(struct converting *v, struct err *err)
{
    const char *to = opt_str(v->opt, "to");
    int n = v->list.n, examples = (int)json_array_size(v->list.examples), rc = 0;
    v->written = n;
    if (!strcmp(to, "alpaca_eval"))
        return write_annotations(v, err);
    if (!strcmp(to, "rewardbench"))
        return write_lines(v, "rewardbench.jsonl", bench_row, n, err);
    if (n)
        rc = write_lines(v, "pairs.jsonl", trl_row, n, err);
    if (rc == 0 && examples)
        rc = write_lines(v, "examples.jsonl", example_row, examples, err);
    return rc;
}

/* ---- into a store ------------------------------------------------------------------------ */

static void add_text(struct buf *b, const json_t *v)
{
    buf_clear(b);
    if (json_is_string(v))
        buf_adds(b, json_string_value(v));
    else
        json_add_text(b, v, 0);
}

static int keep_one(struct store *s, struct buf text[3], const struct comparison *c,
                    struct err *err)
{
    const json_t *part[] = {c->prompt, c->first, c->second};
    char people[64];
    const char *by = json_string_value(json_object_get(c->row, "annotator"));
    if (!by)
        by = json_string_value(json_object_get(c->row, "labeler"));
    snprintf(people, sizeof people, "people:%s", layout_name(c->layout));
    for (int i = 0; i < 3; i++) {
        add_text(&text[i], part[i]);
        if (text[i].failed)
            return no_memory(err);
    }
    struct store_label l = {by ? by : people, "imported", text[0].s,  text[1].s,
                            text[2].s,        c->p_first, "answered", c->extra};
    return store_add_label(s, &l, err);
}

static int keep_labels(const struct converting *v, const char *path, struct err *err)
{
    struct store *s = NULL;
    struct buf text[3] = {{0}};
    int rc = store_open(&s, path, err);
    if (rc == 0)
        rc = store_begin(s, err);
    for (int i = 0; i < v->list.n && rc == 0; i++)
        rc = keep_one(s, text, &v->list.item[i], err);
    if (rc == 0)
        rc = store_commit(s, err);
    store_close(s);
    for (int i = 0; i < 3; i++)
        buf_release(&text[i]);
    return rc;
}

/* ---- the stage --------------------------------------------------------------------------- */

static void figures(json_t *result, const struct converting *v)
{
    json_t *of = json_object();
    for (int i = 0; i < LAYOUTS; i++)
        if (v->list.of[i])
            json_object_set_new(of, layout_name((enum layout)i), json_integer(v->list.of[i]));
    json_object_set_new(result, "pairs", json_integer(v->written));
    json_object_set_new(result, "ties", json_integer(v->list.ties));
    json_object_set_new(result, "examples",
                        json_integer((json_int_t)json_array_size(v->list.examples)));
    json_object_set_new(result, "rejected", json_integer(v->rows.n_rejected));
    json_object_set_new(result, "rows", of);
}

static int run_convert(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct converting v = {.opt = opt, .dir = opt_str(opt, "output_dir")};
    struct layout_options o = {.confidence = opt_list(opt, "confidence"),
                                .any_answers = !strcmp(opt_str(opt, "to"), "alpaca_eval")};
    int rc = rows_read(&v.rows, opt_str(opt, "input"), 0, err);
    if (rc == 0)
        rc = dir_make(v.dir, err);
    if (rc == 0)
        rc = layout_read(&v.list, &v.rows, &o, err);
    if (rc == 0)
        rc = write_all(&v, err);
    if (rc == 0 && opt_given(opt, "store"))
        rc = keep_labels(&v, opt_str(opt, "store"), err);
    if (rc == 0)
        rc = rows_write_rejected(&v.rows, v.dir, err);
    if (rc == 0)
        figures(result, &v);
    comparisons_release(&v.list);
    rows_release(&v.rows);
    return rc;
}

const struct stage stage_convert = {
    .name = "convert",
    .summary = "preference data of others (HH, TL;DR, AlpacaEval, HelpSteer, ...) into TRL columns with label_prob, and back",
    .example = "rlaif convert --input runs/lab-tldr/labels/labels.jsonl --to alpaca_eval --output_dir runs/try/alpaca",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_convert,
};
