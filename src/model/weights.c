/* Which weights exist, their shapes, and how a layer's tensors become weights on the backend. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/loading.h"

/* A weight of a block is one tensor, or several stacked row on row. */
static const struct {
    const char *name;
    enum tensor_role roles[2];
    int parts;
} table[WEIGHT_FIRST_OF_MIXER] = {
    [WEIGHT_INPUT_NORM] = {"input_layernorm.weight", {TENSOR_INPUT_NORM}, 1},
    [WEIGHT_POST_NORM] = {"post_attention_layernorm.weight", {TENSOR_POST_NORM}, 1},
    [WEIGHT_GATE_UP] = {"gate_up_proj.weight", {TENSOR_GATE, TENSOR_UP}, 2},
    [WEIGHT_GATE_UP_BIAS] = {"gate_up_proj.bias", {TENSOR_GATE_BIAS, TENSOR_UP_BIAS}, 2},
    [WEIGHT_DOWN] = {"down_proj.weight", {TENSOR_DOWN}, 1},
    [WEIGHT_DOWN_BIAS] = {"down_proj.bias", {TENSOR_DOWN_BIAS}, 1},
};

struct weight_shape weight_shape(const struct model_config *config, const struct mixer_sizes *mixer,
                                 enum weight weight) {
    int64_t width = config->hidden_size, inner = config->intermediate_size;
    struct weight_shape shape = {0};
    if (weight >= WEIGHT_FIRST_OF_MIXER) {
        const struct mixer_host host = config_host(config);
        return mixer_weight_shape(mixer, &host, (int)weight - WEIGHT_FIRST_OF_MIXER);
    }
    switch (weight) {
    case WEIGHT_INPUT_NORM:
    case WEIGHT_POST_NORM:
        shape = (struct weight_shape){1, width, false, 0};
        break;
    case WEIGHT_GATE_UP:
        shape = (struct weight_shape){2 * inner, width, true, 0};
        break;
    case WEIGHT_GATE_UP_BIAS:
        shape = (struct weight_shape){config->mlp_bias, 2 * inner, false, 0};
        break;
    case WEIGHT_DOWN:
        shape = (struct weight_shape){width, inner, true, 0};
        break;
    case WEIGHT_DOWN_BIAS:
        shape = (struct weight_shape){config->mlp_bias, width, false, 0};
        break;
    default:
        break;
    }
    shape.count = shape.rows * shape.columns;
    return shape;
}

const char *weight_name(const struct mixer_sizes *mixer, enum weight weight) {
    if (weight < WEIGHT_FIRST_OF_MIXER) return table[weight].name;
    return mixer->kind->weights[weight - WEIGHT_FIRST_OF_MIXER].name;
}

void *weight_at(const struct layer *layer, const struct mixer *mixer, enum weight weight) {
    if (weight < WEIGHT_FIRST_OF_MIXER) return layer->weights[weight];
    return mixer->weights[weight - WEIGHT_FIRST_OF_MIXER];
}

static enum dtype type_on(const struct backend *backend, const struct weight_shape *shape) {
    return shape->act ? backend->act : backend->acc;
}

enum dtype weight_part_type(const struct weight_part *part) {
    return part->tensor && part->factor == 1 ? part->tensor->dtype : DTYPE_F32;
}

enum status weight_part_read(void *out, const struct model *model, const struct weight_part *part,
                             int64_t first, int64_t count) {
    if (!part->tensor) {
        memset(out, 0, (size_t)count * sizeof(float));
        return STATUS_OK;
    }
    if (part->factor == 1)
        return checkpoint_read_raw(model->checkpoint, part->tensor, first, count, out);
    float *values = out;
    enum status status = checkpoint_read_f32(model->checkpoint, part->tensor, first, count, values);
    for (int64_t i = 0; !status && i < count; i++) values[i] *= (float)part->factor;
    return status;
}

enum { BLOCK = 1 << 22 }; /* elements read at a time */

enum status weight_part_load(const struct model *model, const struct weight_part *part) {
    struct backend *backend = model->backend;
    size_t size = dtype_size(part->to_type);
    if (!part->tensor) {
        backend->zero(backend, part->to, (size_t)part->count * size);
        return STATUS_OK;
    }
    int64_t block = part->count < BLOCK ? part->count : BLOCK;
    void *staging = memory_aligned((size_t)block * PART_ELEMENT_BYTES);
    if (!staging) return STATUS_FAILED;
    enum status status = STATUS_OK;
    for (int64_t first = 0; !status && first < part->count; first += block) {
        int64_t count = part->count - first < block ? part->count - first : block;
        status = weight_part_read(staging, model, part, first, count);
        if (!status)
            backend->upload(backend, (char *)part->to + (size_t)first * size, part->to_type,
                            staging, weight_part_type(part), (size_t)count);
    }
    free(staging);
    if (!status) checkpoint_drop(model->checkpoint, part->tensor);
    return status;
}

