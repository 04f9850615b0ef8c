/* recipe/stage_pairs.c - `rlaif pairs`: which candidates a labeler is to compare.
 *
 *     random       answers in a drawn order, two by two: each at most once
 *     all          every two answers of a prompt
 *     best_worst   the best against the worst by `scores`, then the second best against the second worst, ...
 *     a_vs_b       each answer of the first file against each of the second (a student's sample, a teacher's answer)
 *
 * Prompts are matched by their content over all files; a text that a prompt has twice counts
 * once.  Each text keeps where it came from: file, line, place, and the model where a row names
 * one.  Parts (train, calibration, test) share no conversation.  Pairs come out as {prompt,
 * completions}, which `rlaif label` compares; those of best_worst, which scores have decided, as
 * {prompt, chosen, rejected}. */
#include <math.h>

#include "recipe/parts.h"
#include "recipe/recipe.h"

static const struct option options[] = {
    { "candidates", OPT_DATA, NULL, "rows {prompt, completions} or {prompt, completion}, with scores where known; several files: A,B", NULL, true },
    { "pairing", OPT_CHOICE, "random", "which answers meet", "random|all|best_worst|a_vs_b", false },
    { "max_pairs_per_prompt", OPT_INT, "0", "so many at most, drawn (best_worst: the first); 0: all", NULL, false },
    { "min_margin", OPT_FLOAT, "0", "of best_worst: scores that differ by less make no pair", NULL, false },
    { "parts", OPT_LIST, NULL, "NAME=SHARE of the prompts (train=0.8,calibration=0.1,test=0.1), each its own file; none: pairs.jsonl", NULL, false },
    { "output_dir", OPT_OUTPUT_DIR, NULL, "folder for pairs.jsonl or NAME.jsonl of each part", NULL, true },
    { "seed", OPT_INT, "1", "what is drawn, and which prompts go where", NULL, false },
};

enum pairing { PAIRING_RANDOM, PAIRING_ALL, PAIRING_BEST_WORST, PAIRING_A_VS_B };
enum { MAX_TEXTS = 256 };

/* An answer to a prompt. */
struct candidate { const json_t *text; double score; int file, line, index; const char *model; };
struct group {
    struct hash128 key;         // of the prompt
    const json_t *prompt, *id, *reference;
    char *conversation;         // what parts go by
    struct candidate *text; int n; size_t cap;
};
struct pairing_run {
    struct rows rows;
    int n, duplicates, unscored, identical;
    size_t cap, slots;
    struct group *group;
    int *slot;                  // (slots) hash table of groups, -1: free
    struct arena arena;
    enum pairing how;
    int64_t most;
    double margin;
    uint64_t seed;
    struct parts parts;
    int written;
};

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "no memory to pair candidates");
}

static struct hash128 hash_json(const json_t *v)
{
    struct buf b = { 0 };
    json_add_text(&b, v, 0);
    if (b.failed)
        mem_die("no memory to compare texts");
    struct hash128 h = hash_bytes(b.s, b.len);
    buf_release(&b);
    return h;
}

/* ---- groups: what is known of one prompt ------------------------------------------------- */

static int rehash(struct pairing_run *p, struct err *err)
{
    size_t slots = p->slots ? 2 * p->slots : 1024;
    int *slot = mem_alloc(slots, sizeof *slot);
    if (!slot)
        return no_memory(err);
    for (size_t i = 0; i < slots; i++)
        slot[i] = -1;
    for (int g = 0; g < p->n; g++) {
        size_t i = p->group[g].key.lo & (slots - 1);
        while (slot[i] >= 0)
            i = (i + 1) & (slots - 1);
        slot[i] = g;
    }
    free(p->slot);
    p->slot = slot;
    p->slots = slots;
    return 0;
}

static struct group *group_of(struct pairing_run *p, const struct prompt *prompt, struct err *err)
{
    const json_t *v = json_object_get(prompt->row, "prompt");
    struct hash128 key = hash_json(v);
    if ((size_t)p->n * 2 >= p->slots && rehash(p, err))
        return NULL;
    size_t i = key.lo & (p->slots - 1);
    for (; p->slot[i] >= 0; i = (i + 1) & (p->slots - 1))
        if (!memcmp(&p->group[p->slot[i]].key, &key, sizeof key))
            return &p->group[p->slot[i]];
    struct group *more = mem_grow(p->group, &p->cap, (size_t)p->n + 1, sizeof *more);
    char *conversation = more ? parts_key(&prompt->text) : NULL;
    if (!conversation) {
        no_memory(err);
        p->group = more ? more : p->group;
        return NULL;
    }
    p->group = more;
    p->slot[i] = p->n;
    p->group[p->n] = (struct group){ .key = key,
                                     .prompt = v,
                                     .id = json_object_get(prompt->row, "id"),
                                     .reference = json_object_get(prompt->row, "reference"),
                                     .conversation = conversation };
    return &p->group[p->n++];
}

