/* Small dense linear algebra in double, for what is solved once: least squares and best
 * approximations of low rank. Matrices are row-major. Sums have a fixed order, whatever the number
 * of threads. */
#ifndef BASE_MATRIX_H
#define BASE_MATRIX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* A float32 matrix [rows, width] whose rows are `stride` elements apart. */
struct matrix_view {
    const float *values;
    int64_t width, stride;
};

/* out [a.width, b.width] = a^T b over `rows` rows. */
void matrix_products(double *out, const struct matrix_view *a, const struct matrix_view *b,
                     int64_t rows);

/* The Cholesky factor of a symmetric matrix [n, n], of which the lower triangle is read, in its
 * place (above the diagonal it stays as it is). False where it is not positive definite. */
bool matrix_factor(double *matrix, int64_t n);

/* x [n, columns] with A x = b, in the place of b, from A's factor. */
void matrix_solve(double *b, int64_t columns, const double *factor, int64_t n);

/* Singular values of a square matrix: a = u diag(values) v^T, values descending; u and v [n, n]
 * hold their vectors as columns. By one-sided Jacobi rotations (Hestenes 1958). */
enum status matrix_decompose(double *u, double *values, double *v, const double *a,
                             int64_t n) STATUS_CHECKED;

#endif
