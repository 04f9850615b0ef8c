/* The layers of the model families: layer norm, norms by head, biases, activations, rotary positions of a part of a
 * head.  Against the definitions, those against finite differences, and row and thread invariance. */
#include "compute/tensors.h"

static const int widths[] = { 1, 7, 16, 17, 64, 100, 576 };

static double tolerance(enum dtype t)
{
    return t == DTYPE_F32 ? 3e-6 : 1.0 / 200;
}

/* ---- against the definitions ----------------------------------------------------------- */

static void check_layernorm(struct device *dev, int C, enum dtype to, bool biased)
{
    struct tensor x = randoms(dev, DTYPE_F32, 70, C, 2, 1), gain = randoms(dev, DTYPE_F32, 1, C, 1, 2);
    struct tensor bias = randoms(dev, DTYPE_F32, 1, C, 1, 3), *b = biased ? &bias : NULL;
    struct tensor y = zeros(dev, to, 70, C), y_want = clone(&y), stat = zeros(dev, DTYPE_F32, 70, 2), stat_want = clone(&stat);
    for (int r = 0; r < 70; r++)
        for (int c = 0; c < C; c++)
            t_set(&x, r, c, t_get(&x, r, c) + 3);       // a mean that matters
    op_layernorm(&y, &stat, &x, &gain, b, 1e-5f);
    define_layernorm(&y_want, &stat_want, &x, &gain, b, 1e-5f);
    close_to(&y, &y_want, 2 * tolerance(to), "layernorm");
    if (C > 1)      // one column has no variance, only the mean's rounding
        close_to(&stat, &stat_want, 3e-6, "mean and rstd");
    struct tensor dy = randoms(dev, to, 70, C, 1, 4), dx = randoms(dev, DTYPE_F32, 70, C, 1, 5), dx_want = clone(&dx);
    struct tensor dgain = randoms(dev, DTYPE_F32, 1, C, 1, 6), dgain_want = clone(&dgain), dbias = clone(&dgain), dbias_want = clone(&dgain);
    op_layernorm_backward(&dx, &dgain, &dbias, &dy, &x, &stat_want, &gain);
    define_layernorm_backward(&dx_want, &dgain_want, &dbias_want, &dy, &x, &stat_want, &gain);
    double allowed = C > 1 ? 1e-5 : 1e-4;   // the gradient is zero then, and rstd 1/sqrt(eps) times its rounding
    close_to(&dx, &dx_want, allowed, "layernorm backward");
    close_to(&dgain, &dgain_want, 1e-5, "gain's gradient");
    close_to(&dbias, &dbias_want, 1e-5, "bias's gradient");
    op_layernorm_backward(&dx, NULL, NULL, &dy, &x, &stat_want, &gain);
    define_layernorm_backward(&dx_want, NULL, NULL, &dy, &x, &stat_want, &gain);
    close_to(&dx, &dx_want, 2 * allowed, "layernorm backward, dx alone");
    RELEASE(&x, &gain, &bias, &y, &y_want, &stat, &stat_want, &dy, &dx, &dx_want, &dgain, &dgain_want, &dbias, &dbias_want);
}

static void check_head_norms(struct device *dev, int D, int heads, enum dtype from, enum dtype to)
{
    int C = heads * D;
    struct tensor x = randoms(dev, from, 70, C, 2, 1), gain = randoms(dev, DTYPE_F32, 1, D, 1, 2);
    struct tensor y = zeros(dev, to, 70, C), y_want = clone(&y), rstd = zeros(dev, DTYPE_F32, 70, heads), rstd_want = clone(&rstd);
    op_rmsnorm_heads(&y, &rstd, &x, &gain, heads, 1e-5f);
    define_rmsnorm_heads(&y_want, &rstd_want, &x, &gain, heads, 1e-5f);
    close_to(&y, &y_want, tolerance(to), "norms by head");
    close_to(&rstd, &rstd_want, 1e-6, "rstd");
    struct tensor dy = randoms(dev, to, 70, C, 1, 3), dx = randoms(dev, DTYPE_F32, 70, C, 1, 4), dx_want = clone(&dx);
    struct tensor dgain = randoms(dev, DTYPE_F32, 1, D, 1, 5), dgain_want = clone(&dgain);
    op_rmsnorm_heads_backward(&dx, &dgain, &dy, &x, &rstd_want, &gain, heads);
    define_rmsnorm_heads_backward(&dx_want, &dgain_want, &dy, &x, &rstd_want, &gain, heads);
    close_to(&dx, &dx_want, D > 1 ? 1e-5 : 1e-4, "norms by head, backward");     // almost zero with one column
    close_to(&dgain, &dgain_want, 1e-5, "gain's gradient");
    if (to == DTYPE_F32) {      // in place
        op_rmsnorm_heads_backward(&dy, NULL, &dy, &x, &rstd_want, &gain, heads);
        same_bits(&dy, &dx, "backward in place");
    }
    if (from == to) {
        op_rmsnorm_heads(&x, &rstd, &x, &gain, heads, 1e-5f);
        same_bits(&x, &y, "forward in place");
    }
    RELEASE(&x, &gain, &y, &y_want, &rstd, &rstd_want, &dy, &dx, &dx_want, &dgain, &dgain_want);
}

