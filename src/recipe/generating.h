/* recipe/generating.h - completions by whoever is not a model in this process. */
#ifndef RECIPE_GENERATING_H
#define RECIPE_GENERATING_H

#include "recipe/labelers.h"

/* `rlaif generate` through the door of asking: every reply is in the store before it is used, so
 * what was paid for once is not asked again.  Prompts with a reply that failed or was refused are
 * listed in OUTPUT's rejected rows. */
int generate_asked(struct run *run, const json_t *opt, json_t *result, struct err *err) MUST_CHECK;

#endif
