/* compute/ops_optimiser.c - the first step of the optimiser, and moments in 8 bits. */
#include "compute/check.h"

double op_sumsq(const struct tensor *t)
{
    PROFILE(__func__);
    IS_F32(t);
    return t->dev->sumsq(t);
}

void op_adamw(struct tensor *master, struct tensor *m, struct tensor *v, const struct tensor *grad, const struct adamw *h)
{
    PROFILE(__func__);
    IS_F32(master);
    IS_F32(m);
    IS_F32(v);
    IS_F32(grad);
    SHAPE(m, master->rows, master->cols);
    SHAPE(v, master->rows, master->cols);
    SHAPE(grad, master->rows, master->cols);
    WANT(h->step >= 1, "step %lld: counts from 1", (long long)h->step);
    master->dev->adamw(master, m, v, grad, h);
    CHECK(master);
}

/* ---- moments in 8 bits ------------------------------------------------------------------ */

static size_t blocks_of(size_t n)
{
    return (n + MOMENT_BLOCK - 1) / MOMENT_BLOCK;
}

static size_t codes_of(size_t n)    // two to a value, up to where scales are aligned
{
    return (2 * n + 3) / 4 * 4;
}

size_t moments8_bytes(size_t n)
{
    return codes_of(n) + 2 * blocks_of(n) * sizeof(float);
}

struct moments8 *moments8_new(struct device *dev, size_t n)
{
    struct moments8 *m = mem_alloc(1, sizeof *m);
    if (!m)
        return NULL;
    *m = (struct moments8){ .dev = dev, .n = n, .blocks = blocks_of(n), .m = dev->alloc(dev, moments8_bytes(n)) };
    if (!m->m) {
        free(m);
        return NULL;
    }
    m->v = m->m + n;
    m->m_scale = (float *)(void *)(m->m + codes_of(n));
    m->v_scale = m->m_scale + m->blocks;
    return m;
}

void moments8_free(struct moments8 *m)
{
    if (!m)
        return;
    m->dev->release(m->dev, m->m);
    free(m);
}

/* All of them as words for the device to copy. */
static struct tensor image_of(const struct moments8 *m)
{
    size_t words = moments8_bytes(m->n) / sizeof(float);
    WANT(words <= INT32_MAX, "%zu moments", m->n);
    return (struct tensor){ .dev = m->dev, .dtype = DTYPE_F32, .rows = 1, .cols = (int)words, .stride = words, .data = m->m };
}

void moments8_read(void *image, const struct moments8 *m)
{
    struct tensor t = image_of(m);
    m->dev->read(image, DTYPE_F32, &t, 0, 1);
}

void moments8_write(struct moments8 *m, const void *image)
{
    struct tensor t = image_of(m);
    m->dev->write(&t, 0, 1, image, DTYPE_F32);
}

void op_adamw8(struct tensor *master, struct moments8 *m, const struct tensor *grad, const struct adamw *h)
{
    IS_F32(master);
    IS_F32(grad);
    SHAPE(grad, master->rows, master->cols);
    WANT(master->stride == (size_t)master->cols && grad->stride == (size_t)grad->cols, "8-bit moments of a view");
    WANT(m->n == (size_t)master->rows * (size_t)master->cols, "%zu moments of %d x %d values", m->n, master->rows, master->cols);
    WANT(h->step >= 1, "step %lld: counts from 1", (long long)h->step);
    master->dev->adamw8(master, m, grad, h);
    CHECK(master);
}
