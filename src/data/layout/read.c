/* data/layout/read.c - rows of each layout as comparisons.
 *
 * Each layout has one function that fills a struct comparison or says why it cannot.  HelpSteer's
 * ratings come one answer a row, so a row there waits for the next one with the same prompt. */
#include <math.h>

#include "data/internal.h"

struct reading {
    struct comparisons *out;
    const struct layout_options *o;
    struct err *err;
};
typedef int read_fn(struct comparison *c, const struct reading *g, const json_t *row,
                    struct err *why);

/* ---- small things ------------------------------------------------------------------------ */

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "no memory for the comparisons");
}

/* Keeps v alive as long as the list; NULL without memory. */
static json_t *own(const struct reading *g, json_t *v)
{
    return v && json_array_append_new(g->out->owned, v) == 0 ? v : NULL;
}

/* A number, also as CSV has it: in digits. */
static int number_of(double *out, const json_t *row, const char *key, struct err *why)
{
    const json_t *v = json_object_get(row, key);
    bool fine =
        json_is_number(v) || (json_is_string(v) && str_to_double(json_string_value(v), out));
    if (json_is_number(v))
        *out = json_number_value(v);
    return fine && isfinite(*out) ? 0 : err_set(why, ERR_FORMAT, "'%s' is no number", key);
}

static int text_of(const json_t **out, const json_t *row, const char *key, struct err *why)
{
    *out = json_object_get(row, key);
    if (!json_is_string(*out) || !json_string_length(*out))
        return err_set(why, ERR_FORMAT, "'%s' is %s", key,
                       json_is_string(*out) ? "empty" : "no text");
    return 0;
}

/* The same, empty or not: an empty answer is an answer. */
static int answer_of(const json_t **out, const json_t *row, const char *key, struct err *why)
{
    *out = json_object_get(row, key);
    return json_is_string(*out) ? 0 : err_set(why, ERR_FORMAT, "'%s' is no text", key);
}

static const json_t *text_or_null(const json_t *row, const char *key)
{
    const json_t *v = json_object_get(row, key);
    return json_is_string(v) && json_string_length(v) ? v : NULL;
}

static json_t *text_json(const struct text *t)
{
    if (t->n == 0)
        return json_string(t->text ? t->text : "");
    json_t *list = json_array();
    for (int i = 0; i < t->n && list; i++)
        json_array_append_new(list, json_pack("{ssss}", "role", t->messages[i].role, "content",
                                              t->messages[i].content));
    return list;
}

static int keep_columns(struct comparison *c, const struct reading *g, const json_t *row,
                        const char *const *key, struct err *why)
{
    json_t *o = own(g, json_object());
    for (; o && *key; key++) {
        json_t *v = json_object_get(row, *key);
        if (v && !json_is_null(v))
            json_object_set(o, *key, v);
    }
    c->extra = o;
    return o ? 0 : no_memory(why);
}

/* A given id, or the hash of prompt and answers. */
static int id_of(struct comparison *c, const struct reading *g, const json_t *row, const char *key,
                 struct err *why)
{
    const json_t *given = json_object_get(row, key);
    if (json_is_string(given) && json_string_length(given)) {
        c->id = given;
        return 0;
    }
    if (json_is_integer(given)) {
        char digits[32];
        snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(given));
        c->id = own(g, json_string(digits));
        return c->id ? 0 : no_memory(why);
    }
    struct buf b = {0};
    char hex[33];
    json_add_text(&b, c->prompt, 0);
    json_add_text(&b, c->first, 0);
    json_add_text(&b, c->second, 0);
    hash_hex(hex, hash_bytes(b.s, b.len));
    c->id = b.failed ? NULL : own(g, json_string(hex));
    buf_release(&b);
    return c->id ? 0 : no_memory(why);
}

/* ---- OpenAI's TL;DR comparisons ---------------------------------------------------------- */

static bool confidence_wanted(const struct reading *g, double confidence)
{
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)g->o->confidence, i, v)
        for (const char *at = json_string_value(v); at && *at;
             at += strcspn(at, ","), at += *at == ',') {
            char word[32];
            double x;
            snprintf(word, sizeof word, "%.*s", (int)strcspn(at, ","), at);
            if (str_to_double(word, &x) && x == confidence)
                return true;
        }
    return false;
}

