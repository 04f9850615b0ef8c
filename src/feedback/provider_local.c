/* feedback/provider_local.c - a model in this process as a labeler.
 *
 * Every question is a request to one scheduler (model.h), whose cache is a tree by token ids:
 * what prompts begin with in common, the preamble of all, the text of both orders, is computed
 * once and stays as long as there is room; the scheduler takes next what shares most.  Each whole
 * prompt is tokenised by itself, so sharing can never change a token; by DESIGN D1 it does not
 * change a bit of the answers either.
 *
 * Words are asked after the last token of the prompt; one that is several tokens ("10" as "1"
 * "0") by a further request, the prompt and its pieces, of which the pieces alone have to be
 * computed. */
#include "feedback/spellings.h"

enum {
    ROWS = 1024,            // tokens computed in a step, and
    ROWS_MOST = 2048,
    SEQUENCES = 32,         // in flight
    WINDOW = 128,           // questions whose tokens are in memory
    BLOCKS = 128,           // of the cache: 8,192 tokens
    BLOCKS_MOST = 512,      // for many long texts at a time; more only where one prompt needs it
};

struct local {
    const struct model *m;
    struct scheduler *scheduler;    // made when it is known what must fit
    int rows, blocks, most;         // most: blocks that are allowed, 0: no bound
};

/* ---- tokens ------------------------------------------------------------------------------ */

static int plain_tokens(const struct model *m, struct tokens *out, const char *text,
                        struct err *err)
{
    const struct model_config *c = model_config(m);
    // Texts come from data: what looks like a control token in them is text.
    int rc = tokenize(model_tokenizer(m), out, text, strlen(text), TOKENIZE_SPECIAL, err);
    if (rc == 0 && out->n > 1 && c->eos >= 0 && out->id[out->n - 1] == c->eos)
        out->n--;       // a tokenizer that closes texts must not close one that is to be continued
    return rc;
}

/* The prompt, or the conversation in the model's own template (whose control tokens are meant),
 * and the prefill. */
int provider_local_tokens(const struct model *m, struct tokens *out, const struct ask *ask,
                          struct err *err)
{
    struct buf b = {0};
    int rc = 0;
    if (ask->prompt)
        buf_adds(&b, ask->prompt);
    else
        rc = chat_render(model_tokenizer(m), &b, ask->message, ask->n_messages, true, err);
    buf_adds(&b, ask->prefill ? ask->prefill : "");
    if (rc == 0 && b.failed)
        rc = err_set(err, ERR_MEMORY, "no memory for a prompt");
    if (rc == 0)
        rc = ask->prompt
                 ? plain_tokens(m, out, b.s, err)
                 : tokenize(model_tokenizer(m), out, b.s, b.len, TOKENIZE_PARSE_SPECIAL, err);
    buf_release(&b);
    if (rc == 0 && out->n == 0)
        rc = err_set(err, ERR_VALUE, "a labelling prompt has no tokens");
    return rc;
}

/* ---- a call ---------------------------------------------------------------------------------- */

/* A question on its way: as many requests as it takes. */
struct part { struct question *q; int *id, ticket; bool done; };
struct question {
    struct call *call;
    struct question *before, *after;    // in the list it is in
    int i;                          // which of the call's asks
    struct tokens t;
    const struct words *words;      // NULL: a text is wanted
    struct part *part; int n_parts, left;
    struct head_item *item;         // (words->n) first tokens, then (words->n_extra) further ones
    float *logp;                    // of them
    struct completion c;
};
struct questions { struct question *first, *last; int n; };
struct call {
    struct provider *p;
    struct local *l;
    struct reply *out;
    const struct ask *ask;
    int n, next;
    struct questions waiting, complete;
    struct words **words; int n_words; size_t words_cap;    // of the asks so far, the last one in use
    ask_done *done;
    void *arg;
    bool stop;                      // done said so
    double last;                    // when replies were told
};

static void list_put(struct questions *l, struct question *q)
{
    q->before = l->last;
    q->after = NULL;
    *(l->last ? &l->last->after : &l->first) = q;
    l->last = q;
    l->n++;
}

static void list_take(struct questions *l, struct question *q)
{
    *(q->before ? &q->before->after : &l->first) = q->after;
    *(q->after ? &q->after->before : &l->last) = q->before;
    l->n--;
}

static void question_free(struct question *q)
{
    for (int i = 0; q->part && i < q->n_parts; i++)
        if (i)
            free(q->part[i].id);    // the first has the prompt's own
    completions_release(&q->c, 1);
    tokens_release(&q->t);
    free(q->part);
    free(q->item);
    free(q->logp);
    free(q);
}

