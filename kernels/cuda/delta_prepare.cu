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

/* d [16 * M, 8] += left [16 * M, K] . right [K, 8] in float32: a product of TF32 for the high bits
 * of both and two for the low bits of one. Blocks of the square. */
template <int M, int K>
__device__ static void multiply_exactly(float (&d)[M][4], const float *left, const float *right) {
    int lane = threadIdx.x & 31, group = lane / 4, part = lane % 4;
    auto split = [](uint32_t(&to)[2], float x) {
        asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(to[0]) : "f"(x));
        asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(to[1]) : "f"(x - __uint_as_float(to[0])));
    };
#pragma unroll 2
    for (int k = 0; k < K; k += 8) {
        uint32_t b[2][2];
#pragma unroll
        for (int i = 0; i < 2; i++) split(b[i], right[(k + part + 4 * i) * SOLVE_STRIDE + group]);
#pragma unroll
        for (int m = 0; m < M; m++) {
            uint32_t a[4][2];
#pragma unroll
            for (int i = 0; i < 4; i++)
                split(a[i],
                      left[(16 * m + group + i % 2 * 8) * SOLVE_STRIDE + k + part + i / 2 * 4]);
#pragma unroll
            for (int low = 0; low < 3; low++) /* 1: of the left, 2: of the right */
                asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, "
                             "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                             : "+f"(d[m][0]), "+f"(d[m][1]), "+f"(d[m][2]), "+f"(d[m][3])
                             : "r"(a[0][low == 1]), "r"(a[1][low == 1]), "r"(a[2][low == 1]),
                               "r"(a[3][low == 1]), "r"(b[0][low == 2]), "r"(b[1][low == 2]));
        }
    }
}

template <int M> __device__ static void put_block(float *to, const float (&d)[M][4], float sign) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            *(float2 *)(to + (16 * m + lane / 4 + 8 * half) * SOLVE_STRIDE + lane % 4 * 2) =
                make_float2(sign * d[m][2 * half], sign * d[m][2 * half + 1]);
}

/* Below two inverses of SIZE rows, 8 columns a warp: [[A, 0], [C, B]]^-1 has -B^-1 C A^-1 there.
 * `free` above the diagonal holds zeros before and after. */
template <int SIZE> __device__ static void join_inverses(float *corner, int column) {
    float *low = corner + SIZE * SOLVE_STRIDE, *free = corner + SIZE + column;
    float inner[SIZE / 16][4] = {}, outer[SIZE / 16][4] = {}, zero[SIZE / 16][4] = {};
    multiply_exactly<SIZE / 16, SIZE>(inner, low, corner + column);
    put_block(free, inner, 1);
    __syncwarp();
    multiply_exactly<SIZE / 16, SIZE>(outer, low + SIZE, free);
    __syncthreads();
    put_block(low + column, outer, -1);
    put_block(free, zero, 1);
    __syncthreads();
}

/* square = (1 + square)^-1 in place, of a lower triangle whose diagonal the square need not hold:
 * blocks of 16 rows, a warp each, a column a lane; then pairs of blocks. */
__device__ static void invert(float *square) {
    int warp = threadIdx.x / 32, column = threadIdx.x % 16;
    float *block = square + 16 * warp * (SOLVE_STRIDE + 1), x[16];
#pragma unroll
    for (int i = 0; i < 16; i++) {
        x[i] = i == column ? 1.0f : 0.0f;
#pragma unroll
        for (int j = 0; j < i; j += 4) {
            float4 row = *(const float4 *)(block + i * SOLVE_STRIDE + j);
            x[i] -= row.x * x[j];
            if (j + 1 < i) x[i] -= row.y * x[j + 1];
            if (j + 2 < i) x[i] -= row.z * x[j + 2];
            if (j + 3 < i) x[i] -= row.w * x[j + 3];
        }
    }
    __syncwarp();
    if (threadIdx.x % 32 < 16)
#pragma unroll
        for (int i = 0; i < 16; i++) block[i * SOLVE_STRIDE + column] = x[i];
    __syncthreads();
    join_inverses<16>(square + warp / 2 * 32 * (SOLVE_STRIDE + 1), warp % 2 * 8);
    join_inverses<32>(square, 8 * warp);
}

/* Of the lower square 16 rows as a left operand, columns times their factors. */
__device__ static void load_solved(uint32_t (&to)[4][4], const float *square, int row,
                                   const float *factor) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int step = 0; step < 4; step++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int r = row + lane / 4 + i % 2 * 8, c = 16 * step + lane % 4 * 2 + i / 2 * 8;
            float2 pair = *(const float2 *)(square + r * SOLVE_STRIDE + c);
            to[step][i] = pack_bf16(pair.x * factor[c], pair.y * factor[c + 1]);
        }
}

/* u -= w S: w [64, WK] in registers, the checkpoint's tile [WV, WK]. */
template <int WK, int WV>
__device__ static void take_recalled(float (&u)[WV / 8][4], const float (&w)[WK / 8][4],
                                     const bf16 *state) {
    uint32_t left[WK / 16][4];
    pack_result(left, w);
#pragma unroll
    for (int step = 0; step < WK / 16; step++)
#pragma unroll
        for (int i = 0; i < 4; i++) left[step][i] ^= 0x80008000u;
    product_registers<false, WV>(u, left, state);
    finish_product(u);
}

