/* The selective scan's backward pass. With E_t what the state before token t receives from t and
 * later tokens: g_t = E_{t+1} + dy_t C_t, E_t = a_t g_t, a_t = exp(dt_t A). The states' pass of
 * scan.cu leaves E at the end of every chunk; the kernel here then works on all chunks at once, one
 * block to a chunk and a source sub-head, so that the sums over channels and repeats for db and dc
 * stay in a block. A chunk's states come from its checkpoint in three levels, by blocks of 16
 * tokens, pieces of 4 and steps, of which only the last are held in registers.
 *
 * Sums over a channel's states go through shuffles, sums over channels through shared memory, sums
 * over chunks (parameter gradients) through a last kernel, all in a fixed order. */
#include "kernels/cuda/scan.h"
#include "kernels/cuda/scan_backward.cuh"

template <int TS, int SG, int TC, bool STORE>
__device__ inline void move_states(float (&h)[TC][TS], float *memory, int channel, int valid,
                                   int states, int lane) {
#pragma unroll
    for (int j = 0; j < TC; j++)
#pragma unroll
        for (int i = 0; i < TS; i++) {
            int n = scan_state<TS, SG>(lane, i);
            if (j >= valid || n >= states) continue;
            float *at = memory + (int64_t)(channel + j) * states + n;
            if (STORE)
                *at = h[j][i];
            else
                h[j][i] = *at;
        }
}

/* A thread's states to and from its own column of shared memory. */
template <int TC, int TS> __device__ inline void keep_states(float *to, const float (&h)[TC][TS]) {
#pragma unroll
    for (int j = 0; j < TC; j++)
#pragma unroll
        for (int i = 0; i < TS; i++) to[(j * TS + i) * SCAN_THREADS + threadIdx.x] = h[j][i];
}

template <int TC, int TS>
__device__ inline void recall_states(float (&h)[TC][TS], const float *from) {
#pragma unroll
    for (int j = 0; j < TC; j++)
#pragma unroll
        for (int i = 0; i < TS; i++) h[j][i] = from[(j * TS + i) * SCAN_THREADS + threadIdx.x];
}

/* h of one token from the one before; `decay` receives exp(dt A). */
template <int TC, int TS>
__device__ inline void advance(float (&h)[TC][TS], float (&decay)[TC][TS], const float (&a)[TC][TS],
                               const float (&dt)[TC], const float (&u)[TC], const float (&b)[TS]) {
#pragma unroll
    for (int j = 0; j < TC; j++)
#pragma unroll
        for (int i = 0; i < TS; i++) {
            decay[j][i] = scan_exp2(dt[j] * a[j][i]);
            h[j][i] = fmaf(decay[j][i], h[j][i], u[j] * b[i]);
        }
}

template <int TS, int SG>
__device__ inline void store_part(float *to, const float (&value)[TS], int row, int lane) {
#pragma unroll
    for (int i = 0; i < TS; i += 4) {
        float part[4] = {value[i], value[i + 1], value[i + 2], value[i + 3]};
        store(to + row * TS * SG + i * SG + lane * 4, part);
    }
}

/* The sums over states of a piece (COUNT = PIECE * TC, step by step) to their place in a tile. */
template <int TS, int SG, int TC>
__device__ inline void store_sums(float *tile, float (&value)[PIECE * TC], int first, int channel,
                                  int lane) {
    typedef backward_layout<TS, SG, TC> L;
    scatter_sums<L::COUNT, SG>(value, lane);
    int kept = scan_kept<L::COUNT, SG>(lane);
    float *to = tile + (first + kept / TC) * L::CHANNELS + channel + kept % TC;
    if (L::COUNT == 8 && SG == 4)
        *(float2 *)to = make_float2(value[0], value[1]);
    else if (lane < L::COUNT)
        *to = value[0];
}

