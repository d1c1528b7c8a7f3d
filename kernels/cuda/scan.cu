/* The selective scan's pass over the states, in both directions. A block owns some channels of one
 * segment of a sequence and walks through it: SCAN_BLOCK tokens are widened into shared memory
 * while the loads of the next ones are under way, then every thread advances its states.
 *
 * One segment a sequence needs one pass. When sequences and channels are too few to fill the chip,
 * sequences are cut: a first pass finds what each segment adds to a zero state, scan_join_kernel
 * chains the segments (the decay over a segment is exp(A times its sum of dt)), and the pass proper
 * starts every segment from its own state. */
#include "kernels/cuda/scan.cuh"
#include "kernels/cuda/scan.h"

/* Blocks of SCAN_THREADS per multiprocessor below which sequences are cut, and aimed at then. */
enum { ENOUGH_BLOCKS = 2, WANTED_BLOCKS = 4, LEAST_SEGMENT = 4 * SCAN_CHUNK };

/* A block's channels: GROUPS groups of WIDTH neighbours of one sub-head. */
template <int TS, int SG> struct pass_layout {
    static constexpr int NP = TS * SG, TC = 2, CHANNELS = SCAN_THREADS / SG * TC;
    static constexpr int WIDTH = NP < CHANNELS ? NP : CHANNELS, GROUPS = CHANNELS / WIDTH;
    static constexpr int VECTORS = SCAN_BLOCK * CHANNELS / 8; /* of x; at most one a thread */
    static constexpr int ROW = GROUPS * NP, ROW_VECTORS = SCAN_BLOCK * ROW / 8 / SCAN_THREADS;
    static_assert(VECTORS <= SCAN_THREADS && ROW_VECTORS >= 1, "the loads are dealt out");
};

/* One block of tokens, as the walk reads it: rows of shared memory. Each is an array of its own
 * there; of one struct nvcc 13.0 makes a forward pass for 64 states that is 8 % slower. */
template <int TS, int SG> struct pass_tiles {
    typedef pass_layout<TS, SG> L;
    float (*dt)[L::CHANNELS], (*u)[L::CHANNELS];
    float (*enter)[L::ROW]; /* what the inputs are multiplied with */
    float (*leave)[L::ROW]; /* and the states, for the outputs */
};

/* Where a block's local channel lies. */
struct channel_place {
    int sub_head, channel, valid; /* channels from here on that exist in this group */
};

template <int TS, int SG>
__device__ inline struct channel_place place_channel(const struct scan_call &call, int block,
                                                     int local) {
    typedef pass_layout<TS, SG> L;
    int per_head = (call.states + L::WIDTH - 1) / L::WIDTH;
    int group = block * L::GROUPS + local / L::WIDTH;
    int offset = group % per_head * L::WIDTH + local % L::WIDTH;
    struct channel_place place;
    place.sub_head = group / per_head;
    place.channel = place.sub_head * call.states + offset;
    place.valid = place.sub_head * call.states < call.inner ? call.states - offset : 0;
    return place;
}

/* The states of a thread's channels to or from [I, N] at `memory`. */
template <int TS, int SG, bool STORE>
__device__ inline void move_states(float (&h)[2][TS], float *memory, const struct scan_call &call,
                                   const struct channel_place &place, int lane) {
#pragma unroll
    for (int j = 0; j < 2; j++)
#pragma unroll
        for (int i = 0; i < TS; i++) {
            int n = scan_state<TS, SG>(lane, i);
            if (j >= place.valid || n >= call.states) continue;
            float *at = memory + (int64_t)(place.channel + j) * call.states + n;
            if (STORE)
                *at = h[j][i];
            else
                h[j][i] = *at;
        }
}

/* A block's work: tokens [start, end) of one segment of one sequence, for one block of channels. */
struct pass_span {
    int block, sequence, length, start, end;
    int64_t token;   /* of the sequence's start */
    int64_t segment; /* among those of all sequences */
};

