/* The forward pass for d_state 16 (scan16.cuh): one walk through every sequence, no shuffles, and
 * a state before each tile of SCAN_BLOCK tokens as checkpoint, so that the backward pass need not
 * sweep through chunks.
 *
 * What bounds it: each token and channel takes 16 exponentials and 4 special functions for softplus
 * and gate, 20/16 of a special function unit's cycle a multiprocessor; the 10 bytes of its operands
 * take 0.6 of that time. A share of the exponentials is computed by polynomial instead. */
#include "kernels/cuda/scan16.cuh"

enum { POLYNOMIALS = 1 }; /* of a thread's exponentials of one token */
enum { WALKERS = 128, TILE = SCAN_BLOCK, HEAD = 16 /* channels */ };

/* HALVES: 2 when two warps share a sub-head's states, to have enough warps at few channels. */
template <int HALVES> struct walk_layout {
    static constexpr int HEADS = 4 / HALVES, CHANNELS = HEAD * HEADS;
    static constexpr int WIDTH = 8 / HALVES; /* channels of a feeder */
    static constexpr int FEEDERS = TILE * CHANNELS / WIDTH, THREADS = WALKERS + FEEDERS;
    static constexpr int TS = 4 / HALVES;         /* states of a channel in a thread */
    static constexpr int GROUP = 8 * HALVES;      /* steps scheduled together */
    static constexpr int Y_STRIDE = CHANNELS + 4; /* keeps a warp's stores apart */
};

/* Two tiles of each kind: one is read while the other is written. */
template <int HALVES> struct walk_shared {
    typedef walk_layout<HALVES> L;
    alignas(16) float pairs[2][TILE][2 * L::CHANNELS]; /* (dt, dt, u, u) of two channels */
    alignas(16) float b[2][TILE][L::CHANNELS], c[2][TILE][L::CHANNELS];
    alignas(16) float y[2][HALVES][TILE][L::Y_STRIDE];
};

struct walk_span {
    int64_t token; /* of the sequence's start */
    int sequence, length, tiles;
};

template <int WIDTH> struct walk_raw { struct packed<WIDTH> x, dt, z, b, c; };

