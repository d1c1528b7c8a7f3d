/* RMSNorm over groups of channels with a SiLU gate. LANES neighbouring threads take a group, WIDTH
 * elements each and round; all of it stays in registers. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.cuh"
#include "kernels/ops/gated_norm.h"

enum { THREADS = 256 };

struct gated_call {
    const bf16 *x, *z, *dout; /* dout in the backward pass */
    bf16 *out, *dz;           /* out is dx there */
    int64_t z_stride, dz_stride;
    const float *w;
    float *rstd;
    float *partial; /* [teams' strips, groups, width]: of dw; or NULL */
    int64_t rows;
    int groups, width;
    bool gate_first, shared;
    float epsilon;
};

/* One group's elements of a thread; `gate` is silu(z), v what is normalised. */
template <int WIDTH, int ROUNDS> struct gated_values { float x[ROUNDS][WIDTH], z[ROUNDS][WIDTH]; };

template <int LANES, int WIDTH, int ROUNDS>
__device__ static void load_values(struct gated_values<WIDTH, ROUNDS> *values,
                                   const struct gated_call &call, int64_t row, int group,
                                   int lane) {
#pragma unroll
    for (int r = 0; r < ROUNDS; r++) {
        int i = (r * LANES + lane) * WIDTH;
        if (row >= call.rows || i >= call.width) {
#pragma unroll
            for (int j = 0; j < WIDTH; j++) values->x[r][j] = values->z[r][j] = 0;
            continue;
        }
        load(values->x[r], call.x + (row * call.groups + group) * call.width + i);
        load(values->z[r], call.z + row * call.z_stride + (int64_t)group * call.width + i);
    }
}

template <int LANES> __device__ static float sum_team(float value, float *shared) {
    if constexpr (LANES <= 32) return sum_lanes<LANES>(value);
    __syncthreads(); /* an earlier sum may still be read */
    return sum_block(value, shared);
}

/* out = norm(x silu(z)) w or, without gate_first, norm(x) w silu(z); rstd is kept for the backward
 * pass. LANES threads a group of channels. */
template <int LANES, int WIDTH, int ROUNDS>
__global__ void __launch_bounds__(THREADS) gated_norm(struct gated_call call) {
    __shared__ float shared[32];
    int64_t item = (int64_t)blockIdx.x * (THREADS / LANES) + threadIdx.x / LANES;
    int64_t row = item / call.groups;
    int group = (int)(item % call.groups), lane = threadIdx.x % LANES;
    struct gated_values<WIDTH, ROUNDS> values;
    float squares = 0;
    let_next_start();
    wait_for_previous();
    load_values<LANES, WIDTH, ROUNDS>(&values, call, row, group, lane);
#pragma unroll
    for (int r = 0; r < ROUNDS; r++)
#pragma unroll
        for (int j = 0; j < WIDTH; j++) {
            values.z[r][j] *= sigmoid(values.z[r][j]);
            if (call.gate_first) values.x[r][j] *= values.z[r][j];
            squares += values.x[r][j] * values.x[r][j];
        }
    float scale = 1 / sqrtf(sum_team<LANES>(squares, shared) / call.width + call.epsilon);
    if (row >= call.rows) return;
    if (lane == 0) call.rstd[item] = scale;
#pragma unroll
    for (int r = 0; r < ROUNDS; r++) {
        int i = (r * LANES + lane) * WIDTH;
        if (i >= call.width) break;
        float w[WIDTH];
        load(w, call.w + (call.shared ? 0 : group * call.width) + i);
#pragma unroll
        for (int j = 0; j < WIDTH; j++)
            values.x[r][j] *= scale * w[j] * (call.gate_first ? 1 : values.z[r][j]);
        store(call.out + item * call.width + i, values.x[r]);
    }
}

