/* provider/reply.c - what a server said, and what its refusals mean.
 *
 * Three shapes: chat (choices[0].message), completions (choices[0].text) and llama-server's own
 * (content). Counted tokens include thoughts: tokens_out is what is paid for, thinking_tokens
 * the part that was thought. */
#include "feedback/provider/endpoint.h"

#include <strings.h>

/* ---- errors ---------------------------------------------------------------------------- */

/* {"error": {"message"}}, {"error": "..."}, {"message"}, {"detail"}: as text, at most so long.
 */
static void error_text(char *out, size_t size, const struct http_call *c)
{
    json_t *v = c->reply.len ? json_loadb(c->reply.s, c->reply.len, 0, NULL) : NULL;
    const json_t *e = json_object_get(v, "error");
    const json_t *m = json_is_object(e) ? json_object_get(e, "message") : e;
    m = m ? m : json_object_get(v, "message");
    m = m ? m : json_object_get(v, "detail");
    const char *s = json_is_string(m) ? json_string_value(m) : c->reply.len ? c->reply.s : "";
    snprintf(out, size, "%s", s);
    for (char *p = out; *p; p++)
        *p = (unsigned char)*p < ' ' ? ' ' : *p;
    json_decref(v);
}

static bool has(const char *s, const char *part)
{
    return strcasestr(s, part) != NULL;
}

static bool says_too_long(const char *s, const char *body)
{
    return has(body, "exceed_context_size") || has(body, "context_length_exceeded") ||
           ((has(s, "context") || has(s, "prompt") || has(s, "input")) &&
            (has(s, "too long") || has(s, "maximum context") ||
             has(s, "exceeds the available") || has(s, "max_model_len")));
}

/* A server may repeat the key it was given; nothing we print or store does. */
static void hide_key(char *s, const char *key)
{
    size_t n = key ? strlen(key) : 0;
    for (char *p = s; n && (p = strstr(p, key));) {
        memset(p, '*', n < 3 ? n : 3);
        if (n > 3)
            memmove(p + 3, p + n, strlen(p + n) + 1);
    }
}

enum outcome call_outcome(const struct http_call *c, const struct server *s, struct err *err)
{
    char text[500];
    const char *body = c->reply.len ? c->reply.s : "";
    if (c->rc) {
        if (err)
            *err = c->err;
        // Certificates do not mend themselves; names, lines and servers do.
        bool again = c->rc == ERR_IO || c->rc == ERR_MISSING || c->rc == ERR_VALUE;
        return again ? OUTCOME_AGAIN : OUTCOME_FATAL;
    }
    if (c->status >= 200 && c->status < 300)
        return OUTCOME_OK;
    error_text(text, sizeof text, c);
    hide_key(text, s->key);
    switch (c->status) {
    case 401:
    case 403:
        err_set(
            err, ERR_VALUE, "%s refuses %s (status %d): %s", s->base,
            s->key
                ? "the key it was given"
                : "questions without a key; give one in RLAIF_API_KEY or with --api_key_file",
            c->status, text);
        return OUTCOME_FATAL;
    case 402:
        err_set(err, ERR_VALUE, "%s wants to be paid first (status 402): %s", s->base, text);
        return OUTCOME_FATAL;
    case 404:
        err_set(err, ERR_MISSING, "%s does not know the model %s, or the path (status 404): %s",
                s->base, s->model ? s->model : "(none named)", text);
        return OUTCOME_FATAL;
    }
    err_set(err, ERR_IO, "%s: status %d: %s", s->base, c->status, text);
    if (c->status == 429 && (has(body, "insufficient_quota") || has(body, "billing")))
        return OUTCOME_FATAL;
    if (c->status == 408 || c->status == 409 || c->status == 425 || c->status == 429)
        return OUTCOME_AGAIN;
    if (says_too_long(text, body))
        return OUTCOME_TOO_LONG;
    return c->status >= 500 ? OUTCOME_AGAIN : OUTCOME_FAILED;
}

/* ---- thoughts ---------------------------------------------------------------------------- */

