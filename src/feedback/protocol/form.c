/* feedback/protocol/form.c - what a labeler reads: templates filled with conversations and
 * candidates.
 *
 * Prompts come as the policy saw them, so what belongs to the policy only ("SUBREDDIT:",
 * "TL;DR:", the open "Assistant:") is taken off here.  Everything is a view into the given texts
 * until it is appended, and what is appended is never looked at again: a candidate that contains
 * "{first}" stays as it is. */
#include "feedback/protocol/internal.h"

static bool blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

struct span span_trim(const char *s, size_t n)
{
    while (n && blank(*s)) {
        s++;
        n--;
    }
    while (n && blank(s[n - 1]))
        n--;
    return (struct span){s, n};
}

static bool span_ends(struct span t, const char *end)
{
    size_t n = strlen(end);
    return t.n >= n && !memcmp(t.s + t.n - n, end, n);
}

static bool span_starts(struct span t, const char *start)
{
    size_t n = strlen(start);
    return t.n >= n && !memcmp(t.s, start, n);
}

/* ---- conversations ----------------------------------------------------------------------- */

/* Without the final "TL;DR:"; of a post what follows "POST: ", or all of it. */
static struct span post_text(const char *prompt, bool titled)
{
    struct span t = span_trim(prompt, strlen(prompt));
    const char *post = titled ? NULL : memmem(t.s, t.n, "\nPOST: ", 7);
    if (!post && !titled && span_starts(t, "POST: "))
        post = t.s;
    if (post) {
        post += post == t.s ? 5 : 7;
        t = span_trim(post, (size_t)(t.s + t.n - post));
    }
    if (span_ends(t, "TL;DR:"))
        t = span_trim(t.s, t.n - strlen("TL;DR:"));
    return t;
}

static bool is_transcript(const char *prompt)
{
    struct span t = span_trim(prompt, strlen(prompt));
    return span_starts(t, "Human:");
}

static struct span conversation_text(enum conversation how, const char *prompt)
{
    if (how != CONVERSATION_TURNS)
        return post_text(prompt, how == CONVERSATION_TITLED);
    struct span t = span_trim(prompt, strlen(prompt));
    if (span_starts(t, "Human:") && span_ends(t, "\n\nAssistant:"))
        t.n -= strlen("\n\nAssistant:");
    return t;
}

const char *first_human_turn(const char *prompt, size_t *n)
{
    struct span t = span_trim(prompt, strlen(prompt));
    if (span_starts(t, "Human:")) {
        const char *s = t.s + strlen("Human:"),
                   *end = memmem(s, (size_t)(t.s + t.n - s), "\n\nAssistant:", 12);
        t = span_trim(s, (size_t)((end ? end : t.s + t.n) - s));
    }
    *n = t.n;
    return t.s;
}

/* ---- templates --------------------------------------------------------------------------- */

/* The name between braces at s, or nothing where none is meant: "{" and anything but letters is
 * text. */
static struct span place_at(const char *s)
{
    size_t n = strspn(s + 1, "abcdefghijklmnopqrstuvwxyz_");
    return n && s[n + 1] == '}' ? (struct span){s + 1, n} : (struct span){NULL, 0};
}

static bool place_is(struct span place, const char *name)
{
    return place.n == strlen(name) && !memcmp(place.s, name, place.n);
}

static void add_candidate(struct buf *out, const char *text, bool tagged)
{
    struct span t = span_trim(text ? text : "", text ? strlen(text) : 0);
    buf_adds(out, tagged ? "Assistant: " : "");
    buf_add(out, t.s, t.n);
}

static void add_place(struct buf *out, const struct ask_form *f, struct span place,
                      const struct shown_item *it)
{
    bool tagged = f->conversation == CONVERSATION_TURNS && is_transcript(it->prompt);
    if (place_is(place, "text")) {
        struct span t = conversation_text(f->conversation, it->prompt);
        buf_add(out, t.s, t.n);
    } else if (place_is(place, "first") || place_is(place, "response")) {
        add_candidate(out, it->first, tagged);
    } else if (place_is(place, "second")) {
        add_candidate(out, it->second, tagged);
    } else if (place_is(place, "reference")) {
        add_candidate(out, it->reference, tagged);
    } else if (place_is(place, "principle")) {
        buf_adds(out, it->principle ? it->principle : "");
    } else {
        buf_addf(out, "{%.*s}", (int)place.n, place.s);
    }
}

void form_sample(struct buf *out, const struct ask_form *f, const struct shown_item *it)
{
    const char *t = it->reference && f->referenced ? f->referenced : f->sample, *open;
    for (; (open = strchr(t, '{')); ) {
        struct span place = place_at(open);
        buf_add(out, t, (size_t)(open - t));
        if (place.s)
            add_place(out, f, place, it);
        else
            buf_adds(out, "{");
        t = place.s ? place.s + place.n + 1 : open + 1;
    }
    buf_adds(out, t);
}

int form_check(const char *text, const char *const *places, const char *where, struct err *err)
{
    for (const char *open = text; (open = strchr(open, '{')); open++) {
        struct span place = place_at(open);
        bool known = !place.s;
        for (int i = 0; places[i] && !known; i++)
            known = place_is(place, places[i]);
        if (!known) {
            char name[64];
            snprintf(name, sizeof name, "%.*s", (int)place.n, place.s);
            const char *near = str_nearest(name, places);
            return err_set(err, ERR_VALUE, "%s: {%s} is no place%s%s%s", where, name,
                           near ? "; did you mean {" : "", near ? near : "", near ? "}?" : "");
        }
    }
    return 0;
}

/* ---- the head: preamble and exemplars ---------------------------------------------------- */

static const char *exemplar_answer(const struct ask_form *f, const struct exemplar *e)
{
    if (e->answer)
        return e->answer;
    return f->word[(f->flip ? 3 - e->better : e->better) - 1];
}

static void add_exemplar(struct buf *b, const struct protocol *p, int i)
{
    const struct ask_form *f = &p->form;
    const struct exemplar *e = &f->exemplar[i];
    struct shown_item it = {e->text, e->first, e->second, NULL,
                            f->n_principles ? f->principle[i % f->n_principles] : NULL};
    buf_addf(b, "%s»»»» Example »»»»\n\n", b->len ? "\n\n" : "");
    form_sample(b, f, &it);
    if (p->how.cot)
        buf_addf(b, "\n%s%s%s%s%s", f->instruct, *f->instruct ? "\n" : "", f->lead, f->gap,
                 e->rationale);
    buf_addf(b, "\n%s%s", f->ending, exemplar_answer(f, e));
}

void form_head(struct buf *b, const struct protocol *p)
{
    buf_adds(b, p->form.preamble);
    for (int i = 0; i < p->form.n_exemplars; i++)
        add_exemplar(b, p, i);
    if (p->form.n_exemplars)
        buf_adds(b, "\n\n»»»» Follow the instructions and the example(s) above »»»»");
}
