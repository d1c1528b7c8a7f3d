/* What holds for every kind: loops over the rows of its table. */
#include "mixers/mixer.h"

#include <stdlib.h>

#include "mixers/sizes.h"

int mixer_kind_index(const struct mixer_kind *kind) {
    int index = 0;
    while (mixer_kinds[index] != kind) index++;
    return index;
}

bool mixer_is_attention(const struct mixer_sizes *sizes) {
    return sizes->kind == mixer_kinds[0];
}

bool mixer_same(const struct mixer_sizes *a, const struct mixer_sizes *b) {
    if (a->kind != b->kind) return false;
    for (int i = 0; a->kind && i < a->kind->n_sizes; i++)
        if (a->value[i] != b->value[i]) return false;
    return true;
}

/* ---- shapes */

struct tensor_shape mixer_tensor_shape(const struct mixer_sizes *sizes,
                                       const struct mixer_host *host, int tensor) {
    return sizes->kind->shape(tensor, sizes, host);
}

int64_t tensor_shape_count(const struct tensor_shape *shape) {
    int64_t count = 1;
    for (int i = 0; i < MIXER_MAX_RANK && shape->dims[i]; i++) count *= shape->dims[i];
    return count;
}

struct weight_shape mixer_weight_shape(const struct mixer_sizes *sizes,
                                       const struct mixer_host *host, int weight) {
    const struct mixer_kind *kind = sizes->kind;
    struct weight_shape shape = {.rows = 0};
    if (weight >= kind->n_weights) return shape;
    bool present = kind->weights[weight].always;
    for (int t = 0; t < kind->n_tensors; t++) {
        if (kind->tensors[t].weight != weight) continue;
        struct tensor_shape part = kind->shape(t, sizes, host);
        bool vector = !part.dims[1];
        shape.columns = vector ? shape.columns + part.dims[0]
                               : part.dims[1] * (part.dims[2] ? part.dims[2] : 1);
        shape.rows = vector ? 1 : shape.rows + part.dims[0];
        present = present || part.present;
    }
    if (!present) return (struct weight_shape){0};
    shape.act = kind->weights[weight].act;
    shape.count = shape.rows * shape.columns;
    return shape;
}

/* ---- weights */

static size_t weight_bytes(const struct weight_shape *shape, const struct backend *backend) {
    return (size_t)shape->count * dtype_size(shape->act ? backend->act : backend->acc);
}

enum status mixer_alloc(struct mixer *mixer, struct backend *backend,
                        const struct mixer_host *host) {
    const struct mixer_kind *kind = mixer->sizes.kind;
    for (int w = 0; w < MIXER_MAX_WEIGHTS; w++) mixer->weights[w] = NULL;
    for (int w = 0; w < kind->n_weights; w++) {
        struct weight_shape shape = mixer_weight_shape(&mixer->sizes, host, w);
        if (!shape.count) continue;
        size_t bytes = weight_bytes(&shape, backend);
        mixer->weights[w] = backend->alloc(backend, bytes, kind->weights[w].name);
        if (mixer->weights[w]) continue;
        mixer_free(mixer, backend);
        return STATUS_FAILED;
    }
    return STATUS_OK;
}

void mixer_free(struct mixer *mixer, struct backend *backend) {
    for (int w = 0; w < MIXER_MAX_WEIGHTS; w++) backend->free(backend, mixer->weights[w]);
    *mixer = (struct mixer){0};
}

void mixer_set(struct mixer *mixer, struct backend *backend, const struct mixer_host *host,
               int weight, const float *values) {
    struct weight_shape shape = mixer_weight_shape(&mixer->sizes, host, weight);
    backend->upload(backend, mixer->weights[weight], shape.act ? backend->act : backend->acc,
                    values, DTYPE_F32, (size_t)shape.count);
}

enum status mixer_copy(struct mixer *out, struct backend *backend, const struct mixer_host *host,
                       const struct mixer *from) {
    *out = (struct mixer){.sizes = from->sizes};
    enum status status = mixer_alloc(out, backend, host);
    for (int w = 0; !status && w < out->sizes.kind->n_weights; w++) {
        struct weight_shape shape = mixer_weight_shape(&out->sizes, host, w);
        if (shape.count)
            backend->copy(backend, out->weights[w], from->weights[w],
                          weight_bytes(&shape, backend));
        out->frozen[w] = from->frozen[w];
    }
    return status;
}

uint64_t mixer_bytes(const struct mixer_sizes *sizes, const struct backend *backend,
                     const struct mixer_host *host) {
    uint64_t bytes = 0;
    for (int w = 0; w < sizes->kind->n_weights; w++) {
        struct weight_shape shape = mixer_weight_shape(sizes, host, w);
        bytes += weight_bytes(&shape, backend);
    }
    return bytes;
}
