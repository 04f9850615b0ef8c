/* lines.c - JSON Lines, and one JSON list.
 *
 * A line is at most 64 MiB, a list 1 GiB, so that a compressed bomb ends in a sentence. */
#include "data/internal.h"

#include <limits.h>

enum { LIST_MAX_BYTES = 1 << 30, QUOTE = 500 };

/* Appends up to the end of the line (left out), or up to the largest line and fails.  1 line, 0
 * end of file. */
static int input_line(struct input *in, struct buf *line, int number, struct err *err)
{
    int rc, found = 0;
    buf_clear(line);
    while ((rc = input_fill(in, err)) > 0) {
        const unsigned char *s = in->piece + in->at, *end = memchr(s, '\n', in->len - in->at);
        size_t n = end ? (size_t)(end - s) : in->len - in->at;
        if (line->len + n > LINE_MAX_BYTES)
            return err_set(err, ERR_FORMAT, "%s: line %d is longer than %d MiB", in->path,
                           number, LINE_MAX_BYTES >> 20);
        buf_add(line, s, n);
        if (line->failed)
            return err_set(err, ERR_MEMORY, "%s: line %d: no memory", in->path, number);
        in->at += n + (end != NULL);
        found = 1;
        if (end)
            break;
    }
    return rc < 0 ? rc : found;
}

static bool only_space(const struct buf *b)
{
    for (size_t i = 0; i < b->len; i++)
        if (!strchr(" \t\r", b->s[i]) || b->s[i] == 0)
            return false;
    return true;
}

static int take_line(struct rows *r, const struct buf *text, int line, struct err *err)
{
    struct err bad = {0};
    json_t *v = json_parse(text->s, text->len, "JSON", &bad);
    if (!v && bad.code == ERR_MEMORY)
        return err_set(err, ERR_MEMORY, "%s: line %d: no memory", rows_path(r), line);
    if (v)
        return rows_take(r, line, v, NULL, err);
    return rows_take(
        r, line,
        json_stringn(text->s, utf8_valid(text->s, text->len < QUOTE ? text->len : QUOTE)),
        bad.msg, err);
}

int read_lines(struct rows *r, struct input *in, int max_rows, struct err *err)
{
    struct buf line = {0};
    int rc = 0;
    for (int number = 1; rc == 0 && (max_rows == 0 || r->n < max_rows); number++) {
        int found = input_line(in, &line, number, err);
        if (found <= 0) {
            rc = found;
            break;
        }
        if (number == INT_MAX)
            rc = err_set(err, ERR_FORMAT, "%s: more than %d lines", in->path, INT_MAX);
        else if (!only_space(&line))
            rc = take_line(r, &line, number, err);
    }
    buf_release(&line);
    return rc;
}

static int read_all(struct buf *all, struct input *in, struct err *err)
{
    int rc;
    while ((rc = input_fill(in, err)) > 0 && all->len <= LIST_MAX_BYTES && !all->failed) {
        buf_add(all, in->piece + in->at, in->len - in->at);
        in->at = in->len;
    }
    if (all->failed)
        return err_set(err, ERR_MEMORY, "%s: no memory to read it", in->path);
    return rc > 0 ? err_set(err, ERR_FORMAT,
                            "%s: a list of more than %d MiB; write one object per line instead",
                            in->path, LIST_MAX_BYTES >> 20)
                  : rc;
}

int read_list(struct rows *r, struct input *in, int max_rows, struct err *err)
{
    struct buf all = {0};
    json_t *list = NULL, *v;
    size_t i;
    int rc = read_all(&all, in, err);
    if (rc == 0 && !(list = json_parse(all.s, all.len, in->path, err)))
        rc = err->code ? err->code : ERR_FORMAT;
    buf_release(&all);
    json_array_foreach(list, i, v)
    {
        if (rc || (max_rows && r->n >= max_rows))
            break;
        rc = rows_take(r, (int)i + 1, json_incref(v), NULL, err);
    }
    json_decref(list);
    return rc;
}
