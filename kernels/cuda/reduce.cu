/* The second half of sums over rows: partial sums of strips, added in the order of the strips. */
#include "kernels/cuda/cuda.h"

enum { COLUMNS = 32, LANES = 16 };

/* Lane l of a column adds the parts l, l + LANES, ...; the lanes are then added in order. */
__global__ void add_partials(float *to, const float *partial, int64_t parts, int64_t columns) {
    __shared__ float sums[LANES][COLUMNS + 1];
    int64_t column = (int64_t)blockIdx.x * COLUMNS + threadIdx.x;
    float sum = 0;
    if (column < columns)
#pragma unroll 4
        for (int64_t part = threadIdx.y; part < parts; part += LANES)
            sum += partial[part * columns + column];
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || column >= columns) return;
    for (int lane = 1; lane < LANES; lane++) sum += sums[lane][threadIdx.x];
    to[column] += sum;
}

void cuda_add_partials(struct cuda_backend *cuda, float *to, const float *partial, int64_t parts,
                       int64_t columns) {
    CUDA_LAUNCH(cuda, add_partials, (unsigned)ceil_div(columns, COLUMNS), dim3(COLUMNS, LANES), 0,
                to, partial, parts, columns);
}
