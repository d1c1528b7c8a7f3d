/* Which weights exist, their shapes, and how a layer's tensors become weights on the backend. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/loading.h"

/* A weight is one tensor, or several stacked row on row. */
static const struct {
    const char *name;
    enum tensor_role roles[3];
    int parts;
    double factor; /* on what the checkpoint stores */
} table[WEIGHT_COUNT] = {
    [WEIGHT_INPUT_NORM] = {"input_layernorm.weight", {TENSOR_INPUT_NORM}, 1, 1},
    [WEIGHT_POST_NORM] = {"post_attention_layernorm.weight", {TENSOR_POST_NORM}, 1, 1},
    [WEIGHT_GATE_UP] = {"gate_up_proj.weight", {TENSOR_GATE, TENSOR_UP}, 2, 1},
    [WEIGHT_GATE_UP_BIAS] = {"gate_up_proj.bias", {TENSOR_GATE_BIAS, TENSOR_UP_BIAS}, 2, 1},
    [WEIGHT_DOWN] = {"down_proj.weight", {TENSOR_DOWN}, 1, 1},
    [WEIGHT_DOWN_BIAS] = {"down_proj.bias", {TENSOR_DOWN_BIAS}, 1, 1},
    [WEIGHT_QKV] = {"qkv_proj.weight", {TENSOR_Q, TENSOR_K, TENSOR_V}, 3, 1},
    [WEIGHT_QKV_BIAS] = {"qkv_proj.bias", {TENSOR_Q_BIAS, TENSOR_K_BIAS, TENSOR_V_BIAS}, 3, 1},
    [WEIGHT_Q_NORM] = {"q_norm.weight", {TENSOR_Q_NORM}, 1, 1},
    [WEIGHT_K_NORM] = {"k_norm.weight", {TENSOR_K_NORM}, 1, 1},
    [WEIGHT_OUT] = {"out_proj.weight", {TENSOR_OUT_PROJ}, 1, 1},
    [WEIGHT_OUT_BIAS] = {"out_proj.bias", {TENSOR_OUT_PROJ_BIAS}, 1, 1},
    [WEIGHT_IN_PROJ] = {"in_proj.weight", {TENSOR_IN_PROJ}, 1, 1},
    [WEIGHT_IN_PROJ_BIAS] = {"in_proj.bias", {TENSOR_IN_PROJ_BIAS}, 1, 1},
    [WEIGHT_DT_IN] = {"dt_in_proj.weight", {TENSOR_DT_IN_PROJ}, 1, 1},
    [WEIGHT_DT_IN_BIAS] = {"dt_in_proj.bias", {TENSOR_DT_IN_PROJ_BIAS}, 1, 1},
    [WEIGHT_DT_PROJ] = {"dt_proj.weight", {TENSOR_DT_PROJ}, 1, 1},
    [WEIGHT_DT_BIAS] = {"dt_proj.bias", {TENSOR_DT_PROJ_BIAS}, 1, 2},
    [WEIGHT_CONV] = {"conv1d.weight", {TENSOR_CONV}, 1, 1},
    [WEIGHT_CONV_BIAS] = {"conv1d.bias", {TENSOR_CONV_BIAS}, 1, 1},
    [WEIGHT_A_LOG] = {"A_log", {TENSOR_A_LOG}, 1, 1},
    [WEIGHT_D] = {"D", {TENSOR_D}, 1, 1},
};

const char *weight_name(enum weight weight) {
    return table[weight].name;
}

enum tensor_role weight_role(enum weight weight) {
    return table[weight].roles[0];
}

static enum tensor_role role_of(enum weight weight, int part, enum mixer_kind kind) {
    if (kind == MIXER_ATTENTION && weight == WEIGHT_OUT) return TENSOR_O;
    if (kind == MIXER_ATTENTION && weight == WEIGHT_OUT_BIAS) return TENSOR_O_BIAS;
    return table[weight].roles[part];
}