/* Tensors of one weight of the block stand row on row, equally many. */
static int block_parts(struct weight_part *parts, const struct layer *layer,
                       const struct model *model, int index) {
    int count = 0;
    for (enum weight weight = 0; weight < WEIGHT_FIRST_OF_MIXER; weight++) {
        char *to = layer->weights[weight];
        struct weight_shape shape = weight_shape(model->config, &layer->mixer.sizes, weight);
        enum dtype type = type_on(model->backend, &shape);
        for (int i = 0; to && i < table[weight].parts; i++) {
            struct weight_part *part = &parts[count++];
            *part = (struct weight_part){
                .tensor = checkpoint_find(model->checkpoint, index, table[weight].roles[i]),
                .to = to,
                .to_type = type,
                .count = shape.count / table[weight].parts,
                .factor = 1};
            to += (size_t)part->count * dtype_size(type);
        }
    }
    return count;
}

/* Those of one weight of the mixer likewise; what checkpoints do not have is zeros. */
static int mixer_parts(struct weight_part *parts, const struct layer *layer,
                       const struct model *model, int index) {
    const struct mixer_sizes *sizes = &layer->mixer.sizes;
    const struct mixer_kind *kind = sizes->kind;
    int count = 0;
    for (int weight = 0; weight < kind->n_weights; weight++) {
        char *to = layer->mixer.weights[weight];
        enum dtype type = kind->weights[weight].act ? model->backend->act : model->backend->acc;
        for (int t = 0; to && t < kind->n_tensors; t++) {
            const struct tensor_row *row = &kind->tensors[t];
            if (row->weight != weight) continue;
            struct tensor_shape shape = mixer_tensor_shape(sizes, &model->host, t);
            struct weight_part *part = &parts[count++];
            *part = (struct weight_part){
                .tensor = checkpoint_find_mixer(model->checkpoint, index, kind, t),
                .to = to,
                .to_type = type,
                .count = tensor_shape_count(&shape),
                .factor = row->stored != 0 ? 1 / row->stored : 1};
            to += (size_t)part->count * dtype_size(type);
        }
    }
    return count;
}

int layer_parts(struct weight_part parts[LAYER_PARTS], const struct layer *layer,
                const struct model *model, int index) {
    int count = block_parts(parts, layer, model, index);
    return count + mixer_parts(parts + count, layer, model, index);
}

enum status layer_alloc(struct layer *layer, const struct model *model, int index) {
    struct backend *backend = model->backend;
    *layer = (struct layer){.index = -1, .mixer.sizes = model->config->layers[index].mixer};
    enum status status = STATUS_OK;
    for (enum weight weight = 0; !status && weight < WEIGHT_FIRST_OF_MIXER; weight++) {
        struct weight_shape shape = weight_shape(model->config, &layer->mixer.sizes, weight);
        if (!shape.rows) continue;
        size_t bytes = (size_t)shape.count * dtype_size(type_on(backend, &shape));
        layer->weights[weight] = backend->alloc(backend, bytes, table[weight].name);
        if (!layer->weights[weight]) status = STATUS_FAILED;
    }
    if (!status) status = mixer_alloc(&layer->mixer, backend, &model->host);
    if (status) layer_free(layer, backend);
    return status;
}

void layer_free(struct layer *layer, struct backend *backend) {
    for (enum weight weight = 0; weight < WEIGHT_FIRST_OF_MIXER; weight++)
        backend->free(backend, layer->weights[weight]);
    mixer_free(&layer->mixer, backend);
    *layer = (struct layer){.index = -1};
}

enum status layer_load(struct layer *layer, const struct model *model, int index) {
    struct weight_part parts[LAYER_PARTS];
    int count = layer_parts(parts, layer, model, index);
    for (int i = 0; i < count; i++) {
        enum status status = weight_part_load(model, &parts[i]);
        if (status) return status;
    }
    layer->index = index;
    return STATUS_OK;
}

uint64_t layer_bytes(const struct model *model, int index) {
    uint64_t bytes = 0;
    for (enum weight weight = 0; weight < WEIGHT_COUNT; weight++) {
        struct weight_shape shape =
            weight_shape(model->config, &model->config->layers[index].mixer, weight);
        bytes += (uint64_t)shape.count * dtype_size(type_on(model->backend, &shape));
    }
    return bytes;
}

enum status tensor_alloc(struct weight_part *out, const struct model *model, enum tensor_role role,
                         enum dtype type) {
    struct backend *backend = model->backend;
    const struct checkpoint_tensor *tensor = checkpoint_find(model->checkpoint, -1, role);
    if (!tensor) return status_fail("the model has no %s", tensor_role_name(role));
    *out = (struct weight_part){
        .tensor = tensor, .to_type = type, .count = tensor->count, .factor = 1};
    out->to = backend->alloc(backend, (size_t)tensor->count * dtype_size(type), tensor->name);
    return out->to ? STATUS_OK : STATUS_FAILED;
}
