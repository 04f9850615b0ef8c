/* feedback/store.c - every reply of every labeler, in one SQLite file.
 *
 *     labelers     fingerprint, and the name people know it by
 *     protocols    hash or name
 *     texts        prompts, candidates, heads of prompts, settings: each text once
 *     questions    head + body (of messages: their JSON) + prefill: each question once, whoever was asked
 *     replies      what one labeler said to one question, drawn once
 *     labels       what a protocol made of replies
 *
 * Replies are found by their key (ask_key) alone; the other columns are for people and for exports.  Write-ahead log: a
 * killed process loses its open transaction, nothing else.  The file is a cache: exported rows are what other stages
 * read. */
#include "feedback/store.h"

#include <math.h>
#include <sqlite3.h>
#include <time.h>

#define STORE_APPLICATION 0x524c4146    // "RLAF", SQLite's application_id
#define STORE_VERSION 2                 // user_version: the schema below

static const char schema[] =
    "CREATE TABLE labelers(id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, name TEXT);"
    "CREATE TABLE protocols(id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE);"
    "CREATE TABLE texts(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, text TEXT NOT NULL);"
    "CREATE TABLE questions(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, head INTEGER REFERENCES texts,"
    " body TEXT NOT NULL, messages INTEGER NOT NULL, prefill TEXT);"
    "CREATE TABLE replies(id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, labeler INTEGER NOT NULL REFERENCES labelers,"
    " protocol INTEGER NOT NULL REFERENCES protocols, question INTEGER NOT NULL REFERENCES questions,"
    " settings INTEGER NOT NULL REFERENCES texts, draw INTEGER NOT NULL, shown INTEGER NOT NULL, follows BLOB,"
    " state TEXT NOT NULL, text TEXT, thinking TEXT, logps TEXT, mass REAL,"
    " tokens_in INTEGER, tokens_cached INTEGER, tokens_out INTEGER, thinking_tokens INTEGER,"
    " ms REAL, price REAL, error TEXT, created INTEGER NOT NULL);"
    "CREATE TABLE labels(id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, labeler INTEGER NOT NULL REFERENCES labelers,"
    " protocol INTEGER NOT NULL REFERENCES protocols, prompt INTEGER NOT NULL REFERENCES texts,"
    " first INTEGER NOT NULL REFERENCES texts, second INTEGER REFERENCES texts, value REAL, state TEXT NOT NULL,"
    " detail TEXT, created INTEGER NOT NULL);";

enum { ASK_LABELER, ASK_PROTOCOL, MEMOS };      // rows that the same process asks for again and again

