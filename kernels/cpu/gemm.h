/* Matrix products inside the CPU ops. */
#ifndef KERNELS_CPU_GEMM_H
#define KERNELS_CPU_GEMM_H

#include "kernels/backend.h"
#include "kernels/cpu/real.h"

/* c [m, n] = a b, or c + a b with `accumulate`; all row-major with the strides of their rows.
 * a is [m, k], or [k, m] with transpose_a; b is [k, n], or [n, k] with transpose_b. It uses
 * the calling thread alone; bits depend on the shape, not on the number of threads.
 * A failure is recorded as the backend's fault (cpu_fail). */
void cpu_gemm(struct backend *backend, bool transpose_a, bool transpose_b, int64_t m, int64_t n,
              int64_t k, const real *a, int64_t a_stride, const real *b, int64_t b_stride,
              bool accumulate, real *c, int64_t c_stride);

/* What struct backend calls `kind`, into `kind` [size]. */
void cpu_gemm_kind(char *kind, size_t size);

#endif
