/* rows.c - data sets of every format we read, in memory as JSON rows.
 *
 * What a file holds is told by its content: Parquet by its magic, a list by its first character,
 * JSON Lines otherwise.  Only CSV and TSV are told by their names, for nothing in them says what
 * they are.  Several files are read one after the other; a row's number goes on counting over
 * them, and rows_place() finds the file and the number in it again.  What is left out: streaming.
 * Alignment data sets fit in memory many times over. */
#include "data/internal.h"
#include "data/parquet/parquet.h"

#include <errno.h>
#include <limits.h>

enum { HOPELESS = 1000 };

/* ---- taking rows ------------------------------------------------------------------- */

const char *rows_path(const struct rows *r)
{
    return r->n_files ? r->file[r->n_files - 1].path : r->path;
}

struct place rows_place(const struct rows *r, int number)
{
    struct place p;
    int i = r->n_files - 1;
    while (i > 0 && r->file[i].before >= number)
        i--;
    const struct rows_file *f = i >= 0 ? &r->file[i] : NULL;
    p.path = f ? f->path : r->path ? r->path : "rows";
    p.number = number - (f ? f->before : 0);
    const char *unit = f && !f->lines ? "row" : "line", *slash = strrchr(p.path, '/');
    snprintf(p.s, sizeof p.s, "%.400s: %s %d", p.path, unit, p.number);
    snprintf(p.within, sizeof p.within, "%.80s%s%s %d",
             r->n_files > 1 ? slash ? slash + 1 : p.path : "", r->n_files > 1 ? ": " : "", unit,
             p.number);
    return p;
}

int rows_begin(struct rows *r, const char *path, bool lines, struct err *err)
{
    struct rows_file *f = mem_grow(r->file, &r->cap_file, (size_t)r->n_files + 1, sizeof *f);
    char *copy = f ? str_printf("%s", path) : NULL;
    if (f)
        r->file = f;
    if (!copy)
        return err_set(err, ERR_MEMORY, "%s: no memory to read it", path);
    r->file[r->n_files++] = (struct rows_file){.path = copy, .before = r->last, .lines = lines};
    return 0;
}

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
    return err_set(err, ERR_FORMAT, "%s: none of the first %d lines is usable (%s: %s)", r->path,
                   r->n_rejected, rows_place(r, r->rejected[0].line).within,
                   why ? why : "no memory for the reason");
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

int rows_take(struct rows *r, int number, json_t *v, const char *why, struct err *err)
{
    int rc = v ? rows_room(r, err)
               : err_set(err, ERR_MEMORY, "%s: no memory for row %d", rows_path(r), number);
    int before = r->file[r->n_files - 1].before;
    if (rc == 0 && number > INT_MAX - before)
        rc = err_set(err, ERR_FORMAT, "%s: more than %d rows", r->path, INT_MAX);
    if (rc) {
        json_decref(v);
        return rc;
    }
    r->last = before + number;
    if (json_is_object(v) && !why) {
        r->row[r->n] = v;
        r->line[r->n++] = r->last;
        return 0;
    }
    why = why ? why : "not a JSON object";
    reject_row(r, r->last, v, str_printf("%.*s", (int)utf8_valid(why, strlen(why)), why));
    return rows_hopeless(r, err);
}

/* ---- one file ---------------------------------------------------------------------- */

static int read_parquet(struct rows *r, int max_rows, struct err *err)
{
    struct parquet *p = NULL;
    const char *why;
    json_t *row;
    int rc = parquet_open(&p, rows_path(r), err), found = 1;
    for (int number = 1; rc == 0 && found > 0 && (max_rows == 0 || r->n < max_rows); number++) {
        found = parquet_next(p, &row, &why, err);
        if (found > 0)
            rc = rows_take(r, number, row, why, err);
        if (rc == 0 && number == INT_MAX)
            rc = err_set(err, ERR_FORMAT, "%s: more than %d rows", r->path, INT_MAX);
    }
    parquet_close(p);
    return found < 0 ? found : rc;
}

static bool named(const char *path, const char *extension)
{
    static const char *const packed[] = {"", ".gz", ".zst"};
    char end[16];
    for (size_t i = 0; i < ARRAY_LEN(packed); i++) {
        snprintf(end, sizeof end, "%s%s", extension, packed[i]);
        size_t n = strlen(path), m = strlen(end);
        if (n >= m && strcasecmp(path + n - m, end) == 0)
            return true;
    }
    return false;
}

