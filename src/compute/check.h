/* compute/check.h - what every operation asks before its device does it, and of the result.
 *
 * A mismatch is a mistake in our own calls, so it ends the program with both shapes.  With RLAIF_CHECK=1 each
 * result is searched for NaN and infinity afterwards, and the first operation that made one is named. */
#ifndef COMPUTE_CHECK_H
#define COMPUTE_CHECK_H

#include "compute/device.h"

#define WANT(cond, ...) do { if (!(cond)) BUG(__VA_ARGS__); } while (0)
#define SHAPE(t, r, c) WANT((t)->rows == (r) && (t)->cols == (c), #t " is %d x %d, should be %d x %d", \
                            (t)->rows, (t)->cols, (r), (c))
#define IS_F32(t) WANT((t)->dtype == DTYPE_F32, #t " is %s, should be float32", dtype_name((t)->dtype))

static inline void finite_or_stop(const struct tensor *t, const char *op, const char *what)
{
    if (!t->dev->finite(t))
        BUG("RLAIF_CHECK: %s: %s (%d x %d) is not finite", op, what, t->rows, t->cols);
}
#define CHECK(t) do { if ((t)->dev->check) finite_or_stop(t, __func__, #t); } while (0)

static inline void check_list(const int *row, int n, int rows, const char *what)
{
    for (int i = 0; i < n; i++)
        WANT(row[i] >= 0 && row[i] < rows, "%s %d is %d, of %d rows", what, i, row[i], rows);
}

#endif
