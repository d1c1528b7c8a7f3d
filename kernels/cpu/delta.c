/* The gated delta rule, by chunks. What is written at a token, e = beta (v - recalled), depends on
 * what was written before it in the chunk: (1 + beta L k k^T below the diagonal) e = beta (v -
 * from_start k S). Then out = (q k^T * L) e + from_start q S and S <- exp(sum[last]) S +
 * (to_end k)^T e. A unit of work is one value head of one sequence. */
#include "kernels/cpu/delta.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/ops.h"

static const double NORM_EPSILON = 1e-6; /* added to the sum of squares */

struct delta_head delta_load_head(const struct delta_inputs *in, int head) {
    return (struct delta_head){-real_exp(((const real *)in->a_log)[head]),
                               ((const real *)in->dt_bias)[head]};
}

static real inverse_length(const real *row, int width) {
    return (real)(1 / sqrt(chunk_dot(row, row, width) + NORM_EPSILON));
}

void delta_load_chunk(struct delta_chunk *chunk, const struct delta_inputs *in,
                      const struct delta_shape *shape, const struct delta_head *head, int index,
                      int64_t first, int64_t end) {
    int width = shape->key_dim, count = end - first < CHUNK ? (int)(end - first) : CHUNK;
    int64_t source = (int64_t)(index / (shape->value_heads / shape->key_heads)) * width;
    const real *q = (const real *)in->q + first * in->q_stride + source;
    const real *k = (const real *)in->k + first * in->k_stride + source;
    real scale = 1 / real_sqrt((real)width);
    chunk->first = first;
    chunk->v = (const real *)in->v + first * in->v_stride + (int64_t)index * shape->value_dim;
    for (int t = 0; t < count; t++) {
        chunk->q_size[t] = scale * inverse_length(q + t * in->q_stride, width);
        chunk->k_size[t] = inverse_length(k + t * in->k_stride, width);
        chunk->raw[t] = ((const real *)in->a)[(first + t) * in->a_stride + index] + head->dt_bias;
        chunk->beta[t] = fast_sigmoid(((const real *)in->b)[(first + t) * in->b_stride + index]);
        chunk->steps[t] = (double)fast_softplus(chunk->raw[t]) * (double)head->a;
    }
    chunk_scale_rows(chunk->q, q, in->q_stride, chunk->q_size, count, width);
    chunk_scale_rows(chunk->k, k, in->k_stride, chunk->k_size, count, width);
    chunk_decay_set(&chunk->decay, chunk->steps, count);
}

/* Row by row: e [count, width] holds the right side on entry. */
CPU_CLONES static void substitute(real *restrict e, const real *restrict solve, int count,
                                  int width) {
    for (int i = 1; i < count; i++)
        for (int j = 0; j < i; j++) {
            real factor = solve[i * CHUNK + j];
#pragma omp simd
            for (int c = 0; c < width; c++) e[i * width + c] -= factor * e[j * width + c];
        }
}

void delta_find_parts(struct backend *backend, struct delta_parts *parts,
                      const struct delta_chunk *chunk, const real *state, int64_t v_stride,
                      const struct delta_shape *shape) {
    int dk = shape->key_dim, dv = shape->value_dim, count = chunk->decay.count;
    chunk_decay_matrix(parts->decays, &chunk->decay);
    cpu_gemm(backend, false, true, count, count, dk, chunk->k, dk, chunk->k, dk, false, parts->keys,
             CHUNK);
    for (int i = 0; i < count; i++)
        for (int j = 0; j < CHUNK; j++)
            parts->solve[i * CHUNK + j] =
                j < i ? chunk->beta[i] * parts->decays[i * CHUNK + j] * parts->keys[i * CHUNK + j]
                      : 0;
    cpu_gemm(backend, false, false, count, dv, dk, chunk->k, dk, state, dv, false, parts->recalled,
             dv);
    for (int t = 0; t < count; t++)
        for (int c = 0; c < dv; c++)
            parts->missing[t * dv + c] = chunk->v[t * v_stride + c] -
                                         chunk->decay.from_start[t] * parts->recalled[t * dv + c];
    chunk_scale_rows(parts->e, parts->missing, dv, chunk->beta, count, dv);
    substitute(parts->e, parts->solve, count, dv);
}

