/* feedback/protocol/label.c - items in, labels and ratings out: asking in units, and what many
 * replies amount to.
 *
 *     views of an item     two orders, or one; sixteen principles; k rationales or votes
 *     pass 1               where a rationale is asked for: texts
 *     pass 2               log-probs of the words, or texts that say one
 *     label                the mean of the probabilities over the views of an order, then over the orders
 *
 * ask_all finds or asks, and stores what came before it is used here.  So a run that was killed
 * goes on from its last commit, and a run that is repeated computes nothing. */
#include "feedback/protocol/internal.h"

#include <math.h>

static const char *const state_names[] = {"answered", "unanswered", "too_long", "refused",
                                          "failed"};

const char *label_state_name(enum label_state state)
{
    return state_names[state];
}

static int no_memory(struct err *err)
{
    return err_set(err, ERR_MEMORY, "no memory for labelling");
}

/* ---- a unit: items whose questions are in memory together -------------------------------- */

enum { UNIT_VIEWS = 4096 };

struct asked {
    int item;                   // of the unit
    struct view view;
    struct reply said, reply;   // the rationale; the verdict
};
struct unit {
    const struct protocol *p;
    const struct label_item *item;      // (n)
    int n, n_views;                     // views per item
    struct asked *asked;                // (n * n_views), item by item
    struct ask *ask; int *which;        // (n * n_views) of the pass under way
    struct reply *reply;
    struct arena arena;
};

static int unit_begin(struct unit *u, const struct protocol *p, const struct label_item *item,
                      int n, struct err *err)
{
    size_t total = (size_t)n * (size_t)protocol_n_views(p);
    *u = (struct unit){.p = p, .item = item, .n = n, .n_views = protocol_n_views(p)};
    u->asked = mem_alloc(total, sizeof *u->asked);
    u->ask = mem_alloc(total, sizeof *u->ask);
    u->which = mem_alloc(total, sizeof *u->which);
    u->reply = mem_alloc(total, sizeof *u->reply);
    struct view *view = mem_alloc((size_t)u->n_views, sizeof *view);
    bool fine = u->asked && u->ask && u->which && u->reply && view;
    for (int i = 0; i < n && fine; i++) {
        BUG_IF(protocol_views(p, &item[i], view) != u->n_views);
        for (int k = 0; k < u->n_views; k++)
            u->asked[i * u->n_views + k] = (struct asked){.item = i, .view = view[k]};
    }
    free(view);
    return fine ? 0 : no_memory(err);
}

static void unit_end(struct unit *u)
{
    for (int i = 0; u->asked && i < u->n * u->n_views; i++) {
        reply_release(&u->asked[i].said);
        reply_release(&u->asked[i].reply);
    }
    free(u->asked);
    free(u->ask);
    free(u->which);
    free(u->reply);
    arena_release(&u->arena);
}

/* What a store of format 1 knew an order of a pair by: a hash of hashes of the texts as shown. */
static struct hash128 key_of_format_1(const struct unit *u, const struct asker *asker,
                                      const struct asked *a)
{
    const struct label_item *it = &u->item[a->item];
    const char *part[] = {asker->provider->fingerprint, u->p->hash, it->prompt,
                          a->view.swapped ? it->second : it->first,
                          a->view.swapped ? it->first : it->second};
    struct hash128 each[ARRAY_LEN(part)];
    for (size_t i = 0; i < ARRAY_LEN(part); i++)
        each[i] = hash_bytes(part[i], strlen(part[i]));
    return hash_bytes(each, sizeof each);
}

