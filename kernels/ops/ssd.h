/* The Mamba-2 recurrence (state space duality, Dao and Gu 2024): one decay a head and token. */
#ifndef KERNELS_OPS_SSD_H
#define KERNELS_OPS_SSD_H

#include "kernels/ops/types.h"

/* H heads of P channels, G groups of N states; head h reads B and C of group h / (H / G). The GPU
 * has kernels for P up to 128 and N up to 256. */
struct ssd_shape {
    int heads, head_dim, groups, d_state;
};

struct ssd_inputs {
    const struct act *x;  /* [tokens, H*P], after convolution and its activation */
    const struct act *b;  /* [tokens, G*N] */
    const struct act *c;  /* [tokens, G*N] */
    const struct act *dt; /* [tokens, H], before bias and softplus */
    int64_t x_stride, b_stride, c_stride, dt_stride;
    const struct acc *dt_bias; /* [H] */
    const struct acc *a_log;   /* [H] */
    const struct acc *d;       /* [H] */
};

struct ssd_gradients {
    struct act *dx, *db, *dc, *ddt; /* written; layouts as the inputs, strides of their own */
    int64_t x_stride, b_stride, c_stride, dt_stride;
    struct acc *ddt_bias, *da_log, *dd; /* accumulated; each may be NULL */
};

/* dt' = softplus(dt + dt_bias), A = -exp(a_log), a head's state [P, N] <- exp(dt' A) state + dt' x
 * B^T, y = state C + D x; out [tokens, H*P] = y, without gate or norm. States in acc.
 * checkpoints (ssd_checkpoint_bytes of them, or NULL when no backward follows) are opaque: about
 * tokens * H*P*N / 64 elements. states [slots, H, P, N] (or NULL) receive the last state of each
 * sequence s at slots[s]; with `resume` sequences also begin from them, else from zeros. Backward:
 * the states that sequences began from receive no gradient. ssd_step: one more token a sequence,
 * `count` rows of inputs; out [count, H*P], states advance. */
struct ssd_ops {
    size_t (*ssd_checkpoint_bytes)(struct backend *, const struct sequences *,
                                   const struct ssd_shape *);
    void (*ssd)(struct backend *, struct act *out, struct acc *checkpoints, struct acc *states,
                const int32_t *slots, bool resume, const struct ssd_inputs *,
                const struct sequences *, const struct ssd_shape *);
    void (*ssd_backward)(struct backend *, const struct ssd_gradients *, const struct act *dout,
                         const struct acc *checkpoints, const struct ssd_inputs *,
                         const struct sequences *, const struct ssd_shape *);
    void (*ssd_step)(struct backend *, struct act *out, struct acc *states, const int32_t *slots,
                     const struct ssd_inputs *, int count, const struct ssd_shape *);
};

#endif
