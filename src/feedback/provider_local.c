/* feedback/provider_local.c - a model in this process as a labeler.
 *
 * What prompts share is computed once (DESIGN D5), as a forest on top of a cache:
 *
 *     head (preamble, exemplars)          once for the whole run, kept in the cache
 *       +- text and what else both orders share      once per pair
 *            +- rest of order A
 *            +- rest of order B
 *
 * Asks that share much come side by side; neighbours are put on one stem where that saves more than it costs.  Each whole
 * prompt is tokenised by itself and the longest common run of tokens is shared, so sharing can never change
 * a token.  By DESIGN D1 it does not change a bit of the answers either.  Only the last row of each prompt goes through the
 * head, and the rows of words that are several tokens. */
#include "feedback/ask.h"

#include <math.h>

enum {
    DEFAULT_BATCH_TOKENS = 4096,
    SEQUENCES = 16,         // texts in flight
    MAX_SPELLINGS = 16,     // of one word, as single tokens or in pieces
    MAX_PIECES = 8,         // tokens of a word
};

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

static int plain_tokens(const struct local *l, struct tokens *out, const char *text, struct err *err)
{
    const struct model_config *c = model_config(l->m);
    // Texts come from data: what looks like a control token in them is text.
    int rc = tokenize(model_tokenizer(l->m), out, text, strlen(text), TOKENIZE_SPECIAL, err);
    if (rc == 0 && out->n > 1 && c->eos >= 0 && out->id[out->n - 1] == c->eos)
        out->n--;       // a tokenizer that closes texts must not close one that is to be continued
    return rc;
}

/* The prompt, or the conversation in the model's own template (whose control tokens are meant), and the prefill. */
static int ask_tokens(const struct local *l, struct tokens *out, const struct ask *ask, struct err *err)
{
    struct buf b = {0};
    int rc = 0;
    if (ask->prompt)
        buf_adds(&b, ask->prompt);
    else
        rc = chat_render(model_tokenizer(l->m), &b, ask->message, ask->n_messages, true, err);
    buf_adds(&b, ask->prefill ? ask->prefill : "");
    if (rc == 0 && b.failed)
        rc = err_set(err, ERR_MEMORY, "no memory for a prompt");
    if (rc == 0)
        rc = ask->prompt ? plain_tokens(l, out, b.s, err)
                         : tokenize(model_tokenizer(l->m), out, b.s, b.len, TOKENIZE_PARSE_SPECIAL, err);
    buf_release(&b);
    if (rc == 0 && out->n == 0)
        rc = err_set(err, ERR_VALUE, "a labelling prompt has no tokens");
    return rc;
}