/* A request is done; replies are told between steps. */
static void part_done(void *arg, int ticket)
{
    struct part *part = arg;
    struct question *q = part->q;
    part->done = true;
    if (--q->left)
        return;
    list_take(&q->call->waiting, q);
    list_put(&q->call->complete, q);
}

/* ---- asking ------------------------------------------------------------------------------ */

static bool same_words(const struct ask *a, const struct ask *b)
{
    bool same = a->n_words == b->n_words;
    for (int i = 0; i < a->n_words && same; i++)
        same = !strcmp(a->word[i], b->word[i]);
    return same;
}

/* The spellings of what ask i wants: as a rule those of the ask before. */
static int question_words(struct question *q, struct err *err)
{
    struct call *c = q->call;
    const struct ask *ask = &c->ask[q->i];
    bool known = c->n_words && q->i && c->ask[q->i - 1].kind == ASK_WORDS &&
                 same_words(ask, &c->ask[q->i - 1]);
    if (!known) {
        struct words **all = mem_grow(c->words, &c->words_cap, (size_t)c->n_words + 1, sizeof *all);
        c->words = all ? all : c->words;
        struct words *w = all ? mem_alloc(1, sizeof *w) : NULL;
        if (!w)
            return err_set(err, ERR_MEMORY, "no memory for label words");
        all[c->n_words++] = w;
        int rc = words_make(w, model_tokenizer(c->l->m), ask, err);
        if (rc)
            return rc;
    }
    q->words = c->words[c->n_words - 1];
    return 0;
}

static int question_memory(struct question *q, struct err *err)
{
    size_t items = q->words ? (size_t)(q->words->n + q->words->n_extra) : 1;
    q->n_parts = q->words ? 1 + q->words->n_pieced : 1;
    q->part = mem_alloc((size_t)q->n_parts, sizeof *q->part);
    q->item = mem_alloc(items, sizeof *q->item);
    q->logp = mem_alloc(items, sizeof *q->logp);
    if (!q->part || !q->item || !q->logp)
        return err_set(err, ERR_MEMORY, "no memory for a labelling prompt");
    return 0;
}

static int submit_part(struct question *q, int part, struct scheduler_request *r, struct err *err)
{
    struct part *p = &q->part[part];
    *p = (struct part){.q = q, .id = (int *)r->id};
    r->done = part_done;
    r->arg = p;
    p->ticket = scheduler_submit(q->call->l->scheduler, r, err);
    p->done = p->ticket < 0;
    q->left += p->ticket >= 0;
    return p->ticket < 0 ? p->ticket : 0;
}

static int submit_words(struct question *q, struct err *err)
{
    const struct words *w = q->words;
    int n = q->t.n, part = 1, at = w->n;
    for (int i = 0; i < w->n; i++)
        q->item[i] = (struct head_item){n - 1, w->spelling[i].id[0]};
    struct scheduler_request r = {
        .id = q->t.id, .n = n, .ask = q->item, .n_ask = w->n, .logp = q->logp};
    int rc = submit_part(q, 0, &r, err);
    for (int i = 0; i < w->n && rc == 0; i++) {
        const struct spelling *s = &w->spelling[i];
        if (s->n == 1)
            continue;
        int *id = mem_alloc((size_t)(n + s->n - 1), sizeof *id);
        if (!id)
            return err_set(err, ERR_MEMORY, "no memory for a labelling prompt");
        memcpy(id, q->t.id, (size_t)n * sizeof *id);
        memcpy(id + n, s->id, (size_t)(s->n - 1) * sizeof *id);
        r = (struct scheduler_request){.id = id,
                                       .n = n + s->n - 1,
                                       .ask = q->item + at,
                                       .n_ask = s->n - 1,
                                       .logp = q->logp + at};
        for (int k = 1; k < s->n; k++)
            q->item[at++] = (struct head_item){n + k - 1, s->id[k]};
        rc = submit_part(q, part++, &r, err);
    }
    return rc;
}

static int submit_text(struct question *q, struct err *err)
{
    const struct ask *ask = &q->call->ask[q->i];
    // The stream of random numbers follows from the question, not from its place.
    uint64_t item = hash_bytes(q->t.id, (size_t)q->t.n * sizeof *q->t.id).lo +
                    (uint64_t)ask->draw * 0x9e3779b97f4a7c15;
    struct scheduler_request r = {
        .id = q->t.id, .n = q->t.n, .sampling = &ask->sampling, .item = item, .out = &q->c};
    return submit_part(q, 0, &r, err);
}

