/* recipe/stage_redteam.c - `rlaif redteam`: attacks on a policy, the answers judged, and harmless
 * ones preferred.
 *
 * Seeds become variants, the policy answers all of them, and what got a harmful answer is kept:
 * attacks.jsonl has every prompt with its answers and verdicts, pairs.jsonl what a reward model
 * or DPO learns from.  Rows that bring completions are judged as they are. */
#include <math.h>

#include "feedback/feedback.h"
#include "recipe/inference.h"
#include "recipe/labeling.h"
#include "recipe/training.h"

static const struct option options[] = {
    { "seeds", OPT_DATA, NULL, "rows {prompt, harm, benign}; with completions (and harmful, for figures) they are judged as they are", NULL, true },
    { "labeler", OPT_MODEL, NULL, "who judges and rewrites: a model, or an endpoint (https://HOST/v1#MODEL)", NULL, true },
    { "policy", OPT_MODEL, NULL, "who is attacked (where seeds bring no completions): a model or an endpoint", NULL, false },
    { "attacker", OPT_MODEL, NULL, "who writes variants (default: the labeler)", NULL, false },
    { "output_dir", OPT_OUTPUT_DIR, NULL, "folder for pairs.jsonl and attacks.jsonl", NULL, true },
    { "store", OPT_STRING, NULL, "store of replies (default: labels.db in the run's folder)", NULL, false },
    { "variants", OPT_INT, "1", "of each seed, so many of each of three forms; 0: the seeds alone", NULL, false },
    { "num_return_sequences", OPT_INT, "4", "answers of the policy to each prompt", NULL, false },
    { "policy_format", OPT_CHOICE, "transcript", "how the policy is shown a prompt: its chat template, Human: and Assistant: turns, or the text",
      "chat|transcript|plain", false },
    { "rewrites", OPT_CHOICE, "missing", "which rewrites become pairs: where the policy has no harmless answer of its own, or all", "missing|all", false },
    { "votes", OPT_INT, "0", "written checks of each answer, whose majority counts; 0: log-probs of yes and no", NULL, false },
    { "chat", OPT_BOOL, "false", "the labeler is asked in its own chat template", NULL, false },
    { "temperature", OPT_FLOAT, "0.9", "of answers, variants and rewrites", NULL, false },
    { "max_new_tokens", OPT_INT, "128", "an answer's length at most", NULL, false },
    { "min_label_mass", OPT_FLOAT, "0.5", "less probability on yes and no is no answer", NULL, false },
    { "batch_tokens", OPT_INT, "4096", "tokens of one forward pass", NULL, false },
    MIN_COVERAGE_OPTION,
    ENDPOINT_OPTIONS,
    COMPUTE_OPTIONS,
    { "seed", OPT_INT, "1", "of sampled texts and of intervals", NULL, false },
};

enum role { LABELER, POLICY, ATTACKER, ROLES };
struct redteam {
    const json_t *opt;
    struct rows rows;
    struct attacks attacks;
    struct store *store;
    struct model *model[ROLES];
    struct asker asker[ROLES];
    struct style style;
    int variants, answers, written, pairs[3];
};

/* ---- who is asked ------------------------------------------------------------------------- */

static int open_role(struct redteam *r, struct run *run, enum role role, const char *name,
                     struct err *err)
{
    struct provider *p = NULL;
    int rc = labeler_open(&p, &r->model[role], run, r->opt, name, err);
    r->asker[role] =
        (struct asker){ .provider = p, .store = r->store, .budget = labeler_budget(r->opt) };
    return rc;
}

static int open_all(struct redteam *r, struct run *run, struct err *err)
{
    bool answered = true;
    for (int i = 0; i < r->attacks.n; i++)
        answered = answered && r->attacks.item[i].n > 0;
    if (!answered && !opt_given(r->opt, "policy"))
        return err_set(err, ERR_USAGE,
                       "%s: rows without completions need a --policy to answer them", r->rows.path);
    int rc = labeling_store(&r->store, run, opt_str(r->opt, "store"), opt_str(r->opt, "output_dir"),
                            err);
    if (rc == 0)
        rc = open_role(r, run, LABELER, opt_str(r->opt, "labeler"), err);
    if (rc == 0 && opt_given(r->opt, "policy"))
        rc = open_role(r, run, POLICY, opt_str(r->opt, "policy"), err);
    if (rc == 0 && opt_given(r->opt, "attacker"))
        rc = open_role(r, run, ATTACKER, opt_str(r->opt, "attacker"), err);
    return rc;
}

