/* feedback/provider/batch.h - questions and replies as files, for interfaces that answer them
 * within a day.
 *
 *     written:    {"custom_id": KEY, "method": "POST", "url": "/v1/chat/completions", "body":
 * {...}} collected:  {"custom_id": KEY, "response": {"status_code": 200, "body": {...}},
 * "error": null}
 *
 * KEY is the reply's key in the store, so files can come back in any order, in parts, and late.
 */
#ifndef FEEDBACK_PROVIDER_BATCH_H
#define FEEDBACK_PROVIDER_BATCH_H

#include "feedback/provider/endpoint.h"

struct batch;
/* out: the file that questions are written to; in: files with replies, with commas between; one
 * of them NULL. */
int batch_open(struct batch **b, const char *out, const char *in, struct err *err) MUST_CHECK;
/* Puts the file under its name, when questions were written; frees.  NULL is fine. */
int batch_close(struct batch *b, struct err *err);
bool batch_writes(const struct batch *b);
int batch_write(struct batch *b, struct hash128 key, const struct request *r,
                struct err *err) MUST_CHECK;
/* The body of the reply to a question, borrowed; NULL and a sentence in why where it did not
 * come. */
const json_t *batch_find(const struct batch *b, struct hash128 key, struct err *why);

#endif
