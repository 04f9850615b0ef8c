/* Weights in llama.cpp's blocks: products against dequantise-then-multiply, instruction sets against each other, and a
 * row's bits in any company.  That blocks are read as files mean them is tests/model/test_quantised.c. */
#include "compute/cpu/quant.h"
#include "compute/tensors.h"

static const char *const names[QUANT_TYPES] = { "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K" };
static const int halves_at[QUANT_TYPES][2] = { { 0, -1 }, { 0, -1 }, { 0, 2 }, { 0, -1 }, { 0, 2 }, { 0, 2 }, { 0, 2 }, { 208, -1 } };

/* Any bytes are quants; the fp16 scales are between 2^-7 and 2^-6 (0x2000 .. 0x23ff). */
static unsigned char *random_blocks(enum quant t, int rows, int in, int item)
{
    size_t step = quant_bytes(t), n = (size_t)rows * (size_t)(in / quant_values(t));
    unsigned char *p = malloc(n * step);
    struct rng r;
    rng_init(&r, 7, RNG_TEST, (uint64_t)item, (uint32_t)t);
    for (size_t i = 0; i < n * step; i++)
        p[i] = (unsigned char)rng_u32(&r);
    for (size_t i = 0; i < n; i++)
        for (int h = 0; h < 2; h++)
            if (halves_at[t][h] >= 0)
                p[i * step + (size_t)halves_at[t][h] + 1] = (unsigned char)(0x20 | (rng_u32(&r) & 3));
    return p;
}

enum { PARTS = 3 };
struct blocks { struct quant_rows part[PARTS]; unsigned char *data[PARTS]; const unsigned char **row[PARTS]; int n, rows; };

static void blocks_make(struct blocks *b, const enum quant *type, const int *rows, int n, int in)
{
    *b = (struct blocks){ .n = n };
    for (int i = 0; i < n; i++) {
        size_t bytes = quant_bytes(type[i]) * (size_t)(in / quant_values(type[i]));
        b->data[i] = random_blocks(type[i], rows[i], in, i + 1);
        b->row[i] = malloc((size_t)rows[i] * sizeof *b->row[i]);
        for (int r = 0; r < rows[i]; r++)
            b->row[i][r] = b->data[i] + (size_t)r * bytes;
        b->part[i] = (struct quant_rows){ type[i], rows[i], b->row[i] };
        b->rows += rows[i];
    }
}

static void blocks_free(struct blocks *b)
{
    for (int i = 0; i < b->n; i++) {
        free(b->data[i]);
        free((void *)b->row[i]);
    }
}

static struct weight *weight_of(struct device *dev, const struct blocks *b, int in, enum dtype dtype)
{
    struct weight *w = NULL;
    struct quant_fault fault;
    assert_int_equal(weight_new_quantised(&w, dev, in, dtype, b->part, b->n, &fault), 0);
    assert_true(weight_is_quantised(w));
    assert_int_equal(weight_out(w), b->rows);
    return w;
}

static struct tensor values_of(struct device *dev, const struct weight *w)
{
    struct tensor t = zeros(dev, DTYPE_F32, weight_out(w), weight_in(w));
    for (int r = 0; r < t.rows; r++)
        weight_row(t_f32(&t, r), w, r);
    return t;
}

/* Of each sum: how far it may be from the definition.  Rounding x errs by at most half a step per value, a step being 1/127
 * of the largest of 32: uniformly spread, 0.29 steps; times the norm of the weight's column, times 6 for the worst of thousands. */
static void near_definition(const struct tensor *got, const struct tensor *want, const struct tensor *x, const struct tensor *values,
                            const char *what)
{
    for (int r = 0; r < got->rows; r++)
        for (int c = 0; c < got->cols; c++) {
            double sum = 0;
            for (int b = 0; b < x->cols; b += 32) {
                double most = 0, norm = 0;
                for (int k = b; k < b + 32; k++) {
                    most = fmax(most, fabs((double)t_get(x, r, k)));
                    norm += (double)t_get(values, c, k) * t_get(values, c, k);
                }
                sum += most * most / 127 / 127 / 12 * norm;
            }
            double a = t_get(got, r, c), w = t_get(want, r, c), allowed = 6 * sqrt(sum) + fabs(w) / 200;
            if (!(fabs(a - w) <= allowed))
                fail_msg("%s: [%d, %d] is %g, by the definition %g, allowed %g", what, r, c, a, w, allowed);
        }
}

