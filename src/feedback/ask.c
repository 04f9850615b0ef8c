/* feedback/ask.c - the key of a question, and asking many: store first, then the provider,
 * every reply written at once.
 *
 * Replies are written COMMIT_SECONDS after the first that is not, or when the provider goes
 * quiet, in a transaction that is open for no longer than writing takes: several processes can
 * label into one store without waiting for each other. */
#include "feedback/ask.h"

#include "feedback/store.h"

#include <math.h>

#define COMMIT_SECONDS 0.2

/* ---- replies ----------------------------------------------------------------------------- */

const char *reply_state_name(enum reply_state state)
{
    static const char *const name[] = {"ok", "too_long", "refused", "failed"};
    return name[state];
}

void reply_release(struct reply *r)
{
    free(r->text);
    free(r->thinking);
    free(r->error);
    *r = (struct reply){0};
}

void replies_release(struct reply *r, int n)
{
    for (int i = 0; i < n; i++)
        reply_release(&r[i]);
}

int reply_copy(struct reply *to, const struct reply *from, struct err *err)
{
    *to = *from;
    to->text = from->text ? strdup(from->text) : NULL;
    to->thinking = from->thinking ? strdup(from->thinking) : NULL;
    to->error = from->error ? strdup(from->error) : NULL;
    if ((from->text && !to->text) || (from->thinking && !to->thinking) ||
        (from->error && !to->error)) {
        reply_release(to);
        return err_set(err, ERR_MEMORY, "no memory for a reply");
    }
    return 0;
}

/* ---- keys -------------------------------------------------------------------------------- */

/* Each string with its length before it: no two different questions run together. */
static void add_string(struct buf *b, const char *s)
{
    uint64_t n = s ? strlen(s) : 0;
    buf_add(b, &n, sizeof n);
    buf_add(b, s ? s : "", (size_t)n);
}

static void add_sampling(struct buf *b, const struct sampling *s)
{
    int64_t number[] = {s->top_k,      s->max_new_tokens, (int64_t)s->seed,
                        s->ignore_eos, s->n_stop,         s->n_stop_ids};
    float share[] = {s->temperature, s->top_p};
    buf_add(b, number, sizeof number);
    buf_add(b, share, sizeof share);
    for (int i = 0; i < s->n_stop; i++)
        add_string(b, s->stop[i]);
    if (s->n_stop_ids > 0)
        buf_add(b, s->stop_ids, (size_t)s->n_stop_ids * sizeof *s->stop_ids);
}

static void add_settings(struct buf *b, const struct ask *ask)
{
    buf_addf(b, "%d %d\n", (int)ask->kind, ask->n_words);
    for (int i = 0; i < ask->n_words; i++)
        add_string(b, ask->word[i]);
    add_string(b, ask->schema);
    add_sampling(b, &ask->sampling);
}

static struct hash128 take_hash(struct buf *b)
{
    if (b->failed)
        mem_die("no memory for the key of a question");
    struct hash128 h = hash_bytes(b->s, b->len);
    buf_release(b);
    return h;
}

struct hash128 ask_settings_hash(const struct ask *ask)
{
    struct buf b = {0};
    add_settings(&b, ask);
    return take_hash(&b);
}

struct hash128 ask_key(const char *fingerprint, const struct ask *ask)
{
    struct buf b = {0};
    buf_addf(&b, "ask 1 %d %d\n", ask->draw, ask->prompt ? -1 : ask->n_messages);
    add_string(&b, fingerprint);
    add_string(&b, ask->prompt);
    for (int i = 0; !ask->prompt && i < ask->n_messages; i++) {
        add_string(&b, ask->message[i].role);
        add_string(&b, ask->message[i].content);
    }
    add_string(&b, ask->prefill);
    add_settings(&b, ask);
    return take_hash(&b);
}

static struct hash128 key_of(const struct provider *p, const struct ask *ask)
{
    char who[sizeof p->fingerprint + sizeof p->wrap];
    snprintf(who, sizeof who, "%s%s", p->fingerprint, ask->prompt ? "" : p->wrap);
    return ask_key(who, ask);
}

/* ---- what is missing --------------------------------------------------------------------- */

struct wanted {
    struct hash128 key;
    int i, first;
}; // first: index of the first ask with this key

static int by_key(const void *a, const void *b)
{
    const struct wanted *x = a, *y = b;
    if (x->key.hi != y->key.hi)
        return x->key.hi < y->key.hi ? -1 : 1;
    if (x->key.lo != y->key.lo)
        return x->key.lo < y->key.lo ? -1 : 1;
    return x->i - y->i;
}

