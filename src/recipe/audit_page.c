/* recipe/audit_page.c - audit.html out of the audit's figures, so that page and JSON cannot differ. */
#include <math.h>

#include "recipe/audit.h"
#include "report/report.h"

enum { MAX_RATES = 20, MAX_LABELERS = 32 };

struct column { const char *name, *help; void (*put)(struct buf *, const json_t *); };

static bool interval_of(const json_t *o, const char *key, double *lo, double *hi)
{
    char ci[96];
    snprintf(ci, sizeof ci, "%s_ci", key);
    const json_t *v = json_object_get(o, ci);
    *lo = json_number_value(json_array_get(v, 0));
    *hi = json_number_value(json_array_get(v, 1));
    return json_array_size(v) == 2;
}

static void percent(struct buf *b, const json_t *o, const char *key)
{
    double v = get_number(o, key), lo, hi;
    if (!isfinite(v))
        buf_adds(b, "-");
    else if (interval_of(o, key, &lo, &hi))
        buf_addf(b, "%.1f (%.1f to %.1f)", 100 * v, 100 * lo, 100 * hi);
    else
        buf_addf(b, "%.1f", 100 * v);
}

static void plain(struct buf *b, const json_t *o, const char *key, const char *fmt)
{
    double v = get_number(o, key);
    if (!isfinite(v))
        buf_adds(b, "-");
    else if (!strcmp(fmt, "%.0f"))
        buf_addf(b, "%.0f", v);
    else if (!strcmp(fmt, "%.3f"))
        buf_addf(b, "%.3f", v);
    else
        buf_addf(b, "%.2f", v);
}

static void put_pairs(struct buf *b, const json_t *o)
{
    buf_addf(b, "%.0f of %.0f", get_number(o, "answered"), get_number(o, "pairs"));
}
static void put_alignment(struct buf *b, const json_t *o) { percent(b, o, "alignment"); }
static void put_kappa(struct buf *b, const json_t *o) { plain(b, o, "kappa", "%.2f"); }
static void put_same(struct buf *b, const json_t *o) { percent(b, o, "same_slot"); }
static void put_slot(struct buf *b, const json_t *o) { percent(b, o, "prefers_slot_1"); }
static void put_mass(struct buf *b, const json_t *o) { plain(b, o, "label_mass", "%.2f"); }
static void put_longer(struct buf *b, const json_t *o) { percent(b, o, "prefers_longer"); }
static void put_length(struct buf *b, const json_t *o)
{
    plain(b, o, "length_correlation", "%.2f");
}
static void put_lists(struct buf *b, const json_t *o) { percent(b, o, "prefers_lists"); }
static void put_ece(struct buf *b, const json_t *o) { plain(b, o, "ece", "%.3f"); }
static void put_brier(struct buf *b, const json_t *o) { plain(b, o, "brier", "%.3f"); }
static void put_temperature(struct buf *b, const json_t *o) { plain(b, o, "temperature", "%.2f"); }
static void put_tokens(struct buf *b, const json_t *o)
{
    plain(b, o, "tokens_in_per_thousand", "%.0f");
}
static void put_seconds(struct buf *b, const json_t *o)
{
    plain(b, o, "seconds_per_thousand", "%.2f");
}
static void put_price(struct buf *b, const json_t *o) { plain(b, o, "price_per_thousand", "%.2f"); }

static const struct column columns[] = {
    { "answered", "Pairs with a usable label. The others were unparsed, refused, too long, or lost.", put_pairs },
    { "agreement, %", "Labels on the side of the gold label, an even one counting half, with a 95 % interval.", put_alignment },
    { "kappa", "Cohen's: agreement beyond what the two margins alone would give; 0 is chance.", put_kappa },
    { "same slot, %", "Both orders named the same place, whatever stood there.", put_same },
    { "first slot, %", "How often the first place was named; 50 is even-handed.", put_slot },
    { "label mass", "Mean probability on the label words; little of it means that the labeler wanted to say something else.", put_mass },
    { "longer, %", "How often the longer text was preferred.", put_longer },
    { "r length", "Correlation of the label with the difference in length.", put_length },
    { "lists, %", "How often the text with a list was preferred, where only one has one.", put_lists },
    { "Brier", "Mean squared distance of the label from the gold label.", put_brier },
    { "ECE", "Expected calibration error in ten bins.", put_ece },
    { "T", "Temperature that would make the labels mean what they say: above 1, they are too certain.", put_temperature },
    { "tokens", "Tokens read per 1,000 labels.", put_tokens },
    { "seconds", "Seconds per 1,000 labels, summed over replies.", put_seconds },
    { "dollars", "Price per 1,000 labels.", put_price },
};

