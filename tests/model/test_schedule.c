/* A scheduler: what a request is answered does not depend on the others, on the cache's size,
 * on pre-emption, eviction, portions or the order of submission; prefixes are computed once;
 * nobody waits for ever; memory is what was given. */
#include "model/schedule/schedule.h"
#include "model/tiny.h"

enum { MOST = 160, NEW = 90, ASKS = 6 };

/* A request, and room for its answers. */
struct job {
    int id[MOST], n, n_ask;
    struct head_item ask[ASKS];
    float logp[ASKS], lse[ASKS];
    struct sampling s;
    struct scheduler_request r;
    struct completion out;
    int ticket, finished;
};

static void told(void *arg, int ticket)
{
    struct job *j = arg;
    assert_int_equal(j->ticket, ticket);
    j->finished++;
}

static struct scheduler *new_scheduler(const struct model *m, int blocks, int sequences,
                                       int rows)
{
    struct scheduler *s;
    struct err err = {0};
    struct scheduler_options o = {blocks, sequences, rows};
    if (scheduler_new(&s, m, &o, &err))
        fail_msg("%s", err.msg);
    return s;
}

static void submit(struct scheduler *s, struct job *j)
{
    struct err err = {0};
    j->r.id = j->id;
    j->r.n = j->n;
    j->r.ask = j->ask;
    j->r.n_ask = j->n_ask;
    j->r.logp = j->logp;
    j->r.lse = j->lse;
    j->r.out = &j->out;
    j->r.done = told;
    j->r.arg = j;
    j->finished = 0;
    j->ticket = scheduler_submit(s, &j->r, &err);
    if (j->ticket < 0)
        fail_msg("%s", err.msg);
}

static int step(struct scheduler *s)
{
    struct err err = {0};
    int left = scheduler_step(s, &err);
    if (left < 0)
        fail_msg("%s", err.msg);
    assert_true(s->tree.pinned <= s->tree.n && s->n_rows <= s->o.rows);
    return left;
}

static void finish(struct scheduler *s)
{
    int steps = 0;
    while (step(s))
        assert_true(++steps < 20000);
}

/* Jobs that begin alike in all sorts of places. */
static void make_jobs(struct job *job, int n, uint64_t key)
{
    struct rng r;
    rng_init(&r, 9, RNG_TEST, key, 0);
    for (int i = 0; i < n; i++) {
        struct job *j = &job[i];
        *j = (struct job){.n = 1 + (int)rng_below(&r, MOST)};
        int like = i ? (int)rng_below(&r, (uint32_t)i) : 0,
            same = i ? (int)rng_below(&r, MOST) : 0;
        for (int t = 0; t < MOST; t++)
            j->id[t] = t < same ? job[like].id[t] : (int)rng_below(&r, TINY_VOCAB);
        int kind = (int)rng_below(&r, 3); // drawn, asked, both
        sampling_defaults(&j->s);
        j->s.temperature = kind == 1 ? 0.5f : 1;
        j->s.max_new_tokens = 1 + (int)rng_below(&r, NEW);
        j->s.seed = key;
        j->s.ignore_eos = rng_below(&r, 2);
        if (kind != 1)
            j->r.sampling = &j->s;
        j->r.item = (uint64_t)i / 3;
        j->r.sample = i % 3;
        j->n_ask = kind ? 1 + (int)rng_below(&r, ASKS) : 0;
        for (int a = 0, row = j->n - 1; a < j->n_ask; a++) { // the last row, and some before it
            j->ask[j->n_ask - 1 - a] = (struct head_item){row, (int)rng_below(&r, TINY_VOCAB)};
            row -= row ? (int)rng_below(&r, (uint32_t)row + 1) / 2 : 0;
        }
    }
}

static void same_answers(const struct job *a, const struct job *b, int n, const char *how)
{
    for (int i = 0; i < n; i++) {
        if (!a[i].finished != !b[i].finished || a[i].finished > 1 || b[i].finished > 1)
            fail_msg("%s: job %d ended %d and %d times", how, i, a[i].finished, b[i].finished);
        if (a[i].n_ask && memcmp(a[i].logp, b[i].logp, (size_t)a[i].n_ask * sizeof(float)))
            fail_msg("%s: log-probs of job %d differ", how, i);
        if (a[i].n_ask && memcmp(a[i].lse, b[i].lse, (size_t)a[i].n_ask * sizeof(float)))
            fail_msg("%s: log-sum-exps of job %d differ", how, i);
        if (!a[i].r.sampling)
            continue;
        const struct completion *x = &a[i].out, *y = &b[i].out;
        if (x->n != y->n || x->eos != y->eos ||
            memcmp(x->id, y->id, (size_t)x->n * sizeof *x->id) ||
            memcmp(x->logp, y->logp, (size_t)x->n * sizeof *x->logp) ||
            strcmp(x->text, y->text))
            fail_msg("%s: completion %d differs (%d and %d tokens)", how, i, x->n, y->n);
    }
}