static void replace(char **s, const char *from, size_t n)
{
    char *copy = strndup(from, n);
    free(*s);
    *s = copy;
}

void thoughts_split(char **text, char **thinking)
{
    static const char open[] = "<think>", close[] = "</think>";
    const char *s = *text ? *text : "";
    const char *begin = s + strspn(s, " \t\r\n"), *end = strstr(s, close);
    bool opened = !strncmp(begin, open, sizeof open - 1);
    if (!opened && !end)
        return; // a template may have opened them already: then only the end is there
    const char *in = opened ? begin + sizeof open - 1 : s;
    const char *out = end ? end + sizeof close - 1 : s + strlen(s);
    if (thinking)
        replace(thinking, in, (size_t)((end ? end : out) - in));
    out += strspn(out, " \t\r\n");
    replace(text, out, strlen(out));
}

bool text_is_refusal(const char *text)
{
    static const char *const openings[] = {
        "i can't",      "i cannot",      "i can not",  "i'm sorry",      "i am sorry",
        "sorry, ",      "i won't",       "i will not", "i'm unable",     "i am unable",
        "i'm not able", "i am not able", "as an ai",   "i must decline", "i decline",
    };
    char plain[40];
    size_t n = 0;
    text += strspn(text, " \t\r\n\"*");
    for (; *text && n + 1 < sizeof plain; text++) { // U+2019 is an apostrophe, too
        if (!strncmp(text, "\xe2\x80\x99", 3))
            plain[n++] = '\'', text += 2;
        else
            plain[n++] = *text;
    }
    plain[n] = 0;
    for (size_t i = 0; i < ARRAY_LEN(openings); i++)
        if (!strncasecmp(plain, openings[i], strlen(openings[i])))
            return true;
    return false;
}

/* ---- members --------------------------------------------------------------------------- */

static int number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    json_int_t n = json_is_integer(v) ? json_integer_value(v) : 0;
    return n > 0 && n < INT32_MAX ? (int)n : 0;
}

static void read_usage(struct reply *r, const json_t *v)
{
    const json_t *u = json_object_get(v, "usage");
    if (u) {
        r->tokens_in = number(u, "prompt_tokens");
        r->tokens_out = number(u, "completion_tokens");
        r->tokens_cached = number(json_object_get(u, "prompt_tokens_details"), "cached_tokens");
        r->thinking_tokens =
            number(json_object_get(u, "completion_tokens_details"), "reasoning_tokens");
    } else {
        r->tokens_in = number(v, "tokens_evaluated");
        r->tokens_out = number(v, "tokens_predicted");
        r->tokens_cached = number(json_object_get(v, "timings"), "cache_n");
    }
}

/* The list at the first token of the answer itself. */
static const json_t *first_list(const json_t *logprobs)
{
    const json_t *content = json_object_get(logprobs, "content");
    const json_t *tops = json_object_get(logprobs, "top_logprobs");
    if (json_is_array(content))
        return json_object_get(json_array_get(content, 0), "top_logprobs");
    return json_is_array(tops) ? json_array_get(tops, 0) : NULL;
}

/* ---- the verdict's place after thoughts -------------------------------------------------- */

static const char *token_of(const json_t *content, size_t i)
{
    const char *s = json_string_value(json_object_get(json_array_get(content, i), "token"));
    return s ? s : "";
}

static size_t without_blanks(const char *s, size_t n)
{
    while (n && strchr(" \t\r\n", s[n - 1]))
        n--;
    return n;
}

/* The first of those of the first n tokens whose end spells the text, blanks around it aside; n:
 * none does.  From the end, so that each token is read once, whatever a server sends. */
static size_t tail_start(const json_t *content, size_t n, const char *text, size_t n_text)
{
    size_t left = n_text;
    for (size_t i = n; i-- > 0;) {
        const char *s = token_of(content, i);
        size_t len = left == n_text ? without_blanks(s, strlen(s)) : strlen(s);
        size_t same = len < left ? len : left;
        if (memcmp(s + len - same, text + left - same, same))
            return n;
        left -= same;
        if (left == 0)
            return without_blanks(s, len - same) ? n : i;
    }
    return n;
}

