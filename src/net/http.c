/* net/http.c - calls in flight over libcurl's multi interface, driven by the thread that waits.
 *
 * A call is queued, sent when its delay is over, and handed out when it has ended, well or not.
 * Whether to ask again is the caller's decision, because only it knows what a repeated request
 * means; http_retry_wait says how long to wait, http_fetch does the usual thing.
 *
 * Tokens: libcurl drops a custom Authorization header when a redirect leads to another host,
 * port or scheme, and so does nothing else here; a redirect from https to http is refused. What
 * is left out: cookies, uploads of files, HTTP/2 multiplexing beyond what libcurl does. */
#include "net/internal.h"

#include <curl/curl.h>
#include <pthread.h>
#include <strings.h>

enum { MAX_IDLE = 256, MAX_REDIRECTS = 10, MAX_HEADERS = 256, ERROR_BODY = 64 << 10 };

struct header {
    int hop;
    char *name, *value;
};

struct call {
    struct http_call pub;  // first: a struct http_call * is a struct call *
    struct http_request q; // pointers into the arena
    struct arena arena;
    CURL *easy;
    struct curl_slist *list;
    struct header *header;
    int n_headers, hop;
    size_t cap_headers;
    double due; // when to send it
    bool begun, running, ended;
    char text[CURL_ERROR_SIZE];
    struct call *next;
};

struct http {
    struct http_options o;
    CURLM *multi;
    struct call *calls; // sent and not handed out
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_start(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

int http_open(struct http **out, const struct http_options *o, struct err *err)
{
    pthread_once(&curl_once, curl_start);
    struct http *h = mem_alloc(1, sizeof *h);
    CURLM *multi = h ? curl_multi_init() : NULL;
    if (!multi) {
        free(h);
        return err_set(err, ERR_MEMORY, "no memory for an HTTP client");
    }
    h->multi = multi;
    // By default four times the calls in flight stay open: few at the end of a batch, and the next begins anew.
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)MAX_IDLE);
    if (o)
        h->o = *o;
    if (h->o.connect_timeout <= 0)
        h->o.connect_timeout = 10;
    if (h->o.stall_timeout <= 0)
        h->o.stall_timeout = 20;
    *out = h;
    return 0;
}

static void unlink_call(struct http *h, struct call *c)
{
    for (struct call **p = &h->calls; *p; p = &(*p)->next) {
        if (*p == c) {
            *p = c->next;
            return;
        }
    }
}

static void stop_call(struct http *h, struct call *c)
{
    if (c->running)
        curl_multi_remove_handle(h->multi, c->easy);
    c->running = false;
    curl_easy_cleanup(c->easy);
    c->easy = NULL;
    curl_slist_free_all(c->list);
    c->list = NULL;
}

void http_call_free(struct http_call *pub)
{
    struct call *c = (struct call *)pub;
    if (!c)
        return;
    curl_easy_cleanup(c->easy);
    curl_slist_free_all(c->list);
    buf_release(&c->pub.reply);
    free(c->header);
    arena_release(&c->arena);
    free(c);
}

void http_close(struct http *h)
{
    if (!h)
        return;
    while (h->calls) {
        struct call *c = h->calls;
        h->calls = c->next;
        stop_call(h, c);
        http_call_free(&c->pub);
    }
    curl_multi_cleanup(h->multi);
    free(h);
}

/* ---- what comes in ------------------------------------------------------------------- */

/* A URL for people: without user, password and query, which may be signatures. */
static char *shown_url(struct arena *a, const char *url)
{
    const char *scheme = strstr(url, "://"), *host = scheme ? scheme + 3 : url;
    size_t n = strcspn(host, "?#");
    const char *at = memchr(host, '@', strcspn(host, "/?#"));
    struct buf b = {0};
    buf_add(&b, url, (size_t)(host - url));
    if (at)
        n -= (size_t)(at + 1 - host), host = at + 1;
    buf_add(&b, host, n);
    char *s = b.failed ? NULL : arena_strdup(a, b.s);
    buf_release(&b);
    return s ? s : "the request";
}

static bool good_status(const struct call *c)
{
    return c->pub.status >= 200 && c->pub.status < 300;
}

