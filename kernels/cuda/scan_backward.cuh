/* What stands around the walk of scan_backward.cu: the layout of a block's channels and of its
 * shared memory, which chunk and channels a block works on, what moves between memory and the
 * tiles, and the sums over channels. */
#ifndef KERNELS_CUDA_SCAN_BACKWARD_CUH
#define KERNELS_CUDA_SCAN_BACKWARD_CUH

#include "kernels/cuda/scan.cuh"

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
    static constexpr bool GLOBAL_DB = NP > 32; /* db is summed in memory, not in a tile */
    static constexpr bool DC_TILED = !APART && NP > CHANNELS;

    /* Shared memory, in float32 elements from its start. */
    static constexpr int TILE = SCAN_BLOCK * CHANNELS, B_TILE = SCAN_BLOCK * NP;
    static constexpr int STARTS = ELEMENTS * SCAN_THREADS; /* one set of states */
    static constexpr int DT = 0, U = DT + TILE, DY = U + TILE, B = DY + TILE, C = B + B_TILE;
    static constexpr int BLOCK_STARTS = C + B_TILE * HEADS;
    static constexpr int PIECE_STARTS = BLOCK_STARTS + BLOCKS * STARTS;
    static constexpr int DC_PARTS = PIECE_STARTS + PIECES * STARTS;
    static constexpr int DB_PARTS = DC_PARTS + (APART ? 0 : PARTS); /* APART: one after the other */
    static constexpr int DC = DB_PARTS + PARTS, DB = DC + (DC_TILED ? SCAN_CHUNK * NP : 0);
    static constexpr int DB_WARPS = DB + (GLOBAL_DB ? 0 : SCAN_CHUNK * NP);
    static constexpr int END = DB_WARPS + (APART ? WARPS * B_TILE : 0), BYTES = 4 * END;
    static_assert(VECTORS <= SCAN_THREADS, "a thread loads one vector of each tile");
    static_assert(2 * TILE <= DC - DC_PARTS, "the parameters' sums take the place of the parts");
    static_assert(U % 4 == 0 && DY % 4 == 0 && B % 4 == 0 && C % 4 == 0 && BLOCK_STARTS % 4 == 0 &&
                      DC_PARTS % 4 == 0 && DB_PARTS % 4 == 0 && DC % 4 == 0 && DB_WARPS % 4 == 0,
                  "accesses are of 16 bytes");
    static_assert(BYTES <= 163 << 10, "what compute capability 8.0 gives a block");
};

/* A block's work: one chunk of one sequence and one source sub-head, with all its repeats. */
struct backward_chunk {
    int source, length, blocks;     /* tokens of the chunk, blocks of SCAN_BLOCK of them */
    int64_t token;                  /* the chunk's first */
    int64_t slot, checkpoint, size; /* its rows of the sums and of the checkpoints; [I, N] */
};

/* False where the sequence has no such chunk. */
__device__ inline bool find_chunk(struct backward_chunk *chunk, const struct scan_call &scan) {
    int sources = scan.source_width / scan.states;
    int chunks = (scan.longest + SCAN_CHUNK - 1) / SCAN_CHUNK;
    int index = blockIdx.x / sources % chunks, sequence = blockIdx.x / sources / chunks;
    int64_t first = scan.offsets[sequence];
    chunk->source = blockIdx.x % sources;
    chunk->length = (int)(scan.offsets[sequence + 1] - first) - index * SCAN_CHUNK;
    if (chunk->length <= 0) return false;
    chunk->length = min(chunk->length, (int)SCAN_CHUNK);
    chunk->blocks = (chunk->length + SCAN_BLOCK - 1) / SCAN_BLOCK;
    chunk->token = first + (int64_t)index * SCAN_CHUNK;
    chunk->slot = scan_first_chunk(first, sequence) + index;
    chunk->checkpoint = scan_checkpoint(first, sequence, index * SCAN_CHUNK, scan.states);
    chunk->size = (int64_t)scan.inner * scan.states;
    return true;
}

