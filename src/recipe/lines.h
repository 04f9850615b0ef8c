/* recipe/lines.h - what the stages share that turn lines into lines: tokenize, template. */
#ifndef RECIPE_LINES_H
#define RECIPE_LINES_H

#include "recipe/recipe.h"

struct lines {
    const char *from; // for messages
    json_t *rows;     // with --json: what would be printed; else NULL
    int number;       // line read last, from 1
};
/* path NULL: standard input. */
void lines_begin(struct lines *l, const struct run *run, const char *path);
/* Calls `one` for every line, without its line end, until one fails or somebody interrupts. */
int lines_each(struct lines *l, const char *path,
               int (*one)(void *arg, const char *s, size_t n, struct err *err), void *arg,
               struct err *err);
/* Result's number of lines, under `name`, and its rows. */
void lines_figures(const struct lines *l, json_t *result, const char *name);
void lines_release(struct lines *l);

#endif
