/* SwiGLU (Shazeer 2020). */
#ifndef KERNELS_OPS_MLP_H
#define KERNELS_OPS_MLP_H

#include "kernels/ops/types.h"

/* out [rows, F] = silu(gate) * up of gate_up [rows, 2F] (gates first). */
struct mlp_ops {
    void (*swiglu)(struct backend *, struct act *out, const struct act *gate_up, int64_t rows,
                   int64_t width);
    void (*swiglu_backward)(struct backend *, struct act *dgate_up, const struct act *dout,
                            const struct act *gate_up, int64_t rows, int64_t width);
};

#endif
