/* Gradients of the whole model: against finite differences, for every parameter; shared prompts, accumulation and
 * the saved state against what they must equal. */
#include "model/tiny.h"

enum { MAX_ITEMS = 256 };

/* A loss of the kind objectives make: weights on log-probs (and scores). */
struct loss { struct forest f; struct head_item item[MAX_ITEMS]; float weight[MAX_ITEMS]; int n; int row[8]; float score_weight[8]; int n_scores; float temperature; };

static double loss_value(struct workspace *ws, const struct model *m, const struct loss *l)
{
    float logp[MAX_ITEMS], score[8];
    double sum = 0;
    model_forward(ws, m, &l->f);
    if (l->n)
        model_logp(ws, logp, NULL, NULL, l->item, l->n, l->temperature);
    if (l->n_scores)
        model_score(ws, score, l->row, l->n_scores);
    for (int i = 0; i < l->n; i++)
        sum += (double)l->weight[i] * logp[i];
    for (int i = 0; i < l->n_scores; i++)
        sum += (double)l->score_weight[i] * score[i];
    return sum;
}

static void loss_backward(struct workspace *ws, struct trainable *t, const struct loss *l)
{
    model_forward(ws, t->model, &l->f);
    model_backward(ws, t, l->item, l->weight, l->n, l->temperature, l->row, l->score_weight, l->n_scores);
}

/* A prompt with two answers, a third answer hanging on the first, and a lone sequence: every kind of kinship. */
static void make_forest(struct loss *l, bool scalar, uint64_t seed)
{
    struct rng r;
    rng_init(&r, seed, RNG_TEST, 2, 0);
    int prompt = tiny_segment(&l->f, -1, 7, &r), lone = tiny_segment(&l->f, -1, 5, &r);
    int a = tiny_segment(&l->f, prompt, 4, &r), b = tiny_segment(&l->f, prompt, 6, &r), c = tiny_segment(&l->f, a, 3, &r);
    int seg[] = {lone, a, b, c};
    l->temperature = 0.8f;
    for (int i = 0; i < 4; i++) {
        const struct segment *s = &l->f.seg[seg[i]];
        if (scalar)
            l->row[l->n_scores++] = s->start + s->len - 1;
        else
            l->n += forest_items(&l->f, seg[i], 0, l->item + l->n);
    }
    for (int i = 0; i < l->n; i++)
        l->weight[i] = (float)rng_normal(&r);
    for (int i = 0; i < l->n_scores; i++)
        l->score_weight[i] = (float)rng_normal(&r);
}

/* Moves parameter i by `by` along direction d (rows*cols) from where it is in w. */
static void move(struct model *m, int i, const float *w, const float *d, double by)
{
    struct param *p = &m->param[i];
    size_t n = (size_t)p->rows * (size_t)p->cols;
    float *to = test_malloc(n * sizeof *to);
    for (size_t k = 0; k < n; k++)
        to[k] = (float)(w[k] + by * d[k]);
    tensor_write(&p->value, 0, p->rows, to);
    param_repack(m, i);
    test_free(to);
}

