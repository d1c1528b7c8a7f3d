/* Rows of the residual stream by themselves: how far apart they are, and their sums. */
#ifndef KERNELS_OPS_ROWS_H
#define KERNELS_OPS_ROWS_H

#include "kernels/ops/types.h"

/* x, y and into are [rows, D]; y may be NULL, which stands for zeros. */
struct row_ops {
    /* out [rows] = the sum over a row of (x - y)^2. */
    void (*distance)(struct backend *, struct acc *out, const struct acc *x, const struct acc *y,
                     int64_t rows, int64_t width);
    /* into += scale [rows] * (x - y): with scale 2 / denominator, or what stands for it, the
     * gradient of distances with respect to x. scale NULL: 1. into may not be x or y. */
    void (*add_difference)(struct backend *, struct acc *into, const struct acc *scale,
                           const struct acc *x, const struct acc *y, int64_t rows, int64_t width);
};

#endif
