/* model/generate/generate.c - continuations of many prompts, a batch of sequences in flight.
 *
 * A prompt is computed once; its K samples share its cache rows. A sequence that ends leaves at once and the next
 * one joins, so rows stay full:
 *
 *     waiting -> (prompt computed, with others) -> running: sample, append one token, ... -> done
 *
 * Being interrupted (base.h) is looked for between steps and between portions of prompts.
 *
 * Every token's random number is keyed by (seed, prompt's item, sample, position) and rows do not know their company
 * (compute.h), so results do not depend on the batch.  Left out: preemption; the cache is made large enough
 * for the batch before starting. */
#include <math.h>

#include "model/generate/generate.h"

struct prompt_state {
    int handle, row;        // row of `first` that holds its last hidden state
    int left;               // samples not finished; the prompt's rows go with the last
};

struct sequence { int out, prompt, sample, handle; struct buf text; struct text_stream stream; bool cut; };   // cut: by a stop string

struct batch {
    const struct model *m;
    const struct prompt_ids *prompt;
    const struct sampling *s;
    struct completion *out;
    struct context *context;
    int n_prompts, per_prompt, size, groups;    // groups: prompts in flight at most
    int n_running, next, live;                  // next: index of the next completion to start; live: prompts in flight
    struct sequence *seq;       // (size) running
    struct prompt_state *state; // (n_prompts)
    struct tensor hidden;       // (size,C) the state that predicts each running sequence's next token
    struct tensor first;        // (groups,C)
    int *free_first, n_free_first;
    struct sampler sampler;
    struct draw *draw;          // (size)
    int *token, *handle;        // (size) of those that go on
    struct forest forest;
    size_t longest_stop;
    void (*done)(void *, int);
    void *arg;
};

void completions_release(struct completion *c, int n)
{
    for (int i = 0; c && i < n; i++) {
        free(c[i].id);
        free(c[i].logp);
        free(c[i].text);
        c[i] = (struct completion){0};
    }
}

/* ---- checks and memory ----------------------------------------------------------------- */

int generate_check(const struct model *m, const struct prompt_ids *prompt, int n, int per_prompt, const struct sampling *s,
                 int batch, struct err *err)
{
    const struct model_config *c = &m->config;
    if (m->scalar)
        return err_set(err, ERR_UNSUPPORTED, "a model with a scalar head generates no text");
    if (per_prompt < 1 || batch < 1 || s->max_new_tokens < 1)
        return err_set(err, ERR_VALUE, "generation wants at least 1 sample per prompt, 1 sequence in flight and 1 new token, not "
                       "%d, %d and %d", per_prompt, batch, s->max_new_tokens);
    if (!(s->temperature >= 0) || !(s->top_p > 0) || s->top_k < 0 || isinf(s->temperature))
        return err_set(err, ERR_VALUE, "temperature %g must not be negative, top_p %g must be above 0, top_k %d at least 0",
                       (double)s->temperature, (double)s->top_p, s->top_k);
    for (int i = 0; i < n; i++) {
        if (prompt[i].n < 1)
            return err_set(err, ERR_VALUE, "prompt %d has no tokens", i + 1);
        if (prompt[i].n >= c->max_position)
            return err_set(err, ERR_VALUE, "prompt %d has %d tokens; the model's context of %d leaves no room for an answer", i + 1,
                           prompt[i].n, c->max_position);
        for (int t = 0; t < prompt[i].n; t++)
            if (prompt[i].id[t] < 0 || prompt[i].id[t] >= c->vocab)
                return err_set(err, ERR_VALUE, "prompt %d, token %d: id %d of a vocabulary of %d", i + 1, t, prompt[i].id[t], c->vocab);
    }
    return 0;
}

static int new_tokens(const struct batch *b, int prompt)
{
    int room = b->m->config.max_position - b->prompt[prompt].n;
    return room < b->s->max_new_tokens ? room : b->s->max_new_tokens;
}

