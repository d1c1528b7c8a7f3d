/* Attention of one query a sequence over its key/value cache. Reading the cache is all the cost:
 * the query heads that share a key/value head are worked on together, so that each key is read
 * once, and the keys are cut into splits until the chip is full; a second kernel joins the splits.
 *
 * A row of E elements lies in LANES neighbouring lanes, 8 elements in each, so a warp reads
 * 32 / LANES keys at once, ROWS times, before it uses them. Every group of LANES lanes has an
 * online softmax of its own over the keys it meets; they are joined at the end of the block. */
#include <math.h>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.cuh"

enum { THREADS = 128, WARPS = THREADS / 32, ROWS = 4, MOST_SPLITS = 64, LEAST_KEYS = 64 };

struct decode_call {
    const bf16 *q;                    /* [count, H*E], q_stride */
    const bf16 *k, *v;                /* [slots, G, rows, E] */
    const int32_t *slots, *positions; /* [count] */
    bf16 *out;                        /* [count, H*E]; with one split */
    float *partial;                   /* [count, H, splits, E], sums of unnormalised outputs */
    float2 *sums;                     /* [count, H, splits]: maximum (base 2), sum */
    int64_t q_stride, rows;
    int heads, kv_heads, head_dim, group; /* group = H/G */
    int parts;                            /* of HEADS heads that a group is worked on in */
    int splits;                           /* of a sequence's keys, equally long ones */
    bool aligned;
    float scale; /* times log2(e) */
};

__device__ inline float exp2_approximate(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* The online softmax of one group of lanes: HEADS queries. */
template <int LANES, int HEADS> struct lane_sums {
    float q[HEADS][8], out[HEADS][8], maximum[HEADS], sum[HEADS];
};

/* Keys [begin, end) of which group `group` of GROUPS takes every GROUPS-th. The loop is the same
 * for the whole block: sums over lanes need every lane. */
template <int LANES, int HEADS>
__device__ inline void attend_keys(struct lane_sums<LANES, HEADS> &own, const bf16 *k,
                                   const bf16 *v, int begin, int end, int width, bool aligned) {
    constexpr int GROUPS = THREADS / LANES;
    int group = threadIdx.x / LANES, column = threadIdx.x % LANES * 8;
    for (int base = begin; base < end; base += ROWS * GROUPS) {
        struct packed<8> keys[ROWS], values[ROWS];
        float score[ROWS][HEADS];
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            int row = base + r * GROUPS + group;
            int valid = row < end ? width - column : 0;
            int64_t at = (int64_t)(row < end ? row : 0) * width + column;
            keys[r] = load_some<8>(k + at, valid, aligned);
            values[r] = load_some<8>(v + at, valid, aligned);
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float wide[8];
            widen(wide, keys[r]);
#pragma unroll
            for (int h = 0; h < HEADS; h++) {
                float dot = 0;
#pragma unroll
                for (int i = 0; i < 8; i++) dot = fmaf(own.q[h][i], wide[i], dot);
                dot = sum_lanes<LANES>(dot);
                score[r][h] = base + r * GROUPS + group < end ? dot : -INFINITY;
            }
        }
#pragma unroll
        for (int h = 0; h < HEADS; h++) {
            float largest = own.maximum[h];
#pragma unroll
            for (int r = 0; r < ROWS; r++) largest = fmaxf(largest, score[r][h]);
            /* Lanes that have met no key yet keep -inf and must not subtract it from itself. */
            float offset = largest == -INFINITY ? 0.0f : largest;
            float shrink = exp2_approximate(own.maximum[h] - offset);
            own.maximum[h] = largest;
            own.sum[h] *= shrink;
#pragma unroll
            for (int i = 0; i < 8; i++) own.out[h][i] *= shrink;
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                score[r][h] = exp2_approximate(score[r][h] - offset);
                own.sum[h] += score[r][h];
            }
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float wide[8];
            widen(wide, values[r]);
#pragma unroll
            for (int h = 0; h < HEADS; h++)
#pragma unroll
                for (int i = 0; i < 8; i++)
                    own.out[h][i] = fmaf(score[r][h], wide[i], own.out[h][i]);
        }
    }
}

