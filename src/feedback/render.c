/* feedback/render.c - a pair as the labeler reads it: the sample block of the preference protocol.
 *
 * Prompts come as the policy saw them, so what belongs to the policy only ("SUBREDDIT:", "TL;DR:", the open
 * "Assistant:") is taken off here.  Everything is a view into the given texts until it is appended. */
#include "feedback/feedback.h"

struct span { const char *s; size_t n; };

static bool blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static struct span trim(const char *s, size_t n)
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

/* What stands in the post itself: after "POST: " and before the final "TL;DR:". */
static struct span post_text(const char *prompt)
{
    struct span t = trim(prompt, strlen(prompt));
    const char *post = span_starts(t, "POST:") ? t.s : memmem(t.s, t.n, "\n\nPOST:", 7);
    if (post) {
        post += post == t.s ? 5 : 7;
        t = trim(post, (size_t)(t.s + t.n - post));
    }
    if (span_ends(t, "TL;DR:"))
        t = trim(t.s, t.n - strlen("TL;DR:"));
    return t;
}

static bool is_transcript(const char *prompt)
{
    struct span t = trim(prompt, strlen(prompt));
    return span_starts(t, "Human:");
}

void preference_add_sample(struct buf *out, const struct preference *p, const char *prompt, const char *a, const char *b)
{
    bool transcript = p->task != TASK_SUMMARY && is_transcript(prompt);
    struct span text = p->task == TASK_SUMMARY ? post_text(prompt) : trim(prompt, strlen(prompt));
    if (transcript && span_ends(text, "\n\nAssistant:"))
        text.n -= strlen("\n\nAssistant:");
    struct span one = trim(a, strlen(a)), two = trim(b, strlen(b));
    const char *tag = transcript ? "Assistant: " : "";

    buf_addf(out, "\n\n%s", p->text_field);
    buf_add(out, text.s, text.n);
    buf_addf(out, "\n%s%s", p->first_field, tag);
    buf_add(out, one.s, one.n);
    buf_addf(out, "\n%s%s", p->second_field, tag);
    buf_add(out, two.s, two.n);
    buf_addf(out, "\n%s", p->ending);
}

int feedback_render_pair(struct buf *out, const struct preference *p, const char *prompt, const char *a, const char *b)
{
    buf_adds(out, p->head);
    preference_add_sample(out, p, prompt, a, b);
    return out->failed ? ERR_MEMORY : 0;
}

const char *first_human_turn(const char *prompt, size_t *n)
{
    struct span t = trim(prompt, strlen(prompt));
    if (span_starts(t, "Human:")) {
        const char *s = t.s + strlen("Human:"), *end = memmem(s, (size_t)(t.s + t.n - s), "\n\nAssistant:", 12);
        t = trim(s, (size_t)((end ? end : t.s + t.n) - s));
    }
    *n = t.n;
    return t.s;
}
