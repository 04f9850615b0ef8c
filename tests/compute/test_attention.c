/* Attention: fast kernels against the definition, the backward pass against finite differences, and the promise
 * that a row's bits depend on its own inputs only.  Every kernel this machine can run is tested. */
#include <math.h>

#include "compute/cpu/attention.h"
#include "compute/cpu/cpu.h"
#include "kit/kit.h"

/* ---- scenes: forests of runs with random queries, keys and values ------------------- */

/* window and cap (of the scores, which have a variance of about 1) are 0 unless said otherwise. */
struct shape { int heads, kv_heads, D, trees, parent, children, child, window; float cap; };

static const struct shape shapes[] = {
    { 1, 1, 16, 1, 1, 0, 0 },       { 1, 1, 32, 1, 2, 0, 0 },       { 2, 1, 64, 2, 63, 0, 0 },
    { 3, 1, 64, 1, 64, 0, 0 },      { 9, 3, 64, 1, 65, 2, 5 },      { 4, 1, 32, 3, 17, 3, 40 },
    { 4, 4, 32, 2, 127, 2, 2 },     { 6, 2, 128, 1, 70, 2, 61 },    { 9, 3, 64, 2, 129, 1, 71 },
    { 5, 1, 48, 1, 33, 2, 100 },    { 2, 2, 80, 1, 128, 1, 64 },    { 4, 2, 32, 2, 200, 4, 1 },
    { 3, 3, 256, 1, 30, 1, 40 },    { 12, 1, 64, 1, 11, 2, 60 },    { 4, 2, 96, 1, 190, 0, 0 },
    { 2, 1, 32, 1, 40, 1, 50, 0, 1.5f },    { 1, 1, 32, 1, 130, 0, 0, 1 },      { 4, 2, 32, 2, 40, 2, 50, 30 },
    { 3, 1, 64, 1, 129, 1, 71, 64, 2 },     { 2, 1, 32, 1, 200, 1, 10, 65 },    { 12, 1, 32, 1, 60, 1, 60, 50, 1 },
    { 1, 1, 48, 1, 200, 1, 3, 130, 3 },     { 2, 2, 16, 1, 70, 0, 0, 1000 },
};

struct scene {
    struct device *dev;
    struct tensor q, k, v, out, lse, dout, dq, dk, dv;
    struct attention a;
    struct attn_run *run;
    int *keys, rows;
};

static struct tensor tensor(struct device *dev, enum dtype dtype, int rows, int cols)
{
    struct tensor t;
    assert_int_equal(tensor_new(&t, dev, dtype, rows, cols, NULL), 0);
    return t;
}

static void fill(struct tensor *t, struct rng *rng)
{
    for (int r = 0; r < t->rows; r++)
        for (int c = 0; c < t->cols; c++)
            t_set(t, r, c, (float)(rng_uniform(rng) - 0.5) * 3.5f);     // variance about 1
}

/* A parent run of each tree and children that continue it.  Key rows are scattered, and k and v have spare rows and
 * columns, as a cache has. */
