/* The gated delta rule's backward pass. Chunks are prepared as in the forward pass, with e found
 * from their checkpoints; a walk from the last chunk to the first passes the state's gradient on,
 * transposed as the state; then every chunk of every head finds its gradients by itself. Formula:
 * kernels/cpu/delta_backward.c. */
#include "kernels/cuda/delta.cuh"

template <int WK, int SLICE> constexpr int walk_tile = CHUNK *(3 * WK + 2 * SLICE);

/* From the gradient dS of the state after a chunk (of SLICE value channels, in registers, 16 a
 * warp): dS to scratch, de = dout's share + exp(last - sum) k dS to scratch.de, which holds the
 * share, and the gradient before the chunk, exp(last) dS + (exp(sum) q)^T dout - w^T de. The last
 * warps only load the tiles of the chunk before. */
template <int WK, int WV, int SLICE>
__global__ void __launch_bounds__(2 * SLICE + LOADERS, 1)
    delta_walk_back(struct delta_scratch scratch, struct delta_call call, struct chunk_rows dout) {
    constexpr int SLICES = WV / SLICE, TILE = walk_tile<WK, SLICE>, STAGES = walk_stages<TILE>;
    __shared__ struct delta_gates gates[STAGES];
    int slice = blockIdx.x % SLICES * SLICE, head = blockIdx.x / SLICES % call.heads;
    int sequence = blockIdx.x / SLICES / call.heads, warp = threadIdx.x / 32;
    int loader = (int)threadIdx.x - 2 * SLICE;
    int first = call.offsets[sequence], tokens = call.offsets[sequence + 1] - first;
    int chunks = (tokens + CHUNK - 1) / CHUNK, row = slice + 16 * warp;
    int source = head / call.per_key;
    int64_t slot = (int64_t)first / CHUNK + sequence;
    float dstate[WK / 8][4] = {}, de[8][4];
    auto load = [&](int step) {
        bf16 *tile = first_panel() + step % STAGES * TILE;
        int place = (chunks - 1 - step) * CHUNK;
        int64_t cell = (slot + chunks - 1 - step) * call.heads + head;
        struct chunk_rows share = {scratch.de + cell * CHUNK * WV + slice, WV, WV, true};
        struct chunk_rows part = dout;
        part.at += slice;
        if (step < chunks) {
            load_panels<CHUNK, WK, LOADERS, true>(
                tile, scratch_rows<WK>(scratch.w + cell * CHUNK * WK), 0, 0, CHUNK, WK, loader);
            load_panels<CHUNK, WK, LOADERS>(tile + CHUNK * WK, call.k, first + place, source,
                                            tokens - place, call.dk, loader);
            load_panels<CHUNK, WK, LOADERS>(tile + 2 * CHUNK * WK, call.q, first + place, source,
                                            tokens - place, call.dk, loader);
            load_panels<CHUNK, SLICE, LOADERS, true>(tile + 3 * CHUNK * WK, share, 0, 0, CHUNK,
                                                     SLICE, loader);
            load_panels<CHUNK, SLICE, LOADERS>(tile + CHUNK * (3 * WK + SLICE), part, first + place,
                                               head, tokens - place, call.dv - slice, loader);
            load_gates(&gates[step % STAGES], scratch.gates + cell, loader);
        }
        copy_commit();
    };
    if (!chunks) return;
    if (loader >= 0)
        for (int step = 0; step + 1 < STAGES; step++) load(step);
    for (int step = 0; step < chunks; step++) {
        const bf16 *w = first_panel() + step % STAGES * TILE, *k = w + CHUNK * WK,
                   *q = k + CHUNK * WK;
        const bf16 *share = q + CHUNK * WK, *part = share + CHUNK * SLICE;
        const struct delta_gates &now = gates[step % STAGES];
        int64_t cell = (slot + chunks - 1 - step) * call.heads + head;
        const float one[2] = {1, 1};
        panels_ready<STAGES - 2>(); /* and the tiles before have been used */
        if (loader >= 0) {
            load(step + STAGES - 1);
            continue;
        }
        uint32_t left[WK / 16][4], read[4][4], minus[4][4];
        recall<WK>(de, left, dstate, k);
        store_result<WK / 8>(scratch.dstates + (cell * WV + row) * WK, WK, CHUNK, dstate, one);
        load_panel_square<4, true>(read, part, 16 * warp, now.start);
        finish_product(de);
        scale_columns(de, now.end);
        add_transposed(de, share, 2 * warp);
        scale_all(dstate, decay_of(now.sum[CHUNK - 1]));
        pack_result(minus, de);
#pragma unroll
        for (int i = 0; i < 16; i++) minus[i / 4][i % 4] ^= 0x80008000u;
        product_registers<true>(dstate, read, q);
        product_registers<true>(dstate, minus, w);
        store_transposed<WV>(scratch.de + cell * CHUNK * WV, de, row);
        finish_product(dstate);
    }
}

