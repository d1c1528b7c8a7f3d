/* The gated delta rule, forward: the walk over the chunks' states, and what is read. See delta.cuh.
 */
#include "kernels/cuda/delta.cuh"

struct delta_call make_delta_call(const struct delta_inputs *in, const struct sequences *sequences,
                                  const struct delta_shape *shape) {
    struct delta_call call;
    call.q = make_rows(in->q, in->q_stride, shape->key_dim);
    call.k = make_rows(in->k, in->k_stride, shape->key_dim);
    call.v = make_rows(in->v, in->v_stride, shape->value_dim);
    call.b = (const bf16 *)in->b;
    call.a = (const bf16 *)in->a;
    call.b_stride = in->b_stride;
    call.a_stride = in->a_stride;
    call.dt_bias = (const float *)in->dt_bias;
    call.a_log = (const float *)in->a_log;
    call.offsets = sequences->device_offsets;
    call.sequences = sequences->count;
    call.heads = shape->value_heads;
    call.per_key = shape->value_heads / shape->key_heads;
    call.dk = shape->key_dim;
    call.dv = shape->value_dim;
    return call;
}

struct delta_walk {
    bf16 *checkpoints; /* [chunk slots, HV, DV, DK] */
    float *states;     /* [slots, HV, DK, DV] or NULL */
    const int32_t *slots;
    bool resume;
};

/* 16 value channels a warp; a block takes SLICE of a head's. */
template <int WK, int WV, int SLICE>
__global__ void __launch_bounds__(2 * SLICE + LOADERS)
    delta_walk(struct delta_walk to, struct delta_scratch scratch, struct delta_call call) {
    constexpr int TILE = CHUNK * (2 * WK + SLICE), SLICES = WV / SLICE;
    __shared__ struct delta_gates gates[2];
    alignas(16) __shared__ float factor[CHUNK];
    bf16 *tiles = (bf16 *)chunk_memory;
    int slice = blockIdx.x % SLICES * SLICE, head = blockIdx.x / SLICES % call.heads;
    int sequence = blockIdx.x / SLICES / call.heads, warp = threadIdx.x / 32;
    int loader = (int)threadIdx.x - 2 * SLICE; /* of the last warps, which only load tiles */
    int first = call.offsets[sequence], tokens = call.offsets[sequence + 1] - first;
    int chunks = (tokens + CHUNK - 1) / CHUNK, row = slice + 16 * warp;
    int64_t slot = (int64_t)first / CHUNK + sequence, size = (int64_t)call.dk * call.dv;
    float state[WK / 8][4] = {}, e[8][4];
    float *kept =
        to.states ? to.states + ((int64_t)to.slots[sequence] * call.heads + head) * size : NULL;
    if (!chunks || slice >= call.dv) return;
    auto load = [&](int step) {
        bf16 *tile = tiles + step % 2 * TILE;
        int64_t cell = (slot + step) * call.heads + head;
        struct chunk_rows u = {scratch.u + cell * CHUNK * WV + slice, WV, WV, true};
        load_rows<CHUNK, WK, LOADERS>(tile, scratch_rows<WK>(scratch.w + cell * CHUNK * WK), 0, 0,
                                      CHUNK, WK, loader);
        load_rows<CHUNK, WK, LOADERS>(tile + CHUNK * WK, call.k, first + step * CHUNK,
                                      head / call.per_key, tokens - step * CHUNK, call.dk, loader);
        load_rows<CHUNK, SLICE, LOADERS>(tile + 2 * CHUNK * WK, u, 0, 0, CHUNK, SLICE, loader);
        load_gates(&gates[step % 2], scratch.gates + cell, loader);
    };
    if (loader >= 0) load(0);
    copy_commit();
    if (kept && to.resume && loader < 0)
        read_state<WK>(state, kept, row, call.dv, call.dk, 1, call.dv);
    for (int step = 0; step < chunks; step++) {
        const bf16 *w = tiles + step % 2 * TILE, *k = w + CHUNK * WK, *u = k + CHUNK * WK;
        const struct delta_gates &now = gates[step % 2];
        int64_t cell = (slot + step) * call.heads + head;
        copy_wait<0>();
        __syncthreads();
        if (loader >= 0) {
            factor[loader] = now.key[loader] * decay_of(now.sum[CHUNK - 1] - now.sum[loader]);
            if (step + 1 < chunks) load(step + 1);
            copy_commit();
        } else {
            keep_state<WK>(to.checkpoints + cell * size, state, row, call.dv, call.dk, true);
            recall<WK>(e, state, w);
#pragma unroll
            for (int n = 0; n < 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) e[n][i] = -e[n][i];
            add_transposed<SLICE>(e, u, 2 * warp);
            store_transposed<WV>(scratch.e + cell * CHUNK * WV, e, row);
            float decay = decay_of(now.sum[CHUNK - 1]);
#pragma unroll
            for (int n = 0; n < WK / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) state[n][i] *= decay;
        }
        __syncthreads();
        if (loader < 0) write_tokens<WK>(state, e, k, factor);
        __syncthreads();
    }
    if (kept && loader < 0) write_state<WK>(kept, state, row, call.dv, call.dk, 1, call.dv);
}

