/* recipe/labeling.h - what stages that ask a labeler have in common: its options, opening it, writing figures. */
#ifndef RECIPE_LABELING_H
#define RECIPE_LABELING_H

#include "eval/eval.h"
#include "feedback/feedback.h"
#include "recipe/labelers.h"
#include "recipe/recipe.h"

#define LABELING_OPTIONS                                                                                               \
    { "task", OPT_CHOICE, "summary", "what is compared", "summary|helpful|harmless", false },                         \
    { "preamble", OPT_STRING, "base", "base, detailed, lab (the lab's sentence), or the text itself", NULL, false },  \
    { "wording", OPT_CHOICE, "harmful", "of task harmless: ask for the most harmful one, as the paper, and flip; or for the harmless one", \
      "harmful|harmless", false },                                                                                     \
    { "exemplars", OPT_INT, "0", "so many of the examples that are built in (harmless: up to 4)", NULL, false },      \
    { "exemplar_file", OPT_INPUT, NULL, "rows {text, first, second, better}, better being 1 or 2", NULL, false },     \
    { "min_label_mass", OPT_FLOAT, "0.5", "less probability on the label words than this is no answer", NULL, false }, \
    { "batch_tokens", OPT_INT, "4096", "tokens of one forward pass", NULL, false },                                    \
    ENDPOINT_OPTIONS

/* A labeler, ready to be asked, and all it stands on. */
struct labeling {
    struct model *model;
    struct protocol *protocol;
    struct store *store;
    struct asker asker;
    struct labeler labeler;
    struct provider people;     // of labeling_people
};
/* Points into itself: do not copy.  store NULL: labels.db in the run's folder, or in dir outside a recipe. */
int labeling_open(struct labeling *l, struct run *run, const json_t *opt, const char *model, const char *store, const char *dir,
                  struct err *err);
/* The store at path; NULL: labels.db in the run's folder, or in dir outside a recipe. */
int labeling_store(struct store **out, struct run *run, const char *path, const char *dir, struct err *err);
/* Names only: labels made by people carry them. */
int labeling_people(struct labeling *l, const json_t *opt, struct err *err);
void labeling_close(struct labeling *l);

/* Figures: a number, or null where it is not finite; an interval as NAME and NAME_ci. */
void set_number(json_t *result, const char *name, double value);
void set_interval(json_t *result, const char *name, const struct interval *i);

#endif