static void check_parameter(struct workspace *ws, struct trainable *t, const struct loss *l, int i, struct rng *r)
{
    struct model *m = t->model;
    struct param *p = &m->param[i];
    size_t n = (size_t)p->rows * (size_t)p->cols;
    float *w = test_malloc(n * sizeof *w), *g = test_malloc(n * sizeof *g), *d = test_malloc(n * sizeof *d);
    tensor_read(w, &p->value, 0, p->rows);
    tensor_read(g, &t->grad[i], 0, p->rows);
    for (int trial = 0; trial < 2; trial++) {
        // along the gradient itself, where the difference is largest, and along a random direction
        double norm = 0, slope = 0, step = m->base ? 5e-4 : 2e-3;    // A and B multiply each other
        for (size_t k = 0; k < n; k++) {
            d[k] = trial ? (float)rng_normal(r) : g[k];
            norm += (double)d[k] * d[k];
        }
        norm = sqrt(norm);
        assert_true(norm > 1e-3);
        double gnorm = 0;
        for (size_t k = 0; k < n; k++) {
            d[k] = (float)(d[k] / norm);
            slope += (double)d[k] * g[k];
            gnorm += (double)g[k] * g[k];
        }
        move(m, i, w, d, step);
        double up = loss_value(ws, m, l);
        move(m, i, w, d, -step);
        double down = loss_value(ws, m, l);
        move(m, i, w, d, 0);
        double found = (up - down) / (2 * step);
        if (fabs(found - slope) > 4e-3 * sqrt(gnorm) + 4e-3)
            fail_msg("parameter %d (%d x %d), trial %d: slope %g, differences say %g", i, p->rows, p->cols, trial, slope, found);
    }
    test_free(w);
    test_free(g);
    test_free(d);
}

static void check_all(struct tiny_options o)
{
    struct device *dev = tiny_device(1);
    struct model *m = tiny_model(dev, o);
    struct trainable *t = tiny_trainable(m);
    struct loss l = {0};
    struct rng r;
    rng_init(&r, 9, RNG_TEST, 3, 0);
    make_forest(&l, o.scalar, 5);
    struct workspace *ws = tiny_workspace(m, l.f.tokens.n + 3, true);
    loss_backward(ws, t, &l);
    for (int i = 0; i < m->n_params; i++)
        if (param_trained(m, i))
            check_parameter(ws, t, &l, i, &r);
    workspace_free(ws);
    trainable_free(t);
    model_close(m);
    forest_release(&l.f);
    device_close(dev);
}

static void gradients_match_differences_with_a_tied_head(void **state) { check_all((struct tiny_options){.seed = 1}); }
static void gradients_match_differences_with_its_own_head(void **state) { check_all((struct tiny_options){.untied = true, .seed = 2}); }
static void gradients_match_differences_with_a_scalar_head(void **state) { check_all((struct tiny_options){.scalar = true, .seed = 3}); }
static void gradients_match_differences_with_an_adapter(void **state)
{
    check_all((struct tiny_options){.seed = 1, .adapter = true});
    check_all((struct tiny_options){.seed = 2, .untied = true, .adapter = true});
    check_all((struct tiny_options){.seed = 3, .adapter = true, .whole = true});
}

/* Largest difference over the largest gradient, parameter by parameter. */
static double gradient_distance(const struct trainable *a, const struct trainable *b)
{
    double worst = 0;
    for (int i = 0; i < a->n; i++) {
        if (!param_trained(a->model, i))
            continue;
        size_t n = (size_t)a->grad[i].rows * (size_t)a->grad[i].cols;
        float *x = test_malloc(n * sizeof *x), *y = test_malloc(n * sizeof *y);
        double max = 0, diff = 0;
        tensor_read(x, &a->grad[i], 0, a->grad[i].rows);
        tensor_read(y, &b->grad[i], 0, b->grad[i].rows);
        for (size_t k = 0; k < n; k++) {
            max = fmax(max, fabs(x[k]));
            diff = fmax(diff, fabs((double)x[k] - y[k]));
        }
        assert_true(max > 0);
        worst = fmax(worst, diff / max);
        test_free(x);
        test_free(y);
    }
    return worst;
}

/* Two answers to one prompt, together or each with a copy of it; dlogp on the answers only. */
static void add_answers(struct loss *l, bool shared)
{
    struct rng r;
    int id[64];
    rng_init(&r, 21, RNG_TEST, 4, 0);
    for (int i = 0; i < 64; i++)
        id[i] = (int)rng_below(&r, TINY_VOCAB);
    int lens[] = {9, 13, 5};
    int prompt = shared ? forest_add(&l->f, -1, id, 20) : -1;
    for (int a = 0, at = 20; a < 3; at += lens[a++]) {
        int p = shared ? prompt : forest_add(&l->f, -1, id, 20), seg = forest_add(&l->f, p, id + at, lens[a]);
        int n = forest_items(&l->f, seg, 0, l->item + l->n);
        for (int i = 0; i < n; i++)
            l->weight[l->n + i] = 0.1f * (float)(a + 1) - 0.05f * (float)i;
        l->n += n;
    }
    l->temperature = 1;
}

