/* feedback/pairs.c - candidate pairs from rows, labelled rows out of them.
 *
 *     {"prompt","completions":[a,b,c,d]}   -> (a,b), (c,d); or all six
 *     {"prompt"?,"chosen","rejected"}      -> one pair, shown in an order that its texts' hash decides
 *
 * Conversations are flattened to transcripts for the labeler; what is written out is what was read. */
#include "feedback/feedback.h"

#include <math.h>

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "no memory for the pairs");
}

/* ---- texts ------------------------------------------------------------------------------ */

char *text_transcript(struct arena *a, const struct text *t, bool prompt)
{
    if (t->n == 0)
        return arena_strdup(a, t->text ? t->text : "");
    struct buf b = {0};
    for (int i = 0; i < t->n; i++) {
        bool human = !strcmp(t->messages[i].role, "user"),
             assistant = !strcmp(t->messages[i].role, "assistant");
        if (prompt || t->n > 1)
            buf_addf(&b, "%s%s%s ", b.len ? "\n\n" : "",
                     human       ? "Human"
                     : assistant ? "Assistant"
                                 : t->messages[i].role,
                     ":");
        buf_adds(&b, t->messages[i].content);
    }
    if (prompt)
        buf_adds(&b, "\n\nAssistant:");
    char *s = b.failed ? NULL : arena_strdup(a, b.s ? b.s : "");
    buf_release(&b);
    return s;
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

/* ---- collecting --------------------------------------------------------------------------- */

static struct candidates *add(struct candidate_list *c, struct err *err)
{
    struct candidates *more = mem_grow(c->item, &c->cap, (size_t)c->n + 1, sizeof *more);
    if (!more) {
        no_memory(err);
        return NULL;
    }
    c->item = more;
    return &c->item[c->n];
}

/* Keeps JSON made here alive as long as the list. */
static const json_t *own(struct candidate_list *c, json_t *v)
{
    if (!c->owned)
        c->owned = json_array();
    return v && c->owned && json_array_append_new(c->owned, v) == 0 ? v : NULL;
}

static int add_pair(struct candidate_list *c, const char *id, const json_t *prompt_json,
                    const char *prompt, const struct text text[2], const json_t *const json[2],
                    int human, const json_t *row, struct err *err)
{
    struct candidates *it = add(c, err);
    if (!it)
        return ERR_MEMORY;
    char *one = text_transcript(&c->arena, &text[0], false),
         *two = text_transcript(&c->arena, &text[1], false);
    char *name = arena_strdup(&c->arena, id);
    if (!one || !two || !name || !prompt || !prompt_json || !json[0] || !json[1])
        return no_memory(err);
    if (!strcmp(one, two)) {
        c->identical++;
        return 0;
    }
    const char *reference = json_string_value(json_object_get(row, "reference"));
    *it = (struct candidates){name, prompt_json, json[0],   json[1], prompt, one,
                              two,  human,       reference, NULL,    NULL};
    c->n++;
    return 0;
}

/* A row with K completions; false: the row was rejected. */
static const char *completions_wrong(const json_t *list)
{
    if (!json_is_array(list))
        return "'completions' is missing or no list";
    if (json_array_size(list) < 2)
        return "'completions' has fewer than two texts: there is nothing to compare";
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_is_string(json_array_get(list, i)))
            return "'completions' holds something that is not a string";
    return NULL;
}

/* Where the texts of a row came from (`rlaif pairs`): one source for each. */
static void came_from(struct candidates *it, const json_t *sources, int i, int j)
{
    it->first_from = json_array_get(sources, (size_t)i);
    it->second_from = json_array_get(sources, (size_t)j);
}

static int add_completions(struct candidate_list *c, const struct prompt *p, bool all_pairs,
                           struct err *err)
{
    const json_t *list = json_object_get(p->row, "completions"),
                 *sources = json_object_get(p->row, "sources");
    char *prompt = text_transcript(&c->arena, &p->text, true);
    int n = (int)json_array_size(list), rc = 0;
    for (int i = 0; i + 1 < n && rc == 0; i += all_pairs ? 1 : 2)
        for (int j = i + 1; j < n && rc == 0; j = all_pairs ? j + 1 : n) {
            const json_t *json[2] = {json_array_get(list, (size_t)i),
                                     json_array_get(list, (size_t)j)};
            struct text text[2] = {{.text = json_string_value(json[0])},
                                   {.text = json_string_value(json[1])}};
            int before = c->n;
            rc = add_pair(c, p->id, json_object_get(p->row, "prompt"), prompt, text, json, 0,
                          p->row, err);
            if (c->n > before)
                came_from(&c->item[before], sources, i, j);
        }
    return rc;
}

