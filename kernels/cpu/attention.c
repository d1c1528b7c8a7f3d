/* Causal attention by tiles with an online softmax (Dao et al. 2022): for a tile of queries of one
 * head, scores against each tile of keys by GEMM, rescaled sums, no T x T matrix. */
#include <string.h>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/exp.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/ops.h"

enum { TILE_Q = 64, TILE_K = 128 };

/* One row of a score tile: keys [0, allowed) and from `skipped` on are visible. Turns scores into
 * exponentials against the new running maximum, updates maximum and sum, and returns the factor by
 * which earlier sums and outputs shrink. */
CPU_CLONES static real softmax_row(real *restrict score, int skipped, int allowed, int columns,
                                   real scale, real *maximum, real *sum) {
    real largest = *maximum;
    for (int c = skipped; c < allowed; c++) {
        real value = score[c] * scale;
        largest = value > largest ? value : largest;
    }
    for (int c = 0; c < skipped; c++) score[c] = 0;
    for (int c = allowed; c < columns; c++) score[c] = 0;
    if (largest == -(real)INFINITY) return 1; /* nothing visible yet */
    real total = 0;
#pragma omp simd reduction(+ : total)
    for (int c = skipped; c < allowed; c++) {
        real e = fast_exp(score[c] * scale - largest);
        score[c] = e;
        total += e;
    }
    real shrink = fast_exp(*maximum - largest);
    *maximum = largest;
    *sum = *sum * shrink + total;
    return shrink;
}

struct tile {
    struct backend *backend;
    const struct attention_inputs *in;
    const struct attention_shape *shape;
    int64_t first; /* the sequence's first token */
    int length;    /* its tokens */
    int head;
    int start, rows; /* queries [start, start + rows) of the sequence */
};

static void clamp_keys(const struct tile *tile, int *from, int *to) {
    int window = tile->shape->window;
    *to = tile->start + tile->rows;
    *from =
        window > 0 && tile->start + 1 > window ? (tile->start + 1 - window) / TILE_K * TILE_K : 0;
}

/* out [rows, E] with row stride out_stride; lse may be NULL. */
static void attend_tile(const struct tile *tile, real *out, int64_t out_stride, real *lse) {
    const struct attention_shape *shape = tile->shape;
    const struct attention_inputs *in = tile->in;
    int width = shape->head_dim, kv_head = tile->head / (shape->heads / shape->kv_heads);
    real scores[TILE_Q * TILE_K], maximum[TILE_Q], sum[TILE_Q];
    const real *q = (const real *)in->q + (tile->first + tile->start) * in->q_stride +
                    (int64_t)tile->head * width;
    for (int r = 0; r < tile->rows; r++) {
        maximum[r] = -(real)INFINITY;
        sum[r] = 0;
        memset(out + r * out_stride, 0, (size_t)width * sizeof(real));
    }
    int key_from, key_to;
    clamp_keys(tile, &key_from, &key_to);
    for (int key = key_from; key < key_to; key += TILE_K) {
        int columns = key_to - key < TILE_K ? key_to - key : TILE_K;
        const real *k =
            (const real *)in->k + (tile->first + key) * in->k_stride + (int64_t)kv_head * width;
        const real *v =
            (const real *)in->v + (tile->first + key) * in->v_stride + (int64_t)kv_head * width;
        cpu_gemm(tile->backend, false, true, tile->rows, columns, width, q, in->q_stride, k,
                 in->k_stride, false, scores, TILE_K);
        for (int r = 0; r < tile->rows; r++) {
            int allowed = tile->start + r + 1 - key;
            int skipped = shape->window > 0 ? tile->start + r + 1 - shape->window - key : 0;
            allowed = allowed < 0 ? 0 : allowed > columns ? columns : allowed;
            skipped = skipped < 0 ? 0 : skipped > allowed ? allowed : skipped;
            real shrink = softmax_row(scores + r * TILE_K, skipped, allowed, columns,
                                      (real)shape->scale, &maximum[r], &sum[r]);
            if (shrink != 1)
                for (int i = 0; i < width; i++) out[r * out_stride + i] *= shrink;
        }
        cpu_gemm(tile->backend, false, false, tile->rows, width, columns, scores, TILE_K, v,
                 in->v_stride, true, out, out_stride);
    }
    for (int r = 0; r < tile->rows; r++) {
        for (int i = 0; i < width; i++) out[r * out_stride + i] /= sum[r];
        if (lse) lse[r] = maximum[r] + real_log(sum[r]);
    }
}

static void cpu_attention(struct backend *backend, struct act *out, struct acc *lse,
                          const struct attention_inputs *in, const struct sequences *sequences,
                          const struct attention_shape *shape) {
    int64_t out_stride = (int64_t)shape->heads * shape->head_dim;
    int tiles = (sequences->longest + TILE_Q - 1) / TILE_Q;
    /* Late tiles see the most keys: they are handed out first. */
#pragma omp parallel for collapse(3) schedule(dynamic)
    for (int s = 0; s < sequences->count; s++)
        for (int reverse = 0; reverse < tiles; reverse++)
            for (int h = 0; h < shape->heads; h++) {
                int first = sequences->offsets[s], length = sequences->offsets[s + 1] - first;
                int start = (tiles - 1 - reverse) * TILE_Q;
                if (start >= length) continue;
                int rows = length - start < TILE_Q ? length - start : TILE_Q;
                struct tile tile = {backend, in, shape, first, length, h, start, rows};
                attend_tile(&tile, (real *)out + (first + start) * out_stride + h * shape->head_dim,
                            out_stride,
                            lse ? (real *)lse + h * sequences->tokens + first + start : NULL);
            }
}

const struct attention_ops cpu_attention_ops = {
    .rope = cpu_rope,
    .attention = cpu_attention,
    .attention_backward = cpu_attention_backward,
    .kv_store = cpu_kv_store,
    .attention_decode = cpu_attention_decode,
};
