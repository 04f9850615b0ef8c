/* recipe/stage_label.c - `rlaif label`: a labeler's preferences between two texts, both orders,
 * into rows.
 *
 * In the lab, people can be hired instead of a model: `--truth` without `--labeler` asks the
 * simulated annotators. */
#include "eval/eval.h"
#include "lab/lab.h"
#include "recipe/inference.h"
#include "recipe/labeling.h"
#include "recipe/training.h"

#include <math.h>

static const struct option options[] = {
    { "labeler", OPT_MODEL, NULL, "who labels: a model (folder, GGUF file, ORG/NAME on the Hub) or https://HOST/v1#MODEL", NULL, false },
    ADAPTER_OPTION,
    { "truth", OPT_INPUT, NULL, "the lab's truth.jsonl: simulated annotators label (when there is no labeler)", NULL, false },
    COMPUTE_OPTIONS,
    { "input", OPT_DATA, NULL, "rows {prompt, completions} or {prompt, chosen, rejected} (Parquet, JSON, CSV)", NULL, true },
    { "output_dir", OPT_OUTPUT_DIR, NULL, "folder for pairs.jsonl and labels.jsonl", NULL, false },
    { "store", OPT_STRING, NULL, "label store (default: labels.db in the run's folder); can be shared between runs", NULL, false },
    LABELING_OPTIONS,
    { "cache_tokens", OPT_INT, "0", "of a model here: tokens whose keys and values are in memory at most; 0: as many as serve well", NULL, false },
    INFERENCE_MEMORY_OPTION("batch_tokens and cache_tokens"),
    { "pairs_of", OPT_CHOICE, "disjoint", "which pairs of K completions: (0,1), (2,3), ... or all of them", "disjoint|all", false },
    { "max_pairs", OPT_INT, "0", "label the first so many; 0: all", NULL, false },
    { "probes", OPT_INPUT, NULL, "rows {id, kind, text} that candidates could carry to move a labeler (recipes/probes/injection.jsonl): how often do they?", NULL, false },
    { "probe_pairs", OPT_INT, "10", "pairs that are probed", NULL, false },
    { "dry_run", OPT_BOOL, "false", "show the exact questions of the first rows, ask nothing", NULL, false },
    { "seed", OPT_INT, "1", "of the annotators and of the intervals, of drawn orders and principles, of rationales", NULL, false },
};

struct labelling {
    struct rows rows;
    struct candidate_list list;
    struct label *label;        // (n)
    int n;
    struct label_counts counts;
    struct labeler by;
    double seconds;
    int64_t tokens_asked, tokens_computed;
};

/* ---- who labels ------------------------------------------------------------------------- */

static struct label_item *items_of(const struct labelling *l, int n)
{
    struct label_item *item = mem_alloc((size_t)n, sizeof *item);
    for (int i = 0; item && i < n; i++)
        item[i] = (struct label_item){ l->list.item[i].prompt, l->list.item[i].first,
                                       l->list.item[i].second, l->list.item[i].reference };
    return item;
}

/* Nothing is asked, opened or written. */
enum { DRY_ROWS = 2 };
static int rehearse(struct labelling *l, struct run *run, const json_t *opt, json_t *result,
                    struct err *err)
{
    struct labeling by;
    int n = l->n < DRY_ROWS ? l->n : DRY_ROWS;
    int rc = labeling_rehearse(&by, run, opt, opt_str(opt, "labeler"), err);
    if (rc)
        return rc;
    struct label_item *item = items_of(l, n);
    rc = item ? labeling_show(result, run, &by, item, n, err)
              : err_set(err, ERR_MEMORY, "no memory to show questions");
    free(item);
    labeling_close(&by);
    return rc;
}

/* ---- what memory it will take -------------------------------------------------------------- */

/* The items whose texts are longest, of which a unit is labelled on a device that only counts. */
struct sample {
    struct labeling by;
    const char *name;
    struct label_item *item;    // (n)
    struct label *label;        // (n)
    int n;
    int cache;                  // tokens, as the options say; 0: no bound
};

static size_t bytes_of(const struct label_item *it)
{
    return strlen(it->prompt) + strlen(it->first) + strlen(it->second);
}

static int longer_first(const void *a, const void *b)
{
    size_t x = bytes_of(a), y = bytes_of(b);
    return x > y ? -1 : x < y;
}

