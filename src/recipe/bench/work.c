/* recipe/bench/work.c - training steps, scoring and rollouts on random tokens. */
#include "recipe/bench/bench.h"

/* ---- counting ------------------------------------------------------------------------------- */

static double projection_params(const struct model_config *c)
{
    double C = c->width, q = (double)c->heads * c->head_size, kv = (double)c->kv_heads * c->head_size;
    double mlp = (c->choices.plain_mlp ? 2 : 3) * C * c->ffn;
    if (c->choices.experts)
        mlp = mlp * c->choices.experts_used + C * c->choices.experts;
    return c->layers * (C * (q + 2 * kv) + q * C + mlp);
}

/* Keys that tokens at positions from .. to-1 see in all layers together. */
static double keys_seen(const struct model_config *c, int from, int to)
{
    double all = 0, n = to - from;
    for (int l = 0; l < c->layers; l++) {
        double whole = n * (from + 1 + to) / 2;
        bool windowed = c->choices.window && (c->choices.layer[l] & LAYER_WINDOW);
        double most = n * c->choices.window;
        all += windowed && most < whole ? most : whole;
    }
    return all;
}

double bench_forward_ops(const struct model_config *c, int from, int to)
{
    return 2 * projection_params(c) * (to - from) + 4.0 * c->heads * c->head_size * keys_seen(c, from, to);
}

double bench_head_ops(const struct model_config *c, double rows)
{
    return 2.0 * c->width * c->vocab * rows;
}

/* Bytes of weights that one step of one sequence reads: as they lie in the file, the embedding only where it is the head. */
static int weight_bytes(double *out, const char *path, const struct model_config *c, struct err *err)
{
    json_t *facts = NULL, *t;
    size_t i;
    bool file = !dir_exists(path);
    *out = 0;
    if (!file) {
        *out = 2 * (projection_params(c) + (double)c->width * c->vocab);
        return 0;
    }
    int rc = model_inspect(&facts, path, err);
    if (rc)
        return rc;
    json_array_foreach(json_object_get(facts, "tensors"), i, t) {
        const char *name = json_string_value(json_object_get(t, "name"));
        bool table = name && (strstr(name, "embed_tokens") || str_starts(name, "token_embd"));
        *out += table && !c->tied ? 0 : json_number_value(json_object_get(t, "bytes"));
    }
    json_decref(facts);
    return 0;
}

/* ---- models --------------------------------------------------------------------------------------- */

int bench_model(const struct model **out, struct bench_models *all, const struct bench_row *row, struct err *err)
{
    char *path = NULL;
    int rc = bench_weights_path(&path, &all->weights, row->shape, row->gguf, err), i = 0;
    while (rc == 0 && i < all->n && strcmp(all->item[i].path, path))
        i++;
    if (rc == 0 && i == all->n) {
        struct model_options opt = { .dtype = DTYPE_BF16 };
        rc = i < (int)ARRAY_LEN(all->item) ? model_open(&all->item[i].model, all->dev, path, &opt, err) :
            err_set(err, ERR_VALUE, "the bench has room for %d models", i);
        if (rc == 0) {
            all->item[all->n++].path = path;
            path = NULL;
        }
    }
    if (rc == 0)
        *out = all->item[i].model;
    free(path);
    return rc;
}

void bench_models_release(struct bench_models *all)
{
    for (int i = 0; i < all->n; i++) {
        model_close(all->item[i].model);
        free(all->item[i].path);
    }
    all->n = 0;
}

/* Whether sequences of so many tokens fit. */
static int fits(const struct model_config *c, int tokens, struct err *err)
{
    return tokens > c->max_position ? err_set(err, ERR_UNSUPPORTED, "the model's context has %d tokens, not %d", c->max_position, tokens) :
        model_check_length(c, tokens, err);
}

/* ---- common pieces ------------------------------------------------------------------------------- */

struct own {
    const struct bench_row *row;
    const struct model *model;
    struct model *trained;          // its own, for training
    struct trainable *train;
    struct workspace *ws;
    struct scheduler *scheduler;
    struct forest forest;
    struct head_item *item;
    float *logp, *dlogp;
    int items, steps;
    struct prompt_ids *prompt;
    int *ids;
    struct completion *out;
};

