/* provider/price.c - what tokens cost, from a table people can edit. */
#include "feedback/provider/endpoint.h"

#include <fnmatch.h>

static int entry_read(struct price *out, const json_t *e, const char *where, struct err *err)
{
    int rc = json_get_double(e, "input", &out->input, where, err);
    if (rc == 0)
        rc = json_get_double(e, "output", &out->output, where, err);
    if (rc == 0)
        rc = json_double_or(e, "cached_input", out->input, &out->cached, where, err);
    if (rc == 0 && !(out->input >= 0 && out->output >= 0 && out->cached >= 0))
        rc = err_set(err, ERR_VALUE,
                     "%s: prices are amounts of money per million tokens, 0 or more", where);
    return rc;
}

int price_read(struct price *out, const char *path, const char *model, struct err *err)
{
    json_t *all = NULL, *e;
    size_t i;
    int rc = yaml_read_file(&all, path, err);
    if (rc)
        return rc;
    const json_t *list = json_is_object(all) ? json_object_get(all, "prices") : all;
    bool found = false;
    if (!json_is_array(list))
        rc = err_set(err, ERR_FORMAT,
                     "%s: expected a list of {model, input, cached_input, output}", path);
    json_array_foreach((json_t *)list, i, e)
    {
        const char *pattern;
        char where[512];
        snprintf(where, sizeof where, "%.400s, entry %zu", path, i + 1);
        if (rc == 0 && !found)
            rc = json_get_str(e, "model", &pattern, where, err);
        if (rc == 0 && !found && fnmatch(pattern, model, 0) == 0) {
            found = true;
            rc = entry_read(out, e, where, err);
        }
    }
    if (rc == 0 && !found)
        rc = err_set(err, ERR_MISSING, "%s has no price for the model %s", path, model);
    json_decref(all);
    return rc;
}

double price_of(const struct price *p, const struct reply *r)
{
    int cached = r->tokens_cached < r->tokens_in ? r->tokens_cached : r->tokens_in;
    return 1e-6 * (p->input * (r->tokens_in - cached) + p->cached * cached +
                   p->output * r->tokens_out);
}
