/* What the gated delta rule's forward and backward pass share. Chunks are prepared side by side:
 * what is written at a chunk's tokens is e = u - w S of the state S before it, where u = T (beta
 * v), w = T (beta exp(sum) k) and T the inverse of 1 + beta L k k^T below the diagonal. Then a walk
 * over a sequence's chunks passes the state on, a head's value channels shared out among blocks,
 * and the outputs are found side by side again. States are kept transposed, [DV, DK]. */
#ifndef KERNELS_CUDA_DELTA_CUH
#define KERNELS_CUDA_DELTA_CUH

#include "kernels/cuda/panels.cuh"
#include "kernels/ops/delta.h"

struct delta_call {
    struct chunk_rows q, k, v;
    const bf16 *b, *a;
    int64_t b_stride, a_stride;
    const float *dt_bias, *a_log;
    const int32_t *offsets;
    int sequences, heads, per_key, dk, dv; /* value heads; of one key head; DK, DV */
};

/* Of one chunk of a value head: sums of the decays' logarithms, beta, the factors that normalise
 * keys and queries, and these times the decays to the chunk's end and from its start. Past the end
 * beta is 0. Those of queries only where a backward pass follows. */
struct alignas(16) delta_gates {
    float sum[CHUNK], beta[CHUNK], key[CHUNK], query[CHUNK], end[CHUNK], start[CHUNK];
};

/* By chunk slots and value heads; tiles as wide as the kernels' (WK, WV), zeros past the end. */
struct delta_scratch {
    struct delta_gates *gates;
    bf16 *w, *u, *e;    /* [64, WK], [64, WV] twice: e may be u */
    bf16 *solve;        /* T [64, 64] */
    bf16 *de, *dstates; /* [64, WV]; [WV, WK]: of the state after the chunk */
    float *dq, *dk;     /* [tokens, HV, DK], where value heads share key heads */
    float *partial;     /* [2][chunk slots, HV]: da_log, ddt_bias */
};

struct delta_call make_delta_call(const struct delta_inputs *in, const struct sequences *sequences,
                                  const struct delta_shape *shape);

/* In delta's table: delta_backward.cu, recurrent_step.cu. */
void cuda_delta_backward(struct backend *backend, const struct delta_gradients *gradients,
                         const struct act *dout, const struct acc *checkpoints,
                         const struct delta_inputs *in, const struct sequences *sequences,
                         const struct delta_shape *shape);
void cuda_delta_step(struct backend *backend, struct act *out, struct acc *states,
                     const int32_t *slots, const struct delta_inputs *in, int count,
                     const struct delta_shape *shape);

/* A tile of a slot's scratch. */
template <int E> __device__ inline struct chunk_rows scratch_rows(const bf16 *at) {
    struct chunk_rows rows = {at, E, E, true};
    return rows;
}

/* A chunk's checkpoint [DV, DK]. */
__device__ inline struct chunk_rows checkpoint_rows(const bf16 *checkpoints, int64_t cell,
                                                    const struct delta_call &call) {
    struct chunk_rows rows = {checkpoints + cell * call.dv * call.dk, call.dk, call.dk,
                              call.dk % 8 == 0};
    return rows;
}

enum { LOADERS = 128 }; /* threads of a walk that only load tiles */

/* Tiles that a walk has on their way: as many as fit. */
template <int TILE> constexpr int walk_stages = 3 * TILE *(int)sizeof(bf16) <= 200 * 1024 ? 3 : 2;

__device__ inline void load_gates(struct delta_gates *to, const struct delta_gates *from,
                                  int thread = threadIdx.x) {
    static_assert(sizeof *to / 16 <= LOADERS, "a piece a thread");
    if (thread < (int)sizeof *to / 16)
        copy_async((bf16 *)to + thread * 8, (const bf16 *)from + thread * 8, true);
}

/* The transpose of eight rows of eight BF16 elements, a pair in each lane. */
__device__ inline uint32_t transpose_pairs(uint32_t pair) {
    uint32_t to;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(to) : "r"(pair));
    return to;
}

/* A result [16, 64] of value channels by tokens, to rows of tokens [64, E] from column `column` on.
 */
template <int E>
__device__ inline void store_transposed(bf16 *to, const float (&e)[8][4], int column) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            *(uint32_t *)(to + (8 * n + lane / 4) * E + column + 8 * half + lane % 4 * 2) =
                transpose_pairs(pack_bf16(e[n][2 * half], e[n][2 * half + 1]));
}

