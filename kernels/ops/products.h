/* Matrix products with weights, and their gradients. */
#ifndef KERNELS_OPS_PRODUCTS_H
#define KERNELS_OPS_PRODUCTS_H

#include "kernels/ops/types.h"

/* Where a product goes: to memory of one of the two types, the other is NULL; with `add` it is
 * added to what stands there. */
struct product {
    struct act *narrow;
    struct acc *wide;
    bool add;
};

static inline struct product into_act(struct act *out) {
    struct product product = {out, NULL, false};
    return product;
}

static inline struct product onto_act(struct act *out) {
    struct product product = {out, NULL, true};
    return product;
}

static inline struct product into_acc(struct acc *out) {
    struct product product = {NULL, out, false};
    return product;
}

static inline struct product onto_acc(struct acc *out) {
    struct product product = {NULL, out, true};
    return product;
}

/* out [m, n] = a [m, k] . w [n, k]^T + bias [n] (may be NULL). a's rows are a_stride apart.
 * Backward: da [m, k] = dout . w; dw [n, k] += dout^T . a; dbias [n] += the sum of dout's rows.
 * dout [m, n]. */
struct product_ops {
    void (*matmul)(struct backend *, struct product out, const struct act *a, int64_t a_stride,
                   const struct act *w, const struct acc *bias, int64_t m, int64_t n, int64_t k);
    void (*matmul_backward_input)(struct backend *, struct product da, const struct act *dout,
                                  const struct act *w, int64_t m, int64_t n, int64_t k);
    void (*matmul_backward_weight)(struct backend *, struct acc *dw, const struct act *dout,
                                   const struct act *a, int64_t a_stride, int64_t m, int64_t n,
                                   int64_t k);
    void (*matmul_backward_bias)(struct backend *, struct acc *dbias, const struct act *dout,
                                 int64_t m, int64_t n);
};

#endif