static int read_completions(struct candidate_list *out, struct rows *rows, bool all_pairs,
                            struct err *err)
{
    for (int i = rows->n - 1; i >= 0; i--) {
        const char *why = completions_wrong(json_object_get(rows->row[i], "completions"));
        if (why)
            rows_reject(rows, i, "%s", why);
    }
    struct prompt *prompt;
    int n;
    int rc = data_prompts(&prompt, &n, &out->arena, rows, err);
    for (int i = 0; i < n && rc == 0; i++)
        rc = add_completions(out, &prompt[i], all_pairs, err);
    return rc;
}

/* ---- pairs that people compared ------------------------------------------------------------- */

/* Whether chosen is shown first: by the texts alone, so that an even label says nothing about
 * people. */
static bool chosen_first(const struct pair *p)
{
    struct buf b = {0};
    const struct text *t[] = {&p->chosen, &p->rejected};
    struct hash128 h[2];
    for (int i = 0; i < 2; i++) {
        json_t *v = text_json(t[i]);
        buf_clear(&b);
        if (v)
            json_add_text(&b, v, 0);
        h[i] = hash_bytes(b.s, b.len);
        json_decref(v);
    }
    buf_release(&b);
    return h[0].lo < h[1].lo;
}

static int read_pairs(struct candidate_list *out, struct rows *rows, struct err *err)
{
    struct pair *pair;
    int n, rc = data_pairs(&pair, &n, &out->arena, rows, err);
    for (int i = 0; i < n && rc == 0; i++) {
        const struct pair *p = &pair[i];
        bool first = chosen_first(p);
        struct text text[2] = {first ? p->chosen : p->rejected, first ? p->rejected : p->chosen};
        const json_t *json[2] = {own(out, text_json(&text[0])), own(out, text_json(&text[1]))};
        int before = out->n, human = p->label_prob == 0.5             ? 0
                                     : (p->label_prob > 0.5) == first ? 1
                                                                      : 2;
        rc = add_pair(out, p->id, own(out, text_json(&p->prompt)),
                      text_transcript(&out->arena, &p->prompt, true), text, json, human, p->row,
                      err);
        if (out->n > before)
            came_from(&out->item[before], json_object_get(p->row, "sources"), !first, first);
    }
    return rc;
}

int candidates_read(struct candidate_list *out, struct rows *rows, bool all_pairs, struct err *err)
{
    *out = (struct candidate_list){0};
    bool completions = false;
    for (int i = 0; i < rows->n && !completions; i++)
        completions = json_object_get(rows->row[i], "completions") != NULL;
    int rc = completions ? read_completions(out, rows, all_pairs, err) : read_pairs(out, rows, err);
    if (rc == 0 && out->n == 0)
        rc = err_set(err, ERR_VALUE,
                     "%s: no pair of different texts to label (%d pairs are identical)", rows->path,
                     out->identical);
    if (rc)
        candidates_release(out);
    return rc;
}

void candidates_release(struct candidate_list *c)
{
    if (!c)
        return;
    free(c->item);
    arena_release(&c->arena);
    json_decref(c->owned);
    *c = (struct candidate_list){0};
}

/* ---- rows out ---------------------------------------------------------------------------- */

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();    // JSON has no NaN
}

static json_t *copy(const json_t *v)
{
    return json_deep_copy(v);
}

static void provenance(json_t *o, const struct label *l, const struct labeler *by)
{
    json_object_set_new(o, "label_mass", number(l->mass));
    json_object_set_new(o, "same_slot", json_boolean(l->same_slot));
    json_object_set_new(o, "labeler", json_string(by->asker->provider->fingerprint));
    json_object_set_new(o, "protocol", json_string(by->protocol->hash));
}

