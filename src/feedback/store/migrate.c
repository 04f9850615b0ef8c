/* feedback/store/migrate.c - stores of format 1 become format 2, in the transaction that opens
 * them.
 *
 * Format 1 knew pairs only: a reply was a row of labeler, protocol, prompt and the two
 * candidates in the order shown, and its key was made of these.  The rendered prompt was not
 * kept, so the question becomes a JSON object of the three texts (questions.messages = 2), and
 * the key stays: whoever asks gives the old key beside the new one (struct ask, `was`). */
#include "feedback/store/internal.h"

#include <math.h>

static double argument(sqlite3_value *v)
{
    return sqlite3_value_type(v) == SQLITE_NULL ? NAN : sqlite3_value_double(v);
}

/* logps(sum_1, bare_1, sum_2, bare_2) as replies.logps has it. */
static void sql_logps(sqlite3_context *c, int n, sqlite3_value **v)
{
    struct word_logp word[2] = {{argument(v[0]), argument(v[1])},
                                {argument(v[2]), argument(v[3])}};
    struct buf b = {0};
    logps_text(&b, word, 2);
    if (b.failed)
        sqlite3_result_error_nomem(c);
    else
        sqlite3_result_text(c, b.s, (int)b.len, SQLITE_TRANSIENT);
    buf_release(&b);
}

static const char away[] =
    "ALTER TABLE labelers RENAME TO old_labelers; ALTER TABLE protocols RENAME TO "
    "old_protocols;"
    "ALTER TABLE replies RENAME TO old_replies; ALTER TABLE labels RENAME TO old_labels;";

static const char over[] =
    "INSERT INTO labelers(id,fingerprint) SELECT id,text FROM old_labelers;"
    "INSERT INTO protocols(id,hash) SELECT id,text FROM old_protocols;"
    "INSERT OR IGNORE INTO texts(hash,text) SELECT hash,text FROM prompts UNION ALL SELECT "
    "hash,text FROM candidates;"
    "INSERT INTO questions(hash,body,messages)"
    " SELECT r.key, json_object('prompt',p.text,'first',a.text,'second',b.text), 2 FROM "
    "old_replies r"
    " JOIN prompts p ON p.id=r.prompt JOIN candidates a ON a.id=r.first JOIN candidates b ON "
    "b.id=r.second;"
    "INSERT INTO texts(hash,text) VALUES(zeroblob(16),'{\"words\": [\"1\", \"2\"]}');"
    "INSERT INTO "
    "replies(key,labeler,protocol,question,settings,draw,shown,state,logps,mass,tokens_in,"
    "tokens_cached,"
    "tokens_out,thinking_tokens,ms,price,created)"
    " SELECT r.key, labeler, protocol, q.id, (SELECT id FROM texts WHERE hash=zeroblob(16)), "
    "0, 0,"
    " CASE WHEN too_long THEN 'too_long' ELSE 'ok' END,"
    " CASE WHEN too_long THEN NULL ELSE logps(logp_1,bare_1,logp_2,bare_2) END, mass, tokens, "
    "0, 0, 0, seconds*1000, 0,"
    " coalesce(strftime('%s',r.created),0) FROM old_replies r JOIN questions q ON q.hash=r.key;"
    "INSERT INTO labels(key,labeler,protocol,prompt,first,second,value,state,detail,created)"
    " SELECT l.key, labeler, protocol, (SELECT id FROM texts WHERE hash=p.hash), (SELECT id "
    "FROM texts WHERE hash=a.hash),"
    " (SELECT id FROM texts WHERE hash=b.hash), l.p,"
    " CASE state WHEN 0 THEN 'answered' WHEN 1 THEN 'unanswered' ELSE 'too_long' END,"
    " json_object('order_a',order_a,'order_b',order_b,'slot_a',slot_a,'slot_b',slot_b,'mass',"
    "mass),"
    " coalesce(strftime('%s',l.created),0) FROM old_labels l"
    " JOIN prompts p ON p.id=l.prompt JOIN candidates a ON a.id=l.first JOIN candidates b ON "
    "b.id=l.second;"
    "DROP TABLE old_replies; DROP TABLE old_labels; DROP TABLE old_labelers; DROP TABLE "
    "old_protocols;"
    "DROP TABLE prompts; DROP TABLE candidates;";

int store_migrate_1(struct store *s, struct err *err)
{
    int64_t before = 0, after = 0;
    int rc = sqlite3_create_function(s->db, "logps", 4, SQLITE_UTF8, NULL, sql_logps, NULL,
                                     NULL) == SQLITE_OK
                 ? 0
                 : db_error(s, "migrating format 1", err);
    if (rc == 0)
        rc = db_number(s,
                       "SELECT (SELECT count(*) FROM replies) + (SELECT count(*) FROM labels)",
                       &before, err);
    if (rc == 0)
        rc = db_exec(s, away, "migrating format 1", err);
    if (rc == 0)
        rc = store_make(s, err);
    if (rc == 0)
        rc = db_exec(s, over, "migrating format 1", err);
    if (rc == 0)
        rc = db_number(s,
                       "SELECT (SELECT count(*) FROM replies) + (SELECT count(*) FROM labels)",
                       &after, err);
    if (rc == 0 && before != after) // a reply whose texts are missing: the file is damaged
        rc = err_set(err, ERR_FORMAT,
                     "%s: of %lld replies and labels in format 1, %lld can be read; the file "
                     "is left as it was",
                     s->path, (long long)before, (long long)after);
    if (rc == 0)
        log_info("%s: %lld replies and labels brought from format 1 to format %d", s->path,
                 (long long)after, STORE_VERSION);
    return rc;
}
