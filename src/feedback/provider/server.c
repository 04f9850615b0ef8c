/* provider/server.c - what a server can do, found out by asking it a few tiny questions.
 *
 *     GET  /models             the key, the model's name, who wrote the server
 *     GET  /props              llama-server: its slots and window
 *     POST /chat/completions   "repeat 10": log-probs, their longest list, thoughts, how "10"
 * is spelled again with thoughts switched off; with a schema; with a begun answer POST
 * /completions        (/completion) whether plain text is continued, with which list
 *
 * What a server refuses (400) is asked again with less: a shorter list, another name for the
 * limit. */
#include "feedback/provider/endpoint.h"

#include <strings.h>

enum { ASKED_AGAIN = 6, TOP_LOCAL = 100, TOP_HOSTED = 20, TOP_LEAST = 5, NAMES_SHOWN = 5 };

void server_release(struct server *s)
{
    free(s->base);
    free(s->root);
    if (s->key)
        explicit_bzero(s->key, strlen(s->key));
    free(s->key);
    free(s->model);
    *s = (struct server){0};
}

/* ---- one question ------------------------------------------------------------------------ */

static int call_once(struct http_call **out, const struct server *s, struct http *h,
                     const char *url, const struct buf *body, double delay, struct err *err)
{
    static const char *const json[] = {"Content-Type: application/json"};
    struct http_request q = {.url = url,
                             .token = s->key,
                             .headers = json,
                             .n_headers = body ? 1 : 0,
                             .body = body ? body->s : NULL,
                             .n_body = body ? body->len : 0,
                             .delay = delay,
                             .timeout = s->timeout};
    int rc = http_send(h, &q, err);
    *out = NULL;
    while (rc == 0 && !*out)
        rc = http_next(h, 3600, out, err);
    return rc;
}

/* Nobody there: asking again at once is of no use, whoever is busy or drops a line is. */
static bool unreachable(const struct http_call *c)
{
    return c->rc && (c->rc != ERR_IO || strcasestr(c->err.msg, "connect to"));
}

static bool refused_for_good(const struct http_call *c)
{
    return c->status == 401 || c->status == 402 || c->status == 403;
}

/* GET, or POST where there is a body.  *v NULL where the server refuses what was asked (400,
 * 404, ...), and why says so.  What may pass is asked again a few times. */
static int probe(json_t **v, struct err *why, const struct server *s, struct http *h,
                 const char *url, const struct buf *body, struct err *err)
{
    double delay = 0;
    *v = NULL;
    for (int attempt = 0;; attempt++) {
        struct http_call *c;
        int rc = call_once(&c, s, h, url, body, delay, err);
        if (rc)
            return rc;
        enum outcome o = call_outcome(c, s, why);
        if (o == OUTCOME_OK) {
            *v = json_loadb(c->reply.s ? c->reply.s : "", c->reply.len, 0, NULL);
            if (!*v)
                o = OUTCOME_AGAIN,
                err_set(why, ERR_FORMAT,
                        "%s: the reply is not JSON; is this the address of an API?", url);
        }
        bool over = unreachable(c) || refused_for_good(c) ||
                    (o == OUTCOME_AGAIN && attempt == ASKED_AGAIN);
        if (over)
            rc = err_set(err, why->code, "%s", why->msg);
        delay = retry_wait(attempt, -1, s->wait, 60, 0);
        http_call_free(c);
        if (over || o != OUTCOME_AGAIN)
            return rc;
    }
}

static char *at(const char *base, const char *path)
{
    char *s = str_printf("%s%s", base, path);
    if (!s)
        mem_die("no memory for an address");
    return s;
}

/* ---- who is there ------------------------------------------------------------------------ */

static void note_meta(struct server *s, const json_t *m)
{
    const char *by = json_string_value(json_object_get(m, "owned_by"));
    const json_t *meta = json_object_get(m, "meta");
    if (by && !strcasecmp(by, "llamacpp"))
        s->kind = SERVER_LLAMA;
    if (by && !strcasecmp(by, "vllm"))
        s->kind = SERVER_VLLM;
    s->window = (int)json_integer_value(json_object_get(m, "max_model_len"));
    if (meta)
        snprintf(s->weights, sizeof s->weights, "%lld/%lld/%lld",
                 (long long)json_integer_value(json_object_get(meta, "n_params")),
                 (long long)json_integer_value(json_object_get(meta, "size")),
                 (long long)json_integer_value(json_object_get(meta, "n_vocab")));
}

static const char *id_of(const json_t *m)
{
    const char *id = json_string_value(json_object_get(m, "id"));
    return id ? id : "";
}

