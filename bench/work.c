/* bench/work.c - the workloads: training steps, scoring, rollouts, start to first token.
 *
 * Weights and tokens are random: speed does not depend on them, and nothing has to be fetched. */
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

struct model_config shape_135m(void)
{
    return (struct model_config){ .vocab = 49152, .width = 576, .layers = 30, .heads = 9, .kv_heads = 3, .head_size = 64,
                                  .ffn = 1536, .max_position = 2048, .norm_eps = 1e-5f, .rope_theta = 1e5f, .tied = true,
                                  .bos = -1, .eos = -1, .pad = -1 };
}

struct model_config shape_lab(void)
{
    return (struct model_config){ .vocab = 1500, .width = 128, .layers = 4, .heads = 4, .kv_heads = 2, .head_size = 32,
                                  .ffn = 384, .max_position = 1024, .norm_eps = 1e-5f, .rope_theta = 1e4f, .tied = true,
                                  .bos = -1, .eos = -1, .pad = -1 };
}

/* ---- counting --------------------------------------------------------------------------- */

static double projection_params(const struct model_config *c)
{
    double C = c->width, q = (double)c->heads * c->head_size, kv = (double)c->kv_heads * c->head_size;
    return c->layers * (C * (q + 2 * kv) + q * C + 3 * C * c->ffn);
}

/* Forward operations of tokens at positions from .. to-1. */
static double forward_ops(const struct model_config *c, int from, int to)
{
    double tokens = to - from, keys = tokens * (from + 1 + to) / 2;
    return 2 * projection_params(c) * tokens + 4.0 * c->layers * c->heads * c->head_size * keys;
}

static double head_ops(const struct model_config *c, double rows)
{
    return 2.0 * c->width * c->vocab * rows;
}

/* ---- common pieces ------------------------------------------------------------------------- */

struct own {
    struct model *model;
    struct trainable *train;
    struct workspace *ws;
    struct context *context;
    struct forest forest, rest;
    struct head_item *item;
    float *logp, *dlogp;
    int items, steps;
    struct prompt_ids *prompt;
    int prompts, *ids, new_tokens;
    struct completion *out;
};

static void own_close(struct work *w)
{
    struct own *o = w->own;
    if (!o)
        return;
    workspace_free(o->ws);
    context_free(o->context);
    trainable_free(o->train);
    model_close(o->model);
    forest_release(&o->forest);
    forest_release(&o->rest);
    free(o->item);
    free(o->logp);
    free(o->dlogp);
    free(o->prompt);
    free(o->ids);
    free(o->out);
    free(o);
    w->own = NULL;
}

static int begin(struct work *w, struct own **out, struct device *dev, const char *name, const struct model_config *c,
                 bool trainable, struct err *err)
{
    struct model_options opt = { .dtype = DTYPE_BF16, .trainable = trainable, .seed = 1 };
    struct own *o = mem_alloc(1, sizeof *o);
    if (!o)
        return err_set(err, ERR_MEMORY, "%s", name);
    *w = (struct work){ .name = name, .unit = "tokens", .share = SHARE_PEAK, .close = own_close, .own = o };
    *out = o;
    return model_create(&o->model, dev, c, NULL, &opt, err);
}

static int random_ids(struct own *o, int n, int vocab, struct err *err)
{
    struct rng r;
    rng_init(&r, 1, RNG_TEST, 0, 0);
    o->ids = mem_alloc((size_t)n, sizeof *o->ids);
    for (int i = 0; o->ids && i < n; i++)
        o->ids[i] = (int)rng_below(&r, (uint32_t)vocab);
    return o->ids ? 0 : err_set(err, ERR_MEMORY, "%d tokens", n);
}

/* ---- training ---------------------------------------------------------------------------------- */

static int run_train(struct work *w, struct err *err)
{
    struct own *o = w->own;
    struct adamw h = { .lr = 1e-4f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .scale = 1, .step = ++o->steps };
    trainable_zero(o->train);
    model_forward(o->ws, o->model, &o->forest);
    model_logp(o->ws, o->logp, NULL, NULL, o->item, o->items, 1);
    model_backward(o->ws, o->train, o->item, o->dlogp, o->items, 1, NULL, NULL, 0);
    if (!(trainable_grad_norm(o->train) > 0))
        return err_set(err, ERR_NUMERIC, "%s: the gradient is not a positive number", w->name);
    trainable_step(o->train, &h);
    return 0;
}

