/* writer.c - one sequence continued token by token, keeping its cache from call to call.
 *
 * A conversation grows at its end: each call brings the whole of it, and only what the cache
 * does not begin with is computed.  The cache holds the sequence in parts, each hanging on the
 * one before it:
 *
 *     [prompt portion][prompt portion][answer, as it was sampled][next question]...
 *
 * Where a call differs from what is there (an answer that is tokenised otherwise than it was
 * sampled, a new system message), parts behind the difference are dropped and the one it lies
 * in is cut.
 *
 * Text is given out as soon as it is certain: whole characters, and nothing that a stop string
 * may still begin in. */
#include "model/generate/generate.h"

struct stretch {
    int handle, start; // start: position of its first token
};

struct writer {
    const struct model *m;
    struct context *context;
    int window, computed;
    struct tokens have; // what the cache holds, in order
    struct stretch *part;
    int n_parts;
    size_t part_cap;
    struct tensor hidden; // (1,C) the state after the last of have
    struct sampler sampler;
    struct forest forest;
};

/* An answer while it is written. */
struct answer_text {
    struct buf all;
    struct text_stream stream; // a character that is not all there
    size_t shown;
    const struct sampling *s;
    size_t longest_stop;
};

void writer_free(struct writer *w)
{
    if (!w)
        return;
    context_free(w->context);
    tensor_release(&w->hidden);
    sampler_release(&w->sampler);
    forest_release(&w->forest);
    tokens_release(&w->have);
    free(w->part);
    free(w);
}

int writer_new(struct writer **out, const struct model *m, int window, struct err *err)
{
    int most = m->config.max_position;
    if (m->scalar)
        return err_set(err, ERR_UNSUPPORTED, "a model with a scalar head generates no text");
    if (window < 0 || window > most)
        return err_set(err, ERR_VALUE, "a window of %d tokens; the model's context has %d",
                       window, most);
    struct writer *w = mem_alloc(1, sizeof *w);
    if (!w)
        return err_set(err, ERR_MEMORY, "no memory to write with a model");
    w->m = m;
    w->window = window ? window : most;
    int rc = context_new(&w->context, m, w->window, err);
    if (rc == 0)
        rc = tensor_new(&w->hidden, m->dev, m->dtype, 1, m->config.width, err);
    if (rc == 0)
        rc = sampler_init(&w->sampler, m, 1, err);
    if (rc == 0)
        *out = w;
    else
        writer_free(w);
    return rc;
}

int writer_window(const struct writer *w)
{
    return w->window;
}

int writer_computed(const struct writer *w)
{
    return w->computed;
}

/* ---- the cache ---------------------------------------------------------------------- */

/* Keeps the first n tokens. */
static void cut(struct writer *w, int n)
{
    while (w->n_parts && w->part[w->n_parts - 1].start >= n)
        context_drop(w->context, w->part[--w->n_parts].handle);
    if (w->n_parts) {
        const struct stretch *p = &w->part[w->n_parts - 1];
        context_trim(w->context, p->handle, n - p->start);
    }
    w->have.n = n;
}

static int remember(struct writer *w, const int *id, int n, struct err *err)
{
    int *have = mem_grow(w->have.id, &w->have.cap, (size_t)(w->have.n + n) + 1, sizeof *have);
    if (!have)
        return err_set(err, ERR_MEMORY, "a sequence of %d tokens", w->have.n + n);
    w->have.id = have;
    if (n)
        memcpy(have + w->have.n, id, (size_t)n * sizeof *id);
    w->have.n += n;
    return 0;
}

/* Appends a part of n tokens, which may be none. */
static int extend(struct writer *w, const int *id, int n, struct err *err)
{
    struct stretch *part = mem_grow(w->part, &w->part_cap, (size_t)w->n_parts + 1, sizeof *part);
    if (!part)
        return err_set(err, ERR_MEMORY, "a sequence in %d parts", w->n_parts + 1);
    w->part = part;
    int up = w->n_parts ? ~part[w->n_parts - 1].handle : CONTEXT_ROOT, start = w->have.n;
    forest_clear(&w->forest);
    if (forest_add(&w->forest, -1, id, n) < 0)
        return err_set(err, ERR_MEMORY, "%d tokens", n);
    w->forest.seg[0].parent = up;
    int rc = remember(w, id, n, err);
    if (rc == 0)
        rc = context_extend(w->context, &w->forest, &part[w->n_parts].handle, err);
    if (rc) {
        w->have.n = start;
        return rc;
    }
    part[w->n_parts++].start = start;
    if (n)
        context_hidden_row(w->context, n - 1, &w->hidden, 0);
    return 0;
}

/* Brings the cache to id (n).  Returns 1 when told to stop on the way. */
static int read_prompt(struct writer *w, const int *id, int n, writer_said *said, void *arg,
                       struct err *err)
{
    int common = 0, rc = 0;
    while (common < n && common < w->have.n && id[common] == w->have.id[common])
        common++;
    if (common == n)
        common--; // the last token's state is what the answer begins from
    cut(w, common);
    w->computed = n - common;
    while (rc == 0 && w->have.n < n) {
        int left = n - w->have.n, take = left < GENERATE_PORTION ? left : GENERATE_PORTION;
        if (!said(arg, "", 0))
            return 1;
        rc = extend(w, id + w->have.n, take, err);
    }
    return rc;
}