enum { SUM_THREADS = 128 };

/* to [tokens, HK*DK] = the sums over the value heads of each key head of parts [tokens, HV, DK]. */
__global__ void delta_sum_heads(bf16 *to, int64_t stride, const float *parts, int keys, int per_key,
                                int dk) {
    int column = (int)(blockIdx.y * SUM_THREADS + threadIdx.x);
    if (column >= keys * dk) return;
    const float *from =
        parts + ((int64_t)blockIdx.x * keys * per_key + column / dk * per_key) * dk + column % dk;
    float sum = 0;
    for (int head = 0; head < per_key; head++) sum += from[(int64_t)head * dk];
    to[(int64_t)blockIdx.x * stride + column] = __float2bfloat16(sum);
}

template <int WK, int WV> struct launch_walk_back {
    template <int SLICE>
    static void walk(struct cuda_backend *cuda, const struct delta_back *to,
                     const struct delta_scratch *scratch, const struct delta_call *call) {
        constexpr int TILE = walk_tile<WK, SLICE>;
        constexpr int SHARED = walk_stages<TILE> * TILE * (int)sizeof(bf16) + PANEL_ALIGNMENT;
        CUDA_ALLOW_SHARED(cuda, (delta_walk_back<WK, WV, SLICE>), SHARED);
        CUDA_LAUNCH(cuda, (delta_walk_back<WK, WV, SLICE>),
                    (unsigned)(call->sequences * call->heads * (WV / SLICE)), 2 * SLICE + LOADERS,
                    SHARED, *scratch, *call, to->dout);
    }

    static void run(struct cuda_backend *cuda, const struct delta_back *to,
                    const struct delta_scratch *scratch, const struct delta_call *call) {
        /* A multiprocessor holds one block. */
        if (call->sequences * call->heads * (WV / 64) > cuda->multiprocessors)
            walk<WV>(cuda, to, scratch, call);
        else
            walk<64>(cuda, to, scratch, call);
    }
};

/* Cut out of one piece of memory; measured only where that is NULL. */
static size_t cut_scratch(struct delta_scratch *scratch, char *memory,
                          const struct sequences *sequences, const struct delta_shape *shape) {
    size_t cells = (size_t)(count_slots(sequences, CHUNK) * shape->value_heads);
    size_t wk = (size_t)delta_width(shape->key_dim), wv = (size_t)delta_width(shape->value_dim);
    bool shared = shape->value_heads > shape->key_heads;
    size_t parts = shared ? (size_t)sequences->tokens * (size_t)shape->value_heads *
                                (size_t)shape->key_dim * sizeof(float)
                          : 0;
    size_t sizes[] = {cells * sizeof(struct delta_gates),
                      cells * CHUNK * wk * sizeof(bf16),
                      cells * CHUNK * wv * sizeof(bf16),
                      cells * CHUNK * wv * sizeof(bf16),
                      cells * SQUARE * sizeof(bf16),
                      cells * wk * wv * sizeof(bf16),
                      parts,
                      parts,
                      2 * cells * sizeof(float)};
    void *at[9];
    size_t total = 0;
    for (int i = 0; i < 9; i++) {
        at[i] = memory ? memory + total : NULL;
        total += (sizes[i] + 255) / 256 * 256;
    }
    *scratch = {};
    scratch->gates = (struct delta_gates *)at[0];
    scratch->w = (bf16 *)at[1];
    scratch->e = (bf16 *)at[2];
    scratch->de = (bf16 *)at[3];
    scratch->solve = (bf16 *)at[4];
    scratch->dstates = (bf16 *)at[5];
    scratch->dq = shared ? (float *)at[6] : NULL;
    scratch->dk = shared ? (float *)at[7] : NULL;
    scratch->partial = (float *)at[8];
    return total;
}

