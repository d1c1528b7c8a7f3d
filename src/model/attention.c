#include <math.h>

#include "kernels/ops/attention.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/products.h"
#include "model/mixers.h"

struct attention_shape attention_shape_of(const struct model_config *config, int layer) {
    return (struct attention_shape){.heads = config->n_heads,
                                    .kv_heads = config->n_kv_heads,
                                    .head_dim = config->head_dim,
                                    .window = config->layers[layer].sliding_window,
                                    .scale = 1 / sqrt((double)config->head_dim)};
}

static void *at(const struct backend *backend, void *base, int64_t elements) {
    return (char *)base + (size_t)elements * dtype_size(backend->act);
}

/* Where the rotated queries and keys and the values stand. */
static struct attention_inputs locate(const struct model *model, const struct trace *trace) {
    const struct model_config *config = model->config;
    struct backend *backend = model->backend;
    int64_t query = config->n_heads * config->head_dim, key = config->n_kv_heads * config->head_dim;
    int64_t stride = query + 2 * key, qk_stride = config->qk_norm ? query + key : stride;
    void *qk = config->qk_norm ? trace->qk : trace->qkv;
    return (struct attention_inputs){.q = qk,
                                     .k = at(backend, qk, query),
                                     .v = at(backend, trace->qkv, query + key),
                                     .q_stride = qk_stride,
                                     .k_stride = qk_stride,
                                     .v_stride = stride};
}

static void project(const struct model *model, const struct mixer *mixer, struct trace *trace,
                    const struct sequences *sequences) {
    const struct model_config *config = model->config;
    struct backend *backend = model->backend;
    int64_t n = sequences->tokens, width = config->hidden_size;
    int heads = config->n_heads, kv_heads = config->n_kv_heads, head_dim = config->head_dim;
    int64_t query = (int64_t)heads * head_dim, key = (int64_t)kv_heads * head_dim;
    int64_t stride = query + 2 * key;
    backend->products->matmul(backend, into_act(trace->qkv), trace->normed, width,
                              mixer->weights[WEIGHT_QKV], mixer->weights[WEIGHT_QKV_BIAS], n,
                              stride, width);
    if (config->qk_norm) {
        backend->norm->head_norm(backend, trace->qk, query + key, trace->q_rstd, trace->qkv, stride,
                                 mixer->weights[WEIGHT_Q_NORM], config->q_norm_eps, n, heads,
                                 head_dim);
        backend->norm->head_norm(backend, at(backend, trace->qk, query), query + key, trace->k_rstd,
                                 at(backend, trace->qkv, query), stride,
                                 mixer->weights[WEIGHT_K_NORM], config->k_norm_eps, n, kv_heads,
                                 head_dim);
    }
    struct attention_inputs in = locate(model, trace);
    /* Queries and keys are neighbours: one rotation over all their heads. */
    backend->attention->rope(backend, (void *)(uintptr_t)in.q, in.q_stride, model->rope,
                             sequences->positions, false, n, heads + kv_heads, head_dim);
}

void attention_forward(const struct model *model, int layer, const struct mixer *mixer,
                       struct trace *trace, void *h, const struct sequences *sequences,
                       const struct past_use *past) {
    const struct model_config *config = model->config;
    struct backend *backend = model->backend;
    struct attention_shape shape = attention_shape_of(config, layer);
    int64_t inner = (int64_t)shape.heads * shape.head_dim;
    project(model, mixer, trace, sequences);
    struct attention_inputs in = locate(model, trace);
    if (past)
        backend->attention->kv_store(backend, &past->layer->kv, past->slots, &in, sequences,
                                     &shape);
    if (past && past->step)
        backend->attention->attention_decode(backend, trace->mixed, in.q, in.q_stride,
                                             &past->layer->kv, past->slots, sequences->positions,
                                             past->longest, sequences->count, &shape);
    else
        backend->attention->attention(backend, trace->mixed, trace->lse, &in, sequences, &shape);
    backend->products->matmul(backend, onto_acc(h), trace->mixed, inner, mixer->weights[WEIGHT_OUT],
                              mixer->weights[WEIGHT_OUT_BIAS], sequences->tokens,
                              config->hidden_size, inner);
}

