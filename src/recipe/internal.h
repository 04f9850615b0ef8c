/* recipe/internal.h - what the files of this room share: a loaded recipe and the record of each
 * stage. */
#ifndef RECIPE_INTERNAL_H
#define RECIPE_INTERNAL_H

#include "recipe/recipe.h"

struct step {
    const char *name;           // the recipe's own
    const struct stage *stage;
    json_t *options;            // complete and typed
};
struct recipe {
    const char *path;
    char *out;                  // output folder
    json_t *text;               // the file as read, with --set applied: goes into the manifest
    struct step *step;
    int n;
    const json_t *summary;      // summary key -> "stage.figure"; NULL: none
};

int recipe_load(struct recipe *r, const char *path, const json_t *set, const char *output_dir,
                struct err *err);
void recipe_release(struct recipe *r);

/* Whether word is one of an option's choices. */
bool option_has_choice(const struct option *o, const char *word);

/* What a stage left behind: OUT/stages/NAME.json. */
struct record {
    bool done, same;            // finished; made by these very options and inputs
    json_t *json;               // the whole record, or NULL
};
/* Key of a step: hash of stage, options and the content of its inputs.  inputs receives {path:
 * hash}; what came from the Hub counts by its name and commit, which commits gives. */
int record_key(char key[33], json_t *inputs, const struct step *s, const json_t *commits,
               struct err *err);
int record_read(struct record *rec, const char *out, const struct step *s, const char *key,
                struct err *err);
int record_write(const char *out, const struct step *s, const char *key, const json_t *inputs,
                 const json_t *result, double seconds, double peak_mb, bool done, struct err *err);
void record_release(struct record *rec);
/* Whether every output the options name exists. */
bool outputs_exist(const struct step *s);
/* Takes away what an earlier run with other options left, label stores excepted; only inside out. */
int outputs_clear(const char *out, const struct step *s, struct err *err);

int manifest_write(const struct recipe *r, struct run *run, struct err *err);
int summary_write(const struct recipe *r, struct run *run, double overhead, json_t **summary,
                  struct err *err);

/* What `rlaif inspect MODEL` prints for people, from model_inspect's object. */
void print_model(const json_t *result, FILE *to);

#endif
