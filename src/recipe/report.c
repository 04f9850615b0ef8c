/* recipe/report.c - gathers what a run left in its folder and hands it to the report room.
 *
 * Only files are read, so a report can be made again later, or on another machine.  What a run
 * did not make (no curves, no samples) is left out of the page. */
#include "data/data.h"
#include "recipe/internal.h"
#include "report/report.h"

#include <math.h>

enum { MAX_SAMPLES = 6, MAX_RATES = 10, MAX_CHARTS = 12, MAX_BINS = 40 };

struct gather {
    const char *out;
    struct arena arena;
    json_t *summary, *manifest;
    json_t *records;            // stage name -> record
    json_t *owned;              // array of everything else that was read
    struct report page;
};

static const char *text(struct gather *g, const char *fmt, ...) PRINTF_LIKE(2, 3);
static const char *text(struct gather *g, const char *fmt, ...)
{
    char s[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(s, sizeof s, fmt, ap);
    va_end(ap);
    const char *kept = arena_strdup(&g->arena, s);
    return kept ? kept : "";
}

static json_t *load(struct gather *g, const char *path)
{
    struct err ignored;
    json_t *j = path && file_exists(path) ? json_read_file(path, &ignored) : NULL;
    if (j)
        json_array_append_new(g->owned, j);
    return j;
}

/* "labeler.alignment" in the summary; NULL where it is null. */
static const json_t *key(const struct gather *g, const char *name)
{
    const char *dot = strchr(name, '.');
    char head[64];
    snprintf(head, sizeof head, "%.*s", dot ? (int)(dot - name) : 0, name);
    const json_t *v = dot ? json_object_get(json_object_get(g->summary, head), dot + 1) :
        json_object_get(g->summary, name);
    return json_is_null(v) ? NULL : v;
}

static double num(const json_t *v)
{
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static bool interval(const struct gather *g, const char *name, double *lo, double *hi)
{
    char ci[96];
    snprintf(ci, sizeof ci, "%s_ci", name);
    if (!strcmp(name, "policy.win_rate_vs_sft"))
        snprintf(ci, sizeof ci, "policy.win_rate_ci");
    const json_t *v = key(g, ci);
    *lo = num(json_array_get(v, 0));
    *hi = num(json_array_get(v, 1));
    return isfinite(*lo) && isfinite(*hi);
}

/* ---- result in one sentence ------------------------------------------------------------- */

static void lead(struct gather *g)
{
    double a = num(key(g, "labeler.alignment")), w = num(key(g, "policy.win_rate_vs_sft")), lo, hi;
    const char *judges =
        isfinite(num(key(g, "annotators.agreement"))) ? "simulated annotators" : "people";
    struct buf b = { 0 };
    if (isfinite(a) && interval(g, "labeler.alignment", &lo, &hi) && lo <= 0.5 && hi >= 0.5) {
        buf_addf(&b, "The labels carry no usable signal: the labeler agrees with %s in %.1f %% of the pairs, and the "
                 "interval (%.1f to %.1f %%) contains one half. ", judges, a * 100, lo * 100, hi * 100);
        g->page.lead_is_warning = true;
    } else if (isfinite(a)) {
        buf_addf(&b, "The labeler agrees with %s in %.1f %% of the pairs. ", judges, a * 100);
    }
    if (isfinite(w) && interval(g, "policy.win_rate_vs_sft", &lo, &hi))
        buf_addf(&b, "After reinforcement learning the policy beats its SFT start in %.1f %% of %.0f held-out prompts "
                 "(95 %% interval %.1f to %.1f %%). ", w * 100, num(key(g, "policy.prompts")), lo * 100, hi * 100);
    double r = num(key(g, "policy.reward_gain"));
    if (!isfinite(w) && isfinite(r))
        buf_addf(&b, "Reinforcement learning moved the reward model's mean score by %+.2f. ", r);
    g->page.lead = text(g, "%s", b.s ? b.s : "");
    buf_release(&b);
}

/* ---- pipeline and costs ------------------------------------------------------------------- */

static const char *count_of(struct gather *g, const json_t *result)
{
    static const struct { const char *key, *unit; } known[] = {
        { "prompts", "prompts" }, { "completions", "completions" }, { "pairs", "pairs" }, { "episodes", "episodes" },
        { "items", "rows" }, { "rows", "rows" }, { "policy_prompts", "held-out prompts" }, { "steps", "steps" },
    };
    struct buf b = { 0 };
    int shown = 0;
    for (size_t i = 0; i < ARRAY_LEN(known) && shown < 2; i++) {
        double v = num(json_object_get(result, known[i].key));
        if (isfinite(v))
            buf_addf(&b, "%s%.0f %s", shown++ ? ", " : "", v, known[i].unit);
    }
    const char *s = text(g, "%s", b.s ? b.s : "");
    buf_release(&b);
    return s;
}

static void boxes(struct gather *g)
{
    json_t *stages = json_object_get(g->manifest, "stages"), *s;
    size_t i;
    g->page.box = arena_alloc(&g->arena, (json_array_size(stages) + 1) * sizeof *g->page.box);
    g->page.cost = arena_alloc(&g->arena, (json_array_size(stages) + 1) * sizeof *g->page.cost);
    double total = num(json_object_get(json_object_get(g->summary, "seconds"), "total"));
    json_array_foreach(stages, i, s) {
        const char *name = json_string_value(json_object_get(s, "name"));
        const char *stage = json_string_value(json_object_get(s, "stage"));
        const json_t *rec = name ? json_object_get(g->records, name) : NULL;
        if (!rec || !stage || !g->page.box || !g->page.cost)
            continue;
        double sec = num(json_object_get(rec, "seconds")),
               mb = num(json_object_get(rec, "peak_mb"));
        g->page.box[g->page.n_boxes++] =
            (struct box){ name, strcmp(name, stage) ? text(g, "rlaif %s", stage) : "",
                          count_of(g, json_object_get(rec, "result")) };
        g->page.cost[g->page.n_costs++] = (struct bar){
            name, total > 0 ? sec / total : 0, text(g, "%.1f s, peak %.0f MB", sec, mb) };
    }
}

/* ---- shares -------------------------------------------------------------------------------- */

static void rates(struct gather *g)
{
    static const struct { const char *key, *name; } known[] = {
        { "annotators.agreement", "two people agree" },
        { "labeler.alignment", "labeler, all pairs" },
        { "labeler.alignment_confident", "labeler, clear pairs" },
        { "labeler.shorter_agreement", "\"shorter is better\"" },
        { "reward.accuracy", "reward model" },
        { "reward_human.accuracy", "reward model, people" },
        { "policy.win_rate_vs_sft", "policy over SFT" },
        { "policy.win_rate_lc", "same, equal lengths" },
    };
    g->page.rate = arena_alloc(&g->arena, MAX_RATES * sizeof *g->page.rate);
    for (size_t i = 0; g->page.rate && i < ARRAY_LEN(known); i++) {
        struct rate r = { known[i].name, num(key(g, known[i].key)), 1, 0 };
        if (!isfinite(r.value))
            continue;
        if (!interval(g, known[i].key, &r.lo, &r.hi))
            r.lo = 1, r.hi = 0;
        g->page.rate[g->page.n_rates++] = r;
    }
}

static void position(struct gather *g)
{
    double same = num(key(g, "labeler.same_slot")), first = num(key(g, "labeler.same_slot_first"));
    if (!isfinite(same))
        return;
    bool split = isfinite(first) || same == 0;
    first = isfinite(first) ? first : 0;
    g->page.position = arena_alloc(&g->arena, 3 * sizeof *g->page.position);
    if (!g->page.position)
        return;
    double share[3] = { 1 - same, same * first, same * (1 - first) };
    const char *name[3] = { "same text, both orders", "always the first slot",
                            "always the second slot" };
    if (!split)
        share[1] = same, name[1] = "same slot, both orders";
    for (int i = 0; i < (split ? 3 : 2); i++)
        g->page.position[i] = (struct bar){ name[i], share[i], text(g, "%.1f %%", share[i] * 100) };
    g->page.n_position = split ? 3 : 2;
}

/* Bins of the reliability diagram: the first stage that gives `reliability`, rows [label,
 * observed, n]. */
static void reliability(struct gather *g)
{
    const char *name;
    json_t *rec, *bin;
    size_t i;
    json_object_foreach(g->records, name, rec) {
        const json_t *list = json_object_get(json_object_get(rec, "result"), "reliability");
        if (!json_is_array(list) || g->page.n_bins)
            continue;
        g->page.bin = arena_alloc(&g->arena, MAX_BINS * sizeof *g->page.bin);
        json_array_foreach((json_t *)list, i, bin)
            if (g->page.bin && g->page.n_bins < MAX_BINS)
                g->page.bin[g->page.n_bins++] = (struct bin){ num(json_array_get(bin, 0)),
                    num(json_array_get(bin, 1)), (int)json_integer_value(json_array_get(bin, 2)) };
    }
}

/* ---- curves ---------------------------------------------------------------------------------- */

static void add_chart(struct gather *g, const json_t *log, const char *title, const char *metric,
                      const char *floor, const char *caption)
{
    size_t n = json_array_size(log), i;
    json_t *row;
    double *x = arena_alloc(&g->arena, (n + 1) * sizeof *x),
           *y = arena_alloc(&g->arena, (n + 1) * sizeof *y);
    int k = 0;
    double floor_sum = 0;
    int floors = 0;
    json_array_foreach((json_t *)log, i, row) {
        double v = num(json_object_get(row, metric)), s = num(json_object_get(row, "step"));
        double f = floor ? num(json_object_get(row, floor)) : NAN;
        if (isfinite(f))
            floor_sum += f, floors++;
        if (x && y && isfinite(v) && isfinite(s))
            x[k] = s, y[k++] = v;
    }
    if (k < 2 || g->page.n_charts == MAX_CHARTS)
        return;
    struct chart *c = &g->page.chart[g->page.n_charts++];
    *c = (struct chart){
        .title = title, .x_label = "step", .caption = caption, .n = 1, .has_floor = floors > 0
    };
    c->floor = floors ? floor_sum / floors : 0;
    c->s[0] = (struct series){ metric, x, y, k };
}

static void charts_of(struct gather *g, const char *name, const char *stage, const json_t *log)
{
    if (!strcmp(stage, "rl")) {
        add_chart(g, log, text(g, "%s: score of the reward model", name), "objective/scores", NULL,
                  "Mean over the episodes of a step, normalised on SFT samples.");
        add_chart(g, log, text(g, "%s: distance from SFT", name), "objective/kl", NULL,
                  "KL in nats per sequence.");
        add_chart(g, log, text(g, "%s: length", name), "completions/mean_length", NULL,
                  "Tokens per completion.");
    } else if (!strcmp(stage, "reward")) {
        add_chart(g, log, text(g, "%s: loss", name), "loss", "label_entropy",
                  "The dashed line is the entropy of the soft labels, the least the loss can be.");
    } else if (!strcmp(stage, "sft")) {
        add_chart(g, log, text(g, "%s: loss", name), "loss", NULL, "Nats per token.");
    } else if (!strcmp(stage, "dpo")) {
        add_chart(g, log, text(g, "%s: loss", name), "loss", NULL, "It starts at ln 2.");
        add_chart(g, log, text(g, "%s: margin", name), "rewards/margins", NULL,
                  "Chosen less rejected.");
    }
}

static void charts(struct gather *g)
{
    static const char *const order[] = { "rl", "dpo", "reward", "sft" };
    g->page.chart = arena_alloc(&g->arena, MAX_CHARTS * sizeof *g->page.chart);
    for (size_t k = 0; g->page.chart && k < ARRAY_LEN(order); k++) {
        const char *name;
        json_t *rec;
        json_object_foreach(g->records, name, rec) {
            const char *stage = json_string_value(json_object_get(rec, "stage"));
            const char *dir =
                json_string_value(json_object_get(json_object_get(rec, "options"), "output_dir"));
            if (!stage || !dir || strcmp(stage, order[k]))
                continue;
            json_t *state = load(g, text(g, "%s/trainer_state.json", dir));
            charts_of(g, name, stage, json_object_get(state, "log_history"));
        }
    }
}

/* ---- samples ----------------------------------------------------------------------------- */

static const char *member(struct gather *g, const json_t *row, const char *name)
{
    const char *s = json_string_value(json_object_get(row, name));
    return s ? arena_strdup(&g->arena, s) : NULL;
}

static void samples(struct gather *g)
{
    const char *name;
    json_t *rec;
    g->page.sample = arena_alloc(&g->arena, MAX_SAMPLES * sizeof *g->page.sample);
    json_object_foreach(g->records, name, rec) {
        const char *dir =
            json_string_value(json_object_get(json_object_get(rec, "options"), "output_dir"));
        const char *path = dir ? text(g, "%s/samples.jsonl", dir) : NULL;
        struct rows rows;
        struct err ignored;
        if (!g->page.sample || !path || g->page.n_samples || !file_exists(path) ||
            rows_read(&rows, path, MAX_SAMPLES, &ignored))
            continue;
        for (int i = 0; i < rows.n && i < MAX_SAMPLES; i++) {
            struct sample s = { member(g, rows.row[i], "prompt"), member(g, rows.row[i], "before"),
                                member(g, rows.row[i], "after"),
                                member(g, rows.row[i], "verdict") };
            if (s.prompt && s.before && s.after)
                g->page.sample[g->page.n_samples++] = s;
        }
        rows_release(&rows);
    }
}

/* ---- who beats whom ---------------------------------------------------------------------- */

static void fill_matrix(struct gather *g, const json_t *names, const json_t *result)
{
    int n = (int)json_array_size(names);
    const char **name = arena_alloc(&g->arena, (size_t)n * sizeof *name);
    struct rate *cell = arena_alloc(&g->arena, (size_t)n * (size_t)n * sizeof *cell);
    double *kl = arena_alloc(&g->arena, (size_t)n * sizeof *kl),
           *oracle = arena_alloc(&g->arena, (size_t)n * sizeof *oracle);
    if (!name || !cell || !kl || !oracle)
        return;
    for (int i = 0; i < n; i++) {
        const json_t *row = json_array_get(json_object_get(result, "win_matrix"), (size_t)i);
        name[i] = arena_strdup(&g->arena, json_string_value(json_array_get(names, (size_t)i)));
        kl[i] = num(json_array_get(json_array_get(json_object_get(result, "kl"), (size_t)i), 0));
        oracle[i] =
            num(json_array_get(json_array_get(json_object_get(result, "oracle"), (size_t)i), 0));
        for (int k = 0; k < n; k++) {
            const json_t *c = json_array_get(row, (size_t)k);
            cell[i * n + k] = (struct rate){ "", num(json_array_get(c, 0)),
                                             num(json_array_get(c, 1)), num(json_array_get(c, 2)) };
        }
    }
    g->page.matrix = (struct matrix){ name, cell, kl, oracle, n };
}

/* The first stage that compared several policies. */
static void matrix(struct gather *g)
{
    const char *stage;
    json_t *rec;
    json_object_foreach(g->records, stage, rec) {
        const json_t *result = json_object_get(rec, "result"),
                     *names = json_object_get(result, "names");
        if (!g->page.matrix.n && json_array_size(names) && json_object_get(result, "win_matrix"))
            fill_matrix(g, names, result);
    }
}

/* ---- table ------------------------------------------------------------------------------- */

/* "rlaif eval --..." of the stage that a summary key comes from, with the options the recipe gives. */
static const char *command_of(struct gather *g, const char *name)
{
    const json_t *recipe = json_object_get(g->manifest, "text");
    const char *from = json_string_value(json_object_get(json_object_get(recipe, "summary"), name));
    const char *dot = from ? strchr(from, '.') : NULL,
               *stage = dot ? text(g, "%.*s", (int)(dot - from), from) : "";
    const json_t *given = json_object_get(json_object_get(recipe, "stages"), stage);
    const json_t *options = json_object_get(json_object_get(g->records, stage), "options");
    const char *kind = json_string_value(json_object_get(given, "stage")), *option;
    if (!kind)
        return "";
    struct buf b = { 0 };
    json_t *v;
    buf_addf(&b, "rlaif %s", kind);
    json_object_foreach((json_t *)given, option, v) {
        const json_t *value = json_object_get(options, option);
        char *shown =
            value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6))
                  : NULL;
        if (json_is_string(value))
            buf_addf(&b, " --%s %s", option, json_string_value(value));
        else if (shown && !json_is_array(value))
            buf_addf(&b, " --%s %s", option, shown);
        size_t i;
        json_t *e;
        if (json_array_size(value))
            buf_addf(&b, " --%s", option);
        json_array_foreach((json_t *)value, i, e)
            buf_addf(&b, " %s", json_string_value(e));
        free(shown);
    }
    const char *out = text(g, "%s", b.s ? b.s : "");
    buf_release(&b);
    return out;
}

