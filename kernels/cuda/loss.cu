/* Logits: their summary, their comparison, and the distillation loss. A block a row; every thread
 * keeps the largest logit so far and sums relative to it, so that one pass over the row suffices.
 * Sums are float32 within a thread (a few hundred terms) and double across the block.
 *
 * The distillation loss needs two passes. On Hopper a cluster of blocks shares a long row, so that
 * the rows under way at one time fit into the L2 cache, from where the second pass reads them. */
#include <cooperative_groups.h>
#include <float.h>
#include <limits.h>
#include <math.h>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.cuh"
#include "kernels/ops/loss.h"

/* VECTORS of WIDTH logits a thread and turn, all in flight at once. */
enum { THREADS = 512, WARPS = THREADS / 32, WIDE = 4 };

/* Blocks that share a row, and from how many logits on. */
enum { CLUSTER = 8, LONG_ROW = 1 << 14 };

/* Sums over exp((x - largest) / temperature): of 1, and of a weight (see the ops); `plain` is a sum
 * that does not depend on the largest. */
struct row_sums {
    double total, weighted, plain;
    float largest;
    int32_t argmax; /* the first of equals */
};

__device__ static struct row_sums merge(const struct row_sums &a, const struct row_sums &b,
                                        float inverse_temperature) {
    bool first = a.largest > b.largest || (a.largest == b.largest && a.argmax < b.argmax);
    const struct row_sums &high = first ? a : b, &low = first ? b : a;
    double scale = (double)expf((low.largest - high.largest) * inverse_temperature);
    struct row_sums sums;
    sums.total = high.total + low.total * scale;
    sums.weighted = high.weighted + low.weighted * scale;
    sums.plain = a.plain + b.plain;
    sums.largest = high.largest;
    sums.argmax = high.argmax;
    return sums;
}

__device__ static struct row_sums shuffle(const struct row_sums &sums, int step) {
    struct row_sums other;
    other.total = __shfl_xor_sync(~0u, sums.total, step);
    other.weighted = __shfl_xor_sync(~0u, sums.weighted, step);
    other.plain = __shfl_xor_sync(~0u, sums.plain, step);
    other.largest = __shfl_xor_sync(~0u, sums.largest, step);
    other.argmax = __shfl_xor_sync(~0u, sums.argmax, step);
    return other;
}

/* Over aligned groups of `lanes` neighbouring lanes, a power of two, in each of them. */
__device__ static struct row_sums merge_lanes(struct row_sums sums, int lanes,
                                              float inverse_temperature) {
    for (int step = lanes / 2; step; step /= 2)
        sums = merge(sums, shuffle(sums, step), inverse_temperature);
    return sums;
}

/* Over the block, in every thread. */
__device__ static struct row_sums merge_block(struct row_sums sums, float inverse_temperature) {
    __shared__ struct row_sums shared[WARPS];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    sums = merge_lanes(sums, 32, inverse_temperature);
    if (lane == 0) shared[warp] = sums;
    __syncthreads();
    return merge_lanes(shared[lane % WARPS], WARPS, inverse_temperature);
}

/* Over the blocks that share a row, in every thread. */
__device__ static struct row_sums merge_row(struct row_sums sums, float inverse_temperature) {
    sums = merge_block(sums, inverse_temperature);
#if __CUDA_ARCH__ >= 900
    cooperative_groups::cluster_group cluster = cooperative_groups::this_cluster();
    int blocks = (int)cluster.num_blocks();
    if (blocks == 1) return sums;
    __shared__ struct row_sums own;
    if (threadIdx.x == 0) own = sums;
    cluster.sync();
    sums = *cluster.map_shared_rank(&own, (threadIdx.x & 31) % blocks);
    cluster.sync(); /* nobody ends while others read */
    sums = merge_lanes(sums, blocks, inverse_temperature);
#endif
    return sums;
}

/* What one thread keeps while it walks along its row. */
struct walk {
    float largest, total, weighted, plain;
    float poison; /* 0 while every logit is finite, else NaN */
    int32_t argmax;
};

__device__ static struct walk begin_walk() {
    struct walk walk;
    walk.largest = -FLT_MAX;
    walk.total = walk.weighted = walk.plain = walk.poison = 0;
    walk.argmax = INT_MAX;
    return walk;
}

