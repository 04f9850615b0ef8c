/* recipe/stage_bench.c - `rlaif bench`: how fast, as shares of what this machine can do, and
 * beside others.
 *
 * The multiplication peak is measured first, the read bandwidth around each row that it bounds;
 * a figure is a share of one of them.  All rows run in turn, five rounds of it, each peer right after us, so that a slow
 * minute of the machine touches all of them; the table shows medians and the spread (half the
 * distance between the slowest and the fastest).  One more round before them is for caches and
 * generated code. */
#include <fcntl.h>
#include <math.h>
#include <unistd.h>

#include "recipe/bench/bench.h"
#include "recipe/labeling.h"
#include "recipe/recipe.h"

static const struct option options[] = {
    { "model_name_or_path", OPT_MODEL, NULL, "measure this model (default: random weights of three shapes)", NULL, false },
    { "only", OPT_STRING, NULL, "only rows whose name contains this", NULL, false },
    { "rounds", OPT_INT, "5", "rounds; medians are shown", NULL, false },
    { "peers", OPT_LIST, NULL, "other programs for the same rows: NAME=COMMAND ... (tools/peers)", NULL, false },
    { "csv", OPT_OUTPUT, NULL, "the figures of the table for machines", NULL, false },
    { "work_dir", OPT_STRING, NULL, "where random models are kept between runs (default: a temporary folder)", NULL, false },
};

static const struct bench_row rows[] = {
    { "training step 4 x 512", BENCH_TRAIN, SHAPE_135M, NULL, 4, 512, 0, 0, "70 % of peak" },
    { "prompts 4 x 700", BENCH_SCORE, SHAPE_135M, NULL, 4, 700, 0, 0, "80 % of peak" },
    { "prompts 4 x 700 on Q8_0", BENCH_SCORE, SHAPE_135M, "Q8_0", 4, 700, 0, 0, "as bf16" },
    { "prompts 4 x 700 on Q4_0", BENCH_SCORE, SHAPE_135M, "Q4_0", 4, 700, 0, 0, "as bf16" },
    { "prompts 16 x 700, 500 shared", BENCH_SCORE, SHAPE_135M, NULL, 16, 700, 500, 0, "75 % of peak" },
    { "label 8 pairs of 300, 1000 shared", BENCH_LABEL, SHAPE_135M, NULL, 8, 300, 1000, 0, "6 x transformers, 3 x llama.cpp" },
    { "label 8 pairs of 300 on Q8_0", BENCH_LABEL, SHAPE_135M, "Q8_0", 8, 300, 1000, 0, "3 x llama.cpp" },
    { "rollouts 8 x 128", BENCH_ROLLOUT, SHAPE_135M, NULL, 8, 64, 0, 128, NULL },
    { "rollouts 32 x 128", BENCH_ROLLOUT, SHAPE_135M, NULL, 32, 64, 0, 128, "6 x transformers, 3 x llama.cpp" },
    { "rollouts 32 x 128 on Q8_0", BENCH_ROLLOUT, SHAPE_135M, "Q8_0", 32, 64, 0, 128, "3 x llama.cpp" },
    { "rollouts 64 x 128", BENCH_ROLLOUT, SHAPE_135M, NULL, 64, 64, 0, 128, "1.3 x those of 8" },
    { "one sequence", BENCH_ROLLOUT, SHAPE_135M, NULL, 1, 4, 0, 128, "90 % of bandwidth" },
    { "one sequence on Q8_0", BENCH_ROLLOUT, SHAPE_135M, "Q8_0", 1, 4, 0, 128, "85 % of bandwidth" },
    { "one sequence on Q4_0", BENCH_ROLLOUT, SHAPE_135M, "Q4_0", 1, 4, 0, 128, "70 % of bandwidth" },
    { "one sequence on Q4_1", BENCH_ROLLOUT, SHAPE_135M, "Q4_1", 1, 4, 0, 128, "70 % of bandwidth" },
    { "wide: one sequence on Q4_K_M", BENCH_ROLLOUT, SHAPE_WIDE, "Q4_K_M", 1, 4, 0, 64, "70 % of bandwidth" },
    { "lab: training step 64 x 128", BENCH_TRAIN, SHAPE_LAB, NULL, 64, 128, 0, 0, "35 % of peak" },
    { "lab: rollouts 64 x 32", BENCH_ROLLOUT, SHAPE_LAB, NULL, 64, 100, 0, 32, NULL },
    { "start to first token", BENCH_START, SHAPE_135M, NULL, 1, 0, 0, 1, NULL },
    { "wide: start, 128k tokens, Q4_K_M", BENCH_START, SHAPE_WIDE, "Q4_K_M", 1, 0, 0, 1, "0.3 s" },
};

