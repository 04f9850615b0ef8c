/* lab/oracle.h - what the oracle and the annotators share: truth by id, counts weighed by a taste. */
#ifndef LAB_ORACLE_H
#define LAB_ORACLE_H

#include "data/data.h"
#include "lab/world.h"

struct truth_post {
    const char *id;
    struct post post;
    double need[LAB_ANNOTATORS][LAB_MAX_FACTS];     // what each annotator wants to hear beyond salience
};
const struct truth_post *truth_find(const struct lab_truth *t, const char *id);     // NULL: unknown
const struct world *truth_world(const struct lab_truth *t);
/* The truth row of a post; the needs are drawn here. */
json_t *truth_row(const char *id, const struct world *w, const struct post *p, struct rng *r);

/* What one fact, one fault or one word is worth to somebody. */
struct taste { double key, minor, idle, invented, repeated, unread, word; };
double taste_total(const struct taste *t, const struct lab_score *s);

/* Fills s, and told (n facts of the post; may be NULL). */
void oracle_read(struct lab_score *s, bool told[LAB_MAX_FACTS], const struct world *w,
                 const struct post *p, const char *text);

#endif
