/* Everything that works row by row: against the definitions, backward against finite differences, row and thread
 * invariance, and bf16. */
#include <math.h>

#include "compute/tensors.h"

static const int widths[] = { 1, 7, 16, 17, 64, 100, 128, 576 };
/* fp32 results differ by a few roundings, sums by a few dozen; bf16 results by one rounding. */
static double tolerance(enum dtype t)
{
    return t == DTYPE_F32 ? 3e-6 : 1.0 / 200;
}

static void check_rmsnorm(struct device *dev, int C, enum dtype to)
{
    struct tensor x = randoms(dev, DTYPE_F32, 70, C, 2, 1), gain = randoms(dev, DTYPE_F32, 1, C, 1, 2);
    struct tensor y = zeros(dev, to, 70, C), y_want = clone(&y), rstd = zeros(dev, DTYPE_F32, 70, 1), rstd_want = clone(&rstd);
    op_rmsnorm(&y, &rstd, &x, &gain, 1e-5f);
    define_rmsnorm(&y_want, &rstd_want, &x, &gain, 1e-5f);
    close_to(&y, &y_want, tolerance(to), "rmsnorm");
    close_to(&rstd, &rstd_want, 1e-6, "rstd");
    struct tensor dy = randoms(dev, to, 70, C, 1, 3), dx = randoms(dev, DTYPE_F32, 70, C, 1, 4), dx_want = clone(&dx);
    struct tensor dgain = randoms(dev, DTYPE_F32, 1, C, 1, 5), dgain_want = clone(&dgain);
    op_rmsnorm_backward(&dx, &dgain, &dy, &x, &rstd_want, &gain);
    define_rmsnorm_backward(&dx_want, &dgain_want, &dy, &x, &rstd_want, &gain);
    close_to(&dx, &dx_want, 1e-5, "rmsnorm backward");
    close_to(&dgain, &dgain_want, 1e-5, "gain's gradient");
    RELEASE(&x, &gain, &y, &y_want, &rstd, &rstd_want, &dy, &dx, &dx_want, &dgain, &dgain_want);
}

static void check_activations(struct device *dev, int F, enum dtype t)
{
    for (enum activation act = ACT_SILU; act <= ACT_RELU; act++) {
        struct tensor gu = randoms(dev, t, 20, 2 * F, 4, 1), h = zeros(dev, t, 20, F), h_want = clone(&h);
        op_gated(&h, &gu, act);
        define_gated(&h_want, &gu, act);
        close_to(&h, &h_want, tolerance(t), "gated");
        struct tensor dh = randoms(dev, t, 20, F, 1, 2), dgu = zeros(dev, t, 20, 2 * F), dgu_want = clone(&dgu);
        struct tensor again = zeros(dev, t, 20, F);
        op_gated_backward(&dgu, &again, &dh, &gu, act);
        same_bits(&again, &h, "gated again in backward");
        define_gated_backward(&dgu_want, &dh, &gu, act);
        close_to(&dgu, &dgu_want, tolerance(t), "gated backward");
        struct tensor u = tensor_cols(&gu, F, F), du = tensor_cols(&dgu, 0, F), du_want = tensor_cols(&dgu_want, 0, F);
        op_activate(&h, &u, act);
        define_activate(&h_want, &u, act);
        close_to(&h, &h_want, tolerance(t), "activation");
        op_activate_backward(&du, &again, &dh, &u, act);
        same_bits(&again, &h, "activation again in backward");
        define_activate_backward(&du_want, &dh, &u, act);
        close_to(&du, &du_want, tolerance(t), "activation backward");
        RELEASE(&gu, &h, &h_want, &dh, &dgu, &dgu_want, &again);
    }
}

static void check_rope(struct device *dev, int half, enum dtype t)
{
    float inv_freq[600];
    int position[10];
    for (int i = 0; i < half; i++)
        inv_freq[i] = (float)pow(10000, -(double)i / half);
    for (int i = 0; i < 10; i++)
        position[i] = (i * 71) % 600;
    struct tensor x = randoms(dev, t, 10, 3 * 2 * half, 1, 1), want = clone(&x), start = clone(&x);
    struct rope rope = { .head_size = 2 * half, .rotary = 2 * half, .inv_freq = inv_freq, .factor = 1 };
    op_rope(&x, position, 3, &rope, false);
    define_rope(&want, position, 3, &rope, false);
    close_to(&x, &want, tolerance(t), "rope");
    op_rope(&x, position, 3, &rope, true);
    close_to(&x, &start, 2 * tolerance(t), "rope there and back");
    RELEASE(&x, &want, &start);
}

