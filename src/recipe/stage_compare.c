/* recipe/stage_compare.c - `rlaif compare`: several policies on the same prompts, every one
 * against every other.
 *
 * Each policy says one thing to each prompt; the judge (the lab's annotators, or a model in both
 * orders) decides every pair of policies on every prompt.  With a reference model, each policy's
 * drift from it is given too, since policies that moved different distances are not alike. */
#include <math.h>

#include "eval/eval.h"
#include "recipe/evaluating.h"

enum { MAX_POLICIES = 16 };

static const struct option options[] = {
    { "policies", OPT_MODELS, NULL, "models to compare", NULL, true },
    { "names", OPT_LIST, NULL, "what they are called in the table (default: their folders)", NULL, false },
    { "reference", OPT_MODEL, NULL, "model that drift is measured from", NULL, false },
    { "prompts", OPT_DATA, NULL, "held-out prompts", NULL, true },
    { "max_prompts", OPT_INT, "0", "the first so many; 0: all", NULL, false },
    { "truth", OPT_INPUT, NULL, "the lab's truth.jsonl: its annotators judge", NULL, false },
    { "judge", OPT_MODEL, NULL, "model that judges (where there is no truth)", NULL, false },
    { "store", OPT_STRING, NULL, "label store of the judge (default: labels.db in the run's folder)", NULL, false },
    LABELING_OPTIONS,
    { "temperature", OPT_FLOAT, "0.9", "of the samples", NULL, false },
    { "max_new_tokens", OPT_INT, "128", "a completion's length at most", NULL, false },
    { "batch_size", OPT_INT, "32", "sequences in flight", NULL, false },
    COMPUTE_OPTIONS,
    { "seed", OPT_INT, "1", "of samples and annotators", NULL, false },
    { "output_dir", OPT_OUTPUT_DIR, NULL, "folder for compare_results.json", NULL, true },
};

struct meeting {
    struct run *run;
    const json_t *opt;
    struct device *dev;
    struct lab_truth *truth;
    uint64_t seed;
    struct contest c;
    int n;
    const char *name[MAX_POLICIES], *path[MAX_POLICIES];
    const char **text;          // (n * prompts)
    struct interval kl[MAX_POLICIES], oracle[MAX_POLICIES];
    double length[MAX_POLICIES];
};

static int oracle_scores(struct meeting *a, int k, struct err *err)
{
    double *score = mem_alloc((size_t)a->c.n, sizeof *score);
    int rc = score ? 0 : err_set(err, ERR_MEMORY, "no memory to compare policies");
    for (int i = 0; i < a->c.n && rc == 0; i++) {
        struct lab_score s;
        rc = lab_score_text(&s, a->truth, a->c.prompt[i].id, a->c.policy[i].text, err);
        score[i] = s.total;
    }
    if (rc == 0)
        rc = interval_mean(&a->oracle[k], score, a->c.n, a->seed, err);
    free(score);
    return rc;
}

/* Policy k speaks; its texts live in the contest's arena. */
static int speak(struct meeting *a, int k, const struct model *reference, struct err *err)
{
    struct sampling s;
    struct model *m = NULL;
    const char *stop[MAX_STOPS];
    int batch, rc = eval_sampling(&s, stop, a->opt, k, err);
    if (rc == 0)
        rc = option_positive(a->opt, "batch_size", &batch, err);
    if (rc == 0)
        rc = eval_model(&m, a->dev, a->opt, "policies", a->path[k], false, err);
    if (rc == 0)
        rc = contest_sample(&a->c, a->c.policy, m, &s, batch, err);
    model_close(m);
    if (rc == 0 && reference)
        rc = contest_drift(&a->c, reference, s.temperature, err);
    if (rc == 0 && reference)
        rc = interval_mean(&a->kl[k], a->c.kl, a->c.n, a->seed, err);
    if (rc == 0 && a->truth)
        rc = oracle_scores(a, k, err);
    for (int i = 0; i < a->c.n && rc == 0; i++) {
        a->text[(size_t)k * (size_t)a->c.n + (size_t)i] = a->c.policy[i].text;
        a->length[k] += (double)a->c.policy[i].tokens / a->c.n;
    }
    return rc;
}

