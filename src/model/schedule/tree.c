/* model/schedule/tree.c - which tokens lie where in the cache.
 *
 * Blocks form a tree keyed by token ids, so that a sequence which begins as another did finds
 * what is there.  Nothing is ever moved or split: a block hangs on its parent at any of the
 * parent's tokens (schedule.h has the picture), and two blocks may hold the same tokens where
 * two sequences came by them at the same time.
 *
 * What nobody runs on stays until its block is needed; then the leaf goes whose last user left
 * first.  The list of such leaves is in that order: a block joins it at the end when its user
 * leaves, and near the front when its last child is evicted. */
#include "model/schedule/schedule.h"

enum { NONE = -1 };

int tree_init(struct tree *t, int blocks, struct err *err)
{
    size_t n = (size_t)blocks, slots;
    *t = (struct tree){
        .n = blocks, .n_free = blocks, .root = NONE, .oldest = NONE, .newest = NONE};
    t->block = mem_alloc(n, sizeof *t->block);
    t->free = mem_alloc(n, sizeof *t->free);
    if (size_mul(&slots, n, CACHE_BLOCK))
        t->id = mem_alloc(slots, sizeof *t->id);
    if (!t->block || !t->free || !t->id) {
        tree_release(t);
        return err_set(err, ERR_MEMORY, "a cache of %d blocks", blocks);
    }
    for (int i = 0; i < blocks; i++)
        t->free[i] = blocks - 1 - i; // the lowest on top
    return 0;
}

void tree_release(struct tree *t)
{
    free(t->block);
    free(t->free);
    free(t->id);
    *t = (struct tree){0};
}

/* ---- finding --------------------------------------------------------------------------- */

/* How many of id (n) block b holds, from its first. */
static int common(const struct tree *t, int b, const int *id, int n)
{
    const struct block *k = &t->block[b];
    const int *have = t->id + (size_t)b * CACHE_BLOCK + k->position % CACHE_BLOCK;
    int most = k->len < n ? k->len : n, i = 0;
    while (i < most && have[i] == id[i])
        i++;
    return i;
}

/* The one of siblings b, .. on which id (n) leads furthest; those that hang on the first `run`
 * tokens of a parent. *reach: how far, to be beaten. */
static int furthest(const struct tree *t, int b, const int *id, int n, int run, int *reach)
{
    int best = NONE;
    for (; b != NONE; b = t->block[b].next) {
        int at = t->block[b].at;
        if (at > run)
            continue;
        int to = at + common(t, b, id + at, n - at);
        if (to > *reach) {
            *reach = to;
            best = b;
        }
    }
    return best;
}

int tree_match(const struct tree *t, const int *id, int n, int *last, int *keys)
{
    int reach = 0, b = furthest(t, t->root, id, n, 0, &reach), start = 0;
    *last = NONE;
    while (b != NONE) {
        int run = common(t, b, id + start, n - start);
        for (int i = 0; keys && i < run; i++)
            keys[start + i] = b * CACHE_BLOCK + (start + i) % CACHE_BLOCK;
        *last = b;
        reach = run;
        b = furthest(t, t->block[b].child, id + start, n - start, run, &reach);
        if (b == NONE)
            return start + run;
        start += t->block[b].at;
    }
    return 0;
}

/* ---- what may be evicted ----------------------------------------------------------------- */

static void list_take(struct tree *t, int b)
{
    struct block *k = &t->block[b];
    *(k->older == NONE ? &t->oldest : &t->block[k->older].newer) = k->newer;
    *(k->newer == NONE ? &t->newest : &t->block[k->newer].older) = k->older;
}

/* Before the first one that was used later. */
static void list_put(struct tree *t, int b)
{
    struct block *k = &t->block[b];
    int next = NONE;
    if (t->newest != NONE && t->block[t->newest].used > k->used)
        for (next = t->oldest; t->block[next].used <= k->used;)
            next = t->block[next].newer;
    k->newer = next;
    k->older = next == NONE ? t->newest : t->block[next].older;
    *(k->older == NONE ? &t->oldest : &t->block[k->older].newer) = b;
    *(next == NONE ? &t->newest : &t->block[next].older) = b;
}

static bool is_listed(const struct block *k)
{
    return k->len && k->users == 0 && k->child == NONE;
}

void tree_pin(struct tree *t, int b)
{
    for (; b != NONE; b = t->block[b].parent) {
        if (is_listed(&t->block[b]))
            list_take(t, b);
        if (t->block[b].users++)
            return;
        t->pinned++;
    }
}

void tree_unpin(struct tree *t, int b)
{
    int64_t now = ++t->clock;
    for (; b != NONE; b = t->block[b].parent) {
        struct block *k = &t->block[b];
        BUG_IF(k->users < 1);
        if (--k->users)
            return;
        t->pinned--;
        k->used = now;
        if (is_listed(k))
            list_put(t, b);
    }
}

static int *siblings_of(struct tree *t, int parent)
{
    return parent == NONE ? &t->root : &t->block[parent].child;
}

int tree_evict(struct tree *t)
{
    int b = t->oldest;
    if (b == NONE)
        return NONE;
    struct block *k = &t->block[b];
    list_take(t, b);
    *(k->prev == NONE ? siblings_of(t, k->parent) : &t->block[k->prev].next) = k->next;
    if (k->next != NONE)
        t->block[k->next].prev = k->prev;
    k->len = 0;
    t->free[t->n_free++] = b;
    t->evicted++;
    if (k->parent != NONE && is_listed(&t->block[k->parent]))
        list_put(t, k->parent);
    return b;
}

/* ---- growing -------------------------------------------------------------------------------
 */

/* An empty block for a sequence that ends in `last` and goes on at position. */
static int new_block(struct tree *t, int last, int position)
{
    int b = t->free[--t->n_free], *list = siblings_of(t, last);
    t->block[b] = (struct block){.parent = last,
                                 .at = last == NONE ? 0 : position - t->block[last].position,
                                 .position = position,
                                 .child = NONE,
                                 .next = *list,
                                 .prev = NONE,
                                 .older = NONE,
                                 .newer = NONE};
    if (*list != NONE)
        t->block[*list].prev = b;
    *list = b;
    return b;
}

int tree_append(struct tree *t, int *last, int position, int id)
{
    struct block *k = *last == NONE ? NULL : &t->block[*last];
    bool fits = k && position % CACHE_BLOCK && k->position + k->len == position;
    if (!fits) {
        if (!t->n_free)
            return NONE;
        int before = *last;
        *last = new_block(t, before, position);
        k = &t->block[*last];
        tree_pin(t, *last); // through it, what comes before it
        if (before != NONE)
            tree_unpin(t, before);
    }
    int slot = *last * CACHE_BLOCK + position % CACHE_BLOCK;
    t->id[slot] = id;
    k->len++;
    return slot;
}
