/* model/forest.c - batches as forests of segments: building them and listing what is to be predicted. */
#include "model/internal.h"

int forest_add(struct forest *f, int parent, const int *id, int n)
{
    BUG_IF(parent >= f->n || n < 0);
    int *ids = mem_grow(f->tokens.id, &f->tokens.cap, (size_t)f->tokens.n + (size_t)n + 1, sizeof *ids);
    if (!ids)
        return -1;
    f->tokens.id = ids;
    struct segment *seg = mem_grow(f->seg, &f->cap, (size_t)f->n + 1, sizeof *seg);
    if (!seg)
        return -1;
    f->seg = seg;

    struct segment *s = &f->seg[f->n];
    s->start = f->tokens.n;
    s->len = n;
    s->parent = parent;
    s->position = parent >= 0 ? f->seg[parent].position + f->seg[parent].len : 0;
    if (n)
        memcpy(ids + s->start, id, (size_t)n * sizeof *id);
    f->tokens.n += n;
    return f->n++;
}

void forest_clear(struct forest *f)
{
    f->tokens.n = 0;
    f->n = 0;
}

void forest_release(struct forest *f)
{
    free(f->tokens.id);
    free(f->seg);
    *f = (struct forest){0};
}

/* Row of the token before the segment's first, -1 when there is none in this forest.  Empty ancestors are stepped over. */
static int row_before(const struct forest *f, int seg)
{
    for (int p = f->seg[seg].parent; p >= 0; p = f->seg[p].parent)
        if (f->seg[p].len)
            return f->seg[p].start + f->seg[p].len - 1;
    return -1;
}

int forest_items(const struct forest *f, int seg, int from, struct head_item *item)
{
    const struct segment *s = &f->seg[seg];
    int n = 0;
    for (int i = from; i < s->len; i++) {
        int row = i ? s->start + i - 1 : row_before(f, seg);
        if (row >= 0)
            item[n++] = (struct head_item){row, f->tokens.id[s->start + i]};
    }
    return n;
}