/* What a walker needs of one token. */
template <int TS, int TC> struct backward_step { float dt[TC], u[TC], dy[TC], b[TS], c[TS]; };

/* A thread's states of TC channels: h before a token, e what it receives from later ones. */
template <int TS, int SG, int TC> struct backward_walker {
    typedef backward_layout<TS, SG, TC> L;
    const struct scan_backward_call &call;
    const struct backward_chunk &chunk;
    float *shared;
    int warp, lane, lane_row, pair; /* pair: the first channel of the block's */
    int channel, valid;
    float a[TC][TS], h[TC][TS], e[TC][TS], a_sum[TC][TS];
    float decay[PIECE][TC][TS], before[PIECE][TC][TS];

    __device__ inline void begin(const struct backward_pass<TS, SG, TC> &pass) {
        const struct scan_call &scan = call.scan;
        warp = threadIdx.x / 32;
        lane = threadIdx.x % SG;
        lane_row = threadIdx.x % 32 / SG;
        pair = warp * L::HEIGHT + lane_row * TC;
        channel = pass.place(pair, &valid);
#pragma unroll
        for (int j = 0; j < TC; j++)
#pragma unroll
            for (int i = 0; i < TS; i++) a[j][i] = h[j][i] = e[j][i] = a_sum[j][i] = 0;
        move_states<TS, SG, TC, false>(a, (float *)scan.a_log, channel, valid, scan.states, lane);
#pragma unroll
        for (int j = 0; j < TC; j++)
#pragma unroll
            for (int i = 0; i < TS; i++) a[j][i] = -SCAN_LOG2_E * __expf(a[j][i]);
        move_states<TS, SG, TC, false>(h, (float *)call.states + chunk.checkpoint * chunk.size,
                                       channel, valid, scan.states, lane);
        move_states<TS, SG, TC, false>(e, scan.checkpoints + chunk.slot * chunk.size, channel,
                                       valid, scan.states, lane);
    }

    __device__ inline void sweep_step(int step) {
        float dt[TC], u[TC], b[TS];
        load(dt, shared + L::DT + step * L::CHANNELS + pair);
        load(u, shared + L::U + step * L::CHANNELS + pair);
        load_states<TS, SG>(b, shared + L::B + step * L::NP, lane);
        advance(h, decay[0], a, dt, u, b);
    }

    /* The states before each piece of a block, from those before the block. */
    __device__ inline void sweep_block(int block) {
        recall_states(h, shared + L::BLOCK_STARTS + block * L::STARTS);
        for (int piece = 0; piece < PIECES; piece++) {
            keep_states(shared + L::PIECE_STARTS + piece * L::STARTS, h);
            if (piece + 1 == PIECES) break;
#pragma unroll
            for (int q = 0; q < PIECE; q++) sweep_step(piece * PIECE + q);
        }
    }

    __device__ inline void load_step(struct backward_step<TS, TC> *to, int step) const {
        const float *c = shared + L::C + (step * L::HEADS + (L::APART ? warp : 0)) * L::NP;
        load(to->dt, shared + L::DT + step * L::CHANNELS + pair);
        load(to->u, shared + L::U + step * L::CHANNELS + pair);
        load(to->dy, shared + L::DY + step * L::CHANNELS + pair);
        load_states<TS, SG>(to->b, shared + L::B + step * L::NP, lane);
        load_states<TS, SG>(to->c, c, lane);
    }

    /* A piece's tokens in order: states and decays are kept, y and dc's parts summed. */
    __device__ inline void go_forward(int first, float (&y)[L::COUNT]) {
        recall_states(h, shared + L::PIECE_STARTS + first / PIECE * L::STARTS);
#pragma unroll
        for (int q = 0; q < PIECE; q++) {
            struct backward_step<TS, TC> now;
            float dc[TS] = {};
            load_step(&now, first + q);
#pragma unroll
            for (int j = 0; j < TC; j++)
#pragma unroll
                for (int i = 0; i < TS; i++) before[q][j][i] = h[j][i];
            advance(h, decay[q], a, now.dt, now.u, now.b);
#pragma unroll
            for (int j = 0; j < TC; j++)
#pragma unroll
                for (int i = 0; i < TS; i++) {
                    y[q * TC + j] = fmaf(h[j][i], now.c[i], y[q * TC + j]);
                    dc[i] = fmaf(h[j][i], now.dy[j], dc[i]);
                }
            store_part<TS, SG>(shared + L::DC_PARTS + (warp * PIECE + q) * L::PART, dc, lane_row,
                               lane);
        }
    }

    /* And back: the gradients of u and of dt's exponent, and db's parts. */
    __device__ inline void go_back(int first, float (&du)[L::COUNT], float (&ddt)[L::COUNT]) {
#pragma unroll
        for (int q = PIECE - 1; q >= 0; q--) {
            struct backward_step<TS, TC> now;
            float db[TS] = {};
            load_step(&now, first + q);
#pragma unroll
            for (int j = 0; j < TC; j++)
#pragma unroll
                for (int i = 0; i < TS; i++) {
                    float g = fmaf(now.c[i], now.dy[j], e[j][i]);
                    db[i] = fmaf(g, now.u[j], db[i]);
                    du[q * TC + j] = fmaf(g, now.b[i], du[q * TC + j]);
                    e[j][i] = g * decay[q][j][i];
                    float decayed = e[j][i] * before[q][j][i];
                    ddt[q * TC + j] = fmaf(decayed, a[j][i], ddt[q * TC + j]);
                    a_sum[j][i] = fmaf(decayed, now.dt[j], a_sum[j][i]);
                }
            store_part<TS, SG>(shared + L::DB_PARTS + (warp * PIECE + q) * L::PART, db, lane_row,
                               lane);
        }
    }

    /* The tiles' values of a piece are used up: sums over states take their place. */
    __device__ inline void store_piece(int first, float (&y)[L::COUNT], float (&du)[L::COUNT],
                                       float (&ddt)[L::COUNT]) const {
        store_sums<TS, SG, TC>(shared + L::DY, y, first, pair, lane);
        store_sums<TS, SG, TC>(shared + L::U, du, first, pair, lane);
        store_sums<TS, SG, TC>(shared + L::DT, ddt, first, pair, lane);
    }
};

