#include "base/matrix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { TALL = 8, WIDE = 128, BLOCK = 64 };

/* ---- products */

/* A tile of the result, up to TALL by WIDE, summed over all rows. */
static void sum_tile(double *out, int64_t out_stride, const struct matrix_view *a, int64_t i,
                     const struct matrix_view *b, int64_t j, int64_t rows) {
    int64_t tall = a->width - i < TALL ? a->width - i : TALL;
    int64_t wide = b->width - j < WIDE ? b->width - j : WIDE;
    double sums[TALL][WIDE] = {{0}};
    for (int64_t t = 0; t < rows; t++) {
        const float *x = a->values + t * a->stride + i, *y = b->values + t * b->stride + j;
        for (int64_t k = 0; k < tall; k++) {
            double factor = x[k];
            for (int64_t l = 0; l < wide; l++) sums[k][l] += factor * (double)y[l];
        }
    }
    for (int64_t k = 0; k < tall; k++)
        memcpy(out + (i + k) * out_stride + j, sums[k], (size_t)wide * sizeof *out);
}

void matrix_products(double *out, const struct matrix_view *a, const struct matrix_view *b,
                     int64_t rows) {
    int64_t tiles = (a->width + TALL - 1) / TALL;
#pragma omp parallel for schedule(static) if (a->width * b->width * rows > 1 << 16)
    for (int64_t tile = 0; tile < tiles; tile++)
        for (int64_t j = 0; j < b->width; j += WIDE)
            sum_tile(out, b->width, a, tile * TALL, b, j, rows);
}

/* ---- positive definite systems */

/* Rows [from, to) of the factor's columns [0, done) times those of row `i`, taken off row i. */
static void take_off(double *matrix, int64_t n, int64_t i, int64_t from, int64_t to, int64_t first,
                     int64_t done) {
    double *row = matrix + i * n;
    for (int64_t j = from; j < to; j++) {
        const double *other = matrix + j * n;
        double sum = 0;
        for (int64_t k = first; k < done; k++) sum += row[k] * other[k];
        row[j] -= sum;
    }
}

/* Columns [first, end) of row `i`, once those before are taken off. */
static bool finish_row(double *matrix, int64_t n, int64_t i, int64_t first, int64_t end) {
    double *row = matrix + i * n;
    for (int64_t j = first; j < end && j <= i; j++) {
        double sum = row[j];
        for (int64_t k = first; k < j; k++) sum -= row[k] * matrix[j * n + k];
        if (j < i) {
            row[j] = sum / matrix[j * n + j];
        } else {
            if (!(sum > 0) || !isfinite(sum)) return false;
            row[j] = sqrt(sum);
        }
    }
    return true;
}

bool matrix_factor(double *matrix, int64_t n) {
    for (int64_t first = 0; first < n; first += BLOCK) {
        int64_t end = first + BLOCK < n ? first + BLOCK : n;
        for (int64_t i = first; i < end; i++)
            if (!finish_row(matrix, n, i, first, end)) return false;
#pragma omp parallel for schedule(static) if (n - end > BLOCK)
        for (int64_t i = end; i < n; i++) (void)finish_row(matrix, n, i, first, end);
#pragma omp parallel for schedule(dynamic, 4) if (n - end > BLOCK)
        for (int64_t i = end; i < n; i++) take_off(matrix, n, i, end, i + 1, first, end);
    }
    return true;
}

static void solve_columns(double *b, int64_t columns, int64_t from, int64_t to,
                          const double *factor, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double *row = b + i * columns, over = 1 / factor[i * n + i];
        for (int64_t k = 0; k < i; k++) {
            const double *other = b + k * columns;
            double times = factor[i * n + k];
            for (int64_t c = from; c < to; c++) row[c] -= times * other[c];
        }
        for (int64_t c = from; c < to; c++) row[c] *= over;
    }
    for (int64_t i = n - 1; i >= 0; i--) {
        double *row = b + i * columns, over = 1 / factor[i * n + i];
        for (int64_t k = i + 1; k < n; k++) {
            const double *other = b + k * columns;
            double times = factor[k * n + i];
            for (int64_t c = from; c < to; c++) row[c] -= times * other[c];
        }
        for (int64_t c = from; c < to; c++) row[c] *= over;
    }
}

void matrix_solve(double *b, int64_t columns, const double *factor, int64_t n) {
    int64_t blocks = (columns + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) if (blocks > 1)
    for (int64_t block = 0; block < blocks; block++) {
        int64_t from = block * BLOCK, to = from + BLOCK < columns ? from + BLOCK : columns;
        solve_columns(b, columns, from, to, factor, n);
    }
}

/* ---- singular values */

/* Turn rows p and q so that they become orthogonal, and those of `turned` with them. True while
 * they were not. */
static bool rotate(double *rows, double *turned, int64_t p, int64_t q, int64_t n) {
    double *x = rows + p * n, *y = rows + q * n, xx = 0, yy = 0, xy = 0;
    for (int64_t i = 0; i < n; i++) {
        xx += x[i] * x[i];
        yy += y[i] * y[i];
        xy += x[i] * y[i];
    }
    if (!(fabs(xy) > 1e-14 * sqrt(xx * yy))) return false;
    double zeta = (yy - xx) / (2 * xy);
    double t = copysign(1, zeta) / (fabs(zeta) + sqrt(1 + zeta * zeta));
    double c = 1 / sqrt(1 + t * t), s = c * t;
    double *both[2][2] = {{x, y}, {turned + p * n, turned + q * n}};
    for (int pair = 0; pair < 2; pair++)
        for (int64_t i = 0; i < n; i++) {
            double a = both[pair][0][i], b = both[pair][1][i];
            both[pair][0][i] = c * a - s * b;
            both[pair][1][i] = s * a + c * b;
        }
    return true;
}

/* The place of the largest value that is left, which is taken. */
static int64_t take_largest(double *value, double *left, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (left[i] > left[best]) best = i;
    *value = left[best];
    left[best] = -1;
    return best;
}

enum status matrix_decompose(double *u, double *values, double *v, const double *a, int64_t n) {
    enum { MOST_SWEEPS = 60 };
    size_t count = (size_t)(n * n);
    double *rows = memory_calloc(count, sizeof *rows), *turned = memory_calloc(count, sizeof *rows);
    double *lengths = memory_calloc((size_t)n, sizeof *lengths);
    enum status status = rows && turned && lengths ? STATUS_OK : STATUS_FAILED;
    if (status) goto done;
    for (int64_t i = 0; i < n; i++) { /* the columns of a as rows */
        turned[i * n + i] = 1;
        for (int64_t k = 0; k < n; k++) rows[i * n + k] = a[k * n + i];
    }
    bool turns = true;
    for (int sweep = 0; turns && sweep < MOST_SWEEPS; sweep++) {
        turns = false;
        for (int64_t p = 0; p < n; p++)
            for (int64_t q = p + 1; q < n; q++) turns |= rotate(rows, turned, p, q, n);
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < n; k++) lengths[i] += rows[i * n + k] * rows[i * n + k];
        lengths[i] = sqrt(lengths[i]);
    }
    for (int64_t j = 0; j < n; j++) {
        double value = 0;
        int64_t from = take_largest(&value, lengths, n);
        values[j] = value;
        for (int64_t k = 0; k < n; k++) {
            u[k * n + j] = value > 0 ? rows[from * n + k] / value : 0;
            v[k * n + j] = turned[from * n + k];
        }
    }
done:
    free(rows);
    free(turned);
    free(lengths);
    return status;
}
