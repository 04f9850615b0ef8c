/* data/internal.h - what the readers of this room share: the bytes of a file, and where rows
 * go. */
#ifndef DATA_INTERNAL_H
#define DATA_INTERNAL_H

#include "data/data.h"

enum { LINE_MAX_BYTES = 64 << 20 }; // of a line, or of a record of CSV

/* ---- bytes (input.c): a file as it is, gzipped, or compressed with zstd -------- */

struct input {
    const char *path; // borrowed
    const unsigned char *piece;
    size_t at, len; // what of the piece was taken, how much it holds
    struct stream *stream;
};
/* NULL on failure. */
struct input *input_open(const char *path, struct err *err);
void input_close(struct input *in);
/* 1 while there are bytes at piece + at, 0 at the end, negative on failure. */
int input_fill(struct input *in, struct err *err);
/* The first n (at most 8) bytes of a file.  False of a pipe, which would not give them again. */
bool file_begins(const char *path, const char *magic, size_t n);

/* ---- rows (rows.c) -------------------------------------------------------------- */

/* Takes the reference to v as row `number` of the file begun last.  Where `why` is given, or v
 * is no object, it is rejected; NULL stands for no memory. */
int rows_take(struct rows *r, int number, json_t *v, const char *why, struct err *err);
/* A file from which rows follow; `lines`: whether their numbers are lines of it. */
int rows_begin(struct rows *r, const char *path, bool lines, struct err *err);
const char *rows_path(const struct rows *r); // of the file begun last

/* ---- records (records.c) ------------------------------------------------------------ */

/* A row as a struct pair, or why it is none; texts are borrowed from it, the rest comes from a. */
int pair_from_row(void *out, struct arena *a, const json_t *row, struct err *err);

/* ---- what is read (lines.c, csv.c): max_rows 0: all ------------------------------ */

int read_lines(struct rows *r, struct input *in, int max_rows, struct err *err);
int read_list(struct rows *r, struct input *in, int max_rows, struct err *err);
int read_csv(struct rows *r, struct input *in, char separator, int max_rows, struct err *err);

#endif
