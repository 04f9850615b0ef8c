/* lab/oracle.c - what a text says, found by matching the world's sentences, and what that is worth.
 *
 * A text is cut into lower-case words.  "my PERSON VERB OBJECT" anywhere is a statement, whatever the words
 * around it; details, leads, closing questions and joining words are grammar; every other word is stray.
 * A statement whose verb does not belong to its object, or whose person or deed comes from another topic, is
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

struct statement { int topic, subject, deed; };     // deed -1: grammatical, but nobody's deed

static bool subject_find(struct statement *s, const struct world *w, int topic, const char *word)
{
    for (int k = 0; k < LAB_TOPICS; k++) {
        int t = (topic + k) % LAB_TOPICS;           // the post's own topic comes first
        for (int i = 0; i < LAB_SUBJECTS; i++)
            if (!strcmp(w->topic[t].subject[i], word)) {
                *s = (struct statement){t, i, -1};
                return true;
            }
    }
    return false;
}

static bool is_verb(const struct world *w, const char *word)
{
    for (int t = 0; t < LAB_TOPICS; t++)
        for (int i = 0; i < LAB_DEEDS; i++)
            if (!strcmp(w->topic[t].deed[i].verb[0], word) || !strcmp(w->topic[t].deed[i].verb[1], word))
                return true;
    return false;
}

/* The object at word i in the statement's topic, else in any; returns its words. */
static int object_at(struct statement *s, const struct world *w, const struct words *t, int i, const char *verb)
{
    for (int k = 0; k < LAB_TOPICS; k++) {
        int topic = (s->topic + k) % LAB_TOPICS;
        for (int d = 0; d < LAB_DEEDS; d++) {
            const struct deed *deed = &w->topic[topic].deed[d];
            int n = phrase_at(t, i, deed->object);
            if (!n)
                continue;
            bool fits = !strcmp(deed->verb[0], verb) || !strcmp(deed->verb[1], verb);
            s->deed = fits && topic == s->topic ? d : -1;
            return n;
        }
    }
    return 0;
}

/* A statement that begins at word i with "my"; returns its words, 0 where there is none. */
static int statement_at(struct statement *s, const struct world *w, int topic, const struct words *t, int i)
{
    if (i + 3 >= t->n || strcmp(t->w[i], "my") || !subject_find(s, w, topic, t->w[i + 1]) ||
        !is_verb(w, t->w[i + 2]))
        return 0;
    int n = object_at(s, w, t, i + 3, t->w[i + 2]);
    return n ? 3 + n : 0;
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
    enum salience how = st->topic == p->topic && st->deed >= 0 ? post_salience(p, st->subject, st->deed)
                                                               : SALIENCE_NONE;
    int *const tally[] = {&s->key, &s->minor, &s->idle, &s->invented};
    ++*tally[how];
}

void oracle_read(struct lab_score *s, bool told[LAB_MAX_FACTS], const struct world *w, const struct post *p,
                 const char *text)
{
    struct words t;
    struct statement seen[MAX_WORDS / 4 + 1];
    int n_seen = 0;
    words_cut(&t, text);
    *s = (struct lab_score){.words = t.n};
    for (int i = 0; i < t.n;) {
        struct statement st;
        int n = statement_at(&st, w, p->topic, &t, i);
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
            told[f] |= seen[i].topic == p->topic && seen[i].subject == p->fact[f].subject &&
                       seen[i].deed == p->fact[f].deed;
    }
    s->coverage = s->key_total ? (double)s->key / s->key_total : 0;
    s->fluency = s->words ? 1 - (double)s->stray / s->words : 0;
    const struct taste oracle = {1.0, 0.3, -0.2, -1.0, -0.5, -1.0, -0.02};
    s->total = taste_total(&oracle, s);
}

double taste_total(const struct taste *t, const struct lab_score *s)
{
    double unread = s->words ? 1 - s->fluency : 1;
    double beyond = s->words > 20 ? s->words - 20 : 0;      // two facts with their details fit into twenty words
    return t->key * s->key + t->minor * s->minor + t->idle * s->idle + t->invented * s->invented +
           t->repeated * s->repeated + t->unread * unread + t->word * beyond;
}

int lab_score_text(struct lab_score *s, const struct lab_truth *t, const char *id, const char *text, struct err *err)
{
    const struct truth_post *p = truth_find(t, id);
    if (!p)
        return err_set(err, ERR_MISSING, "the lab's truth has no post \"%s\"", id);
    oracle_read(s, NULL, truth_world(t), &p->post, text);
    return 0;
}
