/* Products of few rows, as decoding has them. */
#ifndef KERNELS_CUDA_MATMUL_H
#define KERNELS_CUDA_MATMUL_H

#include "kernels/cuda/cuda.h"
#include "kernels/ops/products.h"

/* A product of at most CUDA_FEW_ROWS rows, bound by reading w (matmul_few.cu), as the op matmul has
 * it. False, and nothing done, for other shapes and for rows that are not aligned to 16 bytes. */
enum { CUDA_FEW_ROWS = 4 };
bool cuda_matmul_few(struct cuda_backend *cuda, struct product to, const struct act *a,
                     int64_t a_stride, const struct act *w, const struct acc *bias, int64_t m,
                     int64_t n, int64_t k);

#endif
