/* feedback/provider/words.h - the probabilities of words out of a server's list of likely
 * tokens.
 *
 * A list has the N likeliest next tokens.  A word has the probability of all tokens that spell
 * it, white space before it aside.  A word of which no spelling is in the list has at most the
 * probability of the list's last token: that bound is its log-prob, and it adds nothing to the
 * mass, so a list too short to know shows as a low mass. */
#ifndef FEEDBACK_PROVIDER_WORDS_H
#define FEEDBACK_PROVIDER_WORDS_H

#include "feedback/ask.h"

struct top {
    struct top_token {
        const char *text; // borrowed from the reply
        double logp;
    } * token;
    int n;
    size_t cap;
};
void top_release(struct top *t);
/* Any of the shapes that servers use:  [{"token", "logprob"}...]  (chat, llama-server)  or
 * {TOKEN: logprob, ...}  (completions).  Replaces what *t had.  Log-probs that cannot be are
 * refused: above 0, no numbers, or more than 1 in sum. */
int top_read(struct top *t, const json_t *list, struct err *err) MUST_CHECK;

/* A word whose beginning is a token of the list: "1" of "10".  What follows has to be asked
 * for. */
struct word_start {
    int word;      // index
    char said[32]; // the token as listed
    size_t have;   // bytes of the word it spells
    double logp;   // of having said it
};
enum { MAX_STARTS = 8 };
/* A question's sums, from begin to end: probabilities until words_end makes log-probs of them.
 */
void words_begin(struct word_logp *word, int n);
/* Tokens of the first list that spell whole words. */
void words_first(struct word_logp *word, const char *const *spelled, int n,
                 const struct top *t);
/* The list after s was said: what completes its word is added there, and taken from the word
 * that s itself spells. */
void words_more(struct word_logp *word, const char *const *spelled, int n,
                const struct word_start *s, const struct top *t);
/* Log-probs; words not seen get the bound.  Returns the mass of those seen. */
double words_end(struct word_logp *word, int n, double bound);
/* Tokens that begin a word without ending it and are likely enough to matter.  Returns how
 * many. */
int words_starts(struct word_start out[MAX_STARTS], const char *const *spelled, int n,
                 const struct top *t);

#endif
