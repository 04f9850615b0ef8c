/* compute/cpu/region.c - memory of weights and tensors: pieces of large regions.
 *
 * A weight or a layer's cache of a small model has one to four megabytes.  Each on its own would lie mostly in pages of 4 kB,
 * as a large one needs two aligned megabytes, and while a model writes all of them are read in every step: more pages than
 * the processor remembers where to find.  So pieces follow each other in regions that ask for large pages.
 *
 * A piece has its region and size before it.  The last piece of a region gives its room back, and a region goes when
 * nothing is left in it; a hole between others gives its memory back, page by page, not its addresses.  Small pieces are malloc's: a region would
 * cost a tiny model more than it has. */
#include <sys/mman.h>

#include "compute/cpu/cpu.h"

enum { REGION = 32 << 20, PAGE = 2 << 20, SMALL = 256 << 10, ALIGN = 64 };

struct region {
    char *base;             // of the mapping
    size_t mapped, used, room;      // bytes; used and room count from the first page of PAGE on
    int pieces;
    bool current;           // some device takes pieces from it
};
struct piece {
    struct region *region;  // NULL: malloc's
    size_t bytes;           // with this, which takes ALIGN
};

static char *region_start(const struct region *r)
{
    return r->base + (PAGE - (uintptr_t)r->base % PAGE) % PAGE;
}

static struct region *region_new(size_t bytes)
{
    struct region *r = mem_alloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->room = bytes > REGION ? bytes : REGION;
    r->mapped = r->room + PAGE;
    r->base = mmap(NULL, r->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (r->base == MAP_FAILED) {
        free(r);
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    (void)!madvise(region_start(r), r->room / PAGE * PAGE, MADV_HUGEPAGE);
#endif
    return r;
}

/* Whole pages between two addresses go back to the system: small ones, since most holes are smaller than a large page. */
static void pages_drop(char *from, char *to)
{
    enum { LEAST = 4096 };
    from += (LEAST - (uintptr_t)from % LEAST) % LEAST;
    to -= (uintptr_t)to % LEAST;
    if (from < to)
        (void)!madvise(from, (size_t)(to - from), MADV_DONTNEED);
}

static void region_drop(struct region *r)
{
    if (!r || r->current || r->pieces)
        return;
    munmap(r->base, r->mapped);
    free(r);
}

void regions_close(struct cpu *cpu)
{
    if (cpu->region)
        cpu->region->current = false;
    region_drop(cpu->region);
    cpu->region = NULL;
}

/* A region with room for `bytes`: the current one, or one that takes its place. */
static struct region *region_with(struct cpu *cpu, size_t bytes)
{
    struct region *r = cpu->region;
    if (r && r->room - r->used >= bytes)
        return r;
    r = region_new(bytes);
    if (r && bytes <= REGION / 2) {
        regions_close(cpu);
        cpu->region = r;
        r->current = true;
    }
    return r;
}

void *piece_new(struct cpu *cpu, size_t bytes)
{
    size_t all = (bytes + 2 * ALIGN - 1) / ALIGN * ALIGN;
    struct region *r = all < SMALL ? NULL : region_with(cpu, all);
    char *p = all < SMALL ? mem_aligned(all) : r ? region_start(r) + r->used : NULL;
    if (!p)
        return NULL;
    *(struct piece *)(void *)p = (struct piece){ r, all };
    if (r) {
        r->used += all;
        r->pieces++;
    }
    return p + ALIGN;
}

void piece_free(void *data)
{
    if (!data)
        return;
    char *p = (char *)data - ALIGN;
    struct piece piece = *(struct piece *)(void *)p;
    struct region *r = piece.region;
    if (!r) {
        free(p);
        return;
    }
    pages_drop(p, p + piece.bytes);
    if (p + piece.bytes == region_start(r) + r->used)
        r->used -= piece.bytes;
    if (--r->pieces == 0)
        r->used = 0;
    region_drop(r);
}
