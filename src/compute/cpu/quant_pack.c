/* compute/cpu/quant_pack.c - blocks from a file into groups of sixteen rows, and rows back to floats.
 *
 * A block's fields are copied unit by unit (quant.h).  While a block is at hand its scales are looked at: one that is no
 * number, or that makes values fp16 could not hold, makes every result wrong and comes from a damaged file. */
#include <math.h>

#include "compute/cpu/cpu.h"
#include "compute/cpu/quant.h"

/* Where the fields of a block are in the file, and the largest quant times scale that goes with d, and min with m. */
static const struct { int d, m, scales, n_scales, high, quant; float most_d, most_m; } layout[QUANT_TYPES] = {
    [QUANT_Q8_0] = { .d = 0, .m = -1, .quant = 2, .most_d = 128 },
    [QUANT_Q4_0] = { .d = 0, .m = -1, .quant = 2, .most_d = 8 },
    [QUANT_Q4_1] = { .d = 0, .m = 2, .quant = 4, .most_d = 15, .most_m = 1 },
    [QUANT_Q5_0] = { .d = 0, .m = -1, .high = 2, .quant = 6, .most_d = 16 },
    [QUANT_Q5_1] = { .d = 0, .m = 2, .high = 4, .quant = 8, .most_d = 31, .most_m = 1 },
    [QUANT_Q4_K] = { .d = 0, .m = 2, .scales = 4, .n_scales = 12, .quant = 16, .most_d = 15 * 63, .most_m = 63 },
    [QUANT_Q5_K] = { .d = 0, .m = 2, .scales = 4, .n_scales = 12, .high = 16, .quant = 48, .most_d = 31 * 63, .most_m = 63 },
    [QUANT_Q6_K] = { .d = 208, .m = -1, .scales = 192, .n_scales = 16, .high = 128, .quant = 0, .most_d = 32 * 128 },
};

int quant_values(enum quant t)
{
    return quant_forms[t].values;
}

size_t quant_bytes(enum quant t)
{
    return (size_t)quant_forms[t].bytes;
}

/* ---- one block ----------------------------------------------------------------------------- */

