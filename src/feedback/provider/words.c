/* provider/words.c - sums over a list of likely tokens.
 *
 * What is left out: spellings that a list cannot show as one token, other than beginnings of a
 * word. */
#include "feedback/provider/words.h"

#include <math.h>

/* Reduced precision on servers makes sums a little more than 1. */
static const double most_sum = 1.05, most_logp = 0.01;
/* A beginning less likely than this moves no label. */
static const double least_start = 1e-4;

void top_release(struct top *t)
{
    free(t->token);
    *t = (struct top){0};
}

static int add(struct top *t, const char *text, const json_t *logp, struct err *err)
{
    struct top_token *list = mem_grow(t->token, &t->cap, (size_t)t->n + 1, sizeof *list);
    if (!list)
        return err_set(err, ERR_MEMORY, "no memory for a list of log-probs");
    t->token = list;
    double v = json_number_value(logp);
    if (!text || !json_is_number(logp) || isnan(v) || v > most_logp)
        return err_set(
            err, ERR_FORMAT,
            "log-probs that cannot be: %.20s has %.10g, expected a number of at most 0",
            text ? text : "a token without text", v);
    t->token[t->n++] = (struct top_token){text, v < -9999 ? -INFINITY : v};
    return 0;
}

static int check_sum(const struct top *t, struct err *err)
{
    double sum = 0;
    for (int i = 0; i < t->n; i++)
        sum += exp(t->token[i].logp);
    if (sum > most_sum)
        return err_set(err, ERR_FORMAT,
                       "log-probs that cannot be: %d tokens have %.3f together", t->n, sum);
    return 0;
}

int top_read(struct top *t, const json_t *list, struct err *err)
{
    int rc = 0;
    t->n = 0;
    if (json_is_object(list)) {
        const char *key;
        json_t *v;
        json_object_foreach((json_t *)list, key, v) if (rc == 0) rc = add(t, key, v, err);
    } else {
        size_t i;
        json_t *v;
        json_array_foreach(list, i, v) if (rc == 0) rc =
            add(t, json_string_value(json_object_get(v, "token")),
                json_object_get(v, "logprob"), err);
    }
    if (rc == 0 && t->n == 0)
        rc = err_set(err, ERR_FORMAT, "a reply without a list of log-probs");
    return rc ? rc : check_sum(t, err);
}

static const char *trimmed(const char *s)
{
    return s + strspn(s, " \t\r\n");
}

void words_begin(struct word_logp *word, int n)
{
    for (int w = 0; w < n; w++)
        word[w] = (struct word_logp){0, NAN};
}

void words_first(struct word_logp *word, const char *const *spelled, int n, const struct top *t)
{
    for (int w = 0; w < n; w++) {
        for (int i = 0; i < t->n; i++) {
            const char *text = t->token[i].text;
            if (strcmp(trimmed(text), spelled[w]) != 0)
                continue;
            word[w].sum += exp(t->token[i].logp);
            if (!strcmp(text, spelled[w]))
                word[w].bare = t->token[i].logp;
        }
    }
}

void words_more(struct word_logp *word, const char *const *spelled, int n,
                const struct word_start *s, const struct top *t)
{
    const char *rest = spelled[s->word] + s->have;
    double p = 0;
    for (int i = 0; i < t->n; i++)
        if (!strcmp(t->token[i].text, rest))
            p += exp(s->logp + t->token[i].logp);
    word[s->word].sum += p;
    for (int w = 0; w < n; w++) // what went on to "10" did not say "1"
        if (!strcmp(trimmed(s->said), spelled[w]))
            word[w].sum = fmax(0, word[w].sum - p);
}

double words_end(struct word_logp *word, int n, double bound)
{
    double mass = 0;
    for (int w = 0; w < n; w++) {
        mass += word[w].sum;
        word[w].sum = word[w].sum > 0 ? log(word[w].sum) : bound;
    }
    return fmin(mass, 1);
}

int words_starts(struct word_start out[MAX_STARTS], const char *const *spelled, int n,
                 const struct top *t)
{
    int found = 0;
    for (int i = 0; i < t->n; i++) {
        const char *text = trimmed(t->token[i].text);
        size_t len = strlen(text);
        for (int w = 0; w < n && found < MAX_STARTS; w++) {
            bool begins = len && strlen(spelled[w]) > len && !strncmp(spelled[w], text, len);
            if (!begins || exp(t->token[i].logp) < least_start ||
                strlen(t->token[i].text) >= sizeof out->said)
                continue;
            struct word_start *s = &out[found++];
            *s = (struct word_start){.word = w, .have = len, .logp = t->token[i].logp};
            snprintf(s->said, sizeof s->said, "%s", t->token[i].text);
        }
    }
    return found;
}
