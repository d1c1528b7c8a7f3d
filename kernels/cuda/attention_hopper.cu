/* Causal attention on Hopper, after Shah et al. 2024: one producer thread feeds the copy engine,
 * two warpgroups of consumers own 64 queries each. Within a consumer the softmax of one tile of
 * keys runs beside the products of its neighbours; between the two, named barriers make them take
 * turns at issuing products, so that one's softmax meets the other's products. Blocks stay on their
 * multiprocessor and draw tiles from a counter: the next tile's loads begin while this one ends.
 * Which block computes a tile does not change its bits. */
#include <math.h>

#include "kernels/cuda/attention_hopper.cuh"

enum { CONSUMERS = 2, ROWS = 64 * CONSUMERS, KEYS = 128, STAGES = 2 };
enum { THREADS = 128 * (1 + CONSUMERS), CONSUMER_WARPS = 4 * CONSUMERS };

template <int E> struct forward_shared {
    alignas(1024) bf16 q[ROWS * E];
    alignas(1024) bf16 k[STAGES][KEYS * E];
    alignas(1024) bf16 v[STAGES][KEYS * E];
    uint64_t q_full, q_empty, k_full[STAGES], k_empty[STAGES], v_full[STAGES], v_empty[STAGES];
    int64_t work; /* the tile's number; -1: no more */
};

struct forward_maps {
    CUtensorMap q, k, v;
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

struct key_range {
    int first, last; /* starts of tiles */
};

__device__ static struct key_range tile_keys(const struct attention_tile *tile, int window) {
    int last_row = min(tile->start + ROWS, tile->length) - 1;
    return {first_key(tile->start, window) / KEYS * KEYS, last_row / KEYS * KEYS};
}

template <int E>
__device__ static void produce(struct forward_shared<E> *shared, const struct forward_maps *maps,
                               const struct attention_call &call, unsigned long long *counter,
                               int64_t tiles) {
    struct mbarrier_ring<STAGES> ring;
    for (int parity = 0;; parity ^= 1) {
        struct attention_tile tile;
        int64_t work;
        do work = (int64_t)atomicAdd(counter, 1ULL);
        while (work < tiles && !find_tile<ROWS, true>(&tile, call, call.heads, work));
        mbarrier_wait(&shared->q_empty, parity ^ 1);
        shared->work = work < tiles ? work : -1;
        if (work >= tiles) {
            mbarrier_arrive(&shared->q_full);
            return;
        }
        mbarrier_expect_tx(&shared->q_full, ROWS * E * (int)sizeof(bf16));
        tma_load_tile<ROWS, E>(shared->q, &maps->q, tile.head * E, tile.first + tile.start,
                               &shared->q_full);
        int kv_head = tile.head / call.group;
        struct key_range range = tile_keys(&tile, call.window);
        for (int key = range.last; key >= range.first; key -= KEYS) {
            int at = ring.stage;
            mbarrier_wait(&shared->k_empty[at], ring.parity ^ 1);
            mbarrier_expect_tx(&shared->k_full[at], KEYS * E * (int)sizeof(bf16));
            tma_load_tile<KEYS, E>(shared->k[at], &maps->k, kv_head * E, tile.first + key,
                                   &shared->k_full[at]);
            mbarrier_wait(&shared->v_empty[at], ring.parity ^ 1);
            mbarrier_expect_tx(&shared->v_full[at], KEYS * E * (int)sizeof(bf16));
            tma_load_tile<KEYS, E>(shared->v[at], &maps->v, kv_head * E, tile.first + key,
                                   &shared->v_full[at]);
            ring.advance();
        }
    }
}

/* A thread's two rows of the online softmax; sums are over this lane's columns only. */
struct softmax_rows {
    float maximum[2], sum[2];
};

/* As update_row of attention.cu for both rows; `shrink` receives their factors. */
__device__ static inline void update_rows(float (&s)[KEYS / 8][4], struct softmax_rows *rows,
                                          float (&shrink)[2], float scale) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float largest = fmaxf(s[0][2 * half], s[0][2 * half + 1]);
#pragma unroll
        for (int n = 1; n < KEYS / 8; n++)
            largest = fmaxf(largest, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
        largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
        largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
        largest = fmaxf(rows->maximum[half], largest * scale);
        float base = largest == -INFINITY ? 0.0f : largest, total = 0;
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 2 * half; i < 2 * half + 2; i++) {
                s[n][i] = exp2_fast(fmaf(s[n][i], scale, -base));
                total += s[n][i];
            }
        shrink[half] = exp2_fast(rows->maximum[half] - base);
        rows->sum[half] = rows->sum[half] * shrink[half] + total;
        rows->maximum[half] = largest;
    }
}

