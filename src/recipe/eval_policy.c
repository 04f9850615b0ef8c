/* recipe/eval_policy.c - a policy against its baseline on held-out prompts: one sample each,
 * judged, with lengths and drift. */
#include <math.h>

#include "eval/eval.h"
#include "learn/learn.h"
#include "recipe/evaluating.h"

enum { SHOWN = 12 };    // rows of samples.jsonl

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "no memory to compare policies");
}

/* ---- prompts and what is said -------------------------------------------------------------- */

static char *plain_prompt(struct arena *a, const struct text *t)
{
    if (!t->n)
        return arena_strdup(a, t->text);
    struct buf b = { 0 };
    for (int i = 0; i < t->n; i++) {
        const char *role = t->messages[i].role;
        buf_addf(&b, "%s%s: %s", i ? "\n\n" : "",
                 !strcmp(role, "user")        ? "Human"
                 : !strcmp(role, "assistant") ? "Assistant"
                                              : role,
                 t->messages[i].content);
    }
    buf_adds(&b, "\n\nAssistant:");
    char *s = b.failed ? NULL : arena_strdup(a, b.s);
    buf_release(&b);
    return s;
}

int contest_read(struct contest *c, const char *prompts, int most, struct err *err)
{
    *c = (struct contest){ 0 };
    int rc = rows_read(&c->rows, prompts, most, err);
    if (rc == 0)
        rc = data_prompts(&c->prompt, &c->n, &c->arena, &c->rows, err);
    size_t n = (size_t)c->n + 1;
    c->policy = arena_alloc(&c->arena, n * sizeof *c->policy);
    c->baseline = arena_alloc(&c->arena, n * sizeof *c->baseline);
    c->sampled = arena_alloc(&c->arena, n * sizeof *c->sampled);
    c->kl = arena_alloc(&c->arena, n * sizeof *c->kl);
    c->win = arena_alloc(&c->arena, n * sizeof *c->win);
    c->match = arena_alloc(&c->arena, n * sizeof *c->match);
    c->plain = arena_alloc(&c->arena, n * sizeof *c->plain);
    if (rc == 0 &&
        !(c->policy && c->baseline && c->sampled && c->kl && c->win && c->match && c->plain))
        rc = no_memory(err);
    for (int i = 0; i < c->n && rc == 0; i++) {
        c->kl[i] = c->win[i] = NAN;
        c->policy[i].logp = c->baseline[i].logp = NAN;
        if (!(c->plain[i] = plain_prompt(&c->arena, &c->prompt[i].text)))
            rc = no_memory(err);
    }
    return rc;
}

static int encode_all(struct tokens *ids, struct prompt_ids *list, const struct contest *c,
                      const struct tokenizer *t, struct err *err)
{
    int rc = 0;
    for (int i = 0; i < c->n && rc == 0; i++) {
        int at = ids->n;
        rc = encode_prompt(t, ids, &c->prompt[i].text, err);
        if (rc)
            err_prefix(err, "%s", rows_place(&c->rows, c->prompt[i].line).s);
        list[i] = (struct prompt_ids){ .n = ids->n - at, .item = (uint64_t)c->prompt[i].line };
    }
    for (int i = 0, at = 0; i < c->n; at += list[i++].n)
        list[i].id = ids->id + at;      // the ids moved while they grew
    return rc;
}

static void told(void *arg, int i)
{
    progress_add(arg, 1, NULL);
}

/* Ids of prompt and completion, as they were sampled: their text could be tokenised otherwise. */
static int keep_ids(struct contest *c, int i, const struct prompt_ids *p,
                    const struct completion *out, struct err *err)
{
    int *keep = arena_alloc(&c->arena, ((size_t)p->n + (size_t)out->n + 1) * sizeof *keep);
    if (!keep)
        return no_memory(err);
    memcpy(keep, p->id, (size_t)p->n * sizeof *keep);
    if (out->n)
        memcpy(keep + p->n, out->id, (size_t)out->n * sizeof *keep);
    c->sampled[i] = (struct sequence){ keep, p->n, keep + p->n, out->n };
    return 0;
}

