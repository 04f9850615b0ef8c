/* compute/cpu/head.c - vocabulary and scalar heads.
 *
 * The vocabulary is cut into chunks of about 512 columns (the cut depends on its size alone) and the rows into
 * blocks of 64.  A thread multiplies one block by one chunk into its own scratch, where the tile stays in the
 * cache, and keeps of each row only the chunk's maximum, sum of exponentials and the like; afterwards a row's
 * chunks are merged in their order.
 *
 * Backward needs dlogits as a whole (dlogits . W and dlogits^T . hidden), so it takes as many rows at a time as fit the
 * budget.  Tiles leave exp(z - the chunk's maximum) there, in the weight's dtype; once a row's log-sum-exp is known
 * its chunks are multiplied by what they lack.  In bf16 that rounds twice, and saves a pass of exponentials and
 * two thirds of the memory against keeping fp32 logits. */
#include <float.h>
#include <math.h>
#include <omp.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/quant.h"

enum { BLOCK = 64, CHUNK = 512 };
static const size_t DLOGIT_BYTES = 48u << 20;   // dlogits that backward holds at once

/* Distinct rows of a list of items, and where each one's items are. */
struct head_rows {
    int n, chunks;
    int *row;           // (n) rows of hidden
    int *first;         // (n+1) items of row i: first[i] .. first[i+1]
    float *target;      // (items) the target's logit, by the temperature
    struct logit_stats *stats;      // (n,chunks)
    char *hidden;       // (n rounded up, C) copies of the rows as the product wants them
    struct tensor e;    // (n,V) where wanted: exponentials, then dlogits
    bool argmax;        // wanted
    struct logit_form form;
    const struct quantised *quantised;  // of a weight in blocks, and hidden rounded for it
    struct quant_act act;
};

static bool formed(const struct logit_form *f)
{
    return f->scale != 1 || f->softcap > 0;
}

static int chunk_count(const struct packed *p)
{
    int chunks = p->split ? p->n / CHUNK : 1;
    return chunks > 0 ? chunks : 1;
}

/* What rows_prepare asks for, for so many items in so many rows. */
static size_t rows_bytes(int chunks, int k, size_t size, size_t items, size_t rows)
{
    size_t padded = (rows + BLOCK - 1) / BLOCK * BLOCK;
    return items * 16 + padded * ((size_t)chunks * sizeof(struct logit_stats) + (size_t)k * size) + 1024;
}

/* Rows that backward takes at a time, and its own scratch for them. */
static int backward_step(size_t V, size_t size)
{
    int step = (int)(DLOGIT_BYTES / (V * size)) / BLOCK * BLOCK;
    return step > BLOCK ? step : BLOCK;
}

static size_t backward_bytes(size_t V, size_t C, size_t size, int rows)
{
    return (size_t)rows * (V * size + 8 * C) + 1024;
}

size_t cpu_head_plan(const struct device *dev, int out, int in, enum dtype dtype, int rows, bool backward)
{
    size_t V = (size_t)out, C = (size_t)in, size = dtype_size(dtype);
    size_t bytes = rows_bytes(out / CHUNK + 1, in, size, (size_t)rows, (size_t)rows);
    int step = backward_step(V, size);
    if (backward)   // and what dw's product copies
        bytes += backward_bytes(V, C, size, rows < step ? rows : step) + BLOCK * (V + C) * size;
    return bytes;
}

static int chunk_start(const struct packed *p, int chunk, int chunks)
{
    if (chunk == chunks)
        return p->n;
    int pieces = p->n / (p->layout.pair ? p->layout.pair : p->n);
    return (int)((int64_t)pieces * chunk / chunks) * p->layout.pair;
}

static void *carve(char **at, size_t bytes)
{
    void *p = *at;
    *at += (bytes + 63) / 64 * 64;
    return p;
}

