/* The two kernels of attention's backward pass on Hopper: the same work as in
 * attention_backward.cu, with a producer thread for the copy engine and two warpgroups of consumers
 * of 64 rows each. Both hold probabilities and their gradients in registers, where they are the
 * left operands of the last products: nothing but inputs passes through shared memory, and the
 * consumers never wait for each other, so one's exponentials run beside the other's products. */
#include <math.h>

#include "kernels/cuda/attention_hopper.cuh"

enum { CONSUMERS = 2, ROWS = 64 * CONSUMERS, THREADS = 128 * (1 + CONSUMERS) };
enum { CONSUMER_WARPS = 4 * CONSUMERS };
enum { QUERY_KEYS = 128, QUERY_STAGES = 2 }; /* the kernel that owns queries: keys to a tile */
enum { KEY_QUERIES = 64, KEY_STAGES = 4 };   /* the kernel that owns keys: queries to a tile */

struct backward_maps {
    CUtensorMap q, dout, k, v;
};

template <int E> struct query_shared {
    alignas(1024) bf16 q[ROWS * E];
    alignas(1024) bf16 dout[ROWS * E];
    alignas(1024) bf16 k[QUERY_STAGES][QUERY_KEYS * E];
    alignas(1024) bf16 v[QUERY_STAGES][QUERY_KEYS * E];
    uint64_t own_full, full[QUERY_STAGES], empty[QUERY_STAGES];
};