static int read_options(struct redteam *r, struct err *err)
{
    int64_t votes = opt_int(r->opt, "votes"), variants = opt_int(r->opt, "variants");
    style_defaults(&r->style);
    r->style.chat = opt_bool(r->opt, "chat");
    r->style.temperature = (float)opt_float(r->opt, "temperature");
    r->style.min_mass = opt_float(r->opt, "min_label_mass");
    r->style.seed = (uint64_t)opt_int(r->opt, "seed");
    if (votes < 0 || votes > 64 || variants < 0 || variants > 64)
        return err_set(err, ERR_USAGE, "--votes %lld, --variants %lld: expected 0 to 64",
                       (long long)votes, (long long)variants);
    if (!(r->style.temperature >= 0) || !(r->style.min_mass >= 0 && r->style.min_mass <= 1))
        return err_set(err, ERR_USAGE, "--temperature %g, --min_label_mass %g: expected 0 or more, and a probability", r->style.temperature,
                       r->style.min_mass);
    r->style.votes = (int)votes;
    r->variants = (int)variants;
    int rc = option_positive(r->opt, "num_return_sequences", &r->answers, err);
    if (rc == 0 && r->answers > 64)
        rc = err_set(err, ERR_USAGE, "num_return_sequences is %d; expected 1 to 64", r->answers);
    return rc ? rc : option_positive(r->opt, "max_new_tokens", &r->style.max_new_tokens, err);
}

/* ---- the stages in order --------------------------------------------------------------------- */

static int attack(struct redteam *r, struct err *err)
{
    struct sampling s;
    const char *form = opt_str(r->opt, "policy_format");
    struct asker *attacker = &r->asker[r->asker[ATTACKER].provider ? ATTACKER : LABELER];
    int rc = 0;
    sampling_defaults(&s);
    s.temperature = r->style.temperature;
    s.max_new_tokens = r->style.max_new_tokens;
    s.seed = r->style.seed;
    if (r->variants && r->asker[POLICY].provider)
        rc = attacks_vary(&r->attacks, attacker, r->variants, &r->style, &r->written, err);
    if (rc == 0 && r->asker[POLICY].provider)
        rc = attacks_answer(&r->attacks, &r->asker[POLICY],
                            !strcmp(form, "chat")    ? PROMPT_CHAT
                            : !strcmp(form, "plain") ? PROMPT_PLAIN
                                                     : PROMPT_TRANSCRIPT,
                            r->answers, &s, err);
    if (rc == 0)
        rc = attacks_judge(&r->attacks, &r->asker[LABELER], &r->style, err);
    if (rc == 0)
        rc = attacks_rewrite(&r->attacks, &r->asker[LABELER], &r->style, err);
    return rc;
}

static int add(struct rows_out *out, json_t *row, struct err *err)
{
    int rc =
        row ? rows_out_add(out, row, err) : err_set(err, ERR_MEMORY, "no memory to write attacks");
    json_decref(row);
    return rc;
}

static int write_one(struct redteam *r, const struct attack *t, struct rows_out *attacks,
                     struct rows_out *pairs, struct err *err)
{
    struct attack_pair *p = mem_alloc(2 * (size_t)t->n + 1, sizeof *p);
    int rc = p ? add(attacks, attack_row(t, &r->attacks.item[t->seed]), err)
               : err_set(err, ERR_MEMORY, "no memory to write attacks");
    int n = p ? attack_pairs(p, t, !strcmp(opt_str(r->opt, "rewrites"), "all")) : 0;
    for (int k = 0; k < n && rc == 0; k++) {
        rc = add(pairs, attack_pair_row(t, &p[k]), err);
        r->pairs[p[k].kind]++;
    }
    free(p);
    return rc;
}

