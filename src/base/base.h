/* base/base.h - what every other room stands on: errors, memory, strings, JSON,
 * random numbers, files, hashes, time and the log.
 *
 * Nothing here knows what a model or a label is.  Functions that can fail return
 * 0 or a negative code and take, last, a struct err that receives one sentence
 * complete enough to print.  Nothing exits; nothing prints except through log_*. */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* ---- errors ---------------------------------------------------------------- */

enum err_code {
    ERR_OK = 0,
    ERR_MEMORY = -1,    // an allocation failed, or would exceed a limit
    ERR_IO = -2,        // the system refused: open, read, write, rename, full disk
    ERR_FORMAT = -3,    // a file or reply is not what it claims to be
    ERR_VALUE = -4,     // an option, field or argument has an unusable value
    ERR_MISSING = -5,   // something named is not there: file, tensor, key
    ERR_UNSUPPORTED = -6,   // valid, but not something this program can do
    ERR_NUMERIC = -7,   // NaN or infinity where a number was needed
    ERR_INTERRUPTED = -8,   // SIGINT/SIGTERM was seen; state was saved
    ERR_USAGE = -9,     // wrong command line; exit code 2
    ERR_LIMIT = -10,    // a budget that was given is spent; what was done is kept
};

struct err {
    int code;           // 0 while nothing failed
    char msg[1024];     // one sentence: where, what was expected, what was found
};

