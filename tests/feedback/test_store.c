/* tests/feedback/test_store.c - the store as a file: older formats, several processes, a full
 * disk, joining two. */
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "feedback/scripted.h"

/* ---- small helpers
 * -------------------------------------------------------------------------------- */

static struct store *opened(const char *path)
{
    struct store *s = NULL;
    struct err err = {0};
    if (store_open(&s, path, &err))
        fail_msg("%s", err.msg);
    return s;
}

/* The first value of a query, by another connection. */
static int64_t value(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int64_t v = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return v;
}

static bool sound(const char *path)
{
    return value(path,
                 "SELECT count(*)=1 AND max(integrity_check)='ok' FROM pragma_integrity_check");
}

static struct verdict longer(void *arg, const char *prompt)
{
    return (struct verdict){strlen(prompt) % 2 ? 0.8 : 0.3, 0.9};
}

enum { PAIRS = 300 };
static char texts[PAIRS][24];
static struct label_item items[PAIRS];

static int label_pairs(struct script *s, const char *path, int n, struct label_counts *c,
                       struct err *err)
{
    struct protocol_options o;
    struct protocol *p = NULL;
    protocol_defaults(&o);
    struct provider who = scripted(s);
    for (int i = 0; i < PAIRS; i++) {
        snprintf(texts[i], sizeof texts[i], "candidate %d", i * i);
        items[i] = (struct label_item){"a text that both are of", texts[i],
                                       i % 2 ? "short" : "another"};
    }
    struct store *store = NULL;
    int rc = store_open(&store, path, err);
    if (rc == 0)
        rc = protocol_new(&p, NULL, &o, err);
    struct asker asker = {.provider = &who, .store = store};
    struct labeler l = {&asker, p, 0.5};
    struct label *out = calloc(PAIRS, sizeof *out);
    if (rc == 0)
        rc = label_items(out, c, &l, items, n, err);
    free(out);
    protocol_free(p);
    store_close(store);
    return rc;
}

/* ---- format 1
 * --------------------------------------------------------------------------------------- */

static const char format_1[] =
    "PRAGMA application_id=1380729158; PRAGMA user_version=1;"
    "CREATE TABLE prompts(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, text TEXT NOT "
    "NULL);"
    "CREATE TABLE candidates(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, text TEXT NOT "
    "NULL);"
    "CREATE TABLE labelers(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, text TEXT NOT "
    "NULL);"
    "CREATE TABLE protocols(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, text TEXT NOT "
    "NULL);"
    "CREATE TABLE replies(key BLOB PRIMARY KEY, labeler INTEGER NOT NULL REFERENCES labelers,"
    " protocol INTEGER NOT NULL REFERENCES protocols, prompt INTEGER NOT NULL REFERENCES "
    "prompts,"
    " first INTEGER NOT NULL REFERENCES candidates, second INTEGER NOT NULL REFERENCES "
    "candidates,"
    " logp_1 REAL, logp_2 REAL, bare_1 REAL, bare_2 REAL, mass REAL, tokens INTEGER, too_long "
    "INTEGER,"
    " seconds REAL, created TEXT) WITHOUT ROWID;"
    "CREATE TABLE labels(key BLOB PRIMARY KEY, labeler INTEGER NOT NULL REFERENCES labelers,"
    " protocol INTEGER NOT NULL REFERENCES protocols, prompt INTEGER NOT NULL REFERENCES "
    "prompts,"
    " first INTEGER NOT NULL REFERENCES candidates, second INTEGER NOT NULL REFERENCES "
    "candidates,"
    " p REAL, order_a REAL, order_b REAL, slot_a INTEGER, slot_b INTEGER, mass REAL, state "
    "INTEGER,"
    " created TEXT) WITHOUT ROWID;";

static void hex_of(char out[40], struct hash128 h)
{
    const unsigned char *b = (const void *)&h;
    strcpy(out, "x'");
    for (size_t i = 0; i < sizeof h; i++)
        sprintf(out + 2 + 2 * i, "%02x", b[i]);
    strcat(out, "'");
}

static void add_text(struct buf *sql, const char *table, const char *text)
{
    char hex[40];
    hex_of(hex, hash_bytes(text, strlen(text)));
    buf_addf(sql, "INSERT INTO %s(hash,text) VALUES(%s,'%s');", table, hex, text);
}