/* Which of the source's channels a pass of the block works on. */
template <int TS, int SG, int TC> struct backward_pass {
    typedef backward_layout<TS, SG, TC> L;
    const struct scan_call &scan;
    const struct backward_chunk &chunk;
    int index, count; /* of the passes */
    int head, part;   /* of the source's repeats; the first channel of the sub-head */

    __device__ inline backward_pass(const struct scan_call &scan_,
                                    const struct backward_chunk &chunk_)
        : scan(scan_), chunk(chunk_) {
        int per_head = (scan.states + L::CHANNELS - 1) / L::CHANNELS;
        count = L::APART ? (scan.repeat + WARPS - 1) / WARPS : scan.repeat * per_head;
    }

    __device__ inline void begin(int pass) {
        int per_head = L::APART ? 1 : (scan.states + L::CHANNELS - 1) / L::CHANNELS;
        index = pass;
        head = L::APART ? pass * WARPS : pass / per_head;
        part = L::APART ? 0 : pass % per_head * L::CHANNELS;
    }

    /* The channel of I that the block's channel `local` is; `valid` of those from there on exist.
     */
    __device__ inline int place(int local, int *valid) const {
        int repeat = L::APART ? head + local / L::HEIGHT : head;
        int offset = L::APART ? local % L::HEIGHT : part + local;
        *valid = repeat < scan.repeat ? scan.states - offset : 0;
        return (chunk.source * scan.repeat + repeat) * scan.states + offset;
    }

    __device__ inline bool is_first() const {
        return index == 0;
    }
    __device__ inline bool is_last() const {
        return index + 1 == count;
    }
};

