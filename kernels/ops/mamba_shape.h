/* The sizes that the convolution and the selective scan share. */
#ifndef KERNELS_OPS_MAMBA_SHAPE_H
#define KERNELS_OPS_MAMBA_SHAPE_H

/* The Mamba mixer's sizes: d_inner I, d_xb X, d_state N, d_conv K (1 to 64); I = repeat * X.
 * Channel c of I lies in sub-head c / N; x and B have X / N sub-heads, each serving `repeat`
 * sub-heads in place: channel c reads source channel (c / N / repeat) * N + c % N. */
struct mamba_shape {
    int d_inner, d_xb, d_state, d_conv;
};

#endif