/* One piece of a block. Where warps have sub-heads of their own, dc's and db's parts take turns in
 * the same memory; else the block meets before sums cross warps. */
template <int TS, int SG, int TC>
__device__ inline void walk_piece(struct backward_walker<TS, SG, TC> &walker,
                                  const struct backward_sums<TS, SG, TC> &sums, int block,
                                  int first) {
    typedef backward_layout<TS, SG, TC> L;
    float y[L::COUNT] = {}, du[L::COUNT] = {}, ddt[L::COUNT] = {};
    walker.go_forward(first, y);
    if (L::APART) {
        __syncwarp();
        sums.finish_dc(block, first);
        __syncwarp();
    }
    walker.go_back(first, du, ddt);
    __syncwarp();
    walker.store_piece(first, y, du, ddt);
    if (L::APART) {
        sums.finish_db(block, first);
        __syncwarp();
    } else {
        __syncthreads();
        sums.finish_dc(block, first);
        sums.finish_db(block, first);
        __syncthreads();
    }
}

/* All gradients of a chunk and source sub-head, `count` passes over its channels. A pass first
 * brings the states forward to keep one at the start of each block, then takes the blocks
 * backwards: the states within once more, then pieces of 4 tokens with states in registers. */
template <int TS, int SG, int TC>
__global__ void __launch_bounds__(SCAN_THREADS, 3)
    scan_backward_kernel(struct scan_backward_call call) {
    typedef backward_layout<TS, SG, TC> L;
    extern __shared__ __align__(16) float shared[];
    struct backward_chunk chunk;
    if (!find_chunk(&chunk, call.scan)) return;
    struct backward_pass<TS, SG, TC> pass(call.scan, chunk);
    struct backward_mover<TS, SG, TC> mover = {
        call, chunk, pass, shared
    };
    struct backward_walker<TS, SG, TC> walker = {
        call, chunk, shared
    };
    int warp = threadIdx.x / 32, from = L::APART ? threadIdx.x % 32 : threadIdx.x;
    struct backward_sums<TS, SG, TC> sums = {
        call, chunk, pass, shared, warp, from
    };
    for (int k = 0; k < pass.count; k++) {
        pass.begin(k);
        mover.begin();
        walker.begin(pass);
        for (int block = 0; block < chunk.blocks; block++) {
            keep_states(shared + L::BLOCK_STARTS + block * L::STARTS, walker.h);
            if (block + 1 == chunk.blocks) break;
            mover.stage(block, false);
            __syncthreads();
#pragma unroll 4
            for (int step = 0; step < SCAN_BLOCK; step++) walker.sweep_step(step);
            __syncthreads();
        }
        for (int block = chunk.blocks - 1; block >= 0; block--) {
            mover.stage(block, true);
            __syncthreads();
            walker.sweep_block(block);
#pragma unroll 1
            for (int piece = PIECES - 1; piece >= 0; piece--)
                walk_piece(walker, sums, block, piece * PIECE);
            __syncthreads();
            mover.finish(block);
            if (L::APART) sums.join_db(block);
            __syncthreads();
        }
        if (call.da_log)
            move_states<TS, SG, TC, true>(
                walker.a_sum, call.scan.checkpoints + chunk.slot * chunk.size, walker.channel,
                walker.valid, call.scan.states, walker.lane);
        if (call.ddt_bias || call.dd) mover.finish_sums();
    }
}

