/* model/generate/sampling.c - choosing a token: temperature, top-k, top-p.
 *
 * The whole vocabulary is passed over a few times in loops the compiler vectorises; nothing is sorted but the
 * handful of tokens around a threshold.  The token is found by walking the cumulated probabilities, in the order
 * of ids, to a uniform number.  Where vocabularies are large this runs for every token generated, so there is
 * an exponential of our own: relative error 2e-7, the same bits everywhere for the same instruction set. */
#include <float.h>
#include <math.h>

#include "model/generate/generate.h"

enum { BLOCK = 512, LANES = 16 };

#ifdef __SANITIZE_THREAD__      // what chooses a clone would run before the sanitizer is ready
#define VECTOR_LOOPS __attribute__((optimize("O3")))
#else
#define VECTOR_LOOPS __attribute__((optimize("O3"), target_clones("avx512f", "avx2", "default")))
#endif

/* e^x for x <= 0: 2^n times a polynomial on [-ln2/2, ln2/2]; 0 below -87. */
static inline float exp_below(float x)
{
    float clamped = x < -87.0f ? -87.0f : x;
    float n = clamped * 1.44269504f + 12582912.0f;      // 1.5 * 2^23: rounds to the nearest integer
    int32_t bits;
    memcpy(&bits, &n, sizeof bits);
    n -= 12582912.0f;
    float r = clamped - n * 0.693359375f + n * 2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    int32_t power = (int32_t)((uint32_t)bits << 23);    // the integer sits in the low bits of n
    int32_t out;
    memcpy(&out, &y, sizeof out);
    out += power;
    memcpy(&y, &out, sizeof y);
    return x < -87.0f ? 0.0f : y;
}

VECTOR_LOOPS static float largest(const float *x, int n)
{
    float lane[LANES];
    int i = 0;
    for (int j = 0; j < LANES; j++)
        lane[j] = -FLT_MAX;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (; i < n; i++)
        lane[0] = x[i] > lane[0] ? x[i] : lane[0];
    for (int j = 1; j < LANES; j++)
        lane[0] = lane[j] > lane[0] ? lane[j] : lane[0];
    return lane[0];
}

VECTOR_LOOPS static void exponentials(float *p, const float *x, int n, float max, float inv_temperature)
{
    for (int i = 0; i < n; i++)
        p[i] = exp_below((x[i] - max) * inv_temperature);
}

VECTOR_LOOPS static double sum_of(const float *p, int n)
{
    float lane[LANES] = {0};
    double sum = 0;
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lane[j] += p[i + j];
    for (; i < n; i++)
        sum += p[i];
    for (int j = 0; j < LANES; j++)
        sum += lane[j];
    return sum;
}

VECTOR_LOOPS static void drop_below(float *p, int n, float least)
{
    for (int i = 0; i < n; i++)
        p[i] = p[i] < least ? 0.0f : p[i];
}

static int first_largest(const float *x, int n)
{
    float max = largest(x, n);
    for (int i = 0; i < n; i++)
        if (x[i] >= max)
            return i;
    return 0;       // only NaNs
}

/* The k-th largest of x (Hoare's selection); x is reordered. */
static float kth_largest(float *x, int n, int k)
{
    int lo = 0, hi = n - 1, want = k - 1;
    while (lo < hi) {
        float pivot = x[lo + (hi - lo) / 2];
        int i = lo, j = hi;
        while (i <= j) {
            while (x[i] > pivot)
                i++;
            while (x[j] < pivot)
                j--;
            if (i <= j) {
                float t = x[i];
                x[i++] = x[j];
                x[j--] = t;
            }
        }
        if (want <= j)
            hi = j;
        else if (want >= i)
            lo = i;
        else
            break;
    }
    return x[want];
}

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x > y ? -1 : x < y;
}

/* The probability of the last token of the smallest set, largest first, whose sum reaches `mass`.  Positive floats
 * order as their bits do: the upper bits make buckets, and only the bucket where the sum crosses is sorted. */
static float mass_threshold(const float *p, int n, double mass, float *work)
{
    enum { SHIFT = 20, BUCKETS = 1 << 11 };
    double bucket[BUCKETS] = {0}, above = 0;
    uint32_t bits;
    for (int i = 0; i < n; i++) {
        memcpy(&bits, &p[i], sizeof bits);
        bucket[bits >> SHIFT] += p[i];
    }
    int b = BUCKETS - 1, found = 0;
    while (b > 0 && above + bucket[b] < mass)
        above += bucket[b--];
    for (int i = 0; i < n; i++) {
        memcpy(&bits, &p[i], sizeof bits);
        if ((int)(bits >> SHIFT) == b)
            work[found++] = p[i];
    }
    qsort(work, (size_t)found, sizeof *work, descending);
    for (int i = 0; i < found; i++) {
        above += work[i];
        if (above >= mass)
            return work[i];
    }
    return found ? work[found - 1] : 0;
}

/* Sums of blocks into sum[], and of all. */
static double block_sums(float *sum, const float *p, int n)
{
    double total = 0;
    for (int i = 0; i < n; i += BLOCK)
        total += sum[i / BLOCK] = (float)sum_of(p + i, n - i < BLOCK ? n - i : BLOCK);
    return total;
}

