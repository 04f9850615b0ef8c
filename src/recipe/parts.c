/* recipe/parts.c - which part a conversation falls into, by its content alone: never in two,
 * whatever the order or length of a file. */
#include "recipe/parts.h"

static int part_read(struct part *p, const char *text, struct err *err)
{
    const char *eq = strchr(text, '='), *colon = eq ? strchr(eq, ':') : NULL;
    char share[32] = "";
    int64_t most = 0;
    size_t name = eq ? (size_t)(eq - text) : 0;
    if (eq)
        snprintf(share, sizeof share, "%.*s", (int)(colon ? colon - eq - 1 : (long)strlen(eq + 1)),
                 eq + 1);
    bool fine = eq && name > 0 && name < sizeof p->name && str_to_double(share, &p->share) &&
                p->share > 0 && p->share <= 1 &&
                (!colon || (str_to_i64(colon + 1, &most) && most > 0 && most <= INT32_MAX)) &&
                strcspn(text, "/.") >= name;
    if (!fine)
        return err_set(err, ERR_USAGE,
                       "parts: \"%s\" should be NAME=SHARE or NAME=SHARE:ROWS, as in test=0.2:300",
                       text);
    snprintf(p->name, sizeof p->name, "%.*s", (int)name, text);
    p->most = (int)most;
    return 0;
}

/* Words, or words with commas between them. */
int parts_read(struct parts *s, const json_t *list, struct err *err)
{
    size_t i;
    json_t *v;
    double sum = 0;
    int rc = 0;
    json_array_foreach((json_t *)list, i, v) {
        char *words = strdup(json_string_value(v)), *rest = words, *word;
        while (rc == 0 && words && (word = strsep(&rest, ","))) {
            if (s->n == MAX_PARTS)
                rc = err_set(err, ERR_USAGE, "parts: at most %d parts can be made", MAX_PARTS);
            else
                rc = part_read(&s->part[s->n], word, err);
            if (rc == 0)
                sum += s->part[s->n++].share;
        }
        free(words);
    }
    if (rc == 0 && s->n == 0)
        rc = err_set(err, ERR_USAGE, "parts: none is named");
    if (rc == 0 && sum > 1 + 1e-9)
        rc = err_set(err, ERR_USAGE, "parts: the shares add up to %g, more than 1", sum);
    return rc;
}

char *parts_key(const struct text *prompt)
{
    if (prompt->n)
        return strdup(prompt->messages[0].content);
    size_t n;
    const char *s = first_human_turn(prompt->text, &n);
    return strndup(s, n);
}

int parts_of(const struct parts *p, const char *key, uint64_t seed)
{
    double share[MAX_PARTS + 1], rest = 1;
    for (int i = 0; i < p->n; i++)
        rest -= share[i] = p->part[i].share;
    share[p->n] = rest > 0 ? rest : 0;      // belongs to nobody
    return data_split(key, seed, share, p->n + 1);
}