static bool same_text(const json_t *a, const json_t *b)
{
    return json_equal(a, b);
}

static int add_text(struct pairing_run *p, struct group *g, struct candidate c, struct err *err)
{
    for (int i = 0; i < g->n; i++)
        if (same_text(g->text[i].text, c.text) &&
            (p->how != PAIRING_A_VS_B || g->text[i].file == c.file)) {
            p->duplicates++;
            return 0;
        }
    if (g->n == MAX_TEXTS)
        return err_set(err, ERR_VALUE, "%s: a prompt has more than %d different answers",
                       p->rows.path, MAX_TEXTS);
    struct candidate *more = mem_grow(g->text, &g->cap, (size_t)g->n + 1, sizeof *more);
    if (!more)
        return no_memory(err);
    g->text = more;
    g->text[g->n++] = c;
    return 0;
}

static const char *model_of(const json_t *row)
{
    static const char *const names[] = { "model", "generator" };
    for (int k = 0; k < 2; k++)
        if (json_is_string(json_object_get(row, names[k])))
            return json_string_value(json_object_get(row, names[k]));
    return NULL;
}

/* Which of the files a row is in. */
static int file_of(const struct rows *r, int line)
{
    int f = 0;
    while (f + 1 < r->n_files && r->file[f + 1].before < line)
        f++;
    return f;
}

static int add_row(struct pairing_run *p, const struct prompt *prompt, struct err *err)
{
    int file = file_of(&p->rows, prompt->line);
    const json_t *list = json_object_get(prompt->row, "completions"),
                 *one = json_object_get(prompt->row, "completion"),
                 *scores = json_object_get(prompt->row, "scores");
    struct group *g = group_of(p, prompt, err);
    size_t n = list ? json_array_size(list) : 1;
    int rc = g ? 0 : ERR_MEMORY;
    for (size_t i = 0; i < n && rc == 0; i++) {
        const json_t *score = json_array_get(scores, i);
        struct candidate c = { list ? json_array_get(list, i) : one,
                               json_is_number(score) ? json_number_value(score) : NAN,
                               file,
                               prompt->line,
                               (int)i,
                               model_of(prompt->row) };
        rc = add_text(p, g, c, err);
    }
    return rc;
}

static const char *row_wrong(const json_t *row)
{
    const json_t *list = json_object_get(row, "completions"),
                 *one = json_object_get(row, "completion"),
                 *scores = json_object_get(row, "scores");
    if (!list && !json_is_string(one) && !json_is_array(one))
        return "there is neither 'completions' nor 'completion'";
    if (list && !json_is_array(list))
        return "'completions' is no list";
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_is_string(json_array_get(list, i)) && !json_is_array(json_array_get(list, i)))
            return "'completions' holds something that is no text";
    if (json_is_array(scores) && json_array_size(scores) != (list ? json_array_size(list) : 1))
        return "'scores' should have one number for each completion";
    return NULL;
}

static int read_rows(struct pairing_run *p, const char *path, struct err *err)
{
    struct rows *r = &p->rows;
    struct prompt *prompt;
    int n, rc = rows_read(r, path, 0, err);
    if (rc)
        return rc;
    if (p->how == PAIRING_A_VS_B && r->n_files != 2)
        return err_set(err, ERR_USAGE, "--candidates %s: %d file%s; a_vs_b pairs those of two, as in A.jsonl,B.jsonl", path, r->n_files,
                       r->n_files == 1 ? "" : "s");
    for (int i = r->n - 1; i >= 0; i--) {
        const char *why = row_wrong(r->row[i]);
        if (why)
            rows_reject(r, i, "%s", why);
    }
    rc = data_prompts(&prompt, &n, &p->arena, r, err);
    for (int i = 0; i < n && rc == 0; i++)
        rc = add_row(p, &prompt[i], err);
    return rc;
}

/* ---- pairs ------------------------------------------------------------------------------- */

struct two { int a, b; };

static int by_score(const void *x, const void *y)
{
    const struct candidate *a = x, *b = y;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->file != b->file   ? a->file - b->file
           : a->line != b->line ? a->line - b->line
                                : a->index - b->index;
}