static struct delta_back make_back(const struct delta_gradients *gradients, const struct act *dout,
                                   const struct acc *checkpoints, const struct sequences *sequences,
                                   const struct delta_shape *shape) {
    struct delta_back to;
    to.dout = make_rows(dout, (int64_t)shape->value_heads * shape->value_dim, shape->value_dim);
    to.checkpoints = (const bf16 *)checkpoints;
    to.dq = (bf16 *)gradients->dq;
    to.dk = (bf16 *)gradients->dk;
    to.dv = (bf16 *)gradients->dv;
    to.db = (bf16 *)gradients->db;
    to.da = (bf16 *)gradients->da;
    to.dq_stride = gradients->q_stride;
    to.dk_stride = gradients->k_stride;
    to.dv_stride = gradients->v_stride;
    to.db_stride = gradients->b_stride;
    to.da_stride = gradients->a_stride;
    to.slots = count_slots(sequences, CHUNK);
    to.parameters = gradients->da_log || gradients->ddt_bias;
    return to;
}

void cuda_delta_backward(struct backend *backend, const struct delta_gradients *gradients,
                         const struct act *dout, const struct acc *checkpoints,
                         const struct delta_inputs *in, const struct sequences *sequences,
                         const struct delta_shape *shape) {
    struct cuda_backend *cuda = cuda_of(backend);
    struct delta_call call = make_delta_call(in, sequences, shape);
    struct delta_back to = make_back(gradients, dout, checkpoints, sequences, shape);
    struct delta_prepare_back back = {to.dout, to.checkpoints};
    struct delta_scratch scratch;
    char *memory = (char *)cuda_scratch(cuda, cut_scratch(&scratch, NULL, sequences, shape));
    if (!memory) return;
    cut_scratch(&scratch, memory, sequences, shape);
    int64_t cells = to.slots * shape->value_heads;
    /* Slots that no chunk takes add nothing. */
    if (to.parameters &&
        !cuda_check(
            cuda,
            cudaMemsetAsync(scratch.partial, 0, (size_t)(2 * cells) * sizeof(float), cuda->stream),
            "delta_backward"))
        return;
    cuda_delta_prepare(cuda, &scratch, &call, &back, sequences, shape);
    if (!delta_choose<launch_walk_back>(cuda, shape, &to, &scratch, &call)) return;
    cuda_delta_gradients(cuda, &to, &scratch, &call, sequences, shape);
    dim3 grid((unsigned)sequences->tokens,
              (unsigned)ceil_div(shape->key_heads * shape->key_dim, SUM_THREADS));
    for (int which = 0; which < 2 && scratch.dq; which++)
        CUDA_LAUNCH(cuda, delta_sum_heads, grid, SUM_THREADS, 0, which ? to.dk : to.dq,
                    which ? to.dk_stride : to.dq_stride, which ? scratch.dk : scratch.dq,
                    shape->key_heads, call.per_key, shape->key_dim);
    float *parameters[2] = {(float *)gradients->da_log, (float *)gradients->ddt_bias};
    for (int i = 0; i < 2; i++)
        if (parameters[i])
            cuda_add_partials(cuda, parameters[i], scratch.partial + i * cells, to.slots,
                              shape->value_heads);
}