static size_t on_header(char *p, size_t size, size_t n, void *user)
{
    struct call *c = user;
    n *= size;
    if (n >= 5 && !strncmp(p, "HTTP/", 5)) {
        c->hop++;
        return n;
    }
    const char *colon = memchr(p, ':', n);
    if (!colon || c->n_headers >= MAX_HEADERS)
        return n;
    struct header *list =
        mem_grow(c->header, &c->cap_headers, (size_t)c->n_headers + 1, sizeof *list);
    if (!list)
        return 0;
    c->header = list;
    const char *v = colon + 1, *end = p + n;
    while (v < end && (*v == ' ' || *v == '\t'))
        v++;
    while (end > v && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
        end--;
    struct header *h = &list[c->n_headers];
    *h = (struct header){c->hop, arena_strndup(&c->arena, p, (size_t)(colon - p)),
                         arena_strndup(&c->arena, v, (size_t)(end - v))};
    if (!h->name || !h->value)
        return 0;
    c->n_headers++;
    return n;
}

static const char *find_header(const struct call *c, const char *name, bool last)
{
    for (int i = 0; i < c->n_headers; i++)
        if ((!last || c->header[i].hop == c->hop) && !strcasecmp(c->header[i].name, name))
            return c->header[i].value;
    return NULL;
}

const char *http_header(const struct http_call *c, const char *name)
{
    return find_header((const struct call *)c, name, true);
}

const char *http_first_header(const struct http_call *c, const char *name)
{
    return find_header((const struct call *)c, name, false);
}

static int begin(struct call *c)
{
    long status = 0;
    if (c->begun)
        return 0;
    c->begun = true;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    c->pub.status = (int)status;
    return c->q.begin && good_status(c) ? c->q.begin(c->q.user, &c->pub, &c->pub.err) : 0;
}

static int keep(struct call *c, const char *p, size_t n)
{
    size_t max = c->q.max_reply ? c->q.max_reply : (size_t)64 << 20, have = c->pub.reply.len;
    if (!good_status(c) && have + n > ERROR_BODY) // enough of an error page
        n = have < ERROR_BODY ? ERROR_BODY - have : 0;
    else if (n > max || have > max - n)
        return err_set(&c->pub.err, ERR_FORMAT, "%s: the reply is longer than %zu bytes",
                       shown_url(&c->arena, c->q.url), max);
    buf_add(&c->pub.reply, p, n);
    return c->pub.reply.failed ? err_set(&c->pub.err, ERR_MEMORY, "no memory for a reply") : 0;
}

static size_t on_body(char *p, size_t size, size_t n, void *user)
{
    struct call *c = user;
    n *= size;
    c->pub.rc = begin(c);
    if (c->pub.rc == 0)
        c->pub.rc = c->q.sink && good_status(c) ? c->q.sink(c->q.user, p, n, &c->pub.err)
                                                : keep(c, p, n);
    return c->pub.rc ? 0 : n;
}

/* Lets a Ctrl-C through while a name is looked up or a server is silent. */
static int on_tick(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    return interrupted();
}

/* ---- sending ------------------------------------------------------------------------- */

static int add_header(struct call *c, const char *line, struct err *err)
{
    if (strpbrk(line, "\r\n"))
        return err_set(err, ERR_VALUE, "a header with a line break: %.40s", line);
    struct curl_slist *list = curl_slist_append(c->list, line);
    if (!list)
        return err_set(err, ERR_MEMORY, "no memory for a request");
    c->list = list;
    return 0;
}

static int add_headers(struct call *c, const struct http_request *q, struct err *err)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < q->n_headers; i++)
        rc = add_header(c, q->headers[i], err);
    if (rc == 0 && q->token) {
        char *line = str_printf("Authorization: Bearer %s", q->token);
        rc = line ? add_header(c, line, err)
                  : err_set(err, ERR_MEMORY, "no memory for a request");
        free(line);
    }
    return rc;
}

/* Certificates other than the system's, as where a proxy has its own: the variables of curl and of
 * Python's clients. */
static const char *own_certificates(void)
{
    static const char *const names[] = {"CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *s = getenv(names[i]);
        if (s && *s)
            return s;
    }
    return NULL;
}

