/* lab/world.c - the tables of words.c taken apart, and posts drawn and written from them.
 *
 * A post draws a topic, a voice, and facts with distinct people and distinct things: two key
 * facts, one or two idle ones, the rest minor, told in random order.  Not here: what a summary
 * says (summary.c) and what it is worth (oracle.c). */
#include "lab/world.h"

#include <ctype.h>

static void list_split(struct list *l, struct arena *a, const char *joined)
{
    char *s = arena_strdup(a, joined);
    if (!s)
        mem_die("a list of words");
    for (;;) {
        BUG_IF(l->n == LAB_MAX_LIST);
        char *bar = strchr(s, '|');
        l->item[l->n++] = s;
        if (!bar)
            return;
        *bar = 0;
        s = bar + 1;
    }
}

static void words_split(const char **out, int n, struct arena *a, const char *joined)
{
    struct list l = {0};
    list_split(&l, a, joined);
    BUG_IF(l.n != n);
    memcpy(out, l.item, (size_t)n * sizeof *out);
}

/* "ruined/wrecked|..." */
static void deeds_split(struct deed *d, struct arena *a)
{
    const char *both[LAB_DEEDS];
    words_split(both, LAB_DEEDS, a, lab_deeds);
    for (int i = 0; i < LAB_DEEDS; i++) {
        char *slash = strchr(both[i], '/');
        BUG_IF(!slash);
        *slash = 0;
        d[i] = (struct deed){{both[i], slash + 1}};
    }
}

static void topic_split(struct topic *t, struct arena *a, const struct topic_words *tw)
{
    t->name = tw->name;
    list_split(&t->titles, a, tw->titles);
    words_split(t->subject, LAB_SUBJECTS, a, tw->subjects);
    words_split(t->thing, LAB_THINGS, a, tw->things);
}

struct world *world_new(void)
{
    struct world *w = mem_alloc(1, sizeof *w);
    if (!w)
        return NULL;
    struct arena *a = &w->arena;
    deeds_split(w->deed, a);
    for (int i = 0; i < LAB_TOPICS; i++)
        topic_split(&w->topic[i], a, &lab_topics[i]);
    for (int i = 0; i < LAB_VOICES; i++) {
        list_split(&w->voice[i].hello, a, lab_voices[i].hello);
        list_split(&w->voice[i].cue[SALIENCE_KEY], a, lab_voices[i].key);
        list_split(&w->voice[i].cue[SALIENCE_MINOR], a, lab_voices[i].minor);
        list_split(&w->voice[i].cue[SALIENCE_IDLE], a, lab_voices[i].idle);
        list_split(&w->voice[i].bye, a, lab_voices[i].bye);
    }
    list_split(&w->asides, a, lab_asides);
    list_split(&w->details, a, lab_details);
    list_split(&w->leads, a, lab_leads);
    list_split(&w->asks, a, lab_asks);
    list_split(&w->plain, a, lab_plain);
    return w;
}

void world_free(struct world *w)
{
    if (!w)
        return;
    arena_release(&w->arena);
    free(w);
}

const char *list_pick(const struct list *l, struct rng *r)
{
    return l->item[rng_below(r, (uint32_t)l->n)];
}

int thing_subject(int thing)
{
    return thing % LAB_SUBJECTS;
}

int thing_deed(int topic, int thing)
{
    return (5 * thing + 3 * topic) % LAB_DEEDS;
}

/* Things in random order, those first whose people are all different. */
static void draw_things(int *thing, struct rng *r)
{
    bool met[LAB_SUBJECTS] = {false};
    int all[LAB_THINGS], n = 0;
    for (int i = 0; i < LAB_THINGS; i++)
        all[i] = i;
    rng_shuffle(r, all, LAB_THINGS);
    for (int i = 0; i < LAB_THINGS; i++)
        if (!met[thing_subject(all[i])]) {
            met[thing_subject(all[i])] = true;
            thing[n++] = all[i];
        }
}

void post_draw(struct post *p, const struct world *w, int n_facts, struct rng *r)
{
    int thing[LAB_SUBJECTS], order[LAB_MAX_FACTS];
    BUG_IF(n_facts < 1 || n_facts > LAB_MAX_FACTS);
    p->topic = (int)rng_below(r, LAB_TOPICS);
    p->voice = (int)rng_below(r, LAB_VOICES);
    p->n = n_facts;
    draw_things(thing, r);
    for (int i = 0; i < n_facts; i++)
        order[i] = i;
    rng_shuffle(r, order, n_facts);
    int keys = n_facts >= 4 ? 2 : 1, idles = n_facts >= 5 ? 2 : 1;
    for (int i = 0; i < n_facts; i++) {
        struct fact *f = &p->fact[order[i]];
        *f = (struct fact){.subject = thing_subject(thing[i]), .thing = thing[i], .detail = -1};
        f->salience = i < keys ? SALIENCE_KEY : i < keys + idles ? SALIENCE_IDLE : SALIENCE_MINOR;
        f->deed = thing_deed(p->topic, thing[i]);
        f->verb = (int)rng_below(r, 2);
        if (rng_uniform(r) < 0.25)
            f->detail = (int)rng_below(r, (uint32_t)w->details.n);
    }
}

/* "My boss lost the badge on Monday." under its cue; an empty cue starts the sentence itself. */
static void fact_write(struct buf *b, const struct world *w, const struct post *p,
                       const struct fact *f, struct rng *r)
{
    const struct topic *t = &w->topic[p->topic];
    const char *cue = list_pick(&w->voice[p->voice].cue[f->salience], r);
    buf_addf(b, "%s%s %s %s the %s", cue, *cue ? "my" : "My", t->subject[f->subject],
             w->deed[f->deed].verb[f->verb], t->thing[f->thing]);
    if (f->detail >= 0)
        buf_addf(b, " %s", w->details.item[f->detail]);
    buf_adds(b, ".");
}

void post_write(struct buf *b, const struct world *w, const struct post *p, struct rng *r)
{
    const struct voice *v = &w->voice[p->voice];
    int aside = rng_uniform(r) < 0.4 ? (int)rng_below(r, (uint32_t)p->n) : -1;
    if (rng_uniform(r) < 0.5)
        buf_addf(b, "%s ", list_pick(&v->hello, r));
    for (int i = 0; i < p->n; i++) {
        if (i)
            buf_adds(b, " ");
        fact_write(b, w, p, &p->fact[i], r);
        if (i == aside)
            buf_addf(b, " %s", list_pick(&w->asides, r));
    }
    if (rng_uniform(r) < 0.5)
        buf_addf(b, " %s", list_pick(&v->bye, r));
}

void post_prompt(struct buf *b, const struct world *w, const struct post *p, const char *body,
                 struct rng *r)
{
    const struct topic *t = &w->topic[p->topic];
    buf_addf(b, "SUBREDDIT: r/%s\n\nTITLE: %s\n\nPOST: %s\n\nTL;DR:", t->name,
             list_pick(&t->titles, r), body);
}

enum salience post_salience(const struct post *p, int subject, int deed, int thing)
{
    for (int i = 0; i < p->n; i++)
        if (p->fact[i].subject == subject && p->fact[i].deed == deed && p->fact[i].thing == thing)
            return p->fact[i].salience;
    return SALIENCE_NONE;
}