/* What a thread moves between memory and the tiles: VECTOR channels of one token of a block. */
template <int TS, int SG, int TC> struct backward_mover {
    typedef backward_layout<TS, SG, TC> L;
    const struct scan_backward_call &call;
    const struct backward_chunk &chunk;
    const struct backward_pass<TS, SG, TC> &pass;
    float *shared;
    int row, column, channel, valid;
    float dt_bias[L::VECTOR], d[L::VECTOR], bias_sum[L::VECTOR], d_sum[L::VECTOR];

    __device__ inline void begin() {
        row = threadIdx.x / (L::CHANNELS / L::VECTOR);
        column = threadIdx.x % (L::CHANNELS / L::VECTOR) * L::VECTOR;
        channel = pass.place(column, &valid);
        if (threadIdx.x >= L::VECTORS) valid = 0;
#pragma unroll
        for (int i = 0; i < L::VECTOR; i++) {
            dt_bias[i] = i < valid ? call.scan.dt_bias[channel + i] : 0.0f;
            d[i] = i < valid ? call.scan.d[channel + i] : 0.0f;
            bias_sum[i] = d_sum[i] = 0;
        }
    }

    __device__ inline void read(float (&to)[L::VECTOR], const bf16 *from, int64_t stride,
                                int64_t token, int some) const {
        widen(to, load_some<L::VECTOR>(from + token * stride + channel, some, call.scan.aligned));
    }

    /* dt and u = dt x of the block's tokens, and dy = dout silu(z) for the way back. */
    __device__ inline void stage_channels(int block, bool all) const {
        if (threadIdx.x >= L::VECTORS) return;
        const struct scan_call &scan = call.scan;
        int t = block * SCAN_BLOCK + row, some = t < chunk.length ? valid : 0;
        int64_t at = chunk.token + t;
        float *to = shared + row * L::CHANNELS + column;
        float x[L::VECTOR], dt[L::VECTOR], u[L::VECTOR];
        read(x, scan.x, scan.x_stride, at, some);
        read(dt, scan.dt, scan.dt_stride, at, some);
#pragma unroll
        for (int i = 0; i < L::VECTOR; i++) {
            dt[i] = i < some ? scan_softplus(dt[i] + dt_bias[i]) : 0.0f;
            u[i] = dt[i] * x[i];
        }
        store(to + L::DT, dt);
        store(to + L::U, u);
        if (!all) return;
        float z[L::VECTOR], dout[L::VECTOR];
        read(z, scan.z, scan.z_stride, at, some);
        read(dout, scan.dout, scan.inner, at, some);
#pragma unroll
        for (int i = 0; i < L::VECTOR; i++) dout[i] *= z[i] * scan_sigmoid(z[i]);
        store(to + L::DY, dout);
    }

    /* A block of tokens into shared memory; the sweep forward needs no dy and c. */
    __device__ inline void stage(int block, bool all) const {
        const struct scan_call &scan = call.scan;
        stage_channels(block, all);
        for (int i = threadIdx.x; i < L::B_TILE / 8; i += SCAN_THREADS) {
            int n = i * 8 % L::NP, t = block * SCAN_BLOCK + i * 8 / L::NP;
            const bf16 *b =
                scan.b + (chunk.token + t) * scan.b_stride + chunk.source * scan.states + n;
            float wide[8];
            widen(wide, load_some<8>(b, t < chunk.length ? scan.states - n : 0, scan.aligned));
            store(shared + L::B + i * 8, wide);
        }
        if (!all) return;
        for (int i = threadIdx.x; i < L::B_TILE * L::HEADS / 8; i += SCAN_THREADS) {
            int n = i * 8 % L::NP, t = block * SCAN_BLOCK + i * 8 / (L::HEADS * L::NP);
            int repeat = pass.head + i * 8 / L::NP % L::HEADS;
            const bf16 *c = scan.c + (chunk.token + t) * scan.c_stride +
                            (chunk.source * scan.repeat + repeat) * scan.states + n;
            int some = t < chunk.length && repeat < scan.repeat ? scan.states - n : 0;
            float wide[8];
            widen(wide, load_some<8>(c, some, scan.aligned));
            store(shared + L::C + i * 8, wide);
        }
    }

    /* dx, ddt and dz of the block's tokens, from the sums that the walk left in the tiles. */
    __device__ inline void finish(int block) {
        const struct scan_call &scan = call.scan;
        int t = block * SCAN_BLOCK + row, some = t < chunk.length ? valid : 0;
        if (some <= 0 || threadIdx.x >= L::VECTORS) return;
        int64_t at = chunk.token + t;
        const float *from = shared + row * L::CHANNELS + column;
        float x[L::VECTOR], dt[L::VECTOR], z[L::VECTOR], dout[L::VECTOR], y[L::VECTOR];
        float du[L::VECTOR], ddt[L::VECTOR];
        read(x, scan.x, scan.x_stride, at, some);
        read(dt, scan.dt, scan.dt_stride, at, some);
        read(z, scan.z, scan.z_stride, at, some);
        read(dout, scan.dout, scan.inner, at, some);
        load(y, from + L::DY);
        load(du, from + L::U);
        load(ddt, from + L::DT);
#pragma unroll
        for (int i = 0; i < L::VECTOR; i++) {
            float raw = dt[i] + dt_bias[i], gate = scan_sigmoid(z[i]);
            float dy = dout[i] * z[i] * gate;
            z[i] = dout[i] * fmaf(d[i], x[i], y[i]) * (gate * fmaf(z[i], 1.0f - gate, 1.0f));
            ddt[i] = fmaf(x[i], du[i], SCAN_LN_2 * ddt[i]) * scan_sigmoid(raw);
            d_sum[i] = fmaf(dy, x[i], d_sum[i]);
            bias_sum[i] += ddt[i];
            x[i] = fmaf(scan_softplus(raw), du[i], d[i] * dy);
        }
        store_some(call.dx + at * call.x_stride + channel, x, some, call.aligned);
        store_some(call.ddt + at * call.dt_stride + channel, ddt, some, call.aligned);
        store_some(call.dz + at * call.z_stride + channel, z, some, call.aligned);
    }

    /* The chunk's sums for ddt_bias and dd, over the rows of the vectors, in order. */
    __device__ inline void finish_sums() const {
        float *bias_rows = shared + L::DC_PARTS, *d_rows = bias_rows + L::TILE;
        if (threadIdx.x < L::VECTORS) {
            store(bias_rows + row * L::CHANNELS + column, bias_sum);
            store(d_rows + row * L::CHANNELS + column, d_sum);
        }
        __syncthreads();
        for (int l = threadIdx.x; l < L::CHANNELS; l += SCAN_THREADS) {
            int exists, to = pass.place(l, &exists);
            float bias_total = 0, d_total = 0;
            for (int r = 0; r < SCAN_BLOCK; r++) {
                bias_total += bias_rows[r * L::CHANNELS + l];
                d_total += d_rows[r * L::CHANNELS + l];
            }
            if (exists <= 0) continue;
            call.bias_sums[chunk.slot * call.scan.inner + to] = bias_total;
            call.d_sums[chunk.slot * call.scan.inner + to] = d_total;
        }
        __syncthreads();
    }
};

