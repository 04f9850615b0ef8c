/* model/schedule/step.c - one batch: rows, the forward pass over the cache, heads, draws.
 *
 * A row is a token of some sequence at its position; a run is a sequence's rows of this step.
 * Keys and values of all rows are in the cache before attention reads any, layer by layer, so a
 * sequence may begin with tokens that another one brings in the same step.  A row computed
 * again (its state is wanted, and only keys and values stayed) writes the bits that are there.
 */
#include "model/schedule/schedule.h"
#include "model/transformer/transformer.h"

int step_init(struct scheduler *s, struct err *err)
{
    const struct model_config *c = &s->m->config;
    int rows = s->o.rows,
        together = s->o.sequences < DRAWN_TOGETHER ? s->o.sequences : DRAWN_TOGETHER;
    struct states *st = &s->states;
    st->n = 2 * s->o.sequences + 16;
    s->planned = mem_alloc((size_t)rows, sizeof *s->planned);
    s->id = mem_alloc((size_t)rows, sizeof *s->id);
    s->slot = mem_alloc((size_t)rows, sizeof *s->slot);
    s->draw = mem_alloc((size_t)together, sizeof *s->draw);
    s->drawing = mem_alloc((size_t)s->o.sequences, sizeof *s->drawing);
    st->block = mem_alloc((size_t)st->n, sizeof *st->block);
    st->position = mem_alloc((size_t)st->n, sizeof *st->position);
    if (!s->planned || !s->id || !s->slot || !s->draw || !s->drawing || !st->block ||
        !st->position)
        return err_set(err, ERR_MEMORY, "steps of %d tokens", rows);
    for (int i = 0; i < st->n; i++)
        st->block[i] = -1;
    int rc = sampler_init(&s->sampler, s->m, together, err);
    if (rc == 0)
        rc = workspace_new(&s->ws, s->m, rows, KEEP_NOTHING, err);
    if (rc == 0)
        rc = tensor_new(&s->hidden, s->m->dev, s->m->dtype, rows, c->width, err);
    if (rc == 0)
        rc = tensor_new(&s->last, s->m->dev, s->m->dtype, together, c->width, err);
    if (rc == 0)
        rc = tensor_new(&st->row, s->m->dev, s->m->dtype, st->n, c->width, err);
    if (rc == 0)
        workspace_lists(s->ws, (size_t)rows, 0);
    return rc;
}

void step_release(struct scheduler *s)
{
    void *all[] = {s->planned,
                   s->id,
                   s->slot,
                   s->draw,
                   s->drawing,
                   s->states.block,
                   s->states.position,
                   s->asks.item,
                   s->asks.to_logp,
                   s->asks.to_lse,
                   s->asks.logp,
                   s->asks.lse};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(all[i]);
    workspace_free(s->ws);
    tensor_release(&s->hidden);
    tensor_release(&s->last);
    tensor_release(&s->states.row);
    sampler_release(&s->sampler);
}

/* ---- planning ---------------------------------------------------------------------------- */

/* A slot for position p of q, which has none yet; -1 where every block is in use. */
static int place(struct scheduler *s, struct sequence *q, int p, int id)
{
    int slot = tree_append(&s->tree, &q->last, p, id);
    if (slot >= 0)
        return slot;
    int gone = tree_evict(&s->tree);
    if (gone < 0)
        return -1;
    for (int i = 0; i < s->states.n; i++)
        if (s->states.block[i] == gone)
            s->states.block[i] = -1;
    return tree_append(&s->tree, &q->last, p, id);
}