static int wrong_model(const struct server *s, const json_t *list, struct err *err)
{
    struct buf b = {0};
    size_t i;
    json_t *m;
    json_array_foreach((json_t *)list, i, m) if (i < NAMES_SHOWN)
        buf_addf(&b, "%s%s", i ? ", " : "", id_of(m));
    if (json_array_size(list) > NAMES_SHOWN)
        buf_addf(&b, " and %zu more", json_array_size(list) - NAMES_SHOWN);
    int rc = s->model
                 ? err_set(err, ERR_MISSING, "%s does not have the model %s; it has %s",
                           s->base, s->model, b.s ? b.s : "none")
                 : err_set(err, ERR_USAGE, "%s has several models: name one as %s#MODEL (%s)",
                           s->base, s->base, b.s ? b.s : "none");
    buf_release(&b);
    return rc;
}

/* Finds the model among those listed, or takes the only one. */
static int choose_model(struct server *s, const json_t *list, struct err *err)
{
    const json_t *found = NULL;
    size_t i;
    json_t *m;
    json_array_foreach((json_t *)list, i, m) if (s->model && !strcmp(id_of(m), s->model))
        found = m;
    if (!s->model && json_array_size(list) == 1)
        found = json_array_get(list, 0);
    if (!found && json_array_size(list))
        return wrong_model(s, list, err);
    if (!found && !s->model)
        return err_set(err, ERR_USAGE, "%s lists no models: name one as %s#MODEL", s->base,
                       s->base);
    if (found) {
        note_meta(s, found);
        if (!s->model)
            s->model = strdup(id_of(found));
    }
    return s->model ? 0 : err_set(err, ERR_MEMORY, "no memory for a model's name");
}

static int probe_models(struct server *s, struct http *h, struct err *err)
{
    struct err why = {0};
    json_t *v = NULL;
    char *url = at(s->base, "/models");
    int rc = probe(&v, &why, s, h, url, NULL, err);
    free(url);
    if (rc == 0)
        rc = choose_model(s, json_object_get(v, "data"), err);
    json_decref(v);
    return rc;
}

static int probe_props(struct server *s, struct http *h, struct err *err)
{
    struct err why = {0};
    json_t *v = NULL;
    char *url = at(s->root, "/props");
    int rc = probe(&v, &why, s, h, url, NULL, err);
    free(url);
    const json_t *g = json_object_get(v, "default_generation_settings");
    s->slots = (int)json_integer_value(json_object_get(v, "total_slots"));
    s->window = (int)json_integer_value(json_object_get(g, "n_ctx"));
    json_decref(v);
    return rc;
}

/* ---- what it gives ----------------------------------------------------------------------- */

/* Sends a question and reads the reply; *ok false where the server refuses it. */
static int try_ask(struct reply *r, json_t **v, const json_t **top, bool *ok, struct err *why,
                   const struct server *s, struct http *h, const struct ask *a, struct err *err)
{
    struct request q;
    int rc = request_make(&q, s, a, NULL, err);
    *r = (struct reply){0};
    *v = NULL;
    *ok = false;
    if (rc)
        return rc;
    rc = probe(v, why, s, h, q.url, &q.body, err);
    if (rc == 0 && *v)
        *ok = reply_read(r, top, *v, a, NULL) == 0;
    request_release(&q);
    return rc;
}

static void try_end(struct reply *r, json_t *v)
{
    reply_release(r);
    json_decref(v);
}

static const char *const ten[] = {"10"};
static const char repeat[] = "Repeat this number and nothing else: 10.";
static const struct chat_message repeat_message[] = {{"user", repeat}};

/* The longest list a server gives: where it refuses one, a shorter one is asked for. */
static int less(int top)
{
    return top > TOP_HOSTED ? TOP_HOSTED : top > TOP_LEAST ? TOP_LEAST : 0;
}

/* The tokens in which "10" was said: whose list top is. */
static bool said_split(const json_t *v, const json_t *top)
{
    const json_t *choice = json_array_get(json_object_get(v, "choices"), 0), *said;
    const json_t *content = json_object_get(json_object_get(choice, "logprobs"), "content");
    size_t i;
    json_array_foreach(content, i, said)
    {
        const char *t = json_string_value(json_object_get(said, "token"));
        if (top && json_object_get(said, "top_logprobs") == top)
            return t && !strcmp(t + strspn(t, " \n"), "1");
    }
    return false;
}

static bool thinks(const struct reply *r)
{
    return r->thinking_tokens > 0 || (r->thinking && r->thinking[0]);
}