static void set_limits(const struct http *h, struct call *c)
{
    CURL *e = c->easy;
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)(1000 * h->o.connect_timeout));
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)(h->o.stall_timeout + 0.999));
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)(1000 * c->q.timeout));
    if (own_certificates())
        curl_easy_setopt(e, CURLOPT_CAINFO, own_certificates());
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(e, CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR,
                     !strncasecmp(c->q.url, "https:", 6) ? "https" : "http,https");
}

static void set_request(struct call *c)
{
    CURL *e = c->easy;
    char range[32];
    curl_easy_setopt(e, CURLOPT_URL, c->q.url);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, c->list);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "rlaif");
    if (c->q.from > 0) {
        snprintf(range, sizeof range, "%lld-", (long long)c->q.from);
        curl_easy_setopt(e, CURLOPT_RANGE, range);
    }
    if (c->q.body) {
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->q.n_body);
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, c->q.body);
    }
    if (c->q.method && !strcmp(c->q.method, "HEAD"))
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    else if (c->q.method)
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, c->q.method);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->text);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, on_tick);
    curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(e, CURLOPT_PRIVATE, c);
    if (trace_on("net"))
        log_msg(LOG_INFO, "net: %s %s from byte %lld",
                c->q.method ? c->q.method
                : c->q.body ? "POST"
                            : "GET",
                shown_url(&c->arena, c->q.url), (long long)c->q.from);
}

int http_send(struct http *h, const struct http_request *q, struct err *err)
{
    struct call *c = mem_alloc(1, sizeof *c);
    if (!c)
        return err_set(err, ERR_MEMORY, "no memory for a request");
    c->q = *q;
    c->pub.user = q->user;
    c->easy = fail_now() ? NULL : curl_easy_init();
    c->q.url = arena_strdup(&c->arena, q->url);
    c->q.method = q->method ? arena_strdup(&c->arena, q->method) : NULL;
    char *body = q->body ? arena_alloc(&c->arena, q->n_body + 1) : NULL;
    int rc = c->easy && c->q.url && (!q->method || c->q.method) && (!q->body || body)
                 ? add_headers(c, q, err)
                 : err_set(err, ERR_MEMORY, "no memory for a request");
    if (rc) {
        http_call_free(&c->pub);
        return rc;
    }
    if (body)
        c->q.body = memcpy(body, q->body, q->n_body);
    set_limits(h, c);
    set_request(c);
    c->due = time_now() + q->delay;
    struct call **p = &h->calls;
    while (*p)
        p = &(*p)->next;
    *p = c;
    return 0;
}

/* ---- driving ------------------------------------------------------------------------- */

static int curl_code(CURLcode code)
{
    switch (code) {
    case CURLE_OUT_OF_MEMORY:
        return ERR_MEMORY;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return ERR_VALUE;
    case CURLE_ABORTED_BY_CALLBACK:
        return ERR_INTERRUPTED;
    case CURLE_TOO_MANY_REDIRECTS:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return ERR_FORMAT;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return ERR_MISSING; // no network, or no such name: asking again at once is no use
    default:
        return ERR_IO;
    }
}

static void end_call(struct http *h, struct call *c, CURLcode code)
{
    curl_off_t us = 0;
    curl_easy_getinfo(c->easy, CURLINFO_TOTAL_TIME_T, &us);
    c->pub.seconds = 1e-6 * (double)us;
    if (code == CURLE_OK && c->pub.rc == 0)
        c->pub.rc = begin(c);
    const char *url = shown_url(&c->arena, c->q.url);
    if (c->pub.rc == 0 && code == CURLE_ABORTED_BY_CALLBACK)
        c->pub.rc = err_set(&c->pub.err, ERR_INTERRUPTED, "%s: interrupted", url);
    else if (c->pub.rc == 0 && code != CURLE_OK)
        c->pub.rc = err_set(&c->pub.err, curl_code(code), "%s: %s", url,
                            c->text[0] ? c->text : curl_easy_strerror(code));
    stop_call(h, c);
    c->ended = true;
}