int step_add(struct scheduler *s, struct sequence *q, int most, struct err *err)
{
    int want = q->known - q->done < most ? q->known - q->done : most, n = 0;
    int *keys = mem_grow(q->keys, &q->cap, (size_t)(q->done + want) + 1, sizeof *keys);
    if (!keys)
        return err_set(err, ERR_MEMORY, "a sequence of %d tokens", q->done + want);
    q->keys = keys;
    for (; n < want; n++) {
        int p = q->done + n, row = s->n_rows + n;
        s->id[row] = sequence_token(q, p);
        if (p >= q->placed) {
            int slot = place(s, q, p, s->id[row]);
            if (slot < 0)
                break;
            keys[q->placed++] = slot;
        }
        s->slot[row] = keys[p];
        s->ws->position[row] = p;
    }
    for (int p = q->done; p < q->done + n; p++)
        s->counts.computed += p < q->r.n || p < q->known - 1;
    if (n)
        s->planned[s->n_planned++] = (struct planned){q, s->n_rows, n, q->done};
    s->n_rows += n;
    q->done += n;
    if (q->done == q->known)
        q->row = s->n_rows - 1;
    return n;
}

bool step_find_state(struct scheduler *s, struct sequence *q)
{
    const struct states *st = &s->states;
    int p = q->known - 1;
    for (int r = 0; r < s->n_rows; r++)
        if (s->slot[r] == q->keys[p]) {
            q->row = r;
            return true;
        }
    for (int i = 0; i < st->n; i++)
        if (st->block[i] == q->last && st->position[i] == p) {
            q->row = FROM_STATES;
            q->state = i;
            return true;
        }
    return false;
}

/* ---- computing ------------------------------------------------------------------------------
 */

static void forward(struct scheduler *s)
{
    PROFILE(s->n_rows > s->n_planned ? "forward, cached" : "one token each");
    struct workspace *ws = s->ws;
    struct kv_cache cache = {s->k, s->v, s->slot};
    struct tensor hidden = tensor_rows(&s->hidden, 0, s->n_rows);
    if (!s->n_rows)
        return;
    for (int i = 0; i < s->n_planned; i++) {
        const struct planned *p = &s->planned[i];
        // trees matter to gradients only
        ws->run[i] = (struct attn_run){p->row, p->len, p->position, 0, p->q->keys};
    }
    ws->attention.n = s->n_planned;
    ws->attention.run = ws->run;
    transformer_forward(ws, s->m, s->id, s->n_rows, &hidden, &cache);
}

/* Row i of dst becomes the state after q's last token. */
static void gather_state(struct scheduler *s, struct tensor *dst, int i,
                         const struct sequence *q)
{
    struct tensor to = tensor_rows(dst, i, 1);
    bool kept = q->row == FROM_STATES;
    op_gather_rows(&to, kept ? &s->states.row : &s->hidden, kept ? &q->state : &q->row, 1);
}

/* States after whole prompts stay for a while, the oldest giving way. */
static void keep_states(struct scheduler *s)
{
    struct states *st = &s->states;
    for (int i = 0; i < s->n_planned; i++) {
        const struct sequence *q = s->planned[i].q;
        if (q->row < 0 || q->done != q->r.n)
            continue;
        gather_state(s, &st->row, st->next, q);
        st->block[st->next] = q->last;
        st->position[st->next] = q->r.n - 1;
        st->next = (st->next + 1) % st->n;
    }
}

/* ---- asks
 * --------------------------------------------------------------------------------------- */

static int asks_grow(struct asks *a, int n, struct err *err)
{
    size_t cap[5] = {a->cap, a->cap, a->cap, a->cap, a->cap}, need = (size_t)(a->n + n);
    void *item = mem_grow(a->item, &cap[0], need, sizeof *a->item);
    a->item = item ? item : a->item;
    void *to_logp = mem_grow(a->to_logp, &cap[1], need, sizeof *a->to_logp);
    a->to_logp = to_logp ? to_logp : a->to_logp;
    void *to_lse = mem_grow(a->to_lse, &cap[2], need, sizeof *a->to_lse);
    a->to_lse = to_lse ? to_lse : a->to_lse;
    void *logp = mem_grow(a->logp, &cap[3], need, sizeof *a->logp);
    a->logp = logp ? logp : a->logp;
    void *lse = mem_grow(a->lse, &cap[4], need, sizeof *a->lse);
    a->lse = lse ? lse : a->lse;
    if (!item || !to_logp || !to_lse || !logp || !lse)
        return err_set(err, ERR_MEMORY, "log-probs of %zu tokens", need);
    a->cap = cap[0];
    return 0;
}

