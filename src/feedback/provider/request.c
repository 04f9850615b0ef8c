/* provider/request.c - a question as the JSON that a server takes.
 *
 *     question          server continues text        chat only
 *     plain prompt      /completion, /completions    one message of the user
 *     conversation      /chat/completions            the same
 *     prefill           part of the prompt           a last message of the assistant, where it
 * is continued
 *
 * Words are asked for with one token of reply; where their log-probs cannot be had, a short
 * text is. */
#include "feedback/provider/endpoint.h"

enum { SHORT_REPLY = 16, THINKING_ROOM = 4096, LIST_TEXT = 100 };

void request_release(struct request *r)
{
    free(r->url);
    buf_release(&r->body);
    *r = (struct request){0};
}

bool request_is_text(const struct server *s, const struct ask *a)
{
    if (!a->prompt || !s->text)
        return a->prompt && !s->chat;
    bool lists_are_chat = s->top_text == 0 && s->top_chat > 0;
    return !(s->chat && a->kind == ASK_WORDS && lists_are_chat);
}

/* Whether one of the words begins another: "1" and "10". */
static bool words_overlap(const struct ask *a)
{
    for (int i = 0; i < a->n_words; i++)
        for (int k = 0; k < a->n_words; k++)
            if (i != k && str_starts(a->word[i], a->word[k]))
                return true;
    return false;
}

bool request_has_logps(const struct server *s, const struct ask *a)
{
    if (s->split && s->batch && words_overlap(a))
        return false; // the second half of "10" could not be asked for
    if (request_is_text(s, a))
        return s->top_text > 0;
    if (a->prefill && a->prefill[0] && s->prefill == PREFILL_NONE)
        return false; // the first token would not be the word's
    bool always = s->thinking == THINKING_ALWAYS;
    if (s->split && (s->prefill == PREFILL_NONE || always) && words_overlap(a))
        return false; // the second half of "10" could not be asked for
    return s->top_chat > 0 && (!always || s->thought_logps);
}

static int longest_reply(const struct server *s, const struct ask *a)
{
    bool words = a->kind == ASK_WORDS, always = s->thinking == THINKING_ALWAYS;
    if (words && request_has_logps(s, a) && (!always || request_is_text(s, a)))
        return 1;
    int n = words ? SHORT_REPLY : a->sampling.max_new_tokens;
    return always ? n + THINKING_ROOM : n;
}

static void set(json_t *o, const char *key, json_t *v)
{
    json_object_set_new(o, key, v);
}

static double temperature(const struct ask *a)
{
    return a->kind == ASK_WORDS ? 0 : a->sampling.temperature;
}

static void add_sampling(json_t *o, const struct ask *a)
{
    const struct sampling *p = &a->sampling;
    if (a->kind == ASK_WORDS)
        return;
    if (p->top_p > 0 && p->top_p < 1)
        set(o, "top_p", json_real(p->top_p));
    // Every draw of the same question is another sample of it.
    if (p->temperature > 0)
        set(o, "seed",
            json_integer((json_int_t)((p->seed + (uint64_t)a->draw * 1000003) & 0x7fffffff)));
    if (p->n_stop) {
        json_t *stop = json_array();
        for (int i = 0; i < p->n_stop; i++)
            json_array_append_new(stop, json_string(p->stop[i]));
        set(o, "stop", stop);
    }
}

/* llama-server and vLLM filter by settings of their own unless told not to. */
static void add_filters(json_t *o, const struct server *s, const struct ask *a)
{
    if (s->kind == SERVER_OPENAI || a->kind == ASK_WORDS)
        return;
    set(o, "top_k",
        json_integer(a->sampling.top_k > 0     ? a->sampling.top_k
                     : s->kind == SERVER_LLAMA ? 0
                                               : -1));
    set(o, "min_p", json_real(0));
    if (!(a->sampling.top_p > 0 && a->sampling.top_p < 1))
        set(o, "top_p", json_real(1));
    if (a->sampling.ignore_eos)
        set(o, "ignore_eos", json_true());
}

/* ---- conversations --------------------------------------------------------------------- */

static json_t *message(const char *role, const char *content)
{
    return json_pack("{s:s,s:s}", "role", role, "content", content);
}

