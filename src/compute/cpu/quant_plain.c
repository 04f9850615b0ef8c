/* compute/cpu/quant_plain.c - the loops over weights in blocks, compiled for any processor. */
#define QUANT_KERNELS quant_plain
#define QUANT_NAME "plain loops"
#include "compute/cpu/quant_body.h"
