/* Products of a warpgroup (four warps) for chunks of 64 tokens: 64 rows, 16 a warp, whose results
 * lie in registers as mma.sync leaves them. Left operands come from registers or shared memory,
 * right ones from shared memory. On Hopper the products of 64 columns and more are wgmma, elsewhere
 * mma.sync of the same places: who calls them does not know which.
 *
 * Tiles lie in shared memory as hopper.cuh says: panels of 64 columns, whose rows of 128 bytes have
 * their 16-byte pieces permuted; they start at multiples of 1024 bytes. */
#ifndef KERNELS_CUDA_PANELS_CUH
#define KERNELS_CUDA_PANELS_CUH

#include "kernels/cuda/chunk.cuh"
#include "kernels/cuda/hopper.cuh"

enum { PANEL_ALIGNMENT = 1024 }; /* what a kernel asks for beyond its tiles' sizes */

__device__ inline bf16 *first_panel() {
    uintptr_t at = (uintptr_t)chunk_memory;
    return (bf16 *)((at + PANEL_ALIGNMENT - 1) / PANEL_ALIGNMENT * PANEL_ALIGNMENT);
}

/* Of a piece of 8 columns in a tile of ROWS rows. */
template <int ROWS = CHUNK> __device__ inline int panel_place(int row, int piece) {
    return piece / 8 * ROWS * PANEL + row * PANEL + (piece % 8 ^ (row & 7)) * 8;
}

/* load_rows for a tile of panels; EXACT: the rows are known to be. */
template <int ROWS, int E, int THREADS, bool EXACT = false>
__device__ inline void load_panels(bf16 *to, const struct chunk_rows &rows, int64_t token, int head,
                                   int valid, int width, int thread = threadIdx.x) {
    constexpr int PIECES = E / 8, STEP = THREADS / PIECES;
    const bf16 *from = rows.at + token * rows.stride + (int64_t)head * rows.width;
    int first = thread / PIECES, piece = thread % PIECES, count = width - piece * 8;
    const bf16 *at = from + first * rows.stride + piece * 8;
    if constexpr (!EXACT)
        if (!rows.exact) {
#pragma unroll 1
            for (int row = first; row < ROWS; row += STEP, at += STEP * rows.stride)
                write_packed(to + panel_place<ROWS>(row, piece),
                             load_some<8>(at, row < valid ? count : 0, false));
            return;
        }
#pragma unroll 4
    for (int row = first; row < ROWS; row += STEP, at += STEP * rows.stride) {
        bool inside = row < valid && count > 0;
        copy_async(to + panel_place<ROWS>(row, piece), inside ? at : from, inside);
    }
}

/* What this thread has written to shared memory (copies but the last PENDING groups too), and what
 * the others have, is there for all, products included. */
template <int PENDING> __device__ inline void panels_ready() {
    copy_wait<PENDING>();
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    share_with_async_proxy();
#endif
    __syncthreads();
}

__device__ inline float2 read_panel_pair(const bf16 *tile, int row, int column) {
    uint32_t word = *(const uint32_t *)(tile + panel_place(row, column / 8) + column % 8);
    return make_float2(__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u));
}

__device__ inline void write_panel_pair(bf16 *tile, int row, int column, float low, float high) {
    *(uint32_t *)(tile + panel_place(row, column / 8) + column % 8) = pack_bf16(low, high);
}

/* A left operand: rows row .. row + 15 of a tile of 64 rows, columns from 16 * step on ... */
__device__ inline void load_panel_left(uint32_t (&to)[4], const bf16 *tile, int row, int step) {
    int lane = threadIdx.x & 31;
    load_matrices(to, tile + panel_place(row + lane % 16, 2 * step + lane / 16));
}

/* ... or of its transpose: the rows are columns 8 * piece .. + 15, summed are rows 16 * step .. */
__device__ inline void load_panel_columns(uint32_t (&to)[4], const bf16 *tile, int piece,
                                          int step) {
    int lane = threadIdx.x & 31, matrix = lane / 8;
    load_matrices_transposed(
        to, tile + panel_place(16 * step + matrix / 2 * 8 + lane % 8, piece + matrix % 2));
}

/* All of a left operand, each summed index times its factor unless that is NULL. */
template <int STEPS, bool TRANSPOSED>
__device__ inline void load_panel_square(uint32_t (&to)[STEPS][4], const bf16 *tile, int row,
                                         const float *factor) {
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
        if constexpr (TRANSPOSED)
            load_panel_columns(to[step], tile, row / 8, step);
        else
            load_panel_left(to[step], tile, row, step);
        if (factor) scale_left(to[step], factor, step);
    }
}

/* A result as a left operand: its columns are summed over. */
template <int STEPS>
__device__ inline void pack_result(uint32_t (&to)[STEPS][4], const float (&from)[2 * STEPS][4]) {
#pragma unroll
    for (int step = 0; step < STEPS; step++)
        pack_left(to[step], from[2 * step], from[2 * step + 1]);
}