/* A feeder's part of every tile: WIDTH channels of one token. */
template <int HALVES>
__device__ static void feed(struct walk_shared<HALVES> *shared, const struct scan_call &call,
                            const struct walk_span &span, int block) {
    typedef walk_layout<HALVES> L;
    constexpr int WIDTH = L::WIDTH;
    int thread = threadIdx.x - WALKERS, row = thread / (L::CHANNELS / WIDTH);
    int column = thread % (L::CHANNELS / WIDTH) * WIDTH, channel = block * L::CHANNELS + column;
    bool exists = channel < call.inner, aligned = (uintptr_t)call.out % 16 == 0;
    int source = channel / HEAD / call.repeat * SCAN16_STATES + channel % SCAN16_STATES;
    float dt_bias[WIDTH] = {}, d[WIDTH] = {};
    if (exists) {
        load(dt_bias, call.dt_bias + channel);
        load(d, call.d + channel);
    }
    int64_t at = span.token + row;
    const bf16 *x_next = call.x + at * call.x_stride + channel;
    const bf16 *dt_next = call.dt + at * call.dt_stride + channel;
    const bf16 *z_next = call.z + at * call.z_stride + channel;
    const bf16 *b_next = call.b + at * call.b_stride + source;
    const bf16 *c_next = call.c + at * call.c_stride + channel;
    auto fetch = [&](int tile) {
        struct walk_raw<WIDTH> raw;
        int valid = exists && tile * TILE + row < span.length ? WIDTH : 0;
        raw.x = load_some<WIDTH>(x_next, valid, true);
        raw.dt = load_some<WIDTH>(dt_next, valid, true);
        raw.z = load_some<WIDTH>(z_next, valid, true);
        raw.b = load_some<WIDTH>(b_next, valid, true);
        raw.c = load_some<WIDTH>(c_next, valid, true);
        x_next += TILE * call.x_stride;
        dt_next += TILE * call.dt_stride;
        z_next += TILE * call.z_stride;
        b_next += TILE * call.b_stride;
        c_next += TILE * call.c_stride;
        return raw;
    };
    auto prepare = [&](const struct walk_raw<WIDTH> &raw, int tile) {
        float x[WIDTH], dt[WIDTH], u[WIDTH], wide[WIDTH];
        float present = exists && tile * TILE + row < span.length ? 1.0f : 0.0f;
        widen(x, raw.x);
        widen(dt, raw.dt);
#pragma unroll
        for (int i = 0; i < WIDTH; i++) {
            dt[i] = scan_softplus(dt[i] + dt_bias[i]) * present;
            u[i] = dt[i] * x[i];
        }
        scan16_store_pairs(shared->pairs[tile % 2][row], column, dt, u);
        widen(wide, raw.b);
        scan16_store_row(shared->b[tile % 2][row], column, wide);
        widen(wide, raw.c);
        scan16_store_row(shared->c[tile % 2][row], column, wide);
    };
    auto finish = [&](const struct packed<WIDTH> &raw_x, const struct packed<WIDTH> &raw_z,
                      int tile) {
        float x[WIDTH], z[WIDTH], y[WIDTH];
        int t = tile * TILE + row;
        if (!exists || t >= span.length) return;
        widen(x, raw_x);
        widen(z, raw_z);
        load(y, &shared->y[tile % 2][0][row][column]);
        if (HALVES == 2) {
            float other[WIDTH];
            load(other, &shared->y[tile % 2][HALVES - 1][row][column]);
#pragma unroll
            for (int i = 0; i < WIDTH; i++) y[i] += other[i];
        }
#pragma unroll
        for (int i = 0; i < WIDTH; i++) y[i] = fmaf(d[i], x[i], y[i]) * z[i] * scan_sigmoid(z[i]);
        store_some(call.out + (span.token + t) * call.inner + channel, y, WIDTH, aligned);
    };

    struct walk_raw<WIDTH> raw = fetch(0);
    prepare(raw, 0);
    struct packed<WIDTH> x = raw.x, z = raw.z, x_before = {}, z_before = {};
    raw = fetch(1);
    __syncthreads();
#pragma unroll 2
    for (int tile = 0; tile < span.tiles; tile++) {
        if (tile > 0) finish(x_before, z_before, tile - 1);
        x_before = x, z_before = z;
        if (tile + 1 < span.tiles) prepare(raw, tile + 1);
        x = raw.x, z = raw.z;
        raw = fetch(tile + 2);
        __syncthreads();
    }
    finish(x_before, z_before, span.tiles - 1);
}

template <int HALVES>
__device__ static void walk(struct walk_shared<HALVES> *shared, const struct scan_call &call,
                            const struct walk_span &span, int block) {
    typedef walk_layout<HALVES> L;
    constexpr int TS = L::TS;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int head = warp / HALVES, half = warp % HALVES, state = half * 8 + t * TS;
    int channel = (block * L::HEADS + head) * HEAD + 2 * g;
    bool exists = channel < call.inner;
    int pair_place = scan16_pair_place(head * 8 + g),
        row_place = scan16_row_place(head * HEAD + state);
    int64_t size = (int64_t)call.inner * SCAN16_STATES;
    int64_t place = (int64_t)channel * SCAN16_STATES + state;
    float a[2][TS] = {}, h[2][TS] = {};
#pragma unroll
    for (int j = 0; j < 2; j++) {
        if (exists) load(a[j], call.a_log + place + j * SCAN16_STATES);
#pragma unroll
        for (int i = 0; i < TS; i++) a[j][i] = -SCAN_LOG2_E * __expf(a[j][i]);
    }
    __syncthreads();
    for (int tile = 0; tile < span.tiles; tile++) {
        if (call.checkpoints && exists) {
            float *to =
                call.checkpoints +
                scan_checkpoint(span.token, span.sequence, tile * TILE, SCAN16_STATES) * size +
                place;
            store(to, h[0]);
            store(to + SCAN16_STATES, h[1]);
        }
        const float *pairs = shared->pairs[tile % 2][0] + pair_place;
        const float *b_row = shared->b[tile % 2][0] + row_place;
        const float *c_row = shared->c[tile % 2][0] + row_place;
        float *y = shared->y[tile % 2][half][0] + head * HEAD + 2 * g;
        /* Stores would keep the loads and exponentials of later steps from being moved up. */
#pragma unroll
        for (int first = 0; first < TILE; first += L::GROUP) {
            float2 sum[L::GROUP];
#pragma unroll
            for (int q = 0; q < L::GROUP; q++) {
                int step = first + q;
                float pair[4], b[TS], c[TS], part[2] = {};
                load(pair, pairs + step * 2 * L::CHANNELS);
                load(b, b_row + step * L::CHANNELS);
                load(c, c_row + step * L::CHANNELS);
#pragma unroll
                for (int j = 0; j < 2; j++)
#pragma unroll
                    for (int i = 0; i < TS; i++) {
                        float x = pair[j] * a[j][i];
                        float decay =
                            j * TS + i < POLYNOMIALS ? scan_exp2_polynomial(x) : scan_exp2(x);
                        h[j][i] = fmaf(decay, h[j][i], pair[2 + j] * b[i]);
                        part[j] = fmaf(h[j][i], c[i], part[j]);
                    }
                sum[q] = scan16_sum_lanes(part[0], part[1]);
            }
            if (t == 0)
#pragma unroll
                for (int q = 0; q < L::GROUP; q++)
                    *(float2 *)(y + (first + q) * L::Y_STRIDE) = sum[q];
        }
        __syncthreads();
    }
    if (!call.final || !exists) return;
    float *to = call.final + call.slots[span.sequence] * size + place;
    store(to, h[0]);
    store(to + SCAN16_STATES, h[1]);
}

