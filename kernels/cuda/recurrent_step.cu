/* One more token of each sequence through the Mamba-2 recurrence and the gated delta rule: bound by
 * reading and writing the states once. */
#include "kernels/cuda/delta.cuh"
#include "kernels/cuda/ssd.cuh"

enum { THREADS = 256 };

struct ssd_step_call {
    bf16 *out;            /* [count, H*P] */
    float *states;        /* [slots, H, P, N] */
    const int32_t *slots; /* [count] */
    const bf16 *x, *b, *c, *dt;
    int64_t x_stride, b_stride, c_stride, dt_stride;
    const float *dt_bias, *a_log, *d;
    int heads, per_group, p, n;
    int lanes; /* that share a channel: a power of two, at most 32 */
};

enum { CHANNELS = 4 }; /* that a thread has on their way at once */

/* blockIdx.y: head, blockIdx.z: sequence. WIDTH neighbouring states at a time. */
template <int WIDTH>
__global__ void __launch_bounds__(THREADS) ssd_step(struct ssd_step_call call) {
    int team = threadIdx.x / call.lanes, lane = threadIdx.x % call.lanes;
    int teams = THREADS / call.lanes, head = blockIdx.y, n = call.n;
    int first = (int)blockIdx.x * teams * CHANNELS + team;
    int64_t sequence = blockIdx.z;
    float *state = call.states + ((int64_t)call.slots[sequence] * call.heads + head) * call.p * n;
    let_next_start();
#pragma unroll
    for (int k = 0; k < CHANNELS; k++)
        if (first + k * teams < call.p && lane * WIDTH < n)
            fetch_soon(state + (int64_t)(first + k * teams) * n + lane * WIDTH);
    wait_for_previous();
    float raw = __bfloat162float(call.dt[sequence * call.dt_stride + head]) + call.dt_bias[head];
    float dt = softplus(raw), decay = expf(-dt * expf(call.a_log[head])), y[CHANNELS] = {};
    float u[CHANNELS] = {}, x[CHANNELS] = {};
    const bf16 *b = call.b + sequence * call.b_stride + (int64_t)(head / call.per_group) * n;
    const bf16 *c = call.c + sequence * call.c_stride + (int64_t)(head / call.per_group) * n;
#pragma unroll
    for (int k = 0; k < CHANNELS; k++) {
        int channel = first + k * teams;
        if (channel >= call.p) continue;
        x[k] =
            __bfloat162float(call.x[sequence * call.x_stride + (int64_t)head * call.p + channel]);
        u[k] = dt * x[k];
    }
    for (int i = lane * WIDTH; i < n; i += call.lanes * WIDTH) {
        float h[CHANNELS][WIDTH], write[WIDTH], read[WIDTH];
#pragma unroll
        for (int k = 0; k < CHANNELS; k++)
            if (first + k * teams < call.p)
                load(h[k], state + (int64_t)(first + k * teams) * n + i);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) {
            write[j] = __bfloat162float(b[i + j]);
            read[j] = __bfloat162float(c[i + j]);
        }
#pragma unroll
        for (int k = 0; k < CHANNELS; k++) {
            if (first + k * teams >= call.p) continue;
#pragma unroll
            for (int j = 0; j < WIDTH; j++) {
                h[k][j] = decay * h[k][j] + u[k] * write[j];
                y[k] = fmaf(h[k][j], read[j], y[k]);
            }
            store(state + (int64_t)(first + k * teams) * n + i, h[k]);
        }
    }
#pragma unroll
    for (int k = 0; k < CHANNELS; k++) {
        int channel = first + k * teams;
        for (int step = call.lanes / 2; step; step /= 2) y[k] += __shfl_xor_sync(~0u, y[k], step);
        if (lane == 0 && channel < call.p)
            call.out[(sequence * call.heads + head) * call.p + channel] =
                __float2bfloat16(fmaf(call.d[head], x[k], y[k]));
    }
}

