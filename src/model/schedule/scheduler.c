/* model/schedule/scheduler.c - requests: waiting, joining, leaving, pre-emption.
 *
 *     submitted -> waiting -> running: its prompt in portions, then token by token -> done
 *                     ^          |
 *                     +----------+  pre-empted: its blocks go to a sequence submitted earlier
 *
 * Each step gives a row to every running sequence that draws, then rows of prompts to the
 * earliest ones as far as they go, and what is left to those that wait.  Of them, the one joins
 * of which most is in the cache already; whoever came earlier than it has been bypassed, and
 * after BYPASSES of that the earliest is next whatever the cache holds.
 *
 * Blocks go to the sequence submitted first: where there is none for it, the last one gives its
 * own back.  One that runs alone and still lacks blocks, because it leans on several
 * half-filled ones, is begun again without sharing; that it fits then was checked when it was
 * submitted.  So the earliest always proceeds, and everything ends. */
#include "model/schedule/schedule.h"

enum { ROWS = 1024, WINDOW = 64, BYPASSES = 64 };

/* ---- memory ---------------------------------------------------------------------------- */

static struct scheduler_options whole_options(const struct scheduler_options *o)
{
    struct scheduler_options all = *o;
    all.rows = all.rows > 0 ? all.rows : ROWS;
    all.rows = all.rows > all.sequences ? all.rows : all.sequences;
    return all;
}

int scheduler_blocks(int sequences, int tokens)
{
    // one more each: a sequence may begin in the middle of a block
    int64_t n = (int64_t)sequences * ((tokens + CACHE_BLOCK - 1) / CACHE_BLOCK + 1);
    return n < INT32_MAX / CACHE_BLOCK ? (int)n : INT32_MAX / CACHE_BLOCK;
}

size_t scheduler_bytes(const struct model_config *c, enum dtype dtype,
                       const struct scheduler_options *o)
{
    struct scheduler_options all = whole_options(o);
    size_t together = all.sequences < DRAWN_TOGETHER ? (size_t)all.sequences : DRAWN_TOGETHER;
    size_t cache = 2 * (size_t)all.blocks * CACHE_BLOCK * (size_t)(c->kv_heads * c->head_size) *
                   (size_t)c->layers;
    size_t states =
        ((size_t)all.rows + 2 * (size_t)all.sequences + 16 + together) * (size_t)c->width;
    return (cache + states) * dtype_size(dtype) +
           workspace_bytes(c, dtype, all.rows, KEEP_NOTHING) +
           (together + 2 * (together < SAMPLER_WORKERS ? together : SAMPLER_WORKERS)) * (size_t)c->vocab * sizeof(float);
}

static int cache_init(struct scheduler *s, struct err *err)
{
    const struct model_config *c = &s->m->config;
    device_purpose(s->m->dev, "caches");
    s->k = mem_alloc((size_t)c->layers, sizeof *s->k);
    s->v = mem_alloc((size_t)c->layers, sizeof *s->v);
    if (!s->k || !s->v)
        return err_set(err, ERR_MEMORY, "a cache of %d blocks", s->o.blocks);
    int rc = tree_init(&s->tree, s->o.blocks, err), slots = s->o.blocks * CACHE_BLOCK,
        width = c->kv_heads * c->head_size;
    for (int l = 0; rc == 0 && l < c->layers; l++) {
        rc = tensor_new(&s->k[l], s->m->dev, s->m->dtype, slots, width, err);
        if (rc == 0)
            rc = tensor_new(&s->v[l], s->m->dev, s->m->dtype, slots, width, err);
    }
    return rc ? err_prefix(err, "a cache of %d blocks of %d tokens", s->o.blocks, CACHE_BLOCK)
              : 0;
}