struct store {
    char *path;
    sqlite3 *db;
    sqlite3_stmt *find, *add, *add_label, *text_find, *text_add, *question_find, *question_add, *labeler, *protocol;
    bool open;      // a transaction is
    struct { char *text; int64_t id; } memo[MEMOS];
    struct buf scratch;
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

static void memos_forget(struct store *s)
{
    for (int i = 0; i < MEMOS; i++) {
        free(s->memo[i].text);
        s->memo[i].text = NULL;
    }
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
    const struct { sqlite3_stmt **st; const char *sql; } all[] = {
        {&s->find, "SELECT state,text,thinking,logps,mass,tokens_in,tokens_cached,tokens_out,thinking_tokens,ms,price,error"
                   " FROM replies WHERE key=?1"},
        {&s->add, "INSERT INTO replies(key,labeler,protocol,question,settings,draw,shown,follows,state,text,thinking,logps,"
                  "mass,tokens_in,tokens_cached,tokens_out,thinking_tokens,ms,price,error,created)"
                  " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21)"
                  " ON CONFLICT(key) DO UPDATE SET state=excluded.state,text=excluded.text,thinking=excluded.thinking,"
                  "logps=excluded.logps,mass=excluded.mass,tokens_in=excluded.tokens_in,tokens_cached=excluded.tokens_cached,"
                  "tokens_out=excluded.tokens_out,thinking_tokens=excluded.thinking_tokens,ms=excluded.ms,"
                  "price=price+excluded.price,error=excluded.error,created=excluded.created WHERE state='failed'"},
        {&s->add_label, "INSERT OR REPLACE INTO labels(key,labeler,protocol,prompt,first,second,value,state,detail,created)"
                        " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)"},
        {&s->text_find, "SELECT id FROM texts WHERE hash=?1"},
        {&s->text_add, "INSERT INTO texts(hash,text) VALUES(?1,?2)"},
        {&s->question_find, "SELECT id FROM questions WHERE hash=?1"},
        {&s->question_add, "INSERT INTO questions(hash,head,body,messages,prefill) VALUES(?1,?2,?3,?4,?5)"},
        {&s->labeler, "INSERT INTO labelers(fingerprint,name) VALUES(?1,?2)"
                      " ON CONFLICT DO UPDATE SET name=coalesce(excluded.name,name) RETURNING id"},
        {&s->protocol, "INSERT INTO protocols(hash) VALUES(?1) ON CONFLICT DO UPDATE SET hash=excluded.hash RETURNING id"},
    };
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(all) && rc == 0; i++)
        rc = prepare(s, all[i].st, all[i].sql, err);
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
    sqlite3_stmt *all[] = {s->find, s->add, s->add_label, s->text_find, s->text_add, s->question_find, s->question_add,
                           s->labeler, s->protocol};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        sqlite3_finalize(all[i]);
    sqlite3_close(s->db);       // rolls back what is open
    memos_forget(s);
    buf_release(&s->scratch);
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
    memos_forget(s);        // ids given in the transaction are gone
}

/* ---- texts, each once --------------------------------------------------------------------------------- */

/* The id a lookup gives, 0: none, negative: failure. */
static int64_t find_id(struct store *s, sqlite3_stmt *st, const struct hash128 *h, struct err *err)
{
    sqlite3_bind_blob(st, 1, h, sizeof *h, SQLITE_STATIC);
    int step = sqlite3_step(st);
    int64_t id = step == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
    if (step != SQLITE_ROW && step != SQLITE_DONE)
        id = db_error(s, "looking for a text", err);
    sqlite3_reset(st);
    return id;
}

static int64_t insert_id(struct store *s, sqlite3_stmt *st, struct err *err)
{
    int64_t id = sqlite3_step(st) == SQLITE_DONE ? sqlite3_last_insert_rowid(s->db) : db_error(s, "adding a text", err);
    sqlite3_reset(st);
    return id;
}

/* The row of a text, made when it is new; negative on failure. */
static int64_t text_id(struct store *s, const char *text, struct err *err)
{
    size_t n = strlen(text);
    struct hash128 h = hash_bytes(text, n);
    int64_t id = find_id(s, s->text_find, &h, err);
    if (id)
        return id;
    sqlite3_bind_blob(s->text_add, 1, &h, sizeof h, SQLITE_STATIC);
    sqlite3_bind_text(s->text_add, 2, text, (int)n, SQLITE_STATIC);
    return insert_id(s, s->text_add, err);
}

/* Of the labeler or protocol; the last one is remembered. */
static int64_t name_id(struct store *s, int which, const char *text, const char *name, struct err *err)
{
    if (s->memo[which].text && !strcmp(s->memo[which].text, text))
        return s->memo[which].id;
    sqlite3_stmt *st = which == ASK_LABELER ? s->labeler : s->protocol;
    sqlite3_bind_text(st, 1, text, -1, SQLITE_STATIC);
    if (which == ASK_LABELER)
        sqlite3_bind_text(st, 2, name && *name ? name : NULL, -1, SQLITE_STATIC);
    int64_t id = sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int64(st, 0) : db_error(s, "adding a labeler", err);
    sqlite3_reset(st);
    if (id > 0) {
        free(s->memo[which].text);
        s->memo[which].text = strdup(text);
        s->memo[which].id = id;
    }
    return id;
}

/* ---- questions -------------------------------------------------------------------------------------------- */

