/* compute/cpu/kernels_plain.c - the row loops, compiled for any 64-bit x86 or other processor. */
#define KERNELS kernels_plain
#define KERNELS_NAME "plain loops"
#include "compute/cpu/kernels_body.h"