/* Fills err (NULL allowed) and returns code.  Later calls overwrite. */
int err_set(struct err *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
#ifdef __clang_analyzer__   // so that `make tidy` knows a failure is not 0
#define err_set(err, code, ...) ((err_set)(err, code, __VA_ARGS__), (code))
#endif
/* Puts "prefix: " in front of the sentence already there.  Returns err's code. */
int err_prefix(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* A broken promise inside the program: says where and aborts. */
#define BUG(...) bug_at(__FILE__, __LINE__, __func__, __VA_ARGS__)
#define BUG_IF(cond) do { if (cond) BUG("%s", #cond); } while (0)
_Noreturn void bug_at(const char *file, int line, const char *func, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* ---- memory ---------------------------------------------------------------- */

/* Multiplication of sizes from outside; returns false on overflow. */
bool size_mul(size_t *out, size_t a, size_t b);
bool size_add(size_t *out, size_t a, size_t b);

/* n elements of size bytes, zeroed; NULL on failure or overflow.  RLAIF_FAIL_AT
 * (docs/debugging.md) makes the n-th allocation fail. */
void *mem_alloc(size_t n, size_t size);
void *mem_grow(void *p, size_t *cap, size_t need, size_t size);  // doubles cap, zeroes what is new; NULL on failure, p stays
/* For operations that cannot fail and lack the memory for what they keep: a sentence, and exit
 * code 1.  Nothing is lost but the work since the last checkpoint, because files appear whole or
 * not at all. */
_Noreturn void mem_die(const char *fmt, ...) PRINTF_LIKE(1, 2);
void *mem_aligned(size_t bytes);        // 64-byte aligned, not zeroed; free with free()

/* Many small results that die together.  Zero-initialise; arena_release frees all. */
struct arena { struct arena_chunk *head; };
void *arena_alloc(struct arena *a, size_t bytes);           // zeroed, 16-aligned, NULL on failure
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t n);
void arena_release(struct arena *a);

/* ---- strings --------------------------------------------------------------- */

/* A growable byte string, always NUL-terminated once something was appended.
 * Zero-initialise; a failed append sets `failed` and later appends do nothing, so
 * one check at the end is enough. */
struct buf { char *s; size_t len, cap; bool failed; };
void buf_add(struct buf *b, const void *bytes, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_clear(struct buf *b);              // keeps the memory
void buf_release(struct buf *b);
char *buf_take(struct buf *b);              // caller frees; NULL if failed; b becomes empty

char *str_printf(const char *fmt, ...) PRINTF_LIKE(1, 2);  // malloc'd, NULL on failure
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
/* The candidate nearest to `word` by edit distance (for "did you mean"), or NULL when none is
 * near.  list is NULL-terminated. */
const char *str_nearest(const char *word, const char *const *list);
/* Whole-string parses; false where anything is left over or out of range. */
bool str_to_i64(const char *s, int64_t *out);
bool str_to_double(const char *s, double *out);
/* Length of valid UTF-8 at the start of s (n bytes); equal to n when all of it is valid. */
size_t utf8_valid(const char *s, size_t n);

/* ---- JSON (jansson underneath; json_t is used directly) ---------------------- */

/* Bounded in depth and size; err names `where` plus line and column. */
json_t *json_parse(const char *s, size_t n, const char *where, struct err *err) MUST_CHECK;
json_t *json_read_file(const char *path, struct err *err) MUST_CHECK;
/* Appends value as text, indent 0 (one line) or more.  Doubles are written so that they read back
 * exactly. */
void json_add_text(struct buf *b, const json_t *value, int indent);
/* Pretty (indent 2) and atomically. */
int json_write_file(const char *path, const json_t *value, struct err *err) MUST_CHECK;
/* Typed members.  `where` begins the message.  The _or forms return the default where the key is
 * absent or null and fail (ERR_FORMAT) where the type is wrong. */
int json_get_str(const json_t *o, const char *key, const char **out, const char *where,
                 struct err *err);
int json_get_i64(const json_t *o, const char *key, int64_t *out, const char *where,
                 struct err *err);
int json_get_double(const json_t *o, const char *key, double *out, const char *where,
                    struct err *err);
int json_get_bool(const json_t *o, const char *key, bool *out, const char *where, struct err *err);
int json_str_or(const json_t *o, const char *key, const char *dflt, const char **out,
                const char *where, struct err *err);
int json_i64_or(const json_t *o, const char *key, int64_t dflt, int64_t *out, const char *where,
                struct err *err);
int json_double_or(const json_t *o, const char *key, double dflt, double *out, const char *where,
                   struct err *err);
int json_bool_or(const json_t *o, const char *key, bool dflt, bool *out, const char *where,
                 struct err *err);

/* ---- YAML -------------------------------------------------------------------- */

/* A YAML file as JSON values in the file's order: mappings, lists, scalars; no anchors, aliases
 * or tags.  Errors name line and column.  The caller owns *out. */
int yaml_read_file(json_t **out, const char *path, struct err *err) MUST_CHECK;
/* The same, and where every value stands: {"/exemplars/0/better": 12, ...}, so that what is wrong
 * with it can be said by line. */
int yaml_read_lines(json_t **out, json_t **lines, const char *path, struct err *err) MUST_CHECK;
int yaml_parse(json_t **out, const char *text, size_t n, const char *where,
               struct err *err) MUST_CHECK;

/* ---- random numbers ---------------------------------------------------------
 * Philox4x32-10 (Salmon et al. 2011).  A stream is keyed by what it is for, not by when it is used:
 * same (seed, purpose, item, step), same numbers, whatever the batch, threads or restarts. */
enum rng_purpose {
    RNG_SHUFFLE = 1,
    RNG_SAMPLE,
    RNG_INIT,
    RNG_LAB,
    RNG_ANNOTATOR,
    RNG_BOOTSTRAP,
    RNG_SPLIT,
    RNG_TEST,
    RNG_ORDER,
    RNG_PRINCIPLE,
};
struct rng { uint32_t key[2], ctr[4], out[4]; int used; };
void rng_init(struct rng *r, uint64_t seed, enum rng_purpose purpose, uint64_t item, uint32_t step);
uint32_t rng_u32(struct rng *r);
double rng_uniform(struct rng *r);                  // [0,1)
double rng_normal(struct rng *r);                   // mean 0, variance 1
uint32_t rng_below(struct rng *r, uint32_t n);      // 0..n-1, unbiased; n > 0
void rng_shuffle(struct rng *r, int *index, int n); // Fisher-Yates in place

/* ---- hashes ---------------------------------------------------------------- */

struct hash128 { uint64_t lo, hi; };
struct hash128 hash_bytes(const void *p, size_t n);         // XXH3-128: keys
void hash_hex(char out[33], struct hash128 h);
int hash_file(char out[33], const char *path, struct err *err) MUST_CHECK;    // XXH3-128 of the content
int sha256_file(char out[65], const char *path, struct err *err) MUST_CHECK;

/* ---- files ----------------------------------------------------------------- */

/* Whole file, NUL-terminated for convenience; fails beyond max bytes (0: 1 GiB). */
int file_read(char **out, size_t *n, const char *path, size_t max, struct err *err) MUST_CHECK;
/* Read-only map.  An empty file maps to p == NULL, n == 0. */
struct file_map { const unsigned char *p; size_t n; };
int file_map_open(struct file_map *m, const char *path, struct err *err) MUST_CHECK;
void file_map_close(struct file_map *m);
bool file_exists(const char *path);
bool dir_exists(const char *path);
int dir_make(const char *path, struct err *err);            // with parents; exists is fine
int dir_make_parent(const char *path, struct err *err);     // the folder that `path` will lie in, likewise
int dir_remove(const char *path, struct err *err);          // recursive; absent is fine
int file_copy(const char *to, const char *from, struct err *err) MUST_CHECK;
char *path_join(const char *dir, const char *name);         // malloc'd

/* A file that appears whole or not at all: written as PATH.partial beside its final name, fsynced
 * and renamed by commit; close without commit removes it.  w->f is an ordinary stream. */
struct file_out { FILE *f; char *path, *tmp; };
int file_out_open(struct file_out *w, const char *path, struct err *err) MUST_CHECK;
int file_out_commit(struct file_out *w, struct err *err) MUST_CHECK;   // also closes
void file_out_close(struct file_out *w);                    // safe after commit
int file_write(const char *path, const void *p, size_t n, struct err *err) MUST_CHECK;  // atomically
/* A folder that appears whole or not at all: fill the returned PATH.partial, then commit (which
 * replaces an older folder of that name) or drop. */
int dir_out_open(char **tmp, const char *path, struct err *err) MUST_CHECK;
int dir_out_commit(char *tmp, const char *path, struct err *err) MUST_CHECK;    // frees tmp
void dir_out_drop(char *tmp);                               // removes and frees; NULL is fine

/* ---- time, memory, interruption, log ------------------------------------------ */

double time_now(void);              // seconds, monotonic
char *time_iso(void);               // malloc'd "2026-01-31T12:00:00Z"
double mem_peak_mb(void);           // peak resident set of this process
double mem_now_mb(void);            // resident set now
void mem_peak_reset(void);          // the peak counts from now on, where the system can do that
int threads_default(void);          // RLAIF_THREADS, else processors this process may use

void interrupt_install(void);       // SIGINT and SIGTERM set a flag; a second one ends the process
bool interrupted(void);

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_level log_set_level(enum log_level level);      // returns the one before
void log_msg(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);    // to stderr
#define log_info(...) log_msg(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_msg(LOG_WARN, __VA_ARGS__)
bool trace_on(const char *room);    // RLAIF_TRACE=feedback,learn

/* Where time goes, with RLAIF_TRACE=time; otherwise a scope costs one comparison.
 * PROFILE("phase"); counts from there to the end of the block, below the scope that is open;
 * names live for ever, and those of operations begin with "op_". */
struct profile_scope { int node; double start; };
struct profile_scope profile_enter(const char *name);
void profile_leave(struct profile_scope *s);
#define PROFILE(name)                                                                              \
    struct profile_scope profile_scope_ __attribute__((cleanup(profile_leave), unused)) =          \
        profile_enter(name)
void profile_print(FILE *to);       // the tree of scopes and the sums of operations; nothing where none was followed

/* A progress line with rate and ETA on a terminal, a plain line now and then otherwise. */
struct progress { const char *what, *unit; double total, done, start, last; bool tty; };
void progress_begin(struct progress *p, const char *what, const char *unit, double total);
void progress_add(struct progress *p, double n, const char *note);  // note may be NULL
void progress_end(struct progress *p);

/* What `git describe` said when this was built. */
const char *rlaif_version(void);

/* Failure injection for `make torture`: true when the n-th checkpoint named by RLAIF_FAIL_AT is
 * reached. */
bool fail_now(void);

#endif
