/* feedback/store/tools.c - looking into a store, taking rows out of it, tidying it, joining
 * two. */
#include <math.h>

#include "data/data.h"
#include "feedback/store/internal.h"

/* ---- statements as JSON ------------------------------------------------------------------ */

/* One value; a 16-byte blob (a key) as hex digits.  NULL gives no value. */
static json_t *column_json(sqlite3_stmt *st, int i)
{
    char hex[33];
    struct hash128 h;
    switch (sqlite3_column_type(st, i)) {
    case SQLITE_INTEGER:
        return json_integer(sqlite3_column_int64(st, i));
    case SQLITE_FLOAT:
        return isfinite(sqlite3_column_double(st, i)) ? json_real(sqlite3_column_double(st, i))
                                                      : json_null();
    case SQLITE_TEXT:
        return json_stringn((const char *)sqlite3_column_text(st, i),
                            (size_t)sqlite3_column_bytes(st, i));
    case SQLITE_BLOB:
        if (sqlite3_column_bytes(st, i) != sizeof h)
            return NULL;
        memcpy(&h, sqlite3_column_blob(st, i), sizeof h);
        hash_hex(hex, h);
        return json_string(hex);
    default:
        return NULL;
    }
}

/* The row under the statement; columns named *_json hold JSON and lose the ending. */
static json_t *row_json(const struct store *s, sqlite3_stmt *st, struct err *err)
{
    json_t *o = json_object();
    for (int i = 0; i < sqlite3_column_count(st) && o; i++) {
        const char *name = sqlite3_column_name(st, i);
        json_t *v = column_json(st, i);
        size_t n = strlen(name);
        if (v && str_ends(name, "_json")) {
            json_t *parsed =
                json_parse(json_string_value(v), json_string_length(v), s->path, err);
            json_decref(v);
            v = parsed;
            n -= strlen("_json");
            if (!v) {
                json_decref(o);
                return NULL;
            }
        }
        if (v)
            json_object_setn_new(o, name, n, v);
    }
    if (!o)
        err_set(err, ERR_MEMORY, "no memory for a row of %s", s->path);
    return o;
}

typedef int row_fn(void *arg, json_t *row, struct err *err); // borrows row

static int each_row(struct store *s, const char *sql, const char *only, row_fn *fn, void *arg,
                    struct err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) == SQLITE_OK
                 ? 0
                 : db_error(s, "reading (is it complete?)", err);
    if (rc == 0 && sqlite3_bind_parameter_count(st))
        sqlite3_bind_text(st, 1, only, -1, SQLITE_STATIC);
    int step = SQLITE_DONE;
    while (rc == 0 && (step = sqlite3_step(st)) == SQLITE_ROW) {
        json_t *row = row_json(s, st, err);
        rc = row ? fn(arg, row, err) : ERR_FORMAT;
        json_decref(row);
    }
    if (rc == 0 && step != SQLITE_DONE)
        rc = db_error(s, "reading", err);
    sqlite3_finalize(st);
    return rc;
}

/* ---- what is in it ----------------------------------------------------------------------- */

static int append(void *arg, json_t *row, struct err *err)
{
    return json_array_append(arg, row) == 0 ? 0
                                            : err_set(err, ERR_MEMORY, "no memory for a list");
}

static int add_list(json_t *o, struct store *s, const char *key, const char *sql,
                    struct err *err)
{
    json_t *list = json_array();
    int rc = list ? each_row(s, sql, NULL, append, list, err)
                  : err_set(err, ERR_MEMORY, "no memory for a list");
    json_object_set_new(o, key, list);
    return rc;
}