static void check_elementwise(struct device *dev, int C, enum dtype t)
{
    struct tensor a = randoms(dev, DTYPE_F32, 9, C, 1, 1), b = randoms(dev, t, 9, C, 1, 2), sum = clone(&a);
    op_add(&sum, &b);
    op_scale(&sum, -2);
    for (int r = 0; r < 9; r++)
        for (int c = 0; c < C; c++)
            assert_true(t_get(&sum, r, c) == -2 * (t_get(&a, r, c) + t_get(&b, r, c)));
    double got = op_sumsq(&sum), want = define_sumsq(&sum);
    assert_true(fabs(got - want) <= 1e-12 * want);
    struct tensor copy = zeros(dev, t, 9, C), back = zeros(dev, DTYPE_F32, 9, C);
    op_copy(&copy, &a);
    op_copy(&back, &copy);
    for (int r = 0; r < 9; r++)
        for (int c = 0; c < C; c++)
            assert_true(t_get(&back, r, c) == (t == DTYPE_F32 ? t_get(&a, r, c) : bf16_to_float(bf16_from_float(t_get(&a, r, c)))));
    op_zero(&back);
    assert_true(op_sumsq(&back) == 0);
    RELEASE(&a, &b, &sum, &copy, &back);
}

static void check_adamw(struct device *dev, int C)
{
    struct tensor p = randoms(dev, DTYPE_F32, 5, C, 1, 1), m = randoms(dev, DTYPE_F32, 5, C, 1, 2), v = randoms(dev, DTYPE_F32, 5, C, 1, 3);
    struct tensor g = randoms(dev, DTYPE_F32, 5, C, 1, 4);
    for (int r = 0; r < 5; r++)
        for (int c = 0; c < C; c++)
            t_set(&v, r, c, fabsf(t_get(&v, r, c)));
    struct tensor pw = clone(&p), mw = clone(&m), vw = clone(&v);
    struct adamw h = { .lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .weight_decay = 0.1f, .scale = 0.5f, .step = 3 };
    op_adamw(&p, &m, &v, &g, &h);
    define_adamw(&pw, &mw, &vw, &g, &h);
    close_to(&p, &pw, 1e-6, "adamw");
    close_to(&m, &mw, 1e-6, "first moment");
    close_to(&v, &vw, 1e-6, "second moment");
    RELEASE(&p, &m, &v, &g, &pw, &mw, &vw);
}

/* From the same state, step by step: a code may be the next one where fused sums differ in their last bit. */
static void check_adamw8(struct device *dev, int C)
{
    size_t n = 5 * (size_t)C, bytes = moments8_bytes(n), apart = 0;
    struct tensor p = randoms(dev, DTYPE_F32, 5, C, 1, 1), pw = clone(&p);
    struct moments8 *m = moments8_new(dev, n), *mw = moments8_new(dev, n);
    unsigned char *a = test_malloc(bytes), *b = test_malloc(bytes);
    struct adamw h = { .lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .weight_decay = 0.1f, .scale = 0.5f };
    for (h.step = 1; h.step < 8; h.step++) {
        struct tensor g = randoms(dev, DTYPE_F32, 5, C, 1, 10 + (int)h.step);
        for (int r = 0; r < 5; r++)
            for (int c = 0; c < C; c++)
                t_set(&g, r, c, t_get(&g, r, c) * powf(10, (float)-(c % 7)));
        moments8_read(a, m);
        moments8_write(mw, a);
        op_copy(&pw, &p);
        op_adamw8(&p, m, &g, &h);
        define_adamw8(&pw, mw, &g, &h);
        close_to(&p, &pw, 1e-5, "adamw of 8 bits");
        moments8_read(a, m);
        moments8_read(b, mw);
        for (size_t i = 0; i < 2 * n; i++) {
            assert_true(abs(a[i] - b[i]) <= 1);
            apart += a[i] != b[i];
        }
        RELEASE(&g);
    }
    assert_true((double)apart <= 2 + 1e-3 * 14 * (double)n);
    assert_true(bytes < 2 * n + 8 * (n / MOMENT_BLOCK + 1) + 4);
    test_free(a);
    test_free(b);
    moments8_free(m);
    moments8_free(mw);
    RELEASE(&p, &pw);
}

