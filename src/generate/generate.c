#include "generate/generate.h"

#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "generate/stream.h"

enum { PREFILL_TOKENS = 4096 }; /* of several prompts together, on a device */

struct sequence { /* under way in a slot */
    size_t prompt;
    bool busy;
    uint32_t next; /* the token that the next step feeds */
    struct stream stream;
};

struct run {
    struct model *model;
    const struct generate_prompt *prompts;
    const struct generate_settings *settings;
    struct generate_output *outputs;
    struct decoder *decoder;
    struct sequence *sequences; /* [slots] */
    uint32_t *stops;            /* [stop_count] */
    size_t stop_count;
    size_t count, begun, finished;
    int slots;
    int *active;      /* [slots]: slots of one call's rows */
    uint32_t *ids;    /* [slots] */
    float *logits;    /* [V], when sampling */
    uint32_t *tokens; /* prompts of one prefill */
    uint64_t *offsets;
    int64_t prefill_tokens;
};

struct generate_settings generate_defaults(void) {
    return (struct generate_settings){
        .max_tokens = 256, .sampling = {.top_p = 1}, .batch = 8, .use_model_stops = true};
}

const char *generate_stop_name(enum generate_stop stop) {
    static const char *const names[] = {"length", "stop token", "stop string"};
    return names[stop];
}

void generate_free(struct generate_output *outputs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(outputs[i].ids);
        free(outputs[i].text);
        outputs[i] = (struct generate_output){0};
    }
}

