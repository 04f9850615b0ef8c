/* compute/cpu/attention_avx512.c - attention_body.h compiled for AVX-512. */
#define LANES 16
#define PAIR 1
#define NAME(x) x##_avx512
#define INSTRUCTIONS "AVX-512"
#include "compute/cpu/attention_body.h"
