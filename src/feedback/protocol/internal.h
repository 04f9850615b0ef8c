/* feedback/protocol/internal.h - what the files of the protocols share. */
#ifndef FEEDBACK_PROTOCOL_INTERNAL_H
#define FEEDBACK_PROTOCOL_INTERNAL_H

#include "feedback/feedback.h"

/* ---- form.c: texts --------------------------------------------------------------------- */

struct span { const char *s; size_t n; };
struct span span_trim(const char *s, size_t n);
/* What fills a template; NULL members are empty. */
struct shown_item { const char *prompt, *first, *second, *reference, *principle; };
/* Appends a form's sample with its places filled in. */
void form_sample(struct buf *out, const struct ask_form *f, const struct shown_item *it);
/* Instruction and lead, or ending: what follows a sample in a plain prompt. */
void form_head(struct buf *out, const struct protocol *p);
/* ERR_VALUE, naming `where`, where a template has a place that is not one of the list
 * (NULL-terminated). */
int form_check(const char *text, const char *const *places, const char *where, struct err *err);

/* ---- the protocols: each fills a form ------------------------------------------------------ */

int pairwise_form(struct protocol *p, struct err *err);
int constitution_form(struct protocol *p, struct err *err);
int rating_form(struct protocol *p, struct err *err);
int own_form(struct protocol *p, const char *path, struct err *err);

/* Exemplars of a task (exemplars.c). */
enum { SHIPPED_EXEMPLARS = 8 };
const struct exemplar *shipped_exemplars(enum label_task task);
/* The form's exemplars from options: a file, or the first of our own. */
int exemplars_choose(struct protocol *p, const struct exemplar *shipped, struct err *err);
/* One example from JSON into the arena. */
int exemplar_read(struct exemplar *e, struct arena *a, const json_t *row, const struct protocol *p,
                  const char *where, struct err *err);

/* Sixteen each (principles.c). */
extern const char *const comparison_principle[PRINCIPLES];
struct revision_request { const char *critique, *revision; };
extern const struct revision_request revision_principle[PRINCIPLES];
struct revision_exemplar { const char *request, *response, *critique, *revision; int principle; };
enum { REVISION_EXEMPLARS = 4 };
extern const struct revision_exemplar revision_exemplar[REVISION_EXEMPLARS];

/* What random choices about an item are drawn by: its texts, whichever order they came in. */
uint64_t item_number(const struct label_item *item);

#endif
