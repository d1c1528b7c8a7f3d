/* RMSNorm over the hidden size (Zhang and Sennrich 2019). */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/norm.h"

/* Rows of the hidden size: one block a row, PARTS vectors of WIDTH elements a thread, held in
 * registers between the sum and its use. */
enum { MOST_THREADS = 320, MOST_PARTS = 8 };

/* out = x rstd w and rstd = (mean(x^2) + epsilon)^-1/2. The weights are asked for before the
 * previous kernel has ended, which does not write them. */
template <int WIDTH, int PARTS>
__global__ void rmsnorm(bf16 *out, float *rstd, const float *x, const float *w, float epsilon,
                        int64_t width) {
    __shared__ float shared[32];
    int64_t start = blockIdx.x * width;
    float kept[PARTS][WIDTH], squares = 0;
    let_next_start();
#pragma unroll
    for (int p = 0; p < PARTS; p++) {
        int64_t i = (int64_t)(p * blockDim.x + threadIdx.x) * WIDTH;
        if (i < width && i % 32 == 0) fetch_soon(w + i);
    }
    wait_for_previous();
#pragma unroll
    for (int p = 0; p < PARTS; p++) {
        int64_t i = (int64_t)(p * blockDim.x + threadIdx.x) * WIDTH;
        if (i >= width) break;
        load(kept[p], x + start + i);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) squares += kept[p][j] * kept[p][j];
    }
    float scale = 1 / sqrtf(sum_block(squares, shared) / width + epsilon);
    if (threadIdx.x == 0) rstd[blockIdx.x] = scale;
#pragma unroll
    for (int p = 0; p < PARTS; p++) {
        int64_t i = (int64_t)(p * blockDim.x + threadIdx.x) * WIDTH;
        if (i >= width) break;
        float weights[WIDTH];
        load(weights, w + i);
#pragma unroll
        for (int j = 0; j < WIDTH; j++) kept[p][j] *= scale * weights[j];
        store(out + start + i, kept[p]);
    }
}

/* A strip of rows a block; with DW, partial [blocks, width] receives the strip's share of dw.
 * With xhat = x rstd and g = dout w: dx += rstd (g - xhat mean(g xhat)), dw += dout xhat. */
template <int WIDTH, int PARTS, bool DW>
__global__ void __launch_bounds__(MOST_THREADS, PARTS > 4 ? 1
                                                : DW      ? 2
                                                          : 3)
    rmsnorm_backward(float *dx, float *partial, const bf16 *dout, const float *x, const float *w,
                     const float *rstd, int64_t rows, int64_t width) {
    __shared__ float shared[2][32];
    float dw[PARTS][WIDTH] = {};
    int64_t strip = (rows + gridDim.x - 1) / gridDim.x, first = blockIdx.x * strip;
    int64_t end = first + strip < rows ? first + strip : rows;
    for (int64_t row = first; row < end; row++) {
        struct packed<WIDTH> gradient[PARTS]; /* as it lies in memory: fewer registers */
        float xhat[PARTS][WIDTH], sums[PARTS][WIDTH], scale = rstd[row], dot = 0;
#pragma unroll
        for (int p = 0; p < PARTS; p++) {
            int64_t i = (int64_t)(p * blockDim.x + threadIdx.x) * WIDTH;
            if (i >= width) break;
            float weights[WIDTH], g[WIDTH];
            load(xhat[p], x + row * width + i);
            gradient[p] = read_packed<WIDTH>(dout + row * width + i);
            load(sums[p], dx + row * width + i); /* early: in flight during the sum */
            load(weights, w + i);
            widen(g, gradient[p]);
#pragma unroll
            for (int j = 0; j < WIDTH; j++) {
                xhat[p][j] *= scale;
                if (DW) dw[p][j] += g[j] * xhat[p][j];
                dot += g[j] * weights[j] * xhat[p][j];
            }
        }
        /* Alternating, so that the next row's sums do not meet readers of these. */
        float mean = sum_block(dot, shared[row & 1]) / width;
#pragma unroll
        for (int p = 0; p < PARTS; p++) {
            int64_t i = (int64_t)(p * blockDim.x + threadIdx.x) * WIDTH;
            if (i >= width) break;
            float weights[WIDTH], g[WIDTH];
            load(weights, w + i);
            widen(g, gradient[p]);
#pragma unroll
            for (int j = 0; j < WIDTH; j++)
                sums[p][j] += scale * (g[j] * weights[j] - xhat[p][j] * mean);
            store(dx + row * width + i, sums[p]);
        }
    }
    if constexpr (DW) {
#pragma unroll
        for (int p = 0; p < PARTS; p++) {
            int64_t i = (int64_t)(p * blockDim.x + threadIdx.x) * WIDTH;
            if (i < width) store(partial + blockIdx.x * width + i, dw[p]);
        }
    }
}

/* Threads and vectors a thread for rows of `width`; false when registers do not hold a row. */
static bool shape_block(int64_t width, int vector_width, int *threads, int *parts) {
    int64_t vectors = ceil_div(width, vector_width);
    for (*parts = 1; *parts <= MOST_PARTS; *parts *= 2) {
        *threads = (int)(ceil_div(ceil_div(vectors, *parts), 32) * 32);
        if (*threads <= MOST_THREADS) return true;
    }
    return false;
}

