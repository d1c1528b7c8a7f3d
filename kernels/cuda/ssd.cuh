/* What the Mamba-2 recurrence's forward and backward pass share. A block takes one head over a
 * segment of a sequence and walks its chunks with the state [P, N] in registers, 16 of P rows a
 * warp. Where sequences have several segments, a pass over all but the last (in the backward pass:
 * the first) finds what each adds to the state, and another adds these up in order. */
#ifndef KERNELS_CUDA_SSD_CUH
#define KERNELS_CUDA_SSD_CUH

#include "kernels/cuda/chunk.cuh"
#include "kernels/ops/ssd.h"

enum { SEGMENT = 512 };

struct ssd_call {
    struct chunk_rows x, b, c;
    const bf16 *dt;
    int64_t dt_stride;
    const float *dt_bias, *a_log, *d;
    const int32_t *offsets;
    int sequences, heads, per_group, p, n; /* heads that share B and C; P, N */
};

struct ssd_call make_ssd_call(const struct ssd_inputs *in, const struct sequences *sequences,
                              const struct ssd_shape *shape);

/* The segments' own states [slots, H, P, N] become the states that they begin with (in a reverse
 * pass: the gradients of those that they end with); decays [slots, H] are sums of logarithms.
 * `begin` [slots of states, H, P, N] may be NULL. */
void cuda_ssd_combine(struct cuda_backend *cuda, float *states, const float *decays,
                      const float *begin, const int32_t *slots, bool reverse,
                      const struct sequences *sequences, const struct ssd_shape *shape);

/* In ssd's table: ssd_backward.cu, recurrent_step.cu. */
void cuda_ssd_backward(struct backend *backend, const struct ssd_gradients *gradients,
                       const struct act *dout, const struct acc *checkpoints,
                       const struct ssd_inputs *in, const struct sequences *sequences,
                       const struct ssd_shape *shape);
void cuda_ssd_step(struct backend *backend, struct act *out, struct acc *states,
                   const int32_t *slots, const struct ssd_inputs *in, int count,
                   const struct ssd_shape *shape);

/* A chunk's decays, found by one warp; tokens past the end have a dt of 0. */
struct alignas(16) ssd_gates {
    float sum[CHUNK], dt[CHUNK];
    float start[CHUNK], end[CHUNK],
        write[CHUNK]; /* exp(sum), exp(last - sum), the latter times dt */
    float raw[CHUNK]; /* before softplus */
    float last;       /* sum of all */
};

/* A lane's two tokens of a chunk. */
__device__ inline void read_raw(float (&raw)[2], const struct ssd_call &call, int64_t first,
                                int count, int head) {
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int i = 0; i < 2; i++)
        if (2 * lane + i < count)
            raw[i] = __bfloat162float(call.dt[(first + 2 * lane + i) * call.dt_stride + head]);
}

__device__ inline void find_gates(struct ssd_gates *gates, const float (&raw)[2], float bias,
                                  float a, int count) {
    int lane = threadIdx.x & 31;
    float dt[2], sum[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        dt[i] = 2 * lane + i < count ? softplus(raw[i] + bias) : 0;
        sum[i] = fmaxf(dt[i] * a, LEAST_STEP);
    }
    sum_before(sum);
    float last = __shfl_sync(~0u, sum[1], 31);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int t = 2 * lane + i;
        gates->raw[t] = raw[i] + bias;
        gates->sum[t] = sum[i];
        gates->dt[t] = dt[i];
        gates->start[t] = decay_of(sum[i]);
        gates->end[t] = decay_of(last - sum[i]);
        gates->write[t] = dt[i] * gates->end[t];
    }
    if (lane == 0) gates->last = last;
}

/* One segment's own state. Forward: from x and B, as if it began with zeros. REVERSE: from dout and
 * C, what it adds to the gradient of the state that it begins with. */
template <int P, int N, bool REVERSE>
__global__ void __launch_bounds__(2 * P, N <= 128 ? 256 / P : 1)
    ssd_segment(float *states, float *decays, struct ssd_call call, struct chunk_rows rows) {
    constexpr int THREADS = 2 * P;
    struct chunk_part part;
    if (!find_part<SEGMENT>(&part, call.offsets, call.sequences, call.heads, blockIdx.x)) return;
    bool more = part.first + SEGMENT < call.offsets[part.sequence + 1];
    if (REVERSE ? part.unit == 0 : !more) return;
    __shared__ struct ssd_gates gates;
    bf16 *left = (bf16 *)chunk_memory, *right = left + 2 * CHUNK * P;
    const struct chunk_rows &wide = REVERSE ? call.c : call.b;
    int warp = threadIdx.x / 32, chunks = (part.count + CHUNK - 1) / CHUNK;
    float bias = call.dt_bias[part.head], a = -expf(call.a_log[part.head]);
    float state[N / 8][4] = {}, raw[2] = {}, total = 0;
    auto place = [&](int step) { return (REVERSE ? chunks - 1 - step : step) * CHUNK; };
    auto load = [&](int step) {
        int token = part.first + place(step), count = part.count - place(step);
        load_rows<CHUNK, P, THREADS>(left + step % 2 * CHUNK * P, rows, token, part.head, count,
                                     call.p);
        load_rows<CHUNK, N, THREADS>(right + step % 2 * CHUNK * N, wide, token,
                                     part.head / call.per_group, count, call.n);
    };
    load(0);
    copy_commit();
    if (warp == 0) read_raw(raw, call, part.first + place(0), part.count - place(0), part.head);
    for (int step = 0; step < chunks; step++) {
        if (step + 1 < chunks) load(step + 1);
        copy_commit();
        if (warp == 0) {
            find_gates(&gates, raw, bias, a, part.count - place(step));
            if (step + 1 < chunks)
                read_raw(raw, call, part.first + place(step + 1), part.count - place(step + 1),
                         part.head);
        }
        copy_wait<1>();
        __syncthreads();
        total += gates.last;
        advance_state<P, N>(state, left + step % 2 * CHUNK * P, 2 * warp,
                            right + step % 2 * CHUNK * N, REVERSE ? gates.start : gates.write,
                            decay_of(gates.last));
        __syncthreads();
    }
    int64_t at = part.slot * call.heads + part.head;
    write_state<N>(states + at * call.p * call.n, state, 16 * warp, call.p, call.n, call.n, 1);
    if (threadIdx.x == 0) decays[at] = total;
}

template <int P, int N> constexpr int ssd_segment_shared() {
    return 2 * CHUNK * (P + N) * (int)sizeof(bf16);
}

/* Calls `launch` with the tiles' sizes that hold P and N; false, with a fault, where none does. */
template <template <int, int> class LAUNCH, typename... ARGUMENTS>
static bool ssd_choose(struct cuda_backend *cuda, const struct ssd_shape *shape,
                       ARGUMENTS... arguments) {
    int p = shape->head_dim, n = shape->d_state;
    if (p > 128 || n > 256) {
        cuda_fail(cuda, "ssd: heads of %d channels and %d states are too large", p, n);
        return false;
    }
    if (p <= 64 && n <= 64)
        LAUNCH<64, 64>::run(cuda, arguments...);
    else if (p <= 64 && n <= 128)
        LAUNCH<64, 128>::run(cuda, arguments...);
    else if (p <= 64)
        LAUNCH<64, 256>::run(cuda, arguments...);
    else if (n <= 64)
        LAUNCH<128, 64>::run(cuda, arguments...);
    else if (n <= 128)
        LAUNCH<128, 128>::run(cuda, arguments...);
    else
        LAUNCH<128, 256>::run(cuda, arguments...);
    return true;
}

#endif