struct delta_call {
    struct backend *backend;
    real *out, *checkpoints, *states;
    const int32_t *slots;
    bool resume;
    const struct delta_inputs *in;
    const struct sequences *sequences;
    const struct delta_shape *shape;
};

/* One thread's working memory. */
struct workspace {
    struct delta_parts parts;
    real *q, *k;  /* [CHUNK, DK] */
    real *scores; /* [CHUNK, CHUNK] */
    real *state;  /* [DK, DV] */
};

static size_t workspace_size(const struct delta_shape *shape) {
    size_t dk = (size_t)shape->key_dim, dv = (size_t)shape->value_dim;
    return 4 * CHUNK * CHUNK + CHUNK * (2 * dk + 3 * dv) + dk * dv;
}

static struct workspace cut_workspace(real *memory, const struct delta_shape *shape) {
    int64_t square = CHUNK * CHUNK, k = (int64_t)CHUNK * shape->key_dim;
    int64_t v = (int64_t)CHUNK * shape->value_dim;
    struct workspace work = {{memory, memory + square, memory + 2 * square}};
    work.scores = memory + 3 * square;
    work.q = work.scores + square;
    work.k = work.q + k;
    work.parts.missing = work.k + k;
    work.parts.recalled = work.parts.missing + v;
    work.parts.e = work.parts.recalled + v;
    work.state = work.parts.e + v;
    return work;
}

/* out [count, DV], rows HV*DV apart; the state advances; chunk->q and k are used up. */
static void forward_chunk(const struct delta_call *call, struct workspace *work, real *out,
                          struct delta_chunk *chunk) {
    struct backend *backend = call->backend;
    const struct chunk_decay *decay = &chunk->decay;
    int dk = call->shape->key_dim, dv = call->shape->value_dim, count = decay->count;
    int64_t stride = (int64_t)call->shape->value_heads * dv;
    delta_find_parts(backend, &work->parts, chunk, work->state, call->in->v_stride, call->shape);
    cpu_gemm(backend, false, true, count, count, dk, chunk->q, dk, chunk->k, dk, false,
             work->scores, CHUNK);
    chunk_multiply(work->scores, work->parts.decays, (int64_t)CHUNK * count);
    cpu_gemm(backend, false, false, count, dv, count, work->scores, CHUNK, work->parts.e, dv, false,
             out, stride);
    chunk_scale_rows(chunk->q, chunk->q, dk, decay->from_start, count, dk);
    cpu_gemm(backend, false, false, count, dv, dk, chunk->q, dk, work->state, dv, true, out,
             stride);
    chunk_scale_rows(chunk->k, chunk->k, dk, decay->to_end, count, dk);
    chunk_scale_rows(work->state, work->state, (int64_t)dk * dv, &decay->from_start[count - 1], 1,
                     dk * dv);
    cpu_gemm(backend, true, false, dk, dv, count, chunk->k, dk, work->parts.e, dv, true,
             work->state, dv);
}

static void forward_unit(const struct delta_call *call, struct workspace *work, int sequence,
                         int index) {
    const struct delta_shape *shape = call->shape;
    int64_t size = (int64_t)shape->key_dim * shape->value_dim;
    int64_t k = scan_first_chunk(call->sequences, sequence);
    int64_t end = call->sequences->offsets[sequence + 1];
    real *kept =
        call->states
            ? call->states + (call->slots[sequence] * (int64_t)shape->value_heads + index) * size
            : NULL;
    struct delta_head head = delta_load_head(call->in, index);
    if (kept && call->resume)
        memcpy(work->state, kept, (size_t)size * sizeof *kept);
    else
        memset(work->state, 0, (size_t)size * sizeof *work->state);
    for (int64_t first = call->sequences->offsets[sequence]; first < end; first += CHUNK, k++) {
        struct delta_chunk chunk = {.q = work->q, .k = work->k};
        delta_load_chunk(&chunk, call->in, shape, &head, index, first, end);
        if (call->checkpoints)
            memcpy(call->checkpoints + (k * shape->value_heads + index) * size, work->state,
                   (size_t)size * sizeof *work->state);
        forward_chunk(call, work,
                      call->out + (first * shape->value_heads + index) * shape->value_dim, &chunk);
    }
    if (kept) memcpy(kept, work->state, (size_t)size * sizeof *kept);
}