static json_t *order_row(const struct answer *a)
{
    json_t *o = json_object();
    json_object_set_new(o, "logp_1", number(a->word[0].sum));
    json_object_set_new(o, "logp_2", number(a->word[1].sum));
    json_object_set_new(o, "bare_1", number(a->word[0].bare));
    json_object_set_new(o, "bare_2", number(a->word[1].bare));
    json_object_set_new(o, "mass", number(a->mass));
    json_object_set_new(o, "tokens", json_integer(a->tokens));
    return o;
}

static void add_source(json_t *o, const char *key, const json_t *from)
{
    if (from)
        json_object_set_new(o, key, copy(from));
}

json_t *label_row(const struct candidates *c, const struct label *l, const struct labeler *by)
{
    json_t *o = json_object();
    if (!o)
        return NULL;
    json_object_set_new(o, "id", json_string(c->id));
    json_object_set_new(o, "prompt", copy(c->prompt_json));
    json_object_set_new(o, "first", copy(c->first_json));
    json_object_set_new(o, "second", copy(c->second_json));
    add_source(o, "first_from", c->first_from);
    add_source(o, "second_from", c->second_from);
    json_object_set_new(o, "label_first", number(l->p));
    json_object_set_new(o, "label_order_a", number(l->order[0]));
    json_object_set_new(o, "label_order_b", number(l->order[1]));
    json_object_set_new(o, "slot_a", json_integer(l->slot[0]));
    json_object_set_new(o, "slot_b", json_integer(l->slot[1]));
    json_object_set_new(o, "state", json_string(label_state_name(l->state)));
    json_object_set_new(o, "human", c->human ? json_integer(c->human) : json_null());
    provenance(o, l, by);
    json_object_set_new(o, "order_a", isnan(l->order[0]) ? json_null() : order_row(&l->answer[0]));
    json_object_set_new(o, "order_b", isnan(l->order[1]) ? json_null() : order_row(&l->answer[1]));
    // No times here: rows are the same, byte for byte, whenever and wherever they were made.
    if (l->cost.replies)
        json_object_set_new(o, "cost",
                            json_pack("{s:i, s:i, s:i, s:f}", "replies", l->cost.replies,
                                      "tokens_in", l->cost.tokens_in, "tokens_out",
                                      l->cost.tokens_out, "price", l->cost.price));
    if (l->error)
        json_object_set_new(o, "error", json_string(l->error));
    if (l->principle)
        json_object_set_new(o, "principle", json_integer(l->principle));
    if (l->rationale[0])
        json_object_set_new(o, "rationale_a", json_string(l->rationale[0]));
    if (l->rationale[1])
        json_object_set_new(o, "rationale_b", json_string(l->rationale[1]));
    return o;
}

json_t *pair_row(const struct candidates *c, const struct label *l, const struct labeler *by)
{
    bool first = l->p >= 0.5;       // an exact tie keeps the order
    json_t *o = json_object();
    if (!o)
        return NULL;
    json_object_set_new(o, "id", json_string(c->id));
    json_object_set_new(o, "prompt", copy(c->prompt_json));
    json_object_set_new(o, "chosen", copy(first ? c->first_json : c->second_json));
    json_object_set_new(o, "rejected", copy(first ? c->second_json : c->first_json));
    json_object_set_new(o, "label_prob", number(first ? l->p : 1 - l->p));
    add_source(o, "chosen_from", first ? c->first_from : c->second_from);
    add_source(o, "rejected_from", first ? c->second_from : c->first_from);
    // Order A of this row is the one that showed `chosen` first.
    json_object_set_new(o, "label_order_a", number(first ? l->order[0] : 1 - l->order[1]));
    json_object_set_new(o, "label_order_b", number(first ? l->order[1] : 1 - l->order[0]));
    provenance(o, l, by);
    return o;
}

/* ---- and back ---------------------------------------------------------------------------- */

static int state_from_name(enum label_state *out, const char *name, const char *where,
                           struct err *err)
{
    for (int i = 0; i <= LABEL_FAILED; i++)
        if (!strcmp(name, label_state_name((enum label_state)i))) {
            *out = (enum label_state)i;
            return 0;
        }
    return err_set(err, ERR_FORMAT, "%s: 'state' is \"%s\", expected answered, unanswered, too_long, refused or failed", where,
                   name);
}