static void release_jobs(struct job *job, int n)
{
    for (int i = 0; i < n; i++)
        completions_release(&job[i].out, 1);
}

/* Each by itself, in a cache of its own; the definition is a forward pass without any. */
static void alone(const struct model *m, struct job *job, int n)
{
    for (int i = 0; i < n; i++) {
        struct scheduler *s = new_scheduler(m, 8, 1, 0);
        submit(s, &job[i]);
        finish(s);
        scheduler_free(s);
    }
    struct workspace *ws = tiny_workspace(m, MOST, false);
    for (int i = 0; i < n; i++) {
        struct forest f = {0};
        float logp[ASKS], lse[ASKS];
        forest_add(&f, -1, job[i].id, job[i].n);
        model_forward(ws, m, &f);
        if (job[i].n_ask) {
            model_logp(ws, logp, NULL, lse, job[i].ask, job[i].n_ask, 1);
            assert_memory_equal(logp, job[i].logp, (size_t)job[i].n_ask * sizeof *logp);
            assert_memory_equal(lse, job[i].lse, (size_t)job[i].n_ask * sizeof *lse);
        }
        forest_release(&f);
    }
    workspace_free(ws);
}

static struct model *ending_model(struct device *dev, enum dtype dtype)
{
    struct model *m = tiny_model(dev, (struct tiny_options){.dtype = dtype, .seed = 21});
    m->config.n_eos = 2;
    m->config.eos_ids[0] = 7;
    m->config.eos_ids[1] = 14;
    return m;
}

static void answers_do_not_depend_on_the_schedule(void **state)
{
    enum { N = 24, SCHEDULES = 12 };
    static struct job first[N], again[N];
    int64_t preempted = 0, evicted = 0, steps = 0;
    int bypassed = 0;
    for (uint64_t key = 0; key < SCHEDULES; key++) {
        struct device *dev = tiny_device(1);
        struct model *m = ending_model(dev, key % 3 ? DTYPE_BF16 : DTYPE_F32);
        struct rng r;
        rng_init(&r, 10, RNG_TEST, key, 0);
        make_jobs(first, N, key);
        make_jobs(again, N, key);
        alone(m, first, N);

        // any size of cache from just enough for one, any portions, any order, any moment
        int order[N], blocks = 4 + (int)rng_below(&r, 10),
                      sequences = 1 + (int)rng_below(&r, 14);
        struct scheduler *s = new_scheduler(m, blocks, sequences, 1 + (int)rng_below(&r, 70));
        for (int i = 0; i < N; i++)
            order[i] = i;
        rng_shuffle(&r, order, N);
        for (int i = 0; i < N; i++) {
            submit(s, &again[order[i]]);
            for (int k = (int)rng_below(&r, 6); k > 0; k--)
                step(s);
            int other = order[rng_below(&r, (uint32_t)i + 1)];
            if (rng_below(&r, 8) == 0 && !again[other].finished && again[other].ticket >= 0) {
                scheduler_cancel(s, again[other].ticket); // and asked once more
                submit(s, &again[other]);
            }
        }
        finish(s);
        char how[80];
        snprintf(how, sizeof how, "schedule %d, %d blocks, %d sequences", (int)key, blocks,
                 sequences);
        same_answers(first, again, N, how);
        assert_int_equal(s->tree.pinned, 0);
        struct scheduler_counts c = scheduler_counts(s);
        preempted += c.preempted;
        evicted += c.evicted;
        steps += c.steps;
        bypassed = c.bypassed > bypassed ? c.bypassed : bypassed;
        scheduler_free(s);
        release_jobs(first, N);
        release_jobs(again, N);
        model_close(m);
        device_close(dev);
    }
    if (!(preempted > 10 && evicted > 200 && bypassed > 3))
        fail_msg(
            "%d pre-emptions, %d blocks evicted, bypassed %d times: this would test little",
            (int)preempted, (int)evicted, bypassed);
}

