/* feedback/store.c - every reply of every labeler, in one SQLite file.
 *
 *     prompts      text, by hash
 *     candidates   text, by hash
 *     labelers     fingerprint
 *     protocols    hash
 *     replies      one order of one pair: log-probs of both label words, their mass
 *     labels       both orders combined
 *
 * The key of a reply is the XXH3-128 of labeler, protocol and the three texts in the order shown, so a reply is found
 * exactly when everything that determines it is the same.  Write-ahead log: a killed process loses its open transaction,
 * nothing else.  The file is a cache: exported rows are what other stages read. */
#include "feedback/feedback.h"

#include <math.h>
#include <sqlite3.h>

#define STORE_APPLICATION 0x524c4146    // "RLAF", SQLite's application_id
#define STORE_VERSION 1                 // user_version: the schema below

static const char schema[] =
    "CREATE TABLE prompts(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, text TEXT NOT NULL);"
    "CREATE TABLE candidates(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, text TEXT NOT NULL);"
    "CREATE TABLE labelers(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, text TEXT NOT NULL);"
    "CREATE TABLE protocols(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, text TEXT NOT NULL);"
    "CREATE TABLE replies(key BLOB PRIMARY KEY, labeler INTEGER NOT NULL REFERENCES labelers,"
    " protocol INTEGER NOT NULL REFERENCES protocols, prompt INTEGER NOT NULL REFERENCES prompts,"
    " first INTEGER NOT NULL REFERENCES candidates, second INTEGER NOT NULL REFERENCES candidates,"
    " logp_1 REAL, logp_2 REAL, bare_1 REAL, bare_2 REAL, mass REAL, tokens INTEGER, too_long INTEGER,"
    " seconds REAL, created TEXT) WITHOUT ROWID;"
    "CREATE TABLE labels(key BLOB PRIMARY KEY, labeler INTEGER NOT NULL REFERENCES labelers,"
    " protocol INTEGER NOT NULL REFERENCES protocols, prompt INTEGER NOT NULL REFERENCES prompts,"
    " first INTEGER NOT NULL REFERENCES candidates, second INTEGER NOT NULL REFERENCES candidates,"
    " p REAL, order_a REAL, order_b REAL, slot_a INTEGER, slot_b INTEGER, mass REAL, state INTEGER,"
    " created TEXT) WITHOUT ROWID;";

enum { TEXT_PROMPT, TEXT_CANDIDATE, TEXT_LABELER, TEXT_PROTOCOL, TEXT_KINDS };
static const char *const text_table[] = {"prompts", "candidates", "labelers", "protocols"};

struct store {
    char *path;
    sqlite3 *db;
    sqlite3_stmt *find, *add, *add_label, *text_find[TEXT_KINDS], *text_add[TEXT_KINDS];
    bool open;      // a transaction is
};

static int db_error(const struct store *s, const char *doing, struct err *err)
{
    int code = sqlite3_errcode(s->db) & 0xff;
    if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT)
        return err_set(err, ERR_FORMAT,
                       "%s: %s (%s); labels can be computed again: move the file away or name another with --store",
                       s->path, code == SQLITE_NOTADB ? "this is not a label store" : "the label store is damaged",
                       sqlite3_errmsg(s->db));
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
        return err_set(err, ERR_IO, "%s: another process has held the label store for too long (%s)", s->path, doing);
    return err_set(err, ERR_IO, "%s: %s: %s", s->path, doing, sqlite3_errmsg(s->db));
}

static int db_exec(struct store *s, const char *sql, const char *doing, struct err *err)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_error(s, doing, err);
}

static int db_number(struct store *s, const char *sql, int64_t *out, struct err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = 0;
    if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK || sqlite3_step(st) != SQLITE_ROW)
        rc = db_error(s, "reading", err);
    else
        *out = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return rc;
}

/* ---- opening ------------------------------------------------------------------------------------ */

bool store_is_one(const char *path)
{
    char head[16] = {0};
    FILE *f = fopen(path, "rb");
    bool is = f && fread(head, 1, sizeof head, f) == sizeof head && !memcmp(head, "SQLite format 3", 16);
    if (f)
        fclose(f);
    return is;
}

/* An empty database becomes ours; anything else has to say that it is. */
static int store_schema(struct store *s, struct err *err)
{
    int64_t app = 0, version = 0, tables = 0;
    int rc = db_exec(s, "BEGIN IMMEDIATE", "opening", err);     // two processes may come at once
    if (rc == 0)
        rc = db_number(s, "PRAGMA application_id", &app, err);
    if (rc == 0)
        rc = db_number(s, "PRAGMA user_version", &version, err);
    if (rc == 0)
        rc = db_number(s, "SELECT count(*) FROM sqlite_master", &tables, err);
    if (rc)
        return rc;
    if (tables == 0 && app == 0) {
        char sql[128];
        snprintf(sql, sizeof sql, "PRAGMA application_id=%d; PRAGMA user_version=%d;", STORE_APPLICATION, STORE_VERSION);
        rc = db_exec(s, schema, "making tables", err);
        if (rc == 0)
            rc = db_exec(s, sql, "making tables", err);
    } else if (app != STORE_APPLICATION) {
        rc = err_set(err, ERR_FORMAT, "%s: this is an SQLite database of another program, not a label store", s->path);
    } else if (version != STORE_VERSION) {
        rc = err_set(err, ERR_UNSUPPORTED, "%s: the label store has format %lld, this program knows format %d", s->path,
                     (long long)version, STORE_VERSION);
    }
    return rc ? rc : db_exec(s, "COMMIT", "opening", err);
}

