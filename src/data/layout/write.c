/* data/layout/write.c - comparisons as rows of TRL, AlpacaEval and RewardBench (CONVENTIONS 1, 6, 7). */
#include "data/layout/layout.h"

static void set(json_t *o, const char *key, const json_t *v)
{
    if (v)
        json_object_set(o, key, (json_t *)v);
}

static void set_or_null(json_t *o, const char *key, const json_t *v)
{
    json_object_set_new(o, key, v ? json_incref((json_t *)v) : json_null());
}

/* An exact tie keeps the order. */
static bool first_is_chosen(const struct comparison *c)
{
    return c->p_first >= 0.5;
}

json_t *comparison_trl(const struct comparison *c)
{
    bool first = first_is_chosen(c);
    json_t *o = json_object();
    if (!o)
        return NULL;
    set(o, "id", c->id);
    set(o, "prompt", c->prompt);
    set(o, "chosen", first ? c->first : c->second);
    set(o, "rejected", first ? c->second : c->first);
    json_object_set_new(o, "label_prob", json_real(first ? c->p_first : 1 - c->p_first));
    set(o, "chosen_model", first ? c->first_model : c->second_model);
    set(o, "rejected_model", first ? c->second_model : c->first_model);
    json_object_set_new(o, "layout", json_string(layout_name(c->layout)));
    if (c->extra)
        json_object_update_missing(o, (json_t *)c->extra);
    return o;
}

/* A single text: a string, or one message. */
static const json_t *single(const json_t *v)
{
    return json_is_string(v) ? v : json_array_size(v) == 1 ? json_object_get(json_array_get(v, 0), "content") : NULL;
}

static const json_t *column(const struct comparison *c, const char *key)
{
    const json_t *v = json_object_get(c->row, key);
    return v ? v : json_object_get(c->extra, key);
}

json_t *comparison_alpaca(const struct comparison *c, const char *baseline, const char **why)
{
    const char *second = json_string_value(c->second_model);
    bool swap = baseline && second && !strcmp(second, baseline);
    const json_t *prompt = single(c->prompt), *one = single(c->first), *two = single(c->second);
    *why = !prompt || !one || !two ? "AlpacaEval has single instructions and answers; this is a longer conversation" : NULL;
    json_t *o = *why ? NULL : json_object();
    if (!o)
        return NULL;
    set(o, "instruction", prompt);
    set(o, "output_1", swap ? two : one);
    set_or_null(o, "generator_1", swap ? c->second_model : c->first_model);
    set_or_null(o, "dataset", column(c, "dataset"));
    set(o, "output_2", swap ? one : two);
    set_or_null(o, "generator_2", swap ? c->first_model : c->second_model);
    const json_t *by = column(c, "annotator");
    set_or_null(o, "annotator", by ? by : column(c, "labeler"));
    json_object_set_new(o, "preference", json_real(swap ? 1 + c->p_first : 2 - c->p_first));
    set_or_null(o, "price_per_example", column(c, "price_per_example"));
    set_or_null(o, "time_per_example", column(c, "time_per_example"));
    set_or_null(o, "raw_completion", column(c, "raw_completion"));
    return o;
}

json_t *comparison_rewardbench(const struct comparison *c, const char *subset)
{
    bool first = first_is_chosen(c);
    const json_t *given = column(c, "subset");
    json_t *o = json_object();
    if (!o)
        return NULL;
    set(o, "prompt", c->prompt);
    set(o, "chosen", first ? c->first : c->second);
    set_or_null(o, "chosen_model", first ? c->first_model : c->second_model);
    set(o, "rejected", first ? c->second : c->first);
    set_or_null(o, "rejected_model", first ? c->second_model : c->first_model);
    json_object_set_new(o, "subset", given ? json_incref((json_t *)given) : json_string(subset));
    set(o, "id", c->id);
    return o;
}
