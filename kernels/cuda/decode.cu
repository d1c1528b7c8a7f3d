/* The Mamba mixer's steps: one token of each sequence against its convolution inputs and states. */
#include "kernels/cuda/conv.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/scan.h"

enum { THREADS = 128 };

struct conv_call {
    bf16 *out, *states;    /* [count, I], [slots, K - 1, X] */
    const int32_t *slots;  /* [count] */
    const bf16 *x;         /* [tokens, X], x_stride */
    const float *w, *bias; /* [I, K], [I] */
    int64_t x_stride;
    const int32_t *offsets; /* of conv_store */
    int source_width, inner, states_per_head, taps, repeat;
};

static struct conv_call make_call(const struct mamba_shape *shape, void *states,
                                  const int32_t *slots, const void *x, int64_t x_stride) {
    struct conv_call call = {};
    call.states = (bf16 *)states;
    call.slots = slots;
    call.x = (const bf16 *)x;
    call.x_stride = x_stride;
    call.source_width = shape->d_xb;
    call.inner = shape->d_inner;
    call.states_per_head = shape->d_state;
    call.taps = shape->d_conv;
    call.repeat = shape->d_inner / shape->d_xb;
    return call;
}

/* blockIdx.y: the row of the state; blockIdx.z: the sequence. */
__global__ void __launch_bounds__(THREADS) conv_store_kernel(struct conv_call call) {
    int channel = (int)(blockIdx.x * THREADS + threadIdx.x), kept = call.taps - 1;
    if (channel >= call.source_width) return;
    int64_t token = (int64_t)call.offsets[blockIdx.z + 1] - kept + blockIdx.y;
    bf16 *to = call.states +
               ((int64_t)call.slots[blockIdx.z] * kept + blockIdx.y) * call.source_width + channel;
    *to = token < call.offsets[blockIdx.z] ? __float2bfloat16(0.0f)
                                           : call.x[token * call.x_stride + channel];
}

/* A thread owns a source channel with all its repeats, so nobody else reads what it moves. */
__global__ void __launch_bounds__(THREADS) conv_step_kernel(struct conv_call call) {
    int source = (int)(blockIdx.x * THREADS + threadIdx.x), kept = call.taps - 1;
    if (source >= call.source_width) return;
    int64_t sequence = blockIdx.y, width = call.source_width;
    int n = call.states_per_head, head = source / n, offset = source % n;
    let_next_start();
    for (int r = 0; r < call.repeat; r++)
        fetch_soon(call.w + ((int64_t)(head * call.repeat + r) * n + offset) * call.taps);
    wait_for_previous();
    bf16 *past = call.states + (int64_t)call.slots[sequence] * kept * width + source;
    bf16 now = call.x[sequence * call.x_stride + source];
    for (int r = 0; r < call.repeat; r++) {
        int64_t channel = (int64_t)(head * call.repeat + r) * n + offset;
        const float *w = call.w + channel * call.taps;
        float sum = call.bias ? call.bias[channel] : 0;
        for (int k = 0; k < kept; k++) sum = fmaf(w[k], __bfloat162float(past[k * width]), sum);
        sum = fmaf(w[kept], __bfloat162float(now), sum);
        call.out[sequence * call.inner + channel] = __float2bfloat16(sum * sigmoid(sum));
    }
    for (int k = 0; k < kept; k++) past[k * width] = k + 1 < kept ? past[(k + 1) * width] : now;
}

void cuda_conv_store(struct backend *backend, struct act *states, const int32_t *slots,
                     const struct act *x, int64_t x_stride, const struct sequences *sequences,
                     const struct mamba_shape *shape) {
    struct conv_call call = make_call(shape, states, slots, x, x_stride);
    call.offsets = sequences->device_offsets;
    dim3 grid((unsigned)ceil_div(shape->d_xb, THREADS), (unsigned)(shape->d_conv - 1),
              (unsigned)sequences->count);
    CUDA_LAUNCH(cuda_of(backend), conv_store_kernel, grid, THREADS, 0, call);
}

void cuda_conv_step(struct backend *backend, struct act *out, struct act *states,
                    const int32_t *slots, const struct act *x, int64_t x_stride,
                    const struct acc *w, const struct acc *bias, int count,
                    const struct mamba_shape *shape) {
    struct conv_call call = make_call(shape, states, slots, x, x_stride);
    call.out = (bf16 *)out;
    call.w = (const float *)w;
    call.bias = (const float *)bias;
    dim3 grid((unsigned)ceil_div(shape->d_xb, THREADS), (unsigned)count);
    CUDA_LAUNCH_EARLY(cuda_of(backend), conv_step_kernel, grid, THREADS, 0, call);
}