static void scene_init(struct scene *s, const struct shape *w, enum dtype dtype, enum dtype dout)
{
    int runs = w->trees * (1 + w->children), longest = w->parent + w->child, C = w->heads * w->D, K = w->kv_heads * w->D;
    struct rng rng;

    memset(s, 0, sizeof *s);
    rng_init(&rng, 7, RNG_TEST, (uint64_t)w->D, (uint32_t)w->parent);
    assert_int_equal(device_open(&s->dev, "cpu", 1, NULL), 0);
    s->rows = w->trees * (w->parent + w->children * w->child);
    s->run = mem_alloc(runs, sizeof *s->run);
    s->keys = mem_alloc((size_t)runs * longest, sizeof *s->keys);
    int *place = mem_alloc(s->rows + 9, sizeof *place), row = 0, n = 0;
    for (int i = 0; i < s->rows + 9; i++)
        place[i] = i;
    rng_shuffle(&rng, place, s->rows + 9);
    for (int t = 0; t < w->trees; t++) {
        int parent = row;
        for (int i = 0; i <= w->children; i++, n++) {
            int *keys = s->keys + (size_t)n * longest, from = i ? w->parent : 0, len = i ? w->child : w->parent;
            for (int p = 0; p < from + len; p++)
                keys[p] = place[p < from ? parent + p : row + p - from];
            s->run[n] = (struct attn_run){ row, len, from, t, keys };
            row += len;
        }
    }
    free(place);
    s->a = (struct attention){ w->heads, w->kv_heads, w->D, 1 / sqrtf(w->D), runs, s->run, w->window, w->cap };
    s->q = tensor(s->dev, dtype, s->rows, C);
    s->k = tensor(s->dev, dtype, s->rows + 9, K);
    s->v = tensor(s->dev, dtype, s->rows + 9, K);
    s->out = tensor(s->dev, dtype, s->rows, C);
    s->lse = tensor(s->dev, DTYPE_F32, s->rows, w->heads);
    s->dout = tensor(s->dev, dout, s->rows, C);
    s->dq = tensor(s->dev, DTYPE_F32, s->rows, C);
    s->dk = tensor(s->dev, DTYPE_F32, s->rows + 9, K);
    s->dv = tensor(s->dev, DTYPE_F32, s->rows + 9, K);
    struct tensor *random[] = { &s->q, &s->k, &s->v, &s->dout };
    for (int i = 0; i < 4; i++)
        fill(random[i], &rng);
}

static void scene_release(struct scene *s)
{
    struct tensor *all[] = { &s->q, &s->k, &s->v, &s->out, &s->lse, &s->dout, &s->dq, &s->dk, &s->dv };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        tensor_release(all[i]);
    free(s->run);
    free(s->keys);
    device_close(s->dev);
}

static struct attention_call call_of(struct scene *s)
{
    return (struct attention_call){ .out = &s->out, .lse = &s->lse, .dq = &s->dq, .dk = &s->dk, .dv = &s->dv,
                                    .q = &s->q, .k = &s->k, .v = &s->v, .dout = &s->dout, .a = &s->a };
}

static void define(struct scene *s)
{
    attention_plain(&s->out, &s->lse, &s->q, &s->k, &s->v, &s->a);
}

static void define_backward(struct scene *s)
{
    attention_plain_backward(&s->dq, &s->dk, &s->dv, &s->dout, &s->out, &s->lse, &s->q, &s->k, &s->v, &s->a);
}

/* Kernel number i for this scene, or NULL; true while there are more. */
static bool kernel_at(const struct attention_kernel **k, int i, struct scene *s)
{
    struct attention_call c = call_of(s);
    *k = attention_kernels()[i];
    if (!*k)
        return false;
    if (!attention_fits(*k, &c))
        *k = NULL;
    return true;
}

/* Size of the difference relative to the size of what was wanted, both as roots of sums of squares. */
static double distance(const struct tensor *got, const struct tensor *want)
{
    double diff = 0, size = 0;
    for (int r = 0; r < got->rows; r++)
        for (int c = 0; c < got->cols; c++) {
            double x = t_get(got, r, c), y = t_get(want, r, c);
            diff += (x - y) * (x - y);
            size += y * y;
        }
    return sqrt(diff / (size + 1e-30));
}

static void assert_near(const struct tensor *got, const struct tensor *want, double bound, const char *what,
                        const struct attention_kernel *k, int shape)
{
    double d = distance(got, want);
    if (!(d <= bound))
        fail_msg("%s of %s, shape %d, differs by %g of its size, allowed %g", what, k->name, shape, d, bound);
}