__device__ static inline void mask_tile(float (&s)[KEYS / 8][4], int row, int key, int window) {
    int lane = threadIdx.x & 31;
    row += threadIdx.x / 32 % 4 * 16 + lane / 4;
    key += lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (!is_visible(row + i / 2 * 8, key + n * 8 + i % 2, window)) s[n][i] = -INFINITY;
}

template <int E>
__device__ static void consume(struct forward_shared<E> *shared, const struct attention_call &call,
                               bf16 *out, float *lse, int consumer) {
    int lane = threadIdx.x & 31, warp = threadIdx.x / 32 % 4;
    float scale = call.scale * LOG2_E;
    struct mbarrier_ring<STAGES> k_ring, v_ring;
    auto release = [&](uint64_t *barrier) {
        if (lane == 0) mbarrier_arrive(barrier);
    };
    if (consumer == 1) named_barrier_arrive(1);
    for (int parity = 0;; parity ^= 1) {
        mbarrier_wait(&shared->q_full, parity);
        int64_t work = shared->work;
        if (work < 0) return;
        struct attention_tile tile;
        (void)find_tile<ROWS, true>(&tile, call, call.heads, work);
        struct key_range range = tile_keys(&tile, call.window);
        int row = tile.start + 64 * consumer; /* this consumer's first */
        const bf16 *q = shared->q + 64 * consumer * PANEL;
        auto mask = [&](float(&s)[KEYS / 8][4], int key) {
            if (key + KEYS - 1 > row || (call.window > 0 && key <= row + 63 - call.window))
                mask_tile(s, row, key, call.window);
        };

        float s[KEYS / 8][4], result[E / 8][4] = {}, shrink[2];
        uint32_t p[KEYS / 16][4];
        struct softmax_rows rows = {{-INFINITY, -INFINITY}, {0, 0}};
        mbarrier_wait(&shared->k_full[k_ring.stage], k_ring.parity);
        wgmma_fence();
        products_rows<E, ROWS, KEYS>(s, q, shared->k[k_ring.stage]);
        wgmma_commit();
        wgmma_wait<0>();
        wgmma_hold(s);
        release(&shared->k_empty[k_ring.stage]);
        k_ring.advance();
        mask(s, range.last);
        update_rows(s, &rows, shrink, scale);
        pack_products<KEYS>(p, s);
        for (int key = range.last - KEYS; key >= range.first; key -= KEYS) {
            mbarrier_wait(&shared->k_full[k_ring.stage], k_ring.parity);
            named_barrier_sync(1 + consumer);
            wgmma_fence();
            products_rows<E, ROWS, KEYS>(s, q, shared->k[k_ring.stage]);
            wgmma_commit();
            mbarrier_wait(&shared->v_full[v_ring.stage], v_ring.parity);
            wgmma_fence();
            products_columns<E, KEYS>(result, p, shared->v[v_ring.stage]);
            wgmma_commit();
            named_barrier_arrive(2 - consumer);
            wgmma_wait<1>();
            wgmma_hold(s);
            release(&shared->k_empty[k_ring.stage]);
            k_ring.advance();
            mask(s, key);
            update_rows(s, &rows, shrink, scale);
            wgmma_wait<0>();
            wgmma_hold(result);
            release(&shared->v_empty[v_ring.stage]);
            v_ring.advance();
#pragma unroll
            for (int n = 0; n < E / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) result[n][i] *= shrink[i / 2];
            pack_products<KEYS>(p, s);
        }
        release(&shared->q_empty);
        mbarrier_wait(&shared->v_full[v_ring.stage], v_ring.parity);
        wgmma_fence();
        products_columns<E, KEYS>(result, p, shared->v[v_ring.stage]);
        wgmma_commit();
        wgmma_wait<0>();
        wgmma_hold(result);
        release(&shared->v_empty[v_ring.stage]);
        v_ring.advance();

        float factor[2];
        int start = row + 16 * warp;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float sum = sum_lanes<4>(rows.sum[half]);
            int at = start + lane / 4 + 8 * half;
            factor[half] = 1 / sum;
            if (lse && lane % 4 == 0 && at < tile.length)
                lse[tile.head * call.tokens + tile.first + at] =
                    (rows.maximum[half] + log2f(sum)) * LN_2;
        }
        int64_t out_stride = (int64_t)call.heads * E;
        store_result<E / 8>(out + (tile.first + start) * out_stride + tile.head * E, out_stride,
                            tile.length - start, result, factor);
    }
}

