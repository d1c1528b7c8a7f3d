#include "model/block.h"

#include "kernels/ops/mlp.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/products.h"
#include "kernels/ops/scan.h"
#include "model/mixers.h"

struct trace_needs trace_needs_of(const struct model *model, int rows, int64_t tokens,
                                  int longest) {
    struct trace_needs needs = {.sequences = {.count = rows, .longest = longest, .tokens = tokens}};
    for (int l = 0; l < model->config->n_layers; l++) {
        const struct layer_config *layer = &model->config->layers[l];
        if (layer->mixer == MIXER_ATTENTION) needs.attention = true;
        /* All Mamba layers of a checkpoint have one size. */
        if (layer->mixer == MIXER_MAMBA) needs.mamba = &layer->mamba;
    }
    return needs;
}

static void *add(const struct model *model, uint64_t *bytes, bool allocate, int64_t elements,
                 enum dtype type, bool *failed) {
    size_t size = (size_t)elements * dtype_size(type);
    *bytes += size;
    if (!allocate || *failed) return NULL;
    void *memory = model->backend->alloc(model->backend, size, "activations");
    if (!memory) *failed = true;
    return memory;
}

/* One list of buffers for both counting and allocating. */
static uint64_t lay_out(struct trace *trace, const struct model *model,
                        const struct trace_needs *needs, bool allocate, bool *failed) {
    const struct model_config *config = model->config;
    struct backend *backend = model->backend;
    enum dtype act = backend->act, acc = backend->acc;
    int64_t n = needs->sequences.tokens, mixed = 0;
    uint64_t bytes = 0;
#define BUFFER(member, elements, type)                                                             \
    trace->member = add(model, &bytes, allocate, (elements), (type), failed)
    trace->tokens = n;
    BUFFER(normed, n * config->hidden_size, act);
    BUFFER(mixer_rstd, n, acc);
    BUFFER(mlp_rstd, n, acc);
    BUFFER(gate_up, n * 2 * config->intermediate_size, act);
    BUFFER(mlp_inner, n * config->intermediate_size, act);
    if (needs->attention) {
        int64_t query = config->n_heads * config->head_dim;
        int64_t key = config->n_kv_heads * config->head_dim;
        BUFFER(qkv, n * (query + 2 * key), act);
        if (config->qk_norm) {
            BUFFER(qk, n * (query + key), act);
            BUFFER(q_rstd, n * config->n_heads, acc);
            BUFFER(k_rstd, n * config->n_kv_heads, acc);
        }
        if (needs->gradients) BUFFER(lse, n * config->n_heads, acc);
        mixed = query;
    }
    if (needs->mamba) {
        struct mamba_shape shape = mamba_shape_of(needs->mamba);
        int64_t inner = shape.d_inner;
        BUFFER(projected, n * 2 * (inner + shape.d_xb), act);
        BUFFER(dt_low, n * needs->mamba->dt_rank, act);
        BUFFER(dt, n * inner, act);
        BUFFER(convolved, n * inner, act);
        if (needs->gradients) {
            size_t size = backend->scan->scan_checkpoint_bytes(backend, &needs->sequences, &shape);
            BUFFER(checkpoints, (int64_t)(size / dtype_size(acc)) + 1, acc);
        }
        if (inner > mixed) mixed = inner;
    }
    BUFFER(mixed, n * mixed, act);
#undef BUFFER
    return bytes;
}

enum status trace_alloc(struct trace *out, const struct model *model,
                        const struct trace_needs *needs) {
    *out = (struct trace){0};
    bool failed = false;
    lay_out(out, model, needs, true, &failed);
    if (failed) trace_free(out, model->backend);
    return failed ? STATUS_FAILED : STATUS_OK;
}

uint64_t trace_bytes(const struct model *model, const struct trace_needs *needs) {
    struct trace trace = {0};
    bool failed = false;
    return lay_out(&trace, model, needs, false, &failed);
}

void trace_free(struct trace *trace, struct backend *backend) {
    void *buffers[] = {trace->normed,    trace->mixer_rstd, trace->mlp_rstd,    trace->gate_up,
                       trace->mlp_inner, trace->qkv,        trace->qk,          trace->q_rstd,
                       trace->k_rstd,    trace->lse,        trace->projected,   trace->dt_low,
                       trace->dt,        trace->convolved,  trace->checkpoints, trace->mixed};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        backend->free(backend, buffers[i]);
    *trace = (struct trace){0};
}

void block_mix(const struct model *model, const struct layer *layer, const struct mixer *mixer,
               struct trace *trace, void *h, const void *from, const struct sequences *sequences) {
    block_mix_past(model, layer, mixer, trace, h, from, sequences, NULL);
}

void block_mix_past(const struct model *model, const struct layer *layer, const struct mixer *mixer,
                    struct trace *trace, void *h, const void *from,
                    const struct sequences *sequences, const struct past_use *past) {
    struct backend *backend = model->backend;
    const struct model_config *config = model->config;
    backend->norm->rmsnorm(backend, trace->normed, trace->mixer_rstd, from,
                           layer->weights[WEIGHT_INPUT_NORM], config->rms_norm_eps,
                           sequences->tokens, config->hidden_size);
    if (mixer->kind == MIXER_ATTENTION)
        attention_forward(model, layer->index, mixer, trace, h, sequences, past);
    else
        mamba_forward(model, mixer, trace, h, sequences, past);
}

void block_mlp(const struct model *model, const struct layer *layer, struct trace *trace, void *h,
               const void *from, int64_t tokens) {
    struct backend *backend = model->backend;
    const struct model_config *config = model->config;
    int64_t width = config->hidden_size, inner = config->intermediate_size;
    void *const *weights = layer->weights;
    backend->norm->rmsnorm(backend, trace->normed, trace->mlp_rstd, from, weights[WEIGHT_POST_NORM],
                           config->rms_norm_eps, tokens, width);
    backend->products->matmul(backend, into_act(trace->gate_up), trace->normed, width,
                              weights[WEIGHT_GATE_UP], weights[WEIGHT_GATE_UP_BIAS], tokens,
                              2 * inner, width);
    backend->mlp->swiglu(backend, trace->mlp_inner, trace->gate_up, tokens, inner);
    backend->products->matmul(backend, onto_acc(h), trace->mlp_inner, inner, weights[WEIGHT_DOWN],
                              weights[WEIGHT_DOWN_BIAS], tokens, width, inner);
}

void model_logits(const struct model *model, void *logits, void *normed, void *rstd, const void *h,
                  int64_t rows) {
    struct backend *backend = model->backend;
    const struct model_config *config = model->config;
    backend->norm->rmsnorm(backend, normed, rstd, h, model->final_norm, config->rms_norm_eps, rows,
                           config->hidden_size);
    backend->products->matmul(backend, into_acc(logits), normed, config->hidden_size, model->head,
                              NULL, rows, config->vocab_size, config->hidden_size);
}
