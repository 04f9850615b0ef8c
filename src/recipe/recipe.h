/* recipe/recipe.h - stages, and recipes that chain them.
 *
 * A stage is one arrow of the pipeline: it reads files, writes files and returns figures.  Every
 * stage is a table of options and a function; `rlaif STAGE --flags` and a stage in a recipe are
 * the same call, so what a recipe does can be typed by hand.
 *
 * A recipe (YAML) names stages in order.  `rlaif run` skips those whose options and inputs (by
 * content) are unchanged and whose outputs are there, continues one that was killed, and runs the
 * rest. */
#ifndef RECIPE_RECIPE_H
#define RECIPE_RECIPE_H

#include "base/base.h"
#include "compute/compute.h"

/* ---- options ---------------------------------------------------------------------- */

enum option_type {
    OPT_STRING,
    OPT_INT,
    OPT_FLOAT,
    OPT_BOOL,       // --flag, --flag true, --flag=false
    OPT_CHOICE,     // one of the words in `choices`
    OPT_LIST,       // YAML list, or words after the flag / separated by commas
    OPT_INPUT,      // an existing file or folder that is read: part of a stage's freshness; or one of the words in `choices`
    OPT_INPUTS,     // a list of such
    OPT_MODEL,      // a model that is read: a folder, a GGUF file, or its name on the Hub (ORG/NAME@REVISION:FILE)
    OPT_MODELS,     // a list of such
    OPT_DATA,       // rows that are read: a file, or a data set's name on the Hub (ORG/NAME@REVISION:SPLIT)
    OPT_OUTPUT,     // a file that is written
    OPT_OUTPUT_DIR, // a folder that is written
};
struct option {
    const char *name;       // TRL's spelling, with underscores; flags accept dashes too
    enum option_type type;
    const char *dflt;       // as typed; NULL: null unless given
    const char *help;       // one line
    const char *choices;    // OPT_CHOICE, and OPT_INPUT where words are no files: "a|b|c"
    bool required;
};

/* Typed reading of a parsed option object: every option of the table is a key in it, null where
 * neither given nor defaulted. A name that is not there, or of another type, is a BUG. */
bool opt_given(const json_t *o, const char *name);              // not null
const char *opt_str(const json_t *o, const char *name);         // NULL where null
int64_t opt_int(const json_t *o, const char *name);
double opt_float(const json_t *o, const char *name);
bool opt_bool(const json_t *o, const char *name);
const json_t *opt_list(const json_t *o, const char *name);      // array of strings, or NULL

/* ---- stages ------------------------------------------------------------------------- */

/* What every stage of one process shares. */
struct run {
    struct device *device;  // opened by run_device
    int threads;            // 0: default
    bool json;              // results as JSON on stdout, nothing else there
    bool quiet;
    bool resume;            // the recipe found this very stage (same options and inputs) unfinished: continue from
                            // its last checkpoint; false: start anew, whatever lies in the output folder (stores *.db are kept)
    const char *out;        // the recipe's output folder; NULL outside a recipe
};
int run_device(struct run *r, struct device **out, struct err *err) MUST_CHECK;

struct stage {
    const char *name;       // the command
    const char *summary;    // one line
    const char *example;    // works as typed in a checkout
    const struct option *option;
    int n_options;
    /* Reads opt (complete, typed), writes its outputs, sets figures in result (an empty object;
     * numbers, strings, small arrays).  What is printed for people comes from result; rows that
     * are the output (tokenize) go to stdout. */
    int (*run)(struct run *run, const json_t *opt, json_t *result, struct err *err);
    /* Prints result for people; NULL: one "key  value" line each. */
    void (*print)(const json_t *result, FILE *to);
    const char *bare;       // the option that a word without a flag is, as in `rlaif inspect PATH`; NULL: none
    bool plans;             // on a planning device (compute.h) run takes its memory, puts choices into result, and writes nothing
};
/* Runs a stage.  One that plans is first planned: a line says what it takes, and --memory chooses
 * what of it can be chosen; result then has memory_planned_mb and memory_peak_mb as well. */