/* Moves *s past blanks; the length of what is left without those at its end. */
static size_t trim(const char **s)
{
    *s += strspn(*s, " \t\r\n");
    return without_blanks(*s, strlen(*s));
}

static bool is_word(const char *token, const struct ask *a)
{
    size_t n = trim(&token);
    for (int w = 0; w < a->n_words; w++)
        if (n == strlen(a->word[w]) && !memcmp(token, a->word[w], n))
            return true;
    return false;
}

/* Servers list the tokens of the thought with those of the answer, or the answer's alone, and mark the
 * thought in ways of their own: the answer is the tail that spells the text, one token (the end of a
 * turn) after it aside. */
static const json_t *list_after_thought(const json_t *logprobs, const char *text, const struct ask *a)
{
    const json_t *content = json_object_get(logprobs, "content");
    size_t n_text = trim(&text), n = json_array_size(content);
    size_t at = n, end = n;
    for (int aside = 0; n_text && at == end && aside < 2 && end; aside++) {
        end = n - (size_t)aside;
        at = tail_start(content, end, text, n_text);
    }
    for (; at < end; at++) {
        const char *s = token_of(content, at);
        if (s[strspn(s, " \t\r\n\"'`*")])
            return is_word(s, a) ? json_object_get(json_array_get(content, at), "top_logprobs") : NULL;
    }
    return NULL;
}

static int take_text(char **to, const char *from, struct err *err)
{
    free(*to);
    *to = strdup(from ? from : "");
    return *to ? 0 : err_set(err, ERR_MEMORY, "no memory for a reply");
}

static int read_choice(struct reply *r, const json_t **top, const json_t *choice,
                       struct err *err)
{
    const json_t *m = json_object_get(choice, "message");
    const char *text =
        json_string_value(json_object_get(m ? m : choice, m ? "content" : "text"));
    const char *refusal = json_string_value(json_object_get(m, "refusal"));
    const char *thoughts = json_string_value(json_object_get(m, "reasoning_content"));
    const char *end = json_string_value(json_object_get(choice, "finish_reason"));
    thoughts = thoughts ? thoughts : json_string_value(json_object_get(m, "reasoning"));
    if (!m && !text)
        return err_set(err, ERR_FORMAT, "a reply whose choice has neither message nor text");
    *top = first_list(json_object_get(choice, "logprobs"));
    int rc = take_text(&r->text, refusal && refusal[0] ? refusal : text, err);
    if (rc == 0 && thoughts && thoughts[0])
        rc = take_text(&r->thinking, thoughts, err);
    if ((refusal && refusal[0]) || (end && !strcmp(end, "content_filter")))
        r->state = REPLY_REFUSED;
    return rc;
}

int reply_read(struct reply *r, const json_t **top, const json_t *v, const struct ask *a,
               struct err *err)
{
    const json_t *choice = json_array_get(json_object_get(v, "choices"), 0);
    const json_t *content = json_object_get(v, "content");
    int rc;
    *top = NULL;
    r->state = REPLY_OK;
    if (json_is_object(choice)) {
        rc = read_choice(r, top, choice, err);
    } else if (json_is_string(content)) {
        const json_t *first = json_array_get(json_object_get(v, "completion_probabilities"), 0);
        *top = json_object_get(first, "top_logprobs");
        rc = take_text(&r->text, json_string_value(content), err);
    } else {
        rc = err_set(err, ERR_FORMAT, "a reply without choices or content");
    }
    if (rc)
        return rc;
    read_usage(r, v);
    thoughts_split(&r->text, &r->thinking);
    if (r->thinking &&
        !r->thinking_tokens) // not counted by the server: four bytes are about one
        r->thinking_tokens = (int)(strlen(r->thinking) / 4) + 1;
    if (!r->text)
        return err_set(err, ERR_MEMORY, "no memory for a reply");
    if (*top && r->thinking)
        *top = list_after_thought(json_object_get(choice, "logprobs"), r->text, a);
    return 0;
}
