/* The functions of norm's table that stand in files of their own. */
#ifndef KERNELS_CUDA_NORM_H
#define KERNELS_CUDA_NORM_H

#include "kernels/ops/norm.h"

void cuda_head_norm(struct backend *backend, struct act *out, int64_t out_stride, struct acc *rstd,
                    const struct head_norm_inputs *in, double epsilon);
void cuda_head_norm_backward(struct backend *backend, struct act *dx, int64_t dx_stride,
                             struct acc *dw, const struct act *dout, int64_t dout_stride,
                             const struct head_norm_inputs *in, const struct acc *rstd);

#endif