/* The token at which the cumulated p reaches `left`; sum[] leads to its block. */
static int walk(const float *p, const float *sum, int n, double left)
{
    int i = 0, last = 0;
    for (; i + BLOCK < n && left >= sum[i / BLOCK]; i += BLOCK)
        left -= sum[i / BLOCK];
    for (; i < n; i++) {
        if (p[i] > 0)
            last = i;
        if (left < p[i])
            return i;
        left -= p[i];
    }
    // rounding ate the last crumb: the last token that is possible at all
    for (i = last ? last : n - 1; i > 0 && p[i] <= 0; i--)
        ;
    return i;
}

int sample_token(const float *logits, int V, const struct sampling *s, double u, float *p, float *work)
{
    if (s->temperature == 0)
        return first_largest(logits, V);
    exponentials(p, logits, V, largest(logits, V), 1 / s->temperature);
    if (s->top_k > 0 && s->top_k < V) {
        memcpy(work, p, (size_t)V * sizeof *work);
        drop_below(p, V, kth_largest(work, V, s->top_k));
    }
    double total = block_sums(work, p, V);
    if (s->top_p < 1) {
        drop_below(p, V, mass_threshold(p, V, s->top_p * total, work));
        total = block_sums(work, p, V);
    }
    return walk(p, work, V, u * total);
}

/* ---- many at a time ----------------------------------------------------------------------- */

int sampler_init(struct sampler *a, const struct model *m, int size, struct err *err)
{
    size_t V = (size_t)m->config.vocab, n = (size_t)size, all, each;
    int workers = device_workers(m->dev) < SAMPLER_WORKERS ? device_workers(m->dev) : SAMPLER_WORKERS;
    *a = (struct sampler){.m = m, .workers = workers < size ? workers : size};
    if (size_mul(&all, n, V))
        a->logits = mem_alloc(all, sizeof *a->logits);
    if (size_mul(&each, (size_t)a->workers, V)) {
        a->p = mem_alloc(each, sizeof *a->p);
        a->work = mem_alloc(each, sizeof *a->work);
    }
    a->row = mem_alloc(n, sizeof *a->row);
    a->token = mem_alloc(n, sizeof *a->token);
    a->logp = mem_alloc(n, sizeof *a->logp);
    int rc = head_width(m) > m->config.width ? tensor_new(&a->input, m->dev, m->dtype, size, head_width(m), err) : 0;
    if (rc == 0 && a->logits && a->p && a->work && a->row && a->token && a->logp)
        return 0;
    sampler_release(a);
    return err_set(err, ERR_MEMORY, "sampling from %d distributions over %zu tokens", size, V);
}

void sampler_release(struct sampler *a)
{
    void *all[] = {a->logits, a->p, a->work, a->row, a->token, a->logp};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(all[i]);
    tensor_release(&a->input);
    *a = (struct sampler){0};
}

static float inverse_temperature(const struct sampling *s)
{
    return s->temperature > 0 ? 1 / s->temperature : 1;
}

/* Every workers-th row from `worker` on. */
static void draw_rows(void *arg, int worker)
{
    struct sampler *a = arg;
    size_t V = (size_t)a->m->config.vocab;
    for (int i = worker; i < a->n; i += a->workers) {
        const struct draw *d = &a->draw[i];
        struct rng r;
        rng_init(&r, d->s->seed + 0x9E3779B97F4A7C15u * (uint64_t)d->sample, RNG_SAMPLE, d->item, d->position);
        a->token[i] = sample_token(a->logits + (size_t)i * V, (int)V, d->s, rng_uniform(&r), a->p + (size_t)worker * V,
                                   a->work + (size_t)worker * V);
    }
}

void sampler_draw(struct sampler *a, const struct tensor *hidden, const struct draw *draw, int n)
{
    PROFILE("sample");
    int V = a->m->config.vocab;
    const struct weight *head = model_head(a->m);
    struct tensor in = *hidden;
    for (int i = 0; i < n; i++)
        a->row[i] = i;
    if (a->input.data) {
        in = tensor_rows(&a->input, 0, hidden->rows);
        head_extend(a->m, &in, hidden);
    }
    op_head_logits(a->logits, &in, head, a->row, n);
    a->draw = draw;
    a->n = n;
    device_each(a->m->dev, a->workers, (size_t)V * (size_t)((n + a->workers - 1) / a->workers), draw_rows, a);
    // the heads' own arithmetic on the same logits, so that these are the bits training will see
    for (int from = 0, to; from < n; from = to) {
        float by = inverse_temperature(draw[from].s);
        for (to = from + 1; to < n && inverse_temperature(draw[to].s) == by; to++)
            ;
        op_logits_logp(a->logp + from, NULL, a->logits + (size_t)from * (size_t)V, head, a->token + from, to - from, by);
    }
}

void sampling_defaults(struct sampling *s)
{
    *s = (struct sampling){.temperature = 1, .top_p = 1, .max_new_tokens = 128};
}

/* ---- stop strings ----------------------------------------------------------------------- */

size_t stop_longest(const struct sampling *s)
{
    size_t longest = 0;
    for (int i = 0; i < s->n_stop; i++)
        if (strlen(s->stop[i]) > longest)
            longest = strlen(s->stop[i]);
    return longest;
}

long stop_find(const char *text, size_t n, size_t from, const struct sampling *s)
{
    long best = -1;
    for (int i = 0; i < s->n_stop && from < n; i++) {
        size_t len = strlen(s->stop[i]);
        const char *at = len ? memmem(text + from, n - from, s->stop[i], len) : NULL;
        if (at && (best < 0 || at - text < best))
            best = at - text;
    }
    return best;
}
