/* csv.c - comma- or tab-separated values (RFC 4180), the first record naming the columns.
 *
 *   field    bare: up to the separator or the line's end, taken as it is
 *            "quoted": may hold separators, line ends and "" for a quote
 *
 * Values stay texts, whatever they look like; a bare field of no characters is null, a quoted
 * one an empty text.  Blank lines are passed over.  A record's number is the line where it
 * begins.  What is left out: other separators, quotes escaped with a backslash, files without
 * names. */
#include "data/internal.h"

#include <limits.h>

struct csv {
    struct input *in;
    char separator;
    int line;        // of the next byte
    int began;       // where this record did
    struct buf text; // its fields, each followed by a NUL
    struct part {
        size_t at, n;
        bool quoted;
    } * field;
    size_t n, cap;
    const char *bad; // why the record cannot be used
};

static int no_memory(const struct csv *c, struct err *err)
{
    return err_set(err, ERR_MEMORY, "%s: line %d: no memory", c->in->path, c->began);
}

/* The next byte, -1 at the end, below -1 on failure. */
static int look(struct csv *c, struct err *err)
{
    if (c->in->at == c->in->len) {
        int rc = input_fill(c->in, err);
        if (rc <= 0)
            return rc - 1;
    }
    return c->in->piece[c->in->at];
}

static void pass(struct csv *c, int byte)
{
    c->in->at++;
    c->line += byte == '\n';
}

/* Appends bytes up to one of the three stops, which is returned and not taken. */
static int run_until(struct csv *c, char a, char b, struct err *err)
{
    int byte;
    while ((byte = look(c, err)) >= 0 && byte != a && byte != b) {
        const unsigned char *s = c->in->piece + c->in->at;
        size_t n = 0, left = c->in->len - c->in->at;
        while (n < left && s[n] != (unsigned char)a && s[n] != (unsigned char)b)
            c->line += s[n++] == '\n';
        if (c->text.len + n > LINE_MAX_BYTES)
            return err_set(err, ERR_FORMAT, "%s: the record of line %d is longer than %d MiB%s",
                           c->in->path, c->began, LINE_MAX_BYTES >> 20,
                           a == b ? "; is a quote not closed?" : "") -
                   1;
        buf_add(&c->text, s, n);
        c->in->at += n;
        if (c->text.failed || c->line == INT_MAX)
            return no_memory(c, err) - 1;
    }
    return byte;
}

/* The first quote is the next byte.  What stands between the last one and the separator spoils
 * the record. */
static int quoted_field(struct csv *c, struct err *err)
{
    int byte, began = c->line;
    for (;;) {
        pass(c, '"');
        byte = run_until(c, '"', '"', err);
        if (byte == -1)
            return err_set(err, ERR_FORMAT,
                           "%s: line %d: a quote opens here and is never closed", c->in->path,
                           began) -
                   1;
        if (byte < 0)
            return byte;
        pass(c, byte);
        byte = look(c, err);
        if (byte != '"')
            break;
        buf_adds(&c->text, "\"");
    }
    size_t end = c->text.len;
    byte = run_until(c, c->separator, '\n', err);
    if (byte < -1)
        return byte;
    if (c->text.len > end &&
        !(c->text.len == end + 1 && c->text.s[end] == '\r' && byte != c->separator))
        c->bad = "text after a closing quote";
    c->text.len = end;
    return byte;
}

/* One field; the byte after it, which is taken, or -1 at the end. */
static int next_field(struct csv *c, struct err *err)
{
    void *grown = mem_grow(c->field, &c->cap, c->n + 1, sizeof *c->field);
    if (!grown)
        return no_memory(c, err) - 1;
    c->field = grown;
    struct part *f = &c->field[c->n++];
    f->at = c->text.len;
    int byte = look(c, err);
    f->quoted = byte == '"';
    if (f->quoted)
        byte = quoted_field(c, err);
    else if (byte >= 0)
        byte = run_until(c, c->separator, '\n', err);
    if (byte < -1)
        return byte;
    if (!f->quoted && byte != c->separator && c->text.len > f->at &&
        c->text.s[c->text.len - 1] == '\r')
        c->text.len--;
    f->n = c->text.len - f->at;
    buf_add(&c->text, "", 1);
    if (byte >= 0)
        pass(c, byte);
    return c->text.failed ? no_memory(c, err) - 1 : byte;
}