/* gradient [width] += the sum over all chunks of part [chunks, width], times -exp(a_log) where
 * a_log is given. */
__global__ void __launch_bounds__(SCAN_THREADS)
    scan_sum_chunks_kernel(float *gradient, const float *part, const float *a_log, int64_t width,
                           const int32_t *offsets, int count) {
    int64_t index = (int64_t)blockIdx.x * SCAN_THREADS + threadIdx.x;
    if (index >= width) return;
    double total = 0;
    for (int s = 0; s < count; s++) {
        int64_t slot = scan_first_chunk(offsets[s], s);
        int chunks = (offsets[s + 1] - offsets[s] + SCAN_CHUNK - 1) / SCAN_CHUNK;
#pragma unroll 8
        for (int k = 0; k < chunks; k++) total += part[(slot + k) * width + index];
    }
    if (a_log) total *= -(double)expf(a_log[index]);
    gradient[index] += (float)total;
}

static void sum_chunks(struct cuda_backend *cuda, float *gradient, const float *part,
                       const float *a_log, int64_t width, const struct scan_call *call) {
    if (gradient)
        CUDA_LAUNCH(cuda, scan_sum_chunks_kernel, dim3((unsigned)ceil_div(width, SCAN_THREADS)),
                    SCAN_THREADS, 0, gradient, part, a_log, width, call->offsets, call->count);
}

template <int TS, int SG, int TC>
static void launch_backward(struct cuda_backend *cuda, const struct scan_backward_call *call) {
    constexpr int BYTES = backward_layout<TS, SG, TC>::BYTES;
    const struct scan_call *scan = &call->scan;
    CUDA_ALLOW_SHARED(cuda, (scan_backward_kernel<TS, SG, TC>), BYTES);
    int64_t blocks =
        ceil_div(scan->longest, SCAN_CHUNK) * scan->count * (scan->source_width / scan->states);
    CUDA_LAUNCH(cuda, (scan_backward_kernel<TS, SG, TC>), dim3((unsigned)blocks), SCAN_THREADS,
                BYTES, *call);
}

