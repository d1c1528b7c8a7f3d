#include "model/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/stream.h" /* circle: fills its layers beside the work */

enum status model_describe(struct model **out, struct backend *backend, const char *directory,
                           const struct checkpoint_options *options) {
    struct model *model = memory_calloc(1, sizeof *model);
    if (!model) return STATUS_FAILED;
    model->backend = backend;
    model->slot.index = -1;
    enum status status = checkpoint_open(&model->checkpoint, directory, options);
    if (status) {
        model_close(model);
        return status;
    }
    model->config = checkpoint_config(model->checkpoint);
    model->host = config_host(model->config);
    *out = model;
    return STATUS_OK;
}

/* Room for a tensor outside the layers in `*to`, and its values. */
static enum status load_tensor(void **to, struct model *model, enum tensor_role role,
                               enum dtype type) {
    struct weight_part part;
    enum status status = tensor_alloc(&part, model, role, type);
    if (status) return status;
    *to = part.to;
    return model->stream ? layer_stream_load(model->stream, &part) : weight_part_load(model, &part);
}

enum status model_load(struct model *model) {
    struct backend *backend = model->backend;
    enum status status = backend->discrete ? model_stream_layers(model) : STATUS_OK;
    if (!status)
        status = load_tensor((void **)&model->embedding, model, TENSOR_EMBEDDING, backend->act);
    if (!status)
        status = load_tensor((void **)&model->final_norm, model, TENSOR_FINAL_NORM, backend->acc);
    if (!status && model->config->tie_word_embeddings)
        model->head = model->embedding;
    else if (!status)
        status = load_tensor((void **)&model->head, model, TENSOR_HEAD, backend->act);
    return status ? status : backend->sync(backend);
}

enum status model_reload_outside(struct model *model) {
    struct backend *backend = model->backend;
    backend->free(backend, model->final_norm);
    model->final_norm = NULL;
    enum status status =
        load_tensor((void **)&model->final_norm, model, TENSOR_FINAL_NORM, backend->acc);
    if (status || model->config->tie_word_embeddings) return status;
    backend->free(backend, model->head);
    model->head = NULL;
    return load_tensor((void **)&model->head, model, TENSOR_HEAD, backend->act);
}

enum status model_open(struct model **out, struct backend *backend, const char *directory,
                       const struct checkpoint_options *options) {
    struct model *model = NULL;
    enum status status = model_describe(&model, backend, directory, options);
    if (!status) status = model_load(model);
    if (status)
        model_close(model);
    else
        *out = model;
    return status;
}

enum status model_stream_layers(struct model *model) {
    return model->stream ? STATUS_OK : layer_stream_open(&model->stream, model);
}

void model_close(struct model *model) {
    if (!model) return;
    struct backend *backend = model->backend;
    layer_stream_close(model->stream);
    if (model->head != model->embedding) backend->free(backend, model->head);
    backend->free(backend, model->embedding);
    backend->free(backend, model->final_norm);
    backend->free(backend, model->rope);
    layer_free(&model->slot, backend);
    for (int i = 0; model->resident && i < model->config->n_layers; i++)
        layer_free(&model->resident[i], backend);
    free(model->resident);
    checkpoint_close(model->checkpoint);
    free(model);
}

/* table [positions, 2, half]: cosines, then sines. */
static void fill_rope(float *table, const struct model_config *config, const double *frequency,
                      double factor, int positions) {
    int half = config->head_dim / 2;
#pragma omp parallel for schedule(static)
    for (int position = 0; position < positions; position++)
        for (int i = 0; i < half; i++) {
            double angle = position * frequency[i];
            float *row = table + (int64_t)position * config->head_dim;
            row[i] = (float)(cos(angle) * factor);
            row[half + i] = (float)(sin(angle) * factor);
        }
}

