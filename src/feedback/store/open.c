/* feedback/store/open.c - opening, the schema, transactions; what is wrong with a file, in a
 * sentence.
 *
 *     labelers     fingerprint, and the name people know it by
 *     protocols    hash or name
 *     texts        prompts, candidates, heads of prompts, settings: each text once
 *     questions    head + body (of messages: their JSON) + prefill: each question once, whoever was asked
 *     replies      what one labeler said to one question, drawn once
 *     labels       what a protocol made of replies
 *
 * Write-ahead log: a killed process loses its open transaction, nothing else.  The file is a
 * cache: exported rows are what other stages read. */
#include "feedback/store/internal.h"

#include <unistd.h>

/* ---- errors ------------------------------------------------------------------------------ */

int db_error(const struct store *s, const char *doing, struct err *err)
{
    int code = sqlite3_errcode(s->db) & 0xff;
    if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT)
        return err_set(err, ERR_FORMAT,
                       "%s: %s (%s); labels can be computed again: move the file away or name "
                       "another with --store",
                       s->path,
                       code == SQLITE_NOTADB ? "this is not a label store"
                                             : "the label store is damaged",
                       sqlite3_errmsg(s->db));
    // A limit on file sizes (ulimit -f) is an error of writing, a full disk has a code of its
    // own.
    if (code == SQLITE_FULL || sqlite3_extended_errcode(s->db) == SQLITE_IOERR_WRITE)
        return err_set(err, ERR_IO,
                       "%s: the disk is full (%s); what was committed is kept, and the same "
                       "command goes on from "
                       "there",
                       s->path, sqlite3_errmsg(s->db));
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
        return err_set(err, ERR_IO,
                       "%s: another process has held the label store for too long (%s)",
                       s->path, doing);
    return err_set(err, ERR_IO, "%s: %s: %s", s->path, doing, sqlite3_errmsg(s->db));
}

void memos_forget(struct store *s)
{
    memset(s->memo, 0, sizeof s->memo);
}

int db_exec(struct store *s, const char *sql, const char *doing, struct err *err)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0
                                                                   : db_error(s, doing, err);
}

int db_number(struct store *s, const char *sql, int64_t *out, struct err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = 0;
    if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK ||
        sqlite3_step(st) != SQLITE_ROW)
        rc = db_error(s, "reading", err);
    else
        *out = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return rc;
}

/* ---- opening ----------------------------------------------------------------------------- */

bool store_is_one(const char *path)
{
    char head[16] = {0};
    FILE *f = fopen(path, "rb");
    bool is = f && fread(head, 1, sizeof head, f) == sizeof head &&
              !memcmp(head, "SQLite format 3", 16);
    if (f)
        fclose(f);
    return is;
}

/* SQLite does not wait, whatever its time-out, where two connections that read want to write: it
 * answers at once that one must let go, as when processes switch a new file to its journal
 * together.  Opening has done nothing yet that could be lost, so it simply tries again. */
static int db_exec_patiently(struct store *s, const char *sql, struct err *err)
{
    double until = time_now() + STORE_WAIT_MS / 1e3;
    int code;
    while ((code = sqlite3_exec(s->db, sql, NULL, NULL, NULL) & 0xff) == SQLITE_BUSY &&
           time_now() < until)
        usleep(2000 + getpid() % 7 * 500); // not in step with who else tries
    return code == SQLITE_OK ? 0 : db_error(s, "opening", err);
}

/* An empty database becomes ours, one of an older format this one; anything else has to say
 * that it is ours. */
static int store_schema(struct store *s, struct err *err)
{
    int64_t app = 0, version = 0, tables = 0, old = 0;
    int rc = db_exec_patiently(s, "BEGIN IMMEDIATE", err); // two processes may come at once
    if (rc == 0)
        rc = db_number(s, "PRAGMA application_id", &app, err);
    if (rc == 0)
        rc = db_number(s, "PRAGMA user_version", &version, err);
    if (rc == 0)
        rc = db_number(s, "SELECT count(*) FROM sqlite_master", &tables, err);
    if (rc)
        return rc;
    if (tables == 0 && app == 0)
        rc = store_make(s, err);
    else if (app != STORE_APPLICATION)
        rc = err_set(err, ERR_FORMAT,
                     "%s: this is an SQLite database of another program, not a label store",
                     s->path);
    else if (version == 1)
        rc = store_migrate_1(s, err);
    else if (version != STORE_VERSION)
        rc = err_set(err, ERR_UNSUPPORTED,
                     "%s: the label store has format %lld, this program knows formats 1 to %d",
                     s->path, (long long)version, STORE_VERSION);
    if (rc == 0)
        rc = db_number(s, "SELECT EXISTS(SELECT 1 FROM texts WHERE hash=zeroblob(16))", &old,
                       err);
    s->migrated = old;
    return rc ? rc : db_exec(s, "COMMIT", "opening", err);
}

