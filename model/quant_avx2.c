/* quant_avx2: products of quantised weights with AVX2; see quant_rows.h. */
#include "model/simd_avx2.h"

#include "model/quant_rows.h"
