/* feedback/provider_local.c - a model in this process as a labeler.
 *
 * What prompts share is computed once (DESIGN D5), as a forest on top of a cache:
 *
 *     head (preamble, exemplars)          once for the whole run, kept in the cache
 *       +- text and what else both orders share      once per pair
 *            +- rest of order A
 *            +- rest of order B
 *
 * Each whole prompt is tokenised by itself and the longest common run of tokens is shared, so sharing can never change
 * a token.  By DESIGN D1 it does not change a bit of the answers either.  Only the last row of each prompt goes through the head. */
#include "feedback/feedback.h"

#include <math.h>

enum { DEFAULT_BATCH_TOKENS = 4096, MAX_SPELLINGS = 16 };

struct local {
    const struct model *m;
    struct context *ctx;        // made when the head is known
    int batch_tokens, slots;
    char *head_text;            // what the cache holds
    struct tokens head;         // its tokens, (head.n) in the cache under head_handle
    int head_handle;            // valid while head.n > 0
    struct forest forest;       // of the call under way
    int *handles; size_t handles_cap;
    struct head_item *item; size_t item_cap;
    float *logp, *lse; size_t logp_cap, lse_cap;
};

/* ---- tokens ------------------------------------------------------------------------------ */

static int prompt_tokens(const struct local *l, struct tokens *out, const char *text, struct err *err)
{
    const struct model_config *c = model_config(l->m);
    // Texts come from data: what looks like a control token in them is text.
    int rc = tokenize(model_tokenizer(l->m), out, text, strlen(text), TOKENIZE_SPECIAL, err);
    if (rc == 0 && out->n > 1 && c->eos >= 0 && out->id[out->n - 1] == c->eos)
        out->n--;       // a tokenizer that closes texts must not close one that is to be continued
    if (rc == 0 && out->n == 0)
        rc = err_set(err, ERR_VALUE, "a labelling prompt has no tokens");
    return rc;
}

static int common_run(const struct tokens *a, const struct tokens *b)
{
    int n = 0, most = a->n < b->n ? a->n : b->n;
    while (n < most && a->id[n] == b->id[n])
        n++;
    return n;
}

/* ---- the head, once --------------------------------------------------------------------------- */

static void head_forget(struct local *l)
{
    if (l->ctx && l->head.n)
        context_drop(l->ctx, l->head_handle);
    l->head.n = 0;
    free(l->head_text);
    l->head_text = NULL;
}

/* A cache for the head and one batch; made again where a pair needs more than it has. */
static int cache_ensure(struct local *l, int slots, struct err *err)
{
    if (l->ctx && l->slots >= slots)
        return 0;
    head_forget(l);
    context_free(l->ctx);
    l->ctx = NULL;
    l->slots = slots;
    return context_new(&l->ctx, l->m, slots, err);
}

/* Puts into the cache what the head and the first prompt have in common. */
static int head_ensure(struct provider *p, const char *text, const struct tokens *first, struct err *err)
{
    struct local *l = p->state;
    struct tokens head = {0};
    int rc = text[0] ? prompt_tokens(l, &head, text, err) : 0;
    int n = common_run(&head, first);
    tokens_release(&head);
    if (rc == 0)
        rc = cache_ensure(l, l->batch_tokens + n, err);
    if (rc || (l->head_text && !strcmp(l->head_text, text)))
        return rc;
    head_forget(l);
    if (n > 0) {
        forest_clear(&l->forest);
        int *id = mem_grow(l->head.id, &l->head.cap, (size_t)n, sizeof *id);
        if (id)
            l->head.id = memcpy(id, first->id, (size_t)n * sizeof *id);
        if (!id || forest_add(&l->forest, CONTEXT_ROOT, first->id, n) < 0)
            return err_set(err, ERR_MEMORY, "no memory for a labelling prompt of %d tokens", n);
        rc = context_extend(l->ctx, &l->forest, &l->head_handle, err);
        if (rc)
            return rc;
        l->head.n = n;
        p->tokens_computed += n;
    }
    l->head_text = strdup(text);
    return l->head_text ? 0 : err_set(err, ERR_MEMORY, "no memory for a labelling prompt");
}

/* ---- a batch: groups of prompts as trees ---------------------------------------------------------- */

struct word_ids { int id[MAX_SPELLINGS], n, bare; };

struct batch {
    const struct tokens *prompt;    // (n) of the question
    struct answer *out;
    int per_group;
    const struct word_ids *word;
    int n_words;
    int first, n;                   // prompts in the forest so far, of the question's
    int n_items;
};

/* Tokens that all prompts of a group begin with; each keeps one for itself. */
static int group_shares(const struct tokens *t, const struct answer *a, int n)
{
    int share = INT32_MAX, base = -1;
    for (int i = 0; i < n; i++) {
        if (a[i].too_long)
            continue;
        int run = base < 0 ? t[i].n : common_run(&t[base], &t[i]);
        share = run < share ? run : share;
        share = t[i].n - 1 < share ? t[i].n - 1 : share;
        base = base < 0 ? i : base;
    }
    return base < 0 ? 0 : share;
}