static void check_bias(struct device *dev, int C, enum dtype t)
{
    struct tensor y = randoms(dev, t, 150, C, 1, 1), want = clone(&y), bias = randoms(dev, DTYPE_F32, 1, C, 1, 2);
    struct tensor dbias = randoms(dev, DTYPE_F32, 1, C, 1, 3), dbias_want = clone(&dbias);
    op_bias(&y, &bias);
    define_bias(&want, &bias);
    same_bits(&y, &want, "bias");
    op_bias_backward(&dbias, &y);
    define_bias_backward(&dbias_want, &want);
    close_to(&dbias, &dbias_want, 1e-5, "bias's gradient");
    struct tensor sum = randoms(dev, DTYPE_F32, 150, C, 1, 4), was = clone(&sum);
    op_axpy(&sum, &y, 0.25f);
    for (int r = 0; r < 150; r++)
        for (int c = 0; c < C; c++)     // 0.25 is exact, so fused or not is the same
            assert_true(t_get(&sum, r, c) == t_get(&was, r, c) + 0.25f * t_get(&y, r, c));
    RELEASE(&y, &want, &bias, &dbias, &dbias_want, &sum, &was);
}

static void layers_agree_with_the_definition_on_every_instruction_set(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(isas); i++) {
        struct device *dev = device_with(isas[i], 2);
        for (size_t w = 0; w < ARRAY_LEN(widths); w++)
            for (enum dtype t = DTYPE_F32; t <= DTYPE_BF16; t++) {
                check_layernorm(dev, widths[w], t, w % 2);
                check_head_norms(dev, widths[w], 1, t, t);
                check_head_norms(dev, widths[w], 3, t, t);
                check_head_norms(dev, widths[w], 2, t, DTYPE_F32);
                check_bias(dev, widths[w], t);
            }
        device_close(dev);
    }
}

/* The functions themselves, over all of the range that matters, in steps that are no round numbers.  fp32 is within
 * 5e-7 of the value, or of 1e-2 where that is less (in the tails of GELU an exponent's rounding counts); slopes
 * within 2e-6, tanh within 3e-7 of its value. */
static void activations_are_accurate_everywhere(void **state)
{
    enum { N = 40000 };
    for (size_t i = 0; i < ARRAY_LEN(isas); i++) {
        struct device *dev = device_with(isas[i], 1);
        struct tensor x = zeros(dev, DTYPE_F32, 1, N), y = clone(&x), want = clone(&x), one = clone(&x);
        for (int c = 0; c < N; c++) {
            t_set(&x, 0, c, (float)((c - N / 2) * 1.0007e-3));
            t_set(&one, 0, c, 1);
        }
        for (enum activation act = ACT_SILU; act <= ACT_RELU; act++) {
            op_activate(&y, &x, act);
            define_activate(&want, &x, act);
            for (int c = 0; c < N; c++)
                if (!(fabs((double)t_get(&y, 0, c) - t_get(&want, 0, c)) <= 5e-7 * (1e-2 + fabs(t_get(&want, 0, c)))))
                    fail_msg("%s: activation %d of %g is %.9g, should be %.9g", isas[i], act, t_get(&x, 0, c), t_get(&y, 0, c),
                             t_get(&want, 0, c));
            op_activate_backward(&y, NULL, &one, &x, act);
            define_activate_backward(&want, &one, &x, act);
            for (int c = 0; c < N; c++)
                if (!(fabs((double)t_get(&y, 0, c) - t_get(&want, 0, c)) <= 2e-6))
                    fail_msg("%s: slope of activation %d at %g is %.9g, should be %.9g", isas[i], act, t_get(&x, 0, c),
                             t_get(&y, 0, c), t_get(&want, 0, c));
        }
        const struct logit_form cap = { 2, 1 };     // tanh(2 x)
        for (int c = 0; c < N; c++)
            t_set(&y, 0, c, t_get(&x, 0, c) * 0.1f);
        cpu_of(dev)->k->logit_form(t_f32(&y, 0), &cap, N);
        for (int c = 0; c < N; c++) {
            double right = tanh(2.0 * (t_get(&x, 0, c) * 0.1f));
            assert_true(fabs(t_get(&y, 0, c) - right) <= 3e-7 * fabs(right));
        }
        RELEASE(&x, &y, &want, &one);
        device_close(dev);
    }
}

