/* Embedding and matrix products: OpenBLAS on tiles of a fixed size, so that all threads share the
 * work and the result does not depend on how many there are. A product of few rows, which is bound
 * by reading w, has a kernel of its own: BLAS would copy w first, and a row's result would depend
 * on how many rows there are. */
#include <cblas.h>
#include <string.h>

#include "kernels/cpu/ops.h"
#include "kernels/cpu/real.h"

/* Tiles have at most so many. These limits were measured on two Zen 4 cores with OpenBLAS 0.3.21, as
 * the size of all tiles but the last: within 3 % of its best at every shape tried. */
enum { TILE_ROWS = 256, TILE_COLUMNS = 1024, TILE_MULTIPLE = 16 };

/* Cuts `count` into tiles of nearly one size: a short last one would leave threads waiting. */
static int64_t tile_size(int64_t count, int most) {
    int64_t tiles = (count - 1) / most + 1;
    int64_t step = tiles * TILE_MULTIPLE;
    return (count + step - 1) / step * TILE_MULTIPLE;
}

static int shorter(int64_t left, int64_t tile) {
    return (int)(left < tile ? left : tile);
}

static void cpu_embed(struct backend *backend, void *out, const int32_t *ids, const void *table,
                      int64_t tokens, int64_t width) {
    (void)backend;
    for (int64_t t = 0; t < tokens; t++)
        memcpy((real *)out + t * width, (const real *)table + ids[t] * width,
               (size_t)width * sizeof(real));
}

static void cpu_embed_backward(struct backend *backend, void *dtable, const int32_t *ids,
                               const void *dout, int64_t tokens, int64_t width) {
    (void)backend;
    for (int64_t t = 0; t < tokens; t++) {
        real *to = (real *)dtable + ids[t] * width;
        const real *from = (const real *)dout + t * width;
        for (int64_t i = 0; i < width; i++) to[i] += from[i];
    }
}

static void add_bias(real *out, int64_t stride, const real *bias, int rows, int columns) {
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) out[r * stride + c] += bias[c];
}

enum { FEW_ROWS = 32, ROWS = 4, COLUMNS = 2, STRIP = 64, WIDTH = 64 / sizeof(real) };

typedef real lanes __attribute__((vector_size(64)));

struct few_rows {
    const real *a, *w; /* [rows, k] (a_stride), [columns, k] */
    int64_t a_stride, k;
    real dots[ROWS][COLUMNS];
};

/* dots[r][c] = a[r] . w[c]. Each is summed in the same order whatever `rows` and `columns` are. */
static inline __attribute__((always_inline)) void multiply_rows(struct few_rows *part, int rows,
                                                                int columns) {
    lanes sums[ROWS][COLUMNS] = {{{0}}};
    int64_t k = part->k, whole = k / WIDTH * WIDTH;
    for (int64_t i = 0; i < whole; i += WIDTH) {
        lanes left[ROWS], right;
        for (int r = 0; r < rows; r++)
            memcpy(&left[r], part->a + r * part->a_stride + i, sizeof left[r]);
        for (int c = 0; c < columns; c++) {
            memcpy(&right, part->w + c * k + i, sizeof right);
            for (int r = 0; r < rows; r++) sums[r][c] += left[r] * right;
        }
    }
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) {
            real sum = 0;
            for (int p = 0; p < (int)WIDTH; p++) sum += sums[r][c][p];
            for (int64_t i = whole; i < k; i++)
                sum += part->a[r * part->a_stride + i] * part->w[c * k + i];
            part->dots[r][c] = sum;
        }
}

CPU_CLONES static void multiply_part(struct few_rows *part, int rows, int columns) {
    if (columns == COLUMNS && rows == 1)
        multiply_rows(part, 1, COLUMNS);
    else if (columns == COLUMNS && rows == 2)
        multiply_rows(part, 2, COLUMNS);
    else if (columns == COLUMNS && rows == 3)
        multiply_rows(part, 3, COLUMNS);
    else if (columns == COLUMNS)
        multiply_rows(part, ROWS, COLUMNS);
    else
        multiply_rows(part, rows, columns);
}