static struct weight_shape attention_shape(const struct model_config *config, enum weight weight) {
    int64_t width = config->hidden_size, head_dim = config->head_dim;
    int64_t query = config->n_heads * head_dim, key = config->n_kv_heads * head_dim;
    bool bias = config->q_bias || config->k_bias || config->v_bias;
    switch (weight) {
    case WEIGHT_QKV:
        return (struct weight_shape){query + 2 * key, width, true, 0};
    case WEIGHT_QKV_BIAS:
        return (struct weight_shape){bias, query + 2 * key, false, 0};
    case WEIGHT_Q_NORM:
    case WEIGHT_K_NORM:
        return (struct weight_shape){config->qk_norm, head_dim, false, 0};
    case WEIGHT_OUT:
        return (struct weight_shape){width, query, true, 0};
    case WEIGHT_OUT_BIAS:
        return (struct weight_shape){config->o_bias, width, false, 0};
    default:
        return (struct weight_shape){0};
    }
}

static struct weight_shape mamba_weight_shape(const struct model_config *config,
                                              const struct mamba_config *mamba,
                                              enum weight weight) {
    int64_t width = config->hidden_size, inner = mamba->d_inner, rank = mamba->dt_rank;
    int64_t projected = 2 * (inner + mamba->d_xb);
    switch (weight) {
    case WEIGHT_OUT:
        return (struct weight_shape){width, inner, true, 0};
    case WEIGHT_OUT_BIAS:
        return (struct weight_shape){mamba->bias, width, false, 0};
    case WEIGHT_IN_PROJ:
        return (struct weight_shape){projected, width, true, 0};
    case WEIGHT_IN_PROJ_BIAS:
        return (struct weight_shape){mamba->bias, projected, false, 0};
    case WEIGHT_DT_IN:
        return (struct weight_shape){rank, width, true, 0};
    case WEIGHT_DT_IN_BIAS:
        return (struct weight_shape){mamba->bias, rank, false, 0};
    case WEIGHT_DT_PROJ:
        return (struct weight_shape){inner, rank, true, 0};
    case WEIGHT_CONV:
        return (struct weight_shape){inner, mamba->d_conv, false, 0};
    case WEIGHT_A_LOG:
        return (struct weight_shape){inner, mamba->d_state, false, 0};
    /* The scan and the convolution always take their vectors: absent biases are zeros. */
    case WEIGHT_DT_BIAS:
    case WEIGHT_CONV_BIAS:
    case WEIGHT_D:
        return (struct weight_shape){1, inner, false, 0};
    default:
        return (struct weight_shape){0};
    }
}

struct weight_shape weight_shape(const struct model_config *config, const struct mixer *mixer,
                                 enum weight weight) {
    int64_t width = config->hidden_size, inner = config->intermediate_size;
    struct weight_shape shape = {0};
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
        shape = mixer->kind == MIXER_ATTENTION ? attention_shape(config, weight)
                                               : mamba_weight_shape(config, &mixer->mamba, weight);
    }
    shape.count = shape.rows * shape.columns;
    return shape;
}

static enum dtype type_on(const struct backend *backend, const struct weight_shape *shape) {
    return shape->act ? backend->act : backend->acc;
}

/* Allocate weights [from, to) into `weights`. */
static enum status alloc_weights(void **weights, enum weight from, enum weight to,
                                 struct backend *backend, const struct model_config *config,
                                 const struct mixer *mixer) {
    for (enum weight weight = from; weight < to; weight++) {
        struct weight_shape shape = weight_shape(config, mixer, weight);
        weights[weight] = NULL;
        if (!shape.rows) continue;
        size_t bytes = (size_t)shape.count * dtype_size(type_on(backend, &shape));
        weights[weight] = backend->alloc(backend, bytes, table[weight].name);
        if (!weights[weight]) return STATUS_FAILED;
    }
    return STATUS_OK;
}

