#include "tests/ops/ops.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

enum { GUARD = 256 };
static const unsigned char GUARD_BYTE = 0xA5;

struct owned {
    struct owned *next;
    void *host, *device;
};

static void own(struct ops *ops, void *host, void *device) {
    struct owned *owned = calloc(1, sizeof *owned);
    if (!owned) abort();
    *owned = (struct owned){ops->owned, host, device};
    ops->owned = owned;
}

void ops_begin(struct ops *ops, struct backend *backend, struct limit limit, bool compare) {
    *ops = (struct ops){
        .backend = backend, .limit = limit, .compare = compare, .digest = 1469598103934665603u};
}

void ops_end(struct ops *ops) {
    while (ops->owned) {
        struct owned *owned = ops->owned;
        ops->owned = owned->next;
        free(owned->host);
        if (owned->device) ops->backend->free(ops->backend, owned->device);
        free(owned);
    }
}

void ops_fail(struct ops *ops, const char *format, ...) {
    if (ops->faults++) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(ops->message, sizeof ops->message, format, arguments);
    va_end(arguments);
}

double *ops_doubles(struct ops *ops, int64_t count) {
    double *values = calloc((size_t)count + 1, sizeof *values);
    if (!values) abort();
    own(ops, values, NULL);
    return values;
}

static struct random_stream stream(void) {
    return random_stream_for(20251, -1, "ops");
}

double ops_uniform(struct ops *ops, double low, double high) {
    struct random_stream random = stream();
    return low + (high - low) * random_uniform(&random, ops->draws++);
}

int ops_integer(struct ops *ops, int low, int high) {
    return low + (int)(ops_uniform(ops, 0, 1) * (high - low + 1));
}

static void *device_alloc(struct ops *ops, size_t bytes, const char *what) {
    void *memory = ops->backend->alloc(ops->backend, bytes, what);
    if (!memory) {
        printf("Bail out! %s\n", status_message());
        exit(EXIT_FAILURE);
    }
    own(ops, NULL, memory);
    return memory;
}

static size_t element_size(enum dtype type) {
    return dtype_size(type);
}

static void encode(unsigned char *to, enum dtype type, double value) {
    float narrow = (float)value;
    int32_t whole = (int32_t)(type == DTYPE_I32 ? value : 0);
    if (type == DTYPE_F64)
        memcpy(to, &value, sizeof value);
    else if (type == DTYPE_I32)
        memcpy(to, &whole, sizeof whole);
    else
        dtype_from_f32(to, type, &narrow, 1);
}

static double decode(const unsigned char *from, enum dtype type) {
    double value;
    int32_t whole;
    if (type == DTYPE_I32) {
        memcpy(&whole, from, sizeof whole);
        return whole;
    }
    dtype_to_f64(&value, from, type, 1);
    return value;
}

static size_t span_bytes(const struct buffer *buffer) {
    int64_t span = buffer->rows ? (buffer->rows - 1) * buffer->stride + buffer->width : 0;
    return (size_t)span * element_size(buffer->type);
}

static struct buffer place(struct ops *ops, struct buffer buffer) {
    size_t bytes = span_bytes(&buffer), size = element_size(buffer.type);
    unsigned char *image = malloc(bytes + 2 * GUARD);
    if (!image) abort();
    own(ops, image, NULL);
    memset(image, GUARD_BYTE, bytes + 2 * GUARD);
    for (size_t i = 0; i < bytes; i += size)
        encode(image + GUARD + i, buffer.type, buffer.type == DTYPE_I32 ? -99 : NAN);
    for (int64_t r = 0; buffer.values && r < buffer.rows; r++)
        for (int64_t c = 0; c < buffer.width; c++) {
            unsigned char *at = image + GUARD + (size_t)(r * buffer.stride + c) * size;
            encode(at, buffer.type, buffer.values[r * buffer.width + c]);
            buffer.values[r * buffer.width + c] = decode(at, buffer.type);
        }
    unsigned char *device = device_alloc(ops, bytes + 2 * GUARD, "a test buffer");
    ops->backend->upload_bytes(ops->backend, device, image, bytes + 2 * GUARD);
    buffer.device = device + GUARD;
    return buffer;
}

