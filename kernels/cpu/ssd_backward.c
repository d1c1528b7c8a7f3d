/* The backward pass of ssd.c. A unit of work is one sequence and one group of B and C with all the
 * heads that it serves, so that db and dc have one owner. Chunks go from last to first, each from
 * its checkpoint; parameter gradients are summed per sequence, then over sequences in order. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/ssd.h"

struct ssd_backward {
    struct backend *backend;
    const struct ssd_gradients *to;
    const real *dout, *checkpoints;
    const struct ssd_inputs *in;
    const struct sequences *sequences;
    const struct ssd_shape *shape;
    double *partial; /* [sequences, H, 3]: da_log, ddt_bias, dd */
};

/* One thread's working memory. */
struct workspace {
    real *decays, *scores, *dscores; /* [CHUNK, CHUNK] */
    real *u, *du, *through;          /* [CHUNK, P] */
    real *b, *c, *db, *dc;           /* [CHUNK, N]; the group's sums: db, dc */
    real *dstate;                    /* [H / G, P, N]: of the state after the chunk */
};

static size_t workspace_size(const struct ssd_shape *shape) {
    size_t p = (size_t)shape->head_dim, n = (size_t)shape->d_state;
    return 3 * CHUNK * CHUNK + 3 * CHUNK * p + 4 * CHUNK * n +
           (size_t)(shape->heads / shape->groups) * p * n;
}

static struct workspace cut_workspace(real *memory, const struct ssd_shape *shape) {
    int64_t square = CHUNK * CHUNK, p = (int64_t)CHUNK * shape->head_dim;
    int64_t n = (int64_t)CHUNK * shape->d_state;
    struct workspace work = {memory, memory + square, memory + 2 * square};
    work.u = memory + 3 * square;
    work.du = work.u + p;
    work.through = work.du + p;
    work.b = work.through + p;
    work.c = work.b + n;
    work.db = work.c + n;
    work.dc = work.db + n;
    work.dstate = work.dc + n;
    return work;
}

/* What passes within the chunk: scores C B^T * L, whose product with u is read. du is written, db
 * and dc grow; dsum receives the decays' share. */
static void differentiate_scores(const struct ssd_backward *op, struct workspace *work,
                                 double *dsum, const struct ssd_chunk *chunk, const real *dy,
                                 int64_t dy_stride) {
    const struct ssd_inputs *in = op->in;
    struct backend *backend = op->backend;
    int p = op->shape->head_dim, n = op->shape->d_state, count = chunk->decay.count;
    int64_t area = (int64_t)CHUNK * count;
    chunk_decay_matrix(work->decays, &chunk->decay);
    cpu_gemm(backend, false, true, count, count, n, chunk->c, in->c_stride, chunk->b, in->b_stride,
             false, work->scores, CHUNK);
    chunk_multiply(work->scores, work->decays, area);
    cpu_gemm(backend, true, false, count, p, count, work->scores, CHUNK, dy, dy_stride, false,
             work->du, p);
    cpu_gemm(backend, false, true, count, count, p, dy, dy_stride, work->u, p, false, work->dscores,
             CHUNK);
    chunk_multiply(work->scores, work->dscores, area);
    chunk_decay_differentiate(dsum, work->scores, count);
    chunk_multiply(work->dscores, work->decays, area);
    cpu_gemm(backend, false, false, count, n, count, work->dscores, CHUNK, chunk->b, in->b_stride,
             true, work->dc, n);
    cpu_gemm(backend, true, false, count, n, count, work->dscores, CHUNK, chunk->c, in->c_stride,
             true, work->db, n);
}

/* What passes through the state before the chunk and the one after it, whose gradient becomes the
 * former's. */
static void differentiate_states(const struct ssd_backward *op, struct workspace *work,
                                 double *dsum, real *dstate, const real *before,
                                 const struct ssd_chunk *chunk, const real *dy, int64_t dy_stride) {
    const struct ssd_inputs *in = op->in;
    const struct chunk_decay *decay = &chunk->decay;
    struct backend *backend = op->backend;
    int p = op->shape->head_dim, n = op->shape->d_state, count = decay->count;
    double dots[CHUNK], whole = (double)decay->from_start[count - 1];
    real ones[CHUNK];
    for (int t = 0; t < count; t++) ones[t] = 1;

    cpu_gemm(backend, false, true, count, p, n, chunk->b, in->b_stride, dstate, n, false,
             work->through, p);
    chunk_scale_rows(work->through, work->through, p, decay->to_end, count, p);
    chunk_add_rows(work->du, p, work->through, p, ones, count, p);
    chunk_dot_rows(dots, work->u, p, work->through, p, count, p);
    for (int t = 0; t < count; t++) {
        dsum[t] -= dots[t];
        dsum[count - 1] += dots[t];
    }
    dsum[count - 1] += whole * chunk_dot(dstate, before, (int64_t)p * n);
    chunk_scale_rows(work->through, work->u, p, decay->to_end, count, p);
    cpu_gemm(backend, false, false, count, n, p, work->through, p, dstate, n, true, work->db, n);

    cpu_gemm(backend, false, false, count, n, p, dy, dy_stride, before, n, false, work->b, n);
    chunk_scale_rows(work->b, work->b, n, decay->from_start, count, n);
    chunk_add_rows(work->dc, n, work->b, n, ones, count, n);
    chunk_dot_rows(dots, work->b, n, chunk->c, in->c_stride, count, n);
    for (int t = 0; t < count; t++) dsum[t] += dots[t];
    chunk_scale_rows(work->c, chunk->c, in->c_stride, decay->from_start, count, n);
    chunk_scale_rows(dstate, dstate, (int64_t)p * n, &decay->from_start[count - 1], 1, p * n);
    cpu_gemm(backend, true, false, p, n, count, dy, dy_stride, work->c, n, true, dstate, n);
}

