/* base/yaml.c - YAML into JSON values, by libyaml's event parser.
 *
 * What recipes and prompt files need: mappings, lists, scalars, in order.  Plain scalars become
 * null, truth values, numbers or strings (YAML 1.2's core words); quoted ones and blocks are
 * strings.  Anchors, aliases, tags and merge keys are refused: nothing here needs them, and
 * they are how small files grow huge. */
#include "base/base.h"

#include <yaml.h>

enum { YAML_MAX_DEPTH = 32, YAML_MAX_BYTES = 4 << 20, YAML_MAX_PATH = 256 };

struct reader {
    yaml_parser_t parser;
    const char *path;
    struct err *err;
    json_t *lines;          // "/key/0/key" -> line; NULL: nobody asked
    struct buf where;       // of the value being read
};

/* Goes one step down and notes the line; the way back is cutting where to its old length. */
static void step_down(struct reader *r, const char *key, size_t index, const yaml_mark_t *at)
{
    if (!r->lines)
        return;
    if (key)
        buf_addf(&r->where, "/%s", key);
    else
        buf_addf(&r->where, "/%zu", index);
    if (!r->where.failed && r->where.len < YAML_MAX_PATH)    // longer ones could outgrow memory, and nobody asks for them
        json_object_set_new(r->lines, r->where.s, json_integer((json_int_t)at->line + 1));
}

static void step_up(struct reader *r, size_t len)
{
    if (r->lines && !r->where.failed && r->where.s)
        r->where.s[r->where.len = len] = '\0';
}

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
            size_t len = r->where.len;
            step_down(r, NULL, json_array_size(list), &e.start_mark);
            rc = value(r, &e, depth + 1, &v);
            step_up(r, len);
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
    size_t len = r->where.len;
    step_down(r, key, 0, &e->start_mark);
    rc = value(r, &ve, depth + 1, &v);
    step_up(r, len);
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

static int parse(json_t **out, json_t *lines, const char *text, size_t n, const char *where,
                 struct err *err)
{
    struct reader r = { .path = where, .err = err, .lines = lines };
    if (!yaml_parser_initialize(&r.parser))
        return err_set(err, ERR_MEMORY, "reading %s", where);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n);
    json_t *v = NULL;
    int rc = document(&r, &v);
    if (rc == 0)
        *out = v;
    yaml_parser_delete(&r.parser);
    buf_release(&r.where);
    return rc;
}

int yaml_parse(json_t **out, const char *text, size_t n, const char *where, struct err *err)
{
    return parse(out, NULL, text, n, where, err);
}

int yaml_read_lines(json_t **out, json_t **lines, const char *path, struct err *err)
{
    char *text;
    size_t n;
    int rc = file_read(&text, &n, path, YAML_MAX_BYTES, err);
    if (rc)
        return rc;
    json_t *l = lines ? json_object() : NULL;
    rc = lines && !l ? err_set(err, ERR_MEMORY, "reading %s", path)
                     : parse(out, l, text, n, path, err);
    if (rc == 0 && lines)
        *lines = l;
    else
        json_decref(l);
    free(text);
    return rc;
}

int yaml_read_file(json_t **out, const char *path, struct err *err)
{
    return yaml_read_lines(out, NULL, path, err);
}
