/* The backward pass of delta.c. A unit of work is one sequence and one key head with all the value
 * heads that read it, so that dq and dk have one owner. Chunks go from last to first, each from its
 * checkpoint; parameter gradients are summed per sequence, then over sequences in order. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/delta.h"
#include "kernels/cpu/exp.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/ops.h"

struct delta_backward {
    struct backend *backend;
    const struct delta_gradients *to;
    const real *dout, *checkpoints;
    const struct delta_inputs *in;
    const struct sequences *sequences;
    const struct delta_shape *shape;
    double *partial; /* [sequences, HV, 2]: da_log, ddt_bias */
};

/* One thread's working memory. */
struct workspace {
    struct delta_parts parts;
    real *scores, *square; /* [CHUNK, CHUNK] */
    real *q, *k, *dq, *dk; /* [CHUNK, DK]; the key head's sums: dq, dk */
    real *rows;            /* [CHUNK, DK] */
    real *de, *through;    /* [CHUNK, DV] */
    real *dstate;          /* [HV / HK, DK, DV]: of the state after the chunk */
};

/* Gradients that a chunk's tokens collect. */
struct token_sums {
    double dsum[CHUNK], dbeta[CHUNK];
};

static size_t workspace_size(const struct delta_shape *shape) {
    size_t dk = (size_t)shape->key_dim, dv = (size_t)shape->value_dim;
    return 5 * CHUNK * CHUNK + CHUNK * 5 * (dk + dv) +
           (size_t)(shape->value_heads / shape->key_heads) * dk * dv;
}

static struct workspace cut_workspace(real *memory, const struct delta_shape *shape) {
    int64_t square = CHUNK * CHUNK, k = (int64_t)CHUNK * shape->key_dim;
    int64_t v = (int64_t)CHUNK * shape->value_dim;
    struct workspace work = {{memory, memory + square, memory + 2 * square}};
    work.scores = memory + 3 * square;
    work.square = work.scores + square;
    work.q = work.square + square;
    work.k = work.q + k;
    work.dq = work.k + k;
    work.dk = work.dq + k;
    work.rows = work.dk + k;
    work.parts.missing = work.rows + k;
    work.parts.recalled = work.parts.missing + v;
    work.parts.e = work.parts.recalled + v;
    work.de = work.parts.e + v;
    work.through = work.de + v;
    work.dstate = work.through + v;
    return work;
}

/* Against the order of substitution: de becomes the gradient of the right side. */
CPU_CLONES static void substitute_back(real *restrict de, const real *restrict solve, int count,
                                       int width) {
    for (int i = count - 1; i > 0; i--)
        for (int j = 0; j < i; j++) {
            real factor = solve[i * CHUNK + j];
#pragma omp simd
            for (int c = 0; c < width; c++) de[j * width + c] -= factor * de[i * width + c];
        }
}

static void add_ones(real *to, const real *from, int count, int width) {
    for (int64_t i = 0; i < (int64_t)count * width; i++) to[i] += from[i];
}

/* What the outputs read: scores = q k^T * L times e, and the state before the chunk. de is written.
 */