static struct buffer shape_buffer(enum dtype type, int64_t rows, int64_t width, int64_t stride) {
    return (struct buffer){
        .type = type, .rows = rows, .width = width, .stride = stride, .count = rows * width};
}

struct buffer ops_random(struct ops *ops, enum dtype type, int64_t rows, int64_t width,
                         int64_t stride, double scale) {
    struct buffer buffer = shape_buffer(type, rows, width, stride);
    struct random_stream random = stream();
    buffer.values = ops_doubles(ops, buffer.count);
    for (int64_t i = 0; i < buffer.count; i++)
        buffer.values[i] = scale * random_normal(&random, ops->draws++);
    return place(ops, buffer);
}

struct buffer ops_given(struct ops *ops, enum dtype type, int64_t rows, int64_t width,
                        int64_t stride, const double *values) {
    struct buffer buffer = shape_buffer(type, rows, width, stride);
    buffer.values = ops_doubles(ops, buffer.count);
    memcpy(buffer.values, values, (size_t)buffer.count * sizeof *values);
    return place(ops, buffer);
}

struct buffer ops_output(struct ops *ops, enum dtype type, int64_t rows, int64_t width,
                         int64_t stride) {
    return place(ops, shape_buffer(type, rows, width, stride));
}

struct buffer ops_integers(struct ops *ops, int64_t count, const int32_t *values) {
    struct buffer buffer = shape_buffer(DTYPE_I32, 1, count, count);
    buffer.values = values ? ops_doubles(ops, count) : NULL;
    for (int64_t i = 0; values && i < count; i++) buffer.values[i] = values[i];
    return place(ops, buffer);
}

const double *ops_fetch(struct ops *ops, struct buffer *buffer, const char *what) {
    size_t bytes = span_bytes(buffer), size = element_size(buffer->type);
    unsigned char *image = malloc(bytes + 2 * GUARD), poison[8];
    if (!image) abort();
    own(ops, image, NULL);
    ops->backend->download_bytes(ops->backend, image, (unsigned char *)buffer->device - GUARD,
                                 bytes + 2 * GUARD);
    if (ops->backend->sync(ops->backend)) ops_fail(ops, "%s: %s", what, status_message());
    for (size_t i = 0; i < GUARD; i++)
        if (image[i] != GUARD_BYTE || image[GUARD + bytes + i] != GUARD_BYTE) {
            ops_fail(ops, "%s: written outside its bounds", what);
            break;
        }
    encode(poison, buffer->type, NAN);
    buffer->got = ops_doubles(ops, buffer->count);
    for (int64_t i = 0; i < (int64_t)(bytes / size); i++) {
        const unsigned char *at = image + GUARD + (size_t)i * size;
        int64_t r = i / buffer->stride, c = i % buffer->stride;
        if (c < buffer->width)
            buffer->got[r * buffer->width + c] = decode(at, buffer->type);
        else if (memcmp(at, poison, size) != 0)
            ops_fail(ops, "%s: written between its rows", what);
    }
    for (size_t i = 0; i < bytes; i++)
        ops->digest = (ops->digest ^ image[GUARD + i]) * 1099511628211u;
    return buffer->got;
}