static void multiply_few(real *out, const real *a, int64_t a_stride, const real *w,
                         const real *bias, bool accumulate, int64_t m, int64_t n, int64_t k) {
#pragma omp parallel for schedule(static)
    for (int64_t strip = 0; strip < n; strip += STRIP)
        for (int64_t column = strip; column < n && column < strip + STRIP; column += COLUMNS)
            for (int64_t row = 0; row < m; row += ROWS) {
                int rows = shorter(m - row, ROWS), columns = shorter(n - column, COLUMNS);
                struct few_rows part = {a + row * a_stride, w + column * k, a_stride, k, {{0}}};
                multiply_part(&part, rows, columns);
                for (int r = 0; r < rows; r++)
                    for (int c = 0; c < columns; c++) {
                        real *to = out + (row + r) * n + column + c;
                        real value = part.dots[r][c] + (bias ? bias[column + c] : 0);
                        *to = accumulate ? *to + value : value;
                    }
            }
}

static void cpu_matmul(struct backend *backend, void *out, enum dtype out_type, const void *a,
                       int64_t a_stride, const void *w, const void *bias, bool accumulate,
                       int64_t m, int64_t n, int64_t k) {
    (void)backend;
    (void)out_type;
    const real *left = a, *right = w;
    real *to = out;
    if (m <= FEW_ROWS) {
        multiply_few(to, left, a_stride, right, bias, accumulate, m, n, k);
        return;
    }
    int64_t tall = tile_size(m, TILE_ROWS), wide = tile_size(n, TILE_COLUMNS);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int64_t row = 0; row < m; row += tall)
        for (int64_t column = 0; column < n; column += wide) {
            int rows = shorter(m - row, tall), columns = shorter(n - column, wide);
            real *tile = to + row * n + column;
            cblas_gemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, columns, (int)k, 1,
                       left + row * a_stride, (int)a_stride, right + column * k, (int)k,
                       accumulate ? 1 : 0, tile, (int)n);
            if (bias) add_bias(tile, n, (const real *)bias + column, rows, columns);
        }
}

static void cpu_matmul_backward_input(struct backend *backend, void *da, enum dtype da_type,
                                      const void *dout, const void *w, bool accumulate, int64_t m,
                                      int64_t n, int64_t k) {
    (void)backend;
    (void)da_type;
    int64_t tall = tile_size(m, TILE_ROWS), wide = tile_size(k, TILE_COLUMNS);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int64_t row = 0; row < m; row += tall)
        for (int64_t column = 0; column < k; column += wide)
            cblas_gemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, shorter(m - row, tall),
                       shorter(k - column, wide), (int)n, 1, (const real *)dout + row * n, (int)n,
                       (const real *)w + column, (int)k, accumulate ? 1 : 0,
                       (real *)da + row * k + column, (int)k);
}

static void cpu_matmul_backward_weight(struct backend *backend, void *dw, const void *dout,
                                       const void *a, int64_t a_stride, int64_t m, int64_t n,
                                       int64_t k) {
    (void)backend;
    int64_t tall = tile_size(n, TILE_ROWS), wide = tile_size(k, TILE_COLUMNS);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int64_t row = 0; row < n; row += tall)
        for (int64_t column = 0; column < k; column += wide)
            cblas_gemm(CblasRowMajor, CblasTrans, CblasNoTrans, shorter(n - row, tall),
                       shorter(k - column, wide), (int)m, 1, (const real *)dout + row, (int)n,
                       (const real *)a + column, (int)a_stride, 1, (real *)dw + row * k + column,
                       (int)k);
}

static void cpu_matmul_backward_bias(struct backend *backend, void *dbias, const void *dout,
                                     int64_t m, int64_t n) {
    (void)backend;
#pragma omp parallel for schedule(static)
    for (int64_t start = 0; start < n; start += 64) {
        int64_t end = start + 64 < n ? start + 64 : n;
        for (int64_t row = 0; row < m; row++)
            for (int64_t c = start; c < end; c++)
                ((real *)dbias)[c] += ((const real *)dout)[row * n + c];
    }
}

void cpu_table_matmul(struct backend *backend) {
    backend->embed = cpu_embed;
    backend->embed_backward = cpu_embed_backward;
    backend->matmul = cpu_matmul;
    backend->matmul_backward_input = cpu_matmul_backward_input;
    backend->matmul_backward_weight = cpu_matmul_backward_weight;
    backend->matmul_backward_bias = cpu_matmul_backward_bias;
}