int provider_local_tokens(const struct model *m, struct tokens *out, const struct ask *ask, struct err *err)
{
    struct local l = {.m = m};
    return ask_tokens(&l, out, ask, err);
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
    int rc = text[0] ? plain_tokens(l, &head, text, err) : 0;
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

/* ---- words: what may be said, token by token ------------------------------------------------------ */

/* One way to say a word. */
struct spelling { int id[MAX_PIECES], n, word; };
struct words {
    struct spelling *spelling;      // (n) word by word
    int n, n_words, n_items, n_extra;   // items of the head, and tokens computed beyond it, of one prompt
    int bare[PROVIDER_MAX_WORDS];   // the token without a space, -1: none
};

static void words_release(struct words *w)
{
    free(w->spelling);
    *w = (struct words){0};
}

static int add_spelling(struct words *w, size_t *cap, const struct spelling *s, struct err *err)
{
    struct spelling *more = mem_grow(w->spelling, cap, (size_t)w->n + 1, sizeof *more);
    if (!more)
        return err_set(err, ERR_MEMORY, "no memory for label words");
    w->spelling = more;
    more[w->n++] = *s;
    w->n_items += s->n;
    w->n_extra += s->n - 1;
    return 0;
}

/* All ways to finish `rest` by further tokens of exactly its bytes, longest pieces first; at most MAX_SPELLINGS in all. */
static int spell_rest(struct words *w, size_t *cap, const struct local *l, struct spelling *s, const char *rest, int *left,
                      struct err *err)
{
    size_t n = strlen(rest);
    if (n == 0) {
        *left -= 1;
        return add_spelling(w, cap, s, err);
    }
    int rc = 0;
    for (size_t k = n; k > 0 && *left > 0 && s->n < MAX_PIECES && rc == 0; k--) {
        char *piece = strndup(rest, k);
        int id[MAX_SPELLINGS];
        int found = piece ? tokenizer_spellings(model_tokenizer(l->m), piece, id, MAX_SPELLINGS) : 0;
        int bare = piece ? tokenizer_id(model_tokenizer(l->m), piece) : -1;
        free(piece);
        for (int i = 0; i < found && *left > 0 && rc == 0; i++) {
            if (s->n && id[i] != bare)
                continue;       // a space belongs before the word only
            s->id[s->n++] = id[i];
            rc = spell_rest(w, cap, l, s, rest + k, left, err);
            s->n--;
        }
    }
    return rc;
}

/* A word that has tokens of its own is said by those ("1", " 1"); one that has none, in pieces. */
static int words_make(struct words *w, const struct local *l, const struct ask *q, struct err *err)
{
    const struct tokenizer *t = model_tokenizer(l->m);
    size_t cap = 0;
    int rc = 0;
    *w = (struct words){.n_words = q->n_words};
    for (int k = 0; k < q->n_words && rc == 0; k++) {
        int id[MAX_SPELLINGS], found = tokenizer_spellings(t, q->word[k], id, MAX_SPELLINGS), before = w->n, left = MAX_SPELLINGS;
        struct spelling s = {.word = k};
        w->bare[k] = tokenizer_id(t, q->word[k]);
        for (int i = 0; i < found && rc == 0; i++) {
            s.id[0] = id[i];
            s.n = 1;
            rc = add_spelling(w, &cap, &s, err);
        }
        s.n = 0;
        if (rc == 0 && found < 1)
            rc = spell_rest(w, &cap, l, &s, q->word[k], &left, err);
        if (rc == 0 && w->n == before)
            rc = err_set(err, ERR_UNSUPPORTED, "the labeler's tokenizer has no tokens for the label word \"%s\"", q->word[k]);
    }
    return rc;
}

static double log_sum(const double *logp, int n)
{
    double most = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        most = fmax(most, logp[i]);
    for (int i = 0; i < n && isfinite(most); i++)
        sum += exp(logp[i] - most);
    return isfinite(most) ? most + log(sum) : most;
}

static bool begins(const struct spelling *longer, const struct spelling *s)
{
    return longer->n > s->n && !memcmp(longer->id, s->id, (size_t)s->n * sizeof *s->id);
}

/* Log-prob that a spelling is said and goes on to none of the others that begin with it: "1" and not "10". */
static double said_alone(const struct words *w, const double *logp, int i)
{
    double on = 0;
    for (int k = 0; k < w->n; k++) {
        bool direct = begins(&w->spelling[k], &w->spelling[i]) && w->spelling[k].word != w->spelling[i].word;
        for (int m = 0; m < w->n && direct; m++)    // "100" is within "10"
            direct = !(begins(&w->spelling[k], &w->spelling[m]) && begins(&w->spelling[m], &w->spelling[i]));
        if (direct)
            on += exp(logp[k] - logp[i]);
    }
    return on > 0 ? logp[i] + log1p(-fmin(on, 1)) : logp[i];
}

/* item: log-probs of the items of one prompt, spelling by spelling. */
static int words_read(struct reply *r, const struct words *w, const float *item, struct err *err)
{
    double *logp = mem_alloc((size_t)w->n * 2, sizeof *logp), *alone = logp + w->n;
    if (!logp)
        return err_set(err, ERR_MEMORY, "no memory for label words");
    for (int i = 0; i < w->n; i++)
        for (int k = 0; k < w->spelling[i].n; k++)
            logp[i] += *item++;
    for (int i = 0; i < w->n; i++)
        alone[i] = said_alone(w, logp, i);
    r->mass = 0;
    for (int k = 0, at = 0; k < w->n_words; k++) {
        int n = 0;
        double bare = NAN;
        for (; at + n < w->n && w->spelling[at + n].word == k; n++)
            if (w->spelling[at + n].n == 1 && w->spelling[at + n].id[0] == w->bare[k])
                bare = logp[at + n];
        r->word[k] = (struct word_logp){log_sum(alone + at, n), bare};
        r->mass += exp(r->word[k].sum);
        at += n;
    }
    r->has_logps = true;
    free(logp);
    return 0;
}

/* ---- a batch: groups of prompts as trees ---------------------------------------------------------- */

/* A run of asks for the same words, told to `done` as batches are complete. */
struct run {
    const struct tokens *prompt;    // (n)
    struct reply *out;              // (n)
    int n, at;                      // at: index of the first among the asks of the call
    const struct words *words;
    ask_done *done;
    void *arg;
    bool stop;                      // done said so
};
struct batch { int first, n, n_items; };    // prompts in the forest so far, of the run's

static bool too_long(const struct run *u, int i)
{
    return u->out[i].state == REPLY_TOO_LONG;
}

/* How many neighbours, from `at` on, go on one stem.  Another one joins while it is no closer to the one after it, and the
 * tokens saved grow.  `base` tokens are in the cache. */
static int group_end(const struct run *u, int at, int base)
{
    int share = u->prompt[at].n, end = at + 1;
    for (; end < u->n && !too_long(u, at) && !too_long(u, end); end++) {
        int run = common_run(&u->prompt[at], &u->prompt[end]), with = run < share ? run : share;
        if (end + 1 < u->n && common_run(&u->prompt[end], &u->prompt[end + 1]) > run)
            break;
        int members = end - at;
        if ((int64_t)members * (with - base) <= (int64_t)(members - 1) * (share - base))
            break;
        share = with;
    }
    return end;
}

/* Tokens that all prompts of a group begin with; each keeps one for itself. */
static int group_shares(const struct run *u, int at, int n)
{
    int share = u->prompt[at].n - 1;
    for (int i = at + 1; i < at + n; i++) {
        int run = common_run(&u->prompt[at], &u->prompt[i]);
        share = run < share ? run : share;
        share = u->prompt[i].n - 1 < share ? u->prompt[i].n - 1 : share;
    }
    return share;
}

/* The head's tokens, where all of the shared run's begin with them. */
static int group_base(const struct local *l, const struct tokens *t, int share)
{
    return l->head.n && share >= l->head.n && !memcmp(t->id, l->head.id, (size_t)l->head.n * sizeof *t->id) ? l->head.n : 0;
}

static int group_cost(const struct local *l, const struct run *u, int at, int n)
{
    int share = group_shares(u, at, n), cost = share - group_base(l, &u->prompt[at], share);
    for (int i = at; i < at + n; i++)
        cost += u->prompt[i].n - share + u->words->n_extra;
    return too_long(u, at) ? 0 : cost;
}

/* Items of one prompt that ends with segment seg, and below it the inner tokens of words in pieces. */
static int add_items(struct local *l, struct batch *b, const struct words *w, int seg)
{
    struct forest *f = &l->forest;
    struct head_item *item = mem_grow(l->item, &l->item_cap, (size_t)(b->n_items + w->n_items), sizeof *item);
    if (!item)
        return -1;
    l->item = item;
    for (int i = 0; i < w->n; i++) {
        const struct spelling *s = &w->spelling[i];
        item[b->n_items++] = (struct head_item){f->seg[seg].start + f->seg[seg].len - 1, s->id[0]};
        int inner = s->n > 1 ? forest_add(f, seg, s->id, s->n - 1) : 0;
        if (inner < 0)
            return -1;
        for (int k = 1; k < s->n; k++)
            item[b->n_items++] = (struct head_item){f->seg[inner].start + k - 1, s->id[k]};
    }
    return 0;
}

static int add_group(struct local *l, struct batch *b, const struct run *u, int at, int n)
{
    struct forest *f = &l->forest;
    const struct tokens *t = u->prompt + at;
    if (too_long(u, at))
        return 0;       // alone in its group
    int share = group_shares(u, at, n), base = group_base(l, t, share);
    int parent = base ? ~l->head_handle : CONTEXT_ROOT;
    if (share > base) {
        parent = forest_add(f, parent, t->id + base, share - base);
        if (parent < 0)
            return -1;
        f->seg[parent].position = base;
    }
    for (int i = 0; i < n; i++) {
        int seg = forest_add(f, parent, t[i].id + share, t[i].n - share);
        if (seg < 0)
            return -1;
        f->seg[seg].position = share;
        if (add_items(l, b, u->words, seg))
            return -1;
    }
    return 0;
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

static int batch_compute(struct provider *p, const struct run *u, const struct batch *b, struct err *err)
{
    struct local *l = p->state;
    int rc = batch_memory(l, b->n_items, err);
    if (rc == 0)
        rc = context_extend(l->ctx, &l->forest, l->handles, err);
    if (rc)
        return rc;
    context_logp(l->ctx, l->logp, NULL, l->lse, l->item, b->n_items, 1.0f);
    p->tokens_computed += l->forest.tokens.n;
    const float *at = l->logp;
    for (int i = b->first; i < b->first + b->n && rc == 0; i++)
        if (!too_long(u, i)) {
            rc = words_read(&u->out[i], u->words, at, err);
            at += u->words->n_items;
        }
    for (int i = l->forest.n - 1; i >= 0; i--)
        context_drop(l->ctx, l->handles[i]);
    return rc;
}

/* Runs the forest, tells the replies of its prompts and gives the slots back. */
static int batch_run(struct provider *p, struct run *u, struct batch *b, struct err *err)
{
    struct local *l = p->state;
    double before = time_now();
    int rc = l->forest.n ? batch_compute(p, u, b, err) : 0;
    double seconds = b->n ? (time_now() - before) / b->n : 0;
    forest_clear(&l->forest);
    for (int i = b->first; i < b->first + b->n && rc == 0 && !u->stop; i++) {
        u->out[i].seconds = seconds;
        u->stop = !u->done(u->arg, u->at + i);
    }
    if (rc == 0 && !u->stop)
        u->stop = !u->done(u->arg, -1);
    b->first += b->n;
    b->n = b->n_items = 0;
    if (rc == 0 && !u->stop && b->first < u->n && interrupted())
        rc = err_set(err, ERR_INTERRUPTED, "interrupted; replies are kept, and the same command goes on from here");
    return rc;
}

static int run_groups(struct provider *p, struct run *u, struct err *err)
{
    struct local *l = p->state;
    struct batch b = {0};
    int rc = 0;
    forest_clear(&l->forest);
    for (int at = 0, m; at < u->n && rc == 0 && !u->stop; at += m) {
        m = group_end(u, at, group_base(l, &u->prompt[at], u->prompt[at].n)) - at;
        int cost;
        while (cost = group_cost(l, u, at, m), m > 1 && cost > l->batch_tokens)
            m = (m + 1) / 2;
        if (b.n && l->forest.tokens.n + cost > l->batch_tokens)
            rc = batch_run(p, u, &b, err);
        if (rc == 0 && add_group(l, &b, u, at, m))
            rc = err_set(err, ERR_MEMORY, "no memory for a labelling batch");
        b.n += m;
    }
    return rc || u->stop ? rc : batch_run(p, u, &b, err);
}

/* ---- a run of asks for words ----------------------------------------------------------------------------- */

/* Tokenises all prompts; each that fits the window fits the cache, too. */
static int run_tokens(struct provider *p, struct tokens *t, struct reply *out, const struct ask *ask, int n, int *most,
                      struct err *err)
{
    struct local *l = p->state;
    int limit = model_config(l->m)->max_position, rc = 0;
    for (int i = 0; i < n && rc == 0; i++) {
        rc = ask_tokens(l, &t[i], &ask[i], err);
        bool fits = limit <= 0 || t[i].n + (ask[i].kind == ASK_TEXT) <= limit;
        out[i].tokens_in = t[i].n;
        out[i].state = fits ? REPLY_OK : REPLY_TOO_LONG;
        p->tokens_asked += t[i].n;
        if (fits && t[i].n > *most)
            *most = t[i].n;
    }
    return rc;
}

static int ask_words(struct provider *p, struct run *u, const struct ask *ask, struct tokens *t, struct err *err)
{
    struct local *l = p->state;
    struct words words = {0};
    int most = 0;
    int rc = words_make(&words, l, ask, err);
    if (rc == 0)
        rc = run_tokens(p, t, u->out, ask, u->n, &most, err);
    if (rc == 0 && most + words.n_extra > l->batch_tokens)
        l->batch_tokens = most + words.n_extra;
    if (rc == 0)
        rc = head_ensure(p, ask->head ? ask->head : "", &t[0], err);
    u->words = &words;
    if (rc == 0)
        rc = run_groups(p, u, err);
    words_release(&words);
    return rc;
}

/* ---- a run of asks for texts -------------------------------------------------------------------------------- */

struct texts { struct provider *p; struct run *u; struct completion *c; int *which; double last; };

static void text_done(void *arg, int i)
{
    struct texts *t = arg;
    struct reply *r = &t->u->out[t->which[i]];
    double now = time_now();
    r->text = t->c[i].text;
    t->c[i].text = NULL;
    r->tokens_out = t->c[i].n;
    r->seconds = now - t->last;     // sequences run together: the time since the one before
    t->last = now;
    t->p->tokens_computed += r->tokens_in;
    if (!t->u->stop)
        t->u->stop = !t->u->done(t->u->arg, t->u->at + t->which[i]) || !t->u->done(t->u->arg, -1);
}

static int ask_texts(struct provider *p, struct run *u, const struct ask *ask, struct tokens *t, struct err *err)
{
    struct local *l = p->state;
    struct completion *c = mem_alloc((size_t)u->n, sizeof *c);
    struct prompt_ids *ids = mem_alloc((size_t)u->n, sizeof *ids);
    int *which = mem_alloc((size_t)u->n, sizeof *which), most = 0, n = 0;
    int rc = c && ids && which ? 0 : err_set(err, ERR_MEMORY, "no memory for %d texts", u->n);
    if (rc == 0)
        rc = run_tokens(p, t, u->out, ask, u->n, &most, err);
    for (int i = 0; i < u->n && rc == 0 && !u->stop; i++) {
        if (too_long(u, i)) {
            u->stop = !u->done(u->arg, u->at + i);
            continue;
        }
        // The stream of random numbers follows from the question, not from its place.
        uint64_t item = hash_bytes(t[i].id, (size_t)t[i].n * sizeof *t[i].id).lo + (uint64_t)ask[i].draw * 0x9e3779b97f4a7c15;
        ids[n] = (struct prompt_ids){t[i].id, t[i].n, item};
        which[n++] = i;
    }
    struct texts arg = {p, u, c, which, time_now()};
    if (rc == 0 && n && !u->stop) {
        rc = model_generate(c, l->m, ids, n, 1, &ask->sampling, SEQUENCES, text_done, &arg, err);
        if (rc == 0)
            completions_release(c, n);
    }
    free(c);
    free(ids);
    free(which);
    return rc;
}

/* ---- the provider ----------------------------------------------------------------------------------------- */

enum { RUN = 512 };     // texts of which the prompts are in memory together

static bool same_words(const struct ask *a, const struct ask *b)
{
    bool same = a->n_words == b->n_words;
    for (int i = 0; i < a->n_words && same; i++)
        same = !strcmp(a->word[i], b->word[i]);
    return same;
}

static bool same_sampling(const struct sampling *a, const struct sampling *b)
{
    bool same = a->temperature == b->temperature && a->top_k == b->top_k && a->top_p == b->top_p &&
                a->max_new_tokens == b->max_new_tokens && a->n_stop == b->n_stop && a->seed == b->seed &&
                a->ignore_eos == b->ignore_eos && a->n_stop_ids == b->n_stop_ids;
    for (int i = 0; i < a->n_stop && same; i++)
        same = !strcmp(a->stop[i], b->stop[i]);
    for (int i = 0; i < a->n_stop_ids && same; i++)
        same = a->stop_ids[i] == b->stop_ids[i];
    return same;
}

/* How many asks, from the first, want the same thing. */
static int run_length(const struct ask *ask, int n)
{
    int i = 1, most = ask->kind == ASK_TEXT && n > RUN ? RUN : n;
    const char *head = ask->head ? ask->head : "";
    while (i < most && ask[i].kind == ask->kind &&
           (ask->kind == ASK_TEXT ? same_sampling(&ask[i].sampling, &ask->sampling)
                                  : same_words(&ask[i], ask) && !strcmp(ask[i].head ? ask[i].head : "", head)))
        i++;
    return i;
}

static int local_ask(struct provider *p, struct reply *out, const struct ask *ask, int n, ask_done *done, void *arg,
                     struct err *err)
{
    int rc = 0;
    bool stop = false;
    for (int at = 0, m; at < n && rc == 0 && !stop; at += m) {
        m = run_length(ask + at, n - at);
        BUG_IF(ask[at].kind == ASK_WORDS && (ask[at].n_words < 1 || ask[at].n_words > PROVIDER_MAX_WORDS));
        struct tokens *t = mem_alloc((size_t)m, sizeof *t);
        if (!t)
            return err_set(err, ERR_MEMORY, "no memory for a labelling batch");
        struct run u = {.prompt = t, .out = out + at, .n = m, .at = at, .done = done, .arg = arg};
        rc = ask[at].kind == ASK_WORDS ? ask_words(p, &u, ask + at, t, err) : ask_texts(p, &u, ask + at, t, err);
        for (int i = 0; i < m; i++)
            tokens_release(&t[i]);
        free(t);
        stop = u.stop;
    }
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
    *p = (struct provider){.state = l, .ask = local_ask, .close = local_close};
    snprintf(p->fingerprint, sizeof p->fingerprint, "local:%s", model_fingerprint(m));
    snprintf(p->name, sizeof p->name, "%s", name);
    char template[33];
    tokenizer_template_hash(model_tokenizer(m), template);
    snprintf(p->wrap, sizeof p->wrap, "%s%s", *template ? "-t" : "", template);
    *out = p;
    return 0;
}
