/* feedback/ask.h - asking: a question, a reply, who is asked, and that nothing is asked twice.
 *
 *     protocol   turns rows into asks and replies into labels; it knows no provider
 *     ask_all    looks into the store, asks what is missing, stores every reply before anyone uses it
 *     provider   answers asks; it knows no protocol
 *
 * What a labeler says is data: a reply that is empty, refused or lost after all retries is a
 * reply with its state, and a call fails only where going on makes no sense (a wrong key, no
 * memory, a full disk, an interruption, a spent budget).  What was answered before that is in the
 * store. */
#ifndef FEEDBACK_ASK_H
#define FEEDBACK_ASK_H

#include "base/base.h"
#include "model/model.h"

/* ---- questions and replies ---------------------------------------------------------------- */

enum ask_kind {
    ASK_WORDS,  // how likely is each of these continuations?
    ASK_TEXT,   // continue
};
enum { PROVIDER_MAX_WORDS = 10 };

/* One question.  Everything is borrowed from whoever asks, until the call returns. */
struct ask {
    enum ask_kind kind;
    const char *prompt;                         // plain text that is continued; or NULL and then
    const struct chat_message *message;         // (n_messages) a conversation, in the labeler's own template (rendered
    int n_messages;                             // here for local models, sent as chat to endpoints)
    const char *prefill;                        // what the assistant's answer begins with already; NULL or "": nothing
    const char *head;                           // what many prompts begin with: a hint, not in the key; NULL: none
    const char *const *word; int n_words;       // ASK_WORDS, at most PROVIDER_MAX_WORDS
    struct sampling sampling;                   // ASK_TEXT, and ASK_WORDS to providers without log-probs
    int draw;                                   // which of several samples of the same question: in the key
    const char *schema;                         // JSON schema wanted of the reply; NULL: none
    // Kept beside the reply; they decide nothing and are not in the key.
    const char *protocol;                       // the protocol's hash or name with its version; NULL: ""
    int order;                                  // 0: as given, 1: swapped, ...
    struct hash128 follows;                     // key of the reply this question builds on (a rationale); zero: none
    struct hash128 was;                         // key under which a store of format 1 kept the same reply; zero: none
};

/* Log-prob of a word as a whole, over the whole vocabulary, all spellings summed ("1", " 1");
 * words of several tokens ("10" as "1" "0") by the product of their tokens.  Where another word
 * of the same ask begins with this one, the word counts as said only where the other was not
 * ("1", but not "10").  bare: of the single token without a space (NaN: there is none). */
struct word_logp { double sum, bare; };

enum reply_state {
    REPLY_OK,
    REPLY_TOO_LONG,     // not asked: the prompt does not fit the labeler's window
    REPLY_REFUSED,      // the provider answered that it will not (content filter, a refusal field)
    REPLY_FAILED,       // no answer after all retries; error says why; asked again in the next run
};
const char *reply_state_name(enum reply_state state);   // "ok", "too_long", "refused", "failed"

/* Strings are the reply's own (reply_release). */
struct reply {
    enum reply_state state;
    struct hash128 key;         // of the question and of who was asked (ask_all fills it)
    bool has_logps;             // ASK_WORDS: word and mass are there.  false: the provider gives no log-probs, and text
    struct word_logp word[PROVIDER_MAX_WORDS];  // is what it said; the protocol reads the verdict from it
    double mass;                // probability of all words together
    char *text;                 // what was said, prefill not included; NULL: nothing
    char *thinking;             // what was thought before, taken off text; NULL: nothing
    int tokens_in, tokens_cached, tokens_out, thinking_tokens;  // cached: of tokens_in, what the provider had already
    double seconds, price;      // price in dollars; 0 for local models
    char *error;                // REPLY_FAILED, REPLY_REFUSED: a sentence; NULL otherwise
};
void reply_release(struct reply *r);    // zeroed afterwards
void replies_release(struct reply *r, int n);
int reply_copy(struct reply *to, const struct reply *from, struct err *err) MUST_CHECK;

/* ---- providers ------------------------------------------------------------------------------- */

/* Told of each complete reply, in any order; and with i < 0 whenever nothing is about to come for
 * a while (a long computation, a quiet line), so that what is written so far gets committed.
 * false: ask nothing more and return; what is still in flight may be told or dropped. */
