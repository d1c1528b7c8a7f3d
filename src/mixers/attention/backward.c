#include "kernels/ops/norm.h"
#include "mixers/attention/attention.h"
#include "mixers/linear.h"

/* Gradients through the rotation and the head norms, from dqk (or dqkv) to dqkv. */
static void unrotate(const struct mixer_pass *pass, void *const *gradients) {
    const struct mixer_host *host = pass->host;
    struct backend *backend = pass->backend;
    void *const *buffer = pass->buffer, *const *weights = pass->mixer->weights;
    int heads = host->heads, kv_heads = host->kv_heads, head_dim = host->head_dim;
    int64_t query = (int64_t)heads * head_dim, key = (int64_t)kv_heads * head_dim;
    int64_t stride = query + 2 * key, n = pass->sequences->tokens;
    int64_t qk_stride = host->qk_norm ? query + key : stride;
    void *dqkv = buffer[ATTENTION_B_DQKV], *qkv = buffer[ATTENTION_B_QKV];
    void *dqk = host->qk_norm ? buffer[ATTENTION_B_DQK] : dqkv;
    backend->attention->rope(backend, dqk, qk_stride, pass->rope, pass->sequences->positions, true,
                             n, heads + kv_heads, head_dim);
    if (!host->qk_norm) return;
    const struct head_norm_inputs q = {qkv,   stride,  n, weights[ATTENTION_QUERY_NORM],
                                       heads, head_dim};
    const struct head_norm_inputs k = {act_at(backend, qkv, query), stride,   n,
                                       weights[ATTENTION_KEY_NORM], kv_heads, head_dim};
    backend->norm->head_norm_backward(backend, dqkv, stride, gradients[ATTENTION_QUERY_NORM], dqk,
                                      qk_stride, &q, buffer[ATTENTION_B_Q_RSTD]);
    backend->norm->head_norm_backward(backend, act_at(backend, dqkv, query), stride,
                                      gradients[ATTENTION_KEY_NORM], act_at(backend, dqk, query),
                                      qk_stride, &k, buffer[ATTENTION_B_K_RSTD]);
}

void attention_backward(const struct mixer_pass *pass, const struct act *dout, struct act *dinput,
                        void *const *gradients) {
    const struct mixer_host *host = pass->host;
    struct backend *backend = pass->backend;
    void *const *buffer = pass->buffer, *const *weights = pass->mixer->weights;
    struct attention_shape shape = attention_shape_of(&pass->mixer->sizes, host);
    int64_t query = (int64_t)shape.heads * shape.head_dim;
    int64_t key = (int64_t)shape.kv_heads * shape.head_dim, stride = query + 2 * key;
    int64_t n = pass->sequences->tokens, width = host->hidden;
    linear_backward(backend, buffer[ATTENTION_B_DMIXED], gradients[ATTENTION_OUT],
                    gradients[ATTENTION_OUT_BIAS], dout, buffer[ATTENTION_B_MIXED], query,
                    weights[ATTENTION_OUT], n, width, query);
    struct attention_inputs in = attention_locate(pass);
    void *dqkv = buffer[ATTENTION_B_DQKV];
    void *dqk = host->qk_norm ? buffer[ATTENTION_B_DQK] : dqkv;
    struct attention_gradients out = {.dq = dqk,
                                      .dk = act_at(backend, dqk, query),
                                      .dv = act_at(backend, dqkv, query + key),
                                      .q_stride = in.q_stride,
                                      .k_stride = in.k_stride,
                                      .v_stride = in.v_stride};
    backend->attention->attention_backward(backend, &out, buffer[ATTENTION_B_DMIXED],
                                           buffer[ATTENTION_B_MIXED], buffer[ATTENTION_B_LSE], &in,
                                           pass->sequences, &shape);
    unrotate(pass, gradients);
    linear_backward(backend, dinput, gradients[ATTENTION_QKV], gradients[ATTENTION_QKV_BIAS], dqkv,
                    pass->input, width, weights[ATTENTION_QKV], n, stride, width);
}
