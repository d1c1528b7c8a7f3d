/* The functions of norm's table that stand in files of their own. */
#ifndef KERNELS_CUDA_NORM_H
#define KERNELS_CUDA_NORM_H

#include "kernels/ops/norm.h"

void cuda_head_norm(struct backend *backend, struct act *out, int64_t out_stride, struct acc *rstd,
                    const struct act *x, int64_t x_stride, const struct acc *w, double epsilon,
                    int64_t tokens, int heads, int head_dim);
void cuda_head_norm_backward(struct backend *backend, struct act *dx, int64_t dx_stride,
                             struct acc *dw, const struct act *dout, int64_t dout_stride,
                             const struct act *x, int64_t x_stride, const struct acc *w,
                             const struct acc *rstd, int64_t tokens, int heads, int head_dim);

#endif