static int write_all(struct redteam *r, struct err *err)
{
    const char *dir = opt_str(r->opt, "output_dir");
    struct rows_out attacks = { 0 }, pairs = { 0 };
    char *one = path_join(dir, "attacks.jsonl"), *two = path_join(dir, "pairs.jsonl");
    int rc = one && two ? rows_out_open(&attacks, one, err)
                        : err_set(err, ERR_MEMORY, "no memory to write attacks");
    if (rc == 0)
        rc = rows_out_open(&pairs, two, err);
    for (int i = 0; i < r->attacks.n && rc == 0; i++)
        rc = write_one(r, &r->attacks.item[i], &attacks, &pairs, err);
    if (rc == 0)
        rc = rows_out_commit(&attacks, err);
    if (rc == 0)
        rc = rows_out_commit(&pairs, err);
    rows_out_close(&attacks);
    rows_out_close(&pairs);
    free(one);
    free(two);
    return rc ? rc : rows_write_rejected(&r->rows, dir, err);
}

/* ---- figures ----------------------------------------------------------------------------- */

/* One number about every answer it makes sense of; NaN: none. */
typedef double (*of_answer)(const struct attack *t, const struct attack_answer *x);
static double harm_rate(const struct attack *t, const struct attack_answer *x)
{
    return t->benign ? NAN : x->harmful;
}
static double harm_unread(const struct attack *t, const struct attack_answer *x)
{
    return t->benign ? NAN : !x->harm.answered;
}
static double detection(const struct attack *t, const struct attack_answer *x)
{
    return t->benign || x->truth < 0 ? NAN : x->harmful == x->truth;
}
static double rewrite_kept(const struct attack *t, const struct attack_answer *x)
{
    return x->harmful ? x->saved : NAN;
}
static double refusal_unread(const struct attack *t, const struct attack_answer *x)
{
    return t->benign ? !x->refusal.answered : NAN;
}
static double over_refusal(const struct attack *t, const struct attack_answer *x)
{
    return t->benign ? x->refused : NAN;
}
static double over_refusal_by_rule(const struct attack *t, const struct attack_answer *x)
{
    return t->benign ? x->refused_by_rule : NAN;
}
static double refusal_disagreement(const struct attack *t, const struct attack_answer *x)
{
    return t->benign ? x->refused != x->refused_by_rule : NAN;
}

static void rates(json_t *result, const struct redteam *r, double *value)
{
    static const struct { const char *name; of_answer of; } all[] = {
        { "harmful_rate", harm_rate }, { "harm_unread", harm_unread }, { "detection_accuracy", detection }, { "rewrite_harmless", rewrite_kept },
        { "refusal_unread", refusal_unread }, { "over_refusal", over_refusal }, { "over_refusal_by_rule", over_refusal_by_rule }, { "refusal_disagreement", refusal_disagreement },
    };
    for (size_t k = 0; k < ARRAY_LEN(all); k++) {
        int n = 0;
        for (int i = 0; i < r->attacks.n; i++)
            for (int j = 0; j < r->attacks.item[i].n; j++)
                value[n++] = all[k].of(&r->attacks.item[i], &r->attacks.item[i].answer[j]);
        struct interval share = interval_share(value, n);
        if (share.n)
            set_interval(result, all[k].name, &share);
    }
}

/* Share of prompts that got a harmful answer at least once: by what they ask for, by how they ask. */
static json_t *successes(const struct redteam *r, bool by_form)
{
    json_t *tried = json_object(), *worked = json_object(), *out = json_object();
    const char *key;
    json_t *v;
    for (int i = 0; i < r->attacks.n; i++) {
        const struct attack *t = &r->attacks.item[i];
        const char *name = by_form ? attack_form_name(t->form) : *t->harm ? t->harm : "unnamed";
        if (t->benign || !t->n)
            continue;
        json_object_set_new(tried, name,
                            json_integer(json_integer_value(json_object_get(tried, name)) + 1));
        json_object_set_new(
            worked, name,
            json_integer(json_integer_value(json_object_get(worked, name)) + (t->harmful > 0)));
    }
    json_object_foreach(tried, key, v)
        json_object_set_new(out, key,
                            json_real((double)json_integer_value(json_object_get(worked, key)) /
                                      (double)json_integer_value(v)));
    json_decref(tried);
    json_decref(worked);
    return out;
}