static int start_due(struct http *h, double *wait, struct err *err)
{
    double now = time_now();
    for (struct call *c = h->calls; c; c = c->next) {
        if (c->running || c->ended)
            continue;
        if (c->due > now) {
            *wait = c->due - now < *wait ? c->due - now : *wait;
            continue;
        }
        if (curl_multi_add_handle(h->multi, c->easy) != CURLM_OK)
            return err_set(err, ERR_MEMORY, "no memory for another request");
        c->running = true;
    }
    return 0;
}

static void collect(struct http *h)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(h->multi, &left))) {
        struct call *c = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&c);
        end_call(h, c, code);
    }
}

static struct call *take_ended(struct http *h)
{
    for (struct call *c = h->calls; c; c = c->next) {
        if (c->ended) {
            unlink_call(h, c);
            c->next = NULL;
            return c;
        }
    }
    return NULL;
}

int http_next(struct http *h, double seconds, struct http_call **out, struct err *err)
{
    double until = time_now() + seconds;
    *out = NULL;
    for (;;) {
        double wait = until - time_now();
        int running, rc = start_due(h, &wait, err);
        if (rc)
            return rc;
        if (curl_multi_perform(h->multi, &running) != CURLM_OK)
            return err_set(err, ERR_IO, "libcurl's loop failed");
        collect(h);
        struct call *c = take_ended(h);
        if (c)
            *out = &c->pub;
        if (c)
            return 0;
        if (interrupted())
            return err_set(err, ERR_INTERRUPTED, "interrupted");
        if (time_now() >= until || !h->calls)
            return 0;
        wait = wait < 0 ? 0 : wait > 0.5 ? 0.5 : wait;
        curl_multi_poll(h->multi, NULL, 0, (int)(1000 * wait) + 1, NULL);
    }
}

int http_pending(const struct http *h)
{
    int n = 0;
    for (const struct call *c = h->calls; c; c = c->next)
        n++;
    return n;
}

/* ---- asking again -------------------------------------------------------------------- */

enum { RETRIES = 5, RETRIES_UNREACHED = 2, LONGEST_WAIT = 60 };

double http_wait_unit = 0.5;

/* Retry-After in seconds, or until a date. */
static double retry_after(const struct http_call *c)
{
    const char *s = http_header(c, "Retry-After");
    int64_t n;
    if (!s)
        return -1;
    if (str_to_i64(s, &n))
        return n < 0 ? 0 : (double)n;
    time_t then = curl_getdate(s, NULL), now = time(NULL);
    return then < 0 ? -1 : then > now ? (double)(then - now) : 0;
}

double http_retry_wait(const struct http_call *c, int attempt)
{
    bool busy = c->status == 408 || c->status == 429 || c->status >= 500;
    if (c->rc ? c->rc != ERR_IO : !busy)
        return -1;
    double wait = attempt < 6 ? http_wait_unit * (1 << attempt) : 30;
    double asked = c->rc ? -1 : retry_after(c);
    if (asked >= 0)
        wait = asked;
    return wait > LONGEST_WAIT ? LONGEST_WAIT : wait;
}

static int wait_for_one(struct http *h, struct http_call **out, struct err *err)
{
    int rc = 0;
    *out = NULL;
    while (rc == 0 && !*out)
        rc = http_next(h, 3600, out, err);
    return rc;
}

int http_fetch(struct http *h, struct http_call **out, const struct http_request *q,
               struct err *err)
{
    struct http_request again = *q;
    for (int attempt = 0;; attempt++) {
        struct http_call *c = NULL;
        int rc = http_send(h, &again, err);
        if (rc == 0)
            rc = wait_for_one(h, &c, err);
        if (rc)
            return rc;
        again.delay = http_retry_wait(c, attempt);
        if (again.delay < 0 || attempt == (c->rc ? RETRIES_UNREACHED : RETRIES)) {
            rc = c->rc;
            if (rc && err)
                *err = c->err;
            if (rc)
                http_call_free(c);
            else
                *out = c;
            return rc;
        }
        if (c->rc)
            log_warn("%s; asking again in %.1f s", c->err.msg, again.delay);
        else
            log_warn("%s: status %d; asking again in %.1f s",
                     shown_url(&((struct call *)c)->arena, q->url), c->status, again.delay);
        http_call_free(c);
    }
}
