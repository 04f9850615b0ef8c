/* recipe/parts.h - parts of a data set that share no conversation: NAME=SHARE or NAME=SHARE:ROWS. */
#ifndef RECIPE_PARTS_H
#define RECIPE_PARTS_H

#include "data/data.h"
#include "feedback/feedback.h"

enum { MAX_PARTS = 8 };
struct part { char name[32]; double share; int most, rows, prompts; };     // most 0: all; rows and prompts are counted by their user
struct parts { struct part part[MAX_PARTS]; int n; };
/* From words, or words with commas between them; ERR_USAGE where they make no sense. */
int parts_read(struct parts *out, const json_t *list, struct err *err) MUST_CHECK;
/* What a conversation is recognised by: its first human turn.  malloc'd, NULL without memory. */
char *parts_key(const struct text *prompt);
/* The part of a key; parts->n: none, where the shares leave something over. */
int parts_of(const struct parts *p, const char *key, uint64_t seed);

#endif