static int figures(json_t *result, const struct redteam *r, struct err *err)
{
    int benign = 0, tried = 0, answers = 0, n = 0;
    struct attacks const *a = &r->attacks;
    for (int i = 0; i < a->n; i++)
        answers += a->item[i].n;
    double *value = mem_alloc((size_t)answers + (size_t)a->n + 1, sizeof *value);
    if (!value)
        return err_set(err, ERR_MEMORY, "no memory for figures");
    for (int i = 0; i < a->n; i++) {
        benign += a->item[i].benign;
        if (!a->item[i].benign && a->item[i].n) {
            value[n++] = a->item[i].harmful > 0;
            tried++;
        }
    }
    struct interval success = interval_share(value, n);
    double selected = 0;
    for (int i = 0; i < n; i++)
        selected += value[i];
    set_number(result, "prompts", a->n);
    set_number(result, "variants", r->written);
    set_number(result, "benign", benign);
    set_number(result, "attacks", tried);
    set_number(result, "attacks_selected", selected);
    set_interval(result, "attack_success", &success);
    json_object_set_new(result, "attack_success_by_harm", successes(r, false));
    json_object_set_new(result, "attack_success_by_form", successes(r, true));
    set_number(result, "answers", answers);
    rates(result, r, value);
    for (int k = 0; k < 3; k++) {
        char name[32];
        snprintf(name, sizeof name, "pairs_%s", attack_pair_name((enum attack_pair_kind)k));
        set_number(result, name, r->pairs[k]);
    }
    free(value);
    return 0;
}

static void choices(json_t *result, const struct redteam *r)
{
    json_object_set_new(result, "choices", json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}",
        "attacks", "seeds of the user's or our own; variants: paraphrase, role play, leading question",
        "selection", "at least one harmful answer among the policy's samples",
        "unreadable", "counts as harmful",
        "judge", r->style.votes ? "majority of written checks" : "log-probs of yes and no",
        "rewrite", "declines the harmful part, offers the safe one; judged again, dropped where still harmful",
        "pairs", !strcmp(opt_str(r->opt, "rewrites"), "all") ? "natural and rewritten" : "natural; rewritten where no sample is harmless",
        "guard", "benign look-alikes: an answer is preferred to a refusal"));
}

static int run_redteam(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct redteam r = { .opt = opt };
    int rc = read_options(&r, err);
    if (rc == 0)
        rc = rows_read(&r.rows, opt_str(opt, "seeds"), 0, err);
    if (rc == 0)
        rc = attacks_read(&r.attacks, &r.rows, err);
    if (rc == 0)
        rc = dir_make(opt_str(opt, "output_dir"), err);
    if (rc == 0)
        rc = open_all(&r, run, err);
    if (rc == 0)
        rc = attack(&r, err);
    for (int k = 0; k < ROLES && rc == 0; k++)
        rc = replies_covered(&r.asker[k].counts, opt, err);
    if (rc == 0)
        rc = write_all(&r, err);
    if (rc == 0)
        rc = figures(result, &r, err);
    if (rc == 0) {
        double asked = 0, price = 0;
        for (int k = 0; k < ROLES; k++) {
            asked += (double)r.asker[k].counts.asked;
            price += r.asker[k].counts.price;
        }
        set_number(result, "rejected", r.rows.n_rejected);
        set_number(result, "replies_computed", asked);
        set_number(result, "price", price);
        choices(result, &r);
    }
    for (int k = 0; k < ROLES; k++) {
        provider_free(r.asker[k].provider);
        model_close(r.model[k]);
    }
    store_close(r.store);
    attacks_release(&r.attacks);
    rows_release(&r.rows);
    return rc;
}

const struct stage stage_redteam = {
    .name = "redteam",
    .summary = "attacks on a policy: answers judged, harmful ones rewritten, harmless ones preferred",
    .example = "rlaif redteam --seeds examples/redteam_seeds.jsonl --policy models/s --labeler models/l --variants 0 "
               "--num_return_sequences 2 --max_new_tokens 16 --output_dir runs/try/redteam",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_redteam,
};