enum { READ_THREADS = 128 };

template <int WK, int WV> constexpr int read_shared() {
    return (CHUNK * (2 * WK + WV) + WK * WV) * (int)sizeof(bf16);
}

/* out = (q k^T * L) e + exp(sum) q S, 16 tokens a warp. */
template <int WK, int WV>
__global__ void __launch_bounds__(READ_THREADS)
    delta_read(bf16 *out, const bf16 *checkpoints, struct delta_scratch scratch,
               struct delta_call call) {
    struct chunk_part part;
    if (!find_part<CHUNK>(&part, call.offsets, call.sequences, call.heads, blockIdx.x)) return;
    __shared__ struct delta_gates gates;
    bf16 *q = (bf16 *)chunk_memory, *k = q + CHUNK * WK, *e = k + CHUNK * WK,
         *state = e + CHUNK * WV;
    int source = part.head / call.per_key, row = threadIdx.x / 32 * 16, lane = threadIdx.x & 31;
    int64_t cell = part.slot * call.heads + part.head;
    load_rows<CHUNK, WK, READ_THREADS>(q, call.q, part.first, source, part.count, call.dk);
    load_rows<CHUNK, WK, READ_THREADS>(k, call.k, part.first, source, part.count, call.dk);
    load_gates(&gates, scratch.gates + cell);
    copy_commit();
    load_rows<CHUNK, WV, READ_THREADS>(e, scratch_rows<WV>(scratch.e + cell * CHUNK * WV), 0, 0,
                                       CHUNK, WV);
    load_rows<WV, WK, READ_THREADS>(state, checkpoint_rows(checkpoints, cell, call), 0, 0, call.dv,
                                    call.dk);
    copy_commit();
    copy_wait<1>();
    __syncthreads();
    float scores[8][4] = {}, read[WV / 8][4] = {}, start[2];
    multiply_tiles<WK, CHUNK>(scores, q, row, k);
    each_pair<8>(row, 0, [&](int i, int j, int n, int at) {
#pragma unroll
        for (int x = 0; x < 2; x++)
            scores[n][at + x] = j + x <= i ? scores[n][at + x] * gates.query[i] * gates.key[j + x] *
                                                 decay_of(gates.sum[i] - gates.sum[j + x])
                                           : 0;
    });
    copy_wait<0>();
    __syncthreads();
    multiply_tiles<WK, WV>(read, q, row, state);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int token = row + lane / 4 + 8 * half;
        start[half] = gates.query[token] * decay_of(gates.sum[token]);
    }
