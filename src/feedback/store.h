/* feedback/store.h - every reply and every label, in one SQLite file.
 *
 * Replies are keyed by all that determines them (ask_key), so one table serves all protocols.
 * Labels are what a protocol made of replies, and what people said.  Several processes may use
 * one file at the same time.  A file of format 1 is brought to format 2 when it is opened. */
#ifndef FEEDBACK_STORE_H
#define FEEDBACK_STORE_H

#include "feedback/ask.h"

struct store;
enum { STORE_CACHE = 32 << 20 };    // bytes of pages that an open store holds at most
/* Opens or creates; a file that is something else is refused with a sentence. */
int store_open(struct store **out, const char *path, struct err *err) MUST_CHECK;
void store_close(struct store *s);
/* Writes are collected in a transaction: begin (again is fine), add, commit.  While one is open
 * other processes wait. */
int store_begin(struct store *s, struct err *err);
int store_commit(struct store *s, struct err *err);
void store_rollback(struct store *s);

/* Around many lookups: one view of the file, and its lock taken once. */
int store_begin_reading(struct store *s, struct err *err) MUST_CHECK;
void store_end_reading(struct store *s);

/* 1 and *r filled where the reply is known, 0 where not, negative on failure. */
int store_find(struct store *s, struct reply *r, struct hash128 key, struct err *err);
/* True where the file holds replies of format 1, which are found by struct ask's `was`. */
bool store_is_migrated(const struct store *s);
/* r->key says where.  A reply that failed is replaced, any other stays as first stored. */
int store_add(struct store *s, const struct provider *by, const struct ask *ask,
              const struct reply *r, struct err *err);
/* Takes a reply out again (a person's second thought), committed at once; absent is fine. */
int store_forget(struct store *s, struct hash128 key, struct err *err) MUST_CHECK;

/* A label: of a pair, value is P(first is the better one); of a single text (second NULL)
 * whatever its protocol says. */
struct store_label {
    const char *labeler, *protocol, *prompt, *first, *second; // they make the key
    double value;
    const char *state;    // "answered", ...
    const json_t *detail; // what else is known: orders, slots, mass; NULL: nothing
};
int store_add_label(struct store *s, const struct store_label *l, struct err *err);

/* ---- looking inside, tidying, joining (`rlaif store`) --------------------------- */

/* Counts per table as JSON, for `rlaif inspect`. */
int store_inspect(json_t **out, const char *path, struct err *err) MUST_CHECK;
/* Sets in out (an object): "replies" and "labels", lists of one row for each labeler and
 * protocol with counts by state, tokens, seconds and money. */
int store_list(json_t *out, struct store *s, struct err *err) MUST_CHECK;
/* Writes every reply (or label), as rows with all that is known; of one labeler only, by
 * fingerprint or name, or NULL. */
int store_export(int *n, struct store *s, const char *path, bool labels, const char *labeler,
                 struct err *err) MUST_CHECK;
/* Leaves out texts that nothing speaks of any more and gives free pages back. */
int store_vacuum(struct store *s, struct err *err) MUST_CHECK;
/* Adds what the other file has: same key, once.  Where both have different answers under one
 * key ours stays, counted as a conflict; an answer replaces a failure. */
struct store_merged {
    int64_t replies, labels, conflicts; // added; kept as they were here
};
int store_merge(struct store_merged *out, struct store *s, const char *other,
                struct err *err) MUST_CHECK;
/* True when the file begins like an SQLite database. */
bool store_is_one(const char *path);

#endif
