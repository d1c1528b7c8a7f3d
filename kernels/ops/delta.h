/* The gated delta rule (Yang, Kautz and Hatamizadeh 2024): a linear memory that is corrected. */
#ifndef KERNELS_OPS_DELTA_H
#define KERNELS_OPS_DELTA_H

#include "kernels/ops/types.h"

/* HK key heads of DK channels, HV value heads of DV; value head j reads key head j / (HV / HK). The
 * GPU has kernels for widths up to 128. */
struct delta_shape {
    int key_heads, value_heads, key_dim, value_dim;
};

struct delta_inputs {
    const struct act *q; /* [tokens, HK*DK], after convolution and SiLU, not normalised */
    const struct act *k; /* [tokens, HK*DK] */
    const struct act *v; /* [tokens, HV*DV] */
    const struct act *b; /* [tokens, HV], before the sigmoid */
    const struct act *a; /* [tokens, HV], before bias and softplus */
    int64_t q_stride, k_stride, v_stride, b_stride, a_stride;
    const struct acc *dt_bias; /* [HV] */
    const struct acc *a_log;   /* [HV] */
};

struct delta_gradients {
    struct act *dq, *dk, *dv, *db, *da; /* written; layouts as the inputs, strides of their own */
    int64_t q_stride, k_stride, v_stride, b_stride, a_stride;
    struct acc *ddt_bias, *da_log; /* accumulated; each may be NULL */
};

/* q' = q / sqrt(sum q^2 + 1e-6) * DK^-1/2, k' = k / sqrt(sum k^2 + 1e-6), beta = sigmoid(b),
 * g = -exp(a_log) softplus(a + dt_bias); a value head's state S [DK, DV] <- exp(g) S, then
 * S <- S + k' (beta (v - S^T k'))^T, out [tokens, HV*DV] = S^T q'. The rest as ssd has it, states
 * [slots, HV, DK, DV]. */
struct delta_ops {
    size_t (*delta_checkpoint_bytes)(struct backend *, const struct sequences *,
                                     const struct delta_shape *);
    void (*delta)(struct backend *, struct act *out, struct acc *checkpoints, struct acc *states,
                  const int32_t *slots, bool resume, const struct delta_inputs *,
                  const struct sequences *, const struct delta_shape *);
    void (*delta_backward)(struct backend *, const struct delta_gradients *, const struct act *dout,
                           const struct acc *checkpoints, const struct delta_inputs *,
                           const struct sequences *, const struct delta_shape *);
    void (*delta_step)(struct backend *, struct act *out, struct acc *states, const int32_t *slots,
                       const struct delta_inputs *, int count, const struct delta_shape *);
};

#endif