static int by_index(const void *a, const void *b)
{
    return ((const struct wanted *)a)->i - ((const struct wanted *)b)->i;
}

struct asking {
    struct asker *a;
    struct reply *out; // of ask_all
    const struct ask *ask;
    struct wanted *wanted; // (n)
    int n, missing, told;
    struct ask *todo;        // (missing) questions without an answer
    struct reply *got;       // (missing)
    int *which;              // (missing) their indices
    int *pending, n_pending; // (missing) of todo: came, and is not written yet
    double since;            // when the first of them came
    int rc;                  // what made us stop
    struct err *err;
};

static void find_twins(struct asking *k)
{
    for (int i = 0; i < k->n; i++)
        k->wanted[i] = (struct wanted){key_of(k->a->provider, &k->ask[i]), i, i};
    qsort(k->wanted, (size_t)k->n, sizeof *k->wanted, by_key);
    for (int i = 1; i < k->n; i++)
        if (!memcmp(&k->wanted[i].key, &k->wanted[i - 1].key, sizeof k->wanted[i].key))
            k->wanted[i].first = k->wanted[i - 1].first;
    qsort(k->wanted, (size_t)k->n, sizeof *k->wanted, by_index);
}

static void count_state(struct ask_counts *c, const struct reply *r)
{
    c->failed += r->state == REPLY_FAILED;
    c->refused += r->state == REPLY_REFUSED;
    c->too_long += r->state == REPLY_TOO_LONG;
}

/* Under its key, or under the one it had in format 1. */
static int find_reply(const struct asking *k, int i, struct reply *r, struct err *err)
{
    static const struct hash128 none;
    struct store *s = k->a->store;
    int found = s ? store_find(s, r, k->wanted[i].key, err) : 0;
    if (found == 0 && s && store_is_migrated(s) && memcmp(&k->ask[i].was, &none, sizeof none))
        found = store_find(s, r, k->ask[i].was, err);
    return found;
}

/* Replies that are known, and the list of those that are not, in the order asked. */
static int look_up_all(struct asking *k, struct err *err)
{
    for (int i = 0; i < k->n; i++) {
        if (k->wanted[i].first != i)
            continue;
        struct reply *r = &k->out[i];
        int found = find_reply(k, i, r, err);
        if (found < 0)
            return found;
        if (found && r->state != REPLY_FAILED) {
            k->a->counts.found++;
            count_state(&k->a->counts, r);
            if (k->a->progress)
                progress_add(k->a->progress, 1, NULL);
            continue;
        }
        reply_release(r);
        k->which[k->missing] = i;
        k->todo[k->missing++] = k->ask[i];
    }
    return 0;
}

static int look_up(struct asking *k, struct err *err)
{
    struct store *s = k->a->store;
    int rc = s ? store_begin_reading(s, err) : 0;
    if (rc == 0)
        rc = look_up_all(k, err);
    if (s)
        store_end_reading(s);
    return rc;
}

/* ---- as replies come --------------------------------------------------------------------- */

static int flush(struct asking *k)
{
    struct store *s = k->a->store;
    int rc = k->n_pending ? store_begin(s, k->err) : 0;
    for (int m = 0; m < k->n_pending && rc == 0; m++)
        rc = store_add(s, k->a->provider, &k->todo[k->pending[m]], &k->got[k->pending[m]],
                       k->err);
    if (rc == 0 && k->n_pending)
        rc = store_commit(s, k->err);
    if (rc)
        store_rollback(s);
    k->n_pending = 0;
    return rc;
}

static int write_reply(struct asking *k, int i)
{
    if (!k->a->store)
        return 0;
    double now = time_now();
    if (k->n_pending == 0)
        k->since = now;
    k->pending[k->n_pending++] = i;
    return now - k->since >= COMMIT_SECONDS ? flush(k) : 0;
}

static void count_asked(struct ask_counts *c, const struct reply *r)
{
    c->asked++;
    count_state(c, r);
    c->tokens_in += r->tokens_in;
    c->tokens_cached += r->tokens_cached;
    c->tokens_out += r->tokens_out;
    c->thinking_tokens += r->thinking_tokens;
    c->seconds += r->seconds;
    c->price += r->price;
}

