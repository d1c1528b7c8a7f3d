/* The functions of the scan's table that stand in files of their own. */
#ifndef KERNELS_CUDA_SCAN_H
#define KERNELS_CUDA_SCAN_H

#include "kernels/ops/scan.h"

void cuda_scan_backward(struct backend *backend, const struct scan_gradients *gradients,
                        const struct act *dout, const struct acc *checkpoints,
                        const struct scan_inputs *in, const struct sequences *sequences,
                        const struct mamba_shape *shape);
void cuda_scan_step(struct backend *backend, struct act *out, struct acc *states,
                    const int32_t *slots, const struct scan_inputs *in, int count,
                    const struct mamba_shape *shape);

#endif
