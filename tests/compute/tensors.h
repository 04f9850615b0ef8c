/* compute/tensors.h - random tensors and comparisons for the tests of room compute. */
#ifndef TESTS_COMPUTE_TENSORS_H
#define TESTS_COMPUTE_TENSORS_H

#include <math.h>

#include "compute/cpu/cpu.h"
#include "kit/kit.h"

static inline struct device *device(int threads)
{
    struct device *dev;
    assert_int_equal(device_open(&dev, "cpu", threads, NULL), 0);
    return dev;
}

static inline struct tensor zeros(struct device *dev, enum dtype dtype, int rows, int cols)
{
    struct tensor t;
    assert_int_equal(tensor_new(&t, dev, dtype, rows, cols, NULL), 0);
    return t;
}

static const char *const isas[] = { "plain", "avx2", "avx512", "avx512bf16" };

/* A device held to one instruction set, where the machine has it. */
static inline struct device *device_with(const char *isa, int threads)
{
    setenv("RLAIF_ISA", isa, 1);
    struct device *dev = device(threads);
    unsetenv("RLAIF_ISA");
    return dev;
}

/* Normal numbers times scale; item names the stream, so that equal items mean equal numbers. */
static inline struct tensor randoms(struct device *dev, enum dtype dtype, int rows, int cols, float scale, int item)
{
    struct tensor t = zeros(dev, dtype, rows, cols);
    struct rng r;
    rng_init(&r, 1, RNG_TEST, (uint64_t)item, 0);
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < cols; c++)
            t_set(&t, i, c, scale * (float)rng_normal(&r));
    return t;
}

static inline struct tensor clone(const struct tensor *t)
{
    struct tensor c = zeros(t->dev, t->dtype, t->rows, t->cols);
    for (int i = 0; i < t->rows; i++)
        for (int j = 0; j < t->cols; j++)
            t_set(&c, i, j, t_get(t, i, j));
    return c;
}

/* Largest difference, and the largest value there is. */
static inline double distance(const struct tensor *a, const struct tensor *b, double *size)
{
    double most = 0;
    *size = 0;
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->cols, b->cols);
    for (int i = 0; i < a->rows; i++)
        for (int c = 0; c < a->cols; c++) {
            double d = fabs((double)t_get(a, i, c) - t_get(b, i, c));
            most = d > most || d != d ? d : most;
            *size = fmax(*size, fabs((double)t_get(b, i, c)));
        }
    return most;
}

/* got within tolerance times the largest wanted value. */
static inline void close_to(const struct tensor *got, const struct tensor *want, double tolerance, const char *what)
{
    double size, d = distance(got, want, &size);
    if (!(d <= tolerance * size))
        fail_msg("%s (%d x %d %s): differs by %g of %g, allowed %g", what, got->rows, got->cols, dtype_name(got->dtype), d,
                 size, tolerance * size);
}

static inline double dot_all(const struct tensor *a, const struct tensor *b)
{
    double sum = 0;
    for (int r = 0; r < a->rows; r++)
        for (int c = 0; c < a->cols; c++)
            sum += (double)t_get(a, r, c) * t_get(b, r, c);
    return sum;
}

static inline void same_bits(const struct tensor *a, const struct tensor *b, const char *what)
{
    for (int i = 0; i < a->rows; i++)
        if (memcmp(t_row(a, i), t_row(b, i), (size_t)a->cols * dtype_size(a->dtype)))
            fail_msg("%s: row %d of %d x %d %s has other bits", what, i, a->rows, a->cols, dtype_name(a->dtype));
}

#define RELEASE(...)                                                                                \
    do {                                                                                            \
        struct tensor *list_[] = { __VA_ARGS__ };                                                   \
        for (size_t i_ = 0; i_ < ARRAY_LEN(list_); i_++)                                            \
            tensor_release(list_[i_]);                                                              \
    } while (0)

#endif