static int check_confidence(const struct reading *g, const json_t *row, struct err *why)
{
    const json_t *extra = json_object_get(row, "extra");
    double confidence;
    if (!g->o->confidence)
        return 0;
    if (number_of(&confidence, extra, "confidence", why))
        return err_set(why, ERR_VALUE, "'extra.confidence' is missing, and only some are wanted");
    return confidence_wanted(g, confidence)
               ? 0
               : err_set(why, ERR_VALUE,
                         "'extra.confidence' is %g, which is not among those wanted", confidence);
}

/* The post as policies are given it; of news, the article. */
static int tldr_prompt(struct comparison *c, const struct reading *g, const json_t *row,
                       struct err *why)
{
    const json_t *info = json_object_get(row, "info");
    const json_t *post = text_or_null(info, "post"), *article = text_or_null(info, "article");
    const json_t *title = text_or_null(info, "title"), *subreddit = text_or_null(info, "subreddit");
    struct buf b = {0};
    if (!post && !article)
        return err_set(why, ERR_FORMAT, "'info' has neither 'post' nor 'article'");
    if (post && subreddit)
        buf_addf(&b, "SUBREDDIT: r/%s\n\n", json_string_value(subreddit));
    if (post && title)
        buf_addf(&b, "TITLE: %s\n\n", json_string_value(title));
    buf_addf(&b, "%s%s\n\nTL;DR:", post ? "POST: " : "Article:\n\n",
             json_string_value(post ? post : article));
    c->prompt = b.failed ? NULL : own(g, json_string(b.s));
    buf_release(&b);
    return c->prompt ? 0 : no_memory(why);
}

static int read_tldr(struct comparison *c, const struct reading *g, const json_t *row,
                     struct err *why)
{
    static const char *const along[] = {"worker", "batch", "split", NULL};
    const json_t *summaries = json_object_get(row, "summaries"),
                 *one = json_array_get(summaries, 0), *two = json_array_get(summaries, 1);
    double choice = -1;
    int rc = json_array_size(summaries) == 2
                 ? 0
                 : err_set(why, ERR_FORMAT, "'summaries' is no list of two");
    if (rc == 0)
        rc = answer_of(&c->first, one, "text", why);
    if (rc == 0)
        rc = answer_of(&c->second, two, "text", why);
    if (rc == 0)
        rc = number_of(&choice, row, "choice", why);
    if (rc == 0 && choice != 0 && choice != 1)
        rc = err_set(why, ERR_VALUE, "'choice' is %g, expected 0 or 1", choice);
    if (rc == 0)
        rc = check_confidence(g, row, why);
    if (rc == 0)
        rc = tldr_prompt(c, g, row, why);
    if (rc == 0)
        rc = keep_columns(c, g, row, along, why);
    if (rc)
        return rc;
    json_t *confidence = json_object_get(json_object_get(row, "extra"), "confidence");
    if (confidence && !json_is_null(confidence))
        json_object_set((json_t *)c->extra, "confidence", confidence);
    c->p_first = choice == 0;
    c->first_model = text_or_null(one, "policy");
    c->second_model = text_or_null(two, "policy");
    return id_of(c, g, json_object_get(row, "info"), "id", why);
}

/* ---- AlpacaFarm, AlpacaEval -------------------------------------------------------------- */

static int alpaca_preference(double *p_first, const json_t *row, struct err *why)
{
    double x = 0;
    const json_t *v = json_object_get(row, "preference");
    if (json_is_null(v) || (json_is_string(v) && !json_string_length(v)))
        return err_set(why, ERR_VALUE,
                       "'preference' is null: the judge's reply was not understood");
    int rc = number_of(&x, row, "preference", why);
    if (rc == 0 && x != 0 && !(x >= 1 && x <= 2))
        rc = err_set(why, ERR_VALUE, "'preference' is %g, expected 1 to 2 (or 0, a draw)", x);
    *p_first = x == 0 ? 0.5 : 2 - x;
    return rc;
}