template <int TS, int SG>
__device__ inline struct pass_span find_span(const struct scan_call &call) {
    typedef pass_layout<TS, SG> L;
    int per_head = (call.states + L::WIDTH - 1) / L::WIDTH;
    int groups = call.inner / call.states * per_head;
    int blocks = (groups + L::GROUPS - 1) / L::GROUPS,
        segment = blockIdx.x / blocks % call.segments;
    struct pass_span span;
    span.block = blockIdx.x % blocks;
    span.sequence = blockIdx.x / blocks / call.segments;
    span.token = call.offsets[span.sequence];
    span.length = (int)(call.offsets[span.sequence + 1] - span.token);
    span.start = segment * call.segment_tokens;
    span.end = min(span.length, span.start + call.segment_tokens);
    span.segment = (int64_t)span.sequence * call.segments + segment;
    return span;
}

/* What a thread loads for one block of tokens: 8 channels of one token, parts of rows of b and c.
 * Forward `first` is x, backward it is dout. */
template <int TS, int SG> struct pass_load {
    struct packed<8> first, dt, z, enter[pass_layout<TS, SG>::ROW_VECTORS],
        leave[pass_layout<TS, SG>::ROW_VECTORS];
};

/* A thread's part of the loads and of the outputs. */
template <int TS, int SG, bool BACKWARD, bool WRITES> struct pass_loader {
    typedef pass_layout<TS, SG> L;
    const struct scan_call &call;
    const struct pass_span &span;
    const struct pass_tiles<TS, SG> &tiles;
    int row, column;
    struct channel_place place;
    float dt_bias[8], d[8];

    __device__ inline void begin() {
        row = threadIdx.x / (L::CHANNELS / 8);
        column = threadIdx.x % (L::CHANNELS / 8) * 8;
        place = place_channel<TS, SG>(call, span.block, column);
        if (threadIdx.x >= L::VECTORS) place.valid = 0;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            dt_bias[i] = i < place.valid ? call.dt_bias[place.channel + i] : 0.0f;
            d[i] = WRITES && i < place.valid ? call.d[place.channel + i] : 0.0f;
        }
    }

    /* The block of tokens at t of the sequence, from memory. */
    __device__ inline void fetch(struct pass_load<TS, SG> *to, int t) const {
        int64_t from = span.token + t + row;
        int valid = t + row < span.end ? place.valid : 0;
        const bf16 *first =
            BACKWARD ? call.dout + from * call.inner : call.x + from * call.x_stride;
        to->first = load_some<8>(first + place.channel, valid, call.aligned);
        to->dt = load_some<8>(call.dt + from * call.dt_stride + place.channel, valid, call.aligned);
        if (WRITES || BACKWARD)
            to->z =
                load_some<8>(call.z + from * call.z_stride + place.channel, valid, call.aligned);
#pragma unroll
        for (int i = 0; i < L::ROW_VECTORS; i++) {
            int index = (i * SCAN_THREADS + threadIdx.x) * 8, n = index % L::NP;
            int64_t where = span.token + t + index / L::ROW;
            struct channel_place group =
                place_channel<TS, SG>(call, span.block, index % L::ROW / L::NP * L::WIDTH);
            valid = t + index / L::ROW < span.end && group.valid > 0 ? call.states - n : 0;
            const bf16 *b =
                call.b + where * call.b_stride + group.sub_head / call.repeat * call.states + n;
            const bf16 *c = call.c + where * call.c_stride + group.sub_head * call.states + n;
            to->enter[i] = load_some<8>(BACKWARD ? c : b, valid, call.aligned);
            if (WRITES) to->leave[i] = load_some<8>(c, valid, call.aligned);
        }
    }

    /* What was fetched for t into the tiles: absent tokens and channels have dt = 0 and no input.
     */
    __device__ inline void put(const struct pass_load<TS, SG> &now, int t) const {
        if (threadIdx.x < L::VECTORS) {
            float first[8], dt[8], z[8], u[8];
            widen(first, now.first);
            widen(dt, now.dt);
            if (BACKWARD) widen(z, now.z);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                bool valid = t + row < span.end && i < place.valid;
                dt[i] = valid ? scan_softplus(dt[i] + dt_bias[i]) : 0.0f;
                u[i] = first[i] * (BACKWARD ? z[i] * scan_sigmoid(z[i]) : dt[i]);
            }
            store(&tiles.dt[row][column], dt);
            store(&tiles.u[row][column], u);
        }
