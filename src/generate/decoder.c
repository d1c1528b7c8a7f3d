#include "generate/decoder.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/interrupt.h"
#include "base/memory.h"
#include "kernels/ops/embedding.h"
#include "kernels/ops/loss.h"
#include "model/block.h"
#include "model/recorded.h"
#include "model/sequences.h"

/* Steps that differ in nothing but what device memory holds. */
struct step_kind {
    int count;       /* sequences; 0: none of this kind came yet */
    int64_t longest; /* as round_longest gives it */
    const void *rope;
    struct recorded recorded;
    uint64_t used; /* the step that was the last of this kind */
};

enum { STEP_KINDS = 16 };

struct decoder {
    struct model *model;
    struct decoder_options options;
    struct layer_past *past; /* [L] */
    struct trace trace;
    struct acc *hidden;   /* [max(prefill tokens, slots), D] */
    struct acc *last;     /* [slots, D]: of the prompts' last tokens */
    struct acc *logits;   /* [slots, V] */
    struct acc *lse;      /* [slots] */
    int32_t *argmax;      /* device [slots] */
    int32_t *inputs;      /* device [3, slots]: ids, positions, slots */
    int32_t *host_inputs; /* [3, slots] */
    int32_t *offsets;     /* [slots + 1]: 0, 1, 2 … */
    int32_t *device_offsets;
    int64_t *lengths; /* [slots] */
    struct step_kind kinds[STEP_KINDS];
    uint64_t steps;
};

static const struct mixer *mixer_of(const struct decoder *decoder, const struct layer *layer) {
    const struct mixer *const *mixers = decoder->options.mixers;
    return mixers && mixers[layer->index] ? mixers[layer->index] : &layer->mixer;
}

static bool is_ablated(const struct decoder_options *options, int layer) {
    return options->ablated && options->ablated[layer];
}

/* Of the mixer of a layer, by the config and the options. */
static const struct mixer_sizes *sizes_of(const struct model *model,
                                          const struct decoder_options *options, int layer) {
    if (options->mixers && options->mixers[layer]) return &options->mixers[layer]->sizes;
    return &model->config->layers[layer].mixer;
}

static int64_t most_tokens(const struct decoder_options *options) {
    int64_t tokens = options->prefill_tokens ? options->prefill_tokens : options->tokens;
    return tokens > options->slots ? tokens : options->slots;
}

static struct trace_needs needs_of(const struct model *model,
                                   const struct decoder_options *options) {
    int64_t tokens = most_tokens(options);
    struct trace_needs needs = trace_needs_of(model, options->slots, tokens, (int)tokens);
    for (int l = 0; options->mixers && l < model->config->n_layers; l++)
        if (options->mixers[l]) trace_needs_add(&needs, model, &options->mixers[l]->sizes);
    return needs;
}

uint64_t decoder_bytes(const struct model *model, const struct decoder_options *options,
                       uint64_t *past) {
    const struct model_config *config = model->config;
    uint64_t kept = 0, slots = (uint64_t)options->slots, acc = dtype_size(model->backend->acc);
    for (int l = 0; l < config->n_layers; l++) {
        if (is_ablated(options, l)) continue;
        kept += slots * past_bytes(sizes_of(model, options, l), &model->host, options->tokens,
                                   dtype_size(model->backend->act), acc);
    }
    if (past) *past = kept;
    struct trace_needs needs = needs_of(model, options);
    uint64_t width = (uint64_t)config->hidden_size, vocabulary = (uint64_t)config->vocab_size;
    return kept + trace_bytes(model, &needs) +
           acc * ((uint64_t)most_tokens(options) * width + slots * (width + vocabulary));
}

