/* RMSNorm over each head. LANES neighbouring lanes of a warp share a head, WIDTH elements each;
 * head sizes that no such cut fits take a warp a head and one element a lane and round. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/norm.h"

enum { THREADS = 256 };

struct head_rows {
    int64_t count; /* tokens * heads */
    int heads, head_dim;
    int64_t out_stride, x_stride; /* dx's and dout's in the backward pass are beside */
};

/* ROUNDS * LANES * WIDTH covers the head; only the last round may be cut. */
template <int LANES, int WIDTH, int ROUNDS>
__global__ void head_norm(bf16 *out, float *rstd, const bf16 *x, const float *w, float epsilon,
                          struct head_rows rows) {
    int64_t row = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / LANES;
    int lane = threadIdx.x % LANES;
    bool inside = row < rows.count;
    int64_t token = row / rows.heads;
    int head = (int)(row - token * rows.heads);
    const bf16 *from = x + token * rows.x_stride + head * rows.head_dim;
    float kept[ROUNDS][WIDTH] = {}, squares = 0;
    let_next_start();
    wait_for_previous();
#pragma unroll
    for (int r = 0; r < ROUNDS; r++) {
        int i = (r * LANES + lane) * WIDTH;
        if (inside && i < rows.head_dim) load(kept[r], from + i);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) squares += kept[r][j] * kept[r][j];
    }
    float scale = 1 / sqrtf(sum_lanes<LANES>(squares) / rows.head_dim + epsilon);
    if (!inside) return;
    if (lane == 0) rstd[row] = scale;
    bf16 *to = out + token * rows.out_stride + head * rows.head_dim;
#pragma unroll
    for (int r = 0; r < ROUNDS; r++) {
        int i = (r * LANES + lane) * WIDTH;
        if (i >= rows.head_dim) break;
        float weights[WIDTH];
        load(weights, w + i);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) kept[r][j] *= scale * weights[j];
        store(to + i, kept[r]);
    }
}

/* A strip of rows a group of lanes, the groups' strips interleaved; partial [blocks, head_dim] (may
 * be NULL) receives the block's share of dw, added in the order of its groups. */
template <int LANES, int WIDTH, int ROUNDS>
__global__ void head_norm_backward(bf16 *dx, int64_t dx_stride, float *partial, const bf16 *dout,
                                   int64_t dout_stride, const bf16 *x, const float *w,
                                   const float *rstd, struct head_rows rows) {
    extern __shared__ float sums[]; /* [groups, head_dim] with partial */
    const int groups = THREADS / LANES;
    int group = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    float dw[ROUNDS][WIDTH] = {}, weights[ROUNDS][WIDTH] = {};
#pragma unroll
    for (int r = 0; r < ROUNDS; r++)
        if ((r * LANES + lane) * WIDTH < rows.head_dim)
            load(weights[r], w + (r * LANES + lane) * WIDTH);
    /* Every lane of the block takes the same number of turns: the sums need whole warps. */
    int64_t step = (int64_t)gridDim.x * groups, turns = (rows.count + step - 1) / step;
    for (int64_t turn = 0; turn < turns; turn++) {
        int64_t row = turn * step + (int64_t)blockIdx.x * groups + group;
        bool inside = row < rows.count;
        int64_t token = row / rows.heads;
        int head = (int)(row - token * rows.heads);
        float xhat[ROUNDS][WIDTH] = {}, g[ROUNDS][WIDTH] = {}, dot = 0;
        float scale = inside ? rstd[row] : 0;
#pragma unroll
        for (int r = 0; r < ROUNDS; r++) {
            int i = (r * LANES + lane) * WIDTH;
            if (!inside || i >= rows.head_dim) break;
            load(xhat[r], x + token * rows.x_stride + head * rows.head_dim + i);
            load(g[r], dout + token * dout_stride + head * rows.head_dim + i);
#pragma unroll
            for (int j = 0; j < WIDTH; j++) {
                xhat[r][j] *= scale;
                dw[r][j] += g[r][j] * xhat[r][j];
                g[r][j] *= weights[r][j];
                dot += g[r][j] * xhat[r][j];
            }
        }
        float mean = sum_lanes<LANES>(dot) / rows.head_dim;
#pragma unroll
        for (int r = 0; r < ROUNDS; r++) {
            int i = (r * LANES + lane) * WIDTH;
            if (!inside || i >= rows.head_dim) break;
#pragma unroll
            for (int j = 0; j < WIDTH; j++) g[r][j] = scale * (g[r][j] - xhat[r][j] * mean);
            store(dx + token * dx_stride + head * rows.head_dim + i, g[r]);
        }
    }
    if (!partial) return;
#pragma unroll
    for (int r = 0; r < ROUNDS; r++)
#pragma unroll
        for (int j = 0; j < WIDTH; j++) {
            int i = (r * LANES + lane) * WIDTH + j;
            if (i < rows.head_dim) sums[group * rows.head_dim + i] = dw[r][j];
        }
    __syncthreads();
    for (int i = threadIdx.x; i < rows.head_dim; i += THREADS) {
        float sum = 0;
        for (int other = 0; other < groups; other++) sum += sums[other * rows.head_dim + i];
        partial[(int64_t)blockIdx.x * rows.head_dim + i] = sum;
    }
}