static int store_connect(struct store *s, int flags, struct err *err)
{
    if (sqlite3_open_v2(s->path, &s->db, flags, NULL) != SQLITE_OK)
        return err_set(err, ERR_IO, "%s: cannot open the label store: %s", s->path,
                       s->db ? sqlite3_errmsg(s->db) : "no memory");
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, 20000);
    return 0;
}

static int prepare(struct store *s, sqlite3_stmt **st, const char *sql, struct err *err)
{
    return sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, st, NULL) == SQLITE_OK
               ? 0 : db_error(s, "preparing (is it complete?)", err);
}

static int store_prepare(struct store *s, struct err *err)
{
    int rc = prepare(s, &s->find,
                     "SELECT logp_1,logp_2,bare_1,bare_2,mass,tokens,too_long FROM replies WHERE key=?1", err);
    if (rc == 0)
        rc = prepare(s, &s->add, "INSERT OR IGNORE INTO replies VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)",
                     err);
    if (rc == 0)
        rc = prepare(s, &s->add_label,
                     "INSERT OR REPLACE INTO labels VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)", err);
    for (int k = 0; k < TEXT_KINDS && rc == 0; k++) {
        char sql[96];
        snprintf(sql, sizeof sql, "SELECT id FROM %s WHERE hash=?1", text_table[k]);
        rc = prepare(s, &s->text_find[k], sql, err);
        snprintf(sql, sizeof sql, "INSERT INTO %s(hash,text) VALUES(?1,?2)", text_table[k]);
        if (rc == 0)
            rc = prepare(s, &s->text_add[k], sql, err);
    }
    return rc;
}