static void differentiate_read(const struct delta_backward *op, struct workspace *work,
                               struct token_sums *sums, const struct delta_chunk *chunk,
                               const real *state, const real *dout, int64_t stride) {
    const struct chunk_decay *decay = &chunk->decay;
    struct backend *backend = op->backend;
    int dk = op->shape->key_dim, dv = op->shape->value_dim, count = decay->count;
    int64_t area = (int64_t)CHUNK * count;
    double dots[CHUNK];
    cpu_gemm(backend, false, true, count, count, dk, chunk->q, dk, chunk->k, dk, false,
             work->scores, CHUNK);
    chunk_multiply(work->scores, work->parts.decays, area);
    cpu_gemm(backend, true, false, count, dv, count, work->scores, CHUNK, dout, stride, false,
             work->de, dv);
    cpu_gemm(backend, false, true, count, count, dv, dout, stride, work->parts.e, dv, false,
             work->square, CHUNK);
    chunk_multiply(work->scores, work->square, area);
    chunk_decay_differentiate(sums->dsum, work->scores, count);
    chunk_multiply(work->square, work->parts.decays, area);
    cpu_gemm(backend, false, false, count, dk, count, work->square, CHUNK, chunk->k, dk, true,
             work->dq, dk);
    cpu_gemm(backend, true, false, count, dk, count, work->square, CHUNK, chunk->q, dk, true,
             work->dk, dk);

    cpu_gemm(backend, false, true, count, dk, dv, dout, stride, state, dv, false, work->rows, dk);
    chunk_scale_rows(work->rows, work->rows, dk, decay->from_start, count, dk);
    add_ones(work->dq, work->rows, count, dk);
    chunk_dot_rows(dots, work->rows, dk, chunk->q, dk, count, dk);
    for (int t = 0; t < count; t++) sums->dsum[t] += dots[t];
}

/* What is written into the state after the chunk; de grows, and dstate becomes the gradient of the
 * state before the chunk as far as the decay and the outputs go. */
static void differentiate_write(const struct delta_backward *op, struct workspace *work,
                                struct token_sums *sums, const struct delta_chunk *chunk,
                                real *dstate, const real *state, const real *dout, int64_t stride) {
    const struct chunk_decay *decay = &chunk->decay;
    struct backend *backend = op->backend;
    int dk = op->shape->key_dim, dv = op->shape->value_dim, count = decay->count;
    int64_t size = (int64_t)dk * dv;
    double dots[CHUNK];
    cpu_gemm(backend, false, false, count, dv, dk, chunk->k, dk, dstate, dv, false, work->through,
             dv);
    chunk_scale_rows(work->through, work->through, dv, decay->to_end, count, dv);
    add_ones(work->de, work->through, count, dv);
    chunk_dot_rows(dots, work->through, dv, work->parts.e, dv, count, dv);
    for (int t = 0; t < count; t++) {
        sums->dsum[t] -= dots[t];
        sums->dsum[count - 1] += dots[t];
    }
    sums->dsum[count - 1] += (double)decay->from_start[count - 1] * chunk_dot(dstate, state, size);
    cpu_gemm(backend, false, true, count, dk, dv, work->parts.e, dv, dstate, dv, false, work->rows,
             dk);
    chunk_scale_rows(work->rows, work->rows, dk, decay->to_end, count, dk);
    add_ones(work->dk, work->rows, count, dk);

    chunk_scale_rows(dstate, dstate, size, &decay->from_start[count - 1], 1, (int)size);
    chunk_scale_rows(work->rows, chunk->q, dk, decay->from_start, count, dk);
    cpu_gemm(backend, true, false, dk, dv, count, work->rows, dk, dout, stride, true, dstate, dv);
}

/* Through (1 + solve) e = beta * missing: de becomes the gradient of the right side; dv is stored.
 */
