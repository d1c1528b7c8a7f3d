/* Decoding's attention: one query of each sequence against the keys and values kept of its past. It
 * is bound by reading them, so work is dealt out by (sequence, head) and every result depends on
 * its own sequence only, never on the batch around it. */
#include <string.h>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/exp.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/ops.h"

void cpu_kv_store(struct backend *backend, const struct kv_cache *cache, const int32_t *slots,
                  const struct attention_inputs *in, const struct sequences *sequences,
                  const struct attention_shape *shape) {
    (void)backend;
    int64_t width = shape->head_dim, rows = cache->rows;
    size_t bytes = (size_t)width * sizeof(real);
#pragma omp parallel for schedule(                                                                 \
    static) if (cpu_worth_team(2 * sequences->tokens * shape->kv_heads * width))
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

void cpu_attention_decode(struct backend *backend, struct act *out, const struct act *q,
                          int64_t q_stride, const struct kv_cache *cache, const int32_t *slots,
                          const int32_t *positions, int64_t longest, int count,
                          const struct attention_shape *shape) {
    int width = shape->head_dim, group = shape->heads / shape->kv_heads;
#pragma omp parallel for collapse(2)                                                               \
    schedule(dynamic) if (cpu_worth_team(2 * longest * count * shape->heads * width))
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