static int best_worst(struct two *out, struct pairing_run *p, struct group *g)
{
    int n = 0, scored = 0;
    for (int i = 0; i < g->n; i++)
        if (isfinite(g->text[i].score))
            g->text[scored++] = g->text[i];
    p->unscored += g->n - scored;
    g->n = scored;
    qsort(g->text, (size_t)g->n, sizeof *g->text, by_score);
    for (int i = 0, j = g->n - 1; i < j && (!p->most || n < p->most); i++, j--) {
        double margin = g->text[i].score - g->text[j].score;
        if (margin > 0 && margin >= p->margin)
            out[n++] = (struct two){ i, j };
    }
    return n;
}

static int every_two(struct two *out, const struct pairing_run *p, const struct group *g)
{
    int n = 0;
    for (int i = 0; i < g->n; i++)
        for (int j = p->how == PAIRING_A_VS_B ? 0 : i + 1; j < g->n; j++)
            if (p->how != PAIRING_A_VS_B || (g->text[i].file == 0 && g->text[j].file == 1))
                out[n++] = (struct two){ i, j };
    return n;
}

/* Keeps `most` of n drawn ones, in their order. */
static int draw_some(struct two *pair, int n, const struct pairing_run *p, const struct group *g)
{
    struct rng r;
    if (!p->most || n <= p->most)
        return n;
    rng_init(&r, p->seed, RNG_SAMPLE, g->key.lo, 0);
    int kept = 0;
    for (int i = 0; i < n; i++)     // each subset alike: the i-th stays with chance (wanted) / (left)
        if (rng_below(&r, (uint32_t)(n - i)) < (uint32_t)(p->most - kept))
            pair[kept++] = pair[i];
    return kept;
}

static int two_by_two(struct two *out, const struct pairing_run *p, const struct group *g)
{
    struct rng r;
    int order[MAX_TEXTS], n = 0;
    for (int i = 0; i < g->n; i++)
        order[i] = i;
    rng_init(&r, p->seed, RNG_SHUFFLE, g->key.lo, 0);
    rng_shuffle(&r, order, g->n);
    for (int i = 0; i + 1 < g->n && (!p->most || n < p->most); i += 2)
        out[n++] = (struct two){ order[i], order[i + 1] };
    return n;
}

static int pairs_of(struct two *out, struct pairing_run *p, struct group *g)
{
    switch (p->how) {
    case PAIRING_RANDOM: return two_by_two(out, p, g);
    case PAIRING_BEST_WORST: return best_worst(out, p, g);
    default: return draw_some(out, every_two(out, p, g), p, g);
    }
}

/* ---- rows out ---------------------------------------------------------------------------- */

static json_t *source(const struct pairing_run *p, const struct candidate *c)
{
    struct place at = rows_place(&p->rows, c->line);
    json_t *o = json_pack("{s:s, s:i, s:i}", "file", at.path, "line", at.number, "index", c->index);
    if (c->model)
        json_object_set_new(o, "model", json_string(c->model));
    return o;
}

static json_t *pair_row_of(const struct pairing_run *p, const struct group *g, const struct two *t,
                           int k)
{
    const struct candidate *a = &g->text[t->a], *b = &g->text[t->b];
    char hex[33];
    json_t *o = json_object();
    hash_hex(hex, g->key);
    json_object_set_new(o, "id",
                        json_is_string(g->id) ? json_sprintf("%s/%d", json_string_value(g->id), k)
                                              : json_sprintf("%s/%d", hex, k));
    json_object_set(o, "prompt", (json_t *)g->prompt);
    if (p->how == PAIRING_BEST_WORST) {
        json_object_set(o, "chosen", (json_t *)a->text);
        json_object_set(o, "rejected", (json_t *)b->text);
        json_object_set_new(o, "score_chosen", json_real(a->score));
        json_object_set_new(o, "score_rejected", json_real(b->score));
        json_object_set_new(o, "margin", json_real(a->score - b->score));
    } else {
        json_object_set_new(o, "completions", json_pack("[O, O]", a->text, b->text));
    }
    if (g->reference)
        json_object_set(o, "reference", (json_t *)g->reference);
    json_object_set_new(o, "sources", json_pack("[o, o]", source(p, a), source(p, b)));
    return o;
}

static int write_group(struct pairing_run *p, struct group *g, struct rows_out *out, int *rows,
                       struct err *err)
{
    struct two *pair = mem_alloc((size_t)g->n * (size_t)g->n + 1, sizeof *pair);
    int n = pair ? pairs_of(pair, p, g) : 0, rc = pair ? 0 : no_memory(err);
    for (int k = 0; k < n && rc == 0; k++) {
        if (same_text(g->text[pair[k].a].text, g->text[pair[k].b].text)) {
            p->identical++;
            continue;
        }
        json_t *row = pair_row_of(p, g, &pair[k], k);
        rc = rows_out_add(out, row, err);
        json_decref(row);
        ++*rows;
    }
    free(pair);
    return rc;
}

