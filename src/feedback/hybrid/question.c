/* feedback/hybrid/question.c - yes-or-no questions and short texts, asked through the one door
 * of asking.
 *
 * A question ends in a line that one word answers.  Yes and no are read as log-probs where a
 * provider gives them, in either case and spelling, and from its text where it does not; with
 * votes the labeler writes its check down before it answers, so many times. */
#include <ctype.h>
#include <math.h>

#include "feedback/feedback.h"

enum { UNIT = 1024 }; // questions in memory together

void style_defaults(struct style *s)
{
    *s = (struct style){.min_mass = 0.5, .temperature = 0.7f, .max_new_tokens = 256, .seed = 1};
}

/* ---- reading ------------------------------------------------------------------------------
 */

static int word_at(const char *p)
{
    while (*p && (isspace((unsigned char)*p) || strchr("*_\"'`:([", *p)))
        p++;
    for (int yes = 0; yes < 2; yes++) {
        size_t n = yes ? 3 : 2;
        if (!strncasecmp(p, yes ? "yes" : "no", n) && !isalnum((unsigned char)p[n]))
            return yes;
    }
    return -1;
}

int yes_no_read(const char *text)
{
    for (const char *p = text; (p = strcasestr(p, "answer")); p += 6) {
        const char *q = p + 6;
        if (!strncasecmp(q, " is", 3))
            q += 3;
        int v = word_at(q);
        if (v >= 0)
            return v;
    }
    return word_at(text);
}

static struct yes_no from_words(const struct reply *r, double min_mass)
{
    struct yes_no v = {.p = NAN,
                       .lost = r->state == REPLY_FAILED || r->state == REPLY_TOO_LONG};
    if (r->state != REPLY_OK)
        return v;
    if (!r->has_logps) {
        int said = yes_no_read(r->text ? r->text : "");
        return said < 0 ? v : (struct yes_no){.p = said, .mass = 1, .answered = true};
    }
    double p[4]; // a word that a short list lacks counts as nothing
    for (int k = 0; k < 4; k++)
        p[k] = isfinite(r->word[k].sum) ? exp(r->word[k].sum) : 0;
    v.mass = p[0] + p[1] + p[2] + p[3];
    v.answered = v.mass >= min_mass && v.mass > 0;
    if (v.answered)
        v.p = (p[0] + p[2]) / v.mass;
    return v;
}

/* ---- asking
 * ---------------------------------------------------------------------------------- */

struct unit {
    struct ask *ask;
    struct reply *reply;
    struct chat_message *message;
    char **text;
    int n;
};

static void unit_release(struct unit *u)
{
    for (int i = 0; u->text && i < u->n; i++)
        free(u->text[i]);
    if (u->reply)
        replies_release(u->reply, u->n);
    free(u->ask);
    free(u->reply);
    free(u->message);
    free(u->text);
}

static int unit_new(struct unit *u, int n, struct err *err)
{
    *u = (struct unit){
        mem_alloc((size_t)n, sizeof *u->ask), mem_alloc((size_t)n, sizeof *u->reply),
        mem_alloc((size_t)n, sizeof *u->message), mem_alloc((size_t)n, sizeof *u->text), n};
    return u->ask && u->reply && u->message && u->text
               ? 0
               : err_set(err, ERR_MEMORY, "no memory for %d questions", n);
}

/* Question i of the unit: text and what follows it, plain or as a user's turn. */
static int put(struct unit *u, int i, struct ask ask, const char *question, const char *behind,
               const char *open, bool chat, struct err *err)
{
    u->text[i] = str_printf("%s%s%s", question, behind, chat ? "" : open);
    if (!u->text[i])
        return err_set(err, ERR_MEMORY, "no memory for a question");
    u->ask[i] = ask;
    if (chat) {
        u->message[i] = (struct chat_message){"user", u->text[i]};
        u->ask[i].message = &u->message[i];
        u->ask[i].n_messages = 1;
    } else {
        u->ask[i].prompt = u->text[i];
    }
    return 0;
}

static struct sampling sampling_of(const struct style *s, bool greedy)
{
    struct sampling how;
    sampling_defaults(&how);
    how.temperature = greedy ? 0 : s->temperature;
    how.max_new_tokens = greedy ? 16 : s->max_new_tokens;
    how.seed = s->seed;
    return how;
}

