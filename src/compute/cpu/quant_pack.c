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

/* The largest fp16 whose product with `by` (0: unused; at most 4096) a fp16 can hold: a quotient's bits, cut. */
static uint16_t most_half(float by)
{
    union { float f; uint32_t u; } most = { by > 1 ? 65504 / by : 65504 };
    return (uint16_t)((most.u >> 13) - (112 << 10));
}

/* Of sixteen blocks, from `at` on: n halves, bytes or words, each of all lanes together. */
struct lanes { const unsigned char *src[QUANT_LANES]; };

static inline void put_half(unsigned char *to, const struct lanes *l, int at)
{
    for (int lane = 0; lane < QUANT_LANES; lane++)
        memcpy(to + lane * 2, l->src[lane] + at, 2);
}

static inline void put_bytes(unsigned char *to, const struct lanes *l, int at, int n)
{
    for (int u = 0; u < n; u++)
        for (int lane = 0; lane < QUANT_LANES; lane++)
            *to++ = l->src[lane][at + u];
}

static inline void put_words(unsigned char *to, const struct lanes *l, int at, int bytes, uint32_t turn)
{
    for (int u = 0; u < bytes; u += 4)
        for (int lane = 0; lane < QUANT_LANES; lane++, to += 4) {
            uint32_t w;
            memcpy(&w, l->src[lane] + at + u, 4);
            w ^= turn;
            memcpy(to, &w, 4);
        }
}

/* Bit i belongs to value i in the file, and to byte i % 4 of word i / 4 here: bit 8 (i % 4) + i / 4. */
static uint32_t spread_high(uint32_t h)
{
    uint32_t out = 0;
    for (int i = 0; i < 8; i++) {       // four bits that follow each other, one to each byte
        uint32_t four = h >> 4 * i & 15;
        out |= (four * 0x00204081u & 0x01010101u) << i;
    }
    return out;
}

struct packing { struct quant_part *p; const struct quant_rows *rows; uint16_t most_d, most_m; };

/* One block of sixteen rows; the first lane whose scale is bad, or QUANT_LANES. */
static int put_block(const struct packing *k, const struct lanes *l, size_t at)
{
    enum quant t = k->p->type;
    const struct quant_form *f = &quant_forms[t];
    unsigned char *scale = k->p->scale + at * (size_t)f->scale, *high = k->p->high + at * (size_t)f->high;
    int d = layout[t].d, m = layout[t].m;
    put_half(scale, l, d);
    scale += 2 * QUANT_LANES;
    if (m >= 0) {
        put_half(scale, l, m);
        scale += 2 * QUANT_LANES;
    }
    put_bytes(scale, l, layout[t].scales, layout[t].n_scales);
    put_words(k->p->quant + at * (size_t)f->quant, l, layout[t].quant, f->quant, t == QUANT_Q8_0 ? 0x80808080u : 0);
    put_words(high, l, layout[t].high, f->high, 0);
    for (int lane = 0; lane < QUANT_LANES && f->high == 4; lane++, high += 4) {
        uint32_t h;
        memcpy(&h, high, 4);
        h = spread_high(h);
        memcpy(high, &h, 4);
    }
    for (int lane = 0; lane < QUANT_LANES; lane++)
        if (is_bad(half_at(l->src[lane] + d), k->most_d) || (m >= 0 && is_bad(half_at(l->src[lane] + m), k->most_m)))
            return lane;
    return QUANT_LANES;
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

static int part_new(struct quant_part *p, struct cpu *cpu, size_t *bytes, const struct quant_rows *rows, int col, int in)
{
    const struct quant_form *f = &quant_forms[rows->type];
    *p = (struct quant_part){ .type = rows->type, .col = col, .cols = rows->n };
    p->groups = (rows->n + QUANT_LANES - 1) / QUANT_LANES;
    p->blocks = in / f->values;
    struct streams s = streams_of(rows, in);
    *bytes = s.scale + s.high + s.quant;
    p->quant = piece_new(cpu, *bytes);
    if (!p->quant)
        return ERR_MEMORY;
    p->high = p->quant + s.quant;
    p->scale = p->high + s.high;
    return 0;
}

/* All sixteen rows at once, block after block; lanes without a row are zero.  The first row with a bad scale, or p->cols. */
static int fill_group(const struct packing *k, int group)
{
    static const unsigned char nothing[256];
    const struct quant_part *p = k->p;
    int first = group * QUANT_LANES, bad = QUANT_LANES;
    struct lanes l;
    for (int b = 0; b < p->blocks && bad == QUANT_LANES; b++) {
        for (int lane = 0; lane < QUANT_LANES; lane++)
            l.src[lane] = first + lane < p->cols ? k->rows->row[first + lane] + (size_t)b * (size_t)quant_forms[p->type].bytes : nothing;
        bad = put_block(k, &l, ((size_t)group * (size_t)p->blocks + (size_t)b) * QUANT_LANES);
    }
    return bad == QUANT_LANES ? p->cols : first + bad;
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
        int row = fill_group(&k, g);
        worst = row < worst ? row : worst;
    }
    if (worst == p->cols)
        return 0;
    find_fault(fault, &k, part, worst);
    return ERR_NUMERIC;
}

void quantised_free(struct quantised *q)
{
    for (int i = 0; q && i < q->n_parts; i++)
        piece_free(q->part[i].quant);
    free(q);
}

int quantised_new(struct quantised **out, struct device *dev, int in, const struct quant_rows *part, int n, struct quant_fault *fault)
{
    struct quantised *q = mem_alloc(1, sizeof *q + (size_t)n * sizeof q->part[0]);
    int rc = q ? 0 : ERR_MEMORY, col = 0;
    for (int i = 0; rc == 0 && i < n; i++) {
        size_t bytes = 0;
        rc = part_new(&q->part[q->n_parts], cpu_of(dev), &bytes, &part[i], col, in);
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
