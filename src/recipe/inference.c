/* recipe/inference.c - small things that generate, logprobs and score share. */
#include <libgen.h>

#include "recipe/inference.h"

int option_positive(const json_t *opt, const char *name, int *out, struct err *err)
{
    int64_t v = opt_int(opt, name);
    if (v < 1 || v > 1 << 24)
        return err_set(err, ERR_USAGE, "--%s is %lld, expected 1 or more", name, (long long)v);
    *out = (int)v;
    return 0;
}

int write_rejected_beside(const struct rows *r, const char *output, struct err *err)
{
    char *copy = r->n_rejected ? str_printf("%s", output) : NULL;
    if (r->n_rejected && !copy)
        return err_set(err, ERR_MEMORY, "%s: no memory", output);
    int rc = copy ? rows_write_rejected(r, dirname(copy), err) : 0;
    free(copy);
    return rc;
}
