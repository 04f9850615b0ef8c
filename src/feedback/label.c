/* feedback/label.c - from two replies to one label, and labelling many pairs.
 *
 * Each pair is two asks; ask_all finds or asks them and stores what came.  So a run that was killed goes on from its
 * last commit, and a run that is repeated computes nothing. */
#include "feedback/feedback.h"

#include <math.h>

static const char *const state_names[] = {"answered", "unanswered", "too_long", "refused", "failed"};

const char *label_state_name(enum label_state state)
{
    return state_names[state];
}

/* ---- debiasing --------------------------------------------------------------------------- */

/* Softmax over the two label words is the sigmoid of their difference: renormalisation comes with it. */
static double first_slot(const struct reply *r)
{
    double d = r->word[0].sum - r->word[1].sum;
    return isnan(d) ? 0.5 : 1 / (1 + exp(-d));
}

static int winning_slot(double p)
{
    return p > 0.5 ? 1 : p < 0.5 ? 2 : 0;
}

static enum label_state state_of(const struct reply *r, double min_mass)
{
    switch (r->state) {
    case REPLY_TOO_LONG: return LABEL_TOO_LONG;
    case REPLY_REFUSED: return LABEL_REFUSED;
    case REPLY_FAILED: return LABEL_FAILED;
    case REPLY_OK: break;
    }
    return r->has_logps && r->mass >= min_mass ? LABEL_ANSWERED : LABEL_NO_ANSWER;
}

static struct answer answer_of(const struct reply *r)
{
    return (struct answer){{r->word[0], r->word[1]}, r->mass, r->tokens_in};
}

void label_combine(struct label *out, const struct reply *a, const struct reply *b, bool flip, double min_mass)
{
    double pa = first_slot(a), pb = first_slot(b);
    *out = (struct label){.answer = {answer_of(a), answer_of(b)}};
    out->slot[0] = winning_slot(pa);
    out->slot[1] = winning_slot(pb);
    out->same_slot = out->slot[0] && out->slot[0] == out->slot[1];
    // Order A shows `first` in slot 1, order B in slot 2.
    out->order[0] = flip ? 1 - pa : pa;
    out->order[1] = flip ? pb : 1 - pb;
    out->p = 0.5 * (out->order[0] + out->order[1]);
    out->mass = fmin(a->mass, b->mass);
    enum label_state sa = state_of(a, min_mass), sb = state_of(b, min_mass);
    out->state = sa > sb ? sa : sb;
    if (out->state != LABEL_ANSWERED)
        out->p = out->order[0] = out->order[1] = 0.5;
}

/* ---- one unit: up to LABEL_UNIT pairs, two asks each ----------------------------------------- */

struct unit {
    struct ask ask[2 * LABEL_UNIT];     // order A and B of each pair
    struct reply reply[2 * LABEL_UNIT];
    char *prompt[2 * LABEL_UNIT];
};

/* What a store of format 1 knew an order of a pair by: a hash of hashes of the texts as shown. */
static struct hash128 key_of_format_1(const struct labeler *l, const char *prompt, const char *first, const char *second)
{
    const char *part[] = {l->asker->provider->fingerprint, l->protocol->hash, prompt, first, second};
    struct hash128 each[ARRAY_LEN(part)];
    for (size_t i = 0; i < ARRAY_LEN(part); i++)
        each[i] = hash_bytes(part[i], strlen(part[i]));
    return hash_bytes(each, sizeof each);
}

