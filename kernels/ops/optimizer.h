/* AdamW (Loshchilov and Hutter 2019) and the norm of a gradient. */
#ifndef KERNELS_OPS_OPTIMIZER_H
#define KERNELS_OPS_OPTIMIZER_H

#include "kernels/ops/types.h"

struct adamw_settings {
    double lr, beta1, beta2, epsilon, weight_decay;
    int64_t step;      /* from 1 */
    double grad_scale; /* multiplies the gradient first (clipping) */
};

struct optimizer_ops {
    /* All [count]; copy (may be NULL) receives the new parameters for the next forward pass. */
    void (*adamw)(struct backend *, struct acc *parameter, struct act *copy, struct acc *moment1,
                  struct acc *moment2, const struct acc *gradient, const struct adamw_settings *,
                  int64_t count);
    /* *out = the sum of x^2, a double on the device. */
    void (*sum_squares)(struct backend *, double *out, const struct acc *x, int64_t count);
};

#endif
