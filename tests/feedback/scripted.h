/* tests/feedback/scripted.h - a labeler that follows a script: what it answers is a function of the prompt's texts. */
#ifndef TESTS_FEEDBACK_SCRIPTED_H
#define TESTS_FEEDBACK_SCRIPTED_H

#include "feedback/feedback.h"
#include "kit/kit.h"

#include <math.h>

#define near(a, b, eps)                                                                            \
    do {                                                                                           \
        if (!(fabs((a) - (b)) <= (eps)))                                                           \
            fail_msg("%s is %.15g, expected %.15g", #a, (double)(a), (double)(b));                 \
    } while (0)

/* P(answer "1") of one prompt, and the mass on both words. */
struct verdict { double one, mass; };
struct script {
    struct verdict (*judge)(void *arg, const char *prompt);
    void *arg;
    int asked;          // prompts answered so far
    int fail_after;     // > 0: fails once more than so many were asked
};

static inline int scripted_ask(struct provider *p, struct reply *out, const struct ask *ask, int n, ask_done *done,
                               void *arg, struct err *err)
{
    struct script *s = p->state;
    for (int i = 0; i < n; i++) {
        struct verdict v = s->judge(s->arg, ask[i].prompt);
        if (s->fail_after && s->asked >= s->fail_after)
            return err_set(err, ERR_IO, "the labeler went away");
        s->asked++;
        out[i] = (struct reply){.tokens_in = (int)strlen(ask[i].prompt), .mass = v.mass, .has_logps = true};
        out[i].word[0] = (struct word_logp){log(v.one * v.mass), log(v.one * v.mass)};
        out[i].word[1] = (struct word_logp){log((1 - v.one) * v.mass), NAN};
        if (!done(arg, i))
            return 0;
    }
    return 0;
}

static inline struct provider scripted(struct script *s)
{
    return (struct provider){.state = s, .fingerprint = "scripted", .name = "script", .ask = scripted_ask};
}

/* The text between `field` and the end of its line. */
static inline const char *field_of(const char *prompt, const char *field, size_t *n)
{
    const char *last = NULL;    // exemplars come before the sample
    for (const char *at = prompt; (at = strstr(at, field)); at++)
        last = at + strlen(field);
    *n = last ? strcspn(last, "\n") : 0;
    return last ? last : "";
}

#endif
