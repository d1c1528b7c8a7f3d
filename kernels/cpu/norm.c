/* RMSNorm over the hidden size and over each head (Zhang and Sennrich 2019). */
#include "kernels/cpu/ops.h"
#include "kernels/cpu/real.h"

CPU_CLONES static real normalize_row(real *restrict out, const real *restrict x,
                                     const real *restrict w, double epsilon, int64_t width) {
    double squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < width; i++) squares += (double)x[i] * (double)x[i];
    real rstd = (real)(1 / sqrt(squares / (double)width + epsilon));
#pragma omp simd
    for (int64_t i = 0; i < width; i++) out[i] = x[i] * rstd * w[i];
    return rstd;
}

static void cpu_rmsnorm(struct backend *backend, void *out, void *rstd, const void *x,
                        const void *w, double epsilon, int64_t rows, int64_t width) {
    (void)backend;
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < rows; row++)
        ((real *)rstd)[row] = normalize_row((real *)out + row * width,
                                            (const real *)x + row * width, w, epsilon, width);
}

static void cpu_head_norm(struct backend *backend, void *out, int64_t out_stride, void *rstd,
                          const void *x, int64_t x_stride, const void *w, double epsilon,
                          int64_t tokens, int heads, int head_dim) {
    (void)backend;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < tokens; t++)
        for (int h = 0; h < heads; h++)
            ((real *)rstd)[t * heads + h] =
                normalize_row((real *)out + t * out_stride + h * head_dim,
                              (const real *)x + t * x_stride + h * head_dim, w, epsilon, head_dim);
}

void cpu_table_norm(struct backend *backend) {
    backend->rmsnorm = cpu_rmsnorm;
    backend->head_norm = cpu_head_norm;
}
