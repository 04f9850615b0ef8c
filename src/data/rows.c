/* rows.c - reading JSON Lines, plain or gzipped, or one JSON list, into memory.
 *
 * What the file holds is told by its content, never by its name: a file whose first character
 * is '[' is a list.  A line is at most 64 MiB, a list 1 GiB, so that a compressed bomb ends in
 * a sentence.  What is left out: streaming.  Alignment data sets fit in memory many times over. */
#include "data/data.h"

#include <errno.h>
#include <limits.h>
#include <zlib.h>

enum { LINE_MAX_BYTES = 64 << 20, LIST_MAX_BYTES = 1 << 30, HOPELESS = 1000, QUOTE = 500 };

/* ---- bytes ------------------------------------------------------------------------- */

struct input {
    gzFile gz;
    const char *path;
    unsigned char piece[1 << 16];
    int at, len;        // what of the piece was taken, how much it holds
};

static struct input *input_open(const char *path, struct err *err)
{
    if (dir_exists(path)) {
        err_set(err, ERR_IO, "%s: is a folder, expected a file of JSON Lines", path);
        return NULL;
    }
    struct input *in = mem_alloc(1, sizeof *in);
    if (!in) {
        err_set(err, ERR_MEMORY, "%s: no memory to read it", path);
        return NULL;
    }
    errno = 0;
    in->path = path;
    in->gz = gzopen(path, "rb");    // plain files pass through unchanged
    if (!in->gz) {
        int code = errno == ENOENT ? ERR_MISSING : errno ? ERR_IO : ERR_MEMORY;
        err_set(err, code, "%s: cannot be opened: %s", path, errno ? strerror(errno) : "no memory");
        free(in);
        return NULL;
    }
    gzbuffer(in->gz, 1 << 17);
    return in;
}

static void input_close(struct input *in)
{
    if (in)
        gzclose(in->gz);
    free(in);
}

/* 1 while there are bytes, 0 at the end, negative on failure. */
static int input_fill(struct input *in, struct err *err)
{
    if (in->at < in->len)
        return 1;
    in->at = 0;
    in->len = gzread(in->gz, in->piece, sizeof in->piece);
    if (in->len > 0)
        return 1;
    int code;
    const char *why = gzerror(in->gz, &code);
    if (code == Z_BUF_ERROR)
        return err_set(err, ERR_FORMAT,
                       "%s: the compressed data ends too early; is the file cut short?",
                       in->path);
    if (code == Z_ERRNO)
        return err_set(err, ERR_IO, "%s: reading failed: %s", in->path, strerror(errno));
    if (in->len < 0 || (code != Z_OK && code != Z_STREAM_END))
        return err_set(err, ERR_FORMAT, "%s: the compressed data is damaged (%s)", in->path, why);
    return 0;
}

/* Appends up to the end of the line (left out), or up to `max` bytes and fails.  1 line, 0 end
 * of file. */
static int input_line(struct input *in, struct buf *line, int number, struct err *err)
{
    int rc, found = 0;
    buf_clear(line);
    while ((rc = input_fill(in, err)) > 0) {
        unsigned char *s = in->piece + in->at, *end = memchr(s, '\n', (size_t)(in->len - in->at));
        size_t n = end ? (size_t)(end - s) : (size_t)(in->len - in->at);
        if (line->len + n > LINE_MAX_BYTES)
            return err_set(err, ERR_FORMAT, "%s: line %d is longer than %d MiB", in->path, number,
                           LINE_MAX_BYTES >> 20);
        buf_add(line, s, n);
        if (line->failed)
            return err_set(err, ERR_MEMORY, "%s: line %d: no memory", in->path, number);
        in->at += (int)n + (end != NULL);
        found = 1;
        if (end)
            break;
    }
    return rc < 0 ? rc : found;
}

/* ---- rows -------------------------------------------------------------------------- */

/* Places for one more row, and as many places for rejecting as there can ever be rows. */
static int rows_room(struct rows *r, struct err *err)
{
    size_t need = (size_t)r->n + (size_t)r->n_rejected + 1;
    if (need > INT_MAX)
        return err_set(err, ERR_FORMAT, "%s: more than %d rows", r->path, INT_MAX);
    void *row = mem_grow(r->row, &r->cap_row, need, sizeof *r->row);
    if (row)
        r->row = row;
    void *line = row ? mem_grow(r->line, &r->cap_line, need, sizeof *r->line) : NULL;
    if (line)
        r->line = line;
    void *rejected =
        line ? mem_grow(r->rejected, &r->cap_rejected, need, sizeof *r->rejected) : NULL;
    if (rejected)
        r->rejected = rejected;
    return rejected ? 0 : err_set(err, ERR_MEMORY, "%s: no memory for row %zu", r->path, need);
}

static int rows_hopeless(const struct rows *r, struct err *err)
{
    if (r->n > 0 || r->n_rejected < HOPELESS)
        return 0;
    const char *why = r->rejected[0].why;
    return err_set(err, ERR_FORMAT,
                   "%s: none of the first %d lines is a JSON object (line %d: %s)", r->path,
                   r->n_rejected, r->rejected[0].line, why ? why : "no memory for the reason");
}