static int allocate(struct batch *b, struct err *err)
{
    const struct model_config *c = &b->m->config;
    size_t size = (size_t)b->size;
    long longest = 1;
    for (int i = 0; i < b->n_prompts; i++)
        longest = b->prompt[i].n > longest ? b->prompt[i].n : longest;
    long slots = (long)b->groups * longest + (long)b->size * b->s->max_new_tokens;
    if (slots > INT32_MAX)
        return err_set(err, ERR_MEMORY, "a cache for %d sequences of %ld tokens", b->size, longest + b->s->max_new_tokens);

    b->seq = mem_alloc(size, sizeof *b->seq);
    b->state = mem_alloc((size_t)b->n_prompts, sizeof *b->state);
    b->draw = mem_alloc(size, sizeof *b->draw);
    b->token = mem_alloc(size, sizeof *b->token);
    b->handle = mem_alloc(size, sizeof *b->handle);
    b->free_first = mem_alloc((size_t)b->groups, sizeof *b->free_first);
    if (!b->seq || !b->state || !b->draw || !b->token || !b->handle || !b->free_first)
        return err_set(err, ERR_MEMORY, "generation of %d sequences at a time", b->size);
    b->n_free_first = b->groups;
    for (int i = 0; i < b->groups; i++)
        b->free_first[i] = b->groups - 1 - i;
    int rc = sampler_init(&b->sampler, b->m, b->size, err);
    if (rc == 0)
        rc = tensor_new(&b->hidden, b->m->dev, b->m->dtype, b->size, c->width, err);
    if (rc == 0)
    if (rc == 0)
        rc = tensor_new(&b->first, b->m->dev, b->m->dtype, b->groups, c->width, err);
    if (rc == 0)
        rc = context_new(&b->context, b->m, (int)slots, err);
    return rc;
}

static void release(struct batch *b)
{
    for (int i = 0; b->seq && i < b->size; i++)
        buf_release(&b->seq[i].text), text_stream_release(&b->seq[i].stream);
    void *all[] = {b->seq, b->state, b->draw, b->free_first, b->token, b->handle};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(all[i]);
    sampler_release(&b->sampler);
    tensor_release(&b->hidden);
    tensor_release(&b->first);
    context_free(b->context);
    forest_release(&b->forest);
}

/* ---- joining ------------------------------------------------------------------------------ */

/* Computes prompts from .. to-1 together. */
static int compute_portion(struct batch *b, int from, int to, int *handles, struct err *err)
{
    int rc = 0;
    forest_clear(&b->forest);
    for (int p = from; rc == 0 && p < to; p++)
        if (forest_add(&b->forest, CONTEXT_ROOT, b->prompt[p].id, b->prompt[p].n) < 0)
            rc = err_set(err, ERR_MEMORY, "no memory for a batch of %d prompts", to - from);
    if (rc == 0)
        rc = context_extend(b->context, &b->forest, handles, err);
    for (int p = from; rc == 0 && p < to; p++) {
        const struct segment *s = &b->forest.seg[p - from];
        struct prompt_state *st = &b->state[p];
        st->handle = handles[p - from];
        st->left = b->per_prompt;
        st->row = b->free_first[--b->n_free_first];
        context_hidden_row(b->context, s->start + s->len - 1, &b->first, st->row);
        b->live++;
    }
    return rc;
}

static int stop_asked(struct err *err)
{
    return interrupted() ? err_set(err, ERR_INTERRUPTED, "interrupted while generating") : 0;
}

/* Computes the prompts of completions next .. next+n-1 that are not in the cache yet, in portions of about GENERATE_PORTION tokens:
 * as fast as all at once, and stopping does not have to wait for all of them. */
