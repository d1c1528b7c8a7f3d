/* In place of the CUDA backend in a build without nvcc. */
#include "kernels/cuda/open.h"

enum status backend_open_cuda(struct backend **out, int device) {
    (void)out;
    (void)device;
    return status_fail("this build has no CUDA backend");
}

bool cuda_versions(int out[3]) {
    (void)out;
    return false;
}
