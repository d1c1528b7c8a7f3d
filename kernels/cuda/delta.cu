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

template <int WK, int SLICE> constexpr int walk_tile = CHUNK *(2 * WK + SLICE);

/* From a chunk's state S (of SLICE value channels, in registers, 16 a warp) its checkpoint, e =
 * u - w S to scratch, and the next chunk's state exp(last) S + (exp(last - sum) k)^T e. The last
 * warps only load the next chunks' tiles. */
template <int WK, int WV, int SLICE>
__global__ void __launch_bounds__(2 * SLICE + LOADERS, 1)
    delta_walk(struct delta_walk to, struct delta_scratch scratch, struct delta_call call) {
    constexpr int SLICES = WV / SLICE, TILE = walk_tile<WK, SLICE>, STAGES = walk_stages<TILE>;
    __shared__ struct delta_gates gates[STAGES];
    int slice = blockIdx.x % SLICES * SLICE, head = blockIdx.x / SLICES % call.heads;
    int sequence = blockIdx.x / SLICES / call.heads, warp = threadIdx.x / 32;
    int loader = (int)threadIdx.x - 2 * SLICE;
    int first = call.offsets[sequence], tokens = call.offsets[sequence + 1] - first;
    int chunks = (tokens + CHUNK - 1) / CHUNK, row = slice + 16 * warp;
    int64_t slot = (int64_t)first / CHUNK + sequence, size = (int64_t)call.dk * call.dv;
    float state[WK / 8][4] = {}, e[8][4];
    float *kept =
        to.states ? to.states + ((int64_t)to.slots[sequence] * call.heads + head) * size : NULL;
    if (!chunks || slice >= call.dv) return;
    auto load = [&](int step) {
        bf16 *tile = first_panel() + step % STAGES * TILE;
        int64_t cell = (slot + step) * call.heads + head;
        struct chunk_rows u = {scratch.u + cell * CHUNK * WV + slice, WV, WV, true};
        if (step < chunks) {
            load_panels<CHUNK, WK, LOADERS, true>(
                tile, scratch_rows<WK>(scratch.w + cell * CHUNK * WK), 0, 0, CHUNK, WK, loader);
            load_panels<CHUNK, SLICE, LOADERS, true>(tile + 2 * CHUNK * WK, u, 0, 0, CHUNK, SLICE,
                                                     loader);
            load_panels<CHUNK, WK, LOADERS>(tile + CHUNK * WK, call.k, first + step * CHUNK,
                                            head / call.per_key, tokens - step * CHUNK, call.dk,
                                            loader);
            load_gates(&gates[step % STAGES], scratch.gates + cell, loader);
        }
        copy_commit();
    };
    if (loader >= 0)
        for (int step = 0; step + 1 < STAGES; step++) load(step);
    else if (kept && to.resume)
        read_state<WK>(state, kept, row, call.dv, call.dk, 1, call.dv);
    for (int step = 0; step < chunks; step++) {
        const bf16 *w = first_panel() + step % STAGES * TILE, *k = w + CHUNK * WK,
                   *u = k + CHUNK * WK;
        const struct delta_gates &now = gates[step % STAGES];
        int64_t cell = (slot + step) * call.heads + head;
        panels_ready<STAGES - 2>(); /* and the tiles before have been used */
        if (loader >= 0) {
            load(step + STAGES - 1);
            continue;
        }
        uint32_t left[WK / 16][4], written[4][4];
        recall<WK>(e, left, state, w);
        keep_state<WK>(to.checkpoints + cell * size, state, row, call.dv, call.dk, true);
        finish_product(e);
        scale_all(e, -1);
        add_transposed(e, u, 2 * warp);
        scale_all(state, decay_of(now.sum[CHUNK - 1]));
        pack_columns(written, e, now.end);
        product_registers<true>(state, written, k);
        store_transposed<WV>(scratch.e + cell * CHUNK * WV, e, row);
        finish_product(state);
    }
    if (kept && loader < 0) write_state<WK>(kept, state, row, call.dv, call.dk, 1, call.dv);
}

