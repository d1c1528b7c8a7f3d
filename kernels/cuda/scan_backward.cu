/* The selective scan's backward pass. With E_t what the state before token t receives from t and
 * later tokens: g_t = E_{t+1} + dy_t C_t, E_t = a_t g_t, a_t = exp(dt_t A). The states' pass of
 * scan.cu leaves E at the end of every chunk; the kernel here then works on all chunks at once, one
 * block to a chunk and a source sub-head, so that the sums over channels and repeats for db and dc
 * stay in a block. A chunk's states come from its checkpoint in three levels, by blocks of 16
 * tokens, pieces of 4 and steps, of which only the last are held in registers.
 *
 * Sums over a channel's states go through shuffles, sums over channels through shared memory, sums
 * over chunks (parameter gradients) through a last kernel, all in a fixed order. */
#include "kernels/cuda/scan.cuh"
#include "kernels/cuda/scan.h"

enum { WARPS = SCAN_THREADS / 32, PIECE = 4, PIECES = SCAN_BLOCK / PIECE };
enum { BLOCKS = SCAN_CHUNK / SCAN_BLOCK };

struct scan_backward_call {
    struct scan_call scan; /* its checkpoints: E at the end of each chunk [chunks, I, N], replaced
                              by the chunk's sums for da_log */
    const float *states;   /* the forward pass's checkpoints */
    bf16 *dx, *ddt, *dz, *db, *dc;
    int64_t x_stride, dt_stride, z_stride, b_stride, c_stride;
    bool aligned;
    float *db_sums;                /* [tokens, X], when N is large */
    float *bias_sums, *d_sums;     /* [chunks, I] */
    float *ddt_bias, *da_log, *dd; /* each may be NULL */
};

/* A warp owns HEIGHT channels of one sub-head with all their states: SG lanes to a channel's
 * states, ROWS rows of lanes, TC channels to a row. A block takes CHANNELS at a time: with few
 * states one sub-head to a warp, else one sub-head (or a part) to all warps. */
template <int TS, int SG, int TC> struct backward_layout {
    static constexpr int NP = TS * SG, ROWS = 32 / SG, HEIGHT = ROWS * TC;
    static constexpr int CHANNELS = WARPS * HEIGHT, ELEMENTS = TC * TS;
    static constexpr bool APART = HEIGHT >= NP; /* sub-heads by warps */
    static constexpr int HEADS = APART ? WARPS : 1;
    static constexpr int VECTOR = CHANNELS < 8 ? CHANNELS : 8;
    static constexpr int VECTORS = SCAN_BLOCK * CHANNELS / VECTOR;
    static constexpr int COUNT = PIECE * TC;  /* sums over states of a piece */
    static constexpr int PART = 32 * TS + 16; /* one step of one warp, and a skew */
    static constexpr int PARTS = WARPS * PIECE * PART;
    static constexpr bool GLOBAL_DB = NP > 32; /* db is summed in memory, not in db_tile */

    /* float32 elements of each part of shared memory */
    static constexpr int TILE = SCAN_BLOCK * CHANNELS, B_TILE = SCAN_BLOCK * NP;
    static constexpr int C_TILE = B_TILE * HEADS;
    static constexpr int STARTS = ELEMENTS * SCAN_THREADS; /* one set of states */
    static constexpr int DC_TILE = APART || NP <= CHANNELS ? 0 : SCAN_CHUNK * NP;
    static constexpr int DB_TILE = GLOBAL_DB ? 0 : SCAN_CHUNK * NP;
    static constexpr int DB_WARPS = APART ? WARPS * B_TILE : 0;
    static constexpr int BYTES = 4 * (3 * TILE + B_TILE + C_TILE + (BLOCKS + PIECES) * STARTS +
                                      (APART ? 1 : 2) * PARTS + DC_TILE + DB_TILE + DB_WARPS);
    static_assert(VECTORS <= SCAN_THREADS && 2 * TILE <= PARTS * (APART ? 1 : 2), "dealt out");
};

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