/* Tokens in the cache that a question needs at most. */
static int needs(const struct question *q)
{
    int limit = model_config(q->call->l->m)->max_position,
        new = q->call->ask[q->i].sampling.max_new_tokens;
    int n = limit > 0 && q->t.n > limit ? limit : q->t.n, room = limit - n;
    return n + (q->words ? q->words->longest - 1 : new < room ? new : room);
}

/* Blocks of a cache that serves such questions well, and at least the one. */
static int blocks_wanted(const struct question *q, int one)
{
    int want = q->words ? 2 * one : SEQUENCES * one, most = q->call->l->most;
    want = want < BLOCKS ? BLOCKS : want > BLOCKS_MOST ? BLOCKS_MOST : want;
    want = most && want > most ? most : want;
    return want < one ? one : want;
}

/* A cache in which the question has room: 1, or 0 where that has to wait until the present one is
 * not in use. */
static int fit(struct question *q, struct err *err)
{
    struct local *l = q->call->l;
    int one = scheduler_blocks(1, needs(q)), want = blocks_wanted(q, one);
    // one that is smaller than it might be serves, unless it is too small
    if (l->scheduler && (one <= l->blocks ? l->blocks >= want / 2 || q->call->waiting.n : false))
        return 1;
    if (q->call->waiting.n)
        return 0;
    struct scheduler_options o = {.blocks = want, .sequences = SEQUENCES, .rows = l->rows};
    scheduler_free(l->scheduler);
    l->scheduler = NULL;
    l->blocks = want;
    int rc = scheduler_new(&l->scheduler, l->m, &o, err);
    return rc ? rc : 1;
}

static bool tell(struct call *c, int i)
{
    c->stop = c->stop || !c->done(c->arg, i);
    return !c->stop;
}

static int question_make(struct question **out, struct call *c, struct err *err)
{
    const struct ask *ask = &c->ask[c->next];
    struct question *q = mem_alloc(1, sizeof *q);
    if (!q)
        return err_set(err, ERR_MEMORY, "no memory for a labelling prompt");
    *out = q;
    q->call = c;
    q->i = c->next;
    BUG_IF(ask->kind == ASK_WORDS && (ask->n_words < 1 || ask->n_words > PROVIDER_MAX_WORDS));
    int rc = provider_local_tokens(c->l->m, &q->t, ask, err);
    if (rc == 0 && ask->kind == ASK_WORDS)
        rc = question_words(q, err);
    return rc ? rc : question_memory(q, err);
}

/* Begins the next question: 1, 0 where it has to wait. */
static int begin(struct call *c, struct err *err)
{
    struct question *q = NULL;
    int rc = question_make(&q, c, err), limit = model_config(c->l->m)->max_position;
    if (rc)
        goto out;
    struct reply *r = &c->out[q->i];
    r->tokens_in = q->t.n;
    if (limit > 0 && q->t.n + (q->words ? q->words->longest - 1 : 1) > limit) {
        r->state = REPLY_TOO_LONG;
        c->p->tokens_asked += q->t.n;
        c->next++;
        tell(c, q->i);
        question_free(q);
        return 1;
    }
    rc = fit(q, err);
    if (rc <= 0)
        goto out;
    c->next++;
    c->p->tokens_asked += q->t.n;
    list_put(&c->waiting, q);
    rc = q->words ? submit_words(q, err) : submit_text(q, err);
    return rc ? rc : 1;     // what was submitted is cancelled with the call
out:
    if (q)
        question_free(q);
    return rc;
}

/* ---- replies ----------------------------------------------------------------------------- */

static int reply_take(struct question *q, double seconds, struct err *err)
{
    struct reply *r = &q->call->out[q->i];
    r->state = REPLY_OK;
    r->seconds = seconds;
    if (q->words)
        return words_read(r, q->words, q->logp, q->logp + q->words->n, err);
    r->text = q->c.text;
    q->c.text = NULL;
    r->tokens_out = q->c.n;
    return 0;
}

/* Tells what was completed since the last time; sequences run together, so each took its share of
 * the time since. */
static int tell_complete(struct call *c, struct err *err)
{
    double now = time_now(), each = c->complete.n ? (now - c->last) / c->complete.n : 0;
    bool any = c->complete.n;
    int rc = 0;
    while (rc == 0 && c->complete.first && !c->stop) {
        struct question *q = c->complete.first;
        rc = reply_take(q, each, err);
        if (rc == 0)
            tell(c, q->i);
        list_take(&c->complete, q);
        question_free(q);
    }
    if (any)
        c->last = now;
    if (any && rc == 0 && !c->stop)
        tell(c, -1);    // the next step is long
    return rc;
}

static int one_step(struct call *c, struct err *err)
{
    int64_t before = scheduler_counts(c->l->scheduler).computed;
    int left = scheduler_step(c->l->scheduler, err);
    c->p->tokens_computed += scheduler_counts(c->l->scheduler).computed - before;
    return left < 0 ? left : tell_complete(c, err);
}

