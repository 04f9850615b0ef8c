/* compute/cpu/attention_base.c - attention_body.h compiled for any processor. */
#define LANES 4
#define PAIR 1
#define NAME(x) x##_base
#define INSTRUCTIONS "baseline"
#include "compute/cpu/attention_body.h"
