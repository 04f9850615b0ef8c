/* bench/bench.c - measures the machine, then the workloads, and prints a table and a CSV.
 *
 *     bench [--quick] [--csv FILE] [--model GGUF] [--only TEXT] [--threads N]
 *
 * The multiplication peak and the read bandwidth are measured first; every figure is a share of one of them.  All
 * workloads run in turn, five rounds of it, so that a slow minute of the machine touches all of them; the table
 * shows medians, and the spread (highest less lowest, of the median).  --quick: one round. */
#include <unistd.h>

#include "bench.h"

/* As in src/cli/main.c, which says why: threads that wait spin for 50 microseconds before they sleep. */
static void wait_briefly(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY") || setenv("GOMP_SPINCOUNT", "1000", 0))
        return;
    execv("/proc/self/exe", argv);
}

enum { MOST_ROUNDS = 5, MOST_WORKS = 12 };

struct result { double seconds[MOST_ROUNDS]; int n; };
struct machine { double peak, peak_f32, bandwidth; };

struct options { int rounds, threads; const char *csv, *model, *only; };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(struct result *r)
{
    qsort(r->seconds, (size_t)r->n, sizeof *r->seconds, by_value);
    return r->n % 2 ? r->seconds[r->n / 2] : (r->seconds[r->n / 2 - 1] + r->seconds[r->n / 2]) / 2;
}

static double share_of(const struct work *w, const struct machine *m, double seconds)
{
    if (w->share == SHARE_PEAK)
        return w->operations / seconds / m->peak;
    if (w->share == SHARE_BANDWIDTH)
        return w->bytes / seconds / m->bandwidth;
    return 0;
}

/* What is measured, and what others reached on a machine of 450 GFLOP/s bf16 that reads 30 GB/s (2 cores):
 * transformers 5.23 with torch 2.15, llama.cpp in bf16, tokens per second.  NULL: not measured. */
static const struct plan { const char *name, *transformers, *llama_cpp, *target; } plans[] = {
    { "135M: training step 4 x 512", "174", NULL, "65 % of peak" },
    { "135M: 4 prompts of 700", "1034", "804", "75 % of peak" },
    { "135M: 16 prompts of 700 first 500 shared", NULL, NULL, "75 % of peak" },
    { "135M: rollouts 32 x 128 prompts of 64", "164", "334", "2 x llama.cpp" },
    { "135M: one sequence 128 tokens", "30", "106", NULL },
    { "lab: training step 64 x 128", NULL, NULL, "35 % of peak" },
    { "lab: rollouts 64 x 32 prompts of 100", NULL, NULL, NULL },
    { "start to first token", NULL, NULL, "0.5 s" },
};

static const char *or_dash(const char *s)
{
    return s ? s : "-";
}

static void print_row(FILE *csv, const struct work *w, const struct plan *p, struct result *r, const struct machine *m)
{
    static const char *const of[] = { "", "peak", "bandwidth" };
    char share[32] = "", rate[32] = "";
    double seconds = median(r), spread = (r->seconds[r->n - 1] - r->seconds[0]) / seconds;
    if (w->share)
        snprintf(share, sizeof share, "%.1f %% %s", 100 * share_of(w, m, seconds), of[w->share]);
    if (w->units > 1)
        snprintf(rate, sizeof rate, "%.0f %s/s", w->units / seconds, w->unit);
    printf("%-41s %8.3f s +-%4.1f %% %15s  %-18s %12s %9s  %s\n", w->name, seconds, 50 * spread, rate, share,
           or_dash(p->transformers), or_dash(p->llama_cpp), or_dash(p->target));
    if (csv)
        fprintf(csv, "%s,%.6f,%.4f,%.3f,%s,%.4g,%.4g,%s,%.4f,%s,%s\n", w->name, seconds, spread, w->units / seconds, w->unit,
                w->operations, w->bytes, of[w->share], share_of(w, m, seconds), p->transformers ? p->transformers : "",
                p->llama_cpp ? p->llama_cpp : "");
}

static int prepare_one(struct work *w, int i, struct device *dev, const char *program, const struct options *opt, struct err *err)
{
    struct model_config real = shape_135m(), lab = shape_lab();
    switch (i) {
    case 0: return work_train(w, dev, plans[i].name, &real, 4, 512, err);
    case 1: return work_score(w, dev, plans[i].name, &real, 4, 700, 0, err);
    case 2: return work_score(w, dev, plans[i].name, &real, 16, 700, 500, err);
    case 3: return work_rollout(w, dev, plans[i].name, &real, 32, 64, 128, err);
    case 4: return work_rollout(w, dev, plans[i].name, &real, 1, 4, 128, err);
    case 5: return work_train(w, dev, plans[i].name, &lab, 64, 128, err);
    case 6: return work_rollout(w, dev, plans[i].name, &lab, 64, 100, 32, err);
    default: return work_first_token(w, plans[i].name, program, opt->model, err);
    }
}

