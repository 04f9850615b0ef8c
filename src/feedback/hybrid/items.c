/* feedback/hybrid/items.c - rows read as prompts with K answers, a reference where one is
 * known, and truth for figures.
 *
 * A row that names no category gets one by what can be checked about it: options in the prompt
 * make it multiple choice, a reference that ends in a number math, any other reference a closed
 * question; without a reference it is an open one. */
#include <math.h>

#include "data/data.h"
#include "feedback/feedback.h"

enum { MAX_ANSWERS = 64 };

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "no memory for the answers");
}

/* The first of these columns that is there and no null. */
static const json_t *column(const json_t *row, const char *const *names)
{
    for (; *names; names++) {
        const json_t *v = json_object_get(row, *names);
        if (v && !json_is_null(v))
            return v;
    }
    return NULL;
}

/* A string or number, or a list of them, as texts; -1: something else, or too many. */
static int texts(const char **out, int most, struct arena *a, const json_t *v)
{
    size_t n = json_is_array(v) ? json_array_size(v) : v ? 1 : 0;
    if (n > (size_t)most)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(one) && !json_is_number(one))
            return -1;
        struct buf b = {0};
        json_is_string(one) ? buf_adds(&b, json_string_value(one)) : json_add_text(&b, one, 0);
        out[i] = b.failed ? NULL : arena_strdup(a, b.s ? b.s : "");
        buf_release(&b);
        if (!out[i])
            return -1;
    }
    return (int)n;
}

/* ---- GSM8K's model solutions ------------------------------------------------------------ */

/* {"question","ground_truth", NAME: {"solution","is_correct"}, ...} as
 * {"prompt","reference","completions","correct"}. */
static json_t *from_gsm8k(const json_t *row)
{
    json_t *out = json_object(), *texts_of = json_array(), *correct = json_array(),
           *from = json_array();
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)row, key,
                        v) if (json_is_object(v) &&
                               json_is_string(json_object_get(v, "solution")))
    {
        json_array_append(texts_of, json_object_get(v, "solution"));
        json_array_append(correct, json_object_get(v, "is_correct"));
        json_array_append_new(from, json_string(key));
    }
    json_object_set(out, "prompt", json_object_get(row, "question"));
    json_object_set(out, "reference", json_object_get(row, "ground_truth"));
    json_object_set_new(out, "completions", texts_of);
    json_object_set_new(out, "correct", correct);
    json_object_set_new(out, "sources", from);
    json_object_set_new(out, "category", json_string("math"));
    return out;
}

static void adopt_foreign(struct rows *r)
{
    for (int i = 0; i < r->n; i++)
        if (json_is_string(json_object_get(r->row[i], "question")) &&
            json_object_get(r->row[i], "ground_truth") &&
            !json_object_get(r->row[i], "completions") &&
            !json_object_get(r->row[i], "prompt")) {
            json_t *row = from_gsm8k(r->row[i]);
            json_decref(r->row[i]);
            r->row[i] = row;
        }
}

/* ---- one row ----------------------------------------------------------------------------- */

static const char *wrong_with(const json_t *row)
{
    static char why[128];
    const json_t *list = json_object_get(row, "completions");
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n < 1)
        return "'completions' is missing or no list of answers";
    if (n > MAX_ANSWERS) {
        snprintf(why, sizeof why, "'completions' has %zu answers; at most %d are ordered", n,
                 MAX_ANSWERS);
        return why;
    }
    static const char *const beside[] = {"correct", "scores"};
    for (int k = 0; k < 2; k++) {
        const json_t *v = json_object_get(row, beside[k]);
        if (v && !json_is_null(v) && json_array_size(v) != n) {
            snprintf(why, sizeof why, "'%s' should be a list of %zu, one for each completion",
                     beside[k], n);
            return why;
        }
    }
    return NULL;
}

static int read_answers(struct hybrid_item *it, struct hybrid_set *set, const json_t *row,
                        const char *where, struct err *err)
{
    const json_t *list = json_object_get(row, "completions"),
                 *correct = json_object_get(row, "correct"),
                 *scores = json_object_get(row, "scores");
    it->answer = arena_alloc(&set->arena, json_array_size(list) * sizeof *it->answer);
    if (!it->answer)
        return no_memory(err);
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct hybrid_answer *a = &it->answer[it->n];
        struct text t;
        int rc = text_from_json(&t, &set->arena, json_array_get(list, i), where, err);
        if (rc)
            return rc;
        *a = (struct hybrid_answer){
            .json = json_array_get(list, i), .truth = -1, .score = NAN, .rank = 0};
        a->text = text_transcript(&set->arena, &t, false);
        if (!a->text)
            return no_memory(err);
        const json_t *c = json_array_get(correct, i), *s = json_array_get(scores, i);
        if (json_is_boolean(c))
            a->truth = json_is_true(c);
        if (json_is_number(s))
            a->score = json_number_value(s);
        it->n++;
    }
    return 0;
}

