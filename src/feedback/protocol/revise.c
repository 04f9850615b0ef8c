/* feedback/protocol/revise.c - critique and revision (Constitutional AI, section 3.1).
 *
 *     Human: the request                      examples before it have the same form, one round each
 *     Assistant: the answer
 *     Critique request: a principle's         -> the critique is sampled
 *     Critique: ...
 *     Revision request: the same principle's  -> the revision is sampled
 *     Revision: ...                           it is the answer of the next round, which draws a principle it has not met
 *
 * Plain text by default, since the examples are; wrapped, all of it is one user turn and the
 * labels are what the answer begins with.  All items go through a round together, so that a
 * provider is kept busy. */
#include "feedback/protocol/internal.h"

void revise_defaults(struct revise_options *o)
{
    *o = (struct revise_options){.rounds = 4, .exemplars = 2};
    sampling_defaults(&o->sampling);
    o->sampling.max_new_tokens = 256;
}

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "no memory for revisions");
}

static void add_answer(struct buf *b, const char *request, const char *answer)
{
    struct span q = span_trim(request, strlen(request)), a = span_trim(answer, strlen(answer));
    size_t open = strlen("Assistant:");
    if (q.n >= open && !memcmp(q.s + q.n - open, "Assistant:", open))
        q = span_trim(q.s, q.n - open);
    bool transcript = q.n >= 6 && !memcmp(q.s, "Human:", 6);
    buf_adds(b, transcript ? "" : "Human: ");
    buf_add(b, q.s, q.n);
    buf_adds(b, "\n\nAssistant: ");
    buf_add(b, a.s, a.n);
}

static void add_exemplars(struct buf *b, int n)
{
    for (int i = 0; i < n; i++) {
        const struct revision_exemplar *e = &revision_exemplar[i];
        const struct revision_request *r = &revision_principle[e->principle - 1];
        add_answer(b, e->request, e->response);
        buf_addf(b, "\n\nCritique request: %s\n\nCritique: %s\n\nRevision request: %s\n\nRevision: %s\n\n»»»»\n\n", r->critique,
                 e->critique, r->revision, e->revision);
    }
}

/* principle from 0; critique NULL: it is asked for, else the revision is. */
static int revise_ask(struct ask *out, const struct revise_options *o, const struct revise_item *it,
                      const char *answer, int principle, const char *critique, const char *head,
                      struct arena *a, struct err *err)
{
    static const char *const stop[] = {
        "\n\nHuman:", "\n\nAssistant:", "Critique request:", "Revision request:", "»»»»"};
    const struct revision_request *r = &revision_principle[principle];
    const char *lead = critique ? "Revision:" : "Critique:";
    struct buf b = {0};
    buf_adds(&b, head);
    add_answer(&b, it->prompt, answer);
    buf_addf(&b, "\n\nCritique request: %s", r->critique);
    if (critique)
        buf_addf(&b, "\n\nCritique: %s\n\nRevision request: %s", critique, r->revision);
    if (!o->chat)
        buf_addf(&b, "\n\n%s", lead);
    char *s = b.failed ? NULL : arena_strdup(a, b.s);
    struct chat_message *m = arena_alloc(a, sizeof *m);
    buf_release(&b);
    if (!s || !m)
        return no_memory(err);
    *m = (struct chat_message){"user", s};
    *out = (struct ask){.kind = ASK_TEXT, .protocol = "revision 1", .sampling = o->sampling};
    out->sampling.seed = o->seed;
    out->sampling.stop = stop;
    out->sampling.n_stop = ARRAY_LEN(stop);
    if (o->chat) {
        out->message = m;
        out->n_messages = 1;
        out->prefill = lead;
    } else {
        out->prompt = s;
        out->head = head;
    }
    return 0;
}

static char *said(const struct reply *r, struct arena *a)
{
    struct span t = span_trim(r->text ? r->text : "", r->text ? strlen(r->text) : 0);
    return r->state == REPLY_OK ? arena_strndup(a, t.s, t.n) : NULL;
}

struct round {
    struct asker *asker;
    const struct revise_item *item;
    int n;
    const struct revise_options *o;
    const char *head;
    struct ask *ask; struct reply *reply; int *which;
    struct arena *texts;        // the caller's
};

/* Where no critique or no revision came the answer stays as it was, and the missing text is NULL. */
static int half_round(struct round *r, struct revision *out, int round, bool revising,
                      struct err *err)
{
    struct arena a = {0};
    int m = 0, rc = 0, rounds = r->o->rounds;
    for (int i = 0; i < r->n && rc == 0; i++) {
        struct revision *now = &out[i * rounds + round];
        const char *answer = r->item[i].response;
        for (int k = 0; k < round; k++)
            answer = out[i * rounds + k].text ? out[i * rounds + k].text : answer;
        if (revising && !now->critique)
            continue;
        rc = revise_ask(&r->ask[m], r->o, &r->item[i], answer, now->principle - 1,
                        revising ? now->critique : NULL, r->head, &a, err);
        r->which[m++] = i;
    }
    if (rc == 0 && m)
        rc = ask_all(r->asker, r->reply, r->ask, m, err);
    for (int k = 0; k < m && rc == 0; k++) {
        struct revision *now = &out[r->which[k] * rounds + round];
        char *text = said(&r->reply[k], r->texts);
        if (revising)
            now->text = text && *text ? text : NULL;
        else
            now->critique = text;
    }
    if (rc == 0)
        replies_release(r->reply, m);
    arena_release(&a);
    return rc;
}

static void draw_principles(struct revision *out, const struct revise_item *it,
                            const struct revise_options *o)
{
    int order[PRINCIPLES];
    struct rng r;
    struct label_item key = {it->prompt, it->response, NULL, NULL};
    for (int i = 0; i < PRINCIPLES; i++)
        order[i] = i;
    rng_init(&r, o->seed, RNG_PRINCIPLE, item_number(&key), 1);
    rng_shuffle(&r, order, PRINCIPLES);
    for (int k = 0; k < o->rounds; k++)
        out[k] = (struct revision){.principle = order[k] + 1};
}

int revise_items(struct revision *out, struct asker *asker, const struct revise_item *item, int n,
                 const struct revise_options *o, struct arena *a, struct err *err)
{
    if (o->rounds < 1 || o->rounds > PRINCIPLES)
        return err_set(err, ERR_VALUE,
                       "rounds is %d, expected 1 to %d, since each has a principle of its own",
                       o->rounds, PRINCIPLES);
    if (o->exemplars < 0 || o->exemplars > REVISION_EXEMPLARS)
        return err_set(err, ERR_VALUE, "exemplars is %d, there are 0 to %d for revisions",
                       o->exemplars, REVISION_EXEMPLARS);
    struct buf head = {0};
    add_exemplars(&head, o->exemplars);
    buf_adds(&head, "");
    struct round r = {asker,
                      item,
                      n,
                      o,
                      head.s,
                      mem_alloc((size_t)n, sizeof *r.ask),
                      mem_alloc((size_t)n, sizeof *r.reply),
                      mem_alloc((size_t)n, sizeof *r.which),
                      a};
    int rc = r.ask && r.reply && r.which && !head.failed && head.s ? 0 : no_memory(err);
    for (int i = 0; i < n && rc == 0; i++)
        draw_principles(&out[i * o->rounds], &item[i], o);
    for (int round = 0; round < o->rounds && rc == 0; round++) {
        rc = half_round(&r, out, round, false, err);
        if (rc == 0)
            rc = half_round(&r, out, round, true, err);
    }
    free(r.ask);
    free(r.reply);
    free(r.which);
    buf_release(&head);
    return rc;
}