#pragma unroll
        for (int i = 0; i < L::ROW_VECTORS; i++) {
            int index = (i * SCAN_THREADS + threadIdx.x) * 8;
            float wide[8];
            widen(wide, now.enter[i]);
            store(&tiles.enter[index / L::ROW][index % L::ROW], wide);
            if (WRITES) {
                widen(wide, now.leave[i]);
                store(&tiles.leave[index / L::ROW][index % L::ROW], wide);
            }
        }
    }

    /* The outputs of the block at t: the walk left <state, C> in the place of u. */
    __device__ inline void finish(const struct pass_load<TS, SG> &now, int t) const {
        if (threadIdx.x >= L::VECTORS || t + row >= span.end || place.valid <= 0) return;
        float x[8], z[8], y[8];
        widen(x, now.first);
        widen(z, now.z);
        load(y, &tiles.u[row][column]);
#pragma unroll
        for (int i = 0; i < 8; i++) y[i] = fmaf(d[i], x[i], y[i]) * z[i] * scan_sigmoid(z[i]);
        store_some(call.out + (span.token + t + row) * call.inner + place.channel, y, place.valid,
                   call.aligned);
    }
};

/* A thread's states: TS of each of two channels. */
template <int TS, int SG, bool BACKWARD, bool LOCAL> struct pass_walker {
    typedef pass_layout<TS, SG> L;
    static constexpr bool WRITES = !BACKWARD && !LOCAL;
    const struct scan_call &call;
    const struct pass_span &span;
    const struct pass_tiles<TS, SG> &tiles;
    int lane, pair, row_start; /* first channel; where its sub-head's values lie in a row */
    int64_t size;              /* [I, N] */
    struct channel_place place;
    float a[2][TS], h[2][TS], dt_sum[2];

    __device__ inline void begin() {
        lane = threadIdx.x % SG;
        pair = threadIdx.x / SG * L::TC;
        row_start = pair / L::WIDTH * L::NP;
        size = (int64_t)call.inner * call.states;
        place = place_channel<TS, SG>(call, span.block, pair);
#pragma unroll
        for (int j = 0; j < 2; j++) {
            dt_sum[j] = 0;
#pragma unroll
            for (int i = 0; i < TS; i++) a[j][i] = h[j][i] = 0;
        }
        move_states<TS, SG, false>(a, (float *)call.a_log, call, place, lane);
#pragma unroll
        for (int j = 0; j < 2; j++)
#pragma unroll
            for (int i = 0; i < TS; i++) a[j][i] = -SCAN_LOG2_E * __expf(a[j][i]);
        if (!LOCAL && call.segments > 1)
            move_states<TS, SG, false>(h, call.segment_states + span.segment * size, call, place,
                                       lane);
    }

    /* The state that the block at t begins with, where the other pass wants it. */
    __device__ inline void checkpoint(int t) {
        bool boundary = BACKWARD
                            ? (t + SCAN_BLOCK) % SCAN_CHUNK == 0 || t + SCAN_BLOCK >= span.length
                            : t % SCAN_CHUNK == 0;
        if (LOCAL || !boundary || !call.checkpoints) return;
        int64_t row = BACKWARD ? scan_first_chunk(span.token, span.sequence) + t / SCAN_CHUNK
                               : scan_checkpoint(span.token, span.sequence, t, call.states);
        move_states<TS, SG, true>(h, call.checkpoints + row * size, call, place, lane);
    }

    /* Four tokens of the tiles, from `piece` on in the order of the walk; forward their outputs
     * take the place of u. */
    __device__ inline void walk(int piece) {
        float y[8] = {};
#pragma unroll
        for (int q = 0; q < 4; q++) {
            int step = BACKWARD ? SCAN_BLOCK - 1 - piece - q : piece + q;
            float dt[2], u[2], enter[TS], leave[TS];
            load(dt, &tiles.dt[step][pair]);
            load(u, &tiles.u[step][pair]);
            load_states<TS, SG>(enter, &tiles.enter[step][row_start], lane);
            if (WRITES) load_states<TS, SG>(leave, &tiles.leave[step][row_start], lane);
#pragma unroll
            for (int j = 0; j < 2; j++) {
                if (LOCAL) dt_sum[j] += dt[j];
#pragma unroll
                for (int i = 0; i < TS; i++) {
                    float decay = scan_exp2(dt[j] * a[j][i]), in = u[j] * enter[i];
                    h[j][i] = BACKWARD ? decay * (h[j][i] + in) : fmaf(decay, h[j][i], in);
                    if (WRITES) y[2 * q + j] = fmaf(h[j][i], leave[i], y[2 * q + j]);
                }
            }
        }
        if (!WRITES) return;
        scatter_sums<8, SG>(y, lane);
        int kept = scan_kept<8, SG>(lane);
        float *to = &tiles.u[piece + kept / 2][pair + kept % 2];
        __syncwarp(); /* the other lanes have read u */
        if (SG == 4)
            *(float2 *)to = make_float2(y[0], y[1]);
        else if (lane < 8)
            *to = y[0];
    }

    /* What leaves the segment. Absent tokens had dt = 0: they left the state as it was. */
    __device__ inline void end() {
        if (WRITES && call.final && span.end == span.length)
            move_states<TS, SG, true>(h, call.final + call.slots[span.sequence] * size, call, place,
                                      lane);
        if (!LOCAL) return;
        move_states<TS, SG, true>(h, call.segment_states + span.segment * size, call, place, lane);
#pragma unroll
        for (int j = 0; j < 2; j++)
            if (lane == 0 && j < place.valid)
                call.segment_sums[span.segment * call.inner + place.channel + j] = dt_sum[j];
    }
};