static void assert_same_bits(const struct tensor *a, const struct tensor *b, const char *what,
                             const struct attention_kernel *k)
{
    if (tensor_hash(a) != tensor_hash(b))
        fail_msg("%s of %s changed in some bit", what, k->name);
}

/* ---- tests --------------------------------------------------------------------------- */

/* fp32: 2^-24 per operation, a few hundred of them.  bf16: out is rounded to 8 bits (2^-9 at most, about 2^-10.5 in
 * the mean) and so is every P, whose errors average out. */
static double bound_forward(enum dtype t) { return t == DTYPE_F32 ? 2e-6 : 4e-3; }
/* dout is rounded as well, and dS is a difference of rounded products. */
static double bound_backward(enum dtype t) { return t == DTYPE_F32 ? 1e-5 : 1e-2; }

static void forward_equals_definition(void **state)
{
    const struct attention_kernel *k;
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        for (enum dtype t = DTYPE_F32; t <= DTYPE_BF16; t++) {
            struct scene want, got;
            scene_init(&want, &shapes[i], t, DTYPE_F32);
            scene_init(&got, &shapes[i], t, DTYPE_F32);
            define(&want);
            for (int n = 0; kernel_at(&k, n, &got); n++) {
                struct attention_call c = call_of(&got);
                if (!k)
                    continue;
                op_zero(&got.out);
                op_zero(&got.lse);
                attention_forward_with(k, &c, 1);
                assert_near(&got.out, &want.out, bound_forward(t), "out", k, i);
                assert_near(&got.lse, &want.lse, 1e-6, "lse", k, i);
            }
            scene_release(&want);
            scene_release(&got);
        }
}

static void backward_equals_definition(void **state)
{
    const struct attention_kernel *k;
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        for (int t = 0; t < 3; t++) {       // fp32; bf16 with gradients in fp32; everything in bf16
            enum dtype dtype = t ? DTYPE_BF16 : DTYPE_F32, dout = t == 2 ? DTYPE_BF16 : DTYPE_F32;
            struct scene want, got;
            scene_init(&want, &shapes[i], dtype, dout);
            scene_init(&got, &shapes[i], dtype, dout);
            define(&want);
            define(&got);
            define_backward(&want);
            for (int n = 0; kernel_at(&k, n, &got); n++) {
                struct attention_call c = call_of(&got);
                if (!k)
                    continue;
                op_zero(&got.dk);
                op_zero(&got.dv);
                attention_backward_with(k, &c, 1);
                // With one key dS is zero, and with few its rounding is all there is: nothing to compare.
                if (shapes[i].parent > (t ? 8 : 1) && shapes[i].window != 1) {
                    assert_near(&got.dq, &want.dq, bound_backward(dtype), "dq", k, i);
                    assert_near(&got.dk, &want.dk, bound_backward(dtype), "dk", k, i);
                }
                assert_near(&got.dv, &want.dv, bound_backward(dtype), "dv", k, i);
            }
            scene_release(&want);
            scene_release(&got);
        }
}

/* sum of dout * out, in double */
static double loss(struct scene *s, const struct attention_kernel *k)
{
    struct attention_call c = call_of(s);
    double sum = 0;
    if (k)
        attention_forward_with(k, &c, 1);
    else
        define(s);
    for (int r = 0; r < s->rows; r++)
        for (int j = 0; j < s->out.cols; j++)
            sum += (double)t_get(&s->out, r, j) * t_get(&s->dout, r, j);
    return sum;
}

static void check_slope(struct scene *s, const struct attention_kernel *k, struct tensor *x, const struct tensor *dx,
                        int row, int col)
{
    float *at = t_f32(x, row) + col, was = *at, h = 2e-2f;
    *at = was + h;
    double up = loss(s, k);
    *at = was - h;
    double down = loss(s, k);
    *at = was;
    double slope = (up - down) / (2 * h), got = t_get(dx, row, col);
    if (fabs(slope - got) > 2e-3 * (1 + fabs(slope)))   // h^2 and 1e-5 / h
        fail_msg("gradient %g, finite difference %g, kernel %s", got, slope, k ? k->name : "definition");
}

