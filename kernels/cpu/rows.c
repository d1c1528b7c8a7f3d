/* Rows of the residual stream: distances in double, whole rows a thread. */
#include "kernels/ops/rows.h"

#include "kernels/cpu/ops.h"
#include "kernels/cpu/real.h"

CPU_CLONES static double distance_of(const real *x, const real *y, int64_t width) {
    double sum = 0;
    if (!y) {
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < width; i++) sum += (double)x[i] * (double)x[i];
        return sum;
    }
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; i++) {
        double difference = (double)x[i] - (double)y[i];
        sum += difference * difference;
    }
    return sum;
}

static void cpu_distance(struct backend *backend, struct acc *out, const struct acc *x,
                         const struct acc *y, int64_t rows, int64_t width) {
    (void)backend;
#pragma omp parallel for schedule(static) if (cpu_worth_team(rows * width))
    for (int64_t row = 0; row < rows; row++)
        ((real *)out)[row] = (real)distance_of((const real *)x + row * width,
                                               y ? (const real *)y + row * width : NULL, width);
}

CPU_CLONES static void add_row(real *restrict into, real scale, const real *restrict x,
                               const real *restrict y, int64_t width) {
    if (!y) {
#pragma omp simd
        for (int64_t i = 0; i < width; i++) into[i] += scale * x[i];
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < width; i++) into[i] += scale * (x[i] - y[i]);
}

static void cpu_add_difference(struct backend *backend, struct acc *into, const struct acc *scale,
                               const struct acc *x, const struct acc *y, int64_t rows,
                               int64_t width) {
    (void)backend;
#pragma omp parallel for schedule(static) if (cpu_worth_team(rows * width))
    for (int64_t row = 0; row < rows; row++)
        add_row((real *)into + row * width, scale ? ((const real *)scale)[row] : 1,
                (const real *)x + row * width, y ? (const real *)y + row * width : NULL, width);
}

const struct row_ops cpu_row_ops = {
    .distance = cpu_distance,
    .add_difference = cpu_add_difference,
};
