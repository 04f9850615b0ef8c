/* recipe/stage_hybrid.c - `rlaif hybrid`: answers are checked before they are compared (HRLAIF).
 *
 * Rows with K answers become one order of each prompt's answers and the pairs that follow from it: pairs.jsonl in TRL's
 * columns, verdicts.jsonl with everything that was found out on the way. */
#include "recipe/hybrid.h"
#include "recipe/labeling.h"
#include "recipe/recipe.h"

static const struct option options[] = {
    { "candidates", OPT_DATA, NULL, "rows {prompt, completions} with reference, options, category; correct and scores for figures", NULL, true },
    { "output_dir", OPT_OUTPUT_DIR, NULL, "folder for pairs.jsonl and verdicts.jsonl", NULL, true },
    { "pairs", OPT_CHOICE, "all", "which pairs of an order are written: all, those next to each other, or best against worst",
      "all|adjacent|best_worst", false },
    { "max_prompts", OPT_INT, "0", "the first so many; 0: all", NULL, false },
    { "seed", OPT_INT, "1", "of the intervals", NULL, false },
};

struct hybrid_run {
    struct rows rows;
    struct hybrid_set set;
    int pairs[3];               // by stage
};

/* ---- out ---------------------------------------------------------------------------------- */

static enum hybrid_pairs which_pairs(const json_t *opt)
{
    const char *w = opt_str(opt, "pairs");
    return !strcmp(w, "all") ? PAIRS_ALL : !strcmp(w, "adjacent") ? PAIRS_ADJACENT : PAIRS_BEST_WORST;
}

static int add(struct rows_out *out, json_t *row, struct err *err)
{
    int rc = row ? rows_out_add(out, row, err) : err_set(err, ERR_MEMORY, "no memory to write an order");
    json_decref(row);
    return rc;
}

static int write_item(struct hybrid_run *h, const struct hybrid_item *it, enum hybrid_pairs which, struct rows_out *pairs, struct rows_out *verdicts,
                      struct err *err)
{
    struct hybrid_pair *p = mem_alloc((size_t)it->n * (size_t)it->n + 1, sizeof *p);
    int rc = p ? add(verdicts, hybrid_verdict_row(it), err) : err_set(err, ERR_MEMORY, "no memory to write an order");
    int n = p ? hybrid_pairs(p, it, which) : 0;
    for (int k = 0; k < n && rc == 0; k++) {
        rc = add(pairs, hybrid_pair_row(it, &p[k]), err);
        h->pairs[p[k].stage]++;
    }
    free(p);
    return rc;
}

static int write_all(struct hybrid_run *h, const json_t *opt, struct err *err)
{
    const char *dir = opt_str(opt, "output_dir");
    struct rows_out pairs = { 0 }, verdicts = { 0 };
    char *one = path_join(dir, "pairs.jsonl"), *two = path_join(dir, "verdicts.jsonl");
    int rc = one && two ? rows_out_open(&pairs, one, err) : err_set(err, ERR_MEMORY, "no memory to write orders");
    if (rc == 0)
        rc = rows_out_open(&verdicts, two, err);
    for (int i = 0; i < h->set.n && rc == 0; i++)
        rc = write_item(h, &h->set.item[i], which_pairs(opt), &pairs, &verdicts, err);
    if (rc == 0)
        rc = rows_out_commit(&verdicts, err);
    if (rc == 0)
        rc = rows_out_commit(&pairs, err);
    rows_out_close(&pairs);
    rows_out_close(&verdicts);
    free(one);
    free(two);
    return rc ? rc : rows_write_rejected(&h->rows, dir, err);
}

/* The gaps of the abstract, filled; docs/hybrid.md says why each is filled so. */
static void choices(json_t *result, const json_t *opt)
{
    json_object_set_new(result, "choices", json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}",
        "categories", "twelve names of our own; the row's, else guessed from options and reference",
        "verifier", "rule",
        "unreadable", "counts as wrong",
        "all_wrong", "no pair",
        "closed_qa", "normalised match or token F1 >= 0.8",
        "tie", "both orders must agree, else one half",
        "pairs", opt_str(opt, "pairs"),
        "toxicity_rejection", "left to rlaif redteam"));
}

/* ---- the stage -------------------------------------------------------------------------------- */

static void verify_all(struct hybrid_set *s)
{
    for (int i = 0; i < s->n; i++)
        hybrid_verify_rule(&s->item[i]);
}

static int run_hybrid(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct hybrid_run h = { 0 };
    const char *dir = opt_str(opt, "output_dir");
    int64_t most = opt_int(opt, "max_prompts");
    int rc = rows_read(&h.rows, opt_str(opt, "candidates"), most > 0 && most < INT32_MAX ? (int)most : 0, err);
    if (rc == 0)
        rc = hybrid_read(&h.set, &h.rows, err);
    if (rc == 0)
        rc = dir_make(dir, err);
    if (rc == 0)
        verify_all(&h.set);
    for (int i = 0; i < h.set.n && rc == 0; i++)
        hybrid_order(&h.set.item[i]);
    if (rc == 0)
        rc = write_all(&h, opt, err);
    if (rc == 0)
        rc = hybrid_figures(result, &h.set, (uint64_t)opt_int(opt, "seed"), err);
    if (rc == 0) {
        for (int k = 0; k < 3; k++) {
            char name[32];
            snprintf(name, sizeof name, "pairs_%s", hybrid_stage_name((enum hybrid_stage)k));
            set_number(result, name, h.pairs[k]);
        }
        set_number(result, "rejected", h.rows.n_rejected);
        choices(result, opt);
    }
    hybrid_release(&h.set);
    rows_release(&h.rows);
    return rc;
}

const struct stage stage_hybrid = {
    .name = "hybrid",
    .summary = "check answers first, then compare the right ones: verdicts, one order, pairs",
    .example = "rlaif hybrid --candidates examples/checked.jsonl --output_dir runs/try/hybrid",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_hybrid,
};