/* Whatever is still on its way is not wanted any more. */
static void call_release(struct call *c)
{
    for (struct question *q; (q = c->waiting.first);) {
        for (int i = 0; q->part && i < q->n_parts; i++)
            if (q->part[i].q && !q->part[i].done)
                scheduler_cancel(c->l->scheduler, q->part[i].ticket);
        list_take(&c->waiting, q);
        question_free(q);
    }
    for (struct question *q; (q = c->complete.first);) {
        list_take(&c->complete, q);
        question_free(q);
    }
    for (int i = 0; i < c->n_words; i++) {
        words_release(c->words[i]);
        free(c->words[i]);
    }
    free(c->words);
}

/* On a device that only counts: takes what the longest question takes, and says nothing to any. */
static int plan_ask(struct call *c, struct err *err)
{
    size_t most = 0;
    for (int i = 0; i < c->n; i++) {
        size_t n = c->ask[i].prompt ? strlen(c->ask[i].prompt) : 0;
        for (int k = 0; k < c->ask[i].n_messages && !c->ask[i].prompt; k++)
            n += strlen(c->ask[i].message[k].content);
        if (n > most)
            c->next = i;
        most = n > most ? n : most;
    }
    struct question *q = NULL;
    int rc = question_make(&q, c, err);
    if (rc == 0)
        rc = fit(q, err);
    if (q)
        question_free(q);
    scheduler_free(c->l->scheduler);
    c->l->scheduler = NULL;
    for (int i = 0; rc >= 0 && i < c->n && !c->stop; i++) {
        c->out[i] =
            (struct reply){.has_logps = c->ask[i].kind == ASK_WORDS, .mass = 1, .text = strdup("")};
        tell(c, i);
    }
    return rc < 0 ? rc : 0;
}

static int local_ask(struct provider *p, struct reply *out, const struct ask *ask, int n,
                     ask_done *done, void *arg, struct err *err)
{
    struct local *l = p->state;
    struct call c = {.p = p,
                     .l = l,
                     .out = out,
                     .ask = ask,
                     .n = n,
                     .done = done,
                     .arg = arg,
                     .last = time_now()};
    bool plan = n && device_is_plan(model_device(l->m));
    int rc = plan ? plan_ask(&c, err) : 0;
    while (rc == 0 && !plan && !c.stop && (c.next < n || c.waiting.n)) {
        int more = 1;
        while (more > 0 && !c.stop && c.next < n && c.waiting.n < WINDOW)
            more = begin(&c, err);
        rc = more < 0 ? more : 0;
        if (rc == 0 && !c.stop && c.waiting.n)
            rc = one_step(&c, err);
        if (rc == 0 && !c.stop && (c.next < n || c.waiting.n) && interrupted())
            rc = err_set(err, ERR_INTERRUPTED,
                         "interrupted; replies are kept, and the same command goes on from here");
    }
    call_release(&c);
    if (rc && rc != ERR_INTERRUPTED) {  // what failed in the middle of a step is of no more use
        scheduler_free(l->scheduler);
        l->scheduler = NULL;
    }
    return rc;
}

void provider_local_cache(struct provider *p, int tokens)
{
    struct local *l = p->state;
    l->most = (int)(((int64_t)tokens + CACHE_BLOCK - 1) / CACHE_BLOCK);
}

/* ---- the provider ------------------------------------------------------------------------ */

static void local_close(struct provider *p)
{
    struct local *l = p->state;
    if (!l)
        return;
    scheduler_free(l->scheduler);
    free(l);
}

int provider_local_new(struct provider **out, const struct model *m, const char *name,
                       int batch_tokens, struct err *err)
{
    struct provider *p = mem_alloc(1, sizeof *p);
    struct local *l = mem_alloc(1, sizeof *l);
    if (!p || !l) {
        free(p);
        free(l);
        return err_set(err, ERR_MEMORY, "no memory for a labeler");
    }
    l->m = m;
    l->rows = batch_tokens <= 0 ? ROWS : batch_tokens < ROWS_MOST ? batch_tokens : ROWS_MOST;
    *p = (struct provider){.state = l, .ask = local_ask, .close = local_close};
    snprintf(p->fingerprint, sizeof p->fingerprint, "local:%s", model_fingerprint(m));
    snprintf(p->name, sizeof p->name, "%s", name);
    char template[33];
    tokenizer_template_hash(model_tokenizer(m), template);
    snprintf(p->wrap, sizeof p->wrap, "%s%s", *template ? "-t" : "", template);
    *out = p;
    return 0;
}
