/* recipe/chat.h - what `rlaif chat` is made of: a conversation, and the lines that somebody
 * types. */
#ifndef RECIPE_CHAT_H
#define RECIPE_CHAT_H

#include "data/data.h"
#include "recipe/inference.h"

/* ---- a conversation ------------------------------------------------------------------ */

enum talk_end {
    TALK_ENDED,   // by itself
    TALK_CUT,     // by max_new_tokens
    TALK_FULL,    // by the window
    TALK_STOPPED, // by whoever listened
};
struct talk {
    const struct model *m;
    struct writer *writer;
    struct sampling sampling;
    const char *stop[MAX_STOPS + 1];
    char *turn_end; // what ends a turn where that is no token of its own; NULL: a token is
    int turn_end_id;
    bool plain;       // no template, no memory: the model continues each text by itself
    json_t *messages; // [{role, content}, ...]: a system message first, or none
    uint64_t turns;
    int64_t prompt_tokens, computed_tokens, new_tokens;
};
/* By the stage's options; m is borrowed, and told which template to use.  A model without a
 * template is refused with what can be done about it. */
int talk_open(struct talk *t, struct model *m, const json_t *opt, struct err *err);
void talk_close(struct talk *t);
/* Asks and hears the answer, piece by piece; question and answer join the messages.  A
 * conversation that no longer fits is ERR_VALUE with a sentence for people, and stays as it
 * was. */
int talk_ask(struct talk *t, const char *text, enum talk_end *end, writer_said *said, void *arg,
             struct err *err);
int talk_system(struct talk *t, const char *text, struct err *err); // NULL: none
int talk_reset(struct talk *t, struct err *err); // all but the system message
/* Appends the conversation to a JSON Lines file as a row {"messages"}; goes on with the last
 * row of one. */
int talk_save(const struct talk *t, const char *path, struct err *err);
int talk_load(struct talk *t, const char *path, struct err *err);

/* ---- what is typed --------------------------------------------------------------------- */

enum heard {
    HEARD_TEXT,
    HEARD_END,       // end of file
    HEARD_INTERRUPT, // a signal came while waiting
};
/* One input: a line; lines ending in a backslash and the next one; lines between """ and """.
 * On a terminal, prompts are shown.  text is emptied first.  ERR_VALUE where it is no text
 * (NUL, not UTF-8) or beyond a megabyte. */
int chat_input(enum heard *what, struct buf *text, FILE *from, bool terminal, struct err *err);

#endif
