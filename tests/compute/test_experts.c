/* Mixtures of experts: the router's choice and its derivative, rows scattered to experts and added up again. */
#include "compute/tensors.h"

static void the_likeliest_experts_are_chosen_and_their_weights_sum_to_one(void **state)
{
    static const float logits[2][5] = { { 1, 3, 2, 3, -1 }, { 0, 0, 0, 0, 0 } };
    struct device *dev = device(1);
    struct tensor in = zeros(dev, DTYPE_F32, 2, 5), prob = clone(&in), weight = zeros(dev, DTYPE_F32, 2, 3);
    int expert[6];
    tensor_write(&in, 0, 2, logits[0]);
    op_route(expert, &weight, &prob, &in);
    static const int want[] = { 1, 3, 2, 0, 1, 2 };      // the lower number first where equal
    assert_memory_equal(expert, want, sizeof want);
    double sum = exp(1) + 2 * exp(3) + exp(2) + exp(-1);
    assert_true(fabs(t_get(&prob, 0, 3) - exp(3) / sum) < 1e-7);
    assert_true(fabs(t_get(&weight, 0, 2) - exp(2) / (2 * exp(3) + exp(2))) < 1e-7);
    assert_true(fabs(t_get(&weight, 0, 0) + t_get(&weight, 0, 1) + t_get(&weight, 0, 2) - 1) < 1e-6);
    double sums[5] = { 1 };
    op_column_sums(sums, &prob);
    for (int e = 0; e < 5; e++)
        assert_true(fabs(sums[e] - (e == 0) - t_get(&prob, 0, e) - 0.2) < 1e-6);
    RELEASE(&in, &prob, &weight);
    device_close(dev);
}

/* sum of dweight * weight + sum over rows of dprob . prob: what the router's gradient is the slope of. */
static double route_value(const struct tensor *logits, const struct tensor *dweight, const float *dprob)
{
    struct tensor prob = clone(logits), weight = clone(dweight);
    int expert[64];
    define_route(expert, &weight, &prob, logits);
    double value = dot_all(&weight, dweight);
    for (int t = 0; t < prob.rows; t++)
        for (int e = 0; dprob && e < prob.cols; e++)
            value += (double)dprob[e] * t_get(&prob, t, e);
    RELEASE(&prob, &weight);
    return value;
}

static void the_routers_gradient_is_the_slope(void **state)
{
    enum { T = 4, E = 6 };
    static const float balance[E] = { 0.5f, -1, 2, 0.25f, 0, 1 };
    struct device *dev = device(1);
    for (int k = 1; k <= 3; k++)
        for (int with = 0; with < 2; with++) {
            const float *dprob = with ? balance : NULL, h = 1.0f / 256;
            struct tensor logits = randoms(dev, DTYPE_F32, T, E, 2, 1), prob = clone(&logits), dlogits = clone(&logits);
            struct tensor dweight = randoms(dev, DTYPE_F32, T, k, 1, 2), weight = clone(&dweight);
            int expert[T * 3];
            op_route(expert, &weight, &prob, &logits);
            op_route_backward(&dlogits, &dweight, dprob, &weight, &prob, expert);
            for (int t = 0; t < T; t++)
                for (int e = 0; e < E; e++) {
                    float keep = t_get(&logits, t, e);
                    t_set(&logits, t, e, keep + h);
                    double up = route_value(&logits, &dweight, dprob);
                    t_set(&logits, t, e, keep - h);
                    double slope = (up - route_value(&logits, &dweight, dprob)) / (2 * h);
                    t_set(&logits, t, e, keep);
                    if (fabs(slope - t_get(&dlogits, t, e)) > 1e-3)
                        fail_msg("k %d, slope at %d,%d is %g, backward says %g", k, t, e, slope, t_get(&dlogits, t, e));
                }
            RELEASE(&logits, &prob, &dlogits, &dweight, &weight);
        }
    device_close(dev);
}