/* Finds the distinct rows and lays out one piece of scratch for n of them at most. */
static void rows_prepare(struct head_rows *h, struct cpu *cpu, const struct packed *p, const struct head_item *item, int n,
                         int max_rows)
{
    size_t items = (size_t)n, size = dtype_size(p->dtype);
    h->chunks = chunk_count(p);
    size_t rows = items < (size_t)max_rows ? items : (size_t)max_rows, padded = (rows + BLOCK - 1) / BLOCK * BLOCK;
    size_t rounded = h->quantised ? quant_act_bytes((int)rows, p->k) : 0;
    size_t bytes = rows_bytes(h->chunks, p->k, size, items, rows) + rounded;
    char *at = scratch_get(&cpu->shared[SHARED_LOGITS], bytes);
    h->row = carve(&at, items * sizeof *h->row);
    h->first = carve(&at, (items + 1) * sizeof *h->first);
    h->target = carve(&at, items * sizeof *h->target);
    h->stats = carve(&at, padded * (size_t)h->chunks * sizeof *h->stats);
    h->hidden = carve(&at, padded * (size_t)p->k * size);
    h->act.data = rounded ? carve(&at, rounded) : NULL;
    h->n = 0;
    for (int i = 0; i < n; i++)
        if (i == 0 || item[i].row != item[i - 1].row) {
            h->row[h->n] = item[i].row;
            h->first[h->n++] = i;
        }
    h->first[h->n] = n;
}

static void gather(struct head_rows *h, struct device *dev, const struct packed *p, const struct tensor *hidden,
                   int r0, int rows)
{
    struct cpu *cpu = cpu_of(dev);
    size_t row = (size_t)p->k * dtype_size(p->dtype);
    int padded = (rows + BLOCK - 1) / BLOCK * BLOCK;
    for (int r = 0; r < padded; r++)
        if (r < rows)
            cpu->k->convert(h->hidden + (size_t)r * row, p->dtype, t_row(hidden, h->row[r0 + r]), hidden->dtype, (size_t)p->k);
        else
            memset(h->hidden + (size_t)r * row, 0, row);
    if (!h->quantised)
        return;
    struct tensor t = { .dev = dev, .dtype = p->dtype, .rows = rows, .cols = p->k, .stride = (size_t)p->k, .data = h->hidden };
    quant_round(&h->act, &t);
}

/* One block of rows by one chunk of columns. */
static void make_tile(float *tile, const struct head_rows *h, struct device *dev, const struct packed *p, const struct mm *mm, int b,
                      int rows, int from, int cols)
{
    size_t size = dtype_size(p->dtype), at = p->split ? (size_t)(from / p->layout.pair) * p->layout.nstride : 0;
    if (!h->quantised) {
        mm_run(mm, omp_get_thread_num(), tile, h->hidden + (size_t)b * BLOCK * (size_t)p->k * size, (char *)p->data + at * size);
        return;
    }
    struct tensor t = { .dev = dev, .dtype = DTYPE_F32, .rows = rows - b * BLOCK < BLOCK ? rows - b * BLOCK : BLOCK, .cols = cols,
                        .stride = (size_t)cols, .data = tile };
    quant_product_tile(&t, h->quantised, &h->act, b * BLOCK, from, false);
}

/* What a tile says of its rows: statistics, the targets among its columns, and exponentials where wanted. */
static void read_tile(const struct head_rows *h, const struct kernels *k, const struct packed *p, float *tile,
                      int r0, int b, int rows, int chunk, const struct head_item *item, float by)
{
    int from = chunk_start(p, chunk, h->chunks), cols = chunk_start(p, chunk + 1, h->chunks) - from;
    for (int r = b; r < b + BLOCK && r < rows; r++) {
        float *z = tile + (size_t)(r - b) * (size_t)cols;
        struct logit_stats *s = &h->stats[(size_t)r * (size_t)h->chunks + (size_t)chunk];
        char *e = h->e.data ? (char *)t_row(&h->e, r) + (size_t)from * dtype_size(h->e.dtype) : NULL;
        if (formed(&h->form))
            k->logit_form(z, &h->form, (size_t)cols);
        *s = k->logit_stats(e, h->e.dtype, z, by, (size_t)cols);
        if (e && h->form.softcap > 0)
            k->cap_slope(e, h->e.dtype, z, h->form.softcap, (size_t)cols);
        if (h->argmax)
            s->argmax = k->first_of(z, by, s->max, (size_t)cols);
        for (int i = h->first[r0 + r]; item && i < h->first[r0 + r + 1]; i++)
            if (item[i].target >= from && item[i].target < from + cols)
                h->target[i] = z[item[i].target - from] * by;
    }
}