/* A team keeps to one group and takes every `step`-th row. */
template <int LANES, int WIDTH, int ROUNDS>
__global__ void __launch_bounds__(THREADS)
    gated_norm_backward(struct gated_call call, int64_t step) {
    __shared__ float shared[32];
    int64_t team = (int64_t)blockIdx.x * (THREADS / LANES) + threadIdx.x / LANES;
    int group = (int)(team % call.groups), lane = threadIdx.x % LANES;
    int64_t strip = team / call.groups;
    float dw[ROUNDS][WIDTH] = {}, w[ROUNDS][WIDTH] = {};
#pragma unroll
    for (int r = 0; r < ROUNDS; r++) {
        int i = (r * LANES + lane) * WIDTH;
        if (i < call.width) load(w[r], call.w + (call.shared ? 0 : group * call.width) + i);
    }
    /* Every thread takes the same number of turns: sums need whole warps and blocks. */
    for (int64_t turn = 0; turn < (call.rows + step - 1) / step; turn++) {
        int64_t row = strip < step ? turn * step + strip : call.rows;
        struct gated_values<WIDTH, ROUNDS> values;
        float g[ROUNDS][WIDTH], slope[ROUNDS][WIDTH], dot = 0;
        float scale = row < call.rows ? call.rstd[row * call.groups + group] : 0;
        load_values<LANES, WIDTH, ROUNDS>(&values, call, row, group, lane);
#pragma unroll
        for (int r = 0; r < ROUNDS; r++) {
            int i = (r * LANES + lane) * WIDTH;
            float dout[WIDTH] = {};
            if (row < call.rows && i < call.width)
                load(dout, call.dout + (row * call.groups + group) * call.width + i);
#pragma unroll
            for (int j = 0; j < WIDTH; j++) {
                float s = sigmoid(values.z[r][j]), gate = values.z[r][j] * s;
                slope[r][j] = s * (1 + values.z[r][j] * (1 - s));
                float n = values.x[r][j] * scale * (call.gate_first ? gate : 1);
                g[r][j] = dout[j] * (call.gate_first ? 1 : gate);
                dw[r][j] += g[r][j] * n;
                g[r][j] *= w[r][j];
                dot += g[r][j] * n;
                /* what z's gradient takes of the gate after the norm */
                if (!call.gate_first) slope[r][j] *= dout[j] * w[r][j] * n;
                values.z[r][j] = gate;
            }
        }
        float mean = sum_team<LANES>(dot, shared) / call.width;
        if (row >= call.rows) continue;
#pragma unroll
        for (int r = 0; r < ROUNDS; r++) {
            int i = (r * LANES + lane) * WIDTH;
            if (i >= call.width) break;
#pragma unroll
            for (int j = 0; j < WIDTH; j++) {
                float n = values.x[r][j] * scale * (call.gate_first ? values.z[r][j] : 1);
                float dv = scale * (g[r][j] - n * mean);
                if (call.gate_first) slope[r][j] *= dv * values.x[r][j];
                g[r][j] = call.gate_first ? dv * values.z[r][j] : dv;
            }
            store(call.out + (row * call.groups + group) * call.width + i, g[r]);
            store(call.dz + row * call.dz_stride + (int64_t)group * call.width + i, slope[r]);
        }
    }
    if (!call.partial || strip >= step) return;
#pragma unroll
    for (int r = 0; r < ROUNDS; r++) {
        int i = (r * LANES + lane) * WIDTH;
        if (i < call.width) store(call.partial + team * call.width + i, dw[r]);
    }
}

template <int LANES, int WIDTH, int ROUNDS>
static void launch_gated(struct cuda_backend *cuda, struct gated_call *call, float *dw) {
    const int teams = THREADS / LANES;
    if (!call->dout) {
        CUDA_LAUNCH_EARLY(cuda, (gated_norm<LANES, WIDTH, ROUNDS>),
                          (unsigned)ceil_div(call->rows * call->groups, teams), THREADS, 0, *call);
        return;
    }
    int64_t step = ceil_div((int64_t)cuda->multiprocessors * 8 * teams, call->groups);
    if (step > call->rows) step = call->rows;
    if (dw && step) {
        size_t bytes = (size_t)(step * call->groups) * (size_t)call->width * sizeof(float);
        call->partial = (float *)cuda_scratch(cuda, bytes);
        if (!call->partial) return;
    }
    CUDA_LAUNCH(cuda, (gated_norm_backward<LANES, WIDTH, ROUNDS>),
                (unsigned)ceil_div(step * call->groups, teams), THREADS, 0, *call, step);
    if (!call->partial) return;
    int64_t columns = (int64_t)call->width * (call->shared ? 1 : call->groups);
    cuda_add_partials(cuda, dw, call->partial, step * call->groups * call->width / columns,
                      columns);
}

