/* The Mamba-2 recurrence, forward: see ssd.cuh and kernels/cpu/ssd.c for the formula. */
#include "kernels/cuda/ssd.cuh"

struct ssd_call make_ssd_call(const struct ssd_inputs *in, const struct sequences *sequences,
                              const struct ssd_shape *shape) {
    struct ssd_call call;
    call.x = make_rows(in->x, in->x_stride, shape->head_dim);
    call.b = make_rows(in->b, in->b_stride, shape->d_state);
    call.c = make_rows(in->c, in->c_stride, shape->d_state);
    call.dt = (const bf16 *)in->dt;
    call.dt_stride = in->dt_stride;
    call.dt_bias = (const float *)in->dt_bias;
    call.a_log = (const float *)in->a_log;
    call.d = (const float *)in->d;
    call.offsets = sequences->device_offsets;
    call.sequences = sequences->count;
    call.heads = shape->heads;
    call.per_group = shape->heads / shape->groups;
    call.p = shape->head_dim;
    call.n = shape->d_state;
    return call;
}

struct ssd_out {
    bf16 *out, *checkpoints; /* [tokens, H*P]; [chunk slots, H, P, N] or NULL */
    const float *begins;     /* [segment slots, H, P, N]; or NULL where sequences are one segment */
    float *states;           /* [slots, H, P, N] or NULL */
    const int32_t *slots;
    bool resume;
};

/* The scores C B^T of tokens up to themselves, with the decays between them and dt, to `square`. */
template <int N, int WARPS>
__device__ static void find_scores(bf16 *square, const bf16 *c, const bf16 *b,
                                   const struct ssd_gates *gates) {
    constexpr int COLUMNS = CHUNK * 4 / WARPS;
    int warp = threadIdx.x / 32, row = warp % 4 * 16, column = warp / 4 * COLUMNS;
    if (column > row + 15) return; /* never read */
    float scores[COLUMNS / 8][4] = {};
    multiply_tiles<N, COLUMNS>(scores, c, row, b + column * N);
    each_pair<COLUMNS / 8>(row, column, [&](int i, int j, int n, int at) {
        float low =
            j <= i ? scores[n][at] * gates->dt[j] * decay_of(gates->sum[i] - gates->sum[j]) : 0;
        float high = j + 1 <= i ? scores[n][at + 1] * gates->dt[j + 1] *
                                      decay_of(gates->sum[i] - gates->sum[j + 1])
                                : 0;
        write_pair<CHUNK>(square, i, j, low, high);
    });
}