struct sheet {
    struct arena arena;
    struct rate rate[MAX_LABELERS][MAX_RATES];
    struct bin bin[MAX_LABELERS][AUDIT_BINS];
    struct bar bar[MAX_LABELERS][4], probe[MAX_LABELERS][PROBE_MAX_KINDS];
    const char *cell[MAX_LABELERS][ARRAY_LEN(columns)];
    struct audit_labeler labeler[MAX_LABELERS];
    const char *p[MAX_LABELERS * MAX_LABELERS];
    int n;
};

static void add_rate(struct audit_labeler *l, const char *name, const json_t *o, const char *key)
{
    double v = get_number(o, key), lo, hi;
    if (!isfinite(v) || l->n_rates == MAX_RATES)
        return;
    bool have = interval_of(o, key, &lo, &hi);
    l->rate[l->n_rates++] = (struct rate){ name, v, have ? lo : 1, have ? hi : 0 };
}

static void fill_rates(struct audit_labeler *l, const json_t *o)
{
    const char *group;
    json_t *g;
    add_rate(l, "all", o, "alignment");
    add_rate(l, "least certain third", o, "alignment_low");
    add_rate(l, "middle third", o, "alignment_middle");
    add_rate(l, "most certain third", o, "alignment_high");
    add_rate(l, "first order alone", o, "alignment_order_a");
    add_rate(l, "second order alone", o, "alignment_order_b");
    json_object_foreach(json_object_get(o, "by"), group, g)
        add_rate(l, group, g, "alignment");
}

static void fill_bars(struct sheet *s, struct audit_labeler *l, const json_t *o)
{
    static const struct { const char *name, *key; } bars[] = {
        { "same slot in both orders", "same_slot" }, { "first slot", "prefers_slot_1" }, { "longer text", "prefers_longer" },
        { "text with a list", "prefers_lists" } };
    for (size_t k = 0; k < ARRAY_LEN(bars); k++) {
        double v = get_number(o, bars[k].key);
        char note[32];
        snprintf(note, sizeof note, "%.1f %%", 100 * v);
        if (isfinite(v))
            l->position[l->n_position++] =
                (struct bar){ bars[k].name, v, arena_strdup(&s->arena, note) };
    }
}

/* Losing candidates that carried a text of some kind: how many won then. */
static void fill_probes(struct sheet *s, struct audit_labeler *l, const json_t *o)
{
    const char *kind;
    json_t *p;
    json_object_foreach(json_object_get(o, "injection"), kind, p) {
        double asked = get_number(p, "asked"), moved = get_number(p, "moved");
        char note[64];
        if (l->n_probes == PROBE_MAX_KINDS || !(asked > 0))
            continue;
        snprintf(note, sizeof note, "%.0f of %.0f, shift %+.2f", moved, asked,
                 get_number(p, "shift"));
        l->probe[l->n_probes++] = (struct bar){ arena_strdup(&s->arena, kind), moved / asked,
                                                arena_strdup(&s->arena, note) };
    }
}

static void fill(struct sheet *s, const json_t *o)
{
    struct audit_labeler *l = &s->labeler[s->n];
    const json_t *bin;
    size_t k;
    *l = (struct audit_labeler){ .name = json_string_value(json_object_get(o, "name")),
                                 .cell = s->cell[s->n],
                                 .rate = s->rate[s->n],
                                 .bin = s->bin[s->n],
                                 .position = s->bar[s->n],
                                 .probe = s->probe[s->n],
                                 .accuracy = get_number(o, "alignment"),
                                 .price = get_number(o, "price_per_thousand"),
                                 .seconds = get_number(o, "seconds_per_thousand") };
    if (!interval_of(o, "alignment", &l->lo, &l->hi))
        l->lo = 1, l->hi = 0;
    for (size_t c = 0; c < ARRAY_LEN(columns); c++) {
        struct buf b = { 0 };
        columns[c].put(&b, o);
        s->cell[s->n][c] = b.s ? arena_strdup(&s->arena, b.s) : "";
        buf_release(&b);
    }
    fill_rates(l, o);
    json_array_foreach(json_object_get(o, "reliability"), k, bin)
        if (l->n_bins < AUDIT_BINS)
            l->bin[l->n_bins++] = (struct bin){ json_number_value(json_array_get(bin, 0)),
                                                json_number_value(json_array_get(bin, 1)),
                                                (int)json_integer_value(json_array_get(bin, 2)) };
    fill_bars(s, l, o);
    fill_probes(s, l, o);
    s->n++;
}

