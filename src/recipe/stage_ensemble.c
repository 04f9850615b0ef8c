/* recipe/stage_ensemble.c - `rlaif ensemble`: the labels that several labelers gave to the same
 * pairs, as one.
 *
 * Files of labels.jsonl, of models, endpoints or people, are matched by the texts.  Weights are
 * counted on rows that people labelled ("human"), each row's label with weights from the
 * others: so its agreement with people can be measured. */
#include "recipe/labeling.h"

static const struct option options[] = {
    {"labels", OPT_INPUTS, NULL, "labels.jsonl of each labeler", NULL, true},
    {"ensemble", OPT_CHOICE, "mean",
     "mean of probabilities, share of votes, or votes weighted by accuracy on rows people "
     "labelled",
     "mean|majority|weighted", false},
    {"output_dir", OPT_OUTPUT_DIR, NULL, "folder for pairs.jsonl and labels.jsonl", NULL, true},
};

enum { MOST = 32 };

/* One labeler's file. */
struct voice {
    struct rows rows;
    struct candidates *item; // (rows.n)
    struct label *label;
    struct place_of {
        struct hash128 key;
        int i;
    } * sorted; // (rows.n) by key
    double hits;
    int gold;
};
struct ensemble {
    struct voice voice[MOST];
    int n;
    enum ensemble_how how;
    struct candidates *item; // (n_items) every pair once, in the order of the files
    struct label *label;
    int n_items;
};

static struct hash128 pair_key(const struct candidates *c)
{
    struct hash128 part[] = {hash_bytes(c->prompt, strlen(c->prompt)),
                             hash_bytes(c->first, strlen(c->first)),
                             hash_bytes(c->second, strlen(c->second))};
    return hash_bytes(part, sizeof part);
}

static int by_key(const void *a, const void *b)
{
    const struct place_of *x = a, *y = b;
    int c = memcmp(&x->key, &y->key, sizeof x->key);
    return c ? c : x->i - y->i;
}