template <int TS, int SG, int TC>
__global__ void __launch_bounds__(SCAN_THREADS, 3)
    scan_backward_kernel(struct scan_backward_call call) {
    typedef backward_layout<TS, SG, TC> L;
    extern __shared__ __align__(16) float shared[];
    float *dt_tile = shared, *u_tile = dt_tile + L::TILE, *dy_tile = u_tile + L::TILE;
    float *b_tile = dy_tile + L::TILE, *c_tile = b_tile + L::B_TILE;
    float *block_starts = c_tile + L::C_TILE, *piece_starts = block_starts + BLOCKS * L::STARTS;
    float *dc_parts = piece_starts + PIECES * L::STARTS;
    float *db_parts = dc_parts + (L::APART ? 0 : L::PARTS), *dc_tile = db_parts + L::PARTS;
    float *db_tile = dc_tile + L::DC_TILE, *db_warps = db_tile + L::DB_TILE;

    const struct scan_call &scan = call.scan;
    int states = scan.states, sources = scan.source_width / states, source = blockIdx.x % sources;
    int chunks = (scan.longest + SCAN_CHUNK - 1) / SCAN_CHUNK;
    int chunk = blockIdx.x / sources % chunks, sequence = blockIdx.x / sources / chunks;
    int64_t token = scan.offsets[sequence];
    int length = (int)(scan.offsets[sequence + 1] - token) - chunk * SCAN_CHUNK;
    if (length <= 0) return;
    length = min(length, (int)SCAN_CHUNK);
    token += (int64_t)chunk * SCAN_CHUNK; /* the chunk's tokens: token .. token + length */
    int64_t slot = scan_first_chunk(scan.offsets[sequence], sequence) + chunk;
    int64_t size = (int64_t)scan.inner * states;
    int blocks = (length + SCAN_BLOCK - 1) / SCAN_BLOCK;
    int per_head = L::APART ? 1 : (states + L::CHANNELS - 1) / L::CHANNELS;
    int passes = L::APART ? (scan.repeat + WARPS - 1) / WARPS : scan.repeat * per_head;

    int warp = threadIdx.x / 32, lane = threadIdx.x % SG, lane_row = threadIdx.x % 32 / SG;
    int pair = warp * L::HEIGHT + lane_row * TC; /* this thread's first channel of CHANNELS */
    int row = threadIdx.x / (L::CHANNELS / L::VECTOR);
    int column = threadIdx.x % (L::CHANNELS / L::VECTOR) * L::VECTOR;

    for (int pass = 0; pass < passes; pass++) {
        int head = L::APART ? pass * WARPS : pass / per_head; /* of the source's repeats */
        int part = L::APART ? 0 : pass % per_head * L::CHANNELS;
        auto place = [&](int local, int *valid) {
            int repeat = L::APART ? head + local / L::HEIGHT : head;
            int offset = L::APART ? local % L::HEIGHT : part + local;
            *valid = repeat < scan.repeat ? states - offset : 0;
            return (source * scan.repeat + repeat) * states + offset;
        };
        int valid, loads_valid, channel = place(pair, &valid);
        int loads = place(column, &loads_valid);
        if (threadIdx.x >= L::VECTORS) loads_valid = 0;
        float dt_bias[L::VECTOR] = {}, d[L::VECTOR] = {};
        float bias_sum[L::VECTOR] = {}, d_sum[L::VECTOR] = {};
#pragma unroll
        for (int i = 0; i < L::VECTOR; i++)
            if (i < loads_valid) {
                dt_bias[i] = scan.dt_bias[loads + i];
                d[i] = scan.d[loads + i];
            }
        float a[TC][TS] = {}, h[TC][TS] = {}, e[TC][TS] = {}, a_sum[TC][TS] = {};
        float decay[PIECE][TC][TS], before[PIECE][TC][TS];
        move_states<TS, SG, TC, false>(a, (float *)scan.a_log, channel, valid, states, lane);
#pragma unroll
        for (int j = 0; j < TC; j++)
#pragma unroll
            for (int i = 0; i < TS; i++) a[j][i] = -SCAN_LOG2_E * __expf(a[j][i]);
        int64_t kept =
            scan_checkpoint(scan.offsets[sequence], sequence, chunk * SCAN_CHUNK, states);
        move_states<TS, SG, TC, false>(h, (float *)call.states + kept * size, channel, valid,
                                       states, lane);
        move_states<TS, SG, TC, false>(e, scan.checkpoints + slot * size, channel, valid, states,
                                       lane);

        /* One block of tokens into shared memory; the forward sweep needs no dy and c. */
        auto stage = [&](int block, bool all) {
            int t = block * SCAN_BLOCK + row;
            int64_t from = token + t;
            int some = t < length ? loads_valid : 0;
            if (threadIdx.x < L::VECTORS) {
                float x[L::VECTOR], dt[L::VECTOR], u[L::VECTOR];
                widen(x, load_some<L::VECTOR>(scan.x + from * scan.x_stride + loads, some,
                                              scan.aligned));
                widen(dt, load_some<L::VECTOR>(scan.dt + from * scan.dt_stride + loads, some,
                                               scan.aligned));
#pragma unroll
                for (int i = 0; i < L::VECTOR; i++) {
                    dt[i] = i < some ? scan_softplus(dt[i] + dt_bias[i]) : 0.0f;
                    u[i] = dt[i] * x[i];
                }
                store(dt_tile + row * L::CHANNELS + column, dt);
                store(u_tile + row * L::CHANNELS + column, u);
                if (all) {
                    float z[L::VECTOR], dout[L::VECTOR];
                    widen(z, load_some<L::VECTOR>(scan.z + from * scan.z_stride + loads, some,
                                                  scan.aligned));
                    widen(dout, load_some<L::VECTOR>(scan.dout + from * scan.inner + loads, some,
                                                     scan.aligned));
#pragma unroll
                    for (int i = 0; i < L::VECTOR; i++) dout[i] *= z[i] * scan_sigmoid(z[i]);
                    store(dy_tile + row * L::CHANNELS + column, dout);
                }
            }
            for (int i = threadIdx.x; i < L::B_TILE / 8; i += SCAN_THREADS) {
                int step = i * 8 / L::NP, n = i * 8 % L::NP, at = block * SCAN_BLOCK + step;
                float wide[8];
                widen(wide,
                      load_some<8>(scan.b + (token + at) * scan.b_stride + source * states + n,
                                   at < length ? states - n : 0, scan.aligned));
                store(b_tile + i * 8, wide);
            }
            if (!all) return;
            for (int i = threadIdx.x; i < L::C_TILE / 8; i += SCAN_THREADS) {
                int step = i * 8 / (L::HEADS * L::NP), n = i * 8 % L::NP;
                int at = block * SCAN_BLOCK + step, repeat = head + i * 8 / L::NP % L::HEADS;
                const bf16 *c = scan.c + (token + at) * scan.c_stride +
                                (source * scan.repeat + repeat) * states + n;
                float wide[8];
                widen(wide, load_some<8>(c, at < length && repeat < scan.repeat ? states - n : 0,
                                         scan.aligned));
                store(c_tile + i * 8, wide);
            }
        };
        auto sweep_step = [&](int step) {
            float dt[TC], u[TC], b[TS];
            load(dt, dt_tile + step * L::CHANNELS + pair);
            load(u, u_tile + step * L::CHANNELS + pair);
            load_states<TS, SG>(b, b_tile + step * L::NP, lane);
            advance(h, decay[0], a, dt, u, b);
        };

        for (int block = 0; block < blocks; block++) {
            keep_states(block_starts + block * L::STARTS, h);
            if (block + 1 == blocks) break;
            stage(block, false);
            __syncthreads();
#pragma unroll 4
            for (int step = 0; step < SCAN_BLOCK; step++) sweep_step(step);
            __syncthreads();
        }

        for (int block = blocks - 1; block >= 0; block--) {
            stage(block, true);
            __syncthreads();
            recall_states(h, block_starts + block * L::STARTS);
            for (int piece = 0; piece < PIECES; piece++) {
                keep_states(piece_starts + piece * L::STARTS, h);
                if (piece + 1 == PIECES) break;
#pragma unroll
                for (int q = 0; q < PIECE; q++) sweep_step(piece * PIECE + q);
            }
#pragma unroll 1
            for (int piece = PIECES - 1; piece >= 0; piece--) {
                int first = piece * PIECE;
                float y[L::COUNT] = {}, du[L::COUNT] = {}, ddt[L::COUNT] = {};
                recall_states(h, piece_starts + piece * L::STARTS);
#pragma unroll
                for (int q = 0; q < PIECE; q++) {
                    int step = first + q;
                    float dt[TC], u[TC], dy[TC], b[TS], c[TS], dc[TS] = {};
                    load(dt, dt_tile + step * L::CHANNELS + pair);
                    load(u, u_tile + step * L::CHANNELS + pair);
                    load(dy, dy_tile + step * L::CHANNELS + pair);
                    load_states<TS, SG>(b, b_tile + step * L::NP, lane);
                    load_states<TS, SG>(
                        c, c_tile + (step * L::HEADS + (L::APART ? warp : 0)) * L::NP, lane);
#pragma unroll
                    for (int j = 0; j < TC; j++)
#pragma unroll
                        for (int i = 0; i < TS; i++) before[q][j][i] = h[j][i];
                    advance(h, decay[q], a, dt, u, b);
#pragma unroll
                    for (int j = 0; j < TC; j++)
#pragma unroll
                        for (int i = 0; i < TS; i++) {
                            y[q * TC + j] = fmaf(h[j][i], c[i], y[q * TC + j]);
                            dc[i] = fmaf(h[j][i], dy[j], dc[i]);
                        }
                    store_part<TS, SG>(dc_parts + (warp * PIECE + q) * L::PART, dc, lane_row, lane);
                }

                /* Of outputs o = (step, state): the sum over rows of lanes, and over warps when
                 * they share a sub-head. The same thread has the same o in every pass. */
                auto sum_parts = [&](const float *parts, int o) {
                    float total = 0;
                    for (int w = L::APART ? warp : 0; w < (L::APART ? warp + 1 : WARPS); w++)
#pragma unroll
                        for (int r = 0; r < L::ROWS; r++)
                            total +=
                                parts[(w * PIECE + o / L::NP) * L::PART + r * L::NP + o % L::NP];
                    return total;
                };
                int from = L::APART ? threadIdx.x % 32 : threadIdx.x;
                constexpr int STEP = L::APART ? 32 : SCAN_THREADS;
                auto finish_dc = [&]() {
#pragma unroll
                    for (int o = from; o < PIECE * L::NP; o += STEP) {
                        int t = block * SCAN_BLOCK + first + o / L::NP, n = o % L::NP;
                        int repeat = head + (L::APART ? warp : 0);
                        float total = sum_parts(dc_parts, o);
                        if (!L::APART && L::DC_TILE) {
                            float *at = dc_tile + t * L::NP + n;
                            total = part ? *at + total : total;
                            *at = total;
                            if (part + L::CHANNELS < states) continue;
                        }
                        if (t < length && n < states && repeat < scan.repeat)
                            call.dc[(token + t) * call.c_stride +
                                    (source * scan.repeat + repeat) * states + n] =
                                __float2bfloat16(total);
                    }
                };
                auto finish_db = [&]() {
#pragma unroll
                    for (int o = from; o < PIECE * L::NP; o += STEP) {
                        int t = block * SCAN_BLOCK + first + o / L::NP, n = o % L::NP;
                        float total = sum_parts(db_parts, o);
                        if (L::APART) {
                            db_warps[(warp * SCAN_BLOCK + first + o / L::NP) * L::NP + n] = total;
                            continue;
                        }
                        if (t >= length || n >= states) continue;
                        float *at = L::GLOBAL_DB ? call.db_sums + (token + t) * scan.source_width +
                                                       source * states + n
                                                 : db_tile + t * L::NP + n;
                        total = pass ? *at + total : total;
                        *at = total;
                        if (pass + 1 == passes)
                            call.db[(token + t) * call.b_stride + source * states + n] =
                                __float2bfloat16(total);
                    }
                };
                if (L::APART) {
                    __syncwarp();
                    finish_dc();
                    __syncwarp();
                }

#pragma unroll
                for (int q = PIECE - 1; q >= 0; q--) {
                    int step = first + q;
                    float dt[TC], u[TC], dy[TC], b[TS], c[TS], db[TS] = {};
                    load(dt, dt_tile + step * L::CHANNELS + pair);
                    load(u, u_tile + step * L::CHANNELS + pair);
                    load(dy, dy_tile + step * L::CHANNELS + pair);
                    load_states<TS, SG>(b, b_tile + step * L::NP, lane);
                    load_states<TS, SG>(
                        c, c_tile + (step * L::HEADS + (L::APART ? warp : 0)) * L::NP, lane);
#pragma unroll
                    for (int j = 0; j < TC; j++)
#pragma unroll
                        for (int i = 0; i < TS; i++) {
                            float g = fmaf(c[i], dy[j], e[j][i]);
                            db[i] = fmaf(g, u[j], db[i]);
                            du[q * TC + j] = fmaf(g, b[i], du[q * TC + j]);
                            e[j][i] = g * decay[q][j][i];
                            float decayed = e[j][i] * before[q][j][i];
                            ddt[q * TC + j] = fmaf(decayed, a[j][i], ddt[q * TC + j]);
                            a_sum[j][i] = fmaf(decayed, dt[j], a_sum[j][i]);
                        }
                    store_part<TS, SG>(db_parts + (warp * PIECE + q) * L::PART, db, lane_row, lane);
                }
                __syncwarp();
                /* The tiles' values of this piece are used up. */
                store_sums<TS, SG, TC>(dy_tile, y, first, pair, lane);
                store_sums<TS, SG, TC>(u_tile, du, first, pair, lane);
                store_sums<TS, SG, TC>(dt_tile, ddt, first, pair, lane);
                if (L::APART) {
                    finish_db();
                    __syncwarp();
                } else {
                    __syncthreads();
                    finish_dc();
                    finish_db();
                    __syncthreads();
                }
            }
            __syncthreads();

            int t = block * SCAN_BLOCK + row, some = t < length ? loads_valid : 0;
            if (some > 0 && threadIdx.x < L::VECTORS) {
                int64_t at = token + t;
                float x[L::VECTOR], dt[L::VECTOR], z[L::VECTOR], dout[L::VECTOR], y[L::VECTOR];
                float du[L::VECTOR], ddt[L::VECTOR];
                widen(x, load_some<L::VECTOR>(scan.x + at * scan.x_stride + loads, some,
                                              scan.aligned));
                widen(dt, load_some<L::VECTOR>(scan.dt + at * scan.dt_stride + loads, some,
                                               scan.aligned));
                widen(z, load_some<L::VECTOR>(scan.z + at * scan.z_stride + loads, some,
                                              scan.aligned));
                widen(dout, load_some<L::VECTOR>(scan.dout + at * scan.inner + loads, some,
                                                 scan.aligned));
                load(y, dy_tile + row * L::CHANNELS + column);
                load(du, u_tile + row * L::CHANNELS + column);
                load(ddt, dt_tile + row * L::CHANNELS + column);
#pragma unroll
                for (int i = 0; i < L::VECTOR; i++) {
                    float raw = dt[i] + dt_bias[i], gate = scan_sigmoid(z[i]);
                    float dy = dout[i] * z[i] * gate;
                    z[i] =
                        dout[i] * fmaf(d[i], x[i], y[i]) * (gate * fmaf(z[i], 1.0f - gate, 1.0f));
                    ddt[i] = fmaf(x[i], du[i], SCAN_LN_2 * ddt[i]) * scan_sigmoid(raw);
                    d_sum[i] = fmaf(dy, x[i], d_sum[i]);
                    bias_sum[i] += ddt[i];
                    x[i] = fmaf(scan_softplus(raw), du[i], d[i] * dy);
                }
                store_some(call.dx + at * call.x_stride + loads, x, some, call.aligned);
                store_some(call.ddt + at * call.dt_stride + loads, ddt, some, call.aligned);
                store_some(call.dz + at * call.z_stride + loads, z, some, call.aligned);
            }
            if (L::APART)
                for (int o = threadIdx.x; o < L::B_TILE; o += SCAN_THREADS) {
                    int step = block * SCAN_BLOCK + o / L::NP, n = o % L::NP;
                    float total = pass ? db_tile[step * L::NP + n] : 0.0f;
#pragma unroll
                    for (int w = 0; w < WARPS; w++) total += db_warps[w * L::B_TILE + o];
                    db_tile[step * L::NP + n] = total;
                    if (pass + 1 == passes && step < length && n < states)
                        call.db[(token + step) * call.b_stride + source * states + n] =
                            __float2bfloat16(total);
                }
            __syncthreads();
        }

        if (call.da_log)
            move_states<TS, SG, TC, true>(a_sum, scan.checkpoints + slot * size, channel, valid,
                                          states, lane);
        if (call.ddt_bias || call.dd) {
            /* Over the rows of the vectors, in order. */
            float *bias_rows = dc_parts, *d_rows = bias_rows + L::TILE;
            if (threadIdx.x < L::VECTORS) {
                store(bias_rows + row * L::CHANNELS + column, bias_sum);
                store(d_rows + row * L::CHANNELS + column, d_sum);
            }
            __syncthreads();
            for (int l = threadIdx.x; l < L::CHANNELS; l += SCAN_THREADS) {
                int exists, to = place(l, &exists);
                float bias_total = 0, d_total = 0;
                for (int r = 0; r < SCAN_BLOCK; r++) {
                    bias_total += bias_rows[r * L::CHANNELS + l];
                    d_total += d_rows[r * L::CHANNELS + l];
                }
                if (exists <= 0) continue;
                call.bias_sums[slot * scan.inner + to] = bias_total;
                call.d_sums[slot * scan.inner + to] = d_total;
            }
            __syncthreads();
        }
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