static int read_alpaca(struct comparison *c, const struct reading *g, const json_t *row,
                       struct err *why)
{
    static const char *const along[] = {"dataset", "annotator", NULL};
    const json_t *instruction, *input = text_or_null(row, "input");
    int rc = text_of(&instruction, row, "instruction", why);
    if (rc == 0)
        rc = answer_of(&c->first, row, "output_1", why);
    if (rc == 0)
        rc = answer_of(&c->second, row, "output_2", why);
    if (rc == 0)
        rc = alpaca_preference(&c->p_first, row, why);
    if (rc)
        return rc;
    c->prompt = instruction;
    if (input) {
        char *both =
            str_printf("%s\n\n%s", json_string_value(instruction), json_string_value(input));
        c->prompt = both ? own(g, json_string(both)) : NULL;
        free(both);
    }
    c->first_model = text_or_null(row, "generator_1");
    c->second_model = text_or_null(row, "generator_2");
    rc = c->prompt ? keep_columns(c, g, row, along, why) : no_memory(why);
    return rc ? rc : id_of(c, g, row, "id", why);
}

/* ---- HelpSteer --------------------------------------------------------------------------- */

/* Strength -3 (the first is much better) to 3; how much becomes `margin`, which of them a certain
 * label. */
static int read_helpsteer_preference(struct comparison *c, const struct reading *g,
                                     const json_t *row, struct err *why)
{
    static const char *const along[] = {"split", "domain", "language", NULL};
    bool third = json_object_get(row, "response1");
    double strength = 0;
    const json_t *context = json_object_get(row, "context");
    struct text t;
    int rc = answer_of(&c->first, row, third ? "response1" : "response_1", why);
    if (rc == 0)
        rc = answer_of(&c->second, row, third ? "response2" : "response_2", why);
    if (rc == 0)
        rc = number_of(&strength, row, third ? "overall_preference" : "preference_strength", why);
    if (rc == 0 && fabs(strength) > 3)
        rc = err_set(why, ERR_VALUE, "the strength of the preference is %g, expected -3 to 3",
                     strength);
    if (rc == 0 && !json_object_get(row, "prompt"))
        rc = text_from_json(&t, &g->out->arena, context, "context", why);
    if (rc == 0)
        rc = json_object_get(row, "prompt") ? text_of(&c->prompt, row, "prompt", why)
                                            : (c->prompt = context, 0);
    if (rc == 0)
        rc = keep_columns(c, g, row, along, why);
    if (rc)
        return rc;
    json_object_set_new((json_t *)c->extra, "margin", json_real(fabs(strength)));
    c->p_first = strength < 0 ? 1 : strength > 0 ? 0 : 0.5;
    return id_of(c, g, row, "id", why);
}

static const char *const steered[] = {"helpfulness", "correctness", "coherence", "complexity",
                                      "verbosity"};

/* The ratings of the chosen and the rejected answer, under both names. */
static int add_ratings(struct comparison *c, const struct reading *g, const json_t *one,
                       const json_t *two, struct err *why)
{
    json_t *o = own(g, json_object());
    if (!o)
        return no_memory(why);
    for (size_t i = 0; i < ARRAY_LEN(steered); i++) {
        char name[2][40];
        json_t *v[2] = {json_object_get(one, steered[i]), json_object_get(two, steered[i])};
        snprintf(name[0], sizeof name[0], "%s_chosen", steered[i]);
        snprintf(name[1], sizeof name[1], "%s_rejected", steered[i]);
        for (int k = 0; k < 2; k++)
            if (v[k])
                json_object_set(o, name[c->p_first > 0.5 ? k : !k], v[k]);
    }
    c->extra = o;
    return 0;
}

static int read_ratings(struct comparison *c, const struct reading *g, const json_t *one,
                        const json_t *two, struct err *why)
{
    double a = 0, b = 0;
    int rc = text_of(&c->prompt, one, "prompt", why);
    if (rc == 0)
        rc = answer_of(&c->first, one, "response", why);
    if (rc == 0)
        rc = answer_of(&c->second, two, "response", why);
    if (rc == 0)
        rc = number_of(&a, one, "helpfulness", why);
    if (rc == 0)
        rc = number_of(&b, two, "helpfulness", why);
    if (rc == 0 && a == b)
        rc = err_set(why, ERR_VALUE, "both answers have helpfulness %g: there is no better one", a);
    c->p_first = a > b;
    if (rc == 0)
        rc = add_ratings(c, g, one, two, why);
    if (rc)
        return rc;
    json_object_set_new((json_t *)c->extra, "margin", json_real(fabs(a - b)));
    return id_of(c, g, one, "id", why);
}