/* Sums of the walk's parts over rows of lanes, and over warps when they share a sub-head. A thread
 * has the same outputs (step, state) of a piece in every pass, so that sums over passes need no
 * barrier. */
template <int TS, int SG, int TC> struct backward_sums {
    typedef backward_layout<TS, SG, TC> L;
    static constexpr int STEP = L::APART ? 32 : SCAN_THREADS;
    const struct scan_backward_call &call;
    const struct backward_chunk &chunk;
    const struct backward_pass<TS, SG, TC> &pass;
    float *shared;
    int warp, from; /* the thread's first output */

    __device__ inline float total(const float *parts, int o) const {
        float total = 0;
        for (int w = L::APART ? warp : 0; w < (L::APART ? warp + 1 : WARPS); w++)
#pragma unroll
            for (int r = 0; r < L::ROWS; r++)
                total += parts[(w * PIECE + o / L::NP) * L::PART + r * L::NP + o % L::NP];
        return total;
    }

    __device__ inline void finish_dc(int block, int first) const {
        const struct scan_call &scan = call.scan;
#pragma unroll
        for (int o = from; o < PIECE * L::NP; o += STEP) {
            int t = block * SCAN_BLOCK + first + o / L::NP, n = o % L::NP;
            int repeat = pass.head + (L::APART ? warp : 0);
            float sum = total(shared + L::DC_PARTS, o);
            if (L::DC_TILED) {
                float *at = shared + L::DC + t * L::NP + n;
                sum = pass.part ? *at + sum : sum;
                *at = sum;
                if (pass.part + L::CHANNELS < scan.states) continue;
            }
            if (t < chunk.length && n < scan.states && repeat < scan.repeat)
                call.dc[(chunk.token + t) * call.c_stride +
                        (chunk.source * scan.repeat + repeat) * scan.states + n] =
                    __float2bfloat16(sum);
        }
    }

    __device__ inline void store_db(float sum, int t, int n) const {
        call.db[(chunk.token + t) * call.b_stride + chunk.source * call.scan.states + n] =
            __float2bfloat16(sum);
    }

    /* APART: to the warp's own tile, which join_db adds up. */
    __device__ inline void finish_db(int block, int first) const {
        const struct scan_call &scan = call.scan;
#pragma unroll
        for (int o = from; o < PIECE * L::NP; o += STEP) {
            int t = block * SCAN_BLOCK + first + o / L::NP, n = o % L::NP;
            float sum = total(shared + L::DB_PARTS, o);
            if (L::APART) {
                shared[L::DB_WARPS + (warp * SCAN_BLOCK + first + o / L::NP) * L::NP + n] = sum;
                continue;
            }
            if (t >= chunk.length || n >= scan.states) continue;
            float *at = L::GLOBAL_DB ? call.db_sums + (chunk.token + t) * scan.source_width +
                                           chunk.source * scan.states + n
                                     : shared + L::DB + t * L::NP + n;
            sum = pass.is_first() ? sum : *at + sum;
            *at = sum;
            if (pass.is_last()) store_db(sum, t, n);
        }
    }

    __device__ inline void join_db(int block) const {
        for (int o = threadIdx.x; o < L::B_TILE; o += SCAN_THREADS) {
            int t = block * SCAN_BLOCK + o / L::NP, n = o % L::NP;
            float *at = shared + L::DB + t * L::NP + n, sum = pass.is_first() ? 0.0f : *at;
#pragma unroll
            for (int w = 0; w < WARPS; w++) sum += shared[L::DB_WARPS + w * L::B_TILE + o];
            *at = sum;
            if (pass.is_last() && t < chunk.length && n < call.scan.states) store_db(sum, t, n);
        }
    }
};

#endif
