/* The gated delta rule, first part: every chunk of every value head by itself. See delta.cuh. */
#include "kernels/cuda/delta.cuh"

enum { THREADS = 128, SOLVE_STRIDE = CHUNK + 4 };

/* One warp: a lane's two tokens. */
__device__ static void find_gates(struct delta_gates *gates, const struct delta_call &call,
                                  int64_t first, int count, int head) {
    int lane = threadIdx.x & 31;
    float a = -expf(call.a_log[head]), bias = call.dt_bias[head], sum[2], beta[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int64_t token = first + 2 * lane + i;
        bool inside = 2 * lane + i < count;
        sum[i] = inside ? __bfloat162float(call.a[token * call.a_stride + head]) + bias : 0;
        beta[i] = inside ? sigmoid(__bfloat162float(call.b[token * call.b_stride + head])) : 0;
        sum[i] = inside ? fmaxf(softplus(sum[i]) * a, LEAST_STEP) : 0;
    }
    sum_before(sum);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        gates->sum[2 * lane + i] = sum[i];
        gates->beta[2 * lane + i] = beta[i];
    }
}

/* Two threads a row: 1 / sqrt(sum of squares + 1e-6) times `scale`. */
template <int E> __device__ static void find_lengths(float *to, const bf16 *tile, float scale) {
    int row = threadIdx.x / 2;
    float squares = 0;
    for (int piece = threadIdx.x % 2; piece < E / 8; piece += 2) {
        float values[8];
        load(values, tile + swizzle<E>(row, piece));
#pragma unroll
        for (int i = 0; i < 8; i++) squares += values[i] * values[i];
    }
    squares = sum_lanes<2>(squares);
    if (threadIdx.x % 2 == 0) to[row] = scale / sqrtf(squares + 1e-6f);
}

/* square = (1 + square)^-1, lower triangles with a diagonal of ones that square need not hold, in
 * place by 16 rows: two threads a column take off what the rows above give, one solves the rest. */
__device__ static void invert(float *square) {
    __shared__ float corner[16][16]; /* of the square before */
    int column = threadIdx.x % CHUNK, half = threadIdx.x / CHUNK * 8;
#pragma unroll 1
    for (int top = 0; top < CHUNK; top += 16) {
        float *rows = square + top * SOLVE_STRIDE, sums[8];
#pragma unroll
        for (int r = 0; r < 8; r++) sums[r] = top + half + r == column ? 1.0f : 0.0f;
#pragma unroll 1
        for (int k = 0; k < top; k += 4) {
            float x[4];
#pragma unroll
            for (int i = 0; i < 4; i++) x[i] = square[(k + i) * SOLVE_STRIDE + column];
#pragma unroll
            for (int r = 0; r < 8; r++) {
                float4 row = *(const float4 *)(rows + (half + r) * SOLVE_STRIDE + k);
                sums[r] -= row.x * x[0] + row.y * x[1] + row.z * x[2] + row.w * x[3];
            }
        }
        for (int i = threadIdx.x; i < 256; i += THREADS)
            corner[i / 16][i % 16] = rows[i / 16 * SOLVE_STRIDE + top + i % 16];
        __syncthreads();
#pragma unroll
        for (int r = 0; r < 8; r++) rows[(half + r) * SOLVE_STRIDE + column] = sums[r];
        __syncthreads();
        if (threadIdx.x < CHUNK) {
            float x[16];
#pragma unroll
            for (int i = 0; i < 16; i++) {
                x[i] = rows[i * SOLVE_STRIDE + column];
#pragma unroll
                for (int j = 0; j < i; j++) x[i] -= corner[i][j] * x[j];
                rows[i * SOLVE_STRIDE + column] = x[i];
            }
        }
        __syncthreads();
    }
}

/* out [16, E], rows from `row` on: of the lower square, its columns times their factors, times a
 * tile [64, E]. */
template <int E>
__device__ static void multiply_solved(float (&out)[E / 8][4], const float *square, int row,
                                       const float *factor, const bf16 *tile) {
    int lane = threadIdx.x & 31;
#pragma unroll 1
    for (int step = 0; step < 4; step++) {
        if (16 * step > row) continue;
        uint32_t a[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int r = row + lane / 4 + i % 2 * 8, c = 16 * step + lane % 4 * 2 + i / 2 * 8;
            float2 pair = *(const float2 *)(square + r * SOLVE_STRIDE + c);
            a[i] = pack_bf16(pair.x * factor[c], pair.y * factor[c + 1]);
        }
#pragma unroll
        for (int n = 0; n < E / 16; n++) {
            uint32_t b[4];
            load_right_columns<E>(b, tile, 16 * step, 2 * n);
            multiply(out[2 * n], a, b[0], b[1]);
            multiply(out[2 * n + 1], a, b[2], b[3]);
        }
    }
}

