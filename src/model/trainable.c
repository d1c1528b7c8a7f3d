#include "model/trainable.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"

struct parameter {
    enum weight weight;
    int64_t count;
    void *live;     /* what the passes read */
    void *master;   /* acc: the live weight itself when it has that type */
    void *gradient; /* acc [count]; so are the moments */
    void *moment1, *moment2;
    bool decays;
};

struct trainable {
    const struct model *model;
    struct parameter parameters[WEIGHT_COUNT];
    int count;
    void *gradients[WEIGHT_COUNT];
};

/* Only matrices decay: no norm, no bias, none of the scan's own vectors. */
static bool decays(enum weight weight, const struct weight_shape *shape) {
    (void)weight;
    return shape->act;
}

static bool trains(enum weight weight, enum train_scope scope) {
    return weight >= WEIGHT_FIRST_OF_MIXER || scope == TRAIN_LAYER;
}

static void *zeroed(struct backend *backend, size_t bytes) {
    void *memory = backend->alloc(backend, bytes, "optimizer state");
    if (memory) backend->zero(backend, memory, bytes);
    return memory;
}

static enum status add(struct trainable *trainable, enum weight weight, void *live,
                       const struct weight_shape *shape) {
    struct backend *backend = trainable->model->backend;
    struct parameter *parameter = &trainable->parameters[trainable->count++];
    size_t bytes = (size_t)shape->count * dtype_size(backend->acc);
    *parameter = (struct parameter){
        .weight = weight, .count = shape->count, .live = live, .decays = decays(weight, shape)};
    parameter->gradient = zeroed(backend, bytes);
    parameter->moment1 = zeroed(backend, bytes);
    parameter->moment2 = zeroed(backend, bytes);
    if (!parameter->gradient || !parameter->moment1 || !parameter->moment2) return STATUS_FAILED;
    trainable->gradients[weight] = parameter->gradient;
    if (!shape->act || backend->act == backend->acc) {
        parameter->master = live;
        return STATUS_OK;
    }
    parameter->master = backend->alloc(backend, bytes, "master weights");
    float *host = memory_calloc((size_t)shape->count, sizeof *host);
    if (!parameter->master || !host) {
        free(host);
        return STATUS_FAILED;
    }
    backend->download(backend, host, DTYPE_F32, live, backend->act, (size_t)shape->count);
    backend->upload(backend, parameter->master, backend->acc, host, DTYPE_F32,
                    (size_t)shape->count);
    free(host);
    return STATUS_OK;
}

enum status trainable_create(struct trainable **out, const struct model *model, struct layer *layer,
                             struct mixer *mixer, enum train_scope scope) {
    struct trainable *trainable = memory_calloc(1, sizeof *trainable);
    if (!trainable) return STATUS_FAILED;
    trainable->model = model;
    enum status status = STATUS_OK;
    for (enum weight weight = 0; !status && weight < WEIGHT_COUNT; weight++) {
        struct weight_shape shape = weight_shape(model->config, mixer, weight);
        void *live =
            weight < WEIGHT_FIRST_OF_MIXER ? layer->weights[weight] : mixer->weights[weight];
        if (live && trains(weight, scope)) status = add(trainable, weight, live, &shape);
    }
    if (status)
        trainable_free(trainable);
    else
        *out = trainable;
    return status;
}

void trainable_free(struct trainable *trainable) {
    if (!trainable) return;
    struct backend *backend = trainable->model->backend;
    for (int i = 0; i < trainable->count; i++) {
        struct parameter *parameter = &trainable->parameters[i];
        if (parameter->master != parameter->live) backend->free(backend, parameter->master);
        backend->free(backend, parameter->gradient);
        backend->free(backend, parameter->moment1);
        backend->free(backend, parameter->moment2);
    }
    free(trainable);
}

void *const *trainable_gradients(const struct trainable *trainable) {
    return trainable->gradients;
}

