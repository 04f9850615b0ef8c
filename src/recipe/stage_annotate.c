/* recipe/stage_annotate.c - `rlaif annotate`: a person at the terminal labels pairs into the
 * store that all labelers share. */
#include "recipe/labeling.h"

#include <unistd.h>

static const struct option options[] = {
    {"input", OPT_DATA, NULL,
     "rows {prompt, completions} or {prompt, chosen, rejected} (Parquet, JSON, CSV)", NULL,
     true},
    {"output_dir", OPT_OUTPUT_DIR, NULL, "folder for pairs.jsonl and labels.jsonl", NULL, true},
    {"annotator", OPT_STRING, NULL, "who sits here; their labels are those of people:NAME",
     NULL, true},
    {"store", OPT_STRING, NULL,
     "label store (default: labels.db in the run's folder); can be shared between runs", NULL,
     false},
    {"pairs_of", OPT_CHOICE, "disjoint",
     "which pairs of K completions: (0,1), (2,3), ... or all of them", "disjoint|all", false},
    {"max_pairs", OPT_INT, "0", "show the first so many; 0: all", NULL, false},
    {"width", OPT_INT, "0", "columns of the screen; 0: the terminal's", NULL, false},
    {"seed", OPT_INT, "1", "of the order in which the two texts are shown", NULL, false},
};

struct annotating {
    struct rows rows;
    struct candidate_list list;
    struct label_item *item;
    struct label *label;
    int n;
    struct store *store;
    struct annotate_counts counts;
};

static int read_pairs(struct annotating *a, const json_t *opt, struct err *err)
{
    int rc = rows_read(&a->rows, opt_str(opt, "input"), 0, err);
    if (rc == 0)
        rc = candidates_read(&a->list, &a->rows, !strcmp(opt_str(opt, "pairs_of"), "all"), err);
    if (rc)
        return rc;
    int64_t max = opt_int(opt, "max_pairs");
    a->n = max > 0 && max < a->list.n ? (int)max : a->list.n;
    a->item = mem_alloc((size_t)a->n + 1, sizeof *a->item);
    a->label = mem_alloc((size_t)a->n + 1, sizeof *a->label);
    if (!a->item || !a->label)
        return err_set(err, ERR_MEMORY, "no memory to annotate %d pairs", a->n);
    for (int i = 0; i < a->n; i++)
        a->item[i] = (struct label_item){.prompt = a->list.item[i].prompt,
                                         .first = a->list.item[i].first,
                                         .second = a->list.item[i].second};
    return 0;
}

static int open_store(struct annotating *a, struct run *run, const json_t *opt, struct err *err)
{
    const char *dir = run->out ? run->out : opt_str(opt, "output_dir");
    char *own = path_join(dir, "labels.db");
    int rc = own ? dir_make(dir, err) : err_set(err, ERR_MEMORY, "no memory for a path");
    if (rc == 0)
        rc = store_open(&a->store, opt_given(opt, "store") ? opt_str(opt, "store") : own, err);
    free(own);
    return rc;
}

static int write_rows(const struct annotating *a, const struct annotator *by, const char *dir,
                      struct err *err)
{
    struct provider who = {0};
    struct protocol asked = {.name = ANNOTATE_PROTOCOL, .hash = ANNOTATE_PROTOCOL};
    struct asker asker = {.provider = &who};
    struct labeler labeler = {.asker = &asker, .protocol = &asked};
    snprintf(who.fingerprint, sizeof who.fingerprint, "people:%s", by->name);
    snprintf(who.name, sizeof who.name, "%s", by->name);
    int rc = dir_make(dir, err);
    if (rc == 0)
        rc = labeling_write(dir, a->list.item, a->label, a->n, &labeler, true, err);
    return rc ? rc : rows_write_rejected(&a->rows, dir, err);
}

static int run_annotate(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct annotating a = {0};
    const char *name = opt_str(opt, "annotator");
    if (!name[0] || strlen(name) > 60)
        return err_set(err, ERR_USAGE, "annotator is '%.80s'; expected a name of 1 to 60 bytes",
                       name);
    int rc = read_pairs(&a, opt, err);
    if (rc == 0)
        rc = open_store(&a, run, opt, err);
    struct annotator by = {.name = name,
                           .store = a.store,
                           .seed = (uint64_t)opt_int(opt, "seed"),
                           .in = STDIN_FILENO,
                           .out = STDERR_FILENO, // results go to stdout
                           .width = (int)opt_int(opt, "width")};
    if (rc == 0)
        rc = annotate_items(a.label, &a.counts, &by, a.item, a.n, err);
    if (rc == 0)
        rc = write_rows(&a, &by, opt_str(opt, "output_dir"), err);
    set_number(result, "pairs", a.n);
    set_number(result, "answered", a.counts.answered);
    set_number(result, "ties", a.counts.ties);
    set_number(result, "skipped", a.counts.skipped);
    set_number(result, "open", a.counts.open);
    set_number(result, "answered_now", a.counts.now);
    store_close(a.store);
    free(a.item);
    free(a.label);
    candidates_release(&a.list);
    rows_release(&a.rows);
    return rc;
}

const struct stage stage_annotate = {
    .name = "annotate",
    .summary = "label pairs by hand: both texts side by side, one key each",
    .example = "rlaif annotate --annotator ann --input runs/lab-tldr/candidates.jsonl "
               "--output_dir runs/try/people",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_annotate,
};
