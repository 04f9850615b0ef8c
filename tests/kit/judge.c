/* kit/judge.c - a server of a language model to test against: it answers as endpoints do, and
 * misbehaves as a script says.
 *
 *     judge ROOT      writes its port to ROOT/port, serves on 127.0.0.1 until killed
 *
 *     ROOT/setup      lines "NAME VALUE", read at the start (see `struct setup`)
 *     ROOT/faults     lines "COUNT PART ACTION [ARG [ARG]]": the first COUNT requests whose
 *                     "METHOD PATH PROMPT" contains PART meet ACTION (see `struct fault`)
 *     ROOT/log        a line per request: "METHOD PATH status HASH auth=..."; HASH is of the prompt
 *     ROOT/cert.pem   with `tls 1`: the certificate it signed for itself
 *
 * It has no model: what it would say follows from the prompt's hash, or from marks in the
 * prompt:
 *     {{p=0.8}}   "1" has 0.8 of the probability that "1" and "2" share
 *     {{rate}}    "1" to "10" have i/55 of it each
 *     {{say X}}   the text X;  {{think}} thoughts before it;  {{refuse}} a refusal
 *     {{miss}}    "2" is not in the list;  {{lie}} log-probs above 0;  {{low}} little mass on both
 *     {{long}}    the prompt is too long
 * One process per connection; all die with the process that started the first. */
#include "kit/prompt_hash.h"
#include "kit/serve.h"

#include <jansson.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_REQUEST = 1 << 22 };

static struct setup {
    char kind[16];  // openai, llama, vllm
    char model[64]; // its name
    char key[64];   // asked for; none: nobody is asked
    int top;        // longest list of log-probs; 0: none are given, asking for them is an error
    int slots, limit; // answered at once (others wait); above `limit` at once 429
    double latency;   // seconds an answer takes
    bool split;       // "10" is two tokens
    bool tags;        // thoughts come as <think>, not in a field
    int thinks;       // 1: thinks before every answer unless told not to; 2: always
    bool prefill;     // continues the assistant's message
    bool schema;      // takes JSON schemas
    bool tls;         // speaks TLS with a certificate nobody knows
    double fail;      // share of requests that meet a fault drawn by number
    unsigned seed;
} setup = {.kind = "openai", .model = "judge-1", .top = 20, .slots = 1 << 20, .limit = 1 << 20};

/* What all processes count together. */
static struct shared {
    int running, requests;
} * shared;

struct fault {
    int status; // status N [Header:value]
    char header[256];
    double late;    // late S: an answer after S seconds more
    long drop;      // drop N: the connection closes after N bytes of the reply
    bool stall;     // stall: silence
    bool cut;       // cut: half of the JSON, as if it were all
    bool garbage;   // garbage: no HTTP at all
    char body[512]; // body TEXT: 200 with this
};

struct request {
    int fd;
    SSL *ssl;
    struct serve_head head;
    char *rest; // bytes read of the next request
    size_t n_rest;
    char *prompt; // what is asked, markers included
    json_t *json;
    struct fault f;
};

/* ---- script -------------------------------------------------------------------------- */

static void read_setup(void)
{
    char name[64], value[128];
    FILE *f = fopen(serve_path("setup"), "r");
    while (f && fscanf(f, "%63s %127s", name, value) == 2) {
        double v = atof(value);
        if (!strcmp(name, "kind"))
            snprintf(setup.kind, sizeof setup.kind, "%.15s", value);
        else if (!strcmp(name, "model"))
            snprintf(setup.model, sizeof setup.model, "%.63s", value);
        else if (!strcmp(name, "key"))
            snprintf(setup.key, sizeof setup.key, "%.63s", value);
        setup.top = !strcmp(name, "top") ? (int)v : setup.top;
        setup.slots = !strcmp(name, "slots") ? (int)v : setup.slots;
        setup.limit = !strcmp(name, "limit") ? (int)v : setup.limit;
        setup.latency = !strcmp(name, "latency") ? v : setup.latency;
        setup.fail = !strcmp(name, "fail") ? v : setup.fail;
        setup.seed = !strcmp(name, "seed") ? (unsigned)v : setup.seed;
        setup.split |= !strcmp(name, "split");
        setup.tags |= !strcmp(name, "tags");
        setup.thinks = !strcmp(name, "thinks") ? (int)v : setup.thinks;
        setup.prefill |= !strcmp(name, "prefill");
        setup.schema |= !strcmp(name, "schema");
        setup.tls |= !strcmp(name, "tls");
    }
    if (f)
        fclose(f);
}

