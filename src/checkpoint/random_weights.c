#include "checkpoint/random_weights.h"

#include <math.h>
#include <string.h>

#include "base/dtype.h"
#include "base/memory.h"
#include "base/random.h"

enum { QUANTILES = 1 << 16, PER_BLOCK = 8 };

/* The x >= 0 with upper tail probability `tail` of the standard normal, by Newton's method from a
 * start (`x`) at or below it: the function is convex there, so the steps do not overshoot far. */
static double upper_quantile(double tail, double x) {
    for (int step = 0; step < 50; step++) {
        double excess = 0.5 * erfc(x * M_SQRT1_2) - tail;
        double density = exp(-0.5 * x * x) * 0.3989422804014326779;
        double change = excess / density;
        x += change;
        if (fabs(change) < 1e-13) break;
    }
    return x;
}

enum status random_weights_quantiles(uint16_t **out) {
    uint16_t *table = memory_calloc(QUANTILES, sizeof *table);
    if (!table) return STATUS_FAILED;
    double x = 0;
    for (int k = QUANTILES / 2; k < QUANTILES; k++) {
        x = upper_quantile((QUANTILES - k - 0.5) / QUANTILES, x);
        table[k] = dtype_bf16_from_f32((float)(0.02 * x));
        table[QUANTILES - 1 - k] = table[k] | 0x8000u;
    }
    *out = table;
    return STATUS_OK;
}

enum dtype random_weights_dtype(const struct tensor_spec *spec) {
    return spec->row && spec->row->keeps_f32 ? DTYPE_F32 : DTYPE_BF16;
}

static enum tensor_usual usual_of(const struct tensor_spec *spec) {
    bool norm = spec->role == TENSOR_INPUT_NORM || spec->role == TENSOR_POST_NORM ||
                spec->role == TENSOR_FINAL_NORM;
    return spec->row ? spec->row->usual : norm ? USUAL_ONE : USUAL_DRAWN;
}

static void fill_float(float *out, const struct checkpoint_tensor *tensor, int64_t first,
                       int64_t count) {
    bool logs = usual_of(tensor->spec) == USUAL_LOG;
    int64_t states = logs ? tensor->shape[1] : 1;
    for (int64_t i = 0; i < count; i++)
        out[i] = logs ? (float)log((double)((first + i) % states + 1)) : 1.0f;
}

/* Elements of RANDOM_BLOCKS blocks. */
enum { TOGETHER = RANDOM_BLOCKS * PER_BLOCK };
static void draw(uint16_t *out, const struct random_stream *stream, const uint16_t *quantiles,
                 int64_t block) {
    uint32_t words[4][RANDOM_BLOCKS];
    random_blocks(words, stream, (uint64_t)block);
    for (int b = 0; b < RANDOM_BLOCKS; b++)
        for (int word = 0; word < 4; word++) {
            out[b * PER_BLOCK + 2 * word] = quantiles[words[word][b] & 0xffffu];
            out[b * PER_BLOCK + 2 * word + 1] = quantiles[words[word][b] >> 16];
        }
}

void random_weights_fill(void *out, const struct checkpoint_tensor *tensor, uint64_t seed,
                         const uint16_t *quantiles, int64_t first, int64_t count) {
    if (tensor->dtype == DTYPE_F32) {
        fill_float(out, tensor, first, count);
        return;
    }
    uint16_t *weights = out;
    if (usual_of(tensor->spec) == USUAL_ONE) {
        for (int64_t i = 0; i < count; i++) weights[i] = dtype_bf16_from_f32(1);
        return;
    }
    struct random_stream stream =
        random_stream_for(seed, tensor->layer, tensor_spec_name(tensor->spec));
    uint16_t drawn[TOGETHER];
    for (int64_t done = 0; done < count;) {
        int64_t skip = (first + done) % PER_BLOCK, take = TOGETHER - skip;
        if (take > count - done) take = count - done;
        bool whole = take == TOGETHER;
        draw(whole ? weights + done : drawn, &stream, quantiles, (first + done) / PER_BLOCK);
        if (!whole) memcpy(weights + done, drawn + skip, (size_t)take * sizeof *weights);
        done += take;
    }
}