static int keep_said(struct contest *c, struct said *said, int i, const struct completion *out,
                     struct err *err)
{
    *said = (struct said){ arena_strdup(&c->arena, out->text), 0, out->n, out->eos };
    for (int k = 0; k < out->n; k++)
        said->logp += out->logp[k];
    return said->text ? 0 : no_memory(err);
}

int contest_sample(struct contest *c, struct said *said, const struct model *m,
                   const struct sampling *s, int batch, struct err *err)
{
    struct tokens ids = { 0 };
    struct prompt_ids *list = mem_alloc((size_t)c->n, sizeof *list);
    struct completion *out = mem_alloc((size_t)c->n, sizeof *out);
    int rc = list && out ? encode_all(&ids, list, c, model_tokenizer(m), err) : no_memory(err);
    if (rc == 0) {
        struct progress bar;
        progress_begin(&bar, said == c->policy ? "policy" : "baseline", "texts", c->n);
        rc = model_generate(out, m, list, c->n, 1, s, batch, told, &bar, err);
        progress_end(&bar);
    }
    if (rc == ERR_INTERRUPTED)
        rc = err_set(err, rc, "interrupted while a model was writing; the same command asks it again from the start");
    for (int i = 0; i < c->n && rc == 0; i++) {
        rc = keep_said(c, &said[i], i, &out[i], err);
        if (rc == 0 && said == c->policy)
            rc = keep_ids(c, i, &list[i], &out[i], err);
    }
    if (out)
        completions_release(out, c->n);
    free(out);
    free(list);
    tokens_release(&ids);
    return rc;
}

int contest_load(struct contest *c, struct said *said, const char *path, struct err *err)
{
    struct rows rows = { 0 };
    struct prompt *prompt;
    struct arena arena = { 0 };
    json_t *by_id = json_object();
    int n = 0, rc = rows_read(&rows, path, 0, err);
    if (rc == 0)
        rc = data_prompts(&prompt, &n, &arena, &rows, err);
    for (int i = 0; i < n && rc == 0; i++) {
        json_t *row = rows.row[i], *v = json_array_get(json_object_get(row, "completions"), 0);
        v = v ? v : json_object_get(row, "completion");
        if (!json_is_string(v))
            rc = err_set(err, ERR_FORMAT, "%s: neither 'completion' nor 'completions' holds a text",
                         rows_place(&rows, rows.line[i]).s);
        else
            json_object_set(by_id, prompt[i].id, v);
    }
    for (int i = 0; i < c->n && rc == 0; i++) {
        const char *text = json_string_value(json_object_get(by_id, c->prompt[i].id));
        if (!text)
            rc = err_set(err, ERR_MISSING, "%s: no completion for the prompt with id \"%s\" (%s)",
                         path, c->prompt[i].id, rows_place(&c->rows, c->prompt[i].line).s);
        else if (!(said[i].text = arena_strdup(&c->arena, text)))
            rc = no_memory(err);
        said[i].tokens = -1;
    }
    json_decref(by_id);
    arena_release(&arena);
    rows_release(&rows);
    return rc;
}

int contest_drift(struct contest *c, const struct model *baseline, float temperature,
                  struct err *err)
{
    double *sum = mem_alloc((size_t)c->n, sizeof *sum);
    int vocab = model_config(baseline)->vocab, rc = sum ? 0 : no_memory(err);
    for (int i = 0; i < c->n && rc == 0; i++)       // the ids are the policy's: they must mean something here
        for (int k = 0; k < c->sampled[i].n_prompt + c->sampled[i].n_completion; k++)
            if (c->sampled[i].prompt[k] >= vocab)
                rc = err_set(
                    err, ERR_VALUE,
                    "policy and baseline have different vocabularies: no drift can be measured");
    if (rc == 0)
        rc = sequence_logp(sum, baseline, c->sampled, c->n, temperature, 2048, err);
    for (int i = 0; i < c->n && rc == 0; i++)
        c->kl[i] = c->policy[i].logp - sum[i];
    free(sum);
    return rc;
}

