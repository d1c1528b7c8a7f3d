/* Decoding: one token of each sequence against what is kept of its past. The ops are bound by
 * reading that past, so work is dealt out by (sequence, head) or (sequence, channels) and every
 * result depends on its own sequence only, never on the batch around it. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/exp.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/mamba.h"
#include "kernels/cpu/ops.h"

static void cpu_kv_store(struct backend *backend, const struct kv_cache *cache,
                         const int32_t *slots, const struct attention_inputs *in,
                         const struct sequences *sequences, const struct attention_shape *shape) {
    (void)backend;
    int64_t width = shape->head_dim, rows = cache->rows;
    size_t bytes = (size_t)width * sizeof(real);
#pragma omp parallel for schedule(static)
    for (int s = 0; s < sequences->count; s++) {
        int64_t end = sequences->offsets[s + 1], first = sequences->offsets[s];
        if (end - first > rows) first = end - rows; /* what comes earlier is written over */
        for (int64_t t = first; t < end; t++)
            for (int g = 0; g < shape->kv_heads; g++) {
                int64_t row = sequences->positions[t] % rows;
                int64_t to = (((int64_t)slots[s] * shape->kv_heads + g) * rows + row) * width;
                memcpy((real *)cache->k + to, (const real *)in->k + t * in->k_stride + g * width,
                       bytes);
                memcpy((real *)cache->v + to, (const real *)in->v + t * in->v_stride + g * width,
                       bytes);
            }
    }
}

enum { KEYS = 256, MOST_HEADS = 8 }; /* of a tile of scores */

/* A row of scores becomes exponentials against the new maximum; earlier sums shrink by what is
 * returned. */
CPU_CLONES static real weigh(real *restrict score, int keys, real scale, real *maximum, real *sum) {
    real largest = *maximum, total = 0;
    for (int j = 0; j < keys; j++) {
        score[j] *= scale;
        largest = score[j] > largest ? score[j] : largest;
    }
#pragma omp simd reduction(+ : total)
    for (int j = 0; j < keys; j++) {
        score[j] = fast_exp(score[j] - largest);
        total += score[j];
    }
    real shrink = fast_exp(*maximum - largest);
    *maximum = largest;
    *sum = *sum * shrink + total;
    return shrink;
}

/* `heads` queries [heads, E] that share `count` keys and values [count, E], by an online softmax.
 */
static void attend(struct backend *backend, real *out, const real *q, const real *k, const real *v,
                   int64_t count, int heads, int width, real scale) {
    real score[MOST_HEADS * KEYS], maximum[MOST_HEADS], sum[MOST_HEADS] = {0};
    for (int h = 0; h < heads; h++) maximum[h] = -(real)INFINITY;
    memset(out, 0, (size_t)(heads * width) * sizeof *out);
    for (int64_t first = 0; first < count; first += KEYS) {
        int keys = count - first < KEYS ? (int)(count - first) : KEYS;
        cpu_gemm(backend, false, true, heads, keys, width, q, width, k + first * width, width,
                 false, score, KEYS);
        for (int h = 0; h < heads; h++) {
            real shrink = weigh(score + h * KEYS, keys, scale, &maximum[h], &sum[h]);
            for (int i = 0; i < width; i++) out[h * width + i] *= shrink;
        }
        cpu_gemm(backend, false, false, heads, width, keys, score, KEYS, v + first * width, width,
                 true, out, width);
    }
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < width; i++) out[h * width + i] /= sum[h];
}

static void cpu_attention_decode(struct backend *backend, void *out, const void *q,
                                 int64_t q_stride, const struct kv_cache *cache,
                                 const int32_t *slots, const int32_t *positions, int64_t longest,
                                 int count, const struct attention_shape *shape) {
    (void)longest;
    int width = shape->head_dim, group = shape->heads / shape->kv_heads;
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int s = 0; s < count; s++)
        for (int g = 0; g < shape->kv_heads; g++) {
            int64_t keys = (int64_t)positions[s] + 1;
            if (keys > cache->rows) keys = cache->rows;
            int64_t from = ((int64_t)slots[s] * shape->kv_heads + g) * cache->rows * width;
            for (int part = 0; part < group; part += MOST_HEADS) {
                int heads = group - part < MOST_HEADS ? group - part : MOST_HEADS;
                int64_t head = (int64_t)g * group + part;
                attend(backend, (real *)out + ((int64_t)s * shape->heads + head) * width,
                       (const real *)q + s * q_stride + head * width, (const real *)cache->k + from,
                       (const real *)cache->v + from, keys, heads, width, (real)shape->scale);
            }
        }
}