/* One pass over all views; those whose rationale did not come have their state already. */
static int unit_pass(struct unit *u, struct asker *asker, int pass, struct err *err)
{
    bool last = pass + 1 == protocol_passes(u->p);
    int m = 0, rc = 0;
    for (int k = 0; k < u->n * u->n_views && rc == 0; k++) {
        struct asked *a = &u->asked[k];
        if (pass == 1 && a->said.state != REPLY_OK) {
            a->reply.state = a->said.state;
            continue;
        }
        rc = protocol_ask(&u->ask[m], u->p, &u->item[a->item], a->view, pass, a->said.text,
                          &u->arena, err);
        u->ask[m].follows = a->said.key;
        if (u->p->kind == PROTOCOL_PAIR && u->ask[m].kind == ASK_WORDS &&
            protocol_passes(u->p) == 1)
            u->ask[m].was = key_of_format_1(u, asker, a);
        u->which[m++] = k;
    }
    if (rc == 0 && m)
        rc = ask_all(asker, u->reply, u->ask, m, err);
    for (int i = 0; i < m && rc == 0; i++) {
        struct asked *a = &u->asked[u->which[i]];
        *(last ? &a->reply : &a->said) = u->reply[i];
        u->reply[i] = (struct reply){0};
    }
    return rc;
}

/* ---- what an order's replies amount to --------------------------------------------------- */

struct sum {
    double p[PROVIDER_MAX_WORDS];   // mean over the views that could be read
    double mass;                    // mean over all
    int views, read;
    enum label_state state;
    const struct asked *first;
    const char *error;      // of the last one that was refused or lost
};

static enum label_state worst(enum label_state a, enum reply_state r)
{
    enum label_state b = r == REPLY_TOO_LONG ? LABEL_TOO_LONG
                         : r == REPLY_FAILED ? LABEL_FAILED
                                             : LABEL_ANSWERED;
    return a > b ? a : b;
}

/* One that was refused or could not be read among several costs its share of the mass; one that
 * is missing, the label. */
static void sum_views(struct sum *s, const struct unit *u, int item, bool swapped, double min_mass)
{
    bool refused = false, several = u->n_views > 2;
    *s = (struct sum){0};
    for (int k = item * u->n_views; k < (item + 1) * u->n_views; k++) {
        const struct asked *a = &u->asked[k];
        struct reading r;
        if (a->view.swapped != swapped)
            continue;
        protocol_read(&r, u->p, &a->reply);
        s->first = s->first ? s->first : a;
        s->views++;
        s->mass += r.mass;
        s->state = worst(s->state, a->reply.state);
        refused |= a->reply.state == REPLY_REFUSED;
        s->error = a->reply.error ? a->reply.error : s->error;
        if (a->reply.state != REPLY_OK || (several && !(r.mass >= min_mass)))
            continue;
        s->read++;
        for (int i = 0; i < u->p->form.n_words; i++)
            s->p[i] += r.p[i];
    }
    for (int i = 0; i < u->p->form.n_words && s->read; i++)
        s->p[i] /= s->read;
    s->mass /= s->views ? s->views : 1;
    if (s->state == LABEL_ANSWERED && (!s->read || !(s->mass >= min_mass)))
        s->state = refused ? LABEL_REFUSED : LABEL_NO_ANSWER;
}

static const char *kept_rationale(const struct asked *a, struct arena *texts)
{
    return texts && a->said.text ? arena_strdup(texts, a->said.text) : NULL;
}

/* ---- pairs ------------------------------------------------------------------------------- */

static int winning_slot(double p)
{
    return p > 0.5 ? 1 : p < 0.5 ? 2 : 0;
}

static double clamped(double p, double clamp)
{
    return fmin(fmax(p, clamp), 1 - clamp);
}

static struct word_logp said_logp(const struct reply *r, int word)
{
    return r->has_logps ? r->word[word] : (struct word_logp){NAN, NAN};
}

static void add_cost(struct label_cost *c, const struct reply *r)
{
    c->replies += r->state != REPLY_TOO_LONG;
    c->tokens_in += r->tokens_in;
    c->tokens_out += r->tokens_out;
    c->seconds += r->seconds;
    c->price += r->price;
}

static struct label_cost cost_of(const struct unit *u, int item)
{
    struct label_cost c = {0};
    for (int k = item * u->n_views; k < (item + 1) * u->n_views; k++) {
        add_cost(&c, &u->asked[k].reply);
        if (protocol_passes(u->p) > 1)
            add_cost(&c, &u->asked[k].said);
    }
    return c;
}