/* ---- rotary positions -------------------------------------------------------------------- */

static void a_part_of_a_head_turns_and_the_rest_passes(void **state)
{
    enum { H = 3, D = 20, ROTARY = 12 };
    float inv_freq[ROTARY / 2];
    int position[10];
    for (int i = 0; i < ROTARY / 2; i++)
        inv_freq[i] = (float)pow(10000, -2.0 * i / ROTARY);
    for (int i = 0; i < 10; i++)
        position[i] = (i * 71) % 600;
    struct device *dev = device(2);
    struct rope rope = { .head_size = D, .rotary = ROTARY, .inv_freq = inv_freq, .factor = 1.25f };
    for (enum dtype t = DTYPE_F32; t <= DTYPE_BF16; t++) {
        struct tensor x = randoms(dev, t, 10, H * D, 1, 1), was = clone(&x), want = clone(&x);
        op_rope(&x, position, H, &rope, false);
        define_rope(&want, position, H, &rope, false);
        close_to(&x, &want, tolerance(t), "rope");
        for (int h = 0; h < H; h++) {
            struct tensor rest = tensor_cols(&x, h * D + ROTARY, D - ROTARY), kept = tensor_cols(&was, h * D + ROTARY, D - ROTARY);
            same_bits(&rest, &kept, "columns that do not turn");
        }
        RELEASE(&x, &was, &want);
    }
    struct tensor x = randoms(dev, DTYPE_F32, 10, H * D, 1, 1), y = randoms(dev, DTYPE_F32, 10, H * D, 1, 2), rx = clone(&x), ry = clone(&y);
    op_rope(&rx, position, H, &rope, false);
    op_rope(&ry, position, H, &rope, true);
    assert_true(fabs(dot_all(&rx, &y) - dot_all(&x, &ry)) < 1e-4);      // the transpose
    RELEASE(&x, &y, &rx, &ry);
    device_close(dev);
}

/* Layers may differ in frequencies, in more ways than tables are kept. */
static void frequencies_may_change_from_call_to_call(void **state)
{
    enum { KINDS = 7 };
    struct device *dev = device(1);
    for (int i = 0; i < 40; i++) {
        int kind = i * i % KINDS, half = kind % 2 ? 4 : 8, position[3] = { 5, 900 * (i % 3), 17 };
        float inv_freq[8];
        for (int j = 0; j < half; j++)
            inv_freq[j] = 1.0f / (float)(1 + j * (kind / 2 + 1));
        struct rope rope = { .head_size = 16, .rotary = 2 * half, .inv_freq = inv_freq, .factor = kind > 4 ? 0.5f : 1 };
        struct tensor x = randoms(dev, DTYPE_F32, 3, 32, 1, i), want = clone(&x);
        op_rope(&x, position, 2, &rope, false);
        define_rope(&want, position, 2, &rope, false);
        close_to(&x, &want, 3e-6, "rope");
        RELEASE(&x, &want);
    }
    device_close(dev);
}

/* ---- finite differences of the definitions ---------------------------------------------------- */

enum { ROWS = 3, COLS = 12 };
enum kind { LAYERNORM, HEADS, GATED, PLAIN };
struct fd { enum kind kind; enum activation act; struct tensor *y, *stat, *x, *gain, *bias, *dy; };

