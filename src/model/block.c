#include "model/block.h"

#include "kernels/ops/mlp.h"
#include "kernels/ops/norm.h"
#include "kernels/ops/products.h"
#include "model/block_buffers.h"

/* ---- buffers */

static int64_t hidden(const struct mixer_sizes *mixer, const struct mixer_host *host) {
    return host->hidden;
}

static int64_t one(const struct mixer_sizes *mixer, const struct mixer_host *host) {
    return 1;
}

static int64_t gate_up(const struct mixer_sizes *mixer, const struct mixer_host *host) {
    return 2 * host->intermediate;
}

static int64_t inner(const struct mixer_sizes *mixer, const struct mixer_host *host) {
    return host->intermediate;
}

static size_t matrix_input(const struct buffer_room *room, const struct mixer_sizes *mixer,
                           const struct mixer_host *host) {
    const struct backend *backend = room->backend;
    if (backend->act == backend->acc) return 0;
    return (size_t)(room->sequences.tokens * host->hidden) * dtype_size(backend->act);
}

static const struct buffer_row block_rows[BLOCK_BUFFERS] = {
    [BLOCK_NORMED] = {"normed", .width = hidden},
    [BLOCK_MIXER_RSTD] = {"mixer_rstd", .acc = true, .width = one},
    [BLOCK_MLP_RSTD] = {"mlp_rstd", .acc = true, .width = one},
    [BLOCK_GATE_UP] = {"gate_up", .width = gate_up},
    [BLOCK_MLP_INNER] = {"mlp_inner", .width = inner},
    [BLOCK_DOUT] = {"dout", .time = BUFFER_BACKWARD, .bytes = matrix_input},
    [BLOCK_DNORMED] = {"dnormed", .time = BUFFER_BACKWARD, .width = hidden},
    [BLOCK_DGATE_UP] = {"dgate_up", .time = BUFFER_BACKWARD, .width = gate_up},
    [BLOCK_DMLP_INNER] = {"dmlp_inner", .time = BUFFER_BACKWARD, .width = inner},
};

size_t block_lay_out(void **out, char *base, const struct model *model,
                     const struct buffer_room *room, bool backward) {
    return buffers_lay_out(out, base, block_rows, BLOCK_BUFFERS, NULL, &model->host, room,
                           backward);
}

struct trace_needs trace_needs_begin(const struct model *model, const struct sequences *largest,
                                     bool gradients) {
    return (struct trace_needs){.room = {.backend = model->backend,
                                         .sequences = {.count = largest->count,
                                                       .longest = largest->longest,
                                                       .tokens = largest->tokens},
                                         .gradients = gradients}};
}

void trace_needs_add(struct trace_needs *needs, const struct model *model,
                     const struct mixer_sizes *mixer) {
    size_t *most[] = {&needs->mixer, &needs->mixer_backward};
    for (int backward = 0; backward < 2; backward++) {
        size_t bytes = buffers_lay_out(NULL, NULL, mixer->kind->buffers, mixer->kind->n_buffers,
                                       mixer, &model->host, &needs->room, backward);
        if (bytes > *most[backward]) *most[backward] = bytes;
    }
}

struct trace_needs trace_needs_of(const struct model *model, int rows, int64_t tokens,
                                  int longest) {
    const struct sequences largest = {.count = rows, .longest = longest, .tokens = tokens};
    struct trace_needs needs = trace_needs_begin(model, &largest, false);
    for (int l = 0; l < model->config->n_layers; l++)
        trace_needs_add(&needs, model, &model->config->layers[l].mixer);
    return needs;
}

enum status trace_alloc(struct trace *out, const struct model *model,
                        const struct trace_needs *needs) {
    *out = (struct trace){.room = needs->room};
    size_t block = block_lay_out(NULL, NULL, model, &needs->room, false);
    out->memory = model->backend->alloc(model->backend, block + needs->mixer, "activations");
    if (!out->memory) return STATUS_FAILED;
    out->mixer = out->memory + block;
    (void)block_lay_out(out->buffer, out->memory, model, &needs->room, false);
    return STATUS_OK;
}

