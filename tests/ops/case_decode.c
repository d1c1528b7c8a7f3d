/* The key/value cache, and attention of one query a sequence over it. */
#include <math.h>
#include <string.h>

#include "kernels/ops/attention.h"
#include "tests/ops/ops.h"

static const struct decode_case {
    int heads, kv_heads, head_dim, rows, slots, count, gap;
    int32_t slot[4], first[4], length[4]; /* of kv_store: positions first .. first + length - 1 */
    double size;                          /* of queries: large ones make the softmax sharp */
} cases[] = {
    {1, 1, 8, 4, 1, 1, 0, {0}, {0}, {1}, 1},
    {4, 2, 16, 9, 5, 3, 5, {3, 0, 4}, {0, 8, 30}, {9, 1, 4}, 1},
    {6, 2, 20, 7, 3, 2, 0, {2, 0}, {0, 5}, {20, 3}, 3},
    {8, 1, 64, 130, 2, 2, 64, {1, 0}, {0, 129}, {100, 1}, 4},
    {9, 3, 64, 700, 3, 3, 0, {0, 2, 1}, {699, 0, 5000}, {1, 700, 1}, 1},
    {32, 8, 128, 300, 4, 4, 8, {3, 2, 1, 0}, {255, 256, 0, 257}, {1, 1, 1, 1}, 2},
    {3, 3, 80, 65, 2, 1, 3, {1}, {63}, {2}, 1},
    {7, 1, 128, 2049, 1, 1, 0, {0}, {2047}, {1}, 2},
    {14, 2, 96, 1100, 2, 2, 2, {0, 1}, {1023, 1024}, {1, 1}, 8},
    {5, 5, 256, 33, 2, 2, 0, {0, 1}, {31, 32}, {1, 2}, 1},
};
enum { CASES = sizeof cases / sizeof *cases };

static struct attention_shape shape_of(const struct decode_case *c) {
    return (struct attention_shape){c->heads, c->kv_heads, c->head_dim, 0, 1 / sqrt(c->head_dim)};
}

static struct buffer random_cache(struct ops *ops, const struct decode_case *c) {
    int64_t count = (int64_t)c->slots * c->kv_heads * c->rows * c->head_dim;
    return ops_random(ops, ops->backend->act, 1, count, count, 1);
}

static int64_t cache_row(const struct decode_case *c, int slot, int head, int64_t position) {
    return (((int64_t)slot * c->kv_heads + head) * c->rows + position % c->rows) * c->head_dim;
}

void case_kv_store(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int k = 0; k < CASES; k++) {
        const struct decode_case *c = &cases[k];
        struct attention_shape shape = shape_of(c);
        struct sequences sequences = ops_sequences(ops, c->length, c->count);
        int64_t width = (int64_t)c->kv_heads * c->head_dim, tokens = sequences.tokens;
        int32_t *positions = (int32_t *)ops_doubles(ops, tokens);
        struct buffer in[2], cache[2];
        double *expected[2];
        for (int which = 0; which < 2; which++) {
            in[which] =
                ops_random(ops, backend->act, tokens, width, width + (which + 1) * c->gap, 1);
            cache[which] = random_cache(ops, c);
            expected[which] = ops_doubles(ops, cache[which].count);
            memcpy(expected[which], cache[which].values,
                   (size_t)cache[which].count * sizeof(double));
            for (int s = 0; s < c->count; s++)
                for (int t = 0; t < c->length[s]; t++) {
                    int64_t token = sequences.offsets[s] + t;
                    positions[token] = c->first[s] + t;
                    for (int g = 0; g < c->kv_heads; g++)
                        memcpy(expected[which] + cache_row(c, c->slot[s], g, positions[token]),
                               in[which].values + token * width + g * c->head_dim,
                               (size_t)c->head_dim * sizeof(double));
                }
        }
        struct buffer device_positions = ops_integers(ops, tokens, positions);
        struct buffer slots = ops_integers(ops, c->count, c->slot);
        sequences.positions = device_positions.device;
        struct kv_cache to = {cache[0].device, cache[1].device, c->rows};
        struct attention_inputs inputs = {NULL, in[0].device, in[1].device,
                                          0,    in[0].stride, in[1].stride};
        backend->attention->kv_store(backend, &to, slots.device, &inputs, &sequences, &shape);
        ops_expect(ops, &cache[0], expected[0], "keys");
        ops_expect(ops, &cache[1], expected[1], "values");
    }
}

/* One head's query over the rows [0, keys) of its cache. */
static void attend(double *out, const double *q, const double *k, const double *v, int64_t keys,
                   const struct attention_shape *shape, double *score) {
    int width = shape->head_dim;
    double largest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < keys; j++) {
        score[j] = 0;
        for (int i = 0; i < width; i++) score[j] += q[i] * k[j * width + i];
        score[j] *= shape->scale;
        largest = fmax(largest, score[j]);
    }
    for (int64_t j = 0; j < keys; j++) sum += score[j] = exp(score[j] - largest);
    for (int i = 0; i < width; i++) out[i] = 0;
    for (int64_t j = 0; j < keys; j++)
        for (int i = 0; i < width; i++) out[i] += score[j] / sum * v[j * width + i];
}

void case_attention_decode(struct ops *ops) {
    struct backend *backend = ops->backend;
    for (int k = 0; k < CASES; k++) {
        const struct decode_case *c = &cases[k];
        struct attention_shape shape = shape_of(c);
        int64_t width = (int64_t)c->heads * c->head_dim, longest = 0;
        struct buffer q = ops_random(ops, backend->act, c->count, width, width + c->gap, c->size);
        struct buffer keys = random_cache(ops, c), values = random_cache(ops, c);
        struct buffer out = ops_output(ops, backend->act, c->count, width, width);
        double *expected = ops_doubles(ops, out.count), *score = ops_doubles(ops, c->rows);
        int32_t positions[4];
        for (int s = 0; s < c->count; s++) {
            positions[s] = c->first[s] + c->length[s] - 1;
            if (positions[s] >= longest) longest = positions[s] + 1;
            int64_t seen = positions[s] + 1 < c->rows ? positions[s] + 1 : c->rows;
            for (int h = 0; h < c->heads; h++) {
                int64_t from = cache_row(c, c->slot[s], h / (c->heads / c->kv_heads), 0);
                int64_t at = (s * c->heads + h) * c->head_dim;
                attend(expected + at, q.values + at, keys.values + from, values.values + from, seen,
                       &shape, score);
            }
        }
        struct buffer device_positions = ops_integers(ops, c->count, positions);
        struct buffer slots = ops_integers(ops, c->count, c->slot);
        struct kv_cache cache = {keys.device, values.device, c->rows};
        for (int loose = 0; loose < 2; loose++) {
            backend->attention->attention_decode(backend, out.device, q.device, q.stride, &cache,
                                                 slots.device, device_positions.device,
                                                 longest + loose * 3000, c->count, &shape);
            ops_expect(ops, &out, expected, loose ? "out with a loose bound" : "out");
        }
    }
}
