/* recipe/stage_hybrid.c - `rlaif hybrid`: answers are checked before they are compared (HRLAIF).
 *
 * Rows with K answers become one order of each prompt's answers and the pairs that follow from
 * it: pairs.jsonl in TRL's columns, verdicts.jsonl with everything that was found out on the way.
 * Without a labeler answers are checked by rule alone, and right ones are not ordered among
 * themselves. */
#include "recipe/hybrid.h"
#include "recipe/inference.h"
#include "recipe/labeling.h"
#include "recipe/training.h"

static const struct option options[] = {
    { "candidates", OPT_DATA, NULL, "rows {prompt, completions} with reference, options, category; correct and scores for figures", NULL, true },
    { "labeler", OPT_MODEL, NULL, "who checks and compares: a model, or an endpoint (https://HOST/v1#MODEL); none: rules alone", NULL, false },
    { "output_dir", OPT_OUTPUT_DIR, NULL, "folder for pairs.jsonl and verdicts.jsonl", NULL, true },
    { "store", OPT_STRING, NULL, "label store (default: labels.db in the run's folder); can be shared between runs", NULL, false },
    { "verifier", OPT_CHOICE, "auto", "whose verdict counts; auto: the rule's where there is a reference, else the labeler's",
      "auto|rule|ai|ai_blind", false },
    { "ai_verifier", OPT_CHOICE, "both", "what the labeler is asked of each answer: with the reference, without (blind), both; for the disagreement",
      "none|reference|blind|both", false },
    { "votes", OPT_INT, "0", "written checks of each answer, whose majority counts; 0: log-probs of yes and no", NULL, false },
    { "solve_votes", OPT_INT, "0", "where no reference is known: so many solutions by the labeler, whose most frequent answer stands in", NULL, false },
    { "plain", OPT_BOOL, "false", "also ask which answer is better without checking first, to compare with (plain_pairs.jsonl)", NULL, false },
    { "preamble", OPT_STRING, "base", "of general preference: base, detailed, or the text itself", NULL, false },
    { "pairs", OPT_CHOICE, "all", "which pairs of an order are written: all, those next to each other, or best against worst",
      "all|adjacent|best_worst", false },
    { "chat", OPT_BOOL, "false", "checks are asked in the labeler's own chat template", NULL, false },
    { "temperature", OPT_FLOAT, "0.7", "of written checks and solutions", NULL, false },
    { "max_new_tokens", OPT_INT, "256", "of written checks and solutions", NULL, false },
    { "min_label_mass", OPT_FLOAT, "0.5", "less probability on the label words than this is no answer", NULL, false },
    { "batch_tokens", OPT_INT, "4096", "tokens of one forward pass", NULL, false },
    MIN_COVERAGE_OPTION,
    ENDPOINT_OPTIONS,
    COMPUTE_OPTIONS,
    { "max_prompts", OPT_INT, "0", "the first so many; 0: all", NULL, false },
    { "seed", OPT_INT, "1", "of sampled texts and of intervals", NULL, false },
};

struct hybrid_run {
    struct rows rows;
    struct hybrid_set set;
    struct hybrid_options how;
    int pairs[3], plain_pairs;  // by stage; of the arm to compare with
    struct model *model;
    struct store *store;
    struct asker asker;
    struct protocol *protocol[2];     // of reasoning, of general preference
};

/* ---- out ---------------------------------------------------------------------------------- */

static enum hybrid_pairs which_pairs(const json_t *opt)
{
    const char *w = opt_str(opt, "pairs");
    return !strcmp(w, "all")        ? PAIRS_ALL
           : !strcmp(w, "adjacent") ? PAIRS_ADJACENT
                                    : PAIRS_BEST_WORST;
}

static int add(struct rows_out *out, json_t *row, struct err *err)
{
    int rc =
        row ? rows_out_add(out, row, err) : err_set(err, ERR_MEMORY, "no memory to write an order");
    json_decref(row);
    return rc;
}

static int write_item(struct hybrid_run *h, const struct hybrid_item *it, enum hybrid_pairs which,
                      struct rows_out *pairs, struct rows_out *verdicts, struct err *err)
{
    struct hybrid_pair *p = mem_alloc((size_t)it->n * (size_t)it->n + 1, sizeof *p);
    int rc = p ? add(verdicts, hybrid_verdict_row(it), err)
               : err_set(err, ERR_MEMORY, "no memory to write an order");
    int n = p ? hybrid_pairs(p, it, which) : 0;
    for (int k = 0; k < n && rc == 0; k++) {
        rc = add(pairs, hybrid_pair_row(it, &p[k]), err);
        h->pairs[p[k].stage]++;
    }
    free(p);
    return rc;
}

