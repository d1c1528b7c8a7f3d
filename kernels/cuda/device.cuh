/* What the kernels share on the device: vectors of 16 bytes and fewer, sums in a fixed order. */
#ifndef KERNELS_CUDA_DEVICE_CUH
#define KERNELS_CUDA_DEVICE_CUH

#include <cuda_bf16.h>
#include <stdint.h>

typedef __nv_bfloat16 bf16;

/* COUNT neighbouring BF16 elements: 1, 2, 4 or 8. */
template <int COUNT> struct alignas(2 * COUNT) packed { uint32_t word[COUNT / 2]; };
template <> struct packed<1> { uint16_t word[1]; };

/* One access each. The compiler may read structs other than its own vectors word by word, and write
 * even those so. */
template <int COUNT> __device__ inline struct packed<COUNT> read_packed(const bf16 *from) {
    struct packed<COUNT> to;
    if constexpr (COUNT == 8) {
        uint4 words = *(const uint4 *)from;
        to.word[0] = words.x;
        to.word[1] = words.y;
        to.word[2] = words.z;
        to.word[3] = words.w;
    } else if constexpr (COUNT == 4) {
        uint2 words = *(const uint2 *)from;
        to.word[0] = words.x;
        to.word[1] = words.y;
    } else {
        to = *(const struct packed<COUNT> *)from;
    }
    return to;
}

template <int COUNT>
__device__ inline void write_packed(bf16 *to, const struct packed<COUNT> &from) {
    if constexpr (COUNT == 8)
        asm volatile("st.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(from.word[0]),
                     "r"(from.word[1]), "r"(from.word[2]), "r"(from.word[3])
                     : "memory");
    else if constexpr (COUNT == 4)
        asm volatile("st.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(from.word[0]), "r"(from.word[1])
                     : "memory");
    else
        *(struct packed<COUNT> *)to = from;
}

template <int COUNT>
__device__ inline void widen(float (&to)[COUNT], const struct packed<COUNT> &from) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        uint32_t word = from.word[i / 2];
        to[i] = __uint_as_float(i % 2 ? word & 0xffff0000u : word << 16);
    }
}

__device__ inline uint32_t bits_of(bf16 value) {
    return __bfloat16_as_ushort(value);
}

/* The first `valid` of COUNT elements (at most all; 0 or less: none), the others zero. */
template <int COUNT>
__device__ inline struct packed<COUNT> load_some(const bf16 *from, int valid, bool aligned) {
    struct packed<COUNT> some = {};
    if (aligned) {
        if (valid > 0) some = read_packed<COUNT>(from);
        return some;
    }
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        if (i < valid) some.word[i / 2] |= bits_of(from[i]) << (16 * (i % 2));
    return some;
}

template <int COUNT>
__device__ inline void load(float (&to)[COUNT], const bf16 *from) {
    widen(to, read_packed<COUNT>(from));
}

template <int COUNT> __device__ inline void store(bf16 *to, const float (&from)[COUNT]) {
    struct packed<COUNT> narrow = {};
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        narrow.word[i / 2] |= bits_of(__float2bfloat16(from[i])) << (16 * (i % 2));
    write_packed(to, narrow);
}

/* float32 in accesses of at most 16 bytes. */
template <int COUNT> struct alignas(4 * COUNT) floats { float at[COUNT]; };

template <int COUNT> __device__ inline void load(float (&to)[COUNT], const float *from) {
    constexpr int PART = COUNT < 4 ? COUNT : 4;
#pragma unroll
    for (int start = 0; start < COUNT; start += PART) {
        struct floats<PART> raw = *(const struct floats<PART> *)(from + start);
#pragma unroll
        for (int i = 0; i < PART; i++) to[start + i] = raw.at[i];
    }
}

template <int COUNT> __device__ inline void store(float *to, const float (&from)[COUNT]) {
    constexpr int PART = COUNT < 4 ? COUNT : 4;
#pragma unroll
    for (int start = 0; start < COUNT; start += PART) {
        struct floats<PART> raw;
#pragma unroll
        for (int i = 0; i < PART; i++) raw.at[i] = from[start + i];
        *(struct floats<PART> *)(to + start) = raw;
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

/* What instructions take for a place in shared memory. */
__device__ inline uint32_t shared_address(const void *pointer) {
    return (uint32_t)__cvta_generic_to_shared(pointer);
}

/* Weights that are wanted soon, into the L2 cache. */
__device__ inline void fetch_soon(const void *address) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

#endif
