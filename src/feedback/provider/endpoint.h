/* feedback/provider/endpoint.h - what the files about endpoints share.
 *
 *     server.c    what a server can do: asked once, in a few tiny requests
 *     request.c   a question as the JSON that this server takes
 *     reply.c     its JSON as a reply; what its refusals mean
 *     endpoint.c  many questions at once: pace, retries, the order of steps
 *     price.c     what tokens cost
 *     batch.c     questions and replies as files, for hosted batch interfaces */
#ifndef FEEDBACK_PROVIDER_ENDPOINT_H
#define FEEDBACK_PROVIDER_ENDPOINT_H

#include "feedback/ask.h"
#include "feedback/provider/pace.h"
#include "feedback/provider/words.h"
#include "feedback/providers.h"
#include "net/net.h"

/* ---- what a server can do (server.c) -------------------------------------------------- */

enum server_kind { SERVER_OPENAI, SERVER_LLAMA, SERVER_VLLM };
enum prefill_how {
    PREFILL_NONE,
    PREFILL_LAST,     // a last message of the assistant is continued
    PREFILL_CONTINUE, // the same, told so: continue_final_message
};
enum thinking_how {
    THINKING_NONE,   // it does not
    THINKING_ALWAYS, // and cannot be told not to
    THINKING_KWARGS, // chat_template_kwargs {"enable_thinking": false}
    THINKING_EFFORT, // reasoning_effort "none"
};

struct server {
    char *base; // https://host/v1
    char *root; // without /v1: llama-server's own paths
    char *key;  // NULL: none
    char *model;
    double timeout, wait; // seconds: for one reply, before the first retry
    enum server_kind kind;
    bool chat, text;        // /chat/completions; a prompt is continued as it stands
    int top_chat, top_text; // longest list of log-probs of each; 0: none
    enum prefill_how prefill;
    enum thinking_how thinking;
    bool thought_logps; // gives the verdict's list after thoughts that cannot be switched off
    bool schema;
    bool new_limit;      // wants max_completion_tokens instead of max_tokens
    bool no_temperature; // takes its own only
    bool batch;          // asked through files: there is one reply to a question, and no more
    bool split;          // spells "10" in two tokens
    int window, slots;   // tokens; 0: not known
    char weights[64];    // what it says about the model's weights; "" nothing
};
void server_release(struct server *s);
/* Asks.  A wrong key, an unknown model, nobody there or a bad certificate end here, at once,
 * with one sentence. */
int server_probe(struct server *s, struct http *h, struct err *err) MUST_CHECK;
/* One line for people: what was found. */
char *server_describe(const struct server *s);

/* ---- questions (request.c) ------------------------------------------------------------ */

/* Where a question goes and what with. */
struct request {
    char *url;
    struct buf body;
};
void request_release(struct request *r);
/* more NULL, or what is to come after the prompt and its prefill: a word that was begun. */
int request_make(struct request *out, const struct server *s, const struct ask *a,
                 const char *more, struct err *err) MUST_CHECK;
/* Whether the prompt goes to a path that continues plain text. */
bool request_is_text(const struct server *s, const struct ask *a);
/* Whether log-probs of words can be had of this question. */
bool request_has_logps(const struct server *s, const struct ask *a);
/* The body of /chat/completions for this question, as a batch file carries it.  New reference.
 */
json_t *request_chat_body(const struct server *s, const struct ask *a, const char *more);

/* ---- replies (reply.c) ---------------------------------------------------------------- */

enum outcome {
    OUTCOME_OK,
    OUTCOME_AGAIN,    // ask again after a while
    OUTCOME_TOO_LONG, // the prompt does not fit
    OUTCOME_FAILED,   // this question cannot be answered
    OUTCOME_FATAL,    // no question can: key, model, certificate, credit
};
/* What a call that has ended means; all but OK leave a sentence, without the key, in err. */
enum outcome call_outcome(const struct http_call *c, const struct server *s, struct err *err);
/* Members that all kinds of replies have: text, thoughts, tokens, refusal; and the list in which
 * a's words are looked for, borrowed from v (*top NULL: none came).  That is the list of the first
 * token; after thoughts, of the first token of what follows them that is more than blanks and
 * quotes, provided that it spells one of the words: else the text has to say it. */
int reply_read(struct reply *r, const json_t **top, const json_t *v, const struct ask *a,
               struct err *err) MUST_CHECK;
/* Takes <think>...</think> off the front of text; what was in it goes to *thinking (NULL
 * allowed: thrown away).  An unclosed <think> takes everything.  Both are replaced in place. */
void thoughts_split(char **text, char **thinking);
/* Whether a short answer is a refusal rather than a verdict nobody could read. */
bool text_is_refusal(const char *text);

/* ---- prices (price.c) ------------------------------------------------------------------ */

double price_of(const struct price *p, const struct reply *r);

#endif
