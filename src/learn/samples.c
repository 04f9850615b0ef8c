/* samples.c - rows as token ids, and samples as segments of a forest.
 *
 * A row that is too long is dropped and listed, never cut: the cut would fall on the end, which is what a
 * reward model reads and what a policy must learn to write. */
#include "learn/internal.h"

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "tokenising the data: no memory");
}

void samples_release(struct samples *s)
{
    if (!s)
        return;
    tokens_release(&s->ids);
    free(s->s);
    *s = (struct samples){0};
}

/* Rows to leave out, found in order, taken out from the back so that indices stay true. */
struct refused { int row; char why[200]; };
struct refusals { struct refused *r; int n; size_t cap; };

static int refuse(struct refusals *all, int row, const char *why, struct err *err)
{
    struct refused *p = mem_grow(all->r, &all->cap, (size_t)all->n + 1, sizeof *p);
    if (!p)
        return no_memory(err);
    all->r = p;
    p[all->n].row = row;
    snprintf(p[all->n++].why, sizeof p->why, "%s", why);
    return 0;
}

static int refuse_all(struct refusals *all, struct rows *r, int left, struct err *err)
{
    char first[512] = "";
    if (all->n)
        snprintf(first, sizeof first, "%s: %s", rows_place(r, r->line[all->r[0].row]).within, all->r[0].why);
    for (int i = all->n - 1; i >= 0; i--)
        rows_reject(r, all->r[i].row, "%s", all->r[i].why);
    if (left > 0)
        return 0;
    return err_set(err, ERR_VALUE, "%s: no row is left to train on (%s)", r->path ? r->path : "data", first);
}

/* Keeps the sample whose ids were just appended, or takes them back. */
static int keep(struct samples *out, const struct sample *s, int row, int max_length, struct refusals *no, struct err *err)
{
    int longer = s->second > s->first ? s->second : s->first, total = s->prompt + longer;
    if (max_length > 0 && total > max_length) {
        char why[200];
        snprintf(why, sizeof why, "%d tokens, more than max_length %d", total, max_length);
        out->ids.n = (int)s->at;
        out->dropped++;
        return refuse(no, row, why, err);
    }
    struct sample *p = mem_grow(out->s, &out->cap, (size_t)out->n + 1, sizeof *p);
    if (!p)
        return no_memory(err);
    out->s = p;
    out->s[out->n++] = *s;
    if (sample_tokens(s, false) > out->longest)
        out->longest = sample_tokens(s, false);
    return 0;
}

/* One text with loss on all of it: what the tokenizer adds by its own rules, and an end. */
static int encode_whole(const struct model *m, struct tokens *ids, const struct text *text, struct err *err)
{
    const struct text none = {.text = ""};
    int rc = encode_prompt(model_tokenizer(m), ids, text, err);
    return rc ? rc : encode_completion(model_tokenizer(m), ids, &none, &none, model_config(m), true, err);
}

static int encode_example(struct samples *out, struct sample *s, const struct example *e, const struct model *m,
                          struct err *err)
{
    int rc = 0;
    *s = (struct sample){.at = (size_t)out->ids.n, .label = 1};
    if (!e->whole) {
        rc = encode_prompt(model_tokenizer(m), &out->ids, &e->prompt, err);
        s->prompt = out->ids.n - (int)s->at;
    }
    if (rc == 0 && e->whole)
        rc = encode_whole(m, &out->ids, &e->completion, err);
    else if (rc == 0)
        rc = encode_completion(model_tokenizer(m), &out->ids, &e->prompt, &e->completion, model_config(m), true, err);
    s->first = out->ids.n - (int)s->at - s->prompt;
    return rc ? rc : model_check_length(model_config(m), s->prompt + s->first, err);
}

static int encode_pair(struct samples *out, struct sample *s, const struct pair *p, const struct model *m, struct err *err)
{
    const struct tokenizer *t = model_tokenizer(m);
    *s = (struct sample){.at = (size_t)out->ids.n, .label = (float)p->label_prob};
    int rc = encode_prompt(t, &out->ids, &p->prompt, err);
    s->prompt = out->ids.n - (int)s->at;
    if (rc == 0)
        rc = encode_completion(t, &out->ids, &p->prompt, &p->chosen, model_config(m), true, err);
    s->first = out->ids.n - (int)s->at - s->prompt;
    if (rc == 0)
        rc = encode_completion(t, &out->ids, &p->prompt, &p->rejected, model_config(m), true, err);
    s->second = out->ids.n - (int)s->at - s->prompt - s->first;
    int longer = s->second > s->first ? s->second : s->first;
    return rc ? rc : model_check_length(model_config(m), s->prompt + longer, err);
}

