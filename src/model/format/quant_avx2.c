/* quant_avx2.c - the loops of quant_loops.h for processors with AVX2.  Chosen at run time by
 * quant.c. */
#pragma GCC optimize("O3,fp-contract=off")
#include "model/format/store.h"

#define QUANTISE float_to_store_avx2
#include "model/format/quant_loops.h"