enum { ROWS = ARRAY_LEN(rows), MOST_ROUNDS = 25, MOST_PEERS = 4 };

enum { SMALL_PAGES, LARGE_PAGES, PAGES };
struct series { double value[MOST_ROUNDS]; int n; };

struct bench {
    int rounds, threads, n_peers;
    const char *only;
    bool own;                           // the user's model
    char program[4096];
    double peak, peak_f32;
    double bandwidth[PAGES];            // means of those measured
    int bandwidths;
    struct bench_models models;
    struct bench_peer *peer[MOST_PEERS];
    struct {
        struct bench_work work;
        struct series seconds, peer[MOST_PEERS];
        struct series share[PAGES];     // of the bandwidth measured just before and after
        char skip[256], peer_skip[MOST_PEERS][128];
    } row[ROWS];
};

/* ---- figures ----------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(struct series *s)
{
    if (!s->n)
        return NAN;
    qsort(s->value, (size_t)s->n, sizeof *s->value, by_value);
    return s->n % 2 ? s->value[s->n / 2] : (s->value[s->n / 2 - 1] + s->value[s->n / 2]) / 2;
}

/* Of a series that median has sorted. */
static double spread(const struct series *s, double middle)
{
    return s->n ? (s->value[s->n - 1] - s->value[0]) / middle / 2 : NAN;
}

/* The limit is reading memory as malloc gives it, as for other programs; beside it stands the
 * rate from large pages, where our weights lie (docs/speed.md). */
static void bandwidth_now(struct bench *b, double now[PAGES])
{
    b->bandwidths++;
    for (int pages = 0; pages < PAGES; pages++) {
        now[pages] = device_bandwidth(b->models.dev, pages == LARGE_PAGES);
        b->bandwidth[pages] += (now[pages] - b->bandwidth[pages]) / b->bandwidths;
    }
}

static int add_row(json_t *result, struct bench *b, int i)
{
    struct bench_work *w = &b->row[i].work;
    json_t *o = json_object(), *peers = json_object(), *list = json_object_get(result, "rows");
    double seconds = median(&b->row[i].seconds);
    int bad = json_object_set_new(o, "work", json_string(rows[i].name)) |
              json_object_set_new(o, "peers", peers);
    if (b->row[i].skip[0]) {
        bad |= json_object_set_new(o, "skip", json_string(b->row[i].skip));
    } else {
        bad |= json_object_set_new(o, "unit", json_string(w->unit));
        set_number(o, "seconds", seconds);
        set_number(o, "spread", spread(&b->row[i].seconds, seconds));
        set_number(o, "rate", w->units / seconds);
        bad |= json_object_set_new(o, "limit", w->share == SHARE_NONE ? json_null() : json_string(w->share == SHARE_PEAK ? "peak" : "bandwidth"));
        set_number(o, "share", w->share == SHARE_PEAK ? w->operations / seconds / b->peak : median(&b->row[i].share[SMALL_PAGES]));
        if (w->share == SHARE_BANDWIDTH)
            set_number(o, "share_large_pages", median(&b->row[i].share[LARGE_PAGES]));
    }
    for (int k = 0; k < b->n_peers; k++) {
        double rate = median(&b->row[i].peer[k]);
        json_t *p = json_object();
        set_number(p, "rate", rate);
        set_number(p, "times", w->units / seconds / rate);
        if (b->row[i].peer_skip[k][0])
            bad |= json_object_set_new(p, "skip", json_string(b->row[i].peer_skip[k]));
        bad |= json_object_set_new(peers, bench_peer_name(b->peer[k]), p);
    }
    if (rows[i].target && !b->own)
        bad |= json_object_set_new(o, "target", json_string(rows[i].target));
    return json_array_append_new(list, o) | bad;
}

static int figures(json_t *result, struct bench *b, struct err *err)
{
    int bad = json_object_set_new(result, "rows", json_array());
    json_object_set_new(result, "machine", json_string(device_describe(b->models.dev)));
    bad |= json_object_set_new(
        result, "weights",
        json_string(
            b->own ? b->models.weights.own
                   : "bf16, for peers too; "
                     "where a row says \"on TYPE\", that GGUF file, for peers the very same one"));
    set_number(result, "peak", b->peak);
    set_number(result, "peak_float32", b->peak_f32);
    set_number(result, "bandwidth", b->bandwidth[SMALL_PAGES]);
    set_number(result, "bandwidth_large_pages", b->bandwidth[LARGE_PAGES]);
    set_number(result, "rounds", b->rounds);
    for (int i = 0; i < ROWS; i++)
        if (b->row[i].seconds.n || b->row[i].skip[0])
            bad |= add_row(result, b, i);
    return bad ? err_set(err, ERR_MEMORY, "the bench's figures") : 0;
}

