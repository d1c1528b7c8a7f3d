/* What the convolution and the scan share. */
#ifndef KERNELS_CPU_MAMBA_H
#define KERNELS_CPU_MAMBA_H

#include "kernels/ops/conv.h"

enum {
    MAMBA_LANES = 16,    /* channels of one sub-head that are worked on together */
    MAMBA_MAX_TAPS = 64, /* the largest d_conv */
};

/* The channel of x (or B) that channel c of I reads. */
static inline int mamba_source(const struct mamba_shape *shape, int channel) {
    int states = shape->d_state, repeat = shape->d_inner / shape->d_xb;
    return channel / states / repeat * states + channel % states;
}

/* Groups of MAMBA_LANES channels in a sub-head, the last one perhaps narrower. */
static inline int mamba_groups(int d_state) {
    return (d_state + MAMBA_LANES - 1) / MAMBA_LANES;
}

/* decode.c */
void cpu_conv_store(struct backend *backend, struct act *states, const int32_t *slots,
                    const struct act *x, int64_t x_stride, const struct sequences *sequences,
                    const struct mamba_shape *shape);
void cpu_conv_step(struct backend *backend, struct act *out, struct act *states,
                   const int32_t *slots, const struct act *x, int64_t x_stride, const struct acc *w,
                   const struct acc *bias, int count, const struct mamba_shape *shape);

#endif