static void check_slopes(const struct shape *shape)
{
    const struct attention_kernel *k;
    struct scene s;
    scene_init(&s, shape, DTYPE_F32, DTYPE_F32);
    for (int n = -1; n < 0 || kernel_at(&k, n, &s); n++) {
        if (n < 0)
            k = NULL;
        struct attention_call c = call_of(&s);
        op_zero(&s.dk);
        op_zero(&s.dv);
        loss(&s, k);
        if (k)
            attention_backward_with(k, &c, 1);
        else
            define_backward(&s);
        for (int i = 0; i < 12; i++) {
            int row = i * 37 % s.rows, key = s.keys[i * 5 % 20], col = i * 11 % 64;
            check_slope(&s, k, &s.q, &s.dq, row, i * 23 % 128);
            check_slope(&s, k, &s.k, &s.dk, key, col);
            check_slope(&s, k, &s.v, &s.dv, key, col);
        }
    }
    scene_release(&s);
}

static void backward_equals_finite_differences(void **state)
{
    check_slopes(&(struct shape){ 4, 2, 32, 2, 20, 2, 51 });
    check_slopes(&(struct shape){ 4, 2, 32, 1, 20, 2, 70, 0, 1.5f });
    check_slopes(&(struct shape){ 4, 2, 32, 1, 20, 2, 70, 11, 1.5f });
}

/* Values before the window are not read: whatever is there, NaN included. */
static void keys_outside_the_window_do_not_exist(void **state)
{
    static const struct shape shape = { 2, 1, 64, 1, 300, 0, 0, 40 };
    const struct attention_kernel *k;
    struct scene s, dirty;
    scene_init(&s, &shape, DTYPE_BF16, DTYPE_F32);
    scene_init(&dirty, &shape, DTYPE_BF16, DTYPE_F32);
    for (int p = 0; p < 150; p++)
        for (int d = 0; d < 64; d++) {
            t_set(&dirty.k, dirty.keys[p], d, NAN);
            t_set(&dirty.v, dirty.keys[p], d, NAN);
        }
    struct attn_run late = { 256, 44, 256, 0, s.keys }, late_dirty = { 256, 44, 256, 0, dirty.keys };
    s.a.run = &late;
    dirty.a.run = &late_dirty;
    for (int n = 0; kernel_at(&k, n, &s); n++) {
        struct attention_call c = call_of(&s), d = call_of(&dirty);
        if (!k)
            continue;
        op_zero(&s.out);
        op_zero(&dirty.out);
        attention_forward_with(k, &c, 1);
        attention_forward_with(k, &d, 1);
        assert_same_bits(&s.out, &dirty.out, "out", k);
        attention_backward_with(k, &c, 1);
        attention_backward_with(k, &d, 1);
        assert_same_bits(&s.dq, &dirty.dq, "dq", k);
    }
    scene_release(&s);
    scene_release(&dirty);
}

/* One query after the other, each as a run of its own. */
static void forward_one_by_one(struct scene *s, const struct attention_kernel *k)
{
    struct attention_call c = call_of(s);
    struct attention a = s->a;
    c.a = &a;
    a.n = 1;
    for (int i = 0; i < s->a.n; i++)
        for (int j = 0; j < s->run[i].len; j++) {
            struct attn_run one = { s->run[i].row + j, 1, s->run[i].position + j, 0, s->run[i].keys };
            a.run = &one;
            attention_forward_with(k, &c, 1);
        }
}