static int compute_prompts(struct batch *b, int n, struct err *err)
{
    int from = b->next / b->per_prompt, to = (b->next + n - 1) / b->per_prompt + 1, rc = 0;
    if (b->next % b->per_prompt)
        from++;             // its earlier samples brought it in
    if (from >= to)
        return 0;
    int *handles = mem_alloc((size_t)(to - from), sizeof *handles);
    if (!handles)
        return err_set(err, ERR_MEMORY, "no memory for a batch of %d prompts", to - from);
    for (int end; rc == 0 && from < to; from = end) {
        long tokens = b->prompt[from].n;
        for (end = from + 1; end < to && tokens + b->prompt[end].n <= GENERATE_PORTION; end++)
            tokens += b->prompt[end].n;
        rc = stop_asked(err);
        if (rc == 0)
            rc = compute_portion(b, from, end, handles, err);
    }
    free(handles);
    return rc;
}

static int start(struct batch *b, int index, struct err *err)
{
    struct sequence *q = &b->seq[b->n_running];
    struct completion *out = &b->out[index];
    q->out = index;
    q->prompt = index / b->per_prompt;
    q->sample = index % b->per_prompt;
    buf_clear(&q->text);
    q->stream.skip_special = true;
    q->cut = false;

    int most = new_tokens(b, q->prompt), handle, rc;
    out->id = mem_alloc((size_t)most, sizeof *out->id);
    out->logp = mem_alloc((size_t)most, sizeof *out->logp);
    if (!out->id || !out->logp)
        return err_set(err, ERR_MEMORY, "a completion of %d tokens", most);
    // a sequence of its own begins with nothing, on top of the prompt
    struct segment empty = {.parent = ~b->state[q->prompt].handle};
    struct forest f = {.seg = &empty, .n = 1};
    rc = context_extend(b->context, &f, &handle, err);
    if (rc == 0) {
        q->handle = handle;
        rc = context_reserve(b->context, handle, most, err);
    }
    if (rc)
        return rc;
    struct tensor to = tensor_rows(&b->hidden, b->n_running++, 1);
    op_gather_rows(&to, &b->first, &b->state[q->prompt].row, 1);
    return 0;
}

static int admit(struct batch *b, struct err *err)
{
    int total = b->n_prompts * b->per_prompt, n = b->size - b->n_running, rc = 0;
    if (n > total - b->next)
        n = total - b->next;
    // prompts in flight are bounded: the cache was made for so many
    while (n > 0) {
        int from = b->next / b->per_prompt + (b->next % b->per_prompt != 0), to = (b->next + n - 1) / b->per_prompt;
        if (b->live + (to - from + 1) <= b->groups)
            break;
        n--;
    }
    if (n > 0)
        rc = compute_prompts(b, n, err);
    for (int i = 0; rc == 0 && i < n; i++)
        rc = start(b, b->next++, err);
    return rc;
}

/* ---- sampling and leaving ------------------------------------------------------------------- */

static void sample_all(struct batch *b)
{
    struct tensor hidden = tensor_rows(&b->hidden, 0, b->n_running);
    for (int i = 0; i < b->n_running; i++) {
        const struct sequence *q = &b->seq[i];
        b->draw[i] = (struct draw){b->prompt[q->prompt].item, q->sample, (uint32_t)b->out[q->out].n};
    }
    sampler_draw(&b->sampler, b->s, &hidden, b->draw, b->n_running);
}

bool generate_ends(const struct model *m, const struct sampling *s, int id)
{
    const struct model_config *c = &m->config;
    for (int i = 0; i < s->n_stop_ids; i++)
        if (s->stop_ids[i] == id)
            return true;
    if (s->ignore_eos)
        return false;
    for (int i = 0; i < c->n_eos; i++)
        if (c->eos_ids[i] == id)
            return true;
    return id == c->eos && c->eos >= 0;
}

