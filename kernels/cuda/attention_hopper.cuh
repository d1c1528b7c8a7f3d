/* What the attention kernels for Hopper share: products of tiles in shared memory, a warpgroup's 64
 * rows at a time. */
#ifndef KERNELS_CUDA_ATTENTION_HOPPER_CUH
#define KERNELS_CUDA_ATTENTION_HOPPER_CUH

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/hopper.cuh"

/* s [64, N] = left rows . (right rows)^T over E columns; panels of LEFT and N rows. */
template <int E, int LEFT, int N>
__device__ inline void products_rows(float (&s)[N / 8][4], const bf16 *left, const bf16 *right) {
#pragma unroll
    for (int step = 0; step < E / 16; step++) {
        int panel = step / 4, column = step % 4 * 16;
        wgmma<N>::template shared<false>(
            s, wgmma_operand_rows(left + panel * LEFT * PANEL + column),
            wgmma_operand_rows(right + panel * N * PANEL + column), step > 0);
    }
}

/* d [64, E] += p [64, ROWS] . right [ROWS, E]. */
template <int E, int ROWS>
__device__ inline void products_columns(float (&d)[E / 8][4], const uint32_t (&p)[ROWS / 16][4],
                                        const bf16 *right) {
#pragma unroll
    for (int step = 0; step < ROWS / 16; step++)
        wgmma<E>::template registers<true>(
            d, p[step], wgmma_operand_columns(right + step * 16 * PANEL, ROWS * PANEL_ROW));
}

template <int COLUMNS>
__device__ inline void pack_products(uint32_t (&p)[COLUMNS / 16][4],
                                     const float (&s)[COLUMNS / 8][4]) {
#pragma unroll
    for (int step = 0; step < COLUMNS / 16; step++)
        pack_left(p[step], s[2 * step], s[2 * step + 1]);
}

#endif