static int candidate_text(const char **out, const json_t **json, const json_t *row, const char *key,
                          const char *where, struct err *err)
{
    *json = json_object_get(row, key);
    if (json_is_array(*json)) {     // messages of one turn
        json_t *m = json_array_get(*json, 0);
        return json_get_str(m, "content", out, where, err);
    }
    return json_get_str(row, key, out, where, err);
}

/* chosen and rejected in an order that the hash of their texts decides, so that it tells nothing. */
static int label_from_pair(struct candidates *c, struct label *l, const json_t *row,
                           const char *where, struct err *err)
{
    const char *text[2];
    const json_t *json[2];
    double p;
    int rc = candidate_text(&c->prompt, &c->prompt_json, row, "prompt", where, err);
    if (rc == 0)
        rc = candidate_text(&text[0], &json[0], row, "chosen", where, err);
    if (rc == 0)
        rc = candidate_text(&text[1], &json[1], row, "rejected", where, err);
    if (rc == 0)
        rc = json_double_or(row, "label_prob", 1, &p, where, err);
    if (rc == 0)
        rc = json_str_or(row, "id", c->prompt, &c->id, where, err);
    if (rc == 0 && !(p >= 0 && p <= 1))
        rc = err_set(err, ERR_VALUE, "%s: 'label_prob' is %g, a probability lies in 0 to 1", where,
                     p);
    if (rc)
        return rc;
    struct hash128 h[2] = {hash_bytes(text[0], strlen(text[0])),
                           hash_bytes(text[1], strlen(text[1]))};
    int first = memcmp(&h[0], &h[1], sizeof h[0]) > 0;
    c->first = text[first], c->first_json = json[first];
    c->second = text[!first], c->second_json = json[!first];
    *l = (struct label){.p = first ? 1 - p : p, .order = {NAN, NAN}, .mass = 1};
    return 0;
}

int label_from_row(struct candidates *c, struct label *l, const json_t *row, const char *where,
                   struct err *err)
{
    const char *state = "answered";
    int64_t slot[2] = {0, 0}, human = 0;
    *c = (struct candidates){0};
    *l = (struct label){0};
    if (!json_object_get(row, "first") && json_object_get(row, "chosen"))
        return label_from_pair(c, l, row, where, err);
    int rc = json_get_str(row, "id", &c->id, where, err);
    if (rc == 0)
        rc = candidate_text(&c->prompt, &c->prompt_json, row, "prompt", where, err);
    if (rc == 0)
        rc = candidate_text(&c->first, &c->first_json, row, "first", where, err);
    if (rc == 0)
        rc = candidate_text(&c->second, &c->second_json, row, "second", where, err);
    if (rc == 0)
        rc = json_get_double(row, "label_first", &l->p, where, err);
    if (rc == 0)
        rc = json_double_or(row, "label_order_a", NAN, &l->order[0], where, err);
    if (rc == 0)
        rc = json_double_or(row, "label_order_b", NAN, &l->order[1], where, err);
    if (rc == 0)
        rc = json_i64_or(row, "slot_a", 0, &slot[0], where, err);
    if (rc == 0)
        rc = json_i64_or(row, "slot_b", 0, &slot[1], where, err);
    if (rc == 0)
        rc = json_i64_or(row, "human", 0, &human, where, err);
    if (rc == 0)
        rc = json_double_or(row, "label_mass", 1, &l->mass, where, err);
    if (rc == 0)
        rc = json_str_or(row, "state", "answered", &state, where, err);
    if (rc == 0)
        rc = state_from_name(&l->state, state, where, err);
    if (rc == 0 && !(l->p >= 0 && l->p <= 1))
        rc = err_set(err, ERR_VALUE, "%s: 'label_first' is %g, a probability lies in 0 to 1", where,
                     l->p);
    if (rc == 0 && (human < 0 || human > 2))
        rc = err_set(err, ERR_VALUE, "%s: 'human' is %lld, expected 1, 2 or null", where,
                     (long long)human);
    for (int i = 0; i < 2; i++)
        l->slot[i] = slot[i] == 1 || slot[i] == 2 ? (int)slot[i] : 0;
    l->same_slot = l->slot[0] && l->slot[0] == l->slot[1];
    c->human = (int)human;
    return rc;
}