void cuda_ssd_step(struct backend *backend, struct act *out, struct acc *states,
                   const int32_t *slots, const struct ssd_inputs *in, int count,
                   const struct ssd_shape *shape) {
    struct cuda_backend *cuda = cuda_of(backend);
    struct ssd_step_call call = {};
    call.out = (bf16 *)out;
    call.states = (float *)states;
    call.slots = slots;
    call.x = (const bf16 *)in->x;
    call.b = (const bf16 *)in->b;
    call.c = (const bf16 *)in->c;
    call.dt = (const bf16 *)in->dt;
    call.x_stride = in->x_stride;
    call.b_stride = in->b_stride;
    call.c_stride = in->c_stride;
    call.dt_stride = in->dt_stride;
    call.dt_bias = (const float *)in->dt_bias;
    call.a_log = (const float *)in->a_log;
    call.d = (const float *)in->d;
    call.heads = shape->heads;
    call.per_group = shape->heads / shape->groups;
    call.p = shape->head_dim;
    call.n = shape->d_state;
    bool wide = call.n % 4 == 0 && aligned_to(states, 16);
    int vectors = call.n / (wide ? 4 : 1);
    for (call.lanes = 1; call.lanes < 32 && call.lanes < vectors;) call.lanes *= 2;
    dim3 grid((unsigned)ceil_div(call.p, THREADS / call.lanes * CHANNELS), (unsigned)call.heads,
              (unsigned)count);
    if (wide)
        CUDA_LAUNCH_EARLY(cuda, ssd_step<4>, grid, THREADS, 0, call);
    else
        CUDA_LAUNCH_EARLY(cuda, ssd_step<1>, grid, THREADS, 0, call);
}

struct delta_step_call {
    bf16 *out;            /* [count, HV*DV] */
    float *states;        /* [slots, HV, DK, DV] */
    const int32_t *slots; /* [count] */
    const bf16 *q, *k, *v, *b, *a;
    int64_t q_stride, k_stride, v_stride, b_stride, a_stride;
    const float *dt_bias, *a_log;
    int heads, per_key, dk, dv;
    bool wide; /* rows of the state start at multiples of 16 bytes, of whole pieces of 4 */
};

enum { WIDEST = 128, PARTS = 8, ROWS = WIDEST / PARTS };

/* A warp: row / sqrt(sum of squares + 1e-6) * scale, to float32. */
__device__ static void normalise(float *to, const bf16 *row, int width, float scale) {
    int lane = threadIdx.x & 31;
    float squares = 0;
    for (int i = lane; i < width; i += 32) {
        to[i] = __bfloat162float(row[i]);
        squares += to[i] * to[i];
    }
    scale /= sqrtf(sum_lanes(squares) + 1e-6f);
    for (int i = lane; i < width; i += 32) to[i] *= scale;
}

/* Four neighbours of a row of `width`, zeros past its end. */
__device__ static void read_four(float (&to)[4], const float *row, int column, int width,
                                 bool wide) {
    if (wide && column < width) {
        load(to, row + column);
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) to[i] = column + i < width ? row[column + i] : 0;
}

/* The sums over all warps of each lane's four, in every warp. */
__device__ static void sum_parts(float (&value)[4], float (*shared)[WIDEST]) {
    int lane = threadIdx.x & 31;
    store(shared[threadIdx.x / 32] + 4 * lane, value);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 4; i++) {
        value[i] = 0;
        for (int part = 0; part < PARTS; part++) value[i] += shared[part][4 * lane + i];
    }
}

/* A block a head (blockIdx.x) of a sequence (blockIdx.y), whose state stays in registers: a lane
 * has four columns, a warp every eighth row. */