#pragma unroll
    for (int n = 0; n < WV / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) read[n][i] *= start[i / 2];
    multiply_columns<WV, WV, CHUNK>(read, scores, e, 0);
    const float one[2] = {1, 1};
    int64_t stride = (int64_t)call.heads * call.dv;
    bf16 *to = out + (part.first + row) * stride + (int64_t)part.head * call.dv;
    if (call.dv == WV && (uintptr_t)out % 16 == 0)
        store_result<WV / 8>(to, stride, part.count - row, read, one);
    else
        store_result<WV / 8, false>(to, stride, part.count - row, read, one, call.dv);
}

template <int WK, int WV> struct launch_forward {
    template <int SLICE>
    static void walk(struct cuda_backend *cuda, const struct delta_walk *to,
                     const struct delta_scratch *scratch, const struct delta_call *call) {
        constexpr int SHARED = 2 * CHUNK * (2 * WK + SLICE) * (int)sizeof(bf16);
        CUDA_ALLOW_SHARED(cuda, (delta_walk<WK, WV, SLICE>), SHARED);
        CUDA_LAUNCH(cuda, (delta_walk<WK, WV, SLICE>),
                    (unsigned)(call->sequences * call->heads * (WV / SLICE)), 2 * SLICE + LOADERS,
                    SHARED, *to, *scratch, *call);
    }

    static void run(struct cuda_backend *cuda, bf16 *out, const struct delta_walk *to,
                    const struct delta_scratch *scratch, const struct delta_call *call,
                    unsigned parts) {
        if (call->sequences * call->heads * (WV / 64) >= cuda->multiprocessors)
            walk<64>(cuda, to, scratch, call);
        else
            walk<32>(cuda, to, scratch, call);
        CUDA_ALLOW_SHARED(cuda, (delta_read<WK, WV>), (read_shared<WK, WV>()));
        CUDA_LAUNCH(cuda, (delta_read<WK, WV>), parts, READ_THREADS, (read_shared<WK, WV>()), out,
                    to->checkpoints, *scratch, *call);
    }
};

static size_t cuda_delta_checkpoint_bytes(struct backend *backend,
                                          const struct sequences *sequences,
                                          const struct delta_shape *shape) {
    (void)backend;
    return (size_t)(count_slots(sequences, CHUNK) * shape->value_heads) * (size_t)shape->key_dim *
           (size_t)shape->value_dim * sizeof(bf16);
}

static void cuda_delta(struct backend *backend, struct act *out, struct acc *checkpoints,
                       struct acc *states, const int32_t *slots, bool resume,
                       const struct delta_inputs *in, const struct sequences *sequences,
                       const struct delta_shape *shape) {
    struct cuda_backend *cuda = cuda_of(backend);
    struct delta_call call = make_delta_call(in, sequences, shape);
    int64_t cells = count_slots(sequences, CHUNK) * shape->value_heads;
    int64_t w = CHUNK * delta_width(shape->key_dim), u = CHUNK * delta_width(shape->value_dim);
    size_t bytes =
        (size_t)cells * (sizeof(struct delta_gates) + (size_t)(w + 2 * u) * sizeof(bf16));
    size_t own = checkpoints ? 0 : cuda_delta_checkpoint_bytes(backend, sequences, shape);
    char *memory = (char *)cuda_scratch(cuda, bytes + own);
    if (!memory) return;
    struct delta_scratch scratch = {};
    scratch.gates = (struct delta_gates *)memory;
    scratch.w = (bf16 *)(scratch.gates + cells);
    scratch.u = scratch.w + cells * w;
    scratch.e = scratch.u + cells * u;
    struct delta_walk to = {checkpoints ? (bf16 *)checkpoints : (bf16 *)(memory + bytes),
                            (float *)states, slots, resume && states != NULL};
    cuda_delta_prepare(cuda, &scratch, &call, NULL, sequences, shape);
    delta_choose<launch_forward>(cuda, shape, (bf16 *)out, &to, &scratch, &call,
                                 count_parts(sequences, shape->value_heads, CHUNK));
}

const struct delta_ops cuda_delta_ops = {
    .delta_checkpoint_bytes = cuda_delta_checkpoint_bytes,
    .delta = cuda_delta,
    .delta_backward = cuda_delta_backward,
    .delta_step = cuda_delta_step,
};