/* Where head h of this block writes: the output itself, or the split's part. */
template <int HEADS>
__device__ inline void write_head(const struct decode_call &call, int sequence, int head, int split,
                                  int column, float value, float maximum, float sum) {
    int64_t row = (int64_t)sequence * call.heads + head;
    if (call.splits == 1) {
        call.out[row * call.head_dim + column] = __float2bfloat16(value / sum);
        return;
    }
    int64_t part = row * call.splits + split;
    call.partial[part * call.head_dim + column] = value;
    if (column == 0) call.sums[part] = make_float2(maximum, sum);
}

/* One split of the keys for up to HEADS heads that share them, of one sequence: groups of LANES
 * lanes attend to keys in turn, then the groups' online softmaxes are joined in shared memory, in
 * order. */
template <int LANES, int HEADS>
__global__ void __launch_bounds__(THREADS, HEADS > 4 ? 2 : 3)
    decode_kernel(struct decode_call call) {
    constexpr int GROUPS = THREADS / LANES, WIDTH = LANES * 8;
    __shared__ float joined[GROUPS][HEADS][WIDTH];
    __shared__ float maxima[GROUPS][HEADS], sums[GROUPS][HEADS];
    int split = blockIdx.x % call.splits, part = blockIdx.x / call.splits % call.parts;
    int kv_head = blockIdx.x / call.splits / call.parts, sequence = blockIdx.y;
    int64_t seen = min((int64_t)call.positions[sequence] + 1, call.rows);
    int64_t turn = ROWS * GROUPS, turns = (seen + call.splits * turn - 1) / (call.splits * turn);
    int begin = (int)min(split * turns * turn, seen);
    int end = (int)min(begin + turns * turn, seen);
    int lane = threadIdx.x % LANES, group = threadIdx.x / LANES, column = lane * 8;
    int head = kv_head * call.group + part * HEADS;
    int heads = min(HEADS, call.group - part * HEADS);
    int64_t cache = ((int64_t)call.slots[sequence] * call.kv_heads + kv_head) * call.rows;
    const bf16 *k = call.k + cache * call.head_dim, *v = call.v + cache * call.head_dim;

    struct lane_sums<LANES, HEADS> own;
    let_next_start();
    wait_for_previous();
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
        const bf16 *q = call.q + sequence * call.q_stride + (int64_t)(head + h) * call.head_dim;
        int valid = h < heads ? call.head_dim - column : 0;
        widen(own.q[h], load_some<8>(q + column, valid, call.aligned));
        own.maximum[h] = -INFINITY;
        own.sum[h] = 0;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            own.q[h][i] *= call.scale;
            own.out[h][i] = 0;
        }
    }
    attend_keys<LANES, HEADS>(own, k, v, begin, end, call.head_dim, call.aligned);
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
        store(&joined[group][h][column], own.out[h]);
        if (lane) continue;
        maxima[group][h] = own.maximum[h];
        sums[group][h] = own.sum[h];
    }
    __syncthreads();
    for (int item = threadIdx.x; item < heads * call.head_dim; item += THREADS) {
        int h = item / call.head_dim, at = item % call.head_dim;
        float largest = -INFINITY, sum = 0, value = 0;
        for (int g = 0; g < GROUPS; g++) largest = fmaxf(largest, maxima[g][h]);
        float base = largest == -INFINITY ? 0.0f : largest;
        for (int g = 0; g < GROUPS; g++) {
            float weight = exp2_approximate(maxima[g][h] - base);
            sum = fmaf(weight, sums[g][h], sum);
            value = fmaf(weight, joined[g][h][at], value);
        }
        write_head<HEADS>(call, sequence, head + h, split, at, value, largest, sum);
    }
}