/* Adapts to a refusal; false: there is nothing left to do without. */
static bool do_without(struct server *s, const struct err *why)
{
    if (strstr(why->msg, "max_completion_tokens") && !s->new_limit)
        return s->new_limit = true;
    if (strstr(why->msg, "temperature") && !s->no_temperature)
        return s->no_temperature = true;
    if (s->top_chat == 0)
        return false;
    s->top_chat = less(s->top_chat);
    return true;
}

static int probe_chat(struct server *s, struct http *h, struct err *err)
{
    struct ask a = {.kind = ASK_WORDS,
                    .message = repeat_message,
                    .n_messages = 1,
                    .word = ten,
                    .n_words = 1};
    s->chat = true;
    s->top_chat = s->kind == SERVER_OPENAI ? TOP_HOSTED : TOP_LOCAL;
    for (int i = 0; i < 6; i++) {
        struct err why = {0};
        struct reply r;
        json_t *v;
        const json_t *top = NULL;
        bool ok;
        int rc = try_ask(&r, &v, &top, &ok, &why, s, h, &a, err);
        if (ok) {
            s->thinking = thinks(&r) ? THINKING_ALWAYS : THINKING_NONE;
            if (s->thinking == THINKING_NONE && (int)json_array_size(top) < s->top_chat)
                s->top_chat = (int)json_array_size(top); // 0: takes the wish and does not fulfil it
            s->split = said_split(v, top);
        }
        try_end(&r, v);
        if (rc || ok)
            return rc;
        if (!do_without(s, &why)) {
            s->chat = false;
            return 0;
        }
    }
    s->chat = false;
    return 0;
}

/* A judge that always thinks: does it list the tokens after the thought?  A thought is long, and so
 * are its lists: no more is asked for than hosted servers give. */
static int probe_thought(struct server *s, struct http *h, struct err *err)
{
    static const char *const word[] = {"10", "1"}; // in one token, or in two
    struct ask a = {.kind = ASK_WORDS,
                    .message = repeat_message,
                    .n_messages = 1,
                    .word = word,
                    .n_words = 2};
    struct err why = {0};
    struct reply r;
    json_t *v;
    const json_t *top = NULL;
    bool ok;
    if (s->top_chat == 0)
        return 0;
    s->top_chat = s->top_chat < TOP_HOSTED ? s->top_chat : TOP_HOSTED;
    s->thought_logps = true;
    s->split = false;
    int rc = try_ask(&r, &v, &top, &ok, &why, s, h, &a, err);
    s->top_chat = ok ? (int)json_array_size(top) : 0;
    s->thought_logps = s->top_chat > 0;
    s->split = said_split(v, top);
    try_end(&r, v);
    return rc;
}

static int probe_thinking(struct server *s, struct http *h, struct err *err)
{
    static const enum thinking_how ways[] = {THINKING_KWARGS, THINKING_EFFORT};
    struct ask a = {.kind = ASK_WORDS,
                    .message = repeat_message,
                    .n_messages = 1,
                    .word = ten,
                    .n_words = 1};
    int rc = 0;
    if (s->thinking != THINKING_ALWAYS)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(ways) && rc == 0; i++) {
        struct err why = {0};
        struct reply r;
        json_t *v;
        const json_t *top = NULL;
        bool ok;
        s->thinking = ways[i];
        rc = try_ask(&r, &v, &top, &ok, &why, s, h, &a, err);
        bool quiet = ok && !thinks(&r);
        if (quiet)
            s->top_chat = top ? (int)json_array_size(top) : 0;
        try_end(&r, v);
        if (quiet)
            return rc;
    }
    s->thinking = THINKING_ALWAYS;
    return rc ? rc : probe_thought(s, h, err);
}

/* A begun alphabet: who goes on with it continues answers. */
static int probe_prefill(struct server *s, struct http *h, struct err *err)
{
    static const struct chat_message m[] = {{"user", "Say the alphabet, letter by letter."}};
    struct ask a = {.kind = ASK_TEXT,
                    .message = m,
                    .n_messages = 1,
                    .prefill = "A B C D E F G H",
                    .sampling = {.max_new_tokens = 4}};
    struct err why = {0};
    struct reply r;
    json_t *v;
    const json_t *top;
    bool ok;
    if (s->kind != SERVER_OPENAI) {
        s->prefill = s->kind == SERVER_VLLM ? PREFILL_CONTINUE : PREFILL_LAST;
        return 0;
    }
    s->prefill = PREFILL_LAST;
    int rc = try_ask(&r, &v, &top, &ok, &why, s, h, &a, err);
    const char *text = ok && r.text ? r.text + strspn(r.text, " ,-\n") : "";
    bool goes_on = text[0] == 'I' && (!text[1] || text[1 + strspn(text + 1, " ,-\n")] == 'J');
    s->prefill = goes_on ? PREFILL_LAST : PREFILL_NONE;
    try_end(&r, v);
    return rc;
}