static void apply(void *fault, const char *action, const char *a, const char *b)
{
    struct fault *f = fault;
    if (!strcmp(action, "status")) {
        f->status = atoi(a);
        snprintf(f->header, sizeof f->header, "%s", b);
    }
    f->late = !strcmp(action, "late") ? atof(a) : f->late;
    f->drop = !strcmp(action, "drop") ? atol(a) : f->drop;
    f->stall |= !strcmp(action, "stall");
    f->cut |= !strcmp(action, "cut");
    f->garbage |= !strcmp(action, "garbage");
    if (!strcmp(action, "body"))
        snprintf(f->body, sizeof f->body, "%s%s%s", a, b[0] ? " " : "", b);
}

/* A fault of its own for every request's number. */
static void draw_fault(struct fault *f, int number)
{
    static const char *const script[][3] = {{"status", "429", "Retry-After: 0"},
                                            {"status", "500", ""},
                                            {"drop", "0", ""},
                                            {"cut", "", ""},
                                            {"stall", "", ""},
                                            {"drop", "90", ""},
                                            {"status", "503", ""}};
    uint64_t x = mix(((uint64_t)setup.seed << 32) + (uint64_t)number);
    if ((double)(x >> 11) * 0x1p-53 >= setup.fail)
        return;
    const char *const *s = script[mix(x) % (sizeof script / sizeof script[0])];
    apply(f, s[0], s[1], s[2]);
}

static void find_faults(struct request *r)
{
    char what[8192];
    r->f = (struct fault){.drop = -1};
    int number = __atomic_fetch_add(&shared->requests, 1, __ATOMIC_SEQ_CST);
    if (setup.fail > 0 && !strcmp(r->head.method, "POST"))
        draw_fault(&r->f, number);
    snprintf(what, sizeof what, "%s %s %.7000s", r->head.method, r->head.target,
             r->prompt ? r->prompt : "");
    serve_faults(what, &r->f, apply);
}

/* ---- bytes --------------------------------------------------------------------------- */

static ssize_t get(struct request *r, char *p, size_t n)
{
    return r->ssl ? SSL_read(r->ssl, p, (int)n) : recv(r->fd, p, n, 0);
}

static bool send_all(struct request *r, const char *p, size_t n)
{
    return r->ssl ? SSL_write(r->ssl, p, (int)n) == (int)n : serve_send(r->fd, p, n);
}

static void note(const struct request *r, int status)
{
    char line[1024];
    snprintf(line, sizeof line, "%s %s %d %016llx auth=%s\n", r->head.method, r->head.target, status,
             (unsigned long long)prompt_hash(r->prompt), r->head.auth[0] ? r->head.auth : "-");
    serve_log(line);
}

static void reply(struct request *r, int status, const char *headers, const char *body)
{
    size_t len = strlen(body), room = len + strlen(headers) + 256;
    char *all = malloc(room);
    size_t n = (size_t)snprintf(all, room,
                                "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nContent-Type: "
                                "application/json\r\nX-Process: %d\r\n%s\r\n%s",
                                status, len, (int)getpid(), headers, body);
    size_t whole = n;
    if (r->f.drop >= 0 && (size_t)r->f.drop < n)
        n = (size_t)r->f.drop;
    note(r, n < whole ? 0 : status); // before it is sent: who counts must not miss one
    if (!send_all(r, all, n) || n < whole) {
        struct linger hard = {1, 0};
        setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        exit(0);
    }
    free(all);
}

