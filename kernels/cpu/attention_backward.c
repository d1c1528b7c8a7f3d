/* Attention's gradients by tiles (Dao 2023): probabilities are recomputed from the scores and the
 * saved log-sum-exp, so that nothing of size T x T exists. A unit of work is one query head of one
 * sequence; where several query heads share keys, each sums into working memory of its own, and
 * these are added in the order of the heads. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/exp.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/ops.h"

enum {
    TILE_Q = 64,
    TILE_K = 128,
    BATCH_TOKENS = 4096, /* sequences are worked on together up to about this many tokens */
};

struct attention_backward {
    struct backend *backend;
    const struct attention_gradients *to;
    const real *dout, *out, *lse;
    const struct attention_inputs *in;
    const struct sequences *sequences;
    const struct attention_shape *shape;
    real *parts;         /* [2, H, batch tokens, E]: dk, dv by query head; NULL: straight to `to` */
    int64_t batch_first; /* first token of the batch */
    int64_t batch_tokens; /* room in parts */
};

/* One query head of one sequence. Rows are tokens of the sequence. */
struct head {
    struct backend *backend;
    int length, width, window;
    real scale;
    const real *q, *k, *v, *dout, *out, *lse;
    real *dq, *dk, *dv;
    int64_t q_stride, k_stride, v_stride, out_stride, dq_stride, dk_stride, dv_stride;
};

/* delta[r] = <dout, out> of each row: what softmax's gradient subtracts. */
CPU_CLONES static void project_rows(real *restrict delta, const struct head *head, int start,
                                    int rows) {
    for (int r = 0; r < rows; r++) {
        const real *a = head->dout + (start + r) * head->out_stride;
        const real *b = head->out + (start + r) * head->out_stride;
        real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < head->width; i++) sum += a[i] * b[i];
        delta[r] = sum;
    }
}

/* Scores become probabilities p, and dp the gradients of the scores before scaling. Keys outside
 * [skipped, allowed) are hidden. */
CPU_CLONES static void differentiate_row(real *restrict p, real *restrict dp, int skipped,
                                         int allowed, int columns, real scale, real lse,
                                         real delta) {
    for (int c = 0; c < skipped; c++) p[c] = dp[c] = 0;
    for (int c = allowed; c < columns; c++) p[c] = dp[c] = 0;
#pragma omp simd
    for (int c = skipped; c < allowed; c++) {
        real probability = fast_exp(p[c] * scale - lse);
        p[c] = probability;
        dp[c] = probability * (dp[c] - delta) * scale;
    }
}

static void backward_tile(const struct head *head, const real *delta, int start, int rows, int key,
                          int columns) {
    real p[TILE_Q * TILE_K], dp[TILE_Q * TILE_K];
    const real *q = head->q + start * head->q_stride, *k = head->k + key * head->k_stride;
    const real *v = head->v + key * head->v_stride, *dout = head->dout + start * head->out_stride;
    cpu_gemm(head->backend, false, true, rows, columns, head->width, q, head->q_stride, k,
             head->k_stride, false, p, TILE_K);
    cpu_gemm(head->backend, false, true, rows, columns, head->width, dout, head->out_stride, v,
             head->v_stride, false, dp, TILE_K);
    for (int r = 0; r < rows; r++) {
        int allowed = start + r + 1 - key;
        int skipped = head->window > 0 ? start + r + 1 - head->window - key : 0;
        allowed = allowed < 0 ? 0 : allowed > columns ? columns : allowed;
        skipped = skipped < 0 ? 0 : skipped > allowed ? allowed : skipped;
        differentiate_row(p + r * TILE_K, dp + r * TILE_K, skipped, allowed, columns, head->scale,
                          head->lse[start + r], delta[r]);
    }
    cpu_gemm(head->backend, true, false, columns, head->width, rows, p, TILE_K, dout,
             head->out_stride, true, head->dv + key * head->dv_stride, head->dv_stride);
    cpu_gemm(head->backend, true, false, columns, head->width, rows, dp, TILE_K, q, head->q_stride,
             true, head->dk + key * head->dk_stride, head->dk_stride);
    cpu_gemm(head->backend, false, false, rows, head->width, columns, dp, TILE_K, k, head->k_stride,
             true, head->dq + start * head->dq_stride, head->dq_stride);
}

static void clear_rows(real *to, int64_t stride, int rows, int width) {
    for (int r = 0; r < rows; r++) memset(to + r * stride, 0, (size_t)width * sizeof *to);
}

static void backward_head(const struct head *head) {
    clear_rows(head->dq, head->dq_stride, head->length, head->width);
    clear_rows(head->dk, head->dk_stride, head->length, head->width);
    clear_rows(head->dv, head->dv_stride, head->length, head->width);
    for (int start = 0; start < head->length; start += TILE_Q) {
        int rows = head->length - start < TILE_Q ? head->length - start : TILE_Q;
        int end = start + rows, window = head->window;
        int key = window > 0 && start + 1 > window ? (start + 1 - window) / TILE_K * TILE_K : 0;
        real delta[TILE_Q];
        project_rows(delta, head, start, rows);
        for (; key < end; key += TILE_K)
            backward_tile(head, delta, start, rows, key, end - key < TILE_K ? end - key : TILE_K);
    }
}