static void label_one(struct label *out, const struct unit *u, int item, const struct labeler *l)
{
    const struct protocol *p = l->protocol;
    int orders = 0;
    double total = 0;
    *out = (struct label){.order = {NAN, NAN}, .mass = INFINITY};
    for (int order = 0; order < 2; order++) {
        struct sum s;
        sum_views(&s, u, item, order, l->min_mass);
        if (!s.views)
            continue;
        const struct reply *r = &s.first->reply;
        // Order A shows `first` in slot 1, order B in slot 2.
        bool first_is_named = (order == 1) == p->form.flip;
        out->slot[order] = s.read ? winning_slot(s.p[0]) : 0;
        out->order[order] = first_is_named ? s.p[0] : 1 - s.p[0];
        out->mass = fmin(out->mass, s.mass);
        out->state = out->state > s.state ? out->state : s.state;
        out->answer[order] =
            (struct answer){{said_logp(r, 0), said_logp(r, 1)}, s.mass, r->tokens_in};
        out->rationale[order] = kept_rationale(s.first, l->texts);
        if (s.error && l->texts)
            out->error = arena_strdup(l->texts, s.error);
        out->principle = p->form.n_principles && p->how.principle != PRINCIPLE_ALL
                             ? s.first->view.principle + 1
                             : 0;
        total += out->order[order];
        orders++;
    }
    out->cost = cost_of(u, item);
    out->p = orders == 2 ? 0.5 * total : total;
    out->same_slot = orders == 2 && out->slot[0] && out->slot[0] == out->slot[1];
    if (out->state != LABEL_ANSWERED)
        out->p = 0.5;
    for (int order = 0; order < 2 && out->state != LABEL_ANSWERED; order++)
        out->order[order] = isnan(out->order[order]) ? NAN : 0.5;
    // Who won is known by now: the clamp moves nothing across one half.
    if (p->how.clamp > 0)
        out->p = clamped(out->p, p->how.clamp);
}

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static int keep_label(const struct labeler *l, const struct label_item *item,
                      const struct label *label, struct err *err)
{
    json_t *detail = json_pack("{so so si si so}", "order_a", number(label->order[0]), "order_b",
                               number(label->order[1]), "slot_a", label->slot[0], "slot_b",
                               label->slot[1], "mass", number(label->mass));
    struct store_label row = {l->asker->provider->fingerprint,
                              l->protocol->hash,
                              item->prompt,
                              item->first,
                              item->second,
                              label->p,
                              label_state_name(label->state),
                              detail};
    int rc = detail ? store_add_label(l->asker->store, &row, err) : no_memory(err);
    json_decref(detail);
    return rc;
}

/* ---- single answers ---------------------------------------------------------------------- */

static void rate_one(struct rating *out, const struct unit *u, int item, const struct labeler *l)
{
    const struct ask_form *f = &l->protocol->form;
    struct sum s;
    sum_views(&s, u, item, false, l->min_mass);
    *out = (struct rating){
        .mass = s.mass, .state = s.state, .tokens = s.first->reply.tokens_in, .value = NAN};
    out->rationale = kept_rationale(s.first, l->texts);
    if (s.state != LABEL_ANSWERED)
        return;
    double low = INFINITY, high = -INFINITY, value = 0;
    for (int i = 0; i < f->n_words; i++) {
        out->p[i] = s.p[i];
        value += s.p[i] * f->value[i];
        low = fmin(low, f->value[i]);
        high = fmax(high, f->value[i]);
    }
    out->value = value;
    out->score = (2 * value - low - high) / (high - low) * (f->flip ? -1 : 1);
}

static int keep_rating(const struct labeler *l, const struct label_item *item,
                       const struct rating *r, struct err *err)
{
    json_t *detail = json_pack("{so so}", "value", number(r->value), "mass", number(r->mass));
    struct store_label row = {l->asker->provider->fingerprint,
                              l->protocol->hash,
                              item->prompt,
                              item->first,
                              NULL,
                              r->score,
                              label_state_name(r->state),
                              detail};
    int rc = detail ? store_add_label(l->asker->store, &row, err) : no_memory(err);
    json_decref(detail);
    return rc;
}