/* LOCAL: from a zero state, only what leaves the segment is kept. */
template <int TS, int SG, bool BACKWARD, bool LOCAL>
__global__ void __launch_bounds__(SCAN_THREADS) scan_pass_kernel(struct scan_call call) {
    constexpr bool WRITES = !BACKWARD && !LOCAL;
    typedef pass_layout<TS, SG> L;
    __shared__ __align__(16) float dt[SCAN_BLOCK][L::CHANNELS], u[SCAN_BLOCK][L::CHANNELS];
    __shared__ __align__(16) float enter[SCAN_BLOCK][L::ROW],
        leave[WRITES ? SCAN_BLOCK : 1][L::ROW];
    const struct pass_tiles<TS, SG> tiles = { dt, u, enter, leave };
    struct pass_span span = find_span<TS, SG>(call);
    if (span.start >= span.end) return;
    if (LOCAL && (BACKWARD ? span.start == 0 : span.end == span.length))
        return; /* nothing comes after it */
    struct pass_loader<TS, SG, BACKWARD, WRITES> loader = {
        call, span, tiles
    };
    struct pass_walker<TS, SG, BACKWARD, LOCAL> walker = {
        call, span, tiles
    };
    loader.begin();
    walker.begin();
    struct pass_load<TS, SG> next;
    int count = (span.end - span.start + SCAN_BLOCK - 1) / SCAN_BLOCK;
    loader.fetch(&next, span.start + (BACKWARD ? count - 1 : 0) * SCAN_BLOCK);
    for (int k = 0; k < count; k++) {
        int t = span.start + (BACKWARD ? count - 1 - k : k) * SCAN_BLOCK;
        struct pass_load<TS, SG> now = next;
        loader.put(now, t);
        __syncthreads();
        if (k + 1 < count) loader.fetch(&next, BACKWARD ? t - SCAN_BLOCK : t + SCAN_BLOCK);
        walker.checkpoint(t);
#pragma unroll 1
        for (int piece = 0; piece < SCAN_BLOCK; piece += 4) walker.walk(piece);
        __syncthreads();
        if (WRITES) loader.finish(now, t);
    }
    walker.end();
}