/* Category and reference; true: the row is fine. */
static const char *read_reference(struct hybrid_item *it, struct hybrid_set *set,
                                  const json_t *row)
{
    static const char *const gold[] = {"reference", "answer", "ground_truth", "solution", NULL},
                             *const list[] = {"options", "choices", NULL};
    const char **option = arena_alloc(&set->arena, 26 * sizeof *option);
    const json_t *named = json_object_get(row, "category"), *ref = column(row, gold),
                 *model = json_object_get(row, "reward_model");
    if (!ref && json_is_object(model)) // verl's column
        ref = json_object_get(model, "ground_truth");
    it->ref = (struct reference){.text = it->reference, .option = option, .prompt = it->prompt};
    it->ref.n = texts(it->reference, ARRAY_LEN(it->reference), &set->arena, ref);
    if (it->ref.n < 0)
        return "the reference is no text, number or short list of them";
    it->ref.n_options = option ? texts(option, 26, &set->arena, column(row, list)) : -1;
    if (it->ref.n_options < 0)
        return "'options' is no list of texts";
    struct err err = {0};
    if (json_is_string(named) &&
        category_from_name(&it->ref.category, json_string_value(named), &err))
        return "'category' is none of the twelve";
    it->guessed = !json_is_string(named);
    if (it->guessed)
        it->ref.category = category_guess(&it->ref);
    it->category = it->ref.category;
    return NULL;
}

enum category category_guess(const struct reference *ref)
{
    const char *at[26], *how;
    size_t n[26];
    if (ref->n_options >= 2 || (ref->prompt && options_find(at, n, ref->prompt)))
        return CATEGORY_CHOICE;
    if (ref->n == 0)
        return CATEGORY_OPEN_QA;
    struct quantity q;
    const char *s = ref->text[0];
    size_t len = strlen(s);
    bool marked = final_answer(&s, &len, &how, ref->text[0]);
    return quantity_parse(&q, s, len) || (marked && strcmp(how, "answer")) ? CATEGORY_MATH
                                                                           : CATEGORY_CLOSED_QA;
}

static int read_item(struct hybrid_item *it, struct hybrid_set *set, const struct prompt *p,
                     const char *where, const char **why, struct err *err)
{
    *it = (struct hybrid_item){
        .id = p->id, .prompt_json = json_object_get(p->row, "prompt"), .vote_share = NAN};
    it->prompt = text_transcript(&set->arena, &p->text, true);
    if (!it->prompt)
        return no_memory(err);
    *why = read_reference(it, set, p->row);
    return *why ? 0 : read_answers(it, set, p->row, where, err);
}

int hybrid_read(struct hybrid_set *out, struct rows *r, struct err *err)
{
    *out = (struct hybrid_set){0};
    adopt_foreign(r);
    for (int i = r->n - 1; i >= 0; i--) {
        const char *why = wrong_with(r->row[i]);
        if (why)
            rows_reject(r, i, "%s", why);
    }
    struct prompt *prompt;
    int n, rc = data_prompts(&prompt, &n, &out->arena, r, err);
    if (rc == 0 && !(out->item = mem_alloc((size_t)n, sizeof *out->item)))
        rc = no_memory(err);
    for (int i = n - 1; i >= 0 && rc == 0; i--) { // backwards: rejecting moves the rows behind
        struct hybrid_item it;
        const char *why = NULL;
        struct place where = rows_place(r, prompt[i].line);
        rc = read_item(&it, out, &prompt[i], where.s, &why, err);
        if (rc == ERR_MEMORY)
            break;
        if (rc) {
            why = err ? err->msg : "'completions' holds something that is no text";
            rc = 0;
        }
        if (why)
            rows_reject(r, i, "%s", why);
        else
            out->item[n - 1 - out->n++] = it;
    }
    if (rc == 0 && out->n == 0)
        rc = err_set(
            err, ERR_VALUE,
            "%s: no row with a prompt and answers could be used (%d rejected, the first: %s)",
            r->path, r->n_rejected, r->n_rejected ? r->rejected[0].why : "none");
    if (rc == 0) {
        memmove(out->item, out->item + n - out->n, (size_t)out->n * sizeof *out->item);
        for (int i = 0; i < out->n; i++) // the items moved, and their references with them
            out->item[i].ref.text = out->item[i].reference;
    }
    if (rc)
        hybrid_release(out);
    return rc;
}

void hybrid_release(struct hybrid_set *s)
{
    for (int i = 0; s->item && i < s->n; i++) {
        free(s->item[i].duel);
        free(s->item[i].plain);
    }
    free(s->item);
    arena_release(&s->arena);
    json_decref(s->owned);
    *s = (struct hybrid_set){0};
}