static int compare_ids(const void *a, const void *b) {
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

enum status generate_stop_ids(uint32_t **out, size_t *count, const struct model *model,
                              const struct generate_settings *settings) {
    const struct model_config *config = model->config;
    size_t ends = 0, all = 0;
    const uint32_t *end_ids =
        settings->tokenizer ? tokenizer_end_ids(settings->tokenizer, &ends) : NULL;
    uint32_t *ids = memory_calloc(settings->stop_id_count + CONFIG_MAX_EOS + ends, sizeof *ids);
    if (!ids) return STATUS_FAILED;
    for (size_t i = 0; i < settings->stop_id_count; i++) ids[all++] = settings->stop_ids[i];
    for (int i = 0; settings->use_model_stops && i < config->n_eos; i++)
        ids[all++] = (uint32_t)config->eos_token_ids[i];
    for (size_t i = 0; settings->use_model_stops && i < ends; i++) ids[all++] = end_ids[i];
    qsort(ids, all, sizeof *ids, compare_ids);
    *count = 0;
    for (size_t i = 0; i < all; i++)
        if (i == 0 || ids[i] != ids[i - 1]) ids[(*count)++] = ids[i];
    *out = ids;
    return STATUS_OK;
}

static bool is_stop(const struct run *run, uint32_t id) {
    for (size_t i = 0; i < run->stop_count; i++)
        if (run->stops[i] == id) return true;
    return false;
}

static enum status check(const struct run *run) {
    const struct generate_settings *settings = run->settings;
    if (settings->max_tokens < 1 || settings->max_tokens > INT32_MAX)
        return status_fail("%lld tokens to generate, not 1 or more",
                           (long long)settings->max_tokens);
    if (settings->batch < 1) return status_fail("a batch of %d sequences", settings->batch);
    if (settings->stop_string_count && !settings->tokenizer)
        return status_fail("stop strings need a tokenizer");
    for (size_t i = 0; i < run->count; i++)
        if (run->prompts[i].count == 0 ||
            run->prompts[i].count > (size_t)(INT32_MAX - settings->max_tokens))
            return status_fail(
                "prompt %zu has %zu tokens, which with %lld new ones is out of range", i + 1,
                run->prompts[i].count, (long long)settings->max_tokens);
    return sampling_check(&settings->sampling);
}

/* Layers not loaded yet take their part of the free memory. */
static uint64_t weights_to_come(const struct model *model) {
    return model->resident && model->resident[0].index >= 0 ? 0 : model_layers_bytes(model);
}

/* As many slots as were asked for and fit into nine tenths of the free memory. */
static enum status open_decoder(struct run *run) {
    const struct generate_settings *settings = run->settings;
    struct backend *backend = run->model->backend;
    size_t longest = 0;
    for (size_t i = 0; i < run->count; i++)
        if (run->prompts[i].count > longest) longest = run->prompts[i].count;
    /* On the CPU prompts go one by one: what is computed does not depend on the others. */
    bool alone = !backend->discrete;
    run->prefill_tokens =
        alone || longest > PREFILL_TOKENS ? (int64_t)longest : (int64_t)PREFILL_TOKENS;
    struct decoder_options options = {.tokens = (int64_t)longest + settings->max_tokens,
                                      .prefill_tokens = run->prefill_tokens,
                                      .mixers = settings->mixers,
                                      .ablated = settings->ablated};
    options.slots =
        (size_t)settings->batch < run->count ? settings->batch : (int)(run->count ? run->count : 1);
    int limit = run->model->config->max_position_embeddings;
    if (limit && options.tokens > limit)
        log_note("sequences of up to %lld tokens; the model was made for %d",
                 (long long)options.tokens, limit);
    uint64_t taken = weights_to_come(run->model);
    uint64_t left = backend->memory_free(backend);
    left = left > taken ? (left - taken) / 10 * 9 : 0;
    int wanted = options.slots;
    while (left && options.slots > 1 && decoder_bytes(run->model, &options, NULL) > left)
        options.slots--;
    if (options.slots < wanted)
        log_note("%d sequences at a time instead of %d: memory for no more", options.slots, wanted);
    run->slots = options.slots;
    return decoder_open(&run->decoder, run->model, &options);
}

static enum status allocate(struct run *run) {
    size_t slots = (size_t)run->slots;
    run->sequences = memory_calloc(slots, sizeof *run->sequences);
    run->active = memory_calloc(slots, sizeof *run->active);
    run->ids = memory_calloc(slots, sizeof *run->ids);
    run->tokens = memory_calloc((size_t)run->prefill_tokens, sizeof *run->tokens);
    run->offsets = memory_calloc(slots + 1, sizeof *run->offsets);
    run->logits = memory_calloc((size_t)run->model->config->vocab_size, sizeof *run->logits);
    bool complete =
        run->sequences && run->active && run->ids && run->tokens && run->offsets && run->logits;
    return complete ? STATUS_OK : STATUS_FAILED;
}

static void tell(struct run *run, struct sequence *sequence, bool finished) {
    const struct generate_settings *settings = run->settings;
    if (!settings->listener) return;
    size_t length;
    const char *text = stream_next(&sequence->stream, finished, &length);
    settings->listener(settings->context, sequence->prompt, text, length, finished);
}

/* `end` is the stop token, or NULL. */
static enum status finish(struct run *run, struct sequence *sequence, enum generate_stop stop,
                          const uint32_t *end) {
    struct stream *stream = &sequence->stream;
    struct generate_output *output = &run->outputs[sequence->prompt];
    enum status status = stream_finish(stream);
    if (!status && stream->stopped) stop = GENERATE_STOP_STRING;
    if (!status) tell(run, sequence, true);
    output->stop = stop;
    output->ids = memory_calloc(stream->count + 1, sizeof *output->ids);
    if (!status && !output->ids) status = STATUS_FAILED;
    if (!status) {
        output->count = stream->count;
        if (stream->count) memcpy(output->ids, stream->ids, stream->count * sizeof *output->ids);
        if (end) output->ids[output->count++] = *end;
    }
    if (!status && run->settings->tokenizer) {
        output->length = stream->text.length;
        output->text =
            memory_copy_bytes(stream->text.bytes ? stream->text.bytes : "", stream->text.length);
        if (!output->text) status = STATUS_FAILED;
    }
    stream_free(stream);
    sequence->busy = false;
    run->finished++;
    return status;
}

static enum status take_token(struct run *run, struct sequence *sequence, uint32_t id) {
    if (is_stop(run, id)) return finish(run, sequence, GENERATE_STOP_TOKEN, &id);
    sequence->next = id;
    enum status status = stream_add(&sequence->stream, id);
    if (status) return status;
    if (sequence->stream.stopped) return finish(run, sequence, GENERATE_STOP_STRING, NULL);
    if ((int64_t)sequence->stream.count >= run->settings->max_tokens)
        return finish(run, sequence, GENERATE_LENGTH, NULL);
    tell(run, sequence, false);
    return STATUS_OK;
}

/* A token for each of the `rows` slots in run->active, from the decoder's logits. */
static enum status choose(struct run *run, int rows) {
    const struct sampling *sampling = &run->settings->sampling;
    bool greedy = sampling->temperature <= 0;
    enum status status = greedy ? decoder_argmax(run->decoder, run->ids, rows) : STATUS_OK;
    for (int i = 0; !status && i < rows; i++) {
        struct sequence *sequence = &run->sequences[run->active[i]];
        if (!greedy) status = decoder_logits(run->decoder, run->logits, i, 1);
        if (!status && !greedy)
            status =
                sample_token(&run->ids[i], run->logits, run->model->config->vocab_size, sampling,
                             run->prompts[sequence->prompt].stream, sequence->stream.count);
        if (!status) status = take_token(run, sequence, run->ids[i]);
    }
    return status;
}

/* New prompts into free slots: one, or as many as one prefill takes. */
static enum status begin(struct run *run, struct generate_statistics *statistics) {
    bool alone = !run->model->backend->discrete;
    int rows = 0;
    for (int slot = 0; slot < run->slots && run->begun < run->count && !(alone && rows); slot++) {
        if (run->sequences[slot].busy) continue;
        const struct generate_prompt *prompt = &run->prompts[run->begun];
        uint64_t first = run->offsets[rows];
        if (rows && first + prompt->count > (uint64_t)run->prefill_tokens) break;
        memcpy(run->tokens + first, prompt->ids, prompt->count * sizeof *prompt->ids);
        run->offsets[rows + 1] = first + prompt->count;
        run->sequences[slot] =
            (struct sequence){.prompt = run->begun++,
                              .busy = true,
                              .stream = {.tokenizer = run->settings->tokenizer,
                                         .stops = run->settings->stop_strings,
                                         .stop_count = run->settings->stop_string_count}};
        stream_begin(&run->sequences[slot].stream, prompt->ids, prompt->count);
        run->active[rows++] = slot;
    }
    if (rows == 0) return STATUS_OK;
    double start = log_seconds();
    enum status status =
        decoder_prefill(run->decoder, run->active, run->tokens, run->offsets, rows);
    statistics->prefill_seconds += log_seconds() - start;
    statistics->prompt_tokens += (int64_t)run->offsets[rows];
    statistics->new_tokens += rows;
    return status ? status : choose(run, rows);
}

static enum status step(struct run *run, struct generate_statistics *statistics) {
    int rows = 0;
    for (int slot = 0; slot < run->slots; slot++)
        if (run->sequences[slot].busy) {
            run->ids[rows] = run->sequences[slot].next;
            run->active[rows++] = slot;
        }
    if (rows == 0) return STATUS_OK;
    double start = log_seconds();
    enum status status = decoder_step(run->decoder, run->active, run->ids, rows);
    if (!status) status = choose(run, rows);
    statistics->decode_seconds += log_seconds() - start;
    statistics->new_tokens += rows;
    return status;
}

static bool has_free_slot(const struct run *run) {
    for (int slot = 0; slot < run->slots; slot++)
        if (!run->sequences[slot].busy) return true;
    return false;
}

enum status generate_run(struct generate_output *outputs, struct model *model,
                         const struct generate_prompt *prompts, size_t count,
                         const struct generate_settings *settings,
                         struct generate_statistics *statistics) {
    struct run run = {.model = model,
                      .prompts = prompts,
                      .settings = settings,
                      .outputs = outputs,
                      .count = count};
    struct generate_statistics own = {0};
    for (size_t i = 0; i < count; i++) outputs[i] = (struct generate_output){0};
    enum status status = check(&run);
    if (!status) status = generate_stop_ids(&run.stops, &run.stop_count, model, settings);
    if (!status) status = open_decoder(&run);
    if (!status) status = allocate(&run);
    if (!status) log_begin_work();
    while (!status && run.finished < count) {
        status = run.begun < count && has_free_slot(&run) ? begin(&run, &own) : step(&run, &own);
        if (!status && interrupt_requested())
            status = status_set(STATUS_INTERRUPTED, "interrupted");
    }
    own.batch = run.slots;
    if (statistics) *statistics = own;
    for (int slot = 0; run.sequences && slot < run.slots; slot++)
        stream_free(&run.sequences[slot].stream);
    decoder_close(run.decoder);
    free(run.sequences);
    free(run.stops);
    free(run.active);
    free(run.ids);
    free(run.logits);
    free(run.tokens);
    free(run.offsets);
    if (status) generate_free(outputs, count);
    return status;
}