/* The next ask of q, whose state is row `row`. */
static int ask(struct scheduler *s, struct sequence *q, int row, struct err *err)
{
    struct asks *a = &s->asks;
    const struct scheduler_request *r = &q->r;
    int rc = asks_grow(a, 1, err);
    if (rc)
        return rc;
    a->item[a->n] = (struct head_item){row, r->ask[q->asked].target};
    a->to_logp[a->n] = &r->logp[q->asked];
    a->to_lse[a->n++] = r->lse ? &r->lse[q->asked] : NULL;
    q->asked++;
    return 0;
}

static void answer_asks(struct scheduler *s, const struct tensor *hidden)
{
    struct asks *a = &s->asks;
    if (a->n)
        head_logp(s->ws, s->m, hidden, a->logp, NULL, a->lse, a->item, a->n, 1);
    for (int i = 0; i < a->n; i++) {
        *a->to_logp[i] = a->logp[i];
        if (a->to_lse[i])
            *a->to_lse[i] = a->lse[i];
    }
    a->n = 0;
}

/* Asks about rows that were computed here, then about those whose states were at hand. */
static int run_asks(struct scheduler *s, struct err *err)
{
    int rc = 0;
    for (int i = 0; i < s->n_planned; i++) {
        const struct planned *p = &s->planned[i];
        const struct scheduler_request *r = &p->q->r;
        int end = p->position + p->len;
        while (rc == 0 && p->q->asked < r->n_ask && r->ask[p->q->asked].row < end)
            rc = ask(s, p->q, p->row + r->ask[p->q->asked].row - p->position, err);
    }
    for (int from = 0; from < 2 && rc == 0; from++) { // from another's row; from the states
        for (int i = 0; i < s->n_run; i++) {
            struct sequence *q = s->run[i];
            bool here = from ? q->row == FROM_STATES : q->row >= 0;
            while (rc == 0 && here && q->asked < q->r.n_ask)
                rc = ask(s, q, from ? q->state : q->row, err);
        }
        if (rc == 0)
            answer_asks(s, from ? &s->states.row : &s->hidden);
    }
    return rc;
}

/* ---- draws
 * ---------------------------------------------------------------------------------------- */

/* Draws for n sequences. */
static int draw(struct scheduler *s, struct sequence **q, int n, struct err *err)
{
    for (int i = 0; i < n; i++) {
        s->draw[i] = (struct draw){q[i]->r.item, q[i]->r.sample, (uint32_t)q[i]->answer.out->n,
                                   q[i]->r.sampling};
        gather_state(s, &s->last, i, q[i]);
    }
    struct tensor last = tensor_rows(&s->last, 0, n);
    sampler_draw(&s->sampler, &last, s->draw, n);
    s->counts.drawn += n;
    for (int i = 0; i < n; i++) {
        int ended = answer_take(&q[i]->answer, s->sampler.token[i], s->sampler.logp[i]);
        if (ended < 0)
            return err_set(err, ERR_MEMORY, "the text of a completion");
        q[i]->known++;
        q[i]->ended = ended;
    }
    return 0;
}

static int run_draws(struct scheduler *s, struct err *err)
{
    int n = 0, rc = 0;
    for (int i = 0; i < s->n_run; i++) {
        struct sequence *q = s->run[i];
        bool whole = q->row != NO_ROW && !q->ended && !q->cancelled;
        if (whole && q->r.sampling)
            s->drawing[n++] = q;
        else if (whole)
            q->ended = true;
    }
    for (int i = 0; i < n && rc == 0; i += DRAWN_TOGETHER)
        rc = draw(s, s->drawing + i, n - i < DRAWN_TOGETHER ? n - i : DRAWN_TOGETHER, err);
    return rc;
}

int step_run(struct scheduler *s, struct err *err)
{
    forward(s);
    s->counts.steps++;
    int rc = run_asks(s, err);
    if (rc == 0)
        rc = run_draws(s, err);
    if (rc == 0)
        keep_states(s);
    return rc;
}
