/* recipe/labelers.c - opens whoever is named to label, judge or generate. */
#include "recipe/labelers.h"

#include "recipe/training.h"

static int open_endpoint(struct provider **out, const json_t *opt, const char *name,
                         struct err *err)
{
    char *key = NULL;
    int64_t calls = opt_int(opt, "concurrency"), retries = opt_int(opt, "max_retries");
    if (calls < 0 || calls > 4096)
        return err_set(err, ERR_USAGE, "concurrency is %lld; expected 0 to 4096",
                       (long long)calls);
    if (retries < 0 || retries > 1000)
        return err_set(err, ERR_USAGE, "max_retries is %lld; expected 0 to 1000",
                       (long long)retries);
    if (opt_given(opt, "batch_file") && opt_given(opt, "collect"))
        return err_set(err, ERR_USAGE,
                       "batch_file writes questions, collect reads replies: one at a time");
    if (opt_float(opt, "max_cost") > 0 && !opt_given(opt, "price_table"))
        return err_set(err, ERR_USAGE,
                       "max_cost needs prices: --price_table FILE (docs/labelers.md)");
    int rc = endpoint_key(&key, name, opt_str(opt, "api_key_file"), err);
    struct endpoint_options o = {.url = name,
                                 .key = key,
                                 .concurrency = (int)calls,
                                 .retries = retries ? (int)retries : -1,
                                 .timeout = opt_float(opt, "request_timeout"),
                                 .price_table = opt_str(opt, "price_table"),
                                 .batch_file = opt_str(opt, "batch_file"),
                                 .collect = opt_str(opt, "collect")};
    if (rc == 0)
        rc = provider_endpoint_new(out, &o, err);
    if (key)
        explicit_bzero(key, strlen(key));
    free(key);
    if (rc == 0)
        log_info("labeler: %s", provider_endpoint_facts(*out));
    return rc;
}

int labeler_model(struct model **out, struct device *dev, const json_t *opt, const char *name,
                  struct err *err)
{
    int rc = stage_model(out, dev, opt, name, false, false, err);
    const char *choice =
        json_object_get(opt, "chat_template") ? opt_str(opt, "chat_template") : NULL;
    return rc || !choice ? rc : model_use_template(*out, choice, err);
}

int labeler_open(struct provider **out, struct model **model, struct run *run,
                 const json_t *opt, const char *name, struct err *err)
{
    struct device *dev;
    *model = NULL;
    if (labeler_is_endpoint(name))
        return open_endpoint(out, opt, name, err);
    int rc = run_device(run, &dev, err);
    if (rc == 0)
        rc = labeler_model(model, dev, opt, name, err);
    if (rc == 0)
        rc = provider_local_new(out, *model, name, (int)opt_int(opt, "batch_tokens"), err);
    if (rc == 0 && json_object_get(opt, "cache_tokens"))
        provider_local_cache(*out, (int)opt_int(opt, "cache_tokens"));
    return rc;
}

struct ask_budget labeler_budget(const json_t *opt)
{
    return (struct ask_budget){opt_float(opt, "max_cost"), opt_int(opt, "max_tokens_spent")};
}
