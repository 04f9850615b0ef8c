/* data/layout/write.c - comparisons as rows of TRL, AlpacaEval and RewardBench (CONVENTIONS 1, 6,
 * 7). */
#include "data/layout/layout.h"

static void set(json_t *o, const char *key, const json_t *v)
{
    if (v)
        json_object_set(o, key, (json_t *)v);
}

static json_t *held(const json_t *v)
{
    return json_incref((json_t *)v);
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
    return json_is_string(v)         ? v
           : json_array_size(v) == 1 ? json_object_get(json_array_get(v, 0), "content")
                                     : NULL;
}

static const json_t *column(const struct comparison *c, const char *key)
{
    const json_t *v = json_object_get(c->row, key);
    return v ? v : json_object_get(c->extra, key);
}

json_t *annotation_row(const struct annotation *a)
{
    return json_pack("{so? so? so? so? so? so? so? so? so? so? so?}", "instruction", a->instruction,
                     "output_1", a->output_1, "generator_1", a->generator_1, "dataset", a->dataset,
                     "output_2", a->output_2, "generator_2", a->generator_2, "annotator",
                     a->annotator, "preference", a->preference, "price_per_example", a->price,
                     "time_per_example", a->seconds, "raw_completion", a->raw);
}

json_t *comparison_alpaca(const struct comparison *c, const char *baseline, const char **why)
{
    const char *second = json_string_value(c->second_model);
    bool swap = baseline && second && !strcmp(second, baseline);
    const json_t *prompt = single(c->prompt), *one = single(c->first), *two = single(c->second);
    *why = !prompt || !one || !two ? "AlpacaEval has single instructions and answers; this is a longer conversation" : NULL;
    if (*why)
        return NULL;
    const json_t *by = column(c, "annotator");
    struct annotation a = {
        .instruction = held(prompt),
        .output_1 = held(swap ? two : one),
        .generator_1 = held(swap ? c->second_model : c->first_model),
        .dataset = held(column(c, "dataset")),
        .output_2 = held(swap ? one : two),
        .generator_2 = held(swap ? c->first_model : c->second_model),
        .annotator = held(by ? by : column(c, "labeler")),
        .preference = json_real(swap ? 1 + c->p_first : 2 - c->p_first),
        .price = held(column(c, "price_per_example")),
        .seconds = held(column(c, "time_per_example")),
        .raw = held(column(c, "raw_completion")),
    };
    return annotation_row(&a);
}

json_t *comparison_rewardbench(const struct comparison *c, const char *subset)
{
    bool first = first_is_chosen(c);
    const json_t *given = column(c, "subset");
    return json_pack("{so* so* so? so* so? so so*}", "prompt", held(c->prompt), "chosen",
                     held(first ? c->first : c->second), "chosen_model",
                     held(first ? c->first_model : c->second_model), "rejected",
                     held(first ? c->second : c->first), "rejected_model",
                     held(first ? c->second_model : c->first_model), "subset",
                     given ? held(given) : json_string(subset), "id", held(c->id));
}
