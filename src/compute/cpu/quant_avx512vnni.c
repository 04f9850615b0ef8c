/* compute/cpu/quant_avx512vnni.c - the loops over weights in blocks, compiled for AVX-512 VNNI (flags in the Makefile). */
#define QUANT_KERNELS quant_avx512vnni
#define QUANT_NAME "AVX-512 VNNI"
#include "compute/cpu/quant_body.h"
