/* recipe/audit.h - how far labels can be trusted: the figures of one labeling, and of several on
 * the same pairs. */
#ifndef RECIPE_AUDIT_H
#define RECIPE_AUDIT_H

#include "recipe/evaluating.h"

enum { AUDIT_BINS = 10 };

/* What people, a file of gold pairs or the lab's annotators say, by the texts of a pair. */
struct gold;
int gold_read(struct gold **out, const char *path, struct err *err);
void gold_free(struct gold *g);
/* 1 or 2: the one preferred; 0: not there. */
int gold_of(const struct gold *g, const struct candidates *c);

/* A labeler's own answers to prompts. */
struct own_texts;
int own_texts_read(struct own_texts **out, const char *path, struct err *err);
void own_texts_free(struct own_texts *o);
const char *own_text(const struct own_texts *o, const char *prompt);    // NULL: not there

/* One labeling being audited. */
struct audited {
    const char *name, *path;
    struct judged j;
    double *right;          // (j.n) 1 agrees with gold, 0 not, 1/2 even, NaN nothing to compare
    double temperature;     // fitted on all compared pairs; 1 where there are none
};
int audited_open(struct audited *a, const char *name, const char *path, const struct gold *gold,
                 const struct lab_truth *truth, uint64_t seed, struct err *err);
void audited_release(struct audited *a);
/* label_results.json beside a labeling's rows; NULL where it is not there.  The caller's. */
json_t *label_results(const char *labels);
/* Seconds that the replies behind one label took, as that file knows; NaN: it does not, or is NULL. */
double seconds_per_label(const json_t *results);
/* All figures of it.  by: a key of the rows whose values make groups; own: NULL where not known. */
int audit_figures(json_t *result, struct audited *a, const char *by, const struct own_texts *own,
                  uint64_t seed, struct err *err);
/* Agreement among labelings of the same pairs (by their texts), McNemar's tests between them. */
int audit_between(json_t *result, const struct audited *a, int n, struct err *err);
/* pairs with label_prob at the fitted temperature, beside the raw one. */
int audit_write_calibrated(const struct audited *a, const char *path, struct err *err);
/* audit.html from what the functions above wrote into result. */
int audit_page(const json_t *result, const char *command, const char *path, struct err *err);

#endif
