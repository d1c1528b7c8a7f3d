/* AdamW (Loshchilov and Hutter 2019) and the norm that clipping needs. */
#include <math.h>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.cuh"
#include "kernels/ops/optimizer.h"

enum { THREADS = 256, WIDE = 4, NORM_BLOCKS = 1024 };

struct adamw {
    float lr, beta1, beta2, epsilon, decay, grad_scale;
    float rest1, rest2;             /* 1 - beta, of the doubles */
    float correction1, correction2; /* 1 / (1 - beta^step) */
};

/* One step of WIDTH parameters a thread, elementwise: both moments, then the update with their bias
 * corrected and the decay, which is not part of the gradient; `copy` (may be NULL) is rounded to
 * BF16. */
template <int WIDTH>
__global__ void adamw(float *parameter, bf16 *copy, float *moment1, float *moment2,
                      const float *gradient, struct adamw settings, int64_t count) {
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * WIDTH;
    if (i >= count) return;
    float p[WIDTH], m[WIDTH], v[WIDTH], g[WIDTH];
    load(p, parameter + i);
    load(m, moment1 + i);
    load(v, moment2 + i);
    load(g, gradient + i);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) {
        g[j] *= settings.grad_scale;
        m[j] = settings.beta1 * m[j] + settings.rest1 * g[j];
        v[j] = settings.beta2 * v[j] + settings.rest2 * g[j] * g[j];
        float update =
            m[j] * settings.correction1 / (sqrtf(v[j] * settings.correction2) + settings.epsilon);
        p[j] -= settings.lr * (update + settings.decay * p[j]);
    }
    store(parameter + i, p);
    store(moment1 + i, m);
    store(moment2 + i, v);
    if (copy) store(copy + i, p);
}

static void cuda_adamw(struct backend *backend, struct acc *parameter, struct act *copy,
                       struct acc *moment1, struct acc *moment2, const struct acc *gradient,
                       const struct adamw_settings *settings, int64_t count) {
    struct cuda_backend *cuda = cuda_of(backend);
    struct adamw s;
    s.lr = (float)settings->lr;
    s.beta1 = (float)settings->beta1;
    s.beta2 = (float)settings->beta2;
    s.rest1 = (float)(1 - settings->beta1);
    s.rest2 = (float)(1 - settings->beta2);
    s.epsilon = (float)settings->epsilon;
    s.decay = (float)settings->weight_decay;
    s.grad_scale = (float)settings->grad_scale;
    s.correction1 = (float)(1 / (1 - pow(settings->beta1, (double)settings->step)));
    s.correction2 = (float)(1 / (1 - pow(settings->beta2, (double)settings->step)));
    if (count % WIDE == 0 && aligned_to(parameter, 16) && aligned_to(copy, 8) &&
        aligned_to(moment1, 16) && aligned_to(moment2, 16) && aligned_to(gradient, 16))
        CUDA_LAUNCH(cuda, adamw<WIDE>, (unsigned)ceil_div(count, THREADS * WIDE), THREADS, 0,
                    (float *)parameter, (bf16 *)copy, (float *)moment1, (float *)moment2,
                    (const float *)gradient, s, count);
    else
        CUDA_LAUNCH(cuda, adamw<1>, (unsigned)ceil_div(count, THREADS), THREADS, 0,
                    (float *)parameter, (bf16 *)copy, (float *)moment1, (float *)moment2,
                    (const float *)gradient, s, count);
}

__device__ static double sum_block_double(double value, double *shared) {
    value = sum_lanes_double(value);
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    if (lane == 0) shared[warp] = value;
    __syncthreads();
    return sum_lanes_double(lane < (int)(blockDim.x >> 5) ? shared[lane] : 0.0);
}

/* Vectors of WIDTH, each block a fixed set of them; squares are added in double. */
template <int WIDTH> __global__ void square_blocks(double *partial, const float *x, int64_t count) {
    __shared__ double shared[32];
    double sum = 0;
    int64_t step = (int64_t)gridDim.x * THREADS * WIDTH;
#pragma unroll 4
    for (int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * WIDTH; i < count; i += step) {
        float values[WIDTH];
        load(values, x + i);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) sum += (double)values[j] * (double)values[j];
    }
    sum = sum_block_double(sum, shared);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/* total = the sum of partial [blocks]: one block, in an order that only `blocks` decides. */
__global__ void add_blocks(double *total, const double *partial, int blocks) {
    __shared__ double shared[32];
    double sum = 0;
    for (int i = threadIdx.x; i < blocks; i += THREADS) sum += partial[i];
    sum = sum_block_double(sum, shared);
    if (threadIdx.x == 0) *total = sum;
}

static void cuda_sum_squares(struct backend *backend, double *out, const struct acc *x,
                             int64_t count) {
    struct cuda_backend *cuda = cuda_of(backend);
    int64_t blocks = ceil_div(count, THREADS * WIDE);
    if (blocks > NORM_BLOCKS) blocks = NORM_BLOCKS;
    double *partial = (double *)cuda_scratch(cuda, NORM_BLOCKS * sizeof(double));
    if (!partial) return;
    if (count % WIDE == 0 && aligned_to(x, 16))
        CUDA_LAUNCH(cuda, square_blocks<WIDE>, (unsigned)blocks, THREADS, 0, partial,
                    (const float *)x, count);
    else
        CUDA_LAUNCH(cuda, square_blocks<1>, (unsigned)blocks, THREADS, 0, partial, (const float *)x,
                    count);
    CUDA_LAUNCH(cuda, add_blocks, 1, THREADS, 0, out, partial, (int)blocks);
}

const struct optimizer_ops cuda_optimizer_ops = {
    .adamw = cuda_adamw,
    .sum_squares = cuda_sum_squares,
};