/* Takes the token; returns whether the sequence has ended, and -1 without memory. */
static int take_token(struct batch *b, int i)
{
    struct sequence *q = &b->seq[i];
    struct completion *out = &b->out[q->out];
    int id = b->sampler.token[i];
    out->id[out->n] = id;
    out->logp[out->n++] = b->sampler.logp[i];
    if (generate_ends(b->m, b->s, id)) {
        out->eos = true;
        return 1;
    }
    size_t before = q->text.len;
    if (b->m->tokenizer && text_stream_push(&q->stream, b->m->tokenizer, &q->text, id))
        return -1;
    if (b->s->n_stop) {
        size_t from = before > b->longest_stop ? before - b->longest_stop : 0;
        long at = stop_find(q->text.s, q->text.len, from, b->s);
        if (at >= 0) {
            q->text.s[q->text.len = (size_t)at] = 0;
            q->cut = true;
            out->eos = true;
            return 1;
        }
    }
    return out->n >= new_tokens(b, q->prompt);
}

static int finish(struct batch *b, int i, struct err *err)
{
    struct sequence *q = &b->seq[i];
    struct prompt_state *st = &b->state[q->prompt];
    struct completion *out = &b->out[q->out];
    struct buf dropped = {0};
    text_stream_end(&q->stream, q->cut ? &dropped : &q->text);
    buf_release(&dropped);
    out->text = q->text.failed ? NULL : str_printf("%s", q->text.s ? q->text.s : "");
    context_drop(b->context, q->handle);
    if (--st->left == 0) {
        context_drop(b->context, st->handle);
        b->free_first[b->n_free_first++] = st->row;
        b->live--;
    }
    if (!out->text)
        return err_set(err, ERR_MEMORY, "the text of a completion");
    if (b->done)
        b->done(b->arg, q->out);
    return 0;
}

/* Samples for every running sequence, lets the finished ones go, computes the others' next states. */
static int step(struct batch *b, struct err *err)
{
    int kept = 0, rc = 0;
    sample_all(b);
    for (int i = 0; rc == 0 && i < b->n_running; i++) {
        int ended = take_token(b, i);
        if (ended < 0)
            return err_set(err, ERR_MEMORY, "the text of a completion");
        if (ended) {
            rc = finish(b, i, err);
            continue;
        }
        struct sequence q = b->seq[kept];       // swapped, not copied: its text buffer goes on serving
        b->seq[kept] = b->seq[i];
        if (kept != i)
            b->seq[i] = q;
        b->handle[kept] = b->seq[kept].handle;
        b->token[kept++] = b->sampler.token[i];
    }
    b->n_running = kept;
    if (rc || !kept)
        return rc;
    struct tensor hidden = tensor_rows(&b->hidden, 0, kept);
    return context_append(b->context, b->handle, b->token, kept, &hidden, err);
}

int model_generate(struct completion *out, const struct model *m, const struct prompt_ids *prompt, int n, int per_prompt,
                   const struct sampling *s, int batch, void (*done)(void *, int), void *arg, struct err *err)
{
    PROFILE("generate");
    struct batch b = {.m = m, .prompt = prompt, .s = s, .out = out, .n_prompts = n, .per_prompt = per_prompt, .done = done,
                      .arg = arg};
    int rc = generate_check(m, prompt, n, per_prompt, s, batch, err);
    if (rc || n == 0)
        return rc;
    if ((int64_t)n * per_prompt > INT32_MAX)
        return err_set(err, ERR_VALUE, "%d prompts with %d samples each", n, per_prompt);
    int total = n * per_prompt;
    memset(out, 0, (size_t)total * sizeof *out);
    b.size = batch < total ? batch : total;
    b.groups = b.size / per_prompt + 2;         // one may be half finished, one half started
    b.groups = b.groups < b.size + 1 ? b.groups : b.size + 1;
    b.groups = b.groups < n ? b.groups : n;
    b.longest_stop = stop_longest(s);
    rc = allocate(&b, err);
    while (rc == 0 && (b.n_running || b.next < total)) {
        rc = stop_asked(err);
        if (rc == 0)
            rc = admit(&b, err);
        if (rc == 0)
            rc = step(&b, err);
    }
    if (rc)
        completions_release(out, total);
    release(&b);
    return rc;
}
