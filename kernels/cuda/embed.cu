/* Embedding: rows of the table, and the sum of gradients by row. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.cuh"

enum { THREADS = 128, WIDE = 8 };

template <int WIDTH>
__global__ void gather_rows(float *out, const int32_t *ids, const bf16 *table, int64_t width) {
    const bf16 *from = table + ids[blockIdx.x] * width;
    float *to = out + blockIdx.x * width;
    for (int64_t i = threadIdx.x * WIDTH; i < width; i += THREADS * WIDTH) {
        float values[WIDTH];
        load(values, from + i);
        store(to + i, values);
    }
}

/* Is ids[token] among the ids before it? */
__device__ static bool came_before(const int32_t *ids, int64_t token) {
    int32_t id = ids[token];
    for (int64_t start = 0; start < token; start += THREADS) {
        int64_t other = start + threadIdx.x;
        if (__syncthreads_or(other < token && ids[other] == id)) return true;
    }
    return false;
}

/* The first token of each id adds up the rows of all that share it, in order; no atomics, so the
 * same call gives the same bits. Comparing all ids is cheap beside moving the rows. */
template <int WIDTH>
__global__ void add_rows(float *dtable, const int32_t *ids, const float *dout, int64_t tokens,
                         int64_t width) {
    __shared__ int32_t same[THREADS]; /* which of the next THREADS tokens have the id */
    int64_t token = blockIdx.x;
    if (came_before(ids, token)) return;
    int32_t id = ids[token];
    int64_t column = ((int64_t)blockIdx.y * THREADS + threadIdx.x) * WIDTH;
    bool inside = column < width;
    float sums[WIDTH] = {};
    if (inside) load(sums, dtable + id * width + column);
    for (int64_t start = token; start < tokens; start += THREADS) {
        int64_t other = start + threadIdx.x;
        same[threadIdx.x] = other < tokens && ids[other] == id;
        if (!__syncthreads_or(same[threadIdx.x])) continue;
        for (int i = 0; i < THREADS; i++) {
            if (!same[i] || !inside) continue;
            float values[WIDTH];
            load(values, dout + (start + i) * width + column);
#pragma unroll
            for (int j = 0; j < WIDTH; j++) sums[j] += values[j];
        }
        __syncthreads();
    }
    if (inside) store(dtable + id * width + column, sums);
}

static void cuda_embed(struct backend *backend, void *out, const int32_t *ids, const void *table,
                       int64_t tokens, int64_t width) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (width % WIDE == 0 && aligned_to(out, 16) && aligned_to(table, 16))
        CUDA_LAUNCH(cuda, gather_rows<WIDE>, (unsigned)tokens, THREADS, 0, (float *)out, ids,
                    (const bf16 *)table, width);
    else
        CUDA_LAUNCH(cuda, gather_rows<1>, (unsigned)tokens, THREADS, 0, (float *)out, ids,
                    (const bf16 *)table, width);
}

static void cuda_embed_backward(struct backend *backend, void *dtable, const int32_t *ids,
                                const void *dout, int64_t tokens, int64_t width) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (width % 4 == 0 && aligned_to(dtable, 16) && aligned_to(dout, 16))
        CUDA_LAUNCH(cuda, add_rows<4>,
                    dim3((unsigned)tokens, (unsigned)ceil_div(width, 4 * THREADS)), THREADS, 0,
                    (float *)dtable, ids, (const float *)dout, tokens, width);
    else
        CUDA_LAUNCH(cuda, add_rows<1>, dim3((unsigned)tokens, (unsigned)ceil_div(width, THREADS)),
                    THREADS, 0, (float *)dtable, ids, (const float *)dout, tokens, width);
}

void cuda_table_embed(struct cuda_backend *cuda) {
    cuda->base.embed = cuda_embed;
    cuda->base.embed_backward = cuda_embed_backward;
}
