/* The backward pass of attention (Dao et al. 2022). With p the probabilities, dp = dout v^T and
 * delta the sum of dout * out over a row: ds = p * (dp - delta), dq = scale ds k, dk = scale ds^T
 * q, dv = p^T dout. Two kernels: attention.cuh says why. */
#include <math.h>

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention.h"

enum { THREADS = 128, WARPS = THREADS / 32, ROWS = WARPS * 16 };

/* What both kernels below need of a query's row: (lse in base 2, delta), delta being the sum of
 * dout * out. A block takes STATISTIC_ROWS queries of one head, LANES lanes a row; rows past the
 * sequence's end get (infinity, 0), which makes their probabilities 0. */
template <int E, bool EXACT>
__global__ void __launch_bounds__(THREADS)
    attention_statistics_kernel(struct attention_backward_call call) {
    /* A row's lanes at 16 bytes each, up to a power of two. */
    constexpr int LANES = E <= 32 ? 4 : E <= 64 ? 8 : E <= 128 ? 16 : 32;
    constexpr int AT_ONCE = THREADS / LANES;
    struct attention_tile tile;
    const struct attention_call &forward = call.forward;
    if (!find_tile<STATISTIC_ROWS, false>(&tile, forward, forward.heads, blockIdx.x)) return;
    int lane = threadIdx.x % LANES, width = EXACT ? E : forward.width;
    int64_t stride = (int64_t)forward.heads * width;
    float2 *to = call.statistics.at + tile.head * call.statistics.rows +
                 statistic_row(tile.first, tile.sequence) + tile.start;
    for (int row = threadIdx.x / LANES; row < STATISTIC_ROWS; row += AT_ONCE) {
        bool valid = tile.start + row < tile.length;
        int64_t token = tile.first + tile.start + row;
        float total = 0;
        const bf16 *out = call.out + token * stride + tile.head * width + lane * 8;
        const bf16 *dout = call.dout + token * stride + tile.head * width + lane * 8;
        if (EXACT && valid && lane * 8 < E) {
            float a[8], b[8];
            load(a, out);
            load(b, dout);
#pragma unroll
            for (int i = 0; i < 8; i++) total += a[i] * b[i];
        }
        if (!EXACT && valid)
            for (int i = 0; i < 8 && lane * 8 + i < width; i++)
                total += __bfloat162float(out[i]) * __bfloat162float(dout[i]);
        total = sum_lanes<LANES>(total);
        if (lane == 0)
            to[row] =
                valid ? make_float2(call.lse[tile.head * forward.tokens + token] * LOG2_E, total)
                      : make_float2(INFINITY, 0);
    }
}

/* Scores s become probabilities p, and dp becomes ds = p * (dp - delta), for a tile whose rows are
 * queries (COLUMNS keys) ... */
template <int COLUMNS>
__device__ inline void differentiate_rows(float (&s)[COLUMNS / 8][4], float (&dp)[COLUMNS / 8][4],
                                          const float2 (&statistic)[2], float scale) {
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            s[n][i] = exp2_fast(fmaf(s[n][i], scale, -statistic[i / 2].x));
            dp[n][i] = s[n][i] * (dp[n][i] - statistic[i / 2].y);
        }
}

