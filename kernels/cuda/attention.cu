/* Causal attention with an online softmax (Dao et al. 2022): a block owns a tile of queries of one
 * head, its warps own rows, keys and values pass through shared memory a tile at a time. This
 * kernel runs for every head_dim on compute capability 8.0 and later; attention_hopper.cu has
 * the one for 9.0. */
#include <math.h>

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention.h"

enum { THREADS = 128, WARPS = THREADS / 32 };

/* One row's part of the online softmax. */
struct row_sums {
    float maximum, sum; /* of the scaled scores in base 2; sum of this lane's columns only */
};

/* Scores become probabilities against the new maximum. Returns the factor for what was summed
 * before. A row that saw nothing yet has maximum -inf and gives zeros. */
template <int PIECES>
__device__ inline float update_row(float (&s)[PIECES][4], int half, struct row_sums *row,
                                   float scale) {
    float largest = -INFINITY;
#pragma unroll
    for (int n = 0; n < PIECES; n++)
        largest = fmaxf(largest, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
    largest = fmaxf(row->maximum, largest * scale);
    float base = largest == -INFINITY ? 0.0f : largest, total = 0;
#pragma unroll
    for (int n = 0; n < PIECES; n++)
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; i++) {
            s[n][i] = exp2_fast(fmaf(s[n][i], scale, -base));
            total += s[n][i];
        }
    float shrink = exp2_fast(row->maximum - base);
    row->sum = row->sum * shrink + total;
    row->maximum = largest;
    return shrink;
}

template <int COLUMNS>
__device__ inline void mask_scores(float (&s)[COLUMNS / 8][4], int row, int key, int window) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (!is_visible(row + lane / 4 + i / 2 * 8, key + n * 8 + lane % 4 * 2 + i % 2, window))
                s[n][i] = -INFINITY;
}

/* E head_dim (rounded up unless EXACT, see load_tile), PARTS groups of 16 rows to a warp, KEYS keys
 * to a tile. */
template <int E, int PARTS, int KEYS, bool EXACT>
__global__ void __launch_bounds__(THREADS)
    attention_kernel(struct attention_call call, bf16 *out, float *lse) {
    constexpr int ROWS = WARPS * 16 * PARTS;
    extern __shared__ __align__(128) bf16 shared[];
    bf16 *q_tile = shared, *k_tile = q_tile + ROWS * E, *v_tile = k_tile + KEYS * E;
    struct attention_tile tile;
    if (!find_tile<ROWS, true>(&tile, call, call.heads, blockIdx.x)) return;
    int width = EXACT ? E : call.width;
    int kv_head = tile.head / call.group, warp_row = threadIdx.x / 32 * 16 * PARTS;
    int64_t token = tile.first + tile.start;
    const bf16 *k = call.k + tile.first * call.k_stride + kv_head * width;
    const bf16 *v = call.v + tile.first * call.v_stride + kv_head * width;
    int last = min(tile.start + ROWS, tile.length) - 1;
    int key_first = first_key(tile.start, call.window) / KEYS * KEYS, key = last / KEYS * KEYS;

    load_tile<ROWS, E, THREADS, EXACT>(q_tile, call.q + token * call.q_stride + tile.head * width,
                                       call.q_stride, tile.length - tile.start, width);
    load_tile<KEYS, E, THREADS, EXACT>(k_tile, k + key * call.k_stride, call.k_stride,
                                       tile.length - key, width);
    copy_commit();

    float result[PARTS][E / 8][4] = {};
    struct row_sums sums[PARTS][2];
#pragma unroll
    for (int part = 0; part < PARTS; part++) sums[part][0] = sums[part][1] = {-INFINITY, 0};
    float scale = call.scale * LOG2_E;
    for (; key >= key_first; key -= KEYS) {
        copy_wait<0>();
        __syncthreads(); /* k_tile is there, v_tile is free */
        load_tile<KEYS, E, THREADS, EXACT>(v_tile, v + key * call.v_stride, call.v_stride,
                                           tile.length - key, width);
        copy_commit();
        float s[PARTS][KEYS / 8][4] = {};
#pragma unroll
        for (int step = 0; step < E / 16; step++) {
            uint32_t a[PARTS][4];
#pragma unroll
            for (int part = 0; part < PARTS; part++)
                load_left<E>(a[part], q_tile, warp_row + 16 * part, step);
#pragma unroll
            for (int n = 0; n < KEYS / 16; n++) {
                uint32_t b[4];
                load_right_rows<E>(b, k_tile, 16 * n, step);
#pragma unroll
                for (int part = 0; part < PARTS; part++) {
                    multiply(s[part][2 * n], a[part], b[0], b[1]);
                    multiply(s[part][2 * n + 1], a[part], b[2], b[3]);
                }
            }
        }
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
            int row = tile.start + warp_row + 16 * part;
            if (key + KEYS - 1 > row || (call.window > 0 && key <= row + 15 - call.window))
                mask_scores<KEYS>(s[part], row, key, call.window);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float shrink = update_row(s[part], half, &sums[part][half], scale);
#pragma unroll
                for (int n = 0; n < E / 8; n++) {
                    result[part][n][2 * half] *= shrink;
                    result[part][n][2 * half + 1] *= shrink;
                }
            }
        }
        copy_wait<0>();
        __syncthreads(); /* v_tile is there, k_tile is free */
        if (key > key_first) {
            int next = key - KEYS;
            load_tile<KEYS, E, THREADS, EXACT>(k_tile, k + next * call.k_stride, call.k_stride,
                                               KEYS, width);
        }
        copy_commit();
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++) {
            uint32_t a[PARTS][4];
#pragma unroll
            for (int part = 0; part < PARTS; part++)
                pack_left(a[part], s[part][2 * step], s[part][2 * step + 1]);
#pragma unroll
            for (int n = 0; n < E / 16; n++) {
                uint32_t b[4];
                load_right_columns<E>(b, v_tile, 16 * step, 2 * n);
#pragma unroll
                for (int part = 0; part < PARTS; part++) {
                    multiply(result[part][2 * n], a[part], b[0], b[1]);
                    multiply(result[part][2 * n + 1], a[part], b[2], b[3]);
                }
            }
        }
    }
    copy_wait<0>();

    int64_t out_stride = (int64_t)call.heads * width;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        int start = tile.start + warp_row + 16 * part, lane = threadIdx.x & 31;
        float factor[2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            struct row_sums row = sums[part][half];
            float sum = sum_lanes<4>(row.sum);
            int at = start + lane / 4 + 8 * half;
            factor[half] = 1 / sum;
            if (lse && lane % 4 == 0 && at < tile.length)
                lse[tile.head * call.tokens + tile.first + at] = (row.maximum + log2f(sum)) * LN_2;
        }
        store_result<E / 8, EXACT>(out + (tile.first + start) * out_stride + tile.head * width,
                                   out_stride, tile.length - start, result[part], factor, width);
    }
}