/* Both orders of one pair, and its label, as format 1 had them. */
static const char *old_file(const char *name, const char *protocol)
{
    const char *path = kit_path(name), *text[2] = {"one", "two and more"};
    struct buf sql = {0};
    char hex[40];
    buf_adds(&sql, format_1);
    add_text(&sql, "prompts", "a text");
    add_text(&sql, "candidates", text[0]);
    add_text(&sql, "candidates", text[1]);
    add_text(&sql, "labelers", "scripted");
    add_text(&sql, "protocols", protocol);
    for (int k = 0; k < 2; k++) {
        const char *part[] = {"scripted", protocol, "a text", text[k], text[!k]};
        struct hash128 each[5];
        for (int i = 0; i < 5; i++)
            each[i] = hash_bytes(part[i], strlen(part[i]));
        hex_of(hex, hash_bytes(each, sizeof each));
        buf_addf(&sql,
                 "INSERT INTO replies "
                 "VALUES(%s,1,1,1,%d,%d,%s,NULL,NULL,0.9,77,0,0.25,'2026-01-31T12:00:00Z');",
                 hex, 1 + k, 2 - k,
                 k ? "-0.10000000000000001,-9e999" : "-1.2345678901234567,-0.75");
        if (k == 0)
            buf_addf(&sql,
                     "INSERT INTO labels "
                     "VALUES(%s,1,1,1,1,2,0.625,0.5,0.75,0,1,0.9,0,'2026-01-31T12:00:00Z');",
                     hex);
    }
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    char *why = NULL;
    if (sqlite3_exec(db, sql.s, NULL, NULL, &why))
        fail_msg("%s", why);
    sqlite3_close(db);
    buf_release(&sql);
    return path;
}

static void replies_of_format_1_are_found_and_not_asked_again(void **state)
{
    struct protocol_options o;
    struct protocol *p = NULL;
    protocol_defaults(&o);
    assert_int_equal(protocol_new(&p, NULL, &o, NULL), 0);
    const char *path = old_file(__func__, p->hash);
    struct script s = {longer};
    struct provider who = scripted(&s);
    struct store *store = opened(path);
    struct asker asker = {.provider = &who, .store = store};
    struct labeler l = {&asker, p, 0.5};
    struct label_item item = {"a text", "one", "two and more"};
    struct label out;
    struct label_counts c;
    assert_int_equal(label_items(&out, &c, &l, &item, 1, NULL), 0);
    assert_int_equal(s.asked, 0);
    assert_int_equal(c.replies_found, 2);
    assert_true(out.answer[0].word[0].sum == -1.2345678901234567 &&
                out.answer[0].word[1].sum == -0.75);
    assert_true(out.answer[1].word[0].sum == -0.1 && isinf(out.answer[1].word[1].sum));
    assert_true(isnan(out.answer[0].word[0].bare));
    assert_int_equal(out.answer[0].tokens, 77);
    near(out.mass, 0.9, 0);
    store_close(store);
    protocol_free(p);
    assert_int_equal(value(path, "PRAGMA user_version"), 2);
    assert_int_equal(
        value(
            path,
            "SELECT value=0.625 AND state='answered' AND detail->>'order_b'=0.75 FROM labels"),
        1);
    assert_int_equal(
        value(path,
              "SELECT count(*) FROM sqlite_master WHERE name LIKE 'old_%' OR name='prompts'"),
        0);
    assert_true(sound(path));
}

static void a_damaged_file_of_format_1_is_left_as_it_was(void **state)
{
    const char *path = old_file(__func__, "p");
    value(path, "DELETE FROM prompts RETURNING 1");
    struct store *s = NULL;
    struct err err = {0};
    assert_int_equal(store_open(&s, path, &err), ERR_FORMAT);
    kit_contains(err.msg, "of 3 replies and labels in format 1, 0 can be read");
    assert_int_equal(value(path, "PRAGMA user_version"), 1);
    assert_int_equal(value(path, "SELECT count(*) FROM replies"), 2);
}

static void a_later_format_is_refused(void **state)
{
    const char *path = kit_path(__func__);
    store_close(opened(path));
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_exec(db, "PRAGMA user_version=99", NULL, NULL, NULL);
    sqlite3_close(db);
    struct store *s = NULL;
    struct err err = {0};
    assert_int_equal(store_open(&s, path, &err), ERR_UNSUPPORTED);
    kit_contains(err.msg, "has format 99, this program knows formats 1 to 2");
}

/* ---- several processes, kills, a full disk
 * ------------------------------------------------------------- */

static struct verdict slowly(void *arg, const char *prompt)
{
    usleep(200);
    return longer(arg, prompt);
}