static void differentiate_solve(const struct delta_backward *op, struct workspace *work,
                                struct token_sums *sums, const struct delta_chunk *chunk,
                                real *dstate, const real *state, real *dv_out) {
    const struct delta_parts *parts = &work->parts;
    struct backend *backend = op->backend;
    int dk = op->shape->key_dim, dv = op->shape->value_dim, count = chunk->decay.count;
    double dots[CHUNK];
    substitute_back(work->de, parts->solve, count, dv);
    cpu_gemm(backend, false, true, count, count, dv, work->de, dv, parts->e, dv, false,
             work->square, CHUNK); /* minus the gradient of solve */
    for (int i = 0; i < count; i++)
        for (int j = 0; j < count; j++) {
            int64_t at = i * CHUNK + j;
            real dsolve = j < i ? -work->square[at] : 0;
            work->scores[at] = dsolve * parts->solve[at];
            sums->dbeta[i] += (double)(dsolve * parts->decays[at] * parts->keys[at]);
            work->square[at] = dsolve * parts->decays[at] * chunk->beta[i];
        }
    chunk_decay_differentiate(sums->dsum, work->scores, count);
    cpu_gemm(backend, false, false, count, dk, count, work->square, CHUNK, chunk->k, dk, true,
             work->dk, dk);
    cpu_gemm(backend, true, false, count, dk, count, work->square, CHUNK, chunk->k, dk, true,
             work->dk, dk);

    chunk_dot_rows(dots, work->de, dv, parts->missing, dv, count, dv);
    for (int t = 0; t < count; t++) sums->dbeta[t] += dots[t];
    chunk_scale_rows(work->de, work->de, dv, chunk->beta, count, dv); /* now of `missing` */
    for (int t = 0; t < count; t++)
        memcpy(dv_out + t * op->to->v_stride, work->de + t * dv, (size_t)dv * sizeof *dv_out);
    chunk_scale_rows(work->de, work->de, dv, chunk->decay.from_start, count, dv);
    chunk_dot_rows(dots, work->de, dv, parts->recalled, dv, count, dv);
    for (int t = 0; t < count; t++) sums->dsum[t] -= dots[t];
    cpu_gemm(backend, false, true, count, dk, dv, work->de, dv, state, dv, false, work->rows, dk);
    for (int64_t i = 0; i < (int64_t)count * dk; i++) {
        work->dk[i] -= work->rows[i];
        work->rows[i] = -chunk->k[i];
    }
    cpu_gemm(backend, true, false, dk, dv, count, work->rows, dk, work->de, dv, true, dstate, dv);
}

/* da and db of the chunk, from the gradients of the decays' sums and of beta. */
static void store_gates(const struct delta_backward *op, double *partial,
                        const struct token_sums *sums, const struct delta_chunk *chunk,
                        const struct delta_head *head, int index) {
    real *da = (real *)op->to->da + chunk->first * op->to->a_stride + index;
    real *db = (real *)op->to->db + chunk->first * op->to->b_stride + index;
    double later = 0;
    for (int t = chunk->decay.count - 1; t >= 0; t--) {
        double beta = (double)chunk->beta[t];
        later += sums->dsum[t];
        double slope = later * (double)head->a * (double)fast_sigmoid(chunk->raw[t]);
        da[t * op->to->a_stride] = (real)slope;
        db[t * op->to->b_stride] = (real)(sums->dbeta[t] * beta * (1 - beta));
        partial[0] += later * chunk->steps[t];
        partial[1] += slope;
    }
}

static void backward_head(const struct delta_backward *op, struct workspace *work,
                          struct delta_chunk *chunk, int sequence, int64_t k, int index,
                          int64_t first, int64_t end) {
    const struct delta_shape *shape = op->shape;
    int dv = shape->value_dim, within = index % (shape->value_heads / shape->key_heads);
    int64_t size = (int64_t)shape->key_dim * dv, stride = (int64_t)shape->value_heads * dv;
    const real *dout = op->dout + first * stride + (int64_t)index * dv;
    const real *state = op->checkpoints + (k * shape->value_heads + index) * size;
    real *dstate = work->dstate + within * size;
    struct delta_head head = delta_load_head(op->in, index);
    struct token_sums sums = {{0}, {0}};
    delta_load_chunk(chunk, op->in, shape, &head, index, first, end);
    delta_find_parts(op->backend, &work->parts, chunk, state, op->in->v_stride, shape);
    differentiate_read(op, work, &sums, chunk, state, dout, stride);
    differentiate_write(op, work, &sums, chunk, dstate, state, dout, stride);
    differentiate_solve(op, work, &sums, chunk, dstate, state,
                        (real *)op->to->dv + first * op->to->v_stride + (int64_t)index * dv);
    store_gates(op, op->partial + ((int64_t)sequence * shape->value_heads + index) * 2, &sums,
                chunk, &head, index);
}