static char *printf_va(const char *fmt, va_list ap)
{
    char text[1024];
    vsnprintf(text, sizeof text, fmt, ap);
    return str_printf("%.*s", (int)utf8_valid(text, strlen(text)), text);
}

/* Takes the reference to row; room was made before. */
static void reject_row(struct rows *r, int line, json_t *row, char *why)
{
    r->rejected[r->n_rejected++] = (struct rejected){.line = line, .why = why, .row = row};
}

/* Takes the reference to v (NULL: it could not be parsed, `text` shows it). */
static int rows_take(struct rows *r, int line, json_t *v, const char *text, size_t n,
                     const char *why, struct err *err)
{
    int rc = rows_room(r, err);
    if (rc) {
        json_decref(v);
        return rc;
    }
    if (json_is_object(v)) {
        r->row[r->n] = v;
        r->line[r->n++] = line;
        return 0;
    }
    if (!v) {
        size_t shown = utf8_valid(text, n < QUOTE ? n : QUOTE);
        v = json_stringn(text, shown);
    }
    reject_row(r, line, v, str_printf("%s", why));
    return rows_hopeless(r, err);
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
        return err_set(err, ERR_MEMORY, "%s: line %d: no memory", r->path, line);
    return rows_take(r, line, v, text->s, text->len, v ? "not a JSON object" : bad.msg, err);
}

static int read_lines(struct rows *r, struct input *in, int max_rows, struct err *err)
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
            rc = err_set(err, ERR_FORMAT, "%s: more than %d lines", r->path, INT_MAX);
        else if (!only_space(&line))
            rc = take_line(r, &line, number, err);
    }
    buf_release(&line);
    return rc;
}

static int read_list(struct rows *r, struct input *in, int max_rows, struct err *err)
{
    struct buf all = {0};
    json_t *list = NULL;
    int rc;
    while ((rc = input_fill(in, err)) > 0 && all.len <= LIST_MAX_BYTES && !all.failed) {
        buf_add(&all, in->piece + in->at, (size_t)(in->len - in->at));
        in->at = in->len;
    }
    if (all.failed)
        rc = err_set(err, ERR_MEMORY, "%s: no memory to read it", r->path);
    else if (rc == 0 && !(list = json_parse(all.s, all.len, r->path, err)))
        rc = err && err->code ? err->code : ERR_FORMAT;
    else if (rc > 0)
        rc = err_set(err, ERR_FORMAT,
                     "%s: a list of more than %d MiB; write one object per line instead",
                     r->path, LIST_MAX_BYTES >> 20);
    buf_release(&all);
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) {
        if (rc || (max_rows && r->n >= max_rows))
            break;
        rc = rows_take(r, (int)i + 1, json_incref(v), NULL, 0, "not a JSON object", err);
    }
    json_decref(list);
    return rc;
}

/* Skips a byte order mark and blank space before the first character; '[' begins a list. */
static int first_char(struct input *in, struct err *err)
{
    int rc = input_fill(in, err);
    if (rc > 0 && in->len >= 3 && memcmp(in->piece, "\xef\xbb\xbf", 3) == 0)
        in->at = 3;
    if (rc <= 0)
        return rc;
    for (int i = in->at; i < in->len; i++)
        if (!strchr(" \t\r\n", in->piece[i]) || in->piece[i] == 0)
            return in->piece[i];
    return '\n';
}

int rows_read(struct rows *r, const char *path, int max_rows, struct err *err)
{
    struct err own = {0};
    if (!err)
        err = &own;     // codes are read from it below
    *r = (struct rows){.path = str_printf("%s", path)};
    if (!r->path)
        return err_set(err, ERR_MEMORY, "%s: no memory to read it", path);
    struct input *in = input_open(path, err);
    int rc = in ? 0 : err->code;
    if (in) {
        int c = first_char(in, err);
        rc = c < 0      ? c
             : c == '[' ? read_list(r, in, max_rows, err)
                        : read_lines(r, in, max_rows, err);
    }
    input_close(in);
    if (rc == 0 && r->n == 0 && r->n_rejected == 0)
        rc = err_set(err, ERR_VALUE, "%s: is empty, expected one JSON object per line", path);
    if (rc)
        rows_release(r);
    return rc;
}

void rows_reject(struct rows *r, int i, const char *fmt, ...)
{
    va_list ap;
    BUG_IF(i < 0 || i >= r->n);
    va_start(ap, fmt);
    char *why = printf_va(fmt, ap);
    va_end(ap);
    reject_row(r, r->line[i], r->row[i], why);
    r->n--;
    memmove(r->row + i, r->row + i + 1, (size_t)(r->n - i) * sizeof *r->row);
    memmove(r->line + i, r->line + i + 1, (size_t)(r->n - i) * sizeof *r->line);
}

void rows_release(struct rows *r)
{
    if (!r)
        return;
    for (int i = 0; i < r->n; i++)
        json_decref(r->row[i]);
    for (int i = 0; i < r->n_rejected; i++) {
        json_decref(r->rejected[i].row);
        free(r->rejected[i].why);
    }
    free(r->row);
    free(r->line);
    free(r->rejected);
    free(r->path);
    *r = (struct rows){0};
}
