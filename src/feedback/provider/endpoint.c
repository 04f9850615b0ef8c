/* provider/endpoint.c - many questions to a server at once.
 *
 * A question is a job: a call for its reply, and where a word takes several tokens ("10" as "1"
 * "0") further calls, each with what was said before.  A call that failed in a way that passes
 * waits and is sent again; what can never succeed ends everything at once.
 *
 *     fresh -> in flight -> told
 *               ^     |
 *               +-- waiting (after 429, 5xx, a reset, half a reply)
 *
 * What is left out: streaming (a reply is used whole), several keys or addresses at once. */
#include "feedback/provider/endpoint.h"

#include "feedback/provider/batch.h"
#include "feedback/providers.h"

#include <math.h>
#include <unistd.h>

enum { RETRIES = 8, SECONDS = 600, FIRST_FAILURES = 8 };
static const double longest_wait = 60;
static const double quiet = 0.15; // seconds without a reply after which others may write
static const double patience =
    120; // seconds of nothing but failures after which a server is given up

struct endpoint {
    struct server s;
    struct http *http;
    struct pace pace;
    struct price price;
    struct rng rng;
    int retries;
    double timeout, wait;
    struct batch *batch; // NULL: questions are asked now
    char *facts;
    int64_t answered, failed;
    double last_good;
    int bad_since; // calls that failed since then
};

struct job {
    const struct ask *ask;
    struct reply *out;
    int attempt;
    double due;
    struct word_start start[MAX_STARTS];
    int n_starts, next_start; // next_start > 0: start[next_start - 1] is in flight
    double bound;
};

struct run {
    struct endpoint *e;
    struct provider *p;
    struct job *job; // (n)
    int n, fresh, flying, told;
    int *waiting, n_waiting; // indices
    ask_done *done;
    void *arg;
    bool stop;
};

/* ---- sending ----------------------------------------------------------------------------- */

static int send_job(struct run *k, int i, struct err *err)
{
    static const char *const json[] = {"Content-Type: application/json"};
    struct job *j = &k->job[i];
    const char *more = j->next_start ? j->start[j->next_start - 1].said : NULL;
    struct request r;
    int rc = request_make(&r, &k->e->s, j->ask, more, err);
    if (rc)
        return rc;
    struct http_request q = {.url = r.url,
                             .token = k->e->s.key,
                             .headers = json,
                             .n_headers = 1,
                             .body = r.body.s,
                             .n_body = r.body.len,
                             .timeout = k->e->timeout,
                             .user = j};
    rc = http_send(k->e->http, &q, err);
    k->flying += rc == 0;
    request_release(&r);
    return rc;
}

/* A job whose wait is over, or -1. */
static int take_due(struct run *k, double now)
{
    for (int w = 0; w < k->n_waiting; w++) {
        int i = k->waiting[w];
        if (k->job[i].due > now)
            continue;
        k->waiting[w] = k->waiting[--k->n_waiting];
        return i;
    }
    return -1;
}

static int fill(struct run *k, struct err *err)
{
    double now = time_now();
    int rc = 0;
    while (rc == 0 && k->flying < pace_allows(&k->e->pace, now)) {
        int i = take_due(k, now);
        if (i < 0 && k->fresh == k->n)
            break;
        rc = send_job(k, i < 0 ? k->fresh++ : i, err);
    }
    return rc;
}

/* ---- the end of a question --------------------------------------------------------------- */

static void tell(struct run *k, struct job *j)
{
    struct reply *r = j->out;
    r->price = price_of(&k->e->price, r);
    k->p->tokens_asked += r->tokens_in;
    k->p->tokens_computed += r->tokens_in - r->tokens_cached;
    k->told++;
    k->stop |= !k->done(k->arg, (int)(j - k->job));
}

static void fail(struct run *k, struct job *j, enum reply_state state, const char *why)
{
    struct reply *r = j->out;
    r->state = state;
    r->has_logps = false;
    free(r->error);
    r->error = strdup(why);
    tell(k, j);
}

