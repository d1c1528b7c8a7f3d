#include "kernels/cpu/chunks.h"

#include <string.h>

#include "kernels/cpu/exp.h"

void chunk_decay_set(struct chunk_decay *decay, const double *steps, int count) {
    double sum = 0;
    decay->count = count;
    for (int t = 0; t < count; t++) decay->sum[t] = sum += steps[t];
    for (int t = 0; t < count; t++) {
        decay->from_start[t] = fast_exp((real)decay->sum[t]);
        decay->to_end[t] = fast_exp((real)(sum - decay->sum[t]));
    }
}

CPU_CLONES void chunk_decay_matrix(real *restrict to, const struct chunk_decay *restrict decay) {
    memset(to, 0, (size_t)CHUNK * CHUNK * sizeof *to);
    for (int i = 0; i < decay->count; i++) {
#pragma omp simd
        for (int j = 0; j <= i; j++)
            to[i * CHUNK + j] = fast_exp((real)(decay->sum[i] - decay->sum[j]));
    }
}

/* The diagonal decays by nothing. Rows and columns add up the same numbers, in double: what a later
 * sum of dsum[] takes out again goes without a trace. */
void chunk_decay_differentiate(double *dsum, const real *product, int count) {
    for (int i = 0; i < count; i++)
        for (int j = 0; j < i; j++) {
            dsum[i] += (double)product[i * CHUNK + j];
            dsum[j] -= (double)product[i * CHUNK + j];
        }
}

CPU_CLONES void chunk_scale_rows(real *to, const real *from, int64_t stride, const real *scale,
                                 int count, int width) {
    for (int t = 0; t < count; t++) {
        real by = scale[t];
#pragma omp simd
        for (int i = 0; i < width; i++) to[t * width + i] = by * from[t * stride + i];
    }
}

CPU_CLONES void chunk_add_rows(real *restrict to, int64_t to_stride, const real *restrict from,
                               int64_t from_stride, const real *scale, int count, int width) {
    for (int t = 0; t < count; t++) {
        real by = scale[t];
#pragma omp simd
        for (int i = 0; i < width; i++) to[t * to_stride + i] += by * from[t * from_stride + i];
    }
}

CPU_CLONES void chunk_multiply(real *restrict to, const real *restrict by, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) to[i] *= by[i];
}

CPU_CLONES double chunk_dot(const real *left, const real *right, int64_t count) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) sum += (double)left[i] * (double)right[i];
    return sum;
}

void chunk_dot_rows(double *dots, const real *left, int64_t left_stride, const real *right,
                    int64_t right_stride, int count, int width) {
    for (int t = 0; t < count; t++)
        dots[t] = chunk_dot(left + t * left_stride, right + t * right_stride, width);
}
