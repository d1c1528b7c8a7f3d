/* The backward pass for d_state 16 on Hopper: one walk against the order of tokens, of a block to
 * eight sub-heads of one sequence (or of one segment, where sequences and channels are few). E_t,
 * what the state before token t receives, is carried in registers (see scan_backward.cu for the
 * recurrence); the states themselves come forward again from the checkpoint before each tile, four
 * tokens at a time, whose states and decays then are at hand in registers for the way back.
 *
 * Sums over a channel's states go through the tensor cores, sums over a sub-head's channels through
 * a warp's own shared memory, sums over repeats and tokens are the feeders' work, all in a fixed
 * order. What bounds it: some 25 instructions for each state of each token. */
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/scan16.cuh"

enum { TILE = SCAN_BLOCK, HEAD = 16, HEADS = 8, CHANNELS = HEAD * HEADS };
enum { WALKERS = 32 * HEADS, FEEDERS = TILE * CHANNELS / 8, THREADS = WALKERS + FEEDERS };
enum { PIECE = 4, PIECES = TILE / PIECE };
enum { PART = 8 * SCAN16_STATES + 16 }; /* one token's sums by rows of lanes, and a skew */
enum { WALKER_REGISTERS = 184, FEEDER_REGISTERS = 72 };

struct back_call {
    struct scan_call scan;
    const float *states; /* the forward pass's checkpoints */
    bf16 *dx, *ddt, *dz, *db, *dc;
    int64_t x_stride, dt_stride, z_stride, b_stride, c_stride;
    float *bias_parts, *d_parts, *a_parts; /* [count * segments, I], the same, [.., I, N] */
};

/* Two tiles of each kind. A walker's sums take the place of what they were computed from: (du, du,
 * ddt, ddt) of (dt, dt, u, u), y of dy. */
struct back_shared {
    alignas(16) float pairs[2][TILE][2 * CHANNELS], dy[2][TILE][CHANNELS];
    alignas(16) float b[2][TILE][CHANNELS], c[2][TILE][CHANNELS];
    alignas(16) float db[2][HEADS][TILE][SCAN16_STATES];
    alignas(16) float starts[PIECES][HEADS][2][32][4]; /* a lane's states before each piece */
    alignas(16) float parts[HEADS][2][2 * PIECE][PART];
    alignas(16) float dt_bias[CHANNELS], d[CHANNELS];
};

struct back_span {
    int64_t token;                     /* of the sequence's start */
    int sequence, length, first, last; /* tiles; last < first: none */
    int64_t part;                      /* row of the parameters' sums */
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

__device__ inline void copy_async16(void *to, const void *from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from)
                 : "memory");
}

__device__ inline void copy_async_wait() {
    asm volatile("cp.async.wait_all;" ::: "memory");
}

/* What finishes a feeder's 8 channels of a token, as memory has it. */
struct back_raw {
    struct packed<8> x, dt, z, dout;
};

struct feeder {
    const struct back_call &call;
    const struct back_span &span;
    struct back_shared *shared;
    int row, column, channel, source;
    bool exists;
    float bias_sum[8], d_sum[8];

    __device__ bool has(int tile) const {
        return exists && tile >= span.first && tile <= span.last && tile * TILE + row < span.length;
    }

