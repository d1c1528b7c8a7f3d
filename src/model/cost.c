#include "model/cost.h"

#include "mixers/past.h"

static const struct mixer_sizes *mixer_at(const struct cost_model *model, int layer) {
    if (model->replaced && model->replaced[layer]) return &model->mixer;
    return &model->config->layers[layer].mixer;
}

static size_t act_bytes(const struct cost_model *model) {
    return (size_t)model->act_bytes;
}

static size_t acc_bytes(const struct cost_model *model) {
    return (size_t)model->acc_bytes;
}

static bool is_state(const struct mixer_sizes *mixer) {
    return !mixer->kind->past_rows;
}

static void add_layer(struct cost_parts *out, const struct cost_model *model, int layer) {
    const struct mixer_host host = config_host(model->config);
    const struct mixer_sizes *mixer = mixer_at(model, layer);
    for (enum weight weight = 0; weight < WEIGHT_COUNT; weight++) {
        struct weight_shape shape = weight_shape(model->config, mixer, weight);
        uint64_t bytes = (uint64_t)(shape.act ? model->act_bytes : model->acc_bytes);
        out->weights += (uint64_t)shape.count * bytes;
        if (shape.act) out->operations += 2 * (double)shape.count;
    }
    out->kv_per_token += past_token_bytes(mixer, &host, act_bytes(model), acc_bytes(model));
    if (is_state(mixer))
        out->state += past_bytes(mixer, &host, 1, act_bytes(model), acc_bytes(model));
    if (mixer->kind->operations) out->operations += mixer->kind->operations(mixer, &host, 0);
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

uint64_t cost_kv_bytes(const struct cost_model *model, int64_t tokens) {
    const struct mixer_host host = config_host(model->config);
    uint64_t bytes = 0;
    for (int l = 0; l < model->config->n_layers; l++)
        if (!is_state(mixer_at(model, l)))
            bytes +=
                past_bytes(mixer_at(model, l), &host, tokens, act_bytes(model), acc_bytes(model));
    return bytes;
}

double cost_step_bytes(const struct cost_model *model, int64_t batch, int64_t tokens) {
    struct cost_parts parts;
    cost_measure(&parts, model);
    double sequence =
        (double)cost_kv_bytes(model, tokens) + (double)parts.kv_per_token + 2 * (double)parts.state;
    return (double)parts.step_weights + (double)batch * sequence;
}

/* Over what sequences of so many tokens keep, besides what cost_measure counts. */
static double context_operations(const struct cost_model *model, int64_t tokens) {
    const struct mixer_host host = config_host(model->config);
    double sum = 0;
    for (int l = 0; l < model->config->n_layers; l++) {
        const struct mixer_sizes *mixer = mixer_at(model, l);
        if (is_state(mixer) || !mixer->kind->operations) continue;
        double rows = (double)mixer->kind->past_rows(mixer, tokens);
        sum +=
            mixer->kind->operations(mixer, &host, rows) - mixer->kind->operations(mixer, &host, 0);
    }
    return sum;
}

double cost_step_operations(const struct cost_model *model, int64_t batch, int64_t tokens) {
    struct cost_parts parts;
    cost_measure(&parts, model);
    return (double)batch * (parts.operations + context_operations(model, tokens));
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