static void check_type(struct device *dev, enum quant t, int rows, int out, int in, enum dtype dtype, enum dtype to, bool accumulate)
{
    struct blocks b;
    blocks_make(&b, &t, &out, 1, in);
    struct weight *w = weight_of(dev, &b, in, dtype);
    struct tensor values = values_of(dev, w), x = randoms(dev, dtype, rows, in, 1, 2), y = randoms(dev, to, rows, out, 1, 3), want = clone(&y);
    define_linear(&want, &x, &values, accumulate);
    op_linear(&y, &x, w, accumulate);
    near_definition(&y, &want, &x, &values, names[t]);
    struct tensor dy = randoms(dev, dtype, rows, out, 1, 4), dx = randoms(dev, to, rows, in, 1, 5), dwant = clone(&dx);
    define_linear_backward_x(&dwant, &dy, &values, accumulate);
    op_linear_backward_x(&dx, &dy, w, accumulate);
    close_to(&dx, &dwant, dtype == DTYPE_BF16 ? 0.01 : 1e-5, names[t]);
    weight_free(w);
    blocks_free(&b);
    RELEASE(&values, &x, &y, &want, &dy, &dx, &dwant);
}

static void products_are_near_the_definition(void **state)
{
    struct device *dev = device(2);
    for (enum quant t = 0; t < QUANT_TYPES; t++) {
        check_type(dev, t, 3, 40, 256, DTYPE_BF16, DTYPE_F32, true);
        check_type(dev, t, 70, 17, 512, DTYPE_BF16, DTYPE_BF16, t % 2);
        check_type(dev, t, 1, 100, 768, DTYPE_F32, DTYPE_F32, false);
    }
    check_type(dev, QUANT_Q8_0, 5, 20, 96, DTYPE_BF16, DTYPE_F32, false);
    check_type(dev, QUANT_Q4_1, 5, 20, 32, DTYPE_F32, DTYPE_F32, true);
    device_close(dev);
}

/* Integers are exact, and the three differ only by fused additions: a few roundings of a sum of in / 32 terms. */
static void instruction_sets_agree(void **state)
{
    for (enum quant t = 0; t < QUANT_TYPES; t++) {
        struct tensor y[ARRAY_LEN(isas)];
        struct device *dev[ARRAY_LEN(isas)];
        for (size_t i = 0; i < ARRAY_LEN(isas); i++) {
            struct blocks b;
            int out = 50;
            dev[i] = device_with(isas[i], 1);
            blocks_make(&b, &t, &out, 1, 768);
            struct weight *w = weight_of(dev[i], &b, 768, DTYPE_F32);
            struct tensor x = randoms(dev[i], DTYPE_F32, 9, 768, 1, 2);
            y[i] = zeros(dev[i], DTYPE_F32, 9, out);
            op_linear(&y[i], &x, w, false);
            close_to(&y[i], &y[0], 2e-6, names[t]);
            weight_free(w);
            blocks_free(&b);
            RELEASE(&x);
        }
        for (size_t i = 0; i < ARRAY_LEN(isas); i++) {
            RELEASE(&y[i]);
            device_close(dev[i]);
        }
    }
}

static void check_company(enum quant t, int threads)
{
    enum { ROWS = 200, OUT = 150, IN = 512 };
    static const int sizes[] = { 1, 2, 7, 16, 63, 64, 65, 130 };
    struct device *dev = device(threads);
    struct blocks b;
    blocks_make(&b, &t, (int[]){ OUT }, 1, IN);
    struct weight *w = weight_of(dev, &b, IN, DTYPE_BF16);
    struct tensor x = randoms(dev, DTYPE_BF16, ROWS, IN, 1, 2), all = zeros(dev, DTYPE_F32, ROWS, OUT);
    op_linear(&all, &x, w, false);
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++)
        for (int at = 0; at + sizes[s] <= ROWS; at += 67) {
            struct tensor some = zeros(dev, DTYPE_F32, sizes[s], OUT), rows = tensor_rows(&x, at, sizes[s]);
            struct tensor want = tensor_rows(&all, at, sizes[s]);
            op_linear(&some, &rows, w, false);
            same_bits(&some, &want, names[t]);
            RELEASE(&some);
        }
    weight_free(w);
    blocks_free(&b);
    RELEASE(&x, &all);
    device_close(dev);
}

static void a_row_has_the_same_bits_in_any_company(void **state)
{
    for (enum quant t = 0; t < QUANT_TYPES; t++)
        check_company(t, t % 3 + 1);
}