int store_list(json_t *out, struct store *s, struct err *err)
{
    int rc = add_list(
        out, s, "replies",
        "SELECT coalesce(l.name,l.fingerprint) AS labeler, l.fingerprint, p.hash AS protocol, count(*) AS replies,"
        " sum(state='ok') AS ok, sum(state='too_long') AS too_long, sum(state='refused') AS "
        "refused,"
        " sum(state='failed') AS failed, sum(tokens_in) AS tokens_in, sum(tokens_cached) AS "
        "tokens_cached,"
        " sum(tokens_out) AS tokens_out, sum(thinking_tokens) AS thinking_tokens, sum(ms)/1000 "
        "AS seconds,"
        " sum(price) AS price FROM replies r JOIN labelers l ON l.id=r.labeler JOIN protocols "
        "p ON"
        " p.id=r.protocol GROUP BY r.labeler, r.protocol ORDER BY l.name, l.fingerprint, "
        "p.hash",
        err);
    if (rc == 0)
        rc = add_list(
            out, s, "labels",
            "SELECT coalesce(l.name,l.fingerprint) AS labeler, l.fingerprint, p.hash AS protocol, count(*) AS labels,"
            " sum(state='answered') AS answered FROM labels r JOIN labelers l ON "
            "l.id=r.labeler JOIN protocols p"
            " ON p.id=r.protocol GROUP BY r.labeler, r.protocol ORDER BY l.name, "
            "l.fingerprint, p.hash",
            err);
    return rc;
}

static int count_tables(json_t *o, struct store *s, struct err *err)
{
    static const char *const table[] = {"labelers", "protocols", "questions",
                                        "replies",  "texts",     "labels"};
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(table) && rc == 0; i++) {
        char sql[64];
        int64_t n = 0;
        snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", table[i]);
        rc = db_number(s, sql, &n, err);
        if (rc == 0)
            json_object_set_new(o, table[i], json_integer(n));
    }
    return rc;
}

int store_inspect(json_t **out, const char *path, struct err *err)
{
    struct store *s = NULL;
    if (!file_exists(path))
        return err_set(err, ERR_MISSING, "%s: there is no such file", path);
    json_t *o = json_pack("{ss}", "format", "rlaif label store");
    int rc = o ? store_open(&s, path, err) : err_set(err, ERR_MEMORY, "no memory");
    if (rc == 0)
        rc = count_tables(o, s, err);
    store_close(s);
    if (rc == 0)
        *out = o;
    else
        json_decref(o);
    return rc;
}

/* ---- rows out
 * ---------------------------------------------------------------------------------------------
 */

/* The question in the columns people know: prompt, or messages; of format 1, the three texts.
 */
static void open_question(json_t *row)
{
    json_t *body = json_object_get(row, "body"), *form = json_object_get(row, "form"),
           *head = json_object_get(row, "head");
    const char *text = json_string_value(body);
    json_int_t f = json_integer_value(form);
    if (f == 0 && text) {
        char *whole = str_printf("%s%s", head ? json_string_value(head) : "", text);
        json_object_set_new(row, "prompt", json_string(whole ? whole : ""));
        free(whole);
    } else if (text) {
        json_t *v = json_parse(text, strlen(text), "question", NULL);
        if (f == 1 && v)
            json_object_set(row, "messages", v);
        else if (v)
            json_object_update(row, v);
        json_decref(v);
    }
    json_object_del(row, "body");
    json_object_del(row, "form");
    json_object_del(row, "head");
}

static int write_row(void *arg, json_t *row, struct err *err)
{
    if (json_object_get(row, "body"))
        open_question(row);
    return rows_out_add(arg, row, err);
}

