/* The check of products at the start. Small whole numbers, so that every order of summation gives
 * the same sums exactly: what differs is wrong. */
#include <stdlib.h>

#include "base/memory.h"
#include "base/threads.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/ops.h"
#include "kernels/ops/products.h"

/* More than one tile, and so large that oneDNN would share the work of one. */
enum { ROWS = 288, COLUMNS = 192, DEPTH = 96 };

struct operands {
    real *a;             /* [ROWS, DEPTH] */
    real *w;             /* [COLUMNS, DEPTH] */
    real *dout;          /* [ROWS, COLUMNS] */
    real *out, *da, *dw; /* the right products a w^T, dout w, dout^T a */
    real *found;         /* a product */
};

static void fill(real *values, size_t count, unsigned seed) {
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (real)(int)(seed >> 28) - 8;
    }
}

/* c [m, n] += a [m, k] b [k, n], any strides. */
static void multiply(real *c, const real *a, int a_row, int a_column, const real *b, int b_row,
                     int b_column, int m, int n, int k) {
    for (int row = 0; row < m; row++)
        for (int i = 0; i < k; i++) {
            real left = a[row * a_row + i * a_column];
            for (int column = 0; column < n; column++)
                c[row * n + column] += left * b[i * b_row + column * b_column];
        }
}

static enum status compare(const struct operands *all, const real *right, int rows, int columns,
                           const char *what) {
    for (int i = 0; i < rows * columns; i++)
        if (!(all->found[i] == right[i]))
            return status_fail("the %s of %d x %d values is wrong on this machine with %d thread%s "
                               "(%g at row %d, column %d, not %g): OpenMP or oneDNN does not work; "
                               "try without OMP_, GOMP_ and ONEDNN_ variables",
                               what, rows, columns, threads_count(),
                               threads_count() == 1 ? "" : "s", (double)all->found[i], i / columns,
                               i % columns, (double)right[i]);
    return STATUS_OK;
}

static void clear(const struct operands *all) {
    for (int i = 0; i < ROWS * COLUMNS; i++) all->found[i] = 0;
}

/* What went wrong in the product itself, lack of memory for one, comes before what came out. */
static enum status check(struct backend *backend, const struct operands *all) {
    const struct act *a = (const struct act *)all->a, *w = (const struct act *)all->w;
    const struct act *dout = (const struct act *)all->dout;
    struct act *found = (struct act *)all->found;
    clear(all);
    backend->products->matmul(backend, into_act(found), a, DEPTH, w, NULL, ROWS, COLUMNS, DEPTH);
    enum status status = backend->sync(backend);
    if (!status) status = compare(all, all->out, ROWS, COLUMNS, "product");
    clear(all);
    if (!status)
        backend->products->matmul_backward_input(backend, into_act(found), dout, w, ROWS, COLUMNS,
                                                 DEPTH);
    if (!status) status = backend->sync(backend);
    if (!status) status = compare(all, all->da, ROWS, DEPTH, "product for inputs");
    clear(all);
    if (!status)
        backend->products->matmul_backward_weight(backend, (struct acc *)all->found, dout, a, DEPTH,
                                                  ROWS, COLUMNS, DEPTH);
    if (!status) status = backend->sync(backend);
    if (!status) status = compare(all, all->dw, COLUMNS, DEPTH, "product for weights");
    clear(all);
    if (!status) /* outside of a parallel loop */
        cpu_gemm(backend, false, true, ROWS, COLUMNS, DEPTH, all->a, DEPTH, all->w, DEPTH, false,
                 all->found, COLUMNS);
    if (!status) status = backend->sync(backend);
    return status ? status : compare(all, all->out, ROWS, COLUMNS, "product by one thread");
}

enum status cpu_check_products(struct backend *backend) {
    enum { VALUES = 2 * ROWS * DEPTH + 2 * COLUMNS * DEPTH + 3 * ROWS * COLUMNS };
    real *memory = memory_calloc(VALUES, sizeof *memory);
    if (!memory) return STATUS_FAILED;
    struct operands all = {.a = memory};
    all.w = all.a + ROWS * DEPTH;
    all.dout = all.w + COLUMNS * DEPTH;
    all.out = all.dout + ROWS * COLUMNS;
    all.da = all.out + ROWS * COLUMNS;
    all.dw = all.da + ROWS * DEPTH;
    all.found = all.dw + COLUMNS * DEPTH;
    fill(all.a, ROWS * DEPTH, 1);
    fill(all.w, COLUMNS * DEPTH, 2);
    fill(all.dout, ROWS * COLUMNS, 3);
    multiply(all.out, all.a, DEPTH, 1, all.w, 1, DEPTH, ROWS, COLUMNS, DEPTH);
    multiply(all.da, all.dout, COLUMNS, 1, all.w, DEPTH, 1, ROWS, DEPTH, COLUMNS);
    multiply(all.dw, all.dout, 1, COLUMNS, all.a, DEPTH, 1, COLUMNS, DEPTH, ROWS);
    int threads = threads_count();
    enum status status = check(backend, &all);
    if (!status && threads > 1) {
        threads_set(1);
        status = check(backend, &all);
        threads_set(threads);
    }
    free(memory);
    return status;
}