/* What leaves each segment becomes what enters it. */
__global__ void __launch_bounds__(SCAN_THREADS)
    scan_join_kernel(struct scan_call call, bool backward) {
    int64_t size = (int64_t)call.inner * call.states;
    int64_t index = (int64_t)blockIdx.x * SCAN_THREADS + threadIdx.x;
    if (index >= size * call.count) return;
    int sequence = (int)(index / size);
    int64_t place = index % size;
    int length = call.offsets[sequence + 1] - call.offsets[sequence];
    int count = (length + call.segment_tokens - 1) / call.segment_tokens;
    float a = -SCAN_LOG2_E * __expf(call.a_log[place]), state = 0;
    for (int k = 0; k < count; k++) {
        int64_t at = (int64_t)sequence * call.segments + (backward ? count - 1 - k : k);
        float enters = state;
        if (k + 1 < count)
            state = fmaf(scan_exp2(a * call.segment_sums[at * call.inner + place / call.states]),
                         state, call.segment_states[at * size + place]);
        call.segment_states[at * size + place] = enters;
    }
}

template <int TS, int SG> static dim3 pass_grid(const struct scan_call *call) {
    typedef pass_layout<TS, SG> L;
    int64_t groups = call->inner / call->states * ceil_div(call->states, L::WIDTH);
    return dim3((unsigned)(ceil_div(groups, L::GROUPS) * call->segments * call->count));
}

template <int TS, int SG>
static void launch_enter(struct cuda_backend *cuda, const struct scan_call *call, bool backward) {
    dim3 grid = pass_grid<TS, SG>(call);
    if (backward)
        CUDA_LAUNCH(cuda, (scan_pass_kernel<TS, SG, true, true>), grid, SCAN_THREADS, 0, *call);
    else
        CUDA_LAUNCH(cuda, (scan_pass_kernel<TS, SG, false, true>), grid, SCAN_THREADS, 0, *call);
    int64_t states = (int64_t)call->inner * call->states * call->count;
    CUDA_LAUNCH(cuda, scan_join_kernel, dim3((unsigned)ceil_div(states, SCAN_THREADS)),
                SCAN_THREADS, 0, *call, backward);
}

void cuda_scan_enter(struct cuda_backend *cuda, const struct scan_call *call, bool backward) {
    launch_enter<4, 4>(cuda, call, backward);
}

template <int TS, int SG>
static void launch_pass(struct cuda_backend *cuda, const struct scan_call *call, bool backward) {
    dim3 grid = pass_grid<TS, SG>(call);
    if (call->segments > 1) launch_enter<TS, SG>(cuda, call, backward);
    if (backward)
        CUDA_LAUNCH(cuda, (scan_pass_kernel<TS, SG, true, false>), grid, SCAN_THREADS, 0, *call);
    else
        CUDA_LAUNCH(cuda, (scan_pass_kernel<TS, SG, false, false>), grid, SCAN_THREADS, 0, *call);
}

/* Segments of the longest sequence: one where sequences and channels fill the chip. */
static int64_t choose_segments(const struct cuda_backend *cuda, const struct scan_call *call) {
    int lanes = call->states <= 32 ? 4 : call->states <= 64 ? 8 : call->states <= 128 ? 16 : 32;
    int64_t blocks = ceil_div((int64_t)call->inner * lanes, 2 * SCAN_THREADS) * call->count;
    if (blocks * 10 >= (int64_t)cuda->multiprocessors * ENOUGH_BLOCKS * 9) return 1;
    int64_t wanted = ceil_div((int64_t)cuda->multiprocessors * WANTED_BLOCKS, blocks);
    int64_t most = ceil_div(call->longest, LEAST_SEGMENT);
    return wanted < most ? wanted : most;
}

size_t cuda_scan_scratch_bytes(const struct cuda_backend *cuda, const struct scan_call *call) {
    int64_t segments = choose_segments(cuda, call);
    if (segments == 1) return 0;
    return (size_t)(segments * call->count * call->inner) * (size_t)(call->states + 1) *
           sizeof(float);
}

