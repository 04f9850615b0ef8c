/* compute/tensor.c - dtypes, devices by name, tensors and their views. */
#include "compute/device.h"

size_t dtype_size(enum dtype t)
{
    return t == DTYPE_F32 ? 4 : 2;
}

const char *dtype_name(enum dtype t)
{
    return t == DTYPE_F32 ? "float32" : "bfloat16";
}

float bf16_to_float(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

uint16_t bf16_from_float(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((u >> 16) | 0x40);    // a NaN whose upper bits are zero must not become infinity
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}

/* ---- devices --------------------------------------------------------------------- */

int device_open(struct device **out, const char *name, int threads, struct err *err)
{
    bool plan = name && !strcmp(name, "plan");
    if (name && !plan && strcmp(name, "cpu"))
        return err_set(err, ERR_UNSUPPORTED, "device \"%s\": this build knows \"cpu\" only", name);
    if (threads < 0)
        return err_set(err, ERR_VALUE, "device cpu: %d threads", threads);
    threads = threads ? threads : threads_default();
    int rc = plan ? plan_device_open(out, threads, err) : cpu_device_open(out, threads, err);
    if (rc == 0) {
        const char *check = getenv("RLAIF_CHECK");
        (*out)->check = check && strcmp(check, "0") && *check;
    }
    return rc;
}

void device_close(struct device *dev)
{
    if (dev)
        dev->close(dev);
}

const char *device_describe(const struct device *dev)
{
    return dev->describe;
}

bool device_fast_bf16(const struct device *dev)
{
    return dev->fast_bf16;
}

double device_peak(struct device *dev, enum dtype dtype)
{
    if (dev->peak[dtype] == 0)
        dev->peak[dtype] = dev->measure_peak(dev, dtype);
    return dev->peak[dtype];
}

double device_bandwidth(struct device *dev, bool large_pages)
{
    return dev->measure_bandwidth(dev, large_pages);
}

/* ---- tensors ----------------------------------------------------------------------- */

int tensor_new(struct tensor *t, struct device *dev, enum dtype dtype, int rows, int cols, struct err *err)
{
    size_t n = 0;
    *t = (struct tensor){ 0 };
    if (rows < 0 || cols < 0 || !size_mul(&n, (size_t)rows, (size_t)cols) || !size_mul(&n, n, dtype_size(dtype)))
        return err_set(err, ERR_VALUE, "a tensor of %d x %d %s is not possible", rows, cols, dtype_name(dtype));
    void *data = dev->alloc(dev, n ? n : 1);
    if (!data)
        return err_set(err, ERR_MEMORY, "no memory for a tensor of %d x %d %s (%.1f MB)", rows, cols, dtype_name(dtype),
                       (double)n / 1e6);
    *t = (struct tensor){ .dev = dev, .dtype = dtype, .rows = rows, .cols = cols, .stride = (size_t)cols,
                          .data = data, .owned = true };
    return 0;
}

void tensor_release(struct tensor *t)
{
    if (t->owned)
        t->dev->release(t->dev, t->data);
    *t = (struct tensor){ 0 };
}

struct tensor tensor_rows(const struct tensor *t, int start, int n)
{
    if (start < 0 || n < 0 || n > t->rows - start)
        BUG("rows %d..+%d of a tensor of %d rows", start, n, t->rows);
    struct tensor v = *t;
    v.data = (char *)t->data + (size_t)start * t->stride * dtype_size(t->dtype);
    v.rows = n;
    v.owned = false;
    return v;
}

struct tensor tensor_cols(const struct tensor *t, int start, int n)
{
    if (start < 0 || n < 0 || n > t->cols - start)
        BUG("columns %d..+%d of a tensor of %d columns", start, n, t->cols);
    struct tensor v = *t;
    v.data = (char *)t->data + (size_t)start * dtype_size(t->dtype);
    v.cols = n;
    v.owned = false;
    return v;
}

struct tensor tensor_shaped(const struct tensor *t, int rows, int cols)
{
    if (t->stride != (size_t)t->cols || rows < 0 || cols < 0 || (size_t)rows * (size_t)cols > (size_t)t->rows * (size_t)t->cols)
        BUG("%d x %d values of a tensor of %d x %d", rows, cols, t->rows, t->cols);
    struct tensor v = *t;
    v.rows = rows;
    v.cols = cols;
    v.stride = (size_t)cols;
    v.owned = false;
    return v;
}

static void check_rows(const struct tensor *t, int row, int n)
{
    if (row < 0 || n < 0 || n > t->rows - row)
        BUG("rows %d..+%d of a tensor of %d rows", row, n, t->rows);
}

void tensor_write(struct tensor *t, int row, int n, const float *src)
{
    check_rows(t, row, n);
    t->dev->write(t, row, n, src, DTYPE_F32);
}

void tensor_read(float *dst, const struct tensor *t, int row, int n)
{
    check_rows(t, row, n);
    t->dev->read(dst, DTYPE_F32, t, row, n);
}

void tensor_write_bf16(struct tensor *t, int row, int n, const uint16_t *src)
{
    check_rows(t, row, n);
    t->dev->write(t, row, n, src, DTYPE_BF16);
}

void tensor_read_bf16(uint16_t *dst, const struct tensor *t, int row, int n)
{
    check_rows(t, row, n);
    t->dev->read(dst, DTYPE_BF16, t, row, n);
}

uint64_t tensor_hash(const struct tensor *t)
{
    uint64_t hash = 0;
    size_t bytes = (size_t)t->cols * dtype_size(t->dtype);
    struct { uint64_t before, row; } link;
    void *row = mem_alloc(bytes ? bytes : 1, 1);
    if (!row)
        mem_die("a row of %d numbers", t->cols);
    for (int r = 0; r < t->rows; r++) {
        t->dev->read(row, t->dtype, t, r, 1);
        link.before = hash;
        link.row = hash_bytes(row, bytes).lo;
        hash = hash_bytes(&link, sizeof link).lo;
    }
    free(row);
    return hash;
}