static void cpu_conv_store(struct backend *backend, void *states, const int32_t *slots,
                           const void *x, int64_t x_stride, const struct sequences *sequences,
                           const struct mamba_shape *shape) {
    (void)backend;
    int64_t width = shape->d_xb, kept = shape->d_conv - 1;
    for (int s = 0; s < sequences->count; s++)
        for (int64_t r = 0; r < kept; r++) {
            int64_t token = (int64_t)sequences->offsets[s + 1] - kept + r;
            real *to = (real *)states + (slots[s] * kept + r) * width;
            if (token < sequences->offsets[s])
                memset(to, 0, (size_t)width * sizeof *to);
            else
                memcpy(to, (const real *)x + token * x_stride, (size_t)width * sizeof *to);
        }
}

static void cpu_conv_step(struct backend *backend, void *out, void *states, const int32_t *slots,
                          const void *x, int64_t x_stride, const void *w, const void *bias,
                          int count, const struct mamba_shape *shape) {
    (void)backend;
    int64_t width = shape->d_xb, kept = shape->d_conv - 1;
#pragma omp parallel for schedule(static)
    for (int s = 0; s < count; s++) {
        real *past = (real *)states + slots[s] * kept * width;
        const real *now = (const real *)x + s * x_stride;
        for (int c = 0; c < shape->d_inner; c++) {
            const real *taps = (const real *)w + (int64_t)c * shape->d_conv;
            int source = mamba_source(shape, c);
            real sum = bias ? ((const real *)bias)[c] : 0;
            for (int64_t r = 0; r < kept; r++) sum += taps[r] * past[r * width + source];
            ((real *)out)[(int64_t)s * shape->d_inner + c] =
                fast_silu(sum + taps[kept] * now[source]);
        }
        if (!kept) continue;
        memmove(past, past + width, (size_t)((kept - 1) * width) * sizeof *past);
        memcpy(past + (kept - 1) * width, now, (size_t)width * sizeof *past);
    }
}

/* One channel's states [N] advance; <state, C>. */
CPU_CLONES static real advance(real *restrict state, const real *restrict a_log,
                               const real *restrict b, const real *restrict c, real dt, real u,
                               int states) {
    real y = 0;
#pragma omp simd reduction(+ : y)
    for (int n = 0; n < states; n++) {
        state[n] = fast_exp(-dt * fast_exp(a_log[n])) * state[n] + u * b[n];
        y += state[n] * c[n];
    }
    return y;
}

static void cpu_scan_step(struct backend *backend, void *out, void *states, const int32_t *slots,
                          const struct scan_inputs *in, int count,
                          const struct mamba_shape *shape) {
    (void)backend;
    int n = shape->d_state, heads = shape->d_inner / n, repeat = shape->d_inner / shape->d_xb;
#pragma omp parallel for collapse(2) schedule(static)
    for (int s = 0; s < count; s++)
        for (int head = 0; head < heads; head++) {
            const real *b = (const real *)in->b + s * in->b_stride + (int64_t)(head / repeat) * n;
            const real *c = (const real *)in->c + s * in->c_stride + (int64_t)head * n;
            for (int64_t channel = (int64_t)head * n; channel < (int64_t)(head + 1) * n;
                 channel++) {
                real x = ((const real *)in->x)[s * in->x_stride + channel];
                real z = ((const real *)in->z)[s * in->z_stride + channel];
                real dt = fast_softplus(((const real *)in->dt)[s * in->dt_stride + channel] +
                                        ((const real *)in->dt_bias)[channel]);
                real *state = (real *)states + ((int64_t)slots[s] * shape->d_inner + channel) * n;
                real y = advance(state, (const real *)in->a_log + channel * n, b, c, dt, dt * x, n);
                y += ((const real *)in->d)[channel] * x;
                ((real *)out)[(int64_t)s * shape->d_inner + channel] = y * fast_silu(z);
            }
        }
}

void cpu_table_decode(struct backend *backend) {
    backend->kv_store = cpu_kv_store;
    backend->attention_decode = cpu_attention_decode;
    backend->conv_store = cpu_conv_store;
    backend->conv_step = cpu_conv_step;
    backend->scan_step = cpu_scan_step;
}
