/* feedback/store.h - every reply and every label, in one SQLite file.
 *
 * Replies are keyed by all that determines them (ask_key), so one table serves all protocols.  Labels are what a
 * protocol made of replies, and what people said.  Several processes may use one file at the same time. */
#ifndef FEEDBACK_STORE_H
#define FEEDBACK_STORE_H

#include "feedback/ask.h"

struct store;
/* Opens or creates; a file that is something else is refused with a sentence. */
int store_open(struct store **out, const char *path, struct err *err) MUST_CHECK;
void store_close(struct store *s);
/* Writes are collected in a transaction: begin (again is fine), add, commit.  While one is open other processes wait. */
int store_begin(struct store *s, struct err *err);
int store_commit(struct store *s, struct err *err);
void store_rollback(struct store *s);

/* 1 and *r filled where the reply is known, 0 where not, negative on failure. */
int store_find(struct store *s, struct reply *r, struct hash128 key, struct err *err);
/* r->key says where.  A reply that failed is replaced, any other stays as it was first stored. */
int store_add(struct store *s, const struct provider *by, const struct ask *ask, const struct reply *r, struct err *err);

/* A label: of a pair, value is P(first is the better one); of a single text (second NULL) whatever its protocol says. */
struct store_label {
    const char *labeler, *protocol, *prompt, *first, *second;   // they make the key
    double value;
    const char *state;          // "answered", ...
    const json_t *detail;       // what else is known: orders, slots, mass; NULL: nothing
};
int store_add_label(struct store *s, const struct store_label *l, struct err *err);

/* Counts per table as JSON, for `rlaif inspect`. */
int store_inspect(json_t **out, const char *path, struct err *err) MUST_CHECK;
/* True when the file begins like an SQLite database. */
bool store_is_one(const char *path);

#endif
