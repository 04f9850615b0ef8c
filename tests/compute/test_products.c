/* Products with weights: against plain loops, and the promise that a row's bits are its own. */
#include "compute/tensors.h"

/* Odd sizes, the sizes of the lab's and the small real models, fewer than a block of columns, more than one. */
static const struct { int out, in; } shapes[] = {
    { 1, 1 }, { 3, 5 }, { 7, 33 }, { 28, 131 }, { 63, 64 }, { 64, 63 }, { 65, 96 }, { 100, 17 }, { 128, 128 },
    { 384, 128 }, { 130, 384 }, { 576, 192 }, { 1500, 128 }, { 192, 1536 }, { 960, 576 }, { 576, 1537 },
};
/* Plain loops take their time: larger products only with few rows (a row's bits are compared for all of them). */
static const int row_counts[] = { 1, 2, 3, 5, 9, 16, 17, 31, 64, 65, 130 };
static const double most_work = 2e6;

static int affordable(int rows, int out, int in)
{
    return (double)rows * out * in > most_work ? (int)(most_work / out / in) + 1 : rows;
}

/* fp32 sums of n products err by about sqrt(n) roundings; a bf16 result adds its own rounding, 2^-9. */
static double tolerance(enum dtype out, int n)
{
    return (out == DTYPE_BF16 ? 1.0 / 256 : 0) + 4e-7 * sqrt(n) + 1e-6;
}

static struct weight *weight_of(struct device *dev, const struct tensor *values, enum dtype dtype)
{
    struct weight *w = weight_new(dev, values->rows, values->cols, dtype);
    assert_non_null(w);
    weight_load(w, values);
    return w;
}

static void check_linear(struct device *dev, int out, int in, int rows, enum dtype dtype, enum dtype to, bool accumulate)
{
    struct tensor values = randoms(dev, dtype, out, in, 1, 1), x = randoms(dev, dtype, rows, in, 1, 2);
    struct tensor y = randoms(dev, to, rows, out, 1, 3), want = clone(&y);
    struct weight *w = weight_of(dev, &values, dtype);
    define_linear(&want, &x, &values, accumulate);
    op_linear(&y, &x, w, accumulate);
    close_to(&y, &want, tolerance(to, in), "op_linear");
    struct tensor dy = randoms(dev, dtype, rows, out, 1, 4), dx = randoms(dev, to, rows, in, 1, 5), dwant = clone(&dx);
    define_linear_backward_x(&dwant, &dy, &values, accumulate);
    op_linear_backward_x(&dx, &dy, w, accumulate);
    close_to(&dx, &dwant, tolerance(to, out), "op_linear_backward_x");
    weight_free(w);
    RELEASE(&values, &x, &y, &want, &dy, &dx, &dwant);
}

static void products_agree_with_the_definition(void **state)
{
    struct device *dev = device(2);
    for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
        for (size_t r = s % 4; r < ARRAY_LEN(row_counts); r += 4)
            for (int form = 0; form < 6; form++) {
                enum dtype dtype = form < 2 ? DTYPE_F32 : DTYPE_BF16;
                check_linear(dev, shapes[s].out, shapes[s].in, affordable(row_counts[r], shapes[s].out, shapes[s].in), dtype, form >= 4 ? DTYPE_BF16 : DTYPE_F32,
                             form % 2);
            }
    device_close(dev);
}

/* A processor without bf16 products gives the same numbers up to the order of sums. */
static void bf16_works_where_the_processor_has_none(void **state)
{
    setenv("RLAIF_ISA", "avx2", 1);
    struct device *dev = device(1);
    unsetenv("RLAIF_ISA");
    assert_false(device_fast_bf16(dev));
    for (size_t s = 0; s < ARRAY_LEN(shapes); s += 3)
        for (int form = 0; form < 3; form++)
            check_linear(dev, shapes[s].out, shapes[s].in, affordable(17, shapes[s].out, shapes[s].in), DTYPE_BF16, form ? DTYPE_F32 : DTYPE_BF16, form == 2);
    struct tensor dy = randoms(dev, DTYPE_BF16, 70, 33, 1, 1), x = randoms(dev, DTYPE_BF16, 70, 20, 1, 2);
    struct tensor dw = randoms(dev, DTYPE_F32, 33, 20, 1, 3), want = clone(&dw);
    define_linear_backward_w(&want, &dy, &x);
    op_linear_backward_w(&dw, &dy, &x);
    close_to(&dw, &want, tolerance(DTYPE_F32, 70), "op_linear_backward_w");
    RELEASE(&dy, &x, &dw, &want);
    device_close(dev);
}