static int yes_no_words(struct yes_no *out, struct asker *a, const char *protocol,
                        const char *const *question, int n, const struct style *s,
                        struct err *err)
{
    static const char *const word[] = {"yes", "no", "Yes", "No"};
    struct unit u;
    struct ask ask = {.kind = ASK_WORDS,
                      .word = word,
                      .n_words = 4,
                      .sampling = sampling_of(s, true),
                      .protocol = protocol};
    int rc = unit_new(&u, n, err);
    for (int i = 0; i < n && rc == 0; i++)
        rc = put(&u, i, ask, question[i], " Answer yes or no.", "\nAnswer:", s->chat, err);
    if (rc == 0)
        rc = ask_all(a, u.reply, u.ask, n, err);
    for (int i = 0; i < n && rc == 0; i++)
        out[i] = from_words(&u.reply[i], s->min_mass);
    unit_release(&u);
    return rc;
}

/* Written checks: the share of yes among those that say either. */
static int yes_no_votes(struct yes_no *out, struct asker *a, const char *protocol,
                        const char *const *question, int n, const struct style *s,
                        struct err *err)
{
    struct unit u;
    struct ask ask = {
        .kind = ASK_TEXT, .sampling = sampling_of(s, false), .protocol = protocol};
    int rc = unit_new(&u, n * s->votes, err);
    for (int i = 0; i < n * s->votes && rc == 0; i++) {
        ask.draw = i % s->votes;
        rc = put(&u, i, ask, question[i / s->votes],
                 " Work it out step by step, then end with a line \"Answer: yes\" or \"Answer: "
                 "no\".",
                 "\nCheck:", s->chat, err);
    }
    if (rc == 0)
        rc = ask_all(a, u.reply, u.ask, u.n, err);
    for (int i = 0; i < n && rc == 0; i++) {
        int yes = 0, all = 0;
        bool lost = false;
        for (int k = i * s->votes; k < (i + 1) * s->votes; k++) {
            int said = u.reply[k].state == REPLY_OK
                           ? yes_no_read(u.reply[k].text ? u.reply[k].text : "")
                           : -1;
            yes += said == 1;
            all += said >= 0;
            lost = lost || u.reply[k].state == REPLY_FAILED ||
                   u.reply[k].state == REPLY_TOO_LONG;
        }
        out[i] =
            (struct yes_no){all ? (double)yes / all : NAN, (double)all / s->votes, all > 0,
                            lost && !all};
    }
    unit_release(&u);
    return rc;
}

int ask_yes_no(struct yes_no *out, struct asker *a, const char *protocol,
               const char *const *question, int n, const struct style *s, struct err *err)
{
    int rc = 0, unit = s->votes > 0 ? (UNIT + s->votes - 1) / s->votes : UNIT;
    for (int at = 0; at < n && rc == 0; at += unit) {
        int part = n - at < unit ? n - at : unit;
        rc = (s->votes > 0 ? yes_no_votes : yes_no_words)(out + at, a, protocol, question + at,
                                                          part, s, err);
    }
    return rc;
}

int ask_texts(const char **out, struct asker *a, const char *protocol,
              const char *const *question, int n, int draws, const struct style *s,
              struct arena *arena, struct err *err)
{
    int rc = 0, all = n * draws;
    for (int at = 0; at < all && rc == 0; at += UNIT) {
        struct unit u;
        struct ask ask = {
            .kind = ASK_TEXT, .sampling = sampling_of(s, false), .protocol = protocol};
        rc = unit_new(&u, all - at < UNIT ? all - at : UNIT, err);
        for (int i = 0; i < u.n && rc == 0; i++) {
            ask.draw = (at + i) % draws;
            rc = put(&u, i, ask, question[(at + i) / draws], "", "", s->chat, err);
        }
        if (rc == 0)
            rc = ask_all(a, u.reply, u.ask, u.n, err);
        for (int i = 0; i < u.n && rc == 0; i++) {
            const struct reply *r = &u.reply[i];
            out[at + i] = arena_strdup(arena, r->state == REPLY_OK && r->text ? r->text : "");
            if (!out[at + i])
                rc = err_set(err, ERR_MEMORY, "no memory for a reply");
        }
        unit_release(&u);
    }
    return rc;
}
