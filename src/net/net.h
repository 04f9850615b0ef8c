/* net/net.h - HTTP, and the models and data sets that live on a Hugging Face Hub.
 *
 * Below, a client that holds any number of calls at once and is driven by one thread: what
 * downloads use today serves endpoints that answer questions as well (POST, connections kept
 * alive, the caller decides how many calls are in flight).  Above it, the Hub: a name becomes
 * files on this disk, in the cache that Python's huggingface_hub keeps and shares. */
#ifndef NET_NET_H
#define NET_NET_H

#include "base/base.h"

/* ---- HTTP ---------------------------------------------------------------------------- */

/* Connections kept alive, TLS and proxies as libcurl and its environment variables have them
 * (https_proxy, no_proxy, ...).  One thread at a time. */
struct http;
struct http_options {
    double connect_timeout; // seconds until a connection must stand; 0: 10
    double stall_timeout;   // seconds without a byte after which a call fails; 0: 20
};
int http_open(struct http **out, const struct http_options *o, struct err *err) MUST_CHECK;
void http_close(struct http *h); // drops calls that have not ended; NULL is fine

struct http_call;
struct http_request {
    const char *url;
    const char *method; // NULL: GET, or POST where there is a body
    const char *token;  // bearer; goes to the host and port of url alone, wherever it redirects
    const char *const *headers; // (n_headers) "Name: value"
    int n_headers;
    const void *body; // (n_body) bytes to send, copied; NULL: none
    size_t n_body;
    int64_t from;     // first byte wanted of the resource; 0: all of it
    double delay;     // seconds to wait before it is sent
    double timeout;   // seconds for all of it; 0: as long as bytes come
    size_t max_reply; // a longer reply is an error; 0: 64 MiB.  A sink is not bounded.
    /* Where the body of a 2xx reply goes instead of call->reply.  begin comes first, also for
     * an empty body, and can look at status and headers; a code other than 0 ends the call with
     * that code and sentence. */
    int (*begin)(void *user, struct http_call *c, struct err *err);
    int (*sink)(void *user, const void *p, size_t n, struct err *err);
    void *user;
};
/* A call that has ended. */
struct http_call {
    int rc;         // 0: a whole reply came, whatever its status; else err says why not
    struct err err; // without the host's name where it may hold secrets: URLs lose their query
    int status;     // of the last reply after redirects; 0: none came
    struct buf reply; // its body (NUL-terminated), unless a sink took it
    double seconds;   // from sending to the last byte
    void *user;
};
/* Queues a call; it runs while http_next does.  The call belongs to the client until http_next
 * hands it out, then to the caller (http_call_free). */
int http_send(struct http *h, const struct http_request *q, struct err *err) MUST_CHECK;
/* Drives all calls until one has ended, at most `seconds`: *out NULL where none has.
 * ERR_INTERRUPTED when asked to stop. */
int http_next(struct http *h, double seconds, struct http_call **out,
              struct err *err) MUST_CHECK;
int http_pending(const struct http *h); // calls sent and not handed out
void http_call_free(struct http_call *c);
/* A header (any case) of the last reply, or of the first that has it on the way there; NULL:
 * none. */
const char *http_header(const struct http_call *c, const char *name);
const char *http_first_header(const struct http_call *c, const char *name);
/* Seconds to wait before asking again, attempt counting from 0: what Retry-After says, else a
 * wait that doubles; negative where asking again is no use (a 4xx other than 408 and 429). */
double http_retry_wait(const struct http_call *c, int attempt);
/* One call from start to end, asked again as long as that is of use: 5 times, 2 where
 * no reply comes. */
int http_fetch(struct http *h, struct http_call **out, const struct http_request *q,
               struct err *err) MUST_CHECK;

/* ---- the Hub ------------------------------------------------------------------------- */

/* A name on the Hub: ORG/NAME, then @REVISION (a branch, tag or commit) and :FILE where wanted.
 */
enum hub_kind { HUB_MODEL, HUB_DATASET };

/* Whether a name has the form of one; says nothing about whether it is there. */
bool hub_is_id(const char *name);

/* What a name stands for on this disk. */
struct hub_found {
    char *path; // a folder or file in the cache; of a data set's several files all, in order,
                // with commas between, as rows_read takes them
    char commit[41]; // lower-case hexadecimal
};
void hub_found_release(struct hub_found *f);

/* Finds a model in the cache, and fetches what is missing: configuration, tokenizer, templates
 * and safetensors, or one GGUF file.  What the cache holds whole is used without asking the Hub
 * (hub_pull asks). */
int hub_model(struct hub_found *out, const char *name, struct err *err) MUST_CHECK;
/* The same for the files of one split of a data set.  config NULL: the one called default, or
 * the only one; split NULL: train. */
int hub_dataset(struct hub_found *out, const char *name, const char *config, const char *split,
                struct err *err) MUST_CHECK;

struct hub_pull {
    const char *name;
    enum hub_kind kind;
    const char *revision; // NULL: that of the name, else main
    const json_t
        *include; // array of patterns (* ? [..]); NULL: what hub_model takes; all of a data set
};
/* Asks the Hub which commit the revision is now, and fetches what is missing of it.  result
 * receives "id", "revision", "commit", "path", "files", "fetched", "bytes". */
int hub_pull(json_t *result, const struct hub_pull *p, struct err *err) MUST_CHECK;
/* What the cache holds: an array of {"id", "kind", "path", "bytes", "files", "last_used",
 * "revisions": [{"commit", "refs"}]}, sorted by kind and id.  The caller owns *out. */
int hub_cached(json_t **out, struct err *err) MUST_CHECK;

#endif