/* The right operand's 16 columns by mma.sync: of rows, as product_registers says. */
template <bool COLUMNS, int ROWS>
__device__ inline void load_panel_right(uint32_t (&to)[4], const bf16 *tile, int at, int step) {
    int lane = threadIdx.x & 31;
    if constexpr (COLUMNS)
        load_matrices_transposed(
            to, tile + panel_place<ROWS>(16 * step + lane % 16, at / 8 + lane / 16));
    else
        load_matrices(
            to, tile + panel_place<ROWS>(at + lane / 16 * 8 + lane % 8, 2 * step + lane / 8 % 2));
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
template <bool COLUMNS, int ROWS>
__device__ inline uint64_t panel_operand(const bf16 *tile, int at, int step) {
    if constexpr (COLUMNS)
        return wgmma_operand_columns(tile + at / PANEL * ROWS * PANEL + 16 * step * PANEL,
                                     ROWS * PANEL_ROW);
    else
        return wgmma_operand_rows(tile + step / 4 * ROWS * PANEL + at * PANEL + step % 4 * 16);
}
#endif

/* d [64, N] += left [64, 16 * STEPS] . right: of a tile of ROWS rows its columns at .. at + N - 1,
 * rows summed over; or, not COLUMNS, the transpose of its rows at .. at + N - 1. The result is
 * there after finish_product. */
template <bool COLUMNS, int ROWS = CHUNK, int N8, int STEPS>
__device__ inline void product_registers(float (&d)[N8][4], const uint32_t (&left)[STEPS][4],
                                         const bf16 *right, int at = 0) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    if constexpr (N8 >= 8) {
        wgmma_fence();
#pragma unroll
        for (int step = 0; step < STEPS; step++)
            wgmma<8 * N8>::template registers<COLUMNS>(
                d, left[step], panel_operand<COLUMNS, ROWS>(right, at, step));
        wgmma_commit();
    } else
#endif
#pragma unroll
        for (int step = 0; step < STEPS; step++)
#pragma unroll
            for (int n = 0; n < N8 / 2; n++) {
                uint32_t b[4];
                load_panel_right<COLUMNS, ROWS>(b, right, at + 16 * n, step);
                multiply(d[2 * n], left[step], b[0], b[1]);
                multiply(d[2 * n + 1], left[step], b[2], b[3]);
            }
}

/* The same with the left operand in shared memory, a tile of 64 rows. */
template <bool COLUMNS, int STEPS, int ROWS = CHUNK, int N8>
__device__ inline void product_shared(float (&d)[N8][4], const bf16 *left, const bf16 *right,
                                      int at = 0) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    if constexpr (N8 >= 8) {
        wgmma_fence();
#pragma unroll
        for (int step = 0; step < STEPS; step++)
            wgmma<8 * N8>::template shared<COLUMNS>(d, panel_operand<false, CHUNK>(left, 0, step),
                                                    panel_operand<COLUMNS, ROWS>(right, at, step),
                                                    1);
        wgmma_commit();
    } else
#endif
#pragma unroll 2
        for (int step = 0; step < STEPS; step++) {
            uint32_t a[4];
            load_panel_left(a, left, threadIdx.x / 32 % 4 * 16, step);
#pragma unroll
            for (int n = 0; n < N8 / 2; n++) {
                uint32_t b[4];
                load_panel_right<COLUMNS, ROWS>(b, right, at + 16 * n, step);
                multiply(d[2 * n], a, b[0], b[1]);
                multiply(d[2 * n + 1], a, b[2], b[3]);
            }
        }
}

/* Waits for all products begun; for each result. */
template <int N8> __device__ inline void finish_product(float (&d)[N8][4]) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    wgmma_wait<0>();
    wgmma_hold(d);
#endif
}

template <int N8> __device__ inline void clear_result(float (&d)[N8][4]) {
#pragma unroll
    for (int n = 0; n < N8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) d[n][i] = 0;
}

/* Rows times their factors, `row` being the warp's first. */
template <int N8>
__device__ inline void scale_result(float (&d)[N8][4], const float *factor, int row) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float by = factor[row + lane / 4 + 8 * half];
#pragma unroll
        for (int n = 0; n < N8; n++) {
            d[n][2 * half] *= by;
            d[n][2 * half + 1] *= by;
        }
    }
}

/* Columns times their factors. */
template <int N8> __device__ inline void scale_columns(float (&d)[N8][4], const float *factor) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int n = 0; n < N8; n++) {
        float2 by = *(const float2 *)(factor + 8 * n + lane % 4 * 2);
        d[n][0] *= by.x;
        d[n][1] *= by.y;
        d[n][2] *= by.x;
        d[n][3] *= by.y;
    }
}

#endif
