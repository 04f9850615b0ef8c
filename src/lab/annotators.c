/* lab/annotators.c - simulated people who compare two summaries of a post.
 *
 * An annotator values a text by a taste of its own, by what it happens to need from this post,
 * and by a mood that depends on annotator, post and text (drawn from a stream keyed by all three,
 * so the same question has the same answer for ever).  The better-valued text is preferred, and
 * confidence grows with the gap.  The spread of moods is set so that two of the panel agree on
 * about three pairs of four, as people do. */
#include "lab/oracle.h"

#include <math.h>

static const struct taste tastes[LAB_ANNOTATORS] = {
    /* key  minor  idle  invented repeated unread word */
    {1.00, 0.30, -0.20, -1.20, -0.15, -1.0, -0.02},     // strict
    {1.20, 0.45, -0.05, -0.90, -0.10, -0.8, -0.01},     // wants to know it all
    {1.00, 0.15, -0.35, -1.00, -0.20, -1.2, -0.03},     // likes it short
    {1.10, 0.30, -0.20, -1.00, -0.15, -1.0, -0.02},
    {0.90, 0.40, -0.20, -1.10, -0.15, -1.0, -0.02},
};
#define MOOD 0.60           // standard deviation per text; 75 % agreement on samples of an SFT policy
#define SURE 1.3            // the gap at which confidence is 1 - 1/e

static int value(double *v, const struct truth_post *p, const struct world *w, const char *text,
                 int annotator, uint64_t seed)
{
    struct lab_score s;
    bool told[LAB_MAX_FACTS];
    struct rng r;
    oracle_read(&s, told, w, &p->post, text);
    *v = taste_total(&tastes[annotator], &s);
    for (int i = 0; i < p->post.n; i++)
        *v += told[i] ? p->need[annotator][i] : 0;
    char *key = str_printf("%s\n%s", p->id, text);
    if (!key)
        return ERR_MEMORY;
    rng_init(&r, seed, RNG_ANNOTATOR, hash_bytes(key, strlen(key)).lo, (uint32_t)annotator);
    free(key);
    *v += MOOD * rng_normal(&r);
    return 0;
}

int lab_annotate(struct lab_vote *v, const struct lab_truth *t, const char *id, const char *a,
                 const char *b, int annotator, uint64_t seed, struct err *err)
{
    const struct truth_post *p = truth_find(t, id);
    double va, vb;
    if (!p)
        return err_set(err, ERR_MISSING, "the lab's truth has no post \"%s\"", id);
    if (annotator < 0 || annotator >= LAB_ANNOTATORS)
        return err_set(err, ERR_VALUE, "annotator: expected 0 to %d, found %d", LAB_ANNOTATORS - 1,
                       annotator);
    if (value(&va, p, truth_world(t), a, annotator, seed) ||
        value(&vb, p, truth_world(t), b, annotator, seed))
        return err_set(err, ERR_MEMORY, "asking an annotator about %s", id);
    v->preferred = va == vb ? 0 : va > vb ? 1 : 2;
    v->confidence = 1 - exp(-fabs(va - vb) / SURE);
    return 0;
}

int lab_panel_vote(struct lab_panel *p, const struct lab_truth *t, const char *id, const char *a,
                   const char *b, uint64_t seed, struct err *err)
{
    int count[3] = {0};
    *p = (struct lab_panel){0};
    for (int k = 0; k < LAB_PANEL; k++) {
        struct lab_vote v;
        int rc = lab_annotate(&v, t, id, a, b, k, seed, err);
        if (rc)
            return rc;
        p->votes[k] = v.preferred;
        p->confidence += v.confidence / LAB_PANEL;
        count[v.preferred]++;
    }
    p->preferred = count[1] == count[2] ? 0 : count[1] > count[2] ? 1 : 2;
    p->confident =
        p->preferred && count[p->preferred] == LAB_PANEL && p->confidence >= LAB_CONFIDENT;
    return 0;
}