static void messages_text(struct buf *b, const struct ask *ask)
{
    json_t *list = json_array();
    for (int i = 0; i < ask->n_messages; i++)
        json_array_append_new(list, json_pack("{ssss}", "role", ask->message[i].role, "content", ask->message[i].content));
    json_add_text(b, list, 0);
    json_decref(list);
}

/* What is wanted of the reply, as JSON. */
static void settings_text(struct buf *b, const struct ask *ask)
{
    const struct sampling *m = &ask->sampling;
    json_t *o = json_object(), *words = json_array(), *stop = json_array();
    for (int i = 0; i < ask->n_words; i++)
        json_array_append_new(words, json_string(ask->word[i]));
    for (int i = 0; i < m->n_stop; i++)
        json_array_append_new(stop, json_string(m->stop[i]));
    if (ask->kind == ASK_WORDS)
        json_object_set(o, "words", words);
    if (m->max_new_tokens) {
        json_object_set_new(o, "temperature", json_real(m->temperature));
        json_object_set_new(o, "top_k", json_integer(m->top_k));
        json_object_set_new(o, "top_p", json_real(m->top_p));
        json_object_set_new(o, "max_new_tokens", json_integer(m->max_new_tokens));
        json_object_set_new(o, "seed", json_integer((json_int_t)m->seed));
        json_object_set(o, "stop", stop);
    }
    if (ask->schema)
        json_object_set_new(o, "schema", json_string(ask->schema));
    json_add_text(b, o, 0);
    json_decref(words);
    json_decref(stop);
    json_decref(o);
}

static int64_t question_id(struct store *s, const struct ask *ask, struct err *err)
{
    struct buf *b = &s->scratch;
    bool headed = ask->prompt && ask->head && *ask->head && str_starts(ask->prompt, ask->head);
    int64_t head = headed ? text_id(s, ask->head, err) : 0;
    if (head < 0)
        return head;
    buf_clear(b);
    if (ask->prompt)
        buf_adds(b, ask->prompt + (headed ? strlen(ask->head) : 0));
    else
        messages_text(b, ask);
    if (b->failed)
        return err_set(err, ERR_MEMORY, "no memory to keep a question");
    const char *prefill = ask->prefill ? ask->prefill : "";
    struct hash128 part[] = {hash_bytes(b->s, b->len), hash_bytes(prefill, strlen(prefill)),
                             {(uint64_t)head, ask->prompt == NULL}};
    struct hash128 h = hash_bytes(part, sizeof part);
    int64_t id = find_id(s, s->question_find, &h, err);
    if (id)
        return id;
    sqlite3_stmt *st = s->question_add;
    sqlite3_bind_blob(st, 1, &h, sizeof h, SQLITE_STATIC);
    if (head)
        sqlite3_bind_int64(st, 2, head);
    else
        sqlite3_bind_null(st, 2);
    sqlite3_bind_text(st, 3, b->s, (int)b->len, SQLITE_STATIC);
    sqlite3_bind_int(st, 4, ask->prompt == NULL);
    sqlite3_bind_text(st, 5, *prefill ? prefill : NULL, -1, SQLITE_STATIC);
    return insert_id(s, st, err);
}

static int64_t settings_id(struct store *s, const struct ask *ask, struct err *err)
{
    buf_clear(&s->scratch);
    settings_text(&s->scratch, ask);
    return s->scratch.failed ? err_set(err, ERR_MEMORY, "no memory to keep a question") : text_id(s, s->scratch.s, err);
}

/* ---- replies -------------------------------------------------------------------------------------------------- */

/* [[sum,bare],...]; NaN as null, minus infinity as "-inf": JSON has neither. */
static void number_text(struct buf *b, double x)
{
    if (isfinite(x))
        buf_addf(b, "%.17g", x);
    else
        buf_adds(b, isnan(x) ? "null" : "\"-inf\"");
}