static int annotators(void *arg, double *win, const struct match *match, int n, struct err *err)
{
    struct meeting *a = arg;
    int rc = 0;
    for (int i = 0; i < n && rc == 0; i++) {
        struct lab_panel p;
        rc = lab_panel_vote(&p, a->truth, a->c.prompt[match[i].prompt].id, match[i].a, match[i].b,
                            a->seed, err);
        win[i] = p.preferred == 1 ? 1 : p.preferred == 2 ? 0 : 0.5;
    }
    return rc;
}

static int judge_all(struct meeting *a, struct interval *out, struct err *err)
{
    if (a->truth)
        return win_matrix(out, a->text, a->n, a->c.n, annotators, a, err);
    if (!opt_given(a->opt, "judge"))
        return err_set(err, ERR_USAGE, "compare needs --truth or --judge: somebody has to decide");
    struct labeling l;
    int rc = labeling_open(&l, a->run, a->opt, opt_str(a->opt, "judge"), opt_str(a->opt, "store"),
                           opt_str(a->opt, "output_dir"), err);
    struct model_judge j = { .labeler = &l.labeler, .prompt = (const char *const *)a->c.plain };
    if (rc == 0)
        rc = win_matrix(out, a->text, a->n, a->c.n, model_judge, &j, err);
    if (rc == 0)
        rc = labeling_covered(&l, &j.counts, j.asked, "pairs", err);
    labeling_close(&l);
    return rc;
}

/* ---- figures ---------------------------------------------------------------------------- */

static json_t *share(const struct interval *w)
{
    return w->n ? json_pack("[f, f, f]", w->mean, w->low, w->high) : json_null();
}

static void results(const struct meeting *a, const struct interval *w, json_t *result)
{
    json_t *names = json_array(), *matrix = json_array(), *kl = json_array(),
           *oracle = json_array(), *length = json_array();
    for (int i = 0; i < a->n; i++) {
        json_t *row = json_array();
        for (int k = 0; k < a->n; k++)
            json_array_append_new(row, share(&w[i * a->n + k]));
        json_array_append_new(matrix, row);
        json_array_append_new(names, json_string(a->name[i]));
        json_array_append_new(kl, share(&a->kl[i]));
        json_array_append_new(oracle, share(&a->oracle[i]));
        json_array_append_new(length, json_real(a->length[i]));
    }
    json_object_set_new(result, "prompts", json_integer(a->c.n));
    json_object_set_new(result, "names", names);
    json_object_set_new(result, "win_matrix", matrix);
    json_object_set_new(result, "kl", kl);
    json_object_set_new(result, "oracle", oracle);
    json_object_set_new(result, "length", length);
}

static double cell(const json_t *v, int i)
{
    return json_is_array(v) ? json_number_value(json_array_get(v, (size_t)i)) : NAN;
}

static void print_matrix(const json_t *result, FILE *to)
{
    const json_t *names = json_object_get(result, "names"),
                 *matrix = json_object_get(result, "win_matrix");
    size_t n = json_array_size(names);
    fprintf(to, "row beats column, per cent of %lld prompts, with the half-width of the 95 %% interval\n\n%-16s",
            (long long)json_integer_value(json_object_get(result, "prompts")), "");
    for (size_t k = 0; k < n; k++)
        fprintf(to, " %14.14s", json_string_value(json_array_get(names, k)));
    fprintf(to, " %14s %14s %8s\n", "KL, nats", "oracle", "tokens");
    for (size_t i = 0; i < n; i++) {
        fprintf(to, "%-16.16s", json_string_value(json_array_get(names, i)));
        for (size_t k = 0; k < n; k++) {
            const json_t *v = json_array_get(json_array_get(matrix, i), k);
            if (json_is_array(v))
                fprintf(to, "    %5.1f +- %3.1f", cell(v, 0) * 100, (cell(v, 2) - cell(v, 1)) * 50);
            else
                fprintf(to, " %14s", "-");
        }
        const json_t *kl = json_array_get(json_object_get(result, "kl"), i),
                     *o = json_array_get(json_object_get(result, "oracle"), i);
        fprintf(to, " %14.2f %14.3f %8.1f\n", cell(kl, 0), cell(o, 0),
                json_number_value(json_array_get(json_object_get(result, "length"), i)));
    }
}