/* u - w S: w [16, WK] in registers, the checkpoint's tile [WV, WK]. */
template <int WK, int WV>
__device__ static void take_recalled(float (&u)[WV / 8][4], const float (&w)[WK / 8][4],
                                     const bf16 *state) {
#pragma unroll
    for (int step = 0; step < WK / 16; step++) {
        uint32_t a[4];
        pack_left(a, w[2 * step], w[2 * step + 1]);
#pragma unroll
        for (int i = 0; i < 4; i++) a[i] ^= 0x80008000u;
#pragma unroll
        for (int n = 0; n < WV / 16; n++) {
            uint32_t b[4];
            load_right_rows<WK>(b, state, 16 * n, step);
            multiply(u[2 * n], a, b[0], b[1]);
            multiply(u[2 * n + 1], a, b[2], b[3]);
        }
    }
}

/* (q k^T * L)^T dout, 16 rows, to `to` [64, WV]. */
template <int WK, int WV>
__device__ static void find_read_gradient(bf16 *to, bf16 *square, const bf16 *q, const bf16 *k,
                                          const bf16 *dout, const struct delta_gates *gates) {
    int row = threadIdx.x / 32 * 16;
    const float one[2] = {1, 1};
    float scores[8][4] = {}, out[WV / 8][4] = {};
    multiply_tiles<WK, CHUNK>(scores, q, row, k);
    each_pair<8>(row, 0, [&](int i, int j, int n, int at) {
#pragma unroll
        for (int e = 0; e < 2; e++)
            scores[n][at + e] = j + e <= i
                                    ? scores[n][at + e] * gates->query[i] * gates->key[j + e] *
                                          decay_of(gates->sum[i] - gates->sum[j + e])
                                    : 0;
        write_pair<CHUNK>(square, i, j, scores[n][at], scores[n][at + 1]);
    });
    __syncthreads();
#pragma unroll 1
    for (int step = 0; step < 4; step++) {
        if (16 * step < row) continue;
        uint32_t a[4];
        load_left_columns<CHUNK>(a, square, row / 8, step);
#pragma unroll
        for (int n = 0; n < WV / 16; n++) {
            uint32_t b[4];
            load_right_columns<WV>(b, dout, 16 * step, 2 * n);
            multiply(out[2 * n], a, b[0], b[1]);
            multiply(out[2 * n + 1], a, b[2], b[3]);
        }
    }
    store_result<WV / 8>(to + row * WV, WV, CHUNK, out, one);
}

template <int WK, int WV, bool BACK> constexpr int prepare_shared() {
    int tiles = CHUNK * (2 * WK + WV) + (BACK ? WK * WV + SQUARE : 0);
    return tiles * (int)sizeof(bf16) + CHUNK * SOLVE_STRIDE * (int)sizeof(float);
}