static bool wanted(int i, const struct options *opt)
{
    return !opt->only || strstr(plans[i].name, opt->only);
}

static int prepare(struct work *w, struct device *dev, const char *program, const struct options *opt, struct err *err)
{
    int rc = 0, n = (int)ARRAY_LEN(plans);
    for (int i = 0; rc == 0 && i < n; i++)
        if (wanted(i, opt))
            rc = prepare_one(&w[i], i, dev, program, opt, err);
    return rc ? rc : n;
}

static int measure(struct work *w, int n, struct result *r, const struct options *opt, struct err *err)
{
    for (int round = -1; round < opt->rounds; round++)      // the first is for code and caches
        for (int i = 0; i < n; i++) {
            if (!w[i].run)
                continue;
            double start = time_now();
            int rc = w[i].run(&w[i], err);
            if (rc)
                return rc;
            if (round >= 0)
                r[i].seconds[r[i].n++] = time_now() - start;
        }
    return 0;
}

static int bench(const char *program, const struct options *opt, struct err *err)
{
    struct device *dev = NULL;
    struct work w[MOST_WORKS] = { 0 };
    struct result r[MOST_WORKS] = { 0 };
    struct machine m = { 0 };
    FILE *csv = NULL;
    int n = 0, rc = device_open(&dev, NULL, opt->threads, err);
    if (rc == 0) {
        m = (struct machine){ device_peak(dev, DTYPE_BF16), device_peak(dev, DTYPE_F32), device_bandwidth(dev) };
        printf("%s\npeak %.0f GFLOP/s bf16, %.0f fp32; reads %.1f GB/s\n\n", device_describe(dev), m.peak / 1e9, m.peak_f32 / 1e9,
               m.bandwidth / 1e9);
        n = prepare(w, dev, program, opt, err);
        rc = n < 0 ? n : measure(w, n, r, opt, err);
    }
    if (rc == 0 && opt->csv && !(csv = fopen(opt->csv, "w")))
        rc = err_set(err, ERR_IO, "cannot write %s", opt->csv);
    if (csv)
        fprintf(csv, "work,seconds,spread,rate,unit,operations,bytes,share_of,share,transformers,llama_cpp\npeak bf16,,,%.4g,operations,,,,1,,\n"
                     "bandwidth,,,%.4g,bytes,,,,1,,\n", m.peak, m.bandwidth);
    if (rc == 0)
        printf("%-41s %20s %15s  %-18s %12s %9s  %s\n", "", "median, spread", "rate", "share of", "transformers", "llama.cpp", "target");
    for (int i = 0; rc == 0 && i < n; i++)
        if (r[i].n)
            print_row(csv, &w[i], &plans[i], &r[i], &m);
        else if (wanted(i, opt))
            printf("%-38s skipped: no %s (make smollm2)\n", plans[i].name, opt->model);
    for (int i = 0; i < MOST_WORKS; i++)
        if (w[i].close)
            w[i].close(&w[i]);
    if (csv)
        fclose(csv);
    device_close(dev);
    return rc;
}

int main(int argc, char **argv)
{
    struct options opt = { .rounds = MOST_ROUNDS, .model = "models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" };
    struct err err = { 0 };
    char self[4096];
    wait_briefly(argv);
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(a, "--quick"))
            opt.rounds = 1;
        else if (value && !strcmp(a, "--first-token"))
            return first_token(value);
        else if (value && !strcmp(a, "--csv"))
            opt.csv = argv[++i];
        else if (value && !strcmp(a, "--model"))
            opt.model = argv[++i];
        else if (value && !strcmp(a, "--only"))
            opt.only = argv[++i];
        else if (value && !strcmp(a, "--threads"))
            opt.threads = atoi(argv[++i]);
        else {
            fprintf(stderr, "usage: bench [--quick] [--csv FILE] [--model GGUF] [--only TEXT] [--threads N]\n");
            return 2;
        }
    }
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    self[len > 0 ? len : 0] = 0;
    if (bench(self, &opt, &err)) {
        fprintf(stderr, "bench: %s\n", err.msg);
        return 1;
    }
    return 0;
}
