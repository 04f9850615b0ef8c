/* feedback/judge/rank.c - which of K outputs: every pair judged, or all of them in one
 * question.
 *
 * One question shows the outputs in an order drawn by the instruction's hash, so that a judge's
 * liking for the first does not fall on the same model each time. */
#include <ctype.h>
#include <math.h>

#include "feedback/judge/judge.h"

enum { UNIT = 256 };
#define RANK_PROTOCOL "judge-list 1"

static void rank_by_wins(struct ranked *r, int n)
{
    for (int i = 0; i < n; i++) {
        r->rank[i] = 1;
        for (int j = 0; j < n; j++)
            r->rank[i] += r->wins[j] > r->wins[i];
    }
}

/* ---- all pairs --------------------------------------------------------------------------- */

static int tournament(struct ranked *out, struct asker *a, const struct judge_options *o,
                      const struct rank_item *item, int n, struct arena *arena, struct err *err)
{
    size_t most = 1;
    for (int i = 0; i < n; i++)
        most += (size_t)item[i].n * (size_t)item[i].n;
    struct judge_item *pair = mem_alloc(most, sizeof *pair);
    struct judgement *said = mem_alloc(most, sizeof *said);
    int pairs = 0,
        rc = pair && said ? 0 : err_set(err, ERR_MEMORY, "no memory for a tournament");
    for (int i = 0; i < n && rc == 0; i++)
        for (int k = 0; k < item[i].n; k++)
            for (int j = k + 1; j < item[i].n; j++)
                pair[pairs++] = (struct judge_item){item[i].instruction, item[i].output[k],
                                                    item[i].output[j], item[i].reference};
    if (rc == 0)
        rc = judge_pairs(said, a, o, pair, pairs, arena, err);
    for (int i = 0, at = 0; i < n && rc == 0; i++) {
        for (int k = 0; k < item[i].n; k++)
            for (int j = k + 1; j < item[i].n; j++, at++) {
                double p = said[at].preference - 1, second = isnan(p)  ? 0.5
                                                             : p > 0.5 ? 1
                                                             : p < 0.5 ? 0
                                                                       : 0.5;
                out[i].unread += isnan(p);
                out[i].wins[j] += second;
                out[i].wins[k] += 1 - second;
            }
        rank_by_wins(&out[i], item[i].n);
    }
    free(pair);
    free(said);
    return rc;
}

/* ---- one question ------------------------------------------------------------------------ */

static char *list_question(const struct rank_item *item, const int *order, bool chat)
{
    struct buf b = {0};
    buf_addf(&b,
             "%d assistants were given the same instruction. Order their outputs from the one "
             "that a person who gave it would like "
             "best to the one that they would like least.\n\n# Instruction\n%s\n\n",
             item->n, item->instruction);
    if (item->reference)
        buf_addf(&b, "# A good answer, to compare with\n%s\n\n", item->reference);
    for (int i = 0; i < item->n; i++)
        buf_addf(&b, "# Output %d\n%s\n\n", i + 1, item->output[order[i]]);
    buf_adds(&b, "# Order\nWrite nothing but the numbers, the best first, with > between them");
    for (int i = 0; i < item->n; i++)
        buf_addf(&b, "%s%d", i ? " > " : ", as in ", item->n - i);
    buf_adds(&b, chat ? "." : ".\nOrder:");
    return buf_take(&b);
}

bool order_read(int *place, int n, const char *text)
{
    bool seen[JUDGE_MAX_OUTPUTS] = {false};
    int found = 0;
    for (const char *p = text; *p && found < n;) {
        if (!isdigit((unsigned char)*p)) {
            p++;
            continue;
        }
        char *end;
        long k = strtol(p, &end, 10);
        if (k < 1 || k > n || seen[k - 1])
            return false;
        seen[k - 1] = true;
        place[found++] = (int)k - 1;
        p = end;
    }
    return found == n;
}

struct listed {
    int order[JUDGE_MAX_OUTPUTS];
};

static void draw_order(struct listed *l, const struct judge_options *o,
                       const struct rank_item *item)
{
    struct rng r;
    for (int i = 0; i < item->n; i++)
        l->order[i] = i;
    rng_init(&r, o->seed, RNG_SHUFFLE,
             hash_bytes(item->instruction, strlen(item->instruction)).lo, 1);
    if (o->order != JUDGE_FIXED)
        rng_shuffle(&r, l->order, item->n);
}

static struct ask list_ask(const struct judge_options *o, int n)
{
    static const char *const stop[] = {"\n"};
    struct ask ask = {.kind = ASK_TEXT, .protocol = RANK_PROTOCOL};
    sampling_defaults(&ask.sampling);
    ask.sampling.temperature = 0;
    ask.sampling.max_new_tokens = 8 * n;
    ask.sampling.stop = stop;
    ask.sampling.n_stop = !o->chat;
    return ask;
}

static void list_read(struct ranked *out, const struct listed *l, const struct reply *r, int n,
                      struct arena *arena)
{
    int place[JUDGE_MAX_OUTPUTS];
    out->raw = arena_strdup(arena, r->text ? r->text : "");
    out->unread = r->state != REPLY_OK || !r->text || !order_read(place, n, r->text);
    for (int i = 0; i < n && !out->unread; i++)
        out->wins[l->order[place[i]]] = n - 1 - i;
    if (!out->unread)
        rank_by_wins(out, n);
}

static int listwise(struct ranked *out, struct asker *a, const struct judge_options *o,
                    const struct rank_item *item, int n, struct arena *arena, struct err *err)
{
    struct ask_list q;
    struct listed *l = mem_alloc((size_t)n, sizeof *l);
    int rc = ask_list_init(&q, n, err);
    if (rc == 0 && !l)
        rc = err_set(err, ERR_MEMORY, "no memory to rank outputs");
    for (int i = 0; i < n && rc == 0; i++) {
        struct ask ask = list_ask(o, item[i].n);
        draw_order(&l[i], o, &item[i]);
        rc = ask_list_add(&q, &ask, list_question(&item[i], l[i].order, o->chat), o->chat, err);
    }
    if (rc == 0)
        rc = ask_list_send(&q, a, err);
    for (int i = 0; i < n && rc == 0; i++)
        list_read(&out[i], &l[i], &q.reply[i], item[i].n, arena);
    ask_list_release(&q);
    free(l);
    return rc;
}

int judge_rank(struct ranked *out, struct asker *a, const struct judge_options *o,
               enum rank_how how, const struct rank_item *item, int n, struct arena *arena,
               struct err *err)
{
    int rc = 0;
    for (int i = 0; i < n; i++) {
        out[i] = (struct ranked){0};
        if (item[i].n < 2 || item[i].n > JUDGE_MAX_OUTPUTS)
            return err_set(err, ERR_VALUE, "%d outputs are to be ranked; expected 2 to %d",
                           item[i].n, JUDGE_MAX_OUTPUTS);
    }
    for (int at = 0; at < n && rc == 0; at += UNIT)
        rc = (how == RANK_LISTWISE ? listwise : tournament)(
            out + at, a, o, item + at, n - at < UNIT ? n - at : UNIT, arena, err);
    return rc;
}
