/* lab/oracle.c - what a text says, found by matching the world's sentences, and what that is worth.
 *
 * A text is cut into lower-case words.  "my PERSON VERB the THING" anywhere is a statement,
 * whatever the words around it; details, leads, closing questions and joining words are grammar;
 * every other word is stray.  A statement whose person or thing comes from another topic is
 * grammatical but invented.  No text can fail to be scored. */
#include "lab/oracle.h"

#include <ctype.h>
#include <math.h>

enum { MAX_WORDS = 512, WORD = 24 };
struct words { int n; char w[MAX_WORDS][WORD]; };

static void words_cut(struct words *out, const char *text)
{
    out->n = 0;
    while (*text && out->n < MAX_WORDS) {
        while (*text && !isalnum((unsigned char)*text))
            text++;
        int k = 0;
        for (; isalnum((unsigned char)*text); text++)
            if (k < WORD - 1)
                out->w[out->n][k++] = (char)tolower((unsigned char)*text);
        out->w[out->n][k] = 0;
        out->n += k > 0;
    }
}

/* How many words the phrase has when it stands at word i, else 0. */
static int phrase_at(const struct words *t, int i, const char *phrase)
{
    int n = 0;
    while (*phrase) {
        char word[WORD];
        int k = 0;
        while (*phrase && !isalnum((unsigned char)*phrase))
            phrase++;
        for (; isalnum((unsigned char)*phrase) && k < WORD - 1; phrase++)
            word[k++] = (char)tolower((unsigned char)*phrase);
        word[k] = 0;
        if (!k)
            break;
        if (i + n >= t->n || strcmp(t->w[i + n], word))
            return 0;
        n++;
    }
    return n;
}

static int any_phrase_at(const struct words *t, int i, const struct list *l)
{
    int longest = 0;
    for (int k = 0; k < l->n; k++) {
        int n = phrase_at(t, i, l->item[k]);
        longest = n > longest ? n : longest;
    }
    return longest;
}

struct statement { int subject_topic, subject, deed, thing_topic, thing; };

static int word_find(const char *word, const char *const *list, int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(list[i], word))
            return i;
    return -1;
}

/* A statement that begins at word i with "my"; the post's own topic is looked through first. */
static bool statement_at(struct statement *s, const struct world *w, int topic,
                         const struct words *t, int i)
{
    *s = (struct statement){-1, -1, -1, -1, -1};
    if (i + 4 >= t->n || strcmp(t->w[i], "my") || strcmp(t->w[i + 3], "the"))
        return false;
    for (int d = 0; d < LAB_DEEDS; d++)
        if (!strcmp(w->deed[d].verb[0], t->w[i + 2]) || !strcmp(w->deed[d].verb[1], t->w[i + 2]))
            s->deed = d;
    for (int k = 0; k < LAB_TOPICS; k++) {
        int in = (topic + k) % LAB_TOPICS;
        int subject = word_find(t->w[i + 1], w->topic[in].subject, LAB_SUBJECTS);
        int thing = word_find(t->w[i + 4], w->topic[in].thing, LAB_THINGS);
        if (subject >= 0 && s->subject < 0)
            s->subject = subject, s->subject_topic = in;
        if (thing >= 0 && s->thing < 0)
            s->thing = thing, s->thing_topic = in;
    }
    return s->deed >= 0 && s->subject >= 0 && s->thing >= 0;
}

static void count_statement(struct lab_score *s, const struct post *p, const struct statement *st,
                            struct statement *seen, int *n_seen)
{
    for (int i = 0; i < *n_seen; i++)
        if (!memcmp(&seen[i], st, sizeof *st)) {
            s->repeated++;
            return;
        }
    seen[(*n_seen)++] = *st;
    bool here = st->subject_topic == p->topic && st->thing_topic == p->topic;
    enum salience how = here ? post_salience(p, st->subject, st->deed, st->thing) : SALIENCE_NONE;
    int *const tally[] = {&s->key, &s->minor, &s->idle, &s->invented};
    ++*tally[how];
}

void oracle_read(struct lab_score *s, bool told[LAB_MAX_FACTS], const struct world *w,
                 const struct post *p, const char *text)
{
    struct words t;
    struct statement seen[MAX_WORDS / 4 + 1];
    int n_seen = 0;
    words_cut(&t, text);
    *s = (struct lab_score){.words = t.n};
    for (int i = 0; i < t.n;) {
        struct statement st;
        int n = statement_at(&st, w, p->topic, &t, i) ? 5 : 0;
        if (n)
            count_statement(s, p, &st, seen, &n_seen);
        if (!n)
            n = any_phrase_at(&t, i, &w->details);
        if (!n)
            n = any_phrase_at(&t, i, &w->leads);
        if (!n)
            n = any_phrase_at(&t, i, &w->asks);
        if (!n && !strcmp(t.w[i], "and") && i > 0)
            n = 1;
        s->stray += !n;
        i += n ? n : 1;
    }
    for (int f = 0; f < p->n; f++) {
        s->key_total += p->fact[f].salience == SALIENCE_KEY;
        if (told)
            told[f] = false;
        for (int i = 0; told && i < n_seen; i++)
            told[f] |= seen[i].subject_topic == p->topic && seen[i].subject == p->fact[f].subject &&
                       seen[i].deed == p->fact[f].deed && seen[i].thing_topic == p->topic &&
                       seen[i].thing == p->fact[f].thing;
    }
    s->coverage = s->key_total ? (double)s->key / s->key_total : 0;
    s->fluency = s->words ? 1 - (double)s->stray / s->words : 0;
    const struct taste oracle = {1.0, 0.3, -0.2, -1.0, -0.15, -1.0, -0.02};
    s->total = taste_total(&oracle, s);
}

double taste_total(const struct taste *t, const struct lab_score *s)
{
    double unread = s->words ? 1 - s->fluency : 1;
    double beyond = s->words > 20 ? s->words - 20 : 0;      // two facts with their details fit into twenty words
    return t->key * s->key + t->minor * s->minor + t->idle * s->idle + t->invented * s->invented +
           t->repeated * s->repeated + t->unread * unread + t->word * beyond;
}

int lab_score_text(struct lab_score *s, const struct lab_truth *t, const char *id, const char *text,
                   struct err *err)
{
    const struct truth_post *p = truth_find(t, id);
    if (!p)
        return err_set(err, ERR_MISSING, "the lab's truth has no post \"%s\"", id);
    oracle_read(s, NULL, truth_world(t), &p->post, text);
    return 0;
}
