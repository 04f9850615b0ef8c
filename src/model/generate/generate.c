/* model/generate/generate.c - continuations of many prompts, a batch of sequences in flight.
 *
 * All of it are requests to a scheduler: the K samples of a prompt share its blocks, and one that ends leaves room for the next.
 *
 * Every token's random number is keyed by (seed, prompt's item, sample, position) and rows do not know their company
 * (compute.h), so results do not depend on the batch.  Being interrupted (base.h) is looked for between steps. */
#include <math.h>

#include "model/generate/generate.h"

void completions_release(struct completion *c, int n)
{
    for (int i = 0; c && i < n; i++) {
        free(c[i].id);
        free(c[i].logp);
        free(c[i].text);
        c[i] = (struct completion){0};
    }
}

/* ---- what can be asked -------------------------------------------------------------------- */

int generate_check_ids(const struct model *m, const int *id, int n, struct err *err)
{
    const struct model_config *c = &m->config;
    if (n < 1)
        return err_set(err, ERR_VALUE, "no tokens");
    if (n > c->max_position)
        return err_set(err, ERR_VALUE, "%d tokens; the model's context has %d", n, c->max_position);
    for (int t = 0; t < n; t++)
        if (id[t] < 0 || id[t] >= c->vocab)
            return err_set(err, ERR_VALUE, "token %d: id %d of a vocabulary of %d", t, id[t], c->vocab);
    return 0;
}

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
        if (prompt[i].n >= c->max_position)
            return err_set(err, ERR_VALUE, "prompt %d has %d tokens; the model's context of %d leaves no room for an answer", i + 1,
                           prompt[i].n, c->max_position);
        if (generate_check_ids(m, prompt[i].id, prompt[i].n, err))
            return err_prefix(err, "prompt %d", i + 1);
    }
    return 0;
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

/* ---- generation ----------------------------------------------------------------------------- */

struct batch {
    struct scheduler *scheduler;
    int *index;             // (tickets) of the completion
    size_t cap;
    void (*done)(void *, int);
    void *arg;
};

static void told(void *arg, int ticket)
{
    struct batch *b = arg;
    if (b->done)
        b->done(b->arg, b->index[ticket]);
}

/* A cache in which `size` sequences and their prompts have room; what fits beside them stays for those to come. */
static int open_scheduler(struct scheduler **out, const struct model *m, const struct prompt_ids *prompt, int n, int per_prompt,
                          const struct sampling *s, int size, struct err *err)
{
    int longest = 0, groups = size / per_prompt + 2;    // one may be half finished, one half begun
    for (int i = 0; i < n; i++)
        longest = prompt[i].n > longest ? prompt[i].n : longest;
    int room = m->config.max_position - 1, new = s->max_new_tokens < room ? s->max_new_tokens : room;
    groups = groups < n ? groups : n;
    int blocks = scheduler_blocks(groups, longest) + scheduler_blocks(size, new);
    struct scheduler_options o = {.blocks = blocks < INT32_MAX / CACHE_BLOCK ? blocks : INT32_MAX / CACHE_BLOCK, .sequences = size};
    return scheduler_new(out, m, &o, err);
}

static int submit(struct batch *b, struct completion *out, int index, int per_prompt, const struct prompt_ids *prompt,
                  const struct sampling *s, struct err *err)
{
    int number = index / per_prompt + 1;
    const struct prompt_ids *p = &prompt[number - 1];
    struct scheduler_request r = {.id = p->id, .n = p->n, .sampling = s, .item = p->item, .sample = index % per_prompt, .out = &out[index], .done = told,
                        .arg = b};
    int ticket = scheduler_submit(b->scheduler, &r, err);
    if (ticket < 0)
        return err_prefix(err, "prompt %d", number);
    int *at = mem_grow(b->index, &b->cap, (size_t)ticket + 1, sizeof *at);
    if (!at)
        return err_set(err, ERR_MEMORY, "%d completions", ticket + 1);
    b->index = at;
    at[ticket] = index;
    return 0;
}

static int stop_asked(struct err *err)
{
    return interrupted() ? err_set(err, ERR_INTERRUPTED, "interrupted while generating") : 0;
}

int scheduler_generate(struct completion *out, struct scheduler *scheduler, const struct prompt_ids *prompt, int n, int per_prompt,
                       const struct sampling *s, void (*done)(void *, int), void *arg, struct err *err)
{
    PROFILE("generate");
    struct batch b = {.scheduler = scheduler, .done = done, .arg = arg};
    int total = n * per_prompt, rc = 0;
    memset(out, 0, (size_t)total * sizeof *out);
    for (int i = 0; rc == 0 && i < total; i++)
        rc = submit(&b, out, i, per_prompt, prompt, s, err);
    for (int left = rc == 0; rc == 0 && left > 0;) {
        rc = stop_asked(err);
        left = rc ? 0 : scheduler_step(b.scheduler, err);
        rc = left < 0 ? left : rc;
    }
    if (rc) {
        scheduler_cancel_all(b.scheduler);
        completions_release(out, total);
    }
    free(b.index);
    return rc;
}

int model_generate(struct completion *out, const struct model *m, const struct prompt_ids *prompt, int n, int per_prompt,
                   const struct sampling *s, int batch, void (*done)(void *, int), void *arg, struct err *err)
{
    struct scheduler *scheduler = NULL;
    int rc = generate_check(m, prompt, n, per_prompt, s, batch, err);
    if (rc || n == 0)
        return rc;
    if ((int64_t)n * per_prompt > INT32_MAX)
        return err_set(err, ERR_VALUE, "%d prompts with %d samples each", n, per_prompt);
    int total = n * per_prompt;
    memset(out, 0, (size_t)total * sizeof *out);
    rc = open_scheduler(&scheduler, m, prompt, n, per_prompt, s, batch < total ? batch : total, err);
    if (rc == 0 && !device_is_plan(m->dev))     // else the scheduler's memory is all that is asked for
        rc = scheduler_generate(out, scheduler, prompt, n, per_prompt, s, done, arg, err);
    scheduler_free(scheduler);
    return rc;
}
