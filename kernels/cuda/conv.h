/* The functions of the convolution's table that stand in decode.cu. */
#ifndef KERNELS_CUDA_CONV_H
#define KERNELS_CUDA_CONV_H

#include "kernels/ops/conv.h"

void cuda_conv_store(struct backend *backend, struct act *states, const int32_t *slots,
                     const struct act *x, int64_t x_stride, const struct sequences *sequences,
                     const struct mamba_shape *shape);
void cuda_conv_step(struct backend *backend, struct act *out, struct act *states,
                    const int32_t *slots, const struct act *x, int64_t x_stride,
                    const struct acc *w, const struct acc *bias, int count,
                    const struct mamba_shape *shape);

#endif