static uint16_t half_at(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static float half_value(uint16_t h)
{
    int e = h >> 10 & 31;
    float m = (float)(h & 1023), v = e == 31 ? (m != 0 ? NAN : INFINITY) : e ? ldexpf(m + 1024, e - 25) : ldexpf(m, -24);
    return h & 0x8000 ? -v : v;
}

/* Magnitudes of fp16 are in the order of their bits, so one comparison per block is enough. */
static bool is_bad(uint16_t h, uint16_t most)
{
    return (h & 0x7fff) > most;
}

/* The largest fp16 whose product with `by` a fp16 can hold. */
static uint16_t most_half(float by)
{
    uint16_t h = 0x7bff;
    while (by > 0 && half_value(h) * by > 65504)
        h--;
    return h;
}

/* n units of `size` bytes to one lane of a stream. */
static inline void put_units(unsigned char *to, const unsigned char *from, int n, int size, int lane)
{
    for (int u = 0; u < n; u++)
        memcpy(to + (u * QUANT_LANES + lane) * size, from + u * size, (size_t)size);
}

static inline void put_words(unsigned char *to, const unsigned char *from, int bytes, int lane, uint32_t turn)
{
    for (int u = 0; u < bytes / 4; u++) {
        uint32_t w;
        memcpy(&w, from + 4 * u, 4);
        w ^= turn;
        memcpy(to + (u * QUANT_LANES + lane) * 4, &w, 4);
    }
}

/* Bit i belongs to value i in the file, and to byte i % 4 of word i / 4 here: bit 8 (i % 4) + i / 4. */
static uint32_t spread_high(uint32_t h)
{
    uint32_t out = 0;
    for (int i = 0; i < 32; i++)
        out |= (h >> i & 1) << (8 * (i % 4) + i / 4);
    return out;
}

struct packing { struct quant_part *p; const struct quant_rows *rows; uint16_t most_d, most_m; };

/* One block of one lane; false where a scale is bad. */
static bool put_block(const struct packing *k, const unsigned char *src, size_t at, int lane)
{
    enum quant t = k->p->type;
    const struct quant_form *f = &quant_forms[t];
    unsigned char *scale = k->p->scale + at * (size_t)f->scale, *high = k->p->high + at * (size_t)f->high;
    unsigned char *quant = k->p->quant + at * (size_t)f->quant;
    bool good = !is_bad(half_at(src + layout[t].d), k->most_d);
    put_units(scale, src + layout[t].d, 1, 2, lane);
    scale += 2 * QUANT_LANES;
    if (layout[t].m >= 0) {
        good &= !is_bad(half_at(src + layout[t].m), k->most_m);
        put_units(scale, src + layout[t].m, 1, 2, lane);
        scale += 2 * QUANT_LANES;
    }
    put_units(scale, src + layout[t].scales, layout[t].n_scales, 1, lane);
    put_words(quant, src + layout[t].quant, f->quant, lane, t == QUANT_Q8_0 ? 0x80808080u : 0);
    if (f->high == 4) {
        uint32_t h;
        memcpy(&h, src + layout[t].high, 4);
        h = spread_high(h);
        memcpy(high + lane * 4, &h, 4);
    } else
        put_words(high, src + layout[t].high, f->high, lane, 0);
    return good;
}

/* ---- a weight -------------------------------------------------------------------------------- */

static size_t padded(size_t n)
{
    return (n + 63) / 64 * 64;
}

/* Bytes of a part's streams. */
struct streams { size_t scale, high, quant; };
static struct streams streams_of(const struct quant_rows *rows, int in)
{
    const struct quant_form *f = &quant_forms[rows->type];
    size_t groups = (size_t)(rows->n + QUANT_LANES - 1) / QUANT_LANES, n = groups * (size_t)(in / f->values) * QUANT_LANES;
    return (struct streams){ padded(n * (size_t)f->scale), padded(n * (size_t)f->high), padded(n * (size_t)f->quant) };
}

size_t quantised_plan(int in, const struct quant_rows *part, int n)
{
    size_t bytes = 0;
    for (int i = 0; i < n; i++) {
        struct streams s = streams_of(&part[i], in);
        bytes += s.scale + s.high + s.quant;
    }
    return bytes;
}

static int part_new(struct quant_part *p, size_t *bytes, const struct quant_rows *rows, int col, int in)
{
    const struct quant_form *f = &quant_forms[rows->type];
    *p = (struct quant_part){ .type = rows->type, .col = col, .cols = rows->n };
    p->groups = (rows->n + QUANT_LANES - 1) / QUANT_LANES;
    p->blocks = in / f->values;
    struct streams s = streams_of(rows, in);
    *bytes = s.scale + s.high + s.quant;
    p->quant = large_alloc(*bytes);
    if (!p->quant)
        return ERR_MEMORY;
    p->high = p->quant + s.quant;
    p->scale = p->high + s.high;
    return 0;
}

/* Group by group, so that a thread writes what lies together; lanes without a row are zero. */
static bool fill_group(const struct packing *k, int group, int *bad_row)
{
    const struct quant_part *p = k->p;
    const struct quant_form *f = &quant_forms[p->type];
    size_t n = (size_t)p->blocks * QUANT_LANES, at = (size_t)group * n;
    int rows = p->cols - group * QUANT_LANES < QUANT_LANES ? p->cols - group * QUANT_LANES : QUANT_LANES;
    if (rows < QUANT_LANES) {
        memset(p->scale + at * (size_t)f->scale, 0, n * (size_t)f->scale);
        memset(p->high + at * (size_t)f->high, 0, n * (size_t)f->high);
        memset(p->quant + at * (size_t)f->quant, 0, n * (size_t)f->quant);
    }
    for (int lane = 0; lane < rows; lane++) {
        const unsigned char *src = k->rows->row[group * QUANT_LANES + lane];
        for (int b = 0; b < p->blocks; b++)
            if (!put_block(k, src + (size_t)b * (size_t)f->bytes, at + (size_t)b * QUANT_LANES, lane)) {
                *bad_row = group * QUANT_LANES + lane;
                return false;
            }
    }
    return true;
}

/* Which block it was, and what its scale says. */
static void find_fault(struct quant_fault *fault, const struct packing *k, int part, int row)
{
    enum quant t = k->p->type;
    const unsigned char *src = k->rows->row[row];
    *fault = (struct quant_fault){ .part = part, .row = row };
    for (int b = 0; b < k->p->blocks; b++, src += quant_forms[t].bytes) {
        uint16_t d = half_at(src + layout[t].d), m = layout[t].m >= 0 ? half_at(src + layout[t].m) : 0;
        bool bad_d = is_bad(d, k->most_d);
        if (!bad_d && !is_bad(m, k->most_m))
            continue;
        fault->block = b;
        fault->scale = half_value(bad_d ? d : m);
        return;
    }
}

static int fill_part(struct quant_part *p, struct device *dev, const struct quant_rows *rows, int part, struct quant_fault *fault)
{
    struct packing k = { .p = p, .rows = rows, .most_d = most_half(layout[p->type].most_d), .most_m = most_half(layout[p->type].most_m) };
    int threads = cpu_threads(dev, (size_t)p->groups * (size_t)p->blocks * 256), worst = p->cols;
#pragma omp parallel for schedule(dynamic, 4) num_threads(threads) reduction(min : worst)
    for (int g = 0; g < p->groups; g++) {
        int row = p->cols;
        if (!fill_group(&k, g, &row) && row < worst)
            worst = row;
    }
    if (worst == p->cols)
        return 0;
    find_fault(fault, &k, part, worst);
    return ERR_NUMERIC;
}

void quantised_free(struct quantised *q)
{
    for (int i = 0; q && i < q->n_parts; i++)
        free(q->part[i].quant);
    free(q);
}

int quantised_new(struct quantised **out, struct device *dev, int in, const struct quant_rows *part, int n, struct quant_fault *fault)
{
    struct quantised *q = mem_alloc(1, sizeof *q + (size_t)n * sizeof q->part[0]);
    int rc = q ? 0 : ERR_MEMORY, col = 0;
    for (int i = 0; rc == 0 && i < n; i++) {
        size_t bytes = 0;
        rc = part_new(&q->part[q->n_parts], &bytes, &part[i], col, in);
        if (rc == 0)
            rc = fill_part(&q->part[q->n_parts++], dev, &part[i], i, fault);
        q->groups += q->part[i].groups;
        q->bytes += bytes;
        col += part[i].n;
    }
    if (rc == 0)
        *out = q;
    else
        quantised_free(q);
    return rc;
}

/* ---- back -------------------------------------------------------------------------------------- */

void quantised_row(float *out, const struct device *dev, const struct quantised *q, int row)
{
    const struct quant_kernels *k = cpu_of(dev)->quant;
    float values[32][QUANT_LANES] __attribute__((aligned(64)));
    int i = 0;
    while (row >= q->part[i].col + q->part[i].cols)
        i++;
    const struct quant_part *p = &q->part[i];
    int at = row - p->col, blocks = p->blocks * quant_forms[p->type].values / 32;
    for (int b = 0; b < blocks; b++) {
        k->unpack(values, p, at / QUANT_LANES, b);
        for (int j = 0; j < 32; j++)
            *out++ = values[j][at % QUANT_LANES];
    }
}