static int try_sizes(void *arg, int rows, int cache, struct err *err)
{
    struct sample *s = arg;
    struct provider *p = NULL;
    int rc = provider_local_new(&p, s->by.model, s->name, rows, err);
    if (rc)
        return rc;
    provider_local_cache(p, cache ? cache : s->cache);
    struct asker asker = { .provider = p };
    struct labeler l = { &asker, s->by.protocol, 0, NULL };
    rc = label_items(s->label, NULL, &l, s->item, s->n, err);
    provider_free(p);
    return rc;
}

/* The pages of the store that will be in memory: all until there are too many. */
static int take_store(struct tensor *t, const struct labelling *l, const struct sample *s, struct err *err)
{
    enum { ROW = 800, WIDTH = 1024 };       // bytes of a reply and its entries beside its texts; any width
    double replies = protocol_n_views(s->by.protocol) * protocol_passes(s->by.protocol), bytes = 0;
    for (int i = 0; i < l->n; i++)
        bytes += (replies + 1) * (double)(bytes_of(&s->item[i]) + ROW);
    struct device *dev = model_device(s->by.model);
    device_purpose(dev, "label store");
    return tensor_new(t, dev, DTYPE_F32, (int)(fmin(bytes, STORE_CACHE) / (4 * WIDTH)) + 1, WIDTH, err);
}

/* Opens the model, no store; *result receives the sizes chosen. */
static int plan_memory(struct labelling *l, struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    enum { SAMPLE = 2048, ROWS_MOST = 2048, CACHE_MOST = 32768 };
    struct sample s = { .name = opt_str(opt, "labeler"), .cache = (int)opt_int(opt, "cache_tokens") };
    int rows = (int)opt_int(opt, "batch_tokens"), rc = labeling_rehearse(&s.by, run, opt, s.name, err);
    rows = rows > 0 && rows < ROWS_MOST ? rows : ROWS_MOST;
    if (rc)
        return rc;
    s.n = l->n < SAMPLE ? l->n : SAMPLE;
    s.item = items_of(l, l->n);
    s.label = mem_alloc((size_t)s.n, sizeof *s.label);
    if (!s.item || !s.label)
        rc = err_set(err, ERR_MEMORY, "no memory to plan %d pairs", l->n);
    if (rc == 0)
        qsort(s.item, (size_t)l->n, sizeof *s.item, longer_first);
    struct fit f = {.what = "labelling one pair", .rows = rows, .least_rows = rows < 32 ? rows : 32,
                    .cache = s.cache ? s.cache : CACHE_MOST, .least_cache = CACHE_BLOCK, .try = try_sizes, .arg = &s};
    struct tensor pages = { 0 };
    if (rc == 0)
        rc = take_store(&pages, l, &s, err);
    if (rc == 0)
        rc = memory_fit(&f, model_device(s.by.model), opt, err);
    tensor_release(&pages);
    if (f.cache)
        json_object_set_new(result, "cache_tokens", json_integer(f.cache));
    json_object_set_new(result, "batch_tokens", json_integer(f.rows));
    free(s.item);
    free(s.label);
    labeling_close(&s.by);
    return rc;
}

static int by_model(struct labelling *l, struct run *run, const json_t *opt, struct err *err)
{
    struct label_item *item = items_of(l, l->n);
    if (!item)
        return err_set(err, ERR_MEMORY, "no memory to label %d pairs", l->n);
    double start = time_now();
    int rc = label_items(l->label, &l->counts, &l->by, item, l->n, err);
    l->seconds = time_now() - start;
    l->tokens_asked = l->by.asker->provider->tokens_asked;
    l->tokens_computed = l->by.asker->provider->tokens_computed;
    free(item);
    return rc;
}

/* A hired annotator per pair, in turns; people answer for sure and see no slots. */
static int by_people(struct labelling *l, const json_t *opt, struct err *err)
{
    struct lab_truth *truth = NULL;
    int rc = lab_truth_open(&truth, opt_str(opt, "truth"), err);
    for (int i = 0; i < l->n && rc == 0; i++) {
        const struct candidates *c = &l->list.item[i];
        struct lab_vote v;
        rc = lab_annotate(&v, truth, c->id, c->first, c->second,
                          LAB_PANEL + i % (LAB_ANNOTATORS - LAB_PANEL),
                          (uint64_t)opt_int(opt, "seed"), err);
        double p = v.preferred == 1 ? 1 : v.preferred == 2 ? 0 : 0.5;
        if (rc == 0)
            l->label[i] = (struct label){ .p = p, .order = { p, p }, .mass = 1 };
    }
    lab_truth_free(truth);
    return rc;
}

