/* unigram.c - the likeliest way to write a text with pieces that have scores (Kudo 2018).
 *
 * A Viterbi pass over the bytes: best[i] is the best score of a way that ends at byte i. Pieces
 * that begin at a byte are found in a trie, whose edges lie in one hash table.  A character
 * without a piece of its own counts as unknown, 10 below the worst piece; neighbouring unknowns
 * become one, or their bytes where there are tokens for them.  Order and ties as in Hugging
 * Face's encode_optimized: of equal ways the one found first, which begins earliest.  Two ways
 * of the same pieces in another order are equal but for rounding, so sums are rounded as the
 * reference rounds them. */
#include "model/tokenizer/tokenizer.h"

#include <math.h>

enum { UNKNOWN_PENALTY = 10 };

struct edge {
    uint64_t key; // node << 8 | byte, + 1; 0: empty
    int node;
};
struct unigram {
    struct edge *edge;
    size_t mask;
    int *piece; // (nodes) id that ends at a node, -1: none
    int nodes;
    double *score; // (n)
    int n;
    double least;
    bool single; // sums are rounded to float, as SentencePiece keeps them
};

static struct edge *edge_slot(const struct unigram *u, int node, unsigned char byte)
{
    uint64_t key = ((uint64_t)node << 8 | byte) + 1, h = key * 0x9E3779B97F4A7C15u;
    size_t i = (size_t)(h >> 32 ^ h) & u->mask;
    while (u->edge[i].key && u->edge[i].key != key)
        i = (i + 1) & u->mask;
    return &u->edge[i];
}

static void add_piece(struct unigram *u, const char *s, size_t n, int id)
{
    int node = 0;
    for (size_t i = 0; i < n; i++) {
        struct edge *e = edge_slot(u, node, (unsigned char)s[i]);
        if (!e->key) {
            *e = (struct edge){((uint64_t)node << 8 | (unsigned char)s[i]) + 1, u->nodes};
            u->piece[u->nodes++] = -1;
        }
        node = e->node;
    }
    u->piece[node] = id;
}

int unigram_build(struct tokenizer *t, const double *score, int n, bool single, struct err *err)
{
    struct unigram *u = t->unigram = mem_alloc(1, sizeof *u);
    size_t bytes = 0, size = 16;
    for (int id = 0; id < n; id++)
        bytes += t->token[id].n;
    while (size < bytes + bytes / 2)
        size *= 2;
    if (u && bytes < INT32_MAX) {
        u->edge = mem_alloc(size, sizeof *u->edge);
        u->mask = size - 1;
        u->piece = mem_alloc(bytes + 1, sizeof *u->piece);
        u->score = mem_alloc((size_t)n + 1, sizeof *u->score);
    }
    if (!u || !u->edge || !u->piece || !u->score)
        return err_set(err, ERR_MEMORY, "%s: no memory for %d pieces", t->where, n);
    u->piece[u->nodes++] = -1;
    u->n = n;
    u->single = single;
    u->least = INFINITY;
    for (int id = 0; id < n; id++) {
        u->score[id] = score[id];
        if (isnan(score[id]))
            continue;
        if (t->token[id].n)
            add_piece(u, t->token[id].s, t->token[id].n, id);
        u->least = score[id] < u->least ? score[id] : u->least;
    }
    return 0;
}

void unigram_free(struct unigram *u)
{
    if (!u)
        return;
    free(u->edge);
    free(u->piece);
    free(u->score);
    free(u);
}

double unigram_score(const struct unigram *u, int id)
{
    return u->score[id];
}

int unigram_size(const struct unigram *u)
{
    return u->n;
}

/* ---- the best way -------------------------------------------------------------------- */

struct way {
    double score;
    int from, id; // the last piece: where it begins, -1: no way ends here
};

static void offer(const struct unigram *u, struct way *end, double score, int from, int id)
{
    if (u->single)
        score = (float)score;
    if (end->from < 0 || score > end->score)
        *end = (struct way){score, from, id};
}

static void find_ways(const struct tokenizer *t, struct way *best, const char *s, int n)
{
    const struct unigram *u = t->unigram;
    // one number, rounded before it is added: where two ways tie, the last bit decides
    double unknown = u->least - UNKNOWN_PENALTY;
    if (u->single)
        unknown = (float)unknown;
    for (int at = 0, k; at < n; at += k) {
        bool single = false;
        double here = best[at].score;
        k = (int)char_length(s + at);
        for (int i = at, node = 0; i < n; i++) {
            const struct edge *e = edge_slot(u, node, (unsigned char)s[i]);
            if (!e->key)
                break;
            node = e->node;
            if (u->piece[node] < 0)
                continue;
            offer(u, &best[i + 1], here + u->score[u->piece[node]], at, u->piece[node]);
            single |= i + 1 - at == k;
        }
        if (!single)
            offer(u, &best[at + k], here + unknown, at, t->unk);
    }
}

/* Text that no piece covers. */
static int add_unknown(const struct tokenizer *t, struct tokens *out, const char *s, size_t n,
                       struct err *err)
{
    int rc = 0, whole = model_find(t, s, n); // unknowns together may spell a token
    bool bytes = t->byte_fallback;
    if (whole >= 0)
        return tokens_add(out, whole, err);
    for (size_t i = 0; i < n && bytes; i++)
        bytes = t->byte_id[(unsigned char)s[i]] >= 0;
    if (!bytes)
        return t->unk >= 0 ? tokens_add(out, t->unk, err)
                           : err_set(err, ERR_VALUE,
                                     "'%.*s' is not in the vocabulary, which has no token for "
                                     "what is unknown",
                                     (int)(n < 60 ? n : 60), s);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = tokens_add(out, t->byte_id[(unsigned char)s[i]], err);
    return rc;
}

static int write_way(const struct tokenizer *t, const struct way *best, int *stop, int n,
                     struct tokens *out, const char *s, struct err *err)
{
    int count = 0, rc = 0;
    for (int end = n; end > 0; end = best[end].from)
        stop[count++] = end;
    for (int at = 0; count && rc == 0; at = stop[count]) {
        int id = best[stop[--count]].id;
        while (id == t->unk && count && best[stop[count - 1]].id == id)
            count--;
        rc = id == t->unk ? add_unknown(t, out, s + at, (size_t)(stop[count] - at), err)
                          : tokens_add(out, id, err);
    }
    return rc;
}

int unigram_encode(const struct tokenizer *t, struct buf *scratch, struct tokens *out,
                   const char *s, size_t n, struct err *err)
{
    if (n > INT32_MAX / 2)
        return err_set(err, ERR_VALUE, "a piece of %zu bytes is too long to tokenize", n);
    size_t need = (n + 1) * (sizeof(struct way) + sizeof(int));
    char *room = mem_grow(scratch->s, &scratch->cap, need, 1);
    if (!room)
        return err_set(err, ERR_MEMORY, "no memory to tokenize a piece of %zu bytes", n);
    scratch->s = room;
    struct way *best = (struct way *)(void *)room;
    for (size_t i = 0; i <= n; i++)
        best[i] = (struct way){.from = -1};
    best[0].from = 0;
    find_ways(t, best, s, (int)n);
    return write_way(t, best, (int *)(void *)(best + n + 1), (int)n, out, s, err);
}
