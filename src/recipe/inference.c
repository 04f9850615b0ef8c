/* recipe/inference.c - small things that generate, label, logprobs and score share. */
#include "recipe/inference.h"

int option_positive(const json_t *opt, const char *name, int *out, struct err *err)
{
    int64_t v = opt_int(opt, name);
    if (v < 1 || v > 1 << 24)
        return err_set(err, ERR_USAGE, "--%s is %lld, expected 1 or more", name, (long long)v);
    *out = (int)v;
    return 0;
}

static int read_stops(struct sampling *s, const char *stop[MAX_STOPS], const json_t *list,
                      struct err *err)
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

int read_sampling(struct sampling *s, const char *stop[MAX_STOPS], const json_t *opt,
                  struct err *err)
{
    sampling_defaults(s);
    s->temperature = (float)opt_float(opt, "temperature");
    s->seed = (uint64_t)opt_int(opt, "seed");
    int64_t k = json_object_get(opt, "top_k") ? opt_int(opt, "top_k") : 0;
    if (json_object_get(opt, "top_p"))
        s->top_p = (float)opt_float(opt, "top_p");
    if (!(s->temperature >= 0) || s->temperature > 100)
        return err_set(err, ERR_USAGE, "--temperature is %g, expected 0 to 100",
                       opt_float(opt, "temperature"));
    if (k < 0 || k > INT32_MAX)
        return err_set(err, ERR_USAGE, "--top_k is %lld, expected 0 (off) or more", (long long)k);
    if (!(s->top_p > 0))
        return err_set(err, ERR_USAGE, "--top_p is %g, expected more than 0", (double)s->top_p);
    s->top_k = (int)k;
    int rc = option_positive(opt, "max_new_tokens", &s->max_new_tokens, err);
    return rc ? rc : read_stops(s, stop, json_object_get(opt, "stop"), err);
}

/* ---- --memory --------------------------------------------------------------------------- */

enum { FULL_SPEED = 256 };      // products of so many rows run at nearly full speed

static int half(int n, int least)
{
    return n / 2 > least ? n / 2 : least;
}

/* The next smaller sizes, those that cost least speed first; false: there are none. */
static bool shrink(struct fit *f, bool *bounded)
{
    int enough = f->least_rows > FULL_SPEED ? f->least_rows : FULL_SPEED;
    if (f->rows > enough)
        f->rows = half(f->rows, enough);
    else if (f->cache > f->least_cache) {
        f->cache = half(f->cache, f->least_cache);
        *bounded = true;
    } else if (f->rows > f->least_rows)
        f->rows = half(f->rows, f->least_rows);
    else
        return false;
    return true;
}

static double weights_mb(const struct device *dev)
{
    struct device_use use;
    device_most_used(dev, &use);
    for (int i = 0; i < use.n; i++)
        if (!strcmp(use.part[i].purpose, "weights"))
            return (double)use.part[i].bytes / 1e6;
    return 0;
}

int memory_fit(struct fit *f, struct device *dev, const json_t *opt, struct err *err)
{
    double limit, need = 0;
    bool bounded = false;
    int rc = memory_option(opt, &limit, err);
    while (rc == 0 && limit > 0) {
        device_mark(dev);
        device_trial(dev, true);
        rc = f->try(f->arg, f->rows, bounded ? f->cache : 0, err);
        device_trial(dev, false);
        need = device_most_since(dev) + (double)device_base(dev);
        if (rc || need <= limit)
            break;
        if (!shrink(f, &bounded))
            return err_set(err, ERR_MEMORY, "--memory: %s takes %.0f MB with %s%d tokens at a time (%.0f MB are weights), %.0f MB are allowed", f->what,
                           need / 1e6, f->cache ? "the smallest cache and " : "", f->rows, weights_mb(dev), limit / 1e6);
    }
    f->cache = bounded ? f->cache : 0;
    return rc ? rc : f->try(f->arg, f->rows, f->cache, err);
}