/* Multiplies rows r0 .. r0+rows of the list by the whole vocabulary, chunk by chunk. */
static void run_tiles(const struct head_rows *h, struct device *dev, const struct packed *p, int r0, int rows,
                      const struct head_item *item, float by)
{
    struct cpu *cpu = cpu_of(dev);
    int blocks = (rows + BLOCK - 1) / BLOCK, last = rows - (blocks - 1) * BLOCK;
    int threads = cpu_threads(dev, (size_t)rows * (size_t)p->n * (size_t)p->k / 8);
    /* A few widths at most: every chunk is one of two multiples of pair, the last one has the tail as well. */
    const struct mm **mm = scratch_get(&cpu->shared[SHARED_UNITS], 2 * (size_t)h->chunks * sizeof *mm);
    for (int c = 0; c < h->chunks && !h->quantised; c++) {
        struct mm_shape s = { .m = BLOCK, .k = p->k, .in = p->dtype, .out = DTYPE_F32, .packed = true };
        s.n = chunk_start(p, c + 1, h->chunks) - chunk_start(p, c, h->chunks);
        mm[2 * c] = blocks > 1 ? onednn_mm(cpu->onednn, &s) : NULL;
        s.m = unit_rows(last);
        mm[2 * c + 1] = onednn_mm(cpu->onednn, &s);
    }
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int i = 0; i < h->chunks * blocks; i++) {
        int chunk = i / blocks, b = i % blocks, thread = omp_get_thread_num();
        int from = chunk_start(p, chunk, h->chunks), cols = chunk_start(p, chunk + 1, h->chunks) - from;
        float *tile = scratch_get(&cpu->thread[thread], (size_t)BLOCK * (size_t)cols * sizeof *tile);
        const struct mm *product = h->quantised ? NULL : mm[2 * chunk + (b == blocks - 1)];
        make_tile(tile, h, dev, p, product, b, rows, from, cols);
        read_tile(h, cpu->k, p, tile, r0, b * BLOCK, rows, chunk, item, by);
    }
}

struct row_summary { double lse, entropy; int argmax; };

/* With M the largest maximum: sum = sum_j s_j e^(m_j - M), and E[z] - M likewise; entropy = lse - E[z]. */
static struct row_summary merge(const struct logit_stats *s, int chunks, const struct packed *p)
{
    double max = -FLT_MAX, sum = 0, sum_z = 0;
    struct row_summary out = { 0 };
    for (int j = 0; j < chunks; j++)
        if (s[j].max > max || j == 0) {
            max = s[j].max;
            out.argmax = chunk_start(p, j, chunks) + s[j].argmax;
        }
    for (int j = 0; j < chunks; j++) {
        double e = exp(s[j].max - max);
        sum += s[j].sum * e;
        sum_z += e * (s[j].sum_z + s[j].sum * (s[j].max - max));
    }
    out.lse = max + log(sum);
    out.entropy = log(sum) - sum_z / sum;
    return out;
}

/* Of row r's items, what its chunks say together; each output may be NULL. */
static void say_row(const struct head_rows *h, int r, const struct row_summary *s, float *logp, float *entropy, float *lse,
                    int *argmax)
{
    for (int i = h->first[r]; i < h->first[r + 1]; i++) {
        if (logp)
            logp[i] = (float)(h->target[i] - s->lse);
        if (entropy)
            entropy[i] = (float)s->entropy;
        if (lse)
            lse[i] = (float)s->lse;
        if (argmax)
            argmax[i] = s->argmax;
    }
}

