/* scores.c - the merges of a vocabulary that has scores and no merges (SentencePiece's BPE, as
 * `tokenizer.model` and GGUF files of type llama hold it).
 *
 * SentencePiece merges, of all neighbours whose union is a token, those whose union has the
 * highest score, the leftmost of equals.  The same comes of a list of merges in which every way
 * to split a token into two tokens has the rank of the token: one for each score, the highest
 * first. */
#include "model/tokenizer/tokenizer.h"

struct scored {
    float score;
    int id;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    return x->score != y->score ? (x->score > y->score ? -1 : 1)
                                : (x->id > y->id) - (x->id < y->id);
}

static int half(const struct tokenizer *t, const bool *usable, const char *s, size_t n)
{
    int id = model_find(t, s, n);
    return id >= 0 && usable[id] ? id : -1;
}

/* Every way to split a token, or (put false) how many there are. */
static size_t splits_of(struct tokenizer *t, const bool *usable, int id, int rank, bool put)
{
    const struct token *k = &t->token[id];
    size_t count = 0;
    for (size_t i = char_length(k->s); i < k->n; i += char_length(k->s + i)) {
        int left = half(t, usable, k->s, i);
        int right = left < 0 ? -1 : half(t, usable, k->s + i, k->n - i);
        if (right < 0)
            continue;
        count++;
        if (put)
            merges_put(t, left, right, rank, id);
    }
    return count;
}

int merges_from_scores(struct tokenizer *t, const float *score, const bool *usable,
                       struct err *err)
{
    struct scored *list = mem_alloc((size_t)t->vocab + 1, sizeof *list);
    size_t count = 0;
    int n = 0, rank = 0;
    if (!list)
        return err_set(err, ERR_MEMORY, "%s: no memory for %d scores", t->path, t->vocab);
    for (int id = 0; id < t->vocab; id++)
        if (usable[id] && t->token[id].s &&
            model_find(t, t->token[id].s, t->token[id].n) == id) {
            size_t ways = splits_of(t, usable, id, 0, false);
            if (ways)
                list[n++] = (struct scored){score[id], id};
            count += ways;
        }
    int rc = merges_reserve(t, count, err);
    if (rc == 0 && n)
        qsort(list, (size_t)n, sizeof *list, by_score);
    for (int i = 0; i < n && rc == 0; i++) {
        rank += i > 0 && list[i].score != list[i - 1].score;
        splits_of(t, usable, list[i].id, rank, true);
    }
    free(list);
    return rc;
}
