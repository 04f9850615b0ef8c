/* compute/cpu/quant_avx2.c - the loops over weights in blocks, compiled for AVX2 (flags in the Makefile). */
#define QUANT_KERNELS quant_avx2
#define QUANT_NAME "AVX2"
#include "compute/cpu/quant_body.h"