void trainable_zero_gradients(struct trainable *trainable) {
    struct backend *backend = trainable->model->backend;
    for (int i = 0; i < trainable->count; i++)
        backend->zero(backend, trainable->parameters[i].gradient,
                      (size_t)trainable->parameters[i].count * dtype_size(backend->acc));
}

void trainable_step(struct trainable *trainable, struct adamw_settings *settings, double clip,
                    double *norm) {
    struct backend *backend = trainable->model->backend;
    settings->grad_scale = 1;
    if (clip > 0 || norm) {
        double squares = 0;
        for (int i = 0; i < trainable->count; i++) {
            double part = 0;
            backend->sum_squares(backend, &part, trainable->parameters[i].gradient,
                                 trainable->parameters[i].count);
            squares += part;
        }
        double length = sqrt(squares);
        if (norm) *norm = length;
        if (clip > 0 && length > clip) settings->grad_scale = clip / length;
    }
    double decay = settings->weight_decay;
    for (int i = 0; i < trainable->count; i++) {
        struct parameter *parameter = &trainable->parameters[i];
        settings->weight_decay = parameter->decays ? decay : 0;
        backend->adamw(backend, parameter->master,
                       parameter->master == parameter->live ? NULL : parameter->live,
                       parameter->moment1, parameter->moment2, parameter->gradient, settings,
                       parameter->count);
    }
    settings->weight_decay = decay;
}

/* The arrays of a parameter that its state consists of. */
enum { STATE_ARRAYS = 3 };

static void *state_array(const struct parameter *parameter, int index) {
    return index == 0 ? parameter->master : index == 1 ? parameter->moment1 : parameter->moment2;
}

size_t trainable_state_bytes(const struct trainable *trainable) {
    size_t elements = 0;
    for (int i = 0; i < trainable->count; i++) elements += (size_t)trainable->parameters[i].count;
    return elements * STATE_ARRAYS * dtype_size(trainable->model->backend->acc);
}

void trainable_save(const struct trainable *trainable, void *host) {
    struct backend *backend = trainable->model->backend;
    char *to = host;
    for (int i = 0; i < trainable->count; i++)
        for (int array = 0; array < STATE_ARRAYS; array++) {
            const struct parameter *parameter = &trainable->parameters[i];
            size_t bytes = (size_t)parameter->count * dtype_size(backend->acc);
            backend->download_bytes(backend, to, state_array(parameter, array), bytes);
            to += bytes;
        }
}

enum status trainable_restore(struct trainable *trainable, const void *host, size_t bytes) {
    struct backend *backend = trainable->model->backend;
    if (bytes != trainable_state_bytes(trainable))
        return status_fail("a saved training state has %zu bytes, expected %zu", bytes,
                           trainable_state_bytes(trainable));
    const char *from = host;
    for (int i = 0; i < trainable->count; i++) {
        const struct parameter *parameter = &trainable->parameters[i];
        size_t size = (size_t)parameter->count * dtype_size(backend->acc);
        for (int array = 0; array < STATE_ARRAYS; array++, from += size)
            backend->upload_bytes(backend, state_array(parameter, array), from, size);
        if (parameter->master != parameter->live)
            backend->cast(backend, parameter->live, parameter->master, (size_t)parameter->count);
    }
    return STATUS_OK;
}

uint64_t trainable_bytes(const struct model *model, const struct mixer *mixer,
                         enum train_scope scope) {
    const struct backend *backend = model->backend;
    uint64_t bytes = 0;
    for (enum weight weight = 0; weight < WEIGHT_COUNT; weight++) {
        struct weight_shape shape = weight_shape(model->config, mixer, weight);
        bool copied = shape.act && backend->act != backend->acc;
        if (shape.count && trains(weight, scope))
            bytes += (uint64_t)shape.count * dtype_size(backend->acc) * (copied ? 4 : 3);
    }
    return bytes;
}
