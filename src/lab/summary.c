/* lab/summary.c - what writers make of a post: choosing facts, sometimes wrong ones, and wording
 * them.
 *
 * A writer picks how many facts to tell and, for each, from which kind.  An invented fact is one
 * that would fit the topic but that the post does not tell. */
#include "lab/world.h"

/* Chances of telling a key, minor, idle, invented fact; and of 1, 2, 3, 4 facts. */
static const struct habit { double kind[4], count[4]; } habits[] = {
    [WRITER_GOOD] = {{0.80, 0.12, 0.04, 0.04}, {0.05, 0.55, 0.35, 0.05}},
    [WRITER_FAIR] = {{0.48, 0.22, 0.18, 0.12}, {0.15, 0.40, 0.30, 0.15}},
    [WRITER_POOR] = {{0.22, 0.22, 0.30, 0.26}, {0.30, 0.30, 0.25, 0.15}},
};

static int draw_from(const double *p, int n, struct rng *r)
{
    double u = rng_uniform(r);
    for (int i = 0; i < n - 1; i++) {
        if (u < p[i])
            return i;
        u -= p[i];
    }
    return n - 1;
}

static bool thing_told(const struct post *p, int thing)
{
    for (int i = 0; i < p->n; i++)
        if (p->fact[i].thing == thing)
            return true;
    return false;
}

/* A fact of the topic that the post does not tell. */
static struct said invent(const struct post *p, struct rng *r)
{
    struct said s = {.salience = SALIENCE_NONE, .detail = -1, .verb = (int)rng_below(r, 2)};
    do
        s.thing = (int)rng_below(r, LAB_THINGS);
    while (thing_told(p, s.thing));
    s.subject = thing_subject(s.thing);
    s.deed = thing_deed(p->topic, s.thing);
    return s;
}

static bool said_already(const struct summary *s, const struct fact *f)
{
    for (int i = 0; i < s->n; i++)
        if (s->said[i].subject == f->subject && s->said[i].deed == f->deed &&
            s->said[i].thing == f->thing)
            return true;
    return false;
}

/* A fact of the wanted salience not told yet; an invented one where none is left. */
static struct said choose(const struct summary *s, const struct post *p, enum salience want,
                          struct rng *r)
{
    int left[LAB_MAX_FACTS], n = 0;
    for (int i = 0; i < p->n; i++)
        if (p->fact[i].salience == want && !said_already(s, &p->fact[i]))
            left[n++] = i;
    if (!n && want != SALIENCE_NONE)
        return choose(s, p,
                      want == SALIENCE_KEY     ? SALIENCE_MINOR
                      : want == SALIENCE_MINOR ? SALIENCE_IDLE
                                               : SALIENCE_NONE,
                      r);
    if (!n)
        return invent(p, r);
    const struct fact *f = &p->fact[left[rng_below(r, (uint32_t)n)]];
    struct said said = {f->subject, f->deed, f->thing, f->salience, false, f->verb, -1};
    if (rng_uniform(r) < 0.1)
        said.verb = !said.verb;
    if (rng_uniform(r) < 0.2)
        said.detail = f->detail;
    return said;
}

void summary_draw(struct summary *s, const struct world *w, const struct post *p, enum writer who,
                  double repeat, struct rng *r)
{
    if (who == WRITER_ANY)
        who = (enum writer)rng_below(r, 3);
    const struct habit *h = &habits[who];
    int n = 1 + draw_from(h->count, 4, r);
    s->n = 0;
    s->lead = rng_uniform(r) < 0.15 ? (int)rng_below(r, (uint32_t)w->leads.n) : -1;
    s->ask = rng_uniform(r) < 0.15 ? (int)rng_below(r, (uint32_t)w->asks.n) : -1;
    for (int i = 0; i < n; i++) {
        struct said f = choose(s, p, (enum salience)draw_from(h->kind, 4, r), r);
        if (who == WRITER_POOR && s->n && rng_uniform(r) < repeat)
            f = s->said[rng_below(r, (uint32_t)s->n)];      // says it twice
        f.joined = s->n && !s->said[s->n - 1].joined && rng_uniform(r) < 0.3;
        s->said[s->n++] = f;
    }
}

bool said_before(const struct summary *s, int i)
{
    for (int k = 0; k < i; k++)
        if (s->said[k].thing == s->said[i].thing)
            return true;
    return false;
}

void lab_summary_write(struct buf *b, const struct world *w, const struct post *p,
                       const struct summary *s, enum marks marks)
{
    static const char *const mark[] = {" KEY", " MINOR", " IDLE", " FALSE"};
    const struct topic *t = &w->topic[p->topic];
    bool inside = s->lead >= 0;     // a sentence has begun
    if (inside)
        buf_adds(b, w->leads.item[s->lead]);
    for (int i = 0; i < s->n; i++) {
        const struct said *f = &s->said[i];
        if (i)
            buf_adds(b, f->joined ? " and " : ". ");
        buf_addf(b, "%s %s %s the %s", inside || f->joined ? "my" : "My", t->subject[f->subject],
                 w->deed[f->deed].verb[f->verb], t->thing[f->thing]);
        if (f->detail >= 0)
            buf_addf(b, " %s", w->details.item[f->detail]);
        if (marks)
            buf_adds(b, marks == MARKS_AGAIN && said_before(s, i) ? " AGAIN" : mark[f->salience]);
        inside = false;
    }
    buf_adds(b, ".");
    if (s->ask >= 0)
        buf_addf(b, " %s", w->asks.item[s->ask]);
}