/* What to do with row i once it was encoded, or could not be. */
static int settle(struct samples *out, const struct sample *s, int i, int rc, const struct err *why, int max_length,
                  bool pair, struct refusals *no, struct err *err)
{
    if (rc == ERR_MEMORY)
        return err_set(err, rc, "%s", why->msg);
    if (rc == 0 && out->ids.n > INT32_MAX / 2)
        return err_set(err, ERR_MEMORY, "the data has more than %d tokens", INT32_MAX / 2);
    if (rc == 0 && s->first > 0 && (!pair || s->second > 0))
        return keep(out, s, i, max_length, no, err);
    out->ids.n = (int)s->at;
    return refuse(no, i, rc ? why->msg : "no tokens to learn from", err);
}

int samples_from_examples(struct samples *out, struct rows *r, const struct model *m, int max_length, struct err *err)
{
    struct arena a = {0};
    struct refusals no = {0};
    struct example *e;
    int n = 0, rc = data_examples(&e, &n, &a, r, err);
    for (int i = 0; rc == 0 && i < n; i++) {
        struct sample s;
        struct err why = {0};
        int got = encode_example(out, &s, &e[i], m, &why);
        rc = settle(out, &s, i, got, &why, max_length, false, &no, err);
    }
    if (rc == 0)
        rc = refuse_all(&no, r, out->n, err);
    free(no.r);
    arena_release(&a);
    return rc;
}

int samples_from_pairs(struct samples *out, struct rows *r, const struct model *m, int max_length, struct err *err)
{
    struct arena a = {0};
    struct refusals no = {0};
    struct pair *p;
    int n = 0, rc = data_pairs(&p, &n, &a, r, err);
    for (int i = 0; rc == 0 && i < n; i++) {
        struct sample s;
        struct err why = {0};
        int got = encode_pair(out, &s, &p[i], m, &why);
        rc = settle(out, &s, i, got, &why, max_length, true, &no, err);
    }
    if (rc == 0)
        rc = refuse_all(&no, r, out->n, err);
    free(no.r);
    arena_release(&a);
    return rc;
}

int sample_add(struct forest *f, const struct samples *all, int i, bool copies, int seg[2], int *seg_from)
{
    const struct sample *s = &all->s[i];
    const int *id = all->ids.id + s->at;
    *seg_from = 0;
    if (s->second == 0) {
        seg[0] = forest_add(f, -1, id, s->prompt + s->first);
        seg[1] = -1;
        *seg_from = s->prompt;
        return seg[0] < 0 ? ERR_MEMORY : 0;
    }
    int root = -1, at[2] = {s->prompt, s->prompt + s->first}, len[2] = {s->first, s->second};
    for (int k = 0; k < 2; k++) {
        if (s->prompt && (k == 0 || copies))
            root = forest_add(f, -1, id, s->prompt);
        seg[k] = s->prompt && root < 0 ? -1 : forest_add(f, root, id + at[k], len[k]);
    }
    return seg[0] < 0 || seg[1] < 0 ? ERR_MEMORY : 0;
}

int samples_plain(const struct samples *all, const int *item, int n)
{
    int tokens = 0;
    for (int i = 0; i < n; i++)
        tokens += sample_tokens(&all->s[item[i]], true);
    return tokens;
}

struct hash128 samples_hash(const struct samples *s)
{
    struct hash128 parts[2] = {hash_bytes(s->ids.id, (size_t)s->ids.n * sizeof *s->ids.id), {0, 0}};
    for (int i = 0; i < s->n; i++) {    // field by field: a struct has gaps
        const struct sample *p = &s->s[i];
        int32_t shape[4] = {p->prompt, p->first, p->second, (int32_t)(p->label * 1e9f)};
        struct hash128 h = hash_bytes(shape, sizeof shape);
        parts[1].lo = parts[1].lo * 31 + h.lo;
        parts[1].hi = parts[1].hi * 31 + h.hi;
    }
    return hash_bytes(parts, sizeof parts);
}
