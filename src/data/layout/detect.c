/* data/layout/detect.c - which layout a row has: by its columns, never by a file's name. */
#include "data/layout/layout.h"

static bool has(const json_t *row, const char *key)
{
    const json_t *v = json_object_get(row, key);
    return v && !json_is_null(v);
}

static bool has_all(const json_t *row, const char *a, const char *b, const char *c)
{
    return has(row, a) && has(row, b) && has(row, c);
}

const char *layout_name(enum layout layout)
{
    static const char *const name[] = {
        "unknown", "tldr", "alpaca", "helpsteer", "helpsteer_preference", "ultrafeedback", "hh", "trl", "labels", "gsm8k",
    };
    return name[layout];
}

static bool is_transcript(const json_t *v)
{
    return json_is_string(v) && str_starts(json_string_value(v), "\n\nHuman:");
}

static enum layout of_chosen(const json_t *row)
{
    if (has(row, "score_chosen") && has(row, "score_rejected"))
        return LAYOUT_ULTRAFEEDBACK;
    if (!has(row, "prompt") && is_transcript(json_object_get(row, "chosen")))
        return LAYOUT_HH;
    return LAYOUT_TRL;
}

enum layout data_layout(const json_t *row)
{
    if (has(row, "summaries") && has(row, "choice"))
        return LAYOUT_TLDR;
    // A judge's reply that was not parsed is a null preference: a row of this layout, to be rejected with that reason.
    if (has_all(row, "instruction", "output_1", "output_2") && json_object_get(row, "preference"))
        return LAYOUT_ALPACA;
    if (has_all(row, "response_1", "response_2", "preference_strength") ||
        has_all(row, "response1", "response2", "overall_preference"))
        return LAYOUT_HELPSTEER_PREFERENCE;
    if (has_all(row, "prompt", "response", "helpfulness"))
        return LAYOUT_HELPSTEER;
    if (has_all(row, "first", "second", "label_first"))
        return LAYOUT_LABELS;
    if (has(row, "chosen") && has(row, "rejected"))
        return of_chosen(row);
    const char *answer = json_string_value(json_object_get(row, "answer"));
    if (has(row, "question") && answer && strstr(answer, "#### "))
        return LAYOUT_GSM8K;
    return LAYOUT_UNKNOWN;
}
