/* recipe/labeling.h - what stages that ask a labeler have in common: its options, opening it,
 * writing figures. */
#ifndef RECIPE_LABELING_H
#define RECIPE_LABELING_H

#include "eval/eval.h"
#include "feedback/feedback.h"
#include "recipe/labelers.h"
#include "recipe/recipe.h"

/* What is asked, how, and of whom.  Stages that compare pairs take LABELING_OPTIONS, stages that
 * rate single answers RATING_OPTIONS. */
#define LABELING_OPTIONS                                                                                               \
    { "protocol", OPT_INPUT, "pairwise", "how it is asked; a YAML file is a protocol of your own (docs/adding/protocol.md)", \
      "pairwise|constitution", false },                                                                                \
    { "order", OPT_CHOICE, "both", "both orders and their mean, one drawn for each pair, or the one it comes in",       \
      "both|random|fixed", false },                                                                                    \
    { "principle", OPT_STRING, "drawn", "of a constitution: drawn for each pair, all (averaged), or its number", NULL, false }, \
    { "clamp", OPT_FLOAT, NULL, "labels end between this and 1 less this (constitution with cot: 0.4; else 0: as they are)", NULL, false }, \
    { "wording", OPT_CHOICE, "harmful", "of task harmless: ask for the most harmful one, as the paper, and flip; or for the harmless one", \
      "harmful|harmless", false },                                                                                     \
    { "exemplars", OPT_INT, "0", "so many of the examples that are built in, up to 8", NULL, false },                  \
    { "exemplar_file", OPT_INPUT, NULL, "rows {text, first, second, better, rationale?}, better being 1 or 2", NULL, false }, \
    ASKING_OPTIONS

#define RATING_OPTIONS                                                                                                 \
    { "protocol", OPT_INPUT, "rating", "how it is asked; a YAML file is a protocol of your own (docs/adding/protocol.md)", \
      "rating", false },                                                                                               \
    { "scale", OPT_CHOICE, "1-10", "of protocol rating; 0-4 asks how harmful an answer is", "1-10|1-5|0-4", false },   \
    { "exemplar_file", OPT_INPUT, NULL, "rows {text, response, answer, rationale?}, answer being a word of the scale", NULL, false }, \
    ASKING_OPTIONS

#define ASKING_OPTIONS                                                                                                 \
    { "task", OPT_CHOICE, "summary", "what is judged", "summary|helpful|harmless", false },                            \
    { "preamble", OPT_STRING, "base", "base, detailed, lab (the lab's sentence), or the text itself", NULL, false },  \
    { "cot", OPT_BOOL, "false", "chain of thought: a rationale first", NULL, false },                                  \
    { "rationales", OPT_INT, "1", "so many sampled rationales, their probabilities averaged", NULL, false },           \
    { "votes", OPT_INT, "0", "ask for a text so often and count what it says; 0: log-probs of the words", NULL, false }, \
    { "rationale_temperature", OPT_FLOAT, NULL, "of rationales and votes (one: 0; several: 0.7 and 1)", NULL, false }, \
    { "max_rationale_tokens", OPT_INT, "512", "of a rationale", NULL, false },                                         \
    { "chat", OPT_BOOL, "false", "ask in the labeler's own chat template", NULL, false },                              \
    { "chat_template", OPT_STRING, NULL, "another one: a name of the model's, chatml, or a file", NULL, false },      \
    { "min_label_mass", OPT_FLOAT, "0.5", "less probability on the label words than this is no answer", NULL, false }, \
    { "min_coverage", OPT_FLOAT, "1", "share of what is asked that must get a reply (failures and what is too long get none): below, exit code 1 and no figures", NULL, false }, \
    { "batch_tokens", OPT_INT, "4096", "tokens of one forward pass", NULL, false },                                    \
    ENDPOINT_OPTIONS

/* A labeler, ready to be asked, and all it stands on. */
struct labeling {
    struct model *model;
    struct protocol *protocol;
    struct store *store;
    struct asker asker;
    struct labeler labeler;
    double min_coverage;
    struct provider people;     // of labeling_people
    struct arena texts;         // rationales
};
/* Points into itself: do not copy.  store NULL: labels.db in the run's folder, or in dir outside
 * a recipe. */
int labeling_open(struct labeling *l, struct run *run, const json_t *opt, const char *model,
                  const char *store, const char *dir, struct err *err);
/* The protocol and, of a local labeler, its model (with the template chosen), but nobody to ask:
 * to show what would be. */
int labeling_rehearse(struct labeling *l, struct run *run, const json_t *opt, const char *model,
                      struct err *err);
/* The questions that n items would be, to standard output or, with run->json, into result. */
int labeling_show(json_t *result, const struct run *run, const struct labeling *l,
                  const struct label_item *item, int n, struct err *err);
/* The store at path; NULL: labels.db in the run's folder, or in dir outside a recipe. */
int labeling_store(struct store **out, struct run *run, const char *path, const char *dir,
                   struct err *err);
/* Names only: labels made by people carry them. */
int labeling_people(struct labeling *l, const json_t *opt, struct err *err);
/* ERR_VALUE, saying what is missing, where fewer than min_coverage of n things asked about
 * (`what`: "pairs") got their replies: those that failed and those too long for the labeler have
 * none; a refusal or a reply that cannot be read is one. */
int labeling_covered(const struct labeling *l, const struct label_counts *c, int n,
                     const char *what, struct err *err) MUST_CHECK;
/* The same for stages that put several kinds of questions; opt has MIN_COVERAGE_OPTION. */
#define MIN_COVERAGE_OPTION \
    { "min_coverage", OPT_FLOAT, "1", "share of the questions that must get a reply: below, exit code 1 and nothing is written", NULL, false }
int replies_covered(const struct ask_counts *c, const json_t *opt, struct err *err) MUST_CHECK;
void labeling_close(struct labeling *l);

/* DIR/labels.jsonl, all n labels or, with answered_only, those that were answered; and
 * DIR/pairs.jsonl, the answered ones. */
int labeling_write(const char *dir, const struct candidates *item, const struct label *label, int n,
                   const struct labeler *by, bool answered_only, struct err *err);

/* Figures: a number, or null where it is not finite; an interval as NAME and NAME_ci. */
void set_number(json_t *result, const char *name, double value);
double get_number(const json_t *result, const char *name);      // NaN where there is none
void set_interval(json_t *result, const char *name, const struct interval *i);

#endif
