/* Matrix products, in tiles of a fixed size, so that all threads share the
 * work and the result does not depend on how many there are. A product of few rows, which is bound
 * by reading w, has a kernel of its own: the library would copy w first, and a row's result would
 * depend on how many rows there are. */
#include <string.h>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/real.h"
#include "kernels/ops/products.h"

/* Tiles have at most so many rows and columns, and twice the rows where enough of them are left for
 * many threads: every tile reads its columns of w anew. */
enum { TILE_ROWS = 256, TILE_COLUMNS = 1024, TILE_MULTIPLE = 16, TILES_ENOUGH = 16 };

struct tiles {
    int64_t tall, wide;
};

static int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

/* Cuts `count` into parts of nearly one size: a short last one would leave threads waiting. */
static int64_t part_size(int64_t count, int most) {
    int64_t step = ceil_div(count, most) * TILE_MULTIPLE;
    return ceil_div(count, step) * TILE_MULTIPLE;
}

static struct tiles choose_tiles(int64_t rows, int64_t columns) {
    bool enough = ceil_div(rows, 2 * TILE_ROWS) * ceil_div(columns, TILE_COLUMNS) >= TILES_ENOUGH;
    return (struct tiles){part_size(rows, enough ? 2 * TILE_ROWS : TILE_ROWS),
                          part_size(columns, TILE_COLUMNS)};
}

static int shorter(int64_t left, int64_t most) {
    return (int)(left < most ? left : most);
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
#pragma omp parallel for schedule(static) if (cpu_worth_team(m * n * k))
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

/* Both types are one here. */
static real *product_memory(struct product to) {
    return to.narrow ? (real *)to.narrow : (real *)to.wide;
}

static void cpu_matmul(struct backend *backend, struct product to, const struct act *a,
                       int64_t a_stride, const struct act *w, const struct acc *bias, int64_t m,
                       int64_t n, int64_t k) {
    const real *left = (const real *)a, *right = (const real *)w, *add = (const real *)bias;
    real *out = product_memory(to);
    if (m <= FEW_ROWS) {
        multiply_few(out, left, a_stride, right, add, to.add, m, n, k);
        return;
    }
    struct tiles tile = choose_tiles(m, n);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int64_t row = 0; row < m; row += tile.tall)
        for (int64_t column = 0; column < n; column += tile.wide) {
            int rows = shorter(m - row, tile.tall), columns = shorter(n - column, tile.wide);
            real *part = out + row * n + column;
            cpu_gemm(backend, false, true, rows, columns, k, left + row * a_stride, a_stride,
                     right + column * k, k, to.add, part, n);
            if (add) add_bias(part, n, add + column, rows, columns);
        }
}

static void cpu_matmul_backward_input(struct backend *backend, struct product to,
                                      const struct act *dout, const struct act *w, int64_t m,
                                      int64_t n, int64_t k) {
    real *da = product_memory(to);
    struct tiles tile = choose_tiles(m, k);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int64_t row = 0; row < m; row += tile.tall)
        for (int64_t column = 0; column < k; column += tile.wide)
            cpu_gemm(backend, false, false, shorter(m - row, tile.tall),
                     shorter(k - column, tile.wide), n, (const real *)dout + row * n, n,
                     (const real *)w + column, k, to.add, da + row * k + column, k);
}

static void cpu_matmul_backward_weight(struct backend *backend, struct acc *dw,
                                       const struct act *dout, const struct act *a,
                                       int64_t a_stride, int64_t m, int64_t n, int64_t k) {
    struct tiles tile = choose_tiles(n, k);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int64_t row = 0; row < n; row += tile.tall)
        for (int64_t column = 0; column < k; column += tile.wide)
            cpu_gemm(backend, true, false, shorter(n - row, tile.tall),
                     shorter(k - column, tile.wide), m, (const real *)dout + row, n,
                     (const real *)a + column, a_stride, true, (real *)dw + row * k + column, k);
}

static void cpu_matmul_backward_bias(struct backend *backend, struct acc *dbias,
                                     const struct act *dout, int64_t m, int64_t n) {
    (void)backend;
#pragma omp parallel for schedule(static)
    for (int64_t start = 0; start < n; start += 64) {
        int64_t end = start + 64 < n ? start + 64 : n;
        for (int64_t row = 0; row < m; row++)
            for (int64_t c = start; c < end; c++)
                ((real *)dbias)[c] += ((const real *)dout)[row * n + c];
    }
}

const struct product_ops cpu_product_ops = {
    .matmul = cpu_matmul,
    .matmul_backward_input = cpu_matmul_backward_input,
    .matmul_backward_weight = cpu_matmul_backward_weight,
    .matmul_backward_bias = cpu_matmul_backward_bias,
};
