/* feedback/store/internal.h - the store's files among themselves: the open database, its
 * schema, its errors. */
#ifndef FEEDBACK_STORE_INTERNAL_H
#define FEEDBACK_STORE_INTERNAL_H

#include <sqlite3.h>

#include "feedback/store.h"

#define STORE_APPLICATION 0x524c4146 // "RLAF", SQLite's application_id
#define STORE_VERSION 2              // user_version: the schema
#define STORE_WAIT_MS 20000          // how long another process may hold the file before that is an error

enum {
    MEMO_LABELER,
    MEMO_PROTOCOL,
    MEMO_HEAD,
    MEMO_SETTINGS,
    MEMOS
}; // rows that one process wants again and again

struct store {
    char *path;
    sqlite3 *db;
    sqlite3_stmt *find, *add, *add_label, *text_find, *text_add, *question_find, *question_add,
        *labeler, *protocol;
    bool open;     // a transaction is
    bool migrated; // holds replies of format 1, whose keys are another
    struct {
        struct hash128 hash;
        int64_t id;
    } memo[MEMOS]; // id 0: nothing
    struct buf scratch;
};

int db_error(const struct store *s, const char *doing, struct err *err);
int db_exec(struct store *s, const char *sql, const char *doing, struct err *err) MUST_CHECK;
int db_number(struct store *s, const char *sql, int64_t *out, struct err *err) MUST_CHECK;
/* Opens the file, with the functions that statements here use; nothing is checked yet. */
int store_connect(struct store *s, int flags, struct err *err) MUST_CHECK;
int store_prepare(struct store *s, struct err *err) MUST_CHECK;
void store_finalize(struct store *s);
void memos_forget(struct store *s);

/* Inside a transaction: makes the tables, or those of format 1 into these. */
int store_make(struct store *s, struct err *err) MUST_CHECK;
int store_migrate_1(struct store *s, struct err *err) MUST_CHECK;

/* [[sum,bare],...] of n words; NaN as null, minus infinity as "-inf": JSON has neither. */
void logps_text(struct buf *b, const struct word_logp *word, int n);

#endif