/* What 8 bits keep of moments after many steps, against fp32, over gradients of very different sizes. */
static void moments_of_8_bits_follow_those_of_32(void **state)
{
    enum { C = 512, STEPS = 400 };
    struct device *dev = device(1);
    struct tensor p = zeros(dev, DTYPE_F32, 1, C), pw = clone(&p), m = clone(&p), v = clone(&p);
    struct moments8 *packed = moments8_new(dev, C);
    struct adamw h = { .lr = 1e-3f, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f, .scale = 1 };
    for (h.step = 1; h.step <= STEPS; h.step++) {
        struct tensor g = randoms(dev, DTYPE_F32, 1, C, 1, (int)h.step);
        // the size of gradients falls by ten on the way: averages have to come down with it
        for (int c = 0; c < C; c++)
            t_set(&g, 0, c, (t_get(&g, 0, c) + 0.3f) * powf(10, (float)-(c % 4) - (h.step > STEPS / 2)));
        op_adamw8(&p, packed, &g, &h);
        op_adamw(&pw, &m, &v, &g, &h);
        RELEASE(&g);
    }
    double diff = 0, size = 0;
    for (int c = 0; c < C; c++) {
        diff += pow((double)t_get(&p, 0, c) - t_get(&pw, 0, c), 2);
        size += pow(t_get(&pw, 0, c), 2);
    }
    if (!(sqrt(diff / size) < 0.08))     // rounding v by chance leaves a noise of some 20 % in it
        fail_msg("weights are %g apart", sqrt(diff / size));
    moments8_free(packed);
    RELEASE(&p, &pw, &m, &v);
    device_close(dev);
}

static void rows_agree_with_the_definition_on_every_instruction_set(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(isas); i++) {
        struct device *dev = device_with(isas[i], 2);
        for (size_t w = 0; w < ARRAY_LEN(widths); w++)
            for (enum dtype t = DTYPE_F32; t <= DTYPE_BF16; t++) {
                check_rmsnorm(dev, widths[w], t);
                check_activations(dev, widths[w], t);
                check_rope(dev, widths[w], t);
                check_elementwise(dev, widths[w], t);
                check_adamw(dev, widths[w]);
                check_adamw8(dev, widths[w]);
            }
        device_close(dev);
    }
}

/* One row alone, in an unaligned place, against the same row in a batch with two threads. */
static void a_row_does_not_know_its_company(void **state)
{
    struct device *one = device(1), *two = device(2);
    for (size_t w = 0; w < ARRAY_LEN(widths); w++)
        for (enum dtype t = DTYPE_F32; t <= DTYPE_BF16; t++) {
            int C = widths[w];
            struct tensor x = randoms(two, DTYPE_F32, 300, C, 2, 1), gain = randoms(two, DTYPE_F32, 1, C, 1, 2);
            struct tensor y = zeros(two, t, 300, C), rstd = zeros(two, DTYPE_F32, 300, 1);
            struct tensor gu = randoms(two, t, 300, 2 * C, 2, 3), h = zeros(two, t, 300, C);
            struct tensor wide = zeros(one, DTYPE_F32, 1, C + 5), place = tensor_cols(&wide, 5, C);
            struct tensor y1 = zeros(one, t, 1, C), r1 = zeros(one, DTYPE_F32, 1, 1), h1 = zeros(one, t, 1, C);
            op_rmsnorm(&y, &rstd, &x, &gain, 1e-6f);
            op_gated(&h, &gu, ACT_SILU);
            for (int r = 0; r < 300; r += 37) {
                struct tensor xr = tensor_rows(&x, r, 1), yr = tensor_rows(&y, r, 1), gr = tensor_rows(&gu, r, 1), hr = tensor_rows(&h, r, 1);
                op_copy(&place, &xr);
                op_rmsnorm(&y1, &r1, &place, &gain, 1e-6f);
                same_bits(&y1, &yr, "rmsnorm alone");
                op_gated(&h1, &gr, ACT_SILU);
                same_bits(&h1, &hr, "silu(gate) * up alone");
            }
            RELEASE(&x, &gain, &y, &rstd, &gu, &h, &wide, &y1, &r1, &h1);
        }
    device_close(one);
    device_close(two);
}

