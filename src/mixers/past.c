#include "mixers/past.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/random.h"

static int64_t rows_of(const struct mixer_sizes *sizes, int64_t tokens) {
    return sizes->kind->past_rows ? sizes->kind->past_rows(sizes, tokens) : 1;
}

/* Bytes of a row of the past in one of its arrays. */
static size_t row_bytes(const struct past_row *row, const struct mixer_sizes *sizes,
                        const struct mixer_host *host, size_t act_bytes, size_t acc_bytes) {
    return (size_t)row->width(sizes, host) * (row->acc ? acc_bytes : act_bytes);
}

static uint64_t all_rows_bytes(const struct mixer_sizes *sizes, const struct mixer_host *host,
                               size_t act_bytes, size_t acc_bytes) {
    uint64_t bytes = 0;
    for (int i = 0; i < sizes->kind->n_past; i++)
        bytes += row_bytes(&sizes->kind->past[i], sizes, host, act_bytes, acc_bytes);
    return bytes;
}

uint64_t past_bytes(const struct mixer_sizes *sizes, const struct mixer_host *host, int64_t tokens,
                    size_t act_bytes, size_t acc_bytes) {
    return (uint64_t)rows_of(sizes, tokens) * all_rows_bytes(sizes, host, act_bytes, acc_bytes);
}

uint64_t past_token_bytes(const struct mixer_sizes *sizes, const struct mixer_host *host,
                          size_t act_bytes, size_t acc_bytes) {
    return sizes->kind->past_rows ? all_rows_bytes(sizes, host, act_bytes, acc_bytes) : 0;
}

static size_t array_bytes(int array, const struct backend *backend, const struct mixer_sizes *sizes,
                          const struct mixer_host *host, int slots, int64_t tokens) {
    size_t act = dtype_size(backend->act), acc = dtype_size(backend->acc);
    return (size_t)slots * (size_t)rows_of(sizes, tokens) *
           row_bytes(&sizes->kind->past[array], sizes, host, act, acc);
}

enum status past_alloc(struct layer_past *out, struct backend *backend,
                       const struct mixer_sizes *sizes, const struct mixer_host *host, int slots,
                       int64_t tokens) {
    *out = (struct layer_past){.rows = rows_of(sizes, tokens)};
    for (int i = 0; i < sizes->kind->n_past; i++) {
        size_t bytes = array_bytes(i, backend, sizes, host, slots, tokens);
        /* A convolution of one tap keeps nothing. */
        out->array[i] = backend->alloc(backend, bytes ? bytes : 1, sizes->kind->past[i].name);
        if (out->array[i]) continue;
        past_free(out, backend);
        return STATUS_FAILED;
    }
    return STATUS_OK;
}

/* A block of random elements from the host, repeated on the device by doubling. */
static enum status fill_random(struct backend *backend, void *to, size_t bytes, int layer,
                               const char *name) {
    enum { BLOCK = 1 << 16 };
    size_t size = dtype_size(backend->act), count = bytes / size, done = count;
    float *values = memory_calloc(BLOCK, sizeof *values);
    if (!values) return STATUS_FAILED;
    if (done > BLOCK) done = BLOCK;
    struct random_stream stream = random_stream_for(0, layer, name);
    for (size_t i = 0; i < done; i++) values[i] = (float)random_normal(&stream, i);
    backend->upload(backend, to, backend->act, values, DTYPE_F32, done);
    while (done < count) {
        size_t part = done < count - done ? done : count - done;
        backend->copy(backend, (char *)to + done * size, to, part * size);
        done += part;
    }
    free(values);
    return STATUS_OK;
}

enum status past_fill(struct layer_past *past, struct backend *backend,
                      const struct mixer_sizes *sizes, const struct mixer_host *host, int layer,
                      int slots, int64_t tokens) {
    enum status status = STATUS_OK;
    for (int i = 0; !status && i < sizes->kind->n_past; i++) {
        size_t bytes = array_bytes(i, backend, sizes, host, slots, tokens);
        const char *made_up = sizes->kind->past[i].made_up;
        if (!past->array[i]) continue;
        if (made_up)
            status = fill_random(backend, past->array[i], bytes, layer, made_up);
        else
            backend->zero(backend, past->array[i], bytes);
    }
    return status;
}

void past_free(struct layer_past *past, struct backend *backend) {
    for (int i = 0; i < MIXER_MAX_PAST; i++) backend->free(backend, past->array[i]);
    *past = (struct layer_past){0};
}