static void reply_json(struct request *r, int status, json_t *v)
{
    char *s = json_dumps(v, JSON_COMPACT);
    if (r->f.cut && status == 200) {
        s[strlen(s) / 2] = 0;
        status = 200;
    }
    reply(r, status, "", s);
    free(s);
    json_decref(v);
}

static void refuse(struct request *r, int status, const char *type, const char *message)
{
    reply_json(r, status,
               json_pack("{s:{s:i,s:s,s:s}}", "error", "code", status, "message", message,
                         "type", type));
}

/* ---- what it would say --------------------------------------------------------------- */

static const char *mark(const struct request *r, const char *name)
{
    const char *s = NULL;
    for (const char *p = r->prompt; p && (p = strstr(p, name)); p++)
        s = p + strlen(name); // the last one
    return s;
}

struct list {
    struct {
        char token[24];
        double logp;
    } at[64];
    int n;
};

static void put(struct list *l, const char *token, double p)
{
    if (p <= 0)
        return;
    snprintf(l->at[l->n].token, sizeof l->at[0].token, "%s", token);
    l->at[l->n++].logp = log(p);
}

static int by_logp(const void *a, const void *b)
{
    double x = *(const double *)((const char *)a + 24),
           y = *(const double *)((const char *)b + 24);
    return x < y ? 1 : x > y ? -1 : 0;
}

/* P("1") / P("1 or 2") */
static double share(const struct request *r)
{
    const char *s = mark(r, "{{p=");
    return s ? atof(s) : 0.05 + 0.9 * (double)(prompt_hash(r->prompt) >> 11) * 0x1p-53;
}

static void list_rates(struct list *l, const struct request *r)
{
    char word[4];
    size_t n = strlen(r->prompt);
    if (setup.split && n && r->prompt[n - 1] == '1') { // the second half of "10"
        put(l, "0", 10 / 11.0);
        put(l, "\n", 1 / 11.0);
        return;
    }
    for (int i = 1; i <= (setup.split ? 9 : 10); i++) {
        snprintf(word, sizeof word, "%d", i);
        put(l, word, 0.9 * (i == 1 && setup.split ? 11 : i) / 55);
    }
}

static void what_next(struct list *l, const struct request *r)
{
    double mass = mark(r, "{{low}}") ? 0.2 : 0.9, p = share(r);
    char word[8];
    if (mark(r, "{{rate}}")) {
        list_rates(l, r);
    } else {
        put(l, "1", 0.6 * mass * p);
        put(l, " 1", 0.4 * mass * p);
        if (!mark(r, "{{miss}}")) {
            put(l, "2", 0.7 * mass * (1 - p));
            put(l, " 2", 0.3 * mass * (1 - p));
        }
    }
    for (int i = 0; i < 40; i++) {
        snprintf(word, sizeof word, "x%d", i);
        put(l, word, (0.99 - mass) / 41 * (1 - 0.01 * i));
    }
    qsort(l->at, (size_t)l->n, sizeof l->at[0], by_logp);
    if (mark(r, "{{lie}}"))
        l->at[0].logp = 0.7;
}

static json_t *list_json(const struct list *l, int top)
{
    json_t *a = json_array();
    for (int i = 0; i < l->n && i < top && i < setup.top; i++)
        json_array_append_new(
            a, json_pack("{s:s,s:f}", "token", l->at[i].token, "logprob", l->at[i].logp));
    return a;
}