/* ---- chosen and rejected ----------------------------------------------------------------- */

static bool blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t';
}

/* Two texts that begin alike, as TRL takes a prompt out of them, but never within a word: the
 * prompt ends before the last white space that both share. */
static int read_shared_prefix(struct comparison *c, const struct reading *g, const json_t *row,
                              struct err *why)
{
    int rc = text_of(&c->first, row, "chosen", why);
    if (rc == 0)
        rc = text_of(&c->second, row, "rejected", why);
    if (rc)
        return rc;
    const char *a = json_string_value(c->first), *b = json_string_value(c->second);
    size_t same = 0, cut = 0;
    while (a[same] && a[same] == b[same])
        same++;
    if (!a[same] && !b[same])
        return err_set(why, ERR_VALUE, "'chosen' and 'rejected' are the same");
    for (size_t i = 1; i <= same; i++)
        if (blank(a[i]) && blank(b[i]) && !blank(a[i - 1]))
            cut = i;
    if (cut == 0)
        return err_set(why, ERR_FORMAT,
                       "no 'prompt', and 'chosen' and 'rejected' do not begin with the same words");
    c->prompt = own(g, json_stringn(a, cut));
    c->first = own(g, json_string(a + cut));
    c->second = own(g, json_string(b + cut));
    return c->prompt && c->first && c->second ? 0 : no_memory(why);
}

static bool plain_without_prompt(const json_t *row)
{
    const char *chosen = json_string_value(json_object_get(row, "chosen"));
    json_t *prompt = json_object_get(row, "prompt");
    return chosen && (!prompt || json_is_null(prompt)) && !strstr(chosen, "\n\nAssistant:");
}

/* Everything that stands beside the pair goes along. */
static int keep_others(struct comparison *c, const struct reading *g, const json_t *row,
                       struct err *why)
{
    static const char *const taken[] = {"id",       "prompt",       "chosen",
                                        "rejected", "label_prob",   "messages",
                                        "layout",   "chosen_model", "rejected_model"};
    json_t *o = own(g, json_copy((json_t *)row));
    for (size_t i = 0; o && i < ARRAY_LEN(taken); i++)
        json_object_del(o, taken[i]);
    c->extra = o;
    return o ? 0 : no_memory(why);
}

static int read_chosen(struct comparison *c, const struct reading *g, const json_t *row,
                       struct err *why)
{
    struct pair p = {0};
    int rc;
    c->p_first = 1;
    if (plain_without_prompt(row)) {
        rc = read_shared_prefix(c, g, row, why);
        if (rc == 0 && json_object_get(row, "label_prob"))
            rc = number_of(&c->p_first, row, "label_prob", why);
    } else {
        rc = pair_from_row(&p, &g->out->arena, row, why);
        if (rc == 0) {
            c->prompt = own(g, text_json(&p.prompt));
            c->first = own(g, text_json(&p.chosen));
            c->second = own(g, text_json(&p.rejected));
            c->p_first = p.label_prob;
            rc = c->prompt && c->first && c->second ? 0 : no_memory(why);
        }
    }
    if (rc == 0 && !(c->p_first >= 0 && c->p_first <= 1))
        rc = err_set(why, ERR_VALUE, "'label_prob' is %g, expected a probability", c->p_first);
    c->first_model = text_or_null(row, "chosen_model");
    c->second_model = text_or_null(row, "rejected_model");
    if (rc == 0)
        rc = keep_others(c, g, row, why);
    return rc ? rc
              : id_of(c, g, row,
                      text_or_null(row, "prompt_id") && !json_object_get(row, "id") ? "prompt_id"
                                                                                    : "id",
                      why);
}

