/* compute/cpu/cpu.c - opening the CPU device: which loops suit this processor, what rates it reaches. */
#include <omp.h>
#include <sys/mman.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/quant.h"

/* ---- choosing ------------------------------------------------------------------------- */

enum isa { ISA_PLAIN, ISA_AVX2, ISA_AVX512, ISA_AVX512BF16 };

/* RLAIF_ISA (plain, avx2, avx512, avx512bf16) caps what is used: for tests and for comparing. */
static enum isa isa_best(void)
{
    static const char *const names[] = { "plain", "avx2", "avx512", "avx512bf16" };
    enum isa best = ISA_PLAIN;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        best = ISA_AVX2;
    if (best == ISA_AVX2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        best = ISA_AVX512;
    if (best == ISA_AVX512 && __builtin_cpu_supports("avx512bf16"))
        best = ISA_AVX512BF16;
    const char *cap = getenv("RLAIF_ISA");
    for (int i = 0; cap && i < (int)best; i++)
        if (!strcmp(cap, names[i]))
            best = (enum isa)i;
    return best;
}

const struct kernels *kernels_best(void)
{
    switch (isa_best()) {
    case ISA_PLAIN: return &kernels_plain;
    case ISA_AVX2: return &kernels_avx2;
    default: return &kernels_avx512;
    }
}

const struct quant_kernels *quant_best(void)
{
    enum isa isa = isa_best();
    if (isa >= ISA_AVX512 && __builtin_cpu_supports("avx512vnni"))
        return &quant_avx512vnni;
    return isa >= ISA_AVX2 ? &quant_avx2 : &quant_plain;
}

int cpu_threads(const struct device *dev, size_t work)
{
    enum { WORTH_WAKING = 1 << 14 };        // about five microseconds of vector work
    return work < WORTH_WAKING ? 1 : dev->threads;
}

enum { LARGE = 4 << 20 };

/* Large pieces ask for large pages: weights are read from end to end for every token, and a fault for each 4 kB of
 * them is most of a model's loading time. */
void *large_alloc(size_t bytes)
{
    enum { PAGE = 4096 };
    char *p = mem_aligned(bytes);
#ifdef MADV_HUGEPAGE
    if (p && bytes >= LARGE) {
        char *from = p + (PAGE - (uintptr_t)p % PAGE) % PAGE;
        (void)!madvise(from, (bytes - (size_t)(from - p)) / PAGE * PAGE, MADV_HUGEPAGE);
    }
#endif
    return p;
}

int cpu_stretches(int pieces, int threads)
{
    enum { SHORT = 4 };         // for each thread
    int rest = pieces - pieces * 3 / 4 / threads * threads;
    return threads == 1 ? 1 : threads + (rest < SHORT * threads ? rest : SHORT * threads);
}

int cpu_stretch_start(int pieces, int threads, int i, int n)
{
    int longer = pieces * 3 / 4 / threads, first = longer * threads;
    return n == 1 ? i * pieces : i <= threads ? i * longer : first + (int)((int64_t)(pieces - first) * (i - threads) / (n - threads));
}

void *scratch_get(struct scratch *s, size_t bytes)
{
    if (bytes > s->bytes) {
        free(s->p);
        s->bytes = bytes < LARGE ? bytes + bytes / 4 : bytes;   // much is asked for in few sizes
        s->p = large_alloc(s->bytes);
        if (!s->p)
            mem_die("%.1f MB of scratch", (double)bytes / 1e6);
    }
    return s->p;
}

/* ---- measuring ------------------------------------------------------------------------------ */

/* NUMERICS: the best of oneDNN's own products at 2048 x 576 x 1536. */
static double measure_peak(struct device *dev, enum dtype dtype)
{
    enum { M = 2048, N = 1536, K = 576 };
    enum dtype stored = dtype == DTYPE_BF16 && dev->fast_bf16 ? DTYPE_BF16 : DTYPE_F32;
    double seconds = onednn_time_whole(cpu_of(dev)->onednn, M, N, K, stored, dev->threads, 0.25);
    return 2.0 * M * N * K / seconds;
}

/* The best of several passes over 256 MB, which no cache holds. */
static double measure_bandwidth(struct device *dev, bool large_pages)
{
    enum { BLOCKS = 1024, WORDS = 1 << 16 };
    size_t bytes = (size_t)BLOCKS * WORDS * sizeof(float);
    float *p = large_pages ? large_alloc(bytes) : mem_aligned(bytes);
    if (!p)
        return 0;
    const struct kernels *k = cpu_of(dev)->k;
#pragma omp parallel for schedule(static) num_threads(dev->threads)
    for (int i = 0; i < BLOCKS; i++)
        memset(p + (size_t)i * WORDS, 0, WORDS * sizeof *p);
    double best = 1e9, start = time_now(), sum = 0;
    do {
        double t = time_now();
#pragma omp parallel for schedule(static) num_threads(dev->threads) reduction(+ : sum)
        for (int i = 0; i < BLOCKS; i++)
            sum += k->dot(p + (size_t)i * WORDS, DTYPE_F32, p + (size_t)i * WORDS, WORDS);
        t = time_now() - t;
        best = t < best ? t : best;
    } while (time_now() - start < 0.1);
    free(p);
    return sum == 0 ? (double)bytes / best : 0;
}

/* ---- opening ------------------------------------------------------------------------------------ */

static void *cpu_alloc(struct device *dev, size_t bytes)
{
    void *p = piece_new(cpu_of(dev), bytes);
    if (p)
        memset(p, 0, bytes);
    return p;
}

static void cpu_release(struct device *dev, void *p)
{
    piece_free(p);
}

static void cpu_write(struct tensor *t, int row, int n, const void *src, enum dtype from)
{
    struct tensor s = { .dev = t->dev, .dtype = from, .rows = n, .cols = t->cols, .stride = (size_t)t->cols,
                        .data = (void *)src };
    struct tensor d = tensor_rows(t, row, n);
    cpu_copy(&d, &s);
}

static void cpu_read(void *dst, enum dtype to, const struct tensor *t, int row, int n)
{
    struct tensor d = { .dev = t->dev, .dtype = to, .rows = n, .cols = t->cols, .stride = (size_t)t->cols, .data = dst };
    struct tensor s = tensor_rows(t, row, n);
    cpu_copy(&d, &s);
}

static void cpu_each(struct device *dev, int n, size_t steps, void (*work)(void *arg, int i), void *arg)
{
    int threads = cpu_threads(dev, (size_t)n * steps / 8);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int i = 0; i < n; i++)
        work(arg, i);
}