void cuda_scan_pass(struct cuda_backend *cuda, struct scan_call *call, char *scratch,
                    bool backward) {
    call->segments = (int)choose_segments(cuda, call);
    call->segment_tokens =
        (int)(ceil_div(ceil_div(call->longest, call->segments), SCAN_CHUNK) * SCAN_CHUNK);
    call->segment_states = (float *)scratch;
    call->segment_sums =
        call->segment_states + (int64_t)call->segments * call->count * call->inner * call->states;
    if (call->states <= 8)
        launch_pass<2, 4>(cuda, call, backward);
    else if (call->states <= 16)
        launch_pass<4, 4>(cuda, call, backward);
    else if (call->states <= 32)
        launch_pass<8, 4>(cuda, call, backward);
    else if (call->states <= 64)
        launch_pass<8, 8>(cuda, call, backward);
    else if (call->states <= 128)
        launch_pass<8, 16>(cuda, call, backward);
    else
        launch_pass<8, 32>(cuda, call, backward);
}

bool cuda_scan_call(struct cuda_backend *cuda, struct scan_call *call, const struct scan_inputs *in,
                    const struct sequences *sequences, const struct mamba_shape *shape) {
    if (cuda->failed || sequences->tokens == 0) return false;
    if (shape->d_state > SCAN_MAX_STATES) {
        cuda_fail(cuda, "scan: d_state %d is above %d", shape->d_state, SCAN_MAX_STATES);
        return false;
    }
    *call = {};
    call->x = (const bf16 *)in->x;
    call->dt = (const bf16 *)in->dt;
    call->z = (const bf16 *)in->z;
    call->b = (const bf16 *)in->b;
    call->c = (const bf16 *)in->c;
    call->x_stride = in->x_stride;
    call->dt_stride = in->dt_stride;
    call->z_stride = in->z_stride;
    call->b_stride = in->b_stride;
    call->c_stride = in->c_stride;
    call->dt_bias = (const float *)in->dt_bias;
    call->a_log = (const float *)in->a_log;
    call->d = (const float *)in->d;
    call->offsets = sequences->device_offsets;
    call->tokens = sequences->tokens;
    call->count = sequences->count;
    call->longest = sequences->longest;
    call->inner = shape->d_inner;
    call->source_width = shape->d_xb;
    call->states = shape->d_state;
    call->repeat = shape->d_inner / shape->d_xb;
    uintptr_t starts = (uintptr_t)in->x | (uintptr_t)in->dt | (uintptr_t)in->z | (uintptr_t)in->b |
                       (uintptr_t)in->c;
    int64_t strides = in->x_stride | in->dt_stride | in->z_stride | in->b_stride | in->c_stride;
    call->aligned = starts % 16 == 0 && strides % 8 == 0 && shape->d_state % 8 == 0;
    return true;
}

int64_t cuda_scan_chunks(const struct sequences *sequences) {
    return scan_first_chunk(sequences->tokens, sequences->count);
}

static size_t cuda_scan_checkpoint_bytes(struct backend *backend, const struct sequences *sequences,
                                         const struct mamba_shape *shape) {
    (void)backend;
    size_t rows = (size_t)scan_checkpoint(sequences->tokens, sequences->count, 0, shape->d_state);
    return rows * (size_t)shape->d_inner * (size_t)shape->d_state * sizeof(float);
}

static void cuda_scan(struct backend *backend, struct act *out, struct acc *checkpoints,
                      struct acc *states, const int32_t *slots, const struct scan_inputs *in,
                      const struct sequences *sequences, const struct mamba_shape *shape) {
    struct cuda_backend *cuda = cuda_of(backend);
    struct scan_call call;
    if (!cuda_scan_call(cuda, &call, in, sequences, shape)) return;
    call.out = (bf16 *)out;
    call.checkpoints = (float *)checkpoints;
    call.final = (float *)states;
    call.slots = slots;
    if (cuda_scan16(cuda, &call)) return;
    call.aligned = call.aligned && aligned_to(out, 16);
    size_t bytes = cuda_scan_scratch_bytes(cuda, &call);
    char *scratch = bytes ? (char *)cuda_scratch(cuda, bytes) : NULL;
    if (!cuda->failed) cuda_scan_pass(cuda, &call, scratch, false);
}

const struct scan_ops cuda_scan_ops = {
    .scan_checkpoint_bytes = cuda_scan_checkpoint_bytes,
    .scan = cuda_scan,
    .scan_backward = cuda_scan_backward,
    .scan_step = cuda_scan_step,
};