/* Part w, or all prompts (w < 0). */
static int write_part(struct pairing_run *p, int w, const char *dir, int *rows, struct err *err)
{
    struct rows_out out = { 0 };
    struct part *part = w >= 0 ? &p->parts.part[w] : NULL;
    char *path = str_printf("%s/%s.jsonl", dir, part ? part->name : "pairs");
    int rc = path ? rows_out_open(&out, path, err) : no_memory(err);
    for (int i = 0; i < p->n && rc == 0; i++) {
        struct group *g = &p->group[i];
        if (part && (parts_of(&p->parts, g->conversation, p->seed) != w ||
                     (part->most && *rows >= part->most)))
            continue;
        int before = *rows;
        rc = write_group(p, g, &out, rows, err);
        if (part)
            part->prompts += *rows > before;
    }
    if (rc == 0)
        rc = rows_out_commit(&out, err);
    rows_out_close(&out);
    free(path);
    return rc;
}

static int write_all(struct pairing_run *p, const char *dir, json_t *result, struct err *err)
{
    int rows = 0, total = 0, rc = 0;
    for (int w = p->parts.n ? 0 : -1; w < p->parts.n && rc == 0; w++) {
        rows = 0;
        rc = write_part(p, w, dir, &rows, err);
        total += rows;
        if (w >= 0)
            json_object_set_new(result, p->parts.part[w].name, json_integer(rows));
    }
    if (rc == 0 && !total)
        rc = err_set(err, ERR_VALUE, "%s: no two different answers of one prompt can be paired (%d prompts, %d duplicates, %d without a score)",
                     p->rows.path, p->n, p->duplicates, p->unscored);
    json_object_set_new(result, "pairs", json_integer(total));
    return rc;
}

/* ---- the stage --------------------------------------------------------------------------- */

static int begin(struct pairing_run *p, const json_t *opt, struct err *err)
{
    static const char *const names[] = { "random", "all", "best_worst", "a_vs_b" };
    for (int k = 0; k < 4; k++)
        if (!strcmp(opt_str(opt, "pairing"), names[k]))
            p->how = (enum pairing)k;
    p->most = opt_int(opt, "max_pairs_per_prompt");
    p->margin = opt_float(opt, "min_margin");
    p->seed = (uint64_t)opt_int(opt, "seed");
    if (p->most < 0 || p->most > INT32_MAX)
        return err_set(err, ERR_USAGE, "max_pairs_per_prompt is %lld; expected 0 or more",
                       (long long)p->most);
    int rc = opt_given(opt, "parts") ? parts_read(&p->parts, opt_list(opt, "parts"), err) : 0;
    return rc ? rc : read_rows(p, opt_str(opt, "candidates"), err);
}

static void release(struct pairing_run *p)
{
    for (int g = 0; g < p->n; g++) {
        free(p->group[g].text);
        free(p->group[g].conversation);
    }
    free(p->group);
    free(p->slot);
    arena_release(&p->arena);
    rows_release(&p->rows);
}

static int run_pairs(struct run *run, const json_t *opt, json_t *result, struct err *err)
{
    struct pairing_run *p = mem_alloc(1, sizeof *p);
    const char *dir = opt_str(opt, "output_dir");
    int rc = p ? begin(p, opt, err) : no_memory(err);
    if (rc == 0)
        rc = dir_make(dir, err);
    if (rc == 0)
        rc = write_all(p, dir, result, err);
    if (rc == 0)
        rc = rows_write_rejected(&p->rows, dir, err);
    if (rc == 0) {
        json_object_set_new(result, "prompts", json_integer(p->n));
        json_object_set_new(result, "duplicates", json_integer(p->duplicates));
        json_object_set_new(result, "identical", json_integer(p->identical));
        json_object_set_new(result, "rejected", json_integer(p->rows.n_rejected));
    }
    if (p)
        release(p);
    free(p);
    return rc;
}

const struct stage stage_pairs = {
    .name = "pairs",
    .summary = "which candidates are compared: drawn, all, best against worst, one model's against another's",
    .example = "rlaif pairs --candidates examples/completions.jsonl --pairing all --output_dir runs/try/pairs",
    .option = options,
    .n_options = ARRAY_LEN(options),
    .run = run_pairs,
};