    __device__ void prepare(const struct back_raw &raw, int tile) const {
        if (tile < span.first) return;
        const struct scan_call &scan = call.scan;
        int64_t at = span.token + tile * TILE + row;
        int valid = has(tile) ? 8 : 0;
        struct packed<8> raw_b = load_some<8>(scan.b + at * scan.b_stride + source, valid, true);
        struct packed<8> raw_c = load_some<8>(scan.c + at * scan.c_stride + channel, valid, true);
        float present = valid ? 1.0f : 0.0f, x[8], dt[8], z[8], u[8], bias[8];
        widen(x, raw.x);
        widen(dt, raw.dt);
        load(bias, &shared->dt_bias[column]);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            dt[i] = scan_softplus(dt[i] + bias[i]) * present;
            u[i] = dt[i] * x[i];
        }
        scan16_store_pairs(shared->pairs[tile % 2][row], column, dt, u);
        widen(z, raw.z);
        widen(x, raw.dout);
#pragma unroll
        for (int i = 0; i < 8; i++) z[i] *= scan_sigmoid(z[i]) * x[i];
        store(&shared->dy[tile % 2][row][column], z);
        widen(x, raw_b);
        scan16_store_row(shared->b[tile % 2][row], column, x);
        widen(x, raw_c);
        scan16_store_row(shared->c[tile % 2][row], column, x);
    }

    __device__ struct back_raw fetch(int tile) const {
        const struct scan_call &scan = call.scan;
        int64_t at = span.token + tile * TILE + row;
        struct back_raw raw = {};
        if (!has(tile)) return raw;
        raw.x = load_some<8>(scan.x + at * scan.x_stride + channel, 8, true);
        raw.dt = load_some<8>(scan.dt + at * scan.dt_stride + channel, 8, true);
        raw.z = load_some<8>(scan.z + at * scan.z_stride + channel, 8, true);
        raw.dout = load_some<8>(scan.dout + at * scan.inner + channel, 8, true);
        return raw;
    }

    __device__ void finish(const struct back_raw &raw, int tile) {
        if (!has(tile)) return;
        int64_t at = span.token + tile * TILE + row;
        float x[8], dt[8], z[8], dout[8], y[8], du[8], ddt[8], d[8];
        scan16_load_pairs(du, ddt, shared->pairs[tile % 2][row], column);
        widen(x, raw.x);
        widen(dt, raw.dt);
        load(y, &shared->dt_bias[column]);
        load(d, &shared->d[column]);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float raw_dt = dt[i] + y[i], e = scan_exp2(SCAN_LOG2_E * raw_dt);
            /* e / (1 + e), which is 1 where e overflows */
            float slope = 1.0f - scan_reciprocal(1.0f + e);
            slope = scan_select(e, 0.01f, e * (1.0f - e * (1.0f - e)), slope);
            ddt[i] = fmaf(x[i], du[i], SCAN_LN_2 * ddt[i]) * slope;
            bias_sum[i] += ddt[i];
            du[i] *= scan_softplus(raw_dt, e);
        }
        store(call.ddt + at * call.dt_stride + channel, ddt);
        widen(z, raw.z);
        widen(dout, raw.dout);
        load(y, &shared->dy[tile % 2][row][column]);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float gate = scan_sigmoid(z[i]), dy = dout[i] * z[i] * gate;
            z[i] = dout[i] * fmaf(d[i], x[i], y[i]) * (gate * fmaf(z[i], 1.0f - gate, 1.0f));
            d_sum[i] = fmaf(dy, x[i], d_sum[i]);
            du[i] = fmaf(d[i], dy, du[i]);
        }
        store(call.dx + at * call.x_stride + channel, du);
        store(call.dz + at * call.z_stride + channel, z);
    }

    /* The sums over repeats, four states at a time. */
    __device__ void finish_db(int tile, int thread, int block) const {
        int repeat = call.scan.repeat, quads = HEADS / repeat * (SCAN16_STATES / 4);
        for (int o = thread; o < TILE * quads; o += FEEDERS) {
            int row = o / quads, quad = o % quads % 4, from = o % quads / 4;
            int t = tile * TILE + row, column = (block * (HEADS / repeat) + from) * SCAN16_STATES;
            if (t >= span.length || column >= call.scan.source_width) continue;
            float total[4] = {};
            for (int r = 0; r < repeat; r++) {
                float part[4];
                load(part, &shared->db[tile % 2][from * repeat + r][row][quad * 4]);
#pragma unroll
                for (int i = 0; i < 4; i++) total[i] += part[i];
            }
            store(call.db + (span.token + t) * call.b_stride + column + quad * 4, total);
        }
    }

    /* The parameters' sums: over a feeder's rows in registers, over feeders in order here. */
    __device__ void finish_sums(int thread, int block) {
        float *rows = shared->parts[0][0][0], *d_rows = rows + TILE * CHANNELS;
        store(rows + row * CHANNELS + column, bias_sum);
        store(d_rows + row * CHANNELS + column, d_sum);
        feeders_meet();
        int to = block * CHANNELS + thread;
        if (thread >= CHANNELS || to >= call.scan.inner) return;
        float bias_total = 0, d_total = 0;
        for (int r = 0; r < TILE; r++) {
            bias_total += rows[r * CHANNELS + thread];
            d_total += d_rows[r * CHANNELS + thread];
        }
        call.bias_parts[span.part * call.scan.inner + to] = bias_total;
        call.d_parts[span.part * call.scan.inner + to] = d_total;
    }

    __device__ static void feeders_meet() {
        asm volatile("bar.sync 1, %0;" ::"n"((int)FEEDERS) : "memory");
    }
};