/* What can be seen from the first bytes; those of another format are refused by name. */
static int refuse_other(const struct input *in, struct err *err)
{
    static const struct { const char *magic; size_t n; const char *what; } other[] = {
        {"PAR1", 4, "Parquet in a compressed file; Parquet compresses its pages itself, so unpack it first"},
        {"ARROW1", 6, "an Arrow file, which is not read; write Parquet or JSON Lines"},
        {"\xff\xff\xff\xff", 4, "an Arrow stream, which is not read; write Parquet or JSON Lines"},
        {"\xff\xfe", 2, "text in UTF-16; save it as UTF-8"},
        {"\xfe\xff", 2, "text in UTF-16; save it as UTF-8"},
        {"PK\x03\x04", 4, "a zip archive or a spreadsheet; unpack it, or save it as CSV"},
        {"BZh", 3, "compressed with bzip2, which is not read; use gzip or zstd"},
        {"\xfd" "7zXZ", 5, "compressed with xz, which is not read; use gzip or zstd"},
    };
    for (size_t i = 0; i < ARRAY_LEN(other); i++)
        if (in->len - in->at >= other[i].n &&
            memcmp(in->piece + in->at, other[i].magic, other[i].n) == 0)
            return err_set(err, ERR_UNSUPPORTED, "%s: is %s", in->path, other[i].what);
    return 0;
}

/* Skips a byte order mark; the first character that is no blank space, or '\n'. */
static int first_char(struct input *in, struct err *err)
{
    int rc = input_fill(in, err);
    if (rc <= 0)
        return rc;
    if ((rc = refuse_other(in, err)))
        return rc;
    if (in->len >= 3 && memcmp(in->piece, "\xef\xbb\xbf", 3) == 0)
        in->at = 3;
    for (size_t i = in->at; i < in->len; i++)
        if (!strchr(" \t\r\n", in->piece[i]) || in->piece[i] == 0)
            return in->piece[i];
    return '\n';
}

static int read_text(struct rows *r, int max_rows, struct err *err)
{
    struct input *in = input_open(rows_path(r), err);
    if (!in)
        return err->code;
    const char *path = in->path;
    bool csv = named(path, ".csv"), tsv = named(path, ".tsv");
    int c = first_char(in, err), rc = c;
    if (c > 0 && (csv || tsv)) {
        rc = read_csv(r, in, csv ? ',' : '\t', max_rows, err);
    } else if (c > 0) {
        r->file[r->n_files - 1].lines = c != '[';
        rc = c == '[' ? read_list(r, in, max_rows, err) : read_lines(r, in, max_rows, err);
    }
    input_close(in);
    return rc;
}

bool data_is_parquet(const char *path)
{
    return file_begins(path, "PAR1", 4);
}

int data_describe_parquet(json_t **out, const char *path, struct err *err)
{
    struct parquet *p = NULL;
    int rc = parquet_open(&p, path, err);
    if (rc == 0 && !(*out = parquet_describe(p)))
        rc = err_set(err, ERR_MEMORY, "%s: no memory to describe it", path);
    parquet_close(p);
    return rc;
}

/* ---- all files --------------------------------------------------------------------- */

static int read_files(struct rows *r, const struct data_files *files, int max_rows, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < files->n && (max_rows == 0 || r->n < max_rows); i++) {
        bool parquet = data_is_parquet(files->path[i]);
        rc = rows_begin(r, files->path[i], !parquet, err);
        if (rc == 0)
            rc = parquet ? read_parquet(r, max_rows, err) : read_text(r, max_rows, err);
    }
    return rc;
}

int rows_read(struct rows *r, const char *path, int max_rows, struct err *err)
{
    PROFILE("read rows");
    struct err own = {0};
    struct data_files files = {0};
    if (!err)
        err = &own;     // codes are read from it below
    err->code = 0;
    *r = (struct rows){0};
    int rc = data_files_find(&files, path, err);
    if (rc == 0) {
        r->path = files.n > 1 ? str_printf("%s and %zu more", files.path[0], files.n - 1)
                              : str_printf("%s", path);
        rc = r->path ? read_files(r, &files, max_rows, err)
                     : err_set(err, ERR_MEMORY, "%s: no memory to read it", path);
    }
    data_files_release(&files);
    if (rc == 0 && r->n == 0 && r->n_rejected == 0)
        rc = err_set(err, ERR_VALUE, "%s: is empty, expected rows", r->path);
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
    for (int i = 0; i < r->n_files; i++)
        free(r->file[i].path);
    free(r->file);
    free(r->row);
    free(r->line);
    free(r->rejected);
    free(r->path);
    *r = (struct rows){0};
}
