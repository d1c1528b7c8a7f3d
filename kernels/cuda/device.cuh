/* What the kernels share on the device: vectors of 16 bytes and fewer, sums in a fixed order. */
#ifndef KERNELS_CUDA_DEVICE_CUH
#define KERNELS_CUDA_DEVICE_CUH

#include <cuda_bf16.h>
#include <stdint.h>

typedef __nv_bfloat16 bf16;

/* COUNT neighbouring elements of BF16 or float32, read and written as one access. */
template <typename T, int COUNT> struct alignas(sizeof(T) * COUNT) vector { T at[COUNT]; };

template <int COUNT>
__device__ inline void widen(float (&to)[COUNT], const vector<bf16, COUNT> &from) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) to[i] = __bfloat162float(from.at[i]);
}

template <int COUNT> __device__ inline void load(float (&to)[COUNT], const bf16 *from) {
    widen(to, *(const vector<bf16, COUNT> *)from);
}

/* float32 in accesses of at most 16 bytes. */
template <int COUNT> __device__ inline void load(float (&to)[COUNT], const float *from) {
    constexpr int PART = COUNT < 4 ? COUNT : 4;
#pragma unroll
    for (int start = 0; start < COUNT; start += PART) {
        vector<float, PART> raw = *(const vector<float, PART> *)(from + start);
#pragma unroll
        for (int i = 0; i < PART; i++) to[start + i] = raw.at[i];
    }
}

template <int COUNT> __device__ inline void store(bf16 *to, const float (&from)[COUNT]) {
    vector<bf16, COUNT> raw;
#pragma unroll
    for (int i = 0; i < COUNT; i++) raw.at[i] = __float2bfloat16(from[i]);
    *(vector<bf16, COUNT> *)to = raw;
}

template <int COUNT> __device__ inline void store(float *to, const float (&from)[COUNT]) {
    constexpr int PART = COUNT < 4 ? COUNT : 4;
#pragma unroll
    for (int start = 0; start < COUNT; start += PART) {
        vector<float, PART> raw;
#pragma unroll
        for (int i = 0; i < PART; i++) raw.at[i] = from[start + i];
        *(vector<float, PART> *)(to + start) = raw;
    }
}

/* The division is approximate (2 ulp): results are rounded to BF16, and the exact one would cost
 * the memory-bound kernels that call this a fifth of their rate. */
__device__ inline float sigmoid(float x) {
    return __fdividef(1.0f, 1 + expf(-x));
}

/* The sum over aligned groups of LANES neighbouring lanes, in every lane of the group. */
template <int LANES = 32> __device__ inline float sum_lanes(float value) {
#pragma unroll
    for (int step = LANES / 2; step; step /= 2) value += __shfl_xor_sync(~0u, value, step);
    return value;
}

__device__ inline double sum_lanes_double(double value) {
#pragma unroll
    for (int step = 16; step; step /= 2) value += __shfl_xor_sync(~0u, value, step);
    return value;
}

/* The sum over a block of whole warps, in every thread; `shared` [32] may be used again after the
 * next barrier. */
__device__ inline float sum_block(float value, float *shared) {
    value = sum_lanes(value);
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    if (lane == 0) shared[warp] = value;
    __syncthreads();
    return sum_lanes(lane < warps ? shared[lane] : 0.0f);
}

/* A kernel launched with CUDA_LAUNCH_EARLY calls these two first, in every thread. The kernel after
 * it may start now; what kernels before it wrote is there after the wait, and only then may it
 * write itself. Weights and what the host sent (ids, positions, slots) are there before. */
__device__ inline void let_next_start() {
#if __CUDA_ARCH__ >= 900
    cudaTriggerProgrammaticLaunchCompletion();
#endif
}

__device__ inline void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
    cudaGridDependencySynchronize();
#endif
}

/* Weights that are wanted soon, into the L2 cache. */
__device__ inline void fetch_soon(const void *address) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

#endif