static void end_words(struct job *j)
{
    struct reply *r = j->out;
    r->mass = words_end(r->word, j->ask->n_words, j->bound);
    r->has_logps = true;
}

/* ---- replies ----------------------------------------------------------------------------- */

/* The lists of begun words are asked for one after the other, in this job's place. */
static int next_start(struct run *k, struct job *j, struct err *err)
{
    if (j->next_start < j->n_starts) {
        j->next_start++;
        j->attempt = 0;
        return send_job(k, (int)(j - k->job), err);
    }
    end_words(j);
    tell(k, j);
    return 0;
}

static bool can_go_on(const struct server *s, const struct ask *a)
{
    return !s->batch && (request_is_text(s, a) ||
                         (s->prefill != PREFILL_NONE && s->thinking != THINKING_ALWAYS));
}

static int use_list(struct run *k, struct job *j, const json_t *list, struct err *err)
{
    const struct ask *a = j->ask;
    struct top t = {0};
    struct err why = {0};
    int rc = 0;
    if (top_read(&t, list, &why)) {
        fail(k, j, REPLY_FAILED, why.msg);
    } else if (j->next_start) {
        words_more(j->out->word, a->word, a->n_words, &j->start[j->next_start - 1], &t);
        rc = next_start(k, j, err);
    } else {
        j->bound = t.token[t.n - 1].logp;
        for (int i = 0; i < t.n; i++)
            j->bound = fmin(j->bound, t.token[i].logp);
        words_begin(j->out->word, a->n_words);
        words_first(j->out->word, a->word, a->n_words, &t);
        if (can_go_on(&k->e->s, a))
            j->n_starts = words_starts(j->start, a->word, a->n_words, &t);
        rc = next_start(k, j, err);
    }
    top_release(&t);
    return rc;
}

static void wait_and_retry(struct run *k, struct job *j, double named, const char *why)
{
    struct endpoint *e = k->e;
    if (j->attempt >= e->retries) {
        char text[1200];
        snprintf(text, sizeof text, "%s (asked %d times)", why, j->attempt + 1);
        e->failed++;
        fail(k, j, REPLY_FAILED, text);
        return;
    }
    j->due = time_now() +
             retry_wait(j->attempt++, named, e->wait, longest_wait, rng_uniform(&e->rng));
    k->waiting[k->n_waiting++] = (int)(j - k->job);
}

/* A reply to the question itself (not to a begun word): text, thoughts, counts. */
static int use_reply(struct run *k, struct job *j, const json_t *v, double seconds,
                     struct err *err)
{
    struct reply *r = j->out, part = {0};
    struct err why = {0};
    const json_t *list = NULL;
    int rc = reply_read(&part, &list, v, j->ask, &why);
    if (rc == ERR_MEMORY) {
        reply_release(&part);
        return err_set(err, rc, "%s", why.msg);
    }
    if (rc) {
        reply_release(&part);
        if (k->e->batch)
            fail(k, j, REPLY_FAILED, why.msg);
        else
            wait_and_retry(k, j, -1, why.msg);
        return 0;
    }
    r->tokens_in += part.tokens_in;
    r->tokens_cached += part.tokens_cached;
    r->tokens_out += part.tokens_out;
    r->thinking_tokens += part.thinking_tokens;
    r->seconds += seconds;
    if (!j->next_start) {
        r->text = part.text;
        r->thinking = part.thinking;
        part.text = part.thinking = NULL;
    }
    bool refused = part.state == REPLY_REFUSED;
    reply_release(&part);
    k->e->answered++;
    if (refused || (j->ask->kind == ASK_WORDS && !list && text_is_refusal(r->text))) {
        char text[200];
        snprintf(text, sizeof text, "refused: %.150s", r->text);
        fail(k, j, REPLY_REFUSED, text);
    } else if (j->ask->kind == ASK_WORDS && list && request_has_logps(&k->e->s, j->ask)) {
        return use_list(k, j, list, err);
    } else {
        r->state = REPLY_OK;
        tell(k, j);
    }
    return 0;
}

