#include "model/trainable.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"

struct parameter {
    int64_t count;
    void *live;     /* what the passes read */
    void *master;   /* acc: the live weight itself when it has that type */
    void *gradient; /* acc [count]; so are the moments */
    void *moment1, *moment2;
    bool decays;
};

struct trainable {
    const struct model *model;
    struct parameter *parameters; /* [count], room for `capacity` */
    size_t count, capacity;
    void *(*gradients)[WEIGHT_COUNT]; /* [L] */
    void *const **of_layer;           /* [L]: into gradients, or NULL for a frozen layer */
    void *head_gradient, *norm_gradient;
    double *squares, *host_squares; /* [count]: of each gradient, on the device and fetched */
};

/* Only matrices decay. */
static bool decays(const struct weight_shape *shape) {
    return shape->act;
}

/* The shapes of what stands behind the last layer. */
static struct weight_shape norm_shape(const struct model_config *config) {
    return (struct weight_shape){1, config->hidden_size, false, config->hidden_size};
}

static struct weight_shape head_shape(const struct model_config *config) {
    int64_t rows = config->tie_word_embeddings ? 0 : config->vocab_size;
    return (struct weight_shape){rows, config->hidden_size, true, rows * config->hidden_size};
}

static void *zeroed(struct backend *backend, size_t bytes) {
    void *memory = backend->alloc(backend, bytes, "optimizer state");
    if (memory) backend->zero(backend, memory, bytes);
    return memory;
}

/* The live weight's values become the master's. */
static enum status read_live(const struct parameter *parameter, struct backend *backend) {
    if (parameter->master == parameter->live) return STATUS_OK;
    size_t count = (size_t)parameter->count;
    float *host = memory_calloc(count, sizeof *host);
    if (!host) return STATUS_FAILED;
    backend->download(backend, host, DTYPE_F32, parameter->live, backend->act, count);
    backend->upload(backend, parameter->master, backend->acc, host, DTYPE_F32, count);
    free(host);
    return STATUS_OK;
}

/* A parameter of this shape; its gradient's address goes to `*gradient`. */
static enum status add(struct trainable *trainable, void **gradient, void *live,
                       const struct weight_shape *shape) {
    struct backend *backend = trainable->model->backend;
    if (trainable->count == trainable->capacity) {
        size_t capacity = 2 * trainable->capacity + 16;
        struct parameter *more = memory_resize(trainable->parameters, capacity, sizeof *more);
        if (!more) return STATUS_FAILED;
        trainable->parameters = more;
        trainable->capacity = capacity;
    }
    struct parameter *parameter = &trainable->parameters[trainable->count++];
    size_t bytes = (size_t)shape->count * dtype_size(backend->acc);
    *parameter = (struct parameter){.count = shape->count, .live = live, .decays = decays(shape)};
    parameter->gradient = zeroed(backend, bytes);
    parameter->moment1 = zeroed(backend, bytes);
    parameter->moment2 = zeroed(backend, bytes);
    if (!parameter->gradient || !parameter->moment1 || !parameter->moment2) return STATUS_FAILED;
    *gradient = parameter->gradient;
    if (!shape->act || backend->act == backend->acc) {
        parameter->master = live;
        return STATUS_OK;
    }
    parameter->master = backend->alloc(backend, bytes, "master weights");
    return parameter->master ? read_live(parameter, backend) : STATUS_FAILED;
}

/* A block's mixer and, when `whole`, its MLP and norms. */
static enum status add_block(struct trainable *trainable, int index, struct layer *layer,
                             struct mixer *mixer, bool whole) {
    enum status status = STATUS_OK;
    for (enum weight weight = whole ? 0 : WEIGHT_FIRST_OF_MIXER; !status && weight < WEIGHT_COUNT;
         weight++) {
        struct weight_shape shape = weight_shape(trainable->model->config, mixer, weight);
        void *live =
            weight < WEIGHT_FIRST_OF_MIXER ? layer->weights[weight] : mixer->weights[weight];
        if (live) status = add(trainable, &trainable->gradients[index][weight], live, &shape);
    }
    trainable->of_layer[index] = trainable->gradients[index];
    return status;
}

