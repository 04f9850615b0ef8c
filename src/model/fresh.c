/* model/fresh.c - a new model where only its description exists. */
#include "model/format/store.h"
#include "model/internal.h"

int model_open_fresh(struct model **out, struct device *dev, const char *dir, const struct model_options *opt,
                     struct err *err)
{
    struct model_config config = {0};
    bool seq_cls = false;
    int rc = dir_exists(dir) ? 0 : err_set(err, ERR_MISSING, "%s: not a folder; a new model is described by one with "
                                           "config.json and a tokenizer", dir);
    if (rc == 0)
        rc = config_read(&config, &seq_cls, dir, err);
    return rc ? rc : model_create(out, dev, &config, dir, opt, err);
}