/* What the plain judge prefers, as pairs. */
static int write_plain(struct hybrid_run *h, const char *dir, struct err *err)
{
    struct rows_out out = { 0 };
    char *path = path_join(dir, "plain_pairs.jsonl");
    int rc = path ? rows_out_open(&out, path, err)
                  : err_set(err, ERR_MEMORY, "no memory to write pairs");
    for (int i = 0; i < h->set.n && rc == 0; i++) {
        const struct hybrid_item *it = &h->set.item[i];
        for (int d = 0; d < it->n_plain && rc == 0; d++) {
            const struct hybrid_duel *k = &it->plain[d];
            bool first = k->p >= 0.5;
            struct hybrid_pair p = { first ? k->i : k->j, first ? k->j : k->i, STAGE_GENERAL,
                                     first ? k->p : 1 - k->p };
            if (k->answered && k->p != 0.5) {
                rc = add(&out, hybrid_pair_row(it, &p), err);
                h->plain_pairs++;
            }
        }
    }
    if (rc == 0)
        rc = rows_out_commit(&out, err);
    rows_out_close(&out);
    free(path);
    return rc;
}

static int write_all(struct hybrid_run *h, const json_t *opt, struct err *err)
{
    const char *dir = opt_str(opt, "output_dir");
    struct rows_out pairs = { 0 }, verdicts = { 0 };
    char *one = path_join(dir, "pairs.jsonl"), *two = path_join(dir, "verdicts.jsonl");
    int rc = one && two ? rows_out_open(&pairs, one, err)
                        : err_set(err, ERR_MEMORY, "no memory to write orders");
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
static void choices(json_t *result, const struct hybrid_run *h, const json_t *opt)
{
    char votes[96];
    snprintf(votes, sizeof votes,
             h->how.style.votes ? "majority of %d written checks" : "log-probs of yes and no",
             h->how.style.votes);
    json_t *c = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}",
        "categories", "twelve names of our own; the row's, else guessed from options and reference",
        "verifier", opt_str(opt, "verifier"),
        "unreadable", "counts as wrong",
        "all_wrong", "no pair",
        "closed_qa", "normalised match or token F1 >= 0.8; right answers are compared as well",
        "tie", "both orders must agree, else one half",
        "pairs", opt_str(opt, "pairs"),
        "toxicity_rejection", "left to rlaif redteam");
    if (h->asker.provider) {
        json_object_set_new(c, "ai_verdict", json_string(votes));
        json_object_set_new(c, "ai_verifier", json_string(opt_str(opt, "ai_verifier")));
        json_object_set_new(c, "missing_reference",
                            h->how.solve_votes
                                ? json_sprintf("most frequent of %d solutions", h->how.solve_votes)
                                : json_string("the labeler's verdict without one"));
        json_object_set_new(c, "comparison",
                            json_string("both orders of every pair, averaged in label_prob"));
    }
    json_object_set_new(result, "choices", c);
}

/* ---- the stage --------------------------------------------------------------------------- */

static int vote_count(const json_t *opt, const char *name, int *out, struct err *err)
{
    int64_t n = opt_int(opt, name);
    if (n < 0 || n > 64)
        return err_set(err, ERR_USAGE, "%s is %lld; expected 0 to 64", name, (long long)n);
    *out = (int)n;
    return 0;
}

static int read_options(struct hybrid_options *o, const json_t *opt, struct err *err)
{
    static const char *const who[] = { "auto", "rule", "ai", "ai_blind" };
    const char *asked = opt_str(opt, "ai_verifier");
    double mass = opt_float(opt, "min_label_mass");
    hybrid_defaults(o);
    for (int k = 0; k < 4; k++)
        if (!strcmp(who[k], opt_str(opt, "verifier")))
            o->verifier = (enum verifier)k;
    o->ask_reference = !strcmp(asked, "reference") || !strcmp(asked, "both");
    o->ask_blind = !strcmp(asked, "blind") || !strcmp(asked, "both");
    o->plain = opt_bool(opt, "plain");
    o->style.chat = opt_bool(opt, "chat");
    o->style.min_mass = mass;
    o->style.temperature = (float)opt_float(opt, "temperature");
    o->style.seed = (uint64_t)opt_int(opt, "seed");
    int rc = vote_count(opt, "votes", &o->style.votes, err);
    if (rc == 0)
        rc = vote_count(opt, "solve_votes", &o->solve_votes, err);
    if (rc == 0)
        rc = option_positive(opt, "max_new_tokens", &o->style.max_new_tokens, err);
    if (rc == 0 && !(mass >= 0 && mass <= 1))
        rc = err_set(err, ERR_USAGE, "min_label_mass is %g; it is a probability", mass);
    if (rc == 0 && !(o->style.temperature >= 0))
        rc = err_set(err, ERR_USAGE, "temperature is %g; expected 0 or more", o->style.temperature);
    if (rc == 0 && !opt_given(opt, "labeler") &&
        (o->verifier >= VERIFIER_AI || o->style.votes || o->solve_votes || o->plain))
        rc = err_set(err, ERR_USAGE,
                     "--verifier %s, --votes, --solve_votes and --plain need a --labeler",
                     opt_str(opt, "verifier"));
    return rc;
}