/* Through the normalisation: with x' = x size, d x = size (d x' - x'' <x'', d x'>), x'' of length 1
 * but for the epsilon: x' itself, for keys, and x' sqrt(DK) for queries. */
static void store_normalised(real *to, int64_t stride, const real *gradient, const real *rows,
                             const real *size, real length, int count, int width) {
    for (int t = 0; t < count; t++) {
        const real *d = gradient + t * width, *row = rows + t * width;
        real along = length * length * (real)chunk_dot(d, row, width);
        for (int i = 0; i < width; i++) to[t * stride + i] = size[t] * (d[i] - row[i] * along);
    }
}

static void backward_unit(const struct delta_backward *op, struct workspace *work, int sequence,
                          int source) {
    const struct delta_shape *shape = op->shape;
    const struct delta_gradients *to = op->to;
    int dk = shape->key_dim, heads = shape->value_heads / shape->key_heads;
    int64_t start = op->sequences->offsets[sequence], end = op->sequences->offsets[sequence + 1];
    int64_t chunks = (end - start + CHUNK - 1) / CHUNK;
    size_t bytes = (size_t)(CHUNK * dk) * sizeof *work->dq;
    memset(work->dstate, 0, (size_t)heads * (size_t)(dk * shape->value_dim) * sizeof *work->dstate);
    for (int64_t k = chunks - 1; k >= 0; k--) {
        int64_t first = start + k * CHUNK;
        struct delta_chunk chunk = {.q = work->q, .k = work->k};
        memset(work->dq, 0, bytes);
        memset(work->dk, 0, bytes);
        for (int h = 0; h < heads; h++)
            backward_head(op, work, &chunk, sequence, scan_first_chunk(op->sequences, sequence) + k,
                          source * heads + h, first, end);
        store_normalised((real *)to->dq + first * to->q_stride + (int64_t)source * dk, to->q_stride,
                         work->dq, chunk.q, chunk.q_size, real_sqrt((real)dk), chunk.decay.count,
                         dk);
        store_normalised((real *)to->dk + first * to->k_stride + (int64_t)source * dk, to->k_stride,
                         work->dk, chunk.k, chunk.k_size, 1, chunk.decay.count, dk);
    }
}

static void add_parameters(const struct delta_backward *op) {
    real *to[] = {(real *)op->to->da_log, (real *)op->to->ddt_bias};
    for (int s = 0; s < op->sequences->count; s++)
        for (int head = 0; head < op->shape->value_heads; head++)
            for (int i = 0; i < 2; i++)
                if (to[i])
                    to[i][head] +=
                        (real)op->partial[((int64_t)s * op->shape->value_heads + head) * 2 + i];
}

void cpu_delta_backward(struct backend *backend, const struct delta_gradients *to,
                        const struct act *dout, const struct acc *checkpoints,
                        const struct delta_inputs *in, const struct sequences *sequences,
                        const struct delta_shape *shape) {
    struct delta_backward op = {
        backend, to, (const real *)dout, (const real *)checkpoints, in, sequences, shape, NULL};
    size_t sums = (size_t)sequences->count * (size_t)shape->value_heads * 2 * sizeof(double);
    size_t size = workspace_size(shape);
    char *memory = cpu_scratch(backend, sums + (size_t)omp_get_max_threads() * size * sizeof(real),
                               "the gated delta rule's gradients");
    if (!memory) return;
    op.partial = (double *)memory;
    memset(memory, 0, sums);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int s = 0; s < sequences->count; s++)
        for (int source = 0; source < shape->key_heads; source++) {
            struct workspace work =
                cut_workspace((real *)(memory + sums) + (size_t)omp_get_thread_num() * size, shape);
            backward_unit(&op, &work, s, source);
        }
    add_parameters(&op);
    free(memory);
}
