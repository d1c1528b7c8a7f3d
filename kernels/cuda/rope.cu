/* Rotary position embedding in place (Su et al. 2021): a block a token, a thread WIDTH pairs. */
#include "kernels/cuda/attention.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.cuh"

/* Pairs (x_i, x_{i + half}) of each head turn by the angles of the token's position, whose cosines
 * and sines are a row of the table; sign -1 turns them back. */
template <int WIDTH>
__global__ void rotate(bf16 *x, int64_t stride, const float *table, const int32_t *positions,
                       float sign, int heads, int half) {
    const float *cosines = table + (int64_t)positions[blockIdx.x] * 2 * half;
    const float *sines = cosines + half;
    let_next_start();
    if (threadIdx.x * 8 < 2 * half) fetch_soon(cosines + threadIdx.x * 8);
    wait_for_previous();
    bf16 *token = x + blockIdx.x * stride;
    int chunks = half / WIDTH;
    for (int item = threadIdx.x; item < heads * chunks; item += blockDim.x) {
        int head = item / chunks, i = (item - head * chunks) * WIDTH;
        bf16 *pair = token + head * 2 * half + i;
        float left[WIDTH], right[WIDTH], c[WIDTH], s[WIDTH];
        load(left, pair);
        load(right, pair + half);
        load(c, cosines + i);
        load(s, sines + i);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) {
            float kept = left[j];
            left[j] = kept * c[j] - sign * right[j] * s[j];
            right[j] = right[j] * c[j] + sign * kept * s[j];
        }
        store(pair, left);
        store(pair + half, right);
    }
}

template <int WIDTH>
static void launch_rotate(struct cuda_backend *cuda, void *x, int64_t stride, const void *table,
                          const int32_t *positions, bool inverse, int64_t tokens, int heads,
                          int half) {
    int items = heads * (half / WIDTH);
    int threads = items < 256 ? (int)ceil_div(items, 32) * 32 : 256;
    CUDA_LAUNCH_EARLY(cuda, rotate<WIDTH>, (unsigned)tokens, threads, 0, (bf16 *)x, stride,
                      (const float *)table, positions, inverse ? -1.0f : 1.0f, heads, half);
}

void cuda_rope(struct backend *backend, struct act *x, int64_t stride, const struct acc *table,
               const int32_t *positions, bool inverse, int64_t tokens, int heads, int head_dim) {
    struct cuda_backend *cuda = cuda_of(backend);
    int half = head_dim / 2;
    if (half % 8 == 0 && stride % 8 == 0 && aligned_to(x, 16) && aligned_to(table, 16))
        launch_rotate<8>(cuda, x, stride, table, positions, inverse, tokens, heads, half);
    else
        launch_rotate<1>(cuda, x, stride, table, positions, inverse, tokens, heads, half);
}