/* The splits of one head of one sequence become its output: a block a row, a thread an element. */
__global__ void join_kernel(struct decode_call call) {
    int64_t row = blockIdx.x, first = row * call.splits;
    float largest = -INFINITY;
    let_next_start();
    wait_for_previous();
    for (int s = 0; s < call.splits; s++) largest = fmaxf(largest, call.sums[first + s].x);
    for (int at = threadIdx.x; at < call.head_dim; at += blockDim.x) {
        float sum = 0, value = 0;
        for (int s = 0; s < call.splits; s++) {
            float weight = exp2_approximate(call.sums[first + s].x - largest);
            sum = fmaf(weight, call.sums[first + s].y, sum);
            value = fmaf(weight, call.partial[(first + s) * call.head_dim + at], value);
        }
        call.out[row * call.head_dim + at] = __float2bfloat16(value / sum);
    }
}

template <int LANES, int HEADS>
static void launch(struct cuda_backend *cuda, const struct decode_call *call, int count) {
    dim3 grid((unsigned)(call->splits * call->parts * call->kv_heads), (unsigned)count);
    CUDA_LAUNCH_EARLY(cuda, (decode_kernel<LANES, HEADS>), grid, THREADS, 0, *call);
    if (call->splits > 1)
        CUDA_LAUNCH_EARLY(cuda, join_kernel, dim3((unsigned)(count * call->heads)),
                          call->head_dim < 64 ? 32 : 128, 0, *call);
}

template <int LANES>
static void launch_heads(struct cuda_backend *cuda, const struct decode_call *call, int heads,
                         int count) {
    if (heads == 1)
        launch<LANES, 1>(cuda, call, count);
    else if (heads == 2)
        launch<LANES, 2>(cuda, call, count);
    else if (heads == 4)
        launch<LANES, 4>(cuda, call, count);
    else
        launch<LANES, 8>(cuda, call, count);
}

/* Splits for `blocks` blocks without any over `keys` keys, `resident` blocks at a time: the count
 * whose waves, each as long as a split and a little to begin and end, take the least. */
static int choose_splits(int64_t blocks, int64_t keys, int64_t resident) {
    const int64_t overhead = 48;
    int64_t best_cost = INT64_MAX, best = 1;
    for (int64_t splits = 1; splits <= MOST_SPLITS; splits++) {
        if (splits > 1 && keys / splits < LEAST_KEYS) break;
        int64_t cost = ceil_div(blocks * splits, resident) * (ceil_div(keys, splits) + overhead) +
                       (splits > 1 ? overhead + splits : 0);
        if (cost < best_cost) {
            best_cost = cost;
            best = splits;
        }
    }
    return (int)best;
}

void cuda_attention_decode(struct backend *backend, struct act *out, const struct act *q,
                           int64_t q_stride, const struct kv_cache *cache, const int32_t *slots,
                           const int32_t *positions, int64_t longest, int count,
                           const struct attention_shape *shape) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (cuda->failed || count == 0) return;
    if (shape->head_dim > 256) {
        cuda_fail(cuda, "attention_decode: head_dim %d is above 256", shape->head_dim);
        return;
    }
    struct decode_call call = {};
    call.q = (const bf16 *)q;
    call.k = (const bf16 *)cache->k;
    call.v = (const bf16 *)cache->v;
    call.slots = slots;
    call.positions = positions;
    call.out = (bf16 *)out;
    call.q_stride = q_stride;
    call.rows = cache->rows;
    call.heads = shape->heads;
    call.kv_heads = shape->kv_heads;
    call.head_dim = shape->head_dim;
    call.group = shape->heads / shape->kv_heads;
    call.aligned = shape->head_dim % 8 == 0 && q_stride % 8 == 0 && aligned_to(q, 16) &&
                   aligned_to(cache->k, 16) && aligned_to(cache->v, 16);
    call.scale = (float)(shape->scale * 1.4426950408889634);
    int heads = call.group >= 5 ? 8 : call.group >= 3 ? 4 : call.group;
    call.parts = (int)ceil_div(call.group, heads);
    int64_t keys = longest < cache->rows ? longest : cache->rows;
    int64_t blocks = (int64_t)call.parts * call.kv_heads * count;
    call.splits = choose_splits(blocks, keys, (int64_t)cuda->multiprocessors * (heads > 4 ? 2 : 3));
    if (call.splits > 1) {
        size_t parts = (size_t)count * (size_t)call.heads * (size_t)call.splits;
        size_t sums_bytes = parts * sizeof(float2);
        char *scratch =
            (char *)cuda_scratch(cuda, sums_bytes + parts * (size_t)call.head_dim * sizeof(float));
        if (!scratch) return;
        call.sums = (float2 *)scratch;
        call.partial = (float *)(scratch + sums_bytes);
    }
    if (shape->head_dim <= 32)
        launch_heads<4>(cuda, &call, heads, count);
    else if (shape->head_dim <= 64)
        launch_heads<8>(cuda, &call, heads, count);
    else if (shape->head_dim <= 128)
        launch_heads<16>(cuda, &call, heads, count);
    else
        launch_heads<32>(cuda, &call, heads, count);
}

