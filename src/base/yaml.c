/* base/yaml.c - YAML into JSON values, by libyaml's event parser.
 *
 * What recipes and prompt files need: mappings, lists, scalars, in order.  Plain scalars become
 * null, truth values, numbers or strings (YAML 1.2's core words); quoted ones and blocks are
 * strings.  Anchors, aliases, tags and merge keys are refused: nothing here needs them, and
 * they are how small files grow huge. */
#include "base/base.h"

#include <yaml.h>

enum { YAML_MAX_DEPTH = 32, YAML_MAX_BYTES = 4 << 20 };

struct reader {
    yaml_parser_t parser;
    const char *path;
    struct err *err;
};

static int fail(struct reader *r, const yaml_mark_t *at, const char *what)
{
    return err_set(r->err, ERR_FORMAT, "%s, line %zu, column %zu: %s", r->path, at->line + 1,
                   at->column + 1, what);
}

static int next(struct reader *r, yaml_event_t *e)
{
    if (yaml_parser_parse(&r->parser, e))
        return 0;
    const yaml_mark_t *m = &r->parser.problem_mark;
    return fail(r, m, r->parser.problem ? r->parser.problem : "not YAML");
}

static json_t *plain_scalar(const char *s)
{
    int64_t i;
    double d;
    if (!*s || !strcmp(s, "~") || !strcmp(s, "null"))
        return json_null();
    if (!strcmp(s, "true") || !strcmp(s, "false"))
        return json_boolean(s[0] == 't');
    if (str_to_i64(s, &i))
        return json_integer(i);
    if (strchr("+-.0123456789", s[0]) && str_to_double(s, &d))
        return json_real(d);
    return json_string(s);
}

static int scalar(struct reader *r, const yaml_event_t *e, json_t **out)
{
    const char *s = (const char *)e->data.scalar.value;
    if (e->data.scalar.anchor || e->data.scalar.tag)
        return fail(r, &e->start_mark, "anchors and tags are not used here");
    if (strlen(s) != e->data.scalar.length)
        return fail(r, &e->start_mark, "a NUL byte inside a string");
    *out = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? plain_scalar(s) : json_string(s);
    return *out ? 0
                : fail(r, &e->start_mark, "a value that is not a finite number or valid UTF-8");
}

static int value(struct reader *r, yaml_event_t *e, int depth, json_t **out);

static int sequence(struct reader *r, int depth, json_t **out)
{
    json_t *list = json_array();
    for (;;) {
        yaml_event_t e;
        json_t *v = NULL;
        int rc = next(r, &e);
        if (rc == 0 && e.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&e);
            *out = list;
            return 0;
        }
        if (rc == 0) {
            rc = value(r, &e, depth + 1, &v);
            yaml_event_delete(&e);
        }
        if (rc) {
            json_decref(list);
            return rc;
        }
        json_array_append_new(list, v);
    }
}

/* One "key: value" of a mapping, whose key event is e. */
static int entry(struct reader *r, yaml_event_t *e, int depth, json_t *map)
{
    if (e->type != YAML_SCALAR_EVENT)
        return fail(r, &e->start_mark, "a key must be a plain word");
    const char *key = (const char *)e->data.scalar.value;
    if (strlen(key) != e->data.scalar.length)
        return fail(r, &e->start_mark, "a NUL byte inside a key");
    if (json_object_get(map, key)) {
        char what[200];
        snprintf(what, sizeof what, "the key '%.100s' stands here twice", key);
        return fail(r, &e->start_mark, what);
    }
    yaml_event_t ve;
    json_t *v = NULL;
    int rc = next(r, &ve);
    if (rc)
        return rc;
    rc = value(r, &ve, depth + 1, &v);
    if (rc == 0 && json_object_set_new(map, key, v))
        rc = fail(r, &ve.start_mark, "a key that is not valid UTF-8");
    yaml_event_delete(&ve);
    return rc;
}

static int mapping(struct reader *r, int depth, json_t **out)
{
    json_t *map = json_object();
    for (;;) {
        yaml_event_t e;
        int rc = next(r, &e);
        if (rc == 0 && e.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&e);
            *out = map;
            return 0;
        }
        if (rc == 0) {
            rc = entry(r, &e, depth, map);
            yaml_event_delete(&e);
        }
        if (rc) {
            json_decref(map);
            return rc;
        }
    }
}

static int value(struct reader *r, yaml_event_t *e, int depth, json_t **out)
{
    if (depth > YAML_MAX_DEPTH)
        return fail(r, &e->start_mark, "nested too deeply");
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        return scalar(r, e, out);
    case YAML_SEQUENCE_START_EVENT:
        return sequence(r, depth, out);
    case YAML_MAPPING_START_EVENT:
        return mapping(r, depth, out);
    case YAML_ALIAS_EVENT:
        return fail(r, &e->start_mark, "aliases are not used here");
    default:
        return fail(r, &e->start_mark, "a value was expected");
    }
}

static int document(struct reader *r, json_t **out)
{
    for (;;) {
        yaml_event_t e;
        int rc = next(r, &e);
        if (rc)
            return rc;
        yaml_event_type_t type = e.type;
        if (type == YAML_STREAM_END_EVENT)
            rc = fail(r, &e.start_mark, "the file is empty");
        else if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT)
            rc = value(r, &e, 0, out);
        yaml_event_delete(&e);
        if (rc || (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT))
            return rc;
    }
}

int yaml_parse(json_t **out, const char *text, size_t n, const char *where, struct err *err)
{
    struct reader r = { .path = where, .err = err };
    if (!yaml_parser_initialize(&r.parser))
        return err_set(err, ERR_MEMORY, "reading %s", where);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n);
    json_t *v = NULL;
    int rc = document(&r, &v);
    if (rc == 0)
        *out = v;
    yaml_parser_delete(&r.parser);
    return rc;
}

int yaml_read_file(json_t **out, const char *path, struct err *err)
{
    char *text;
    size_t n;
    int rc = file_read(&text, &n, path, YAML_MAX_BYTES, err);
    if (rc)
        return rc;
    rc = yaml_parse(out, text, n, path, err);
    free(text);
    return rc;
}