enum status model_prepare(struct model *model, int positions) {
    const struct model_config *config = model->config;
    struct backend *backend = model->backend;
    if (positions <= model->rope_positions || !config_any_attends(config)) return STATUS_OK;
    size_t count = (size_t)positions * (size_t)config->head_dim;
    float *table = memory_calloc(count, sizeof *table);
    double *frequency = memory_calloc((size_t)config->head_dim, sizeof *frequency);
    void *device = backend->alloc(backend, count * dtype_size(backend->acc), "rope table");
    enum status status = table && frequency && device ? STATUS_OK : STATUS_FAILED;
    if (!status) {
        double factor;
        rope_frequencies(config, frequency, &factor);
        fill_rope(table, config, frequency, factor, positions);
        backend->upload(backend, device, backend->acc, table, DTYPE_F32, count);
        backend->free(backend, model->rope);
        model->rope = device;
        model->rope_positions = positions;
    } else {
        backend->free(backend, device);
    }
    free(table);
    free(frequency);
    return status;
}

/* Whether a slot made for layer a can hold layer b. */
static bool same_sizes(const struct model_config *config, int a, int b) {
    return mixer_same(&config->layers[a].mixer, &config->layers[b].mixer);
}

enum status model_layer(const struct layer **out, struct model *model, int index) {
    if (model->stream) return layer_stream_take(model->stream, out, index);
    struct layer *layer = model->resident ? &model->resident[index] : &model->slot;
    *out = layer;
    if (layer->index == index) return STATUS_OK;
    enum status status = STATUS_OK;
    if (layer->index >= 0 && !same_sizes(model->config, layer->index, index))
        layer_free(layer, model->backend);
    if (layer->index < 0) status = layer_alloc(layer, model, index);
    if (!status) status = layer_load(layer, model, index);
    if (status)
        layer_free(layer, model->backend);
    else
        model->loaded_bytes += layer_bytes(model, index);
    return status;
}

void model_turn(struct model *model, int first, int last) {
    if (model->stream) layer_stream_turn(model->stream, first, last);
}

enum status model_keep_layers(struct model *model) {
    if (model->resident) return STATUS_OK;
    /* What is on its way goes to a place that will be freed. */
    if (model->stream) layer_stream_forget(model->stream);
    size_t count = (size_t)model->config->n_layers;
    model->resident = memory_calloc(count, sizeof *model->resident);
    if (!model->resident) return STATUS_FAILED;
    for (size_t i = 0; i < count; i++) model->resident[i].index = -1;
    layer_free(&model->slot, model->backend);
    return STATUS_OK;
}

void model_forget_layer(struct model *model, int index) {
    if (model->stream && !model->resident) {
        layer_stream_forget(model->stream);
        return;
    }
    struct layer *layer = model->resident ? &model->resident[index] : &model->slot;
    if (layer->index == index) layer_free(layer, model->backend);
}

uint64_t model_outside_bytes(const struct model *model, int positions) {
    const struct model_config *config = model->config;
    size_t act = dtype_size(model->backend->act), acc = dtype_size(model->backend->acc);
    uint64_t width = (uint64_t)config->hidden_size;
    uint64_t table = (uint64_t)config->vocab_size * width * act;
    uint64_t rope = (uint64_t)positions * (uint64_t)config->head_dim * acc;
    if (!config_any_attends(config)) rope = 0;
    return table * (config->tie_word_embeddings ? 1 : 2) + width * acc + rope;
}

uint64_t model_layers_present_bytes(const struct model *model, bool kept) {
    uint64_t largest = 0;
    if (kept) return model_layers_bytes(model);
    for (int i = 0; i < model->config->n_layers; i++)
        if (layer_bytes(model, i) > largest) largest = layer_bytes(model, i);
    bool streamed = model->backend->discrete || model->stream;
    return streamed && model->config->n_layers > 1 ? 2 * largest : largest;
}

enum status model_drop_mixer(struct model *model, int index) {
    const struct layer *layer;
    enum status status = model_keep_layers(model);
    if (!status) status = model_layer(&layer, model, index);
    if (!status) mixer_free(&model->resident[index].mixer, model->backend);
    return status;
}

uint64_t model_layers_bytes(const struct model *model) {
    uint64_t bytes = 0;
    for (int i = 0; i < model->config->n_layers; i++) bytes += layer_bytes(model, i);
    return bytes;
}