int scheduler_new(struct scheduler **out, const struct model *m,
                  const struct scheduler_options *o, struct err *err)
{
    if (o->blocks < 1 || o->blocks > INT32_MAX / CACHE_BLOCK || o->sequences < 1 || o->rows < 0)
        return err_set(err, ERR_VALUE,
                       "a cache of %d blocks for %d sequences, %d tokens at a time", o->blocks,
                       o->sequences, o->rows);
    if (m->scalar)
        return err_set(err, ERR_UNSUPPORTED, "a model with a scalar head generates no text");
    struct scheduler *s = mem_alloc(1, sizeof *s);
    if (!s)
        return err_set(err, ERR_MEMORY, "a scheduler");
    s->m = m;
    s->o = whole_options(o);
    s->run = mem_alloc((size_t)o->sequences, sizeof *s->run);
    int rc =
        s->run ? cache_init(s, err) : err_set(err, ERR_MEMORY, "%d sequences", o->sequences);
    if (rc == 0)
        rc = step_init(s, err);
    if (rc == 0)
        *out = s;
    else
        scheduler_free(s);
    return rc;
}

static void sequence_free(struct sequence *q)
{
    answer_release(&q->answer);
    free(q->keys);
    free(q);
}

void scheduler_free(struct scheduler *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->n_seq; i++)
        if (s->seq[i]) {
            completions_release(s->seq[i]->answer.out, 1);
            sequence_free(s->seq[i]);
        }
    for (int l = 0; s->k && s->v && l < s->m->config.layers; l++) {
        tensor_release(&s->k[l]);
        tensor_release(&s->v[l]);
    }
    step_release(s);
    tree_release(&s->tree);
    void *all[] = {s->k, s->v, s->seq, s->spare, s->run, s->match};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(all[i]);
    free(s);
}

void scheduler_forget(struct scheduler *s)
{
    BUG_IF(s->left);
    while (tree_evict(&s->tree) >= 0)
        ;
    for (int i = 0; i < s->states.n; i++)
        s->states.block[i] = -1;
}

struct scheduler_counts scheduler_counts(const struct scheduler *s)
{
    struct scheduler_counts c = s->counts;
    c.evicted = s->tree.evicted;
    c.running = s->n_run;
    c.waiting = s->left - s->n_run;
    return c;
}

/* ---- those that wait ------------------------------------------------------------------------
 */

/* In order of submission: new ones come last, pre-empted ones find their place near the front.
 */
static void wait_put(struct scheduler *s, struct sequence *q)
{
    struct sequence *before = s->final;
    if (before && before->order > q->order)
        for (before = NULL; (before ? before->after : s->first)->order < q->order;)
            before = before ? before->after : s->first;
    q->before = before;
    q->after = before ? before->after : s->first;
    *(before ? &before->after : &s->first) = q;
    *(q->after ? &q->after->before : &s->final) = q;
}

static void wait_take(struct scheduler *s, struct sequence *q)
{
    *(q->before ? &q->before->after : &s->first) = q->after;
    *(q->after ? &q->after->before : &s->final) = q->before;
    q->before = q->after = NULL;
}

/* ---- submitting
 * ------------------------------------------------------------------------------- */

static int new_tokens(const struct scheduler *s, const struct scheduler_request *r)
{
    int room = s->m->config.max_position - r->n;
    return !r->sampling                         ? 0
           : room < r->sampling->max_new_tokens ? room
                                                : r->sampling->max_new_tokens;
}

static int check_asks(const struct model_config *c, const struct scheduler_request *r,
                      struct err *err)
{
    for (int i = 0; i < r->n_ask; i++) {
        const struct head_item *a = &r->ask[i];
        if (a->row < (i ? r->ask[i - 1].row : 0) || a->row >= r->n || a->target < 0 ||
            a->target >= c->vocab)
            return err_set(err, ERR_VALUE,
                           "ask %d is about token %d after token %d of %d; rows ascend, the "
                           "vocabulary has %d",
                           i + 1, a->target, a->row, r->n, c->vocab);
    }
    return 0;
}