/* e [16, 64] += the transpose of 16 columns of a tile [64, ..]. */
__device__ inline void add_transposed(float (&e)[8][4], const bf16 *tile, int piece) {
#pragma unroll
    for (int step = 0; step < 4; step++) {
        uint32_t a[4];
        load_panel_columns(a, tile, piece, step);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            e[2 * step + i / 2][i % 2 * 2] += __uint_as_float(a[i] << 16);
            e[2 * step + i / 2][i % 2 * 2 + 1] += __uint_as_float(a[i] & 0xffff0000u);
        }
    }
}

/* Begins e [64, 64], rows of the state's, = a state [64, E] in registers times the transpose of a
 * tile [64, E]; `left` is in use until the product is finished. */
template <int E>
__device__ inline void recall(float (&e)[8][4], uint32_t (&left)[E / 16][4],
                              const float (&state)[E / 8][4], const bf16 *tile) {
    pack_result(left, state);
    clear_result(e);
    product_registers<false>(e, left, tile);
}

/* e as a left operand, columns times their factors. */
__device__ inline void pack_columns(uint32_t (&to)[4][4], const float (&e)[8][4],
                                    const float *factor) {
    float scaled[8][4];
#pragma unroll
    for (int i = 0; i < 32; i++) scaled[i / 4][i % 4] = e[i / 4][i % 4];
    scale_columns(scaled, factor);
    pack_result(to, scaled);
}

template <int N8> __device__ inline void scale_all(float (&d)[N8][4], float by) {
#pragma unroll
    for (int n = 0; n < N8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) d[n][i] *= by;
}

/* 1 / sqrt(sum of squares + 1e-6) times `scale` of 64 rows, by two threads each of 128. */
template <int E> __device__ inline void find_lengths(float *to, const bf16 *tile, float scale) {
    int row = threadIdx.x / 2;
    float squares = 0;
    for (int piece = threadIdx.x % 2; piece < E / 8; piece += 2) {
        float values[8];
        load(values, tile + panel_place(row, piece));
#pragma unroll
        for (int i = 0; i < 8; i++) squares += values[i] * values[i];
    }
    squares = sum_lanes<2>(squares);
    if (threadIdx.x % 2 == 0) to[row] = scale / sqrtf(squares + 1e-6f);
}

/* Calls `launch` with the tiles' sizes that hold DK and DV; false, with a fault, where none does.
 */
template <template <int, int> class LAUNCH, typename... ARGUMENTS>
static bool delta_choose(struct cuda_backend *cuda, const struct delta_shape *shape,
                         ARGUMENTS... arguments) {
    int dk = shape->key_dim, dv = shape->value_dim;
    if (dk > 128 || dv > 128) {
        cuda_fail(cuda, "delta: heads of %d and %d channels are too large", dk, dv);
        return false;
    }
    if (dk <= 64 && dv <= 64)
        LAUNCH<64, 64>::run(cuda, arguments...);
    else if (dk <= 64)
        LAUNCH<64, 128>::run(cuda, arguments...);
    else if (dv <= 64)
        LAUNCH<128, 64>::run(cuda, arguments...);
    else
        LAUNCH<128, 128>::run(cuda, arguments...);
    return true;
}

/* Tiles' widths for a width of heads. */
static inline int delta_width(int width) {
    return width <= 64 ? 64 : 128;
}

/* Of the backward pass: what it takes and writes. */
struct delta_back {
    struct chunk_rows dout;
    const bf16 *checkpoints;
    bf16 *dq, *dk, *dv, *db, *da;
    int64_t dq_stride, dk_stride, dv_stride, db_stride, da_stride;
    int64_t slots; /* chunk slots */
    bool parameters;
};

/* What the backward pass also finds for each chunk: dout's share of de (in `de`), e instead of u,
 * T. */
struct delta_prepare_back {
    struct chunk_rows dout;
    const bf16 *checkpoints;
};

/* delta_prepare.cu; `back` may be NULL. */
void cuda_delta_prepare(struct cuda_backend *cuda, const struct delta_scratch *scratch,
                        const struct delta_call *call, const struct delta_prepare_back *back,
                        const struct sequences *sequences, const struct delta_shape *shape);

/* delta_gradients.cu: the last part, once de and the states' gradients are in scratch. */
void cuda_delta_gradients(struct cuda_backend *cuda, const struct delta_back *to,
                          const struct delta_scratch *scratch, const struct delta_call *call,
                          const struct sequences *sequences, const struct delta_shape *shape);

#endif