/* ---- the table --------------------------------------------------------------------------- */

static void print_rate(FILE *to, double rate, const char *unit)
{
    fprintf(to, rate < 100 ? "%9.2f %-9s" : "%9.0f %-9s", rate, unit);
}

static void print_row(const json_t *r, FILE *to)
{
    const char *name = json_string_value(json_object_get(r, "work")),
               *unit = json_string_value(json_object_get(r, "unit"));
    const char *limit = json_string_value(json_object_get(r, "limit")),
               *target = json_string_value(json_object_get(r, "target"));
    const char *skip = json_string_value(json_object_get(r, "skip")), *peer;
    json_t *p;
    char per[32], share[64] = "";
    if (skip) {
        fprintf(to, "%-34s skipped: %s\n", name, skip);
        return;
    }
    snprintf(per, sizeof per, "%s/s", unit);
    if (!strcmp(unit, "starts"))
        fprintf(to, "%-34s %9.3f %-9s +-%4.1f %%", name, get_number(r, "seconds"), "s",
                100 * get_number(r, "spread"));
    else {
        fprintf(to, "%-34s ", name);
        print_rate(to, get_number(r, "rate"), per);
        fprintf(to, " +-%4.1f %%", 100 * get_number(r, "spread"));
    }
    json_object_foreach(json_object_get(r, "peers"), peer, p)
        if (isfinite(get_number(p, "rate")))
            fprintf(to, get_number(p, "rate") < 100 ? " %9.2f (%4.1f x)" : " %9.0f (%4.1f x)",
                    get_number(p, "rate"), get_number(p, "times"));
        else
            fprintf(to, " %18s", "-");
    if (limit)
        snprintf(share, sizeof share, "%.1f %% of %s", 100 * get_number(r, "share"), limit);
    if (isfinite(get_number(r, "share_large_pages")))
        snprintf(share + strlen(share), sizeof share - strlen(share), " (%.1f)",
                 100 * get_number(r, "share_large_pages"));
    fprintf(to, "  %-32s %s\n", share, target ? target : "");
}

static void print_bench(const json_t *result, FILE *to)
{
    const json_t *list = json_object_get(result, "rows"), *r;
    const char *peer;
    json_t *p;
    size_t i;
    fprintf(to,
            "%s\npeak %.0f GFLOP/s bf16, %.0f fp32; reads %.1f GB/s, in large pages %.1f; "
            "median of %.0f rounds\n\n%-34s %26s",
            json_string_value(json_object_get(result, "machine")), get_number(result, "peak") / 1e9,
            get_number(result, "peak_float32") / 1e9, get_number(result, "bandwidth") / 1e9,
            get_number(result, "bandwidth_large_pages") / 1e9, get_number(result, "rounds"),
            "work", "rlaif");
    json_object_foreach(json_object_get(json_array_get(list, 0), "peers"), peer, p)
        fprintf(to, " %18s", peer);
    fprintf(to, "  %-32s %s\n", "share of the limit (large pages')",
            json_object_get(json_array_get(list, 0), "target") ? "target" : "");
    json_array_foreach(list, i, r)
        print_row(r, to);
    fprintf(to, "\nweights: %s\n", json_string_value(json_object_get(result, "weights")));
}

static void csv_row(FILE *f, const json_t *r)
{
    const char *peer, *words[] = { "work", "unit", "limit", "skip" };
    const char *numbers[] = { "seconds", "spread", "rate", "share" };
    json_t *p;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        const char *s = json_string_value(json_object_get(r, words[i]));
        fprintf(f, "\"%s\",", s ? s : "");
    }
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        isfinite(get_number(r, numbers[i]))
            ? fprintf(f, "%.6g%s", get_number(r, numbers[i]), i < 3 ? "," : "")
            : fputs(i < 3 ? "," : "", f);
    json_object_foreach(json_object_get(r, "peers"), peer, p)
        isfinite(get_number(p, "rate"))
            ? fprintf(f, ",%.6g,%.4g", get_number(p, "rate"), get_number(p, "times"))
            : fputs(",,", f);
    fputs("\n", f);
}