template <int WIDTH, int PARTS>
static void launch_rmsnorm(struct cuda_backend *cuda, int threads, void *out, void *rstd,
                           const void *x, const void *w, double epsilon, int64_t rows,
                           int64_t width) {
    CUDA_LAUNCH_EARLY(cuda, (rmsnorm<WIDTH, PARTS>), (unsigned)rows, threads, 0, (bf16 *)out,
                      (float *)rstd, (const float *)x, (const float *)w, (float)epsilon, width);
}

template <int WIDTH>
static void choose_rmsnorm(struct cuda_backend *cuda, void *out, void *rstd, const void *x,
                           const void *w, double epsilon, int64_t rows, int64_t width) {
    int threads, parts;
    if (!shape_block(width, WIDTH, &threads, &parts))
        cuda_fail(cuda, "rmsnorm: rows of %lld elements are too long", (long long)width);
    else if (parts == 1)
        launch_rmsnorm<WIDTH, 1>(cuda, threads, out, rstd, x, w, epsilon, rows, width);
    else if (parts == 2)
        launch_rmsnorm<WIDTH, 2>(cuda, threads, out, rstd, x, w, epsilon, rows, width);
    else if (parts == 4)
        launch_rmsnorm<WIDTH, 4>(cuda, threads, out, rstd, x, w, epsilon, rows, width);
    else
        launch_rmsnorm<WIDTH, 8>(cuda, threads, out, rstd, x, w, epsilon, rows, width);
}

static void cuda_rmsnorm(struct backend *backend, struct act *out, struct acc *rstd,
                         const struct acc *x, const struct acc *w, double epsilon, int64_t rows,
                         int64_t width) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (width % 4 == 0 && aligned_to(x, 16) && aligned_to(w, 16) && aligned_to(out, 8))
        choose_rmsnorm<4>(cuda, out, rstd, x, w, epsilon, rows, width);
    else
        choose_rmsnorm<1>(cuda, out, rstd, x, w, epsilon, rows, width);
}

struct rmsnorm_gradients {
    void *dx, *dw;
    const void *dout, *x, *w, *rstd;
    int64_t rows, width;
};

template <int WIDTH, int PARTS>
static void launch_rmsnorm_backward(struct cuda_backend *cuda, int threads,
                                    const struct rmsnorm_gradients *op) {
    /* Without dw a block a row; with it few strips, so that their sums are few bytes. */
    if (!op->dw) {
        CUDA_LAUNCH(cuda, (rmsnorm_backward<WIDTH, PARTS, false>), (unsigned)op->rows, threads, 0,
                    (float *)op->dx, (float *)NULL, (const bf16 *)op->dout, (const float *)op->x,
                    (const float *)op->w, (const float *)op->rstd, op->rows, op->width);
        return;
    }
    int64_t strip = ceil_div(op->rows, 2 * (int64_t)cuda->multiprocessors);
    int64_t blocks = ceil_div(op->rows, strip);
    float *partial = (float *)cuda_scratch(cuda, (size_t)(blocks * op->width) * sizeof(float));
    if (!partial) return;
    CUDA_LAUNCH(cuda, (rmsnorm_backward<WIDTH, PARTS, true>), (unsigned)blocks, threads, 0,
                (float *)op->dx, partial, (const bf16 *)op->dout, (const float *)op->x,
                (const float *)op->w, (const float *)op->rstd, op->rows, op->width);
    cuda_add_partials(cuda, (float *)op->dw, partial, blocks, op->width);
}

template <int WIDTH>
static void choose_rmsnorm_backward(struct cuda_backend *cuda, const struct rmsnorm_gradients *op) {
    int threads, parts;
    if (!shape_block(op->width, WIDTH, &threads, &parts))
        cuda_fail(cuda, "rmsnorm_backward: rows of %lld elements are too long",
                  (long long)op->width);
    else if (parts == 1)
        launch_rmsnorm_backward<WIDTH, 1>(cuda, threads, op);
    else if (parts == 2)
        launch_rmsnorm_backward<WIDTH, 2>(cuda, threads, op);
    else if (parts == 4)
        launch_rmsnorm_backward<WIDTH, 4>(cuda, threads, op);
    else
        launch_rmsnorm_backward<WIDTH, 8>(cuda, threads, op);
}

static void cuda_rmsnorm_backward(struct backend *backend, struct acc *dx, struct acc *dw,
                                  const struct act *dout, const struct acc *x, const struct acc *w,
                                  const struct acc *rstd, int64_t rows, int64_t width) {
    struct cuda_backend *cuda = cuda_of(backend);
    const struct rmsnorm_gradients op = {dx, dw, dout, x, w, rstd, rows, width};
    if (rows == 0) return;
    if (width % 4 == 0 && aligned_to(dx, 16) && aligned_to(x, 16) && aligned_to(w, 16) &&
        aligned_to(dout, 8))
        choose_rmsnorm_backward<4>(cuda, &op);
    else
        choose_rmsnorm_backward<1>(cuda, &op);
}

const struct norm_ops cuda_norm_ops = {
    .rmsnorm = cuda_rmsnorm,
    .rmsnorm_backward = cuda_rmsnorm_backward,
    .head_norm = cuda_head_norm,
    .head_norm_backward = cuda_head_norm_backward,
};
