/* feedback/spellings.h - label words as a tokenizer may write them, token by token. */
#ifndef FEEDBACK_SPELLINGS_H
#define FEEDBACK_SPELLINGS_H

#include "feedback/ask.h"

enum {
    MAX_SPELLINGS = 16,     // of one word, as single tokens or in pieces
    MAX_PIECES = 8,         // tokens of a word
};

/* One way to say a word. */
struct spelling { int id[MAX_PIECES], n, word; };
struct words {
    struct spelling *spelling;      // (n) word by word
    int n, n_words, n_extra, n_pieced;  // n_extra: tokens after the first, of all; n_pieced: how many spellings have such
    int longest;                    // tokens of one
    int bare[PROVIDER_MAX_WORDS];   // the token without a space, -1: none
};
/* A word that has tokens of its own is said by those ("1", " 1"); one that has none, in pieces.
 * ERR_UNSUPPORTED: by nothing. */
int words_make(struct words *w, const struct tokenizer *t, const struct ask *q,
               struct err *err) MUST_CHECK;
void words_release(struct words *w);
/* The reply from log-probs of first tokens (n), and of those after them (n_extra), spelling by
 * spelling. */
int words_read(struct reply *r, const struct words *w, const float *first, const float *rest,
               struct err *err) MUST_CHECK;

#endif
