#include "train/parameters.h"

#include <stdlib.h>

#include "base/memory.h"

enum status parameters_create(struct parameters **out, const struct model *model,
                              const struct parameter_group *groups) {
    size_t layers = (size_t)model->config->n_layers;
    struct parameters *parameters = memory_calloc(1, sizeof *parameters);
    if (!parameters) return STATUS_FAILED;
    parameters->model = model;
    parameters->groups = groups;
    parameters->gradients = memory_calloc(layers, sizeof *parameters->gradients);
    parameters->trains = memory_calloc(layers, sizeof *parameters->trains);
    if (!parameters->gradients || !parameters->trains) {
        parameters_free(parameters);
        return STATUS_FAILED;
    }
    *out = parameters;
    return STATUS_OK;
}

void parameters_free(struct parameters *parameters) {
    if (!parameters) return;
    struct backend *backend = parameters->model->backend;
    if (parameters->arena) backend->free(backend, parameters->arena);
    if (parameters->squares) backend->free(backend, parameters->squares);
    free(parameters->host_squares);
    free(parameters->list);
    free(parameters->gradients);
    free(parameters->trains);
    free(parameters);
}

/* Only matrices decay. */
static bool decays(const struct weight_shape *shape) {
    return shape->act;
}

static enum status add(struct parameters *parameters, int group, int layer, void **slot, void *live,
                       const struct weight_shape *shape) {
    if (parameters->count == parameters->capacity) {
        size_t capacity = 2 * parameters->capacity + 16;
        struct parameter *more = memory_resize(parameters->list, capacity, sizeof *more);
        if (!more) return STATUS_FAILED;
        parameters->list = more;
        parameters->capacity = capacity;
    }
    parameters->list[parameters->count++] = (struct parameter){.group = group,
                                                               .layer = layer,
                                                               .count = shape->count,
                                                               .decays = decays(shape),
                                                               .live = live,
                                                               .slot = slot};
    return STATUS_OK;
}

/* Weights [from, to) of a block with `mixer`, as far as they exist there and train. */
static enum status add_weights(struct parameters *parameters, int group, int index,
                               const struct layer *layer, const struct mixer *mixer,
                               enum weight from, enum weight to) {
    enum status status = STATUS_OK;
    for (enum weight weight = from; !status && weight < to; weight++) {
        struct weight_shape shape = weight_shape(parameters->model->config, &mixer->sizes, weight);
        bool frozen =
            weight >= WEIGHT_FIRST_OF_MIXER && mixer->frozen[weight - WEIGHT_FIRST_OF_MIXER];
        if (shape.count && !frozen)
            status = add(parameters, group, index, &parameters->gradients[index][weight],
                         weight_at(layer, mixer, weight), &shape);
    }
    parameters->trains[index] = true;
    return status;
}

enum status parameters_add_mixer(struct parameters *parameters, int group, int layer,
                                 const struct mixer *mixer) {
    return add_weights(parameters, group, layer, NULL, mixer, WEIGHT_FIRST_OF_MIXER, WEIGHT_COUNT);
}

enum status parameters_add_block(struct parameters *parameters, int group,
                                 const struct layer *layer) {
    return add_weights(parameters, group, layer->index, layer, &layer->mixer, 0,
                       WEIGHT_FIRST_OF_MIXER);
}

enum status parameters_add_norms(struct parameters *parameters, int group,
                                 const struct layer *layer) {
    return add_weights(parameters, group, layer->index, layer, &layer->mixer, 0, WEIGHT_GATE_UP);
}

enum status parameters_add_mlp(struct parameters *parameters, int group,
                               const struct layer *layer) {
    return add_weights(parameters, group, layer->index, layer, &layer->mixer, WEIGHT_GATE_UP,
                       WEIGHT_FIRST_OF_MIXER);
}

enum status parameters_add_final_norm(struct parameters *parameters, int group) {
    const struct model *model = parameters->model;
    int64_t width = model->config->hidden_size;
    struct weight_shape shape = {1, width, false, width};
    return add(parameters, group, model->config->n_layers, (void **)&parameters->norm_gradient,
               model->final_norm, &shape);
}

/* Of the embedding and of the head. */
static struct weight_shape table_shape(const struct model_config *config) {
    int64_t width = config->hidden_size, vocabulary = config->vocab_size;
    return (struct weight_shape){vocabulary, width, true, vocabulary * width};
}

enum status parameters_add_head(struct parameters *parameters, int group) {
    const struct model *model = parameters->model;
    struct weight_shape shape = table_shape(model->config);
    return add(parameters, group, model->config->n_layers, (void **)&parameters->head_gradient,
               model->head, &shape);
}

enum status parameters_add_embedding(struct parameters *parameters, int group) {
    const struct model *model = parameters->model;
    struct weight_shape shape = table_shape(model->config);
    return add(parameters, group, -1, (void **)&parameters->embedding_gradient, model->embedding,
               &shape);
}

/* Whether the passes read another type than the optimizer writes. */
static bool is_copied(const struct parameters *parameters, const struct parameter *parameter) {
    const struct backend *backend = parameters->model->backend;
    return parameter->decays && backend->act != backend->acc;
}