static double value(const struct fd *f)
{
    switch (f->kind) {
    case LAYERNORM: define_layernorm(f->y, f->stat, f->x, f->gain, f->bias, 1e-5f); break;
    case HEADS: define_rmsnorm_heads(f->y, f->stat, f->x, f->gain, 2, 1e-5f); break;
    case GATED: define_gated(f->y, f->x, f->act); break;
    case PLAIN: define_activate(f->y, f->x, f->act); break;
    }
    return dot_all(f->y, f->dy);
}

static void check_slopes(const struct fd *f, struct tensor *x, const struct tensor *dx)
{
    const float h = 1.0f / 128;
    for (int r = 0; r < x->rows; r++)
        for (int c = 0; c < x->cols; c++) {
            float keep = t_get(x, r, c);
            t_set(x, r, c, keep + h);
            double up = value(f);
            t_set(x, r, c, keep - h);
            double slope = (up - value(f)) / (2 * h);
            t_set(x, r, c, keep);
            bool kink = f->act == ACT_RELU && fabsf(keep) <= h;
            if (!kink && fabs(slope - t_get(dx, r, c)) > 2e-3 * (1 + fabs(slope)))
                fail_msg("kind %d, slope at %d,%d is %g, backward says %g", f->kind, r, c, slope, t_get(dx, r, c));
        }
}

static void backward_is_the_slope_of_forward(void **state)
{
    struct device *dev = device(1);
    struct tensor x = randoms(dev, DTYPE_F32, ROWS, COLS, 1, 1), gain = randoms(dev, DTYPE_F32, 1, COLS, 1, 2);
    struct tensor bias = randoms(dev, DTYPE_F32, 1, COLS, 1, 3), dy = randoms(dev, DTYPE_F32, ROWS, COLS, 1, 4);
    struct tensor y = zeros(dev, DTYPE_F32, ROWS, COLS), stat = zeros(dev, DTYPE_F32, ROWS, 2), dx = clone(&y);
    struct tensor dgain = zeros(dev, DTYPE_F32, 1, COLS), dbias = clone(&dgain);
    struct fd norm = { LAYERNORM, ACT_SILU, &y, &stat, &x, &gain, &bias, &dy };
    value(&norm);
    op_layernorm_backward(&dx, &dgain, &dbias, &dy, &x, &stat, &gain);
    check_slopes(&norm, &x, &dx);
    check_slopes(&norm, &gain, &dgain);
    check_slopes(&norm, &bias, &dbias);

    struct tensor half = tensor_cols(&gain, 0, COLS / 2), dhalf = zeros(dev, DTYPE_F32, 1, COLS / 2);
    struct fd heads = { HEADS, ACT_SILU, &y, &stat, &x, &half, NULL, &dy };
    value(&heads);
    op_rmsnorm_heads_backward(&dx, &dhalf, &dy, &x, &stat, &half, 2);
    check_slopes(&heads, &x, &dx);
    check_slopes(&heads, &half, &dhalf);

    struct tensor gu = randoms(dev, DTYPE_F32, ROWS, 2 * COLS, 1, 5), dgu = clone(&gu);
    for (enum activation act = ACT_SILU; act <= ACT_RELU; act++) {
        struct fd gate = { GATED, act, &y, NULL, &gu, NULL, NULL, &dy }, plain = { PLAIN, act, &y, NULL, &x, NULL, NULL, &dy };
        op_gated_backward(&dgu, NULL, &dy, &gu, act);
        check_slopes(&gate, &gu, &dgu);
        op_activate_backward(&dx, NULL, &dy, &x, act);
        check_slopes(&plain, &x, &dx);
    }
    RELEASE(&x, &gain, &bias, &dy, &y, &stat, &dx, &dgain, &dbias, &dhalf, &gu, &dgu);
    device_close(dev);
}

/* ---- invariance ----------------------------------------------------------------------------------- */

/* Every operation on x (n,C) F32 and u (n,C) of dtype t; results in y[0..5]. */
static void everything(struct tensor y[6], struct device *dev, const struct tensor *x, const struct tensor *u, int heads)
{
    int n = x->rows, C = x->cols;
    struct tensor gain = randoms(dev, DTYPE_F32, 1, C, 1, 2), head_gain = tensor_cols(&gain, 0, C / heads);
    struct tensor stat = zeros(dev, DTYPE_F32, n, 2), rstd = zeros(dev, DTYPE_F32, n, heads);
    for (int i = 0; i < 6; i++)
        y[i] = zeros(dev, i < 4 ? u->dtype : DTYPE_F32, n, C);
    op_layernorm(&y[0], &stat, x, &gain, &gain, 1e-6f);
    op_rmsnorm_heads(&y[1], &rstd, u, &head_gain, heads, 1e-6f);
    op_activate(&y[2], u, ACT_GELU);
    op_activate(&y[3], u, ACT_GELU_TANH);
    op_layernorm_backward(&y[4], NULL, NULL, u, x, &stat, &gain);
    op_rmsnorm_heads_backward(&y[5], NULL, u, u, &rstd, &head_gain, heads);
    RELEASE(&gain, &stat, &rstd);
}