static void what_is_shared_is_computed_once(void **state)
{
    enum { N = 8, HEAD = 100, OWN = 30 };
    static struct job job[2 * N + 1];
    struct device *dev = tiny_device(1);
    struct model *m = ending_model(dev, DTYPE_BF16);
    struct scheduler *s = new_scheduler(m, 64, 4, 48);
    make_jobs(job, 2 * N + 1, 77);
    for (int i = 0; i < 2 * N; i++) { // pairs: a head, what both orders share, the rest of each
        memcpy(job[i].id, job[0].id, HEAD * sizeof(int));
        memcpy(job[i].id + HEAD, job[i / 2 * 2].id + HEAD, OWN * sizeof(int));
        job[i].id[HEAD] = i / 2;
        job[i].id[HEAD + OWN] = i % 2;
        job[i].n = HEAD + 2 * OWN;
        job[i].r.sampling = NULL;
        job[i].n_ask = 1;
        job[i].ask[0] = (struct head_item){job[i].n - 1, 3};
        submit(s, &job[i]);
    }
    finish(s);
    struct scheduler_counts c = scheduler_counts(s);
    assert_int_equal(c.submitted, 2 * N * (HEAD + 2 * OWN));
    assert_int_equal(c.computed, HEAD + N * (OWN + 2 * OWN));
    // the same again is known but for nothing: the last state stayed as well
    submit(s, &job[2 * N - 1]);
    finish(s);
    assert_int_equal(scheduler_counts(s).computed, c.computed);
    scheduler_free(s);

    // K samples: the prompt once, whoever of them is first
    s = new_scheduler(m, 64, 3, 32);
    for (int i = 0; i < N; i++) {
        memcpy(job[i].id, job[0].id, sizeof job[i].id);
        job[i].n = 90;
        job[i].n_ask = 0;
        job[i].r.sampling = &job[i].s;
        job[i].r.item = 1;
        job[i].r.sample = i;
        submit(s, &job[i]);
    }
    finish(s);
    assert_int_equal(scheduler_counts(s).computed, 90);
    release_jobs(job, N);
    scheduler_free(s);
    model_close(m);
    device_close(dev);
}

/* A stream of requests that all have more in the cache than one poor stranger. */
static void nobody_waits_for_ever(void **state)
{
    enum { STREAM = 300 };
    static struct job job[STREAM + 1];
    struct device *dev = tiny_device(1);
    struct model *m = ending_model(dev, DTYPE_F32);
    struct scheduler *s = new_scheduler(m, 16, 1, 0);
    struct job *stranger = &job[STREAM];
    make_jobs(job, STREAM + 1, 5);
    for (int i = 0; i <= STREAM; i++) {
        memcpy(job[i].id, job[0].id, 20 * sizeof(int));
        job[i].n = 30;
        job[i].r.sampling = NULL;
        job[i].n_ask = 1;
        job[i].ask[0] = (struct head_item){29, 3};
    }
    stranger->id[0]++;
    submit(s, &job[0]);
    step(s);
    submit(s, stranger);
    int served = 1, before = 0;
    for (; served < 4; served++)
        submit(s, &job[served]);
    while (served < STREAM) { // always three of them wait
        step(s);
        submit(s, &job[served++]);
        before += !stranger->finished;
    }
    assert_true(stranger->finished && before > 3 && before <= 70);
    finish(s);
    assert_true(scheduler_counts(s).bypassed <= 64);
    scheduler_free(s);
    model_close(m);
    device_close(dev);
}

static void what_can_never_fit_is_refused(void **state)
{
    static struct job job[1];
    struct device *dev = tiny_device(1);
    struct model *m = ending_model(dev, DTYPE_F32);
    struct scheduler *s = new_scheduler(m, 2, 2, 0), *none;
    struct err err = {0};
    make_jobs(job, 1, 1);
    struct scheduler_request r = {
        .id = job->id, .n = 129, .ask = job->ask, .n_ask = 1, .logp = job->logp};
    job->ask[0] = (struct head_item){128, 0};
    assert_int_equal(scheduler_submit(s, &r, &err), ERR_VALUE);
    kit_contains(err.msg, "a prompt of 129 tokens");
    kit_contains(err.msg, "the cache holds 128");
    r.n = 128;
    assert_int_equal(scheduler_submit(s, &r, &err), ERR_VALUE); // asks behind its end
    r.ask = (struct head_item[]){{127, 0}};
    int ticket = scheduler_submit(s, &r, &err);
    assert_true(ticket >= 0);
    sampling_defaults(&job->s);
    job->s.max_new_tokens = 40;
    struct scheduler_request g = {
        .id = job->id, .n = 90, .sampling = &job->s, .out = &job->out};
    assert_int_equal(scheduler_submit(s, &g, &err), ERR_VALUE);
    kit_contains(err.msg, "90 tokens with 40 to follow");
    struct scheduler_request nothing = {.id = job->id, .n = 90};
    assert_int_equal(scheduler_submit(s, &nothing, &err), ERR_VALUE);
    finish(s);
    scheduler_free(s);
    struct scheduler_options o = {0, 1, 0};
    assert_int_equal(scheduler_new(&none, m, &o, &err), ERR_VALUE);
    model_close(m);
    device_close(dev);
}

