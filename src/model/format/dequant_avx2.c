/* dequant_avx2.c - the conversion loops for processors with AVX2.  Chosen at run time by
 * dequant.c. */
#pragma GCC optimize("O3")
#include "model/format/store.h"

#define CONVERT store_to_float_avx2
#include "model/format/dequant_loops.h"