static double named_wait(const struct http_call *c)
{
    return !c->rc && http_header(c, "Retry-After") ? http_retry_wait(c, 0) : -1;
}

/* Nothing but failures for so long: whoever was there is gone. */
static int check_alive(struct endpoint *e, const char *why, struct err *err)
{
    e->bad_since++;
    if (e->bad_since < 2 * FIRST_FAILURES || time_now() - e->last_good < patience)
        return 0;
    return err_set(err, ERR_IO, "no reply for %.0f s: %s", time_now() - e->last_good, why);
}

/* Nothing but refusals from the start: it is not this question's fault. */
static int check_refusals(struct endpoint *e, const char *why, struct err *err)
{
    e->failed++;
    if (e->answered || e->failed < FIRST_FAILURES)
        return 0;
    return err_set(err, ERR_IO, "each of the first %d questions was refused: %s",
                   FIRST_FAILURES, why);
}

static int use_call(struct run *k, struct http_call *c, struct err *err)
{
    struct endpoint *e = k->e;
    struct job *j = c->user;
    struct err why = {0};
    bool full = k->flying >= pace_allows(&e->pace, time_now());
    enum outcome o = call_outcome(c, &e->s, &why);
    json_t *v = NULL;
    int rc = 0;
    k->flying--;
    if (o == OUTCOME_OK) {
        v = json_loadb(c->reply.s ? c->reply.s : "", c->reply.len, 0, NULL);
        if (!v)
            o = OUTCOME_AGAIN,
            err_set(&why, ERR_FORMAT, "%s: half a reply, or no JSON", e->s.base);
    }
    if (o == OUTCOME_OK) {
        e->last_good = time_now();
        e->bad_since = 0;
        pace_ended(&e->pace, e->last_good, full);
        rc = use_reply(k, j, v, c->seconds, err);
    } else if (o == OUTCOME_FATAL) {
        rc = err_set(err, why.code, "%s", why.msg);
    } else if (o == OUTCOME_AGAIN) {
        if (c->rc || c->status == 429 || c->status == 503)
            pace_slow(&e->pace, time_now(), named_wait(c));
        rc = check_alive(e, why.msg, err);
        if (rc == 0)
            wait_and_retry(k, j, named_wait(c), why.msg);
    } else {
        fail(k, j, o == OUTCOME_TOO_LONG ? REPLY_TOO_LONG : REPLY_FAILED, why.msg);
        if (o == OUTCOME_FAILED)
            rc = check_refusals(e, why.msg, err);
    }
    json_decref(v);
    return rc;
}

/* ---- all of them ------------------------------------------------------------------------- */

/* Until a call ends, or something is due to be sent. */
static int wait_for_call(struct run *k, struct http_call **c, struct err *err)
{
    double now = time_now(), wait = quiet;
    for (int w = 0; w < k->n_waiting; w++)
        wait = fmin(wait, fmax(0.001, k->job[k->waiting[w]].due - now));
    *c = NULL;
    if (k->flying)
        return http_next(k->e->http, wait, c, err);
    if (interrupted())
        return err_set(err, ERR_INTERRUPTED, "interrupted");
    usleep((useconds_t)(1e6 * wait));
    return 0;
}

/* Calls nobody waits for any more. */
static int drop_calls(struct endpoint *e, struct err *err)
{
    http_close(e->http);
    e->http = NULL;
    struct http_options o = {.stall_timeout = e->timeout};
    return http_open(&e->http, &o, err);
}

/* Through files: written now, or answered by what was collected. */
static int batch_ask(struct run *k, const struct ask *ask, struct err *err)
{
    struct endpoint *e = k->e;
    int rc = 0;
    for (int i = 0; i < k->n && rc == 0 && !k->stop; i++) {
        struct hash128 key = ask_key(k->p->fingerprint, &ask[i]);
        struct err why = {0};
        if (batch_writes(e->batch)) {
            struct request r;
            rc = request_make(&r, &e->s, &ask[i], NULL, err);
            if (rc == 0)
                rc = batch_write(e->batch, key, &r, err);
            request_release(&r);
            if (rc == 0)
                fail(k, &k->job[i], REPLY_FAILED, "written to a batch file, not collected yet");
            continue;
        }
        const json_t *body = batch_find(e->batch, key, &why);
        if (body)
            rc = use_reply(k, &k->job[i], body, 0, err);
        else
            fail(k, &k->job[i], REPLY_FAILED, why.msg);
    }
    return rc;
}

