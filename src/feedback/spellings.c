/* feedback/spellings.c - label words as a tokenizer may write them, and how likely a word is from
 * those of its spellings. */
#include "feedback/spellings.h"

#include <math.h>

void words_release(struct words *w)
{
    free(w->spelling);
    *w = (struct words){0};
}

static int add_spelling(struct words *w, size_t *cap, const struct spelling *s, struct err *err)
{
    struct spelling *more = mem_grow(w->spelling, cap, (size_t)w->n + 1, sizeof *more);
    if (!more)
        return err_set(err, ERR_MEMORY, "no memory for label words");
    w->spelling = more;
    more[w->n++] = *s;
    w->n_extra += s->n - 1;
    w->n_pieced += s->n > 1;
    w->longest = s->n > w->longest ? s->n : w->longest;
    return 0;
}

/* All ways to finish `rest` by further tokens of exactly its bytes, longest pieces first; at most
 * MAX_SPELLINGS in all. */
static int spell_rest(struct words *w, size_t *cap, const struct tokenizer *t, struct spelling *s,
                      const char *rest, int *left, struct err *err)
{
    size_t n = strlen(rest);
    if (n == 0) {
        *left -= 1;
        return add_spelling(w, cap, s, err);
    }
    int rc = 0;
    for (size_t k = n; k > 0 && *left > 0 && s->n < MAX_PIECES && rc == 0; k--) {
        char *piece = strndup(rest, k);
        int id[MAX_SPELLINGS];
        int found = piece ? tokenizer_spellings(t, piece, id, MAX_SPELLINGS) : 0;
        int bare = piece ? tokenizer_id(t, piece) : -1;
        free(piece);
        for (int i = 0; i < found && *left > 0 && rc == 0; i++) {
            if (s->n && id[i] != bare)
                continue;       // a space belongs before the word only
            s->id[s->n++] = id[i];
            rc = spell_rest(w, cap, t, s, rest + k, left, err);
            s->n--;
        }
    }
    return rc;
}

int words_make(struct words *w, const struct tokenizer *t, const struct ask *q, struct err *err)
{
    size_t cap = 0;
    int rc = 0;
    *w = (struct words){.n_words = q->n_words};
    for (int k = 0; k < q->n_words && rc == 0; k++) {
        int id[MAX_SPELLINGS], found = tokenizer_spellings(t, q->word[k], id, MAX_SPELLINGS),
                               before = w->n, left = MAX_SPELLINGS;
        struct spelling s = {.word = k};
        w->bare[k] = tokenizer_id(t, q->word[k]);
        for (int i = 0; i < found && rc == 0; i++) {
            s.id[0] = id[i];
            s.n = 1;
            rc = add_spelling(w, &cap, &s, err);
        }
        s.n = 0;
        if (rc == 0 && found < 1)
            rc = spell_rest(w, &cap, t, &s, q->word[k], &left, err);
        if (rc == 0 && w->n == before)
            rc = err_set(err, ERR_UNSUPPORTED,
                         "the labeler's tokenizer has no tokens for the label word \"%s\"",
                         q->word[k]);
    }
    return rc;
}

static double log_sum(const double *logp, int n)
{
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        most = fmax(most, logp[i]);
    for (int i = 0; i < n && isfinite(most); i++)
        sum += exp(logp[i] - most);
    return isfinite(most) ? most + log(sum) : most;
}

static bool begins(const struct spelling *longer, const struct spelling *s)
{
    return longer->n > s->n && !memcmp(longer->id, s->id, (size_t)s->n * sizeof *s->id);
}

/* Log-prob that a spelling is said and goes on to none of the others that begin with it: "1" and
 * not "10". */
static double said_alone(const struct words *w, const double *logp, int i)
{
    double on = 0;
    for (int k = 0; k < w->n; k++) {
        bool direct =
            begins(&w->spelling[k], &w->spelling[i]) && w->spelling[k].word != w->spelling[i].word;
        for (int m = 0; m < w->n && direct; m++)    // "100" is within "10"
            direct = !(begins(&w->spelling[k], &w->spelling[m]) &&
                       begins(&w->spelling[m], &w->spelling[i]));
        if (direct)
            on += exp(logp[k] - logp[i]);
    }
    return on > 0 ? logp[i] + log1p(-fmin(on, 1)) : logp[i];
}

int words_read(struct reply *r, const struct words *w, const float *first, const float *rest,
               struct err *err)
{
    double *logp = mem_alloc((size_t)w->n * 2, sizeof *logp), *alone = logp + w->n;
    if (!logp)
        return err_set(err, ERR_MEMORY, "no memory for label words");
    for (int i = 0; i < w->n; i++)
        for (int k = 0; k < w->spelling[i].n; k++)
            logp[i] += k ? *rest++ : first[i];
    for (int i = 0; i < w->n; i++)
        alone[i] = said_alone(w, logp, i);
    r->mass = 0;
    for (int k = 0, at = 0; k < w->n_words; k++) {
        int n = 0;
        double bare = NAN;
        for (; at + n < w->n && w->spelling[at + n].word == k; n++)
            if (w->spelling[at + n].n == 1 && w->spelling[at + n].id[0] == w->bare[k])
                bare = logp[at + n];
        r->word[k] = (struct word_logp){log_sum(alone + at, n), bare};
        r->mass += exp(r->word[k].sum);
        at += n;
    }
    r->has_logps = true;
    free(logp);
    return 0;
}