static struct head head_at(const struct attention_backward *op, int sequence, int index) {
    const struct attention_shape *shape = op->shape;
    int64_t first = op->sequences->offsets[sequence], width = shape->head_dim;
    int64_t kv_column = index / (shape->heads / shape->kv_heads) * width, column = index * width;
    int64_t out_stride = shape->heads * width;
    struct head head = {
        .backend = op->backend,
        .length = (int)(op->sequences->offsets[sequence + 1] - first),
        .width = shape->head_dim,
        .window = shape->window,
        .scale = (real)shape->scale,
        .q = (const real *)op->in->q + first * op->in->q_stride + column,
        .k = (const real *)op->in->k + first * op->in->k_stride + kv_column,
        .v = (const real *)op->in->v + first * op->in->v_stride + kv_column,
        .dout = op->dout + first * out_stride + column,
        .out = op->out + first * out_stride + column,
        .lse = op->lse + index * op->sequences->tokens + first,
        .dq = (real *)op->to->dq + first * op->to->q_stride + column,
        .dk = (real *)op->to->dk + first * op->to->k_stride + kv_column,
        .dv = (real *)op->to->dv + first * op->to->v_stride + kv_column,
        .q_stride = op->in->q_stride,
        .k_stride = op->in->k_stride,
        .v_stride = op->in->v_stride,
        .out_stride = out_stride,
        .dq_stride = op->to->q_stride,
        .dk_stride = op->to->k_stride,
        .dv_stride = op->to->v_stride,
    };
    if (op->parts) {
        int64_t size = op->batch_tokens * width, at = (first - op->batch_first) * width;
        head.dk = op->parts + index * size + at;
        head.dv = op->parts + (shape->heads + index) * size + at;
        head.dk_stride = head.dv_stride = width;
    }
    return head;
}

/* to [rows, width of all kv heads] = the sums over the query heads of each group. */
CPU_CLONES static void add_parts(real *restrict to, int64_t stride, const real *restrict parts,
                                 int64_t rows, int64_t part_rows,
                                 const struct attention_shape *shape) {
    int width = shape->head_dim, group = shape->heads / shape->kv_heads;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int kv = 0; kv < shape->kv_heads; kv++) {
            real *sum = to + r * stride + kv * width;
            for (int h = 0; h < group; h++) {
                const real *part = parts + ((kv * group + h) * part_rows + r) * width;
                for (int i = 0; i < width; i++) sum[i] = h ? sum[i] + part[i] : part[i];
            }
        }
}

static void backward_batch(const struct attention_backward *op, int from, int to) {
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int s = from; s < to; s++)
        for (int h = 0; h < op->shape->heads; h++) {
            struct head head = head_at(op, s, h);
            backward_head(&head);
        }
    if (!op->parts) return;
    int64_t first = op->batch_first, rows = op->sequences->offsets[to] - first;
    int64_t half = op->shape->heads * op->batch_tokens * op->shape->head_dim;
    add_parts((real *)op->to->dk + first * op->to->k_stride, op->to->k_stride, op->parts, rows,
              op->batch_tokens, op->shape);
    add_parts((real *)op->to->dv + first * op->to->v_stride, op->to->v_stride, op->parts + half,
              rows, op->batch_tokens, op->shape);
}

/* The end of the batch of sequences that begins at `from`: at least one. */
static int batch_end(const struct sequences *sequences, int from) {
    int to = from + 1;
    while (to < sequences->count &&
           sequences->offsets[to + 1] - sequences->offsets[from] <= BATCH_TOKENS)
        to++;
    return to;
}

void cpu_attention_backward(struct backend *backend, const struct attention_gradients *to,
                            const struct act *dout, const struct act *out, const struct acc *lse,
                            const struct attention_inputs *in, const struct sequences *sequences,
                            const struct attention_shape *shape) {
    struct attention_backward op = {.backend = backend,
                                    .to = to,
                                    .dout = (const real *)dout,
                                    .out = (const real *)out,
                                    .lse = (const real *)lse,
                                    .in = in,
                                    .sequences = sequences,
                                    .shape = shape};
    if (shape->heads != shape->kv_heads) {
        int64_t room = sequences->longest > BATCH_TOKENS ? sequences->longest : BATCH_TOKENS;
        op.batch_tokens = room < sequences->tokens ? room : sequences->tokens;
        op.parts = cpu_scratch(backend,
                               2 * (size_t)shape->heads * (size_t)op.batch_tokens *
                                   (size_t)shape->head_dim * sizeof *op.parts,
                               "attention's gradients");
        if (!op.parts) return;
    }
    for (int from = 0; from < sequences->count;) {
        int end = batch_end(sequences, from);
        op.batch_first = sequences->offsets[from];
        backward_batch(&op, from, end);
        from = end;
    }
    free(op.parts);
}