static int endpoint_ask(struct provider *p, struct reply *out, const struct ask *ask, int n,
                        ask_done *done, void *arg, struct err *err)
{
    struct endpoint *e = p->state;
    struct run k = {.e = e, .p = p, .n = n, .done = done, .arg = arg};
    k.job = mem_alloc((size_t)n, sizeof *k.job);
    k.waiting = mem_alloc((size_t)n, sizeof *k.waiting);
    int rc = k.job && k.waiting ? 0 : err_set(err, ERR_MEMORY, "no memory for %d questions", n);
    for (int i = 0; i < n && rc == 0; i++)
        k.job[i] = (struct job){.ask = &ask[i], .out = &out[i]};
    e->last_good = time_now();
    double last = e->last_good;
    if (rc == 0 && e->batch)
        rc = batch_ask(&k, ask, err);
    while (rc == 0 && !e->batch && k.told < n && !k.stop) {
        struct http_call *c = NULL;
        rc = fill(&k, err);
        if (rc == 0)
            rc = wait_for_call(&k, &c, err);
        if (rc == 0 && c) {
            rc = use_call(&k, c, err);
            last = time_now();
        } else if (rc == 0 && time_now() - last >= quiet) {
            k.stop |= !done(arg, -1);
        }
        http_call_free(c);
    }
    if (k.flying && drop_calls(e, rc ? NULL : err) && rc == 0)
        rc = ERR_MEMORY;
    free(k.job);
    free(k.waiting);
    return rc;
}

/* ---- opening ----------------------------------------------------------------------------- */

bool labeler_is_endpoint(const char *name)
{
    return str_starts(name, "http://") || str_starts(name, "https://");
}

static bool is_local(const char *url)
{
    const char *host = strstr(url, "://") + 3;
    return str_starts(host, "localhost") || str_starts(host, "127.") ||
           str_starts(host, "[::1]");
}

int endpoint_key(char **out, const char *url, const char *file, struct err *err)
{
    char *s = NULL;
    size_t n;
    const char *from = getenv("RLAIF_API_KEY");
    if (!from && str_starts(url, "https://api.openai.com/"))
        from = getenv("OPENAI_API_KEY");
    int rc = file ? file_read(&s, &n, file, 1 << 16, err) : 0;
    if (rc)
        return rc;
    const char *key = file ? s : from;
    n = key ? strcspn(key, "\r\n") : 0;
    *out = n ? strndup(key, n) : NULL;
    free(s);
    if (file && !n)
        return err_set(err, ERR_VALUE, "%s: its first line should be a key, and is empty",
                       file);
    return n && !*out ? err_set(err, ERR_MEMORY, "no memory for a key") : 0;
}

/* https://HOST/v1#MODEL, taken apart. */
static int parse_url(struct server *s, const char *url, struct err *err)
{
    size_t n = strcspn(url, "#");
    const char *model = url[n] ? url + n + 1 : "", *host = strstr(url, "://");
    if (!labeler_is_endpoint(url) || !host || strcspn(host + 3, "/#?") == 0)
        return err_set(err, ERR_USAGE, "%s: expected https://HOST/v1#MODEL", url);
    size_t at = strcspn(host + 3, "@"), end = strcspn(host + 3, "/?#");
    if (at < end || strcspn(url, "?") < n)
        return err_set(err, ERR_USAGE,
                       "an endpoint's address has no user, password or query; a key goes into "
                       "RLAIF_API_KEY or a file (--api_key_file)");
    while (n && url[n - 1] == '/')
        n--;
    bool bare = !memchr(host + 3, '/', (size_t)(url + n - host - 3));
    s->base = str_printf("%.*s%s", (int)n, url, bare ? "/v1" : "");
    s->root = s->base ? strdup(s->base) : NULL;
    s->model = model[0] ? strdup(model) : NULL;
    if (!s->base || !s->root || (model[0] && !s->model))
        return err_set(err, ERR_MEMORY, "no memory for an address");
    if (str_ends(s->root, "/v1"))
        s->root[strlen(s->root) - 3] = 0;
    return 0;
}

