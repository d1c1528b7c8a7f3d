#include "model/past.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/random.h"

#include "model/mixers.h"

static int64_t rows_of(const struct model_config *config, int layer, int64_t tokens) {
    int window = config->layers[layer].sliding_window;
    return window > 0 && window < tokens ? window : tokens;
}

/* Bytes of each array for one slot. */
struct sizes {
    size_t kv, conv, scan;
};

static struct sizes sizes_of(const struct model_config *config, int layer,
                             const struct mixer *mixer, int64_t tokens,
                             const struct backend *backend) {
    size_t act = dtype_size(backend->act), acc = dtype_size(backend->acc);
    if (mixer->kind == MIXER_ATTENTION)
        return (struct sizes){.kv = (size_t)rows_of(config, layer, tokens) *
                                    (size_t)config->n_kv_heads * (size_t)config->head_dim * act};
    const struct mamba_config *mamba = &mixer->mamba;
    return (struct sizes){.conv = (size_t)(mamba->d_conv - 1) * (size_t)mamba->d_xb * act,
                          .scan = (size_t)mamba->d_inner * (size_t)mamba->d_state * acc};
}

uint64_t past_bytes(const struct model_config *config, int layer, const struct mixer *mixer,
                    int64_t tokens, const struct backend *backend) {
    struct sizes sizes = sizes_of(config, layer, mixer, tokens, backend);
    return 2 * sizes.kv + sizes.conv + sizes.scan;
}

enum status past_alloc(struct layer_past *out, const struct model *model, int layer,
                       const struct mixer *mixer, int slots, int64_t tokens) {
    struct backend *backend = model->backend;
    struct sizes sizes = sizes_of(model->config, layer, mixer, tokens, backend);
    size_t count = (size_t)slots;
    bool attention = mixer->kind == MIXER_ATTENTION;
    *out = (struct layer_past){.kv.rows = attention ? rows_of(model->config, layer, tokens) : 0};
    if (attention) {
        out->kv.k = backend->alloc(backend, count * sizes.kv, "the key cache");
        if (out->kv.k) out->kv.v = backend->alloc(backend, count * sizes.kv, "the value cache");
    } else {
        /* One byte more: a convolution of one tap keeps nothing. */
        out->conv = backend->alloc(backend, count * sizes.conv + 1, "convolution states");
        if (out->conv) out->scan = backend->alloc(backend, count * sizes.scan, "scan states");
    }
    if (attention ? out->kv.v != NULL : out->scan != NULL) return STATUS_OK;
    past_free(out, backend);
    return STATUS_FAILED;
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

enum status past_fill(struct layer_past *past, const struct model *model, int layer,
                      const struct mixer *mixer, int slots, int64_t tokens) {
    struct backend *backend = model->backend;
    struct sizes sizes = sizes_of(model->config, layer, mixer, tokens, backend);
    size_t count = (size_t)slots;
    enum status status = STATUS_OK;
    if (past->kv.k) status = fill_random(backend, past->kv.k, count * sizes.kv, layer, "keys");
    if (!status && past->kv.v)
        status = fill_random(backend, past->kv.v, count * sizes.kv, layer, "values");
    if (past->conv) backend->zero(backend, past->conv, count * sizes.conv);
    if (past->scan) backend->zero(backend, past->scan, count * sizes.scan);
    return status;
}

void past_free(struct layer_past *past, struct backend *backend) {
    backend->free(backend, past->kv.k);
    backend->free(backend, past->kv.v);
    backend->free(backend, past->conv);
    backend->free(backend, past->scan);
    *past = (struct layer_past){0};
}