static void choose_gated(struct cuda_backend *cuda, struct gated_call *call, float *dw) {
    int width = call->width;
    bool wide = width % 8 == 0 && call->z_stride % 8 == 0 && call->dz_stride % 8 == 0 &&
                aligned_to(call->x, 16) && aligned_to(call->z, 16) && aligned_to(call->dout, 16) &&
                aligned_to(call->out, 16) && aligned_to(call->dz, 16) && aligned_to(call->w, 16);
    if (wide && width <= 32)
        launch_gated<4, 8, 1>(cuda, call, dw);
    else if (wide && width <= 64)
        launch_gated<8, 8, 1>(cuda, call, dw);
    else if (wide && width <= 128)
        launch_gated<16, 8, 1>(cuda, call, dw);
    else if (wide && width <= 256)
        launch_gated<32, 8, 1>(cuda, call, dw);
    else if (wide && width <= 2048)
        launch_gated<256, 8, 1>(cuda, call, dw);
    else if (wide && width <= 3 * 2048)
        launch_gated<256, 8, 3>(cuda, call, dw);
    else if (wide && width <= 8 * 2048)
        launch_gated<256, 8, 8>(cuda, call, dw);
    else if (width <= 256)
        launch_gated<32, 1, 8>(cuda, call, dw);
    else if (width <= 16 * 256)
        launch_gated<256, 1, 16>(cuda, call, dw);
    else
        cuda_fail(cuda, "gated_norm: groups of %d channels are too long", width);
}

static struct gated_call make_call(void *out, void *rstd, const void *x, const void *z,
                                   int64_t z_stride, const void *w, int64_t rows,
                                   const struct gated_norm_shape *shape) {
    struct gated_call call = {};
    call.out = (bf16 *)out;
    call.rstd = (float *)rstd;
    call.x = (const bf16 *)x;
    call.z = (const bf16 *)z;
    call.z_stride = z_stride;
    call.w = (const float *)w;
    call.rows = rows;
    call.groups = shape->groups;
    call.width = shape->width;
    call.gate_first = shape->gate_first;
    call.shared = shape->shared;
    call.epsilon = (float)shape->epsilon;
    return call;
}

static void cuda_gated_norm(struct backend *backend, struct act *out, struct acc *rstd,
                            const struct act *x, const struct act *z, int64_t z_stride,
                            const struct acc *w, int64_t rows,
                            const struct gated_norm_shape *shape) {
    struct gated_call call = make_call(out, rstd, x, z, z_stride, w, rows, shape);
    choose_gated(cuda_of(backend), &call, NULL);
}

static void cuda_gated_norm_backward(struct backend *backend, struct act *dx, struct act *dz,
                                     int64_t dz_stride, struct acc *dw, const struct act *dout,
                                     const struct act *x, const struct act *z, int64_t z_stride,
                                     const struct acc *w, const struct acc *rstd, int64_t rows,
                                     const struct gated_norm_shape *shape) {
    struct gated_call call = make_call(dx, (void *)rstd, x, z, z_stride, w, rows, shape);
    call.dout = (const bf16 *)dout;
    call.dz = (bf16 *)dz;
    call.dz_stride = dz_stride;
    choose_gated(cuda_of(backend), &call, (float *)dw);
}

const struct gated_norm_ops cuda_gated_norm_ops = {
    .gated_norm = cuda_gated_norm,
    .gated_norm_backward = cuda_gated_norm_backward,
};