static int write_csv(const char *path, const struct bench *b, const json_t *result, struct err *err)
{
    const json_t *r;
    size_t i;
    struct file_out out = { 0 };
    int rc = file_out_open(&out, path, err);
    if (rc)
        return rc;
    fputs("work,unit,limit,skip,seconds,spread,rate,share", out.f);
    for (int k = 0; k < b->n_peers; k++)
        fprintf(out.f, ",%s,times_%s", bench_peer_name(b->peer[k]), bench_peer_name(b->peer[k]));
    fprintf(out.f, "\n\"peak bf16\",operations,,,,,%.6g,1\n\"peak float32\",operations,,,,,%.6g,1\n\"read bandwidth\",bytes,,,,,%.6g,1\n"
            "\"read bandwidth in large pages\",bytes,,,,,%.6g,\n", b->peak,
            b->peak_f32, get_number(result, "bandwidth"), get_number(result, "bandwidth_large_pages"));
    json_array_foreach(json_object_get(result, "rows"), i, r)
        csv_row(out.f, r);
    return file_out_commit(&out, err);
}

/* ---- measuring --------------------------------------------------------------------------- */

/* Of the user's own model one line per kind of work; weights are what they are in its file. */
static bool wanted(const struct bench *b, const struct bench_row *r)
{
    bool own = r->shape == SHAPE_135M && !r->gguf;
    return (!b->own || own) && (!b->only || strstr(r->name, b->only));
}

static void skip_row(struct bench *b, int i, const struct err *why)
{
    snprintf(b->row[i].skip, sizeof b->row[i].skip, "%.255s", why->msg);
    b->row[i].work.run = NULL;
}

static int prepare(struct bench *b, struct err *err)
{
    bool any = false;
    for (int i = 0; i < ROWS; i++) {
        struct err why = { 0 };
        int rc = wanted(b, &rows[i])
                     ? bench_prepare(&b->row[i].work, &b->models, &rows[i], b->program, &why)
                     : 0;
        if (rc && rc != ERR_UNSUPPORTED && rc != ERR_VALUE && rc != ERR_MEMORY)
            return err_set(err, rc, "%s: %s", rows[i].name, why.msg);
        if (rc)
            skip_row(b, i, &why);
        any |= wanted(b, &rows[i]);
    }
    return any ? 0 : err_set(err, ERR_USAGE, "--only: no row's name contains '%s'", b->only);
}

static int ask_peer(struct bench *b, int i, int k, bool counts, struct err *err)
{
    static const char *const kind[] = { "train", "score", "label", "rollout", "start" };
    const struct bench_row *r = &rows[i];
    char *folder = NULL, *gguf = NULL;
    double rate;
    const char *why;
    if (b->row[i].peer_skip[k][0])
        return 0;
    int rc = bench_weights_path(&folder, &b->models.weights, r->shape, NULL, err);
    if (rc == 0)
        rc = bench_weights_path(&gguf, &b->models.weights, r->shape, r->gguf ? r->gguf : "BF16",
                                err);
    json_t *q = rc ? NULL
                   : json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:b, s:s, s:s}", "work",
                               r->name, "kind", kind[r->kind], "n", r->n, "length", r->length,
                               "shared", r->shared, "add", r->add, "threads", b->threads,
                               "quantised", r->gguf != NULL, "folder", folder, "gguf", gguf);
    if (rc == 0)
        rc = q ? bench_peer_run(&rate, &why, b->peer[k], q, err)
               : err_set(err, ERR_MEMORY, "asking a peer");
    if (rc == 0 && why)
        snprintf(b->row[i].peer_skip[k], sizeof b->row[i].peer_skip[k], "%s", why);
    else if (rc == 0 && counts)
        b->row[i].peer[k].value[b->row[i].peer[k].n++] = rate;
    json_decref(q);
    free(folder);
    free(gguf);
    return rc;
}

static int run_row(struct bench *b, int i, bool counts, struct err *err)
{
    struct bench_work *w = &b->row[i].work;
    if (!w->run)
        return 0;
    bool bounded = counts && w->share == SHARE_BANDWIDTH;
    double before[PAGES], after[PAGES];
    if (bounded)        // others' work changes it within seconds
        bandwidth_now(b, before);
    double start = time_now();
    int rc = w->run(w, err);
    double seconds = time_now() - start;
    if (rc == ERR_UNSUPPORTED) {
        skip_row(b, i, err);
        return 0;
    }
    if (rc == 0 && counts)
        b->row[i].seconds.value[b->row[i].seconds.n++] = seconds;
    if (rc == 0 && bounded) {
        bandwidth_now(b, after);
        for (int pages = 0; pages < PAGES; pages++) {
            struct series *s = &b->row[i].share[pages];
            s->value[s->n++] = w->bytes / seconds / ((before[pages] + after[pages]) / 2);
        }
    }
    for (int k = 0; rc == 0 && k < b->n_peers; k++)
        rc = ask_peer(b, i, k, counts, err);
    return rc ? err_prefix(err, "%s", rows[i].name), rc : 0;
}