int store_export(int *n, struct store *s, const char *path, bool labels, const char *labeler,
                 struct err *err)
{
    // In the order stored, which differs between runs; the key is what rows are found by.
    const char *sql = labels
                          ? "SELECT r.key, l.fingerprint AS labeler, l.name AS labeler_name, "
                            "p.hash AS protocol, t.text AS prompt,"
                            " a.text AS first, b.text AS second, value, state, detail AS "
                            "detail_json, created FROM labels r"
                            " JOIN labelers l ON l.id=r.labeler JOIN protocols p ON "
                            "p.id=r.protocol JOIN texts t ON t.id=r.prompt"
                            " JOIN texts a ON a.id=r.first LEFT JOIN texts b ON b.id=r.second"
                            " WHERE ?1 IS NULL OR l.fingerprint=?1 OR l.name=?1 ORDER BY r.id"
                          : "SELECT r.key, l.fingerprint AS labeler, l.name AS labeler_name, "
                            "p.hash AS protocol, h.text AS head, q.body,"
                            " q.messages AS form, q.prefill, t.text AS settings_json, draw, "
                            "shown AS 'order', follows, state, r.text,"
                            " thinking, logps AS logps_json, mass, tokens_in, tokens_cached, "
                            "tokens_out, thinking_tokens, ms, price, error,"
                            " created FROM replies r JOIN labelers l ON l.id=r.labeler JOIN "
                            "protocols p ON p.id=r.protocol"
                            " JOIN questions q ON q.id=r.question JOIN texts t ON "
                            "t.id=r.settings LEFT JOIN texts h ON h.id=q.head"
                            " WHERE ?1 IS NULL OR l.fingerprint=?1 OR l.name=?1 ORDER BY r.id";
    struct rows_out w = {0};
    int rc = rows_out_open(&w, path, err);
    if (rc == 0)
        rc = each_row(s, sql, labeler, write_row, &w, err);
    if (rc == 0) {
        *n = w.n;
        rc = rows_out_commit(&w, err);
    }
    rows_out_close(&w);
    return rc;
}

/* ---- tidying, joining -------------------------------------------------------------------- */

/* Texts and questions that nothing speaks of any more, and free pages. */
int store_vacuum(struct store *s, struct err *err)
{
    return db_exec(s,
                   "DELETE FROM questions WHERE id NOT IN (SELECT question FROM replies);"
                   "DELETE FROM texts WHERE hash<>zeroblob(16) AND id NOT IN (SELECT head FROM "
                   "questions WHERE head NOT NULL"
                   " UNION SELECT settings FROM replies UNION SELECT prompt FROM labels UNION "
                   "SELECT first FROM labels"
                   " UNION SELECT second FROM labels WHERE second NOT NULL);"
                   "DELETE FROM labelers WHERE id NOT IN (SELECT labeler FROM replies UNION "
                   "SELECT labeler FROM labels);"
                   "DELETE FROM protocols WHERE id NOT IN (SELECT protocol FROM replies UNION "
                   "SELECT protocol FROM labels);"
                   "VACUUM; PRAGMA wal_checkpoint(TRUNCATE);",
                   "tidying", err);
}

static const char names_over[] =
    "INSERT OR IGNORE INTO labelers(fingerprint,name) SELECT fingerprint,name FROM o.labelers;"
    "INSERT OR IGNORE INTO protocols(hash) SELECT hash FROM o.protocols;"
    "INSERT OR IGNORE INTO texts(hash,text) SELECT hash,text FROM o.texts;"
    "INSERT OR IGNORE INTO questions(hash,head,body,messages,prefill) SELECT q.hash,"
    " (SELECT m.id FROM texts m JOIN o.texts t ON t.hash=m.hash WHERE t.id=q.head), body, "
    "messages, prefill FROM o.questions q;"
    "CREATE TEMP TABLE labeler_of AS SELECT t.id AS o, m.id AS m FROM o.labelers t JOIN "
    "labelers m ON m.fingerprint=t.fingerprint;"
    "CREATE TEMP TABLE protocol_of AS SELECT t.id AS o, m.id AS m FROM o.protocols t JOIN "
    "protocols m ON m.hash=t.hash;";

/* A reply that failed here gives way to one that did not; else ours stays.  WHERE true: so that
 * ON is no join. */
static const char replies_over[] =
    "INSERT INTO "
    "replies(key,labeler,protocol,question,settings,draw,shown,follows,state,text,thinking,"
    "logps,mass,tokens_in,"
    "tokens_cached,tokens_out,thinking_tokens,ms,price,error,created)"
    " SELECT r.key, l.m, p.m, mq.id, mt.id, draw, shown, follows, state, r.text, thinking, "
    "logps, mass, tokens_in,"
    " tokens_cached, tokens_out, thinking_tokens, ms, price, error, created FROM o.replies r"
    " JOIN temp.labeler_of l ON l.o=r.labeler JOIN temp.protocol_of p ON p.o=r.protocol"
    " JOIN o.questions q ON q.id=r.question JOIN main.questions mq ON mq.hash=q.hash"
    " JOIN o.texts t ON t.id=r.settings JOIN main.texts mt ON mt.hash=t.hash WHERE true"
    " ON CONFLICT(key) DO UPDATE SET "
    "state=excluded.state,text=excluded.text,thinking=excluded.thinking,"
    "logps=excluded.logps,mass=excluded.mass,tokens_in=excluded.tokens_in,tokens_cached="
    "excluded.tokens_cached,"
    "tokens_out=excluded.tokens_out,thinking_tokens=excluded.thinking_tokens,ms=excluded.ms,"
    "price=price+excluded.price,"
    "error=excluded.error,created=excluded.created WHERE state='failed' AND "
    "excluded.state<>'failed';";