/* ---- the stage ------------------------------------------------------------------------------ */

static int take_policies(struct meeting *a, struct err *err)
{
    const json_t *paths = opt_list(a->opt, "policies"), *names = opt_list(a->opt, "names");
    size_t n = json_array_size(paths);
    if (n < 2 || n > MAX_POLICIES)
        return err_set(err, ERR_USAGE, "--policies names %zu models, expected 2 to %d", n,
                       MAX_POLICIES);
    if (names && json_array_size(names) != n)
        return err_set(err, ERR_USAGE, "--names has %zu words for %zu policies",
                       json_array_size(names), n);
    for (a->n = 0; a->n < (int)n; a->n++) {
        a->path[a->n] = json_string_value(json_array_get(paths, (size_t)a->n));
        a->name[a->n] =
            names ? json_string_value(json_array_get(names, (size_t)a->n)) : a->path[a->n];
    }
    return 0;
}

static int meet(struct meeting *a, json_t *result, struct err *err)
{
    struct model *reference = NULL;
    struct interval *w = mem_alloc((size_t)a->n * (size_t)a->n, sizeof *w);
    a->text = mem_alloc((size_t)a->n * (size_t)a->c.n + 1, sizeof *a->text);
    int rc = a->text && w ? 0 : err_set(err, ERR_MEMORY, "no memory to compare policies");
    if (rc == 0 && opt_given(a->opt, "reference"))
        rc = eval_model(&reference, a->dev, a->opt, "reference", opt_str(a->opt, "reference"),
                        false, err);
    for (int k = 0; k < a->n && rc == 0; k++)
        rc = speak(a, k, reference, err);
    model_close(reference);
    if (rc == 0)
        rc = judge_all(a, w, err);
    if (rc == 0)
        results(a, w, result);
    free(w);
    free(a->text);
    return rc;
}

static int run_compare(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct meeting a = { run, opt, .seed = (uint64_t)opt_int(opt, "seed") };
    int64_t most = opt_int(opt, "max_prompts");
    char *path = path_join(opt_str(opt, "output_dir"), "compare_results.json");
    int rc =
        path ? take_policies(&a, err) : err_set(err, ERR_MEMORY, "no memory to compare policies");
    if (rc == 0)
        rc = run_device(run, &a.dev, err);
    if (rc == 0)
        rc = dir_make(opt_str(opt, "output_dir"), err);
    if (rc == 0 && opt_given(opt, "truth"))
        rc = lab_truth_open(&a.truth, opt_str(opt, "truth"), err);
    if (rc == 0)
        rc = contest_read(&a.c, opt_str(opt, "prompts"),
                          most > 0 && most < INT32_MAX ? (int)most : 0, err);
    if (rc == 0)
        rc = meet(&a, result, err);
    if (rc == 0)
        rc = json_write_file(path, result, err);
    contest_release(&a.c);
    lab_truth_free(a.truth);
    free(path);
    return rc;
}

const struct stage stage_compare = {
    .name = "compare",
    .summary = "several policies on the same prompts, every one against every other",
    .example = "rlaif compare --policies runs/lab-tldr/sft runs/lab-tldr/rl --names SFT "
               "RLAIF --reference runs/lab-tldr/sft --prompts "
               "runs/lab-tldr/world/eval.jsonl --truth runs/lab-tldr/world/truth.jsonl "
               "--output_dir runs/try/compare",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_compare,
    .print = print_matrix,
};