static void logps_text(struct buf *b, const struct reply *r, int n)
{
    buf_clear(b);
    for (int w = 0; w < n; w++) {
        buf_adds(b, w ? ",[" : "[[");
        number_text(b, r->word[w].sum);
        buf_adds(b, ",");
        number_text(b, r->word[w].bare);
        buf_adds(b, "]");
    }
    buf_adds(b, "]");
}

static double number_value(const json_t *v)
{
    return json_is_number(v) ? json_number_value(v) : json_is_string(v) ? -INFINITY : NAN;
}

static int logps_read(struct reply *r, const struct store *s, const char *text, struct err *err)
{
    json_t *list = json_parse(text, strlen(text), s->path, err);
    if (!list)
        return ERR_FORMAT;
    for (size_t w = 0; w < PROVIDER_MAX_WORDS && w < json_array_size(list); w++) {
        const json_t *pair = json_array_get(list, w);
        r->word[w] = (struct word_logp){number_value(json_array_get(pair, 0)), number_value(json_array_get(pair, 1))};
    }
    json_decref(list);
    r->has_logps = true;
    return 0;
}

static double column(sqlite3_stmt *st, int i)
{
    return sqlite3_column_type(st, i) == SQLITE_NULL ? NAN : sqlite3_column_double(st, i);
}

static const char *column_text(sqlite3_stmt *st, int i)
{
    return (const char *)sqlite3_column_text(st, i);
}

static int reply_read(struct reply *r, const struct store *s, sqlite3_stmt *st, struct err *err)
{
    const char *state = column_text(st, 0), *text[] = {column_text(st, 1), column_text(st, 2), column_text(st, 11)};
    char **to[] = {&r->text, &r->thinking, &r->error};
    int k = REPLY_OK;
    while (k < REPLY_FAILED && strcmp(state ? state : "", reply_state_name((enum reply_state)k)))
        k++;
    r->state = (enum reply_state)k;
    for (int i = 0; i < 3; i++)
        if (text[i] && !(*to[i] = strdup(text[i])))
            return err_set(err, ERR_MEMORY, "no memory for a reply");
    r->mass = column(st, 4);
    r->tokens_in = sqlite3_column_int(st, 5);
    r->tokens_cached = sqlite3_column_int(st, 6);
    r->tokens_out = sqlite3_column_int(st, 7);
    r->thinking_tokens = sqlite3_column_int(st, 8);
    r->seconds = sqlite3_column_double(st, 9) / 1000;
    r->price = sqlite3_column_double(st, 10);
    const char *logps = column_text(st, 3);
    return logps ? logps_read(r, s, logps, err) : 0;
}

int store_find(struct store *s, struct reply *r, struct hash128 key, struct err *err)
{
    sqlite3_bind_blob(s->find, 1, &key, sizeof key, SQLITE_STATIC);
    int step = sqlite3_step(s->find), found = step == SQLITE_ROW;
    *r = (struct reply){.key = key};
    if (found) {
        int rc = reply_read(r, s, s->find, err);
        if (rc) {
            reply_release(r);
            found = rc;
        }
    } else if (step != SQLITE_DONE) {
        found = db_error(s, "looking for a reply", err);
    }
    sqlite3_reset(s->find);
    return found;
}

static int write_row(struct store *s, sqlite3_stmt *st, const char *doing, struct err *err)
{
    int rc = sqlite3_step(st) == SQLITE_DONE ? 0 : db_error(s, doing, err);
    sqlite3_reset(st);
    return rc;
}

static void bind_reply(struct store *s, sqlite3_stmt *st, const struct ask *ask, const struct reply *r)
{
    bool logps = r->state == REPLY_OK && r->has_logps;
    if (logps)
        logps_text(&s->scratch, r, ask->n_words);
    sqlite3_bind_text(st, 9, reply_state_name(r->state), -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 10, r->text, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 11, r->thinking, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 12, logps ? s->scratch.s : NULL, -1, SQLITE_STATIC);
    sqlite3_bind_double(st, 13, r->mass);
    sqlite3_bind_int(st, 14, r->tokens_in);
    sqlite3_bind_int(st, 15, r->tokens_cached);
    sqlite3_bind_int(st, 16, r->tokens_out);
    sqlite3_bind_int(st, 17, r->thinking_tokens);
    sqlite3_bind_double(st, 18, r->seconds * 1000);
    sqlite3_bind_double(st, 19, r->price);
    sqlite3_bind_text(st, 20, r->error, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 21, (int64_t)time(NULL));
}