static void add_figure(struct gather *g, const char *name)
{
    const json_t *v = key(g, name);
    double lo, hi;
    if (!json_is_number(v) || str_starts(name, "machine."))
        return;
    const char *value = json_is_integer(v) ? text(g, "%lld", (long long)json_integer_value(v)) :
        text(g, "%.4g", json_number_value(v));
    const char *ci = interval(g, name, &lo, &hi) ? text(g, "%.4g to %.4g", lo, hi) : "";
    g->page.figure[g->page.n_figures++] = (struct figure){ name, value, ci, command_of(g, name) };
}

static void figures(struct gather *g)
{
    int n;
    const char *const *keys = summary_keys(&n);
    g->page.figure = arena_alloc(&g->arena, (size_t)n * sizeof *g->page.figure);
    for (int i = 0; g->page.figure && i < n; i++)
        if (!str_ends(keys[i], "_ci"))
            add_figure(g, keys[i]);
}

static const char *word(const struct gather *g, const char *name)
{
    return json_string_value(json_object_get(json_object_get(g->manifest, "text"), name));
}

static int gather_all(struct gather *g, struct err *err)
{
    char *path = str_printf("%s/summary.json", g->out),
         *manifest = str_printf("%s/manifest.json", g->out);
    g->owned = json_array();
    g->records = json_object();
    g->summary = path ? json_read_file(path, err) : NULL;
    g->manifest = manifest && g->summary ? json_read_file(manifest, err) : NULL;
    free(path);
    free(manifest);
    if (!g->manifest)
        return err_prefix(err, "making the report");
    json_t *stages = json_object_get(g->manifest, "stages"), *s;
    size_t i;
    json_array_foreach(stages, i, s) {
        const char *name = json_string_value(json_object_get(s, "name"));
        json_t *rec = name ? load(g, text(g, "%s/stages/%s.json", g->out, name)) : NULL;
        if (rec)
            json_object_set(g->records, name, rec);
    }
    return 0;
}