__device__ static struct row_sums end_walk(const struct walk &walk) {
    struct row_sums sums;
    sums.total = (double)walk.total;
    sums.weighted = (double)walk.weighted;
    sums.plain = (double)walk.plain + (double)walk.poison;
    sums.largest = walk.largest;
    sums.argmax = walk.argmax;
    return sums;
}

/* For the last time: they leave the caches before others do. */
template <int WIDTH> __device__ static void load_last(float (&to)[WIDTH], const float *from) {
    if constexpr (WIDTH == 4) {
        float4 values = __ldcs((const float4 *)from);
        to[0] = values.x;
        to[1] = values.y;
        to[2] = values.z;
        to[3] = values.w;
    } else {
#pragma unroll
        for (int j = 0; j < WIDTH; j++) to[j] = __ldcs(from + j);
    }
}

/* VECTORS vectors of a row from `start` on, THREADS vectors apart; past the row's end `fill`. */
template <bool LAST = false, int WIDTH, int VECTORS>
__device__ static void load_turn(float (&to)[VECTORS][WIDTH], const float *row, int start,
                                 int count, float fill) {
#pragma unroll
    for (int v = 0; v < VECTORS; v++) {
        int i = start + v * THREADS * WIDTH;
        if (i >= count)
#pragma unroll
            for (int j = 0; j < WIDTH; j++) to[v][j] = fill;
        else if (LAST)
            load_last(to[v], row + i);
        else
            load(to[v], row + i);
    }
}

/* The walk's largest and its place after this turn's logits; earlier sums are brought to it. */
template <int WIDTH, int VECTORS>
__device__ static void raise_largest(struct walk *walk, const float (&x)[VECTORS][WIDTH], int start,
                                     float inverse_temperature) {
    float most = x[0][0];
#pragma unroll
    for (int v = 0; v < VECTORS; v++)
#pragma unroll
        for (int j = 0; j < WIDTH; j++) {
            most = fmaxf(most, x[v][j]);
            walk->poison += x[v][j] * 0;
        }
    if (!(most > walk->largest)) return;
    float scale = expf((walk->largest - most) * inverse_temperature);
    walk->total *= scale;
    walk->weighted *= scale;
    walk->largest = most;
#pragma unroll
    for (int v = VECTORS - 1; v >= 0; v--)
#pragma unroll
        for (int j = WIDTH - 1; j >= 0; j--)
            if (x[v][j] == most) walk->argmax = start + v * THREADS * WIDTH + j;
}

/* lse [rows] of logits / temperature and the place of the largest, the first of equals. A logit
 * that is not finite makes lse NaN and the place 0. */
template <int WIDTH>
__global__ void __launch_bounds__(THREADS)
    logit_summary(float *lse, int32_t *argmax, const float *logits, float inverse_temperature,
                  int vocabulary) {
    enum { VECTORS = 16 / WIDTH };
    const float *row = logits + (int64_t)blockIdx.x * vocabulary;
    struct walk walk = begin_walk();
    for (int start = threadIdx.x * WIDTH; start < vocabulary; start += THREADS * WIDTH * VECTORS) {
        float x[VECTORS][WIDTH];
        load_turn(x, row, start, vocabulary, -FLT_MAX);
        raise_largest(&walk, x, start, inverse_temperature);
#pragma unroll
        for (int v = 0; v < VECTORS; v++)
#pragma unroll
            for (int j = 0; j < WIDTH; j++)
                walk.total += expf((x[v][j] - walk.largest) * inverse_temperature);
    }
    struct row_sums sums = merge_block(end_walk(walk), inverse_temperature);
    if (threadIdx.x) return;
    double value = (double)sums.largest * (double)inverse_temperature + log(sums.total);
    lse[blockIdx.x] = (float)(value + sums.plain); /* plain: 0, or NaN */
    argmax[blockIdx.x] = sums.plain == 0 ? sums.argmax : 0;
}

struct comparison {
    float *kl, *rkl, *ce, *top1;
    const float *teacher, *teacher_lse, *branch;
    const int32_t *teacher_argmax, *target;
};