/* Gradients through the rotation and the head norms, from dqk (or dqkv) to dqkv. */
static void unrotate(const struct model *model, const struct mixer *mixer,
                     const struct trace *trace, struct backward *scratch, void *const *gradients,
                     const struct sequences *sequences) {
    const struct model_config *config = model->config;
    struct backend *backend = model->backend;
    int heads = config->n_heads, kv_heads = config->n_kv_heads, head_dim = config->head_dim;
    int64_t query = (int64_t)heads * head_dim, key = (int64_t)kv_heads * head_dim;
    int64_t stride = query + 2 * key, n = sequences->tokens;
    int64_t qk_stride = config->qk_norm ? query + key : stride;
    void *dqk = config->qk_norm ? scratch->dqk : scratch->dqkv;
    backend->attention->rope(backend, dqk, qk_stride, model->rope, sequences->positions, true, n,
                             heads + kv_heads, head_dim);
    if (!config->qk_norm) return;
    backend->norm->head_norm_backward(backend, scratch->dqkv, stride,
                                      gradients ? gradients[WEIGHT_Q_NORM] : NULL, scratch->dqk,
                                      qk_stride, trace->qkv, stride, mixer->weights[WEIGHT_Q_NORM],
                                      trace->q_rstd, n, heads, head_dim);
    backend->norm->head_norm_backward(
        backend, at(backend, scratch->dqkv, query), stride,
        gradients ? gradients[WEIGHT_K_NORM] : NULL, at(backend, scratch->dqk, query), qk_stride,
        at(backend, trace->qkv, query), stride, mixer->weights[WEIGHT_K_NORM], trace->k_rstd, n,
        kv_heads, head_dim);
}

void attention_backward(const struct model *model, const struct block_state *state,
                        struct backward *scratch, const void *dout, void *const *gradients,
                        bool stop, const struct sequences *sequences) {
    const struct model_config *config = model->config;
    struct backend *backend = model->backend;
    const struct mixer *mixer = state->mixer;
    struct trace *trace = state->trace;
    struct attention_shape shape = attention_shape_of(config, state->layer->index);
    int64_t query = (int64_t)shape.heads * shape.head_dim;
    int64_t key = (int64_t)shape.kv_heads * shape.head_dim, stride = query + 2 * key;
    int64_t n = sequences->tokens, width = config->hidden_size;
    void *none[WEIGHT_COUNT] = {0};
    void *const *into = gradients ? gradients : none;
    linear_backward(model, scratch->dmixed, into[WEIGHT_OUT], into[WEIGHT_OUT_BIAS], dout,
                    trace->mixed, query, mixer->weights[WEIGHT_OUT], n, width, query);
    struct attention_inputs in = locate(model, trace);
    void *dqk = config->qk_norm ? scratch->dqk : scratch->dqkv;
    struct attention_gradients out = {.dq = dqk,
                                      .dk = at(backend, dqk, query),
                                      .dv = at(backend, scratch->dqkv, query + key),
                                      .q_stride = in.q_stride,
                                      .k_stride = in.k_stride,
                                      .v_stride = in.v_stride};
    backend->attention->attention_backward(backend, &out, scratch->dmixed, trace->mixed, trace->lse,
                                           &in, sequences, &shape);
    unrotate(model, mixer, trace, scratch, gradients, sequences);
    linear_backward(model, stop ? NULL : scratch->dnormed, into[WEIGHT_QKV], into[WEIGHT_QKV_BIAS],
                    scratch->dqkv, trace->normed, width, mixer->weights[WEIGHT_QKV], n, stride,
                    width);
}