static void shared_prompt(struct tiny_options o)
{
    struct device *dev = tiny_device(2);
    struct model *m = tiny_model(dev, o);
    struct trainable *one = tiny_trainable(m), *two = tiny_trainable(m);
    struct loss shared = {0}, plain = {0};
    add_answers(&shared, true);
    add_answers(&plain, false);
    assert_int_equal(shared.n, plain.n);
    assert_true(shared.f.tokens.n < plain.f.tokens.n);
    struct workspace *ws = tiny_workspace(m, plain.f.tokens.n, true);
    double a = loss_value(ws, m, &shared), b = loss_value(ws, m, &plain);
    assert_true(a == b);        // bit for bit: same sums of the same numbers
    loss_backward(ws, one, &shared);
    loss_backward(ws, two, &plain);
    assert_true(gradient_distance(one, two) < 1e-5);
    workspace_free(ws);
    trainable_free(one);
    trainable_free(two);
    model_close(m);
    forest_release(&shared.f);
    forest_release(&plain.f);
    device_close(dev);
}

static void a_shared_prompt_has_the_plain_batch_s_gradient(void **state)
{
    shared_prompt((struct tiny_options){.seed = 4});
    shared_prompt((struct tiny_options){.seed = 4, .adapter = true});
}

static void accumulate(struct tiny_options o)
{
    struct device *dev = tiny_device(1);
    struct model *m = tiny_model(dev, o);
    struct trainable *big = tiny_trainable(m), *small = tiny_trainable(m);
    struct workspace *ws = tiny_workspace(m, 128, true);
    struct loss all = {.temperature = 1};
    for (int i = 0; i < 4; i++) {
        struct rng r, again;
        struct loss part = {.temperature = 1};
        rng_init(&r, 31, RNG_TEST, (uint64_t)i, 0);
        again = r;
        int seg = tiny_segment(&all.f, -1, 10 + i, &r);
        int n = forest_items(&all.f, seg, 0, all.item + all.n);
        part.n = forest_items(&part.f, tiny_segment(&part.f, -1, 10 + i, &again), 0, part.item);
        assert_int_equal(n, part.n);
        for (int k = 0; k < n; k++)
            all.weight[all.n + k] = part.weight[k] = 0.3f - 0.02f * (float)(i * k);
        all.n += n;
        loss_backward(ws, small, &part);
        forest_release(&part.f);
    }
    loss_backward(ws, big, &all);
    assert_true(gradient_distance(big, small) < 1e-5);
    assert_true(fabs(trainable_grad_norm(big) / trainable_grad_norm(small) - 1) < 1e-5);
    workspace_free(ws);
    trainable_free(big);
    trainable_free(small);
    model_close(m);
    forest_release(&all.f);
    device_close(dev);
}

static void accumulating_equals_one_big_batch(void **state)
{
    accumulate((struct tiny_options){.seed = 5});
    accumulate((struct tiny_options){.seed = 5, .adapter = true});
}