template <int E, int PARTS, int KEYS, bool EXACT = true>
static void launch_attention(struct cuda_backend *cuda, const struct attention_call *call,
                             bf16 *out, float *lse) {
    constexpr int ROWS = WARPS * 16 * PARTS, BYTES = (ROWS + 2 * KEYS) * E * (int)sizeof(bf16);
    CUDA_ALLOW_SHARED(cuda, (attention_kernel<E, PARTS, KEYS, EXACT>), BYTES);
    CUDA_LAUNCH(cuda, (attention_kernel<E, PARTS, KEYS, EXACT>),
                dim3((unsigned)count_tiles(call, call->heads, ROWS)), THREADS, BYTES, *call, out,
                lse);
}

bool cuda_attention_call(struct cuda_backend *cuda, struct attention_call *call, bool *exact,
                         const struct attention_inputs *in, const struct sequences *sequences,
                         const struct attention_shape *shape) {
    if (cuda->failed || sequences->tokens == 0) return false;
    if (shape->head_dim > ATTENTION_MAX_WIDTH) {
        cuda_fail(cuda, "attention: head_dim %d is above %d", shape->head_dim, ATTENTION_MAX_WIDTH);
        return false;
    }
    if (!(shape->scale > 0)) {
        cuda_fail(cuda, "attention: scale must be positive");
        return false;
    }
    *call = {(const bf16 *)in->q,
             (const bf16 *)in->k,
             (const bf16 *)in->v,
             in->q_stride,
             in->k_stride,
             in->v_stride,
             sequences->device_offsets,
             sequences->tokens,
             sequences->count,
             sequences->longest,
             shape->heads,
             shape->kv_heads,
             shape->heads / shape->kv_heads,
             shape->window,
             shape->head_dim,
             (float)shape->scale};
    int64_t strides = in->q_stride | in->k_stride | in->v_stride;
    int e = shape->head_dim;
    *exact = (e == 32 || e == 64 || e == 96 || e == 128 || e == 256) && strides % 8 == 0 &&
             aligned_to(in->q, 16) && aligned_to(in->k, 16) && aligned_to(in->v, 16);
    return true;
}

static void cuda_attention(struct backend *backend, struct act *out, struct acc *lse,
                           const struct attention_inputs *in, const struct sequences *sequences,
                           const struct attention_shape *shape) {
    struct cuda_backend *cuda = cuda_of(backend);
    struct attention_call call;
    bool exact;
    if (!cuda_attention_call(cuda, &call, &exact, in, sequences, shape)) return;
    bf16 *to = (bf16 *)out;
    float *to_lse = (float *)lse;
    if (!exact || !aligned_to(out, 16)) {
        if (call.width <= 32) return launch_attention<32, 2, 64, false>(cuda, &call, to, to_lse);
        if (call.width <= 128) return launch_attention<128, 2, 64, false>(cuda, &call, to, to_lse);
        return launch_attention<256, 1, 32, false>(cuda, &call, to, to_lse);
    }
    if (cuda_attention_hopper(cuda, to, to_lse, &call, shape->head_dim)) return;
    switch (shape->head_dim) {
    case 32:
        return launch_attention<32, 2, 64>(cuda, &call, to, to_lse);
    case 64:
        return launch_attention<64, 2, 64>(cuda, &call, to, to_lse);
    case 96:
        return launch_attention<96, 2, 64>(cuda, &call, to, to_lse);
    case 128:
        return launch_attention<128, 2, 64>(cuda, &call, to, to_lse);
    case 256:
        return launch_attention<256, 1, 32>(cuda, &call, to, to_lse);
    }
}

const struct attention_ops cuda_attention_ops = {
    .rope = cuda_rope,
    .attention = cuda_attention,
    .attention_backward = cuda_attention_backward,
    .kv_store = cuda_kv_store,
    .attention_decode = cuda_attention_decode,
};