static enum status alloc_arrays(struct decoder *decoder) {
    struct backend *backend = decoder->model->backend;
    const struct model_config *config = decoder->model->config;
    size_t slots = (size_t)decoder->options.slots, acc = dtype_size(backend->acc);
    size_t width = (size_t)config->hidden_size * acc, ids = sizeof(int32_t);
    struct {
        void **array;
        size_t bytes;
    } arrays[] = {
        {(void **)&decoder->hidden, (size_t)most_tokens(&decoder->options) * width},
        {(void **)&decoder->last, slots * width},
        {(void **)&decoder->logits, slots * (size_t)config->vocab_size * acc},
        {(void **)&decoder->lse, slots * acc},
        {(void **)&decoder->argmax, slots * ids},
        {(void **)&decoder->inputs, 3 * slots * ids},
        {(void **)&decoder->device_offsets, (slots + 1) * ids},
    };
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        *arrays[i].array = backend->alloc(backend, arrays[i].bytes, "the decoder's arrays");
        if (!*arrays[i].array) return STATUS_FAILED;
    }
    decoder->host_inputs = memory_calloc(3 * slots, ids);
    decoder->offsets = memory_calloc(slots + 1, ids);
    decoder->lengths = memory_calloc(slots, sizeof *decoder->lengths);
    if (!decoder->host_inputs || !decoder->offsets || !decoder->lengths) return STATUS_FAILED;
    for (size_t i = 0; i <= slots; i++) decoder->offsets[i] = (int32_t)i;
    backend->upload_bytes(backend, decoder->device_offsets, decoder->offsets, (slots + 1) * ids);
    return STATUS_OK;
}

static enum status alloc_past(struct decoder *decoder) {
    struct model *model = decoder->model;
    const struct decoder_options *options = &decoder->options;
    int layers = model->config->n_layers;
    decoder->past = memory_calloc((size_t)layers, sizeof *decoder->past);
    enum status status = decoder->past ? STATUS_OK : STATUS_FAILED;
    for (int l = 0; !status && l < layers; l++) {
        if (is_ablated(options, l)) continue;
        status = past_alloc(&decoder->past[l], model->backend, sizes_of(model, options, l),
                            &model->host, options->slots, options->tokens);
    }
    return status;
}

enum status decoder_open(struct decoder **out, struct model *model,
                         const struct decoder_options *options) {
    if (options->slots < 1 || options->tokens < 1 || options->tokens > INT32_MAX ||
        most_tokens(options) > INT32_MAX)
        return status_fail("a decoder of %d sequences with %" PRId64 " tokens is out of range",
                           options->slots, options->tokens);
    struct decoder *decoder = memory_calloc(1, sizeof *decoder);
    if (!decoder) return STATUS_FAILED;
    decoder->model = model;
    decoder->options = *options;
    struct trace_needs needs = needs_of(model, options);
    enum status status = model_keep_layers(model);
    if (!status) status = model_prepare(model, (int)options->tokens);
    if (!status) status = trace_alloc(&decoder->trace, model, &needs);
    if (!status) status = alloc_arrays(decoder);
    if (!status) status = alloc_past(decoder);
    if (status)
        decoder_close(decoder);
    else
        *out = decoder;
    return status;
}

void decoder_close(struct decoder *decoder) {
    if (!decoder) return;
    struct backend *backend = decoder->model->backend;
    for (int l = 0; decoder->past && l < decoder->model->config->n_layers; l++)
        past_free(&decoder->past[l], backend);
    for (int i = 0; i < STEP_KINDS; i++) recorded_forget(&decoder->kinds[i].recorded, backend);
    trace_free(&decoder->trace, backend);
    backend->free(backend, decoder->hidden);
    backend->free(backend, decoder->last);
    backend->free(backend, decoder->logits);
    backend->free(backend, decoder->lse);
    backend->free(backend, decoder->argmax);
    backend->free(backend, decoder->inputs);
    backend->free(backend, decoder->device_offsets);
    free(decoder->past);
    free(decoder->host_inputs);
    free(decoder->offsets);
    free(decoder->lengths);
    free(decoder);
}

/* decoder->hidden of the tokens `ids`, and what the layers keep of them. */
static enum status run_layers(struct decoder *decoder, const int32_t *ids, const int32_t *slots,
                              const struct sequences *sequences, bool step, int64_t longest) {
    struct model *model = decoder->model;
    struct backend *backend = model->backend;
    void *h = decoder->hidden;
    backend->embedding->embed(backend, h, ids, model->embedding, sequences->tokens,
                              model->config->hidden_size);
    for (int l = 0; l < model->config->n_layers; l++) {
        const struct layer *layer;
        enum status status = interrupt_check();
        if (!status) status = model_layer(&layer, model, l);
        if (status) return status;
        struct past_use past = {&decoder->past[l], slots, step, longest};
        if (!is_ablated(&decoder->options, l))
            block_mix_past(model, layer, mixer_of(decoder, layer), &decoder->trace, h, h, sequences,
                           &past);
        block_mlp(model, layer, &decoder->trace, h, h, sequences->tokens);
    }
    return STATUS_OK;
}