typedef bool ask_done(void *arg, int i);

struct provider {
    void *state;
    char fingerprint[96];           // of everything that decides its answers; never a secret
    char wrap[40];                  // of what conversations are wrapped in on this side (a template): in the key of asks with
                                    // messages; "": nothing is
    char name[256];                 // for people: a path, a model at an address
    int64_t tokens_asked, tokens_computed;  // local: of all prompts; of what sharing left to do
    /* Fills out (n, zeroed) for n asks, in any order; asks that share much come side by side.  0
     * when each was told to done or done said stop; else an error, what was told so far being
     * good. */
    int (*ask)(struct provider *p, struct reply *out, const struct ask *ask, int n, ask_done *done,
               void *arg, struct err *err);
    void (*close)(struct provider *p);
};
void provider_free(struct provider *p);     // NULL is fine

/* A model in this process, borrowed for the provider's life.  batch_tokens bounds what one
 * forward pass computes (0: 4096).  Replies to ASK_WORDS have has_logps. */
int provider_local_new(struct provider **out, const struct model *m, const char *name,
                       int batch_tokens, struct err *err) MUST_CHECK;

/* Keys and values of at most so many tokens stay in memory, fewer only where one prompt needs more; 0: as many as serve it well. */
void provider_local_cache(struct provider *p, int tokens);
/* The tokens such a provider would compute for an ask, appended: to show them. */
int provider_local_tokens(const struct model *m, struct tokens *out, const struct ask *ask,
                          struct err *err) MUST_CHECK;

/* ---- asking ------------------------------------------------------------------------------ */

struct store;
struct ask_budget { double money; int64_t tokens; };    // dollars; tokens in and out; 0: no limit
struct ask_counts {
    int64_t found, asked;       // replies out of the store; from the provider
    int64_t failed, refused, too_long;      // of both
    int64_t tokens_in, tokens_cached, tokens_out, thinking_tokens;  // of those asked
    double seconds, price;      // of those asked; seconds summed over replies, which overlap in time
};

/* Who is asked, where replies are kept, how much may be spent; counts add up over all calls. */
struct asker {
    struct provider *provider;
    struct store *store;            // NULL: nothing is kept
    struct ask_budget budget;
    struct progress *progress;      // advanced by one for each reply; NULL: none
    struct ask_counts counts;
};

/* The key of a reply: XXH3-128 of everything that determines it (provider's fingerprint, with its
 * wrap where there are messages, prompt or messages, prefill, words, sampling, draw, schema). */
struct hash128 ask_key(const char *fingerprint, const struct ask *ask);
struct hash128 ask_settings_hash(const struct ask *ask);    // of the words, sampling and schema alone

/* Fills out (n): what the store has under an ask's key is taken from there, the rest is asked (a
 * question that stands there twice, once) and committed before this returns: 0.2 s after it came,
 * or when the provider goes quiet.  A reply that failed is kept with its error and asked again
 * when it is wanted again.  ERR_LIMIT once the budget is spent, ERR_INTERRUPTED on SIGINT; out is
 * empty after an error.  The caller releases the replies. */
int ask_all(struct asker *a, struct reply *out, const struct ask *ask, int n,
            struct err *err) MUST_CHECK;

/* ---- many questions of one text each ----------------------------------------------------- */

/* What is asked in one call, and what came back.  Everything is its own until ask_list_release. */
struct ask_list {
    struct ask *ask;                // (room) n of them are in use
    struct reply *reply;            // (room) of ask_list_send; empty before
    struct chat_message *turn;      // (room) texts put as a user's turn
    char **text;                    // (room)
    int n, room;
};
int ask_list_init(struct ask_list *q, int room, struct err *err) MUST_CHECK;
/* One more, at most room of them: how it is asked, and its text, which is taken (NULL: there was
 * no memory for it). chat: as a user's turn, else as a text that is continued. */
int ask_list_add(struct ask_list *q, const struct ask *how, char *text, bool chat,
                 struct err *err) MUST_CHECK;
int ask_list_send(struct ask_list *q, struct asker *a, struct err *err) MUST_CHECK;    // as ask_all
void ask_list_release(struct ask_list *q);    // zeroed afterwards; fine after a failed ask_list_init

#endif