static int probe_schema(struct server *s, struct http *h, struct err *err)
{
    static const char schema[] =
        "{\"type\":\"object\",\"properties\":{\"verdict\":{\"type\":\"string\",\"enum\":"
        "[\"1\",\"2\"]}},\"required\":[\"verdict\"],\"additionalProperties\":false}";
    static const struct chat_message m[] = {{"user", "Answer with the verdict 1, as JSON."}};
    struct ask a = {.kind = ASK_TEXT,
                    .message = m,
                    .n_messages = 1,
                    .schema = schema,
                    .sampling = {.max_new_tokens = 24}};
    struct err why = {0};
    struct reply r;
    json_t *v;
    const json_t *top;
    bool ok;
    s->schema = true;
    int rc = try_ask(&r, &v, &top, &ok, &why, s, h, &a, err);
    json_t *said = ok && r.text ? json_loads(r.text, 0, NULL) : NULL;
    s->schema = json_is_string(json_object_get(said, "verdict"));
    json_decref(said);
    try_end(&r, v);
    return rc;
}

static int probe_text(struct server *s, struct http *h, struct err *err)
{
    struct ask a = {
        .kind = ASK_WORDS, .prompt = "1 2 3 4 5 6 7 8 9 ", .word = ten, .n_words = 1};
    a.sampling.max_new_tokens = 1;
    s->text = true;
    s->top_text = s->kind == SERVER_OPENAI ? TOP_HOSTED : TOP_LOCAL;
    for (int i = 0; i < 4; i++) {
        struct err why = {0};
        struct reply r;
        json_t *v;
        const json_t *top = NULL;
        bool ok;
        a.kind = s->top_text ? ASK_WORDS : ASK_TEXT;     // words without a list would be asked as chat
        int rc = try_ask(&r, &v, &top, &ok, &why, s, h, &a, err);
        if (ok) {
            int n =
                json_is_object(top) ? (int)json_object_size(top) : (int)json_array_size(top);
            s->top_text = n < s->top_text ? n : s->top_text;
        }
        try_end(&r, v);
        if (rc || ok)
            return rc;
        if (s->top_text == 0)
            break;
        s->top_text = less(s->top_text);
    }
    s->text = false;
    s->top_text = 0;
    return 0;
}

int server_probe(struct server *s, struct http *h, struct err *err)
{
    int rc = probe_models(s, h, err);
    if (rc == 0 && s->kind == SERVER_LLAMA)
        rc = probe_props(s, h, err);
    if (rc == 0)
        rc = probe_chat(s, h, err);
    if (rc == 0 && s->chat)
        rc = probe_thinking(s, h, err);
    if (rc == 0 && s->chat)
        rc = probe_prefill(s, h, err);
    if (rc == 0 && s->chat)
        rc = probe_schema(s, h, err);
    if (rc == 0)
        rc = probe_text(s, h, err);
    if (rc == 0 && !s->chat && !s->text)
        rc = err_set(err, ERR_UNSUPPORTED,
                     "%s answers neither /chat/completions nor /completions for the model %s",
                     s->base, s->model);
    return rc;
}

char *server_describe(const struct server *s)
{
    static const char *const kind[] = {"OpenAI-compatible", "llama-server", "vLLM"};
    static const char *const thinking[] = {"", ", thinks", ", thinking switched off",
                                           ", thinking switched off"};
    struct buf b = {0};
    buf_addf(&b, "%s at %s (%s", s->model, s->base, kind[s->kind]);
    if (s->slots)
        buf_addf(&b, ", %d slots", s->slots);
    if (s->window)
        buf_addf(&b, ", window %d", s->window);
    buf_adds(&b, "): ");
    if (s->chat)
        buf_addf(&b, "chat with %s%s%s", s->top_chat ? "log-probs" : "no log-probs",
                 s->prefill ? ", continues answers" : "",
                 s->schema ? ", keeps to schemas" : "");
    if (s->text)
        buf_addf(&b, "%stext with %s", s->chat ? "; " : "",
                 s->top_text ? "log-probs" : "no log-probs");
    if (s->top_chat || s->top_text)
        buf_addf(&b, " of %d tokens", s->top_text > s->top_chat ? s->top_text : s->top_chat);
    buf_addf(&b, "%s%s", thinking[s->thinking],
             s->thought_logps ? ", log-probs after thoughts" : "");
    return buf_take(&b);
}
