/* recipe/adapting.c - from options and folders to models with adapters. */
#include "recipe/adapting.h"

#include "net/net.h"

static bool option_is(const json_t *opt, const char *name, const char *path)
{
    const char *v = json_string_value(json_object_get(opt, name));
    return v && !strcmp(v, path);
}

/* The model that --adapter and --use_peft speak of. */
static bool is_own(const json_t *opt, const char *path)
{
    return option_is(opt, "model_name_or_path", path) || option_is(opt, "labeler", path);
}

/* A path as it is, or a name on the Hub as its path. */
static int find_base(char **out, const char *name, const char *dir, struct err *err)
{
    struct hub_found f = {0};
    int rc = 0;
    if (file_exists(name) || dir_exists(name)) {
        *out = strdup(name);
        return *out ? 0 : err_set(err, ERR_MEMORY, "opening %s", dir);
    }
    if (hub_is_id(name))
        rc = hub_model(&f, name, err);
    else
        rc = err_set(err, ERR_MISSING, "no such file or folder here");
    if (rc == 0 && !(*out = strdup(f.path)))
        rc = err_set(err, ERR_MEMORY, "opening %s", dir);
    hub_found_release(&f);
    return rc ? err_prefix(err,
                           "%s/adapter_config.json: base_model_name_or_path is '%s' (another "
                           "place can be named with -m, and this "
                           "folder with --adapter)",
                           dir, name)
              : 0;
}

int start_read(struct start *s, const json_t *opt, const char *path, bool trainable,
               struct err *err)
{
    const char *adapter =
        is_own(opt, path) ? json_string_value(json_object_get(opt, "adapter")) : NULL;
    bool wanted =
        is_own(opt, path) && trainable && json_is_true(json_object_get(opt, "use_peft"));
    *s = (struct start){0};
    if (!adapter && !model_is_adapter(path)) {
        s->fresh = wanted;
        s->base = strdup(path);
        return s->base ? 0 : err_set(err, ERR_MEMORY, "opening %s", path);
    }
    if (adapter && model_is_adapter(path))
        return err_set(err, ERR_USAGE,
                       "--adapter %s: %s is an adapter itself; one at a time is used", adapter,
                       path);
    if (adapter && !model_is_adapter(adapter))
        return err_set(err, ERR_MISSING, "--adapter: %s is no folder with adapter_config.json",
                       adapter);
    char *name = NULL;
    int rc = 0;
    s->adapter = strdup(adapter ? adapter : path);
    if (adapter)
        s->base = strdup(path);
    else
        rc = model_adapter_base(&name, path, err);
    if (rc == 0 && name)
        rc = find_base(&s->base, name, path, err);
    if (rc == 0 && (!s->adapter || !s->base))
        rc = err_set(err, ERR_MEMORY, "opening %s", path);
    if (rc == 0 && wanted)
        log_info(
            "%s is an adapter already: it is trained on, with its own rank, scale and modules",
            s->adapter);
    free(name);
    if (rc)
        start_release(s);
    return rc;
}

void start_release(struct start *s)
{
    free(s->base);
    free(s->adapter);
    *s = (struct start){0};
}

/* ORG/NAME of a path into the Hub's cache (models--ORG--NAME/snapshots/..), else the path. */
static char *base_name(const char *path)
{
    const char *at = strstr(path, "models--"), *end = at ? strstr(at, "/snapshots/") : NULL;
    if (!end)
        return strdup(path);
    char *name = str_printf("%.*s", (int)(end - at - 8), at + 8),
         *dashes = name ? strstr(name, "--") : NULL;
    if (dashes) {
        *dashes = '/';
        memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
    }
    return name;
}

/* without: a name that is left out; NULL: none. */
static int names_of(const char ***out, int *n, const json_t *list, const char *without,
                    struct err *err)
{
    size_t i;
    json_t *v;
    *n = 0;
    *out = mem_alloc(json_array_size(list) + 1, sizeof **out);
    if (!*out)
        return err_set(err, ERR_MEMORY, "names of modules");
    json_array_foreach((json_t *)list, i,
                       v) if (!without || strcmp(without, json_string_value(v)) !=
                                              0)(*out)[(*n)++] = json_string_value(v);
    return 0;
}

static int new_adapter(struct model **out, struct model *base, const struct start *s,
                       const json_t *opt, const struct model_options *mo, struct err *err)
{
    struct adapter_options o;
    const char **target = NULL, **save = NULL;
    char *name = base_name(s->base);
    if (opt_float(opt, "lora_dropout") != 0) {
        free(name);
        return err_set(err, ERR_USAGE,
                       "--lora_dropout is %g, expected 0: here the log-probs of sampling, "
                       "training and reference are the "
                       "same numbers, which dropout would not leave so",
                       opt_float(opt, "lora_dropout"));
    }
    adapter_defaults(&o);
    int64_t r = opt_int(opt, "lora_r");
    o.r = r < 0 || r > INT32_MAX ? 0 : (int)r;
    o.alpha = opt_float(opt, "lora_alpha");
    o.rslora = opt_bool(opt, "use_rslora");
    o.scalar_head = mo->scalar_head;
    o.seed = mo->seed;
    o.base_name = name;
    int rc = name ? 0 : err_set(err, ERR_MEMORY, "opening %s", s->base);
    const char *head =
        o.scalar_head ? "lm_head" : NULL; // which a value model beside the policy does not have
    if (rc == 0)
        rc = names_of(&target, &o.n_target, opt_list(opt, "lora_target_modules"), head, err);
    if (rc == 0)
        rc = names_of(&save, &o.n_save, opt_list(opt, "lora_modules_to_save"), head, err);
    o.target = target;
    o.save = save;
    if (rc == 0)
        rc = model_with_adapter(out, base, &o, err);
    free(target);
    free(save);
    free(name);
    return rc;
}

int start_over(struct model **out, struct model *base, const struct start *s, const json_t *opt,
               const struct model_options *mo, struct err *err)
{
    return s->fresh ? new_adapter(out, base, s, opt, mo, err)
                    : model_open_adapter(out, base, s->adapter, mo, err);
}
