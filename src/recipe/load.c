/* recipe/load.c - a recipe file with its variables filled in and every stage's options checked.
 *
 * Everything that can be wrong with a recipe is said here, before any work starts. */
#include "recipe/internal.h"

static const char *const not_variables[] = { "stages", "summary", "output_dir", "out" };

static bool is_reserved(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(not_variables); i++)
        if (!strcmp(not_variables[i], name))
            return true;
    return false;
}

/* ---- --set -------------------------------------------------------------------------- */

static int no_such_key(const char *path, const json_t *o, const char *what, const char *name,
                       struct err *err)
{
    const char *names[64], *key;
    int n = 0;
    json_t *v;
    json_object_foreach((json_t *)o, key, v)
        if (n < 63)
            names[n++] = key;
    names[n] = NULL;
    const char *near = str_nearest(name, names);
    return err_set(err, ERR_USAGE, "--set: %s has no %s '%s'%s%s%s", path, what, name,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static int set_option(json_t *root, const char *path, char *key, char *dot, const char *value,
                      struct err *err)
{
    *dot = '\0';
    json_t *stages = json_object_get(root, "stages"), *step = json_object_get(stages, key);
    if (!json_is_object(step))
        return no_such_key(path, stages, "stage", key, err);
    // the option's own name and type are checked with all the others
    return json_object_set_new(step, dot + 1, json_string(value)) ?
        err_set(err, ERR_USAGE, "--set %s.%s: the value is not valid UTF-8", key, dot + 1) : 0;
}

static int set_one(json_t *root, const char *path, const char *text, struct err *err)
{
    const char *eq = strchr(text, '=');
    if (!eq || eq == text)
        return err_set(err, ERR_USAGE, "--set %s: expected key=value or stage.option=value", text);
    char *key = str_printf("%.*s", (int)(eq - text), text);
    if (!key)
        return err_set(err, ERR_MEMORY, "reading --set");
    char *dot = strchr(key, '.');
    int rc;
    if (dot)
        rc = set_option(root, path, key, dot, eq + 1, err);
    else if (!json_object_get(root, key) || (is_reserved(key) && strcmp(key, "output_dir")))
        rc = no_such_key(path, root, "variable", key, err);
    else
        rc = json_object_set_new(root, key, json_string(eq + 1)) ?
            err_set(err, ERR_USAGE, "--set %s: the value is not valid UTF-8", key) : 0;
    free(key);
    return rc;
}

/* ---- ${variables} --------------------------------------------------------------------- */

static const json_t *lookup(const json_t *root, const char *name, size_t n)
{
    char key[128];
    if (n >= sizeof key)
        return NULL;
    snprintf(key, sizeof key, "%.*s", (int)n, name);
    const json_t *v = json_object_get(root, key);
    return json_is_object(v) || json_is_array(v) ? NULL : v;
}

static void add_scalar(struct buf *b, const json_t *v)
{
    if (json_is_string(v)) {
        buf_adds(b, json_string_value(v));
        return;
    }
    char *s = json_dumps(v, JSON_ENCODE_ANY);
    buf_adds(b, s ? s : "");
    free(s);
}

static int unknown_variable(const char *where, const char *text, struct err *err)
{
    return err_set(err, ERR_USAGE, "%s: '%s' names a variable that the recipe does not define",
                   where, text);
}

/* *out = text with ${name} replaced; a text that is one reference keeps the variable's type. */
static int substitute(json_t **out, const json_t *root, const char *text, const char *where,
                      struct err *err)
{
    const char *open = strstr(text, "${");
    const char *end = open ? strchr(open, '}') : NULL;
    if (open == text && end && !end[1]) {
        const json_t *v = lookup(root, text + 2, (size_t)(end - text - 2));
        if (!v)
            return unknown_variable(where, text, err);
        *out = json_deep_copy(v);
        return 0;
    }
    struct buf b = { 0 };
    const char *p = text;
    for (; (open = strstr(p, "${")) && (end = strchr(open, '}')); p = end + 1) {
        const json_t *v = lookup(root, open + 2, (size_t)(end - open - 2));
        if (!v) {
            buf_release(&b);
            return unknown_variable(where, text, err);
        }
        buf_add(&b, p, (size_t)(open - p));
        add_scalar(&b, v);
    }
    buf_adds(&b, p);
    *out = b.failed ? NULL : json_string(b.s ? b.s : "");
    buf_release(&b);
    return *out ? 0 : err_set(err, ERR_MEMORY, "%s", where);
}

static int substitute_value(json_t **out, const json_t *root, const json_t *v, const char *where,
                            struct err *err)
{
    size_t i;
    json_t *e;
    if (json_is_string(v))
        return substitute(out, root, json_string_value(v), where, err);
    if (!json_is_array(v)) {
        *out = json_deep_copy(v);
        return 0;
    }
    json_t *list = json_array();
    json_array_foreach((json_t *)v, i, e) {
        json_t *one = NULL;
        int rc = substitute_value(&one, root, e, where, err);
        if (rc) {
            json_decref(list);
            return rc;
        }
        json_array_append_new(list, one);
    }
    *out = list;
    return 0;
}

/* ---- steps ------------------------------------------------------------------------------ */

static int unknown_stage(const char *where, const char *name, struct err *err)
{
    const char *names[64];
    int n;
    const struct stage *const *list = stage_list(&n);
    for (int i = 0; i < n && i < 63; i++)
        names[i] = list[i]->name;
    names[n < 63 ? n : 63] = NULL;
    const char *near = str_nearest(name, names);
    return err_set(err, ERR_USAGE, "%s: there is no stage '%s'%s%s%s", where, name,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static int load_step(struct step *s, const struct recipe *r, const char *name, const json_t *in,
                     struct err *err)
{
    char where[256];
    snprintf(where, sizeof where, "%s, stage '%s'", r->path, name);
    const char *kind = json_string_value(json_object_get(in, "stage"));
    if (!kind)
        return err_set(err, ERR_USAGE, "%s: needs 'stage:', the command it runs", where);
    s->name = name;
    s->stage = stage_find(kind);
    if (!s->stage)
        return unknown_stage(where, kind, err);
    json_t *given = json_object(), *v;
    const char *key;
    int rc = 0;
    json_object_foreach((json_t *)in, key, v) {
        json_t *value = NULL;
        if (!strcmp(key, "stage"))
            continue;
        rc = substitute_value(&value, r->text, v, where, err);
        if (rc)
            break;
        json_object_set_new(given, key, value);
    }
    if (rc == 0)
        rc = options_resolve(&s->options, s->stage, given, where, err);
    json_decref(given);
    return rc;
}

static int load_steps(struct recipe *r, struct err *err)
{
    const json_t *stages = json_object_get(r->text, "stages");
    if (!json_is_object(stages) || json_object_size(stages) == 0)
        return err_set(err, ERR_USAGE, "%s: needs 'stages:', a mapping of at least one stage",
                       r->path);
    r->step = mem_alloc(json_object_size(stages), sizeof *r->step);
    if (!r->step)
        return err_set(err, ERR_MEMORY, "reading %s", r->path);
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)stages, name, v) {
        if (!json_is_object(v) || !*name || strpbrk(name, "/. "))
            return err_set(err, ERR_USAGE,
                           "%s: stage '%s' must be a mapping with a name of letters, digits and _",
                           r->path, name);
        int rc = load_step(&r->step[r->n], r, name, v, err);
        if (rc)
            return rc;
        r->n++;
    }
    return 0;
}

/* Every "summary:" entry names a known key and a stage of this recipe. */
static int check_summary(struct recipe *r, struct err *err)
{
    int n;
    const char *const *keys = summary_keys(&n), *key;
    json_t *v;
    r->summary = json_object_get(r->text, "summary");
    json_object_foreach((json_t *)r->summary, key, v) {
        bool known = false;
        for (int i = 0; i < n; i++)
            known |= !strcmp(keys[i], key);
        const char *near = known ? NULL : str_nearest(key, keys);
        if (!known)
            return err_set(err, ERR_USAGE, "%s: summary has no key '%s'%s%s%s", r->path, key,
                           near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
        const char *from = json_string_value(v), *dot = from ? strchr(from, '.') : NULL;
        bool stage = false;
        for (int i = 0; dot && i < r->n; i++)
            stage |= strlen(r->step[i].name) == (size_t)(dot - from) &&
                     !strncmp(r->step[i].name, from, (size_t)(dot - from));
        if (!stage)
            return err_set(
                err, ERR_USAGE,
                "%s: summary key '%s' must be 'stage.figure' with a stage of this recipe", r->path,
                key);
    }
    return 0;
}

static int apply_set(struct recipe *r, const json_t *set, const char *output_dir, struct err *err)
{
    size_t i;
    json_t *e;
    int rc = 0;
    json_array_foreach((json_t *)set, i, e)
        if (rc == 0)
            rc = set_one(r->text, r->path, json_string_value(e), err);
    if (rc)
        return rc;
    const char *out =
        output_dir ? output_dir : json_string_value(json_object_get(r->text, "output_dir"));
    if (!out || !*out)
        return err_set(err, ERR_USAGE, "%s: needs 'output_dir:' or --output_dir", r->path);
    r->out = str_printf("%s", out);
    json_object_set_new(r->text, "out", json_string(out));
    return r->out ? 0 : err_set(err, ERR_MEMORY, "reading %s", r->path);
}

int recipe_load(struct recipe *r, const char *path, const json_t *set, const char *output_dir,
                struct err *err)
{
    *r = (struct recipe){ .path = path };
    int rc = yaml_read_file(&r->text, path, err);
    if (rc == 0 && !json_is_object(r->text))
        rc = err_set(err, ERR_FORMAT, "%s: a recipe is a mapping with 'stages:'", path);
    if (rc == 0)
        rc = apply_set(r, set, output_dir, err);
    if (rc == 0)
        rc = load_steps(r, err);
    if (rc == 0)
        rc = check_summary(r, err);
    if (rc)
        recipe_release(r);
    return rc;
}

void recipe_release(struct recipe *r)
{
    for (int i = 0; i < r->n; i++)
        json_decref(r->step[i].options);
    free(r->step);
    free(r->out);
    json_decref(r->text);
    *r = (struct recipe){ 0 };
}