uint64_t trace_bytes(const struct model *model, const struct trace_needs *needs) {
    return block_lay_out(NULL, NULL, model, &needs->room, false) + needs->mixer;
}

void trace_free(struct trace *trace, struct backend *backend) {
    backend->free(backend, trace->memory);
    *trace = (struct trace){0};
}

struct mixer_pass block_pass(const struct model *model, const struct mixer *mixer,
                             const struct trace *trace, const struct sequences *sequences) {
    const struct mixer_kind *kind = mixer->sizes.kind;
    struct mixer_pass pass = {.backend = model->backend,
                              .mixer = mixer,
                              .host = &model->host,
                              .rope = model->rope,
                              .sequences = sequences,
                              .input = trace->buffer[BLOCK_NORMED]};
    (void)buffers_lay_out(pass.buffer, trace->mixer, kind->buffers, kind->n_buffers, &mixer->sizes,
                          &model->host, &trace->room, false);
    return pass;
}

/* ---- passes */

void block_mix(const struct model *model, const struct layer *layer, const struct mixer *mixer,
               struct trace *trace, struct acc *h, const struct acc *from,
               const struct sequences *sequences) {
    block_mix_past(model, layer, mixer, trace, h, from, sequences, NULL);
}

void block_mix_past(const struct model *model, const struct layer *layer, const struct mixer *mixer,
                    struct trace *trace, struct acc *h, const struct acc *from,
                    const struct sequences *sequences, const struct past_use *past) {
    struct backend *backend = model->backend;
    const struct model_config *config = model->config;
    backend->norm->rmsnorm(backend, trace->buffer[BLOCK_NORMED], trace->buffer[BLOCK_MIXER_RSTD],
                           from, layer->weights[WEIGHT_INPUT_NORM], config->rms_norm_eps,
                           sequences->tokens, config->hidden_size);
    struct mixer_pass pass = block_pass(model, mixer, trace, sequences);
    pass.past = past;
    mixer->sizes.kind->forward(&pass, h);
}

void block_mlp(const struct model *model, const struct layer *layer, struct trace *trace,
               struct acc *h, const struct acc *from, int64_t tokens) {
    struct backend *backend = model->backend;
    const struct model_config *config = model->config;
    int64_t width = config->hidden_size, inner = config->intermediate_size;
    void *const *weights = layer->weights, *const *buffer = trace->buffer;
    backend->norm->rmsnorm(backend, buffer[BLOCK_NORMED], buffer[BLOCK_MLP_RSTD], from,
                           weights[WEIGHT_POST_NORM], config->rms_norm_eps, tokens, width);
    backend->products->matmul(backend, into_act(buffer[BLOCK_GATE_UP]), buffer[BLOCK_NORMED], width,
                              weights[WEIGHT_GATE_UP], weights[WEIGHT_GATE_UP_BIAS], tokens,
                              2 * inner, width);
    backend->mlp->swiglu(backend, buffer[BLOCK_MLP_INNER], buffer[BLOCK_GATE_UP], tokens, inner);
    backend->products->matmul(backend, onto_acc(h), buffer[BLOCK_MLP_INNER], inner,
                              weights[WEIGHT_DOWN], weights[WEIGHT_DOWN_BIAS], tokens, width,
                              inner);
}

void model_logits(const struct model *model, struct acc *logits, struct act *normed,
                  struct acc *rstd, const struct acc *h, int64_t rows) {
    struct backend *backend = model->backend;
    const struct model_config *config = model->config;
    backend->norm->rmsnorm(backend, normed, rstd, h, model->final_norm, config->rms_norm_eps, rows,
                           config->hidden_size);
    backend->products->matmul(backend, into_acc(logits), normed, config->hidden_size, model->head,
                              NULL, rows, config->vocab_size, config->hidden_size);
}