static size_t cpu_delta_checkpoint_bytes(struct backend *backend, const struct sequences *sequences,
                                         const struct delta_shape *shape) {
    (void)backend;
    return (size_t)scan_checkpoint_chunks(sequences) * (size_t)shape->value_heads *
           (size_t)shape->key_dim * (size_t)shape->value_dim * sizeof(real);
}

static void cpu_delta(struct backend *backend, struct act *out, struct acc *checkpoints,
                      struct acc *states, const int32_t *slots, bool resume,
                      const struct delta_inputs *in, const struct sequences *sequences,
                      const struct delta_shape *shape) {
    struct delta_call call = {backend, (real *)out, (real *)checkpoints, (real *)states, slots,
                              resume,  in,          sequences,           shape};
    size_t size = workspace_size(shape);
    real *memory = cpu_scratch(backend, (size_t)omp_get_max_threads() * size * sizeof *memory,
                               "the gated delta rule");
    if (!memory) return;
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int s = 0; s < sequences->count; s++)
        for (int index = 0; index < shape->value_heads; index++) {
            struct workspace work =
                cut_workspace(memory + (size_t)omp_get_thread_num() * size, shape);
            forward_unit(&call, &work, s, index);
        }
    free(memory);
}

/* One token: decay, recall, correct, read. e and out [DV]. */
CPU_CLONES static void step_head(real *restrict out, real *restrict e, real *restrict state,
                                 const struct delta_chunk *now, int dk, int dv) {
    real decay = now->decay.from_start[0], beta = now->beta[0];
    memset(e, 0, (size_t)dv * sizeof *e);
    memset(out, 0, (size_t)dv * sizeof *out);
    for (int i = 0; i < dk; i++) {
        real *row = state + (int64_t)i * dv, k = now->k[i];
#pragma omp simd
        for (int c = 0; c < dv; c++) {
            row[c] *= decay;
            e[c] += row[c] * k;
        }
    }
    for (int c = 0; c < dv; c++) e[c] = beta * (now->v[c] - e[c]);
    for (int i = 0; i < dk; i++) {
        real *row = state + (int64_t)i * dv, k = now->k[i], q = now->q[i];
#pragma omp simd
        for (int c = 0; c < dv; c++) {
            row[c] += k * e[c];
            out[c] += row[c] * q;
        }
    }
}

static void cpu_delta_step(struct backend *backend, struct act *out, struct acc *states,
                           const int32_t *slots, const struct delta_inputs *in, int count,
                           const struct delta_shape *shape) {
    int dk = shape->key_dim, dv = shape->value_dim;
    size_t size = 2 * (size_t)dk + (size_t)dv;
    real *memory = cpu_scratch(backend, (size_t)omp_get_max_threads() * size * sizeof *memory,
                               "a step of the gated delta rule");
    if (!memory) return;
#pragma omp parallel for collapse(2) schedule(static)
    for (int s = 0; s < count; s++)
        for (int index = 0; index < shape->value_heads; index++) {
            real *work = memory + (size_t)omp_get_thread_num() * size;
            struct delta_head head = delta_load_head(in, index);
            struct delta_chunk now = {.q = work, .k = work + dk};
            int64_t at = slots[s] * (int64_t)shape->value_heads + index;
            delta_load_chunk(&now, in, shape, &head, index, s, s + 1);
            step_head((real *)out + ((int64_t)s * shape->value_heads + index) * dv, work + 2 * dk,
                      (real *)states + at * dk * dv, &now, dk, dv);
        }
    free(memory);
}

const struct delta_ops cpu_delta_ops = {
    .delta_checkpoint_bytes = cpu_delta_checkpoint_bytes,
    .delta = cpu_delta,
    .delta_backward = cpu_delta_backward,
    .delta_step = cpu_delta_step,
};