static enum status add_outside(struct trainable *trainable, struct model *model) {
    struct weight_shape norm = norm_shape(model->config), head = head_shape(model->config);
    enum status status = add(trainable, &trainable->norm_gradient, model->final_norm, &norm);
    if (!status && head.count)
        status = add(trainable, &trainable->head_gradient, model->head, &head);
    return status;
}

static enum status alloc_squares(struct trainable *trainable) {
    struct backend *backend = trainable->model->backend;
    size_t bytes = trainable->count * sizeof *trainable->squares;
    trainable->squares = backend->alloc(backend, bytes, "sums of squares");
    trainable->host_squares = memory_calloc(trainable->count, sizeof *trainable->host_squares);
    return trainable->squares && trainable->host_squares ? STATUS_OK : STATUS_FAILED;
}

enum status trainable_create(struct trainable **out, struct model *model, int layer,
                             struct mixer *mixer, enum train_scope scope) {
    struct trainable *trainable = memory_calloc(1, sizeof *trainable);
    if (!trainable) return STATUS_FAILED;
    size_t layers = (size_t)model->config->n_layers;
    trainable->model = model;
    trainable->gradients = memory_calloc(layers, sizeof *trainable->gradients);
    trainable->of_layer = memory_calloc(layers, sizeof *trainable->of_layer);
    enum status status = trainable->gradients && trainable->of_layer ? STATUS_OK : STATUS_FAILED;
    int end = scope == TRAIN_ALL ? model->config->n_layers : layer + 1;
    for (int l = layer; !status && l < end; l++) {
        const struct layer *kept = NULL;
        if (scope != TRAIN_MIXER) status = model_layer(&kept, model, l);
        if (status) break;
        struct layer *own = (struct layer *)(uintptr_t)kept;
        status =
            add_block(trainable, l, own, l == layer ? mixer : &own->mixer, scope != TRAIN_MIXER);
    }
    if (!status && scope == TRAIN_ALL) status = add_outside(trainable, model);
    if (!status) status = alloc_squares(trainable);
    if (status)
        trainable_free(trainable);
    else
        *out = trainable;
    return status;
}

void trainable_free(struct trainable *trainable) {
    if (!trainable) return;
    struct backend *backend = trainable->model->backend;
    for (size_t i = 0; i < trainable->count; i++) {
        struct parameter *parameter = &trainable->parameters[i];
        if (parameter->master != parameter->live) backend->free(backend, parameter->master);
        backend->free(backend, parameter->gradient);
        backend->free(backend, parameter->moment1);
        backend->free(backend, parameter->moment2);
    }
    backend->free(backend, trainable->squares);
    free(trainable->host_squares);
    free(trainable->parameters);
    free(trainable->gradients);
    free(trainable->of_layer);
    free(trainable);
}

void *const *const *trainable_gradients(const struct trainable *trainable) {
    return trainable->of_layer;
}

void *trainable_head_gradient(const struct trainable *trainable) {
    return trainable->head_gradient;
}

void *trainable_norm_gradient(const struct trainable *trainable) {
    return trainable->norm_gradient;
}

int64_t trainable_count(const struct trainable *trainable) {
    int64_t count = 0;
    for (size_t i = 0; i < trainable->count; i++) count += trainable->parameters[i].count;
    return count;
}

enum status trainable_read_live(struct trainable *trainable) {
    enum status status = STATUS_OK;
    for (size_t i = 0; !status && i < trainable->count; i++)
        status = read_live(&trainable->parameters[i], trainable->model->backend);
    return status;
}

void trainable_zero_gradients(struct trainable *trainable) {
    struct backend *backend = trainable->model->backend;
    for (size_t i = 0; i < trainable->count; i++)
        backend->zero(backend, trainable->parameters[i].gradient,
                      (size_t)trainable->parameters[i].count * dtype_size(backend->acc));
}

