/* compute/cpu/attention_avx512bf16.c - attention_body.h compiled for AVX-512 with bf16 products. */
#define LANES 16
#define PAIR 2
#define NAME(x) x##_avx512bf16
#define INSTRUCTIONS "AVX-512 BF16"
#include "compute/cpu/attention_body.h"