static int find(const struct voice *v, struct hash128 key)
{
    int low = 0, high = v->rows.n;
    while (low < high) {
        int mid = (low + high) / 2;
        if (memcmp(&v->sorted[mid].key, &key, sizeof key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < v->rows.n && !memcmp(&v->sorted[low].key, &key, sizeof key) ? v->sorted[low].i
                                                                             : -1;
}

static double hit(const struct label *l, int human)
{
    return l->p == 0.5 ? 0.5 : (l->p > 0.5) == (human == 1);
}

static bool is_gold(const struct voice *v, int i)
{
    return v->item[i].human && v->label[i].state == LABEL_ANSWERED;
}

static int voice_read(struct voice *v, const char *path, struct err *err)
{
    int rc = rows_read(&v->rows, path, 0, err);
    if (rc)
        return rc;
    size_t n = (size_t)v->rows.n + 1;
    v->item = mem_alloc(n, sizeof *v->item);
    v->label = mem_alloc(n, sizeof *v->label);
    v->sorted = mem_alloc(n, sizeof *v->sorted);
    if (!v->item || !v->label || !v->sorted)
        return err_set(err, ERR_MEMORY, "no memory for labels of %s", path);
    for (int i = 0; i < v->rows.n && rc == 0; i++) {
        struct place where = rows_place(&v->rows, v->rows.line[i]);
        rc = label_from_row(&v->item[i], &v->label[i], v->rows.row[i], where.s, err);
        if (rc)
            break;
        v->sorted[i] = (struct place_of){pair_key(&v->item[i]), i};
        if (is_gold(v, i)) {
            v->gold++;
            v->hits += hit(&v->label[i], v->item[i].human);
        }
    }
    if (rc == 0)
        qsort(v->sorted, (size_t)v->rows.n, sizeof *v->sorted, by_key);
    return rc;
}

/* Each pair where it stands first: in the first file that has it. */
static int collect(struct ensemble *e, struct err *err)
{
    size_t all = 1;
    for (int k = 0; k < e->n; k++)
        all += (size_t)e->voice[k].rows.n;
    e->item = mem_alloc(all, sizeof *e->item);
    e->label = mem_alloc(all, sizeof *e->label);
    if (!e->item || !e->label)
        return err_set(err, ERR_MEMORY, "no memory for %zu labels", all);
    for (int k = 0; k < e->n; k++) {
        const struct voice *v = &e->voice[k];
        for (int i = 0; i < v->rows.n; i++) {
            struct hash128 key = pair_key(&v->item[i]);
            bool seen = find(v, key) != i;
            for (int j = 0; j < k && !seen; j++)
                seen = find(&e->voice[j], key) >= 0;
            if (!seen)
                e->item[e->n_items++] = v->item[i];
        }
    }
    return 0;
}

/* The row itself does not count for its own weight. */
static double weight_without(const struct voice *v, int i)
{
    bool own = i >= 0 && is_gold(v, i);
    return ensemble_weight(v->hits - (own ? hit(&v->label[i], v->item[i].human) : 0),
                           v->gold - own);
}

static void combine(struct ensemble *e)
{
    for (int i = 0; i < e->n_items; i++) {
        const struct label *by[MOST];
        double weight[MOST];
        struct hash128 key = pair_key(&e->item[i]);
        for (int k = 0; k < e->n; k++) {
            const struct voice *v = &e->voice[k];
            int at = find(v, key);
            by[k] = at < 0 ? NULL : &v->label[at];
            weight[k] = weight_without(v, at);
            if (at >= 0 && v->item[at].human && !e->item[i].human)
                e->item[i].human = v->item[at].human;
        }
        ensemble_label(&e->label[i], by, weight, e->n, e->how);
    }
}

static int write_rows(const struct ensemble *e, const json_t *opt, struct err *err)
{
    struct provider who = {0};
    struct protocol asked = {.name = "ensemble"};
    struct asker asker = {.provider = &who};
    struct labeler by = {.asker = &asker, .protocol = &asked};
    const char *dir = opt_str(opt, "output_dir");
    snprintf(who.fingerprint, sizeof who.fingerprint, "ensemble:%s of %d",
             opt_str(opt, "ensemble"), e->n);
    snprintf(asked.hash, sizeof asked.hash, "%s", "ensemble 1");
    int rc = dir_make(dir, err);
    return rc ? rc : labeling_write(dir, e->item, e->label, e->n_items, &by, false, err);
}

static int figures(json_t *result, const struct ensemble *e, struct err *err)
{
    double *agree = mem_alloc((size_t)e->n_items + 1, sizeof *agree);
    json_t *each = json_array(), *gold = json_array();
    int answered = 0;
    if (!agree || !each || !gold) {
        free(agree);
        return err_set(err, ERR_MEMORY, "no memory for figures");
    }
    for (int i = 0; i < e->n_items; i++) {
        bool is = e->label[i].state == LABEL_ANSWERED;
        agree[i] = is ? agreement(e->label[i].p, e->item[i].human) : 0.0 / 0.0;
        answered += is;
    }
    for (int k = 0; k < e->n; k++) {
        const struct voice *v = &e->voice[k];
        json_array_append_new(each, v->gold ? json_real(v->hits / v->gold) : json_null());
        json_array_append_new(gold, json_integer(v->gold));
    }
    struct interval align = interval_share(agree, e->n_items);
    set_number(result, "labelers", e->n);
    set_number(result, "pairs", e->n_items);
    set_number(result, "answered", answered);
    json_object_set_new(result, "alignment_each", each);
    json_object_set_new(result, "gold_rows_each", gold);
    set_interval(result, "alignment", &align);
    free(agree);
    return 0;
}

static void release(struct ensemble *e)
{
    for (int k = 0; k < e->n; k++) {
        free(e->voice[k].item);
        free(e->voice[k].label);
        free(e->voice[k].sorted);
        rows_release(&e->voice[k].rows);
    }
    free(e->item);
    free(e->label);
    free(e);
}

static int check_weights(const struct ensemble *e, struct err *err)
{
    for (int k = 0; k < e->n && e->how == ENSEMBLE_WEIGHTED; k++)
        if (!e->voice[k].gold)
            return err_set(
                err, ERR_VALUE,
                "%s: no row that people labelled (\"human\"), so its labels cannot be weighted",
                e->voice[k].rows.path);
    return 0;
}

static int run_ensemble(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    const json_t *files = opt_list(opt, "labels");
    int n = (int)json_array_size(files);
    if (n < 2 || n > MOST)
        return err_set(err, ERR_USAGE, "labels names %d file%s; expected 2 to %d", n,
                       n == 1 ? "" : "s", MOST);
    struct ensemble *e = mem_alloc(1, sizeof *e);
    if (!e)
        return err_set(err, ERR_MEMORY, "no memory for an ensemble");
    int rc = ensemble_from_name(&e->how, opt_str(opt, "ensemble"), err);
    for (int k = 0; k < n && rc == 0; k++) {
        e->n++;
        rc = voice_read(&e->voice[k], json_string_value(json_array_get(files, (size_t)k)), err);
    }
    if (rc == 0)
        rc = check_weights(e, err);
    if (rc == 0)
        rc = collect(e, err);
    if (rc == 0) {
        combine(e);
        rc = write_rows(e, opt, err);
    }
    if (rc == 0)
        rc = figures(result, e, err);
    release(e);
    return rc;
}

const struct stage stage_ensemble = {
    .name = "ensemble",
    .summary = "one label out of several labelers': mean, majority, or weighted by accuracy",
    .example = "rlaif ensemble --labels runs/lab-tldr/labels/labels.jsonl "
               "runs/lab-tldr/heldout_labels/labels.jsonl --output_dir runs/try/ensemble",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_ensemble,
};