/* dx and ddt of the chunk, from du and the gradient of the decays' sums. */
static void store_chunk(const struct ssd_backward *op, struct workspace *work, double *partial,
                        const double *dsum, const struct ssd_chunk *chunk,
                        const struct ssd_head *head, int index, const real *dy, int64_t dy_stride) {
    const struct ssd_gradients *to = op->to;
    int p = op->shape->head_dim, count = chunk->decay.count;
    real *dx = (real *)to->dx + chunk->first * to->x_stride + (int64_t)index * p;
    real *ddt = (real *)to->ddt + chunk->first * to->dt_stride + index;
    double later = 0;
    for (int t = count - 1; t >= 0; t--) {
        const real *du = work->du + t * p, *x = chunk->x + t * op->in->x_stride;
        const real *dout = dy + t * dy_stride;
        later += dsum[t];
        double slope = chunk_dot(du, x, p) + later * (double)head->a;
        slope *= (double)fast_sigmoid(chunk->raw[t]);
        ddt[t * to->dt_stride] = (real)slope;
        partial[0] += later * (double)chunk->dt[t] * (double)head->a;
        partial[1] += slope;
        partial[2] += chunk_dot(dout, x, p);
        for (int i = 0; i < p; i++)
            dx[t * to->x_stride + i] = chunk->dt[t] * du[i] + head->d * dout[i];
    }
}

static void backward_head(const struct ssd_backward *op, struct workspace *work, int sequence,
                          int64_t k, int index, int64_t first, int64_t end) {
    const struct ssd_shape *shape = op->shape;
    int p = shape->head_dim, within = index % (shape->heads / shape->groups);
    int64_t size = (int64_t)p * shape->d_state, stride = (int64_t)shape->heads * p;
    const real *dy = op->dout + first * stride + (int64_t)index * p;
    struct ssd_head head = ssd_load_head(op->in, index);
    struct ssd_chunk chunk;
    double dsum[CHUNK] = {0};
    ssd_load_chunk(&chunk, op->in, shape, &head, index, first, end);
    chunk_scale_rows(work->u, chunk.x, op->in->x_stride, chunk.dt, chunk.decay.count, p);
    differentiate_scores(op, work, dsum, &chunk, dy, stride);
    differentiate_states(op, work, dsum, work->dstate + within * size,
                         op->checkpoints + (k * shape->heads + index) * size, &chunk, dy, stride);
    store_chunk(op, work, op->partial + ((int64_t)sequence * shape->heads + index) * 3, dsum,
                &chunk, &head, index, dy, stride);
}

static void store_sums(void *to, int64_t stride, const real *sums, int64_t first, int64_t count,
                       int64_t column, int width) {
    for (int64_t t = 0; t < count; t++)
        memcpy((real *)to + (first + t) * stride + column, sums + t * width,
               (size_t)width * sizeof *sums);
}

static void backward_unit(const struct ssd_backward *op, struct workspace *work, int sequence,
                          int group) {
    const struct ssd_shape *shape = op->shape;
    int n = shape->d_state, heads = shape->heads / shape->groups;
    int64_t start = op->sequences->offsets[sequence], end = op->sequences->offsets[sequence + 1];
    int64_t chunks = (end - start + CHUNK - 1) / CHUNK;
    size_t bytes = (size_t)(CHUNK * n) * sizeof *work->db;
    memset(work->dstate, 0, (size_t)heads * (size_t)(shape->head_dim * n) * sizeof *work->dstate);
    for (int64_t k = chunks - 1; k >= 0; k--) {
        int64_t first = start + k * CHUNK, count = end - first < CHUNK ? end - first : CHUNK;
        memset(work->db, 0, bytes);
        memset(work->dc, 0, bytes);
        for (int h = 0; h < heads; h++)
            backward_head(op, work, sequence, scan_first_chunk(op->sequences, sequence) + k,
                          group * heads + h, first, end);
        store_sums(op->to->db, op->to->b_stride, work->db, first, count, (int64_t)group * n, n);
        store_sums(op->to->dc, op->to->c_stride, work->dc, first, count, (int64_t)group * n, n);
    }
}

static void add_parameters(const struct ssd_backward *op) {
    real *to[] = {(real *)op->to->da_log, (real *)op->to->ddt_bias, (real *)op->to->dd};
    for (int s = 0; s < op->sequences->count; s++)
        for (int head = 0; head < op->shape->heads; head++)
            for (int i = 0; i < 3; i++)
                if (to[i])
                    to[i][head] +=
                        (real)op->partial[((int64_t)s * op->shape->heads + head) * 3 + i];
}

void cpu_ssd_backward(struct backend *backend, const struct ssd_gradients *to,
                      const struct act *dout, const struct acc *checkpoints,
                      const struct ssd_inputs *in, const struct sequences *sequences,
                      const struct ssd_shape *shape) {
    struct ssd_backward op = {
        backend, to, (const real *)dout, (const real *)checkpoints, in, sequences, shape, NULL};
    size_t sums = (size_t)sequences->count * (size_t)shape->heads * 3 * sizeof(double);
    size_t size = workspace_size(shape);
    char *memory = cpu_scratch(backend, sums + (size_t)omp_get_max_threads() * size * sizeof(real),
                               "the Mamba-2 recurrence's gradients");
    if (!memory) return;
    op.partial = (double *)memory;
    memset(memory, 0, sums);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int s = 0; s < sequences->count; s++)
        for (int group = 0; group < shape->groups; group++) {
            struct workspace work =
                cut_workspace((real *)(memory + sums) + (size_t)omp_get_thread_num() * size, shape);
            backward_unit(&op, &work, s, group);
        }
    add_parameters(&op);
    free(memory);
}