template <int WK, int WV, bool BACK>
__global__ void __launch_bounds__(THREADS)
    delta_prepare(struct delta_scratch to, struct delta_call call, struct delta_prepare_back back) {
    struct chunk_part part;
    if (!find_part<CHUNK>(&part, call.offsets, call.sequences, call.heads, blockIdx.x)) return;
    __shared__ struct delta_gates gates;
    alignas(16) __shared__ float factor[CHUNK];
    float *square = (float *)chunk_memory;
    bf16 *k = (bf16 *)(square + CHUNK * SOLVE_STRIDE), *v = k + CHUNK * WK, *q = v + CHUNK * WV;
    bf16 *state = q + CHUNK * WK, *scores = state + WK * WV, *dout = v; /* once v is used */
    int source = part.head / call.per_key, row = threadIdx.x / 32 * 16;
    int64_t cell = part.slot * call.heads + part.head;
    const float one[2] = {1, 1};
    load_rows<CHUNK, WK, THREADS>(k, call.k, part.first, source, part.count, call.dk);
    load_rows<CHUNK, WK, THREADS>(q, call.q, part.first, source, part.count, call.dk);
    copy_commit();
    load_rows<CHUNK, WV, THREADS>(v, call.v, part.first, part.head, part.count, call.dv);
    if (BACK)
        load_rows<WV, WK, THREADS>(state, checkpoint_rows(back.checkpoints, cell, call), 0, 0,
                                   call.dv, call.dk);
    copy_commit();
    if (threadIdx.x < 32) find_gates(&gates, call, part.first, part.count, part.head);
    copy_wait<1>();
    __syncthreads();
    find_lengths<WK>(gates.key, k, 1);
    find_lengths<WK>(gates.query, q, 1 / sqrtf((float)call.dk));
    __syncthreads();
    float scores_here[8][4] = {};
    multiply_tiles<WK, CHUNK>(scores_here, k, row, k);
    each_pair<8>(row, 0, [&](int i, int j, int n, int at) {
        float by_row = gates.beta[i] * gates.key[i];
        float2 pair;
        pair.x = j < i ? scores_here[n][at] * by_row * gates.key[j] *
                             decay_of(gates.sum[i] - gates.sum[j])
                       : 0;
        pair.y = j + 1 < i ? scores_here[n][at + 1] * by_row * gates.key[j + 1] *
                                 decay_of(gates.sum[i] - gates.sum[j + 1])
                           : 0;
        *(float2 *)(square + i * SOLVE_STRIDE + j) = pair;
    });
    if (threadIdx.x < CHUNK)
        factor[threadIdx.x] =
            gates.beta[threadIdx.x] * gates.key[threadIdx.x] * decay_of(gates.sum[threadIdx.x]);
    if (threadIdx.x < sizeof gates / 16)
        ((uint4 *)(to.gates + cell))[threadIdx.x] = ((const uint4 *)&gates)[threadIdx.x];
    copy_wait<0>();
    __syncthreads();
    invert(square);
    float u[WV / 8][4] = {};
    multiply_solved<WV>(u, square, row, gates.beta, v);
    if constexpr (BACK) {
        __syncthreads();
        load_rows<CHUNK, WV, THREADS>(dout, back.dout, part.first, part.head, part.count, call.dv);
        copy_commit();
    }
    {
        float w[WK / 8][4] = {};
        multiply_solved<WK>(w, square, row, factor, k);
        store_result<WK / 8>(to.w + (cell * CHUNK + row) * WK, WK, CHUNK, w, one);
        if constexpr (BACK) take_recalled<WK, WV>(u, w, state);
    }
    store_result<WV / 8>((BACK ? to.e : to.u) + (cell * CHUNK + row) * WV, WV, CHUNK, u, one);
    if constexpr (BACK) {
        for (int i = threadIdx.x; i < SQUARE / 2; i += THREADS) {
            const float *pair = square + i / 32 * SOLVE_STRIDE + i % 32 * 2;
            ((uint32_t *)(to.solve + cell * SQUARE))[i] = pack_bf16(pair[0], pair[1]);
        }
        copy_wait<0>();
        find_read_gradient<WK, WV>(to.de + cell * CHUNK * WV, scores, q, k, dout, &gates);
    }
}

template <int WK, int WV> struct launch_prepare {
    static void run(struct cuda_backend *cuda, const struct delta_scratch *to,
                    const struct delta_call *call, const struct delta_prepare_back *back,
                    unsigned parts) {
        if (back) {
            CUDA_ALLOW_SHARED(cuda, (delta_prepare<WK, WV, true>),
                              (prepare_shared<WK, WV, true>()));
            CUDA_LAUNCH(cuda, (delta_prepare<WK, WV, true>), parts, THREADS,
                        (prepare_shared<WK, WV, true>()), *to, *call, *back);
        } else {
            struct delta_prepare_back none = {};
            CUDA_ALLOW_SHARED(cuda, (delta_prepare<WK, WV, false>),
                              (prepare_shared<WK, WV, false>()));
            CUDA_LAUNCH(cuda, (delta_prepare<WK, WV, false>), parts, THREADS,
                        (prepare_shared<WK, WV, false>()), *to, *call, none);
        }
    }
};

void cuda_delta_prepare(struct cuda_backend *cuda, const struct delta_scratch *scratch,
                        const struct delta_call *call, const struct delta_prepare_back *back,
                        const struct sequences *sequences, const struct delta_shape *shape) {
    delta_choose<launch_prepare>(cuda, shape, scratch, call, back,
                                 count_parts(sequences, shape->value_heads, CHUNK));
}