__device__ static void feed(struct back_shared *shared, const struct back_call &call,
                            const struct back_span &span, int block) {
    int thread = threadIdx.x - WALKERS;
    struct feeder f = {call, span, shared};
    f.row = thread / (CHANNELS / 8);
    f.column = thread % (CHANNELS / 8) * 8;
    f.channel = block * CHANNELS + f.column;
    f.source = f.channel / HEAD / call.scan.repeat * SCAN16_STATES + f.channel % SCAN16_STATES;
    f.exists = f.channel < call.scan.inner;
    f.prepare(f.fetch(span.last), span.last);
    struct back_raw raw = {};
    __syncthreads();
#pragma unroll 1
    for (int tile = span.last; tile >= span.first; tile--) {
        /* A buffer's sums are taken out of it, then the next inputs put in, by the same thread. */
        if (tile < span.last) {
            f.finish(raw, tile + 1);
            raw = f.fetch(tile - 1);
            f.finish_db(tile + 1, thread, block); /* while that is on its way */
        } else {
            raw = f.fetch(tile - 1);
        }
        f.prepare(raw, tile - 1);
        raw = f.fetch(tile);
        __syncthreads();
    }
    if (span.last >= span.first) {
        f.finish_db(span.first, thread, block);
        f.finish(raw, span.first);
    }
    f.finish_sums(thread, block);
}

/* What a walker needs of one token. */
struct back_step {
    float pair[4], dy[2], b[4], c[4];
};

struct walker {
    float a[2][4], e[2][4], a_sum[2][4];
    float *pairs, *dy;
    const float *b, *c; /* of the tile, at this lane's place */

    __device__ void advance(float (&h)[2][4], float (&decay)[2][4], const float (&pair)[4],
                            const float (&b_row)[4]) const {
#pragma unroll
        for (int j = 0; j < 2; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                decay[j][i] = scan_exp2(pair[j] * a[j][i]);
                h[j][i] = fmaf(decay[j][i], h[j][i], pair[2 + j] * b_row[i]);
            }
    }

    /* The states before each piece but the first, whose state is there. */
    __device__ void sweep(float *start) const {
        constexpr int STRIDE = HEADS * 2 * 32 * 4;
        float h[2][4], decay[2][4];
        load(h[0], start);
        load(h[1], start + 32 * 4);
#pragma unroll 1
        for (int piece = 0; piece + 1 < PIECES; piece++) {
#pragma unroll
            for (int q = 0; q < PIECE; q++) {
                float pair[4], b_row[4];
                load(pair, pairs + (piece * PIECE + q) * 2 * CHANNELS);
                load(b_row, b + (piece * PIECE + q) * CHANNELS);
                advance(h, decay, pair, b_row);
            }
            store(start + (piece + 1) * STRIDE, h[0]);
            store(start + (piece + 1) * STRIDE + 32 * 4, h[1]);
        }
    }