static void own_close(struct bench_work *w)
{
    struct own *o = w->own;
    if (!o)
        return;
    workspace_free(o->ws);
    scheduler_free(o->scheduler);
    trainable_free(o->train);
    model_close(o->trained);
    forest_release(&o->forest);
    free(o->item);
    free(o->logp);
    free(o->dlogp);
    free(o->prompt);
    free(o->ids);
    free(o->out);
    free(o);
    w->own = NULL;
}

static int begin(struct bench_work *w, struct own **out, const struct bench_row *row, struct err *err)
{
    struct own *o = mem_alloc(1, sizeof *o);
    if (!o)
        return err_set(err, ERR_MEMORY, "%s", row->name);
    o->row = row;
    *w = (struct bench_work){ .unit = "tokens", .share = SHARE_PEAK, .close = own_close, .own = o };
    *out = o;
    return 0;
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

/* ---- training ---------------------------------------------------------------------------------------- */

static int run_train(struct bench_work *w, struct err *err)
{
    struct own *o = w->own;
    struct adamw h = { .lr = 1e-4f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .scale = 1, .step = ++o->steps };
    trainable_zero(o->train);
    model_forward(o->ws, o->trained, &o->forest);
    model_learn(o->ws, o->train, o->logp, NULL, NULL, o->item, o->dlogp, o->items, 1);
    if (!(trainable_grad_norm(o->train) > 0))
        return err_set(err, ERR_NUMERIC, "%s: the gradient is not a positive number", o->row->name);
    trainable_step(o->train, &h);
    return 0;
}

static int open_trained(struct own *o, struct bench_models *all, struct err *err)
{
    struct model_options opt = { .dtype = DTYPE_BF16, .trainable = true };
    char *path = NULL;
    int rc = bench_weights_path(&path, &all->weights, o->row->shape, o->row->gguf, err);
    if (rc == 0)
        rc = model_open(&o->trained, all->dev, path, &opt, err);
    if (rc == 0)
        rc = trainable_new(&o->train, o->trained, OPTIM_ADAMW, err);
    free(path);
    return rc;
}

static int prepare_train(struct bench_work *w, struct bench_models *all, const struct bench_row *row, struct err *err)
{
    struct own *o = NULL;
    int n = row->n * row->length, rc = begin(w, &o, row, err);
    if (rc == 0)
        rc = open_trained(o, all, err);
    if (rc)
        return rc;
    const struct model_config *c = model_config(o->trained);
    rc = fits(c, row->length, err);
    if (rc == 0)
        rc = random_ids(o, n, c->vocab, err);
    if (rc == 0)
        rc = workspace_new(&o->ws, o->trained, n, true, err);
    o->item = mem_alloc((size_t)n, sizeof *o->item);
    o->logp = mem_alloc((size_t)n, sizeof *o->logp);
    o->dlogp = mem_alloc((size_t)n, sizeof *o->dlogp);
    if (rc == 0 && (!o->item || !o->logp || !o->dlogp))
        rc = err_set(err, ERR_MEMORY, "%s", row->name);
    for (int s = 0; rc == 0 && s < row->n; s++) {
        int seg = forest_add(&o->forest, -1, o->ids + s * row->length, row->length);
        rc = seg < 0 ? err_set(err, ERR_MEMORY, "%s", row->name) : 0;
        o->items += rc ? 0 : forest_items(&o->forest, seg, 0, o->item + o->items);
    }
    for (int i = 0; rc == 0 && i < o->items; i++)
        o->dlogp[i] = -1.0f / (float)o->items;
    w->units = n;
    w->operations = 3 * (row->n * bench_forward_ops(c, 0, row->length) + bench_head_ops(c, o->items));
    w->run = run_train;
    return rc;
}

/* ---- scoring ------------------------------------------------------------------------------------------ */

/* The shared beginning is computed in every run, once: nothing is left from the run before. */
static int run_score(struct bench_work *w, struct err *err)
{
    struct own *o = w->own;
    int length = o->row->length, rc = 0;
    scheduler_forget(o->scheduler);
    for (int i = 0; i < o->items && rc >= 0; i++) {
        struct scheduler_request r = { .id = o->ids + i * length, .n = length, .ask = &o->item[i], .n_ask = 1, .logp = &o->logp[i] };
        rc = scheduler_submit(o->scheduler, &r, err);
    }
    for (rc = rc < 0 ? rc : 1; rc > 0;)
        rc = scheduler_step(o->scheduler, err);
    return rc;
}

static int prepare_score(struct bench_work *w, struct bench_models *all, const struct bench_row *row, struct err *err)
{
    struct own *o = NULL;
    int prompts = row->n, own = row->length - row->shared, rc = begin(w, &o, row, err);
    if (rc == 0)
        rc = bench_model(&o->model, all, row, err);
    if (rc)
        return rc;
    const struct model_config *c = model_config(o->model);
    BUG_IF(prompts > 64);
    rc = fits(c, row->length, err);
    if (rc == 0)
        rc = random_ids(o, prompts * row->length, c->vocab, err);
    if (rc == 0)
        rc = scheduler_new(&o->scheduler, o->model, &(struct scheduler_options){ scheduler_blocks(prompts, own) +
                               scheduler_blocks(1, row->shared), prompts, 0 }, err);
    o->item = mem_alloc((size_t)prompts, sizeof *o->item);
    o->logp = mem_alloc((size_t)prompts, sizeof *o->logp);
    if (rc == 0 && (!o->item || !o->logp))
        rc = err_set(err, ERR_MEMORY, "%s", row->name);
    for (int i = 0; rc == 0 && i < prompts; i++) {
        memcpy(o->ids + i * row->length, o->ids, (size_t)row->shared * sizeof *o->ids);
        o->item[o->items++] = (struct head_item){ row->length - 1, 5 };
    }
    w->units = prompts * row->length;   // what was asked for; operations are of what had to be computed
    w->operations = (row->shared ? bench_forward_ops(c, 0, row->shared) : 0) +
        prompts * bench_forward_ops(c, row->shared, row->length) + bench_head_ops(c, prompts);
    w->run = run_score;
    return rc;
}

/* ---- rollouts ------------------------------------------------------------------------------------------- */

static int run_rollout(struct bench_work *w, struct err *err)
{
    struct own *o = w->own;
    struct sampling s;
    sampling_defaults(&s);
    s.max_new_tokens = o->row->add;
    s.ignore_eos = true;
    s.seed = (uint64_t)++o->steps;
    int n = o->row->n, rc = model_generate(o->out, o->model, o->prompt, n, 1, &s, n, NULL, NULL, err);
    if (rc == 0)
        completions_release(o->out, n);
    return rc;
}

static int prepare_rollout(struct bench_work *w, struct bench_models *all, const struct bench_row *row, struct err *err)
{
    struct own *o = NULL;
    char *path = NULL;
    int rc = begin(w, &o, row, err);
    if (rc == 0)
        rc = bench_model(&o->model, all, row, err);
    if (rc)
        return rc;
    const struct model_config *c = model_config(o->model);
    rc = fits(c, row->length + row->add, err);
    if (rc == 0)
        rc = random_ids(o, row->n * row->length, c->vocab, err);
    o->prompt = mem_alloc((size_t)row->n, sizeof *o->prompt);
    o->out = mem_alloc((size_t)row->n, sizeof *o->out);
    if (rc == 0 && (!o->prompt || !o->out))
        rc = err_set(err, ERR_MEMORY, "%s", row->name);
    for (int i = 0; rc == 0 && i < row->n; i++)
        o->prompt[i] = (struct prompt_ids){ o->ids + i * row->length, row->length, (uint64_t)i };
    if (rc == 0)
        rc = bench_weights_path(&path, &all->weights, row->shape, row->gguf, err);
    if (rc == 0)
        rc = weight_bytes(&w->bytes, path, c, err);
    free(path);
    int end = row->length + row->add - 1;       // the last token is drawn, not read again
    w->units = row->n * row->add;
    w->operations = row->n * (bench_forward_ops(c, 0, end) + bench_head_ops(c, row->add));
    w->bytes *= row->add;
    w->share = row->n == 1 ? SHARE_BANDWIDTH : SHARE_PEAK;
    w->run = run_rollout;
    return rc;
}

/* ---- any of them ------------------------------------------------------------------------------------------ */

int bench_prepare(struct bench_work *w, struct bench_models *all, const struct bench_row *row, const char *program, struct err *err)
{
    const struct model *m = NULL;
    switch (row->kind) {
    case BENCH_TRAIN: return prepare_train(w, all, row, err);
    case BENCH_SCORE: return prepare_score(w, all, row, err);
    case BENCH_ROLLOUT: return prepare_rollout(w, all, row, err);
    case BENCH_START: return bench_prepare_start(w, &all->weights, row, program, err);
    case BENCH_LABEL: break;
    }
    int rc = bench_model(&m, all, row, err);
    return rc ? rc : bench_prepare_label(w, m, row, err);
}
