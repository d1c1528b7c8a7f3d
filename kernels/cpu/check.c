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
    real *a;       /* [ROWS, DEPTH] */
    real *w;       /* [COLUMNS, DEPTH] */
    real *dout;    /* [ROWS, COLUMNS] */
    real *found;   /* a product */
    double *along; /* numbers to multiply columns by */
    double *sums;  /* of the right operand's rows, so multiplied */
};

/* left [rows, inner] right [inner, columns], each with its steps along the first and second. */
struct shape {
    const real *left, *right;
    int left_steps[2], right_steps[2];
    int rows, columns, inner;
};

static void fill(real *values, size_t count, unsigned seed) {
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (real)(int)(seed >> 28) - 8;
    }
}

/* Of a row that is known to be wrong, its first wrong value. */
static enum status report(const struct operands *all, const struct shape *shape, int row,
                          const char *what) {
    const real *found = all->found + row * shape->columns;
    const real *left = shape->left + row * shape->left_steps[0];
    int column = 0;
    double right = 0;
    for (; column < shape->columns; column++) {
        right = 0;
        for (int i = 0; i < shape->inner; i++)
            right +=
                (double)(left[i * shape->left_steps[1]] *
                         shape->right[i * shape->right_steps[0] + column * shape->right_steps[1]]);
        if (!((double)found[column] == right)) break;
    }
    return status_fail("the %s of %d x %d values is wrong on this machine with %d thread%s "
                       "(%g at row %d, column %d, not %g): OpenMP or oneDNN does not work; "
                       "try without OMP_, GOMP_ and ONEDNN_ variables",
                       what, shape->rows, shape->columns, threads_count(),
                       threads_count() == 1 ? "" : "s", (double)found[column], row, column, right);
}

/* A row is right when its sum with the columns multiplied by `along` is: one wrong value always
 * changes that, several cancel in one of a million cases. (Freivalds 1977; a whole second product
 * would take longer than many runs.) All of it is exact: numbers of at most 2^20 times sums of at
 * most 2^15, some hundreds of them. */
static enum status compare(const struct operands *all, const struct shape *shape,
                           const char *what) {
    for (int i = 0; i < shape->inner; i++) {
        const real *row = shape->right + i * shape->right_steps[0];
        double sum = 0;
        for (int column = 0; column < shape->columns; column++)
            sum += (double)row[column * shape->right_steps[1]] * all->along[column];
        all->sums[i] = sum;
    }
    for (int row = 0; row < shape->rows; row++) {
        const real *left = shape->left + row * shape->left_steps[0];
        double right = 0, found = 0;
        for (int i = 0; i < shape->inner; i++)
            right += (double)left[i * shape->left_steps[1]] * all->sums[i];
        for (int column = 0; column < shape->columns; column++)
            found += (double)all->found[row * shape->columns + column] * all->along[column];
        if (!(found == right)) return report(all, shape, row, what);
    }
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
    const struct shape out = {all->a, all->w, {DEPTH, 1}, {1, DEPTH}, ROWS, COLUMNS, DEPTH};
    const struct shape da = {all->dout, all->w, {COLUMNS, 1}, {DEPTH, 1}, ROWS, DEPTH, COLUMNS};
    const struct shape dw = {all->dout, all->a, {1, COLUMNS}, {DEPTH, 1}, COLUMNS, DEPTH, ROWS};
    clear(all);
    backend->products->matmul(backend, into_act(found), a, DEPTH, w, NULL, ROWS, COLUMNS, DEPTH);
    enum status status = backend->sync(backend);
    if (!status) status = compare(all, &out, "product");
    clear(all);
    if (!status)
        backend->products->matmul_backward_input(backend, into_act(found), dout, w, ROWS, COLUMNS,
                                                 DEPTH);
    if (!status) status = backend->sync(backend);
    if (!status) status = compare(all, &da, "product for inputs");
    clear(all);
    if (!status)
        backend->products->matmul_backward_weight(backend, (struct acc *)all->found, dout, a, DEPTH,
                                                  ROWS, COLUMNS, DEPTH);
    if (!status) status = backend->sync(backend);
    if (!status) status = compare(all, &dw, "product for weights");
    clear(all);
    if (!status) /* outside of a parallel loop */
        cpu_gemm(backend, false, true, ROWS, COLUMNS, DEPTH, all->a, DEPTH, all->w, DEPTH, false,
                 all->found, COLUMNS);
    if (!status) status = backend->sync(backend);
    return status ? status : compare(all, &out, "product by one thread");
}

enum status cpu_check_products(struct backend *backend) {
    enum { VALUES = ROWS * DEPTH + COLUMNS * DEPTH + 2 * ROWS * COLUMNS };
    double *numbers = memory_calloc(COLUMNS + ROWS, sizeof *numbers);
    real *memory = numbers ? memory_calloc(VALUES, sizeof *memory) : NULL;
    if (!memory) {
        free(numbers);
        return STATUS_FAILED;
    }
    struct operands all = {.a = memory, .along = numbers, .sums = numbers + COLUMNS};
    all.w = all.a + ROWS * DEPTH;
    all.dout = all.w + COLUMNS * DEPTH;
    all.found = all.dout + ROWS * COLUMNS;
    fill(all.a, ROWS * DEPTH, 1);
    fill(all.w, COLUMNS * DEPTH, 2);
    fill(all.dout, ROWS * COLUMNS, 3);
    unsigned seed = 4;
    for (int i = 0; i < COLUMNS; i++) {
        seed = seed * 1664525u + 1013904223u;
        all.along[i] = (double)(seed >> 12 | 1);
    }
    int threads = threads_count();
    enum status status = check(backend, &all);
    if (!status && threads > 1) {
        threads_set(1);
        status = check(backend, &all);
        threads_set(threads);
    }
    free(memory);
    free(numbers);
    return status;
}
