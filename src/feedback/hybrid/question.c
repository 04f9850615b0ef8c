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

/* ---- reading ------------------------------------------------------------------------ */

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

/* ---- asking ------------------------------------------------------------------------- */

/* The question with what follows it; `open` begins the answer of one that is continued. */
static char *worded(const char *question, const char *behind, const char *open, bool chat)
{
    return str_printf("%s%s%s", question, behind, chat ? "" : open);
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
    struct ask_list q;
    struct ask ask = {.kind = ASK_WORDS,
                      .word = word,
                      .n_words = 4,
                      .sampling = sampling_of(s, true),
                      .protocol = protocol};
    int rc = ask_list_init(&q, n, err);
    for (int i = 0; i < n && rc == 0; i++)
        rc = ask_list_add(&q, &ask, worded(question[i], " Answer yes or no.", "\nAnswer:", s->chat),
                          s->chat, err);
    if (rc == 0)
        rc = ask_list_send(&q, a, err);
    for (int i = 0; i < n && rc == 0; i++)
        out[i] = from_words(&q.reply[i], s->min_mass);
    ask_list_release(&q);
    return rc;
}

/* The share of yes among written checks that say either. */
static struct yes_no from_votes(const struct reply *r, int votes)
{
    int yes = 0, all = 0;
    bool lost = false;
    for (int k = 0; k < votes; k++) {
        int said = r[k].state == REPLY_OK ? yes_no_read(r[k].text ? r[k].text : "") : -1;
        yes += said == 1;
        all += said >= 0;
        lost = lost || r[k].state == REPLY_FAILED || r[k].state == REPLY_TOO_LONG;
    }
    return (struct yes_no){all ? (double)yes / all : NAN, (double)all / votes, all > 0,
                           lost && !all};
}

static int yes_no_votes(struct yes_no *out, struct asker *a, const char *protocol,
                        const char *const *question, int n, const struct style *s,
                        struct err *err)
{
    static const char behind[] = " Work it out step by step, then end with a line \"Answer: yes\" or \"Answer: no\".";
    struct ask_list q;
    struct ask ask = {.kind = ASK_TEXT, .sampling = sampling_of(s, false), .protocol = protocol};
    int rc = ask_list_init(&q, n * s->votes, err);
    for (int i = 0; i < n * s->votes && rc == 0; i++) {
        ask.draw = i % s->votes;
        rc = ask_list_add(&q, &ask, worded(question[i / s->votes], behind, "\nCheck:", s->chat),
                          s->chat, err);
    }
    if (rc == 0)
        rc = ask_list_send(&q, a, err);
    for (int i = 0; i < n && rc == 0; i++)
        out[i] = from_votes(&q.reply[i * s->votes], s->votes);
    ask_list_release(&q);
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
        struct ask_list q;
        struct ask ask = {
            .kind = ASK_TEXT, .sampling = sampling_of(s, false), .protocol = protocol};
        int part = all - at < UNIT ? all - at : UNIT;
        rc = ask_list_init(&q, part, err);
        for (int i = 0; i < part && rc == 0; i++) {
            ask.draw = (at + i) % draws;
            rc = ask_list_add(&q, &ask, strdup(question[(at + i) / draws]), s->chat, err);
        }
        if (rc == 0)
            rc = ask_list_send(&q, a, err);
        for (int i = 0; i < part && rc == 0; i++) {
            const struct reply *r = &q.reply[i];
            out[at + i] = arena_strdup(arena, r->state == REPLY_OK && r->text ? r->text : "");
            if (!out[at + i])
                rc = err_set(err, ERR_MEMORY, "no memory for a reply");
        }
        ask_list_release(&q);
    }
    return rc;
}
