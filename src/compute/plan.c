/* compute/plan.c - a device that holds nothing and counts.
 *
 * A piece of "memory" is a few bytes that remember its size and purpose; views of it point beyond them and are never
 * followed.  What fills and copies does nothing.  Sizes of packed weights and of scratch memory are those of the device that
 * is planned for.  Any other operation would follow pointers to nowhere, and is left out on purpose. */
#include "compute/device.h"

/* Generated code, pages of the libraries' own that only computing touches, stacks: measured on small models. */
enum { LIBRARIES_MB = 2 };

struct piece { size_t bytes; const char *purpose; };
struct planned {
    struct device *real;
    struct device_use now, most;
    size_t since;               // most since the mark
    bool trial;
    double base_mb;             // resident when most was held; 0: it still is
    struct piece *scratch, *slab;
};
struct planned_weight {
    struct weight base;
    struct piece *forward, *backward;
    bool quantised;
};

static void count(struct planned *p, const struct piece *piece, bool add)
{
    struct device_use *u = &p->now;
    int i = 0;
    while (i < u->n && strcmp(u->part[i].purpose, piece->purpose) != 0)
        i++;
    BUG_IF(i == USE_PARTS);
    if (i == u->n)
        u->part[u->n++].purpose = piece->purpose;
    u->part[i].bytes += add ? piece->bytes : -piece->bytes;
    u->bytes += add ? piece->bytes : -piece->bytes;
    if (!add)
        return;
    if (u->bytes > p->since)
        p->since = u->bytes;
    if (p->trial || u->bytes <= p->most.bytes)
        return;
    p->most = *u;
    p->base_mb = 0;
}

static struct piece *piece_new(struct device *dev, size_t bytes, const char *purpose)
{
    struct piece *piece = mem_alloc(1, sizeof *piece);
    if (piece) {
        *piece = (struct piece){ bytes, purpose };
        count(dev->own, piece, true);
    }
    return piece;
}

static void piece_free(struct device *dev, struct piece *piece)
{
    struct planned *p = dev->own;
    if (p->base_mb == 0)
        p->base_mb = mem_now_mb();
    if (piece)
        count(p, piece, false);
    free(piece);
}

static void *plan_alloc(struct device *dev, size_t bytes)
{
    return piece_new(dev, bytes, dev->purpose ? dev->purpose : "other");
}

static void plan_release(struct device *dev, void *p)
{
    piece_free(dev, p);
}

void plan_scratch(struct device *dev, size_t bytes)
{
    struct planned *p = dev->own;
    if (p->scratch && p->scratch->bytes >= bytes)
        return;
    piece_free(dev, p->scratch);
    p->scratch = piece_new(dev, bytes, "activations");
}

/* ---- weights ------------------------------------------------------------------------ */

static size_t weight_plan(struct device *dev, int out, int in, enum dtype dtype, bool backward)
{
    const struct planned *p = dev->own;
    return p->real->weight_plan(p->real, out, in, dtype, backward);
}

static struct weight *plan_weight_new(struct device *dev, int out, int in, enum dtype dtype)
{
    struct planned_weight *w = mem_alloc(1, sizeof *w);
    if (w)
        w->forward = piece_new(dev, weight_plan(dev, out, in, dtype, false), "weights");
    if (!w || !w->forward) {
        free(w);
        return NULL;
    }
    return &w->base;
}

static int plan_weight_new_quantised(struct weight **out, struct device *dev, int in, enum dtype dtype, const struct quant_rows *part,
                                     int n_parts, struct quant_fault *fault)
{
    const struct planned *p = dev->own;
    struct planned_weight *w = mem_alloc(1, sizeof *w);
    if (w)
        w->forward = piece_new(dev, p->real->quantised_plan(in, part, n_parts), "weights");
    if (!w || !w->forward) {
        free(w);
        return ERR_MEMORY;
    }
    w->quantised = true;
    *out = &w->base;
    return 0;
}

static bool plan_weight_is_quantised(const struct weight *w)
{
    return ((const struct planned_weight *)w)->quantised;
}

static void plan_weight_prepare(struct weight *w)
{
    struct planned_weight *p = (struct planned_weight *)w;
    if (p->quantised)
        return;
    if (!p->backward)
        p->backward = piece_new(w->dev, weight_plan(w->dev, w->out, w->in, w->dtype, true), "weights for backward");
    if (!p->backward)
        mem_die("planning");
}