static const char labels_over[] =
    "INSERT OR IGNORE INTO "
    "labels(key,labeler,protocol,prompt,first,second,value,state,detail,created)"
    " SELECT r.key, l.m, p.m, ma.id, mb.id, (SELECT m.id FROM texts m JOIN o.texts t ON "
    "t.hash=m.hash WHERE t.id=r.second),"
    " value, state, detail, created FROM o.labels r"
    " JOIN temp.labeler_of l ON l.o=r.labeler JOIN temp.protocol_of p ON p.o=r.protocol"
    " JOIN o.texts a ON a.id=r.prompt JOIN main.texts ma ON ma.hash=a.hash"
    " JOIN o.texts b ON b.id=r.first JOIN main.texts mb ON mb.hash=b.hash;";

static const char conflicts_sql[] =
    "SELECT (SELECT count(*) FROM o.replies r JOIN main.replies m ON m.key=r.key WHERE "
    "r.state<>'failed' AND"
    " m.state<>'failed' AND (m.state<>r.state OR m.text IS NOT r.text OR m.logps IS NOT "
    "r.logps))"
    " + (SELECT count(*) FROM o.labels r JOIN main.labels m ON m.key=r.key WHERE m.value IS "
    "NOT r.value OR m.state<>r.state)";

static int merge_attached(struct store_merged *out, struct store *s, struct err *err)
{
    int64_t replies = 0, labels = 0;
    int rc = db_number(s, "SELECT count(*) FROM replies", &replies, err);
    if (rc == 0)
        rc = db_number(s, "SELECT count(*) FROM labels", &labels, err);
    if (rc == 0)
        rc = db_number(s, conflicts_sql, &out->conflicts, err);
    if (rc == 0)
        rc = db_exec(s, names_over, "merging", err);
    if (rc == 0)
        rc = db_exec(s, replies_over, "merging", err);
    if (rc == 0)
        rc = db_exec(s, labels_over, "merging", err);
    if (rc == 0)
        rc = db_number(s, "SELECT count(*) FROM replies", &out->replies, err);
    if (rc == 0)
        rc = db_number(s, "SELECT count(*) FROM labels", &out->labels, err);
    out->replies -= replies;
    out->labels -= labels;
    if (rc == 0)
        rc = db_exec(s, "DROP TABLE temp.labeler_of; DROP TABLE temp.protocol_of;", "merging",
                     err);
    return rc;
}

int store_merge(struct store_merged *out, struct store *s, const char *other, struct err *err)
{
    struct store *o = NULL;
    *out = (struct store_merged){0};
    if (!file_exists(other))
        return err_set(err, ERR_MISSING, "%s: there is no such file", other);
    int rc = store_open(&o, other, err); // ours, and of this format
    store_close(o);
    if (rc)
        return rc;
    char *sql = sqlite3_mprintf("ATTACH %Q AS o", other);
    rc = sql ? db_exec(s, sql, "opening the other store", err)
             : err_set(err, ERR_MEMORY, "no memory");
    sqlite3_free(sql);
    if (rc)
        return rc;
    rc = store_begin(s, err);
    if (rc == 0)
        rc = merge_attached(out, s, err);
    if (rc == 0)
        rc = store_commit(s, err);
    if (rc)
        store_rollback(s);
    int left = db_exec(s, "DETACH o", "closing the other store", rc ? NULL : err);
    return rc ? rc : left;
}