static int unit_fill(struct unit *u, const struct labeler *l, const struct label_item *item, int n, struct err *err)
{
    static const char *const word[] = {"1", "2"};
    for (int k = 0; k < 2 * n; k++) {
        const struct label_item *it = &item[k / 2];
        struct buf b = {0};
        bool swapped = k % 2;
        const char *one = swapped ? it->second : it->first, *two = swapped ? it->first : it->second;
        feedback_render_pair(&b, l->protocol, it->prompt, one, two);
        u->prompt[k] = buf_take(&b);
        if (!u->prompt[k])
            return err_set(err, ERR_MEMORY, "no memory for a labelling prompt");
        u->ask[k] = (struct ask){.kind = ASK_WORDS, .prompt = u->prompt[k], .head = l->protocol->head, .word = word,
                                 .n_words = 2, .protocol = l->protocol->hash, .order = swapped,
                                 .was = key_of_format_1(l, it->prompt, one, two)};
    }
    return 0;
}

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static int keep_label(const struct labeler *l, const struct label_item *item, const struct label *label, struct err *err)
{
    json_t *detail = json_pack("{so so si si so}", "order_a", number(label->order[0]), "order_b", number(label->order[1]),
                               "slot_a", label->slot[0], "slot_b", label->slot[1], "mass", number(label->mass));
    struct store_label row = {l->asker->provider->fingerprint, l->protocol->hash, item->prompt, item->first, item->second,
                              label->p, label_state_name(label->state), detail};
    int rc = detail ? store_add_label(l->asker->store, &row, err) : err_set(err, ERR_MEMORY, "no memory to keep a label");
    json_decref(detail);
    return rc;
}

static void count_label(struct label_counts *c, const struct label *l)
{
    c->unanswered += l->state == LABEL_NO_ANSWER;
    c->too_long += l->state == LABEL_TOO_LONG;
    c->refused += l->state == LABEL_REFUSED;
    c->failed += l->state == LABEL_FAILED;
}

/* Labels are written only when something was asked: else they are there. */
static int unit_combine(const struct unit *u, struct label *out, const struct labeler *l, const struct label_item *item,
                        int n, struct label_counts *c, bool writing, struct err *err)
{
    int rc = writing ? store_begin(l->asker->store, err) : 0;
    for (int i = 0; i < n && rc == 0; i++) {
        label_combine(&out[i], &u->reply[2 * i], &u->reply[2 * i + 1], l->protocol->flip, l->min_mass);
        count_label(c, &out[i]);
        if (writing)
            rc = keep_label(l, &item[i], &out[i], err);
    }
    if (rc == 0 && writing)
        rc = store_commit(l->asker->store, err);
    if (rc && writing)
        store_rollback(l->asker->store);
    return rc;
}

static int unit_run(struct unit *u, struct label *out, const struct labeler *l, const struct label_item *item, int n,
                    struct label_counts *c, struct err *err)
{
    struct ask_counts before = l->asker->counts;
    int rc = unit_fill(u, l, item, n, err);
    if (rc == 0)
        rc = ask_all(l->asker, u->reply, u->ask, 2 * n, err);
    int asked = (int)(l->asker->counts.asked - before.asked);
    c->replies_computed += asked;
    c->replies_found += (int)(l->asker->counts.found - before.found);
    if (rc == 0)
        rc = unit_combine(u, out, l, item, n, c, l->asker->store && asked, err);
    replies_release(u->reply, 2 * n);
    for (int k = 0; k < 2 * n; k++) {
        free(u->prompt[k]);
        u->prompt[k] = NULL;
    }
    return rc;
}

/* ---- all of them --------------------------------------------------------------------------------- */

int label_items(struct label *out, struct label_counts *counts, const struct labeler *l, const struct label_item *item, int n,
                struct err *err)
{
    struct unit *u = mem_alloc(1, sizeof *u);
    if (!u)
        return err_set(err, ERR_MEMORY, "no memory for labelling");
    struct label_counts c = {0};
    struct progress bar, *before = l->asker->progress;
    int rc = 0;
    progress_begin(&bar, "labelling", "replies", 2.0 * n);
    l->asker->progress = &bar;
    for (int at = 0; at < n && rc == 0; at += LABEL_UNIT) {
        int m = n - at < LABEL_UNIT ? n - at : LABEL_UNIT;
        rc = unit_run(u, out + at, l, item + at, m, &c, err);
    }
    l->asker->progress = before;
    progress_end(&bar);
    free(u);
    if (counts)
        *counts = c;
    return rc;
}
