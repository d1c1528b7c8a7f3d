#include "mixers/start.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "mixers/attention/attention.h"

float start_rounded(float value, const struct attention_source *source) {
    uint16_t bits;
    if (source->dtype != DTYPE_BF16 && source->dtype != DTYPE_F16) return value;
    dtype_from_f32(&bits, source->dtype, &value, 1);
    dtype_to_f32(&value, &bits, source->dtype, 1);
    return value;
}

void start_fill(float *out, int64_t count, double value, const struct attention_source *source) {
    float kept = start_rounded((float)value, source);
    for (int64_t i = 0; i < count; i++) out[i] = kept;
}

struct random_stream start_stream(const char *tensor, uint64_t seed,
                                  const struct attention_source *source) {
    char name[96];
    snprintf(name, sizeof name, "mixer.%s", tensor);
    return random_stream_for(seed, source->layer, name);
}

void start_uniform(float *out, int64_t count, double bound, const char *tensor, uint64_t seed,
                   const struct attention_source *source) {
    struct random_stream stream = start_stream(tensor, seed, source);
#pragma omp parallel for schedule(static) if (count > 1 << 16)
    for (int64_t i = 0; i < count; i++) {
        double value = bound * (2 * random_uniform(&stream, (uint64_t)i) - 1);
        out[i] = start_rounded((float)value, source);
    }
}

const struct mixer_fit *start_fit(const struct mixer_choices *choices, int choice) {
    return choices->word[choice] == 1 ? choices->fit : NULL;
}

void start_gate(float *out, int64_t count, const char *tensor, const struct mixer_fit *fit,
                uint64_t seed, const struct attention_source *source) {
    int64_t width = source->host->hidden;
    if (!mixer_fit_has_constant(fit)) {
        start_uniform(out, count * width, 1 / sqrt((double)width), tensor, seed, source);
        return;
    }
    for (int64_t i = 0; i < count * width; i++)
        out[i] = start_rounded((float)(START_OPEN_GATE * (double)fit->constant[i % width]), source);
}

void start_out(float *out, int64_t columns, const double *scale, int64_t width,
               const struct mixer_fit *whole, const struct attention_source *source) {
    for (int64_t i = 0; i < source->host->hidden * columns; i++) {
        double factor = scale ? scale[i % columns / width] : 1;
        float value = whole && whole->out ? whole->out[i] : (float)((double)out[i] * factor);
        out[i] = start_rounded(value, source);
    }
}

enum status start_heads(float *out, int tensor, int64_t width,
                        const struct attention_source *source) {
    const struct mixer_host *host = source->host;
    bool query = tensor == ATTENTION_Q || tensor == ATTENTION_Q_BIAS;
    int64_t head = host->head_dim * width;
    enum status status = STATUS_OK;
    if (!source->name(source->context, tensor)) {
        memset(out, 0, (size_t)(host->heads * head) * sizeof *out);
        return STATUS_OK;
    }
    for (int h = 0; h < host->heads && !status; h++) {
        int from = query ? h : h / (host->heads / host->kv_heads);
        status = source->read(source->context, tensor, from * head, head, out + h * head);
    }
    return status;
}

/* The root mean square of a head's channels, of its rows [E, D] and the norm's weights. */
static double head_rms(const float *rows, const float *norm, const struct mixer_host *host) {
    double sum = 0;
    for (int64_t r = 0; r < host->head_dim; r++)
        for (int64_t d = 0; d < host->hidden; d++) {
            double value = (double)rows[r * host->hidden + d] * norm[d];
            sum += value * value;
        }
    return sqrt(sum / host->head_dim);
}

enum status start_value_rms(double *out, const struct attention_source *source) {
    const struct mixer_host *host = source->host;
    int64_t head = host->head_dim * host->hidden;
    float *rows = memory_calloc((size_t)head, sizeof *rows);
    float *norm = memory_calloc((size_t)host->hidden, sizeof *norm);
    enum status status = rows && norm ? source->input_norm(source->context, norm) : STATUS_FAILED;
    int repeats = host->heads / host->kv_heads;
    for (int g = 0; g < host->kv_heads && !status; g++) {
        status = source->read(source->context, ATTENTION_V, g * head, head, rows);
        for (int r = 0; r < repeats && !status; r++)
            out[g * repeats + r] = r ? out[g * repeats] : head_rms(rows, norm, host);
    }
    free(rows);
    free(norm);
    return status;
}

double start_memory(int head, int heads) {
    return 2 * pow(32, heads > 1 ? (double)head / (heads - 1) : 0.5);
}

double start_inverse_softplus(double value) {
    return log(expm1(value));
}

void start_taps(float *out, int64_t channels, int64_t taps, double tap,
                const struct attention_source *source) {
    float kept = start_rounded((float)tap, source);
    for (int64_t i = 0; i < channels * taps; i++) out[i] = i % taps == taps - 1 ? kept : 0;
}