/* (q k^T * L)^T dout to `to` [64, WV]. */
template <int WK, int WV>
__device__ static void find_read_gradient(bf16 *to, bf16 *square, const bf16 *q, const bf16 *k,
                                          const bf16 *dout, const struct delta_gates *gates) {
    int row = threadIdx.x / 32 * 16;
    const float one[2] = {1, 1};
    float scores[8][4] = {}, out[WV / 8][4] = {};
    product_shared<false, WK / 16>(scores, q, k);
    finish_product(scores);
    each_pair<8>(row, 0, [&](int i, int j, int n, int at) {
#pragma unroll
        for (int e = 0; e < 2; e++)
            scores[n][at + e] = j + e <= i
                                    ? scores[n][at + e] * gates->query[i] * gates->key[j + e] *
                                          decay_of(gates->sum[i] - gates->sum[j + e])
                                    : 0;
        write_panel_pair(square, i, j, scores[n][at], scores[n][at + 1]);
    });
    panels_ready<0>();
    uint32_t left[4][4];
    load_panel_square<4, true>(left, square, row, NULL);
    product_registers<true>(out, left, dout);
    finish_product(out);
    store_result<WV / 8>(to + row * WV, WV, CHUNK, out, one);
}

/* The tiles k, v and, for a backward pass, q and a state; the square in float32, and in its place
 * the scores of queries. */
template <int WK, int WV, bool BACK> constexpr int prepare_shared() {
    int tiles = CHUNK * (WK + WV) + (BACK ? CHUNK * WK + WK * WV : 0);
    return tiles * (int)sizeof(bf16) + CHUNK * SOLVE_STRIDE * (int)sizeof(float) + PANEL_ALIGNMENT;
}

/* A block a chunk of a value head. T = (1 + beta k k^T decays below the diagonal)^-1 in float32,
 * then u = T (beta v) and w = T (beta exp(sum) k); BACK: e = u - w S for u, and dout's share of de.
 */
template <int WK, int WV, bool BACK>
__global__ void __launch_bounds__(THREADS, BACK ? 2 : 3)
    delta_prepare(struct delta_scratch to, struct delta_call call, struct delta_prepare_back back) {
    struct chunk_part part;
    if (!find_part<CHUNK>(&part, call.offsets, call.sequences, call.heads, blockIdx.x)) return;
    __shared__ struct delta_gates gates;
    alignas(16) __shared__ float factor[CHUNK];
    bf16 *k = first_panel(), *v = k + CHUNK * WK, *q = v + CHUNK * WV;
    bf16 *state = q + CHUNK * WK, *dout = v; /* once v is used */
    float *square = (float *)(BACK ? state + WK * WV : q);
    bf16 *scores = (bf16 *)square; /* once the square is used */
    int source = part.head / call.per_key, row = threadIdx.x / 32 * 16, thread = threadIdx.x;
    int64_t cell = part.slot * call.heads + part.head;
    const float one[2] = {1, 1};
    load_panels<CHUNK, WK, THREADS>(k, call.k, part.first, source, part.count, call.dk);
    if (BACK) load_panels<CHUNK, WK, THREADS>(q, call.q, part.first, source, part.count, call.dk);
    copy_commit();
    load_panels<CHUNK, WV, THREADS>(v, call.v, part.first, part.head, part.count, call.dv);
    if (BACK)
        load_panels<WV, WK, THREADS>(state, checkpoint_rows(back.checkpoints, cell, call), 0, 0,
                                     call.dv, call.dk);
    copy_commit();
    if (thread < 32) find_gates(&gates, call, part.first, part.count, part.head);
    panels_ready<1>();
    float scores_here[8][4] = {};
    product_shared<false, WK / 16>(scores_here, k, k);
    find_lengths<WK>(gates.key, k, 1);
    if (BACK) find_lengths<WK>(gates.query, q, 1 / sqrtf((float)call.dk));
    finish_product(scores_here);
    __syncthreads();
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
    if (thread < CHUNK) {
        float start = decay_of(gates.sum[thread]);
        factor[thread] = gates.beta[thread] * gates.key[thread] * start;
        gates.end[thread] = gates.key[thread] * decay_of(gates.sum[CHUNK - 1] - gates.sum[thread]);
        gates.start[thread] = BACK ? gates.query[thread] * start : 0;
    }
    panels_ready<0>();
    if (thread < (int)sizeof gates / 16)
        ((uint4 *)(to.gates + cell))[thread] = ((const uint4 *)&gates)[thread];
    invert(square);
    float u[WV / 8][4] = {};
    uint32_t left[4][4];
    load_solved(left, square, row, gates.beta);
    product_registers<true>(u, left, v);
    finish_product(u);
    if constexpr (BACK) {
        __syncthreads();
        load_panels<CHUNK, WV, THREADS>(dout, back.dout, part.first, part.head, part.count,
                                        call.dv);
        copy_commit();
    }
    {
        float w[WK / 8][4] = {};
        load_solved(left, square, row, factor);
        product_registers<true>(w, left, k);
        finish_product(w);
        store_result<WK / 8>(to.w + (cell * CHUNK + row) * WK, WK, CHUNK, w, one);
        if constexpr (BACK) take_recalled<WK, WV>(u, w, state);
    }
    store_result<WV / 8>((BACK ? to.e : to.u) + (cell * CHUNK + row) * WV, WV, CHUNK, u, one);
    if constexpr (BACK) {
        for (int i = thread; i < SQUARE / 2; i += THREADS) {
            const float *pair = square + i / 32 * SOLVE_STRIDE + i % 32 * 2;
            ((uint32_t *)(to.solve + cell * SQUARE))[i] = pack_bf16(pair[0], pair[1]);
        }
        panels_ready<0>();
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