void cpu_head_logp(float *logp, float *entropy, float *lse, int *argmax, const struct tensor *hidden,
                   const struct weight *w, const struct head_item *item, int n, float inv_temperature)
{
    const struct packed *p = &((const struct cpu_weight *)w)->forward;
    struct head_rows h = { .argmax = argmax, .form = w->logits, .quantised = ((const struct cpu_weight *)w)->quantised };
    rows_prepare(&h, cpu_of(w->dev), p, item, n, n);
    gather(&h, w->dev, p, hidden, 0, h.n);
    run_tiles(&h, w->dev, p, 0, h.n, item, inv_temperature);
    for (int r = 0; r < h.n; r++) {
        struct row_summary s = merge(h.stats + (size_t)r * (size_t)h.chunks, h.chunks, p);
        say_row(&h, r, &s, logp, entropy, lse, argmax);
    }
}

void cpu_logits_logp(float *logp, float *entropy, const float *logits, const struct weight *w, const int *target, int n,
                     float inv_temperature)
{
    const struct packed *p = &((const struct cpu_weight *)w)->forward;
    struct cpu *cpu = cpu_of(w->dev);
    int chunks = chunk_count(p), threads = cpu_threads(w->dev, (size_t)n * (size_t)p->n * 4);
    struct logit_stats *stats = scratch_get(&cpu->shared[SHARED_LOGITS], (size_t)n * (size_t)chunks * sizeof *stats);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int i = 0; i < n; i++) {
        const float *z = logits + (size_t)i * (size_t)p->n;
        struct logit_stats *s = stats + (size_t)i * (size_t)chunks;
        for (int c = 0; c < chunks; c++) {
            int from = chunk_start(p, c, chunks);
            s[c] = cpu->k->logit_stats(NULL, DTYPE_F32, z + from, inv_temperature, (size_t)(chunk_start(p, c + 1, chunks) - from));
        }
        struct row_summary sum = merge(s, chunks, p);
        logp[i] = (float)(z[target[i]] * inv_temperature - sum.lse);
        if (entropy)
            entropy[i] = (float)sum.entropy;
    }
}

/* ---- backward ------------------------------------------------------------------------------ */

/* dlogits = inv_temperature * (sum of the row's dlogp * onehot - total * p), where p is the exponentials that are there
 * already times e^(the chunk's maximum - lse), and times the slope of the soft cap. */
static struct row_summary row_dlogits(const struct head_rows *h, const struct kernels *k, const struct packed *p, int r0, int r,
                                      const struct head_item *item, const float *dlogp, float by)
{
    const struct logit_stats *stats = h->stats + (size_t)r * (size_t)h->chunks;
    struct row_summary s = merge(stats, h->chunks, p);
    int first = h->first[r0 + r], end = h->first[r0 + r + 1];
    float total = 0;
    float out = by * h->form.scale, cap = h->form.softcap;
    for (int i = first; i < end; i++)
        total += dlogp[i];
    for (int c = 0; c < h->chunks; c++) {
        int from = chunk_start(p, c, h->chunks), cols = chunk_start(p, c + 1, h->chunks) - from;
        k->scale((char *)t_row(&h->e, r) + (size_t)from * dtype_size(h->e.dtype), h->e.dtype,
                 (float)(-total * out * exp(stats[c].max - s.lse)), (size_t)cols);
    }
    for (int i = first; i < end; i++) {
        double mine = 0, q = exp((double)h->target[i] - s.lse);
        for (int j = first; j < end; j++)
            mine += item[j].target == item[i].target ? dlogp[j] : 0;
        if (cap > 0) {
            double t = (double)h->target[i] / by / cap;
            mine *= 1 - t * t;
            q *= 1 - t * t;
        }
        t_set(&h->e, r, item[i].target, (float)(out * (mine - total * q)));
    }
    return s;
}

static struct tensor scratch_tensor(const struct tensor *like, enum dtype dtype, int rows, int cols, char **at)
{
    struct tensor t = { .dev = like->dev, .dtype = dtype, .rows = rows, .cols = cols, .stride = (size_t)cols };
    t.data = carve(at, (size_t)rows * (size_t)cols * dtype_size(dtype));
    return t;
}