/* ---- judges ------------------------------------------------------------------------------ */

static void matches(struct contest *c)
{
    for (int i = 0; i < c->n; i++)
        c->match[i] = (struct match){ i, c->policy[i].text, c->baseline[i].text };
}

int contest_truth(struct contest *c, json_t *result, const struct lab_truth *truth, uint64_t seed,
                  struct err *err)
{
    double *gain = mem_alloc((size_t)c->n, sizeof *gain),
           *win = mem_alloc((size_t)c->n, sizeof *win);
    int rc = gain && win ? 0 : no_memory(err);
    double policy = 0;
    for (int i = 0; i < c->n && rc == 0; i++) {
        struct lab_panel p;
        struct lab_score a, b;
        const char *id = c->prompt[i].id;
        rc = lab_panel_vote(&p, truth, id, c->policy[i].text, c->baseline[i].text, seed, err);
        if (rc == 0)
            rc = lab_score_text(&a, truth, id, c->policy[i].text, err);
        if (rc == 0)
            rc = lab_score_text(&b, truth, id, c->baseline[i].text, err);
        if (rc)
            break;
        c->win[i] = p.preferred == 1 ? 1 : p.preferred == 2 ? 0 : 0.5;
        gain[i] = a.total - b.total;
        win[i] = gain[i] > 0 ? 1 : gain[i] < 0 ? 0 : 0.5;
        policy += a.total / c->n;
    }
    struct interval g = { 0 }, w = interval_share(win, rc ? 0 : c->n);
    if (rc == 0)
        rc = interval_mean(&g, gain, c->n, seed, err);
    if (rc == 0) {
        set_interval(result, "policy_oracle_gain", &g);
        set_interval(result, "policy_win_rate_oracle", &w);
        set_number(result, "policy_oracle", policy);
    }
    free(gain);
    free(win);
    return rc;
}

int contest_labeler(struct contest *c, const struct labeling *l, struct err *err)
{
    struct model_judge j = { .labeler = &l->labeler, .prompt = (const char *const *)c->plain };
    matches(c);
    int rc = model_judge(&j, c->win, c->match, c->n, err);
    if (rc == 0)
        rc = labeling_covered(l, &j.counts, j.asked, "pairs", err);
    for (int i = 0; i < c->n && rc == 0; i++)
        c->win[i] = outcome_of(c->win[i]);
    return rc;
}

int contest_reward(struct contest *c, json_t *result, const char *name, const struct model *m,
                   uint64_t seed, struct err *err)
{
    struct scorer *s = NULL;
    struct text *text = mem_alloc((size_t)c->n * 2, sizeof *text);
    struct scored *item = mem_alloc((size_t)c->n * 2, sizeof *item);
    float *raw = mem_alloc((size_t)c->n * 2, sizeof *raw);
    double *gain = mem_alloc((size_t)c->n, sizeof *gain);
    int rc = text && item && raw && gain ? scorer_new(&s, m, 0, err) : no_memory(err);
    for (int i = 0; i < c->n && rc == 0; i++) {
        text[2 * i].text = c->policy[i].text;
        text[2 * i + 1].text = c->baseline[i].text;
        item[2 * i] = (struct scored){ &c->prompt[i].text, &text[2 * i] };
        item[2 * i + 1] = (struct scored){ &c->prompt[i].text, &text[2 * i + 1] };
    }
    if (rc == 0)
        rc = scorer_texts(s, item, 2 * c->n, raw, err);
    for (int i = 0; i < c->n && rc == 0; i++)
        gain[i] =
            (double)scorer_normalize(s, raw[2 * i]) - (double)scorer_normalize(s, raw[2 * i + 1]);
    struct interval g;
    if (rc == 0)
        rc = interval_mean(&g, gain, c->n, seed, err);
    if (rc == 0)
        set_interval(result, name, &g);
    scorer_free(s);
    free(text);
    free(item);
    free(raw);
    free(gain);
    return rc;
}