int store_add(struct store *s, const struct provider *by, const struct ask *ask, const struct reply *r, struct err *err)
{
    static const struct hash128 none;
    int64_t id[] = {name_id(s, ASK_LABELER, by->fingerprint, by->name, err), 0, 0, 0};
    if (id[0] > 0)
        id[1] = name_id(s, ASK_PROTOCOL, ask->protocol ? ask->protocol : "", NULL, err);
    if (id[1] > 0)
        id[2] = question_id(s, ask, err);
    if (id[2] > 0)
        id[3] = settings_id(s, ask, err);
    if (id[3] <= 0)
        return ERR_IO;
    sqlite3_stmt *st = s->add;
    sqlite3_bind_blob(st, 1, &r->key, sizeof r->key, SQLITE_STATIC);
    for (int i = 0; i < 4; i++)
        sqlite3_bind_int64(st, 2 + i, id[i]);
    sqlite3_bind_int(st, 6, ask->draw);
    sqlite3_bind_int(st, 7, ask->order);
    if (memcmp(&ask->follows, &none, sizeof none))
        sqlite3_bind_blob(st, 8, &ask->follows, sizeof ask->follows, SQLITE_STATIC);
    else
        sqlite3_bind_null(st, 8);
    bind_reply(s, st, ask, r);
    return write_row(s, st, "adding a reply", err);
}

/* ---- labels ------------------------------------------------------------------------------------------------------ */

static struct hash128 label_key(const struct store_label *l)
{
    // A hash of hashes: no two different tuples run together.
    const char *part[] = {l->labeler, l->protocol, l->prompt, l->first, l->second ? l->second : ""};
    struct hash128 each[ARRAY_LEN(part)];
    for (size_t i = 0; i < ARRAY_LEN(part); i++)
        each[i] = hash_bytes(part[i], strlen(part[i]));
    return hash_bytes(each, sizeof each);
}

int store_add_label(struct store *s, const struct store_label *l, struct err *err)
{
    int64_t id[] = {name_id(s, ASK_LABELER, l->labeler, NULL, err), 0, 0, 0, 0};
    const char *text[] = {l->prompt, l->first, l->second};
    sqlite3_stmt *st = s->add_label;
    struct hash128 key = label_key(l);
    if (id[0] > 0)
        id[1] = name_id(s, ASK_PROTOCOL, l->protocol, NULL, err);
    bool ok = id[1] > 0;
    for (int i = 0; i < 3 && ok; i++)
        ok = !text[i] || (id[2 + i] = text_id(s, text[i], err)) > 0;
    if (!ok)
        return ERR_IO;
    sqlite3_bind_blob(st, 1, &key, sizeof key, SQLITE_STATIC);
    for (int i = 0; i < 5; i++)
        sqlite3_bind_int64(st, 2 + i, id[i]);
    if (!l->second)
        sqlite3_bind_null(st, 6);
    sqlite3_bind_double(st, 7, l->value);
    sqlite3_bind_text(st, 8, l->state, -1, SQLITE_STATIC);
    buf_clear(&s->scratch);
    if (l->detail)
        json_add_text(&s->scratch, l->detail, 0);
    sqlite3_bind_text(st, 9, l->detail ? s->scratch.s : NULL, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 10, (int64_t)time(NULL));
    return write_row(s, st, "adding a label", err);
}

/* ---- looking inside ------------------------------------------------------------------------------------------ */

int store_inspect(json_t **out, const char *path, struct err *err)
{
    static const char *const table[] = {"labelers", "protocols", "questions", "replies", "texts", "labels"};
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