static int measure(struct bench *b, struct err *err)
{
    int rc = 0;
    struct progress bar;
    progress_begin(&bar, "measuring", "rounds", b->rounds + 1);
    for (int round = 0; rc == 0 && round <= b->rounds; round++) {
        for (int i = 0; rc == 0 && i < ROWS; i++) {
            rc = run_row(b, i, round > 0, err);
            if (rc == 0 && interrupted())
                rc = err_set(err, ERR_INTERRUPTED, "interrupted in round %d", round);
        }
        progress_add(&bar, 1, NULL);
    }
    progress_end(&bar);
    return rc;
}

/* ---- the command ------------------------------------------------------------------------- */

static int start_peers(struct bench *b, const json_t *opt, struct err *err)
{
    const json_t *list = opt_list(opt, "peers");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i)), *eq = strchr(text, '=');
        if (!eq || eq == text || i == MOST_PEERS)
            return err_set(err, ERR_USAGE,
                           "--peers: '%s'; expected NAME=COMMAND, at most %d of them", text,
                           MOST_PEERS);
        char *name = str_printf("%.*s", (int)(eq - text), text);
        int rc = name ? bench_peer_start(&b->peer[b->n_peers], name, eq + 1, err)
                      : err_set(err, ERR_MEMORY, "%s", text);
        free(name);
        if (rc)
            return rc;
        b->n_peers++;
    }
    return 0;
}

static void release(struct bench *b)
{
    for (int i = 0; i < ROWS; i++)
        if (b->row[i].work.close)
            b->row[i].work.close(&b->row[i].work);
    for (int k = 0; k < b->n_peers; k++)
        bench_peer_stop(b->peer[k]);
    bench_models_release(&b->models);
}

static int bench_in(const char *dir, struct run *run, const json_t *opt, json_t *result,
                    struct err *err)
{
    struct bench *b = mem_alloc(1, sizeof *b);
    if (!b)
        return err_set(err, ERR_MEMORY, "the bench");
    ssize_t len = readlink("/proc/self/exe", b->program, sizeof b->program - 1);
    b->program[len > 0 ? len : 0] = 0;
    b->rounds = (int)opt_int(opt, "rounds");
    b->threads = run->threads ? run->threads : threads_default();
    b->only = opt_str(opt, "only");
    b->models.weights = (struct bench_weights){ dir, opt_str(opt, "model_name_or_path") };
    b->own = b->models.weights.own;
    int rc = run_device(run, &b->models.dev, err);
    if (rc == 0) {
        b->peak = device_peak(b->models.dev, DTYPE_BF16);
        b->peak_f32 = device_peak(b->models.dev, DTYPE_F32);
        bandwidth_now(b, (double[PAGES]){ 0 });
        rc = prepare(b, err);
    }
    if (rc == 0)
        rc = start_peers(b, opt, err);
    if (rc == 0)
        rc = measure(b, err);
    if (rc == 0)
        rc = figures(result, b, err);
    if (rc == 0 && opt_str(opt, "csv"))
        rc = write_csv(opt_str(opt, "csv"), b, result, err);
    release(b);
    free(b);
    return rc;
}

static int run_bench(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    const char *kept = opt_str(opt, "work_dir"), *tmp = getenv("TMPDIR");
    char temporary[4096];
    struct err ignored;
    if (opt_int(opt, "rounds") < 1 || opt_int(opt, "rounds") > MOST_ROUNDS)
        return err_set(err, ERR_USAGE, "--rounds is %lld, expected 1 to %d",
                       (long long)opt_int(opt, "rounds"), MOST_ROUNDS);
    snprintf(temporary, sizeof temporary, "%s/rlaif-bench-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!kept && !mkdtemp(temporary))
        return err_set(err, ERR_IO, "%s: %m", temporary);
    int rc = kept ? dir_make(kept, err) : 0;
    if (rc == 0)
        rc = bench_in(kept ? kept : temporary, run, opt, result, err);
    if (!kept && dir_remove(temporary, &ignored))
        log_warn("%s", ignored.msg);
    return rc;
}

const struct stage stage_bench = {
    .name = "bench",
    .summary = "how fast this machine trains, scores, labels and writes, as shares of its limits",
    .example = "rlaif bench -m models/s --rounds 1",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_bench,
    .print = print_bench,
};
