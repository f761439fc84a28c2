/* quant_avx512: products of quantised weights with AVX-512 and VNNI; see quant_rows.h. */
#include "model/simd_avx512.h"

#include "model/quant_rows.h"