static void a_query_has_the_same_bits_alone_and_in_a_run(void **state)
{
    const struct attention_kernel *k;
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        for (enum dtype t = DTYPE_F32; t <= DTYPE_BF16; t++) {
            struct scene all, one;
            scene_init(&all, &shapes[i], t, t);
            scene_init(&one, &shapes[i], t, t);
            for (int n = 0; kernel_at(&k, n, &all); n++) {
                struct attention_call c = call_of(&all);
                if (!k)
                    continue;
                attention_forward_with(k, &c, 2);
                op_zero(&one.out);
                op_zero(&one.lse);
                forward_one_by_one(&one, k);
                assert_same_bits(&all.out, &one.out, "out", k);
                assert_same_bits(&all.lse, &one.lse, "lse", k);
            }
            scene_release(&all);
            scene_release(&one);
        }
}

/* One query each at the end of all runs, side by side as sequences that begin alike are decoded; then alone. */
static void sequences_that_begin_alike_have_the_same_bits_together(void **state)
{
    static const struct shape alike[] = { { 9, 3, 64, 2, 128, 5, 40 }, { 4, 4, 32, 1, 200, 9, 3 }, { 2, 1, 64, 3, 64, 3, 70, 0, 2 },
                                          { 8, 1, 96, 1, 320, 4, 64 }, { 3, 1, 64, 2, 130, 4, 30, 90 } };
    const struct attention_kernel *k;
    for (size_t i = 0; i < ARRAY_LEN(alike); i++)
        for (enum dtype t = DTYPE_F32; t <= DTYPE_BF16; t++) {
            struct scene all, one;
            scene_init(&all, &alike[i], t, t);
            scene_init(&one, &alike[i], t, t);
            int n = all.a.n;
            struct attn_run *last = mem_alloc((size_t)n, sizeof *last);
            for (int j = 0; j < n; j++)     // queries of any rows: here the first ones
                last[j] = (struct attn_run){ j, 1, all.run[j].position + all.run[j].len - 1, 0, all.run[j].keys };
            for (int at = 0; kernel_at(&k, at, &all); at++) {
                struct attention_call c = call_of(&all), d = call_of(&one);
                struct attention together = all.a, alone = one.a;
                if (!k)
                    continue;
                together.run = last;
                c.a = &together;
                op_zero(&all.out);
                op_zero(&one.out);
                op_zero(&all.lse);
                op_zero(&one.lse);
                attention_forward_with(k, &c, 1);
                for (int j = 0; j < n; j++) {
                    alone.run = &last[j];
                    alone.n = 1;
                    d.a = &alone;
                    attention_forward_with(k, &d, 2);   // heads apart
                }
                assert_same_bits(&all.out, &one.out, "out", k);
                assert_same_bits(&all.lse, &one.lse, "lse", k);
            }
            free(last);
            scene_release(&all);
            scene_release(&one);
        }
}

/* The same scene with its keys and values laid out in order, and runs cut in two where that is allowed. */
static void it_does_not_matter_where_keys_lie_or_how_runs_are_cut(void **state)
{
    const struct attention_kernel *k;
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        for (enum dtype t = DTYPE_F32; t <= DTYPE_BF16; t++) {
            struct scene s, moved;
            scene_init(&s, &shapes[i], t, t);
            scene_init(&moved, &shapes[i], t, t);
            int n_keys = s.k.rows, *turn = mem_alloc(n_keys, sizeof *turn), pieces = 0;
            struct attn_run *run = mem_alloc(2 * (size_t)s.a.n, sizeof *run);
            for (int r = 0; r < n_keys; r++)
                turn[r] = (r + 5) % n_keys;
            op_scatter_rows(&moved.k, &s.k, turn);
            op_scatter_rows(&moved.v, &s.v, turn);
            int longest = shapes[i].parent + shapes[i].child;
            for (int j = 0; j < s.a.n * longest; j++)
                moved.keys[j] = turn[moved.keys[j]];
            for (int j = 0; j < s.a.n; j++) {
                struct attn_run r = moved.run[j];
                int head = r.len / 3;
                if (head)
                    run[pieces++] = (struct attn_run){ r.row, head, r.position, r.tree, r.keys };
                run[pieces++] = (struct attn_run){ r.row + head, r.len - head, r.position + head, r.tree, r.keys };
            }
            moved.a.run = run;
            moved.a.n = pieces;
            for (int n = 0; kernel_at(&k, n, &s); n++) {
                struct attention_call c = call_of(&s), d = call_of(&moved);
                if (!k)
                    continue;
                attention_forward_with(k, &c, 1);
                attention_forward_with(k, &d, 2);
                assert_same_bits(&s.out, &moved.out, "out", k);
            }
            free(turn);
            free(run);
            scene_release(&s);
            scene_release(&moved);
        }
}

