/* Products of few rows, as decoding makes them: reading w is all the cost. A warp owns R rows of w
 * and streams them past the rows of `a`, which the caches hold; sums are float32, in a fixed order,
 * and a result is rounded once. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.cuh"

enum { THREADS = 128, WARPS = THREADS / 32 };

struct few_call {
    void *out; /* [m, n] float32 or BF16 */
    const bf16 *a, *w;
    const float *bias; /* [n] or NULL */
    int64_t a_stride, n, k;
    int m;
    bool wide, accumulate;
};

/* 8 neighbouring elements as they lie in memory. */
struct alignas(16) raw8 {
    uint32_t word[4];
};

__device__ inline void widen8(float (&to)[8], const struct raw8 &raw) {
#pragma unroll
    for (int i = 0; i < 8; i++)
        to[i] = __uint_as_float(i % 2 ? raw.word[i / 2] & 0xffff0000u : raw.word[i / 2] << 16);
}

/* One pass of all lanes over 256 elements from `i` on; lanes past the end add nothing. */
template <int M, int R>
__device__ inline void add_products(float (&sums)[R][M], const struct few_call &call,
                                    const struct raw8 (&w)[R], int64_t i) {
    bool inside = i < call.k;
#pragma unroll
    for (int row = 0; row < M; row++) {
        float x[8];
        struct raw8 raw = {};
        /* Rows that are not there repeat the last: their sums are thrown away. */
        int from = row < call.m ? row : call.m - 1;
        if (inside) raw = *(const struct raw8 *)(call.a + from * call.a_stride + i);
        widen8(x, raw);
#pragma unroll
        for (int r = 0; r < R; r++) {
            float y[8];
            widen8(y, w[r]);
#pragma unroll
            for (int j = 0; j < 8; j++) sums[r][row] = fmaf(x[j], y[j], sums[r][row]);
        }
    }
}

template <int M, int R, int AHEAD>
__global__ void __launch_bounds__(THREADS) few_kernel(struct few_call call) {
    int lane = threadIdx.x % 32;
    int64_t first = ((int64_t)blockIdx.x * WARPS + threadIdx.x / 32) * R;
    if (first >= call.n) return; /* the whole warp */
    float sums[R][M] = {};
    for (int64_t start = 0; start < call.k; start += 256 * AHEAD) {
        struct raw8 w[AHEAD][R];
#pragma unroll
        for (int part = 0; part < AHEAD; part++)
#pragma unroll
            for (int r = 0; r < R; r++) {
                int64_t i = start + part * 256 + lane * 8;
                int64_t row = first + r < call.n ? first + r : call.n - 1;
                w[part][r] = {};
                if (i < call.k) w[part][r] = *(const struct raw8 *)(call.w + row * call.k + i);
            }
#pragma unroll
        for (int part = 0; part < AHEAD; part++)
            add_products<M, R>(sums, call, w[part], start + part * 256 + lane * 8);
    }
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int row = 0; row < M; row++) {
            float sum = sum_lanes(sums[r][row]);
            if (lane || row >= call.m || first + r >= call.n) continue;
            int64_t at = row * call.n + first + r;
            if (call.bias) sum += call.bias[first + r];
            if (call.wide) {
                float *to = (float *)call.out + at;
                *to = call.accumulate ? *to + sum : sum;
            } else {
                bf16 *to = (bf16 *)call.out + at;
                *to = __float2bfloat16(call.accumulate ? __bfloat162float(*to) + sum : sum);
            }
        }
}

bool cuda_matmul_few(struct cuda_backend *cuda, void *out, enum dtype out_type, const void *a,
                     int64_t a_stride, const void *w, const void *bias, bool accumulate, int64_t m,
                     int64_t n, int64_t k) {
    if (m < 1 || m > CUDA_FEW_ROWS || n < 1 || k % 8 || a_stride % 8 || !aligned_to(a, 16) ||
        !aligned_to(w, 16))
        return false;
    struct few_call call = {
        out, (const bf16 *)a, (const bf16 *)w,       (const float *)bias, a_stride, n,
        k,   (int)m,          out_type == DTYPE_F32, accumulate};
    dim3 grid((unsigned)ceil_div(n, 2 * WARPS));
    if (m == 1)
        CUDA_LAUNCH(cuda, (few_kernel<1, 2, 4>), grid, THREADS, 0, call);
    else if (m == 2)
        CUDA_LAUNCH(cuda, (few_kernel<2, 2, 4>), grid, THREADS, 0, call);
    else
        CUDA_LAUNCH(cuda, (few_kernel<4, 2, 4>), grid, THREADS, 0, call);
    return true;
}
