#include "model/cost.h"

static struct mixer mixer_at(const struct cost_model *model, int layer) {
    const struct layer_config *config = &model->config->layers[layer];
    if (model->replaced && model->replaced[layer])
        return (struct mixer){.kind = MIXER_MAMBA, .mamba = model->mamba};
    return (struct mixer){.kind = config->mixer, .mamba = config->mamba};
}

static uint64_t kv_row(const struct cost_model *model) {
    return 2 * (uint64_t)model->config->n_kv_heads * (uint64_t)model->config->head_dim *
           (uint64_t)model->act_bytes;
}

uint64_t cost_state_bytes(const struct mamba_config *mamba, int act_bytes, int acc_bytes) {
    return (uint64_t)mamba->d_inner * (uint64_t)mamba->d_state * (uint64_t)acc_bytes +
           (uint64_t)mamba->d_xb * (uint64_t)(mamba->d_conv - 1) * (uint64_t)act_bytes;
}

static void add_layer(struct cost_parts *out, const struct cost_model *model, int layer) {
    struct mixer mixer = mixer_at(model, layer);
    for (enum weight weight = 0; weight < WEIGHT_COUNT; weight++) {
        struct weight_shape shape = weight_shape(model->config, &mixer, weight);
        uint64_t bytes = (uint64_t)(shape.act ? model->act_bytes : model->acc_bytes);
        out->weights += (uint64_t)shape.count * bytes;
        if (shape.act) out->operations += 2 * (double)shape.count;
    }
    if (mixer.kind == MIXER_ATTENTION) {
        out->kv_per_token += kv_row(model);
        out->attention_layers++;
        return;
    }
    out->state += cost_state_bytes(&mixer.mamba, model->act_bytes, model->acc_bytes);
    out->mamba_layers++;
    /* decay, update and output of each state; the convolution */
    out->operations += 6 * (double)mixer.mamba.d_inner * mixer.mamba.d_state +
                       2 * (double)mixer.mamba.d_inner * mixer.mamba.d_conv;
}

void cost_measure(struct cost_parts *out, const struct cost_model *model) {
    const struct model_config *config = model->config;
    uint64_t width = (uint64_t)config->hidden_size;
    uint64_t table = (uint64_t)config->vocab_size * width;
    *out = (struct cost_parts){0};
    for (int l = 0; l < config->n_layers; l++) add_layer(out, model, l);
    out->weights += width * (uint64_t)model->acc_bytes;
    out->step_weights = out->weights + table * (uint64_t)model->act_bytes;
    out->weights += (config->tie_word_embeddings ? 1 : 2) * table * (uint64_t)model->act_bytes;
    out->operations += 2 * (double)table;
}

/* Rows that attention layers hold of a sequence, together. */
static double rows_of(const struct cost_model *model, int64_t tokens) {
    double rows = 0;
    for (int l = 0; l < model->config->n_layers; l++) {
        int window = model->config->layers[l].sliding_window;
        if (mixer_at(model, l).kind == MIXER_ATTENTION)
            rows += (double)(window > 0 && window < tokens ? window : tokens);
    }
    return rows;
}

uint64_t cost_kv_bytes(const struct cost_model *model, int64_t tokens) {
    return (uint64_t)(rows_of(model, tokens) * (double)kv_row(model));
}

double cost_step_bytes(const struct cost_model *model, int64_t batch, int64_t tokens) {
    struct cost_parts parts;
    cost_measure(&parts, model);
    double sequence = rows_of(model, tokens) * (double)kv_row(model) + (double)parts.kv_per_token +
                      2 * (double)parts.state;
    return (double)parts.step_weights + (double)batch * sequence;
}

double cost_step_operations(const struct cost_model *model, int64_t batch, int64_t tokens) {
    struct cost_parts parts;
    cost_measure(&parts, model);
    double attention =
        4 * rows_of(model, tokens) * model->config->n_heads * model->config->head_dim;
    return (double)batch * (parts.operations + attention);
}

double cost_step_seconds(const struct cost_model *model, const struct cost_device *device,
                         int64_t batch, int64_t tokens) {
    double moving = cost_step_bytes(model, batch, tokens) / device->bandwidth;
    double computing = cost_step_operations(model, batch, tokens) / device->operations;
    return moving > computing ? moving : computing;
}

double cost_decode_seconds(const struct cost_model *model, const struct cost_device *device,
                           int64_t batch, int64_t prompt, int64_t output) {
    /* A step's time is linear in the context but for windows: the midpoints of 64 parts are enough.
     */
    enum { PARTS = 64 };
    double sum = 0;
    for (int part = 0; part < PARTS; part++) {
        double at = (double)prompt + ((double)part + 0.5) * (double)output / PARTS;
        sum += cost_step_seconds(model, device, batch, (int64_t)at);
    }
    return sum / PARTS * (double)output;
}

int64_t cost_batch(const struct cost_model *model, uint64_t memory, uint64_t weights,
                   int64_t tokens) {
    struct cost_parts parts;
    cost_measure(&parts, model);
    if (memory <= weights) return 0;
    uint64_t sequence = cost_kv_bytes(model, tokens) + parts.state;
    return sequence ? (int64_t)((memory - weights) / sequence) : INT32_MAX;
}
