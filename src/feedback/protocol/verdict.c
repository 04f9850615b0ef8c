/* feedback/protocol/verdict.c - what a reply says: from log-probs, or from a text.
 *
 * A text says a word clearly in one of these ways, tried in turn (tests/cases/protocols/verdicts
 * holds examples):
 *
 *     {"answer": "1"}              JSON with one value that is a word
 *     ... Preferred Summary=1      the word right after the last ending
 *     1. Because ...               the word first, apart from quotes, brackets and stars; not "1 or 2"
 *     I prefer summary 2.          the only word of them that stands anywhere by itself ("8 of 10" and "8/10" say 8)
 *
 * Everything else says nothing: guessing would make a label of a failure to answer. */
#include "feedback/protocol/internal.h"

#include <ctype.h>
#include <math.h>

static bool in_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

/* The word that begins at s and ends there, the longest of them; -1: none.  *n receives its length. */
static int word_at(const char *s, const char *const *word, int n_words, size_t *n)
{
    int best = -1;
    *n = 0;
    for (int i = 0; i < n_words; i++) {
        size_t len = strlen(word[i]);
        if (len > *n && !strncasecmp(s, word[i], len) && !in_word(s[len])) {
            best = i;
            *n = len;
        }
    }
    // 1.5 is another number than 1
    if (best >= 0 && isdigit((unsigned char)s[*n - 1]) && (s[*n] == '.' || s[*n] == ',') &&
        isdigit((unsigned char)s[*n + 1]))
        best = -1;
    return best;
}

static const char *skip_marks(const char *s)
{
    return s + strspn(s, " \t\r\n\"'`*_([{#:=");
}

/* "1 or 2" and "both 1 and 2" decide nothing. */
static int first_word(const char *s, const char *const *word, int n_words, bool *undecided)
{
    size_t n;
    s = skip_marks(s);
    int w = word_at(s, word, n_words, &n);
    s += n + strspn(s + n, "\"'`*_)]} ");
    *undecided |= w >= 0 && (!strncasecmp(s, "or ", 3) || !strncasecmp(s, "and ", 4));
    return *undecided ? -1 : w;
}

/* Past "/10" or " out of 10" or " of 10": what a rating is out of. */
static const char *past_whole(const char *s)
{
    static const char *const of[] = {"/", " / ", " out of ", " of "};
    for (size_t i = 0; i < ARRAY_LEN(of); i++) {
        size_t n = strlen(of[i]),
               digits = strncasecmp(s, of[i], n) ? 0 : strspn(s + n, "0123456789");
        if (digits)
            return s + n + digits;
    }
    return s;
}

/* The only word that stands anywhere; -1: none, or two different ones. */
static int only_word(const char *text, const char *const *word, int n_words)
{
    int found = -1;
    for (const char *s = text; *s; s++) {
        size_t n;
        int w = s > text && (in_word(s[-1]) || s[-1] == '.' || s[-1] == '-') && in_word(*s)
                    ? -1
                    : word_at(s, word, n_words, &n);
        // "A" and "I" are words of English: letters count alone only as "(A)" or capitals after "answer", "option", ...
        if (w >= 0 && isalpha((unsigned char)*s) && n == 1 &&
            !(s > text && s[-1] == '(' && s[1] == ')'))
            w = -1;
        if (w < 0)
            continue;
        if (found >= 0 && found != w)
            return -1;
        found = w;
        s = past_whole(s + n) - 1;
    }
    return found;
}

static int json_word(const char *text, const char *const *word, int n_words)
{
    const char *s = text + strspn(text, " \t\r\n");
    json_t *o = *s == '{' ? json_parse(s, strlen(s), "verdict", NULL) : NULL, *v;
    const char *key;
    int found = -1, many = 0;
    json_object_foreach(o, key, v) {
        char number[32] = "";
        if (json_is_integer(v))
            snprintf(number, sizeof number, "%lld", (long long)json_integer_value(v));
        const char *said = json_is_string(v) ? json_string_value(v) : number;
        for (int i = 0; i < n_words; i++)
            if (!strcasecmp(said, word[i])) {
                found = i;
                many++;
            }
    }
    json_decref(o);
    return many == 1 ? found : -1;
}

int verdict_read(const char *text, const char *ending, const char *const *word, int n_words)
{
    if (!text)
        return -1;
    int w = json_word(text, word, n_words);
    struct span end = span_trim(ending ? ending : "", ending ? strlen(ending) : 0);
    const char *last = NULL;
    for (const char *s = text; end.n && (s = memmem(s, strlen(s), end.s, end.n)); s++)
        last = s + end.n;
    bool undecided = false;
    if (w < 0 && last)
        w = first_word(last, word, n_words, &undecided);
    if (w < 0)
        w = first_word(text, word, n_words, &undecided);
    return w >= 0 || undecided ? w : only_word(text, word, n_words);
}

/* ---- distributions --------------------------------------------------------------------------- */

/* Two words: softmax is the sigmoid of their difference, in that form exactly symmetric. */
static void read_two(struct reading *out, const struct reply *r)
{
    double d = r->word[0].sum - r->word[1].sum;
    out->p[0] = isnan(d) ? 0.5 : 1 / (1 + exp(-d));
    out->p[1] = 1 - out->p[0];
}

static void read_many(struct reading *out, const struct reply *r, int n)
{
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        most = fmax(most, r->word[i].sum);
    for (int i = 0; i < n; i++)
        sum += out->p[i] = isfinite(most) ? exp(r->word[i].sum - most) : 1;
    for (int i = 0; i < n; i++)
        out->p[i] /= sum;
}

void protocol_read(struct reading *out, const struct protocol *p, const struct reply *r)
{
    const struct ask_form *f = &p->form;
    *out = (struct reading){.mass = 0};
    if (r->state != REPLY_OK)
        return;
    if (r->has_logps) {
        out->mass = r->mass;
        if (f->n_words == 2)
            read_two(out, r);
        else
            read_many(out, r, f->n_words);
        return;
    }
    int said = verdict_read(r->text, f->ending, f->word, f->n_words);
    for (int i = 0; i < f->n_words; i++)
        out->p[i] = said < 0 ? 1.0 / f->n_words : i == said;
    out->mass = said >= 0;
}