/* Values of a parameter's stretch of a section. */
static size_t stretch_of(const struct parameters *parameters, const struct parameter *parameter) {
    size_t unit = PARAMETER_ALIGNMENT / dtype_size(parameters->model->backend->acc);
    return ((size_t)parameter->count + unit - 1) / unit * unit;
}

uint64_t parameters_bytes(const struct parameters *parameters) {
    uint64_t values = 0;
    for (size_t i = 0; i < parameters->count; i++) {
        const struct parameter *parameter = &parameters->list[i];
        values += stretch_of(parameters, parameter) * (is_copied(parameters, parameter) ? 4 : 3);
    }
    return values * dtype_size(parameters->model->backend->acc);
}

/* Places in the sections, those of the last layer first; `*masters`: values in the fourth. */
static void lay_out(struct parameters *parameters, size_t *masters) {
    *masters = parameters->section = 0;
    for (int layer = parameters->model->config->n_layers; layer >= -1; layer--)
        for (size_t i = 0; i < parameters->count; i++) {
            struct parameter *parameter = &parameters->list[i];
            if (parameter->layer != layer) continue;
            size_t stretch = stretch_of(parameters, parameter);
            parameter->at = parameters->section;
            parameter->master_at = *masters;
            parameters->section += stretch;
            if (is_copied(parameters, parameter)) *masters += stretch;
        }
}

/* Where a parameter's values are in a section of the arena. */
static void *place_in(const struct parameters *parameters, int section, size_t at) {
    size_t values = (size_t)section * parameters->section + at;
    return parameters->arena + values * dtype_size(parameters->model->backend->acc);
}

/* Where the backward pass finds the gradients; none of what is frozen. */
static void hang_gradients(struct parameters *parameters) {
    for (size_t i = 0; i < parameters->count; i++) {
        struct parameter *parameter = &parameters->list[i];
        bool frozen = parameters->groups[parameter->group].frozen;
        *parameter->slot = frozen ? NULL : parameter->gradient;
    }
    if (parameters->model->config->tie_word_embeddings)
        parameters->head_gradient = parameters->embedding_gradient;
}

void parameters_set_groups(struct parameters *parameters, const struct parameter_group *groups) {
    struct backend *backend = parameters->model->backend;
    size_t section = parameters->section * dtype_size(backend->acc);
    parameters->groups = groups;
    hang_gradients(parameters);
    backend->zero(backend, parameters->arena + section, 2 * section);
}

enum status parameters_allocate(struct parameters *parameters) {
    struct backend *backend = parameters->model->backend;
    size_t size = dtype_size(backend->acc), masters;
    lay_out(parameters, &masters);
    parameters->arena =
        backend->alloc(backend, (3 * parameters->section + masters + 1) * size, "optimizer state");
    /* One more: a probe of what is copied trains nothing. */
    parameters->squares = backend->alloc(
        backend, (parameters->count + 1) * sizeof *parameters->squares, "sums of squares");
    parameters->host_squares =
        memory_calloc(parameters->count + 1, sizeof *parameters->host_squares);
    if (!parameters->arena || !parameters->squares || !parameters->host_squares)
        return STATUS_FAILED;
    backend->zero(backend, parameters->arena, 3 * parameters->section * size);
    for (size_t i = 0; i < parameters->count; i++) {
        struct parameter *parameter = &parameters->list[i];
        parameter->gradient = place_in(parameters, 0, parameter->at);
        parameter->moment1 = place_in(parameters, 1, parameter->at);
        parameter->moment2 = place_in(parameters, 2, parameter->at);
        parameter->master = is_copied(parameters, parameter)
                                ? place_in(parameters, 3, parameter->master_at)
                                : parameter->live;
    }
    hang_gradients(parameters);
    return parameters_read_live(parameters);
}

int64_t parameters_count(const struct parameters *parameters) {
    int64_t count = 0;
    for (size_t i = 0; i < parameters->count; i++) count += parameters->list[i].count;
    return count;
}

enum status parameters_read_live(struct parameters *parameters) {
    struct backend *backend = parameters->model->backend;
    for (size_t i = 0; i < parameters->count; i++) {
        const struct parameter *parameter = &parameters->list[i];
        size_t count = (size_t)parameter->count;
        if (!is_copied(parameters, parameter)) continue;
        float *host = memory_calloc(count, sizeof *host);
        if (!host) return STATUS_FAILED;
        backend->download(backend, host, DTYPE_F32, parameter->live, backend->act, count);
        backend->upload(backend, parameter->master, backend->acc, host, DTYPE_F32, count);
        free(host);
    }
    return STATUS_OK;
}

void parameters_write_live(const struct parameters *parameters) {
    struct backend *backend = parameters->model->backend;
    for (size_t i = 0; i < parameters->count; i++) {
        const struct parameter *parameter = &parameters->list[i];
        if (is_copied(parameters, parameter))
            backend->cast(backend, parameter->live, parameter->master, (size_t)parameter->count);
    }
}

void *const *parameters_gradients(const struct parameters *parameters, int layer) {
    return parameters->trains[layer] ? parameters->gradients[layer] : NULL;
}

void parameters_zero_gradients(struct parameters *parameters) {
    struct backend *backend = parameters->model->backend;
    backend->zero(backend, parameters->arena, parameters->section * dtype_size(backend->acc));
}