int work_train(struct work *w, struct device *dev, const char *name, const struct model_config *c, int sequences, int length,
               struct err *err)
{
    struct own *o;
    int n = sequences * length, rc = begin(w, &o, dev, name, c, true, err);
    if (rc == 0)
        rc = random_ids(o, n, c->vocab, err);
    if (rc == 0)
        rc = trainable_new(&o->train, o->model, OPTIM_ADAMW, err);
    if (rc == 0)
        rc = workspace_new(&o->ws, o->model, n, true, err);
    o->item = mem_alloc((size_t)n, sizeof *o->item);
    o->logp = mem_alloc((size_t)n, sizeof *o->logp);
    o->dlogp = mem_alloc((size_t)n, sizeof *o->dlogp);
    if (rc == 0 && (!o->item || !o->logp || !o->dlogp))
        rc = err_set(err, ERR_MEMORY, "%s", name);
    for (int s = 0; rc == 0 && s < sequences; s++) {
        int seg = forest_add(&o->forest, -1, o->ids + s * length, length);
        rc = seg < 0 ? err_set(err, ERR_MEMORY, "%s", name) : 0;
        o->items += rc ? 0 : forest_items(&o->forest, seg, 0, o->item + o->items);
    }
    for (int i = 0; rc == 0 && i < o->items; i++)
        o->dlogp[i] = -1.0f / (float)o->items;
    w->units = n;
    w->operations = 3 * (sequences * forward_ops(c, 0, length) + head_ops(c, o->items));
    w->run = run_train;
    return rc;
}

/* ---- scoring -------------------------------------------------------------------------------------- */

/* The shared beginning is computed in every run, once; then the rests of all prompts together. */
static int run_score(struct work *w, struct err *err)
{
    struct own *o = w->own;
    int head = 0, handles[64], rc = 0;
    if (o->forest.n) {
        rc = context_extend(o->context, &o->forest, &head, err);
        for (int i = 0; i < o->rest.n; i++)
            o->rest.seg[i].parent = ~head;
    }
    if (rc == 0)
        rc = context_extend(o->context, &o->rest, handles, err);
    if (rc)
        return rc;
    context_logp(o->context, o->logp, NULL, NULL, o->item, o->items, 1);
    for (int i = 0; i < o->rest.n; i++)
        context_drop(o->context, handles[i]);
    if (o->forest.n)
        context_drop(o->context, head);
    return 0;
}

int work_score(struct work *w, struct device *dev, const char *name, const struct model_config *c, int prompts, int length, int shared,
               struct err *err)
{
    struct own *o;
    int own = length - shared, rc = begin(w, &o, dev, name, c, false, err);
    if (rc == 0 && prompts > 64)
        rc = err_set(err, ERR_VALUE, "%s: at most 64 prompts", name);
    if (rc == 0)
        rc = random_ids(o, prompts * length, c->vocab, err);
    if (rc == 0)
        rc = context_new(&o->context, o->model, shared + prompts * own, err);
    o->item = mem_alloc((size_t)prompts, sizeof *o->item);
    o->logp = mem_alloc((size_t)prompts, sizeof *o->logp);
    if (rc == 0 && (!o->item || !o->logp))
        rc = err_set(err, ERR_MEMORY, "%s", name);
    if (rc == 0 && shared && forest_add(&o->forest, CONTEXT_ROOT, o->ids, shared) < 0)
        rc = err_set(err, ERR_MEMORY, "%s", name);
    for (int i = 0; rc == 0 && i < prompts; i++) {
        if (forest_add(&o->rest, CONTEXT_ROOT, o->ids + i * length + shared, own) < 0)
            rc = err_set(err, ERR_MEMORY, "%s", name);
        else
            o->item[o->items++] = (struct head_item){ (i + 1) * own - 1, 5 };
    }
    w->units = prompts * length;        // what was asked for; operations are of what had to be computed
    w->operations = (shared ? forward_ops(c, 0, shared) : 0) + prompts * forward_ops(c, shared, length) + head_ops(c, prompts);
    w->run = run_score;
    return rc;
}

/* ---- rollouts ------------------------------------------------------------------------------------------ */