static void rows_are_added_up_as_the_definition_says(void **state)
{
    enum { T = 90, K = 2, N = 70 };
    static const int widths[] = { 1, 17, 64, 200 };
    for (size_t i = 0; i < ARRAY_LEN(isas); i++) {
        struct device *dev = device_with(isas[i], 2);
        for (size_t w = 0; w < ARRAY_LEN(widths); w++)
            for (enum dtype t = DTYPE_F32; t <= DTYPE_BF16; t++) {
                int slot[N], C = widths[w];
                for (int j = 0; j < N; j++)
                    slot[j] = (j * 7 % T) * K + j % K;      // one slot of a row at most
                struct tensor dst = randoms(dev, DTYPE_F32, T, C, 1, 1), want = clone(&dst), src = randoms(dev, t, N, C, 1, 2);
                struct tensor weight = randoms(dev, DTYPE_F32, T, K, 1, 3), dsrc = clone(&src), dsrc_want = clone(&src);
                struct tensor dweight = zeros(dev, DTYPE_F32, T, K), dweight_want = clone(&dweight);
                op_combine(&dst, &src, &weight, slot, N);
                define_combine(&want, &src, &weight, slot, N);
                close_to(&dst, &want, 1e-6, "combine");
                op_combine_backward(&dsrc, &dweight, &dst, &src, &weight, slot, N);
                define_combine_backward(&dsrc_want, &dweight_want, &dst, &src, &weight, slot, N);
                close_to(&dsrc, &dsrc_want, t == DTYPE_F32 ? 1e-6 : 1.0 / 200, "dsrc");
                close_to(&dweight, &dweight_want, 3e-6, "dweight");
                RELEASE(&dst, &want, &src, &weight, &dsrc, &dsrc_want, &dweight, &dweight_want);
            }
        device_close(dev);
    }
}

/* combine is linear in src and in weight, so its gradients are exact: dot(out, d) for a unit change. */
static void combines_gradient_is_the_slope(void **state)
{
    enum { T = 3, K = 2, C = 5 };
    static const int slot[] = { 1, 2, 5 };
    struct device *dev = device(1);
    struct tensor src = randoms(dev, DTYPE_F32, 3, C, 1, 1), weight = randoms(dev, DTYPE_F32, T, K, 1, 2), ddst = randoms(dev, DTYPE_F32, T, C, 1, 3);
    struct tensor dsrc = clone(&src), dweight = zeros(dev, DTYPE_F32, T, K);
    define_combine_backward(&dsrc, &dweight, &ddst, &src, &weight, slot, 3);
    for (int which = 0; which < 2; which++) {
        struct tensor *x = which ? &weight : &src, *dx = which ? &dweight : &dsrc;
        for (int r = 0; r < x->rows; r++)
            for (int c = 0; c < x->cols; c++) {
                double value[2];
                for (int up = 0; up < 2; up++) {
                    struct tensor out = zeros(dev, DTYPE_F32, T, C);
                    float keep = t_get(x, r, c);
                    t_set(x, r, c, keep + (float)up);
                    define_combine(&out, &src, &weight, slot, 3);
                    t_set(x, r, c, keep);
                    value[up] = dot_all(&out, &ddst);
                    tensor_release(&out);
                }
                assert_true(fabs(value[1] - value[0] - t_get(dx, r, c)) < 1e-5);
            }
    }
    RELEASE(&src, &weight, &ddst, &dsrc, &dweight);
    device_close(dev);
}

/* A whole mixture: router, then experts in ascending order, each on the rows that chose it. */
enum { EXPERTS = 4, CHOICES = 2, WIDTH = 96, INNER = 64 };
struct mixture { struct weight *router, *in[EXPERTS], *out[EXPERTS]; };