void ops_expect_some(struct ops *ops, struct buffer *buffer, const double *expected, int64_t step,
                     const char *what) {
    const double *got = ops_fetch(ops, buffer, what);
    if (!ops->compare) return;
    double squares = 0, limit = 0;
    int64_t used = 0;
    int kind = buffer->type == DTYPE_F64 ? 0 : buffer->type == DTYPE_BF16 ? 2 : 1;
    if (buffer->type != DTYPE_I32)
        limit = ((double[]){ops->limit.f64, ops->limit.f32, ops->limit.bf16})[kind];
    for (int64_t i = 0; i < buffer->count; i += step, used++) squares += expected[i] * expected[i];
    double rms = sqrt(squares / (double)(used ? used : 1)), least = buffer->floor;
    for (int64_t i = 0; i < buffer->count; i++)
        if (!isfinite(got[i])) {
            ops_fail(ops, "%s[%lld] is %g", what, (long long)i, got[i]);
            return;
        }
    for (int64_t i = 0; i < buffer->count; i += step) {
        double difference = fabs(got[i] - expected[i]), size = fabs(expected[i]) + rms;
        double error = difference == 0 ? 0 : difference / (size > least ? size : least);
        if (!(error <= limit))
            ops_fail(ops, "%s[%lld] is %.9g, expected %.9g: error %.2e, limit %.2e", what,
                     (long long)i, got[i], expected[i], error, limit);
        if (!(error <= ops->worst[kind])) ops->worst[kind] = error;
    }
}

void ops_expect(struct ops *ops, struct buffer *buffer, const double *expected, const char *what) {
    ops_expect_some(ops, buffer, expected, 1, what);
}

struct sequences ops_sequences(struct ops *ops, const int *lengths, int count) {
    struct sequences sequences = {.count = count};
    int32_t *offsets = calloc((size_t)count + 1, sizeof *offsets);
    if (!offsets) abort();
    own(ops, offsets, NULL);
    for (int s = 0; s < count; s++) {
        offsets[s + 1] = offsets[s] + lengths[s];
        if (lengths[s] > sequences.longest) sequences.longest = lengths[s];
    }
    sequences.tokens = offsets[count];
    int32_t *positions = calloc((size_t)sequences.tokens + 1, sizeof *positions);
    if (!positions) abort();
    own(ops, positions, NULL);
    for (int s = 0; s < count; s++)
        for (int32_t t = offsets[s]; t < offsets[s + 1]; t++) positions[t] = t - offsets[s];
    sequences.offsets = offsets;
    sequences.device_offsets = ops_integers(ops, count + 1, offsets).device;
    sequences.positions = ops_integers(ops, sequences.tokens, positions).device;
    return sequences;
}

static double project(const struct formula *formula, double *out, const double *dout) {
    formula->evaluate(formula->context, formula->inputs, out);
    double sum = 0;
    for (int64_t i = 0; i < formula->out_count; i++) sum += dout[i] * out[i];
    return sum;
}

static double slope(struct formula *formula, double *x, double *out, const double *dout) {
    static const double offset[] = {-2, -1, 1, 2}, weight[] = {1, -8, 8, -1};
    const double h = 1e-3, kept = *x;
    double sum = 0;
    for (int k = 0; k < 4; k++) {
        *x = kept + offset[k] * h;
        sum += weight[k] * project(formula, out, dout);
    }
    *x = kept;
    return sum / (12 * h);
}

double ops_slope(struct formula *formula, int which, int64_t element, const double *dout) {
    double out;
    return slope(formula, formula->inputs[which] + element, &out, dout);
}

double *ops_differentiate(struct ops *ops, struct formula *formula, int which, int64_t count,
                          int64_t step, const double *dout) {
    double *gradient = ops_doubles(ops, count), *out = ops_doubles(ops, formula->out_count);
    for (int64_t i = 0; i < count && ops->compare; i += step)
        gradient[i] = slope(formula, formula->inputs[which] + i, out, dout);
    return gradient;
}

int64_t ops_step(int64_t count, int64_t samples) {
    static const int64_t primes[] = {1,  2,   3,   5,   7,   11,  17,  29,   41,   59,
                                     89, 127, 179, 257, 367, 521, 743, 1049, 1489, 2111};
    size_t i = 0;
    while (i + 1 < sizeof primes / sizeof *primes && count / primes[i] > samples) i++;
    return primes[i];
}

double *ops_add(struct ops *ops, const double *start, const double *gradient, int64_t count) {
    double *sum = ops_doubles(ops, count);
    for (int64_t i = 0; i < count; i++) sum[i] = start[i] + gradient[i];
    return sum;
}