static void weight_gradients_agree_with_the_definition(void **state)
{
    static const int counts[] = { 1, 17, 63, 64, 65, 200, 513, 700 };
    struct device *dev = device(2);
    for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
        for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
            int rows = counts[(s + dtype) % ARRAY_LEN(counts)], out = shapes[s].out, in = shapes[s].in;
            rows = affordable(rows, out, in);
            struct tensor dy = randoms(dev, dtype, rows, out, 1, 1), x = randoms(dev, dtype, rows, in, 1, 2);
            struct tensor dw = randoms(dev, DTYPE_F32, out, in, 1, 3), want = clone(&dw);
            define_linear_backward_w(&want, &dy, &x);
            op_linear_backward_w(&dw, &dy, &x);
            close_to(&dw, &want, tolerance(DTYPE_F32, rows), "op_linear_backward_w");
            RELEASE(&dy, &x, &dw, &want);
        }
    device_close(dev);
}

/* Our own loop for bf16 makes the sums that oneDNN makes of more than one block of 96 x 768: of ragged pieces, an odd row, tiles that
 * end early, several spans. */
static void weight_gradients_have_onednn_s_bits(void **state)
{
    static const struct { int rows, out, in; } cases[] = {
        { 1, 3, 5 }, { 2, 16, 16 }, { 63, 8, 33 }, { 64, 100, 48 }, { 333, 98, 65 }, { 512, 192, 576 }, { 2048, 130, 64 }, { 4231, 100, 70 },
    };
    struct device *own = device(2), *theirs = device(1);
    cpu_of(theirs)->few = FEW_NOT;
    for (size_t c = 0; c < ARRAY_LEN(cases); c++) {
        struct tensor wide = randoms(own, DTYPE_BF16, cases[c].rows, cases[c].out + 7, 1, 1);
        struct tensor dy = tensor_cols(&wide, 3, cases[c].out), x = randoms(own, DTYPE_BF16, cases[c].rows, cases[c].in, 1, 2);
        struct tensor dw = randoms(own, DTYPE_F32, cases[c].out, cases[c].in, 1, 3), want = clone(&dw);
        want.dev = theirs;
        op_linear_backward_w(&dw, &dy, &x);
        op_linear_backward_w(&want, &dy, &x);
        same_bits(&dw, &want, "op_linear_backward_w");
        RELEASE(&wide, &x, &dw, &want);
    }
    device_close(own);
    device_close(theirs);
}

/* Columns of wider tensors, as [q | k | v] and [gate | up] are. */
static void views_multiply_like_copies(void **state)
{
    struct device *dev = device(2);
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++) {
        struct tensor values = randoms(dev, dtype, 160, 96, 1, 1), wide = randoms(dev, dtype, 90, 200, 1, 2);
        struct tensor big = zeros(dev, dtype, 90, 300), x = tensor_cols(&wide, 40, 96), y = tensor_cols(&big, 70, 160);
        struct tensor xc = clone(&x), yc = clone(&y), dw = zeros(dev, DTYPE_F32, 160, 96), dwc = clone(&dw);
        struct weight *w = weight_of(dev, &values, dtype);
        op_linear(&y, &x, w, false);
        op_linear(&yc, &xc, w, false);
        same_bits(&y, &yc, "op_linear on views");
        assert_true(t_get(&big, 3, 69) == 0 && t_get(&big, 3, 230) == 0);
        op_linear_backward_w(&dw, &y, &x);
        op_linear_backward_w(&dwc, &yc, &xc);
        same_bits(&dw, &dwc, "op_linear_backward_w on views");
        weight_free(w);
        RELEASE(&values, &wide, &big, &xc, &yc, &dw, &dwc);
    }
    device_close(dev);
}

/* The promise (DESIGN D1): rows alone, in groups of every size up to 70, in 2,048, with one thread, two and three. */
static void check_rows_alone(int out, int in, enum dtype dtype, enum dtype to, bool accumulate, int rows)
{
    struct device *dev[3] = { device(1), device(2), device(3) };
    struct tensor values = randoms(dev[0], dtype, out, in, 1, 1), x = randoms(dev[0], dtype, rows, in, 1, 2);
    struct tensor start = randoms(dev[0], to, rows, out, 1, 3), want = clone(&start);
    struct weight *w[3];
    for (int d = 0; d < 3; d++)
        w[d] = weight_of(dev[d], &values, dtype);
    op_linear(&want, &x, w[0], accumulate);
    for (int d = 0; d < 3; d++) {
        struct tensor all = clone(&start), some = clone(&start);
        x.dev = all.dev = some.dev = dev[d];
        op_linear(&all, &x, w[d], accumulate);
        same_bits(&all, &want, "op_linear with other threads");
        for (int n = 1, at = 0; at < rows; at += n, n = n % 70 + 1) {
            n = n < rows - at ? n : rows - at;
            struct tensor xs = tensor_rows(&x, at, n), ys = tensor_rows(&some, at, n);
            op_linear(&ys, &xs, w[d], accumulate);
        }
        same_bits(&some, &want, "op_linear in small groups");
        RELEASE(&all, &some);
    }
    for (int d = 0; d < 3; d++)
        weight_free(w[d]);
    RELEASE(&values, &x, &start, &want);
    for (int d = 0; d < 3; d++)
        device_close(dev[d]);
}

