/* Products of few rows, as decoding makes them: reading w is all the cost. A warp owns R rows of w
 * and streams them past the rows of `a`, which the caches hold; sums are float32, in a fixed order,
 * and a result is rounded once. */
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/matmul.h"

enum { THREADS = 128, WARPS = THREADS / 32 };

struct few_call {
    void *out; /* [m, n] float32 or BF16 */
    const bf16 *a, *w;
    const float *bias; /* [n] or NULL */
    int64_t a_stride, n, k;
    int m;
    bool wide, accumulate;
};

/* One pass of all lanes over 256 elements from `i` on; lanes past the end add nothing. */
template <int M, int R>
__device__ inline void add_products(float (&sums)[R][M], const struct few_call &call,
                                    const struct packed<8> (&w)[R], int64_t i) {
    bool inside = i < call.k;
#pragma unroll
    for (int row = 0; row < M; row++) {
        float x[8];
        struct packed<8> raw = {};
        /* Rows that are not there repeat the last: their sums are thrown away. */
        int from = row < call.m ? row : call.m - 1;
        if (inside) raw = read_packed<8>(call.a + from * call.a_stride + i);
        widen(x, raw);
#pragma unroll
        for (int r = 0; r < R; r++) {
            float y[8];
            widen(y, w[r]);
#pragma unroll
            for (int j = 0; j < 8; j++) sums[r][row] = fmaf(x[j], y[j], sums[r][row]);
        }
    }
}

/* Past the L1 cache, which keeps rows of `a`. */
__device__ inline struct packed<8> load_once(const bf16 *from) {
    struct packed<8> raw;
    asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(raw.word[0]), "=r"(raw.word[1]), "=r"(raw.word[2]), "=r"(raw.word[3])
                 : "l"(from));
    return raw;
}

/* 256 * AHEAD elements of R rows of w from `start` on, all in flight at once. */
template <int R, int AHEAD>
__device__ inline void load_weights(struct packed<8> (&w)[AHEAD][R], const struct few_call &call,
                                    int64_t first, int64_t start) {
#pragma unroll
    for (int part = 0; part < AHEAD; part++)
#pragma unroll
        for (int r = 0; r < R; r++) {
            int64_t i = start + part * 256 + threadIdx.x % 32 * 8;
            int64_t row = first + r < call.n ? first + r : call.n - 1;
            w[part][r] = {};
            if (i < call.k) w[part][r] = load_once(call.w + row * call.k + i);
        }
}

/* The sums of rows from `first` on of w, by one thread. */
template <int M, int R>
__device__ inline void write_sums(const struct few_call &call, const float (&sums)[R][M],
                                  int64_t first) {
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int row = 0; row < M; row++) {
            if (row >= call.m || first + r >= call.n) continue;
            int64_t at = row * call.n + first + r;
            float sum = sums[r][row];
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

/* SHARE neighbouring warps share their rows, each with pieces of the depth of its own. */
template <int M, int R, int AHEAD, int SHARE>
__global__ void __launch_bounds__(THREADS) few_kernel(struct few_call call) {
    __shared__ float joined[WARPS][R][M];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, part = warp % SHARE;
    int64_t first = ((int64_t)blockIdx.x * WARPS + warp) / SHARE * R;
    int64_t begin = part * 256 * AHEAD;
    float sums[R][M] = {};
    struct packed<8> w[AHEAD][R];
    let_next_start();
    load_weights<R, AHEAD>(w, call, first, begin);
    wait_for_previous();
    for (int64_t start = begin; start < call.k; start += SHARE * 256 * AHEAD) {
        if (start > begin) load_weights<R, AHEAD>(w, call, first, start);
#pragma unroll
        for (int part = 0; part < AHEAD; part++)
            add_products<M, R>(sums, call, w[part], start + part * 256 + lane * 8);
    }
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int row = 0; row < M; row++) {
            sums[r][row] = sum_lanes(sums[r][row]);
            if (SHARE > 1 && lane == 0) joined[warp][r][row] = sums[r][row];
        }
    if (SHARE > 1) {
        __syncthreads();
        if (part) return;
#pragma unroll
        for (int r = 0; r < R; r++)
#pragma unroll
            for (int row = 0; row < M; row++)
#pragma unroll
                for (int other = 1; other < SHARE; other++)
                    sums[r][row] += joined[warp + other][r][row];
    }
    if (lane == 0) write_sums<M, R>(call, sums, first);
}

/* A block's warps share 4 rows of w; of short rows, which one warp reads at once, each has 2. */
template <int M, int AHEAD>
static void launch_few(struct cuda_backend *cuda, const struct few_call *call) {
    if (call->k > 1024)
        CUDA_LAUNCH_EARLY(cuda, (few_kernel<M, 4, AHEAD, WARPS>), (unsigned)ceil_div(call->n, 4),
                          THREADS, 0, *call);
    else
        CUDA_LAUNCH_EARLY(cuda, (few_kernel<M, 2, 4, 1>), (unsigned)ceil_div(call->n, 2 * WARPS),
                          THREADS, 0, *call);
}

bool cuda_matmul_few(struct cuda_backend *cuda, struct product to, const struct act *a,
                     int64_t a_stride, const struct act *w, const struct acc *bias, int64_t m,
                     int64_t n, int64_t k) {
    if (m < 1 || m > CUDA_FEW_ROWS || n < 1 || k % 8 || a_stride % 8 || !aligned_to(a, 16) ||
        !aligned_to(w, 16))
        return false;
    void *out = to.wide ? (void *)to.wide : (void *)to.narrow;
    struct few_call call = {
        out,    (const bf16 *)a, (const bf16 *)w, (const float *)bias, a_stride, n, k,
        (int)m, to.wide != NULL, to.add};
    if (m == 1)
        launch_few<1, 4>(cuda, &call);
    else if (m == 2)
        launch_few<2, 4>(cuda, &call);
    else
        launch_few<4, 2>(cuda, &call);
    return true;
}
