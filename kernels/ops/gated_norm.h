/* RMSNorm over groups of channels with a SiLU gate before or after it. */
#ifndef KERNELS_OPS_GATED_NORM_H
#define KERNELS_OPS_GATED_NORM_H

#include "kernels/ops/types.h"

/* Mamba-2: gate_first, a weight for each channel. Gated DeltaNet: the gate last, one group's
 * weights for all. */
struct gated_norm_shape {
    int groups, width; /* of a row: groups * width channels */
    bool gate_first;   /* norm(x silu(z)) w, else norm(x) w silu(z) */
    bool shared;       /* w [width], else [groups * width] */
    double epsilon;
};

/* out [rows, W] of x [rows, W] and z [rows, W] (z_stride), W = groups * width; the norm's epsilon,
 * weights and place beside the gate are the shape's. rstd [rows, groups]. Backward: dx and dz
 * (dz_stride) are written; dw += (may be NULL). */
struct gated_norm_ops {
    void (*gated_norm)(struct backend *, struct act *out, struct acc *rstd, const struct act *x,
                       const struct act *z, int64_t z_stride, const struct acc *w, int64_t rows,
                       const struct gated_norm_shape *);
    void (*gated_norm_backward)(struct backend *, struct act *dx, struct act *dz, int64_t dz_stride,
                                struct acc *dw, const struct act *dout, const struct act *x,
                                const struct act *z, int64_t z_stride, const struct acc *w,
                                const struct acc *rstd, int64_t rows,
                                const struct gated_norm_shape *);
};

#endif
