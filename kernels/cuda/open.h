/* The one door to the CUDA backend. A build without nvcc has kernels/cuda/absent.c behind it. */
#ifndef KERNELS_CUDA_OPEN_H
#define KERNELS_CUDA_OPEN_H

#include <stdbool.h>

#include "base/status.h"

struct backend;

/* Device `device` (from 0). Fails when the build has no CUDA, the machine no driver or no such
 * device, or the device is older than compute capability 8.0. close() frees it. */
enum status backend_open_cuda(struct backend **out, int device) STATUS_CHECKED;

/* Versions as CUDA's own functions give them: of the runtime (1000 * major + 10 * minor), of what
 * the driver supports (0: there is none), of cuBLASLt (10000 * major + 100 * minor + patch). False
 * in a build without CUDA. */
bool cuda_versions(int out[3]);

#endif