struct step_call {
    bf16 *out;            /* [count, I] */
    float *states;        /* [slots, I, N] */
    const int32_t *slots; /* [count] */
    const bf16 *x, *dt, *z, *b, *c;
    int64_t x_stride, dt_stride, z_stride, b_stride, c_stride;
    const float *dt_bias, *a_log, *d;
    int inner, states_per_head, repeat;
    int lanes; /* that share a channel: a power of two, at most 32 */
};

/* WIDTH neighbouring states at a time; blockIdx.y is the sequence. */
template <int WIDTH>
__global__ void __launch_bounds__(THREADS) scan_step_kernel(struct step_call call) {
    int thread = (int)(blockIdx.x * THREADS + threadIdx.x);
    int channel = thread / call.lanes, lane = thread % call.lanes, n = call.states_per_head;
    bool exists = channel < call.inner;
    if (!exists) channel = 0; /* its lanes take part in the sums */
    int64_t sequence = blockIdx.y;
    let_next_start();
    if (lane * WIDTH < n) {
        fetch_soon(call.a_log + (int64_t)channel * n + lane * WIDTH);
        fetch_soon(call.states + ((int64_t)call.slots[sequence] * call.inner + channel) * n +
                   lane * WIDTH);
    }
    wait_for_previous();
    float x = __bfloat162float(call.x[sequence * call.x_stride + channel]);
    float z = __bfloat162float(call.z[sequence * call.z_stride + channel]);
    float raw =
        __bfloat162float(call.dt[sequence * call.dt_stride + channel]) + call.dt_bias[channel];
    float dt = raw > 20 ? raw : log1pf(expf(raw)), u = dt * x, y = 0;
    const bf16 *b = call.b + sequence * call.b_stride + channel / n / call.repeat * n;
    const bf16 *c = call.c + sequence * call.c_stride + channel / n * n;
    const float *a_log = call.a_log + (int64_t)channel * n;
    float *state = call.states + ((int64_t)call.slots[sequence] * call.inner + channel) * n;
    for (int i = lane * WIDTH; exists && i < n; i += call.lanes * WIDTH) {
        float h[WIDTH], a[WIDTH];
        load(h, state + i);
        load(a, a_log + i);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) {
            h[j] = expf(-dt * expf(a[j])) * h[j] + u * __bfloat162float(b[i + j]);
            y = fmaf(h[j], __bfloat162float(c[i + j]), y);
        }
        store(state + i, h);
    }
    for (int step = call.lanes / 2; step; step /= 2) y += __shfl_xor_sync(~0u, y, step);
    if (!exists || lane) return;
    y = fmaf(call.d[channel], x, y);
    call.out[sequence * call.inner + channel] = __float2bfloat16(y * z * sigmoid(z));
}

void cuda_scan_step(struct backend *backend, struct act *out, struct acc *states,
                    const int32_t *slots, const struct scan_inputs *in, int count,
                    const struct mamba_shape *shape) {
    struct cuda_backend *cuda = cuda_of(backend);
    struct step_call call = {};
    call.out = (bf16 *)out;
    call.states = (float *)states;
    call.slots = slots;
    call.x = (const bf16 *)in->x;
    call.dt = (const bf16 *)in->dt;
    call.z = (const bf16 *)in->z;
    call.b = (const bf16 *)in->b;
    call.c = (const bf16 *)in->c;
    call.x_stride = in->x_stride;
    call.dt_stride = in->dt_stride;
    call.z_stride = in->z_stride;
    call.b_stride = in->b_stride;
    call.c_stride = in->c_stride;
    call.dt_bias = (const float *)in->dt_bias;
    call.a_log = (const float *)in->a_log;
    call.d = (const float *)in->d;
    call.inner = shape->d_inner;
    call.states_per_head = shape->d_state;
    call.repeat = shape->d_inner / shape->d_xb;
    bool wide = shape->d_state % 4 == 0 && aligned_to(states, 16) && aligned_to(in->a_log, 16);
    int vectors = shape->d_state / (wide ? 4 : 1);
    for (call.lanes = 1; call.lanes < 32 && call.lanes < vectors;) call.lanes *= 2;
    dim3 grid((unsigned)ceil_div((int64_t)shape->d_inner * call.lanes, THREADS), (unsigned)count);
    if (wide)
        CUDA_LAUNCH_EARLY(cuda, scan_step_kernel<4>, grid, THREADS, 0, call);
    else
        CUDA_LAUNCH_EARLY(cuda, scan_step_kernel<1>, grid, THREADS, 0, call);
}