/* Items in another order than their rows, and what an adapter does to the head. */
static void learn_at_once(struct tiny_options o)
{
    struct device *dev = tiny_device(2);
    struct model *m = tiny_model(dev, o);
    struct trainable *one = tiny_trainable(m), *two = tiny_trainable(m);
    struct loss l = {0};
    float logp[2][MAX_ITEMS], entropy[2][MAX_ITEMS];
    int best[MAX_ITEMS];
    make_forest(&l, false, 12);
    struct workspace *ws = tiny_workspace(m, l.f.tokens.n, true);
    loss_backward(ws, one, &l);
    model_logp(ws, logp[0], entropy[0], NULL, l.item, l.n, l.temperature);
    model_forward(ws, m, &l.f);
    model_learn(ws, two, logp[1], entropy[1], best, l.item, l.weight, l.n, l.temperature);
    assert_memory_equal(logp[0], logp[1], (size_t)l.n * sizeof(float));
    assert_memory_equal(entropy[0], entropy[1], (size_t)l.n * sizeof(float));
    assert_true(gradient_distance(one, two) == 0);
    for (int i = 0; i < l.n; i++)   // the likeliest token is at least as likely as the item's
        l.item[i].target = best[i];
    model_logp(ws, logp[1], NULL, NULL, l.item, l.n, l.temperature);
    for (int i = 0; i < l.n; i++)
        assert_true(logp[1][i] >= logp[0][i] && logp[1][i] > -logf(TINY_VOCAB));
    workspace_free(ws);
    trainable_free(one);
    trainable_free(two);
    model_close(m);
    forest_release(&l.f);
    device_close(dev);
}

static void learning_is_log_probs_and_backward_at_once(void **state)
{
    learn_at_once((struct tiny_options){.seed = 5});
    learn_at_once((struct tiny_options){.seed = 5, .dtype = DTYPE_BF16, .untied = true});
    learn_at_once((struct tiny_options){.seed = 5, .adapter = true});
    learn_at_once((struct tiny_options){.seed = 5, .adapter = true, .whole = true});
}

static uint64_t masters_hash(const struct model *m)
{
    uint64_t h = 0;
    for (int i = 0; i < m->n_params; i++)
        if (param_trained(m, i))
            h = h * 31 + tensor_hash(&m->param[i].value);
    return h;
}

static void train_steps(struct workspace *ws, struct trainable *t, const struct loss *l, int from, int to)
{
    struct adamw h = {.lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .weight_decay = 0.1f, .scale = 1};
    for (h.step = from; h.step < to; h.step++) {
        trainable_zero(t);
        loss_backward(ws, t, l);
        trainable_step(t, &h);
    }
}

static void save_and_go_on(bool adapter)
{
    struct err err = {0};
    struct device *dev = tiny_device(1);
    struct model *m = tiny_model(dev, (struct tiny_options){.dtype = DTYPE_BF16, .seed = 6, .adapter = adapter});
    struct model *other = tiny_model(dev, (struct tiny_options){.dtype = DTYPE_BF16, .seed = adapter ? 6 : 7, .adapter = adapter});
    tiny_liven(other, 7);
    struct trainable *t = tiny_trainable(m), *u = tiny_trainable(other);
    struct loss l = {0};
    const char *path = kit_path("state.safetensors");
    make_forest(&l, false, 8);
    struct workspace *ws = tiny_workspace(m, l.f.tokens.n, true);
    train_steps(ws, t, &l, 1, 4);
    assert_int_equal(trainable_save(t, path, &err), 0);
    assert_int_equal(trainable_load(u, path, &err), 0);
    assert_true(loss_value(ws, m, &l) == loss_value(ws, other, &l));
    train_steps(ws, t, &l, 4, 6);
    assert_true(masters_hash(m) != masters_hash(other));
    train_steps(ws, u, &l, 4, 6);
    assert_true(masters_hash(m) == masters_hash(other));
    workspace_free(ws);
    trainable_free(t);
    trainable_free(u);
    model_close(m);
    model_close(other);
    forest_release(&l.f);
    device_close(dev);
}

static void a_saved_state_goes_on_bit_for_bit(void **state) { save_and_go_on(false); }
static void so_does_an_adapter_s(void **state) { save_and_go_on(true); }