/* Of all gradients together; NaN after a fault of the device. */
static double gradient_length(struct trainable *trainable) {
    struct backend *backend = trainable->model->backend;
    double sum = 0;
    for (size_t i = 0; i < trainable->count; i++) {
        trainable->host_squares[i] = NAN;
        backend->sum_squares(backend, trainable->squares + i, trainable->parameters[i].gradient,
                             trainable->parameters[i].count);
    }
    backend->download_bytes(backend, trainable->host_squares, trainable->squares,
                            trainable->count * sizeof *trainable->squares);
    for (size_t i = 0; i < trainable->count; i++) sum += trainable->host_squares[i];
    return sqrt(sum);
}

void trainable_step(struct trainable *trainable, struct adamw_settings *settings, double clip,
                    double *norm) {
    struct backend *backend = trainable->model->backend;
    settings->grad_scale = 1;
    if (clip > 0 || norm) {
        double length = gradient_length(trainable);
        if (norm) *norm = length;
        if (clip > 0 && length > clip) settings->grad_scale = clip / length;
    }
    double decay = settings->weight_decay;
    for (size_t i = 0; i < trainable->count; i++) {
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
    for (size_t i = 0; i < trainable->count; i++)
        elements += (size_t)trainable->parameters[i].count;
    return elements * STATE_ARRAYS * dtype_size(trainable->model->backend->acc);
}

/* Bytes [from, from + bytes) of the state go to the host, or come from it. */
static void transfer(const struct trainable *trainable, char *host, size_t from, size_t bytes,
                     bool up) {
    struct backend *backend = trainable->model->backend;
    size_t start = 0, end = from + bytes;
    for (size_t i = 0; i < trainable->count; i++)
        for (int array = 0; array < STATE_ARRAYS; array++) {
            const struct parameter *parameter = &trainable->parameters[i];
            size_t stop = start + (size_t)parameter->count * dtype_size(backend->acc);
            size_t low = from > start ? from : start, high = end < stop ? end : stop;
            char *device = (char *)state_array(parameter, array) + (low - start);
            if (low < high && up)
                backend->upload_bytes(backend, device, host + (low - from), high - low);
            else if (low < high)
                backend->download_bytes(backend, host + (low - from), device, high - low);
            start = stop;
        }
}

void trainable_save(const struct trainable *trainable, void *host, size_t from, size_t bytes) {
    transfer(trainable, host, from, bytes, false);
}

void trainable_restore(struct trainable *trainable, const void *host, size_t from, size_t bytes) {
    struct backend *backend = trainable->model->backend;
    transfer(trainable, (char *)(uintptr_t)host, from, bytes, true);
    if (from + bytes < trainable_state_bytes(trainable)) return;
    for (size_t i = 0; i < trainable->count; i++) {
        const struct parameter *parameter = &trainable->parameters[i];
        if (parameter->master != parameter->live)
            backend->cast(backend, parameter->live, parameter->master, (size_t)parameter->count);
    }
}

static uint64_t bytes_of(const struct backend *backend, const struct weight_shape *shape) {
    bool copied = shape->act && backend->act != backend->acc;
    return (uint64_t)shape->count * dtype_size(backend->acc) * (copied ? 4 : 3);
}

uint64_t trainable_bytes(const struct model *model, int layer, const struct mixer *mixer,
                         enum train_scope scope) {
    const struct model_config *config = model->config;
    uint64_t bytes = 0;
    int end = scope == TRAIN_ALL ? config->n_layers : layer + 1;
    for (int l = layer; l < end; l++) {
        const struct mixer own = {.kind = config->layers[l].mixer,
                                  .mamba = config->layers[l].mamba};
        enum weight first = scope == TRAIN_MIXER ? WEIGHT_FIRST_OF_MIXER : 0;
        for (enum weight weight = first; weight < WEIGHT_COUNT; weight++) {
            struct weight_shape shape = weight_shape(config, l == layer ? mixer : &own, weight);
            bytes += bytes_of(model->backend, &shape);
        }
    }
    if (scope != TRAIN_ALL) return bytes;
    struct weight_shape norm = norm_shape(config), head = head_shape(config);
    return bytes + bytes_of(model->backend, &norm) + bytes_of(model->backend, &head);
}