/* The tokens of a thought, whose lists are about something else. */
static void think_json(json_t *a, int top)
{
    static const char *const token[] = {"<think>", "\n", "Now,", " \"", "2", "\"?", " No.", "\n", "</think>", "\n\n"};
    struct list l = {.n = 0};
    put(&l, "2", 0.97);
    put(&l, "1", 0.01);
    for (int i = 0; i < (int)(sizeof token / sizeof token[0]); i++)
        if (setup.tags || (i > 1 && i < 7)) // those of a server that takes thoughts apart have no tags
            json_array_append_new(a, json_pack("{s:s,s:f,s:o}", "token", token[i], "logprob", -0.1,
                                               "top_logprobs", list_json(&l, top)));
}

/* [{token, logprob, top_logprobs}] of every token said. */
static json_t *said_json(const char *text, const struct list *l, int top, bool thinks)
{
    json_t *a = json_array();
    if (thinks)
        think_json(a, top);
    if (!strcmp(text, "10") && setup.split) { // how a number is cut into tokens
        json_array_append_new(a, json_pack("{s:s,s:f,s:o}", "token", "1", "logprob", -0.1,
                                           "top_logprobs", list_json(l, top)));
        text++;
    }
    json_array_append_new(a, json_pack("{s:s,s:f,s:o}", "token", text, "logprob", -0.1,
                                       "top_logprobs", list_json(l, top)));
    return a;
}

static void say(char *out, size_t size, const struct request *r, const struct list *l)
{
    const char *s = mark(r, "{{say ");
    double temperature = json_number_value(json_object_get(r->json, "temperature"));
    json_int_t seed = json_integer_value(json_object_get(r->json, "seed"));
    if (s)
        snprintf(out, size, "%.*s", (int)strcspn(s, "}"), s);
    else if (setup.prefill && r->prompt && strstr(r->prompt, "F G H"))
        snprintf(out, size, " I J");
    else if (r->prompt && strstr(r->prompt, "10."))
        snprintf(out, size, "10");
    else if (temperature > 0) // a draw that follows from the seed
        snprintf(out, size, "%d",
                 (double)(mix(prompt_hash(r->prompt) + (uint64_t)seed) >> 11) * 0x1p-53 <
                         share(r)
                     ? 1
                     : 2);
    else
        snprintf(out, size, "%s", l->at[0].token);
    if (json_object_get(r->json, "response_format") && setup.schema) {
        char verdict[64];
        snprintf(verdict, sizeof verdict, "%.60s", out);
        snprintf(out, size, "{\"verdict\": \"%s\"}", verdict);
    }
}

/* ---- replies of each kind ------------------------------------------------------------ */

static json_t *usage(const struct request *r, int out, int thoughts)
{
    int in = (int)strlen(r->prompt ? r->prompt : "") / 4 + 1;
    return json_pack("{s:i,s:i,s:i,s:{s:i},s:{s:i}}", "prompt_tokens", in, "completion_tokens",
                     out + thoughts, "total_tokens", in + out + thoughts,
                     "prompt_tokens_details", "cached_tokens", in / 2,
                     "completion_tokens_details", "reasoning_tokens", thoughts);
}

static bool wants_no_thoughts(const struct request *r)
{
    const json_t *k = json_object_get(r->json, "chat_template_kwargs");
    return json_is_false(json_object_get(k, "enable_thinking"));
}