/* Everything that decides answers.  A llama-server is known by its weights, wherever it
 * listens. */
static void name_provider(struct provider *p, const struct server *s)
{
    struct buf b = {0};
    char hex[33];
    bool known = s->kind == SERVER_LLAMA && s->weights[0];
    buf_addf(&b, "endpoint 1\n%d\n%s\n%s\n%s\n%d %d %d %d %d %d %d", s->kind,
             known ? "" : s->base, s->model, s->weights, s->chat, s->text, s->top_chat,
             s->top_text, s->prefill,
             s->thinking + (s->thought_logps ? 10 : 0), s->schema);
    if (b.failed)
        mem_die("no memory for a labeler's name");
    hash_hex(hex, hash_bytes(b.s, b.len));
    buf_release(&b);
    snprintf(p->fingerprint, sizeof p->fingerprint, "endpoint:%s", hex);
    snprintf(p->name, sizeof p->name, "%.100s#%.140s", s->base, s->model);
}

static void endpoint_close(struct provider *p)
{
    struct endpoint *e = p->state;
    if (!e)
        return;
    struct err err = {0};
    if (batch_close(e->batch, &err))
        log_msg(LOG_ERROR, "%s", err.msg);
    http_close(e->http);
    server_release(&e->s);
    free(e->facts);
    free(e);
}

static int open_server(struct endpoint *e, const struct endpoint_options *o, struct err *err)
{
    struct http_options h = {.stall_timeout = e->timeout};
    int rc = parse_url(&e->s, o->url, err);
    e->s.timeout = e->timeout;
    e->s.wait = e->wait;
    if (rc == 0 && o->key && !(e->s.key = strdup(o->key)))
        rc = err_set(err, ERR_MEMORY, "no memory for a key");
    if (rc == 0 && o->key && str_starts(e->s.base, "http://") && !is_local(e->s.base))
        log_warn("%s: the key travels unencrypted", e->s.base);
    if (rc == 0)
        rc = http_open(&e->http, &h, err);
    if (rc == 0)
        rc = server_probe(&e->s, e->http, err);
    if (rc == 0 && (o->batch_file || o->collect))
        rc = batch_open(&e->batch, o->batch_file, o->collect, err);
    e->s.batch = e->batch != NULL;
    if (rc == 0 && o->price_table)
        rc = price_read(&e->price, o->price_table, e->s.model, err);
    return rc;
}

int provider_endpoint_new(struct provider **out, const struct endpoint_options *o,
                          struct err *err)
{
    struct provider *p = mem_alloc(1, sizeof *p);
    struct endpoint *e = mem_alloc(1, sizeof *e);
    if (!p || !e) {
        free(p);
        free(e);
        return err_set(err, ERR_MEMORY, "no memory for a labeler");
    }
    *p = (struct provider){.state = e, .ask = endpoint_ask, .close = endpoint_close};
    e->retries = o->retries > 0 ? o->retries : o->retries < 0 ? 0 : RETRIES;
    e->timeout = o->timeout > 0 ? o->timeout : SECONDS;
    e->wait = o->wait > 0 ? o->wait : 0.5;
    rng_init(&e->rng, (uint64_t)getpid(), RNG_SAMPLE, 0, 0);
    int rc = open_server(e, o, err);
    if (rc) {
        provider_free(p);
        return rc;
    }
    pace_init(&e->pace, e->s.slots, o->concurrency, o->concurrency > 0);
    name_provider(p, &e->s);
    e->facts = server_describe(&e->s);
    *out = p;
    return 0;
}

const char *provider_endpoint_facts(const struct provider *p)
{
    return p->ask == endpoint_ask ? ((struct endpoint *)p->state)->facts : NULL;
}