static void a_state_of_another_shape_or_cut_short_is_refused(void **state)
{
    struct err err = {0};
    struct device *dev = tiny_device(1);
    struct model *m = tiny_model(dev, (struct tiny_options){.seed = 6});
    struct model *deep = tiny_model(dev, (struct tiny_options){.seed = 6, .layers = 3});
    struct trainable *t = tiny_trainable(m), *d = tiny_trainable(deep);
    const char *path = kit_path("other.safetensors");
    assert_int_equal(trainable_save(t, path, &err), 0);
    uint64_t before = masters_hash(deep);
    assert_int_equal(trainable_load(d, path, &err), ERR_FORMAT);
    kit_contains(err.msg, path);
    assert_true(masters_hash(deep) == before);

    size_t n;
    const char *bytes = kit_slurp(path, &n);
    assert_int_equal(trainable_load(t, kit_bytes("short.safetensors", bytes, n - 4), &err), ERR_FORMAT);
    assert_int_equal(trainable_load(t, kit_bytes("empty.safetensors", bytes, 0), &err), ERR_FORMAT);
    assert_int_equal(trainable_load(t, kit_bytes("bit.safetensors", bytes, 5), &err), ERR_FORMAT);
    trainable_free(t);
    trainable_free(d);
    model_close(m);
    model_close(deep);
    device_close(dev);
}

static void training_lowers_the_loss(void **state)
{
    struct device *dev = tiny_device(1);
    struct model *m = tiny_model(dev, (struct tiny_options){.seed = 11, .dtype = DTYPE_BF16});
    struct trainable *t = tiny_trainable(m);
    struct loss l = {0};
    make_forest(&l, false, 12);
    for (int i = 0; i < l.n; i++)
        l.weight[i] = -1.0f / (float)l.n;
    struct workspace *ws = tiny_workspace(m, l.f.tokens.n, true);
    double before = loss_value(ws, m, &l);
    train_steps(ws, t, &l, 1, 30);
    double after = loss_value(ws, m, &l);
    assert_true(after < 0.5 * before);
    workspace_free(ws);
    trainable_free(t);
    model_close(m);
    forest_release(&l.f);
    device_close(dev);
}

static void a_nan_is_found_by_name(void **state)
{
    struct device *dev = tiny_device(1);
    struct model *m = tiny_model(dev, (struct tiny_options){.seed = 13});
    struct trainable *t = tiny_trainable(m);
    assert_null(trainable_nonfinite(t));
    float nan = NAN;
    const struct tensor_spec *s = slice_find(m, "model.layers.1.self_attn.k_proj.weight");
    struct tensor at = tensor_rows(&t->grad[s->param], s->first, 1), one = tensor_cols(&at, 3, 1);
    tensor_write(&one, 0, 1, &nan);
    assert_string_equal(trainable_nonfinite(t), s->name);
    assert_true(isnan(trainable_grad_norm(t)));
    trainable_zero(t);
    assert_null(trainable_nonfinite(t));
    trainable_free(t);
    model_close(m);
    device_close(dev);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(gradients_match_differences_with_a_tied_head),
    cmocka_unit_test(gradients_match_differences_with_its_own_head),
    cmocka_unit_test(gradients_match_differences_with_a_scalar_head),
    cmocka_unit_test(gradients_match_differences_with_an_adapter),
    cmocka_unit_test(a_shared_prompt_has_the_plain_batch_s_gradient),
    cmocka_unit_test(accumulating_equals_one_big_batch),
    cmocka_unit_test(learning_is_log_probs_and_backward_at_once),
    cmocka_unit_test(a_saved_state_goes_on_bit_for_bit),
    cmocka_unit_test(so_does_an_adapter_s),
    cmocka_unit_test(a_state_of_another_shape_or_cut_short_is_refused),
    cmocka_unit_test(training_lowers_the_loss),
    cmocka_unit_test(a_nan_is_found_by_name),
};
KIT_MAIN(tests)