/* A block owns ROWS queries of one head. */
template <int E, int KEYS, int STAGES, bool EXACT>
__global__ void __launch_bounds__(THREADS)
    attention_query_kernel(struct attention_backward_call call) {
    extern __shared__ __align__(128) bf16 shared[];
    bf16 *q_tile = shared, *dout_tile = q_tile + ROWS * E, *k_tiles = dout_tile + ROWS * E,
         *v_tiles = k_tiles + STAGES * KEYS * E;
    struct attention_tile tile;
    const struct attention_call &forward = call.forward;
    if (!find_tile<ROWS, true>(&tile, forward, forward.heads, blockIdx.x)) return;
    int width = EXACT ? E : forward.width;
    int kv_head = tile.head / forward.group, warp_row = threadIdx.x / 32 * 16;
    int lane = threadIdx.x & 31, window = forward.window;
    int64_t token = tile.first + tile.start, out_stride = (int64_t)forward.heads * width;
    const bf16 *k = forward.k + tile.first * forward.k_stride + kv_head * width;
    const bf16 *v = forward.v + tile.first * forward.v_stride + kv_head * width;
    int key_end = min(tile.start + ROWS, tile.length);
    int key = first_key(tile.start, window) / KEYS * KEYS, valid = tile.length - tile.start;
    auto load_keys = [&](int at, int stage) {
        load_tile<KEYS, E, THREADS, EXACT>(k_tiles + stage * KEYS * E, k + at * forward.k_stride,
                                           forward.k_stride, tile.length - at, width);
        load_tile<KEYS, E, THREADS, EXACT>(v_tiles + stage * KEYS * E, v + at * forward.v_stride,
                                           forward.v_stride, tile.length - at, width);
    };

    load_tile<ROWS, E, THREADS, EXACT>(q_tile,
                                       forward.q + token * forward.q_stride + tile.head * width,
                                       forward.q_stride, valid, width);
    load_tile<ROWS, E, THREADS, EXACT>(
        dout_tile, call.dout + token * out_stride + tile.head * width, out_stride, valid, width);
    load_keys(key, 0);
    copy_commit();

    float2 statistic[2];
#pragma unroll
    for (int half = 0; half < 2; half++)
        statistic[half] =
            call.statistics
                .at[tile.head * call.statistics.rows + statistic_row(tile.first, tile.sequence) +
                    tile.start + warp_row + lane / 4 + 8 * half];
    float result[E / 8][4] = {}, scale = forward.scale * LOG2_E;
    for (int stage = 0; key < key_end; key += KEYS, stage = (stage + 1) % STAGES) {
        if (STAGES > 1) {
            if (key + KEYS < key_end) load_keys(key + KEYS, (stage + 1) % STAGES);
            copy_commit();
        }
        copy_wait<STAGES - 1>();
        __syncthreads();
        const bf16 *k_tile = k_tiles + stage * KEYS * E, *v_tile = v_tiles + stage * KEYS * E;
        float s[KEYS / 8][4] = {}, dp[KEYS / 8][4] = {};
        multiply_rows<E, KEYS>(s, q_tile, warp_row, k_tile);
        multiply_rows<E, KEYS>(dp, dout_tile, warp_row, v_tile);
        int row = tile.start + warp_row;
        if (key + KEYS - 1 > row || (window > 0 && key <= row + 15 - window))
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    if (!is_visible(row + lane / 4 + i / 2 * 8, key + n * 8 + lane % 4 * 2 + i % 2,
                                    window))
                        s[n][i] = -INFINITY;
        differentiate_rows<KEYS>(s, dp, statistic, scale);
        multiply_columns<E, E, KEYS>(result, dp, k_tile, 0);
        __syncthreads();
        if (STAGES == 1 && key + KEYS < key_end) {
            load_keys(key + KEYS, 0);
            copy_commit();
        }
    }
    float factor[2] = {forward.scale, forward.scale};
    store_result<E / 8, EXACT>(call.dq + (token + warp_row) * call.dq_stride + tile.head * width,
                               call.dq_stride, valid - warp_row, result, factor, width);
}

/* A block owns ROWS keys of one key/value head and PART of the E columns of dk and dv; QUERIES
 * queries to a tile. The products are transposed: rows are keys, columns are queries. */
