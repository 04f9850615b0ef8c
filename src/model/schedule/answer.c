/* model/schedule/answer.c - a completion that grows token by token.
 *
 * Text is given out as soon as it is certain: whole characters, and nothing that a stop string
 * may still begin in. */
#include "model/schedule/schedule.h"

int answer_begin(struct answer *a, const struct model *m, const struct scheduler_request *r,
                 int most, struct err *err)
{
    struct completion *out = r->out;
    *a = (struct answer){
        .out = out, .s = r->sampling, .m = m, .most = most, .said = r->said, .arg = r->arg};
    a->stream.skip_special = true;
    a->longest_stop = stop_longest(r->sampling);
    *out = (struct completion){0};
    out->id = mem_alloc((size_t)most, sizeof *out->id);
    out->logp = mem_alloc((size_t)most, sizeof *out->logp);
    if (out->id && out->logp)
        return 0;
    completions_release(out, 1);
    return err_set(err, ERR_MEMORY, "a completion of %d tokens", most);
}

/* Gives out what is certain by now; all of it at the end. */
static bool show(struct answer *a, bool end)
{
    size_t to = a->text.len, hold = end || !a->longest_stop ? 0 : a->longest_stop - 1;
    to = to > hold ? to - hold : 0;
    while (to > a->shown && to < a->text.len && ((unsigned char)a->text.s[to] & 0xC0) == 0x80)
        to--;
    size_t from = a->shown;
    a->shown = to > from ? to : from;
    return a->said(a->arg, a->text.s ? a->text.s + from : "", a->shown - from);
}

/* Appends a token's text; 1 where a stop string ended it, -1 without memory. */
static int take_text(struct answer *a, int id)
{
    size_t before = a->text.len, from = before > a->longest_stop ? before - a->longest_stop : 0;
    if (a->m->tokenizer && text_stream_push(&a->stream, a->m->tokenizer, &a->text, id))
        return -1;
    long at = a->s->n_stop && a->text.s ? stop_find(a->text.s, a->text.len, from, a->s) : -1;
    if (at < 0)
        return 0;
    a->text.s[a->text.len = (size_t)at] = 0;
    a->cut = true;
    return 1;
}

int answer_take(struct answer *a, int id, float logp)
{
    struct completion *out = a->out;
    out->id[out->n] = id;
    out->logp[out->n++] = logp;
    out->eos = generate_ends(a->m, a->s, id);
    if (!out->eos) {
        int stopped = take_text(a, id);
        if (stopped < 0)
            return -1;
        out->eos = stopped;
    }
    bool on = !a->said || show(a, false);
    return !on || out->eos || out->n >= a->most;
}

int answer_end(struct answer *a, struct err *err)
{
    struct buf dropped = {0};
    text_stream_end(&a->stream, a->cut ? &dropped : &a->text);
    buf_release(&dropped);
    if (a->said && a->out->n)
        show(a, true);
    buf_adds(&a->text, "");
    a->out->text = buf_take(&a->text);
    return a->out->text ? 0 : err_set(err, ERR_MEMORY, "the text of a completion");
}

void answer_release(struct answer *a)
{
    buf_release(&a->text);
    text_stream_release(&a->stream);
}
