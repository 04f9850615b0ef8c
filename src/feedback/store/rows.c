/* feedback/store/rows.c - replies and labels, written and found.
 *
 * Replies are found by their key (ask_key) alone; the other columns are for people and for
 * exports.  Texts stand in the file once, by their hash. */
#include "feedback/store/internal.h"

#include <math.h>
#include <time.h>

static int prepare(struct store *s, sqlite3_stmt **st, const char *sql, struct err *err)
{
    return sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, st, NULL) == SQLITE_OK
               ? 0
               : db_error(s, "preparing (is it complete?)", err);
}

int store_prepare(struct store *s, struct err *err)
{
    const struct {
        sqlite3_stmt **st;
        const char *sql;
    } all[] = {
        {&s->find, "SELECT "
                   "state,text,thinking,logps,mass,tokens_in,tokens_cached,tokens_out,thinking_"
                   "tokens,ms,price,error"
                   " FROM replies WHERE key=?1"},
        {&s->add,
         "INSERT INTO "
         "replies(key,labeler,protocol,question,settings,draw,shown,follows,state,text,"
         "thinking,logps,"
         "mass,tokens_in,tokens_cached,tokens_out,thinking_tokens,ms,price,error,created)"
         " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21)"
         " ON CONFLICT(key) DO UPDATE SET "
         "state=excluded.state,text=excluded.text,thinking=excluded.thinking,"
         "logps=excluded.logps,mass=excluded.mass,tokens_in=excluded.tokens_in,tokens_cached="
         "excluded.tokens_cached,"
         "tokens_out=excluded.tokens_out,thinking_tokens=excluded.thinking_tokens,ms=excluded."
         "ms,"
         "price=price+excluded.price,error=excluded.error,created=excluded.created WHERE "
         "state='failed'"},
        {&s->add_label,
         "INSERT OR REPLACE INTO "
         "labels(key,labeler,protocol,prompt,first,second,value,state,detail,created)"
         " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)"},
        {&s->text_find, "SELECT id FROM texts WHERE hash=?1"},
        {&s->text_add, "INSERT INTO texts(hash,text) VALUES(?1,?2) ON CONFLICT DO NOTHING"},
        {&s->question_find, "SELECT id FROM questions WHERE hash=?1"},
        {&s->question_add, "INSERT INTO questions(hash,head,body,messages,prefill) "
                           "VALUES(?1,?2,?3,?4,?5) ON CONFLICT DO NOTHING"},
        {&s->labeler,
         "INSERT INTO labelers(fingerprint,name) VALUES(?1,?2)"
         " ON CONFLICT DO UPDATE SET name=coalesce(excluded.name,name) RETURNING id"},
        {&s->protocol, "INSERT INTO protocols(hash) VALUES(?1) ON CONFLICT DO UPDATE SET "
                       "hash=excluded.hash RETURNING id"},
    };
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(all) && rc == 0; i++)
        rc = prepare(s, all[i].st, all[i].sql, err);
    return rc;
}

void store_finalize(struct store *s)
{
    sqlite3_stmt *all[] = {s->find,         s->add,      s->add_label,
                           s->text_find,    s->text_add, s->question_find,
                           s->question_add, s->labeler,  s->protocol};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        sqlite3_finalize(all[i]);
}

/* ---- texts, each once -------------------------------------------------------------------- */

/* Runs an insert whose conflict does nothing, most rows being new; the id, of the row that was
 * there where there was one. Negative: failure. */
static int64_t insert_id(struct store *s, sqlite3_stmt *add, sqlite3_stmt *find,
                         const struct hash128 *h, struct err *err)
{
    sqlite3_bind_blob(add, 1, h, sizeof *h, SQLITE_STATIC);
    int step = sqlite3_step(add);
    int64_t id =
        step == SQLITE_DONE && sqlite3_changes(s->db) ? sqlite3_last_insert_rowid(s->db) : 0;
    if (step != SQLITE_DONE)
        id = db_error(s, "adding a text", err);
    sqlite3_reset(add);
    if (id)
        return id;
    sqlite3_bind_blob(find, 1, h, sizeof *h, SQLITE_STATIC);
    id = sqlite3_step(find) == SQLITE_ROW ? sqlite3_column_int64(find, 0)
                                          : db_error(s, "looking for a text", err);
    sqlite3_reset(find);
    return id;
}

/* The row of a text, made when it is new; negative on failure. */
static int64_t text_id(struct store *s, const char *text, struct err *err)
{
    size_t n = strlen(text);
    struct hash128 h = hash_bytes(text, n);
    sqlite3_bind_text(s->text_add, 2, text, (int)n, SQLITE_STATIC);
    return insert_id(s, s->text_add, s->text_find, &h, err);
}

/* What one process names again and again; the last one of each kind is remembered. */
static int64_t remembered(const struct store *s, int which, struct hash128 h)
{
    return !memcmp(&s->memo[which].hash, &h, sizeof h) ? s->memo[which].id : 0;
}

static int64_t remember(struct store *s, int which, struct hash128 h, int64_t id)
{
    if (id > 0) {
        s->memo[which].hash = h;
        s->memo[which].id = id;
    }
    return id;
}

/* Of the labeler or protocol. */
static int64_t name_id(struct store *s, int which, const char *text, const char *name,
                       struct err *err)
{
    struct hash128 h = hash_bytes(text, strlen(text));
    int64_t id = remembered(s, which, h);
    if (id)
        return id;
    sqlite3_stmt *st = which == MEMO_LABELER ? s->labeler : s->protocol;
    sqlite3_bind_text(st, 1, text, -1, SQLITE_STATIC);
    if (which == MEMO_LABELER)
        sqlite3_bind_text(st, 2, name && *name ? name : NULL, -1, SQLITE_STATIC);
    id = sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int64(st, 0)
                                        : db_error(s, "adding a labeler", err);
    sqlite3_reset(st);
    return remember(s, which, h, id);
}