/* The head's tokens, where all of the shared run's begin with them. */
static int group_base(const struct local *l, const struct tokens *t, int share)
{
    return l->head.n && share >= l->head.n && !memcmp(t->id, l->head.id, (size_t)l->head.n * sizeof *t->id) ? l->head.n : 0;
}

static int group_cost(const struct local *l, const struct tokens *t, const struct answer *a, int n)
{
    int share = group_shares(t, a, n), cost = 0;
    for (int i = 0; i < n; i++)
        cost += a[i].too_long ? 0 : t[i].n - share;
    return cost ? cost + share - group_base(l, t, share) : 0;
}

static int add_items(struct local *l, struct batch *b, int row)
{
    for (int w = 0; w < b->n_words; w++) {
        struct head_item *item = mem_grow(l->item, &l->item_cap, (size_t)(b->n_items + MAX_SPELLINGS), sizeof *item);
        if (!item)
            return -1;
        l->item = item;
        for (int k = 0; k < b->word[w].n; k++)
            l->item[b->n_items++] = (struct head_item){row, b->word[w].id[k]};
    }
    return 0;
}

static int add_group(struct local *l, struct batch *b, const struct tokens *t, const struct answer *a, int n)
{
    struct forest *f = &l->forest;
    int share = group_shares(t, a, n), lead = 0;
    while (lead < n && a[lead].too_long)
        lead++;
    if (lead == n)
        return 0;
    int base = group_base(l, &t[lead], share), top = base ? ~l->head_handle : CONTEXT_ROOT;
    int parent = top;
    if (share > base) {
        parent = forest_add(f, top, t[lead].id + base, share - base);
        if (parent < 0)
            return -1;
        f->seg[parent].position = base;
    }
    for (int i = lead; i < n; i++) {
        if (a[i].too_long)
            continue;
        int seg = forest_add(f, parent, t[i].id + share, t[i].n - share);
        if (seg < 0)
            return -1;
        f->seg[seg].position = share;
        if (add_items(l, b, f->seg[seg].start + f->seg[seg].len - 1))
            return -1;
    }
    return 0;
}

/* ---- answers ------------------------------------------------------------------------------------------ */

static double log_sum(const float *logp, int n)
{
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        most = fmax(most, logp[i]);
    for (int i = 0; i < n && isfinite(most); i++)
        sum += exp(logp[i] - most);
    return isfinite(most) ? most + log(sum) : most;
}

static int read_answer(struct answer *a, const struct batch *b, const float *logp)
{
    int at = 0;
    a->mass = 0;
    for (int w = 0; w < b->n_words; w++) {
        const struct word_ids *ids = &b->word[w];
        a->word[w] = (struct word_logp){log_sum(logp + at, ids->n), NAN};
        for (int k = 0; k < ids->n; k++)
            if (ids->id[k] == ids->bare)
                a->word[w].bare = logp[at + k];
        a->mass += exp(a->word[w].sum);
        at += ids->n;
    }
    return at;
}

static int batch_memory(struct local *l, int n_items, struct err *err)
{
    float *logp = mem_grow(l->logp, &l->logp_cap, (size_t)n_items + 1, sizeof *logp);
    if (logp)
        l->logp = logp;
    float *lse = mem_grow(l->lse, &l->lse_cap, (size_t)n_items + 1, sizeof *lse);
    if (lse)
        l->lse = lse;
    int *handles = mem_grow(l->handles, &l->handles_cap, (size_t)l->forest.n + 1, sizeof *handles);
    if (handles)
        l->handles = handles;
    return logp && lse && handles ? 0 : err_set(err, ERR_MEMORY, "no memory for a labelling batch");
}

/* Runs the forest, reads the answers of its prompts and gives the slots back. */
static int batch_run(struct provider *p, struct batch *b, struct err *err)
{
    struct local *l = p->state;
    int rc = l->forest.n ? batch_memory(l, b->n_items, err) : 0;
    if (rc == 0 && l->forest.n) {
        rc = context_extend(l->ctx, &l->forest, l->handles, err);
        if (rc == 0) {
            context_logp(l->ctx, l->logp, NULL, l->lse, l->item, b->n_items, 1.0f);
            p->tokens_computed += l->forest.tokens.n;
            int at = 0;
            for (int i = b->first; i < b->first + b->n; i++)
                if (!b->out[i].too_long)
                    at += read_answer(&b->out[i], b, l->logp + at);
            for (int i = l->forest.n - 1; i >= 0; i--)
                context_drop(l->ctx, l->handles[i]);
        }
    }
    forest_clear(&l->forest);
    b->first += b->n;
    b->n = b->n_items = 0;
    return rc;
}