int store_open(struct store **out, const char *path, struct err *err)
{
    struct store *s = mem_alloc(1, sizeof *s);
    if (!s || !(s->path = strdup(path))) {
        free(s);
        return err_set(err, ERR_MEMORY, "no memory for a label store");
    }
    int rc = store_connect(s, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err);
    if (rc == 0)    // NORMAL: safe against kills; a power cut may cost the last commits, never the file
        rc = db_exec(s, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=OFF;", "opening", err);
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
    sqlite3_finalize(s->find);
    sqlite3_finalize(s->add);
    sqlite3_finalize(s->add_label);
    for (int k = 0; k < TEXT_KINDS; k++) {
        sqlite3_finalize(s->text_find[k]);
        sqlite3_finalize(s->text_add[k]);
    }
    sqlite3_close(s->db);       // rolls back what is open
    free(s->path);
    free(s);
}

int store_begin(struct store *s, struct err *err)
{
    if (s->open)
        return 0;
    int rc = db_exec(s, "BEGIN IMMEDIATE", "beginning a transaction", err);
    s->open = rc == 0;
    return rc;
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
}

/* ---- keys and texts --------------------------------------------------------------------------------- */

struct hash128 shown_key(const struct shown *s)
{
    // A hash of hashes: no two different tuples run together.
    const char *part[] = {s->labeler, s->protocol, s->prompt, s->first, s->second};
    struct hash128 each[ARRAY_LEN(part)];
    for (size_t i = 0; i < ARRAY_LEN(part); i++)
        each[i] = hash_bytes(part[i], strlen(part[i]));
    return hash_bytes(each, sizeof each);
}

/* The row of a text in its table, made when it is new; 0 on failure. */
static int64_t text_id(struct store *s, int kind, const char *text, struct err *err)
{
    struct hash128 h = hash_bytes(text, strlen(text));
    int64_t id = 0;
    sqlite3_stmt *st = s->text_find[kind];
    sqlite3_bind_blob(st, 1, &h, sizeof h, SQLITE_STATIC);
    int step = sqlite3_step(st);
    if (step == SQLITE_ROW)
        id = sqlite3_column_int64(st, 0);
    sqlite3_reset(st);
    if (step != SQLITE_DONE) {
        if (!id)
            db_error(s, "looking for a text", err);
        return id;
    }
    st = s->text_add[kind];
    sqlite3_bind_blob(st, 1, &h, sizeof h, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, text, -1, SQLITE_STATIC);
    if (sqlite3_step(st) == SQLITE_DONE)
        id = sqlite3_last_insert_rowid(s->db);
    else
        db_error(s, "adding a text", err);
    sqlite3_reset(st);
    return id;
}

/* Binds key, labeler, protocol, prompt, first and second to parameters 1 to 6. */
static int bind_shown(struct store *s, sqlite3_stmt *st, struct hash128 *key, const struct shown *w, struct err *err)
{
    const int kind[] = {TEXT_LABELER, TEXT_PROTOCOL, TEXT_PROMPT, TEXT_CANDIDATE, TEXT_CANDIDATE};
    const char *text[] = {w->labeler, w->protocol, w->prompt, w->first, w->second};
    *key = shown_key(w);
    sqlite3_bind_blob(st, 1, key, sizeof *key, SQLITE_STATIC);
    for (int i = 0; i < 5; i++) {
        int64_t id = text_id(s, kind[i], text[i], err);
        if (!id)
            return ERR_IO;
        sqlite3_bind_int64(st, 2 + i, id);
    }
    return 0;
}

static int write_row(struct store *s, sqlite3_stmt *st, const char *doing, struct err *err)
{
    int rc = sqlite3_step(st) == SQLITE_DONE ? 0 : db_error(s, doing, err);
    sqlite3_reset(st);
    return rc;
}

static void bind_now(sqlite3_stmt *st, int at)
{
    char *now = time_iso();
    sqlite3_bind_text(st, at, now, -1, SQLITE_TRANSIENT);
    free(now);
}

/* ---- replies and labels ----------------------------------------------------------------------------------- */

/* SQLite stores NaN as NULL; minus infinity travels as it is. */
static double column(sqlite3_stmt *st, int i)
{
    return sqlite3_column_type(st, i) == SQLITE_NULL ? NAN : sqlite3_column_double(st, i);
}

int store_find(struct store *s, struct answer *a, const struct shown *what, struct err *err)
{
    struct hash128 key = shown_key(what);
    sqlite3_bind_blob(s->find, 1, &key, sizeof key, SQLITE_STATIC);
    int step = sqlite3_step(s->find), found = step == SQLITE_ROW;
    if (found)
        *a = (struct answer){
            .word = {{column(s->find, 0), column(s->find, 2)}, {column(s->find, 1), column(s->find, 3)}},
            .mass = column(s->find, 4),
            .tokens = sqlite3_column_int(s->find, 5),
            .too_long = sqlite3_column_int(s->find, 6),
        };
    else if (step != SQLITE_DONE)
        found = db_error(s, "looking for a reply", err);
    sqlite3_reset(s->find);
    return found;
}

int store_add(struct store *s, const struct shown *what, const struct answer *a, double seconds, struct err *err)
{
    struct hash128 key;
    int rc = bind_shown(s, s->add, &key, what, err);
    if (rc)
        return rc;
    for (int w = 0; w < 2; w++) {
        sqlite3_bind_double(s->add, 7 + w, a->word[w].sum);
        sqlite3_bind_double(s->add, 9 + w, a->word[w].bare);
    }
    sqlite3_bind_double(s->add, 11, a->mass);
    sqlite3_bind_int(s->add, 12, a->tokens);
    sqlite3_bind_int(s->add, 13, a->too_long);
    sqlite3_bind_double(s->add, 14, seconds);
    bind_now(s->add, 15);
    return write_row(s, s->add, "adding a reply", err);
}

int store_add_label(struct store *s, const struct shown *what, const struct label *l, struct err *err)
{
    struct hash128 key;
    int rc = bind_shown(s, s->add_label, &key, what, err);
    if (rc)
        return rc;
    sqlite3_bind_double(s->add_label, 7, l->p);
    sqlite3_bind_double(s->add_label, 8, l->order[0]);
    sqlite3_bind_double(s->add_label, 9, l->order[1]);
    sqlite3_bind_int(s->add_label, 10, l->slot[0]);
    sqlite3_bind_int(s->add_label, 11, l->slot[1]);
    sqlite3_bind_double(s->add_label, 12, l->mass);
    sqlite3_bind_int(s->add_label, 13, (int)l->state);
    bind_now(s->add_label, 14);
    return write_row(s, s->add_label, "adding a label", err);
}

/* ---- looking inside ------------------------------------------------------------------------------------------ */

int store_inspect(json_t **out, const char *path, struct err *err)
{
    static const char *const table[] = {"prompts", "candidates", "labelers", "protocols", "replies", "labels"};
    struct store s = {.path = (char *)path};
    int64_t app = 0, n = 0;
    if (!file_exists(path))
        return err_set(err, ERR_MISSING, "%s: there is no such file", path);
    json_t *o = json_object();
    int rc = o ? store_connect(&s, SQLITE_OPEN_READONLY, err) : err_set(err, ERR_MEMORY, "no memory");
    if (rc == 0)
        rc = db_number(&s, "PRAGMA application_id", &app, err);
    if (rc == 0 && app != STORE_APPLICATION)
        rc = err_set(err, ERR_FORMAT, "%s: this is an SQLite database of another program, not a label store", path);
    json_object_set_new(o, "format", json_string("rlaif label store"));
    for (size_t i = 0; i < ARRAY_LEN(table) && rc == 0; i++) {
        char sql[64];
        snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", table[i]);
        rc = db_number(&s, sql, &n, err);
        if (rc == 0)
            json_object_set_new(o, table[i], json_integer(n));
    }
    sqlite3_close(s.db);
    if (rc == 0)
        *out = o;
    else
        json_decref(o);
    return rc;
}
