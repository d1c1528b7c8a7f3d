/* The selective scan of Mamba (Gu and Dao 2023) with its gate.
 *
 * dt' = softplus(dt + dt_bias), state <- exp(dt' A) state + dt' x B, A = -exp(a_log),
 * y = <state, C> + D x, out = y * silu(z). A channel's state has N values, in acc, zero at the
 * start of each sequence. */
#ifndef KERNELS_OPS_SCAN_H
#define KERNELS_OPS_SCAN_H

#include "kernels/ops/mamba_shape.h"
#include "kernels/ops/types.h"

struct scan_inputs {
    const struct act *x;  /* [tokens, I], after convolution and SiLU */
    const struct act *dt; /* [tokens, I], before bias and softplus */
    const struct act *z;  /* [tokens, I], gate before SiLU */
    const struct act *b;  /* [tokens, X] */
    const struct act *c;  /* [tokens, I] */
    int64_t x_stride, dt_stride, z_stride, b_stride, c_stride;
    const struct acc *dt_bias; /* [I]: the effective bias, added once */
    const struct acc *a_log;   /* [I, N] */
    const struct acc *d;       /* [I] */
};

struct scan_gradients {
    struct act *dx, *ddt, *dz, *db, *dc; /* written; layouts as the inputs, strides of their own */
    int64_t x_stride, dt_stride, z_stride, b_stride, c_stride;
    struct acc *ddt_bias, *da_log, *dd; /* accumulated; each may be NULL */
};

struct scan_ops {
    /* out [tokens, I]. checkpoints (scan_checkpoint_bytes of them, or NULL when no backward
     * follows) receive the states that the backward pass restarts from: about tokens * I * N / 64
     * elements, or / 16 on CUDA where N is 16.
     * states [slots, I, N] (or NULL) receive the state after the last token of each sequence s at
     * slots[s], for scan_step. */
    size_t (*scan_checkpoint_bytes)(struct backend *, const struct sequences *,
                                    const struct mamba_shape *);
    void (*scan)(struct backend *, struct act *out, struct acc *checkpoints, struct acc *states,
                 const int32_t *slots, const struct scan_inputs *, const struct sequences *,
                 const struct mamba_shape *);
    void (*scan_backward)(struct backend *, const struct scan_gradients *, const struct act *dout,
                          const struct acc *checkpoints, const struct scan_inputs *,
                          const struct sequences *, const struct mamba_shape *);

    /* The scan of one more token a sequence, `count` rows of inputs, from states [slots, I, N],
     * which advance; out [count, I]. */
    void (*scan_step)(struct backend *, struct act *out, struct acc *states, const int32_t *slots,
                      const struct scan_inputs *, int count, const struct mamba_shape *);
};

#endif
