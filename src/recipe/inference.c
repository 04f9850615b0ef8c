/* recipe/inference.c - small things that generate, logprobs and score share. */
#include "recipe/inference.h"

int option_positive(const json_t *opt, const char *name, int *out, struct err *err)
{
    int64_t v = opt_int(opt, name);
    if (v < 1 || v > 1 << 24)
        return err_set(err, ERR_USAGE, "--%s is %lld, expected 1 or more", name, (long long)v);
    *out = (int)v;
    return 0;
}

static int read_stops(struct sampling *s, const char *stop[MAX_STOPS], const json_t *list, struct err *err)
{
    size_t n = json_array_size(list);
    if (n > MAX_STOPS)
        return err_set(err, ERR_USAGE, "--stop has %zu strings, expected %d at most", n, MAX_STOPS);
    for (size_t i = 0; i < n; i++)
        stop[i] = json_string_value(json_array_get(list, i));
    s->stop = stop;
    s->n_stop = (int)n;
    return 0;
}

int read_sampling(struct sampling *s, const char *stop[MAX_STOPS], const json_t *opt, struct err *err)
{
    sampling_defaults(s);
    s->temperature = (float)opt_float(opt, "temperature");
    s->seed = (uint64_t)opt_int(opt, "seed");
    int64_t k = json_object_get(opt, "top_k") ? opt_int(opt, "top_k") : 0;
    if (json_object_get(opt, "top_p"))
        s->top_p = (float)opt_float(opt, "top_p");
    if (!(s->temperature >= 0) || s->temperature > 100)
        return err_set(err, ERR_USAGE, "--temperature is %g, expected 0 to 100", opt_float(opt, "temperature"));
    if (k < 0 || k > INT32_MAX)
        return err_set(err, ERR_USAGE, "--top_k is %lld, expected 0 (off) or more", (long long)k);
    if (!(s->top_p > 0))
        return err_set(err, ERR_USAGE, "--top_p is %g, expected more than 0", (double)s->top_p);
    s->top_k = (int)k;
    int rc = option_positive(opt, "max_new_tokens", &s->max_new_tokens, err);
    return rc ? rc : read_stops(s, stop, json_object_get(opt, "stop"), err);
}