/* ---- what comes out ------------------------------------------------------------------------ */

static int write_rows(const struct labelling *l, const char *dir, struct err *err)
{
    int rc = labeling_write(dir, l->list.item, l->label, l->n, &l->by, false, err);
    return rc ? rc : rows_write_rejected(&l->rows, dir, err);
}

static int figures(json_t *result, const struct labelling *l, uint64_t seed, struct err *err)
{
    double *information = mem_alloc((size_t)l->n, sizeof *information),
           *agree = mem_alloc((size_t)l->n, sizeof *agree);
    if (!information || !agree) {
        free(information);
        free(agree);
        return err_set(err, ERR_MEMORY, "no memory for figures of %d labels", l->n);
    }
    double mass = 0;
    int asked = 0;
    for (int i = 0; i < l->n; i++) {
        bool answered = l->label[i].state == LABEL_ANSWERED;
        information[i] = answered ? label_information(l->label[i].p) : NAN;
        agree[i] = answered ? agreement(l->label[i].p, l->list.item[i].human) : NAN;
        asked += l->label[i].state != LABEL_TOO_LONG;
        mass += l->label[i].state != LABEL_TOO_LONG ? l->label[i].mass : 0;
    }
    struct slot_bias bias = slot_bias(l->label, l->n);
    struct interval info, align = interval_share(agree, l->n);
    int rc = interval_mean(&info, information, l->n, seed, err);
    set_number(result, "pairs", l->n);
    set_number(result, "identical", l->list.identical);
    set_number(result, "unanswered", l->counts.unanswered);
    set_number(result, "too_long", l->counts.too_long);
    set_number(result, "refused", l->counts.refused);
    set_number(result, "failed", l->counts.failed);
    set_number(result, "replies_computed", l->counts.replies_computed);
    set_number(result, "replies_found", l->counts.replies_found);
    if ((l->by.asker->store || l->tokens_asked) && l->by.protocol->how.order == ORDER_BOTH) {
        set_interval(result, "same_slot", &bias.rate);
        set_number(result, "same_slot_first", bias.first_share);
        set_number(result, "same_slot_p_value", bias.p_value);
    }
    set_number(result, "label_mass", asked ? mass / asked : NAN);
    set_interval(result, "information_nats", &info);
    set_interval(result, "alignment", &align);
    set_number(result, "tokens_asked", (double)l->tokens_asked);
    set_number(result, "tokens_computed", (double)l->tokens_computed);
    double tokens_in = 0, tokens_out = 0, seconds = 0, price = 0;
    for (int i = 0; i < l->n; i++) {
        tokens_in += l->label[i].cost.tokens_in;
        tokens_out += l->label[i].cost.tokens_out;
        seconds += l->label[i].cost.seconds;
        price += l->label[i].cost.price;
    }
    set_number(result, "tokens_in", tokens_in);
    set_number(result, "tokens_out", tokens_out);
    set_number(result, "seconds_of_replies", seconds);
    set_number(result, "price", price);
    int per_pair = protocol_n_views(l->by.protocol) * protocol_passes(l->by.protocol);
    set_number(result, "pairs_per_second",
               l->counts.replies_computed ? l->counts.replies_computed / per_pair / l->seconds
                                          : NAN);
    free(information);
    free(agree);
    return rc;
}

/* The first pairs once more, the losing candidate carrying each probe in turn. */
static int probe(json_t *result, const struct labelling *l, const json_t *opt, struct err *err)
{
    struct probe *probes = NULL;
    struct probe_result kind[PROBE_MAX_KINDS];
    struct arena arena = { 0 };
    int n_probes = 0, kinds = 0, n = (int)opt_int(opt, "probe_pairs");
    n = n < l->n ? n : l->n;
    if (n < 1)
        return err_set(err, ERR_USAGE, "--probe_pairs is %lld, expected 1 or more",
                       (long long)opt_int(opt, "probe_pairs"));
    struct label_item *item = items_of(l, n);
    int rc = item ? probes_read(&probes, &n_probes, &arena, opt_str(opt, "probes"), err)
                  : err_set(err, ERR_MEMORY, "no memory for probes");
    if (rc == 0)
        rc = probe_labeler(kind, &kinds, &l->by, item, n, probes, n_probes, err);
    json_t *o = json_object();
    for (int i = 0; rc == 0 && i < kinds; i++) {
        json_t *one = json_pack("{s:i, s:i, s:i}", "asked", kind[i].asked, "moved", kind[i].moved,
                                "unanswered", kind[i].unanswered);
        set_number(one, "shift", kind[i].asked ? kind[i].shift : NAN);
        json_object_set_new(o, kind[i].kind, one);
    }
    json_object_set_new(result, "injection", o);
    arena_release(&arena);
    free(item);
    return rc;
}

