/* The Mamba-2 recurrence, by chunks: with u = dt' x and the decay L[i, j] from token j to token i,
 * y = (C B^T * L) u + exp(sum) C S^T + D x, S <- exp(sum[last]) S + (u * to_end)^T B. A unit of
 * work is one head of one sequence. */
#include "kernels/cpu/ssd.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/ops.h"

struct ssd_head ssd_load_head(const struct ssd_inputs *in, int head) {
    return (struct ssd_head){-real_exp(((const real *)in->a_log)[head]),
                             ((const real *)in->d)[head], ((const real *)in->dt_bias)[head]};
}

void ssd_load_chunk(struct ssd_chunk *chunk, const struct ssd_inputs *in,
                    const struct ssd_shape *shape, const struct ssd_head *head, int index,
                    int64_t first, int64_t end) {
    int64_t group = index / (shape->heads / shape->groups);
    int count = end - first < CHUNK ? (int)(end - first) : CHUNK;
    double steps[CHUNK];
    chunk->first = first;
    chunk->x = (const real *)in->x + first * in->x_stride + (int64_t)index * shape->head_dim;
    chunk->b = (const real *)in->b + first * in->b_stride + group * shape->d_state;
    chunk->c = (const real *)in->c + first * in->c_stride + group * shape->d_state;
    for (int t = 0; t < count; t++) {
        chunk->raw[t] = ((const real *)in->dt)[(first + t) * in->dt_stride + index] + head->dt_bias;
        chunk->dt[t] = fast_softplus(chunk->raw[t]);
        steps[t] = (double)chunk->dt[t] * (double)head->a;
    }
    chunk_decay_set(&chunk->decay, steps, count);
}

struct ssd_call {
    struct backend *backend;
    real *out, *checkpoints, *states;
    const int32_t *slots;
    bool resume;
    const struct ssd_inputs *in;
    const struct sequences *sequences;
    const struct ssd_shape *shape;
};

/* One thread's working memory. */
struct workspace {
    real *decays, *scores; /* [CHUNK, CHUNK] */
    real *u, *c;           /* [CHUNK, P], [CHUNK, N] */
    real *state;           /* [P, N] */
};

static size_t workspace_size(const struct ssd_shape *shape) {
    size_t p = (size_t)shape->head_dim, n = (size_t)shape->d_state;
    return 2 * CHUNK * CHUNK + CHUNK * (p + n) + p * n;
}

static struct workspace cut_workspace(real *memory, const struct ssd_shape *shape) {
    struct workspace work = {.decays = memory, .scores = memory + CHUNK * CHUNK};
    work.u = work.scores + CHUNK * CHUNK;
    work.c = work.u + (int64_t)CHUNK * shape->head_dim;
    work.state = work.c + (int64_t)CHUNK * shape->d_state;
    return work;
}

/* out [count, P], rows H*P apart. */
static void read_chunk(const struct ssd_call *call, struct workspace *work, real *out,
                       const struct ssd_chunk *chunk, const struct ssd_head *head) {
    const struct ssd_inputs *in = call->in;
    int p = call->shape->head_dim, n = call->shape->d_state, count = chunk->decay.count;
    int64_t stride = (int64_t)call->shape->heads * p;
    real skip[CHUNK];
    for (int t = 0; t < count; t++) skip[t] = head->d;
    chunk_decay_matrix(work->decays, &chunk->decay);
    cpu_gemm(call->backend, false, true, count, count, n, chunk->c, in->c_stride, chunk->b,
             in->b_stride, false, work->scores, CHUNK);
    chunk_multiply(work->scores, work->decays, (int64_t)CHUNK * count);
    chunk_scale_rows(work->u, chunk->x, in->x_stride, chunk->dt, count, p);
    cpu_gemm(call->backend, false, false, count, p, count, work->scores, CHUNK, work->u, p, false,
             out, stride);
    chunk_scale_rows(work->c, chunk->c, in->c_stride, chunk->decay.from_start, count, n);
    cpu_gemm(call->backend, false, true, count, p, n, work->c, n, work->state, n, true, out,
             stride);
    chunk_add_rows(out, stride, chunk->x, in->x_stride, skip, count, p);
}

static void advance(const struct ssd_call *call, struct workspace *work,
                    const struct ssd_chunk *chunk) {
    int p = call->shape->head_dim, n = call->shape->d_state, count = chunk->decay.count;
    const real *whole = &chunk->decay.from_start[count - 1];
    chunk_scale_rows(work->u, work->u, p, chunk->decay.to_end, count, p);
    chunk_scale_rows(work->state, work->state, (int64_t)p * n, whole, 1, p * n);
    cpu_gemm(call->backend, true, false, p, n, count, work->u, p, chunk->b, call->in->b_stride,
             true, work->state, n);
}