/* Switching to the journal of many readers is the one step for which SQLite itself does not wait. */
static void processes_that_make_a_store_at_once_all_get_it(void **state)
{
    enum { ROUNDS = 60, PROCESSES = 4 };
    for (int round = 0; round < ROUNDS; round++) {
        char path[1200];
        snprintf(path, sizeof path, "%s.%d", kit_path(__func__), round);
        pid_t child[PROCESSES];
        for (int k = 0; k < PROCESSES; k++)
            if ((child[k] = fork()) == 0) {
                struct store *s = NULL;
                struct err err = {0};
                int rc = store_open(&s, path, &err);
                if (rc)
                    fprintf(stderr, "%s\n", err.msg);
                store_close(s);
                _exit(rc != 0);
            }
        for (int k = 0; k < PROCESSES; k++) {
            int status = 1;
            waitpid(child[k], &status, 0);
            assert_int_equal(status, 0);
        }
    }
}

static void two_processes_label_into_one_store(void **state)
{
    const char *path = kit_path(__func__);
    pid_t child[3];
    for (int k = 0; k < 3; k++) {
        child[k] = fork();
        if (child[k] == 0) {
            struct script s = {slowly};
            struct err err = {0};
            int rc = label_pairs(&s, path, PAIRS, NULL, &err);
            if (rc)
                fprintf(stderr, "%s\n", err.msg);
            _exit(rc != 0);
        }
    }
    for (int k = 0; k < 3; k++) {
        int status = 1;
        waitpid(child[k], &status, 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(value(path, "SELECT count(*) FROM replies"), 2 * PAIRS);
    assert_int_equal(value(path, "SELECT count(*) FROM labels"), PAIRS);
    assert_int_equal(value(path, "SELECT count(*) FROM labelers"), 1);
    assert_true(sound(path));
    struct script s = {longer};
    struct label_counts c;
    assert_int_equal(label_pairs(&s, path, PAIRS, &c, NULL), 0);
    assert_int_equal(s.asked, 0);
}

/* The first labelings commit after 0.2 s; the kill comes after more than one commit. */
static void a_kill_loses_no_committed_reply(void **state)
{
    const char *path = kit_path(__func__);
    store_close(opened(path));
    pid_t child = fork();
    if (child == 0) {
        struct script s = {slowly};
        for (int n = 20; n < PAIRS; n += 20) // a commit for each
            if (label_pairs(&s, path, n, NULL, NULL))
                break;
        _exit(1);
    }
    int64_t seen = 0;
    for (int i = 0; i < 2000 && seen < 100; i++) {
        usleep(2000);
        seen = value(path, "SELECT count(*) FROM replies");
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_true(seen >= 100);
    assert_true(sound(path));
    struct script s = {longer};
    struct label_counts c;
    assert_int_equal(label_pairs(&s, path, PAIRS, &c, NULL), 0);
    assert_true(c.replies_found >= seen);
    assert_int_equal(c.replies_found + c.replies_computed, 2 * PAIRS);
    assert_int_equal(s.asked, c.replies_computed);
}

static void a_full_disk_stops_with_a_sentence_and_nothing_is_corrupt(void **state)
{
    const char *path = kit_path(__func__);
    int pipe_of[2];
    assert_int_equal(pipe(pipe_of), 0);
    pid_t child = fork();
    if (child == 0) { // no file may become longer than this: for SQLite what a full disk is
        struct rlimit limit = {1 << 20, 1 << 20};
        struct script s = {slowly}; // long enough for several commits
        struct store *held = opened(path); // the log of writes goes on from call to call
        struct err err = {0};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        int rc = 0;
        for (int n = 10; n <= PAIRS && rc == 0; n += 10)
            rc = label_pairs(&s, path, n, NULL, &err);
        store_close(held);
        if (write(pipe_of[1], &err, sizeof err) != sizeof err)
            _exit(1);
        _exit(0);
    }
    struct err err = {0};
    close(pipe_of[1]);
    assert_int_equal(read(pipe_of[0], &err, sizeof err), sizeof err);
    close(pipe_of[0]);
    waitpid(child, NULL, 0);
    assert_int_equal(err.code, ERR_IO);
    kit_contains(err.msg, "the disk is full");
    kit_contains(err.msg, "what was committed is kept");
    assert_true(sound(path));
    int64_t kept = value(path, "SELECT count(*) FROM replies");
    assert_true(kept > 0 && kept < 2 * PAIRS);
    struct script s = {longer};
    struct label_counts c;
    assert_int_equal(label_pairs(&s, path, PAIRS, &c, NULL), 0);
    assert_int_equal(c.replies_found, kept);
}

/* ---- looking inside, joining
 * ------------------------------------------------------------------------------ */

static void put(struct store *s, const char *prompt, const char *said, enum reply_state how)
{
    struct provider who = {.fingerprint = "someone", .name = "Some One"};
    struct ask ask = {
        .kind = ASK_TEXT, .prompt = prompt, .head = "Head. ", .protocol = "talk 1"};
    sampling_defaults(&ask.sampling);
    struct reply r = {.state = how,
                      .text = (char *)said,
                      .key = ask_key(who.fingerprint, &ask),
                      .tokens_in = 5,
                      .tokens_out = 1,
                      .price = 0.5,
                      .mass = NAN,
                      .error = how == REPLY_FAILED ? (char *)"lost" : NULL};
    assert_int_equal(store_begin(s, NULL), 0);
    assert_int_equal(store_add(s, &who, &ask, &r, NULL), 0);
    assert_int_equal(store_commit(s, NULL), 0);
}

static void two_stores_become_one(void **state)
{
    const char *a = kit_path("a.db"), *b = kit_path("b.db");
    struct store *one = opened(a), *two = opened(b);
    put(two, "Head. filler that moves the ids", "filler", REPLY_OK);
    put(one, "Head. same", "yes", REPLY_OK);
    put(two, "Head. same", "yes", REPLY_OK);
    put(one, "Head. differs", "yes", REPLY_OK);
    put(two, "Head. differs", "no", REPLY_OK);
    put(one, "Head. lost here", NULL, REPLY_FAILED);
    put(two, "Head. lost here", "found", REPLY_OK);
    put(one, "Head. lost there", "kept", REPLY_OK);
    put(two, "Head. lost there", NULL, REPLY_FAILED);
    put(two, "no head", "new", REPLY_OK);
    store_close(two);
    struct store_merged m;
    struct err err = {0};
    if (store_merge(&m, one, b, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(m.replies, 2);
    assert_int_equal(m.conflicts, 1);
    assert_int_equal(store_merge(&m, one, b, &err), 0); // again: nothing is new
    assert_int_equal(m.replies, 0);
    int n = 0;
    const char *rows = kit_path("replies.jsonl");
    assert_int_equal(store_export(&n, one, rows, false, NULL, &err), 0);
    assert_int_equal(n, 6);
    const char *text = kit_slurp(rows, NULL);
    kit_contains(text, "\"prompt\": \"Head. differs\"");
    kit_contains(text, "\"prompt\": \"no head\"");
    kit_contains(text, "\"text\": \"found\"");
    kit_contains(text, "\"text\": \"kept\"");
    kit_contains(text, "\"labeler_name\": \"Some One\"");
    assert_null(strstr(text, "\"text\": \"no\""));
    assert_int_equal(store_export(&n, one, rows, false, "nobody", &err), 0);
    assert_int_equal(n, 0);
    json_t *list = json_object();
    assert_int_equal(store_list(list, one, &err), 0);
    json_t *row = json_array_get(json_object_get(list, "replies"), 0);
    assert_int_equal(json_integer_value(json_object_get(row, "replies")), 6);
    assert_int_equal(json_integer_value(json_object_get(row, "failed")), 0);
    near(json_real_value(json_object_get(row, "price")), 3.5, 1e-12);
    json_decref(list);
    store_close(one);
    assert_true(sound(a));
}

static void tidying_keeps_what_is_spoken_of(void **state)
{
    const char *path = kit_path("tidy.db");
    struct script s = {longer};
    struct label_counts c;
    assert_int_equal(label_pairs(&s, path, 10, &c, NULL), 0);
    value(path, "DELETE FROM replies WHERE shown=1 RETURNING 1");
    value(path, "DELETE FROM labels RETURNING 1");
    struct store *store = opened(path);
    assert_int_equal(store_vacuum(store, NULL), 0);
    store_close(store);
    assert_int_equal(
        value(path, "SELECT (SELECT count(*) FROM questions) = (SELECT count(*) FROM replies)"),
        1);
    assert_int_equal(label_pairs(&s, path, 10, &c, NULL), 0);
    assert_int_equal(c.replies_found + c.replies_computed, 20);
    assert_true(c.replies_found > 0 && c.replies_computed > 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(replies_of_format_1_are_found_and_not_asked_again),
    cmocka_unit_test(a_damaged_file_of_format_1_is_left_as_it_was),
    cmocka_unit_test(a_later_format_is_refused),
    cmocka_unit_test(processes_that_make_a_store_at_once_all_get_it),
    cmocka_unit_test(two_processes_label_into_one_store),
    cmocka_unit_test(a_kill_loses_no_committed_reply),
    cmocka_unit_test(a_full_disk_stops_with_a_sentence_and_nothing_is_corrupt),
    cmocka_unit_test(two_stores_become_one),
    cmocka_unit_test(tidying_keeps_what_is_spoken_of),
};
KIT_MAIN(tests)
