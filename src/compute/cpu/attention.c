/* compute/cpu/attention.c - attention on the CPU: which kernel runs, and who does what.
 *
 * Forward is cut into (run, stretch of queries, key/value head), backward into (tree, key/value head): a tree's
 * key and value gradients belong to one thread, which adds them up in run order.  The cuts do not show in the
 * results, so tasks go to whichever thread is free. */
#include <omp.h>

#include "compute/cpu/attention.h"
#include "compute/cpu/cpu.h"

enum { STRETCH = 128 };     // queries of a long run that one task takes; packing keys again costs about 1 %

const struct attention_kernel *const *attention_kernels(void)
{
    static const struct attention_kernel *list[5];
    int n = 0;

    if (list[0])
        return list;
    __builtin_cpu_init();
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx512 && __builtin_cpu_supports("avx512bf16"))
        list[n++] = &attention_avx512bf16;
    if (avx512)
        list[n++] = &attention_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        list[n++] = &attention_avx2;
    list[n] = &attention_base;
    return list;
}

bool attention_fits(const struct attention_kernel *kernel, const struct attention_call *c)
{
    const struct attention *a = c->a;
    return a->head_size % (16 * kernel->pair) == 0 && a->head_size <= ATTENTION_MAX_HEAD && a->scale > 0 &&
           a->heads / a->kv_heads <= ATTENTION_ROWS && (kernel->pair == 1 || c->q->dtype == DTYPE_BF16);
}

const struct attention_kernel *attention_choose(const struct attention_call *c)
{
    const struct attention_kernel *const *list = attention_kernels();
    while (*list && !attention_fits(*list, c))
        list++;
    return *list;
}

/* Memory a thread keeps between calls: a layer's attention is called thousands of times a second when decoding. */
static void *scratch(size_t bytes)
{
    static _Thread_local struct { void *p; size_t bytes; } mine;
    if (mine.bytes < bytes) {
        free(mine.p);
        mine.p = mem_aligned(bytes);
        mine.bytes = bytes;
        if (!mine.p)
            mem_die("%zu bytes of attention scratch", bytes);
    }
    return mine.p;
}

static int longest(const struct attention *a)
{
    int n = 0;
    for (int i = 0; i < a->n; i++)
        if (a->run[i].position + a->run[i].len > n)
            n = a->run[i].position + a->run[i].len;
    return (n + ATTENTION_BLOCK - 1) / ATTENTION_BLOCK * ATTENTION_BLOCK;
}

/* Upper bounds of what the kernels take(): arrays of a tile's rows, arrays of all keys, one staged block. */
static size_t backward_bytes(const struct attention *a)
{
    size_t widest = a->head_size > ATTENTION_BLOCK ? a->head_size : ATTENTION_BLOCK;
    return 4 * widest * (9 * (ATTENTION_ROWS + 2) + 5 * (size_t)longest(a) + ATTENTION_BLOCK) + 4096;
}

static size_t forward_bytes(const struct attention *a)
{
    size_t many = 4 * (size_t)a->head_size * (2 * (size_t)longest(a) + ATTENTION_BLOCK + 2 * ATTENTION_ROWS) +
                  8 * 16 * ATTENTION_ROWS;
    size_t head = ATTENTION_FEW * (2 * a->head_size + 32) * 4 + 1024;       // a tile and struct forward, aligned
    size_t few = (size_t)a->kv_heads * head + 4 * (size_t)a->head_size * 3 * ATTENTION_BLOCK;
    return (many > few ? many : few) + 4096;
}

/* Whole blocks of keys, from the first, that two runs have in common: at most `most`. */
static int shared_blocks(const struct attn_run *x, const struct attn_run *y, int most)
{
    int end = x->position < y->position ? x->position : y->position, n = (end + 1) / ATTENTION_BLOCK, b = 0;
    n = n < most ? n : most;
    while (b < n && !memcmp(x->keys + b * ATTENTION_BLOCK, y->keys + b * ATTENTION_BLOCK, ATTENTION_BLOCK * sizeof *x->keys))
        b++;
    return b;
}

/* How many one-query runs from the i-th on, at most `most`, are one task: reading and packing what they share once is worth it
 * while that is most of what the first two share. */