/* ---- the answer --------------------------------------------------------------------- */

/* Gives out what is certain by now; all of it at the end. */
static bool show(struct answer_text *t, bool end, writer_said *said, void *arg)
{
    size_t to = t->all.len, hold = end || !t->longest_stop ? 0 : t->longest_stop - 1;
    to = to > hold ? to - hold : 0;
    while (to > t->shown && to < t->all.len && ((unsigned char)t->all.s[to] & 0xC0) == 0x80)
        to--;
    size_t from = t->shown;
    t->shown = to > from ? to : from;
    return said(arg, t->all.s ? t->all.s + from : "", t->shown - from);
}

/* Appends what a token brings (id -1: the end); true when a stop string ended the text. */
static bool take_text(struct answer_text *t, const struct tokenizer *tokenizer, int id)
{
    size_t before = t->all.len, from = before > t->longest_stop ? before - t->longest_stop : 0;
    if (id < 0)
        text_stream_end(&t->stream, &t->all);
    else if (tokenizer && text_stream_push(&t->stream, tokenizer, &t->all, id))
        t->all.failed = true;
    long at = t->s->n_stop && t->all.s ? stop_find(t->all.s, t->all.len, from, t->s) : -1;
    if (at < 0)
        return false;
    t->all.s[t->all.len = (size_t)at] = 0;
    buf_clear(&t->stream.held);
    return true;
}

static int sample(struct writer *w, struct completion *out, int n_prompt, uint64_t item,
                  const struct sampling *s, writer_said *said, void *arg, struct err *err)
{
    struct answer_text text = {
        .stream = {.skip_special = true}, .s = s, .longest_stop = stop_longest(s)};
    int most =
        w->window - n_prompt < s->max_new_tokens ? w->window - n_prompt : s->max_new_tokens;
    int handle = w->part[w->n_parts - 1].handle, rc = 0;
    for (bool on = true; rc == 0 && on;) {
        struct draw draw = {item, 0, (uint32_t)out->n};
        sampler_draw(&w->sampler, s, &w->hidden, &draw, 1);
        int id = w->sampler.token[0];
        out->id[out->n] = id;
        out->logp[out->n++] = w->sampler.logp[0];
        out->eos = generate_ends(w->m, s, id) || take_text(&text, w->m->tokenizer, id);
        on = show(&text, false, said, arg) && !out->eos && out->n < most;
        if (on)
            rc = context_append(w->context, &handle, &id, 1, &w->hidden, err);
        if (on && rc == 0)
            rc = remember(w, &id, 1, err);
    }
    out->eos |= take_text(&text, NULL, -1);
    if (rc == 0)
        show(&text, true, said, arg);
    buf_adds(&text.all, "");
    out->text = buf_take(&text.all);
    text_stream_release(&text.stream);
    if (rc == 0 && !out->text)
        rc = err_set(err, ERR_MEMORY, "the text of an answer");
    return rc;
}

static int answer(struct writer *w, struct completion *out, int n, uint64_t item,
                  const struct sampling *s, writer_said *said, void *arg, struct err *err)
{
    int room = w->window - n, most = s->max_new_tokens < room ? s->max_new_tokens : room;
    out->id = mem_alloc((size_t)most, sizeof *out->id);
    out->logp = mem_alloc((size_t)most, sizeof *out->logp);
    if (!out->id || !out->logp)
        return err_set(err, ERR_MEMORY, "an answer of %d tokens", most);
    int rc = extend(w, NULL, 0, err);
    if (rc == 0)
        rc = context_reserve(w->context, w->part[w->n_parts - 1].handle, most, err);
    if (rc == 0)
        rc = sample(w, out, n, item, s, said, arg, err);
    if (w->n_parts && w->part[w->n_parts - 1].start == n)
        context_trim(w->context, w->part[w->n_parts - 1].handle, w->have.n - n);
    return rc;
}

int writer_write(struct writer *w, struct completion *out, const int *id, int n, uint64_t item,
                 const struct sampling *s, writer_said *said, void *arg, struct err *err)
{
    struct prompt_ids prompt = {id, n, item};
    *out = (struct completion){0};
    int rc = generate_check(w->m, &prompt, 1, 1, s, 1, err);
    if (rc == 0 && n >= w->window)
        rc = err_set(err, ERR_VALUE, "%d tokens; the window of %d leaves no room for an answer",
                     n, w->window);
    if (rc)
        return rc;
    rc = read_prompt(w, id, n, said, arg, err);
    if (rc == 0)
        rc = answer(w, out, n, item, s, said, arg, err);
    else if (rc > 0) {
        out->text = str_printf("%s", "");
        rc = out->text ? 0 : err_set(err, ERR_MEMORY, "the text of an answer");
    }
    if (rc)
        completions_release(out, 1);
    return rc;
}
