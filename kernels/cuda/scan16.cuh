/* What the passes for d_state 16 share. A sub-head then has 16 channels of 16 states: a warp's lane
 * (g, t) = (lane / 4, lane % 4) holds states of channels 2g and 2g+1, four times t on, and tensor
 * cores sum over the four lanes of a channel, which costs fewer instructions than shuffles.
 *
 * Half of a block's warps walk through the tokens; the others, one tile of SCAN_BLOCK tokens ahead
 * and behind, turn what lies in memory into what the walk reads and its sums into the outputs. */
#ifndef KERNELS_CUDA_SCAN_SIXTEEN_CUH
#define KERNELS_CUDA_SCAN_SIXTEEN_CUH

#include "kernels/cuda/scan.cuh"

/* 2^x for x <= 0 on the arithmetic pipes, to 3e-6: the special function unit alone would be the
 * scan's ceiling. The polynomial's constant is 1, so that weak decay stays as exact as it is. */
__device__ inline float scan_exp2_polynomial(float x) {
    x = fmaxf(x, -126.0f);
    float shifted = x + 12582912.0f; /* 1.5 * 2^23: the sum's last bits are x rounded */
    float f = x - (shifted - 12582912.0f);
    float p = fmaf(f, 0.00958284966f, 0.0559064297f);
    p = fmaf(f, p, 0.240240987f);
    p = fmaf(f, p, 0.693124192f);
    p = fmaf(f, p, 1.0f);
    return __int_as_float(__float_as_int(p) + (__float_as_int(shifted) << 23));
}

/* The sums of `first` and of `second` over aligned groups of four lanes, in all of them. TF32 keeps
 * the upper 11 bits of a value's 24; what it drops goes in as a second value. */
__device__ inline float2 scan16_sum_lanes(float first, float second) {
    const uint32_t one = 0x3f800000, kept = 0xffffe000;
    uint32_t upper[2] = {__float_as_uint(first) & kept, __float_as_uint(second) & kept};
    uint32_t lower[2] = {__float_as_uint(first - __uint_as_float(upper[0])),
                         __float_as_uint(second - __uint_as_float(upper[1]))};
    float sum[4] = {};
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(upper[0]), "r"(upper[1]), "r"(lower[0]), "r"(lower[1]), "r"(one), "r"(one));
    return make_float2(sum[0], sum[2]);
}

/* Tiles in shared memory are written by 8 (or 4) values a thread, in pieces of 16 bytes, and read
 * by one piece a lane. The k-th of PIECES pieces lies at k ^ scan16_turn() of its eight values, so
 * that neither writers nor readers meet the same banks twice. */
template <int PIECES> __device__ inline int scan16_turn(int eight) {
    return eight / (8 / PIECES) % PIECES;
}

/* Where value `column` (a multiple of 2) of a row of b or c lies. */
__device__ inline int scan16_row_place(int column) {
    return column ^ 4 * scan16_turn<2>(column / 8);
}

/* Where a pair of channels lies in a row of pairs [(dt, dt, u, u)]. */
__device__ inline int scan16_pair_place(int pair) {
    return 4 * (pair ^ scan16_turn<4>(pair / 4));
}

template <int WIDTH>
__device__ inline void scan16_store_row(float *row, int column, const float (&value)[WIDTH]) {
#pragma unroll
    for (int i = 0; i < WIDTH; i += 4) {
        float four[4] = {value[i], value[i + 1], value[i + 2], value[i + 3]};
        store(row + scan16_row_place(column + i), four);
    }
}

template <int WIDTH>
__device__ inline void scan16_store_pairs(float *row, int column, const float (&dt)[WIDTH],
                                          const float (&u)[WIDTH]) {
#pragma unroll
    for (int i = 0; i < WIDTH; i += 2) {
        float four[4] = {dt[i], dt[i + 1], u[i], u[i + 1]};
        store(row + scan16_pair_place((column + i) / 2), four);
    }
}

/* The sums that replaced them. */
template <int WIDTH>
__device__ inline void scan16_load_pairs(float (&du)[WIDTH], float (&ddt)[WIDTH], const float *row,
                                         int column) {
#pragma unroll
    for (int i = 0; i < WIDTH; i += 2) {
        float four[4];
        load(four, row + scan16_pair_place((column + i) / 2));
        du[i] = four[0];
        du[i + 1] = four[1];
        ddt[i] = four[2];
        ddt[i + 1] = four[3];
    }
}

#endif
