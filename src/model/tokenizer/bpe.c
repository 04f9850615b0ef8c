/* bpe.c - merging the bytes of one piece: always the pair with the lowest rank, the leftmost of
 * equals.
 *
 * Symbols form a linked list; candidate pairs wait in a heap ordered by (rank, position) and
 * are checked when they come out, because a neighbour may have been merged away meanwhile.  n
 * bytes cost n log n, so a megabyte of one letter is no different from prose.  Pieces are words
 * most of the time, and for these a scan over a small array is faster than a heap. */
#include "model/tokenizer/tokenizer.h"

enum { SHORT = 24 };

struct symbol {
    int id, prev, next;
}; // id -1: a byte without a token; -2: merged into its left neighbour
struct pending {
    int rank, left, id;
}; // left: index of the pair's first symbol; id: what both become
struct bpe {
    struct symbol *symbol;
    size_t symbol_cap;
    struct pending *heap;
    size_t heap_cap;
    int n; // in the heap
    struct buf spelled;
};

struct bpe *bpe_new(void)
{
    return mem_alloc(1, sizeof(struct bpe));
}

void bpe_free(struct bpe *b)
{
    if (!b)
        return;
    free(b->symbol);
    free(b->heap);
    buf_release(&b->spelled);
    free(b);
}

int tokens_add(struct tokens *out, int id, struct err *err)
{
    int *p = (size_t)out->n < out->cap
                 ? out->id
                 : mem_grow(out->id, &out->cap, (size_t)out->n + 1, sizeof *p);
    if (!p)
        return err_set(err, ERR_MEMORY, "no memory for %d tokens", out->n + 1);
    out->id = p;
    p[out->n++] = id;
    return 0;
}

/* ---- short pieces: a scan ------------------------------------------------------- */

static int merge_short(const struct tokenizer *t, int *id, int n)
{
    const struct merge *pair[SHORT];
    for (int i = 0; i + 1 < n; i++)
        pair[i] = merges_find(t, id[i], id[i + 1]);
    for (;;) {
        int best = -1;
        for (int i = 0; i + 1 < n; i++)
            if (pair[i] && (best < 0 || pair[i]->rank < pair[best]->rank))
                best = i;
        if (best < 0)
            return n;
        id[best] = pair[best]->id;
        n--;
        for (int i = best + 1; i < n; i++) {
            id[i] = id[i + 1];
            if (i + 1 < n)
                pair[i] = pair[i + 1];
        }
        if (best > 0)
            pair[best - 1] = merges_find(t, id[best - 1], id[best]);
        pair[best] = best + 1 < n ? merges_find(t, id[best], id[best + 1]) : NULL;
    }
}

/* ---- long pieces: a heap -------------------------------------------------------- */

