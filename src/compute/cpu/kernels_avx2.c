/* compute/cpu/kernels_avx2.c - the row loops, compiled for AVX2 (flags in the Makefile). */
#define KERNELS kernels_avx2
#define KERNELS_NAME "AVX2"
#include "compute/cpu/kernels_body.h"