/* ---- figures and files ------------------------------------------------------------------- */

static void lengths(json_t *result, const struct contest *c, const struct said *said,
                    const char *name)
{
    double tokens = 0, ended = 0;
    bool known = true;
    for (int i = 0; i < c->n; i++) {
        known = known && said[i].tokens >= 0;
        tokens += (double)said[i].tokens / c->n;
        ended += (double)said[i].ended / c->n;
    }
    char key[64];
    snprintf(key, sizeof key, "%s_length", name);
    set_number(result, key, known ? tokens : NAN);
    snprintf(key, sizeof key, "%s_eos_rate", name);
    set_number(result, key, known ? ended : NAN);
}

int contest_figures(const struct contest *c, json_t *result, uint64_t seed, struct err *err)
{
    struct win_rate w;
    struct interval kl;
    matches((struct contest *)c);
    int rc = win_rate(&w, c->win, c->match, c->n, seed, err);
    if (rc == 0)
        rc = interval_mean(&kl, c->kl, c->n, seed, err);
    if (rc)
        return rc;
    bool judged = w.raw.n > 0;
    set_number(result, "policy_prompts", c->n);
    set_interval(result, "policy_win_rate", &w.raw);
    set_interval(result, "policy_win_rate_lc", &w.length_controlled);
    set_number(result, "policy_wins", judged ? w.wins : NAN);
    set_number(result, "policy_ties", judged ? w.ties : NAN);
    set_number(result, "policy_losses", judged ? w.losses : NAN);
    set_number(result, "policy_unanswered", judged ? w.unanswered : NAN);
    set_number(result, "policy_bytes", w.length_a);
    set_number(result, "baseline_bytes", w.length_b);
    set_interval(result, "policy_kl", &kl);
    lengths(result, c, c->policy, "policy");
    lengths(result, c, c->baseline, "baseline");
    return 0;
}

static const char *verdict(double win)
{
    return isnan(win)  ? NULL
           : win > 0.5 ? "after is preferred"
           : win < 0.5 ? "before is preferred"
                       : "a tie";
}

int contest_write(const struct contest *c, const char *dir, struct err *err)
{
    static const char *const names[] = { "completions.jsonl", "samples.jsonl" };
    int rc = 0;
    for (int k = 0; k < 2 && rc == 0; k++) {
        struct rows_out out = { 0 };
        char *path = path_join(dir, names[k]);
        rc = path ? rows_out_open(&out, path, err) : no_memory(err);
        for (int i = 0; i < (k && c->n > SHOWN ? SHOWN : c->n) && rc == 0; i++) {
            const char *v = verdict(c->win[i]);
            json_t *row =
                k ? json_pack("{s:s, s:s, s:s, s:s?}", "prompt", c->plain[i], "before",
                              c->baseline[i].text, "after", c->policy[i].text, "verdict", v)
                  : json_pack("{s:s, s:O, s:s, s:s, s:o, s:o}", "id", c->prompt[i].id, "prompt",
                              json_object_get(c->prompt[i].row, "prompt"), "policy",
                              c->policy[i].text, "baseline", c->baseline[i].text, "win",
                              isnan(c->win[i]) ? json_null() : json_real(c->win[i]), "kl",
                              isnan(c->kl[i]) ? json_null() : json_real(c->kl[i]));
            rc = row ? rows_out_add(&out, row, err) : no_memory(err);
            json_decref(row);
        }
        if (rc == 0)
            rc = rows_out_commit(&out, err);
        rows_out_close(&out);
        free(path);
    }
    return rc;
}

void contest_release(struct contest *c)
{
    arena_release(&c->arena);
    rows_release(&c->rows);
    *c = (struct contest){ 0 };
}