/* A block takes CHANNELS channels of one sequence from its first token to its last: feeders bring
 * tiles of operands to shared memory while walkers step through the tile before. */
template <int HALVES>
__global__ void __launch_bounds__(walk_layout<HALVES>::THREADS, 3 - HALVES)
    scan16_kernel(struct scan_call call) {
    __shared__ struct walk_shared<HALVES> shared;
    int blocks = (call.inner + walk_layout<HALVES>::CHANNELS - 1) / walk_layout<HALVES>::CHANNELS;
    int block = blockIdx.x % blocks;
    struct walk_span span;
    span.sequence = blockIdx.x / blocks;
    span.token = call.offsets[span.sequence];
    span.length = (int)(call.offsets[span.sequence + 1] - span.token);
    span.tiles = (span.length + TILE - 1) / TILE;
    if (span.length <= 0) return;
    if (threadIdx.x < WALKERS)
        walk<HALVES>(&shared, call, span, block);
    else
        feed<HALVES>(&shared, call, span, block);
}

/* Blocks of the one-warp form, or of the two-warp form, that fill enough of the chip. */
static int choose_halves(const struct cuda_backend *cuda, const struct scan_call *call) {
    int64_t whole = ceil_div(call->inner, walk_layout<1>::CHANNELS) * call->count;
    int64_t halved = ceil_div(call->inner, walk_layout<2>::CHANNELS) * call->count;
    if (4 * whole >= 5 * cuda->multiprocessors) return 1;
    return 2 * halved >= cuda->multiprocessors ? 2 : 0;
}

bool cuda_scan16_fits(const struct cuda_backend *cuda, const struct scan_call *call) {
    return call->states == SCAN16_STATES && call->aligned && choose_halves(cuda, call) &&
           aligned_to(call->dt_bias, 16) && aligned_to(call->a_log, 16) && aligned_to(call->d, 16);
}

bool cuda_scan16(struct cuda_backend *cuda, const struct scan_call *call) {
    if (!cuda_scan16_fits(cuda, call)) return false;
    bool halved = choose_halves(cuda, call) == 2;
    int channels = halved ? walk_layout<2>::CHANNELS : walk_layout<1>::CHANNELS;
    dim3 grid((unsigned)(ceil_div(call->inner, channels) * call->count));
    if (halved)
        CUDA_LAUNCH(cuda, scan16_kernel<2>, grid, walk_layout<2>::THREADS, 0, *call);
    else
        CUDA_LAUNCH(cuda, scan16_kernel<1>, grid, walk_layout<1>::THREADS, 0, *call);
    return true;
}