struct head_norm_call {
    bool backward;
    void *out, *rstd; /* out is dx in the backward pass, rstd read there */
    void *dw;
    const void *x, *w, *dout;
    int64_t dout_stride;
    double epsilon;
    struct head_rows rows;
};

template <int LANES, int WIDTH, int ROUNDS>
static void launch_head_norm(struct cuda_backend *cuda, const struct head_norm_call *call) {
    const struct head_rows *rows = &call->rows;
    int64_t blocks = ceil_div(rows->count, THREADS / LANES);
    if (!call->backward) {
        CUDA_LAUNCH_EARLY(cuda, (head_norm<LANES, WIDTH, ROUNDS>), (unsigned)blocks, THREADS, 0,
                          (bf16 *)call->out, (float *)call->rstd, (const bf16 *)call->x,
                          (const float *)call->w, (float)call->epsilon, *rows);
        return;
    }
    int64_t most = 8 * (int64_t)cuda->multiprocessors;
    if (call->dw && blocks > most) blocks = most;
    float *partial = NULL;
    size_t shared = 0;
    if (call->dw && blocks) {
        partial = (float *)cuda_scratch(cuda, (size_t)(blocks * rows->head_dim) * sizeof(float));
        if (!partial) return;
        shared = (size_t)(THREADS / LANES) * (size_t)rows->head_dim * sizeof(float);
    }
    CUDA_LAUNCH(cuda, (head_norm_backward<LANES, WIDTH, ROUNDS>), (unsigned)blocks, THREADS, shared,
                (bf16 *)call->out, rows->out_stride, partial, (const bf16 *)call->dout,
                call->dout_stride, (const bf16 *)call->x, (const float *)call->w,
                (const float *)call->rstd, *rows);
    if (partial) cuda_add_partials(cuda, (float *)call->dw, partial, blocks, rows->head_dim);
}

static void choose_head_norm(struct cuda_backend *cuda, const struct head_norm_call *call) {
    const struct head_rows *rows = &call->rows;
    bool wide = aligned_to(call->out, 16) && aligned_to(call->x, 16) && aligned_to(call->w, 16) &&
                aligned_to(call->dout, 16) && rows->out_stride % 8 == 0 &&
                rows->x_stride % 8 == 0 && call->dout_stride % 8 == 0;
    if (wide && rows->head_dim == 32)
        launch_head_norm<4, 8, 1>(cuda, call);
    else if (wide && rows->head_dim == 64)
        launch_head_norm<8, 8, 1>(cuda, call);
    else if (wide && rows->head_dim == 128)
        launch_head_norm<16, 8, 1>(cuda, call);
    else if (wide && rows->head_dim == 256)
        launch_head_norm<32, 8, 1>(cuda, call);
    else if (rows->head_dim <= 32 * 8)
        launch_head_norm<32, 1, 8>(cuda, call);
    else
        cuda_fail(cuda, "head_norm: heads of %d elements are too long", rows->head_dim);
}

static struct head_rows rows_of(const struct head_norm_inputs *in, int64_t out_stride) {
    return {in->tokens * in->heads, in->heads, in->head_dim, out_stride, in->x_stride};
}

void cuda_head_norm(struct backend *backend, struct act *out, int64_t out_stride, struct acc *rstd,
                    const struct head_norm_inputs *in, double epsilon) {
    const struct head_norm_call call = {false, out,  rstd, NULL,    in->x,
                                        in->w, NULL, 0,    epsilon, rows_of(in, out_stride)};
    choose_head_norm(cuda_of(backend), &call);
}

void cuda_head_norm_backward(struct backend *backend, struct act *dx, int64_t dx_stride,
                             struct acc *dw, const struct act *dout, int64_t dout_stride,
                             const struct head_norm_inputs *in, const struct acc *rstd) {
    const struct head_norm_call call = {true,  dx,   (void *)rstd, dw, in->x,
                                        in->w, dout, dout_stride,  0,  rows_of(in, dx_stride)};
    choose_head_norm(cuda_of(backend), &call);
}