    /* PIECE tokens from `first` on, forth and back. dc and db receive [PIECE, PART]: this lane's
     * sums over its channels, at its place. */
    __device__ void piece(int first, const float *start, float *dc, float *db) {
        struct back_step step[PIECE];
        float before[PIECE][2][4], decay[PIECE][2][4], h[2][4];
        load(h[0], start);
        load(h[1], start + 32 * 4);
#pragma unroll
        for (int q = 0; q < PIECE; q++) {
            load(step[q].pair, pairs + (first + q) * 2 * CHANNELS);
            load(step[q].b, b + (first + q) * CHANNELS);
            load(step[q].c, c + (first + q) * CHANNELS);
            load(step[q].dy, dy + (first + q) * CHANNELS);
        }
        bool writes = threadIdx.x % 4 == 0;
        __syncwarp(); /* all lanes have loaded what the sums replace */
#pragma unroll
        for (int q = 0; q < PIECE; q++) {
            float part[2] = {}, dc_sum[4];
#pragma unroll
            for (int j = 0; j < 2; j++)
#pragma unroll
                for (int i = 0; i < 4; i++) before[q][j][i] = h[j][i];
            advance(h, decay[q], step[q].pair, step[q].b);
#pragma unroll
            for (int i = 0; i < 4; i++) {
                dc_sum[i] = fmaf(h[1][i], step[q].dy[1], h[0][i] * step[q].dy[0]);
                part[0] = fmaf(h[0][i], step[q].c[i], part[0]);
                part[1] = fmaf(h[1][i], step[q].c[i], part[1]);
            }
            store(dc + q * PART, dc_sum);
            float2 y = scan16_sum_lanes(part[0], part[1]);
            if (writes) *(float2 *)(dy + (first + q) * CHANNELS) = y;
        }
#pragma unroll
        for (int q = PIECE - 1; q >= 0; q--) {
            float du_part[2] = {}, ddt_part[2] = {}, db_sum[4] = {};
#pragma unroll
            for (int j = 0; j < 2; j++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float g = fmaf(step[q].c[i], step[q].dy[j], e[j][i]);
                    db_sum[i] = fmaf(g, step[q].pair[2 + j], db_sum[i]);
                    du_part[j] = fmaf(g, step[q].b[i], du_part[j]);
                    e[j][i] = g * decay[q][j][i];
                    float through = e[j][i] * before[q][j][i];
                    ddt_part[j] = fmaf(through, a[j][i], ddt_part[j]);
                    a_sum[j][i] = fmaf(through, step[q].pair[j], a_sum[j][i]);
                }
            store(db + q * PART, db_sum);
            float2 du = scan16_sum_lanes(du_part[0], du_part[1]);
            float2 ddt = scan16_sum_lanes(ddt_part[0], ddt_part[1]);
            if (writes)
                *(float4 *)(pairs + (first + q) * 2 * CHANNELS) =
                    make_float4(du.x, du.y, ddt.x, ddt.y);
        }
    }
};

/* Rows of lanes summed: four states of the token lane / 4 of 2 * PIECE. */
__device__ static void sum_rows(float (&total)[4], const float *parts, int lane) {
    const float *at = parts + lane / 4 * PART + lane % 4 * 4;
    load(total, at);
#pragma unroll
    for (int r = 1; r < 8; r++) {
        float part[4];
        load(part, at + r * SCAN16_STATES);
#pragma unroll
        for (int i = 0; i < 4; i++) total[i] += part[i];
    }
}

