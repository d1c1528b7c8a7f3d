/* RMSNorm (Zhang and Sennrich 2019) over the hidden size and over each head. */
#ifndef KERNELS_OPS_NORM_H
#define KERNELS_OPS_NORM_H

#include "kernels/ops/types.h"

struct head_norm_inputs {
    const struct act *x; /* [tokens, heads*E] */
    int64_t x_stride, tokens;
    const struct acc *w; /* [E] */
    int heads, head_dim;
};

struct norm_ops {
    /* out [rows, D] = x * rstd * w [D], rstd [rows] = (mean(x^2) + eps)^-1/2.
     * Backward: dx += (see the gradient rule); dw += (may be NULL). */
    void (*rmsnorm)(struct backend *, struct act *out, struct acc *rstd, const struct acc *x,
                    const struct acc *w, double epsilon, int64_t rows, int64_t width);
    void (*rmsnorm_backward)(struct backend *, struct acc *dx, struct acc *dw,
                             const struct act *dout, const struct acc *x, const struct acc *w,
                             const struct acc *rstd, int64_t rows, int64_t width);

    /* The same over each head: out [tokens, heads*E] (out_stride), rstd [tokens, heads]. dx, laid
     * out as x with a stride of its own, is written; dw += (may be NULL). */
    void (*head_norm)(struct backend *, struct act *out, int64_t out_stride, struct acc *rstd,
                      const struct head_norm_inputs *, double epsilon);
    void (*head_norm_backward)(struct backend *, struct act *dx, int64_t dx_stride, struct acc *dw,
                               const struct act *dout, int64_t dout_stride,
                               const struct head_norm_inputs *, const struct acc *rstd);
};

#endif
