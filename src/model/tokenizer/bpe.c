/* bpe.c - merging the bytes or characters of one piece: always the pair with the lowest rank,
 * the leftmost of equals.
 *
 * Symbols form a linked list; candidate pairs wait in a heap ordered by (rank, position) and
 * are checked when they come out, because a neighbour may have been merged away meanwhile.  n
 * bytes cost n log n, so a megabyte of one letter is no different from prose.  Pieces are words
 * most of the time, and for these a scan over a small array is faster than a heap. */
#include "model/tokenizer/tokenizer.h"

enum { SHORT = 24 };

struct symbol {
    int id, prev, next;
}; // id -1: a gap without a token; -2: merged into its left neighbour
struct pending {
    int rank, left, id;
}; // left: index of the pair's first symbol; id: what both become
struct bpe {
    struct symbol *symbol;
    size_t symbol_cap;
    struct pending *heap;
    size_t heap_cap;
    int n; // in the heap
    struct tokens start; // ids before any merge, as in symbols
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
    tokens_release(&b->start);
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

static int start_bytes(const struct tokenizer *t, struct bpe *b, const char *s, size_t n,
                       struct err *err)
{
    bool after_unk = false;
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        int id = t->byte_id[(unsigned char)s[i]];
        bool unknown = id < 0 && t->unk >= 0, fused = unknown && t->fuse_unk && after_unk;
        after_unk = unknown;
        if (unknown)
            id = t->unk;
        if (!fused && (id >= 0 || t->gaps))
            rc = tokens_add(&b->start, id, err);
    }
    return rc;
}

/* The token of a character, with what stands before it inside a word and behind it at the end. */
static int find_char(const struct tokenizer *t, struct bpe *b, const char **s, size_t *n,
                     bool first, bool last)
{
    if ((!t->prefix || first) && (!t->suffix || !last))
        return model_find(t, *s, *n);
    buf_clear(&b->spelled);
    if (t->prefix && !first)
        buf_adds(&b->spelled, t->prefix);
    buf_add(&b->spelled, *s, *n);
    if (t->suffix && last)
        buf_adds(&b->spelled, t->suffix);
    if (b->spelled.failed)
        return -1;
    *s = b->spelled.s;
    *n = b->spelled.len;
    return model_find(t, *s, *n);
}

static bool has_bytes(const struct tokenizer *t, const char *s, size_t n)
{
    for (size_t i = 0; i < n && t->byte_fallback; i++)
        if (t->byte_id[(unsigned char)s[i]] < 0)
            return false;
    return t->byte_fallback;
}

/* An unknown token waits for the next character that is known (and not for one that becomes
 * bytes): the order of Hugging Face's tokenizers. */
static int start_chars(const struct tokenizer *t, struct bpe *b, const char *s, size_t n,
                       struct err *err)
{
    bool waiting = false;
    int rc = 0;
    for (size_t i = 0, k; i < n && rc == 0; i += k) {
        k = char_length(s + i);
        const char *c = s + i;
        size_t m = k;
        int id = find_char(t, b, &c, &m, i == 0, i + k == n);
        if (b->spelled.failed)
            return err_set(err, ERR_MEMORY, "no memory to tokenize a piece of %zu bytes", n);
        if (id >= 0) {
            if (waiting)
                rc = tokens_add(&b->start, t->unk, err);
            waiting = false;
            if (rc == 0)
                rc = tokens_add(&b->start, id, err);
        } else if (has_bytes(t, c, m)) {
            for (size_t j = 0; j < m && rc == 0; j++)
                rc = tokens_add(&b->start, t->byte_id[(unsigned char)c[j]], err);
        } else if (t->unk >= 0) {
            if (waiting && !t->fuse_unk)
                rc = tokens_add(&b->start, t->unk, err);
            waiting = true;
        } else if (t->gaps) {
            rc = tokens_add(&b->start, -1, err);
        }
    }
    return rc == 0 && waiting ? tokens_add(&b->start, t->unk, err) : rc;
}

static int merge_any(const struct tokenizer *t, struct bpe *b, struct err *err)
{
    size_t n = (size_t)b->start.n;
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
    for (int i = 0; i < b->start.n; i++)
        symbol[i] = (struct symbol){b->start.id[i], i - 1, i + 1 < b->start.n ? i + 1 : -1};
    merge_long(t, b, b->start.n);
    int count = 0;
    for (int i = 0; i >= 0; i = symbol[i].next)
        b->start.id[count++] = symbol[i].id;
    b->start.n = count;
    return 0;
}

static int whole_piece(const struct tokenizer *t, struct bpe *b, const char *s, size_t n)
{
    if (!t->byte_level)
        return model_find(t, s, n);
    buf_clear(&b->spelled);
    for (size_t i = 0; i < n; i++) {
        char c[2];
        int k = byte_spell(c, (unsigned char)s[i]);
        buf_add(&b->spelled, c, (size_t)k);
    }
    int id =
        b->spelled.failed || !b->spelled.s ? -1 : model_find(t, b->spelled.s, b->spelled.len);
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
    b->start.n = 0;
    int rc = (t->byte_level ? start_bytes : start_chars)(t, b, s, n, err);
    if (rc == 0 && b->start.n > SHORT)
        rc = merge_any(t, b, err);
    else if (rc == 0)
        b->start.n = merge_short(t, b->start.id, b->start.n);
    for (int i = 0; i < b->start.n && rc == 0; i++)
        if (b->start.id[i] >= 0)
            rc = tokens_add(out, b->start.id[i], err);
    return rc;
}