void plan_head_backward(struct weight *w)
{
    struct planned *p = w->dev->own;
    size_t slab = plan_weight_is_quantised(w) ? 0 : p->real->head_slab(p->real, w->out, w->in, w->dtype);
    if (!slab)
        plan_weight_prepare(w);
    else if (!p->slab || p->slab->bytes < slab) {
        piece_free(w->dev, p->slab);
        p->slab = piece_new(w->dev, slab, "weights for backward");
    }
}

static void plan_weight_free(struct weight *w)
{
    struct planned_weight *p = (struct planned_weight *)w;
    piece_free(w->dev, p->forward);
    piece_free(w->dev, p->backward);
    free(p);
}

static size_t plan_head(const struct device *dev, int out, int in, enum dtype dtype, int rows, bool backward)
{
    const struct planned *p = dev->own;
    return p->real->head_plan(p->real, out, in, dtype, rows, backward);
}

/* ---- what does nothing ----------------------------------------------------------------- */

static void nothing_loaded(struct weight *w, const struct tensor *src) {}
static void nothing_written(struct tensor *t, int row, int n, const void *src, enum dtype from) {}
static void zeros_read(void *dst, enum dtype to, const struct tensor *t, int row, int n)
{
    memset(dst, 0, (size_t)n * (size_t)t->cols * dtype_size(to));
}
static void nothing_zeroed(struct tensor *t) {}
static void nothing_copied(struct tensor *dst, const struct tensor *src) {}
static void nothing_scaled(struct tensor *t, float by) {}

static void plan_close(struct device *dev)
{
    struct planned *p = dev->own;
    piece_free(dev, p->scratch);
    piece_free(dev, p->slab);
    device_close(p->real);
    free(p);
    free(dev);
}

int plan_device_open(struct device **out, int threads, struct err *err)
{
    struct device *dev = mem_alloc(1, sizeof *dev);
    struct planned *p = mem_alloc(1, sizeof *p);
    int rc = dev && p ? cpu_device_open(&p->real, threads, err) : err_set(err, ERR_MEMORY, "opening the planning device");
    if (rc) {
        free(dev);
        free(p);
        return rc;
    }
    *dev = (struct device){
        .threads = threads, .fast_bf16 = p->real->fast_bf16, .plan = true, .own = p, .close = plan_close,
        .alloc = plan_alloc, .release = plan_release, .write = nothing_written, .read = zeros_read,
        .zero = nothing_zeroed, .copy = nothing_copied, .scale = nothing_scaled,
        .weight_new = plan_weight_new, .weight_free = plan_weight_free, .weight_load = nothing_loaded,
        .weight_new_quantised = plan_weight_new_quantised, .weight_is_quantised = plan_weight_is_quantised,
        .weight_plan = weight_plan, .weight_prepare = plan_weight_prepare, .head_plan = plan_head,
    };
    snprintf(dev->describe, sizeof dev->describe, "plan of %.100s", p->real->describe);
    *out = dev;
    return 0;
}

/* ---- what it says ------------------------------------------------------------------------ */

bool device_is_plan(const struct device *dev)
{
    return dev->plan;
}

void device_purpose(struct device *dev, const char *what)
{
    dev->purpose = what;
}

void device_most_used(const struct device *dev, struct device_use *out)
{
    BUG_IF(!dev->plan);
    *out = ((const struct planned *)dev->own)->most;
}

size_t device_held_besides(const struct device *dev, const char *purpose)
{
    const struct device_use *u = &((const struct planned *)dev->own)->now;
    size_t bytes = u->bytes;
    for (int i = 0; i < u->n; i++)
        bytes -= strcmp(u->part[i].purpose, purpose) ? 0 : u->part[i].bytes;
    return bytes;
}

void device_trial(struct device *dev, bool on)
{
    ((struct planned *)dev->own)->trial = on;
}

void device_mark(struct device *dev)
{
    struct planned *p = dev->own;
    p->since = p->now.bytes;
}

double device_most_since(const struct device *dev)
{
    return (double)((const struct planned *)dev->own)->since;
}

size_t device_base(const struct device *dev)
{
    const struct planned *p = dev->own;
    double mb = p->base_mb > 0 ? p->base_mb : mem_now_mb();
    return (size_t)((mb + LIBRARIES_MB) * 1048576);
}

size_t device_used(const struct device *dev)
{
    BUG_IF(!dev->plan);
    return ((const struct planned *)dev->own)->now.bytes;
}