static void sums_over_rows_do_not_know_the_threads(void **state)
{
    uint64_t hash[3];
    double squares[3];
    for (int threads = 1; threads <= 3; threads++) {
        struct device *dev = device(threads);
        int ids[500];
        for (int i = 0; i < 500; i++)
            ids[i] = (i * i) % 11;
        struct tensor x = randoms(dev, DTYPE_F32, 500, 200, 1, 1), dy = randoms(dev, DTYPE_F32, 500, 200, 1, 2), dx = zeros(dev, DTYPE_F32, 500, 200);
        struct tensor gain = randoms(dev, DTYPE_F32, 1, 200, 1, 3), dgain = zeros(dev, DTYPE_F32, 1, 200), rstd = zeros(dev, DTYPE_F32, 500, 1);
        struct tensor y = clone(&x), table = zeros(dev, DTYPE_F32, 11, 200);
        op_rmsnorm(&y, &rstd, &x, &gain, 1e-6f);
        op_rmsnorm_backward(&dx, &dgain, &dy, &x, &rstd, &gain);
        op_embed_backward(&table, &dx, ids);
        hash[threads - 1] = tensor_hash(&dx) + 3 * tensor_hash(&dgain) + 5 * tensor_hash(&table);
        squares[threads - 1] = op_sumsq(&x);
        RELEASE(&x, &dy, &dx, &gain, &dgain, &rstd, &y, &table);
        device_close(dev);
    }
    assert_true(hash[0] == hash[1] && hash[0] == hash[2]);
    assert_true(squares[0] == squares[1] && squares[0] == squares[2]);
}

/* ---- finite differences of the definitions -------------------------------------------- */

enum { FD_ROWS = 3, FD_COLS = 12 };

struct fd { struct tensor *y, *rstd, *x, *gain, *dy; bool gated; };

static double fd_value(const struct fd *f)
{
    if (f->gated)
        define_gated(f->y, f->x, ACT_SILU);
    else
        define_rmsnorm(f->y, f->rstd, f->x, f->gain, 1e-5f);
    return dot_all(f->y, f->dy);
}

static void check_slopes(const struct fd *f, struct tensor *x, const struct tensor *dx)
{
    const float h = 1.0f / 128;
    for (int r = 0; r < x->rows; r++)
        for (int c = 0; c < x->cols; c++) {
            float keep = t_get(x, r, c);
            t_set(x, r, c, keep + h);
            double up = fd_value(f);
            t_set(x, r, c, keep - h);
            double slope = (up - fd_value(f)) / (2 * h);
            t_set(x, r, c, keep);
            if (fabs(slope - t_get(dx, r, c)) > 1e-3 * (1 + fabs(slope)))
                fail_msg("slope at %d,%d is %g, backward says %g", r, c, slope, t_get(dx, r, c));
        }
}

static void backward_is_the_slope_of_forward(void **state)
{
    struct device *dev = device(1);
    struct tensor x = randoms(dev, DTYPE_F32, FD_ROWS, FD_COLS, 1, 1), gain = randoms(dev, DTYPE_F32, 1, FD_COLS, 1, 2);
    struct tensor y = zeros(dev, DTYPE_F32, FD_ROWS, FD_COLS), rstd = zeros(dev, DTYPE_F32, FD_ROWS, 1), dy = randoms(dev, DTYPE_F32, FD_ROWS, FD_COLS, 1, 3);
    struct tensor dx = zeros(dev, DTYPE_F32, FD_ROWS, FD_COLS), dgain = zeros(dev, DTYPE_F32, 1, FD_COLS);
    struct fd norm = { &y, &rstd, &x, &gain, &dy, false };
    fd_value(&norm);
    op_rmsnorm_backward(&dx, &dgain, &dy, &x, &rstd, &gain);
    check_slopes(&norm, &x, &dx);
    check_slopes(&norm, &gain, &dgain);
    struct tensor gu = randoms(dev, DTYPE_F32, FD_ROWS, 2 * FD_COLS, 1, 4), dgu = clone(&gu);
    struct fd gate = { &y, NULL, &gu, NULL, &dy, true };
    op_gated_backward(&dgu, NULL, &dy, &gu, ACT_SILU);
    check_slopes(&gate, &gu, &dgu);
    RELEASE(&x, &gain, &y, &rstd, &dy, &dx, &dgain, &gu, &dgu);
    device_close(dev);
}