/* WIDTH neighbouring elements a thread; blockIdx.y is the sequence. */
template <int WIDTH>
__global__ void store_kernel(struct kv_cache cache, const int32_t *slots, const bf16 *k,
                             const bf16 *v, int64_t k_stride, int64_t v_stride,
                             const int32_t *offsets, const int32_t *positions, int kv_heads,
                             int head_dim) {
    int sequence = blockIdx.y, vectors = kv_heads * head_dim / WIDTH;
    let_next_start();
    int64_t first = offsets[sequence], end = offsets[sequence + 1];
    wait_for_previous();
    if (end - first > cache.rows) first = end - cache.rows; /* what is earlier is written over */
    int64_t slot = slots[sequence];
    for (int64_t item = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
         item < (end - first) * vectors; item += (int64_t)gridDim.x * blockDim.x) {
        int64_t token = first + item / vectors;
        int column = (int)(item % vectors) * WIDTH, head = column / head_dim;
        int64_t row = positions[token] % cache.rows;
        int64_t to = ((slot * kv_heads + head) * cache.rows + row) * head_dim + column % head_dim;
        write_packed((bf16 *)cache.k + to, read_packed<WIDTH>(k + token * k_stride + column));
        write_packed((bf16 *)cache.v + to, read_packed<WIDTH>(v + token * v_stride + column));
    }
}

template <int WIDTH>
static void launch_store(struct cuda_backend *cuda, const struct kv_cache *cache,
                         const int32_t *slots, const struct attention_inputs *in,
                         const struct sequences *sequences, const struct attention_shape *shape) {
    int64_t items = (int64_t)sequences->longest * shape->kv_heads * shape->head_dim / WIDTH;
    int64_t blocks = ceil_div(items, 256) < 1024 ? ceil_div(items, 256) : 1024;
    dim3 grid((unsigned)blocks, (unsigned)sequences->count);
    CUDA_LAUNCH_EARLY(cuda, store_kernel<WIDTH>, grid, 256, 0, *cache, slots, (const bf16 *)in->k,
                      (const bf16 *)in->v, in->k_stride, in->v_stride, sequences->device_offsets,
                      sequences->positions, shape->kv_heads, shape->head_dim);
}

void cuda_kv_store(struct backend *backend, const struct kv_cache *cache, const int32_t *slots,
                   const struct attention_inputs *in, const struct sequences *sequences,
                   const struct attention_shape *shape) {
    struct cuda_backend *cuda = cuda_of(backend);
    bool aligned = shape->head_dim % 8 == 0 && in->k_stride % 8 == 0 && in->v_stride % 8 == 0 &&
                   aligned_to(in->k, 16) && aligned_to(in->v, 16) && aligned_to(cache->k, 16) &&
                   aligned_to(cache->v, 16);
    if (sequences->tokens == 0) return;
    if (aligned)
        launch_store<8>(cuda, cache, slots, in, sequences, shape);
    else
        launch_store<1>(cuda, cache, slots, in, sequences, shape);
}
