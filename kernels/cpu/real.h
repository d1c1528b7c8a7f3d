/* The CPU kernels' element type: float, or double in the test build that checks gradients. */
#ifndef KERNELS_CPU_REAL_H
#define KERNELS_CPU_REAL_H

#include <math.h>

#ifdef CPU_REAL_DOUBLE
typedef double real;
#define REAL_DTYPE DTYPE_F64
#define real_exp exp
#define real_log log
#define real_log1p log1p
#define real_sqrt sqrt
#else
typedef float real;
#define REAL_DTYPE DTYPE_F32
#define real_exp expf
#define real_log logf
#define real_log1p log1pf
#define real_sqrt sqrtf
#endif

/* Compiled for several generations of x86; the loader picks one. Loops in such a function may use
 * `omp simd`, whose reductions are ordered by the vector width, the same on every call. The
 * sanitizers' runtime is not ready when the loader runs the choice. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) &&                             \
    !defined(__SANITIZE_ADDRESS__)
#define CPU_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CPU_CLONES
#endif

#endif
