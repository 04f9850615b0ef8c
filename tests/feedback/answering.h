/* tests/feedback/answering.h - a labeler that is a function of the question, and a protocol on its bench. */
#ifndef TESTS_FEEDBACK_ANSWERING_H
#define TESTS_FEEDBACK_ANSWERING_H

#include "feedback/scripted.h"

/* ---- a labeler that answers from a function ------------------------------------------------- */

typedef void answer_fn(void *arg, const struct ask *a, struct reply *r);
struct answering { answer_fn *answer; void *arg; int asked; };

static inline int ask_function(struct provider *p, struct reply *out, const struct ask *ask, int n, ask_done *done, void *arg,
                        struct err *err)
{
    struct answering *s = p->state;
    for (int i = 0; i < n; i++) {
        out[i] = (struct reply){.tokens_in = 7};
        s->answer(s->arg, &ask[i], &out[i]);
        s->asked++;
        if (!done(arg, i))
            return 0;
    }
    return 0;
}

/* Log-probs of the words from probabilities that need not sum to one. */
static inline void say(struct reply *r, const double *p, int n)
{
    r->has_logps = true;
    r->mass = 0;
    for (int i = 0; i < n; i++) {
        r->word[i] = (struct word_logp){log(p[i]), NAN};
        r->mass += p[i];
    }
}

static inline void say_two(struct reply *r, double one, double two)
{
    double p[] = {one, two};
    say(r, p, 2);
}

static inline void say_text(struct reply *r, const char *text)
{
    r->text = strdup(text);
}

struct bench { struct answering who; struct provider provider; struct asker asker; struct protocol *p; struct labeler l; };

static inline void bench_open(struct bench *b, const char *name, const struct protocol_options *o, answer_fn *answer, void *arg)
{
    struct err err = {0};
    *b = (struct bench){.who = {answer, arg, 0}};
    b->provider = (struct provider){.state = &b->who, .fingerprint = "function", .ask = ask_function};
    b->asker = (struct asker){.provider = &b->provider};
    if (protocol_new(&b->p, name, o, &err))
        fail_msg("%s", err.msg);
    b->l = (struct labeler){&b->asker, b->p, 0.5, NULL};
}

static inline void bench_close(struct bench *b)
{
    protocol_free(b->p);
}

static inline struct label labelled(struct bench *b, const char *prompt, const char *first, const char *second)
{
    struct label_item it = {prompt, first, second, NULL};
    struct label l;
    struct err err = {0};
    if (label_items(&l, NULL, &b->l, &it, 1, &err))
        fail_msg("%s", err.msg);
    return l;
}

static inline struct protocol_options defaults(void)
{
    struct protocol_options o;
    protocol_defaults(&o);
    return o;
}

/* The text of a question, wrapped or not. */
static inline const char *text_of(const struct ask *a)
{
    return a->prompt ? a->prompt : a->message[0].content;
}

/* Slot 1, whatever is in it. */
static inline void says_one(void *arg, const struct ask *a, struct reply *r)
{
    if (a->kind == ASK_TEXT && a->sampling.max_new_tokens > 64)
        say_text(r, "One is better.");
    else if (a->kind == ASK_TEXT)
        say_text(r, strstr(text_of(a), "(A)") ? "A" : "1");
    else
        say_two(r, 0.97, 0.02);
}

#endif