template <int P, int N>
__global__ void __launch_bounds__(2 * P, N <= 128 ? 256 / P : 1)
    ssd_walk(struct ssd_out to, struct ssd_call call) {
    constexpr int THREADS = 2 * P, WARPS = P / 16, TILE = CHUNK * (2 * N + P);
    constexpr int GATES = WARPS == 8 ? 4 : 0; /* a warp that has no scores to find */
    struct chunk_part part;
    if (!find_part<SEGMENT>(&part, call.offsets, call.sequences, call.heads, blockIdx.x)) return;
    __shared__ struct ssd_gates ahead[2]; /* of this chunk and the next */
    bf16 *tiles = (bf16 *)chunk_memory, *square = tiles + 2 * TILE;
    int warp = threadIdx.x / 32, group = part.head / call.per_group;
    int chunks = (part.count + CHUNK - 1) / CHUNK;
    float bias = call.dt_bias[part.head], a = -expf(call.a_log[part.head]), d = call.d[part.head];
    float state[N / 8][4] = {}, raw[2] = {};
    int64_t size = (int64_t)call.p * call.n;
    float *kept =
        to.states ? to.states + ((int64_t)to.slots[part.sequence] * call.heads + part.head) * size
                  : NULL;
    auto load = [&](int step) {
        bf16 *tile = tiles + step % 2 * TILE;
        int token = part.first + step * CHUNK, count = part.count - step * CHUNK;
        load_rows<CHUNK, N, THREADS>(tile, call.c, token, group, count, call.n);
        load_rows<CHUNK, N, THREADS>(tile + CHUNK * N, call.b, token, group, count, call.n);
        load_rows<CHUNK, P, THREADS>(tile + 2 * CHUNK * N, call.x, token, part.head, count, call.p);
    };
    load(0);
    copy_commit();
    if (warp == GATES) {
        read_raw(raw, call, part.first, part.count, part.head);
        find_gates(&ahead[0], raw, bias, a, part.count);
        read_raw(raw, call, part.first + CHUNK, part.count - CHUNK, part.head);
    }
    if (to.begins)
        read_state<N>(state, to.begins + (part.slot * call.heads + part.head) * size, 16 * warp,
                      call.p, call.n, call.n, 1);
    else if (kept && to.resume)
        read_state<N>(state, kept, 16 * warp, call.p, call.n, call.n, 1);
    int64_t chunk_slot = (int64_t)call.offsets[part.sequence] / CHUNK + part.sequence +
                         part.unit * (SEGMENT / CHUNK);
    for (int step = 0; step < chunks; step++) {
        const bf16 *c = tiles + step % 2 * TILE, *b = c + CHUNK * N, *x = b + CHUNK * N;
        const struct ssd_gates &gates = ahead[step % 2];
        int count = part.count - step * CHUNK;
        if (step + 1 < chunks) load(step + 1);
        copy_commit();
        if (to.checkpoints)
            keep_state<N>(to.checkpoints + ((chunk_slot + step) * call.heads + part.head) * size,
                          state, 16 * warp, call.p, call.n, true);
        copy_wait<1>();
        __syncthreads();
        if (warp == GATES && step + 1 < chunks) {
            find_gates(&ahead[(step + 1) % 2], raw, bias, a, count - CHUNK);
            read_raw(raw, call, part.first + (step + 2) * CHUNK, count - 2 * CHUNK, part.head);
        }
        find_scores<N, WARPS>(square, c, b, &gates);
        chunk_columns y;
        clear(y);
        multiply_state<N>(y, c, state);
        scale_rows(y, gates.start);
        advance_state<P, N>(state, x, 2 * warp, b, gates.write, decay_of(gates.last));
        __syncthreads();
        multiply_lower<P, false>(y, square, x, 2 * warp);
        bool exact = call.p % 2 == 0;
#pragma unroll
        for (int m = 0; m < 4; m++)
            each_pair<2>(16 * m, 16 * warp, [&](int row, int column, int n, int i) {
                float2 skip = read_pair<P>(x, row, column);
                if (row < count)
                    store_pair(to.out + ((int64_t)(part.first + step * CHUNK + row) * call.heads +
                                         part.head) *
                                            call.p,
                               column, call.p, exact, y[m][n][i] + d * skip.x,
                               y[m][n][i + 1] + d * skip.y);
            });
        __syncthreads();
    }
    if (kept && part.first + part.count == call.offsets[part.sequence + 1])
        write_state<N>(kept, state, 16 * warp, call.p, call.n, call.n, 1);
}

enum { COMBINE_THREADS = 256, AHEAD = 8 }; /* segments whose states are on their way at once */

/* Passes the states from segment to segment: begin_0 = begin, begin_{k+1} = decay_k begin_k +
 * own_k. blockIdx.y: sequence and head; a thread has WIDTH neighbours of the state. */
template <int WIDTH>
__global__ void ssd_combine(float *states, const float *decays, const float *begin,
                            const int32_t *slots, bool reverse, const int32_t *offsets, int heads,
                            int64_t size) {
    int64_t i = ((int64_t)blockIdx.x * COMBINE_THREADS + threadIdx.x) * WIDTH;
    int sequence = blockIdx.y / heads, head = blockIdx.y % heads;
    if (i >= size) return;
    int start = offsets[sequence], units = (offsets[sequence + 1] - start + SEGMENT - 1) / SEGMENT;
    int64_t first = (int64_t)start / SEGMENT + sequence;
    auto cell = [&](int unit) {
        return (first + (reverse ? units - 1 - unit : unit)) * heads + head;
    };
    float sum[WIDTH] = {};
    if (begin) load(sum, begin + ((int64_t)slots[sequence] * heads + head) * size + i);
    for (int from = 0; from < units; from += AHEAD) {
        float own[AHEAD][WIDTH] = {}, decay[AHEAD] = {};
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            if (from + k + 1 >= units) continue; /* the last's was not found, nor is it needed */
            load(own[k], states + cell(from + k) * size + i);
            decay[k] = decays[cell(from + k)];
        }
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            if (from + k >= units) break;
            store(states + cell(from + k) * size + i, sum);
            float factor = decay_of(decay[k]);
#pragma unroll
            for (int j = 0; j < WIDTH; j++) sum[j] = sum[j] * factor + own[k][j];
        }
    }
}