/* ---- all of them ------------------------------------------------------------------------- */

static void count_state(struct label_counts *c, enum label_state state)
{
    c->unanswered += state == LABEL_NO_ANSWER;
    c->too_long += state == LABEL_TOO_LONG;
    c->refused += state == LABEL_REFUSED;
    c->failed += state == LABEL_FAILED;
}

struct results { struct label *label; struct rating *rating; };     // one of the two

/* Labels are written only when something was asked: else they are there. */
static int unit_results(const struct unit *u, struct results out, const struct labeler *l,
                        struct label_counts *c, bool writing, struct err *err)
{
    struct store *store = l->asker->store;
    int rc = writing ? store_begin(store, err) : 0;
    for (int i = 0; i < u->n && rc == 0; i++) {
        if (out.label)
            label_one(&out.label[i], u, i, l);
        else
            rate_one(&out.rating[i], u, i, l);
        count_state(c, out.label ? out.label[i].state : out.rating[i].state);
        if (writing)
            rc = out.label ? keep_label(l, &u->item[i], &out.label[i], err)
                           : keep_rating(l, &u->item[i], &out.rating[i], err);
    }
    if (rc == 0 && writing)
        rc = store_commit(store, err);
    if (rc && writing)
        store_rollback(store);
    return rc;
}

static int unit_run(struct results out, const struct labeler *l, const struct label_item *item,
                    int n, struct label_counts *c, struct err *err)
{
    struct unit u;
    struct ask_counts before = l->asker->counts;
    int rc = unit_begin(&u, l->protocol, item, n, err);
    for (int pass = 0; pass < protocol_passes(l->protocol) && rc == 0; pass++)
        rc = unit_pass(&u, l->asker, pass, err);
    int asked = (int)(l->asker->counts.asked - before.asked);
    c->replies_computed += asked;
    c->replies_found += (int)(l->asker->counts.found - before.found);
    if (rc == 0)
        rc = unit_results(&u, out, l, c, l->asker->store && asked, err);
    unit_end(&u);
    return rc;
}

static int run_items(struct results out, struct label_counts *counts, const struct labeler *l,
                     const struct label_item *item, int n, struct err *err)
{
    struct label_counts c = {0};
    struct progress bar, *before = l->asker->progress;
    int views = protocol_n_views(l->protocol), unit = views < UNIT_VIEWS ? UNIT_VIEWS / views : 1,
        rc = 0;
    if (!before) {
        progress_begin(&bar, "labelling", "replies",
                       (double)views * protocol_passes(l->protocol) * n);
        l->asker->progress = &bar;
    }
    for (int at = 0; at < n && rc == 0; at += unit) {
        struct results part = {out.label ? out.label + at : NULL,
                               out.rating ? out.rating + at : NULL};
        rc = unit_run(part, l, item + at, n - at < unit ? n - at : unit, &c, err);
    }
    if (!before)
        progress_end(&bar);
    l->asker->progress = before;
    if (counts)
        *counts = c;
    return rc;
}

int label_items(struct label *out, struct label_counts *counts, const struct labeler *l,
                const struct label_item *item, int n, struct err *err)
{
    if (l->protocol->kind != PROTOCOL_PAIR)
        return err_set(err, ERR_VALUE,
                       "protocol %s rates single answers, it does not compare pairs",
                       l->protocol->name);
    return run_items((struct results){.label = out}, counts, l, item, n, err);
}

int rate_items(struct rating *out, struct label_counts *counts, const struct labeler *l,
               const struct label_item *item, int n, struct err *err)
{
    if (l->protocol->kind != PROTOCOL_RATING)
        return err_set(err, ERR_VALUE,
                       "protocol %s compares pairs, it does not rate single answers",
                       l->protocol->name);
    return run_items((struct results){.rating = out}, counts, l, item, n, err);
}