static int side_by_side(const struct attention *a, int i, int most, int *shared)
{
    const struct attn_run *r = &a->run[i];
    int n = 1;
    *shared = 0;
    if (a->window || r->len != 1)
        return 1;
    for (; n < most && i + n < a->n && r[n].len == 1 && r[n].row == r->row + n; n++) {
        int both = shared_blocks(r, &r[n], n > 1 ? *shared : r->position / ATTENTION_BLOCK + 1);
        if (both < 1 || (n > 1 && 2 * both < *shared))
            break;
        *shared = both;
    }
    return n;
}

/* Tasks of all runs.  The later stretches of a run see more keys and go first, so that threads end together.
 * Runs of one or few queries keep their heads together where there are enough of them, and those that begin alike go together. */
static struct attention_task *cut(const struct attention *a, int *n, int threads)
{
    int few = ATTENTION_FEW / (a->heads / a->kv_heads);
    size_t count = 0;
    for (int i = 0; i < a->n; i++)
        count += (a->run[i].len / STRETCH + 2) * (size_t)a->kv_heads;
    struct attention_task *t = mem_alloc(count, sizeof *t);
    if (!t && count)
        mem_die("%zu tasks of attention", count);
    *n = 0;
    bool together = a->n >= 2 * threads;
    for (int i = 0, runs; i < a->n; i += runs) {
        int shared = 0;
        runs = together ? side_by_side(a, i, few, &shared) : 1;
        for (int end = a->run[i].len, start; end > 0; end = start) {
            const struct attn_run *r = &a->run[i];
            start = end - 1 - (r->position + end - 1) % STRETCH;
            start = start > 0 ? start : 0;
            if (end - start <= few && together)
                t[(*n)++] = (struct attention_task){ r, start, end, -1, runs, shared };
            else
                for (int kv = 0; kv < a->kv_heads; kv++)
                    t[(*n)++] = (struct attention_task){ r, start, end, kv, 1, 0 };
        }
    }
    return t;
}

void attention_forward_with(const struct attention_kernel *kernel, const struct attention_call *c, int threads)
{
    size_t bytes = forward_bytes(c->a);
    int n;
    struct attention_task *t = cut(c->a, &n, threads);

#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int i = 0; i < n; i++)
        kernel->forward(c, &t[i], scratch(bytes));
    free(t);
}

void attention_backward_with(const struct attention_kernel *kernel, const struct attention_call *c, int threads)
{
    const struct attention *a = c->a;
    size_t bytes = backward_bytes(a);
    int *first = mem_alloc((size_t)a->n + 1, sizeof *first), trees = 0;
    if (!first)
        mem_die("%d trees of attention", a->n);
    for (int i = 0; i < a->n; i++)
        if (i == 0 || a->run[i].tree != a->run[i - 1].tree)
            first[trees++] = i;
    first[trees] = a->n;

#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(threads)
    for (int i = 0; i < trees; i++)
        for (int kv = 0; kv < a->kv_heads; kv++)
            kernel->backward(c, first[i], first[i + 1], kv, scratch(bytes));
    free(first);
}

void cpu_attention(struct tensor *out, struct tensor *lse, const struct tensor *q, const struct tensor *k,
                   const struct tensor *v, const struct attention *a)
{
    struct attention_call c = { .out = out, .lse = lse, .q = q, .k = k, .v = v, .a = a };
    const struct attention_kernel *kernel = attention_choose(&c);
    if (kernel)
        attention_forward_with(kernel, &c, q->dev->threads);
    else
        attention_plain(out, lse, q, k, v, a);
}

void cpu_attention_backward(struct tensor *dq, struct tensor *dk, struct tensor *dv, const struct tensor *dout,
                            const struct tensor *out, const struct tensor *lse, const struct tensor *q,
                            const struct tensor *k, const struct tensor *v, const struct attention *a)
{
    // The kernels only read out and lse here; the struct serves both directions.
    struct attention_call c = { .out = (struct tensor *)out, .lse = (struct tensor *)lse, .dq = dq, .dk = dk, .dv = dv,
                                .q = q, .k = k, .v = v, .dout = dout, .a = a };
    const struct attention_kernel *kernel = attention_choose(&c);
    if (kernel)
        attention_backward_with(kernel, &c, q->dev->threads);
    else
        attention_plain_backward(dq, dk, dv, dout, out, lse, q, k, v, a);
}