static enum status check_slots(const struct decoder *decoder, const int *slots, int count) {
    if (count < 1 || count > decoder->options.slots)
        return status_fail("%d sequences for a decoder of %d", count, decoder->options.slots);
    for (int i = 0; i < count; i++)
        if (slots[i] < 0 || slots[i] >= decoder->options.slots)
            return status_fail("slot %d of a decoder of %d", slots[i], decoder->options.slots);
    return STATUS_OK;
}

static enum status check_id(const struct decoder *decoder, uint32_t id) {
    if (id < (uint32_t)decoder->model->config->vocab_size) return STATUS_OK;
    return status_fail("token %" PRIu32 " is outside the model's vocabulary of %d", id,
                       decoder->model->config->vocab_size);
}

static enum status check_prompts(const struct decoder *decoder, const uint32_t *ids,
                                 const uint64_t *offsets, int count) {
    uint64_t tokens = offsets[count] - offsets[0];
    if (tokens > (uint64_t)most_tokens(&decoder->options))
        return status_fail("prompts of %" PRIu64 " tokens for a decoder that takes %" PRId64,
                           tokens, most_tokens(&decoder->options));
    for (int i = 0; i < count; i++) {
        uint64_t length = offsets[i + 1] - offsets[i];
        if (length == 0) return status_fail("a prompt without a token");
        if (length > (uint64_t)decoder->options.tokens)
            return status_fail("a prompt of %" PRIu64 " tokens for sequences of at most %" PRId64,
                               length, decoder->options.tokens);
    }
    enum status status = STATUS_OK;
    for (uint64_t t = offsets[0]; !status && t < offsets[count]; t++)
        status = check_id(decoder, ids[t]);
    return status;
}

enum status decoder_prefill(struct decoder *decoder, const int *slots, const uint32_t *ids,
                            const uint64_t *offsets, int count) {
    struct model *model = decoder->model;
    struct backend *backend = model->backend;
    struct token_batch batch = {0};
    size_t row = (size_t)model->config->hidden_size * dtype_size(backend->acc);
    enum status status = check_slots(decoder, slots, count);
    if (!status) status = check_prompts(decoder, ids, offsets, count);
    if (!status) status = token_batch_create(&batch, backend, ids, offsets, count);
    if (status) return status;
    for (int i = 0; i < count; i++) {
        decoder->host_inputs[i] = slots[i];
        decoder->lengths[slots[i]] = (int64_t)(offsets[i + 1] - offsets[i]);
    }
    backend->upload_bytes(backend, decoder->inputs, decoder->host_inputs,
                          (size_t)count * sizeof *decoder->inputs);
    status = run_layers(decoder, batch.ids, decoder->inputs, &batch.sequences, false, 0);
    for (int i = 0; !status && i < count; i++)
        backend->copy(backend, (char *)decoder->last + (size_t)i * row,
                      (char *)decoder->hidden + (size_t)(batch.sequences.offsets[i + 1] - 1) * row,
                      row);
    if (!status)
        model_logits(model, decoder->logits, decoder->trace.buffer[BLOCK_NORMED],
                     decoder->trace.buffer[BLOCK_MIXER_RSTD], decoder->last, count);
    /* The batch's arrays are in use until then. */
    enum status finished = backend->sync(backend);
    token_batch_free(&batch);
    return status ? status : finished;
}

/* A bound of the context that few steps change: the next of 4, 5, 6 or 7 times a power of two. */
static int64_t round_longest(int64_t longest, int64_t most) {
    int64_t bound = 256;
    while (bound < longest) {
        int64_t power = bound;
        while (power & (power - 1)) power &= power - 1;
        bound += power / 4;
    }
    return bound < most ? bound : most;
}

/* A step of `count` sequences whose ids, positions and slots are in decoder->inputs. */
struct step {
    struct decoder *decoder;
    int count;
    int64_t longest;
};

/* Its logits. */
static enum status run_step(void *context) {
    const struct step *step = context;
    struct decoder *decoder = step->decoder;
    int count = step->count;
    struct sequences sequences = {.count = count,
                                  .longest = 1,
                                  .tokens = count,
                                  .offsets = decoder->offsets,
                                  .device_offsets = decoder->device_offsets,
                                  .positions = decoder->inputs + count};
    enum status status = run_layers(decoder, decoder->inputs, decoder->inputs + 2 * count,
                                    &sequences, true, step->longest);
    if (!status)
        model_logits(decoder->model, decoder->logits, decoder->trace.buffer[BLOCK_NORMED],
                     decoder->trace.buffer[BLOCK_MIXER_RSTD], decoder->hidden, count);
    return status;
}