static int run_rollout(struct work *w, struct err *err)
{
    struct own *o = w->own;
    struct sampling s;
    sampling_defaults(&s);
    s.max_new_tokens = o->new_tokens;
    s.ignore_eos = true;
    s.seed = (uint64_t)++o->steps;
    int rc = model_generate(o->out, o->model, o->prompt, o->prompts, 1, &s, o->prompts, NULL, NULL, err);
    if (rc == 0)
        completions_release(o->out, o->prompts);
    return rc;
}

int work_rollout(struct work *w, struct device *dev, const char *name, const struct model_config *c, int sequences, int prompt,
                 int new_tokens, struct err *err)
{
    struct own *o;
    int rc = begin(w, &o, dev, name, c, false, err);
    if (rc == 0)
        rc = random_ids(o, sequences * prompt, c->vocab, err);
    o->prompts = sequences;
    o->new_tokens = new_tokens;
    o->prompt = mem_alloc((size_t)sequences, sizeof *o->prompt);
    o->out = mem_alloc((size_t)sequences, sizeof *o->out);
    if (rc == 0 && (!o->prompt || !o->out))
        rc = err_set(err, ERR_MEMORY, "%s", name);
    for (int i = 0; rc == 0 && i < sequences; i++)
        o->prompt[i] = (struct prompt_ids){ o->ids + i * prompt, prompt, (uint64_t)i };
    /* The last token is drawn, not read again. */
    int end = prompt + new_tokens - 1;
    w->units = sequences * new_tokens;
    w->operations = sequences * (forward_ops(c, 0, end) + head_ops(c, new_tokens));
    w->bytes = 2 * (projection_params(c) + (double)c->width * c->vocab) * new_tokens;
    w->share = sequences == 1 ? SHARE_BANDWIDTH : SHARE_PEAK;
    w->run = run_rollout;
    return rc;
}

/* ---- start to first token ---------------------------------------------------------------------------------- */

static int say_one_token(const char *path, struct err *err)
{
    struct device *dev = NULL;
    struct model *m = NULL;
    struct tokens ids = { 0 };
    struct completion out = { 0 };
    struct model_options opt = { .dtype = DTYPE_BF16 };
    struct sampling s;
    sampling_defaults(&s);
    s.max_new_tokens = 1;
    s.temperature = 0;
    int rc = device_open(&dev, NULL, 0, err);
    if (rc == 0)
        rc = model_open(&m, dev, path, &opt, err);
    if (rc == 0)
        rc = tokenize(model_tokenizer(m), &ids, "The capital of France is", 24, TOKENIZE_SPECIAL, err);
    struct prompt_ids prompt = { ids.id, ids.n, 0 };
    if (rc == 0)
        rc = model_generate(&out, m, &prompt, 1, 1, &s, 1, NULL, NULL, err);
    completions_release(&out, rc == 0);
    tokens_release(&ids);
    model_close(m);
    device_close(dev);
    return rc;
}

int first_token(const char *path)
{
    struct err err = { 0 };
    int rc = say_one_token(path, &err);
    if (rc)
        fprintf(stderr, "%s\n", err.msg);
    return rc != 0;
}

struct start { const char *program, *path; };

static int run_first_token(struct work *w, struct err *err)
{
    const struct start *s = w->own;
    char *argv[] = { (char *)s->program, "--first-token", (char *)s->path, NULL };
    int status = 0;
    pid_t pid;
    /* Not fork: copying the page tables of gigabytes of models would be most of the time. */
    if (posix_spawn(&pid, s->program, NULL, NULL, argv, environ) || waitpid(pid, &status, 0) < 0 || status)
        return err_set(err, ERR_IO, "starting %s --first-token %s did not work", s->program, s->path);
    return 0;
}

static void start_close(struct work *w)
{
    free(w->own);
}

int work_first_token(struct work *w, const char *name, const char *program, const char *path, struct err *err)
{
    struct start *s = mem_alloc(1, sizeof *s);
    *w = (struct work){ .name = name, .unit = "starts", .units = 1, .close = start_close, .own = s };
    if (!s)
        return err_set(err, ERR_MEMORY, "%s", w->name);
    *s = (struct start){ program, path };
    w->run = file_exists(path) ? run_first_token : NULL;
    return 0;
}
