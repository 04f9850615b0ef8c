/* memory.c - sizes that cannot overflow, allocations that can be made to fail, arenas.
 *
 * Every allocation here passes fail_now(), so that `make torture` can visit each of them.
 * What is left out: a pool of any kind; malloc is good enough outside the inner loops. */
#include "base/base.h"

#include <stdatomic.h>
#include <unistd.h>

bool size_mul(size_t *out, size_t a, size_t b)
{
    return !__builtin_mul_overflow(a, b, out);
}

bool size_add(size_t *out, size_t a, size_t b)
{
    return !__builtin_add_overflow(a, b, out);
}

bool fail_now(void)
{
    enum { UNREAD = -1, OFF = 0 };
    static atomic_long left = UNREAD;
    long now = atomic_load_explicit(&left, memory_order_relaxed);
    if (now == UNREAD) {
        const char *at = getenv("RLAIF_FAIL_AT");
        int64_t n = OFF;
        if (!at || !str_to_i64(at, &n) || n < 0)
            n = OFF;
        atomic_compare_exchange_strong(&left, &now, (long)n);
        now = atomic_load(&left);
    }
    return now != OFF && atomic_fetch_sub(&left, 1) == 1;
}

void *mem_alloc(size_t n, size_t size)
{
    size_t bytes;
    if (!size_mul(&bytes, n, size) || fail_now())
        return NULL;
    return calloc(bytes ? bytes : 1, 1);
}

void *mem_grow(void *p, size_t *cap, size_t need, size_t size)
{
    if (p && need <= *cap)
        return p;
    size_t want = *cap < 8 ? 16 : *cap;
    if (p && *cap >= 8 && !size_mul(&want, want, 2))
        return NULL;
    if (want < need)
        want = need;
    size_t bytes;
    if (!size_mul(&bytes, want, size) || fail_now())
        return NULL;
    char *q = realloc(p, bytes);
    if (!q)
        return NULL;
    size_t old = p ? *cap * size : 0;
    memset(q + old, 0, bytes - old);
    *cap = want;
    return q;
}

void *mem_aligned(size_t bytes)
{
    size_t rounded;
    if (!size_add(&rounded, bytes ? bytes : 1, 63) || fail_now())
        return NULL;
    return aligned_alloc(64, rounded & ~(size_t)63);
}

_Noreturn void mem_die(const char *fmt, ...)
{
    va_list ap;
    fputs("rlaif: out of memory: no room for ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    _exit(1);   // threads may be in the middle of anything: no handlers
}

/* ---- arenas ------------------------------------------------------------------ */

enum { CHUNK = 64 << 10, ALIGN = 16 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, cap;
    _Alignas(ALIGN) unsigned char bytes[];
};

void *arena_alloc(struct arena *a, size_t bytes)
{
    size_t rounded, total;
    if (!size_add(&rounded, bytes ? bytes : 1, ALIGN - 1))
        return NULL;
    rounded &= ~(size_t)(ALIGN - 1);
    struct arena_chunk *c = a->head;
    if (!c || c->cap - c->used < rounded) {
        size_t cap = rounded > CHUNK ? rounded : CHUNK;
        if (!size_add(&total, cap, sizeof *c) || !(c = mem_alloc(1, total)))
            return NULL;
        c->cap = cap;
        if (a->head && rounded > CHUNK) {   // keep filling the chunk that still has room
            c->next = a->head->next;
            a->head->next = c;
        } else {
            c->next = a->head;
            a->head = c;
        }
    }
    void *p = c->bytes + c->used;
    c->used += rounded;
    return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
    n = strnlen(s, n);
    char *p = n < SIZE_MAX ? arena_alloc(a, n + 1) : NULL;
    if (p)
        memcpy(p, s, n);
    return p;
}

char *arena_strdup(struct arena *a, const char *s)
{
    return arena_strndup(a, s, strlen(s));
}

void arena_release(struct arena *a)
{
    while (a && a->head) {
        struct arena_chunk *next = a->head->next;
        free(a->head);
        a->head = next;
    }
}