static void gradients_do_not_depend_on_threads(void **state)
{
    const struct attention_kernel *k;
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        for (enum dtype t = DTYPE_F32; t <= DTYPE_BF16; t++) {
            struct scene one, two;
            scene_init(&one, &shapes[i], t, DTYPE_F32);
            scene_init(&two, &shapes[i], t, DTYPE_F32);
            op_attention(&one.out, &one.lse, &one.q, &one.k, &one.v, &one.a);
            op_attention(&two.out, &two.lse, &two.q, &two.k, &two.v, &two.a);
            for (int n = 0; kernel_at(&k, n, &one); n++) {
                struct attention_call c = call_of(&one), d = call_of(&two);
                if (!k)
                    continue;
                attention_backward_with(k, &c, 1);      // dk and dv keep adding up, in both alike
                attention_backward_with(k, &d, 2);
                assert_same_bits(&one.dq, &two.dq, "dq", k);
                assert_same_bits(&one.dk, &two.dk, "dk", k);
                assert_same_bits(&one.dv, &two.dv, "dv", k);
            }
            scene_release(&one);
            scene_release(&two);
        }
}

/* Trees given one by one leave the same gradients as all of them in one call. */
static void a_tree_has_the_same_gradients_alone_and_in_a_batch(void **state)
{
    static const struct shape shape = { 4, 2, 64, 3, 70, 2, 33 };
    const struct attention_kernel *k;
    for (enum dtype t = DTYPE_F32; t <= DTYPE_BF16; t++) {
        struct scene all, one;
        scene_init(&all, &shape, t, DTYPE_F32);
        scene_init(&one, &shape, t, DTYPE_F32);
        define(&all);
        define(&one);
        for (int n = 0; kernel_at(&k, n, &all); n++) {
            struct attention_call c = call_of(&all), d = call_of(&one);
            struct attention a = one.a;
            if (!k)
                continue;
            attention_backward_with(k, &c, 2);
            d.a = &a;
            a.n = 3;
            for (a.run = one.run; a.run < one.run + one.a.n; a.run += 3)
                attention_backward_with(k, &d, 1);
            assert_same_bits(&all.dq, &one.dq, "dq", k);
            assert_same_bits(&all.dk, &one.dk, "dk", k);
            assert_same_bits(&all.dv, &one.dv, "dv", k);
        }
        scene_release(&all);
        scene_release(&one);
    }
}

static void equal_keys_give_the_mean_of_the_values(void **state)
{
    static const struct shape shape = { 2, 1, 32, 1, 100, 0, 0 };
    const struct attention_kernel *k;
    struct scene s;
    scene_init(&s, &shape, DTYPE_F32, DTYPE_F32);
    op_zero(&s.k);
    for (int n = 0; kernel_at(&k, n, &s); n++) {
        struct attention_call c = call_of(&s);
        if (!k)
            continue;
        attention_forward_with(k, &c, 1);
        for (int p = 0; p < 100; p++) {
            double mean = 0;
            for (int j = 0; j <= p; j++)
                mean += t_get(&s.v, s.keys[j], 3) / (p + 1);
            assert_true(fabs(t_get(&s.out, p, 35) - mean) < 1e-6);
            assert_true(fabs(t_get(&s.lse, p, 1) - log(p + 1)) < 1e-6);
        }
    }
    scene_release(&s);
}