static void a_row_does_not_know_its_company(void **state)
{
    for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
        for (int form = 0; form < 5; form++)
            check_rows_alone(shapes[s].out, shapes[s].in, form < 2 ? DTYPE_F32 : DTYPE_BF16,
                             form >= 3 ? DTYPE_BF16 : DTYPE_F32, form == 1 || form == 4, s % 4 ? 300 : 90);
    check_rows_alone(128, 128, DTYPE_BF16, DTYPE_BF16, false, 2048);
    check_rows_alone(576, 576, DTYPE_BF16, DTYPE_F32, true, 2048);
}

static void weight_gradients_do_not_know_the_threads(void **state)
{
    struct device *dev[3] = { device(1), device(2), device(3) };
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++)
        for (size_t s = 0; s < ARRAY_LEN(shapes); s++) {
            uint64_t hash[3];
            for (int d = 0; d < 3; d++) {
                struct tensor dy = randoms(dev[d], dtype, 300, shapes[s].out, 1, 1);
                struct tensor x = randoms(dev[d], dtype, 300, shapes[s].in, 1, 2);
                struct tensor dw = zeros(dev[d], DTYPE_F32, shapes[s].out, shapes[s].in);
                op_linear_backward_w(&dw, &dy, &x);
                hash[d] = tensor_hash(&dw);
                RELEASE(&dy, &x, &dw);
            }
            assert_true(hash[0] == hash[1] && hash[0] == hash[2]);
        }
    for (int d = 0; d < 3; d++)
        device_close(dev[d]);
}

/* After an optimiser step both directions hold the new values. */
static void loading_again_replaces_both_directions(void **state)
{
    struct device *dev = device(2);
    struct tensor one = randoms(dev, DTYPE_F32, 70, 90, 1, 1), two = randoms(dev, DTYPE_F32, 70, 90, 1, 2);
    struct tensor dy = randoms(dev, DTYPE_BF16, 20, 70, 1, 3), a = zeros(dev, DTYPE_F32, 20, 90), b = clone(&a);
    struct weight *w = weight_of(dev, &one, DTYPE_BF16), *fresh = weight_of(dev, &two, DTYPE_BF16);
    op_linear_backward_x(&a, &dy, w, false);
    weight_load(w, &two);
    op_linear_backward_x(&a, &dy, w, false);
    op_linear_backward_x(&b, &dy, fresh, false);
    same_bits(&a, &b, "after loading again");
    weight_free(w);
    weight_free(fresh);
    RELEASE(&one, &two, &dy, &a, &b);
    device_close(dev);
}

static void packing_puts_every_element_in_its_place(void **state)
{
    struct device *dev = device(1);
    for (size_t s = 0; s < ARRAY_LEN(shapes); s++)
        for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++)
            for (int transposed = 0; transposed < 2; transposed++) {
                int k = shapes[s].in, n = shapes[s].out;
                struct packed p;
                struct tensor from = randoms(dev, dtype, transposed ? k : n, transposed ? n : k, 1, 1);
                float *row = mem_alloc((size_t)n, sizeof *row);
                assert_int_equal(packed_new(&p, cpu_of(dev), k, n, dtype), 0);
                packed_fill(&p, dev, &from, transposed);
                for (int i = 0; i < k; i++) {
                    packed_rows(row, &p, i, 1);
                    for (int j = 0; j < n; j++)
                        if (row[j] != (transposed ? t_get(&from, i, j) : t_get(&from, j, i)))
                            fail_msg("%d x %d: element %d,%d is in the wrong place", k, n, i, j);
                }
                free(row);
                packed_release(&p);
                RELEASE(&from);
            }
    device_close(dev);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(packing_puts_every_element_in_its_place),
    cmocka_unit_test(products_agree_with_the_definition),
    cmocka_unit_test(bf16_works_where_the_processor_has_none),
    cmocka_unit_test(weight_gradients_agree_with_the_definition),
    cmocka_unit_test(weight_gradients_have_onednn_s_bits),
    cmocka_unit_test(views_multiply_like_copies),
    cmocka_unit_test(a_row_does_not_know_its_company),
    cmocka_unit_test(weight_gradients_do_not_know_the_threads),
    cmocka_unit_test(loading_again_replaces_both_directions),
};

KIT_MAIN(tests)