static int check(const struct scheduler *s, const struct scheduler_request *r, struct err *err)
{
    const struct model_config *c = &s->m->config;
    struct prompt_ids prompt = {r->id, r->n, r->item};
    int rc = 0;
    if (!r->sampling && !r->n_ask)
        return err_set(err, ERR_VALUE, "a request that asks for nothing");
    if (r->sampling)
        rc = generate_check(s->m, &prompt, 1, 1, r->sampling, 1, err);
    else
        rc = generate_check_ids(s->m, r->id, r->n, err);
    if (rc == 0)
        rc = check_asks(c, r, err);
    int new = rc ? 0 : new_tokens(s, r), holds = s->o.blocks *CACHE_BLOCK;
    if (rc == 0)
        rc = model_check_length(c, r->n + new, err);
    // the last token drawn is not computed
    if (rc == 0 && r->n + (new ? new - 1 : 0) > holds)
        rc = err_set(
            err, ERR_VALUE,
            "a prompt of %d tokens with %d to follow; the cache holds %d (%d blocks of %d)",
            r->n, new, holds, s->o.blocks, CACHE_BLOCK);
    return rc;
}

static int new_ticket(struct scheduler *s, struct err *err)
{
    if (s->n_spare)
        return s->spare[--s->n_spare];
    struct sequence **seq = mem_grow(s->seq, &s->seq_cap, (size_t)s->n_seq + 1, sizeof *seq);
    s->seq = seq ? seq : s->seq;
    int *spare = mem_grow(s->spare, &s->spare_cap, (size_t)s->n_seq + 1, sizeof *spare);
    s->spare = spare ? spare : s->spare;
    return seq && spare ? s->n_seq++ : err_set(err, ERR_MEMORY, "%d requests", s->n_seq + 1);
}

int scheduler_submit(struct scheduler *s, const struct scheduler_request *r, struct err *err)
{
    int rc = check(s, r, err), ticket = rc ? rc : new_ticket(s, err);
    if (ticket < 0)
        return ticket;
    struct sequence *q = mem_alloc(1, sizeof *q);
    if (!q) {
        s->spare[s->n_spare++] = ticket;
        return err_set(err, ERR_MEMORY, "a request");
    }
    *q = (struct sequence){.r = *r,
                           .ticket = ticket,
                           .known = r->n,
                           .order = s->orders++,
                           .last = -1,
                           .row = NO_ROW};
    s->seq[ticket] = q;
    s->left++;
    s->counts.submitted += r->n;
    wait_put(s, q);
    return ticket;
}

/* ---- leaving
 * ------------------------------------------------------------------------------------ */

/* Its blocks are anybody's from now on. */
static void let_go(struct scheduler *s, struct sequence *q)
{
    if (q->last >= 0)
        tree_unpin(&s->tree, q->last);
    q->last = -1;
    q->placed = q->done = 0;
    q->row = NO_ROW;
}

static void leave(struct scheduler *s, int i)
{
    let_go(s, s->run[i]);
    s->run[i]->running = false;
    memmove(&s->run[i], &s->run[i + 1], (size_t)(--s->n_run - i) * sizeof *s->run);
}

static void forget(struct scheduler *s, struct sequence *q)
{
    s->seq[q->ticket] = NULL;
    s->spare[s->n_spare++] = q->ticket;
    s->left--;
    sequence_free(q);
}

static void drop(struct scheduler *s, struct sequence *q)
{
    for (int i = 0; i < s->n_run; i++)
        if (s->run[i] == q)
            leave(s, i);
    if (q->before || q->after || s->first == q)
        wait_take(s, q);
    completions_release(q->answer.out, 1);
    forget(s, q);
}

void scheduler_cancel(struct scheduler *s, int ticket)
{
    BUG_IF(ticket < 0 || ticket >= s->n_seq || !s->seq[ticket]);
    s->seq[ticket]->cancelled = true;
    if (!s->stepping)
        drop(s, s->seq[ticket]);
}

