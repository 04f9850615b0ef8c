/* adapter/modules.c - the modules of a model under the names transformers gives them, and
 * choosing among them as PEFT does. */
#include "model/adapter/adapter.h"

int modules_list(struct module **out, int *n, const struct tensor_spec *spec, int n_specs, struct err *err)
{
    struct module *all = mem_alloc((size_t)n_specs + 1, sizeof *all);
    *n = 0;
    if (!all)
        return err_set(err, ERR_MEMORY, "the modules of a model of %d tensors", n_specs);
    for (int i = 0; i < n_specs; i++) {
        const struct tensor_spec *s = &spec[i];
        if (s->bias)
            continue; // goes with its matrix
        struct module *mod = &all[(*n)++];
        mod->spec = s;
        snprintf(mod->path, sizeof mod->path, "%.*s", (int)(strlen(s->name) - strlen(".weight")), s->name);
    }
    *out = all;
    return 0;
}

bool module_is(const struct module *mod, const char *name)
{
    size_t path = strlen(mod->path), n = strlen(name);
    if (n > path || strcmp(mod->path + path - n, name) != 0)
        return false;
    return n == path || mod->path[path - n - 1] == '.';
}

bool module_fits(const struct module *mod)
{
    enum part p = mod->spec->part;
    return !mod->spec->vector && p != PART_POSITIONS && p != PART_SCORE;
}

static bool seen(const struct module *mod, int i, const char *last)
{
    for (int k = 0; k < i; k++)
        if (module_fits(&mod[k]) && module_is(&mod[k], last))
            return true;
    return false;
}

void modules_names(struct buf *b, const struct module *mod, int n)
{
    bool first = true;
    for (int i = 0; i < n; i++) {
        const char *dot = strrchr(mod[i].path, '.'), *last = dot ? dot + 1 : mod[i].path;
        if (!module_fits(&mod[i]) || seen(mod, i, last))
            continue;
        buf_addf(b, "%s%s", first ? "" : ", ", last);
        first = false;
    }
}