enum status mixer_alloc(struct mixer *mixer, struct backend *backend,
                        const struct model_config *config) {
    enum status status =
        alloc_weights(mixer->weights, WEIGHT_FIRST_OF_MIXER, WEIGHT_COUNT, backend, config, mixer);
    if (status) mixer_free(mixer, backend);
    return status;
}

void mixer_free(struct mixer *mixer, struct backend *backend) {
    for (enum weight weight = 0; weight < WEIGHT_COUNT; weight++)
        backend->free(backend, mixer->weights[weight]);
    *mixer = (struct mixer){0};
}

void mixer_set(struct mixer *mixer, struct backend *backend, const struct model_config *config,
               enum weight weight, const float *values) {
    struct weight_shape shape = weight_shape(config, mixer, weight);
    backend->upload(backend, mixer->weights[weight], type_on(backend, &shape), values, DTYPE_F32,
                    (size_t)shape.count);
}

static uint64_t bytes_of(enum weight from, enum weight to, const struct backend *backend,
                         const struct model_config *config, const struct mixer *mixer) {
    uint64_t bytes = 0;
    for (enum weight weight = from; weight < to; weight++) {
        struct weight_shape shape = weight_shape(config, mixer, weight);
        bytes += (uint64_t)shape.count * dtype_size(type_on(backend, &shape));
    }
    return bytes;
}

uint64_t mixer_bytes(const struct mixer *mixer, const struct backend *backend,
                     const struct model_config *config) {
    return bytes_of(WEIGHT_FIRST_OF_MIXER, WEIGHT_COUNT, backend, config, mixer);
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

/* Rows of query, key and value, or of gate and up, stand one after another. Only biases of some of
 * query, key and value can be absent, and vectors that the scan always takes. */
static int64_t part_count(const struct model_config *config, const struct weight_shape *shape,
                          int parts, int part) {
    int64_t rows = (int64_t)config->n_kv_heads * config->head_dim;
    int64_t key = shape->rows == 1 ? rows : rows * shape->columns;
    if (parts == 3) return part == 0 ? shape->count - 2 * key : key;
    return shape->count / parts;
}

int layer_parts(struct weight_part parts[LAYER_PARTS], const struct layer *layer,
                const struct model *model, int index) {
    int count = 0;
    for (enum weight weight = 0; weight < WEIGHT_COUNT; weight++) {
        void *to =
            weight < WEIGHT_FIRST_OF_MIXER ? layer->weights[weight] : layer->mixer.weights[weight];
        if (!to) continue;
        struct weight_shape shape = weight_shape(model->config, &layer->mixer, weight);
        enum dtype type = type_on(model->backend, &shape);
        for (int i = 0; i < table[weight].parts; i++) {
            enum tensor_role role = role_of(weight, i, layer->mixer.kind);
            struct weight_part *part = &parts[count++];
            *part = (struct weight_part){
                .tensor = checkpoint_find(model->checkpoint, index, role),
                .to = to,
                .to_type = type,
                .count = part_count(model->config, &shape, table[weight].parts, i),
                .factor = table[weight].factor};
            to = (char *)to + (size_t)part->count * dtype_size(type);
        }
    }
    return count;
}

enum status layer_alloc(struct layer *layer, const struct model *model, int index) {
    const struct model_config *config = model->config;
    *layer = (struct layer){.index = -1};
    layer->mixer.kind = config->layers[index].mixer;
    layer->mixer.mamba = config->layers[index].mamba;
    enum status status = alloc_weights(layer->weights, 0, WEIGHT_FIRST_OF_MIXER, model->backend,
                                       config, &layer->mixer);
    if (!status) status = mixer_alloc(&layer->mixer, model->backend, config);
    if (status) layer_free(layer, model->backend);
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
    struct mixer mixer = {.kind = model->config->layers[index].mixer,
                          .mamba = model->config->layers[index].mamba};
    return bytes_of(0, WEIGHT_COUNT, model->backend, model->config, &mixer);
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
