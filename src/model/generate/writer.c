/* model/generate/writer.c - one sequence continued token by token, keeping its cache from call to call.
 *
 * A conversation grows at its end: each call brings the whole of it, and only what the scheduler's cache does not begin
 * with is computed.  Where a call differs from what is there (an answer that is tokenised otherwise than it was sampled, a
 * new system message), the tree of blocks branches; what is no longer used gives way when its room is needed. */
#include "model/generate/generate.h"

struct writer {
    const struct model *m;
    struct scheduler *scheduler;
    int window, computed;
};

void writer_free(struct writer *w)
{
    if (!w)
        return;
    scheduler_free(w->scheduler);
    free(w);
}

int writer_new(struct writer **out, const struct model *m, int window, struct err *err)
{
    enum {
        PORTION = 512, // of a prompt, between two looks at whether it is still wanted
        BRANCHES = 4,  // blocks begun in the middle, where conversations went apart
    };
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
    struct scheduler_options o = {
        .blocks = scheduler_blocks(1, w->window) + BRANCHES, .sequences = 1, .rows = PORTION};
    int rc = scheduler_new(&w->scheduler, m, &o, err);
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

int writer_write(struct writer *w, struct completion *out, const int *id, int n, uint64_t item,
                 const struct sampling *s, writer_said *said, void *arg, struct err *err)
{
    struct prompt_ids prompt = {id, n, item};
    struct sampling fits = *s;
    *out = (struct completion){0};
    int rc = generate_check(w->m, &prompt, 1, 1, s, 1, err);
    if (rc == 0 && n >= w->window)
        rc = err_set(err, ERR_VALUE, "%d tokens; the window of %d leaves no room for an answer",
                     n, w->window);
    if (rc)
        return rc;
    fits.max_new_tokens = s->max_new_tokens < w->window - n ? s->max_new_tokens : w->window - n;
    struct scheduler_request r = {.id = id, .n = n, .sampling = &fits, .item = item, .out = out,
                        .said = said, .arg = arg};
    int64_t before = scheduler_counts(w->scheduler).computed;
    int left = scheduler_submit(w->scheduler, &r, err);
    for (left = left < 0 ? left : 1; left > 0;)
        left = scheduler_step(w->scheduler, err);
    w->computed = (int)(scheduler_counts(w->scheduler).computed - before);
    return left;
}