static void cpu_close(struct device *dev)
{
    struct cpu *cpu = dev->own;
    if (cpu) {
        for (int t = 0; cpu->thread && t < dev->threads; t++)
            free(cpu->thread[t].p);
        for (size_t i = 0; i < ARRAY_LEN(cpu->shared); i++)
            free(cpu->shared[i].p);
        onednn_close(cpu->onednn);
        regions_close(cpu);
        free(cpu->thread);
        for (size_t i = 0; i < ARRAY_LEN(cpu->rope); i++) {
            free(cpu->rope[i].inv_freq);
            free(cpu->rope[i].cosine);
            free(cpu->rope[i].sine);
        }
        free(cpu);
    }
    free(dev);
}

static const struct device table = {
    .close = cpu_close, .measure_peak = measure_peak, .measure_bandwidth = measure_bandwidth,
    .alloc = cpu_alloc, .release = cpu_release, .write = cpu_write, .read = cpu_read,
    .zero = cpu_zero, .copy = cpu_copy, .add = cpu_add, .scale = cpu_scale, .axpy = cpu_axpy,
    .gather_rows = cpu_gather_rows, .each = cpu_each,
    .scatter_rows = cpu_scatter_rows, .finite = cpu_finite,
    .weight_new = cpu_weight_new, .weight_free = cpu_weight_free, .weight_load = cpu_weight_load,
    .weight_new_quantised = cpu_weight_new_quantised, .weight_is_quantised = cpu_weight_is_quantised,
    .weight_size = cpu_weight_size, .weight_row = cpu_weight_row,
    .weight_plan = cpu_weight_plan, .weight_prepare = cpu_weight_prepare, .quantised_plan = quantised_plan, .head_plan = cpu_head_plan,
    .head_slab = cpu_head_slab,
    .linear = cpu_linear, .linear_backward_x = cpu_linear_backward_x, .linear_backward_w = cpu_linear_backward_w,
    .embed = cpu_embed, .embed_weight = cpu_embed_weight, .embed_backward = cpu_embed_backward,
    .rmsnorm = cpu_rmsnorm, .rmsnorm_backward = cpu_rmsnorm_backward, .rope = cpu_rope,
    .attention = cpu_attention, .attention_backward = cpu_attention_backward,
    .rmsnorm_heads = cpu_rmsnorm_heads, .rmsnorm_heads_backward = cpu_rmsnorm_heads_backward,
    .layernorm = cpu_layernorm, .layernorm_backward = cpu_layernorm_backward,
    .bias = cpu_bias, .bias_backward = cpu_bias_backward,
    .gated = cpu_gated, .gated_backward = cpu_gated_backward,
    .activate = cpu_activate, .activate_backward = cpu_activate_backward,
    .combine = cpu_combine, .combine_backward = cpu_combine_backward,
    // A few numbers per row beside two matrices per expert: the definitions will do.
    .route = define_route, .route_backward = define_route_backward, .column_sums = define_column_sums,
    .head_logp = cpu_head_logp, .head_learn = cpu_head_learn, .head_logits = cpu_head_logits,
    .logits_logp = cpu_logits_logp, .scalar_head = cpu_scalar_head, .scalar_head_backward = cpu_scalar_head_backward,
    .sumsq = cpu_sumsq, .adamw = cpu_adamw, .adamw8 = cpu_adamw8,
};

int cpu_device_open(struct device **out, int threads, struct err *err)
{
    char version[48];
    struct device *dev = mem_alloc(1, sizeof *dev);
    struct cpu *cpu = mem_alloc(1, sizeof *cpu);
    if (dev && cpu) {
        *dev = table;
        dev->own = cpu;
        dev->threads = threads;
        dev->fast_bf16 = isa_best() == ISA_AVX512BF16;
        cpu->k = kernels_best();
        cpu->quant = quant_best();
        cpu->thread = mem_alloc((size_t)threads, sizeof *cpu->thread);
        cpu->onednn = onednn_open(threads);
    }
    if (!dev || !cpu || !cpu->thread || !cpu->onednn) {
        if (dev && dev->own)
            cpu_close(dev);
        else {
            free(dev);
            free(cpu);
        }
        return err_set(err, ERR_MEMORY, "opening the CPU device with %d threads: no memory, or oneDNN does not start", threads);
    }
    onednn_version(version, sizeof version);
    snprintf(dev->describe, sizeof dev->describe, "%d thread%s, %s%s, %s", threads, threads == 1 ? "" : "s", cpu->k->name,
             dev->fast_bf16 ? " BF16" : "", version);
    *out = dev;
    return 0;
}