__device__ static void walk(struct back_shared *shared, const struct back_call &call,
                            const struct back_span &span, int block) {
    constexpr int START_STRIDE = HEADS * 2 * 32 * 4;
    const struct scan_call &scan = call.scan;
    int head = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, state = lane % 4 * 4;
    int channel = (block * HEADS + head) * HEAD + 2 * g;
    bool exists = channel < scan.inner;
    int64_t size = (int64_t)scan.inner * SCAN16_STATES;
    int64_t place = (int64_t)channel * SCAN16_STATES + state;
    int pair_place = scan16_pair_place(head * 8 + g),
        row_place = scan16_row_place(head * HEAD + state);
    float *start = shared->starts[0][head][0][lane];
    float *dc_parts = shared->parts[head][0][0], *db_parts = shared->parts[head][1][0];
    int part_place = g * SCAN16_STATES + state;

    struct walker w = {};
#pragma unroll
    for (int j = 0; j < 2; j++) {
        if (exists) load(w.a[j], scan.a_log + place + j * SCAN16_STATES);
#pragma unroll
        for (int i = 0; i < 4; i++) w.a[j][i] = -SCAN_LOG2_E * __expf(w.a[j][i]);
        if (exists && scan.segments > 1)
            load(w.e[j], scan.segment_states + span.part * size + place + j * SCAN16_STATES);
        float zero[4] = {};
        store(start + j * 32 * 4, zero); /* where the channels do not exist */
    }
    auto fetch_start = [&](int tile) {
        if (!exists || tile < span.first) return;
        const float *from =
            call.states +
            scan_checkpoint(span.token, span.sequence, tile * TILE, SCAN16_STATES) * size + place;
        copy_async16(start, from);
        copy_async16(start + 32 * 4, from + SCAN16_STATES);
    };
    fetch_start(span.last);
    __syncthreads();
#pragma unroll 1
    for (int tile = span.last; tile >= span.first; tile--) {
        w.pairs = shared->pairs[tile % 2][0] + pair_place;
        w.dy = shared->dy[tile % 2][0] + head * HEAD + 2 * g;
        w.b = shared->b[tile % 2][0] + row_place;
        w.c = shared->c[tile % 2][0] + row_place;
        copy_async_wait();
        w.sweep(start);
#pragma unroll 1
        for (int half = 1; half >= 0; half--) {
#pragma unroll
            for (int k = 1; k >= 0; k--) {
                int piece = 2 * half + k;
                w.piece(piece * PIECE, start + piece * START_STRIDE,
                        dc_parts + k * PIECE * PART + part_place,
                        db_parts + k * PIECE * PART + part_place);
            }
            if (half == 0) fetch_start(tile - 1);
            __syncwarp();
            float total[4];
            int row = half * 2 * PIECE + lane / 4, t = tile * TILE + row;
            sum_rows(total, dc_parts, lane);
            if (exists && t < span.length)
                store(call.dc + (span.token + t) * call.c_stride + (block * HEADS + head) * HEAD +
                          state,
                      total);
            sum_rows(total, db_parts, lane);
            store(&shared->db[tile % 2][head][row][state], total);
            __syncwarp();
        }
        __syncthreads();
    }
    if (!exists) return;
#pragma unroll
    for (int j = 0; j < 2; j++) {
#pragma unroll
        for (int i = 0; i < 4; i++) w.a_sum[j][i] *= SCAN_LN_2 * w.a[j][i];
        store(call.a_parts + span.part * size + place + j * SCAN16_STATES, w.a_sum[j]);
    }
}

#endif

/* A block takes CHANNELS channels of one segment of a sequence, from its last tile to its first:
 * walkers carry E_t, feeders load, sum and store; registers move from these to those. */
__global__ void __launch_bounds__(THREADS, 1)
    scan16_backward_kernel(const __grid_constant__ struct back_call call) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    extern __shared__ __align__(128) unsigned char memory[];
    struct back_shared *shared = (struct back_shared *)memory;
    const struct scan_call &scan = call.scan;
    int blocks = (scan.inner + CHANNELS - 1) / CHANNELS, block = blockIdx.x % blocks;
    int segment = blockIdx.x / blocks % scan.segments;
    struct back_span span;
    span.sequence = blockIdx.x / blocks / scan.segments;
    span.token = scan.offsets[span.sequence];
    span.length = (int)(scan.offsets[span.sequence + 1] - span.token);
    int end = min(span.length, (segment + 1) * scan.segment_tokens);
    span.first = segment * scan.segment_tokens / TILE;
    span.last = (end + TILE - 1) / TILE - 1;
    span.part = (int64_t)span.sequence * scan.segments + segment;
    int channel = block * CHANNELS + (int)threadIdx.x;
    if (threadIdx.x < CHANNELS) {
        shared->dt_bias[threadIdx.x] = channel < scan.inner ? scan.dt_bias[channel] : 0.0f;
        shared->d[threadIdx.x] = channel < scan.inner ? scan.d[channel] : 0.0f;
    }
    __syncthreads();
    if (threadIdx.x < WALKERS) {
        setmaxnreg_inc<WALKER_REGISTERS>();
        walk(shared, call, span, block);
    } else {
        setmaxnreg_dec<FEEDER_REGISTERS>();
        feed(shared, call, span, block);
    }