/* weighted: sum of exp(b - largest) (b - t); plain: sum of p_t (t - b). The lse terms come out of
 * kl = sum p_t (log p_t - log p_b) and of its reverse. */
template <int WIDTH>
__global__ void __launch_bounds__(THREADS) compare_logits(struct comparison op, int vocabulary) {
    enum { VECTORS = 8 / WIDTH };
    const float *t_row = op.teacher + (int64_t)blockIdx.x * vocabulary;
    const float *b_row = op.branch + (int64_t)blockIdx.x * vocabulary;
    float t_lse = op.teacher_lse[blockIdx.x];
    struct walk walk = begin_walk();
    for (int start = threadIdx.x * WIDTH; start < vocabulary; start += THREADS * WIDTH * VECTORS) {
        float t[VECTORS][WIDTH], b[VECTORS][WIDTH];
        load_turn(t, t_row, start, vocabulary, -FLT_MAX);
        load_turn(b, b_row, start, vocabulary, -FLT_MAX);
        raise_largest(&walk, b, start, 1);
#pragma unroll
        for (int v = 0; v < VECTORS; v++)
#pragma unroll
            for (int j = 0; j < WIDTH; j++) {
                float difference = b[v][j] - t[v][j]; /* 0 past the row's end */
                float e = expf(b[v][j] - walk.largest);
                walk.total += e;
                walk.weighted += e * difference;
                walk.plain -= expf(t[v][j] - t_lse) * difference;
            }
    }
    struct row_sums sums = merge_block(end_walk(walk), 1);
    if (threadIdx.x) return;
    double lse = (double)sums.largest + log(sums.total) + sums.plain * 0;
    int32_t target = op.target[blockIdx.x];
    op.kl[blockIdx.x] = (float)(sums.plain - (double)t_lse + lse);
    op.rkl[blockIdx.x] = (float)(sums.weighted / sums.total - lse + (double)t_lse);
    op.ce[blockIdx.x] = target < 0 ? 0 : (float)(lse - (double)b_row[target]);
    op.top1[blockIdx.x] = lse == lse && sums.argmax == op.teacher_argmax[blockIdx.x] ? 1.0f : 0.0f;
}

struct distillation {
    float *loss;
    bf16 *dlogits;
    const float *student, *teacher, *teacher_lse, *weight;
    const int32_t *target;
    float inverse_temperature;
};

/* The part of a row that is this block's. */
struct stretch {
    int row, start, end;
    bool first; /* it begins the row */
};

template <int WIDTH> __device__ static struct stretch find_stretch(int vocabulary) {
    struct stretch part = {(int)blockIdx.x, 0, vocabulary, true};
#if __CUDA_ARCH__ >= 900
    cooperative_groups::cluster_group cluster = cooperative_groups::this_cluster();
    int blocks = (int)cluster.num_blocks(), rank = (int)cluster.block_rank();
    int length = (vocabulary / WIDTH + blocks - 1) / blocks * WIDTH;
    part.row = (int)blockIdx.x / blocks;
    part.start = rank * length;
    part.end = part.start + length < vocabulary ? part.start + length : vocabulary;
    part.first = rank == 0;
#endif
    return part;
}

/* What the second pass needs to know of a row. */
struct row_loss {
    float lse;         /* of student / temperature */
    float teacher_lse; /* likewise */
    float divergence;  /* before the division by the temperature */
    int32_t target;    /* -1: none */
};