int recipe_report(const char *out_dir, struct err *err)
{
    struct gather g = { .out = out_dir };
    int rc = gather_all(&g, err);
    if (rc == 0) {
        const char *title = word(&g, "title"),
                   *recipe = json_string_value(json_object_get(g.manifest, "recipe"));
        char *now = time_iso();
        g.page.title = title ? title : recipe;
        g.page.note = word(&g, "note");
        g.page.fold =
            json_is_true(json_object_get(json_object_get(g.manifest, "text"), "offensive"));
        g.page.command = text(&g, "rlaif run %s --output_dir %s", recipe, out_dir);
        g.page.footer = text(&g, "rlaif %s on %s; multiplication peak %.0f GFLOP/s in this run; %.0f s and %.0f MB in all; "
                             "%s", rlaif_version(), json_string_value(key(&g, "machine.device")),
                             num(key(&g, "machine.peak_gflops")), num(key(&g, "seconds.total")),
                             num(key(&g, "memory.peak_mb")), now ? now : "");
        free(now);
        lead(&g);
        boxes(&g);
        rates(&g);
        position(&g);
        reliability(&g);
        matrix(&g);
        charts(&g);
        samples(&g);
        figures(&g);
        rc = report_write(&g.page, text(&g, "%s/report.html", out_dir), err);
    }
    json_decref(g.summary);
    json_decref(g.manifest);
    json_decref(g.records);
    json_decref(g.owned);
    arena_release(&g.arena);
    return rc;
}