template <int E> struct key_shared {
    alignas(1024) bf16 k[ROWS * E];
    alignas(1024) bf16 v[ROWS * E];
    alignas(1024) bf16 q[KEY_STAGES][KEY_QUERIES * E];
    alignas(1024) bf16 dout[KEY_STAGES][KEY_QUERIES * E];
    alignas(16) float2 statistics[KEY_STAGES][KEY_QUERIES];
    uint64_t own_full, full[KEY_STAGES], empty[KEY_STAGES];
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

template <int STAGES>
__device__ static inline void init_barriers(uint64_t *own_full, uint64_t *full, uint64_t *empty) {
    if (threadIdx.x == 0) {
        mbarrier_init(own_full, 1);
        for (int i = 0; i < STAGES; i++) {
            mbarrier_init(&full[i], 1);
            mbarrier_init(&empty[i], CONSUMER_WARPS);
        }
        mbarrier_init_fence();
    }
    __syncthreads();
}

struct step_range {
    int first, end; /* of keys or queries, `first` a multiple of the tile */
};

template <int E>
__device__ static void
produce_keys(struct query_shared<E> *shared, const struct backward_maps *maps,
             const struct attention_call &call, const struct attention_tile &tile,
             const struct step_range &keys) {
    int kv_head = tile.head / call.group, row = tile.first + tile.start;
    mbarrier_expect_tx(&shared->own_full, 2 * ROWS * E * (int)sizeof(bf16));
    tma_load_tile<ROWS, E>(shared->q, &maps->q, tile.head * E, row, &shared->own_full);
    tma_load_tile<ROWS, E>(shared->dout, &maps->dout, tile.head * E, row, &shared->own_full);
    struct mbarrier_ring<QUERY_STAGES> ring;
    for (int key = keys.first; key < keys.end; key += QUERY_KEYS, ring.advance()) {
        uint64_t *full = &shared->full[ring.stage];
        mbarrier_wait(&shared->empty[ring.stage], ring.parity ^ 1);
        mbarrier_expect_tx(full, 2 * QUERY_KEYS * E * (int)sizeof(bf16));
        tma_load_tile<QUERY_KEYS, E>(shared->k[ring.stage], &maps->k, kv_head * E, tile.first + key,
                                     full);
        tma_load_tile<QUERY_KEYS, E>(shared->v[ring.stage], &maps->v, kv_head * E, tile.first + key,
                                     full);
    }
}

/* dq of 64 queries. */
template <int E>
__device__ static void
consume_keys(struct query_shared<E> *shared, const struct attention_backward_call &call,
             const struct attention_tile &tile, const struct step_range &keys, int consumer) {
    int lane = threadIdx.x & 31, warp = threadIdx.x / 32 % 4, window = call.forward.window;
    int row = tile.start + 64 * consumer, own = row + 16 * warp + lane / 4;
    float scale = call.forward.scale * LOG2_E;
    const bf16 *q = shared->q + 64 * consumer * PANEL;
    const bf16 *dout = shared->dout + 64 * consumer * PANEL;
    float2 statistic[2];
#pragma unroll
    for (int half = 0; half < 2; half++)
        statistic[half] =
            call.statistics.at[tile.head * call.statistics.rows +
                               statistic_row(tile.first, tile.sequence) + own + 8 * half];
    float s[QUERY_KEYS / 8][4], dp[QUERY_KEYS / 8][4], result[E / 8][4] = {};
    uint32_t ds[QUERY_KEYS / 16][4];
    struct mbarrier_ring<QUERY_STAGES> ring;
    wgmma_hold(result);
    mbarrier_wait(&shared->own_full, 0);
    for (int key = keys.first; key < keys.end; key += QUERY_KEYS) {
        int last = ring.stage ^ 1;
        mbarrier_wait(&shared->full[ring.stage], ring.parity);
        wgmma_fence();
        products_rows<E, ROWS, QUERY_KEYS>(s, q, shared->k[ring.stage]);
        wgmma_commit();
        wgmma_wait<0>(); /* also the last tile's products with its keys, which frees ds */
        wgmma_hold(s);
        wgmma_hold(result);
        wgmma_fence();
        products_rows<E, ROWS, QUERY_KEYS>(dp, dout, shared->v[ring.stage]);
        wgmma_commit();
        if (key > keys.first && lane == 0) mbarrier_arrive(&shared->empty[last]);
        if (key + QUERY_KEYS - 1 > row || (window > 0 && key <= row + 63 - window))
#pragma unroll
            for (int n = 0; n < QUERY_KEYS / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    if (!is_visible(own + i / 2 * 8, key + n * 8 + lane % 4 * 2 + i % 2, window))
                        s[n][i] = -INFINITY;
#pragma unroll
        for (int n = 0; n < QUERY_KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                s[n][i] = exp2_fast(fmaf(s[n][i], scale, -statistic[i / 2].x));
        wgmma_wait<0>();
        wgmma_hold(dp);
#pragma unroll
        for (int n = 0; n < QUERY_KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) s[n][i] *= dp[n][i] - statistic[i / 2].y;
        pack_products<QUERY_KEYS>(ds, s);
        wgmma_fence();
        products_columns<E, QUERY_KEYS>(result, ds, shared->k[ring.stage]);
        wgmma_commit();
        ring.advance();
    }
    wgmma_wait<0>();
    wgmma_hold(result);
    float factor[2] = {call.forward.scale, call.forward.scale};
    int start = row + 16 * warp;
    store_result<E / 8>(call.dq + (tile.first + start) * call.dq_stride + tile.head * E,
                        call.dq_stride, tile.length - start, result, factor);
}

template <int E>
__device__ static void
produce_queries(struct key_shared<E> *shared, const struct backward_maps *maps,
                const struct attention_backward_call &call, const struct attention_tile &tile,
                const struct step_range &queries) {
    mbarrier_expect_tx(&shared->own_full, 2 * ROWS * E * (int)sizeof(bf16));
    int row = tile.first + tile.start;
    tma_load_tile<ROWS, E>(shared->k, &maps->k, tile.head * E, row, &shared->own_full);
    tma_load_tile<ROWS, E>(shared->v, &maps->v, tile.head * E, row, &shared->own_full);
    struct mbarrier_ring<KEY_STAGES> ring;
    int64_t padded = statistic_row(tile.first, tile.sequence);
    for (int i = 0; i < call.forward.group; i++) {
        int head = tile.head * call.forward.group + i;
        const float2 *statistics = call.statistics.at + head * call.statistics.rows + padded;
        for (int query = queries.first; query < queries.end; query += KEY_QUERIES, ring.advance()) {
            uint64_t *full = &shared->full[ring.stage];
            mbarrier_wait(&shared->empty[ring.stage], ring.parity ^ 1);
            mbarrier_expect_tx(full,
                               KEY_QUERIES * (2 * E * (int)sizeof(bf16) + (int)sizeof(float2)));
            tma_load_tile<KEY_QUERIES, E>(shared->q[ring.stage], &maps->q, head * E,
                                          tile.first + query, full);
            tma_load_tile<KEY_QUERIES, E>(shared->dout[ring.stage], &maps->dout, head * E,
                                          tile.first + query, full);
            tma_load_bytes(shared->statistics[ring.stage], statistics + query,
                           KEY_QUERIES * (int)sizeof(float2), full);
        }
    }
}

/* dk and dv of 64 keys; the products are transposed, rows are keys. */
template <int E>
__device__ static void
consume_queries(struct key_shared<E> *shared, const struct attention_backward_call &call,
                const struct attention_tile &tile, const struct step_range &queries, int consumer) {
    int lane = threadIdx.x & 31, warp = threadIdx.x / 32 % 4, window = call.forward.window;
    int key = tile.start + 64 * consumer, own = key + 16 * warp + lane / 4;
    float scale = call.forward.scale * LOG2_E;
    const bf16 *k = shared->k + 64 * consumer * PANEL, *v = shared->v + 64 * consumer * PANEL;
    float s[KEY_QUERIES / 8][4], dp[KEY_QUERIES / 8][4], dk[E / 8][4] = {}, dv[E / 8][4] = {};
    uint32_t p[KEY_QUERIES / 16][4], ds[KEY_QUERIES / 16][4];
    struct mbarrier_ring<KEY_STAGES> ring;
    int tiles = (queries.end - queries.first + KEY_QUERIES - 1) / KEY_QUERIES;
    int steps = tiles * call.forward.group, query = queries.first;
    wgmma_hold(dk);
    wgmma_hold(dv);
    mbarrier_wait(&shared->own_full, 0);
    for (int step = 0; step < steps; step++) {
        const float2 *statistics = shared->statistics[ring.stage] + lane % 4 * 2;
        mbarrier_wait(&shared->full[ring.stage], ring.parity);
        wgmma_fence();
        products_rows<E, ROWS, KEY_QUERIES>(s, k, shared->q[ring.stage]);
        wgmma_commit();
        wgmma_wait<0>(); /* also the last tile's products with its queries, which frees ds */
        wgmma_hold(s);
        wgmma_hold(dk);
        wgmma_fence();
        products_rows<E, ROWS, KEY_QUERIES>(dp, v, shared->dout[ring.stage]);
        wgmma_commit();
        if (step > 0 && lane == 0)
            mbarrier_arrive(&shared->empty[(ring.stage + KEY_STAGES - 1) % KEY_STAGES]);
        if (query < key + 63 || (window > 0 && key <= query + KEY_QUERIES - 1 - window))
#pragma unroll
            for (int n = 0; n < KEY_QUERIES / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    if (!is_visible(query + n * 8 + lane % 4 * 2 + i % 2, own + i / 2 * 8, window))
                        s[n][i] = -INFINITY;
#pragma unroll
        for (int n = 0; n < KEY_QUERIES / 8; n++) {
            float4 of = *(const float4 *)(statistics + n * 8); /* of two neighbouring queries */
            s[n][0] = exp2_fast(fmaf(s[n][0], scale, -of.x));
            s[n][1] = exp2_fast(fmaf(s[n][1], scale, -of.z));
            s[n][2] = exp2_fast(fmaf(s[n][2], scale, -of.x));
            s[n][3] = exp2_fast(fmaf(s[n][3], scale, -of.z));
        }
        pack_products<KEY_QUERIES>(p, s);
        wgmma_fence();
        products_columns<E, KEY_QUERIES>(dv, p, shared->dout[ring.stage]);
        wgmma_commit();
        wgmma_wait<1>();
        wgmma_hold(dp);
#pragma unroll
        for (int n = 0; n < KEY_QUERIES / 8; n++) {
            float4 of = *(const float4 *)(statistics + n * 8);
            s[n][0] *= dp[n][0] - of.y;
            s[n][1] *= dp[n][1] - of.w;
            s[n][2] *= dp[n][2] - of.y;
            s[n][3] *= dp[n][3] - of.w;
        }
        wgmma_wait<0>(); /* frees p: there are no registers for ds beside it */
        wgmma_hold(dv);
        pack_products<KEY_QUERIES>(ds, s);
        wgmma_fence();
        products_columns<E, KEY_QUERIES>(dk, ds, shared->q[ring.stage]);
        wgmma_commit();
        ring.advance();
        query += KEY_QUERIES;
        if (query >= queries.end) query = queries.first;
    }
    wgmma_wait<0>();
    wgmma_hold(dk);
    wgmma_hold(dv);
    float one[2] = {1, 1}, factor[2] = {call.forward.scale, call.forward.scale};
    int start = key + 16 * warp, valid = tile.length - start;
    store_result<E / 8>(call.dk + (tile.first + start) * call.dk_stride + tile.head * E,
                        call.dk_stride, valid, dk, factor);
    store_result<E / 8>(call.dv + (tile.first + start) * call.dv_stride + tile.head * E,
                        call.dv_stride, valid, dv, one);
}

#endif

template <typename T> __device__ static inline T *align_shared(char *memory) {
    return (T *)(((uintptr_t)memory + 1023) / 1024 * 1024);
}

/* dq: a block owns ROWS queries of one head and goes over the keys that they see. The first
 * warpgroup gives its registers away and loads, the others each sum ds k for 64 of the rows. */
template <int E>
__global__ void __launch_bounds__(THREADS, 1)
    attention_hopper_query_kernel(const __grid_constant__ struct backward_maps maps,
                                  const __grid_constant__ struct attention_backward_call call) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    extern __shared__ char memory[];
    struct query_shared<E> *shared = align_shared<struct query_shared<E>>(memory);
    struct attention_tile tile;
    if (!find_tile<ROWS, true>(&tile, call.forward, call.forward.heads, blockIdx.x)) return;
    init_barriers<QUERY_STAGES>(&shared->own_full, shared->full, shared->empty);
    struct step_range keys = {first_key(tile.start, call.forward.window) / QUERY_KEYS * QUERY_KEYS,
                              min(tile.start + ROWS, tile.length)};
    if (threadIdx.x < 128) {
        setmaxnreg_dec<24>();
        if (threadIdx.x == 0) produce_keys<E>(shared, &maps, call.forward, tile, keys);
    } else {
        setmaxnreg_inc<240>();
        consume_keys<E>(shared, call, tile, keys, threadIdx.x / 128 - 1);
    }
#endif
}

/* dk and dv: a block owns ROWS keys of one key/value head and goes over the queries that see them,
 * of every head that shares it: sums of ds^T q and p^T dout, by warpgroups as above. */
template <int E>
__global__ void __launch_bounds__(THREADS, 1)
    attention_hopper_key_kernel(const __grid_constant__ struct backward_maps maps,
                                const __grid_constant__ struct attention_backward_call call) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    extern __shared__ char memory[];
    struct key_shared<E> *shared = align_shared<struct key_shared<E>>(memory);
    struct attention_tile tile;
    if (!find_tile<ROWS, false>(&tile, call.forward, call.forward.kv_heads, blockIdx.x)) return;
    init_barriers<KEY_STAGES>(&shared->own_full, shared->full, shared->empty);
    int window = call.forward.window;
    struct step_range queries = {
        tile.start, window > 0 ? min(tile.length, tile.start + ROWS - 1 + window) : tile.length};
    if (threadIdx.x < 128) {
        setmaxnreg_dec<24>();
        if (threadIdx.x == 0) produce_queries<E>(shared, &maps, call, tile, queries);
    } else {
        setmaxnreg_inc<240>();
        consume_queries<E>(shared, call, tile, queries, threadIdx.x / 128 - 1);
    }
#endif
}

static bool make_maps(struct cuda_backend *cuda, struct backward_maps *maps,
                      const struct attention_backward_call *call, int e, int query_rows,
                      int key_rows) {
    const struct attention_call *forward = &call->forward;
    int64_t tokens = forward->tokens, queries = (int64_t)forward->heads * e;
    int64_t keys = (int64_t)forward->kv_heads * e;
    return tma_map_rows(cuda, &maps->q, forward->q, tokens, queries, forward->q_stride,
                        query_rows) &&
           tma_map_rows(cuda, &maps->dout, call->dout, tokens, queries, queries, query_rows) &&
           tma_map_rows(cuda, &maps->k, forward->k, tokens, keys, forward->k_stride, key_rows) &&
           tma_map_rows(cuda, &maps->v, forward->v, tokens, keys, forward->v_stride, key_rows);
}

template <int E>
static void launch_hopper(struct cuda_backend *cuda, const struct attention_backward_call *call) {
    const struct attention_call *forward = &call->forward;
    struct backward_maps maps;
    constexpr int QUERY_BYTES = sizeof(struct query_shared<E>) + 1024;
    constexpr int KEY_BYTES = sizeof(struct key_shared<E>) + 1024;
    if (!make_maps(cuda, &maps, call, E, ROWS, QUERY_KEYS)) return;
    CUDA_ALLOW_SHARED(cuda, attention_hopper_query_kernel<E>, QUERY_BYTES);
    CUDA_LAUNCH(cuda, attention_hopper_query_kernel<E>,
                dim3((unsigned)count_tiles(forward, forward->heads, ROWS)), THREADS, QUERY_BYTES,
                maps, *call);
    if (!make_maps(cuda, &maps, call, E, KEY_QUERIES, ROWS)) return;
    CUDA_ALLOW_SHARED(cuda, attention_hopper_key_kernel<E>, KEY_BYTES);
    CUDA_LAUNCH(cuda, attention_hopper_key_kernel<E>,
                dim3((unsigned)count_tiles(forward, forward->kv_heads, ROWS)), THREADS, KEY_BYTES,
                maps, *call);
}

bool cuda_attention_backward_hopper(struct cuda_backend *cuda,
                                    const struct attention_backward_call *call, int head_dim) {
    if (!hopper_usable(cuda) || (head_dim != 64 && head_dim != 128)) return false;
    if (head_dim == 64)
        launch_hopper<64>(cuda, call);
    else
        launch_hopper<128>(cuda, call);
    return true;
}