/* Scratch: E at the chunks' ends, the chunks' sums, db's sums, the states' pass. */
static bool take_scratch(struct cuda_backend *cuda, struct scan_backward_call *call, char **pass,
                         int64_t chunks) {
    const struct scan_call *scan = &call->scan;
    size_t inner = (size_t)scan->inner, states = inner * (size_t)scan->states * (size_t)chunks;
    size_t sums = inner * (size_t)chunks;
    size_t db = scan->states > 32 ? (size_t)scan->tokens * (size_t)scan->source_width : 0;
    size_t own = (states + 2 * sums + db) * sizeof(float);
    float *scratch = (float *)cuda_scratch(cuda, own + cuda_scan_scratch_bytes(cuda, scan));
    if (!scratch) return false;
    call->scan.checkpoints = scratch;
    call->bias_sums = scratch + states;
    call->d_sums = call->bias_sums + sums;
    call->db_sums = call->d_sums + sums;
    *pass = (char *)scratch + own;
    return true;
}

void cuda_scan_backward(struct backend *backend, const struct scan_gradients *gradients,
                        const struct act *dout, const struct acc *checkpoints,
                        const struct scan_inputs *in, const struct sequences *sequences,
                        const struct mamba_shape *shape) {
    struct cuda_backend *cuda = cuda_of(backend);
    struct scan_backward_call call = {};
    if (!cuda_scan_call(cuda, &call.scan, in, sequences, shape)) return;
    call.scan.dout = (const bf16 *)dout;
    if (cuda_scan16_backward_fits(cuda, &call.scan, gradients, dout))
        return cuda_scan16_backward(cuda, &call.scan, gradients, (const float *)checkpoints);
    call.scan.aligned = call.scan.aligned && (uintptr_t)dout % 16 == 0;
    call.states = (const float *)checkpoints;
    call.dx = (bf16 *)gradients->dx;
    call.ddt = (bf16 *)gradients->ddt;
    call.dz = (bf16 *)gradients->dz;
    call.db = (bf16 *)gradients->db;
    call.dc = (bf16 *)gradients->dc;
    call.x_stride = gradients->x_stride;
    call.dt_stride = gradients->dt_stride;
    call.z_stride = gradients->z_stride;
    call.b_stride = gradients->b_stride;
    call.c_stride = gradients->c_stride;
    call.ddt_bias = (float *)gradients->ddt_bias;
    call.da_log = (float *)gradients->da_log;
    call.dd = (float *)gradients->dd;
    uintptr_t starts =
        (uintptr_t)gradients->dx | (uintptr_t)gradients->ddt | (uintptr_t)gradients->dz;
    int64_t strides = gradients->x_stride | gradients->dt_stride | gradients->z_stride;
    call.aligned = starts % 16 == 0 && strides % 8 == 0 && shape->d_state % 8 == 0;

    char *scratch;
    if (!take_scratch(cuda, &call, &scratch, cuda_scan_chunks(sequences))) return;
    cuda_scan_pass(cuda, &call.scan, scratch, true);
    if (shape->d_state <= 16)
        launch_backward<4, 4, 2>(cuda, &call);
    else if (shape->d_state <= 32)
        launch_backward<4, 8, 2>(cuda, &call);
    else if (shape->d_state <= 64)
        launch_backward<4, 16, 2>(cuda, &call);
    else if (shape->d_state <= 128)
        launch_backward<4, 32, 2>(cuda, &call);
    else
        launch_backward<8, 32, 1>(cuda, &call);
    int64_t inner = call.scan.inner;
    sum_chunks(cuda, call.da_log, call.scan.checkpoints, call.scan.a_log, inner * call.scan.states,
               &call.scan);
    sum_chunks(cuda, call.ddt_bias, call.bias_sums, NULL, inner, &call.scan);
    sum_chunks(cuda, call.dd, call.d_sums, NULL, inner, &call.scan);
}
