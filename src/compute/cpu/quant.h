/* compute/cpu/quant.h - weights that stay in llama.cpp's blocks: how they lie in memory, and the loops over them.
 *
 * Sixteen rows of the weight (sixteen columns of the product) make a group and become the lanes of a vector: every field of
 * their blocks is cut into units, and unit u of all sixteen lies together.  The size stays what it was (the last
 * group is padded), and quants need no change but two: Q8_0 gets its sign bit turned, so that all quants count from zero up,
 * and the fifth bits of Q5_0 and Q5_1 are put where the four bytes of a word want them.  Three streams, each from
 * group to group and in it from block to block:
 *
 *   type        scale (per lane)                        high              quant                   a value is
 *   Q8_0        d                                       -                 8 words, q + 128        d (q - 128)
 *   Q4_0 Q4_1   d; d m                                  -                 4 words, low then high  d (q - 8); d q + m
 *   Q5_0 Q5_1   d; d m                                  1 word            4 words                 d (q - 16); d q + m
 *   Q4_K Q5_K   d m, 12 bytes of scales and mins        -; 8 words        32 words                d scale q - m min
 *   Q6_K        d, 16 scales                            16 words          32 words                d scale (q - 32)
 *
 * d and m are fp16 (unit 2), scales bytes (unit 1), a word is four quants that follow each other along the row (unit 4).
 *
 * A product rounds each row of x to int8, 32 values with one fp32 scale (the largest becomes 127): a row's own
 * values only.  Then, for block after block of 32, q times x in integers, times the weight's scale and x's, added up in fp32
 * in the order of blocks, whatever the number of rows: that is the whole of it, so a row's bits are its own.  The
 * definition is dequantise, then multiply in fp32; rounding x differs from it by about 1/250 of the norms (tests).
 *
 * quant_body.h is compiled for any processor, AVX2 and AVX-512 VNNI. */
#ifndef COMPUTE_CPU_QUANT_H
#define COMPUTE_CPU_QUANT_H

#include "compute/device.h"

enum { QUANT_LANES = 16, QUANT_TILE = 64 };     // columns of a group, most rows of x at a time

struct quant_part {             // rows of one type
    enum quant type;
    int col, cols, groups, blocks;      // first column of the product; blocks of 32 or 256 in a row
    unsigned char *scale, *high, *quant;
};
struct quantised {
    int n_parts, groups;
    size_t bytes;               // of all streams
    struct quant_part part[];
};

/* A block's values and bytes in the file, and its bytes in each stream, for one lane. */
struct quant_form { int values, bytes, scale, high, quant; };
static const struct quant_form quant_forms[QUANT_TYPES] = {
    [QUANT_Q8_0] = { 32, 34, 2, 0, 32 },   [QUANT_Q4_0] = { 32, 18, 2, 0, 16 },     [QUANT_Q4_1] = { 32, 20, 4, 0, 16 },
    [QUANT_Q5_0] = { 32, 22, 2, 4, 16 },   [QUANT_Q5_1] = { 32, 24, 4, 4, 16 },     [QUANT_Q4_K] = { 256, 144, 16, 0, 128 },
    [QUANT_Q5_K] = { 256, 176, 16, 32, 128 }, [QUANT_Q6_K] = { 256, 210, 18, 64, 128 },
};

/* Rows of x as int8, tile after tile of at most QUANT_TILE rows; in a tile of R rows block after block of
 * 32: R * 32 quants, then arrays of R numbers each. */
struct quant_act { int rows, blocks; unsigned char *data; };
enum { ACT_SCALE, ACT_SUM, ACT_MINUS, ACT_MINUS_LOW, ACT_MINUS_HIGH, ACT_NUMBERS };
/* floats: x's scale, scale times the sum of quants; int32: minus the sum of quants, of the first 16, of the others */
static inline size_t quant_act_block(int rows)
{
    return (size_t)rows * (32 + 4 * ACT_NUMBERS);
}
static inline size_t quant_act_bytes(int rows, int in)
{
    return ((size_t)rows * (32 + 4 * ACT_NUMBERS) * ((size_t)in / 32) + 63) / 64 * 64;
}
static inline unsigned char *quant_act_tile(const struct quant_act *a, int row)
{
    return a->data + quant_act_block(row) * (size_t)a->blocks;
}

struct quant_tile {
    const unsigned char *act;           // of one tile
    int rows, blocks;                   // blocks of the weight's type
    const unsigned char *scale, *high, *quant;
    void *y;                            // (rows, cols <= 16), rows ldy elements apart
    size_t ldy;
    int cols;
    enum dtype out;
    bool accumulate;
};
struct quant_kernels {
    const char *name;
    /* one group of columns for one tile */
    void (*tile[QUANT_TYPES])(const struct quant_tile *t);
    /* row r of a tile of `rows` */
    void (*round)(unsigned char *act, int rows, int r, const void *x, enum dtype dtype, int blocks);
    /* 32 values of 16 lanes: out[k][lane]; block counts 32s from the row's start */
    void (*unpack)(float out[32][QUANT_LANES], const struct quant_part *p, int group, int block);
};
extern const struct quant_kernels quant_plain, quant_avx2, quant_avx512vnni;
const struct quant_kernels *quant_best(void);   // for this processor; RLAIF_ISA caps it

struct cpu_weight;
struct packed;
/* Rounds rows of x into `a`, whose data has quant_act_bytes. */
void quant_round(struct quant_act *a, const struct tensor *x);
/* y (rows of the tile at row0, columns col0 .. col0 + y->cols, a multiple of 16 unless the last) */
void quant_product_tile(struct tensor *y, const struct quantised *q, const struct quant_act *a, int row0, int col0, bool accumulate);
void quant_linear(struct tensor *y, const struct tensor *x, const struct quantised *q, bool accumulate);
void quant_linear_backward_x(struct tensor *dx, const struct tensor *dy, const struct weight *w, bool accumulate);
int quantised_new(struct quantised **out, struct device *dev, int in, const struct quant_rows *part, int n, struct quant_fault *fault);
void quantised_free(struct quantised *q);
/* row `row` of the weight as floats */
void quantised_row(float *out, const struct device *dev, const struct quantised *q, int row);

#endif