static int check_budget(const struct asker *a, struct err *err)
{
    const struct ask_counts *c = &a->counts;
    if (a->budget.money > 0 && c->price >= a->budget.money)
        return err_set(err, ERR_LIMIT,
                       "the budget of $%g is spent: $%g for %lld replies, which are kept",
                       a->budget.money, c->price, (long long)c->asked);
    if (a->budget.tokens > 0 && c->tokens_in + c->tokens_out >= a->budget.tokens)
        return err_set(
            err, ERR_LIMIT,
            "the budget of %lld tokens is spent: %lld for %lld replies, which are kept",
            (long long)a->budget.tokens, (long long)(c->tokens_in + c->tokens_out),
            (long long)c->asked);
    return 0;
}

/* "$1.25, 3 failed" beside the bar, where there is something to say. */
static void tell_progress(const struct asker *a)
{
    char note[96] = "";
    int n = 0;
    if (!a->progress)
        return;
    if (a->counts.price > 0)
        n = snprintf(note, sizeof note, "$%.4g", a->counts.price);
    if (a->counts.failed)
        snprintf(note + n, sizeof note - (size_t)n, "%s%lld failed", n ? ", " : "",
                 (long long)a->counts.failed);
    progress_add(a->progress, 1, note[0] ? note : NULL);
}

static bool done(void *arg, int i)
{
    struct asking *k = arg;
    if (k->rc)
        return false;
    if (i < 0) {
        k->rc = flush(k);
        return k->rc == 0;
    }
    BUG_IF(i >= k->missing);
    k->got[i].key = k->wanted[k->which[i]].key;
    k->rc = write_reply(k, i);
    if (k->rc)
        return false;
    count_asked(&k->a->counts, &k->got[i]);
    tell_progress(k->a);
    k->told++;
    k->rc = k->told < k->missing ? check_budget(k->a, k->err) : 0;
    return k->rc == 0;
}

/* ---- asking
 * ---------------------------------------------------------------------------------------------
 */

static int ask_missing(struct asking *k, struct err *err)
{
    if (k->missing == 0)
        return 0;
    int rc = check_budget(k->a, err);
    struct err mine = {0};
    k->err = &mine; // what the provider says while it winds up must not cover why we stopped
    if (rc == 0)
        rc = k->a->provider->ask(k->a->provider, k->got, k->todo, k->missing, done, k, err);
    BUG_IF(rc == 0 && k->rc == 0 && k->told != k->missing);
    struct err last = {0};
    k->err = &last;
    int wrote = flush(k);
    if (k->rc || (wrote && rc == 0)) {
        rc = k->rc ? k->rc : wrote;
        if (err)
            *err = k->rc ? mine : last;
    }
    return rc;
}

/* Replies go where they were asked for, copies to those who asked the same. */
static int hand_out(struct asking *k, struct err *err)
{
    int rc = 0;
    for (int i = 0; i < k->missing; i++) {
        k->out[k->which[i]] = k->got[i];
        k->got[i] = (struct reply){0};
    }
    for (int i = 0; i < k->n && rc == 0; i++) {
        k->out[i].key = k->wanted[i].key;
        if (k->wanted[i].first == i)
            continue;
        rc = reply_copy(&k->out[i], &k->out[k->wanted[i].first], err);
        k->a->counts.found++;
        if (k->a->progress)
            progress_add(k->a->progress, 1, NULL);
    }
    return rc;
}

int ask_all(struct asker *a, struct reply *out, const struct ask *ask, int n, struct err *err)
{
    if (n <= 0)
        return 0;
    memset(out, 0, (size_t)n * sizeof *out);
    struct asking k = {.a = a, .out = out, .ask = ask, .n = n};
    k.wanted = mem_alloc((size_t)n, sizeof *k.wanted);
    k.todo = mem_alloc((size_t)n, sizeof *k.todo);
    k.got = mem_alloc((size_t)n, sizeof *k.got);
    k.which = mem_alloc((size_t)n, sizeof *k.which);
    k.pending = mem_alloc((size_t)n, sizeof *k.pending);
    int rc = k.wanted && k.todo && k.got && k.which && k.pending
                 ? 0
                 : err_set(err, ERR_MEMORY, "no memory for %d questions", n);
    if (rc == 0) {
        find_twins(&k);
        rc = look_up(&k, err);
    }
    if (rc == 0)
        rc = ask_missing(&k, err);
    if (rc == 0)
        rc = hand_out(&k, err);
    if (rc)
        replies_release(out, n);
    if (k.got)
        replies_release(k.got, n);
    free(k.wanted);
    free(k.todo);
    free(k.got);
    free(k.which);
    free(k.pending);
    return rc;
}
