/* feedback/provider/people.h - a person at a terminal as a labeler.
 *
 * Both texts stand side by side, in an order that the person is not told and the store is; one
 * key answers. Every answer is committed when it is given; what the store has is not shown
 * again. */
#ifndef FEEDBACK_PROVIDER_PEOPLE_H
#define FEEDBACK_PROVIDER_PEOPLE_H

#include "feedback/ask.h"

enum people_key { PEOPLE_ONE, PEOPLE_TWO, PEOPLE_TIE, PEOPLE_SKIP, PEOPLE_UNDO, PEOPLE_QUIT };
struct people_screen;
/* in, out: file descriptors; a terminal reads single keys, a pipe takes them as they come.
 * width 0: the terminal's, or 80. */
int people_open(struct people_screen **s, int in, int out, int width,
                struct err *err) MUST_CHECK;
void people_close(struct people_screen *s); // gives the terminal back as it was; NULL is fine

/* One pair as it is shown; status stands below it ("12 of 50"). */
struct people_pair {
    const char *prompt, *left, *right, *status;
};
/* Shows it and waits for a key; the end of the input is PEOPLE_QUIT. */
enum people_key people_show(struct people_screen *s, const struct people_pair *p);
/* The screen's text for a width: prompt, then both texts in columns.  Control characters show
 * as U+FFFD. */
void people_layout(struct buf *out, const struct people_pair *p, int width);

#endif