static int answer_groups(struct provider *p, struct batch *b, int n, struct err *err)
{
    struct local *l = p->state;
    int rc = 0;
    forest_clear(&l->forest);
    for (int at = 0; at < n && rc == 0; at += b->per_group) {
        int m = n - at < b->per_group ? n - at : b->per_group;
        int cost = group_cost(l, b->prompt + at, b->out + at, m);
        if (b->n && l->forest.tokens.n + cost > l->batch_tokens)
            rc = batch_run(p, b, err);
        if (rc == 0 && add_group(l, b, b->prompt + at, b->out + at, m))
            rc = err_set(err, ERR_MEMORY, "no memory for a labelling batch");
        b->n += m;
    }
    return rc ? rc : batch_run(p, b, err);
}

static int word_ids(struct word_ids *out, const struct local *l, const struct question *q, struct err *err)
{
    const struct tokenizer *t = model_tokenizer(l->m);
    for (int w = 0; w < q->n_words; w++) {
        out[w].n = tokenizer_spellings(t, q->word[w], out[w].id, MAX_SPELLINGS);
        out[w].bare = tokenizer_id(t, q->word[w]);
        if (out[w].n < 1)
            return err_set(err, ERR_UNSUPPORTED, "the labeler's tokenizer has no single token for the label word \"%s\"",
                           q->word[w]);
    }
    return 0;
}

/* Tokenises all prompts; a group that fits the window fits the cache, too. */
static int prompts_tokens(struct provider *p, struct tokens *t, struct answer *out, const struct question *q, int *most,
                          struct err *err)
{
    struct local *l = p->state;
    int limit = model_config(l->m)->max_position, rc = 0, group = 0;
    for (int i = 0; i < q->n && rc == 0; i++) {
        rc = prompt_tokens(l, &t[i], q->prompt[i], err);
        out[i] = (struct answer){.tokens = t[i].n, .too_long = limit > 0 && t[i].n > limit};
        p->tokens_asked += t[i].n;
        group = (i % q->per_group ? group : 0) + (out[i].too_long ? 0 : t[i].n);
        *most = group > *most ? group : *most;
    }
    return rc;
}

static int local_answer(struct provider *p, struct answer *out, const struct question *q, struct err *err)
{
    struct local *l = p->state;
    struct word_ids words[PROVIDER_MAX_WORDS];
    BUG_IF(q->n_words > PROVIDER_MAX_WORDS || q->per_group < 1);
    if (q->n == 0)
        return 0;
    struct tokens *t = mem_alloc((size_t)q->n, sizeof *t);
    if (!t)
        return err_set(err, ERR_MEMORY, "no memory for a labelling batch");
    int most = 0;
    int rc = word_ids(words, l, q, err);
    if (rc == 0)
        rc = prompts_tokens(p, t, out, q, &most, err);
    if (rc == 0 && most > l->batch_tokens)
        l->batch_tokens = most;
    if (rc == 0)
        rc = head_ensure(p, q->head ? q->head : "", &t[0], err);
    struct batch b = {.prompt = t, .out = out, .per_group = q->per_group, .word = words, .n_words = q->n_words};
    if (rc == 0)
        rc = answer_groups(p, &b, q->n, err);
    for (int i = 0; i < q->n; i++)
        tokens_release(&t[i]);
    free(t);
    return rc;
}

/* ---- the provider ----------------------------------------------------------------------------------------- */

static int local_sample(struct provider *p, char **text, const char *prompt, const struct sampling *s, struct err *err)
{
    struct local *l = p->state;
    struct tokens t = {0};
    struct completion c = {0};
    int rc = prompt_tokens(l, &t, prompt, err);
    if (rc == 0) {
        struct prompt_ids ids = {t.id, t.n, hash_bytes(prompt, strlen(prompt)).lo};
        rc = model_generate(&c, l->m, &ids, 1, 1, s, 1, NULL, NULL, err);
    }
    if (rc == 0) {
        *text = c.text;
        c.text = NULL;
        completions_release(&c, 1);
    }
    tokens_release(&t);
    return rc;
}

static void local_close(struct provider *p)
{
    struct local *l = p->state;
    if (!l)
        return;
    head_forget(l);
    context_free(l->ctx);
    tokens_release(&l->head);
    forest_release(&l->forest);
    free(l->handles);
    free(l->item);
    free(l->logp);
    free(l->lse);
    free(l);
}

int provider_local_new(struct provider **out, const struct model *m, const char *name, int batch_tokens, struct err *err)
{
    struct provider *p = mem_alloc(1, sizeof *p);
    struct local *l = mem_alloc(1, sizeof *l);
    if (!p || !l) {
        free(p);
        free(l);
        return err_set(err, ERR_MEMORY, "no memory for a labeler");
    }
    l->m = m;
    l->batch_tokens = batch_tokens > 0 ? batch_tokens : DEFAULT_BATCH_TOKENS;
    *p = (struct provider){.state = l, .answer = local_answer, .sample = local_sample, .close = local_close};
    snprintf(p->fingerprint, sizeof p->fingerprint, "local:%s", model_fingerprint(m));
    snprintf(p->name, sizeof p->name, "%s", name);
    *out = p;
    return 0;
}