static void mixture_init(struct mixture *m, struct device *dev)
{
    for (int i = 0; i < 2 * EXPERTS + 1; i++) {
        struct weight **w = i == 2 * EXPERTS ? &m->router : i % 2 ? &m->in[i / 2] : &m->out[i / 2];
        int out = i == 2 * EXPERTS ? EXPERTS : i % 2 ? 2 * INNER : WIDTH, in = i == 2 * EXPERTS || i % 2 ? WIDTH : INNER;
        struct tensor values = randoms(dev, DTYPE_BF16, out, in, 0.2f, 100 + i);
        *w = weight_new(dev, out, in, DTYPE_BF16);
        weight_load(*w, &values);
        tensor_release(&values);
    }
}

static void mixture_release(struct mixture *m)
{
    weight_free(m->router);
    for (int e = 0; e < EXPERTS; e++) {
        weight_free(m->in[e]);
        weight_free(m->out[e]);
    }
}

static void mixture_forward(struct tensor *y, const struct mixture *m, const struct tensor *x)
{
    struct device *dev = x->dev;
    int T = x->rows, *expert = mem_alloc((size_t)T * CHOICES, sizeof *expert);
    int *slot = mem_alloc((size_t)T, sizeof *slot), *row = mem_alloc((size_t)T, sizeof *row);
    struct tensor logits = zeros(dev, DTYPE_F32, T, EXPERTS), prob = clone(&logits), weight = zeros(dev, DTYPE_F32, T, CHOICES);
    op_linear(&logits, x, m->router, false);
    op_route(expert, &weight, &prob, &logits);
    for (int e = 0; e < EXPERTS; e++) {
        int n = 0;
        for (int s = 0; s < T * CHOICES; s++)
            if (expert[s] == e) {
                row[n] = s / CHOICES;
                slot[n++] = s;
            }
        struct tensor mine = zeros(dev, DTYPE_BF16, n, WIDTH), gu = zeros(dev, DTYPE_BF16, n, 2 * INNER);
        struct tensor h = zeros(dev, DTYPE_BF16, n, INNER), back = zeros(dev, DTYPE_F32, n, WIDTH);
        op_gather_rows(&mine, x, row, n);
        op_linear(&gu, &mine, m->in[e], false);
        op_gated(&h, &gu, ACT_SILU);
        op_linear(&back, &h, m->out[e], false);
        op_combine(y, &back, &weight, slot, n);
        RELEASE(&mine, &gu, &h, &back);
    }
    RELEASE(&logits, &prob, &weight);
    free(expert);
    free(slot);
    free(row);
}

static void a_row_of_a_mixture_does_not_know_its_company(void **state)
{
    struct device *one = device(1), *two = device(2);
    struct mixture m[2];
    mixture_init(&m[0], one);
    mixture_init(&m[1], two);
    struct tensor x = randoms(two, DTYPE_BF16, 100, WIDTH, 1, 1), all = zeros(two, DTYPE_F32, 100, WIDTH), y = zeros(one, DTYPE_F32, 1, WIDTH);
    mixture_forward(&all, &m[1], &x);
    for (int r = 0; r < 100; r += 9) {
        struct tensor xr = tensor_rows(&x, r, 1), want = tensor_rows(&all, r, 1);
        struct tensor mine = clone(&xr);
        mine.dev = one;
        op_zero(&y);
        mixture_forward(&y, &m[0], &mine);
        same_bits(&y, &want, "a row of a mixture alone");
        tensor_release(&mine);
    }
    RELEASE(&x, &all, &y);
    mixture_release(&m[0]);
    mixture_release(&m[1]);
    device_close(one);
    device_close(two);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_likeliest_experts_are_chosen_and_their_weights_sum_to_one),
    cmocka_unit_test(the_routers_gradient_is_the_slope),
    cmocka_unit_test(rows_are_added_up_as_the_definition_says),
    cmocka_unit_test(combines_gradient_is_the_slope),
    cmocka_unit_test(a_row_of_a_mixture_does_not_know_its_company),
};

KIT_MAIN(tests)