int store_connect(struct store *s, int flags, struct err *err)
{
    if (sqlite3_open_v2(s->path, &s->db, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        return err_set(err, ERR_IO, "%s: cannot open the label store: %s", s->path,
                       s->db ? sqlite3_errmsg(s->db) : "no memory");
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, STORE_WAIT_MS);
    return 0;
}

static const char schema[] =
    "CREATE TABLE labelers(id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, name "
    "TEXT);"
    "CREATE TABLE protocols(id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE);"
    "CREATE TABLE texts(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, text TEXT NOT NULL);"
    "CREATE TABLE questions(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, head INTEGER "
    "REFERENCES texts,"
    " body TEXT NOT NULL, messages INTEGER NOT NULL, prefill TEXT);"
    "CREATE TABLE replies(id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, labeler INTEGER "
    "NOT NULL REFERENCES labelers,"
    " protocol INTEGER NOT NULL REFERENCES protocols, question INTEGER NOT NULL REFERENCES "
    "questions,"
    " settings INTEGER NOT NULL REFERENCES texts, draw INTEGER NOT NULL, shown INTEGER NOT "
    "NULL, follows BLOB,"
    " state TEXT NOT NULL, text TEXT, thinking TEXT, logps TEXT, mass REAL,"
    " tokens_in INTEGER, tokens_cached INTEGER, tokens_out INTEGER, thinking_tokens INTEGER,"
    " ms REAL, price REAL, error TEXT, created INTEGER NOT NULL);"
    "CREATE TABLE labels(id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, labeler INTEGER NOT "
    "NULL REFERENCES labelers,"
    " protocol INTEGER NOT NULL REFERENCES protocols, prompt INTEGER NOT NULL REFERENCES texts,"
    " first INTEGER NOT NULL REFERENCES texts, second INTEGER REFERENCES texts, value REAL, "
    "state TEXT NOT NULL,"
    " detail TEXT, created INTEGER NOT NULL);";

int store_make(struct store *s, struct err *err)
{
    char sql[128];
    snprintf(sql, sizeof sql, "PRAGMA application_id=%d; PRAGMA user_version=%d;",
             STORE_APPLICATION, STORE_VERSION);
    int rc = db_exec(s, schema, "making tables", err);
    return rc ? rc : db_exec(s, sql, "making tables", err);
}

/* NORMAL: safe against kills; a power cut may cost the last commits, never the file.  New keys fall
 * on index pages at random: checkpoints are rare, so that each page is written once for many keys.  Large pages, of which fewer are written (docs/speed.md); a file
 * that is there keeps the size it was made with. */
static int store_tune(struct store *s, struct err *err)
{
    enum { PAGE = 16384, LOG = 100 << 20 };
    char sql[256];
    int64_t page = 0;
    snprintf(sql, sizeof sql,
             "PRAGMA page_size=%d; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
             "PRAGMA foreign_keys=OFF; PRAGMA cache_size=-%d;",
             PAGE, STORE_CACHE >> 10);
    int rc = db_exec_patiently(s, sql, err);
    if (rc == 0)
        rc = db_number(s, "PRAGMA page_size", &page, err);
    if (rc)
        return rc;
    snprintf(sql, sizeof sql, "PRAGMA wal_autocheckpoint=%lld", (long long)(LOG / page));
    return db_exec(s, sql, "opening", err);
}

int store_open(struct store **out, const char *path, struct err *err)
{
    struct store *s = mem_alloc(1, sizeof *s);
    if (!s || !(s->path = strdup(path))) {
        free(s);
        return err_set(err, ERR_MEMORY, "no memory for a label store");
    }
    int rc = store_connect(s, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err);
    if (rc == 0)
        rc = store_tune(s, err);
    if (rc == 0)
        rc = store_schema(s, err);
    if (rc == 0)
        rc = store_prepare(s, err);
    if (rc == 0)
        *out = s;
    else
        store_close(s);
    return rc;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    store_finalize(s);
    sqlite3_close(s->db); // rolls back what is open
    memos_forget(s);
    buf_release(&s->scratch);
    free(s->path);
    free(s);
}

bool store_is_migrated(const struct store *s)
{
    return s->migrated;
}

int store_begin(struct store *s, struct err *err)
{
    if (s->open)
        return 0;
    int rc = db_exec(s, "BEGIN IMMEDIATE", "beginning a transaction", err);
    s->open = rc == 0;
    return rc;
}

int store_begin_reading(struct store *s, struct err *err)
{
    return s->open ? 0 : db_exec(s, "BEGIN", "beginning to read", err);
}

void store_end_reading(struct store *s)
{
    if (!s->open)
        sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL);
}

int store_commit(struct store *s, struct err *err)
{
    PROFILE("commit to the store");
    if (!s->open)
        return 0;
    int rc = db_exec(s, "COMMIT", "committing", err);
    s->open = rc != 0;
    return rc;
}

void store_rollback(struct store *s)
{
    if (s->open)
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    s->open = false;
    memos_forget(s); // ids given in the transaction are gone
}