void scheduler_cancel_all(struct scheduler *s)
{
    for (int i = 0; i < s->n_seq; i++)
        if (s->seq[i])
            scheduler_cancel(s, i);
}

static void drop_cancelled(struct scheduler *s)
{
    for (int i = 0; i < s->n_seq; i++)
        if (s->seq[i] && s->seq[i]->cancelled)
            drop(s, s->seq[i]);
}

static int finish_ended(struct scheduler *s, struct err *err)
{
    for (int i = 0; i < s->n_run;) {
        struct sequence *q = s->run[i];
        if (!q->ended || q->cancelled) {
            i++;
            continue;
        }
        int rc = q->r.sampling ? answer_end(&q->answer, err) : 0, ticket = q->ticket;
        if (rc)
            return rc;
        struct scheduler_request r = q->r;
        leave(s, i);
        forget(s, q);
        if (r.done)
            r.done(r.arg, ticket);
    }
    return 0;
}

/* ---- joining
 * --------------------------------------------------------------------------------------- */

static int in_cache(const struct scheduler *s, const struct sequence *q)
{
    return q->alone ? 0 : tree_match(&s->tree, q->r.id, q->r.n, &(int){0}, NULL);
}

/* Who is next; NULL where nobody waits. */
static struct sequence *choose(struct scheduler *s)
{
    struct sequence *best = s->first;
    if (!best || best->bypassed >= BYPASSES)
        return best;
    int most = in_cache(s, best), i = 1;
    for (struct sequence *q = best->after; q && i < WINDOW; q = q->after, i++) {
        int have = in_cache(s, q);
        if (have > most) {
            most = have;
            best = q;
        }
    }
    return best;
}

/* The tokens of q in one piece. */
static const int *all_tokens(struct scheduler *s, const struct sequence *q)
{
    if (q->known == q->r.n)
        return q->r.id;
    int *id = mem_grow(s->match, &s->match_cap, (size_t)q->known, sizeof *id);
    if (!id)
        return NULL;
    s->match = id;
    memcpy(id, q->r.id, (size_t)q->r.n * sizeof *id);
    memcpy(id + q->r.n, q->answer.out->id, (size_t)(q->known - q->r.n) * sizeof *id);
    return id;
}

/* Finds what the cache has of q and pins it. */
static int take_hold(struct scheduler *s, struct sequence *q, struct err *err)
{
    const int *id = all_tokens(s, q);
    int *keys = mem_grow(q->keys, &q->cap, (size_t)q->known + 1, sizeof *keys);
    if (keys)
        q->keys = keys;
    if (!id || !keys)
        return err_set(err, ERR_MEMORY, "a sequence of %d tokens", q->known);
    if (!q->alone)
        q->placed = tree_match(&s->tree, id, q->known, &q->last, q->keys);
    if (q->last >= 0)
        tree_pin(&s->tree, q->last);
    // of what is there, keys and values stayed; from the first state that is wanted on, it is
    // computed again
    int want = q->asked < q->r.n_ask ? q->r.ask[q->asked].row : q->known - 1;
    if (q->placed == q->known && want == q->known - 1 && step_find_state(s, q))
        want = q->known;
    q->done = q->placed < want ? q->placed : want;
    return 0;
}

/* Room for the rest of it, and for some of those that run to go on for a while: not all of them
 * live to need it. */
static bool has_room(const struct scheduler *s, const struct sequence *q)
{
    int need = (q->known - q->placed + CACHE_BLOCK - 1) / CACHE_BLOCK + 1;
    return s->n_run == 0 || tree_available(&s->tree) >= need + s->n_run / 4;
}

static void run_put(struct scheduler *s, struct sequence *q)
{
    int i = s->n_run++;
    for (; i > 0 && s->run[i - 1]->order > q->order; i--)
        s->run[i] = s->run[i - 1];
    s->run[i] = q;
    q->running = true;
}

