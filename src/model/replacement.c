#include "model/replacement.h"

#include "mixers/attention/attention.h"
#include "model/block_buffers.h"

enum status replacement_sizes(struct mixer_sizes *out, const struct model_config *config,
                              const struct mixer_choices *choices) {
    const struct mixer_host host = config_host(config);
    enum status status = config_mixer_for(out, config, &choices->sizes);
    if (!status && out->kind->settle) out->kind->settle(out, choices, &host);
    return status;
}

/* ---- where values come from */

static const struct checkpoint_tensor *find(const struct replacement_source *source, int tensor) {
    return checkpoint_find_mixer(source->checkpoint, source->attention.layer, &attention_kind,
                                 tensor);
}

static enum status read_elements(void *context, int tensor, int64_t first, int64_t count,
                                 float *out) {
    const struct replacement_source *source = context;
    const struct mixer_sizes plain = {.kind = &attention_kind};
    struct tensor_shape shape = mixer_tensor_shape(&plain, &source->host, tensor);
    return checkpoint_read_padded(source->checkpoint, find(source, tensor), shape.dims[0],
                                  shape.dims[1] ? shape.dims[1] : 1, first, count, out);
}

static enum status read_norm(void *context, float *out) {
    const struct replacement_source *source = context;
    return checkpoint_read_f32(
        source->checkpoint,
        checkpoint_find(source->checkpoint, source->attention.layer, TENSOR_INPUT_NORM), 0,
        source->host.hidden, out);
}

static const char *name_of(void *context, int tensor) {
    const struct checkpoint_tensor *found = find(context, tensor);
    return found ? found->name : NULL;
}

enum status replacement_source_open(struct replacement_source *out,
                                    const struct checkpoint *checkpoint, int layer) {
    const struct model_config *config = checkpoint_config(checkpoint);
    *out = (struct replacement_source){.checkpoint = checkpoint, .host = config_host(config)};
    out->attention = (struct attention_source){.context = out,
                                               .host = &out->host,
                                               .layer = layer,
                                               .read = read_elements,
                                               .input_norm = read_norm,
                                               .name = name_of};
    if (!config_is_attention(config, layer))
        return status_fail("\"%s\": layer %d has no attention to start a mixer from",
                           checkpoint_directory(checkpoint), layer);
    out->attention.dtype = find(out, ATTENTION_Q)->dtype;
    return STATUS_OK;
}

void replacement_source_pad(struct replacement_source *source, int heads, int kv_heads) {
    source->host.heads = heads;
    source->host.kv_heads = kv_heads;
}

enum status replacement_create(struct mixer *out, const struct model *model, int layer,
                               const struct mixer_choices *choices) {
    struct mixer mixer = {0};
    struct replacement_source source;
    enum status status = replacement_sizes(&mixer.sizes, model->config, choices);
    if (!status) status = replacement_source_open(&source, model->checkpoint, layer);
    if (!status) status = mixer_alloc(&mixer, model->backend, &model->host);
    if (!status) mixer_freeze(&mixer, choices);
    for (int w = 0; !status && w < mixer.sizes.kind->n_weights; w++)
        status = mixer_make_weight(&mixer, model->backend, choices, &source.attention, w);
    if (status)
        mixer_free(&mixer, model->backend);
    else
        *out = mixer;
    return status;
}

enum status replacement_fit(struct mixer_fit **out, const struct model *model,
                            const struct layer *layer, const struct mixer_choices *choices,
                            const struct trace *trace, const struct sequences *sequences) {
    struct mixer_sizes sizes;
    struct replacement_source source;
    const struct mixer_pass pass = block_pass(model, &layer->mixer, trace, sequences);
    const struct fit_rows rows = {.backend = model->backend,
                                  .sequences = sequences,
                                  .input = pass.input,
                                  .heads = pass.buffer[ATTENTION_B_MIXED]};
    enum status status = replacement_sizes(&sizes, model->config, choices);
    if (!status) status = replacement_source_open(&source, model->checkpoint, layer->index);
    if (!status) source.host = model->host;
    return status ? status : mixer_fit_make(out, &sizes, choices, &source.attention, &rows);
}
