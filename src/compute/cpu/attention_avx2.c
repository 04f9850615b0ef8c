/* compute/cpu/attention_avx2.c - attention_body.h compiled for AVX2 with FMA. */
#define LANES 8
#define PAIR 1
#define NAME(x) x##_avx2
#define INSTRUCTIONS "AVX2"
#include "compute/cpu/attention_body.h"