/* Lets the next one in: *out, NULL where it has to wait. */
static int join(struct sequence **out, struct scheduler *s, struct err *err)
{
    struct sequence *q = choose(s);
    *out = NULL;
    if (!q)
        return 0;
    int rc = q->r.sampling && !q->answer.out
                 ? answer_begin(&q->answer, s->m, &q->r, new_tokens(s, &q->r), err)
                 : 0;
    if (rc == 0)
        rc = take_hold(s, q, err);
    if (rc)
        return rc;
    if (!has_room(s, q)) {
        let_go(s, q);
        return 0;
    }
    for (struct sequence *p = s->first; p != q; p = p->after)
        if (++p->bypassed > s->counts.bypassed)
            s->counts.bypassed = p->bypassed;
    wait_take(s, q);
    run_put(s, q);
    *out = q;
    return 0;
}

/* ---- a step
 * ------------------------------------------------------------------------------------------ */

/* For the i-th sequence: the last one gives its blocks back, or where there is no other the
 * first one begins again without sharing.  false: it has to wait.  Those behind the i-th have
 * no rows in this step yet. */
static bool make_room(struct scheduler *s, int i)
{
    struct sequence *last = s->run[s->n_run - 1];
    if (s->n_run - 1 > i) {
        leave(s, s->n_run - 1);
        wait_put(s, last);
        s->counts.preempted++;
        return true;
    }
    if (i > 0 || s->n_rows || last->alone)
        return false;
    let_go(s, last);
    last->alone = true;
    return true;
}

/* Asked before each portion of its prompt, the listener may not want it any more. */
static bool is_wanted(struct sequence *q)
{
    bool begun = !q->r.sampling || q->answer.out->n;
    if (!begun && q->r.said && !q->r.said(q->r.arg, "", 0))
        q->ended = true;
    return !q->ended && !q->cancelled;
}

/* At most so many rows for q, which is the i-th that runs where others may make room for it,
 * else -1.  Returns how many. */
static int add_rows(struct scheduler *s, struct sequence *q, int i, int most, struct err *err)
{
    int n = 0, more = is_wanted(q);
    while (more > 0 && n < most && q->done < q->known) {
        more = step_add(s, q, most - n, err);
        if (more < 0)
            return more;
        n += more;
        if (more == 0)
            more = i >= 0 && make_room(s, i);
    }
    return n;
}

static int plan(struct scheduler *s, struct err *err)
{
    int room = s->o.rows, n = 0;
    bool all = true; // those that run have their whole prompts planned
    s->n_rows = s->n_planned = 0;
    for (int i = 0; i < s->n_run; i++) {
        s->run[i]->row = NO_ROW;
        room -= s->run[i]->known - s->run[i]->done == 1;
    }
    for (int i = 0; n >= 0 && i < s->n_run; i++) {
        struct sequence *q = s->run[i];
        bool one = q->known - q->done == 1; // reserved above
        n = add_rows(s, q, i, one ? 1 : room, err);
        room -= one ? 0 : n;
        all &= q->row != NO_ROW || q->ended || q->cancelled;
    }
    while (n >= 0 && all && room > 0 && s->n_run < s->o.sequences) {
        struct sequence *q;
        int rc = join(&q, s, err);
        if (rc || !q)
            return rc;
        n = add_rows(s, q, -1, room, err);
        room -= n;
        all = q->row != NO_ROW || q->ended || q->cancelled;
    }
    return n < 0 ? n : 0;
}

int scheduler_step(struct scheduler *s, struct err *err)
{
    BUG_IF(s->stepping);
    if (s->broken)
        return err_set(err, ERR_VALUE, "a scheduler that failed before");
    s->stepping = true;
    int rc = plan(s, err);
    if (rc == 0)
        rc = step_run(s, err);
    if (rc == 0)
        rc = finish_ended(s, err);
    s->stepping = false;
    s->broken = rc < 0;
    drop_cancelled(s);
    return rc < 0 ? rc : s->left;
}