static int read_ultrafeedback(struct comparison *c, const struct reading *g, const json_t *row,
                              struct err *why)
{
    double chosen = 0, rejected = 0;
    int rc = number_of(&chosen, row, "score_chosen", why);
    if (rc == 0)
        rc = number_of(&rejected, row, "score_rejected", why);
    if (rc == 0 && chosen == rejected)
        rc = err_set(why, ERR_VALUE, "both answers have the score %g: there is no better one",
                     chosen);
    if (rc == 0 && chosen < rejected)
        rc = err_set(why, ERR_VALUE, "'score_chosen' is %g, less than 'score_rejected', %g", chosen,
                     rejected);
    return rc ? rc : read_chosen(c, g, row, why);
}

/* ---- our own labels, examples ------------------------------------------------------------ */

static int read_labels(struct comparison *c, const struct reading *g, const json_t *row,
                       struct err *why)
{
    static const char *const along[] = {"label_mass", "same_slot", "labeler",
                                        "protocol",   "human",     NULL};
    const char *state = json_string_value(json_object_get(row, "state")),
               *part[] = {"prompt", "first", "second"};
    const json_t **to[] = {&c->prompt, &c->first, &c->second};
    int rc = !state || !strcmp(state, "answered")
                 ? 0
                 : err_set(why, ERR_VALUE, "'state' is %s: there is no label", state);
    for (int i = 0; i < 3 && rc == 0; i++) {
        struct text t;
        *to[i] = json_object_get(row, part[i]);
        rc = text_from_json(&t, &g->out->arena, *to[i], part[i], why);
    }
    if (rc == 0)
        rc = number_of(&c->p_first, row, "label_first", why);
    if (rc == 0 && !(c->p_first >= 0 && c->p_first <= 1))
        rc = err_set(why, ERR_VALUE, "'label_first' is %g, expected a probability", c->p_first);
    if (rc == 0)
        rc = keep_columns(c, g, row, along, why);
    c->first_model = text_or_null(row, "first_model");
    c->second_model = text_or_null(row, "second_model");
    return rc ? rc : id_of(c, g, row, "id", why);
}

/* What stands after "#### ", without thousands' commas. */
static int read_gsm8k(const struct reading *g, const json_t *row, struct err *why)
{
    const json_t *question, *answer;
    char final[64], hex[33];
    size_t n = 0;
    int rc = text_of(&question, row, "question", why);
    if (rc == 0)
        rc = text_of(&answer, row, "answer", why);
    if (rc)
        return rc;
    const char *q = json_string_value(question),
               *s = strstr(json_string_value(answer), "#### ") + strlen("#### ");
    for (; *s && *s != '\n' && n + 1 < sizeof final; s++)
        if (*s != ',' && !blank(*s))
            final[n++] = *s;
    final[n] = 0;
    if (n == 0)
        return err_set(why, ERR_FORMAT, "'answer' has nothing after \"####\"");
    hash_hex(hex, hash_bytes(q, strlen(q)));
    json_t *o = json_pack("{ss sO sO ss ss}", "id", hex, "prompt", question, "completion", answer,
                          "answer", final, "layout", "gsm8k");
    return o && json_array_append_new(g->out->examples, o) == 0 ? 0 : no_memory(why);
}

/* ---- all rows ---------------------------------------------------------------------------- */

static read_fn *const reader[LAYOUTS] = {
    [LAYOUT_TLDR] = read_tldr,
    [LAYOUT_ALPACA] = read_alpaca,
    [LAYOUT_HELPSTEER_PREFERENCE] = read_helpsteer_preference,
    [LAYOUT_ULTRAFEEDBACK] = read_ultrafeedback,
    [LAYOUT_HH] = read_chosen,
    [LAYOUT_TRL] = read_chosen,
    [LAYOUT_LABELS] = read_labels,
};

static int unknown(const json_t *row, struct err *why)
{
    struct buf b = {0};
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)row, key, v)
        buf_addf(&b, "%s%.40s", b.len ? ", " : "", key);
    err_set(why, ERR_FORMAT, "no layout that is known has the columns %.300s",
            b.s ? b.s : "(none)");
    buf_release(&b);
    return ERR_FORMAT;
}

static int add(struct comparisons *l, const struct comparison *c, struct err *why)
{
    struct comparison *more = mem_grow(l->item, &l->cap, (size_t)l->n + 1, sizeof *more);
    if (!more)
        return no_memory(why);
    l->item = more;
    l->item[l->n++] = *c;
    l->ties += c->p_first == 0.5;
    return 0;
}