static int protocols(struct hybrid_run *h, const json_t *opt, struct err *err)
{
    struct protocol_options o;
    protocol_defaults(&o);
    o.task = TASK_HELPFUL;
    o.preamble = hybrid_reasoning_preamble;
    int rc = protocol_new(&h->protocol[0], NULL, &o, err);
    o.preamble = opt_str(opt, "preamble");
    return rc ? rc : protocol_new(&h->protocol[1], NULL, &o, err);
}

static int open_labeler(struct hybrid_run *h, struct run *run, const json_t *opt, struct err *err)
{
    struct provider *p = NULL;
    int rc = protocols(h, opt, err);
    if (rc == 0)
        rc = labeling_store(&h->store, run, opt_str(opt, "store"), opt_str(opt, "output_dir"), err);
    if (rc == 0)
        rc = labeler_open(&p, &h->model, run, opt, opt_str(opt, "labeler"), err);
    h->asker = (struct asker){ .provider = p, .store = h->store, .budget = labeler_budget(opt) };
    return rc;
}

static int judge(struct hybrid_run *h, struct err *err)
{
    struct asker *a = h->asker.provider ? &h->asker : NULL;
    struct labeler reasoning = { a, h->protocol[0], h->how.style.min_mass },
                   general = { a, h->protocol[1], h->how.style.min_mass };
    int rc = hybrid_verify(&h->set, a, &h->how, err);
    if (rc == 0 && a)
        rc = hybrid_prefer(&h->set, &reasoning, &general, &h->how, err);
    for (int i = 0; i < h->set.n && rc == 0; i++)
        hybrid_order(&h->set.item[i]);
    return rc;
}

static void release(struct hybrid_run *h)
{
    provider_free(h->asker.provider);
    store_close(h->store);
    protocol_free(h->protocol[0]);
    protocol_free(h->protocol[1]);
    model_close(h->model);
    hybrid_release(&h->set);
    rows_release(&h->rows);
}

static void asked(json_t *result, const struct hybrid_run *h)
{
    const struct ask_counts *c = &h->asker.counts;
    if (!h->asker.provider)
        return;
    set_number(result, "replies_computed", (double)c->asked);
    set_number(result, "replies_found", (double)c->found);
    set_number(result, "refused", (double)c->refused);
    set_number(result, "failed", (double)c->failed);
    set_number(result, "too_long", (double)c->too_long);
    set_number(result, "tokens_in", (double)c->tokens_in);
    set_number(result, "tokens_out", (double)c->tokens_out);
    set_number(result, "price", c->price);
}

static int run_hybrid(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct hybrid_run h = { 0 };
    const char *dir = opt_str(opt, "output_dir");
    int64_t most = opt_int(opt, "max_prompts");
    int rc = read_options(&h.how, opt, err);
    if (rc == 0)
        rc = rows_read(&h.rows, opt_str(opt, "candidates"),
                       most > 0 && most < INT32_MAX ? (int)most : 0, err);
    if (rc == 0)
        rc = hybrid_read(&h.set, &h.rows, err);
    if (rc == 0)
        rc = dir_make(dir, err);
    if (rc == 0 && opt_given(opt, "labeler"))
        rc = open_labeler(&h, run, opt, err);
    if (rc == 0)
        rc = judge(&h, err);
    if (rc == 0)
        rc = replies_covered(&h.asker.counts, opt, err);
    if (rc == 0)
        rc = write_all(&h, opt, err);
    if (rc == 0 && h.how.plain)
        rc = write_plain(&h, dir, err);
    if (rc == 0)
        rc = hybrid_figures(result, &h.set, (uint64_t)opt_int(opt, "seed"), err);
    if (rc == 0) {
        for (int k = 0; k < 3; k++) {
            char name[32];
            snprintf(name, sizeof name, "pairs_%s", hybrid_stage_name((enum hybrid_stage)k));
            set_number(result, name, h.pairs[k]);
        }
        if (h.how.plain)
            set_number(result, "pairs_plain", h.plain_pairs);
        set_number(result, "rejected", h.rows.n_rejected);
        asked(result, &h);
        choices(result, &h, opt);
    }
    release(&h);
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
