/* recipe/inputs.c - names become files: the one place where a Hub id turns into a path on this
 * disk.
 *
 * What exists here wins.  Otherwise a value of the form ORG/NAME is looked up in the cache and on
 * the Hub.  The stage gets the path; the recipe's key gets the name and its commit, so that a run
 * is the same on a machine whose cache lies elsewhere, and stale when the name means another
 * commit. */
#include "net/net.h"
#include "recipe/internal.h"

/* What one option's value is looked up as. */
struct lookup {
    const struct option *option;
    const json_t *opt; // for dataset_config and dataset_split beside it
    const char *out;   // the recipe's output folder: what lies there is made by stages; NULL: none
    json_t *commits;
};

static bool inside(const char *path, const char *folder)
{
    size_t n = folder ? strlen(folder) : 0;
    return n && !strncmp(path, folder, n) && path[n] == '/';
}

static const char *beside(const struct lookup *l, const char *name)
{
    return json_string_value(json_object_get(l->opt, name));
}

static int look_up(const struct lookup *l, const char *name, struct hub_found *f, struct err *err)
{
    bool first = !strcmp(l->option->name, "dataset_name");
    int rc = l->option->type == OPT_DATA
                 ? hub_dataset(f, name, first ? beside(l, "dataset_config") : NULL,
                               first ? beside(l, "dataset_split") : NULL, err)
                 : hub_model(f, name, err);
    if (rc == ERR_MISSING && !strcmp(l->option->name, "path") &&
        hub_dataset(f, name, NULL, NULL, NULL) == 0)
        rc = 0; // `rlaif inspect` takes either
    if (rc && rc != ERR_INTERRUPTED && rc != ERR_MEMORY && err) {
        struct err why = *err;
        rc = err_set(err, rc,
                     "--%s: there is no file or folder '%s' here, and as a name on the Hub: %s",
                     l->option->name, name, why.msg);
    }
    return rc;
}

/* The value as the stage gets it. */
static int local_value(json_t **out, const struct lookup *l, const char *name, struct err *err)
{
    struct hub_found f = { 0 };
    if (file_exists(name) || dir_exists(name) || inside(name, l->out) || !hub_is_id(name)) {
        *out = json_string(name);
        return 0;
    }
    int rc = look_up(l, name, &f, err);
    if (rc == 0) {
        *out = json_string(f.path);
        json_object_set_new(l->commits, name, json_string(f.commit));
        log_info("%s: %s, commit %.12s", l->option->name, name, f.commit);
        if (!*out)
            rc = err_set(err, ERR_FORMAT, "%s: a path that is not UTF-8", f.path);
    }
    hub_found_release(&f);
    return rc;
}

static int local_list(json_t **out, const struct lookup *l, const json_t *list, struct err *err)
{
    size_t i;
    json_t *e;
    int rc = 0;
    json_t *all = json_array();
    json_array_foreach((json_t *)list, i, e) {
        json_t *one = NULL;
        rc = rc ? rc : local_value(&one, l, json_string_value(e), err);
        if (one)
            json_array_append_new(all, one);
    }
    *out = all;
    return rc;
}

int inputs_resolve(json_t **local, json_t *commits, const struct stage *s, const json_t *opt,
                   const char *out, struct err *err)
{
    json_t *all = json_copy((json_t *)opt);
    int rc = all ? 0 : err_set(err, ERR_MEMORY, "no memory for options");
    for (int i = 0; rc == 0 && i < s->n_options; i++) {
        struct lookup l = { &s->option[i], opt, out, commits };
        const json_t *v = json_object_get(opt, l.option->name);
        json_t *now = NULL;
        if (json_is_string(v) && (l.option->type == OPT_MODEL || l.option->type == OPT_DATA))
            rc = local_value(&now, &l, json_string_value(v), err);
        else if (json_is_array(v) && l.option->type == OPT_MODELS)
            rc = local_list(&now, &l, v, err);
        if (now)
            json_object_set_new(all, l.option->name, now);
    }
    if (rc)
        json_decref(all);
    else
        *local = all;
    return rc;
}
