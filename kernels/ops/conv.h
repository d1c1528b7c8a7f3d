/* The causal depthwise convolution before the scan. */
#ifndef KERNELS_OPS_CONV_H
#define KERNELS_OPS_CONV_H

#include "kernels/ops/mamba_shape.h"
#include "kernels/ops/types.h"

struct conv_ops {
    /* out [tokens, I] = silu(causal depthwise convolution of x [tokens, X] (stride) after
     * repetition, w [I, K] (last tap: the present token), bias [I], NULL for none). Each sequence
     * starts from zeros. Backward: dx written, summed over the repeats; dw, dbias may be NULL. */
    void (*conv_silu)(struct backend *, struct act *out, const struct act *x, int64_t x_stride,
                      const struct acc *w, const struct acc *bias, const struct sequences *,
                      const struct mamba_shape *);
    void (*conv_silu_backward)(struct backend *, struct act *dx, int64_t dx_stride, struct acc *dw,
                               struct acc *dbias, const struct act *dout, const struct act *x,
                               int64_t x_stride, const struct acc *w, const struct acc *bias,
                               const struct sequences *, const struct mamba_shape *);

    /* Decoding: states [slots, K - 1, X], the last inputs of the convolution, oldest first, zeros
     * before the beginning. conv_store keeps them of whole sequences; conv_step convolves one more
     * token a sequence, x [count, X] (x_stride) to out [count, I], and moves on. `slots`
     * [sequences] says where a sequence's past stands; no two are equal. */
    void (*conv_store)(struct backend *, struct act *states, const int32_t *slots,
                       const struct act *x, int64_t x_stride, const struct sequences *,
                       const struct mamba_shape *);
    void (*conv_step)(struct backend *, struct act *out, struct act *states, const int32_t *slots,
                      const struct act *x, int64_t x_stride, const struct acc *w,
                      const struct acc *bias, int count, const struct mamba_shape *);
};

#endif