void cpu_head_learn(float *logp, float *entropy, int *argmax, struct tensor *dhidden, struct tensor *dw,
                    const struct tensor *hidden, const struct weight *w, const struct head_item *item, const float *dlogp, int n,
                    float inv_temperature)
{
    struct device *dev = w->dev;
    struct cpu *cpu = cpu_of(dev);
    const struct packed *p = &((const struct cpu_weight *)w)->forward;
    size_t V = (size_t)w->out, C = (size_t)w->in;
    int step = backward_step(V, dtype_size(w->dtype));
    struct head_rows h = { .argmax = argmax, .form = w->logits, .quantised = ((const struct cpu_weight *)w)->quantised };
    rows_prepare(&h, cpu, p, item, n, step);
    int most = h.n < step ? h.n : step;
    char *at = scratch_get(&cpu->shared[SHARED_DLOGITS], backward_bytes(V, C, dtype_size(w->dtype), most));
    h.e = scratch_tensor(hidden, w->dtype, most, (int)V, &at);
    struct tensor rows = scratch_tensor(hidden, w->dtype, most, (int)C, &at);
    struct tensor drows = scratch_tensor(hidden, DTYPE_F32, most, (int)C, &at);
    for (int r0 = 0; r0 < h.n; r0 += step) {
        int count = h.n - r0 < step ? h.n - r0 : step, threads = cpu_threads(dev, (size_t)count * V * 4);
        gather(&h, dev, p, hidden, r0, count);
        run_tiles(&h, dev, p, r0, count, item, inv_temperature);
        struct tensor d = tensor_rows(&h.e, 0, count), x = tensor_rows(&rows, 0, count), dx = tensor_rows(&drows, 0, count);
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int r = 0; r < count; r++) {
            struct row_summary s = row_dlogits(&h, cpu->k, p, r0, r, item, dlogp, inv_temperature);
            say_row(&h, r0 + r, &s, logp, entropy, NULL, argmax);
        }
        if (dhidden) {
            cpu_slabs_backward_x(&dx, &d, w);
            for (int r = 0; r < count; r++)
                cpu->k->add(t_f32(dhidden, h.row[r0 + r]), t_f32(&dx, r), DTYPE_F32, C);
        }
        if (dw) {
            cpu_gather_rows(&x, hidden, h.row + r0, count);
            cpu_linear_backward_w(dw, &d, &x);
        }
    }
}

void cpu_head_logits(float *logits, const struct tensor *hidden, const struct weight *w, const int *row, int n)
{
    struct cpu *cpu = cpu_of(w->dev);
    char *at = scratch_get(&cpu->shared[SHARED_LOGITS], (size_t)n * (size_t)w->in * 4 + 64);
    struct tensor rows = scratch_tensor(hidden, w->dtype, n, w->in, &at);
    struct tensor out = { .dev = w->dev, .dtype = DTYPE_F32, .rows = n, .cols = w->out, .stride = (size_t)w->out,
                          .data = logits };
    cpu_gather_rows(&rows, hidden, row, n);
    cpu_linear(&out, &rows, w, false);
    if (!formed(&w->logits))
        return;
    int threads = cpu_threads(w->dev, (size_t)n * (size_t)w->out * 4);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int i = 0; i < n; i++)
        cpu->k->logit_form(t_f32(&out, i), &w->logits, (size_t)w->out);
}

/* ---- scalar heads -------------------------------------------------------------------------- */

void cpu_scalar_head(float *out, const struct tensor *hidden, const struct tensor *w, const int *row, int n)
{
    const struct kernels *k = cpu_of(hidden->dev)->k;
    for (int i = 0; i < n; i++)
        out[i] = k->dot(t_row(hidden, row[i]), hidden->dtype, t_f32(w, 0), (size_t)hidden->cols);
}

/* In order, since a row may be named twice. */
void cpu_scalar_head_backward(struct tensor *dhidden, struct tensor *dw, const struct tensor *hidden,
                              const struct tensor *w, const int *row, const float *dout, int n)
{
    const struct kernels *k = cpu_of(hidden->dev)->k;
    for (int i = 0; i < n; i++) {
        k->axpy(t_f32(dhidden, row[i]), dout[i], t_f32(w, 0), DTYPE_F32, (size_t)w->cols);
        if (dw)
            k->axpy(t_f32(dw, 0), dout[i], t_row(hidden, row[i]), hidden->dtype, (size_t)w->cols);
    }
}
