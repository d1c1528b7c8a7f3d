/* Embedding: rows of the table, and the sum of gradients by row. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.cuh"
#include "kernels/ops/embedding.h"

enum { THREADS = 256, WIDE = 4, WARPS = THREADS / 32, TOKENS = 4 };

/* out[token] = table[ids[token]], widened: a block a token. */
template <int WIDTH>
__global__ void gather_rows(float *out, const int32_t *ids, const bf16 *table, int64_t width) {
    let_next_start();
    const bf16 *from = table + ids[blockIdx.x] * width;
    float *to = out + blockIdx.x * width;
    wait_for_previous();
#pragma unroll 4
    for (int64_t i = threadIdx.x * WIDTH; i < width; i += THREADS * WIDTH) {
        float values[WIDTH];
        load(values, from + i);
        store(to + i, values);
    }
}

/* next [tokens]: the next token with the same id (-1: none); first [tokens]: is it the first with
 * its id? A warp compares TOKENS tokens with all: quadratic, but cheap beside moving the rows. */
__global__ void link_tokens(int32_t *next, int32_t *first, const int32_t *ids, int32_t tokens) {
    int32_t start = (int32_t)(blockIdx.x * WARPS + threadIdx.x / 32) * TOKENS;
    int lane = threadIdx.x % 32;
    int32_t mine[TOKENS], nearest[TOKENS], earlier[TOKENS];
#pragma unroll
    for (int k = 0; k < TOKENS; k++) {
        mine[k] = start + k < tokens ? ids[start + k] : -1;
        nearest[k] = INT32_MAX;
        earlier[k] = 0;
    }
    for (int32_t other = lane; other < tokens; other += 32) {
        int32_t id = ids[other];
#pragma unroll
        for (int k = 0; k < TOKENS; k++) {
            if (id != mine[k]) continue;
            if (other < start + k) earlier[k] = 1;
            if (other > start + k) nearest[k] = min(nearest[k], other);
        }
    }
#pragma unroll
    for (int k = 0; k < TOKENS; k++) {
        int32_t token = (int32_t)__reduce_min_sync(~0u, (unsigned)nearest[k]);
        int32_t any = __any_sync(~0u, earlier[k]);
        if (lane || start + k >= tokens) continue;
        next[start + k] = token == INT32_MAX ? -1 : token;
        first[start + k] = !any;
    }
}

/* The first token of each id adds up the rows of all that share it, in order; no atomics, so the
 * same call gives the same bits. */
template <int WIDTH>
__global__ void add_rows(float *dtable, const int32_t *ids, const int32_t *next,
                         const int32_t *first, const float *dout, int64_t width) {
    int64_t column = ((int64_t)blockIdx.y * THREADS + threadIdx.x) * WIDTH;
    if (!first[blockIdx.x] || column >= width) return;
    float *row = dtable + ids[blockIdx.x] * width + column;
    float sums[WIDTH];
    load(sums, row);
    for (int32_t token = (int32_t)blockIdx.x; token >= 0;) {
        int32_t following = next[token]; /* early: its way is the chain's length */
        float values[WIDTH];
        load(values, dout + token * width + column);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) sums[j] += values[j];
        token = following;
    }
    store(row, sums);
}

static void cuda_embed(struct backend *backend, struct acc *out, const int32_t *ids,
                       const struct act *table, int64_t tokens, int64_t width) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (width % WIDE == 0 && aligned_to(out, 16) && aligned_to(table, 8))
        CUDA_LAUNCH_EARLY(cuda, gather_rows<WIDE>, (unsigned)tokens, THREADS, 0, (float *)out, ids,
                          (const bf16 *)table, width);
    else
        CUDA_LAUNCH_EARLY(cuda, gather_rows<1>, (unsigned)tokens, THREADS, 0, (float *)out, ids,
                          (const bf16 *)table, width);
}

static void cuda_embed_backward(struct backend *backend, struct acc *dtable, const int32_t *ids,
                                const struct acc *dout, int64_t tokens, int64_t width) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (tokens == 0) return;
    int32_t *next = (int32_t *)cuda_scratch(cuda, (size_t)(2 * tokens) * sizeof(int32_t));
    if (!next) return;
    CUDA_LAUNCH(cuda, link_tokens, (unsigned)ceil_div(tokens, WARPS * TOKENS), THREADS, 0, next,
                next + tokens, ids, (int32_t)tokens);
    if (width % WIDE == 0 && aligned_to(dtable, 16) && aligned_to(dout, 16))
        CUDA_LAUNCH(cuda, add_rows<WIDE>,
                    dim3((unsigned)tokens, (unsigned)ceil_div(width, WIDE * THREADS)), THREADS, 0,
                    (float *)dtable, ids, next, next + tokens, (const float *)dout, width);
    else
        CUDA_LAUNCH(cuda, add_rows<1>, dim3((unsigned)tokens, (unsigned)ceil_div(width, THREADS)),
                    THREADS, 0, (float *)dtable, ids, next, next + tokens, (const float *)dout,
                    width);
}

const struct embedding_ops cuda_embedding_ops = {
    .embed = cuda_embed,
    .embed_backward = cuda_embed_backward,
};