/* weighted: sum of exp((s - largest) / T) (s - t) / T; plain: sum of q (t - s) / T. */
template <enum loss_kind KIND, int WIDTH>
__device__ static struct row_loss measure_row(const struct distillation &op,
                                              const struct stretch &part, const float *s_row,
                                              const float *t_row) {
    enum { VECTORS = 8 / WIDTH };
    struct row_loss row;
    row.target = KIND == LOSS_CROSS_ENTROPY ? op.target[part.row] : -1;
    row.teacher_lse = KIND == LOSS_CROSS_ENTROPY ? 0 : op.teacher_lse[part.row];
    float inverse = op.inverse_temperature;
    struct walk walk = begin_walk();
    for (int start = part.start + threadIdx.x * WIDTH; start < part.end;
         start += THREADS * WIDTH * VECTORS) {
        float s[VECTORS][WIDTH], t[VECTORS][WIDTH];
        load_turn(s, s_row, start, part.end, -FLT_MAX);
        if (KIND != LOSS_CROSS_ENTROPY) load_turn(t, t_row, start, part.end, -FLT_MAX);
        raise_largest(&walk, s, start, inverse);
#pragma unroll
        for (int v = 0; v < VECTORS; v++)
#pragma unroll
            for (int j = 0; j < WIDTH; j++) {
                float e = expf((s[v][j] - walk.largest) * inverse);
                walk.total += e;
                if (KIND == LOSS_REVERSE_KL) walk.weighted += e * ((s[v][j] - t[v][j]) * inverse);
                if (KIND == LOSS_FORWARD_KL)
                    walk.plain +=
                        expf(t[v][j] * inverse - row.teacher_lse) * ((t[v][j] - s[v][j]) * inverse);
            }
    }
    struct row_sums sums = merge_row(end_walk(walk), inverse);
    double lse = (double)sums.largest * (double)inverse + log(sums.total) + sums.plain * 0;
    double divergence = 0;
    if (KIND == LOSS_REVERSE_KL)
        divergence = sums.weighted / sums.total - lse + (double)row.teacher_lse;
    else if (KIND == LOSS_FORWARD_KL)
        divergence = sums.plain - (double)row.teacher_lse + lse;
    else if (row.target >= 0)
        divergence = lse - (double)(s_row[row.target] * inverse);
    row.lse = (float)lse;
    row.divergence = (float)divergence;
    return row;
}

/* d divergence / d (student / temperature) at one logit. */
template <enum loss_kind KIND>
__device__ static float slope(const struct row_loss &row, float s, float t, int i, float inverse) {
    float log_p = s * inverse - row.lse, p = expf(log_p);
    if (KIND == LOSS_REVERSE_KL)
        return p * (log_p - (t * inverse - row.teacher_lse) - row.divergence);
    if (KIND == LOSS_FORWARD_KL) return p - expf(t * inverse - row.teacher_lse);
    return row.target < 0 ? 0 : p - (i == row.target ? 1.0f : 0.0f);
}

/* loss [rows], and dlogits [rows, V], the gradient of weight * loss. The first pass finds the row's
 * sums, the second the slope at each logit from them. */
template <enum loss_kind KIND, int WIDTH>
__global__ void __launch_bounds__(THREADS) distill_loss(struct distillation op, int vocabulary) {
    enum { VECTORS = 8 / WIDTH };
    struct stretch part = find_stretch<WIDTH>(vocabulary);
    const float *s_row = op.student + (int64_t)part.row * vocabulary;
    const float *t_row = op.teacher + (int64_t)part.row * vocabulary;
    bf16 *to = op.dlogits + (int64_t)part.row * vocabulary;
    struct row_loss row = measure_row<KIND, WIDTH>(op, part, s_row, t_row);
    float inverse = op.inverse_temperature;
    if (part.first && threadIdx.x == 0) op.loss[part.row] = row.divergence * inverse;
    /* Once for the loss's division by the temperature, once for the logits'. */
    float scale = op.weight[part.row] * inverse * inverse;
    for (int start = part.start + threadIdx.x * WIDTH; start < part.end;
         start += THREADS * WIDTH * VECTORS) {
        float s[VECTORS][WIDTH], t[VECTORS][WIDTH];
        load_turn<true>(s, s_row, start, part.end, 0);
        if (KIND != LOSS_CROSS_ENTROPY) load_turn<true>(t, t_row, start, part.end, 0);
#pragma unroll
        for (int v = 0; v < VECTORS; v++) {
            int i = start + v * THREADS * WIDTH;
            if (i >= part.end) break;
#pragma unroll
            for (int j = 0; j < WIDTH; j++)
                s[v][j] =
                    scale * slope<KIND>(row, s[v][j], KIND == LOSS_CROSS_ENTROPY ? 0 : t[v][j],
                                        i + j, inverse);
            store(to + i, s[v]);
        }
    }
}