static void threads_change_no_bit(void **state)
{
    struct tensor y[3];
    struct device *dev[3];
    for (int i = 0; i < 3; i++) {
        struct blocks b;
        dev[i] = device(i + 1);
        blocks_make(&b, (enum quant[]){ QUANT_Q4_K, QUANT_Q6_K, QUANT_Q8_0 }, (int[]){ 90, 33, 16 }, 3, 256);
        struct weight *w = weight_of(dev[i], &b, 256, DTYPE_BF16);
        struct tensor x = randoms(dev[i], DTYPE_BF16, 75, 256, 1, 2);
        y[i] = zeros(dev[i], DTYPE_BF16, 75, b.rows);
        op_linear(&y[i], &x, w, false);
        same_bits(&y[i], &y[0], "threads");
        weight_free(w);
        blocks_free(&b);
        RELEASE(&x);
    }
    for (int i = 0; i < 3; i++) {
        RELEASE(&y[i]);
        device_close(dev[i]);
    }
}

/* Parts of several types, none of them a multiple of sixteen rows, are what each part is alone. */
static void parts_are_what_they_are_alone(void **state)
{
    enum { IN = 256, ROWS = 5 };
    enum quant type[PARTS] = { QUANT_Q4_K, QUANT_Q6_K, QUANT_Q5_0 };
    int rows[PARTS] = { 37, 5, 21 }, col = 0;
    struct device *dev = device(2);
    struct blocks b;
    blocks_make(&b, type, rows, PARTS, IN);
    struct weight *w = weight_of(dev, &b, IN, DTYPE_BF16);
    struct tensor x = randoms(dev, DTYPE_BF16, ROWS, IN, 1, 2), y = zeros(dev, DTYPE_F32, ROWS, b.rows);
    op_linear(&y, &x, w, false);
    for (int i = 0; i < PARTS; i++) {
        struct blocks one = { .part = { b.part[i] }, .n = 1, .rows = rows[i] };
        struct weight *alone = weight_of(dev, &one, IN, DTYPE_BF16);
        struct tensor got = zeros(dev, DTYPE_F32, ROWS, rows[i]), want = tensor_cols(&y, col, rows[i]);
        op_linear(&got, &x, alone, false);
        same_bits(&got, &want, names[type[i]]);
        weight_free(alone);
        RELEASE(&got);
        col += rows[i];
    }
    weight_free(w);
    blocks_free(&b);
    RELEASE(&x, &y);
    device_close(dev);
}

/* The three ways to a log-prob are one, and near that of the definition. */
static void heads_agree(void **state)
{
    enum { V = 1100, C = 256, ROWS = 70 };
    for (int f = 0; f < 2; f++) {
        struct device *dev = device(2);
        enum quant t = f ? QUANT_Q6_K : QUANT_Q8_0;
        struct blocks b;
        blocks_make(&b, &t, (int[]){ V }, 1, C);
        struct weight *w = weight_of(dev, &b, C, DTYPE_BF16);
        weight_set_logits(w, 0.02f, f ? 30 : 0);
        struct tensor x = randoms(dev, DTYPE_BF16, ROWS, C, 1, 2), values = values_of(dev, w);
        struct head_item item[ROWS];
        int row[ROWS], target[ROWS], argmax[ROWS];
        float logp[ROWS], want[ROWS], again[ROWS], one, *logits = malloc((size_t)ROWS * V * sizeof *logits);
        for (int i = 0; i < ROWS; i++)
            item[i] = (struct head_item){ row[i] = i, target[i] = i * 31 % V };
        op_head_logp(logp, NULL, NULL, argmax, &x, w, item, ROWS, 0.7f);
        op_head_logits(logits, &x, w, row, ROWS);
        op_logits_logp(again, NULL, logits, w, target, ROWS, 0.7f);
        assert_memory_equal(logp, again, sizeof logp);
        op_head_logp(&one, NULL, NULL, NULL, &x, w, &item[40], 1, 0.7f);
        assert_memory_equal(&one, &logp[40], sizeof one);
        define_head_logp(want, NULL, NULL, NULL, &x, &values, &w->logits, item, ROWS, 0.7f);
        for (int i = 0; i < ROWS; i++)
            assert_true(fabsf(logp[i] - want[i]) < 0.05f);
        float dlogp[ROWS];
        for (int i = 0; i < ROWS; i++)
            dlogp[i] = 1;
        struct tensor dx = zeros(dev, DTYPE_F32, ROWS, C), dwant = zeros(dev, DTYPE_F32, ROWS, C);
        op_head_backward(&dx, NULL, &x, w, item, dlogp, ROWS, 0.7f);
        define_head_backward(&dwant, NULL, &x, &values, &w->logits, item, dlogp, ROWS, 0.7f);
        close_to(&dx, &dwant, 0.03, "op_head_backward");
        free(logits);
        weight_free(w);
        blocks_free(&b);
        RELEASE(&x, &values, &dx, &dwant);
        device_close(dev);
    }
}