#endif

/* out and lse of all tiles. Of the three warpgroups the first gives its registers away and one of
 * its threads loads q, k and v by barriers; the others each compute 64 rows of the tile. */
template <int E>
__global__ void __launch_bounds__(THREADS, 1)
    attention_hopper_kernel(const __grid_constant__ struct forward_maps maps,
                            const __grid_constant__ struct attention_call call, bf16 *out,
                            float *lse, unsigned long long *counter, int64_t tiles) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    extern __shared__ char memory[];
    struct forward_shared<E> *shared =
        (struct forward_shared<E> *)(((uintptr_t)memory + 1023) / 1024 * 1024);
    if (threadIdx.x == 0) {
        mbarrier_init(&shared->q_full, 1);
        mbarrier_init(&shared->q_empty, CONSUMER_WARPS);
        for (int i = 0; i < STAGES; i++) {
            mbarrier_init(&shared->k_full[i], 1);
            mbarrier_init(&shared->v_full[i], 1);
            mbarrier_init(&shared->k_empty[i], CONSUMER_WARPS);
            mbarrier_init(&shared->v_empty[i], CONSUMER_WARPS);
        }
        mbarrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        setmaxnreg_dec<40>();
        if (threadIdx.x == 0) produce<E>(shared, &maps, call, counter, tiles);
    } else {
        setmaxnreg_inc<232>();
        consume<E>(shared, call, out, lse, threadIdx.x / 128 - 1);
    }
#endif
}

template <int E>
static void launch_hopper(struct cuda_backend *cuda, const struct attention_call *call, bf16 *out,
                          float *lse) {
    struct forward_maps maps;
    unsigned long long *counter = (unsigned long long *)cuda_scratch(cuda, sizeof *counter);
    if (!counter ||
        !tma_map_rows(cuda, &maps.q, call->q, call->tokens, (int64_t)call->heads * E,
                      call->q_stride, ROWS) ||
        !tma_map_rows(cuda, &maps.k, call->k, call->tokens, (int64_t)call->kv_heads * E,
                      call->k_stride, KEYS) ||
        !tma_map_rows(cuda, &maps.v, call->v, call->tokens, (int64_t)call->kv_heads * E,
                      call->v_stride, KEYS))
        return;
    int64_t tiles = count_tiles(call, call->heads, ROWS);
    int blocks = tiles < cuda->multiprocessors ? (int)tiles : cuda->multiprocessors;
    constexpr int BYTES = sizeof(struct forward_shared<E>) + 1024;
    (void)cuda_check(cuda, cudaMemsetAsync(counter, 0, sizeof *counter, cuda->stream),
                     "attention's counter");
    CUDA_ALLOW_SHARED(cuda, attention_hopper_kernel<E>, BYTES);
    CUDA_LAUNCH(cuda, attention_hopper_kernel<E>, dim3((unsigned)blocks), THREADS, BYTES, maps,
                *call, out, lse, counter, tiles);
}

bool cuda_attention_hopper(struct cuda_backend *cuda, bf16 *out, float *lse,
                           const struct attention_call *call, int head_dim) {
    if (!hopper_usable(cuda) || (head_dim != 64 && head_dim != 128)) return false;
    if (head_dim == 64)
        launch_hopper<64>(cuda, call, out, lse);
    else
        launch_hopper<128>(cuda, call, out, lse);
    return true;
}