static void serve_chat(struct request *r)
{
    struct list l = {.n = 0};
    char text[4096];
    const json_t *top = json_object_get(r->json, "top_logprobs");
    const json_t *list = json_object_get(r->json, "messages");
    const json_t *last = json_array_get(list, json_array_size(list) - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    what_next(&l, r);
    say(text, sizeof text, r, &l);
    bool thinks = mark(r, "{{think}}") || setup.thinks == 2 || (setup.thinks && !wants_no_thoughts(r));
    if (json_object_get(r->json, "response_format") && !setup.schema) {
        refuse(r, 400, "invalid_request_error", "response_format is not supported");
        return;
    }
    if (json_object_get(r->json, "logprobs") &&
        (!setup.top || json_integer_value(top) > setup.top)) {
        refuse(r, 400, "invalid_request_error", "top_logprobs is too large");
        return;
    }
    json_t *m = json_pack("{s:s,s:s}", "role", "assistant", "content", text);
    if (role && !strcmp(role, "assistant") && !setup.prefill)
        json_object_set_new(m, "content", json_string("I begin anew."));
    if (thinks && setup.tags)
        json_object_set_new(m, "content",
                            json_sprintf("<think>\nNow, \"2\"? No.\n</think>\n\n%s", text));
    else if (thinks)
        json_object_set_new(m, "reasoning_content", json_string("Now, \"2\"? No."));
    bool refused = mark(r, "{{refuse}}") != NULL;
    if (refused) {
        json_object_set_new(m, "content", json_null());
        json_object_set_new(m, "refusal", json_string("I will not judge this."));
    }
    json_t *choice =
        json_pack("{s:i,s:o,s:s}", "index", 0, "message", m, "finish_reason", "stop");
    if (json_is_true(json_object_get(r->json, "logprobs")) && !refused)
        json_object_set_new(
            choice, "logprobs",
            json_pack("{s:o}", "content", said_json(text, &l, (int)json_integer_value(top), thinks)));
    reply_json(r, 200,
               json_pack("{s:s,s:s,s:[o],s:o}", "object", "chat.completion", "model",
                         setup.model, "choices", choice, "usage", usage(r, 1, thinks ? 7 : 0)));
}

/* /v1/completions as vLLM has it: the list is an object. */
static void serve_completions(struct request *r)
{
    struct list l = {.n = 0};
    char text[4096];
    int top = (int)json_integer_value(json_object_get(r->json, "logprobs"));
    what_next(&l, r);
    say(text, sizeof text, r, &l);
    json_t *choice =
        json_pack("{s:i,s:s,s:s}", "index", 0, "text", text, "finish_reason", "stop");
    if (top > setup.top) {
        refuse(r, 400, "invalid_request_error", "logprobs is too large");
        json_decref(choice);
        return;
    }
    if (top > 0) {
        json_t *o = json_object();
        for (int i = 0; i < l.n && i < top; i++)
            json_object_set_new(o, l.at[i].token, json_real(l.at[i].logp));
        json_object_set_new(choice, "logprobs",
                            json_pack("{s:[s],s:[f],s:[o]}", "tokens", text, "token_logprobs",
                                      -0.1, "top_logprobs", o));
    }
    reply_json(r, 200,
               json_pack("{s:s,s:[o],s:o}", "model", setup.model, "choices", choice, "usage",
                         usage(r, 1, 0)));
}

/* /completion as llama-server has it. */
static void serve_native(struct request *r)
{
    struct list l = {.n = 0};
    char text[4096];
    int top = (int)json_integer_value(json_object_get(r->json, "n_probs"));
    what_next(&l, r);
    say(text, sizeof text, r, &l);
    int in = (int)strlen(r->prompt) / 4 + 1;
    json_t *v =
        json_pack("{s:s,s:i,s:i,s:s,s:{s:i}}", "content", text, "tokens_evaluated", in,
                  "tokens_predicted", 1, "stop_type", "limit", "timings", "cache_n", in / 2);
    if (top > 0)
        json_object_set_new(v, "completion_probabilities", said_json(text, &l, top, false));
    reply_json(r, 200, v);
}

static void serve_template(struct request *r)
{
    char *s = malloc(strlen(r->prompt) + 64);
    sprintf(s, "<user>%s<assistant>", r->prompt);
    reply_json(r, 200, json_pack("{s:s}", "prompt", s));
    free(s);
}

static void serve_tokens(struct request *r)
{
    json_t *a = json_array();
    const char *s = json_string_value(json_object_get(r->json, "content"));
    for (; s && *s; s++)
        json_array_append_new(a, json_integer((unsigned char)*s));
    reply_json(r, 200, json_pack("{s:o}", "tokens", a));
}

static void serve_models(struct request *r)
{
    bool llama = !strcmp(setup.kind, "llama");
    json_t *m = json_pack("{s:s,s:s,s:s}", "id", setup.model, "object", "model", "owned_by",
                          llama                         ? "llamacpp"
                          : !strcmp(setup.kind, "vllm") ? "vllm"
                                                        : "someone");
    if (llama)
        json_object_set_new(
            m, "meta",
            json_pack("{s:i,s:i,s:i}", "n_params", 1000, "size", 4000, "n_vocab", 9));
    if (!strcmp(setup.kind, "vllm"))
        json_object_set_new(m, "max_model_len", json_integer(8192));
    reply_json(r, 200, json_pack("{s:s,s:[o]}", "object", "list", "data", m));
}

/* ---- one request --------------------------------------------------------------------- */

/* What is asked, as one string: the prompt, its codes, or all messages. */
static void find_prompt(struct request *r)
{
    const json_t *p = json_object_get(r->json, "prompt"), *m, *list;
    size_t i, n = 0;
    r->prompt = calloc(r->head.n_body + 1, 1);
    if (json_is_string(p))
        strcpy(r->prompt, json_string_value(p));
    json_array_foreach(p, i, m) r->prompt[i] = (char)json_integer_value(m);
    list = json_object_get(r->json, "messages");
    json_array_foreach(list, i, m)
    {
        const char *s = json_string_value(json_object_get(m, "content"));
        n += (size_t)sprintf(r->prompt + n, "%s", s ? s : "");
    }
}

static bool is(const struct request *r, const char *path)
{
    return !strcmp(r->head.target, path);
}

static void answer(struct request *r)
{
    bool llama = !strcmp(setup.kind, "llama"), vllm = !strcmp(setup.kind, "vllm");
    const char *model = json_string_value(json_object_get(r->json, "model"));
    if (setup.key[0] && strncmp(r->head.auth, "Bearer ", 7) == 0
            ? strcmp(r->head.auth + 7, setup.key) != 0
            : setup.key[0] != 0)
        refuse(r, 401, "invalid_api_key", "Incorrect API key provided: sk-ba***ad.");
    else if (is(r, "/v1/models"))
        serve_models(r);
    else if (llama && is(r, "/props"))
        reply_json(r, 200,
                   json_pack("{s:i,s:{s:i},s:s}", "total_slots", 4,
                             "default_generation_settings", "n_ctx", 4096, "model_path",
                             "/models/judge.gguf"));
    else if (!r->json)
        refuse(r, 404, "not_found_error", "File Not Found");
    else if (model && strcmp(model, setup.model) && !llama)
        refuse(r, 404, "model_not_found", "The model does not exist");
    else if (mark(r, "{{long}}"))
        refuse(
            r, 400, llama ? "exceed_context_size_error" : "invalid_request_error",
            "This model's maximum context length is 4096 tokens, however you requested more");
    else if (is(r, "/v1/chat/completions"))
        serve_chat(r);
    else if (is(r, "/v1/completions") && (llama || vllm))
        serve_completions(r);
    else if (llama && is(r, "/completion"))
        serve_native(r);
    else if (llama && is(r, "/apply-template"))
        serve_template(r);
    else if ((llama || vllm) && is(r, "/tokenize"))
        serve_tokens(r);
    else
        refuse(r, 404, "not_found_error", "File Not Found");
}

/* Answers of `slots` requests are made at once; the others wait their turn. */
static void take_time(int running)
{
    double rounds = ceil((double)running / setup.slots);
    if (setup.latency > 0)
        usleep((useconds_t)(1e6 * setup.latency * rounds));
}

static void serve(struct request *r)
{
    const struct fault *f = &r->f;
    int running = __atomic_add_fetch(&shared->running, 1, __ATOMIC_SEQ_CST);
    bool post = !strcmp(r->head.method, "POST");
    char head[300];
    find_faults(r);
    usleep((useconds_t)(1e6 * f->late));
    if (post && running <= setup.limit)
        take_time(running);
    if (f->stall) {
        note(r, 0);
        __atomic_sub_fetch(&shared->running, 1, __ATOMIC_SEQ_CST);
        sleep(60);
        exit(0);
    }
    __atomic_sub_fetch(&shared->running, 1, __ATOMIC_SEQ_CST);
    if (f->garbage) {
        send_all(r, "220 mail.example ESMTP\r\n\r\n", 26);
        exit(0);
    }
    if (post && running > setup.limit)
        reply(r, 429, "Retry-After: 0\r\n", "{\"error\":{\"message\":\"too many requests\"}}");
    else if (f->status) {
        snprintf(head, sizeof head, "%s%s", f->header, f->header[0] ? "\r\n" : "");
        reply(r, f->status, head, "{\"error\":{\"message\":\"trouble\"}}");
    } else if (f->body[0])
        reply(r, 200, "", f->body);
    else
        answer(r);
}

/* ---- connections --------------------------------------------------------------------- */

static bool read_request(struct request *r)
{
    static char all[MAX_REQUEST + 65536];
    size_t n = r->n_rest;
    char *end = NULL;
    memcpy(all, r->rest, n);
    while (!(end = memmem(all, n, "\r\n\r\n", 4)) && n < 65536) {
        ssize_t got = get(r, all + n, 65536);
        if (got <= 0)
            return false;
        n += (size_t)got;
    }
    if (!end)
        return false;
    size_t head = (size_t)(end + 4 - all);
    char line[65600];
    memcpy(line, all, head);
    line[head] = 0;
    if (!serve_parse(&r->head, line) || r->head.n_body >= MAX_REQUEST)
        return false;
    const char *text = all + head;
    size_t n_text = r->head.n_body;
    while (n < head + n_text) {
        ssize_t got = get(r, all + n, head + n_text - n);
        if (got <= 0)
            return false;
        n += (size_t)got;
    }
    r->n_rest = n - head - n_text;
    r->rest = r->n_rest ? memcpy(malloc(r->n_rest), text + n_text, r->n_rest) : r->rest;
    r->json = n_text ? json_loadb(text, n_text, 0, NULL) : NULL;
    find_prompt(r);
    return true;
}

static SSL_CTX *tls; // NULL: plain

static void on_connection(int fd, int which)
{
    struct request r = {.fd = fd, .rest = malloc(1)};
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (tls) {
        r.ssl = SSL_new(tls);
        SSL_set_fd(r.ssl, fd);
        if (SSL_accept(r.ssl) != 1)
            exit(0);
    }
    while (!r.head.close && read_request(&r)) {
        serve(&r);
        json_decref(r.json);
        free(r.prompt);
    }
}

/* A certificate for 127.0.0.1 that it signs itself; who wants to trust it reads ROOT/cert.pem.
 */
static SSL_CTX *make_tls(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)"judge", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    e = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    X509_sign(x, key, EVP_sha256());
    char *pem = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&pem, &size);
    if (!f || !PEM_write_X509(f, x) || fclose(f))
        exit(1);
    serve_publish("cert.pem", pem);
    free(pem);
    SSL_CTX *c = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(c, x);
    SSL_CTX_use_PrivateKey(c, key);
    return c;
}

int main(int argc, char **argv)
{
    int port, fd;
    char text[32];
    if (argc != 2)
        return 2;
    serve_in(argv[1]);
    read_setup();
    shared = serve_shared(sizeof *shared);
    tls = setup.tls ? make_tls() : NULL;
    fd = serve_listen(&port);
    snprintf(text, sizeof text, "%d\n", port);
    serve_publish("port", text);
    serve_forever(&fd, 1, on_connection);
}