static void cuda_logit_summary(struct backend *backend, struct acc *lse, int32_t *argmax,
                               const struct acc *logits, double temperature, int64_t rows,
                               int64_t vocabulary) {
    struct cuda_backend *cuda = cuda_of(backend);
    if (vocabulary % WIDE == 0 && aligned_to(logits, 16))
        CUDA_LAUNCH(cuda, logit_summary<WIDE>, (unsigned)rows, THREADS, 0, (float *)lse, argmax,
                    (const float *)logits, (float)(1 / temperature), (int)vocabulary);
    else
        CUDA_LAUNCH(cuda, logit_summary<1>, (unsigned)rows, THREADS, 0, (float *)lse, argmax,
                    (const float *)logits, (float)(1 / temperature), (int)vocabulary);
}

static void cuda_compare_logits(struct backend *backend, struct acc *kl, struct acc *rkl,
                                struct acc *ce, struct acc *top1, const struct acc *teacher,
                                const struct acc *teacher_lse, const int32_t *teacher_argmax,
                                const struct acc *branch, const int32_t *target, int64_t rows,
                                int64_t vocabulary) {
    struct cuda_backend *cuda = cuda_of(backend);
    const struct comparison op = {
        (float *)kl,           (float *)rkl,           (float *)ce,
        (float *)top1,         (const float *)teacher, (const float *)teacher_lse,
        (const float *)branch, teacher_argmax,         target};
    if (vocabulary % WIDE == 0 && aligned_to(teacher, 16) && aligned_to(branch, 16))
        CUDA_LAUNCH(cuda, compare_logits<WIDE>, (unsigned)rows, THREADS, 0, op, (int)vocabulary);
    else
        CUDA_LAUNCH(cuda, compare_logits<1>, (unsigned)rows, THREADS, 0, op, (int)vocabulary);
}

template <enum loss_kind KIND>
static void launch_distill_loss(struct cuda_backend *cuda, const struct distillation *op,
                                int64_t rows, int64_t vocabulary) {
    bool wide = vocabulary % WIDE == 0 && aligned_to(op->student, 16) &&
                aligned_to(op->teacher, 16) && aligned_to(op->dlogits, 8);
    int blocks = cuda->hopper_code && vocabulary >= LONG_ROW ? CLUSTER : 1;
    cudaLaunchAttribute cluster = {};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = (unsigned)blocks;
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
    cudaLaunchConfig_t launch = {};
    launch.gridDim = dim3((unsigned)(rows * blocks));
    launch.blockDim = dim3(THREADS);
    launch.stream = cuda->stream;
    launch.attrs = &cluster;
    launch.numAttrs = blocks > 1;
    if (cuda->failed || rows == 0) return;
    cudaError_t error =
        wide ? cudaLaunchKernelEx(&launch, distill_loss<KIND, WIDE>, *op, (int)vocabulary)
             : cudaLaunchKernelEx(&launch, distill_loss<KIND, 1>, *op, (int)vocabulary);
    (void)cuda_check(cuda, error, "distill_loss");
}

static void cuda_distill_loss(struct backend *backend, struct acc *loss, struct act *dlogits,
                              enum loss_kind kind, double temperature, const struct acc *student,
                              const struct acc *teacher, const struct acc *teacher_lse,
                              const int32_t *target, const struct acc *weight, int64_t rows,
                              int64_t vocabulary) {
    struct cuda_backend *cuda = cuda_of(backend);
    const struct distillation op = {(float *)loss,
                                    (bf16 *)dlogits,
                                    (const float *)student,
                                    (const float *)teacher,
                                    (const float *)teacher_lse,
                                    (const float *)weight,
                                    target,
                                    (float)(1 / temperature)};
    if (kind == LOSS_REVERSE_KL)
        launch_distill_loss<LOSS_REVERSE_KL>(cuda, &op, rows, vocabulary);
    else if (kind == LOSS_FORWARD_KL)
        launch_distill_loss<LOSS_FORWARD_KL>(cuda, &op, rows, vocabulary);
    else
        launch_distill_loss<LOSS_CROSS_ENTROPY>(cuda, &op, rows, vocabulary);
}

const struct loss_ops cuda_loss_ops = {
    .logit_summary = cuda_logit_summary,
    .compare_logits = cuda_compare_logits,
    .distill_loss = cuda_distill_loss,
};