static size_t count_bytes(const struct scheduler *s)
{
    const struct tensor *t = &s->k[0];
    return 2 * (size_t)s->m->config.layers * (size_t)t->rows * (size_t)t->cols *
           dtype_size(t->dtype);
}

static void memory_is_what_was_given(void **state)
{
    struct device *dev = tiny_device(1);
    struct model *m = ending_model(dev, DTYPE_BF16);
    struct scheduler_options small = {4, 2, 64}, large = {1004, 2, 64};
    size_t more = scheduler_bytes(&m->config, DTYPE_BF16, &large) -
                  scheduler_bytes(&m->config, DTYPE_BF16, &small);
    struct scheduler *s = new_scheduler(m, 1000, 2, 64);
    assert_int_equal(more, count_bytes(s));
    scheduler_free(s);
    model_close(m);
    device_close(dev);
}

/* 32,000 tokens through portions of 512 in a cache that has just room for them, beside a short
 * one that goes on meanwhile. */
static void a_long_prompt_is_computed_in_portions(void **state)
{
    enum { LONG = 32000, PORTION = 512 };
    struct device *dev = tiny_device(1);
    struct model_config c = {.vocab = TINY_VOCAB,
                             .width = 16,
                             .layers = 1,
                             .heads = 1,
                             .kv_heads = 1,
                             .head_size = 16,
                             .ffn = 16,
                             .max_position = 32768,
                             .norm_eps = 1e-5f,
                             .rope_theta = 10000,
                             .tied = true,
                             .bos = -1,
                             .eos = -1,
                             .pad = -1};
    struct model_options opt = {.dtype = DTYPE_F32, .trainable = true, .seed = 3};
    struct model *m;
    struct err err = {0};
    struct rng r;
    if (model_create(&m, dev, &c, NULL, &opt, &err))
        fail_msg("%s", err.msg);
    tiny_liven(m, 3);
    static int id[LONG + 1];
    rng_init(&r, 6, RNG_TEST, 0, 0);
    for (int i = 0; i <= LONG; i++)
        id[i] = (int)rng_below(&r, TINY_VOCAB);
    struct head_item ask[] = {{10, id[11]}, {777, id[778]}, {LONG - 1, id[LONG]}};
    float logp[3];
    struct sampling s;
    struct completion out = {0}, same = {0};
    sampling_defaults(&s);
    s.max_new_tokens = 50;
    s.ignore_eos = true;
    struct scheduler *sch = new_scheduler(m, LONG / CACHE_BLOCK + 3, 2, PORTION);
    struct scheduler_request whole = {
        .id = id, .n = LONG, .ask = ask, .n_ask = 3, .logp = logp};
    struct scheduler_request brief = {.id = id + 5, .n = 60, .sampling = &s, .out = &out};
    assert_true(scheduler_submit(sch, &whole, &err) >= 0);
    assert_true(scheduler_submit(sch, &brief, &err) >= 0);
    finish(sch);
    struct scheduler_counts n = scheduler_counts(sch);
    assert_int_equal(n.computed, LONG + 60);
    assert_true(n.steps >= LONG / PORTION && n.steps < LONG / PORTION + 60);
    scheduler_free(sch);

    sch = new_scheduler(m, 3, 1, 0);
    brief.out = &same;
    assert_true(scheduler_submit(sch, &brief, &err) >= 0);
    finish(sch);
    assert_memory_equal(out.id, same.id, 50 * sizeof *out.id);
    scheduler_free(sch);
    completions_release(&out, 1);
    completions_release(&same, 1);

    struct workspace *ws = tiny_workspace(m, LONG, false); // in one pass
    struct forest f = {0};
    float one[3];
    forest_add(&f, -1, id, LONG);
    model_forward(ws, m, &f);
    model_logp(ws, one, NULL, NULL, ask, 3, 1);
    assert_memory_equal(one, logp, sizeof one);
    forest_release(&f);
    workspace_free(ws);
    model_close(m);
    device_close(dev);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(answers_do_not_depend_on_the_schedule),
    cmocka_unit_test(what_is_shared_is_computed_once),
    cmocka_unit_test(nobody_waits_for_ever),
    cmocka_unit_test(what_can_never_fit_is_refused),
    cmocka_unit_test(memory_is_what_was_given),
    cmocka_unit_test(a_long_prompt_is_computed_in_portions),
};
KIT_MAIN(tests)