void cuda_ssd_combine(struct cuda_backend *cuda, float *states, const float *decays,
                      const float *begin, const int32_t *slots, bool reverse,
                      const struct sequences *sequences, const struct ssd_shape *shape) {
    int64_t size = (int64_t)shape->head_dim * shape->d_state;
    bool wide = size % 4 == 0 && aligned_to(states, 16) && aligned_to(begin, 16);
    dim3 grid((unsigned)ceil_div(size, COMBINE_THREADS * (wide ? 4 : 1)),
              (unsigned)(sequences->count * shape->heads));
    if (wide)
        CUDA_LAUNCH(cuda, ssd_combine<4>, grid, COMBINE_THREADS, 0, states, decays, begin, slots,
                    reverse, sequences->device_offsets, shape->heads, size);
    else
        CUDA_LAUNCH(cuda, ssd_combine<1>, grid, COMBINE_THREADS, 0, states, decays, begin, slots,
                    reverse, sequences->device_offsets, shape->heads, size);
}

template <int P, int N> struct launch_forward {
    static void run(struct cuda_backend *cuda, struct ssd_out *to, const struct ssd_call *call,
                    const struct sequences *sequences, const struct ssd_shape *shape) {
        unsigned parts = count_parts(sequences, shape->heads, SEGMENT);
        if (sequences->longest > SEGMENT) {
            int64_t cells = count_slots(sequences, SEGMENT) * shape->heads;
            float *begins = (float *)cuda_scratch(cuda, (size_t)(cells * (call->p * call->n + 1)) *
                                                            sizeof(float));
            if (!begins) return;
            float *decays = begins + cells * call->p * call->n;
            CUDA_ALLOW_SHARED(cuda, (ssd_segment<P, N, false>), (ssd_segment_shared<P, N>()));
            CUDA_LAUNCH(cuda, (ssd_segment<P, N, false>), parts, 2 * P,
                        (ssd_segment_shared<P, N>()), begins, decays, *call, call->x);
            cuda_ssd_combine(cuda, begins, decays, to->resume ? to->states : NULL, to->slots, false,
                             sequences, shape);
            to->begins = begins;
        }
        constexpr int SHARED = (2 * CHUNK * (2 * N + P) + SQUARE) * (int)sizeof(bf16);
        CUDA_ALLOW_SHARED(cuda, (ssd_walk<P, N>), SHARED);
        CUDA_LAUNCH(cuda, (ssd_walk<P, N>), parts, 2 * P, SHARED, *to, *call);
    }
};

static void cuda_ssd(struct backend *backend, struct act *out, struct acc *checkpoints,
                     struct acc *states, const int32_t *slots, bool resume,
                     const struct ssd_inputs *in, const struct sequences *sequences,
                     const struct ssd_shape *shape) {
    struct ssd_call call = make_ssd_call(in, sequences, shape);
    struct ssd_out to = {(bf16 *)out, (bf16 *)checkpoints,     NULL, (float *)states,
                         slots,       resume && states != NULL};
    ssd_choose<launch_forward>(cuda_of(backend), shape, &to, &call, sequences, shape);
}

static size_t cuda_ssd_checkpoint_bytes(struct backend *backend, const struct sequences *sequences,
                                        const struct ssd_shape *shape) {
    (void)backend;
    return (size_t)(count_slots(sequences, CHUNK) * shape->heads) * (size_t)shape->head_dim *
           (size_t)shape->d_state * sizeof(bf16);
}

const struct ssd_ops cuda_ssd_ops = {
    .ssd_checkpoint_bytes = cuda_ssd_checkpoint_bytes,
    .ssd = cuda_ssd,
    .ssd_backward = cuda_ssd_backward,
    .ssd_step = cuda_ssd_step,
};
