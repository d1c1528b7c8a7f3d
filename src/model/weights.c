/* Which weights exist, their shapes, and how a layer's tensors become weights on the backend. */
#include <stdlib.h>

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

enum { BLOCK = 1 << 22 }; /* elements read at a time */

/* Put one tensor, `factor` times, at element `offset` of a device array. */
static enum status load_tensor(const struct model *model, void *to, enum dtype to_type,
                               int64_t offset, const struct checkpoint_tensor *tensor,
                               double factor) {
    struct backend *backend = model->backend;
    int64_t block = tensor->count < BLOCK ? tensor->count : BLOCK;
    void *staging = memory_aligned((size_t)block * sizeof(float));
    if (!staging) return STATUS_FAILED;
    enum status status = STATUS_OK;
    for (int64_t first = 0; !status && first < tensor->count; first += block) {
        int64_t count = tensor->count - first < block ? tensor->count - first : block;
        char *target = (char *)to + (size_t)(offset + first) * dtype_size(to_type);
        bool widen = factor != 1;
        if (widen) {
            float *values = staging;
            status = checkpoint_read_f32(model->checkpoint, tensor, first, count, values);
            for (int64_t i = 0; i < count; i++) values[i] *= (float)factor;
        } else {
            status = checkpoint_read_raw(model->checkpoint, tensor, first, count, staging);
        }
        if (!status)
            backend->upload(backend, target, to_type, staging, widen ? DTYPE_F32 : tensor->dtype,
                            (size_t)count);
    }
    free(staging);
    if (!status) checkpoint_drop(model->checkpoint, tensor);
    return status;
}

static enum status load_weight(const struct model *model, void *to, int layer,
                               const struct mixer *mixer, enum weight weight) {
    struct backend *backend = model->backend;
    struct weight_shape shape = weight_shape(model->config, mixer, weight);
    enum dtype type = type_on(backend, &shape);
    int64_t offset = 0;
    bool complete = true;
    for (int part = 0; part < table[weight].parts; part++)
        complete &=
            checkpoint_find(model->checkpoint, layer, role_of(weight, part, mixer->kind)) != NULL;
    if (!complete) backend->zero(backend, to, (size_t)shape.count * dtype_size(type));
    for (int part = 0; part < table[weight].parts; part++) {
        enum tensor_role role = role_of(weight, part, mixer->kind);
        const struct checkpoint_tensor *tensor = checkpoint_find(model->checkpoint, layer, role);
        if (tensor) {
            enum status status = load_tensor(model, to, type, offset, tensor, table[weight].factor);
            if (status) return status;
        }
        /* Only biases of one of query, key and value can be absent: the rows stay zero. */
        int64_t key = model->config->n_kv_heads * model->config->head_dim;
        offset += tensor ? tensor->count : part == 0 ? shape.count - 2 * key : key;
    }
    return STATUS_OK;
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
    for (enum weight weight = 0; weight < WEIGHT_COUNT; weight++) {
        void *to =
            weight < WEIGHT_FIRST_OF_MIXER ? layer->weights[weight] : layer->mixer.weights[weight];
        enum status status = to ? load_weight(model, to, index, &layer->mixer, weight) : STATUS_OK;
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

enum status tensor_load(void **out, const struct model *model, enum tensor_role role,
                        enum dtype type) {
    struct backend *backend = model->backend;
    const struct checkpoint_tensor *tensor = checkpoint_find(model->checkpoint, -1, role);
    if (!tensor) return status_fail("the model has no %s", tensor_role_name(role));
    *out = backend->alloc(backend, (size_t)tensor->count * dtype_size(type), tensor->name);
    if (!*out) return STATUS_FAILED;
    return load_tensor(model, *out, type, 0, tensor, 1);
}
