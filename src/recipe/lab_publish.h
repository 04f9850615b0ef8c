/* recipe/lab_publish.h - puts a trained lab model into its place. */
#ifndef RECIPE_LAB_PUBLISH_H
#define RECIPE_LAB_PUBLISH_H

#include "recipe/recipe.h"

/* Copies the model of the last folder of trained into dir and writes manifest.json: what was
 * trained on what, how long. trained, corpora: arrays of paths; a corpus has its options in
 * CORPUS.json beside it. */
int lab_publish(const char *dir, const json_t *trained, const json_t *corpora, json_t *result,
                struct err *err) MUST_CHECK;

#endif