static bool before(const struct pending *a, const struct pending *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static void heap_push(struct bpe *b, struct pending p)
{
    int i = b->n++;
    for (; i > 0 && before(&p, &b->heap[(i - 1) / 2]); i = (i - 1) / 2)
        b->heap[i] = b->heap[(i - 1) / 2];
    b->heap[i] = p;
}

static struct pending heap_pop(struct bpe *b)
{
    struct pending top = b->heap[0], last = b->heap[--b->n];
    int i = 0;
    for (int child; (child = 2 * i + 1) < b->n; i = child) {
        if (child + 1 < b->n && before(&b->heap[child + 1], &b->heap[child]))
            child++;
        if (!before(&b->heap[child], &last))
            break;
        b->heap[i] = b->heap[child];
    }
    b->heap[i] = last;
    return top;
}

static void consider(const struct tokenizer *t, struct bpe *b, int left)
{
    if (left < 0 || b->symbol[left].next < 0)
        return;
    const struct merge *m =
        merges_find(t, b->symbol[left].id, b->symbol[b->symbol[left].next].id);
    if (m)
        heap_push(b, (struct pending){m->rank, left, m->id});
}

/* Still the pair that was put in the heap?  Its symbols may have become others. */
static bool current(const struct tokenizer *t, const struct bpe *b, struct pending p)
{
    const struct symbol *s = &b->symbol[p.left];
    if (s->id < 0 || s->next < 0)
        return false;
    const struct merge *m = merges_find(t, s->id, b->symbol[s->next].id);
    return m && m->rank == p.rank;
}

/* Each merge removes a symbol and adds at most two candidates: 3 n of them suffice. */
static void merge_long(const struct tokenizer *t, struct bpe *b, int n)
{
    b->n = 0;
    for (int i = 0; i + 1 < n; i++)
        consider(t, b, i);
    while (b->n) {
        struct pending p = heap_pop(b);
        if (!current(t, b, p))
            continue;
        struct symbol *left = &b->symbol[p.left], *right = &b->symbol[left->next];
        left->id = p.id;
        left->next = right->next;
        right->id = -2;
        if (left->next >= 0)
            b->symbol[left->next].prev = p.left;
        consider(t, b, left->prev);
        consider(t, b, p.left);
    }
}

/* ---- a piece -------------------------------------------------------------------- */

/* The id a byte starts with.  Returns false where it leaves no trace. */
static bool first_id(const struct tokenizer *t, unsigned char byte, int *id, bool *after_unk)
{
    *id = t->byte_id[byte];
    bool unknown = *id < 0;
    if (unknown)
        *id = t->unk;
    bool fused = unknown && t->unk >= 0 && t->fuse_unk && *after_unk;
    *after_unk = unknown && t->unk >= 0;
    return !fused && (*id >= 0 || t->gaps);
}

static int start_symbols(const struct tokenizer *t, struct bpe *b, const char *s, size_t n)
{
    int count = 0, id;
    bool after_unk = false;
    for (size_t i = 0; i < n; i++)
        if (first_id(t, (unsigned char)s[i], &id, &after_unk)) {
            b->symbol[count] = (struct symbol){id, count - 1, count + 1};
            count++;
        }
    if (count)
        b->symbol[count - 1].next = -1;
    return count;
}

static int encode_short(const struct tokenizer *t, struct tokens *out, const char *s, size_t n,
                        struct err *err)
{
    int id[SHORT], count = 0, rc = 0;
    bool after_unk = false;
    for (size_t i = 0; i < n; i++)
        if (first_id(t, (unsigned char)s[i], &id[count], &after_unk))
            count++;
    count = merge_short(t, id, count);
    for (int i = 0; i < count && rc == 0; i++)
        if (id[i] >= 0)
            rc = tokens_add(out, id[i], err);
    return rc;
}

static int encode_long(const struct tokenizer *t, struct bpe *b, struct tokens *out,
                       const char *s, size_t n, struct err *err)
{
    if (n > INT32_MAX / 4)
        return err_set(err, ERR_VALUE,
                       "a piece of %zu bytes without a break is too long to tokenize", n);
    struct symbol *symbol = mem_grow(b->symbol, &b->symbol_cap, n, sizeof *symbol);
    if (symbol)
        b->symbol = symbol;
    struct pending *heap = mem_grow(b->heap, &b->heap_cap, 3 * n, sizeof *heap);
    if (heap)
        b->heap = heap;
    if (!symbol || !heap)
        return err_set(err, ERR_MEMORY, "no memory to tokenize a piece of %zu bytes", n);
    int count = start_symbols(t, b, s, n), rc = 0;
    merge_long(t, b, count);
    for (int i = count ? 0 : -1; i >= 0 && rc == 0; i = b->symbol[i].next)
        if (b->symbol[i].id >= 0)
            rc = tokens_add(out, b->symbol[i].id, err);
    return rc;
}

static int whole_piece(const struct tokenizer *t, struct bpe *b, const char *s, size_t n)
{
    buf_clear(&b->spelled);
    for (size_t i = 0; i < n; i++) {
        char c[2];
        int k = byte_spell(c, (unsigned char)s[i]);
        buf_add(&b->spelled, c, (size_t)k);
    }
    int id =
        b->spelled.failed || !b->spelled.s ? -1 : words_find(t, b->spelled.s, b->spelled.len);
    return id >= 0 && t->token[id].special
               ? -1
               : id; // text never turns into a special token by itself
}

int bpe_encode(const struct tokenizer *t, struct bpe *b, struct tokens *out, const char *s,
               size_t n, struct err *err)
{
    if (t->ignore_merges && n) {
        int id = whole_piece(t, b, s, n);
        if (id >= 0)
            return tokens_add(out, id, err);
    }
    return n <= SHORT ? encode_short(t, out, s, n, err) : encode_long(t, b, out, s, n, err);
}
