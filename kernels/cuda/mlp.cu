/* SwiGLU (Shazeer 2020): WIDTH columns a thread; neighbouring blocks share a row. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.cuh"
#include "kernels/ops/mlp.h"

enum { THREADS = 256, WIDE = 8 };

/* The row and column of a thread's vector; false past the row's end. */
template <int WIDTH> __device__ static bool place(int64_t *row, int64_t *column, int64_t width) {
    unsigned chunks = (unsigned)((width + THREADS * WIDTH - 1) / (THREADS * WIDTH));
    *row = blockIdx.x / chunks;
    *column = ((int64_t)(blockIdx.x % chunks) * THREADS + threadIdx.x) * WIDTH;
    return *column < width;
}

/* out [rows, F] = silu(gate) up, of rows [gate (F), up (F)]. */
template <int WIDTH> __global__ void swiglu(bf16 *out, const bf16 *gate_up, int64_t width) {
    int64_t row, i;
    let_next_start();
    wait_for_previous();
    if (!place<WIDTH>(&row, &i, width)) return;
    const bf16 *from = gate_up + row * 2 * width + i;
    float gate[WIDTH], up[WIDTH];
    load(gate, from);
    load(up, from + width);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) up[j] *= gate[j] * sigmoid(gate[j]);
    store(out + row * width + i, up);
}

/* With s = sigmoid(gate): dgate = dout up s (1 + gate (1 - s)), dup = dout gate s. */
template <int WIDTH>
__global__ void swiglu_backward(bf16 *dgate_up, const bf16 *dout, const bf16 *gate_up,
                                int64_t width) {
    int64_t row, i;
    if (!place<WIDTH>(&row, &i, width)) return;
    int64_t start = row * 2 * width + i;
    float gate[WIDTH], up[WIDTH], d[WIDTH];
    load(gate, gate_up + start);
    load(up, gate_up + start + width);
    load(d, dout + row * width + i);
#pragma unroll
    for (int j = 0; j < WIDTH; j++) {
        float s = sigmoid(gate[j]);
        float dgate = d[j] * up[j] * s * (1 + gate[j] * (1 - s));
        up[j] = d[j] * gate[j] * s;
        gate[j] = dgate;
    }
    store(dgate_up + start, gate);
    store(dgate_up + start + width, up);
}

static dim3 grid_of(int64_t rows, int64_t width, int vector_width) {
    return dim3((unsigned)(rows * ceil_div(width, (int64_t)THREADS * vector_width)));
}

static void cuda_swiglu(struct backend *backend, struct act *out, const struct act *gate_up,
                        int64_t rows, int64_t width) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (width % WIDE == 0 && aligned_to(out, 16) && aligned_to(gate_up, 16))
        CUDA_LAUNCH_EARLY(cuda, swiglu<WIDE>, grid_of(rows, width, WIDE), THREADS, 0, (bf16 *)out,
                          (const bf16 *)gate_up, width);
    else
        CUDA_LAUNCH_EARLY(cuda, swiglu<1>, grid_of(rows, width, 1), THREADS, 0, (bf16 *)out,
                          (const bf16 *)gate_up, width);
}

static void cuda_swiglu_backward(struct backend *backend, struct act *dgate_up,
                                 const struct act *dout, const struct act *gate_up, int64_t rows,
                                 int64_t width) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (width % WIDE == 0 && aligned_to(dgate_up, 16) && aligned_to(gate_up, 16) &&
        aligned_to(dout, 16))
        CUDA_LAUNCH(cuda, swiglu_backward<WIDE>, grid_of(rows, width, WIDE), THREADS, 0,
                    (bf16 *)dgate_up, (const bf16 *)dout, (const bf16 *)gate_up, width);
    else
        CUDA_LAUNCH(cuda, swiglu_backward<1>, grid_of(rows, width, 1), THREADS, 0, (bf16 *)dgate_up,
                    (const bf16 *)dout, (const bf16 *)gate_up, width);
}

const struct mlp_ops cuda_mlp_ops = {
    .swiglu = cuda_swiglu,
    .swiglu_backward = cuda_swiglu_backward,
};