static json_t *messages(const struct server *s, const struct ask *a, const char *more)
{
    json_t *list = json_array();
    if (a->prompt)
        json_array_append_new(list, message("user", a->prompt));
    for (int i = 0; i < a->n_messages && !a->prompt; i++)
        json_array_append_new(list, message(a->message[i].role, a->message[i].content));
    const char *prefill = a->prefill ? a->prefill : "";
    if ((prefill[0] || (more && more[0])) && s->prefill != PREFILL_NONE) {
        char *text = str_printf("%s%s", prefill, more ? more : "");
        json_array_append_new(list, text ? message("assistant", text) : NULL);
        free(text);
    }
    return list;
}

/* {"type": "json_schema"} as OpenAI has it and the others took it over. */
static json_t *format_of(const char *schema)
{
    json_t *v = json_loads(schema, 0, NULL);
    return v ? json_pack("{s:s,s:{s:s,s:b,s:o}}", "type", "json_schema", "json_schema", "name",
                         "reply", "strict", 1, "schema", v)
             : NULL;
}

json_t *request_chat_body(const struct server *s, const struct ask *a, const char *more)
{
    json_t *o = json_object();
    bool logps = a->kind == ASK_WORDS && request_has_logps(s, a);
    bool continued = s->prefill == PREFILL_CONTINUE && ((a->prefill && a->prefill[0]) || more);
    set(o, "model", json_string(s->model));
    set(o, "messages", messages(s, a, more));
    set(o, s->new_limit ? "max_completion_tokens" : "max_tokens",
        json_integer(longest_reply(s, a)));
    if (!s->no_temperature)
        set(o, "temperature", json_real(temperature(a)));
    add_sampling(o, a);
    add_filters(o, s, a);
    if (logps) {
        set(o, "logprobs", json_true());
        set(o, "top_logprobs", json_integer(s->top_chat));
    }
    if (continued) {
        set(o, "continue_final_message", json_true());
        set(o, "add_generation_prompt", json_false());
    }
    if (s->thinking == THINKING_KWARGS)
        set(o, "chat_template_kwargs", json_pack("{s:b}", "enable_thinking", 0));
    if (s->thinking == THINKING_EFFORT)
        set(o, "reasoning_effort", json_string("none"));
    if (a->schema && s->schema && !logps)
        set(o, "response_format", format_of(a->schema));
    return o;
}

/* ---- plain prompts --------------------------------------------------------------------- */

static json_t *text_body(const struct server *s, const struct ask *a, const char *more)
{
    json_t *o = json_object();
    bool words = a->kind == ASK_WORDS, logps = words && request_has_logps(s, a);
    bool llama = s->kind == SERVER_LLAMA;
    char *prompt =
        str_printf("%s%s%s", a->prompt, a->prefill ? a->prefill : "", more ? more : "");
    set(o, "prompt", prompt ? json_string(prompt) : NULL);
    free(prompt);
    if (!llama)
        set(o, "model", json_string(s->model));
    set(o, llama ? "n_predict" : "max_tokens", json_integer(longest_reply(s, a)));
    // Below 0 llama-server is greedy and its log-probs are a plain softmax.
    set(o, "temperature", json_real(llama && temperature(a) <= 0 ? -1 : temperature(a)));
    add_sampling(o, a);
    add_filters(o, s, a);
    if (logps)
        set(o, llama ? "n_probs" : "logprobs", json_integer(s->top_text));
    if (llama) {
        set(o, "post_sampling_probs", json_false());
        set(o, "cache_prompt", json_true());
    }
    if (a->schema && llama && !logps)
        set(o, "json_schema", json_loads(a->schema, 0, NULL));
    return o;
}

int request_make(struct request *out, const struct server *s, const struct ask *a,
                 const char *more, struct err *err)
{
    bool text = request_is_text(s, a), native = text && s->kind == SERVER_LLAMA;
    *out = (struct request){.url = str_printf("%s%s", native ? s->root : s->base,
                                              native ? "/completion"
                                              : text ? "/completions"
                                                     : "/chat/completions")};
    json_t *body = text ? text_body(s, a, more) : request_chat_body(s, a, more);
    if (body)
        json_add_text(&out->body, body, 0);
    json_decref(body);
    if (out->url && out->body.s && !out->body.failed)
        return 0;
    request_release(out);
    return err_set(err, ERR_MEMORY, "no memory for a question to %s", s->base);
}