static void forward_unit(const struct ssd_call *call, struct workspace *work, int sequence,
                         int index) {
    const struct ssd_shape *shape = call->shape;
    int64_t size = (int64_t)shape->head_dim * shape->d_state;
    int64_t k = scan_first_chunk(call->sequences, sequence);
    int64_t end = call->sequences->offsets[sequence + 1];
    real *kept = call->states
                     ? call->states + (call->slots[sequence] * (int64_t)shape->heads + index) * size
                     : NULL;
    struct ssd_head head = ssd_load_head(call->in, index);
    if (kept && call->resume)
        memcpy(work->state, kept, (size_t)size * sizeof *kept);
    else
        memset(work->state, 0, (size_t)size * sizeof *work->state);
    for (int64_t first = call->sequences->offsets[sequence]; first < end; first += CHUNK, k++) {
        struct ssd_chunk chunk;
        ssd_load_chunk(&chunk, call->in, shape, &head, index, first, end);
        if (call->checkpoints)
            memcpy(call->checkpoints + (k * shape->heads + index) * size, work->state,
                   (size_t)size * sizeof *work->state);
        read_chunk(call, work, call->out + (first * shape->heads + index) * shape->head_dim, &chunk,
                   &head);
        advance(call, work, &chunk);
    }
    if (kept) memcpy(kept, work->state, (size_t)size * sizeof *kept);
}

static size_t cpu_ssd_checkpoint_bytes(struct backend *backend, const struct sequences *sequences,
                                       const struct ssd_shape *shape) {
    (void)backend;
    return (size_t)scan_checkpoint_chunks(sequences) * (size_t)shape->heads *
           (size_t)shape->head_dim * (size_t)shape->d_state * sizeof(real);
}

static void cpu_ssd(struct backend *backend, struct act *out, struct acc *checkpoints,
                    struct acc *states, const int32_t *slots, bool resume,
                    const struct ssd_inputs *in, const struct sequences *sequences,
                    const struct ssd_shape *shape) {
    struct ssd_call call = {backend, (real *)out, (real *)checkpoints, (real *)states, slots,
                            resume,  in,          sequences,           shape};
    size_t size = workspace_size(shape);
    real *memory = cpu_scratch(backend, (size_t)omp_get_max_threads() * size * sizeof *memory,
                               "the Mamba-2 recurrence");
    if (!memory) return;
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int s = 0; s < sequences->count; s++)
        for (int index = 0; index < shape->heads; index++) {
            struct workspace work =
                cut_workspace(memory + (size_t)omp_get_thread_num() * size, shape);
            forward_unit(&call, &work, s, index);
        }
    free(memory);
}

/* One channel's states [N] advance; <state, C>. */
CPU_CLONES static real step_channel(real *restrict state, const real *restrict b,
                                    const real *restrict c, real decay, real u, int states) {
    real y = 0;
#pragma omp simd reduction(+ : y)
    for (int n = 0; n < states; n++) {
        state[n] = decay * state[n] + u * b[n];
        y += state[n] * c[n];
    }
    return y;
}

static void cpu_ssd_step(struct backend *backend, struct act *out, struct acc *states,
                         const int32_t *slots, const struct ssd_inputs *in, int count,
                         const struct ssd_shape *shape) {
    (void)backend;
    int p = shape->head_dim, n = shape->d_state;
#pragma omp parallel for collapse(2) schedule(static)
    for (int s = 0; s < count; s++)
        for (int index = 0; index < shape->heads; index++) {
            struct ssd_head head = ssd_load_head(in, index);
            struct ssd_chunk now;
            ssd_load_chunk(&now, in, shape, &head, index, s, s + 1);
            for (int i = 0; i < p; i++) {
                int64_t channel = (int64_t)index * p + i;
                real *state = (real *)states + (slots[s] * (int64_t)shape->heads * p + channel) * n;
                real y = step_channel(state, now.b, now.c, now.decay.from_start[0],
                                      now.dt[0] * now.x[i], n);
                ((real *)out)[s * (int64_t)shape->heads * p + channel] = y + head.d * now.x[i];
            }
        }
}

const struct ssd_ops cpu_ssd_ops = {
    .ssd_checkpoint_bytes = cpu_ssd_checkpoint_bytes,
    .ssd = cpu_ssd,
    .ssd_backward = cpu_ssd_backward,
    .ssd_step = cpu_ssd_step,
};