/* Its entry among the kinds, in the place of the one that was not met for longest if it is new. */
static struct step_kind *find_kind(struct decoder *decoder, int count, int64_t longest) {
    struct backend *backend = decoder->model->backend;
    const void *rope = decoder->model->rope;
    struct step_kind *oldest = &decoder->kinds[0];
    for (int i = 0; i < STEP_KINDS; i++) {
        struct step_kind *kind = &decoder->kinds[i];
        if (kind->count == count && kind->longest == longest && kind->rope == rope) return kind;
        if (kind->used < oldest->used) oldest = kind;
    }
    recorded_forget(&oldest->recorded, backend);
    *oldest = (struct step_kind){.count = count, .longest = longest, .rope = rope};
    return oldest;
}

static enum status repeat_step(struct decoder *decoder, int count, int64_t longest) {
    struct step step = {decoder, count, longest};
    struct step_kind *kind = find_kind(decoder, count, longest);
    kind->used = ++decoder->steps;
    return recorded_run(&kind->recorded, decoder->model->backend, run_step, &step);
}

enum status decoder_step(struct decoder *decoder, const int *slots, const uint32_t *ids,
                         int count) {
    struct backend *backend = decoder->model->backend;
    int32_t *host = decoder->host_inputs;
    int64_t longest = 0;
    enum status status = check_slots(decoder, slots, count);
    for (int i = 0; !status && i < count; i++) {
        int64_t length = decoder->lengths[slots[i]];
        status = check_id(decoder, ids[i]);
        if (!status && length >= decoder->options.tokens)
            status =
                status_fail("a sequence of more than %" PRId64 " tokens", decoder->options.tokens);
        host[i] = (int32_t)ids[i];
        host[count + i] = (int32_t)length;
        host[2 * count + i] = slots[i];
        if (length + 1 > longest) longest = length + 1;
    }
    if (status) return status;
    backend->upload_bytes(backend, decoder->inputs, host, 3 * (size_t)count * sizeof *host);
    status = repeat_step(decoder, count, round_longest(longest, decoder->options.tokens));
    for (int i = 0; !status && i < count; i++) decoder->lengths[slots[i]]++;
    return status;
}

enum status decoder_argmax(struct decoder *decoder, uint32_t *ids, int count) {
    struct model *model = decoder->model;
    struct backend *backend = model->backend;
    size_t rows = (size_t)count;
    double *lse = memory_calloc(rows, sizeof *lse);
    if (!lse) return STATUS_FAILED;
    backend->loss->logit_summary(backend, decoder->lse, decoder->argmax, decoder->logits, 1, count,
                                 model->config->vocab_size);
    backend->download_bytes(backend, ids, decoder->argmax, rows * sizeof *ids);
    backend->download(backend, lse, DTYPE_F64, decoder->lse, backend->acc, rows);
    enum status status = backend->sync(backend);
    for (int i = 0; !status && i < count; i++)
        if (!isfinite(lse[i])) status = status_fail("the model's logits are not finite");
    free(lse);
    return status;
}

enum status decoder_logits(struct decoder *decoder, float *logits, int first, int count) {
    struct backend *backend = decoder->model->backend;
    size_t vocabulary = (size_t)decoder->model->config->vocab_size;
    const char *from =
        (const char *)decoder->logits + (size_t)first * vocabulary * dtype_size(backend->acc);
    backend->download(backend, logits, DTYPE_F32, from, backend->acc, (size_t)count * vocabulary);
    enum status status = backend->sync(backend);
    for (size_t i = 0; !status && i < (size_t)count * vocabulary; i++)
        if (!isfinite(logits[i])) status = status_fail("the model's logits are not finite");
    return status;
}

void decoder_pretend(struct decoder *decoder, int slot, int64_t length) {
    decoder->lengths[slot] = length;
}

enum status decoder_fill(struct decoder *decoder) {
    const struct decoder_options *options = &decoder->options;
    enum status status = STATUS_OK;
    for (int l = 0; !status && l < decoder->model->config->n_layers; l++) {
        const struct model *model = decoder->model;
        status = past_fill(&decoder->past[l], model->backend, sizes_of(model, options, l),
                           &model->host, l, options->slots, options->tokens);
    }
    return status ? status : decoder->model->backend->sync(decoder->model->backend);
}
