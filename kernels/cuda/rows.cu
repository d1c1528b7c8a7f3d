/* Rows of the residual stream: a block a row, sums in a fixed order. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.cuh"
#include "kernels/ops/rows.h"

enum { THREADS = 256, WIDE = 4 };

template <int WIDTH>
__global__ void row_distance(float *out, const float *x, const float *y, int64_t width) {
    __shared__ float shared[32];
    int64_t start = blockIdx.x * width;
    float sum = 0;
    for (int64_t i = (int64_t)threadIdx.x * WIDTH; i < width; i += THREADS * WIDTH) {
        float a[WIDTH], b[WIDTH] = {};
        load(a, x + start + i);
        if (y) load(b, y + start + i);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) sum += (a[j] - b[j]) * (a[j] - b[j]);
    }
    sum = sum_block(sum, shared);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

template <int WIDTH>
__global__ void row_add_difference(float *into, const float *scale, const float *x, const float *y,
                                   int64_t width) {
    int64_t start = blockIdx.x * width;
    float factor = scale ? scale[blockIdx.x] : 1;
    for (int64_t i = (int64_t)threadIdx.x * WIDTH; i < width; i += THREADS * WIDTH) {
        float to[WIDTH], a[WIDTH], b[WIDTH] = {};
        load(to, into + start + i);
        load(a, x + start + i);
        if (y) load(b, y + start + i);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) to[j] += factor * (a[j] - b[j]);
        store(into + start + i, to);
    }
}

static bool is_wide(const void *x, const void *y, int64_t width) {
    return width % WIDE == 0 && aligned_to(x, 16) && aligned_to(y, 16);
}

static void cuda_distance(struct backend *backend, struct acc *out, const struct acc *x,
                          const struct acc *y, int64_t rows, int64_t width) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (is_wide(x, y, width))
        CUDA_LAUNCH(cuda, row_distance<WIDE>, (unsigned)rows, THREADS, 0, (float *)out,
                    (const float *)x, (const float *)y, width);
    else
        CUDA_LAUNCH(cuda, row_distance<1>, (unsigned)rows, THREADS, 0, (float *)out,
                    (const float *)x, (const float *)y, width);
}

static void cuda_add_difference(struct backend *backend, struct acc *into, const struct acc *scale,
                                const struct acc *x, const struct acc *y, int64_t rows,
                                int64_t width) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (is_wide(x, y, width) && aligned_to(into, 16))
        CUDA_LAUNCH(cuda, row_add_difference<WIDE>, (unsigned)rows, THREADS, 0, (float *)into,
                    (const float *)scale, (const float *)x, (const float *)y, width);
    else
        CUDA_LAUNCH(cuda, row_add_difference<1>, (unsigned)rows, THREADS, 0, (float *)into,
                    (const float *)scale, (const float *)x, (const float *)y, width);
}

const struct row_ops cuda_row_ops = {
    .distance = cuda_distance,
    .add_difference = cuda_add_difference,
};