static void embeddings_are_the_rows(void **state)
{
    struct device *dev = device(2);
    for (int plain = 0; plain < 2; plain++) {
        enum { V = 50, C = 256 };
        struct blocks b = { 0 };
        struct tensor values = randoms(dev, DTYPE_BF16, V, C, 1, 1), x = zeros(dev, DTYPE_F32, 3, C);
        struct weight *w = NULL;
        if (plain) {
            w = weight_new(dev, V, C, DTYPE_BF16);
            weight_load(w, &values);
        } else {
            blocks_make(&b, (enum quant[]){ QUANT_Q4_K }, (int[]){ V }, 1, C);
            w = weight_of(dev, &b, C, DTYPE_BF16);
            RELEASE(&values);
            values = values_of(dev, w);
        }
        op_embed_weight(&x, w, (int[]){ 49, 0, 17 });
        for (int i = 0; i < 3; i++)
            for (int c = 0; c < C; c++)
                assert_true(t_get(&x, i, c) == t_get(&values, (int[]){ 49, 0, 17 }[i], c));
        weight_free(w);
        blocks_free(&b);
        RELEASE(&values, &x);
    }
    device_close(dev);
}

static void bad_scales_are_found(void **state)
{
    static const struct { uint16_t half; const char *is; } bad[] = { { 0x7c00, "inf" }, { 0xfe01, "nan" }, { 0x7bff, "65504" } };
    struct device *dev = device(2);
    for (enum quant t = 0; t < QUANT_TYPES; t++)
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
            struct blocks b;
            struct weight *w = NULL;
            struct quant_fault fault = { 0 };
            blocks_make(&b, &t, (int[]){ 40 }, 1, 512);
            size_t row = quant_bytes(t) * (size_t)(512 / quant_values(t));
            unsigned char *at = b.data[0] + 21 * row + quant_bytes(t) + halves_at[t][0];
            at[0] = (unsigned char)bad[i].half;
            at[1] = (unsigned char)(bad[i].half >> 8);
            assert_int_equal(weight_new_quantised(&w, dev, 512, DTYPE_BF16, b.part, 1, &fault), ERR_NUMERIC);
            assert_null(w);
            assert_int_equal(fault.row, 21);
            assert_int_equal(fault.block, 1);
            char text[32];
            snprintf(text, sizeof text, "%g", fabs((double)fault.scale));
            assert_string_equal(text, bad[i].is);
            blocks_free(&b);
        }
    device_close(dev);
}

static void what_is_no_number_stays_none(void **state)
{
    struct device *dev = device(1);
    struct blocks b;
    blocks_make(&b, (enum quant[]){ QUANT_Q4_0 }, (int[]){ 20 }, 1, 64);
    struct weight *w = weight_of(dev, &b, 64, DTYPE_F32);
    struct tensor x = randoms(dev, DTYPE_F32, 3, 64, 1, 2), y = zeros(dev, DTYPE_F32, 3, 20);
    t_set(&x, 0, 40, NAN);
    t_set(&x, 1, 5, INFINITY);
    op_linear(&y, &x, w, false);
    for (int c = 0; c < 20; c++) {
        assert_true(isnan(t_get(&y, 0, c)));
        assert_true(isnan(t_get(&y, 1, c)));
        assert_true(isfinite(t_get(&y, 2, c)));
    }
    weight_free(w);
    blocks_free(&b);
    RELEASE(&x, &y);
    device_close(dev);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(products_are_near_the_definition),
    cmocka_unit_test(instruction_sets_agree),
    cmocka_unit_test(a_row_has_the_same_bits_in_any_company),
    cmocka_unit_test(threads_change_no_bit),
    cmocka_unit_test(parts_are_what_they_are_alone),
    cmocka_unit_test(heads_agree),
    cmocka_unit_test(embeddings_are_the_rows),
    cmocka_unit_test(bad_scales_are_found),
    cmocka_unit_test(what_is_no_number_stays_none),
};

KIT_MAIN(tests)