template <int E, int PART, int QUERIES, int STAGES, bool EXACT>
__global__ void __launch_bounds__(THREADS)
    attention_key_kernel(struct attention_backward_call call) {
    extern __shared__ __align__(128) bf16 shared[];
    bf16 *k_tile = shared, *v_tile = k_tile + ROWS * E, *q_tiles = v_tile + ROWS * E,
         *dout_tiles = q_tiles + STAGES * QUERIES * E;
    float2 *statistic_tiles = (float2 *)(dout_tiles + STAGES * QUERIES * E);
    struct attention_tile tile;
    const struct attention_call &forward = call.forward;
    if (!find_tile<ROWS, false>(&tile, forward, forward.kv_heads, blockIdx.x)) return;
    int warp_row = threadIdx.x / 32 * 16, lane = threadIdx.x & 31, window = forward.window;
    int column = blockIdx.y * PART, width = EXACT ? E : forward.width;
    int64_t token = tile.first + tile.start, out_stride = (int64_t)forward.heads * width;
    /* The last query that sees a key of this tile, then the steps: heads, within them queries. */
    int query_end = window > 0 ? min(tile.length, tile.start + ROWS - 1 + window) : tile.length;
    int query_first = tile.start / QUERIES * QUERIES;
    int tiles = (query_end - query_first + QUERIES - 1) / QUERIES, steps = tiles * forward.group;
    const float2 *statistics = call.statistics.at + statistic_row(tile.first, tile.sequence);
    auto load_queries = [&](int step, int stage) {
        int head = tile.head * forward.group + step / tiles;
        int query = query_first + step % tiles * QUERIES;
        const bf16 *q = forward.q + (tile.first + query) * forward.q_stride + head * width;
        const bf16 *dout = call.dout + (tile.first + query) * out_stride + head * width;
        load_tile<QUERIES, E, THREADS, EXACT>(q_tiles + stage * QUERIES * E, q, forward.q_stride,
                                              tile.length - query, width);
        load_tile<QUERIES, E, THREADS, EXACT>(dout_tiles + stage * QUERIES * E, dout, out_stride,
                                              tile.length - query, width);
        if (threadIdx.x < QUERIES / 2)
            copy_async(
                (bf16 *)(statistic_tiles + stage * QUERIES + 2 * threadIdx.x),
                (const bf16 *)(statistics + head * call.statistics.rows + query + 2 * threadIdx.x),
                true);
    };

    load_tile<ROWS, E, THREADS, EXACT>(k_tile,
                                       forward.k + token * forward.k_stride + tile.head * width,
                                       forward.k_stride, tile.length - tile.start, width);
    load_tile<ROWS, E, THREADS, EXACT>(v_tile,
                                       forward.v + token * forward.v_stride + tile.head * width,
                                       forward.v_stride, tile.length - tile.start, width);
    load_queries(0, 0);
    copy_commit();

    float dk[PART / 8][4] = {}, dv[PART / 8][4] = {}, scale = forward.scale * LOG2_E;
    for (int step = 0, stage = 0; step < steps; step++, stage = (stage + 1) % STAGES) {
        if (STAGES > 1) {
            if (step + 1 < steps) load_queries(step + 1, (stage + 1) % STAGES);
            copy_commit();
        }
        copy_wait<STAGES - 1>();
        __syncthreads();
        const bf16 *q_tile = q_tiles + stage * QUERIES * E;
        const bf16 *dout_tile = dout_tiles + stage * QUERIES * E;
        const float2 *statistic = statistic_tiles + stage * QUERIES + lane % 4 * 2;
        float s[QUERIES / 8][4] = {}, dp[QUERIES / 8][4] = {};
        multiply_rows<E, QUERIES>(s, k_tile, warp_row, q_tile);
        multiply_rows<E, QUERIES>(dp, v_tile, warp_row, dout_tile);
        int key = tile.start + warp_row, query = query_first + step % tiles * QUERIES;
        bool masked = query < key + 15 || (window > 0 && key <= query + QUERIES - 1 - window);
#pragma unroll
        for (int n = 0; n < QUERIES / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float2 of = statistic[n * 8 + i % 2];
                if (masked && !is_visible(query + n * 8 + lane % 4 * 2 + i % 2,
                                          key + lane / 4 + i / 2 * 8, window))
                    s[n][i] = -INFINITY;
                s[n][i] = exp2_fast(fmaf(s[n][i], scale, -of.x));
                dp[n][i] = s[n][i] * (dp[n][i] - of.y);
            }
        multiply_columns<E, PART, QUERIES>(dv, s, dout_tile, column / 8);
        multiply_columns<E, PART, QUERIES>(dk, dp, q_tile, column / 8);
        __syncthreads();
        if (STAGES == 1 && step + 1 < steps) {
            load_queries(step + 1, 0);
            copy_commit();
        }
    }
    float one[2] = {1, 1}, factor[2] = {forward.scale, forward.scale};
    int valid = tile.length - tile.start - warp_row;
    store_result<PART / 8, EXACT>(call.dk + (token + warp_row) * call.dk_stride +
                                      tile.head * width + column,
                                  call.dk_stride, valid, dk, factor, width - column);
    store_result<PART / 8, EXACT>(call.dv + (token + warp_row) * call.dv_stride +
                                      tile.head * width + column,
                                  call.dv_stride, valid, dv, one, width - column);
}

