/* For the two files that call cuBLASLt. */
#ifndef KERNELS_CUDA_BLAS_H
#define KERNELS_CUDA_BLAS_H

#include <cublasLt.h>

#include "kernels/cuda/cuda.h"

/* As cuda_check. */
bool cuda_check_blas(struct cuda_backend *cuda, cublasStatus_t status, const char *what);

/* The plans' end (matmul.cu); accepts a half-opened backend. */
void cuda_matmul_close(struct cuda_backend *cuda);

#endif