/* 1 a record, 0 end of file. */
static int next_record(struct csv *c, struct err *err)
{
    int byte;
    do {
        buf_clear(&c->text);
        c->n = 0;
        c->bad = NULL;
        c->began = c->line;
        byte = look(c, err);
        if (byte < 0)
            return byte + 1;
        do
            byte = next_field(c, err);
        while (byte == c->separator);
        if (byte < -1)
            return byte + 1;
    } while (c->n == 1 && c->field[0].n == 0 && !c->field[0].quoted);
    return 1;
}

static json_t *field_json(struct csv *c, const struct part *f)
{
    const char *s = c->text.s + f->at;
    if (f->n == 0 && !f->quoted)
        return json_null();
    if (memchr(s, 0, f->n))
        c->bad = "it holds a NUL character";
    else if (utf8_valid(s, f->n) != f->n)
        c->bad = "it is no UTF-8 text";
    return c->bad ? json_null() : json_stringn_nocheck(s, f->n);
}

/* The names of the columns, in a list. */
static json_t *read_header(struct csv *c, struct err *err)
{
    json_t *names = NULL, *seen = json_object();
    int rc = next_record(c, err);
    if (rc == 0)
        rc = err_set(err, ERR_VALUE,
                     "%s: is empty, expected a first line with the names of the columns",
                     c->in->path);
    if (rc > 0 && seen && (names = json_array()))
        for (size_t i = 0; i < c->n && !c->bad; i++) {
            json_t *v = field_json(c, &c->field[i]);
            json_t *name = json_is_string(v)
                               ? v
                               : json_string(""); // pandas leaves the index without a name
            if (json_object_get(seen, json_string_value(name)))
                c->bad = "two columns have the same name";
            json_object_set(seen, json_string_value(name), name);
            json_array_append_new(names, name);
        }
    if (rc > 0 && c->bad)
        rc = err_set(err, ERR_FORMAT, "%s: line %d, the names of the columns: %s", c->in->path,
                     c->began, c->bad);
    else if (rc > 0 &&
             (!names || json_array_size(names) != c->n || json_object_size(seen) != c->n))
        rc = no_memory(c, err);
    json_decref(seen);
    if (rc > 0)
        return names;
    json_decref(names);
    return NULL;
}

static int take_record(struct rows *r, struct csv *c, const json_t *names, struct err *err)
{
    char why[128] = "";
    size_t n = json_array_size(names);
    json_t *row = json_object();
    if (!c->bad && c->n != n)
        snprintf(why, sizeof why, "%zu fields, expected %zu as in the first line", c->n, n);
    for (size_t i = 0; i < n && i < c->n && row; i++) {
        json_t *name = json_array_get(names, i);
        json_t *v = field_json(c, &c->field[i]);
        if (c->bad && !why[0])
            snprintf(why, sizeof why, "field %zu ('%.60s'): %s", i + 1, json_string_value(name),
                     c->bad);
        if (json_object_setn_new_nocheck(row, json_string_value(name), json_string_length(name),
                                         v)) {
            json_decref(row);
            row = NULL;
        }
    }
    return row ? rows_take(r, c->began, row,
                           c->bad && !why[0] ? c->bad
                           : why[0]          ? why
                                             : NULL,
                           err)
               : no_memory(c, err);
}

int read_csv(struct rows *r, struct input *in, char separator, int max_rows, struct err *err)
{
    struct csv c = {.in = in, .separator = separator, .line = 1};
    json_t *names = read_header(&c, err);
    int rc = names ? 1 : err->code;
    while (rc > 0 && (max_rows == 0 || r->n < max_rows)) {
        rc = next_record(&c, err);
        if (rc > 0 && (rc = take_record(r, &c, names, err)) == 0)
            rc = 1;
    }
    json_decref(names);
    buf_release(&c.text);
    free(c.field);
    return rc > 0 ? 0 : rc;
}