static void a_row_does_not_know_its_company(void **state)
{
    struct device *one = device(1), *two = device(2);
    for (size_t w = 0; w < ARRAY_LEN(widths); w++)
        for (enum dtype t = DTYPE_F32; t <= DTYPE_BF16; t++) {
            int C = 3 * widths[w];
            struct tensor x = randoms(two, DTYPE_F32, 130, C, 2, 1), u = randoms(two, t, 130, C, 2, 3), all[6], alone[6];
            struct tensor wide = zeros(one, DTYPE_F32, 1, C + 5), place = tensor_cols(&wide, 5, C);
            everything(all, two, &x, &u, 3);
            for (int r = 0; r < 130; r += 43) {
                struct tensor xr = tensor_rows(&x, r, 1), ur = tensor_rows(&u, r, 1);
                op_copy(&place, &xr);
                everything(alone, one, &place, &ur, 3);
                for (int i = 0; i < 6; i++) {
                    struct tensor mine = tensor_rows(&all[i], r, 1);
                    same_bits(&alone[i], &mine, "a row alone");
                    tensor_release(&alone[i]);
                }
            }
            for (int i = 0; i < 6; i++)
                tensor_release(&all[i]);
            RELEASE(&x, &u, &wide);
        }
    device_close(one);
    device_close(two);
}

static void sums_over_rows_do_not_know_the_threads(void **state)
{
    uint64_t hash[3];
    for (int threads = 1; threads <= 3; threads++) {
        struct device *dev = device(threads);
        struct tensor x = randoms(dev, DTYPE_F32, 500, 200, 1, 1), dy = randoms(dev, DTYPE_F32, 500, 200, 1, 2), dx = zeros(dev, DTYPE_F32, 500, 200);
        struct tensor gain = randoms(dev, DTYPE_F32, 1, 200, 1, 3), dgain = zeros(dev, DTYPE_F32, 1, 200), dbias = clone(&dgain), sum = clone(&dgain);
        struct tensor head = tensor_cols(&gain, 0, 50), dhead = zeros(dev, DTYPE_F32, 1, 50);
        struct tensor stat = zeros(dev, DTYPE_F32, 500, 2), rstd = zeros(dev, DTYPE_F32, 500, 4), y = clone(&x);
        op_layernorm(&y, &stat, &x, &gain, NULL, 1e-6f);
        op_layernorm_backward(&dx, &dgain, &dbias, &dy, &x, &stat, &gain);
        op_rmsnorm_heads(&y, &rstd, &x, &head, 4, 1e-6f);
        op_rmsnorm_heads_backward(&dx, &dhead, &dx, &x, &rstd, &head, 4);
        op_bias_backward(&sum, &dy);
        same_bits(&sum, &dbias, "a bias's gradient, either way");
        hash[threads - 1] = tensor_hash(&dx) + 3 * tensor_hash(&dgain) + 5 * tensor_hash(&dbias) + 7 * tensor_hash(&dhead);
        RELEASE(&x, &dy, &dx, &gain, &dgain, &dbias, &sum, &dhead, &stat, &rstd, &y);
        device_close(dev);
    }
    assert_true(hash[0] == hash[1] && hash[0] == hash[2]);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(layers_agree_with_the_definition_on_every_instruction_set),
    cmocka_unit_test(activations_are_accurate_everywhere),
    cmocka_unit_test(a_part_of_a_head_turns_and_the_rest_passes),
    cmocka_unit_test(frequencies_may_change_from_call_to_call),
    cmocka_unit_test(backward_is_the_slope_of_forward),
    cmocka_unit_test(a_row_does_not_know_its_company),
    cmocka_unit_test(sums_over_rows_do_not_know_the_threads),
};

KIT_MAIN(tests)
