/* compute/cpu/kernels_avx512.c - the row loops, compiled for AVX-512 (flags in the Makefile). */
#define KERNELS kernels_avx512
#define KERNELS_NAME "AVX-512"
#include "compute/cpu/kernels_body.h"