/* ---- bf16, embedding, numbers at the edge ---------------------------------------------- */

/* All 65,536 values there and back; and every rounding of the floats between neighbours, against long arithmetic. */
static void bf16_conversion_is_exact_and_rounds_to_even(void **state)
{
    struct device *dev = device(1);
    const struct kernels *k = cpu_of(dev)->k;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = bf16_to_float((uint16_t)h), wide[1] = { f };
        uint16_t back = bf16_from_float(f), fast;
        k->convert(&fast, DTYPE_BF16, wide, DTYPE_F32, 1);
        assert_int_equal(back, fast);
        if (isnan(f))
            assert_true(isnan(bf16_to_float(back)));
        else
            assert_int_equal(back, h);
    }
    static const uint32_t low[] = { 0, 1, 0x7fff, 0x8000, 0x8001, 0xffff };
    for (uint32_t h = 0; h < 65536; h++)
        for (size_t i = 0; i < ARRAY_LEN(low); i++) {
            uint32_t u = h << 16 | low[i], up = low[i] > 0x8000 || (low[i] == 0x8000 && (h & 1));
            float f;
            uint16_t fast;
            memcpy(&f, &u, sizeof f);
            k->convert(&fast, DTYPE_BF16, &f, DTYPE_F32, 1);
            assert_int_equal(fast, bf16_from_float(f));
            if (isnan(f))
                assert_true(isnan(bf16_to_float(fast)));
            else
                assert_int_equal(fast, (uint16_t)(h + up));
        }
    device_close(dev);
}

static void embedding_looks_up_and_adds_back(void **state)
{
    struct device *dev = device(2);
    static const int ids[] = { 3, 0, 3, 4 };
    struct tensor table = randoms(dev, DTYPE_BF16, 5, 70, 1, 1), x = zeros(dev, DTYPE_F32, 4, 70), want = clone(&x);
    op_embed(&x, &table, ids);
    define_embed(&want, &table, ids);
    same_bits(&x, &want, "embed");
    struct tensor d = randoms(dev, DTYPE_F32, 5, 70, 1, 2), d_want = clone(&d);
    op_embed_backward(&d, &x, ids);
    define_embed_backward(&d_want, &x, ids);
    same_bits(&d, &d_want, "embed backward");
    RELEASE(&table, &x, &want, &d, &d_want);
    device_close(dev);
}

static void rows_are_gathered_and_scattered(void **state)
{
    struct device *dev = device(2);
    static const int rows[] = { 6, 1, 1 }, slots[] = { 8, 0, 3 };
    struct tensor a = randoms(dev, DTYPE_BF16, 7, 33, 1, 1), b = zeros(dev, DTYPE_BF16, 3, 33), c = zeros(dev, DTYPE_BF16, 9, 33);
    op_gather_rows(&b, &a, rows, 3);
    op_scatter_rows(&c, &b, slots);
    for (int i = 0; i < 3; i++) {
        struct tensor from = tensor_rows(&a, rows[i], 1), to = tensor_rows(&c, slots[i], 1);
        same_bits(&to, &from, "scattered row");
    }
    RELEASE(&a, &b, &c);
    device_close(dev);
}