static int place(const struct sheet *s, const char *name)
{
    for (int i = 0; name && i < s->n; i++)
        if (!strcmp(s->labeler[i].name, name))
            return i;
    return -1;
}

static void fill_tests(struct sheet *s, const json_t *result)
{
    const json_t *t;
    size_t k;
    for (int i = 0; i < s->n * s->n; i++)
        s->p[i] = "";
    json_array_foreach(json_object_get(result, "between"), k, t) {
        int a = place(s, json_string_value(json_object_get(t, "a"))),
            b = place(s, json_string_value(json_object_get(t, "b")));
        double p = get_number(t, "mcnemar_p");
        char text[2][64];
        if (a < 0 || b < 0)
            continue;
        snprintf(text[0], sizeof text[0], "%.0f : %.0f, p %.3g", get_number(t, "only_a"),
                 get_number(t, "only_b"), p);
        snprintf(text[1], sizeof text[1], "%.0f : %.0f, p %.3g", get_number(t, "only_b"),
                 get_number(t, "only_a"), p);
        s->p[a * s->n + b] = arena_strdup(&s->arena, text[0]);
        s->p[b * s->n + a] = arena_strdup(&s->arena, text[1]);
    }
}

/* The best labeling in a sentence, or that there is nothing to go by. */
static bool lead(struct buf *b, const struct sheet *s)
{
    int best = -1;
    for (int i = 0; i < s->n; i++)
        if (isfinite(s->labeler[i].accuracy) &&
            (best < 0 || s->labeler[i].accuracy > s->labeler[best].accuracy))
            best = i;
    if (best < 0) {
        buf_adds(b, "No pair has a gold label, so nothing here says how often the labels are right.");
        return true;
    }
    const struct audit_labeler *l = &s->labeler[best];
    bool chance = l->lo <= 0.5 && l->hi >= 0.5;
    buf_addf(
        b,
        chance
            ? "%s%s agrees with the gold labels in %.1f %% of the pairs (%.1f to %.1f): no better than chance."
            : "%s%s agrees with the gold labels in %.1f %% of the pairs (95 %% interval %.1f to %.1f).",
        s->n > 1 ? "Of these labelings the best, " : "", l->name, 100 * l->accuracy, 100 * l->lo,
        100 * l->hi);
    return chance;
}

int audit_page(const json_t *result, const char *command, const char *path, struct err *err)
{
    struct sheet *s = mem_alloc(1, sizeof *s);
    struct buf b = { 0 };
    const char *name[ARRAY_LEN(columns)], *help[ARRAY_LEN(columns)];
    const json_t *o;
    size_t i;
    if (!s)
        return err_set(err, ERR_MEMORY, "writing %s", path);
    json_array_foreach(json_object_get(result, "labelings"), i, o)
        if (s->n < MAX_LABELERS)
            fill(s, o);
    fill_tests(s, result);
    bool warning = lead(&b, s);
    for (size_t c = 0; c < ARRAY_LEN(columns); c++) {
        name[c] = columns[c].name;
        help[c] = columns[c].help;
    }
    char *footer = str_printf("rlaif %s", rlaif_version());
    struct audit_page p = { .title = "How far can these labels be trusted?",
                            .lead = b.s ? b.s : "",
                            .lead_is_warning = warning,
                            .column = name,
                            .column_help = help,
                            .n_columns = ARRAY_LEN(columns),
                            .labeler = s->labeler,
                            .n = s->n,
                            .p_value = s->p,
                            .command = command,
                            .footer = footer ? footer : "" };
    int rc = report_write_audit(&p, path, err);
    free(footer);
    buf_release(&b);
    arena_release(&s->arena);
    free(s);
    return rc;
}