enum { READ_THREADS = 128 };

template <int WK, int WV> constexpr int read_shared() {
    return (CHUNK * (2 * WK + WV) + WK * WV) * (int)sizeof(bf16) + PANEL_ALIGNMENT;
}

/* A block a chunk of a value head: out = (q k^T * L) e + exp(sum) q S, 16 tokens a warp. */
template <int WK, int WV>
__global__ void __launch_bounds__(READ_THREADS)
    delta_read(bf16 *out, const bf16 *checkpoints, struct delta_scratch scratch,
               struct delta_call call) {
    struct chunk_part part;
    if (!find_part<CHUNK>(&part, call.offsets, call.sequences, call.heads, blockIdx.x)) return;
    __shared__ struct delta_gates gates;
    __shared__ float query[CHUNK];
    bf16 *q = first_panel(), *k = q + CHUNK * WK, *e = k + CHUNK * WK, *state = e + CHUNK * WV;
    int source = part.head / call.per_key, row = threadIdx.x / 32 * 16, lane = threadIdx.x & 31;
    int64_t cell = part.slot * call.heads + part.head;
    load_panels<CHUNK, WK, READ_THREADS>(q, call.q, part.first, source, part.count, call.dk);
    load_panels<CHUNK, WK, READ_THREADS>(k, call.k, part.first, source, part.count, call.dk);
    load_gates(&gates, scratch.gates + cell);
    copy_commit();
    load_panels<WV, WK, READ_THREADS>(state, checkpoint_rows(checkpoints, cell, call), 0, 0,
                                      call.dv, call.dk);
    load_panels<CHUNK, WV, READ_THREADS>(e, scratch_rows<WV>(scratch.e + cell * CHUNK * WV), 0, 0,
                                         CHUNK, WV);
    copy_commit();
    panels_ready<1>();
    float scores[8][4] = {}, read[WV / 8][4] = {}, start[2];
    product_shared<false, WK / 16>(scores, q, k);
    find_lengths<WK>(query, q, 1 / sqrtf((float)call.dk));
    finish_product(scores);
    panels_ready<0>();
    product_shared<false, WK / 16, WV>(read, q, state);
    each_pair<8>(row, 0, [&](int i, int j, int n, int at) {
#pragma unroll
        for (int x = 0; x < 2; x++)
            scores[n][at + x] = j + x <= i ? scores[n][at + x] * query[i] * gates.key[j + x] *
                                                 decay_of(gates.sum[i] - gates.sum[j + x])
                                           : 0;
    });
    uint32_t left[4][4];
    pack_result(left, scores);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int token = row + lane / 4 + 8 * half;
        start[half] = query[token] * decay_of(gates.sum[token]);
    }
    finish_product(read);
#pragma unroll
    for (int n = 0; n < WV / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) read[n][i] *= start[i / 2];
    product_registers<true>(read, left, e);
    finish_product(read);
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
        constexpr int TILE = walk_tile<WK, SLICE>;
        constexpr int SHARED = walk_stages<TILE> * TILE * (int)sizeof(bf16) + PANEL_ALIGNMENT;
        CUDA_ALLOW_SHARED(cuda, (delta_walk<WK, WV, SLICE>), SHARED);
        CUDA_LAUNCH(cuda, (delta_walk<WK, WV, SLICE>),
                    (unsigned)(call->sequences * call->heads * (WV / SLICE)), 2 * SLICE + LOADERS,
                    SHARED, *to, *scratch, *call);
    }

    static void run(struct cuda_backend *cuda, bf16 *out, const struct delta_walk *to,
                    const struct delta_scratch *scratch, const struct delta_call *call,
                    unsigned parts) {
        /* A multiprocessor holds one block. */
        if (call->sequences * call->heads * (WV / 64) > cuda->multiprocessors)
            walk<WV>(cuda, to, scratch, call);
        else
            walk<64>(cuda, to, scratch, call);
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
