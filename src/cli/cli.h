/* cli/cli.h - the command line: flags in, results out, exit codes 0, 1 and 2.
 *
 * Only this room prints results and chooses exit codes. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "recipe/recipe.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* Flags every command takes, whatever its table says. */
struct common_flags {
    bool help, json, quiet;
    int threads;
};

/* Reads argv[0..argc) into given ({name: string}) by the stage's table: --name value,
 * --name=value, dashes or underscores, -m for --model_name_or_path, a truth value alone for true,
 * a list as the words up to the next flag.  --config FILE (YAML) comes first, flags override it.
 * ERR_USAGE names the flag and the nearest one. */
int flags_parse(json_t *given, struct common_flags *common, const struct stage *s, int argc,
                char **argv, struct err *err) MUST_CHECK;

void help_all(FILE *to);
void help_stage(const struct stage *s, FILE *to);
void help_plan(FILE *to);
/* "key  value" lines, nested objects as key.sub, numbers short. */
void print_result(const json_t *result, FILE *to);
void print_json(const json_t *result, FILE *to);     // what --json prints

int cmd_run(int argc, char **argv);
int cmd_stage(const struct stage *s, bool plan, int argc, char **argv);    // plan: only what it would take
/* Prints the sentence and returns the exit code that belongs to err. */
int report_failure(const struct err *err);

#endif
