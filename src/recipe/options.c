/* recipe/options.c - one table of options serves the command line, YAML and the manifest.
 *
 * A value comes as a string (typed on a command line) or as JSON of the right type (from a recipe).
 * Resolving checks names and types and fills in defaults, so that a stage only ever reads complete,
 * typed options.  What a value means is the stage's business. */
#include "recipe/internal.h"

static const struct option *find(const struct stage *s, const char *name)
{
    for (int i = 0; i < s->n_options; i++)
        if (!strcmp(s->option[i].name, name))
            return &s->option[i];
    return NULL;
}

static const char *nearest_option(const struct stage *s, const char *name)
{
    const char **names = mem_alloc((size_t)s->n_options + 1, sizeof *names);
    if (!names)
        return NULL;
    for (int i = 0; i < s->n_options; i++)
        names[i] = s->option[i].name;
    const char *best = str_nearest(name, names);
    free(names);
    return best;
}

bool option_has_choice(const struct option *o, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = o->choices; p && *p; p += strcspn(p, "|"), p += *p == '|')
        if (strcspn(p, "|") == n && !strncmp(p, word, n))
            return true;
    return false;
}

static json_t *parse_bool(const char *s)
{
    if (!strcasecmp(s, "true") || !strcasecmp(s, "yes") || !strcmp(s, "1"))
        return json_true();
    if (!strcasecmp(s, "false") || !strcasecmp(s, "no") || !strcmp(s, "0"))
        return json_false();
    return NULL;
}

static json_t *parse_list(const char *s)
{
    json_t *list = json_array();
    while (list && *s) {
        size_t n = strcspn(s, ",");
        json_array_append_new(list, json_stringn(s, n));
        s += n + (s[n] == ',');
    }
    return list;
}

/* A typed value from a string, or NULL where it is not one. */
static json_t *parse_string(const struct option *o, const char *s)
{
    int64_t i;
    double d;
    switch (o->type) {
    case OPT_INT:
        return str_to_i64(s, &i) ? json_integer(i) : NULL;
    case OPT_FLOAT:
        return str_to_double(s, &d) ? json_real(d) : NULL;
    case OPT_BOOL:
        return parse_bool(s);
    case OPT_LIST:
    case OPT_INPUTS:
    case OPT_MODELS:
        return parse_list(s);
    case OPT_CHOICE:
        return option_has_choice(o, s) ? json_string(s) : NULL;
    default:
        return json_string(s);
    }
}

static json_t *string_list(const json_t *v)
{
    size_t i;
    json_t *e;
    json_array_foreach((json_t *)v, i, e)
        if (!json_is_string(e))
            return NULL;
    return json_deep_copy(v);
}

static json_t *typed(const struct option *o, const json_t *v)
{
    if (json_is_null(v))
        return json_null();
    if (json_is_string(v))
        return parse_string(o, json_string_value(v));
    if (o->type == OPT_INT && json_is_integer(v))
        return json_integer(json_integer_value(v));
    if (o->type == OPT_FLOAT && json_is_number(v))
        return json_real(json_number_value(v));
    if (o->type == OPT_BOOL && json_is_boolean(v))
        return json_boolean(json_is_true(v));
    if ((o->type == OPT_LIST || o->type == OPT_INPUTS || o->type == OPT_MODELS) && json_is_array(v))
        return string_list(v);
    return NULL;
}

static const char *expectation(const struct option *o)
{
    switch (o->type) {
    case OPT_INT: return "a whole number";
    case OPT_FLOAT: return "a number";
    case OPT_BOOL: return "true or false";
    case OPT_LIST:
    case OPT_INPUTS:
    case OPT_MODELS: return "a list of strings";
    case OPT_CHOICE: return o->choices;
    default: return "a string";
    }
}

static int take(json_t *out, const struct option *o, const json_t *v, const char *where,
                struct err *err)
{
    json_t *value = typed(o, v);
    if (!value) {
        char *shown = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
        int rc = err_set(err, ERR_USAGE, "%s: %s is %s, expected %s", where, o->name,
                         shown ? shown : "?", expectation(o));
        free(shown);
        return rc;
    }
    return json_object_set_new(out, o->name, value) ? err_set(err, ERR_MEMORY, "%s", where) : 0;
}

static int check_names(const struct stage *s, const json_t *given, const char *where,
                       struct err *err)
{
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)given, name, v) {
        if (find(s, name))
            continue;
        const char *near = nearest_option(s, name);
        return err_set(err, ERR_USAGE, "%s: %s has no option '%s'%s%s%s", where, s->name, name,
                       near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    return 0;
}

int options_resolve(json_t **out, const struct stage *s, const json_t *given, const char *where,
                    struct err *err)
{
    int rc = check_names(s, given, where, err);
    json_t *o = json_object();
    for (int i = 0; rc == 0 && i < s->n_options; i++) {
        const struct option *opt = &s->option[i];
        const json_t *v = json_object_get(given, opt->name);
        if (v && !json_is_null(v)) {
            rc = take(o, opt, v, where, err);
        } else if (opt->required) {
            rc = err_set(err, ERR_USAGE, "%s: %s needs --%s (%s)", where, s->name, opt->name,
                         opt->help);
        } else if (!opt->dflt) {
            json_object_set_new(o, opt->name, json_null());
        } else {
            json_t *d = parse_string(opt, opt->dflt);
            if (!d)
                BUG("%s: default '%s' of %s does not parse", s->name, opt->dflt, opt->name);
            json_object_set_new(o, opt->name, d);
        }
    }
    if (rc)
        json_decref(o);
    else
        *out = o;
    return rc;
}

/* ---- reading ------------------------------------------------------------------------ */

static const json_t *member(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    if (!v)
        BUG("no option '%s' in the table", name);
    return v;
}

bool opt_given(const json_t *o, const char *name)
{
    return !json_is_null(member(o, name));
}

const char *opt_str(const json_t *o, const char *name)
{
    const json_t *v = member(o, name);
    if (!json_is_null(v) && !json_is_string(v))
        BUG("option '%s' is not a string", name);
    return json_string_value(v);
}

int64_t opt_int(const json_t *o, const char *name)
{
    const json_t *v = member(o, name);
    if (!json_is_integer(v))
        BUG("option '%s' is not an integer", name);
    return json_integer_value(v);
}

double opt_float(const json_t *o, const char *name)
{
    const json_t *v = member(o, name);
    if (!json_is_real(v))
        BUG("option '%s' is not a number", name);
    return json_real_value(v);
}

bool opt_bool(const json_t *o, const char *name)
{
    const json_t *v = member(o, name);
    if (!json_is_boolean(v))
        BUG("option '%s' is not a truth value", name);
    return json_is_true(v);
}

const json_t *opt_list(const json_t *o, const char *name)
{
    const json_t *v = member(o, name);
    return json_is_array(v) ? v : NULL;
}