/* What something can be learned from. */
static int check_answers(const struct comparison *c, struct err *why)
{
    if (json_equal(c->first, c->second))
        return err_set(why, ERR_VALUE, "both answers are the same");
    if ((json_is_string(c->first) && !json_string_length(c->first)) ||
        (json_is_string(c->second) && !json_string_length(c->second)))
        return err_set(why, ERR_VALUE, "an answer is empty");
    return 0;
}

static bool same_prompt(const json_t *a, const json_t *b)
{
    return json_equal(json_object_get(a, "prompt"), json_object_get(b, "prompt"));
}

/* Row i, and of HelpSteer the one after it; *used: how many rows that were. */
static int read_one(const struct reading *g, const struct rows *r, int i, int *used,
                    struct err *why)
{
    enum layout layout = data_layout(r->row[i]);
    struct comparison c = {.layout = layout, .row = r->row[i]};
    bool two = layout == LAYOUT_HELPSTEER && i + 1 < r->n && data_layout(r->row[i + 1]) == layout &&
               same_prompt(r->row[i], r->row[i + 1]);
    *used = two ? 2 : 1;
    g->out->of[layout] += *used;
    if (layout == LAYOUT_UNKNOWN)
        return unknown(r->row[i], why);
    if (layout == LAYOUT_GSM8K)
        return read_gsm8k(g, r->row[i], why);
    if (layout == LAYOUT_HELPSTEER && !two)
        return err_set(why, ERR_VALUE, "no second answer to the same prompt follows");
    int rc = two ? read_ratings(&c, g, r->row[i], r->row[i + 1], why)
                 : reader[layout](&c, g, r->row[i], why);
    if (rc == 0 && !g->o->any_answers)
        rc = check_answers(&c, why);
    return rc ? rc : add(g->out, &c, why);
}

/* Rows stay in r, their strings being used; those that cannot be used close the gap. */
static int read_rows(const struct reading *g, struct rows *r, struct err *err)
{
    int kept = 0, rc = 0, rows = r->n;
    for (int i = 0, used; i < rows && rc == 0; i += used) {
        struct err why = {0};
        int failed = read_one(g, r, i, &used, &why);
        if (failed == ERR_MEMORY)
            rc = err_set(err, failed, "%s: %s", rows_place(r, r->line[i]).s, why.msg);
        for (int k = i; k < i + used; k++) {
            if (failed && rc == 0) {
                char *text = str_printf("%.*s", (int)utf8_valid(why.msg, strlen(why.msg)), why.msg);
                r->rejected[r->n_rejected++] = (struct rejected){r->line[k], text, r->row[k]};
                continue;
            }
            r->row[kept] = r->row[k];
            r->line[kept++] = r->line[k];
        }
        if (rc) {
            memmove(r->row + kept, r->row + i + used, (size_t)(rows - i - used) * sizeof *r->row);
            memmove(r->line + kept, r->line + i + used,
                    (size_t)(rows - i - used) * sizeof *r->line);
            kept += rows - i - used;
        }
    }
    r->n = kept;
    return rc;
}

int layout_read(struct comparisons *out, struct rows *r, const struct layout_options *o,
                struct err *err)
{
    *out = (struct comparisons){.owned = json_array(), .examples = json_array()};
    struct reading g = {out, o, err};
    int rc = out->owned && out->examples ? read_rows(&g, r, err) : no_memory(err);
    if (rc == 0 && out->n == 0 && json_array_size(out->examples) == 0)
        rc = err_set(err, ERR_VALUE, "%s: no row holds a comparison or an example (%s: %s)",
                     r->path, r->n_rejected ? rows_place(r, r->rejected[0].line).within : "nowhere",
                     r->n_rejected && r->rejected[0].why ? r->rejected[0].why : "no rows");
    if (rc)
        comparisons_release(out);
    return rc;
}

void comparisons_release(struct comparisons *l)
{
    if (!l)
        return;
    free(l->item);
    json_decref(l->owned);
    json_decref(l->examples);
    arena_release(&l->arena);
    *l = (struct comparisons){0};
}