int stage_run(struct run *run, const struct stage *s, const json_t *opt, json_t *result,
              struct err *err) MUST_CHECK;
/* What s would take: figures "NAME_mb" and choices into result.  ERR_UNSUPPORTED for a stage that
 * does not plan. */
int stage_plan(struct run *run, const struct stage *s, const json_t *opt, json_t *result,
               struct err *err) MUST_CHECK;
void print_plan(const json_t *result, FILE *to);
/* A `print` for stages that have put out all there is to see. */
void print_nothing(const json_t *result, FILE *to);
/* The options as the stage gets them: names on the Hub become paths (fetched where the cache
 * lacks them), everything else stays.  commits (an object) receives {name: commit}.  out: the
 * recipe's output folder, whose paths are never names; NULL: none.  The caller owns *local. */
int inputs_resolve(json_t **local, json_t *commits, const struct stage *s, const json_t *opt,
                   const char *out, struct err *err) MUST_CHECK;

extern const struct stage
    stage_audit,
    stage_bench,
    stage_chat,
    stage_compare,
    stage_convert,
    stage_cost,
    stage_dpo,
    stage_eval,
    stage_export,
    stage_families,
    stage_generate,
    stage_hybrid,
    stage_inspect,
    stage_lab,
    stage_judge,
    stage_label,
    stage_annotate, stage_ensemble,
    stage_logprobs,
    stage_models,
    stage_pairs,
    stage_pull,
    stage_rate,
    stage_redteam,
    stage_report,
    stage_revise,
    stage_reward,
    stage_rl,
    stage_score,
    stage_sft,
    stage_split,
    stage_store,
    stage_template,
    stage_tokenize;
const struct stage *stage_find(const char *name);           // NULL: none of that name
const struct stage *const *stage_list(int *n);

/* Fills *out with a complete option object from given ({name: string, or any JSON of the right
 * type}).  Unknown names and values of the wrong type are refused (ERR_USAGE) with `where` and,
 * where one is near, "did you mean". */
int options_resolve(json_t **out, const struct stage *s, const json_t *given, const char *where,
                    struct err *err) MUST_CHECK;

/* ---- recipes ------------------------------------------------------------------------- */

/* A recipe file:
 *
 *     output_dir: runs/x        where ${out} points; --output_dir changes it
 *     seed: 1                   any other scalar is a variable: ${seed}, --set seed=2
 *     stages:                   run in this order; the name is the recipe's own
 *       sft:
 *         stage: sft            which stage, then its options
 *         output_dir: ${out}/sft
 *     summary:                  summary key: stage.figure
 *       policy.kl: eval.kl
 *
 * Under ${out}: stages/NAME.json (options, input hashes, figures, seconds), manifest.json,
 * summary.json, report.html.  A stage is fresh while its options and the content of its inputs
 * are as recorded and its outputs exist.
 *
 * Runs the recipe file.  set: array of "key=value" strings (a variable, or stage.option);
 * output_dir NULL: the recipe's own.  Writes manifest.json, summary.json and report.html into the
 * output folder; *summary (may be NULL) is the caller's. */
int recipe_run(struct run *r, const char *path, const json_t *set, const char *output_dir,
               json_t **summary, struct err *err) MUST_CHECK;
/* The keys of summary.json, in order; all of them are in every summary, null where a key has no
 * meaning. */
const char *const *summary_keys(int *n);
/* Tables of a finished run whose stages print one of their own (rlaif compare). */
void recipe_print_tables(const char *out_dir, FILE *to);
/* Writes report.html for a finished run folder (reads summary.json, manifest.json, stages/ and
 * what they name). */
int recipe_report(const char *out_dir, struct err *err) MUST_CHECK;

#endif