#endif
}

/* Segments of the longest sequence, so that each multiprocessor has its block. */
static int64_t choose_segments(const struct cuda_backend *cuda, const struct scan_call *call) {
    int64_t blocks = ceil_div(call->inner, CHANNELS) * call->count;
    int64_t wanted = cuda->multiprocessors / blocks, most = ceil_div(call->longest, 4 * SCAN_CHUNK);
    if (wanted > most) wanted = most;
    return wanted > 1 ? wanted : 1;
}

bool cuda_scan16_backward_fits(const struct cuda_backend *cuda, const struct scan_call *call,
                               const struct scan_gradients *to, const void *dout) {
    int64_t wide = to->x_stride | to->dt_stride | to->z_stride;
    return cuda_scan16_fits(cuda, call) && hopper_usable(cuda) && HEADS % call->repeat == 0 &&
           aligned_to(dout, 16) && aligned_to(to->dx, 16) && aligned_to(to->ddt, 16) &&
           aligned_to(to->dz, 16) && wide % 8 == 0 && aligned_to(to->db, 8) &&
           aligned_to(to->dc, 8) && (to->b_stride | to->c_stride) % 4 == 0 &&
           (int)sizeof(struct back_shared) <= cuda->shared_limit;
}

void cuda_scan16_backward(struct cuda_backend *cuda, struct scan_call *scan,
                          const struct scan_gradients *to, const float *checkpoints) {
    scan->segments = (int)choose_segments(cuda, scan);
    scan->segment_tokens =
        (int)(ceil_div(ceil_div(scan->longest, scan->segments), SCAN_CHUNK) * SCAN_CHUNK);
    int64_t inner = scan->inner, rows = (int64_t)scan->count * scan->segments;
    size_t floats = (size_t)(rows * inner) * (2 + SCAN16_STATES);
    size_t enter = scan->segments > 1 ? (size_t)(rows * inner) * (1 + SCAN16_STATES) : 0;
    float *scratch = (float *)cuda_scratch(cuda, (floats + enter) * sizeof(float));
    if (!scratch) return;
    struct back_call call = {};
    call.a_parts = scratch;
    call.bias_parts = call.a_parts + rows * inner * SCAN16_STATES;
    call.d_parts = call.bias_parts + rows * inner;
    scan->segment_states = scratch + floats;
    scan->segment_sums = scan->segment_states + rows * inner * SCAN16_STATES;
    if (scan->segments > 1) cuda_scan_enter(cuda, scan, true);
    call.scan = *scan;
    call.states = checkpoints;
    call.dx = (bf16 *)to->dx;
    call.ddt = (bf16 *)to->ddt;
    call.dz = (bf16 *)to->dz;
    call.db = (bf16 *)to->db;
    call.dc = (bf16 *)to->dc;
    call.x_stride = to->x_stride;
    call.dt_stride = to->dt_stride;
    call.z_stride = to->z_stride;
    call.b_stride = to->b_stride;
    call.c_stride = to->c_stride;
    CUDA_ALLOW_SHARED(cuda, scan16_backward_kernel, (int)sizeof(struct back_shared));
    CUDA_LAUNCH(cuda, scan16_backward_kernel, dim3((unsigned)(ceil_div(inner, CHANNELS) * rows)),
                THREADS, sizeof(struct back_shared), call);
    if (to->da_log)
        cuda_add_partials(cuda, (float *)to->da_log, call.a_parts, rows, inner * SCAN16_STATES);
    if (to->ddt_bias) cuda_add_partials(cuda, (float *)to->ddt_bias, call.bias_parts, rows, inner);
    if (to->dd) cuda_add_partials(cuda, (float *)to->dd, call.d_parts, rows, inner);
}
