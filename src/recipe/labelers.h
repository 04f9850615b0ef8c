/* recipe/labelers.h - a name becomes somebody to ask: a model on this disk or the Hub, or an
 * endpoint. */
#ifndef RECIPE_LABELERS_H
#define RECIPE_LABELERS_H

#include "feedback/feedback.h"
#include "recipe/recipe.h"

/* What belongs to endpoints; the last two are kept for any labeler. */
#define ENDPOINT_OPTIONS                                                                                               \
    { "api_key_file", OPT_STRING, NULL, "of an endpoint: file whose first line is the key (else RLAIF_API_KEY)", NULL, false }, \
    { "concurrency", OPT_INT, "0", "of an endpoint: calls in flight; 0: found by trying", NULL, false },              \
    { "request_timeout", OPT_FLOAT, "600", "of an endpoint: seconds for one reply", NULL, false },                    \
    { "max_retries", OPT_INT, "8", "of an endpoint: how often a question is asked again", NULL, false },              \
    { "price_table", OPT_INPUT, NULL, "of an endpoint: YAML, money per million tokens (docs/labelers.md)", NULL, false }, \
    { "batch_file", OPT_STRING, NULL, "of an endpoint: write the questions there, for a hosted batch, and ask nothing", NULL, false }, \
    { "collect", OPT_STRING, NULL, "of an endpoint: the batch's replies, one file or several with commas", NULL, false }, \
    { "max_cost", OPT_FLOAT, "0", "stop once so much money is spent; 0: no limit", NULL, false },                     \
    { "max_tokens_spent", OPT_INT, "0", "stop once so many tokens are spent, in and out; 0: no limit", NULL, false }

/* name: https://HOST/v1#MODEL, or a model.  *model is that of a local labeler, NULL for others;
 * the caller closes both, the provider first. */
int labeler_open(struct provider **out, struct model **model, struct run *run, const json_t *opt,
                 const char *name, struct err *err) MUST_CHECK;
/* A local labeler, with the template that --chat_template chooses (where the stage has such an
 * option). */
int labeler_model(struct model **out, struct device *dev, const json_t *opt, const char *name,
                  struct err *err) MUST_CHECK;
/* The limits that options set. */
struct ask_budget labeler_budget(const json_t *opt);

#endif