__global__ void __launch_bounds__(THREADS) delta_step(struct delta_step_call call) {
    alignas(16) __shared__ float q[WIDEST], k[WIDEST], recalled[PARTS][WIDEST], read[PARTS][WIDEST];
    int head = blockIdx.x, warp = threadIdx.x / 32, column = (threadIdx.x & 31) * 4;
    int dv = call.dv, source = head / call.per_key * call.dk;
    int64_t sequence = blockIdx.y;
    float *state = call.states + ((int64_t)call.slots[sequence] * call.heads + head) * call.dk * dv;
    float s[ROWS][4] = {}, sum[4] = {}, e[4];
    let_next_start();
    for (int row = warp; row < call.dk && column < dv; row += PARTS)
        fetch_soon(state + (int64_t)row * dv + column);
    wait_for_previous();
#pragma unroll
    for (int i = 0; i < ROWS; i++)
        if (warp + i * PARTS < call.dk)
            read_four(s[i], state + (int64_t)(warp + i * PARTS) * dv, column, dv, call.wide);
    if (warp == 0)
        normalise(q, call.q + sequence * call.q_stride + source, call.dk,
                  1 / sqrtf((float)call.dk));
    if (warp == 1) normalise(k, call.k + sequence * call.k_stride + source, call.dk, 1);
    float raw = __bfloat162float(call.a[sequence * call.a_stride + head]) + call.dt_bias[head];
    float decay = expf(-expf(call.a_log[head]) * softplus(raw));
    float beta = sigmoid(__bfloat162float(call.b[sequence * call.b_stride + head]));
    __syncthreads();
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        float key = warp + i * PARTS < call.dk ? k[warp + i * PARTS] : 0;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            s[i][j] *= decay;
            sum[j] = fmaf(s[i][j], key, sum[j]);
        }
    }
    sum_parts(sum, recalled);
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const bf16 *v = call.v + sequence * call.v_stride + (int64_t)head * dv + column;
        e[j] = column + j < dv ? beta * (__bfloat162float(v[j]) - sum[j]) : 0;
        sum[j] = 0;
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        int row = warp + i * PARTS;
        if (row >= call.dk) break;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            s[i][j] = fmaf(k[row], e[j], s[i][j]);
            sum[j] = fmaf(s[i][j], q[row], sum[j]);
        }
        float *to = state + (int64_t)row * dv + column;
        if (call.wide && column < dv)
            store(to, s[i]);
        else
#pragma unroll
            for (int j = 0; j < 4; j++)
                if (column + j < dv) to[j] = s[i][j];
    }
    sum_parts(sum, read);
    if (warp) return;
#pragma unroll
    for (int j = 0; j < 4; j++)
        if (column + j < dv)
            call.out[(sequence * call.heads + head) * dv + column + j] = __float2bfloat16(sum[j]);
}

void cuda_delta_step(struct backend *backend, struct act *out, struct acc *states,
                     const int32_t *slots, const struct delta_inputs *in, int count,
                     const struct delta_shape *shape) {
    struct cuda_backend *cuda = cuda_of(backend);
    struct delta_step_call call = {};
    call.out = (bf16 *)out;
    call.states = (float *)states;
    call.slots = slots;
    call.q = (const bf16 *)in->q;
    call.k = (const bf16 *)in->k;
    call.v = (const bf16 *)in->v;
    call.b = (const bf16 *)in->b;
    call.a = (const bf16 *)in->a;
    call.q_stride = in->q_stride;
    call.k_stride = in->k_stride;
    call.v_stride = in->v_stride;
    call.b_stride = in->b_stride;
    call.a_stride = in->a_stride;
    call.dt_bias = (const float *)in->dt_bias;
    call.a_log = (const float *)in->a_log;
    call.heads = shape->value_heads;
    call.per_key = shape->value_heads / shape->key_heads;
    call.dk = shape->key_dim;
    call.dv = shape->value_dim;
    call.wide = call.dv % 4 == 0 && aligned_to(states, 16);
    if (call.dk > WIDEST || call.dv > WIDEST) {
        cuda_fail(cuda, "delta_step: heads of %d and %d channels are too large", call.dk, call.dv);
        return;
    }
    CUDA_LAUNCH_EARLY(cuda, delta_step, dim3((unsigned)call.heads, (unsigned)count), THREADS, 0,
                      call);
}