template <int E, int PART, int KEYS, int QUERIES, int STAGES, bool EXACT = true>
static void launch_backward(struct cuda_backend *cuda, const struct attention_backward_call *call) {
    const struct attention_call *forward = &call->forward;
    CUDA_LAUNCH(cuda, (attention_statistics_kernel<E, EXACT>),
                dim3((unsigned)count_tiles(forward, forward->heads, STATISTIC_ROWS)), THREADS, 0,
                *call);
    if (EXACT && cuda_attention_backward_hopper(cuda, call, E)) return;
    constexpr int QUERY_BYTES = (ROWS + STAGES * KEYS) * 2 * E * (int)sizeof(bf16);
    CUDA_ALLOW_SHARED(cuda, (attention_query_kernel<E, KEYS, STAGES, EXACT>), QUERY_BYTES);
    CUDA_LAUNCH(cuda, (attention_query_kernel<E, KEYS, STAGES, EXACT>),
                dim3((unsigned)count_tiles(forward, forward->heads, ROWS)), THREADS, QUERY_BYTES,
                *call);
    constexpr int KEY_BYTES = (ROWS + STAGES * QUERIES) * 2 * E * (int)sizeof(bf16) +
                              STAGES * QUERIES * (int)sizeof(float2);
    CUDA_ALLOW_SHARED(cuda, (attention_key_kernel<E, PART, QUERIES, STAGES, EXACT>), KEY_BYTES);
    CUDA_LAUNCH(cuda, (attention_key_kernel<E, PART, QUERIES, STAGES, EXACT>),
                dim3((unsigned)count_tiles(forward, forward->kv_heads, ROWS), E / PART), THREADS,
                KEY_BYTES, *call);
}

void cuda_attention_backward(struct backend *backend, const struct attention_gradients *gradients,
                             const struct act *dout, const struct act *out, const struct acc *lse,
                             const struct attention_inputs *in, const struct sequences *sequences,
                             const struct attention_shape *shape) {
    struct cuda_backend *cuda = cuda_of(backend);
    struct attention_backward_call call;
    bool exact;
    if (!cuda_attention_call(cuda, &call.forward, &exact, in, sequences, shape)) return;
    int64_t strides = gradients->q_stride | gradients->k_stride | gradients->v_stride;
    exact = exact && strides % 8 == 0 && aligned_to(gradients->dq, 16) &&
            aligned_to(gradients->dk, 16) && aligned_to(gradients->dv, 16) && aligned_to(out, 16) &&
            aligned_to(dout, 16);
    call.out = (const bf16 *)out;
    call.dout = (const bf16 *)dout;
    call.lse = (const float *)lse;
    call.dq = (bf16 *)gradients->dq;
    call.dk = (bf16 *)gradients->dk;
    call.dv = (bf16 *)gradients->dv;
    call.dq_stride = gradients->q_stride;
    call.dk_stride = gradients->k_stride;
    call.dv_stride = gradients->v_stride;
    call.statistics.rows = statistic_row(sequences->tokens, sequences->count);
    call.statistics.at = (float2 *)cuda_scratch(cuda, (size_t)call.statistics.rows *
                                                          (size_t)shape->heads * sizeof(float2));
    if (!call.statistics.at) return;
    if (!exact) {
        if (call.forward.width <= 32) return launch_backward<32, 32, 64, 64, 2, false>(cuda, &call);
        if (call.forward.width <= 128)
            return launch_backward<128, 128, 64, 64, 2, false>(cuda, &call);
        return launch_backward<256, 128, 32, 32, 1, false>(cuda, &call);
    }
    switch (shape->head_dim) {
    case 32:
        return launch_backward<32, 32, 64, 64, 2>(cuda, &call);
    case 64:
        return launch_backward<64, 64, 64, 64, 2>(cuda, &call);
    case 96:
        return launch_backward<96, 96, 64, 64, 2>(cuda, &call);
    case 128:
        return launch_backward<128, 128, 64, 64, 2>(cuda, &call);
    case 256: /* one block's registers hold half the columns of dk and dv */
        return launch_backward<256, 128, 32, 32, 1>(cuda, &call);
    }
}
