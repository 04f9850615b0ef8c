/* data/data.h - the records that pass between stages, and the files they lie in.
 *
 * A stage reads plain rows and writes plain rows (JSON Lines).  Columns have the names of the field
 * (TRL's), so other tools read the same files; what we add (label_prob, provenance) stands beside
 * theirs.  A row that cannot be used is never dropped silently: it is counted, and listed with its
 * reason.
 *
 * Text is a plain string or a list of {"role","content"} messages; both are recognised per row. */
#ifndef DATA_DATA_H
#define DATA_DATA_H

#include "base/base.h"
#include "data/layout/layout.h"

/* ---- data sets ---------------------------------------------------------------- */

/* The files a data set's name stands for, in order: a file, a pattern (dir/train-*.parquet), or
 * several of them with commas or newlines between. */
struct data_files { char **path; size_t n, cap; };
int data_files_find(struct data_files *f, const char *name, struct err *err) MUST_CHECK;
void data_files_release(struct data_files *f);

/* Rows of Parquet, JSON Lines, a JSON list, CSV or TSV; the texts also gzipped or compressed with
 * zstd.  All give the same objects for the same data.  CSV holds nothing but texts (an empty bare
 * field is null); what Parquet's types become is told in parquet/parquet.h. */
struct rows {
    char *path;         // the name it was asked for by; of several files: "FIRST and N more"
    json_t **row;       // (n) objects, owned
    int *line;          // (n) number of each, counted from 1 over all files: rows_place() tells where that is
    int n;
    struct rejected { int line; char *why; json_t *row; } *rejected;    // rows left out so far
    int n_rejected;
    struct rows_file { char *path; int before; bool lines; } *file;     // before: the last number of the file before
    int n_files, last;
    size_t cap_row, cap_line, cap_rejected, cap_file;   // rejecting never has to allocate a place
};
/* Reads whole files.  A line that is not a JSON object is a rejected row (its text stands in for
 * the row), not a failure, and so is a row with a value that JSON cannot hold or with too few
 * fields; an unreadable, damaged or empty file is one, and so is one without any object in its
 * first thousand lines.  max_rows 0: all.  r is released on failure. */
int rows_read(struct rows *r, const char *path, int max_rows, struct err *err) MUST_CHECK;
/* Where a row is: "data/pairs.jsonl: line 12" (the line where it begins), "data/train-1.parquet:
 * row 7" (members of a list are counted as well).  `within` is for messages that name the data
 * set before: "line 12", or, of several files, "train-1.parquet: row 7".  path is borrowed from
 * r. */
struct place { char s[448], within[112]; const char *path; int number; };
struct place rows_place(const struct rows *r, int number);
/* Moves row i to the rejected list with a reason (keeps order of the others). */
void rows_reject(struct rows *r, int i, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Writes DIR/rejected.jsonl ({"file","line","reason","row"}) when anything was rejected, and
 * warns with the count. */
int rows_write_rejected(const struct rows *r, const char *dir, struct err *err);
/* The same beside an output file and under its name: OUT.jsonl leaves OUT.rejected.jsonl, so that
 * stages which write into one folder keep theirs apart. */
int rows_write_rejected_beside(const struct rows *r, const char *output, struct err *err);
void rows_release(struct rows *r);

/* Whether a file is Parquet, and what its footer tells: {"rows", "row_groups", "created_by",
 * "codecs", "schema"}. */
bool data_is_parquet(const char *path);
int data_describe_parquet(json_t **out, const char *path, struct err *err) MUST_CHECK;

/* One compact object per line, written atomically: nothing under the final name before commit. */
struct rows_out { struct file_out file; int n; };
int rows_out_open(struct rows_out *w, const char *path, struct err *err) MUST_CHECK;
int rows_out_add(struct rows_out *w, const json_t *row, struct err *err) MUST_CHECK;    // borrows row
int rows_out_commit(struct rows_out *w, struct err *err) MUST_CHECK;
void rows_out_close(struct rows_out *w);

/* ---- records ----------------------------------------------------------------- */

/* A text that a template may have to wrap: either text, or messages (n > 0). */
struct message { const char *role, *content; };
struct text { const char *text; struct message *messages; int n; };
/* From a JSON string or a list of messages; strings are borrowed from v, the array comes from the
 * arena. */
int text_from_json(struct text *out, struct arena *a, const json_t *v, const char *where,
                   struct err *err) MUST_CHECK;

/* What prompts.jsonl holds: {"id"?, "prompt"}.  A missing id becomes the hash of the prompt. */
struct prompt { const char *id; struct text text; const json_t *row; int line; };

/* What pairs.jsonl holds: TRL's `prompt`,`chosen`,`rejected`, beside them `label_prob` =
 * probability that chosen is the better one (absent: 1).  Rows without `prompt` share a prefix:
 * the longest common prefix of the messages, or, for transcripts with "\n\nHuman:" /
 * "\n\nAssistant:" turns (Anthropic HH), everything up to and including the last "\n\nAssistant:"
 * that both share. */
struct pair {
    const char *id;
    struct text prompt, chosen, rejected;
    double label_prob;
    const json_t *row;
    int line;
};

/* Prompt and completion rows for SFT: `prompt`+`completion`, else `messages` (last assistant turn
 * is the completion), else `text` (loss on all tokens).  A null member counts as absent. */
struct example {
    const char *id;
    struct text prompt, completion;
    bool whole;
    const json_t *row;
    int line;
};

/* Typed views over rows; unusable rows are moved to r->rejected.  Strings are borrowed from r,
 * arrays live in the arena.  At least one usable row must remain (ERR_VALUE otherwise, naming the
 * file and the first reason). */
int data_prompts(struct prompt **out, int *n, struct arena *a, struct rows *r,
                 struct err *err) MUST_CHECK;
int data_pairs(struct pair **out, int *n, struct arena *a, struct rows *r,
               struct err *err) MUST_CHECK;
int data_examples(struct example **out, int *n, struct arena *a, struct rows *r,
                  struct err *err) MUST_CHECK;

/* The order in which epoch e visits n items: Philox shuffle keyed by (seed, epoch).  order (n) is
 * filled. */
void data_epoch_order(int *order, int n, uint64_t seed, int epoch);

/* Which part an item belongs to by the hash of a key (for example the first human turn), so that
 * the same key never falls in two parts: returns the index of the part whose cumulated share
 * covers the key's hash.  shares (n) sum to 1. */
int data_split(const char *key, uint64_t seed, const double *shares, int n);

#endif