/* Scores far apart: nothing overflows, the largest wins. */
static void a_huge_score_takes_everything(void **state)
{
    static const struct shape shape = { 1, 1, 64, 1, 130, 0, 0 };
    const struct attention_kernel *k;
    struct scene s;
    scene_init(&s, &shape, DTYPE_F32, DTYPE_F32);
    for (int d = 0; d < 64; d++) {
        t_set(&s.q, 129, d, 100);
        t_set(&s.k, s.keys[70], d, 100);
        t_set(&s.k, s.keys[3], d, -100);
    }
    for (int n = 0; kernel_at(&k, n, &s); n++) {
        struct attention_call c = call_of(&s);
        if (!k)
            continue;
        attention_forward_with(k, &c, 1);
        for (int d = 0; d < 64; d++)
            assert_true(fabsf(t_get(&s.out, 129, d) - t_get(&s.v, s.keys[70], d)) < 1e-6);
    }
    scene_release(&s);
}

static void a_nan_in_a_query_stays_visible_and_stays_in_its_row(void **state)
{
    static const struct shape shape = { 2, 1, 64, 1, 80, 0, 0 };
    const struct attention_kernel *k;
    struct scene s;
    scene_init(&s, &shape, DTYPE_BF16, DTYPE_F32);
    t_set(&s.q, 70, 5, NAN);
    for (int n = 0; kernel_at(&k, n, &s); n++) {
        struct attention_call c = call_of(&s);
        if (!k)
            continue;
        attention_forward_with(k, &c, 1);
        assert_true(isnan(t_get(&s.out, 70, 0)));
        for (int r = 0; r < 80; r++)
            assert_true(r == 70 || !isnan(t_get(&s.out, r, 0)));
    }
    scene_release(&s);
}

static void head_sizes_without_a_kernel_take_the_plain_loops(void **state)
{
    static const struct shape shape = { 2, 1, 20, 1, 70, 1, 3 };
    struct scene want, got;
    scene_init(&want, &shape, DTYPE_F32, DTYPE_F32);
    scene_init(&got, &shape, DTYPE_F32, DTYPE_F32);
    struct attention_call c = call_of(&got);
    assert_null(attention_choose(&c));
    define(&want);
    define_backward(&want);
    op_attention(&got.out, &got.lse, &got.q, &got.k, &got.v, &got.a);
    op_attention_backward(&got.dq, &got.dk, &got.dv, &got.dout, &got.out, &got.lse, &got.q, &got.k, &got.v, &got.a);
    assert_int_equal(tensor_hash(&got.out), tensor_hash(&want.out));
    assert_int_equal(tensor_hash(&got.dk), tensor_hash(&want.dk));
    scene_release(&want);
    scene_release(&got);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(forward_equals_definition),
    cmocka_unit_test(backward_equals_definition),
    cmocka_unit_test(backward_equals_finite_differences),
    cmocka_unit_test(keys_outside_the_window_do_not_exist),
    cmocka_unit_test(a_query_has_the_same_bits_alone_and_in_a_run),
    cmocka_unit_test(sequences_that_begin_alike_have_the_same_bits_together),
    cmocka_unit_test(it_does_not_matter_where_keys_lie_or_how_runs_are_cut),
    cmocka_unit_test(gradients_do_not_depend_on_threads),
    cmocka_unit_test(a_tree_has_the_same_gradients_alone_and_in_a_batch),
    cmocka_unit_test(equal_keys_give_the_mean_of_the_values),
    cmocka_unit_test(a_huge_score_takes_everything),
    cmocka_unit_test(a_nan_in_a_query_stays_visible_and_stays_in_its_row),
    cmocka_unit_test(head_sizes_without_a_kernel_take_the_plain_loops),
};
KIT_MAIN(tests)