/* The figures beside the rows, which hold no times: what `rlaif audit` and `rlaif cost` know of
 * seconds. */
static int write_figures(const json_t *result, const char *dir, struct err *err)
{
    char *path = path_join(dir, "label_results.json");
    int rc = path ? json_write_file(path, result, err)
                  : err_set(err, ERR_MEMORY, "no memory to write figures");
    free(path);
    return rc;
}

static int read_pairs(struct labelling *l, const json_t *opt, struct err *err)
{
    int rc = rows_read(&l->rows, opt_str(opt, "input"), 0, err);
    if (rc == 0)
        rc = candidates_read(&l->list, &l->rows, !strcmp(opt_str(opt, "pairs_of"), "all"), err);
    int64_t max = opt_int(opt, "max_pairs");
    l->n = max > 0 && max < l->list.n ? (int)max : l->list.n;
    l->label = rc == 0 ? mem_alloc((size_t)l->n, sizeof *l->label) : NULL;
    return rc ? rc : l->label ? 0 : err_set(err, ERR_MEMORY, "no memory to label %d pairs", l->n);
}

static int run_label(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct labelling l = { 0 };
    struct labeling by = { 0 };
    const char *dir = opt_str(opt, "output_dir");
    bool people = !opt_given(opt, "labeler"), dry = opt_bool(opt, "dry_run");
    if (people && !dry && !opt_given(opt, "truth"))
        return err_set(err, ERR_USAGE,
                       "label needs --labeler MODEL (or, in the lab, --truth FILE)");
    if (!dir && !dry)
        return err_set(err, ERR_USAGE, "label needs --output_dir DIR");
    if (people && opt_given(opt, "probes"))
        return err_set(err, ERR_USAGE, "--probes needs --labeler");
    bool planning = run->device && device_is_plan(run->device);
    if (planning && (people || dry || labeler_is_endpoint(opt_str(opt, "labeler"))))
        return 0;       // whoever answers takes the memory
    int rc = read_pairs(&l, opt, err);
    if (rc == 0 && planning) {
        rc = plan_memory(&l, run, opt, result, err);
        goto out;
    }
    if (rc == 0 && dry) {
        rc = rehearse(&l, run, opt, result, err);
        free(l.label);
        candidates_release(&l.list);
        rows_release(&l.rows);
        return rc;
    }
    if (rc == 0)
        rc = dir_make(dir, err);
    if (rc == 0)
        rc = people ? labeling_people(&by, opt, err) :
            labeling_open(&by, run, opt, opt_str(opt, "labeler"), opt_str(opt, "store"), dir, err);
    if (rc == 0) {
        l.by = by.labeler;
        rc = people ? by_people(&l, opt, err) : by_model(&l, run, opt, err);
    }
    if (rc == 0)
        rc = write_rows(&l, dir, err);
    if (rc == 0 && !people)
        rc = labeling_covered(&by, &l.counts, l.n, "pairs", err);
    if (rc == 0 &&
        l.counts.unanswered + l.counts.too_long + l.counts.refused + l.counts.failed == l.n)
        log_warn("none of the %d pairs has a usable label (%d without an answer, %d too long, %d refused, %d failed): "
                 "pairs.jsonl is empty", l.n, l.counts.unanswered, l.counts.too_long, l.counts.refused, l.counts.failed);
    if (rc == 0)
        rc = figures(result, &l, (uint64_t)opt_int(opt, "seed"), err);
    if (rc == 0 && opt_given(opt, "probes"))
        rc = probe(result, &l, opt, err);
    if (rc == 0)
        rc = write_figures(result, dir, err);
out:
    labeling_close(&by);
    free(l.label);
    candidates_release(&l.list);
    rows_release(&l.rows);
    return rc;
}

const struct stage stage_label = {
    .name = "label",
    .summary = "ask an AI labeler which of two texts is better",
    .example = "rlaif label --labeler models/l --task summary --preamble lab --input "
               "runs/lab-tldr/candidates.jsonl --output_dir runs/try/labels",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_label,
    .plans = true,
};
