/* kernels_portable: quantised products in plain C (quant_portable.c), for the portable table and for the few last rows that do
 * not fill a vector in the other tables, whose bits are the same. Contracts as in struct kernels. */
#ifndef MODEL_KERNELS_PORTABLE_H
#define MODEL_KERNELS_PORTABLE_H

#include "model/kernels.h"

/* Where the largest of a block is smaller, the inverse of the scale would overflow, and the numbers count as 0. */
#define QUANTIZE_LEAST 0x1p-100f

void quantize_32_portable(const float *x, struct act32 *out, size_t n);
void quantize_256_portable(const float *x, struct act256 *out, size_t n);
void product_q4_0_portable(const struct product *p);
void product_q4_1_portable(const struct product *p);
void product_q5_0_portable(const struct product *p);
void product_q5_1_portable(const struct product *p);
void product_q8_0_portable(const struct product *p);
void product_q4_k_portable(const struct product *p);
void product_q5_k_portable(const struct product *p);
void product_q6_k_portable(const struct product *p);

#endif