/* ---- questions
 * --------------------------------------------------------------------------------------------
 */

static void messages_text(struct buf *b, const struct ask *ask)
{
    json_t *list = json_array();
    for (int i = 0; i < ask->n_messages; i++)
        json_array_append_new(list, json_pack("{ssss}", "role", ask->message[i].role, "content",
                                              ask->message[i].content));
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
    struct hash128 head_hash =
        headed ? hash_bytes(ask->head, strlen(ask->head)) : (struct hash128){0, 0};
    int64_t head = headed ? remembered(s, MEMO_HEAD, head_hash) : 0;
    if (headed && !head)
        head = remember(s, MEMO_HEAD, head_hash, text_id(s, ask->head, err));
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
    struct hash128 part[] = {hash_bytes(b->s, b->len),
                             hash_bytes(prefill, strlen(prefill)),
                             head_hash,
                             {headed, ask->prompt == NULL}};
    struct hash128 h = hash_bytes(part, sizeof part);
    sqlite3_stmt *st = s->question_add;
    if (head)
        sqlite3_bind_int64(st, 2, head);
    else
        sqlite3_bind_null(st, 2);
    sqlite3_bind_text(st, 3, b->s, (int)b->len, SQLITE_STATIC);
    sqlite3_bind_int(st, 4, ask->prompt == NULL);
    sqlite3_bind_text(st, 5, *prefill ? prefill : NULL, -1, SQLITE_STATIC);
    return insert_id(s, st, s->question_find, &h, err);
}

static int64_t settings_id(struct store *s, const struct ask *ask, struct err *err)
{
    struct hash128 h = ask_settings_hash(ask);
    int64_t id = remembered(s, MEMO_SETTINGS, h);
    if (id)
        return id;
    buf_clear(&s->scratch);
    settings_text(&s->scratch, ask);
    id = s->scratch.failed ? err_set(err, ERR_MEMORY, "no memory to keep a question")
                           : text_id(s, s->scratch.s, err);
    return remember(s, MEMO_SETTINGS, h, id);
}

/* ---- replies
 * --------------------------------------------------------------------------------------------------
 */

static void number_text(struct buf *b, double x)
{
    if (isfinite(x))
        buf_addf(b, "%.17g", x);
    else
        buf_adds(b, isnan(x) ? "null" : "\"-inf\"");
}

void logps_text(struct buf *b, const struct word_logp *word, int n)
{
    buf_clear(b);
    for (int w = 0; w < n; w++) {
        buf_adds(b, w ? ",[" : "[[");
        number_text(b, word[w].sum);
        buf_adds(b, ",");
        number_text(b, word[w].bare);
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
        r->word[w] = (struct word_logp){number_value(json_array_get(pair, 0)),
                                        number_value(json_array_get(pair, 1))};
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
    const char *state = column_text(st, 0),
               *text[] = {column_text(st, 1), column_text(st, 2), column_text(st, 11)};
    char **to[] = {&r->text, &r->thinking, &r->error};
    int k = REPLY_OK;
    while (k < REPLY_FAILED &&
           strcmp(state ? state : "", reply_state_name((enum reply_state)k)))
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

int store_forget(struct store *s, struct hash128 key, struct err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = prepare(s, &st, "DELETE FROM replies WHERE key = ?1", err);
    if (rc)
        return rc;
    sqlite3_bind_blob(st, 1, &key, sizeof key, SQLITE_STATIC);
    rc = sqlite3_step(st) == SQLITE_DONE ? 0 : db_error(s, "taking back a reply", err);
    sqlite3_finalize(st);
    return rc;
}

static void bind_reply(struct store *s, sqlite3_stmt *st, const struct ask *ask,
                       const struct reply *r)
{
    bool logps = r->state == REPLY_OK && r->has_logps;
    if (logps)
        logps_text(&s->scratch, r->word, ask->n_words);
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

int store_add(struct store *s, const struct provider *by, const struct ask *ask,
              const struct reply *r, struct err *err)
{
    static const struct hash128 none;
    int64_t id[] = {name_id(s, MEMO_LABELER, by->fingerprint, by->name, err), 0, 0, 0};
    if (id[0] > 0)
        id[1] = name_id(s, MEMO_PROTOCOL, ask->protocol ? ask->protocol : "", NULL, err);
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

/* ---- labels
 * ------------------------------------------------------------------------------------------------------
 */

static struct hash128 label_key(const struct store_label *l)
{
    // A hash of hashes: no two different tuples run together.
    const char *part[] = {l->labeler, l->protocol, l->prompt, l->first,
                          l->second ? l->second : ""};
    struct hash128 each[ARRAY_LEN(part)];
    for (size_t i = 0; i < ARRAY_LEN(part); i++)
        each[i] = hash_bytes(part[i], strlen(part[i]));
    return hash_bytes(each, sizeof each);
}

int store_add_label(struct store *s, const struct store_label *l, struct err *err)
{
    int64_t id[] = {name_id(s, MEMO_LABELER, l->labeler, NULL, err), 0, 0, 0, 0};
    const char *text[] = {l->prompt, l->first, l->second};
    sqlite3_stmt *st = s->add_label;
    struct hash128 key = label_key(l);
    if (id[0] > 0)
        id[1] = name_id(s, MEMO_PROTOCOL, l->protocol, NULL, err);
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