static void the_exponential_is_exact_to_two_units(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(isas); i++) {
        struct device *dev = device_with(isas[i], 1);
        const struct kernels *k = cpu_of(dev)->k;
        for (double x = -87; x < 88; x += 0.0137) {
            float in = (float)x, out;
            k->exponential(&out, &in, 1);
            double want = exp(in);
            if (fabs(out - want) > 2.5e-7 * want)
                fail_msg("%s: exp(%.9g) = %.9g, should be %.9g", k->name, in, out, want);
        }
        static const float edge[] = { -100, -INFINITY, 89, INFINITY, NAN };
        float out[5];
        k->exponential(out, edge, 5);     // saturates at e^88
        assert_true(out[0] == 0 && out[1] == 0 && out[2] > 1e38f && out[3] == out[2] && isnan(out[4]));
        device_close(dev);
    }
}

static void nan_and_infinity_are_seen(void **state)
{
    struct device *dev = device(1);
    for (enum dtype t = DTYPE_F32; t <= DTYPE_BF16; t++)
        for (int bad = 0; bad < 3; bad++) {
            struct tensor x = randoms(dev, t, 4, 37, 1, 1);
            assert_true(cpu_finite(&x));
            t_set(&x, 2, 36, bad == 0 ? NAN : bad == 1 ? INFINITY : -INFINITY);
            assert_false(cpu_finite(&x));
            RELEASE(&x);
        }
    device_close(dev);
}

static void hosts_read_what_they_wrote(void **state)
{
    struct device *dev = device(2);
    float in[6] = { 1, 2.5f, -3, 1e-8f, 1e30f, 7 }, out[6];
    uint16_t half[6];
    struct tensor t = zeros(dev, DTYPE_F32, 3, 3), b = zeros(dev, DTYPE_BF16, 3, 3);
    tensor_write(&t, 1, 2, in);
    tensor_read(out, &t, 1, 2);
    assert_memory_equal(in, out, sizeof in);
    tensor_read_bf16(half, &t, 1, 2);
    tensor_write_bf16(&b, 0, 2, half);
    for (int i = 0; i < 6; i++)
        assert_true(t_get(&b, i / 3, i % 3) == bf16_to_float(bf16_from_float(in[i])));
    uint64_t before = tensor_hash(&b);
    t_set(&b, 2, 2, 1);
    assert_true(tensor_hash(&b) != before);
    RELEASE(&t, &b);
    device_close(dev);
}

static void rates_are_measured(void **state)
{
    struct device *dev = device(1);
    assert_true(device_peak(dev, DTYPE_BF16) > 1e9 && device_bandwidth(dev, false) > 1e8 && device_bandwidth(dev, true) > 1e8);
    assert_true(device_peak(dev, DTYPE_BF16) == device_peak(dev, DTYPE_BF16));
    assert_non_null(strstr(device_describe(dev), "1 thread,"));
    device_close(dev);
}

static void unknown_devices_and_impossible_sizes_are_errors(void **state)
{
    struct device *dev;
    struct err err = { 0 };
    struct tensor t;
    assert_int_equal(device_open(&dev, "gpu", 1, &err), ERR_UNSUPPORTED);
    kit_contains(err.msg, "gpu");
    dev = device(1);
    assert_int_equal(tensor_new(&t, dev, DTYPE_F32, -1, 5, &err), ERR_VALUE);
    assert_int_equal(tensor_new(&t, dev, DTYPE_F32, 2000000000, 2000000000, &err), ERR_MEMORY);
    kit_contains(err.msg, "2000000000");
    device_close(dev);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(rows_agree_with_the_definition_on_every_instruction_set),
    cmocka_unit_test(moments_of_8_bits_follow_those_of_32),
    cmocka_unit_test(a_row_does_not_know_its_company),
    cmocka_unit_test(sums_over_rows_do_not_know_the_threads),
    cmocka_unit_test(backward_is_the_slope_of_forward),
    cmocka_unit_test(bf16_conversion_is_exact_and_rounds_to_even),
    cmocka_unit_test(embedding_looks_up_and_adds_back),
    cmocka_unit_test(rows_are_gathered_and_scattered),
    cmocka_unit_test(the_exponential_is_exact_to_two_units),
    cmocka_unit_test(nan_and_infinity_are_seen),
    cmocka_unit_test(hosts_read_what_they_wrote),
    cmocka_unit_test(rates_are_measured),
    cmocka_unit_test(unknown_devices_and_impossible_sizes_are_errors),
};

KIT_MAIN(tests)
