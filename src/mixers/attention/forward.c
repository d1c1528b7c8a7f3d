#include "kernels/ops/norm.h"
#include "kernels/ops/products.h"
#include "mixers/attention/attention.h"
#include "mixers/linear.h"

struct attention_inputs attention_locate(const struct mixer_pass *pass) {
    const struct mixer_host *host = pass->host;
    const struct backend *backend = pass->backend;
    void *const *buffer = pass->buffer;
    int64_t query = (int64_t)host->heads * host->head_dim;
    int64_t key = (int64_t)host->kv_heads * host->head_dim, stride = query + 2 * key;
    int64_t qk_stride = host->qk_norm ? query + key : stride;
    const void *qk = buffer[host->qk_norm ? ATTENTION_B_QK : ATTENTION_B_QKV];
    return (struct attention_inputs){.q = qk,
                                     .k = act_at(backend, qk, query),
                                     .v = act_at(backend, buffer[ATTENTION_B_QKV], query + key),
                                     .q_stride = qk_stride,
                                     .k_stride = qk_stride,
                                     .v_stride = stride};
}

static void project(const struct mixer_pass *pass) {
    const struct mixer_host *host = pass->host;
    struct backend *backend = pass->backend;
    void *const *buffer = pass->buffer, *const *weights = pass->mixer->weights;
    int64_t n = pass->sequences->tokens;
    int heads = host->heads, kv_heads = host->kv_heads, head_dim = host->head_dim;
    int64_t query = (int64_t)heads * head_dim, key = (int64_t)kv_heads * head_dim;
    int64_t stride = query + 2 * key;
    void *qkv = buffer[ATTENTION_B_QKV], *qk = buffer[ATTENTION_B_QK];
    backend->products->matmul(backend, into_act(qkv), pass->input, host->hidden,
                              weights[ATTENTION_QKV], weights[ATTENTION_QKV_BIAS], n, stride,
                              host->hidden);
    if (host->qk_norm) {
        const struct head_norm_inputs q = {qkv,   stride,  n, weights[ATTENTION_QUERY_NORM],
                                           heads, head_dim};
        const struct head_norm_inputs k = {act_at(backend, qkv, query), stride,   n,
                                           weights[ATTENTION_KEY_NORM], kv_heads, head_dim};
        backend->norm->head_norm(backend, qk, query + key, buffer[ATTENTION_B_Q_RSTD], &q,
                                 host->q_norm_eps);
        backend->norm->head_norm(backend, act_at(backend, qk, query), query + key,
                                 buffer[ATTENTION_B_K_RSTD], &k, host->k_norm_eps);
    }
    struct attention_inputs in = attention_locate(pass);
    /* Queries and keys are neighbours: one rotation over all their heads. */
    backend->attention->rope(backend, (void *)(uintptr_t)in.q, in.q_stride, pass->rope,
                             pass->sequences->positions, false, n, heads + kv_heads, head_dim);
}

/* The mixed heads, from what was projected and, in a step, from what is kept. */
static void mix(const struct mixer_pass *pass) {
    struct backend *backend = pass->backend;
    const struct sequences *sequences = pass->sequences;
    const struct past_use *past = pass->past;
    struct attention_shape shape = attention_shape_of(&pass->mixer->sizes, pass->host);
    struct attention_inputs in = attention_locate(pass);
    void *mixed = pass->buffer[ATTENTION_B_MIXED];
    struct kv_cache cache = {0};
    if (past)
        cache = (struct kv_cache){.k = past->layer->array[ATTENTION_KEYS],
                                  .v = past->layer->array[ATTENTION_VALUES],
                                  .rows = past->layer->rows};
    if (past) backend->attention->kv_store(backend, &cache, past->slots, &in, sequences, &shape);
    if (past && past->step)
        backend->attention->attention_decode(backend, mixed, in.q, in.q_stride, &cache, past->slots,
                                             sequences->positions, past->longest, sequences->count,
                                             &shape);
    else
        backend->attention->attention(backend, mixed, pass->buffer[ATTENTION_B_LSE], &in, sequences,
                                      &shape);
}

void attention_forward(const struct mixer_pass *pass, struct acc *h) {
    const struct mixer_host *host = pass->host;
    struct backend *backend = pass->backend;
    int64_t inner = (int64_t)host->heads * host->head_dim;
    project(pass);
    mix(pass);
    backend->products->matmul(backend, onto_acc(h), pass->buffer[ATTENTION_B_MIXED], inner,
                              pass->mixer->weights[ATTENTION_OUT],
                              pass->mixer->weights[ATTENTION_OUT_BIAS], pass->sequences->tokens,
                              host->hidden, inner);
}
